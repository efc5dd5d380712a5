#!/usr/bin/env bash
# redis.sh COMMAND DIR [...]: a private Redis for tests. It listens on 127.0.0.1, wants a password and writes nothing to
# the disk but its log, in DIR/server.
#
#   start DIR [OPTIONS]     returns once it answers
#       --port N            a free one
#       --set NAME=VALUE    any setting of redis.conf; may be repeated
#       --until PID         it is removed when that process ends, however it does
#   stop DIR, restart DIR   SIGTERM, and for restart start; what it held is gone
#   kill DIR                SIGKILL; start brings it back, empty
#   pause DIR, resume DIR   SIGSTOP, SIGCONT
#   remove DIR              ends it and removes its files
#   url DIR                 redis://:password@127.0.0.1:port/0
#   cli DIR [ARGUMENTS...]  redis-cli with the password
#   log DIR                 the path of the log
#
# Exit codes: 100 the caller's mistake, 111 the system's.
set -euo pipefail
umask 077
# shellcheck disable=SC2034  # for common.sh
server_user=redis
# shellcheck source=tests/servers/common.sh
. "$(dirname "$0")/common.sh"

self=$(readlink -f "$0")
[ $# -ge 2 ] || usage
command=$1 dir=$2
shift 2
program=$(command -v redis-server) || fail 'Redis is not installed: run make deps-postgres.'

has_server() { find_home "$dir" && [ -e "$home/port" ]; } # sets $home
need() { has_server || fail "There is no Redis in $dir."; }

pid() { # fails when it does not run
	local pid
	pid=$(cat "$home/pid" 2>/dev/null) && is_alive "$pid" && [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$program")" ] && echo "$pid"
}
end() { # SIGNAL
	local pid
	pid=$(pid) || return 0
	kill "-$1" "$pid"
	kill -CONT "$pid" 2>/dev/null || true
	within 60 bash -c "! kill -0 $pid" || code=111 fail "Redis in $dir does not end."
}
cli() { REDISCLI_AUTH=$(cat "$home/password") redis-cli --no-auth-warning -p "$(cat "$home/port")" "$@"; }
answers() { [ "$(cli ping)" = PONG ]; }
launch() {
	as_server "$program" "$home/redis.conf" >"$home/start.log" 2>&1 && within 60 answers && return
	cat "$home/start.log" "$home/log" >&2
	forget_home "$dir"
	code=111 fail 'Redis does not start. Its words stand above.'
}

start() {
	local port='' until='' settings=() setting
	while [ $# -gt 0 ]; do
		[ $# -ge 2 ] || usage
		case $1 in
		--port) port=$2 ;;
		--set) settings+=("$2") ;;
		--until) until=$2 ;;
		*) usage ;;
		esac
		shift 2
	done
	if has_server; then
		launch
	else
		make_home "$dir"
		echo "${port:-$(free_port)}" >"$home/port"
		random_password >"$home/password"
		{
			printf '%s\n' 'bind 127.0.0.1' "port $(cat "$home/port")" "requirepass $(cat "$home/password")" 'daemonize yes' \
				"pidfile $home/pid" "logfile $home/log" "dir $home" 'save ""' 'appendonly no'
			for setting in "${settings[@]}"; do printf '%s\n' "${setting/=/ }"; done
		} >"$home/redis.conf"
		: >"$home/log"
		give "$home"/*
		launch
	fi
	[ -z "$until" ] || ends_with "$until" "$self" "$dir"
}

case $command in
start) start "$@" ;;
stop)
	need
	end TERM
	;;
restart)
	need
	end TERM
	launch
	;;
kill)
	need
	end KILL
	;;
pause | resume)
	need
	signal=STOP
	[ "$command" = pause ] || signal=CONT
	kill "-$signal" "$(pid || fail "Redis in $dir does not run.")"
	;;
remove)
	if has_server; then end KILL; fi
	forget_home "$dir"
	;;
url)
	need
	echo "redis://:$(cat "$home/password")@127.0.0.1:$(cat "$home/port")/0"
	;;
cli)
	need
	cli "$@"
	;;
log)
	need
	echo "$home/log"
	;;
*) usage ;;
esac
