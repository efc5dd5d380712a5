# Starting and stopping: twice, beside others, in folders of all kinds, and what is left afterwards.
# shellcheck shell=bash disable=SC2154

say() { # VERB: sets $code and $output
	code=0
	output=$(control "$1" 2>&1) || code=$?
}
pids() { cat "$dir"/run/appcore-*.pid "$dir/run/nginx/nginx.pid" 2>/dev/null | awk '{ print $2 ? $2 : $1 }' | tr '\n' ' '; }
left() { pgrep -f -- "$dir/run" 2>/dev/null | tr '\n' ' ' || true; } # processes that name the folder: nginx, the workers' sockets

new_service main TLS_CERTIFICATE= TLS_KEY=
say status
is 'status before the first start' "$code" 3
say stop
is 'stop before the first start does nothing' "$code $output" '0 appcore is not running.'
say start
is 'the first start' "$code" 0
like 'it prints what to do next' "$output" "curl -k https://localhost:$https/predict -H 'X-API-Key: ak_"
know_service
is '.env with a key, 0600 (A-088)' "$(stat -c %a "$dir/.env") ${#key}" "600 $((3 + 43))"
if on_postgres; then
	skip 'the database in the data folder (A-061): it is on the server'
else
	is 'the data folder was made (A-061)' "$(test -s "$dir/data/predictions.db" && echo yes)" yes
fi
is 'nobody else may read it' "$(stat -c %a "$dir/data" "$dir/run/tls/key.pem" | tr '\n' ' ')" '700 600 '
req GET /version --cacert "$dir/run/tls/cert.pem"
is 'it serves with a certificate of its own' "$status" 200
post '{"features":[1]}' --cacert "$dir/run/tls/cert.pem"
is 'and the key of .env' "$status" 201
say status
is 'status' "$code $(grep -c ' yes$' <<<"$output")" '0 4'

before=$(pids)
say start
is 'a second start does no harm' "$code ${output%%$'\n'*} $(pids)" "0 appcore is already running. $before"

# --- another service on the same ports ---

taken=$direct
new_service neighbour "HTTPS_PORT=$https" "HTTP_PORT=$http" "DIRECT_PORT=$taken"
say start
like 'taken ports: says which and who, all of them' "$code $output" "^100 .*Port $https is taken by another program \(pid [0-9]+, nginx\).*Port $http is taken.*Port $taken is taken.*Port $((taken + 1)) is taken"
is 'and starts nothing' "$(pids)" ''
use main
is 'the first goes on' "$(pids)" "$before"

# --- parts that die ---

worker=$(worker_pid 1)
kill -9 "$worker"
replaced() { [ "$(worker_pid 1)" != "$worker" ] && req GET "$one/version" && [ "$status" = 200 ]; }
within 'a worker that dies is replaced' 5 replaced
supervisor=$(sed -n 's/^supervisor \([0-9]*\) .*/\1/p' "$dir/run/appcore-2.pid")
kill -9 "$supervisor"
part() {
	say status
	[ "$code" -eq 1 ]
}
within 'without a supervisor the status is 1' 5 part
say start
is 'start makes it whole' "$code" 0
say status
is 'it is whole' "$code" 0

# --- restart, reload, stop ---

before=$(pids)
say restart
like 'restart' "$code $output" '^0 API-1 has restarted\..*API-2 has restarted\.'
is 'the workers are others' "$([ "$(pids)" != "$before" ] && echo other)" other
say reload
is 'reload' "$code" 0
id=$(curl -sS -4 "$pool/predictions" | jq -r '.[0].id')
say stop
is 'stop' "$code $output" '0 appcore has stopped.'
is 'nothing is left' "$(left)$(ls "$dir"/run/*.pid "$dir"/run/*.sock 2>/dev/null || true)" ''
say stop
is 'stop again does nothing' "$code $output" '0 appcore is not running.'
say status
is 'status says 3' "$code" 3
say restart
is 'restart of what does not run' "$code" 3

(control start >"$dir/twice1" 2>&1; echo $? >"$dir/code1") &
(control start >"$dir/twice2" 2>&1; echo $? >"$dir/code2") &
wait
is 'two starts at once: both are content' "$(cat "$dir/code1" "$dir/code2" | tr '\n' ' ')" '0 0 '
is 'and one of them did it' "$(cat "$dir/twice1" "$dir/twice2" | grep -c 'already running')" 1
req GET "$pool/predictions/$id"
is 'what was stored is still there' "$status" 200
say stop

# --- run: in front, until Ctrl-C ---

setsid env -C "$dir" -i PATH="$PATH" "${settings[@]}" "$home/scripts/service.sh" run >"$dir/run.out" 2>&1 &
runner=$!
up() { req GET "$pool/version" && [ "$status" = 200 ] && grep -q 'Ctrl-C' "$dir/run.out"; }
within 'run serves' 15 up
shows() { req GET "$pool/version" -H 'X-Request-ID: shown-in-front' && grep -q shown-in-front "$dir/run.out"; }
within 'and shows the logs' 5 shows
kill -INT "$runner" 2>/dev/null || true
sleep 0.2
kill -TERM "$runner" 2>/dev/null || true # setsid in the background ignores INT
code=0
wait "$runner" || code=$?
is 'asked to end, it stops everything' "$code $(left)" '0 '
like 'and says so' "$(tail -n 1 "$dir/run.out")" 'has stopped'

# --- SIGTERM lets a request finish ---

say start
worker=$(worker_pid 1)
/usr/bin/python3 - "$direct" "$key" "$worker" "$here" "$dir/run/appcore-1.sock" >"$dir/drain" <<'PYTHON'
import array, fcntl, os, signal, sys, termios, time
sys.path.insert(0, sys.argv[4])
from fcgi_client import Connection, records
c = Connection(sys.argv[5], timeout=60)
body = b'{"features":[' + b"1," * 100000 + b"1]}"
sent = b"".join(records("POST", "/predict", {"X-API-Key": sys.argv[2], "Content-Type": "application/json"}, body))
c.send(sent[:150000])  # parameters and a part of the body: the request has begun
unread, patience = array.array("i", [1]), time.monotonic() + 15
while unread[0] and time.monotonic() < patience:  # by the worker
    time.sleep(0.05)
    fcntl.ioctl(c.socket, termios.TIOCOUTQ, unread)
os.kill(int(sys.argv[3]), signal.SIGTERM)
time.sleep(0.5)
c.send(sent[150000:])
print(c.answer().status)
PYTHON
is 'SIGTERM: what has begun is finished' "$(<"$dir/drain")" 201
within 'and then the worker ends and is replaced' 5 replaced
say stop

# --- folders ---

in_folder() { # NAME FOLDER
	dir=$2
	mkdir -p "$dir"
	services+=("$dir")
	printf '%s\n' "$dir" >>"$scratch/services"
	know_service
	say start
	is "$1: start" "$code" 0
	[ "$code" -eq 0 ] || printf '%s\n' "$output"
	know_service
	post '{"features":[1,2]}' --cacert "$(sed -n 's/^RUN_DIR=//p' "$dir/.env" | grep . || echo "$dir/run")/tls/cert.pem"
	is "$1: it predicts" "$status" 201
	say status
	is "$1: status" "$code" 0
	say stop
	is "$1: stop" "$code" 0
	say status
	is "$1: stopped" "$code" 3
}
use main
mkdir -m 0700 "$scratch/private"
in_folder 'a folder of 0700' "$scratch/private/x"
in_folder 'a folder with blanks' "$scratch/two  words and 'quotes"
long=$scratch/$(printf 'long%.0s' $(seq 30))/$(printf 'deep%.0s' $(seq 30))
in_folder 'a folder with a very long path' "$long"
like 'says where the sockets are' "$(cat "$long/.env")" 'RUN_DIR=/tmp/appcore-'
run_dir=$(sed -n 's/^RUN_DIR=//p' "$long/.env")
case $run_dir in /tmp/appcore-*) rm -rf "$run_dir" ;; esac
