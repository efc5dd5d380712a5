/* Moving: the list of tables, sums, many rows at once, table moves, and, where there is a PostgreSQL server, whole
 * moves. What processes do to each other is in tests/e2e/move.sh. */
#include "store_helpers.h"

#include "store/generations.h"
#include "store/keys.h"
#include "store/move.h"
#include "store/moves.h"

#include <pthread.h>

static struct str sqlite_url(const char *name)
{
	static char urls[4][600];
	static int next;
	char *url = urls[next++ % 4];

	snprintf(url, sizeof(urls[0]), "sqlite:///%s", test_path(name));
	return str_of(url);
}

static struct db *open_url(struct str url)
{
	struct db *db;
	struct err err = {0};

	if (db_open(&db, url, DB_WRITE, &err) != STATUS_OK ||
	    migrate_up(db, 0, false, NULL, NULL, NULL, &err) != STATUS_OK)
		test_give_up("a database", &err);
	return db;
}

static void script(struct db *db, const char *sql)
{
	struct err err = {0};

	OK(db_script(db, sql, &err));
}

/* --- tables --- */

static void the_list_of_tables_is_complete(void)
{
	static const char sqlite_tables[] =
		"SELECT count(*) FROM sqlite_schema WHERE type = 'table'"
		" AND name NOT IN ('schema_migrations', 'moves') AND name NOT LIKE 'sqlite_%'"
		" AND name NOT LIKE 'data\\_search\\_%' ESCAPE '\\'"; /* the full-text index's own */
	/* And the rowid of the one virtual table, which is not listed. */
	static const char sqlite_columns[] = "SELECT count(*) + 1 FROM sqlite_schema s, pragma_table_info(s.name)"
					     " WHERE s.type = 'table' AND s.name NOT IN ('schema_migrations', 'moves')"
					     " AND s.name NOT LIKE 'sqlite_%'"
					     " AND s.name NOT LIKE 'data\\_search\\_%' ESCAPE '\\'";
	static const char tables[] = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND"
				     " relkind IN ('r', 'p') AND NOT relispartition"
				     " AND relname NOT IN ('schema_migrations', 'moves')";
	static const char columns[] =
		"SELECT count(*) FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT "
		"attisdropped"
		" WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
		" AND relname NOT IN ('schema_migrations', 'moves')";
	struct db *db = test_database("list.db");
	int64_t n = 0;

	for (int i = 0; i < TABLES_N; i++) {
		char text[512], sql[600];
		struct stmt *stmt;
		tables_list_columns(&TABLES[i], text, sizeof(text));
		snprintf(sql, sizeof(sql), "SELECT %s FROM %s", text, TABLES[i].name);
		OK(db_prepare(db, sql, &stmt, NULL));
		OK(db_run(stmt, NULL, NULL));
		n += TABLES[i].n;
		db_close(db); /* a statement is known by the address of its text */
		db = test_open("list.db", DB_WRITE);
	}
	CU_ASSERT_EQUAL(test_number(db, database_is_postgres() ? tables : sqlite_tables), TABLES_N);
	CU_ASSERT_EQUAL(test_number(db, database_is_postgres() ? columns : sqlite_columns), n);
	db_close(db);
}

static const struct table PAIR = {.name = "pair", .n = 2, .columns = {{"a", DB_TEXT}, {"b", DB_DOUBLE}}};

static struct table_sum sum_of(const char *a, double b, bool null)
{
	struct db_value values[] = {{.type = DB_TEXT, .bytes = str_of(a)},
				    {.type = DB_DOUBLE, .real = b, .null = null}};
	struct table_sum sum = {0};

	OK(tables_add(&sum, &PAIR, values, NULL));
	return sum;
}

static void sums_tell_values_apart(void)
{
	struct table_sum one = sum_of("x", 1.0, false), two = sum_of("y", 2.0, false), sum = one, other = two;
	struct table_sum zero = sum_of("x", 0.0, false), minus = sum_of("x", -0.0, false),
			 null = sum_of("x", 0.0, true);
	char hash[TABLE_HASH_BYTES];
	struct table_sum back = {.rows = 2};

	CU_ASSERT_FALSE(tables_equal(&one, &two));
	tables_add_sum(&sum, &two);
	tables_add_sum(&other, &one);
	CU_ASSERT_TRUE(tables_equal(&sum, &other));
	CU_ASSERT_EQUAL(sum.rows, 2);
	CU_ASSERT_TRUE(tables_equal(&zero, &minus));
	CU_ASSERT_FALSE(tables_equal(&zero, &null));
	tables_format_hash(&sum, hash);
	CU_ASSERT_TRUE(tables_parse_hash(str_of(hash), &back));
	CU_ASSERT_TRUE(tables_equal(&sum, &back));
	CU_ASSERT_FALSE(tables_parse_hash(STR("0123"), &back));
	CU_ASSERT_FALSE(tables_parse_hash(STR("0123456789abcdef0123456789abcdeg"), &back));
	/* A carry goes up. */
	struct table_sum low = {.low = UINT64_MAX}, step = {.low = 1};
	tables_add_sum(&low, &step);
	CU_ASSERT_EQUAL(low.low, 0);
	CU_ASSERT_EQUAL(low.high, 1);
	/* Rows larger than the stack's buffer. */
	char *large = calloc(1, 100001);
	memset(large, 'x', 100000);
	struct table_sum big = sum_of(large, 1.0, false);
	large[99999] = 'y';
	struct table_sum bigger = sum_of(large, 1.0, false);
	CU_ASSERT_FALSE(tables_equal(&big, &bigger));
	free(large);
}

/* --- many rows at once --- */

static const char *const NAMES[] = {"topic", "value"};

static enum status put_topics(struct db *db, int first, int n, struct err *err)
{
	struct db_copy *copy;
	char topic[32];

	enum status status = db_copy_begin(db, "generations", NAMES, 2, &copy, err);
	if (status != STATUS_OK)
		return status;
	for (int i = first; i < first + n && status == STATUS_OK; i++) {
		snprintf(topic, sizeof(topic), "topic %d", i);
		struct db_value values[] = {{.type = DB_TEXT, .bytes = str_of(topic)}, {.type = DB_I64, .i64 = i}};
		status = db_copy_row(copy, values, err);
	}
	if (status == STATUS_OK)
		return db_copy_end(copy, err);
	db_copy_cancel(copy);
	return status;
}

static void many_rows_or_none(void)
{
	static const char rows[] = "SELECT count(*) FROM generations", sum[] = "SELECT sum(value) FROM generations";
	struct db *db = test_database("many.db");
	struct db_copy *copy;
	struct err err = {0};

	OK(db_turn_take(db, -1, NULL));
	OK(db_begin(db, NULL));
	OK(put_topics(db, 0, 50000, &err));
	OK(put_topics(db, 50000, 1, &err)); /* again, in the same transaction */
	OK(db_commit(db, &err));
	CU_ASSERT_EQUAL(test_number(db, rows), 50001);
	CU_ASSERT_EQUAL(test_number(db, sum), (int64_t)50000 * 50001 / 2);
	/* A key that is there already. */
	OK(db_begin(db, NULL));
	IS(put_topics(db, 50000, 2, &err), STATUS_CONFLICT);
	db_rollback(db);
	/* Given up half-way. */
	OK(db_begin(db, NULL));
	OK(db_copy_begin(db, "generations", NAMES, 2, &copy, &err));
	struct db_value values[] = {{.type = DB_TEXT, .bytes = STR("given up")}, {.type = DB_I64}};
	OK(db_copy_row(copy, values, &err));
	db_copy_cancel(copy);
	db_rollback(db);
	/* A table that is not there. */
	OK(db_begin(db, NULL));
	CU_ASSERT_NOT_EQUAL(db_copy_begin(db, "nowhere", NAMES, 2, &copy, &err), STATUS_OK);
	db_rollback(db);
	CU_ASSERT_EQUAL(test_number(db, rows), 50001);
	OK(db_begin(db, NULL));
	OK(put_topics(db, 60000, 1, &err));
	OK(db_commit(db, &err));
	CU_ASSERT_EQUAL(test_number(db, rows), 50002);
	db_turn_give(db);
	db_close(db);
}

struct waiter {
	struct db *db;
	bool got;
};

static void *wait_for_turn(void *arg)
{
	struct waiter *waiter = arg;

	waiter->got = db_turn_take(waiter->db, TEST_PATIENCE_MS, NULL) == STATUS_OK;
	if (waiter->got)
		db_turn_give(waiter->db);
	return NULL;
}

static void who_waits_for_the_turn_is_seen(void)
{
	if (database_skips("turns are SQLite's"))
		return;
	struct db *db = test_database("wanted.db");
	struct waiter waiter = {.db = test_open("wanted.db", DB_WRITE)};
	struct timespec nap = {.tv_nsec = 1000000};
	pthread_t thread;

	OK(db_turn_take(db, -1, NULL));
	CU_ASSERT_FALSE(db_turn_is_wanted(db));
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, wait_for_turn, &waiter), 0);
	for (int i = 0; i < TEST_PATIENCE_MS && !db_turn_is_wanted(db); i++)
		nanosleep(&nap, NULL);
	CU_ASSERT_TRUE(db_turn_is_wanted(db));
	db_turn_give(db);
	pthread_join(thread, NULL);
	CU_ASSERT_TRUE(waiter.got);
	db_close(waiter.db);
	db_close(db);
}

/* --- table moves --- */

static void ranges_are_kept(void)
{
	struct db *db = test_database("ranges.db"), *other = test_database("other.db");
	struct moves_range range = {.first = "a", .last = "b", .sum = {3, 4, 5}, .checked_us = 6}, *ranges;
	char id[MOVES_ID_BYTES], others[MOVES_ID_BYTES];
	size_t n;

	OK(moves_get(db, "database", id, NULL));
	OK(moves_get(other, "database", others, NULL));
	CU_ASSERT_EQUAL(strlen(id), 32);
	CU_ASSERT_STRING_NOT_EQUAL(id, others);
	OK(moves_get(db, "source", others, NULL));
	CU_ASSERT_STRING_EQUAL(others, "");
	OK(db_turn_take(db, -1, NULL));
	OK(db_begin(db, NULL));
	OK(moves_put(db, "t", &range, NULL));
	range.verified = true;
	OK(moves_put(db, "t", &range, NULL)); /* in its own place */
	range = (struct moves_range){.last = "a", .sum = {1, UINT64_MAX, 0}};
	OK(moves_put(db, "t", &range, NULL));
	OK(moves_set(db, "run", "one", NULL));
	OK(moves_guard(db, "one", NULL));
	IS(moves_guard(db, "two", NULL), STATUS_CONFLICT);
	OK(db_commit(db, NULL));
	OK(moves_list(db, "t", &ranges, &n, NULL));
	CU_ASSERT_EQUAL_FATAL(n, 2);
	CU_ASSERT_STRING_EQUAL(ranges[0].last, "a");
	CU_ASSERT_EQUAL(ranges[0].sum.high, UINT64_MAX);
	CU_ASSERT_STRING_EQUAL(ranges[1].first, "a");
	CU_ASSERT_TRUE(ranges[1].verified);
	CU_ASSERT_EQUAL(ranges[1].sum.rows, 3);
	CU_ASSERT_EQUAL(ranges[1].checked_us, 6);
	free(ranges);
	OK(db_begin(db, NULL));
	OK(moves_remove(db, "t", "b", NULL));
	OK(db_commit(db, NULL));
	OK(moves_list(db, "t", &ranges, &n, NULL));
	CU_ASSERT_EQUAL(n, 1);
	free(ranges);
	db_turn_give(db);
	db_close(db);
	db_close(other);
}

/* --- moves --- */

static enum status move(struct str from, struct str to, struct move_result *result, struct err *err)
{
	struct move_options options = {.from = from, .to = to};

	return move_run(&options, result, err);
}

static void wrong_urls_are_refused(void)
{
	static const struct {
		const char *from, *to, *says;
	} cases[] = {
		{"sqlite:///a.db", "sqlite:///a.db", "source itself"},
		{"sqlite:///a.db", "sqlite:///b.db", "same engine"},
		{"postgresql://h/a", "postgres://h/b", "same engine"},
		{"sqlite:///a.db", "mysql://user:secret@h/b", "no known form"},
		{"sqlite:///a.db", "postgresql://user:sec@ret@h/b", "no PostgreSQL URL"},
		{"sqlite:///a.db", "postgresql://user:secret@h:hush/b", "no PostgreSQL URL"},
		{"postgresql://h/a", "sqlite:///", "names no file"},
	};
	struct move_result result;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {0};
		IS(move(str_of(cases[i].from), str_of(cases[i].to), &result, &err), STATUS_INVALID);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
		CU_ASSERT_PTR_NULL(strstr(err.text, "sec"));
		CU_ASSERT_PTR_NULL(strstr(err.text, "hush"));
	}
}

/* Rows of three weeks, some of no time, some with what is hard to carry. */
static void fill(struct db *db, int first, int n)
{
	struct err err = {0};

	OK(db_turn_take(db, -1, NULL));
	OK(db_begin(db, NULL));
	for (int i = first; i < first + n; i++) {
		struct edge_identity edge = {.ms = clock_wall_us() / 1000 - (int64_t)(i % 3) * 7 * 86400 * 1000 -
						   1000 * i};
		char text[ID_TEXT_BYTES], iso[CLOCK_ISO_BYTES];
		bool repeated;
		memcpy(edge.random, &i, sizeof(i));
		struct id id = id_of_edge_row(&edge, (uint64_t)i);
		id_format(&id, text);
		if (i % 50 == 1)
			text[0] = 'f'; /* a time that nobody lives to see */
		clock_format_iso(edge.ms * 1000, iso);
		struct prediction row = {
			.id = str_of(text),
			.features = i % 7 ? STR("[1.0, \"\xc3\xa4\\\t\n\"]") : STR("[]"),
			.result = i % 5 ? (double)i / 3.0 : -0.0,
			.model_version = STR("v1.0"),
			.created_at = str_of(iso),
			.model_name = STR("mean"),
			.duration_us = INT64_MIN + i,
		};
		OK(predictions_save(db, &row, &repeated, NULL, NULL, &err));
	}
	struct key_row key = {.rate_per_minute = -1, .created_us = 5};
	snprintf(key.id, sizeof(key.id), "k%d", first);
	snprintf(key.name, sizeof(key.name), "name %d", first);
	key.hash[3] = 0xff;
	OK(keys_insert(db, &key, &err));
	OK(db_commit(db, &err));
	db_turn_give(db);
}

static void equal_with(struct str from, struct str to, int64_t copied, int64_t predictions)
{
	struct move_result result;
	struct err err = {0};

	enum status status = move(from, to, &result, &err);
	if (status != STATUS_OK)
		test_give_up("a move", &err);
	CU_ASSERT_TRUE(result.equal);
	CU_ASSERT_EQUAL(result.n, TABLES_N);
	CU_ASSERT_EQUAL(result.tables[0].target.rows, predictions);
	CU_ASSERT_EQUAL(result.tables[0].since, 0);
	if (copied >= 0)
		CU_ASSERT_EQUAL(result.copied, copied);
}

static void refused(struct str from, struct str to, const char *says)
{
	struct move_result result;
	struct err err = {0};

	IS(move(from, to, &result, &err), STATUS_CONFLICT);
	if (!strstr(err.text, says))
		fprintf(stderr, "%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says));
}

static void there_and_back(void)
{
	if (!database_is_postgres())
		return;
	char to_text[600];
	struct str from = sqlite_url("from.db"), back = sqlite_url("back.db"), to;
	snprintf(to_text, sizeof(to_text), "%.*s", STR_ARG(database_url("to.db")));
	to = str_of(to_text);
	struct db *source = open_url(from);

	fill(source, 0, 1500);
	equal_with(from, to, 1502, 1500); /* and a key, and its generation */
	struct db *target = open_url(to);
	CU_ASSERT_TRUE(test_number(target, "SELECT count(*) FROM predictions_rest") == 30);
	CU_ASSERT_TRUE(test_number(target, "SELECT count(*) FROM pg_inherits"
					   " WHERE inhparent = 'predictions'::regclass") >= 4);
	equal_with(from, to, 0, 1500);

	/* Rows before, between and after; rows gone; a row that is another one; a key revoked. */
	fill(source, 1500, 500);
	script(source, "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY id LIMIT 10)");
	script(source,
	       "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY id LIMIT 10 OFFSET 900)");
	script(source, "UPDATE predictions SET features = '[9]'"
		       " WHERE id = (SELECT id FROM predictions ORDER BY id LIMIT 1 OFFSET 100)");
	script(source, "UPDATE api_keys SET revoked_us = 7 WHERE id = 'k0'");
	equal_with(from, to, -1, 1980);
	CU_ASSERT_EQUAL(test_number(target, "SELECT revoked_us FROM api_keys WHERE id = 'k0'"), 7);

	/* And back, into a new file; the old one is refused. */
	refused(to, from, "wants an empty database");
	equal_with(to, back, 1980 + 2 + 1, 1980);
	struct db *again = open_url(back);
	CU_ASSERT_EQUAL(test_number(again, "SELECT count(*) FROM predictions WHERE features = '[9]'"), 1);

	/* A target that has lost or got rows by hand is mended by a look at everything, one in service is left alone.
	 */
	script(again,
	       "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY id LIMIT 3 OFFSET 700)");
	equal_with(to, back, -1, 1980);
	fill(again, 9000, 1);
	refused(to, back, "in service");
	db_close(again);
	db_close(target);
	db_close(source);
}

/* The target serves, and what it stores does not come after what was carried: a clock of the old service was ahead. */
static void what_the_target_has_stored_stays(void)
{
	static const char own_rows[] =
		"INSERT INTO predictions (id, features, result, model_version, created_at)"
		" SELECT lpad(to_hex(ms >> 16), 8, '0') || '-' || lpad(to_hex(ms & 65535), 4, '0')"
		" || '-7000-8000-00000000000' || i, '[1]', 1, 'own', '2026-01-01T00:00:00.000000+00:00'"
		" FROM (SELECT i, (extract(epoch FROM now()) * 1000)::bigint AS ms FROM generate_series(1, 3) i) t";
	if (!database_is_postgres())
		return;
	char to_text[600];
	struct str from = sqlite_url("stays.db"), to;
	snprintf(to_text, sizeof(to_text), "%.*s", STR_ARG(database_url("stays_to.db")));
	to = str_of(to_text);
	struct db *source = open_url(from);

	fill(source, 0, 300); /* the last keys are of a far future */
	equal_with(from, to, 302, 300);
	struct db *target = open_url(to);
	script(target, own_rows);
	refused(from, to, "in service");
	CU_ASSERT_EQUAL(test_number(target, "SELECT count(*) FROM predictions"), 303);
	/* Its retention has deleted more than that. */
	script(target, "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY id LIMIT 10)");
	refused(from, to, "in service");
	CU_ASSERT_EQUAL(test_number(target, "SELECT count(*) FROM predictions WHERE model_version = 'own'"), 3);
	db_close(target);
	db_close(source);
}

static volatile sig_atomic_t stop_now;

static void stop_at_indexes(void *arg, const struct move_progress *progress)
{
	(void)arg;
	stop_now = stop_now || progress->phase == MOVE_INDEXING;
}

/* Stopped with rows in tables that are no part of predictions yet, which the source then deletes. */
static void what_was_left_unattached_is_mended(void)
{
	if (!database_is_postgres())
		return;
	char to_text[600];
	struct str from = sqlite_url("left.db"), to;
	snprintf(to_text, sizeof(to_text), "%.*s", STR_ARG(database_url("left_to.db")));
	to = str_of(to_text);
	struct db *source = open_url(from);
	struct move_options options = {.from = from, .to = to, .note = stop_at_indexes, .stop = &stop_now};
	struct move_result result;
	struct err err = {0};

	fill(source, 0, 300);
	stop_now = 0;
	IS(move_run(&options, &result, &err), STATUS_BUSY);
	struct db *target = open_url(to);
	CU_ASSERT_TRUE(test_number(target, "SELECT count(*) FROM pg_class WHERE relname ~ '^predictions_load_w'"
					   " AND relkind = 'r'") >= 3);
	script(source, "DELETE FROM predictions WHERE id IN (SELECT id FROM predictions ORDER BY id LIMIT 10)");
	equal_with(from, to, -1, 290);
	CU_ASSERT_EQUAL(test_number(target, "SELECT count(*) FROM predictions"), 290);

	/* Another run into the same database, emptied with tables of the one before still there. */
	OK(migrate_down(target, 0, false, NULL, NULL, NULL, &err));
	script(target, "CREATE TABLE predictions_load_w2960 (id text)");
	OK(migrate_up(target, 0, false, NULL, NULL, NULL, &err));
	equal_with(from, to, -1, 290);
	db_close(target);
	db_close(source);
}

static const struct move_table *table_of(const struct move_result *result, const char *name)
{
	for (int i = 0; i < result->n; i++)
		if (strcmp(result->tables[i].name, name) == 0)
			return &result->tables[i];
	return NULL;
}

static void models_and_shadows_are_carried(void)
{
	if (!database_is_postgres())
		return;
	char to_text[600];
	struct str from = sqlite_url("models.db"), to;
	snprintf(to_text, sizeof(to_text), "%.*s", STR_ARG(database_url("models_to.db")));
	to = str_of(to_text);
	struct db *source = open_url(from);
	struct move_result result;
	struct err err = {0};

	fill(source, 0, 300);
	script(source, "INSERT INTO models VALUES ('wine/1', 'aa', 1, 5), ('wine/2', 'bb', 0, 6)");
	script(source, "INSERT INTO model_routes VALUES ('wine', '1=90 2=10', 'key', '', '1=100', 7)");
	script(source,
	       "INSERT INTO shadow_predictions SELECT id || '/0123456789012345678901234567890123456789"
	       "012345678901234567890123', '2', 'wine', 'bb', result, 'red', '[0.5, 0.5]', '1', result, 'white',"
	       " created_at, 7 FROM predictions");
	/* 300 predictions and shadows, a key, its generation, two versions and a route. */
	equal_with(from, to, 300 + 300 + 2 + 3, 300);
	script(source, "DELETE FROM shadow_predictions WHERE id IN (SELECT id FROM shadow_predictions LIMIT 20)");
	script(source, "UPDATE shadow_predictions SET label = '' WHERE id = (SELECT max(id) FROM shadow_predictions)");
	script(source, "UPDATE model_routes SET shares = '2=100'");
	OK(move(from, to, &result, &err));
	CU_ASSERT_TRUE(result.equal);
	CU_ASSERT_EQUAL(table_of(&result, "shadow_predictions")->target.rows, 280);
	CU_ASSERT_EQUAL(table_of(&result, "models")->target.rows, 2);
	struct db *target = open_url(to);
	CU_ASSERT_EQUAL(test_number(target, "SELECT count(*) FROM shadow_predictions WHERE label = ''"), 1);
	CU_ASSERT_EQUAL(test_number(target, "SELECT count(*) FROM model_routes WHERE shares = '2=100'"), 1);
	script(target, "INSERT INTO shadow_predictions SELECT 'z' || id, model_version, model_name, model_hash, result,"
		       " label, probabilities, active_version, active_result, active_label, created_at, duration_us"
		       " FROM shadow_predictions LIMIT 1");
	refused(from, to, "taken shadow_predictions");
	db_close(target);
	db_close(source);
}

static void strangers_are_refused(void)
{
	if (!database_is_postgres())
		return;
	char to_text[600];
	struct str from = sqlite_url("mine.db"), other = sqlite_url("stranger.db"), to;
	snprintf(to_text, sizeof(to_text), "%.*s", STR_ARG(database_url("theirs.db")));
	to = str_of(to_text);
	struct db *source = open_url(from);
	struct db *target = open_url(to);

	fill(source, 0, 10);
	OK(db_turn_take(target, -1, NULL));
	OK(db_begin(target, NULL));
	OK(generations_bump(target, STR("topic"), NULL));
	OK(db_commit(target, NULL));
	refused(from, to, "holds generations of its own");
	script(target, "DELETE FROM generations");
	fill(target, 0, 1);
	refused(from, to, "holds predictions of its own");
	db_close(target);
	db_close(source);

	/* A target that was filled from another one. */
	char second_text[600];
	snprintf(second_text, sizeof(second_text), "%.*s", STR_ARG(database_url("second.db")));
	db_close(open_url(sqlite_url("other.db")));
	equal_with(from, str_of(second_text), 12, 10);
	refused(sqlite_url("other.db"), str_of(second_text), "another database");

	/* Another program's files and databases; a schema that is not this program's. */
	FILE *file = fopen(test_path("stranger.db"), "w");
	fputs("SQLite format 4, or a letter to grandmother: in any case no database of ours, and long enough", file);
	fclose(file);
	struct move_result result;
	struct err err = {0};
	CU_ASSERT_NOT_EQUAL(move(to, other, &result, &err), STATUS_OK);
	struct db *empty;
	struct str plain = database_url("plain.db");
	OK(db_open(&empty, plain, DB_WRITE, NULL));
	script(empty, "CREATE TABLE letters (a TEXT)");
	refused(from, plain, "tables of another program");
	script(empty, "DROP TABLE letters");
	OK(migrate_up(empty, 3, false, NULL, NULL, NULL, NULL));
	IS(move(from, plain, &result, &err), STATUS_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "migrate up"));
	db_close(empty);
}

static const struct unit_case CASES[] = {
	{"the list of tables is complete", the_list_of_tables_is_complete},
	{"sums tell values apart", sums_tell_values_apart},
	{"many rows or none", many_rows_or_none},
	{"who waits for the turn is seen", who_waits_for_the_turn_is_seen},
	{"ranges are kept", ranges_are_kept},
	{"wrong URLs are refused", wrong_urls_are_refused},
	{"there and back", there_and_back},
	{"what the target has stored stays", what_the_target_has_stored_stays},
	{"what was left unattached is mended", what_was_left_unattached_is_mended},
	{"models and shadows are carried", models_and_shadows_are_carried},
	{"strangers are refused", strangers_are_refused},
};

int main(void)
{
	return UNIT_RUN("move", CASES);
}
