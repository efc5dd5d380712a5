#!/usr/bin/env bash
# test.sh [VARIANT]: unit tests, handlers' tests and the end-to-end suite of that variant (default: release). A suite that
# ends without its line "…: N passed, N failed" counts as one failure. The last line sums up.
#
# The end-to-end suite needs a service, so it runs for the variants that make sense there: release and asan.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MAKELEVEL
variant=${1:-release}
out=build/$variant
passed=0
failed=0
mkdir -p "$out"

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}
as_is=()
# ThreadSanitizer of gcc 12 can't live with as much randomness in addresses as newer kernels give.
if [ "$variant" = tsan ] && setarch -R true 2>/dev/null; then
	as_is=(setarch -R)
fi

suite() { # NAME COMMAND...
	local name=$1 log=$out/test_$1${TEST_DATABASE_SERVER:+_postgres}.log status=0 p='' f=''
	shift
	printf '== %s (%s)\n' "$name" "$variant"
	"${as_is[@]}" "$@" </dev/null 2>&1 | tee "$log" || status=$?
	read -r p f < <(sed -nE 's/^[a-z0-9]+: ([0-9]+) passed, ([0-9]+) failed( \(.*\))?$/\1 \2/p' "$log" | tail -n 1)
	passed=$((passed + ${p:-0}))
	failed=$((failed + ${f:-0}))
	if [ -z "$p" ]; then
		printf 'The suite %s ended without a summary.\n' "$name"
		failed=$((failed + 1))
	elif [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
		printf 'The suite %s ended with exit code %d.\n' "$name" "$status"
		failed=$((failed + 1))
	fi
}

make=(make -s --no-print-directory VARIANT="$variant")
"${make[@]}" -j "$(nproc)" all tests
suite unit "${make[@]}" unit
suite handlers "${make[@]}" handlers
case $variant in
release | asan) suite e2e tests/e2e/run.sh --variant "$variant" ;;
esac
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
