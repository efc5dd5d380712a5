/* The table of routes, and what comes of paths and methods that it lacks. */
#include "harness.h"

#include <stdio.h>

static void finds(void)
{
	static const struct {
		enum http_method method;
		const char *path;
		enum router_result result;
		const char *pattern, *param;
	} cases[] = {
		{HTTP_GET, "/", ROUTER_FOUND, "/", ""},
		{HTTP_GET, "/health", ROUTER_FOUND, "/health", ""},
		{HTTP_HEAD, "/health", ROUTER_FOUND, "/health", ""},
		{HTTP_POST, "/health", ROUTER_NO_METHOD, "/health", ""},
		{HTTP_POST, "/predict", ROUTER_FOUND, "/predict", ""},
		{HTTP_HEAD, "/predict", ROUTER_NO_METHOD, "/predict", ""},
		{HTTP_GET, "/predict/", ROUTER_SLASH, "/predict", ""},
		{HTTP_GET, "/predictions", ROUTER_FOUND, "/predictions", ""},
		{HTTP_GET, "/predictions/", ROUTER_SLASH, "/predictions", ""},
		{HTTP_GET, "/predictions/a", ROUTER_FOUND, "/predictions/{prediction_id}", "a"},
		{HTTP_GET, "/predictions/a/", ROUTER_SLASH, "/predictions/{prediction_id}", ""},
		{HTTP_GET, "/predictions/a/b", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/predictions//", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/predictions/{prediction_id}", ROUTER_FOUND, "/predictions/{prediction_id}",
		 "{prediction_id}"},
		{HTTP_GET, "/predictions/ ' OR 1=1 --", ROUTER_FOUND, "/predictions/{prediction_id}", " ' OR 1=1 --"},
		{HTTP_DELETE, "/predictions/a", ROUTER_NO_METHOD, "/predictions/{prediction_id}", ""},
		{HTTP_GET, "/api/v1/predictions/a", ROUTER_FOUND, "/api/v1/predictions/{prediction_id}", "a"},
		{HTTP_GET, "/api/v1/models/wine", ROUTER_FOUND, "/api/v1/models/{name}", "wine"},
		{HTTP_GET, "/api/v1/models/wine/", ROUTER_SLASH, "/api/v1/models/{name}", ""},
		{HTTP_POST, "/api/v1/models/wine/predict", ROUTER_FOUND, "/api/v1/models/{name}/predict", "wine"},
		{HTTP_POST, "/api/v1/models/wine/versions/2/predict", ROUTER_FOUND,
		 "/api/v1/models/{name}/versions/{version}/predict", "wine | 2"},
		{HTTP_GET, "/api/v1/models/wine/versions/2", ROUTER_FOUND, "/api/v1/models/{name}/versions/{version}",
		 "wine | 2"},
		{HTTP_POST, "/api/v1/models/wine/versions/2", ROUTER_NO_METHOD,
		 "/api/v1/models/{name}/versions/{version}", ""},
		{HTTP_GET, "/api/v1/models/wine/versions", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/api/v1/models/wine/versions/", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/api/v1/models//versions/2", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/api/v1/models/wine/versions/2/x", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/Health", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/healthz", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/healt", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "//", ROUTER_SLASH, "/", ""},
		{HTTP_GET, "//health", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "health", ROUTER_NO_PATH, NULL, ""},
		{HTTP_GET, "/metrics", ROUTER_NO_PATH, NULL, ""}, /* nginx's */
		{HTTP_OTHER, "/health", ROUTER_NO_METHOD, "/health", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct route *route = NULL;
		struct str params[REQUEST_PARAMS] = {0};
		char text[128];
		enum router_result result = router_find(cases[i].method, str_of(cases[i].path), &route, params);
		CU_ASSERT_EQUAL(result, cases[i].result);
		SAME(route ? route->pattern : "", cases[i].pattern ? cases[i].pattern : "");
		if (result != ROUTER_FOUND)
			continue;
		snprintf(text, sizeof(text), "%.*s%s%.*s", STR_ARG(params[0]), params[1].n > 0 ? " | " : "",
			 STR_ARG(params[1]));
		SAME(text, cases[i].param);
	}
}

/* A literal wins over a variable, wherever the rows stand. */
static void literals_win(void)
{
	static const struct route table[] = {
		{.pattern = "/a/{x}"},   {.pattern = "/a/b"},       {.pattern = "/{x}/b"},
		{.pattern = "/c/{x}/d"}, {.pattern = "/c/{x}/{y}"}, {.pattern = "/c/e/{y}"},
		{.pattern = "/{x}/f"},   {.pattern = "/g/{x}"},     {.pattern = "/{x}/{y}/d"},
	};
	static const char *const cases[][2] = {{"/a/b", "/a/b"},       {"/a/c", "/a/{x}"},       {"/x/b", "/{x}/b"},
					       {"/c/x/d", "/c/{x}/d"}, {"/c/x/e", "/c/{x}/{y}"}, {"/c/e/d", "/c/e/{y}"},
					       {"/g/f", "/g/{x}"},     {"/x/y/d", "/{x}/{y}/d"}, {"/x", ""}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct str params[REQUEST_PARAMS];
		const struct route *row = router_find_path(table, sizeof(table) / sizeof(table[0]), str_of(cases[i][0]),
							   params);
		SAME(row ? row->pattern : "", cases[i][1]);
	}
}

/* The pattern with "none" for its variables. */
static void fill_pattern(const char *pattern, char path[static 200])
{
	size_t n = 0;

	for (; *pattern; pattern++) {
		if (*pattern == '{') {
			memcpy(path + n, "none", 4);
			n += 4;
			pattern = strchr(pattern, '}');
		} else {
			path[n++] = *pattern;
		}
	}
	path[n] = '\0';
}

/* Whether the pattern that `route` belongs to has this method, and what Allow says of it: rows of one pattern stand
 * together. */
static bool has_method(const struct route *route, const char *method, char allow[static 100])
{
	const struct route *end = ROUTES + ROUTES_N, *row = route;
	bool has = false;

	allow[0] = '\0';
	while (row > ROUTES && strcmp(row[-1].pattern, route->pattern) == 0)
		row--;
	for (; row < end && strcmp(row->pattern, route->pattern) == 0; row++) {
		const char *name = http_method_name(row->method);
		snprintf(allow + strlen(allow), 100 - strlen(allow), "%s%s%s", allow[0] ? ", " : "", name,
			 row->method == HTTP_GET ? ", HEAD" : "");
		has = has || strcmp(method, name) == 0 || (row->method == HTTP_GET && strcmp(method, "HEAD") == 0);
	}
	return has;
}

/* Every row of the table answers by itself, refuses what it lacks with Allow, and is found behind a slash. */
static void every_row_keeps_the_rules(void)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW", "get", ""};
	struct harness h;

	harness_open(&h);
	for (int i = 0; i < ROUTES_N; i++) {
		const struct route *route = &ROUTES[i];
		char path[200];
		fill_pattern(route->pattern, path);
		char allow[100];
		for (size_t k = 0; k < sizeof(methods) / sizeof(methods[0]); k++) {
			bool known = has_method(route, methods[k], allow);
			struct exchange *x = ASK(&h, .method = methods[k], .path = path);
			CU_ASSERT_EQUAL(x->status == 405, !known);
			CU_ASSERT_NOT_EQUAL(x->status, 500);
			HEADER_IS(x, "X-Request-ID", x->edge_id);
			if (known)
				continue;
			bool inference = strncmp(path, "/v2", 3) == 0;
			ANSWERS(x, 405,
				k == 1      ? ""
				: inference ? "{\"error\":\"Method Not Allowed\"}"
					    : DETAIL("Method Not Allowed"));
			HEADER_IS(x, "Allow", allow);
		}
		if (strlen(path) == 1)
			continue;
		strcat(path, "/");
		struct exchange *x = ASK(&h, .path = path, .query = "limit=2&x=%20");
		ANSWERS(x, 307, "");
		path[strlen(path) - 1] = '\0';
		strcat(path, "?limit=2&x=%20");
		HEADER_IS(x, "Location", path);
		HEADER_IS(x, "Status", "307 Temporary Redirect");
		HEADER_IS(x, "Content-Length", "0");
	}
	harness_close(&h);
}

static void unknown_paths(void)
{
	struct harness h;

	harness_open(&h);
	static const char *const paths[] = {
		"/nope", "/predict/x",         "/api/v1",       "/api/v2/health", "/predictions/a/b",
		"/\xff", "/%2e%2e/etc/passwd", "/../etc/passwd"};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		ANSWERS(GET(&h, paths[i]), 404, DETAIL("Not Found"));
	struct exchange *x = ASK(&h, .path = "/predictions/", .query = "");
	ANSWERS(x, 307, "");
	HEADER_IS(x, "Location", "/predictions");
	/* The target is a path of ours, never another host. */
	x = GET(&h, "//");
	HEADER_IS(x, "Location", "/");
	ANSWERS(GET(&h, "//evil.example/"), 404, NULL);
	harness_close(&h);
}

/* A path with a line break in it makes no header. */
static void a_hostile_path_makes_no_header(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = GET(&h, "/predictions/a\r\nSet-Cookie: b/");
	HEADER_IS(x, "Set-Cookie", "");
	HEADER_IS(x, "Location", "");
	x = ASK(&h, .path = "/predictions/", .query = "a\r\nSet-Cookie: b");
	HEADER_IS(x, "Set-Cookie", "");
	harness_close(&h);
}

/* Long methods and paths are logged in part and counted under bounded names. */
static void long_texts_are_bounded(void)
{
	static char path[70000], method[5000];
	struct harness h;

	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	memset(method, 'M', sizeof(method) - 1);
	harness_open(&h);
	ANSWERS(ASK(&h, .method = method, .path = path), 404, DETAIL("Not Found"));
	CU_ASSERT_EQUAL(harness_metric(&h, "http_requests_total{method=\"OTHER\",endpoint=\"unmatched\","
					   "status_code=\"404\"}"),
			1.0);
	CU_ASSERT_TRUE(harness_logged(&h, "MMMM /aaaa"));
	harness_close(&h);
}

static void methods_have_names(void)
{
	for (int i = 0; i < HTTP_OTHER; i++)
		CU_ASSERT_EQUAL((int)http_method_of(str_of(http_method_name((enum http_method)i))), i);
	CU_ASSERT_EQUAL(http_method_of(STR("OTHER")), HTTP_OTHER);
	CU_ASSERT_EQUAL(http_method_of(STR("GETT")), HTTP_OTHER);
	CU_ASSERT_EQUAL(http_method_of(STR("")), HTTP_OTHER);
	SAME(http_method_name(HTTP_OTHER), "OTHER");
}

/* Reasons and statuses are total: no status of ours is without an HTTP status, none of these without a reason. */
static void every_status_has_an_answer(void)
{
	for (int i = 0; i < STATUS__MAX; i++) {
		int status = response_http_status((enum status)i);
		CU_ASSERT_TRUE(status >= 200 && status < 600);
		CU_ASSERT_STRING_NOT_EQUAL(response_reason(status), "Unknown");
	}
	SAME(response_reason(299), "Unknown");
}

/* A response has room for a bounded number of headers; the rest is left out, nothing is overrun. */
static void headers_are_bounded(void)
{
	struct response response;
	struct arena arena;
	struct buf head;
	size_t lines = 0;

	arena_init(&arena, 1 << 16);
	response_init(&response, &arena);
	for (int i = 0; i < 2 * RESPONSE_HEADERS; i++)
		response_header_u64(&response, "X-N", (uint64_t)i);
	response.status = 200;
	buf_init(&head, &arena);
	response_head(&response, true, &head);
	struct str rest = buf_view(&head);
	while (rest.n > 0)
		lines += str_starts(str_cut(&rest, '\n'), STR("X-N: "));
	CU_ASSERT_EQUAL(lines, RESPONSE_HEADERS);
	arena_release(&arena);
}

static const struct unit_case CASES[] = {
	{"finds", finds},
	{"literals win", literals_win},
	{"every row keeps the rules", every_row_keeps_the_rules},
	{"unknown paths", unknown_paths},
	{"a hostile path makes no header", a_hostile_path_makes_no_header},
	{"long texts are bounded", long_texts_are_bounded},
	{"methods have names", methods_have_names},
	{"every status has an answer", every_status_has_an_answer},
	{"headers are bounded", headers_are_bounded},
};

int main(void)
{
	return UNIT_RUN("router", CASES);
}
