/* Linear and logistic models: what they compute, and what their loader refuses. */
#include "model_helpers.h"
#include "unit.h"

#include "model/output.h"

#include <float.h>
#include <math.h>

static const char TWO_NUMBERS[] = "[{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"b\",\"type\":\"number\"}]";

#define HEAD "{\"format\":\"appcore linear 1\","

static void regression(void)
{
	static const struct {
		const char *link;
		double result;
	} cases[] = {
		{"", 0.5 + 2 * 3 - 1 * 4},
		{",\"link\":\"identity\"", 2.5},
		{",\"link\":\"exp\"", 12.182493960703473},
		{",\"link\":\"logistic\"", 0.92414181997875655},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char file[200];
		snprintf(file, sizeof(file), HEAD "\"coefficients\":[[2,-1]],\"intercepts\":[0.5]%s}", cases[i].link);
		struct model *model = helper_model("linear", TWO_NUMBERS, "", "{\"type\":\"regression\"}", "", file);
		CU_ASSERT_DOUBLE_EQUAL(helper_result(model, "[3, 4]"), cases[i].result, 1e-14);
		CU_ASSERT_DOUBLE_EQUAL(helper_result(model, "{\"b\": 4, \"a\": 3}"), cases[i].result, 1e-14);
		model_drop(model);
	}
}

static void two_classes(void)
{
	struct model *model = helper_model("logistic", TWO_NUMBERS, "",
					   "{\"type\":\"binary\",\"classes\":[\"no\",\"yes\"]}", "",
					   HEAD "\"coefficients\":[[1,0]],\"intercepts\":[0]}");
	static const struct {
		const char *input;
		double result;
		int label;
	} cases[] = {
		{"[0, 0]", 0.5, 0},
		{"[1000, 0]", 1, 1},
		{"[-1000, 0]", 0, 0},
		{"[1e-9, 0]", 0.50000000025, 1},
		{"[-40, 1]", 4.248354255291589e-18, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct helper_answer answer = helper_predict(model, cases[i].input);
		CU_ASSERT_DOUBLE_EQUAL(answer.result, cases[i].result, 1e-15 * cases[i].result);
		CU_ASSERT_EQUAL(answer.label, cases[i].label);
		CU_ASSERT_EQUAL(answer.probabilities[1], answer.result);
		CU_ASSERT_DOUBLE_EQUAL(answer.probabilities[0], 1 - answer.result, 1e-15);
	}
	model_drop(model);
}

static void several_classes(void)
{
	static const char output[] = "{\"type\":\"multiclass\",\"classes\":[\"x\",\"y\",\"z\"]}";
	static const char file[] = HEAD "\"coefficients\":[[1,0],[0,1],[0,0]],\"intercepts\":[0,0,0.5]%s}";
	char text[200];

	snprintf(text, sizeof(text), file, "");
	struct model *model = helper_model("logistic", TWO_NUMBERS, "", output, "", text);
	struct helper_answer answer = helper_predict(model, "[1, 2]");
	double total = exp(1) + exp(2) + exp(0.5);
	CU_ASSERT_EQUAL(answer.result, 1);
	CU_ASSERT_EQUAL(answer.label, 1);
	CU_ASSERT_DOUBLE_EQUAL(answer.probabilities[0], exp(1) / total, 1e-15);
	CU_ASSERT_DOUBLE_EQUAL(answer.probabilities[2], exp(0.5) / total, 1e-15);
	answer = helper_predict(model, "[1e308, -1e308]");
	CU_ASSERT_EQUAL(answer.probabilities[0], 1);
	CU_ASSERT_EQUAL(answer.probabilities[1], 0);
	model_drop(model);

	snprintf(text, sizeof(text), file, ",\"link\":\"ovr\"");
	model = helper_model("logistic", TWO_NUMBERS, "", output, "", text);
	answer = helper_predict(model, "[1, 2]");
	total = output_logistic(1) + output_logistic(2) + output_logistic(0.5);
	CU_ASSERT_DOUBLE_EQUAL(answer.probabilities[1], output_logistic(2) / total, 1e-15);
	answer = helper_predict(model, "[-1000, -1000]");
	CU_ASSERT_EQUAL(answer.label, 2);
	model_drop(model);
}

static void preprocesses(void)
{
	struct model *model = helper_model("linear",
					   "[{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"c\",\"type\":"
					   "\"category\",\"categories\":[\"r\",\"w\"],"
					   "\"missing\":\"allow\"}]",
					   "[{\"step\":\"impute\",\"inputs\":[\"a\"],\"values\":[7]},"
					   "{\"step\":\"standardise\",\"inputs\":[\"a\"],\"means\":[5],\"scales\":[2]},"
					   "{\"step\":\"one_hot\",\"input\":\"c\"}]",
					   "{\"type\":\"regression\"}", "",
					   HEAD "\"coefficients\":[[10,100,1000]],\"intercepts\":[1]}");

	CU_ASSERT_EQUAL(helper_result(model, "[9, \"r\"]"), 121);
	CU_ASSERT_EQUAL(helper_result(model, "[null, \"w\"]"), 1011);
	CU_ASSERT_EQUAL(helper_result(model, "{\"c\": \"blue\"}"), 11);
	CU_ASSERT_EQUAL(helper_result(model, "[5, null]"), 1);
	model_drop(model);
}

static void refuses(void)
{
	static const struct {
		const char *kind, *output, *file, *text;
	} cases[] = {
#define REGRESSION "{\"type\":\"regression\"}"
#define BINARY     "{\"type\":\"binary\",\"classes\":[\"a\",\"b\"]}"
#define THREE      "{\"type\":\"multiclass\",\"classes\":[\"a\",\"b\",\"c\"]}"
		{"linear", BINARY, "{}", "output.type: a classifier is of kind \"logistic\", not \"linear\""},
		{"logistic", REGRESSION, "{}",
		 "output.type: should be \"binary\" or \"multiclass\" for kind \"logistic\""},
		{"linear", REGRESSION, "", "The model file is no JSON: Expecting value at character 0"},
		{"linear", REGRESSION, "[]", "The file should be a JSON object"},
		{"linear", REGRESSION, "{}", "format: is missing"},
		{"linear", REGRESSION, "{\"format\":\"appcore linear 2\",\"coefficients\":[],\"intercepts\":[]}",
		 "format: should be \"appcore linear 1\""},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,2]],\"intercepts\":[1],\"x\":1}",
		 "x: is no member that this format has"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,2]],\"intercepts\":{}}",
		 "intercepts: should be an array"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,2]],\"intercepts\":[1,2]}",
		 "intercepts: should have 1 element, not 2"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,2],[1,2]],\"intercepts\":[1]}",
		 "coefficients: has 2 rows, 1 are wanted"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,2,3]],\"intercepts\":[1]}",
		 "coefficients[0]: should have 2 elements, not 3"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1]],\"intercepts\":[1]}",
		 "coefficients[0]: should have 2 elements, not 1"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,1e400]],\"intercepts\":[1]}",
		 "coefficients[0][1]: is larger than a double can be"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,null]],\"intercepts\":[1]}",
		 "coefficients[0][1]: should be a number"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,NaN]],\"intercepts\":[1]}",
		 "The model file is no JSON: Expecting value at character 48"},
		{"linear", REGRESSION, HEAD "\"coefficients\":[[1,2]],\"intercepts\":[1],\"link\":\"softmax\"}",
		 "link: should be \"identity\", \"exp\" or \"logistic\""},
		{"logistic", BINARY, HEAD "\"coefficients\":[[1,2]],\"intercepts\":[1],\"link\":\"softmax\"}",
		 "link: should be \"logistic\""},
		{"logistic", THREE, HEAD "\"coefficients\":[[1,2]],\"intercepts\":[1]}",
		 "intercepts: should have 3 elements, not 1"},
		{"logistic", THREE, HEAD "\"coefficients\":[[1,2],[1,2]],\"intercepts\":[1,2,3]}",
		 "coefficients: has 2 rows, 3 are wanted"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		helper_refused(cases[i].kind, TWO_NUMBERS, "", cases[i].output, "", cases[i].file, cases[i].text);
	helper_refused("linear", "[{\"name\":\"a\",\"type\":\"number\",\"missing\":\"flag\"}]", "", REGRESSION, "",
		       HEAD "\"coefficients\":[[1]],\"intercepts\":[1]}",
		       "inputs[0].missing: should be \"refuse\", or a step should impute the input: linear models have "
		       "no missing values");
	helper_refused("linear", "[{\"name\":\"a\",\"type\":\"text\"}]", "", REGRESSION, "", "{}",
		       "inputs[0].type: a model of kind \"linear\" takes no text");
}

static void infinite_results_are_refused(void)
{
	struct model *model = helper_model("linear", TWO_NUMBERS, "", "{\"type\":\"count\"}", "",
					   HEAD "\"coefficients\":[[1,1]],\"intercepts\":[0],\"link\":\"exp\"}");

	CU_ASSERT_TRUE(isnan(helper_result(model, "[1000, 0]")));
	CU_ASSERT_DOUBLE_EQUAL(helper_result(model, "[700, 0]"), exp(700), 1e290);
	model_drop(model);
}

static const struct unit_case CASES[] = {
	{"regression", regression},
	{"two classes", two_classes},
	{"several classes", several_classes},
	{"preprocesses", preprocesses},
	{"refuses", refuses},
	{"infinite results are refused", infinite_results_are_refused},
};

int main(void)
{
	return UNIT_RUN("linear", CASES);
}
