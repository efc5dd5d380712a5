# Bad input: each with the right status, a body that names what is wrong, and nothing stored.
# shellcheck shell=bash disable=SC2154
service main

# refused NAME STATUS PATTERN-OF-BODY: what the last request was answered, and that no row came of it.
stored=$(rows)
refused() {
	local now
	now=$(rows)
	like "$1" "$status $body" "^$2 .*$3"
	if [ "$now" != "$stored" ]; then
		not_ok "$1: nothing stored" "rows: $stored before, $now after"
		stored=$now
	fi
}
send() { # FILE [CURL OPTIONS...]: as a JSON body to POST /predict
	local file=$1
	shift
	req POST /predict -H "X-API-Key: $key" -H 'Content-Type: application/json' -H 'Expect:' --data-binary "@$file" "$@"
}
raw_post() { # HEADERS BODY: over plain TCP to the direct port; sets $answer
	answer=$(raw "$direct" "POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: $key\r\nContent-Type: application/json\r\n$1Content-Length: ${#2}\r\n\r\n$2")
	status=${answer#HTTP/1.1 }
	status=${status%% *}
	body=${answer#*$'\r\n\r\n'}
}
json_error='"type":"json_invalid","loc":\["body",[0-9]+\]'

# --- JSON ---

for text in '{"features":[1,2' '{"features"' '{"features":[1,2]' '{"features":"abc' '{"features":[1,2]}}' '{"features":[1 2]}' \
	'{"features":[1,]}' '{features:[1]}' "{'features':[1]}" '{"features":[01]}' '{"features":[+1]}' '{"features":[.5]}' \
	'{"features":[1.]}' '{"features":[0x10]}' '{"features":[1e]}' '{"features":[NaN]}' '{"features":[-Infinity]}' \
	'{"features":[1]}//' '{"features":["\u12"]}' '{"features":["\x"]}' '[' '"' '{"features":[nul]}' '   '; do
	post "$text"
	case $text in '   ') refused 'blanks only' 422 '("missing"|json_invalid)' ;; *) refused "JSON: $text" 422 "$json_error" ;; esac
done
post '{"features":[1],"features":[2]}'
refused 'duplicate key' 422 'Duplicate key.*features'
post '{"features":[1],"a":{"b":1,"b":2}}'
refused 'duplicate key further in' 422 'Duplicate key'
post '{"features":[1],"fe\u0061tures":[2]}'
refused 'duplicate key in another spelling' 422 'Duplicate key'
for n in 200 5000 100000; do
	/usr/bin/python3 -c "print('{\"features\":' + '[' * $n + ']' * $n + '}', end='')" >"$dir/deep"
	send "$dir/deep"
	refused "nested $n deep" 422 '"body"'
	/usr/bin/python3 -c "print('{\"a\":' * $n + '1' + '}' * $n, end='')" >"$dir/deep"
	send "$dir/deep"
	refused "objects nested $n deep" 422 '"body"'
done
for bytes in '\xff' '\xc3' '\xc0\x80' '\xed\xa0\x80' '\xf4\x90\x80\x80' '\xe2\x82'; do
	printf '{"features":[1],"a":"%b"}' "$bytes" >"$dir/utf8"
	send "$dir/utf8"
	refused "invalid UTF-8 $bytes" 422 "$json_error"
done
printf '\xef\xbb\xbf{"features":[1]}' >"$dir/bom"
send "$dir/bom"
refused 'byte order mark' 422 "$json_error"
printf '{"features":[1],"a":"x\0y"}' >"$dir/nul"
send "$dir/nul"
refused 'NUL in a string' 422 "$json_error"
printf '{"features":[1]}\0' >"$dir/nul"
send "$dir/nul"
refused 'NUL behind the body' 422 "$json_error"
printf '\0' >"$dir/nul"
send "$dir/nul"
refused 'a NUL alone' 422 "$json_error"
for value in 1e400 -1e400 '"1e400"' '"inf"' '"nan"' '"Infinity"' 1e999999999999999999999; do
	post "{\"features\":[2,$value]}"
	refused "not finite: $value" 422 '"loc":\["body","features",1\].*finite'
done
for value in '"0x10"' '"1 2"' '""' '"1_000"' '"١"'; do
	post "{\"features\":[$value]}"
	refused "no number: $value" 422 '"float_parsing","loc":\["body","features",0\]'
done
/usr/bin/python3 -c "print('{\"features\":[' + ','.join(['\"x\"'] * 200000) + ']}', end='')" >"$dir/many"
send "$dir/many"
refused '200,000 bad items: refused, and the answer is bounded' 422 '"body","features",0'
at_most 'bytes of that answer' "$(stat -c %s "$dir/body")" 300000

# --- sizes ---

head -c 10485760 /dev/zero | tr '\0' '1' >"$dir/10mb"
send "$dir/10mb"
refused '10 MB' 413 'too large'
req POST "$pool/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' -H 'Expect:' -H 'Transfer-Encoding: chunked' --data-binary "@$dir/10mb"
refused '10 MB in chunks' 413 'too large'
raw_post '' ''
answer=$(raw "$direct" "POST /predict HTTP/1.1\r\nHost: localhost\r\nX-API-Key: $key\r\nContent-Length: 99999999999\r\n\r\n")
like 'a huge Content-Length alone' "$answer" '^HTTP/1.1 413 .*too large'
for length in -1 abc '1 2' 0x10 99999999999999999999999; do
	answer=$(raw "$direct" "POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: $key\r\nContent-Length: $length\r\n\r\n{}")
	like "Content-Length: $length" "$answer" '^HTTP/1.1 4(00|13) .*"detail"'
done
answer=$(raw "$direct" "POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: $key\r\nContent-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n{\"features\":[1]}")
like 'both lengths at once (request smuggling)' "$answer" '^HTTP/1.1 400 '
is 'none of them stored anything' "$(rows)" "$stored"

/usr/bin/python3 -c "
n = (1048576 - 14) // 2
print('{\"features\":[' + ','.join(str(i % 10) for i in range(n))[:2 * n - 1] + ']}', end='')" >"$dir/full"
is 'a body of just the limit' "$(stat -c %s "$dir/full")" 1048576
send "$dir/full"
is 'as many features as the limit lets through' "$status $(jq '(.result - 4.5) | fabs < 0.0001' <<<"$body")" '201 true'
exact=$(/usr/bin/python3 -c "n = (1048576 - 14) // 2; print(repr(sum(float(i % 10) for i in range(n)) / n))")
like 'with the mean exactly' "$body" "\"result\":$exact,"
is 'all of them stored' "$(sql 'SELECT features FROM predictions ORDER BY id DESC LIMIT 1' | jq length)" $(((1048576 - 14) / 2))
printf '{"features":[1],"a":"%s"}' "$(head -c 1048553 /dev/zero | tr '\0' x)" >"$dir/limit"
is 'exactly 1 MiB' "$(stat -c %s "$dir/limit")" 1048576
send "$dir/limit"
is 'is let through' "$status" 201
stored=$(rows)
printf ' ' >>"$dir/limit"
send "$dir/limit"
refused 'one byte more is not' 413 'too large'

# --- headers ---

injected() { # NAME: the last raw answer holds no header of the client's making
	unlike "$1" "$answer" $'\r\n''[Xx]-[Ee]vil:'
}
for value in 'abc\r\nX-Evil: 1' 'abc\nX-Evil: 1' 'abc%0d%0aX-Evil: 1' 'abc\rX-Evil: 1'; do
	raw_post "X-Request-ID: $value\r\n" '{"features":[]}'
	injected "X-Request-ID: $value injects nothing"
	like "X-Request-ID: $value" "$status" '^4(00|22)$'
	raw_post "Idempotency-Key: $value\r\n" '{"features":[]}'
	injected "Idempotency-Key: $value injects nothing"
done
for value in 'a b' 'a;b' '<x>' "$(printf '%0129d' 0)" $'\xff\xfe' '"' '../../x' '$x'; do
	req GET /version -H "X-Request-ID: $value"
	like "X-Request-ID ${value:0:20}: one of our own instead" "$status ${h[x-request-id]-}" '^200 [0-9a-f]{32}$'
done
req GET /version -H 'X-Request-ID: abc-1.2_Z'
is 'a valid one is kept (A-107)' "${h[x-request-id]-}" abc-1.2_Z
raw_post 'X-Request-ID: a\0b\r\n' '{"features":[]}'
is 'NUL in a header' "$status" 400
long=$(head -c 20000 /dev/zero | tr '\0' x)
for header in "X-Long: $long" "X-API-Key: $long"; do
	req GET /version --http1.1 -H "$header"
	refused "over-long ${header%%:*}" 431 'Too Large'
	req GET /version -H "$header"
	like "over-long ${header%%:*} over HTTP/2" "$status" '^(431|000)$'
done
req GET "/$long" --http1.1
refused 'an over-long path' 414 'Too Long'
req GET "/$long"
like 'an over-long path over HTTP/2' "$status" '^(414|431|000)$'
headers=()
for i in $(seq 60); do headers+=(-H "X-Header-$i: ${long:0:600}"); done
req GET /version --http1.1 "${headers[@]}"
refused 'too many headers' 431 'Too Large'
req GET /version "${headers[@]}"
like 'too many headers over HTTP/2' "$status" '^(431|000)$'
req GET "/predictions?limit=1&x=${long:0:7000}"
is 'a long query that fits' "$status" 200
req GET "/predictions/${long:0:4000}"
refused 'a long id' 404 'Prediction not found'
answer=$(raw "$direct" 'GET /version HTTP/1.1\r\n\r\n')
like 'no Host' "$answer" '^HTTP/1.1 400 .*"detail"'
answer=$(raw "$direct" 'rubbish\r\n\r\n')
like 'rubbish instead of HTTP' "$answer" '"detail":"Bad Request"'
answer=$(raw "$direct" 'GET /version HTTP/9.9\r\nHost: x\r\n\r\n')
like 'HTTP/9.9' "$answer" '"detail":"HTTP Version Not Supported"'
answer=$(raw "$https" 'GET /version HTTP/1.1\r\nHost: x\r\n\r\n')
like 'clear HTTP on the TLS port' "$answer" '^HTTP/1.1 400 .*HTTPS only'

# --- ids, cursors, limits ---

for id in "'%20OR%20'1'='1" '1;DROP%20TABLE%20predictions' '%22' '*' '%25' '_' 'null' '-1' '%c0%ae' '%F0%9F%92%A9' \
	'01a1fbb6-0f85-7428-aa0f-849bea0dfac4%27--' '01A1FBB6'; do
	req GET "/predictions/$id" --path-as-is
	refused "id $id" '(404|400|307)' ''
done
for path in '/../../etc/passwd' '/predictions/../..' '/predictions/../../../etc/passwd' '/%2e%2e/%2e%2e/etc/passwd' '/predictions/%2e%2e%2f%2e%2e%2fetc%2fpasswd' \
	'//etc/passwd' '/metrics/../../data/predictions.db' '/metrics%00' '/predictions/%00' '/.appcore/404' '/.env' '/.git/config' '/metrics.prom'; do
	req GET "$path" --path-as-is
	refused "path $path" '(400|404)' '"detail"'
done
for limit in -1 -99999999999999999999 1001 4294967296 99999999999999999999999 1.5 1e3 0x10 '1;DROP' "1'" '%00' '' '%F0%9F%92%A9'; do
	req GET "/predictions?limit=$limit"
	refused "limit=$limit" 422 '"loc":\["query","limit"\]'
	req GET "/api/v1/predictions?limit=$limit"
	refused "/api/v1 limit=$limit" 422 '"loc":\["query","limit"\]'
done
req GET '/api/v1/predictions?limit=0'
refused '/api/v1 limit=0' 422 '"loc":\["query","limit"\]'
req GET '/api/v1/predictions?limit=101'
refused '/api/v1 limit=101' 422 '"loc":\["query","limit"\]'
cursor() { printf '%s' "$1" | base64 -w 0 | tr '+/' '-_' | tr -d '='; }
for c in abc '' '%00' "' OR 1=1" "$(cursor "x' OR 1=1 --")" "$(cursor '2026-11-21T01:26:16.104000+00:00')" \
	"$(cursor "2026-11-21T01:26:16.104000+00:00 ' OR 1=1")" "$(cursor '2026-99-99T01:26:16.104000+00:00 01a1fbb6-1328-79a4-8da6-1715e470b8b1')" \
	"$(cursor '2026-11-21 01:26:16')" "$(head -c 5000 /dev/zero | tr '\0' A)"; do
	req GET "/api/v1/predictions?cursor=${c// /%20}"
	refused "cursor ${c:0:30}" 422 '"loc":\["query","cursor"\]'
done
for query in created_from=yesterday created_until=2026-13-01 'created_from=%27' 'created_until='; do
	req GET "/api/v1/predictions?$query"
	refused "$query" 422 "\"loc\":\\[\"query\",\"${query%%=*}\"\\]"
done
for name in model_version key_id model_name; do
	req GET "/api/v1/predictions?$name=%27%20OR%201=1--"
	is "$name is compared, not interpreted" "$status $(jq -c .predictions <<<"$body")" '200 []'
	req GET "/api/v1/predictions?$name=%ff"
	refused "$name invalid UTF-8" 422 "\"loc\":\\[\"query\",\"$name\"\\]"
done

# --- methods, content types ---

for method in GET HEAD PUT PATCH DELETE PROPFIND TRACE; do
	req "$method" /predict -H "X-API-Key: $key"
	[ "$method" = HEAD ] && body='"detail"'
	refused "$method /predict" 405 '"detail"|"detail"'
done
req PURGE /predictions
refused 'an unknown method' 405 'Method Not Allowed'
answer=$(raw "$direct" 'G\x00T /version HTTP/1.1\r\nHost: x\r\n\r\n')
like 'NUL in the method' "$answer" '"detail":"Bad Request"'
for type in text/plain application/x-www-form-urlencoded multipart/form-data application/xml 'application/jsonx' ',' 'text/json'; do
	req POST /predict -H "X-API-Key: $key" -H "Content-Type: $type" --data-binary '{"features":[1]}'
	refused "Content-Type $type" 422 'model_attributes_type.*"loc":\["body"\]'
	req POST /api/v1/predict -H "X-API-Key: $key" -H "Content-Type: $type" --data-binary '{"features":[1]}'
	refused "/api/v1 Content-Type $type" 415 'application/json'
done
req POST /predict -H "X-API-Key: $key" -H 'Content-Type: application/json' -H 'Content-Encoding: gzip' --data-binary '{"features":'
refused 'Content-Encoding is not undone' 422 "$json_error"
req GET /predictions -H 'Content-Type: application/json' --data-binary '{"limit":1}'
is 'a body where none is wanted does no harm' "$status" 200
req GET /version
is 'nor to the next request' "$status" 200
is 'nothing was stored by any of these' "$(rows)" "$stored"
is 'the workers are those that started' "$(grep -c '"message":"appcore .* serves' "$dir/run/log/appcore-1.log" "$dir/run/log/appcore-2.log" | cut -d : -f 2 | tr '\n' ' ')" '1 1 '
