/* Forests: what they compute over both kinds of comparison, and what their loader refuses. The numbers of whole models
 * are compared with scikit-learn's in tests/parity. */
#include "model_helpers.h"
#include "unit.h"

#include "model/forest_ranks.h"

static const char INPUTS[] = "[{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"b\",\"type\":\"number\"}]";
static const char MISSING[] = "[{\"name\":\"a\",\"type\":\"number\",\"missing\":\"allow\"},"
			      "{\"name\":\"b\",\"type\":\"number\",\"missing\":\"allow\"}]";

#define REGRESSION "{\"type\":\"regression\"}"
#define BINARY     "{\"type\":\"binary\",\"classes\":[\"no\",\"yes\"]}"
#define THREE      "{\"type\":\"multiclass\",\"classes\":[\"x\",\"y\",\"z\"]}"
#define FOREST(link, start, trees)                                                                                     \
	"{\"format\":\"appcore forest 1\",\"link\":\"" link "\",\"start\":" start ",\"trees\":[" trees "]}"
/* a <= 0.5: 1, else b <= 2: 10, else 100. */
#define TREE "{\"features\":[0,-1,1,-1,-1],\"left\":[1,3],\"right\":[2,4],\"at_most\":[0.5,2],\"leaves\":[1,10,100]}"
#define STUMP(more, leaves)                                                                                            \
	"{\"features\":[0,-1,-1],\"left\":[1],\"right\":[2],\"at_most\":[0.1]" more ",\"leaves\":" leaves "}"

static void walks(void)
{
	static const struct {
		const char *input;
		double result;
	} cases[] = {
		{"[0, 0]", 1},   {"[0.5, 0]", 1},    {"[0.50001, 0]", 10},    {"[1, 2]", 10},
		{"[1, 3]", 100}, {"[-1e300, 9]", 1}, {"[1e300, 1e300]", 100},
	};
	struct model *model = helper_model("forest", INPUTS, "", REGRESSION, "", FOREST("identity", "[0]", TREE));

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT_EQUAL(helper_result(model, cases[i].input), cases[i].result);
	CU_ASSERT_TRUE(model->bytes > 0);
	model_drop(model);
}

static void links_and_sums(void)
{
	static const struct {
		const char *output, *file;
		double result, first; /* first probability */
	} cases[] = {
		{REGRESSION, FOREST("identity", "[0.5]", TREE "," TREE), 2.5, 0},
		{REGRESSION, FOREST("exp", "[0]", TREE), 2.718281828459045, 0},
		{REGRESSION,
		 "{\"format\":\"appcore forest 1\",\"link\":\"identity\",\"start\":[0],\"divisor\":4,\"trees\":[" TREE
		 "]}",
		 0.25, 0},
		{BINARY, FOREST("logistic", "[-1]", TREE), 0.5, 0.5},
		{THREE,
		 FOREST("softmax", "[0,0,0]",
			STUMP("", "[0,0]") "," STUMP(",\"output\":1", "[2,0]") "," STUMP(",\"output\":2", "[1,0]")),
		 1, 0.090030573170380462},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct model *model;
		struct err err = {0};
		CU_ASSERT_EQUAL_FATAL(
			helper_load(&model, "forest", INPUTS, "", cases[i].output, "", cases[i].file, &err), STATUS_OK);
		struct helper_answer answer = helper_predict(model, "[0, 0]");
		CU_ASSERT_DOUBLE_EQUAL(answer.result, cases[i].result, 1e-15);
		CU_ASSERT_DOUBLE_EQUAL(answer.probabilities[0], cases[i].first, 1e-15);
		model_drop(model);
	}
}

static void leaves_of_shares(void)
{
	static const char file[] =
		"{\"format\":\"appcore forest 1\",\"link\":\"shares\",\"start\":[0,0,0],\"divisor\":2,\"vectors\":true,"
		"\"trees\":[" STUMP("", "[0.25,0.75,0,1,0,0]") "," STUMP("", "[0.5,0,0.5,0,0,1]") "]}";
	struct model *model = helper_model("forest", INPUTS, "", THREE, "", file);
	struct helper_answer answer = helper_predict(model, "[0, 0]");

	CU_ASSERT_EQUAL(answer.label, 0); /* of equal ones the first */
	CU_ASSERT_TRUE(answer.probabilities[0] == 0.375 && answer.probabilities[1] == 0.375);
	CU_ASSERT_EQUAL(answer.probabilities[2], 0.25);
	answer = helper_predict(model, "[1, 0]");
	CU_ASSERT_TRUE(answer.probabilities[0] == 0.5 && answer.probabilities[2] == 0.5);
	model_drop(model);
}

static void compares_as_float_or_double(void)
{
	static const char doubles[] = "{\"format\":\"appcore forest 1\",\"link\":\"identity\",\"start\":[0],"
				      "\"compare\":\"float64\",\"trees\":[" STUMP("", "[1,2]") "," STUMP("",
													 "[0,0]") "]}";
	static const char floats[] = FOREST("identity", "[0]", STUMP("", "[1,2]"));
	struct model *as_doubles = helper_model("forest", INPUTS, "", REGRESSION, "", doubles);
	struct model *as_floats = helper_model("forest", INPUTS, "", REGRESSION, "", floats);

	/* 0.1 as float32 is more than 0.1: scikit-learn sends it to the right. */
	CU_ASSERT_EQUAL(helper_result(as_floats, "[0.1, 0]"), 2);
	CU_ASSERT_EQUAL(helper_result(as_floats, "[0.09999999, 0]"), 1);
	CU_ASSERT_EQUAL(helper_result(as_doubles, "[0.1, 0]"), 1);
	CU_ASSERT_EQUAL(helper_result(as_doubles, "[0.10000000000000002, 0]"), 2);
	CU_ASSERT_EQUAL(helper_result(as_doubles, "[-1e300, 0]"), 1);
	model_drop(as_doubles);
	model_drop(as_floats);
}

static void missing_values_go_their_way(void)
{
	static const char left[] = FOREST("identity", "[0]", STUMP(",\"missing_left\":[1]", "[1,2]"));
	static const char right[] = "{\"format\":\"appcore forest 1\",\"link\":\"identity\",\"start\":[0],\"compare\":"
				    "\"float64\",\"trees\":[" STUMP(",\"missing_left\":[0]", "[1,2]") "]}";
	struct model *model = helper_model("forest", MISSING, "", REGRESSION, "", left);

	CU_ASSERT_EQUAL(helper_result(model, "[null, 0]"), 1);
	model_drop(model);
	model = helper_model("forest", MISSING, "", REGRESSION, "", right);
	CU_ASSERT_EQUAL(helper_result(model, "[null, 0]"), 2);
	model_drop(model);
	helper_refused("forest", MISSING, "", REGRESSION, "", FOREST("identity", "[0]", TREE),
		       "trees[0].missing_left: is missing, but the manifest says that inputs may be missing");
	/* Imputed, nothing is missing. */
	model = helper_model("forest", MISSING, "[{\"step\":\"impute\",\"inputs\":[\"a\",\"b\"],\"values\":[1,3]}]",
			     REGRESSION, "", FOREST("identity", "[0]", TREE));
	CU_ASSERT_EQUAL(helper_result(model, "[null, null]"), 100);
	model_drop(model);
}

static void batches_are_rows(void)
{
	enum { ROWS = 1000 };
	struct model *model = helper_model("forest", INPUTS, "", REGRESSION, "", FOREST("identity", "[0]", TREE));
	double *rows = calloc(2 * ROWS, sizeof(double)), *results = calloc(ROWS, sizeof(double));
	struct arena arena;
	struct err err = {0};
	size_t bad;

	CU_ASSERT_TRUE_FATAL(rows != NULL && results != NULL);
	for (int i = 0; i < ROWS; i++) {
		rows[2 * i] = i % 2;
		rows[2 * i + 1] = i % 3 == 0 ? 5 : 1;
	}
	arena_init(&arena, HELPER_ARENA);
	struct model_batch batch = {.n = ROWS, .values = rows, .width = 2, .results = results, .arena = &arena};
	CU_ASSERT_EQUAL(model_predict(model, &batch, &bad, &err), STATUS_OK);
	for (int i = 0; i < ROWS; i++)
		CU_ASSERT_EQUAL(results[i], i % 2 == 0 ? 1 : i % 3 == 0 ? 100 : 10);
	arena_release(&arena);
	free(rows);
	free(results);
	model_drop(model);
}

static void refuses(void)
{
	static const struct {
		const char *output, *file, *sentence;
	} cases[] = {
		{REGRESSION, "{\"format\":\"appcore forest 1\"",
		 "The model file is no JSON: Expecting ',' delimiter at "
		 "character 28"},
		{REGRESSION, "{\"format\":\"appcore forest 1\"}", "link: is missing"},
		{REGRESSION, FOREST("softmax", "[0]", TREE), "link: \"softmax\" is not for this type of output"},
		{BINARY, FOREST("identity", "[0]", TREE), "link: \"identity\" is not for this type of output"},
		{THREE, FOREST("softmax", "[0]", TREE), "start: should have 3 elements, not 1"},
		{REGRESSION, FOREST("identity", "[0]", ""), "trees: is empty"},
		{REGRESSION, FOREST("identity", "[0]", TREE ",3"), "trees[1]: should be an object"},
		{REGRESSION, FOREST("identity", "[0]", "{}"), "trees[0].features: is missing"},
		{REGRESSION,
		 "{\"format\":\"appcore forest 1\",\"link\":\"identity\",\"start\":[0],\"divisor\":0,\"trees\":[" TREE
		 "]}",
		 "divisor: is 0"},
		{REGRESSION,
		 FOREST("identity", "[0]", "{\"features\":[],\"left\":[],\"right\":[],\"at_most\":[],\"leaves\":[]}"),
		 "trees[0].features: is empty"},
		{REGRESSION,
		 FOREST("identity", "[0]",
			"{\"features\":[2,-1,-1],\"left\":[1],\"right\":[2],\"at_most\":[1],\"leaves\":[1,2]}"),
		 "trees[0].features[0]: should be a whole number from -1 to 1"},
		{REGRESSION,
		 FOREST("identity", "[0]",
			"{\"features\":[0,-1],\"left\":[1],\"right\":[1],\"at_most\":[1],\"leaves\":[1]}"),
		 "trees[0].features: has 1 inner nodes and 1 leaves, a tree has one leaf more than inner nodes"},
		{REGRESSION,
		 FOREST("identity", "[0]",
			"{\"features\":[0,-1,-1],\"left\":[3],\"right\":[2],\"at_most\":[1],\"leaves\":[1,2]}"),
		 "trees[0].left[0]: should be a whole number from 0 to 2"},
		{REGRESSION, FOREST("identity", "[0]", STUMP(",\"missing_left\":[2]", "[1,2]")),
		 "trees[0].missing_left[0]: should be a whole number from 0 to 1"},
		{REGRESSION, FOREST("identity", "[0]", STUMP(",\"output\":1", "[1,2]")),
		 "trees[0].output: should be a whole number from 0 to 0"},
		{REGRESSION, FOREST("identity", "[0]", STUMP("", "[1]")),
		 "trees[0].leaves: should have 2 elements, not 1"},
		{BINARY,
		 "{\"format\":\"appcore forest 1\",\"link\":\"shares\",\"start\":[0,0],\"divisor\":2,\"vectors\":true,"
		 "\"trees\":[" STUMP("", "[[0.25,0.75],[1,0]]") "]}",
		 "trees[0].leaves[0]: should be a number"},
		{REGRESSION, FOREST("identity", "[0]", STUMP("", "[1,1e999]")),
		 "trees[0].leaves[1]: is larger than a double can be"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		helper_refused("forest", INPUTS, "", cases[i].output, "", cases[i].file, cases[i].sentence);
}

static void cycles_are_refused(void)
{
	static const char *const files[] = {
		FOREST("identity", "[0]",
		       "{\"features\":[0,-1,-1],\"left\":[0],\"right\":[2],\"at_most\":[1],\"leaves\":[1,2]}"),
		FOREST("identity", "[0]",
		       "{\"features\":[0,-1,-1],\"left\":[1],\"right\":[1],\"at_most\":[1],\"leaves\":[1,2]}"),
		FOREST("identity", "[0]",
		       "{\"features\":[0,1,-1,-1,-1],\"left\":[1,0],\"right\":[2,3],\"at_most\":[1,2],\"leaves\":[1,2,"
		       "3]}"),
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct model *model;
		struct err err = {0};
		CU_ASSERT_EQUAL(helper_load(&model, "forest", INPUTS, "", REGRESSION, "", files[i], &err),
				STATUS_INVALID);
		CU_ASSERT_PTR_NULL(model);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "ree"));
	}
}

static void ranks_decide_as_the_values_do(void)
{
	static const double thresholds[] = {0.1, -3, 0.1, 1e300, 0.10000000000000002, -0.0, 5e-324};
	static const double values[] = {0.1, -3, 0, -0.0, 5e-324, 0.10000000000000002, 7, -1e308, 1e300, 1e308};
	enum { THRESHOLDS = 7, VALUES = 10 };
	struct ranks *ranks = ranks_new(3);

	CU_ASSERT_PTR_NOT_NULL_FATAL(ranks);
	for (int i = 0; i < THRESHOLDS; i++)
		CU_ASSERT_EQUAL(ranks_add(ranks, 1, thresholds[i], NULL), STATUS_OK);
	CU_ASSERT_EQUAL(ranks_add(ranks, 2, 4, NULL), STATUS_OK);
	ranks_finish(ranks);
	for (int v = 0; v < VALUES; v++)
		for (int t = 0; t < THRESHOLDS; t++)
			CU_ASSERT_EQUAL(ranks_of(ranks, 1, values[v]) <= ranks_of(ranks, 1, thresholds[t]),
					values[v] <= thresholds[t]);
	CU_ASSERT_EQUAL(ranks_of(ranks, 0, 5), 0);
	CU_ASSERT_EQUAL(ranks_of(ranks, 2, 4), 0);
	CU_ASSERT_EQUAL(ranks_of(ranks, 2, 4.5), 1);
	CU_ASSERT_TRUE(isnan(ranks_of(ranks, 2, (double)NAN)));
	ranks_free(ranks);
}

static const struct unit_case CASES[] = {
	{"walks", walks},
	{"links and sums", links_and_sums},
	{"leaves of shares", leaves_of_shares},
	{"compares as float or double", compares_as_float_or_double},
	{"missing values go their way", missing_values_go_their_way},
	{"batches are rows", batches_are_rows},
	{"refuses", refuses},
	{"cycles are refused", cycles_are_refused},
	{"ranks decide as the values do", ranks_decide_as_the_values_do},
};

int main(void)
{
	return UNIT_RUN("forest", CASES);
}
