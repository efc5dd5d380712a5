/* POST /v2/models/{name}[/versions/{version}]/infer: the Open Inference Protocol's way to ask a model
 * (inference_rest.md of github.com/kserve/open-inference-protocol), with Triton's binary tensor data extension.
 *
 * Inputs: one tensor [n, width] of any name with all inputs of the model in their order ([width] is one row), or a
 * tensor [n] or [n, 1] for each input by its name; a model of texts takes BYTES [n] or [n, 1] of any name. NaN, and
 * null in JSON, is a missing value. What the manifest says of the inputs holds here, too: each row is read as the
 * instance that it stands for.
 *
 * Outputs: result FP64 [n], and of classifiers label BYTES [n] and probabilities FP64 [n, classes]; where they are
 * asked for, prediction_id BYTES [n] as well. The first row's identifier is always in the parameters of the answer. */
#include "app.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"
#include "handlers/tensor.h"

enum output { RESULT, LABEL, PROBABILITIES, PREDICTION_ID, OUTPUTS };

static const struct str OUTPUT_NAMES[OUTPUTS] = {
	[RESULT] = STR_INIT("result"),
	[LABEL] = STR_INIT("label"),
	[PROBABILITIES] = STR_INIT("probabilities"),
	[PREDICTION_ID] = STR_INIT("prediction_id"),
};

struct infer {
	struct request *req;
	const struct model_version *version;
	const struct model *model;
	struct json_value id;  /* a string; JSON_NULL: none */
	struct tensor *inputs; /* n_inputs */
	size_t n_inputs;
	struct tensor **columns; /* of each of the model's inputs; NULL there: missing. NULL: one tensor has all */
	size_t rows, width;
	int outputs_n;
	struct {
		enum output which;
		bool binary;
	} outputs[OUTPUTS];
	bool any_binary;
};

/* --- the request --- */

static bool get_bool(struct json_value parameters, const char *name, bool fallback)
{
	struct json_value value;

	if (!json_member(parameters, str_of(name), &value))
		return fallback;
	return value.type == JSON_TRUE || (value.type != JSON_FALSE && fallback);
}

static bool has_output(const struct model *model, enum output which)
{
	return model->classes_n > 0 || (which != LABEL && which != PROBABILITIES);
}

static void add_output(struct infer *infer, enum output which, bool binary)
{
	infer->outputs[infer->outputs_n].which = which;
	infer->outputs[infer->outputs_n++].binary = binary;
	infer->any_binary |= binary;
}

static enum status read_output(struct infer *infer, struct json_value item, bool binary, struct err *err)
{
	struct json_value parameters = {0}, name, value;
	int which = 0;

	if (!json_member(item, STR("name"), &name) || name.type != JSON_STRING)
		return err_set(err, STATUS_INVALID, "an output has no name");
	struct str text = json_string(name, &infer->req->arena);
	while (which < OUTPUTS && (!str_eq(text, OUTPUT_NAMES[which]) || !has_output(infer->model, (enum output)which)))
		which++;
	if (which == OUTPUTS)
		return err_set(err, STATUS_INVALID, "model %s has no output '%.*s'", infer->model->name,
			       text.n > 60 ? 60 : (int)text.n, text.p ? text.p : "");
	for (int i = 0; i < infer->outputs_n; i++)
		if (infer->outputs[i].which == (enum output)which)
			return err_set(err, STATUS_INVALID, "output '%s' is asked for twice", OUTPUT_NAMES[which].p);
	if (json_member(item, STR("parameters"), &parameters) &&
	    (json_member(parameters, STR("shared_memory_region"), &value) ||
	     json_member(parameters, STR("classification"), &value)))
		return err_set(err, STATUS_INVALID, "output '%s': shared memory and classification are not supported",
			       OUTPUT_NAMES[which].p);
	add_output(infer, (enum output)which, get_bool(parameters, "binary_data", binary));
	return STATUS_OK;
}

static enum status read_outputs(struct infer *infer, struct json_value root, struct err *err)
{
	struct json_value parameters = {0}, list, item;
	struct json_iter iter;
	enum status status = STATUS_OK;

	if (json_member(root, STR("parameters"), &parameters) && parameters.type != JSON_OBJECT)
		return err_set(err, STATUS_INVALID, "parameters must be an object");
	bool binary = get_bool(parameters, "binary_data_output", false);
	bool listed = json_member(root, STR("outputs"), &list);
	if (listed && list.type != JSON_ARRAY)
		return err_set(err, STATUS_INVALID, "outputs must be a list");
	if (listed) {
		json_iter_init(&iter, list);
		while (status == STATUS_OK && json_next(&iter, NULL, &item))
			status = read_output(infer, item, binary, err);
	}
	bool all = infer->outputs_n == 0 && status == STATUS_OK;
	for (int which = RESULT; all && which <= PROBABILITIES; which++)
		if (has_output(infer->model, (enum output)which))
			add_output(infer, (enum output)which, binary);
	return status;
}

static enum status read_inputs(struct infer *infer, struct json_value root, struct str binary, struct err *err)
{
	size_t most = infer->model->inputs_n > 1 ? (size_t)infer->model->inputs_n : 1;
	struct json_value list, item;
	struct json_iter iter;

	if (!json_member(root, STR("inputs"), &list) || list.type != JSON_ARRAY)
		return err_set(err, STATUS_INVALID, "inputs must be a list of tensors");
	size_t n = instances_count(list);
	if (n == 0 || n > most)
		return err_set(err, STATUS_INVALID, "got %zu input tensors, but model %s takes %s%zu", n,
			       infer->model->name, most > 1 ? "1 to " : "", most);
	infer->inputs = arena_zalloc(&infer->req->arena, n * sizeof(struct tensor));
	if (!infer->inputs)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this request.");
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item)) {
		if (item.type != JSON_OBJECT)
			return err_set(err, STATUS_INVALID, "inputs must be a list of tensors");
		enum status status = tensor_read(&infer->inputs[infer->n_inputs++], item, &binary, &infer->req->arena,
						 err);
		if (status != STATUS_OK)
			return status;
	}
	if (binary.n > 0)
		return err_set(err, STATUS_INVALID, "%zu bytes are left behind the inputs' binary data", binary.n);
	return STATUS_OK;
}

/* --- rows --- */

/* The tensor has a row of the model's inputs in each of its rows. */
static bool is_matrix(const struct infer *infer)
{
	const struct tensor *tensor = &infer->inputs[0];
	const struct manifest *manifest = infer->model->manifest;

	return infer->n_inputs == 1 && infer->model->accepts & MODEL_VECTOR &&
	       (!manifest || manifest_input_index(manifest, tensor->name) < 0 ||
		(tensor->dims == 2 && tensor->shape[1] > 1));
}

static enum status take_matrix(struct infer *infer, struct err *err)
{
	const struct tensor *tensor = &infer->inputs[0];
	size_t width = (size_t)infer->model->inputs_n;
	struct str name = {tensor->name.p, tensor->name.n > 60 ? 60 : tensor->name.n};

	/* One dimension: the rows of a model with one input, else one row. */
	infer->rows = tensor->dims == 2 || width == 1 ? tensor->shape[0] : 1;
	infer->width = tensor->elements / infer->rows;
	if (width > 0 && infer->width != width)
		return err_set(err, STATUS_INVALID, "input '%.*s' has rows of %zu, but model %s takes %zu inputs",
			       STR_ARG(name), infer->width, infer->model->name, width);
	return STATUS_OK;
}

/* A tensor for each input. */
static enum status take_columns(struct infer *infer, struct err *err)
{
	const struct manifest *manifest = infer->model->manifest;

	infer->rows = infer->inputs[0].shape[0];
	infer->width = (size_t)manifest->inputs_n;
	infer->columns = arena_zalloc(&infer->req->arena, infer->width * sizeof(struct tensor *));
	if (!infer->columns)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this request.");
	for (size_t i = 0; i < infer->n_inputs; i++) {
		struct tensor *tensor = &infer->inputs[i];
		struct str name = tensor->name;
		bool alone = infer->n_inputs == 1 && manifest->inputs_n == 1;
		int at = alone ? 0 : manifest_input_index(manifest, name);
		name.n = name.n > 60 ? 60 : name.n;
		if (at < 0 || infer->columns[at])
			return err_set(err, STATUS_INVALID,
				       at < 0 ? "model %s has no input '%.*s'" : "model %s got input '%.*s' twice",
				       infer->model->name, STR_ARG(name));
		if (tensor->shape[0] != infer->rows || (tensor->dims == 2 && tensor->shape[1] != 1))
			return err_set(err, STATUS_INVALID,
				       "input '%.*s' must have the shape [n] or [n, 1], n as others have it",
				       STR_ARG(name));
		infer->columns[at] = tensor;
	}
	return STATUS_OK;
}

/* Where the rows are in the tensors; nothing of them is read yet. */
static enum status arrange(struct infer *infer, struct err *err)
{
	size_t most = (size_t)infer->req->app->config->model_batch_max;
	enum status status = is_matrix(infer) ? take_matrix(infer, err) : take_columns(infer, err);

	if (status == STATUS_OK && infer->rows > most)
		status = err_set(err, STATUS_INVALID, "a request may have %zu rows, not %zu", most, infer->rows);
	return status;
}

/* The next row as the instance that it stands for. */
static enum status put_row(struct infer *infer, struct buf *out, struct err *err)
{
	bool text = infer->model->accepts & MODEL_TEXT;

	out->n = 0;
	if (!text)
		buf_char(out, '[');
	for (size_t k = 0; k < infer->width; k++) {
		struct tensor *tensor = infer->columns ? infer->columns[k] : infer->inputs;
		if (k > 0)
			buf_char(out, ',');
		if (!tensor) {
			buf_str(out, STR("null"));
			continue;
		}
		enum status status = tensor_next(tensor, out, err);
		if (status != STATUS_OK)
			return status;
	}
	if (!text)
		buf_char(out, ']');
	return out->failed ? err_set(err, STATUS_NO_MEMORY, "Out of memory for this request.") : STATUS_OK;
}

static enum status describe(size_t row, const struct instance_fault *fault, struct err *err)
{
	struct str field = fault->field;

	field.n = field.n > 60 ? 60 : field.n;
	return err_set(err, STATUS_INVALID, "row %zu%s%.*s%s: %s", row, field.n > 0 ? ", input '" : "", STR_ARG(field),
		       field.n > 0 ? "'" : "", fault->msg);
}

static enum status read_rows(struct infer *infer, struct batch *batch, struct err *err)
{
	struct arena *arena = &infer->req->arena;
	struct buf text;

	buf_init(&text, arena);
	for (size_t i = 0; i < infer->rows; i++) {
		double *row = batch->values ? batch->values + i * batch->width : NULL;
		struct instance_fault fault = {0};
		struct str read = {0};
		size_t width = batch->width;
		if (batch->texts)
			buf_init(&text, arena); /* what is read may borrow it */
		enum status status = put_row(infer, &text, err);
		if (status != STATUS_OK)
			return status;
		enum json_kind kind = !batch->texts ? JSON_ARRAY : text.p[0] == '"' ? JSON_STRING : JSON_NULL;
		if (batch->texts && kind == JSON_NULL && text.p[0] != 'n')
			return err_set(err, STATUS_INVALID, "row %zu: model %s takes BYTES", i, infer->model->name);
		status = instance_read(infer->model, (struct json_value){kind, buf_view(&text)}, row, &width, &read,
				       &batch->flags[i], arena, &fault);
		if (status == STATUS_INVALID)
			return describe(i, &fault, err);
		if (status != STATUS_OK)
			return err_set(err, status, "Out of memory for this request.");
		if (batch->texts)
			batch->texts[i] = read;
	}
	return STATUS_OK;
}

/* --- the answer --- */

static void put_shape(const struct infer *infer, enum output which, struct buf *out)
{
	buf_str(out, STR(",\"shape\":["));
	buf_u64(out, infer->rows);
	if (which == PROBABILITIES) {
		buf_char(out, ',');
		buf_u64(out, (uint64_t)infer->model->classes_n);
	}
	buf_char(out, ']');
}

/* The elements of an output, as JSON with commas between them or as bytes. */
static void put_data(const struct batch *batch, enum output which, bool binary, struct buf *out)
{
	bool texts = which == LABEL || which == PREDICTION_ID;
	size_t per_row = which == PROBABILITIES ? (size_t)batch->model->classes_n : 1;
	const double *numbers = which == PROBABILITIES ? batch->probabilities : batch->results;

	for (size_t i = 0; i < batch->n * per_row; i++) {
		if (!binary && i > 0)
			buf_char(out, ',');
		if (!texts && binary) {
			tensor_put_double(out, numbers[i]);
		} else if (!texts) {
			json_put_double(out, numbers[i]);
		} else {
			struct str text = which == LABEL ? batch->rows[i].label : batch->rows[i].id;
			if (binary)
				tensor_put_bytes(out, text);
			else
				json_put_string(out, text);
		}
	}
}

static void put_output(const struct infer *infer, const struct batch *batch, int i, struct buf *out, struct buf *bytes)
{
	enum output which = infer->outputs[i].which;
	bool texts = which == LABEL || which == PREDICTION_ID;
	size_t before = bytes->n;

	buf_str(out, i > 0 ? STR(",{\"name\":\"") : STR("{\"name\":\""));
	buf_str(out, OUTPUT_NAMES[which]);
	buf_str(out, texts ? STR("\",\"datatype\":\"BYTES\"") : STR("\",\"datatype\":\"FP64\""));
	put_shape(infer, which, out);
	if (infer->outputs[i].binary) {
		put_data(batch, which, true, bytes);
		buf_str(out, STR(",\"parameters\":{\"binary_data_size\":"));
		buf_u64(out, bytes->n - before);
		buf_str(out, STR("}}"));
	} else {
		buf_str(out, STR(",\"data\":["));
		put_data(batch, which, false, out);
		buf_str(out, STR("]}"));
	}
}

static void put_answer(struct batch *batch, struct buf *out)
{
	struct infer *infer = batch->state;
	const struct prediction *first = batch->rows;
	struct buf bytes;

	buf_init(&bytes, &batch->req->arena);
	buf_str(out, STR("{\"model_name\":"));
	json_put_string(out, first->model_name);
	buf_str(out, STR(",\"model_version\":"));
	json_put_string(out, first->model_version);
	if (infer->id.type == JSON_STRING) {
		buf_str(out, STR(",\"id\":"));
		buf_str(out, infer->id.text);
	}
	buf_str(out, STR(",\"parameters\":{\"prediction_id\":\""));
	buf_str(out, first->id);
	buf_str(out, STR("\"},\"outputs\":["));
	for (int i = 0; i < infer->outputs_n; i++)
		put_output(infer, batch, i, out, &bytes);
	buf_str(out, STR("]}"));
	buf_str(out, buf_view(&bytes));
	out->failed |= bytes.failed;
}

/* How long the JSON object at the front of the text is. */
static size_t json_length(struct str text)
{
	size_t depth = 0, i = 0;
	bool quoted = false;

	for (; i < text.n; i++) {
		char c = text.p[i];
		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']') && --depth == 0)
			return i + 1;
	}
	return text.n;
}

/* Where the binary tensors begin. A stored answer that is told again was to the same request, and has them, too. */
static void mark_binary(struct batch *batch)
{
	const struct infer *infer = batch->state;
	struct response *response = &batch->req->response;

	if (!infer->any_binary)
		return;
	response->content_type = "application/octet-stream";
	response_header_u64(response, "Inference-Header-Content-Length", json_length(buf_view(&response->body)));
}

static void answer_refused(struct batch *batch, size_t bad, const struct err *err)
{
	struct err named;

	err_set(&named, STATUS_INVALID, "row %zu: %s", bad, err->text);
	request_answer_error(batch->req, STATUS_INVALID, &named);
}

/* --- the handler --- */

/* The JSON, and the bytes behind it. */
static enum status split_body(struct request *req, struct json_value *root, struct str *binary, struct err *err)
{
	struct str json = req->body;
	struct json_fault fault;
	uint64_t length;

	if (req->tensors_offset_text.n > 0) {
		if (!str_to_u64(str_trim(req->tensors_offset_text), req->body.n, &length))
			return err_set(
				err, STATUS_INVALID,
				"Inference-Header-Content-Length must be a whole number up to the body's length");
		json.n = (size_t)length;
	}
	if (json.n == 0)
		return err_set(err, STATUS_INVALID, "there is no inference request: the JSON is empty");
	*binary = (struct str){json.p + json.n, req->body.n - json.n};
	if (!json_check(json, JSON_MAX_DEPTH, root, &fault))
		return err_set(err, STATUS_INVALID, "the inference request is not JSON: %s (at %zu)", fault.reason,
			       fault.offset);
	if (root->type != JSON_OBJECT)
		return err_set(err, STATUS_INVALID, "the inference request must be a JSON object");
	return STATUS_OK;
}

static enum status read_request(struct infer *infer, struct err *err)
{
	struct json_value root = {0};
	struct str binary = {0};

	enum status status = split_body(infer->req, &root, &binary, err);
	if (status != STATUS_OK)
		return status;
	if (json_member(root, STR("id"), &infer->id) && infer->id.type != JSON_STRING)
		return err_set(err, STATUS_INVALID, "id must be a string");
	status = read_outputs(infer, root, err);
	if (status == STATUS_OK)
		status = read_inputs(infer, root, binary, err);
	return status == STATUS_OK ? arrange(infer, err) : status;
}

static void read_and_go(struct request *req, struct db *db)
{
	struct infer *infer = arena_zalloc(&req->arena, sizeof(*infer));
	struct batch *batch;
	struct err err;

	(void)db;
	if (!infer) {
		batch_no_memory(req);
		return;
	}
	infer->req = req;
	infer->version = batch_version(req, req->params[0], req->params[1]);
	if (!infer->version) {
		request_finish(req);
		return;
	}
	infer->model = infer->version->model;
	enum status status = read_request(infer, &err);
	if (status == STATUS_OK && batch_is_large(req, infer->rows, infer->width)) {
		request_go_slow(req, req->app->slow, read_and_go);
		return;
	}
	if (status == STATUS_OK) {
		batch = batch_new(req, infer->version, infer->rows, infer->width);
		if (!batch)
			return;
		status = read_rows(infer, batch, &err);
	}
	if (status != STATUS_OK) {
		request_answer_error(req, status, &err);
		request_finish(req);
		return;
	}
	batch->http_status = 200;
	batch->state = infer;
	batch->put = put_answer;
	batch->settled = mark_binary;
	batch->refused = answer_refused;
	batch_go(batch);
}

void inference_post_infer(struct request *req)
{
	if (req->body.n > BATCH_INLINE_BYTES && !req->slow)
		request_go_slow(req, req->app->slow, read_and_go);
	else
		read_and_go(req, NULL);
}
