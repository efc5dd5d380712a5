/* POST /predict and POST /api/v1/predict: read the features, ask the default model, store the prediction, answer.
 *
 *   {"features": [number, …]}   required, at least one item; other members are ignored
 *
 * The contract's path takes numbers as its clients have always sent them (numeric strings and booleans too); the newer
 * path takes numbers only, and tells what a classifier says. What a model's manifest says of its inputs (how many,
 * categories, ranges, what may be missing) holds on both. The answer goes out when the row is on disk. */
#include "app.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"

#include <math.h>
#include <signal.h>

/* --- reading the features --- */

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

/* All items of a model that takes any number of them; every bad one is named. False: answered. */
static bool read_items(struct batch *batch, struct json_value list, bool strict)
{
	struct request *req = batch->req;
	struct invalid invalid;
	struct json_iter iter;
	struct json_value item;
	size_t n = 0;

	invalid_init(&invalid, req);
	json_iter_init(&iter, list);
	for (int64_t index = 0; n < batch->width && json_next(&iter, NULL, &item); index++) {
		if (read_item(req, item, index, strict, &invalid, &batch->values[n]))
			n++;
		else if (invalid.n >= INVALID_LISTED)
			break;
	}
	if (invalid.n > 0)
		invalid_answer(&invalid, req);
	return invalid.n == 0;
}

/* What the contract's clients may send for a number, as the number that it stands for: the list is written again. Other
 * things stay as they are, for the manifest to judge. */
static struct json_value with_plain_numbers(struct request *req, const struct manifest *manifest,
					    struct json_value list)
{
	struct json_iter iter;
	struct json_value item;
	struct buf text;
	int i = 0;

	buf_init(&text, &req->arena);
	json_iter_init(&iter, list);
	for (; json_next(&iter, NULL, &item); i++) {
		bool number = i < manifest->inputs_n && (manifest->inputs[i].type == MANIFEST_NUMBER ||
							 manifest->inputs[i].type == MANIFEST_INTEGER);
		double value;
		buf_char(&text, i == 0 ? '[' : ',');
		if (number && (item.type == JSON_TRUE || item.type == JSON_FALSE))
			buf_char(&text, item.type == JSON_TRUE ? '1' : '0');
		else if (number && item.type == JSON_STRING &&
			 json_number_of_text(json_string(item, &req->arena), &value) && isfinite(value))
			json_put_double(&text, value);
		else
			buf_str(&text, item.text);
	}
	buf_char(&text, ']');
	return (struct json_value){text.failed ? JSON_NULL : JSON_ARRAY, buf_view(&text)};
}

/* As the manifest has them. False: answered, or (with req->response not set) out of memory. */
static bool read_as_manifest_says(struct batch *batch, struct json_value list, bool strict)
{
	struct request *req = batch->req;
	struct invalid invalid;

	invalid_init(&invalid, req);
	if (!strict)
		list = with_plain_numbers(req, batch->model->manifest, list);
	if (list.type != JSON_ARRAY)
		return false;
	enum status status = instances_read(batch, 0, list, "features", (struct str){0}, &invalid);
	if (status == STATUS_INVALID)
		invalid_answer(&invalid, req);
	return status == STATUS_OK;
}

/* --- answering --- */

static void put_start(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR("{\"prediction_id\":\""));
	buf_str(out, row->id);
	buf_str(out, STR("\",\"result\":"));
	json_put_double(out, row->result);
	buf_str(out, STR(",\"model_version\":"));
	json_put_string(out, row->model_version);
}

static void put_end(struct buf *out, const struct prediction *row)
{
	buf_str(out, STR(",\"created_at\":\""));
	buf_str(out, row->created_at);
	buf_str(out, STR("\"}"));
}

/* The contract's answer. */
static void put_contract(struct batch *batch, struct buf *out)
{
	put_start(out, batch->rows);
	put_end(out, batch->rows);
}

static void put_v1(struct batch *batch, struct buf *out)
{
	put_start(out, batch->rows);
	batch_put_classes(out, batch->rows);
	put_end(out, batch->rows);
}

#ifdef APPCORE_FAULTS
/* Test builds only: a request that crashes its worker. */
static void crash_on_demand(const struct batch *batch)
{
	if (batch->width == 1 && batch->values[0] == -1234567890.5)
		raise(SIGSEGV);
}
#endif

/* False: answered, or (with req->response not set) out of memory. */
static bool fill_batch(struct batch *batch, struct json_value list, bool strict)
{
	struct err err;

	if (!batch->values) {
		err_set(&err, STATUS_INVALID, "Model %s does not take numbers", batch->model->name);
		request_answer_error(batch->req, STATUS_INVALID, &err);
		return false;
	}
	return batch->model->manifest ? read_as_manifest_says(batch, list, strict) : read_items(batch, list, strict);
}

static void handle(struct request *req, bool strict)
{
	const struct model_version *version;
	struct json_value root, list;

	if (!instances_read_root(req, &root) || !find_features(req, root, &list) ||
	    !(version = batch_pick(req, model_set_default_route(req->models)))) {
		request_finish(req);
		return;
	}
	int inputs = version->model->inputs_n;
	struct batch *batch = batch_new(req, version, 1, inputs > 0 ? (size_t)inputs : instances_count(list));
	if (!batch)
		return;
	if (!fill_batch(batch, list, strict)) {
		if (req->response.status == 0)
			batch_no_memory(req);
		else
			request_finish(req);
		return;
	}
#ifdef APPCORE_FAULTS
	crash_on_demand(batch);
#endif
	batch->put = strict ? put_v1 : put_contract;
	batch_go(batch);
}

void predict_post(struct request *req)
{
	handle(req, false);
}

void predict_v1_post(struct request *req)
{
	handle(req, true);
}
