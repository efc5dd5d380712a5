/* XGBoost's models: those in tests/data/xgboost answer as XGBoost did when it made them, and bad files are refused with
 * a sentence that names the place. */
#include "unit.h"

#include "model/scan.h"
#include "model/xgboost_impl.h"
#include "model_helpers.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "tests/data/xgboost"

static struct buf read_file(const char *name, const char *ending)
{
	char path[512];
	struct buf buf;
	size_t n;

	snprintf(path, sizeof(path), FOLDER "/%s%s", name, ending);
	FILE *file = fopen(path, "rb");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	buf_init_heap(&buf);
	do {
		CU_ASSERT_FATAL(buf_reserve(&buf, 4096));
		n = fread(buf.p + buf.n, 1, 4096, file);
		buf.n += n;
	} while (n > 0);
	fclose(file);
	buf_char(&buf, '\0');
	return buf;
}

static double number_of(struct json_value value)
{
	double number = (double)NAN;

	return value.type == JSON_NUMBER && json_number(value, &number) ? number : (double)NAN;
}

static struct json_value member(struct json_value object, const char *name)
{
	struct json_value value = {0};

	CU_ASSERT_FATAL(json_member(object, str_of(name), &value));
	return value;
}

static int numbers(struct json_value array, double *out)
{
	struct json_iter iter;
	struct json_value value;
	int n = 0;

	json_iter_init(&iter, array);
	while (json_next(&iter, NULL, &value))
		out[n++] = number_of(value);
	return n;
}

static struct buf inputs_of(int n)
{
	struct buf out;

	buf_init_heap(&out);
	for (int i = 0; i < n; i++)
		buf_fmt(&out, "%s{\"name\":\"f%d\",\"type\":\"number\"}", i ? "," : "[", i);
	buf_str(&out, STR("]"));
	buf_char(&out, '\0');
	return out;
}

static const char *output_json(struct str type)
{
	if (str_eq(type, STR("\"binary\"")))
		return "{\"type\":\"binary\",\"name\":\"y\",\"classes\":[\"a\",\"b\"]}";
	if (str_eq(type, STR("\"multiclass\"")))
		return "{\"type\":\"multiclass\",\"name\":\"y\",\"classes\":[\"a\",\"b\",\"c\"]}";
	if (str_eq(type, STR("\"count\"")))
		return "{\"type\":\"count\",\"name\":\"y\"}";
	if (str_eq(type, STR("\"ranking\"")))
		return "{\"type\":\"ranking\",\"name\":\"y\"}";
	return "{\"type\":\"regression\",\"name\":\"y\"}";
}

/* At most one unit in the last place of a float32 apart. */
static bool is_near(double a, double b)
{
	float x = (float)a, y = (float)b;

	return x == y || nextafterf(x, y) == y;
}

static void check_row(const struct model *model, const char *name, struct json_value row)
{
	double values[64], margins[HELPER_CLASSES], answers[HELPER_CLASSES], probabilities[HELPER_CLASSES] = {0},
									     result;
	float got[HELPER_CLASSES];
	int label = -1;
	struct arena arena;
	struct err err = {0};
	size_t bad;

	arena_init(&arena, HELPER_ARENA);
	const int width = numbers(member(row, "input"), values), n = numbers(member(row, "margins"), margins);
	const int answers_n = numbers(member(row, "answers"), answers);
	CU_ASSERT_EQUAL_FATAL(width, model->inputs_n);
	CU_ASSERT_EQUAL(xgboost_margins(model, values, 1, got, &arena), STATUS_OK);
	for (int i = 0; i < n; i++) {
		if ((double)got[i] != margins[i])
			printf("\n%s: margin %.9g instead of %.9g\n", name, (double)got[i], margins[i]);
		CU_ASSERT_EQUAL((double)got[i], margins[i]);
	}
	struct model_batch batch = {.n = 1,
				    .values = values,
				    .width = (size_t)width,
				    .results = &result,
				    .labels = &label,
				    .probabilities = probabilities,
				    .arena = &arena};
	CU_ASSERT_EQUAL(model_predict(model, &batch, &bad, &err), STATUS_OK);
	if (strncmp(name, "logitraw", 8) == 0)
		CU_ASSERT_DOUBLE_EQUAL(result, 1 / (1 + exp(-answers[0])), 1e-7)
	else if (answers_n == 1)
		CU_ASSERT(is_near(result, answers[0]));
	for (int i = 0; answers_n > 1 && i < answers_n; i++)
		CU_ASSERT(is_near(probabilities[i], answers[i]));
	if (model->classes_n == 2) {
		CU_ASSERT_EQUAL(label, result > 0.5);
		CU_ASSERT_EQUAL((float)probabilities[1], (float)result);
		CU_ASSERT_DOUBLE_EQUAL(probabilities[0] + probabilities[1], 1, 1e-6);
	} else if (model->classes_n == 3) {
		CU_ASSERT_EQUAL(label, (int)result);
		CU_ASSERT(probabilities[label] >= probabilities[(label + 1) % 3]);
	}
	arena_release(&arena);
}

static void check_model(const char *name)
{
	struct buf file = read_file(name, ".json"), expected = read_file(name, ".expected.json");
	struct json_value root, row;
	struct json_fault fault;
	struct json_iter iter;
	int rows = 0;

	expected.n--;
	CU_ASSERT_FATAL(json_check(buf_view(&expected), JSON_MAX_DEPTH, &root, &fault));
	struct buf inputs = inputs_of((int)number_of(member(root, "width")));
	struct model *model = helper_model("xgboost", inputs.p, "", output_json(member(root, "output").text), "",
					   file.p);
	CU_ASSERT(model->bytes * 2 < file.n * 3);
	json_iter_init(&iter, member(root, "rows"));
	for (; json_next(&iter, NULL, &row); rows++)
		check_row(model, name, row);
	CU_ASSERT_EQUAL(rows, 25);
	model_drop(model);
	buf_release(&inputs);
	buf_release(&file);
	buf_release(&expected);
}

static void answers_are_xgboosts(void)
{
	DIR *folder = opendir(FOLDER);
	int models = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		char *end = strstr(entry->d_name, ".expected.json");
		if (!end)
			continue;
		*end = '\0';
		check_model(entry->d_name);
		models++;
	}
	closedir(folder);
	CU_ASSERT(models >= 15);
}

/* Two trees over features a and b: a < 1.5 ? 0.25 : 0.5 (missing goes right), and 1 with a node that was pruned. */
static const char SMALL[] =
	"{\"learner\":{\"attributes\":{\"best_iteration\":\"0\"},\"feature_names\":[\"f0\",\"f1\"],\"feature_types\":[]"
	","
	"\"gradient_booster\":{\"model\":{\"gbtree_model_param\":{\"num_parallel_tree\":\"1\",\"num_trees\":\"2\"},"
	"\"tree_info\":[0,0],\"trees\":["
	"{\"base_weights\":[1E0,2E0,3E0],\"categories\":[],\"default_left\":[0,0,0],\"id\":0,"
	"\"left_children\":[1,-1,-1],\"parents\":[2147483647,0,0],\"right_children\":[2,-1,-1],"
	"\"split_conditions\":[1.5E0,2.5E-1,5E-1],\"split_indices\":[0,0,0],\"split_type\":[0,0,0],"
	"\"tree_param\":{\"num_deleted\":\"0\",\"num_feature\":\"2\",\"num_nodes\":\"3\",\"size_leaf_vector\":\"1\"}},"
	"{\"default_left\":[0,0],\"left_children\":[-1,-1],\"right_children\":[-1,-1],\"split_conditions\":[1,7],"
	"\"split_indices\":[0,0],\"tree_param\":{\"num_nodes\":\"2\"}}]},\"name\":\"gbtree\"},"
	"\"learner_model_param\":{\"base_score\":\"5E-1\",\"num_class\":\"0\",\"num_feature\":\"2\",\"num_target\":"
	"\"1\"},"
	"\"objective\":{\"name\":\"reg:squarederror\"}},\"version\":[3,0,0]}";

#define INPUTS     "[{\"name\":\"f0\",\"type\":\"number\"},{\"name\":\"f1\",\"type\":\"number\"}]"
#define REGRESSION "{\"type\":\"regression\",\"name\":\"y\"}"

/* The text with the first `from` replaced; caller frees. */
static char *replaced(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *out = NULL;

	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	CU_ASSERT(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	return out;
}

static double predict(const struct model *model, const double *row)
{
	double result = 0;
	struct arena arena;
	struct err err;
	size_t bad;

	arena_init(&arena, HELPER_ARENA);
	struct model_batch batch = {
		.n = 1, .values = row, .width = (size_t)model->inputs_n, .results = &result, .arena = &arena};
	CU_ASSERT_EQUAL(model_predict(model, &batch, &bad, &err), STATUS_OK);
	arena_release(&arena);
	return result;
}

static void forms_that_are_allowed(void)
{
	static const struct {
		const char *from, *to;
		double low, missing; /* what a row with f0 = 1 gives, and one without */
	} cases[] = {
		{"5E-1\"", "5E-1\"", 1.75, 2.0},
		{"\"5E-1\"", "\"[5E-1]\"", 1.75, 2.0}, /* from 3.1 on */
		{"\"5E-1\"", "\"-2\"", -0.75, -0.5},
		{"[0,0,0]", "[true,false,false]", 1.75, 1.75}, /* before 1.6 */
		{"[0,0,0]", " [ 1 , 0 ,\n0 ] ", 1.75, 1.75},
		{"\"feature_names\":[\"f0\",\"f1\"]", "\"feature_names\":[]", 1.75, 2.0},
		{"\"f0\"", "\"\\u00660\"", 1.75, 2.0},
		{"\"attributes\":{", "\"attributes\":{\"x\":[{\"y\":[null,\"]\"]},[[]],true],", 1.75, 2.0},
		{"reg:squarederror", "reg:pseudohubererror", 1.75, 2.0},
		{"[3,0,0]", "[1,2,0]", 1.75, 2.0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *file = replaced(SMALL, cases[i].from, cases[i].to);
		struct model *model = helper_model("xgboost", INPUTS, "", REGRESSION, "", file);
		CU_ASSERT_EQUAL(predict(model, (double[]){1, 0}), cases[i].low);
		CU_ASSERT_EQUAL(predict(model, (double[]){1.5, 0}), cases[i].low + 0.25);
		CU_ASSERT_EQUAL(predict(model, (double[]){(double)NAN, 0}), cases[i].missing);
		model_drop(model);
		free(file);
	}
}

/* Members come in any order: trees before their classes, and parameters before both. */
static void any_order(void)
{
	char *without = replaced(SMALL, "\"tree_info\":[0,0],", "");
	char *file = replaced(without, "\"tree_param\":{\"num_nodes\":\"2\"}}]}",
			      "\"tree_param\":{\"num_nodes\":\"2\"}}],\"tree_info\":[0,0]}");
	struct model *model = helper_model("xgboost", INPUTS, "", REGRESSION, "", file);

	CU_ASSERT_EQUAL(predict(model, (double[]){1, 0}), 1.75);
	model_drop(model);
	free(file);
	free(without);
}

static void steps_and_categories(void)
{
	static const char categories[] = "[{\"name\":\"f0\",\"type\":\"category\",\"categories\":[\"x\",\"y\",\"z\"]},"
					 "{\"name\":\"f1\",\"type\":\"number\"}]";
	static const char one_hot[] = "[{\"name\":\"colour\",\"type\":\"category\",\"categories\":[\"x\",\"y\"]}]";
	struct model *model = helper_model("xgboost", categories, "", REGRESSION, "", SMALL);

	CU_ASSERT_EQUAL(predict(model, (double[]){1, 0}), 1.75);
	CU_ASSERT_EQUAL(predict(model, (double[]){2, 0}), 2.0);
	CU_ASSERT_EQUAL(predict(model, (double[]){-1, 0}),
			1.75); /* not in the list: the number that it has in training */
	CU_ASSERT_EQUAL(predict(model, (double[]){(double)NAN, 0}), 2.0);
	model_drop(model);
	model = helper_model("xgboost", INPUTS, "[{\"step\":\"impute\",\"inputs\":[\"f0\"],\"values\":[0]}]",
			     REGRESSION, "", SMALL);
	CU_ASSERT_EQUAL(predict(model, (double[]){(double)NAN, 0}), 1.75);
	model_drop(model);
	char *file = replaced(SMALL, "[1.5E0,", "[5E-1,");
	model = helper_model("xgboost", one_hot, "[{\"step\":\"one_hot\",\"input\":\"colour\"}]", REGRESSION, "", file);
	CU_ASSERT_EQUAL(predict(model, (double[]){0}), 2.0);  /* f0 is 1 */
	CU_ASSERT_EQUAL(predict(model, (double[]){1}), 1.75); /* f0 is 0 */
	model_drop(model);
	free(file);
}

static void bad_files(void)
{
	static const struct {
		const char *from, *to, *why;
	} cases[] = {
		{"[1,-1,-1]", "[1,-1]", "Tree 0: left_children has 2 entries, num_nodes says 3"},
		{"[2,-1,-1]", "[2,-1,-1,-1]", "Tree 0: right_children has 4 entries, num_nodes says 3"},
		{"\"num_nodes\":\"3\"", "\"num_nodes\":\"1000000000\"",
		 "Tree 0: left_children has 3 entries, num_nodes says 1000000000"},
		{"\"num_nodes\":\"3\"", "\"num_nodes\":\"-3\"",
		 "Tree 0, num_nodes: should be a whole number, not \"-3\""},
		{"[1,-1,-1]", "[0,-1,-1]", "Tree 0, node 0: a child is reached twice"},
		{"[1,-1,-1]", "[3,-1,-1]", "Tree 0, node 0: a child is not there"},
		{"[1,-1,-1]", "[-7,-1,-1]", "Tree 0, node 0: a child is not there"},
		{"[1,-1,-1]", "[4294967297,-1,-1]", "Tree 0, left_children: there should be a whole number of 32 bits"},
		{"[1,-1,-1]", "[1.0,-1,-1]", "Tree 0, left_children: there should be a whole number of 32 bits"},
		{"[1,-1,-1]", "[1,-1,]", "Tree 0, left_children: there should be a whole number of 32 bits"},
		{"[1,-1,-1]", "[1,-1 -1]", "Tree 0, left_children: there should be a comma or a bracket"},
		{"[1.5E0,", "[NaN,", "Tree 0, split_conditions: there should be a number at byte"},
		{"[1.5E0,", "[null,", "Tree 0, split_conditions: there should be a number at byte"},
		{"[1.5E0,", "[-Infinity,", "Tree 0, split_conditions: there should be a number at byte"},
		{"[1.5E0,", "[1E39,", "Tree 0, split_conditions: there should be a number that a float32 can hold"},
		{"[1.5E0,", "[1E,", "Tree 0, split_conditions: there should be a number"},
		{"[1.5E0,", "[1.,", "Tree 0, split_conditions: there should be a number"},
		{"\"split_indices\":[0,0,0]", "\"split_indices\":[2,0,0]", "Tree 0, node 0: its feature is not there"},
		{"\"split_indices\":[0,0,0]", "\"split_indices\":[-1,0,0]", "Tree 0, node 0: its feature is not there"},
		{"\"split_type\":[0,0,0]", "\"split_type\":[1,0,0]",
		 "Tree 0: node 0 splits by categories, which is not supported: train with one-hot encoded"},
		{"[0,0,0]", "[2,0,0]", "Tree 0, default_left: there should be 0 or 1"},
		{"\"left_children\"", "\"right_children\"", "Tree 0, right_children: is there twice"},
		{"\"left_children\"", "\"leftchildren\"", "Tree 0, left_children: is missing"},
		{"\"size_leaf_vector\":\"1\"", "\"size_leaf_vector\":\"3\"",
		 "Tree 0: its leaves have several values (multi-target), which is not supported"},
		{"\"tree_info\":[0,0]", "\"tree_info\":[0]", "Tree 1: tree_info has only 1 entries"},
		{"\"tree_info\":[0,0]", "\"tree_info\":[0,0,0]",
		 "num_trees: says 2, there are 2 trees and 3 entries in tree_info"},
		{"\"tree_info\":[0,0]", "\"tree_info\":[0,1]",
		 "tree_info: the model has trees for 2 classes or targets, the manifest's output is of 1"},
		{"\"tree_info\":[0,0]", "\"tree_info\":[0,-1]", "Tree 1: there is no output -1"},
		{"\"num_trees\":\"2\"", "\"num_trees\":\"1000000000\"",
		 "num_trees: says 1000000000, there are 2 trees and 2 entries in tree_info"},
		{"\"num_trees\":\"2\"", "\"num_trees\":\"99999999999\"",
		 "num_trees: should be a whole number, not \"99999999999\""},
		{"\"gbtree\"", "\"dart\"",
		 "gradient_booster: the booster is \"dart\", which is not supported: train with booster=\"gbtree\""},
		{"\"trees\":", "\"weights\":",
		 "gradient_booster: model has no trees, or gbtree_model_param or tree_info is missing"},
		{"reg:squarederror", "reg:expectileerror", "objective: \"reg:expectileerror\" is not supported"},
		{"reg:squarederror", "binary:logistic",
		 "objective: \"binary:logistic\" does not fit the manifest's output.type \"regression\""},
		{"\"num_target\":\"1\"", "\"num_target\":\"2\"",
		 "num_target: the model has 2 targets, one is supported: train a model for each"},
		{"\"num_class\":\"0\"", "\"num_class\":\"3\"",
		 "num_class: the model has 3 classes, the manifest's output.classes has 0"},
		{"\"num_feature\":\"2\",\"num_target\"", "\"num_feature\":\"3\",\"num_target\"",
		 "num_feature: the model has 3 features, the manifest's inputs give 2 columns"},
		{"\"f1\"", "\"f1\",\"f2\"", "feature_names: the model has 3, the manifest's inputs give 2 columns"},
		{"\"f1\"", "\"f9\"", "feature_names: number 1 is \"f9\" in the model and \"f1\" in the manifest"},
		{"\"f1\"", "\"f\xff\"", "feature_names: byte"},
		{"\"f1\"", "\"f\\x\"", "feature_names: there should be an escape at byte"},
		{"\"best_iteration\":\"0\"", "\"best\xc0\xaf\":\"0\"", "learner: byte"},
		{"\"5E-1\"", "\"\"", "base_score: \"\" is no number, and no list of one or 1 numbers"},
		{"\"5E-1\"", "\"nan\"", "base_score: \"nan\" is no number, and no list of one or 1 numbers"},
		{"\"5E-1\"", "\"[1,2]\"", "base_score: \"[1,2]\" is no number, and no list of one or 1 numbers"},
		{"\"5E-1\"", "\"[]\"", "base_score: \"[]\" is no number, and no list of one or 1 numbers"},
		{"\"base_score\"", "\"basescore\"", "base_score: is missing"},
		{"[3,0,0]", "[4,0,0]", "version: XGBoost's versions 1 to 3 are supported, not 4"},
		{"[3,0,0]", "[]", "version: XGBoost's versions 1 to 3 are supported, not 0"},
		{",\"version\":[3,0,0]", "", "version: is missing"},
		{"\"learner\"", "\"Model\"", "learner: is missing"},
		{"[3,0,0]}", "[3,0,0]} x", "there should be the end at byte"},
		{"{\"learner\"", "{L\001", "The file is UBJSON, which is not supported: save the model with"},
		{"{\"learner\"", "binf", "The file is no JSON object (XGBoost's old binary format or a pickle?)"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *file = replaced(SMALL, cases[i].from, cases[i].to);
		struct model *model;
		struct err err = {0};
		CU_ASSERT_EQUAL(helper_load(&model, "xgboost", INPUTS, "", REGRESSION, "", file, &err), STATUS_INVALID);
		CU_ASSERT_PTR_NULL(model);
		if (strncmp(err.text, cases[i].why, strlen(cases[i].why)) != 0)
			printf("\n%s instead of %s\n", err.text, cases[i].why);
		CU_ASSERT(strncmp(err.text, cases[i].why, strlen(cases[i].why)) == 0);
		free(file);
	}
}

static void nesting_is_bounded(void)
{
	char deep[4096] = "\"attributes\":";
	struct model *model;
	struct err err = {0};

	for (int i = 0; i < 1000; i++)
		strcat(deep, "[");
	char *file = replaced(SMALL, "\"attributes\":", deep);
	CU_ASSERT_EQUAL(helper_load(&model, "xgboost", INPUTS, "", REGRESSION, "", file, &err), STATUS_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "it is nested too deeply"));
	free(file);
}

/* A file that ends anywhere is refused, and the sanitizers see nothing left behind. */
static void cut_files(void)
{
	for (size_t n = 0; n < sizeof(SMALL) - 1; n++) {
		char *file = strndup(SMALL, n);
		struct model *model;
		struct err err = {0};
		CU_ASSERT_EQUAL(helper_load(&model, "xgboost", INPUTS, "", REGRESSION, "", file, &err), STATUS_INVALID);
		CU_ASSERT(strlen(err.text) > 0);
		free(file);
	}
}

static void outputs_fit(void)
{
	static const struct {
		const char *objective, *output, *base;
		bool fits;
	} cases[] = {
		{"binary:logistic", "\"binary\"", "5E-1", true},
		{"binary:logistic", "\"binary\"", "0", false}, /* no margin for a probability of 0 */
		{"binary:logistic", "\"binary\"", "1", false},
		{"binary:logistic", "\"count\"", "5E-1", false},
		{"reg:logistic", "\"regression\"", "5E-1", true},
		{"reg:gamma", "\"regression\"", "0", false},
		{"reg:tweedie", "\"count\"", "1", true},
		{"rank:ndcg", "\"ranking\"", "1", true},
		{"rank:ndcg", "\"count\"", "1", false},
		{"multi:softprob", "\"multiclass\"", "1", false}, /* num_class is 0 */
		{"survival:aft", "\"regression\"", "1", true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *named = replaced(SMALL, "reg:squarederror", cases[i].objective);
		char base[32];
		snprintf(base, sizeof(base), "%s\"", cases[i].base);
		char *file = replaced(named, "5E-1\"", base);
		struct model *model;
		struct err err = {0};
		enum status status = helper_load(&model, "xgboost", INPUTS, "", output_json(str_of(cases[i].output)),
						 "", file, &err);
		CU_ASSERT_EQUAL(status, cases[i].fits ? STATUS_OK : STATUS_INVALID);
		model_drop(model);
		free(file);
		free(named);
	}
}

/* Decimal numbers become the nearest float32 also where the nearest double lies in the middle of two. */
static void numbers_are_rounded_once(void)
{
	static const char *const more[] = {
		"1.00000005960464477539",
		"1.000000059604644775390625",
		"1.0000000596046447753906250000001",
		"16777217",
		"16777217.00000000001",
		"1.4E-45",
		"7.0064923216240853E-46",
		"7.0064923216240862E-46",
		"1.17549435E-38",
		"1.1754942E-38",
		"3.4028235E38",
		"-0",
		"-0E0",
		"0.000000000000000000000001",
		"123456789012345678901234567890",
		/* These are doubles in the middle, and a little more or less as they are written. */
		"1.266031563282013",
		"5.469576597213745",
		"-3.110925555229187E0",
		"8.4E-1",
		"340282356779733642748073463979561713663",
	};
	struct scan scan;
	float got;

	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		scan_init(&scan, str_of(more[i]), NULL);
		CU_ASSERT(scan_float(&scan, &got) && scan_end(&scan));
		CU_ASSERT_EQUAL(got, strtof(more[i], NULL));
	}
	uint64_t state = 7;
	for (int i = 0; i < 20000; i++) {
		char text[40];
		uint32_t bits;
		float value;
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		bits = (uint32_t)(state >> 32);
		memcpy(&value, &bits, sizeof(value));
		if (!isfinite(value))
			continue;
		if (i % 2)
			snprintf(text, sizeof(text), "%.8E", (double)value);
		else
			snprintf(text, sizeof(text), "%.9g", (double)value);
		scan_init(&scan, str_of(text), NULL);
		CU_ASSERT(scan_float(&scan, &got));
		CU_ASSERT_EQUAL(memcmp(&got, &value, sizeof(got)), 0);
	}
	char longer[200];
	memset(longer, '1', sizeof(longer));
	scan_init(&scan, (struct str){longer, sizeof(longer)}, NULL);
	CU_ASSERT_FALSE(scan_float(&scan, &got));
}

static const struct unit_case CASES[] = {
	{"answers are XGBoost's", answers_are_xgboosts},
	{"forms that are allowed", forms_that_are_allowed},
	{"any order", any_order},
	{"steps and categories", steps_and_categories},
	{"bad files", bad_files},
	{"nesting is bounded", nesting_is_bounded},
	{"cut files", cut_files},
	{"outputs fit", outputs_fit},
	{"numbers are rounded once", numbers_are_rounded_once},
};

int main(void)
{
	return UNIT_RUN("xgboost", CASES);
}
