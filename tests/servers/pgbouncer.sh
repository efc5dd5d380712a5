#!/usr/bin/env bash
# pgbouncer.sh COMMAND DIR [...]: PgBouncer in transaction mode before a server of postgres.sh, for tests.
#
#   start DIR OF_DIR [OPTIONS]   before the server of OF_DIR; returns once it answers
#       --port N                 a free one
#       --pool N                 connections to the server per database: 10
#       --set NAME=VALUE         any setting of pgbouncer.ini; may be repeated
#       --until PID              it is removed when that process ends, however it does
#   restart DIR                  ends it hard and starts it again
#   stop DIR, pause DIR, resume DIR   SIGINT (waits for transactions), SIGSTOP, SIGCONT
#   remove DIR                   ends it and removes its files
#   url DIR [DATABASE]           postgresql://user:password@127.0.0.1:port/database
#   log DIR                      the path of the log
#
# It knows the role of postgres.sh and passes on whatever database is asked for. Exit codes: 100 the caller's mistake,
# 111 the system's.
set -euo pipefail
umask 077
# shellcheck disable=SC2034  # for common.sh
server_user=postgres
# shellcheck source=tests/servers/common.sh
. "$(dirname "$0")/common.sh"

self=$(readlink -f "$0")
servers=$(dirname "$self")
[ $# -ge 2 ] || usage
command=$1 dir=$2
shift 2
program=$(command -v pgbouncer) || fail 'PgBouncer is not installed: run make deps-postgres.'

has_server() { find_home "$dir" && [ -e "$home/port" ]; } # sets $home
need() { has_server || fail "There is no PgBouncer in $dir."; }

pid() { # fails when it does not run
	local pid
	pid=$(cat "$home/pid" 2>/dev/null) && is_alive "$pid" && [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$program")" ] && echo "$pid"
}
end() { # SIGNAL
	local pid
	pid=$(pid) || return 0
	kill "-$1" "$pid"
	kill -CONT "$pid" 2>/dev/null || true
	within 60 bash -c "! kill -0 $pid" || code=111 fail "PgBouncer in $dir does not end."
}
answers() { (exec 9<>"/dev/tcp/127.0.0.1/$(cat "$home/port")") 2>/dev/null; }
launch() {
	as_server "$program" -q -d "$home/pgbouncer.ini" >"$home/start.log" 2>&1 && within 60 answers && return
	cat "$home/start.log" "$home/log" >&2
	forget_home "$dir"
	code=111 fail 'PgBouncer does not start. Its words stand above.'
}

start() { # OF_DIR OPTIONS...
	local url server user password port='' pool=10 until='' settings=() setting
	url=$("$servers/postgres.sh" url "$1")
	shift
	while [ $# -gt 0 ]; do
		[ $# -ge 2 ] || usage
		case $1 in
		--port) port=$2 ;;
		--pool) pool=$2 ;;
		--set) settings+=("$2") ;;
		--until) until=$2 ;;
		*) usage ;;
		esac
		shift 2
	done
	url=${url#postgresql://} server=${url#*@}
	user=${url%%:*} password=${url#*:} password=${password%%@*} server=${server%%/*}
	make_home "$dir"
	echo "${port:-$(free_port)}" >"$home/port"
	printf '%s:%s' "$user" "$password" >"$home/who"
	printf '"%s" "%s"\n' "$user" "$password" >"$home/users"
	{
		printf '%s\n' '[databases]' "* = host=${server%:*} port=${server##*:}" '[pgbouncer]' 'listen_addr = 127.0.0.1' \
			"listen_port = $(cat "$home/port")" 'unix_socket_dir =' 'auth_type = scram-sha-256' "auth_file = $home/users" \
			'pool_mode = transaction' "default_pool_size = $pool" 'max_client_conn = 1000' "logfile = $home/log" \
			"pidfile = $home/pid" 'server_connect_timeout = 5' 'server_login_retry = 1'
		for setting in "${settings[@]}"; do printf '%s\n' "${setting/=/ = }"; done
	} >"$home/pgbouncer.ini"
	: >"$home/log"
	give "$home"/*
	launch
	[ -z "$until" ] || ends_with "$until" "$self" "$dir"
}

case $command in
start)
	[ $# -ge 1 ] || usage
	if has_server; then launch; else start "$@"; fi
	;;
stop)
	need
	end INT
	;;
restart)
	need
	end TERM
	launch
	;;
pause | resume)
	need
	signal=STOP
	[ "$command" = pause ] || signal=CONT
	kill "-$signal" "$(pid || fail "PgBouncer in $dir does not run.")"
	;;
remove)
	if has_server; then end KILL; fi
	forget_home "$dir"
	;;
url)
	need
	echo "postgresql://$(cat "$home/who")@127.0.0.1:$(cat "$home/port")/${1:-postgres}"
	;;
log)
	need
	echo "$home/log"
	;;
*) usage ;;
esac
