/* What requests leave behind: counters, histograms, the request's log line. */
#include "harness.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUESTS(method, endpoint, code)                                                                               \
	"http_requests_total{method=\"" method "\",endpoint=\"" endpoint "\",status_code=\"" code "\"}"

static void requests_are_counted(void)
{
	struct harness h;

	harness_open(&h);
	CU_ASSERT_EQUAL(harness_metric(&h, REQUESTS("GET", "/health", "200")), -1.0);
	GET(&h, "/health");
	GET(&h, "/health");
	ASK(&h, .method = "HEAD", .path = "/health");
	ASK(&h, .method = "POST", .path = "/health");
	GET(&h, "/predictions/a");
	GET(&h, "/predictions/b");
	GET(&h, "/predictions/c/");
	GET(&h, "/no/such/path");
	GET(&h, "/another");
	ASK(&h, .method = "BREW", .path = "/health");
	ASK(&h, .method = "OPTIONS", .path = "/predict");
	PREDICT(&h, "{\"features\":[1]}");
	PREDICT(&h, "{");
	ASK(&h, .path = "/predict", .body = "{}");
	ASK(&h, .path = "/version", .edge_id = "");
	static const struct {
		const char *series;
		double n;
	} wanted[] = {
		{REQUESTS("GET", "/health", "200"), 2},
		{REQUESTS("HEAD", "/health", "200"), 1},
		{REQUESTS("POST", "/health", "405"), 1},
		{REQUESTS("OTHER", "/health", "405"), 1},
		{REQUESTS("GET", "/predictions/{prediction_id}", "404"), 2},
		{REQUESTS("GET", "/predictions/{prediction_id}", "307"), 1},
		{REQUESTS("GET", "unmatched", "404"), 2},
		{REQUESTS("OPTIONS", "/predict", "204"), 1},
		{REQUESTS("POST", "/predict", "201"), 1},
		{REQUESTS("POST", "/predict", "422"), 1},
		{REQUESTS("POST", "/predict", "401"), 1},
		{REQUESTS("GET", "/version", "500"), 1},
		{"http_request_duration_seconds_count{method=\"GET\",endpoint=\"/health\"}", 2},
		{"http_request_duration_seconds_bucket{method=\"GET\",endpoint=\"/health\",le=\"+Inf\"}", 2},
		{"http_request_duration_seconds_count{method=\"POST\",endpoint=\"/predict\"}", 3},
		{"http_request_duration_seconds_count{method=\"GET\",endpoint=\"unmatched\"}", 2},
		{"predictions_total{model_version=\"v1.0\",status=\"success\"}", 1},
		{"predictions_total{model_version=\"v1.0\",status=\"error\"}", -1},
		{"prediction_duration_seconds_count{model_version=\"v1.0\"}", 1},
		{"app_health_status", 1},
		{"app_info{version=\"0.1.0\"}", 1},
		{"appcore_commit_batch_size_count", 1},
		{"appcore_commit_duration_seconds_count", 1},
		{"appcore_write_turn_wait_seconds_count", 1},
		{"appcore_workers", 1},
	};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		double got = harness_metric(&h, wanted[i].series);
		if (got != wanted[i].n)
			printf("\n%s is %g\n", wanted[i].series, got);
		CU_ASSERT_EQUAL(got, wanted[i].n);
	}
	harness_close(&h);
}

static void buckets_grow_to_the_count(void)
{
	static const char *const bounds[] = {"0.005", "0.01", "0.025", "0.05", "0.1",  "0.25",
					     "0.5",   "1.0",  "2.5",   "5.0",  "10.0", "+Inf"};
	struct harness h;
	double last = 0.0;
	char series[128];

	harness_open(&h);
	for (int i = 0; i < 20; i++)
		GET(&h, "/version");
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		snprintf(series, sizeof(series),
			 "http_request_duration_seconds_bucket{method=\"GET\",endpoint=\"/version\",le=\"%s\"}",
			 bounds[i]);
		double n = harness_metric(&h, series);
		CU_ASSERT_TRUE(n >= last);
		last = n;
	}
	CU_ASSERT_EQUAL(last, 20.0);
	double sum = harness_metric(&h, "http_request_duration_seconds_sum{method=\"GET\",endpoint=\"/version\"}");
	CU_ASSERT_TRUE(sum > 0.0 && sum < 20.0);
	harness_close(&h);
}

/* A stranger can't make series: unknown paths, methods and ids share one each. */
static void series_are_bounded(void)
{
	struct harness h;
	char path[64], method[64];
	struct buf text;
	size_t lines[2] = {0};

	harness_open(&h);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 50; i++) {
			snprintf(path, sizeof(path), "/nope-%d-%d", round, i);
			snprintf(method, sizeof(method), "M%d%d", round, i);
			ASK(&h, .path = path, .method = method);
			snprintf(path, sizeof(path), "/predictions/%d-%d", round, i);
			GET(&h, path);
		}
		buf_init_heap(&text);
		metrics_render(h.app.shm, &text);
		for (size_t i = 0; i < text.n; i++)
			lines[round] += text.p[i] == '\n';
		buf_release(&text);
	}
	CU_ASSERT_EQUAL(lines[0], lines[1]);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_metrics_series_dropped_total"), 0.0);
	harness_close(&h);
}

/* Every status that a handler may give has a series of its own. */
static void statuses_are_told_apart(void)
{
	struct harness h;

	harness_init(&h);
	h.config.max_body_bytes = 20;
	h.deadline_ms = 50;
	harness_start(&h);
	PREDICT(&h, "{\"features\":[1,2,3,4,5,6,7]}");
	ASK(&h, .path = "/api/v1/predict", .body = "x", .type = "text/plain", .key = HARNESS_KEY);
	harness_hold_turn(&h, true);
	PREDICT(&h, "{\"features\":[1]}");
	harness_hold_turn(&h, false);
	CU_ASSERT_EQUAL(harness_metric(&h, REQUESTS("POST", "/predict", "413")), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, REQUESTS("POST", "/api/v1/predict", "415")), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, REQUESTS("POST", "/predict", "503")), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"too_large\"}"), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"media_type\"}"), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"store\"}"), 1.0);
	harness_close(&h);
}

/* Counters are the service's: a worker that ends takes nothing with it. */
static void counters_outlive_a_worker(void)
{
	struct harness h;
	struct err err;

	harness_open(&h);
	GET(&h, "/version");
	CU_ASSERT_EQUAL(harness_metric(&h, REQUESTS("GET", "/version", "200")), 1.0);
	shm_close(h.app.shm);
	CU_ASSERT_EQUAL_FATAL(shm_open_dir(&h.app.shm, h.config.run_dir, &err), STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(shm_claim_slot(h.app.shm, "t", &err), STATUS_OK);
	CU_ASSERT_EQUAL(harness_metric(&h, REQUESTS("GET", "/version", "200")), 1.0);
	GET(&h, "/version");
	CU_ASSERT_EQUAL(harness_metric(&h, REQUESTS("GET", "/version", "200")), 2.0);
	/* The store still has the old handle: it is not used again. */
	harness_close(&h);
}

static void a_request_is_logged(void)
{
	static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
	struct harness h;
	char text[200];

	harness_open(&h);
	struct exchange *x = ASK(&h, .path = "/predictions/x\"y", .client = "198.51.100.9",
				 .params = {"HTTP_TRACEPARENT", trace});
	snprintf(text, sizeof(text), "\"request_id\":\"%s\"", x->edge_id);
	CU_ASSERT_TRUE(harness_logged(&h, text));
	static const char *const wanted[] = {
		"\"level\":\"INFO\",\"logger\":\"appcore\",\"message\":\"GET /predictions/x\\\"y \u2192 404 (",
		"\"method\":\"GET\",\"path\":\"/predictions/x\\\"y\",\"status_code\":404,\"duration_ms\":",
		"\"client\":\"198.51.100.9\"",
		"\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"",
	};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		CU_ASSERT_TRUE(harness_logged(&h, wanted[i]));
	harness_close(&h);
}

static void trace_parents_are_checked(void)
{
	static const struct {
		const char *text, *id;
	} cases[] = {
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "4bf92f3577b34da6a3ce929d0e0e4736"},
		{"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", "4bf92f3577b34da6a3ce929d0e0e4736"},
		{"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ""},
		{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", ""},
		{"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", ""},
		{"0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", ""},
		{"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", ""},
		{"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more", ""},
		{"", ""},
		{"00", ""},
	};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ASK(&h, .path = "/version", .params = {"HTTP_TRACEPARENT", cases[i].text});
		SAME(x->req.trace_id, cases[i].id);
		ANSWERS(x, 200, NULL);
	}
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"requests are counted", requests_are_counted},
	{"buckets grow to the count", buckets_grow_to_the_count},
	{"series are bounded", series_are_bounded},
	{"statuses are told apart", statuses_are_told_apart},
	{"counters outlive a worker", counters_outlive_a_worker},
	{"a request is logged", a_request_is_logged},
	{"trace parents are checked", trace_parents_are_checked},
};

int main(void)
{
	return UNIT_RUN("metrics", CASES);
}
