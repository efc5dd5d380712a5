# Idempotency-Key: replay, mismatch, per caller and route, both spellings, and two at once.
# shellcheck shell=bash disable=SC2154
service main

keyed() { # KEY JSON [CURL OPTIONS...]
	local value=$1 json=$2
	shift 2
	post "$json" -H "Idempotency-Key: $value" "$@"
}

before=$(rows)
keyed order-1 '{"features":[1,2]}'
is 'the first' "$status ${h[idempotency-replayed]-no}" '201 no'
first=$body
keyed order-1 '{"features":[1,2]}'
is 'again: the stored answer' "$status $body ${h[idempotency-replayed]-no}" "201 $first true"
keyed '"order-1"' '{"features":[1,2]}'
is 'in quotes it is the same key' "$status $body" "201 $first"
for listener in "$one" "$two"; do
	req POST "$listener/predict" -H "X-API-Key: $key" -H 'Content-Type: application/json' -H 'Idempotency-Key: order-1' --data-binary '{"features":[1,2]}'
	is 'from either worker' "$status $body" "201 $first"
done
is 'one row' "$(rows)" $((before + 1))
keyed order-1 '{"features":[1,3]}'
like 'another body is refused' "$status $body" '^422 \{"detail":"This Idempotency-Key was used with another request body\."\}$'
keyed order-1 '{"features":[1, 2]}'
is 'another spelling is another body' "$status" 422
is 'nothing more was stored' "$(rows)" $((before + 1))

keyed order-2 '{"features":[1,2]}'
is 'another key, another row' "$status $(($(rows) - before))" '201 2'
req POST /api/v1/predict -H "X-API-Key: $key" -H 'Content-Type: application/json' -H 'Idempotency-Key: order-1' --data-binary '{"features":[1,2]}'
is 'another route, another row' "$status ${h[idempotency-replayed]-no} $(($(rows) - before))" '201 no 3'
other=$(appcore key create --name other --json | jq -r .key)
as_other() { req POST /predict -H "X-API-Key: $other" -H 'Content-Type: application/json' -H "Idempotency-Key: $1" --data-binary "$2"; }
within 'a second caller' 2 key_answers "$other" 201
before=$(rows)
as_other order-1 '{"features":[5]}'
is "has keys of its own" "$status ${h[idempotency-replayed]-no} $(($(rows) - before))" '201 no 1'

# A refused request leaves the key free.
before=$(rows)
keyed order-3 '{"features":[]}'
is 'a bad body under a key' "$status" 422
keyed order-3 '{"features":[7]}'
is 'leaves the key free' "$status $(jq .result <<<"$body") $(($(rows) - before))" "201 $(jq .result <<<"$body") 1"

# --- keys that are none ---

before=$(rows)
long=$(printf '%0255d' 0)
keyed "$long" '{"features":[1]}'
is '255 characters are fine' "$status" 201
refused() { # NAME VALUE
	keyed "$2" '{"features":[1]}'
	like "$1" "$status $body" '^422 .*"loc":\["header","Idempotency-Key"\]'
}
refused '256 are not' "${long}0"
refused 'empty quotes' '""'
refused 'a quote inside' 'a"b'
refused 'a backslash' 'a\b'
refused 'beyond ASCII' $'caf\xc3\xa9'
refused 'a tab' $'a\tb'
post '{"features":[1]}' -H 'Idempotency-Key;'
like 'empty' "$status $body" '^422 .*Idempotency-Key|^201 '
is 'stored by those that were refused: nothing' "$(($(rows) - before))" "$([ "$status" = 201 ] && echo 2 || echo 1)"

# --- expiry ---

keyed order-4 '{"features":[4]}'
first=$body
change 'UPDATE idempotency_keys SET expires_us = 1'
keyed order-4 '{"features":[5]}'
is 'a key that expired is free again' "$status $(jq '.result == 5' <<<"$body")" '201 true'
is 'keys live for 24 hours' "$(sql "SELECT count(*) FROM idempotency_keys WHERE expires_us > 1 AND abs(expires_us / 1000000 - $EPOCHSECONDS - 86400) < 60")" 1

# --- many at once ---

/usr/bin/python3 "$here/at_once.py" "$pool" "$key" 24 >"$dir/at_once"
is 'many at once: 201 or 409, one answer, one row' "$(cat "$dir/at_once")" 'statuses [201, 409] or [201]; 1 answer'
is 'exactly one row of it' "$(sql "SELECT count(*) FROM predictions WHERE features = '[424242.25]'")" 1
