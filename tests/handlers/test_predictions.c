/* Reading predictions back: one, the contract's list, /api/v1's list, and answers too large for the event thread. */
#include "harness.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

#define ID(n)       "018bcfe5-687b-7000-8000-00000000000" n
#define AT(s)       "2023-11-14T22:13:2" s ".000000+00:00"
#define ROW(n, s)   .id = STR(ID(n)), .created_at = STR(AT(s))
#define PUT(h, ...) put_row(h, (struct prediction){__VA_ARGS__})
#define PLAIN(n, s)                                                                                                    \
	"{\"id\":\"" ID(n) "\",\"features\":\"[1.0, 2.5]\",\"result\":1.75,\"model_version\":\"v1.0\","                \
			   "\"created_at\":\"" AT(s) "\"}"
#define GROWN(n, s, request, trace)                                                                                    \
	"{\"id\":\"" ID(n) "\",\"features\":[1.0, 2.5],\"result\":1.75,\"model_version\":\"v1.0\","                    \
			   "\"created_at\":\"" AT(                                                                     \
				   s) "\",\"model_name\":\"mean\",\"model_hash\":\"abc\",\"key_id\":\"env\","          \
				      "\"request_id\":" request ",\"trace_id\":" trace ",\"duration_us\":12}"

/* Fills in what a test does not say. */
static void put_row(struct harness *h, struct prediction row)
{
	row.created_at = row.created_at.p ? row.created_at : STR(AT("0"));
	row.features = row.features.p ? row.features : STR("[1.0, 2.5]");
	row.model_version = row.model_version.p ? row.model_version : STR("v1.0");
	row.model_name = row.model_name.p ? row.model_name : STR("mean");
	row.key_id = row.key_id.p ? row.key_id : STR("env");
	row.model_hash = STR("abc");
	row.result = 1.75;
	row.duration_us = 12;
	harness_store(h, &row);
}

static void one_row(void)
{
	struct harness h;

	harness_open(&h);
	PUT(&h, ROW("1", "1"), .request_id = STR("r\"1"), .trace_id = STR("t1"));
	PUT(&h, ROW("2", "2"));
	struct exchange *x = GET(&h, "/predictions/" ID("1"));
	ANSWERS(x, 200, PLAIN("1", "1"));
	HEADER_IS(x, "Content-Type", "application/json");
	ANSWERS(GET(&h, "/api/v1/predictions/" ID("1")), 200, GROWN("1", "1", "\"r\\\"1\"", "\"t1\""));
	ANSWERS(GET(&h, "/api/v1/predictions/" ID("2")), 200, GROWN("2", "2", "null", "null"));
	x = ASK(&h, .method = "HEAD", .path = "/predictions/" ID("1"));
	ANSWERS(x, 200, "");
	char length[24];
	snprintf(length, sizeof(length), "%zu", strlen(PLAIN("1", "1")));
	HEADER_IS(x, "Content-Length", length);
	harness_close(&h);
}

static void what_is_told_can_be_read(void)
{
	struct harness h;
	char path[100], wanted[300];

	harness_open(&h);
	struct exchange *x = PREDICT(&h, "{\"features\":[1,2]}");
	ANSWERS(x, 201, NULL);
	snprintf(path, sizeof(path), "/predictions/%.36s", answer_body(x) + strlen("{\"prediction_id\":\""));
	snprintf(wanted, sizeof(wanted),
		 "{\"id\":\"%s\",\"features\":\"[1.0, 2.0]\",\"result\":1.5,\"model_version\":\"v1.0\",\"created_at\":"
		 "\"2023-11-14T22:13:20.123000+00:00\"}",
		 path + 13);
	ANSWERS(GET(&h, path), 200, wanted);
	harness_close(&h);
}

static void unknown_ids(void)
{
	static const char *const ids[] = {"abc", ID("9"), "' OR '1'='1", "'; DROP TABLE predictions; --",
					  "%",   "..",    "\xff\xfe",    "018BCFE5-687B-7000-8000-000000000001"};
	struct harness h;
	char path[200];

	harness_open(&h);
	PUT(&h, ROW("1", "1"));
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		snprintf(path, sizeof(path), "/predictions/%s", ids[i]);
		struct exchange *x = GET(&h, path);
		ANSWERS(x, 404, DETAIL("Prediction not found"));
		HEADER_IS(x, "Content-Type", "application/json");
		snprintf(path, sizeof(path), "/api/v1/predictions/%s", ids[i]);
		ANSWERS(GET(&h, path), 404, DETAIL("Prediction not found"));
	}
	ANSWERS(GET(&h, "/predictions"), 200, "[" PLAIN("1", "1") "]");
	harness_close(&h);
}

static struct exchange *list(struct harness *h, const char *query)
{
	return ASK(h, .path = "/predictions", .query = query);
}

static void the_newest_first(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(GET(&h, "/predictions"), 200, "[]");
	PUT(&h, ROW("2", "2"));
	PUT(&h, ROW("3", "3"));
	PUT(&h, ROW("1", "1"));
	ANSWERS(GET(&h, "/predictions"), 200, "[" PLAIN("3", "3") "," PLAIN("2", "2") "," PLAIN("1", "1") "]");
	ANSWERS(list(&h, "limit=2"), 200, "[" PLAIN("3", "3") "," PLAIN("2", "2") "]");
	ANSWERS(list(&h, "limit=1"), 200, "[" PLAIN("3", "3") "]");
	ANSWERS(list(&h, "limit=0"), 200, "[]");
	ANSWERS(list(&h, "limit=1000"), 200, NULL);
	ANSWERS(list(&h, "x=1&limit=%31&limitless=5"), 200, "[" PLAIN("3", "3") "]");
	ANSWERS(list(&h, "limit=7&limit=1"), 200, "[" PLAIN("3", "3") "]"); /* the last one wins */
	ANSWERS(list(&h, "limit=+1"), 200, "[" PLAIN("3", "3") "]");        /* " 1" */
	harness_close(&h);
}

static int count(const char *text, const char *part)
{
	int n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}

static void ten_by_default(void)
{
	struct harness h;

	harness_open(&h);
	for (int i = 0; i < 12; i++)
		ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 201, NULL);
	CU_ASSERT_EQUAL(count(answer_body(GET(&h, "/predictions")), "\"id\":"), 10);
	CU_ASSERT_EQUAL(count(answer_body(list(&h, "limit=2")), "\"id\":"), 2);
	CU_ASSERT_EQUAL(count(answer_body(list(&h, "limit=100")), "\"id\":"), 12);
	CU_ASSERT_EQUAL(count(answer_body(list(&h, "limit=")), "\"id\":"), 0); /* refused, see bad_limits */
	CU_ASSERT_EQUAL(count(answer_body(GET(&h, "/api/v1/predictions")), "\"id\":"), 12);
	harness_close(&h);
}

#define NO_INT(input)                                                                                                  \
	"{\"detail\":[{\"type\":\"int_parsing\",\"loc\":[\"query\",\"limit\"],\"msg\":\"Input should be a valid "      \
	"integer, unable to parse string as an integer\",\"input\":\"" input "\"}]}"
#define BOUND(type, word, name, bound, input)                                                                          \
	"{\"detail\":[{\"type\":\"" type "\",\"loc\":[\"query\",\"limit\"],\"msg\":\"Input should be " word            \
	" than or equal to " bound "\",\"input\":\"" input "\",\"ctx\":{\"" name "\":" bound "}}]}"
#define TOO_LOW(bound, input)  BOUND("greater_than_equal", "greater", "ge", bound, input)
#define TOO_HIGH(bound, input) BOUND("less_than_equal", "less", "le", bound, input)

static void bad_limits(void)
{
	static const struct {
		const char *path, *query, *answer;
	} cases[] = {
		{"/predictions", "limit=x", NO_INT("x")},
		{"/predictions", "limit=", NO_INT("")},
		{"/predictions", "limit", NO_INT("")},
		{"/predictions", "limit=1.5", NO_INT("1.5")},
		{"/predictions", "limit=0x10", NO_INT("0x10")},
		{"/predictions", "limit=1%00", NO_INT("1\\u0000")},
		{"/predictions", "limit=%ff", NO_INT("\xef\xbf\xbd")},
		{"/predictions", "limit=%", NO_INT("%")},
		{"/predictions", "limit=%4", NO_INT("%4")},
		{"/predictions", "limit=%zz", NO_INT("%zz")},
		{"/predictions", "limit=a%22b", NO_INT("a\\\"b")},
		{"/predictions", "limit=1%2b", NO_INT("1+")},
		{"/predictions", "limit=--1", NO_INT("--1")},
		{"/predictions", "limit=-1", TOO_LOW("0", "-1")},
		{"/predictions", "limit=-99999999999999999999999", TOO_LOW("0", "-99999999999999999999999")},
		{"/predictions", "limit=1001", TOO_HIGH("1000", "1001")},
		{"/predictions", "limit=18446744073709551617", TOO_HIGH("1000", "18446744073709551617")},
		{"/api/v1/predictions", "limit=x", NO_INT("x")},
		{"/api/v1/predictions", "limit=0", TOO_LOW("1", "0")},
		{"/api/v1/predictions", "limit=101", TOO_HIGH("100", "101")},
	};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ANSWERS(ASK(&h, .path = cases[i].path, .query = cases[i].query), 422, cases[i].answer);
	harness_close(&h);
}

/* --- /api/v1/predictions --- */

static struct exchange *v1(struct harness *h, const char *query)
{
	return ASK(h, .path = "/api/v1/predictions", .query = query);
}

static void the_grown_up_list(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(v1(&h, ""), 200, "{\"predictions\":[],\"next_cursor\":null}");
	PUT(&h, ROW("1", "1"));
	PUT(&h, ROW("2", "2"), .request_id = STR("r"));
	ANSWERS(v1(&h, ""), 200,
		"{\"predictions\":[" GROWN("2", "2", "\"r\"", "null") "," GROWN("1", "1", "null",
										"null") "],"
											"\"next_cursor\":null}");
	harness_close(&h);
}

/* The cursor's text out of an answer, as a query; empty at the end. */
static const char *next_query(const struct exchange *x, const char *more)
{
	static char query[400];
	struct json_value root, cursor;
	struct json_fault fault;

	query[0] = '\0';
	if (!json_check(buf_view(&x->body), JSON_MAX_DEPTH, &root, &fault) ||
	    !json_member(root, STR("next_cursor"), &cursor) || cursor.type != JSON_STRING)
		return query;
	snprintf(query, sizeof(query), "%s&cursor=%.*s", more, (int)cursor.text.n - 2, cursor.text.p + 1);
	return query;
}

static void pages_follow_each_other(void)
{
	struct harness h;
	char id[64], at[64], wanted[80], query[400] = "limit=3";
	int seen = 0, pages = 0;

	harness_open(&h);
	/* Ten rows, some of one time. */
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "018bcfe5-687b-7000-8000-00000000000%d", i);
		snprintf(at, sizeof(at), "2023-11-14T22:13:2%d.000000+00:00", i / 4);
		PUT(&h, .id = str_of(id), .created_at = str_of(at));
	}
	while (query[0]) {
		struct exchange *x = v1(&h, query);
		ANSWERS(x, 200, NULL);
		const char *p = answer_body(x);
		for (; (p = strstr(p, "{\"id\":\"")); p++) {
			snprintf(wanted, sizeof(wanted), "{\"id\":\"018bcfe5-687b-7000-8000-00000000000%d", 9 - seen++);
			CU_ASSERT_EQUAL(strncmp(p, wanted, strlen(wanted)), 0);
		}
		/* A row that comes meanwhile, newer or older than the page, shifts nothing. */
		if (pages++ == 0)
			PUT(&h, .id = STR("018bcfe5-687b-7000-8000-0000000000ff"), .created_at = STR(AT("9")));
		snprintf(query, sizeof(query), "%s", next_query(x, "limit=3"));
		CU_ASSERT_TRUE_FATAL(pages < 10);
	}
	CU_ASSERT_EQUAL(seen, 10);
	CU_ASSERT_EQUAL(pages, 4);
	harness_close(&h);
}

static void filters(void)
{
	struct harness h;

	harness_open(&h);
	PUT(&h, ROW("1", "1"), .key_id = STR("k1"));
	PUT(&h, ROW("2", "2"), .model_version = STR("v2.0"));
	PUT(&h, ROW("3", "3"), .model_name = STR("tree"), .key_id = STR("k1"));
	PUT(&h, ROW("4", "4"), .model_version = STR("a b&c"));
	static const struct {
		const char *query, *ids;
	} cases[] = {
		{"", "4321"},
		{"key_id=k1", "31"},
		{"key_id=k1&model_name=tree", "3"},
		{"key_id=k1&model_version=v2.0", ""},
		{"model_version=v2.0", "2"},
		{"model_version=a+b%26c", "4"},
		{"model_version=a%20b%26c", "4"},
		{"model_name=mean", "421"},
		{"model_name=none", ""},
		{"model_version='%20OR%201=1--", ""},
		{"created_from=2023-11-14T22:13:22Z", "432"},
		{"created_until=2023-11-14T22:13:22Z", "1"},
		{"created_from=2023-11-14T22:13:22Z&created_until=2023-11-14T22:13:24Z", "32"},
		{"created_from=2023-11-14T22:13:22%2B00:00", "432"},
		{"created_from=2023-11-14T22:13:22+00:00", "432"},   /* a "+" that nobody escaped */
		{"created_from=2023-11-15T00:13:22%2B02:00", "432"}, /* another zone */
		{"created_from=2023-11-14T22:13:22.000001Z", "43"},
		{"created_from=2023-11-14", "4321"},
		{"created_from=2023-11-15", ""},
		{"created_until=2023-11-14", ""},
		{"created_from=2023-11-14T22:13:22Z&key_id=k1", "3"},
		{"created_from=2024-01-01&created_until=2023-01-01", ""},
		{"limit=2&model_name=mean", "421"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char ids[16] = "", query[500];
		size_t n = 0;
		snprintf(query, sizeof(query), "%s", cases[i].query);
		/* A page may be short when much is looked at, so all pages together count (but for a limit). */
		for (int pages = 0; pages < 10 && (pages == 0 || query[0]); pages++) {
			struct exchange *x = v1(&h, query);
			ANSWERS(x, 200, NULL);
			for (const char *p = answer_body(x); (p = strstr(p, "{\"id\":\"")) && n < sizeof(ids) - 1; p++)
				ids[n++] = p[strlen("{\"id\":\"") + 35];
			snprintf(query, sizeof(query), "%s", next_query(x, cases[i].query));
		}
		SAME(ids, cases[i].ids);
	}
	harness_close(&h);
}

static void bad_filters(void)
{
	static const struct {
		const char *query, *type, *field;
	} cases[] = {
		{"created_from=yesterday", "datetime_parsing", "created_from"},
		{"created_from=", "datetime_parsing", "created_from"},
		{"created_from=2023-02-30", "datetime_parsing", "created_from"},
		{"created_until=2023-11-14T25:00:00Z", "datetime_parsing", "created_until"},
		{"created_until=%00", "datetime_parsing", "created_until"},
		{"model_version=", "string_type", "model_version"},
		{"model_version=%ff", "string_type", "model_version"},
		{"model_name=", "string_type", "model_name"},
		{"key_id=%c3%28", "string_type", "key_id"},
		{"key_id="
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 "string_type", "key_id"},
		{"cursor=", "cursor_invalid", "cursor"},
		{"cursor=!!!", "cursor_invalid", "cursor"},
		{"cursor=AAAA", "cursor_invalid", "cursor"},
		{"cursor=MjAyMy0xMS0xNFQyMjoxMzoyMC4wMDAwMDArMDA6MDA", "cursor_invalid", "cursor"}, /* a time alone */
		/* "' OR 1=1 …" where the time stands, and where the id stands */
		{"cursor="
		 "JyBPUiAxPTEgLS0gICAgICAgICAgICAgICAgICAgICAgIDAxOGJjZmU1LTY4N2ItNzAwMC04MDAwLTAwMDAwMDAwMDAwMQ",
		 "cursor_invalid", "cursor"},
		{"cursor=MjAyMy0xMS0xNFQyMjoxMzoyMC4wMDAwMDArMDA6MDAgJyBPUiAxPTEgLS0", "cursor_invalid", "cursor"},
		{"cursor="
		 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		 "cursor_invalid", "cursor"},
	};
	struct harness h;
	char wanted[200];

	harness_open(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = v1(&h, cases[i].query);
		ANSWERS(x, 422, NULL);
		snprintf(wanted, sizeof(wanted),
			 "{\"detail\":[{\"type\":\"%s\",\"loc\":[\"query\",\"%s\"],\"msg\":\"Input", cases[i].type,
			 cases[i].field);
		CU_ASSERT_EQUAL(strncmp(answer_body(x), wanted, strlen(wanted)), 0);
		struct json_value root;
		struct json_fault fault;
		CU_ASSERT_TRUE(json_check(buf_view(&x->body), JSON_MAX_DEPTH, &root, &fault));
	}
	/* The contract's list knows no filters and looks at none. */
	ANSWERS(list(&h, "cursor=!!!&created_from=x"), 200, "[]");
	harness_close(&h);
}

/* A good cursor of another database is just a position. */
static void a_foreign_cursor_is_a_position(void)
{
	struct harness h;

	harness_open(&h);
	PUT(&h, ROW("1", "1"));
	PUT(&h, ROW("2", "2"));
	/* "2023-11-14T22:13:21.500000+00:00 018bcfe5-687b-7000-8000-000000000009" */
	ANSWERS(v1(&h, "cursor="
		       "MjAyMy0xMS0xNFQyMjoxMzoyMS41MDAwMDArMDA6MDAgMDE4YmNmZTUtNjg3Yi03MDAwLTgwMDAtMDAwMDAwMDAwMDA5"),
		200, "{\"predictions\":[" GROWN("1", "1", "null", "null") "],\"next_cursor\":null}");
	harness_close(&h);
}

/* --- large answers --- */

enum { LARGE = 100 * 1000 };

/* n rows of 100 KB each; returns what the list says. Caller frees. */
static char *store_large(struct harness *h, int n)
{
	char *features = malloc(LARGE + 1), *wanted = malloc((size_t)n * (LARGE + 200) + 3), *at = wanted;
	char id[64];

	memset(features, '1', LARGE);
	features[0] = '[';
	features[LARGE - 1] = ']';
	features[LARGE] = '\0';
	at += sprintf(at, "[");
	for (int i = n - 1; i >= 0; i--) {
		snprintf(id, sizeof(id), "018bcfe5-687b-7000-8000-00000000000%d", i);
		PUT(h, .id = str_of(id), .features = str_of(features));
		at += sprintf(
			at,
			"{\"id\":\"%s\",\"features\":\"%s\",\"result\":1.75,\"model_version\":\"v1.0\",\"created_at\":"
			"\"" AT("0") "\"}%s",
			id, features, i > 0 ? "," : "");
	}
	sprintf(at, "]");
	free(features);
	return wanted;
}

static void large_answers_are_streamed(void)
{
	struct harness h;

	harness_open(&h);
	char *wanted = store_large(&h, 5);
	struct exchange *x = GET(&h, "/predictions");
	CU_ASSERT_EQUAL(x->status, 200);
	CU_ASSERT_EQUAL(strcmp(answer_body(x), wanted), 0);
	CU_ASSERT_TRUE(x->req.streamed && !x->req.broken);
	CU_ASSERT_TRUE(x->pieces >= 5);
	HEADER_IS(x, "Content-Length", "");
	HEADER_IS(x, "Content-Type", "application/json");
	HEADER_IS(x, "X-Request-ID", x->edge_id);
	/* HEAD: the same head, nothing else. */
	x = ASK(&h, .method = "HEAD", .path = "/predictions");
	ANSWERS(x, 200, "");
	HEADER_IS(x, "X-Request-ID", x->edge_id);
	/* One row is read on the event thread. */
	x = list(&h, "limit=1");
	ANSWERS(x, 200, NULL);
	CU_ASSERT_FALSE(x->req.streamed);
	CU_ASSERT_EQUAL(strncmp(answer_body(x), wanted, LARGE), 0);
	free(wanted);
	/* The grown-up list, with its cursor at the end. */
	x = v1(&h, "limit=4");
	CU_ASSERT_TRUE(x->req.streamed && !x->req.broken);
	struct json_value root, rows, row;
	struct json_fault fault;
	struct json_iter iter;
	int n = 0;
	CU_ASSERT_TRUE_FATAL(json_check(buf_view(&x->body), JSON_MAX_DEPTH, &root, &fault));
	CU_ASSERT_TRUE_FATAL(json_member(root, STR("predictions"), &rows));
	json_iter_init(&iter, rows);
	while (json_next(&iter, NULL, &row))
		n++;
	CU_ASSERT_EQUAL(n, 4);
	x = v1(&h, next_query(x, "limit=4"));
	CU_ASSERT_EQUAL(count(answer_body(x), "{\"id\":"), 1);
	harness_close(&h);
}

/* A peer that goes away ends the reading; half an answer is never ended as if it were whole. */
static void a_peer_that_goes_away(void)
{
	struct harness h;

	harness_open(&h);
	free(store_large(&h, 5));
	struct exchange *x = ASK(&h, .path = "/predictions", .gone_after = 2);
	CU_ASSERT_TRUE(x->req.broken);
	CU_ASSERT_EQUAL(x->pieces, 2);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	harness_close(&h);
}

static void a_full_slow_lane_refuses(void)
{
	struct harness h;

	harness_open(&h);
	free(store_large(&h, 3));
	harness_jam_slow_lane(&h, true);
	struct exchange *x = GET(&h, "/predictions");
	ANSWERS(x, 503, DETAIL("Too many large requests at once. Try again later."));
	HEADER_IS(x, "Retry-After", "1");
	HEADER_IS(x, "Content-Type", "application/json");
	ANSWERS(list(&h, "limit=1"), 200, NULL);
	harness_jam_slow_lane(&h, false);
	ANSWERS(GET(&h, "/predictions"), 200, NULL);
	harness_close(&h);
}

static void a_slow_thread_without_a_database(void)
{
	struct harness h;

	harness_init(&h);
	h.slow_without_db = true;
	harness_start(&h);
	free(store_large(&h, 3));
	/* What could not connect when it started may be able to now. */
	ANSWERS(GET(&h, "/predictions"), 200, NULL);
	ANSWERS(v1(&h, ""), 200, NULL);
	harness_close(&h);
}

/* --- retention --- */

static void old_rows_go(void)
{
	static const char sqlite[] =
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450)"
		" INSERT INTO predictions (id, features, result, model_version, created_at)"
		" SELECT 'old-' || i, '[]', 1, 'v1.0', '2020-01-01T00:00:00.000000+00:00' FROM n;"
		"INSERT INTO predictions (id, features, result, model_version, created_at) VALUES"
		" ('new', '[]', 1, 'v1.0', strftime('%Y-%m-%dT%H:%M:%S', 'now', '-29 days') || '.000000+00:00');"
		"INSERT INTO idempotency_keys VALUES (x'01', x'01', 1, 201, x'7b7d'),"
		" (x'02', x'02', 9000000000000000, 201, x'7b7d')";
	static const char postgres[] = "INSERT INTO predictions (id, features, result, model_version, created_at)"
				       " SELECT 'old-' || i, '[]', 1, 'v1.0', '2020-01-01T00:00:00.000000+00:00' FROM "
				       "generate_series(1, 450) i;"
				       "INSERT INTO predictions (id, features, result, model_version, created_at) "
				       "VALUES ('new', '[]', 1, 'v1.0',"
				       " to_char(now() AT TIME ZONE 'UTC' - interval '29 days', "
				       "'YYYY-MM-DD\"T\"HH24:MI:SS') || '.000000+00:00');"
				       "INSERT INTO idempotency_keys VALUES ('\\x01', '\\x01', 1, 201, '\\x7b7d'),"
				       " ('\\x02', '\\x02', 9000000000000000, 201, '\\x7b7d')";
	struct harness h;

	harness_init(&h);
	h.config.retention_days = 30;
	harness_start(&h);
	harness_sql(&h, database_is_postgres() ? postgres : sqlite);
	harness_tick(&h);
	CU_ASSERT_TRUE(harness_metric_is(&h, "appcore_retention_deleted_total{table=\"predictions\"}", 450.0));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE id = 'new'"), 1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM idempotency_keys"), 1);
	harness_close(&h);
}

/* A clock that is months ahead looks like this. */
static void what_is_all_old_waits(void)
{
	struct harness h;

	harness_init(&h);
	h.config.retention_days = 30;
	harness_start(&h);
	harness_sql(&h, "INSERT INTO predictions (id, features, result, model_version, created_at) VALUES"
			" ('old', '[]', 1, 'v1.0', '2020-01-01T00:00:00.000000+00:00')");
	harness_sql(&h, database_is_postgres()
				? "INSERT INTO idempotency_keys VALUES ('\\x01', '\\x01', 1, 201, '\\x7b7d')"
				: "INSERT INTO idempotency_keys VALUES (x'01', x'01', 1, 201, x'7b7d')");
	harness_tick(&h);
	for (int i = 0; i < 30; i++)
		harness_pump(&h, 10);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM idempotency_keys"), 1);
	harness_close(&h);
}

static void nothing_goes_without_retention(void)
{
	struct harness h;

	harness_open(&h);
	PUT(&h, ROW("1", "1"));
	harness_sql(&h, database_is_postgres()
				? "INSERT INTO idempotency_keys VALUES ('\\x01', '\\x01', 1, 201, '\\x7b7d')"
				: "INSERT INTO idempotency_keys VALUES (x'01', x'01', 1, 201, x'7b7d')");
	harness_tick(&h);
	for (int i = 0; i < 3000 && harness_number(&h, "SELECT count(*) FROM idempotency_keys") > 0; i++)
		harness_pump(&h, 10);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM idempotency_keys"), 0);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 1);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"one row", one_row},
	{"what is told can be read", what_is_told_can_be_read},
	{"unknown ids", unknown_ids},
	{"the newest first", the_newest_first},
	{"ten by default", ten_by_default},
	{"bad limits", bad_limits},
	{"the grown-up list", the_grown_up_list},
	{"pages follow each other", pages_follow_each_other},
	{"filters", filters},
	{"bad filters", bad_filters},
	{"a foreign cursor is a position", a_foreign_cursor_is_a_position},
	{"large answers are streamed", large_answers_are_streamed},
	{"a peer that goes away", a_peer_that_goes_away},
	{"a full slow lane refuses", a_full_slow_lane_refuses},
	{"a slow thread without a database", a_slow_thread_without_a_database},
	{"old rows go", old_rows_go},
	{"what is all old waits", what_is_all_old_waits},
	{"nothing goes without retention", nothing_goes_without_retention},
};

int main(void)
{
	return UNIT_RUN("predictions", CASES);
}
