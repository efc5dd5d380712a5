/* Rows, collected or streamed. */
#include "handlers/rows.h"

#include "app.h"
#include "base/clock.h"

enum { STREAM_MS = 60 * 1000 };

static void begin(struct rows *rows, struct request *req)
{
	*rows = (struct rows){.req = req};
	req->response.body.n = 0; /* it may be a second try */
	req->response.body.failed = false;
	req->response.status = 200;
	req->response.content_type = "application/json";
}

void rows_collect(struct rows *rows, struct request *req)
{
	begin(rows, req);
}

void rows_stream(struct rows *rows, struct request *req)
{
	begin(rows, req);
	rows->streams = true;
	rows->end_ms = clock_mono_ms() + STREAM_MS;
}

struct buf *rows_next(struct rows *rows, size_t bytes)
{
	struct buf *body = &rows->req->response.body;

	if (!rows->streams && body->n + bytes > ROWS_INLINE_BYTES) {
		rows->too_large = true;
		return NULL;
	}
	if (rows->n++ > 0)
		buf_char(body, ',');
	return body;
}

/* The piece goes out as soon as it is large enough, and its memory is used again. */
static bool flush(struct rows *rows)
{
	struct buf *body = &rows->req->response.body;

	rows->gone |= body->failed || !rows->req->transport->stream(rows->req, buf_view(body));
	body->n = 0;
	return !rows->gone;
}

bool rows_sent(struct rows *rows)
{
	struct buf *body = &rows->req->response.body;

	if (!rows->streams)
		return true;
	if (body->failed || clock_mono_ms() > rows->end_ms) {
		rows->gone = true; /* an answer that ends early must not look whole */
		return false;
	}
	return body->n < ROWS_PIECE_BYTES || flush(rows);
}

void rows_finish(struct rows *rows, struct db *db, enum status (*read)(struct db *db, void *arg, struct err *err),
		 void *arg)
{
	struct request *req = rows->req;
	struct db *own = NULL;
	struct err err = {0};

	/* A thread that could not connect when it started may be able to now. */
	if (!db && store_connect(req->app->store, &own, NULL) == STATUS_OK)
		db = own;
	enum status status = db ? read(db, arg, &err)
				: err_set(&err, STATUS_UNAVAILABLE, "no connection to the database for a list");
	db_close(own);
	if (status != STATUS_OK && !req->streamed)
		request_answer_error(req, status, &err);
	else if (status != STATUS_OK || rows->gone)
		req->broken = true;
	else if (req->streamed)
		req->broken = !flush(rows);
	request_finish(req);
}
