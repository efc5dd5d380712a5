# Models by name, and the Open Inference Protocol V2: through nginx over TLS, by a client that sends what tritonclient
# sends.
# shellcheck shell=bash disable=SC2154

new_service main
add_model() { # NAME VERSION INTERCEPT: a linear model of two inputs
	local folder=$dir/$1-$2
	mkdir -p "$folder"
	printf '{"format":"appcore linear 1","coefficients":[[1,10]],"intercepts":[%s]}' "$3" >"$folder/model.json"
	printf '{"appcore":1,"kind":"linear","file":"model.json","hash":"%s","inputs":[{"name":"a","type":"number","maximum":100,
		"outside":"refuse"},{"name":"b","type":"number"}],"preprocessing":[{"step":"impute","inputs":["b"],"values":[1]}],
		"output":{"type":"regression"}}' "$(b2sum -l 256 "$folder/model.json" | cut -d' ' -f1)" >"$folder/manifest.json"
	appcore model add "$folder" --name "$1" --version "$2" --activate >"$dir/add.out" 2>&1
}
start
holds 'a model is added while it serves' add_model pair 1 0
infer() { /usr/bin/python3 "$here/infer_client.py" "$@" 2>&1; }
ask() { infer "$base" "$scratch/tls/cert.pem" "$key" "$@"; }
ready() { # URL: the model answers there
	req GET "$1/v2/models/pair/ready"
	[ "$status" = 200 ]
}
within 'one worker serves it' 5 ready "$one"
within 'the other worker serves it' 5 ready "$two"

# --- by name ---

predict() { # PATH JSON [CURL OPTIONS...]
	local path=$1 json=$2
	shift 2
	req POST "$path" -H "X-API-Key: $key" -H 'Content-Type: application/json' --data-binary "$json" "$@"
}
predict /api/v1/models/pair/predict '{"features":[1,2]}'
like 'a vector' "$status $body" '^201 \{"prediction_id":"[0-9a-f-]{36}","model":"pair","version":"1","result":21.0,"created_at":"[^"]*"\}$'
predict /api/v1/models/pair/versions/1/predict '{"features":{"b":null,"a":1}}'
like 'names, one missing' "$status $body" '^201 .*"result":11.0,'
predict /api/v1/models/pair/predict '{"instances":[[1,2],{"a":3,"b":4},[5,null]]}'
is 'a batch in its order' "$status $(jq -c '[.model, .version, [.predictions[].result + 0]]' <<<"$body")" '201 ["pair","1",[21,43,15]]'
id=$(jq -r '.predictions[2].prediction_id' <<<"$body")
req GET "/api/v1/predictions/$id"
is 'each is stored' "$(jq -c '[.result + 0, .model_name, .model_version, .features[0] + 0, .features[1]]' <<<"$body")" '[15,"pair","1",5,null]'
before=$(rows)
predict /api/v1/models/pair/predict '{"instances":[[1,2],[101,2]]}'
is 'a bad one refuses all' "$status $(jq -c '.detail[0] | [.type, .loc]' <<<"$body") $(rows)" "422 [\"less_than_equal\",[\"body\",\"instances\",1,0]] $before"
/usr/bin/python3 -c 'import json; print(json.dumps({"instances": [[i % 100, 1] for i in range(1000)]}))' >"$dir/thousand"
predict /api/v1/models/pair/predict "@$dir/thousand" -H 'Idempotency-Key: thousand'
is 'a thousand' "$status $(jq '.predictions | length' <<<"$body") $(($(rows) - before))" '201 1000 1000'
first=$body
predict /api/v1/models/pair/predict "@$dir/thousand" -H 'Idempotency-Key: thousand'
is 'a retry with its key changes nothing' "$status ${h[idempotency-replayed]-} $(($(rows) - before))" '201 true 1000'
holds 'and is answered as before' [ "$body" = "$first" ]
req GET /api/v1/models
is 'what is told of them' "$(jq -c '[.models[] | select(.name != "sentiment") | [.name, .active, .default]]' <<<"$body")" '[["mean","v1.0",true],["pair","1",false]]'
req GET /api/v1/models/pair/versions/1
like 'counted over the workers' "$(jq -c '.statistics' <<<"$body")" '^\{"predictions":100[0-9],"errors":0,'
req GET /api/v1/models/pair/versions/1 -H "If-None-Match: ${h[etag]}"
is 'not told again' "$status $body" '304 '

# --- tensors ---

is 'a matrix in binary, as tritonclient sends it' "$(ask pair input-0:FP32:2x2:1,2,3,4)" 'result 2 21.0 43.0'
is 'tensors by name' "$(ask pair b:INT64:2x1:2,4 a:FP64:2:1,3)" 'result 2 21.0 43.0'
is 'NaN is missing' "$(ask pair input-0:FP16:1x2:1,nan)" 'result 1 11.0'
is 'one version' "$(ask pair/versions/1 x:UINT8:1x2:1,2)" 'result 1 21.0'
is 'the mean' "$(ask mean x:FP64:2x3:1,2,3,4,5,6)" 'result 2 2.0 5.0'
is 'JSON both ways' "$(infer --json "$base" "$scratch/tls/cert.pem" "$key" pair x:FP64:2x2:1,2,3,4)" 'result 2 21.0 43.0'
like 'texts' "$(ask sentiment text:BYTES:2x1:'I love this product!,Waste of money' | tr '\n' ' ')" \
	'^result 2 0\.[0-9]+ 0\.[0-9]+ label 2 positive negative probabilities 2x2 0\.[0-9]+ 0\.[0-9]+ 0\.[0-9]+ 0\.[0-9]+ $'
predict /api/v1/models/sentiment/predict '{"text":"I love this product!"}'
like 'a text' "$status $body" '^201 .*"model":"sentiment",.*"label":"positive","probabilities":\['
predict /api/v1/models/sentiment/predict '{"instances":["I love this product!",{"text":"Waste of money"}]}'
is 'texts by name' "$status $(jq -c '[.predictions[].label]' <<<"$body")" '201 ["positive","negative"]'
predict /api/v1/models/sentiment/predict '{"instances":["good",7]}'
is 'no text' "$status $(jq -c '.detail[0] | [.type, .loc]' <<<"$body")" '422 ["string_type",["body","instances",1]]'
many=$(/usr/bin/python3 -c 'print(",".join(str(i % 90) for i in range(2000)))')
is 'a thousand rows in binary' "$(ask pair "x:FP32:1000x2:$many" | wc -w)" 1002
is 'what is wrong' "$(ask pair a:FP32:1:101 b:FP32:1:1)" "400 row 0, input 'a': Input should be less than or equal to 100"
is 'an unknown model' "$(ask beer x:FP32:1:1)" '404 There is no model beer.'
is 'a wrong key' "$(infer "$base" "$scratch/tls/cert.pem" wrong pair x:FP32:1x2:1,2)" '403 Invalid API key.'
req GET /v2
is 'the server' "$status $(jq -c '[.name, .extensions]' <<<"$body")" '200 ["appcore",["binary_tensor_data","model_repository"]]'
for path in live ready; do
	req GET "/v2/health/$path"
	is "$path" "$status" 200
done
req POST /v2/models/pair/infer -H "X-API-Key: $key" -d '{}'
is 'another media type' "$status $(jq -r .error <<<"$body")" '415 Content-Type must be application/json or application/octet-stream.'
req GET /v2/nothing
answer 'an unknown path' 404 '{"error":"Not Found"}'
req GET /v2/models/pair/infer
answer 'another method' 405 '{"error":"Method Not Allowed"}'
head -c 1100000 /dev/zero >"$dir/large"
req POST /v2/models/pair/infer -H "X-API-Key: $key" --data-binary "@$dir/large"
answer "nginx's own 413" 413 '{"error":"Request body is too large."}'
req POST /api/v1/predict -H "X-API-Key: $key" --data-binary "@$dir/large"
answer 'elsewhere in its own form' 413 '{"detail":"Request body is too large."}'

# --- the repository ---

post_repository() { # WHAT KEY
	req POST "/v2/repository/models/pair/$1" -H "X-API-Key: $2" -H 'Content-Type: application/json' -d '{}'
}
post_repository unload "$key"
answer 'without the scope' 403 '{"error":"This API key lacks the scope \"models\"."}'
operator=$(appcore key create --name operator --scope models --json | jq -r .key)
can_unload() { # the workers know the key within a second
	post_repository unload "$operator"
	[ "$status" = 200 ]
}
within 'with the scope it is unloaded' 5 can_unload
is_unavailable() { # URL
	req POST "$1/v2/models/pair/infer" -H "X-API-Key: $key" -H 'Content-Type: application/json' \
		-d '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
	[ "$status" = 503 ] || [ "$status" = 404 ]
}
within 'by one worker, when the answer is there' 2 is_unavailable "$one"
within 'by the other' 2 is_unavailable "$two"
req POST /v2/repository/index -H 'Content-Type: application/json' -d '{}'
is 'the index knows it' "$(jq -c '.[] | select(.name == "pair") | [.version, .state, .reason]' <<<"$body")" '["1","UNAVAILABLE","unloaded"]'
req POST /v2/repository/index -H 'Content-Type: application/json' -d '{"ready":true}'
is 'or leaves it out' "$(jq -c '[.[].name | select(. != "sentiment")]' <<<"$body")" '["mean"]'
post_repository load "$operator"
answer 'loaded again' 200 '{}'
within 'by one worker, when the answer is there' 2 ready "$one"
within 'by the other' 2 ready "$two"
is 'and it answers' "$(ask pair x:FP32:1x2:1,2)" 'result 1 21.0'
