# Moving to PostgreSQL and back while the service runs: equal on both sides, resumed after kill -9, refused where it would
# do harm. Wants a PostgreSQL server: that of `make test-postgres`, or one of its own where Debian's is installed.
# shellcheck shell=bash disable=SC2154
if ! on_postgres; then
	if ! "$home/tests/servers/postgres.sh" start "$scratch/move-server" --until $$ >"$scratch/move-server.out" 2>&1; then
		if grep -q 'not installed' "$scratch/move-server.out"; then
			skip "no PostgreSQL server is installed, so nothing is moved: make deps-postgres"
		else
			not_ok 'a PostgreSQL server starts' "$(cat "$scratch/move-server.out")"
		fi
		return 0
	fi
	own_server=$scratch/move-server
	TEST_DATABASE_SERVER=$("$home/tests/servers/postgres.sh" url "$own_server" postgres)
	TEST_DATABASE_SERVER=${TEST_DATABASE_SERVER%/postgres}
fi
lite=sqlite:///data/predictions.db
new_service main DATABASE_URL=$lite RETENTION_DAYS=0

ask() { psql -X -A -t -q -v ON_ERROR_STOP=1 "$TEST_DATABASE_SERVER/$1" -c "$2"; } # DATABASE SQL
lite() { sqlite3 -cmd '.timeout 5000' -cmd 'PRAGMA wal_autocheckpoint=0' "${file:-$dir/data/predictions.db}" "$1" | tail -n +2; }
move_to() { # URL [ARGUMENTS...]: the exit code in $code, the objects in $out
	code=0
	out=$(appcore move --json --to "$@" 2>"$dir/move.err") || code=$?
}
told() { jq -rs "$1" <<<"$out"; } # JQ: over all objects
done_is() { told "map(select(.event == \"done\"))[0] | $1"; }
equal() { # NAME PREDICTIONS: the last move ended with both sides equal
	is "$1" "$code $(done_is .equal) $(told 'map(select(.table == "predictions" and .event == "table"))[0] | [.source_rows, .target_rows, .source_hash == .target_hash, .equal] | tostring')" \
		"0 true [$2,$2,true,true]"
}
refuses() { # NAME PATTERN URL
	move_to "$3"
	is "$1" "$code" 100
	like "$1: says why" "$(cat "$dir/move.err")" "$2"
	unlike "$1: no password" "$(cat "$dir/move.err")" 'hunter'
}
fresh() { # NAME: $url is an empty database
	make_database "$1"
	url=$TEST_DATABASE_SERVER/$database
	name=$database
}
# What is stored, by other programs than ours; the numbers rounded, since they print them differently.
seen_by_sqlite() { sqlite3 -readonly "$1" "SELECT id, features, printf('%.6f', result), model_version, created_at, model_name, key_id, request_id, trace_id, duration_us FROM predictions ORDER BY id" | cksum; }
seen_by_postgres() { ask "$1" "SELECT id, features, round(result::numeric, 6), model_version, created_at, model_name, key_id, request_id, trace_id, duration_us FROM predictions ORDER BY id" | cksum; }

# N rows of three weeks, keys in the order of their time; some of before there were weeks.
rows_into() { # FILE N
	sqlite3 "$1" "PRAGMA wal_autocheckpoint=0; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2),
		t AS (SELECT i, CASE WHEN i % 1000 = 1 THEN i ELSE (unixepoch() - 1728000) * 1000 + i * (1728000000 / $2) - 60000 END AS ms FROM n)
		INSERT INTO predictions (id, features, result, model_version, created_at, model_name, key_id, duration_us)
		SELECT printf('%08x-%04x-7%03x-8000-%012x', ms >> 16, ms & 65535, i % 4096, i), '[' || i || '.0, 2.5]', i * 0.5, 'v1.0',
		strftime('%Y-%m-%dT%H:%M:%S', ms / 1000, 'unixepoch') || printf('.%03d000+00:00', ms % 1000), 'mean', printf('k%d', i % 5), i FROM t" >/dev/null
}

# --- there, while it is written ---

appcore migrate up >/dev/null
rows_into "$dir/data/predictions.db" 40000
start
fresh there
appcore key create --name mover >/dev/null 2>&1
post '{"features":[1,2,3]}' -H 'Idempotency-Key: move-1'
is 'the service runs' "$status" 201
(while kill -0 $$; do
	codes "$pool/predict?n=[1-20]" -H "X-API-Key: $key" -H 'Content-Type: application/json' -d '{"features":[1,2]}' >>"$dir/told"
	sleep 0.02
done) &
writer=$!
move_to "$url"
is 'a move beside writers succeeds' "$code $(done_is '.rows_copied >= 40000')" '0 true'
is 'it says what to do next' "$(done_is '.next | length')" 3
is 'progress is told' "$(told 'map(select(.event == "progress" and .phase == "copying")) | length > 0')" true
move_to "$url"
is 'and again, beside writers' "$code" 0
kill "$writer"
wait "$writer" 2>/dev/null || true
is 'no write failed meanwhile' "$(tr ' ' '\n' <"$dir/told" | grep -vc '^201$' | tr -d '\n') $(tr ' ' '\n' <"$dir/told" | grep -c '^$')" "0 0" || true
control stop >/dev/null
stored=$(sqlite3 -readonly "$dir/data/predictions.db" 'SELECT count(*) FROM predictions')
move_to "$url"
equal 'the last run, nobody writing' "$stored"
is 'carries little' "$(done_is '.rows_copied < 20000')" true
is 'the same rows, as other programs read them' "$(seen_by_postgres "$name")" "$(seen_by_sqlite "$dir/data/predictions.db")"
is 'keys and answers too' "$(ask "$name" "SELECT (SELECT count(*) FROM api_keys WHERE name = 'mover'), (SELECT count(*) FROM idempotency_keys)")" '1|1'
is 'rows lie in their weeks' "$(ask "$name" "SELECT count(*) FROM predictions_rest")" 40
is 'every week has all indexes' "$(ask "$name" "SELECT count(DISTINCT n) || ' ' || min(n) FROM (SELECT count(*) AS n FROM pg_inherits JOIN pg_index ON indrelid = inhrelid WHERE inhparent = 'predictions'::regclass GROUP BY inhrelid) x")" '1 4'
move_to "$url"
equal 'a rerun is harmless' "$stored"
is 'and carries nothing' "$(done_is .rows_copied)" 0

# --- what changed in the source ---

lite "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY id LIMIT 100);
	DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY id LIMIT 5 OFFSET 20000);
	INSERT INTO predictions (id, features, result, model_version, created_at) VALUES ('01900000-0000-7000-8000-00000000ffff', '[1]', 1, 'late', '2024-06-09T00:00:00.000000+00:00');
	UPDATE api_keys SET revoked_us = 5 WHERE name = 'mover'"
move_to "$url"
equal 'rows that went, rows that came late' $((stored - 104))
is 'a key that was revoked' "$(ask "$name" "SELECT revoked_us FROM api_keys WHERE name = 'mover'")" 5
is 'seen by other programs' "$(seen_by_postgres "$name")" "$(seen_by_sqlite "$dir/data/predictions.db")"

# --- what is refused ---

refuses 'no PostgreSQL URL' 'no PostgreSQL URL' "postgresql://user:hunter@2@127.0.0.1/x"
refuses 'a port that is no number' 'no PostgreSQL URL' "postgresql://user@127.0.0.1:hunter/x"
refuses 'another kind of URL' 'no known form' "mysql://user:hunter2@127.0.0.1/x"
refuses 'the same file' 'source itself' "$lite"
refuses 'the same engine' 'same engine' 'sqlite:///data/another.db'
is 'no file was made for it' "$(ls "$dir"/data/another.db* 2>/dev/null)" ''
move_to "postgresql://user:hunter2@127.0.0.1:1/x"
is 'a server that is not there' "$code" 111
unlike 'tells no password' "$(cat "$dir/move.err")" hunter
code=0
appcore move 2>"$dir/move.err" || code=$?
is 'without --to' "$code" 100
target=$url
there=$name
fresh foreign
ask "$name" 'CREATE TABLE letters (a text)'
refuses "another program's database" 'another program' "$url"
new_service second DATABASE_URL=$lite
appcore migrate up >/dev/null
rows_into "$dir/data/predictions.db" 10
refuses 'what another installation was moved to' 'another database' "$target"
use main

# --- the service on the other side, and back ---

settings=("${settings[@]/#DATABASE_URL=*/DATABASE_URL=$target}")
know_service
start
post '{"features":[4,5,6]}'
is 'it serves from PostgreSQL' "$status" 201
post '{"features":[1,2,3]}' -H 'Idempotency-Key: move-1'
is 'an answer that was stored before the move is known' "${h[idempotency-replayed]:-}" true
req GET '/api/v1/predictions?limit=100'
is 'it lists' "$(jq '.predictions | length' <<<"$body")" 100
control stop >/dev/null
settings=("${settings[@]/#DATABASE_URL=*/DATABASE_URL=$lite}")
know_service
refuses 'a target that is in service' 'in service' "$target"
settings=("${settings[@]/#DATABASE_URL=*/DATABASE_URL=$target}")
know_service
refuses 'back into the old file' 'empty database' "$lite"
move_to sqlite:///data/back.db
equal 'back into a new file' $((stored - 103))
is 'the same rows' "$(seen_by_sqlite "$dir/data/back.db")" "$(seen_by_postgres "$there")"
settings=("${settings[@]/#DATABASE_URL=*/DATABASE_URL=sqlite:///data/back.db}")
know_service
holds 'the file is whole' appcore check --integrity

# --- ended in the middle ---

new_service large DATABASE_URL=$lite
appcore migrate up >/dev/null
rows_into "$dir/data/predictions.db" 450000
ranges() { # NUMBER: so many have been carried
	local n
	n=$(ask "$name" "SELECT count(*) FROM moves WHERE part = 'predictions'" 2>/dev/null) && [ "$n" -ge "$1" ]
}
begin_move() { # RANGES: a move in the background, once it has carried so many
	(in_service "$binary" move --to "$url" >"$dir/move.out" 2>&1) &
	mover=$!
	for _ in {1..9000}; do
		if ranges "$1" || ! kill -0 "$mover" 2>/dev/null; then break; fi
		sleep 0.01
	done
}
child() { pgrep -P "$1" || echo "$1"; }
# A move that was done before it could be ended is tried again.
for try in 1 2 3 4 5; do
	fresh "killed$try"
	begin_move 1
	kill -KILL "$(child "$mover")" 2>/dev/null || true
	killed=0
	wait "$mover" 2>/dev/null || killed=$?
	code=0
	said=$(cd "$dir" && DATABASE_URL=$url SECRET_KEY=a-secret-for-tests-of-more-than-32-bytes spawn-fcgi -n -s "$dir/half.sock" -- "$binary" serve 2>&1 8>&-) || code=$?
	half="$code $said"
	[ "$killed" = 137 ] || continue
	begin_move 2
	kill -INT "$(child "$mover")" 2>/dev/null || true
	code=0
	wait "$mover" || code=$?
	[ "$code" != 111 ] || break
done
is 'killed with -9' "$killed" 137
like 'nobody serves from what is half there' "$half" '^100 .*not finished'
like 'Ctrl-C: says that another run goes on' "$code $(cat "$dir/move.out")" '^111 .*run it again'
move_to "$url"
equal 'the next run goes on' 450000
is 'from where it was' "$(done_is '.rows_copied < 450000')" true
is 'no row is there twice' "$(ask "$name" 'SELECT count(*) = count(DISTINCT id) FROM predictions')" t
is 'the same rows' "$(seen_by_postgres "$name")" "$(seen_by_sqlite "$dir/data/predictions.db")"

fresh cut
begin_move 1
ask "$name" "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'" >/dev/null
code=0
wait "$mover" || code=$?
is 'a connection that is cut is made anew' "$code" 0
is 'no row is lost or twice' "$(ask "$name" 'SELECT count(*), count(DISTINCT id) FROM predictions')" '450000|450000'

fresh two
(in_service "$binary" move --to "$url" >"$dir/one.out" 2>&1) &
one=$!
begin_move 1
wait "$one" || true
code=0
wait "$mover" || code=$?
move_to "$url"
equal 'two at once: both sides are equal in the end' 450000
is 'and no row is there twice' "$(ask "$name" 'SELECT count(*) = count(DISTINCT id) FROM predictions')" t

settings=("${settings[@]/#DATABASE_URL=*/DATABASE_URL=$url}")
know_service
(in_service "$binary" move --to sqlite:///data/back.db >"$dir/move.out" 2>&1) &
mover=$!
for _ in {1..500}; do
	[ "$(sqlite3 -readonly "$dir/data/back.db" "SELECT count(*) FROM moves WHERE part = 'predictions'" 2>/dev/null || echo 0)" -lt 1 ] || break
	sleep 0.01
done
kill -KILL "$(child "$mover")" 2>/dev/null || true
wait "$mover" 2>/dev/null || true
move_to sqlite:///data/back.db
equal 'back, killed with -9 and run again' 450000
is 'the same rows as at first' "$(seen_by_sqlite "$dir/data/back.db")" "$(seen_by_sqlite "$dir/data/predictions.db")"

if [ -n "${own_server:-}" ]; then
	drop_databases
	# shellcheck disable=SC2034  # lib.sh drops them at the end
	databases=()
	"$home/tests/servers/postgres.sh" remove "$own_server"
fi
