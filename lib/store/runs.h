/* Tables pipelines, data_runs and data_refusals: which pipeline read which source, how far it came, and what it
 * refused. All that writes wants a write transaction. */
#ifndef APPCORE_STORE_RUNS_H
#define APPCORE_STORE_RUNS_H

#include "base/arena.h"
#include "base/id.h"
#include "store/db.h"

enum run_state { RUN_PENDING, RUN_RUNNING, RUN_PAUSED, RUN_COMPLETED, RUN_FAILED, RUN_CANCELLED, RUN_STATE__MAX };
const char *run_state_name(enum run_state state) __attribute__((returns_nonnull)); /* "pending" */
bool run_state_parse(struct str name, enum run_state *out) __attribute__((nonnull, warn_unused_result));

struct run_counts {
	int64_t rows_read, stored, replaced, skipped, refused, bytes_read, bytes_total;
};

struct run_row {
	int64_t number;
	struct id id; /* its task's, too */
	int64_t pipeline_id, user_id;
	int64_t retry_of;    /* number of a run, or 0 */
	struct str pipeline; /* name */
	struct str source, path, origin, definition, position, identity, error;
	struct str busy_key; /* p is NULL: none */
	enum run_state state;
	struct run_counts counts;
	int64_t created_us, started_us, ended_us;
};

/* The small number of a pipeline's name; made when it is not there. */
enum status runs_pipeline_id(struct db *db, struct str name, int64_t now_us, int64_t *id, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));
/* The same for reading: STATUS_NOT_FOUND. */
enum status runs_find_pipeline(struct db *db, struct str name, int64_t *id, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* Adds a run (all but number, counts, started_us, ended_us; pipeline_id set). One whose id is there already, or whose
 * busy_key another run has, stays: *stored is false, and *is the id of the run that is there. */
enum status runs_insert(struct db *db, const struct run_row *row, bool *stored, struct id *is, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4), warn_unused_result));

/* One run; texts in the arena. STATUS_NOT_FOUND. */
enum status runs_find(struct db *db, const struct id *id, struct arena *arena, struct run_row *out, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4), warn_unused_result));

/* Newest first, below number `before` (0: from the newest); pipeline_id 0: of all; user_id negative: everybody's; state
 * negative: any. Texts are borrowed for the call. */
typedef bool run_row_fn(void *arg, const struct run_row *row);
enum status runs_list(struct db *db, int64_t pipeline_id, int64_t user_id, int state, int64_t before, int limit,
		      run_row_fn *fn, void *arg, struct err *err) __attribute__((nonnull(1, 7), warn_unused_result));

/* Moves a run on: state, counts, position, identity, path, error, started_us, ended_us, busy_key as they are in the
 * row; but to say that it is running does not undo that somebody paused or cancelled it meanwhile. STATUS_NOT_FOUND. */
enum status runs_update(struct db *db, const struct run_row *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The same without counts and all else that its worker keeps: what somebody wants of it. An empty error leaves the one
 * that is there. */
enum status runs_set_state(struct db *db, const struct id *id, enum run_state state, struct str error, int64_t ended_us,
			   struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

/* Of a run that is over and whose file lies where it was: the file is not read again unless it is changed. A source
 * without a path is free. */
enum status runs_park(struct db *db, const struct id *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
/* When the run ended that parked this path; 0: none did. */
enum status runs_find_parked(struct db *db, struct str path, int64_t *ended_us, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));
/* Takes the source again, for a run that goes on. STATUS_CONFLICT: another run has it. */
enum status runs_take_source(struct db *db, const struct id *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Ends the runs that wait or run and whose task is over or gone (cancelled or dead, without a word to its run),
 * and parks their files. *changed of them. */
enum status runs_end_strays(struct db *db, int64_t now_us, int64_t *changed, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

struct refusal_row {
	int64_t run, n, line;
	struct str key, field, value, reason, message;
};
enum status runs_insert_refusals(struct db *db, const struct refusal_row *rows, size_t n, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* In the order of the source, from n > `after`. Texts are borrowed for the call. */
typedef bool refusal_row_fn(void *arg, const struct refusal_row *row);
enum status runs_list_refusals(struct db *db, int64_t run, int64_t after, int limit, refusal_row_fn *fn, void *arg,
			       struct err *err) __attribute__((nonnull(1, 5), warn_unused_result));

#endif
