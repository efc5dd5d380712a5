# CORS: any origin on the contract's paths (A-091, A-092), listed origins below /api/v1.
# shellcheck shell=bash disable=SC2154
service main SECRET_KEY=0123456789abcdef0123456789abcdef-e2e CORS_ORIGINS=https://app.example,http://localhost:3000 \
	USER_RATE_LIMIT_PER_MINUTE=100000

origin() { printf '%s' "${h[access-control-allow-origin]-none}"; }
# The headers that a script in a browser is shown of those that came (NAME...), besides the few that it always is.
shown() {
	local list=", ${h[access-control-expose-headers]-}," name
	for name; do
		[[ -n ${h[${name,,}]-} && ${list,,} == *", ${name,,},"* ]] || printf 'no %s ' "$name"
	done
	printf '%s' "${h[access-control-expose-headers]+exposed}"
}
preflight() { # URL ORIGIN [CURL OPTIONS...]
	local url=$1 from=$2
	shift 2
	req OPTIONS "$url" -H "Origin: $from" -H 'Access-Control-Request-Method: POST' "$@"
}

for path in /version /health /predictions /predictions/abc /; do
	req GET "$path" -H 'Origin: http://a'
	is "$path: any origin (A-091)" "$(origin)" '*'
	req GET "$path"
	is "$path: none without Origin" "$(origin)" none
done
req POST /predict -H 'Origin: http://a'
is 'on 401 too' "$status $(origin)" '401 *'
req GET /predict -H 'Origin: http://a'
is 'on 405 too' "$status $(origin)" '405 *'
post '{"features":[]}' -H 'Origin: null'
is 'on 422 too, also for origin null' "$status $(origin)" '422 *'
head -c 1100000 /dev/zero >"$dir/large"
req POST /predict -H 'Origin: http://a' -H "X-API-Key: $key" --data-binary "@$dir/large"
is "on nginx's 413 too" "$status $(origin)" '413 *'
is 'with its X-Request-ID' "$(shown X-Request-ID)" exposed
json=(-H 'Content-Type: application/json')
req POST /api/v1/auth/register "${json[@]}" -d '{"username":"ada","email":"ada@example.com","password":"testpass123"}'
req POST /api/v1/auth/login -d 'username=ada&password=testpass123'
token=$(jq -r .access_token <<<"$body")
loaded() { # in both workers
	local listener
	for listener in "$one" "$two"; do
		req POST "$listener/api/v1/sentiment/analyze" "${json[@]}" -H "Authorization: Bearer $token" -d '{"text":"x"}'
		[ "$status" = 200 ] || return 1
	done
}
within 'both workers have the model' 60 loaded
for text in good bad; do
	req POST /api/v1/sentiment/analyze "${json[@]}" -H 'Origin: https://app.example' -H "Authorization: Bearer $token" -d "{\"text\":\"$text\"}"
done
is 'a script sees limits' "${status:0:2} $(shown X-Request-ID X-RateLimit-Remaining)" '20 exposed'
req GET '/api/v1/sentiment/history?limit=1' -H 'Origin: https://app.example' -H "Authorization: Bearer $token"
is 'and where a list goes on' "$status $(shown X-Request-ID X-Next-Cursor Link)" '200 exposed'
req GET /version/ -H 'Origin: http://a'
is 'and where to go' "$status $(shown Location)" '307 exposed'
req GET /version
is 'nothing is exposed without Origin' "$(shown)" ''

for path in /predict /version /predictions/abc; do
	preflight "$path" http://a -H 'Access-Control-Request-Headers: x-api-key, content-type'
	is "$path: preflight (A-092)" "$status $body|$(origin)|${h[access-control-allow-methods]-}|${h[access-control-max-age]-}|${h[access-control-allow-headers]-}" \
		'200 OK|*|DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT|600|x-api-key, content-type'
	like "$path: preflight is text" "${h[content-type]-}" '^text/plain'
done
preflight /predict http://a
is 'no headers asked, none allowed' "${h[access-control-allow-headers]-none}" none
req OPTIONS /predict
is 'OPTIONS without Origin tells the methods' "$status ${h[allow]-}" '204 POST'
preflight "$clear/predict" http://a
is 'preflight in clear' "$status $(origin)" '200 *'
preflight "$pool/predict" http://a
is 'preflight on the direct port' "$status $(origin)" '200 *'

# --- /api/v1 ---

for from in https://app.example http://localhost:3000; do
	req GET /api/v1/version -H "Origin: $from"
	is "/api/v1: $from is listed" "$status $(origin) ${h[vary]-}" "200 $from Origin"
	preflight /api/v1/predict "$from"
	is "/api/v1: preflight from $from" "$status $body $(origin)" "200 OK $from"
done
for from in https://evil.example https://app.example.evil.example http://app.example https://app.example:444 null; do
	req GET /api/v1/version -H "Origin: $from"
	is "/api/v1: $from is not" "$status $(origin) ${h[vary]-}" '200 none Origin'
	preflight /api/v1/predict "$from"
	is "/api/v1: preflight from $from" "$status $(origin)" '400 none'
done
req GET /api/v1/version
is '/api/v1: Vary also without Origin' "$(origin) ${h[vary]-}" 'none Origin'
req GET /api/v1/nope -H 'Origin: https://app.example'
is '/api/v1: on 404 too' "$status $(origin)" '404 https://app.example'
req POST /api/v1/predict -H 'Origin: https://app.example' -H "X-API-Key: $key" --data-binary "@$dir/large"
is "/api/v1: on nginx's 413 too" "$status $(origin)" '413 https://app.example'

# --- the default list (B-010), and any origin ---

service default
for from in http://localhost:3000 http://localhost:8000 https://localhost:8000; do
	req GET /api/v1/version -H "Origin: $from"
	is "default: $from" "$(origin)" "$from"
done
req GET /api/v1/version -H 'Origin: https://app.example'
is 'default: no other' "$(origin)" none
