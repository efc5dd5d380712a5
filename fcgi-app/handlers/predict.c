/* POST /predict and POST /api/v1/predict: read the features, ask the model, store the prediction, answer.
 *
 *   {"features": [number, …]}   required, at least one item; other members are ignored
 *
 * The contract's path takes numbers as its clients have always sent them (numeric strings and booleans too); the newer
 * path takes numbers only. The answer goes out when the row is on disk. An Idempotency-Key stores the answer in the
 * same transaction, and is replayed for 24 hours. */
#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "handlers/handlers.h"
#include "http/invalid.h"
#include "store/idempotency.h"
#include "store/predictions.h"

#include <math.h>
#include <signal.h>
#include <sodium.h>

enum { IDEMPOTENCY_KEY_MAX = 255 };
static const int64_t IDEMPOTENCY_TTL_US = INT64_C(24) * 3600 * 1000000;

static const char CONTENT_TYPE[] = "application/json";

enum outcome { OUTCOME_STORED, OUTCOME_REPEATED, OUTCOME_REPLAYED, OUTCOME_MISMATCH };

/* A prediction on its way through the commit thread. Lives in the request's arena. */
struct job {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	const struct model_version *version;
	struct prediction row;
	char id[ID_TEXT_BYTES];
	char created_at[CLOCK_ISO_BYTES];
	bool keyed; /* the request carries an Idempotency-Key */
	uint8_t key_hash[32], fingerprint[32];
	enum outcome outcome;
};

/* --- reading the body --- */

struct features {
	double *values;
	size_t n;
};

static void violate(struct invalid *invalid, struct request *req, const char *type, const char *msg, int64_t index,
		    struct json_value input)
{
	invalid_add(invalid, &(struct violation){.type = type,
						 .msg = msg,
						 .where = "body",
						 .field = "features",
						 .index = index,
						 .input = invalid_input_value(req, input)});
}

/* One item as a number. Says why not in *invalid. */
static bool read_item(struct request *req, struct json_value item, int64_t index, bool strict, struct invalid *invalid,
		      double *out)
{
	static const char not_finite[] = "Input should be a finite number";
	bool lax_bool = !strict && (item.type == JSON_TRUE || item.type == JSON_FALSE);

	if (lax_bool) {
		*out = item.type == JSON_TRUE ? 1.0 : 0.0;
		return true;
	}
	if (item.type == JSON_NUMBER) {
		if (json_number(item, out))
			return true;
		invalid_add(invalid, &(struct violation){.type = "finite_number",
							 .msg = not_finite,
							 .where = "body",
							 .field = "features",
							 .index = index,
							 .input = invalid_input_text(req, item.text)});
		return false;
	}
	if (item.type != JSON_STRING || strict) {
		violate(invalid, req, "float_type", "Input should be a valid number", index, item);
		return false;
	}
	if (!json_number_of_text(json_string(item, &req->arena), out)) {
		violate(invalid, req, "float_parsing",
			"Input should be a valid number, unable to parse string as a number", index, item);
		return false;
	}
	if (!isfinite(*out)) {
		violate(invalid, req, "finite_number", not_finite, index, item);
		return false;
	}
	return true;
}

/* All items; every bad one is named. False: answered, or (with req->response not set) out of memory. */
static bool read_items(struct request *req, struct json_value list, bool strict, struct features *out)
{
	struct invalid invalid;
	struct json_iter iter;
	struct json_value item;
	size_t cap = list.text.n / 2 + 1; /* an item takes a digit and a comma at least */

	invalid_init(&invalid, req);
	out->values = arena_alloc(&req->arena, cap * sizeof(double));
	out->n = 0;
	if (!out->values)
		return false;
	json_iter_init(&iter, list);
	for (int64_t index = 0; json_next(&iter, NULL, &item); index++) {
		double value;
		if (read_item(req, item, index, strict, &invalid, &value))
			out->values[out->n++] = value;
		else if (invalid.n >= INVALID_LISTED)
			break;
	}
	if (invalid.n > 0)
		invalid_answer(&invalid, req);
	return invalid.n == 0;
}

static void answer_json_fault(struct request *req, const struct json_fault *fault)
{
	struct buf ctx;

	buf_init(&ctx, &req->arena);
	buf_str(&ctx, STR("{\"error\":"));
	json_put_string(&ctx, str_of(fault->reason));
	buf_char(&ctx, '}');
	invalid_answer_one(req, &(struct violation){.type = "json_invalid",
						    .msg = "JSON decode error",
						    .where = "body",
						    .index = (int64_t)fault->offset,
						    .input = STR("{}"),
						    .ctx = buf_view(&ctx)});
}

static void answer_missing_body(struct request *req)
{
	invalid_answer_one(req, &(struct violation){.type = "missing",
						    .msg = "Field required",
						    .where = "body",
						    .index = -1,
						    .input = STR("null")});
}

static void answer_no_object(struct request *req, struct str input)
{
	invalid_answer_one(
		req, &(struct violation){.type = "model_attributes_type",
					 .msg = "Input should be a valid dictionary or object to extract fields from",
					 .where = "body",
					 .index = -1,
					 .input = input});
}

/* The list under "features". False: answered. */
static bool find_features(struct request *req, struct json_value root, struct json_value *list)
{
	struct violation violation = {.where = "body", .field = "features", .index = -1};
	struct json_iter iter;
	struct json_value item;

	if (!json_member(root, STR("features"), list)) {
		violation.type = "missing";
		violation.msg = "Field required";
		violation.input = invalid_input_value(req, root);
		invalid_answer_one(req, &violation);
		return false;
	}
	if (list->type != JSON_ARRAY) {
		violation.type = "list_type";
		violation.msg = "Input should be a valid list";
		violation.input = invalid_input_value(req, *list);
		invalid_answer_one(req, &violation);
		return false;
	}
	json_iter_init(&iter, *list);
	if (!json_next(&iter, NULL, &item)) {
		violation.type = "too_short";
		violation.msg = "List should have at least 1 item after validation, not 0";
		violation.input = STR("[]");
		violation.ctx = STR("{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}");
		invalid_answer_one(req, &violation);
		return false;
	}
	return true;
}

static bool read_body(struct request *req, bool strict, struct features *out)
{
	struct json_value root, list;
	struct json_fault fault;

	if (req->body.n == 0) {
		answer_missing_body(req);
		return false;
	}
	if (!request_is_json(req)) {
		answer_no_object(req, invalid_input_text(req, req->body));
		return false;
	}
	if (!json_check(req->body, JSON_MAX_DEPTH, &root, &fault)) {
		answer_json_fault(req, &fault);
		return false;
	}
	if (root.type == JSON_NULL) {
		answer_missing_body(req);
		return false;
	}
	if (root.type != JSON_OBJECT) {
		answer_no_object(req, invalid_input_value(req, root));
		return false;
	}
	return find_features(req, root, &list) && read_items(req, list, strict, out);
}

/* --- Idempotency-Key --- */

/* A bare token or a quoted string (RFC 8941) of printable ASCII. False: answered. */
static bool read_idempotency_key(struct request *req, struct job *job)
{
	struct str key = str_trim(req->idempotency_key);
	bool good = true;

	if (!req->idempotency_key.p)
		return true;
	if (key.n >= 2 && key.p[0] == '"' && key.p[key.n - 1] == '"')
		key = (struct str){key.p + 1, key.n - 2};
	for (size_t i = 0; i < key.n; i++)
		good = good && key.p[i] >= 0x20 && key.p[i] < 0x7f && key.p[i] != '"' && key.p[i] != '\\';
	if (!good || key.n == 0 || key.n > IDEMPOTENCY_KEY_MAX) {
		invalid_answer_one(req, &(struct violation){.type = "idempotency_key",
							    .msg = "Idempotency-Key should be 1 to 255 printable ASCII "
								   "characters, bare or in quotes",
							    .where = "header",
							    .field = "Idempotency-Key",
							    .index = -1,
							    .input = invalid_input_text(req, req->idempotency_key)});
		return false;
	}
	crypto_generichash_state state;
	crypto_generichash_init(&state, NULL, 0, sizeof(job->key_hash));
	crypto_generichash_update(&state, (const uint8_t *)req->caller.key_id, strlen(req->caller.key_id) + 1);
	crypto_generichash_update(&state, (const uint8_t *)req->route->pattern, strlen(req->route->pattern) + 1);
	crypto_generichash_update(&state, (const uint8_t *)key.p, key.n);
	crypto_generichash_final(&state, job->key_hash, sizeof(job->key_hash));
	crypto_generichash(job->fingerprint, sizeof(job->fingerprint), (const uint8_t *)req->body.p, req->body.n, NULL,
			   0);
	job->keyed = true;
	return true;
}

/* At most one request with a key runs at a time, over all workers. False: answered. */
static bool claim_key(struct request *req, struct job *job)
{
	if (!job->keyed)
		return true;
	switch (shm_running_claim(req->app->shm, job->key_hash, req->edge.random)) {
	case SHM_RUNNING_CLAIMED:
		return true;
	case SHM_RUNNING_ELSEWHERE:
		app_count_idempotency(req->app, APP_IDEM_RUNNING);
		request_answer_detail(req, 409, STR("A request with this Idempotency-Key is still running."));
		return false;
	case SHM_RUNNING_FULL:
		break;
	}
	request_refuse(req, STR("Too many requests with an Idempotency-Key at once. Try again later."));
	return false;
}

/* --- storing --- */

static void put_answer(struct buf *out, const struct prediction *row)
{
	out->n = 0;
	buf_str(out, STR("{\"prediction_id\":\""));
	buf_str(out, row->id);
	buf_str(out, STR("\",\"result\":"));
	json_put_double(out, row->result);
	buf_str(out, STR(",\"model_version\":"));
	json_put_string(out, row->model_version);
	buf_str(out, STR(",\"created_at\":\""));
	buf_str(out, row->created_at);
	buf_str(out, STR("\"}"));
}

/* The row was there already: nginx tried the request again. The answer is what is stored. */
static bool take_stored_row(void *arg, const struct prediction *row)
{
	struct job *job = arg;

	put_answer(&job->req->response.body, row);
	return false;
}

static void take_stored_answer(void *arg, const struct idempotency_record *record)
{
	struct job *job = arg;
	struct response *response = &job->req->response;

	if (memcmp(record->fingerprint, job->fingerprint, sizeof(job->fingerprint)) != 0) {
		job->outcome = OUTCOME_MISMATCH;
		return;
	}
	job->outcome = OUTCOME_REPLAYED;
	response->status = record->http_status;
	response->body.n = 0;
	buf_str(&response->body, record->body);
}

/* Commit thread: the effect and the answer that tells of it are one transaction. */
static enum status store_prediction(struct db *db, struct store_op *op, struct err *err)
{
	struct job *job = (struct job *)(void *)op;
	int64_t now_us = clock_wall_us();
	bool found = false, repeated = false;
	enum status status;

	job->outcome = OUTCOME_STORED;
	put_answer(&job->req->response.body, &job->row); /* anew: a rolled back batch runs twice */
	if (job->keyed) {
		status = idempotency_find(db, job->key_hash, now_us, &found, take_stored_answer, job, err);
		if (status != STATUS_OK || found)
			return status;
	}
	status = predictions_save(db, &job->row, &repeated, take_stored_row, job, err);
	if (status != STATUS_OK)
		return status;
	if (repeated)
		job->outcome = OUTCOME_REPEATED;
	if (!job->keyed)
		return STATUS_OK;
	struct idempotency_record record = {.http_status = 201, .expires_us = now_us + IDEMPOTENCY_TTL_US};
	memcpy(record.key_hash, job->key_hash, sizeof(record.key_hash));
	memcpy(record.fingerprint, job->fingerprint, sizeof(record.fingerprint));
	record.body = buf_view(&job->req->response.body);
	status = idempotency_save(db, &record, now_us, err);
	/* Somebody was first since it was looked for. When nothing was written here, theirs is the answer; else this is
	 * taken back, the batch runs again and finds it. */
	if (status == STATUS_CONFLICT && repeated) {
		status = idempotency_find(db, job->key_hash, now_us, &found, take_stored_answer, job, err);
		if (status == STATUS_OK && !found)
			status = err_set(err, STATUS_CONFLICT, "the Idempotency-Key was taken and is gone");
	}
	return status;
}

static void answer_stored(struct job *job)
{
	struct app *app = job->req->app;

	switch (job->outcome) {
	case OUTCOME_STORED:
		if (job->keyed)
			app_count_idempotency(app, APP_IDEM_STORED);
		metrics_add(app->shm, job->version->success, 1);
		metrics_add(app->shm, job->version->model_success, 1);
		break;
	case OUTCOME_REPEATED:
		metrics_add(app->shm, app->series.repeated_writes, 1);
		break;
	case OUTCOME_REPLAYED:
		app_count_idempotency(app, APP_IDEM_REPLAYED);
		response_header(&job->req->response, "Idempotency-Replayed", STR("true"));
		break;
	case OUTCOME_MISMATCH:
		app_count_idempotency(app, APP_IDEM_MISMATCH);
		request_answer_detail(job->req, 422, STR("This Idempotency-Key was used with another request body."));
		break;
	}
}

/* Event thread, after the commit. */
static void prediction_stored(struct store_op *op)
{
	struct job *job = (struct job *)(void *)op;
	struct request *req = job->req;

	req->slow = false;
	if (job->keyed)
		shm_running_release(req->app->shm, job->key_hash, req->edge.random);
	if (op->status == STATUS_OK) {
		answer_stored(job);
	} else {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	}
	request_finish(req);
}

static void submit(struct request *req, struct job *job)
{
	struct err err;

	req->response.status = 201;
	req->response.content_type = CONTENT_TYPE;
	put_answer(&req->response.body, &job->row);
	if (req->response.body.failed) {
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	} else if (claim_key(req, job)) {
		job->op.run = store_prediction;
		job->op.done = prediction_stored;
		job->op.identity = req->edge.random;
		if (store_write(req->app->store, &job->op) == STATUS_OK)
			return; /* the request is the commit thread's now */
		if (job->keyed)
			shm_running_release(req->app->shm, job->key_hash, req->edge.random);
		app_count_rejected(req->app, APP_REJECTED_QUEUE_FULL);
		request_refuse(req, STR("Too many writes are waiting. Try again later."));
	}
	request_finish(req);
}

/* --- predicting --- */

static void put_features(struct buf *out, const struct features *features)
{
	buf_char(out, '[');
	for (size_t i = 0; i < features->n; i++) {
		if (i > 0)
			buf_str(out, STR(", "));
		json_put_double(out, features->values[i]);
	}
	buf_char(out, ']');
}

#ifdef APPCORE_FAULTS
/* Test builds only: a request that crashes its worker. */
static void crash_on_demand(const struct features *features)
{
	if (features->n == 1 && features->values[0] == -1234567890.5)
		raise(SIGSEGV);
}
#endif

/* What a route with shares draws with: the same when nginx tries the request again. */
static uint64_t draw_of(const struct request *req)
{
	uint64_t draw;

	memcpy(&draw, req->edge.random, sizeof(draw));
	return draw;
}

/* Asks the model and fills the row. False: answered. */
static bool predict(struct request *req, const struct features *features, struct job *job)
{
	struct app *app = req->app;
	const struct model_route *route = model_set_default_route(req->models);
	double result;
	struct err err = {0};
	size_t bad;

	job->version = model_route_pick(route, draw_of(req));
	if (!job->version) {
		request_answer_error(req, err_set(&err, STATUS_UNAVAILABLE, "No model is active."), &err);
		return false;
	}
	const struct model *model = job->version->model;
	struct model_batch batch = {
		.n = 1, .values = features->values, .width = features->n, .results = &result, .arena = &req->arena};
	uint64_t start_ns = clock_mono_ns();
	enum status status = model_predict(model, &batch, &bad, &err);
	uint64_t ns = clock_mono_ns() - start_ns;
	metrics_observe(app->shm, job->version->seconds, (double)ns / 1e9);
	if (status != STATUS_OK) {
		metrics_add(app->shm, job->version->error, 1);
		metrics_add(app->shm, job->version->model_error, 1);
		request_answer_error(req, status, &err);
		return false;
	}
	struct id id = id_of_edge(&req->edge);
	id_format(&id, job->id);
	clock_format_iso(req->edge.ms * 1000, job->created_at);
	struct buf text;
	buf_init(&text, &req->arena);
	put_features(&text, features);
	job->row = (struct prediction){
		.id = {job->id, ID_TEXT_BYTES - 1},
		.features = buf_view(&text),
		.result = result,
		.model_version = str_of(model->version),
		.created_at = {job->created_at, CLOCK_ISO_BYTES - 1},
		.model_name = str_of(model->name),
		.model_hash = str_of(model->hash),
		.key_id = str_of(req->caller.key_id),
		.request_id = req->request_id,
		.trace_id = str_of(req->trace_id),
		.duration_us = (int64_t)(ns / 1000),
	};
	req->response.body.failed |= text.failed;
	return true;
}

static void handle(struct request *req, bool strict)
{
	struct job *job = arena_zalloc(&req->arena, sizeof(*job));
	struct features features;
	struct err err;

	if (!job) {
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
		request_finish(req);
		return;
	}
	job->req = req;
	if (!read_body(req, strict, &features)) {
		if (req->response.status == 0)
			request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."),
					     &err);
		request_finish(req);
		return;
	}
#ifdef APPCORE_FAULTS
	crash_on_demand(&features);
#endif
	if (!read_idempotency_key(req, job) || !predict(req, &features, job)) {
		request_finish(req);
		return;
	}
	submit(req, job);
}

void predict_post(struct request *req)
{
	handle(req, false);
}

void predict_v1_post(struct request *req)
{
	handle(req, true);
}
