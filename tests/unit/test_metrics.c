/* Metrics: the text to the letter, sums over slots and versions, files that lie, workers that die. */
#include "unit.h"

#include "base/clock.h"
#include "shared/shm_impl.h"

#include <fcntl.h>
#include <pthread.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *fresh_dir(void)
{
	static char dir[256];

	snprintf(dir, sizeof(dir), "%s/run-XXXXXX", unit_temp_dir());
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	return dir;
}

static struct shm *open_claimed(const char *dir, uint64_t salt, const char *instance)
{
	struct shm *shm;

	CU_ASSERT_FATAL(shm_open_salted(&shm, dir, salt, NULL) == STATUS_OK);
	CU_ASSERT_FATAL(shm_claim_slot(shm, instance, NULL) == STATUS_OK);
	return shm;
}

/* The exposition as a string; caller frees. */
static char *render(struct shm *shm)
{
	struct buf out;

	buf_init_heap(&out);
	metrics_render(shm, &out);
	buf_char(&out, '\0');
	CU_ASSERT_FALSE_FATAL(out.failed);
	return out.p;
}

/* The exposition has `block` at the start of a line. */
static bool shows(const char *text, const char *block)
{
	const char *at = strstr(text, block);

	while (at && at != text && at[-1] != '\n')
		at = strstr(at + 1, block);
	return at != NULL;
}

/* Renders and looks; prints what there was instead. */
static bool rendered(struct shm *shm, const char *block)
{
	char *text = render(shm);
	bool found = shows(text, block);

	if (!found)
		fprintf(stderr, "not found:\n%s\nin:\n%s\n", block, text);
	free(text);
	return found;
}

static bool not_rendered(struct shm *shm, const char *block)
{
	char *text = render(shm);
	bool found = shows(text, block);

	free(text);
	return !found;
}

static metrics_series find1(struct shm *shm, enum metrics_family family, const char *name, const char *value)
{
	struct metrics_label label = {name, str_of(value)};

	return metrics_find(shm, family, &label, 1);
}

static metrics_series find_request(struct shm *shm, const char *method, const char *endpoint, const char *code)
{
	const struct metrics_label labels[] = {
		{"method", str_of(method)}, {"endpoint", str_of(endpoint)}, {"status_code", str_of(code)}};

	return metrics_find(shm, METRICS_HTTP_REQUESTS, labels, code ? 3 : 2);
}

static metrics_series find_duration(struct shm *shm, const char *method, const char *endpoint)
{
	const struct metrics_label labels[] = {{"method", str_of(method)}, {"endpoint", str_of(endpoint)}};

	return metrics_find(shm, METRICS_HTTP_DURATION, labels, 2);
}

/* --- text --- */

static void test_fresh(void)
{
	static const char *const SHOWN[] = {
		"# HELP http_requests_total Total HTTP requests\n# TYPE http_requests_total counter\n# HELP",
		"# HELP http_request_duration_seconds HTTP request duration in seconds\n"
		"# TYPE http_request_duration_seconds histogram\n# HELP",
		"# HELP predictions_total Total predictions made\n# TYPE predictions_total counter\n# HELP",
		"# HELP prediction_duration_seconds Prediction inference duration\n"
		"# TYPE prediction_duration_seconds histogram\n# HELP",
		"# HELP app_health_status Application health (1=healthy, 0=unhealthy)\n"
		"# TYPE app_health_status gauge\napp_health_status 0.0\n",
		"# HELP app_info Application metadata\n# TYPE app_info gauge\napp_info{version=\"0.1.0\"} 1.0\n",
		"appcore_metrics_rendered_timestamp_seconds 1",
		"appcore_metrics_series_dropped_total 0.0\n",
		"appcore_service_start_time_seconds 1",
		"appcore_workers 1.0\n",
		"appcore_worker_start_time_seconds{instance=\"a\"} 1",
		"appcore_repeated_writes_total 0.0\n",
		"appcore_commit_batch_size_bucket{le=\"512.0\"} 0.0\n"
		"appcore_commit_batch_size_bucket{le=\"+Inf\"} 0.0\n"
		"appcore_commit_batch_size_count 0.0\nappcore_commit_batch_size_sum 0.0\n",
		"appcore_commit_duration_seconds_bucket{le=\"0.0001\"} 0.0\n",
		"appcore_limit_skipped_total 0.0\n",
	};
	struct shm *shm = open_claimed(fresh_dir(), 0, "a");

	CU_ASSERT(find_request(shm, "GET", "/unused", "200") >= 0); /* found ahead of its use: no sample */
	char *text = render(shm);
	for (size_t i = 0; i < COUNT(SHOWN); i++) {
		CU_ASSERT(shows(text, SHOWN[i]));
		if (!shows(text, SHOWN[i]))
			fprintf(stderr, "not found: %s\n", SHOWN[i]);
	}
	CU_ASSERT_FALSE(shows(text, "http_requests_total{"));
	CU_ASSERT_FALSE(shows(text, "appcore_sqlite_wal_bytes "));
	for (int i = 0; i < METRICS__MAX; i++) {
		char line[512];
		snprintf(line, sizeof(line), "# HELP %s %s\n# TYPE %s ", metrics_families[i].name,
			 metrics_families[i].help, metrics_families[i].name);
		CU_ASSERT(metrics_families[i].help[0] != '\0' && shows(text, line));
	}
	free(text);
	shm_close(shm);
}

/* What is told of a series is what all slots have added to it. */
static void test_counts(void)
{
	const char *dir = fresh_dir();
	struct shm *one = open_claimed(dir, 0, "a"), *two = open_claimed(dir, 0, "b");
	double sum = 1;

	metrics_add(one, find_request(one, "GET", "/health", "200"), 3);
	metrics_add(two, find_request(two, "GET", "/health", "200"), 4);
	CU_ASSERT_EQUAL(metrics_count(one, find_request(one, "GET", "/health", "200"), &sum), 7);
	CU_ASSERT_EQUAL(sum, 0);
	metrics_observe(one, find_duration(one, "GET", "/health"), 0.25);
	metrics_observe(two, find_duration(two, "GET", "/health"), 100);
	CU_ASSERT_EQUAL(metrics_count(two, find_duration(two, "GET", "/health"), &sum), 2);
	CU_ASSERT_EQUAL(sum, 100.25);
	CU_ASSERT_EQUAL(metrics_count(two, METRICS_NONE, &sum), 0);
	CU_ASSERT_EQUAL(sum, 0);
	shm_close(two);
	CU_ASSERT_EQUAL(metrics_count(one, find_duration(one, "GET", "/health"), &sum), 2); /* it has ended */
	shm_close(one);
}

static void test_golden(void)
{
	struct shm *shm = open_claimed(fresh_dir(), 0, "a");
	metrics_series requests = find_request(shm, "GET", "/health", "200");
	metrics_series duration = find_duration(shm, "GET", "/health");

	metrics_add(shm, requests, 100);
	metrics_add(shm, requests, 1);
	metrics_add(shm, find_request(shm, "POST", "/predict", "422"), 1);
	static const double SECONDS[] = {0.001, 0.005, 0.0051, 1.0, 7, 11};
	for (size_t i = 0; i < COUNT(SECONDS); i++)
		metrics_observe(shm, duration, SECONDS[i]);
	metrics_observe(shm, duration, NAN);
	CU_ASSERT(rendered(shm, "# TYPE http_requests_total counter\n"
				"http_requests_total{method=\"GET\",endpoint=\"/health\",status_code=\"200\"} 101.0\n"
				"http_requests_total{method=\"POST\",endpoint=\"/predict\",status_code=\"422\"} 1.0\n"
				"# HELP "));
#define BUCKET(le, n) "http_request_duration_seconds_bucket{method=\"GET\",endpoint=\"/health\",le=\"" le "\"} " n "\n"
	CU_ASSERT(rendered(
		shm,
		"# TYPE http_request_duration_seconds histogram\n" BUCKET("0.005", "2.0") BUCKET("0.01", "3.0") BUCKET(
			"0.025", "3.0") BUCKET("0.05", "3.0") BUCKET("0.1", "3.0") BUCKET("0.25", "3.0") BUCKET("0.5",
														"3.0")
			BUCKET("1.0", "4.0") BUCKET("2.5", "4.0") BUCKET("5.0", "4.0") BUCKET("10.0", "5.0") BUCKET(
				"+Inf",
				"6.0") "http_request_duration_seconds_count{method=\"GET\",endpoint=\"/health\"} 6.0\n"
				       "http_request_duration_seconds_sum{method=\"GET\",endpoint=\"/health\"} "
				       "19.0111\n"
				       "# HELP "));
	metrics_series batch = metrics_find(shm, METRICS_COMMIT_BATCH, NULL, 0);
	metrics_observe(shm, batch, 3);
	metrics_observe(shm, batch, 600);
	CU_ASSERT(rendered(shm, "appcore_commit_batch_size_bucket{le=\"2.0\"} 0.0\n"
				"appcore_commit_batch_size_bucket{le=\"4.0\"} 1.0\n"));
	CU_ASSERT(rendered(shm,
			   "appcore_commit_batch_size_bucket{le=\"+Inf\"} 2.0\nappcore_commit_batch_size_count 2.0\n"
			   "appcore_commit_batch_size_sum 603.0\n"));
	/* Odd durations count, and spoil nothing. */
	metrics_series turn = metrics_find(shm, METRICS_TURN_WAIT, NULL, 0);
	metrics_observe(shm, turn, -1);
	metrics_observe(shm, turn, INFINITY);
	metrics_observe(shm, turn, 0.25e-9);
	CU_ASSERT(rendered(shm, "appcore_write_turn_wait_seconds_count 3.0\n"
				"appcore_write_turn_wait_seconds_sum 1000000000.0\n"));
	shm_close(shm);
}

static void test_gauge_values(void)
{
	static const struct {
		double value;
		const char *text;
	} CASES[] = {
		{0, "0.0"},   {1, "1.0"},         {-2.5, "-2.5"},      {0.1, "0.1"}, {104857600, "104857600.0"},
		{NAN, "NaN"}, {INFINITY, "+Inf"}, {-INFINITY, "-Inf"},
	};
	struct shm *shm = open_claimed(fresh_dir(), 0, "a");
	metrics_series wal = metrics_find(shm, METRICS_WAL_BYTES, NULL, 0);

	for (size_t i = 0; i < COUNT(CASES); i++) {
		char line[64];
		snprintf(line, sizeof(line), "appcore_sqlite_wal_bytes %s\n", CASES[i].text);
		metrics_set(shm, wal, CASES[i].value);
		CU_ASSERT(rendered(shm, line));
	}
	shm_close(shm);
}

static void test_label_values(void)
{
	static const struct {
		const char *value, *text;
	} CASES[] = {
		{"", ""},
		{"a\"b\\c\nd", "a\\\"b\\\\c\\nd"},
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"bad\xff\xfe", "bad??"},
		{"tab\tbell\a", "tab?bell?"},
		{"0123456789012345678901234567890123456789012345678901234567890123tail",
		 "0123456789012345678901234567890123456789012345678901234567890123"},
		{"012345678901234567890123456789012345678901234567890123456789012\xc3\xbc",
		 "012345678901234567890123456789012345678901234567890123456789012"}, /* no half character */
	};
	struct shm *shm = open_claimed(fresh_dir(), 0, "a");

	for (size_t i = 0; i < COUNT(CASES); i++) {
		char line[256];
		metrics_series series = find1(shm, METRICS_REJECTED, "reason", CASES[i].value);
		CU_ASSERT_EQUAL(series, find1(shm, METRICS_REJECTED, "reason", CASES[i].value));
		metrics_add(shm, series, i + 1);
		snprintf(line, sizeof(line), "appcore_requests_rejected_total{reason=\"%s\"} %zu.0\n", CASES[i].text,
			 i + 1);
		CU_ASSERT(rendered(shm, line));
	}
	shm_close(shm);
}

/* --- bounds --- */

static void test_room(void)
{
	struct shm *shm = open_claimed(fresh_dir(), 0, "a"), *other;
	struct metrics_label labels[9];
	char value[16];
	int made = 0;

	for (int i = 0; i < 9; i++)
		labels[i] = (struct metrics_label){
			"x", STR("\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n")};
	CU_ASSERT_EQUAL(metrics_find(shm, METRICS_REJECTED, labels, 9), METRICS_NONE);
	CU_ASSERT_EQUAL(metrics_find(shm, METRICS_REJECTED, labels, 8), METRICS_NONE); /* too long a text */
	CU_ASSERT_EQUAL(metrics_find(shm, METRICS_APP_INFO, NULL, 0), METRICS_NONE);   /* computed */
	metrics_add(shm, METRICS_NONE, 1);
	metrics_set(shm, METRICS_NONE, 1);
	metrics_observe(shm, METRICS_NONE, 1);
	/* Histograms of 13 cells: the cells run out first. */
	for (int i = 0; i < METRICS_SERIES; i++) {
		snprintf(value, sizeof(value), "/%d", i);
		made += find_duration(shm, "GET", value) >= 0;
	}
	CU_ASSERT_EQUAL(made, METRICS_CELLS / 13);
	/* Counters fill the rest: fewer than 13 cells. */
	for (int i = 0; i < 100; i++) {
		snprintf(value, sizeof(value), "/%d", i);
		made += find_request(shm, "GET", value, "200") >= 0;
	}
	CU_ASSERT_EQUAL(made, METRICS_CELLS / 13 + METRICS_CELLS % 13);
	CU_ASSERT(find_duration(shm, "GET", "/7") >= 0);
	char line[80];
	snprintf(line, sizeof(line), "appcore_metrics_series_dropped_total %d.0\n",
		 3 + METRICS_SERIES + 100 - METRICS_CELLS / 13 - METRICS_CELLS % 13);
	CU_ASSERT(rendered(shm, line));
	/* Without a slot there is nothing to add to. */
	CU_ASSERT_FATAL(shm_open_dir(&other, shm->dir, NULL) == STATUS_OK);
	CU_ASSERT_EQUAL(find_duration(other, "GET", "/7"), METRICS_NONE);
	shm_close(other);
	shm_close(shm);
}

static void test_number_of_series(void)
{
	struct shm *shm = open_claimed(fresh_dir(), 0, "a");
	char value[16];
	int made = 0;

	for (int i = 0; i < METRICS_SERIES + 10; i++) {
		snprintf(value, sizeof(value), "/%d", i);
		metrics_series series = find_request(shm, "GET", value, "200");
		made += series >= 0;
		metrics_add(shm, series, 1);
	}
	CU_ASSERT_EQUAL(made, METRICS_SERIES);
	CU_ASSERT(rendered(shm,
			   "http_requests_total{method=\"GET\",endpoint=\"/2047\",status_code=\"200\"} 1.0\n# HELP"));
	CU_ASSERT(rendered(shm, "appcore_metrics_series_dropped_total 10.0\n"));
	shm_close(shm);
}

static void test_changes(void)
{
	struct shm *shm = open_claimed(fresh_dir(), 0, "a");
	metrics_series counter = metrics_find(shm, METRICS_REPEATED_WRITES, NULL, 0);
	metrics_series gauge = metrics_find(shm, METRICS_WAL_BYTES, NULL, 0);
	metrics_series health = metrics_find(shm, METRICS_HEALTH, NULL, 0);
	uint64_t before = metrics_changes(shm);

	metrics_add(shm, counter, 5);
	CU_ASSERT_EQUAL(metrics_changes(shm), ++before);
	metrics_set(shm, gauge, 1);
	metrics_set(shm, health, 1);
	CU_ASSERT_EQUAL(metrics_changes(shm), before += 2);
	metrics_set(shm, gauge, 1); /* as it was */
	metrics_set(shm, health, 1);
	CU_ASSERT_EQUAL(metrics_changes(shm), before);
	struct shm *other = open_claimed(shm->dir, 0, "b");
	before = metrics_changes(shm);
	metrics_observe(other, metrics_find(other, METRICS_COMMIT_BATCH, NULL, 0), 1);
	metrics_set(other, metrics_find(other, METRICS_HEALTH, NULL, 0), 1); /* as another worker had it */
	CU_ASSERT_EQUAL(metrics_changes(shm), before + 1);
	shm_close(other);
	CU_ASSERT(metrics_changes(shm) >= before + 1);
	shm_close(shm);
}

/* --- workers --- */

static void test_sums_and_lives(void)
{
	const char *dir = fresh_dir();
	struct shm *a = open_claimed(dir, 0, "a"), *b = open_claimed(dir, 0, "b");

	metrics_add(a, metrics_find(a, METRICS_REPEATED_WRITES, NULL, 0), 10);
	metrics_add(b, metrics_find(b, METRICS_REPEATED_WRITES, NULL, 0), 5);
	metrics_set(a, find1(a, METRICS_WORKER_OPEN_FDS, "instance", "a"), 7);
	metrics_set(b, find1(b, METRICS_WORKER_OPEN_FDS, "instance", "b"), 8);
	metrics_set(a, metrics_find(a, METRICS_WAL_BYTES, NULL, 0), 900);
	usleep(1000);
	metrics_set(b, metrics_find(b, METRICS_WAL_BYTES, NULL, 0), 100);
	metrics_set(b, metrics_find(b, METRICS_HEALTH, NULL, 0), 1);
	CU_ASSERT(rendered(a, "appcore_sqlite_wal_bytes 100.0\n")); /* not 1000: the one set last */
	usleep(1000);
	metrics_set(a, metrics_find(a, METRICS_WAL_BYTES, NULL, 0), 900);
	CU_ASSERT(rendered(a, "appcore_repeated_writes_total 15.0\n"));
	CU_ASSERT(rendered(
		a, "appcore_worker_open_fds{instance=\"a\"} 7.0\nappcore_worker_open_fds{instance=\"b\"} 8.0\n"));
	CU_ASSERT(rendered(a, "appcore_sqlite_wal_bytes 900.0\n"));
	CU_ASSERT(rendered(a, "appcore_workers 2.0\n"));
	shm_close(b);
	CU_ASSERT(rendered(a, "appcore_repeated_writes_total 15.0\n"));
	CU_ASSERT(rendered(a, "appcore_worker_open_fds{instance=\"a\"} 7.0\n# HELP"));
	CU_ASSERT(rendered(a, "appcore_sqlite_wal_bytes 900.0\n"));
	CU_ASSERT(rendered(a, "app_health_status 1.0\n"));
	CU_ASSERT(rendered(a, "appcore_workers 1.0\n"));
	b = open_claimed(dir, 0,
			 "b"); /* the same slot, another generation: counters go on, gauges are not the old ones */
	CU_ASSERT(not_rendered(a, "appcore_worker_open_fds{instance=\"b\"}"));
	metrics_add(b, metrics_find(b, METRICS_REPEATED_WRITES, NULL, 0), 1);
	CU_ASSERT(rendered(a, "appcore_repeated_writes_total 16.0\n"));
	/* Two live workers of one name are one series. */
	struct shm *again = open_claimed(dir, 0, "b");
	char *text = render(a);
	char *first = strstr(text, "\nappcore_worker_start_time_seconds{instance=\"b\"}");
	CU_ASSERT(first && !strstr(first + 1, "\nappcore_worker_start_time_seconds{instance=\"b\"}"));
	free(text);
	shm_close(again);
	shm_close(a);
	shm_close(b);
}

static void add_for_ever(const char *dir, int i)
{
	struct shm *shm;
	char name[16];

	snprintf(name, sizeof(name), "%d", i);
	if (shm_open_dir(&shm, dir, NULL) != STATUS_OK || shm_claim_slot(shm, name, NULL) != STATUS_OK)
		_exit(1);
	for (unsigned n = 0;; n++) {
		snprintf(name, sizeof(name), "/%u", n % 997);
		metrics_add(shm, find_request(shm, "GET", name, "200"), 1);
		metrics_add(shm, metrics_find(shm, METRICS_REPEATED_WRITES, NULL, 0), 1);
		metrics_observe(shm, metrics_find(shm, METRICS_COMMIT_DURATION, NULL, 0), n % 7 / 1000.0);
	}
}

static double value_of(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtod(at + strlen(name), NULL) : -1;
}

/* Every line of a family appears once, and a histogram's +Inf equals its count. */
static bool is_coherent(const char *text)
{
	const char *inf = "\nappcore_commit_duration_seconds_bucket{le=\"+Inf\"} ";
	const char *count = "\nappcore_commit_duration_seconds_count ";
	int seen[997] = {0};

	for (const char *at = text; (at = strstr(at, "\nhttp_requests_total{")) != NULL; at++) {
		unsigned n;
		if (sscanf(at, "\nhttp_requests_total{method=\"GET\",endpoint=\"/%u\"", &n) != 1 || n >= 997 ||
		    seen[n]++)
			return false;
	}
	return value_of(text, inf) == value_of(text, count);
}

/* Workers that make series and add to them are killed at any instant: no counter ever goes back. */
static void test_killed_workers(void)
{
	enum { WORKERS = 3, KILLS = 40 };
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, 0, "me");
	pid_t pids[WORKERS] = {0};
	double last = 0;
	bool coherent = true, grows = true;

	for (int i = 0; i < KILLS + WORKERS; i++) {
		pid_t *pid = &pids[i % WORKERS];
		if (*pid) {
			usleep(2000 + (useconds_t)(i * 977 % 3000));
			kill(*pid, SIGKILL);
			waitpid(*pid, NULL, 0);
		}
		*pid = fork();
		if (*pid == 0)
			add_for_ever(dir, i % WORKERS);
		char *text = render(me);
		double now = value_of(text, "\nappcore_repeated_writes_total ");
		grows = grows && now >= last;
		coherent = coherent && is_coherent(text);
		last = now;
		free(text);
	}
	for (int i = 0; i < 30000 && last <= 0; i++) { /* none of them may have run yet */
		char *text = render(me);
		last = value_of(text, "\nappcore_repeated_writes_total ");
		free(text);
		usleep(1000);
	}
	for (int i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	CU_ASSERT(grows && coherent && last > 0);
	shm_close(me);
}

struct adder {
	struct shm *shm;
	metrics_series counter, histogram;
};

static void *add_some(void *arg)
{
	struct adder *adder = arg;

	for (int i = 0; i < 20000; i++) {
		metrics_add(adder->shm, adder->counter, 1);
		metrics_observe(adder->shm, adder->histogram, 0.001);
		metrics_add(adder->shm, find1(adder->shm, METRICS_REJECTED, "reason", i % 2 ? "x" : "y"), 1);
	}
	return NULL;
}

static void test_threads(void)
{
	struct shm *shm = open_claimed(fresh_dir(), 0, "a");
	struct adder adder = {shm, metrics_find(shm, METRICS_REPEATED_WRITES, NULL, 0),
			      metrics_find(shm, METRICS_COMMIT_DURATION, NULL, 0)};
	pthread_t threads[3];

	for (size_t i = 0; i < COUNT(threads); i++)
		CU_ASSERT_FATAL(pthread_create(&threads[i], NULL, add_some, &adder) == 0);
	for (int i = 0; i < 20; i++)
		CU_ASSERT(rendered(shm, "appcore_workers 1.0\n"));
	for (size_t i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT(rendered(shm, "appcore_repeated_writes_total 60000.0\n"));
	CU_ASSERT(rendered(
		shm, "appcore_commit_duration_seconds_count 60000.0\nappcore_commit_duration_seconds_sum 60.0\n"));
	CU_ASSERT(rendered(shm, "appcore_requests_rejected_total{reason=\"x\"} 30000.0\n") ||
		  rendered(shm, "appcore_requests_rejected_total{reason=\"y\"} 30000.0\n"));
	shm_close(shm);
}

/* --- versions --- */

static void test_versions(void)
{
	const char *dir = fresh_dir();
	struct shm *old = open_claimed(dir, 1, "1"), *now = open_claimed(dir, 0, "2");

	(void)find1(now, METRICS_REJECTED, "reason", "only new"); /* places differ from the old version's */
	metrics_add(old, metrics_find(old, METRICS_REPEATED_WRITES, NULL, 0), 100);
	metrics_add(now, metrics_find(now, METRICS_REPEATED_WRITES, NULL, 0), 1);
	metrics_add(old, find1(old, METRICS_REJECTED, "reason", "only old"), 3);
	metrics_observe(old, metrics_find(old, METRICS_COMMIT_BATCH, NULL, 0), 4);
	metrics_observe(now, metrics_find(now, METRICS_COMMIT_BATCH, NULL, 0), 5);
	metrics_set(old, metrics_find(old, METRICS_HEALTH, NULL, 0), 1);
	metrics_set(old, find1(old, METRICS_WORKER_OPEN_FDS, "instance", "1"), 11);
	atomic_store(&old->seg->totals.limit_skipped, 4);
	CU_ASSERT(rendered(now, "appcore_repeated_writes_total 101.0\n"));
	CU_ASSERT(rendered(old, "appcore_repeated_writes_total 101.0\n"));
	CU_ASSERT(rendered(now, "appcore_requests_rejected_total{reason=\"only old\"} 3.0\n"));
	CU_ASSERT(rendered(now, "appcore_commit_batch_size_count 2.0\nappcore_commit_batch_size_sum 9.0\n"));
	CU_ASSERT(rendered(now, "app_health_status 1.0\n"));
	CU_ASSERT(rendered(now, "appcore_worker_open_fds{instance=\"1\"} 11.0\n"));
	CU_ASSERT(rendered(now, "appcore_workers 2.0\n"));
	CU_ASSERT(rendered(now, "appcore_limit_skipped_total 4.0\n"));
	shm_close(old);
	/* All its workers are gone, and a new start has retired it: counters stay. */
	struct shm *third = open_claimed(dir, 0, "3");
	CU_ASSERT(rendered(now, "appcore_repeated_writes_total 101.0\n"));
	CU_ASSERT(not_rendered(now, "appcore_worker_open_fds{"));
	CU_ASSERT(rendered(now, "appcore_workers 2.0\n"));
	old = open_claimed(dir, 1, "1");
	metrics_add(old, metrics_find(old, METRICS_REPEATED_WRITES, NULL, 0), 1);
	CU_ASSERT(rendered(now, "appcore_repeated_writes_total 102.0\n"));
	shm_close(old);
	shm_close(now);
	shm_close(third);
}

/* A version with a family that this one does not know, one with other buckets, and one with a bad name. */
static void test_other_families(void)
{
	const char *dir = fresh_dir();
	struct shm *now = open_claimed(dir, 0, "1"), *other = open_claimed(dir, 1, "2");

	metrics_add(other, metrics_find(other, METRICS_REPEATED_WRITES, NULL, 0), 5);
	metrics_add(other, metrics_find(other, METRICS_LOG_DROPPED, NULL, 0), 6);
	metrics_observe(other, metrics_find(other, METRICS_COMMIT_BATCH, NULL, 0), 1);
	metrics_observe(now, metrics_find(now, METRICS_COMMIT_BATCH, NULL, 0), 1);
	snprintf(other->seg->families[METRICS_REPEATED_WRITES].name, 64, "appcore_from_the_future_total");
	snprintf(other->seg->families[METRICS_LOG_DROPPED].name, 64, "bad name");
	other->seg->families[METRICS_COMMIT_BATCH].bounds[0] = 0.5;
	CU_ASSERT(rendered(now,
			   "# HELP appcore_from_the_future_total Writes that were stored already, caught by their key\n"
			   "# TYPE appcore_from_the_future_total counter\nappcore_from_the_future_total 5.0\n"));
	CU_ASSERT(rendered(now, "appcore_commit_batch_size_count 1.0\n"));
	CU_ASSERT(not_rendered(now, "bad name"));
	CU_ASSERT(rendered(now, "appcore_log_lines_dropped_total 0.0\n"));
	shm_close(now);
	shm_close(other);
}

/* Labels of another version are printed as they are only when they are labels. */
static void test_other_labels(void)
{
	static const struct {
		const char *text;
		bool shown;
	} CASES[] = {
		{"a=\"b\"", true},
		{"a=\"b\",c_1=\"\\n\\\\\\\"\"", true},
		{"a=\"b\",", false},
		{"a=\"b", false},
		{"a=b", false},
		{"=\"b\"", false},
		{"1=\"b\"", false},
		{"a=\"b\"}", false},
		{"a=\"b\nc\"", false},
		{"a=\"\\x\"", false},
		{"a=\"\xff\"", false},
		{"a=\"\\", false},
		{"a=\"b\";c=\"d\"", false},
	};
	const char *dir = fresh_dir();
	struct shm *now = open_claimed(dir, 0, "1"), *other = open_claimed(dir, 1, "2");
	metrics_series series = find1(other, METRICS_REJECTED, "reason", "x");

	metrics_add(other, series, 1);
	for (size_t i = 0; i < COUNT(CASES); i++) {
		char line[128];
		memcpy(other->seg->texts[series], CASES[i].text, strlen(CASES[i].text));
		other->seg->series[series].text = (uint32_t)strlen(CASES[i].text);
		snprintf(line, sizeof(line), "appcore_requests_rejected_total{%s} 1.0\n", CASES[i].text);
		CU_ASSERT_EQUAL(not_rendered(now, line), !CASES[i].shown);
		CU_ASSERT(CASES[i].shown || not_rendered(now, "appcore_requests_rejected_total{"));
	}
	shm_close(now);
	shm_close(other);
}

/* Copies the segment under another version's name, with `n` bytes at `at` changed. */
static void put_liar(const struct shm *of, const char *name, off_t at, const void *bytes, size_t n, off_t size)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", of->dir, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT(pwrite(fd, of->seg, offsetof(struct shm_segment, cells), 0) > 0);
	CU_ASSERT(ftruncate(fd, size) == 0);
	if (n > 0)
		CU_ASSERT(pwrite(fd, bytes, n, at) == (ssize_t)n);
	close(fd);
}

static bool text_is_clean(const char *text)
{
	for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
		if (!strchr(at, '\n'))
			return false;
		if (strncmp(at, "# ", 2) != 0 && (*at < 'a' || *at > 'z'))
			return false;
	}
	return true;
}

/* Segments that are cut or hold anything at all: rendering neither faults nor prints rubbish. */
static void test_liars(void)
{
	const char *dir = fresh_dir(), *name = "appcore-0123456789abcdef.shm";
	struct shm *shm = open_claimed(dir, 0, "a");
	const size_t parts = offsetof(struct shm_segment, cells), whole = sizeof(struct shm_segment);
	unsigned seed = 3;
	bool clean = true;
	char path[512];

	metrics_add(shm, find1(shm, METRICS_REJECTED, "reason", "x"), 3);
	metrics_observe(shm, find_duration(shm, "GET", "/"), 1);
	put_liar(shm, name, 0, NULL, 0, (off_t)whole);
	CU_ASSERT(rendered(shm, "appcore_workers 2.0\n")); /* taken for what it says it is */
	static const off_t SIZES[] = {0, 8, 100, 4096, sizeof(struct shm_describe), sizeof(struct shm_segment) - 1};
	for (size_t i = 0; i < COUNT(SIZES); i++) {
		put_liar(shm, name, 0, NULL, 0, SIZES[i]);
		CU_ASSERT(rendered(shm, "appcore_workers 1.0\n"));
	}
	put_liar(shm, name, 0, NULL, 0, (off_t)whole);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_RDWR);
	CU_ASSERT_FATAL(fd >= 0);
	for (int i = 0; i < 3000; i++) {
		uint8_t bytes[16], truth[16];
		/* mostly the description, the first families, series and texts */
		size_t area = i % 3 == 0 ? sizeof(struct shm_describe) : i % 3 == 1 ? 40 * 1024 : parts;
		off_t at = (off_t)((size_t)rand_r(&seed) * 31 % (area - sizeof(bytes)));
		if (i % 10 == 0)
			at = (off_t)offsetof(struct shm_segment, series) + rand_r(&seed) % 48;
		if (i % 10 == 1)
			at = (off_t)offsetof(struct shm_segment, texts) + rand_r(&seed) % 12;
		for (size_t b = 0; b < sizeof(bytes); b++)
			bytes[b] = (uint8_t)(rand_r(&seed) >> 7);
		size_t n = 1 + (size_t)rand_r(&seed) % sizeof(bytes);
		CU_ASSERT(pread(fd, truth, n, at) == (ssize_t)n && pwrite(fd, bytes, n, at) == (ssize_t)n);
		char *text = render(shm);
		clean = clean && text_is_clean(text);
		free(text);
		CU_ASSERT(pwrite(fd, truth, n, at) == (ssize_t)n);
	}
	close(fd);
	CU_ASSERT(clean);
	shm_close(shm);
}

/* --- the file --- */

static void test_file(void)
{
	const char *dir = fresh_dir();
	struct shm *shm = open_claimed(dir, 0, "a");
	struct err err = {0};
	char path[512], lock[512], temp[512];
	struct stat st;

	snprintf(path, sizeof(path), "%s/metrics.prom", dir);
	snprintf(temp, sizeof(temp), "%s/metrics.prom.new", dir);
	snprintf(lock, sizeof(lock), "%s/metrics.lock", dir);
	mode_t mask = umask(0077);
	CU_ASSERT_EQUAL(metrics_write_file(shm, path, &err), STATUS_OK);
	umask(mask);
	CU_ASSERT(stat(path, &st) == 0 && (st.st_mode & 0777) == 0644 && st.st_size > 1000);
	CU_ASSERT(stat(temp, &st) != 0);
	int fd = open(lock, O_RDWR);
	CU_ASSERT_FATAL(fd >= 0 && flock(fd, LOCK_EX) == 0);
	CU_ASSERT_EQUAL(metrics_write_file(shm, path, &err), STATUS_BUSY);
	close(fd);
	CU_ASSERT_EQUAL(metrics_write_file(shm, path, &err), STATUS_OK);
	CU_ASSERT_EQUAL(metrics_write_file(shm, "/nonexistent/metrics", &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/metrics"));
	CU_ASSERT_EQUAL(metrics_write_file(shm, "/dev/full/metrics", NULL), STATUS_UNAVAILABLE);
	shm_close(shm);
}

/* What Prometheus itself says of a text with every family in it. */
static void test_promtool(void)
{
	const char *dir = fresh_dir();
	struct shm *shm = open_claimed(dir, 0, "a"), *old = open_claimed(dir, 1, "b");
	char path[512], command[2048];

	if (system("command -v promtool >/dev/null") != 0) {
		fprintf(stderr, "promtool is not installed: its check is left out\n");
		CU_PASS("promtool");
		shm_close(shm);
		shm_close(old);
		return;
	}
	for (int i = 0; i < METRICS__MAX; i++) {
		struct metrics_label label = {"kind", STR("a\"\\\n\xc3\xbc")};
		if (metrics_families[i].flags & METRICS_COMPUTED)
			continue;
		int n = metrics_families[i].flags & METRICS_LABELLED ? 1 : 0;
		metrics_series series = metrics_find(i % 2 ? shm : old, (enum metrics_family)i, &label, n);
		struct shm *to = i % 2 ? shm : old;
		if (metrics_families[i].type == METRICS_COUNTER)
			metrics_add(to, series, 7);
		else if (metrics_families[i].type == METRICS_GAUGE)
			metrics_set(to, series, 1.5);
		else
			metrics_observe(to, series, 0.3);
	}
	snprintf(path, sizeof(path), "%s/metrics.prom", dir);
	CU_ASSERT_EQUAL(metrics_write_file(shm, path, NULL), STATUS_OK);
	snprintf(command, sizeof(command), "promtool check metrics <%s >%s.out 2>&1 && ! test -s %s.out", path, path,
		 path);
	CU_ASSERT_EQUAL(system(command), 0);
	snprintf(command, sizeof(command), "cat %s.out", path);
	CU_ASSERT_EQUAL(system(command), 0);
	shm_close(shm);
	shm_close(old);
}

int main(void)
{
	static const struct unit_case CASES[] = {
		{"a fresh text", test_fresh},
		{"counts of all slots", test_counts},
		{"the text to the letter", test_golden},
		{"values of gauges", test_gauge_values},
		{"values of labels", test_label_values},
		{"room for series", test_room},
		{"the number of series", test_number_of_series},
		{"changes", test_changes},
		{"sums and lives", test_sums_and_lives},
		{"workers that are killed", test_killed_workers},
		{"threads", test_threads},
		{"two versions", test_versions},
		{"families of another version", test_other_families},
		{"labels of another version", test_other_labels},
		{"segments that lie", test_liars},
		{"the file", test_file},
		{"promtool", test_promtool},
	};

	return UNIT_RUN("metrics", CASES);
}
