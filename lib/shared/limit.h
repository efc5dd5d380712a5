/* Sliding-window rate limits, one state for all workers, in shared memory.
 *
 * A client (an address, or a key) may make `limit` requests in any `window_ms`. Up to LIMIT_EXACT it is exact: each
 * request's time is kept, and capacity returns request by request. Above, neighbouring requests share a cell of
 * window / LIMIT_EXACT that counts until its newest request has left, so capacity returns up to that much late and
 * never early. A refused request is not counted. Memory is bounded: under a flood of clients the idlest are forgotten
 * first, then those that have used least. Clients hash to sets with a secret made with the segment. */
#ifndef APPCORE_SHARED_LIMIT_H
#define APPCORE_SHARED_LIMIT_H

#include "shared/shm.h"

enum { LIMIT_EXACT = 100, LIMIT_CLIENTS = 8192 };

struct limit_id {
	uint8_t b[24]; /* kind, then address or key: compared whole */
};

struct limit_result {
	bool allowed;
	uint32_t limit;
	uint32_t remaining; /* in the window, after this request */
	uint64_t retry_ms;  /* when refused: until the next would pass; else until the window is as it was */
};

/* The id of a client address in text: IPv4 whole (also as ::ffff:a.b.c.d), IPv6 by its /64; what is no address becomes
 * the one client "unknown". */
struct limit_id limit_id_of_address(struct str address);

/* The id of an API key (its public id). */
struct limit_id limit_id_of_key(struct str key_id);

/* The id of a user on one route (its method and pattern, or what else names it). */
struct limit_id limit_id_of_user(int64_t user_id, struct str route);

/* Counts a request at `now_ms` (clock_mono_ms). A request made at t is in the window while now < t + window_ms. `limit`
 * 0 always allows, keeps nothing, and returns zeros. One id goes with one limit and window; when these change, what was
 * counted before stays. When the client's set can't be locked within 2 ms (its holder is stopped), the request is
 * allowed and counted in a metric. */
struct limit_result limit_take(struct shm *shm, struct limit_id id, uint32_t limit, uint32_t window_ms, uint64_t now_ms)
	__attribute__((nonnull));

/* Takes back what limit_take just counted for the request, which another limit refused: a refused request is counted
 * nowhere. Does nothing when it has left the window by now. */
void limit_give_back(struct shm *shm, struct limit_id id) __attribute__((nonnull));

/* How many requests were let through without being counted. */
uint64_t limit_skipped(const struct shm *shm) __attribute__((nonnull));

#endif
