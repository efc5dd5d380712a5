#!/usr/bin/env bash
# Runs fuzz programs one after the other, FUZZ_SECONDS each, from FUZZ_SEED (0: another walk each time). The committed corpus is read, what is new goes to
# build/fuzz/corpus/NAME; an input that crashes is kept as build/fuzz/crash-NAME-… and shown. The last line counts.
set -u
seconds=${FUZZ_SECONDS:-60}
passed=0
failed=0

# The service's files lie in memory: a fuzzer would wait for the disk most of the time.
base=${TMPDIR:-/tmp}
[ -w /dev/shm ] && base=/dev/shm
TMPDIR=$(mktemp -d "$base/appcore-fuzz-XXXXXX") || exit 111
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

for program in "$@"; do
	name=${program##*/fuzz_}
	new=build/fuzz/corpus/$name
	seeds=tests/fuzz/corpus/$name
	mkdir -p "$new"
	dictionary=()
	[ -f "tests/fuzz/$name.dict" ] && dictionary=("-dict=tests/fuzz/$name.dict")
	if "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -seed="${FUZZ_SEED:-0}" -print_final_stats=1 \
		-artifact_prefix="build/fuzz/crash-$name-" "${dictionary[@]}" "$new" "$seeds" >"$TMPDIR/output" 2>&1; then
		passed=$((passed + 1))
		printf 'ok   fuzz_%s: %s runs, %s\n' "$name" \
			"$(awk '/number_of_executed_units/ { print $2 }' "$TMPDIR/output")" \
			"$(grep -o 'cov: [0-9]* ft: [0-9]*' "$TMPDIR/output" | tail -n 1)"
	else
		failed=$((failed + 1))
		printf 'FAIL fuzz_%s\n' "$name"
		tail -n 60 "$TMPDIR/output"
	fi
done
printf 'fuzz: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
