# Accounts: the contract's own checks as they are written, two workers, tokens that are none, keys that are replaced.
# shellcheck shell=bash disable=SC2154
json=(-H 'Content-Type: application/json')

# as_written: runs the commands on standard input, which are the contract's, with this service's ports for the standard
# ones. What they print is in $printed, and for how long they ran in $seconds.
as_written() {
	local started=${EPOCHREALTIME/[.,]/}
	printed=$(sed -e "s|https://localhost/|https://localhost:$https/|g" -e "s|http://localhost/|http://localhost:$http/|g" \
		-e "s|http://localhost:8001/|$one/|g" -e "s|http://localhost:8002/|$two/|g" | (cd "$dir" && bash) 2>&1) || true
	seconds=$(((${EPOCHREALTIME/[.,]/} - started) / 1000000))
}

# A window of time has to be long enough for what is sent in it.
timely() { # NAME LIMIT ACTUAL EXPECTED
	if [ "$seconds" -lt "$2" ]; then is "$1" "$3" "$4"; else skip "$1: the machine took $seconds s"; fi
}

one_line() { tr -s ' \n' ' ' <<<"$1"; }

service main RATE_LIMIT_PER_MINUTE=100 RATE_LIMIT_HEADERS=legacy

# --- 8.2: limits, first: they want a fresh service ------------------------------------------------------------------

loaded() {
	local listener
	for listener in "$one" "$two"; do
		req POST "$listener/api/v1/sentiment/analyze" "${json[@]}" -H "Authorization: Bearer $token" -d '{"text":"x"}'
		[ "$status" = 200 ] || return 1
	done
}
token_of() { # NAME [PASSWORD]
	req POST /api/v1/auth/login -d "username=$1&password=${2:-testpass123}"
	jq -r .access_token <<<"$body"
}
req POST /api/v1/auth/register "${json[@]}" -d '{"username":"testuser","email":"test@example.com","password":"testpass123"}'
is 'registering (B-076)' "$status" 201
is 'what is told of a user (B-077)' "$(jq -r 'keys_unsorted | join(" ")' <<<"$body") $(jq -c '[.id, .email, .username, .is_active, .is_superuser]' <<<"$body")" \
	'id email username is_active is_superuser created_at updated_at [1,"test@example.com","testuser",true,false]'
token=$(token_of testuser)
within 'both workers have the model' 60 loaded

as_written <<'WRITTEN'
for i in {1..6}; do
  echo "Request $i:"
  curl -k -s -o /dev/null -w "HTTP Status: %{http_code}\n" \
    -X POST https://localhost/api/v1/auth/login \
    -H "Content-Type: application/x-www-form-urlencoded" \
    -d "username=fakeuser&password=fakepass"
done
WRITTEN
timely '8.2, 1: six wrong logins (B-034)' 10 "$(one_line "$printed")" \
	'Request 1: HTTP Status: 401 Request 2: HTTP Status: 401 Request 3: HTTP Status: 401 Request 4: HTTP Status: 401 Request 5: HTTP Status: 429 Request 6: HTTP Status: 429 '

as_written <<'WRITTEN'
# Register a test user (skip if already exists)
curl -k -s -X POST https://localhost/api/v1/auth/register \
  -H "Content-Type: application/json" \
  -d '{"username": "ratelimituser", "email": "ratelimit@test.com", "password": "testpass123"}'

# Login and get token
TOKEN=$(curl -k -s -X POST https://localhost/api/v1/auth/login \
  -H "Content-Type: application/x-www-form-urlencoded" \
  -d "username=ratelimituser&password=testpass123" | grep -o '"access_token":"[^"]*' | sed 's/"access_token":"//')
echo
for i in {1..65}; do
  STATUS=$(curl -k -s -o /dev/null -w "%{http_code}" \
    -X POST https://localhost/api/v1/sentiment/analyze \
    -H "Authorization: Bearer $TOKEN" \
    -H "Content-Type: application/json" \
    -d '{"text": "test"}')
  if [ "$STATUS" = "429" ]; then
    echo "Rate limited at request $i (HTTP 429)"
    break
  fi
done
WRITTEN
like '8.2, 2: right after wrong logins of another (B-038)' "$printed" '"username":"ratelimituser","is_active":true'
timely '8.2, 2: the 61st of 60 a minute (B-035, B-036, X-63)' 50 "${printed##*$'\n'}" 'Rate limited at request 61 (HTTP 429)'

# --- 8.1: TLS -------------------------------------------------------------------------------------------------------

as_written <<'WRITTEN'
curl -k -v https://localhost/health 2>&1 | grep -E "(SSL|TLS|subject|issuer)"
WRITTEN
like '8.1, 1: TLS 1.3' "$printed" 'SSL connection using TLSv1\.3 / TLS_AES_256_GCM_SHA384'
like '8.1, 1: the certificate' "$(one_line "$printed")" 'subject: CN=localhost .*issuer: CN=localhost'
as_written <<'WRITTEN'
curl -I http://localhost/ 2>&1 | head -5
WRITTEN
like '8.1, 2: the redirect (B-029)' "$(one_line "$(tr -d '\r' <<<"$printed")")" "HTTP/1\.1 301 Moved Permanently .*Server: nginx"
as_written <<'WRITTEN'
curl -s -I http://localhost/ | grep -E "^(Server|Location)"
WRITTEN
is '8.1, 2: where to' "$(one_line "$(tr -d '\r' <<<"$printed")")" "Server: nginx Location: https://localhost:$https/ "
# HTTP/2, which curl speaks when it may, has names of headers in small letters only.
as_written <<'WRITTEN'
curl -k -I https://localhost/health 2>&1 | grep -iE "(Strict-Transport|X-Frame|X-Content-Type|X-XSS)"
WRITTEN
is '8.1, 3: headers (B-031, B-032)' "$(tr -d '\r' <<<"$printed" | tr '[:upper:]' '[:lower:]' | sort | tr '\n' ' ')" \
	'strict-transport-security: max-age=31536000; includesubdomains x-content-type-options: nosniff x-frame-options: sameorigin x-xss-protection: 1; mode=block '

# --- 8.3: two instances ---------------------------------------------------------------------------------------------

as_written <<'WRITTEN'
for i in {1..6}; do
  echo "Request $i:"
  curl -k -s https://localhost/health | grep -o '"api":"[^"]*"'
done
WRITTEN
is '8.3, 1: both answer' "$(grep -c '^"api":"ok"$' <<<"$printed")" 6
as_written <<'WRITTEN'
echo "API Instance 1 (direct):"
curl -s http://localhost:8001/health | head -c 100

echo -e "\n\nAPI Instance 2 (direct):"
curl -s http://localhost:8002/health | head -c 100
WRITTEN
like '8.3, 2: each by itself' "$(one_line "$printed")" '^API Instance 1 \(direct\): \{"status":"healthy","api":"ok","database":"ok","redis":"ok".* API Instance 2 \(direct\): \{"status":"healthy","api":"ok","database":"ok","redis":"ok"'
supervisor=$(sed -n 's/^supervisor \([0-9]*\) .*/\1/p' "$dir/run/appcore-2.pid")
kill -STOP "$supervisor"
kill -9 "$(worker_pid 2)"
as_written <<'WRITTEN'
for i in {1..3}; do
  curl -k -s -o /dev/null -w "Request $i: HTTP %{http_code}\n" https://localhost/health
done
WRITTEN
is '8.3, 3: one is gone' "$printed" "$(printf 'Request %d: HTTP 200\n' 1 2 3)"
kill -CONT "$supervisor"
back() { req GET "$two/livez" && [ "$status" = 200 ]; }
within 'it comes back' 30 back

# --- 8.4: who may ---------------------------------------------------------------------------------------------------

as_written <<'WRITTEN'
curl -k -s https://localhost/api/v1/sentiment/analyze \
  -H "Content-Type: application/json" \
  -d '{"text": "test"}'
WRITTEN
is '8.4, 1: without a token (B-072)' "$printed" '{"detail":"Not authenticated"}'
as_written <<'WRITTEN'
curl -k -s https://localhost/api/v1/sentiment/analyze \
  -H "Authorization: Bearer invalid_token_here" \
  -H "Content-Type: application/json" \
  -d '{"text": "test"}'
WRITTEN
is '8.4, 2: with a bad one (B-073)' "$printed" '{"detail":"Could not validate credentials"}'
within 'both workers have the model again' 60 loaded
as_written <<'WRITTEN'
# Login and get token
TOKEN=$(curl -k -s -X POST https://localhost/api/v1/auth/login \
  -H "Content-Type: application/x-www-form-urlencoded" \
  -d "username=testuser&password=testpass123" | grep -o '"access_token":"[^"]*' | sed 's/"access_token":"//')

# Access protected endpoint
curl -k -s https://localhost/api/v1/sentiment/analyze \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"text": "I love this product!"}'

# Without token
echo -e "\nWithout token:"
curl -k -s https://localhost/api/v1/users/me

# With token
echo -e "\n\nWith token:"
curl -k -s https://localhost/api/v1/users/me \
  -H "Authorization: Bearer $TOKEN"
echo
echo $TOKEN | cut -d'.' -f2 | base64 -d 2>/dev/null | python3 -m json.tool
WRITTEN
like '8.4, 3: with a good one' "$(head -n 1 <<<"$printed")" '^\{"text":"I love this product!","sentiment":"positive","confidence":[0-9.]+,"processing_time":[0-9.e-]+\}$'
like '8.4, 4: the profile (B-088)' "$(one_line "$printed")" 'Without token: \{"detail":"Not authenticated"\} With token: \{"id":1,"email":"test@example.com","username":"testuser","is_active":true,"is_superuser":false,"created_at":"[^"]*","updated_at":"[^"]*"\}'
like '8.4, 5: what the token says (B-067)' "$(one_line "$printed")" ' \{ "sub": "testuser", "exp": [0-9]{10},'
expiry=$(sed -n 's/^ *"exp": \([0-9]*\),/\1/p' <<<"$printed")
like '8.4, 5: for half an hour (B-068)' "$((expiry - $(date +%s)))" '^(17[0-9][0-9]|1800|180[0-9])$'

# --- 8.5: all at once -----------------------------------------------------------------------------------------------

as_written <<'WRITTEN'
echo "=== TLS Verification ==="
curl -k -s -o /dev/null -w "HTTPS Health Check: %{http_code}\n" https://localhost/health

echo -e "\n=== HTTP to HTTPS Redirect ==="
curl -s -o /dev/null -w "HTTP Redirect: %{http_code} -> " http://localhost/
curl -k -s -o /dev/null -w "%{redirect_url}\n" http://localhost/

echo -e "\n=== Load Balancer (both instances) ==="
curl -s -o /dev/null -w "API1 Direct: %{http_code}\n" http://localhost:8001/health
curl -s -o /dev/null -w "API2 Direct: %{http_code}\n" http://localhost:8002/health

echo -e "\n=== Authorization ==="
curl -k -s -o /dev/null -w "No Token: %{http_code}\n" https://localhost/api/v1/users/me

TOKEN=$(curl -k -s -X POST https://localhost/api/v1/auth/login \
  -H "Content-Type: application/x-www-form-urlencoded" \
  -d "username=testuser&password=testpass123" | grep -o '"access_token":"[^"]*' | sed 's/"access_token":"//')

curl -k -s -o /dev/null -w "With Token: %{http_code}\n" \
  -H "Authorization: Bearer $TOKEN" https://localhost/api/v1/users/me

echo -e "\n=== Rate Limiting (login - expect 429 after burst) ==="
for i in {1..6}; do
  curl -k -s -o /dev/null -w "$i:%{http_code} " \
    -X POST https://localhost/api/v1/auth/login \
    -H "Content-Type: application/x-www-form-urlencoded" \
    -d "username=fake&password=fake"
done
echo ""
WRITTEN
timely '8.5: the whole script (B-037, X-64)' 10 "$printed" "=== TLS Verification ===
HTTPS Health Check: 200

=== HTTP to HTTPS Redirect ===
HTTP Redirect: 301 -> https://localhost:$https/

=== Load Balancer (both instances) ===
API1 Direct: 200
API2 Direct: 200

=== Authorization ===
No Token: 401
With Token: 200

=== Rate Limiting (login - expect 429 after burst) ===
1:401 2:401 3:401 4:401 5:429 6:429 "

# --- registering and logging in -------------------------------------------------------------------------------------

service two USER_RATE_LIMIT_PER_MINUTE=0

enrol() { # NAME [EMAIL] [LISTENER]
	req POST "${3:-}/api/v1/auth/register" "${json[@]}" -d "{\"username\":\"$1\",\"email\":\"${2:-$1@example.com}\",\"password\":\"testpass123\"}"
}
enter() { # NAME PASSWORD [LISTENER] [MORE OF THE FORM]
	req POST "${3:-}/api/v1/auth/login" -d "username=$1&password=$2${4:-}"
}
me() { # TOKEN [LISTENER]
	req GET "${2:-}/api/v1/users/me" -H "Authorization: Bearer $1"
}
access() { jq -r .access_token <<<"$body"; }

enrol ada
enrol ada other@example.com "$two"
answer 'the name is taken, also at the other worker (B-078)' 400 '{"detail":"Username or email already registered"}'
enrol other ADA@EXAMPLE.COM "$one"
answer 'and so is the address' 400 '{"detail":"Username or email already registered"}'
for i in 1 2 3 4 5 6 7 8; do
	listener=$one
	[ $((i % 2)) -eq 0 ] || listener=$two
	curl -sS -4 -o /dev/null -w '%{http_code}\n' "${json[@]}" -d '{"username":"race","email":"race@example.com","password":"testpass123"}' \
		"$listener/api/v1/auth/register" >"$dir/race.$i" &
	helpers+=("$!")
done
wait "${helpers[@]}"
helpers=()
is 'of eight at once at both workers one is first' "$(sort "$dir"/race.* | uniq -c | tr -s ' \n' ' ')" ' 1 201 7 400 '

enter ada testpass123 "$one"
like 'the answer (B-084)' "$status $body" '^200 \{"access_token":"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+","token_type":"bearer"\}$'
like 'the refresh token is out of reach of scripts' "${h[set-cookie]-}" '^refresh_token=rt_[0-9a-f]{32}_[A-Za-z0-9_-]{43}; Path=/api/v1/auth/refresh; Max-Age=2592000; HttpOnly; Secure; SameSite=Strict$'
token=$(access)
me "$token" "$two"
is 'a token of one worker at the other (B-071)' "$status $(jq -r .username <<<"$body")" '200 ada'
enter ada wrong
answer 'a wrong password (B-085)' 401 '{"detail":"Incorrect username or password"}'
is 'without a challenge' "${h[www-authenticate]-none}" none
enter nobody testpass123
answer 'nobody' 401 '{"detail":"Incorrect username or password"}'
req POST /api/v1/auth/login "${json[@]}" -d '{"username":"ada","password":"testpass123"}'
answer 'JSON is no form (B-086)' 422 '{"detail":[{"type":"missing","loc":["body","username"],"msg":"Field required","input":null},{"type":"missing","loc":["body","password"],"msg":"Field required","input":null}]}'
req POST /api/v1/auth/login -F username=ada -F password=testpass123
is 'multipart/form-data is one' "$status" 200
enter ada testpass123 '' '&grant_type=x'
answer 'another grant (B-087)' 422 '{"detail":[{"type":"string_pattern_mismatch","loc":["body","grant_type"],"msg":"String should match pattern '"'password'"'","input":"x","ctx":{"pattern":"password"}}]}'

# --- tokens that are none -------------------------------------------------------------------------------------------

refused() { # NAME TOKEN
	me "$2"
	is "$1" "$status $body ${h[www-authenticate]-}" '401 {"detail":"Could not validate credentials"} Bearer'
}
base64url() { base64 -w 0 | tr '+/' '-_' | tr -d '='; }
IFS=. read -r head claims mac <<<"$token"
refused 'another name in it (B-069)' "$head.$(base64 -d <<<"$claims" | sed 's/"ada"/"eve"/' | base64url).$mac"
refused 'a longer life in it' "$head.$(base64 -d <<<"$claims" | sed 's/"exp":[0-9]*/"exp":9999999999/' | base64url).$mac"
refused 'the algorithm none' "$(printf '{"alg":"none","typ":"JWT"}' | base64url).$claims."
refused 'the algorithm none, with a signature' "$(printf '{"alg":"none","typ":"JWT"}' | base64url).$claims.$mac"
refused 'without a signature' "$head.$claims."
refused 'a signature that is cut' "$head.$claims.${mac%?}"
refused 'a signature with another key' "$head.$claims.$(printf '%s.%s' "$head" "$claims" | openssl dgst -sha256 -hmac guessed -binary | base64url)"
secret=$(sed -n 's/^SECRET_KEY=//p' "$dir/.env" | tr -d "'\"")
hmac() { printf '%s' "$1" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf '%s' "$secret" | od -An -tx1 | tr -d ' \n')" -binary | base64url; }
is 'the signature is HMAC-SHA256 with SECRET_KEY' "$(hmac "$head.$claims")" "$mac"
old=$(base64 -d <<<"$claims" | sed "s/\"exp\":[0-9]*/\"exp\":$(($(date +%s) - 5))/; s/\"iat\":[0-9]*/\"iat\":$(($(date +%s) - 1805))/" | base64url)
refused 'expired, and signed with the key' "$head.$old.$(hmac "$head.$old")"
refused 'very long' "$(head -c 6000 /dev/zero | tr '\0' a)"
me "$token"
is 'the good one still is' "$status" 200
req GET /api/v1/users/me -H "Authorization: Basic $(printf ada:testpass123 | base64)"
is 'another scheme (B-072)' "$status $body ${h[www-authenticate]-}" '401 {"detail":"Not authenticated"} Bearer'

# --- sessions -------------------------------------------------------------------------------------------------------

enter ada testpass123 "$one" '&scope=offline_access'
first=$(jq -r .refresh_token <<<"$body") other=$(access)
refresh() { # TOKEN [LISTENER]
	req POST "${2:-}/api/v1/auth/refresh" -d "grant_type=refresh_token&refresh_token=$1"
}
refresh "$first" "$two"
like 'a refresh token of one worker at the other' "$status $body" '^200 \{"access_token":"[^"]+","token_type":"bearer","expires_in":1800,"refresh_token":"rt_[^"]+"\}$'
second=$(jq -r .refresh_token <<<"$body")
me "$(access)"
is 'its access token is good' "$status" 200
refresh "$first" "$one"
is 'used a second time it ends its session' "$status" 401
me "$other" "$two"
is 'at once and everywhere' "$status" 401
refresh "$second"
is 'its successor has ended, too' "$status" 401
me "$token"
is 'other sessions go on' "$status" 200
rm -f "$dir/jar"
req POST /api/v1/auth/login -d 'username=ada&password=testpass123' -c "$dir/jar"
req POST /api/v1/auth/refresh -b "$dir/jar" -c "$dir/jar"
is 'a browser refreshes with its cookie' "$status $(jq -r .token_type <<<"$body")" '200 bearer'
other=$(access)
req POST "$one/api/v1/auth/logout" -H "Authorization: Bearer $other"
is 'logging out at one worker (C-054)' "$status" 204
me "$other" "$two"
is 'is known to the other at once' "$status" 401
req POST /api/v1/auth/refresh -b "$dir/jar"
is 'and no cookie brings it back' "$status" 401
other=$(token_of ada)
req PATCH "$one/api/v1/users/me" "${json[@]}" -H "Authorization: Bearer $other" -d '{"password":"another pass","current_password":"testpass123"}'
is 'a new password' "$status" 200
me "$other" "$two"
is 'the session that changed it goes on' "$status" 200
me "$token" "$two"
is 'all others have ended' "$status" 401
enter ada testpass123
is 'the old one is good for nothing' "$status" 401
token=$(token_of ada 'another pass')

change 'UPDATE users SET is_active = 0'
me "$token"
answer 'who is switched off (B-074)' 400 '{"detail":"Inactive user"}'
change 'UPDATE users SET is_active = 1'

# What an operator does in a transaction that is under way is not undone by what comes meanwhile. SQLite has one writer.
if on_postgres; then
	req POST /api/v1/auth/register "${json[@]}" -d '{"username":"eve","email":"eve@example.com","password":"testpass123"}'
	eve=$(token_of eve)
	asleep() { [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")" = 1 ] || ! kill -0 "$!" 2>/dev/null; } # or was, and nobody has looked
	change "BEGIN; UPDATE users SET is_active = 0 WHERE username = 'eve'; SELECT pg_sleep(3); COMMIT" &
	within 'an operator disables somebody' 10 asleep
	req PATCH "$one/api/v1/users/me" "${json[@]}" -H "Authorization: Bearer $eve" -d '{}'
	wait "$!"
	is 'who does not change that' "$(sql "SELECT is_active FROM users WHERE username = 'eve'")" 0
	change "UPDATE users SET is_active = 1 WHERE username = 'eve'"
	change "BEGIN; UPDATE users SET hashed_password = 'another' WHERE username = 'eve'; UPDATE sessions SET ended_us = 1; SELECT pg_sleep(3); COMMIT" &
	within 'or resets a password' 10 asleep
	enter eve testpass123
	wait "$!"
	is 'and the old one opens no session' "$((status == 200)) $(sql 'SELECT count(*) FROM sessions WHERE ended_us = 0')" '0 0'
	token=$(token_of ada 'another pass')
fi

# --- keys of one's own ----------------------------------------------------------------------------------------------

own=(-H "Authorization: Bearer $token")
req POST "$one/api/v1/users/me/keys" "${json[@]}" "${own[@]}" -d '{"name":"laptop","expires_in_days":7}'
is 'making a key (C-053)' "$status $(jq -r 'keys_unsorted | join(" ")' <<<"$body")" '201 id name key created_at expires_at'
mine=$(jq -r .key <<<"$body") id=$(jq -r .id <<<"$body")
req GET "$two/api/v1/users/me" -H "X-API-Key: $mine"
is 'it opens its owner at the other worker at once' "$status $(jq -r .username <<<"$body")" '200 ada'
req POST "$two/predict" "${json[@]}" -H "X-API-Key: $mine" -d '{"features":[1]}'
is "and not what the operator's open" "$status" 403
req GET /api/v1/users/me -H "X-API-Key: $key"
is "which open nobody's account" "$status" 403
is 'the key itself is nowhere in the database' "$(dump | grep -c "$mine")" 0
req DELETE "$one/api/v1/users/me/keys/$id" "${own[@]}"
is 'revoking it' "$status" 204
req GET "$two/api/v1/users/me" -H "X-API-Key: $mine"
is 'is known to the other worker at once' "$status" 401
tries=()
for i in $(seq 30); do
	codes -X POST "${json[@]}" "${own[@]}" -d "{\"name\":\"key $i\"}" "$pool/api/v1/users/me/keys" >"$dir/made.$i" &
	tries+=($!)
done
wait "${tries[@]}"
is 'of 30 at once as many are made as one may have' "$(cat "$dir"/made.* | tr ' ' '\n' | sort | uniq -c | tr -s ' \n' ' ')" ' 20 201 10 409 '

# --- SECRET_KEY is replaced -----------------------------------------------------------------------------------------

set_key() { # SETTING VALUE
	sed -i "/^$1=/d" "$dir/.env"
	printf '%s=%s\n' "$1" "$2" >>"$dir/.env"
}
set_key SECRET_KEY "$(head -c 48 /dev/urandom | base64 -w 0)"
set_key SECRET_KEY_PREVIOUS "$secret"
holds 'a new SECRET_KEY, the old as SECRET_KEY_PREVIOUS' control restart
me "$token"
is 'nobody is logged out' "$status" 200
fresh=$(token_of ada 'another pass')
me "$fresh"
is 'new tokens have the new key' "$status" 200
set_key SECRET_KEY_PREVIOUS ''
holds 'later the old one goes' control restart
me "$token"
is 'and its tokens with it' "$status" 401
me "$fresh"
is 'those of the new one stay' "$status" 200

# --- what the log says ----------------------------------------------------------------------------------------------

says() { grep -q "\"event\":\"$1\"" "$dir"/run/log/appcore-*.log; }
for event in register login login_failed logout password_changed key_created key_revoked refresh_reused; do
	within "the log says $event" 5 says "$event"
done
is 'no password, token nor key is in it' "$(cat "$dir"/run/log/*.log | grep -cE "testpass123|another pass|$mine|$first|$mac")" 0
is 'nor in the database' "$(dump | grep -cE "testpass123|another pass|$first|$mac")" 0

# --- workers that are killed ----------------------------------------------------------------------------------------

service killed USER_RATE_LIMIT_PER_MINUTE=0
both() {
	local listener
	for listener in "$one" "$two"; do
		req GET "$listener/livez"
		[ "$status" = 200 ] || return 1
	done
}
n=0
for round in 1 2 3; do
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		n=$((n + 1))
		curl -sS -4 -m 30 --cacert "$scratch/tls/cert.pem" -o /dev/null -w '%{http_code}\n' "${json[@]}" \
			-d "{\"username\":\"user$n\",\"email\":\"user$n@example.com\",\"password\":\"testpass123\"}" \
			"$base/api/v1/auth/register" >"$dir/registered.$n" 2>&1 &
		helpers+=("$!")
	done
	sleep 0.1
	kill -9 "$(worker_pid $((round % 2 + 1)))"
	wait "${helpers[@]}"
	helpers=()
	within 'the killed worker is back' 30 both
done
is 'everybody was registered' "$(sort "$dir"/registered.* | uniq -c | tr -s ' \n' ' ')" " $n 201 "
is 'once' "$(sql 'SELECT count(*) FROM users')" "$n"
enter user1 testpass123 '' '&scope=offline_access'
next=$(jq -r .refresh_token <<<"$body") refreshed=0
for i in $(seq 1 60); do
	case $i in 10 | 30 | 50)
		within 'both workers are there' 30 both
		kill -9 "$(worker_pid $((i / 20 % 2 + 1)))"
		;;
	esac
	refresh "$next"
	[ "$status" != 200 ] || refreshed=$((refreshed + 1))
	next=$(jq -r .refresh_token <<<"$body")
done
is 'a session goes on over killed workers' "$refreshed" 60
