# The contract (A-013 to A-060), byte by byte, on every listener.
# shellcheck shell=bash disable=SC2154
service main

uuid='[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'
iso='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\+00:00'

for listener in "$base" "$clear" "$pool" "$one" "$two"; do
	case $listener in "$base") where=HTTPS ;; "$clear") where=HTTP ;; *) where=${listener##*:} where=direct+$((where - direct)) ;; esac
	req GET "$listener/version"
	answer "$where: /version (A-024)" 200 '{"version":"0.1.0","api_version":"v1","model_version":"v1.0"}'
	req GET "$listener/health"
	like "$where: /health (A-013 to A-017)" "$status $body" "^200 \{\"status\":\"healthy\",\"api\":\"ok\",\"database\":\"ok\",\"redis\":\"ok\",\"timestamp\":\"$iso\",\"checks\":\{\"model_loaded\":true,\"uptime_seconds\":[0-9]+\.[0-9]{1,2},\"database\":true\}\}\$"
	req POST "$listener/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1.0,2.0,3.0]}'
	like "$where: POST /predict (A-026, A-027, A-030)" "$status $body" "^201 \{\"prediction_id\":\"$uuid\",\"result\":2\.0,\"model_version\":\"v1\.0\",\"created_at\":\"$iso\"\}\$"
	is "$where: content type" "${h[content-type]-}" application/json
done

# --- results ---

result() { # FEATURES EXPECTED
	post "{\"features\":$1}"
	is "mean of $1" "$status ${body#*\"result\":}" "201 $2,${body#*\"result\":*,}"
}
result '[1,2,3]' 2.0
result '[5.0]' 5.0
result '[1.0,2.0]' 1.5
result '[0.1]' 0.1
result '[0.1,0.2,0.3]' 0.20000000000000004
result '["1.5",2]' 1.75
result '[true,false]' 0.5
result '[-1,1]' 0.0
result '[5e-324]' 5e-324
result '[1.7976931348623157e308]' 1.7976931348623157e+308
result '[9007199254740993]' 9007199254740992.0
result '[1E2,-1.5e-3]' 49.99925

post '{"features":[1],"a":2,"nested":{"x":[1,{"y":null}]}}'
is 'unknown fields are ignored (A-041)' "$status" 201
req POST /predict -H "X-API-Key: $key" -H 'Content-Type:' --data-binary '{"features":[4]}'
is 'without a Content-Type it is JSON (A-040)' "$status" 201
req POST /predict -H "X-API-Key: $key" -H 'Content-Type: application/json; charset=utf-8' --data-binary '{"features":[4]}'
is 'Content-Type with a parameter' "$status" 201
post $' \t\r\n{ "features" :\n[ 1 ,\t3 ] }\n'
is 'white space is fine' "$status" 201

# --- refusals ---

before=$(rows)
invalid() { # NAME JSON DETAIL
	post "$2"
	answer "$1" 422 "{\"detail\":[$3]}"
}
invalid 'empty list (A-032)' '{"features":[]}' '{"type":"too_short","loc":["body","features"],"msg":"List should have at least 1 item after validation, not 0","input":[],"ctx":{"field_type":"List","min_length":1,"actual_length":0}}'
invalid 'no features (A-033)' '{}' '{"type":"missing","loc":["body","features"],"msg":"Field required","input":{}}'
for value in '"not a list"' null '{"a":1}' 5 true; do
	invalid "features $value (A-034)" "{\"features\":$value}" "{\"type\":\"list_type\",\"loc\":[\"body\",\"features\"],\"msg\":\"Input should be a valid list\",\"input\":$value}"
done
invalid 'bad items are all named (A-035)' '{"features":[1,"x",null,[2],{"a":"b"}]}' '{"type":"float_parsing","loc":["body","features",1],"msg":"Input should be a valid number, unable to parse string as a number","input":"x"},{"type":"float_type","loc":["body","features",2],"msg":"Input should be a valid number","input":null},{"type":"float_type","loc":["body","features",3],"msg":"Input should be a valid number","input":[2]},{"type":"float_type","loc":["body","features",4],"msg":"Input should be a valid number","input":{"a":"b"}}'
invalid 'malformed { (A-037)' '{' '{"type":"json_invalid","loc":["body",1],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting property name enclosed in double quotes"}}'
invalid 'malformed hello (A-037)' 'hello' '{"type":"json_invalid","loc":["body",0],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting value"}}'
invalid 'null body (A-038)' null '{"type":"missing","loc":["body"],"msg":"Field required","input":null}'
for value in '[1]' '"text"' 5 true; do
	invalid "body $value (A-039)" "$value" "{\"type\":\"model_attributes_type\",\"loc\":[\"body\"],\"msg\":\"Input should be a valid dictionary or object to extract fields from\",\"input\":$value}"
done
req POST /predict -H "X-API-Key: $key" -H 'Content-Type: application/json'
answer 'empty body (A-038)' 422 '{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}'
req POST /predict -H "X-API-Key: $key" -H 'Content-Type: text/plain' -d '{"features":[1]}'
answer 'other content type (A-040)' 422 '{"detail":[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":"{\"features\":[1]}"}]}'
for value in NaN Infinity -Infinity; do
	post "{\"features\":[$value]}"
	like "$value is refused (A-042)" "$status $body" '^422 \{"detail":\[\{"type":"json_invalid","loc":\["body",1[34]\],'
done
post '{"features":[1e400]}'
like '1e400 is refused (A-042)' "$status $body" '^422 .*"loc":\["body","features",0\].*finite'
req GET /predictions
is 'the list still works after them (A-042)' "$status" 200

req POST /predict -H 'Content-Type: application/json' -d '{"features":[1.0]}'
answer 'no key (A-074)' 401 '{"detail":"Missing API key. Include X-API-Key header."}'
is 'no WWW-Authenticate at 401 (A-076)' "${h[www-authenticate]-none}" none
req POST /predict -H 'X-API-Key;' -H 'Content-Type: application/json' -d '{"features":[1.0]}'
answer 'empty key (A-074)' 401 '{"detail":"Missing API key. Include X-API-Key header."}'
req POST /predict -H 'X-API-Key: nope' -H 'Content-Type: application/json' -d '{"features":[1.0]}'
answer 'wrong key (A-075)' 403 '{"detail":"Invalid API key."}'
is 'no WWW-Authenticate at 403 (A-076)' "${h[www-authenticate]-none}" none
req POST /predict -H 'X-API-Key: dev-key-change-in-production' -H 'Content-Type: application/json' -d '{"features":[1.0]}'
answer 'the development default is no key here (A-078)' 403 '{"detail":"Invalid API key."}'
req POST /predict -H 'Content-Type: application/json' -d '{"features":[]}'
is 'the key is checked before the body (A-077)' "$status" 401

req GET /predict
answer 'GET /predict (A-047)' 405 '{"detail":"Method Not Allowed"}'
is 'Allow of /predict' "${h[allow]-}" POST
for path in /health /version /predictions /predictions/abc; do
	for method in POST PUT DELETE PATCH; do
		req "$method" "$path" -H "X-API-Key: $key"
		is "$method $path (A-047)" "$status $body ${h[allow]-}" '405 {"detail":"Method Not Allowed"} GET, HEAD'
	done
done
for path in /nope /predict/x /predictions/a/b /PREDICT /api/v1/nope /api/v2/predict; do
	req GET "$path"
	answer "GET $path (A-048)" 404 '{"detail":"Not Found"}'
done
is 'none of them stored anything' "$(rows)" "$before"

# --- stored predictions ---

post '{"features":[1.0,2.0,3.0]}'
id=$(jq -r .prediction_id <<<"$body") created=$(jq -r .created_at <<<"$body")
row="{\"id\":\"$id\",\"features\":\"[1.0, 2.0, 3.0]\",\"result\":2.0,\"model_version\":\"v1.0\",\"created_at\":\"$created\"}"
req GET "/predictions/$id"
answer 'the row by its id, stored before the answer (A-046, A-055 to A-057)' 200 "$row"
req GET "$one/predictions/$id"
answer 'from the other worker too' 200 "$row"
for i in 1 2 3; do post "{\"features\":[$i]}"; done
req GET '/predictions?limit=4'
is 'the list is newest first (A-051)' "$(jq '[.[].result] == [3, 2, 1, 2]' <<<"$body")" true
like 'the list is an array of such rows' "$body" '^\[\{"id":"[^"]*","features":"\[3\.0\]","result":3\.0,"model_version":"v1\.0","created_at":"[^"]*"\},.*\]$'
req GET /predictions
is 'ten by default (A-052)' "$(jq length <<<"$body")" 10
req GET '/predictions?limit=2'
is 'limit=2 (A-052)' "$(jq length <<<"$body")" 2
req GET '/predictions?limit=x'
answer 'limit=x (A-053)' 422 '{"detail":[{"type":"int_parsing","loc":["query","limit"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"}]}'
req GET '/predictions?limit=0'
answer 'limit=0 (A-054)' 200 '[]'
req GET '/predictions/abc'
answer 'unknown id (A-058)' 404 '{"detail":"Prediction not found"}'
req GET "/predictions/${id%?}0"
case $id in *0) ;; *) answer 'unknown UUID (A-058)' 404 '{"detail":"Prediction not found"}' ;; esac
req GET '/predictions/'
is '/predictions/ redirects (A-060)' "$status ${h[location]-}" '307 /predictions'
req GET '/predictions/?limit=1' -L
is 'the redirect keeps the query' "$status $(jq length <<<"$body")" '200 1'

# --- HEAD ---

for path in /health /version /predictions "/predictions/$id" /; do
	req GET "$path" -H 'Accept-Encoding:'
	length=${h[content-length]-}
	req HEAD "$path"
	if [ "$path" = /health ]; then length=${h[content-length]-}; fi
	is "HEAD $path (A-125)" "$status ${h[content-length]-} ${h[x-content-type-options]-}" "200 $length nosniff"
done
req HEAD /nope
is 'HEAD of an unknown path' "$status" 404

# --- the same below /api/v1, and / ---

req GET /
answer '/ (B-094)' 200 '{"message":"Sentiment Analysis API","version":"1.0.0","docs":"/docs"}'
req GET /api/v1/version
answer '/api/v1/version' 200 '{"version":"0.1.0","api_version":"v1","model_version":"v1.0"}'
req GET /api/v1/health
is '/api/v1/health' "$status" 200
v1() { req POST /api/v1/predict -H "X-API-Key: $key" -H 'Content-Type: application/json' --data-binary "$1"; }
v1 '{"features":[1,2]}'
is 'POST /api/v1/predict' "$status $(jq -c .result <<<"$body")" '201 1.5'
v1 '{"features":["1.5",true]}'
answer 'the newer path is strict' 422 '{"detail":[{"type":"float_type","loc":["body","features",0],"msg":"Input should be a valid number","input":"1.5"},{"type":"float_type","loc":["body","features",1],"msg":"Input should be a valid number","input":true}]}'
req POST /api/v1/predict -H "X-API-Key: $key" -H 'Content-Type: text/plain' -d '{"features":[1]}'
is 'the newer path wants JSON: 415' "$status" 415
req GET "/api/v1/predictions/$id"
is 'the row with its provenance' "$status $(jq -c '[keys_unsorted, .features == [1, 2, 3], .key_id, .model_name]' <<<"$body")" '200 [["id","features","result","model_version","created_at","model_name","model_hash","key_id","request_id","trace_id","duration_us"],true,"env","mean"]'

# --- schema ---

if on_postgres; then
	is 'columns of the contract (A-062)' "$(sql "SELECT string_agg(column_name || ' ' || data_type || ' ' || is_nullable, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'predictions' AND ordinal_position <= 5")" \
		'id text NO,features text NO,result double precision NO,model_version text NO,created_at text NO'
	like 'the index (A-063)' "$(sql "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_predictions_created_at'")" '\(created_at'
else
	is 'columns of the contract (A-062)' "$(sql "SELECT group_concat(name || ' ' || type || ' ' || \"notnull\" || ' ' || pk) FROM (SELECT * FROM pragma_table_info('predictions') LIMIT 5)")" \
		'id TEXT 1 1,features TEXT 1 0,result REAL 1 0,model_version TEXT 1 0,created_at TEXT 1 0'
	is 'the index (A-063)' "$(sql "SELECT group_concat(name) FROM pragma_index_info('idx_predictions_created_at')")" created_at
fi
