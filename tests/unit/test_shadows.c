/* Table shadow_predictions. */
#include "store_helpers.h"

#include "base/id.h"
#include "store/shadows.h"

static void put_row(struct db *db, int64_t ms)
{
	char text[ID_TEXT_BYTES], sql[600];
	struct edge_identity edge;

	edge_generate(&edge);
	edge.ms = ms;
	struct id id = id_of_edge(&edge);
	id_format(&id, text);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO shadow_predictions (id, model_version, model_name, model_hash, result, active_version,"
		 " active_result, created_at) VALUES ('%s/2', '2', 'wine', 'aa', 1, '1', 2, 'x')",
		 text);
	OK(db_script(db, sql, NULL));
}

static void deletes_the_oldest(void)
{
	static const char count[] = "SELECT count(*) FROM shadow_predictions";
	struct db *db = test_database("oldest.db");
	int64_t n = -1;

	test_begin(db);
	for (int i = 0; i < 10; i++)
		put_row(db, 1700000000000 + 1000 * i);
	OK(shadows_delete_before(db, 1700000005000, 3, &n, NULL));
	CU_ASSERT_EQUAL(n, 3);
	OK(shadows_delete_before(db, 1700000005000, 30, &n, NULL));
	CU_ASSERT_EQUAL(n, 2);
	OK(shadows_delete_before(db, 1700000005000, 30, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	OK(shadows_delete_before(db, 0, 30, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, count), 5);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"deletes the oldest", deletes_the_oldest},
};

int main(void)
{
	return UNIT_RUN("shadows", CASES);
}
