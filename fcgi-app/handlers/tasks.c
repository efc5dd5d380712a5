/* Tasks for the background: /api/v1/tasks.
 *
 *   POST {"kind":"echo", "payload":{…}, "priority":0, "delay_seconds":60 | "run_at":"2026-12-01T08:00:00Z"}
 *   GET  ?status=&kind=&limit=&cursor=, newest first; /{task_id}
 *   DELETE /{task_id}: cancels
 *
 * Who may add which kind, and what its payload must be, the table of kinds says (task/kinds.c). Everybody sees their
 * own tasks; superusers see all. Another user's task is as if it were not there, but for a line in the log. */
#include "handlers/tasks.h"

#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "handlers/handlers.h"
#include "handlers/idempotent.h"
#include "handlers/instances.h"
#include "handlers/task_json.h"
#include "http/query.h"
#include "shared/wake.h"
#include "task/kinds.h"
#include "task/measure.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 100, LOOKED_AT = 500 };
enum { PRIORITY_MIN = -100, PRIORITY_MAX = 100, PRIORITY_MAX_OF_USERS = 10 };
enum { DELAY_MAX_S = 366 * 24 * 3600, PAYLOAD_BYTES = TASK_PART_BYTES };

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

void tasks_answer_missing(struct request *req, const struct id *id, bool foreign)
{
	char text[ID_TEXT_BYTES];

	if (foreign) {
		struct buf *line = log_begin(LOG_LEVEL_WARNING, STR("a task of another user was asked for"));
		id_format(id, text);
		log_str(line, "request_id", req->request_id);
		log_str(line, "method", req->method_text);
		log_str(line, "task_id", str_of(text));
		log_i64(line, "user_id", req->caller.user_id);
		log_str(line, "client", req->remote_addr);
		log_end(line);
	}
	request_answer_detail(req, 404, STR("Task not found"));
}

static void answer_no_memory(struct request *req)
{
	struct err err;

	request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	request_finish(req);
}

/* --- adding: the body --- */

struct creation {
	struct store_op op; /* first: the store hands it back */
	struct idempotent idem;
	struct request *req;
	struct task_row row;
	struct buf ready; /* the answer */
	bool repeated;
};

/* What the body says, before it is judged. */
enum member { KIND, PAYLOAD, PRIORITY, DELAY, RUN_AT, MEMBERS };
static const char *const MEMBER_NAMES[MEMBERS] = {
	[KIND] = "kind", [PAYLOAD] = "payload", [PRIORITY] = "priority", [DELAY] = "delay_seconds", [RUN_AT] = "run_at",
};
struct body {
	struct json_value values[MEMBERS];
	bool has[MEMBERS];
};

struct reading {
	struct request *req;
	struct invalid invalid;
	struct body body;
};

static void violate(struct reading *reading, const char *type, const char *msg, const char *field,
		    struct json_value input, struct str ctx)
{
	invalid_add(&reading->invalid, &(struct violation){.type = type,
							   .msg = msg,
							   .where = "body",
							   .field = field,
							   .index = -1,
							   .input = invalid_input_value(reading->req, input),
							   .ctx = ctx});
}

static void collect_members(struct reading *reading, struct json_value root)
{
	struct json_iter iter;
	struct json_value key, value;

	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value)) {
		struct str name = json_string(key, &reading->req->arena);
		int i = 0;
		while (i < MEMBERS && !str_eq(name, str_of(MEMBER_NAMES[i])))
			i++;
		if (i == MEMBERS) {
			struct str field = arena_dup(&reading->req->arena, name);
			violate(reading, "extra_forbidden", "Extra inputs are not permitted", field.p ? field.p : "",
				value, (struct str){0});
			continue;
		}
		reading->body.values[i] = value;
		/* null is as good as nothing, but for what is required. */
		reading->body.has[i] = value.type != JSON_NULL || i == KIND;
	}
	if (!reading->body.has[KIND])
		violate(reading, "missing", "Field required", "kind", root, (struct str){0});
}

/* NULL: none, or answered. */
static const struct task_kind *read_kind(struct reading *reading, struct task_row *row)
{
	struct json_value value = reading->body.values[KIND];

	if (!reading->body.has[KIND])
		return NULL;
	if (value.type != JSON_STRING) {
		violate(reading, "string_type", "Input should be a valid string", "kind", value, (struct str){0});
		return NULL;
	}
	struct str name = json_string(value, &reading->req->arena);
	const struct task_kind *kind = task_kind_find(name);
	if (!kind || kind->callers == TASK_CALLERS_NONE) {
		violate(reading, "enum", "There is no such kind of task", "kind", value, (struct str){0});
		return NULL;
	}
	snprintf(row->kind, sizeof(row->kind), "%s", kind->name);
	return kind;
}

static void read_payload(struct reading *reading, const struct task_kind *kind, struct task_row *row)
{
	struct json_value value = {.type = JSON_OBJECT, .text = STR("{}")};
	struct request *req = reading->req;
	const char *field = NULL;
	struct buf text, path;

	if (reading->body.has[PAYLOAD])
		value = reading->body.values[PAYLOAD];
	if (value.type != JSON_OBJECT) {
		violate(reading, "dict_type", "Input should be a valid dictionary", "payload", value, (struct str){0});
		return;
	}
	buf_init(&text, &req->arena);
	json_put_value(&text, value);
	row->payload = text.failed ? (struct str){0} : buf_view(&text);
	if (text.n > PAYLOAD_BYTES) {
		violate(reading, "too_long", "A payload should have at most 262144 bytes", "payload",
			(struct json_value){.type = JSON_OBJECT, .text = STR("{}")}, STR("{\"max_length\":262144}"));
		return;
	}
	const char *why = kind && kind->check ? kind->check(row->payload, &field) : NULL;
	if (!why)
		return;
	buf_init(&path, &req->arena);
	if (field)
		json_put_string(&path, str_of(field));
	struct json_value input = value;
	if (field && !json_member(value, str_of(field), &input))
		input = value;
	invalid_add(&reading->invalid, &(struct violation){.type = "value_error",
							   .msg = why,
							   .where = "body",
							   .field = "payload",
							   .index = -1,
							   .path = buf_view(&path),
							   .input = invalid_input_value(req, input)});
}

/* From `min` to `max`. False: there is none, or it is no good. */
static bool read_number(struct reading *reading, enum member member, bool whole, int64_t min, int64_t max, double *out)
{
	struct json_value value = reading->body.values[member];
	const char *name = MEMBER_NAMES[member];
	char msg[80];
	struct buf ctx;

	if (!reading->body.has[member])
		return false;
	if (value.type != JSON_NUMBER || !json_number(value, out)) {
		violate(reading, whole ? "int_type" : "float_type",
			whole ? "Input should be a valid integer" : "Input should be a valid number", name, value,
			(struct str){0});
		return false;
	}
	if (whole && *out != floor(*out)) {
		violate(reading, "int_from_float",
			"Input should be a valid integer, got a number with a fractional part", name, value,
			(struct str){0});
		return false;
	}
	if (*out >= (double)min && *out <= (double)max)
		return true;
	bool low = *out < (double)min;
	int64_t bound = low ? min : max;
	snprintf(msg, sizeof(msg), "Input should be %s than or equal to %" PRId64, low ? "greater" : "less", bound);
	buf_init(&ctx, &reading->req->arena);
	buf_fmt(&ctx, "{\"%s\":%" PRId64 "}", low ? "ge" : "le", bound);
	violate(reading, low ? "greater_than_equal" : "less_than_equal", msg, name, value, buf_view(&ctx));
	return false;
}

static void read_run_at(struct reading *reading, int64_t now_us, struct task_row *row)
{
	struct json_value value = reading->body.values[RUN_AT];
	int64_t us;

	if (value.type != JSON_STRING || !clock_parse_iso(json_string(value, &reading->req->arena), &us))
		violate(reading, "datetime_parsing", "Input should be a valid datetime (RFC 3339)", "run_at", value,
			(struct str){0});
	else if (us > now_us + DELAY_MAX_S * INT64_C(1000000))
		violate(reading, "value_error", "Input should be at most 366 days ahead", "run_at", value,
			(struct str){0});
	else
		row->run_us = us > now_us ? us : now_us;
}

static void read_when(struct reading *reading, struct task_row *row)
{
	int64_t now_us = reading->req->edge.ms * 1000;
	double delay_s;

	row->run_us = now_us;
	if (reading->body.has[DELAY] && reading->body.has[RUN_AT])
		violate(reading, "value_error", "Give delay_seconds or run_at, not both", "run_at",
			reading->body.values[RUN_AT], (struct str){0});
	else if (reading->body.has[RUN_AT])
		read_run_at(reading, now_us, row);
	else if (read_number(reading, DELAY, false, 0, DELAY_MAX_S, &delay_s))
		row->run_us = now_us + (int64_t)(delay_s * 1e6);
}

/* False: answered. */
static bool read_body(struct request *req, struct task_row *row)
{
	struct reading reading = {.req = req};
	struct json_value root;
	double priority = 0;

	if (!instances_read_root(req, &root))
		return false;
	invalid_init(&reading.invalid, req);
	collect_members(&reading, root);
	const struct task_kind *kind = read_kind(&reading, row);
	if (kind && kind->callers == TASK_CALLERS_ADMIN && !req->caller.superuser) {
		app_count_rejected(req->app, APP_REJECTED_FORBIDDEN);
		request_answer_detail(req, 403, STR("Only superusers may add a task of this kind."));
		return false;
	}
	read_payload(&reading, kind, row);
	if (read_number(&reading, PRIORITY, true, PRIORITY_MIN,
			req->caller.superuser ? PRIORITY_MAX : PRIORITY_MAX_OF_USERS, &priority))
		row->priority = (int64_t)priority;
	read_when(&reading, row);
	if (reading.invalid.n > 0)
		invalid_answer(&reading.invalid, req);
	return reading.invalid.n == 0;
}

/* --- adding --- */

static enum status store_task(struct db *db, struct store_op *op, struct err *err)
{
	struct creation *creation = (struct creation *)(void *)op;
	struct request *req = creation->req;
	struct task_row row;
	bool found, stored;

	req->response.status = 202;
	req->response.body = creation->ready;
	creation->repeated = false;
	enum status status = idempotent_find(&creation->idem, db, &found, err);
	if (status != STATUS_OK || found)
		return status;
	status = tasks_begin_change(db, &creation->row.change, err);
	if (status == STATUS_OK)
		status = tasks_insert(db, &creation->row, &stored, err);
	if (status != STATUS_OK)
		return status;
	creation->repeated = !stored;
	if (!stored) { /* nginx has tried the request again */
		status = tasks_find(db, &creation->row.id, creation->row.user_id, &req->arena, &row, err);
		buf_init(&req->response.body, &req->arena);
		if (status == STATUS_OK)
			task_json_put_whole(&req->response.body, &row);
	}
	return status == STATUS_OK ? idempotent_save(&creation->idem, db, stored, err) : status;
}

/* Of the task that the body tells of: that of an answer that is told again is another one than was just made. */
static void put_location(struct request *req)
{
	struct json_value root, id;
	struct json_fault fault;
	struct buf path;

	if (req->response.status != 202 || !json_check(buf_view(&req->response.body), JSON_MAX_DEPTH, &root, &fault) ||
	    !json_member(root, STR("task_id"), &id))
		return;
	buf_init(&path, &req->arena);
	buf_str(&path, STR("/api/v1/tasks/"));
	buf_str(&path, json_string(id, &req->arena));
	if (!path.failed)
		response_header(&req->response, "Location", buf_view(&path));
}

static void task_stored(struct store_op *op)
{
	struct creation *creation = (struct creation *)(void *)op;
	struct request *req = creation->req;

	req->slow = false;
	idempotent_release(&creation->idem);
	if (op->status == STATUS_OK) {
		idempotent_settle(&creation->idem);
		if (creation->repeated)
			metrics_add(req->app->shm, req->app->series.repeated_writes, 1);
		else if (creation->idem.outcome == IDEMPOTENT_STORED)
			task_created_count(req->app->shm, str_of(creation->row.kind), 1);
		put_location(req);
	} else {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	}
	request_finish(req);
}

static void submit_creation(struct creation *creation)
{
	struct request *req = creation->req;

	if (idempotent_claim(&creation->idem)) {
		creation->op.run = store_task;
		creation->op.done = task_stored;
		creation->op.identity = req->edge.random;
		creation->op.wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
		if (store_write(req->app->store, &creation->op) == STATUS_OK)
			return; /* the request is the commit thread's now */
		idempotent_release(&creation->idem);
		app_count_rejected(req->app, APP_REJECTED_QUEUE_FULL);
		request_refuse(req, STR("Too many writes are waiting. Try again later."));
	}
	request_finish(req);
}

void tasks_post(struct request *req)
{
	struct creation *creation = arena_zalloc(&req->arena, sizeof(*creation));

	if (!creation) {
		answer_no_memory(req);
		return;
	}
	struct task_row *row = &creation->row;
	creation->req = req;
	row->id = id_of_edge(&req->edge);
	row->user_id = req->caller.user_id;
	tasks_format_time(req->edge.ms * 1000, row->created_at);
	tasks_format_time(req->edge.ms * 1000, row->updated_at);
	if (!read_body(req, row) || !idempotent_read(&creation->idem, req)) {
		request_finish(req);
		return;
	}
	req->response.content_type = "application/json";
	buf_init(&creation->ready, &req->arena);
	task_json_put_whole(&creation->ready, row);
	if (creation->ready.failed || !row->payload.p)
		answer_no_memory(req);
	else
		submit_creation(creation);
}

/* --- lists --- */

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
		answer_no_memory(req);
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
		answer_no_memory(req);
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
	looking->op.identity = req->edge.random;
	looking->op.wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
	if (store_write(req->app->store, &looking->op) == STATUS_OK)
		return;
	app_count_rejected(req->app, APP_REJECTED_QUEUE_FULL);
	request_refuse(req, STR("Too many writes are waiting. Try again later."));
	request_finish(req);
}
