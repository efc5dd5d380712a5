/* The mean, the door to models, and the registry. */
#include "unit.h"

#include "model/model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static enum status mean_of(const double *values, size_t n, double *result, struct err *err)
{
	struct model_input input = {.kind = MODEL_VECTOR, .values = values, .n = n};
	struct model_output output = {0};
	enum status status = model_predict(model_mean(), &input, &output, err);

	*result = output.result;
	return status;
}

static void the_mean(void)
{
	static const struct {
		double values[4];
		size_t n;
		double mean;
	} cases[] = {
		{{1, 2, 3}, 3, 2},
		{{5}, 1, 5},
		{{1, 2}, 2, 1.5},
		{{0.1}, 1, 0.1},
		{{0.1, 0.2, 0.3}, 3, (0.1 + 0.2 + 0.3) / 3}, /* from left to right */
		{{1e16, 1, -1e16}, 3, 0.0},
		{{-1, 1}, 2, 0},
		{{DBL_MIN, DBL_MIN}, 2, DBL_MIN},
		{{5e-324}, 1, 5e-324},
		{{0, -5e-324}, 2, 0}, /* rounds to -0.0, whose sign a database would lose */
		/* The sum overflows, the mean does not. */
		{{1e308, 1e308}, 2, 1e308},
		{{DBL_MAX, DBL_MAX}, 2, DBL_MAX},
		{{DBL_MAX, DBL_MAX, DBL_MAX}, 3, DBL_MAX},
		{{-DBL_MAX, -DBL_MAX, -DBL_MAX}, 3, -DBL_MAX},
		{{DBL_MAX, DBL_MAX, -DBL_MAX, -DBL_MAX}, 4, 0},
		{{-DBL_MAX, -DBL_MAX, -DBL_MAX, -DBL_MAX}, 4, -DBL_MAX},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double result;
		struct err err = {0};
		CU_ASSERT_EQUAL(mean_of(cases[i].values, cases[i].n, &result, &err), STATUS_OK);
		if (result != cases[i].mean)
			printf("\n%zu: %.17g instead of %.17g\n", i, result, cases[i].mean);
		CU_ASSERT_EQUAL(result, cases[i].mean);
		CU_ASSERT_FALSE(result == 0.0 && signbit(result));
	}
}

static void refuses(void)
{
	const double value = 1.0;
	struct model_input text = {.kind = MODEL_TEXT, .text = STR("words")};
	struct model_input named = {.kind = MODEL_NAMED, .values = &value, .n = 1};
	struct model_output output;
	struct err err = {0};
	double result;

	CU_ASSERT_EQUAL(mean_of(&value, 0, &result, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "Features list cannot be empty");
	CU_ASSERT_EQUAL(mean_of(&value, 0, &result, NULL), STATUS_INVALID);
	CU_ASSERT_EQUAL(model_predict(model_mean(), &text, &output, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "Model mean does not take this kind of input");
	CU_ASSERT_EQUAL(model_predict(model_mean(), &named, &output, &err), STATUS_INVALID);
}

static void introduces_itself(void)
{
	struct model *mean = model_mean();

	CU_ASSERT_STRING_EQUAL(mean->name, "mean");
	CU_ASSERT_STRING_EQUAL(mean->version, "v1.0");
	CU_ASSERT_EQUAL(strlen(mean->hash), 64);
	CU_ASSERT_EQUAL(strspn(mean->hash, "0123456789abcdef"), 64);
	CU_ASSERT_TRUE(mean->ops->is_healthy(mean));
	CU_ASSERT_PTR_EQUAL(mean, model_mean());
}

static double given; /* what the model below gives */

static enum status give(const struct model *model, const struct model_input *input, struct model_output *output,
			struct err *err)
{
	(void)model;
	(void)input;
	(void)err;
	output->result = given;
	return STATUS_OK;
}

static const struct model_ops GIVES = {.predict = give};

static void only_finite_results_come_out(void)
{
	const double bad[] = {(double)NAN, (double)INFINITY, (double)-INFINITY}, value = 1.0;
	struct model model = {.name = "m", .version = "test-v1", .accepts = MODEL_VECTOR, .ops = &GIVES};
	struct model_input input = {.kind = MODEL_VECTOR, .values = &value, .n = 1};
	struct model_output output;
	struct err err;

	for (size_t i = 0; i < 3; i++) {
		given = bad[i];
		CU_ASSERT_EQUAL(model_predict(&model, &input, &output, &err), STATUS_INVALID);
		CU_ASSERT_STRING_EQUAL(err.text, "The result is not a finite number");
	}
	given = -DBL_MAX;
	CU_ASSERT_EQUAL(model_predict(&model, &input, &output, &err), STATUS_OK);
	CU_ASSERT_EQUAL(output.result, -DBL_MAX);
}

static void the_registry(void)
{
	struct model_registry registry = {0};
	struct model test = {.name = "m", .version = "test-v1", .accepts = MODEL_VECTOR, .ops = &GIVES};
	struct model same_version = {.name = "other", .version = "v1.0", .ops = &GIVES};
	struct err err;

	CU_ASSERT_PTR_NULL(model_registry_find(&registry, STR("")));
	CU_ASSERT_PTR_NULL(model_registry_find(&registry, STR("v1.0")));
	CU_ASSERT_EQUAL(model_registry_add(&registry, model_mean(), &err), STATUS_OK);
	CU_ASSERT_PTR_EQUAL(model_registry_find(&registry, STR("")), model_mean());
	CU_ASSERT_EQUAL(model_registry_add(&registry, model_mean(), &err), STATUS_CONFLICT);
	CU_ASSERT_STRING_EQUAL(err.text, "Model mean v1.0 is registered already.");
	CU_ASSERT_EQUAL(model_registry_add(&registry, model_mean(), NULL), STATUS_CONFLICT);
	/* The newest answers by default; each version can be named. */
	CU_ASSERT_EQUAL(model_registry_add(&registry, &test, &err), STATUS_OK);
	CU_ASSERT_PTR_EQUAL(model_registry_find(&registry, STR("")), &test);
	CU_ASSERT_PTR_EQUAL(model_registry_find(&registry, STR("v1.0")), model_mean());
	CU_ASSERT_PTR_NULL(model_registry_find(&registry, STR("v1")));
	CU_ASSERT_PTR_NULL(model_registry_find(&registry, STR("v1.0 ")));
	/* Of two of one version the newer one. */
	CU_ASSERT_EQUAL(model_registry_add(&registry, &same_version, &err), STATUS_OK);
	CU_ASSERT_PTR_EQUAL(model_registry_find(&registry, STR("v1.0")), &same_version);
	registry.current = 0;
	CU_ASSERT_PTR_EQUAL(model_registry_find(&registry, STR("")), model_mean());
}

static void the_registry_is_bounded(void)
{
	static struct model models[MODEL_REGISTRY_MAX + 1];
	static char versions[MODEL_REGISTRY_MAX + 1][16];
	struct model_registry registry = {0};
	struct err err;

	for (int i = 0; i <= MODEL_REGISTRY_MAX; i++) {
		snprintf(versions[i], sizeof(versions[i]), "v%d", i);
		models[i] = (struct model){.name = "m", .version = versions[i], .ops = &GIVES};
		CU_ASSERT_EQUAL(model_registry_add(&registry, &models[i], &err),
				i < MODEL_REGISTRY_MAX ? STATUS_OK : STATUS_BUSY);
	}
	CU_ASSERT_EQUAL(registry.n, MODEL_REGISTRY_MAX);
	CU_ASSERT_PTR_EQUAL(model_registry_find(&registry, STR("")), &models[MODEL_REGISTRY_MAX - 1]);
}

static const struct unit_case CASES[] = {
	{"the mean", the_mean},
	{"refuses", refuses},
	{"introduces itself", introduces_itself},
	{"only finite results come out", only_finite_results_come_out},
	{"the registry", the_registry},
	{"the registry is bounded", the_registry_is_bounded},
};

int main(void)
{
	return UNIT_RUN("model", CASES);
}
