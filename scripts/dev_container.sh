#!/usr/bin/env bash
# dev_container.sh: builds appcore, starts it, and does both again whenever a source file has changed: docker-compose.dev.yml
# runs it in a container, and it runs as well without one. A version that does not build leaves the former one running.
#
# Settings, data and sockets lie in DEV_STATE (default: here).
#
# What is watched: fcgi-app lib models nginx pipelines scripts docs Makefile. inotifywait tells of changes where it is there
# and the file system has them; every two seconds the times of the files are looked at besides, for those that have not.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 111
home=$PWD
state_dir=${DEV_STATE:-.}
watched=(fcgi-app lib models nginx pipelines scripts docs Makefile)
ending=

say() { printf '[dev] %s\n' "$*"; }

service() { (cd "$state_dir" && "$home/scripts/service.sh" "$@"); }

# What changes when a file does: names and times.
state() { find "${watched[@]}" -type f -printf '%p %T@ %s\n' 2>/dev/null | sort | sha256sum; }

wait_for_change() {
	local now
	while [ -z "$ending" ]; do
		now=$(state)
		[ "$now" = "$seen" ] || return 0
		if command -v inotifywait >/dev/null; then
			inotifywait -q -q -r -t 2 -e modify,create,delete,move "${watched[@]}" &
		else
			sleep 2 &
		fi
		wait "$!"
	done
}

build() {
	seen=$(state)
	if ! make -s -j"$(nproc)" all; then
		say 'It does not build; the former version goes on.'
		return 1
	fi
	say "Built $(build/release/appcore version | head -n 1)."
}

# shellcheck disable=SC2317  # called by the trap
stop() { ending=1; }
trap stop TERM INT HUP

until [ -n "$ending" ] || build; do wait_for_change; done
[ -n "$ending" ] || service start || exit
while wait_for_change && [ -z "$ending" ]; do
	say 'A source has changed.'
	# An editor writes several files: until nothing has changed for a moment.
	sleep 0.3
	build || continue
	service restart && service reload && say 'Restarted.'
done
service stop
