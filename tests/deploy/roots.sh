#!/usr/bin/env bash
# roots.sh SUITE [--bare] [PACKAGE...]: prints the path of a root tree of Debian (bookworm or trixie), made at the first
# call (half a minute, as root, from Debian's mirror) and kept in build/roots/ under a name made of what is in it. Nobody
# writes to it: containers lay a file system in memory over it, images of disks are copied from it.
#
# It boots with systemd and has what appcore runs with. With --bare it has what a new machine has and no more; what
# appcore needs lies in a repository within it, so that "apt-get install ./appcore.deb" works without a network.
#
# ROOTS (build/roots) is where they are kept; APT_MIRROR, where it is set, a mirror instead of Debian's own.
set -euo pipefail
export LC_ALL=C

fail() {
	printf 'roots.sh: %s\n' "$*" >&2
	exit 1
}

# Comes with no new machine, and none is needed: machine.py and container.py ask the first process.
system=(systemd-sysv dbus ca-certificates curl openssl iproute2 procps logrotate)
case ${1:-} in
bookworm) libraries=(libfcgi0ldbl libhiredis0.14 libcurl4 libunistring2) ;;
trixie) libraries=(libfcgi0t64 libhiredis1.1.0 libcurl4t64 libunistring5) ;;
*) fail 'say which Debian: roots.sh bookworm|trixie [--bare] [PACKAGE...]' ;;
esac
suite=$1
shift
runtime=(nginx passwd spawn-fcgi libjson-c5 libsqlite3-0 libpq5 libsodium23 zlib1g libcrypt1 "${libraries[@]}")
bare=
if [ "${1:-}" = --bare ]; then
	bare=1
	shift
	include=("${system[@]}" "$@")
else
	include=("${system[@]}" "${runtime[@]}" "$@")
fi

[ "$(id -u)" -eq 0 ] || fail 'only root can make a root tree: call it with sudo.'
command -v mmdebstrap >/dev/null || fail 'mmdebstrap is missing: run "make deps-deploy".'
here=$(cd "$(dirname "$0")/../.." && pwd)
roots=${ROOTS:-$here/build/roots}
mkdir -p "$roots"
# What it is made of, this script included.
key=$({ printf '%s\n' "$bare" "${include[@]}" "${runtime[@]}" "${APT_MIRROR:-}"; grep -hv '^#' "$0" "$(dirname "$0")/repository.sh"; } | sha256sum | cut -c 1-12)
root=$roots/$suite${bare:+-bare}-$key
if [ -d "$root" ]; then
	printf '%s\n' "$root"
	exit
fi

# One makes it, the others wait: for at most as long as a slow mirror takes.
exec {lock}>"$root.lock"
flock -w 1800 "$lock" || fail "somebody else has been making $root for half an hour: end that, and call this again."
if [ ! -d "$root" ]; then
	new=$root.new # of somebody who was killed, if it is there
	rm -rf --one-file-system "$new"
	# shellcheck disable=SC2064  # the path of now
	trap "rm -rf --one-file-system '$new'" EXIT
	trap 'exit 130' INT TERM HUP
	hooks=()
	if [ -n "$bare" ]; then
		hooks=(--skip=cleanup/apt
			--customize-hook="chroot \"\$1\" apt-get -q -y clean"
			--customize-hook="chroot \"\$1\" apt-get -q -y install --download-only --no-install-recommends ${runtime[*]}"
			--customize-hook="'$here/tests/deploy/repository.sh' \"\$1\"")
	fi
	names=$(IFS=,; printf '%s' "${include[*]}")
	nice -n 10 mmdebstrap --quiet --mode=root --variant=apt --include="$names" \
		--aptopt='Acquire::Retries "3"' --aptopt='Acquire::Languages "none"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt=force-unsafe-io "${hooks[@]}" \
		--customize-hook='rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$1/etc/resolv.conf"' \
		--customize-hook='echo appcore-test >"$1/etc/hostname" && : >"$1/etc/machine-id"' \
		"$suite" "$new" ${APT_MIRROR:+"$APT_MIRROR"} >&2 {lock}>&- ||
		fail "mmdebstrap could not make Debian $suite; its messages stand above. Is there a network, and room in $roots?"
	mv -T "$new" "$root"
fi
printf '%s\n' "$root"
