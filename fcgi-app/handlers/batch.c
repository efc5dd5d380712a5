/* From inputs to an answer. The body is written before the rows are stored, so that the commit thread's turn is spent
 * on the rows alone; when a former try has stored them already, it is written again from what is there. */
#include "handlers/batch.h"

#include "app.h"
#include "base/json.h"
#include "handlers/canary.h"

/* --- which version --- */

static void answer_unavailable(struct request *req, struct str name)
{
	struct err err;

	if (name.n > 0)
		err_set(&err, STATUS_UNAVAILABLE, "No version of model %.*s is active.", STR_ARG(name));
	else
		err_set(&err, STATUS_UNAVAILABLE, "No model is active.");
	request_refuse(req, str_of(err.text));
}

const struct model_version *batch_pick(struct request *req, const struct model_route *route)
{
	const struct model_version *version = route ? canary_pick(req, route) : NULL;

	if (!version)
		answer_unavailable(req, str_of(route ? route->name : ""));
	return version;
}

static bool has_versions(const struct model_set *set, struct str name)
{
	const struct model_version *version;

	for (int i = 0; (version = model_set_version_at(set, i)); i++)
		if (str_eq(str_of(version->model->name), name))
			return true;
	return false;
}

const struct model_version *batch_version(struct request *req, struct str name, struct str version)
{
	const struct model_route *route = model_set_find_route(req->models, name);
	const struct model_version *found;
	struct err err;

	if (version.n == 0 && route)
		return batch_pick(req, route);
	if (version.n > 0 && (found = model_set_find(req->models, name, version)))
		return found;
	if (version.n == 0 && has_versions(req->models, name)) {
		answer_unavailable(req, name);
		return NULL;
	}
	bool named = route || has_versions(req->models, name);
	request_answer_error(req,
			     named ? err_set(&err, STATUS_NOT_FOUND, "Model %.*s has no version %.*s that is loaded.",
					     STR_ARG(name), STR_ARG(version))
				   : err_set(&err, STATUS_NOT_FOUND, "There is no model %.*s.", STR_ARG(name)),
			     &err);
	return NULL;
}

/* --- making --- */

void batch_no_memory(struct request *req)
{
	struct err err;

	request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	request_finish(req);
}

static void *alloc_rows(struct batch *batch, size_t size)
{
	return size > SIZE_MAX / batch->n ? NULL : arena_alloc(&batch->req->arena, batch->n * size);
}

static bool alloc_arrays(struct batch *batch)
{
	const struct model *model = batch->model;
	size_t classes = (size_t)model->classes_n;

	if (model->accepts & MODEL_VECTOR)
		batch->values = alloc_rows(batch, batch->width * sizeof(double));
	else
		batch->texts = alloc_rows(batch, sizeof(struct str));
	batch->flags = arena_zalloc(&batch->req->arena, batch->n * sizeof(struct instance_flags));
	batch->results = alloc_rows(batch, sizeof(double));
	batch->rows = arena_zalloc(&batch->req->arena, batch->n * sizeof(struct prediction));
	if (classes > 0) {
		batch->labels = alloc_rows(batch, sizeof(int));
		batch->probabilities = alloc_rows(batch, classes * sizeof(double));
	}
	return (batch->values || batch->texts) && batch->flags && batch->results && batch->rows &&
	       (classes == 0 || (batch->labels && batch->probabilities));
}

bool batch_is_large(const struct request *req, size_t n, size_t width)
{
	return !req->slow && (n > BATCH_INLINE || n * (width > 0 ? width : 1) > BATCH_INLINE_VALUES);
}

struct batch *batch_new(struct request *req, const struct model_version *version, size_t n, size_t width)
{
	struct batch *batch = arena_zalloc(&req->arena, sizeof(*batch));

	if (!batch) {
		batch_no_memory(req);
		return NULL;
	}
	batch->req = req;
	batch->version = version;
	batch->model = version->model;
	batch->n = n;
	batch->width = width;
	batch->http_status = 201;
	if (width > SIZE_MAX / sizeof(double) || !alloc_arrays(batch)) {
		batch_no_memory(req);
		return NULL;
	}
	return batch;
}

/* --- rows --- */

void batch_put_classes(struct buf *out, const struct prediction *row)
{
	if (row->label.n > 0) {
		buf_str(out, STR(",\"label\":"));
		json_put_string(out, row->label);
	}
	if (row->probabilities.n > 0) {
		buf_str(out, STR(",\"probabilities\":"));
		buf_str(out, row->probabilities);
	}
	if (row->flags.n > 0) {
		buf_str(out, STR(",\"flags\":"));
		buf_str(out, row->flags);
	}
}

static void put_probabilities(struct buf *out, const double *values, int n)
{
	buf_char(out, '[');
	for (int i = 0; i < n; i++) {
		if (i > 0)
			buf_str(out, STR(", "));
		json_put_double(out, values[i]);
	}
	buf_char(out, ']');
}

static void put_flags(struct buf *out, const struct model *model, const struct instance_flags *flags)
{
	int n = flags->n < INSTANCE_FLAGS_MAX ? flags->n : INSTANCE_FLAGS_MAX;

	buf_char(out, '[');
	for (int i = 0; i < n; i++) {
		if (i > 0)
			buf_str(out, STR(", "));
		json_put_string(out, model->manifest->inputs[flags->inputs[i]].name);
	}
	buf_char(out, ']');
}

/* The texts of all rows grow in one buffer: a view gets its length now, and its place when all is there. */
static void put_texts(struct batch *batch, size_t i, struct buf *text)
{
	const struct model *model = batch->model;
	struct prediction *row = &batch->rows[i];
	size_t start = text->n, middle;

	instance_put(model, batch->values ? batch->values + i * batch->width : NULL, batch->width,
		     batch->texts ? batch->texts[i] : (struct str){0}, text);
	row->features.n = text->n - start;
	middle = text->n;
	if (model->classes_n > 0)
		put_probabilities(text, batch->probabilities + i * (size_t)model->classes_n, model->classes_n);
	row->probabilities.n = text->n - middle;
	middle = text->n;
	if (batch->flags[i].n > 0 && model->manifest)
		put_flags(text, model, &batch->flags[i]);
	row->flags.n = text->n - middle;
}

static void set_texts(struct batch *batch, const char *p)
{
	for (size_t i = 0; i < batch->n; i++) {
		struct str *texts[] = {&batch->rows[i].features, &batch->rows[i].probabilities, &batch->rows[i].flags};
		for (int k = 0; k < 3; k++) {
			texts[k]->p = p;
			p += texts[k]->n;
		}
	}
}

/* The i-th row's identifier: a retry of the request makes the same ones. */
static void make_id(const struct edge_identity *edge, size_t i, char out[static ID_TEXT_BYTES])
{
	struct id id = i == 0 ? id_of_edge(edge) : id_of_edge_row(edge, i);

	id_format(&id, out);
}

static bool fill_rows(struct batch *batch, uint64_t ns)
{
	struct request *req = batch->req;
	const struct model *model = batch->model;
	char(*ids)[ID_TEXT_BYTES] = alloc_rows(batch, ID_TEXT_BYTES);
	struct buf text;

	buf_init(&text, &req->arena);
	clock_format_iso(req->edge.ms * 1000, batch->created_at);
	for (size_t i = 0; ids && i < batch->n; i++) {
		make_id(&req->edge, i, ids[i]);
		batch->rows[i] = (struct prediction){
			.id = {ids[i], ID_TEXT_BYTES - 1},
			.result = batch->results[i],
			.model_version = str_of(model->version),
			.created_at = {batch->created_at, CLOCK_ISO_BYTES - 1},
			.model_name = str_of(model->name),
			.model_hash = str_of(model->hash),
			.key_id = str_of(req->caller.key_id),
			.request_id = req->request_id,
			.trace_id = str_of(req->trace_id),
			.duration_us = (int64_t)(ns / batch->n / 1000),
			.label = model->classes_n > 0 ? model_class(model, batch->labels[i]) : (struct str){0},
		};
		put_texts(batch, i, &text);
	}
	if (!ids || text.failed)
		return false;
	set_texts(batch, text.p);
	return true;
}

/* --- storing --- */

static struct str keep(struct batch *batch, struct str text)
{
	struct str copy = arena_dup(&batch->req->arena, text);

	batch->req->response.body.failed |= !copy.p;
	return copy;
}

/* The list as numbers, in the place of the i-th row's. */
static void read_probabilities(struct batch *batch, size_t i, struct str list)
{
	size_t n = (size_t)batch->model->classes_n;
	struct json_value item;
	struct json_iter iter;

	json_iter_init(&iter, (struct json_value){.type = JSON_ARRAY, .text = list});
	for (size_t k = 0; list.n > 0 && k < n && json_next(&iter, NULL, &item); k++)
		if (!json_number(item, &batch->probabilities[i * n + k]))
			break;
}

struct stored {
	struct batch *batch;
	size_t i;
};

/* What an answer tells of a row that was there already. */
static bool take_stored_row(void *arg, const struct prediction *row)
{
	struct stored *stored = arg;
	struct batch *batch = stored->batch;
	struct prediction *mine = &batch->rows[stored->i];

	mine->result = batch->results[stored->i] = row->result;
	mine->model_version = keep(batch, row->model_version);
	mine->label = keep(batch, row->label);
	mine->probabilities = keep(batch, row->probabilities);
	mine->flags = keep(batch, row->flags);
	read_probabilities(batch, stored->i, mine->probabilities);
	return false;
}

/* When nginx tried the request again, the answer is what is stored. */
static enum status save_rows(struct batch *batch, struct db *db, struct err *err)
{
	enum status status = predictions_save_all(db, batch->rows, batch->n, &batch->repeated, err);

	for (struct stored at = {batch, 0}; status == STATUS_OK && batch->repeated && at.i < batch->n; at.i++)
		status = predictions_get(db, batch->rows[at.i].id, take_stored_row, &at, err);
	if (status == STATUS_OK && batch->repeated) {
		buf_init(&batch->req->response.body, &batch->req->arena);
		batch->put(batch, &batch->req->response.body);
	}
	return status;
}

/* Commit thread: the effect and the answer that tells of it are one transaction. What a run before this one has left,
 * whose transaction was rolled back, is forgotten. */
static enum status store_batch(struct db *db, struct store_op *op, struct err *err)
{
	struct batch *batch = (struct batch *)(void *)op;
	bool found;

	batch->req->response.status = batch->http_status;
	batch->req->response.body = batch->ready;
	batch->repeated = false;
	enum status status = idempotent_find(&batch->idem, db, &found, err);
	if (status != STATUS_OK || found)
		return status;
	status = save_rows(batch, db, err);
	return status == STATUS_OK ? idempotent_save(&batch->idem, db, !batch->repeated, err) : status;
}

static void answer_stored(struct batch *batch)
{
	struct app *app = batch->req->app;
	bool told_again = batch->idem.keyed && batch->idem.outcome != IDEMPOTENT_STORED;

	if (told_again || !batch->repeated)
		idempotent_settle(&batch->idem);
	if (batch->settled && batch->idem.outcome != IDEMPOTENT_MISMATCH)
		batch->settled(batch);
	if (told_again)
		return;
	if (batch->repeated) {
		metrics_add(app->shm, app->series.repeated_writes, 1);
		return;
	}
	metrics_add(app->shm, batch->version->success, batch->n);
	metrics_add(app->shm, batch->version->model_success, batch->n);
	for (size_t i = 0; app->shadow && i < batch->n; i++)
		shadow_offer(app->shadow, batch->req->models, batch->model, &batch->rows[i]);
}

/* Event thread, after the commit. */
static void batch_stored(struct store_op *op)
{
	struct batch *batch = (struct batch *)(void *)op;
	struct request *req = batch->req;

	req->slow = false;
	idempotent_release(&batch->idem);
	if (op->status == STATUS_OK) {
		answer_stored(batch);
	} else {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, op->status, &op->err);
	}
	request_finish(req);
}

static void submit(struct batch *batch)
{
	struct request *req = batch->req;

	if (idempotent_claim(&batch->idem)) {
		batch->op.run = store_batch;
		batch->op.done = batch_stored;
		if (request_write(req, &batch->op))
			return; /* the request is the commit thread's now */
		idempotent_release(&batch->idem);
	}
	request_finish(req);
}

/* --- predicting --- */

static enum status ask_model(struct batch *batch, size_t *bad, uint64_t *ns, struct err *err)
{
	struct app *app = batch->req->app;
	const struct model_version *version = batch->version;
	const struct model_batch inputs = {
		.n = batch->n,
		.values = batch->values,
		.width = batch->width,
		.texts = batch->texts,
		.results = batch->results,
		.labels = batch->labels,
		.probabilities = batch->probabilities,
		.arena = &batch->req->arena,
	};
	uint64_t start_ns = clock_mono_ns();
	enum status status = model_predict(batch->model, &inputs, bad, err);

	*ns = clock_mono_ns() - start_ns;
	metrics_observe(app->shm, version->seconds, (double)*ns / 1e9);
	metrics_observe(app->shm, version->model_seconds, (double)*ns / 1e9);
	if (status != STATUS_OK) {
		metrics_add(app->shm, version->error, batch->n);
		metrics_add(app->shm, version->model_error, batch->n);
	}
	return status;
}

static void run(struct batch *batch)
{
	struct request *req = batch->req;
	struct err err = {0};
	uint64_t ns;
	size_t bad;

	enum status status = ask_model(batch, &bad, &ns, &err);
	if (status == STATUS_OK && !fill_rows(batch, ns))
		status = err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request.");
	if (status == STATUS_OK) {
		req->response.status = batch->http_status;
		req->response.content_type = "application/json";
		batch->put(batch, &req->response.body);
		batch->ready = req->response.body;
		if (!batch->ready.failed) {
			submit(batch);
			return;
		}
		status = err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request.");
	}
	if (status == STATUS_INVALID && batch->refused)
		batch->refused(batch, bad, &err);
	else
		request_answer_error(req, status, &err);
	request_finish(req);
}

static void run_slowly(struct request *req, struct db *db)
{
	(void)db;
	run(req->state);
}

void batch_go(struct batch *batch)
{
	struct request *req = batch->req;

	if (!idempotent_read(&batch->idem, req)) {
		request_finish(req);
	} else if (batch->n > BATCH_INLINE && !req->slow) {
		req->state = batch;
		request_go_slow(req, req->app->slow, run_slowly);
	} else {
		run(batch);
	}
}
