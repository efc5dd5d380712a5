#!/usr/bin/env bash
# test_postgres.sh [COMMAND...]: scripts/test.sh, or that command, with TEST_DATABASE_SERVER naming a PostgreSQL server that
# is started for it and ends with it. Every test makes databases of its own there.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- scripts/test.sh release

dir=$(mktemp -d "${TMPDIR:-/tmp}/appcore-postgres.XXXXXX")
trap 'tests/servers/postgres.sh remove "$dir"' EXIT
trap 'exit 130' INT TERM HUP
# Nothing here is about power cuts: without syncs it takes little more than half the time.
tests/servers/postgres.sh start "$dir" --until $$ --set fsync=off
url=$(tests/servers/postgres.sh url "$dir")
port=${url##*:}
printf 'PostgreSQL %s on port %s\n' "$(tests/servers/postgres.sh psql "$dir" postgres -Atc 'SHOW server_version')" "${port%/*}"
TEST_DATABASE_SERVER=${url%/postgres} "$@"
