#!/usr/bin/env bash
# Brings a new version of appcore to a machine, without a failed request, or leaves the old one serving.
#
#   deploy.sh PACKAGE [OPTION...]        PACKAGE is appcore's Debian package, a file
#   deploy.sh --rollback [VERSION] [OPTION...]   the version before, or VERSION (rollback.sh is short for it)
#   deploy.sh --history                  what was deployed when, by whom and how long it took (JSON, a line each)
#   deploy.sh --versions                 the versions that are kept and can be gone back to
#
#   --host [USER@]HOST      there instead of here, over ssh (SSH: another command than "ssh"); root, or sudo without a
#                           password, is needed there
#   --url URL               where clients reach it, asked at the end (https://127.0.0.1:HTTPS_PORT)
#   --check                 make all checks and change nothing
#   --allow-irreversible    deploy although a migration of the package cannot be taken back: if this version fails, the
#                           old one serves with the new schema. With --rollback: leave such a schema as it is
#   --keep-schema           with --rollback: take no migration back; the older program serves with the newer schema
#   --unhealthy             deploy although the service is not healthy now
#   --no-rehearsal          do not try the migrations on a copy of the data first (SQLite; it takes room and time)
#   --no-backup             make no backup (PostgreSQL, when you have made one: pg_dump, or an archive of its log)
#   --health-seconds N      how long an instance may take to become healthy (60)
#   --settle-seconds N      how long it must then stay (1)
#   --keep N                packages and backups of deploys to keep (5)
#   --by NAME               who it is, for the history
#
# Steps: checks (right package for this machine, settings accepted by the new program, room on the disks, nothing else
# under way, service healthy), rehearsal, backup, install, migrate, restart of one instance after the other, each gated by
# its own health, then of the workers, then nginx's configuration if it has changed. Migrations come before restarts: they
# have to be such that the old program gets on with them. If a step fails, everything is taken back: package, instances,
# migrations. Backups are in /var/backups/appcore, packages and the history in /var/lib/appcore-deploy.
#
# Exit codes: 0 deployed; 1 it failed, and the old version serves; 100 refused, nothing was changed; 111 it failed and
# somebody has to look.
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
umask 022

scripts=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/deploy_lib.sh
. "$scripts/deploy_lib.sh"

usage() {
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit "${1:-100}"
}

# --- what is asked for ----------------------------------------------------------------------------------------------

package='' host='' url='' wanted='' only_check='' allow_irreversible='' keep_schema='' unhealthy='' rehearsal=1 no_backup='' verb=deploy
HEALTH_SECONDS=60 SETTLE_SECONDS=1 keep=5
arguments=()

number() { # OPTION VALUE
	[[ ${2:-} =~ ^[0-9]{1,4}$ ]] || refuse "$1 wants a number, not \"${2:-}\"."
	printf '%s' "$2"
}

read_arguments() {
	while [ "$#" -gt 0 ]; do
		case $1 in
		--host)
			host=${2:-}
			if [ -z "$host" ] || [ "${host#-}" != "$host" ]; then refuse '--host wants [USER@]HOST.'; fi
			shift 2
			continue
			;;
		--host=*)
			host=${1#*=}
			shift
			continue
			;;
		--rollback) verb=rollback ;;
		--check) only_check=1 ;;
		--allow-irreversible) allow_irreversible=1 ;;
		--keep-schema) keep_schema=1 ;;
		--unhealthy) unhealthy=1 ;;
		--no-rehearsal) rehearsal='' ;;
		--no-backup) no_backup=1 ;;
		--history | --versions) verb=${1#--} ;;
		--health-seconds | --settle-seconds | --keep | --by | --url)
			case $1 in
			--health-seconds) HEALTH_SECONDS=$(number "$1" "${2:-}") || exit 100 ;;
			--settle-seconds) SETTLE_SECONDS=$(number "$1" "${2:-}") || exit 100 ;;
			--keep) keep=$(number "$1" "${2:-}") || exit 100 ;;
			--by) APPCORE_DEPLOY_BY=${2:-} ;;
			--url)
				url=${2:-}
				[[ $url =~ ^https?://[^[:space:]]+$ ]] || refuse "--url wants https://HOST[:PORT], not \"$url\"."
				;;
			esac
			arguments+=("$1" "${2:-}")
			shift
			shift
			continue
			;;
		-h | --help) usage 0 ;;
		-*) refuse "There is no option $1: deploy.sh --help lists them." ;;
		*)
			[ -z "$package$wanted" ] || refuse "Only one package at a time: \"$1\" is too many."
			package=$1
			shift
			continue
			;;
		esac
		arguments+=("$1")
		shift
	done
	if [ "$verb" = rollback ]; then
		wanted=$package
		package=''
	elif [ "$verb" = deploy ] && [ -z "$package" ]; then
		usage
	fi
}

# --- elsewhere ------------------------------------------------------------------------------------------------------

# The scripts of here go there with the package. What runs there goes on when the connection ends.
over_ssh() {
	local -a ssh
	local folder words='' word root='' status=0
	read -ra ssh <<<"${SSH:-ssh}"
	for word in "${arguments[@]}"; do words+=" $(printf %q "$word")"; done
	[ -z "$package" ] || [ -r "$package" ] || refuse "The package $package cannot be read: build one (make deb) and name its file."
	# shellcheck disable=SC2029
	folder=$("${ssh[@]}" -- "$host" 'umask 077 && mktemp -d /var/tmp/appcore-deploy.XXXXXX') || code=111 refuse "$host cannot be reached by ssh: try \"ssh $host true\"."
	[[ $folder =~ ^/var/tmp/appcore-deploy\.[A-Za-z0-9]+$ ]] || code=111 refuse "$host answers something else than a folder: its shell must print nothing by itself."
	# shellcheck disable=SC2029
	if tar -c -C "$scripts" deploy.sh deploy_lib.sh health_check.sh | "${ssh[@]}" -- "$host" "tar -x --no-same-owner -C $folder" &&
		{ [ -z "$package" ] || "${ssh[@]}" -- "$host" "cat >$folder/appcore.deb" <"$package"; }; then
		[ "$("${ssh[@]}" -- "$host" 'id -u')" = 0 ] || root='sudo -n '
		# shellcheck disable=SC2029
		"${ssh[@]}" -- "$host" "${root}env APPCORE_DEPLOY_BY=$(printf %q "${APPCORE_DEPLOY_BY:-$(id -un)}") bash $folder/deploy.sh$words${package:+ $folder/appcore.deb}${wanted:+ $(printf %q "$wanted")}" || status=$?
	else
		printf '%s\n' "The package cannot be copied to $host: look at the room in its /var/tmp." >&2
		status=111
	fi
	# shellcheck disable=SC2029
	"${ssh[@]}" -- "$host" "${root}rm -rf $folder" || true
	[ "$status" -ne 255 ] || printf '%s\n' "The connection to $host was lost: what runs there goes on; deploy.sh --history --host $host tells how it ended." >&2
	exit "$status"
}

# --- packages -------------------------------------------------------------------------------------------------------

BACKUPS=${APPCORE_BACKUP_DIR:-/var/backups/appcore}
UNITS=(appcore@ appcore-worker@ appcore-migrate)
work=$STATE/work
from_version='' from_package='' to_version='' to_package='' to_commit='' first=''
from_program=''
schema_before=0 schema_new=0 pending=0

field() { dpkg-deb -f "$1" "$2" 2>/dev/null; } # PACKAGE FIELD

installed_version() { dpkg-query -W -f='${db:Status-Status} ${Version}' appcore 2>/dev/null | sed -n 's/^\(installed\|half-configured\|unpacked\|half-installed\|triggers-[a-z]*\) //p'; }

kept_name() { printf '%s_%s.%s.deb' "$(field "$1" Version | tr ':' '%')" "$(field "$1" Architecture)" "$(sha256sum <"$1" | cut -c 1-12)"; }

# Only what was built for this machine, and whose libraries are there or can be had.
check_package() {
	local architecture release missing
	[ -e "$package" ] || refuse "There is no $package: build one (make deb) and name its file."
	[ -r "$package" ] || refuse "The package $package cannot be read: look at its mode."
	if ! dpkg-deb --info "$package" >/dev/null 2>&1 || ! dpkg-deb --fsys-tarfile "$package" >/dev/null 2>&1; then
		refuse "$package is not a Debian package, or it is damaged: build or fetch it again."
	fi
	[ "$(field "$package" Package)" = appcore ] || refuse "$package holds $(field "$package" Package), not appcore: name appcore's package."
	architecture=$(field "$package" Architecture)
	if [ "$architecture" != "$(dpkg --print-architecture)" ] && [ "$architecture" != all ]; then
		refuse "$package was built for $architecture, and this machine is $(dpkg --print-architecture): take the package for this one."
	fi
	release=$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release)
	if [[ $(field "$package" Version) =~ ~deb([0-9]+)$ ]] && [ -n "$release" ] && [ "${BASH_REMATCH[1]}" != "$release" ]; then
		refuse "$package was built for Debian ${BASH_REMATCH[1]}, and this machine is Debian $release: take the package for this one."
	fi
	missing=$(missing_dependencies "$(field "$package" Pre-Depends), $(field "$package" Depends)")
	[ -z "$missing" ] || fetch_dependencies "$missing"
}

missing_dependencies() { # LIST as in Depends: those that are not installed, a line each
	local -a wants choices
	local want choice name rest found
	IFS=',' read -ra wants <<<"$1"
	for want in "${wants[@]}"; do
		[ -n "${want//[[:space:]]/}" ] || continue
		found=''
		IFS='|' read -ra choices <<<"$want"
		for choice in "${choices[@]}"; do
			read -r name rest <<<"$choice"
			name=${name%%[(:]*}
			[[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) = installed* ]] || { provided "$name" && found=1; continue; }
			if [[ $rest =~ \(?(<<|<=|=|>=|>>)[[:space:]]*([^\)]+)\) ]]; then
				dpkg --compare-versions "$(dpkg-query -W -f='${Version}\n' "$name" | head -n 1)" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" || continue
			fi
			found=1
		done
		[ -n "$found" ] || printf '%s\n' "${want#"${want%%[![:space:]]*}"}"
	done
}

provided() { # NAME: by another package
	# Not through a pipe: who is cut off in the midst of the list would make it a "no".
	grep -q "^installed .*\b$1\b" <<<"$(dpkg-query -W -f='${db:Status-Status} ${Provides}\n' 2>/dev/null)"
}

# A library more does the old version no harm.
fetch_dependencies() { # LINES
	local names said
	names=$(cut -d '|' -f 1 <<<"$1" | cut -d '(' -f 1)
	# shellcheck disable=SC2086
	if ! apt-get -s install --no-install-recommends $names >/dev/null 2>&1; then
		refuse "$package wants $(tr '\n' ';' <<<"$1" | sed 's/;$//; s/;/, /g'), which is neither here nor known to apt: take the package for this release of Debian, or run apt-get update."
	fi
	[ -z "$only_check" ] || return 0
	# shellcheck disable=SC2086
	said=$(DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=60 $names 2>&1 8>&-) ||
		code=111 refuse "What the package needs cannot be installed: $(last_line <<<"$said")"
}

# What is installed, packed again: for the first deploy, of a version whose package nobody kept.
pack_installed() { # FILE
	local folder=$work/repack said
	rm -rf "$folder" && mkdir -p "$folder/DEBIAN" || return 1
	dpkg-query -L appcore | while IFS= read -r file; do
		if [ "$file" != /. ] && { [ -e "$file" ] || [ -L "$file" ]; }; then printf '%s\0' "${file#/}"; fi
	done | tar -c -C / --null --no-recursion --files-from=- 2>/dev/null | tar -x -p --same-owner -C "$folder" 2>/dev/null || {
		why="$STATE has no room to pack the installed version: free some."
		return 1
	}
	for file in /var/lib/dpkg/info/appcore.*; do
		case ${file##*.} in
		conffiles | preinst | postinst | prerm | postrm | triggers | md5sums | config | templates | shlibs) cp -a "$file" "$folder/DEBIAN/${file##*.}" || return 1 ;;
		esac
	done
	awk -v RS='' '/^Package: appcore\n/' /var/lib/dpkg/status |
		awk '/^[^ ]/ { skip = /^(Status|Conffiles|Config-Version):/ } !skip' >"$folder/DEBIAN/control"
	said=$(dpkg-deb -Zgzip -z1 --build "$folder" "$1" 2>&1) || {
		why="The installed version cannot be packed: $(last_line <<<"$said")"
		return 1
	}
	rm -rf "$folder"
}

same_program() { # PACKAGE: holds the program that is installed
	cmp -s <(dpkg-deb --fsys-tarfile "$1" 2>/dev/null | tar -xO ./usr/bin/appcore 2>/dev/null) /usr/bin/appcore
}

keep_package() { # FILE: its place among the kept ones in $kept
	kept=$STATE/packages/$(kept_name "$1")
	[ -e "$kept" ] && return
	mkdir -p "$STATE/packages" && cp "$1" "$kept.new" && mv "$kept.new" "$kept" && return
	rm -f "$kept.new"
	why="$STATE has no room for the package: free some."
	return 1
}

# What is installed now: its version, its package and a copy of its program, which migrations may have to be taken back with.
know_installed() {
	local candidate version last_step
	from_version=$(installed_version)
	if [ -z "$from_version" ]; then
		first=1
		return 0
	fi
	# A deploy that was cut short: what it came from is what can be gone back to.
	if [ -r "$STATE/under-way" ]; then
		IFS=$'\t' read -r version candidate last_step <"$STATE/under-way" || true
		say "The last deploy was cut short at \"$last_step\": $version is what it came from."
		unhealthy=1
		if [ -r "$candidate" ]; then
			from_version=$version from_package=$candidate
		fi
	fi
	if [ -z "$from_package" ]; then
		for candidate in "$STATE/packages/${from_version//:/%}"_*.deb; do
			if [ -r "$candidate" ] && same_program "$candidate"; then from_package=$candidate; fi
		done
	fi
	if [ -z "$from_package" ]; then
		pack_installed "$work/installed.deb" || return 1
		keep_package "$work/installed.deb" || return 1
		from_package=$kept
		rm -f "$work/installed.deb"
	fi
	unpack "$from_package" "$work/from" || return 1
	from_program=$work/from/usr/bin/appcore
}

unpack() { # PACKAGE FOLDER
	rm -rf "$2"
	mkdir -p "$2" && dpkg-deb -x "$1" "$2" 2>/dev/null && chmod 0755 "$2" && return
	rm -rf "$2"
	why="$STATE has no room to unpack the package: free some."
	return 1
}

# --- checks ---------------------------------------------------------------------------------------------------------

bytes_of() { du -sb "$@" 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'; }

# check_room FOLDER BYTES...: what lies on one disk is added up.
check_room() {
	local folder device available
	local -A needs=() names=()
	while [ "$#" -gt 1 ]; do
		folder=$1
		until [ -d "$folder" ]; do folder=$(dirname "$folder"); done
		device=$(stat -c %d "$folder")
		needs[$device]=$((${needs[$device]:-0} + $2))
		names[$device]+="${names[$device]:+, }$1"
		available=$(df --output=avail -B1 "$folder" | tail -n 1)
		if [ "$available" -lt "${needs[$device]}" ]; then
			why="The disk of ${names[$device]} has $((available >> 20)) MB free and $((needs[$device] >> 20)) MB are needed: free some room."
			return 1
		fi
		shift 2
	done
}

# The program prints no URL that may hold a password.
has_server() { [[ ${SET_DATABASE_URL:-} != sqlite:* ]]; }

# What a backup takes. That of a server: as much as the newest one of it.
database_bytes() {
	local path=''
	case ${SET_DATABASE_URL:-} in
	sqlite:///*) path=${SET_DATABASE_URL#sqlite:///} && [ "${path#/}" != "$path" ] || path=$SET_DATA_DIR/${path##*/} ;;
	*) [ -n "$no_backup" ] || path=$(newest_first "$BACKUPS"/*.backup | head -n 1) ;;
	esac
	bytes_of "${path:-/nowhere}" "$path-wal"
}

by_hand='make one yourself (pg_dump --format=custom --no-owner --file=FILE DATABASE) and give --no-backup'

check_backup() {
	if ! has_server; then
		[ -z "$no_backup" ] && return
		why='--no-backup is for a database on a PostgreSQL server: leave it away, the backup of a SQLite database needs nobody.'
		return 1
	fi
	[ -n "$no_backup" ] || command -v pg_dump >/dev/null && return
	why="pg_dump is missing, which makes the backup: install postgresql-client, of the server's version or newer, or $by_hand."
	return 1
}

schema_of() { # PROGRAM: "current newest" of the database
	as_unit appcore-migrate.service "$1" migrate current --json 2>/dev/null |
		sed -n 's/.*"current": *\([0-9]*\), *"newest": *\([0-9]*\).*/\1 \2/p'
}

# Of the migrations above NUMBER those that cannot be taken back, as PROGRAM tells.
irreversible_above() { # PROGRAM NUMBER
	as_unit appcore-migrate.service "$1" migrate history --json 2>/dev/null | tr '{' '\n' |
		sed -n 's/.*"number": *\([0-9]*\), *"name": *"\([^"]*\)".*"reversible": *false.*/\1 \2/p' |
		while read -r number name; do [ "$number" -le "$2" ] || printf '%s (%s) ' "$number" "$name"; done
}

check_schema() {
	local numbers lost
	numbers=$(schema_of "$work/to/usr/bin/appcore")
	if [ -z "$numbers" ]; then
		why="The database cannot be read by the new program: $(as_unit appcore-migrate.service "$work/to/usr/bin/appcore" migrate current 2>&1 | last_line)"
		return 1
	fi
	read -r schema_before schema_new <<<"$numbers"
	if [ "$schema_new" -gt "$schema_before" ]; then
		pending=$((schema_new - schema_before))
		lost=$(irreversible_above "$work/to/usr/bin/appcore" "$schema_before")
		if [ -n "$lost" ] && [ -z "$allow_irreversible" ]; then
			why="Migration ${lost% } cannot be taken back once it has run: give --allow-irreversible if you want that."
			return 1
		fi
	elif [ "$schema_new" -lt "$schema_before" ]; then
		if [ "$verb" != rollback ]; then
			why="The database's schema is at migration $schema_before and $to_version knows $schema_new: deploy a newer version, or go back with rollback.sh $to_version."
			return 1
		fi
		lost=$(irreversible_above "$from_program" "$schema_new")
		if [ -n "$lost" ] && [ -z "$allow_irreversible$keep_schema" ]; then
			why="Migration ${lost% } cannot be taken back: give --keep-schema, and $to_version serves with the newer schema, if it can."
			return 1
		fi
		[ -z "$lost" ] || keep_schema=1
	fi
}

check_program() {
	local said
	said=$("$work/to/usr/bin/appcore" version 2>&1) || {
		why="The package's program does not run here: $(last_line <<<"$said"). Take the package for this release of Debian."
		return 1
	}
	to_commit=$(sed -n 's/.*(\(.*\)).*/\1/p' <<<"$said" | head -n 1)
}

check_all() {
	local size
	size=$(bytes_of "$package")
	check_room "$STATE" $((size * 6 + (8 << 20))) || return 1
	know_installed || return 1
	unpack "$package" "$work/to" || return 1
	to_version=$(field "$package" Version)
	size=$(bytes_of "$work/to")
	check_program || return 1
	[ -z "$first" ] || return 0
	read_settings "$work/to/usr/bin/appcore" || return 1
	check_backup || return 1
	check_room "$STATE" $((size + $(bytes_of "$package") * 2)) "$BACKUPS" $(($(database_bytes) + (4 << 20))) \
		/usr $((size + (4 << 20))) /var/lib/dpkg $((8 << 20)) "$SET_DATA_DIR" $((16 << 20)) || return 1
	check_schema || return 1
	if systemctl is-active -q appcore-nginx.service; then
		render_nginx "$work/to/usr/share/appcore" "$work/to/usr/bin/appcore" "$work/nginx" || return 1
		check_ports "$work/nginx" || return 1
	fi
	if [ -z "$unhealthy" ]; then
		check_health || {
			why="The service is not healthy as it is: $why, or give --unhealthy."
			return 1
		}
	fi
}

# --- steps ----------------------------------------------------------------------------------------------------------

backup=''
make_backup() {
	local said now
	printf -v now '%(%Y%m%dT%H%M%S)T' -1
	[ -d "$BACKUPS" ] || install -d -o appcore -g appcore -m 0700 "$BACKUPS" || {
		why="$BACKUPS cannot be made: look at its disk."
		return 1
	}
	# Made where the service may write, then moved: the folder of the backups may be root's.
	backup=$BACKUPS/deploy-$now-$(tr -c 'A-Za-z0-9.+~\n-' _ <<<"$from_version").backup
	install -d -o appcore -g appcore -m 0700 "$BACKUPS/.deploy" 2>/dev/null
	rm -f "$BACKUPS/.deploy/new"
	said=$(chmod a+x "$BACKUPS" 2>&1 && as_unit appcore-migrate.service "$from_program" backup "$BACKUPS/.deploy/new" 2>&1) &&
		said=$(mv "$BACKUPS/.deploy/new" "$backup" 2>&1) && rmdir "$BACKUPS/.deploy" && return
	rm -rf "$BACKUPS/.deploy"
	why="No backup can be made in $BACKUPS: $(last_line <<<"$said")"
	! has_server || why="${why%.}; put that right, or $by_hand."
	backup=''
	return 1
}

# The migrations, on a copy: what fails there never touches the data.
rehearse() {
	local folder=$work/rehearsal said lost
	local -a program
	rm -rf "$folder"
	check_room "$work" $(($(bytes_of "$backup") * 2 + (8 << 20))) || {
		why+=' Or give --no-rehearsal.'
		return 1
	}
	if ! install -d -o appcore -g appcore -m 0700 "$folder" || ! cp "$backup" "$folder/copy.db" || ! chown appcore:appcore "$folder/copy.db"; then
		rm -rf "$folder"
		why="$work has no room for a copy of the data: free some, or give --no-rehearsal."
		return 1
	fi
	# Named in the environment of the program itself, which wins over any file of settings.
	program=(env -u DATABASE_URL_FILE "DATABASE_URL=sqlite:///$folder/copy.db" "$work/to/usr/bin/appcore")
	lost=$(irreversible_above "$work/to/usr/bin/appcore" "$schema_before")
	if ! said=$(as_unit appcore-migrate.service "${program[@]}" migrate up 2>&1); then
		why="On a copy of the data a migration fails: $(last_line <<<"$said")"
	elif [ -z "$lost" ] && ! said=$(as_unit appcore-migrate.service "${program[@]}" migrate down --to "$schema_before" 2>&1); then
		why="On a copy of the data a migration cannot be taken back: $(last_line <<<"$said")"
	else
		why=''
	fi
	rm -rf "$folder"
	[ -z "$why" ]
}

note_under_way() { # the step
	printf '%s\t%s\t%s\n' "$from_version" "$from_package" "$1" >"$STATE/under-way.new" 2>/dev/null && mv "$STATE/under-way.new" "$STATE/under-way"
}

check_url() {
	systemctl is-active -q appcore-nginx.service || [ -n "$url" ] || return 0
	"$scripts/health_check.sh" "${url:-https://127.0.0.1:$SET_HTTPS_PORT}" 10 0.5 >/dev/null && return
	why="${url:-https://127.0.0.1:$SET_HTTPS_PORT}/health does not say that all is well: $(curl -sk -m 5 "${url:-https://127.0.0.1:$SET_HTTPS_PORT}/health" | last_line)"
	return 1
}

timers() { find /usr/lib/systemd/system -name 'appcore-*.timer' -printf '%f\n' 2>/dev/null | sort; }

# dpkg waits for nobody: another program may have its lock for a moment.
install_package() { # FILE
	local said patience=60 unit_before timers_before timer
	timers_before=$(timers)
	unit_before=$(sha256sum </usr/lib/systemd/system/appcore-nginx.service 2>/dev/null)
	while ! said=$(DEBIAN_FRONTEND=noninteractive APPCORE_NO_RESTART=1 dpkg --force-confold --force-confdef -i "$1" </dev/null 2>&1); do
		patience=$((patience - 1))
		if [ "$patience" -gt 0 ] && grep -q 'lock.*\(held\|locked\) by another process\|is locked by another process' <<<"$said"; then
			sleep 1
			continue
		fi
		# What dpkg says of a full disk stands amid other lines.
		why="The package cannot be installed: $( (grep 'No space left' <<<"$said" || grep -v '^Errors were encountered\|^ appcore$\|^ /' <<<"$said") | last_line)"
		return 1
	done
	systemctl daemon-reload || {
		why='systemd does not read its units again: look at systemctl status.'
		return 1
	}
	for timer in $(comm -13 <(printf '%s\n' "$timers_before") <(timers)); do
		systemctl start "$timer" || say "$timer does not start: systemctl status $timer says why."
	done
	if [ "$unit_before" != "$(sha256sum </usr/lib/systemd/system/appcore-nginx.service 2>/dev/null)" ]; then
		say "nginx's unit has changed: what is new in it counts from nginx's next start (systemctl restart appcore-nginx, at a quiet time)."
	fi
}

migrate_up() {
	local said
	said=$(as_unit appcore-migrate.service /usr/bin/appcore migrate up 2>&1) && return
	why="A migration failed: $(last_line <<<"$said")"
	return 1
}

add_models() {
	local share=/usr/share/appcore/scripts/add_models.sh said
	[ -x "$share" ] || return 0
	said=$(as_unit appcore-migrate.service env APPCORE_BIN=/usr/bin/appcore "$share" 2>&1) || say "The shipped models could not all be added: $(last_line <<<"$said")"
}

# An older program beside a schema of a newer one: as it was before the restarts, when the order is turned round.
accept_schema() { # NUMBER
	local unit
	for unit in "${UNITS[@]}"; do
		if ! mkdir -p "/etc/systemd/system/$unit.service.d" ||
			! printf '# Made by deploy.sh: a newer program left its schema.\n[Service]\nEnvironment=SCHEMA_ACCEPT=%s\n' "$1" >"/etc/systemd/system/$unit.service.d/60-schema.conf"; then
			why='/etc/systemd/system cannot be written: look at its disk.'
			return 1
		fi
	done
	systemctl daemon-reload
}

forget_schema() {
	local unit changed=''
	for unit in "${UNITS[@]}"; do
		[ -e "/etc/systemd/system/$unit.service.d/60-schema.conf" ] || continue
		rm -f "/etc/systemd/system/$unit.service.d/60-schema.conf"
		rmdir "/etc/systemd/system/$unit.service.d" 2>/dev/null
		changed=1
	done
	[ -z "$changed" ] || systemctl daemon-reload
	return 0
}

migrate_down() { # PROGRAM NUMBER
	local said
	said=$(as_unit appcore-migrate.service "$1" migrate down --to "$2" 2>&1) && return
	why="The migrations cannot be taken back: $(last_line <<<"$said")"
	return 1
}

# --- forward, and back ----------------------------------------------------------------------------------------------

go_forward() {
	[ -n "$no_backup" ] || step backup make_backup || return 1
	if [ "$pending" -gt 0 ] && [ -n "$rehearsal" ] && ! has_server; then
		step rehearsal rehearse || return 1
	fi
	keep_package "$package" || return 1
	to_package=$kept
	cp -p /etc/appcore/appcore.env "$from_package.env" 2>/dev/null
	note_under_way install || {
		why="$STATE cannot be written: look at its disk."
		return 1
	}
	changed=1
	if [ "$schema_new" -lt "$schema_before" ]; then
		accept_schema "$schema_before" || return 1
	fi
	step install install_package "$package" || return 1
	if [ "$pending" -gt 0 ]; then
		note_under_way migrate
		step migrate migrate_up || return 1
	fi
	note_under_way restart
	step models add_models
	restart_all appcore@ || return 1
	restart_all appcore-worker@ || return 1
	step nginx reload_nginx || return 1
	step health check_url || return 1
	if [ "$schema_new" -lt "$schema_before" ] && [ -z "$keep_schema" ]; then
		note_under_way 'migrate down'
		if step 'migrate down' migrate_down "$from_program" "$schema_new"; then
			forget_schema
		else
			say "$why The schema stays at $schema_before, and $to_version serves with it."
			why=''
		fi
	elif [ "$schema_new" -ge "$schema_before" ]; then
		forget_schema
	fi
}

# Whatever has been done is undone: first the schema is made acceptable to the old program, then the program, then those that
# run the new one, and the migrations at last, when nobody needs them any more.
go_back() {
	local reason=${why%.}. numbers schema_now unit failed=''
	interrupted=''
	note_under_way 'going back'
	# What was taken up by this deploy makes room for the old package.
	rm -rf "$work/rehearsal" "$work/nginx"
	say "Going back to $from_version ..."
	numbers=$(schema_of "$work/to/usr/bin/appcore")
	read -r schema_now _ <<<"${numbers:-$schema_before 0}"
	[ "$schema_now" -gt "$schema_before" ] && { accept_schema "$schema_now" || failed=1; }
	if [ "$(installed_version)" != "$from_version" ] || ! cmp -s "$from_program" /usr/bin/appcore || [[ $(dpkg-query -W -f='${db:Status-Status}' appcore) != installed ]]; then
		step 'install back' install_package "$from_package" || failed=1
	fi
	for unit in $(units_of appcore@) $(units_of appcore-worker@); do
		if ! runs_installed_program "$unit" || [ "$(show "$unit" ActiveState)" != active ]; then
			step "restart back ${unit%.service}" restart_unit "$unit" || failed=1
		fi
	done
	step 'nginx back' reload_nginx || failed=1
	[ -n "$failed" ] || step 'health' check_health || failed=1
	if [ -z "$failed" ] && [ "$schema_now" -gt "$schema_before" ]; then
		if [ -n "$(irreversible_above "$work/to/usr/bin/appcore" "$schema_before")" ]; then
			say "The schema stays at $schema_now: it cannot be taken back, and $from_version serves with it. The backup is ${backup:-yours}."
		elif step 'migrate back' migrate_down "$work/to/usr/bin/appcore" "$schema_before"; then
			forget_schema
		else
			say "$why The schema stays at $schema_now, and $from_version serves with it."
		fi
	elif [ -z "$failed" ] && [ "$schema_now" -eq "$schema_before" ] && [ "$schema_new" -lt "$schema_before" ]; then
		forget_schema
	fi
	if [ -n "$failed" ]; then
		printf '%s\n' "$reason Going back failed, too: $why Somebody has to look: the package of $from_version is $from_package, the backup ${backup:-yours}." >&2
		why="$reason Then: $why"
		return 1
	fi
	rm -f "$STATE/under-way"
	why=$reason
	printf '%s\n' "$reason $from_version serves again, nothing was lost." >&2
}

# The first one on this machine: there is nothing to go back to.
install_first() {
	local said
	step install install_first_package || return 1
	systemctl daemon-reload
	systemctl enable -q appcore.target 2>/dev/null
	said=$(systemctl start appcore.target 2>&1) || {
		why="appcore does not start: $(last_line <<<"$said")"
		return 1
	}
	read_settings /usr/bin/appcore || return 1
	step health wait_first
}

install_first_package() {
	local said
	said=$(DEBIAN_FRONTEND=noninteractive dpkg --force-confold --force-confdef -i "$package" </dev/null 2>&1) && return
	why="The package cannot be installed: $(last_line <<<"$said")"
	return 1
}

wait_first() {
	local i
	for ((i = 1; i <= SET_INSTANCES; i++)); do
		"$scripts/health_check.sh" "http://127.0.0.1:$((SET_DIRECT_PORT + i))" $((HEALTH_SECONDS * 5)) 0.2 >/dev/null || {
			why="appcore@$i does not become healthy: journalctl -u appcore@$i says why."
			return 1
		}
	done
}

# --- the kept ones --------------------------------------------------------------------------------------------------

choose_kept() { # sets $package to the version that is wanted, or to the one before
	local candidate line
	if [ -n "$wanted" ]; then
		for candidate in "$STATE/packages/${wanted//:/%}"_*.deb; do
			if [ -r "$candidate" ] && ! same_program "$candidate"; then package=$candidate; fi
		done
		[ -n "$package" ] || refuse "$wanted is not kept, or runs already: deploy.sh --versions lists what can be gone back to."
		return
	fi
	if [ -r "$STATE/under-way" ]; then
		IFS=$'\t' read -r _ package _ <"$STATE/under-way"
		[ -r "$package" ] && return
	fi
	[ -r "$STATE/previous" ] && read -r package <"$STATE/previous"
	[ -r "$package" ] || refuse 'No version before this one is kept here: deploy the one that you want.'
}

newest_first() { # FILE..., whose names are of our own making
	find "$@" -maxdepth 0 -printf '%T@ %p\n' 2>/dev/null | sort -rn | cut -d ' ' -f 2-
}

prune() {
	local file n=0
	for file in $(newest_first "$STATE"/packages/*.deb); do
		n=$((n + 1))
		if [ "$n" -gt "$keep" ] && [ "$file" != "$from_package" ] && [ "$file" != "$to_package" ]; then rm -f "$file" "$file.env"; fi
	done
	n=0
	for file in $(newest_first "$BACKUPS"/deploy-*.backup); do
		n=$((n + 1))
		[ "$n" -le "$keep" ] || rm -f "$file"
	done
}

# --- all of it ------------------------------------------------------------------------------------------------------

finish() {
	rm -rf "$work"
	: >"$STATE/turn"
}

deploy() {
	local outcome=deployed status=0
	take_turn "$verb ${package:-$wanted}"
	trap finish EXIT
	trap 'interrupted=1' INT TERM
	trap '' HUP PIPE
	rm -rf "$work"
	install -d -m 0755 "$work" || code=111 refuse "$STATE has no room: free some."
	if [ "$verb" = rollback ]; then
		choose_kept
		touch "$package"
	fi
	why=$(check_package 2>&1) || {
		status=$?
		note_history "$verb" refused from "$(installed_version)" to "$package"
		code=$status refuse "$why"
	}
	why=''
	if ! step checks check_all; then
		note_history "$verb" refused from "$from_version" to "${to_version:-$(field "$package" Version)}"
		refuse "${why%.}. Nothing was changed."
	fi
	if [ -n "$only_check" ]; then
		say "$to_version can be deployed: schema at $schema_before, $pending migrations to run."
		return
	fi
	say "${from_version:-nothing} -> $to_version ($to_commit)"
	if [ -n "$first" ]; then
		if ! install_first || ! keep_package "$package"; then
			note_history "$verb" failed to "$to_version" sha "$to_commit"
			code=111 refuse "${why%.}. It is the first version on this machine: there is none to go back to."
		fi
	elif ! go_forward; then
		outcome='rolled back'
		status=1
		if [ -z "$changed" ]; then
			outcome=refused
			printf '%s\n' "${why%.}. Nothing was changed." >&2
			status=100
		elif ! go_back; then
			outcome=failed
			status=111
		fi
	else
		rm -f "$STATE/under-way"
		printf '%s\n' "$from_package" >"$STATE/previous" || true
		prune
	fi
	note_history "$verb" "$outcome" from "$from_version" to "$to_version" sha "$to_commit" backup "$backup"
	[ "$status" -ne 0 ] || say "$to_version serves: $(seconds_since "$began") s."
	exit "$status"
}

changed=''
read_arguments "$@"
[ -z "$host" ] || {
	[ "$verb" = deploy ] || [ "$verb" = rollback ] || arguments=("--$verb")
	over_ssh
}
need_root
case $verb in
history) cat "$STATE/history.jsonl" 2>/dev/null || refuse 'Nothing has been deployed here yet.' ;;
versions)
	for file in "$STATE"/packages/*.deb; do
		[ -e "$file" ] || refuse 'No version is kept here yet: the first deploy keeps the one that it replaces.'
		printf '%s  %s%s\n' "$(field "$file" Version)" "$(date -r "$file" '+%Y-%m-%d %H:%M')" "$(same_program "$file" && echo '  installed')"
	done
	;;
*)
	need_tools dpkg-deb dpkg-query curl flock systemd-run nginx tar cmp
	deploy
	;;
esac
