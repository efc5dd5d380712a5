# What nginx answers by itself is counted from its log, once: not what a worker answered, whoever reads, whatever rotates.
# shellcheck shell=bash disable=SC2154
service main RATE_LIMIT_PER_MINUTE=100 WORKERS=0 # which would end those that are stopped here

fetch() { curl -sS -4 --cacert "$scratch/tls/cert.pem" "$base/metrics" >"$dir/metrics"; }
all_counts() { # "413=1 429=7": every status
	fetch
	sed -n 's/^appcore_edge_responses_total{status="\(.*\)"} \(.*\)\.0$/\1=\2/p' "$dir/metrics" | sort | tr '\n' ' '
}
count() { # STATUS
	local counts
	counts=" $(all_counts)"
	[[ $counts =~ \ $1=([0-9]+)\  ]] && echo "${BASH_REMATCH[1]}" || echo 0
}
counts_are() { [ "$(all_counts)" = "$1" ]; }
count_is() { [ "$(count "$1")" = "$2" ]; }
readable_is() { fetch && grep -qx "appcore_edge_log_readable $1" "$dir/metrics"; }
settled() { # nginx writes its log once a second
	sleep 1.6
	all_counts
}
log=$dir/run/nginx/edge.log
total() { all_counts | tr ' ' '\n' | awk -F= '{ n += $2 } END { printf "%d", n }'; }

within 'the log can be read' 5 readable_is 1.0
# Those of the start: 502 while the workers were not there yet. They are counted when nothing has come for five seconds.
last='' quiet=0
while [ "$quiet" -lt 3 ]; do
	now=$(settled)
	if [ "$now" = "$last" ]; then quiet=$((quiet + 1)); else quiet=0; fi
	last=$now
done
before=$(count 502)

# --- each raises its counter by as many as were made ---

head -c 1100000 /dev/zero >"$dir/large"
for listener in "$base" "$clear" "$pool"; do
	req POST "$listener/predict" -H "X-API-Key: $key" -H 'Expect:' --data-binary "@$dir/large"
	is "413 (${listener##*:})" "$status" 413
done
is '404 for a folder of its own' "$(codes "$base/.appcore/[1-4]")" '404 404 404 404 '
is '301' "$(codes "$clear/x[1-5]")" '301 301 301 301 301 '
req GET "$base/predictions/%00"
is '400' "$status" 400
req PUT /metrics
is '405' "$status" 405
refused=$(count_of 429 "$(codes -Z --parallel-immediate --parallel-max 60 --interface 127.0.0.31 "$clear/version?[1-60]")")
like "nginx's zone refuses some" "$refused" '^[1-9]'
# Dead, and not started anew: no kept connection leads to it, and its socket refuses.
supervisor=$(sed -n 's/^supervisor \([0-9]*\) .*/\1/p' "$dir/run/appcore-1.pid")
kill -STOP "$supervisor"
kill -9 "$(worker_pid 1)"
is '502: the only worker of this port cannot be reached' "$(codes "$one/version?[1-6]")" '502 502 502 502 502 502 '
should="301=5 400=1 404=4 405=1 413=3 429=$refused 502=$((before + 6)) "
within 'as many in the metrics' 5 counts_are "$should"
is 'and no more later' "$(settled)" "$should"
holds 'promtool check metrics' promtool check metrics <"$dir/metrics"
is 'is silent' "$(promtool check metrics <"$dir/metrics" 2>&1)" ''

# --- what a worker answered is not counted: also not when it took a second try ---

codes "$pool/version?[1-40]" >"$dir/codes"
is 'half of them are tried again and succeed' "$(count_of 200 "$(cat "$dir/codes")")" 40
seen() { [[ $(jq -r .upstream_status "$dir/run/nginx/access.log" | sort -u) == *'502, 200'* ]]; }
within 'as nginx saw it' 5 seen
kill -CONT "$supervisor"
alive() { /usr/bin/python3 "$here/fcgi_client.py" "$1" GET /livez | grep -q alive; }
within 'the worker is there again' 5 alive "$dir/run/appcore-1.sock"
req GET /nope
is "a worker's 404" "$status" 404
req POST /predict
is "a worker's 401" "$status" 401
codes --interface 127.0.0.41 "$pool/version?[1-105]" >"$dir/codes"
is "a worker's 429" "$(count_of 429 "$(cat "$dir/codes")")" 5
req GET "$pool/nginx-health"
# Both workers stand still: one that goes on would end the other. A client that has not come to asking before it leaves is
# one that nginx has not seen: then another one leaves.
stand_still() {
	stopped=("$(worker_pid 2)" "$(worker_pid 1)")
	kill -STOP "${stopped[@]}"
}
saw_one_leave() {
	stand_still
	left=$(codes -m 0.5 "$two/version")
	kill -CONT "${stopped[@]}"
	sleep 1.2 # nginx writes its log once a second
	[ "$left" = '000 ' ] && grep -q '"status":499' "$dir/run/nginx/access.log"
}
within 'a client that goes away' 10 saw_one_leave
is 'none of these is counted' "$(settled)" "$should"
is 'nginx saw it: 499' "$(jq -r 'select(.status == 499) | .path' "$dir/run/nginx/access.log" | sort -u)" /version

# A worker that had the request and did not answer in time. nginx reads its configuration anew for that.
sed -i 's/fastcgi_read_timeout 30s/fastcgi_read_timeout 1s/' "$dir/run/nginx/conf/nginx.conf"
former=$(pgrep -P "$(cat "$dir/run/nginx/nginx.pid")" | xargs)
kill -HUP "$(cat "$dir/run/nginx/nginx.pid")"
none_accepts() { # of nginx's former workers
	local pid
	for pid in $former; do
		! grep -aq 'worker process' "/proc/$pid/cmdline" 2>/dev/null || grep -aq 'shutting down' "/proc/$pid/cmdline" || return 1
	done
}
within 'nginx has read it' 10 none_accepts
stand_still
is '504' "$(codes "$two/version")" '504 '
kill -CONT "${stopped[@]}"
within 'is counted' 5 counts_are "$should"'504=1 '

# --- one reader after the other ---

kill_readers() { # both workers, again and again
	while kill -0 $$; do
		kill -9 "$(worker_pid 1)" 2>/dev/null || true
		sleep 0.3
		kill -9 "$(worker_pid 2)" 2>/dev/null || true
		sleep 0.3
	done
}
before=$(count 301) last=0 back=
kill_readers &
killer=$!
for _ in 1 2 3 4 5 6 7 8; do
	codes "$clear/y[1-100]" >/dev/null
	n=$(total)
	[ "$n" -ge "$last" ] || back="from $last to $n"
	last=$n
	sleep 0.3
done
kill "$killer"
wait "$killer" 2>/dev/null || true
is 'readers are killed: the counts do not go back' "$back" ''
within 'and every line counts once' 8 count_is 301 $((before + 800))
settled >/dev/null
is 'also later' "$(count 301)" $((before + 800))
control restart >/dev/null
is 'workers that are replaced in turn count nothing anew' "$(count 301)" $((before + 800))

# --- rotation, as logrotate does it ---

before=$(count 301)
reopen() { kill -USR1 "$(cat "$dir/run/nginx/nginx.pid")"; }
codes "$clear/y[1-100]" >/dev/null
mv "$log" "$log.1"
codes "$clear/y[1-100]" >/dev/null
reopen
codes "$clear/y[1-100]" >/dev/null
within 'renamed under load: every line counts' 10 count_is 301 $((before + 300))
cp "$log" "$log.2"
: >"$log"
codes "$clear/y[1-50]" >/dev/null
within 'copied and truncated: what comes after counts' 5 count_is 301 $((before + 350))
rm "$log"
within 'gone: the gauge says so' 5 readable_is 0.0
reopen
codes "$clear/y[1-50]" >/dev/null
within 'a new one counts' 10 count_is 301 $((before + 400))
within 'and is readable' 5 readable_is 1.0
is 'once' "$(settled >/dev/null; count 301)" $((before + 400))

# --- over a stop of everything ---

should=$(count 301)
control stop >/dev/null
start
within 'after a stop and a start the counts go on' 5 count_is 301 "$should"
codes "$clear/y[1-10]" >/dev/null
within 'from there' 5 count_is 301 $((should + 10))

# --- another path, and one that cannot be read ---

service elsewhere EDGE_LOG=logs/own.log
codes "$clear/y[1-7]" >/dev/null
within 'EDGE_LOG is where nginx writes and workers read' 5 count_is 301 7
like 'lines of time and status' "$(tail -n 1 "$dir/logs/own.log")" '^[0-9]{10}\.[0-9]{3} [0-9]{3}$'
control stop >/dev/null
rm "$dir/logs/own.log"
mkfifo "$dir/logs/own.log"
(cd "$dir" && exec env -i PATH="$PATH" "${settings[@]}" API_KEY=x INSTANCE_ID=API-9 \
	spawn-fcgi -n -s "$dir/run/own.sock" -- "$binary" serve) >"$dir/own.out" 2>&1 &
alone=$!
told() { grep -q 'What nginx answers by itself is not counted' "$dir/own.out"; }
within 'a worker that cannot read it says so' 5 told
within 'and works' 5 alive "$dir/run/own.sock"
is 'once' "$(sleep 1; grep -c 'is not counted' "$dir/own.out")" 1
kill -TERM "$alone"
wait "$alone" || true
