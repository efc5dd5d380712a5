/* Linear models over the columns after preprocessing:
 *
 *   {"format": "appcore linear 1", "coefficients": [[…], …], "intercepts": […], "link": "softmax"}
 *
 * One row of coefficients for a regression and for two classes, else a row for each class. What becomes of the sums
 * says "link": of a regression "identity" (the default), "exp" (Poisson, gamma and Tweedie regressions with a
 * logarithm as link) or "logistic"; of several classes "softmax" (the default) or "ovr", one logistic function for each
 * class, scaled to a sum of 1, as scikit-learn's multi_class="ovr" and OneVsRestClassifier do. Two classes have the
 * logistic function. */
#include "model/kinds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "model/output.h"
#include "model/preprocess.h"
#include "model/strict.h"

enum { FORMAT, COEFFICIENTS, INTERCEPTS, LINK, MEMBERS__MAX };
static const struct strict_member MEMBERS[] = {
	[FORMAT] = {"format", STRICT_STRING, true},
	[COEFFICIENTS] = {"coefficients", STRICT_ARRAY, true},
	[INTERCEPTS] = {"intercepts", STRICT_ARRAY, true},
	[LINK] = {"link", STRICT_STRING, false},
};
_Static_assert(sizeof(MEMBERS) / sizeof(MEMBERS[0]) == MEMBERS__MAX, "a row for each member");

static const size_t ARENA_BYTES_MAX = (size_t)1 << 31;

struct linear {
	struct preprocess *preprocess;
	int rows, columns;
	enum output_link link;
	double *intercepts;   /* rows */
	double *coefficients; /* rows × columns */
};

static double sum_of(const struct linear *linear, int row, const double *columns)
{
	const double *coefficients = linear->coefficients + (size_t)row * (size_t)linear->columns;
	double sum = 0;

	for (int i = 0; i < linear->columns; i++)
		sum += coefficients[i] * columns[i];
	return sum + linear->intercepts[row];
}

static enum status linear_predict(const struct model *model, const struct model_batch *batch, size_t *bad,
				  struct err *err)
{
	const struct linear *linear = model->state;
	double *columns = arena_alloc(batch->arena, (size_t)linear->columns * sizeof(double));
	double *sums = arena_alloc(batch->arena, (size_t)linear->rows * sizeof(double));

	(void)bad;
	if (!columns || !sums)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this prediction");
	for (size_t i = 0; i < batch->n; i++) {
		preprocess_row(linear->preprocess, batch->values + i * batch->width, columns);
		for (int row = 0; row < linear->rows; row++)
			sums[row] = sum_of(linear, row, columns);
		output_put(linear->link, sums, model->manifest, batch, i);
	}
	return STATUS_OK;
}

static void linear_release(struct model *model)
{
	struct linear *linear = model->state;

	preprocess_free(linear->preprocess);
	free(linear->intercepts);
	free(linear->coefficients);
	free(linear);
}

static const struct model_ops LINEAR_OPS = {.predict = linear_predict, .release = linear_release};

/* --- loading --- */

static const char *const LINKS[] = {
	[OUTPUT_IDENTITY] = "identity", [OUTPUT_EXP] = "exp", [OUTPUT_LOGISTIC] = "logistic",
	[OUTPUT_SOFTMAX] = "softmax",   [OUTPUT_OVR] = "ovr",
};

/* Which links an output can have. The first is the default. */
static enum status read_link(const struct strict *s, struct json_value value, const struct manifest *manifest,
			     enum output_link *link)
{
	static const enum output_link of_numbers[] = {OUTPUT_IDENTITY, OUTPUT_EXP, OUTPUT_LOGISTIC};
	static const enum output_link of_two[] = {OUTPUT_LOGISTIC};
	static const enum output_link of_classes[] = {OUTPUT_SOFTMAX, OUTPUT_OVR};
	const enum output_link *links = of_numbers;
	int n = 3, choice = 0;
	const char *names[3];

	if (manifest->output == MANIFEST_BINARY) {
		links = of_two;
		n = 1;
	} else if (manifest->output == MANIFEST_MULTICLASS) {
		links = of_classes;
		n = 2;
	}
	for (int i = 0; i < n; i++)
		names[i] = LINKS[links[i]];
	if (value.text.p) {
		enum status status = strict_choice(s, PLACE_MEMBER(NULL, "link"), value, names, n, &choice);
		if (status != STATUS_OK)
			return status;
	}
	*link = links[choice];
	return STATUS_OK;
}

static enum status read_coefficients(const struct strict *s, struct json_value array, struct linear *linear)
{
	const struct place *at = PLACE_MEMBER(NULL, "coefficients");
	struct json_iter iter;
	struct json_value row;
	int n = strict_count(array);

	if (n != linear->rows)
		return strict_fault(s, at, "has %d rows, %d are wanted", n, linear->rows);
	json_iter_init(&iter, array);
	for (int i = 0; json_next(&iter, NULL, &row); i++) {
		enum status status = strict_numbers(s, PLACE_INDEX(at, i), row, linear->columns,
						    linear->coefficients + (size_t)i * (size_t)linear->columns);
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

/* Sizes follow from the manifest, and are looked for in the file before there is memory for them. */
static enum status read_file(const struct strict *s, struct str file, const struct manifest *manifest,
			     struct linear *linear)
{
	struct json_value root, values[MEMBERS__MAX];
	static const char *const formats[] = {"appcore linear 1"};
	int format;
	enum status status = strict_check(s, file, "The model file", &root);

	if (status == STATUS_OK)
		status = strict_members(s, NULL, root, MEMBERS, MEMBERS__MAX, values);
	if (status == STATUS_OK)
		status = strict_choice(s, PLACE_MEMBER(NULL, "format"), values[FORMAT], formats, 1, &format);
	if (status == STATUS_OK)
		status = read_link(s, values[LINK], manifest, &linear->link);
	if (status != STATUS_OK)
		return status;
	size_t cells = (size_t)linear->rows * (size_t)linear->columns;
	if (cells > values[COEFFICIENTS].text.n)
		return strict_fault(s, PLACE_MEMBER(NULL, "coefficients"), "should be %d rows of %d numbers",
				    linear->rows, linear->columns);
	linear->intercepts = calloc((size_t)linear->rows, sizeof(double));
	linear->coefficients = calloc(cells, sizeof(double));
	if (!linear->intercepts || !linear->coefficients)
		return strict_no_memory(s);
	status = strict_numbers(s, PLACE_MEMBER(NULL, "intercepts"), values[INTERCEPTS], linear->rows,
				linear->intercepts);
	return status == STATUS_OK ? read_coefficients(s, values[COEFFICIENTS], linear) : status;
}

/* A missing value would make every sum no number. */
static enum status check_missing(const struct preprocess *preprocess, int inputs_n, struct err *err)
{
	for (int i = 0; i < inputs_n; i++)
		if (preprocess_may_miss(preprocess, i))
			return err_set(
				err, STATUS_INVALID,
				"inputs[%d].missing: should be \"refuse\", or a step should impute the input: linear "
				"models have no missing values",
				i);
	return STATUS_OK;
}

static enum status load(struct model *model, struct str file, struct err *err)
{
	struct linear *linear = calloc(1, sizeof(*linear));
	struct arena arena;
	enum status status;

	if (!linear)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	model->state = linear;
	model->ops = &LINEAR_OPS; /* releases what there is also when this fails */
	arena_init(&arena, ARENA_BYTES_MAX);
	status = preprocess_new(&linear->preprocess, model->manifest, err);
	if (status == STATUS_OK)
		status = check_missing(linear->preprocess, model->inputs_n, err);
	if (status != STATUS_OK)
		goto out;
	linear->columns = preprocess_columns(linear->preprocess);
	linear->rows = model->manifest->output == MANIFEST_MULTICLASS ? model->classes_n : 1;
	status = read_file(&(struct strict){&arena, err}, file, model->manifest, linear);
	model->bytes = sizeof(*linear) + preprocess_bytes(linear->preprocess) +
		       ((size_t)linear->columns + 1) * (size_t)linear->rows * sizeof(double);
out:
	arena_release(&arena);
	if (status != STATUS_OK) {
		linear_release(model);
		model->state = NULL;
		model->ops = NULL;
	}
	return status;
}

enum status linear_load(struct model *model, struct str file, struct err *err)
{
	if (model->classes_n > 0)
		return err_set(err, STATUS_INVALID,
			       "output.type: a classifier is of kind \"logistic\", not \"linear\"");
	return load(model, file, err);
}

enum status logistic_load(struct model *model, struct str file, struct err *err)
{
	if (model->classes_n == 0)
		return err_set(err, STATUS_INVALID,
			       "output.type: should be \"binary\" or \"multiclass\" for kind \"logistic\"");
	return load(model, file, err);
}
