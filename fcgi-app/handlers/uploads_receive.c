/* The bytes of uploads, as they come: 64 KiB at a time from the transport to the disk.
 *
 *   PATCH /api/v1/data/uploads/{upload_id}   a piece, as in tus 1.0: Upload-Offset says where it begins
 *   PUT or POST /api/v1/data/uploads?name=a.csv[&pipeline=NAME][&sha256=…]   all of it
 *
 * The offset in the database moves when the bytes are on the disk; a worker that dies in between leaves bytes that the
 * next one cuts off. The last piece gives the file its name and starts the run, if one is wanted, in the transaction
 * that says that it is complete. */
#include "handlers/tasks.h"
#include "handlers/uploads.h"

#include "app.h"
#include "handlers/data.h"
#include "handlers/handlers.h"
#include "http/query.h"
#include "task/measure.h"

#include <strings.h>

enum { PIECE_BYTES = 64 * 1024 };

/* --- shared --- */

/* Until the body is over. False: answered. */
static bool receive(struct upload_work *work, bool *cut)
{
	struct request *req = work->req;
	char *piece = arena_alloc(&req->arena, PIECE_BYTES);
	enum status status = STATUS_OK;
	struct err err = {0};
	ptrdiff_t n = 0;

	if (!piece) {
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "no memory for a piece"), &err);
		return false;
	}
	while (status == STATUS_OK && (n = req->transport->read(req, piece, PIECE_BYTES)) > 0)
		status = upload_write(&work->file, (struct str){piece, (size_t)n}, &err);
	*cut = n < 0;
	if (status == STATUS_OK)
		status = upload_sync(&work->file, &err);
	if (status != STATUS_OK)
		uploads_answer_fault(req, status, &err);
	return status == STATUS_OK;
}

/* Whether the file is what it must be. False: answered, and `work->sha256` is what it is when it is another. */
static bool is_right(struct upload_work *work)
{
	struct request *req = work->req;
	struct err err = {0};
	struct buf text;

	if (work->row.sha256.n == 0)
		return true;
	enum status status = upload_hash(&work->file, work->sha256, &err);
	if (status != STATUS_OK) {
		work->sha256[0] = '\0';
		uploads_answer_fault(req, status, &err);
		return false;
	}
	if (str_eq_nocase(work->row.sha256, str_of(work->sha256)))
		return true;
	buf_init(&text, &req->arena);
	buf_fmt(&text, "The file's SHA-256 is %s and not what was announced: it must be sent again from its beginning.",
		work->sha256);
	request_answer_detail(req, 422, text.failed ? STR("The file's SHA-256 is wrong.") : buf_view(&text));
	return false;
}

static void count_run(const struct upload_work *work)
{
	if (work->started)
		task_created_count(work->req->app->shm, STR(INGEST_KIND_RUN), 1);
}

/* --- a piece --- */

static enum status advance(struct db *db, struct store_op *op, struct err *err)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	enum status status = STATUS_OK;

	op->wake = 0;
	if (upload_is_complete(&work->row))
		status = uploads_start_run(work, db, err);
	return status == STATUS_OK ? uploads_advance(db, &work->row, work->from, err) : status;
}

static void advanced(struct store_op *op)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	struct request *req = work->req;

	req->slow = false;
	upload_close(&work->file);
	if (op->status == STATUS_CONFLICT) {
		request_answer_detail(req, 409, str_of(op->err.text));
	} else if (op->status != STATUS_OK) {
		tasks_answer_not_added(req, op->status, &op->err);
	} else if (req->response.status == 0) { /* else it is answered why it begins again */
		count_run(work);
		req->response.status = 204;
		uploads_put_offset(req, work->row.received);
	}
	request_finish(req);
}

static void answer_offset(struct upload_work *work)
{
	uploads_put_offset(work->req, work->row.received);
	request_answer_detail(
		work->req, 409,
		upload_is_complete(&work->row)
			? STR("The upload is complete.")
			: STR("Upload-Offset is not where the upload is: see Upload-Offset of this answer."));
}

/* What is wrong with a piece, before it is read. False: answered. */
static bool check_piece(struct upload_work *work, uint64_t offset)
{
	struct request *req = work->req;
	const struct upload_row *row = &work->row;

	if (offset != (uint64_t)row->received || (upload_is_complete(row) && req->content_length > 0)) {
		answer_offset(work);
		return false;
	}
	if (req->content_length > (uint64_t)(row->bytes - row->received)) {
		app_count_rejected(req->app, APP_REJECTED_TOO_LARGE);
		request_answer_detail(req, 413, STR("The piece is longer than what is missing of the upload."));
		return false;
	}
	if (req->content_length == 0) { /* nothing to do, also behind the end */
		uploads_put_offset(req, row->received);
		req->response.status = 204;
		return false;
	}
	return req->content_length < (uint64_t)(row->bytes - row->received) || uploads_load_pipeline(work);
}

/* The row as it is while nobody else can change it. False: answered. */
static bool lock(struct upload_work *work, struct db *db, uint64_t offset)
{
	struct request *req = work->req;
	const struct id id = work->row.id;
	struct err err = {0};

	enum status status = uploads_find_own(db, req, &id, &req->arena, &work->row, &err);
	if (status == STATUS_OK && !check_piece(work, offset))
		return false;
	int64_t received = work->row.received;
	if (status == STATUS_OK)
		status = upload_lock(&work->file, req->app->config, &id, received == 0, &err);
	if (status == STATUS_OK)
		status = uploads_find(db, &id, req->caller.user_id, &req->arena, &work->row, &err);
	if (status == STATUS_OK && work->row.received != received) {
		answer_offset(work);
		return false;
	}
	if (status == STATUS_OK)
		status = upload_open(&work->file, &work->row, &err);
	if (status != STATUS_OK)
		uploads_answer_fault(req, status, &err);
	return status == STATUS_OK;
}

/* False: answered. */
static bool complete(struct upload_work *work)
{
	struct err err = {0};

	if (!is_right(work)) {
		if (work->sha256[0])
			work->row.received = 0;
		return false;
	}
	enum status status = upload_name(&work->file, work->row.name, &err);
	if (status != STATUS_OK)
		uploads_answer_fault(work->req, status, &err);
	return status == STATUS_OK;
}

static void receive_piece(struct request *req, struct db *thread_db)
{
	struct upload_work *work = uploads_begin(req);
	int64_t expires_us;
	uint64_t offset;
	bool cut = false;

	if (!work)
		return;
	expires_us = work->row.expires_us;
	struct db *db = data_connect(req, thread_db);
	if (!id_parse(req->params[0], &work->row.id) || !str_to_u64(req->upload_offset, INT64_MAX, &offset) || !db ||
	    !lock(work, db, offset) || !receive(work, &cut)) {
		request_finish(req);
		return;
	}
	work->from = work->row.received;
	work->row.received = work->file.at;
	work->row.expires_us = expires_us;
	if (upload_is_complete(&work->row) && !complete(work) && work->row.received > 0) {
		request_finish(req);
		return;
	}
	if (cut) /* what came is kept; nobody listens */
		request_answer_detail(req, 400, STR("The request body could not be read."));
	uploads_submit(work, advance, advanced);
}

void uploads_patch_one(struct request *req)
{
	struct str rest = req->content_type;
	struct id id;
	uint64_t offset;

	if (!id_parse(req->params[0], &id)) {
		request_answer_detail(req, 404, STR("Upload not found"));
	} else if (!str_eq_nocase(str_trim(str_cut(&rest, ';')), STR("application/offset+octet-stream"))) {
		app_count_rejected(req->app, APP_REJECTED_MEDIA_TYPE);
		request_answer_detail(req, 415, STR("Content-Type must be application/offset+octet-stream."));
	} else if (!str_to_u64(req->upload_offset, INT64_MAX, &offset)) {
		request_answer_detail(req, 400, STR("Upload-Offset must say where the piece begins, in bytes."));
	} else {
		request_go_slow(req, req->app->uploads, receive_piece);
		return;
	}
	request_finish(req);
}

/* --- all of it in one request --- */

static enum status insert_whole(struct db *db, struct store_op *op, struct err *err)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	bool stored;

	op->wake = 0;
	work->too_many = false;
	enum status status = uploads_has(db, &work->row.id, &work->repeated, err);
	if (status != STATUS_OK || work->repeated)
		return status;
	status = uploads_start_run(work, db, err);
	return status == STATUS_OK ? uploads_insert(db, &work->row, &stored, err) : status;
}

static void discard(struct request *req, struct db *db)
{
	struct upload_work *work = req->state;

	(void)db;
	upload_discard(&work->file, req->app->config, &work->row.id);
	request_finish(req);
}

static void inserted_whole(struct store_op *op)
{
	struct upload_work *work = (struct upload_work *)(void *)op;
	struct request *req = work->req;

	req->slow = false;
	if (op->status == STATUS_OK) {
		count_run(work);
		uploads_put_location(req, &work->row.id);
		uploads_answer(req, 201, &work->row);
	} else {
		tasks_answer_not_added(req, op->status, &op->err);
		/* Its bytes are nobody's; where nobody can say that, the expiry sees to them. */
		req->state = work;
		if (op->status != STATUS_UNKNOWN_OUTCOME && request_try_slow(req, req->app->uploads, discard))
			return;
	}
	upload_close(&work->file);
	request_finish(req);
}

/* False: answered. */
static bool begin_whole(struct upload_work *work, struct db *db)
{
	struct request *req = work->req;
	enum tasks_room room = TASKS_ROOM;
	struct upload_row there;
	struct tasks_bound most;
	struct err err = {0};

	/* nginx has tried the request again, and the first try has stored it. */
	enum status status = uploads_find(db, &work->row.id, req->caller.user_id, &req->arena, &there, &err);
	if (status == STATUS_OK) {
		uploads_put_location(req, &there.id);
		uploads_answer(req, 201, &there);
		return false;
	}
	if (status == STATUS_NOT_FOUND)
		status = uploads_find_room(work, db, &err);
	if (status == STATUS_OK && work->too_much) {
		work->too_many = false;
		uploads_answer_no_room(work);
		return false;
	}
	/* For its run, before its bytes are on the disk; the transaction that adds the task has the last word. */
	const struct tasks_bound *bound = tasks_bound_of(req, &most);
	if (status == STATUS_OK && work->pipeline && bound)
		status = tasks_find_room(db, req->caller.user_id, 0, bound, &room, &err);
	if (status == STATUS_OK && room != TASKS_ROOM) {
		tasks_answer_no_room(req, room);
		return false;
	}
	if (status == STATUS_OK)
		status = upload_lock(&work->file, req->app->config, &work->row.id, true, &err);
	if (status == STATUS_OK)
		status = upload_open(&work->file, &work->row, &err);
	if (status != STATUS_OK)
		uploads_answer_fault(req, status, &err);
	return status == STATUS_OK;
}

static void receive_whole(struct request *req, struct db *thread_db)
{
	struct upload_work *work = req->state;
	struct invalid invalid;
	bool cut = false;

	invalid_init(&invalid, req);
	uploads_check(work, &invalid, "query");
	if (invalid.n > 0)
		invalid_answer(&invalid, req);
	struct db *db = invalid.n == 0 ? data_connect(req, thread_db) : NULL;
	if (!db || !begin_whole(work, db)) {
		request_finish(req);
		return;
	}
	bool good = receive(work, &cut);
	if (good && work->file.at != work->row.bytes) {
		request_answer_detail(req, 400, STR("The request body could not be read."));
		good = false;
	}
	work->row.received = work->file.at;
	if (good && complete(work)) {
		uploads_submit(work, insert_whole, inserted_whole);
		return;
	}
	upload_discard(&work->file, req->app->config, &work->row.id);
	request_finish(req);
}

static struct str parameter(struct request *req, struct str name)
{
	struct str value = {0};

	return request_query(req, name, &value) ? value : (struct str){0};
}

void uploads_receive_whole(struct request *req)
{
	struct upload_work *work = uploads_begin(req);

	if (!work)
		return;
	work->row.id = id_of_edge(&req->edge);
	work->row.name = parameter(req, STR("name"));
	work->row.pipeline = parameter(req, STR("pipeline"));
	work->row.sha256 = parameter(req, STR("sha256"));
	work->row.bytes = (int64_t)req->content_length;
	req->state = work;
	if (req->content_length > 0) {
		request_go_slow(req, req->app->uploads, receive_whole);
		return;
	}
	request_answer_detail(req, 400, STR("The request has no body: the file's bytes are expected there."));
	request_finish(req);
}
