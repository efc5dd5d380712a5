#!/usr/bin/env bash
# deps.sh [--check] PACKAGES...: installs what is missing of Debian's packages, as root or through sudo; at once when
# nothing is. With --check it only names what is missing, and then exits with 1.
#
# A package is written NAME, NAME>=VERSION or NAME|OTHER (any of them will do; the first one that the suite has is
# installed). No daemon is started by it, and one that is new here is not enabled either: what the packages bring of
# services is the system's; appcore runs its own nginx.
set -euo pipefail
export LC_ALL=C

policy=/usr/sbin/policy-rc.d
cluster_settings=/etc/postgresql-common/createcluster.conf
services=(nginx prometheus prometheus-alertmanager postgresql pgbouncer redis-server docker.io containerd) # units have the names of their packages, but for ".io"

undo='' # what is to be put back at the end, as commands
trap 'eval "$undo"' EXIT
trap 'exit 130' INT TERM HUP

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

# One question for all packages: a question for each would take half a second on every start.
declare -A versions
read_versions() { # NAME>=VERSION|OTHER...
	local choice names=() name state version
	# shellcheck disable=SC2068  # alternatives become words of their own
	for choice in ${@//|/ } "${services[@]}" postgresql-common; do
		names+=("${choice%%>=*}")
	done
	versions=()
	# shellcheck disable=SC2016  # dpkg-query's own placeholders
	while read -r name state version; do
		[ "$state" != installed ] || versions[$name]=$version
	done < <(dpkg-query -W -f '${Package} ${db:Status-Status} ${Version}\n' "${names[@]}" 2>/dev/null)
}
installed_version() { printf '%s' "${versions[$1]:-}"; } # NAME: nothing when it is not installed

is_met() { # NAME>=VERSION|OTHER
	local choice version
	for choice in ${1//|/ }; do
		version=${versions[${choice%%>=*}]:-}
		[ -n "$version" ] || continue
		[ "$choice" = "${choice%%>=*}" ] || dpkg --compare-versions "$version" ge "${choice##*>=}" || continue
		return 0
	done
	return 1
}

to_install() { # NAME>=VERSION|OTHER: the first that the suite offers
	local choice name
	for choice in ${1//|/ }; do
		name=${choice%%>=*}
		if apt-cache show --no-all-versions "$name" >/dev/null 2>&1; then
			printf '%s' "$name"
			return
		fi
	done
	return 1
}

# Debian's package of the PostgreSQL server makes a cluster on port 5432. Where PostgreSQL is new none is wanted: the tests
# make their own. What says so is put back afterwards.
keep_cluster_away() {
	case " ${names[*]} " in *" postgresql "*) ;; *) return 0 ;; esac
	[ -z "$(installed_version postgresql-common)" ] || return 0
	"${apt[@]}" install --no-install-recommends postgresql-common >/dev/null || fail "apt-get could not install postgresql-common."
	undo+="${as_root[*]} sed -i '/^create_main_cluster = false # appcore/d' $cluster_settings;"
	printf 'create_main_cluster = false # appcore: make deps is at work\n' | "${as_root[@]}" tee -a "$cluster_settings" >/dev/null
}

keep_daemons_down() {
	[ ! -e "$policy" ] || return 0
	# shellcheck disable=SC2064  # the path of now
	undo+="${as_root[*]} rm -f $policy;"
	printf '#!/bin/sh\n# appcore: make deps is at work\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
	"${as_root[@]}" chmod 755 "$policy"
}

# A service that was not here before stays off after the next boot too.
disable_new_services() {
	local unit
	command -v systemctl >/dev/null || return 0
	for unit in "${services[@]}"; do
		case " ${before[*]} " in
		*" $unit "*) ;;
		*) [ -z "$(installed_version "$unit")" ] || "${as_root[@]}" systemctl disable -q "${unit%.io}.service" 2>/dev/null || true ;;
		esac
	done
}

command -v dpkg-query >/dev/null || fail "This is not a Debian: install by hand what stands for: $*"

check=
if [ "${1:-}" = --check ]; then
	check=1
	shift
fi
missing=()
read_versions "$@"
for package in "$@"; do
	is_met "$package" || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ -n "$check" ]; then
	printf 'Missing: %s\n' "${missing[*]}"
	exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null ||
		fail "Packages are missing and there is no sudo. As root: apt-get install ${missing[*]}"
	as_root=(sudo)
fi
before=()
for package in "${services[@]}"; do
	[ -z "$(installed_version "$package")" ] || before+=("$package")
done

printf 'Installing: %s\n' "${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0)
"${apt[@]}" update >/dev/null || printf 'The package lists could not be renewed; going on with those that are here.\n' >&2
names=()
for package in "${missing[@]}"; do
	name=$(to_install "$package") || fail "This Debian has no package ${package//|/ or }: version 12 or 13 is needed."
	names+=("$name")
done
keep_daemons_down
keep_cluster_away
"${apt[@]}" install --no-install-recommends "${names[@]}" >/dev/null ||
	fail "apt-get could not install: ${names[*]}. Its message stands above."
read_versions "$@"
disable_new_services
for package in "${missing[@]}"; do
	is_met "$package" || fail "$package is needed; this Debian has $(installed_version "${package%%[>|]*}"). Use version 12 or 13."
done
