# Limits: the application's per address and per key, nginx's zones, who is counted and who is not.
# shellcheck shell=bash disable=SC2154
service main RATE_LIMIT_PER_MINUTE=100 KEY_RATE_LIMIT_PER_MINUTE=5

# Addresses of the loopback network stand for clients.
lines() { # ADDRESS URL...: "code remaining" for each request
	local address=$1
	shift
	curl -sS -4 -m 60 --interface "$address" -o /dev/null -w '%{http_code} %header{x-ratelimit-remaining}\n' "$@"
}

# --- 100 per minute and address, over all workers ---

lines 127.0.0.11 "$pool/health?[1-105]" >"$dir/lines"
is 'exactly 100 of 105 pass (A-080)' "$(cut -d ' ' -f 1 "$dir/lines" | uniq -c | tr -s ' \n' ' ')" ' 100 200 5 429 '
is 'X-RateLimit-Remaining goes from 99 to 0 (A-083)' "$(cut -d ' ' -f 2 "$dir/lines" | head -n 100 | tr '\n' ' ')" "$(seq -s ' ' 99 -1 0) "
is 'and stays 0' "$(tail -n 5 "$dir/lines" | cut -d ' ' -f 2 | tr '\n' ' ')" '0 0 0 0 0 '
req GET "$pool/health" --interface 127.0.0.11
answer 'the answer above the limit (A-082)' 429 '{"detail":"Rate limit exceeded. Try again later."}'
like 'it says when' "${h[retry-after]-}" '^([1-9]|[1-5][0-9]|60)$'
like 'it has a request id (A-084)' "${h[x-request-id]-}" '^[0-9a-f]{32}$'
is 'and the security headers' "${h[x-frame-options]-} ${h[x-content-type-options]-}" 'DENY nosniff'
req GET /version --interface 127.0.0.11
is 'the other listeners count the same' "$status" 429

lines 127.0.0.12 "$one/version?[1-60]" >"$dir/lines"
lines 127.0.0.12 "$two/version?[1-60]" >>"$dir/lines"
is 'both workers share the count' "$(cut -d ' ' -f 1 "$dir/lines" | uniq -c | tr -s ' \n' ' ')" ' 100 200 20 429 '

before=$(rows)
req POST "$pool/predict" --interface 127.0.0.11 -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1]}'
is 'a prediction above the limit' "$status" 429
is 'is not stored' "$(rows)" "$before"
for path in /nope /predictions/x; do
	req GET "$pool$path" --interface 127.0.0.11
	is "$path counts as well" "$status" 429
done
req GET "$pool/version" --interface 127.0.0.13
is 'another address is served' "$status ${h[x-ratelimit-remaining]-}" '200 99'
for path in /livez /readyz /api/v1/livez /metrics /nginx-health; do
	req GET "$pool$path" --interface 127.0.0.11
	is "$path is exempt (X-19, A-115)" "$status ${h[x-ratelimit-remaining]-none}" '200 none'
done
codes=$(codes --interface 127.0.0.14 "$pool/metrics?[1-120]")
is '/metrics has no limit' "$(count_of 200 "$codes")" 120

# --- who is asking ---

req GET "$pool/health" --interface 127.0.0.11 -H 'X-Forwarded-For: 8.8.8.8' -H 'X-Real-IP: 8.8.8.8' -H 'Forwarded: for=8.8.8.8' -H 'Remote-Addr: 8.8.8.8'
is 'a forged address changes nothing (A-087)' "$status" 429

# --- per key ---

create() { appcore key create --name "$1" --rate "$2" --json | jq -r .key; }
three=$(create three 3) free=$(create free 0)
with_key() { # ADDRESS KEY TIMES
	codes --interface "$1" -H "X-API-Key: $2" -H 'Content-Type: application/json' -d '{"features":[1]}' "$pool/predict?[1-$3]"
}
within 'the new keys work' 2 key_answers "$free" 201
is 'a key with --rate 3' "$(with_key 127.0.0.21 "$three" 5)" '201 201 201 429 429 '
is 'no other address helps it' "$(with_key 127.0.0.22 "$three" 1)" '429 '
req POST "$pool/predict" --interface 127.0.0.22 -H "X-API-Key: $three" -H 'Content-Type: application/json' -d '{"features":[1]}'
like 'it is told when' "${h[retry-after]-} ${h[x-ratelimit-remaining]-}" '^([1-9]|[1-5][0-9]|60) 0$'
is 'KEY_RATE_LIMIT_PER_MINUTE is the default' "$(with_key 127.0.0.23 "$key" 7)" '201 201 201 201 201 429 429 '
is 'a key with --rate 0 has none' "$(count_of 201 "$(with_key 127.0.0.24 "$free" 30)")" 30
is 'reads without a key are not counted to it' "$(codes --interface 127.0.0.22 "$pool/predictions?limit=[1-3]")" '200 200 200 '

# --- nginx's zones ---

began=${EPOCHREALTIME/[.,]/}
codes=$(codes -Z --parallel-immediate --parallel-max 60 --interface 127.0.0.31 "$clear/version?[1-60]")
seconds=$(((${EPOCHREALTIME/[.,]/} - began) / 1000000 + 1))
holds 'clear HTTP: a burst of 20 passes (A-114)' [ "$(count_of 200 "$codes")" -ge 20 ]
at_most "and 30 a second, in $seconds s" "$(count_of 200 "$codes")" $((21 + 30 * seconds))
is 'the others are 429' "$(($(count_of 200 "$codes") + $(count_of 429 "$codes")))" 60
began=${EPOCHREALTIME/[.,]/}
refused_of --interface 127.0.0.32 "$clear/version?[1-600]"
seconds=$(((${EPOCHREALTIME/[.,]/} - began) / 1000000))
if [ "$status" = none ] && [ "$seconds" -ge 15 ]; then
	skip "nginx's own 429: this machine sends less than 30 requests a second"
else
	answer "nginx's own 429 (X-20)" 429 '{"detail":"Rate limit exceeded. Try again later."}'
	is 'its headers' "${h[content-type]-} ${h[retry-after]-} ${h[x-ratelimit-remaining]-} ${h[x-frame-options]-} ${h[x-content-type-options]-}" 'application/json 1 0 DENY nosniff'
fi
# Below /api/ users have limits of their own, and the zone is a fence around them that they do not meet first (X-63).
codes=$(codes -Z --parallel-immediate --parallel-max 100 --interface 127.0.0.33 "$base/api/v1/users/me?[1-700]")
like 'HTTPS /api/: 60 a minute and 600 at once (B-033)' "$(count_of 401 "$codes") of 700" '^6[0-9][0-9] of'
is 'the others are 429 there, too' "$(($(count_of 401 "$codes") + $(count_of 429 "$codes")))" 700
codes=$(codes -Z --parallel-immediate --parallel-max 100 --interface 127.0.0.34 -X POST "$base/api/v1/auth/login?[1-150]")
like 'login: 5 a minute and 100 at once (X-64)' "$(count_of 422 "$codes") of 150" '^1[0-4][0-9] of'
refused_of --interface 127.0.0.36 -X POST "$base/api/v1/auth/login?[1-150]"
is 'login says 12 seconds' "$status ${h[retry-after]-}" '429 12'
codes=$(codes --interface 127.0.0.35 "$base/health?[1-100]")
is 'health has no limit of nginx (B-095)' "$(count_of 200 "$codes")" 100

# --- a limit of 0 switches it off, nginx's zones included ---

service off
codes="$(codes "$clear/version?[1-150]") $(codes "$base/api/v1/version?[1-150]") $(codes -X POST "$base/api/v1/auth/login?[1-20]")"
is 'RATE_LIMIT_PER_MINUTE=0: nobody is refused' "$(count_of 200 "$codes") $(count_of 422 "$codes")" '300 20'
req GET /version
is 'and nobody is told' "${h[x-ratelimit-remaining]-none}" none
is 'no zones in the configuration' "$(grep -rc 'limit_req\|limit_conn' "$dir/run/nginx/conf" | grep -vc ':0$')" 0

# --- trusted proxies, other forms of the headers ---

service proxy RATE_LIMIT_PER_MINUTE=3 RATE_LIMIT_HEADERS=both TRUSTED_PROXIES=127.0.0.0/8
from() { req GET "$pool/version" -H "X-Forwarded-For: $1"; }
from 203.0.113.1
is "a trusted proxy's client" "$status ${h[x-ratelimit-remaining]-}" '200 2'
from 203.0.113.1
from 203.0.113.1
from 203.0.113.1
is 'has its own limit' "$status" 429
from 203.0.113.2
is 'and another client another' "$status ${h[x-ratelimit-remaining]-}" '200 2'
from '203.0.113.77, 203.0.113.1'
is 'what the client itself wrote in front does not count' "$status" 429
from '203.0.113.3, 127.0.0.9'
is 'proxies behind proxies are skipped' "$status ${h[x-ratelimit-remaining]-}" '200 2'
from 2001:db8::1
from 2001:db8::2:3
is 'IPv6 counts by /64' "$status ${h[x-ratelimit-remaining]-}" '200 1'
from 2001:db8:0:1::1
is 'another /64 is another' "$status ${h[x-ratelimit-remaining]-}" '200 2'
like 'RateLimit-Policy' "${h[ratelimit-policy]-}" '^"address";q=3;w=60$'
like 'RateLimit' "${h[ratelimit]-}" '^"address";r=2;t=[0-9]+$'
five_lines() { [ "$(jq -r 'select(.client != null) | .client' "$dir"/run/log/appcore-*.log | grep -c '^203.0.113.1$')" = 5 ]; }
within 'the log has the real client' 5 five_lines
