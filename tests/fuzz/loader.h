/* What the fuzz targets of models' loaders share: the first byte of an input chooses the manifest, the rest is the
 * model's file. A file that loads answers rows, finite or with a sentence; one that does not is told why and leaves
 * nothing behind. */
#ifndef APPCORE_TESTS_FUZZ_LOADER_H
#define APPCORE_TESTS_FUZZ_LOADER_H

#include "fuzz.h"

#include "model/kinds.h"

#include <math.h>
#include <string.h>

#define LOADER_MANIFEST(kind, inputs, output, more)                                                                    \
	"{\"appcore\":1,\"kind\":\"" kind "\",\"file\":\"m\",\"hash\":"                                                \
	"\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"inputs\":" inputs                      \
	",\"output\":" output more "}"
#define LOADER_TWO "[{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"b\",\"type\":\"number\"}]"
#define LOADER_TWO_MISSING                                                                                             \
	"[{\"name\":\"a\",\"type\":\"number\",\"missing\":\"allow\"},"                                                 \
	"{\"name\":\"b\",\"type\":\"number\",\"missing\":\"allow\"}]"
#define LOADER_STEPS                                                                                                   \
	",\"preprocessing\":[{\"step\":\"impute\",\"inputs\":[\"a\",\"b\"],\"values\":[1,2]},"                         \
	"{\"step\":\"standardise\",\"inputs\":[\"b\"],\"means\":[1],\"scales\":[0.5]}]"
#define LOADER_REGRESSION "{\"type\":\"regression\"}"
#define LOADER_BINARY     "{\"type\":\"binary\",\"classes\":[\"x\",\"y\"]}"
#define LOADER_THREE      "{\"type\":\"multiclass\",\"classes\":[\"x\",\"y\",\"z\"]}"

enum { LOADER_ROWS = 4, LOADER_CLASSES = 3 };

static inline void loader_ask(const struct model *model)
{
	static const double rows[LOADER_ROWS * 2] = {0, 0, 1e300, -1e300, 0.1, 5e-324, -7, 3};
	double missing[LOADER_ROWS * 2], results[LOADER_ROWS], probabilities[LOADER_ROWS * LOADER_CLASSES];
	int labels[LOADER_ROWS];
	struct arena arena;
	struct err err = {0};
	size_t bad;

	memcpy(missing, rows, sizeof(missing));
	if (model->manifest->inputs[0].missing != MANIFEST_REFUSE)
		missing[2] = missing[5] = (double)NAN;
	arena_init(&arena, (size_t)64 << 20);
	struct model_batch batch = {
		.n = LOADER_ROWS,
		.values = missing,
		.width = 2,
		.results = results,
		.labels = model->classes_n ? labels : NULL,
		.probabilities = model->classes_n ? probabilities : NULL,
		.arena = &arena,
	};
	if (model_predict(model, &batch, &bad, &err) == STATUS_OK)
		for (int i = 0; i < LOADER_ROWS; i++) {
			demand(isfinite(results[i]), "results are finite");
			demand(!model->classes_n || (labels[i] >= 0 && labels[i] < model->classes_n),
			       "labels are classes");
		}
	else
		demand(err.text[0] && bad < LOADER_ROWS, "a refusal says why and where");
	arena_release(&arena);
}

static inline void loader_run(kind_load *load, const char *const *manifests, size_t n, const uint8_t *data, size_t size)
{
	struct manifest *manifest = NULL;
	struct model *model = model_new();
	struct err err = {0};

	if (size == 0 || !model) {
		model_drop(model);
		return;
	}
	demand(manifest_parse(&manifest, str_of(manifests[data[0] % n]), &err) == STATUS_OK, "the manifest is good");
	model->manifest = manifest;
	model->accepts = MODEL_VECTOR;
	model->inputs_n = manifest->inputs_n;
	model->classes_n = manifest->classes_n;
	enum status status = load(model, (struct str){(const char *)data + 1, size - 1}, &err);
	if (status == STATUS_OK)
		loader_ask(model);
	else
		demand(err.status == status && err.text[0] && !model->state, "a refusal says why and leaves nothing");
	model_drop(model);
}

#endif
