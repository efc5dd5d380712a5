/* Drift of the versions that answer, computed from time to time and shown in the metrics: a thread of low priority in
 * every worker, of which only that in the lowest slot of all live ones works. */
#ifndef APPCORE_MODEL_DRIFT_WATCH_H
#define APPCORE_MODEL_DRIFT_WATCH_H

#include "model/set.h"
#include "store/store.h"

struct drift_watch;

struct drift_watch_options {
	struct store *store;
	struct shm *shm;
	int64_t window_s; /* what is "now"; it is computed sixty times in that time, at most once a second and at least
			   * once a minute */
};

/* Starts the thread. False: no memory, no thread. */
bool drift_watch_start(struct drift_watch **out, const struct drift_watch_options *options)
	__attribute__((nonnull, warn_unused_result));

/* Before store_close. NULL is allowed. */
void drift_watch_stop(struct drift_watch *watch);

/* The set that is served from now on, of which the watch takes a hold of its own. Any thread. */
void drift_watch_take(struct drift_watch *watch, struct model_set *set) __attribute__((nonnull));

#endif
