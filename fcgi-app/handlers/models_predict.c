/* POST /api/v1/models/{name}/predict and …/versions/{version}/predict: one input or many, for any kind of model.
 *
 *   {"features": [9.4, null, …]}        a row in the order of the manifest; null is a missing value
 *   {"features": {"alcohol": 9.4, …}}   the same by name, also under "inputs"
 *   {"text": "…"}                       for a model of texts
 *   {"instances": [ … ]}                up to MODEL_BATCH_MAX of them, each in one of these forms, or what stands in
 *                                       them alone: [9.4, …], {"alcohol": 9.4, …}, "…"
 *
 * All or nothing: one bad instance refuses all, and the answer names each with its row and field. Many are stored in
 * one transaction and answered in their order. */
#include "app.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"

enum { FEATURES, INPUTS, TEXT, INSTANCES, FORMS };

static const char *const NAMES[FORMS] = {
	[FEATURES] = "features", [INPUTS] = "inputs", [TEXT] = "text", [INSTANCES] = "instances"};

/* --- answering --- */

static void put_id(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR("{\"prediction_id\":\""));
	buf_str(out, row->id);
	buf_char(out, '"');
}

static void put_model(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR("\"model\":"));
	json_put_string(out, row->model_name);
	buf_str(out, STR(",\"version\":"));
	json_put_string(out, row->model_version);
}

static void put_result(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR(",\"result\":"));
	json_put_double(out, row->result);
	batch_put_classes(out, row);
}

static void put_created_at(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR(",\"created_at\":\""));
	buf_str(out, row->created_at);
	buf_str(out, STR("\"}"));
}

static void put_one(struct batch *batch, struct buf *out)
{
	put_id(out, batch->rows);
	buf_char(out, ',');
	put_model(out, batch->rows);
	put_result(out, batch->rows);
	put_created_at(out, batch->rows);
}

static void put_many(struct batch *batch, struct buf *out)
{
	buf_char(out, '{');
	put_model(out, batch->rows);
	buf_str(out, STR(",\"predictions\":["));
	for (size_t i = 0; i < batch->n; i++) {
		if (i > 0)
			buf_char(out, ',');
		put_id(out, &batch->rows[i]);
		put_result(out, &batch->rows[i]);
		buf_char(out, '}');
	}
	buf_char(out, ']');
	put_created_at(out, batch->rows);
}

/* An instance that the model itself does not take: of many, its row is named. */
static void answer_refused(struct batch *batch, size_t bad, const struct err *err)
{
	struct request *req = batch->req;

	invalid_answer_one(req, &(struct violation){.type = "value_error",
						    .msg = err->text,
						    .where = "body",
						    .field = NAMES[INSTANCES],
						    .index = (int64_t)bad,
						    .input = STR("null")});
}

/* --- reading --- */

static void answer_violation(struct request *req, const char *type, const char *msg, const char *field,
			     struct json_value input, struct str ctx)
{
	invalid_answer_one(req, &(struct violation){.type = type,
						    .msg = msg,
						    .where = "body",
						    .field = field,
						    .index = -1,
						    .input = invalid_input_value(req, input),
						    .ctx = ctx});
}

/* The one form that the body has. False: answered. */
static bool find_form(struct request *req, const struct model *model, struct json_value root, int *form,
		      struct json_value *value)
{
	*form = FORMS;
	for (int i = 0; i < FORMS; i++) {
		struct json_value found;
		if (!json_member(root, str_of(NAMES[i]), &found))
			continue;
		if (*form != FORMS) {
			answer_violation(req, "extra_forbidden",
					 "Give one of features, inputs, text and instances, not several", NAMES[i],
					 found, (struct str){0});
			return false;
		}
		*form = i;
		*value = found;
	}
	if (*form == FORMS)
		answer_violation(req, "missing", "Field required",
				 NAMES[model->accepts & MODEL_VECTOR ? FEATURES : TEXT], root, (struct str){0});
	return *form != FORMS;
}

static bool check_count(struct request *req, struct json_value list, size_t n)
{
	size_t most = (size_t)req->app->config->model_batch_max;
	bool too_long = n > most;
	struct buf msg, ctx;

	if (list.type != JSON_ARRAY) {
		answer_violation(req, "list_type", "Input should be a valid list", NAMES[INSTANCES], list,
				 (struct str){0});
		return false;
	}
	if (n > 0 && !too_long)
		return true;
	buf_init(&msg, &req->arena);
	buf_init(&ctx, &req->arena);
	buf_fmt(&msg, "List should have at %s %zu item%s after validation, not %zu", too_long ? "most" : "least",
		too_long ? most : 1, too_long && most > 1 ? "s" : "", n);
	buf_char(&msg, '\0');
	buf_fmt(&ctx, "{\"field_type\":\"List\",\"%s\":%zu,\"actual_length\":%zu}",
		too_long ? "max_length" : "min_length", too_long ? most : 1, n);
	answer_violation(req, too_long ? "too_long" : "too_short", msg.failed ? "" : msg.p, NAMES[INSTANCES],
			 too_long ? (struct json_value){JSON_ARRAY, STR("[]")} : list, buf_view(&ctx));
	return false;
}

/* What stands in an instance that has a form's name around it: {"features": …}. A model may have an input of that name:
 * then it is the input. */
static int unwrap(const struct model *model, struct json_value instance, struct json_value *value)
{
	struct json_iter iter;
	struct json_value key, item, more;

	*value = instance;
	json_iter_init(&iter, instance);
	if (instance.type != JSON_OBJECT || !json_next(&iter, &key, &item) || json_next(&iter, NULL, &more))
		return FORMS;
	for (int i = FEATURES; i <= TEXT; i++) {
		struct str name = str_of(NAMES[i]);
		struct str quoted = {key.text.p + 1, key.text.n - 2};
		if (!str_eq(name, quoted) || (model->manifest && manifest_input_index(model->manifest, name) >= 0))
			continue;
		*value = item;
		return i;
	}
	return FORMS;
}

/* How many numbers a row of a model without a manifest has. The others must have as many: that is looked at before any
 * memory is taken for them. False: answered. */
static bool find_width(struct request *req, const struct model *model, struct json_value list, size_t n, size_t *width)
{
	struct json_value item, value;
	struct invalid invalid;
	struct json_iter iter;
	struct buf path, ctx, msg;

	*width = 0;
	invalid_init(&invalid, req);
	json_iter_init(&iter, list);
	for (size_t i = 0; i < n && json_next(&iter, NULL, &item); i++) {
		unwrap(model, item, &value);
		size_t count = instances_count(value);
		if (i == 0)
			*width = count > 0 ? count : 1;
		if (count == *width || value.type != JSON_ARRAY)
			continue;
		bool is_short = count < *width;
		buf_init(&path, &req->arena);
		buf_init(&ctx, &req->arena);
		buf_init(&msg, &req->arena);
		buf_u64(&path, i);
		buf_fmt(&msg, "List should have at %s %zu item%s after validation, not %zu",
			is_short ? "least" : "most", *width, *width == 1 ? "" : "s", count);
		buf_char(&msg, '\0');
		buf_fmt(&ctx, "{\"field_type\":\"List\",\"%s\":%zu,\"actual_length\":%zu}",
			is_short ? "min_length" : "max_length", *width, count);
		invalid_add(&invalid, &(struct violation){.type = is_short ? "too_short" : "too_long",
							  .msg = msg.failed ? "" : msg.p,
							  .where = "body",
							  .field = NAMES[INSTANCES],
							  .path = buf_view(&path),
							  .index = -1,
							  .input = invalid_input_value(req, value),
							  .ctx = buf_view(&ctx)});
	}
	if (invalid.n > 0)
		invalid_answer(&invalid, req);
	return invalid.n == 0;
}

/* All rows; what is wrong with any is told. False: answered, or (with req->response not set) out of memory. */
static bool read_instances(struct batch *batch, struct json_value list)
{
	struct request *req = batch->req;
	struct json_value item, value;
	struct invalid invalid;
	struct json_iter iter;
	struct buf path;

	invalid_init(&invalid, req);
	json_iter_init(&iter, list);
	for (size_t i = 0; i < batch->n && json_next(&iter, NULL, &item); i++) {
		int form = unwrap(batch->model, item, &value);
		buf_init(&path, &req->arena);
		buf_u64(&path, i);
		if (form < FORMS)
			buf_fmt(&path, ",\"%s\"", NAMES[form]);
		if (path.failed ||
		    instances_read(batch, i, value, NAMES[INSTANCES], buf_view(&path), &invalid) == STATUS_NO_MEMORY)
			return false;
		if (invalid.n >= INVALID_LISTED)
			break;
	}
	if (invalid.n > 0)
		invalid_answer(&invalid, req);
	return invalid.n == 0;
}

static bool read_one(struct batch *batch, struct json_value value, int form)
{
	struct invalid invalid;

	invalid_init(&invalid, batch->req);
	enum status status = instances_read(batch, 0, value, NAMES[form], (struct str){0}, &invalid);
	if (status == STATUS_INVALID)
		invalid_answer(&invalid, batch->req);
	return status == STATUS_OK;
}

/* --- the handlers --- */

static void predict(struct request *req, struct db *db);

/* A batch with its rows read. NULL: answered and finished, or handed to a slow thread. */
static struct batch *read_batch(struct request *req, const struct model_version *version)
{
	const struct model *model = version->model;
	struct json_value root, value;
	size_t n = 1, width = (size_t)model->inputs_n;
	int form;

	if (!instances_read_root(req, &root) || !find_form(req, model, root, &form, &value))
		goto answered;
	if (form == INSTANCES) {
		n = instances_count(value);
		if (!check_count(req, value, n))
			goto answered;
		if (!model->manifest && !find_width(req, model, value, n, &width))
			goto answered;
	} else if (!model->manifest) {
		width = instances_count(value);
	}
	if (batch_is_large(req, n, width)) {
		request_go_slow(req, req->app->slow, predict);
		return NULL;
	}
	struct batch *batch = batch_new(req, version, n, width > 0 ? width : 1);
	if (!batch)
		return NULL;
	if (form == INSTANCES ? read_instances(batch, value) : read_one(batch, value, form)) {
		batch->put = form == INSTANCES ? put_many : put_one;
		batch->refused = form == INSTANCES ? answer_refused : NULL;
		return batch;
	}
	if (req->response.status == 0) {
		batch_no_memory(req);
		return NULL;
	}
answered:
	request_finish(req);
	return NULL;
}

static void predict(struct request *req, struct db *db)
{
	const struct model_version *version = batch_version(req, req->params[0], req->params[1]);
	struct batch *batch;

	(void)db;
	if (!version)
		request_finish(req);
	else if ((batch = read_batch(req, version)))
		batch_go(batch);
}

void models_post_predict(struct request *req)
{
	if (req->body.n > BATCH_INLINE_BYTES && !req->slow)
		request_go_slow(req, req->app->slow, predict);
	else
		predict(req, NULL);
}
