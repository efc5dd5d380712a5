/* Rows are read one by one, gathered, and the candidate is asked for all that can be read at once, because ensembles of
 * trees are faster so. A row that it refuses all the same is taken out and the others are asked again. */
#include "model/rescore.h"

#include "model/instance.h"

#include <stdio.h>
#include <stdlib.h>

struct rescore {
	const struct model *to;
	int *places; /* of each input of the candidate among those that are stored, -1: none; NULL: the same */
	int stored_n;
};

static bool has_names(const struct model *model)
{
	return model && model->manifest && model->accepts & MODEL_VECTOR;
}

static bool same_order(const struct manifest *from, const struct manifest *to)
{
	if (from->inputs_n != to->inputs_n)
		return false;
	for (int i = 0; i < to->inputs_n; i++)
		if (!str_eq(from->inputs[i].name, to->inputs[i].name))
			return false;
	return true;
}

struct rescore *rescore_new(const struct model *from, const struct model *to)
{
	struct rescore *rescore = calloc(1, sizeof(*rescore));

	if (!rescore)
		return NULL;
	rescore->to = to;
	if (!has_names(from) || !has_names(to) || same_order(from->manifest, to->manifest))
		return rescore;
	rescore->stored_n = from->manifest->inputs_n;
	rescore->places = calloc((size_t)to->manifest->inputs_n, sizeof(int));
	if (!rescore->places) {
		free(rescore);
		return NULL;
	}
	bool any = false;
	for (int i = 0; i < to->manifest->inputs_n; i++) {
		rescore->places[i] = manifest_input_index(from->manifest, to->manifest->inputs[i].name);
		any |= rescore->places[i] >= 0;
	}
	if (!any && from->manifest->inputs_n == to->manifest->inputs_n) {
		free(rescore->places);
		rescore->places = NULL;
	}
	return rescore;
}

void rescore_free(struct rescore *rescore)
{
	if (!rescore)
		return;
	free(rescore->places);
	free(rescore);
}

/* --- one row --- */

/* The stored list in the candidate's order. False: no memory. */
static bool reorder(const struct rescore *rescore, struct json_value *list, struct arena *arena)
{
	struct json_value *items = arena_zalloc(arena, (size_t)rescore->stored_n * sizeof(*items));
	struct json_iter iter;
	struct buf text;

	if (!items)
		return false;
	json_iter_init(&iter, *list);
	for (int i = 0; i < rescore->stored_n && json_next(&iter, NULL, &items[i]); i++)
		;
	buf_init(&text, arena);
	buf_char(&text, '[');
	for (int i = 0; i < rescore->to->manifest->inputs_n; i++) {
		int place = rescore->places[i];
		if (i > 0)
			buf_char(&text, ',');
		buf_str(&text, place >= 0 && items[place].text.n > 0 ? items[place].text : STR("null"));
	}
	buf_char(&text, ']');
	list->text = buf_view(&text);
	return !text.failed;
}

static enum status refuse(struct rescore_row *row, struct str field, const char *why, struct arena *arena)
{
	char text[256];

	row->status = STATUS_INVALID;
	if (field.n > 0)
		snprintf(text, sizeof(text), "%.*s: %s", (int)(field.n < 80 ? field.n : 80), field.p, why);
	else
		snprintf(text, sizeof(text), "%s", why);
	row->why = arena_dup(arena, str_of(text));
	return row->why.p ? STATUS_OK : STATUS_NO_MEMORY;
}

/* The values of all rows lie one after the other; those of a model of any width have a place of their own. */
struct inputs {
	double *values;
	struct str *texts;
	size_t widths[RESCORE_ROWS_MAX]; /* of models without a fixed one */
	double *wide[RESCORE_ROWS_MAX];
};

static enum status read_row(const struct rescore *rescore, struct inputs *inputs, size_t i, struct rescore_row *row,
			    struct arena *arena)
{
	const struct model *to = rescore->to;
	size_t width = (size_t)to->inputs_n;
	double *values = inputs->values + i * width;
	struct instance_fault fault = {0};
	struct instance_flags flags;
	struct json_fault json_fault;
	struct json_value root;

	row->status = STATUS_OK;
	if (!json_check(row->features, JSON_MAX_DEPTH, &root, &json_fault))
		return refuse(row, (struct str){0}, "What is stored is not JSON", arena);
	if (rescore->places && root.type == JSON_ARRAY && !reorder(rescore, &root, arena))
		return STATUS_NO_MEMORY;
	if (width == 0 && to->accepts & MODEL_VECTOR) {
		width = row->features.n / 2 + 1;
		values = arena_alloc(arena, width * sizeof(double));
		if (!values)
			return STATUS_NO_MEMORY;
	}
	enum status status = instance_read(to, root, values, &width, &inputs->texts[i], &flags, arena, &fault);
	inputs->widths[i] = width;
	inputs->wide[i] = values;
	return status == STATUS_INVALID ? refuse(row, fault.field, fault.msg, arena) : status;
}

/* --- all rows --- */

/* The rows that are asked, moved to the front of the inputs; `asked` gets their places. */
static size_t gather(const struct rescore *rescore, struct inputs *inputs, const struct rescore_row *rows, size_t n,
		     size_t *asked)
{
	size_t width = (size_t)rescore->to->inputs_n, used = 0;

	for (size_t i = 0; i < n; i++) {
		if (rows[i].status != STATUS_OK)
			continue;
		if (used < i && width > 0)
			memcpy(inputs->values + used * width, inputs->values + i * width, width * sizeof(double));
		inputs->texts[used] = inputs->texts[i];
		inputs->widths[used] = inputs->widths[i];
		inputs->wide[used] = inputs->wide[i];
		asked[used++] = i;
	}
	return used;
}

/* Takes the entry `at` out of n. */
static void take_out(const struct rescore *rescore, struct inputs *inputs, size_t *asked, size_t n, size_t at)
{
	size_t width = (size_t)rescore->to->inputs_n, behind = n - at - 1;

	memmove(asked + at, asked + at + 1, behind * sizeof(*asked));
	memmove(inputs->texts + at, inputs->texts + at + 1, behind * sizeof(struct str));
	memmove(inputs->values + at * width, inputs->values + (at + 1) * width, behind * width * sizeof(double));
}

/* Asks for n inputs from place `first` on: all of the same width. */
static enum status ask(const struct model *to, const struct inputs *inputs, size_t n, struct rescore_row *rows,
		       const size_t *asked, size_t *bad, struct arena *arena, struct err *err)
{
	size_t classes = (size_t)to->classes_n;
	bool any_width = to->inputs_n == 0 && to->accepts & MODEL_VECTOR;
	struct model_batch batch = {
		.n = n,
		.values = any_width ? inputs->wide[0] : inputs->values,
		.width = any_width ? inputs->widths[0] : (size_t)to->inputs_n,
		.texts = to->accepts & MODEL_TEXT ? inputs->texts : NULL,
		.results = arena_alloc(arena, n * sizeof(double)),
		.labels = classes ? arena_alloc(arena, n * sizeof(int)) : NULL,
		.probabilities = classes ? arena_alloc(arena, n * classes * sizeof(double)) : NULL,
		.arena = arena,
	};

	*bad = 0;
	if (!batch.results || (classes && (!batch.labels || !batch.probabilities)))
		return STATUS_NO_MEMORY;
	enum status status = model_predict(to, &batch, bad, err);
	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		struct rescore_row *row = &rows[asked[i]];
		row->result = batch.results[i];
		row->label = classes ? batch.labels[i] : -1;
		row->probabilities = classes ? batch.probabilities + i * classes : NULL;
	}
	return status;
}

/* Models that take rows of any width are asked one by one. */
static enum status ask_each(const struct model *to, const struct inputs *inputs, size_t n, struct rescore_row *rows,
			    const size_t *asked, struct arena *arena)
{
	enum status status = STATUS_OK;
	struct err why = {0};
	size_t bad;

	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		struct inputs one = {.widths = {inputs->widths[i]}, .wide = {inputs->wide[i]}};
		status = ask(to, &one, 1, rows, &asked[i], &bad, arena, &why);
		if (status == STATUS_INVALID)
			status = refuse(&rows[asked[i]], (struct str){0}, why.text, arena);
	}
	return status;
}

static enum status ask_all(const struct rescore *rescore, struct inputs *inputs, size_t n, struct rescore_row *rows,
			   size_t *asked, struct arena *arena)
{
	while (n > 0) {
		struct err why = {0};
		size_t bad;
		enum status status = ask(rescore->to, inputs, n, rows, asked, &bad, arena, &why);
		if (status != STATUS_INVALID || bad >= n)
			return status;
		status = refuse(&rows[asked[bad]], (struct str){0}, why.text, arena);
		if (status != STATUS_OK)
			return status;
		take_out(rescore, inputs, asked, n--, bad);
	}
	return STATUS_OK;
}

enum status rescore_run(const struct rescore *rescore, struct rescore_row *rows, size_t n, struct arena *arena,
			struct err *err)
{
	const struct model *to = rescore->to;
	struct inputs *inputs = arena_zalloc(arena, sizeof(*inputs));
	size_t *asked = arena_alloc(arena, n * sizeof(*asked));
	enum status status = STATUS_OK;

	if (inputs) {
		inputs->values = arena_alloc(arena, n * (size_t)to->inputs_n * sizeof(double) + 1);
		inputs->texts = arena_zalloc(arena, n * sizeof(struct str));
	}
	if (!inputs || !asked || !inputs->values || !inputs->texts)
		status = STATUS_NO_MEMORY;
	for (size_t i = 0; status == STATUS_OK && i < n; i++)
		status = read_row(rescore, inputs, i, &rows[i], arena);
	if (status == STATUS_OK) {
		size_t used = gather(rescore, inputs, rows, n, asked);
		status = to->inputs_n == 0 && to->accepts & MODEL_VECTOR
				 ? ask_each(to, inputs, used, rows, asked, arena)
				 : ask_all(rescore, inputs, used, rows, asked, arena);
	}
	return status == STATUS_NO_MEMORY ? err_set(err, status, "no memory for %zu inputs", n) : status;
}
