#!/usr/bin/env bash
# make_root.sh INSTALLED ROOT: the file system of a container that holds appcore and nothing else. INSTALLED is what
# `make install DESTDIR=INSTALLED PREFIX=/usr` has made, ROOT a folder that is not there yet.
#
# Beside the program: spawn-fcgi, what both are linked with, and what the C library opens by name at run time, which ldd does
# not see: converters of text for the encodings that pipelines read, the certificates that libcurl trusts, the list of
# users. Names of hosts need no module (they are in the C library since 2.34), only /etc/nsswitch.conf.
set -euo pipefail
export LC_ALL=C
home=$(cd "$(dirname "$0")/.." && pwd)

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

[ "$#" -eq 2 ] || fail 'usage: make_root.sh INSTALLED ROOT'
installed=$1
root=$2
[ -x "$installed/usr/bin/appcore" ] || fail "$installed/usr/bin/appcore is missing: run make install DESTDIR=$installed PREFIX=/usr first."
[ ! -e "$root" ] || fail "$root is there already: remove it, or name another folder."

# copy FILE: to the same place, through links. Debian has had one /usr since 12, so nothing lies below /lib.
copy() {
	local real target
	real=$(realpath -e -- "$1") || fail "$1 is needed and is not there: install its package."
	target=$1
	case $target in /lib/* | /lib64/* | /bin/*) target=/usr$target ;; esac
	install -D -m "$(stat -c %a "$real")" "$real" "$root$target"
}

# What a program is linked with, the loader too. A library that is not found is a fault here, not at the first start.
libraries() { # FILE...
	local output
	output=$(ldd "$@") || fail "ldd can't read $*."
	if grep -q 'not found' <<<"$output"; then fail "A library is missing: $(grep 'not found' <<<"$output" | head -n 1)"; fi
	sed -n 's/.*=> \(\/[^ ]*\) (.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p' <<<"$output" | sort -u
}

# Names of the C library's converters, from the table that pipelines' "encoding" is looked up in.
encodings() { sed -n 's/^\t{"[^"]*", "\([A-Z0-9-]*\)"},.*/\1/p' "$home/lib/pipeline/reader_stream.c" | sort -u; }

copy_converters() {
	local folder name module table
	folder=$(dirname "$(find /usr/lib -name 'gconv-modules' -path '*/gconv/*' | head -n 1)")
	[ -d "$folder" ] || fail "The C library's converters of text (gconv) are not there: install libc-bin's package libc6."
	table=$(cat "$folder"/gconv-modules "$folder"/gconv-modules.d/*.conf)
	copy "$folder/gconv-modules"
	for name in "$folder"/gconv-modules.d/*.conf; do copy "$name"; done
	for name in $(encodings); do
		# Built into the C library.
		case $name in UTF-16?E | UTF-32?E) [ -n "$(module_of "$name")" ] || continue ;; esac
		module=$(module_of "$name")
		[ -n "$module" ] || fail "The C library has no converter for $name."
		copy_converter "$folder/$module.so"
	done
}

module_of() { # ENCODING: through its aliases
	local alias
	alias=$(awk -v name="$1//" '$1 == "alias" && $2 == name { print $3; exit }' <<<"$table")
	awk -v name="${alias:-$1//}" '$1 == "module" && $2 == name { print $4; exit }' <<<"$table"
}

copy_converter() { # FILE: and the converters that it is linked with
	local library
	copy "$1"
	for library in $(libraries "$1"); do
		case $library in */gconv/*) copy "$library" ;; esac
	done
}

mkdir -p "$root"/{etc/ssl/certs,tmp,usr/bin,usr/lib,usr/lib64,run,var/lib}
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
install -m 755 "$installed/usr/bin/appcore" "$root/usr/bin/appcore"
copy /usr/bin/spawn-fcgi
for file in $(libraries "$installed/usr/bin/appcore" /usr/bin/spawn-fcgi); do copy "$file"; done
copy_converters
copy /etc/ssl/certs/ca-certificates.crt
copy /etc/nsswitch.conf
for folder in models pipelines; do
	mkdir -p "$root/usr/share/appcore"
	cp -r "$installed/usr/share/appcore/$folder" "$root/usr/share/appcore/"
done
printf 'root:x:0:0:root:/:/nonexistent\nappuser:x:10001:10001:appcore:/var/lib/appcore:/nonexistent\n' >"$root/etc/passwd"
printf 'root:x:0:\nappuser:x:10001:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
# The program has to start from in there, with nothing else.
chroot "$root" /usr/bin/appcore version >/dev/null || fail 'The program does not start in its own root: something that it is linked with is missing.'
