/* GET /health, /livez, /readyz. */
#include "harness.h"

#include "base/clock.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Puts fixed text in the place of what differs each time: the timestamp (checked) and the uptime (checked). */
static const char *settled(const struct exchange *x)
{
	static char out[1024];
	const char *body = answer_body(x), *stamp = strstr(body, "\"timestamp\":\""), *up = strstr(body, "\"uptime_");
	int64_t at = 0;
	char iso[CLOCK_ISO_BYTES];

	if (!stamp || !up || strlen(stamp) < 46)
		return body;
	stamp += 13;
	up = strchr(up, ':') + 1;
	/* The one form that is written: 26 places, "+00:00". */
	CU_ASSERT_TRUE(clock_parse_iso((struct str){stamp, CLOCK_ISO_BYTES - 1}, &at));
	CU_ASSERT_TRUE(llabs(clock_wall_us() - at) < 60 * INT64_C(1000000));
	clock_format_iso(at, iso);
	CU_ASSERT_EQUAL(memcmp(iso, stamp, CLOCK_ISO_BYTES - 1), 0);
	char *end;
	double uptime = strtod(up, &end);
	CU_ASSERT_TRUE(end > up && uptime >= 0.0 && uptime < 600.0);
	const char *dot = memchr(up, '.', (size_t)(end - up));
	CU_ASSERT_TRUE(dot && end - dot >= 2 && end - dot <= 3);
	snprintf(out, sizeof(out), "%.*sNOW%.*sUP%s", (int)(stamp - body), body,
		 (int)(up - (stamp + CLOCK_ISO_BYTES - 1)), stamp + CLOCK_ISO_BYTES - 1, end);
	return out;
}

static const char HEALTHY[] = "{\"status\":\"healthy\",\"api\":\"ok\",\"database\":\"ok\",\"redis\":\"ok\","
			      "\"timestamp\":\"NOW\",\"checks\":{\"model_loaded\":true,\"uptime_seconds\":UP,"
			      "\"database\":true}}";

static void is_healthy(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = GET(&h, "/health");
	ANSWERS(x, 200, NULL);
	SAME(settled(x), HEALTHY);
	HEADER_IS(x, "Content-Type", "application/json");
	HEADER_IS(x, "Retry-After", "");
	CU_ASSERT_EQUAL(harness_metric(&h, "app_health_status"), 1.0);
	x = GET(&h, "/api/v1/health");
	ANSWERS(x, 200, NULL);
	SAME(settled(x), HEALTHY);
	harness_close(&h);
}

/* A start just now is no failure, and a restart of a worker does not set the service's uptime back. */
static void uptime_is_the_services(void)
{
	struct harness h;
	struct err err;

	harness_open(&h);
	int64_t start_us = shm_service_start_us(h.app.shm);
	CU_ASSERT_TRUE(start_us > 0);
	usleep(30 * 1000);
	ANSWERS(GET(&h, "/health"), 200, NULL);
	struct shm *other;
	CU_ASSERT_EQUAL_FATAL(shm_open_dir(&other, h.config.run_dir, &err), STATUS_OK);
	CU_ASSERT_EQUAL(shm_claim_slot(other, "u", &err), STATUS_OK);
	CU_ASSERT_EQUAL(shm_service_start_us(other), start_us);
	shm_close(other);
	harness_close(&h);
}

static void a_sick_model_is_told(void)
{
	struct harness h;

	harness_init(&h);
	h.model = harness_model_sick();
	harness_start(&h);
	struct exchange *x = GET(&h, "/health");
	ANSWERS(x, 503, NULL);
	SAME(settled(x), "{\"detail\":{\"status\":\"unhealthy\",\"api\":\"ok\",\"database\":\"ok\",\"redis\":\"ok\","
			 "\"timestamp\":\"NOW\",\"checks\":{\"model_loaded\":false,\"uptime_seconds\":UP,"
			 "\"database\":true}}}");
	CU_ASSERT_EQUAL(harness_metric(&h, "app_health_status"), 0.0);
	ANSWERS(GET(&h, "/readyz"), 503, "{\"status\":\"not ready\"}");
	ANSWERS(GET(&h, "/livez"), 200, "{\"status\":\"alive\"}");
	harness_close(&h);
}

/* SQLite is asked at once, PostgreSQL by the tick. */
static void await_ready(struct harness *h, int status)
{
	uint64_t end_ms = clock_mono_ms() + 30000; /* a lost server is tried once a second */

	while (GET(h, "/readyz")->status != status && clock_mono_ms() < end_ms)
		harness_tick(h);
}

/* The database is gone under the service: liveness does not care, readiness and health do. */
static void a_lost_database_is_told(void)
{
	struct harness h;

	harness_open(&h);
	ANSWERS(GET(&h, "/readyz"), 200, "{\"status\":\"ready\"}");
	database_lose(h.database, true);
	await_ready(&h, 503);
	struct exchange *x = GET(&h, "/health");
	ANSWERS(x, 503, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "{\"detail\":{\"status\":\"unhealthy\",\"api\":\"ok\","
						      "\"database\":\"error: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"model_loaded\":true,"));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"database\":false}}}"));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), h.dir)); /* no paths for strangers */
	ANSWERS(GET(&h, "/readyz"), 503, "{\"status\":\"not ready\"}");
	ANSWERS(GET(&h, "/livez"), 200, "{\"status\":\"alive\"}");
	CU_ASSERT_EQUAL(harness_metric(&h, "app_health_status"), 0.0);
	database_lose(h.database, false);
	await_ready(&h, 200);
	ANSWERS(GET(&h, "/health"), 200, NULL);
	CU_ASSERT_EQUAL(harness_metric(&h, "app_health_status"), 1.0);
	harness_close(&h);
}

static void a_draining_worker_is_not_ready(void)
{
	struct harness h;

	harness_open(&h);
	h.app.draining = true;
	ANSWERS(GET(&h, "/readyz"), 503, "{\"status\":\"not ready\"}");
	ANSWERS(GET(&h, "/api/v1/readyz"), 503, "{\"status\":\"not ready\"}");
	ANSWERS(GET(&h, "/livez"), 200, "{\"status\":\"alive\"}");
	ANSWERS(GET(&h, "/health"), 200, NULL);
	harness_close(&h);
}

#ifdef APPCORE_FAULTS
static void the_switch_of_test_builds_works(void)
{
	struct harness h;

	harness_open(&h);
	setenv("APPCORE_FAULT_UNHEALTHY", "1", 1);
	ANSWERS(GET(&h, "/health"), 503, NULL);
	unsetenv("APPCORE_FAULT_UNHEALTHY");
	ANSWERS(GET(&h, "/health"), 200, NULL);
	harness_close(&h);
}
#endif

static const struct unit_case CASES[] = {
	{"is healthy", is_healthy},
	{"uptime is the service's", uptime_is_the_services},
	{"a sick model is told", a_sick_model_is_told},
	{"a lost database is told", a_lost_database_is_told},
	{"a draining worker is not ready", a_draining_worker_is_not_ready},
#ifdef APPCORE_FAULTS
	{"the switch of test builds works", the_switch_of_test_builds_works},
#endif
};

int main(void)
{
	return UNIT_RUN("health", CASES);
}
