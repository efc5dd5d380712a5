/* Making runs, and what is wanted of them. A run that is paused or cancelled has a cancelled task; going on puts the
 * task back into the queue, so that a run has one identifier for as long as it lives. */
#include "task/ingest.h"

#include "base/clock.h"
#include "base/json.h"
#include "pipeline/definition.h"
#include "pipeline/http_source.h"
#include "pipeline/http_url.h"
#include "store/users.h"
#include "task/pipeline_impl.h"

#include <stdio.h>

#define API_PATH PIPELINE_API_PATH

enum { RUN_BYTES = 2 << 20 /* of a run's row, definition and all */ };

/* {"pipeline":"dataflow","source":"a.csv"}: for whoever lists tasks; the run has all that counts. */
static enum status add_task(struct db *db, const struct id *id, int64_t user_id, struct str pipeline, struct str source,
			    const struct tasks_bound *bound, struct err *err)
{
	struct task_row task = {.id = *id, .user_id = user_id};
	enum tasks_room room = TASKS_ROOM;
	struct buf payload;
	bool stored;

	snprintf(task.kind, sizeof(task.kind), "%s", INGEST_KIND_RUN);
	buf_init_heap(&payload);
	buf_str(&payload, STR("{\"pipeline\":"));
	json_put_string(&payload, pipeline);
	buf_str(&payload, STR(",\"source\":"));
	json_put_string(&payload, source);
	buf_char(&payload, '}');
	enum status status = payload.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for a task") : STATUS_OK;
	task.payload = buf_view(&payload);
	if (status == STATUS_OK)
		status = tasks_begin_change(db, &task.change, err);
	if (status == STATUS_OK)
		status = bound->tasks > 0 || bound->bytes > 0
				 ? tasks_insert_within(db, &task, bound, &stored, &room, err)
				 : tasks_insert(db, &task, &stored, err);
	buf_release(&payload);
	if (status == STATUS_OK && room != TASKS_ROOM)
		status = err_set(err, STATUS_LIMITED,
				 "Too many of your tasks are waiting (USER_TASKS_PENDING, USER_TASKS_BYTES). Try again "
				 "when some are done, or cancel some.");
	return status;
}

static enum status start(struct db *db, struct run_row *row, const struct tasks_bound *bound, struct id *id,
			 bool *started, struct err *err)
{
	struct id is;

	*started = false;
	row->created_us = clock_wall_us();
	row->id = *id;
	row->state = RUN_PENDING;
	if (!row->busy_key.p && row->path.n > 0)
		row->busy_key = row->path;
	enum status status = runs_pipeline_id(db, row->pipeline, row->created_us, &row->pipeline_id, err);
	if (status == STATUS_OK)
		status = runs_insert(db, row, started, &is, err);
	if (status != STATUS_OK)
		return status;
	if (*started)
		return add_task(db, id, row->user_id, row->pipeline, row->source, bound, err);
	/* The very run is there: this was committed before, and nobody heard of it. */
	*started = memcmp(is.b, id->b, sizeof(is.b)) == 0;
	*id = is;
	return STATUS_OK;
}

enum status ingest_start(struct db *db, const struct ingest *ingest, struct id *id, bool *started, struct err *err)
{
	struct run_row row = {
		.user_id = ingest->user_id,
		.pipeline = ingest->pipeline,
		.source = ingest->source,
		.path = ingest->path,
		.origin = ingest->origin,
		.definition = ingest->definition,
		.busy_key = ingest->busy_key,
		.counts = {.bytes_total = ingest->bytes},
	};

	return start(db, &row, &ingest->bound, id, started, err);
}

enum status ingest_start_api(struct db *db, const struct pipeline *pipeline, int64_t user_id,
			     const struct tasks_bound *bound, struct id *id, bool *started, struct err *err)
{
	char path[PIPELINE_NAME_BYTES + sizeof(API_PATH)];
	struct buf source;

	*started = false;
	if (!pipeline->source.api)
		return err_set(err, STATUS_INVALID, "The pipeline %s reads files: it has no \"http\".", pipeline->name);
	snprintf(path, sizeof(path), "%s%s", API_PATH, pipeline->name);
	buf_init_heap(&source);
	http_url_put_shown(&source, pipeline->source.api->url);
	struct ingest ingest = {
		.pipeline = str_of(pipeline->name),
		.definition = pipeline->text,
		.user_id = user_id,
		.source = buf_view(&source),
		.path = str_of(path),
		.origin = STR("http"),
		.bound = bound ? *bound : (struct tasks_bound){0},
	};
	enum status status = source.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for a run")
					   : ingest_start(db, &ingest, id, started, err);
	buf_release(&source);
	return status;
}

/* Asks the task to end. One that is over already, or gone, has ended. */
static enum status end_task(struct db *db, const struct id *id, struct arena *arena, struct err *err)
{
	struct task_row task;
	int64_t change;

	enum status status = tasks_begin_change(db, &change, err);
	if (status == STATUS_OK)
		status = tasks_cancel(db, id, -1, change, clock_wall_us(), arena, &task, err);
	return status == STATUS_CONFLICT || status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status stop(struct db *db, const struct id *id, enum run_state to, struct err *err)
{
	struct arena arena;
	struct run_row run;

	arena_init(&arena, RUN_BYTES);
	enum status status = runs_find(db, id, &arena, &run, err);
	if (status == STATUS_OK && run.state != to) {
		bool can = run.state == RUN_PENDING || run.state == RUN_RUNNING ||
			   (run.state == RUN_PAUSED && to == RUN_CANCELLED);
		status = can ? end_task(db, id, &arena, err)
			     : err_set(err, STATUS_CONFLICT, "The run is over: it is %s.", run_state_name(run.state));
		if (status == STATUS_OK)
			status = runs_set_state(db, id, to, STR(""), to == RUN_CANCELLED ? clock_wall_us() : 0, err);
		if (status == STATUS_OK && to == RUN_CANCELLED)
			status = runs_park(db, id, err);
	}
	arena_release(&arena);
	return status;
}

enum status ingest_cancel(struct db *db, const struct id *id, struct err *err)
{
	return stop(db, id, RUN_CANCELLED, err);
}

enum status ingest_pause(struct db *db, const struct id *id, struct err *err)
{
	return stop(db, id, RUN_PAUSED, err);
}

/* Its task again; one that has expired meanwhile is made anew. Whether it can be is known before anything is written:
 * callers commit what a conflict leaves. */
static enum status queue_again(struct db *db, const struct run_row *run, struct arena *arena, struct err *err)
{
	static const struct tasks_bound any = {0}; /* it was there before */
	struct task_row task;
	int64_t change;
	bool there;

	enum status status = tasks_begin_change(db, &change, err);
	if (status == STATUS_OK && run->user_id > 0)
		status = users_check_active(db, run->user_id, err);
	if (status == STATUS_OK)
		status = tasks_find(db, &run->id, -1, arena, &task, err);
	there = status == STATUS_OK;
	if (there && (!task_is_over(task.status) || task.status == TASK_COMPLETED))
		return err_set(err, STATUS_CONFLICT, "The run's worker has not ended yet; try again in a moment.");
	if (there || status == STATUS_NOT_FOUND)
		status = runs_take_source(db, &run->id, err);
	if (status != STATUS_OK)
		return status;
	return there ? tasks_retry(db, &run->id, change, clock_wall_us(), err)
		     : add_task(db, &run->id, run->user_id, run->pipeline, run->source, &any, err);
}

enum status ingest_resume(struct db *db, const struct id *id, struct err *err)
{
	struct arena arena;
	struct run_row run;

	arena_init(&arena, RUN_BYTES);
	enum status status = runs_find(db, id, &arena, &run, err);
	if (status == STATUS_OK && run.state == RUN_COMPLETED)
		status = err_set(err, STATUS_CONFLICT, "The run is over: it is completed.");
	else if (status == STATUS_OK && run.state != RUN_PENDING && run.state != RUN_RUNNING) {
		status = queue_again(db, &run, &arena, err);
		if (status == STATUS_OK)
			status = runs_set_state(db, id, RUN_PENDING, STR(""), 0, err);
	}
	arena_release(&arena);
	return status;
}

enum status ingest_retry(struct db *db, const struct id *of, struct str definition, int64_t user_id,
			 const struct tasks_bound *bound, struct id *id, bool *started, struct err *err)
{
	struct arena arena;
	struct run_row run;

	*started = false;
	arena_init(&arena, RUN_BYTES);
	enum status status = runs_find(db, of, &arena, &run, err);
	if (status == STATUS_OK && (run.state < RUN_COMPLETED || run.counts.refused == 0 || run.path.n == 0 ||
				    str_starts(run.path, STR(API_PATH))))
		status = err_set(err, STATUS_CONFLICT, "%s",
				 run.state < RUN_COMPLETED ? "The run is not over yet."
				 : run.counts.refused == 0 ? "The run refused nothing."
							   : "The run's source was no file: it can't be read again.");
	if (status == STATUS_OK) {
		struct run_row row = {
			.user_id = user_id,
			.retry_of = run.number,
			.pipeline = run.pipeline,
			.source = run.source,
			.path = run.path,
			.origin = STR("retry"),
			.definition = definition.p ? definition : run.definition,
			.counts = {.bytes_total = run.counts.bytes_total},
		};
		status = start(db, &row, bound, id, started, err);
	}
	arena_release(&arena);
	return status;
}
