# appcore user: people are made, kept out, let in again and given other passwords, and every worker minds it with the next
# request. Passwords and hashes show up nowhere.
# shellcheck shell=bash disable=SC2154
json=(-H 'Content-Type: application/json')
service main

as() { appcore user "$@"; } # with a password on standard input where one is wanted
token_of() { # NAME PASSWORD: of a login
	req POST /api/v1/auth/login --data-urlencode "username=$1" --data-urlencode "password=$2"
	jq -r '.access_token // empty' <<<"$body"
}
both() { # HEADER [PATH]: what both workers say to it
	local listener out=
	for listener in "$one" "$two"; do
		req GET "$listener${2:-/api/v1/users/me}" -H "$1"
		out+="$status "
	done
	printf '%s' "$out"
}

# --- create, list, show ---

made=$(as create --username ada --email ADA@Example.org --json <<<'difference-engine')
is 'a user is made' "$(jq -c '[.id, .username, .email, .is_active, .is_superuser]' <<<"$made")" '[1,"ada","ADA@example.org",true,false]'
unlike 'without password or hash in the answer' "$made" 'engine|argon2'
like 'for people a line' "$(as create --username 'Grace Hopper' --email grace@example.org --superuser <<<'nanoseconds')" '^ +2  active +superuser +created 20.* Grace Hopper  grace@example.org$'
is 'list, as JSON' "$(as list --json | jq -c 'map(.username)')" '["ada","Grace Hopper"]'
is 'show, in any case' "$(as show 'GRACE hopper' --json | jq .id)" 2
token=$(token_of ada difference-engine)
is 'they can log in' "$(both "Authorization: Bearer $token")" '200 200 '
dump >"$dir/dump"
holds 'passwords are kept as Argon2id (B-065)' bash -c "grep -qF 'argon2id\$v=19\$m=19456,t=2,p=1' '$dir/dump' && ! grep -qF difference-engine '$dir/dump'"

wrong() { # NAME EXPECTED-CODE PATTERN PASSWORD ARGUMENTS...
	local name=$1 code=0 expected=$2 pattern=$3 password=$4 output
	shift 4
	output=$(printf '%s\n' "$password" | appcore user "$@" 2>&1) || code=$?
	like "$name" "$code $output" "^$expected .*$pattern"
	[ -z "$password" ] || unlike "$name: the password is not repeated" "$output" "$password"
}
wrong 'a name is taken once, in any case' 100 'is taken' enough-bytes create --username ADA --email x@example.org
wrong 'so is an address' 100 'is taken' enough-bytes create --username x --email ada@EXAMPLE.org
wrong 'look-alikes are the same name' 100 'is taken' enough-bytes create --username "$(printf 'ad\xef\xbd\x81')" --email x@example.org
wrong 'scripts are not mixed' 100 'must not mix' enough-bytes create --username "$(printf 'ad\xd0\xb0')" --email x@example.org
wrong 'no name at all' 100 'must not be empty' enough-bytes create --username '' --email x@example.org
wrong 'an address that is none' 100 'exactly one @-sign' enough-bytes create --username x --email nobody
wrong 'a reserved one (B-082)' 100 'special-use or reserved' enough-bytes create --username x --email x@example.test
wrong 'a short password' 100 'at least 8 bytes' sevenby create --username x --email x@example.org
wrong 'none' 100 'no password' '' create --username x --email x@example.org
wrong 'a password is no argument' 100 '--password' '' create --username x --email x@example.org --password hidden-word
wrong 'a password file that is not there' 100 'No such file' '' create --username x --email x@example.org --password-file "$dir/none"
wrong 'no such user' 100 'no such user' '' disable nobody
wrong 'nor one of a name that cannot be' 100 'no such user' '' show "$(printf 'a\tb')"
wrong 'a NUL in it' 100 'NUL' '' create --username x --email x@example.org --password-file <(printf 'enough\0bytes\n')
wrong 'keys are revoked where sessions end' 100 'goes with' '' enable ada --revoke-keys
wrong 'no verb' 100 'see --help' ''
is 'none of them made a user' "$(as list --json | jq length)" 2

# --- disable, enable, promote, demote ---

req POST /api/v1/users/me/keys "${json[@]}" -H "Authorization: Bearer $token" -d '{"name":"laptop"}'
own=$(jq -r '.key // empty' <<<"$body")
like 'a user makes a key' "$status $own" '^201 ak_'
is 'it works' "$(both "X-API-Key: $own")" '200 200 '
req POST "$one/predict" "${json[@]}" -H "X-API-Key: $own" -d '{"features":[1]}'
predicts=$status
like 'the operator sees whose it is' "$(appcore key list)" 'laptop.* user 1$'
is 'disable' "$(as disable ada --json | jq .is_active)" false
is 'their token is refused as B-074 says' "$(both "Authorization: Bearer $token")" '400 400 '
like 'their key as well' "$(both "X-API-Key: $own")" '^(400 400|401 401|403 403) $'
req POST "$one/predict" "${json[@]}" -H "X-API-Key: $own" -d '{"features":[1]}'
unlike 'and does not predict' "$status" '^2'
like 'list says so' "$(as list)" ' 1  disabled '
is 'twice does no harm' "$(as disable ada --json | jq .is_active)" false
is 'enable' "$(as enable ada --json | jq .is_active)" true
is 'the session stays over' "$(both "Authorization: Bearer $token")" '401 401 '
is 'the key works again' "$(both "X-API-Key: $own")" '200 200 '
req POST "$one/predict" "${json[@]}" -H "X-API-Key: $own" -d '{"features":[1]}'
is 'for what it did' "$status" "$predicts"
is 'promote' "$(as promote ada --json | jq .is_superuser)" true
token=$(token_of ada difference-engine)
req GET "$two/api/v1/users/me" -H "Authorization: Bearer $token"
is 'a superuser is told so' "$(jq .is_superuser <<<"$body")" true
is 'demote' "$(as demote ada --json | jq .is_superuser)" false
req GET "$two/api/v1/users/me" -H "Authorization: Bearer $token"
is 'with the same token, at once' "$(jq .is_superuser <<<"$body")" false

# --- reset, and hashes from elsewhere ---

printf 'analytical-engine\n' >"$dir/password"
is 'reset, from a file' "$(as reset ada --password-file "$dir/password" --json | jq -r .username)" ada
is 'ends the sessions' "$(both "Authorization: Bearer $token")" '401 401 '
is 'the old password is wrong' "$(token_of ada difference-engine)" ''
token=$(token_of ada analytical-engine)
is 'the new one is right' "$(both "Authorization: Bearer $token")" '200 200 '
is 'the key stays good' "$(both "X-API-Key: $own")" '200 200 '
as reset ada --revoke-keys <<<'analytical-engine' >/dev/null
unlike 'unless it is revoked, too' "$(both "X-API-Key: $own")" '200'
like 'list says so' "$(appcore key list)" 'revoked .*laptop'
# "U*U" by bcrypt, of crypt_blowfish's own tests
# shellcheck disable=SC2016
change "UPDATE users SET hashed_password = '\$2b\$05\$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW' WHERE id = 1"
is 'a wrong password, by bcrypt' "$(token_of ada 'U*V')" ''
like 'a right one (X-14)' "$(token_of ada 'U*U')" '^eyJ'
like 'is hashed anew' "$(sql 'SELECT hashed_password FROM users WHERE id = 1')" '^\$argon2id\$'
like 'and still right' "$(token_of ada 'U*U')" '^eyJ'
is 'no password in a log' "$(grep -rlE 'difference-engine|analytical-engine|U\*U' "$dir/run" 2>/dev/null || true)" ''
