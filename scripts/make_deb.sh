#!/usr/bin/env bash
# make_deb.sh: the Debian package of what git knows, as it lies in the work tree, for the Debian it runs on. Writes
# build/deb/appcore_VERSION_ARCH.deb, and build/deb/appcore.deb, a link to the newest; prints its name last.
#
#   DEB_VERSION=VERSION    that version instead of the one from git: TAG+COMMITS.gSHA after a tag v*, otherwise
#                          VERSION~COMMITS.gSHA of version.h; then .dirty for a work tree with changes, and ~deb12 or ~deb13
#
# Everything is made in a copy below build/deb/, which keeps what it has compiled: nothing is written into the tree.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.."

fail() { # CODE SENTENCE
	printf '%s\n' "$2" >&2
	exit "$1"
}

git() { command git -c safe.directory="$PWD" "$@"; }

check_tools() {
	local tool
	for tool in dpkg-buildpackage dh git flock; do
		command -v "$tool" >/dev/null || fail 100 "$tool is missing: run \"make deps-deb\"."
	done
	git rev-parse -q --verify HEAD >/dev/null || fail 100 "The version comes from git, and this is no checkout: clone the repository."
}

version_of_git() {
	local described version
	version=$(sed -n 's/.*APPCORE_VERSION  *"\(.*\)"/\1/p' lib/base/version.h)
	if described=$(git describe --tags --long --match 'v[0-9]*' --abbrev=12 2>/dev/null); then
		described=${described#v}
		version=${described%-*-g*}
		described=${described#"$version"-}
		printf '%s+%s.%s' "${version//-/'~'}" "${described%%-*}" "${described#*-}"
	else
		printf '%s~%s.g%s' "$version" "$(git rev-list --count HEAD)" "$(git rev-parse --short=12 HEAD)"
	fi
	[ -z "$(git status --porcelain --untracked-files=no)" ] || printf .dirty
	printf '~%s' "$release"
}

# Files of before go; those that have not changed keep their times, so that only what has is compiled. The others get the time
# of now: one that was changed while the package before was being built may be older than what was compiled of it.
copy_tree() {
	local entry next=$tree.next
	rm -rf "$next"
	mkdir -p "$tree" "$next"
	git ls-files -z | while IFS= read -r -d '' entry; do
		[ ! -e "$entry" ] || printf '%s\0' "$entry"
	done | tar --create --null --no-recursion --files-from=- --file=- | tar --extract --touch --file=- --directory="$next"
	(cd "$next" && find . -type f -print0) | while IFS= read -r -d '' entry; do
		! cmp -s "$next/$entry" "$tree/$entry" || touch -r "$tree/$entry" "$next/$entry"
	done
	for entry in "$tree"/* "$tree"/.[!.]*; do
		[ "$entry" = "$tree/build" ] || rm -rf "$entry"
	done
	find "$next" -mindepth 1 -maxdepth 1 -exec mv -t "$tree" '{}' +
	rmdir "$next"
}

write_changelog() {
	printf 'appcore (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- %s  %s\n' "$version" \
		"$(git rev-parse HEAD)" "$(sed -n 's/^Maintainer: //p' debian/control)" \
		"$(git log -1 --format=%cD)" >"$tree/debian/changelog"
}

build() {
	# A commit stands in objects that it does not change the sources of.
	if [ "$(cat "$folder/version" 2>/dev/null)" != "$version" ]; then
		{ grep -rlF APPCORE_COMMIT "$tree/lib" "$tree/fcgi-app" --include=*.c || true; } | while read -r entry; do touch "$entry"; done
	fi
	printf '%s\n' "$version" >"$folder/version"
	if ! (cd "$tree" && dpkg-buildpackage --build=binary --no-sign --no-pre-clean "--jobs=${JOBS:-$(nproc)}") >"$folder/log" 2>&1; then
		tail -n 25 "$folder/log" >&2
		fail 111 "The package could not be built; all of it stands in $folder/log."
	fi
}

main() {
	local release version folder tree name
	check_tools
	release=deb$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release)
	[ "$release" != deb ] || release=deb$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	version=${DEB_VERSION:-$(version_of_git)}
	[[ $version =~ ^[0-9][A-Za-z0-9.+~]*$ ]] || fail 100 "\"$version\" is no version of a package: digits first, then letters, digits, '.', '+' and '~'."
	folder=$PWD/build/deb/$release
	tree=$folder/tree
	mkdir -p "$tree"
	exec 9>"$folder/lock"
	flock -n 9 || fail 111 "Another make deb is at work in $folder: wait for it."
	copy_tree
	write_changelog
	build
	name=appcore_${version}_$(dpkg --print-architecture).deb
	[ -e "$folder/$name" ] || fail 111 "dpkg-buildpackage did not leave $name; what it said stands in $folder/log."
	mv "$folder/$name" "build/deb/$name"
	rm -f "$folder"/appcore*_*.*
	ln -sfn "$name" build/deb/appcore.deb
	printf '%s\n' "build/deb/$name"
}

main
