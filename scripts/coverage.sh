#!/usr/bin/env bash
# coverage.sh: lines of lib/, fcgi-app/handlers and fcgi-app/http that the unit and the handlers' tests run, as a table,
# in build/coverage/coverage.txt, and line by line in build/coverage/index.html. Under 85 % of lib or of the handlers fails.
# They run on SQLite, and once more on PostgreSQL; where no server of it is installed (make deps-postgres), what only it
# runs is left out.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
minimum=${COVERAGE_MINIMUM:-85}
out=build/coverage

find "$out" -name '*.gcda' -delete 2>/dev/null # counts of earlier runs
failed=0
scripts/test.sh coverage || failed=1
without=()
if compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
	scripts/test_postgres.sh scripts/test.sh coverage || failed=1
else
	echo 'PostgreSQL is not installed: its engine and the move to it are left out.'
	without=(--exclude 'lib/store/(db_pg|move|predictions_load|predictions_weeks|tables)')
fi

report() { gcovr --root . --add-tracefile "$out/coverage.json" "$@"; }
gcovr --root . --object-directory "$out" --filter lib/ --filter fcgi-app/handlers/ --filter fcgi-app/http/ \
	"${without[@]}" --json "$out/coverage.json" "$out" || exit 1
report --txt "$out/coverage.txt" --html-details "$out/index.html" || exit 1
cat "$out/coverage.txt"

for part in lib/ fcgi-app/handlers/; do
	report --filter "$part" --json-summary "$out/summary.json" || exit 1
	percent=$(jq -r .line_percent "$out/summary.json")
	if awk -v p="$percent" -v m="$minimum" 'BEGIN { exit !(p >= m) }'; then
		printf 'ok   %s: %s %% of lines\n' "$part" "$percent"
	else
		printf 'FAIL %s: %s %% of lines, %s %% are wanted\n' "$part" "$percent" "$minimum"
		failed=1
	fi
done
exit "$failed"
