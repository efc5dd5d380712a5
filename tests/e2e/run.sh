#!/usr/bin/env bash
# The functional end-to-end suite: nginx over TLS in front of real workers, asked by curl.
#
#   run.sh [--variant release|faults|asan|tsan] [--jobs N] [--keep] [TOPIC...]
#
# Every topic (TOPIC.sh beside this file) starts services of its own in a scratch directory on free ports and stops them
# when it ends, however it ends. Topics run N at a time (3); each prints one line per check. --keep leaves the scratch
# directory. Exit code: 0 when all checks passed, 1 when one did not, 100 for wrong arguments.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../.." && pwd)
variant=release
jobs=3
keep=
topics=()

while [ $# -gt 0 ]; do
	case $1 in
	--variant) variant=$2 && shift ;;
	--jobs) jobs=$2 && shift ;;
	--keep) keep=1 ;;
	[a-z]*) topics+=("$1") ;;
	*) sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" && exit 100 ;;
	esac
	shift
done
# Those that wait most come first.
[ "${#topics[@]}" -gt 0 ] ||
	topics=(lifecycle tasks events data_api accounts models train pipelines redis move evidence keys users data data_files ingest data_http limits settings logs nginx edge badinput inference metrics contract idempotency cors docs sentiment ${TEST_DATABASE_SERVER:+postgres})

binary=$home/build/$variant/appcore
if [ ! -x "$binary" ]; then
	echo "$binary is missing: run make VARIANT=$variant all" >&2
	exit 100
fi
tools=(curl jq sqlite3 openssl promtool nginx spawn-fcgi redis-server wrk /usr/bin/python3)
[ -z "${TEST_DATABASE_SERVER:-}" ] || tools+=(psql pg_dump)
for tool in "${tools[@]}"; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: run make deps" >&2 && exit 100; }
done

# A short path: unix sockets lie below it. The last part of a folder's name says whose it is.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/appcore-e2e.XXXXXX")
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"

running=()
finish() {
	local code=$? pid
	trap - EXIT INT TERM
	for pid in "${running[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
	for pid in "${running[@]}"; do wait "$pid" 2>/dev/null || true; done
	stop_everything_left
	if [ -n "$keep" ]; then echo "kept: $scratch"; else rm -rf "$scratch"; fi
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

"$home/scripts/make_certificate.sh" "$scratch/tls/cert.pem" "$scratch/tls/key.pem" >/dev/null

started=$SECONDS
declare -A pid_of=()
shown=0
show_finished() { # in the order of the topics, as far as they have ended
	local topic
	while [ "$shown" -lt "${#topics[@]}" ]; do
		topic=${topics[shown]}
		[ -e "$scratch/$topic.count" ] || return 0
		cat "$scratch/$topic.out"
		shown=$((shown + 1))
	done
}

for topic in "${topics[@]}"; do
	[ -e "$here/$topic.sh" ] || { echo "there is no topic $topic" >&2 && exit 100; }
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
		wait -n || true
		show_finished
	done
	run_topic "$topic" >"$scratch/$topic.out" 2>&1 &
	pid_of[$topic]=$!
	running+=("$!")
done
for topic in "${topics[@]}"; do
	wait "${pid_of[$topic]}" || true
	[ -e "$scratch/$topic.count" ] || printf '0 1\n' >"$scratch/$topic.count"
	show_finished
done
running=()

passed=0 failed=0
for topic in "${topics[@]}"; do
	read -r p f <"$scratch/$topic.count"
	passed=$((passed + p)) failed=$((failed + f))
done
echo "e2e: $passed passed, $failed failed ($variant${TEST_DATABASE_SERVER:+, PostgreSQL}, $((SECONDS - started)) s)"
[ "$failed" -eq 0 ]
