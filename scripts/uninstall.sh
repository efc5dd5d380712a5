#!/usr/bin/env bash
# uninstall.sh DESTDIR PREFIX: removes the files that `make install` puts there, and folders that are empty then. Settings,
# secrets, logs and data stay. What those files are is found by installing into a folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

destdir=$1 prefix=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s install DESTDIR="$work" PREFIX="$prefix" >/dev/null
gone=0
while IFS= read -r -d '' file; do
	[ ! -e "$destdir/$file" ] || gone=$((gone + 1))
	rm -f "$destdir/$file"
done < <(cd "$work" && find . -type f -print0)
# Folders of appcore's own only: the others are everybody's.
find "$destdir$prefix/share/appcore" -depth -type d -empty -delete 2>/dev/null || true
echo "$gone files are gone; /etc/appcore, /var/lib/appcore, /var/backups/appcore and /var/log/appcore stay."
