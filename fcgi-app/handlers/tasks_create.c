/* Tasks for the background: adding one with POST /api/v1/tasks.
 *
 *   {"kind":"echo", "payload":{…}, "priority":0, "delay_seconds":60 | "run_at":"2026-12-01T08:00:00Z"}
 *
 * Who may add which kind, and what its payload must be, the table of kinds says (task/kinds.c). */
#include "app.h"
#include "base/clock.h"
#include "handlers/handlers.h"
#include "handlers/idempotent.h"
#include "handlers/instances.h"
#include "handlers/task_json.h"
#include "handlers/tasks.h"
#include "shared/wake.h"
#include "task/kinds.h"
#include "task/measure.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { PRIORITY_MIN = -TASK_PRIORITY_MAX };
enum { DELAY_MAX_S = 366 * 24 * 3600, PAYLOAD_BYTES = TASK_PART_BYTES };

/* --- the body --- */

struct creation {
	struct store_op op; /* first: the store hands it back */
	struct idempotent idem;
	struct request *req;
	struct task_row row;
	struct buf ready; /* the answer */
	bool repeated;
	enum tasks_room room; /* there is none: why */
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
	row->small = kind->small;
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
			req->caller.superuser ? TASK_PRIORITY_MAX : TASK_PRIORITY_MAX_OF_USERS, &priority))
		row->priority = (int64_t)priority;
	read_when(&reading, row);
	if (reading.invalid.n > 0)
		invalid_answer(&reading.invalid, req);
	return reading.invalid.n == 0;
}

/* --- storing --- */

static enum status store_task(struct db *db, struct store_op *op, struct err *err)
{
	struct creation *creation = (struct creation *)(void *)op;
	struct request *req = creation->req;
	struct tasks_bound most;
	const struct tasks_bound *bound = tasks_bound_of(req, &most);
	struct task_row row;
	bool found, stored = false;

	req->response.status = 202;
	req->response.body = creation->ready;
	creation->repeated = false;
	creation->room = TASKS_ROOM;
	op->wake = 0;
	enum status status = idempotent_find(&creation->idem, db, &found, err);
	if (status != STATUS_OK || found)
		return status;
	status = tasks_begin_change(db, &creation->row.change, err);
	if (status == STATUS_OK)
		status = bound ? tasks_insert_within(db, &creation->row, bound, &stored, &creation->room, err)
			       : tasks_insert(db, &creation->row, &stored, err);
	if (status != STATUS_OK || creation->room != TASKS_ROOM)
		return status;
	op->wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
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
	if (op->status == STATUS_OK && creation->room != TASKS_ROOM) {
		tasks_answer_no_room(req, creation->room);
	} else if (op->status == STATUS_OK) {
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
		if (request_write(req, &creation->op))
			return; /* the request is the commit thread's now */
		idempotent_release(&creation->idem);
	}
	request_finish(req);
}

void tasks_post(struct request *req)
{
	struct creation *creation = arena_zalloc(&req->arena, sizeof(*creation));

	if (!creation) {
		tasks_answer_no_memory(req);
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
		tasks_answer_no_memory(req);
	else
		submit_creation(creation);
}
