# Redis: two machines (run directories, nginx and workers of their own; one database, one Redis) share limits, keys and
# cached predictions; and what a client sees while Redis is killed, stopped and flushed.
# shellcheck shell=bash disable=SC2154

redis_dir=$scratch/redis
redis_pid=
mkdir -p "$redis_dir"
redis_run() {
	redis-server --port 0 --unixsocket "$redis_dir/s" --save '' --appendonly no --dir "$redis_dir" \
		--requirepass e2e-s3cr3t >"$redis_dir/log" 2>&1 8>&- &
	redis_pid=$!
	disown "$redis_pid" # its end is no news
	helpers+=("$redis_pid")
}
redis() { REDISCLI_AUTH=e2e-s3cr3t redis-cli -s "$redis_dir/s" "$@"; }
url=unix://:e2e-s3cr3t@$redis_dir/s
limits=(RATE_LIMIT_PER_MINUTE=100 API_KEY=e2e-key-0123456789)
lines() { # ADDRESS URL...: the status of each request
	curl -sS -4 -m 60 --interface "$1" -o /dev/null -w '%{http_code}\n' "${@:2}" 2>/dev/null
}
metric() { # URL SERIES: summed over the workers
	curl -sS "$1/metrics" | awk -v s="$2" 'index($0, s) == 1 { sum += $NF } END { print sum + 0 }'
}
redis_is() { # URL STATE: what health says, of a client that has not asked yet
	curl -sS --interface "127.0.1.$((RANDOM % 250 + 1))" "$1/health" | grep -qF "\"redis\":\"$2"
}

# --- settings ---

new_service settings
wrong() { # NAME PATTERN SETTING...
	local name=$1 pattern=$2 output code=0
	output=$(in_service env "${@:3}" "$binary" config 2>&1) || code=$?
	like "$name" "$code $output" "$pattern"
	unlike "$name: no secret" "$output" s3cr3t
}
wrong 'a wrong form' '^100 .*REDIS_URL wants the form redis://' REDIS_URL=localhost:6379/s3cr3t
wrong 'a wrong port' '^100 .*REDIS_URL wants a port' REDIS_URL=redis://:s3cr3t@localhost:port
wrong 'TLS is not there' '^100 .*REDIS_URL asks for TLS' REDIS_URL=rediss://:s3cr3t@localhost
printf '%s\n' "$url" >"$dir/url"
wrong 'a file in its place' '^0 ' REDIS_URL_FILE="$dir/url"
is 'config says that it is set' "$(in_service env REDIS_URL="$url" "$binary" config --json | jq -r .REDIS_URL)" set

# --- not there at the start ---

service one REDIS_URL="$url" "${limits[@]}"
one_direct=$pool shared=sqlite:///$dir/data/predictions.db
! on_postgres || shared=$database_url
is 'the service starts without its Redis' "$(lines 127.0.0.30 "$pool/version?[1-105]" | sort | uniq -c | tr -s ' \n' ' ')" ' 100 200 5 429 '
holds 'health says so' redis_is "$pool" 'error: '
redis_run
within 'and when it is there, it is used' 5 redis_is "$pool" ok
service two REDIS_URL="$url" DATABASE_URL="$shared" "${limits[@]}"
two_direct=$pool
within 'the second machine uses it' 5 redis_is "$pool" ok
installation=$(use one && printf '%08x' "$(sql "SELECT value FROM generations WHERE topic = 'installation'")")
like 'the database knows whose it is' "$installation" '^[0-9a-f]{8}$'
all_listen() { [ "$(redis pubsub numsub "appcore:$installation" | tail -n 1)" = 4 ]; }
within 'all four workers listen' 5 all_listen

# --- one limit ---

# Exactly, as long as Redis answers in time: a worker that it kept waiting counts for itself, and then it is tried again
# with another address.
address=127.0.2.1 tried=0
by_redis() { # requests whose limit Redis has told, on both machines
	curl -sS "$one_direct/metrics" "$two_direct/metrics" |
		awk '/^appcore_redis_operations_total/ && /operation="limit"/ && /outcome="ok"/ { sum += $NF } END { printf "%d", sum }'
}
exactly() { # NAME COMMAND REQUESTS EXPECTED: what the command prints for $address
	local before actual
	for _ in {1..8}; do
		tried=$((tried + 1))
		address=127.0.2.$tried
		before=$(by_redis)
		actual=$("$2")
		sleep 2.5 # the metrics are written anew
		if [ "$actual" = "$4" ] || [ $(($(by_redis) - before)) -ge "$3" ]; then break; fi
	done
	is "$1" "$actual" "$4"
}
one_after_the_other() { { lines "$address" "$one_direct/version?[1-60]" && lines "$address" "$two_direct/version?[1-60]"; } | uniq -c | tr -s ' \n' ' '; }
at_the_same_time() {
	local first
	lines "$address" -Z --parallel-max 16 "$one_direct/version?[1-300]" >"$dir/lines" &
	first=$!
	lines "$address" -Z --parallel-max 16 "$two_direct/version?[1-300]" >"$dir/lines2"
	wait "$first"
	cat "$dir/lines" "$dir/lines2" | sort | uniq -c | tr -s ' \n' ' '
}
exactly 'two machines enforce one limit' one_after_the_other 120 ' 100 200 20 429 '
limited=$address
exactly 'also at the same time, exactly' at_the_same_time 600 ' 100 200 500 429 '
one_key_limit() { # NUMBER: a key of three a minute is asked with on one machine, then three times on the other
	local three after machine
	use two
	three=$(appcore key create --name "three$1" --rate 3 --json | jq -r .key)
	# All four know it when they know one that was made after it: asking with it too early would use it up.
	after=$(appcore key create --name "after$1" --rate 0 --json | jq -r .key)
	for machine in one two; do
		use "$machine"
		for _ in {1..300}; do ! key_answers "$after" 201 || break; sleep 0.05; done
	done
	key_answers "$three" 201 || true
	use one
	codes --interface "127.0.3.$1" -H "X-API-Key: $three" -H 'Content-Type: application/json' -d '{"features":[1]}' "$pool/predict?[1-3]"
	curl -sS --interface "127.0.3.$1" -o /dev/null -w '%header{x-ratelimit-remaining}' "$two_direct/version"
}
for i in {1..8}; do # as above: a worker that Redis kept waiting counts for itself
	got=$(one_key_limit "$i")
	[ "$got" != '201 429 429 98' ] || break
done
is 'a new key has one limit on both; what it refuses is not counted against the address' "$got" '201 429 429 98'
use one
is 'a missing key is told before its limit' "$(codes --interface 127.0.0.34 -d '{}' "$pool/predict")" '401 '

# --- keys ---

use two
gone=$(appcore key create --name gone --json | jq -r .key)
use one
within 'a key made on one machine works on the other' 1 key_answers "$gone" 201
appcore key revoke gone >/dev/null
use two
within 'and revoked there is refused here within a second' 1 key_answers "$gone" 403
quiet() { # unless Redis is late
	n=$((n + 1))
	! grep -q Redis <<<"$(appcore key create --name "quiet$n" 2>&1 >/dev/null)"
}
n=0
within 'the command says nothing of Redis when all is well' 5 quiet

# --- the cache ---

post='{"features":[1.5,2]}'
req POST "$one_direct/predict" --interface 127.0.0.40 -H 'X-API-Key: e2e-key-0123456789' -H 'Content-Type: application/json' -d "$post"
id=$(jq -r .prediction_id <<<"$body")
req GET "$one_direct/predictions/$id" --interface 127.0.0.40
first=$body
kept() { req GET "$one_direct/predictions/$id" --interface 127.0.0.40 && [ "$(redis exists "pred:$id")" = 1 ]; }
within 'a read one is kept' 1 kept
ttl=$(redis ttl "pred:$id")
at_most 'for an hour' "$ttl" 3600
is 'as JSON' "$(redis get "pred:$id" | jq -r '.id, .installation' | tr '\n' ' ')" "$id $installation "
req GET "$two_direct/predictions/$id" --interface 127.0.0.40
is 'the other machine answers the same' "$body" "$first"
counted() { [ "$(metric "$1" "appcore_cache_reads_total{outcome=\"$2\"}")" -ge 1 ]; }
within 'the one missed' 3 counted "$one_direct" miss
hits() { req GET "$two_direct/predictions/$id" --interface 127.0.0.40 && counted "$two_direct" hit; }
within 'the other hit' 3 hits
service stranger REDIS_URL="$url" "${limits[@]}"
within 'an installation of its own uses the same Redis' 5 redis_is "$pool" ok
req GET "$pool/predictions/$id" --interface 127.0.0.40
answer 'and never sees another one'"'"'s prediction' 404 '{"detail":"Prediction not found"}'
is 'nor its limits' "$(curl -sS --interface "$limited" -o /dev/null -w '%{http_code}' "$pool/version")" 200
# A restored backup is another installation: what was cached is not its.
before=$(sql "SELECT value FROM generations WHERE topic = 'installation'")
appcore backup "$dir/backup.db" >/dev/null
control stop >/dev/null
appcore restore "$dir/backup.db" >/dev/null
after=$(sql "SELECT value FROM generations WHERE topic = 'installation'")
unlike 'a restored backup is another installation' "$after" "^($before)?\$"

# --- killed, stopped, flushed, under load ---

service load REDIS_URL="$url" RATE_LIMIT_PER_MINUTE=100000000 KEY_RATE_LIMIT_PER_MINUTE=100000000 API_KEY=e2e-key-0123456789
within 'it uses Redis' 5 redis_is "$pool" ok
cat >"$dir/post.lua" <<'LUA'
wrk.method = "POST"
wrk.body = '{"features":[1.0,2.0,3.0]}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = "e2e-key-0123456789"
LUA
wrk -t1 -c16 -d600 --timeout 60 -s "$dir/post.lua" "$pool/predict" >"$dir/wrk" 2>&1 8>&- &
load=$!
helpers+=("$load")
opened() { metric "$pool" appcore_redis_breaker_opened_total; }
opens_again() { [ "$(opened)" -gt "$before" ]; }
sleep 1
is 'scripts flushed' "$(redis script flush)" OK
sleep 0.5
is 'all flushed' "$(redis flushall)" OK
sleep 0.5
before=$(opened)
kill -STOP "$redis_pid"
within 'stopped: the breaker opens' 5 opens_again
kill -CONT "$redis_pid"
within 'stopped and back: it is used again' 5 redis_is "$pool" ok
before=$(opened)
kill -9 "$redis_pid"
within 'killed: the breaker opens' 5 opens_again
redis_run
within 'killed and back: it is used again' 5 redis_is "$pool" ok
kill -INT "$load" # then it tells what it has seen
wait "$load" || true
unlike 'no request failed meanwhile' "$(cat "$dir/wrk")" 'Non-2xx|Socket errors'
sent=$(sed -n 's/^ *\([0-9]*\) requests in .*/\1/p' "$dir/wrk")
at_most 'and all that were answered are stored' "$sent" "$(rows)"
unlike 'nothing that was logged holds the password' "$(cat "$dir"/run/log/*.log)" s3cr3t
