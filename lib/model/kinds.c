/* The table of kinds, and the way from a manifest and a file to a model that has proved itself on its examples. */
#include "model/kinds.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>

#include "base/id.h"
#include "model/instance.h"
#include "model/strict.h"

const struct kind KINDS[] = {
	{.name = "linear", .load = linear_load, .accepts = MODEL_VECTOR},
	{.name = "logistic", .load = logistic_load, .accepts = MODEL_VECTOR},
	{.name = "xgboost", .load = xgboost_load, .accepts = MODEL_VECTOR},
	{.name = "forest", .load = forest_load, .accepts = MODEL_VECTOR},
	{.name = "text", .load = text_load, .accepts = MODEL_TEXT},
};
const int KINDS_N = sizeof(KINDS) / sizeof(KINDS[0]);

static const size_t EXAMPLE_BYTES_MAX = (size_t)64 << 20; /* memory for reading and predicting one example */

const struct kind *kind_find(struct str name)
{
	for (int i = 0; i < KINDS_N; i++)
		if (str_eq(name, str_of(KINDS[i].name)))
			return &KINDS[i];
	return NULL;
}

static enum status check_hash(const struct manifest *manifest, struct str file, struct err *err)
{
	uint8_t hash[32];
	char text[MODEL_HASH_BYTES];

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)file.p, file.n, NULL, 0);
	hex_format(hash, sizeof(hash), text);
	if (strcmp(text, manifest->file_hash) != 0)
		return err_set(err, STATUS_INVALID, "hash: the file %.*s has %s, not what the manifest says",
			       STR_ARG(strict_cut(manifest->file, 60)), text);
	return STATUS_OK;
}

static enum status check_inputs(const struct kind *kind, const struct manifest *manifest, struct err *err)
{
	bool text = manifest->inputs[0].type == MANIFEST_TEXT;

	if (text && !(kind->accepts & MODEL_TEXT))
		return err_set(err, STATUS_INVALID, "inputs[0].type: a model of kind \"%s\" takes no text", kind->name);
	if (!text && !(kind->accepts & MODEL_VECTOR))
		return err_set(err, STATUS_INVALID, "inputs: a model of kind \"%s\" takes one input of type \"text\"",
			       kind->name);
	return STATUS_OK;
}

/* Name, version and what the manifest says about inputs and outputs. */
static enum status introduce(struct model *model, const struct kind *kind, struct str name, struct str version,
			     struct err *err)
{
	const struct manifest *manifest = model->manifest;
	bool text = manifest->inputs[0].type == MANIFEST_TEXT;

	if (!model_name_is_valid(name) || !model_name_is_valid(version))
		return err_set(err, STATUS_INVALID,
			       "Names and versions of models have 1 to %d characters of a-z, A-Z, 0-9, '.', '_', '-'",
			       MODEL_NAME_BYTES - 1);
	snprintf(model->name, sizeof(model->name), "%.*s", STR_ARG(name));
	snprintf(model->version, sizeof(model->version), "%.*s", STR_ARG(version));
	memcpy(model->hash, manifest->hash, sizeof(model->hash));
	model->accepts = text ? MODEL_TEXT : MODEL_VECTOR;
	model->inputs_n = text ? 0 : manifest->inputs_n;
	model->classes_n = manifest->classes_n;
	return check_inputs(kind, manifest, err);
}

static bool is_near(double got, double expected, double tolerance)
{
	return fabs(got - expected) <= tolerance * fmax(1, fabs(expected));
}

struct answer {
	double result;
	int label;
	double *probabilities;
};

static enum status compare(const struct model *model, int i, const struct answer *answer, struct err *err)
{
	const struct manifest_example *example = &model->manifest->examples[i];
	struct str label = model_class(model, answer->label);

	if (!is_near(answer->result, example->result, example->tolerance))
		return err_set(err, STATUS_INVALID, "examples[%d].result: the model says %.17g, the manifest %.17g", i,
			       answer->result, example->result);
	if (example->label.n > 0 && !str_eq(example->label, label))
		return err_set(err, STATUS_INVALID,
			       "examples[%d].label: the model says \"%.*s\", the manifest \"%.*s\"", i,
			       STR_ARG(strict_cut(label, 60)), STR_ARG(strict_cut(example->label, 60)));
	for (int c = 0; example->probabilities && c < model->classes_n; c++)
		if (!is_near(answer->probabilities[c], example->probabilities[c], example->tolerance))
			return err_set(err, STATUS_INVALID,
				       "examples[%d].probabilities[%d]: the model says %.17g, the manifest %.17g", i, c,
				       answer->probabilities[c], example->probabilities[c]);
	return STATUS_OK;
}

static enum status run_example(const struct model *model, int i, struct arena *arena, struct err *err)
{
	size_t width = (size_t)model->manifest->inputs_n, bad;
	double *row = arena_alloc(arena, width * sizeof(double));
	struct answer answer = {.probabilities = arena_zalloc(arena, (size_t)model->classes_n * sizeof(double) + 1)};
	struct str text = {0};
	struct instance_flags flags = {0};
	struct instance_fault fault = {0};
	struct err why = {0};

	if (!row || !answer.probabilities)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	enum status status = instance_read(model, model->manifest->examples[i].input, row, &width, &text, &flags, arena,
					   &fault);
	if (status == STATUS_INVALID)
		return err_set(err, status, "examples[%d].input: %.*s%s%s", i, STR_ARG(strict_cut(fault.field, 60)),
			       fault.field.n > 0 ? ": " : "", fault.msg);
	if (status != STATUS_OK)
		return err_set(err, status, "Out of memory for this model");
	bool is_text = model->accepts & MODEL_TEXT;
	struct model_batch batch = {
		.n = 1,
		.values = is_text ? NULL : row,
		.width = is_text ? 0 : width,
		.texts = is_text ? &text : NULL,
		.results = &answer.result,
		.labels = model->classes_n > 0 ? &answer.label : NULL,
		.probabilities = model->classes_n > 0 ? answer.probabilities : NULL,
		.arena = arena,
	};
	status = model_predict(model, &batch, &bad, &why);
	if (status != STATUS_OK)
		return err_set(err, status, "examples[%d]: %s", i, why.text);
	return compare(model, i, &answer, err);
}

static enum status run_examples(const struct model *model, struct err *err)
{
	struct arena arena;
	enum status status = STATUS_OK;

	arena_init(&arena, EXAMPLE_BYTES_MAX);
	for (int i = 0; status == STATUS_OK && i < model->manifest->examples_n; i++) {
		status = run_example(model, i, &arena, err);
		arena_reset(&arena);
	}
	arena_release(&arena);
	return status;
}

static enum status load(struct model *model, struct str name, struct str version, struct str file, struct err *err)
{
	const struct manifest *manifest = model->manifest;
	const struct kind *kind = kind_find(manifest->kind);

	if (!kind)
		return err_set(err, STATUS_INVALID, "kind: \"%.*s\" is not known",
			       STR_ARG(strict_cut(manifest->kind, 60)));
	enum status status = introduce(model, kind, name, version, err);
	if (status == STATUS_OK)
		status = check_hash(manifest, file, err);
	if (status == STATUS_OK)
		status = kind->load(model, file, err);
	return status == STATUS_OK ? run_examples(model, err) : status;
}

enum status kind_load_model(struct model **out, struct str name, struct str version, struct manifest *manifest,
			    struct str file, struct err *err)
{
	struct model *model = model_new();

	*out = NULL;
	if (!model) {
		manifest_free(manifest);
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	}
	model->manifest = manifest;
	enum status status = load(model, name, version, file, err);
	if (status == STATUS_OK)
		*out = model;
	else
		model_drop(model);
	return status;
}
