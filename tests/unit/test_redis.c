/* Redis with a real server: the link and its breaker, limits against those of this machine, messages, the cache. */
#include "redis_fake.h"
#include "redis_server.h"
#include "store_helpers.h"

#include "base/log.h"
#include "shared/limit_redis.h"
#include "shared/metrics.h"
#include "store/installation.h"
#include "store/prediction_cache.h"

#include <poll.h>
#include <sodium.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* LENIENT_MS: a deadline that a busy machine does not miss, nor a sanitizer. */
enum { MINUTE = 60 * 1000, PATIENCE_MS = 30 * 1000, LENIENT_MS = 10 * 1000 };

/* --- a worker's part --- */

struct worker {
	struct mailbox mailbox;
	struct redis *redis;
	struct limit_redis *limits;
	int changes;
};

static void note_change(void *arg)
{
	((struct worker *)arg)->changes++;
}

static void open_worker(struct worker *worker, const char *url, const char *installation, const char *script,
			uint64_t deadline_ms)
{
	struct redis_options options = {.mailbox = &worker->mailbox,
					.instance = "t",
					.on_change = note_change,
					.arg = worker,
					.script = script,
					.probe = limit_redis_probe,
					.probe_n = script ? LIMIT_REDIS_PROBE_ARGS : 0,
					.deadline_ms = deadline_ms};

	*worker = (struct worker){0};
	CU_ASSERT_FATAL(mailbox_init(&worker->mailbox));
	CU_ASSERT_FATAL(redis_url_parse(str_of(url), &options.url, NULL) == STATUS_OK);
	snprintf(options.installation, sizeof(options.installation), "%s", installation);
	CU_ASSERT_FATAL(redis_open(&worker->redis, &options, NULL) == STATUS_OK);
	CU_ASSERT_FATAL(limit_redis_open(&worker->limits, worker->redis, MINUTE));
}

static void close_worker(struct worker *worker)
{
	redis_close(worker->redis);
	limit_redis_close(worker->limits);
	mailbox_drain(&worker->mailbox);
	mailbox_release(&worker->mailbox);
}

/* A round of a worker's loop. */
static void pump(struct worker *worker, int ms)
{
	struct pollfd p[] = {{.fd = worker->mailbox.fd, .events = POLLIN},
			     {.fd = redis_fd(worker->redis), .events = POLLIN}};

	limit_redis_flush(worker->limits);
	redis_run(worker->redis, clock_mono_ms());
	poll(p, 2,
	     limit_redis_wait_ms(worker->limits, clock_mono_ms(), redis_wait_ms(worker->redis, clock_mono_ms(), ms)));
	mailbox_drain(&worker->mailbox);
	if (p[1].revents)
		redis_read(worker->redis);
	redis_run(worker->redis, clock_mono_ms());
	limit_redis_expire(worker->limits, clock_mono_ms());
}

static bool reaches(struct worker *worker, enum redis_state state)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;

	while (redis_state(worker->redis) != state && clock_mono_ms() < end)
		pump(worker, 10);
	return redis_state(worker->redis) == state;
}

static void open_ready(struct worker *worker, const char *url)
{
	open_worker(worker, url, "00000001", limit_redis_script, LENIENT_MS);
	CU_ASSERT_FATAL(reaches(worker, REDIS_CLOSED));
}

/* --- asking --- */

struct asked {
	struct limit_redis_take take; /* first */
	bool done;
};

static void note_done(struct limit_redis_take *take)
{
	struct asked *asked = (struct asked *)(void *)take;

	CU_ASSERT_FALSE(asked->done);
	asked->done = true;
}

static bool send_ask(struct worker *worker, struct asked *asked, const char *address, uint32_t limit, const char *key,
		     uint32_t key_limit)
{
	*asked = (struct asked){.take = {.n = key ? 2 : 1, .done = note_done}};
	asked->take.wanted[0] = (struct limit_wanted){limit_id_of_address(str_of(address)), limit};
	if (key)
		asked->take.wanted[1] = (struct limit_wanted){limit_id_of_key(str_of(key)), key_limit};
	return limit_redis_ask(worker->limits, &asked->take);
}

static void wait_for(struct worker *worker, struct asked *asked)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;

	while (!asked->done && clock_mono_ms() < end)
		pump(worker, 20);
	CU_ASSERT_FATAL(asked->done);
}

/* Asks and waits; false when Redis could not be asked or did not say. */
static bool ask(struct worker *worker, const char *address, uint32_t limit, struct limit_result *result)
{
	struct asked asked;

	if (!send_ask(worker, &asked, address, limit, NULL, 0))
		return false;
	wait_for(worker, &asked);
	*result = asked.take.results[0];
	return asked.take.known;
}

/* --- URLs --- */

static void test_urls(void)
{
	static const struct {
		const char *url, *path, *host, *user, *password;
		int port, db;
	} GOOD[] = {
		{"redis://localhost", "", "localhost", "", "", 6379, 0},
		{"redis://localhost:6380/7", "", "localhost", "", "", 6380, 7},
		{"redis://localhost:6379/", "", "localhost", "", "", 6379, 0},
		{"redis://[::1]:6379/1", "", "::1", "", "", 6379, 1},
		{"redis://[::1]", "", "::1", "", "", 6379, 0},
		{"redis://:secret@10.0.0.1", "", "10.0.0.1", "", "secret", 6379, 0},
		{"redis://u%40x:p%2f%3A%25@h:1", "", "h", "u@x", "p/:%", 1, 0},
		{"unix:///run/redis.sock", "/run/redis.sock", "", "", "", 0, 0},
		{"unix:///run/redis.sock?db=3", "/run/redis.sock", "", "", "", 0, 3},
		{"unix://u:p@/run/redis.sock", "/run/redis.sock", "", "u", "p", 0, 0},
	};
	static const char *const BAD[] = {
		"",
		"localhost:6379",
		"http://localhost",
		"rediss://localhost",
		"redis://",
		"redis://:6379",
		"redis://user@host",
		"redis://h:0",
		"redis://h:65536",
		"redis://h:port",
		"redis://h:6379:1",
		"redis://h/x",
		"redis://h/1/2",
		"redis://h/-1",
		"redis://h/65536",
		"redis://[::1",
		"redis://[::1]6379",
		"redis://h h",
		"redis://:s3cr3t%zz@h",
		"redis://:s3cr3t%00@h",
		"redis://:s3cr3t/@h",
		"redis://:s3@cr3t@h",
		"unix://relative",
		"unix:///",
		"unix:///s?db=x",
		"unix:///s?database=1",
	};
	struct redis_url url;
	struct err err;
	char text[900];

	for (size_t i = 0; i < COUNT(GOOD); i++) {
		CU_ASSERT_EQUAL(redis_url_parse(str_of(GOOD[i].url), &url, &err), STATUS_OK);
		CU_ASSERT_STRING_EQUAL(url.path, GOOD[i].path);
		CU_ASSERT_STRING_EQUAL(url.host, GOOD[i].host);
		CU_ASSERT_STRING_EQUAL(url.user, GOOD[i].user);
		CU_ASSERT_STRING_EQUAL(url.password, GOOD[i].password);
		CU_ASSERT_EQUAL(url.port, GOOD[i].port);
		CU_ASSERT_EQUAL(url.db, GOOD[i].db);
	}
	for (size_t i = 0; i < COUNT(BAD); i++) {
		CU_ASSERT_EQUAL(redis_url_parse(str_of(BAD[i]), &url, &err), STATUS_INVALID);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "REDIS_URL "));
		CU_ASSERT_PTR_NULL(strstr(err.text, "s3cr3t"));
	}
	snprintf(text, sizeof(text), "redis://:%0600d@h", 7);
	CU_ASSERT_EQUAL(redis_url_parse(str_of(text), &url, &err), STATUS_INVALID);
	snprintf(text, sizeof(text), "unix:///%0108d", 7);
	CU_ASSERT_EQUAL(redis_url_parse(str_of(text), &url, &err), STATUS_INVALID);
}

/* --- limits --- */

/* The script with a clock that the test sets instead of the server's. */
static const char *script_with_clock(void)
{
	static char text[8192];
	const char *time = strstr(limit_redis_script, "redis.call('TIME')");

	CU_ASSERT_PTR_NOT_NULL_FATAL(time);
	snprintf(text, sizeof(text), "%.*s{redis.call('GET','clock:s'), redis.call('GET','clock:us')}%s",
		 (int)(time - limit_redis_script), limit_redis_script, time + strlen("redis.call('TIME')"));
	return text;
}

/* Over a connection of its own, with its answer awaited. */
static void set_clock(int fd, uint64_t ms)
{
	char line[128], answer[8];
	size_t got = 0;

	snprintf(line, sizeof(line), "MSET clock:s %llu clock:us %llu\r\n", (unsigned long long)(ms / 1000),
		 (unsigned long long)(ms % 1000 * 1000));
	CU_ASSERT_FATAL(write(fd, line, strlen(line)) == (ssize_t)strlen(line));
	while (got < 5) {
		ssize_t n = read(fd, answer + got, 5 - got);
		CU_ASSERT_FATAL(n > 0);
		got += (size_t)n;
	}
	CU_ASSERT_FATAL(memcmp(answer, "+OK\r\n", 5) == 0);
}

static struct shm *open_shm(void)
{
	char dir[256];
	struct shm *shm;

	snprintf(dir, sizeof(dir), "%s/run-XXXXXX", unit_temp_dir());
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_FATAL(shm_open_dir(&shm, dir, NULL) == STATUS_OK);
	CU_ASSERT_FATAL(shm_claim_slot(shm, "a", NULL) == STATUS_OK);
	return shm;
}

/* The same random traffic here and there: the same answers, whatever the limit, one by one and many at once. */
static void test_same_as_local(void)
{
	static const struct {
		uint32_t limit, step;
	} CASES[] = {{1, 30000}, {2, 20000}, {60, 900},  {99, 700},         {100, 700},
		     {101, 600}, {250, 300}, {1000, 70}, {4000000000u, 500}};
	struct redis_server server;
	struct worker worker;
	unsigned seed = 11;
	static struct asked asked[8];

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	struct shm *shm = open_shm();
	int fd = redis_server_connect(&server);
	set_clock(fd, 1700000000000u);
	open_worker(&worker, server.url, "00000001", script_with_clock(), LENIENT_MS);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	for (size_t c = 0; c < COUNT(CASES); c++) {
		uint64_t now = 1700000000000u;
		uint32_t wrong = 0, refused = 0;
		char address[32];
		snprintf(address, sizeof(address), "10.0.0.%zu", c + 1);
		for (int i = 0; i < 1200; i++) {
			now += (uint64_t)rand_r(&seed) % (CASES[c].step * (i / 300 % 2 ? 1 : 3));
			set_clock(fd, now);
			int n = i % 5 == 0 ? 1 + (int)((unsigned)rand_r(&seed) % COUNT(asked)) : 1;
			for (int k = 0; k < n; k++)
				CU_ASSERT_FATAL(send_ask(&worker, &asked[k], address, CASES[c].limit, NULL, 0));
			for (int k = 0; k < n; k++) {
				wait_for(&worker, &asked[k]);
				struct limit_result here = limit_take(shm, asked[k].take.wanted[0].id, CASES[c].limit,
								      MINUTE, now),
						    there = asked[k].take.results[0];
				wrong += !asked[k].take.known || here.allowed != there.allowed ||
					 here.limit != there.limit || here.remaining != there.remaining ||
					 here.retry_ms != there.retry_ms;
				refused += !here.allowed;
			}
		}
		CU_ASSERT_EQUAL(wrong, 0);
		CU_ASSERT(refused > 10 || CASES[c].limit > 1000);
	}
	/* A clock that went back by more than a window counts anew; by less, what was counted stays. */
	struct limit_result r;
	set_clock(fd, 1800000000000u);
	CU_ASSERT(ask(&worker, "10.9.9.9", 2, &r) && r.remaining == 1);
	set_clock(fd, 1800000000000u - 10000);
	CU_ASSERT(ask(&worker, "10.9.9.9", 2, &r) && r.remaining == 0);
	CU_ASSERT(ask(&worker, "10.9.9.9", 2, &r) && !r.allowed);
	set_clock(fd, 1800000000000u - 10 * MINUTE);
	CU_ASSERT(ask(&worker, "10.9.9.9", 2, &r) && r.remaining == 1);
	close(fd);
	close_worker(&worker);
	shm_close(shm);
	redis_server_kill(&server);
}

/* Two machines, one limit; another installation has its own. */
static void test_machines_share(void)
{
	enum { ASKS = 160 };
	static struct asked asked[ASKS];
	struct redis_server server;
	struct worker machines[3];
	struct limit_result r;
	int passed = 0;
	uint64_t remainders = 0;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	for (int i = 0; i < 3; i++) {
		open_worker(&machines[i], server.url, i < 2 ? "00000001" : "00000002", limit_redis_script, LENIENT_MS);
		CU_ASSERT_FATAL(reaches(&machines[i], REDIS_CLOSED));
	}
	for (int i = 0; i < ASKS; i++) {
		CU_ASSERT_FATAL(send_ask(&machines[i % 2], &asked[i], "192.0.2.1", 100, NULL, 0));
		if (i % 7 == 0)
			pump(&machines[i % 2], 0);
	}
	for (int i = 0; i < ASKS; i++) {
		wait_for(&machines[i % 2], &asked[i]);
		r = asked[i].take.results[0];
		CU_ASSERT_FATAL(asked[i].take.known);
		passed += r.allowed;
		remainders += r.remaining;
		CU_ASSERT(r.retry_ms > 0 && r.retry_ms <= MINUTE);
	}
	CU_ASSERT_EQUAL(passed, 100);
	CU_ASSERT_EQUAL(remainders, 99 * 100 / 2); /* each remainder once */
	CU_ASSERT(ask(&machines[2], "192.0.2.1", 100, &r) && r.remaining == 99);
	for (int i = 0; i < 3; i++)
		close_worker(&machines[i]);
	redis_server_kill(&server);
}

/* Address and key: counted in both or in none; any number of clients in one round. */
static void test_pairs_and_crowds(void)
{
	enum { CROWD = 500 };
	static struct asked asked[CROWD];
	struct redis_server server;
	struct worker worker;
	struct limit_result r;
	char address[32];

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_ready(&worker, server.url);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_FATAL(send_ask(&worker, &asked[i], "192.0.2.1", 10, "k", 4));
	for (int i = 0; i < 6; i++) {
		wait_for(&worker, &asked[i]);
		const struct limit_result *results = asked[i].take.results;
		CU_ASSERT(results[0].allowed && results[1].allowed == (i < 4));
		CU_ASSERT_EQUAL(results[0].remaining, (uint32_t)(i < 4 ? 9 - i : 6));
		CU_ASSERT_EQUAL(results[1].remaining, (uint32_t)(i < 4 ? 3 - i : 0));
		CU_ASSERT(i < 4 ? results[1].retry_ms == MINUTE : results[1].retry_ms > MINUTE - 10000);
	}
	CU_ASSERT(ask(&worker, "192.0.2.1", 10, &r) && r.remaining == 5); /* the two that the key refused are free */
	for (int i = 0; i < 5; i++)
		CU_ASSERT(ask(&worker, "192.0.2.1", 10, &r) && r.allowed);
	CU_ASSERT_FATAL(send_ask(&worker, &asked[0], "192.0.2.1", 10, "other", 4));
	wait_for(&worker, &asked[0]);
	CU_ASSERT(!asked[0].take.results[0].allowed && asked[0].take.results[1].remaining == 4);

	for (int i = 0; i < CROWD; i++) {
		snprintf(address, sizeof(address), "10.1.%d.%d", i % 250 / 100, i % 250 % 100);
		CU_ASSERT_FATAL(send_ask(&worker, &asked[i], address, 3, i % 3 ? NULL : "crowd", 1000));
	}
	for (int i = 0; i < CROWD; i++)
		wait_for(&worker, &asked[i]);
	int wrong = 0;
	for (int i = 0; i < CROWD; i++)
		wrong += !asked[i].take.known || !asked[i].take.results[0].allowed;
	CU_ASSERT_EQUAL(wrong, 0);
	for (int i = 0; i < 250; i++) {
		snprintf(address, sizeof(address), "10.1.%d.%d", i / 100, i % 100);
		wrong += !ask(&worker, address, 3, &r) || r.remaining != 0 || !r.allowed;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	close_worker(&worker);
	redis_server_kill(&server);
}

/* What Redis keeps goes with its window, and takes little room. */
static void test_what_is_kept(void)
{
	struct redis_server server;
	struct worker worker;
	struct limit_result r;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_ready(&worker, server.url);
	for (int i = 0; i < 400; i++)
		CU_ASSERT_FATAL(ask(&worker, "192.0.2.1", 1000000, &r));
	redis_server_say(&server, "DEL limit:00000001:probe"); /* it goes by itself, a second after the connection */
	CU_ASSERT_STRING_EQUAL(redis_server_say(&server, "KEYS *"),
			       "*1\r\n$25\r\nlimit:00000001:04c0000201\r\n+OK\r\n");
	long ttl = strtol(redis_server_say(&server, "PTTL limit:00000001:04c0000201") + 1, NULL, 10);
	CU_ASSERT(ttl > 0 && ttl <= MINUTE);
	long size = strtol(redis_server_say(&server, "STRLEN limit:00000001:04c0000201") + 1, NULL, 10);
	CU_ASSERT(size >= 14 && size <= 4 + 101 * 10);
	close_worker(&worker);
	redis_server_kill(&server);
}

/* --- a server in trouble --- */

static void test_flushed(void)
{
	struct redis_server server;
	struct worker worker;
	struct limit_result r;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_ready(&worker, server.url);
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r) && r.remaining == 4);
	CU_ASSERT_PTR_NOT_NULL(strstr(redis_server_say(&server, "SCRIPT FLUSH"), "+OK"));
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r) && r.remaining == 3);
	CU_ASSERT_PTR_NOT_NULL(strstr(redis_server_say(&server, "FLUSHALL"), "+OK"));
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r) && r.remaining == 4);
	/* A value that is none of ours is an error of one call; so many of them, and the breaker opens. */
	redis_server_say(&server, "DEL limit:00000001:04c0000201");
	redis_server_say(&server, "LPUSH limit:00000001:04c0000201 x");
	for (int i = 0; i < REDIS_FAILURES; i++)
		CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
	CU_ASSERT_NOT_EQUAL(redis_state(worker.redis), REDIS_CLOSED);
	CU_ASSERT(reaches(&worker, REDIS_CLOSED));
	CU_ASSERT(ask(&worker, "192.0.2.2", 5, &r) && r.remaining == 4);
	close_worker(&worker);
	redis_server_kill(&server);
}

static void test_killed_and_back(void)
{
	static struct asked asked[64];
	struct redis_server server;
	struct worker worker;
	struct limit_result r;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_ready(&worker, server.url);
	for (int round = 0; round < 3; round++) {
		CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r) && r.remaining == 4);
		for (size_t i = 0; i < COUNT(asked); i++) {
			CU_ASSERT_FATAL(send_ask(&worker, &asked[i], "192.0.2.2", 100, NULL, 0));
			if (i == COUNT(asked) / 2) {
				limit_redis_flush(worker.limits);
				redis_run(worker.redis, clock_mono_ms());
				kill(server.pid, SIGSTOP); /* so that it does not answer before it dies */
			}
		}
		redis_server_kill(&server);
		for (size_t i = 0; i < COUNT(asked); i++)
			wait_for(&worker, &asked[i]);
		CU_ASSERT_FALSE(asked[COUNT(asked) - 1].take.known);
		CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
		CU_ASSERT_NOT_EQUAL(redis_state(worker.redis), REDIS_CLOSED);
		redis_server_run(&server);
		CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	}
	close_worker(&worker);
	redis_server_kill(&server);
}

/* Not answered in time: known soon, then nobody waits any more; and by itself it comes back. */
static void test_stopped_and_back(void)
{
	enum { DEADLINE_MS = 100 };
	struct redis_server server;
	struct worker worker;
	struct limit_result r;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_worker(&worker, server.url, "00000001", limit_redis_script, DEADLINE_MS);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	kill(server.pid, SIGSTOP);
	uint64_t soonest = UINT64_MAX, longest = 0; /* a busy machine takes its time, but not each time */
	for (int i = 0; i < REDIS_FAILURES; i++) {
		uint64_t start = clock_mono_ms();
		CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
		uint64_t took = clock_mono_ms() - start;
		soonest = took < soonest ? took : soonest;
		longest = took > longest ? took : longest;
	}
	CU_ASSERT(longest >= DEADLINE_MS && soonest < 20 * DEADLINE_MS);
	uint64_t start = clock_mono_ms();
	for (int i = 0; i < 1000; i++)
		CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
	CU_ASSERT(clock_mono_ms() - start < 300 * DEADLINE_MS); /* waiting for each would take a thousand */
	/* It accepts connections while it is stopped: that must not close the breaker. */
	for (int i = 0; i < 60; i++) {
		pump(&worker, 10);
		CU_ASSERT_NOT_EQUAL_FATAL(redis_state(worker.redis), REDIS_CLOSED);
	}
	kill(server.pid, SIGCONT);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	bool known = false;
	for (int i = 0; i < 100 && !known; i++) { /* each a new address: one that was late may have been counted */
		char address[24];
		snprintf(address, sizeof(address), "192.0.2.%d", 9 + i);
		CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
		known = ask(&worker, address, 5, &r);
	}
	CU_ASSERT(known && r.remaining == 4);
	close_worker(&worker);
	redis_server_kill(&server);
}

/* Many at once are one experience: the breaker opens with the first that are late. */
static void test_a_crowd_opens_at_once(void)
{
	enum { DEADLINE_MS = 100 };
	static struct asked asked[REDIS_FAILURES];
	struct redis_server server;
	struct worker worker;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_worker(&worker, server.url, "00000001", limit_redis_script, DEADLINE_MS);
	uint64_t took = UINT64_MAX;
	/* A busy machine takes its time, but not each time. */
	for (int tries = 0; tries < 20 && took >= REDIS_FAILURES * DEADLINE_MS; tries++) {
		CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
		kill(server.pid, SIGSTOP);
		uint64_t start = clock_mono_ms();
		for (int i = 0; i < REDIS_FAILURES; i++)
			CU_ASSERT_FATAL(send_ask(&worker, &asked[i], "192.0.2.1", 100, NULL, 0));
		for (int i = 0; i < REDIS_FAILURES; i++) {
			wait_for(&worker, &asked[i]);
			CU_ASSERT_FALSE(asked[i].take.known);
		}
		took = clock_mono_ms() - start;
		/* An ask that was made a moment before it was sent is given up that moment before the command. */
		while (redis_state(worker.redis) == REDIS_CLOSED && clock_mono_ms() - start < PATIENCE_MS)
			pump(&worker, 5);
		CU_ASSERT_NOT_EQUAL(redis_state(worker.redis), REDIS_CLOSED);
		kill(server.pid, SIGCONT);
	}
	CU_ASSERT(took < REDIS_FAILURES * DEADLINE_MS);
	close_worker(&worker);
	redis_server_kill(&server);
}

/* An answer that comes late is nobody's: the next gets its own. */
static void test_late_answers(void)
{
	enum { DEADLINE_MS = 60 };
	struct redis_server server;
	struct worker worker;
	struct limit_result r;
	int known = 0;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_worker(&worker, server.url, "00000001", limit_redis_script, DEADLINE_MS);
	for (uint32_t round = 0; round < 4 || (known == 0 && round < 200); round++) {
		char late[24], next[24];
		CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
		snprintf(late, sizeof(late), "198.51.100.%u", round);
		snprintf(next, sizeof(next), "203.0.113.%u", round);
		kill(server.pid, SIGSTOP);
		CU_ASSERT_FALSE(ask(&worker, late, 10, &r));
		kill(server.pid, SIGCONT);
		/* Another limit: the late answer would be taken for this one's otherwise. */
		if (ask(&worker, next, 1000 + round, &r)) {
			CU_ASSERT(r.remaining == 999 + round);
			known++;
		}
	}
	CU_ASSERT(known > 0);
	close_worker(&worker);
	redis_server_kill(&server);
}

/* Each answer comes a little too late. Those that wait for one are few: a late answer is no good one. */
static void test_always_late(void)
{
	enum { DEADLINE_MS = 160, ASKS = 8 * REDIS_FAILURES };
	static struct redis_fake fake;
	struct worker worker;
	struct limit_result r;
	int waited = 0;

	redis_fake_start(&fake);
	open_worker(&worker, fake.url, "00000001", limit_redis_script, DEADLINE_MS);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	bool known = false;
	for (int i = 0; i < 100 && !known; i++) { /* a busy machine may be late itself */
		CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
		known = ask(&worker, "192.0.2.1", 5, &r);
	}
	CU_ASSERT(known && r.remaining == 4);
	for (int i = 0; i < ASKS; i++) {
		bool waits = redis_state(worker.redis) == REDIS_CLOSED;
		waited += waits;
		atomic_store(&fake.holds, true);
		CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
		if (redis_state(worker.redis) != REDIS_CLOSED)
			continue; /* it is tried again, and does not answer */
		int answers = atomic_load(&fake.answers);
		atomic_store(&fake.holds, false);
		for (int k = 0; k < PATIENCE_MS && atomic_load(&fake.answers) == answers; k++)
			pump(&worker, 1);
		pump(&worker, 1); /* the late answer has come */
	}
	/* As many as may fail, unless the machine was busy just between an ask and its being sent. */
	CU_ASSERT(waited >= REDIS_FAILURES && waited < ASKS);
	CU_ASSERT_NOT_EQUAL(redis_state(worker.redis), REDIS_CLOSED);
	atomic_store(&fake.holds, false);
	CU_ASSERT(reaches(&worker, REDIS_CLOSED));
	close_worker(&worker);
	redis_fake_stop(&fake);
}

/* Who gathers behind a call that takes long waits no longer than anybody else, and a place in the crowd keeps its
 * answer when those before it have gone. */
static bool gathering_has_a_clock(void)
{
	enum { DEADLINE_MS = 1200, DELAY_MS = 800 };
	static struct redis_fake fake;
	static struct asked first, behind[3];
	struct worker worker;
	bool good = true;

	redis_fake_start(&fake);
	open_worker(&worker, fake.url, "00000001", limit_redis_script, DEADLINE_MS);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	atomic_store(&fake.delay_ms, DELAY_MS);
	CU_ASSERT_FATAL(send_ask(&worker, &first, "192.0.2.1", 5, NULL, 0));
	pump(&worker, 1);
	uint64_t start = clock_mono_ms();
	CU_ASSERT_FATAL(send_ask(&worker, &behind[0], "192.0.2.2", 5, NULL, 0));
	while (clock_mono_ms() - start < DELAY_MS - 40)
		pump(&worker, 1);
	good = good && send_ask(&worker, &behind[1], "192.0.2.2", 5, NULL, 0);
	wait_for(&worker, &behind[0]);
	uint64_t took = clock_mono_ms() - start;
	good = good && !behind[0].take.known;
	good = good && took >= DEADLINE_MS - 1 && took < DEADLINE_MS + DELAY_MS / 4;
	good = good && behind[0].take.waited_ms >= DEADLINE_MS - 1 && behind[0].take.waited_ms <= took;
	good = good && first.done && first.take.known;
	/* One passed of the two: it was the first. */
	if (good)
		wait_for(&worker, &behind[1]);
	good = good && behind[1].take.known && behind[1].take.results[0].remaining == 4;
	good = good && behind[1].take.results[0].retry_ms == 60000;
	good = good && redis_state(worker.redis) == REDIS_CLOSED;
	close_worker(&worker);
	redis_fake_stop(&fake);
	return good;
}

/* A machine that is busy in the midst of it spoils it, but not each time. */
static void test_gathering_has_a_clock(void)
{
	bool good = false;

	for (int tries = 0; tries < 10 && !good; tries++)
		good = gathering_has_a_clock();
	CU_ASSERT(good);
}

/* A batch that can't be submitted is answered at once, and each of its requests brings a new one, twice. */
struct chained {
	struct asked asked; /* first */
	struct worker *worker;
	struct chained *next; /* NULL: the last of its chain */
	char address[32];
};

static void ask_next(struct limit_redis_take *take);

static bool ask_chained(struct chained *chained)
{
	bool sent = send_ask(chained->worker, &chained->asked, chained->address, 5, NULL, 0);

	chained->asked.take.done = ask_next;
	return sent;
}

static void ask_next(struct limit_redis_take *take)
{
	struct chained *chained = (struct chained *)(void *)take;

	CU_ASSERT_FALSE(chained->asked.done);
	chained->asked.done = true;
	if (chained->next)
		CU_ASSERT(ask_chained(chained->next));
}

static void never(struct redis_op *op)
{
	(void)op;
}

static void test_full_again_at_once(void)
{
	enum { N = 40 };
	static struct redis_fake fake;
	static struct redis_op ops[REDIS_QUEUE];
	static struct chained chained[3][N];
	const struct str args[] = {STR("GET"), STR("k")};
	struct worker worker;

	redis_fake_start(&fake);
	open_worker(&worker, fake.url, "00000001", limit_redis_script, 60000);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	for (int i = 0; i < REDIS_QUEUE; i++) {
		ops[i] = (struct redis_op){.use = REDIS_CACHE_GET, .args = args, .args_n = 2, .done = never};
		CU_ASSERT_FATAL(redis_submit(worker.redis, &ops[i]));
	}
	for (int i = 0; i < N; i++) {
		for (int k = 0; k < 3; k++) {
			chained[k][i].worker = &worker;
			chained[k][i].next = k < 2 ? &chained[k + 1][i] : NULL;
			snprintf(chained[k][i].address, sizeof(chained[k][i].address), "10.0.%d.%d", k, i);
		}
		CU_ASSERT_FATAL(ask_chained(&chained[0][i]));
	}
	for (int k = 0; k < 3; k++)
		CU_ASSERT(chained[k][0].asked.done && !chained[k][0].asked.take.known);
	close_worker(&worker);
	redis_fake_stop(&fake);
}

/* The thread waits for an answer that has no end: closing does not, and what the thread has goes with it. */
static void test_closing_does_not_wait(void)
{
	static struct redis_fake fake;
	struct worker worker;

	redis_fake_start(&fake);
	atomic_store(&fake.trickles, true);
	open_worker(&worker, fake.url, "00000001", limit_redis_script, LENIENT_MS);
	CU_ASSERT(reaches(&worker, REDIS_HALF_OPEN));
	for (int i = 0; i < 20; i++)
		pump(&worker, 10);
	CU_ASSERT_EQUAL(redis_state(worker.redis), REDIS_HALF_OPEN);
	uint64_t start = clock_mono_ms();
	close_worker(&worker);
	CU_ASSERT(clock_mono_ms() - start < PATIENCE_MS);
	memset(&worker, 0xa5, sizeof(worker)); /* its mailbox is gone as well */
	redis_fake_stop(&fake);
	redis_server_nap(200);
}

/* It loads the script and never knows it: each call is sent twice at the most, within one deadline. */
static uint64_t script_never_known(void)
{
	static struct redis_fake fake;
	struct worker worker;
	struct limit_result r;

	redis_fake_start(&fake);
	open_worker(&worker, fake.url, "00000001", limit_redis_script, 1600);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	atomic_store(&fake.no_script, true);
	atomic_store(&fake.scripts_sent, 0);
	CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
	for (int k = 0; k < PATIENCE_MS && atomic_load(&fake.scripts_sent) < 2; k++)
		pump(&worker, 1);
	CU_ASSERT_EQUAL(atomic_load(&fake.scripts_sent), 2);
	/* Each time too late for both answers: the time to wait is that of the first. */
	atomic_store(&fake.delay_ms, 1200);
	uint64_t start = clock_mono_ms();
	CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
	uint64_t took = clock_mono_ms() - start;
	close_worker(&worker);
	redis_fake_stop(&fake);
	return took;
}

static void test_script_never_known(void)
{
	uint64_t took = UINT64_MAX;

	for (int tries = 0; tries < 10 && took >= 2000; tries++) /* on a busy machine, but not each time */
		took = script_never_known();
	CU_ASSERT(took < 2000);
}

/* The socket takes a part of what is written: the rest follows when it can, also when nothing else is sent, and
 * whatever it begins with. */
static void test_partly_sent(void)
{
	enum { SETS = 250, BYTES = 16 * 1024, LARGE = 600 * 1024, PATIENCE = PATIENCE_MS };
	static struct redis_fake fake;
	static const char zeros[LARGE];
	const struct str args[] = {STR("SET"), STR("k"), {zeros, BYTES}};
	const struct str large[] = {STR("SET"), STR("k"), {zeros, LARGE}};
	struct worker worker;

	redis_fake_start(&fake);
	open_worker(&worker, fake.url, "00000001", limit_redis_script, 2000);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	atomic_store(&fake.deaf, true);
	redis_server_nap(20);
	for (int i = 0; i < SETS; i++)
		CU_ASSERT_FATAL(redis_send(worker.redis, REDIS_CACHE_SET, args, 3));
	for (int i = 0; i < 5; i++)
		pump(&worker, 10);
	atomic_store(&fake.deaf, false);
	uint64_t end = clock_mono_ms() + PATIENCE;
	while (atomic_load(&fake.sets) < SETS && clock_mono_ms() < end)
		pump(&worker, PATIENCE);
	CU_ASSERT_EQUAL(atomic_load(&fake.sets), SETS);
	CU_ASSERT_EQUAL(redis_state(worker.redis), REDIS_CLOSED);
	/* One larger than the socket's buffer: no answer wakes the loop in the middle of it. */
	CU_ASSERT_FATAL(redis_send(worker.redis, REDIS_CACHE_SET, large, 3));
	end = clock_mono_ms() + PATIENCE / 2;
	while (atomic_load(&fake.sets) < SETS + 1 && clock_mono_ms() < end)
		pump(&worker, PATIENCE / 2);
	CU_ASSERT_EQUAL(atomic_load(&fake.sets), SETS + 1);
	/* All is written: the descriptor is not ready all the time. */
	struct pollfd p = {.fd = redis_fd(worker.redis), .events = POLLIN};
	end = clock_mono_ms() + PATIENCE;
	do
		pump(&worker, 10);
	while (poll(&p, 1, 50) != 0 && clock_mono_ms() < end);
	CU_ASSERT_EQUAL(poll(&p, 1, 0), 0);
	close_worker(&worker);
	redis_fake_stop(&fake);
}

static bool look(struct worker *worker, struct arena *arena, const char *id, int64_t oldest_us, struct prediction *row);

/* An answer without end, and one that says more than was asked. */
static void test_lies(void)
{
	static struct redis_fake fake;
	struct worker worker;
	struct limit_result r;
	struct prediction row;
	struct arena arena;

	redis_fake_start(&fake);
	open_worker(&worker, fake.url, "00000001", limit_redis_script, 4 * PATIENCE_MS);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	arena_init(&arena, 1 << 20);
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r) && r.remaining == 4);
	atomic_store(&fake.passed, 1000000);
	CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
	atomic_store(&fake.passed, 1);
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r));
	CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 3, &r)); /* four of three remain */
	atomic_store(&fake.floods, true);
	/* Not after the deadline, for which nobody would wait here. */
	CU_ASSERT_FALSE(look(&worker, &arena, "01a1fc63-490e-7339-9d08-e35b1488555e", 0, &row));
	CU_ASSERT_NOT_EQUAL(redis_state(worker.redis), REDIS_CLOSED);
	arena_release(&arena);
	close_worker(&worker);
	redis_fake_stop(&fake);
}

/* It reads, and refuses to write: that is as good as gone for limits, whatever else it answers, and until it writes. */
static void test_refuses_writes(void)
{
	struct redis_server server;
	struct worker worker;
	struct limit_result r;
	struct prediction row;
	struct arena arena;
	int asked = 0;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_ready(&worker, server.url);
	arena_init(&arena, 1 << 20);
	CU_ASSERT_PTR_NOT_NULL(strstr(redis_server_say(&server, "CONFIG SET maxmemory 1"), "+OK"));
	while (redis_state(worker.redis) == REDIS_CLOSED && asked < 50) {
		CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
		CU_ASSERT_FALSE(look(&worker, &arena, "01a1fc63-490e-7339-9d08-e35b1488555e", 0, &row));
		asked++;
	}
	CU_ASSERT_EQUAL(asked, REDIS_FAILURES);
	for (int i = 0; i < 150; i++) {
		pump(&worker, 10);
		CU_ASSERT_NOT_EQUAL_FATAL(redis_state(worker.redis), REDIS_CLOSED);
	}
	redis_server_say(&server, "CONFIG SET maxmemory 0");
	CU_ASSERT(reaches(&worker, REDIS_CLOSED));
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r) && r.remaining == 4);
	arena_release(&arena);
	close_worker(&worker);
	redis_server_kill(&server);
}

static void test_not_there_at_first(void)
{
	struct redis_server server;
	struct worker worker;
	struct limit_result r;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	redis_server_kill(&server);
	open_worker(&worker, server.url, "00000001", limit_redis_script, LENIENT_MS);
	for (int i = 0; i < 20; i++)
		pump(&worker, 10);
	CU_ASSERT_FALSE(ask(&worker, "192.0.2.1", 5, &r));
	redis_server_run(&server);
	CU_ASSERT_FATAL(reaches(&worker, REDIS_CLOSED));
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r) && r.remaining == 4);
	close_worker(&worker);
	redis_server_kill(&server);
}

static bool file_holds(const char *path, const char *text)
{
	static char content[1 << 16];
	FILE *file = fopen(path, "re");
	size_t n = file ? fread(content, 1, sizeof(content) - 1, file) : 0;

	if (file)
		fclose(file);
	content[n] = '\0';
	return strstr(content, text) != NULL;
}

static void test_passwords(void)
{
	struct redis_server server;
	struct worker worker;
	struct limit_result r;
	char url[400];
	const char *log = test_path("log");

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, "s3cr3t-pass");
	CU_ASSERT_FATAL(log_start(LOG_LEVEL_INFO, log, "t"));
	open_ready(&worker, server.url);
	CU_ASSERT(ask(&worker, "192.0.2.1", 5, &r));
	close_worker(&worker);
	/* Wrong, missing, and too much for a server that knows no such user. */
	const char *const logins[] = {":s3cr3t-wrong@", "", "s3cr3t-user:s3cr3t-pass@"};
	for (size_t i = 0; i < COUNT(logins); i++) {
		snprintf(url, sizeof(url), "unix://%s%s", logins[i], server.socket);
		open_worker(&worker, url, "00000001", limit_redis_script, 2000);
		for (int k = 0; k < 30; k++)
			pump(&worker, 10);
		uint64_t end = clock_mono_ms() + PATIENCE_MS;
		while (!file_holds(log, i == 1 ? "NOAUTH" : "WRONGPASS") && clock_mono_ms() < end)
			pump(&worker, 10);
		CU_ASSERT_NOT_EQUAL(redis_state(worker.redis), REDIS_CLOSED);
		close_worker(&worker);
	}
	/* AUTH itself unknown: Redis's own sentence repeats what was sent. */
	redis_server_say(&server, "ACL SETUSER default nopass");
	log_stop();
	CU_ASSERT(file_holds(log, "WRONGPASS"));
	CU_ASSERT(file_holds(log, "NOAUTH"));
	CU_ASSERT_FALSE(file_holds(log, "s3cr3t"));
	struct redis_url parsed;
	struct err err = {0};
	snprintf(url, sizeof(url), "unix://:s3cr3t-none@%s.none", server.socket);
	CU_ASSERT_EQUAL(redis_url_parse(str_of(url), &parsed, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(redis_publish(&parsed, "00000001", &err), STATUS_UNAVAILABLE);
	CU_ASSERT(err.text[0] != '\0' && !strstr(err.text, "s3cr3t"));
	redis_server_kill(&server);
}

/* --- messages --- */

static bool changes_to(struct worker *worker, int at_least)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;

	while (worker->changes < at_least && clock_mono_ms() < end)
		pump(worker, 10);
	return worker->changes >= at_least;
}

/* It waits for a second at the most, which may be too short for a busy machine. */
static bool published(const struct redis_url *url)
{
	bool good = false;

	for (int i = 0; i < 20 && !good; i++)
		good = redis_publish(url, "00000001", NULL) == STATUS_OK;
	return good;
}

static void test_messages(void)
{
	struct redis_server server;
	struct worker worker, other;
	struct redis_url url;

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	CU_ASSERT_FATAL(redis_url_parse(str_of(server.url), &url, NULL) == STATUS_OK);
	open_worker(&worker, server.url, "00000001", NULL, 2000);
	open_worker(&other, server.url, "00000002", NULL, 2000);
	/* Who has just begun to listen may have missed something. */
	CU_ASSERT(changes_to(&worker, 1) && changes_to(&other, 1));
	/* At once, and not to others; a busy machine is late, or its line is taken for cut, but not each time. */
	uint64_t took = UINT64_MAX;
	int others = 1;
	for (int tries = 0; tries < 10 && (took >= 1000 || others > 0); tries++) {
		int mine = worker.changes;
		others = other.changes;
		uint64_t start = clock_mono_ms();
		CU_ASSERT(published(&url));
		CU_ASSERT(changes_to(&worker, mine + 1));
		took = clock_mono_ms() - start;
		for (int i = 0; i < 20; i++)
			pump(&other, 10);
		others = other.changes - others;
	}
	CU_ASSERT(took < 1000);
	CU_ASSERT_EQUAL(others, 0);
	/* So does one whose line was cut, also if nobody noticed a cut: a stopped server is silent. */
	int before = worker.changes;
	redis_server_kill(&server);
	redis_server_run(&server);
	CU_ASSERT(changes_to(&worker, before + 1));
	before = worker.changes;
	for (int seconds = 4; seconds <= 16 && worker.changes == before; seconds *= 2) {
		kill(server.pid, SIGSTOP);
		uint64_t end = clock_mono_ms() + (uint64_t)seconds * 1000;
		while (clock_mono_ms() < end)
			pump(&worker, 10);
		kill(server.pid, SIGCONT);
		end = clock_mono_ms() + LENIENT_MS;
		while (worker.changes == before && clock_mono_ms() < end)
			pump(&worker, 10);
	}
	CU_ASSERT(worker.changes > before);
	before = worker.changes;
	CU_ASSERT(published(&url));
	CU_ASSERT(changes_to(&worker, before + 1));
	close_worker(&worker);
	close_worker(&other);
	redis_server_kill(&server);
}

/* --- the cache --- */

static const char ID[] = "01a1fc63-490e-7339-9d08-e35b1488555e";
static const char OTHER_ID[] = "01a1fc63-490e-7339-9d08-e35b1488555f";

struct looked {
	struct prediction_cache_get get; /* first */
	bool done;
};

static void note_looked(struct prediction_cache_get *get)
{
	((struct looked *)(void *)get)->done = true;
}

static bool look(struct worker *worker, struct arena *arena, const char *id, int64_t oldest_us, struct prediction *row)
{
	struct looked looked = {.get = {.redis = worker->redis,
					.id = str_of(id),
					.arena = arena,
					.oldest_us = oldest_us,
					.done = note_looked}};
	uint64_t end = clock_mono_ms() + PATIENCE_MS;

	if (!prediction_cache_get(&looked.get))
		return false;
	while (!looked.done && clock_mono_ms() < end)
		pump(worker, 10);
	CU_ASSERT_FATAL(looked.done);
	*row = looked.get.row;
	return looked.get.hit;
}

static struct prediction sample_row(const char *id)
{
	static char created_at[CLOCK_ISO_BYTES];

	clock_format_iso(clock_wall_us() - 10 * INT64_C(1000000), created_at);
	return (struct prediction){.id = str_of(id),
				   .features = STR("[1.5, -0.0, 1e+300, 0.1]"),
				   .result = 0.1 + 0.2,
				   .model_version = STR("v\"1\\\xc3\xa9"),
				   .created_at = str_of(created_at),
				   .model_name = STR("mean"),
				   .model_hash = STR("00ff"),
				   .key_id = STR("env"),
				   .request_id = STR("r-1"),
				   .label = STR("good"),
				   .probabilities = STR("[0.25,0.75]"),
				   .flags = STR("alcohol:outside"),
				   .duration_us = 123456789};
}

static bool same_row(const struct prediction *a, const struct prediction *b)
{
	return str_eq(a->id, b->id) && str_eq(a->features, b->features) &&
	       memcmp(&a->result, &b->result, sizeof(a->result)) == 0 && str_eq(a->model_version, b->model_version) &&
	       str_eq(a->created_at, b->created_at) && str_eq(a->model_name, b->model_name) &&
	       str_eq(a->model_hash, b->model_hash) && str_eq(a->key_id, b->key_id) &&
	       str_eq(a->request_id, b->request_id) && str_eq(a->trace_id, b->trace_id) && str_eq(a->label, b->label) &&
	       str_eq(a->probabilities, b->probabilities) && str_eq(a->flags, b->flags) &&
	       a->duration_us == b->duration_us;
}

/* A row to be kept is copied whole or not at all, whatever memory is left, and borrows nothing. */
static void test_copies(void)
{
	struct prediction row = sample_row(ID), copy;
	char large[PREDICTION_CACHE_MAX + 1];
	struct arena arena;
	int whole = 0, none = 0;

	for (size_t limit = 16; limit < 4096; limit += 16) {
		arena_init(&arena, limit);
		if (prediction_cache_copy(&copy, &row, &arena)) {
			whole++;
			CU_ASSERT(same_row(&copy, &row) && copy.label.p != row.label.p && copy.flags.p != row.flags.p);
		} else {
			none++;
			CU_ASSERT(copy.id.n == 0 && copy.features.n == 0);
		}
		arena_release(&arena);
	}
	CU_ASSERT(whole > 0 && none > 0);
	memset(large, '1', sizeof(large));
	row.features = (struct str){large, sizeof(large)};
	arena_init(&arena, 1 << 20);
	CU_ASSERT_FALSE(prediction_cache_copy(&copy, &row, &arena));
	CU_ASSERT_EQUAL(copy.id.n, 0);
	arena_release(&arena);
}

static void test_cache(void)
{
	struct redis_server server;
	struct worker worker, other;
	struct arena arena;
	struct prediction row = sample_row(ID), got;
	int64_t now_us = clock_wall_us();
	char line[2048];

	if (!redis_server_is_installed())
		return;
	redis_server_start(&server, NULL);
	open_ready(&worker, server.url);
	open_worker(&other, server.url, "00000002", NULL, LENIENT_MS);
	CU_ASSERT_FATAL(reaches(&other, REDIS_CLOSED));
	arena_init(&arena, 1 << 20);
	CU_ASSERT_FALSE(look(&worker, &arena, ID, 0, &got));
	prediction_cache_put(worker.redis, &row, 0, &arena);
	CU_ASSERT(look(&worker, &arena, ID, 0, &got) && same_row(&got, &row));
	snprintf(line, sizeof(line), "TTL pred:%s", ID);
	long ttl = strtol(redis_server_say(&server, line) + 1, NULL, 10);
	CU_ASSERT(ttl > 3600 - PATIENCE_MS / 1000 && ttl <= 3600);
	/* Nobody else's, and nothing that retention has deleted or may. */
	CU_ASSERT_FALSE(look(&other, &arena, ID, 0, &got));
	CU_ASSERT_FALSE(look(&worker, &arena, ID, now_us, &got));
	CU_ASSERT(look(&worker, &arena, ID, now_us - 60 * INT64_C(1000000), &got));
	/* Under another name it is foreign as well. */
	snprintf(line, sizeof(line), "COPY pred:%s pred:%s", ID, OTHER_ID);
	CU_ASSERT_PTR_NOT_NULL(strstr(redis_server_say(&server, line), ":1"));
	CU_ASSERT_FALSE(look(&worker, &arena, OTHER_ID, 0, &got));
	/* Erased: neither it nor what a slow reader puts there afterwards is seen. */
	CU_ASSERT(prediction_cache_forget(worker.redis, str_of(ID)));
	CU_ASSERT_FALSE(look(&worker, &arena, ID, 0, &got));
	prediction_cache_put(worker.redis, &row, 0, &arena);
	CU_ASSERT_FALSE(look(&worker, &arena, ID, 0, &got));
	/* As long as retention lets it live: 20 s. */
	redis_server_say(&server, "FLUSHALL");
	now_us = clock_wall_us();
	row = sample_row(OTHER_ID);
	prediction_cache_put(worker.redis, &row, now_us - 30 * INT64_C(1000000), &arena);
	CU_ASSERT(look(&worker, &arena, OTHER_ID, 0, &got));
	snprintf(line, sizeof(line), "TTL pred:%s", OTHER_ID);
	ttl = strtol(redis_server_say(&server, line) + 1, NULL, 10);
	int64_t passed_s = (clock_wall_us() - now_us) / 1000000;
	CU_ASSERT(ttl >= 18 - passed_s && ttl <= 21 + passed_s);
	/* Not kept: too old, too long, no text, no id of ours. */
	row = sample_row(ID);
	prediction_cache_put(worker.redis, &row, now_us, &arena);
	row.key_id = STR("\xff");
	prediction_cache_put(worker.redis, &row, 0, &arena);
	row = sample_row(ID);
	char *large = arena_alloc(&arena, PREDICTION_CACHE_MAX + 1);
	memset(large, '1', PREDICTION_CACHE_MAX + 1);
	row.features = (struct str){large, PREDICTION_CACHE_MAX + 1};
	prediction_cache_put(worker.redis, &row, 0, &arena);
	CU_ASSERT_FALSE(look(&worker, &arena, ID, 0, &got));
	CU_ASSERT_FALSE(look(&worker, &arena, "01A1FC63-490E-7339-9D08-E35B1488555E", 0, &got));
	CU_ASSERT_FALSE(look(&worker, &arena, "x\r\nFLUSHALL", 0, &got));
	/* A row without features is damaged. */
	row = sample_row(ID);
	row.features = (struct str){0};
	prediction_cache_put(worker.redis, &row, 0, &arena);
	CU_ASSERT_FALSE(look(&worker, &arena, ID, 0, &got));
	/* What is no value of ours is none. */
	static const char *const ODD[] = {"x", "{}", "[]", "{\\\"installation\\\":\\\"00000001\\\"}", "\\\"\\\""};
	for (size_t i = 0; i < COUNT(ODD); i++) {
		snprintf(line, sizeof(line), "SET pred:%s \"%s\"", ID, ODD[i]);
		CU_ASSERT_PTR_NOT_NULL(strstr(redis_server_say(&server, line), "+OK"));
		CU_ASSERT_FALSE(look(&worker, &arena, ID, 0, &got));
	}
	arena_release(&arena);
	close_worker(&worker);
	close_worker(&other);
	redis_server_kill(&server);
}

/* --- whose database it is --- */

static void test_installations(void)
{
	char a[INSTALLATION_BYTES], b[INSTALLATION_BYTES];
	struct db *one = test_database("one.db"), *two = test_database("two.db");

	OK(installation_find(one, a, NULL));
	CU_ASSERT_STRING_EQUAL(a, "");
	OK(installation_renew(one, NULL));
	OK(installation_find(one, a, NULL));
	CU_ASSERT_STRING_EQUAL(a, "");
	OK(installation_make(one, a, NULL));
	CU_ASSERT_EQUAL(strlen(a), 8);
	OK(installation_make(one, b, NULL));
	CU_ASSERT_STRING_EQUAL(a, b);
	OK(installation_make(two, b, NULL));
	CU_ASSERT_STRING_NOT_EQUAL(a, b);
	OK(installation_renew(one, NULL));
	OK(installation_find(one, b, NULL));
	CU_ASSERT_STRING_NOT_EQUAL(a, b);
	CU_ASSERT_EQUAL(strlen(b), 8);
	db_close(one);
	db_close(two);
}

/* A request given back leaves the local limit as it was. */
static void test_give_back(void)
{
	struct shm *shm = open_shm();
	struct limit_id id = limit_id_of_key(STR("k"));

	limit_give_back(shm, id); /* nothing there */
	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 1000).remaining, 2);
	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 1000).remaining, 1);
	limit_give_back(shm, id);
	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 1001).remaining, 1);
	limit_give_back(shm, id);
	limit_give_back(shm, id);
	limit_give_back(shm, id);
	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 1002).remaining, 2);
	shm_close(shm);
}

int main(void)
{
	static const struct unit_case CASES[] = {
		{"URLs", test_urls},
		{"the same answers as locally", test_same_as_local},
		{"machines share one limit", test_machines_share},
		{"pairs, and crowds", test_pairs_and_crowds},
		{"what is kept", test_what_is_kept},
		{"flushed", test_flushed},
		{"killed and back", test_killed_and_back},
		{"stopped and back", test_stopped_and_back},
		{"a crowd opens the breaker at once", test_a_crowd_opens_at_once},
		{"late answers are nobody's", test_late_answers},
		{"always late", test_always_late},
		{"gathering has a clock", test_gathering_has_a_clock},
		{"full again at once", test_full_again_at_once},
		{"closing does not wait", test_closing_does_not_wait},
		{"a script that is never known", test_script_never_known},
		{"partly sent", test_partly_sent},
		{"lies", test_lies},
		{"refuses writes", test_refuses_writes},
		{"not there at first", test_not_there_at_first},
		{"passwords", test_passwords},
		{"messages", test_messages},
		{"copies", test_copies},
		{"the cache", test_cache},
		{"installations", test_installations},
		{"a request given back", test_give_back},
	};

	signal(SIGPIPE, SIG_IGN); /* as a worker does */
	if (sodium_init() < 0)
		return 111;
	return UNIT_RUN("redis", CASES);
}
