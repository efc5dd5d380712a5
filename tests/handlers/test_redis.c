/* A worker with Redis, as a client sees it: the same answers as without, whatever becomes of Redis. */
#include "harness.h"

#include "../unit/redis_fake.h"
#include "../unit/redis_server.h"

#include "store/prediction_cache.h"

#include <stdio.h>
#include <stdlib.h>

static const char LIMITED[] = DETAIL("Rate limit exceeded. Try again later.");
static const char BODY[] = "{\"features\":[1]}";
static const char ID[] = "01a1fc63-490e-7339-9d08-e35b1488555e";
static const char OTHER_ID[] = "01a1fc63-490e-7339-9d08-e35b1488555f";

static double limit_ops(struct harness *h, const char *outcome)
{
	char series[128];

	snprintf(series, sizeof(series), "appcore_redis_operations_total{operation=\"limit\",outcome=\"%s\"}", outcome);
	double n = harness_metric(h, series);
	return n < 0 ? 0 : n;
}

/* --- limits --- */

enum { STEPS = 240 };

struct seen {
	int status;
	char remaining[16];
	bool retries;
};

/* One mixed sequence: routes that are there or not, keys that are good, limited, unlimited, wrong or missing. */
static void walk(struct harness *h, struct seen *seen)
{
	char slow[KEY_TEXT_BYTES], free_key[KEY_TEXT_BYTES];
	unsigned seed = 5;

	harness_add_key(h, "slow", 9, 0, slow);
	harness_add_key(h, "free", 0, 0, free_key);
	harness_tick(h);
	const char *const keys[] = {slow, free_key, HARNESS_KEY, "wrong", NULL};
	static const char *const clients[] = {"203.0.113.1", "203.0.113.2", "2001:db8::1"};
	for (int i = 0; i < STEPS; i++) {
		struct ask ask = {.client = clients[rand_r(&seed) % 3], .key = keys[rand_r(&seed) % 5]};
		switch (rand_r(&seed) % 6) {
		case 0:
			ask.path = "/version";
			break;
		case 1:
			ask.path = "/nope";
			break;
		case 2:
			ask.path = "/predict"; /* 405 */
			break;
		case 3:
			ask.path = "/livez";
			break;
		default:
			ask.path = "/predict";
			ask.body = rand_r(&seed) % 4 ? BODY : "{";
			ask.late_body = rand_r(&seed) % 4 == 0;
			break;
		}
		struct exchange *x = harness_ask(h, &ask);
		seen[i].status = x->status;
		snprintf(seen[i].remaining, sizeof(seen[i].remaining), "%s", answer_header(x, "X-RateLimit-Remaining"));
		seen[i].retries = answer_header(x, "Retry-After")[0] != '\0';
	}
}

static void answers_are_the_same_as_without(void)
{
	static struct seen with[STEPS], without[STEPS];
	struct redis_server server;
	int refused = 0, different = 0;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	for (int i = 0; i < 2; i++) {
		struct harness h;
		harness_init(&h);
		h.config.rate_limit_per_minute = 45;
		h.config.key_rate_limit_per_minute = 20;
		h.redis_url = i == 0 ? server.url : NULL;
		harness_start(&h);
		walk(&h, i == 0 ? with : without);
		if (i == 0)
			CU_ASSERT(limit_ops(&h, "ok") > STEPS / 2);
		harness_close(&h);
	}
	for (int i = 0; i < STEPS; i++) {
		different += with[i].status != without[i].status || with[i].retries != without[i].retries ||
			     strcmp(with[i].remaining, without[i].remaining) != 0;
		refused += with[i].status == 429;
	}
	CU_ASSERT_EQUAL(different, 0);
	CU_ASSERT(refused > 20 && refused < STEPS - 20);
	redis_server_kill(&server);
}

/* Many requests at once: each waits for its own answer, and together they get what the limit allows. */
static void many_wait_at_once(void)
{
	enum { N = 150 };
	static struct exchange *x[N];
	struct redis_server server;
	struct harness h;
	int passed = 0, refused = 0;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.config.rate_limit_per_minute = 100;
	h.redis_url = server.url;
	harness_start(&h);
	for (int i = 0; i < N; i++)
		x[i] = harness_send(&h, &(struct ask){.path = "/predict", .body = BODY, .key = HARNESS_KEY});
	for (int i = 0; i < N; i++)
		CU_ASSERT_FALSE(x[i]->done); /* parked: nothing was decided before Redis said so */
	for (int i = 0; i < N; i++) {
		harness_wait(x[i]);
		passed += x[i]->status == 201;
		refused += x[i]->status == 429;
	}
	CU_ASSERT_EQUAL(passed, 100);
	CU_ASSERT_EQUAL(refused, 50);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 100);
	/* One round trip for a crowd of one client's. */
	CU_ASSERT(limit_ops(&h, "ok") <= 3);
	harness_close(&h);
	redis_server_kill(&server);
}

/* What its key refuses is not counted against the address, with Redis or without. */
static void a_refused_request_is_counted_nowhere(void)
{
	struct redis_server server;
	bool redis = redis_server_is_installed();

	if (redis)
		redis_server_start(&server, NULL);
	for (int i = 0; i < (redis ? 2 : 1); i++) {
		struct harness h;
		harness_init(&h);
		h.config.rate_limit_per_minute = 5;
		h.config.key_rate_limit_per_minute = 2;
		h.redis_url = i > 0 ? server.url : NULL;
		harness_start(&h);
		for (int k = 0; k < 6; k++)
			ANSWERS(ASK(&h, .path = "/predict", .body = BODY, .key = HARNESS_KEY), k < 2 ? 201 : 429, NULL);
		HEADER_IS(GET(&h, "/version"), "X-RateLimit-Remaining", "2");
		harness_close(&h);
	}
	if (redis)
		redis_server_kill(&server);
}

/* What a user may on a route, and a key of theirs: asked together, when it is known who they are. */
static void users_are_counted_by_route(void)
{
	static const char path[] = "/api/v1/protected", keys[] = "/api/v1/users/me/keys";
	struct redis_server server;
	bool redis = redis_server_is_installed();

	if (redis)
		redis_server_start(&server, NULL);
	for (int i = 0; i < (redis ? 2 : 1); i++) {
		struct harness_user user, other;
		char key[KEY_TEXT_BYTES];
		struct harness h;
		harness_init(&h);
		h.config.rate_limit_per_minute = 1;
		h.config.user_rate_limit_per_minute = 5;
		h.config.key_rate_limit_per_minute = 3;
		h.redis_url = i > 0 ? server.url : NULL;
		harness_start(&h);
		harness_add_user(&h, "user", &user);
		harness_add_user(&h, "other", &other);
		struct exchange *x = ASK(&h, .path = keys, .token = user.token, .body = "{\"name\":\"a\"}");
		ANSWERS(x, 201, NULL);
		snprintf(key, sizeof(key), "%.63s", strstr(answer_body(x), "ak_"));
		for (int k = 0; k < 5; k++)
			ANSWERS(ASK(&h, .path = path, .key = key), k < 3 ? 200 : 429, NULL);
		HEADER_IS(ASK(&h, .path = path, .token = user.token), "X-RateLimit-Remaining", "1");
		ANSWERS(ASK(&h, .path = path, .token = user.token), 200, NULL);
		ANSWERS(ASK(&h, .path = path, .token = user.token), 429,
			DETAIL("Rate limit exceeded. Try again later."));
		HEADER_IS(ASK(&h, .path = path, .token = other.token), "X-RateLimit-Remaining", "4");
		HEADER_IS(ASK(&h, .path = keys, .token = user.token), "X-RateLimit-Remaining", "4");
		if (i > 0)
			CU_ASSERT_TRUE(harness_metric(&h, "appcore_redis_operations_total{operation=\"limit\","
							  "outcome=\"ok\"}") >= 10.0);
		harness_close(&h);
	}
	if (redis)
		redis_server_kill(&server);
}

static void probes_need_no_redis(void)
{
	struct redis_server server;
	struct harness h;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.config.rate_limit_per_minute = 5;
	h.redis_url = server.url;
	harness_start(&h);
	CU_ASSERT(harness_send(&h, &(struct ask){.path = "/livez"})->done);
	CU_ASSERT(harness_send(&h, &(struct ask){.path = "/readyz"})->done);
	CU_ASSERT_EQUAL(limit_ops(&h, "ok"), 0.0);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	harness_close(&h);
	redis_server_kill(&server);
}

/* --- Redis in trouble --- */

static bool health_says(struct harness *h, const char *redis)
{
	struct exchange *x = ASK(h, .path = "/health", .client = "198.51.100.99");

	CU_ASSERT_EQUAL(x->status, 200);
	return strstr(answer_body(x), redis) != NULL;
}

static void killed_and_back(void)
{
	struct redis_server server;
	struct harness h;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.config.rate_limit_per_minute = 3;
	h.redis_url = server.url;
	harness_start(&h);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	CU_ASSERT(health_says(&h, "\"redis\":\"ok\""));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_redis_breaker_state{instance=\"t\"}"), 0.0);
	redis_server_kill(&server);
	/* This machine counts for itself now: three more. */
	for (int i = 0; i < 5; i++)
		ANSWERS(GET(&h, "/version"), i < 3 ? 200 : 429, i < 3 ? NULL : LIMITED);
	CU_ASSERT(health_says(&h, "\"redis\":\"error: Redis can't be used now\""));
	ANSWERS(GET(&h, "/readyz"), 200, "{\"status\":\"ready\"}");
	CU_ASSERT(harness_metric_is(&h, "appcore_redis_breaker_state{instance=\"t\"}", 2.0)); /* 1 while it is tried */
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_redis_breaker_opened_total{instance=\"t\"}"), 1.0);
	CU_ASSERT(harness_logged(&h, "Redis can't be used now"));
	ANSWERS(PREDICT(&h, BODY), 429, LIMITED);
	redis_server_run(&server);
	CU_ASSERT(harness_redis_is(&h, REDIS_CLOSED));
	ANSWERS(PREDICT(&h, BODY), 201, NULL); /* Redis has forgotten */
	CU_ASSERT(health_says(&h, "\"redis\":\"ok\""));
	CU_ASSERT(harness_logged(&h, "Redis can be used again"));
	harness_close(&h);
	redis_server_kill(&server);
}

/* Slow: who waits gets the machine's own answer; once the breaker is open nobody waits. */
static void stopped_and_back(void)
{
	enum { DEADLINE_MS = 100 };
	struct redis_server server;
	struct harness h;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.config.rate_limit_per_minute = 50;
	h.redis_url = server.url;
	h.redis_deadline_ms = DEADLINE_MS;
	harness_start(&h);
	/* A busy machine may be late itself. */
	int late = 0;
	for (bool good = false; !good && late < 20; late += !good) {
		CU_ASSERT(harness_redis_is(&h, REDIS_CLOSED));
		double before = limit_ops(&h, "ok");
		ANSWERS(PREDICT(&h, BODY), 201, NULL);
		good = limit_ops(&h, "ok") > before;
	}
	kill(server.pid, SIGSTOP);
	int spent = 0; /* as many as may fail, and those that the machine held up before they were sent */
	for (; redis_state(h.app.redis) == REDIS_CLOSED && spent < 20; spent++)
		ANSWERS(PREDICT(&h, BODY), 201, NULL);
	CU_ASSERT(spent >= REDIS_FAILURES);
	CU_ASSERT_NOT_EQUAL(redis_state(h.app.redis), REDIS_CLOSED);
	CU_ASSERT(limit_ops(&h, "timeout") >= 1);
	struct exchange *x = harness_send(&h, &(struct ask){.path = "/version"});
	CU_ASSERT(x->done);
	char left[16];
	snprintf(left, sizeof(left), "%d", 50 - late - spent - 1);
	HEADER_IS(x, "X-RateLimit-Remaining", left); /* counted here: those by timeout, and this one */
	/* Now and then it is tried, which shows. */
	bool half_open = false;
	for (int i = 0; i < 3000 && !half_open; i++) {
		harness_pump(&h, 10);
		half_open = harness_metric(&h, "appcore_redis_breaker_state{instance=\"t\"}") == 1.0;
	}
	CU_ASSERT(half_open);
	kill(server.pid, SIGCONT);
	CU_ASSERT(harness_redis_is(&h, REDIS_CLOSED));
	ANSWERS(PREDICT(&h, BODY), 201, NULL);
	harness_close(&h);
	redis_server_kill(&server);
}

/* One that came too late was counted as such: its answer is not counted once more. */
static void a_late_answer_is_counted_once(void)
{
	enum { DEADLINE_MS = 100 };
	static struct redis_fake fake;
	struct harness h;

	redis_fake_start(&fake);
	harness_init(&h);
	h.config.rate_limit_per_minute = 50;
	h.redis_url = fake.url;
	h.redis_deadline_ms = DEADLINE_MS;
	harness_start(&h);
	double good = 0;
	for (int i = 0; i < 20 && good <= 0; i++) { /* a busy machine may be late itself */
		CU_ASSERT(harness_redis_is(&h, REDIS_CLOSED));
		ANSWERS(PREDICT(&h, BODY), 201, NULL);
		good = limit_ops(&h, "ok");
	}
	CU_ASSERT(good > 0);
	double late = limit_ops(&h, "timeout");
	atomic_store(&fake.holds, true);
	ANSWERS(PREDICT(&h, BODY), 201, NULL);
	for (int i = 0; i < 30 * 1000 && limit_ops(&h, "timeout") <= late; i++)
		harness_pump(&h, 1); /* it was sent later than asked */
	CU_ASSERT_EQUAL(limit_ops(&h, "timeout"), late + 1);
	int answers = atomic_load(&fake.answers);
	atomic_store(&fake.holds, false);
	for (int i = 0; i < 30 * 1000 && atomic_load(&fake.answers) == answers; i++)
		harness_pump(&h, 1);
	harness_pump(&h, 3 * DEADLINE_MS);
	CU_ASSERT_EQUAL(limit_ops(&h, "timeout"), late + 1);
	CU_ASSERT_EQUAL(limit_ops(&h, "ok"), good);
	harness_close(&h);
	redis_fake_stop(&fake);
}

static void not_there_at_the_start(void)
{
	struct harness h;

	harness_init(&h);
	h.config.rate_limit_per_minute = 2;
	h.redis_url = "unix:///nonexistent/redis.sock";
	h.redis_late = true;
	harness_start(&h);
	ANSWERS(PREDICT(&h, BODY), 201, NULL);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	ANSWERS(GET(&h, "/version"), 429, LIMITED);
	CU_ASSERT(health_says(&h, "\"redis\":\"error: Redis can't be used now\""));
	harness_close(&h);
}

/* --- the cache --- */

static void store_row(struct harness *h, const char *id, int64_t age_us)
{
	static char created_at[CLOCK_ISO_BYTES];

	clock_format_iso(clock_wall_us() - age_us, created_at);
	harness_store(h, &(struct prediction){.id = str_of(id),
					      .features = STR("[1.5, -0.0, 1e+300, 0.1]"),
					      .result = 0.1 + 0.2,
					      .model_version = STR("v1.0"),
					      .created_at = str_of(created_at),
					      .model_name = STR("m\"\\\xc3\xa9\n"),
					      .model_hash = STR("00ff"),
					      .key_id = STR("env"),
					      .request_id = STR("r-1"),
					      .label = STR("good"),
					      .probabilities = STR("[0.25,0.75]"),
					      .flags = STR("[\"x\"]"),
					      .duration_us = 123456});
}

static struct exchange *get_row(struct harness *h, bool v1, const char *id)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/predictions/%s", v1 ? "/api/v1" : "", id);
	return GET(h, path);
}

static double reads(struct harness *h, const char *outcome)
{
	char series[128];

	snprintf(series, sizeof(series), "appcore_cache_reads_total{outcome=\"%s\"}", outcome);
	double n = harness_metric(h, series);
	return n < 0 ? 0 : n;
}

static void a_hit_is_the_stores_answer(void)
{
	struct redis_server server;
	struct harness h;
	char plain[1024], v1[2048];

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.redis_url = server.url;
	harness_start(&h);
	store_row(&h, ID, 1000000);
	struct exchange *x = get_row(&h, false, ID);
	ANSWERS(x, 200, NULL);
	snprintf(plain, sizeof(plain), "%s", answer_body(x));
	CU_ASSERT(reads(&h, "miss") == 1 && reads(&h, "hit") == 0);
	char line[64];
	snprintf(line, sizeof(line), "EXISTS pred:%s", ID);
	for (int i = 0; i < 3000 && !strstr(redis_server_say(&server, line), ":1"); i++)
		harness_pump(&h, 10); /* it is kept after the answer */
	redis_server_say(&server, "FLUSHALL");
	x = get_row(&h, true, ID);
	ANSWERS(x, 200, NULL);
	snprintf(v1, sizeof(v1), "%s", answer_body(x));
	CU_ASSERT(reads(&h, "miss") == 2 && reads(&h, "hit") == 0);
	/* Now the store has it no more: what comes is the cache's. */
	harness_sql(&h, "DELETE FROM predictions");
	x = get_row(&h, false, ID);
	ANSWERS(x, 200, plain);
	HEADER_IS(x, "Content-Type", "application/json");
	ANSWERS(get_row(&h, true, ID), 200, v1);
	CU_ASSERT(reads(&h, "miss") == 2 && reads(&h, "hit") == 2);
	/* Erased in the cache as well, it is gone. */
	CU_ASSERT(prediction_cache_forget(h.app.redis, str_of(ID)));
	ANSWERS(get_row(&h, false, ID), 404, DETAIL("Prediction not found"));
	/* What is not there is not kept as such. */
	ANSWERS(get_row(&h, false, OTHER_ID), 404, NULL);
	store_row(&h, OTHER_ID, 1000000);
	ANSWERS(get_row(&h, false, OTHER_ID), 200, NULL);
	ANSWERS(get_row(&h, false, "no-id"), 404, NULL);
	harness_close(&h);
	redis_server_kill(&server);
}

/* Another installation's row, another row's value, and what retention has deleted are never answered. */
static void never_foreign_or_stale(void)
{
	struct redis_server server;
	struct harness h;
	char line[256];

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.redis_url = server.url;
	harness_start(&h);
	store_row(&h, ID, 1000000);
	ANSWERS(get_row(&h, false, ID), 200, NULL);
	ANSWERS(get_row(&h, false, ID), 200, NULL);
	CU_ASSERT_EQUAL(reads(&h, "hit"), 1.0);
	snprintf(line, sizeof(line), "COPY pred:%s pred:%s", ID, OTHER_ID);
	redis_server_say(&server, line);
	ANSWERS(get_row(&h, false, OTHER_ID), 404, NULL);
	harness_close(&h);

	harness_init(&h); /* another database, the same Redis */
	h.redis_url = server.url;
	harness_start(&h);
	ANSWERS(get_row(&h, false, ID), 404, NULL);
	CU_ASSERT_EQUAL(reads(&h, "hit"), 0.0);
	harness_close(&h);

	harness_init(&h);
	h.redis_url = server.url;
	h.config.retention_days = 1;
	harness_start(&h);
	double hits = 0;
	for (int tries = 0; tries < 20 && hits <= 0; tries++) { /* a busy machine may be late for it */
		redis_server_say(&server, "FLUSHALL");
		harness_sql(&h, "DELETE FROM predictions");
		store_row(&h, ID, INT64_C(86400000000) - 1500000); /* a second and a half before its time */
		get_row(&h, false, ID);
		if (get_row(&h, false, ID)->status == 200)
			hits = reads(&h, "hit");
	}
	CU_ASSERT(hits > 0);
	harness_sql(&h, "DELETE FROM predictions");
	redis_server_nap(1700);
	ANSWERS(get_row(&h, false, ID), 404, NULL);
	CU_ASSERT_EQUAL(reads(&h, "hit"), hits);
	harness_close(&h);
	redis_server_kill(&server);
}

static void the_key_comes_first(void)
{
	struct redis_server server;
	struct harness h;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.redis_url = server.url;
	h.config.predictions_read = "key";
	h.config.key_rate_limit_per_minute = 3;
	harness_start(&h);
	store_row(&h, ID, 1000000);
	char path[128];
	snprintf(path, sizeof(path), "/predictions/%s", ID);
	ANSWERS(ASK(&h, .path = path, .key = HARNESS_KEY), 200, NULL);
	ANSWERS(ASK(&h, .path = path, .key = HARNESS_KEY), 200, NULL);
	CU_ASSERT_EQUAL(reads(&h, "hit"), 1.0);
	ANSWERS(GET(&h, path), 401, NULL);
	ANSWERS(ASK(&h, .path = path, .key = "wrong"), 403, NULL);
	ANSWERS(ASK(&h, .path = path, .key = HARNESS_KEY), 200, NULL);
	ANSWERS(ASK(&h, .path = path, .key = HARNESS_KEY), 429, LIMITED);
	CU_ASSERT_EQUAL(reads(&h, "hit"), 2.0);
	harness_close(&h);
	redis_server_kill(&server);
}

static void reads_survive_redis(void)
{
	struct redis_server server;
	struct harness h;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.redis_url = server.url;
	h.redis_deadline_ms = 100;
	harness_start(&h);
	store_row(&h, ID, 1000000);
	ANSWERS(get_row(&h, false, ID), 200, NULL);
	kill(server.pid, SIGSTOP);
	for (int i = 0; i < REDIS_FAILURES + 2; i++)
		ANSWERS(get_row(&h, i % 2, ID), 200, NULL);
	redis_server_kill(&server);
	ANSWERS(get_row(&h, false, ID), 200, NULL);
	harness_close(&h);
}

/* What Redis may cost a request is one deadline, not one for its limits and another for the cache. */
static void one_deadline_for_all(void)
{
	enum { DEADLINE_MS = 300 };
	static const int DELAYS_MS[] = {2 * DEADLINE_MS, DEADLINE_MS - 30}; /* too late for both, or for the second */
	static struct redis_fake fake;
	struct harness h;

	redis_fake_start(&fake);
	harness_init(&h);
	h.redis_url = fake.url;
	h.redis_deadline_ms = DEADLINE_MS;
	h.config.rate_limit_per_minute = 1000;
	harness_start(&h);
	store_row(&h, ID, 1000000);
	ANSWERS(get_row(&h, false, ID), 200, NULL);
	for (size_t i = 0; i < sizeof(DELAYS_MS) / sizeof(DELAYS_MS[0]); i++) {
		bool good = false;
		for (int tries = 0; tries < 20 && !good; tries++) { /* a busy machine is late, but not each time */
			atomic_store(&fake.delay_ms, 0);
			CU_ASSERT(harness_redis_is(&h, REDIS_CLOSED));
			atomic_store(&fake.delay_ms, DELAYS_MS[i]);
			uint64_t start = clock_mono_ms();
			ANSWERS(get_row(&h, false, ID), 200, NULL);
			uint64_t took = clock_mono_ms() - start;
			good = took >= DEADLINE_MS - 1 && took < DEADLINE_MS * 3 / 2;
			harness_pump(&h, 2 * DEADLINE_MS);
		}
		CU_ASSERT(good);
	}
	harness_close(&h);
	redis_fake_stop(&fake);
}

/* --- keys --- */

/* What it reads of PostgreSQL comes through the mailbox. */
static void tick(struct harness *h, uint64_t later_ms)
{
	app_tick(&h->app, h->ticks_ms + later_ms);
	while (app_reads_keys(&h->app))
		harness_pump(h, 5);
}

static void a_message_makes_keys_known(void)
{
	char key[KEY_TEXT_BYTES];
	struct redis_server server;
	struct harness h;
	struct redis_url url;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	harness_init(&h);
	h.redis_url = server.url;
	harness_start(&h);
	CU_ASSERT_EQUAL(redis_url_parse(str_of(server.url), &url, NULL), STATUS_OK);
	for (int i = 0; i < 3000 && !strstr(redis_server_say(&server, "PUBSUB CHANNELS"), "appcore:"); i++)
		harness_pump(&h, 10);
	harness_pump(&h, 300); /* the listener's first word */
	tick(&h, 0);
	/* Not yet time to look; if that word, or one after a line that was taken for cut, comes late, another key. */
	int status = 0;
	for (int i = 0; i < 20 && status != 403; i++) {
		harness_add_key(&h, "k", -1, 0, key);
		tick(&h, 1);
		status = ASK(&h, .path = "/predict", .body = BODY, .key = key)->status;
	}
	CU_ASSERT_EQUAL(status, 403);
	bool published = false;
	for (int i = 0; i < 20 && !published; i++) /* which waits for a second at the most */
		published = redis_publish(&url, redis_installation(h.app.redis).p, NULL) == STATUS_OK;
	CU_ASSERT(published);
	for (int i = 0; i < 3000 && status == 403; i++) {
		harness_pump(&h, 10);
		tick(&h, 2); /* the same second: it looks only when it was told */
		status = ASK(&h, .path = "/predict", .body = BODY, .key = key)->status;
	}
	CU_ASSERT_EQUAL(status, 201);
	harness_close(&h);
	redis_server_kill(&server);
}

static const struct unit_case CASES[] = {
	{"answers are the same as without", answers_are_the_same_as_without},
	{"many wait at once", many_wait_at_once},
	{"a refused request is counted nowhere", a_refused_request_is_counted_nowhere},
	{"users are counted by route", users_are_counted_by_route},
	{"probes need no Redis", probes_need_no_redis},
	{"killed and back", killed_and_back},
	{"stopped and back", stopped_and_back},
	{"a late answer is counted once", a_late_answer_is_counted_once},
	{"not there at the start", not_there_at_the_start},
	{"a hit is the store's answer", a_hit_is_the_stores_answer},
	{"never foreign or stale", never_foreign_or_stale},
	{"the key comes first", the_key_comes_first},
	{"one deadline for all", one_deadline_for_all},
	{"reads survive Redis", reads_survive_redis},
	{"a message makes keys known", a_message_makes_keys_known},
};

int main(void)
{
	signal(SIGPIPE, SIG_IGN); /* as a worker does */
	return UNIT_RUN("redis", CASES);
}
