#!/usr/bin/env bash
# What became of one request: its lines in the logs of nginx, of the instances, and of the workers that did what it asked for.
#
#   logs.sh ID                 lines with this id: a request's (X-Request-ID), a trace's, a prediction's, a task's, a run's
#   logs.sh --since WHEN       all lines since then: 30s, 10m, 2h, 7d, or a time as date -d reads it
#   logs.sh ID --since WHEN    both (without: what the journal has of the last day, and files that are not compressed)
#
#   --json         a line is {"time": …, "source": …, "line": …}
#   --file FILE    look here as well; - is standard input (docker compose logs --no-color --no-log-prefix | logs.sh ID --file -)
#
# On a machine with appcore's units: the journal and /var/log/appcore. Beside a service of `make start`: RUN_DIR/log and
# RUN_DIR/nginx. Lines come in the order of time; nginx's own know only the second, and stand at its beginning.
#
# One id leads to others: nginx's line has the id that the request got at the edge, the worker's the one that what the
# request made has been given ("identity"), and a task's lines have it as task_id. nginx's errors have no id: of a request that
# failed, or was tried twice, those of the same client, path and second are shown.
#
# Exit codes: 0 there were lines, 1 there were none, 100 something to correct by the caller, 111 something of the system's.
set -euo pipefail
export LC_ALL=C TZ=${TZ:-}
[ -n "$TZ" ] || unset TZ

fail() {
	printf '%s\n' "$*" >&2
	exit "${code:-100}"
}
unset code # an inherited one is not ours
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# --- what is asked for ----------------------------------------------------------------------------------------------

id='' since='' json='' files=()
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--json) json=1 ;;
	--since | --file)
		if [ $# -lt 2 ] || [ -z "$2" ]; then fail "$1 wants a value: see logs.sh --help."; fi
		if [ "$1" = --since ]; then since=$2; else files+=("$2"); fi
		shift
		;;
	--)
		shift
		if [ $# -ne 1 ] || [ -n "$id" ]; then fail 'After -- there is one id: see logs.sh --help.'; fi
		id=$1
		;;
	-*) fail "There is no option $(printf '%.40q' "$1"): see logs.sh --help." ;;
	*)
		[ -z "$id" ] || fail 'One id at a time: see logs.sh --help.'
		id=$1
		[ -n "$id" ] || fail 'The id is empty.'
		;;
	esac
	shift
done
if [ -z "$id" ] && [ -z "$since" ]; then
	usage >&2
	exit 100
fi
# What nginx takes for an id of a request; ids of appcore's own are among these.
if [ -n "$id" ] && ! [[ $id =~ ^[A-Za-z0-9._-]{1,128}$ ]]; then
	fail 'That is no id: it has 1 to 128 of A-Z a-z 0-9 . _ - and nothing else.'
fi

from=0
if [[ $since =~ ^([0-9]{1,9})([smhd])$ ]]; then
	declare -A seconds=([s]=1 [m]=60 [h]=3600 [d]=86400)
	from=$((EPOCHSECONDS - BASH_REMATCH[1] * ${seconds[${BASH_REMATCH[2]}]}))
elif [ -n "$since" ]; then
	from=$(date -d "$since" +%s 2>/dev/null) || fail "--since wants 30s, 10m, 2h, 7d, or a time such as \"2026-11-22 10:00\"."
fi

# --- where to look --------------------------------------------------------------------------------------------------

env_value() { # FILE NAME: its last value there
	[ -r "$1" ] || return 0
	sed -n "s/^ *\(export  *\)\{0,1\}$2 *= *//p" "$1" | tail -n 1 | sed "s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/"
}

# Those that were rotated, too: compressed ones when somebody asks for a time. None, unless written to since then.
add_logs() { # PATH
	local file
	for file in "$1" "$1".[0-9]* "$1"-[0-9]*; do
		[ -f "$file" ] || continue
		case $file in *.gz) [ -n "$since" ] || continue ;; esac
		[ -r "$file" ] || code=111 fail "$file cannot be read by $(id -un): become root, or a member of the group appcore."
		if [ "$(stat -c %Y "$file")" -ge "$from" ]; then logs+=("$file"); fi
	done
}

journal='' logs=()
run_dir=${RUN_DIR:-$(env_value .env RUN_DIR)}
run_dir=${run_dir:-run}
log_file=${LOG_FILE:-}
if [ -d "$run_dir/log" ] && [ -d "$run_dir/nginx" ]; then # in /, run/log is the journal's
	log_file=${log_file:-$(env_value .env LOG_FILE)}
	for file in "$run_dir"/log/appcore-*.log; do add_logs "$file"; done
	nginx_dir=$run_dir/nginx
elif nginx_dir=${NGINX_LOG_DIR:-/var/log/appcore} && [ -d "$nginx_dir" ] && command -v journalctl >/dev/null; then
	[ -r "$nginx_dir" ] || code=111 fail "$nginx_dir cannot be read by $(id -un): become root, or a member of the groups appcore and systemd-journal."
	if grep -q 'insufficient permissions' < <(journalctl --no-pager -n 1 2>&1); then
		code=111 fail "The journal cannot be read by $(id -un): become root, or a member of the group systemd-journal."
	fi
	log_file=${log_file:-$(env_value /etc/appcore/appcore.env LOG_FILE)}
	journal=1
elif [ "${#files[@]}" -gt 0 ]; then
	nginx_dir=
else
	fail "There is no service here: go to the folder of \`make start\`, set RUN_DIR, or name logs with --file."
fi
[ -z "$log_file" ] || add_logs "$log_file"
if [ -n "$nginx_dir" ]; then
	add_logs "$nginx_dir/access.log"
	add_logs "$nginx_dir/error.log"
fi

scratch=$(mktemp -d) || code=111 fail 'No file can be made in the folder for temporary files: is the disk full?'
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
for i in "${!files[@]}"; do
	if [ "${files[i]}" = - ]; then
		cat >"$scratch/input" || code=111 fail 'Standard input does not fit into the folder for temporary files.'
		logs+=("$scratch/input")
	else
		if [ ! -f "${files[i]}" ] || [ ! -r "${files[i]}" ]; then fail "$(printf '%.200q' "${files[i]}") cannot be read."; fi
		logs+=("${files[i]}")
	fi
done

# --- lines ----------------------------------------------------------------------------------------------------------

of_journal() { # only what is appcore's; each line begins with its time in seconds since 1970
	journalctl --no-pager -q -o short-unix -u 'appcore*' --since "@$([ "$from" -gt 0 ] && echo "$from" || echo $((EPOCHSECONDS - 86400)))"
}

# lines FILTER...: those that the filter (a grep) lets through, each after the name of its source and a tab.
lines() {
	local file
	[ -z "$journal" ] || of_journal | "$@" | sed $'s/^/journal\t/' || true
	for file in "${logs[@]}"; do
		case $file in
		*.gz) gzip -dc -- "$file" ;;
		*) cat -- "$file" ;;
		esac | "$@" | sed "s/^/$(name_of "$file")"$'\t/' || true
	done
}

name_of() { # FILE: of its lines, where they don't say it themselves
	case ${1##*/} in
	access.log*) echo nginx-access ;;
	error.log*) echo nginx-error ;;
	*) echo appcore ;;
	esac
}

# Each field that has an id in it, in all lines of standard input: "name value".
ids_in() {
	grep -oE '"(request_id|edge_id|identity|task_id|trace_id)":"[A-Za-z0-9._-]{1,128}"' | tr -d '"' | tr ':' ' ' | sort -u
}

# An id made of the one at the edge: the same 74 bits behind the time (RFC 9562, version 7).
tail_of() { # EDGE-ID
	local x=$1 digits=89ab
	printf '7%s-%s%s-%s' "${x:1:3}" "${digits:$((16#${x:4:1} % 4)):1}" "${x:5:3}" "${x:8:12}"
}

# The patterns of an id in whatever field; quotes inside of texts are escaped, so none can be made up.
patterns_of() { # ID
	local id=${1//./\\.} name
	for name in request_id edge_id identity task_id trace_id; do printf '"%s":"%s"\n' "$name" "$id"; done
	if [[ $1 =~ ^[0-9a-f]{32}$ ]]; then
		printf '"(identity|task_id)":"[0-9a-f]{8}-[0-9a-f]{4}-%s"\n' "$(tail_of "$1")"
	fi
}

# From the id that was asked for to all that belong to it, and their lines. A trace may hold many requests: those are
# shown, but it is not gone on from a request to the others of its trace.
find_lines() {
	local name value rounds=4 # an id, its request, what that made, and nothing more
	local -A known=([$id]=1)
	patterns_of "$id" >"$scratch/patterns"
	while [ "$rounds" -gt 0 ]; do
		rounds=$((rounds - 1))
		lines grep -E -f "$scratch/patterns" >"$scratch/found"
		local grown=
		while read -r name value; do
			if [ "$name" = trace_id ] || [ -n "${known[$value]:-}" ]; then continue; fi
			known[$value]=1 grown=1
			patterns_of "$value" >>"$scratch/patterns"
		done < <(ids_in <"$scratch/found")
		[ -n "$grown" ] || break
	done
}

# nginx's own errors about the requests that were found: of those that went wrong, or were tried twice.
find_errors() {
	local line client asked
	grep -E $'^nginx-access\t.*("status":[045]|"upstream_status":"[^"]*,)' "$scratch/found" >"$scratch/access" || return 0
	while IFS= read -r line; do
		client=$(field remote_addr "$line")
		asked="$(field method "$line") $(field path "$line")"
		lines grep -F -e "request: \"$asked " -e "request: \"$asked?" | grep $'^nginx-error\t' | grep -F "client: $client," |
			with_time | near "$(printf '%s\n' "$line" | with_time)" | cut -f 2- >>"$scratch/found" || true
	done < <(head -n 100 "$scratch/access")
	sort -u -o "$scratch/found" "$scratch/found"
}

field() { # NAME LINE: a text in a JSON line, with what JSON escapes in paths given back
	local rest=${2#*"\"$1\":\""}
	[ "$rest" != "$2" ] || return 0
	printf '%s' "${rest%%\"*}" | sed 's|\\/|/|g'
}

# Those within the seconds that the request of LINE took.
near() { # LINE with its time
	local took=${1#*\"request_time\":}
	[ "$took" != "$1" ] || took=0
	awk -F '\t' -v at="${1%%$'\t'*}" -v took="${took%%[,\}]*}" '$1 >= at - took - 1 && $1 <= at + 1'
}

# SOURCE <tab> LINE becomes TIME <tab> SOURCE <tab> LINE: seconds since 1970, and the source as the line has it. Times are
# those of the workers (UTC, "2026-11-22 10:00:00,123"), of access.log ("2026-11-22T10:00:00+01:00"), of error.log
# ("2026/11/22 10:00:00", this machine's) and of the journal.
with_time() {
	awk -F '\t' -v zone="$(date +%z)" '
		function days(y, m, d) { # since 1970-01-01
			if (m <= 2) { y--; m += 12 }
			return 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * (m - 3) + 2) / 5) + d - 719469
		}
		function stamp(t, offset) { # "YYYY-MM-DD HH:MM:SS"
			return days(substr(t, 1, 4) + 0, substr(t, 6, 2) + 0, substr(t, 9, 2) + 0) * 86400 + substr(t, 12, 2) * 3600 \
				+ substr(t, 15, 2) * 60 + substr(t, 18, 2) - offset
		}
		function offset_of(z) { # "+01:00" or "+0100"
			gsub(":", "", z)
			return (substr(z, 1, 1) == "-" ? -1 : 1) * (substr(z, 2, 2) * 3600 + substr(z, 4, 2) * 60)
		}
		function text(name, line,    at, rest) {
			at = index(line, "\"" name "\":\"")
			if (!at) return ""
			rest = substr(line, at + length(name) + 4)
			return substr(rest, 1, index(rest, "\"") - 1)
		}
		{
			source = $1; line = substr($0, length($1) + 2); time = last
			if (source == "journal" && match(line, /^[0-9]+\.[0-9]+ /)) {
				time = substr(line, 1, RLENGTH - 1)
				rest = substr(line, RLENGTH + 1)
				sub(/^[^ ]* /, "", rest)
				source = rest; sub(/(\[[0-9]+\])?: .*/, "", source)
				sub(/^[^ ]*: /, "", rest)
				line = rest
			}
			when = text("timestamp", line)
			if (when ~ /^[0-9-]+T[0-9:]+[+-][0-9:]+$/) time = stamp(when, offset_of(substr(when, 20)))
			else if (when ~ /^[0-9-]+ [0-9:]+,[0-9]+$/) time = stamp(when, 0) + substr(when, 21) / 1000
			else if (line ~ /^[0-9]+\/[0-9]+\/[0-9]+ [0-9:]+ /) time = stamp(line, offset_of(zone))
			instance = text("instance", line)
			if (instance != "") source = instance
			else if (text("logger", line) == "nginx") source = "nginx-access"
			if (source !~ /^[A-Za-z0-9._@-]+$/) source = "appcore"
			last = time
			printf "%.6f\t%s\t%s\n", time, source, line
		}'
}

show() {
	sort -s -n -k 1,1 | awk -F '\t' -v from="$from" -v json="$json" '
		function two(n) { return sprintf("%02d", n) }
		function iso(t,    day, s, z, era, doe, yoe, y, doy, mp, d, m) { # civil time of a day number (H. Hinnant)
			day = int(t / 86400); s = t - day * 86400
			z = day + 719468; era = int(z / 146097); doe = z - era * 146097
			yoe = int((doe - int(doe / 1460) + int(doe / 36524) - int(doe / 146096)) / 365)
			doy = doe - (365 * yoe + int(yoe / 4) - int(yoe / 100)); mp = int((5 * doy + 2) / 153)
			d = doy - int((153 * mp + 2) / 5) + 1; m = mp < 10 ? mp + 3 : mp - 9
			y = yoe + era * 400 + (m <= 2)
			return sprintf("%04d-%02d-%02dT%02d:%02d:%06.3fZ", y, m, d, int(s / 3600), int(s % 3600 / 60), s - int(s / 60) * 60)
		}
		function quoted(s) {
			gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); gsub(/\t/, "\\t", s); gsub(/[\001-\037\177]/, "?", s)
			return "\"" s "\""
		}
		$1 < from { next }
		{
			line = substr($0, length($1) + length($2) + 3)
			gsub(/[\001-\010\013-\037\177]/, "?", line) # nobody writes to the terminal through a log
			if (json) printf "{\"time\":\"%s\",\"source\":\"%s\",\"line\":%s}\n", iso($1), $2, line ~ /^\{.*\}$/ ? line : quoted(line)
			else printf "%s %-12s %s\n", iso($1), $2, line
			n++
		}
		END { exit n == 0 }'
}

if [ -n "$id" ]; then
	find_lines
	find_errors
else
	lines cat >"$scratch/found"
fi
if ! with_time <"$scratch/found" | show; then
	code=1 fail "Nothing was found${id:+ of $id}: nginx and the workers write once a second; older lines may be found with --since."
fi
