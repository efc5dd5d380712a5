/* The shadow: a candidate that scores what the active version has answered, off the request's path. Answers are copied
 * into a bounded queue; a thread of low priority asks the candidate and has the store keep what it says beside what was
 * answered. Nothing waits for it: what does not fit is dropped, and counted in
 * appcore_shadow_total{model,version,outcome}: scored (and stored), dropped (the queue was full, or the process ended),
 * failed (the candidate refuses the input, or the store the row). */
#ifndef APPCORE_MODEL_SHADOW_H
#define APPCORE_MODEL_SHADOW_H

#include "model/set.h"
#include "store/predictions.h"
#include "store/store.h"

struct shadow;

struct shadow_options {
	struct store *store; /* its mailbox's thread is the one that offers */
	struct shm *shm;
	size_t queue;    /* rows that may wait, a power of two; 0: 4,096 */
	int64_t nap_ms;  /* how long it gathers rows before it asks; 0: 50 */
	int64_t stop_ms; /* how long shadow_close goes on with what waits; 0: 2,000 */
};

/* Starts the thread. False: no memory, no thread. */
bool shadow_open(struct shadow **out, const struct shadow_options *options)
	__attribute__((nonnull, warn_unused_result));

/* Scores what waits, for a bounded time, and ends the thread. Before store_close; completions of its writes may come
 * from the mailbox afterwards. NULL is allowed. */
void shadow_close(struct shadow *shadow);

/* A row that was answered and stored by the version `active` of the set. When the route of its model has a shadow,
 * which is another version, the row is copied for it. Never waits. The mailbox's thread. */
void shadow_offer(struct shadow *shadow, struct model_set *set, const struct model *active,
		  const struct prediction *row) __attribute__((nonnull));

#endif
