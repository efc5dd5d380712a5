# Models: added, activated, broken, deleted, taken back and removed while they serve, on two machines with one database.
# shellcheck shell=bash disable=SC2154

for factor in 1 2 3 4; do
	/usr/bin/python3 "$here/make_model.py" "$scratch/$topic-m$factor" "$factor"
done
model() { printf '%s' "$scratch/$topic-m$1"; } # FACTOR

refused() { # NAME PATTERN ARGUMENTS...: exit code 100 and a sentence
	local name=$1 pattern=$2 code=0 output
	shift 2
	output=$(appcore model "$@" 2>&1) || code=$?
	like "$name" "$code $output" "^100 appcore model: .*$pattern"
}

says() { # LISTENER: "201 2 1": what a prediction for 1 is answered, its result and its version
	req POST "$1/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1]}'
	printf '%s %s' "$status" "$(jq -r '"\(.result) \(.model_version)"' <<<"$body")"
}
both_say() { [ "$(says "$one")" = "$1" ] && [ "$(says "$two")" = "$1" ]; } # ANSWER
agree() { within "$1" 2 both_say "$2"; }                                    # NAME ANSWER

# --- a first model, before the service starts ---

new_service main MODEL_DEFAULT=wine
models=$dir/data/models
appcore migrate up >/dev/null
is 'add' "$(appcore model add "$(model 1)" --name wine --version 1 --activate)" 'wine 1 added: linear, 1 inputs, 1 examples passed.'
is 'whole files in the folder, and nothing else' "$(cd "$models" && find . -type f -size +0 | sort | xargs)" './wine/1/manifest.json ./wine/1/model.json'
start
agree 'both workers answer with it' '201 1 1'
like 'check loads it' "$(appcore check)" 'model +ok: wine 1'
req GET /health
is 'healthy' "$status" 200
shipped=$(find "$home/models" -mindepth 2 -maxdepth 2 -type d -printf '%P\n' 2>/dev/null | sort | xargs) || true
is 'the shipped models were added' "$(appcore model list --json | jq -r '[.[] | select(.name != "wine" and .name != "mean") | "\(.name)/\(.version)"] | sort | join(" ")')" "$shipped"

# --- changes under load ---

load() { # FILE: predictions until $dir/stop is there; their codes
	until [ -e "$dir/stop" ] || ! kill -0 $$; do # also when the suite is gone
		codes -X POST -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1]}' "$base/predict?n=[1-100]" >>"$1"
	done
}
load "$dir/codes.1" &
first=$!
load "$dir/codes.2" &
second=$!

appcore model add "$(model 2)" --name wine --version 2 >/dev/null
is 'an added version does not answer by itself' "$(says "$one")" '201 1 1'
is 'activate' "$(appcore model activate wine 2)" 'wine: 2=100'
agree 'both answer with it soon' '201 2 2'
is 'rollback' "$(appcore model rollback wine)" 'wine: 1=100'
agree 'both answer as before' '201 1 1'
for _ in 1 2 3 4 5 6; do
	appcore model activate wine 2 >/dev/null
	appcore model unload wine 1 >/dev/null
	sleep 0.7
	appcore model activate wine 1 >/dev/null
	appcore model unload wine 2 >/dev/null
	sleep 0.7
done
agree 'after a dozen changes' '201 1 1'
is 'shares' "$(appcore model route wine 1=50 2=50)" 'wine: 1=50 2=50'
both_versions() { [ "$(for _ in {1..20}; do says "$one" && echo; done | sort -u | xargs)" = '201 1 1 201 2 2' ]; }
within 'both versions answer' 5 both_versions
appcore model activate wine 1 >/dev/null
firmly_say() { for _ in {1..12}; do both_say "$1" || return 1; done; } # not by the shares of before
within 'version 1 answers again' 3 firmly_say '201 1 1' # what a worker has by now is what it keeps below

# --- broken candidates ---

refused 'a version is added once' 'is there already' add "$(model 3)" --name wine --version 2
refused 'not with another content, either' 'versions don.t change' add "$(model 3)" --name wine --version 2 --if-absent
is 'the same one with --if-absent' "$(appcore model add "$(model 2)" --name wine --version 2 --if-absent)" 'wine 2 is there already.'
cp -r "$(model 3)" "$dir/broken"
truncate -s 40 "$dir/broken/model.json"
refused 'a truncated file' 'hash' add "$dir/broken" --name wine --version 9
truncate -s 2G "$dir/broken/model.json"
refused 'a file of 2 GB' '2147483648 bytes, at most' add "$dir/broken" --name wine --version 9
rm "$dir/broken/model.json"
ln -s /etc/passwd "$dir/broken/model.json"
refused 'a link' 'symbolic link' add "$dir/broken" --name wine --version 9
refused 'a path for a version' '1 to 64' add "$(model 3)" --name wine --version ../9
refused 'a path for a name' '1 to 64' add "$(model 3)" --name ../wine --version 9
refused 'the active version stays' 'is active' remove wine 1
refused 'what is not there' 'There is no model wine/9' activate wine 9
is 'nothing was installed' "$(find "$models" -mindepth 2 -maxdepth 2 | grep -c /wine/) $(find "$models" -mindepth 1 -maxdepth 1 -name '.*' ! -name .lock | wc -l)" '2 0'

# It is broken while nobody has it in memory, as it was when it was whole.
have_three() { # 200, 404
	local listener
	for listener in "$one" "$two"; do
		req GET "$listener/v2/models/wine/versions/3/ready" -H "X-API-Key: $key"
		[ "$status" = "$1" ] || return 1
	done
}
appcore model add "$(model 3)" --name wine --version 3 >/dev/null
within 'an added version is loaded' 15 have_three 200
appcore model unload wine 3 >/dev/null
within 'and unloaded' 15 have_three 404
cp "$models/wine/3/model.json" "$dir/good.json"
echo '{}' >"$models/wine/3/model.json"
refused 'a version that was broken since is not activated' "Nothing was changed, wine 3 can.t be loaded" activate wine 3
change "UPDATE models SET loaded = 1; UPDATE model_routes SET shares = '3=100', former = '1=100' WHERE name = 'wine'; UPDATE generations SET value = value + 1 WHERE topic = 'models'"
failing() { curl -sf --cacert "$scratch/tls/cert.pem" -4 "$base/metrics" | grep -q "^appcore_model_load_failing{.*model=\"wine\"} $1"; } # 0.0 or 1.0
within 'a worker that can'\''t load it says so in the metrics' 5 failing 1.0
is 'and goes on with the one before' "$(says "$one")" '201 1 1'
within 'and in the log' 5 grep -q "model wine 3 can.t be loaded.*hash" "$dir/run/log/appcore-1.log"
cp "$dir/good.json" "$models/wine/3/model.json"
within 'once it is whole it is taken by itself' 15 both_say '201 3 3'
within 'and the metrics say so' 5 failing 0.0

# --- files that go while they serve ---

mv "$models/wine/3" "$dir/away"
sleep 1.2
is 'a model whose files are gone serves on' "$(says "$one")" '201 3 3'
cp -r "$(model 4)" "$models/wine/3"
sleep 1.2
is 'so does one whose files were replaced' "$(says "$two")" '201 3 3'
: >"$dir/stop"
wait "$first" "$second"
is 'no request has failed meanwhile' "$(cat "$dir"/codes.? | tr ' ' '\n' | grep . | sort -u | xargs)" 201
at_most 'and there were many' 50 "$(cat "$dir"/codes.? | wc -w)"

rm -r "$models/wine/3"
old=$(worker_pid 1)
kill -9 "$old"
new_worker() { [ -n "$(worker_pid 1)" ] && [ "$(worker_pid 1)" != "$old" ] && req GET "$one/livez" && [ "$status" = 200 ]; }
within 'a worker that starts without the files is there' 10 new_worker
is 'answers with the version before' "$(says "$one")" '201 1 1'
req GET "$one/health"
is 'and is healthy' "$status" 200
within 'but says so in the metrics' 5 failing 1.0
change "UPDATE model_routes SET former = '' WHERE name = 'wine'"
old=$(worker_pid 1)
kill -9 "$old"
within 'one that starts without any is there' 10 new_worker
req POST "$one/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1]}'
is 'answers predictions with 503, not with the mean' "$status" 503
req GET "$one/health"
like 'and is unhealthy' "$status $body" '^503 .*"model_loaded":false'
is 'the other one serves on' "$(says "$two")" '201 3 3'
mv "$dir/away" "$models/wine/3"
agree_late() { both_say '201 3 3'; }
within 'with the files back it serves' 15 agree_late

# --- kill -9 during an add ---

for i in {1..12}; do
	# The process that is killed is the command itself.
	(cd "$dir" && exec env -i PATH="$PATH" HOME="${HOME:-/}" "${settings[@]}" "$binary" model add "$(model 4)" --name killed --version "$i" 8>&-) >/dev/null 2>&1 &
	sleep "0.0$((i % 6))"
	kill -9 $! 2>/dev/null || true
	wait $! 2>/dev/null || true
done
appcore model add "$(model 4)" --name killed --version last >/dev/null
whole() {
	local version
	for version in "$models"/killed/*; do
		appcore model check "$version" >/dev/null || return 1
	done
}
holds 'what is in the folder is whole' whole
holds 'a folder is checked without a database, too' env -C "$dir" DATABASE_URL=sqlite:///no/such.db "$binary" model check "$(model 4)"
is 'nothing else is' "$(find "$models" -mindepth 1 -maxdepth 1 -name '.*' ! -name .lock | wc -l)" 0
for i in {1..12}; do
	appcore model add "$(model 4)" --name killed --version "$i" --if-absent >/dev/null || not_ok "add $i again"
done
is 'all of them can be added again' "$(appcore model list --json | jq '[.[] | select(.name == "killed")] | length')" 13

# --- an add that ended half way; the last version of a name ---

appcore model add "$(model 4)" --name half --version 1 >/dev/null
appcore model add "$(model 4)" --name half --version 1 --if-absent --activate >/dev/null
is 'the same add completes it' "$(appcore model list --json | jq '.[] | select(.name == "half") | .share')" 1
refused 'what is active stays' 'unload the model' remove half 1
appcore model unload half >/dev/null
is 'unloaded it goes' "$(appcore model remove half 1)" removed

# --- backup ---

if ! on_postgres; then
	appcore backup "$dir/backup.db" >/dev/null
	is 'a backup has versions and routes' "$(sqlite3 "$dir/backup.db" "SELECT count(*) FROM models WHERE id LIKE 'killed/%' UNION ALL SELECT shares FROM model_routes WHERE name = 'wine'" | xargs)" '13 3=100'
fi

# --- two machines, one database ---

if on_postgres; then
	shared=$database_url
else
	shared=sqlite:///$dir/data/predictions.db
fi
new_service other MODEL_DEFAULT=wine DATABASE_URL="$shared"
for factor in 1 2 3; do
	appcore model add "$(model "$factor")" --name wine --version "$factor" --if-absent >/dev/null
done
start
agree 'a second machine answers with what is active' '201 3 3'
use main
appcore model activate wine 2 >/dev/null
agree 'a change here' '201 2 2'
use other
agree 'arrives there' '201 2 2'
appcore model rollback wine >/dev/null
use main
agree 'and the other way round' '201 3 3'
use main
