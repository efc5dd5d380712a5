#!/usr/bin/env bash
# run.sh DRIVER: the CSV reader against the public cases of csv-spectrum, from npm, and against Python's csv module.
# `make test-docs` runs it, because that is where npm is.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
npm=$(cd "$here/../.." && pwd)/build/npm/csv
command -v npm >/dev/null || { echo "npm is missing: run make test-docs" >&2 && exit 100; }

# Once for each version of the list. Nothing of a package runs while it is installed (.npmrc).
wanted=$(sha256sum <"$here/package-lock.json")
if [ "$(cat "$npm/wanted" 2>/dev/null)" != "$wanted" ]; then
	rm -rf "$npm"
	mkdir -p "$npm"
	cp "$here"/{package.json,package-lock.json,.npmrc} "$npm/"
	(cd "$npm" && npm ci) >"$npm/npm.log" 2>&1 || { tail -n 20 "$npm/npm.log" >&2 && exit 111; }
	printf '%s\n' "$wanted" >"$npm/wanted"
fi
PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 "$here/cases.py" "$1" "$npm/node_modules/csv-spectrum"
