#!/usr/bin/env bash
# image.sh: the image of this commit, scanned, in build/images as a pipeline keeps it: the archive, named after the commit, and
# the list of what is in it. Wants an engine (DOCKER: another client).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	printf '%s\n' "$*" >&2
	exit 100
}

docker=${DOCKER:-docker}
REVISION=${REVISION:-$(git -c safe.directory="$PWD" rev-parse HEAD)} || fail 'This is no checkout: give REVISION.'
export REVISION
scripts/containers.sh build appcore
out=build/images
rm -rf "$out"
mkdir -p "$out"
container=$("$docker" create "appcore:$REVISION") || fail "There is no image appcore:$REVISION: see the lines above."
trap '"$docker" rm -f "$container" >/dev/null' EXIT
"$docker" cp "$container:/usr/share/appcore/sbom.cdx.json" "$out/appcore_$REVISION.cdx.json" >/dev/null || fail 'The image does not list what is in it.'
scripts/scan.py --sbom "$out/appcore_$REVISION.cdx.json" || fail 'The image has packages with known weaknesses: build it anew from an updated base.'
"$docker" save "appcore:$REVISION" | gzip -9 >"$out/appcore_$REVISION.tar.gz"
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
