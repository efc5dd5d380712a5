/* XGBoost's model files from strangers. The first byte picks the manifest's output, the rest is the file. What is
 * loaded must predict, and the same for a row alone and in a batch. */
#include "fuzz.h"

#include "base/str.h"
#include "model/kinds.h"

#include <math.h>
#include <string.h>

enum { FEATURES = 2, CLASSES = 3, ROWS = 9 };

static const struct manifest_input INPUTS[FEATURES] = {
	{.name = STR_INIT("f0"), .type = MANIFEST_NUMBER, .missing = MANIFEST_ALLOW},
	{.name = STR_INIT("f1"), .type = MANIFEST_NUMBER, .missing = MANIFEST_ALLOW},
};
static const struct str NAMES[CLASSES] = {STR_INIT("a"), STR_INIT("b"), STR_INIT("c")};

struct answers {
	double results[ROWS], probabilities[ROWS * CLASSES];
	int labels[ROWS];
};

static void predict(const struct model *model, const double *rows, size_t n, struct answers *answers)
{
	struct arena arena;
	struct err err;
	size_t bad = 0;
	struct model_batch batch = {
		.n = n,
		.values = rows,
		.width = FEATURES,
		.results = answers->results,
		.labels = model->classes_n > 0 ? answers->labels : NULL,
		.probabilities = model->classes_n > 0 ? answers->probabilities : NULL,
		.arena = &arena,
	};

	arena_init(&arena, 1 << 20);
	enum status status = model->ops->predict(model, &batch, &bad, &err);
	demand(status == STATUS_OK, "what was loaded predicts");
	arena_release(&arena);
}

static void try_rows(const struct model *model)
{
	static const double rows[ROWS][FEATURES] = {
		{0, 0},        {(double)NAN, 1}, {1, (double)NAN}, {(double)NAN, (double)NAN}, {1e300, -1e300}, {2, 3},
		{-0.0, 1e-45}, {-5, 100},        {0.5, 0.25},
	};
	struct answers together, alone;

	memset(&together, 0, sizeof(together));
	predict(model, rows[0], ROWS, &together);
	for (size_t i = 0; i < ROWS; i++) {
		memset(&alone, 0, sizeof(alone));
		predict(model, rows[i], 1, &alone);
		demand(memcmp(&alone.results[0], &together.results[i], sizeof(double)) == 0,
		       "a row alone is as in a batch");
		demand(alone.labels[0] == together.labels[i], "and so is its label");
		demand(alone.labels[0] >= 0 && alone.labels[0] < CLASSES, "which is there");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest manifest = {.inputs = INPUTS, .inputs_n = FEATURES, .classes = NAMES};
	struct model model = {.name = "fuzz", .version = "1", .manifest = &manifest, .accepts = MODEL_VECTOR};
	struct err err = {0};

	if (size == 0)
		return 0;
	manifest.output = (enum manifest_output)(data[0] % 5);
	manifest.classes_n = manifest.output == MANIFEST_BINARY ? 2 : manifest.output == MANIFEST_MULTICLASS ? 3 : 0;
	model.classes_n = manifest.classes_n;
	model.inputs_n = FEATURES;
	if (xgboost_load(&model, (struct str){(const char *)data + 1, size - 1}, &err) != STATUS_OK) {
		demand(strlen(err.text) > 0 && str_is_utf8(str_of(err.text)), "a refusal is a sentence");
		demand(model.state == NULL && model.ops == NULL, "and leaves nothing behind");
		return 0;
	}
	demand(model.bytes > 0, "a model takes memory");
	try_rows(&model);
	model.ops->release(&model);
	return 0;
}
