# Events: who listens to tasks hears of every change, over workers that end, beside listeners that do not read.
# shellcheck shell=bash disable=SC2154
service main SECRET_KEY=0123456789abcdef0123456789abcdef-e2e INSTANCES=2 WORKERS=1 USER_RATE_LIMIT_PER_MINUTE=0

json=(-H 'Content-Type: application/json')

token_of() { # NAME: registers and logs in
	req POST /api/v1/auth/register "${json[@]}" -d "{\"username\":\"$1\",\"email\":\"$1@example.com\",\"password\":\"testpass123\"}"
	req POST /api/v1/auth/login -d "username=$1&password=testpass123"
	jq -r .access_token <<<"$body"
}
as() { # TOKEN METHOD PATH [CURL OPTIONS...]
	local token=$1 method=$2 path=$3
	shift 3
	req "$method" "$path" -H "Authorization: Bearer $token" "$@"
}
add() { # TOKEN [MEMBERS]: an echo task; $task is its id
	as "$1" POST /api/v1/tasks "${json[@]}" -d "{\"kind\":\"echo\"${2:-}}"
	task=$(jq -r .task_id <<<"$body")
}
ada=$(token_of ada) bob=$(token_of bob)
printf '%s\n' "$ada" >"$dir/ada"
listen() { exec /usr/bin/python3 "$here/listen.py" "$@"; } # always in a process of its own, which is then the one to kill
has() { grep -q "$1" "$2"; } # PATTERN FILE

# --- one task, over TLS and HTTP/2 ----------------------------------------------------------------------------------

later=',"delay_seconds":3600'
add "$ada" "$later"
id=$task
is 'a task is accepted' "$status ${h[location]}" "202 /api/v1/tasks/$id"
curl -sS -N --http2 --cacert "$scratch/tls/cert.pem" -D "$dir/one.head" -H "Authorization: Bearer $ada" "$base/api/v1/tasks/$id/events" >"$dir/one" 2>&1 &
one_pid=$!
helpers+=("$one_pid")
within 'how the task is comes at once' 20 has '"status":"pending"' "$dir/one"
like 'as a stream' "$(cat "$dir/one.head")" 'content-type: text/event-stream'
as "$ada" DELETE "/api/v1/tasks/$id"
is 'the task is cancelled' "$status $(jq -r .status <<<"$body")" '200 cancelled'
within 'which is told' 20 has '"status":"cancelled"' "$dir/one"
wait "$one_pid"
is 'and is the end' "$?" 0
last=$(sed -n 's/^id: //p' "$dir/one" | tail -n 1)
as "$ada" GET "/api/v1/tasks/$id/events" -H "Last-Event-ID: $last"
is 'who knows the end need not come back' "$status" 204
as "$bob" GET "/api/v1/tasks/$id/events"
answer "another user's task" 404 '{"detail":"Task not found"}'
req GET /api/v1/events
answer 'without a token' 401 '{"detail":"Not authenticated"}'
add "$ada"
as "$ada" GET "/api/v1/tasks/$task/events"
like 'a worker does the task, and its stream ends' "$status $body" '"status":"completed"'

# --- over the ends of workers ---------------------------------------------------------------------------------------

listen follow "$pool/api/v1/events" "$dir/ada" "$dir/followed" &
follower=$!
helpers+=("$follower")
within 'a listener' 20 has open "$dir/followed"
mine=() theirs=()
add_one() { # TOKEN [MEMBERS]: also while no worker is there for a moment
	until add "$@" && [ "$status" = 202 ]; do sleep 0.1; done
}
add_mine() {
	add_one "$ada"
	mine+=("$task")
}
for i in 1 2 3; do add_mine; done
within 'hears of what is done' 20 has "completed ${mine[2]}" "$dir/followed"
opened() { grep -c open "$dir/followed"; }
both_live() {
	local listener
	for listener in "$one" "$two"; do req GET "$listener/livez" && [ "$status" = 200 ] || return 1; done
}
came_back() { [ "$(opened)" -gt "$1" ]; }
for round in 1 2 3; do
	before=$(opened)
	for i in 1 2; do
		if [ "$round" = 2 ]; then kill -9 "$(worker_pid "$i")"; else kill -TERM "$(worker_pid "$i")"; fi
		add_mine
		add_one "$bob" "$later"
		theirs+=("$task")
	done
	add_mine
	within "the listener comes back ($round)" 30 came_back "$before"
	add_mine
	within "both workers are there ($round)" 30 both_live
done
told() { # how many of the tasks are told to be done
	local i
	for i in "${mine[@]}"; do has "completed $i" "$dir/followed" && echo "$i"; done | wc -l
}
all_told() { [ "$(told)" = "${#mine[@]}" ]; }
within 'and has missed nothing' 30 all_told
is 'nor heard of the tasks of others' "$(printf '%s\n' "${theirs[@]}" | grep -cf - "$dir/followed" || true)" 0

many_changes() { # DIGIT: 4,000 of ada's at once, whose ids begin with it
	change "INSERT INTO background_tasks (task_id, user_id, task_type, created_at, updated_at, run_us, change)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
		SELECT '00000000-0000-7000-8000-' || (${1}00000000000 + i), 1, 'echo', '2026-01-01T00:00:00.000000',
		'2026-01-01T00:00:00.000000', 9000000000000000, (SELECT value + 1 FROM generations WHERE topic = 'task_changes') FROM n;
		UPDATE generations SET value = value + 1 WHERE topic = 'task_changes'"
}

# --- a listener who does not read, beside others --------------------------------------------------------------------

listen stall "$dir/run/appcore-1.sock" "$ada" /api/v1/events "$dir/stalled" &
helpers+=("$!")
listen crowd "$one/api/v1/events" "$dir/ada" 8 --events 4000 --within 120 --ready "$dir/ready" >"$dir/crowd" &
crowd=$!
helpers+=("$crowd")
within 'one that will not read' 20 has open "$dir/stalled"
within 'and some that do' 20 has ready "$dir/ready"
many_changes 1
wait "$crowd" || true
is 'get all that happens' "$(jq -c '[.open, .least, .most]' "$dir/crowd")" '[8,4000,4000]'

is 'a request that is taken back is ended, and one that talks on is cut' \
	"$(listen abort "$dir/run/appcore-2.sock" "$ada" /api/v1/events | tr '\n' ',')" 'empty end closed, closed,'

# --- how many --------------------------------------------------------------------------------------------------------

printf '%s\n' "$bob" >"$dir/bob"
listen crowd "$two/api/v1/events" "$dir/bob" 16 --events 1 --within 120 --ready "$dir/ready16" >"$dir/crowd16" &
crowd=$!
helpers+=("$crowd")
within '16 streams of one user' 20 has ready "$dir/ready16"
req GET "$two/api/v1/events" -H "Authorization: Bearer $bob"
answer 'and no more' 429 '{"detail":"Too many event streams at once. Close one first."}'
add "$bob" "$later"
wait "$crowd" || true
is 'each hears of it' "$(jq -c '[.open, .least, .most]' "$dir/crowd16")" '[16,1,1]'
gone() { curl -sS "$pool/metrics" | grep '^appcore_event_streams{' | awk '{s += $2} END {exit s > 2}'; }
within 'those that left are let go' 20 gone

# After half a minute.
within 'the one that did not read is let go' 90 has closed "$dir/stalled"
slow() { curl -sS "$pool/metrics" | grep -q '^appcore_event_streams_ended_total{reason="slow"} 1'; }
within 'which is counted' 20 slow
holds 'and the one that comes back listens on' kill -0 "$follower"

# --- stopping --------------------------------------------------------------------------------------------------------

listen stall "$dir/run/appcore-2.sock" "$ada" /api/v1/events "$dir/stalled2" &
helpers+=("$!")
within 'one more that does not read' 20 has open "$dir/stalled2"
many_changes 2
within 'while much is told' 30 has '200000004000' "$dir/followed"
control stop >"$dir/stop.out" 2>&1
is 'the service stops with listeners in it' "$?" 0
unlike 'without force' "$(cat "$dir"/run/log/*)" 'killed'
kill "$follower"
wait "$follower" 2>/dev/null || true
