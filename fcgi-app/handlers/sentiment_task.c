/* GET /api/v1/sentiment/task/{task_id}: how far a batch is, and when it is completed what became of its texts.
 *
 *   ?limit=   results of a page (1 to 10,000); without it all of them
 *   ?cursor=  where the page before ended: its next_cursor
 *
 * The contract knows four states. A task that was given up, or cancelled, has failed, and the message says which. The
 * results are rows of sentiment_requests; those that retention has deleted are gone from here, too. */
#include "handlers/handlers.h"
#include "handlers/rows.h"
#include "handlers/sentiment.h"

#include "app.h"
#include "base/log.h"
#include "http/query.h"

enum { PAGE_MAX = 10000, INLINE_ROWS = 250, READ_AT_ONCE = 1000 };

/* A task on its way to its owner. Lives in the request's arena. */
struct report {
	struct store_op op; /* first: the store hands it back */
	struct rows rows;
	struct request *req;
	struct id id;
	struct task_row task;
	int64_t from, limit; /* of the results; limit 0: all */
	int64_t next;        /* the position behind the last one told */
	bool foreign;        /* somebody else's */
};

/* --- what it says --- */

static const char *shown_status(enum task_status status)
{
	return task_status_name(status > TASK_FAILED ? TASK_FAILED : status);
}

static struct str shown_error(const struct task_row *task)
{
	switch (task->status) {
	case TASK_PENDING:
	case TASK_PROCESSING:
	case TASK_COMPLETED:
		break;
	case TASK_CANCELLED:
		return STR("The task was cancelled.");
	case TASK_FAILED:
	case TASK_DEAD:
		return task->error.n > 0 ? task->error : STR("The task could not be worked on.");
	case TASK_STATUS__MAX:
		break;
	}
	return (struct str){0};
}

static void put_start(struct report *report, struct buf *out)
{
	char id[ID_TEXT_BYTES];

	id_format(&report->id, id);
	buf_str(out, STR("{\"task_id\":\""));
	buf_str(out, str_of(id));
	buf_str(out, STR("\",\"status\":\""));
	buf_str(out, str_of(shown_status(report->task.status)));
	buf_str(out, report->task.status == TASK_COMPLETED ? STR("\",\"result\":[") : STR("\",\"result\":null"));
}

static void put_end(struct report *report, struct buf *out)
{
	const struct task_row *task = &report->task;
	struct str error = shown_error(task);

	buf_str(out, task->status == TASK_COMPLETED ? STR("],\"error_message\":") : STR(",\"error_message\":"));
	if (error.n > 0)
		json_put_string(out, error);
	else
		buf_str(out, STR("null"));
	buf_str(out, STR(",\"created_at\":"));
	json_put_string(out, str_of(task->created_at));
	buf_str(out, STR(",\"updated_at\":"));
	json_put_string(out, str_of(task->updated_at));
	buf_str(out, STR(",\"progress\":{\"done\":"));
	json_put_i64(out, task->done);
	buf_str(out, STR(",\"total\":"));
	json_put_i64(out, task->total);
	buf_str(out, STR("},\"next_cursor\":"));
	if (task->status == TASK_COMPLETED && report->limit > 0 && report->next < task->total) {
		buf_char(out, '"');
		json_put_i64(out, report->next);
		buf_char(out, '"');
	} else {
		buf_str(out, STR("null"));
	}
	buf_char(out, '}');
}

/* --- results --- */

static bool take_row(void *arg, const struct sentiment_row *row)
{
	struct report *report = arg;
	struct buf *body = rows_next(&report->rows, row->text.n);

	if (!body)
		return false;
	buf_char(body, '{');
	sentiment_put(body, row->text, row->sentiment, row->confidence);
	buf_char(body, '}');
	report->next = row->position + 1;
	return rows_sent(&report->rows);
}

/* Some at a time: a server hands over a whole answer at once. */
static enum status read_results(struct report *report, struct db *db, struct err *err)
{
	struct rows *rows = &report->rows;
	enum status status = STATUS_OK;
	int64_t read, wanted;

	report->next = report->from;
	do {
		read = rows->n;
		wanted = report->limit > 0 && report->limit - read < READ_AT_ONCE ? report->limit - read : READ_AT_ONCE;
		status = sentiments_of_task(db, &report->id, report->next, wanted, take_row, report, err);
	} while (status == STATUS_OK && !rows->gone && !rows->too_large && wanted > 0 && rows->n - read == wanted);
	return status;
}

static bool is_about_sentiment(const struct task_row *task)
{
	return strcmp(task->kind, SENTIMENT_KIND_BATCH) == 0 || strcmp(task->kind, SENTIMENT_KIND_ONE) == 0;
}

static enum status find_task(struct report *report, struct db *db, struct err *err)
{
	struct request *req = report->req;
	enum status status = tasks_find(db, &report->id, -1, &req->arena, &report->task, err);

	report->foreign = status == STATUS_OK && report->task.user_id != req->caller.user_id;
	if (status == STATUS_OK && (report->foreign || !is_about_sentiment(&report->task)))
		status = err_set(err, STATUS_NOT_FOUND, "Task not found");
	return status;
}

/* --- collected, or streamed --- */

static enum status stream_report(struct db *db, void *arg, struct err *err)
{
	struct report *report = arg;
	struct buf *body = &report->req->response.body;

	put_start(report, body);
	enum status status = read_results(report, db, err);
	put_end(report, body);
	return status;
}

static void report_slowly(struct request *req, struct db *db)
{
	struct report *report = req->state;

	rows_stream(&report->rows, req);
	rows_finish(&report->rows, db, stream_report, report);
}

static bool has_many(const struct report *report)
{
	int64_t n = report->task.total - report->from;

	if (report->limit > 0 && report->limit < n)
		n = report->limit;
	return report->task.status == TASK_COMPLETED && n > INLINE_ROWS;
}

static enum status run_report(struct db *db, struct store_op *op, struct err *err)
{
	struct report *report = (struct report *)(void *)op;
	struct buf *body = &report->req->response.body;
	enum status status = find_task(report, db, err);

	rows_collect(&report->rows, report->req);
	if (status != STATUS_OK)
		return status;
	report->rows.too_large = has_many(report);
	if (report->rows.too_large)
		return STATUS_OK;
	put_start(report, body);
	if (report->task.status == TASK_COMPLETED)
		status = read_results(report, db, err);
	put_end(report, body);
	return status;
}

/* For those who look into who asks for what is not theirs. */
static void log_denied(const struct report *report)
{
	const struct request *req = report->req;
	struct buf *line = log_begin(LOG_LEVEL_WARNING, report->foreign
								? STR("somebody asked for another user's task")
								: STR("somebody asked for a task that there is not"));

	if (report->foreign)
		log_str(line, "event", STR("foreign_task"));
	log_str(line, "request_id", req->request_id);
	log_i64(line, "user_id", req->caller.user_id);
	log_str(line, "task_id", (struct str){req->params[0].p, req->params[0].n < 64 ? req->params[0].n : 64});
	log_str(line, "client", req->remote_addr);
	log_end(line);
}

static void answer_not_found(struct report *report)
{
	log_denied(report);
	request_answer_detail(report->req, 404, STR("Task not found"));
	request_finish(report->req);
}

static void report_done(struct store_op *op)
{
	struct report *report = (struct report *)(void *)op;
	struct request *req = report->req;

	if (op->status == STATUS_NOT_FOUND) {
		answer_not_found(report);
		return;
	}
	if (op->status == STATUS_OK && report->rows.too_large) {
		req->state = report;
		request_go_slow(req, req->app->lists, report_slowly);
		return;
	}
	if (op->status != STATUS_OK)
		request_answer_error(req, op->status, &op->err);
	request_finish(req);
}

/* A position. False: answered. */
static bool read_cursor(struct request *req, int64_t *from)
{
	struct str text;
	uint64_t value;

	if (!request_query(req, STR("cursor"), &text))
		return true;
	if (str_to_u64(text, SENTIMENT_BATCH_MAX, &value)) {
		*from = (int64_t)value;
		return true;
	}
	query_answer(req, "cursor_invalid", "Input should be a next_cursor of an earlier page", "cursor",
		     (struct str){text.p, text.n < 200 ? text.n : 200}, (struct str){0});
	return false;
}

void sentiment_get_task(struct request *req)
{
	struct report *report = arena_zalloc(&req->arena, sizeof(*report));
	struct err err;

	if (!report) {
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
		request_finish(req);
		return;
	}
	report->req = req;
	if (!query_read_int(req, "limit", 0, 1, PAGE_MAX, &report->limit) || !read_cursor(req, &report->from)) {
		request_finish(req);
		return;
	}
	if (!id_parse(req->params[0], &report->id)) {
		answer_not_found(report);
		return;
	}
	report->op.run = run_report;
	report->op.done = report_done;
	report->op.fresh = true; /* who has made it wants to see it */
	report->op.identity = req->edge.random;
	store_read(req->app->store, &report->op);
}
