#!/usr/bin/env bash
# Runs test programs one after the other; shows the output of those that fail, and what was skipped; the last line counts the programs.
set -u
passed=0
failed=0
for program in "$@"; do
	if output=$("$program" 2>&1); then
		passed=$((passed + 1))
		printf 'ok   %s (%s asserts)\n' "${program#build/}" "$(awk '$1 == "asserts" { print $3 }' <<<"$output")"
		grep '^skip ' <<<"$output" || true
	else
		failed=$((failed + 1))
		printf 'FAIL %s\n%s\n' "${program#build/}" "$output"
	fi
done
printf 'programs: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
