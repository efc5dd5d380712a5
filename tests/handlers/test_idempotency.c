/* Idempotency-Key: stored, replayed, refused, under way, taken over. */
#include "harness.h"

#include "base/clock.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char BODY[] = "{\"features\":[1,2]}";
static const char OTHER_BODY[] = "{\"features\":[7]}";

static struct exchange *predict(struct harness *h, const char *body, const char *idem)
{
	return ASK(h, .path = "/predict", .body = body, .key = HARNESS_KEY, .idem = idem);
}

static int64_t rows(struct harness *h)
{
	return harness_number(h, "SELECT count(*) FROM predictions");
}

static void an_answer_is_replayed(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *first = predict(&h, BODY, "k1");
	ANSWERS(first, 201, NULL);
	HEADER_IS(first, "Idempotency-Replayed", "");
	for (int i = 0; i < 3; i++) {
		struct exchange *x = predict(&h, BODY, "k1");
		ANSWERS(x, 201, answer_body(first));
		HEADER_IS(x, "Idempotency-Replayed", "true");
		HEADER_IS(x, "Content-Type", "application/json");
		HEADER_IS(x, "X-Request-ID", x->edge_id);
	}
	CU_ASSERT_EQUAL(rows(&h), 1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM idempotency_keys"), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_idempotency_total{outcome=\"stored\"}"), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_idempotency_total{outcome=\"replayed\"}"), 3.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "predictions_total{model_version=\"v1.0\",status=\"success\"}"), 1.0);
	harness_close(&h);
}

static void another_body_is_refused(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *first = predict(&h, BODY, "k1");
	struct exchange *x = predict(&h, OTHER_BODY, "k1");
	ANSWERS(x, 422, DETAIL("This Idempotency-Key was used with another request body."));
	HEADER_IS(x, "Idempotency-Replayed", "");
	ANSWERS(predict(&h, "{\"features\":[1, 2]}", "k1"), 422, NULL); /* the same but for a blank */
	ANSWERS(predict(&h, BODY, "k1"), 201, answer_body(first));
	CU_ASSERT_EQUAL(rows(&h), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_idempotency_total{outcome=\"mismatch\"}"), 2.0);
	harness_close(&h);
}

/* Bare and quoted are the same key; callers and routes have keys of their own. */
static void keys_are_told_apart(void)
{
	char key[KEY_TEXT_BYTES];
	struct harness h;

	harness_open(&h);
	harness_add_key(&h, "other", -1, 0, key);
	harness_tick(&h);
	struct exchange *first = predict(&h, BODY, "k1");
	ANSWERS(predict(&h, BODY, "\"k1\""), 201, answer_body(first));
	ANSWERS(predict(&h, BODY, " k1 "), 201, answer_body(first));
	CU_ASSERT_EQUAL(rows(&h), 1);
	predict(&h, BODY, "K1");
	CU_ASSERT_EQUAL(rows(&h), 2);
	ASK(&h, .path = "/predict", .body = BODY, .key = key, .idem = "k1");
	CU_ASSERT_EQUAL(rows(&h), 3);
	ASK(&h, .path = "/api/v1/predict", .body = BODY, .key = HARNESS_KEY, .idem = "k1");
	CU_ASSERT_EQUAL(rows(&h), 4);
	predict(&h, BODY, NULL);
	predict(&h, BODY, NULL);
	CU_ASSERT_EQUAL(rows(&h), 6);
	harness_close(&h);
}

static void bad_keys_are_refused(void)
{
	char longest[258];
	static const char *const bad[] = {"",
					  " ",
					  "\"\"",
					  "\"",
					  "a\"b",
					  "a\\b",
					  "\"a\"b\"",
					  "a\tb",
					  "a\nb",
					  "a\x7f"
					  "b",
					  "\xc3\xa4",
					  "\xff"};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct exchange *x = predict(&h, BODY, bad[i]);
		ANSWERS(x, 422, NULL);
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x),
					      "{\"detail\":[{\"type\":\"idempotency_key\",\"loc\":[\"header\","
					      "\"Idempotency-Key\"],\"msg\":\"Idempotency-Key should be 1 "
					      "to 255 printable ASCII characters, bare or in quotes\","
					      "\"input\":"));
	}
	memset(longest, 'k', sizeof(longest));
	longest[256] = '\0';
	ANSWERS(predict(&h, BODY, longest), 422, NULL);
	longest[255] = '\0';
	ANSWERS(predict(&h, BODY, longest), 201, NULL);
	ANSWERS(predict(&h, BODY, "with blanks ~ and !"), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 2);
	harness_close(&h);
}

/* Only an effect is remembered: what was refused may be mended under the same key. */
static void refusals_are_not_stored(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(predict(&h, "{\"features\":[]}", "k1"), 422, NULL);
	ANSWERS(ASK(&h, .path = "/predict", .body = BODY, .idem = "k1"), 401, NULL);
	ANSWERS(predict(&h, BODY, "k1"), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 1);
	harness_close(&h);
}

static void expired_keys_are_forgotten(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *first = predict(&h, BODY, "k1");
	/* It lives a day. */
	int64_t left_us = harness_number(&h, "SELECT expires_us FROM idempotency_keys") - clock_wall_us();
	CU_ASSERT_TRUE(left_us > INT64_C(86340000000) && left_us <= INT64_C(86400000000));
	harness_sql(&h, "UPDATE idempotency_keys SET expires_us = 1");
	struct exchange *x = predict(&h, OTHER_BODY, "k1");
	ANSWERS(x, 201, NULL);
	CU_ASSERT_STRING_NOT_EQUAL(answer_body(x), answer_body(first));
	ANSWERS(predict(&h, OTHER_BODY, "k1"), 201, answer_body(x));
	CU_ASSERT_EQUAL(rows(&h), 2);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM idempotency_keys"), 1);
	harness_close(&h);
}

static void one_at_a_time(void)
{
	struct harness h;

	harness_open(&h);
	harness_hold_turn(&h, true);
	const struct ask ask = {.path = "/predict", .body = BODY, .key = HARNESS_KEY, .idem = "k1"};
	struct exchange *first = harness_send(&h, &ask);
	struct exchange *x = harness_ask(&h, &ask);
	ANSWERS(x, 409, DETAIL("A request with this Idempotency-Key is still running."));
	HEADER_IS(x, "Status", "409 Conflict");
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_idempotency_total{outcome=\"running\"}"), 1.0);
	CU_ASSERT_FALSE(first->done);
	harness_hold_turn(&h, false);
	ANSWERS(harness_wait(first), 201, NULL);
	ANSWERS(harness_ask(&h, &ask), 201, answer_body(first));
	CU_ASSERT_EQUAL(rows(&h), 1);
	harness_close(&h);
}

/* nginx tries the same request again while the first one still runs, as far as anybody knows. */
static void the_same_identity_takes_over(void)
{
	static const char edge[] = "00112233445566778899aabbccddeeff";
	struct harness h;

	harness_open(&h);
	harness_hold_turn(&h, true);
	const struct ask ask = {.path = "/predict", .body = BODY, .key = HARNESS_KEY, .idem = "k1", .edge_id = edge};
	struct exchange *a = harness_send(&h, &ask), *b = harness_send(&h, &ask);
	CU_ASSERT_FALSE(a->done || b->done);
	harness_hold_turn(&h, false);
	ANSWERS(harness_wait(a), 201, NULL);
	ANSWERS(harness_wait(b), 201, answer_body(a));
	CU_ASSERT_EQUAL(rows(&h), 1);
	ANSWERS(predict(&h, BODY, "k1"), 201, answer_body(a));
	harness_close(&h);
}

/* The key as predict.c hashes it: caller, route and key. */
static void hash_key(const char *route, const char *key, uint8_t out[static 32])
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, 32);
	crypto_generichash_update(&state, (const uint8_t *)"env", 4);
	crypto_generichash_update(&state, (const uint8_t *)route, strlen(route) + 1);
	crypto_generichash_update(&state, (const uint8_t *)key, strlen(key));
	crypto_generichash_final(&state, out, 32);
}

/* Another process that claims the key; killed, it leaves the claim behind, which is void then. */
static void a_claim_elsewhere(void)
{
	uint8_t hash[32];
	const uint8_t identity[16] = {1, 2, 3};
	int ready[2], go_on[2], status;
	char byte = 0;
	struct harness h;

	harness_open(&h);
	hash_key("/predict", "k1", hash);
	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(go_on), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct shm *shm;
		bool good = shm_open_dir(&shm, h.config.run_dir, NULL) == STATUS_OK &&
			    shm_claim_slot(shm, "other", NULL) == STATUS_OK &&
			    shm_running_claim(shm, hash, identity) == SHM_RUNNING_CLAIMED;
		if (!good || write(ready[1], "x", 1) != 1 || read(go_on[0], &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
	CU_ASSERT_EQUAL_FATAL(read(ready[0], &byte, 1), 1);
	ANSWERS(predict(&h, BODY, "k1"), 409, NULL);
	ANSWERS(predict(&h, BODY, "k2"), 201, NULL);
	CU_ASSERT_EQUAL(write(go_on[1], "x", 1), 1);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	ANSWERS(predict(&h, BODY, "k1"), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 2);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go_on[i]);
	}
	harness_close(&h);
}

static void too_many_at_once_are_refused(void)
{
	enum { MANY = 8192 };
	uint8_t key[16] = {0}, identity[16] = {9};
	struct harness h;
	int claimed = 0;

	harness_open(&h);
	for (int i = 0; i < MANY; i++) {
		memcpy(key, &i, sizeof(i));
		claimed += shm_running_claim(h.app.shm, key, identity) == SHM_RUNNING_CLAIMED;
	}
	CU_ASSERT_TRUE(claimed >= 1024 && claimed < MANY);
	struct exchange *x = predict(&h, BODY, "k1");
	ANSWERS(x, 503, DETAIL("Too many requests with an Idempotency-Key at once. Try again later."));
	HEADER_IS(x, "Retry-After", "1");
	ANSWERS(predict(&h, BODY, NULL), 201, NULL);
	harness_close(&h);
}

static void a_failed_write_gives_the_key_back(void)
{
	struct harness h;

	harness_init(&h);
	h.deadline_ms = 100;
	harness_start(&h);
	harness_hold_turn(&h, true);
	ANSWERS(predict(&h, BODY, "k1"), 503, NULL);
	ANSWERS(predict(&h, BODY, "k1"), 503, NULL); /* and not 409 */
	harness_hold_turn(&h, false);
	struct exchange *x = predict(&h, BODY, "k1");
	for (int i = 0; i < 100 && x->status == 503; i++) /* a busy machine takes longer than the deadline */
		x = predict(&h, BODY, "k1");
	ANSWERS(x, 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 1);
	harness_close(&h);
}

/* The answer and the effect are one transaction: when the answer can't be stored, the prediction is not there. */
static void effect_and_answer_are_one(void)
{
	static const char sqlite[] =
		"DROP TABLE idempotency_keys;"
		"CREATE TABLE idempotency_keys (key_hash BLOB PRIMARY KEY, fingerprint, expires_us, http_status,"
		" body CHECK (0))";
	static const char postgres[] = "ALTER TABLE idempotency_keys ADD CHECK (false)";
	struct harness h;

	harness_open(&h);
	harness_sql(&h, database_is_postgres() ? postgres : sqlite);
	ANSWERS(predict(&h, BODY, "k1"), 409, NULL); /* a constraint; any refusal would do */
	CU_ASSERT_EQUAL(rows(&h), 0);
	ANSWERS(predict(&h, BODY, NULL), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 1);
	harness_close(&h);
}

static void a_late_body_with_a_key(void)
{
	struct harness h;

	harness_open(&h);
	const struct ask ask = {.path = "/predict", .body = BODY, .key = HARNESS_KEY, .idem = "k1", .late_body = true};
	struct exchange *first = harness_ask(&h, &ask);
	ANSWERS(first, 201, NULL);
	struct exchange *x = harness_ask(&h, &ask);
	ANSWERS(x, 201, answer_body(first));
	HEADER_IS(x, "Idempotency-Replayed", "true");
	harness_hold_turn(&h, true);
	struct ask other = ask;
	other.idem = "k2";
	struct exchange *a = harness_send(&h, &other);
	for (int i = 0; i < 3000 && store_queue_length(h.app.store) == 0; i++)
		harness_pump(&h, 10); /* until it has its key, and waits to be stored */
	harness_pump(&h, 100);
	CU_ASSERT_FALSE(a->done);
	ANSWERS(harness_ask(&h, &other), 409, NULL);
	harness_hold_turn(&h, false);
	ANSWERS(harness_wait(a), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 2);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"an answer is replayed", an_answer_is_replayed},
	{"another body is refused", another_body_is_refused},
	{"keys are told apart", keys_are_told_apart},
	{"bad keys are refused", bad_keys_are_refused},
	{"refusals are not stored", refusals_are_not_stored},
	{"expired keys are forgotten", expired_keys_are_forgotten},
	{"one at a time", one_at_a_time},
	{"the same identity takes over", the_same_identity_takes_over},
	{"a claim elsewhere", a_claim_elsewhere},
	{"too many at once are refused", too_many_at_once_are_refused},
	{"a failed write gives the key back", a_failed_write_gives_the_key_back},
	{"effect and answer are one", effect_and_answer_are_one},
	{"a late body with a key", a_late_body_with_a_key},
};

int main(void)
{
	return UNIT_RUN("idempotency", CASES);
}
