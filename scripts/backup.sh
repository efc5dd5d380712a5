#!/usr/bin/env bash
# backup.sh [FOLDER]: one backup of the database, FOLDER/appcore-DATE.backup (default: BACKUP_DIR), and then only those left
# that are wanted: the newest of each of the last BACKUP_HOURLY hours and of each of the last BACKUP_DAILY days that have one.
#
# Every backup is whole: `appcore restore FILE` wants no other. Where a SQLite database has not changed since the newest one,
# that one gets a second name instead of a copy. Settings come from `appcore config --shell` (APPCORE_BIN names the program).
set -euo pipefail
export LC_ALL=C
umask 077
home=$(cd "$(dirname "$0")/.." && pwd)
appcore=${APPCORE_BIN:-$home/build/release/appcore}

fail() { # CODE SENTENCE
	printf '%s\n' "$2" >&2
	exit "$1"
}

newest_backup() {
	local file newest=
	for file in "$folder"/appcore-*.backup; do
		[ ! -f "$file" ] || newest=$file
	done
	printf '%s' "$newest"
}

# The file of a SQLite database; nothing for a server.
database_file() {
	case ${DATABASE_URL:-} in
	sqlite:///*) printf '%s' "${DATABASE_URL#sqlite:///}" ;;
	esac
}

# A commit goes into the log first (-wal). Whatever was written while the backup was made counts as written after it.
is_unchanged() { # DATABASE BACKUP
	local file
	for file in "$1" "$1-wal"; do
		[ ! -e "$file" ] || [ "$2" -nt "$file" ] || return 1
	done
}

enough_room() { # DATABASE: a copy, and a little for others
	local free need
	need=$(($(stat -c %s "$1") + $(stat -c %s "$1-wal" 2>/dev/null || echo 0)))
	free=$(df --output=avail -B1 "$folder" | tail -n 1)
	[ "$free" -gt $((need + (16 << 20))) ] ||
		fail 111 "No backup was made: $folder has $((free >> 20)) MiB left, and the copy needs $((need >> 20)) MiB. Make room there, or lower BACKUP_HOURLY and BACKUP_DAILY."
}

# The time of the copy is that of its beginning.
copy() {
	local began=$folder/.began
	: >"$began"
	rm -f "$folder"/.new.backup*
	"$appcore" backup "$folder/.new.backup" >/dev/null || fail "$?" "No backup was made; those that are there stay."
	touch -r "$began" "$folder/.new.backup"
	rm -f "$began"
	mv "$folder/.new.backup" "$target"
}

remove_old() {
	local file name hour day last_hour='' last_day='' hours=0 days=0 keep i
	local files=("$folder"/appcore-*.backup)
	for ((i = ${#files[@]} - 1; i >= 0; i--)); do
		file=${files[i]}
		name=${file##*/appcore-}
		[[ $name =~ ^[0-9]{8}T[0-9]{6}Z\.backup$ ]] || continue
		day=${name:0:8} hour=${name:0:11} keep=
		if [ "$hour" != "$last_hour" ] && [ "$hours" -lt "$BACKUP_HOURLY" ]; then
			last_hour=$hour hours=$((hours + 1)) keep=1
		fi
		if [ "$day" != "$last_day" ] && [ "$days" -lt "$BACKUP_DAILY" ]; then
			last_day=$day days=$((days + 1)) keep=1
		fi
		[ -n "$keep" ] || [ "$file" = "$target" ] || rm -f "$file"
	done
}

main() {
	local settings folder target database newest began=$SECONDS how=copied
	settings=$("$appcore" config --shell) || exit "$?"
	eval "$settings"
	folder=${1:-${BACKUP_DIR:-}}
	[ -n "$folder" ] || fail 100 'Say where backups go: backup.sh FOLDER, or the setting BACKUP_DIR.'
	mkdir -p "$folder" || fail 111 "$folder cannot be made: make it, for the user $(id -un) to write to."
	[ -w "$folder" ] || fail 111 "$folder cannot be written by $(id -un): give it to this user."
	exec 9>"$folder/.lock"
	flock -n 9 || fail 111 "Another backup into $folder is being made: wait for it."
	target=$folder/appcore-$(date -u +%Y%m%dT%H%M%SZ).backup
	[ ! -e "$target" ] || fail 111 "$target is there already: try again in a second."
	database=$(database_file)
	newest=$(newest_backup)
	if [ -n "$database" ] && [ -n "$newest" ] && is_unchanged "$database" "$newest"; then
		ln "$newest" "$target"
		how='unchanged, so the newest got a second name'
	else
		[ -z "$database" ] || [ ! -e "$database" ] || enough_room "$database"
		copy
	fi
	remove_old
	printf '%s (%s bytes, %s, %d s)\n' "$target" "$(stat -c %s "$target")" "$how" "$((SECONDS - began))"
}

main "$@"
