#!/usr/bin/env bash
# Runs test programs, two at a time, for many of them wait more than they compute; shows the output of those that fail, and
# what was skipped; the last line counts the programs. One that does not end in time is ended, and has failed.
set -u
SECONDS_EACH=400
programs=("$@")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

trap 'kill $(jobs -rp) 2>/dev/null; exit 130' INT TERM

run() { # NUMBER
	local pid code=0
	timeout -k 10 "$SECONDS_EACH" "${programs[$1]}" >"$dir/$1.out" 2>&1 &
	pid=$!
	trap 'kill "$pid"' TERM
	wait "$pid" || code=$?
	echo "$code" >"$dir/$1.code"
}

show() { # NUMBER
	local name=${programs[$1]#build/}
	if [ "$(<"$dir/$1.code")" = 0 ]; then
		passed=$((passed + 1))
		printf 'ok   %s (%s asserts)\n' "$name" "$(awk '$1 == "asserts" { print $3 }' "$dir/$1.out")"
		grep '^skip ' "$dir/$1.out" || true
	else
		failed=$((failed + 1))
		[ "$(<"$dir/$1.code")" != 124 ] || echo "It did not end within $SECONDS_EACH s." >>"$dir/$1.out"
		printf 'FAIL %s\n%s\n' "$name" "$(grep -v '^ *Test: .*passed$' "$dir/$1.out")"
	fi
}

for i in "${!programs[@]}"; do
	[ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
	run "$i" &
done
wait
for i in "${!programs[@]}"; do show "$i"; done
printf 'programs: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
