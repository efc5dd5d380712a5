/* The clock of a worker: a thread that renews the leases of what runs long, looks after time limits, and adds the tasks
 * that schedules say. It reads and writes the database with a connection of its own, and sleeps until the next of these
 * is due. It ends when the worker stops and no thread runs anything any more.
 *
 * A schedule's next time stands in the database, and whoever moves it on, in the transaction that adds the task, is the
 * one that adds it: as many workers as there are, it is added once. Moving on is from now, so that what a long pause
 * has missed is made up for once. A clock that is set back finds the next time in the future and waits for it; one that
 * was far ahead has left a time that is not the next nor the one after it, and that is set right. Tasks do not wait for
 * the time to come again: when a worker starts, and when it sees its clock set back, their leases and turns are too. */
#include "task/schedule.h"
#include "task/worker_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "shared/wake.h"

#include <stdlib.h>
#include <time.h>

enum { SLEEP_MAX_MS = 10 * 1000, LIMIT_GRACE_MS = 10 * 1000, RETRY_MS = 1000 };
enum { SET_BACK_MS = 1000, AHEAD_MAX = 1000 };

static const int64_t US = 1000000;

/* --- leases and limits --- */

struct renewal {
	struct task_worker *worker;
	struct id id;
	int64_t claim, lease_us;
	bool cancel;
};

static enum status renew(struct db *db, void *arg, struct err *err)
{
	struct renewal *renewal = arg;

	return tasks_renew(db, &renewal->id, renewal->claim, renewal->lease_us, &renewal->cancel, err);
}

/* The next thread's task whose lease is to be renewed. */
static bool next_renewal(struct task_pool *pool, int *i, uint64_t now_ms, uint64_t every_ms, struct renewal *out)
{
	bool found = false;

	pthread_mutex_lock(&pool->lock);
	for (; *i < pool->n && !found; ++*i) {
		struct task_worker *worker = &pool->workers[*i];
		found = worker->busy && worker->watched && now_ms - worker->renewed_ms >= every_ms;
		if (!found)
			continue;
		worker->renewed_ms = now_ms;
		*out = (struct renewal){.worker = worker, .id = worker->id, .claim = worker->claim};
	}
	pthread_mutex_unlock(&pool->lock);
	return found;
}

/* The thread may have gone on to another task meanwhile: that one is not to be told. */
static void tell(struct task_pool *pool, const struct renewal *renewal, enum status status)
{
	struct task_worker *worker = renewal->worker;

	pthread_mutex_lock(&pool->lock);
	if (worker->busy && worker->claim == renewal->claim &&
	    memcmp(&worker->id, &renewal->id, sizeof(worker->id)) == 0) {
		if (status == STATUS_CONFLICT)
			atomic_store(&worker->gone, true);
		else if (renewal->cancel)
			atomic_store(&worker->cancel, true);
	}
	pthread_mutex_unlock(&pool->lock);
}

static void renew_leases(struct task_pool *pool, uint64_t now_ms)
{
	int64_t lease_s = pool->options.config->task_lease_seconds;
	struct renewal renewal;
	struct err err;

	for (int i = 0; next_renewal(pool, &i, now_ms, (uint64_t)lease_s * 1000 / 3, &renewal);) {
		renewal.lease_us = clock_wall_us() + lease_s * US;
		enum status status = db_transact(pool->clock_db, -1, renew, &renewal, &err);
		if (status == STATUS_OK || status == STATUS_CONFLICT)
			tell(pool, &renewal, status);
	}
}

/* A function that does not come to a checkpoint can't be ended but with its process. */
static void look_at_limits(struct task_pool *pool, uint64_t now_ms)
{
	pthread_mutex_lock(&pool->lock);
	for (int i = 0; i < pool->n; i++) {
		const struct task_worker *worker = &pool->workers[i];
		uint64_t limit_ms = 2 * worker->limit_ms + LIMIT_GRACE_MS;
		if (worker->busy && worker->limit_ms > 0 && now_ms - worker->since_ms > limit_ms)
			atomic_store(&pool->trouble, "a task goes on after its time is over");
	}
	pthread_mutex_unlock(&pool->lock);
}

/* --- a clock that was set back --- */

struct ahead {
	int64_t lease_us, now_us;
	struct task_row rows[AHEAD_MAX];
	int n;
};

static enum status bring_back(struct db *db, void *arg, struct err *err)
{
	struct ahead *ahead = arg;
	int64_t change;

	enum status status = tasks_begin_change(db, &change, err);
	if (status != STATUS_OK)
		return status;
	return tasks_bring_back(db, ahead->rows, ahead->n, ahead->now_us, ahead->lease_us, change, err);
}

/* False: to be tried again. */
static bool bring_all_back(struct task_pool *pool)
{
	struct ahead *ahead = calloc(1, sizeof(*ahead));
	enum status status = STATUS_NO_MEMORY;
	int64_t total = 0;
	struct err err;

	while (ahead) {
		ahead->lease_us = pool->options.config->task_lease_seconds * US;
		ahead->now_us = clock_wall_us();
		status = tasks_find_ahead(pool->clock_db, ahead->now_us, ahead->lease_us, ahead->rows, AHEAD_MAX,
					  &ahead->n, &err);
		if (status == STATUS_OK && ahead->n > 0)
			status = db_transact(pool->clock_db, -1, bring_back, ahead, &err);
		total += status == STATUS_OK ? ahead->n : 0;
		if (status != STATUS_OK || ahead->n < AHEAD_MAX || atomic_load(&pool->stopping))
			break;
	}
	free(ahead);
	if (total > 0) {
		log_event(LOG_LEVEL_WARNING, "the clock was set back: %lld tasks do not wait for it", (long long)total);
		wake_all(pool->options.shm, WAKE_TASKS);
		wake_all(pool->options.shm, WAKE_EVENTS);
	}
	return status == STATUS_OK;
}

/* *offset_ms is the wall clock's distance from the one that only goes forward. */
static bool was_set_back(int64_t *offset_ms)
{
	int64_t before_ms = *offset_ms;

	*offset_ms = clock_wall_us() / 1000 - (int64_t)clock_mono_ms();
	return *offset_ms < before_ms - SET_BACK_MS;
}

/* --- sleeping --- */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void pause_for(struct task_pool *pool, int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&pool->lock);
	if (!atomic_load(&pool->stopping) || atomic_load(&pool->threads) > 0)
		(void)pthread_cond_timedwait(&pool->wake, &pool->lock, &until);
	pthread_mutex_unlock(&pool->lock);
}

void *clock_main(void *arg)
{
	struct task_pool *pool = arg;
	int64_t renew_ms = pool->options.config->task_lease_seconds * 1000 / 3;
	int64_t offset_ms = INT64_MAX; /* a worker that starts does not know of the time before it */
	struct schedules schedules;
	bool is_right = true;

	schedules_init(&schedules, pool->options.config);
	while (!atomic_load(&pool->stopping) || atomic_load(&pool->threads) > 0) {
		int64_t sleep_ms = least(SLEEP_MAX_MS, renew_ms);
		uint64_t now_ms = clock_mono_ms();
		renew_leases(pool, now_ms);
		look_at_limits(pool, now_ms);
		if (was_set_back(&offset_ms)) {
			is_right = false;
			schedules.stored = false; /* looks at them anew */
		}
		if (!is_right && !atomic_load(&pool->stopping))
			is_right = bring_all_back(pool);
		if (!is_right)
			sleep_ms = least(sleep_ms, RETRY_MS);
		if (pool->options.schedules && !atomic_load(&pool->stopping)) {
			int64_t due_ms = schedules_run(&schedules, pool->clock_db, pool->options.shm);
			sleep_ms = least(sleep_ms, due_ms < 0 ? RETRY_MS : due_ms);
		}
		pause_for(pool, sleep_ms);
	}
	return NULL;
}
