#!/usr/bin/env bash
# Fills in nginx's templates for the settings and for the version of nginx that is installed.
#
#   render_nginx.sh [FOLDER]     writes nginx.conf and what it includes there (default: RUN_DIR/nginx/conf)
#
# Settings come from `appcore config --shell` (APPCORE_BIN names another binary). Besides:
#   NGINX_DIR            pid and temporary files                       RUN_DIR/nginx
#   NGINX_LOG_DIR        logs                                          NGINX_DIR
#   NGINX_USER           user (and group) of nginx's workers, when root starts it; root in development, so that they
#                        can enter a folder that only root may enter
#   NGINX_WEB_DIR        what scripts/make_web.sh has made      build/web of a checkout, web of an installation
#   NGINX_DIRECT         where DIRECT_PORT and those after it listen: loopback or, in a container whose ports are published to
#                        its host's loopback, all                                            loopback
#   NGINX_EXTRA_SERVER   a file that is included in the direct, clear and HTTPS servers (the bench's own locations)
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

home=$(cd "$(dirname "$0")/.." && pwd)
templates=${APPCORE_TEMPLATES:-$home/nginx}

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

load_settings() {
	local settings
	settings=$("${APPCORE_BIN:-$home/build/release/appcore}" config --shell) || exit "$?"
	eval "$settings"
}

# A path goes between double quotes in nginx's file, where only these few characters mean something.
path() { # NAME VALUE
	local absolute
	absolute=$(realpath -m -- "$2")
	case $absolute in
	*[\"\\\$]* | *[[:cntrl:]]*) fail "$1: nginx cannot name a path with a quote, a backslash or a dollar sign: $absolute" ;;
	esac
	printf '%s' "$absolute"
}

at_least() { # VERSION MINIMUM
	[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# networks NAME LIST FORMAT: one line per CIDR of a list that is separated by commas or blanks.
networks() {
	local network
	for network in ${2//,/ }; do
		[[ $network =~ ^[0-9a-fA-F.:]+(/[0-9]{1,3})?$ ]] || fail "$1: \"$network\" is not an address or a network"
		# shellcheck disable=SC2059  # the formats are the four below
		printf "$3\n" "$network"
	done
}

listen() { # PORT OPTIONS: on all addresses
	printf '    listen %s%s;\n' "$1" "$2"
	grep -qs . /proc/self/net/if_inet6 && printf '    listen [::]:%s%s;\n' "$1" "$2"
	return 0
}

listen_direct() { # PORT: on loopback alone, unless told otherwise
	case ${NGINX_DIRECT:-loopback} in
	loopback) ;;
	all) listen "$1" ' backlog=4096' && return ;;
	*) fail "NGINX_DIRECT is loopback or all, not \"$NGINX_DIRECT\"" ;;
	esac
	printf '    listen 127.0.0.1:%s backlog=4096;\n' "$1"
	grep -qs '^0\{31\}1 ' /proc/self/net/if_inet6 && printf '    listen [::1]:%s backlog=4096;\n' "$1"
	return 0
}

max() { [ "$1" -gt "$2" ] && echo "$1" || echo "$2"; }

# The zones have the contract's rates up to the default limits of 100 a minute for an address and 60 for a user. Above
# them they grow with the settings, so that the limit a client meets is the application's; with 0 there are none. Below
# /api/ the application counts users and routes, of which an address may have many, and at the login names: what an
# address may have at once there is wide enough for the application's limit to be met first.
set_limits() {
	local limit=$RATE_LIMIT_PER_MINUTE users=$USER_RATE_LIMIT_PER_MINUTE
	local burst=20 wide=100 api_rate=30 general_rate=60 general_burst=600 login_burst=100
	V[ZONES]='' V[LIMIT_CONTRACT]='' V[LIMIT_HTTPS]='' V[LIMIT_GENERAL]='' V[LIMIT_LOGIN]='' V[LIMIT_CONNECTIONS]='' V[LIMIT_STREAMS]=''
	[ "$limit" -eq 0 ] && return
	if [ "$limit" -gt 100 ]; then
		api_rate=$(max 30 $(((limit + 59) / 60)))
		burst=$limit
		wide=$limit
		general_rate=$limit
		general_burst=$(max 600 "$limit")
	fi
	if [ "$users" -gt 60 ]; then
		general_rate=$(max "$general_rate" "$users")
		general_burst=$(max "$general_burst" $((10 * users)))
	fi
	V[ZONES]="
    # Rejections stand in the access log; a line for each in the error log too would double a flood.
    limit_req_status 429;
    limit_req_log_level info;
    limit_conn_status 429;
    limit_conn_log_level info;
    limit_req_zone \$binary_remote_addr zone=api_limit:10m rate=${api_rate}r/s;
    limit_req_zone \$binary_remote_addr zone=general:10m rate=${general_rate}r/m;
    limit_req_zone \$binary_remote_addr zone=login:10m rate=5r/m;
    limit_req_zone \$binary_remote_addr zone=streams:10m rate=${api_rate}r/s;
    limit_conn_zone \$binary_remote_addr zone=connections:10m;
    limit_conn_zone \$binary_remote_addr zone=open_streams:10m;"
	V[LIMIT_CONTRACT]="        limit_req zone=api_limit burst=$burst nodelay;"
	V[LIMIT_HTTPS]="        limit_req zone=api_limit burst=$wide nodelay;"
	[ "$users" -eq 0 ] || V[LIMIT_GENERAL]="        limit_req zone=general burst=$general_burst nodelay;"
	V[LIMIT_LOGIN]="        limit_req zone=login burst=$login_burst nodelay;"
	V[LIMIT_STREAMS]="        limit_req zone=streams burst=4096 nodelay;
        limit_conn open_streams 4096;"
	V[LIMIT_CONNECTIONS]="
    # Requests in progress from one address: slow bodies and slow readers, mostly.
    limit_conn connections 512;"
}

set_listeners() {
	local version http2=' http2' redirect
	version=$(nginx -v 2>&1 | sed 's|.*nginx/\([0-9.]*\).*|\1|')
	at_least "$version" 1.22.1 || fail "nginx $version is too old: 1.22.1 or newer is needed"
	V[HTTP2]=''
	if at_least "$version" 1.25.1; then
		http2=''
		V[HTTP2]=$'\n    http2 on;'
	fi
	V[LISTEN_HTTPS]="$(listen "$HTTPS_PORT" " ssl$http2 backlog=4096")${V[HTTP2]}"
	V[LISTEN_HTTP]=$(listen "$HTTP_PORT" ' backlog=4096')
	V[LISTEN_DIRECT]=$(listen_direct "$DIRECT_PORT")
	V[HTTPS_SUFFIX]=''
	[ "$HTTPS_PORT" -eq 443 ] || V[HTTPS_SUFFIX]=":$HTTPS_PORT"
	redirect="return 301 https://\$host${V[HTTPS_SUFFIX]}\$request_uri;"

	V[CONTRACT_GEO]='' V[CONTRACT_GUARD]="        if (\$contract_in_clear = 0) { $redirect }"
	case ${HTTP_CONTRACT:-local} in
	on) V[CONTRACT_GUARD]='' ;;
	off) V[CONTRACT_GEO]="geo \$contract_in_clear { default 0; }" ;;
	local) V[CONTRACT_GEO]="geo \$contract_in_clear { default 0; 127.0.0.0/8 1; ::1/128 1; }" ;;
	*) fail "HTTP_CONTRACT is off, local or on, not \"$HTTP_CONTRACT\"" ;;
	esac
}

set_clients() {
	local origin origin_form='^https?://[]A-Za-z0-9.:[_-]+$'
	V[REAL_IP]=$(networks TRUSTED_PROXIES "${TRUSTED_PROXIES:-}" '    set_real_ip_from %s;')
	[ -z "${V[REAL_IP]}" ] || V[REAL_IP]+=$'\n    real_ip_header X-Forwarded-For;\n    real_ip_recursive on;'

	case ${METRICS_ALLOW:-local} in
	all) V[METRICS_ALLOW]='' ;;
	local | private)
		V[METRICS_ALLOW]=$(networks METRICS_ALLOW \
			'127.0.0.0/8 ::1 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fe80::/10' '    allow %s;')
		;;
	*) V[METRICS_ALLOW]=$(networks METRICS_ALLOW "$METRICS_ALLOW" '    allow %s;') ;;
	esac
	[ -z "${V[METRICS_ALLOW]}" ] || V[METRICS_ALLOW]+=$'\n    deny all;'

	V[CORS_ORIGINS]=''
	set -f
	for origin in ${CORS_ORIGINS//,/ }; do
		if [ "$origin" = '*' ]; then
			V[CORS_ORIGINS]+=$'        "~." "*";\n'
		elif [[ $origin =~ $origin_form ]]; then
			V[CORS_ORIGINS]+="        \"$origin\" \$http_origin;"$'\n'
		else
			fail "CORS_ORIGINS: \"$origin\" is not an origin like https://example.org"
		fi
	done
	set +f
	V[CORS_ORIGINS]=${V[CORS_ORIGINS]%$'\n'}
}

# Two files per connection that is handed on, and some for logs and temporary files. Root may raise its limit, but not
# root in a container: so it is tried. Under systemd it is there, and nginx may not change it.
set_sizes() {
	local files=32768
	V[NOFILE]=''
	if [ "$(ulimit -Sn)" != unlimited ] && [ "$(ulimit -Sn)" -lt "$files" ]; then
		(ulimit -n "$files") 2>/dev/null || files=$(ulimit -Hn)
		V[NOFILE]="worker_rlimit_nofile $files;"
	fi
	V[WORKER_CONNECTIONS]=$((files / 2))
	V[MAX_BODY_BYTES]=$MAX_BODY_BYTES
	V[BATCH_BODY_BYTES]=$BATCH_BODY_BYTES
	V[UPLOAD_BYTES]=$UPLOAD_BYTES
	V[KEEPALIVE]=${NGINX_KEEPALIVE:-128}
	V[USER]=''
	[ "$(id -u)" -ne 0 ] || V[USER]="user ${NGINX_USER:-root};"
}

set_paths() {
	local nginx_dir
	nginx_dir=$(path NGINX_DIR "${NGINX_DIR:-$RUN_DIR/nginx}")
	V[DIR]=$nginx_dir
	V[TEMP_DIR]=$nginx_dir/temp
	V[ACME_DIR]=$nginx_dir/acme
	V[LOG_DIR]=$(path NGINX_LOG_DIR "${NGINX_LOG_DIR:-$nginx_dir}")
	V[RUN_DIR]=$(path RUN_DIR "$RUN_DIR")
	V[DATA_DIR]=$(path DATA_DIR "$DATA_DIR")
	V[EDGE_LOG]=$(path EDGE_LOG "$EDGE_LOG")
	V[METRICS_FILE]=${V[RUN_DIR]}/metrics.prom
	V[WEB_DIR]=$(path NGINX_WEB_DIR "${NGINX_WEB_DIR:-$([ -e "$home/Makefile" ] && echo "$home/build/web" || echo "$home/web")}")
	V[TLS_CERTIFICATE]=$(path TLS_CERTIFICATE "${TLS_CERTIFICATE:-$RUN_DIR/tls/cert.pem}")
	V[TLS_KEY]=$(path TLS_KEY "${TLS_KEY:-$RUN_DIR/tls/key.pem}")
	V[EXTRA]=''
	[ -z "${NGINX_EXTRA_SERVER:-}" ] ||
		V[EXTRA]=$'\n'"    include \"$(path NGINX_EXTRA_SERVER "$NGINX_EXTRA_SERVER")\";"
}

# fill TEMPLATE: every @NAME@ by its value; a line that holds nothing but a name without a value goes.
fill() {
	local text name
	text=$(<"$templates/$1")
	for name in "${!V[@]}"; do
		[ -n "${V[$name]}" ] || text=$(sed "/^ *@$name@\$/d" <<<"$text")
		text=${text//"@$name@"/"${V[$name]}"}
	done
	if [[ $text =~ @[A-Z_]+@ ]]; then
		fail "$templates/$1: nothing is known of ${BASH_REMATCH[0]}"
	fi
	printf '%s\n' "$text"
}

set_instances() {
	local i
	V[SERVERS]='' V[INSTANCES]=''
	for ((i = 1; i <= INSTANCES; i++)); do
		V[SERVERS]+="        server \"unix:${V[RUN_DIR]}/appcore-$i.sock\" max_fails=0;"$'\n'
		V[INDEX]=$i
		V[LISTEN_INSTANCE]=$(listen_direct $((DIRECT_PORT + i)))
		V[INSTANCES]+=$(fill server_instance.conf.in)$'\n'
	done
	V[SERVERS]=${V[SERVERS]%$'\n'}
}

main() {
	local target file guard
	load_settings
	declare -gA V=()
	set_paths
	set_sizes
	set_limits
	set_listeners
	set_clients
	set_instances

	target=${1:-${V[DIR]}/conf}
	mkdir -p "$target" "${V[TEMP_DIR]}" "${V[ACME_DIR]}" "${V[LOG_DIR]}" "$(dirname "${V[EDGE_LOG]}")"
	cp "$templates"/{fastcgi_params,headers,errors,events}.conf "$target/"
	for file in nginx server_https server_http server_direct; do
		fill "$file.conf.in" >"$target/$file.conf"
	done
	guard=${V[CONTRACT_GUARD]}
	fill files.conf.in >"$target/files_http.conf"
	V[CONTRACT_GUARD]=''
	fill files.conf.in >"$target/files_https.conf"
	fill files.conf.in >"$target/files_direct.conf"
	fill docs.conf.in >"$target/docs.conf"
	fill downloads.conf.in >"$target/downloads.conf"
	V[CONTRACT_GUARD]=$guard
}

main "$@"
