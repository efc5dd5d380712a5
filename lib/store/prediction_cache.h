/* Stored predictions in Redis: "pred:<id>" holds a row as JSON for an hour at most.
 *
 *   {"installation":"…","id":"…","features":"[1.0]","result":1.0,…}     the row; all members of struct prediction
 *   {"installation":"…","gone":true}                                    erased just now: not to be filled in
 *
 * Never stale: rows don't change, retention bounds how long one may be kept and is asked again at each hit, and an
 * erased row leaves a mark that a reader who still has the row can't overwrite. Never foreign: a value that names
 * another installation or another id counts as none. */
#ifndef APPCORE_STORE_PREDICTION_CACHE_H
#define APPCORE_STORE_PREDICTION_CACHE_H

#include "base/arena.h"
#include "shared/redis.h"
#include "store/predictions.h"

enum { PREDICTION_CACHE_S = 3600, PREDICTION_CACHE_MAX = 16 * 1024, PREDICTION_CACHE_GONE_S = 60 };

/* Stays where it is until done. */
struct prediction_cache_get {
	struct redis_op op; /* first */
	/* Set by the caller. */
	struct redis *redis;
	struct str id;
	struct arena *arena;
	int64_t oldest_us;                              /* rows made up to then are retention's; 0: none are */
	uint64_t within_ms;                             /* as redis_op's */
	void (*done)(struct prediction_cache_get *get); /* event thread */

	/* Set when done. */
	bool hit;
	struct prediction row; /* in the arena */

	char key[64];
	struct str args[2];
};

/* Looks for a row. False: not now, or no id of ours; `done` is not called. */
bool prediction_cache_get(struct prediction_cache_get *get) __attribute__((nonnull, warn_unused_result));

/* A copy of a row to keep, whole or none: without memory, or when the row is too large to be kept, `to` is empty and
 * false is returned. Lives in the arena. Any thread that has the arena. */
bool prediction_cache_copy(struct prediction *to, const struct prediction *row, struct arena *arena)
	__attribute__((nonnull));

/* Keeps a row that the store has just given, for as long as retention lets it live. Large rows are not kept. */
void prediction_cache_put(struct redis *redis, const struct prediction *row, int64_t oldest_us, struct arena *arena)
	__attribute__((nonnull));

/* A row was erased (call it after the commit). False: it could not be said now; say it again. */
bool prediction_cache_forget(struct redis *redis, struct str id) __attribute__((nonnull, warn_unused_result));

#endif
