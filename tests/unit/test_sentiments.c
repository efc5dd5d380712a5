/* Table sentiment_requests. */
#include "store_helpers.h"

#include "store/sentiments.h"

#include <math.h>

static struct id id_at(int64_t ms, uint8_t random)
{
	struct edge_identity edge = {.ms = ms};

	memset(edge.random, random, sizeof(edge.random));
	return id_of_edge(&edge);
}

static struct sentiment_row row_of(int64_t user_id, int64_t ms, uint8_t random, struct str text)
{
	return (struct sentiment_row){
		.id = id_at(ms, random),
		.user_id = user_id,
		.text = text,
		.sentiment = STR("positive"),
		.confidence = 0.6553305252,
		.processing_s = 0.000041,
		.created_at = "2026-02-07T10:40:00.123456",
		.model_version = "sentiment/1",
	};
}

static bool insert(struct db *db, const struct sentiment_row *row)
{
	bool stored = false;

	OK(sentiments_insert(db, row, &stored, NULL));
	return stored;
}

/* What the reading functions gave: texts with blanks between, and the last row. */
struct seen {
	int n, stop_at;
	char texts[256], text[256];
	struct sentiment_row last;
};

static bool see(void *arg, const struct sentiment_row *row)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->texts);

	snprintf(seen->texts + used, sizeof(seen->texts) - used, "%.*s ", STR_ARG(row->text));
	snprintf(seen->text, sizeof(seen->text), "%.*s", STR_ARG(row->sentiment));
	seen->last = *row;
	return ++seen->n != seen->stop_at;
}

static void stores_and_reads_whole_rows(void)
{
	static const char text[] = "caf\xc3\xa9 \xf0\x9f\x98\x80 \"quoted\" \\ \n\t \x01 it's";
	struct db *db = test_database("whole.db");
	struct sentiment_row row = row_of(7, 1000, 1, STR("")), empty = row_of(7, 900, 1, STR(""));
	struct seen seen = {0};

	row.text = str_of(text);
	test_begin(db);
	CU_ASSERT_TRUE(insert(db, &row));
	CU_ASSERT_TRUE(insert(db, &empty));
	test_commit(db);
	OK(sentiments_find(db, &row.id, see, &seen, NULL));
	CU_ASSERT_EQUAL(seen.n, 1);
	CU_ASSERT_EQUAL(strncmp(seen.texts, text, sizeof(text) - 1), 0);
	CU_ASSERT_EQUAL(memcmp(&seen.last.id, &row.id, sizeof(row.id)), 0);
	CU_ASSERT_EQUAL(seen.last.user_id, 7);
	CU_ASSERT_STRING_EQUAL(seen.text, "positive");
	CU_ASSERT_EQUAL(seen.last.confidence, row.confidence);
	CU_ASSERT_EQUAL(seen.last.processing_s, row.processing_s);
	CU_ASSERT_STRING_EQUAL(seen.last.created_at, "2026-02-07T10:40:00.123456");
	CU_ASSERT_STRING_EQUAL(seen.last.model_version, "sentiment/1");
	CU_ASSERT_EQUAL(seen.last.position, 0);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests WHERE text = ''"), 1);
	struct id none = id_at(1, 1);
	IS(sentiments_find(db, &none, see, &seen, NULL), STATUS_NOT_FOUND);
	db_close(db);
}

static void a_row_that_is_there_stays(void)
{
	struct db *db = test_database("again.db");
	struct sentiment_row row = row_of(1, 1000, 1, STR("first")), again = row_of(2, 1000, 1, STR("second"));
	struct sentiment_row nan = row_of(1, 1000, 2, STR("x"));
	struct seen seen = {0};
	bool stored = true;

	nan.confidence = (double)NAN;
	test_begin(db);
	CU_ASSERT_TRUE(insert(db, &row));
	CU_ASSERT_FALSE(insert(db, &again));
	IS(sentiments_insert(db, &nan, &stored, NULL), STATUS_CONFLICT);
	CU_ASSERT_FALSE(stored);
	test_commit(db);
	OK(sentiments_find(db, &row.id, see, &seen, NULL));
	CU_ASSERT_STRING_EQUAL(seen.texts, "first ");
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests"), 1);
	db_close(db);
}

static void a_user_sees_their_own_newest_first(void)
{
	struct db *db = test_database("user.db");
	struct sentiment_row rows[] = {row_of(1, 1000, 1, STR("a")), row_of(1, 2000, 1, STR("b")),
				       row_of(2, 1500, 1, STR("other")), row_of(1, 3000, 9, STR("c")),
				       row_of(1, 3000, 1, STR("d"))};
	const struct {
		int64_t user_id;
		int before; /* row; -1: none */
		int64_t offset, limit;
		int stop_at;
		const char *texts;
	} cases[] = {
		{1, -1, 0, 10, 0, "c d b a "}, {1, -1, 0, 2, 0, "c d "},    {1, -1, 1, 2, 0, "d b "},
		{1, 4, 0, 10, 0, "b a "},      {1, 4, 1, 10, 0, "a "},      {1, 0, 0, 10, 0, ""},
		{2, -1, 0, 9, 0, "other "},    {3, -1, 0, 9, 0, ""},        {1, -1, 4, 10, 0, ""},
		{1, -1, 0, 0, 0, ""},          {1, -1, 0, 10, 3, "c d b "}, {1, -1, -5, -5, 0, ""},
	};

	test_begin(db);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CU_ASSERT_TRUE(insert(db, &rows[i]));
	test_commit(db);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct seen seen = {.stop_at = cases[i].stop_at};
		OK(sentiments_of_user(db, cases[i].user_id, cases[i].before < 0 ? NULL : &rows[cases[i].before].id,
				      cases[i].offset, cases[i].limit, see, &seen, NULL));
		CU_ASSERT_STRING_EQUAL(seen.texts, cases[i].texts);
	}
	db_close(db);
}

enum { MANY = 300 };

/* Texts "t0", "t1", … of a task. */
static void fill(struct sentiment_row *rows, char texts[][16], const struct id *task, const char *task_id)
{
	for (int i = 0; i < MANY; i++) {
		snprintf(texts[i], sizeof(texts[i]), "t%d", i);
		rows[i] = row_of(5, 0, 0, str_of(texts[i]));
		rows[i].id = sentiments_id_in_task(task, i);
		rows[i].task_id = str_of(task_id);
		rows[i].position = i;
	}
}

static void a_batch_is_stored_once_and_read_in_order(void)
{
	static struct sentiment_row rows[MANY];
	static char texts[MANY][16];
	struct db *db = test_database("batch.db");
	struct id task = id_at(5000, 3), other = id_at(5000, 4);
	char task_id[ID_TEXT_BYTES];
	struct seen page = {0}, history = {0}, none = {0};

	id_format(&task, task_id);
	fill(rows, texts, &task, task_id);
	rows[2].text = STR("quote \" and \xf0\x9f\x98\x80");
	test_begin(db);
	OK(sentiments_insert_all(db, rows, 100, NULL));
	OK(sentiments_insert_all(db, rows, MANY, NULL)); /* 100 of them are there */
	OK(sentiments_insert_all(db, rows, 1, NULL));
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests"), MANY);
	OK(sentiments_of_task(db, &task, 1, 3, see, &page, NULL));
	CU_ASSERT_STRING_EQUAL(page.texts, "t1 quote \" and \xf0\x9f\x98\x80 t3 ");
	CU_ASSERT_EQUAL(page.last.position, 3);
	CU_ASSERT_EQUAL(page.last.confidence, 0.6553305252);
	CU_ASSERT_EQUAL(page.last.processing_s, 0.000041);
	CU_ASSERT_STRING_EQUAL(page.last.model_version, "sentiment/1");
	OK(sentiments_of_user(db, 5, NULL, 0, 2, see, &history, NULL));
	CU_ASSERT_STRING_EQUAL(history.texts, "t299 t298 ");
	OK(sentiments_of_task(db, &other, 0, 10, see, &none, NULL));
	OK(sentiments_of_task(db, &task, MANY, 10, see, &none, NULL));
	OK(sentiments_of_task(db, &task, 1 << 24, 10, see, &none, NULL));
	CU_ASSERT_EQUAL(none.n, 0);
	db_close(db);
}

static void one_bad_row_of_a_batch_refuses_all(void)
{
	static struct sentiment_row rows[MANY];
	static char texts[MANY][16];
	struct db *db = test_database("bad.db");
	struct id task = id_at(5000, 3);

	fill(rows, texts, &task, "task");
	rows[MANY - 1].confidence = (double)INFINITY;
	test_begin(db);
	IS(sentiments_insert_all(db, rows, MANY, NULL), STATUS_CONFLICT);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests"), 0);
	db_close(db);
}

/* Their ids lie between each other's. */
static void two_batches_of_a_millisecond_stay_apart(void)
{
	static struct sentiment_row rows[MANY];
	static char texts[MANY][16];
	struct db *db = test_database("apart.db");
	struct id tasks[] = {id_at(5000, 3), id_at(5000, 4)};
	char task_id[ID_TEXT_BYTES];

	test_begin(db);
	for (int i = 0; i < 2; i++) {
		id_format(&tasks[i], task_id);
		fill(rows, texts, &tasks[i], task_id);
		rows[250].text = i == 0 ? STR("first") : STR("second");
		OK(sentiments_insert_all(db, rows, MANY, NULL));
	}
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests"), 2 * MANY);
	for (int i = 0; i < 2; i++) {
		struct seen seen = {0};
		OK(sentiments_of_task(db, &tasks[i], 249, 3, see, &seen, NULL));
		CU_ASSERT_STRING_EQUAL(seen.texts, i == 0 ? "t249 first t251 " : "t249 second t251 ");
	}
	db_close(db);
}

static void ids_of_a_task_are_ordered_and_its_own(void)
{
	static const int64_t positions[] = {0,      1,      63,      64,      4095,    4096,
					    262143, 262144, 1048575, 1048576, 9999999, 16777215};
	struct id task = id_at(INT64_C(1700000000123), 3), other = id_at(INT64_C(1700000000123), 4), last = {{0}};

	for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
		struct id id = sentiments_id_in_task(&task, positions[i]),
			  same = sentiments_id_in_task(&task, positions[i]);
		struct id not = sentiments_id_in_task(&other, positions[i]), read;
		char text[ID_TEXT_BYTES];
		CU_ASSERT_EQUAL(memcmp(&id, &same, sizeof(id)), 0);
		CU_ASSERT_NOT_EQUAL(memcmp(&id, &not, sizeof(id)), 0);
		CU_ASSERT_TRUE(memcmp(&id, &last, sizeof(id)) > 0);
		CU_ASSERT_EQUAL(id_time_ms(&id), INT64_C(1700000000123));
		id_format(&id, text);
		CU_ASSERT_TRUE(id_parse(str_of(text), &read));
		CU_ASSERT_EQUAL(text[14], '7');
		CU_ASSERT_PTR_NOT_NULL(strchr("89ab", text[19]));
		last = id;
	}
}

static void expires_the_oldest(void)
{
	struct db *db = test_database("expire.db");
	int64_t n = -1, all = 0;

	test_begin(db);
	for (int i = 0; i < 200; i++) {
		struct sentiment_row row = row_of(1, 1000 + i, (uint8_t)i, STR("x"));
		CU_ASSERT_TRUE(insert(db, &row));
	}
	OK(sentiments_expire(db, 1000, 50, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	OK(sentiments_expire(db, 1100, 0, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	OK(sentiments_expire(db, 1100, 10, &n, NULL));
	CU_ASSERT_TRUE(n >= 1 && n <= 10);
	all = n;
	while (n > 0) { /* a slow machine takes less than it may */
		OK(sentiments_expire(db, 1100, 1000, &n, NULL));
		all += n;
	}
	CU_ASSERT_EQUAL(all, 100);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests"), 100);
	struct id first = id_at(1100, 100);
	struct seen seen = {0};
	OK(sentiments_find(db, &first, see, &seen, NULL));
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"stores and reads whole rows", stores_and_reads_whole_rows},
	{"a row that is there stays", a_row_that_is_there_stays},
	{"a user sees their own, newest first", a_user_sees_their_own_newest_first},
	{"a batch is stored once and read in order", a_batch_is_stored_once_and_read_in_order},
	{"one bad row of a batch refuses all", one_bad_row_of_a_batch_refuses_all},
	{"two batches of a millisecond stay apart", two_batches_of_a_millisecond_stay_apart},
	{"ids of a task are ordered and its own", ids_of_a_task_are_ordered_and_its_own},
	{"expires the oldest", expires_the_oldest},
};

int main(void)
{
	return UNIT_RUN("sentiments", CASES);
}
