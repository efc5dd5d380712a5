/* Reading stored predictions: the contract's list and single row, and /api/v1's with filters, cursor and provenance.
 *
 * Ordinary answers are read on the event thread. When rows turn out to be large (a prediction may hold a megabyte of
 * features), the request moves to a slow thread, which streams row by row, so that memory stays bounded by one row.
 *
 * With Redis a single row is looked for in the cache first, after all checks have passed; without an answer in time, as
 * without Redis, the store is asked. */
#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "handlers/handlers.h"
#include "http/query.h"
#include "store/prediction_cache.h"
#include "store/predictions.h"

#include <sodium.h>
#include <stdio.h>

enum {
	LIMIT_DEFAULT = 10,
	V1_LIMIT_DEFAULT = 20,
	V1_LIMIT_MAX = 100,
	INLINE_BYTES = 128 * 1024,
	PIECE_BYTES = 32 * 1024,
	STREAM_MS = 30 * 1000
};

/* A list or a row on its way. Lives in the request's arena. */
struct reading {
	struct store_op op; /* first: the store hands it back */
	struct prediction_cache_get cached;
	struct request *req;
	bool v1;
	int limit;
	struct predictions_query query;
	struct str id;
	bool fill;                             /* the cache, with what the store says */
	struct prediction row;                 /* for the cache, in the arena */
	int rows;                              /* written so far */
	bool too_large;                        /* for the event thread */
	bool gone;                             /* the peer is, or its time is over */
	uint64_t end_ms;                       /* when streaming must be over */
	bool more;                             /* v1: there is a next page */
	char last_created_at[40], last_id[40]; /* v1: where this page ended */
};

/* --- rows as JSON --- */

/* The contract's row: features as the text of a list. */
static void put_row(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR("{\"id\":"));
	json_put_string(out, row->id);
	buf_str(out, STR(",\"features\":"));
	json_put_string(out, row->features);
	buf_str(out, STR(",\"result\":"));
	json_put_double(out, row->result);
	buf_str(out, STR(",\"model_version\":"));
	json_put_string(out, row->model_version);
	buf_str(out, STR(",\"created_at\":"));
	json_put_string(out, row->created_at);
	buf_char(out, '}');
}

static void put_text(struct buf *out, struct str name, struct str value)
{
	buf_str(out, STR(",\""));
	buf_str(out, name);
	buf_str(out, STR("\":"));
	if (value.n > 0)
		json_put_string(out, value);
	else
		buf_str(out, STR("null"));
}

/* What is stored is JSON; nothing when there is none. */
static void put_json(struct buf *out, struct str before, struct str json)
{
	if (json.n == 0)
		return;
	buf_str(out, before);
	buf_str(out, json);
}

/* /api/v1's row: features as a list (what is stored is JSON), and where the prediction came from. */
static void put_v1_row(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR("{\"id\":"));
	json_put_string(out, row->id);
	buf_str(out, STR(",\"features\":"));
	buf_str(out, row->features);
	buf_str(out, STR(",\"result\":"));
	json_put_double(out, row->result);
	put_text(out, STR("model_version"), row->model_version);
	put_text(out, STR("created_at"), row->created_at);
	put_text(out, STR("model_name"), row->model_name);
	put_text(out, STR("model_hash"), row->model_hash);
	put_text(out, STR("key_id"), row->key_id);
	put_text(out, STR("request_id"), row->request_id);
	put_text(out, STR("trace_id"), row->trace_id);
	buf_str(out, STR(",\"duration_us\":"));
	json_put_i64(out, row->duration_us);
	if (row->label.n > 0)
		put_text(out, STR("label"), row->label);
	put_json(out, STR(",\"probabilities\":"), row->probabilities);
	put_json(out, STR(",\"flags\":"), row->flags);
	buf_char(out, '}');
}

static void put_any_row(struct reading *reading, struct buf *out, const struct prediction *row)
{
	if (reading->rows++ > 0)
		buf_char(out, ',');
	if (reading->v1)
		put_v1_row(out, row);
	else
		put_row(out, row);
}

/* Event thread: collects, and gives up when it grows large. */
static bool collect_row(void *arg, const struct prediction *row)
{
	struct reading *reading = arg;

	if (reading->req->response.body.n + row->features.n > INLINE_BYTES) {
		reading->too_large = true;
		return false;
	}
	put_any_row(reading, &reading->req->response.body, row);
	return true;
}

/* Slow thread: the piece goes out as soon as it is large enough, and its memory is used again. */
static bool flush(struct reading *reading)
{
	struct buf *body = &reading->req->response.body;

	if (!reading->req->transport->stream(reading->req, buf_view(body)))
		reading->gone = true;
	body->n = 0;
	return !reading->gone;
}

static bool stream_row(void *arg, const struct prediction *row)
{
	struct reading *reading = arg;

	struct buf *body = &reading->req->response.body;

	put_any_row(reading, body, row);
	if (body->failed || clock_mono_ms() > reading->end_ms) {
		reading->gone = true; /* an answer that ends early must not look whole */
		return false;
	}
	return body->n < PIECE_BYTES || flush(reading);
}

static void put_cursor(struct reading *reading, struct buf *out)
{
	char plain[80], text[128];
	int n = snprintf(plain, sizeof(plain), "%s %s", reading->last_created_at, reading->last_id);

	if (!reading->more || n <= 0 || (size_t)n >= sizeof(plain)) {
		buf_str(out, STR("null"));
		return;
	}
	sodium_bin2base64(text, sizeof(text), (const uint8_t *)plain, (size_t)n,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	json_put_string(out, str_of(text));
}

static void put_start(struct reading *reading, struct buf *out)
{
	buf_str(out, reading->v1 ? STR("{\"predictions\":[") : STR("["));
}

static void put_end(struct reading *reading, struct buf *out)
{
	buf_char(out, ']');
	if (reading->v1) {
		buf_str(out, STR(",\"next_cursor\":"));
		put_cursor(reading, out);
		buf_char(out, '}');
	}
}

static enum status read_rows(struct db *db, struct reading *reading, prediction_row *row, struct err *err)
{
	if (reading->v1)
		return predictions_list(db, &reading->query, row, reading, &reading->more, reading->last_created_at,
					reading->last_id, err);
	return predictions_recent(db, reading->limit, row, reading, err);
}

/* --- lists --- */

/* Slow thread: the same list again, streamed. The first piece may still turn into an error. */
static void list_slowly(struct request *req, struct db *db)
{
	struct reading *reading = req->state;
	struct err err;
	enum status status;

	reading->end_ms = clock_mono_ms() + STREAM_MS;
	struct db *own = NULL;
	/* A thread that could not connect when it started may be able to now. */
	if (!db && store_connect(req->app->store, &own, NULL) == STATUS_OK)
		db = own;
	if (db)
		status = read_rows(db, reading, stream_row, &err);
	else
		status = err_set(&err, STATUS_UNAVAILABLE, "The database can't be reached now. Try again later.");
	db_close(own);
	if (status != STATUS_OK && !req->streamed) {
		request_answer_error(req, status, &err);
	} else if (status != STATUS_OK || reading->gone) {
		req->broken = true;
	} else {
		put_end(reading, &req->response.body);
		if (req->streamed)
			req->broken = !flush(reading);
	}
	request_finish(req);
}

static enum status run_list(struct db *db, struct store_op *op, struct err *err)
{
	struct reading *reading = (struct reading *)(void *)op;
	struct buf *body = &reading->req->response.body;

	body->n = 0; /* it may be a second try */
	reading->rows = 0;
	reading->too_large = false;
	put_start(reading, body);
	enum status status = read_rows(db, reading, collect_row, err);
	if (status == STATUS_OK && !reading->too_large)
		put_end(reading, body);
	return status;
}

static void list_done(struct store_op *op)
{
	struct reading *reading = (struct reading *)(void *)op;
	struct request *req = reading->req;

	if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
	} else if (reading->too_large) {
		reading->rows = 0;
		reading->too_large = false;
		req->response.body.n = 0;
		put_start(reading, &req->response.body);
		request_go_slow(req, req->app->lists, list_slowly);
		return;
	}
	request_finish(req);
}

static struct reading *start_reading(struct request *req, bool v1)
{
	struct reading *reading = arena_zalloc(&req->arena, sizeof(*reading));
	struct err err;

	if (!reading) {
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
		request_finish(req);
		return NULL;
	}
	reading->req = req;
	reading->v1 = v1;
	req->state = reading;
	req->response.status = 200;
	req->response.content_type = "application/json";
	return reading;
}

static void submit_list(struct reading *reading)
{
	reading->op.run = run_list;
	reading->op.done = list_done;
	reading->op.fresh = reading->req->caller.key_id[0] != '\0'; /* who writes wants to see it */
	reading->op.identity = reading->req->edge.random;
	store_read(reading->req->app->store, &reading->op);
}

/* --- query parameters --- */

/* A time as it is stored, so that text compares as time does. False: answered. */
static bool read_time(struct request *req, const char *field, struct str *out)
{
	struct str text;
	int64_t us;

	if (!request_query(req, str_of(field), &text))
		return true;
	/* In a query string a "+" is a blank: "2026-01-01T00:00:00 00:00" means "+00:00". */
	if (text.n > 6 && text.p[text.n - 6] == ' ') {
		char *writable = arena_alloc(&req->arena, text.n);
		if (writable) {
			memcpy(writable, text.p, text.n);
			writable[text.n - 6] = '+';
			text.p = writable;
		}
	}
	char *iso = arena_alloc(&req->arena, CLOCK_ISO_BYTES);
	if (!iso || !clock_parse_iso(text, &us)) {
		query_answer(req, "datetime_parsing", "Input should be a valid datetime (RFC 3339)", field, text,
			     (struct str){0});
		return false;
	}
	clock_format_iso(us, iso);
	*out = (struct str){iso, CLOCK_ISO_BYTES - 1};
	return true;
}

/* A short text that is compared, never interpreted. False: answered. */
static bool read_text(struct request *req, const char *field, struct str *out)
{
	enum { TEXT_MAX = 128 };
	struct str text;

	if (!request_query(req, str_of(field), &text))
		return true;
	if (text.n == 0 || text.n > TEXT_MAX || !str_is_utf8(text)) {
		query_answer(req, "string_type", "Input should be a string of 1 to 128 characters", field,
			     (struct str){text.p, text.n < TEXT_MAX ? text.n : TEXT_MAX}, (struct str){0});
		return false;
	}
	*out = text;
	return true;
}

/* A cursor is where the page before ended: time and id, checked like any other input. False: answered. */
static bool read_cursor(struct request *req, struct predictions_query *query)
{
	struct str text;
	char *plain = arena_alloc(&req->arena, 128);
	size_t n = 0;
	struct id id;
	int64_t us;

	if (!request_query(req, STR("cursor"), &text))
		return true;
	bool good = plain && text.n <= 160 &&
		    sodium_base642bin((uint8_t *)plain, 128, text.p, text.n, NULL, &n, NULL,
				      sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
		    n > CLOCK_ISO_BYTES;
	struct str rest = {plain, n};
	struct str at = good ? str_cut(&rest, ' ') : (struct str){0};
	if (!good || at.n != CLOCK_ISO_BYTES - 1 || !clock_parse_iso(at, &us) || !id_parse(rest, &id)) {
		query_answer(req, "cursor_invalid", "Input should be a next_cursor of an earlier page", "cursor",
			     (struct str){text.p, text.n < 200 ? text.n : 200}, (struct str){0});
		return false;
	}
	query->after_created_at = at;
	query->after_id = rest;
	return true;
}

void predictions_get_list(struct request *req)
{
	struct reading *reading = start_reading(req, false);
	int64_t limit;

	if (!reading)
		return;
	if (!query_read_int(req, "limit", LIMIT_DEFAULT, 0, PREDICTIONS_PAGE_MAX, &limit)) {
		request_finish(req);
		return;
	}
	reading->limit = (int)limit;
	submit_list(reading);
}

void predictions_v1_list(struct request *req)
{
	struct reading *reading = start_reading(req, true);
	int64_t limit;

	if (!reading)
		return;
	struct predictions_query *query = &reading->query;
	if (query_read_int(req, "limit", V1_LIMIT_DEFAULT, 1, V1_LIMIT_MAX, &limit) &&
	    read_time(req, "created_from", &query->from) && read_time(req, "created_until", &query->until) &&
	    read_text(req, "model_version", &query->model_version) &&
	    read_text(req, "model_name", &query->model_name) && read_text(req, "key_id", &query->key_id) &&
	    read_cursor(req, query)) {
		query->limit = (int)limit;
		submit_list(reading);
	} else {
		request_finish(req);
	}
}

/* --- one --- */

static bool take_row(void *arg, const struct prediction *row)
{
	struct reading *reading = arg;

	put_any_row(reading, &reading->req->response.body, row);
	/* For the cache, which belongs to the event thread; this may be another. */
	if (reading->fill)
		prediction_cache_copy(&reading->row, row, &reading->req->arena);
	return false;
}

static enum status run_one(struct db *db, struct store_op *op, struct err *err)
{
	struct reading *reading = (struct reading *)(void *)op;

	reading->rows = 0;
	return predictions_get(db, reading->id, take_row, reading, err);
}

static void one_done(struct store_op *op)
{
	struct reading *reading = (struct reading *)(void *)op;
	struct request *req = reading->req;

	if (op->status == STATUS_OK && reading->row.id.n > 0)
		prediction_cache_put(req->app->redis, &reading->row, reading->cached.oldest_us, &req->arena);
	if (op->status == STATUS_NOT_FOUND)
		request_answer_detail(req, 404, STR("Prediction not found"));
	else if (op->status != STATUS_OK)
		request_answer_error(req, op->status, &op->err);
	request_finish(req);
}

static void ask_store(struct reading *reading)
{
	reading->op.run = run_one;
	reading->op.done = one_done;
	reading->op.small = true;
	reading->op.identity = reading->req->edge.random;
	store_read(reading->req->app->store, &reading->op);
}

static void cache_answered(struct prediction_cache_get *cached)
{
	struct reading *reading = (struct reading *)(void *)((char *)cached - offsetof(struct reading, cached));
	struct app *app = reading->req->app;

	metrics_add(app->shm, cached->hit ? app->series.cache_hit : app->series.cache_miss, 1);
	if (cached->hit) {
		put_any_row(reading, &reading->req->response.body, &cached->row);
		request_finish(reading->req);
		return;
	}
	reading->fill = cached->op.status != STATUS_UNAVAILABLE;
	ask_store(reading);
}

/* In the time that waiting for its limits has left of what Redis may cost a request. */
static bool ask_cache(struct reading *reading)
{
	struct app *app = reading->req->app;
	int64_t days = app->config->retention_days;
	uint64_t waited_ms = reading->req->redis_ms, most_ms = redis_deadline_ms(app->redis);

	if (waited_ms >= most_ms)
		return false;
	reading->cached = (struct prediction_cache_get){
		.redis = app->redis,
		.id = reading->id,
		.arena = &reading->req->arena,
		.oldest_us = days > 0 ? clock_wall_us() - days * INT64_C(86400000000) : 0,
		.within_ms = waited_ms > 0 ? most_ms - waited_ms : 0,
		.done = cache_answered,
	};
	return prediction_cache_get(&reading->cached);
}

static void get_one(struct request *req, bool v1)
{
	struct reading *reading = start_reading(req, v1);

	if (!reading)
		return;
	reading->id = req->params[0];
	if (!req->app->redis || !ask_cache(reading))
		ask_store(reading);
}

void predictions_get_one(struct request *req)
{
	get_one(req, false);
}

void predictions_v1_one(struct request *req)
{
	get_one(req, true);
}
