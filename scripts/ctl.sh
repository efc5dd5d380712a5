#!/usr/bin/env bash
# ctl.sh COMMAND [ARGUMENT...]: "appcore COMMAND" on an installed machine, as systemd's units run it: with their user, their
# settings (/etc/appcore/appcore.env) and their secrets (/etc/appcore/credentials). For root. Files that it reads or writes have
# to be the user appcore's; it begins in /var/lib/appcore. Its exit code is the program's.
set -euo pipefail
export LC_ALL=C
unit='appcore@1.service' # the one that has all secrets

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

[ "$#" -gt 0 ] || {
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit 100
}
[ "$(id -u)" -eq 0 ] || fail 'Only root may read the secrets: call it with sudo.'
command -v systemd-run >/dev/null || fail 'systemd-run is missing: this is for a machine that runs systemd.'
lines=$(systemctl cat "$unit" 2>/dev/null) || fail "The unit $unit is missing: install appcore's package first."

# What is there for root need not be for the user appcore, nor be where the program begins.
check_file() { # ARGUMENT
	local path
	if [[ $1 = -* ]] || [ ! -e "$1" ]; then return 0; fi
	path=$(realpath -- "$1")
	if [[ $1 = */* && $1 != /* ]]; then
		fail "The program begins in /var/lib/appcore: say \"$path\" instead of \"$1\"."
	fi
	if [[ $1 = /* ]] && ! setpriv --reuid appcore --regid appcore --init-groups test -r "$path" 2>/dev/null; then
		fail "The user appcore cannot read $path: \"install -o appcore -g appcore FILE /var/lib/appcore/\" makes a copy that it can."
	fi
}
for argument in "$@"; do check_file "$argument"; done

properties=()
while IFS= read -r line; do
	properties+=(-p "$line")
done < <(grep -E '^(Environment|EnvironmentFile|LoadCredential|SetCredential|User|Group|UMask|WorkingDirectory)=.' <<<"$lines" | grep -v INSTANCE_ID)
appcore=$(sed -n 's/^ExecStart=.* -- \(\/[^ ]*\) serve.*/\1/p' <<<"$lines" | head -n 1)
interactive=--pipe
[ ! -t 0 ] || [ ! -t 1 ] || interactive=--pty
exec systemd-run --quiet --wait --collect "$interactive" --service-type=exec "${properties[@]}" -- "${appcore:-appcore}" "$@"
