# Pipelines from the command line: what ships is right, the samples become what they should, and what is wrong with a
# definition is told by its place.
# shellcheck shell=bash disable=SC2154

# --- the commands of the document: from a CSV to scored records ---

new_service main SCHEDULE_INGEST=off USER_RATE_LIMIT_PER_MINUTE=0 SECRET_KEY=0123456789abcdef0123456789abcdef-e2e
ln -s "$home/pipelines" "$dir/pipelines"
start
while IFS= read -r line; do
	case $line in
	'ok '*) ok "docs/pipelines.md: ${line#ok }" ;;
	*) not_ok "docs/pipelines.md: ${line#FAIL }" ;;
	esac
done < <(in_service url="$base" PATH="${binary%/*}:$PATH" /usr/bin/python3 "$here/examples.py" "$home/docs/pipelines.md" 2>&1)
control stop >/dev/null 2>&1

fails() { # NAME CODE PATTERN COMMAND...
	local name=$1 code=0 expected=$2 pattern=$3
	shift 3
	output=$("$@" 2>&1) || code=$?
	like "$name" "$code $output" "^$expected .*$pattern"
}

new_service none PIPELINES_DIR="$home/pipelines"
appcore migrate up >/dev/null
appcore model add "$home/models/sentiment/1" --name sentiment --version 1 --activate >/dev/null
samples=$home/pipelines/samples

is 'what ships is right' "$(appcore pipeline check | grep -v ': ok, ')" ''
is 'the list as JSON' "$(appcore pipeline list --json | jq -r 'select(.ok and (.name | test("^(dataflow|reviews|sensors)$"))) | "\(.name) \(.format) \(.match)"')" 'dataflow csv *.csv
reviews csv reviews*.csv
sensors jsonl sensors*.jsonl*'
like 'one of them' "$(appcore pipeline show reviews)" 'key +id.*duplicates +replace.*model +sentiment.*written_at +datetime  required  index  from Date'
is 'its definition as JSON' "$(appcore pipeline show dataflow --json | jq -c .definition.key)" '["id"]'

# --- the samples ---

appcore pipeline try dataflow "$samples/dataflow.csv" >"$dir/records" 2>"$dir/errors"
is 'every record of the sample succeeds (D-033)' "$(cat "$dir/errors")" '8 passed, 0 refused; nothing was stored'
is 'numbers and categories are cleaned (D-025)' "$(jq -c '[.value, .category]' "$dir/records" | head -n 4)" '[100,"alpha"]
[12.5,"beta"]
[-3,"beta"]
[1000,"äöü"]'
like 'a value is a float (D-025)' "$(head -n 1 "$dir/records")" '"value":100\.0,'

appcore pipeline try reviews "$samples/reviews.csv" --json >"$dir/records" 2>"$dir/errors"
is 'reviews: what is refused, line by line' "$(jq -r '"\(.line) \(.field) \(.reason)"' "$dir/errors")" '9 written_at type
10 written_at type
11 stars range
12 stars type
13 price type
14 price range
15 country range
16 verified type
17 text missing
18 id missing
19 id range
20 written_at range
21  ragged
22  ragged'
is 'what is not, with five forms of dates' "$(jq -r '"\(.id) \(.written_at[:16]) \(.stars) \(.price) \(.country)"' "$dir/records" | head -n 5)" 'R1001 2026-03-01T09:30 5 19.9 de
R1002 2026-03-01T14:05 1 1299 gb
R1003 2026-03-02T00:00 4 7.5 fr
R1004 2026-03-02T00:00 null 0 de
R1005 2026-03-03T08:00 3 null unknown'
is 'and what the model says of it' "$(jq -r .sentiment "$dir/records" | head -n 2 | paste -sd ' ')" 'positive negative'
is 'which is what it says when it is asked' "$(jq -r 'select(.id == "R1005") | .sentiment_probability > 0.5 and .sentiment_probability <= 1' "$dir/records")" true

jq '.name = "windows" | .source.encoding = "windows-1252"' "$home/pipelines/reviews.json" >"$dir/windows.json"
is 'reviews from an old spreadsheet: windows-1252, CR LF, semicolons' "$(appcore pipeline try windows.json "$samples/reviews-windows.csv" 2>"$dir/errors" | jq -c '[.id, .price, .text]')" '["R2002",7.99,"Der Akku hält „nicht“ lange"]
["R2003",12,"Très bien, livré à temps."]
["R2004",9,"Zwei Zeilen – und ein Gedankenstrich"]'
is 'with a word that is neither yes nor no' "$(head -n 1 "$dir/errors")" "line 2: verified: should be true or false, not 'ja' [type]"

is 'sensors: times to UTC, days of the place' "$(appcore pipeline try sensors "$samples/sensors.jsonl" 2>"$dir/errors" | jq -r '"\(.station) \(.at) \(.day) \(.mean_temperature)"' | sed -n 2,3p)" \
	'a2 2026-03-01T23:30:00.000000+00:00 2026-03-02 -3.5
b1 2026-03-02T05:00:00.000000+00:00 2026-03-02 11'
is 'sensors: what is no record' "$(tail -n 1 "$dir/errors")" '4 passed, 10 refused; nothing was stored'
is 'a limit' "$(appcore pipeline try dataflow "$samples/dataflow.csv" --limit 3 2>/dev/null | wc -l)" 3
is 'compressed' "$(gzip -c "$samples/dataflow.csv" >"$dir/x.gz" && appcore pipeline try dataflow "$dir/x.gz" 2>/dev/null | wc -l)" 8

# --- what is wrong ---

mkdir -p "$dir/mine"
printf '{"name":"bad","fields":[{"name":"x","tpye":"text"},{"name":"y","type":"number","transform":[{"range":[2,1]}]}]}' >"$dir/mine/bad.json"
printf '{"name":"good"}' >"$dir/mine/good.json"
printf '{"name":"scored","fields":[{"name":"a"}],"model":{"name":"nowhere","inputs":["a"]}}' >"$dir/mine/scored.json"
fails 'a bad definition' 100 'bad\.json: fields\[0\]: has no member "tpye"; did you mean "type"\?' appcore pipeline check "$dir/mine/bad.json"
like 'all that is wrong with it at once' "$output" 'fields\[1\]\.transform\[0\]\.range: should have the lower bound first'
is 'as JSON' "$(appcore pipeline check --json mine/bad.json | jq -r '.ok, (.problems | length)' | paste -sd ' ')" 'false 2'
fails 'one of several is bad' 100 'good.json: ok' appcore pipeline check mine/good.json mine/bad.json
fails 'one that there is not' 100 'There is no pipeline nowhere' appcore pipeline show nowhere
fails 'a name that is none' 100 'no pipeline of this name' appcore pipeline show ..
fails 'a model that there is not' 111 'Model nowhere is not loaded' appcore pipeline try mine/scored.json "$samples/dataflow.csv"
fails 'a file that there is not' 100 '' appcore pipeline try dataflow "$samples/nothing.csv"
fails 'a folder' 1.. '' appcore pipeline try dataflow "$samples"
fails 'a bad limit' 100 'limit' appcore pipeline try dataflow "$samples/dataflow.csv" --limit none
fails 'no verb' 100 'say check, list, show, try or index' appcore pipeline
