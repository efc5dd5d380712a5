/* Asking for records: conditions, order and place, words, aggregates, indexes (store/records_query.c and its likes). */
#include "store_helpers.h"

#include "base/buf.h"
#include "store/records.h"
#include "store/runs.h"

#include <sqlite3.h>

enum { PIPELINE = 1, OTHER = 2 };

static struct record_row record(int64_t pipeline, const char *key, const char *data, const char *search)
{
	return (struct record_row){.pipeline_id = pipeline,
				   .run = pipeline,
				   .key = str_of(key),
				   .source = STR("csv"),
				   .data = str_of(data),
				   .search = str_of(search),
				   .status = RECORD_PROCESSED,
				   .received_us = 1000,
				   .processed_us = 2000};
}

static void store(struct db *db, const struct record_row *rows, size_t n)
{
	char outcome[64];
	struct err err = {0};

	test_begin(db);
	if (records_insert(db, rows, n, RECORDS_SKIP, outcome, &err) != STATUS_OK)
		test_give_up("records_insert", &err);
	test_commit(db);
}

static struct db *fill(const char *name)
{
	struct db *db = test_database(name);
	struct record_row rows[] = {
		record(PIPELINE, "a", "{\"n\":1,\"t\":\"x\",\"it's\":true}", "red apple pie"),
		record(PIPELINE, "b", "{\"n\":2.5,\"t\":\"y\",\"it's\":false}", "green apple \"tart\""),
		record(PIPELINE, "c", "{\"n\":10,\"t\":\"10\"}", "blue \xc3\\xa9t\\xc3\\xa9 OR NEAR"),
		record(PIPELINE, "d", "{\"n\":\"10\",\"t\":null}", ""),
		record(PIPELINE, "e", "{\"t\":\"z\"}", "apple"),
		record(PIPELINE, "f", "{\"n\":2.5,\"t\":\"X\"}", ""),
		record(OTHER, "a", "{\"n\":3,\"t\":\"x\"}", "apple of others"),
	};
	const char *names[] = {"p", "q"};

	rows[2].search = STR("blue \xc3\xa9t\xc3\xa9 OR NEAR");
	rows[4].status = RECORD_FAILED;
	rows[5].received_us = 5000;
	test_begin(db);
	for (int64_t i = 0, id; i < 2; i++)
		OK(runs_pipeline_id(db, str_of(names[i]), 1, &id, NULL));
	test_commit(db);
	store(db, rows, sizeof(rows) / sizeof(rows[0]) - 1);
	store(db, &rows[sizeof(rows) / sizeof(rows[0]) - 1], 1);
	return db;
}

/* --- looking --- */

struct seen {
	char keys[200];
	int64_t last_seq;
	struct record_value last;
	char last_text[100];
	int n;
};

static bool see(void *arg, const struct record_row *row, const struct record_value *sort)
{
	struct seen *seen = arg;
	size_t n = strlen(seen->keys);

	snprintf(seen->keys + n, sizeof(seen->keys) - n, "%.*s", STR_ARG(row->key));
	seen->last_seq = row->seq;
	seen->last = *sort;
	snprintf(seen->last_text, sizeof(seen->last_text), "%.*s", STR_ARG(sort->text));
	seen->last.text = str_of(seen->last_text);
	seen->n++;
	return true;
}

/* The keys that a query gives, one after the other, whatever the size of its pages. */
static const char *ask(struct db *db, struct record_query query)
{
	static struct seen whole;
	struct err err = {0};

	query.pipeline_id = query.pipeline_id ? query.pipeline_id : PIPELINE;
	query.limit = 100;
	query.within_ms = 20000;
	memset(&whole, 0, sizeof(whole));
	if (records_query(db, &query, see, &whole, &err) != STATUS_OK)
		return strcpy(whole.keys, err.text);
	for (int limit = 1; limit <= 2; limit++) {
		struct seen paged = {0};
		int before = -1;
		query.has_after = false;
		query.limit = limit;
		while (paged.n > before) {
			before = paged.n;
			OK(records_query(db, &query, see, &paged, NULL));
			query.has_after = true;
			query.after_seq = paged.last_seq;
			query.after = paged.last;
		}
		CU_ASSERT_STRING_EQUAL(paged.keys, whole.keys);
	}
	return whole.keys;
}

#define ASK(...) ask(db, (struct record_query){__VA_ARGS__})
#define ONE(f, c, ...)                                                                                                 \
	ask(db, (struct record_query){.filters = {{.field = STR_INIT(f), .compare = (c), __VA_ARGS__}}, .filters_n = 1})
#define NUMBER(x) .is_number = true, .number = (x)
#define TEXT(x)   .is_text = true, .text = STR_INIT(x)

static void look_everywhere(struct db *db)
{
	/* order */
	CU_ASSERT_STRING_EQUAL(ASK(.limit = 1), "abcdef");
	CU_ASSERT_STRING_EQUAL(ASK(.descending = true), "fedcba");
	CU_ASSERT_STRING_EQUAL(ASK(.sort = STR("@key"), .descending = true), "fedcba");
	/* numbers */
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_EQ, NUMBER(2.5)), "bf");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_NE, NUMBER(2.5)), "ac");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_LT, NUMBER(2.5)), "a");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_LE, NUMBER(2.5)), "abf");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_GT, NUMBER(2.5)), "c");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_GE, NUMBER(2.5)), "bcf");
	CU_ASSERT_STRING_EQUAL(ONE("it's", RECORD_EQ, NUMBER(1)), "a");
	/* text */
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_EQ, TEXT("10")), "d");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_EQ, NUMBER(10), TEXT("10")), "cd");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_NE, NUMBER(10), TEXT("10")), "abf");
	CU_ASSERT_STRING_EQUAL(ONE("t", RECORD_EQ, TEXT("x")), "a");
	CU_ASSERT_STRING_EQUAL(ONE("t", RECORD_NE, TEXT("x")), "bcef");
	CU_ASSERT_STRING_EQUAL(ONE("t", RECORD_GE, TEXT("x")), "abe");
	CU_ASSERT_STRING_EQUAL(ONE("t", RECORD_LT, TEXT("x")), "cf");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_LT, TEXT("2")), "d");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_CONTAINS, TEXT("0")), "cd");
	CU_ASSERT_STRING_EQUAL(ONE("t", RECORD_CONTAINS, TEXT("%")), "");
	CU_ASSERT_STRING_EQUAL(ONE("t", RECORD_ABSENT, .is_number = false), "d");
	CU_ASSERT_STRING_EQUAL(ONE("n", RECORD_ABSENT, .is_number = false), "e");
	/* columns */
	CU_ASSERT_STRING_EQUAL(ONE("@status", RECORD_EQ, NUMBER(RECORD_FAILED)), "e");
	CU_ASSERT_STRING_EQUAL(ONE("@received", RECORD_GE, NUMBER(5000)), "f");
	CU_ASSERT_STRING_EQUAL(ONE("@source", RECORD_EQ, TEXT("csv")), "abcdef");
	CU_ASSERT_STRING_EQUAL(ONE("@source", RECORD_EQ, TEXT("api")), "");
	CU_ASSERT_STRING_EQUAL(ONE("@key", RECORD_CONTAINS, TEXT("b")), "b");
	/* several */
	CU_ASSERT_STRING_EQUAL(ASK(.filters = {{.field = STR("n"), .compare = RECORD_GE, NUMBER(1)},
					       {.field = STR("n"), .compare = RECORD_LT, NUMBER(10)},
					       {.field = STR("t"), .compare = RECORD_GT, TEXT("x")}},
				   .filters_n = 3),
			       "b");
	CU_ASSERT_STRING_EQUAL(ASK(.pipeline_id = OTHER, .filters = {{.field = STR("t"), TEXT("x")}}, .filters_n = 1),
			       "a");
	/* what lacks the field is less than all; on PostgreSQL so is what is of the other type */
	bool strict = db_dialect(db) == DB_DIALECT_POSTGRESQL;
	CU_ASSERT_STRING_EQUAL(ASK(.sort = STR("n"), .sort_is_number = true), strict ? "deabfc" : "eabfcd");
	CU_ASSERT_STRING_EQUAL(ASK(.sort = STR("n"), .sort_is_number = true, .descending = true),
			       strict ? "cfbaed" : "dcfbae");
	CU_ASSERT_STRING_EQUAL(ASK(.sort = STR("t")), "dcfabe");
	CU_ASSERT_STRING_EQUAL(ASK(.sort = STR("t"), .descending = true), "ebafcd");
	CU_ASSERT_STRING_EQUAL(ASK(.sort = STR("n"), .sort_is_number = true,
				   .filters = {{.field = STR("n"), .compare = RECORD_LE, NUMBER(2.5)}}, .filters_n = 1),
			       "abf");
}

static void conditions_and_order(void)
{
	struct db *db = fill("conditions.db");

	look_everywhere(db);
	db_close(db);
}

/* The same answers, found in another way. */
static void an_index_changes_nothing(void)
{
	struct db *db = fill("indexed.db");
	static const char count[] = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'data_field_1_%'";
	static const char count_pg[] = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'data_field_1_%'";

	for (int again = 0; again < 2; again++) {
		OK(records_index_field(db, PIPELINE, STR("n"), true, NULL));
		OK(records_index_field(db, PIPELINE, STR("t"), false, NULL));
		OK(records_index_field(db, PIPELINE, STR("it's"), true, NULL));
	}
	IS(records_index_field(db, PIPELINE, STR("a\"b"), true, NULL), STATUS_INVALID);
	CU_ASSERT_EQUAL(test_number(db, database_is_postgres() ? count_pg : count), 3);
	look_everywhere(db);
	db_close(db);
	db = test_open("indexed.db", DB_WRITE); /* who opens it reads the expressions */
	look_everywhere(db);
	/* One that is there is no work, one that would be long is none for now. */
	struct err err = {0};
	test_begin(db);
	OK(db_script(db, "UPDATE data_records SET seq = 300001 WHERE record_key = 'f'", &err));
	test_commit(db);
	OK(records_index_field(db, PIPELINE, STR("n"), true, &err));
	IS(records_index_field(db, PIPELINE, STR("new"), true, &err), STATUS_TOO_LARGE);
	db_close(db);
}

static void note_progress(void *arg, int64_t done, int64_t all)
{
	int64_t *seen = arg;

	CU_ASSERT_TRUE(done > seen[0] && done <= all);
	seen[0] = done;
	seen[1] = all;
}

/* Puts in the place of the only index what one leaves that was not made to its end: it has the name, and can't be used.
 */
static void leave_remains(struct db *db)
{
	char name[100], sql[200];
	struct stmt *stmt;
	struct err err = {0};
	bool there;

	OK(db_prepare(db, "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'data_field_1_%'", &stmt, &err));
	OK(db_step(stmt, &there, &err));
	CU_ASSERT_TRUE_FATAL(there);
	db_column_copy(stmt, 0, name, sizeof(name));
	db_reset(stmt);
	snprintf(sql, sizeof(sql), "DROP INDEX %s", name);
	OK(db_script(db, sql, &err));
	snprintf(sql, sizeof(sql), "CREATE UNIQUE INDEX CONCURRENTLY %s ON data_records (pipeline_id)", name);
	IS(db_script(db, sql, &err), STATUS_CONFLICT);
}

/* As a command makes it, however many there are; once more it is no work. */
static void an_index_of_many_records(void)
{
	struct db *db = fill("many_index.db");
	int64_t seen[2] = {0};
	struct record_index_state state;
	struct err err = {0};
	bool there = true;

	test_begin(db);
	OK(db_script(db, "UPDATE data_records SET seq = 300001 WHERE record_key = 'f'", &err));
	test_commit(db);
	OK(records_index_find(db, PIPELINE, STR("n"), true, &there, &err));
	CU_ASSERT_FALSE(there);
	OK(records_index_prepare(db, PIPELINE, STR("n"), note_progress, seen, &err));
	CU_ASSERT_EQUAL(seen[0], database_is_postgres() ? 0 : 300001);
	CU_ASSERT_EQUAL(seen[0], seen[1]);
	for (int again = 0; again < 2; again++) {
		OK(records_index_build(db, PIPELINE, STR("n"), true, &err));
		OK(records_index_find(db, PIPELINE, STR("n"), true, &there, &err));
		CU_ASSERT_TRUE(there);
	}
	if (database_is_postgres()) {
		leave_remains(db);
		OK(records_index_find(db, PIPELINE, STR("n"), true, &there, &err));
		CU_ASSERT_FALSE(there);
		OK(records_index_build(db, PIPELINE, STR("n"), true, &err));
		OK(records_index_find(db, PIPELINE, STR("n"), true, &there, &err));
		CU_ASSERT_TRUE(there);
	}
	OK(records_index_build(db, PIPELINE, STR("t"), false, &err));
	OK(records_index_watch(db, &state, &err));
	CU_ASSERT_EQUAL(state.phase[0], '\0');
	IS(records_index_build(db, PIPELINE, STR("a\"b"), true, &err), STATUS_INVALID);
	look_everywhere(db);
	db_close(db);
}

/* What SQLite means to do, so that a page costs a page. */
static void a_page_reads_no_table(void)
{
	static const char plan[] =
		"EXPLAIN QUERY PLAN SELECT seq FROM data_records INDEXED BY idx_data_records_pipeline"
		" WHERE pipeline_id = 1 AND seq < 99 ORDER BY seq DESC LIMIT 10";
	struct stmt *stmt;
	bool row;

	if (database_skips("it has a planner of its own"))
		return;
	struct db *db = fill("plan.db");
	OK(db_prepare(db, plan, &stmt, NULL));
	OK(db_step(stmt, &row, NULL));
	CU_ASSERT(row && strstr(db_column_text(stmt, 3).p, "idx_data_records_pipeline (pipeline_id=? AND rowid<?)"));
	OK(db_step(stmt, &row, NULL));
	CU_ASSERT_FALSE(row); /* no sorting */
	db_reset(stmt);
	db_close(db);
}

/* Ours gives what SQLite's own gives, whatever the text; and nothing where there is no object. */
static void members_are_as_the_engine_reads_them(void)
{
	static const char *const data[] = {
		"{\"a\":1}",
		"{\"a\":-0}",
		"{\"a\":1.5}",
		"{\"a\":1e3}",
		"{\"a\":true}",
		"{\"a\":false}",
		"{\"a\":null}",
		"{\"b\":1}",
		"{}",
		"{\"a\":\"x\"}",
		"{\"a\":\"\"}",
		"{\"a\":[1,2,{\"a\":3}]}",
		"{\"b\":{\"a\":1},\"a\":2}",
		"{\"b\":\"\\\"a\\\":7\",\"a\":\"\\n\\u00e9\\\"\"}",
		"{ \"b\" : [1 , \"]\"] , \"a\" : 12345678901 }",
		"{\"a\":123456789012345678901}",
	};
	sqlite3 *plain;
	sqlite3_stmt *theirs;
	struct stmt *ours;
	bool row;

	if (database_skips("it is SQLite's"))
		return;
	struct db *db = test_database("members.db");
	CU_ASSERT_EQUAL_FATAL(sqlite3_open(":memory:", &plain), SQLITE_OK);
	for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
		static const char sql[] = "SELECT json_extract($1, '$.\"a\"'), typeof(json_extract($1, '$.\"a\"'))";
		OK(db_prepare(db, sql, &ours, NULL));
		db_bind_text(ours, 1, str_of(data[i]));
		OK(db_step(ours, &row, NULL));
		sqlite3_prepare_v2(plain, sql, -1, &theirs, NULL);
		sqlite3_bind_text(theirs, 1, data[i], -1, SQLITE_STATIC);
		CU_ASSERT_EQUAL(sqlite3_step(theirs), SQLITE_ROW);
		for (int c = 0; c < 2; c++) {
			const char *wanted = (const char *)sqlite3_column_text(theirs, c);
			CU_ASSERT(str_eq(db_column_text(ours, c), str_of(wanted)));
			if (!str_eq(db_column_text(ours, c), str_of(wanted)))
				printf("%s: %s instead of %s\n", data[i], db_column_text(ours, c).p, wanted);
		}
		sqlite3_finalize(theirs);
		db_reset(ours);
	}
	sqlite3_close(plain);
	static const char *const broken[] = {"",          "{",
					     "{\"",       "{\"a",
					     "{\"a\"",    "{\"a\":",
					     "{\"a\":\"", "{\"a\":\"\\",
					     "{\"a\":[",  "{\"a\":{\"b\":\"",
					     "{\"b\":1,", "[1]",
					     "x",         "{\"a\":nonsense}"};
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		static const char sql[] = "SELECT json_extract($1, '$.\"a\"')";
		OK(db_prepare(db, sql, &ours, NULL));
		char *exact = strdup(broken[i]); /* without room behind it */
		db_bind_text(ours, 1, str_of(exact));
		OK(db_step(ours, &row, NULL));
		CU_ASSERT(db_column_is_null(ours, 0));
		db_reset(ours);
		free(exact);
	}
	db_close(db);
}

static void words_are_no_syntax(void)
{
	struct db *db = fill("words.db");

	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("apple")), "abe");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("apple"), .descending = true), "eba");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("APPLE  red")), "a");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("red OR green")), "");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("or near")), "c");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("\xc3\xa9t\xc3\xa9")), "c");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("\"tart\"")), "b");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("app*")), "");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("text : apple")), "");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("\" OR \"")), "c");
	CU_ASSERT_STRING_EQUAL(
		ASK(.search = STR("apple"), .sort = STR("n"), .sort_is_number = true, .descending = true), "bae");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("apple"), .filters = {{.field = STR("n"), NUMBER(1)}}, .filters_n = 1),
			       "a");
	CU_ASSERT_STRING_EQUAL(ASK(.search = STR("((")), "");
	db_close(db);
}

static void names_are_no_sql(void)
{
	static const char *const bad[] = {"", "a\"b", "a\\b", "a\nb", "\xff", "x\x7f"};
	struct db *db = fill("names.db");
	struct record_row odd = record(PIPELINE, "o", "{\"a'b\":1,\"$5\":2,\"x.y[0]\":3,\"') OR 1=1 --\":4}", "");

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_FALSE(record_field_is_good(str_of(bad[i])));
	CU_ASSERT_PTR_NOT_NULL(strstr(ONE("a\"b", RECORD_EQ, NUMBER(1)), "should have"));
	CU_ASSERT_PTR_NOT_NULL(strstr(ASK(.sort = STR("a\\b")), "should have"));
	CU_ASSERT_PTR_NOT_NULL(strstr(ONE("n", RECORD_EQ, TEXT("a\0b")), "UTF-8"));
	CU_ASSERT_PTR_NOT_NULL(strstr(ASK(.search = STR("\xff")), "UTF-8"));
	store(db, &odd, 1);
	CU_ASSERT_STRING_EQUAL(ONE("a'b", RECORD_EQ, NUMBER(1)), "o");
	CU_ASSERT_STRING_EQUAL(ONE("$5", RECORD_EQ, NUMBER(2)), "o");
	CU_ASSERT_STRING_EQUAL(ONE("x.y[0]", RECORD_EQ, NUMBER(3)), "o");
	CU_ASSERT_STRING_EQUAL(ONE("') OR 1=1 --", RECORD_EQ, NUMBER(4)), "o");
	CU_ASSERT_STRING_EQUAL(ONE("') OR 1=1 --", RECORD_EQ, NUMBER(5)), "");
	OK(records_index_field(db, PIPELINE, STR("') OR 1=1 --"), true, NULL));
	CU_ASSERT_STRING_EQUAL(ONE("') OR 1=1 --", RECORD_EQ, NUMBER(4)), "o");
	CU_ASSERT_STRING_EQUAL(ONE("t", RECORD_EQ, TEXT("x' OR '1'='1")), "");
	db_close(db);
}

/* --- time --- */

/* A statement that never ends; afterwards the connection is as good as before. */
static void a_query_ends_in_time(void)
{
	static const char *const endless[] = {
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE $1 <> ''",
		"SELECT count(*) FROM pg_sleep(600) WHERE $1 <> ''"};
	struct db *db = fill("time.db");
	struct err err = {0};
	struct stmt *stmt;
	bool row;

	OK(db_prepare_once(db, endless[database_is_postgres()], 50, &stmt, &err));
	db_bind_text(stmt, 1, STR("x"));
	IS(db_step(stmt, &row, &err), STATUS_LIMITED);
	CU_ASSERT_FALSE(row);
	db_finish(stmt);
	OK(db_prepare_once(db, "SELECT '$9', $1, count(*) FROM data_records", 0, &stmt, &err));
	db_bind_text(stmt, 1, STR("it's"));
	OK(db_step(stmt, &row, &err));
	CU_ASSERT(row && str_eq(db_column_text(stmt, 0), STR("$9")) && str_eq(db_column_text(stmt, 1), STR("it's")));
	CU_ASSERT_EQUAL(db_column_i64(stmt, 2), 7);
	OK(db_step(stmt, &row, &err));
	CU_ASSERT_FALSE(row);
	db_finish(stmt);
	db_finish(NULL);
	IS(db_prepare_once(db, "SELECT nonsense(", 0, &stmt, &err),
	   database_is_postgres() ? STATUS_OK : STATUS_INTERNAL);
	if (database_is_postgres())
		IS(db_step(stmt, &row, &err), STATUS_INTERNAL);
	db_finish(stmt);
	/* In a transaction, too. */
	test_begin(db);
	OK(db_prepare_once(db, "UPDATE data_records SET source = $1 WHERE record_key = 'a'", 0, &stmt, &err));
	db_bind_text(stmt, 1, STR("api"));
	int64_t changed = 0;
	OK(db_run(stmt, &changed, &err));
	CU_ASSERT_EQUAL(changed, 2);
	db_finish(stmt);
	test_commit(db);
	CU_ASSERT_STRING_EQUAL(ONE("@source", RECORD_EQ, TEXT("api")), "a");
	db_close(db);
}

/* --- aggregates --- */

static void aggregates(void)
{
	struct db *db = fill("aggregates.db");
	struct record_summary sum;
	struct record_query query = {.pipeline_id = PIPELINE, .within_ms = 20000};
	struct record_wish wish = {.field = STR("n"), .quantiles = {0, 0.5, 1}, .quantiles_n = 3, .buckets = 3};
	struct arena arena;

	arena_init(&arena, 1 << 20);
	OK(records_aggregate(db, &query, &wish, &arena, &sum, NULL));
	CU_ASSERT_EQUAL_FATAL(sum.n, 1);
	const struct record_group *all = &sum.groups[0];
	CU_ASSERT(all->count == 6 && all->numbers == 4 && all->sum == 16.0 && all->min == 1 && all->max == 10);
	CU_ASSERT(all->quantiles[0] == 1 && all->quantiles[1] == 2.5 && all->quantiles[2] == 10);
	CU_ASSERT(all->buckets[0] == 3 && all->buckets[1] == 0 && all->buckets[2] == 1);
	CU_ASSERT_FALSE(sum.sampled);

	wish = (struct record_wish){.field = STR("n"), .by = STR("n"), .by_number = true};
	OK(records_aggregate(db, &query, &wish, &arena, &sum, NULL));
	CU_ASSERT_EQUAL(sum.n, database_is_postgres() ? 4 : 5); /* of these one is a text */
	CU_ASSERT(sum.groups[0].count == 2 && (database_is_postgres() || sum.groups[0].value.number == 2.5));

	wish = (struct record_wish){.by = STR("@status"), .by_number = true};
	OK(records_aggregate(db, &query, &wish, &arena, &sum, NULL));
	CU_ASSERT(sum.n == 2 && sum.groups[0].count == 5 && sum.groups[1].value.number == RECORD_FAILED);

	query.filters[query.filters_n++] = (struct record_filter){.field = STR("t"), .compare = RECORD_EQ, TEXT("?")};
	wish = (struct record_wish){.field = STR("n"), .quantiles = {0.5}, .quantiles_n = 1, .buckets = 2};
	OK(records_aggregate(db, &query, &wish, &arena, &sum, NULL));
	CU_ASSERT_EQUAL(sum.n, 0);
	wish.by = STR("a\"b");
	IS(records_aggregate(db, &query, &wish, &arena, &sum, NULL), STATUS_INVALID);
	arena_release(&arena);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"conditions and order", conditions_and_order},
	{"an index changes nothing but time", an_index_changes_nothing},
	{"an index of many records", an_index_of_many_records},
	{"a page reads no table", a_page_reads_no_table},
	{"members are as the engine reads them", members_are_as_the_engine_reads_them},
	{"words are no syntax", words_are_no_syntax},
	{"names are no SQL", names_are_no_sql},
	{"a query ends in time", a_query_ends_in_time},
	{"aggregates", aggregates},
};

int main(void)
{
	return UNIT_RUN("records", CASES);
}
