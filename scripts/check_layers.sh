#!/usr/bin/env bash
# check_layers.sh [--quick]: includes point down only, and each library is known in one place.
#
#   lib/base ← lib/shared ← lib/store ← lib/auth, lib/model ← lib/pipeline ← lib/task ← fcgi-app/http ← the rest of fcgi-app
#
# FastCGI is known in fcgi-app/http/fcgi*.c, SQLite and SQL in lib/store, hiredis in lib/shared/redis*.c. Without --quick also: all of lib/ compiles where
# there is no FastCGI. The files in tests/lint/layers hold one fault each; every one of them has to be found first.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C

declare -A below=(
	[base]='base'
	[shared]='base|shared'
	[store]='base|shared|store'
	[auth]='base|shared|store|auth'
	[model]='base|shared|store|model'
	[pipeline]='base|shared|store|model|pipeline'
	[task]='base|shared|store|auth|model|pipeline|task'
)

say() { sed "s|\$|   <- $1|"; }

# Lines of the files below FOLDERS that match FIND and do not match EXCEPT.
lines() { # FIND EXCEPT FOLDER...
	local find=$1 except=$2
	shift 2
	grep -rnE --include='*.[ch]' "$find" "$@" 2>/dev/null | grep -vE "$except"
}

violations() {
	local folder name
	for folder in lib/*/; do
		name=$(basename "$folder")
		if [ -z "${below[$name]:-}" ]; then
			echo "lib/$name is not a layer: give it its place in scripts/check_layers.sh"
			continue
		fi
		lines '^ *# *include +"' "\"(${below[$name]})/[a-z0-9_]+\.h\"" "lib/$name" |
			say "lib/$name may include of lib only: ${below[$name]//|/, }"
	done
	lines '^ *# *include +"' '"((base|shared|store|auth|model|task|http)/[a-z0-9_]+|app)\.h"' fcgi-app/http |
		say 'fcgi-app/http knows lib, itself and app.h'
	lines '^ *# *include +["<].*(fcgi_?(app|stdio|misc|config|os))\.h' '^fcgi-app/http/fcgi(|_impl|_conn|_answer|_parked)\.[ch]:' lib fcgi-app |
		say 'FastCGI is for fcgi-app/http/fcgi*.c'
	lines '^ *# *include +["<](hiredis|.*/hiredis|.*/sds)\b' '^lib/shared/redis(|_impl|_connect|_thread)\.[ch]:' lib fcgi-app | say 'hiredis is for lib/shared/redis*.c'
	lines '^ *# *include +["<]sqlite3' '^lib/store/' lib fcgi-app | say 'SQLite is for lib/store'
	lines '^ *# *include +["<]libpq' '^lib/store/db_pg' lib fcgi-app | say 'PostgreSQL is for lib/store/db_pg*'
	lines '"(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|PRAGMA|BEGIN|VACUUM|CREATE|DROP) |\<db_(prepare|exec|bind_[a-z0-9]+|step|run|run_once)\(' \
		'^lib/store/' lib fcgi-app | say 'statements are for lib/store'
}

faults=$(cd tests/lint/layers && violations)
for file in $(cd tests/lint/layers && find . -type f -printf '%P\n'); do
	if ! grep -q "^$file:" <<<"$faults"; then
		echo "The fault in tests/lint/layers/$file is not found: this check proves nothing."
		exit 1
	fi
done

found=$(violations)
if [ -n "$found" ]; then
	printf '%s\n' "$found"
	exit 1
fi

if [ "${1:-}" != --quick ]; then
	poison=$(mktemp -d)
	read -ra flags <<<"$(pkg-config --cflags libpq)"
	trap 'rm -rf "$poison"' EXIT
	for header in fcgiapp fcgi_stdio fcgi_config fcgios; do
		echo '#error "lib/ compiles without FastCGI"' >"$poison/$header.h"
	done
	compile() { xargs -P "$(nproc)" -n 4 "${CC:-gcc}" -std=c17 -D_GNU_SOURCE -I"$poison" -Ilib "${flags[@]}" -fsyntax-only 2>&1; }
	if echo tests/lint/layers/lib/base/fcgi.c | compile >/dev/null; then
		echo 'A file of lib/ with FastCGI in it compiles: this check proves nothing.'
		exit 1
	fi
	printf '%s\n' lib/*/*.c | compile || exit 1
fi
echo 'Includes point down.'
