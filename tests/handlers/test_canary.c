/* Which version of a model answers whom: shares, stickiness, and that nginx trying a request again changes nothing. */
#include "harness.h"

#include "handlers/canary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DRAWS = 10000 };

static enum status answer(const struct model_batch *batch, double result)
{
	for (size_t i = 0; i < batch->n; i++)
		batch->results[i] = result;
	return STATUS_OK;
}

static enum status predict_1(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	(void)model, (void)bad, (void)err;
	return answer(batch, 1.0);
}

static enum status predict_2(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	(void)model, (void)bad, (void)err;
	return answer(batch, 2.0);
}

static const struct model_ops OPS_1 = {.predict = predict_1}, OPS_2 = {.predict = predict_2};
static struct model wine_1 = {.name = "wine", .version = "1", .hash = "a", .accepts = MODEL_VECTOR, .ops = &OPS_1};
static struct model wine_2 = {.name = "wine", .version = "2", .hash = "b", .accepts = MODEL_VECTOR, .ops = &OPS_2};

/* wine is the default model: version 1 has 90 of 100 requests, version 2 the others. Other names get the same shares.
 */
static struct model_set *split(const char *name, enum model_sticky sticky, const char *header)
{
	static const struct model_share shares[] = {{STR_INIT("2"), 10}, {STR_INIT("1"), 90}};
	struct model_set *set = model_set_new();
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	snprintf(wine_1.name, sizeof(wine_1.name), "%s", name);
	snprintf(wine_2.name, sizeof(wine_2.name), "%s", name);
	CU_ASSERT_EQUAL(model_set_add(set, &wine_1, &err), STATUS_OK);
	CU_ASSERT_EQUAL(model_set_add(set, &wine_2, &err), STATUS_OK);
	CU_ASSERT_EQUAL(model_set_route(set, str_of(name), shares, 2, (struct str){0}, sticky, str_of(header), &err),
			STATUS_OK);
	CU_ASSERT_EQUAL(model_set_default(set, str_of(name), &err), STATUS_OK);
	return set;
}

static bool gets_candidate(const struct request *req, const struct model_set *set)
{
	const struct model_version *version = canary_pick(req, model_set_default_route(set));

	return strcmp(version->model->version, "2") == 0;
}

/* 10 % of 10,000 is 1,000, give or take three times the root of 10,000 * 0.1 * 0.9, which is 30. */
static void shares_are_kept(void)
{
	struct model_set *plain = split("wine", MODEL_STICKY_NONE, "");
	struct model_set *sticky = split("wine", MODEL_STICKY_KEY, "");
	int evenly = 0, drawn = 0, by_key = 0;

	for (int i = 0; i < DRAWS; i++) {
		struct request req = {0};
		/* Identities that lie evenly: exactly a tenth of them. The first eight bytes count, the last the most.
		 */
		uint64_t even = (uint64_t)i * (UINT64_MAX / DRAWS) + UINT64_MAX / DRAWS / 2;
		memcpy(req.edge.random, &even, sizeof(even));
		evenly += gets_candidate(&req, plain);
		edge_generate(&req.edge);
		drawn += gets_candidate(&req, plain);
		snprintf(req.caller.key_id, sizeof(req.caller.key_id), "key-%d", i);
		by_key += gets_candidate(&req, sticky);
	}
	CU_ASSERT_EQUAL(evenly, DRAWS / 10);
	CU_ASSERT(drawn > 850 && drawn < 1150); /* five times 30: once in a million runs it is not */
	CU_ASSERT_EQUAL(by_key, 1002);          /* a hash is the same everywhere */
	model_set_drop(plain);
	model_set_drop(sticky);
}

static void a_key_keeps_its_version(void)
{
	struct model_set *wine = split("wine", MODEL_STICKY_KEY, "");
	int candidates = 0, both = 0;

	for (int key = 0; key < 1000; key++) {
		struct request req = {0};
		snprintf(req.caller.key_id, sizeof(req.caller.key_id), "key-%d", key);
		edge_generate(&req.edge);
		bool first = gets_candidate(&req, wine);
		for (int again = 0; again < 10; again++) {
			edge_generate(&req.edge);
			CU_ASSERT_EQUAL(gets_candidate(&req, wine), first);
		}
		candidates += first;
	}
	CU_ASSERT(candidates > 50 && candidates < 150);

	/* Who has the candidate of one model does not have that of all. */
	struct model_set *beer = split("beer", MODEL_STICKY_KEY, "");
	for (int key = 0; key < 1000; key++) {
		struct request req = {0};
		snprintf(req.caller.key_id, sizeof(req.caller.key_id), "key-%d", key);
		both += gets_candidate(&req, wine) && gets_candidate(&req, beer);
	}
	CU_ASSERT(both < 30); /* 10 are to be expected; with one hash for all models it would be all of them */
	model_set_drop(wine);
	model_set_drop(beer);
}

/* Without a key, or without the header, a request is drawn by itself: all draws of one identity are the same. */
static void who_has_nothing_is_drawn(void)
{
	static const enum model_sticky by[] = {MODEL_STICKY_NONE, MODEL_STICKY_KEY, MODEL_STICKY_HEADER};

	for (size_t i = 0; i < 3; i++) {
		struct model_set *set = split("wine", by[i], "HTTP_X_USER_ID");
		int candidates = 0;
		for (int k = 0; k < 1000; k++) {
			struct request req = {0};
			edge_generate(&req.edge);
			bool first = gets_candidate(&req, set);
			CU_ASSERT_EQUAL(gets_candidate(&req, set), first);
			candidates += first;
		}
		CU_ASSERT(candidates > 40 && candidates < 160);
		model_set_drop(set);
	}
}

static double ask_as(struct harness *h, const char *name, const char *user)
{
	struct exchange *x = ASK(h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY,
				 .params = {name, user});

	CU_ASSERT_EQUAL(x->status, 201);
	const char *result = strstr(answer_body(x), "\"result\":");
	double value = result ? strtod(result + strlen("\"result\":"), NULL) : 0.0;
	CU_ASSERT_PTR_NOT_NULL(
		strstr(answer_body(x), value == 2.0 ? "\"model_version\":\"2\"" : "\"model_version\":\"1\""));
	return value;
}

/* Through the whole application: the version is in the answer, in the row and in the metrics. */
static void a_header_keeps_its_version(void)
{
	struct harness h;
	int candidates = 0;

	harness_open(&h);
	app_take_models(&h.app, split("wine", MODEL_STICKY_HEADER, "HTTP_X_USER_ID"));
	for (int i = 0; i < 60; i++) {
		char user[32];
		snprintf(user, sizeof(user), "user-%d", i);
		double first = ask_as(&h, "HTTP_X_USER_ID", user);
		CU_ASSERT_EQUAL(ask_as(&h, "HTTP_X_USER_ID", user), first);
		candidates += first == 2.0;
	}
	CU_ASSERT(candidates > 0 && candidates < 30);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE model_version = '2' AND result = 2"),
			2 * candidates);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE model_version = '1' AND result = 1"),
			120 - 2 * candidates);
	CU_ASSERT_EQUAL(
		harness_metric(&h, "appcore_model_predictions_total{model=\"wine\",version=\"2\",status=\"success\"}"),
		2 * candidates);
	harness_close(&h);
}

/* A header that requests are read for anyway can be what a route is sticky by. */
static void any_header_will_do(void)
{
	struct harness h;

	harness_open(&h);
	app_take_models(&h.app, split("wine", MODEL_STICKY_HEADER, "HTTP_ORIGIN"));
	for (int i = 0; i < 20; i++) {
		char origin[32];
		snprintf(origin, sizeof(origin), "http://%d.example", i);
		double first = ask_as(&h, "HTTP_ORIGIN", origin);
		for (int again = 0; again < 5; again++)
			CU_ASSERT_EQUAL(ask_as(&h, "HTTP_ORIGIN", origin), first);
	}
	harness_close(&h);
}

/* nginx tries a request again on another worker: the same identity, the same version. */
static void a_retry_changes_nothing(void)
{
	struct harness h;

	harness_open(&h);
	app_take_models(&h.app, split("wine", MODEL_STICKY_NONE, ""));
	for (int i = 0; i < 20; i++) {
		char id[40];
		snprintf(id, sizeof(id), "%016" PRIx64 "%016x", (uint64_t)(i + 1) * UINT64_C(0x9e3779b97f4a7c15), i);
		struct ask ask = {.path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY, .edge_id = id};
		struct exchange *first = harness_ask(&h, &ask);
		ANSWERS(harness_ask(&h, &ask), 201, answer_body(first));
	}
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 20);
	harness_close(&h);
}

/* What the shadow says is stored beside the answer, and is no part of it. */
static void a_shadow_is_not_heard(void)
{
	static const char count[] = "SELECT count(*) FROM shadow_predictions s JOIN predictions p"
				    " ON s.id = p.id || '/2' AND s.created_at = p.created_at AND s.result = 2"
				    " AND s.model_name = 'wine' AND s.active_version = '1' AND s.active_result = 1";
	static const struct model_share whole = {STR_INIT("1"), 100};
	struct harness h;

	harness_open(&h);
	struct model_set *set = split("wine", MODEL_STICKY_NONE, "");
	CU_ASSERT_EQUAL(model_set_route(set, STR("wine"), &whole, 1, STR("2"), MODEL_STICKY_NONE, STR(""), NULL),
			STATUS_OK);
	app_take_models(&h.app, set);
	for (int i = 0; i < 10; i++) {
		char id[40];
		snprintf(id, sizeof(id), "%04x%028x", i, i);
		struct ask ask = {.path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY, .edge_id = id};
		struct exchange *first = harness_ask(&h, &ask);
		CU_ASSERT_EQUAL(first->status, 201);
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(first), "\"result\":1.0,\"model_version\":\"1\""));
		ANSWERS(harness_ask(&h, &ask), 201, answer_body(first)); /* tried again: scored once */
	}
	CU_ASSERT_TRUE(
		harness_metric_is(&h, "appcore_shadow_total{model=\"wine\",version=\"2\",outcome=\"scored\"}", 10));
	CU_ASSERT_EQUAL(harness_number(&h, count), 10);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM shadow_predictions"), 10);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE model_version = '1'"), 10);
	harness_close(&h);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"shares are kept", shares_are_kept},
		{"a key keeps its version", a_key_keeps_its_version},
		{"who has nothing is drawn", who_has_nothing_is_drawn},
		{"a header keeps its version", a_header_keeps_its_version},
		{"any header will do", any_header_will_do},
		{"a retry changes nothing", a_retry_changes_nothing},
		{"a shadow is not heard", a_shadow_is_not_heard},
	};

	return UNIT_RUN("canary", cases);
}
