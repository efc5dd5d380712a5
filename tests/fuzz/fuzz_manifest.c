/* A manifest, and behind a NUL an instance of its model: what is accepted keeps its promises, what is not is told why;
 * an instance that is stored reads back as the same. */
#include "fuzz.h"

#include "model/instance.h"

#include <math.h>
#include <string.h>

static void check_input(const struct manifest_input *input)
{
	double sum = 0;

	demand(input->name.n > 0 && input->minimum <= input->maximum, "an input has a name and a range");
	demand((input->type == MANIFEST_CATEGORY) == (input->categories_n > 0), "categories have a list");
	for (int i = 0; i < input->categories_n; i++)
		demand(names_find(&input->category_places, input->categories[i]) == i, "categories are found");
	demand(input->bins <= MANIFEST_BINS_MAX, "bins are bounded");
	for (int i = 0; i < input->bins; i++)
		sum += input->shares[i];
	demand(input->bins == 0 || fabs(sum - 1) <= 1e-6, "shares sum to 1");
	for (int i = 1; input->edges && i < input->bins - 1; i++)
		demand(input->edges[i] > input->edges[i - 1], "edges rise");
}

static void check(const struct manifest *manifest)
{
	demand(manifest->inputs_n >= 1 && manifest->inputs_n <= MANIFEST_INPUTS_MAX, "inputs are bounded");
	demand(manifest->columns >= manifest->inputs_n, "every input has a column");
	for (int i = 0; i < manifest->inputs_n; i++) {
		check_input(&manifest->inputs[i]);
		demand(manifest_input_index(manifest, manifest->inputs[i].name) == i, "inputs are found");
	}
	for (int i = 0; i < manifest->steps_n; i++)
		for (int k = 0; k < manifest->steps[i].n; k++) {
			demand(manifest->steps[i].inputs[k] >= 0 && manifest->steps[i].inputs[k] < manifest->inputs_n,
			       "steps are of inputs");
			demand(!manifest->steps[i].scales || manifest->steps[i].scales[k] != 0, "scales are not 0");
		}
	demand(!memchr(manifest->file.p, '/', manifest->file.n) && manifest->file.n > 0, "a file in the folder");
	demand(strspn(manifest->file_hash, "0123456789abcdef") == 64, "a hash");
	demand(manifest->output != MANIFEST_BINARY || manifest->classes_n == 2, "two classes are two");
}

struct instance {
	double *row;
	size_t width;
	struct str text;
};

static bool read_instance(const struct model *model, struct str json, struct instance *out, struct arena *arena)
{
	struct json_value value;
	struct json_fault why;
	struct instance_flags flags = {0};
	struct instance_fault fault = {0};

	if (!json_check(json, JSON_MAX_DEPTH, &value, &why))
		return false;
	out->width = (size_t)model->manifest->inputs_n;
	out->row = arena_alloc(arena, out->width * sizeof(double));
	demand(out->row != NULL, "there is memory");
	enum status status = instance_read(model, value, out->row, &out->width, &out->text, &flags, arena, &fault);
	demand(status == STATUS_OK || (status == STATUS_INVALID && fault.type && fault.msg[0]), "a refusal says why");
	for (int i = 0; status == STATUS_OK && i < flags.n && i < INSTANCE_FLAGS_MAX; i++)
		demand(flags.inputs[i] >= 0 && flags.inputs[i] < model->manifest->inputs_n, "flags are of inputs");
	for (size_t i = 0; status == STATUS_OK && i < out->width; i++)
		demand(!isinf(out->row[i]), "no infinities");
	return status == STATUS_OK;
}

static void try_instance(const struct model *model, struct str json)
{
	struct arena arena;
	struct buf first, second;
	struct instance instance = {0}, again = {0};

	arena_init(&arena, (size_t)64 << 20);
	buf_init_heap(&first);
	buf_init_heap(&second);
	if (read_instance(model, json, &instance, &arena)) {
		instance_put(model, instance.row, instance.width, instance.text, &first);
		demand(read_instance(model, buf_view(&first), &again, &arena), "what is stored can be read");
		instance_put(model, again.row, again.width, again.text, &second);
		demand(str_eq(buf_view(&first), buf_view(&second)), "what is stored reads back as the same");
	}
	buf_release(&first);
	buf_release(&second);
	arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest *manifest = NULL;
	struct err err = {0};
	struct str rest = {(const char *)data, size};
	struct str text = str_cut(&rest, '\0');
	struct model *model = model_new();

	demand(model != NULL, "there is memory");
	enum status status = manifest_parse(&manifest, text, &err);
	if (status == STATUS_OK) {
		check(manifest);
		model->manifest = manifest;
		model->accepts = manifest->inputs[0].type == MANIFEST_TEXT ? MODEL_TEXT : MODEL_VECTOR;
		model->inputs_n = manifest->inputs_n;
		if (rest.p)
			try_instance(model, rest);
	} else {
		demand(!manifest && err.status == status && err.text[0], "a refusal says why");
	}
	model_drop(model);
	return 0;
}
