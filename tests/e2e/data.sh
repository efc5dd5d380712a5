# Stored data: migrations, backup and restore, retention, pages, large rows.
# shellcheck shell=bash disable=SC2154
new_service main RETENTION_DAYS=30

fails() { # NAME CODE PATTERN COMMAND...
	local name=$1 code=0 expected=$2 pattern=$3 output
	shift 3
	output=$("$@" 2>&1) || code=$?
	like "$name" "$code $output" "^$expected .*$pattern"
}

# --- migrations ---

fails 'migrate up on a new folder counts (A-068)' 0 'up 0001 .*predictions stored: 0' appcore migrate up
fails 'again: nothing to do' 0 'nothing to do' appcore migrate up
newest=$(appcore migrate current --json | jq -c '[.current == .newest, .newest > 0]')
is 'migrate current' "$newest" '[true,true]'
is 'migrate history' "$(appcore migrate history --json | jq -c 'map(.state) | unique')" '["applied"]'
before=$(schema | sort | cksum)
fails 'down --dry-run shows the SQL' 0 'would run down 0001.*DROP' appcore migrate down --to 0 --dry-run
is 'and changes nothing' "$(schema | sort | cksum)" "$before"
fails 'down --to 0' 0 'down 0001' appcore migrate down --to 0
is 'takes everything back' "$(has_table predictions)" 0
fails 'check says what to do' 100 'migrate up' appcore check
fails 'down without --to is refused' 100 'wants --to' appcore migrate down
for i in 1 2 3 4; do appcore migrate up >"$dir/up$i" 2>&1 & done
wait
is 'four at once migrate once' "$(cat "$dir"/up[1-4] | grep -c '^up 0001')" 1
is 'and none fails' "$(cat "$dir"/up[1-4] | grep -c 'predictions stored: 0')" 4
is 'the schema is the same again' "$(schema | sort | cksum)" "$before"
change "UPDATE schema_migrations SET checksum = 'x' WHERE number = 1"
like 'an altered migration is noticed' "$(appcore migrate history)" '0001  altered'
empty_database

# --- 1,000 rows, many of the same moment, and some that are too old ---

appcore migrate up >/dev/null
/usr/bin/python3 - >"$dir/rows.sql" <<'PYTHON'
import datetime
now = datetime.datetime.now(datetime.timezone.utc)
def row(id, result, version, at, name, key):
    return f"('{id}', '[{result}.0]', {result}, '{version}', '{at.isoformat(timespec='microseconds')}', '{name}', '{key}')"
rows = [row(f"01900000-0000-7000-8000-{i * 7919 % 1000003:012x}", i, "v1.0" if i % 4 else "v2.0",
            now.replace(microsecond=123000) + datetime.timedelta(days=-1, seconds=i // 7), "odd" if i % 2 else "even", f"key{i % 3}")
        for i in range(1, 1001)]
rows += [row(f"00900000-0000-7000-8000-{i:012x}", 1, "v0.9", now - datetime.timedelta(days=31), "", "") for i in range(1, 10)]
print("INSERT INTO predictions (id, features, result, model_version, created_at, model_name, key_id) VALUES")
print(",\n".join(rows) + ";")
PYTHON
change <"$dir/rows.sql"
start

old_are_gone() { [ "$(sql "SELECT count(*) FROM predictions WHERE model_version = 'v0.9'")" -eq 0 ]; }
within 'RETENTION_DAYS deletes what is older (A-069)' 10 old_are_gone
is 'and nothing else' "$(rows)" 1000
counted() { curl -sS -4 "$pool/metrics" | grep -q '^appcore_retention_deleted_total{table="predictions"} 9.0'; }
within 'it is counted' 4 counted

pages() { # QUERY: all pages; the ids in their order in $dir/ids, the number of pages in $n
	local cursor=''
	: >"$dir/ids"
	n=0
	while :; do
		req GET "/api/v1/predictions?$1${cursor:+&cursor=$cursor}"
		[ "$status" = 200 ] || break
		jq -r '.predictions[].id' <<<"$body" >>"$dir/ids"
		n=$((n + 1))
		cursor=$(jq -r '.next_cursor // ""' <<<"$body")
		if [ -z "$cursor" ] || [ "$n" -ge 100 ]; then break; fi
	done
}
listed() { # NAME CONDITION-OF-SQL: the pages held exactly these rows, newest first, each once
	sql "SELECT id FROM predictions WHERE $2 ORDER BY created_at DESC, id DESC" >"$dir/wanted"
	if cmp -s "$dir/ids" "$dir/wanted"; then
		ok "$1 ($(wc -l <"$dir/ids") rows, $n pages)"
	else
		not_ok "$1" "$(wc -l <"$dir/ids") rows of $(wc -l <"$dir/wanted"), $(sort "$dir/ids" | uniq -d | wc -l) twice, status $status $body"
	fi
}
pages limit=100
listed 'pages of 100: each row once, newest first' true
is 'ten pages, no empty one behind' "$n" 10
pages limit=37
listed 'pages of 37' true
pages 'limit=100&model_version=v2.0'
listed 'by model version' "model_version = 'v2.0'"
pages 'limit=50&model_name=odd'
listed 'by model name' "model_name = 'odd'"
pages 'limit=100&key_id=key2&model_version=v1.0&model_name=even'
listed 'by key, version and name together' "key_id = 'key2' AND model_version = 'v1.0' AND model_name = 'even'"
from=$(sql 'SELECT created_at FROM predictions ORDER BY created_at LIMIT 1 OFFSET 300')
until=$(sql 'SELECT created_at FROM predictions ORDER BY created_at LIMIT 1 OFFSET 700')
escaped() { printf '%s' "${1//+/%2B}"; }
pages "limit=100&created_from=$(escaped "$from")&created_until=$(escaped "$until")"
listed 'by time, from (with) until (without)' "created_at >= '$from' AND created_at < '$until'"
pages "limit=100&created_from=$from"
listed 'a + that was not escaped is understood' "created_at >= '$from'"
pages "limit=100&created_from=$(date -u -d "${from%.*}+0000" +%Y-%m-%dT%H:%M:%SZ)&key_id=key1"
listed 'another way to write a time' "created_at >= '${from%.*}' AND key_id = 'key1'"
req GET '/api/v1/predictions?key_id=nobody'
answer 'nobody has none' 200 '{"predictions":[],"next_cursor":null}'
# Rows that come while somebody pages do not disturb.
req GET '/api/v1/predictions?limit=100'
cursor=$(jq -r .next_cursor <<<"$body")
jq -r '.predictions[].id' <<<"$body" >"$dir/ids"
post '{"features":[1]}'
req GET "/api/v1/predictions?limit=100&cursor=$cursor"
jq -r '.predictions[].id' <<<"$body" >>"$dir/ids"
is 'a row that comes meanwhile shifts nothing' "$(sort "$dir/ids" | uniq | wc -l)" 200
req GET '/predictions?limit=1000'
is 'the contract lists up to 1,000' "$(jq length <<<"$body")" 1000

# --- backup and restore ---

req POST /api/v1/auth/register -H 'Content-Type: application/json' -d '{"username":"ada","email":"ada@example.com","password":"testpass123"}'
req POST /api/v1/auth/login -d 'username=ada&password=testpass123'
bearer="Authorization: Bearer $(jq -r .access_token <<<"$body")"
req GET /api/v1/users/me -H "$bearer"
is 'somebody is logged in' "$status" 200
codes -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1]}' "$pool/predict?[1-2000]" >"$dir/load" &
load=$!
sleep 0.3
before=$(rows)
fails 'backup while it serves' 0 'backup1.db' appcore backup backup1.db
wait "$load"
is 'no request failed meanwhile' "$(count_of 201 "$(<"$dir/load")")" 2000
if on_postgres; then # what pg_restore reads to its end is whole
	rows_of_backup() { pg_restore --data-only -f - "$dir/backup1.db" | awk '/^COPY public.predictions/ { copying = 1; next } /^\\\./ { copying = 0 } copying { n++ } END { print n }'; }
	holds 'it is whole' pg_restore -f /dev/null "$dir/backup1.db"
	saved=$(rows_of_backup)
else
	is 'it is whole' "$(sqlite3 "$dir/backup1.db" 'PRAGMA integrity_check')" ok
	saved=$(sqlite3 "$dir/backup1.db" 'SELECT count(*) FROM predictions')
fi
is 'it holds what there was' "$((saved >= before && saved <= $(rows)))" 1
is 'only the owner may read it' "$(stat -c %a "$dir/backup1.db")" 600
fails 'a file that is there is not overwritten' 100 'backup1.db' appcore backup backup1.db
fails 'a folder that is not there' 111 '' appcore backup nowhere/b.db
fails 'check tells the count' 0 "predictions  $(rows) stored" appcore check
is 'check --integrity --json' "$(appcore check --integrity --json | jq -c '[.integrity_checked, .predictions > 0]')" '[true,true]'
fails 'restore is refused while it runs' 100 '' appcore restore backup1.db
now=$(rows)
req GET "$pool/version"
is 'and the service goes on' "$status $(rows)" "200 $now"
control stop >/dev/null
head -c 20000 "$dir/backup1.db" >"$dir/cut.db"
printf 'no database' >"$dir/text.db"
: >"$dir/empty.db"
sqlite3 "$dir/other.db" 'CREATE TABLE t (a)'
for file in cut text empty other missing; do
	fails "restore of a bad file is refused: $file" '(100|111)' '' appcore restore "$file.db"
done
is 'and changed nothing' "$(appcore check --json | jq .predictions)" "$now"
fails 'restore' 0 'restored' appcore restore backup1.db
is 'it is the backup that is there' "$(appcore check --integrity --json | jq .predictions)" "$saved"
start
req GET '/predictions?limit=1'
is 'and the service works with it' "$status $(jq length <<<"$body")" '200 1'
req GET /api/v1/users/me -H "$bearer"
is 'everybody is logged out: sessions that ended since must not go on' "$status" 401
req POST /api/v1/auth/login -d 'username=ada&password=testpass123'
is 'and may log in' "$status" 200
post '{"features":[2]}'
is 'for writing too' "$status $(rows)" "201 $((saved + 1))"

# --- large rows: streamed, in bounded memory, while others are served ---

/usr/bin/python3 -c "print('{\"features\":[' + ','.join(['1.2345678901234567'] * 55000) + ']}', end='')" >"$dir/large"
codes -H "X-API-Key: $key" -H 'Content-Type: application/json' -H 'Expect:' --data-binary "@$dir/large" "$pool/predict?[1-20]" >"$dir/load"
is '20 predictions of a megabyte' "$(count_of 201 "$(<"$dir/load")")" 20
for path in '/predictions?limit=20' '/api/v1/predictions?limit=20'; do
	req GET "$one$path"
	is "GET $path" "$status $(jq -c '(.predictions? // .) | [length, (map(.result) | unique | length), (map(.features | if type == "string" then fromjson else . end | length) | unique)]' "$dir/body")" '200 [20,1,[55000]]'
	is "its size" "$(($(stat -c %s "$dir/body") > 20 * 1000000))" 1
done
req HEAD "$one/predictions?limit=20"
is 'HEAD of it' "$status" 200
for i in 1 2 3 4 5 6; do
	curl -sS -4 -m 60 "$one/predictions?limit=20" | jq length >"$dir/list$i" 2>&1 &
done
times=$(for _ in $(seq 20); do curl -sS -4 -o /dev/null -w '%{http_code} %{time_total}\n' "$one/version"; done)
wait
is 'six at once, all whole' "$(cat "$dir"/list[1-6] | sort | uniq -c | tr -s ' ')" ' 6 20'
is 'others are served meanwhile' "$(grep -c '^200 ' <<<"$times")" 20
# One that waits for a list to end would wait each time; a machine that pauses does so once or twice.
at_most 'and most of them soon' "$(awk '$2 >= 2' <<<"$times" | wc -l)" 10
if ! is_sanitized; then
	peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(worker_pid 1)/status")
	at_most 'the worker never held more than 64 MB (kB)' "$peak" 65536
	settled() { [ "$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(worker_pid 1)/status")" -le 32768 ]; }
	within 'and holds less than 32 MB afterwards' 5 settled
fi
# A client that reads slowly or goes away in the middle.
curl -sS -4 -m 2 --limit-rate 200k -o /dev/null "$one/predictions?limit=20" 2>/dev/null &
timeout 0.2 curl -sS -4 -o /dev/null "$one/predictions?limit=20" || true
req GET "$one/predictions?limit=20"
is 'slow and broken readers disturb nobody' "$status $(jq length "$dir/body")" '200 20'
wait

# --- no retention ---

control stop >/dev/null
change "INSERT INTO predictions (id, features, result, model_version, created_at) VALUES ('00900000-0000-7000-8000-000000000001', '[1.0]', 1, 'v0.9', '2001-01-01T00:00:00.000000+00:00')"
settings+=(RETENTION_DAYS=0)
know_service
start
sleep 1
is 'RETENTION_DAYS=0 keeps everything' "$(sql "SELECT count(*) FROM predictions WHERE model_version = 'v0.9'")" 1
