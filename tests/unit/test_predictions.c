/* Table predictions. */
#include "store_helpers.h"

#include <math.h>

struct seen {
	int n;
	char ids[1200][40];
	struct prediction last; /* views into `text` */
	char text[512];
	int stop_at; /* 0: never */
};

static bool see(void *arg, const struct prediction *row)
{
	struct seen *seen = arg;

	if (seen->n < 1200)
		snprintf(seen->ids[seen->n], 40, "%.*s", STR_ARG(row->id));
	seen->n++;
	seen->last = *row;
	snprintf(seen->text, sizeof(seen->text), "%.*s|%.*s|%g|%.*s|%.*s|%.*s|%.*s|%.*s|%.*s|%.*s|%lld",
		 STR_ARG(row->id), STR_ARG(row->features), row->result, STR_ARG(row->model_version),
		 STR_ARG(row->created_at), STR_ARG(row->model_name), STR_ARG(row->model_hash), STR_ARG(row->key_id),
		 STR_ARG(row->request_id), STR_ARG(row->trace_id), (long long)row->duration_us);
	return seen->n != seen->stop_at;
}

static struct seen seen; /* large */

static struct seen *fresh(void)
{
	memset(&seen, 0, sizeof(seen));
	return &seen;
}

static const struct prediction FULL_ROW = {.id = STR_INIT("0190a0a0-0000-7000-8000-000000000001"),
					   .features = STR_INIT("[1.0, 2.0]"),
					   .result = 1.5,
					   .model_version = STR_INIT("v1.0"),
					   .created_at = STR_INIT("2026-01-01T00:00:00.000001+00:00"),
					   .model_name = STR_INIT("mean"),
					   .model_hash = STR_INIT("abc"),
					   .key_id = STR_INIT("k1"),
					   .request_id = STR_INIT("r1"),
					   .trace_id = STR_INIT("t1"),
					   .duration_us = 42};
static const char FULL_TEXT[] = "0190a0a0-0000-7000-8000-000000000001|[1.0, 2.0]|1.5|v1.0|"
				"2026-01-01T00:00:00.000001+00:00|mean|abc|k1|r1|t1|42";

static void saves_and_gets(void)
{
	struct db *db = test_database("get.db");
	struct prediction again = FULL_ROW;
	struct err err;
	bool repeated = true;

	test_begin(db);
	OK(predictions_save(db, &FULL_ROW, &repeated, see, fresh(), &err));
	CU_ASSERT_FALSE(repeated);
	CU_ASSERT_EQUAL(seen.n, 0);
	again.result = 99;
	again.features = STR("[]");
	OK(predictions_save(db, &again, &repeated, see, fresh(), &err));
	CU_ASSERT_TRUE(repeated);
	CU_ASSERT_STRING_EQUAL(seen.text, FULL_TEXT);
	OK(predictions_save(db, &again, &repeated, NULL, NULL, &err));
	CU_ASSERT_TRUE(repeated);
	test_commit(db);
	OK(predictions_get(db, FULL_ROW.id, see, fresh(), &err));
	CU_ASSERT_STRING_EQUAL(seen.text, FULL_TEXT);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 1);
	db_close(db);
}

/* Rows as see() shows them, with what classifiers add. */
static bool see_more(void *arg, const struct prediction *row)
{
	struct seen *all = arg;
	size_t used = strlen(all->text);

	snprintf(all->text + used, sizeof(all->text) - used, "%.*s %.17g %.*s %.*s %.*s %.*s\n", STR_ARG(row->features),
		 row->result, STR_ARG(row->label), STR_ARG(row->probabilities), STR_ARG(row->flags),
		 STR_ARG(row->request_id));
	return true;
}

static void the_rows_of_a_request_are_saved_together(void)
{
	struct db *db = test_database("together.db");
	struct prediction rows[3] = {FULL_ROW, FULL_ROW, FULL_ROW};
	struct err err;
	bool repeated = true;

	rows[1].id = STR("0190a0a0-0000-7000-8000-000000000002");
	rows[1].features = STR("\"a \\\"text\\\" \\u0000 \xc3\xa4\"");
	rows[1].result = 0.1;
	rows[1].label = STR("it's");
	rows[1].probabilities = STR("[0.1, 0.9]");
	rows[1].flags = STR("[\"a\\\\b\"]");
	rows[2].id = STR("0190a0a0-0000-7000-8000-000000000003");
	rows[2].result = -1.7976931348623157e308;
	test_begin(db);
	OK(predictions_save_all(db, rows, 3, &repeated, &err));
	CU_ASSERT_FALSE(repeated);
	test_commit(db);
	fresh();
	for (int i = 0; i < 3; i++)
		OK(predictions_get(db, rows[i].id, see_more, &seen, &err));
	CU_ASSERT_STRING_EQUAL(
		seen.text, "[1.0, 2.0] 1.5    r1\n"
			   "\"a \\\"text\\\" \\u0000 \xc3\xa4\" 0.10000000000000001 it's [0.1, 0.9] [\"a\\\\b\"] r1\n"
			   "[1.0, 2.0] -1.7976931348623157e+308    r1\n");
	/* Of all of them, and of some: what is there stays. */
	rows[0].result = rows[1].result = 7;
	test_begin(db);
	OK(predictions_save_all(db, rows, 3, &repeated, &err));
	CU_ASSERT_TRUE(repeated);
	rows[2].id = STR("0190a0a0-0000-7000-8000-000000000004");
	OK(predictions_save_all(db, rows, 3, &repeated, &err));
	CU_ASSERT_TRUE(repeated);
	rows[2].result = (double)NAN;
	CU_ASSERT_EQUAL(predictions_save_all(db, rows + 2, 1, &repeated, &err), STATUS_CONFLICT);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 4);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions WHERE result = 7"), 0);
	db_close(db);
}

static void columns_are_the_contracts(void)
{
	struct db *db = test_database("columns.db");
	static const char sqlite[] = "SELECT name, type, \"notnull\", pk FROM pragma_table_info('predictions')";
	static const char postgres[] =
		"SELECT attname, CASE atttypid WHEN 'double precision'::regtype THEN 'REAL'"
		" ELSE upper(format_type(atttypid, NULL)) END, attnotnull::int,"
		" coalesce((SELECT 1 FROM pg_index WHERE indrelid = attrelid AND indisprimary AND attnum = indkey[0]), "
		"0)"
		" FROM pg_attribute WHERE attrelid = 'predictions'::regclass AND attnum > 0 ORDER BY attnum";
	static const char index[] = "SELECT count(*) FROM pragma_index_info('idx_predictions_created_at')"
				    " WHERE name = 'created_at'",
			  postgres_index[] =
				  "SELECT count(*) FROM pg_indexes WHERE indexname = 'idx_predictions_created_at'"
				  " AND indexdef LIKE '%(created_at%'";
	static const char *const expected[] = {"id TEXT 1", "features TEXT 0", "result REAL 0", "model_version TEXT 0",
					       "created_at TEXT 0"};
	struct stmt *stmt;
	bool row;
	char text[80];

	OK(db_prepare(db, database_is_postgres() ? postgres : sqlite, &stmt, NULL));
	for (int i = 0; i < 5; i++) {
		OK(db_step(stmt, &row, NULL));
		struct str name = db_column_text(stmt, 0), type = db_column_text(stmt, 1);
		snprintf(text, sizeof(text), "%.*s %.*s %d", STR_ARG(name), STR_ARG(type), (int)db_column_i64(stmt, 3));
		CU_ASSERT_STRING_EQUAL(text, expected[i]);
		CU_ASSERT_EQUAL(db_column_i64(stmt, 2), 1);
	}
	db_reset(stmt);
	CU_ASSERT_EQUAL(test_number(db, database_is_postgres() ? postgres_index : index), 1);
	db_close(db);
}

/* PostgreSQL has no text with a NUL, or that is not UTF-8: what is looked for is not there, and what is stored is
 * refused. */
static bool is_storable(struct str text)
{
	return !database_is_postgres() || (!memchr(text.p, '\0', text.n) && str_is_utf8(text));
}

static void hostile_ids_are_only_text(void)
{
	static const struct str ids[] = {STR_INIT("abc"),         STR_INIT(""),
					 STR_INIT("' OR '1'='1"), STR_INIT("'; DROP TABLE predictions; --"),
					 STR_INIT("\"id\""),      STR_INIT("a\0b"),
					 STR_INIT("a\0"),         STR_INIT("%"),
					 STR_INIT("_"),           STR_INIT("*"),
					 STR_INIT("$1"),          STR_INIT("?1"),
					 STR_INIT("\xff\xfe"),    STR_INIT("\xc3\xa4\xe2\x82\xac"),
					 STR_INIT("NULL")};
	enum { N = sizeof(ids) / sizeof(ids[0]) };
	struct db *db = test_database("hostile.db");
	bool repeated;
	int stored = 1;

	test_begin(db);
	OK(test_save(db, "a", &repeated, NULL));
	test_commit(db);
	for (size_t i = 0; i < N; i++)
		IS(predictions_get(db, ids[i], see, fresh(), NULL), STATUS_NOT_FOUND);
	test_begin(db);
	for (size_t i = 0; i < N; i++) {
		struct prediction row = FULL_ROW;
		row.id = row.features = row.key_id = ids[i];
		OK(db_part_begin(db, NULL));
		IS(predictions_save(db, &row, &repeated, NULL, NULL, NULL),
		   is_storable(ids[i]) ? STATUS_OK : STATUS_INVALID);
		OK(is_storable(ids[i]) ? db_part_keep(db, NULL) : db_part_undo(db, NULL));
		CU_ASSERT_FALSE(repeated);
		stored += is_storable(ids[i]);
	}
	test_commit(db);
	for (size_t i = 0; i < N; i++) {
		struct predictions_query query = {.key_id = ids[i], .limit = 100};
		char at[40], id[40];
		bool more;
		IS(predictions_get(db, ids[i], see, fresh(), NULL), is_storable(ids[i]) ? STATUS_OK : STATUS_NOT_FOUND);
		CU_ASSERT_EQUAL(seen.n, is_storable(ids[i]));
		OK(predictions_list(db, &query, see, fresh(), &more, at, id, NULL));
		CU_ASSERT_EQUAL(seen.n, ids[i].n == 0 ? stored : is_storable(ids[i]));
	}
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), stored);
	db_close(db);
}

static void not_a_number_is_refused(void)
{
	struct db *db = test_database("nan.db");
	struct prediction row = FULL_ROW;
	bool repeated;
	struct err err;

	row.result = strtod("nan", NULL);
	test_begin(db);
	IS(predictions_save(db, &row, &repeated, NULL, NULL, &err), STATUS_CONFLICT);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 0);
	db_close(db);
}

/* Rows 0 … n-1 in a scrambled order of insertion; seven rows share each created_at. */
enum { ROWS = 1000, TIES = 7 };

struct model_row {
	char id[40], at[40];
	const char *version, *name, *key;
};
static struct model_row rows[ROWS]; /* newest first */

static void row_of(int i, struct model_row *out)
{
	static const char *const versions[] = {"v1.0", "v1.1", "v2.0"}, *const names[] = {"mean", "linear"},
				 *const keys[] = {"env", "k1", "k2", "k3"};

	snprintf(out->id, sizeof(out->id), "id-%04d", i);
	snprintf(out->at, sizeof(out->at), "2026-01-01T00:00:%02d.%06d+00:00", i / TIES / 10, i / TIES % 10);
	out->version = versions[i % 3];
	out->name = names[i / 2 % 2];
	out->key = keys[i * 7 / 5 % 4];
}

static struct db *filled(const char *name)
{
	struct db *db = test_database(name);
	bool repeated;

	test_begin(db);
	for (int k = 0; k < ROWS; k++) {
		int i = k * 377 % ROWS;
		struct model_row *m = &rows[ROWS - 1 - i];
		row_of(i, m);
		struct prediction row = {.id = str_of(m->id),
					 .features = STR("[]"),
					 .model_version = str_of(m->version),
					 .created_at = str_of(m->at),
					 .model_name = str_of(m->name),
					 .key_id = str_of(m->key)};
		OK(predictions_save(db, &row, &repeated, NULL, NULL, NULL));
	}
	test_commit(db);
	return db;
}

static void recent_is_newest_first(void)
{
	static const struct {
		int limit, n;
	} cases[] = {{0, 0}, {-1, 0}, {1, 1}, {10, 10}, {999, 999}, {1000, 1000}, {5000, 1000}};
	struct db *db = filled("recent.db");

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		OK(predictions_recent(db, cases[c].limit, see, fresh(), NULL));
		CU_ASSERT_EQUAL(seen.n, cases[c].n);
		for (int i = 0; i < cases[c].n; i++)
			CU_ASSERT_STRING_EQUAL(seen.ids[i], rows[i].id);
	}
	fresh()->stop_at = 3;
	OK(predictions_recent(db, 10, see, &seen, NULL));
	CU_ASSERT_EQUAL(seen.n, 3);
	int64_t n;
	bool about;
	OK(predictions_count(db, &n, &about, NULL));
	CU_ASSERT_EQUAL(n, ROWS);
	CU_ASSERT_FALSE(about);
	db_close(db);
}

/* Counting them would take minutes where there are many. */
static void large_tables_are_not_counted(void)
{
	static const char rows_of_80_mb[] =
		"INSERT INTO predictions (id, features, result, model_version, created_at) SELECT 'id' || i,"
		" repeat('[1234567]', 180), 1, 'v1.0', '2026-01-01T00:00:00.000000+00:00' FROM generate_series(1, "
		"46000) i";
	int64_t n;
	bool about;

	if (!database_is_postgres())
		return;
	struct db *db = test_database("large.db");
	OK(db_script(db, rows_of_80_mb, NULL));
	OK(db_script(db, "ANALYZE predictions", NULL));
	OK(predictions_count(db, &n, &about, NULL));
	CU_ASSERT_TRUE(about);
	CU_ASSERT_TRUE(n > 40000 && n < 50000);
	db_close(db);
}

static void pages_visit_each_row_once(void)
{
	struct db *db = filled("pages.db");

	for (int limit = 1; limit <= 1001; limit = limit * 3 + 1) {
		char at[40] = "", id[40] = "";
		bool more = true;
		int n = 0;
		while (more) {
			char from_at[40], from_id[40];
			memcpy(from_at, at, 40);
			memcpy(from_id, id, 40);
			struct predictions_query query = {
				.after_created_at = str_of(from_at), .after_id = str_of(from_id), .limit = limit};
			OK(predictions_list(db, &query, see, fresh(), &more, at, id, NULL));
			CU_ASSERT_TRUE(seen.n == limit || !more);
			for (int i = 0; i < seen.n && n < ROWS; i++)
				CU_ASSERT_STRING_EQUAL(seen.ids[i], rows[n++].id);
			if (seen.n == 0)
				break;
		}
		CU_ASSERT_EQUAL(n, ROWS);
		CU_ASSERT_STRING_EQUAL(at, "");
	}
	db_close(db);
}

static bool model_fits(const struct model_row *row, const struct predictions_query *q)
{
	if (q->after_created_at.n) {
		int order = strcmp(row->at, q->after_created_at.p);
		if (order > 0 || (order == 0 && strcmp(row->id, q->after_id.p) >= 0))
			return false;
	}
	return (!q->from.n || strcmp(row->at, q->from.p) >= 0) && (!q->until.n || strcmp(row->at, q->until.p) < 0) &&
	       (!q->model_version.n || str_eq(q->model_version, str_of(row->version))) &&
	       (!q->model_name.n || str_eq(q->model_name, str_of(row->name))) &&
	       (!q->key_id.n || str_eq(q->key_id, str_of(row->key)));
}

/* Each of the 64 combinations, with the end before, at and after the position. */
static void every_combination_of_filters(void)
{
	static const struct str untils[] = {STR_INIT("2026-01-01T00:00:12"),
					    STR_INIT("2026-01-01T00:00:09.000003+00:00"),
					    STR_INIT("2026-01-01T00:00:05.000000+00:00")};
	struct db *db = filled("filters.db");

	for (int bits = 0; bits < 64 * 3; bits++) {
		struct predictions_query q = {.limit = 1000};
		char at[40], id[40], from_at[40], from_id[40];
		bool more = true;
		int n = 0;
		if (bits & 1) {
			q.after_created_at = STR("2026-01-01T00:00:09.000003+00:00");
			q.after_id = STR("id-0654");
		}
		q.from = bits & 2 ? STR("2026-01-01T00:00:02.000004+00:00") : q.from;
		q.until = bits & 4 ? untils[bits / 64] : q.until;
		q.model_version = bits & 8 ? STR("v1.1") : q.model_version;
		q.model_name = bits & 16 ? STR("linear") : q.model_name;
		q.key_id = bits & 32 ? STR("k2") : q.key_id;
		struct predictions_query rest = q;
		void *arg = fresh();
		/* On a busy machine looking around takes longer than it may, and goes on from where it was. */
		for (int pages = 0; more && pages < 1000; pages++) {
			OK(predictions_list(db, &rest, see, arg, &more, at, id, NULL));
			memcpy(from_at, at, 40); /* what it starts from is not what it writes to */
			memcpy(from_id, id, 40);
			rest.after_created_at = str_of(from_at);
			rest.after_id = str_of(from_id);
		}
		for (int i = 0; i < ROWS; i++)
			if (model_fits(&rows[i], &q) && ++n <= seen.n)
				CU_ASSERT_STRING_EQUAL(seen.ids[n - 1], rows[i].id);
		CU_ASSERT_EQUAL(seen.n, n);
		CU_ASSERT_FALSE(more);
		CU_ASSERT_TRUE(n > 0);
	}
	db_close(db);
}

static void stops_and_goes_on(void)
{
	struct db *db = test_database("scan.db");
	struct predictions_query q = {.model_name = STR("rare"), .limit = 5};
	char at[40], id[40], from_at[40], from_id[40];
	bool more, repeated;
	int pages = 0, found = 0;

	test_begin(db);
	for (int i = 0; i < 3 * PREDICTIONS_SCAN_MAX + 10; i++) {
		char name[20];
		snprintf(name, sizeof(name), "%08d", i);
		struct prediction row = FULL_ROW;
		row.id = str_of(name);
		row.model_name = i == 3 ? STR("rare") : STR("mean");
		OK(predictions_save(db, &row, &repeated, NULL, NULL, NULL));
	}
	test_commit(db);
	do {
		OK(predictions_list(db, &q, see, fresh(), &more, at, id, NULL));
		memcpy(from_at, at, 40);
		memcpy(from_id, id, 40);
		q.after_created_at = str_of(from_at);
		q.after_id = str_of(from_id);
		found += seen.n;
		if (seen.n > 0)
			CU_ASSERT_STRING_EQUAL(seen.ids[0], "00000003");
	} while (more && ++pages < 10000);
	CU_ASSERT_EQUAL(found, 1);
	CU_ASSERT_TRUE(pages >= 3 && !more); /* more on a busy machine, where looking around takes longer than it may */
	/* A caller that stops gets the position of the row it stopped at. */
	q = (struct predictions_query){.limit = 50};
	fresh()->stop_at = 2;
	OK(predictions_list(db, &q, see, &seen, &more, at, id, NULL));
	CU_ASSERT_TRUE(more);
	CU_ASSERT_STRING_EQUAL(id, seen.ids[1]);
	q.limit = 0;
	OK(predictions_list(db, &q, see, fresh(), &more, at, id, NULL));
	CU_ASSERT_TRUE(seen.n == 0 && !more);
	db_close(db);
}

static void deletes_the_oldest(void)
{
	struct db *db = filled("delete.db");
	int64_t n = -1, all;

	test_begin(db);
	OK(predictions_delete_before(db, STR("2026-01-01T00:00:01.000000+00:00"), 30, &n, NULL));
	CU_ASSERT_TRUE(n <= 30);
	all = n;
	for (int i = 0; i < 1000 && all < 10 * TIES; i++) { /* a busy machine takes less than it may */
		OK(predictions_delete_before(db, STR("2026-01-01T00:00:01.000000+00:00"), 1000, &n, NULL));
		all += n;
	}
	CU_ASSERT_EQUAL(all, 10 * TIES);
	OK(predictions_delete_before(db, STR("2026-01-01T00:00:01.000000+00:00"), 1000, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	OK(predictions_delete_before(db, STR("~"), 0, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), ROWS - 10 * TIES);
	OK(predictions_get(db, STR("id-0070"), see, fresh(), NULL));
	IS(predictions_get(db, STR("id-0069"), see, fresh(), NULL), STATUS_NOT_FOUND);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"saves, gets, and tells a repeated id", saves_and_gets},
	{"saves the rows of a request together", the_rows_of_a_request_are_saved_together},
	{"has the contract's columns and index", columns_are_the_contracts},
	{"takes hostile ids as text", hostile_ids_are_only_text},
	{"refuses a result that is no number", not_a_number_is_refused},
	{"gives the newest first", recent_is_newest_first},
	{"large tables are not counted", large_tables_are_not_counted},
	{"pages visit each row once", pages_visit_each_row_once},
	{"every combination of filters", every_combination_of_filters},
	{"stops looking around and goes on", stops_and_goes_on},
	{"deletes the oldest, some at a time", deletes_the_oldest},
};

int main(void)
{
	return UNIT_RUN("predictions", CASES);
}
