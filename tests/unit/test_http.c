/* APIs as sources: what a definition says of them, their URLs, the Link header, addresses, cursors. */
#include "store_helpers.h"

#include "pipeline/definition.h"
#include "pipeline/http_source.h"
#include "pipeline/http_url.h"
#include "store/cursors.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static void links(void)
{
	static const struct {
		const char *header, *next; /* NULL: none */
	} cases[] = {
		{"", NULL},
		{"<https://a/2>; rel=\"next\"", "https://a/2"},
		{"<https://a/2>;rel=next", "https://a/2"},
		{" <https://a/1>; rel=prev ,, <https://a/3> ; REL = \"last NEXT\" ", "https://a/3"},
		{"<a>; rel=\"prev\"; rel=\"next\"", NULL},
		{"<a>; title=\"x, <b>; rel=next\"; rel=prev", NULL},
		{"<a>; title=\"q\\\"; rel=next, \"; rel=prev, <c>; rel=next", "c"},
		{"<a,b;c>; rel=next", "a,b;c"},
		{"<>; rel=next", ""},
		{"<a>; rel=next; anchor=\"/other\"", NULL},
		{"<a>; rel=\"nextish\"", NULL},
		{"<a>; rel", NULL},
		{"<a>", NULL},
		{"<a", NULL},
		{"a; rel=next", NULL},
		{"<a>; title=\"open, <b>; rel=next", NULL},
		{"<a>; rel=prev x, <b>; rel=next", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct str next;
		bool found = http_link_next(str_of(cases[i].header), &next);
		CU_ASSERT_EQUAL(found, cases[i].next != NULL);
		if (found && cases[i].next && !str_eq(next, str_of(cases[i].next)))
			CU_FAIL(cases[i].header);
	}
}

static bool allowed(const char *text, const char *networks)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
		return http_address_is_allowed((const struct sockaddr *)(const void *)&four, sizeof(four), networks);
	if (inet_pton(AF_INET6, text, &six.sin6_addr) != 1)
		CU_FAIL(text);
	return http_address_is_allowed((const struct sockaddr *)(const void *)&six, sizeof(six), networks);
}

static void addresses(void)
{
	static const char *const public[] = {"8.8.8.8",         "9.255.255.255",   "11.0.0.0",        "100.63.255.255",
					     "100.128.0.0",     "126.255.255.255", "128.0.0.0",       "169.253.255.255",
					     "172.15.255.255",  "172.32.0.0",      "192.167.255.255", "198.17.255.255",
					     "223.255.255.255", "2606:4700::1111", "2001:4860::8888", "::ffff:8.8.8.8",
					     "64:ff9b::808:808"};
	static const char *const private[] = {"0.0.0.0",
					      "0.1.2.3",
					      "10.0.0.0",
					      "10.255.255.255",
					      "100.64.0.0",
					      "100.127.255.255",
					      "127.0.0.1",
					      "127.255.255.255",
					      "169.254.169.254",
					      "172.16.0.0",
					      "172.31.255.255",
					      "192.0.0.1",
					      "192.0.2.1",
					      "192.168.0.0",
					      "198.18.0.0",
					      "198.19.255.255",
					      "198.51.100.1",
					      "203.0.113.1",
					      "224.0.0.1",
					      "239.255.255.255",
					      "240.0.0.1",
					      "255.255.255.255",
					      "::",
					      "::1",
					      "::7f00:1",
					      "fe80::1",
					      "fc00::1",
					      "fdff::1",
					      "fec0::1",
					      "ff02::1",
					      "2001::1",
					      "2001:db8::1",
					      "2002:7f00:1::",
					      "2002:808:808::",
					      "3fff::1",
					      "4000::1",
					      "::ffff:127.0.0.1",
					      "::ffff:10.1.2.3",
					      "::ffff:169.254.169.254",
					      "64:ff9b::7f00:1",
					      "64:ff9b::a00:1",
					      "64:ff9b:1::1",
					      "100::1"};

	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++)
		if (!allowed(public[i], ""))
			CU_FAIL(public[i]);
	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++) {
		if (allowed(private[i], "") || allowed(private[i], "8.8.8.0/24,2606::/16"))
			CU_FAIL(private[i]);
		if (!allowed(private[i], "all"))
			CU_FAIL(private[i]);
	}
	CU_ASSERT_TRUE(allowed("10.1.2.3", "192.168.0.0/16, 10.1.0.0/16"));
	CU_ASSERT_FALSE(allowed("10.2.2.3", "192.168.0.0/16,10.1.0.0/16"));
	CU_ASSERT_TRUE(allowed("10.1.2.3", "10.1.2.3") && !allowed("10.1.2.4", "10.1.2.3"));
	CU_ASSERT_TRUE(allowed("10.1.2.3", "10.1.2.2/31") && !allowed("10.1.2.1", "10.1.2.2/31"));
	CU_ASSERT_TRUE(allowed("::ffff:10.1.2.3", "10.0.0.0/8") && !allowed("::ffff:10.1.2.3", "::/0"));
	CU_ASSERT_TRUE(allowed("fd00::5", "fd00::/8") && !allowed("fe80::5", "fd00::/8"));
	CU_ASSERT_TRUE(allowed("10.1.2.3", "0.0.0.0/0") && !allowed("::1", "0.0.0.0/0"));
	struct sockaddr local = {.sa_family = AF_UNIX};
	CU_ASSERT_FALSE(http_address_is_allowed(&local, sizeof(local), "all"));
}

static void urls(void)
{
	static const char *const bad[] = {"",
					  "example.com",
					  "ftp://example.com/",
					  "file:///etc/passwd",
					  "https://user@example.com/",
					  "https://user:word@example.com/",
					  "https://",
					  "https://example.com/a b",
					  "https://example.com/\xc3\xa9",
					  "gopher://example.com",
					  "https://example.com:99999/"};
	static const char *const good[] = {"https://example.com", "HTTP://example.com:8080/a?b=c", "http://[::1]/"};
	struct buf url;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!http_url_check(str_of(bad[i])))
			CU_FAIL(bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (http_url_check(str_of(good[i])))
			CU_FAIL(good[i]);
	buf_init_heap(&url);
#define JOINS(base, reference, result)                                                                                 \
	CU_ASSERT_TRUE(http_url_join(STR(base), STR(reference), &url) && str_eq(buf_view(&url), STR(result)))
	JOINS("https://a.example/x/y?z=1", "w?q=2", "https://a.example/x/w?q=2");
	JOINS("https://a.example/x/y?z=1", "/w", "https://a.example/w");
	JOINS("https://a.example/x/y?z=1", "?q=3", "https://a.example/x/y?q=3");
	JOINS("https://a.example/x/y", "//b.example/z#part", "https://b.example/z");
	JOINS("https://a.example/x", "http://b.example/", "http://b.example/");
	CU_ASSERT_FALSE(http_url_join(STR("https://a.example/"), STR("file:///etc/passwd"), &url));
	CU_ASSERT_FALSE(http_url_join(STR("https://a.example/"), STR("a b"), &url));
	url.n = 0;
	buf_str(&url, STR("https://a.example/x?page=1&b=2#f"));
	CU_ASSERT_TRUE(http_url_set(&url, STR("page"), STR("a&b c/=")));
	CU_ASSERT_TRUE(str_eq_nocase(buf_view(&url), STR("https://a.example/x?b=2&page=a%26b%20c%2F%3D")));
	CU_ASSERT_TRUE(http_url_set(&url, STR("a/b"), STR("1")) && http_url_set(&url, STR("a/b"), STR("")));
	CU_ASSERT_TRUE(http_url_set(&url, STR("page"), STR("2")));
	CU_ASSERT_TRUE(str_eq_nocase(buf_view(&url), STR("https://a.example/x?b=2&a%2Fb=&page=2")));
	url.n = 0;
	http_url_put_shown(&url, STR("https://a.example/x?key=secret#f"));
	CU_ASSERT_TRUE(str_eq(buf_view(&url), STR("https://a.example/x")));
	buf_release(&url);
	CU_ASSERT_TRUE(http_url_is_same_origin(STR("https://a.example/x"), STR("HTTPS://A.example:443/y?z")));
	CU_ASSERT_FALSE(http_url_is_same_origin(STR("https://a.example/"), STR("http://a.example/")));
	CU_ASSERT_FALSE(http_url_is_same_origin(STR("https://a.example/"), STR("https://a.example:444/")));
	CU_ASSERT_FALSE(http_url_is_same_origin(STR("https://a.example/"), STR("https://b.a.example/")));
	CU_ASSERT_FALSE(http_url_is_same_origin(STR(""), STR("")));
}

static const struct http_source *parse(const char *http, struct arena *arena, const char **problems)
{
	struct pipeline *pipeline;
	struct buf text, said;
	struct err err;

	buf_init(&text, arena);
	buf_init(&said, arena);
	buf_fmt(&text, "{\"source\":{\"http\":%s}}", http);
	enum status status = pipeline_parse(buf_view(&text), STR("d"), arena, &pipeline, &said, &err);
	buf_char(&said, '\0');
	*problems = said.p;
	return status == STATUS_OK ? pipeline->source.api : NULL;
}

#define U "{\"url\":\"https://a.example/\","

static void definitions(void)
{
	static const struct {
		const char *http, *problem;
	} cases[] = {
		{"{}", "source.http.url: is missing"},
		{"{\"url\":\"ftp://a/\"}", "source.http.url: should begin with https:// or http://"},
		{"{\"url\":\"https://me:pw@a/\"}",
		 "source.http.url: should have no user name and no password: say them by headers"},
		{U "\"tokn\":1}", "source.http: has no member \"tokn\"; did you mean \"token\"?"},
		{U "\"token\":\"abc\"}", "source.http.token: should be {\"env\": \"NAME\"} or {\"file\": \"/path\"}"},
		{U "\"token\":{\"env\":\"A\",\"file\":\"/b\"}}",
		 "source.http.token: should be {\"env\": \"NAME\"} or {\"file\": \"/path\"}"},
		{U "\"token\":{\"file\":\"b\"}}", "source.http.token.file: should be an absolute path"},
		{U "\"token\":{\"env\":\"A=B\"}}",
		 "source.http.token.env: should be the name of an environment variable"},
		{U "\"headers\":{\"Authorization\":\"Bearer x\"}}",
		 "source.http.headers.Authorization: is a secret, and runs keep a copy of this: say {\"env\": "
		 "\"NAME\"} or "
		 "{\"file\": \"/path\"}"},
		{U "\"headers\":{\"Host\":\"x\"}}",
		 "source.http.headers.Host: is set by the service itself: leave it out"},
		{U "\"headers\":{\"a b\":\"x\"}}", "source.http.headers.a b: is no name of a header"},
		{U "\"headers\":{\"A\":\"x\\r\\nB: y\"}}", NULL},
		{U "\"paging\":{}}", "source.http.paging.by: is missing: link, cursor or page"},
		{U "\"paging\":{\"by\":\"link\",\"param\":\"p\"}}",
		 "source.http.paging.param: means nothing where paging is by link"},
		{U "\"paging\":{\"by\":\"cursor\",\"param\":\"p\"}}", "source.http.paging.member: is missing"},
		{U "\"paging\":{\"by\":\"page\",\"param\":\"p\",\"size_param\":\"s\"}}",
		 "source.http.paging.size: is missing: how many items a page has"},
		{U "\"since\":{\"param\":\"p\"}}", "source.http.since.member: is missing"},
		{U "\"timeout_s\":0}", NULL},
		{U "\"page_bytes\":1e12}", NULL},
		{U "\"every\":\"often\"}",
		 "source.http.every: is neither \"off\" nor a time as crontab has it: it has less than five "
		 "fields (minute, hour, day, month, day of the week)"},
		{U "\"every\":\"Off\"}", NULL},
	};
	struct arena arena;
	const char *problems;

	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_PTR_NULL(parse(cases[i].http, &arena, &problems));
		if (!problems[0] || (cases[i].problem && strcmp(problems, cases[i].problem) != 0)) {
			printf("%s\n%s\n", cases[i].http, problems);
			CU_FAIL("another problem");
		}
	}
	const struct http_source *source = parse(
		U "\"headers\":{\"Accept\":\"*/*\"},\"token\":{\"env\":\"HTTP_TEST\"},"
		  "\"paging\":{\"by\":\"page\",\"param\":\"p\"},\"every\":\"0 * * * *\"}",
		&arena, &problems);
	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	CU_ASSERT_TRUE(source->paging == HTTP_BY_PAGE && source->page_first == 1 && source->page_size == 0);
	CU_ASSERT_TRUE(source->timeout_s == 30 && source->retries == 3 && source->page_bytes == 16 << 20);
	CU_ASSERT_EQUAL_FATAL(source->headers_n, 2);
	CU_ASSERT_TRUE(str_eq(source->every, STR("0 * * * *")));
	const char *line;
	struct err err = {0};
	OK(http_header_line(&source->headers[0], &arena, &line, &err));
	CU_ASSERT_STRING_EQUAL(line, "Accept: */*");
	unsetenv("HTTP_TEST");
	IS(http_header_line(&source->headers[1], &arena, &line, &err), STATUS_INVALID);
	setenv("HTTP_TEST", "secret\r\nX: y", 1);
	IS(http_header_line(&source->headers[1], &arena, &line, &err), STATUS_INVALID);
	CU_ASSERT_PTR_NULL(strstr(err.text, "secret"));
	setenv("HTTP_TEST", "secret\n", 1);
	OK(http_header_line(&source->headers[1], &arena, &line, &err));
	CU_ASSERT_STRING_EQUAL(line, "Authorization: Bearer secret");
	source = parse(U "\"every\":\"off\"}", &arena, &problems);
	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	CU_ASSERT_EQUAL(source->every.n, 0);
	source = parse(U "\"retries\":0}", &arena, &problems); /* each hour, when nothing is said */
	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	CU_ASSERT_TRUE(str_eq(source->every, STR("0 * * * *")));
	arena_release(&arena);
}

static void save(struct db *db, const struct cursor_row *row)
{
	OK(db_turn_take(db, -1, NULL));
	OK(db_begin(db, NULL));
	OK(cursors_save(db, row, 5, NULL));
	OK(db_commit(db, NULL));
	db_turn_give(db);
}

static void cursors(void)
{
	struct db *db = test_database("cursors.db");
	struct cursor_row row;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	OK(cursors_find(db, 7, &arena, &row, NULL));
	CU_ASSERT_TRUE(row.pipeline_id == 7 && row.since.n == 0 && row.failures == 0);
	row.since = STR("2026-01-02");
	row.etag = STR("\"a\"");
	row.source = STR("s");
	row.request = STR("r");
	save(db, &row);
	row.failures = 3;
	row.last_modified = STR("now");
	save(db, &row);
	OK(cursors_find(db, 7, &arena, &row, NULL));
	CU_ASSERT_TRUE(str_eq(row.since, STR("2026-01-02")) && str_eq(row.etag, STR("\"a\"")));
	CU_ASSERT_TRUE(str_eq(row.source, STR("s")) && str_eq(row.request, STR("r")));
	CU_ASSERT_TRUE(str_eq(row.last_modified, STR("now")) && row.failures == 3);
	OK(cursors_find(db, 8, &arena, &row, NULL));
	CU_ASSERT_EQUAL(row.failures, 0);
	arena_release(&arena);
	db_close(db);
}

/* (C-098) */
static void a_circuit_opens_and_closes(void)
{
	const int64_t s = 1000000, now = 1000 * s;
	struct cursor_row row = {0};

	for (int i = 1; i <= 4; i++) {
		cursors_note_failure(&row, now);
		CU_ASSERT_EQUAL(cursors_circuit(&row, now), CURSOR_CLOSED);
	}
	cursors_note_failure(&row, now);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now), CURSOR_OPEN);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now + 30 * s - 1), CURSOR_OPEN);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now + 30 * s), CURSOR_HALF_OPEN);
	cursors_note_failure(&row, now + 40 * s);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now + 69 * s), CURSOR_OPEN);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now + 70 * s), CURSOR_HALF_OPEN);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now - 1000 * s), CURSOR_HALF_OPEN); /* a clock that was set back */
	cursors_note_success(&row);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now + 70 * s), CURSOR_CLOSED);
	cursors_note_failure(&row, now + 70 * s);
	CU_ASSERT_EQUAL(cursors_circuit(&row, now + 70 * s), CURSOR_CLOSED);
}

static const struct unit_case CASES[] = {
	{"links", links},     {"addresses", addresses},
	{"URLs", urls},       {"definitions", definitions},
	{"cursors", cursors}, {"a circuit opens and closes", a_circuit_opens_and_closes},
};

int main(void)
{
	return UNIT_RUN("http", CASES);
}
