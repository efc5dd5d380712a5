/* Reading a run's file.
 *
 * What the source is, is looked at before each chunk is stored: one that was replaced or cut ends the run; one that
 * has grown is opened again before its last chunk, so that a line that was half there is read whole. */
#include "task/pipeline_run_impl.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

enum { GROWING_MS = 300 /* between two looks at a source that grows */ };

/* Somebody else puts files into DATA_DIR/raw, perhaps piece by piece. */
static bool is_being_written(const struct work *work, const struct stat *st)
{
	int64_t age_us = clock_wall_us() - st->st_mtim.tv_sec * INT64_C(1000000) - st->st_mtim.tv_nsec / 1000;

	return str_starts(work->row.path, STR("raw/")) && age_us >= 0 && age_us < PIPELINE_QUIET_US;
}

/* Whether the file at the run's path is the one that is being read, and as it was. */
static enum status look_at_source(struct work *work, const struct feed_chunk *chunk, struct err *err)
{
	struct stat st;

	if (stat(work->path, &st) != 0 || st.st_ino != work->was.st_ino || st.st_dev != work->was.st_dev)
		return STATUS_OK; /* moved away, or another one in its place: what is open stays as it is */
	bool last = chunk == NULL || chunk->bytes_done >= chunk->bytes_total;
	bool same = st.st_size == work->was.st_size && st.st_mtim.tv_sec == work->was.st_mtim.tv_sec &&
		    st.st_mtim.tv_nsec == work->was.st_mtim.tv_nsec;
	if (!same && (st.st_size < work->was.st_size || !source_is_same(work->source, work->identity)))
		return err_set(
			err, STATUS_INVALID,
			"The source was changed while it was read (behind line %lld): what came before is stored.",
			(long long)work->at.line);
	work->reopen = last && (!same || is_being_written(work, &st));
	return STATUS_OK;
}

/* Until there is nothing more, or the source is to be opened again. */
static enum status read_feed(struct work *work, struct err *err)
{
	const struct feed_chunk *chunk;

	for (;;) {
		enum status status = feed_next(work->feed, &chunk, err);
		if (status == STATUS_OK)
			status = look_at_source(work, chunk, err);
		if (status != STATUS_OK || !chunk || work->reopen)
			return status;
		status = work_store_chunk(work, chunk, err);
		if (status != STATUS_OK)
			return status;
	}
}

void work_close_source(struct work *work)
{
	feed_close(work->feed);
	source_close(work->source);
	work->feed = NULL;
	work->source = NULL;
}

/* A file that is gone may be in the archive already: then all but the last word was said. */
static enum status find_file(struct work *work, struct err *err)
{
	struct str path = work->row.path;

	if (!pipeline_path(work->run->config, path, work->path))
		return err_set(err, STATUS_INVALID, "The path of the source is too long.");
	if (lstat(work->path, &work->was) == 0)
		return STATUS_OK;
	if (work_is_begun(work) && pipeline_find_archived(work->run->config, &work->row, work->archived) &&
	    pipeline_path(work->run->config, str_of(work->archived), work->path) &&
	    lstat(work->path, &work->was) == 0) {
		work->row.path = str_of(work->archived);
		return STATUS_OK;
	}
	return err_set(err, STATUS_INVALID, "The source is gone: %.*s.", STR_ARG(path));
}

static enum status open_source(struct work *work, struct err *err)
{
	enum status status = find_file(work, err);

	if (status == STATUS_OK)
		status = source_open(&work->source, work->path, &work->pipeline->source, err);
	if (status == STATUS_OK)
		status = source_sync(work->source, err);
	if (status == STATUS_NOT_FOUND)
		status = err_set(err, STATUS_INVALID, "The source is gone: %.*s.", STR_ARG(work->row.path));
	if (status != STATUS_OK)
		return status;
	if (work->row.identity.n > 0 && work_is_begun(work)) {
		char was[sizeof(work->identity)];
		snprintf(was, sizeof(was), "%.*s", STR_ARG(work->row.identity));
		if (!source_is_same(work->source, was))
			return err_set(
				err, STATUS_INVALID,
				"The source is not the file whose first %lld lines are stored: it was changed or "
				"replaced.",
				(long long)work->at.line);
	}
	source_identify(work->source, work->identity);
	work->row.identity = str_of(work->identity);
	if (work_is_begun(work))
		status = source_seek(work->source, work->at, err);
	if (status == STATUS_OK && !outputs_are_wanted(&work->outputs))
		status = outputs_open(&work->outputs, work->run->config, work->pipeline, source_shape(work->source),
				      work->row.source, &work->row.id, work->run->arena, err);
	return status;
}

enum status work_read_file(struct work *work, struct err *err)
{
	static const struct timespec nap = {.tv_nsec = GROWING_MS * 1000000L};
	enum status status;

	do {
		work->reopen = false;
		status = open_source(work, err);
		if (status == STATUS_OK)
			status = feed_open(&work->feed, work->source, work->pipeline, work->run->models,
					   (int)work->run->config->max_workers, err);
		if (status == STATUS_OK)
			status = read_feed(work, err);
		work_close_source(work);
		if (status == STATUS_OK && work->reopen) {
			nanosleep(&nap, NULL);
			status = task_checkpoint(work->run, work->row.counts.bytes_read, work->row.counts.bytes_total,
						 NULL, NULL, err);
		}
	} while (status == STATUS_OK && work->reopen);
	return status;
}
