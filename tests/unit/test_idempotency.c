/* Tables idempotency_keys and generations. */
#include "store_helpers.h"

#include "store/generations.h"
#include "store/idempotency.h"
#include "store/tasks.h"

struct answer {
	int calls, http_status;
	int64_t expires_us;
	uint8_t fingerprint[32];
	size_t n;
	char body[64];
};

static void keep(void *arg, const struct idempotency_record *record)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->http_status = record->http_status;
	answer->expires_us = record->expires_us;
	memcpy(answer->fingerprint, record->fingerprint, 32);
	answer->n = record->body.n;
	memcpy(answer->body, record->body.p ? record->body.p : "", record->body.n);
}

static struct idempotency_record record_of(uint8_t key, int64_t expires_us, struct str body)
{
	struct idempotency_record record = {.expires_us = expires_us, .http_status = 201, .body = body};

	memset(record.key_hash, key, 32);
	memset(record.fingerprint, key + 1, 32);
	return record;
}

static void stores_and_finds(void)
{
	static const struct {
		uint8_t key;
		int64_t now;
		bool found;
	} cases[] = {{1, 0, true}, {1, 99, true}, {1, 100, false}, {1, 101, false}, {2, 0, false}, {3, 0, true}};
	struct db *db = test_database("find.db");
	struct idempotency_record one = record_of(1, 100, STR("{\"a\":\"\0\"}")), empty = record_of(3, 100, STR(""));

	test_begin(db);
	OK(idempotency_save(db, &one, 0, NULL));
	OK(idempotency_save(db, &empty, 0, NULL));
	test_commit(db);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct answer answer = {0};
		uint8_t key[32];
		bool found;
		memset(key, cases[i].key, 32);
		OK(idempotency_find(db, key, cases[i].now, &found, keep, &answer, NULL));
		CU_ASSERT_EQUAL(found, cases[i].found);
		CU_ASSERT_EQUAL(answer.calls, cases[i].found ? 1 : 0);
		if (found && cases[i].key == 1) {
			CU_ASSERT_EQUAL(answer.http_status, 201);
			CU_ASSERT_EQUAL(answer.expires_us, 100);
			CU_ASSERT_EQUAL(answer.fingerprint[31], 2);
			CU_ASSERT_EQUAL(answer.n, one.body.n);
			CU_ASSERT_EQUAL(memcmp(answer.body, one.body.p, one.body.n), 0);
		}
	}
	db_close(db);
}

static void an_expired_one_is_replaced(void)
{
	struct db *db = test_database("replace.db");
	struct idempotency_record old = record_of(1, 100, STR("old")), new = record_of(1, 300, STR("new"));
	struct answer answer = {0};
	bool found;

	test_begin(db);
	OK(idempotency_save(db, &old, 0, NULL));
	CU_ASSERT_EQUAL(idempotency_save(db, &new, 99, NULL), STATUS_CONFLICT); /* it lives until 100 */
	OK(idempotency_save(db, &new, 100, NULL));
	test_commit(db);
	OK(idempotency_find(db, old.key_hash, 200, &found, keep, &answer, NULL));
	CU_ASSERT_TRUE(found && answer.n == 3 && memcmp(answer.body, "new", 3) == 0);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM idempotency_keys"), 1);
	db_close(db);
}

static void effect_and_answer_go_together(void)
{
	struct db *db = test_database("together.db");
	struct idempotency_record record = record_of(1, 100, STR("x"));
	struct answer answer = {0};
	bool found = true, repeated;

	test_begin(db);
	OK(test_save(db, "a", &repeated, NULL));
	OK(idempotency_save(db, &record, 0, NULL));
	db_rollback(db);
	db_turn_give(db);
	OK(idempotency_find(db, record.key_hash, 0, &found, keep, &answer, NULL));
	CU_ASSERT_FALSE(found);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 0);
	db_close(db);
}

static void deletes_what_expired(void)
{
	struct db *db = test_database("expire.db");
	int64_t n;

	test_begin(db);
	for (int i = 0; i < 50; i++) {
		struct idempotency_record record = record_of((uint8_t)i, i, STR("x"));
		OK(idempotency_save(db, &record, 0, NULL));
	}
	OK(idempotency_delete_expired(db, 20, 15, &n, NULL));
	CU_ASSERT_EQUAL(n, 15);
	OK(idempotency_delete_expired(db, 20, 15, &n, NULL));
	CU_ASSERT_EQUAL(n, 6);
	OK(idempotency_delete_expired(db, 20, -1, &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT min(expires_us) FROM idempotency_keys"), 21);
	db_close(db);
}

/* A request's batch has locked a row and is about to take the number of its change; expiry has that number. */
static void expiry_waits_for_nobody(void)
{
	struct db *db, *request;
	struct idempotency_record old[] = {record_of(1, 10, STR("x")), record_of(2, 10, STR("x"))};
	struct idempotency_record new = record_of(1, 100, STR("y"));
	int64_t n = 0, change;

	if (!database_is_postgres())
		return;
	db = test_database("waits.db");
	request = test_open("waits.db", DB_WRITE);
	test_begin(db);
	OK(idempotency_save(db, &old[0], 0, NULL));
	OK(idempotency_save(db, &old[1], 0, NULL));
	test_commit(db);
	test_begin(request);
	OK(idempotency_save(request, &new, 20, NULL));
	test_begin(db);
	OK(tasks_begin_change(db, &change, NULL));
	OK(idempotency_delete_expired(db, 20, 15, &n, NULL));
	CU_ASSERT_EQUAL(n, 1);
	test_commit(db);
	OK(tasks_begin_change(request, &change, NULL));
	CU_ASSERT_EQUAL(change, 2);
	test_commit(request);
	CU_ASSERT_EQUAL(test_number(db, "SELECT min(expires_us) FROM idempotency_keys"), 100);
	db_close(request);
	db_close(db);
}

static void generations_count(void)
{
	struct db *db = test_database("generations.db");
	int64_t n = -1;

	OK(generations_read(db, STR("api_keys"), &n, NULL));
	CU_ASSERT_EQUAL(n, 0);
	test_begin(db);
	OK(generations_bump(db, STR("api_keys"), NULL));
	OK(generations_bump(db, STR("api_keys"), NULL));
	OK(generations_bump(db, STR("other"), NULL));
	test_commit(db);
	test_begin(db);
	OK(generations_bump(db, STR("other"), NULL));
	db_rollback(db);
	db_turn_give(db);
	OK(generations_read(db, STR("api_keys"), &n, NULL));
	CU_ASSERT_EQUAL(n, 2);
	OK(generations_read(db, STR("other"), &n, NULL));
	CU_ASSERT_EQUAL(n, 1);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"stores and finds until it expires", stores_and_finds},
	{"an expired one is replaced", an_expired_one_is_replaced},
	{"effect and answer go together", effect_and_answer_go_together},
	{"deletes what expired, some at a time", deletes_what_expired},
	{"expiry waits for nobody", expiry_waits_for_nobody},
	{"generations count", generations_count},
};

int main(void)
{
	return UNIT_RUN("idempotency", CASES);
}
