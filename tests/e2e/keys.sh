# API keys: made, used, revoked, rotated and expired in every worker without a restart; never kept or shown in clear.
# shellcheck shell=bash disable=SC2154
service main

codes_of_both() { # KEY: what both workers say to it
	local listener out=
	for listener in "$one" "$two"; do
		req POST "$listener/predict" -H "X-API-Key: $1" -H 'Content-Type: application/json' -d '{"features":[1]}'
		out+="$status "
	done
	printf '%s' "$out"
}

# --- create ---

made=$(appcore key create --name alice --json)
alice=$(jq -r .key <<<"$made") alice_id=$(jq -r .id <<<"$made")
like 'a key is made' "$alice" '^ak_[A-Za-z0-9_-]{40,}$'
within 'both workers know it within a second or two' 2 key_answers "$alice" 201
is 'list shows it, without its text' "$(appcore key list --json | jq -c --arg k "$alice" '[length, .[0].id, .[0].name, .[0].revoked_at, (tostring | contains($k))]')" \
	"[1,\"$alice_id\",\"alice\",null,false]"
like 'list for people' "$(appcore key list)" "^$alice_id  valid .* alice\$"
dump >"$dir/dump"
holds 'the database holds a hash, not the key' bash -c "grep -q '$alice_id' '$dir/dump' && ! grep -qF '${alice#ak_}' '$dir/dump'"
if on_postgres; then
	skip 'the key in the files: they are the server'\''s'
else
	holds 'nor do its files' bash -c "! grep -qaF '${alice:20}' '$dir'/data/*"
fi
req GET '/api/v1/predictions?limit=1'
is 'the prediction carries the key id' "$(jq -r '.predictions[0].key_id' <<<"$body")" "$alice_id"

text=$(appcore key create --name bob 2>"$dir/bob.err")
like 'for people the key alone is on standard output' "$text" '^ak_[A-Za-z0-9_-]{40,}$'
bob=$text
within 'it works' 2 key_answers "$bob" 201

wrong() { # NAME EXPECTED-CODE PATTERN ARGUMENTS...
	local name=$1 code=0 expected=$2 pattern=$3 output
	shift 3
	output=$(appcore "$@" 2>&1) || code=$?
	like "$name" "$code $output" "^$expected .*$pattern"
}
wrong 'create wants a name' 100 '--name' key create
wrong 'a name is taken once' 100 'name already' key create --name alice
wrong 'an expiry must be to come' 100 'expires' key create --name past --expires 2001-01-01
wrong 'a rate is a number' 100 '--rate' key create --name rate --rate many
wrong 'revoking an unknown key' 100 'no valid API key' key revoke nobody
wrong 'an unknown option' 100 '--nonsense' key create --nonsense
is 'none of them made a key' "$(appcore key list --json | jq length)" 2

# --- what is no key ---

for text in "${alice}x" "${alice%?}" "${alice:0:20}" "$alice_id" 'ak_' "$(printf '%0500d' 7)" "$alice $alice" "' OR 1=1 --"; do
	req POST /predict -H "X-API-Key: $text" -H 'Content-Type: application/json' -d '{"features":[1]}'
	answer "no key: ${text:0:24}..." 403 '{"detail":"Invalid API key."}'
done

# --- revoke, rotate, expire ---

appcore key revoke alice >/dev/null
within 'a revoked key is refused by both workers' 2 key_answers "$alice" 403
is 'another key is not' "$(codes_of_both "$bob")" '201 201 '
is 'list says revoked' "$(appcore key list --json | jq -c '[.[] | select(.name == "alice") | .revoked_at != null]')" '[true]'
wrong 'a revoked key is not revoked again' 100 '' key revoke "$alice_id"

new_bob=$(appcore key rotate bob --overlap 20s --json | jq -r .key)
within 'a rotated key works' 2 key_answers "$new_bob" 201
is 'the old one still does' "$(codes_of_both "$bob")" '201 201 '
brief=$(appcore key create --name brief --expires 20s --json | jq -r .key)
within 'a key that expires works' 2 key_answers "$brief" 201
within 'until the overlap has passed' 30 key_answers "$bob" 403
is 'the new one goes on' "$(codes_of_both "$new_bob")" '201 201 '
within 'until then' 30 key_answers "$brief" 403
like 'list says expired' "$(appcore key list)" 'expired .* brief'
dated=$(appcore key create --name dated --expires 2999-12-31 --json | jq -r .expires_at)
like 'an expiry as a date' "$dated" '^2999-12-31T'

# --- a worker that starts later knows the keys, too ---

old=$(worker_pid 1)
kill -9 "$old"
new_worker() { [ -n "$(worker_pid 1)" ] && [ "$(worker_pid 1)" != "$old" ] && key_answers "$new_bob" 201; }
within 'after a worker died, its successor knows the keys' 5 new_worker
is 'and the revoked ones' "$(codes_of_both "$alice")" '403 403 '

# --- secrets in files, reads with a key ---

umask 077
printf 'a-secret-from-a-file-0123456789\n' >"$scratch/keys-secret"
umask 022
service file API_KEY_FILE="$scratch/keys-secret" PREDICTIONS_READ=key
is 'API_KEY_FILE is the key' "$(codes_of_both a-secret-from-a-file-0123456789)" '201 201 '
is 'no other key was made up' "$(grep '^API_KEY=' "$dir/.env" || true)" ''
req GET /predictions
answer 'PREDICTIONS_READ=key: the list wants a key' 401 '{"detail":"Missing API key. Include X-API-Key header."}'
req GET /predictions/abc
is 'a row does' "$status" 401
req GET /api/v1/predictions
is 'so do the newer paths' "$status" 401
req GET /predictions -H 'X-API-Key: nope'
is 'a wrong key' "$status" 403
req GET /predictions -H 'X-API-Key: a-secret-from-a-file-0123456789'
is 'with the key they answer' "$status" 200
req GET /health
is 'health wants none (A-022)' "$status" 200
req GET /version
is 'version wants none (A-025)' "$status" 200
