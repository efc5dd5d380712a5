#!/usr/bin/env bash
# What thousands of listeners to events cost a worker, and how far apart the first and the last of them hear of a change.
#
#   streams.sh [STREAMS [CHANGES]]      2000 and 5; needs `make all`, curl, jq, sqlite3 and python3
#
# Starts a service with one worker for requests and none for tasks in a folder of its own, makes a superuser for every 16
# streams, opens the streams through nginx (?all=true: each hears of every change), adds tasks one by one, and prints the
# worker's resident memory before and after, and the times. The client, nginx and the worker share the processors.
set -euo pipefail

home=$(cd "$(dirname "$0")/../.." && pwd)
streams=${1:-2000} changes=${2:-5}
dir=$(mktemp -d "${TMPDIR:-/tmp}/appcore-streams.XXXXXX")
export APPCORE_BIN=$home/build/release/appcore SECRET_KEY=0123456789abcdef0123456789abcdef-bench
export HTTPS_PORT=19543 HTTP_PORT=19580 DIRECT_PORT=19500 INSTANCES=1 WORKERS=0
export RATE_LIMIT_PER_MINUTE=0 USER_RATE_LIMIT_PER_MINUTE=0
cd "$dir"
finish() {
	"$home/scripts/service.sh" stop >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap finish EXIT
ulimit -n "$(ulimit -Hn)"
"$home/scripts/service.sh" start >/dev/null 2>&1
url=http://localhost:$DIRECT_PORT

for ((i = 0; i < (streams + 15) / 16; i++)); do
	curl -sS -o /dev/null -H 'Content-Type: application/json' "$url/api/v1/auth/register" \
		-d "{\"username\":\"listener$i\",\"email\":\"listener$i@example.com\",\"password\":\"testpass123\"}"
	curl -sS "$url/api/v1/auth/login" -d "username=listener$i&password=testpass123" | jq -r .access_token
done >tokens
sqlite3 -cmd '.timeout 5000' -cmd 'PRAGMA wal_autocheckpoint=0' data/predictions.db 'UPDATE users SET is_superuser = 1' >/dev/null
token=$(head -n 1 tokens)
worker=$(sed -n 's/^worker \([0-9]*\) .*/\1/p' run/appcore-1.pid)
resident() { awk '/^VmRSS/ {print $2}' "/proc/$worker/status"; }
threads() { awk '/^Threads/ {print $2}' "/proc/$worker/status"; }
before=$(resident) threads=$(threads)

python3 "$home/tests/e2e/listen.py" crowd "$url/api/v1/events?all=true" tokens "$streams" --events "$changes" --within 120 \
	--ready ready >report &
crowd=$!
until [ -e ready ]; do sleep 0.1; done
sleep 1
after=$(resident)
printf '%s streams: %s kB resident before, %s kB after, %s kB each; threads %s and %s\n' "$streams" "$before" "$after" \
	"$(awk "BEGIN {printf \"%.1f\", ($after - $before) / $streams}")" "$threads" "$(threads)"
for ((i = 0; i < changes; i++)); do
	[ "$i" -eq 0 ] || sleep 2
	sent=$EPOCHREALTIME
	curl -sS -o /dev/null -H 'Content-Type: application/json' -H "Authorization: Bearer $token" "$url/api/v1/tasks" -d '{"kind":"echo"}'
done
wait "$crowd" || true
jq -r --arg sent "$sent" '"\(.open) open, each got \(.least) to \(.most) events; the last change: \((.last_at - ($sent | tonumber)) * 1000 | round) ms until the last listener had it, \(.spread_ms) ms between the first and the last"' report
printf '%s kB resident at the end\n' "$(resident)"
