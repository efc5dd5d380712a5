#!/usr/bin/env bash
# The guides: links, alerts and names, and then their commands on a bare machine with the package of this tree. Without
# root, mmdebstrap or systemd-nspawn, and without what makes the package, these commands are skipped, which is said.
#
#   guides.sh [--static]     --static: no machine
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../.." && pwd)
# The tree's own Debian.
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

if [ "${1:-}" = --static ]; then
	exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/guides.py"
fi
if [ "$(id -u)" -ne 0 ] || ! command -v dpkg-buildpackage mmdebstrap systemd-nspawn >/dev/null; then
	echo 'skipped: their commands, for want of root, or of what "make deps-deploy" installs'
	exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/guides.py"
fi
package=$("$home/scripts/make_deb.sh" | tail -n 1)
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/guides.py" "$suite" "$home/$package"
