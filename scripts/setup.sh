#!/usr/bin/env bash
# setup.sh [--check]: makes this machine one that builds, tests and runs appcore: installs what is missing of Debian's packages
# and tells the versions of what is needed. With --check nothing is installed: 1 when something is missing or too old (D-008, D-011).
set -u
cd "$(dirname "$0")/.." || exit 111
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

case ${1:-} in
'' | --check) ;;
*)
	sed -n '2,3s/^# //p' "$0"
	exit 100
	;;
esac
bad=0
if ! command -v make >/dev/null; then
	echo 'make is missing: apt-get install make' >&2
	exit 100
fi
make -s deps CHECK="${1:-}" || bad=1

tell() { # NAME COMMAND...: its version, or that it is missing
	local name=$1 version
	shift
	if command -v "$1" >/dev/null && version=$("$@" 2>&1 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1) && [ -n "$version" ]; then
		printf '%-12s %s\n' "$name" "$version"
	elif [ "$need" = yes ]; then
		printf '%-12s is missing: run scripts/setup.sh on Debian 12 or 13.\n' "$name"
		bad=1
	else
		printf '%-12s not here; only needed %s\n' "$name" "$why"
	fi
}

need=yes why=
tell make make --version
tell git git --version
tell sqlite3 sqlite3 --version
tell curl curl --version
tell openssl openssl version
tell python3 python3 --version
need=no
why='for containers' tell docker docker --version
why='for make test-terraform' tell terraform terraform version
why='for make test-docs and lint-workflows' tell npm npm --version
scripts/doctor.sh || bad=1
if [ "$bad" -eq 0 ]; then
	echo 'All is there: make run starts the service, make test tries it.'
else
	echo 'Something is missing or too old: the lines above say what to do.' >&2
	exit 1
fi
