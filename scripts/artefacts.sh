#!/usr/bin/env bash
# artefacts.sh: what a pipeline keeps of a build, in build/artefacts: the package and its SPDX document with the commit in
# their names, and SHA256SUMS. Nothing is called latest (E-027).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

commit=$(git -c safe.directory="$PWD" rev-parse HEAD) || fail 'This is no checkout: artefacts are named after their commit.'
[ -z "$(git -c safe.directory="$PWD" status --porcelain --untracked-files=no)" ] || commit=$commit-changed
package=$(find build/deb -maxdepth 1 -name 'appcore_*.deb' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2- || true)
[ -n "$package" ] || fail 'There is no package in build/deb: run "make deb".'
out=build/artefacts
rm -rf "$out"
mkdir -p "$out"
name=$(basename "$package" .deb)
suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-unknown}")
cp "$package" "$out/${name%_*}_${commit}_${suite}_${name##*_}.deb"
for image in build/images/*.tar.gz; do
	[ ! -e "$image" ] || cp "$image" "$out/$(basename "$image" .tar.gz)_$commit.tar.gz"
done
scripts/make_spdx.py "$out"/*.deb >"$out/appcore_$commit.spdx.json" || exit
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
