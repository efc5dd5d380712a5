/* Gradient boosting as XGBoost trains it. Sums and what becomes of them are computed in float32 with the formulas of
 * XGBoost 1.7's src/common/math.h and src/objective/, so that margins are the same to the last bit and probabilities
 * where the C library's expf is the same.
 *
 * All trees of the file count, as in XGBoost's C API and Booster.predict: early stopping's best_iteration is an
 * attribute that only Python's scikit-learn wrapper follows. A model that should end there is cut before it is saved:
 * booster[:booster.best_iteration + 1].save_model("model.json"). */
#include "model/kinds.h"
#include "model/preprocess.h"
#include "model/xgboost_impl.h"

#include <math.h>
#include <stdlib.h>

enum { TILE_ROWS = 256 }; /* rows whose columns are there at a time, so that large batches need no large arena */

struct xgboost {
	struct trees *trees;
	const struct xgboost_objective *objective;
	float *base;
	int margins_n;
	struct preprocess *preprocess; /* NULL: rows are columns */
};

#define AS(type) (1u << MANIFEST_##type)
enum { ANY_NUMBER = AS(REGRESSION) | AS(COUNT), ANY_SCORE = AS(RANKING) | AS(REGRESSION) };
static const struct xgboost_objective OBJECTIVES[] = {
	{STR_INIT("reg:squarederror"), XGBOOST_IDENTITY, ANY_NUMBER | AS(RANKING)},
	{STR_INIT("reg:linear"), XGBOOST_IDENTITY, ANY_NUMBER | AS(RANKING)},
	{STR_INIT("reg:squaredlogerror"), XGBOOST_IDENTITY, ANY_NUMBER},
	{STR_INIT("reg:pseudohubererror"), XGBOOST_IDENTITY, ANY_NUMBER},
	{STR_INIT("reg:absoluteerror"), XGBOOST_IDENTITY, ANY_NUMBER},
	{STR_INIT("reg:quantileerror"), XGBOOST_IDENTITY, ANY_NUMBER},
	{STR_INIT("reg:logistic"), XGBOOST_LOGISTIC, AS(REGRESSION) | AS(BINARY)},
	{STR_INIT("reg:gamma"), XGBOOST_EXP, ANY_NUMBER},
	{STR_INIT("reg:tweedie"), XGBOOST_EXP, ANY_NUMBER},
	{STR_INIT("count:poisson"), XGBOOST_EXP, ANY_NUMBER},
	{STR_INIT("binary:logistic"), XGBOOST_LOGISTIC, AS(BINARY)},
	{STR_INIT("binary:logitraw"), XGBOOST_LOGIT_RAW, AS(BINARY) | ANY_SCORE},
	{STR_INIT("binary:hinge"), XGBOOST_HINGE, AS(BINARY)},
	{STR_INIT("multi:softmax"), XGBOOST_SOFTMAX, AS(MULTICLASS)},
	{STR_INIT("multi:softprob"), XGBOOST_SOFTMAX, AS(MULTICLASS)},
	{STR_INIT("rank:pairwise"), XGBOOST_IDENTITY, ANY_SCORE},
	{STR_INIT("rank:ndcg"), XGBOOST_IDENTITY, ANY_SCORE},
	{STR_INIT("rank:map"), XGBOOST_IDENTITY, ANY_SCORE},
	{STR_INIT("survival:cox"), XGBOOST_EXP, ANY_SCORE},
	{STR_INIT("survival:aft"), XGBOOST_EXP, AS(REGRESSION)},
};

const struct xgboost_objective *xgboost_objective_find(struct str name)
{
	for (size_t i = 0; i < sizeof(OBJECTIVES) / sizeof(OBJECTIVES[0]); i++)
		if (str_eq(name, OBJECTIVES[i].name))
			return &OBJECTIVES[i];
	return NULL;
}

/* src/common/math.h: Sigmoid. */
static float logistic(float margin)
{
	float x = -margin < 88.7f ? -margin : 88.7f;

	return 1.0f / (expf(x) + 1.0f + 1e-16f);
}

/* src/common/math.h: Softmax; in place. */
static void softmax(float *margins, int n)
{
	float most = margins[0];
	double sum = 0;

	for (int i = 1; i < n; i++)
		most = fmaxf(margins[i], most);
	for (int i = 0; i < n; i++) {
		margins[i] = expf(margins[i] - most);
		sum += (double)margins[i];
	}
	for (int i = 0; i < n; i++)
		margins[i] /= (float)sum;
}

static void put_binary(const struct model_batch *batch, size_t row, float probability)
{
	batch->results[row] = (double)probability;
	if (batch->labels)
		batch->labels[row] = probability > 0.5f;
	if (batch->probabilities) {
		batch->probabilities[2 * row] = (double)(1.0f - probability);
		batch->probabilities[2 * row + 1] = (double)probability;
	}
}

static void put_classes(const struct model_batch *batch, size_t row, float *margins, int n)
{
	int likeliest = 0;

	softmax(margins, n);
	for (int i = 1; i < n; i++)
		if (margins[i] > margins[likeliest])
			likeliest = i;
	batch->results[row] = likeliest;
	if (batch->labels)
		batch->labels[row] = likeliest;
	for (int i = 0; batch->probabilities && i < n; i++)
		batch->probabilities[row * (size_t)n + (size_t)i] = (double)margins[i];
}

static void put_row(const struct model *model, const struct model_batch *batch, size_t row, float *margins)
{
	const struct xgboost *xgboost = model->state;
	bool binary = model->classes_n == 2;

	switch (xgboost->objective->link) {
	case XGBOOST_IDENTITY:
		batch->results[row] = (double)margins[0];
		return;
	case XGBOOST_EXP:
		batch->results[row] = (double)expf(margins[0]);
		return;
	case XGBOOST_HINGE:
		put_binary(batch, row, margins[0] > 0.0f ? 1.0f : 0.0f);
		return;
	case XGBOOST_LOGIT_RAW:
	case XGBOOST_LOGISTIC:
		if (binary)
			put_binary(batch, row, logistic(margins[0]));
		else
			batch->results[row] = (double)(xgboost->objective->link == XGBOOST_LOGISTIC
							       ? logistic(margins[0])
							       : margins[0]);
		return;
	case XGBOOST_SOFTMAX:
		put_classes(batch, row, margins, xgboost->margins_n);
		return;
	}
}

enum status xgboost_margins(const struct model *model, const double *rows, size_t n, float *margins,
			    struct arena *arena)
{
	const struct xgboost *xgboost = model->state;
	const size_t tile = n < TILE_ROWS ? n : TILE_ROWS, margins_n = (size_t)xgboost->margins_n;
	const size_t inputs = (size_t)model->manifest->inputs_n;
	size_t width = xgboost->preprocess ? (size_t)preprocess_columns(xgboost->preprocess) : 0;
	void *scratch = arena_alloc(arena, trees_scratch_bytes(xgboost->trees, tile));
	double *columns = width > 0 ? arena_alloc(arena, tile * width * sizeof(double)) : NULL;

	if (!scratch || (width > 0 && !columns))
		return STATUS_NO_MEMORY;
	for (size_t done = 0; done < n; done += tile) {
		size_t now = n - done < tile ? n - done : tile;
		const double *from = rows + done * inputs;
		float *to = margins + done * margins_n;
		for (size_t i = 0; i < now && columns; i++)
			preprocess_row(xgboost->preprocess, from + i * inputs, columns + i * width);
		for (size_t i = 0; i < now; i++)
			memcpy(to + i * margins_n, xgboost->base, margins_n * sizeof(float));
		trees_sum_floats(xgboost->trees, columns ? columns : from, now, to, scratch);
	}
	return STATUS_OK;
}

static enum status xgboost_predict(const struct model *model, const struct model_batch *batch, size_t *bad,
				   struct err *err)
{
	const size_t margins_n = (size_t)((const struct xgboost *)model->state)->margins_n;
	float *margins = arena_alloc(batch->arena, batch->n * margins_n * sizeof(float));

	(void)bad;
	if (!margins || xgboost_margins(model, batch->values, batch->n, margins, batch->arena) != STATUS_OK)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this prediction");
	for (size_t i = 0; i < batch->n; i++)
		put_row(model, batch, i, margins + i * margins_n);
	return STATUS_OK;
}

static void xgboost_release(struct model *model)
{
	struct xgboost *xgboost = model->state;

	trees_free(xgboost->trees);
	preprocess_free(xgboost->preprocess);
	free(xgboost->base);
	free(xgboost);
}

static const struct model_ops XGBOOST_OPS = {.predict = xgboost_predict, .release = xgboost_release};

/* Whether rows must be worked on before trees see them; no steps and no categories are the usual case. */
static bool needs_columns(const struct manifest *manifest)
{
	for (int i = 0; i < manifest->inputs_n; i++)
		if (manifest->inputs[i].type == MANIFEST_CATEGORY)
			return true;
	return manifest->steps_n > 0;
}

static bool has_one_hot(const struct manifest *manifest)
{
	for (int i = 0; i < manifest->steps_n; i++)
		if (manifest->steps[i].kind == MANIFEST_ONE_HOT)
			return true;
	return false;
}

enum status xgboost_load(struct model *model, struct str file, struct err *err)
{
	const struct manifest *manifest = model->manifest;
	struct xgboost *xgboost = calloc(1, sizeof(*xgboost));
	struct xgboost_file read = {0};
	int columns = manifest->inputs_n;
	enum status status = STATUS_OK;

	if (!xgboost)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	model->state = xgboost;
	if (needs_columns(manifest)) {
		status = preprocess_new(&xgboost->preprocess, manifest, err);
		if (status == STATUS_OK)
			columns = preprocess_columns(xgboost->preprocess);
	}
	if (status == STATUS_OK)
		status = xgboost_read(&read, file, manifest, columns, !has_one_hot(manifest), err);
	if (status != STATUS_OK) {
		xgboost_release(model);
		model->state = NULL;
		return status;
	}
	xgboost->trees = read.trees;
	xgboost->objective = read.objective;
	xgboost->base = read.base;
	xgboost->margins_n = read.margins_n;
	model->ops = &XGBOOST_OPS;
	model->bytes = sizeof(*xgboost) + trees_bytes(read.trees) + (size_t)read.margins_n * sizeof(float) +
		       (xgboost->preprocess ? preprocess_bytes(xgboost->preprocess) : 0);
	return STATUS_OK;
}
