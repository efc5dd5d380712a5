/* GET /version, and the root. */
#include "harness.h"

static void tells_the_versions(void)
{
	static const char body[] = "{\"version\":\"0.1.0\",\"api_version\":\"v1\",\"model_version\":\"v1.0\"}";
	struct harness h;

	harness_open(&h);
	struct exchange *x = GET(&h, "/version");
	ANSWERS(x, 200, body);
	HEADER_IS(x, "Content-Type", "application/json");
	HEADER_IS(x, "Content-Length", "61");
	HEADER_IS(x, "X-Request-ID", x->edge_id);
	HEADER_IS(x, "Status", "200 OK");
	ANSWERS(GET(&h, "/api/v1/version"), 200, body);
	harness_close(&h);
}

static void tells_the_models_version(void)
{
	struct harness h;

	harness_init(&h);
	h.model = harness_model_42();
	harness_start(&h);
	ANSWERS(GET(&h, "/version"), 200,
		"{\"version\":\"0.1.0\",\"api_version\":\"v1\",\"model_version\":\"test-v1\"}");
	harness_close(&h);
}

static void head_has_the_length_and_no_body(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = ASK(&h, .method = "HEAD", .path = "/version");
	ANSWERS(x, 200, "");
	HEADER_IS(x, "Content-Length", "61");
	HEADER_IS(x, "Content-Type", "application/json");
	harness_close(&h);
}

static void root_says_what_it_always_said(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(GET(&h, "/"), 200, "{\"message\":\"Sentiment Analysis API\",\"version\":\"1.0.0\",\"docs\":\"/docs\"}");
	harness_close(&h);
}

/* A request's id is for correlation and goes back as it came. nginx has checked it; a line break is left out all the
 * same. */
static void gives_the_request_id_back(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = ASK(&h, .path = "/version", .params = {"REQUEST_ID", "abc-1"});
	HEADER_IS(x, "X-Request-ID", "abc-1");
	x = ASK(&h, .path = "/version", .params = {"REQUEST_ID", "a\r\nSet-Cookie: b"});
	HEADER_IS(x, "X-Request-ID", "");
	HEADER_IS(x, "Set-Cookie", "");
	x = ASK(&h, .path = "/version", .params = {"REQUEST_ID", ""});
	HEADER_IS(x, "X-Request-ID", "");
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"tells the versions", tells_the_versions},
	{"tells the model's version", tells_the_models_version},
	{"HEAD has the length and no body", head_has_the_length_and_no_body},
	{"the root says what it always said", root_says_what_it_always_said},
	{"gives the request's id back", gives_the_request_id_back},
};

int main(void)
{
	return UNIT_RUN("version", CASES);
}
