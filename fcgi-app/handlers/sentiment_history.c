/* GET /api/v1/sentiment/history: what the caller has had analysed, single texts and those of batches, newest first.
 *
 *   ?limit=   rows of a page (1 to 1,000; 100)
 *   ?offset=  rows to leave out (up to 10,000: what is left out is read all the same)
 *   ?cursor=  where the page before ended: its X-Next-Cursor, which Link (RFC 8288) has as an address, too */
#include "handlers/handlers.h"
#include "handlers/rows.h"
#include "handlers/sentiment.h"

#include "app.h"
#include "http/query.h"

#include <inttypes.h>

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000, OFFSET_MAX = 10000, OFFSET_INLINE = 1000 };

/* A page on its way. Lives in the request's arena. */
struct history {
	struct store_op op; /* first: the store hands it back */
	struct rows rows;
	struct request *req;
	int64_t user_id, offset, limit;
	struct id cursor;
	bool has_cursor;
	struct id last; /* of the page */
	bool more;      /* there are further rows */
};

static void put_row(struct buf *out, const struct sentiment_row *row)
{
	char id[ID_TEXT_BYTES];

	id_format(&row->id, id);
	buf_str(out, STR("{\"id\":\""));
	buf_str(out, str_of(id));
	buf_str(out, STR("\","));
	sentiment_put(out, row->text, row->sentiment, row->confidence);
	buf_str(out, STR(",\"processing_time\":"));
	json_put_double(out, row->processing_s);
	buf_str(out, STR(",\"created_at\":"));
	json_put_string(out, str_of(row->created_at));
	buf_char(out, '}');
}

/* One row more than are told says whether there are more. */
static bool take_row(void *arg, const struct sentiment_row *row)
{
	struct history *history = arg;

	if (history->rows.n == history->limit) {
		history->more = true;
		return false;
	}
	struct buf *body = rows_next(&history->rows, row->text.n);
	if (!body)
		return false;
	put_row(body, row);
	history->last = row->id;
	return rows_sent(&history->rows);
}

static enum status read_rows(struct db *db, struct history *history, struct err *err)
{
	struct buf *body = &history->req->response.body;

	history->more = false;
	buf_char(body, '[');
	enum status status = sentiments_of_user(db, history->user_id, history->has_cursor ? &history->cursor : NULL,
						history->offset, history->limit + 1, take_row, history, err);
	buf_char(body, ']');
	return status;
}

static void put_links(struct history *history)
{
	struct request *req = history->req;
	char id[ID_TEXT_BYTES];
	struct buf link;

	if (!history->more)
		return;
	id_format(&history->last, id);
	buf_init(&link, &req->arena);
	buf_fmt(&link, "<%.*s?limit=%" PRId64 "&cursor=%s>; rel=\"next\"", STR_ARG(req->path), history->limit, id);
	if (!link.failed)
		response_header(&req->response, "Link", buf_view(&link));
	struct str cursor = arena_dup(&req->arena, str_of(id));
	if (cursor.p)
		response_header(&req->response, "X-Next-Cursor", cursor);
}

/* --- streamed --- */

/* Where the page ends, and whether there is more: the headers go out before the rows. */
static bool take_end(void *arg, const struct sentiment_row *row)
{
	struct history *history = arg;

	if (history->rows.n++ == 0)
		history->last = row->id;
	else
		history->more = true;
	return true;
}

static enum status stream_rows(struct db *db, void *arg, struct err *err)
{
	struct history *history = arg;
	enum status status = sentiments_of_user(db, history->user_id, history->has_cursor ? &history->cursor : NULL,
						history->offset + history->limit - 1, 2, take_end, history, err);

	if (status != STATUS_OK)
		return status;
	put_links(history);
	rows_stream(&history->rows, history->req);
	return read_rows(db, history, err);
}

static void read_slowly(struct request *req, struct db *db)
{
	struct history *history = req->state;

	rows_stream(&history->rows, req);
	history->more = false;
	rows_finish(&history->rows, db, stream_rows, history);
}

/* --- collected --- */

static enum status run_page(struct db *db, struct store_op *op, struct err *err)
{
	struct history *history = (struct history *)(void *)op;

	rows_collect(&history->rows, history->req);
	return read_rows(db, history, err);
}

static void page_done(struct store_op *op)
{
	struct history *history = (struct history *)(void *)op;
	struct request *req = history->req;

	if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
	} else if (history->rows.too_large) {
		req->state = history;
		request_go_slow(req, req->app->lists, read_slowly);
		return;
	} else {
		put_links(history);
	}
	request_finish(req);
}

/* False: answered. */
static bool read_cursor(struct request *req, struct history *history)
{
	struct str text;

	history->has_cursor = request_query(req, STR("cursor"), &text);
	if (!history->has_cursor || id_parse(text, &history->cursor))
		return true;
	query_answer(req, "cursor_invalid", "Input should be an X-Next-Cursor of an earlier page", "cursor",
		     (struct str){text.p, text.n < 200 ? text.n : 200}, (struct str){0});
	return false;
}

void sentiment_get_history(struct request *req)
{
	struct history *history = arena_zalloc(&req->arena, sizeof(*history));
	struct err err;

	if (!history) {
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
		request_finish(req);
		return;
	}
	history->req = req;
	history->user_id = req->caller.user_id;
	if (!query_read_int(req, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX, &history->limit) ||
	    !query_read_int(req, "offset", 0, 0, OFFSET_MAX, &history->offset) || !read_cursor(req, history)) {
		request_finish(req);
		return;
	}
	/* Milliseconds of leaving out are not for the event thread. */
	if (history->offset > OFFSET_INLINE) {
		req->state = history;
		request_go_slow(req, req->app->lists, read_slowly);
		return;
	}
	history->op.run = run_page;
	history->op.done = page_done;
	history->op.fresh = true; /* who writes wants to see it */
	history->op.identity = req->edge.random;
	store_read(req->app->store, &history->op);
}
