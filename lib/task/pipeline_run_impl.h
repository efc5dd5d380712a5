/* What the files of the kind "pipeline_run" share: pipeline_run.c (the run's beginning and end), pipeline_read.c (a
 * file), pipeline_read_api.c (an API), pipeline_store.c (batches and the position). Nobody else includes this. */
#ifndef APPCORE_TASK_PIPELINE_RUN_IMPL_H
#define APPCORE_TASK_PIPELINE_RUN_IMPL_H

#include "pipeline/feed.h"
#include "task/functions.h"
#include "task/pipeline_impl.h"
#include "task/pipeline_metrics.h"

enum { STEP_MOST = 10000 /* records in a transaction, whatever BATCH_SIZE says */ };

struct work {
	struct task_run *run;
	struct run_row row;
	struct pipeline *pipeline;
	struct source *source;
	struct feed *feed;
	struct api *api;    /* NULL: the source is a file */
	int64_t page_items; /* of the page that is read */
	int64_t before;     /* bytes of the pages before it */
	char path[PIPELINE_PATH_BYTES], identity[200], archived[PIPELINE_PATH_BYTES];
	struct stat was; /* of the source when it was opened */
	struct source_position at;
	int64_t skip; /* records behind `at` that are done */
	struct outputs outputs;
	struct buf position;
	struct pipeline_metrics metrics;
	bool begun; /* the row says that it runs */
	bool reopen;

	size_t limit, step;
	int short_steps;
	struct record_row *records; /* `limit` of these five */
	struct refusal_row *refusals;
	char *outcome;
	bool *wanted;       /* in the run's files */
	bool *assumed;      /* what they have of the batch, if it was written ahead */
	struct arena arena; /* of a batch */

	int64_t *lines; /* of a run that repeats what was refused: which, in order */
	size_t lines_n, lines_at;
};

/* STATUS_NO_MEMORY. */
enum status work_no_memory(struct err *err);

/* --- pipeline_read.c --- */

/* Reads the run's file from where it is, and stores all of it; again when it has grown meanwhile. STATUS_INVALID: it is
 * gone, or another one. */
enum status work_read_file(struct work *work, struct err *err) __attribute__((nonnull, warn_unused_result));
/* Ends the feed and closes the source, if they are open. */
void work_close_source(struct work *work) __attribute__((nonnull));

/* --- pipeline_read_api.c --- */

/* The same for the pages of an API. */
enum status work_read_api(struct work *work, struct err *err) __attribute__((nonnull, warn_unused_result));

/* --- pipeline_store.c --- */

/* Stores a chunk but for its first records, which are stored, batch by batch, and moves the work on. */
enum status work_store_chunk(struct work *work, const struct feed_chunk *chunk, struct err *err)
	__attribute__((nonnull, warn_unused_result));
/* A page without items, or that nothing came of: the same as its last batch would do. */
enum status work_store_page_end(struct work *work, struct err *err) __attribute__((nonnull, warn_unused_result));

/* The position as the run's row has it, from the work into work->position and back. False: no memory. */
bool work_write_position(struct work *work, bool page_done, struct source_position at, int64_t skip,
			 const int64_t lengths[OUTPUTS]) __attribute__((nonnull, warn_unused_result));
void work_read_position(struct work *work) __attribute__((nonnull));
/* Something of the source, or of the page, is stored already. */
bool work_is_begun(const struct work *work) __attribute__((nonnull, pure));

/* Appends `before` and the number. */
void work_put_member(struct buf *out, struct str before, int64_t value) __attribute__((nonnull));

#endif
