/* What is wanted of a pipeline's runs: they are made, stopped, continued and repeated here, by the handlers, by the
 * command line and by the task that looks at DATA_DIR/raw. A run is worked on by its task, which has its identifier and
 * the kind `pipeline_run`.
 *
 * All of them want a write transaction, are right when they are run again after it was committed, and leave the waking
 * of WAKE_TASKS and WAKE_EVENTS after the commit to their callers. */
#ifndef APPCORE_TASK_INGEST_H
#define APPCORE_TASK_INGEST_H

#include "base/arena.h"
#include "base/id.h"
#include "store/db.h"
#include "store/runs.h"
#include "store/tasks.h"

#define INGEST_KIND_RUN  "pipeline_run"
#define INGEST_KIND_LOOK "pipeline_ingest"

struct pipeline;

/* A run that somebody wants. */
struct ingest {
	struct str pipeline; /* its name, and its definition's text (struct pipeline), of which the run keeps a copy */
	struct str definition;
	int64_t user_id;     /* 0: the service's own */
	struct str source;   /* as shown: a file's name without folders, a URL; names the files in data/processed */
	struct str path;     /* of the file, in DATA_DIR ("raw/a.csv", "uploads/…") or absolute; empty: not a file */
	struct str origin;   /* "raw", "upload", "command", "http": those of the first three are moved to the archive */
	struct str busy_key; /* p is NULL: the path, if there is one */
	int64_t bytes;       /* of the file, if known */
	struct tasks_bound bound; /* what its user may have waiting, with this one */
};

/* Makes a run and its task in the queue. *id: what to call it (id_of_edge); afterwards the run that is there, for one
 * that reads the same source may be under way (*started is false then).
 * STATUS_LIMITED: its user has enough waiting; STATUS_FORBIDDEN: they are switched off. */
enum status ingest_start(struct db *db, const struct ingest *ingest, struct id *id, bool *started, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4), warn_unused_result));

/* The same for a pipeline whose source is an API: one run reads it at a time. `bound` may be NULL. STATUS_INVALID: its
 * source is none. */
enum status ingest_start_api(struct db *db, const struct pipeline *pipeline, int64_t user_id,
			     const struct tasks_bound *bound, struct id *id, bool *started, struct err *err)
	__attribute__((nonnull(1, 2, 5, 6), warn_unused_result));

/* Ends a run's work at the next batch: for good, or until ingest_resume, which goes on exactly where it was; also one
 * that failed or was cancelled goes on. What has been stored stays. STATUS_NOT_FOUND; STATUS_CONFLICT: it is over, not
 * paused, or its worker has not ended yet. */
enum status ingest_cancel(struct db *db, const struct id *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status ingest_pause(struct db *db, const struct id *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status ingest_resume(struct db *db, const struct id *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* A new run over the same source of what the run `of` refused, by the definition given (the pipeline as it is now; p is
 * NULL: as it was then). user_id, bound, *id and what else may be wrong as for ingest_start. STATUS_CONFLICT: it is
 * not over, refused nothing, or its source is no file. */
enum status ingest_retry(struct db *db, const struct id *of, struct str definition, int64_t user_id,
			 const struct tasks_bound *bound, struct id *id, bool *started, struct err *err)
	__attribute__((nonnull(1, 2, 5, 6, 7), warn_unused_result));

#endif
