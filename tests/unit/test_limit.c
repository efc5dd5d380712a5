/* The limiter: exactness against a list of times, floods, and workers that die or stop inside it. */
#include "unit.h"

#include "base/clock.h"
#include "shared/shm_impl.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { MINUTE = 60 * 1000, PATIENCE_MS = 30 * 1000 };

/* A claimed segment in a directory of its own. */
static struct shm *open_fresh(void)
{
	char dir[256];
	struct shm *shm;

	snprintf(dir, sizeof(dir), "%s/run-XXXXXX", unit_temp_dir());
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_FATAL(shm_open_dir(&shm, dir, NULL) == STATUS_OK);
	CU_ASSERT_FATAL(shm_claim_slot(shm, "a", NULL) == STATUS_OK);
	return shm;
}

/* --- ids --- */

static void test_users(void)
{
	const struct limit_id ids[] = {
		limit_id_of_user(1, STR("GET /a")),   limit_id_of_user(2, STR("GET /a")),
		limit_id_of_user(1, STR("POST /a")),  limit_id_of_user(1, STR("GET /b")),
		limit_id_of_user(INT64_MAX, STR("")), limit_id_of_user(0, STR("GET /a")),
		limit_id_of_address(STR("0.0.0.1")),  limit_id_of_key(STR("u")),
		limit_id_of_user(256, STR("GET /a")),
	};

	for (size_t i = 0; i < COUNT(ids); i++)
		for (size_t k = 0; k < i; k++)
			CU_ASSERT(memcmp(&ids[i], &ids[k], sizeof(ids[i])) != 0);
	struct limit_id again = limit_id_of_user(1, STR("GET /a"));
	CU_ASSERT(memcmp(&ids[0], &again, sizeof(again)) == 0);
}

static void test_addresses(void)
{
	static const struct {
		const char *a, *b;
		bool same;
	} CASES[] = {
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"10.0.0.1", "::ffff:a00:1", true},
		{"::10.0.0.1", "10.0.0.1", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true}, /* one /64 is one client */
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"2001:DB8::1", "2001:0db8:0000::2", true},
		{"::1", "::2", true},
		{"0.0.0.0", "::", false},
		{"", "unknown", true},
		{"", "10.0.0", true},
		{"unix:", "10.0.0.1 ", true},
		{"", "10.0.0.1", false},
		{"10.0.0.256", "", true},
		{"fe80::1%eth0", "", true},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999:0000", "", true},
	};

	for (size_t i = 0; i < COUNT(CASES); i++) {
		struct limit_id a = limit_id_of_address(str_of(CASES[i].a)),
				b = limit_id_of_address(str_of(CASES[i].b));
		CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)) == 0, CASES[i].same);
	}
	struct limit_id none = limit_id_of_address((struct str){0}), empty = limit_id_of_address(STR(""));
	CU_ASSERT_EQUAL(memcmp(&none, &empty, sizeof(none)), 0);
}

static void test_keys(void)
{
	static const char *const KEYS[] = {"",
					   "a",
					   "b",
					   "a\1",
					   "0123456789012345678901",
					   "01234567890123456789012",
					   "01234567890123456789013",
					   "10.0.0.1"};
	struct limit_id ids[COUNT(KEYS) + 1];

	for (size_t i = 0; i < COUNT(KEYS); i++)
		ids[i] = limit_id_of_key(str_of(KEYS[i]));
	ids[COUNT(KEYS)] = limit_id_of_address(STR("10.0.0.1"));
	for (size_t i = 0; i <= COUNT(KEYS); i++)
		for (size_t j = 0; j < i; j++)
			CU_ASSERT_NOT_EQUAL(memcmp(&ids[i], &ids[j], sizeof(ids[i])), 0);
	struct limit_id again = limit_id_of_key(STR("01234567890123456789012"));
	CU_ASSERT_EQUAL(memcmp(&again, &ids[5], sizeof(again)), 0);
}

/* --- the window --- */

/* The contract: 100 in 60 s; 99 left after the first, 0 after the 100th; capacity returns one by one. */
static void test_hundred_a_minute(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = limit_id_of_address(STR("192.0.2.1"));
	uint64_t start = 1000000;

	for (uint32_t i = 0; i < 100; i++) {
		struct limit_result r = limit_take(shm, id, 100, MINUTE, start + i * 10);
		CU_ASSERT(r.allowed && r.limit == 100 && r.remaining == 99 - i && r.retry_ms == MINUTE);
	}
	struct limit_result r = limit_take(shm, id, 100, MINUTE, start + 1000);
	CU_ASSERT(!r.allowed && r.limit == 100 && r.remaining == 0 && r.retry_ms == MINUTE - 1000);
	r = limit_take(shm, id, 100, MINUTE, start + MINUTE - 1);
	CU_ASSERT(!r.allowed && r.retry_ms == 1);
	for (uint32_t i = 0; i < 100; i++) {
		uint64_t now = start + MINUTE + i * 10;
		r = limit_take(shm, id, 100, MINUTE, now);
		CU_ASSERT(r.allowed && r.remaining == 0);
		r = limit_take(shm, id, 100, MINUTE, now + 9);
		CU_ASSERT(!r.allowed && r.retry_ms == (i < 99 ? 1 : MINUTE - 999));
	}
	r = limit_take(shm, limit_id_of_address(STR("192.0.2.2")), 100, MINUTE, start);
	CU_ASSERT(r.allowed && r.remaining == 99); /* somebody else */
	r = limit_take(shm, id, 100, MINUTE, start + 10 * MINUTE);
	CU_ASSERT(r.allowed && r.remaining == 99);
	shm_close(shm);
}

static void test_no_limit(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = limit_id_of_address(STR("192.0.2.1"));

	for (int i = 0; i < 300; i++) {
		struct limit_result r = limit_take(shm, id, 0, MINUTE, 1);
		CU_ASSERT(r.allowed && r.limit == 0 && r.remaining == 0 && r.retry_ms == 0);
	}
	CU_ASSERT_EQUAL(limit_take(shm, id, 5, MINUTE, 1).remaining, 4);
	CU_ASSERT(limit_take(shm, id, 1, 0, 1).allowed && limit_take(shm, id, 1, 0, 1).allowed); /* no window */
	shm_close(shm);
}

/* What was let through, in order. */
struct history {
	uint64_t at[20000];
	uint32_t n;
};

/* How many were let through after now - window. */
static uint32_t within(const struct history *h, uint64_t now, uint64_t window)
{
	uint32_t n = 0;

	for (uint32_t i = h->n; i > 0 && h->at[i - 1] + window > now; i--)
		n++;
	return n;
}

/* Random traffic against the list of times. Up to 100 the answers agree entirely; above, never more than the limit is
 * let through, and what is refused would also be refused with a window longer by one cell. */
static void test_against_history(void)
{
	static const struct {
		uint32_t limit, window, step; /* step: requests are up to this far apart, in ms */
	} CASES[] = {
		{1, 1000, 300},
		{2, 1, 3},
		{5, 1000, 100},
		{60, 60000, 900},
		{100, 60000, 700},
		{100, 100, 2},
		{99, 7, 1},
		{101, 60000, 600},
		{250, 60000, 300},
		{1000, 60000, 70},
		{1000, 1000, 2},
		{500, 50, 1},
		{5000, 60000, 12},
		{10000, 3600000, 100},
		{150, 86400000, 900000},
		{4000000000u, 60000, 3},
	};
	static struct history h;
	struct shm *shm = open_fresh();
	unsigned seed = 7;

	for (size_t c = 0; c < COUNT(CASES); c++) {
		uint32_t limit = CASES[c].limit, window = CASES[c].window, refused = 0, wrong = 0;
		uint64_t slack = limit > LIMIT_EXACT ? (window + 99) / 100 : 0, now = 5000000;
		struct limit_id id = {{'t', (uint8_t)c}};
		h.n = 0;
		for (int i = 0; i < 20000; i++) {
			/* bursts and pauses */
			now += (uint64_t)rand_r(&seed) % (CASES[c].step * (i / 700 % 2 ? 1 : 3));
			uint32_t used = within(&h, now, window);
			struct limit_result r = limit_take(shm, id, limit, window, now);
			if (r.allowed) {
				wrong += used >= limit || r.remaining > limit - used - 1;
				wrong += slack == 0 && r.remaining != limit - used - 1;
				h.at[h.n++] = now;
			} else {
				refused++;
				wrong += within(&h, now, window + slack) < limit;
				wrong += slack == 0 && r.retry_ms != h.at[h.n - limit] + window - now;
				wrong += r.retry_ms == 0 || r.retry_ms > window;
			}
		}
		CU_ASSERT_EQUAL(wrong, 0);
		CU_ASSERT(refused > 0 || limit == 4000000000u);
	}
	shm_close(shm);
}

/* A client that comes again exactly after retry_ms is let in. */
static void test_retry_is_enough(void)
{
	struct shm *shm = open_fresh();

	for (uint32_t limit = 1; limit <= 1000; limit = limit * 3 + 1) {
		struct limit_id id = {{'r', (uint8_t)limit, (uint8_t)(limit >> 8)}};
		uint64_t now = 100000;
		for (int i = 0; i < 5000; i++, now += 3) {
			struct limit_result r = limit_take(shm, id, limit, MINUTE, now);
			if (r.allowed)
				continue;
			CU_ASSERT_FALSE(limit_take(shm, id, limit, MINUTE, now + r.retry_ms - 1).allowed);
			now += r.retry_ms;
			CU_ASSERT(limit_take(shm, id, limit, MINUTE, now).allowed);
		}
	}
	shm_close(shm);
}

static void test_changed_limit(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = limit_id_of_key(STR("k"));

	for (uint32_t i = 0; i < 500; i++)
		CU_ASSERT(limit_take(shm, id, 1000, MINUTE, 10000 + i).allowed);
	CU_ASSERT_FALSE(limit_take(shm, id, 100, MINUTE, 10500).allowed); /* what was counted stays */
	CU_ASSERT_EQUAL(limit_take(shm, id, 1000, MINUTE, 10500).remaining, 499);
	CU_ASSERT_EQUAL(limit_take(shm, id, 100, MINUTE, 10500 + MINUTE).remaining, 99);
	/* A full ring of single requests, then a higher limit. */
	for (uint32_t i = 1; i < 100; i++)
		CU_ASSERT(limit_take(shm, id, 100, MINUTE, 80000 + i * 5).allowed);
	for (uint32_t i = 0; i < 1900; i++)
		CU_ASSERT(limit_take(shm, id, 2000, MINUTE, 81000 + i * 31).allowed);
	CU_ASSERT_FALSE(limit_take(shm, id, 1900, MINUTE, 139000).allowed);
	shm_close(shm);
}

/* Clocks are read before the lock is had, so times come out of order by a little; and nothing wraps after 49 days. */
static void test_times(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = limit_id_of_key(STR("k")), other = limit_id_of_key(STR("o"));
	const uint64_t day = 24 * 3600 * 1000;

	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 100010).remaining, 2);
	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 100000).remaining, 1);
	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 100005).remaining, 0);
	CU_ASSERT_FALSE(limit_take(shm, id, 3, MINUTE, 160009).allowed);
	CU_ASSERT(limit_take(shm, id, 3, MINUTE, 160010).allowed);
	CU_ASSERT_EQUAL(limit_take(shm, id, 3, MINUTE, 10).remaining, 2); /* far ahead of the clock: no time of ours */
	/* Requests that never leave a pause of a window, for 100 days. */
	uint32_t wrong = 0;
	for (uint64_t t = 0; t < 100 * day; t += day / 3)
		wrong += limit_take(shm, other, 5, (uint32_t)day, t).remaining != (t == 0 ? 4 : t == day / 3 ? 3 : 2);
	CU_ASSERT_EQUAL(wrong, 0);
	shm_close(shm);
}

/* --- many clients --- */

static struct limit_id flooder(uint32_t i)
{
	char text[32];

	snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
	return limit_id_of_address(str_of(text));
}

static void test_flood(void)
{
	struct shm *shm = open_fresh();
	struct stat before, after;
	uint32_t forgotten = 0;

	CU_ASSERT(fstat(shm->fd, &before) == 0);
	/* 200 clients that are at their limit, then 100,000 addresses twice. */
	for (uint32_t c = 0; c < 200; c++)
		for (int i = 0; i < 101; i++)
			(void)limit_take(shm, (struct limit_id){{'c', (uint8_t)c}}, 100, MINUTE, 1000);
	for (uint32_t i = 0; i < 200000; i++)
		CU_ASSERT_FATAL(limit_take(shm, flooder(i % 100000), 100, MINUTE, 1000 + i / 10).allowed);
	for (uint32_t c = 0; c < 200; c++)
		forgotten += limit_take(shm, (struct limit_id){{'c', (uint8_t)c}}, 100, MINUTE, 30000).allowed;
	CU_ASSERT_EQUAL(forgotten, 0);
	CU_ASSERT(fstat(shm->fd, &after) == 0 && before.st_blocks == after.st_blocks);
	/* A minute later they are the ones to go, and newcomers are kept. */
	uint32_t kept = 0;
	for (uint32_t i = 0; i < 2000; i++)
		(void)limit_take(shm, flooder(1000000 + i), 100, MINUTE, 200000);
	for (uint32_t i = 0; i < 2000; i++)
		kept += limit_take(shm, flooder(1000000 + i), 100, MINUTE, 200001).remaining == 98;
	CU_ASSERT(kept >= 1990);
	shm_close(shm);
}

/* --- other workers --- */

struct tally {
	_Atomic uint64_t allowed, calls;
};

static pid_t start_taker(const char *dir, struct tally *tally, uint32_t limit)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	struct shm *shm;
	if (shm_open_dir(&shm, dir, NULL) != STATUS_OK)
		_exit(1);
	for (;;) {
		struct limit_result r = limit_take(shm, (struct limit_id){{'x'}}, limit, MINUTE, 1000);
		if (r.allowed)
			atomic_fetch_add(&tally->allowed, 1);
		atomic_fetch_add(&tally->calls, 1);
	}
}

/* Workers that take at the same time never get more than the limit together, also when they are killed inside. */
static void test_killed_takers(void)
{
	enum { TAKERS = 3, KILLS = 60, LIMIT = 3000000 };
	struct shm *shm = open_fresh();
	struct tally *tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t takers[TAKERS];
	int status;

	for (int i = 0; i < TAKERS; i++)
		takers[i] = start_taker(shm->dir, tally, LIMIT);
	for (int i = 0; i < KILLS; i++) {
		usleep(2000 + (useconds_t)(i * 977 % 3000));
		kill(takers[i % TAKERS], SIGKILL);
		waitpid(takers[i % TAKERS], &status, 0);
		takers[i % TAKERS] = start_taker(shm->dir, tally, LIMIT);
	}
	for (int i = 0; i < PATIENCE_MS && atomic_load(&tally->allowed) <= KILLS + limit_skipped(shm); i++)
		usleep(1000); /* none of them may have run yet */
	for (int i = 0; i < TAKERS; i++) {
		kill(takers[i], SIGKILL);
		waitpid(takers[i], &status, 0);
	}
	/* Each killed one may have taken once without saying so, and one skipped was let through uncounted. */
	struct limit_result r = limit_take(shm, (struct limit_id){{'x'}}, LIMIT, MINUTE, 1000);
	uint64_t said = atomic_load(&tally->allowed) - limit_skipped(shm), counted = LIMIT - r.remaining - r.allowed;
	CU_ASSERT(counted >= said && counted <= said + KILLS + TAKERS + limit_skipped(shm));
	CU_ASSERT(said > KILLS);
	munmap(tally, sizeof(*tally));
	shm_close(shm);
}

/* Takes the lock of the client's set, half-writes its entry, says so, and stays. */
static pid_t start_holder(const char *dir, struct limit_id id)
{
	int ready[2];
	char byte = 0;

	CU_ASSERT_FATAL(pipe(ready) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct shm *shm;
		if (shm_open_dir(&shm, dir, NULL) != STATUS_OK)
			_exit(1);
		for (size_t s = 0; s < SHM_LIMIT_SETS; s++) {
			struct shm_limit_set *set = &shm->seg->limit[s];
			for (int w = 0; w < SHM_LIMIT_WAYS; w++) {
				if (set->tags[w] == 0 || memcmp(&set->entries[w].id, &id, sizeof(id)) != 0)
					continue;
				if (shm_lock_take(shm, &set->lock, 1000) != SHM_LOCK_TAKEN)
					_exit(1);
				set->entries[w].used += 50;
				set->tags[(w + 1) % SHM_LIMIT_WAYS] = 1;
				set->entries[(w + 1) % SHM_LIMIT_WAYS].n = 60000;
			}
		}
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	CU_ASSERT_FATAL(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	return pid;
}

static void test_stopped_and_killed_holder(void)
{
	struct shm *shm = open_fresh();
	struct limit_id id = limit_id_of_key(STR("k"));
	int status;

	CU_ASSERT_EQUAL(limit_take(shm, id, 10, MINUTE, 1000).remaining, 9);
	CU_ASSERT_EQUAL(limit_skipped(shm), 0);
	pid_t pid = start_holder(shm->dir, id);
	/* Nobody waits for it; a busy machine may take its time now and then, but not each time. */
	uint64_t tries = 0, took = UINT64_MAX;
	for (; tries < 20 && took >= 500; tries++) {
		uint64_t start = clock_mono_ms();
		CU_ASSERT(limit_take(shm, id, 10, MINUTE, 1000).allowed);
		took = clock_mono_ms() - start;
	}
	CU_ASSERT(took < 500);
	CU_ASSERT_EQUAL(limit_skipped(shm), tries);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(limit_take(shm, id, 10, MINUTE, 1000).remaining, 8); /* inherited, and put right */
	CU_ASSERT_EQUAL(limit_take(shm, id, 10, MINUTE, 1000).remaining, 7);
	CU_ASSERT_EQUAL(limit_skipped(shm), tries);
	shm_close(shm);
}

int main(void)
{
	static const struct unit_case CASES[] = {
		{"ids of addresses", test_addresses},
		{"users on routes", test_users},
		{"ids of keys", test_keys},
		{"a hundred a minute", test_hundred_a_minute},
		{"no limit", test_no_limit},
		{"against a history", test_against_history},
		{"retry_ms is enough", test_retry_is_enough},
		{"a changed limit", test_changed_limit},
		{"odd times", test_times},
		{"a flood of clients", test_flood},
		{"takers that are killed", test_killed_takers},
		{"a stopped and a killed holder", test_stopped_and_killed_holder},
	};

	return UNIT_RUN("limit", CASES);
}
