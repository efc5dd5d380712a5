# Sentiment analysis: one text, batches for the background, what became of them, the history; workers that are killed.
# shellcheck shell=bash disable=SC2154
service main SECRET_KEY=0123456789abcdef0123456789abcdef-e2e INSTANCES=2 WORKERS=2 TASK_LEASE_SECONDS=2 \
	USER_RATE_LIMIT_PER_MINUTE=0

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

analyse() { # TEXT
	as "$ada" POST /api/v1/sentiment/analyze "${json[@]}" -d "$(jq -nc --arg text "$1" '{text: $text}')"
}

loaded() { # in both workers
	local listener
	for listener in "$one" "$two"; do
		req POST "$listener/api/v1/sentiment/analyze" "${json[@]}" -H "Authorization: Bearer $ada" -d '{"text":"x"}'
		[ "$status" = 200 ] || return 1
	done
}

ada=$(token_of ada)
bob=$(token_of bob)
within 'both workers load the model' 30 loaded

# --- one text -------------------------------------------------------------------------------------------------------

req POST /api/v1/sentiment/analyze "${json[@]}" -d '{"text": "test"}'
answer 'without a token (B-111)' 401 '{"detail":"Not authenticated"}'
req POST /api/v1/sentiment/analyze "${json[@]}" -H 'Authorization: Bearer invalid_token_here' -d '{"text": "test"}'
answer 'with a wrong token' 401 '{"detail":"Could not validate credentials"}'
analyse 'I love this product!'
is 'one text is analysed (B-112)' "$status $(jq -c '[keys_unsorted, .text, .sentiment, (.confidence >= 0.5 and .confidence <= 1), (.processing_time > 0 and .processing_time < 60)]' <<<"$body")" \
	'200 [["text","sentiment","confidence","processing_time"],"I love this product!","positive",true,true]'
one_confidence=$(jq .confidence <<<"$body")
is 'its row is stored (B-050)' "$(sql "SELECT text, sentiment, user_id > 0, processing_time > 0 FROM sentiment_requests WHERE text LIKE 'I love%'" | sed 's/|t/|1/g')" \
	'I love this product!|positive|1|1'
analyse 'The worst purchase of my life, broken and useless.'
is 'and a bad one' "$(jq -r .sentiment <<<"$body")" negative
as "$ada" GET /api/v1/sentiment/analyze
answer 'it is a POST (B-114)' 405 '{"detail":"Method Not Allowed"}'
is 'and says so' "${h[allow]:-}" POST
as "$ada" POST /api/v1/sentiment/analyze "${json[@]}" -d '{"text":5}'
answer 'what is no text (B-113)' 422 '{"detail":[{"type":"string_type","loc":["body","text"],"msg":"Input should be a valid string","input":5}]}'
as "$ada" POST /api/v1/sentiment/analyze "${json[@]}" -d '{}'
answer 'and what is missing' 422 '{"detail":[{"type":"missing","loc":["body","text"],"msg":"Field required","input":{}}]}'

# --- a batch --------------------------------------------------------------------------------------------------------

send_batch() { # FILE [CURL OPTIONS...]: $task is its id
	local file=$1
	shift
	as "$ada" POST /api/v1/sentiment/analyze/batch "${json[@]}" --data-binary "@$file" "$@"
	task=$(jq -r '.task_id // empty' <<<"$body")
}

is_over() { # TASK [LISTENER]
	req GET "${2:-$base}/api/v1/sentiment/task/$1?limit=1" -H "Authorization: Bearer $ada"
	[[ $(jq -r .status <<<"$body") =~ ^(completed|failed)$ ]]
}

printf '{"texts":["I love this product!","so bad","",%s]}' "$(jq -nc '"käfer \"x\" 😀"')" >"$dir/small.json"
send_batch "$dir/small.json"
like 'a batch is a task (B-115, B-116)' "$status $body" '^202 \{"task_id":"[0-9a-f-]{36}","status":"pending"\}$'
is 'and says where' "${h[location]:-}" "/api/v1/sentiment/task/$task"
small=$task
within 'it is worked on' 30 is_over "$small"
as "$ada" GET "/api/v1/sentiment/task/$small"
is 'with a result for each, in order (B-118, B-119)' \
	"$(jq -c '[.status, .error_message, .progress, .next_cursor, [.result[].text], .result[0].sentiment, .result[0].confidence]' <<<"$body")" \
	"[\"completed\",null,{\"done\":4,\"total\":4},null,[\"I love this product!\",\"so bad\",\"\",\"käfer \\\"x\\\" 😀\"],\"positive\",$one_confidence]"
is_over "$small" "$one"
here=$body
is_over "$small" "$two"
is 'every instance knows (B-122)' "$body" "$here"
as "$bob" GET "/api/v1/sentiment/task/$small"
answer 'others do not (B-121)' 404 '{"detail":"Task not found"}'
as "$ada" GET /api/v1/sentiment/task/018bcfe5-687b-7011-a233-445566778899
answer 'nor does anybody know an unknown one' 404 '{"detail":"Task not found"}'
as "$ada" POST /api/v1/sentiment/analyze/batch "${json[@]}" -d '{"texts":["a",5]}'
answer 'what is wrong is named (B-117)' 422 '{"detail":[{"type":"string_type","loc":["body","texts",1],"msg":"Input should be a valid string","input":5}]}'
as "$ada" GET '/api/v1/sentiment/history?limit=5'
is 'batches are in the history, newest first (B-123, B-124)' "$status $(jq -c '[.[].text]' <<<"$body")" \
	'200 ["käfer \"x\" 😀","","so bad","I love this product!","The worst purchase of my life, broken and useless."]'
is 'with a cursor for the rest' "$([ -n "${h[x-next-cursor]:-}" ] && echo yes) ${h[link]##*; }" 'yes rel="next"'
as "$bob" GET /api/v1/sentiment/history
answer 'everybody has their own' 200 '[]'

# A file with a text in each line, as docs/sentiment.md has it.
printf 'I love it\nso "bad"\n\nlast' >"$dir/texts.txt"
jq -Rs '{texts: rtrimstr("\n") | split("\n")}' "$dir/texts.txt" >"$dir/lines.json"
send_batch "$dir/lines.json"
lines=$task
within 'a file of lines is worked on' 30 is_over "$lines"
as "$ada" GET "/api/v1/sentiment/task/$lines"
is 'with a result for each line, in order' "$(jq -c '[.result[].text]' <<<"$body")" '["I love it","so \"bad\"","","last"]'

# --- a large one, over killed workers -------------------------------------------------------------------------------

texts=60000
is_sanitized && texts=6000
/usr/bin/python3 - "$texts" >"$dir/large.json" <<'EOF'
import json, sys
n = int(sys.argv[1])
print(json.dumps({"texts": [f"{i} I love this phone, it is {'great' if i % 2 else 'bad'} and works well every day" for i in range(n)]}))
EOF
large_bytes=$(stat -c %s "$dir/large.json")
is 'the body is larger than others may be' "$([ "$large_bytes" -gt 1048576 ] || is_sanitized && echo yes)" yes
req POST /predict -H "X-API-Key: $key" "${json[@]}" --data-binary "@$dir/large.json"
is_sanitized || is 'elsewhere it is too large' "$status" 413
send_batch "$dir/large.json" -H 'Idempotency-Key: large-1'
is 'a large batch is taken' "$status" 202
large=$task

progress() { sql "SELECT done FROM background_tasks WHERE task_id = '$large'"; }
kill_in_the_middle() { # DONE: all workers for tasks at once, when more than that is done
	local i now
	for i in {1..1000}; do
		now=$(progress)
		[ "$now" -le "$1" ] || break
		sleep 0.02
	done
	for i in work-1 work-2; do kill -9 "$(worker_pid "$i")" 2>/dev/null || true; done
}
kill_in_the_middle 0
kill_in_the_middle "$(progress)"
req GET /health
is 'meanwhile requests are answered (B-125)' "$status" 200
within 'killed workers'\'' batch is finished by others' 120 is_over "$large"
is 'it is completed' "$(jq -c '[.status, .progress.done]' <<<"$body")" "[\"completed\",$texts]"
is 'each text is stored once, none is left out' \
	"$(sql "SELECT count(*), count(DISTINCT position), min(position), max(position), count(DISTINCT text) FROM sentiment_requests WHERE task_id = '$large'")" \
	"$texts|$texts|0|$((texts - 1))|$texts"
is 'its parts are gone' "$(sql 'SELECT count(*) FROM task_parts')" 0
send_batch "$dir/large.json" -H 'Idempotency-Key: large-1'
is 'the same key is the same task' "$status $task ${h[idempotency-replayed]:-}" "202 $large true"
as "$ada" GET "/api/v1/sentiment/task/$large"
is 'all results come in one answer' \
	"$(jq -c '[(.result | length), ([.result[].text | split(" ")[0] | tonumber] == [range(0; (.result | length))])]' <"$dir/body")" "[$texts,true]"
as "$ada" GET "/api/v1/sentiment/task/$large?limit=1000&cursor=$((texts - 500))"
is 'or in pages' "$(jq -c '[(.result | length), .next_cursor]' <<<"$body")" '[500,null]'

# --- a batch that is cancelled, and goes on after all ---------------------------------------------------------------

send_batch "$dir/large.json"
large=$task
for _ in {1..1000}; do
	[ "$(progress)" -eq 0 ] || break
	sleep 0.01
done
as "$ada" DELETE "/api/v1/tasks/$large"
within 'a batch comes to an end that is cancelled' 30 is_over "$large"
if [ "$(jq -r .status <<<"$body")" = completed ]; then
	skip 'a batch that is cancelled: it had been done before'
else
	is 'that is a failure which says so' "$(jq -c '[.status, .result, .error_message]' <<<"$body")" '["failed",null,"The task was cancelled."]'
	holds 'it can be taken up again' appcore task retry "$large"
	within 'and is finished' 120 is_over "$large"
fi
is 'nothing is missing and nothing is double' \
	"$(sql "SELECT count(*), count(DISTINCT position) FROM sentiment_requests WHERE task_id = '$large'")" "$texts|$texts"

# --- limits of a batch ----------------------------------------------------------------------------------------------

service small SECRET_KEY=0123456789abcdef0123456789abcdef-e2e INSTANCES=1 WORKERS=1 BATCH_BODY_BYTES=2097152 BATCH_MAX=100 \
	USER_RATE_LIMIT_PER_MINUTE=60
ada=$(token_of ada)
one_loaded() {
	req POST "$one/api/v1/sentiment/analyze/batch" "${json[@]}" -H "Authorization: Bearer $ada" -d '{"texts":["x"]}'
	[ "$status" = 202 ]
}
within 'the model is loaded' 30 one_loaded
is 'too many bytes: nginx says so' "$(
	head -c 2097153 /dev/zero | tr '\0' x >"$dir/bytes"
	send_batch "$dir/bytes"
	printf '%s %s' "$status" "$body"
)" '413 {"detail":"Request body is too large."}'
jq -nc '{texts: [range(0; 101) | tostring]}' >"$dir/many.json"
send_batch "$dir/many.json"
is 'too many texts' "$status $(jq -c '.detail[0] | [.type, .loc, .ctx.actual_length]' <<<"$body")" '422 ["too_long",["body","texts"],101]'
at_once=(-X POST "${json[@]}" -H "Authorization: Bearer $ada" -d '{"text":"test"}')
answers=$(codes -Z --parallel-immediate --parallel-max 100 "${at_once[@]}" "$base/api/v1/sentiment/analyze?[1-200]")
allowed=$(count_of 200 "$answers") refused=$(count_of 429 "$answers")
is 'a user may ask 60 times a minute, not 200 times' \
	"$([ "$allowed" -ge 60 ] && [ "$refused" -gt 0 ] && echo yes) $((allowed + refused))" 'yes 200'
refused_of "${at_once[@]}" "$base/api/v1/sentiment/analyze?[1-200]"
answer 'and is told so' 429 '{"detail":"Rate limit exceeded. Try again later."}'
as "$ada" GET '/api/v1/sentiment/history?limit=1'
is 'other paths have limits of their own' "$status" 200
