# Changing models with evidence: canary, shadow, replay, drift.
# shellcheck shell=bash disable=SC2154
service main MODEL_DRIFT_WINDOW=600s

# --- models ---------------------------------------------------------------------------------------------------------

# make_model VERSION COEFFICIENTS INTERCEPT: a linear model of a and b. Training had a half below 10, and a tenth of it
# missing; of b half are red.
make_model() {
	local folder=$dir/made/$1 hash
	mkdir -p "$folder"
	printf '{"format":"appcore linear 1","coefficients":[[%s]],"intercepts":[%s]}' "$2" "$3" >"$folder/model.json"
	hash=$(/usr/bin/python3 -c 'import hashlib, sys; print(hashlib.blake2b(open(sys.argv[1], "rb").read(), digest_size=32).hexdigest())' "$folder/model.json")
	cat >"$folder/manifest.json" <<-EOF
		{"appcore":1,"kind":"linear","file":"model.json","hash":"$hash",
		 "inputs":[{"name":"a","type":"number","missing":"allow"${4:-},
		            "distribution":{"edges":[10],"shares":[0.5,0.5],"missing":0}},
		           {"name":"colour","type":"category","categories":["red","white"],
		            "distribution":{"shares":[0.5,0.5]}}],
		 "preprocessing":[{"step":"impute","inputs":["a"],"values":[0]},{"step":"one_hot","input":"colour"}],
		 "output":{"type":"regression"}}
	EOF
	holds "version $1 is added" appcore model add "$folder" --name wine --version "$1"
}
make_model 1 '1,0,0' 0
make_model 2 '1,0,5' 0                                    # 5 more for white
make_model 3 '2,0,0' 0 ',"maximum":50,"outside":"refuse"' # twice as much, up to 50
ask() { # JSON [CURL OPTIONS...]: POST to wine
	local json=$1
	shift
	req POST /api/v1/models/wine/predict -H "X-API-Key: $key" -H 'Content-Type: application/json' --data-binary "$json" "$@"
}
answers() { # VERSION: wine is answered by it
	ask '{"features":[1,"red"]}'
	[ "$status" = 201 ] && [ "$(jq -r .version <<<"$body")" = "$1" ]
}
counted() { # VERSION: predictions, as the metrics have it
	curl -sS -4 --cacert "$scratch/tls/cert.pem" "$base/metrics" |
		sed -n "s/^appcore_model_predictions_total{model=\"wine\",version=\"$1\",status=\"success\"} \([0-9]*\).*/\1/p"
}
numbers() { jq -c "$1 | walk(if type == \"number\" then . + 0 else . end)"; } # FILTER: 5.0 and 5 are the same
versions_of() { # HEADER...: the versions that ten requests with it get, each once
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		ask '{"features":[1,"red"]}' "$@"
		jq -r .version <<<"$body"
	done | sort -u | tr '\n' ' '
}

# What a worker knows of it is seen by its answers only.
drawn() { # LISTENER N [CURL OPTIONS...]: the versions that N requests get there, each once
	local listener=$1 n=$2
	shift 2
	for ((; n > 0; n--)); do
		req POST "$listener/api/v1/models/wine/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' --data-binary '{"features":[1,"red"]}' "$@"
		jq -r .version <<<"$body"
	done | sort -u | tr '\n' ' '
}
both_draw() { [ "$(drawn "$one" 20)$(drawn "$two" 20)" = '1 2 1 2 ' ]; } # not always; again, then
both_stick() { # [CURL OPTIONS...]: by chance once in 2^39
	local versions
	versions=$(drawn "$one" 20 "$@" && drawn "$two" 20 "$@")
	[ "$versions" = '1 1 ' ] || [ "$versions" = '2 2 ' ]
}
scores_at() { # LISTENER: what is asked there the shadow is asked, too
	local before
	before=$(sql 'SELECT count(*) FROM shadow_predictions')
	drawn "$1" 1 >/dev/null
	for _ in {1..40}; do
		[ "$(sql 'SELECT count(*) FROM shadow_predictions')" = "$before" ] || return 0
		sleep 0.05
	done
	return 1
}
both_score() { [ "$(drawn "$one" 20)$(drawn "$two" 20)" = '1 1 ' ] && scores_at "$one" && scores_at "$two"; }
forget_shadows() { # a worker that ends has scored what it was asked before
	control restart >/dev/null
	change 'DELETE FROM predictions; DELETE FROM shadow_predictions'
}

# --- canary ---------------------------------------------------------------------------------------------------------

holds 'version 1 is activated' appcore model activate wine 1
within 'and answers' 3 answers 1
is 'a split is told' "$(appcore model route wine 1=70 2=30)" 'wine: 1=70 2=30'
within 'both versions answer at both workers' 5 both_draw
earlier=$(sql "SELECT count(*) FROM predictions WHERE model_version = '2'") # all there were; the metrics are written a moment later
change "DELETE FROM predictions"
codes -X POST -H "X-API-Key: $key" -H 'Content-Type: application/json' --data-binary '{"features":[1,"red"]}' \
	"$base/api/v1/models/wine/predict?[1-400]" >"$dir/codes"
is 'every request is answered' "$(count_of 201 "$(<"$dir/codes")")" 400
twos=$(sql "SELECT count(*) FROM predictions WHERE model_version = '2'")
at_most 'version 2 has its share in the rows, and not much more' "$twos" 165 # 120 ± 5 times 9
at_most 'nor much less' $((400 - twos)) 325
all_counted() { [ "$(counted 2)" = $((earlier + twos)) ]; }
within 'and in the metrics' 3 all_counted
is 'sticky by a header' "$(appcore model route wine 1=50 2=50 --sticky header:X-User-Id)" 'wine: 1=50 2=50, sticky by header:X-User-Id'
within 'both workers know' 5 both_stick -H 'X-User-Id: somebody'
seen=''
for user in 1 2 3 4 5 6 7 8; do
	got=$(versions_of -H "X-User-Id: user-$user")
	like "user $user always gets the same version" "$got" '^[12] $'
	seen+=$got
done
like 'not all of them version 1' "$seen" 2
like 'nor all version 2' "$seen" 1
is 'who has no header is drawn' "$(for _ in 1 2 3; do versions_of; done | tr ' ' '\n' | sort -u | xargs)" '1 2'
appcore model route wine 1=50 2=50 --sticky key >/dev/null
within 'sticky by key' 5 both_stick

# --- shadow ---------------------------------------------------------------------------------------------------------

appcore model activate wine 1 >/dev/null
holds 'a shadow is set' appcore model shadow wine 2
within 'both workers know it' 5 both_score
forget_shadows
scores() { curl -sS -4 --cacert "$scratch/tls/cert.pem" "$base/metrics" | sed -n 's/^appcore_shadow_total{model="wine",version="2",outcome="scored"} \([0-9]*\).*/\1/p'; }
before=$(scores)
for i in 1 2 3 4 5 6 7 8 9 10; do
	ask "{\"features\":[$i,\"red\"]}"
	[ "$(jq -r '"\(.version) \(.result)"' <<<"$body")" = "1 $i" ] || not_ok 'the answer is that of version 1' "$body"
	ask "{\"features\":[$i,\"white\"]}"
	[ "$(jq -r '"\(.version) \(.result)"' <<<"$body")" = "1 $i" ] || not_ok 'the answer is that of version 1' "$body"
done
is 'rows are those of version 1' "$(sql "SELECT model_version, count(*) FROM predictions GROUP BY 1")" '1|20'
shadows() { [ "$(sql 'SELECT count(*) FROM shadow_predictions')" = "$1" ]; }
within 'the shadow has scored them all' 5 shadows 20
is 'with its own results' "$(sql "SELECT count(*) FROM shadow_predictions s JOIN predictions p ON s.id = p.id || '/2'
	WHERE s.active_result = p.result AND s.result = p.result + CASE WHEN p.features LIKE '%white%' THEN 5 ELSE 0 END")" 20
scored() { [ "$(scores)" -ge $((before + 20)) ]; }
within 'counted' 3 scored
compared=$(appcore model compare wine --json)
is 'compared' "$(numbers '[.rows, .changed, .mean_difference, .difference.p25, .difference.p75, .difference.max, .from, .to]' <<<"$compared")" '[20,10,2.5,0,5,5,"1","2"]'
like 'for people' "$(appcore model compare wine)" '10 of 20 answers change \(50 %\)'
is 'as CSV' "$(appcore model compare wine --csv | grep -c ',5.0,,,"\[')" 10
holds 'the shadow is taken away' appcore model shadow wine none
like 'then a version has to be named' "$(appcore model compare wine 2>&1 || true)" 'has no shadow'
is 'and what it said is there' "$(appcore model compare wine 2 --json | jq .rows)" 20

# --- replay ---------------------------------------------------------------------------------------------------------

ask '{"features":[60,"red"]}'
ask '{"features":[70,"red"]}'
# Another model's version of the same number is none of it.
columns=features,result,model_version,created_at,model_hash
change "INSERT INTO predictions (id, model_name, $columns) SELECT substr(id, 1, 35) ||
	CASE substr(id, 36) WHEN 'a' THEN 'b' ELSE 'a' END, 'beer', $columns FROM predictions"
replayed=$(appcore model replay wine --to 2 --json)
is 'replayed' "$(numbers '[.rows, .changed, .refused, .mean_difference, .difference.max, (.top | length), .from, .to, .limited]' <<<"$replayed")" \
	'[22,10,0,2.272727272727273,5,10,"1","2",false]'
replayed=$(appcore model replay wine --from 1 --to 3 --since 1h --json --top 2)
is 'a candidate that refuses' "$(numbers '[.rows, .changed, .refused, .mean_difference, .absolute_difference.p50, .difference.max]' <<<"$replayed")" '[20,20,2,5.5,5,10]'
is 'the rows that change most' "$(numbers '[.top[] | [.before, .after]]' <<<"$replayed")" '[[10,20],[10,20]]'
is 'the reason' "$(jq -r '.reasons[] | "\(.rows) \(.reason)"' <<<"$replayed")" '2 a: Input should be less than or equal to 50'
is 'the histogram adds up' "$(jq '[.histogram[].rows] | add' <<<"$replayed")" 20
is 'the same version changes nothing' "$(appcore model replay wine --from 1 --to 1 --json | jq -c '[.rows, .changed]')" '[22,0]'
is 'the newest only' "$(appcore model replay wine --to 2 --limit 2 --json | jq -c '[.rows, .limited]')" '[2,true]'
is 'as many as there are' "$(appcore model replay wine --to 2 --limit 22 --json | jq -c '[.rows, .limited]')" '[22,false]'
is 'all but one' "$(appcore model replay wine --to 2 --limit 21 --json | jq -c '[.rows, .limited]')" '[21,true]'
is 'as CSV' "$(appcore model replay wine --to 2 --csv | tail -n +2 | wc -l)" 22
text=$(appcore model replay wine --to 2)
like 'for people' "$text" '10 of 22 answers change \(45.45 %\)'
like 'with a histogram' "$text" '5  █+ 10'
like 'an unknown version' "$(appcore model replay wine --to 9 2>&1 || true)" 'no model wine/9'
like 'without --to' "$(appcore model replay wine 2>&1 || true)" 'replay wants --to'
like 'a wrong duration' "$(appcore model replay wine --to 2 --since yesterday 2>&1 || true)" '^appcore model: --since wants'
code=0
appcore model replay wine --to 2 --top -1 >/dev/null 2>&1 || code=$?
is 'is the mistake of who asks' "$code" 100

# --- drift ----------------------------------------------------------------------------------------------------------

change "DELETE FROM predictions"
for _ in 1 2 3 4 5; do
	ask '{"instances":[[1,"red"],[1,"white"],[11,"red"],[11,"white"]]}'
done
psi() { # INPUT: its gauge
	curl -sS -4 --cacert "$scratch/tls/cert.pem" "$base/metrics" | sed -n "s/^appcore_model_drift_psi{model=\"wine\",version=\"1\",input=\"$1\"} //p"
}
shows() { # INPUT REGEX
	[[ $(psi "$1") =~ $2 ]]
}
within 'what is asked is what training had' 10 shows a '^0\.0$'
like 'the table says so' "$(appcore model drift wine --since 600s)" 'a +0\.0000  stable'
for _ in 1 2 3 4 5; do
	ask '{"instances":[[11,"red"],[11,"white"],[12,"red"],[12,"white"]]}'
done
within 'it moves' 10 shows a '^0\.2746' # 10 of 40 below: 0.25 ln 2 + 0.25 ln 1.5 = 0.2747
like 'colours do not' "$(psi colour)" '^0\.0$'
drift=$(appcore model drift wine --since 600s --json)
is 'as JSON' "$(jq -c '[.rows, .inputs[0].input, .inputs[0].reading, (.inputs[0].psi * 1000 | round), .inputs[0].bins[0].now]' <<<"$drift")" '[40,"a","shifted",275,0.25]'
like 'for people' "$(appcore model drift wine --since 600s)" 'below 10 +50.00 % +25.00 %'
like 'rows are told' "$(curl -sS -4 --cacert "$scratch/tls/cert.pem" "$base/metrics")" 'appcore_model_drift_rows\{model="wine",version="1"\} 40\.0'
like 'a model without distributions' "$(appcore model drift mean 2>&1 || true)" 'says nothing of the distribution'

# --- the shadow at the end of its worker ---

change "DELETE FROM predictions"
change "DELETE FROM shadow_predictions"
appcore model shadow wine 2 >/dev/null
within 'both workers know it again' 5 both_score
forget_shadows
instances=$(jq -nc '{instances: [range(200) | [., "white"]]}')
ask "$instances"
ask "$instances"
holds 'workers are told to end at once' control restart
is 'what waited for the shadow was scored' "$(sql "SELECT count(*) FROM shadow_predictions WHERE result = active_result + 5")" 400
