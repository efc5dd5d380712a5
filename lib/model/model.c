/* The one door to a model: it checks on the way in that the input is of a kind the model takes, and on the way out that
 * the result is a number that JSON can carry. */
#include "model/model.h"

#include "model/manifest.h"

#include <math.h>
#include <stdlib.h>

struct model *model_new(void)
{
	struct model *model = calloc(1, sizeof(*model));

	if (model)
		atomic_init(&model->users, 1);
	return model;
}

struct model *model_hold(struct model *model)
{
	if (model && atomic_load_explicit(&model->users, memory_order_relaxed) > 0)
		atomic_fetch_add_explicit(&model->users, 1, memory_order_relaxed);
	return model;
}

void model_drop(struct model *model)
{
	if (!model || atomic_load_explicit(&model->users, memory_order_relaxed) <= 0 ||
	    atomic_fetch_sub_explicit(&model->users, 1, memory_order_acq_rel) != 1)
		return;
	if (model->ops && model->ops->release)
		model->ops->release(model);
	manifest_free(model->manifest);
	free(model);
}

/* The result of several classes is a label's number, whatever became of the sums that it was chosen by. */
static bool is_finite(const struct model *model, const struct model_batch *batch, size_t i)
{
	size_t n = batch->probabilities ? (size_t)model->classes_n : 0;
	bool finite = isfinite(batch->results[i]);

	for (size_t k = 0; k < n; k++)
		finite = finite && isfinite(batch->probabilities[i * n + k]);
	return finite;
}

enum status model_predict(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	enum model_input_kind kind = batch->texts ? MODEL_TEXT : MODEL_VECTOR;

	*bad = 0;
	if (!(model->accepts & kind))
		return err_set(err, STATUS_INVALID, "Model %s does not take %s", model->name,
			       kind == MODEL_TEXT ? "a text" : "numbers");
	if (kind == MODEL_VECTOR && model->inputs_n > 0 && batch->width != (size_t)model->inputs_n)
		return err_set(err, STATUS_INVALID, "Model %s takes %d features, not %zu", model->name, model->inputs_n,
			       batch->width);
	enum status status = model->ops->predict(model, batch, bad, err);
	for (size_t i = 0; status == STATUS_OK && i < batch->n; i++) {
		if (!is_finite(model, batch, i)) {
			*bad = i;
			return err_set(err, STATUS_INVALID, "The result is not a finite number");
		}
		if (batch->results[i] == 0.0)
			batch->results[i] = 0.0; /* a database keeps no sign of zero: tell what will be read */
	}
	return status;
}

bool model_is_healthy(const struct model *model)
{
	return !model->ops->is_healthy || model->ops->is_healthy(model);
}

struct str model_class(const struct model *model, int label)
{
	if (!model->manifest || label < 0 || label >= model->manifest->classes_n)
		return (struct str){0};
	return model->manifest->classes[label];
}

_Static_assert(MODEL_NAME_BYTES == 64 + 1, "as long as str_is_name has it");

bool model_name_is_valid(struct str name)
{
	return str_is_name(name);
}
