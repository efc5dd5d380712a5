/* Rate limits as a client sees them. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

static const char LIMITED[] = DETAIL("Rate limit exceeded. Try again later.");
static const char BODY[] = "{\"features\":[1]}";

static void retry_after_is_within(const struct exchange *x, long low, long high)
{
	long seconds = strtol(answer_header(x, "Retry-After"), NULL, 10);

	CU_ASSERT_TRUE(seconds >= low && seconds <= high);
}

static void counts_down_to_zero(void)
{
	struct harness h;
	char wanted[16];

	harness_init(&h);
	h.config.rate_limit_per_minute = 100;
	harness_start(&h);
	for (int i = 99; i >= 0; i--) {
		struct exchange *x = GET(&h, i % 2 ? "/version" : "/nope");
		ANSWERS(x, i % 2 ? 200 : 404, NULL);
		snprintf(wanted, sizeof(wanted), "%d", i);
		HEADER_IS(x, "X-RateLimit-Remaining", wanted);
		HEADER_IS(x, "Retry-After", "");
		HEADER_IS(x, "RateLimit", "");
	}
	for (int i = 0; i < 3; i++) {
		struct exchange *x = GET(&h, "/health");
		ANSWERS(x, 429, LIMITED);
		HEADER_IS(x, "X-RateLimit-Remaining", "0");
		HEADER_IS(x, "X-Request-ID", x->edge_id);
		HEADER_IS(x, "Status", "429 Too Many Requests");
		retry_after_is_within(x, 1, 60);
	}
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"rate_limit\"}"), 3.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "http_requests_total{method=\"GET\",endpoint=\"/health\","
					   "status_code=\"429\"}"),
			3.0);
	CU_ASSERT_TRUE(harness_logged(&h, "\"status_code\":429"));
	harness_close(&h);
}

static void everyone_has_their_own(void)
{
	struct harness h;

	harness_init(&h);
	h.config.rate_limit_per_minute = 1;
	harness_start(&h);
	static const char *const clients[] = {"203.0.113.1", "203.0.113.2", "2001:db8:0:1::1", "2001:db8:0:2::1", ""};
	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		ANSWERS(ASK(&h, .path = "/version", .client = clients[i]), 200, NULL);
		ANSWERS(ASK(&h, .path = "/version", .client = clients[i]), 429, LIMITED);
	}
	/* One customer of IPv6 has a whole /64; what is no address is one client. */
	ANSWERS(ASK(&h, .path = "/version", .client = "2001:db8:0:1:ffff::9"), 429, LIMITED);
	ANSWERS(ASK(&h, .path = "/version", .client = "::ffff:203.0.113.1"), 429, LIMITED);
	ANSWERS(ASK(&h, .path = "/version", .client = "unix:"), 429, LIMITED);
	/* Only nginx says who the client is. */
	ANSWERS(ASK(&h, .path = "/version", .params = {"HTTP_X_FORWARDED_FOR", "9.9.9.9", "HTTP_X_REAL_IP", "9.9.9.9"}),
		429, LIMITED);
	harness_close(&h);
}

static void probes_are_not_counted(void)
{
	static const char *const paths[] = {"/livez", "/readyz", "/api/v1/livez", "/api/v1/readyz"};
	struct harness h;

	harness_init(&h);
	h.config.rate_limit_per_minute = 1;
	harness_start(&h);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	for (int i = 0; i < 8; i++) {
		struct exchange *x = GET(&h, paths[i % 4]);
		ANSWERS(x, 200, NULL);
		HEADER_IS(x, "X-RateLimit-Remaining", "");
	}
	ANSWERS(GET(&h, "/version"), 429, LIMITED);
	harness_close(&h);
}

/* A preflight and a request without an identity cost nothing; what is refused for any other reason does. */
static void refusals_count_too(void)
{
	struct harness h;

	harness_init(&h);
	h.config.rate_limit_per_minute = 4;
	harness_start(&h);
	ANSWERS(ASK(&h, .method = "OPTIONS", .path = "/predict",
		    .params = {"HTTP_ORIGIN", "http://a", "HTTP_ACCESS_CONTROL_REQUEST_METHOD", "POST"}),
		200, "OK");
	ANSWERS(ASK(&h, .path = "/predict", .body = BODY), 401, NULL);
	ANSWERS(ASK(&h, .path = "/predict", .body = BODY, .key = "x"), 403, NULL);
	ANSWERS(ASK(&h, .method = "DELETE", .path = "/predict"), 405, NULL);
	struct exchange *x = ASK(&h, .path = "/predict", .body = "{", .key = HARNESS_KEY);
	ANSWERS(x, 422, NULL);
	HEADER_IS(x, "X-RateLimit-Remaining", "0");
	ANSWERS(ASK(&h, .path = "/predict", .body = BODY, .key = HARNESS_KEY), 429, LIMITED);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 0);
	harness_close(&h);
}

static void zero_switches_off(void)
{
	struct harness h;

	harness_open(&h);
	for (int i = 0; i < 300; i++) {
		struct exchange *x = GET(&h, "/version");
		CU_ASSERT_EQUAL(x->status, 200);
		if (i == 0)
			HEADER_IS(x, "X-RateLimit-Remaining", "");
	}
	harness_close(&h);
}

static void a_key_has_its_own_rate(void)
{
	char slow[KEY_TEXT_BYTES], free_key[KEY_TEXT_BYTES], plain[KEY_TEXT_BYTES];
	struct harness h;

	harness_init(&h);
	h.config.key_rate_limit_per_minute = 3;
	harness_start(&h);
	harness_add_key(&h, "slow", 2, 0, slow);
	harness_add_key(&h, "free", 0, 0, free_key);
	harness_add_key(&h, "plain", -1, 0, plain);
	harness_tick(&h);
	static const struct {
		int n;
	} allowed[] = {{2}, {10}, {3}, {3}};
	const char *const keys[] = {slow, free_key, plain, HARNESS_KEY};
	for (size_t k = 0; k < 4; k++) {
		for (int i = 0; i < allowed[k].n; i++) {
			struct exchange *x = ASK(&h, .path = "/predict", .body = BODY, .key = keys[k]);
			ANSWERS(x, 201, NULL);
			char wanted[16] = "";
			if (k != 1)
				snprintf(wanted, sizeof(wanted), "%d", allowed[k].n - 1 - i);
			HEADER_IS(x, "X-RateLimit-Remaining", wanted);
		}
		struct exchange *x = ASK(&h, .path = "/predict", .body = BODY, .key = keys[k]);
		ANSWERS(x, k == 1 ? 201 : 429, k == 1 ? NULL : LIMITED);
		if (k != 1)
			retry_after_is_within(x, 1, 60);
	}
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"key_rate_limit\"}"), 3.0);
	/* The address does not matter, and other paths are free. */
	ANSWERS(ASK(&h, .path = "/predict", .body = BODY, .key = slow, .client = "198.51.100.7"), 429, LIMITED);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	harness_close(&h);
}

/* Of two limits the one that will bite is told. */
static void the_smaller_remainder_is_told(void)
{
	struct harness h;

	harness_init(&h);
	h.config.rate_limit_per_minute = 10;
	h.config.key_rate_limit_per_minute = 3;
	harness_start(&h);
	HEADER_IS(ASK(&h, .path = "/predict", .body = BODY, .key = HARNESS_KEY), "X-RateLimit-Remaining", "2");
	for (int i = 0; i < 7; i++)
		GET(&h, "/version");
	HEADER_IS(ASK(&h, .path = "/predict", .body = BODY, .key = HARNESS_KEY), "X-RateLimit-Remaining", "1");
	HEADER_IS(ASK(&h, .path = "/predict", .body = BODY, .key = HARNESS_KEY), "X-RateLimit-Remaining", "0");
	harness_close(&h);
}

static void headers_have_a_newer_form(void)
{
	struct harness h;

	harness_init(&h);
	h.config.rate_limit_per_minute = 2;
	h.config.rate_limit_headers = "ietf";
	harness_start(&h);
	struct exchange *x = GET(&h, "/version");
	HEADER_IS(x, "X-RateLimit-Remaining", "");
	HEADER_IS(x, "RateLimit-Policy", "\"address\";q=2;w=60");
	HEADER_IS(x, "RateLimit", "\"address\";r=1;t=60");
	h.config.rate_limit_headers = "both";
	x = GET(&h, "/version");
	HEADER_IS(x, "X-RateLimit-Remaining", "0");
	HEADER_IS(x, "RateLimit", "\"address\";r=0;t=60");
	x = GET(&h, "/version");
	ANSWERS(x, 429, LIMITED);
	HEADER_IS(x, "X-RateLimit-Remaining", "0");
	unsigned left = 99;
	CU_ASSERT_EQUAL(sscanf(answer_header(x, "RateLimit"), "\"address\";r=0;t=%u", &left), 1);
	CU_ASSERT_TRUE(left >= 50 && left <= 60);
	harness_close(&h);
}

/* The state is the machine's, not the worker's. */
static void workers_share_the_state(void)
{
	struct harness h;
	struct shm *other;

	harness_init(&h);
	h.config.rate_limit_per_minute = 2;
	harness_start(&h);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	CU_ASSERT_EQUAL_FATAL(shm_open_dir(&other, h.config.run_dir, NULL), STATUS_OK);
	struct shm *own = h.app.shm;
	h.app.shm = other;
	ANSWERS(GET(&h, "/version"), 200, NULL);
	ANSWERS(GET(&h, "/version"), 429, LIMITED);
	h.app.shm = own;
	shm_close(other);
	ANSWERS(GET(&h, "/version"), 429, LIMITED);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"counts down to zero", counts_down_to_zero},
	{"everyone has their own", everyone_has_their_own},
	{"probes are not counted", probes_are_not_counted},
	{"refusals count too", refusals_count_too},
	{"zero switches off", zero_switches_off},
	{"a key has its own rate", a_key_has_its_own_rate},
	{"the smaller remainder is told", the_smaller_remainder_is_told},
	{"headers have a newer form", headers_have_a_newer_form},
	{"workers share the state", workers_share_the_state},
};

int main(void)
{
	return UNIT_RUN("limits", CASES);
}
