# Background tasks: the workers that the service starts, what happens when one dies or stops, schedules, the queue's numbers.
# shellcheck shell=bash disable=SC2154
service main WORKERS=2 TASK_THREADS=2 TASK_LEASE_SECONDS=10 SCHEDULE_EXPIRY='0 0 1 1 *' SCHEDULE_RETENTION=off SCHEDULE_INGEST=off \
	SECRET_KEY=0123456789abcdef0123456789abcdef-e2e

add() { appcore task add "$@"; } # KIND [OPTIONS...]: prints the id
field() { appcore task show "$1" | jq -r ".$2"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }
tasks() { sql "SELECT count(*) FROM background_tasks WHERE $1"; }
tasks_are() { [ "$(tasks "$1")" = "$2" ]; }
metric() { curl -sS -m 10 "$pool/metrics" | sed -n "s/^$1 //p"; } # NAME{LABELS}
metric_is() { [ "$(metric "$1")" = "$2" ]; }

like 'the workers are shown' "$(control status)" 'WORKER-1 +[0-9]+ .* yes.*WORKER-2 +[0-9]+ .* yes'

# --- the health check of a container (A-128) ---

live() { in_service env INSTANCE_ID="$1" "$binary" check --live 2>&1 && echo "code $?" || echo "code $?"; }
is 'check --live asks an instance' "$(live API-1)" 'code 0'
is 'or looks for a worker' "$(live WORKER-2)" 'code 0'
like 'an instance that does not run' "$(live API-9)" 'nobody answers at .*appcore-9.sock.*code 111'
like 'a worker that does not run' "$(live WORKER-9)" 'WORKER-9 gives no sign of life.*code 111'
like 'another name' "$(live somebody)" 'INSTANCE_ID says whom to ask.*code 100'
# Its peers end it soon: nobody starts the next one meanwhile.
pid=$(worker_pid 2) supervisor=$(sed -n 's/^supervisor \([0-9]*\) .*/\1/p' "$dir/run/appcore-2.pid")
kill -STOP "$supervisor" "$pid"
like 'an instance that is stopped' "$(live API-2)" 'code 111'
kill -CONT "$pid" 2>/dev/null || true
kill -CONT "$supervisor"
is_live() { [ "$(live API-2)" = 'code 0' ]; }
within 'it lives again' 20 is_live

# --- through the queue ---

id=$(add echo --payload '{"a":[1,2]}')
within 'a task is done (B-126)' 20 field_is "$id" status completed
is 'its result is kept' "$(appcore task show "$id" | jq -c .result)" '{"a":[1,2]}'
is 'it took one attempt' "$(field "$id" attempts)" 1
like 'a worker did it' "$(field "$id" worker)" '^WORKER-[12]/[0-9]+$'

for _ in 1 2 3 4; do
	for _ in {1..25}; do add echo --payload 1; done >>"$dir/ids" &
done
wait
within '100 tasks are done' 60 tasks_are "task_type = 'echo' AND status = 'completed'" 101
is 'by two workers, each once (B-128)' "$(tasks "task_type = 'echo' AND (attempts <> 1 OR claim <> 1)")" 0
within 'queue_depth is 0 (E-041)' 20 metric_is queue_depth 0.0
within 'tasks_completed_total (E-039)' 20 metric_is 'tasks_completed_total{kind="echo",status="completed"}' 101.0
within 'task_processing_duration_seconds (E-040)' 20 metric_is 'task_processing_duration_seconds_count{kind="echo"}' 101.0

# --- through the API ---

json=(-H 'Content-Type: application/json')
req POST /api/v1/auth/register "${json[@]}" -d '{"username":"ada","email":"ada@example.com","password":"testpass123"}'
req POST /api/v1/auth/login -d 'username=ada&password=testpass123'
bearer=(-H "Authorization: Bearer $(jq -r .access_token <<<"$body")")
req POST /api/v1/tasks "${json[@]}" "${bearer[@]}" -d '{"kind":"echo","payload":{"from":"the API"}}'
is 'a task is accepted (E-004)' "$status $(jq -r .status <<<"$body")" '202 pending'
id=$(jq -r .task_id <<<"$body")
is_done() { req GET "/api/v1/tasks/$id" "${bearer[@]}" && [ "$(jq -r .status <<<"$body")" = completed ]; }
within 'a worker does it' 20 is_done
is 'its result is told' "$(jq -c .result <<<"$body")" '{"from":"the API"}'
req POST /api/v1/sentiment/analyze/batch "${json[@]}" "${bearer[@]}" -d '{"texts":["good","bad"]}'
is 'so is a batch' "$status" 202
within 'tasks_created_total counts both (E-039)' 20 metric_is 'tasks_created_total{kind="echo"}' 1.0
within 'by kind' 20 metric_is 'tasks_created_total{kind="sentiment_batch"}' 1.0
within 'tasks_completed_total, too' 20 metric_is 'tasks_completed_total{kind="sentiment_batch",status="completed"}' 1.0
within 'and each text for its model' 20 metric_is 'appcore_model_predictions_total{model="sentiment",version="1",status="success"}' 2.0

# --- a worker that dies ---

id=$(add sleep --payload '{"seconds":300}')
within 'a long task runs' 20 field_is "$id" status processing
has_done() { appcore task show "$id" | jq -e --argjson n "$1" '.done >= $n'; }
# In one look: what it is between two workers is of no interest.
left() { appcore task show "$id" | jq -e --arg worker "$1" '.status == "processing" and .worker != $worker'; }
within 'and makes progress' 20 has_done 3
first=$(field "$id" worker)
kill -9 "${first#*/}"
within 'its worker is killed: another goes on with it when its lease ends (B-129)' 30 left "$first"
holds 'where the first one was' has_done 3
within 'the supervisor has started the next worker' 20 control status

# --- a worker that stops ---

second=$(field "$id" worker)
kill -TERM "${second#*/}"
within 'its worker is stopped: another goes on with it (E-005)' 30 left "$second"
at_most 'which costs no attempt' "$(field "$id" attempts)" 2

# --- cancelling, trying again ---

is 'it is asked to end' "$(appcore task cancel "$id")" 'asked to end'
within 'it ends at its next checkpoint' 20 field_is "$id" status cancelled
later=$(add echo --delay 1h)
is 'one that waits is cancelled at once' "$(appcore task cancel "$later")" cancelled
appcore task cancel "$later" >"$dir/out" 2>&1 && code=0 || code=$?
is 'and not twice' "$code $(cat "$dir/out")" '100 appcore task: the task is over already: cancelled'
is 'it is tried again' "$(appcore task retry "$later")" '1 will be tried again'
within 'at once' 20 field_is "$later" status completed
holds 'the queue is drained' appcore task drain --timeout 120s

# --- schedules ---

change "UPDATE task_schedules SET next_us = 1 WHERE name = 'expiry'"
control restart >"$dir/restart.out" 2>&1
within 'what was due is added when the workers are there again (C-089)' 30 tasks_are "task_type = 'expiry' AND status = 'completed'" 1
is 'once, however many there are (C-090)' "$(tasks "task_type = 'expiry'")" 1
like 'and is due again' "$(sql "SELECT next_us > 1700000000000000 FROM task_schedules WHERE name = 'expiry'")" '^(1|t)$'
is 'no other schedule is there' "$(sql 'SELECT count(*) FROM task_schedules')" 1

# --- without a worker ---

new_service alone WORKERS=0 INSTANCES=1 USER_TASKS_PENDING=2
start

# What a user may have waiting, when all comes at once.
req POST /api/v1/auth/register "${json[@]}" -d '{"username":"eve","email":"eve@example.com","password":"testpass123"}'
req POST /api/v1/auth/login -d 'username=eve&password=testpass123'
bearer=(-H "Authorization: Bearer $(jq -r .access_token <<<"$body")")
senders=()
for i in 1 2 3 4 5 6; do
	curl -sS -m 30 --cacert "$scratch/tls/cert.pem" -o /dev/null -w '%{http_code}\n' "${json[@]}" "${bearer[@]}" \
		-d '{"kind":"echo"}' "$base/api/v1/tasks" >"$dir/code.$i" &
	senders+=($!)
done
wait "${senders[@]}"
is 'a user has no more waiting than is allowed' "$(sort "$dir"/code.? | uniq -c | xargs)" '2 202 4 429'
req POST /api/v1/sentiment/analyze/batch "${json[@]}" "${bearer[@]}" -d '{"texts":["good","bad"]}'
is 'nor a batch' "$status ${h[retry-after]:-${h[Retry-After]:-}}" '429 10'
like 'and is told which limit it is' "$body" 'at most 2 may \(USER_TASKS_PENDING\)'
holds 'one is kept out' appcore user disable eve
is 'whose tasks do not begin' "$(tasks "status = 'cancelled'")" 2

for _ in 1 2 3; do add echo >/dev/null; done
within 'tasks wait while there is no worker (B-126, E-041)' 20 metric_is queue_depth 3.0
is 'pending' "$(tasks "status = 'pending'")" 3
in_service env INSTANCE_ID=W "$binary" work >"$dir/run/log/appcore-extra.log" 2>&1 &
started=$!
within 'until one comes' 20 tasks_are "status = 'completed'" 3
within 'then none waits' 20 metric_is queue_depth 0.0
worker=$(sql "SELECT worker FROM background_tasks WHERE status = 'completed' LIMIT 1")
helpers+=("${worker#*/}")
kill -TERM "${worker#*/}"
wait "$started" && code=0 || code=$?
is 'SIGTERM ends it' "$code" 0
