#!/usr/bin/env bash
# make_sbom.sh ROOT [REVISION]: what is in a root made by make_root.sh, as a CycloneDX 1.5 document on standard output: each
# Debian package that a file in there is from, with version, architecture and source, and the files of it that are there with
# their SHA-256. Has to run where the files were copied from: dpkg knows them there. A file that is nobody's is an error.
set -euo pipefail
export LC_ALL=C

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

if [ "$#" -lt 1 ] || [ ! -d "$1" ]; then fail 'usage: make_sbom.sh ROOT [REVISION]'; fi
root=$(realpath -- "$1")
revision=${2:-unknown}
command -v dpkg-query >/dev/null || fail 'dpkg-query is missing: this has to run on a Debian, where the files are from.'
version=$(sed -n 's/.*APPCORE_VERSION "\(.*\)"/\1/p' "$(dirname "$0")/../lib/base/version.h")

quote() { # TEXT: as a string of JSON
	local text=${1//\\/\\\\}
	printf '"%s"' "${text//\"/\\\"}"
}

# owner FILE: the package that it is from. dpkg may know a file by its path before /usr was one.
owner() {
	local path found real
	real=$(realpath -e -- "$1" 2>/dev/null || printf '%s' "$1")
	for path in "$1" "$real" "${1#/usr}" "${real#/usr}"; do
		found=$(dpkg-query -S "$path" 2>/dev/null | head -n 1) || continue
		printf '%s' "${found%%: /*}" | sed 's/,.*//'
		return
	done
	return 1
}

# Made for this image, or by the package's own script: known by what they are, not by dpkg.
is_ours() {
	case $1 in /usr/bin/appcore | /usr/share/appcore/* | /etc/passwd | /etc/group) return 0 ;; esac
	return 1
}

declare -A files=()
while IFS= read -r -d '' path; do
	path=${path#"$root"}
	is_ours "$path" && continue
	case $path in
	/etc/ssl/certs/ca-certificates.crt) package=ca-certificates ;;
	/etc/nsswitch.conf) package=libc-bin ;;
	*) package=$(owner "$path") || fail "$path is from no package that dpkg knows." ;;
	esac
	sum=$(sha256sum "$root$path")
	files[$package]+="${files[$package]:+,}{\"type\":\"file\",\"name\":$(quote "$path"),\"hashes\":[{\"alg\":\"SHA-256\",\"content\":\"${sum%% *}\"}]}"
done < <(find "$root" -type f -print0 | sort -z)

component() { # PACKAGE
	local name number architecture source
	# shellcheck disable=SC2016  # dpkg-query's own placeholders
	read -r name number architecture source < <(dpkg-query -W -f '${Package} ${Version} ${Architecture} ${source:Package}\n' "$1")
	[ -n "$name" ] || fail "dpkg knows no package $1."
	printf '{"type":"library","bom-ref":%s,"name":%s,"version":%s,"purl":%s,' "$(quote "$name")" "$(quote "$name")" "$(quote "$number")" \
		"$(quote "pkg:deb/debian/$name@${number//+/%2B}?arch=$architecture&distro=debian-$(. /etc/os-release && printf '%s' "${VERSION_ID:-sid}")")"
	printf '"properties":[{"name":"debian:source","value":%s}],"components":[%s]}' "$(quote "$source")" "${files[$1]}"
}

printf '{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"metadata":{"component":{"type":"application","bom-ref":"appcore",'
printf '"name":"appcore","version":%s,"properties":[{"name":"git:revision","value":%s}],' "$(quote "$version")" "$(quote "$revision")"
program=$(sha256sum "$root/usr/bin/appcore")
printf '"hashes":[{"alg":"SHA-256","content":"%s"}]}},"components":[' "${program%% *}"
comma=
for package in $(printf '%s\n' "${!files[@]}" | sort); do
	printf '%s' "$comma"
	component "$package"
	comma=,
done
printf ']}\n'
