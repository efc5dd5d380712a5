#!/usr/bin/env bash
# The description of the API (docs/openapi.yaml) against the service that it describes:
#
#   lint        the document by its public linter
#   contract    every operation is called; status, headers and every member of every answer are as described
#   client      a client that a public generator makes from the document compiles, and works
#   page        /docs in a real browser: logs in, calls the API, and nothing breaks the page's own policy
#
#   run.sh [--keep] [TOPIC...]     all of them without arguments. Exit code: 0 when all checks passed.
#
# `make test-docs` installs what it needs: a browser, npm, and from npm what package-lock.json names, with its hashes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../.." && pwd)
variant=release
binary=$home/build/$variant/appcore
npm=$home/build/npm/docs
keep=
[ "${1:-}" != --keep ] || { keep=1 && shift; }
topics=("$@")
[ "${#topics[@]}" -gt 0 ] || topics=(lint contract client page)

for tool in "$binary" npm node chromium chromedriver /usr/bin/python3 curl jq; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: run make test-docs" >&2 && exit 100; }
done

# Once for each version of the list. Nothing of a package runs while it is installed (.npmrc).
wanted=$(sha256sum <"$here/package-lock.json")
if [ "$(cat "$npm/wanted" 2>/dev/null)" != "$wanted" ]; then
	rm -rf "$npm"
	mkdir -p "$npm"
	cp "$here"/{package.json,package-lock.json,.npmrc} "$npm/"
	(cd "$npm" && npm ci) >"$npm/npm.log" 2>&1 || { tail -n 20 "$npm/npm.log" >&2 && exit 111; }
	printf '%s\n' "$wanted" >"$npm/wanted"
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/appcore-docs.XXXXXX")
# shellcheck source=tests/e2e/lib.sh
. "$home/tests/e2e/lib.sh"

finish() {
	local code=$?
	trap - EXIT INT TERM
	stop_everything_left
	if [ -n "$keep" ]; then echo "kept: $scratch"; else rm -rf "$scratch"; fi
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# tells COMMAND...: a program whose lines "ok NAME" and "FAIL NAME: WHY" are checks; it has at least one, and ends with 0.
tells() {
	local line n=0 code=0
	"$@" >"$dir/told" 2>"$dir/told.err" || code=$?
	while IFS= read -r line; do
		case $line in
		'ok '*) ok "${line#ok }" ;;
		'FAIL '*) not_ok "${line#FAIL }" ;;
		*) continue ;;
		esac
		n=$((n + 1))
	done <"$dir/told"
	[ "$n" -gt 0 ] && [ "$code" -eq 0 ] || [ "$failed" -gt 0 ] || not_ok "$* ends well" "exit code $code after $n checks" "$(tail -n 20 "$dir/told.err")"
	[ ! -s "$dir/told.err" ] || [ "$code" -eq 0 ] || tail -n 20 "$dir/told.err"
}

"$home/scripts/make_certificate.sh" "$scratch/tls/cert.pem" "$scratch/tls/key.pem" >/dev/null
started=$SECONDS
all_passed=0 all_failed=0
for topic in "${topics[@]}"; do
	run_topic "$topic" || true
	read -r p f <"$scratch/$topic.count" || { p=0 f=1; }
	all_passed=$((all_passed + p)) all_failed=$((all_failed + f))
done
echo "docs: $all_passed passed, $all_failed failed ($((SECONDS - started)) s)"
[ "$all_failed" -eq 0 ]
