/* A small fixed set of threads with a bounded queue, for work that would hold the event thread up. */
#ifndef APPCORE_BASE_POOL_H
#define APPCORE_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct pool;

/* Embedded in what the job works on; belongs to the pool from the submission until `run` is called. */
struct pool_job {
	struct pool_job *next;
	/* `thread_state` is what the pool's `thread_start` returned for this thread. */
	void (*run)(struct pool_job *job, void *thread_state);
};

struct pool_options {
	const char *name; /* of the threads, at most 12 bytes */
	int threads;
	size_t queue; /* jobs that may wait */
	/* Called once in each thread, before its first job and after its last; may be NULL. */
	void *(*thread_start)(void *arg);
	void (*thread_stop)(void *arg, void *thread_state);
	void *arg;
};

/* Starts the threads. False when memory or threads are short. */
bool pool_open(struct pool **out, const struct pool_options *options) __attribute__((nonnull, warn_unused_result));

/* Runs what is queued, then ends the threads. From then on pool_submit refuses. Any number of times; NULL is allowed.
 */
void pool_stop(struct pool *pool);

/* Stops it and frees it. NULL is allowed. */
void pool_close(struct pool *pool);

/* False when the queue is full, or the pool stops: the job was not taken. */
bool pool_submit(struct pool *pool, struct pool_job *job) __attribute__((nonnull, warn_unused_result));

/* Jobs that wait. */
size_t pool_queue_length(struct pool *pool) __attribute__((nonnull));

#endif
