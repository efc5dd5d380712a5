#!/usr/bin/env bash
# nginx_container.sh [certificate | ping]: nginx in a container of its own (Dockerfile): renders its configuration from the
# settings and becomes nginx. Only NGINX_DIR is written, which may be in memory.
#
#   certificate   makes a self-signed certificate where there is none, and ends
#   ping          does nginx answer? for the health check
#
# The access log and the error log go to standard output and standard error. Nobody rotates the log of what nginx answers
# by itself, which appcore's instances count; so it is emptied when it has grown, which they notice.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${NGINX_DIR:=/run/nginx}" "${NGINX_LOG_DIR:=$NGINX_DIR/log}" "${EDGE_LOG:=$NGINX_DIR/edge.log}"
: "${TLS_CERTIFICATE:=/etc/appcore/tls/cert.pem}" "${TLS_KEY:=/etc/appcore/tls/key.pem}"
export NGINX_DIR NGINX_LOG_DIR EDGE_LOG TLS_CERTIFICATE TLS_KEY
edge_max=$((8 * 1024 * 1024))

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

# Without curl: a line in, a line out.
ping() {
	local line
	exec 3<>"/dev/tcp/127.0.0.1/${DIRECT_PORT:-8000}"
	printf 'GET /nginx-health HTTP/1.0\r\n\r\n' >&3
	read -r -t 4 line <&3
	[[ $line == *' 200 '* ]] || fail "nginx answers: $line"
}

keep_edge_short() {
	local size
	while sleep 60; do
		size=$(stat -c %s "$EDGE_LOG" 2>/dev/null || echo 0)
		if [ "$size" -gt "$edge_max" ]; then : >"$EDGE_LOG"; fi
	done
}

case ${1:-} in
certificate)
	exec "$here/make_certificate.sh" "$TLS_CERTIFICATE" "$TLS_KEY"
	;;
ping)
	ping
	;;
'')
	for file in "$TLS_CERTIFICATE" "$TLS_KEY"; do
		[ -r "$file" ] || fail "$file can't be read by $(id -u):$(id -g): mount a certificate and its key there, or run this image once with \"nginx_container.sh certificate\"."
	done
	mkdir -p "$NGINX_DIR" "$NGINX_LOG_DIR" "$(dirname "$EDGE_LOG")"
	ln -sf /dev/stdout "$NGINX_LOG_DIR/access.log"
	ln -sf /dev/stderr "$NGINX_LOG_DIR/error.log"
	"$here/render_nginx.sh"
	keep_edge_short &
	exec nginx -p "$NGINX_DIR" -e stderr -c "$NGINX_DIR/conf/nginx.conf" -g 'daemon off;'
	;;
*)
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit 100
	;;
esac
