/* The model step: inputs of up to SCORER_ROWS records are gathered, the model is asked once, and its answers are
 * written into the records. An input that the model refuses costs its record alone: the batch it was in is then asked
 * one by one. */
#include "pipeline/apply_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/manifest.h"

enum {
	LABEL_BYTES = 1024, /* of a class's name in a record */
	WHY_BYTES = 240,
	SCRATCH_BYTES = 64 << 20,
};

struct scorer {
	const struct pipeline *pipeline;
	struct model_set *models;
	const struct model *model;
	struct arena arena, scratch;
	size_t width;
	double *values;
	struct str *texts;
	double *results, *probabilities;
	int *labels;
	bool *refused;
	char (*why)[WHY_BYTES];
	struct str into, into_probability; /* with their quotes and colon */
	struct str *classes;               /* with their quotes */
	size_t room;
};

/* The version named, or the one that gets most of the route. */
static const struct model *find_model(const struct pipeline *pipeline, const struct model_set *models)
{
	const struct model_version *version = NULL;

	if (pipeline->model_version.n > 0) {
		version = model_set_find(models, pipeline->model, pipeline->model_version);
	} else {
		const struct model_route *route = model_set_find_route(models, pipeline->model);
		version = route && route->n > 0 ? route->shares[0].version : NULL;
	}
	return version ? version->model : NULL;
}

static enum status check_inputs(const struct pipeline *p, const struct model *model, struct err *err)
{
	if (model->accepts & MODEL_VECTOR) {
		if (model->inputs_n == 0 || model->inputs_n == p->inputs_n)
			return STATUS_OK;
		return err_set(err, STATUS_INVALID,
			       "model.inputs: model %s %s takes %d inputs, the pipeline gives it %d", model->name,
			       model->version, model->inputs_n, p->inputs_n);
	}
	if (p->inputs_n == 1)
		return STATUS_OK;
	return err_set(err, STATUS_INVALID, "model.inputs: model %s %s takes one text, the pipeline gives it %d fields",
		       model->name, model->version, p->inputs_n);
}

static struct str encode(struct arena *arena, struct str text, const char *behind)
{
	struct buf out;

	buf_init(&out, arena);
	json_put_string(&out, text_cut(text, LABEL_BYTES));
	buf_str(&out, str_of(behind));
	return out.failed ? (struct str){0} : buf_view(&out);
}

static bool make_texts(struct scorer *s)
{
	const struct pipeline *p = s->pipeline;
	size_t longest = 0;
	int classes = s->model->classes_n;

	s->into = encode(&s->arena, p->into, ":");
	s->into_probability = encode(&s->arena, p->into_probability, ":");
	s->classes = arena_zalloc(&s->arena, ((size_t)classes + 1) * sizeof(struct str));
	if (!s->into.p || !s->into_probability.p || !s->classes)
		return false;
	for (int i = 0; i < classes; i++) {
		s->classes[i] = encode(&s->arena, model_class(s->model, i), "");
		if (!s->classes[i].p)
			return false;
		longest = s->classes[i].n > longest ? s->classes[i].n : longest;
	}
	s->room = s->into.n + s->into_probability.n + longest + 2 * (size_t)VALUE_NUMBER_BYTES + 4;
	return true;
}

static bool make_room(struct scorer *s)
{
	const size_t n = SCORER_ROWS;
	size_t classes = (size_t)s->model->classes_n;

	s->values = arena_alloc(&s->arena, n * (s->width + 1) * sizeof(double));
	s->texts = arena_zalloc(&s->arena, n * sizeof(struct str));
	s->results = arena_alloc(&s->arena, n * sizeof(double));
	s->labels = arena_zalloc(&s->arena, n * sizeof(int));
	s->probabilities = arena_alloc(&s->arena, (n * classes + 1) * sizeof(double));
	s->refused = arena_zalloc(&s->arena, n * sizeof(bool));
	s->why = arena_alloc(&s->arena, n * sizeof(*s->why));
	return s->values && s->texts && s->results && s->labels && s->probabilities && s->refused && s->why;
}

enum status scorer_new(struct scorer **out, const struct pipeline *pipeline, struct model_set *models, struct err *err)
{
	*out = NULL;
	if (pipeline->model.n == 0)
		return STATUS_OK;
	const struct model *model = models ? find_model(pipeline, models) : NULL;
	if (!model)
		return err_set(err, STATUS_UNAVAILABLE, "Model %.*s%s%.*s is not loaded", STR_ARG(pipeline->model),
			       pipeline->model_version.n > 0 ? " " : "", STR_ARG(pipeline->model_version));
	enum status status = check_inputs(pipeline, model, err);
	if (status != STATUS_OK)
		return status;
	struct scorer *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory");
	s->pipeline = pipeline;
	s->model = model;
	s->models = model_set_hold(models);
	s->width = model->accepts & MODEL_VECTOR ? (size_t)pipeline->inputs_n : 0;
	arena_init(&s->arena, SCRATCH_BYTES);
	arena_init(&s->scratch, SCRATCH_BYTES);
	if (!make_texts(s) || !make_room(s)) {
		scorer_free(s);
		return err_set(err, STATUS_NO_MEMORY, "Out of memory");
	}
	*out = s;
	return STATUS_OK;
}

void scorer_free(struct scorer *scorer)
{
	if (!scorer)
		return;
	arena_release(&scorer->arena);
	arena_release(&scorer->scratch);
	model_set_drop(scorer->models);
	free(scorer);
}

static enum status refuse(const struct scorer *s, int i, struct step_fault *fault, const char *wanted)
{
	struct str name = text_cut(s->pipeline->fields[s->pipeline->inputs[i]].name, 80);

	fault->refusal = REFUSAL_MODEL;
	snprintf(fault->text, sizeof(fault->text), "%.*s: model %s %s %s", STR_ARG(name), s->model->name,
		 s->model->version, wanted);
	return STATUS_INVALID;
}

static const struct manifest_input *input_of(const struct scorer *s, int i)
{
	return s->model->manifest ? &s->model->manifest->inputs[i] : NULL;
}

static bool is_outside(const struct manifest_input *input, double number)
{
	return input && input->outside == MANIFEST_REFUSE && (number < input->minimum || number > input->maximum);
}

static enum status refuse_outside(const struct scorer *s, int i, const struct manifest_input *input,
				  struct step_fault *fault)
{
	bool text = input->type == MANIFEST_TEXT;
	char wanted[120];

	snprintf(wanted, sizeof(wanted), "takes %s from %.15g to %.15g%s", text ? "texts" : "values", input->minimum,
		 input->maximum, text ? " characters long" : "");
	return refuse(s, i, fault, wanted);
}

static enum status take_text(struct scorer *s, size_t row, int i, const struct pipeline_value *value,
			     struct step_fault *fault)
{
	const struct manifest_input *input = input_of(s, i);

	if (value->kind == VALUE_TEXT && is_outside(input, (double)text_characters(value->text)))
		return refuse_outside(s, i, input, fault);
	if (value->kind == VALUE_TEXT) {
		s->texts[row] = value->text;
		return STATUS_OK;
	}
	if (value->kind != VALUE_MISSING && value->kind != VALUE_NULL)
		return refuse(s, i, fault, "takes a text");
	if (input && input->missing == MANIFEST_REFUSE)
		return refuse(s, i, fault, "needs a text");
	s->texts[row] = STR("");
	return STATUS_OK;
}

static enum status take_category(const struct scorer *s, int i, const struct manifest_input *input,
				 const struct pipeline_value *value, double *out, struct step_fault *fault)
{
	char room[VALUE_NUMBER_BYTES];
	struct str name = value->text;

	if (value->kind == VALUE_NUMBER && value->form == VALUE_COMPUTED)
		name = (struct str){room, number_put(room, value->number)};
	else if (value->kind == VALUE_BOOL)
		name = value->number != 0 ? STR("true") : STR("false");
	int place = names_find(&input->category_places, name);
	*out = place;
	if (place < 0 && input->outside == MANIFEST_REFUSE)
		return refuse(s, i, fault, "does not know this category");
	return STATUS_OK;
}

enum status scorer_take(struct scorer *s, size_t row, int i, const struct pipeline_value *value,
			struct step_fault *fault)
{
	const struct manifest_input *input = input_of(s, i);

	if (s->width == 0)
		return take_text(s, row, i, value, fault);
	double *out = &s->values[row * s->width + (size_t)i];
	if (value->kind == VALUE_MISSING || value->kind == VALUE_NULL) {
		*out = (double)NAN;
		return input && input->missing != MANIFEST_REFUSE ? STATUS_OK : refuse(s, i, fault, "needs a value");
	}
	if (input && input->type == MANIFEST_CATEGORY)
		return take_category(s, i, input, value, out, fault);
	if ((value->kind != VALUE_NUMBER && value->kind != VALUE_BOOL) || !isfinite(value->number))
		return refuse(s, i, fault, "takes a number");
	*out = value->number;
	if (input && input->type == MANIFEST_INTEGER && *out != floor(*out))
		return refuse(s, i, fault, "takes a whole number");
	return is_outside(input, *out) ? refuse_outside(s, i, input, fault) : STATUS_OK;
}

static enum status ask(struct scorer *s, size_t from, size_t n, struct err *err)
{
	size_t bad = 0, classes = (size_t)s->model->classes_n;
	struct model_batch batch = {
		.n = n,
		.values = s->width ? s->values + from * s->width : NULL,
		.width = s->width,
		.texts = s->width ? NULL : s->texts + from,
		.results = s->results + from,
		.labels = classes ? s->labels + from : NULL,
		.probabilities = classes ? s->probabilities + from * classes : NULL,
		.arena = &s->scratch,
	};

	enum status status = model_predict(s->model, &batch, &bad, err);
	arena_reset(&s->scratch);
	return status;
}

enum status scorer_run(struct scorer *s, size_t n, struct err *err)
{
	struct err own = {0};

	memset(s->refused, 0, n * sizeof(bool));
	enum status status = n > 0 ? ask(s, 0, n, &own) : STATUS_OK;
	if (status == STATUS_OK)
		return STATUS_OK;
	for (size_t i = 0; i < n; i++) {
		status = ask(s, i, 1, &own);
		if (status != STATUS_OK && status != STATUS_INVALID)
			return err_set(err, status, "%s", own.text);
		s->refused[i] = status == STATUS_INVALID;
		if (s->refused[i])
			snprintf(s->why[i], WHY_BYTES, "%s", own.text);
	}
	return STATUS_OK;
}

size_t scorer_room(const struct scorer *scorer)
{
	return scorer->room;
}

static char *put(char *out, struct str s)
{
	memcpy(out, s.p, s.n);
	return out + s.n;
}

char *scorer_put(const struct scorer *s, size_t row, bool first, char *out, const char **why)
{
	size_t classes = (size_t)s->model->classes_n;

	if (s->refused[row]) {
		*why = s->why[row];
		return NULL;
	}
	if (!first)
		*out++ = ',';
	out = put(out, s->into);
	if (classes == 0)
		return out + number_put(out, s->results[row]);
	int label = s->labels[row];
	if (label < 0 || (size_t)label >= classes)
		label = 0;
	out = put(out, s->classes[label]);
	*out++ = ',';
	out = put(out, s->into_probability);
	return out + number_put(out, s->probabilities[row * classes + (size_t)label]);
}
