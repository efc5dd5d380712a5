#!/usr/bin/env bash
# All fault scripts, one after the other: faults/run.sh [NAME...], or those of PostgreSQL, which start servers of their own
# (make deps-postgres): faults/run.sh --postgres. FAULT_SECONDS (60) scales how long each goes on.
# Exit code: 0 when all checks passed, 1 when one did not.
set -euo pipefail
cd "$(dirname "$0")"

names=("$@")
[ "${#names[@]}" -gt 0 ] || names=(kill9 rolling stopped crash disk slow tasks data units)
[ "${names[*]}" != --postgres ] || names=(pg_kill pg_restart pg_network pg_failover pg_connections pg_disk pg_tasks pg_data pg_machines)
output=$(mktemp)
running=
# shellcheck disable=SC2317  # called by the trap
finish() {
	trap - EXIT
	[ -z "$running" ] || { kill -TERM "$running" 2>/dev/null && wait "$running"; } || true
	rm -f "$output"
}
trap finish EXIT
trap 'exit 130' INT TERM

passed=0 failed=0 skipped=0 started=$SECONDS
for name in "${names[@]}"; do
	code=0
	env SECONDS="${FAULT_SECONDS:-60}" timeout -k 60 "$((480 + 6 * ${FAULT_SECONDS:-60}))" /usr/bin/python3 "$name.py" >"$output" 2>&1 &
	running=$!
	wait "$running" || code=$?
	running=
	cat "$output"
	passed=$((passed + $(grep -c '^ok ' "$output" || true)))
	skipped=$((skipped + $(grep -c '^skip ' "$output" || true)))
	wrong=$(grep -c '^FAIL ' "$output" || true)
	if [ "$wrong" -eq 0 ] && [ "$code" -ne 0 ] && [ "$code" -ne 77 ]; then
		echo "FAIL $name ended with code $code"
		wrong=1
	fi
	failed=$((failed + wrong))
done
echo "faults: $passed passed, $failed failed, $skipped skipped ($((SECONDS - started)) s)"
[ "$failed" -eq 0 ]
