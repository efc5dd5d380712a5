#!/usr/bin/env bash
# Changes a secret of a running service, without a failed request: instances are restarted one after the other, each gated
# by its own health, and if one does not become healthy the old secret is put back.
#
#   rotate_secret.sh NAME [OPTION...]
#
#   secret_key         what signs access tokens: a new random one. Every instance learns to believe the new one before the
#                      first one signs with it. The old one is believed until --finish
#   api_key            the first key of callers: a new random one. The old one is as good until --finish
#   database_url, database_read_url, postgres_password, redis_url
#                      a new value, which must be good already: it is read from --from FILE, or from standard input
#
#   --from FILE        the new value, instead of a random one ("-": standard input)
#   --finish           the old one is good no longer. For secret_key: once the tokens that it signed have expired
#   --now              with --finish: without waiting for that. Whoever has such a token must log in again
#   --health-seconds N how long an instance may take to become healthy (60)
#   --by NAME          who it is, for the history (deploy.sh --history)
#
# Secrets lie in /etc/appcore/credentials, a file each, which only root reads; systemd hands them over. No value is printed or
# is an argument of a program.
#
# Exit codes: 0 changed; 1 it failed, and the old secret is in force; 100 refused, nothing was changed; 111 somebody has to look.
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
umask 077

scripts=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/deploy_lib.sh
. "$scripts/deploy_lib.sh"

CREDENTIALS=/etc/appcore/credentials
HEALTH_SECONDS=60 SETTLE_SECONDS=1
name='' from='' finish='' now=''

usage() {
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit "${1:-100}"
}

read_arguments() {
	while [ "$#" -gt 0 ]; do
		case $1 in
		--from) from=${2:-} && shift ;;
		--finish) finish=1 ;;
		--now) now=1 ;;
		--health-seconds)
			HEALTH_SECONDS=${2:-}
			[[ $HEALTH_SECONDS =~ ^[0-9]{1,4}$ ]] || refuse "--health-seconds wants a number, not \"$HEALTH_SECONDS\"."
			shift
			;;
		--by) APPCORE_DEPLOY_BY=${2:-} && shift ;;
		-h | --help) usage 0 ;;
		-*) refuse "There is no option $1: rotate_secret.sh --help lists them." ;;
		*)
			[ -z "$name" ] || refuse "Only one secret at a time: \"$1\" is too many."
			name=${1,,}
			;;
		esac
		[ "$#" -eq 0 ] || shift
	done
	[ -n "$name" ] || usage
}

# --- files ----------------------------------------------------------------------------------------------------------

put_secret() { # NAME: from standard input
	if ! cat >"$CREDENTIALS/.$1.new" || ! [ -s "$CREDENTIALS/.$1.new" ] || ! sync "$CREDENTIALS/.$1.new" || ! mv -f "$CREDENTIALS/.$1.new" "$CREDENTIALS/$1"; then
		rm -f "$CREDENTIALS/.$1.new"
		why="$CREDENTIALS cannot be written: look at its disk."
		return 1
	fi
}

value_of() { cat "$CREDENTIALS/$1"; } # NAME

random_text() { # BYTES
	head -c "$1" /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '='
	echo
}

# The new value, in a file beside the others.
make_new() {
	local said
	case $from in
	'')
		case $name in
		secret_key) random_text 48 ;;
		*) printf 'ak_%s' "$(random_text 32)" && echo ;;
		esac
		;;
	-) head -c 65536 ;;
	*) head -c 65536 -- "$from" ;;
	esac >"$CREDENTIALS/.wanted" 2>/dev/null || {
		why="The new value cannot be read from $from, or $CREDENTIALS cannot be written."
		return 1
	}
	if [ -z "$(tr -d '[:space:]' <"$CREDENTIALS/.wanted")" ]; then
		why='The new value is empty: give one.'
		return 1
	fi
	# The program says what it thinks of it before anything is changed.
	extra=(-p "LoadCredential=$name:$CREDENTIALS/.wanted")
	if ! said=$(as_unit appcore@1.service /usr/bin/appcore config --shell 2>&1); then
		extra=()
		why="The new value is refused: $(last_line <<<"$said")"
		return 1
	fi
	extra=()
}

keep_before() {
	rm -rf "$CREDENTIALS/.before"
	mkdir "$CREDENTIALS/.before" && for file in "$name" "${name}_previous"; do
		[ ! -e "$CREDENTIALS/$file" ] || cp -p "$CREDENTIALS/$file" "$CREDENTIALS/.before/" || return 1
	done
}

put_back() {
	local file failed=0
	for file in "$name" "${name}_previous"; do
		if [ -e "$CREDENTIALS/.before/$file" ]; then
			cp -p "$CREDENTIALS/.before/$file" "$CREDENTIALS/.$file.new" && mv -f "$CREDENTIALS/.$file.new" "$CREDENTIALS/$file" || failed=1
		else
			rm -f "$CREDENTIALS/$file"
		fi
	done
	return "$failed"
}

# --- what is done ---------------------------------------------------------------------------------------------------

everybody() {
	restarted=1
	restart_all appcore@ && restart_all appcore-worker@
}

change() {
	case $name in
	secret_key)
		# First all believe the new one, then they sign with it: no instance meets a token that it does not know.
		put_secret secret_key_previous <"$CREDENTIALS/.wanted" && everybody || return 1
		put_secret secret_key <"$CREDENTIALS/.wanted" && put_secret secret_key_previous <"$CREDENTIALS/.before/secret_key" && everybody
		;;
	api_key)
		put_secret api_key_previous <"$CREDENTIALS/.before/api_key" && put_secret api_key <"$CREDENTIALS/.wanted" && everybody
		;;
	*) put_secret "$name" <"$CREDENTIALS/.wanted" && everybody ;;
	esac
}

end_overlap() {
	rm -f "$CREDENTIALS/${name}_previous"
	everybody
}

check() {
	local age least upper=${name^^}
	case $name in
	secret_key | api_key) ;;
	database_url | database_read_url | postgres_password | redis_url)
		[ -z "$finish" ] || refuse "--finish is for secret_key and api_key: $name has no second value."
		[ -n "$from" ] || from=-
		;;
	*) refuse "\"$name\" is no secret of appcore: rotate_secret.sh --help lists them." ;;
	esac
	[ -z "$now" ] || [ -n "$finish" ] || refuse '--now goes with --finish.'
	if grep -qsE "^[[:space:]]*(export[[:space:]]+)?$upper(_PREVIOUS)?(_FILE)?=." /etc/appcore/appcore.env; then
		refuse "$upper stands in /etc/appcore/appcore.env, which wins: move it to $CREDENTIALS/$name first."
	fi
	read_settings /usr/bin/appcore || refuse "$why"
	if [ -n "$finish" ]; then
		[ -s "$CREDENTIALS/${name}_previous" ] || refuse "There is no old $name to end: rotate_secret.sh $name makes a new one first."
		age=$(($(date +%s) - $(stat -c %Y "$CREDENTIALS/${name}_previous")))
		least=$((SET_ACCESS_TOKEN_EXPIRE_MINUTES * 60))
		if [ "$name" = secret_key ] && [ -z "$now" ] && [ "$age" -lt "$least" ]; then
			refuse "Tokens that the old one signed are good for another $(((least - age + 59) / 60)) minutes: come again then, or give --now."
		fi
	elif [ -s "$CREDENTIALS/${name}_previous" ]; then
		refuse "The last change of $name has not ended: rotate_secret.sh $name --finish first."
	elif [ ! -s "$CREDENTIALS/$name" ] && { [ "$name" = secret_key ] || [ "$name" = api_key ]; }; then
		refuse "$CREDENTIALS/$name is missing: there is nothing to change."
	fi
	check_health || refuse "The service is not healthy as it is: $why."
}

finish() {
	rm -rf "$CREDENTIALS/.wanted" "$CREDENTIALS/.before" "$CREDENTIALS/.$name.new"
	: >"$STATE/turn"
}

rotate() {
	local action=change reason
	take_turn "change of $name"
	trap finish EXIT
	check
	trap 'interrupted=1' INT TERM
	trap '' HUP PIPE
	if ! keep_before; then refuse "$CREDENTIALS cannot be written: look at its disk."; fi
	[ -n "$finish" ] || make_new || refuse "${why%.}. Nothing was changed."
	[ -z "$finish" ] || action=end_overlap
	if "$action"; then
		note_history "secret${finish:+ finish}" changed name "$name"
		if [ -n "$finish" ]; then
			say "The old $name is good no longer: $(seconds_since "$began") s."
		elif [ "$name" = secret_key ] || [ "$name" = api_key ]; then
			say "The new $name is in $CREDENTIALS/$name; the old one is good until rotate_secret.sh $name --finish: $(seconds_since "$began") s."
		else
			say "The new $name is in force: $(seconds_since "$began") s."
		fi
		return
	fi
	reason=${why%.}.
	interrupted=''
	say 'Putting the old one back ...'
	if ! put_back || { [ -n "$restarted" ] && ! everybody; }; then
		why="$reason Then: $why"
		note_history secret failed name "$name"
		code=111 refuse "$reason Putting the old one back failed, too: $why Somebody has to look at $CREDENTIALS and at journalctl -u 'appcore@*'."
	fi
	why=$reason
	note_history secret 'rolled back' name "$name"
	printf '%s\n' "$reason The old $name is in force." >&2
	exit 1
}

restarted=''
read_arguments "$@"
need_root
need_tools curl flock systemd-run
rotate
