/* POST /api/v1/sentiment/analyze/batch: many texts for the background.
 *
 *   {"texts": ["I love it", …]}   up to BATCH_MAX of them, BATCH_BODY_BYTES in all
 *
 * The answer is the task's id, as soon as the task is on disk. Its texts are stored before it, in parts that are a
 * write each, so that a large batch holds nobody's turn up; a part is put together by a slow thread while the one
 * before it is stored and forgotten. Identifiers come from the identity at the edge: a request that nginx tries again
 * finds the parts and the task that it has stored. Parts of a request that ended half-way belong to no task and expire.
 */
#include "handlers/handlers.h"
#include "handlers/sentiment.h"

#include "app.h"
#include "base/clock.h"
#include "base/polite.h"
#include "handlers/batch.h"
#include "handlers/idempotent.h"
#include "handlers/instances.h"
#include "handlers/tasks.h"
#include "shared/wake.h"
#include "task/measure.h"

#include <inttypes.h>

/* What a text needs while it is looked at: all that its escapes may stand for. */
enum {
	SCRATCH_BYTES = 1 << 20,
	PART_BYTES = 64 * 1024, /* so much is written and synced in half a millisecond, and everybody waits for it */
	AT_ONCE = 1,            /* parts in one write */
};

/* Texts on their way into the store. Lives in the request's arena. */
struct upload {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	const struct model_version *version;
	struct idempotent idem;
	struct arena scratch; /* of the thread that works on it */
	struct polite polite;
	struct task_row task;
	struct json_iter iter;   /* where the next part begins */
	struct json_value ahead; /* the text that did not fit into the part before it */
	struct buf part[AT_ONCE], counts;
	int n;                /* parts that are being stored */
	int64_t parts;        /* so far, with these */
	bool last, known;     /* it is the last part; the key has been used before */
	bool created;         /* the task was stored by this request, and not before */
	enum tasks_room room; /* there is none for the task: why */
	struct buf ready;     /* the answer */
};

/* --- answering --- */

static const char ANSWER_START[] = "{\"task_id\":\"";

/* Of the task that the answer names, which may be one that is told again. */
static void put_location(struct request *req)
{
	struct str body = buf_view(&req->response.body);
	struct buf location;

	if (req->response.status != 202 || body.n < sizeof(ANSWER_START) - 1 + ID_TEXT_BYTES - 1)
		return;
	buf_init(&location, &req->arena);
	buf_str(&location, STR("/api/v1/sentiment/task/"));
	buf_put(&location, body.p + sizeof(ANSWER_START) - 1, ID_TEXT_BYTES - 1);
	if (!location.failed)
		response_header(&req->response, "Location", buf_view(&location));
}

static void finish(struct upload *upload)
{
	idempotent_release(&upload->idem);
	arena_release(&upload->scratch);
	request_finish(upload->req);
}

static void fail(struct upload *upload, enum status status, const char *text)
{
	struct err err;

	request_answer_error(upload->req, err_set(&err, status, "%s", text), &err);
	finish(upload);
}

/* --- storing --- */

static enum status store_task(struct upload *upload, struct db *db, struct err *err)
{
	struct tasks_bound most;
	const struct tasks_bound *bound = tasks_bound_of(upload->req, &most);
	enum status status = tasks_begin_change(db, &upload->task.change, err);

	if (status == STATUS_OK)
		status = bound ? tasks_insert_within(db, &upload->task, bound, &upload->created, &upload->room, err)
			       : tasks_insert(db, &upload->task, &upload->created, err);
	if (status != STATUS_OK || upload->room != TASKS_ROOM)
		return status;
	upload->op.wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
	upload->req->response.status = 202;
	upload->req->response.body = upload->ready;
	return idempotent_save(&upload->idem, db, true, err);
}

/* Before any part is stored; what it says is true of when the task is. One that is there already needs no room. */
static enum status look_for_room(struct upload *upload, struct db *db, struct err *err)
{
	struct tasks_bound most;
	const struct tasks_bound *bound = tasks_bound_of(upload->req, &most);
	struct task_row row;

	if (!bound)
		return STATUS_OK;
	enum status status = tasks_find_room(db, upload->task.user_id, upload->task.bytes, bound, &upload->room, err);
	if (status != STATUS_OK || upload->room == TASKS_ROOM)
		return status;
	status = tasks_find(db, &upload->task.id, -1, &upload->req->arena, &row, err);
	if (status == STATUS_OK)
		upload->room = TASKS_ROOM;
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Commit thread: some parts; with the last one the task. A key that was used before ends it with the first, and so does
 * a user who has enough waiting. */
static enum status store_parts(struct db *db, struct store_op *op, struct err *err)
{
	struct upload *upload = (struct upload *)(void *)op;
	enum status status = STATUS_OK;

	bool first = upload->parts == upload->n;

	upload->known = upload->created = false;
	upload->room = TASKS_ROOM;
	upload->op.wake = 0;
	if (first || upload->last)
		status = idempotent_find(&upload->idem, db, &upload->known, err);
	if (status == STATUS_OK && !upload->known && first)
		status = look_for_room(upload, db, err);
	if (status != STATUS_OK || upload->known || upload->room != TASKS_ROOM)
		return status;
	for (int i = 0; status == STATUS_OK && i < upload->n; i++)
		status = tasks_insert_part(db, &upload->task.id, upload->parts - upload->n + i,
					   buf_view(&upload->part[i]), clock_wall_us(), err);
	return status == STATUS_OK && upload->last ? store_task(upload, db, err) : status;
}

static void send_parts(struct upload *upload);

static void send_next(struct request *req, struct db *db)
{
	(void)db;
	send_parts(req->state);
}

/* Event thread, after the commit. */
static void parts_stored(struct store_op *op)
{
	struct upload *upload = (struct upload *)(void *)op;
	struct request *req = upload->req;

	req->slow = false;
	if (op->status != STATUS_OK) {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	} else if (upload->room != TASKS_ROOM) {
		tasks_answer_no_room(req, upload->room);
	} else if (upload->known || upload->last) {
		idempotent_settle(&upload->idem);
		if (upload->created)
			task_created_count(req->app->shm, str_of(upload->task.kind), 1);
		put_location(req);
	} else {
		req->state = upload;
		if (request_try_slow(req, req->app->slow, send_next))
			return;
		request_refuse_full(req, STR("Too many large requests at once. Try again later."));
	}
	finish(upload);
}

/* --- parts --- */

/* Whom a slow thread keeps from a processor waits for the next tick of the kernel's clock. */
static void pause_between_texts(struct upload *upload)
{
	if (upload->req->slow)
		polite_point(&upload->polite);
}

/* The texts that fit into a part, from where the one before it ended; a text fits into any (SENTIMENT_TEXT_MAX). */
static bool build_part(struct upload *upload, struct buf *part)
{
	int64_t n = 0;

	part->n = 0;
	if (part->cap == 0 && upload->req->body.n > PART_BYTES)
		buf_reserve(part, 2 * (size_t)PART_BYTES);
	buf_char(part, '[');
	while (upload->ahead.text.p) {
		size_t before = part->n;
		struct str text = json_string(upload->ahead, &upload->scratch);
		if (!text.p)
			return false;
		if (n > 0)
			buf_char(part, ',');
		json_put_string(part, text);
		arena_reset(&upload->scratch);
		pause_between_texts(upload);
		if (n > 0 && part->n >= PART_BYTES) {
			part->n = before;
			break;
		}
		n++;
		if (!json_next(&upload->iter, NULL, &upload->ahead))
			upload->ahead = (struct json_value){0};
	}
	buf_char(part, ']');
	if (upload->parts++ > 0)
		buf_char(&upload->counts, ',');
	json_put_i64(&upload->counts, n);
	upload->last = !upload->ahead.text.p;
	return !part->failed && !upload->counts.failed;
}

static bool build_parts(struct upload *upload)
{
	bool good = true;

	for (upload->n = 0; good && !upload->last && upload->n < AT_ONCE; upload->n++)
		good = build_part(upload, &upload->part[upload->n]);
	return good;
}

/* The row, and what is said of it. */
static bool build_task(struct upload *upload)
{
	struct buf *ready = &upload->ready;
	char id[ID_TEXT_BYTES];

	buf_str(&upload->counts, STR("]}"));
	upload->task.payload = buf_view(&upload->counts);
	id_format(&upload->task.id, id);
	buf_init(ready, &upload->req->arena);
	buf_str(ready, str_of(ANSWER_START));
	buf_str(ready, str_of(id));
	buf_str(ready, STR("\",\"status\":\"pending\"}"));
	upload->req->response.content_type = "application/json";
	return !upload->counts.failed && !ready->failed;
}

/* Puts some parts together and submits them. Event thread (short bodies) or slow thread. */
static void send_parts(struct upload *upload)
{
	struct request *req = upload->req;

	if (!build_parts(upload) || (upload->last && !build_task(upload))) {
		fail(upload, STATUS_NO_MEMORY, "Out of memory for this request.");
		return;
	}
	upload->op.run = store_parts;
	upload->op.done = parts_stored;
	if (request_write(req, &upload->op))
		return; /* the request is the commit thread's now */
	finish(upload);
}

/* --- reading --- */

static void answer_list_fault(struct request *req, const char *type, const char *msg, struct json_value value,
			      struct str ctx)
{
	invalid_answer_one(req, &(struct violation){.type = type,
						    .msg = msg,
						    .where = "body",
						    .field = "texts",
						    .index = -1,
						    .input = invalid_input_value(req, value),
						    .ctx = ctx});
}

/* False: answered. */
static bool check_count(struct request *req, struct json_value list, int64_t n)
{
	int64_t most = req->app->config->batch_max;
	bool too_long = n > most;
	struct buf msg, ctx;

	if (n > 0 && !too_long)
		return true;
	buf_init(&msg, &req->arena);
	buf_init(&ctx, &req->arena);
	buf_fmt(&msg, "List should have at %s %" PRId64 " item%s after validation, not %" PRId64,
		too_long ? "most" : "least", too_long ? most : 1, too_long && most > 1 ? "s" : "", n);
	buf_char(&msg, '\0');
	buf_fmt(&ctx, "{\"field_type\":\"List\",\"%s\":%" PRId64 ",\"actual_length\":%" PRId64 "}",
		too_long ? "max_length" : "min_length", too_long ? most : 1, n);
	answer_list_fault(req, too_long ? "too_long" : "too_short", msg.failed ? "" : msg.p,
			  too_long ? (struct json_value){JSON_ARRAY, STR("[]")} : list, buf_view(&ctx));
	return false;
}

/* Every text, before any is stored. False: answered. */
static bool check_texts(struct upload *upload, struct json_value list)
{
	struct request *req = upload->req;
	struct sentiment_fault fault;
	struct invalid invalid;
	struct json_iter iter;
	struct json_value item;
	struct str text;
	int64_t n = 0;

	invalid_init(&invalid, req);
	json_iter_init(&iter, list);
	for (; json_next(&iter, NULL, &item); n++) {
		if (invalid.n < INVALID_LISTED && n < req->app->config->batch_max &&
		    !sentiment_read_text(item, &upload->scratch, &text, &fault))
			sentiment_add_fault(&invalid, req, &fault, "texts", n, item);
		arena_reset(&upload->scratch);
		pause_between_texts(upload);
	}
	upload->task.total = n;
	if (!check_count(req, list, n))
		return false;
	if (invalid.n > 0)
		invalid_answer(&invalid, req);
	return invalid.n == 0;
}

/* False: answered. */
static bool read_list(struct upload *upload)
{
	struct request *req = upload->req;
	struct json_value root, list;

	if (!instances_read_root(req, &root))
		return false;
	if (!json_member(root, STR("texts"), &list)) {
		answer_list_fault(req, "missing", "Field required", root, (struct str){0});
		return false;
	}
	if (list.type != JSON_ARRAY) {
		answer_list_fault(req, "list_type", "Input should be a valid list", list, (struct str){0});
		return false;
	}
	if (!check_texts(upload, list))
		return false;
	json_iter_init(&upload->iter, list);
	return json_next(&upload->iter, NULL, &upload->ahead);
}

static void begin_task(struct upload *upload)
{
	struct request *req = upload->req;
	struct task_row *task = &upload->task;

	task->id = id_of_edge(&req->edge);
	task->user_id = req->caller.user_id;
	memcpy(task->kind, SENTIMENT_KIND_BATCH, sizeof(SENTIMENT_KIND_BATCH));
	tasks_format_time(req->edge.ms * 1000, task->created_at);
	task->bytes = (int64_t)req->body.n;
	for (int i = 0; i < AT_ONCE; i++)
		buf_init(&upload->part[i], &req->arena);
	buf_init(&upload->counts, &req->arena);
	buf_str(&upload->counts, STR("{\"version\":"));
	json_put_string(&upload->counts, str_of(upload->version->model->version));
	buf_str(&upload->counts, STR(",\"counts\":["));
}

static void receive(struct request *req, struct db *db)
{
	struct upload *upload = arena_zalloc(&req->arena, sizeof(*upload));

	(void)db;
	if (!upload) {
		batch_no_memory(req);
		return;
	}
	upload->req = req;
	arena_init(&upload->scratch, SCRATCH_BYTES);
	if (read_list(upload) && (upload->version = sentiment_pick(req)) && idempotent_read(&upload->idem, req) &&
	    idempotent_claim(&upload->idem)) {
		begin_task(upload);
		send_parts(upload);
		return;
	}
	arena_release(&upload->scratch);
	request_finish(req);
}

void sentiment_post_batch(struct request *req)
{
	if (req->body.n > BATCH_INLINE_BYTES && !req->slow)
		request_go_slow(req, req->app->slow, receive);
	else
		receive(req, NULL);
}
