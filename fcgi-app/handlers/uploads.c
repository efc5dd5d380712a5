/* Uploads: making one, looking at it, deleting it. Its bytes: uploads_receive.c.
 *
 *   POST   /api/v1/data/uploads {"name":"a.csv","bytes":1000,"pipeline":"dataflow","sha256":"…"}
 *   GET    /api/v1/data/uploads/{upload_id}   also HEAD: Upload-Offset says where to go on
 *   DELETE /api/v1/data/uploads/{upload_id}
 *
 * Everybody sees their own alone. */
#include "handlers/uploads.h"

#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"
#include "handlers/tasks.h"
#include "http/query.h"
#include "shared/wake.h"
#include "task/measure.h"

#include <inttypes.h>
#include <math.h>

enum { BODY_BYTES = 16 * 1024, RETRY_AFTER_S = 1 };
static const int64_t US_PER_DAY = INT64_C(86400000000);

/* --- shared --- */

static void close_file(void *arg)
{
	upload_close(arg);
}

struct upload_work *uploads_begin(struct request *req)
{
	struct upload_work *work = arena_zalloc(&req->arena, sizeof(*work));

	if (work) {
		work->file = (struct upload_file){.dir = -1, .fd = -1};
		work->req = req;
		work->row.user_id = req->caller.user_id;
		work->row.created_us = req->edge.ms * 1000;
		work->row.expires_us = clock_wall_us() + req->app->config->upload_days * US_PER_DAY;
		work->run = id_of_edge_row(&req->edge, 1);
	}
	if (work && arena_on_reset(&req->arena, close_file, &work->file))
		return work;
	tasks_answer_no_memory(req);
	return NULL;
}

static void violate(struct invalid *invalid, const char *where, const char *field, const char *msg, struct str input)
{
	invalid_add(invalid, &(struct violation){.type = "value_error",
						 .msg = msg,
						 .where = where,
						 .field = field,
						 .index = -1,
						 .input = input});
}

static struct str shown(struct request *req, struct str text)
{
	return str_is_utf8(text) ? invalid_input_text(req, text) : STR("null");
}

static bool is_sha256(struct str text)
{
	uint8_t bytes[32];

	return hex_parse(text, bytes, sizeof(bytes));
}

static enum status load_pipeline(struct upload_work *work, struct err *err)
{
	struct request *req = work->req;
	struct buf problems;

	buf_init(&problems, &req->arena);
	return pipeline_load(req->app->config->pipelines_dir, work->row.pipeline, &req->arena, &work->pipeline,
			     &problems, err);
}

void uploads_check(struct upload_work *work, struct invalid *invalid, const char *where)
{
	const struct upload_row *row = &work->row;
	const char *why = upload_check_name(row->name);
	struct err err;

	if (why)
		violate(invalid, where, "name", why, shown(work->req, row->name));
	if (row->sha256.n > 0 && !is_sha256(row->sha256))
		violate(invalid, where, "sha256", "Input should be 64 hexadecimal digits",
			shown(work->req, row->sha256));
	if (row->pipeline.n == 0)
		return;
	enum status status = load_pipeline(work, &err);
	if (status == STATUS_NOT_FOUND)
		violate(invalid, where, "pipeline", "There is no such pipeline", shown(work->req, row->pipeline));
	else if (status != STATUS_OK)
		violate(invalid, where, "pipeline", "The pipeline's file is damaged: appcore pipeline check says how",
			shown(work->req, row->pipeline));
}

bool uploads_load_pipeline(struct upload_work *work)
{
	struct err err;

	if (work->row.pipeline.n == 0 || load_pipeline(work, &err) == STATUS_OK)
		return true;
	request_answer_detail(
		work->req, 409,
		STR("The pipeline that is to read this upload is not there any more, or damaged. Send the last "
		    "piece again when it is mended."));
	return false;
}

enum status uploads_find_room(struct upload_work *work, struct db *db, struct err *err)
{
	int64_t unfinished, bytes, most = work->req->app->config->upload_bytes;

	enum status status = uploads_count(db, work->row.user_id, &unfinished, &bytes, err);
	work->too_many = unfinished >= UPLOADS_UNFINISHED_MAX;
	work->too_much = (bytes + work->row.bytes) / UPLOADS_KEPT_FACTOR > most;
	return status;
}

void uploads_answer_no_room(struct upload_work *work)
{
	if (work->too_many)
		request_answer_detail(
			work->req, 429,
			STR("Too many of your uploads are unfinished: at most 16 may be. Finish or delete some."));
	else
		request_answer_detail(
			work->req, 507,
			STR("Your uploads take too much room: at most 16 times UPLOAD_BYTES. Delete some."));
}

enum status uploads_start_run(struct upload_work *work, struct db *db, struct err *err)
{
	struct ingest ingest = {
		.pipeline = work->row.pipeline,
		.user_id = work->row.user_id,
		.source = work->row.name,
		.path = upload_path(&work->row, work->path),
		.origin = STR("upload"),
		.bytes = work->row.bytes,
	};

	work->row.run_id = (struct str){0};
	if (!work->pipeline)
		return STATUS_OK;
	if (!tasks_bound_of(work->req, &ingest.bound))
		ingest.bound = (struct tasks_bound){0};
	ingest.definition = work->pipeline->text;
	work->run = id_of_edge_row(&work->req->edge, 1);
	enum status status = ingest_start(db, &ingest, &work->run, &work->started, err);
	id_format(&work->run, work->run_id);
	work->row.run_id = str_of(work->run_id);
	work->op.wake |= 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
	return status;
}

void uploads_submit(struct upload_work *work, enum status (*run)(struct db *db, struct store_op *op, struct err *err),
		    void (*done)(struct store_op *op))
{
	struct request *req = work->req;

	work->op = (struct store_op){.run = run, .done = done};
	if (request_write(req, &work->op))
		return; /* the request is the commit thread's now */
	request_finish(req);
}

/* --- answers --- */

static void put_time(struct buf *out, const char *name, int64_t us)
{
	char text[CLOCK_ISO_BYTES];

	clock_format_iso(us, text);
	buf_fmt(out, ",\"%s\":\"%s\"", name, text);
}

static void put_text(struct buf *out, const char *name, struct str text)
{
	buf_fmt(out, ",\"%s\":", name);
	if (text.n > 0)
		json_put_string(out, text);
	else
		buf_str(out, STR("null"));
}

void uploads_put_offset(struct request *req, int64_t offset)
{
	response_header_u64(&req->response, "Upload-Offset", (uint64_t)offset);
	response_header(&req->response, "Tus-Resumable", STR("1.0.0"));
	response_header(&req->response, "Cache-Control", STR("no-store"));
}

void uploads_put_location(struct request *req, const struct id *id)
{
	char text[ID_TEXT_BYTES];
	struct buf path;

	id_format(id, text);
	buf_init(&path, &req->arena);
	buf_fmt(&path, "/api/v1/data/uploads/%s", text);
	if (!path.failed)
		response_header(&req->response, "Location", buf_view(&path));
}

void uploads_answer(struct request *req, int http_status, const struct upload_row *row)
{
	struct buf *out = &req->response.body;
	char id[ID_TEXT_BYTES];

	id_format(&row->id, id);
	req->response.status = http_status;
	req->response.content_type = "application/json";
	buf_fmt(out, "{\"upload_id\":\"%s\"", id);
	put_text(out, "name", row->name);
	buf_fmt(out, ",\"bytes\":%" PRId64 ",\"received\":%" PRId64 ",\"complete\":%s", row->bytes, row->received,
		upload_is_complete(row) ? "true" : "false");
	put_text(out, "pipeline", row->pipeline);
	put_text(out, "sha256", row->sha256);
	put_text(out, "run_id", row->run_id);
	put_time(out, "created_at", row->created_us);
	put_time(out, "expires_at", row->expires_us);
	buf_char(out, '}');
	uploads_put_offset(req, row->received);
	response_header_u64(&req->response, "Upload-Length", (uint64_t)row->bytes);
}

void uploads_answer_fault(struct request *req, enum status status, const struct err *err)
{
	if (status == STATUS_BUSY) {
		response_header_u64(&req->response, "Retry-After", RETRY_AFTER_S);
		request_answer_detail(req, 423, str_of(err->text));
	} else if (status == STATUS_TOO_LARGE) {
		req->error = arena_dup(&req->arena, str_of(err->text));
		request_answer_detail(req, 507,
				      STR("There is no room left for this upload; what was received before stays."));
	} else {
		request_answer_error(req, status, err);
	}
}

/* --- making one --- */

static enum status insert(struct db *db, struct store_op *op, struct err *err)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	struct upload_row *row = &work->row;
	bool has, stored = false;

	work->too_many = work->too_much = false;
	enum status status = uploads_has(db, &row->id, &has, err);
	if (status == STATUS_OK && has)
		return STATUS_OK; /* nginx has tried the request again */
	if (status == STATUS_OK)
		status = uploads_find_room(work, db, err);
	if (status == STATUS_OK && !work->too_many && !work->too_much)
		status = uploads_insert(db, row, &stored, err);
	return status;
}

static void inserted(struct store_op *op)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	struct request *req = work->req;

	req->slow = false;
	if (op->status != STATUS_OK) {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	} else if (work->too_many || work->too_much) {
		uploads_answer_no_room(work);
	} else {
		uploads_put_location(req, &work->row.id);
		uploads_answer(req, 201, &work->row);
	}
	request_finish(req);
}

/* What the body says; p is NULL: nothing. */
static struct str read_text(struct request *req, struct invalid *invalid, const char *name, struct json_value value)
{
	if (value.type == JSON_STRING)
		return json_string(value, &req->arena);
	if (value.type != JSON_NULL)
		violate(invalid, "body", name, "Input should be a valid string", invalid_input_value(req, value));
	return (struct str){0};
}

static void read_bytes(struct upload_work *work, struct invalid *invalid, struct json_value value)
{
	int64_t most = work->req->app->config->upload_bytes;
	double number = 0;

	if (value.type != JSON_NUMBER || !json_number(value, &number) || number != floor(number) || number < 1)
		violate(invalid, "body", "bytes", "Input should be the file's length in bytes, 1 or more",
			invalid_input_value(work->req, value));
	else if (number > (double)most)
		violate(invalid, "body", "bytes", "The file is larger than UPLOAD_BYTES allows",
			invalid_input_value(work->req, value));
	else
		work->row.bytes = (int64_t)number;
}

/* False: answered. */
static bool read_creation(struct upload_work *work)
{
	struct request *req = work->req;
	struct json_value root, key, value, bytes = {.type = JSON_NULL, .text = STR("null")};
	struct json_iter iter;
	struct invalid invalid;

	if (!instances_read_root(req, &root))
		return false;
	invalid_init(&invalid, req);
	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value)) {
		struct str name = json_string(key, &req->arena);
		if (str_eq(name, STR("name")))
			work->row.name = read_text(req, &invalid, "name", value);
		else if (str_eq(name, STR("pipeline")))
			work->row.pipeline = read_text(req, &invalid, "pipeline", value);
		else if (str_eq(name, STR("sha256")))
			work->row.sha256 = read_text(req, &invalid, "sha256", value);
		else if (str_eq(name, STR("bytes")))
			bytes = value;
		else
			violate(&invalid, "body", "", "There are name, bytes, pipeline and sha256 alone",
				invalid_input_text(req, name));
	}
	read_bytes(work, &invalid, bytes);
	uploads_check(work, &invalid, "body");
	if (invalid.n > 0)
		invalid_answer(&invalid, req);
	return invalid.n == 0;
}

/* Thread of app->uploads: a short body. False: answered. */
static bool read_body(struct request *req)
{
	size_t n = (size_t)req->content_length, at = 0;
	char *body;
	ptrdiff_t got = 1;

	if (req->content_length > BODY_BYTES) {
		request_answer_detail(
			req, 413,
			STR("The description of an upload is too large. To send the file itself, give its "
			    "name: ?name=…"));
		return false;
	}
	if (!(body = arena_alloc(&req->arena, n + 1))) {
		request_answer_detail(req, 503, STR("Out of memory for this request."));
		return false;
	}
	while (at < n && (got = req->transport->read(req, body + at, n - at)) > 0)
		at += (size_t)got;
	if (at < n) {
		request_answer_detail(req, 400, STR("The request body could not be read."));
		return false;
	}
	body[n] = '\0';
	req->body = (struct str){body, n};
	return true;
}

static void create(struct request *req, struct db *db)
{
	struct upload_work *work = uploads_begin(req);

	(void)db;
	if (!work)
		return;
	work->row.id = id_of_edge(&req->edge);
	if (read_body(req) && read_creation(work))
		uploads_submit(work, insert, inserted);
	else
		request_finish(req);
}

void uploads_post(struct request *req)
{
	struct str name;

	if (request_query(req, STR("name"), &name))
		uploads_receive_whole(req);
	else
		request_go_slow(req, req->app->uploads, create);
}

/* --- looking --- */

enum status uploads_find_own(struct db *db, const struct request *req, const struct id *id, struct arena *arena,
			     struct upload_row *out, struct err *err)
{
	enum status status = uploads_find(db, id, req->caller.user_id, arena, out, err);
	char text[ID_TEXT_BYTES];

	if (status != STATUS_NOT_FOUND || out->created_us == 0)
		return status;
	struct buf *line = log_begin(LOG_LEVEL_WARNING, STR("a file of another user was asked for"));
	id_format(id, text);
	log_str(line, "event", STR("foreign_file"));
	log_str(line, "request_id", req->request_id);
	log_str(line, "method", req->method_text);
	log_str(line, "upload_id", str_of(text));
	log_i64(line, "user_id", req->caller.user_id);
	log_str(line, "client", req->remote_addr);
	log_end(line);
	return status;
}

static enum status find(struct db *db, struct store_op *op, struct err *err)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	const struct id id = work->row.id;

	return uploads_find_own(db, work->req, &id, &work->req->arena, &work->row, err);
}

static void found(struct store_op *op)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	struct request *req = work->req;

	if (op->status == STATUS_OK)
		uploads_answer(req, 200, &work->row);
	else
		request_answer_error(req, op->status, &op->err);
	request_finish(req);
}

/* NULL: answered and finished. */
static struct upload_work *begin_with_id(struct request *req)
{
	struct upload_work *work = uploads_begin(req);

	if (!work || id_parse(req->params[0], &work->row.id))
		return work;
	request_answer_detail(req, 404, STR("Upload not found"));
	request_finish(req);
	return NULL;
}

void uploads_get_one(struct request *req)
{
	struct upload_work *work = begin_with_id(req);

	if (!work)
		return;
	work->op = (struct store_op){
		.run = find, .done = found, .identity = req->edge.random, .small = true, .fresh = true};
	store_read(req->app->store, &work->op);
}

/* --- deleting --- */

/* Done again after it was committed it finds nothing, and nginx tries it again but once: that is told as it is. */
static enum status delete_row(struct db *db, struct store_op *op, struct err *err)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	const struct id id = work->row.id;
	bool is_read = false;

	enum status status = uploads_find_own(db, work->req, &id, &work->req->arena, &work->row, err);
	if (status == STATUS_OK)
		status = uploads_is_read(db, &id, &is_read, err);
	work->started = is_read;
	return status == STATUS_OK && !is_read ? uploads_delete(db, &id, err) : status;
}

static void remove_files(struct request *req, struct db *db)
{
	struct upload_work *work = req->state;
	struct err err;

	(void)db;
	/* Whoever is at work on it finds that its row is gone; what it leaves the expiry removes. */
	if (upload_remove(req->app->config, &work->row.id, &err) != STATUS_OK)
		req->error = arena_dup(&req->arena, str_of(err.text));
	request_finish(req);
}

static void deleted(struct store_op *op)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	struct request *req = work->req;

	if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
	} else if (work->started) {
		request_answer_detail(req, 409, STR("A run reads this upload: cancel it first, or wait for its end."));
	} else {
		req->response.status = 204;
		req->state = work;
		if (request_try_slow(req, req->app->uploads, remove_files))
			return;
	}
	request_finish(req);
}

void uploads_delete_one(struct request *req)
{
	struct upload_work *work = begin_with_id(req);

	if (work)
		uploads_submit(work, delete_row, deleted);
}
