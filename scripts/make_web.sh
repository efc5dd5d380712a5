#!/usr/bin/env bash
# make_web.sh [--viewer | --viewer-if-npm | --plain] [FOLDER]: what nginx serves of itself (default: build/web).
#
#   openapi.json       docs/openapi.yaml as JSON
#   docs/index.html    the page /docs: with the viewer where it has been fetched, else a plain list of the operations
#
# --viewer fetches the viewer from npm in the version and with the hash of docs/ui/package-lock.json, and fails where that is
# not possible; --viewer-if-npm tries it only where npm is there, once for each version, and goes on without it. --plain leaves it out.
set -euo pipefail
export LC_ALL=C.UTF-8
home=$(cd "$(dirname "$0")/.." && pwd)

mode=
case ${1:-} in
--viewer | --viewer-if-npm | --plain) mode=$1 && shift ;;
esac
target=$(realpath -m -- "${1:-$home/build/web}")
ui=$home/docs/ui
fetched=$home/build/npm/ui # npm's own folder
viewer=(swagger-ui.css swagger-ui-bundle.js)

wanted=$(sha256sum <"$ui/package-lock.json")

is_fetched() { [ "$(cat "$fetched/wanted" 2>/dev/null)" = "$wanted" ]; }

# No script of a package runs, and nothing is asked twice: without a network this ends at once.
fetch() {
	rm -rf "$fetched"
	mkdir -p "$fetched"
	cp "$ui"/{package.json,package-lock.json,.npmrc} "$fetched/"
	(cd "$fetched" && timeout 60 npm ci --fetch-retries=0 --fetch-timeout=8000) >"$fetched/npm.log" 2>&1 || return
	printf '%s\n' "$wanted" >"$fetched/wanted"
}

case $mode in
--viewer)
	command -v npm >/dev/null || { echo 'The viewer of /docs comes from npm, which is not installed: apt-get install npm' >&2 && exit 100; }
	is_fetched || fetch || { tail -n 5 "$fetched/npm.log" >&2 && echo 'The viewer of /docs could not be fetched.' >&2 && exit 111; }
	;;
--viewer-if-npm)
	if ! is_fetched && command -v npm >/dev/null && [ "$(cat "$fetched/tried" 2>/dev/null)" != "$wanted" ]; then
		fetch || {
			printf '%s\n' "$wanted" >"$fetched/tried"
			echo 'The viewer of /docs could not be fetched from npm; the page is a plain list. Again: make web' >&2
		}
	fi
	;;
esac

/usr/bin/python3 -c 'import yaml' 2>/dev/null || { echo 'python3-yaml is missing: make deps installs it.' >&2 && exit 100; }

# Beside the old one and then in its place: an nginx that runs may be asked meanwhile.
mkdir -p "$target/docs"
new=$(mktemp -d "$target/new.XXXXXX")
trap 'rm -rf "$new"' EXIT
/usr/bin/python3 "$home/scripts/make_openapi.py" "$home/docs/openapi.yaml" "$new/openapi.json" "$new/index.html"
cp "$ui"/{page.css,start.js} "$new/"
if [ "$mode" != --plain ] && is_fetched; then
	cp "$ui/index.html" "$new/"
	for file in "${viewer[@]}"; do cp "$fetched/node_modules/swagger-ui-dist/$file" "$new/"; done
fi
chmod 644 "$new"/*
mv "$new/openapi.json" "$target/"
mv "$new"/* "$target/docs/"
