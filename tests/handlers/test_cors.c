/* CORS and OPTIONS. */
#include "harness.h"

#define METHODS "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
/* What a browser does not show to a script by itself, and a client may need. */
#define EXPOSED                                                                                                        \
	"X-Request-ID, Retry-After, X-RateLimit-Remaining, RateLimit, RateLimit-Policy, Location, Link, "              \
	"X-Next-Cursor, Idempotency-Replayed, Inference-Header-Content-Length, Upload-Offset, Upload-Length, "         \
	"Tus-Resumable, Content-Disposition"

static void any_origin_on_the_contracts_paths(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = ASK(&h, .path = "/version", .params = {"HTTP_ORIGIN", "http://a"});
	ANSWERS(x, 200, NULL);
	HEADER_IS(x, "Access-Control-Allow-Origin", "*");
	HEADER_IS(x, "Access-Control-Allow-Credentials", "");
	HEADER_IS(x, "Access-Control-Expose-Headers", EXPOSED);
	HEADER_IS(x, "Vary", "");
	x = GET(&h, "/version");
	HEADER_IS(x, "Access-Control-Allow-Origin", "");
	/* Errors too, or a browser would hide them. */
	x = ASK(&h, .path = "/predict", .body = "{}", .params = {"HTTP_ORIGIN", "http://a"});
	ANSWERS(x, 401, NULL);
	HEADER_IS(x, "Access-Control-Allow-Origin", "*");
	x = ASK(&h, .path = "/nope", .params = {"HTTP_ORIGIN", "http://a"});
	ANSWERS(x, 404, NULL);
	HEADER_IS(x, "Access-Control-Allow-Origin", "*");
	harness_close(&h);
}

static void listed_origins_on_api_v1(void)
{
	static const struct {
		const char *list, *origin, *allowed;
	} cases[] = {
		{"http://a.example, https://b.example:444", "http://a.example", "http://a.example"},
		{"http://a.example, https://b.example:444", "https://b.example:444", "https://b.example:444"},
		{"http://a.example", "https://a.example", ""},
		{"http://a.example", "http://a.example.evil", ""},
		{"http://a.example", "http://a.exampl", ""},
		{"http://a.example", "null", ""},
		{"", "http://a.example", ""},
		{"*", "http://a.example", "http://a.example"},
	};
	static const char *const paths[] = {"/api/v1/version", "/api/v1/nope"};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		h.config.cors_origins = cases[i].list;
		for (size_t k = 0; k < 2; k++) {
			struct exchange *x = ASK(&h, .path = paths[k], .params = {"HTTP_ORIGIN", cases[i].origin});
			ANSWERS(x, k == 0 ? 200 : 404, NULL);
			HEADER_IS(x, "Access-Control-Allow-Origin", cases[i].allowed);
			HEADER_IS(x, "Access-Control-Expose-Headers", cases[i].allowed[0] ? EXPOSED : "");
			HEADER_IS(x, "Vary", "Origin");
		}
	}
	HEADER_IS(GET(&h, "/api/v1/version"), "Vary", "Origin");
	harness_close(&h);
}

static struct exchange *preflight(struct harness *h, const char *path, const char *origin, const char *headers)
{
	return ASK(h, .method = "OPTIONS", .path = path,
		   .params = {"HTTP_ORIGIN", origin, "HTTP_ACCESS_CONTROL_REQUEST_METHOD", "POST",
			      headers ? "HTTP_ACCESS_CONTROL_REQUEST_HEADERS" : NULL, headers});
}

static void answers_preflights(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = preflight(&h, "/predict", "http://a", "x-api-key, content-type");
	ANSWERS(x, 200, "OK");
	HEADER_IS(x, "Content-Type", "text/plain; charset=utf-8");
	HEADER_IS(x, "Access-Control-Allow-Origin", "*");
	HEADER_IS(x, "Access-Control-Allow-Methods", METHODS);
	HEADER_IS(x, "Access-Control-Max-Age", "600");
	HEADER_IS(x, "Access-Control-Allow-Headers", "x-api-key, content-type");
	x = preflight(&h, "/predict", "http://a", NULL);
	ANSWERS(x, 200, "OK");
	HEADER_IS(x, "Access-Control-Allow-Headers", "");
	x = preflight(&h, "/predict", "http://a", "a\r\nSet-Cookie: b");
	ANSWERS(x, 200, "OK");
	HEADER_IS(x, "Access-Control-Allow-Headers", "");
	HEADER_IS(x, "Set-Cookie", "");
	ANSWERS(preflight(&h, "/nope", "http://a", NULL), 200, "OK");
	harness_close(&h);
}

static void refuses_preflights_of_strangers(void)
{
	struct harness h;

	harness_open(&h);
	h.config.cors_origins = "http://a.example";
	struct exchange *x = preflight(&h, "/api/v1/predict", "http://a.example", "x-api-key");
	ANSWERS(x, 200, "OK");
	HEADER_IS(x, "Access-Control-Allow-Origin", "http://a.example");
	HEADER_IS(x, "Vary", "Origin");
	x = preflight(&h, "/api/v1/predict", "http://b.example", "x-api-key");
	ANSWERS(x, 400, "Disallowed CORS origin");
	HEADER_IS(x, "Access-Control-Allow-Origin", "");
	HEADER_IS(x, "Vary", "Origin");
	harness_close(&h);
}

/* OPTIONS that is no preflight tells what a path can do. */
static void options_tells_the_methods(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = ASK(&h, .method = "OPTIONS", .path = "/predict");
	ANSWERS(x, 204, "");
	HEADER_IS(x, "Allow", "POST");
	HEADER_IS(x, "Content-Length", "");
	HEADER_IS(x, "Content-Type", "");
	x = ASK(&h, .method = "OPTIONS", .path = "/predictions/1", .params = {"HTTP_ORIGIN", "http://a"});
	ANSWERS(x, 204, "");
	HEADER_IS(x, "Allow", "GET, HEAD");
	HEADER_IS(x, "Access-Control-Allow-Origin", "*");
	ANSWERS(ASK(&h, .method = "OPTIONS", .path = "/nope"), 404, DETAIL("Not Found"));
	harness_close(&h);
}

/* An origin with a line break never becomes a header. */
static void a_hostile_origin_is_not_echoed(void)
{
	struct harness h;

	harness_open(&h);
	h.config.cors_origins = "*";
	struct exchange *x = ASK(&h, .path = "/api/v1/version", .params = {"HTTP_ORIGIN", "http://a\r\nSet-Cookie: b"});
	ANSWERS(x, 200, NULL);
	HEADER_IS(x, "Access-Control-Allow-Origin", "");
	HEADER_IS(x, "Set-Cookie", "");
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"any origin on the contract's paths", any_origin_on_the_contracts_paths},
	{"listed origins on /api/v1", listed_origins_on_api_v1},
	{"answers preflights", answers_preflights},
	{"refuses preflights of strangers", refuses_preflights_of_strangers},
	{"OPTIONS tells the methods", options_tells_the_methods},
	{"a hostile origin is not echoed", a_hostile_origin_is_not_echoed},
};

int main(void)
{
	return UNIT_RUN("cors", CASES);
}
