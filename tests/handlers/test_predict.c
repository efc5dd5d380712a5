/* POST /predict and POST /api/v1/predict: answers, validation, what is stored, and what happens when it can't be. */
#include "harness.h"

#include "base/clock.h"
#include "store/predictions.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char EDGE[] = "00112233445566778899aabbccddeeff";
/* UUIDv7 of EDGE at HARNESS_MSEC: 48 bits of time, version 7, variant 2, the first ten bytes of EDGE for the rest. */
#define EDGE_UUID "018bcfe5-687b-7011-a233-445566778899"
#define CREATED   "2023-11-14T22:13:20.123000+00:00"
#define ANSWER(result)                                                                                                 \
	"{\"prediction_id\":\"" EDGE_UUID "\",\"result\":" result                                                      \
	",\"model_version\":\"v1.0\",\"created_at\":\"" CREATED "\"}"

static int64_t rows(struct harness *h)
{
	return harness_number(h, "SELECT count(*) FROM predictions");
}

static void predicts_the_mean(void)
{
	static const struct {
		const char *body, *result, *stored;
	} cases[] = {
		{"{\"features\":[1.0,2.0,3.0]}", "2.0", "[1.0, 2.0, 3.0]"},
		{"{\"features\":[1,2,3]}", "2.0", "[1.0, 2.0, 3.0]"},
		{"{\"features\":[5.0]}", "5.0", "[5.0]"},
		{"{\"features\":[1.0,2.0]}", "1.5", "[1.0, 2.0]"},
		{"{\"features\":[0.1]}", "0.1", "[0.1]"},
		{"{\"features\":[0.1,0.2]}", "0.15000000000000002", "[0.1, 0.2]"},
		{"{\"features\":[-0.0]}", "0.0", "[-0.0]"}, /* 0.0 + -0.0 */
		{"{\"features\":[\"1.5\",2]}", "1.75", "[1.5, 2.0]"},
		{"{\"features\":[true,false]}", "0.5", "[1.0, 0.0]"},
		{"{\"features\":[1],\"a\":2,\"b\":{\"features\":[9]}}", "1.0", "[1.0]"},
		{" { \"features\" : [ 1e3 , 1E-2 ] } ", "500.005", "[1000.0, 0.01]"},
		{"{\"features\":[1e308,1e308]}", "1e+308", "[1e+308, 1e+308]"},
		{"{\"features\":[1e22,123456789012345678]}", "5.000061728394507e+21",
		 "[1e+22, 1.2345678901234568e+17]"},
		{"{\"f\\u0065atures\":[1]}", "1.0", "[1.0]"},
	};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ASK(&h, .path = "/predict", .body = cases[i].body, .key = HARNESS_KEY,
					 .edge_id = EDGE);
		char wanted[300], query[200];
		snprintf(wanted, sizeof(wanted),
			 "{\"prediction_id\":\"" EDGE_UUID "\",\"result\":%s,\"model_version\":\"v1.0\","
			 "\"created_at\":\"" CREATED "\"}",
			 cases[i].result);
		ANSWERS(x, 201, wanted);
		HEADER_IS(x, "Content-Type", "application/json");
		HEADER_IS(x, "Status", "201 Created");
		/* The answer is out, so the row is there. */
		snprintf(query, sizeof(query), "DELETE FROM predictions WHERE id = '" EDGE_UUID "' AND features = '%s'",
			 cases[i].stored);
		CU_ASSERT_EQUAL(rows(&h), 1);
		harness_sql(&h, query);
		CU_ASSERT_EQUAL(rows(&h), 0);
	}
	harness_close(&h);
}

static void stores_where_it_came_from(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1,2]}", .key = HARNESS_KEY, .edge_id = EDGE,
		    .params = {"REQUEST_ID", "my-id", "HTTP_TRACEPARENT",
			       "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}),
		201, ANSWER("1.5"));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE id = '" EDGE_UUID "'"
					   " AND features = '[1.0, 2.0]' AND result = 1.5 AND model_version = 'v1.0'"
					   " AND created_at = '" CREATED "' AND model_name = 'mean'"
					   " AND length(model_hash) = 64 AND key_id = 'env' AND request_id = 'my-id'"
					   " AND trace_id = '4bf92f3577b34da6a3ce929d0e0e4736' AND duration_us >= 0"),
			1);
	harness_close(&h);
}

/* A body that FastAPI and Pydantic refuse in just these words. */
struct refusal {
	const char *body, *answer;
};
#define ITEM(type, loc, msg, input) "{\"type\":\"" type "\",\"loc\":" loc ",\"msg\":\"" msg "\",\"input\":" input "}"
#define ONE(item)                   "{\"detail\":[" item "]}"
#define FEATURES(index)             "[\"body\",\"features\"," index "]"
#define LIST_TYPE(input)            ONE(ITEM("list_type", "[\"body\",\"features\"]", "Input should be a valid list", input))
#define NO_OBJECT(input)                                                                                               \
	ONE(ITEM("model_attributes_type", "[\"body\"]",                                                                \
		 "Input should be a valid dictionary or object to extract fields from", input))
#define FAULT(offset, reason)                                                                                          \
	"{\"detail\":[{\"type\":\"json_invalid\",\"loc\":[\"body\"," offset "],\"msg\":\"JSON decode error\","         \
	"\"input\":{},\"ctx\":{\"error\":\"" reason "\"}}]}"
#define FLOAT_TYPE    "float_type", FEATURES("0"), "Input should be a valid number"
#define FINITE(input) ONE(ITEM("finite_number", FEATURES("0"), "Input should be a finite number", input))
#define PARSING(index, input)                                                                                          \
	ITEM("float_parsing", FEATURES(index), "Input should be a valid number, unable to parse string as a number",   \
	     input)
#define MISSING_BODY                                                                                                   \
	"{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\"],\"msg\":\"Field required\",\"input\":null}]}"

static const struct refusal REFUSALS[] = {
	{"{\"features\":[]}",
	 "{\"detail\":[{\"type\":\"too_short\",\"loc\":[\"body\",\"features\"],\"msg\":\"List should have at least 1 "
	 "item "
	 "after validation, not "
	 "0\",\"input\":[],\"ctx\":{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}}]}"},
	{"{\"features\":[ ]}",
	 "{\"detail\":[{\"type\":\"too_short\",\"loc\":[\"body\",\"features\"],\"msg\":\"List should have at least 1 "
	 "item "
	 "after validation, not "
	 "0\",\"input\":[],\"ctx\":{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}}]}"},
	{"{}", ONE(ITEM("missing", "[\"body\",\"features\"]", "Field required", "{}"))},
	{"{\"Features\":[1], \"b\": null}",
	 ONE(ITEM("missing", "[\"body\",\"features\"]", "Field required", "{\"Features\":[1],\"b\":null}"))},
	{"{\"features\":\"not a list\"}", LIST_TYPE("\"not a list\"")},
	{"{\"features\":null}", LIST_TYPE("null")},
	{"{\"features\":{\"a\": 1}}", LIST_TYPE("{\"a\":1}")},
	{"{\"features\":7}", LIST_TYPE("7")},
	{"{\"features\":\"a/b\\n\"}", LIST_TYPE("\"a/b\\n\"")},
	{"{\"features\":[1,\"x\",null]}",
	 ONE(PARSING("1", "\"x\"") "," ITEM("float_type", FEATURES("2"), "Input should be a valid number", "null"))},
	{"{\"features\":[\"\"]}", ONE(PARSING("0", "\"\""))},
	{"{\"features\":[\"0x10\"]}", ONE(PARSING("0", "\"0x10\""))},
	{"{\"features\":[[1]]}", ONE(ITEM("float_type", FEATURES("0"), "Input should be a valid number", "[1]"))},
	{"{\"features\":[{}]}", ONE(ITEM("float_type", FEATURES("0"), "Input should be a valid number", "{}"))},
	{"{\"features\":[1e400]}", FINITE("\"1e400\"")},
	{"{\"features\":[-1e999]}", FINITE("\"-1e999\"")},
	{"{\"features\":[\"NaN\"]}", FINITE("\"NaN\"")},
	{"{\"features\":[\"-inf\"]}", FINITE("\"-inf\"")},
	{"{\"features\":[\"1e400\"]}", FINITE("\"1e400\"")},
	{"{\"features\":[NaN]}", FAULT("13", "Expecting value")},
	{"{\"features\":[Infinity]}", FAULT("13", "Expecting value")},
	{"{\"features\":[-Infinity]}", NULL},
	{"{", FAULT("1", "Expecting property name enclosed in double quotes")},
	{"hello", FAULT("0", "Expecting value")},
	{"{'features':[1]}", FAULT("1", "Expecting property name enclosed in double quotes")},
	{"{\"features\":[1]} x", FAULT("17", "Extra data")},
	{"{\"features\":[1", NULL},
	{"{\"features\":[1,]}", NULL},
	{"{\"features\":[01]}", NULL},
	{"{\"features\":[+1]}", NULL},
	{"{\"features\":[.5]}", NULL},
	{"{\"features\":[1],\"features\":[2]}", NULL},
	{"{\"features\":[1],\"\xff\":2}", NULL},
	{"{\"features\":[1],\"a\":\"\x01\"}", NULL},
	{"\xef\xbb\xbf{\"features\":[1]}", NULL},
	{" ", NULL},
	{"null", MISSING_BODY},
	{" null ", MISSING_BODY},
	{"[1]", NO_OBJECT("[1]")},
	{"[ 1, 2 ]", NO_OBJECT("[1,2]")},
	{"\"text\"", NO_OBJECT("\"text\"")},
	{"1.50", NO_OBJECT("1.50")},
	{"true", NO_OBJECT("true")},
};

static void refuses_bad_bodies(void)
{
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(REFUSALS) / sizeof(REFUSALS[0]); i++) {
		struct exchange *x = PREDICT(&h, REFUSALS[i].body);
		ANSWERS(x, 422, REFUSALS[i].answer);
		HEADER_IS(x, "Content-Type", "application/json");
		HEADER_IS(x, "Status", "422 Unprocessable Content");
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"loc\":[\"body\""));
		x = ASK(&h, .path = "/api/v1/predict", .body = REFUSALS[i].body, .key = HARNESS_KEY);
		ANSWERS(x, 422, NULL);
		/* The same from a slow thread. */
		x = ASK(&h, .path = "/predict", .body = REFUSALS[i].body, .key = HARNESS_KEY, .late_body = true);
		ANSWERS(x, 422, REFUSALS[i].answer);
	}
	CU_ASSERT_EQUAL(rows(&h), 0);
	ANSWERS(GET(&h, "/predictions"), 200, "[]");
	harness_close(&h);
}

static void refuses_what_is_no_text(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1]}\0", .body_n = 17, .key = HARNESS_KEY), 422,
		FAULT("16", "Extra data"));
	ANSWERS(ASK(&h, .path = "/predict", .body = "\0", .body_n = 1, .key = HARNESS_KEY), 422,
		FAULT("0", "Expecting value"));
	ANSWERS(ASK(&h, .path = "/predict", .body = "", .key = HARNESS_KEY), 422, MISSING_BODY);
	ANSWERS(ASK(&h, .method = "POST", .path = "/predict", .key = HARNESS_KEY), 422, MISSING_BODY);
	ANSWERS(ASK(&h, .path = "/api/v1/predict", .body = "", .key = HARNESS_KEY), 422, MISSING_BODY);
	CU_ASSERT_EQUAL(rows(&h), 0);
	harness_close(&h);
}

/* Deep nesting is refused as such, whatever is inside. */
static void refuses_deep_nesting(void)
{
	enum { DEEP = 100000 };
	char *body = malloc(DEEP + 20);
	struct harness h;

	harness_open(&h);
	int n = sprintf(body, "{\"features\":");
	memset(body + n, '[', DEEP);
	body[n + DEEP] = '\0';
	struct exchange *x = PREDICT(&h, body);
	ANSWERS(x, 422, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"type\":\"json_invalid\""));
	free(body);
	harness_close(&h);
}

/* At most 100 violations are listed, so that the answer is bounded. */
static void lists_a_hundred_violations(void)
{
	static char body[4096];
	struct harness h;
	int n = sprintf(body, "{\"features\":[null"), listed = 0;

	for (int i = 0; i < 500; i++)
		n += sprintf(body + n, ",null");
	sprintf(body + n, "]}");
	harness_open(&h);
	struct exchange *x = PREDICT(&h, body);
	ANSWERS(x, 422, NULL);
	for (const char *p = answer_body(x); (p = strstr(p, "\"float_type\"")); p++)
		listed++;
	CU_ASSERT_EQUAL(listed, 100);
	harness_close(&h);
}

/* A huge wrong value is shown by its beginning. */
static void shows_the_beginning_of_a_huge_value(void)
{
	enum { LONG = 200 * 1000 };
	char *body = malloc(LONG + 30);
	struct harness h;

	harness_open(&h);
	int n = sprintf(body, "{\"features\":\"");
	memset(body + n, 'x', LONG);
	strcpy(body + n + LONG, "\"}");
	struct exchange *x = PREDICT(&h, body);
	ANSWERS(x, 422, NULL);
	CU_ASSERT_TRUE(x->body.n > 200 && x->body.n < 500);
	free(body);
	harness_close(&h);
}

static void judges_the_media_type(void)
{
	static const struct {
		const char *type;
		bool json;
	} cases[] = {
		{"application/json", true},
		{"Application/JSON; charset=utf-8", true},
		{" application/json ", true},
		{"application/vnd.api+json", true},
		{"", true},
		{"text/plain", false},
		{"application/x-www-form-urlencoded", false},
		{"application/jsonx", false},
		{"application/+json", false},
		{"text/vnd+json", false},
		{"multipart/form-data; boundary=application/json", false},
	};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .type = cases[i].type,
					 .key = HARNESS_KEY);
		ANSWERS(x, cases[i].json ? 201 : 422, cases[i].json ? NULL : NO_OBJECT("\"{\\\"features\\\":[1]}\""));
		x = ASK(&h, .path = "/api/v1/predict", .body = "{\"features\":[1]}", .type = cases[i].type,
			.key = HARNESS_KEY);
		ANSWERS(x, cases[i].json ? 201 : 415,
			cases[i].json ? NULL : DETAIL("Content-Type must be application/json."));
	}
	harness_close(&h);
}

static void v1_takes_numbers_only(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(ASK(&h, .path = "/api/v1/predict", .body = "{\"features\":[1,2]}", .key = HARNESS_KEY, .edge_id = EDGE),
		201, ANSWER("1.5"));
	ANSWERS(ASK(&h, .path = "/api/v1/predict", .body = "{\"features\":[\"1.5\",true]}", .key = HARNESS_KEY), 422,
		ONE(ITEM("float_type", FEATURES("0"), "Input should be a valid number",
			 "\"1.5\"") "," ITEM("float_type", FEATURES("1"), "Input should be a valid number", "true")));
	CU_ASSERT_EQUAL(rows(&h), 1);
	harness_close(&h);
}

static void bounds_the_body(void)
{
	struct harness h;

	harness_init(&h);
	h.config.max_body_bytes = 16;
	harness_start(&h);
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 201, NULL);
	struct exchange *x = PREDICT(&h, "{\"features\":[12]}");
	ANSWERS(x, 413, DETAIL("Request body is too large."));
	HEADER_IS(x, "Status", "413 Content Too Large");
	static const char *const lengths[] = {"17", "1000000000000", "18446744073709551615"};
	for (size_t i = 0; i < 3; i++)
		ANSWERS(ASK(&h, .path = "/predict", .body = "{}", .key = HARNESS_KEY,
			    .params = {"CONTENT_LENGTH", lengths[i]}),
			413, NULL);
	static const char *const wrong[] = {"x", "-1", "+2", "1 ", "0x10", "18446744073709551616", "1,2"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ANSWERS(ASK(&h, .path = "/predict", .body = "{}", .key = HARNESS_KEY,
			    .params = {"CONTENT_LENGTH", wrong[i]}),
			400, DETAIL("Content-Length is not a number."));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"too_large\"}"), 4.0);
	CU_ASSERT_EQUAL(rows(&h), 1);
	h.config.max_body_bytes = 0;
	ANSWERS(PREDICT(&h, "{\"features\":[12,13,14,15,16]}"), 201, NULL);
	harness_close(&h);
}

/* As many features as the body's limit lets through, read by a slow thread and stored; and ones that need more memory
 * than a request may have. */
static void takes_the_largest_body(void)
{
	enum { BODY = 1024 * 1024 };
	char *body = malloc(BODY + 1);
	struct harness h;

	harness_open(&h);
	int n = sprintf(body, "{\"features\":[1");
	while (n < BODY - 3)
		n += sprintf(body + n, ",1");
	strcpy(body + n, "]}");
	CU_ASSERT_TRUE(strlen(body) <= BODY);
	struct exchange *x = ASK(&h, .path = "/predict", .body = body, .key = HARNESS_KEY, .late_body = true);
	ANSWERS(x, 201, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"result\":1.0,"));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT length(features) > 2000000 FROM predictions"), 1);
	/* Every item wrong: the list of them stays short. */
	n = sprintf(body, "{\"features\":[[]");
	while (n < BODY - 5)
		n += sprintf(body + n, ",[]");
	strcpy(body + n, "]}");
	ANSWERS(ASK(&h, .path = "/predict", .body = body, .key = HARNESS_KEY), 422, NULL);
	h.app.arena_limit = 3u << 20;
	n = sprintf(body, "{\"features\":[1");
	while (n < BODY - 3)
		n += sprintf(body + n, ",1");
	strcpy(body + n, "]}");
	for (int late = 0; late < 2; late++) {
		x = ASK(&h, .path = "/predict", .body = body, .key = HARNESS_KEY, .late_body = late);
		ANSWERS(x, 503, DETAIL("This needs more memory than one request may use."));
		HEADER_IS(x, "Retry-After", "1");
	}
	CU_ASSERT_EQUAL(rows(&h), 1);
	free(body);
	harness_close(&h);
}

static void a_late_body_is_the_same(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1,2]}", .key = HARNESS_KEY, .edge_id = EDGE,
		    .late_body = true),
		201, ANSWER("1.5"));
	CU_ASSERT_EQUAL(rows(&h), 1);
	harness_jam_slow_lane(&h, true);
	struct exchange *x = ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY,
				 .late_body = true);
	ANSWERS(x, 503, DETAIL("Too many large requests at once. Try again later."));
	HEADER_IS(x, "Retry-After", "1");
	/* Small ones go on. */
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 201, NULL);
	harness_jam_slow_lane(&h, false);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"queue_full\"}"), 1.0);
	harness_close(&h);
}

/* --- models --- */

static void another_model_answers(void)
{
	struct harness h;

	harness_init(&h);
	h.model = harness_model_42();
	harness_start(&h);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY, .edge_id = EDGE), 201,
		"{\"prediction_id\":\"" EDGE_UUID "\",\"result\":42.0,\"model_version\":\"test-v1\",\"created_at\":"
		"\"" CREATED "\"}");
	CU_ASSERT_EQUAL(harness_metric(&h, "predictions_total{model_version=\"test-v1\",status=\"success\"}"), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "prediction_duration_seconds_count{model_version=\"test-v1\"}"), 1.0);
	harness_close(&h);
}

static void a_models_refusal_is_told(void)
{
	struct harness h;

	harness_init(&h);
	h.model = harness_model_refuses();
	harness_start(&h);
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 422, DETAIL("No model today"));
	CU_ASSERT_EQUAL(harness_metric(&h, "predictions_total{model_version=\"refuses-v1\",status=\"error\"}"), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "predictions_total{model_version=\"refuses-v1\",status=\"success\"}"), -1.0);
	CU_ASSERT_EQUAL(rows(&h), 0);
	harness_close(&h);
}

static void a_result_that_is_no_number_is_refused(void)
{
	struct harness h;

	harness_init(&h);
	h.model = harness_model_nan();
	harness_start(&h);
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 422, DETAIL("The result is not a finite number"));
	CU_ASSERT_EQUAL(harness_metric(&h, "predictions_total{model_version=\"nan-v1\",status=\"error\"}"), 1.0);
	CU_ASSERT_EQUAL(rows(&h), 0);
	ANSWERS(GET(&h, "/predictions"), 200, "[]");
	harness_close(&h);
}

/* --- identity at the edge --- */

static void a_repeated_identity_is_stored_once(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1,2]}", .key = HARNESS_KEY, .edge_id = EDGE), 201,
		ANSWER("1.5"));
	/* nginx sends the same again; that the body differs here shows that the stored row answers. */
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[7]}", .key = HARNESS_KEY, .edge_id = EDGE), 201,
		ANSWER("1.5"));
	CU_ASSERT_EQUAL(rows(&h), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_repeated_writes_total"), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "predictions_total{model_version=\"v1.0\",status=\"success\"}"), 1.0);
	/* The same random part at another time is another request. */
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[7]}", .key = HARNESS_KEY, .edge_id = EDGE,
		    .msec = "1700000000.124"),
		201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 2);
	harness_close(&h);
}

/* Both wait in one batch. */
static void a_repetition_beside_the_first(void)
{
	struct harness h;

	harness_open(&h);
	harness_hold_turn(&h, true);
	const struct ask ask = {
		.path = "/predict", .body = "{\"features\":[1,2]}", .key = HARNESS_KEY, .edge_id = EDGE};
	struct exchange *a = harness_send(&h, &ask), *b = harness_send(&h, &ask);
	harness_pump(&h, 30);
	CU_ASSERT_FALSE(a->done || b->done);
	harness_hold_turn(&h, false);
	ANSWERS(harness_wait(a), 201, ANSWER("1.5"));
	ANSWERS(harness_wait(b), 201, ANSWER("1.5"));
	CU_ASSERT_EQUAL(rows(&h), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_repeated_writes_total"), 1.0);
	harness_close(&h);
}

static void no_identity_is_our_fault(void)
{
	static const char *const ids[] = {"", "00112233445566778899AABBCCDDEEFF", "0011",
					  "zz112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff0"};
	static const char *const times[] = {"", "1700000000", "1700000000.12", "x", "-1.000", "1700000000,123"};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY,
			    .edge_id = ids[i]),
			500, DETAIL("Internal Server Error"));
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY, .msec = times[i]),
			500, DETAIL("Internal Server Error"));
	ANSWERS(ASK(&h, .path = "/version", .edge_id = ""), 500, DETAIL("Internal Server Error"));
	/* A client can't bring its own: its headers have another name. */
	ANSWERS(ASK(&h, .path = "/version", .edge_id = "", .params = {"HTTP_EDGE_ID", EDGE, "HTTP_EDGE_MSEC", "1.000"}),
		500, DETAIL("Internal Server Error"));
	CU_ASSERT_EQUAL(rows(&h), 0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"no_identity\"}"), 13.0);
	CU_ASSERT_TRUE(harness_logged(&h, "EDGE_ID"));
	harness_close(&h);
}

/* A process that dies of a signal while it works on `identity`. */
static void crash_on(struct harness *h, const uint8_t identity[16])
{
	const struct rlimit no_core = {0};
	struct shm *shm;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		if (shm_open_dir(&shm, h->config.run_dir, NULL) != STATUS_OK)
			_exit(1);
		shm_mark_crashes(shm);
		shm_working_on(identity);
		raise(SIGSEGV);
		_exit(2);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void a_request_that_crashed_a_worker_ends_here(void)
{
	struct edge_identity edge;
	struct harness h;

	harness_open(&h);
	CU_ASSERT_TRUE_FATAL(edge_parse(STR(HARNESS_MSEC), str_of(EDGE), &edge));
	crash_on(&h, edge.random);
	struct exchange *x = ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY,
				 .edge_id = EDGE);
	ANSWERS(x, 500, DETAIL("Internal Server Error"));
	HEADER_IS(x, "X-Request-ID", EDGE);
	CU_ASSERT_EQUAL(rows(&h), 0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"crashed_worker\"}"), 1.0);
	CU_ASSERT_TRUE(harness_logged(&h, "crashed a worker"));
	/* Everybody else is served. */
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 201, NULL);
	harness_close(&h);
}

/* --- the store fails --- */

/* The deadline is short, and a machine may be too busy for it: the answer that is not 503. */
static struct exchange *predict_at_last(struct harness *h, int *refused)
{
	struct exchange *x = PREDICT(h, "{\"features\":[1]}");

	for (int i = 0; i < 100 && x->status == 503; i++, ++*refused)
		x = PREDICT(h, "{\"features\":[1]}");
	return x;
}

static void a_write_that_waits_too_long_is_taken_back(void)
{
	struct harness h;

	harness_init(&h);
	h.deadline_ms = 100;
	harness_start(&h);
	harness_hold_turn(&h, true);
	int refused = 1;
	struct exchange *x = PREDICT(&h, "{\"features\":[1]}");
	ANSWERS(x, 503, NULL);
	HEADER_IS(x, "Retry-After", "1");
	HEADER_IS(x, "Content-Type", "application/json");
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "{\"detail\":\""));
	/* Reading goes on meanwhile. */
	ANSWERS(GET(&h, "/predictions"), 200, "[]");
	harness_hold_turn(&h, false);
	ANSWERS(predict_at_last(&h, &refused), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 1); /* what was refused changed nothing, also later */
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"store\"}"), refused);
	harness_close(&h);
}

/* Another program has the database, without a turn. */
static void a_locked_database_is_waited_for(void)
{
	if (database_skips("BEGIN IMMEDIATE of a file"))
		return;
	struct harness h;
	char path[512];
	sqlite3 *other;

	harness_init(&h);
	h.deadline_ms = 300;
	harness_start(&h);
	snprintf(path, sizeof(path), "%s/test.db", h.dir);
	CU_ASSERT_EQUAL_FATAL(sqlite3_open(path, &other), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	struct exchange *x = PREDICT(&h, "{\"features\":[1]}");
	ANSWERS(x, 503, NULL);
	HEADER_IS(x, "Retry-After", "1");
	CU_ASSERT_EQUAL(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	int refused = 1;
	ANSWERS(predict_at_last(&h, &refused), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 1);
	ANSWERS(GET(&h, "/health"), 200, NULL);
	sqlite3_close(other);
	harness_close(&h);
}

static enum status write_nothing(struct db *db, struct store_op *op, struct err *err)
{
	(void)db;
	(void)op;
	(void)err;
	return STATUS_OK;
}

static void forget_op(struct store_op *op)
{
	(void)op;
}

static void a_full_queue_refuses(void)
{
	static struct store_op ops[STORE_QUEUE];
	struct harness h;

	harness_open(&h);
	harness_hold_turn(&h, true);
	for (int i = 0; i < STORE_QUEUE; i++) {
		ops[i] = (struct store_op){.run = write_nothing, .done = forget_op};
		CU_ASSERT_EQUAL_FATAL(store_write(h.app.store, &ops[i]), STATUS_OK);
	}
	struct exchange *x = PREDICT(&h, "{\"features\":[1]}");
	ANSWERS(x, 503, DETAIL("Too many writes are waiting. Try again later."));
	HEADER_IS(x, "Retry-After", "1");
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"queue_full\"}"), 1.0);
	/* With a key: it is free again afterwards. */
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY, .idem = "k"), 503, NULL);
	harness_hold_turn(&h, false);
	for (int i = 0; i < 2000 && store_queue_length(h.app.store) > 0; i++)
		harness_pump(&h, 5);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY, .idem = "k"), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 1);
	harness_close(&h);
}

/* A missing table is our fault, and what the engine says about it is for the log. PostgreSQL's is one that somebody
 * else looks after: there the store can't be used until it is back. */
static void a_missing_table_is_our_fault(void)
{
	struct harness h;

	harness_open(&h);
	harness_sql(&h, "DROP TABLE predictions");
	int status = database_is_postgres() ? 503 : 500;
	const char *answer = database_is_postgres()
				     ? DETAIL("The store can't be used now and nothing was changed. Try again later.")
				     : DETAIL("Internal Server Error");
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), status, answer);
	ANSWERS(GET(&h, "/predictions"), status, answer);
	ANSWERS(GET(&h, "/predictions/x"), status, answer);
	ANSWERS(GET(&h, "/api/v1/predictions"), status, answer);
	CU_ASSERT_TRUE(
		harness_logged(&h, database_is_postgres() ? "\\\"predictions\\\" does not exist" : "no such table"));
	harness_close(&h);
}

/* SQLite's way to the system with one change: the log's sync fails while `sync_fails`. */
static sqlite3_vfs failing_vfs, *real_vfs;
static sqlite3_io_methods failing_methods;
static int (*real_sync)(sqlite3_file *file, int flags);
static atomic_bool sync_fails;

static int sync_or_fail(sqlite3_file *file, int flags)
{
	return atomic_load(&sync_fails) ? SQLITE_IOERR_FSYNC : real_sync(file, flags);
}

static int open_to_fail(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	(void)vfs;
	int rc = real_vfs->xOpen(real_vfs, name, file, flags, out_flags);
	if (rc == SQLITE_OK && (flags & SQLITE_OPEN_WAL)) {
		pthread_mutex_lock(&lock);
		if (!real_sync) {
			failing_methods = *file->pMethods;
			real_sync = failing_methods.xSync;
			failing_methods.xSync = sync_or_fail;
		}
		pthread_mutex_unlock(&lock);
		file->pMethods = &failing_methods;
	}
	return rc;
}

static void make_syncs_fail(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	failing_vfs = *real_vfs;
	failing_vfs.zName = "failing";
	failing_vfs.xOpen = open_to_fail;
	CU_ASSERT_EQUAL_FATAL(sqlite3_vfs_register(&failing_vfs, 1), SQLITE_OK);
}

/* The disk does not say whether it has the commit: nobody can know, and the answer says so. Afterwards the store takes
 * no write before the worker is started anew. */
static void an_unknown_outcome_is_told_as_such(void)
{
	if (database_skips("faults of SQLite's files"))
		return;
	struct harness h;

	make_syncs_fail();
	harness_open(&h);
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 201, NULL);
	atomic_store(&sync_fails, true);
	struct exchange *x = ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY, .idem = "k");
	atomic_store(&sync_fails, false);
	ANSWERS(x, 503, DETAIL("It is not known whether this was stored. Try again with the same Idempotency-Key."));
	HEADER_IS(x, "Retry-After", "1");
	CU_ASSERT_TRUE(store_is_broken(h.app.store));
	x = PREDICT(&h, "{\"features\":[1]}");
	ANSWERS(x, 503, DETAIL("The store can't be used now and nothing was changed. Try again later."));
	HEADER_IS(x, "Retry-After", "1");
	ANSWERS(GET(&h, "/health"), 503, NULL);
	ANSWERS(GET(&h, "/readyz"), 503, NULL);
	ANSWERS(GET(&h, "/livez"), 200, NULL);
	/* What was acknowledged can be read. */
	x = GET(&h, "/predictions");
	ANSWERS(x, 200, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"result\":1.0"));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_commit_failures_total{reason=\"unknown_outcome\"}"), 1.0);
	harness_close(&h);
	sqlite3_vfs_unregister(&failing_vfs);
}

/* The disk refuses a write: the commit mark would have come last, so nothing was stored, and the worker goes on. */
static void a_refused_write_is_surely_not_stored(void)
{
	if (database_skips("faults of SQLite's files"))
		return;
	struct rlimit old, small;
	struct harness h;
	char wal[512];
	struct stat st;

	harness_open(&h);
	signal(SIGXFSZ, SIG_IGN);
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 201, NULL);
	snprintf(wal, sizeof(wal), "%s/test.db-wal", h.dir);
	CU_ASSERT_EQUAL_FATAL(stat(wal, &st), 0);
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){(rlim_t)st.st_size + 100, old.rlim_max};
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	struct exchange *x = PREDICT(&h, "{\"features\":[1]}");
	setrlimit(RLIMIT_FSIZE, &old);
	ANSWERS(x, 503, DETAIL("The store can't be used now and nothing was changed. Try again later."));
	HEADER_IS(x, "Retry-After", "1");
	CU_ASSERT_FALSE(store_is_broken(h.app.store));
	CU_ASSERT_EQUAL(rows(&h), 1);
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 201, NULL);
	CU_ASSERT_EQUAL(rows(&h), 2);
	ANSWERS(GET(&h, "/health"), 200, NULL);
	harness_close(&h);
}

static void many_at_once_are_all_stored(void)
{
	enum { MANY = 600 };
	struct exchange *x[MANY];
	struct harness h;

	harness_open(&h);
	const struct ask ask = {.path = "/predict", .body = "{\"features\":[1,2]}", .key = HARNESS_KEY};
	for (int i = 0; i < MANY; i++)
		x[i] = harness_send(&h, &ask);
	for (int i = 0; i < MANY; i++)
		CU_ASSERT_EQUAL(harness_wait(x[i])->status, 201);
	CU_ASSERT_EQUAL(rows(&h), MANY);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"predicts the mean", predicts_the_mean},
	{"stores where it came from", stores_where_it_came_from},
	{"refuses bad bodies", refuses_bad_bodies},
	{"refuses what is no text", refuses_what_is_no_text},
	{"refuses deep nesting", refuses_deep_nesting},
	{"lists a hundred violations", lists_a_hundred_violations},
	{"shows the beginning of a huge value", shows_the_beginning_of_a_huge_value},
	{"judges the media type", judges_the_media_type},
	{"/api/v1 takes numbers only", v1_takes_numbers_only},
	{"bounds the body", bounds_the_body},
	{"takes the largest body", takes_the_largest_body},
	{"a late body is the same", a_late_body_is_the_same},
	{"another model answers", another_model_answers},
	{"a model's refusal is told", a_models_refusal_is_told},
	{"a result that is no number is refused", a_result_that_is_no_number_is_refused},
	{"a repeated identity is stored once", a_repeated_identity_is_stored_once},
	{"a repetition beside the first", a_repetition_beside_the_first},
	{"no identity is our fault", no_identity_is_our_fault},
	{"a request that crashed a worker ends here", a_request_that_crashed_a_worker_ends_here},
	{"a write that waits too long is taken back", a_write_that_waits_too_long_is_taken_back},
	{"a locked database is waited for", a_locked_database_is_waited_for},
	{"a full queue refuses", a_full_queue_refuses},
	{"a missing table is our fault", a_missing_table_is_our_fault},
	{"a refused write is surely not stored", a_refused_write_is_surely_not_stored},
	{"an unknown outcome is told as such", an_unknown_outcome_is_told_as_such},
	{"many at once are all stored", many_at_once_are_all_stored},
};

int main(void)
{
	return UNIT_RUN("predict", CASES);
}
