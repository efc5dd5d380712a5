/* GET /api/v1/events: the caller's tasks as they change, and GET /api/v1/tasks/{task_id}/events: one task until it is
 * over (of a run of a pipeline also as /api/v1/data/runs/{run_id}/events), both as server-sent events (events.h says
 * what an event is).
 *
 *   Last-Event-ID, or ?last_event_id=   goes on behind it; without it the first starts from now, the second with the
 *                                       task as it is. From long ago the first starts with an event that says
 *                                       "reset", and from now
 *
 * The second answers 204 to who has seen the task's end already: that is how an EventSource is told not to come back.
 */
#include "events.h"

#include "base/log.h"
#include "handlers/handlers.h"
#include "handlers/tasks.h"
#include "http/query.h"
#include "task/ingest.h"

#include <string.h>

enum { CHANGES_ARE_FEW = 500 };

struct hearing {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	bool resumes;
	struct events_position seen; /* the last event that the client has */
	struct events_wish wish;
	int64_t newest; /* change */
	bool long_ago;  /* too much has changed since */
	struct task_row row;
	bool foreign;
	bool of_run; /* the task of a run, which everybody who is logged in may see */
};

/* The newer of both wins: a query is part of the address that an EventSource comes back to. False: answered. */
static bool read_last_id(struct request *req, struct hearing *hearing)
{
	struct str text = str_trim(req->last_event_id);
	bool header = text.n > 0;

	if (!header && (!request_query(req, STR("last_event_id"), &text) || text.n == 0))
		return true;
	hearing->resumes = events_parse_id(text, &hearing->seen);
	if (hearing->resumes)
		return true;
	text.n = text.n < 200 ? text.n : 200;
	invalid_answer_one(req, &(struct violation){.type = "event_id_invalid",
						    .msg = "Input should be the id of an event",
						    .where = header ? "header" : "query",
						    .field = header ? "Last-Event-ID" : "last_event_id",
						    .index = -1,
						    .input = invalid_input_text(req, text)});
	return false;
}

/* False: answered. */
static bool has_room(struct request *req)
{
	switch (events_room(req->app->events, &req->caller)) {
	case EVENTS_ROOM:
		return true;
	case EVENTS_USER_IS_FULL:
		response_header(&req->response, "Retry-After", STR("5"));
		request_answer_detail(req, 429, STR("Too many event streams at once. Close one first."));
		break;
	case EVENTS_WORKER_IS_FULL:
		request_refuse(req, STR("Too many event streams at once. Try again later."));
		break;
	}
	return false;
}

static void listen_or_finish(struct hearing *hearing)
{
	struct request *req = hearing->req;

	if (!has_room(req)) {
		request_finish(req);
	} else if (req->method == HTTP_HEAD) {
		req->response.status = 200;
		req->response.content_type = "text/event-stream";
		request_finish(req);
	} else {
		events_listen(req->app->events, req, &hearing->wish);
	}
}

static struct hearing *start(struct request *req)
{
	struct hearing *hearing = arena_zalloc(&req->arena, sizeof(*hearing));
	struct err err;

	if (!hearing) {
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	} else {
		hearing->req = req;
		if (has_room(req) && read_last_id(req, hearing))
			return hearing;
	}
	request_finish(req);
	return NULL;
}

static void submit(struct hearing *hearing)
{
	hearing->op.small = true;
	hearing->op.fresh = true;
	hearing->op.identity = hearing->req->edge.random;
	store_read(hearing->req->app->store, &hearing->op);
}

/* --- all of a user's --- */

/* A few changes are few tasks. */
static enum status read_newest(struct db *db, struct store_op *op, struct err *err)
{
	struct hearing *hearing = (struct hearing *)(void *)op;
	enum status status = tasks_last_change(db, &hearing->newest, err);
	int64_t since = hearing->newest - hearing->seen.change;

	hearing->long_ago = false;
	if (status == STATUS_OK && hearing->resumes && since > CHANGES_ARE_FEW)
		status = tasks_is_long_ago(db, hearing->seen.change, EVENTS_TOLD_AGAIN, &hearing->long_ago, err);
	return status;
}

/* From now is also who comes with a place that is ahead of all: of another time of this database, before it was
 * restored. Both are told so. */
static void newest_read(struct store_op *op)
{
	struct hearing *hearing = (struct hearing *)(void *)op;
	struct request *req = hearing->req;
	struct buf first;

	if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
		request_finish(req);
		return;
	}
	bool goes_on = hearing->resumes && hearing->seen.change <= hearing->newest && !hearing->long_ago;
	hearing->wish.from = goes_on ? hearing->seen : events_after(hearing->newest);
	if (hearing->resumes && !goes_on) {
		buf_init(&first, &req->arena);
		events_put_reset(&first, &hearing->wish.from);
		hearing->wish.first = first.failed ? (struct str){0} : buf_view(&first);
	}
	listen_or_finish(hearing);
}

void events_get(struct request *req)
{
	struct hearing *hearing = start(req);

	if (!hearing)
		return;
	if (!tasks_read_whose(req, &hearing->wish.user_id)) {
		request_finish(req);
		return;
	}
	hearing->op.run = read_newest;
	hearing->op.done = newest_read;
	submit(hearing);
}

/* --- one task's --- */

/* In this order: what changes after the first read is told by the walks. */
static enum status read_task(struct db *db, struct store_op *op, struct err *err)
{
	struct hearing *hearing = (struct hearing *)(void *)op;
	enum status status = tasks_last_change(db, &hearing->newest, err);

	if (status == STATUS_OK && hearing->of_run) {
		status = tasks_find(db, &hearing->wish.task, -1, &hearing->req->arena, &hearing->row, err);
		if (status == STATUS_OK && strcmp(hearing->row.kind, INGEST_KIND_RUN) != 0)
			status = err_set(err, STATUS_NOT_FOUND, "the task is no run's");
		return status;
	}
	if (status == STATUS_OK)
		status = tasks_find_visible(db, hearing->req, &hearing->wish.task, &hearing->req->arena, &hearing->row,
					    &hearing->foreign, err);
	return status;
}

static void answer_over(struct request *req)
{
	req->response.status = 204;
	response_header(&req->response, "Cache-Control", STR("no-store"));
	request_finish(req);
}

static void hear_task(struct hearing *hearing)
{
	struct events_wish *wish = &hearing->wish;
	const struct task_row *row = &hearing->row;
	const struct events_position at = {row->change, row->id};
	bool over = task_is_over(row->status);
	bool knows = hearing->resumes && hearing->seen.change <= hearing->newest &&
		     !events_is_before(&hearing->seen, &at);
	struct buf first;

	if (knows && over) {
		answer_over(hearing->req);
		return;
	}
	buf_init(&first, &hearing->req->arena);
	if (!knows)
		events_put(&first, row);
	wish->first = first.failed ? (struct str){0} : buf_view(&first);
	wish->user_id = row->user_id;
	wish->one = true;
	wish->over = over;
	wish->from = events_after(hearing->newest);
	if (events_is_before(&wish->from, &at))
		wish->from = at;
	listen_or_finish(hearing);
}

static void task_read(struct store_op *op)
{
	struct hearing *hearing = (struct hearing *)(void *)op;
	struct request *req = hearing->req;

	if (op->status == STATUS_OK) {
		hear_task(hearing);
		return;
	}
	if (op->status == STATUS_NOT_FOUND && hearing->of_run)
		request_answer_detail(req, 404, STR("Run not found"));
	else if (op->status == STATUS_NOT_FOUND)
		tasks_answer_missing(req, &hearing->wish.task, hearing->foreign);
	else
		request_answer_error(req, op->status, &op->err);
	request_finish(req);
}

static void hear(struct request *req, bool of_run)
{
	struct hearing *hearing = start(req);

	if (!hearing)
		return;
	hearing->of_run = of_run;
	if (of_run && !id_parse(req->params[0], &hearing->wish.task)) {
		request_answer_detail(req, 404, STR("Run not found"));
		request_finish(req);
		return;
	}
	if (!of_run && !tasks_read_id(req, &hearing->wish.task)) {
		request_finish(req);
		return;
	}
	hearing->op.run = read_task;
	hearing->op.done = task_read;
	submit(hearing);
}

void events_get_task(struct request *req)
{
	hear(req, false);
}

void events_get_run(struct request *req)
{
	hear(req, true);
}
