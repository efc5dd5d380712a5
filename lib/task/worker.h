/* Working on tasks: threads that claim them, run their kinds' functions and store what comes of it.
 *
 * A thread claims several small tasks in one transaction, runs them, and stores their results and claims the next in
 * one transaction; a large task is claimed alone. Nobody polls: of the idle threads of a process one sleeps on
 * WAKE_TASKS (wake.h) until the next task is due, at most a second, the others behind it. A thread of its own renews
 * the leases of large tasks, looks after time limits and adds what schedules say.
 *
 * What threads share is the pool's: the lock that says who waits, and, under another, which task each of them runs. */
#ifndef APPCORE_TASK_WORKER_H
#define APPCORE_TASK_WORKER_H

#include "shared/shm.h"
#include "task/kinds.h"

struct task_pool;

struct task_pool_options {
	const struct config *config; /* DATABASE_URL, TASK_THREADS, TASK_LEASE_SECONDS, SCHEDULE_… */
	struct shm *shm;             /* waking, metrics */
	const char *name;            /* of this worker, in its tasks' rows */
	const struct task_kind *kinds;
	int kinds_n;
	/* The set of models to work with, held for the caller; NULL: there is none. */
	struct model_set *(*hold_models)(void *arg);
	void *arg;
	bool schedules; /* adds what is due */
};

/* Opens a connection for each thread and starts them. Errors as db_open's. Caller ends with task_pool_close. */
enum status task_pool_open(struct task_pool **out, const struct task_pool_options *options, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Asks the threads to end: what they run ends with its next checkpoint, what they have not begun goes back. Returns at
 * once. Any thread. */
void task_pool_stop(struct task_pool *pool) __attribute__((nonnull));

/* Whether all threads have ended. */
bool task_pool_has_ended(struct task_pool *pool) __attribute__((nonnull));

/* NULL, or why this process should end and be started anew: a task that does not end when its time is over, or a commit
 * whose outcome nobody knows. */
const char *task_pool_trouble(struct task_pool *pool) __attribute__((nonnull));

/* Threads that run a task now. */
int task_pool_busy(struct task_pool *pool) __attribute__((nonnull));

/* Stops it, waits for the threads and frees it. NULL is allowed. */
void task_pool_close(struct task_pool *pool);

#endif
