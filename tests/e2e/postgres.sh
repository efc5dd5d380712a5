# What is wrong with PostgreSQL at the start: one plain sentence, the password not in it, and an exit code that says whose
# mistake it is. On a server of the topic's own, with TLS; run.sh adds this topic on PostgreSQL only.
# shellcheck shell=bash disable=SC2154

own() { "$home/tests/servers/postgres.sh" "$1" "$scratch/$topic-server" "${@:2}"; }
own start --tls --until "$BASHPID"
own createdb good
plain=$(own url good)
password=${plain#postgresql://appcore:}
password=${password%%@*}
ca=$(own ca)
address=${plain##*@}
address=${address%/good}
new_service none

run_with() { # URL COMMAND...: with that DATABASE_URL; sets $code and $output
	local url=$1
	shift
	code=0
	output=$(cd "$dir" && env -i PATH="$PATH" HOME="$dir" "${settings[@]}" DATABASE_URL="$url" API_KEY=a-key-of-this-topic \
		SECRET_KEY=a-secret-for-tests-of-more-than-32-bytes INSTANCE_ID=API-1 timeout 120 "$@" 2>&1 </dev/null) || code=$?
}
judge() { # NAME CODE PATTERN: what run_with has left
	like "$1" "$code $output" "^$2 .*$3"
	[[ $output != *"$password"* && $output != *hidden-word* ]] || not_ok "$1: the password is in it" "$output"
	is "$1: one sentence" "$(grep -c '^appcore ' <<<"$output")" 1
	unlike "$1: no advice that does not help" "$output" 'reached.*migrate up'
}
says() { # NAME CODE PATTERN URL SUBCOMMAND...
	run_with "$4" "$binary" "${@:5}"
	judge "$1" "$2" "$3"
}
serve_says() { # NAME CODE PATTERN URL: a worker that spawn-fcgi starts
	rm -f "$dir/serve.sock"
	run_with "$4" spawn-fcgi -n -s "$dir/serve.sock" -- "$binary" serve
	judge "serve: $1" "$2" "$3"
}
all() { # NAME CODE PATTERN URL: check, migrate and serve say the same
	says "check: $1" "$2" "$3" "$4" check
	says "migrate: $1" "$2" "$3" "$4" migrate up
	serve_says "$@"
}

# --- the way there ---

all 'nobody listens' 111 'PostgreSQL' "postgresql://appcore:$password@127.0.0.1:1/good"
all 'no such host' 111 'PostgreSQL' "postgresql://appcore:$password@host.invalid/good"
all 'a wrong password' '(100|111)' 'password authentication failed' "postgresql://appcore:hidden-word@$address/good"
all 'a wrong role' '(100|111)' 'password authentication failed' "postgresql://nobody:hidden-word@$address/good"
all 'no such database' '(100|111)' 'does not exist' "postgresql://appcore:$password@$address/nothing"
all 'a URL that is none' 100 'URL' "postgresql://appcore:$password@127.0.0.1:port/good"
all 'an @ in the password as it is' 100 '%40' "postgresql://appcore:hidden-word@$password@$address/good"

# --- the certificate ---

"$home/scripts/make_certificate.sh" "$dir/other.crt" "$dir/other.key" >/dev/null
all 'a certificate of another CA' '(100|111)' 'certificate' "$plain?sslmode=verify-full&sslrootcert=$dir/other.crt"
all 'a CA file that is not there' '(100|111)' 'certificate' "$plain?sslmode=verify-full&sslrootcert=$dir/none.crt"
all 'a certificate for another name' '(100|111)' 'certificate' "${plain/127.0.0.1/127.0.0.2}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=$ca"
run_with "$plain?sslmode=verify-full&sslrootcert=$ca" "$binary" migrate up
like 'the right certificate' "$code $output" '^0 .*predictions stored: 0'

# --- a server that is not there yet, as at boot ---

own stop
(run_with "$plain" "$binary" migrate up --wait && printf '%s %s' "$code" "$output" >"$dir/waited") &
waiting=$!
sleep 2
is 'migrate up --wait waits' "$(cat "$dir/waited" 2>/dev/null || echo waits)" waits
own start
wait "$waiting"
like 'and goes on when the server is there' "$(cat "$dir/waited")" '^0 .*waiting: PostgreSQL.*nothing to do'

# --- a worker whose clock is months ahead ---

own createdb clock
clock=${plain/%good/clock}
run_with "$clock" "$binary" migrate up
own psql clock -c "INSERT INTO predictions (id, features, result, model_version, created_at) SELECT
	lpad(to_hex(ms >> 16), 8, '0') || '-' || lpad(to_hex(ms & 65535), 4, '0') || '-7000-8000-' || lpad(to_hex(ms), 12, '0'), '[1]', 1, 'v1.0',
	to_char(to_timestamp(ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') || '.000000+00:00'
	FROM (SELECT (extract(epoch FROM now()) * 1000)::bigint - day * 86400000 AS ms FROM generate_series(1, 20) day) t" >/dev/null
server_of() { # URL [NAME=VALUE...]: a worker on that database begins; $serving is its process
	rm -f "$dir/clock.sock"
	: >"$dir/served" # at once: what the one before said is not its
	(cd "$dir" && exec env -i PATH="$PATH" HOME="$dir" "${settings[@]}" DATABASE_URL="$1" API_KEY=a-key-of-this-topic \
		SECRET_KEY=a-secret-for-tests-of-more-than-32-bytes INSTANCE_ID=API-1 "${@:2}" \
		spawn-fcgi -n -s "$dir/clock.sock" -- "$binary" serve) >"$dir/served" 2>&1 </dev/null 8>&- &
	serving=$!
	helpers+=("$serving")
}
ends() { # it; $output is what it said
	kill -TERM "$serving" 2>/dev/null || true
	wait "$serving" || true
	output=$(<"$dir/served")
}
has_said() { grep -qE "$1" "$dir/served"; }
mkdir -p "$dir/run"
server_of "$clock" RETENTION_DAYS=90
weeks_are_made() { [ "$(own psql clock -Atc "SELECT count(*) FROM pg_inherits WHERE inhparent = 'predictions'::regclass")" -ge 2 ]; }
within 'a worker makes the weeks' 30 weeks_are_made
ends
library=$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null | head -n 1)
if [ -n "$library" ]; then
	server_of "$clock" RETENTION_DAYS=90 LD_PRELOAD="$library" FAKETIME=+120d FAKETIME_DONT_FAKE_MONOTONIC=1
	within 'a clock that is 120 days ahead is told of' 30 has_said 'nothing is deleted.*clocks'
	ends
	is 'and deletes nothing' "$(own psql clock -Atc 'SELECT count(*) FROM predictions')" 20
else
	skip 'a clock that is ahead: libfaketime is missing (make deps-postgres)'
fi

# --- a worker that finds a standby, and nothing else ---

standby() { "$home/tests/servers/postgres.sh" "$1" "$scratch/$topic-standby" "${@:2}"; }
standby replica "$scratch/$topic-server" --until "$BASHPID"
there=$(standby url clock)
serve_on() { # URL: with Redis, until it serves
	server_of "$1" RETENTION_DAYS=0 REDIS_URL=redis://127.0.0.1:1
	within 'a worker serves' 30 has_said 'serves, pid'
}
serve_on "$there"
ends
like 'with REDIS_URL and no number to know its data by: it serves' "$output" 'serves, pid'
like 'without Redis, and says so' "$output" 'without Redis'
serve_on "$clock" # writes the number
has_number() { [ -n "$(standby psql clock -Atc "SELECT 1 FROM generations WHERE topic = 'installation'")" ]; }
within 'the standby has the number' 10 has_number
ends
serve_on "$there"
ends
like 'with the number' "$output" 'serves, pid'
unlike 'Redis is used' "$output" 'without Redis'
standby remove

# --- copies: who else is there ---

copy=$dir/copy
run_with "$clock" "$binary" backup "$copy"
is 'a backup' "$code $output" "0 $copy"
mkdir -p "$dir/programs"
tool() { # NAME TEXT: a program of PostgreSQL's that does this first
	printf '#!/bin/bash\n%s\nexec %q "$@"\n' "$2" "$(command -v "$1")" >"$dir/programs/$1"
	chmod +x "$dir/programs/$1"
}
with_tools() { run_with "$1" env PATH="$dir/programs:$PATH" "$binary" "${@:2}"; }
rows_there() { own psql clock -Atc 'SELECT count(*) FROM predictions'; }
own psql clock -c "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions LIMIT 5)" >/dev/null
clock="$clock?application_name=prod"
server_of "$clock" RETENTION_DAYS=90
within 'a service is there' 30 has_said 'serves, pid'
run_with "$clock" "$binary" restore "$copy"
like 'restore under a service whose URL names itself' "$code $output" '^100 .*is open'
is 'nothing was replaced' "$(rows_there)" 15
ends
clock=${clock%\?*}

# Somebody comes while the copy is made SQL.
tool pg_restore "env PGAPPNAME=appcore psql -d '$clock' -c 'SELECT pg_sleep(90)' >/dev/null 2>&1 </dev/null &
for _ in {1..100}; do
	[ \"\$(psql -d '$clock' -Atc \"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'appcore'\")\" = 0 ] || break
	sleep 0.05
done"
with_tools "$clock" restore "$copy"
like 'restore while a service starts' "$code $output" '^100 .*is open'
is 'nothing was replaced then' "$(rows_there)" 15
own psql clock -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'appcore'" >/dev/null
gone() { [ "$(own psql clock -Atc "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'appcore'")" = 0 ]; }
within 'it goes' 15 gone
rm "$dir/programs/pg_restore"
run_with "$clock" "$binary" restore "$copy"
is 'restore when nobody is there' "$code $output $(rows_there)" "0 restored $copy 20"

# The last session of a service that was stopped is there for a moment: for two seconds it is waited for, unless the
# machine takes longer than that to come to it.
comes() { [ "$(own psql clock -Atc "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'appcore'")" = 1 ]; }
for _ in {1..5}; do
	own psql clock -c "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions LIMIT 5)" >/dev/null
	PGAPPNAME=appcore psql -d "$clock" -c 'SELECT pg_sleep(0.7)' >/dev/null 2>&1 </dev/null &
	leaving=$!
	for _ in {1..20}; do ! comes || break; sleep 0.02; done
	run_with "$clock" "$binary" restore "$copy"
	wait "$leaving" || true
	[ "$code" != 0 ] || break
done
is 'restore waits for a session that is about to end' "$code $output $(rows_there)" "0 restored $copy 20"

# --- copies: secrets ---

own psql good -c "CREATE ROLE asks LOGIN PASSWORD 'hid?den-word' IN ROLE appcore" >/dev/null
for program in pg_dump psql; do
	# shellcheck disable=SC2016  # expanded by the program
	tool "$program" 'printf "%s\n" "$@" >>'"$dir"'/arguments; cat "${PGSERVICEFILE:-/dev/null}" >>'"$dir/services"
done
for form in "postgresql://asks:hid?den-word@$address/clock" "postgresql://asks@$address/clock?%70assword=hid%3Fden-word" \
	"postgresql://asks:hid?den-word@$address/clock?sslpassword=hid-too"; do
	rm -f "$copy" "$dir/arguments" "$dir/services"
	with_tools "$form" backup "$copy"
	is "backup with ${form#*asks}" "$code" 0
	unlike 'its arguments tell no secret' "$(cat "$dir/arguments")" 'hid'
done
is 'a secret of another kind arrives too' "$(tail -n 1 "$dir/services")" 'sslpassword=hid-too'

# --- copies: not through a pooler ---

pooler() { "$home/tests/servers/pgbouncer.sh" "$1" "$scratch/$topic-pooler" "${@:2}"; }
for ignored in extra_float_digits extra_float_digits,options; do
	pooler start "$scratch/$topic-server" --pool 1 --set "ignore_startup_parameters=$ignored" --until "$BASHPID"
	pooled=$(pooler url clock)
	rm -f "$dir/pooled"
	for verb in backup restore; do
		file=$dir/pooled
		[ "$verb" = backup ] || file=$copy
		run_with "$pooled" "$binary" "$verb" "$file"
		like "$verb through a pooler ($ignored) is refused" "$code $output" '^100 .*pooler.*DATABASE_URL'
	done
	run_with "$pooled" "$binary" check
	like 'whose connection is good for others' "$code $output" '^0 .*predictions *20 stored'
	pooler remove
done

# --- rights and schema ---

own psql good -c "CREATE ROLE reader LOGIN PASSWORD '$password'"
own createdb empty
says 'a role without rights: migrate' '(100|111)' 'permission denied' "postgresql://reader:$password@$address/empty" migrate up
says 'a role without rights: check' '(100|111)' 'permission denied' "postgresql://reader:$password@$address/good" check
serve_says 'a role without rights' '(100|111)' 'permission denied' "postgresql://reader:$password@$address/good"
own psql good -c "INSERT INTO schema_migrations VALUES (99, 'later', 'x', 'y')"
serve_says 'a schema of a newer program' 100 'newer' "$plain"
says 'a schema of a newer program: migrate' 100 'newer' "$plain" migrate up
own psql good -c 'DELETE FROM schema_migrations WHERE number = 99'
own psql good -c 'DELETE FROM schema_migrations WHERE number = (SELECT max(number) FROM schema_migrations)'
says 'a half-done migration: check' 100 'migrate up' "$plain" check
serve_says 'a half-done migration' '(100|111)' '(migrat|already exists)' "$plain"
own remove
