# The description of the API and its page, as nginx serves them.
# shellcheck shell=bash disable=SC2154
new_service main
# A page of its own, so that it does not matter whether the viewer has been fetched here.
"$home/scripts/make_web.sh" --plain "$dir/web" >/dev/null
cp "$home/docs/ui/index.html" "$dir/web/docs/index.html"
printf '/* the viewer */\n' >"$dir/web/docs/swagger-ui.css"
{ printf '/* the viewer */\n' && head -c 3000 /dev/zero | tr '\0' ' '; } >"$dir/web/docs/swagger-ui-bundle.js"
settings+=(NGINX_WEB_DIR="$dir/web")
know_service
start

policy="default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
secured() { # NAME
	is "$1: headers" "${h[x-frame-options]-none}|${h[x-content-type-options]-none}|${h[strict-transport-security]-none}|${h[x-request-id]:+id}" \
		'SAMEORIGIN|nosniff|max-age=31536000; includeSubDomains|id'
	is "$1: each once" "$(grep -icE '^(x-frame-options|x-content-type-options|strict-transport-security|x-request-id|content-type|cache-control|content-security-policy):' "$dir/head")" "${2-7}"
}

# --- the document ---

req GET /openapi.json
is '/openapi.json (B-090, A-003)' "$status|${h[content-type]-}|$(jq -r '.openapi[:3] + "|" + .info.title + "|" + .info.version' "$dir/body")" \
	"200|application/json|3.1|Practical Production Service|$("$binary" --version | grep -o '[0-9]*\.[0-9]*\.[0-9]*' | head -n 1)"
secured '/openapi.json' 6
is 'its version is that of /version' "$(jq -r .info.version "$dir/body")" "$(curl -sS --cacert "$scratch/tls/cert.pem" "$base/version" | jq -r .version)"
is 'without an origin no CORS' "${h[access-control-allow-origin]-none}" none
etag=${h[etag]-}
req GET /openapi.json -H "If-None-Match: $etag"
is 'it is not sent twice' "$status ${etag:+etag} $body" '304 etag '
req GET /openapi.json -H 'Origin: https://elsewhere.example'
is 'any origin may read it' "$status ${h[access-control-allow-origin]-none}" '200 *'
req GET /openapi.json -H 'Accept-Encoding: gzip'
is 'it is zipped' "${h[content-encoding]-none} $(gzip -dc "$dir/body" | jq -r .info.title)" 'gzip Practical Production Service'
req HEAD /openapi.json
is 'HEAD' "$status" 200
req POST /openapi.json
answer 'only to be read' 405 '{"detail":"Method Not Allowed"}'
is 'Allow' "${h[allow]-}" 'GET, HEAD'

# --- the page ---

req GET /
is 'the root names the page (B-094)' "$(jq -r .docs "$dir/body")" /docs
req GET /docs
is '/docs (B-090)' "$status|${h[content-type]-}|$(grep -c '<script src="/docs/start.js"></script>' "$dir/body")" '200|text/html; charset=utf-8|1'
is 'a strict policy' "${h[content-security-policy]-none}" "$policy"
is 'of its own process' "${h[cross-origin-opener-policy]-none}" same-origin
secured /docs
unlike 'no script and no style stands in the page' "$(<"$dir/body")" '<script>|<style|style=| on[a-z]+='
unlike 'nothing is loaded from elsewhere' "$(<"$dir/body")" '(src|href)="(https?:)?//'
req GET /docs/
is '/docs/ is the same' "$status|${h[content-type]-}" '200|text/html; charset=utf-8'
for file in 'start.js|text/javascript' 'page.css|text/css' 'swagger-ui.css|text/css' 'swagger-ui-bundle.js|text/javascript'; do
	req GET "/docs/${file%|*}"
	is "/docs/${file%|*}" "$status|${h[content-type]-}" "200|${file#*|}"
	secured "/docs/${file%|*}"
	is 'it is asked about each time' "${h[cache-control]-}|${h[etag]:+etag}" 'no-cache|etag'
done
req GET /docs/swagger-ui-bundle.js -H 'Accept-Encoding: gzip'
is 'the viewer is zipped' "${h[content-encoding]-none}" gzip
for path in /docs/nope /docs/index.html /docs/x/ '/docs/..%2fsettings' '/docs/%2e%2e/settings' /docs../settings; do
	req GET "$path" --path-as-is
	is "$path is nothing" "$status" 404
done
req POST /docs
answer 'the page is only read' 405 '{"detail":"Method Not Allowed"}'
is 'Allow there' "${h[allow]-}" 'GET, HEAD'
for listener in "$pool" "$one"; do
	req GET "$listener/docs"
	is "${listener##*:}: the page" "$status" 200
	req GET "$listener/openapi.json"
	is "${listener##*:}: the document" "$status" 200
done
for path in /docs /openapi.json; do
	req GET "$clear$path"
	is "clear HTTP sends $path to HTTPS" "$status ${h[location]-}" "301 https://localhost:$https$path"
done

# --- without the viewer ---

rm "$dir/web/docs/"*
"$home/scripts/make_web.sh" --plain "$dir/web" >/dev/null
req GET /docs
is 'without the viewer: a plain page' "$status|${h[content-type]-}|${h[content-security-policy]-none}" "200|text/html; charset=utf-8|$policy"
is 'that has every operation' "$(grep -c '^<tr><td>' "$dir/body")" "$(jq '[.paths[] | keys[] | select(. != "parameters")] | length' "$dir/web/openapi.json")"
like 'and says how the viewer is had' "$(<"$dir/body")" 'make web'
unlike 'without scripts' "$(<"$dir/body")" '<script|<style|style='

# --- without the files ---

rm -r "$dir/web"
for path in /docs /docs/ /docs/start.js /openapi.json; do
	req GET "$path"
	answer "$path without its file" 404 '{"detail":"Not Found"}'
done
req GET /health
is 'the service goes on' "$status" 200
