# Settings: every problem is told at once, nothing starts with wrong ones, and the exit code says whose mistake it is.
# shellcheck shell=bash disable=SC2154

fails() { # NAME CODE PATTERN COMMAND...: $output is what it said
	local name=$1 code=0 expected=$2 pattern=$3
	shift 3
	output=$("$@" 2>&1) || code=$?
	like "$name" "$code $output" "^$expected .*$pattern"
}
with() { # SETTING=VALUE... -- COMMAND...: in the service's folder, with these settings besides
	local extra=()
	while [ "$1" != -- ]; do
		extra+=("$1")
		shift
	done
	shift
	(cd "$dir" && exec env -i PATH="$PATH" HOME="${HOME:-/}" "${settings[@]}" "${extra[@]}" "$@")
}

new_service none
wrong=(HTTPS_PORT=0 HTTP_PORT=99999 INSTANCES=many LOG_LEVEL=LOUD RATE_LIMIT_PER_MINUTE=-1 MAX_BODY_BYTES=1MB HTTP_CONTRACT=maybe
	PREDICTIONS_READ=sometimes TRUSTED_PROXIES=nonsense METRICS_ALLOW=10.0.0.0/99 CORS_ORIGINS=not-an-origin ENVIRONMENT=moon
	DATABASE_URL=mysql://x RETENTION_DAYS=forever TLS_CERTIFICATE=only-one TLS_KEY= RATE_LIMIT_HEADERS=none)
names='HTTPS_PORT HTTP_PORT INSTANCES LOG_LEVEL RATE_LIMIT_PER_MINUTE MAX_BODY_BYTES HTTP_CONTRACT PREDICTIONS_READ TRUSTED_PROXIES METRICS_ALLOW CORS_ORIGINS ENVIRONMENT DATABASE_URL RETENTION_DAYS TLS_CERTIFICATE RATE_LIMIT_HEADERS'
for command in check config serve 'migrate current' 'key list'; do
	# shellcheck disable=SC2086
	fails "appcore $command refuses wrong settings" 100 '' with "${wrong[@]}" -- "$binary" $command
	missing=
	for name in $names; do [[ $output == *"$name"* ]] || missing+="$name "; done
	is "appcore $command names every one of them" "$missing" ''
	is "each in one line" "$(($(wc -l <<<"$output") >= 16 && $(wc -l <<<"$output") <= 20))" 1
done
fails 'service.sh start as well' 100 'HTTPS_PORT' with "${wrong[@]}" -- "$home/scripts/service.sh" start
like 'all at once' "$output" 'LOG_LEVEL.*CORS_ORIGINS'
is 'and leaves nothing behind that runs' "$(ls "$dir"/run/*.pid "$dir"/run/nginx/nginx.pid 2>/dev/null || true)" ''

# --- secrets ---

secret=a-secret-for-tests-of-more-than-32-bytes

# Where no .env gives one: an empty one in the environment is none.
fails 'production without a key (A-079)' 100 'API_KEY is not set' with ENVIRONMENT=production API_KEY= -- sh -c 'mkdir -p bare && cd bare && exec "$0" check' "$binary"
fails 'production with the default key (A-079)' 100 'API_KEY is the development default' with ENVIRONMENT=production API_KEY=dev-key-change-in-production -- "$binary" serve
fails 'production with a short key' 100 'API_KEY is shorter' with ENVIRONMENT=production API_KEY=short -- "$binary" check
rm -f "$dir/.env"
fails 'service.sh in production makes up no key' 100 'API_KEY' with ENVIRONMENT=production -- "$home/scripts/service.sh" start
is 'and writes none' "$(grep -cE '^(API|SECRET)_KEY=' "$dir/.env" 2>/dev/null || true)" 0
fails 'nor a secret' 100 'SECRET_KEY is not set' with ENVIRONMENT=production API_KEY=a-long-production-key-1 -- "$home/scripts/service.sh" start
is 'and writes none of these either' "$(grep -cE '^(API|SECRET)_KEY=' "$dir/.env" 2>/dev/null || true)" 0
fails 'serve without a secret (B-007)' 100 'SECRET_KEY is not set' with SECRET_KEY= -- sh -c 'mkdir -p bare && cd bare && exec "$0" serve' "$binary"
fails 'a secret that is too short' 100 'SECRET_KEY is shorter than 32 bytes' with SECRET_KEY=hidden-word -- "$binary" serve
unlike 'is not repeated' "$output" 'hidden-word'
fails 'production with the secret of the examples (X-41)' 100 'SECRET_KEY is that of the examples' with ENVIRONMENT=production API_KEY=a-long-production-key-1 SECRET_KEY=your-super-secret-key-change-in-production -- "$binary" check
fails 'a key with a blank' 100 'API_KEY holds blanks' with 'API_KEY=two words' -- "$binary" check
fails 'a key twice' 100 'API_KEY and API_KEY_FILE are both set' with API_KEY=abcdefghijklmnop "API_KEY_FILE=$dir/k" -- "$binary" check
fails 'a key file that is not there' 100 'API_KEY_FILE names' with "API_KEY_FILE=$dir/missing" -- "$binary" check
fails 'a key file that is a folder' 100 'API_KEY_FILE names' with "API_KEY_FILE=$dir" -- "$binary" check
printf 'file-secret-0123456789\n' >"$dir/secret"
fails 'no secret in what config prints' 0 'HTTPS_PORT' with API_KEY=printed-secret-0123 -- "$binary" config --shell
unlike 'nor the key itself' "$output" 'printed-secret'
fails 'config --json says that it is set' 0 '"API_KEY":"set"' with "API_KEY_FILE=$dir/secret" -- "$binary" config --json
unlike 'nor what the file holds' "$output" 'file-secret'

# --- .env ---

printf '# a comment\nexport LOG_LEVEL=WARNING\nAPP_NAME="two words" # said so\nMAX_BODY_BYTES=1000\nMAX_BODY_BYTES=2000\n' >"$dir/.env"
fails '.env is read: export, quotes, the last of two' 0 '"APP_NAME":"two words".*"LOG_LEVEL":"WARNING".*"MAX_BODY_BYTES":2000' with -- "$binary" config --json
fails 'the environment wins' 0 '"LOG_LEVEL":"DEBUG"' with LOG_LEVEL=DEBUG -- "$binary" config --json
printf 'LOG_LEVEL=INFO\nthis is no setting\nAPP_NAME="open\n' >"$dir/.env"
fails 'lines of .env that are none' 100 '\.env line 2.*\.env line 3' with -- "$binary" check
rm "$dir/.env"
fails 'overlapping ports' 100 'overlap' with HTTP_PORT=20000 HTTPS_PORT=20000 -- "$binary" check
fails 'ports of the instances that overlap' 100 'overlap' with DIRECT_PORT=20000 HTTPS_PORT=20002 -- "$binary" check
fails 'a PostgreSQL that is not there' 111 'PostgreSQL' with DATABASE_URL=postgresql://user:hidden-word@127.0.0.1:1/x -- "$binary" check
unlike 'without the password in it' "$output" 'hidden-word'
fails 'a URL of PostgreSQL that is none' 100 'database URL' with DATABASE_URL=postgresql://user:hidden-word@127.0.0.1:none/x -- "$binary" check
unlike 'without the password in it' "$output" 'hidden-word'
touch "$dir/file"
fails 'a folder that cannot be' '(100|111)' '' with DATA_DIR="$dir/file/data" -- "$home/scripts/service.sh" start
is 'nothing runs' "$(ls "$dir"/run/*.pid 2>/dev/null || true)" ''

# --- subcommands ---

fails 'no subcommand' 100 'usage' "$binary"
fails 'an unknown one' 100 'no subcommand nonsense' "$binary" nonsense
fails '--version' 0 'appcore 0\.1\.0' "$binary" --version
fails 'help' 0 'serve' "$binary" help
for command in serve migrate key backup restore move check config version; do
	fails "$command --help" 0 'usage: ' "$binary" "$command" --help
	like "help $command is the same" "$("$binary" help "$command")" "$(head -n 1 <<<"$output" | sed 's/[][|.()*+?^$\\]/\\&/g')"
	fails "$command --nonsense" 100 'nonsense' with -- "$binary" "$command" --nonsense
done
fails 'serve without a socket' 100 'spawn-fcgi' with SECRET_KEY="$secret" -- "$binary" serve
fails 'backup without a file' 100 'which file' with -- "$binary" backup
fails 'check before the database is there' '(100|111)' '' with -- "$binary" check

# --- settings that are right ---

service right MAX_BODY_BYTES=1000 ENVIRONMENT=production API_KEY=a-long-production-key-1 SECRET_KEY="$secret" INSTANCES=3
key=a-long-production-key-1
unlike 'the banner of production shows no key' "$(<"$dir/start.out")" "$key"
is 'three instances' "$(codes "$pool/version" "http://localhost:$((direct + 3))/version" | cut -c 1-3)" 200
is '.env is 0600' "$(stat -c %a "$dir/.env")" 600
post "{\"features\":[1],\"a\":\"$(head -c 1100 /dev/zero | tr '\0' x)\"}"
is 'MAX_BODY_BYTES: above' "$status" 413
post '{"features":[1]}'
is 'MAX_BODY_BYTES: below' "$status" 201
req GET /predictions
is 'in production reads want a key by default' "$status" 401
unlike 'check is content' "$(appcore check)" SECRET_KEY
like 'check misses a secret' "$(in_service env SECRET_KEY= "$binary" check)" 'settings +ok, but SECRET_KEY is not set: serve will not start'
unlike 'the banner shows no secret either' "$(<"$dir/start.out")" "$secret"
