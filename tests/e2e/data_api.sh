# Data over HTTP: the examples of docs/api.md, and what only a whole service shows: files that become records, two who want
# the same at once, streams, compression, who may.
# shellcheck shell=bash disable=SC2154
service main PIPELINES_DIR="$home/pipelines" SCHEDULE_INGEST=off USER_RATE_LIMIT_PER_MINUTE=0 SECRET_KEY=0123456789abcdef0123456789abcdef-e2e

# --- the document's examples (D-043) ---

while IFS= read -r line; do
	case $line in
	'ok '*) ok "docs/api.md: ${line#ok }" ;;
	*) not_ok "docs/api.md: ${line#FAIL }" ;;
	esac
done < <(in_service url="$base" /usr/bin/python3 "$here/examples.py" "$home/docs/api.md" 2>&1)

# --- files become records; two triggers at once (D-018, D-037, D-038) ---

{ printf 'id,value,category\n' && for ((i = 1; i <= 5000; i++)); do printf 'n%d,%d, MANY \n' "$i" "$i"; done; } >"$dir/many.csv"
mkdir -p "$dir/data/raw"
touch -d '1 minute ago' "$dir/many.csv"
mv "$dir/many.csv" "$dir/data/raw/many.csv"
for i in 1 2 3 4; do curl -sS -m 30 --cacert "$scratch/tls/cert.pem" -X POST "$base/data/process" -o "$dir/process.$i" & done
wait
indexes="SELECT count(*) FROM sqlite_schema WHERE name LIKE 'data_field_%'"
if on_postgres; then indexes="SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'data_field_%'"; fi
is 'four triggers at once are answered alike (D-037)' "$(cat "$dir"/process.?)" \
	"$(printf '{"message":"Processing triggered","status":"started"}%.0s' 1 2 3 4)"
stored() { sql "SELECT count(*) FROM data_records WHERE record_key LIKE 'n%'"; }
stored_all() { [ "$(stored)" = 5000 ] && [ "$(sql "SELECT count(*) FROM data_runs WHERE source = 'many.csv' AND state = 'completed'")" = 1 ]; }
within 'all records of the file are there (D-062)' 60 stored_all
is 'the fields that the pipeline says have indexes' "$(sql "$indexes")" 3
is 'one run has read it, and nothing twice (D-038)' "$(sql "SELECT count(*), sum(stored), sum(skipped) FROM data_runs WHERE source = 'many.csv'")" '1|5000|0'

holds 'a backup takes them with their indexes' appcore backup records.backup
on_postgres || is 'and it is whole' "$(sqlite3 "$dir/records.backup" 'PRAGMA integrity_check; SELECT count(*) >= 5000 FROM data_records' | paste -sd ' ')" 'ok 1'

# --- indexes that no run has made: the command ---

names="SELECT 'DROP INDEX ' || name || ';' FROM sqlite_schema WHERE name LIKE 'data_field_%'"
if on_postgres; then names="SELECT 'DROP INDEX ' || indexname || ';' FROM pg_indexes WHERE indexname LIKE 'data_field_%'"; fi
change "$(sql "$names")"
is 'indexes are gone' "$(sql "$indexes")" 0
is 'which are missing' "$(appcore pipeline index dataflow --dry-run --json 2>/dev/null | jq -r .index | paste -sd ' ')" 'missing missing missing'
is 'asking made none' "$(sql "$indexes")" 0
appcore pipeline index dataflow >"$dir/index.1" 2>&1 &
other=$!
holds 'one who makes them' appcore pipeline index dataflow
wait "$other" || not_ok 'and another one beside it' "$(cat "$dir/index.1")"
is 'two who make them at once' "$(sql "$indexes")" 3
is 'then they are there' "$(appcore pipeline index dataflow 2>&1 | grep -c ': has its index$')" 3
like 'one that no run was ever started of' "$(appcore pipeline index sensors 2>&1)" 'the first one makes its indexes'
like 'one that there is not' "$(appcore pipeline index nowhere 2>&1)" 'There is no pipeline nowhere'
req GET /data/n7
is 'one of them (D-036)' "$status $(jq -c '[.id, .data.category, .status, (.processed_at != null), keys]' <<<"$body")" \
	'200 ["n7","many","processed",true,["data","id","processed_at","source","status","timestamp"]]'
req GET "$pool/data/n7"
is 'past nginx, too' "$status" 200
req GET "$clear/data/n7"
is 'and in clear on this machine' "$status" 200

# --- exports: all of it, compressed when asked for ---

req POST /api/v1/auth/login -d 'username=reader&password=a-long-password'
bearer=(-H "Authorization: Bearer $(jq -r .access_token <<<"$body")")
req GET '/api/v1/data/export?pipeline=dataflow&id.contains=n&format=csv' "${bearer[@]}"
is 'an export has a line for each record, and one for the names' "$status $(wc -l <"$dir/body") $(sort -u "$dir/body" | wc -l)" '200 5001 5001'
plain=$(md5sum <"$dir/body")
req GET '/api/v1/data/export?pipeline=dataflow&id.contains=n&format=csv' "${bearer[@]}" -H 'Accept-Encoding: gzip'
is 'compressed it is the same' "${h[content-encoding]-} $(gunzip -c "$dir/body" | md5sum)" "gzip $plain"
req GET '/api/v1/data/aggregates?pipeline=dataflow&id.contains=n&field=value&quantiles=0,0.5,1&buckets=2' "${bearer[@]}"
is 'numbers about all of them' "$status $(jq -c '.groups[0] | [.count, .numbers, .mean, .min, .max, .histogram]' <<<"$body")" \
	'200 [5000,5000,2500.5,1,5000,[2500,2500]]'
keys=$(req GET '/api/v1/data/records?pipeline=dataflow&id.contains=n&sort=value&limit=1000' "${bearer[@]}" && jq -r '.records[].id' <<<"$body")
is 'a page of a thousand' "$(sort -u <<<"$keys" | wc -l)" 1000

# --- streams ---

run=$(sql "SELECT id FROM data_runs WHERE source = 'many.csv'")
req GET "/api/v1/data/runs/$run/events" "${bearer[@]}"
like 'the events of a run that is over: its end' "$status ${h[content-type]-} $body" '^200 text/event-stream .*"status":"completed"'

# --- who may (D-039, D-040, X-10) ---

use main
control stop >/dev/null 2>&1
settings+=(DATA_ACCESS=token)
know_service
start
req GET /data/n7
answer 'without a token (D-040)' 403 '{"detail":"Not authenticated"}'
req GET /data/n7 -H 'Authorization: Basic eDp5'
answer 'another scheme' 403 '{"detail":"Invalid authentication credentials"}'
req GET /data/n7 -H 'Authorization: Bearer x.y.z'
answer 'a token that is none (D-039)' 401 '{"detail":"Invalid token"}'
req GET /data/n7 "${bearer[@]}"
is 'one that is good' "$status $(jq -r .id <<<"$body")" '200 n7'
req GET /api/dataflow/health/database
is 'the database is well (D-052)' "$status $(jq -c '[.service, .status, (.timestamp | type)]' <<<"$body")" '200 ["database","healthy","number"]'
