/* The threads of a worker: claiming, storing, waiting. */
#include "task/worker_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "shared/wake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	POLL_MS = 1000, /* between looks when nobody wakes: a task of another machine, or of a program without our
			   memory */
	BATCH_START = 8,
	BATCH_LONG_US = 20 * 1000, /* a batch of small tasks that takes longer is too large */
	RETRY_MS = 50,
	RETRY_MAX_MS = 2000,
	GIVE_UP_MS = 3000, /* a worker that ends does not wait longer for its database */
	ARENA_MAX = 256 << 20,
};

static const int64_t US = 1000000;

/* --- failures --- */

/* Whether another try may help. */
static bool may_pass(enum status status)
{
	return status == STATUS_BUSY || status == STATUS_UNAVAILABLE || status == STATUS_NO_MEMORY ||
	       status == STATUS_UNKNOWN_OUTCOME;
}

bool worker_note_failure(struct task_worker *worker, enum status status, const struct err *err)
{
	if (!worker->failing && status != STATUS_BUSY) {
		if (atomic_fetch_add(&worker->pool->failing, 1) == 0)
			log_event(LOG_LEVEL_ERROR, "tasks wait for the database: %s", err->text);
		worker->failing = true;
	}
	if (status == STATUS_UNKNOWN_OUTCOME && !db_is_remote(worker->db))
		atomic_store(&worker->pool->trouble, "a commit ended without a known outcome");
	return may_pass(status);
}

void worker_note_success(struct task_worker *worker)
{
	if (worker->failing && atomic_fetch_sub(&worker->pool->failing, 1) == 1)
		log_event(LOG_LEVEL_INFO, "tasks: the database works again");
	worker->failing = false;
}

static bool is_stopping(struct task_worker *worker)
{
	return atomic_load_explicit(&worker->pool->stopping, memory_order_relaxed);
}

static void nap(int ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};

	nanosleep(&time, NULL);
}

/* --- storing and claiming --- */

/* One transaction's work; run again as a whole when it is lost. */
struct step {
	struct task_worker *worker;
	struct batch *done; /* to store; NULL: nothing */
	struct batch *next; /* to fill; NULL: none is wanted */
	int64_t change, now_us;
	enum status statuses[BATCH_MAX];
	bool cancelled[BATCH_MAX]; /* was to go back, and is to be cancelled */
	bool had_place;            /* among the large ones, before it */
	struct err errs[BATCH_MAX];
};

static void store_one(void *arg, size_t i)
{
	struct step *step = arg;
	struct batch *done = step->done;
	bool cancel;

	step->cancelled[i] = false;
	if (done->lost[i])
		return;
	done->rows[i].change = step->change;
	step->statuses[i] = tasks_update(step->worker->db, &done->rows[i], step->now_us, &cancel, &step->errs[i]);
	step->cancelled[i] = cancel && done->rows[i].status == TASK_PENDING;
	/* The parts of a large one that is done are not needed any more. */
	if (step->statuses[i] == STATUS_OK && done->rows[i].status == TASK_COMPLETED && done->kinds[i] &&
	    !done->kinds[i]->small)
		step->statuses[i] = tasks_delete_parts(step->worker->db, &done->rows[i].id, &step->errs[i]);
}

/* One that somebody else has by now changes nothing, and costs the others nothing. */
static enum status store_all(struct step *step, struct err *err)
{
	struct batch *done = step->done;

	for (int i = 0; i < done->n; i++)
		step->statuses[i] = STATUS_OK;
	db_together(step->worker->db, (size_t)done->n, store_one, step);
	for (int i = 0; i < done->n; i++) {
		if (step->statuses[i] == STATUS_OK || step->statuses[i] == STATUS_CONFLICT)
			continue;
		return err_set(err, step->statuses[i], "%s", step->errs[i].text);
	}
	return STATUS_OK;
}

/* Large ones leave a thread to the small ones; a worker of one thread takes them by turns. What `large` counts changes
 * in write transactions, one at a time, and when a thread gives its place up. */
static bool may_take_large(const struct task_worker *worker)
{
	const struct task_pool *pool = worker->pool;

	return worker->large || atomic_load(&pool->large) < (pool->n > 1 ? pool->n - 1 : 1);
}

static struct tasks_wish wish_of(const struct task_worker *worker, int64_t now_us)
{
	return (struct tasks_wish){
		.now_us = now_us,
		.small_only = !may_take_large(worker),
		.small_first = worker->large,
		.large_of_user = worker->pool->options.config->user_tasks_running,
	};
}

static void take_place(struct task_worker *worker)
{
	if (!worker->large)
		atomic_fetch_add(&worker->pool->large, 1);
	worker->large = true;
}

static void leave_place(struct task_worker *worker)
{
	if (worker->large)
		atomic_fetch_sub(&worker->pool->large, 1);
	worker->large = false;
}

static enum status claim(struct step *step, struct err *err)
{
	struct task_worker *worker = step->worker;
	const struct task_pool_options *options = &worker->pool->options;
	struct batch *next = step->next;
	const struct tasks_claim how = {
		.worker = options->name,
		.wish = wish_of(worker, step->now_us),
		.lease_until_us = step->now_us + options->config->task_lease_seconds * US,
		.change = step->change,
	};

	arena_reset(&next->arena);
	enum status status = tasks_claim(worker->db, &how, next->rows, worker->size, &next->arena, &next->n, err);
	if (status == STATUS_OK && next->n > 0 && !next->rows[0].small)
		take_place(worker);
	return status;
}

static enum status run_step(struct db *db, void *arg, struct err *err)
{
	struct step *step = arg;

	if (!step->had_place)
		leave_place(step->worker); /* that of a try that was lost */
	enum status status = tasks_begin_change(db, &step->change, err);
	step->now_us = clock_wall_us(); /* leases begin when there is no waiting any more */
	if (status == STATUS_OK && step->done)
		status = store_all(step, err);
	return status == STATUS_OK && step->next ? claim(step, err) : status;
}

static const struct kind_series *series_of(const struct task_pool *pool, const struct task_kind *kind)
{
	return &pool->series[kind ? kind - pool->options.kinds : pool->options.kinds_n];
}

/* What is stored is counted, told, and no longer ours. */
static void tell_stored(struct step *step)
{
	struct task_pool *pool = step->worker->pool;
	struct batch *done = step->done;
	bool returned = false;

	for (int i = 0; done && i < done->n; i++) {
		const struct kind_series *series = series_of(pool, done->kinds[i]);
		if (done->lost[i])
			continue;
		if (step->statuses[i] == STATUS_CONFLICT) {
			worker_log_task(LOG_LEVEL_WARNING, &done->rows[i],
					"a task of kind %s was lost to another worker, or was ended",
					done->rows[i].kind);
			continue;
		}
		enum task_status became = step->cancelled[i] ? TASK_CANCELLED : done->rows[i].status;
		if (task_is_over(became))
			metrics_add(pool->options.shm, series->completed[became], 1);
		returned |= became == TASK_PENDING;
		if (done->seconds[i] < 0)
			continue;
		/* Small ones are too many for a line each. */
		if (done->kinds[i] && !done->kinds[i]->small)
			worker_log_task(LOG_LEVEL_INFO, &done->rows[i], "task of kind %s: %s (%.3fs)",
					done->rows[i].kind, task_status_name(became), done->seconds[i]);
		metrics_observe(pool->options.shm, series->seconds, done->seconds[i]);
		metrics_observe(pool->options.shm, series->waited, done->waited[i]);
		metrics_add(pool->options.shm, series->attempts, 1);
	}
	if (returned)
		wake_all(pool->options.shm, WAKE_TASKS);
	if ((done && done->n > 0) || (step->next && step->next->n > 0))
		wake_all(pool->options.shm, WAKE_EVENTS);
}

static enum status try_step(struct step *step, struct err *err)
{
	if (step->next)
		step->next->n = 0;
	step->had_place = step->worker->large;
	enum status status = db_transact(step->worker->db, -1, run_step, step, err);
	if (status == STATUS_OK) {
		worker_note_success(step->worker);
		tell_stored(step);
		return status;
	}
	if (step->next)
		step->next->n = 0;
	if (!step->had_place)
		leave_place(step->worker);
	return status;
}

/* Stores step->done and fills `next` (NULL: none is wanted; it is not when the worker is stopping), for as long as it
 * takes the database to take it. Other errors: what it does not take, or that there is no time left to wait. */
static enum status try_patiently(struct step *step, struct batch *next, struct err *err)
{
	struct task_worker *worker = step->worker;
	uint64_t start_ms = clock_mono_ms();
	int pause_ms = RETRY_MS;

	for (;;) {
		step->next = is_stopping(worker) ? NULL : next;
		if (!step->done && !step->next)
			return STATUS_OK;
		enum status status = try_step(step, err);
		if (status == STATUS_OK || !worker_note_failure(worker, status, err))
			return status;
		if (atomic_load(&worker->pool->trouble) ||
		    (is_stopping(worker) && clock_mono_ms() - start_ms > GIVE_UP_MS))
			return status;
		if (!step->done && status != STATUS_BUSY)
			return status; /* who waits for work knows when to try again */
		nap(pause_ms);
		pause_ms = 2 * pause_ms < RETRY_MAX_MS ? 2 * pause_ms : RETRY_MAX_MS;
	}
}

/* A result that the database does not take must not cost the others theirs. */
static void store_apart(struct task_worker *worker, struct batch *done)
{
	for (int i = 0; i < done->n; i++) {
		struct batch *one = &worker->batches[done == &worker->batches[0]];
		struct step step = {.worker = worker, .done = one};
		struct err err;
		one->n = 1;
		one->rows[0] = done->rows[i];
		one->kinds[0] = done->kinds[i];
		one->seconds[0] = done->seconds[i];
		one->waited[0] = done->waited[i];
		one->lost[0] = done->lost[i];
		enum status status = try_patiently(&step, NULL, &err);
		if (status != STATUS_OK && !may_pass(status)) {
			one->rows[0].status = TASK_FAILED;
			one->rows[0].result = (struct str){0};
			one->rows[0].error = STR("What came of it can't be stored.");
			status = try_patiently(&step, NULL, &err);
		}
		if (status != STATUS_OK)
			log_event(LOG_LEVEL_ERROR, "what came of a task is lost, it will be run again: %s", err.text);
	}
	worker->batches[done == &worker->batches[0]].n = 0;
}

static void try_on(struct task_worker *worker, struct batch *done, struct batch *next)
{
	struct step step = {.worker = worker, .done = done && done->n > 0 ? done : NULL};
	struct err err;

	next->n = 0;
	enum status status = try_patiently(&step, next, &err);
	if (status != STATUS_OK && step.done && !may_pass(status))
		store_apart(worker, step.done);
}

/* Stores what is done and claims more. The end of a large one is one more that may be
 * begun, here or, when its user had enough of them running, elsewhere. */
static void step_on(struct task_worker *worker, struct batch *done, struct batch *next)
{
	bool was_large = worker->large;

	try_on(worker, done, next);
	if (next->n == 0 || next->rows[0].small)
		leave_place(worker);
	if (was_large)
		wake_all(worker->pool->options.shm, WAKE_TASKS);
}

/* --- waiting --- */

/* How long to sleep until the next one is due, rounded up. */
static int until(int64_t next_us, int64_t now_us)
{
	if (next_us == 0 || next_us - now_us >= POLL_MS * INT64_C(1000))
		return POLL_MS;
	return next_us <= now_us ? 1 : (int)((next_us - now_us + 999) / 1000);
}

/* Waits for tasks and claims them. False: this worker ends. */
static bool wait_for_work(struct task_worker *worker, struct batch *next)
{
	struct task_pool *pool = worker->pool;
	struct err err;

	next->n = 0;
	pthread_mutex_lock(&pool->lead);
	while (!is_stopping(worker) && !atomic_load(&pool->trouble)) {
		uint32_t seen = wake_seen(pool->options.shm, WAKE_TASKS);
		int64_t now_us = clock_wall_us(), next_us = 0;
		const struct tasks_wish wish = wish_of(worker, now_us);
		bool due = false;
		enum status status = tasks_peek(worker->db, &wish, &due, &next_us, &err);
		if (status != STATUS_OK)
			(void)worker_note_failure(worker, status, &err);
		if (status == STATUS_OK && due)
			step_on(worker, NULL, next);
		if (next->n > 0)
			break;
		/* What was due and is not to be had is another's, or the database is in trouble. */
		bool failing = status != STATUS_OK || worker->failing;
		if (failing || !due)
			(void)wake_wait(pool->options.shm, WAKE_TASKS, seen,
					failing ? POLL_MS : until(next_us, now_us));
	}
	pthread_mutex_unlock(&pool->lead);
	return next->n > 0;
}

/* As many small tasks at once as take a few milliseconds: none waits long behind the others, and a commit is shared. */
static void adapt(struct task_worker *worker, const struct batch *batch, uint64_t ns)
{
	if (ns / 1000 > BATCH_LONG_US)
		worker->size = worker->size / 2 > 1 ? worker->size / 2 : 1;
	else if (batch->n == worker->size)
		worker->size = 2 * worker->size < BATCH_MAX ? 2 * worker->size : BATCH_MAX;
}

/* --- life --- */

/* A thread: reads and writes tasks with a connection of its own. Ends when the worker stops. */
static void *worker_main(void *arg)
{
	struct task_worker *worker = arg;
	struct task_pool *pool = worker->pool;
	struct batch *batch = &worker->batches[0];

	while (wait_for_work(worker, batch)) {
		while (batch->n > 0) {
			struct batch *next = &worker->batches[batch == &worker->batches[0]];
			uint64_t start = clock_mono_ns();
			for (int i = 0; i < batch->n; i++)
				run_task(worker, batch, i);
			adapt(worker, batch, clock_mono_ns() - start);
			step_on(worker, batch, next);
			if (worker->again)
				pthread_mutex_unlock(&pool->again);
			worker->again = false;
			batch = next;
		}
	}
	pthread_mutex_lock(&pool->lock);
	atomic_fetch_sub(&pool->threads, 1);
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void find_series(struct task_pool *pool)
{
	struct shm *shm = pool->options.shm;

	for (int k = 0; k <= pool->options.kinds_n; k++) {
		struct kind_series *series = &pool->series[k];
		struct metrics_label labels[] = {
			{"kind", k < pool->options.kinds_n ? str_of(pool->options.kinds[k].name) : STR("unknown")},
			{"status", STR("")},
		};
		series->seconds = metrics_find(shm, METRICS_TASK_DURATION, labels, 1);
		series->waited = metrics_find(shm, METRICS_TASK_WAIT, labels, 1);
		series->attempts = metrics_find(shm, METRICS_TASK_ATTEMPTS, labels, 1);
		for (int i = 0; i < TASK_STATUS__MAX; i++) {
			labels[1].value = str_of(task_status_name((enum task_status)i));
			series->completed[i] = task_is_over((enum task_status)i)
						       ? metrics_find(shm, METRICS_TASKS_COMPLETED, labels, 2)
						       : METRICS_NONE;
		}
	}
}

static enum status start_threads(struct task_pool *pool, struct err *err)
{
	struct str url = str_of(pool->options.config->database_url);
	enum status status = db_open(&pool->clock_db, url, DB_WRITE, err);

	if (status == STATUS_OK)
		status = db_checkpoint_aside(pool->clock_db, true, err);
	for (int i = 0; i < pool->n && status == STATUS_OK; i++) {
		struct task_worker *worker = &pool->workers[i];
		worker->pool = pool;
		worker->size = BATCH_START;
		worker->seed = (unsigned)clock_mono_ns() + (unsigned)i;
		arena_init(&worker->arena, ARENA_MAX);
		arena_init(&worker->batches[0].arena, ARENA_MAX);
		arena_init(&worker->batches[1].arena, ARENA_MAX);
		status = db_open(&worker->db, url, DB_WRITE, err);
		if (status == STATUS_OK)
			status = db_checkpoint_aside(worker->db, true, err);
	}
	for (int i = 0; i < pool->n && status == STATUS_OK; i++) {
		struct task_worker *worker = &pool->workers[i];
		atomic_fetch_add(&pool->threads, 1);
		worker->started = pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
		if (!worker->started) {
			atomic_fetch_sub(&pool->threads, 1);
			status = err_set(err, STATUS_UNAVAILABLE, "a thread for tasks can't be started");
			continue;
		}
		pthread_setname_np(worker->thread, "tasks");
	}
	if (status != STATUS_OK)
		return status;
	pool->clock_started = pthread_create(&pool->clock, NULL, clock_main, pool) == 0;
	if (!pool->clock_started)
		return err_set(err, STATUS_UNAVAILABLE, "the clock of the tasks can't be started");
	pthread_setname_np(pool->clock, "tasks-clock");
	return STATUS_OK;
}

enum status task_pool_open(struct task_pool **out, const struct task_pool_options *options, struct err *err)
{
	struct task_pool *pool = calloc(1, sizeof(*pool));
	pthread_condattr_t attr;

	*out = NULL;
	if (!pool)
		return err_set(err, STATUS_NO_MEMORY, "no memory for tasks");
	pool->options = *options;
	pool->n = (int)options->config->task_threads;
	pool->workers = calloc((size_t)pool->n, sizeof(*pool->workers));
	pthread_mutex_init(&pool->lead, NULL);
	pthread_mutex_init(&pool->again, NULL);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->wake, &attr);
	pthread_condattr_destroy(&attr);
	enum status status = STATUS_OK;
	if (!pool->workers)
		status = err_set(err, STATUS_NO_MEMORY, "no memory for the threads of tasks");
	else if (pool->options.kinds_n > KINDS_MAX)
		status = err_set(err, STATUS_INTERNAL, "there are too many kinds of tasks");
	if (status == STATUS_OK) {
		find_series(pool);
		status = start_threads(pool, err);
	}
	if (status != STATUS_OK) {
		task_pool_close(pool);
		return status;
	}
	*out = pool;
	return STATUS_OK;
}

void task_pool_stop(struct task_pool *pool)
{
	atomic_store(&pool->stopping, true);
	pthread_mutex_lock(&pool->lock);
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	wake_all(pool->options.shm, WAKE_TASKS);
}

bool task_pool_has_ended(struct task_pool *pool)
{
	return atomic_load(&pool->threads) == 0;
}

const char *task_pool_trouble(struct task_pool *pool)
{
	return atomic_load(&pool->trouble);
}

int task_pool_busy(struct task_pool *pool)
{
	int busy = 0;

	pthread_mutex_lock(&pool->lock);
	for (int i = 0; i < pool->n; i++)
		busy += pool->workers[i].busy;
	pthread_mutex_unlock(&pool->lock);
	return busy;
}

void task_pool_close(struct task_pool *pool)
{
	if (!pool)
		return;
	task_pool_stop(pool);
	for (int i = 0; pool->workers && i < pool->n; i++)
		if (pool->workers[i].started)
			pthread_join(pool->workers[i].thread, NULL);
	if (pool->clock_started)
		pthread_join(pool->clock, NULL);
	for (int i = 0; pool->workers && i < pool->n; i++) {
		struct task_worker *worker = &pool->workers[i];
		beside_close(worker->beside);
		db_close(worker->db);
		arena_release(&worker->arena);
		arena_release(&worker->batches[0].arena);
		arena_release(&worker->batches[1].arena);
	}
	db_close(pool->clock_db);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lead);
	pthread_mutex_destroy(&pool->lock);
	pthread_mutex_destroy(&pool->again);
	free(pool->workers);
	free(pool);
}
