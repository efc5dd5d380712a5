/* Table shadow_predictions. */
#include "store_helpers.h"

#include "base/id.h"
#include "store/shadows.h"

#include <math.h>
#include <string.h>

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
		put_row(db, 1700000000000 + INT64_C(1000) * i);
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

/* --- rows of one candidate --- */

static const struct shadow_prediction FLIGHT[] = {
	{.prediction_id = STR_INIT("0190a000-0000-7000-8000-000000000001"),
	 .model_version = STR_INIT("2"),
	 .model_name = STR_INIT("wine"),
	 .model_hash = STR_INIT("aa"),
	 .result = 0.1,
	 .label = STR_INIT("\"süß\"\\"),
	 .probabilities = STR_INIT("[0.1, 0.9]"),
	 .active_version = STR_INIT("1"),
	 .active_result = -1e-300,
	 .active_label = STR_INIT("dry"),
	 .created_at = STR_INIT("2024-07-11T00:00:00.000000+00:00"),
	 .duration_us = 7},
	{.prediction_id = STR_INIT("0190a000-0000-7000-8000-000000000002"),
	 .model_version = STR_INIT("2"),
	 .model_name = STR_INIT("wine"),
	 .model_hash = STR_INIT("aa"),
	 .result = 123456789.123,
	 .active_version = STR_INIT("3"),
	 .active_result = 2,
	 .created_at = STR_INIT("2024-07-11T00:00:01.000000+00:00"),
	 .duration_us = INT64_C(5000000000)},
};
enum { FLIGHT_ROWS = sizeof(FLIGHT) / sizeof(FLIGHT[0]) };

static bool is_the_next(void *arg, const struct shadow_prediction *row)
{
	int *n = arg;
	const struct shadow_prediction *wanted = &FLIGHT[*n];

	CU_ASSERT_TRUE(str_eq(row->prediction_id, wanted->prediction_id));
	CU_ASSERT_TRUE(str_eq(row->model_version, wanted->model_version));
	CU_ASSERT_TRUE(str_eq(row->model_name, wanted->model_name));
	CU_ASSERT_TRUE(str_eq(row->model_hash, wanted->model_hash));
	CU_ASSERT_EQUAL(row->result, wanted->result);
	CU_ASSERT_TRUE(str_eq(row->label, wanted->label));
	CU_ASSERT_TRUE(str_eq(row->probabilities, wanted->probabilities));
	CU_ASSERT_TRUE(str_eq(row->active_version, wanted->active_version));
	CU_ASSERT_EQUAL(row->active_result, wanted->active_result);
	CU_ASSERT_TRUE(str_eq(row->active_label, wanted->active_label));
	CU_ASSERT_TRUE(str_eq(row->created_at, wanted->created_at));
	CU_ASSERT_EQUAL(row->duration_us, wanted->duration_us);
	return ++*n < FLIGHT_ROWS;
}

/* What an insert costs the server is counted there. */
static void count_statements(struct db *db)
{
	OK(db_script(db,
		     "CREATE TABLE counted (n INT);"
		     "CREATE FUNCTION count_one() RETURNS trigger LANGUAGE plpgsql AS"
		     " 'BEGIN INSERT INTO counted VALUES (1); RETURN NULL; END';"
		     "CREATE TRIGGER counting AFTER INSERT ON shadow_predictions"
		     " FOR EACH STATEMENT EXECUTE FUNCTION count_one();",
		     NULL));
}

static void saves_many(void)
{
	char position[SHADOWS_POSITION_BYTES];
	struct shadow_prediction wrong[FLIGHT_ROWS];
	struct db *db = test_database("many.db");
	int n = 0, read;

	test_begin(db);
	if (database_is_postgres())
		count_statements(db);
	OK(shadows_save_all(db, FLIGHT, 0, NULL));
	OK(shadows_save_all(db, FLIGHT, FLIGHT_ROWS, NULL));
	test_commit(db);
	if (database_is_postgres())
		CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM counted"), 1);
	shadows_begin(0, position);
	OK(shadows_page(db, position, 10, is_the_next, &n, &read, NULL));
	CU_ASSERT_EQUAL(n, FLIGHT_ROWS);

	/* Rows that are there stay as they are. */
	memcpy(wrong, FLIGHT, sizeof(wrong));
	wrong[0].result = 5;
	wrong[1].prediction_id = STR("0190a000-0000-7000-8000-000000000003");
	test_begin(db);
	OK(shadows_save_all(db, wrong, FLIGHT_ROWS, NULL));
	wrong[1].prediction_id = STR("0190a000-0000-7000-8000-000000000004");
	wrong[1].active_result = NAN;
	CU_ASSERT_EQUAL(shadows_save_all(db, wrong, FLIGHT_ROWS, NULL), STATUS_CONFLICT);
	test_commit(db);
	n = 0;
	shadows_begin(0, position);
	OK(shadows_page(db, position, 10, is_the_next, &n, &read, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM shadow_predictions"), FLIGHT_ROWS + 1);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"saves many", saves_many},
	{"deletes the oldest", deletes_the_oldest},
};

int main(void)
{
	return UNIT_RUN("shadows", CASES);
}
