#!/usr/bin/env bash
# smoke.sh [PACKAGE | PROGRAM]: starts what was built, in a folder of its own, asks it as a user would and stops it (A-148).
# A Debian package is unpacked, not installed. Default: the package in build/deb, else build/release/appcore.
set -euo pipefail
home=$(cd "$(dirname "$0")/.." && pwd)

fail() {
	printf 'FAIL %s\n' "$*" >&2
	exit 1
}

what=${1:-$(find "$home/build/deb" -maxdepth 1 -name 'appcore_*.deb' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2- || true)}
what=$(realpath -e -- "${what:-$home/build/release/appcore}") || fail "There is nothing to try: make, or make deb, builds it."
work=$(mktemp -d)
started=
# shellcheck disable=SC2317  # called by the trap
finish() {
	trap - EXIT
	[ -z "$started" ] || "$home/scripts/service.sh" stop || true
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
mkdir "$work/service"
case $what in
*.deb)
	dpkg-deb -x "$what" "$work/package" || fail "$what can't be unpacked: is it a Debian package?"
	what=$work/package/usr/bin/appcore
	;;
esac
[ -x "$what" ] || fail "$what is no program."
port=${SMOKE_PORT:-$((20000 + $$ % 10000))}
key=$(head -c 18 /dev/urandom | base64 | tr '+/' 'ab')
cd "$work/service"
export APPCORE_BIN=$what API_KEY=$key DIRECT_PORT=$port HTTPS_PORT=$((port + 5)) HTTP_PORT=$((port + 6)) INSTANCES=2 WORKERS=0
export DATABASE_URL='' DATA_DIR=data RUN_DIR=run PIPELINES_DIR=$home/pipelines
started=1
"$home/scripts/service.sh" start >"$work/log" 2>&1 || fail "The service does not start: $(tail -n 5 "$work/log")"
"$home/scripts/health_check.sh" "https://localhost:$HTTPS_PORT" 30 1 || fail 'The service is not healthy.'
base=https://localhost:$HTTPS_PORT
curl -fsk -m 20 "$base/health" >/dev/null || fail '/health'
version=$(curl -fsk -m 20 "$base/version") || fail '/version'
status=$(curl -sk -m 20 -o /dev/null -w '%{http_code}' -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1.0,2.0]}' "$base/predict")
[ "$status" = 201 ] || fail "POST /predict answers $status instead of 201."
status=$(curl -sk -m 20 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -d '{"features":[1.0,2.0]}' "$base/predict")
[ "$status" = 401 ] || [ "$status" = 403 ] || fail "POST /predict without a key answers $status."
"$home/scripts/service.sh" stop >"$work/log" 2>&1 || fail "The service does not stop: $(tail -n 5 "$work/log")"
started=
printf 'smoke: %s: 4 passed, 0 failed\n' "$version"
