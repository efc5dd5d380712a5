# What the server scripts share: folders, users, ports, waiting. Sourced by them.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # home, dir and pid are for, or of, those that source this

PATH=$PATH:/usr/sbin:/sbin

usage() {
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit 100
}
fail() { # SENTENCE: the caller's mistake; code=111 before it: the system's
	printf '%s\n' "$*" >&2
	exit "${code:-100}"
}

is_alive() { # PID
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	stat=${stat##*) }
	[ "${stat%% *}" != Z ] && [ "${stat%% *}" != X ]
}

within() { # SECONDS COMMAND...: until it succeeds
	local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
		sleep 0.02
	done
}

free_port() { # one that nobody listens on; somebody may still be faster
	local port
	while :; do
		port=$((RANDOM % 12000 + 20000))
		grep -qi ":$(printf '%04X' "$port") [0-9A-F:]* 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null || break
	done
	echo "$port"
}

random_password() { head -c 18 /dev/urandom | base64 -w 0 | tr '+/' 'xy'; }

# The servers refuse to run as root: then it is the user of Debian's package, which `server_user` names.
lower=()
if [ "$(id -u)" -eq 0 ]; then
	id -u "$server_user" >/dev/null 2>&1 || fail "There is no user $server_user: run make deps-postgres."
	lower=(setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --init-groups --)
fi
as_server() { # COMMAND...: as that user, with none of the caller's environment or descriptors, where anybody may be
	(cd / && exec env -i PATH="$PATH" LC_ALL=C.UTF-8 "${lower[@]}" "$@" </dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-)
}
give() { # PATH...: to the server's user
	[ "${#lower[@]}" -eq 0 ] || chown "$server_user:" "$@"
}

# make_home DIR: $home, DIR/server, is an empty folder where the server's user may write. Where that user may not enter
# DIR, or DIR's name is too long for a unix socket, it is a link into /tmp. An empty DIR/server that is there already (a
# small disk mounted there) is taken as it is.
make_home() {
	local real
	mkdir -p "$1" || fail "$1 cannot be made."
	home=$(readlink -f "$1")/server
	[ -d "$home" ] || mkdir "$home"
	chmod 700 "$home"
	give "$home"
	[ -z "$(find "$home" -mindepth 1 ! -name lost+found -print -quit)" ] || fail "$home is not empty."
	if [ ${#home} -gt 80 ] || ! as_server test -w "$home"; then
		rmdir "$home"
		real=$(mktemp -d /tmp/appcore-server.XXXXXX)
		give "$real"
		ln -s "$real" "$home"
	fi
	find_home "$1"
}
find_home() { # DIR: sets $home; fails where no server was made
	home=$(readlink -f "$1/server") && [ -d "$home" ] || return 1
}
forget_home() { # DIR: what make_home and the server made
	local link=$1/server
	find_home "$1" || { rm -f "$link" && return 0; }
	find "$home" -mindepth 1 -delete
	rmdir "$home" 2>/dev/null || true # a mount point stays
	[ ! -L "$link" ] || rm -f "$link"
	rmdir "$1" 2>/dev/null || true
}

# ends_with PID SCRIPT DIR: a process that removes the server of DIR when PID ends, however it does.
ends_with() {
	# shellcheck disable=SC2016  # expanded by the watcher
	setsid bash -c '
		alive() { [ -e "/proc/$1" ] && ! grep -q "^State:.[ZX]" "/proc/$1/status"; }
		while alive "$1" 2>/dev/null && [ -e "$3/server" ]; do sleep 0.3; done
		[ ! -e "$3/server" ] || exec "$2" remove "$3"' \
		watcher "$1" "$2" "$(readlink -f "$3")" </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
	disown
}
