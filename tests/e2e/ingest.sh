# Files that become runs: from the command line and from data/raw, where they go, what is refused, and what is counted.
# shellcheck shell=bash disable=SC2154

new_service main SCHEDULE_INGEST=off WORKERS=1 PIPELINES_DIR="$home/pipelines"
start
sample=$home/pipelines/samples/dataflow.csv
data=$dir/data

# --- the command ---

is 'a file is read' "$(appcore ingest "$sample" --pipeline dataflow --follow --json 2>"$dir/progress" | jq -c '[.state, .rows_read, .stored, .refused, .error]')" \
	'["completed",8,8,0,null]'
unlike 'nothing is drawn where there is no terminal' "$(cat "$dir/progress")" $'\r|\033'
is 'it stays, and its copy is in the archive (D-021)' "$(cmp "$sample" "$data/archive/dataflow.csv" && ls "$data/incoming")" ''
is 'what came of it is in data/processed (D-032)' "$(cat "$data"/processed/dataflow-*.csv | wc -l | tr -d ' ')" "$(wc -l <"$sample" | tr -d ' ')"
like 'again: no record twice (D-022)' "$(appcore ingest "$sample" --pipeline dataflow --follow 2>/dev/null)" \
	'completed: 8 rows in .* 0 stored, 0 replaced, 8 skipped, 0 refused'
is 'of the same name: with the run in it' "$(find "$data/archive" -name 'dataflow-*-*.csv' | wc -l)" 1
lines_of() { wc -l <"$data/processed/$1-$(jq -r .id <<<"$output").csv" | tr -d ' '; } # STEM: of the file of the run that $output is about
output=$(appcore ingest "$sample" --pipeline dataflow --follow --json 2>/dev/null)
is 'nor in its file: the names alone' "$(lines_of dataflow)" 1
{ for ((i = 1; i <= 3000; i++)); do printf 'd%d,%d,a\n' $((i % 3 ? i : 1)) "$i"; done; } | sed '1i id,value,category' >"$dir/twice.csv"
output=$(appcore ingest "$dir/twice.csv" --pipeline dataflow --follow --json 2>/dev/null)
is 'duplicates within one' "$(jq -c '[.state, .stored, .skipped]' <<<"$output") $(lines_of twice)" '["completed",2000,1000] 2001'
is 'the file has each key once' "$(cut -d, -f1 "$data"/processed/twice-*.csv | sort | uniq -d)" ''

printf 'id,value,category\nx1,abc,A\nx2,2,B\nx3\n' >"$dir/bad.csv"
like 'rows that are refused stop nothing (D-030)' "$(appcore ingest "$dir/bad.csv" --pipeline dataflow --follow 2>/dev/null)" \
	'completed: 3 rows in .* 1 stored, 0 replaced, 0 skipped, 2 refused'

fails() { # NAME CODE PATTERN COMMAND...
	local name=$1 code=0 expected=$2 pattern=$3 output
	shift 3
	output=$("$@" 2>&1) || code=$?
	like "$name" "$code $output" "^$expected .*$pattern"
}
head -c 100 /dev/urandom >"$dir/noise.csv"
fails 'what is no CSV fails, and says so' 100 'appcore ingest: ' appcore ingest "$dir/noise.csv" --pipeline dataflow --follow
fails 'a pipeline that is not there' 100 'there is no pipeline none' appcore ingest "$sample" --pipeline none
fails 'a file that is not there' 100 'No such file' appcore ingest "$dir/none.csv" --pipeline dataflow
fails 'a folder' 100 'is not a file' appcore ingest "$dir" --pipeline dataflow
fails 'no pipeline' 100 'are wanted' appcore ingest "$sample"

# --- data/raw ---

mkdir -p "$data/raw/sensors"
printf 'id,value,category\nr1,1,a\n' >"$data/raw/orders.csv"
cp "$home/pipelines/samples/sensors.jsonl" "$data/raw/sensors/odd name.txt"
printf 'id,value,category\nh1,1,a\n' >"$data/raw/.hidden.csv"
ln -s "$sample" "$data/raw/link.csv"
appcore task add pipeline_ingest >/dev/null
taken() { [ ! -e "$data/raw/orders.csv" ] && [ ! -e "$data/raw/sensors/odd name.txt" ]; }
within 'what is there is taken by its name, or by its folder' 60 taken
archived() { [ "$(find "$data/archive" -name orders.csv -o -name 'odd name.txt' | wc -l)" = 2 ]; }
within 'and archived' 30 archived
is 'not links, and nothing hidden' "$(find "$data/raw" -mindepth 1 ! -type d -printf '%f\n' | sort | tr '\n' ' ')" '.hidden.csv link.csv '

# --- what is counted ---

counted() { curl -sS -4 --cacert "$scratch/tls/cert.pem" "$base/metrics" >"$dir/metrics" && grep -qE "$1" "$dir/metrics"; }
within 'runs are counted' 20 counted '^appcore_pipeline_runs_total\{pipeline="sensors"'
within 'and records (D-053)' 20 counted '^dataflow_records_ingested_total\{source="csv"\} 3028(\.0)?$'
within 'refused ones by why' 20 counted '^appcore_pipeline_refused_total\{pipeline="dataflow",reason="type"\} 1(\.0)?$'
