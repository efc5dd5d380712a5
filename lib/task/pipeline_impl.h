/* What the files of the kinds pipeline_run and pipeline_ingest share. Nobody else includes this. */
#ifndef APPCORE_TASK_PIPELINE_IMPL_H
#define APPCORE_TASK_PIPELINE_IMPL_H

#include "pipeline/definition.h"
#include "pipeline/reader.h"
#include "shared/metrics.h"
#include "store/records.h"
#include "store/runs.h"
#include "task/kinds.h"

#include <sys/stat.h>

enum {
	PIPELINE_PATH_BYTES = 4096,
	PIPELINE_QUIET_US = 2000000, /* a file that was changed before that is whole */
};

/* --- pipeline_files.c: files in DATA_DIR/processed --- */

enum { OUTPUT_CSV, OUTPUT_JSON_LINES, OUTPUTS };

struct output_columns {
	struct str *names;
	struct json_value *cells; /* of a row */
	size_t n;
};

/* Files that grow with each batch. How long they are is recorded with the batch, so that whoever goes on cuts off what
 * was written and not recorded. */
struct outputs {
	int fd[OUTPUTS];               /* -1: not wanted */
	int64_t length[OUTPUTS];       /* as recorded */
	int64_t end[OUTPUTS];          /* of what is in them, recorded or not */
	struct output_columns columns; /* of the CSV */
	struct buf text;
	struct arena arena; /* of one row */
};

void outputs_init(struct outputs *outputs) __attribute__((nonnull));
/* Opens what the pipeline wants and cuts it to the lengths that are there. `source`: as shown. */
enum status outputs_open(struct outputs *outputs, const struct config *config, const struct pipeline *pipeline,
			 const struct source_shape *shape, struct str source, const struct id *run, struct arena *arena,
			 struct err *err) __attribute__((nonnull(1, 2, 3, 4, 6, 7), warn_unused_result));
bool outputs_are_wanted(const struct outputs *outputs) __attribute__((nonnull));
/* Writes rows[i] for which wanted[i] is set behind what is recorded, in place of what was written there before, and has
 * the disk keep it. *lengths are then what is to be recorded: the outputs' own, once the transaction is committed. */
enum status outputs_write(struct outputs *outputs, const struct record_row *rows, const bool *wanted, size_t n,
			  int64_t lengths[static OUTPUTS], struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* Takes away what is not recorded. */
void outputs_cut(struct outputs *outputs) __attribute__((nonnull));
void outputs_close(struct outputs *outputs) __attribute__((nonnull));

/* --- pipeline_files.c: where sources are --- */

/* A run's path: in DATA_DIR, or absolute. False: too long. */
bool pipeline_path(const struct config *config, struct str path, char out[static PIPELINE_PATH_BYTES])
	__attribute__((nonnull, warn_unused_result));
/* Makes DATA_DIR/raw, processed and archive. */
enum status pipeline_make_folders(const struct config *config, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* Moves the source of a run to DATA_DIR/archive, if it is still the file that was read; *now (PIPELINE_PATH_BYTES) is
 * the run's path from then on. False: it could not be moved, which is logged; it must not be read again. */
bool pipeline_archive(const struct config *config, const struct run_row *run, const struct stat *was,
		      char now[static PIPELINE_PATH_BYTES]) __attribute__((nonnull, warn_unused_result));
/* Finds where pipeline_archive has moved it. */
bool pipeline_find_archived(const struct config *config, const struct run_row *run,
			    char path[static PIPELINE_PATH_BYTES]) __attribute__((nonnull, warn_unused_result));

/* --- pipeline_http.c: APIs --- */

#define PIPELINE_API_PATH "api:" /* what a run's path begins with that reads one */

struct api;

/* Goes on where the row's position is. */
enum status api_open(struct api **out, struct task_run *run, const struct run_row *row, const struct pipeline *pipeline,
		     struct err *err) __attribute__((nonnull, warn_unused_result));
void api_close(struct api *api); /* NULL is allowed */

/* The page where it is: its array, borrowed until the next call, and how many items that has; p is NULL: there is
 * nothing (more). *same: the page is the one that the position was in; if not, it is to be read from its beginning. */
enum status api_fetch(struct api *api, struct str *array, int64_t *items, bool *same, struct err *err)
	__attribute__((nonnull, warn_unused_result));

/* Appends the member "page" of a position: in this page, or behind it. */
void api_put_position(const struct api *api, bool page_done, struct buf *out) __attribute__((nonnull));
/* In the transaction that stores the last of a page, or of a run for which there was none. */
enum status api_store(struct db *db, const struct api *api, struct err *err)
	__attribute__((nonnull, warn_unused_result));
/* After it: to the next page. */
void api_advance(struct api *api) __attribute__((nonnull));
int64_t api_pages(const struct api *api) __attribute__((nonnull)); /* that are done */

#endif
