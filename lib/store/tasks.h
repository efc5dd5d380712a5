/* Table background_tasks: the queue, its states and its results; task_parts: payloads too large for a row.
 *
 * All that writes wants a write transaction and leaves the waking to its caller (wake.h, after the commit): whatever
 * adds or returns a task wakes WAKE_TASKS, whatever changes one wakes WAKE_EVENTS. Each transaction that changes tasks
 * takes one number for all of them (tasks_begin_change), which orders changes as they are committed.
 *
 * On PostgreSQL that number is a lock, on one row, until the commit. The order of locks: the number comes before any
 * row of background_tasks, and whoever has the number waits for no row that is locked before it: claims and expiry pass
 * over what is locked (SKIP LOCKED), and all else that goes with a change is locked after the number alone. A request's
 * batch may hold rows of other tables when it takes the number: so no circle goes through a worker. Two requests'
 * batches can still wait for each other; whoever the server ends then (40P01, STATUS_BUSY) is run again, as it is after
 * a lost connection. */
#ifndef APPCORE_STORE_TASKS_H
#define APPCORE_STORE_TASKS_H

#include "base/arena.h"
#include "base/id.h"
#include "store/db.h"

enum task_status {
	TASK_PENDING,
	TASK_PROCESSING,
	TASK_COMPLETED,
	TASK_FAILED, /* ended with an error that another try does not help */
	TASK_CANCELLED,
	TASK_DEAD, /* failed as often as its kind is tried: `appcore task retry` */
	TASK_STATUS__MAX
};
const char *task_status_name(enum task_status status) __attribute__((returns_nonnull)); /* "pending" */
bool task_status_parse(struct str name, enum task_status *out) __attribute__((nonnull, warn_unused_result));
static inline bool task_is_over(enum task_status status)
{
	return status >= TASK_COMPLETED;
}

enum { TASK_KIND_BYTES = 101, TASK_TIME_BYTES = 32, TASK_WORKER_BYTES = 65, TASK_PART_BYTES = 256 * 1024 };

struct task_row {
	struct id id;
	int64_t user_id; /* 0: the service's own */
	char kind[TASK_KIND_BYTES];
	enum task_status status;
	struct str payload, result, error; /* in the caller's arena when read; p is NULL where the column is */
	char created_at[TASK_TIME_BYTES], updated_at[TASK_TIME_BYTES];
	int64_t priority, run_us, lease_us, claim, attempts;
	char worker[TASK_WORKER_BYTES];
	bool cancel; /* asked for */
	bool lost;   /* just claimed, from a worker that lost it: that counts as an attempt with tasks_begin_again */
	int64_t done, total;
	int64_t expires_us, change;
	bool small;    /* of a kind that is claimed together; known when it is added, and when it was claimed */
	int64_t bytes; /* when it is added: what its user sent besides the payload */
	int64_t turn;  /* when it was claimed: its place in line */
};

typedef bool task_row_fn(void *arg, const struct task_row *row);

/* The number that all changes of this transaction carry. The row that counts is locked until the commit: see above
 * what may be locked after it. */
enum status tasks_begin_change(struct db *db, int64_t *change, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Adds a pending task: id, user_id, kind, payload, created_at (empty: now), priority, run_us (0: at once), total,
 * change, small, bytes. One that is there already stays (*stored false): the same request again. STATUS_FORBIDDEN:
 * its user is switched off (wants the changes' row, which whoever switches them off takes). */
enum status tasks_insert(struct db *db, const struct task_row *row, bool *stored, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* How much a user may have waiting. 0: any number. */
struct tasks_bound {
	int64_t tasks, bytes;
};
enum tasks_room { TASKS_ROOM, TASKS_TOO_MANY, TASKS_TOO_LARGE };
/* The same, of a user who may have so much waiting and no more, with this one. *room says why it was not stored when it
 * was not there already. */
enum status tasks_insert_within(struct db *db, const struct task_row *row, const struct tasks_bound *bound,
				bool *stored, enum tasks_room *room, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4, 5), warn_unused_result));
/* A read: whether the user has room for one more of so many bytes. */
enum status tasks_find_room(struct db *db, int64_t user_id, int64_t bytes, const struct tasks_bound *bound,
			    enum tasks_room *room, struct err *err)
	__attribute__((nonnull(1, 4, 5), warn_unused_result));

/* A part of a payload, by number from 0; parts come before their task. Reading: STATUS_NOT_FOUND past the last; the
 * data is in the arena. */
enum status tasks_insert_part(struct db *db, const struct id *task, int64_t number, struct str data, int64_t now_us,
			      struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));
/* Deletes one that is not needed any more; and all parts of a task that is over. */
enum status tasks_delete_part(struct db *db, const struct id *task, int64_t number, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status tasks_delete_parts(struct db *db, const struct id *task, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status tasks_read_part(struct db *db, const struct id *task, int64_t number, struct arena *arena, struct str *data,
			    struct err *err) __attribute__((nonnull(1, 2, 4, 5), warn_unused_result));

/* What a worker wants. */
struct tasks_wish {
	int64_t now_us;
	bool small_only;       /* no large one */
	bool small_first;      /* of one priority; else large ones are */
	int64_t large_of_user; /* so many large ones of a user run at once at the most; 0: any number. The service's own
				  may always */
};

/* Who claims, and what. */
struct tasks_claim {
	const char *worker;
	struct tasks_wish wish;
	int64_t lease_until_us, change;
};

/* Claims one whose lease has ended, alone, for it may be what ended its worker; else of those that are due the most
 * urgent: one large one, or at most `n` small ones of one priority (PostgreSQL: SKIP LOCKED). Users of one priority
 * take turns. Each claim counts as an attempt from then on, but for that of one that was lost. *found rows are set,
 * their texts in the arena. Wants the changes' row (tasks_begin_change). */
enum status tasks_claim(struct db *db, const struct tasks_claim *claim, struct task_row *rows, int n,
			struct arena *arena, int *found, struct err *err)
	__attribute__((nonnull(1, 2, 3, 5, 6), warn_unused_result));

/* One that was lost is begun again now: an attempt. STATUS_CONFLICT: it is not this worker's any more. */
enum status tasks_begin_again(struct db *db, const struct task_row *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* A read: whether there is something to claim, and if not, when the next one becomes due or a lease ends; 0: nobody
 * knows of any. */
enum status tasks_peek(struct db *db, const struct tasks_wish *wish, bool *due, int64_t *next_us, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4), warn_unused_result));

/* What a worker writes of a task that it holds: status, result, error, done, total, run_us, lease_us, attempts,
 * expires_us, change and the time; only where `claim` is still its own. STATUS_CONFLICT: it is not (the lease ended and
 * somebody else has it): roll back, nothing of this task may be stored. *cancel: it is to be cancelled; one that was to
 * go back to the queue is then. */
enum status tasks_update(struct db *db, const struct task_row *row, int64_t now_us, bool *cancel, struct err *err)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));

/* A worker's sign of life for a task that runs long: the lease alone, without a change to tell of. STATUS_CONFLICT: the
 * task is not its own any more. */
enum status tasks_renew(struct db *db, const struct id *id, int64_t claim, int64_t lease_us, bool *cancel,
			struct err *err) __attribute__((nonnull(1, 2, 5), warn_unused_result));

/* After the clock was set back. Finding is a read: at most `n` tasks whose lease, or whose turn when nobody gave a time
 * for it, lies in the future because the clock was there before; of each its id, run_us, lease_us (0: it waits), claim
 * and attempts. Bringing them back is a write: leases end lease_us from now if nobody renews them, turns are now. */
enum status tasks_find_ahead(struct db *db, int64_t now_us, int64_t lease_us, struct task_row *rows, int n, int *found,
			     struct err *err) __attribute__((nonnull(1, 4, 6), warn_unused_result));
enum status tasks_bring_back(struct db *db, const struct task_row *rows, int n, int64_t now_us, int64_t lease_us,
			     int64_t change, struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

/* Asks for an end: a pending one is cancelled at once, one that runs when its worker sees it. *row is the task after
 * it. `user_id` -1: anybody's. STATUS_NOT_FOUND, STATUS_CONFLICT (it is over; *row is set). */
enum status tasks_cancel(struct db *db, const struct id *id, int64_t user_id, int64_t change, int64_t now_us,
			 struct arena *arena, struct task_row *row, struct err *err)
	__attribute__((nonnull(1, 2, 6, 7), warn_unused_result));

/* The same for the tasks of a user, at most `limit` of those that wait and of those that run; *changed is 0 when there
 * are none. */
enum status tasks_cancel_of_user(struct db *db, int64_t user_id, int64_t change, int64_t now_us, int64_t limit,
				 int64_t *changed, struct err *err) __attribute__((nonnull(1, 6), warn_unused_result));

/* Puts a dead, failed or cancelled task into the queue again, with attempts from 0. STATUS_NOT_FOUND, STATUS_CONFLICT.
 */
enum status tasks_retry(struct db *db, const struct id *id, int64_t change, int64_t now_us, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Reading. `user_id` -1: anybody's. STATUS_NOT_FOUND. */
enum status tasks_find(struct db *db, const struct id *id, int64_t user_id, struct arena *arena, struct task_row *row,
		       struct err *err) __attribute__((nonnull(1, 2, 4, 5), warn_unused_result));

struct tasks_filter {
	int64_t user_id;         /* -1: anybody's */
	const struct id *before; /* those older than this one; NULL: from the newest */
	int status;              /* enum task_status; -1: any */
	struct str kind;         /* empty: any */
	int64_t limit;
};
/* Newest first, without payload and result. */
enum status tasks_list(struct db *db, const struct tasks_filter *filter, task_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Rows whose last change is after (change, id), in that order, without payload and result, at most `limit`. */
enum status tasks_changes(struct db *db, int64_t change, const struct id *id, int64_t user_id, int64_t limit,
			  task_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 3, 6), warn_unused_result));

/* Whether more than `most` tasks have changed since. */
enum status tasks_is_long_ago(struct db *db, int64_t change, int64_t most, bool *is, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

/* The newest change that is committed. */
enum status tasks_last_change(struct db *db, int64_t *change, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The time of the text columns: "2026-02-07T10:40:00.123456", UTC. */
void tasks_format_time(int64_t wall_us, char out[static TASK_TIME_BYTES]) __attribute__((nonnull));

/* How many are waiting (pending), running, and dead, by kind; of those that wait also the earliest run_us, else 0. */
typedef bool task_count_fn(void *arg, struct str kind, enum task_status status, int64_t n, int64_t oldest_us);
enum status tasks_count(struct db *db, task_count_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Deletes some parts of tasks that were cancelled, or of finished ones that expired before now_us, or at most `limit`
 * of the latter. Until there is no *more. Wants the changes' row: one that is put into the queue again keeps its parts.
 */
enum status tasks_expire(struct db *db, int64_t now_us, int64_t limit, int64_t *deleted, bool *more, struct err *err)
	__attribute__((nonnull(1, 4, 5), warn_unused_result));

/* Deletes some parts of no task that are older than a day; *deleted is 0 when there are none. */
enum status tasks_expire_parts(struct db *db, int64_t now_us, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

#endif
