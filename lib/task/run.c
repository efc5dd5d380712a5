/* One task: what is run, with what, and what becomes of it. */
#include "task/worker_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "shared/wake.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	CHECKPOINT_MS = 250, /* progress without effects is stored so often at the most */
	RETRY_MS = 100,
	BACKOFF_MAX_S = 3600,
};

static const int64_t US = 1000000;
static const int64_t DEAD_LIFETIME_S = INT64_C(30) * 24 * 60 * 60; /* at the least: somebody is to look at it */

/* A kind that this program does not have may be one of a newer program: there is time to start that one. */
static const struct task_kind UNKNOWN = {.name = "unknown", .attempts = 100, .backoff_s = 5};

static bool is_stopping(const struct task_worker *worker)
{
	return atomic_load_explicit(&worker->pool->stopping, memory_order_relaxed);
}

/* --- checkpoints --- */

struct progress {
	struct task_run *run;
	struct task_row row; /* as it is to be stored */
	task_effect *effect;
	void *arg;
	bool cancel, lost;
};

static enum status store_progress(struct db *db, void *arg, struct err *err)
{
	struct progress *progress = arg;
	struct task_row *row = &progress->row;
	const struct config *config = progress->run->config;

	progress->lost = false;
	enum status status = tasks_begin_change(db, &row->change, err);
	if (status != STATUS_OK)
		return status;
	int64_t now_us = clock_wall_us(); /* there may have been a wait */
	row->lease_us = now_us + config->task_lease_seconds * US;
	status = tasks_update(db, row, now_us, &progress->cancel, err);
	progress->lost = status == STATUS_CONFLICT;
	if (status != STATUS_OK || !progress->effect)
		return status;
	status = progress->effect(db, progress->run, progress->arg, err);
	return status == STATUS_CONFLICT ? err_set(err, STATUS_INTERNAL, "the task's effect is there already") : status;
}

/* Until the database takes it, or the worker ends. */
static enum status store_patiently(struct task_worker *worker, struct progress *progress, struct err *err)
{
	static const struct timespec nap = {.tv_nsec = RETRY_MS * 1000000L};

	for (;;) {
		enum status status = db_transact_aside(worker->db, -1, store_progress, progress, err);
		if (status == STATUS_OK)
			worker_note_success(worker);
		if (status != STATUS_BUSY && status != STATUS_UNAVAILABLE)
			return status;
		(void)worker_note_failure(worker, status, err);
		if (is_stopping(worker))
			return status;
		nanosleep(&nap, NULL);
	}
}

static enum status end_with(struct task_worker *worker, enum ending ending, struct err *err)
{
	worker->ending = ending;
	switch (ending) {
	case IS_CANCELLED:
		return err_set(err, STATUS_CANCELLED, "It was cancelled.");
	case IS_STOPPED:
		return err_set(err, STATUS_CANCELLED, "The worker stops.");
	case IS_LOST:
		return err_set(err, STATUS_CONFLICT, "The task has been given to another worker.");
	case IS_UNKNOWN:
		return err_set(err, STATUS_CONFLICT, "Nobody knows how far the task has come.");
	case GOES_ON:
		break;
	}
	return STATUS_OK;
}

static enum status checkpoint(struct task_run *run, int64_t done, int64_t total, task_effect *effect, void *arg,
			      struct err *err)
{
	struct task_worker *worker = run->worker;
	uint64_t now_ms = clock_mono_ms();

	if (worker->ending != GOES_ON)
		return end_with(worker, worker->ending, err);
	if (atomic_load_explicit(&worker->gone, memory_order_relaxed))
		return end_with(worker, IS_LOST, err);
	if (worker->limit_ms > 0 && now_ms - worker->since_ms > worker->limit_ms)
		return err_set(err, STATUS_LIMITED, "It took longer than %d s.", worker->kind->time_limit_s);
	bool asked = atomic_load_explicit(&worker->cancel, memory_order_relaxed);
	if (!effect && !asked && !is_stopping(worker) && now_ms - worker->checkpoint_ms < CHECKPOINT_MS)
		return STATUS_OK;
	struct progress progress = {.run = run, .row = *worker->row, .effect = effect, .arg = arg};
	progress.row.done = done;
	progress.row.total = total;
	/* Attempts are those without progress: a long task outlives any number of workers. */
	if (done > worker->row->done)
		progress.row.attempts = 1;
	enum status status = store_patiently(worker, &progress, err);
	if (status == STATUS_OK) {
		worker->checkpoint_ms = now_ms;
		worker->row->done = done;
		worker->row->total = total;
		worker->row->attempts = progress.row.attempts;
		worker->row->lease_us = progress.row.lease_us;
		wake_all(worker->pool->options.shm, WAKE_EVENTS);
	}
	if (progress.lost)
		return end_with(worker, IS_LOST, err);
	if (status == STATUS_UNKNOWN_OUTCOME) {
		(void)worker_note_failure(worker, status, err);
		return end_with(worker, IS_UNKNOWN, err);
	}
	if (status == STATUS_OK && (progress.cancel || asked))
		return end_with(worker, IS_CANCELLED, err);
	if (is_stopping(worker) && (status == STATUS_OK || status == STATUS_BUSY || status == STATUS_UNAVAILABLE))
		return end_with(worker, IS_STOPPED, err);
	return status;
}

enum status run_job(struct task_run *run, const struct beside_job *job, struct err *err)
{
	if (job->read)
		return job->read(run->db, run, job->arg, err);
	return checkpoint(run, job->done, job->total, job->effect, job->arg, err);
}

enum status task_checkpoint_begin(struct task_run *run, int64_t done, int64_t total, task_effect *effect, void *arg,
				  struct err *err)
{
	const struct beside_job job = {.effect = effect, .arg = arg, .done = done, .total = total};

	if (!run->beside)
		return run_job(run, &job, err);
	enum status status = beside_settle(run->beside, err);
	if (status == STATUS_OK)
		beside_begin(run->beside, &job);
	return status;
}

enum status task_checkpoint_end(struct task_run *run, struct err *err)
{
	return run->beside ? beside_settle(run->beside, err) : STATUS_OK;
}

enum status task_checkpoint(struct task_run *run, int64_t done, int64_t total, task_effect *effect, void *arg,
			    struct err *err)
{
	enum status status = task_checkpoint_begin(run, done, total, effect, arg, err);

	return status == STATUS_OK ? task_checkpoint_end(run, err) : status;
}

enum status task_read(struct task_run *run, task_effect *read, void *arg, struct err *err)
{
	const struct beside_job job = {.read = read, .arg = arg};

	if (!run->beside)
		return run_job(run, &job, err);
	enum status status = beside_settle(run->beside, err);
	if (status != STATUS_OK)
		return status;
	beside_begin(run->beside, &job);
	return beside_settle(run->beside, err);
}

/* --- what becomes of it --- */

static void end_as(struct task_row *row, const struct task_kind *kind, enum task_status status, int64_t now_us)
{
	int64_t lifetime_s = kind->result_lifetime_s;

	if (status == TASK_DEAD && lifetime_s > 0 && lifetime_s < DEAD_LIFETIME_S)
		lifetime_s = DEAD_LIFETIME_S;
	row->status = status;
	row->lease_us = 0;
	row->expires_us = lifetime_s > 0 ? now_us + lifetime_s * US : 0;
	if (status == TASK_COMPLETED && row->total > 0)
		row->done = row->total;
}

static void queue_again(struct task_row *row, int64_t run_us)
{
	row->status = TASK_PENDING;
	row->lease_us = 0;
	row->run_us = run_us;
}

/* Doubled for each attempt, up to an hour, and between half of that and all of it: those that failed together should
 * not come back together. */
static int64_t backoff_us(struct task_worker *worker, const struct task_kind *kind, int64_t attempts)
{
	int64_t seconds = kind->backoff_s > 0 ? kind->backoff_s : 1;

	for (int64_t i = 1; i < attempts && seconds < BACKOFF_MAX_S; i++)
		seconds *= 2;
	seconds = seconds < BACKOFF_MAX_S ? seconds : BACKOFF_MAX_S;
	return seconds * US / 2 + seconds * US / 2 * (rand_r(&worker->seed) % 1000) / 1000;
}

static void set_error(struct batch *batch, struct task_row *row, struct str text)
{
	row->error = arena_dup(&batch->arena, text);
	if (!row->error.p || !str_is_utf8(row->error))
		row->error = STR("It failed, and why can't be told.");
}

void worker_log_task(enum log_level level, const struct task_row *row, const char *format, ...)
{
	char message[1024], id[ID_TEXT_BYTES];
	va_list args;

	if (!log_shows(level))
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	id_format(&row->id, id);
	struct buf *line = log_begin(level, str_of(message));
	log_str(line, "task_id", str_of(id));
	log_str(line, "kind", str_of(row->kind));
	log_end(line);
}

static void fail(struct task_worker *worker, struct batch *batch, struct task_row *row, const struct task_kind *kind,
		 const struct err *err)
{
	int64_t now_us = clock_wall_us();

	set_error(batch, row, err->text[0] ? str_of(err->text) : STR("It failed."));
	if (row->attempts < kind->attempts) {
		queue_again(row, now_us + backoff_us(worker, kind, row->attempts));
		worker_log_task(LOG_LEVEL_WARNING, row, "task of kind %s failed, attempt %lld of %d: %s", row->kind,
				(long long)row->attempts, kind->attempts, err->text);
		return;
	}
	end_as(row, kind, TASK_DEAD, now_us);
	worker_log_task(LOG_LEVEL_ERROR, row, "task of kind %s is dead after %lld attempts: %s", row->kind,
			(long long)row->attempts, err->text);
}

/* The result outlives the arena that it is in. */
static void complete(struct batch *batch, struct task_row *row, const struct task_kind *kind, struct str result)
{
	row->error = (struct str){0};
	row->result = arena_dup(&batch->arena, result.p ? result : STR("null"));
	if (row->result.p && str_is_utf8(row->result) && !memchr(row->result.p, '\0', row->result.n)) {
		end_as(row, kind, TASK_COMPLETED, clock_wall_us());
		return;
	}
	row->result = (struct str){0};
	row->error = STR("Its result is no text, or too long.");
	end_as(row, kind, TASK_FAILED, clock_wall_us());
}

void give_back(struct batch *batch, int i)
{
	struct task_row *row = &batch->rows[i];

	row->attempts -= !row->lost && row->attempts > 0;
	queue_again(row, row->run_us);
}

static void conclude(struct task_worker *worker, struct batch *batch, int i, enum status status, struct str result,
		     const struct err *err)
{
	const struct task_kind *kind = worker->kind;
	struct task_row *row = &batch->rows[i];

	if (worker->ending == IS_LOST) {
		batch->lost[i] = true;
		worker_log_task(LOG_LEVEL_WARNING, row, "a task of kind %s went to another worker while it ran here",
				row->kind);
	} else if (worker->ending == IS_UNKNOWN) {
		/* Its row knows: whoever claims it when the lease ends goes on from there. */
		batch->lost[i] = true;
		worker_log_task(LOG_LEVEL_WARNING, row, "a task of kind %s waits for its next claim: %s", row->kind,
				err->text);
	} else if (status == STATUS_OK) {
		complete(batch, row, kind, result);
	} else if (worker->ending == IS_STOPPED) {
		give_back(batch, i);
	} else if (status == STATUS_CANCELLED) {
		set_error(batch, row, err->text[0] ? str_of(err->text) : STR("It was cancelled."));
		end_as(row, kind, TASK_CANCELLED, clock_wall_us());
	} else if (status == STATUS_INVALID) {
		set_error(batch, row, str_of(err->text));
		end_as(row, kind, TASK_FAILED, clock_wall_us());
	} else {
		fail(worker, batch, row, kind, err);
	}
}

/* --- running --- */

static const struct task_kind *find_kind(const struct task_pool *pool, const char *name)
{
	for (int i = 0; i < pool->options.kinds_n; i++)
		if (strcmp(pool->options.kinds[i].name, name) == 0)
			return &pool->options.kinds[i];
	return NULL;
}

static void begin(struct task_worker *worker, struct task_row *row, const struct task_kind *kind)
{
	uint64_t now_ms = clock_mono_ms();

	worker->row = row;
	worker->kind = kind;
	worker->ending = GOES_ON;
	worker->checkpoint_ms = now_ms;
	atomic_store_explicit(&worker->cancel, false, memory_order_relaxed);
	atomic_store_explicit(&worker->gone, false, memory_order_relaxed);
	pthread_mutex_lock(&worker->pool->lock);
	worker->busy = true;
	worker->watched = !kind->small;
	worker->id = row->id;
	worker->claim = row->claim;
	worker->since_ms = worker->renewed_ms = now_ms;
	worker->limit_ms = (uint64_t)kind->time_limit_s * 1000;
	pthread_mutex_unlock(&worker->pool->lock);
}

static void end(struct task_worker *worker)
{
	pthread_mutex_lock(&worker->pool->lock);
	worker->busy = worker->watched = false;
	pthread_mutex_unlock(&worker->pool->lock);
	arena_reset(&worker->arena);
}

static void call(struct task_worker *worker, struct batch *batch, int i, const struct task_kind *kind)
{
	const struct task_pool_options *options = &worker->pool->options;
	struct task_run run = {
		.task = &batch->rows[i],
		.config = options->config,
		.db = worker->db,
		.models = options->hold_models ? options->hold_models(options->arg) : NULL,
		.shm = options->shm,
		.arena = &worker->arena,
		.worker = worker,
	};
	struct err err = {0};
	uint64_t start = clock_mono_ns();

	begin(worker, &batch->rows[i], kind);
	batch->waited[i] = (double)(clock_wall_us() - batch->rows[i].run_us) / 1e6;
	enum status status = kind->computes ? beside_run(worker, kind->run, &run, &err) : kind->run(&run, &err);
	conclude(worker, batch, i, status, run.result, &err);
	end(worker);
	batch->seconds[i] = (double)(clock_mono_ns() - start) / 1e9;
	model_set_drop(run.models);
}

static enum status begin_again(struct db *db, void *arg, struct err *err)
{
	return tasks_begin_again(db, arg, err);
}

/* One whose worker ended while it had it: perhaps because of it. That it is run is stored before it is, and of small
 * ones a process runs one after the other: so what ends a process costs an attempt those that ran with it the first
 * time, and from then on nobody but itself. */
static void run_again(struct task_worker *worker, struct batch *batch, int i, const struct task_kind *kind)
{
	struct task_row *row = &batch->rows[i];
	struct err err;

	if (kind->small) {
		pthread_mutex_lock(&worker->pool->again);
		worker->again = true; /* until what comes of it is stored */
	}
	enum status status = db_transact(worker->db, -1, begin_again, row, &err);
	if (status == STATUS_OK) {
		row->attempts++;
		row->lost = false;
		call(worker, batch, i, kind);
	} else {
		(void)worker_note_failure(worker, status, &err);
		batch->lost[i] = true; /* it is claimed again when this lease ends */
	}
}

void run_task(struct task_worker *worker, struct batch *batch, int i)
{
	struct task_row *row = &batch->rows[i];
	const struct task_kind *kind = find_kind(worker->pool, row->kind);
	struct err err;

	batch->kinds[i] = kind;
	batch->seconds[i] = -1;
	batch->lost[i] = false;
	if (row->cancel) {
		end_as(row, kind ? kind : &UNKNOWN, TASK_CANCELLED, clock_wall_us());
	} else if (is_stopping(worker)) {
		give_back(batch, i);
	} else if (!kind) {
		err_set(&err, STATUS_NOT_FOUND, "This program has no kind of tasks named %.60s.", row->kind);
		fail(worker, batch, row, &UNKNOWN, &err);
	} else if (row->lost && row->attempts >= kind->attempts) {
		/* Each of its attempts ended with the process, or its machine. */
		err_set(&err, STATUS_INTERNAL, "Its worker ended while it ran, %lld times.", (long long)row->attempts);
		fail(worker, batch, row, kind, &err);
	} else if (row->lost) {
		run_again(worker, batch, i, kind);
	} else {
		call(worker, batch, i, kind);
	}
}
