#!/usr/bin/env bash
# check_ports.sh: whether nginx's ports are free, before it starts; 100 and a sentence for each that is not. nginx itself would
# try five times, and systemd after it for ever. APPCORE_BIN names the program.
set -euo pipefail
home=$(cd "$(dirname "$0")/.." && pwd)

settings=$("${APPCORE_BIN:-$home/build/release/appcore}" config --shell) || exit "$?"
eval "$settings"

taken=0
check() { # SETTING PORT
	timeout 2 bash -c "exec 3<>/dev/tcp/127.0.0.1/$2" 2>/dev/null || return 0
	taken=1
	printf 'Port %d is in use (ss -ltnp names the program): end that, or choose another port with %s in /etc/appcore/appcore.env.\n' \
		"$2" "$1" >&2
}

check HTTPS_PORT "$HTTPS_PORT"
check HTTP_PORT "$HTTP_PORT"
for ((i = 0; i <= INSTANCES; i++)); do
	check DIRECT_PORT $((DIRECT_PORT + i))
done
[ "$taken" -eq 0 ] || exit 100
