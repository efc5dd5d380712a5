/* What the files of the worker share: worker.c (threads, claiming, storing), run.c (one task), beside.c (one that
 * computes), clock.c (leases, time
 * limits, schedules). Nobody else includes this. */
#ifndef APPCORE_TASK_WORKER_IMPL_H
#define APPCORE_TASK_WORKER_IMPL_H

#include "base/log.h"
#include "shared/metrics.h"
#include "task/worker.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BATCH_MAX = 128, KINDS_MAX = 64 };

/* Tasks that were claimed together, and what became of them. */
struct batch {
	struct task_row rows[BATCH_MAX];
	const struct task_kind *kinds[BATCH_MAX]; /* NULL: this program has none of that name */
	double seconds[BATCH_MAX];                /* that it ran; negative: it did not */
	double waited[BATCH_MAX];                 /* before that */
	bool lost[BATCH_MAX];                     /* somebody else has it: nothing is stored */
	int n;
	struct arena arena; /* their texts */
};

/* Why the running task is to end. */
enum ending { GOES_ON, IS_CANCELLED, IS_STOPPED, IS_LOST, IS_UNKNOWN };

struct task_worker {
	struct task_pool *pool;
	pthread_t thread;
	bool started;
	struct db *db;
	struct arena arena; /* of the running task */
	struct batch batches[2];
	int size;                   /* of the next batch: as many as a few milliseconds take */
	bool failing;               /* the database */
	unsigned seed;              /* of the jitter */
	bool again;                 /* it holds the pool's lock of that name */
	bool large;                 /* it has a large task, until what comes of it is stored */
	struct task_beside *beside; /* runs what computes; NULL before the first such task */

	/* Of the task that runs; this thread's alone. */
	struct task_row *row;
	const struct task_kind *kind;
	enum ending ending;
	uint64_t checkpoint_ms; /* the last one */

	/* The same for the clock, under the pool's lock. */
	bool busy, watched; /* runs something; something large, whose lease is renewed */
	struct id id;
	int64_t claim;
	uint64_t since_ms, renewed_ms, limit_ms;
	atomic_bool cancel; /* somebody asked for its end */
	atomic_bool gone;   /* the lease is somebody else's */
};

/* Series of a kind; the last of the pool's is for kinds that this program does not have. */
struct kind_series {
	metrics_series completed[TASK_STATUS__MAX], seconds, waited, attempts;
};

struct task_pool {
	struct task_pool_options options;
	struct kind_series series[KINDS_MAX + 1];
	atomic_bool stopping;
	atomic_int threads; /* that have not ended */
	atomic_int large;   /* of them those that have a large task */
	atomic_int failing; /* of them those whose database fails: logged when the first does, and when none does */
	_Atomic(const char *) trouble;
	pthread_mutex_t lead;  /* held by the idle thread that waits for work and claims it */
	pthread_mutex_t again; /* held by the thread that runs a small task which another worker has lost */
	pthread_mutex_t lock;  /* guards what the clock sees of the threads, and `wake` */
	pthread_cond_t wake;   /* the clock's */
	pthread_t clock;
	bool clock_started;
	struct db *clock_db;
	struct task_worker *workers;
	int n;
};

/* --- worker.c --- */

/* The database failed, or works again: logged when that is news. Returns whether another try may help. */
bool worker_note_failure(struct task_worker *worker, enum status status, const struct err *err);
void worker_note_success(struct task_worker *worker);

/* --- run.c --- */

/* Runs rows[i] of the batch, or says why not; its row is then what is to be stored. */
void run_task(struct task_worker *worker, struct batch *batch, int i);
/* A line of the log with the task's id and kind, by which it is found from the request that made it. */
void worker_log_task(enum log_level level, const struct task_row *row, const char *format, ...)
	__attribute__((nonnull, format(printf, 3, 4)));
/* It was claimed and not begun: it goes back. */
void give_back(struct batch *batch, int i);

/* What the thread that computes asks the worker's own thread for. */
struct beside_job {
	task_effect *read; /* NULL: a checkpoint */
	task_effect *effect;
	void *arg;
	int64_t done, total;
	enum status status; /* what came of it */
	struct err err;
};

/* In the worker's own thread. */
enum status run_job(struct task_run *run, const struct beside_job *job, struct err *err);

/* --- beside.c --- */

/* Runs fn(run) in the thread that computes, until it ends; jobs are done in this one. */
enum status beside_run(struct task_worker *worker, task_function *fn, struct task_run *run, struct err *err);
void beside_close(struct task_beside *beside); /* NULL is allowed */

/* In the thread that computes: asks for a job, when what it asked for before is settled. */
void beside_begin(struct task_beside *beside, const struct beside_job *job);
/* Waits until nothing is asked for, and says what came of it. */
enum status beside_settle(struct task_beside *beside, struct err *err);

/* --- clock.c --- */

void *clock_main(void *arg);

#endif
