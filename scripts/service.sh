#!/usr/bin/env bash
# The development service: nginx, the instances, and the workers for background tasks, as the user who calls this, in the working directory.
#
#   service.sh start      starts it and returns once it is healthy
#   service.sh run        the same, then shows the logs; Ctrl-C stops everything
#   service.sh stop       drains and stops it; does nothing when it does not run
#   service.sh status     a table; 0 when it runs, 3 when it does not, 1 when a part of it does
#   service.sh restart    one instance after the other, without a failed request
#   service.sh reload     nginx's configuration anew from the settings
#
# Settings: the environment, .env, defaults, as `appcore config --shell` resolves them. APPCORE_BIN names another binary.
# What runs is known by RUN_DIR/appcore-*.pid (supervise.sh) and RUN_DIR/nginx/nginx.pid; only these are ever signalled.
# Exit codes: 100 something to correct by the caller, 111 something of the system's.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
umask 077

home=$(cd "$(dirname "$0")/.." && pwd)
scripts=$home/scripts
APPCORE_BIN=${APPCORE_BIN:-$home/build/release/appcore}

say() { printf '%s\n' "$*"; }
fail() {
	printf '%s\n' "$*" >&2
	exit "${code:-100}"
}
unset code # an inherited one is not ours

# --- settings -------------------------------------------------------------------------------------------------------

env_file_value() { # NAME: its last value in .env
	[ -r .env ] || return 0
	sed -n "s/^ *\(export  *\)\{0,1\}$1 *= *//p" .env | tail -n 1 | sed "s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/"
}

setting() { # NAME: from the environment, else from .env
	if [ -n "${!1:-}" ]; then
		printf '%s' "${!1}"
	else
		env_file_value "$1"
	fi
}

random_text() { head -c "$1" /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '='; } # BYTES

add_to_env_file() { # LINE
	# A file whose last line has no end would swallow the new one.
	[ -z "$(tail -c 1 .env)" ] || echo >>.env
	printf '%s\n' "$1" >>.env
}

# The first run writes .env. In production keys are the operator's to give: none is made up.
ensure_env_file() {
	if [ ! -e .env ]; then
		printf '# Settings of this folder: .env.example lists them. The environment wins over this file.\n' >.env ||
			fail "$PWD/.env cannot be written: go to a folder that is yours."
	fi
	[ -r .env ] || fail "$PWD/.env cannot be read: it belongs to $(stat -c %U .env)."
	[ "$(setting ENVIRONMENT)" != production ] || return 0
	ensure_secret API_KEY "ak_$(random_text 32)"
	ensure_secret SECRET_KEY "$(random_text 48)"
}

ensure_secret() { # NAME VALUE
	[ -z "$(setting "$1")" ] && [ -z "$(setting "$1_FILE")" ] || return 0
	chmod 600 .env 2>/dev/null || fail "$PWD/.env belongs to $(stat -c %U .env): no key can be added."
	add_to_env_file "$1=$2"
}

load_settings() {
	local settings given_run_dir
	given_run_dir=$(setting RUN_DIR)
	[ -x "$APPCORE_BIN" ] || fail "$APPCORE_BIN is missing: run \`make\` first."
	settings=$("$APPCORE_BIN" config --shell) || exit "$?"
	eval "$settings"
	choose_run_dir
	nginx_dir=$RUN_DIR/nginx
	TLS_CERTIFICATE=${TLS_CERTIFICATE:-$RUN_DIR/tls/cert.pem}
	TLS_KEY=${TLS_KEY:-$RUN_DIR/tls/key.pem}
	# Only these: the workers and render_nginx.sh read the others for themselves, anew each time.
	export RUN_DIR APPCORE_BIN
}

# The name of a unix socket may have 107 bytes. A working directory that is too deep gets a run directory in /tmp.
choose_run_dir() {
	local absolute socket
	absolute=$(realpath -m -- "$RUN_DIR")
	socket=$absolute/appcore-$INSTANCES.sock
	if [ "$(LC_ALL=C printf '%s' "$socket" | wc -c)" -gt 90 ]; then
		[ -z "$given_run_dir" ] || fail "RUN_DIR=$RUN_DIR is too long for a unix socket: choose a shorter one."
		absolute=/tmp/appcore-$(id -u)-$(pwd -P | cksum | cut -d ' ' -f 1)
		add_to_env_file "RUN_DIR=$absolute"
		say "This folder's path is too long for unix sockets: RUN_DIR is $absolute, noted in .env."
	fi
	RUN_DIR=$absolute
}

make_folders() {
	mkdir -p "$RUN_DIR" "$DATA_DIR" 2>/dev/null || code=111 fail "$RUN_DIR or $DATA_DIR cannot be made by $(id -un)."
	# In /tmp somebody else may have been there first.
	if [ -L "$RUN_DIR" ] || [ "$(stat -c %u "$RUN_DIR")" != "$(id -u)" ]; then
		fail "RUN_DIR $RUN_DIR belongs to $(stat -c %U "$RUN_DIR"): set another one."
	fi
	if [ ! -w "$RUN_DIR" ] || [ ! -w "$DATA_DIR" ]; then
		code=111 fail "$RUN_DIR or $DATA_DIR cannot be written by $(id -un)."
	fi
	mkdir -p "$RUN_DIR/log" "$nginx_dir"
}

# One start or stop at a time. Children that stay get the lock's descriptor closed.
take_turn() {
	exec 9>"$RUN_DIR/service.lock"
	flock -w 60 9 || code=111 fail "Another start or stop is still at work in $RUN_DIR."
}

# --- processes ------------------------------------------------------------------------------------------------------

start_of() { # PID: its start time in clock ticks since boot; nothing when there is no such process
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	# shellcheck disable=SC2086  # fields; the name in parentheses may hold blanks and is cut off
	set -- ${stat##*) }
	[ "$1" = Z ] || printf '%s' "${20}"
}

pid_of() { # ROLE INDEX: of the supervisor or the worker, while it is that process and no later one of the same number
	local role pid started
	while read -r role pid started; do
		if [ "$role" = "$1" ] && [ -n "$started" ] && [ "$(start_of "$pid")" = "$started" ]; then
			printf '%s' "$pid"
		fi
	done 2>/dev/null <"$RUN_DIR/appcore-$2.pid" || return 0
}

nginx_pid() {
	local pid=
	read -r pid 2>/dev/null <"$nginx_dir/nginx.pid" || [ -n "$pid" ] || return 0
	if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$nginx_dir/conf/nginx.conf"; then
		printf '%s' "$pid"
	fi
}

known_instances() { # of all pid files: numbers, and "work-" with a number
	local file
	for file in "$RUN_DIR"/appcore-*.pid; do
		[ -e "$file" ] || continue
		file=${file##*/appcore-}
		printf '%s\n' "${file%.pid}"
	done
}

# As the settings say: those that serve, then those that work on tasks.
all_indexes() {
	local i
	seq "$INSTANCES"
	for ((i = 1; i <= WORKERS; i++)); do
		printf 'work-%s\n' "$i"
	done
}

wait_gone() { # TENTHS PID...
	local tenths=$1 pid alive
	shift
	while :; do
		alive=
		for pid in "$@"; do
			[ -z "$(start_of "$pid")" ] || alive=1
		done
		[ -n "$alive" ] || return 0
		[ "$tenths" -gt 0 ] || return 1
		sleep 0.1
		tenths=$((tenths - 1))
	done
}

signal() { kill "-$1" "${@:2}" 2>/dev/null || true; }

is_running() { # everything
	local i
	[ -n "$(nginx_pid)" ] || return 1
	for i in $(all_indexes); do
		[ -n "$(pid_of supervisor "$i")" ] || return 1
	done
}

is_stopped() { # everything
	local i
	[ -z "$(nginx_pid)" ] || return 1
	for i in $(known_instances); do
		[ -z "$(pid_of supervisor "$i")$(pid_of worker "$i")" ] || return 1
	done
}

stop_nginx() {
	local pid children
	pid=$(nginx_pid)
	[ -n "$pid" ] || return 0
	read -ra children <"/proc/$pid/task/$pid/children" || true
	signal QUIT "$pid"
	wait_gone 100 "$pid" && return
	signal TERM "$pid"
	wait_gone 20 "$pid" && return
	signal KILL "$pid" "${children[@]}"
	wait_gone 20 "$pid" || true
}

stop_workers() {
	local i pid pids=()
	for i in $(known_instances); do
		pid=$(pid_of supervisor "$i")
		[ -n "$pid" ] || pid=$(pid_of worker "$i")
		[ -z "$pid" ] || pids+=("$pid")
	done
	if [ "${#pids[@]}" -gt 0 ]; then
		signal TERM "${pids[@]}"
		wait_gone 120 "${pids[@]}" || true
	fi
	for i in $(known_instances); do
		pid="$(pid_of supervisor "$i") $(pid_of worker "$i")"
		# shellcheck disable=SC2086  # none, one or two numbers
		[ "$pid" = ' ' ] || signal KILL $pid
		rm -f "$RUN_DIR/appcore-$i.pid" "$RUN_DIR/appcore-$i.sock"
	done
}

stop_all() {
	stop_nginx
	stop_workers
}

# --- start ----------------------------------------------------------------------------------------------------------

port_owner() { # PORT: "pid N, name" of who listens there, "another user's" when that cannot be seen; nothing when free
	local inode fd pid
	inode=$(awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' \
		/proc/net/tcp /proc/net/tcp6 2>/dev/null) || true
	[ -n "$inode" ] || return 0
	fd=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2>/dev/null) || true
	if [ -n "$fd" ]; then
		pid=${fd#/proc/}
		pid=${pid%%/*}
		printf 'pid %s, %s' "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)"
	else
		printf "another user's"
	fi
}

check_ports() {
	local name port owner problems=0 lowest=0 i
	local -A seen=()
	local -a wanted=("HTTPS_PORT $HTTPS_PORT" "HTTP_PORT $HTTP_PORT")
	for ((i = 0; i <= INSTANCES; i++)); do
		wanted+=("DIRECT_PORT $((DIRECT_PORT + i))")
	done
	[ "$(id -u)" -eq 0 ] || lowest=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null || echo 1024)
	for name in "${wanted[@]}"; do
		port=${name#* }
		name=${name% *}
		owner=$(port_owner "$port")
		if [ -n "${seen[$port]:-}" ]; then
			say "Port $port is wanted by ${seen[$port]} and by $name: set one of them differently." >&2
		elif [ "$port" -lt "$lowest" ]; then
			say "Port $port may only be opened by root: set $name to $lowest or above." >&2
		elif [ -n "$owner" ]; then
			say "Port $port is taken by another program ($owner): stop it or set $name." >&2
		else
			seen[$port]=$name
			continue
		fi
		problems=$((problems + 1))
	done
	[ "$problems" -eq 0 ] || exit 100
}

migrate() {
	local output
	output=$("$APPCORE_BIN" migrate up 2>&1) || {
		code=$?
		fail "The database could not be migrated: $output"
	}
}

# A service without them serves all the same.
add_models() {
	local output
	output=$("$scripts/add_models.sh" 2>&1) || say "The shipped models could not all be added: $output" >&2
}

start_supervisors() {
	local i limit
	limit=$(ulimit -Hn)
	if [ "$limit" = unlimited ] || [ "$limit" -gt 65536 ]; then limit=65536; fi
	ulimit -Sn "$limit" 2>/dev/null || true
	for i in $(all_indexes); do
		# A session of its own: Ctrl-C in the terminal is for this script only.
		setsid "$scripts/supervise.sh" "$i" </dev/null >>"$RUN_DIR/log/appcore-$i.log" 2>&1 9>&- &
		supervisors[$i]=$!
	done
}

call_nginx() { nginx -p "$nginx_dir" -e "$nginx_dir/error.log" "$@" 9>&-; }

# render_nginx: the new files take the place of the old ones only when nginx likes them.
render_nginx() {
	local output
	rm -rf "$nginx_dir/conf.new"
	"$scripts/render_nginx.sh" "$nginx_dir/conf.new" || exit "$?"
	output=$(call_nginx -t -q -c "$nginx_dir/conf.new/nginx.conf" 2>&1) || code=111 fail "nginx refuses its configuration: $output"
	rm -rf "$nginx_dir/conf.old"
	[ ! -e "$nginx_dir/conf" ] || mv "$nginx_dir/conf" "$nginx_dir/conf.old"
	mv "$nginx_dir/conf.new" "$nginx_dir/conf"
}

answers() { # PORT: the instance behind it is ready
	curl -sf --noproxy '*' -o /dev/null -m 2 "http://127.0.0.1:$1/readyz"
}

# Ready: every instance answers on its own port. $problem says what is not, if 40 s were not enough.
wait_healthy() {
	local deadline=$((SECONDS + 40)) i
	while [ -z "$ending" ]; do
		problem=
		for i in $(all_indexes); do
			[ -n "$(start_of "${supervisors[$i]}")" ] || {
				problem="Instance $i gave up."
				wait "${supervisors[$i]}" || ended=$?
				return 1
			}
			[ "${i#work-}" = "$i" ] || continue
			answers $((DIRECT_PORT + i)) || problem="Instance $i does not answer on port $((DIRECT_PORT + i))."
		done
		[ -n "$problem" ] || return 0
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.05
	done
	problem='It was interrupted.'
	return 1
}

# Only what was written since this start; that nginx could not reach a worker is said by the worker's own lines.
show_last_lines() {
	local file lines
	for file in "${!size_before[@]}"; do
		[ -s "$file" ] || continue
		lines=$(tail -c "+$((size_before[$file] + 1))" "$file" | sed '/connect() to unix:/d' | tail -n 5 | sed 's/^/    /')
		[ -z "$lines" ] || printf '  %s:\n%s\n' "$file" "$lines" >&2
	done
}

# Nobody rotates the logs in development: those that have grown large make room at a start, one older one is kept.
rotate_logs() {
	local file
	for file in "$RUN_DIR"/log/appcore-*.log "$nginx_dir"/{access,edge,error}.log; do
		if [ "$(stat -c %s "$file" 2>/dev/null || echo 0)" -gt 100000000 ]; then
			mv -f "$file" "$file.1"
		fi
	done
}

note_sizes() {
	local file i
	for i in $(all_indexes); do
		size_before[$RUN_DIR/log/appcore-$i.log]=0
	done
	size_before[$nginx_dir/error.log]=0
	[ -z "${LOG_FILE:-}" ] || size_before[$LOG_FILE]=0
	for file in "${!size_before[@]}"; do
		size_before[$file]=$(stat -c %s "$file" 2>/dev/null || echo 0)
	done
}

# start: leaves $fresh set when it was this call that started it. A signal meanwhile sets $ending and undoes it.
start() {
	local problem='' output ended=111
	local -A size_before=() supervisors=()
	trap 'ending=1' INT TERM HUP
	ensure_env_file
	load_settings
	[ "$(setting ENVIRONMENT)" != production ] || [ -n "$(setting API_KEY)" ] || [ -n "$(setting API_KEY_FILE)" ] ||
		fail "API_KEY is not set: production wants one. Give it as API_KEY or API_KEY_FILE."
	[ -n "$(setting SECRET_KEY)" ] || [ -n "$(setting SECRET_KEY_FILE)" ] ||
		fail "SECRET_KEY is not set: access tokens are signed with it. Make one (openssl rand -base64 48) and give it as SECRET_KEY or SECRET_KEY_FILE."
	make_folders
	take_turn
	if is_running; then
		say 'appcore is already running.'
		return
	fi
	stop_all
	check_ports
	"$scripts/make_certificate.sh" "$TLS_CERTIFICATE" "$TLS_KEY"
	migrate
	add_models
	render_nginx
	rotate_logs
	note_sizes
	start_supervisors
	if ! output=$(call_nginx -c "$nginx_dir/conf/nginx.conf" 2>&1); then
		problem="nginx does not start: $output"
	elif wait_healthy; then
		fresh=1
		return
	fi
	say "appcore did not become healthy. $problem" >&2
	show_last_lines
	stop_all
	[ "$ended" -eq 100 ] || ended=111
	exit "$ended"
}

banner() {
	local url key file
	url=https://localhost$([ "$HTTPS_PORT" = 443 ] || printf ':%s' "$HTTPS_PORT")
	key=$(setting API_KEY)
	file=$(setting API_KEY_FILE)
	if [ -n "$file" ] && [ -r "$file" ]; then key=$(head -n 1 "$file"); fi
	if [ "${ENVIRONMENT:-}" = production ] || [ -z "$key" ]; then key=YOUR_KEY; fi
	cat <<TEXT

  appcore   $url
            http://localhost:$HTTP_PORT (contract paths: ${HTTP_CONTRACT:-local}), http://localhost:$DIRECT_PORT (this machine only)
  docs      $url/docs
  key       $key
  logs      $RUN_DIR/log, $nginx_dir

  curl -k $url/predict -H 'X-API-Key: $key' \\
       -H 'Content-Type: application/json' -d '{"features":[1.0,2.0,3.0]}'
  curl -k $url/predictions
  curl -k $url/health
  curl -k $url/metrics

TEXT
}

# --- verbs ----------------------------------------------------------------------------------------------------------

verb_start() {
	local fresh='' ending=''
	start
	banner
}

verb_run() {
	local fresh='' tail_pid='' ending='' broken=''
	start
	banner
	[ -n "$fresh" ] || return 0
	exec 9>&-
	say "Ctrl-C stops it."
	setsid tail -q -n 0 -F "$RUN_DIR"/log/appcore-*.log ${LOG_FILE:+"$LOG_FILE"} "$nginx_dir/error.log" 2>/dev/null &
	tail_pid=$!
	while [ -z "$ending" ] && is_running; do
		sleep 1 &
		wait "$!" || true
	done
	trap '' INT TERM HUP
	take_turn
	if [ -n "$ending" ]; then
		say 'Stopping ...'
	elif ! is_stopped; then
		say 'A part of appcore has ended: stopping the rest.' >&2
		broken=1
	fi
	stop_all
	signal TERM "$tail_pid"
	wait "$tail_pid" 2>/dev/null || true
	say 'appcore has stopped.'
	[ -z "$broken" ] || exit 1
}

# Also without the binary and with settings that are wrong by now: all it needs is RUN_DIR.
verb_stop() {
	RUN_DIR=$(setting RUN_DIR)
	RUN_DIR=$(realpath -m -- "${RUN_DIR:-run}")
	nginx_dir=$RUN_DIR/nginx
	if [ ! -d "$RUN_DIR" ] || is_stopped; then
		say 'appcore is not running.'
		return
	fi
	take_turn
	stop_all
	say 'appcore has stopped.'
}

uptime_of() { # PID
	local now ticks
	read -r now _ </proc/uptime
	ticks=$(start_of "$1")
	printf '%d s' $((${now%.*} - ${ticks:-0} / $(getconf CLK_TCK)))
}

verb_status() {
	local i pid answer part=0 whole=0
	load_settings
	printf '%-10s %-8s %-10s %s\n' PROCESS PID UPTIME ANSWERS
	for i in nginx $(all_indexes); do
		if [ "${i#work-}" != "$i" ]; then
			pid=$(pid_of worker "$i")
			answer=yes # nobody asks it anything: it is there
			i=WORKER-${i#work-}
		elif [ "$i" = nginx ]; then
			pid=$(nginx_pid)
			curl -sf --noproxy '*' -o /dev/null -m 2 "http://127.0.0.1:$DIRECT_PORT/nginx-health" && answer=yes || answer=no
		else
			pid=$(pid_of worker "$i")
			answers $((DIRECT_PORT + i)) && answer=yes || answer=no
			i=API-$i
		fi
		whole=$((whole + 1))
		if [ -z "$pid" ]; then
			printf '%-10s %-8s %-10s %s\n' "$i" - - -
		else
			printf '%-10s %-8s %-10s %s\n' "$i" "$pid" "$(uptime_of "$pid")" "$answer"
			[ "$answer" = no ] || part=$((part + 1))
		fi
	done
	[ "$part" -ne "$whole" ] || return 0
	is_stopped && exit 3
	exit 1
}

need_running() {
	load_settings
	if [ ! -d "$RUN_DIR" ] || ! is_running; then
		code=3 fail 'appcore is not running, or only a part of it: start it first.'
	fi
	take_turn
}

verb_restart() {
	local i old patience name
	need_running
	for i in $(all_indexes); do
		old=$(pid_of worker "$i")
		if [ -n "$old" ]; then
			signal TERM "$old"
			wait_gone 120 "$old" || signal KILL "$old"
		fi
		patience=400
		until [ -n "$(pid_of worker "$i")" ] && [ "$(pid_of worker "$i")" != "$old" ] &&
			{ [ "${i#work-}" != "$i" ] || answers $((DIRECT_PORT + i)); }; do
			patience=$((patience - 1))
			[ "$patience" -gt 0 ] || code=111 fail "Instance $i did not come back; the others were left alone."
			sleep 0.1
		done
		name=API-$i
		[ "${i#work-}" = "$i" ] || name=WORKER-${i#work-}
		say "$name has restarted."
	done
}

# nginx's worker processes that accept connections.
accepting() { # PID-OF-THE-MASTER
	local pid
	# shellcheck disable=SC2013
	for pid in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
		tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'worker process *$' && printf '%s ' "$pid"
	done
}

verb_reload() {
	local pid former one now patience=300
	need_running
	[ "$(known_instances | grep -vc '^work-')" -eq "$INSTANCES" ] || fail 'INSTANCES has changed: stop and start instead.'
	"$scripts/make_certificate.sh" "$TLS_CERTIFICATE" "$TLS_KEY" --reload
	render_nginx
	pid=$(nginx_pid)
	# shellcheck disable=SC2015
	[ -n "$pid" ] && former=$(accepting "$pid") && kill -HUP "$pid" || code=111 fail 'nginx has ended.'
	# The settings hold when none of the former workers takes a connection any more.
	for one in $former; do
		while now=" $(accepting "$pid")" && [[ $now == *" $one "* ]]; do
			patience=$((patience - 1))
			[ "$patience" -gt 0 ] || code=111 fail "nginx kept its former configuration: see $nginx_dir/error.log."
			sleep 0.1
		done
	done
	say 'nginx has its new configuration.'
}

case ${1:-} in
run | start | stop | status | restart | reload) "verb_$1" ;;
*)
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit 100
	;;
esac
