#!/usr/bin/env bash
# nightly.sh [TARGET...]: what takes too long for each change: faults and fuzzers for as long as it pays, a whole machine,
# containers, benchmarks with their gates. Goes on after a failure; logs lie in build/nightly. The last line counts.
# FUZZ_SECONDS (600) is for each fuzzer, FAULT_SECONDS (300) scales the faults, NIGHTLY_MINUTES (180) ends a target.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 111
export FUZZ_SECONDS=${FUZZ_SECONDS:-600} FAULT_SECONDS=${FAULT_SECONDS:-300}
logs=build/nightly
mkdir -p "$logs"
exec {lock}>"$logs/lock"
flock -n "$lock" || { echo 'Another nightly run is at work here: wait for it.' >&2 && exit 100; }

[ "$#" -gt 0 ] || set -- test faults test-postgres faults-postgres asan tsan fuzz coverage lint parity bench bench-models bench-tasks bench-data \
	test-docs test-package test-package-trixie test-deploy test-deploy-postgres test-vm test-containers test-monitoring test-terraform test-scans test-guides lint-workflows scan-secrets scan
passed=0 failed=0 skipped=0
for target in "$@"; do
	case $target in
	faults) command=(tests/e2e/faults/run.sh) ;;
	faults-postgres) command=(tests/e2e/faults/run.sh --postgres) ;;
	test-package-trixie) command=(make test-package SUITE=trixie) ;;
	test-containers) command=(make test-containers ARGS=--dev) ;;
	*)
		if ! grep -q "^$target:" Makefile; then
			printf 'skip %-16s the Makefile has no such target\n' "$target"
			skipped=$((skipped + 1))
			continue
		fi
		command=(make "$target")
		;;
	esac
	start=$SECONDS
	if timeout -k 60 "${NIGHTLY_MINUTES:-180}m" "${command[@]}" >"$logs/$target.log" 2>&1 </dev/null; then
		passed=$((passed + 1))
		printf 'ok   %-16s %5d s  %s\n' "$target" $((SECONDS - start)) "$(tail -n 1 "$logs/$target.log" | cut -c 1-90)"
	else
		failed=$((failed + 1))
		printf 'FAIL %-16s %5d s\n%s\n' "$target" $((SECONDS - start)) "$({ grep -n '^FAIL ' "$logs/$target.log" | head -n 20; tail -n 20 "$logs/$target.log"; } | sed 's/^/     | /')"
	fi
done
printf 'nightly: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
