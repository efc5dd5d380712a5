# The log: one JSON object per line, the fields of A-108 and A-109, no secret, files that may be moved away.
# shellcheck shell=bash disable=SC2154
service main

line_of() { cat "$dir"/run/log/appcore-*.log "$dir"/app.log 2>/dev/null | grep -F "\"request_id\":\"$1\"" || true; }
has_line() { [ -n "$(line_of "$1")" ]; }
log_of() { # ID METHOD PATH [OPTIONS...]: asks, and waits for the line; sets $line
	local id=$1 deadline=$((SECONDS + 60))
	shift
	req "$@" -H "X-Request-ID: $id"
	until has_line "$id" || [ "$SECONDS" -gt "$deadline" ]; do sleep 0.05; done
	line=$(line_of "$id")
}

trace=0af7651916cd43dd8448eb211c80319c
log_of log-1 POST /predict -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1]}' -H "traceparent: 00-$trace-b7ad6b7169203331-01"
is 'a prediction' "$status" 201
like 'timestamp (A-109)' "$(jq -r .timestamp <<<"$line")" '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3}$'
is 'level, logger, method, path, status' "$(jq -c '[.level, .logger, .method, .path, .status_code]' <<<"$line")" '["INFO","appcore","POST","/predict",201]'
like 'message' "$(jq -r .message <<<"$line")" '^POST /predict → 201 \([0-9]+\.[0-9]{3}s\)$'
like 'duration_ms with two decimals' "$line" '"duration_ms":[0-9]+\.[0-9]{2}[,}]'
is 'client, key id, trace id' "$(jq -c '[.client, .key_id, .trace_id]' <<<"$line")" "[\"127.0.0.1\",\"env\",\"$trace\"]"
req GET '/api/v1/predictions?limit=1'
is 'the row has request and trace id' "$(jq -c '.predictions[0] | [.request_id, .trace_id]' <<<"$body")" "[\"log-1\",\"$trace\"]"
is 'its time is UTC and now' "$(jq -r '.timestamp | sub(",.*"; "") | strptime("%Y-%m-%d %H:%M:%S") | mktime | . - now | fabs < 60' <<<"$line")" true

n=1
for bad in "00-${trace}-b7ad6b7169203331" "ff-$trace-b7ad6b7169203331-01" "00-$(printf '%032d' 0)-b7ad6b7169203331-01" "00-$trace-$(printf '%016d' 0)-01" "00-XYZ7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" nonsense; do
	n=$((n + 1))
	log_of "log-$n" GET /version -H "traceparent: $bad"
	is "no traceparent: ${bad:0:12}" "$status $(jq -r '.trace_id // "none"' <<<"$line")" '200 none'
done

log_of log-404 GET '/nope?token=query-secret-1'
is 'the path is logged, not the query' "$(jq -c '[.path, .status_code]' <<<"$line")" '["/nope",404]'
log_of log-405 DELETE /health
like 'other methods and statuses' "$(jq -r .message <<<"$line")" '^DELETE /health → 405 '
log_of log-utf8 GET /caf%C3%A9/%E2%9C%93
is 'a path beyond ASCII' "$(jq -r .path <<<"$line")" '/café/✓'
log_of log-inject GET '/a%0a%7B%22level%22:%22CRITICAL%22%7D%0d%22'
is 'a path cannot forge a line' "$(jq -c '[.level, .status_code]' <<<"$line")" '["INFO",404]'
log_of log-bytes GET /%ff%fe
holds 'nor break one with invalid UTF-8' jq -e .path <<<"$line"
log_of log-long GET "/$(head -c 6000 /dev/zero | tr '\0' x)"
is 'an endless path is cut' "$(jq '.path | length <= 1024' <<<"$line")" true
req GET /metrics -H 'X-Request-ID: log-metrics'
req GET /nginx-health -H 'X-Request-ID: log-nginx'

# --- no secret ---

curl -sk -o /dev/null "$base/predictions?api_key=query-secret-2" -H 'Authorization: Bearer header-secret-3' -H 'Cookie: session=cookie-secret-4'
req POST /predict -H 'X-API-Key: wrong-secret-5' -H 'Content-Type: application/json' -d '{"features":["body-secret-6"]}'
req POST /predict -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":["body-secret-7"]}'
made=$(appcore key create --name logged --json | jq -r .key)
within 'a made key works' 2 key_answers "$made" 201
req POST /predict -H "X-API-Key: $made" -H 'Content-Type: application/json' -H 'Idempotency-Key: "a b' -d '{"features":[1]}'
log_of log-last GET /version
sleep 1.2 # nginx writes its log once a second
within 'nginx has written its log' 5 test -s "$dir/run/nginx/access.log"
is '/metrics and /nginx-health are not logged (A-103)' "$(line_of log-metrics)$(line_of log-nginx)" ''
for secret in "$key" "$made" wrong-secret-5 query-secret-1 query-secret-2 header-secret-3 cookie-secret-4 body-secret-6 body-secret-7; do
	is "not in any log: ${secret:0:14}" "$(grep -rlF -- "$secret" "$dir/run/log" "$dir/run/nginx" || true)" ''
done
for file in "$dir"/run/log/appcore-*.log "$dir/run/nginx/access.log"; do
	is "every line of ${file##*/} is a JSON object" "$(jq -r 'type' "$file" | sort -u)" object
done
is 'each request is logged once' "$(line_of log-1 | wc -l)" 1

# --- a file that log rotation moves; the request line at any level ---

service file LOG_FILE=app.log LOG_LEVEL=ERROR
log_of rotate-1 GET /version
is 'LOG_FILE has the request, LOG_LEVEL=ERROR or not' "$(jq -r .level <<<"$line")" INFO
like 'and who it was' "$(jq -r '.instance // "none"' <<<"$line")" '^API-[12]$'
mv "$dir/app.log" "$dir/app.log.1"
new_file() { req GET /version && [ -s "$dir/app.log" ]; }
within 'moved away, a new one appears' 6 new_file
# Requests before, while and after: none is lost.
for i in 1 2 3; do
	codes -H "X-Request-ID: burst-$i" "$pool/version?[1-100]" >/dev/null
	mv "$dir/app.log" "$dir/app.log.burst$i" 2>/dev/null || true
	sleep 0.4
done
all_there() { [ "$(cat "$dir"/app.log* | grep -c '"request_id":"burst-')" -eq 300 ]; }
within 'no line is lost in three rotations' 6 all_there
is 'every line is JSON' "$(cat "$dir"/app.log* | jq -r type | sort -u)" object
