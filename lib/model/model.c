/* The registry, and the one door to a model: it checks on the way in that the input is of a kind the model takes, and
 * on the way out that the result is a number that JSON can carry. */
#include "model/model.h"

#include <math.h>

enum status model_registry_add(struct model_registry *registry, struct model *model, struct err *err)
{
	for (int i = 0; i < registry->n; i++)
		if (strcmp(registry->models[i]->name, model->name) == 0 &&
		    strcmp(registry->models[i]->version, model->version) == 0)
			return err_set(err, STATUS_CONFLICT, "Model %s %s is registered already.", model->name,
				       model->version);
	if (registry->n == MODEL_REGISTRY_MAX)
		return err_set(err, STATUS_BUSY, "There are %d models already.", MODEL_REGISTRY_MAX);
	registry->current = registry->n;
	registry->models[registry->n++] = model;
	return STATUS_OK;
}

struct model *model_registry_find(const struct model_registry *registry, struct str version)
{
	if (version.n == 0)
		return registry->n > 0 ? registry->models[registry->current] : NULL;
	for (int i = registry->n - 1; i >= 0; i--)
		if (str_eq(str_of(registry->models[i]->version), version))
			return registry->models[i];
	return NULL;
}

enum status model_predict(const struct model *model, const struct model_input *input, struct model_output *output,
			  struct err *err)
{
	if (!(model->accepts & input->kind))
		return err_set(err, STATUS_INVALID, "Model %s does not take this kind of input", model->name);
	enum status status = model->ops->predict(model, input, output, err);
	if (status == STATUS_OK && !isfinite(output->result))
		return err_set(err, STATUS_INVALID, "The result is not a finite number");
	if (status == STATUS_OK && output->result == 0.0)
		output->result = 0.0; /* a database keeps no sign of zero: tell what will be read */
	return status;
}
