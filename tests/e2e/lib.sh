# What the topics share: services on free ports, requests, checks. Sourced by run.sh, which sets home, scratch, binary,
# variant.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # variables are for the topics, or of run.sh

has_faults() { [ "$variant" != release ]; }
is_sanitized() { [ "$variant" = asan ] || [ "$variant" = tsan ]; }

# --- checks ---------------------------------------------------------------------------------------------------------

passed=0
failed=0

ok() { # NAME
	passed=$((passed + 1))
	printf 'ok   %-12s %s\n' "$topic" "$1"
}

not_ok() { # NAME [DETAIL...]
	failed=$((failed + 1))
	printf 'FAIL %-12s %s\n' "$topic" "$1"
	shift
	[ $# -eq 0 ] || printf '       %.600s\n' "$@"
}

is() { # NAME ACTUAL EXPECTED
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "is:     $2" "should: $3"; fi
}

like() { # NAME ACTUAL EXTENDED-REGULAR-EXPRESSION
	if [[ $2 =~ $3 ]]; then ok "$1"; else not_ok "$1" "is:          $2" "should match $3"; fi
}

unlike() { # NAME ACTUAL EXTENDED-REGULAR-EXPRESSION
	if [[ $2 =~ $3 ]]; then not_ok "$1" "is:              $2" "should not match $3"; else ok "$1"; fi
}

holds() { # NAME COMMAND...
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$* failed: $output"; fi
}

at_most() { # NAME NUMBER LIMIT
	if [ "$2" -le "$3" ]; then ok "$1"; else not_ok "$1" "is $2, should be at most $3"; fi
}

# A condition is given three times as long as it should take, and half a minute at the least: what is tested is that it comes
# true, on a busy machine, too.
within() { # NAME SECONDS COMMAND...: until it succeeds
	local name=$1 deadline=$((${EPOCHREALTIME/[.,]/} + ($2 > 10 ? $2 : 10) * 3000000))
	shift 2
	until "$@" >/dev/null 2>&1; do
		if [ "${EPOCHREALTIME/[.,]/}" -gt "$deadline" ]; then
			not_ok "$name" "$* did not succeed in time"
			return 0
		fi
		sleep 0.05
	done
	ok "$name"
}

# --- services -------------------------------------------------------------------------------------------------------

services=()
helpers=() # processes of the topic's own: killed when it ends

port_is_free() { ! grep -qi ":$(printf '%04X' "$1") [0-9A-F:]* 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null; }

# take_ports: $port is the first of ten that nobody listens on and that no other topic was given. Tests that run beside
# this one are given others: a list for all of a user's tests has lines of a first port, a number of ports, and the process
# that has them; faults/harness.py reads and writes it, too.
take_ports() {
	local list=/tmp/appcore-test-ports.$UID i free first n pid taken=()
	exec 8>>"$list"
	flock 8
	while read -r first n pid; do
		[ ! -e "/proc/$pid" ] || taken+=("$first $n $pid")
	done <"$list"
	port=$(cat "$scratch/ports" 2>/dev/null || echo $((12000 + $$ % 1500 * 10)))
	while :; do
		port=$((port + 10))
		[ "$port" -lt 32000 ] || port=12000
		free=1
		for i in 0 1 2 3 4 5 6 7 8 9; do
			port_is_free $((port + i)) || free=
		done
		for i in "${taken[@]}"; do
			read -r first n pid <<<"$i"
			[ "$port" -ge $((first + n)) ] || [ $((port + 10)) -le "$first" ] || free=
		done
		[ -z "$free" ] || break
	done
	echo "$port" >"$scratch/ports"
	printf '%s\n' "${taken[@]}" "$port 10 $$" | sed '/^$/d' >"$list"
	exec 8>&-
}

# new_service NAME [SETTING=VALUE...]: a folder with settings, not started. Limits are off unless asked for.
new_service() {
	local port
	dir=$scratch/$topic-$1
	shift
	mkdir -p "$dir"
	take_ports
	settings=(HTTPS_PORT=$((port + 8)) HTTP_PORT=$((port + 9)) DIRECT_PORT="$port" RATE_LIMIT_PER_MINUTE=0
		TLS_CERTIFICATE="$scratch/tls/cert.pem" TLS_KEY="$scratch/tls/key.pem" APPCORE_BIN="$binary"
		ASAN_OPTIONS=abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1)
	if on_postgres; then
		make_database "${dir##*-}"
		settings+=(DATABASE_URL="$TEST_DATABASE_SERVER/$database")
	fi
	settings+=("$@")
	services+=("$dir")
	printf '%s\n' "$dir" >>"$scratch/services"
	know_service
}

know_service() {
	local setting
	printf '%s\n' "${settings[@]}" >"$dir/settings"
	for setting in "${settings[@]}"; do
		case $setting in
		HTTPS_PORT=*) https=${setting#*=} ;;
		HTTP_PORT=*) http=${setting#*=} ;;
		DIRECT_PORT=*) direct=${setting#*=} ;;
		DATABASE_URL=*) database_url=${setting#*=} database=${setting##*/} ;;
		esac
	done
	base=https://localhost:$https
	clear=http://localhost:$http
	pool=http://localhost:$direct
	one=http://localhost:$((direct + 1))
	two=http://localhost:$((direct + 2))
	key=$(sed -n 's/^API_KEY=//p' "$dir/.env" 2>/dev/null | tail -n 1) || true
}

use() { # NAME: of a service that was made before
	dir=$scratch/$topic-$1
	mapfile -t settings <"$dir/settings"
	know_service
}

in_service() { # COMMAND...: in the service's folder, with its settings and nothing else
	(cd "$dir" && exec env -i PATH="$PATH" HOME="${HOME:-/}" "${settings[@]}" "$@" 8>&-)
}

appcore() { in_service "$binary" "$@"; }
control() { in_service "$home/scripts/service.sh" "$@"; }

start() { # starts the service; its failure ends the topic
	if ! control start >"$dir/start.out" 2>&1; then
		not_ok "the service starts" "$(cat "$dir/start.out")"
		exit 1
	fi
	know_service
}

service() { # NAME [SETTING=VALUE...]: made and started
	new_service "$@"
	start
}

stop_service() { # DIRECTORY
	local pid
	[ -d "$1" ] || return 0
	# shellcheck disable=SC2046  # one word or none
	(cd "$1" && env -i PATH="$PATH" $(grep '^RUN_DIR=' settings 2>/dev/null || true) "$home/scripts/service.sh" stop) \
		>"$1/stop.out" 2>&1 || true
}

find_sanitizer_reports() { # DIRECTORY
	grep -lE 'ERROR: (Address|Leak|Undefined)|WARNING: ThreadSanitizer|runtime error:' -r "$1/run/log" 2>/dev/null
}

stop_everything_left() { # by run.sh, for topics that did not get to it
	local left
	[ -e "$scratch/services" ] || return 0
	while read -r left; do stop_service "$left"; done <"$scratch/services"
}

worker_pid() { # INDEX
	sed -n 's/^worker \([0-9]*\) .*/\1/p' "$dir/run/appcore-$1.pid"
}

# --- the database ---------------------------------------------------------------------------------------------------

# With TEST_DATABASE_SERVER=postgresql://user:password@host:port every service has a database of its own on that server
# instead of a file. What the topics ask of it is SQL that both read; the rest stands here, or is skipped.
on_postgres() { [ -n "${TEST_DATABASE_SERVER:-}" ]; }
server() { psql -X -A -t -q -v ON_ERROR_STOP=1 "$TEST_DATABASE_SERVER/postgres" -c "$1"; } # SQL
skip() { printf 'skip %-12s %s\n' "$topic" "$1"; }                                       # WHAT, WHY

make_database() { # NAME
	database=${scratch##*.}_${topic}_$1
	database=e2e_${database,,}
	server "CREATE DATABASE $database"
	databases+=("$database")
}
# An autovacuum that is in it may not be ended by us, but ends soon.
drop_database() { # NAME
	local tries=20
	until server "DROP DATABASE IF EXISTS $1 WITH (FORCE)" 2>/dev/null; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.5
	done
}
drop_databases() { # those of this topic
	local database
	for database in "${databases[@]}"; do drop_database "$database"; done
}

sql() { # SELECT: rows as lines, columns with | between them
	if on_postgres; then
		psql -X -A -t -q -v ON_ERROR_STOP=1 "$database_url" -c "$1"
	else
		sqlite3 -readonly -cmd '.timeout 30000' "$dir/data/predictions.db" "$1"
	fi
}
change() { # [SQL]: that changes rows; without it from standard input
	if on_postgres; then
		psql -X -q -v ON_ERROR_STOP=1 -f - "$database_url" >/dev/null
	else
		sqlite3 -bail -cmd '.timeout 30000' -cmd 'PRAGMA wal_autocheckpoint=0' "$dir/data/predictions.db" >/dev/null
	fi < <(if [ $# -gt 0 ]; then printf '%s;\n' "$1"; else cat; fi)
}
rows() { sql 'SELECT count(*) FROM predictions'; }
schema() { # of all tables, as text
	if on_postgres; then
		pg_dump --schema-only "$database_url" | grep -vE '^(--|\\|$)'
	else
		sqlite3 -readonly "$dir/data/predictions.db" .schema
	fi
}
dump() { # schema and rows, as text
	if on_postgres; then pg_dump "$database_url"; else sqlite3 -readonly "$dir/data/predictions.db" .dump; fi
}
has_table() { # NAME
	if on_postgres; then
		sql "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = '$1'"
	else
		sql "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '$1'"
	fi
}
empty_database() { # as if there had never been one
	if on_postgres; then
		drop_database "$database"
		server "CREATE DATABASE $database"
	else
		rm -r "$dir/data"
	fi
}

# --- requests -------------------------------------------------------------------------------------------------------

# req METHOD URL-OR-PATH [CURL OPTIONS...]: sets $status, $body (byte by byte, up to a NUL) and the array h of headers,
# names in lower case. A path is asked for over TLS. Status 000: no answer.
req() {
	local method=$1 url=$2
	shift 2
	case $url in /*) url=$base$url ;; esac
	case $method in
	HEAD) set -- -I "$@" ;;
	*) set -- -X "$method" "$@" ;;
	esac
	: >"$dir/head"
	: >"$dir/body"
	status=$(curl -sS -4 -g -m 60 --cacert "$scratch/tls/cert.pem" -D "$dir/head" -o "$dir/body" -w '%{http_code}' \
		"$@" "$url" 2>"$dir/curl.err") || status=${status:-000}
	read_answer
	[ "$method" != HEAD ] || body=''
}
declare -A h=()

read_answer() { # from the files that curl wrote; of several answers the last
	local line
	IFS= read -r -d '' body <"$dir/body" || true
	h=()
	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		HTTP/*) h=() ;;
		?*:*) h[${line%%:*}]=${line#*: } ;;
		esac
	done < <(sed 's/^[^:]*:/\L&/' "$dir/head")
}

# All requests of a URL with a [1-N] glob at once, however slow the machine; the first that nginx refused as req leaves it.
refused_of() { # CURL ARGUMENTS...
	local answer
	status=none body='' h=()
	rm -rf "$dir/refused"
	mkdir "$dir/refused"
	curl -sS -4 -Z --parallel-immediate --parallel-max 100 -m 60 --cacert "$scratch/tls/cert.pem" -i -o "$dir/refused/#1" "$@" 2>"$dir/curl.err" || true
	answer=$(grep -l '^HTTP/[0-9.]* 429' "$dir/refused"/* | head -n 1) || true
	[ -n "$answer" ] || return 0
	status=429
	sed '/^\r$/q' "$answer" >"$dir/head"
	sed '1,/^\r$/d' "$answer" >"$dir/body"
	read_answer
}

post() { # JSON [CURL OPTIONS...]: POST /predict with the key
	local json=$1
	shift
	req POST /predict -H "X-API-Key: $key" -H 'Content-Type: application/json' --data-binary "$json" "$@"
}

answer() { # NAME STATUS BODY: what the last request was answered
	is "$1" "$status $body" "$2 $3"
}

key_answers() { # KEY STATUS: both workers answer a prediction with it so
	local listener
	for listener in "$one" "$two"; do
		req POST "$listener/predict" -H "X-API-Key: $1" -H 'Content-Type: application/json' -d '{"features":[1]}'
		[ "$status" = "$2" ] || return 1
	done
}

codes() { # CURL ARGUMENTS...: "200 200 429 ..." for a URL with a [1-N] glob
	curl -sS -4 -m 60 --cacert "$scratch/tls/cert.pem" -o /dev/null -w '%{http_code} ' "$@" 2>/dev/null || true
}

count_of() { # WORD LIST: how often the word is in the list
	local word=$1 n=0 w
	for w in $2; do [ "$w" != "$word" ] || n=$((n + 1)); done
	echo "$n"
}

raw() { # PORT BYTES (printf's %b): sends them over TCP as they are; the answer's bytes, NULs dropped
	{
		exec 7<>"/dev/tcp/127.0.0.1/$1"
		printf '%b' "$2" >&7
		timeout 30 cat <&7 || true
		exec 7>&-
	} 2>/dev/null | tr -d '\0'
}

# --- topics ---------------------------------------------------------------------------------------------------------

end_topic() {
	local left
	trap - EXIT ERR
	set +e
	[ -n "$finished" ] || not_ok 'the topic runs to its end' "$where" "$(tail -n 3 "$dir/curl.err" 2>/dev/null)"
	[ "${#helpers[@]}" -eq 0 ] || kill -9 "${helpers[@]}" 2>/dev/null
	for left in "${services[@]}"; do
		stop_service "$left"
		left=$(find_sanitizer_reports "$left") && not_ok 'no sanitizer reports' "$left" "$(grep -hE -A12 'ERROR: |WARNING: Th|runtime error' "$left" | head -n 40)"
	done
	drop_databases
	printf '%s %s\n' "$passed" "$failed" >"$scratch/$topic.count"
}

run_topic() ( # NAME
	topic=$1
	services=() helpers=()
	databases=()
	finished='' where='an unset variable, or a signal'
	set -eEuo pipefail
	trap end_topic EXIT
	trap 'where="line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND"' ERR
	trap 'exit 130' TERM
	# shellcheck disable=SC1090
	. "$here/$topic.sh"
	finished=1
)
