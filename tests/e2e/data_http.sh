# Pipelines that read APIs: a stub on the loopback network pages in every way, and does what APIs should not do.
# shellcheck shell=bash disable=SC2154

new_service apis PIPELINES_DIR="mine" SOURCE_NETWORKS=127.0.0.0/8 SCHEDULE_INGEST=off TASK_LEASE_SECONDS=10 STUB_KEY=key-of-the-stub
mkdir -p "$dir/state" "$dir/mine"
/usr/bin/python3 "$home/tests/e2e/api_stub.py" "$dir/port" "$dir/api.log" "$dir/state" &
helpers+=($!)
within 'the API is there' 20 test -s "$dir/port"
api=http://127.0.0.1:$(cat "$dir/port")
printf 'a-very-secret-token\n' >"$dir/token"

pipeline() { # NAME HTTP [MORE OF THE SOURCE]: its items have an id and a value
	jq -n --arg name "$1" --argjson http "$2" --argjson more "${3:-{\}}" '{name: $name, source: ({http: $http} + $more),
		fields: [{name: "id", type: "text", required: true}, {name: "value", type: "number"}], key: ["id"]}' >"$dir/mine/$1.json"
}
for name in etag hang trickle bomb away private file round reset broken; do
	case $name in hang | trickle) timeout=2 ;; *) timeout=60 ;; esac
	pipeline "$name" "{\"url\": \"$api/$name\", \"timeout_s\": $timeout, \"retries\": 0, \"token\": {\"file\": \"$dir/token\"}}"
done
plain="{\"url\": \"$api/plain?secret=in-the-query\", \"headers\": {\"X-API-Key\": {\"env\": \"STUB_KEY\"}}}"
pipeline plain "$plain" '{"items": "data"}'
pipeline link "{\"url\": \"$api/link\", \"paging\": {\"by\": \"link\"}, \"token\": {\"file\": \"$dir/token\"}}"
pipeline cursor "{\"url\": \"$api/cursor\", \"paging\": {\"by\": \"cursor\", \"param\": \"after\", \"member\": \"meta.next\"}}"
pipeline page "{\"url\": \"$api/page\", \"paging\": {\"by\": \"page\", \"param\": \"p\", \"size_param\": \"per\", \"size\": 4}, \"timeout_s\": 60}"
pipeline empty "{\"url\": \"$api/page\", \"paging\": {\"by\": \"page\", \"param\": \"p\"}}"
pipeline since "{\"url\": \"$api/since\", \"since\": {\"param\": \"after\", \"member\": \"updated\"}}"
pipeline flaky "{\"url\": \"$api/flaky\", \"retries\": 4}"
pipeline endless "{\"url\": \"$api/endless\", \"page_bytes\": 1000000}"
pipeline unset "{\"url\": \"$api/link\", \"headers\": {\"X-API-Key\": {\"env\": \"NOT_SET_ANYWHERE\"}}}"
pipeline six "{\"url\": \"${api/127.0.0.1/[::1]}/link\"}"
pipeline none '{"url": "http://127.0.0.1:1/", "retries": 0}'
pipeline yearly "{\"url\": \"$api/link\", \"every\": \"0 0 1 1 *\"}"
pipeline asked "{\"url\": \"$api/link\", \"every\": \"off\"}"
start

ingest() { # NAME: $output is the end of its run
	output=$(appcore ingest --pipeline "$1" --follow --json 2>"$dir/errors") || true
}
counts() { jq -r '"\(.state) \(.stored) \(.replaced) \(.skipped) \(.refused)"' <<<"$output"; }
ends() { # NAME PIPELINE "STATE STORED REPLACED SKIPPED REFUSED"
	ingest "$2"
	is "$1" "$(counts)" "$3"
}
fails() { # NAME PIPELINE PATTERN: nothing is stored of it
	ingest "$2"
	like "$1" "$(jq -r '"\(.state) \(.stored) \(.error)"' <<<"$output")" "^failed 0 .*$3"
}
records() { sql "SELECT count(*) FROM data_records WHERE pipeline_id = (SELECT id FROM pipelines WHERE name = '$1')"; } # NAME

# --- what is read ---

ends 'items become records; one without id is an error of its own (D-015, D-016)' plain 'completed 3 0 0 1'
is 'their source is api (D-015)' "$(sql "SELECT DISTINCT source FROM data_records")" api
like 'a header is taken from the environment' "$(cat "$dir/api.log")" 'key=key-of-the-stub'
ends 'pages by Link' link 'completed 30 0 0 0'
like 'a token is taken from a file' "$(grep /link "$dir/api.log" | tail -n 1)" 'page=3 auth=Bearer a-very-secret-token '
ends 'pages by cursor' cursor 'completed 15 0 0 0'
ends 'pages by number, until one is not full' page 'completed 10 0 0 0'
is 'each was asked for once' "$(grep -c '^/page' "$dir/api.log")" 3
ends 'or until one is empty' empty 'completed 10 0 0 0'
ends 'one with an ETag' etag 'completed 4 0 0 0'
ends 'and again: nothing is fetched twice' etag 'completed 0 0 0 0'
like 'for it was asked conditionally' "$(grep '^/etag' "$dir/api.log" | tail -n 1)" 'match="v1"'
ends 'from the beginning' since 'completed 6 0 0 0'
touch "$dir/state/more"
ends 'then only what is new' since 'completed 2 0 0 0'
like 'by the greatest value so far' "$(grep '^/since' "$dir/api.log" | tail -n 1)" 'after=2026-01-07'
ends 'failures that pass: 503, 429, half a page, and one without a length' flaky 'completed 2 0 0 0'

# --- who is killed goes on at the page that he was at ---

touch "$dir/state/slow"
sql_page="SELECT position FROM data_runs WHERE pipeline_id = (SELECT id FROM pipelines WHERE name = 'page') ORDER BY number DESC"
calls=$(grep -c '^/page' "$dir/api.log")
run=$(appcore ingest --pipeline page)
asked() { [ "$(grep -c '^/page' "$dir/api.log")" -ge "$1" ]; }
within 'the second page is waited for' 20 asked $((calls + 2))
is_at() { [ "$(sql "$sql_page" | head -n 1 | jq .page.n)" = "$1" ]; }
within 'and is where the run is' 5 is_at 1
rm "$dir/state/slow"
worker=$(appcore task show "$run" --json | jq -r .worker)
kill -9 "${worker#*/}"
state_is() { [ "$(sql "SELECT state FROM data_runs WHERE id = '$run'")" = "$1" ]; }
within 'another worker ends it' 60 state_is completed
is 'the first page was not asked for again' "$(grep '^/page?' "$dir/api.log" | tail -n +"$((calls + 1))" | grep -o 'p=[0-9]' | paste -sd ' ')" 'p=1 p=2 p=2 p=3'
is 'all of it was there before' "$(sql "SELECT skipped FROM data_runs WHERE id = '$run'")" 10

# --- what is not ---

fails 'no connection (D-017)' none '127.0.0.1:1 can.t be read'
fails 'an API that hangs' hang 'Timeout'
fails 'one that sends a byte now and then' trickle 'Timeout'
fails 'one line without an end' endless 'larger than page_bytes, 1000000 bytes'
fails 'a small body that unpacks to a large one' bomb 'larger than page_bytes'
fails 'a connection that is reset' reset "can't be read"
fails 'a redirect to a private address' private '10\.1\.2\.3, which is not a public one: add its network to SOURCE_NETWORKS'
fails 'a redirect to a file' file 'should begin with https'
fails 'redirects without an end' round 'redirects more than 5 times'
fails 'an address of IPv6 that is not public' six 'has the address ::1, which is not a public one'
fails 'a secret that is not there' unset 'NOT_SET_ANYWHERE, which a header is taken from, is not set'
ends 'a redirect to another host' away 'completed 1 0 0 0'
like 'gets no credentials there' "$(grep '^/taken' "$dir/api.log")" 'auth=None'
like 'which the first host had' "$(grep '^/away' "$dir/api.log")" 'auth=Bearer'

for _ in 1 2 3 4 5; do ingest broken; done
calls=$(grep -c '^/broken' "$dir/api.log")
fails 'after five failures nobody is asked (C-097, C-098)' broken 'Circuit is OPEN'
is 'not once' "$(grep -c '^/broken' "$dir/api.log")" "$calls"
touch "$dir/state/mended"
change "UPDATE data_cursors SET open_until_us = 1 WHERE open_until_us > 0 AND failures = 5"
ends 'after a while one may try, and closes it' broken 'completed 1 0 0 0'
is 'nothing is open' "$(sql "SELECT failures FROM data_cursors WHERE pipeline_id = (SELECT id FROM pipelines WHERE name = 'broken')")" 0

# --- by the clock, which is moved in the table of what is due next ---

looks=$(sql "SELECT count(*) FROM background_tasks WHERE task_type = 'pipeline_ingest'")
looked() { [ "$(sql "SELECT count(*) FROM background_tasks WHERE task_type = 'pipeline_ingest' AND status = 'completed'")" = "$looks" ]; }
look() { # NAME: as if the schedule had added it
	change "UPDATE background_tasks SET priority = 1000, run_us = 1 WHERE task_id = '$(appcore task add pipeline_ingest --delay 1h)'"
	looks=$((looks + 1))
	within "$1" 20 looked
}
of() { sql "SELECT count(*) FROM data_runs WHERE source LIKE '%/link' AND pipeline_id = (SELECT id FROM pipelines WHERE name = '$1')"; } # PIPELINE
due() { change "UPDATE task_schedules SET next_us = $1 WHERE name = 'pipeline yearly'"; }
ended() { [ "$(sql "SELECT count(*) FROM data_runs WHERE state IN ('pending', 'running')")" = 0 ]; }
before=$(sql 'SELECT count(*) FROM data_runs')
look 'a look at new pipelines'
is 'starts none: their time is to come' "$(sql 'SELECT count(*) FROM data_runs')" "$before"
next=$(sql "SELECT next_us FROM task_schedules WHERE name = 'pipeline yearly'")
due 1
look 'a look when the year is over'
is 'starts the one that is due' "$(of yearly) $(sql 'SELECT count(*) FROM data_runs')" "1 $((before + 1))"
within 'it ends' 20 ended
look 'another look'
is 'starts it no second time' "$(of yearly)" 1
due $((next + 86400000000))
look 'a look after the clock was set back'
is 'sets right when it is due' "$(sql "SELECT next_us FROM task_schedules WHERE name = 'pipeline yearly'")" "$next"
is 'and starts nothing' "$(of yearly)" 1
jq '.source.http.every = "0 0 1 2 *"' "$dir/mine/yearly.json" >"$dir/changed" && cp "$dir/changed" "$dir/mine/yearly.json"
due 1
look 'a look when the definition says another time'
is 'takes that' "$(of yearly) $(sql "SELECT expression FROM task_schedules WHERE name = 'pipeline yearly'")" '1 0 0 1 2 *'
is 'one that is off was never read' "$(of asked)" 0

# --- all of them ---

before=$(sql 'SELECT count(*) FROM data_runs')
appcore task add pipeline_ingest >/dev/null
runs_grow() { [ "$(sql 'SELECT count(*) FROM data_runs')" -gt "$1" ]; }
within 'a look that somebody asks for starts the APIs' 20 runs_grow "$before"
both() { [ "$(of yearly) $(of asked)" = '2 1' ]; }
within 'whatever they say about when' 60 both

is 'no secret is in what runs keep' "$(sql "SELECT count(*) FROM data_runs WHERE definition LIKE '%a-very-secret%' OR definition LIKE '%key-of-the%' OR source LIKE '%in-the-query%' OR error LIKE '%in-the-query%'")" 0
is 'nor in the log' "$(grep -rlE 'a-very-secret|key-of-the-stub|in-the-query' "$dir/run/log" | wc -l)" 0
like 'failures are logged (D-017)' "$(cat "$dir"/run/log/*)" 'the API of the pipeline none failed'
