/* Tasks for the background: GET /api/v1/tasks?status=&kind=&limit=&cursor=, newest first. */
#include "app.h"
#include "handlers/handlers.h"
#include "handlers/task_json.h"
#include "handlers/tasks.h"
#include "http/query.h"

#include <sodium.h>

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 100, LOOKED_AT = 500 };

/* What is asked for is picked here and not by the database: the page of a filter that nearly nothing passes ends after
 * LOOKED_AT rows, and the next one goes on there. */
struct listing {
	struct store_op op; /* first */
	struct request *req;
	struct tasks_filter filter;
	struct id before, last;
	int status;      /* wanted; -1: any */
	struct str kind; /* empty: any */
	int64_t limit, rows, looked_at;
	bool more;
};

static bool take_row(void *arg, const struct task_row *row)
{
	struct listing *listing = arg;
	struct buf *body = &listing->req->response.body;

	if (listing->rows == listing->limit || listing->looked_at == LOOKED_AT) {
		listing->more = true;
		return false;
	}
	listing->looked_at++;
	listing->last = row->id;
	if ((listing->status >= 0 && (int)row->status != listing->status) ||
	    (listing->kind.n > 0 && !str_eq(listing->kind, str_of(row->kind))))
		return true;
	if (listing->rows++ > 0)
		buf_char(body, ',');
	task_json_put(body, row);
	return true;
}

static void put_cursor(struct listing *listing, struct buf *out)
{
	char plain[ID_TEXT_BYTES], text[64];

	if (!listing->more) {
		buf_str(out, STR("null"));
		return;
	}
	id_format(&listing->last, plain);
	sodium_bin2base64(text, sizeof(text), (const uint8_t *)plain, ID_TEXT_BYTES - 1,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	json_put_string(out, str_of(text));
}

static enum status run_list(struct db *db, struct store_op *op, struct err *err)
{
	struct listing *listing = (struct listing *)(void *)op;
	struct buf *body = &listing->req->response.body;

	body->n = 0;
	listing->rows = listing->looked_at = 0;
	listing->more = false;
	buf_str(body, STR("{\"tasks\":["));
	enum status status = tasks_list(db, &listing->filter, take_row, listing, err);
	buf_str(body, STR("],\"next_cursor\":"));
	put_cursor(listing, body);
	buf_char(body, '}');
	return status;
}

static void list_done(struct store_op *op)
{
	struct listing *listing = (struct listing *)(void *)op;
	struct request *req = listing->req;

	if (op->status != STATUS_OK)
		request_answer_error(req, op->status, &op->err);
	request_finish(req);
}

/* False: answered. */
static bool read_status(struct request *req, int *out)
{
	struct str text;
	enum task_status status;

	*out = -1;
	if (!request_query(req, STR("status"), &text))
		return true;
	if (task_status_parse(text, &status)) {
		*out = (int)status;
		return true;
	}
	query_answer(req, "enum",
		     "Input should be 'pending', 'processing', 'completed', 'failed', 'cancelled' or 'dead'", "status",
		     (struct str){text.p, text.n < 100 ? text.n : 100},
		     STR("{\"expected\":\"'pending', 'processing', 'completed', 'failed', 'cancelled' or 'dead'\"}"));
	return false;
}

static bool read_kind_name(struct request *req, struct str *out)
{
	struct str text;

	if (!request_query(req, STR("kind"), &text))
		return true;
	if (text.n == 0 || text.n >= TASK_KIND_BYTES || !str_is_name(text)) {
		query_answer(req, "string_type", "Input should be the name of a kind of task", "kind",
			     (struct str){text.p, text.n < 100 ? text.n : 100}, (struct str){0});
		return false;
	}
	*out = text;
	return true;
}

/* Where the page before ended. */
static bool read_cursor(struct request *req, struct listing *listing)
{
	struct str text;
	char plain[64];
	size_t n = 0;

	if (!request_query(req, STR("cursor"), &text))
		return true;
	if (text.n < 64 &&
	    sodium_base642bin((uint8_t *)plain, sizeof(plain), text.p, text.n, NULL, &n, NULL,
			      sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
	    id_parse((struct str){plain, n}, &listing->before)) {
		listing->filter.before = &listing->before;
		return true;
	}
	query_answer(req, "cursor_invalid", "Input should be a next_cursor of an earlier page", "cursor",
		     (struct str){text.p, text.n < 200 ? text.n : 200}, (struct str){0});
	return false;
}

void tasks_get_list(struct request *req)
{
	struct listing *listing = arena_zalloc(&req->arena, sizeof(*listing));

	if (!listing) {
		tasks_answer_no_memory(req);
		return;
	}
	struct tasks_filter *filter = &listing->filter;
	listing->req = req;
	if (!tasks_read_whose(req, &filter->user_id) || !read_status(req, &listing->status) ||
	    !read_kind_name(req, &listing->kind) ||
	    !query_read_int(req, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX, &listing->limit) || !read_cursor(req, listing)) {
		request_finish(req);
		return;
	}
	filter->status = -1;
	filter->limit = listing->status >= 0 || listing->kind.n > 0 ? LOOKED_AT + 1 : listing->limit + 1;
	req->response.status = 200;
	req->response.content_type = "application/json";
	listing->op.run = run_list;
	listing->op.done = list_done;
	listing->op.fresh = true; /* who has added one wants to see it */
	listing->op.identity = req->edge.random;
	store_read(req->app->store, &listing->op);
}
