/* What changes runs: POST /api/v1/data/runs {"pipeline":…, "file":…} starts one over a file of DATA_DIR/raw; DELETE
 * …/{run_id} cancels it, POST …/pause, …/resume and …/retry do as they say. And POST /data/process, which has the
 * worker look at DATA_DIR/raw.
 *
 * A run's identifier is made of the request's identity, so a request that nginx tries again finds the run that it has
 * started; two that want the same file get one run. */
#include "handlers/data.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"
#include "handlers/tasks.h"

#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "shared/wake.h"
#include "store/tasks.h"
#include "task/ingest.h"
#include "task/measure.h"

#include <stdio.h>
#include <sys/stat.h>

enum { FILE_NAME_BYTES = 200 };

enum change { CHANGE_START, CHANGE_CANCEL, CHANGE_PAUSE, CHANGE_RESUME, CHANGE_RETRY };

struct changing {
	struct store_op op; /* first */
	struct request *req;
	enum change change;
	struct id id, made; /* the run that is meant; the one that came of it */
	bool started, foreign;
	struct ingest ingest;
	const struct pipeline *api; /* the one whose API is read; NULL: a file is */
	char path[FILE_NAME_BYTES + PIPELINE_NAME_BYTES + 8];
	struct err refused; /* its status: STATUS_OK, or why nothing was changed */
	struct run_row row;
};

static void finish_without_memory(struct request *req)
{
	struct err err;

	request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	request_finish(req);
}

static struct changing *start_changing(struct request *req, enum change change)
{
	struct changing *changing = arena_zalloc(&req->arena, sizeof(*changing));

	if (!changing) {
		finish_without_memory(req);
		return NULL;
	}
	changing->req = req;
	changing->change = change;
	return changing;
}

/* --- in the transaction --- */

static bool may_change(const struct changing *changing)
{
	const struct caller *caller = &changing->req->caller;

	return caller->superuser || changing->row.user_id == caller->user_id;
}

static enum status apply_change(struct db *db, struct changing *changing, struct err *err)
{
	struct request *req = changing->req;
	struct tasks_bound bound;

	if (!tasks_bound_of(req, &bound))
		bound = (struct tasks_bound){0};
	changing->ingest.bound = bound;
	changing->made = changing->id;
	switch (changing->change) {
	case CHANGE_START:
		changing->made = id_of_edge(&req->edge);
		if (changing->api)
			return ingest_start_api(db, changing->api, req->caller.user_id, &bound, &changing->made,
						&changing->started, err);
		return ingest_start(db, &changing->ingest, &changing->made, &changing->started, err);
	case CHANGE_CANCEL:
		return ingest_cancel(db, &changing->id, err);
	case CHANGE_PAUSE:
		return ingest_pause(db, &changing->id, err);
	case CHANGE_RESUME:
		return ingest_resume(db, &changing->id, err);
	case CHANGE_RETRY:
		changing->made = id_of_edge(&req->edge);
		return ingest_retry(db, &changing->id, changing->ingest.definition, req->caller.user_id, &bound,
				    &changing->made, &changing->started, err);
	}
	return STATUS_INTERNAL;
}

static enum status run_change(struct db *db, struct store_op *op, struct err *err)
{
	struct changing *changing = (struct changing *)(void *)op;
	struct arena *arena = &changing->req->arena;
	enum status status = STATUS_OK;

	changing->refused = (struct err){0};
	changing->foreign = false;
	if (changing->change != CHANGE_START) {
		status = runs_find(db, &changing->id, arena, &changing->row, err);
		changing->foreign = status == STATUS_OK && !may_change(changing);
	}
	if (status == STATUS_OK && !changing->foreign)
		status = apply_change(db, changing, err);
	if (status == STATUS_NOT_FOUND || status == STATUS_CONFLICT || changing->foreign) {
		changing->refused = *err;
		changing->refused.status = changing->foreign ? STATUS_FORBIDDEN : status;
		return STATUS_OK;
	}
	return status == STATUS_OK ? runs_find(db, &changing->made, arena, &changing->row, err) : status;
}

/* --- the answer --- */

static void put_location(struct request *req, const struct id *run)
{
	char id[ID_TEXT_BYTES];
	struct buf path;

	id_format(run, id);
	buf_init(&path, &req->arena);
	buf_fmt(&path, "/api/v1/data/runs/%s", id);
	if (!path.failed)
		response_header(&req->response, "Location", buf_view(&path));
}

static void answer_run(struct changing *changing)
{
	struct request *req = changing->req;
	bool made = changing->change == CHANGE_START || changing->change == CHANGE_RETRY;

	req->response.status = made && changing->started ? 202 : 200;
	req->response.content_type = "application/json";
	if (made)
		put_location(req, &changing->row.id);
	if (made && changing->started)
		task_created_count(req->app->shm, STR(INGEST_KIND_RUN), 1);
	data_put_run(&req->response.body, &changing->row);
}

static void change_done(struct store_op *op)
{
	struct changing *changing = (struct changing *)(void *)op;
	struct request *req = changing->req;

	req->slow = false;
	if (op->status != STATUS_OK) {
		tasks_answer_not_added(req, op->status, &op->err);
	} else if (changing->refused.status == STATUS_FORBIDDEN) {
		app_count_rejected(req->app, APP_REJECTED_FORBIDDEN);
		request_answer_detail(req, 403, STR("Only who has started a run, and superusers, may do this."));
	} else if (changing->refused.status == STATUS_NOT_FOUND) {
		request_answer_detail(req, 404, STR("Run not found"));
	} else if (changing->refused.status == STATUS_CONFLICT) {
		request_answer_detail(req, 409, str_of(changing->refused.text));
	} else {
		answer_run(changing);
	}
	request_finish(req);
}

static void submit(struct changing *changing)
{
	struct request *req = changing->req;

	changing->op.run = run_change;
	changing->op.done = change_done;
	changing->op.wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
	if (request_write(req, &changing->op))
		return; /* the request is the commit thread's now */
	request_finish(req);
}

/* --- starting --- */

static void violate(struct invalid *invalid, struct request *req, const char *type, const char *msg, const char *field,
		    struct json_value input)
{
	invalid_add(invalid, &(struct violation){.type = type,
						 .msg = msg,
						 .where = "body",
						 .field = field,
						 .index = -1,
						 .input = invalid_input_value(req, input)});
}

/* A name of the body's. */
static struct str read_name(struct invalid *invalid, struct request *req, struct json_value root, const char *field)
{
	struct json_value value;

	if (!json_member(root, str_of(field), &value)) {
		violate(invalid, req, "missing", "Field required", field, root);
		return (struct str){0};
	}
	if (value.type != JSON_STRING) {
		violate(invalid, req, "string_type", "Input should be a valid string", field, value);
		return (struct str){0};
	}
	return json_string(value, &req->arena);
}

/* A file in a folder of ours: nothing that leads out of it, nothing hidden. */
static bool is_file_name(struct str name)
{
	if (name.n == 0 || name.n > FILE_NAME_BYTES || name.p[0] == '.' || !str_is_utf8(name))
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] == '/' || name.p[i] == '\\' || (unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
			return false;
	return true;
}

/* In DATA_DIR/raw, or in the pipeline's own folder there. */
static bool find_file(struct changing *changing, struct str pipeline, struct str name)
{
	const char *data_dir = changing->req->app->config->data_dir;
	char whole[4096];
	struct stat st;

	for (int own = 0; own < 2; own++) {
		int n = snprintf(changing->path, sizeof(changing->path), "raw/%.*s%s%.*s", own ? (int)pipeline.n : 0,
				 own ? pipeline.p : "", own ? "/" : "", STR_ARG(name));
		int m = snprintf(whole, sizeof(whole), "%s/%s", data_dir, changing->path);
		if (n < 0 || (size_t)n >= sizeof(changing->path) || m < 0 || (size_t)m >= sizeof(whole))
			return false;
		if (lstat(whole, &st) == 0 && S_ISREG(st.st_mode)) {
			changing->ingest.path = str_of(changing->path);
			changing->ingest.bytes = st.st_size;
			return true;
		}
	}
	return false;
}

static bool read_start(struct request *req, struct changing *changing)
{
	static const char *const known[] = {"pipeline", "file"};
	struct ingest *ingest = &changing->ingest;
	struct json_value root, key, value;
	struct pipeline *definition = NULL;
	struct invalid invalid;
	struct json_iter iter;
	struct err err = {0};

	if (!instances_read_root(req, &root))
		return false;
	invalid_init(&invalid, req);
	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value)) {
		struct str name = json_string(key, &req->arena);
		if (str_eq(name, str_of(known[0])) || str_eq(name, str_of(known[1])))
			continue;
		struct str field = arena_dup(&req->arena, name);
		violate(&invalid, req, "extra_forbidden", "Extra inputs are not permitted", field.p ? field.p : "",
			value);
	}
	ingest->pipeline = read_name(&invalid, req, root, "pipeline");
	enum status status = ingest->pipeline.p ? data_load_pipeline(req, ingest->pipeline, &definition, NULL, &err)
						: STATUS_OK;
	if (status == STATUS_NOT_FOUND && json_member(root, STR("pipeline"), &value))
		violate(&invalid, req, "value_error", "There is no such pipeline", "pipeline", value);
	else if (status == STATUS_INVALID && json_member(root, STR("pipeline"), &value))
		violate(&invalid, req, "value_error", "The pipeline's file is damaged: appcore pipeline check says how",
			"pipeline", value);
	else if (status != STATUS_OK)
		violate(&invalid, req, "value_error", "The pipeline's file can't be read", "pipeline", root);
	if (definition && definition->source.api && json_member(root, STR("file"), &value))
		violate(&invalid, req, "value_error", "The pipeline reads an API: leave the file out", "file", value);
	else if (!definition || !definition->source.api)
		ingest->source = read_name(&invalid, req, root, "file");
	else
		changing->api = definition;
	if (definition && !definition->source.api && ingest->source.p && json_member(root, STR("file"), &value) &&
	    (!is_file_name(ingest->source) || !find_file(changing, ingest->pipeline, ingest->source)))
		violate(&invalid, req, "value_error", "There is no such file in the folder raw of the data", "file",
			value);
	if (invalid.n > 0) {
		invalid_answer(&invalid, req);
		return false;
	}
	ingest->definition = definition ? definition->text : (struct str){0};
	ingest->user_id = req->caller.user_id;
	ingest->origin = STR("raw");
	return true;
}

/* Files are looked at: not for the event thread. */
static void start_slowly(struct request *req, struct db *db)
{
	struct changing *changing = start_changing(req, CHANGE_START);

	(void)db;
	if (!changing)
		return;
	if (read_start(req, changing))
		submit(changing);
	else
		request_finish(req);
}

void data_post_run(struct request *req)
{
	if (req->slow)
		start_slowly(req, NULL); /* its body was late */
	else
		request_go_slow(req, req->app->lists, start_slowly);
}

/* --- changing --- */

static void change_run(struct request *req, enum change change)
{
	struct changing *changing = start_changing(req, change);

	if (!changing)
		return;
	if (id_parse(req->params[0], &changing->id)) {
		submit(changing);
		return;
	}
	request_answer_detail(req, 404, STR("Run not found"));
	request_finish(req);
}

void data_delete_run(struct request *req)
{
	change_run(req, CHANGE_CANCEL);
}

void data_post_pause(struct request *req)
{
	change_run(req, CHANGE_PAUSE);
}

void data_post_resume(struct request *req)
{
	change_run(req, CHANGE_RESUME);
}

/* By the pipeline as it is now, if it can be read: it may have been mended. */
static void retry_slowly(struct request *req, struct db *thread_db)
{
	struct changing *changing = start_changing(req, CHANGE_RETRY);
	struct pipeline *definition = NULL;
	struct err err = {0};

	if (!changing)
		return;
	struct db *db = data_connect(req, thread_db);
	enum status status = STATUS_NOT_FOUND;
	if (db && id_parse(req->params[0], &changing->id))
		status = runs_find(db, &changing->id, &req->arena, &changing->row, &err);
	if (db && status == STATUS_OK) {
		if (data_load_pipeline(req, changing->row.pipeline, &definition, NULL, NULL) == STATUS_OK)
			changing->ingest.definition = definition->text;
		submit(changing);
		return;
	}
	if (db && status == STATUS_NOT_FOUND)
		request_answer_detail(req, 404, STR("Run not found"));
	else if (db)
		request_answer_error(req, status, &err);
	request_finish(req);
}

void data_post_retry(struct request *req)
{
	request_go_slow(req, req->app->lists, retry_slowly);
}

/* --- the seed's way --- */

struct looking {
	struct store_op op; /* first */
	struct request *req;
	struct task_row row;
	bool stored;
	enum tasks_room room;
};

static enum status add_look(struct db *db, struct store_op *op, struct err *err)
{
	struct looking *looking = (struct looking *)(void *)op;
	struct tasks_bound most;
	const struct tasks_bound *bound = tasks_bound_of(looking->req, &most);
	enum status status = tasks_begin_change(db, &looking->row.change, err);

	looking->room = TASKS_ROOM;
	if (status != STATUS_OK)
		return status;
	return bound ? tasks_insert_within(db, &looking->row, bound, &looking->stored, &looking->room, err)
		     : tasks_insert(db, &looking->row, &looking->stored, err);
}

static void look_added(struct store_op *op)
{
	struct looking *looking = (struct looking *)(void *)op;
	struct request *req = looking->req;

	if (op->status == STATUS_OK && looking->room != TASKS_ROOM) {
		tasks_answer_no_room(req, looking->room);
	} else if (op->status == STATUS_OK) {
		if (looking->stored)
			task_created_count(req->app->shm, STR(INGEST_KIND_LOOK), 1);
		req->response.status = 200;
		req->response.content_type = "application/json";
		buf_str(&req->response.body, STR("{\"message\":\"Processing triggered\",\"status\":\"started\"}"));
	} else {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	}
	request_finish(req);
}

/* However many ask for it: a file is read by one run at a time, and once. */
void data_post_process(struct request *req)
{
	struct looking *looking = arena_zalloc(&req->arena, sizeof(*looking));

	if (!looking) {
		finish_without_memory(req);
		return;
	}
	looking->req = req;
	looking->row.id = id_of_edge(&req->edge);
	looking->row.user_id = req->caller.user_id;
	looking->row.payload = STR("{}");
	looking->row.run_us = req->edge.ms * 1000;
	snprintf(looking->row.kind, sizeof(looking->row.kind), "%s", INGEST_KIND_LOOK);
	looking->op.run = add_look;
	looking->op.done = look_added;
	looking->op.wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS;
	if (request_write(req, &looking->op))
		return; /* the request is the commit thread's now */
	request_finish(req);
}
