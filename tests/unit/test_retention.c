/* What time it is for deleting: whose clock counts, and when nobody's does. */
#include "store/retention.h"

#include "store_helpers.h"

#include "store/sentiments.h"

#include <sodium.h>

static const int64_t DAY_US = INT64_C(86400) * 1000000;

static void save(struct db *db, const char *id, int64_t wall_us)
{
	char iso[CLOCK_ISO_BYTES];
	bool repeated;

	clock_format_iso(wall_us, iso);
	struct prediction row = {
		.id = str_of(id), .features = STR("[1]"), .model_version = STR("v1.0"), .created_at = str_of(iso)};
	test_begin(db);
	OK(predictions_save(db, &row, &repeated, NULL, NULL, NULL));
	test_commit(db);
}

static void the_newest_row_tells(void)
{
	struct db *db = test_database("newest.db");
	struct retention_time time;
	int64_t now_us = clock_wall_us();

	OK(retention_ask(db, now_us, 30, &time, NULL));
	CU_ASSERT_FALSE(time.all_old || time.apart);
	save(db, "a", now_us - 31 * DAY_US);
	OK(retention_ask(db, now_us, 30, &time, NULL));
	CU_ASSERT_TRUE(time.all_old);
	OK(retention_ask(db, now_us, 32, &time, NULL));
	CU_ASSERT_FALSE(time.all_old);
	OK(retention_ask(db, now_us, 0, &time, NULL));
	CU_ASSERT_FALSE(time.all_old);
	save(db, "b", now_us - 29 * DAY_US);
	OK(retention_ask(db, now_us, 30, &time, NULL));
	CU_ASSERT_FALSE(time.all_old);
	db_close(db);
}

static void analyse(struct db *db, int64_t wall_us)
{
	struct edge_identity edge = {.ms = wall_us / 1000};
	struct sentiment_row row = {.text = STR("x"), .sentiment = STR("positive"), .created_at = "x"};
	bool stored;

	randombytes_buf(edge.random, sizeof(edge.random));
	row.id = id_of_edge(&edge);
	test_begin(db);
	OK(sentiments_insert(db, &row, &stored, NULL));
	test_commit(db);
}

/* Either table may say that the clock is right. */
static void the_newest_text_tells_too(void)
{
	struct db *db = test_database("texts.db");
	struct retention_time time;
	int64_t now_us = clock_wall_us();

	analyse(db, now_us - 31 * DAY_US);
	OK(retention_ask(db, now_us, 30, &time, NULL));
	CU_ASSERT_TRUE(time.all_old);
	save(db, "a", now_us - 31 * DAY_US);
	OK(retention_ask(db, now_us, 30, &time, NULL));
	CU_ASSERT_TRUE(time.all_old);
	analyse(db, now_us - 29 * DAY_US);
	OK(retention_ask(db, now_us, 30, &time, NULL));
	CU_ASSERT_FALSE(time.all_old);
	db_close(db);
}

static void the_earlier_clock_counts(void)
{
	static const struct {
		int64_t ahead_us;
		bool apart;
	} cases[] = {{0, false},
		     {INT64_C(600) * 1000000, false},
		     {INT64_C(-600) * 1000000, false},
		     {INT64_C(4000) * 1000000, true},
		     {INT64_C(-4000) * 1000000, true},
		     {120 * DAY_US, true}};
	struct db *db = test_database("clock.db");
	struct retention_time time;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t real_us = clock_wall_us(), wall_us = real_us + cases[i].ahead_us;
		OK(retention_ask(db, wall_us, 30, &time, NULL));
		if (!database_is_postgres()) {
			CU_ASSERT_EQUAL(time.now_us, wall_us);
			CU_ASSERT_EQUAL(time.server_us, wall_us);
			continue;
		}
		CU_ASSERT_EQUAL(time.apart, cases[i].apart);
		CU_ASSERT_TRUE(time.server_us >= real_us - 1000000 && time.server_us <= real_us + 60 * 1000000);
		CU_ASSERT_EQUAL(time.now_us, wall_us < time.server_us ? wall_us : time.server_us);
	}
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"the newest row tells", the_newest_row_tells},
	{"the newest text tells, too", the_newest_text_tells_too},
	{"the earlier clock counts", the_earlier_clock_counts},
};

int main(void)
{
	return UNIT_RUN("retention", CASES);
}
