/* The kinds of tasks: one table (kinds.c). A kind's function runs in a worker's thread, at least once for each task:
 * it is idempotent, or what it writes goes into our own database in the transaction that records its progress or its
 * end (task_checkpoint, the result), which happens exactly once. */
#ifndef APPCORE_TASK_KINDS_H
#define APPCORE_TASK_KINDS_H

#include "base/arena.h"
#include "base/config.h"
#include "model/set.h"
#include "store/tasks.h"

/* What a kind's function is given. */
struct task_run {
	const struct task_row *task;
	const struct config *config;
	struct db *db;            /* for reading and writing outside of a transaction; not if the kind computes */
	struct model_set *models; /* held while it runs */
	struct shm *shm;          /* what it counts in */
	struct arena *arena;      /* reset after the task */
	struct str result;        /* set by the function: JSON, in the arena */
	struct task_worker *worker;
	struct task_beside *beside; /* the thread that computes; NULL: the worker's own */
};

/* Effects that are stored with the task's progress: one transaction, run again as a whole when it is lost. */
typedef enum status task_effect(struct db *db, struct task_run *run, void *arg, struct err *err);

/* Stores progress (`done` of `total`) together with what `effect` (may be NULL) writes, renews the lease, and wakes
 * listeners. STATUS_CANCELLED: the task is to end (cancelled, or the worker stops): return it at once. STATUS_CONFLICT:
 * the task is somebody else's by now: return it. Long kinds call it at least every second. */
enum status task_checkpoint(struct task_run *run, int64_t done, int64_t total, task_effect *effect, void *arg,
			    struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* The same, but returns before it is stored: what `effect` and `arg` work with must stay until the next call of any of
 * these functions has returned, and that one tells what came of it. A kind that computes goes on meanwhile; for others
 * this is task_checkpoint. */
enum status task_checkpoint_begin(struct task_run *run, int64_t done, int64_t total, task_effect *effect, void *arg,
				  struct err *err) __attribute__((nonnull(1), warn_unused_result));
/* Waits until what was begun is stored. */
enum status task_checkpoint_end(struct task_run *run, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* Runs read(db, run, arg) outside of a transaction, where a kind that computes may use no connection. Waits as
 * task_checkpoint_end does. */
enum status task_read(struct task_run *run, task_effect *read, void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* STATUS_OK: run->result is the result. STATUS_INVALID: the payload can't be worked on, whoever tries (failed).
 * STATUS_CANCELLED, STATUS_CONFLICT: as task_checkpoint said. Anything else: tried again later. */
typedef enum status task_function(struct task_run *run, struct err *err);

enum task_callers {
	TASK_CALLERS_NONE,  /* schedules and the command line */
	TASK_CALLERS_ADMIN, /* superusers */
	TASK_CALLERS_USERS, /* everybody who is logged in */
};

struct task_kind {
	const char *name; /* "sentiment_batch" */
	task_function *run;
	/* May be NULL. Whether a payload is good: NULL, or a sentence; *field gets the member that is wrong (static).
	 */
	const char *(*check)(struct str payload, const char **field);
	enum task_callers callers;
	bool small; /* takes less than a few milliseconds: many are claimed and finished in one transaction */
	/* It computes for long: its function runs in a thread that goes on when nobody else wants a processor, so that
	 * those who wait for answers do not feel it. It uses the database through task_read and checkpoints only, which
	 * run in a thread like any other, pauses now and then (polite_point), and keeps each effect down to less than
	 * a millisecond or so, for others wait for the turn to write. */
	bool computes;
	int attempts;          /* without progress, before it is dead */
	int backoff_s;         /* before the second attempt; doubles, with jitter, up to an hour */
	int time_limit_s;      /* of one attempt */
	int result_lifetime_s; /* after the end; 0: for ever */
};

/* Of what schedules add: before whatever users and superusers may ask for. */
enum { TASK_PRIORITY_MAX_OF_USERS = 10, TASK_PRIORITY_MAX = 100, TASK_PRIORITY_SERVICE = 1000 };

extern const struct task_kind TASK_KINDS[];
extern const int TASK_KINDS_N;
const struct task_kind *task_kind_find(struct str name);

#endif
