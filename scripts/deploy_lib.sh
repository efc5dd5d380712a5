#!/usr/bin/env bash
# What deploy.sh, rollback.sh and rotate_secret.sh share: the turn, steps and their seconds, the service's own environment,
# restarts one by one. Sourced by root's scripts that have set $scripts and -uo pipefail. A function that fails returns 1
# and has put one sentence into $why.

LIVE_NGINX=/run/appcore-nginx
STATE=${APPCORE_DEPLOY_DIR:-/var/lib/appcore-deploy}

why=''
began=$EPOCHREALTIME
steps=''
interrupted=''

say() { printf '%s\n' "$*" || true; } 2>/dev/null
refuse() { # SENTENCE: nothing was changed
	printf '%s\n' "$*" >&2
	exit "${code:-100}"
}
unset code

json_string() { # TEXT
	local text=$1
	text=${text//\\/\\\\}
	text=${text//\"/\\\"}
	text=${text//[[:cntrl:]]/ }
	printf '"%s"' "$text"
}

seconds_since() { # EPOCHREALTIME
	local us=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
	printf '%d.%03d' $((us / 1000000)) $((us / 1000 % 1000))
}

# One sentence out of what a program said: the last error of appcore's, or its last line, without control characters.
last_line() {
	local text line
	text=$(sed '/^[[:space:]]*$/d' | tr -d '\000-\010\013-\037')
	line=$(grep '^appcore [a-z]*: ' <<<"$text" | tail -n 1)
	[ -n "$line" ] || line=$(tail -n 1 <<<"$text")
	line=${line#"${line%%[![:space:]]*}"}
	printf '%s' "${line:-it said nothing}" | cut -c 1-300
}

need_root() {
	[ "$(id -u)" -eq 0 ] || refuse "Only root can do this: call $(basename "$0") with sudo."
	[ -d /run/systemd/system ] || refuse 'systemd does not run here: this is for a machine that was installed from the package.'
}

need_tools() { # NAME...
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || refuse "$tool is missing: install it and try again."
	done
}

# One deploy, rollback or change of a secret at a time, by whomever. A lock file that somebody else has made is not followed.
take_turn() { # WHAT
	local holder=''
	install -d -m 0755 "$STATE" 2>/dev/null || code=111 refuse "$STATE cannot be made: look at its disk."
	exec 8<>"$STATE/turn" || code=111 refuse "$STATE/turn cannot be written: look at its disk."
	if ! flock -n 8; then
		read -r holder <"$STATE/turn" || true
		refuse "Another one is under way (${holder:-nobody knows which}): wait until it has ended."
	fi
	: >"$STATE/turn"
	printf '%s, pid %s, by %s, since %(%H:%M:%S)T\n' "$1" "$$" "$(by_whom)" -1 >"$STATE/turn" || true
}

by_whom() {
	local from=${SSH_CONNECTION:-}
	printf '%s%s' "${APPCORE_DEPLOY_BY:-${SUDO_USER:-$(id -un)}}" "${from:+ from ${from%% *}}"
}

# step NAME FUNCTION...: its seconds are noted, whatever comes of it.
step() {
	local name=$1 start=$EPOCHREALTIME result=0 took
	shift
	if [ -n "$interrupted" ]; then
		why='It was interrupted.'
		return 1
	fi
	"$@" 8>&- || result=1
	took=$(seconds_since "$start")
	steps+="${steps:+,}{\"name\":$(json_string "$name"),\"seconds\":$took}"
	if [ "$result" -eq 0 ]; then
		say "  $name: $took s"
	else
		say "  $name: failed after $took s"
	fi
	return "$result"
}

# A line of the history. With a full disk there is none, and that is said.
note_history() { # KIND OUTCOME FIELD VALUE...
	local line now
	TZ=UTC printf -v now '%(%Y-%m-%dT%H:%M:%SZ)T' -1
	line="{\"at\":\"$now\",\"kind\":$(json_string "$1"),\"outcome\":$(json_string "$2")"
	shift 2
	while [ "$#" -gt 1 ]; do
		line+=",\"$1\":$(json_string "$2")"
		shift 2
	done
	line+=",\"by\":$(json_string "$(by_whom)"),\"host\":$(json_string "$(uname -n)"),\"seconds\":$(seconds_since "$began"),\"steps\":[$steps]"
	[ -z "$why" ] || line+=",\"why\":$(json_string "$why")"
	line+='}'
	(umask 077 && printf '%s\n' "$line" >>"$STATE/history.jsonl") 2>/dev/null ||
		say "The history in $STATE/history.jsonl cannot be written: look at its disk." >&2
	logger -t appcore-deploy -- "$line" 2>/dev/null || true
}

# --- the service's own environment ----------------------------------------------------------------------------------

# as_unit UNIT PROGRAM...: with the user, the settings and the secrets that systemd would give to UNIT.
as_unit() {
	local unit=$1 line
	local -a properties=()
	shift
	while IFS= read -r line; do
		properties+=(-p "$line")
	done < <(systemctl cat "$unit" 2>/dev/null |
		grep -E '^(Environment|EnvironmentFile|LoadCredential|SetCredential|User|Group|SupplementaryGroups|AmbientCapabilities|UMask)=.')
	systemd-run --quiet --wait --pipe --collect --service-type=exec "${properties[@]}" ${extra[@]+"${extra[@]}"} -- "$@" </dev/null
}
extra=() # further properties

# The settings that PROGRAM makes of the machine's, as variables named SET_…; what is wrong with them is in $why.
read_settings() { # PROGRAM
	local settings
	if ! settings=$(as_unit appcore-migrate.service "$1" config --shell 2>&1); then
		why="/etc/appcore/appcore.env or a secret is refused: $(last_line <<<"$settings")"
		return 1
	fi
	settings=$(sed -n 's/^\(INSTANCES\|DIRECT_PORT\|HTTPS_PORT\|DATABASE_URL\|DATA_DIR\|ACCESS_TOKEN_EXPIRE_MINUTES\)=/SET_\1=/p' <<<"$settings")
	eval "$settings"
	# What the program does not print has no business here.
	[ -n "${SET_INSTANCES:-}" ] && [ -n "${SET_DIRECT_PORT:-}" ] && return
	why="$1 does not print its settings: is it appcore?"
	return 1
}

# --- units ----------------------------------------------------------------------------------------------------------

show() { systemctl show --value -p "$2" "$1"; } # UNIT PROPERTY

# Those that run, or try to; whoever stopped one by hand wants it stopped.
units_of() { # appcore@|appcore-worker@
	systemctl list-units --all --plain --no-legend "$1*.service" 2>/dev/null |
		awk '$3 != "inactive" { print $1 }' | sort -V
}

number_of() { # UNIT
	local number=${1#*@}
	printf '%s' "${number%.service}"
}

runs_installed_program() { # UNIT: the same bytes, if not the same file
	local pid
	pid=$(show "$1" MainPID)
	[ "${pid:-0}" -ne 0 ] && cmp -s "/proc/$pid/exe" /usr/bin/appcore
}

last_words() { # UNIT: what it said last that is no good news
	journalctl --sync >/dev/null 2>&1
	journalctl -u "$1" --no-pager -o cat --since "@${2%[.,]*}" 2>/dev/null | grep -v '^appcore.*@' |
		grep -E '^appcore|"level":"(ERROR|CRITICAL)"|spawn-fcgi|cannot open shared|No such file' | last_line | sed 's/\.$//'
}

# restart UNIT: it runs the installed program, its probe answers on its own listener, and it stays for a while.
restart_unit() {
	local unit=$1 start=$EPOCHREALTIME old pid deadline=$((SECONDS + HEALTH_SECONDS)) url port
	old=$(show "$unit" MainPID)
	systemctl reset-failed "$unit" 2>/dev/null || true
	systemctl restart --no-block "$unit" || {
		why="systemd does not restart $unit."
		return 1
	}
	until pid=$(show "$unit" MainPID) && [ "${pid:-0}" -ne 0 ] && [ "$pid" != "$old" ] && runs_installed_program "$unit" &&
		[ "$(show "$unit" ActiveState)" = active ]; do
		if [ "$(show "$unit" NRestarts)" -ge 3 ] || [ "$(show "$unit" ActiveState)" = failed ] || [ "$SECONDS" -ge "$deadline" ]; then
			why="$unit does not start: $(last_words "$unit" "$start"). More stands in journalctl -u $unit."
			return 1
		fi
		sleep 0.05
	done
	if [ "${unit#appcore@}" != "$unit" ] && [ "$(number_of "$unit")" -le "$SET_INSTANCES" ]; then
		port=$((SET_DIRECT_PORT + $(number_of "$unit")))
		url=http://127.0.0.1:$port
		# shellcheck disable=SC2154  # the caller's
		"$scripts/health_check.sh" "$url" $(((deadline - SECONDS) * 5 + 1)) 0.2 >/dev/null || {
			why="$unit does not become healthy: $(curl -s -m 5 "$url/health" | last_line)"
			return 1
		}
		curl -sf -m 5 -o /dev/null "$url/readyz" || {
			why="$unit is not ready: $(curl -s -m 5 "$url/readyz" | last_line)"
			return 1
		}
	fi
	sleep "$SETTLE_SECONDS"
	[ "$(show "$unit" MainPID)" = "$pid" ] || {
		why="$unit ended soon after it had started: $(last_words "$unit" "$start"). More stands in journalctl -u $unit."
		return 1
	}
}

restart_all() { # appcore@|appcore-worker@
	local unit
	for unit in $(units_of "$1"); do
		step "restart ${unit%.service}" restart_unit "$unit" || return 1
	done
}

# --- nginx ----------------------------------------------------------------------------------------------------------

user_of() { # UNIT
	local user
	user=$(show "$1" User)
	printf '%s' "${user:-root}"
}

render_nginx() { # SHARE PROGRAM FOLDER
	local said
	rm -rf "$3"
	install -d -o "$(user_of appcore-nginx.service)" -m 0755 "$3" || {
		why="$3 cannot be made: look at its disk."
		return 1
	}
	said=$(as_unit appcore-nginx.service env "APPCORE_BIN=$2" "$1/scripts/render_nginx.sh" "$3" 2>&1) || {
		why="nginx's configuration cannot be made: $(last_line <<<"$said")"
		return 1
	}
	# As its own user: root would give nginx's folders to somebody else.
	said=$(as_unit appcore-nginx.service /usr/sbin/nginx -t -q -p "$LIVE_NGINX" -e "$3/error.log" -c "$3/nginx.conf" 2>&1) || {
		why="nginx refuses its new configuration: $(last_line <<<"$said")"
		return 1
	}
	rm -f "$3/error.log"
}

ports_of() { # FOLDER
	sed -n 's/^ *listen \([^ ;]*:\)\{0,1\}\([0-9]\{1,5\}\)[ ;].*/\2/p' "$1"/*.conf 2>/dev/null | sort -un
}

listens() { # PORT
	awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { found = 1 } END { exit !found }' \
		/proc/net/tcp /proc/net/tcp6 2>/dev/null
}

port_owner() { # PORT
	local inode fd pid
	inode=$(awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' \
		/proc/net/tcp /proc/net/tcp6 2>/dev/null)
	fd=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2>/dev/null)
	pid=${fd#/proc/}
	pid=${pid%%/*}
	printf '%s, pid %s' "$(cat "/proc/$pid/comm" 2>/dev/null || echo unknown)" "${pid:-unknown}"
}

# Ports that nginx does not have yet must be free: it would keep its old configuration, and say so in its log only.
check_ports() { # FOLDER
	local port
	for port in $(comm -13 <(ports_of "$LIVE_NGINX/conf" | sort) <(ports_of "$1" | sort)); do
		if listens "$port"; then
			why="Port $port is taken by another program ($(port_owner "$port")): stop it, or set another port in /etc/appcore/appcore.env."
			return 1
		fi
	done
}

# Reloading may cost a client the connection that it was about to use: it is done when there is something new.
reload_nginx() {
	local folder=$STATE/work/nginx master workers patience=100 port
	systemctl is-active -q appcore-nginx.service || return 0
	render_nginx /usr/share/appcore /usr/bin/appcore "$folder" || return 1
	if diff -rq "$folder" "$LIVE_NGINX/conf" >/dev/null 2>&1; then
		return 0
	fi
	check_ports "$folder" || return 1
	master=$(show appcore-nginx.service MainPID)
	workers=$(cat "/proc/$master/task/$master/children" 2>/dev/null)
	systemctl reload appcore-nginx.service >/dev/null 2>&1 || {
		why='nginx does not take its new configuration: journalctl -u appcore-nginx says why.'
		return 1
	}
	# The new workers are there when there are children that were not.
	until [ -n "$(comm -13 <(tr ' ' '\n' <<<"$workers" | sort) <(tr ' ' '\n' <"/proc/$master/task/$master/children" 2>/dev/null | sort))" ]; do
		patience=$((patience - 1))
		if [ "$patience" -le 0 ]; then
			why='nginx kept its former configuration: /var/log/appcore/error.log says why.'
			return 1
		fi
		sleep 0.1
	done
	for port in $(ports_of "$LIVE_NGINX/conf"); do
		listens "$port" || {
			why="nginx does not listen on port $port: /var/log/appcore/error.log says why."
			return 1
		}
	done
}

# Is what runs now healthy? Each instance by itself.
check_health() {
	local unit url found='' pid
	for unit in $(units_of appcore@); do
		[ "$(number_of "$unit")" -le "$SET_INSTANCES" ] || continue
		found=1
		url=http://127.0.0.1:$((SET_DIRECT_PORT + $(number_of "$unit")))
		"$scripts/health_check.sh" "$url" 3 1 >/dev/null || {
			why="$unit is not healthy on $url: mend it first (journalctl -u $unit)"
			return 1
		}
	done
	[ -n "$found" ] && return 0
	why='no instance of appcore runs: start it first (systemctl start appcore.target)'
	return 1
}
