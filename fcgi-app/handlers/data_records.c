/* Records: GET /api/v1/data/records?pipeline=…, whose parameters data_query.c reads, and …/records/{key}. The list is
 * read by a slow thread, which may take DATA_PAGE_MS. */
#include "handlers/data.h"
#include "handlers/handlers.h"
#include "handlers/rows.h"

#include "app.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000 };

/* --- the list --- */

struct listing {
	struct rows rows;
	struct data_wish wish;
	int limit, given;
	bool more, endless; /* there are further rows; a place behind the last can't be told */
	int64_t last_seq;
	struct record_value last;
	char last_text[DATA_CURSOR_BYTES];
};

static bool take_row(void *arg, const struct record_row *row, const struct record_value *sort)
{
	struct listing *listing = arg;

	if (listing->given == listing->limit) {
		listing->more = true;
		return false;
	}
	struct buf *body = rows_next(&listing->rows, row->data.n);
	if (!body)
		return false;
	data_put_record(body, row, true);
	listing->given++;
	listing->last_seq = row->seq;
	listing->last = *sort;
	listing->endless = sort->text.n >= sizeof(listing->last_text);
	size_t n = listing->endless ? 0 : sort->text.n;
	if (n > 0)
		memcpy(listing->last_text, sort->text.p, n);
	listing->last.text = (struct str){listing->last_text, n};
	return rows_sent(&listing->rows);
}

static enum status read_list(struct db *db, void *arg, struct err *err)
{
	struct listing *listing = arg;
	struct buf *body = &listing->rows.req->response.body;
	enum status status = STATUS_OK;

	buf_str(body, STR("{\"records\":["));
	/* One more than is told says whether there are more. */
	listing->wish.query.limit = listing->limit + 1;
	if (!listing->wish.unknown)
		status = records_query(db, &listing->wish.query, take_row, listing, err);
	buf_str(body, STR("],\"next_cursor\":"));
	if (!listing->more || listing->endless ||
	    !data_put_cursor(body, &listing->wish, listing->last_seq, &listing->last))
		buf_str(body, STR("null"));
	buf_char(body, '}');
	return status;
}

static void list_slowly(struct request *req, struct db *thread_db)
{
	struct listing *listing = arena_zalloc(&req->arena, sizeof(*listing));
	struct db *db = data_connect(req, thread_db);

	if (!listing || !db || !data_read_wish(req, db, LIMIT_DEFAULT, LIMIT_MAX, &listing->wish)) {
		if (!listing)
			request_answer_error(req, STATUS_NO_MEMORY, &(struct err){STATUS_NO_MEMORY, ""});
		request_finish(req);
		return;
	}
	listing->limit = listing->wish.query.limit;
	rows_stream(&listing->rows, req);
	rows_finish(&listing->rows, db, read_list, listing);
}

void data_get_records(struct request *req)
{
	request_go_slow(req, req->app->lists, list_slowly);
}

/* --- one --- */

struct looking {
	struct store_op op; /* first */
	struct request *req;
	struct str pipeline; /* empty: whichever has it */
	struct record_row row;
};

static enum status run_one(struct db *db, struct store_op *op, struct err *err)
{
	struct looking *looking = (struct looking *)(void *)op;
	int64_t pipeline_id = 0;
	enum status status = STATUS_OK;

	if (looking->pipeline.n > 0)
		status = runs_find_pipeline(db, looking->pipeline, &pipeline_id, err);
	return status == STATUS_OK ? records_find(db, pipeline_id, looking->req->params[0], &looking->req->arena,
						  &looking->row, err)
				   : status;
}

static void one_done(struct store_op *op)
{
	struct looking *looking = (struct looking *)(void *)op;
	struct request *req = looking->req;
	bool v1 = str_starts(req->path, STR("/api/v1/"));

	if (op->status == STATUS_OK) {
		req->response.status = 200;
		req->response.content_type = "application/json";
		data_put_record(&req->response.body, &looking->row, v1);
	} else if (op->status == STATUS_NOT_FOUND) {
		request_answer_detail(req, 404, STR("Record not found"));
	} else {
		request_answer_error(req, op->status, &op->err);
	}
	request_finish(req);
}

static bool is_key(struct str key)
{
	return str_is_utf8(key) && !memchr(key.p, '\0', key.n);
}

void data_get_record(struct request *req)
{
	struct looking *looking = arena_zalloc(&req->arena, sizeof(*looking));
	bool v1 = str_starts(req->path, STR("/api/v1/"));

	if (!looking || (v1 && !data_read_text(req, "pipeline", &looking->pipeline))) {
		if (!looking)
			request_answer_error(req, STATUS_NO_MEMORY, &(struct err){STATUS_NO_MEMORY, ""});
		request_finish(req);
		return;
	}
	if (!is_key(req->params[0])) {
		request_answer_detail(req, 404, STR("Record not found"));
		request_finish(req);
		return;
	}
	looking->req = req;
	if (!v1)
		looking->pipeline = STR("dataflow");
	looking->op.run = run_one;
	looking->op.done = one_done;
	looking->op.small = true;
	looking->op.fresh = true;
	looking->op.identity = req->edge.random;
	store_read(req->app->store, &looking->op);
}
