/* POST /api/v1/sentiment/analyze: one text.
 *
 *   {"text": "I love this product!"}   required; other members are ignored
 *
 * The answer goes out when its row is on disk; a request that nginx tried again is answered with the row that is there.
 * The model is SENTIMENT_MODEL, in the version that its route gives the caller. */
#include "handlers/sentiment.h"

#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "handlers/batch.h"
#include "handlers/canary.h"
#include "handlers/handlers.h"
#include "handlers/idempotent.h"
#include "handlers/instances.h"

/* A text on its way. Lives in the request's arena. */
struct analysis {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	const struct model_version *version;
	struct sentiment_row row;
	struct idempotent idem;
	struct buf ready; /* the answer for a new row */
	bool repeated;    /* the row was there already */
};

/* --- shared --- */

const struct model_version *sentiment_pick(struct request *req)
{
	const char *name = req->app->config->sentiment_model;
	const struct model_route *route = model_set_find_route(req->models, str_of(name));
	const struct model_version *version = route ? canary_pick(req, route) : NULL;
	struct buf text;

	if (version && sentiment_can(version->model))
		return version;
	buf_init(&text, &req->arena);
	if (version)
		buf_fmt(&text, "The model %s (SENTIMENT_MODEL) is no classifier of texts.", name);
	else
		buf_fmt(&text, "No version of the model %s (SENTIMENT_MODEL) is loaded. Try again later.", name);
	request_refuse(req, text.failed ? STR("No model is loaded.") : buf_view(&text));
	return NULL;
}

void sentiment_add_fault(struct invalid *invalid, struct request *req, const struct sentiment_fault *fault,
			 const char *field, int64_t index, struct json_value value)
{
	invalid_add(invalid, &(struct violation){.type = fault->type,
						 .msg = fault->msg,
						 .where = "body",
						 .field = field,
						 .index = index,
						 .input = invalid_input_value(req, value),
						 .ctx = str_of(fault->ctx)});
}

void sentiment_put(struct buf *out, struct str text, struct str sentiment, double confidence)
{
	buf_str(out, STR("\"text\":"));
	json_put_string(out, text);
	buf_str(out, STR(",\"sentiment\":"));
	json_put_string(out, sentiment);
	buf_str(out, STR(",\"confidence\":"));
	json_put_double(out, confidence);
}

/* --- answering --- */

static void put_answer(struct buf *out, const struct sentiment_row *row)
{
	buf_char(out, '{');
	sentiment_put(out, row->text, row->sentiment, row->confidence);
	buf_str(out, STR(",\"processing_time\":"));
	json_put_double(out, row->processing_s);
	buf_char(out, '}');
}

static void answer_text_fault(struct request *req, const struct sentiment_fault *fault, struct json_value value)
{
	struct invalid invalid;

	invalid_init(&invalid, req);
	sentiment_add_fault(&invalid, req, fault, "text", -1, value);
	invalid_answer(&invalid, req);
}

/* --- storing --- */

/* What an answer tells of a row that was there already. */
static bool take_stored_row(void *arg, const struct sentiment_row *row)
{
	struct analysis *analysis = arg;
	struct buf *body = &analysis->req->response.body;

	buf_init(body, &analysis->req->arena);
	put_answer(body, row);
	return false;
}

/* Commit thread: the row and the answer that tells of it are one transaction. What a run before this one has left,
 * whose transaction was rolled back, is forgotten. */
static enum status store_analysis(struct db *db, struct store_op *op, struct err *err)
{
	struct analysis *analysis = (struct analysis *)(void *)op;
	struct response *response = &analysis->req->response;
	bool found, stored = false;

	response->status = 200;
	response->body = analysis->ready;
	analysis->repeated = false;
	enum status status = idempotent_find(&analysis->idem, db, &found, err);
	if (status != STATUS_OK || found)
		return status;
	status = sentiments_insert(db, &analysis->row, &stored, err);
	if (status == STATUS_OK && !stored) {
		analysis->repeated = true;
		status = sentiments_find(db, &analysis->row.id, take_stored_row, analysis, err);
	}
	return status == STATUS_OK ? idempotent_save(&analysis->idem, db, stored, err) : status;
}

static void answer_stored(struct analysis *analysis)
{
	struct app *app = analysis->req->app;
	bool told_again = analysis->idem.keyed && analysis->idem.outcome != IDEMPOTENT_STORED;

	if (told_again || !analysis->repeated)
		idempotent_settle(&analysis->idem);
	if (told_again)
		return;
	if (analysis->repeated) {
		metrics_add(app->shm, app->series.repeated_writes, 1);
		return;
	}
	metrics_add(app->shm, analysis->version->success, 1);
	metrics_add(app->shm, analysis->version->model_success, 1);
}

/* Event thread, after the commit. */
static void analysis_stored(struct store_op *op)
{
	struct analysis *analysis = (struct analysis *)(void *)op;
	struct request *req = analysis->req;

	req->slow = false;
	idempotent_release(&analysis->idem);
	if (op->status == STATUS_OK) {
		answer_stored(analysis);
	} else {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	}
	request_finish(req);
}

static void submit(struct analysis *analysis)
{
	struct request *req = analysis->req;

	if (idempotent_claim(&analysis->idem)) {
		analysis->op.run = store_analysis;
		analysis->op.done = analysis_stored;
		if (request_write(req, &analysis->op))
			return; /* the request is the commit thread's now */
		idempotent_release(&analysis->idem);
	}
	request_finish(req);
}

/* --- analysing --- */

/* False: answered. */
static bool read_text(struct request *req, struct str *text)
{
	struct sentiment_fault fault = {0};
	struct json_value root, value;
	struct err err;

	if (!instances_read_root(req, &root))
		return false;
	if (!json_member(root, STR("text"), &value)) {
		fault = (struct sentiment_fault){.type = "missing", .msg = "Field required"};
		answer_text_fault(req, &fault, root);
		return false;
	}
	if (sentiment_read_text(value, &req->arena, text, &fault))
		return true;
	if (fault.type)
		answer_text_fault(req, &fault, value);
	else
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	return false;
}

static enum status ask_model(struct analysis *analysis, struct str text, struct err *err)
{
	struct shm *shm = analysis->req->app->shm;
	const struct model_version *version = analysis->version;
	uint64_t start_ns = clock_mono_ns();
	struct sentiment_says says;

	enum status status = sentiment_classify(version->model, &text, 1, &analysis->req->arena, &says, err);
	double seconds = (double)(clock_mono_ns() - start_ns) / 1e9;
	metrics_observe(shm, version->seconds, seconds);
	metrics_observe(shm, version->model_seconds, seconds);
	if (status != STATUS_OK) {
		metrics_add(shm, version->error, 1);
		metrics_add(shm, version->model_error, 1);
		return status;
	}
	analysis->row.text = text;
	analysis->row.sentiment = says.sentiment;
	analysis->row.confidence = says.confidence;
	return STATUS_OK;
}

/* From the request's beginning, in whole microseconds: what the client has waited for but the writing. */
static double time_since(uint64_t start_ns)
{
	uint64_t us = (clock_mono_ns() - start_ns + 999) / 1000;

	return (double)us / 1e6;
}

static void fill_row(struct analysis *analysis)
{
	struct request *req = analysis->req;
	struct sentiment_row *row = &analysis->row;

	row->id = id_of_edge(&req->edge);
	row->user_id = req->caller.user_id;
	row->processing_s = time_since(req->start_ns);
	tasks_format_time(req->edge.ms * 1000, row->created_at);
	sentiment_format_version(analysis->version->model, row->model_version);
}
_Static_assert((int)SENTIMENT_TIME_BYTES == (int)TASK_TIME_BYTES, "one form of time");

static void analyse(struct request *req, struct db *db)
{
	struct analysis *analysis;
	struct err err = {0};
	struct str text;

	(void)db;
	const struct model_version *version = read_text(req, &text) ? sentiment_pick(req) : NULL;
	if (!version) {
		request_finish(req);
		return;
	}
	if (!(analysis = arena_zalloc(&req->arena, sizeof(*analysis)))) {
		batch_no_memory(req);
		return;
	}
	analysis->req = req;
	analysis->version = version;
	if (!idempotent_read(&analysis->idem, req)) {
		request_finish(req);
		return;
	}
	enum status status = ask_model(analysis, text, &err);
	if (status != STATUS_OK) {
		request_answer_error(req, status, &err);
		request_finish(req);
		return;
	}
	fill_row(analysis);
	req->response.content_type = "application/json";
	put_answer(&req->response.body, &analysis->row);
	if (req->response.body.failed) {
		batch_no_memory(req);
		return;
	}
	analysis->ready = req->response.body;
	submit(analysis);
}

void sentiment_post_analyze(struct request *req)
{
	if (req->body.n > BATCH_INLINE_BYTES && !req->slow)
		request_go_slow(req, req->app->slow, analyse);
	else
		analyse(req, NULL);
}
