#!/usr/bin/env bash
# Keeps one worker running: supervise.sh INDEX, with RUN_DIR and APPCORE_BIN (absolute) in the environment. The INDEX is a
# number for one that serves, "work-" and a number for one that works on background tasks.
#
# spawn-fcgi binds RUN_DIR/appcore-INDEX.sock and becomes the worker (-n); it does not start again what has died, this does:
# 100 ms later, and slower (up to 2 s) when one after the other dies within half a second. Exit code 100 means that the
# settings are wrong: that is final. TERM is handed on, the worker drains, and after 10 s it is killed. Reads nothing;
# writes RUN_DIR/appcore-INDEX.pid: two lines, "supervisor" and "worker", each with pid and start time (/proc/PID/stat),
# by which a stale file is recognised. Ends when it was asked to, or with the worker's 100.
set -u

index=$1
socket=$RUN_DIR/appcore-$index.sock
pid_file=$RUN_DIR/appcore-$index.pid
worker=
stopping=
case $index in
work-*) name=WORKER-${index#work-} ;;
*) name=API-$index ;;
esac

start_of() { # PID: its start time in clock ticks since boot; nothing when there is no such process
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	# shellcheck disable=SC2086  # fields; the name in parentheses may hold blanks and is cut off
	set -- ${stat##*) }
	printf '%s' "${20}"
}

say() { # LEVEL MESSAGE
	local now moment=$EPOCHREALTIME
	TZ=UTC printf -v now '%(%Y-%m-%d %H:%M:%S)T' "${moment%[.,]*}"
	moment=${moment#*[.,]}
	printf '{"timestamp":"%s,%s","level":"%s","logger":"appcore.supervise","message":"%s: %s"}\n' \
		"$now" "${moment:0:3}" "$1" "$name" "$2"
}

write_pids() {
	{
		printf 'supervisor %s %s\n' "$$" "$(start_of "$$")"
		[ -z "$worker" ] || printf 'worker %s %s\n' "$worker" "$(start_of "$worker")"
	} >"$pid_file.tmp" && mv -f "$pid_file.tmp" "$pid_file"
}

# If this process is killed, its worker drains (pdeathsig) instead of serving on without anybody who knows of it.
start_worker() {
	local command=(spawn-fcgi -n -s "$socket" -M 0660 -b 1024 -- "$APPCORE_BIN" serve)
	[ "$name" = "API-$index" ] || command=("$APPCORE_BIN" work)
	INSTANCE_ID=$name setpriv --pdeathsig TERM "${command[@]}" &
	worker=$!
	write_pids
}

# shellcheck disable=SC2317  # called by the trap
ask_to_stop() {
	stopping=1
	[ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null
}

# wait_worker: its exit code in $code. A signal to this process interrupts `wait`, so it may take several.
wait_worker() {
	local patience=100
	code=0
	while [ -z "$stopping" ]; do
		wait "$worker" 2>/dev/null
		code=$?
		kill -0 "$worker" 2>/dev/null || return 0
	done
	while [ "$patience" -gt 0 ] && kill -0 "$worker" 2>/dev/null; do
		sleep 0.1
		patience=$((patience - 1))
	done
	if kill -KILL "$worker" 2>/dev/null; then
		say WARNING "worker $worker did not drain within 10 s and was killed"
	fi
	wait "$worker" 2>/dev/null
	return 0
}

milliseconds() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# A worker that is killed once a second comes back at once; only the sixth in a row that dies within half a second waits.
supervise() {
	local started code=0 young=0 delays=(0.1 0.1 0.1 0.1 0.1 0.2 0.5 1 2) delay
	while [ -z "$stopping" ]; do
		started=$(milliseconds)
		start_worker
		wait_worker
		[ -z "$stopping" ] || break
		if [ "$code" -eq 100 ]; then
			say ERROR 'the settings are wrong, see above'
			exit 100
		fi
		if [ $(($(milliseconds) - started)) -ge 500 ]; then
			young=0
		fi
		delay=${delays[young]}
		say WARNING "worker $worker ended with code $code, the next one starts in $delay s"
		worker=
		sleep "$delay" &
		wait "$!"
		young=$((young < 8 ? young + 1 : 8))
	done
}

trap ask_to_stop TERM INT
trap '' HUP
supervise
rm -f "$socket" "$pid_file"
exit 0
