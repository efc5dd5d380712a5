/* Small models of the tests: a manifest is put together from its parts, the file's hash included. */
#ifndef APPCORE_TESTS_MODEL_HELPERS_H
#define APPCORE_TESTS_MODEL_HELPERS_H

#include <CUnit/CUnit.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>

#include "base/id.h"
#include "model/instance.h"
#include "model/kinds.h"

enum { HELPER_CLASSES = 8, HELPER_ARENA = 16 << 20 };

/* A manifest's text; parts that are "" are left out. On the heap. */
static inline struct buf helper_manifest(const char *kind, const char *inputs, const char *steps, const char *output,
					 const char *examples, const char *file)
{
	struct buf out;
	uint8_t hash[32];
	char hex[MODEL_HASH_BYTES];

	buf_init_heap(&out);
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)file, strlen(file), NULL, 0);
	hex_format(hash, sizeof(hash), hex);
	buf_fmt(&out, "{\"appcore\":1,\"kind\":\"%s\",\"file\":\"m.json\",\"hash\":\"%s\",\"inputs\":%s,\"output\":%s",
		kind, hex, inputs, output);
	if (*steps)
		buf_fmt(&out, ",\"preprocessing\":%s", steps);
	if (*examples)
		buf_fmt(&out, ",\"examples\":%s", examples);
	buf_char(&out, '}');
	return out;
}

static inline enum status helper_load(struct model **model, const char *kind, const char *inputs, const char *steps,
				      const char *output, const char *examples, const char *file, struct err *err)
{
	struct buf text = helper_manifest(kind, inputs, steps, output, examples, file);
	struct manifest *manifest = NULL;
	enum status status = manifest_parse(&manifest, buf_view(&text), err);

	buf_release(&text);
	*model = NULL;
	if (status == STATUS_OK)
		status = kind_load_model(model, STR("test"), STR("1"), manifest, str_of(file), err);
	return status;
}

static inline struct model *helper_model(const char *kind, const char *inputs, const char *steps, const char *output,
					 const char *examples, const char *file)
{
	struct model *model;
	struct err err = {0};

	if (helper_load(&model, kind, inputs, steps, output, examples, file, &err) != STATUS_OK)
		printf("\n%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(model);
	return model;
}

static inline void helper_refused(const char *kind, const char *inputs, const char *steps, const char *output,
				  const char *examples, const char *file, const char *sentence)
{
	struct model *model;
	struct err err = {0};

	CU_ASSERT_EQUAL(helper_load(&model, kind, inputs, steps, output, examples, file, &err), STATUS_INVALID);
	if (strcmp(err.text, sentence) != 0)
		printf("\n%s\ninstead of\n%s\n", err.text, sentence);
	CU_ASSERT_STRING_EQUAL(err.text, sentence);
	CU_ASSERT_PTR_NULL(model);
	model_drop(model);
}

struct helper_answer {
	enum status status;
	double result; /* NaN: there is none */
	int label;
	double probabilities[HELPER_CLASSES];
	struct instance_flags flags;
	struct instance_fault fault;
	struct err err;
};

/* Reads an instance and asks the model. */
static inline struct helper_answer helper_predict(const struct model *model, const char *instance)
{
	struct helper_answer answer = {.result = (double)NAN, .label = -1};
	struct arena arena;
	struct json_value value;
	struct json_fault json;
	struct str text;
	double row[64], result = (double)NAN;
	size_t width = 64, bad;

	arena_init(&arena, HELPER_ARENA);
	CU_ASSERT_TRUE_FATAL(json_check(str_of(instance), JSON_MAX_DEPTH, &value, &json));
	answer.status = instance_read(model, value, row, &width, &text, &answer.flags, &arena, &answer.fault);
	if (answer.status == STATUS_OK) {
		bool is_text = model->accepts & MODEL_TEXT;
		struct model_batch batch = {
			.n = 1,
			.values = is_text ? NULL : row,
			.width = width,
			.texts = is_text ? &text : NULL,
			.results = &result,
			.labels = model->classes_n ? &answer.label : NULL,
			.probabilities = model->classes_n ? answer.probabilities : NULL,
			.arena = &arena,
		};
		answer.status = model_predict(model, &batch, &bad, &answer.err);
		if (answer.status == STATUS_OK)
			answer.result = result;
	}
	answer.fault.field = (struct str){0}; /* may lie in the arena */
	arena_release(&arena);
	return answer;
}

static inline double helper_result(const struct model *model, const char *instance)
{
	return helper_predict(model, instance).result;
}

#endif
