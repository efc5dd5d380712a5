/* Runs of pipelines: GET /api/v1/data/runs, …/{run_id} and …/{run_id}/errors (what a run refused).
 *
 * Who is logged in sees all runs, as all records; changing one is for who started it and for superusers (data_start.c).
 */
#include "handlers/data.h"
#include "handlers/handlers.h"
#include "handlers/rows.h"

#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "http/query.h"
#include "pipeline/csv_write.h"

#include <stdio.h>

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 100, ERRORS_DEFAULT = 100, ERRORS_MAX = 1000, ERRORS_PAGE = 1000 };
enum { CSV_MS = 15 * 60 * 1000 };

/* --- the list --- */

struct listing {
	struct store_op op; /* first */
	struct request *req;
	struct str pipeline; /* empty: all */
	int state;           /* -1: any */
	int64_t limit, before, n, last;
	bool more;
};

static bool take_run(void *arg, const struct run_row *row)
{
	struct listing *listing = arg;
	struct buf *body = &listing->req->response.body;

	if (listing->n == listing->limit) {
		listing->more = true;
		return false;
	}
	if (listing->n++ > 0)
		buf_char(body, ',');
	data_put_run(body, row);
	listing->last = row->number;
	return true;
}

static enum status run_list(struct db *db, struct store_op *op, struct err *err)
{
	struct listing *listing = (struct listing *)(void *)op;
	struct buf *body = &listing->req->response.body;
	int64_t pipeline_id = 0;
	enum status status = STATUS_OK;

	body->n = 0;
	listing->n = 0;
	listing->more = false;
	buf_str(body, STR("{\"runs\":["));
	if (listing->pipeline.n > 0)
		status = runs_find_pipeline(db, listing->pipeline, &pipeline_id, err);
	if (status == STATUS_OK)
		status = runs_list(db, pipeline_id, -1, listing->state, listing->before, (int)listing->limit + 1,
				   take_run, listing, err);
	if (listing->more)
		buf_fmt(body, "],\"next_cursor\":\"%lld\"}", (long long)listing->last);
	else
		buf_str(body, STR("],\"next_cursor\":null}"));
	return status == STATUS_NOT_FOUND ? STATUS_OK : status; /* of what is no pipeline there are none */
}

static void list_done(struct store_op *op)
{
	struct listing *listing = (struct listing *)(void *)op;

	if (op->status != STATUS_OK)
		request_answer_error(listing->req, op->status, &op->err);
	request_finish(listing->req);
}

/* False: answered. */
static bool read_state(struct request *req, int *out)
{
	struct str text;
	enum run_state state;

	*out = -1;
	if (!data_read_text(req, "state", &text))
		return false;
	if (text.n == 0)
		return true;
	if (run_state_parse(text, &state)) {
		*out = (int)state;
		return true;
	}
	query_answer(req, "enum",
		     "Input should be 'pending', 'running', 'paused', 'completed', 'failed' or 'cancelled'", "state",
		     text,
		     STR("{\"expected\":\"'pending', 'running', 'paused', 'completed', 'failed' or 'cancelled'\"}"));
	return false;
}

/* The number of the last row of the page before. False: answered. */
static bool read_cursor(struct request *req, int64_t *out)
{
	struct str text;
	uint64_t value;

	*out = 0;
	if (!request_query(req, STR("cursor"), &text))
		return true;
	if (str_to_u64(text, INT64_MAX, &value) && value > 0) {
		*out = (int64_t)value;
		return true;
	}
	query_answer(req, "cursor_invalid", "Input should be a next_cursor of an earlier page", "cursor",
		     (struct str){text.p, text.n < 200 ? text.n : 200}, (struct str){0});
	return false;
}

static void answer_no_memory(struct request *req)
{
	struct err err;

	request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	request_finish(req);
}

void data_get_runs(struct request *req)
{
	struct listing *listing = arena_zalloc(&req->arena, sizeof(*listing));

	if (!listing) {
		answer_no_memory(req);
		return;
	}
	listing->req = req;
	if (!data_read_text(req, "pipeline", &listing->pipeline) || !read_state(req, &listing->state) ||
	    !query_read_int(req, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX, &listing->limit) ||
	    !read_cursor(req, &listing->before)) {
		request_finish(req);
		return;
	}
	req->response.status = 200;
	req->response.content_type = "application/json";
	listing->op.run = run_list;
	listing->op.done = list_done;
	listing->op.fresh = true;
	listing->op.identity = req->edge.random;
	store_read(req->app->store, &listing->op);
}

/* --- one --- */

struct looking {
	struct store_op op; /* first */
	struct request *req;
	struct id id;
	struct run_row row;
};

static enum status run_one(struct db *db, struct store_op *op, struct err *err)
{
	struct looking *looking = (struct looking *)(void *)op;

	return runs_find(db, &looking->id, &looking->req->arena, &looking->row, err);
}

static void one_done(struct store_op *op)
{
	struct looking *looking = (struct looking *)(void *)op;
	struct request *req = looking->req;

	req->response.status = 200;
	req->response.content_type = "application/json";
	if (op->status == STATUS_OK)
		data_put_run(&req->response.body, &looking->row);
	else if (op->status == STATUS_NOT_FOUND)
		request_answer_detail(req, 404, STR("Run not found"));
	else
		request_answer_error(req, op->status, &op->err);
	request_finish(req);
}

void data_get_run(struct request *req)
{
	struct looking *looking = arena_zalloc(&req->arena, sizeof(*looking));

	if (!looking) {
		answer_no_memory(req);
		return;
	}
	looking->req = req;
	if (!id_parse(req->params[0], &looking->id)) {
		request_answer_detail(req, 404, STR("Run not found"));
		request_finish(req);
		return;
	}
	looking->op.run = run_one;
	looking->op.done = one_done;
	looking->op.small = true;
	looking->op.fresh = true;
	looking->op.identity = req->edge.random;
	store_read(req->app->store, &looking->op);
}

/* --- what it refused --- */

struct errors {
	struct rows rows;
	struct run_row run;
	struct arena scratch;
	bool csv, more;
	int64_t limit, after, last;
	int given, page;
};

static void put_error(struct buf *out, const struct refusal_row *row)
{
	const struct {
		const char *name;
		struct str text;
	} members[] = {{"key", row->key},
		       {"field", row->field},
		       {"value", row->value},
		       {"reason", row->reason},
		       {"message", row->message}};

	buf_fmt(out, "{\"n\":%lld,\"line\":%lld", (long long)row->n, (long long)row->line);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		buf_fmt(out, ",\"%s\":", members[i].name);
		json_put_string(out, members[i].text);
	}
	buf_char(out, '}');
}

static void put_csv_row(struct buf *out, const struct refusal_row *row)
{
	const struct str cells[] = {row->key, row->field, row->value, row->reason, row->message};

	buf_fmt(out, "%lld", (long long)row->line);
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		buf_char(out, ',');
		csv_put_cell(out, cells[i], true);
	}
	buf_str(out, STR("\r\n"));
}

static bool take_error(void *arg, const struct refusal_row *row)
{
	struct errors *errors = arg;

	if (errors->csv) {
		put_csv_row(&errors->rows.req->response.body, row);
	} else {
		if (errors->given == errors->limit) {
			errors->more = true;
			return false;
		}
		struct buf *body = rows_next(&errors->rows, row->message.n);
		if (!body)
			return false;
		put_error(body, row);
	}
	errors->given++;
	errors->page++;
	errors->last = row->n;
	return rows_sent(&errors->rows);
}

static enum status read_json(struct db *db, struct errors *errors, struct err *err)
{
	struct buf *body = &errors->rows.req->response.body;

	buf_str(body, STR("{\"errors\":["));
	enum status status = runs_list_refusals(db, errors->run.number, errors->after, (int)errors->limit + 1,
						take_error, errors, err);
	if (errors->more)
		buf_fmt(body, "],\"next_cursor\":\"%lld\"}", (long long)errors->last);
	else
		buf_str(body, STR("],\"next_cursor\":null}"));
	return status;
}

/* All of them, page by page, so that no snapshot is held for as long as a client takes. */
static enum status read_csv(struct db *db, struct errors *errors, struct err *err)
{
	struct buf *body = &errors->rows.req->response.body;
	enum status status = STATUS_OK;

	buf_str(body, STR("line,key,field,value,reason,message\r\n"));
	do {
		errors->page = 0;
		status = runs_list_refusals(db, errors->run.number, errors->last, ERRORS_PAGE, take_error, errors, err);
	} while (status == STATUS_OK && errors->page == ERRORS_PAGE && !errors->rows.gone);
	return status;
}

static enum status read_errors(struct db *db, void *arg, struct err *err)
{
	struct errors *errors = arg;

	errors->last = errors->after;
	return errors->csv ? read_csv(db, errors, err) : read_json(db, errors, err);
}

static bool wants_csv(struct request *req)
{
	struct str format;

	if (request_query(req, STR("format"), &format))
		return str_eq(format, STR("csv"));
	return str_starts(str_trim(req->accept), STR("text/csv"));
}

/* False: answered. */
static bool read_format(struct request *req, bool *csv)
{
	struct str format;

	*csv = wants_csv(req);
	if (*csv || !request_query(req, STR("format"), &format) || str_eq(format, STR("json")))
		return true;
	query_answer(req, "enum", "Input should be 'json' or 'csv'", "format",
		     (struct str){format.p, format.n < 100 ? format.n : 100},
		     STR("{\"expected\":\"'json' or 'csv'\"}"));
	return false;
}

static void begin_answer(struct request *req, struct errors *errors)
{
	char id[ID_TEXT_BYTES];
	struct buf name;

	rows_stream(&errors->rows, req);
	if (!errors->csv)
		return;
	errors->rows.end_ms = clock_mono_ms() + CSV_MS;
	req->response.content_type = "text/csv; charset=utf-8";
	id_format(&errors->run.id, id);
	buf_init(&name, &req->arena);
	buf_fmt(&name, "attachment; filename=\"errors-%s.csv\"", id);
	if (!name.failed)
		response_header(&req->response, "Content-Disposition", buf_view(&name));
}

static void errors_slowly(struct request *req, struct db *thread_db)
{
	struct errors *errors = arena_zalloc(&req->arena, sizeof(*errors));
	struct db *db = data_connect(req, thread_db);
	struct err err = {0};
	struct id id;
	enum status status = STATUS_NOT_FOUND;

	if (!errors || !db) {
		request_finish(req);
		return;
	}
	if (!read_format(req, &errors->csv) ||
	    !query_read_int(req, "limit", ERRORS_DEFAULT, 1, ERRORS_MAX, &errors->limit) ||
	    !read_cursor(req, &errors->after)) {
		request_finish(req);
		return;
	}
	if (id_parse(req->params[0], &id))
		status = runs_find(db, &id, &req->arena, &errors->run, &err);
	if (status == STATUS_OK) {
		begin_answer(req, errors);
		rows_finish(&errors->rows, db, read_errors, errors);
		return;
	}
	if (status == STATUS_NOT_FOUND)
		request_answer_detail(req, 404, STR("Run not found"));
	else
		request_answer_error(req, status, &err);
	request_finish(req);
}

void data_get_errors(struct request *req)
{
	request_go_slow(req, req->app->lists, errors_slowly);
}
