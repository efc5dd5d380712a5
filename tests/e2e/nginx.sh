# What nginx itself is for: TLS, redirects, headers on every answer, gzip, metrics, direct ports, failover, its log.
# shellcheck shell=bash disable=SC2154
service main
address=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m 1 '^[0-9.]*$' || true) # not a loopback one

# --- TLS ---

tls() { # OPENSSL OPTIONS...: what was negotiated
	openssl s_client -connect "localhost:$https" -servername localhost -CAfile "$scratch/tls/cert.pem" "$@" </dev/null 2>&1 || true
}
like 'TLS 1.3 (B-041)' "$(tls)" 'TLSv1\.3, Cipher is TLS_AES_256_GCM_SHA384'
like 'the certificate verifies' "$(tls)" 'Verify return code: 0 \(ok\)'
like 'TLS 1.2' "$(tls -tls1_2)" 'TLSv1\.2, Cipher is ECDHE'
for version in -tls1_1 -tls1; do
	like "$version is refused (B-030)" "$(tls $version -cipher 'ALL:@SECLEVEL=0')" 'alert protocol version|Cipher is \(NONE\)'
done
like 'ciphers without forward secrecy are refused' "$(tls -tls1_2 -cipher 'AES128-SHA:AES128-SHA256:AES128-GCM-SHA256:@SECLEVEL=0')" 'alert handshake failure|Cipher is \(NONE\)'
like 'CBC is refused' "$(tls -tls1_2 -cipher 'ECDHE-RSA-AES128-SHA:@SECLEVEL=0')" 'alert handshake failure|Cipher is \(NONE\)'
like 'CN=localhost (B-040)' "$(openssl x509 -noout -subject -issuer -in "$scratch/tls/cert.pem")" 'subject=CN ?= ?localhost.*issuer=CN ?= ?localhost'
like 'RSA 2048' "$(openssl x509 -noout -text -in "$scratch/tls/cert.pem")" 'Public-Key: \(2048 bit\)'
is 'HTTP/2 by ALPN' "$(codes "$base/version" -w '%{http_version}')" 2
is 'HTTP/1.1 as well' "$(codes --http1.1 "$base/version" -w '%{http_version}')" 1.1

# --- clear HTTP ---

for path in / /api/v1/version /nope '/a?b=c%20d&e' /docs /livez; do
	req GET "$clear$path"
	is "HTTP $path goes to HTTPS, with the port (B-029)" "$status ${h[location]-}" "301 https://localhost:$https$path"
done
is 'Server: nginx, no version' "${h[server]-}" nginx
req GET "$clear/x" -H 'Host: example.org:99'
is 'to the host that was asked for' "${h[location]-}" "https://example.org:$https/x"
if [ -n "$address" ]; then
	req GET "http://$address:$http/version" -H 'Host: localhost'
	is 'HTTP_CONTRACT=local: from another address the contract is HTTPS only (X-21)' "$status ${h[location]-}" "301 https://localhost:$https/version"
	req POST "http://$address:$http/predict" -H "X-API-Key: $key" -d '{}'
	is 'predictions too' "$status" 301
	req GET "http://$address:$direct/version"
	is 'the direct port is for this machine (X-23)' "$status" 000
fi

# What an ACME client leaves for its CA, and nothing else of that folder's neighbours.
mkdir -p "$dir/run/nginx/acme/.well-known/acme-challenge"
echo proof >"$dir/run/nginx/acme/.well-known/acme-challenge/token"
req GET "$clear/.well-known/acme-challenge/token"
is 'a proof for an ACME CA is shown in clear' "$status ${h[content-type]-} $body" $'200 text/plain proof\n'
for path in /.well-known/acme-challenge/none '/.well-known/acme-challenge/../../../conf/nginx.conf' '/.well-known/acme-challenge/..%2f..%2f..%2fconf%2fnginx.conf'; do
	req GET "$clear$path" --path-as-is
	like "$path is not" "$status" '^(404|400|301)$'
done

# --- headers ---

secured() { # NAME LISTENER
	local name=$1 frame=DENY transport=none
	case $2 in https*) frame=SAMEORIGIN transport='max-age=31536000; includeSubDomains' ;; esac
	is "$name: headers (A-117, B-031, X-24, X-25)" \
		"${h[x-frame-options]-none}|${h[x-content-type-options]-none}|${h[x-xss-protection]-none}|${h[referrer-policy]-none}|${h[strict-transport-security]-none}" \
		"$frame|nosniff|1; mode=block|strict-origin-when-cross-origin|$transport"
	is "$name: each once" "$(grep -icE '^(x-frame-options|x-content-type-options|x-xss-protection|referrer-policy|x-request-id|content-type):' "$dir/head")" 6
}
head -c 1100000 /dev/zero >"$dir/large"
for listener in "$base" "$clear" "$pool" "$one"; do
	where=${listener%%:*}:${listener##*:}
	req GET "$listener/version"
	secured "$where 200" "$listener"
	req POST "$listener/predict"
	secured "$where $status" "$listener"
	req GET "$listener/predict"
	secured "$where $status" "$listener"
	req POST "$listener/predict" -H "X-API-Key: $key" -H 'Expect:' --data-binary "@$dir/large"
	is "$where 413" "$status $body" '413 {"detail":"Request body is too large."}'
	secured "$where $status" "$listener"
	req GET "$listener/predictions/%00"
	is "$where: nginx's own 400" "$status $body" '400 {"detail":"Bad Request"}'
	secured "$where $status" "$listener"
	req GET "$listener/nginx-health"
	is "$where: /nginx-health (A-116)" "$status $body|${h[content-type]-}" "200 OK"$'\n'"|text/plain"
	secured "$where /nginx-health" "$listener"
	req GET "$listener/metrics"
	is "$where: /metrics (A-094, A-095)" "$status|${h[content-type]-}|$(grep -c '^# TYPE http_requests_total counter$' "$dir/body")" '200|text/plain; version=0.0.4; charset=utf-8|1'
	secured "$where /metrics" "$listener"
	req GET "$listener/metrics/"
	is "$where: /metrics/" "$status" 200
done
req GET "$clear/nope"
secured 'HTTP 301' "$clear"
req GET /nope
secured 'HTTPS 404' "$base"
req PUT /metrics
like 'PUT /metrics' "$status $body" '^405 \{"detail":"Method Not Allowed"\}$'
secured 'PUT /metrics' "$base"
is 'Allow there' "${h[allow]-}" 'GET, HEAD'

# --- gzip ---

for i in 1 2 3 4 5; do post "{\"features\":[$i,2,3]}"; done
req GET /predictions -H 'Accept-Encoding: gzip' -H 'X-Request-ID: zipped'
is 'a long list is zipped (A-118)' "${h[content-encoding]-none} $(gzip -dc "$dir/body" | jq length)" 'gzip 5'
req GET /version -H 'Accept-Encoding: gzip'
is 'a short answer is not' "${h[content-encoding]-none}" none
req GET /predictions
is 'nor for one who does not ask' "${h[content-encoding]-none}" none
req GET /metrics -H 'Accept-Encoding: gzip'
is 'metrics are zipped' "${h[content-encoding]-none}" gzip

# --- direct ports, and one id in three places ---

for i in 1 2; do
	req GET "http://localhost:$((direct + i))/version" -H "X-Request-ID: direct-$i"
	is "the id goes back ($i)" "${h[x-request-id]-}" "direct-$i"
done
req GET /version
id=${h[x-request-id]-}
logged() { # FILE... ID: exactly one line
	local id=${*: -1}
	[ "$(cat "${@:1:$#-1}" | jq -c --arg id "$id" 'select(.request_id == $id)' | wc -l)" -eq 1 ]
}
within 'port +1 reaches instance 1 (X-23)' 4 logged "$dir/run/log/appcore-1.log" direct-1
within 'port +2 reaches instance 2' 4 logged "$dir/run/log/appcore-2.log" direct-2
within "the access log has the response's id" 4 logged "$dir/run/nginx/access.log" "$id"
within "and so has the worker's log" 4 logged "$dir"/run/log/appcore-*.log "$id"
is 'the access log is JSON with these fields' "$(jq -c --arg id "$id" 'select(.request_id == $id) | [.method, .path, .status, .protocol, .tls, .remote_addr, (.request_time | type), .upstream_status]' "$dir/run/nginx/access.log")" \
	'["GET","/version",200,"HTTP/2.0","TLSv1.3","127.0.0.1","number","200"]'
holds 'every line of it is JSON' jq -e . "$dir/run/nginx/access.log"
holds '/nginx-health and /metrics are not in it' bash -c "! grep -qE '\"path\":\"/(nginx-health|metrics)\",.*\"status\":200' '$dir/run/nginx/access.log'"
is 'sockets are 0660' "$(stat -c %a "$dir/run/appcore-1.sock" "$dir/run/appcore-2.sock" | tr '\n' ' ')" '660 660 '

# --- the configuration (A-114, A-120, B-027) ---

configuration=$(nginx -T -q -p "$dir/run/nginx" -e "$dir/run/nginx/error.log" -c "$dir/run/nginx/conf/nginx.conf" 2>/dev/null)
for directive in 'fastcgi_connect_timeout 5s;' 'fastcgi_send_timeout 10s;' 'fastcgi_read_timeout 30s;' 'least_conn;' 'fastcgi_next_upstream_tries 2;' 'upstream api_backend' 'upstream app_servers'; do
	like "configuration: $directive" "$configuration" "$directive"
done

# --- failover: nobody notices that one of two is gone; 502 when both are (B-042) ---

supervisor() { sed -n 's/^supervisor \([0-9]*\) .*/\1/p' "$dir/run/appcore-$1.pid"; }
gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"; }
supervisors=("$(supervisor 1)" "$(supervisor 2)")
kill -STOP "${supervisors[@]}"
worker=$(worker_pid 1)
kill -9 "$worker"
within 'one of two workers is gone' 3 gone "$worker"
is 'all requests are answered' "$(count_of 200 "$(codes "$base/version?[1-20]")")" 20
is 'writes too' "$(count_of 201 "$(codes -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1]}' "$base/predict?[1-20]")")" 20
worker=$(worker_pid 2)
kill -9 "$worker"
within 'both are gone' 3 gone "$worker"
for listener in "$base" "$clear" "$pool"; do
	req GET "$listener/version"
	is "${listener%%:*}:${listener##*:}: 502 as JSON, with Retry-After" "$status $body ${h[retry-after]-}" '502 {"detail":"Bad Gateway"} 1'
	secured "${listener%%:*}:${listener##*:} 502" "$listener"
done
req GET /nginx-health
is '/nginx-health is of nginx alone' "$status" 200
kill -CONT "${supervisors[@]}"
back() { req GET "$one/version" && [ "$status" = 200 ] && req GET "$two/version" && [ "$status" = 200 ]; }
within 'both come back' 6 back

# --- settings of nginx, taken over without a restart ---

workers="$(worker_pid 1) $(worker_pid 2)"
reload() { # SETTING=VALUE...
	settings+=("$@")
	holds "reload with $*" control reload
}
reload METRICS_ALLOW=127.0.0.1 HTTP_CONTRACT=off
reloaded() { req GET "$clear/version" && [ "$status" = 301 ]; }
within 'HTTP_CONTRACT=off: all of HTTP goes to HTTPS' 3 reloaded
req GET "$clear/metrics"
is 'metrics as well' "$status" 301
req GET "$pool/metrics"
is 'METRICS_ALLOW: the one named' "$status" 200
req GET "$base/metrics" --interface 127.0.0.9
is 'METRICS_ALLOW: nobody else' "$status $body" '403 {"detail":"Forbidden"}'
secured 'HTTPS 403' "$base"
reload METRICS_ALLOW=all HTTP_CONTRACT=on
everybody() { req GET "$base/metrics" --interface 127.0.0.9 && [ "$status" = 200 ]; }
within 'METRICS_ALLOW=all' 3 everybody
if [ -n "$address" ]; then
	contract() { req GET "http://$address:$http/version" && [ "$status" = 200 ]; } # nginx's old workers end in their own time
	within 'HTTP_CONTRACT=on: from everywhere' 3 contract
fi
is 'the workers went on' "$(worker_pid 1) $(worker_pid 2)" "$workers"
