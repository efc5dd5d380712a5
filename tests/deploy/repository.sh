#!/usr/bin/env bash
# repository.sh ROOT: what lies in apt's archives of a root tree becomes a repository in it, the only one that it has:
# roots.sh calls this. Debian's own lists would be read for minutes by a machine that is emulated.
set -euo pipefail
export LC_ALL=C
root=$1
folder=var/local/debian

install -d "$root/$folder"
mv "$root"/var/cache/apt/archives/*.deb "$root/$folder/"
cd "$root/$folder"
for deb in *.deb; do
	dpkg-deb -f "$deb"
	printf 'Filename: ./%s\nSize: %d\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
done >Packages
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/etc/apt/sources.list.d/*
echo "deb [trusted=yes] file:/$folder ./" >"$root/etc/apt/sources.list"
chroot "$root" apt-get -q update
