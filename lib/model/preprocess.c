/* Steps become a list of operations on single inputs, so that a row costs one pass over them. Numbers are worked on as
 * the library does it: (x - mean) / scale, two roundings. */
#include "model/preprocess.h"

#include <math.h>
#include <stdlib.h>

struct operation {
	bool impute; /* else standardise */
	int column;  /* where the input's first column is */
	double value, scale;
};

struct input_columns {
	int first;  /* column */
	int onehot; /* columns of an input that is one-hot encoded; 0: the input is the column */
	bool may_miss;
};

struct preprocess {
	int inputs_n, columns_n, operations_n;
	bool is_none;
	struct input_columns *inputs;
	struct operation *operations;
};

static size_t count_operations(const struct manifest *manifest)
{
	size_t n = 0;

	for (int i = 0; i < manifest->steps_n; i++)
		if (manifest->steps[i].kind != MANIFEST_ONE_HOT)
			n += (size_t)manifest->steps[i].n;
	return n;
}

/* Where each input's columns are. */
static void lay_out(struct preprocess *p, const struct manifest *manifest)
{
	int column = 0;

	for (int i = 0; i < manifest->steps_n; i++)
		if (manifest->steps[i].kind == MANIFEST_ONE_HOT)
			p->inputs[manifest->steps[i].inputs[0]].onehot =
				manifest->inputs[manifest->steps[i].inputs[0]].categories_n;
	for (int i = 0; i < p->inputs_n; i++) {
		p->inputs[i].first = column;
		p->inputs[i].may_miss = manifest->inputs[i].missing != MANIFEST_REFUSE;
		column += p->inputs[i].onehot > 0 ? p->inputs[i].onehot : 1;
	}
	p->columns_n = column;
}

/* An input's number stands in its first column until it is encoded, which is what steps end with. */
static void add_operations(struct preprocess *p, const struct manifest_step *step)
{
	for (int i = 0; step->kind != MANIFEST_STANDARDISE && i < step->n; i++)
		p->inputs[step->inputs[i]].may_miss = false;
	for (int i = 0; step->kind != MANIFEST_ONE_HOT && i < step->n; i++)
		p->operations[p->operations_n++] = (struct operation){
			.impute = step->kind == MANIFEST_IMPUTE,
			.column = p->inputs[step->inputs[i]].first,
			.value = step->values[i],
			.scale = step->scales ? step->scales[i] : 1,
		};
}

enum status preprocess_new(struct preprocess **out, const struct manifest *manifest, struct err *err)
{
	struct preprocess *p = calloc(1, sizeof(*p));

	*out = p;
	if (p) {
		p->inputs = calloc((size_t)manifest->inputs_n + 1, sizeof(*p->inputs));
		p->operations = calloc(count_operations(manifest) + 1, sizeof(*p->operations));
	}
	if (!p || !p->inputs || !p->operations) {
		preprocess_free(p);
		*out = NULL;
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	}
	p->inputs_n = manifest->inputs_n;
	p->is_none = manifest->steps_n == 0;
	lay_out(p, manifest);
	for (int i = 0; i < manifest->steps_n; i++)
		add_operations(p, &manifest->steps[i]);
	return STATUS_OK;
}

void preprocess_free(struct preprocess *p)
{
	if (!p)
		return;
	free(p->inputs);
	free(p->operations);
	free(p);
}

int preprocess_columns(const struct preprocess *p)
{
	return p->columns_n;
}

size_t preprocess_bytes(const struct preprocess *p)
{
	return sizeof(*p) + (size_t)p->inputs_n * sizeof(*p->inputs) + (size_t)p->operations_n * sizeof(*p->operations);
}

bool preprocess_is_none(const struct preprocess *p)
{
	return p->is_none;
}

void preprocess_row(const struct preprocess *p, const double *row, double *columns)
{
	for (int i = 0; i < p->inputs_n; i++)
		columns[p->inputs[i].first] = row[i];
	for (int i = 0; i < p->operations_n; i++) {
		const struct operation *operation = &p->operations[i];
		double *x = &columns[operation->column];
		if (!operation->impute)
			*x = (*x - operation->value) / operation->scale;
		else if (isnan(*x))
			*x = operation->value;
	}
	for (int i = 0; i < p->inputs_n; i++) {
		if (p->inputs[i].onehot == 0)
			continue;
		double *first = &columns[p->inputs[i].first], category = *first;
		memset(first, 0, (size_t)p->inputs[i].onehot * sizeof(*first));
		if (category >= 0 && category < p->inputs[i].onehot)
			first[(int)category] = 1;
	}
}

bool preprocess_may_miss(const struct preprocess *p, int input)
{
	return p->inputs[input].may_miss;
}
