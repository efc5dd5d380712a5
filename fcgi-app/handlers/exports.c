/* Exports as files, for what is large, or wanted more than once.
 *
 *   POST /api/v1/data/exports {"pipeline":"dataflow","filters":{"value.gte":5},"q":"words","format":"csv","gzip":true,
 *                              "fields":["id","value"]}
 *   GET  /api/v1/data/exports/{export_id}
 *   GET  /api/v1/data/exports/{export_id}/file   nginx sends it
 *
 * Filters are the conditions of …/records; the order is that of storing. Who asked for one can have it, and nobody
 * else. */
#include "task/export.h"

#include "app.h"
#include "handlers/data.h"
#include "handlers/files.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"
#include "handlers/tasks.h"
#include "http/invalid.h"
#include "shared/wake.h"
#include "task/measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

struct exporting {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	struct task_row row;
	struct export_wish wish;
	bool stored;
	enum tasks_room room;
};

/* Parameters of a query that are no conditions. */
static const struct str RESERVED[] = {
	STR_INIT("pipeline"), STR_INIT("q"),         STR_INIT("sort"),    STR_INIT("limit"),
	STR_INIT("cursor"),   STR_INIT("format"),    STR_INIT("fields"),  STR_INIT("by"),
	STR_INIT("field"),    STR_INIT("quantiles"), STR_INIT("buckets"), STR_INIT("meta"),
};

/* --- the body --- */

static void violate(struct invalid *invalid, struct request *req, const char *field, const char *msg,
		    struct json_value input)
{
	invalid_add(invalid, &(struct violation){.type = "value_error",
						 .msg = msg,
						 .where = "body",
						 .field = field,
						 .index = -1,
						 .input = invalid_input_value(req, input)});
}

static void put_escaped(struct buf *out, struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		buf_fmt(out, "%%%02X", (unsigned)(unsigned char)text.p[i]);
}

static void put_parameter(struct buf *out, struct str name, struct str value)
{
	put_escaped(out, name);
	buf_char(out, '=');
	put_escaped(out, value);
	buf_char(out, '&');
}

static bool is_reserved(struct str name)
{
	for (size_t i = 0; i < sizeof(RESERVED) / sizeof(RESERVED[0]); i++)
		if (str_eq(name, RESERVED[i]))
			return true;
	return name.n == 0;
}

/* As the conditions of a query: one place reads them. */
static void read_filters(struct request *req, struct invalid *invalid, struct json_value object, struct buf *query)
{
	struct json_value key, value;
	struct json_iter iter;

	if (object.type != JSON_OBJECT) {
		violate(invalid, req, "filters", "Input should be an object of conditions: {\"price.gte\":5}", object);
		return;
	}
	json_iter_init(&iter, object);
	while (json_next(&iter, &key, &value)) {
		struct str name = json_string(key, &req->arena);
		struct str text = value.type == JSON_STRING ? json_string(value, &req->arena) : value.text;
		if (is_reserved(name))
			violate(invalid, req, "filters", "A field of this name is written as data.NAME", key);
		else if (value.type == JSON_OBJECT || value.type == JSON_ARRAY || value.type == JSON_NULL)
			violate(invalid, req, "filters", "A condition's value is a text, a number, true or false",
				value);
		else
			put_parameter(query, name, text);
	}
}

static void read_fields(struct request *req, struct invalid *invalid, struct json_value list, struct export_wish *wish)
{
	struct json_value item;
	struct json_iter iter;

	wish->columns = arena_alloc(&req->arena, EXPORT_COLUMNS_MAX * sizeof(*wish->columns));
	if (list.type != JSON_ARRAY || !wish->columns) {
		violate(invalid, req, "fields", "Input should be a list of field names", list);
		return;
	}
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item))
		if (item.type != JSON_STRING || wish->columns_n == EXPORT_COLUMNS_MAX) {
			violate(invalid, req, "fields", "Input should be a list of field names, 1024 at the most",
				item);
			return;
		} else {
			wish->columns[wish->columns_n++] = json_string(item, &req->arena);
		}
}

static void read_member(struct request *req, struct invalid *invalid, struct str name, struct json_value value,
			struct export_wish *wish, struct buf *query)
{
	bool is_text = value.type == JSON_STRING;
	struct str text = is_text ? json_string(value, &req->arena) : (struct str){0};

	if (str_eq(name, STR("filters"))) {
		read_filters(req, invalid, value, query);
	} else if (str_eq(name, STR("fields"))) {
		read_fields(req, invalid, value, wish);
	} else if (str_eq(name, STR("gzip"))) {
		wish->gzip = value.type == JSON_TRUE;
		if (value.type != JSON_TRUE && value.type != JSON_FALSE)
			violate(invalid, req, "gzip", "Input should be true or false", value);
	} else if (str_eq(name, STR("format"))) {
		if (!is_text || !export_format_parse(text, &wish->format))
			violate(invalid, req, "format", "Input should be 'csv', 'jsonl' or 'json'", value);
	} else if (str_eq(name, STR("pipeline")) || str_eq(name, STR("q"))) {
		if (is_text)
			put_parameter(query, name, text);
		else
			violate(invalid, req, str_eq(name, STR("q")) ? "q" : "pipeline",
				"Input should be a valid string", value);
	} else {
		violate(invalid, req, "", "There are pipeline, filters, q, format, gzip and fields alone",
			(struct json_value){.type = JSON_STRING, .text = STR("\"\"")});
	}
}

/* False: answered. */
static bool read_wish(struct exporting *exporting, struct db *db)
{
	struct request *req = exporting->req;
	struct json_value root, key, value;
	struct data_wish wish;
	struct invalid invalid;
	struct json_iter iter;
	struct buf query;

	if (!instances_read_root(req, &root))
		return false;
	invalid_init(&invalid, req);
	buf_init(&query, &req->arena);
	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value))
		read_member(req, &invalid, json_string(key, &req->arena), value, &exporting->wish, &query);
	if (!json_member(root, STR("pipeline"), &value))
		invalid_add(&invalid, &(struct violation){.type = "missing",
							  .msg = "Field required",
							  .where = "body",
							  .field = "pipeline",
							  .index = -1,
							  .input = invalid_input_value(req, root)});
	if (invalid.n > 0 || query.failed) {
		invalid_answer(&invalid, req);
		return false;
	}
	req->query = buf_view(&query);
	req->query_is_of_body = true;
	if (!data_read_wish(req, db, 1, 0, &wish))
		return false;
	exporting->wish.pipeline = wish.name;
	exporting->wish.query = wish.query;
	return true;
}

/* --- storing --- */

static void put_state(struct buf *out, const struct task_row *row)
{
	struct json_value root = {0}, value;
	struct json_fault fault;
	char id[ID_TEXT_BYTES];
	double rows = (double)row->done, bytes = 0;
	bool done = row->status == TASK_COMPLETED && json_check(row->result, 2, &root, &fault);

	if (done && json_member(root, STR("rows"), &value))
		(void)!json_number(value, &rows);
	if (done && json_member(root, STR("bytes"), &value))
		(void)!json_number(value, &bytes);
	id_format(&row->id, id);
	buf_fmt(out, "{\"export_id\":\"%s\",\"state\":\"%s\",\"rows\":%.0f,\"bytes\":%.0f,\"file\":", id,
		task_status_name(row->status), rows, bytes);
	if (done)
		buf_fmt(out, "\"/api/v1/data/exports/%s/file\"", id);
	else
		buf_str(out, STR("null"));
	buf_str(out, STR(",\"error\":"));
	if (row->error.n > 0)
		json_put_string(out, row->error);
	else
		buf_str(out, STR("null"));
	buf_str(out, STR(",\"created_at\":"));
	json_put_string(out, str_of(row->created_at));
	buf_char(out, '}');
}

static enum status store_task(struct db *db, struct store_op *op, struct err *err)
{
	struct exporting *exporting = (struct exporting *)(void *)op;
	struct tasks_bound most;
	const struct tasks_bound *bound = tasks_bound_of(exporting->req, &most);

	exporting->room = TASKS_ROOM;
	enum status status = tasks_begin_change(db, &exporting->row.change, err);
	if (status == STATUS_OK)
		status = bound ? tasks_insert_within(db, &exporting->row, bound, &exporting->stored, &exporting->room,
						     err)
			       : tasks_insert(db, &exporting->row, &exporting->stored, err);
	return status;
}

static void task_stored(struct store_op *op)
{
	struct exporting *exporting = (struct exporting *)(void *)op;
	struct request *req = exporting->req;
	char id[ID_TEXT_BYTES];
	struct buf path;

	req->slow = false;
	if (op->status != STATUS_OK) {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	} else if (exporting->room != TASKS_ROOM) {
		tasks_answer_no_room(req, exporting->room);
	} else {
		if (exporting->stored)
			task_created_count(req->app->shm, STR(EXPORT_KIND), 1);
		id_format(&exporting->row.id, id);
		buf_init(&path, &req->arena);
		buf_fmt(&path, "/api/v1/data/exports/%s", id);
		if (!path.failed)
			response_header(&req->response, "Location", buf_view(&path));
		req->response.status = 202;
		req->response.content_type = "application/json";
		put_state(&req->response.body, &exporting->row);
	}
	request_finish(req);
}

static void post_slowly(struct request *req, struct db *thread_db)
{
	struct exporting *exporting = arena_zalloc(&req->arena, sizeof(*exporting));
	struct buf payload;

	if (!exporting) {
		tasks_answer_no_memory(req);
		return;
	}
	exporting->req = req;
	struct db *db = data_connect(req, thread_db);
	if (!db || !read_wish(exporting, db)) {
		request_finish(req);
		return;
	}
	struct task_row *row = &exporting->row;
	buf_init(&payload, &req->arena);
	export_put_payload(&payload, &exporting->wish);
	row->id = id_of_edge(&req->edge);
	row->user_id = req->caller.user_id;
	row->payload = buf_view(&payload);
	row->run_us = req->edge.ms * 1000;
	snprintf(row->kind, sizeof(row->kind), "%s", EXPORT_KIND);
	tasks_format_time(req->edge.ms * 1000, row->created_at);
	if (payload.failed) {
		tasks_answer_no_memory(req);
		return;
	}
	exporting->op = (struct store_op){
		.run = store_task, .done = task_stored, .wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS};
	if (request_write(req, &exporting->op))
		return; /* the request is the commit thread's now */
	request_finish(req);
}

void exports_post(struct request *req)
{
	if (req->slow)
		post_slowly(req, NULL); /* its body was late */
	else
		request_go_slow(req, req->app->lists, post_slowly);
}

/* --- looking --- */

/* False: answered. */
static bool find(struct request *req, struct db *db, struct task_row *row)
{
	enum status status = STATUS_NOT_FOUND;
	struct err err = {0};
	struct id id;

	if (id_parse(req->params[0], &id))
		status = tasks_find(db, &id, -1, &req->arena, row, &err);
	bool foreign = status == STATUS_OK && row->user_id != req->caller.user_id;
	if (status == STATUS_OK && !foreign && strcmp(row->kind, EXPORT_KIND) == 0)
		return true;
	if (foreign)
		tasks_log_foreign(req, &id);
	if (status == STATUS_OK || status == STATUS_NOT_FOUND)
		request_answer_detail(req, 404, STR("Export not found"));
	else
		request_answer_error(req, status, &err);
	return false;
}

static void get_slowly(struct request *req, struct db *thread_db)
{
	struct db *db = data_connect(req, thread_db);
	struct task_row row;

	if (db && find(req, db, &row)) {
		req->response.status = 200;
		req->response.content_type = "application/json";
		put_state(&req->response.body, &row);
	}
	request_finish(req);
}

void exports_get_one(struct request *req)
{
	request_go_slow(req, req->app->lists, get_slowly);
}

static void answer_file(struct request *req, const struct task_row *row)
{
	static const char *const types[EXPORT_FORMAT__MAX] = {[EXPORT_CSV] = "text/csv; charset=utf-8",
							      [EXPORT_JSON_LINES] = "application/x-ndjson",
							      [EXPORT_JSON] = "application/json"};
	struct json_value root, value;
	struct export_wish wish = {0};
	struct json_fault fault;
	struct buf path, name;
	struct stat st;
	char full[4096];

	buf_init(&path, &req->arena);
	buf_init(&name, &req->arena);
	if (json_check(row->result, 2, &root, &fault) && json_member(root, STR("file"), &value) &&
	    value.type == JSON_STRING && export_read_payload(row->payload, &req->arena, &wish)) {
		buf_str(&path, STR("exports/"));
		buf_str(&path, json_string(value, &req->arena));
		buf_fmt(&name, "%.*s.%s%s", STR_ARG(wish.pipeline), export_format_name(wish.format),
			wish.gzip ? ".gz" : "");
	}
	snprintf(full, sizeof(full), "%s/%.*s", req->app->config->data_dir, STR_ARG(buf_view(&path)));
	if (path.n == 0 || path.failed || name.failed || lstat(full, &st) != 0 || !S_ISREG(st.st_mode))
		request_answer_detail(req, 404, STR("The export's file is gone."));
	else
		files_answer(req, buf_view(&path), buf_view(&name),
			     wish.gzip ? "application/gzip" : types[wish.format]);
}

static void file_slowly(struct request *req, struct db *thread_db)
{
	struct db *db = data_connect(req, thread_db);
	struct task_row row;

	if (db && find(req, db, &row)) {
		if (row.status == TASK_COMPLETED)
			answer_file(req, &row);
		else if (task_is_over(row.status))
			request_answer_detail(req, 409,
					      STR("The export has not been written: it failed or was cancelled."));
		else
			request_answer_detail(req, 409, STR("The export is not written yet."));
	}
	request_finish(req);
}

void exports_get_file(struct request *req)
{
	request_go_slow(req, req->app->lists, file_slowly);
}
