/* Instances are read in one walk. The first thing that is wrong ends it, told in the words of Pydantic 2, which clients
 * of the contract know. */
#include "model/instance.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "model/strict.h"

struct reader {
	const struct manifest *manifest;
	struct arena *arena;
	struct instance_flags *flags;
	struct instance_fault *fault;
};

/* The value that is being read. */
struct spot {
	int input;     /* place in the manifest */
	int64_t index; /* in an array, or -1 */
	struct json_value value;
};

static enum status fail(struct reader *r, const struct spot *spot, const char *type, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static enum status fail(struct reader *r, const struct spot *spot, const char *type, const char *format, ...)
{
	struct instance_fault *fault = r->fault;
	va_list args;

	*fault = (struct instance_fault){.type = type, .index = spot->index, .input = spot->value};
	if (r->manifest && spot->input >= 0)
		fault->field = r->manifest->inputs[spot->input].name;
	va_start(args, format);
	vsnprintf(fault->msg, sizeof(fault->msg), format, args);
	va_end(args);
	return STATUS_INVALID;
}

static void flag(struct reader *r, int input)
{
	struct instance_flags *flags = r->flags;

	if (flags->n < INSTANCE_FLAGS_MAX)
		flags->inputs[flags->n] = input;
	flags->n++;
}

/* A number in a sentence: 8, not 8.000000. */
static void show(double number, char out[static 32])
{
	bool whole = number == floor(number) && fabs(number) < 1e15;

	snprintf(out, 32, "%.*g", whole ? 17 : 15, number);
}

/* A number, or how many characters a text has, against the range of its input. */
static enum status check_range(struct reader *r, const struct spot *spot, double number)
{
	const struct manifest_input *input = &r->manifest->inputs[spot->input];
	bool low = number < input->minimum;
	double bound = low ? input->minimum : input->maximum;
	char text[32];

	if (!low && !(number > input->maximum))
		return STATUS_OK;
	if (input->outside == MANIFEST_FLAG)
		flag(r, spot->input);
	if (input->outside != MANIFEST_REFUSE)
		return STATUS_OK;
	show(bound, text);
	if (input->type == MANIFEST_TEXT)
		return fail(r, spot, low ? "string_too_short" : "string_too_long",
			    "String should have at %s %s character%s", low ? "least" : "most", text,
			    bound == 1 ? "" : "s");
	return fail(r, spot, low ? "greater_than_equal" : "less_than_equal", "Input should be %s than or equal to %s",
		    low ? "greater" : "less", text);
}

static enum status wrong_type(struct reader *r, const struct spot *spot)
{
	switch (r->manifest ? r->manifest->inputs[spot->input].type : MANIFEST_NUMBER) {
	case MANIFEST_NUMBER:
		break;
	case MANIFEST_INTEGER:
		return fail(r, spot, "int_type", "Input should be a valid integer");
	case MANIFEST_CATEGORY:
	case MANIFEST_TEXT:
		return fail(r, spot, "string_type", "Input should be a valid string");
	}
	return fail(r, spot, "float_type", "Input should be a valid number");
}

/* null, or a name that is left out. */
static enum status read_missing(struct reader *r, const struct spot *spot)
{
	const struct manifest_input *input = &r->manifest->inputs[spot->input];

	if (input->missing == MANIFEST_REFUSE && !spot->value.text.p)
		return fail(r, spot, "missing", "Field required");
	if (input->missing == MANIFEST_REFUSE)
		return wrong_type(r, spot);
	if (input->missing == MANIFEST_FLAG)
		flag(r, spot->input);
	return STATUS_OK;
}

static enum status read_number(struct reader *r, const struct spot *spot, double *out)
{
	if (spot->value.type != JSON_NUMBER)
		return wrong_type(r, spot);
	if (!json_number(spot->value, out))
		return fail(r, spot, "finite_number", "Input should be a finite number");
	if (!r->manifest)
		return STATUS_OK;
	if (r->manifest->inputs[spot->input].type == MANIFEST_INTEGER && *out != floor(*out))
		return fail(r, spot, "int_from_float",
			    "Input should be a valid integer, got a number with a fractional part");
	return check_range(r, spot, *out);
}

/* "Input should be 'red' or 'white'", or how many there are when they are too many to list. */
static enum status unknown_category(struct reader *r, const struct spot *spot)
{
	const struct manifest_input *input = &r->manifest->inputs[spot->input];
	char list[sizeof(r->fault->msg) - sizeof("Input should be ")];
	size_t used = 0;

	for (int i = 0; i < input->categories_n && used < sizeof(list); i++) {
		const char *before = i == 0 ? "" : i == input->categories_n - 1 ? " or " : ", ";
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s'%.*s'", before,
					 STR_ARG(input->categories[i]));
	}
	if (used >= sizeof(list))
		return fail(r, spot, "enum", "Input should be one of the %d categories of this input",
			    input->categories_n);
	return fail(r, spot, "enum", "Input should be %s", list);
}

static enum status read_category(struct reader *r, const struct spot *spot, double *out)
{
	const struct manifest_input *input = &r->manifest->inputs[spot->input];

	if (spot->value.type != JSON_STRING)
		return wrong_type(r, spot);
	struct str name = json_string(spot->value, r->arena);
	if (!name.p)
		return STATUS_NO_MEMORY;
	int place = names_find(&input->category_places, name);
	*out = place;
	if (place >= 0 || input->outside == MANIFEST_ALLOW)
		return STATUS_OK;
	if (input->outside == MANIFEST_REFUSE)
		return unknown_category(r, spot);
	flag(r, spot->input);
	return STATUS_OK;
}

static size_t characters(struct str text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

static enum status read_text(struct reader *r, const struct spot *spot, struct str *out)
{
	if (!spot->value.text.p || spot->value.type == JSON_NULL) {
		*out = STR("");
		return read_missing(r, spot);
	}
	if (spot->value.type != JSON_STRING)
		return wrong_type(r, spot);
	*out = json_string(spot->value, r->arena);
	if (!out->p)
		return STATUS_NO_MEMORY;
	return check_range(r, spot, (double)characters(*out));
}

static enum status read_value(struct reader *r, const struct spot *spot, double *out)
{
	if (!spot->value.text.p || spot->value.type == JSON_NULL) {
		*out = (double)NAN;
		return read_missing(r, spot);
	}
	if (r->manifest->inputs[spot->input].type == MANIFEST_CATEGORY)
		return read_category(r, spot, out);
	return read_number(r, spot, out);
}

static enum status wrong_length(struct reader *r, struct json_value list, int wanted)
{
	struct spot spot = {.input = -1, .index = -1, .value = list};
	int n = strict_count(list);

	return fail(r, &spot, n < wanted ? "too_short" : "too_long",
		    "List should have at %s %d item%s after validation, not %d", n < wanted ? "least" : "most", wanted,
		    wanted == 1 ? "" : "s", n);
}

static enum status read_list(struct reader *r, struct json_value list, double *row)
{
	struct spot spot = {.input = -1, .index = 0};
	struct json_iter iter;
	int n = r->manifest->inputs_n;

	json_iter_init(&iter, list);
	for (spot.input = 0; spot.input < n && json_next(&iter, NULL, &spot.value); spot.input++, spot.index++) {
		enum status status = read_value(r, &spot, &row[spot.input]);
		if (status != STATUS_OK)
			return status;
	}
	if (spot.input < n || json_next(&iter, NULL, &spot.value))
		return wrong_length(r, list, n);
	return STATUS_OK;
}

/* A name that the manifest has not. */
static enum status extra(struct reader *r, struct str name, struct json_value value)
{
	struct spot spot = {.input = -1, .index = -1, .value = value};
	enum status status = fail(r, &spot, "extra_forbidden", "Extra inputs are not permitted");

	r->fault->field = name;
	return status;
}

static enum status read_names(struct reader *r, struct json_value object, double *row)
{
	struct spot spot = {.index = -1};
	struct json_iter iter;
	struct json_value key;
	int n = r->manifest->inputs_n, found = 0;
	bool *there = arena_zalloc(r->arena, (size_t)n * sizeof(bool));

	if (!there)
		return STATUS_NO_MEMORY;
	json_iter_init(&iter, object);
	while (json_next(&iter, &key, &spot.value)) {
		struct str name = json_string(key, r->arena);
		if (!name.p)
			return STATUS_NO_MEMORY;
		spot.input = manifest_input_index(r->manifest, name);
		if (spot.input < 0)
			return extra(r, name, spot.value);
		enum status status = read_value(r, &spot, &row[spot.input]);
		if (status != STATUS_OK)
			return status;
		there[spot.input] = true;
		found++;
	}
	spot.value = (struct json_value){0};
	for (spot.input = 0; found < n && spot.input < n; spot.input++) {
		if (there[spot.input])
			continue;
		enum status status = read_value(r, &spot, &row[spot.input]);
		if (status != STATUS_OK) {
			r->fault->input = object;
			return status;
		}
		found++;
	}
	return STATUS_OK;
}

/* A string, {"text": "…"}, {"its name": "…"} or ["…"]. */
static enum status read_text_instance(struct reader *r, struct json_value value, struct str *text)
{
	struct spot spot = {.input = 0, .index = -1, .value = value};
	struct json_iter iter;
	struct json_value key, more;

	if (value.type != JSON_OBJECT && value.type != JSON_ARRAY)
		return read_text(r, &spot, text);
	json_iter_init(&iter, value);
	if (!json_next(&iter, &key, &spot.value)) {
		spot.value = (struct json_value){0};
		if (value.type == JSON_ARRAY)
			return wrong_length(r, value, 1);
		enum status status = read_text(r, &spot, text);
		r->fault->input = value;
		return status;
	}
	if (value.type == JSON_ARRAY) {
		spot.index = 0;
		return json_next(&iter, NULL, &more) ? wrong_length(r, value, 1) : read_text(r, &spot, text);
	}
	struct str name = json_string(key, r->arena);
	if (!name.p)
		return STATUS_NO_MEMORY;
	if (!str_eq(name, STR("text")) && !str_eq(name, r->manifest->inputs[0].name))
		return extra(r, name, spot.value);
	if (json_next(&iter, &key, &more))
		return extra(r, json_string(key, r->arena), more);
	return read_text(r, &spot, text);
}

/* Of a model that is built in: any number of numbers. */
static enum status read_plain(struct reader *r, struct json_value list, double *row, size_t *width)
{
	struct spot spot = {.input = -1};
	struct json_iter iter;
	size_t n = 0;

	json_iter_init(&iter, list);
	for (; json_next(&iter, NULL, &spot.value); n++, spot.index++) {
		if (n == *width)
			return wrong_length(r, list, (int)*width);
		enum status status = read_number(r, &spot, &row[n]);
		if (status != STATUS_OK)
			return status;
	}
	if (n == 0)
		return wrong_length(r, list, 1);
	*width = n;
	return STATUS_OK;
}

enum status instance_read(const struct model *model, struct json_value value, double *row, size_t *width,
			  struct str *text, struct instance_flags *flags, struct arena *arena,
			  struct instance_fault *fault)
{
	struct reader r = {.manifest = model->manifest, .arena = arena, .flags = flags, .fault = fault};
	struct spot whole = {.input = -1, .index = -1, .value = value};

	flags->n = 0;
	if (model->accepts & MODEL_TEXT && model->manifest) {
		*width = 0;
		return read_text_instance(&r, value, text);
	}
	*text = (struct str){0};
	if (!model->manifest && value.type == JSON_ARRAY)
		return read_plain(&r, value, row, width);
	if (!model->manifest || (value.type != JSON_ARRAY && value.type != JSON_OBJECT))
		return fail(&r, &whole, "list_type", "Input should be a valid list");
	*width = (size_t)model->manifest->inputs_n;
	return value.type == JSON_ARRAY ? read_list(&r, value, row) : read_names(&r, value, row);
}

/* A category that the list has not: a name that is none of them reads as such again. */
static void put_unknown(const struct manifest_input *input, struct buf *out)
{
	static const char marks[] = "????????????????????????????????";
	size_t n = 1;

	while (n < sizeof(marks) - 1 && names_find(&input->category_places, (struct str){marks, n}) >= 0)
		n++;
	json_put_string(out, (struct str){marks, n});
}

static void put_value(const struct manifest_input *input, double value, struct buf *out)
{
	if (isnan(value))
		buf_str(out, STR("null"));
	else if (!input || input->type != MANIFEST_CATEGORY)
		json_put_double(out, value);
	else if (value >= 0 && value < input->categories_n)
		json_put_string(out, input->categories[(int)value]);
	else
		put_unknown(input, out);
}

void instance_put(const struct model *model, const double *row, size_t width, struct str text, struct buf *out)
{
	if (model->accepts & MODEL_TEXT && model->manifest) {
		json_put_string(out, text);
		return;
	}
	buf_char(out, '[');
	for (size_t i = 0; i < width; i++) {
		if (i > 0)
			buf_str(out, STR(", "));
		put_value(model->manifest ? &model->manifest->inputs[i] : NULL, row[i], out);
	}
	buf_char(out, ']');
}
