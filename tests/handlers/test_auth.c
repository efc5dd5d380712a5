/* Who may call: X-API-Key on /predict, PREDICTIONS_READ on the reading paths. */
#include "harness.h"

#include "base/clock.h"
#include "store/keys.h"

#include <stdio.h>

static const char MISSING[] = DETAIL("Missing API key. Include X-API-Key header.");
static const char INVALID[] = DETAIL("Invalid API key.");
static const char BODY[] = "{\"features\":[1]}";

static struct exchange *predict_with(struct harness *h, const char *key)
{
	return ASK(h, .path = "/predict", .body = BODY, .key = key);
}

static void a_key_is_needed(void)
{
	static const char *const paths[] = {"/predict", "/api/v1/predict"};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < 2; i++) {
		struct exchange *x = ASK(&h, .path = paths[i], .body = BODY);
		ANSWERS(x, 401, MISSING);
		HEADER_IS(x, "WWW-Authenticate", "");
		HEADER_IS(x, "Status", "401 Unauthorized");
		HEADER_IS(x, "Content-Type", "application/json");
		ANSWERS(ASK(&h, .path = paths[i], .body = BODY, .key = ""), 401, MISSING);
		x = ASK(&h, .path = paths[i], .body = BODY, .key = "nope");
		ANSWERS(x, 403, INVALID);
		HEADER_IS(x, "WWW-Authenticate", "");
		HEADER_IS(x, "Status", "403 Forbidden");
		ANSWERS(ASK(&h, .path = paths[i], .body = BODY, .key = HARNESS_KEY), 201, NULL);
	}
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"unauthenticated\"}"), 4.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"forbidden\"}"), 2.0);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 2);
	harness_close(&h);
}

/* The key comes before the body: neither its form nor its size tells a stranger anything. */
static void the_key_comes_first(void)
{
	static const char *const bodies[] = {"{\"features\":[]}", "{", "", "null"};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		ANSWERS(ASK(&h, .path = "/predict", .body = bodies[i]), 401, MISSING);
		ANSWERS(ASK(&h, .path = "/predict", .body = bodies[i], .key = "x"), 403, INVALID);
	}
	ANSWERS(ASK(&h, .path = "/predict", .body = BODY, .params = {"CONTENT_LENGTH", "99999999"}), 401, MISSING);
	ANSWERS(ASK(&h, .path = "/predict", .body = BODY, .params = {"CONTENT_LENGTH", "x"}), 401, MISSING);
	ANSWERS(ASK(&h, .path = "/api/v1/predict", .body = BODY, .type = "text/plain"), 401, MISSING);
	harness_close(&h);
}

static void nearly_right_is_wrong(void)
{
	static const char *const keys[] = {HARNESS_KEY "x",
					   "harness-key-012345678",
					   " " HARNESS_KEY,
					   HARNESS_KEY " ",
					   "HARNESS-KEY-0123456789",
					   "ak_",
					   "dev-key-change-in-production"};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		ANSWERS(predict_with(&h, keys[i]), 403, INVALID);
	harness_close(&h);
}

static void keys_of_the_database_count(void)
{
	char first[KEY_TEXT_BYTES], second[KEY_TEXT_BYTES], expired[KEY_TEXT_BYTES];
	struct harness h;

	harness_open(&h);
	harness_tick(&h);
	harness_add_key(&h, "first", -1, 0, first);
	ANSWERS(predict_with(&h, first), 403, INVALID); /* not read yet */
	harness_tick(&h);
	ANSWERS(predict_with(&h, first), 201, NULL);
	harness_add_key(&h, "second", -1, clock_wall_us() + INT64_C(3600000000), second);
	harness_add_key(&h, "expired", -1, clock_wall_us() - 1, expired);
	harness_tick(&h);
	ANSWERS(predict_with(&h, first), 201, NULL);
	ANSWERS(predict_with(&h, second), 201, NULL);
	ANSWERS(predict_with(&h, expired), 403, INVALID);
	ANSWERS(predict_with(&h, HARNESS_KEY), 201, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions p JOIN api_keys k ON p.key_id = k.id"), 3);
	/* The id of one key with the secret of another. */
	char mixed[KEY_TEXT_BYTES];
	memcpy(mixed, first, sizeof(mixed));
	memcpy(mixed + 20, second + 20, 43);
	ANSWERS(predict_with(&h, mixed), 403, INVALID);
	harness_close(&h);
}

static void a_revoked_key_ends_with_the_next_look(void)
{
	char key[KEY_TEXT_BYTES];
	struct harness h;

	harness_open(&h);
	harness_add_key(&h, "one", -1, 0, key);
	harness_tick(&h);
	ANSWERS(predict_with(&h, key), 201, NULL);
	CU_ASSERT_EQUAL(db_turn_take(h.db, 30000, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(db_begin(h.db, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(keys_revoke(h.db, STR("one"), clock_wall_us(), NULL), STATUS_OK);
	CU_ASSERT_EQUAL(db_commit(h.db, NULL), STATUS_OK);
	db_turn_give(h.db);
	harness_tick(&h);
	ANSWERS(predict_with(&h, key), 403, INVALID);
	harness_close(&h);
}

/* When the keys can't be read, the known ones stay in force. */
static void known_keys_outlive_a_broken_table(void)
{
	char key[KEY_TEXT_BYTES];
	struct harness h;

	harness_open(&h);
	harness_add_key(&h, "one", -1, 0, key);
	harness_tick(&h);
	harness_sql(&h, "ALTER TABLE generations RENAME TO aside");
	harness_tick(&h);
	ANSWERS(predict_with(&h, key), 201, NULL);
	CU_ASSERT_TRUE(harness_logged(&h, "API keys can't be read"));
	harness_close(&h);
}

static void reading_is_open_or_not(void)
{
	static const char *const paths[] = {"/predictions", "/predictions/x", "/api/v1/predictions",
					    "/api/v1/predictions/x"};
	static const char *const open[] = {"/", "/health", "/version", "/livez", "/readyz", "/api/v1/health"};
	struct harness h;

	for (int closed = 0; closed < 2; closed++) {
		harness_init(&h);
		h.config.predictions_read = closed ? "key" : "open";
		harness_start(&h);
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
			int good = i % 2 ? 404 : 200;
			ANSWERS(GET(&h, paths[i]), closed ? 401 : good, closed ? MISSING : NULL);
			ANSWERS(ASK(&h, .path = paths[i], .method = "HEAD"), closed ? 401 : good, "");
			ANSWERS(ASK(&h, .path = paths[i], .key = "x"), closed ? 403 : good, closed ? INVALID : NULL);
			ANSWERS(ASK(&h, .path = paths[i], .key = HARNESS_KEY), good, NULL);
		}
		for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
			ANSWERS(ASK(&h, .path = open[i], .key = "wrong"), 200, NULL);
		harness_close(&h);
	}
}

static void without_a_key_of_its_own_nobody_gets_in(void)
{
	struct harness h;

	harness_init(&h);
	h.config.api_key = "";
	harness_start(&h);
	ANSWERS(predict_with(&h, ""), 401, MISSING);
	ANSWERS(predict_with(&h, HARNESS_KEY), 403, INVALID);
	harness_close(&h);
}

static void secrets_are_not_logged(void)
{
	struct harness h;

	harness_open(&h);
	predict_with(&h, HARNESS_KEY);
	predict_with(&h, "a-wrong-secret");
	ASK(&h, .path = "/predict", .body = BODY, .key = HARNESS_KEY, .idem = "my-idempotency-key");
	ASK(&h, .path = "/version", .query = "api_key=a-secret-in-the-query");
	GET(&h, "/the-end");
	CU_ASSERT_TRUE(harness_logged(&h, "/the-end"));
	CU_ASSERT_TRUE(harness_logged(&h, "\"key_id\":\"env\""));
	FILE *file = fopen(h.log, "re");
	static char text[1 << 16];
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	static const char *const secrets[] = {HARNESS_KEY, "a-wrong-secret", "my-idempotency-key",
					      "a-secret-in-the-query"};
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
		CU_ASSERT_PTR_NULL(strstr(text, secrets[i]));
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"a key is needed", a_key_is_needed},
	{"the key comes first", the_key_comes_first},
	{"nearly right is wrong", nearly_right_is_wrong},
	{"keys of the database count", keys_of_the_database_count},
	{"a revoked key ends with the next look", a_revoked_key_ends_with_the_next_look},
	{"known keys outlive a broken table", known_keys_outlive_a_broken_table},
	{"reading is open or not", reading_is_open_or_not},
	{"without a key of its own nobody gets in", without_a_key_of_its_own_nobody_gets_in},
	{"secrets are not logged", secrets_are_not_logged},
};

int main(void)
{
	return UNIT_RUN("auth", CASES);
}
