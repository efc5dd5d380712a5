#!/usr/bin/env bash
# doctor.sh [--build]: what appcore is built and run with, and whether it is new enough. With --build only what the
# compiler needs, and only what is wrong. Minimum versions stand here and nowhere else; deps.sh installs packages.
set -u
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; } # VERSION MINIMUM
library() { pkg-config --modversion "$1" 2>/dev/null; }
first_version() { "$@" 2>&1 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1; } # COMMAND...
unistring() { # it has no file for pkg-config
	echo '#include <unistring/version.h>' | "${CC:-gcc}" -E -dM - 2>/dev/null |
		sed -n 's/^#define _LIBUNISTRING_VERSION 0x0*\([0-9A-Fa-f]*\)\([0-9A-Fa-f]\{2\}\)\([0-9A-Fa-f]\{2\}\)$/\1 \2/p' |
		while read -r major minor; do printf '%d.%d' "0x$major" "0x$minor"; done
}
compiler() { "${CC:-gcc}" -dumpfullversion -dumpversion 2>/dev/null; }

bad=0
is() { # NAME MINIMUM VERSION
	if [ -z "$3" ]; then
		bad=$((bad + 1))
		printf '%s is missing, %s or newer is needed: run "make deps".\n' "$1" "$2" >&"$complaints"
	elif ! at_least "$3" "$2"; then
		bad=$((bad + 1))
		printf '%s %s is too old, %s or newer is needed: run "make deps" on Debian 12 or 13.\n' "$1" "$3" "$2" >&"$complaints"
	else
		printf '%-12s %-10s (at least %s)\n' "$1" "$3" "$2" >&"$reports"
	fi
}

exec {reports}>&1 {complaints}>&2
if [ "${1:-}" = --build ]; then
	exec {reports}>/dev/null
else
	exec {complaints}>&1
fi

if command -v pkg-config >/dev/null; then
	is libfcgi 2.4.2 "$(library fcgi)"
	is json-c 0.16 "$(library json-c)"
	is libsodium 1.0.18 "$(library libsodium)"
	is sqlite3 3.40 "$(library sqlite3)"
	is libpq 15 "$(library libpq)"
	is hiredis 0.14 "$(library hiredis)"
	is zlib 1.2.13 "$(library zlib)"
	is libcurl 7.88 "$(library libcurl)"
	is libcrypt 4.4 "$(library libcrypt)"
else
	is pkg-config 0.29 ''
fi
case $(basename "${CC:-gcc}") in
clang*) is clang 14 "$(compiler)" ;;
*) is gcc 12 "$(compiler)" ;;
esac
is libunistring 1.0 "$(unistring)"
if [ "${1:-}" != --build ]; then
	is nginx 1.22.1 "$(first_version nginx -v)"
	is spawn-fcgi 1.6.4 "$(first_version spawn-fcgi -v)"
fi
[ "$bad" -eq 0 ]
