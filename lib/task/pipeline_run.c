/* The kind "pipeline_run": a source is read, applied and stored, batch by batch. This file begins and ends a run.
 *
 * The feed's threads read and apply; the task's thread stores. Records, refusals, counts, the position in the source,
 * the lengths of the files that the run writes and the task's progress are one transaction, so that a run that is
 * killed anywhere goes on exactly behind the last batch that was committed. */
#include "task/pipeline_run_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "task/ingest.h"

#include <stdlib.h>

enum { BATCH_BYTES = 64 << 20 /* of what is mended in a batch */ };

enum status work_no_memory(struct err *err)
{
	return err_set(err, STATUS_NO_MEMORY, "no memory for a run of a pipeline");
}

/* --- the end --- */

struct end {
	struct run_row row;
	bool park; /* its file stays where it is, and must not be read again unless it is changed */
};

static enum status store_end(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct end *end = arg;

	(void)run;
	enum status status = runs_update(db, &end->row, err);
	return status == STATUS_OK && end->park ? runs_park(db, &end->row.id, err) : status;
}

static enum status end_run(struct work *work, enum run_state state, struct str error, bool park, struct err *err)
{
	struct end end = {.row = work->row, .park = park};
	const struct run_counts *counts = &work->row.counts;

	if (!work_write_position(work, false, work->at, work->skip, work->outputs.length))
		return work_no_memory(err);
	end.row.position = buf_view(&work->position);
	end.row.state = state;
	end.row.error = error;
	end.row.ended_us = clock_wall_us();
	end.row.busy_key = (struct str){0};
	enum status status = task_checkpoint(work->run, counts->bytes_read, counts->bytes_total, store_end, &end, err);
	if (status == STATUS_OK)
		pipeline_metrics_end(&work->metrics, state);
	return status;
}

static bool lies_in_data_dir(const struct run_row *row)
{
	return row->path.n > 0 && row->path.p[0] != '/' && !str_starts(row->path, STR("archive/")) &&
	       !str_starts(row->path, STR(PIPELINE_API_PATH));
}

static enum status complete(struct work *work, struct err *err)
{
	bool moved = true;

	if (lies_in_data_dir(&work->row)) {
		moved = pipeline_archive(work->run->config, &work->row, &work->was, work->archived);
		work->row.path = str_of(work->archived);
	}
	return end_run(work, RUN_COMPLETED, STR(""), !moved, err);
}

struct ending {
	struct work *work;
	bool cancelled, paused;
};

/* The task was cancelled by somebody who said nothing to the run. */
static enum status note_cancelled(struct db *db, void *arg, struct err *err)
{
	struct ending *ending = arg;
	const struct id *id = &ending->work->row.id;
	struct task_row task;
	struct run_row now = {0};

	ending->cancelled = ending->paused = false;
	arena_reset(&ending->work->arena);
	enum status status = tasks_find(db, id, -1, &ending->work->arena, &task, err);
	if (status == STATUS_OK)
		status = runs_find(db, id, &ending->work->arena, &now, err);
	ending->paused = status == STATUS_OK && now.state == RUN_PAUSED;
	if (status != STATUS_OK || !task.cancel || (now.state != RUN_RUNNING && now.state != RUN_PENDING))
		return status;
	ending->cancelled = true;
	status = runs_set_state(db, id, RUN_CANCELLED, STR("Its task was cancelled."), clock_wall_us(), err);
	return status == STATUS_OK ? runs_park(db, id, err) : status;
}

static enum status finish(struct work *work, enum status status, struct err *err)
{
	struct ending ending = {.work = work};
	struct err other, why = *err;

	switch (status) {
	case STATUS_OK:
		return complete(work, err);
	case STATUS_CANCELLED:
		/* Whatever comes of this, what looks after runs whose task is over will find it. */
		if (db_transact(work->run->db, 1000, note_cancelled, &ending, &other) == STATUS_OK && ending.cancelled)
			pipeline_metrics_end(&work->metrics, RUN_CANCELLED);
		if (ending.paused) /* its listeners are told this */
			return err_set(err, STATUS_CANCELLED, "It was paused.");
		return status;
	case STATUS_INVALID:
	case STATUS_TOO_LARGE:
		status = end_run(work, RUN_FAILED, str_of(why.text), lies_in_data_dir(&work->row), err);
		if (status != STATUS_OK)
			return status;
		log_event(LOG_LEVEL_WARNING, "run of the pipeline %.*s failed: %s", STR_ARG(work->row.pipeline),
			  why.text);
		*err = why;
		return err->status = STATUS_INVALID;
	default:
		return status;
	}
}

/* --- the beginning --- */

struct lines {
	struct work *work;
	size_t cap;
	int64_t after;
	bool failed;
};

static bool note_line(void *arg, const struct refusal_row *row)
{
	struct lines *lines = arg;
	struct work *work = lines->work;

	if (work->lines_n == lines->cap) {
		size_t cap = lines->cap ? lines->cap * 2 : 256;
		int64_t *grown = realloc(work->lines, cap * sizeof(*grown));
		lines->failed = !grown;
		if (!grown)
			return false;
		work->lines = grown;
		lines->cap = cap;
	}
	work->lines[work->lines_n++] = row->line;
	lines->after = row->n;
	return true;
}

static int by_line(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Which lines the run is to read that repeats what another refused. */
static enum status find_lines(struct work *work, struct err *err)
{
	enum { PIECE = 5000 };
	struct lines lines = {.work = work};
	enum status status = STATUS_OK;
	size_t before;

	if (work->row.retry_of == 0)
		return STATUS_OK;
	do {
		before = work->lines_n;
		status = runs_list_refusals(work->run->db, work->row.retry_of, lines.after, PIECE, note_line, &lines,
					    err);
	} while (status == STATUS_OK && !lines.failed && work->lines_n - before == PIECE);
	if (status == STATUS_OK && lines.failed)
		status = work_no_memory(err);
	if (status == STATUS_OK && work->lines_n > 0)
		qsort(work->lines, work->lines_n, sizeof(*work->lines), by_line);
	if (status == STATUS_OK && !work->lines && !(work->lines = calloc(1, sizeof(*work->lines))))
		status = work_no_memory(err);
	return status;
}

static enum status begin(struct work *work, struct err *err)
{
	struct task_run *run = work->run;
	struct buf problems;

	enum status status = runs_find(run->db, &run->task->id, run->arena, &work->row, err);
	if (status == STATUS_NOT_FOUND)
		return err_set(err, STATUS_INVALID, "Runs are made by POST /api/v1/data/runs or appcore ingest.");
	if (status != STATUS_OK)
		return status;
	if (work->row.path.n == 0)
		return err_set(err, STATUS_INVALID, "The run has no file to read.");
	buf_init(&problems, run->arena);
	status = pipeline_parse(work->row.definition, work->row.pipeline, run->arena, &work->pipeline, &problems, err);
	if (status == STATUS_INVALID && problems.n > 0)
		status = err_set(err, STATUS_INVALID, "The pipeline's definition is wrong: %.*s",
				 problems.n < 180 ? (int)problems.n : 180, problems.p);
	if (status != STATUS_OK)
		return status;
	if (str_starts(work->row.path, STR(PIPELINE_API_PATH)) && !work->pipeline->source.api)
		return err_set(err, STATUS_INVALID, "The run has no file to read.");
	work_read_position(work);
	if (work->row.started_us == 0)
		work->row.started_us = clock_wall_us();
	work->row.error = STR("");
	int64_t limit = work->pipeline->batch_size > 0 ? work->pipeline->batch_size : run->config->batch_size;
	work->limit = limit < 1 ? 1 : limit > STEP_MOST ? STEP_MOST : (size_t)limit;
	work->step = work->limit;
	work->records = calloc(work->limit, sizeof(*work->records));
	work->refusals = calloc(work->limit, sizeof(*work->refusals));
	work->outcome = calloc(work->limit + 1, 1);
	work->wanted = calloc(work->limit, sizeof(*work->wanted));
	work->assumed = calloc(work->limit, sizeof(*work->assumed));
	if (!work->records || !work->refusals || !work->outcome || !work->wanted || !work->assumed)
		return work_no_memory(err);
	pipeline_metrics_init(&work->metrics, run->shm, work->pipeline);
	return find_lines(work, err);
}

static enum status store_begin(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	(void)run;
	return runs_update(db, arg, err);
}

/* From now on the row says that it runs. */
static enum status tell_begin(struct work *work, struct err *err)
{
	struct run_row row = work->row;

	row.state = RUN_RUNNING;
	return task_checkpoint(work->run, work->row.counts.bytes_read, work->row.counts.bytes_total, store_begin, &row,
			       err);
}

/* Before the first records come in it costs nothing. One that can't be made is no reason not to run. */
static void make_indexes(struct work *work)
{
	const struct pipeline *pipeline = work->pipeline;
	struct err err = {0};

	for (int i = 0; i < pipeline->fields_n; i++) {
		const struct pipeline_field *field = &pipeline->fields[i];
		bool is_number = pipeline_type_is_number(field->type);
		if (!field->index || !(pipeline->to & PIPELINE_TO_RECORDS) ||
		    records_index_field(work->run->db, work->row.pipeline_id, field->name, is_number, &err) ==
			    STATUS_OK)
			continue;
		log_event(LOG_LEVEL_WARNING,
			  "the field \"%.*s\" of the pipeline %s gets no index now: %s; appcore pipeline index %s "
			  "makes it",
			  STR_ARG(field->name), pipeline->name, err.text, pipeline->name);
	}
}

static void put_result(struct work *work)
{
	const struct run_counts *counts = &work->row.counts;
	struct buf out;

	buf_init(&out, work->run->arena);
	work_put_member(&out, STR("{\"rows_read\":"), counts->rows_read);
	work_put_member(&out, STR(",\"stored\":"), counts->stored);
	work_put_member(&out, STR(",\"replaced\":"), counts->replaced);
	work_put_member(&out, STR(",\"skipped\":"), counts->skipped);
	work_put_member(&out, STR(",\"refused\":"), counts->refused);
	if (work->api)
		work_put_member(&out, STR(",\"pages\":"), api_pages(work->api));
	buf_char(&out, '}');
	work->run->result = out.failed ? STR("{}") : buf_view(&out);
}

static void release(struct work *work)
{
	work_close_source(work);
	api_close(work->api);
	outputs_close(&work->outputs);
	arena_release(&work->arena);
	buf_release(&work->position);
	free(work->records);
	free(work->refusals);
	free(work->outcome);
	free(work->wanted);
	free(work->assumed);
	free(work->lines);
	free(work);
}

enum status task_pipeline_run(struct task_run *run, struct err *err)
{
	struct work *work = calloc(1, sizeof(*work));

	if (!work)
		return work_no_memory(err);
	work->run = run;
	outputs_init(&work->outputs);
	buf_init_heap(&work->position);
	arena_init(&work->arena, BATCH_BYTES);
	enum status status = begin(work, err);
	bool known = work->pipeline != NULL;
	if (status == STATUS_OK && known && work->row.state != RUN_COMPLETED) {
		status = pipeline_make_folders(run->config, err);
		if (status == STATUS_OK)
			status = tell_begin(work, err);
		if (status == STATUS_OK && known)
			make_indexes(work);
		if (status == STATUS_OK)
			status = str_starts(work->row.path, STR(PIPELINE_API_PATH)) ? work_read_api(work, err)
										    : work_read_file(work, err);
		status = finish(work, status, err);
	} else if (status == STATUS_INVALID && work->row.number > 0) {
		status = finish(work, status, err);
	}
	if (status == STATUS_OK)
		put_result(work);
	if (known)
		pipeline_metrics_stop(&work->metrics);
	release(work);
	return status;
}
