/* instance.h says what is wrong with a value; here it gets its place in the body and the bounds it missed. */
#include "handlers/instances.h"

/* --- the body --- */

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

bool instances_read_root(struct request *req, struct json_value *root)
{
	struct json_fault fault;

	*root = (struct json_value){.type = JSON_NULL};
	if (req->body.n > 0 && !request_is_json(req)) {
		answer_no_object(req, invalid_input_text(req, req->body));
		return false;
	}
	if (req->body.n > 0 && !json_check(req->body, JSON_MAX_DEPTH, root, &fault)) {
		answer_json_fault(req, &fault);
		return false;
	}
	if (root->type == JSON_NULL)
		answer_missing_body(req);
	else if (root->type != JSON_OBJECT)
		answer_no_object(req, invalid_input_value(req, *root));
	return root->type == JSON_OBJECT;
}

size_t instances_count(struct json_value list)
{
	struct json_iter iter;
	struct json_value item;
	size_t n = 0;

	if (list.type != JSON_ARRAY)
		return 0;
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item))
		n++;
	return n;
}

/* --- an instance --- */

/* The member of ctx that Pydantic gives for a violation, and where the manifest has its value. */
static const struct {
	const char *type, *member;
	size_t at;
} BOUNDS[] = {
	{"greater_than_equal", "ge", offsetof(struct manifest_input, minimum)},
	{"less_than_equal", "le", offsetof(struct manifest_input, maximum)},
	{"string_too_short", "min_length", offsetof(struct manifest_input, minimum)},
	{"string_too_long", "max_length", offsetof(struct manifest_input, maximum)},
};

static void put_bound(struct buf *ctx, const struct manifest_input *input, const char *type)
{
	double bound;

	for (size_t i = 0; i < sizeof(BOUNDS) / sizeof(BOUNDS[0]); i++) {
		if (strcmp(BOUNDS[i].type, type) != 0)
			continue;
		memcpy(&bound, (const char *)input + BOUNDS[i].at, sizeof(bound));
		buf_fmt(ctx, "\"%s\":", BOUNDS[i].member);
		json_put_double(ctx, bound);
	}
}

/* Bounds of a value, the name of a value that has only a place, and the lengths of a list. */
static struct str context(struct request *req, const struct model *model, const struct instance_fault *fault)
{
	bool is_short = strcmp(fault->type, "too_short") == 0, is_long = strcmp(fault->type, "too_long") == 0;
	int place = model->manifest && fault->field.n > 0 ? manifest_input_index(model->manifest, fault->field) : -1;
	struct buf ctx;

	buf_init(&ctx, &req->arena);
	buf_char(&ctx, '{');
	if (is_short || is_long) {
		int bound = model->inputs_n > 0 ? model->inputs_n : 1;
		buf_fmt(&ctx, "\"field_type\":\"List\",\"%s\":%d,\"actual_length\":%zu",
			is_short ? "min_length" : "max_length", bound, instances_count(fault->input));
	}
	if (place >= 0)
		put_bound(&ctx, &model->manifest->inputs[place], fault->type);
	if (place >= 0 && fault->index >= 0) {
		buf_str(&ctx, ctx.n > 1 ? STR(",\"name\":") : STR("\"name\":"));
		json_put_string(&ctx, fault->field);
	}
	buf_char(&ctx, '}');
	return ctx.n > 2 && !ctx.failed ? buf_view(&ctx) : (struct str){0};
}

static void add_fault(struct batch *batch, const struct instance_fault *fault, const char *field, struct str path,
		      struct invalid *invalid)
{
	struct request *req = batch->req;
	struct violation violation = {
		.type = fault->type, .msg = fault->msg, .where = "body", .field = field, .index = fault->index};
	struct buf longer;

	buf_init(&longer, &req->arena);
	buf_str(&longer, path);
	if (fault->index < 0 && fault->field.n > 0 && batch->values) {
		if (path.n > 0)
			buf_char(&longer, ',');
		json_put_string(&longer, fault->field);
	}
	violation.path = buf_view(&longer);
	violation.input = fault->input.text.p ? invalid_input_value(req, fault->input) : STR("null");
	violation.ctx = context(req, batch->model, fault);
	invalid_add(invalid, &violation);
}

enum status instances_read(struct batch *batch, size_t i, struct json_value value, const char *field, struct str path,
			   struct invalid *invalid)
{
	double *row = batch->values ? batch->values + i * batch->width : NULL;
	struct instance_fault fault = {0};
	size_t width = batch->width;
	struct str text = {0};

	enum status status = instance_read(batch->model, value, row, &width, &text, &batch->flags[i],
					   &batch->req->arena, &fault);
	if (batch->texts)
		batch->texts[i] = text;
	if (status == STATUS_INVALID)
		add_fault(batch, &fault, field, path, invalid);
	return status;
}
