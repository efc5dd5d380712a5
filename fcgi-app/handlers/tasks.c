/* Tasks for the background: /api/v1/tasks/{task_id}.
 *
 *   GET
 *   DELETE: cancels
 *
 * Everybody sees their own tasks; superusers see all. Another user's task is as if it were not there, but for a line in
 * the log. Adding: tasks_create.c; lists: tasks_list.c. */
#include "handlers/tasks.h"

#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "handlers/handlers.h"
#include "handlers/task_json.h"
#include "http/query.h"
#include "shared/wake.h"

#include <inttypes.h>

enum { RETRY_AFTER_S = 10 };

/* --- shared --- */

bool tasks_read_id(struct request *req, struct id *out)
{
	if (id_parse(req->params[0], out))
		return true;
	request_answer_detail(req, 404, STR("Task not found"));
	return false;
}

bool tasks_read_whose(struct request *req, int64_t *user_id)
{
	struct str all = {0}, user = {0};
	bool asks_all = request_query(req, STR("all"), &all);
	bool asks_user = request_query(req, STR("user_id"), &user);
	bool is_true = str_eq(all, STR("true")) || str_eq(all, STR("1"));

	*user_id = req->caller.user_id;
	if (asks_all && !is_true && !str_eq(all, STR("false")) && !str_eq(all, STR("0"))) {
		query_answer(req, "bool_parsing", "Input should be a valid boolean, unable to interpret input", "all",
			     all, (struct str){0});
		return false;
	}
	if (!query_read_int(req, "user_id", *user_id, 0, INT32_MAX, user_id))
		return false;
	if ((is_true || (asks_user && *user_id != req->caller.user_id)) && !req->caller.superuser) {
		app_count_rejected(req->app, APP_REJECTED_FORBIDDEN);
		request_answer_detail(req, 403, STR("Only superusers see the tasks of others."));
		return false;
	}
	if (is_true && !asks_user)
		*user_id = -1;
	return true;
}

enum status tasks_find_visible(struct db *db, const struct request *req, const struct id *id, struct arena *arena,
			       struct task_row *row, bool *foreign, struct err *err)
{
	enum status status = tasks_find(db, id, -1, arena, row, err);

	*foreign = status == STATUS_OK && !req->caller.superuser && row->user_id != req->caller.user_id;
	return *foreign ? err_set(err, STATUS_NOT_FOUND, "the task is another user's") : status;
}

void tasks_log_foreign(const struct request *req, const struct id *id)
{
	struct buf *line = log_begin(LOG_LEVEL_WARNING, STR("a task of another user was asked for"));
	char text[ID_TEXT_BYTES];

	id_format(id, text);
	log_str(line, "event", STR("foreign_task"));
	log_str(line, "request_id", req->request_id);
	log_str(line, "method", req->method_text);
	log_str(line, "task_id", str_of(text));
	log_i64(line, "user_id", req->caller.user_id);
	log_str(line, "client", req->remote_addr);
	log_end(line);
}

void tasks_answer_missing(struct request *req, const struct id *id, bool foreign)
{
	if (foreign)
		tasks_log_foreign(req, id);
	request_answer_detail(req, 404, STR("Task not found"));
}

const struct tasks_bound *tasks_bound_of(const struct request *req, struct tasks_bound *bound)
{
	bound->tasks = req->app->config->user_tasks_pending;
	bound->bytes = req->app->config->user_tasks_bytes;
	if (req->caller.superuser || req->caller.user_id == 0 || (bound->tasks == 0 && bound->bytes == 0))
		return NULL;
	return bound;
}

void tasks_answer_no_room(struct request *req, enum tasks_room room)
{
	const struct config *config = req->app->config;
	struct buf text;

	buf_init(&text, &req->arena);
	if (room == TASKS_TOO_MANY)
		buf_fmt(&text, "Too many of your tasks are waiting: at most %" PRId64 " may (USER_TASKS_PENDING).",
			config->user_tasks_pending);
	else
		buf_fmt(&text,
			"Your tasks that are waiting are too large: at most %" PRId64
			" bytes in all (USER_TASKS_BYTES).",
			config->user_tasks_bytes);
	buf_str(&text, STR(" Try again when some are done, or cancel some."));
	app_count_rejected(req->app, APP_REJECTED_USER_TASKS);
	response_header_u64(&req->response, "Retry-After", RETRY_AFTER_S);
	request_answer_detail(req, 429, text.failed ? STR("Too many of your tasks are waiting.") : buf_view(&text));
}

void tasks_answer_not_added(struct request *req, enum status status, const struct err *err)
{
	bool full = status == STATUS_LIMITED;

	app_count_rejected(req->app, full ? APP_REJECTED_USER_TASKS : APP_REJECTED_STORE);
	if (full)
		response_header_u64(&req->response, "Retry-After", RETRY_AFTER_S);
	request_answer_error(req, status, err);
}

void tasks_answer_no_memory(struct request *req)
{
	struct err err;

	request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	request_finish(req);
}

/* --- one --- */

struct looking {
	struct store_op op; /* first */
	struct request *req;
	struct id id;
	struct task_row row;
	bool foreign;
	enum status found; /* of a cancellation: what became of it */
};

static struct looking *start_looking(struct request *req)
{
	struct looking *looking = arena_zalloc(&req->arena, sizeof(*looking));

	if (!looking) {
		tasks_answer_no_memory(req);
		return NULL;
	}
	looking->req = req;
	if (tasks_read_id(req, &looking->id))
		return looking;
	request_finish(req);
	return NULL;
}

static enum status run_one(struct db *db, struct store_op *op, struct err *err)
{
	struct looking *looking = (struct looking *)(void *)op;

	return tasks_find_visible(db, looking->req, &looking->id, &looking->req->arena, &looking->row,
				  &looking->foreign, err);
}

static void answer_task(struct looking *looking, int http_status)
{
	struct response *response = &looking->req->response;

	response->status = http_status;
	response->content_type = "application/json";
	task_json_put_whole(&response->body, &looking->row);
}

static void one_done(struct store_op *op)
{
	struct looking *looking = (struct looking *)(void *)op;
	struct request *req = looking->req;

	if (op->status == STATUS_OK)
		answer_task(looking, 200);
	else if (op->status == STATUS_NOT_FOUND)
		tasks_answer_missing(req, &looking->id, looking->foreign);
	else
		request_answer_error(req, op->status, &op->err);
	request_finish(req);
}

void tasks_get_one(struct request *req)
{
	struct looking *looking = start_looking(req);

	if (!looking)
		return;
	looking->op.run = run_one;
	looking->op.done = one_done;
	looking->op.small = true;
	looking->op.fresh = true;
	looking->op.identity = req->edge.random;
	store_read(req->app->store, &looking->op);
}

/* --- cancelling --- */

/* What can't be cancelled is found before anything is written. One that is cancelled already is no conflict: nginx may
 * have tried the request again. */
static enum status run_cancel(struct db *db, struct store_op *op, struct err *err)
{
	struct looking *looking = (struct looking *)(void *)op;
	struct arena *arena = &looking->req->arena;
	int64_t change;

	enum status status = tasks_find_visible(db, looking->req, &looking->id, arena, &looking->row, &looking->foreign,
						err);
	looking->found = status;
	if (status != STATUS_OK)
		return status == STATUS_NOT_FOUND ? STATUS_OK : status;
	if (task_is_over(looking->row.status) || looking->row.cancel) {
		if (task_is_over(looking->row.status) && looking->row.status != TASK_CANCELLED)
			looking->found = STATUS_CONFLICT;
		return STATUS_OK;
	}
	status = tasks_begin_change(db, &change, err);
	if (status == STATUS_OK)
		status = tasks_cancel(db, &looking->id, -1, change, clock_wall_us(), arena, &looking->row, err);
	if (status == STATUS_CONFLICT || status == STATUS_NOT_FOUND) {
		looking->found = status;
		status = STATUS_OK;
	}
	return status;
}

static void cancel_done(struct store_op *op)
{
	struct looking *looking = (struct looking *)(void *)op;
	struct request *req = looking->req;

	if (op->status != STATUS_OK) {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	} else if (looking->found == STATUS_NOT_FOUND) {
		tasks_answer_missing(req, &looking->id, looking->foreign);
	} else if (looking->found == STATUS_CONFLICT) {
		request_answer_detail(req, 409, STR("The task is over."));
	} else {
		answer_task(looking, looking->row.status == TASK_CANCELLED ? 200 : 202);
	}
	request_finish(req);
}

void tasks_delete(struct request *req)
{
	struct looking *looking = start_looking(req);

	if (!looking)
		return;
	looking->op.run = run_cancel;
	looking->op.done = cancel_done;
	looking->op.wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
	if (request_write(req, &looking->op))
		return; /* the request is the commit thread's now */
	request_finish(req);
}
