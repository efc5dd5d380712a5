/* The manifest that is made for a model file of XGBoost's. */
#include "unit.h"

#include "model/manifest.h"
#include "model/xgboost.h"

#include <stdio.h>

#define LEARNER(names, param, objective)                                                                               \
	"{\"learner\":{\"feature_names\":" names ",\"gradient_booster\":{},\"learner_model_param\":{" param            \
	"},\"objective\":{\"name\":\"" objective "\"}},\"version\":[1,7,4]}"

static struct manifest *describe(const char *file, struct err *err)
{
	struct manifest *manifest = NULL;
	struct buf out;

	buf_init_heap(&out);
	if (xgboost_describe(str_of(file), STR("m.json"), &out, err) == STATUS_OK &&
	    manifest_parse(&manifest, buf_view(&out), err) != STATUS_OK)
		printf("\n%.*s\n%s\n", STR_ARG(buf_view(&out)), err->text);
	buf_release(&out);
	return manifest;
}

static void describes(void)
{
	static const struct {
		const char *file;
		int inputs, classes;
		enum manifest_output output;
		const char *second;
	} cases[] = {
		{LEARNER("[]", "\"num_class\":\"0\",\"num_feature\":\"3\"", "reg:squarederror"), 3, 0,
		 MANIFEST_REGRESSION, "f1"},
		{LEARNER("[\"a\",\"b\\\"\\u00e4\"]", "\"num_feature\":\"2\"", "binary:logistic"), 2, 2, MANIFEST_BINARY,
		 "b\"\xc3\xa4"},
		{LEARNER("[\"a\",\"b\"]", "\"num_class\":\"5\",\"num_feature\":\"2\"", "multi:softprob"), 2, 5,
		 MANIFEST_MULTICLASS, "b"},
		{LEARNER("[]", "\"num_feature\":\"2\"", "count:poisson"), 2, 0, MANIFEST_COUNT, "f1"},
		{LEARNER("[]", "\"num_feature\":\"2\"", "rank:ndcg"), 2, 0, MANIFEST_RANKING, "f1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {0};
		struct manifest *manifest = describe(cases[i].file, &err);
		CU_ASSERT_STRING_EQUAL(err.text, "");
		CU_ASSERT_PTR_NOT_NULL_FATAL(manifest);
		CU_ASSERT_EQUAL(manifest->inputs_n, cases[i].inputs);
		CU_ASSERT_EQUAL(manifest->classes_n, cases[i].classes);
		CU_ASSERT_EQUAL(manifest->output, cases[i].output);
		CU_ASSERT_TRUE(str_eq(manifest->inputs[1].name, str_of(cases[i].second)));
		CU_ASSERT_TRUE(str_eq(manifest->kind, STR("xgboost")));
		CU_ASSERT_TRUE(str_eq(manifest->file, STR("m.json")));
		manifest_free(manifest);
	}
}

static void refuses(void)
{
	static const struct {
		const char *file, *says;
	} cases[] = {
		{"", "This is no model that XGBoost has saved as JSON"},
		{"{\"learner\":", "at character 11."},
		{"[]", "it has no learner with an objective"},
		{"{\"learner\":{\"learner_model_param\":{},\"objective\":{\"name\":5}}}", "it has no learner"},
		{LEARNER("[]", "", "reg:squarederror"), "num_feature: should be a number from 1 to 10000"},
		{LEARNER("[]", "\"num_feature\":\"0\"", "reg:squarederror"), "num_feature: should be a number"},
		{LEARNER("[]", "\"num_feature\":\"10001\"", "reg:squarederror"), "num_feature: should be a number"},
		{LEARNER("[]", "\"num_feature\":7", "reg:squarederror"), "num_feature: should be a number"},
		{LEARNER("[]", "\"num_feature\":\"2\"", "reg:luck"), "\"reg:luck\" is not supported"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {0};
		CU_ASSERT_PTR_NULL(describe(cases[i].file, &err));
		if (!strstr(err.text, cases[i].says))
			printf("\n%s\n", err.text);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
	}
}

static const struct unit_case CASES[] = {
	{"describes", describes},
	{"refuses", refuses},
};

int main(void)
{
	return UNIT_RUN("xgboost describe", CASES);
}
