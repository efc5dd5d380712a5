/* The limits of limit.h in Redis, one state for all machines of an installation: the same answers for the same sequence
 * of requests, exact up to LIMIT_EXACT, in cells above.
 *
 * A request's limits (its address's, its key's) are taken together: it is counted in both when both let it through,
 * else in none. What one round of the event loop has gathered goes to Redis as one call of a script, which runs by
 * itself there and reads the server's clock: machines need not agree on the time. While one call is under way the next
 * gathers, as writes do for a commit: the more there is to do, the less each costs.
 *
 * A request waits for the link's deadline at the most, from the moment it asks: also when it gathers behind a call that
 * takes long. */
#ifndef APPCORE_SHARED_LIMIT_REDIS_H
#define APPCORE_SHARED_LIMIT_REDIS_H

#include "shared/limit.h"
#include "shared/redis.h"

struct limit_redis;

enum { LIMIT_REDIS_IDS = 2 };

struct limit_wanted {
	struct limit_id id;
	uint32_t limit; /* not 0 */
};

/* A request's. Stays where it is until done. */
struct limit_redis_take {
	/* Set by the caller. */
	struct limit_wanted wanted[LIMIT_REDIS_IDS];
	int n;                                       /* 1 or 2 */
	void (*done)(struct limit_redis_take *take); /* event thread */

	/* Set when done. */
	bool known; /* false: Redis did not answer in time; nothing is known */
	struct limit_result results[LIMIT_REDIS_IDS];

	uint64_t asked_ms, waited_ms;  /* when, and for how long until it was done */
	struct limit_redis_take *next; /* of the same client, in the order they came */
};

/* The script, for redis_options. */
extern const char limit_redis_script[];

/* And what the probe of redis_options gives it: one request more, of a client with a limit that nobody reaches. */
enum { LIMIT_REDIS_PROBE_ARGS = 2 };
extern const struct str limit_redis_probe[LIMIT_REDIS_PROBE_ARGS];

/* False: no memory. */
bool limit_redis_open(struct limit_redis **out, struct redis *redis, uint32_t window_ms)
	__attribute__((nonnull, warn_unused_result));

/* After redis_close: what waits is forgotten. */
void limit_redis_close(struct limit_redis *limits);

/* Asks. False: Redis can't be used now; `done` is not called. Event thread. */
bool limit_redis_ask(struct limit_redis *limits, struct limit_redis_take *take)
	__attribute__((nonnull, warn_unused_result));

/* At the end of a round of the loop, before redis_run: submits what was asked, unless a call is under way. */
void limit_redis_flush(struct limit_redis *limits) __attribute__((nonnull));

/* After redis_run: completes those whose time is over as unknown. */
void limit_redis_expire(struct limit_redis *limits, uint64_t now_ms) __attribute__((nonnull));

/* For how long the loop may sleep, at most `most_ms`: not at all when there is something to flush now. */
int limit_redis_wait_ms(const struct limit_redis *limits, uint64_t now_ms, int most_ms) __attribute__((nonnull));

#endif
