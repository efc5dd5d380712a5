#!/usr/bin/env bash
# rollback.sh [VERSION] [OPTION...]: goes back to the version before the last deploy, or to VERSION, which must be one that
# was kept (deploy.sh --versions), as carefully as deploy.sh goes forward: instance by instance, without a failed request.
# Migrations of the newer version are taken back afterwards, what they made is lost then; --keep-schema leaves them. A backup is
# made before. Options and exit codes are those of deploy.sh.
set -euo pipefail

case ${1:-} in
-h | --help)
	sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
	exit
	;;
esac
exec bash "$(dirname "$0")/deploy.sh" --rollback "$@"
