/* Models by name: one input and many, what is refused and where it was, and what is told of the models themselves. */
#include "harness.h"

#include <stdio.h>

#define WINE "/api/v1/models/wine/predict"
#define MOOD "/api/v1/models/mood/predict"
#define ID   "018bcfe5-687b-7"

/* A regression of three inputs: 1 + 2a + 3b + (5 when the colour is white), one missing value is filled in. */
static const char WINE_MEMBERS[] =
	"\"description\":\"For tests\",\"created_at\":\"2026-11-21T10:00:00Z\",\"source\":\"made up\","
	"\"licence\":\"none\",\"inputs\":["
	"{\"name\":\"alcohol\",\"type\":\"number\",\"minimum\":0,\"maximum\":15,\"outside\":\"refuse\"},"
	"{\"name\":\"sugar\",\"type\":\"number\",\"maximum\":100,\"outside\":\"flag\"},"
	"{\"name\":\"colour\",\"type\":\"category\",\"categories\":[\"red\",\"white\"],\"outside\":\"refuse\"}],"
	"\"preprocessing\":[{\"step\":\"impute\",\"inputs\":[\"sugar\"],\"values\":[10]},"
	"{\"step\":\"one_hot\",\"input\":\"colour\"}],"
	"\"output\":{\"type\":\"regression\",\"name\":\"quality\",\"meaning\":\"points\"},"
	"\"quality\":{\"r2\":0.5}";
static const char WINE_FILE[] = "{\"format\":\"appcore linear 1\",\"coefficients\":[[2,3,0,5]],\"intercepts\":[1]}";

/* Two classes of one number: the probability of "good" is the logistic function of x. */
static const char MOOD_MEMBERS[] = "\"inputs\":[{\"name\":\"x\",\"type\":\"number\"}],"
				   "\"output\":{\"type\":\"binary\",\"classes\":[\"bad\",\"good\"]}";
static const char MOOD_FILE[] = "{\"format\":\"appcore linear 1\",\"coefficients\":[[1]],\"intercepts\":[0]}";

static void start(struct harness *h)
{
	harness_init(h);
	h->models[0] = harness_load("wine", "1", "linear", WINE_MEMBERS, WINE_FILE);
	h->models[1] = harness_load(
		"wine", "2", "linear", WINE_MEMBERS,
		"{\"format\":\"appcore linear 1\",\"coefficients\":[[2,3,0,5]],\"intercepts\":[2]}");
	h->models[2] = harness_load("mood", "1", "logistic", MOOD_MEMBERS, MOOD_FILE);
	harness_start(h);
}

static struct exchange *ask(struct harness *h, const char *path, const char *body)
{
	return ASK(h, .path = path, .body = body, .key = HARNESS_KEY, .edge_id = "00112233445566778899aabbccddeeff");
}

#define FIRST "018bcfe5-687b-7011-a233-445566778899"
#define TIME  "2023-11-14T22:13:20.123000+00:00"

static void one_input_in_each_form(void)
{
	static const struct {
		const char *body, *result;
	} cases[] = {
		{"{\"features\":[9.5,1,\"white\"]}", "28.0"},
		{"{\"features\":{\"alcohol\":9.5,\"sugar\":1,\"colour\":\"white\"}}", "28.0"},
		{"{\"inputs\":{\"colour\":\"red\",\"sugar\":1,\"alcohol\":9.5}}", "23.0"},
		{"{\"inputs\":[9.5,1,\"red\"],\"more\":1}", "23.0"},
		{"{\"features\":[9.5,null,\"red\"]}", "50.0"}, /* missing: 10 */
		{"{\"features\":{\"alcohol\":9.5,\"colour\":\"red\"}}", "50.0"},
	};
	struct harness h;

	start(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char wanted[400];
		struct exchange *x = ASK(&h, .path = WINE, .body = cases[i].body, .key = HARNESS_KEY);
		CU_ASSERT_EQUAL(x->status, 201);
		snprintf(wanted, sizeof(wanted),
			 "\",\"model\":\"wine\",\"version\":\"1\",\"result\":%s,\"created_at\":\"" TIME "\"}",
			 cases[i].result);
		SAME(strstr(answer_body(x), "\",\"model\"") ? strstr(answer_body(x), "\",\"model\"") : "", wanted);
	}
	ANSWERS(ask(&h, "/api/v1/models/wine/versions/2/predict", "{\"features\":[9.5,1,\"white\"]}"), 201,
		"{\"prediction_id\":\"" FIRST "\",\"model\":\"wine\",\"version\":\"2\",\"result\":29.0,"
		"\"created_at\":\"" TIME "\"}");
	/* Stored with where it is from. */
	struct exchange *x = GET(&h, "/api/v1/predictions/" FIRST);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"features\":[9.5, 1.0, \"white\"],\"result\":29.0,"
						      "\"model_version\":\"2\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"model_name\":\"wine\""));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 7);
	harness_close(&h);
}

static void classifiers_say_more(void)
{
	struct harness h;

	start(&h);
	ANSWERS(ask(&h, MOOD, "{\"features\":[0]}"), 201,
		"{\"prediction_id\":\"" FIRST
		"\",\"model\":\"mood\",\"version\":\"1\",\"result\":0.5,\"label\":\"bad\","
		"\"probabilities\":[0.5, 0.5],\"created_at\":\"" TIME "\"}");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE label = 'bad' AND"
					   " probabilities = '[0.5, 0.5]' AND flags = ''"),
			1);
	struct exchange *x = ASK(&h, .path = MOOD, .key = HARNESS_KEY,
				 .body = "{\"instances\":[[1],{\"x\":-1},{\"features\":[0]},{\"inputs\":{\"x\":2}}]}");
	CU_ASSERT_EQUAL(x->status, 201);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"label\":\"good\",\"probabilities\":[0.2689414"));
	harness_close(&h);
}

static void many_inputs_are_one_answer(void)
{
	struct harness h;

	start(&h);
	struct exchange *x = ask(&h, WINE,
				 "{\"instances\":[[1,1,\"red\"],{\"alcohol\":2,\"sugar\":200,\"colour\":\"white\"},"
				 "{\"features\":[3,null,\"red\"]}]}");
	CU_ASSERT_EQUAL(x->status, 201);
	static const char start_of[] =
		"{\"model\":\"wine\",\"version\":\"1\",\"predictions\":[{\"prediction_id\":\"" FIRST
		"\",\"result\":6.0},{\"prediction_id\":\"" ID;
	CU_ASSERT_EQUAL(strncmp(answer_body(x), start_of, sizeof(start_of) - 1), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"result\":610.0,\"flags\":[\"sugar\"]},"));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"result\":37.0}],\"created_at\":\"" TIME "\"}"));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 3);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE flags = '[\"sugar\"]'"), 1);
	CU_ASSERT_EQUAL(
		harness_metric(&h, "appcore_model_predictions_total{model=\"wine\",version=\"1\",status=\"success\"}"),
		3.0);

	/* nginx tries it again: the same rows, the same answer, also when the body's model has changed meanwhile. */
	char former[2000];
	snprintf(former, sizeof(former), "%s", answer_body(x));
	x = ask(&h, WINE,
		"{\"instances\":[[1,1,\"red\"],{\"alcohol\":2,\"sugar\":200,\"colour\":\"white\"},"
		"{\"features\":[3,null,\"red\"]}]}");
	ANSWERS(x, 201, former);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 3);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_repeated_writes_total"), 1.0);
	CU_ASSERT_EQUAL(
		harness_metric(&h, "appcore_model_predictions_total{model=\"wine\",version=\"1\",status=\"success\"}"),
		3.0);
	/* The store's word counts. */
	x = ask(&h, "/api/v1/models/wine/versions/2/predict", "{\"instances\":[[0,0,\"red\"],[0,0,\"red\"]]}");
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "{\"model\":\"wine\",\"version\":\"1\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"result\":610.0,\"flags\":[\"sugar\"]}]"));
	harness_close(&h);
}

static void a_batch_is_all_or_nothing(void)
{
	struct harness h;

	start(&h);
	ANSWERS(ask(&h, WINE,
		    "{\"instances\":[[1,1,\"red\"],[1,1,\"blue\"],[99,1,\"red\"],{\"alcohol\":-1,\"colour\":\"red\"}]"
		    "}"),
		422,
		"{\"detail\":[{\"type\":\"enum\",\"loc\":[\"body\",\"instances\",1,2],\"msg\":\"Input should be 'red' "
		"or "
		"'white'\",\"input\":\"blue\",\"ctx\":{\"name\":\"colour\"}},"
		"{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"instances\",2,0],\"msg\":\"Input should be less "
		"than or equal "
		"to 15\",\"input\":99,\"ctx\":{\"le\":15.0,\"name\":\"alcohol\"}},"
		"{\"type\":\"greater_than_equal\",\"loc\":[\"body\",\"instances\",3,\"alcohol\"],\"msg\":\"Input "
		"should be greater "
		"than or equal to 0\",\"input\":-1,\"ctx\":{\"ge\":0.0}}]}");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 0);
	/* What the model itself does not take. */
	ANSWERS(ask(&h, "/api/v1/models/mean/predict", "{\"instances\":[[1,2],[3,4],[5]]}"), 422,
		"{\"detail\":[{\"type\":\"too_short\",\"loc\":[\"body\",\"instances\",2],\"msg\":\"List should have at "
		"least 2 items "
		"after validation, not "
		"1\",\"input\":[5],\"ctx\":{\"field_type\":\"List\",\"min_length\":2,\"actual_length\":1}}]}");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 0);
	harness_close(&h);
}

static void what_is_wrong_is_named(void)
{
	static const struct {
		const char *path, *body, *part;
	} cases[] = {
		{WINE, "{}", "\"type\":\"missing\",\"loc\":[\"body\",\"features\"]"},
		{WINE, "", "\"type\":\"missing\",\"loc\":[\"body\"]"},
		{WINE, "[]", "\"type\":\"model_attributes_type\""},
		{WINE, "{\"features\":[1", "\"type\":\"json_invalid\""},
		{WINE, "{\"features\":[1,2]}",
		 "\"type\":\"too_short\",\"loc\":[\"body\",\"features\"],\"msg\":\"List should have at "
		 "least 3 items after validation, not 2\""},
		{WINE, "{\"features\":[1,2,\"red\",4]}",
		 "\"ctx\":{\"field_type\":\"List\",\"max_length\":3,\"actual_length\":4}"},
		{WINE, "{\"features\":[1,\"2\",\"red\"]}", "\"type\":\"float_type\",\"loc\":[\"body\",\"features\",1]"},
		{WINE, "{\"features\":[null,2,\"red\"]}", "\"loc\":[\"body\",\"features\",0]"},
		{WINE, "{\"features\":{\"sugar\":1,\"colour\":\"red\"}}",
		 "\"type\":\"missing\",\"loc\":[\"body\",\"features\",\"alcohol\"]"},
		{WINE, "{\"inputs\":{\"alcohol\":1,\"sugar\":1,\"colour\":\"red\",\"ph\":1}}",
		 "\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"inputs\",\"ph\"]"},
		{WINE, "{\"features\":[1,1e999,\"red\"]}",
		 "\"type\":\"finite_number\",\"loc\":[\"body\",\"features\",1]"},
		{WINE, "{\"features\":[1,1,\"red\"],\"inputs\":{}}",
		 "\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"inputs\"]"},
		{WINE, "{\"text\":\"good\"}", "\"loc\":[\"body\",\"text\"]"},
		{WINE, "{\"instances\":[]}", "\"type\":\"too_short\",\"loc\":[\"body\",\"instances\"]"},
		{WINE, "{\"instances\":{}}", "\"type\":\"list_type\",\"loc\":[\"body\",\"instances\"]"},
		{WINE, "{\"instances\":[1]}", "\"type\":\"list_type\",\"loc\":[\"body\",\"instances\",0]"},
		{WINE, "{\"instances\":[[1,1,\"red\"],{\"features\":{\"alcohol\":1}}]}",
		 "\"loc\":[\"body\",\"instances\",1,\"features\",\"colour\"]"},
		{"/api/v1/models/mean/predict", "{\"features\":{\"a\":1}}", "\"loc\":[\"body\",\"features\"]"},
		{"/api/v1/models/mean/predict", "{\"features\":[]}",
		 "\"type\":\"too_short\",\"loc\":[\"body\",\"features\"]"},
		{"/api/v1/models/mean/predict", "{\"features\":[1,null]}", "\"loc\":[\"body\",\"features\",1]"},
	};
	struct harness h;

	start(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ASK(&h, .path = cases[i].path, .body = cases[i].body, .key = HARNESS_KEY);
		CU_ASSERT_EQUAL(x->status, 422);
		if (!strstr(answer_body(x), cases[i].part))
			SAME(answer_body(x), cases[i].part);
	}
	ANSWERS(ASK(&h, .path = WINE, .body = "x", .type = "text/plain", .key = HARNESS_KEY), 415, NULL);
	ANSWERS(ASK(&h, .path = WINE, .body = "{\"features\":[1,1,\"red\"]}"), 401, NULL);
	ANSWERS(ask(&h, "/api/v1/models/beer/predict", "{}"), 404, DETAIL("There is no model beer."));
	ANSWERS(ask(&h, "/api/v1/models/wine/versions/7/predict", "{}"), 404,
		DETAIL("Model wine has no version 7 that is loaded."));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 0);
	harness_close(&h);
}

static void nothing_active_is_503(void)
{
	struct harness h;
	struct model_set *set = model_set_new();
	struct model *wine = harness_load("wine", "1", "linear", WINE_MEMBERS, WINE_FILE);
	struct model *mood = harness_load("mood", "1", "logistic", MOOD_MEMBERS, MOOD_FILE);

	harness_open(&h);
	CU_ASSERT_EQUAL(model_set_add(set, wine, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(model_set_add(set, mood, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(
		model_set_route(set, STR("mood"), NULL, 0, (struct str){0}, MODEL_STICKY_NONE, (struct str){0}, NULL),
		STATUS_OK);
	model_drop(wine);
	model_drop(mood);
	app_take_models(&h.app, set);
	struct exchange *x = ask(&h, WINE, "{\"features\":[1,1,\"red\"]}");
	ANSWERS(x, 503, DETAIL("No version of model wine is active."));
	HEADER_IS(x, "Retry-After", "1");
	ANSWERS(ask(&h, MOOD, "{\"features\":[1]}"), 503, DETAIL("No version of model mood is active."));
	ANSWERS(ask(&h, "/api/v1/models/wine/versions/1/predict", "{\"features\":[1,1,\"red\"]}"), 201, NULL);
	harness_close(&h);
}

static const char *repeat(const char *item, int n)
{
	static char text[400000];
	size_t used = (size_t)snprintf(text, sizeof(text), "{\"instances\":[");

	for (int i = 0; i < n; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? "," : "", item);
	snprintf(text + used, sizeof(text) - used, "]}");
	return text;
}

static void batches_have_a_limit(void)
{
	struct harness h;

	start(&h);
	struct exchange *x = ASK(&h, .path = WINE, .body = repeat("[1,1,\"red\"]", 1000), .key = HARNESS_KEY);
	CU_ASSERT_EQUAL(x->status, 201);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 1000);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(DISTINCT result) FROM predictions"), 1);
	x = ASK(&h, .path = WINE, .body = repeat("[1,1,\"red\"]", 1001), .key = HARNESS_KEY);
	ANSWERS(x, 422,
		"{\"detail\":[{\"type\":\"too_long\",\"loc\":[\"body\",\"instances\"],\"msg\":\"List should have at "
		"most 1000 items "
		"after validation, not 1001\",\"input\":[],\"ctx\":{\"field_type\":\"List\",\"max_length\":1000,"
		"\"actual_length\":1001}}]}");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 1000);
	/* Many bad ones: a bounded answer. */
	x = ASK(&h, .path = WINE, .body = repeat("[1,1,\"blue\"]", 1000), .key = HARNESS_KEY);
	CU_ASSERT_EQUAL(x->status, 422);
	CU_ASSERT_TRUE(x->body.n < 30000);
	/* The first row says how wide the others are, before memory is taken. */
	x = ASK(&h, .path = "/api/v1/models/mean/predict", .body = repeat("[1]", 500), .key = HARNESS_KEY);
	CU_ASSERT_EQUAL(x->status, 201);
	/* Full slow threads refuse a batch, not a single input. */
	harness_jam_slow_lane(&h, true);
	ANSWERS(ASK(&h, .path = MOOD, .body = "{\"features\":[1]}", .key = HARNESS_KEY), 201, NULL);
	ANSWERS(ASK(&h, .path = MOOD, .body = "{\"instances\":[[1],[2]]}", .key = HARNESS_KEY), 201, NULL);
	x = ASK(&h, .path = MOOD, .body = repeat("[1]", 100), .key = HARNESS_KEY);
	ANSWERS(x, 503, NULL);
	harness_jam_slow_lane(&h, false);
	harness_close(&h);
}

static void a_key_repeats_an_answer(void)
{
	const char *body = "{\"instances\":[[1],[2]]}";
	struct harness h;

	start(&h);
	struct exchange *first = ASK(&h, .path = MOOD, .body = body, .key = HARNESS_KEY, .idem = "k1");
	CU_ASSERT_EQUAL(first->status, 201);
	struct exchange *again = ASK(&h, .path = MOOD, .body = body, .key = HARNESS_KEY, .idem = "k1");
	ANSWERS(again, 201, answer_body(first));
	HEADER_IS(again, "Idempotency-Replayed", "true");
	ANSWERS(ASK(&h, .path = MOOD, .body = "{\"instances\":[[1]]}", .key = HARNESS_KEY, .idem = "k1"), 422, NULL);
	/* A key is one path's: the other version's answer is its own. */
	struct exchange *other = ASK(&h, .path = "/api/v1/models/mood/versions/1/predict", .body = body,
				     .key = HARNESS_KEY, .idem = "k1");
	CU_ASSERT_EQUAL(other->status, 201);
	HEADER_IS(other, "Idempotency-Replayed", "");
	/* So is another model's, of the same pattern. */
	other = ASK(&h, .path = "/api/v1/models/mean/predict", .body = body, .key = HARNESS_KEY, .idem = "k1");
	CU_ASSERT_EQUAL(other->status, 201);
	HEADER_IS(other, "Idempotency-Replayed", "");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 6);
	harness_close(&h);
}

/* The contract's path keeps its shape, whatever answers. */
static void the_default_model_may_be_any(void)
{
	struct harness h;

	harness_init(&h);
	h.model = harness_load("wine", "1", "linear", WINE_MEMBERS, WINE_FILE);
	h.models[0] = h.model;
	harness_start(&h);
	static const char *const bodies[] = {"{\"features\":[9.5,1,\"white\"]}",
					     "{\"features\":[\"9.5\",true,\"white\"]}",
					     "{\"features\":[9.5,1,\"white\"],\"x\":null}"};
	for (size_t i = 0; i < 3; i++) {
		struct exchange *x = PREDICT(&h, bodies[i]);
		CU_ASSERT_EQUAL(x->status, 201);
		CU_ASSERT_PTR_NOT_NULL(strstr(
			answer_body(x), "\",\"result\":28.0,\"model_version\":\"1\",\"created_at\":\"" TIME "\"}"));
	}
	ANSWERS(PREDICT(&h, "{\"features\":[9.5,1]}"), 422,
		"{\"detail\":[{\"type\":\"too_short\",\"loc\":[\"body\",\"features\"],\"msg\":\"List should have at "
		"least 3 items after "
		"validation, not "
		"2\",\"input\":[9.5,1],\"ctx\":{\"field_type\":\"List\",\"min_length\":3,\"actual_length\":2}}]}");
	ANSWERS(PREDICT(&h, "{\"features\":[16,1,\"red\"]}"), 422,
		"{\"detail\":[{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"features\",0],\"msg\":\"Input should "
		"be less than or equal "
		"to 15\",\"input\":16,\"ctx\":{\"le\":15.0,\"name\":\"alcohol\"}}]}");
	ANSWERS(PREDICT(&h, "{\"features\":[true,1,true]}"), 422, NULL);
	struct exchange *x = ASK(&h, .path = "/api/v1/predict", .body = "{\"features\":[1,101,\"red\"]}",
				 .key = HARNESS_KEY);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"model_version\":\"1\",\"flags\":[\"sugar\"],\"created_at\""));
	ANSWERS(ASK(&h, .path = "/api/v1/predict", .body = "{\"features\":[\"1\",1,\"red\"]}", .key = HARNESS_KEY), 422,
		NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE flags <> ''"), 1);
	harness_close(&h);
}

static void models_are_told(void)
{
	struct harness h;

	start(&h);
	ANSWERS(ASK(&h, .path = MOOD, .body = "{\"instances\":[[1],[2]]}", .key = HARNESS_KEY), 201, NULL);
	struct exchange *x = GET(&h, "/api/v1/models");
	CU_ASSERT_EQUAL(x->status, 200);
	static const char *const parts[] = {
		"{\"models\":[{\"name\":\"mean\",\"default\":true,\"active\":\"v1.0\",\"shares\":{\"v1.0\":1},"
		"\"sticky\":null,"
		"\"shadow\":null,\"versions\":[{\"version\":\"v1.0\",\"active\":true,\"share\":1,\"shadow\":false,"
		"\"hash\":\"",
		"{\"name\":\"mood\",\"default\":false,\"active\":\"1\"",
		"\"kind\":\"logistic\",\"statistics\":{\"predictions\":2,\"errors\":0,\"mean_duration_us\":",
		"{\"version\":\"2\",\"active\":false,\"share\":0,",
		"\"statistics\":{\"predictions\":0,\"errors\":0,\"mean_duration_us\":null}",
	};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!strstr(answer_body(x), parts[i]))
			SAME(answer_body(x), parts[i]);
	x = GET(&h, "/api/v1/models/wine/versions/1");
	static const char *const more[] = {
		"{\"name\":\"wine\",\"version\":\"1\",\"active\":true,",
		"\"kind\":\"linear\",\"description\":\"For "
		"tests\",\"created_at\":\"2026-11-21T10:00:00Z\",\"source\":\"made up\"",
		"{\"name\":\"alcohol\",\"type\":\"number\",\"minimum\":0.0,\"maximum\":15.0,\"outside\":\"refuse\","
		"\"missing\":\"refuse\"}",
		"\"categories\":[\"red\",\"white\"]",
		"\"output\":{\"type\":\"regression\",\"name\":\"quality\",\"meaning\":\"points\",\"classes\":[]},"
		"\"quality\":{\"r2\":0.5}",
	};
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		if (!strstr(answer_body(x), more[i]))
			SAME(answer_body(x), more[i]);
	const char *tag = answer_header(x, "ETag");
	CU_ASSERT_EQUAL(strlen(tag), 34);
	x = ASK(&h, .path = "/api/v1/models/wine/versions/1", .params = {"HTTP_IF_NONE_MATCH", tag});
	ANSWERS(x, 304, "");
	HEADER_IS(x, "ETag", tag);
	ANSWERS(ASK(&h, .path = "/api/v1/models/wine/versions/1", .params = {"HTTP_IF_NONE_MATCH", "\"x\""}), 200,
		NULL);
	x = GET(&h, "/api/v1/models/wine");
	CU_ASSERT_EQUAL(strncmp(answer_body(x), "{\"name\":\"wine\",", 15), 0);
	ANSWERS(GET(&h, "/api/v1/models/beer"), 404, DETAIL("There is no model beer."));
	ANSWERS(GET(&h, "/api/v1/models/wine/versions/9"), 404, DETAIL("Model wine has no version 9 that is loaded."));
	ANSWERS(GET(&h, "/api/v1/models/a b\n"), 404, NULL);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"one input in each form", one_input_in_each_form},
	{"classifiers say more", classifiers_say_more},
	{"many inputs are one answer", many_inputs_are_one_answer},
	{"a batch is all or nothing", a_batch_is_all_or_nothing},
	{"what is wrong is named", what_is_wrong_is_named},
	{"nothing active is 503", nothing_active_is_503},
	{"batches have a limit", batches_have_a_limit},
	{"a key repeats an answer", a_key_repeats_an_answer},
	{"the default model may be any", the_default_model_may_be_any},
	{"models are told", models_are_told},
};

int main(void)
{
	return UNIT_RUN("models", CASES);
}
