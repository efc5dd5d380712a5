/* The mean, the door to models, and the set of those that are served. */
#include "unit.h"

#include "model/set.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum status mean_of(const double *values, size_t n, double *result, struct err *err)
{
	struct model_batch batch = {.n = 1, .values = values, .width = n, .results = result};
	size_t bad;

	*result = 0.0;
	return model_predict(model_mean(), &batch, &bad, err);
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
	const struct str words = STR("words");
	double result;
	struct model_batch text = {.n = 1, .texts = &words, .results = &result};
	struct model narrow = {
		.name = "n", .version = "1", .accepts = MODEL_VECTOR, .inputs_n = 2, .ops = model_mean()->ops};
	struct model_batch one = {.n = 1, .values = &value, .width = 1, .results = &result};
	struct err err = {0};
	size_t bad;

	CU_ASSERT_EQUAL(mean_of(&value, 0, &result, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "Features list cannot be empty");
	CU_ASSERT_EQUAL(mean_of(&value, 0, &result, NULL), STATUS_INVALID);
	CU_ASSERT_EQUAL(model_predict(model_mean(), &text, &bad, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "Model mean does not take a text");
	CU_ASSERT_EQUAL(model_predict(&narrow, &one, &bad, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "Model n takes 2 features, not 1");
}

static void introduces_itself(void)
{
	struct model *mean = model_mean();

	CU_ASSERT_STRING_EQUAL(mean->name, "mean");
	CU_ASSERT_STRING_EQUAL(mean->version, "v1.0");
	CU_ASSERT_EQUAL(strlen(mean->hash), 64);
	CU_ASSERT_EQUAL(strspn(mean->hash, "0123456789abcdef"), 64);
	CU_ASSERT_TRUE(model_is_healthy(mean));
	CU_ASSERT_PTR_EQUAL(mean, model_mean());
	/* It is never freed. */
	CU_ASSERT_PTR_EQUAL(model_hold(mean), mean);
	model_drop(mean);
	model_drop(mean);
	CU_ASSERT_EQUAL(model_class(mean, 0).n, 0);
}

static double given[3]; /* what the model below gives */

static enum status give(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	(void)model;
	(void)bad;
	(void)err;
	memcpy(batch->results, given, batch->n * sizeof(double));
	return STATUS_OK;
}

static int released;

static void count_release(struct model *model)
{
	(void)model;
	released++;
}

static const struct model_ops GIVES = {.predict = give, .release = count_release};

static struct model *new_model(const char *name, const char *version)
{
	struct model *model = model_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(model);
	snprintf(model->name, sizeof(model->name), "%s", name);
	snprintf(model->version, sizeof(model->version), "%s", version);
	model->accepts = MODEL_VECTOR;
	model->ops = &GIVES;
	return model;
}

static void only_finite_results_come_out(void)
{
	const double bad_results[] = {(double)NAN, (double)INFINITY, (double)-INFINITY}, values[3] = {1.0};
	struct model model = {.name = "m", .version = "test-v1", .accepts = MODEL_VECTOR, .ops = &GIVES};
	double results[3];
	struct model_batch batch = {.n = 3, .values = values, .width = 1, .results = results};
	struct err err;
	size_t bad;

	for (size_t i = 0; i < 3; i++) {
		memset(given, 0, sizeof(given));
		given[i] = bad_results[i];
		CU_ASSERT_EQUAL(model_predict(&model, &batch, &bad, &err), STATUS_INVALID);
		CU_ASSERT_STRING_EQUAL(err.text, "The result is not a finite number");
		CU_ASSERT_EQUAL(bad, i);
	}
	/* Of several classes the result is a number whatever the probabilities are. */
	double probabilities[6] = {0.5, 0.5, 0.5, (double)NAN, 0.5, 0.5};
	model.classes_n = 2;
	batch.probabilities = probabilities;
	memset(given, 0, sizeof(given));
	CU_ASSERT_EQUAL(model_predict(&model, &batch, &bad, &err), STATUS_INVALID);
	CU_ASSERT_EQUAL(bad, 1);
	probabilities[3] = 0.5;
	CU_ASSERT_EQUAL(model_predict(&model, &batch, &bad, &err), STATUS_OK);
	batch.probabilities = NULL;
	given[0] = given[1] = given[2] = -DBL_MAX;
	CU_ASSERT_EQUAL(model_predict(&model, &batch, &bad, &err), STATUS_OK);
	CU_ASSERT_EQUAL(results[2], -DBL_MAX);
	given[0] = -0.0;
	CU_ASSERT_EQUAL(model_predict(&model, &batch, &bad, &err), STATUS_OK);
	CU_ASSERT_FALSE(signbit(results[0]));
}

static void names(void)
{
	static const struct {
		const char *text;
		bool valid;
	} cases[] = {
		{"wine", true}, {"v1.0", true}, {"a_b-C.9", true}, {"", false},    {".", false},
		{"..", false},  {".x", false},  {"-x", false},     {"a/b", false}, {"a b", false},
		{"ä", false},   {"a\n", false}, {"1", true},       {"a=1", false},
	};
	char longest[MODEL_NAME_BYTES + 1];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT_EQUAL(model_name_is_valid(str_of(cases[i].text)), cases[i].valid);
	memset(longest, 'a', sizeof(longest));
	CU_ASSERT_TRUE(model_name_is_valid((struct str){longest, MODEL_NAME_BYTES - 1}));
	CU_ASSERT_FALSE(model_name_is_valid((struct str){longest, MODEL_NAME_BYTES}));
	CU_ASSERT_FALSE(model_name_is_valid((struct str){"a\0b", 3}));
}

/* --- sets --- */

static void add(struct model_set *set, const char *name, const char *version)
{
	struct model *model = new_model(name, version);
	struct err err = {0};

	CU_ASSERT_EQUAL(model_set_add(set, model, &err), STATUS_OK);
	model_drop(model);
}

static void the_set_finds(void)
{
	struct model_set *set = model_set_new();
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	CU_ASSERT_PTR_EQUAL(model_set_default_route(set)->shares[0].version->model, model_mean());
	CU_ASSERT_PTR_NOT_NULL(model_set_find(set, STR("mean"), STR("v1.0")));
	CU_ASSERT_PTR_NULL(model_set_find(set, STR("mean"), STR("v1.0 ")));
	CU_ASSERT_PTR_NULL(model_set_find(set, STR("mea"), STR("v1.0")));
	CU_ASSERT_PTR_NULL(model_set_find_route(set, STR("means")));
	add(set, "wine", "1");
	add(set, "apple", "2");
	add(set, "wine", "0");
	CU_ASSERT_PTR_NULL(model_set_find_route(set, STR("wine"))); /* it is there, and not active */
	CU_ASSERT_EQUAL(model_set_add(set, model_mean(), &err), STATUS_CONFLICT);
	CU_ASSERT_STRING_EQUAL(err.text, "Model mean v1.0 is there already.");
	const char *const order[] = {"apple", "mean", "wine", "wine"};
	for (int i = 0; i < 4; i++)
		CU_ASSERT_STRING_EQUAL(model_set_version_at(set, i)->model->name, order[i]);
	CU_ASSERT_STRING_EQUAL(model_set_version_at(set, 2)->model->version, "1");
	CU_ASSERT_PTR_NULL(model_set_version_at(set, 4));
	CU_ASSERT_PTR_NULL(model_set_version_at(set, -1));
	CU_ASSERT_STRING_EQUAL(model_set_find(set, STR("wine"), STR("0"))->model->version, "0");
	CU_ASSERT_EQUAL(model_set_default(set, STR("wine"), &err), STATUS_NOT_FOUND);
	released = 0;
	model_set_drop(model_set_hold(set));
	CU_ASSERT_EQUAL(released, 0);
	model_set_drop(set);
	CU_ASSERT_EQUAL(released, 3);
}

static void routes_share(void)
{
	struct model_set *set = model_set_new();
	const struct model_share shares[] = {{STR("2"), 10}, {STR("1"), 90}}, none = {STR("3"), 1};
	struct err err = {0};
	int first = 0, drawn = 100000;

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	add(set, "wine", "1");
	add(set, "wine", "2");
	CU_ASSERT_EQUAL(model_set_route(set, STR("wine"), &none, 1, STR(""), MODEL_STICKY_NONE, STR(""), &err),
			STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(err.text, "Model wine has no version 3.");
	CU_ASSERT_EQUAL(model_set_route(set, STR("wine"), shares, 1, STR("3"), MODEL_STICKY_NONE, STR(""), &err),
			STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(model_set_route(set, STR("a b"), shares, 2, STR(""), MODEL_STICKY_NONE, STR(""), &err),
			STATUS_INVALID);
	CU_ASSERT_PTR_NULL(model_set_find_route(set, STR("wine")));
	CU_ASSERT_EQUAL(model_set_route(set, STR("wine"), shares, 2, STR("2"), MODEL_STICKY_KEY, STR(""), &err),
			STATUS_OK);
	const struct model_route *route = model_set_find_route(set, STR("wine"));
	CU_ASSERT_STRING_EQUAL(route->shares[0].version->model->version, "1"); /* the larger share first */
	CU_ASSERT_STRING_EQUAL(route->shadow->model->version, "2");
	for (int i = 0; i < drawn; i++)
		first += model_route_pick(route, (uint64_t)i * (UINT64_MAX / (uint64_t)drawn)) ==
			 route->shares[0].version;
	CU_ASSERT(abs(first - drawn * 9 / 10) <= 1);
	CU_ASSERT_PTR_EQUAL(model_route_pick(route, UINT64_MAX), route->shares[1].version);
	CU_ASSERT_EQUAL(model_set_default(set, STR("wine"), &err), STATUS_OK);
	/* The default follows its name's route; a route of nobody is allowed, and picks nobody. */
	CU_ASSERT_EQUAL(model_set_route(set, STR("wine"), NULL, 0, STR(""), MODEL_STICKY_NONE, STR(""), &err),
			STATUS_OK);
	CU_ASSERT_PTR_EQUAL(model_set_default_route(set), model_set_find_route(set, STR("wine")));
	CU_ASSERT_PTR_NULL(model_route_pick(model_set_default_route(set), 7));
	model_set_drop(set);
}

static void sets_are_bounded(void)
{
	struct model_set *set = model_set_new();
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	for (int i = 1; i < MODEL_SET_VERSIONS_MAX; i++) {
		char version[16];
		snprintf(version, sizeof(version), "v%d", i);
		add(set, "m", version);
	}
	struct model *model = new_model("m", "more");
	CU_ASSERT_EQUAL(model_set_add(set, model, &err), STATUS_BUSY);
	model_drop(model);
	model_set_drop(set);
}

static const struct unit_case CASES[] = {
	{"the mean", the_mean},
	{"refuses", refuses},
	{"introduces itself", introduces_itself},
	{"only finite results come out", only_finite_results_come_out},
	{"names", names},
	{"the set finds", the_set_finds},
	{"routes share", routes_share},
	{"sets are bounded", sets_are_bounded},
};

int main(void)
{
	return UNIT_RUN("model", CASES);
}
