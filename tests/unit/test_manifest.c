/* Manifests: what is read of a good one, and the sentence for each thing that can be wrong with one. */
#include "model_helpers.h"
#include "unit.h"

#define FRONT    "{\"appcore\":1,\"kind\":\"linear\",\"file\":\"m.json\",\"hash\":\"" HASH "\""
#define HASH     "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"
#define NUMBER_A "{\"name\":\"a\",\"type\":\"number\"}"
#define OUT      "\"output\":{\"type\":\"regression\"}"
/* A manifest with these inputs; with these steps over a number a, an integer n and a category c. */
#define WITH_INPUTS(inputs) FRONT ",\"inputs\":[" inputs "]," OUT "}"
#define CATEGORY_C          "{\"name\":\"c\",\"type\":\"category\",\"categories\":[\"r\",\"w\",\"z\"]}"
#define WITH_STEPS(steps)                                                                                              \
	FRONT ",\"inputs\":[" NUMBER_A ",{\"name\":\"n\",\"type\":\"integer\"}," CATEGORY_C "]," OUT                   \
	      ",\"preprocessing\":[" steps "]}"
#define WITH_OUTPUT(output) FRONT ",\"inputs\":[" NUMBER_A "],\"output\":" output "}"
#define WITH(members)       FRONT ",\"inputs\":[" NUMBER_A "]," OUT "," members "}"
#define BINARY              "\"output\":{\"type\":\"binary\",\"classes\":[\"no\",\"yes\"]}"

static struct manifest *parse(const char *text)
{
	struct manifest *manifest = NULL;
	struct err err = {0};

	if (manifest_parse(&manifest, str_of(text), &err) != STATUS_OK)
		printf("\n%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(manifest);
	return manifest;
}

static const char WHOLE[] =
	"{\"appcore\": 1, \"kind\": \"xgboost\", \"file\": \"model.json\", \"hash\": \"" HASH "\","
	"\"description\": \"Wine\\nof 2009\", \"created_at\": \"2026-11-21T10:00:00Z\", \"source\": \"s\", "
	"\"licence\": \"CC\","
	"\"inputs\": [{\"name\": \"alc\\u006fhol\", \"type\": \"number\", \"minimum\": 8, \"maximum\": 15,"
	"  \"outside\": \"refuse\", \"missing\": \"flag\","
	"  \"distribution\": {\"edges\": [9, 10.5], \"shares\": [0.2, 0.5, 0.3], \"missing\": 0.01}},"
	" {\"name\": \"year\", \"type\": \"integer\", \"outside\": \"flag\"},"
	" {\"name\": \"colour\", \"type\": \"category\", \"categories\": [\"red\", \"white\"],"
	"  \"distribution\": {\"shares\": [0.25, 0.75]}}],"
	"\"preprocessing\": [{\"step\": \"impute\", \"inputs\": [\"year\", \"colour\"], \"values\": [1.5, \"white\"]},"
	" {\"step\": \"standardise\", \"inputs\": [\"alcohol\"], \"means\": [10], \"scales\": [2]},"
	" {\"step\": \"one_hot\", \"input\": \"colour\"}],"
	"\"output\": {\"type\": \"binary\", \"name\": \"good\", \"meaning\": \"7 or more\", \"classes\": [\"no\", "
	"\"yes\"]},"
	"\"quality\": {\"accuracy\": 0.81, \"rows\": 1599},"
	"\"examples\": [{\"input\": [9, 2001, \"red\"], \"result\": 0.3, \"label\": \"no\","
	"  \"probabilities\": [0.7, 0.3], \"tolerance\": 1e-6}, {\"input\": {\"alcohol\": 9}, \"result\": 1}]}";

static void reads_everything(void)
{
	struct manifest *m = parse(WHOLE);

	CU_ASSERT_EQUAL(strlen(m->hash), 64);
	CU_ASSERT_STRING_EQUAL(m->file_hash, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	CU_ASSERT_TRUE(str_eq(m->text, str_of(WHOLE)));
	CU_ASSERT_TRUE(str_eq(m->kind, STR("xgboost")) && str_eq(m->file, STR("model.json")));
	CU_ASSERT_TRUE(str_eq(m->description, STR("Wine\nof 2009")) && str_eq(m->source, STR("s")));
	CU_ASSERT_TRUE(str_eq(m->licence, STR("CC")) && str_eq(m->created_at, STR("2026-11-21T10:00:00Z")));
	CU_ASSERT_EQUAL_FATAL(m->inputs_n, 3);
	const struct manifest_input *alcohol = &m->inputs[0], *year = &m->inputs[1], *colour = &m->inputs[2];
	CU_ASSERT_TRUE(str_eq(alcohol->name, STR("alcohol")) && alcohol->type == MANIFEST_NUMBER);
	CU_ASSERT_TRUE(alcohol->minimum == 8 && alcohol->maximum == 15);
	CU_ASSERT_TRUE(alcohol->outside == MANIFEST_REFUSE && alcohol->missing == MANIFEST_FLAG);
	CU_ASSERT_EQUAL_FATAL(alcohol->bins, 3);
	CU_ASSERT_TRUE(alcohol->edges[1] == 10.5 && alcohol->shares[2] == 0.3 && alcohol->missing_share == 0.01);
	CU_ASSERT_TRUE(year->type == MANIFEST_INTEGER && year->bins == 0 && isinf(year->minimum));
	CU_ASSERT_TRUE(year->outside == MANIFEST_FLAG && year->missing == MANIFEST_ALLOW);
	CU_ASSERT_TRUE(colour->categories_n == 2 && str_eq(colour->categories[1], STR("white")));
	CU_ASSERT_TRUE(colour->bins == 2 && colour->shares[1] == 0.75 && colour->edges == NULL);
	CU_ASSERT_EQUAL_FATAL(m->steps_n, 3);
	CU_ASSERT_TRUE(m->steps[0].n == 2 && m->steps[0].inputs[1] == 2);
	CU_ASSERT_TRUE(m->steps[0].values[0] == 1.5 && m->steps[0].values[1] == 1);
	CU_ASSERT_TRUE(m->steps[1].values[0] == 10 && m->steps[1].scales[0] == 2);
	CU_ASSERT_TRUE(m->steps[2].kind == MANIFEST_ONE_HOT && m->steps[2].inputs[0] == 2);
	CU_ASSERT_EQUAL(manifest_columns(m), 4);
	CU_ASSERT_TRUE(m->output == MANIFEST_BINARY && m->classes_n == 2 && str_eq(m->classes[1], STR("yes")));
	CU_ASSERT_TRUE(str_eq(m->output_name, STR("good")) && str_eq(m->output_meaning, STR("7 or more")));
	CU_ASSERT_EQUAL(m->quality.type, JSON_OBJECT);
	CU_ASSERT_EQUAL_FATAL(m->examples_n, 2);
	CU_ASSERT_TRUE(m->examples[0].probabilities[1] == 0.3 && str_eq(m->examples[0].label, STR("no")));
	CU_ASSERT_TRUE(m->examples[0].tolerance == 1e-6 && m->examples[1].tolerance == 1e-9);
	CU_ASSERT_TRUE(m->examples[1].probabilities == NULL && m->examples[1].label.n == 0);
	manifest_free(m);
}

static void defaults(void)
{
	struct manifest *m = parse(WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"a\"],\"values\":[1]}"));

	CU_ASSERT_EQUAL(m->inputs[0].missing, MANIFEST_ALLOW); /* imputed */
	CU_ASSERT_EQUAL(m->inputs[1].missing, MANIFEST_REFUSE);
	CU_ASSERT_EQUAL(m->inputs[1].outside, MANIFEST_ALLOW);
	CU_ASSERT_EQUAL(m->inputs[2].missing, MANIFEST_REFUSE);
	CU_ASSERT_EQUAL(m->quality.type, JSON_NULL);
	CU_ASSERT_EQUAL(manifest_columns(m), 3);
	manifest_free(m);
	/* What the file says stands. */
	m = parse(FRONT ",\"inputs\":[{\"name\":\"a\",\"type\":\"number\",\"missing\":\"refuse\"}]," OUT
			",\"preprocessing\":[{\"step\":\"impute\",\"inputs\":[\"a\"],\"values\":[1]}]}");
	CU_ASSERT_EQUAL(m->inputs[0].missing, MANIFEST_REFUSE);
	manifest_free(m);
}

static void finds_inputs(void)
{
	struct buf text;
	char name[32];

	for (int n = 1; n <= MANIFEST_INPUTS_MAX; n = n < 20 ? n + 1 : n * 22) {
		buf_init_heap(&text);
		buf_str(&text, STR(FRONT ",\"inputs\":["));
		for (int i = 0; i < n; i++)
			buf_fmt(&text, "%s{\"name\":\"f%d\",\"type\":\"number\"}", i ? "," : "", i);
		buf_fmt(&text, "]," OUT "}%c", 0);
		struct manifest *m = parse(text.p);
		for (int i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "f%d", i);
			CU_ASSERT_EQUAL(manifest_input_index(m, str_of(name)), i);
		}
		snprintf(name, sizeof(name), "f%d", n);
		CU_ASSERT_EQUAL(manifest_input_index(m, str_of(name)), -1);
		CU_ASSERT_EQUAL(manifest_input_index(m, STR("")), -1);
		manifest_free(m);
		buf_release(&text);
	}
}

static void refused(const char *text, const char *sentence)
{
	struct manifest *manifest;
	struct err err = {0};

	CU_ASSERT_EQUAL(manifest_parse(&manifest, str_of(text), &err), STATUS_INVALID);
	if (strcmp(err.text, sentence) != 0)
		printf("\n%s\ninstead of\n%s\n", err.text, sentence);
	CU_ASSERT_STRING_EQUAL(err.text, sentence);
	CU_ASSERT_PTR_NULL(manifest);
	CU_ASSERT_EQUAL(manifest_parse(&manifest, str_of(text), NULL), STATUS_INVALID);
}

static void names_are_unique_in_long_lists(void)
{
	struct buf text;

	for (int twice = 0; twice < 40; twice += 13) {
		char sentence[100];
		buf_init_heap(&text);
		buf_str(&text,
			STR(FRONT "," OUT ",\"inputs\":[{\"name\":\"c\",\"type\":\"category\",\"categories\":["));
		for (int i = 0; i < 40; i++)
			buf_fmt(&text, "\"c%d\",", i);
		buf_fmt(&text, "\"c%d\"]}]}%c", twice, 0);
		snprintf(sentence, sizeof(sentence), "inputs[0].categories[40]: \"c%d\" is there twice", twice);
		refused(text.p, sentence);
		buf_release(&text);
	}
}

static const struct {
	const char *text, *sentence;
} BAD[] = {
	{"", "The manifest is no JSON: Expecting value at character 0"},
	{"{\"appcore\": 1", "The manifest is no JSON: Expecting ',' delimiter at character 13"},
	{"{\"appcore\": 1, \"x\": \"\xff\"}", "The manifest is no JSON: Invalid UTF-8 at character 21"},
	{"[]", "This is no manifest of appcore: \"appcore\" is missing"},
	{"{}", "This is no manifest of appcore: \"appcore\" is missing"},
	{"{\"appcore\": \"1\"}", "appcore: should be a number"},
	{"{\"appcore\": 2, \"more\": 1}", "appcore: is format 2, this program reads format 1"},
	{"{\"appcore\": 1}", "kind: is missing"},
	{"{\"appcore\": 1, \"kinds\": \"linear\"}", "kinds: is no member that this format has"},
	{"{\"appcore\": 1, \"kind\": 3}", "kind: should be a string"},
	{FRONT "," OUT "}", "inputs: is missing"},
	{FRONT ",\"inputs\":[" NUMBER_A "]}", "output: is missing"},
	{WITH_INPUTS(""), "inputs: is empty"},
	{WITH_INPUTS("3"), "inputs[0]: should be an object"},
	{WITH_INPUTS("{}"), "inputs[0].name: is missing"},
	{WITH_INPUTS("{\"name\":\"\",\"type\":\"number\"}"), "inputs[0].name: should have 1 to 256 bytes"},
	{WITH_INPUTS("{\"name\":\"a\\u0000\",\"type\":\"number\"}"), "inputs[0].name: has a control character"},
	{WITH_INPUTS("{\"name\":\"a\"}"), "inputs[0].type: is missing"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"float\"}"),
	 "inputs[0].type: should be \"number\", \"integer\", \"category\" or \"text\""},
	{WITH_INPUTS(NUMBER_A "," NUMBER_A), "inputs[1]: \"a\" is there twice"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"number\",\"min\":1}"), "inputs[0]: has an unknown member \"min\""},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"number\",\"minimum\":\"1\"}"),
	 "inputs[0].minimum: should be a number"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"number\",\"minimum\":1e999}"),
	 "inputs[0].minimum: is larger than a double can be"},
	{WITH_INPUTS(NUMBER_A ",{\"name\":\"b\",\"type\":\"number\",\"minimum\":2,\"maximum\":1}"),
	 "inputs[1].minimum: is larger than the maximum"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"number\",\"outside\":\"ignore\"}"),
	 "inputs[0].outside: should be \"refuse\", \"flag\" or \"allow\""},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"number\",\"missing\":true}"), "inputs[0].missing: should be a string"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"number\",\"categories\":[\"x\"]}"),
	 "inputs[0].categories: are for inputs of type \"category\""},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"category\"}"), "inputs[0].categories: is missing"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"category\",\"categories\":[]}"), "inputs[0].categories: is empty"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"category\",\"categories\":[\"x\",1]}"),
	 "inputs[0].categories[1]: should be a string"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"category\",\"categories\":[\"x\",\"y\",\"x\"]}"),
	 "inputs[0].categories[2]: \"x\" is there twice"},
	{WITH_INPUTS("{\"name\":\"a\",\"type\":\"category\",\"categories\":[\"x\"],\"minimum\":1}"),
	 "inputs[0]: is a category and has no minimum nor maximum"},
	{WITH_INPUTS(NUMBER_A ",{\"name\":\"t\",\"type\":\"text\"}"),
	 "inputs[1]: is a text, which has to be the only input"},
#define WITH_DISTRIBUTION(distribution)                                                                                \
	WITH_INPUTS("{\"name\":\"a\",\"type\":\"number\",\"distribution\":" distribution "}")
	{WITH_DISTRIBUTION("{\"shares\":[1]}"), "inputs[0].distribution.edges: is missing"},
	{WITH_DISTRIBUTION("{\"edges\":[1]}"), "inputs[0].distribution.shares: is missing"},
	{WITH_DISTRIBUTION("{\"edges\":[1,1],\"shares\":[1,0,0]}"),
	 "inputs[0].distribution.edges[1]: is not larger than the edge before it"},
	{WITH_DISTRIBUTION("{\"edges\":[1,2],\"shares\":[1,0]}"),
	 "inputs[0].distribution.shares: should have 3 elements, not 2"},
	{WITH_DISTRIBUTION("{\"edges\":[1],\"shares\":[0.5,0.49]}"),
	 "inputs[0].distribution.shares: sum to 0.99, not to 1"},
	{WITH_DISTRIBUTION("{\"edges\":[1],\"shares\":[1.5,-0.5]}"),
	 "inputs[0].distribution.shares[0]: is not from 0 to 1"},
	{WITH_DISTRIBUTION("{\"edges\":[1],\"shares\":[1,0],\"missing\":2}"),
	 "inputs[0].distribution.missing: is not from 0 to 1"},
	{WITH_INPUTS("{\"name\":\"c\",\"type\":\"category\",\"categories\":[\"x\"],\"distribution\":{\"edges\":[],"
		     "\"shares\":[1]}}"),
	 "inputs[0].distribution.edges: is not for categories"},
	{WITH_INPUTS(
		 "{\"name\":\"c\",\"type\":\"category\",\"categories\":[\"x\"],\"distribution\":{\"shares\":[1,0]}}"),
	 "inputs[0].distribution.shares: should have 1 element, not 2"},
	{WITH_STEPS("{}"), "preprocessing[0].step: is missing"},
	{WITH_STEPS("{\"step\":\"log\"}"),
	 "preprocessing[0].step: should be \"impute\", \"standardise\" or \"one_hot\""},
	{WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"a\"]}"), "preprocessing[0].values: is missing"},
	{WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"a\"],\"values\":[1],\"means\":[1]}"),
	 "preprocessing[0].means: is not for this step"},
	{WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"a\",\"q\"],\"values\":[1,2]}"),
	 "preprocessing[0].inputs[1]: there is no input \"q\""},
	{WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"a\"],\"values\":[1,2]}"),
	 "preprocessing[0].values: has 2 values for 1 inputs"},
	{WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"a\"],\"values\":[\"r\"]}"),
	 "preprocessing[0].values[0]: should be a number"},
	{WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"c\"],\"values\":[1]}"),
	 "preprocessing[0].values[0]: should be a string"},
	{WITH_STEPS("{\"step\":\"impute\",\"inputs\":[\"c\"],\"values\":[\"b\"]}"),
	 "preprocessing[0].values[0]: is no category of this input"},
	{WITH_STEPS("{\"step\":\"standardise\",\"inputs\":[\"a\",\"c\"],\"means\":[1,1],\"scales\":[1,1]}"),
	 "preprocessing[0].inputs[1]: is a category, a number is wanted"},
	{WITH_STEPS("{\"step\":\"standardise\",\"inputs\":[\"a\",\"n\"],\"means\":[1,1],\"scales\":[1,0]}"),
	 "preprocessing[0].scales[1]: is 0"},
	{WITH_STEPS("{\"step\":\"one_hot\",\"input\":\"a\"}"),
	 "preprocessing[0].input: is a number, a category is wanted"},
	{WITH_STEPS("{\"step\":\"one_hot\",\"input\":\"c\"},{\"step\":\"one_hot\",\"input\":\"c\"}"),
	 "preprocessing[1].input: is one-hot encoded by an earlier step"},
	{WITH_STEPS(
		 "{\"step\":\"one_hot\",\"input\":\"c\"},{\"step\":\"impute\",\"inputs\":[\"c\"],\"values\":[\"r\"]}"),
	 "preprocessing[1].inputs[0]: is one-hot encoded by an earlier step"},
	{WITH_OUTPUT("{}"), "output.type: is missing"},
	{WITH_OUTPUT("{\"type\":\"binary\"}"), "output.classes: is missing"},
	{WITH_OUTPUT("{\"type\":\"binary\",\"classes\":[\"x\"]}"), "output.classes: should have 2 elements, not 1"},
	{WITH_OUTPUT("{\"type\":\"multiclass\",\"classes\":[]}"),
	 "output.classes: should have at least 2 elements, not 0"},
	{WITH_OUTPUT("{\"type\":\"binary\",\"classes\":[\"x\",\"x\"]}"), "output.classes[1]: \"x\" is there twice"},
	{WITH_OUTPUT("{\"type\":\"count\",\"classes\":[\"x\",\"y\"]}"),
	 "output.classes: are for outputs of type \"binary\" and \"multiclass\""},
	{WITH("\"created_at\":\"yesterday\""), "created_at: should be a time like 2026-11-21T10:00:00Z"},
	{WITH("\"quality\":[]"), "quality: should be an object"},
	{WITH("\"examples\":[{\"input\":[1]}]"), "examples[0].result: is missing"},
	{WITH("\"examples\":[{\"input\":[1],\"result\":1,\"tolerance\":-1}]"), "examples[0].tolerance: is less than 0"},
	{WITH("\"examples\":[{\"input\":[1],\"result\":1,\"label\":\"x\"}]"),
	 "examples[0]: has a label or probabilities, but the model has no classes"},
	{FRONT ",\"inputs\":[" NUMBER_A "]," BINARY ",\"examples\":[{\"input\":[1],\"result\":1,\"label\":\"x\"}]}",
	 "examples[0].label: is none of the classes"},
	{FRONT ",\"inputs\":[" NUMBER_A "]," BINARY
	       ",\"examples\":[{\"input\":[1],\"result\":1,\"probabilities\":[1]}]}",
	 "examples[0].probabilities: should have 2 elements, not 1"},
};

static void refuses(void)
{
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		refused(BAD[i].text, BAD[i].sentence);
}

static void files_stay_in_their_folder(void)
{
	static const struct {
		const char *file;
		bool good;
	} cases[] = {
		{"model.json", true},
		{"..model", false},
		{"../model.json", false},
		{"/etc/passwd", false},
		{"a/b", false},
		{"", false},
		{".hidden", false},
		{"manifest.json", false},
		{"a\\\\b", false},
		{"m\\u0000x", false},
		{"..", false},
		{"modèle.json", true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[512];
		struct manifest *manifest;
		struct err err = {0};
		snprintf(text, sizeof(text),
			 "{\"appcore\":1,\"kind\":\"linear\",\"file\":\"%s\",\"hash\":\"" HASH
			 "\",\"inputs\":[" NUMBER_A "]," OUT "}",
			 cases[i].file);
		CU_ASSERT_EQUAL(manifest_parse(&manifest, str_of(text), &err),
				cases[i].good ? STATUS_OK : STATUS_INVALID);
		CU_ASSERT_TRUE(cases[i].good || strncmp(err.text, "file: ", 6) == 0);
		manifest_free(manifest);
	}
	refused("{\"appcore\":1,\"kind\":\"linear\",\"file\":\"m\",\"hash\":\"0123\",\"inputs\":[],\"output\":{}}",
		"hash: should be 64 hexadecimal digits (BLAKE2b-256 of the file)");
}

static void counts_are_bounded(void)
{
	struct buf text;
	struct manifest *manifest;
	struct err err = {0};

	buf_init_heap(&text);
	buf_str(&text, STR(FRONT "," OUT ",\"inputs\":["));
	for (int i = 0; i <= MANIFEST_INPUTS_MAX; i++)
		buf_str(&text, i ? STR(",0") : STR("0"));
	buf_str(&text, STR("]}"));
	CU_ASSERT_EQUAL(manifest_parse(&manifest, buf_view(&text), &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "inputs: has 10001 elements, 10000 are allowed");
	text.n = 0;
	buf_str(&text, STR(WITH("\"examples\":[")));
	text.n--;
	for (int i = 0; i <= MANIFEST_EXAMPLES_MAX; i++)
		buf_str(&text, i ? STR(",0") : STR("0"));
	buf_str(&text, STR("]}"));
	CU_ASSERT_EQUAL(manifest_parse(&manifest, buf_view(&text), &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "examples: has 101 elements, 100 are allowed");
	CU_ASSERT_TRUE(buf_reserve(&text, MANIFEST_BYTES_MAX));
	memset(text.p, ' ', MANIFEST_BYTES_MAX + 1);
	CU_ASSERT_EQUAL(manifest_parse(&manifest, (struct str){text.p, MANIFEST_BYTES_MAX + 1}, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "The manifest has 8388609 bytes, 8388608 are allowed");
	buf_release(&text);
}

/* --- from a manifest and a file to a model --- */

#define INPUT_A     "[" NUMBER_A "]"
#define REGRESSION  "{\"type\":\"regression\"}"
#define TWO_CLASSES "{\"type\":\"binary\",\"classes\":[\"no\",\"yes\"]}"
#define TWICE       "{\"format\":\"appcore linear 1\",\"coefficients\":[[2]],\"intercepts\":[0]}"

static void examples_are_run(void)
{
	static const struct {
		const char *kind, *output, *example, *sentence; /* NULL: it is accepted */
	} cases[] = {
		{"linear", REGRESSION, "{\"input\":[3],\"result\":6}", NULL},
		{"linear", REGRESSION, "{\"input\":[3],\"result\":6.0000000001}", NULL},
		{"linear", REGRESSION, "{\"input\":[3],\"result\":6.1}",
		 "examples[0].result: the model says 6, the manifest 6.0999999999999996"},
		{"linear", REGRESSION, "{\"input\":[3],\"result\":6.1,\"tolerance\":0.05}", NULL},
		{"linear", REGRESSION, "{\"input\":[null],\"result\":6}",
		 "examples[0].input: a: Input should be a valid number"},
		{"linear", REGRESSION, "{\"input\":[1,2],\"result\":6}",
		 "examples[0].input: List should have at most 1 item after validation, not 2"},
		{"linear", REGRESSION, "{\"input\":[1e308],\"result\":6}",
		 "examples[0]: The result is not a finite number"},
		{"logistic", TWO_CLASSES, "{\"input\":[0],\"result\":0.5,\"label\":\"no\"}", NULL},
		{"logistic", TWO_CLASSES, "{\"input\":[0],\"result\":0.5,\"label\":\"yes\"}",
		 "examples[0].label: the model says \"no\", the manifest \"yes\""},
		{"logistic", TWO_CLASSES, "{\"input\":[0],\"result\":0.5,\"probabilities\":[0.4,0.6]}",
		 "examples[0].probabilities[0]: the model says 0.5, the manifest 0.40000000000000002"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char examples[200];
		snprintf(examples, sizeof(examples), "[%s]", cases[i].example);
		if (cases[i].sentence)
			helper_refused(cases[i].kind, INPUT_A, "", cases[i].output, examples, TWICE, cases[i].sentence);
		else
			model_drop(helper_model(cases[i].kind, INPUT_A, "", cases[i].output, examples, TWICE));
	}
}

static void models_are_introduced(void)
{
	struct model *model = helper_model("linear", INPUT_A, "", REGRESSION, "", TWICE);
	struct err err = {0};

	CU_ASSERT_STRING_EQUAL(model->name, "test");
	CU_ASSERT_STRING_EQUAL(model->version, "1");
	CU_ASSERT_STRING_EQUAL(model->hash, model->manifest->hash);
	CU_ASSERT_TRUE(model->accepts == MODEL_VECTOR && model->inputs_n == 1 && model->classes_n == 0);
	CU_ASSERT_TRUE(model->bytes >= 16);
	model_drop(model);
	helper_refused("mystery", INPUT_A, "", REGRESSION, "", TWICE, "kind: \"mystery\" is not known");
	helper_refused("text", INPUT_A, "", TWO_CLASSES, "", TWICE,
		       "inputs: a model of kind \"text\" takes one input of type \"text\"");
	/* A file that was changed. */
	struct buf text = helper_manifest("linear", INPUT_A, "", REGRESSION, "", TWICE);
	struct manifest *manifest = NULL;
	CU_ASSERT_EQUAL_FATAL(manifest_parse(&manifest, buf_view(&text), &err), STATUS_OK);
	CU_ASSERT_EQUAL(kind_load_model(&model, STR("test"), STR("1"), manifest, STR(TWICE " "), &err), STATUS_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "hash: the file m.json has "));
	CU_ASSERT_EQUAL_FATAL(manifest_parse(&manifest, buf_view(&text), &err), STATUS_OK);
	CU_ASSERT_EQUAL(kind_load_model(&model, STR("../x"), STR("1"), manifest, STR(TWICE), &err), STATUS_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "Names and versions of models have 1 to 64 characters"));
	buf_release(&text);
}

static const struct unit_case CASES[] = {
	{"reads everything", reads_everything},
	{"defaults", defaults},
	{"finds inputs", finds_inputs},
	{"names are unique in long lists", names_are_unique_in_long_lists},
	{"refuses", refuses},
	{"files stay in their folder", files_stay_in_their_folder},
	{"counts are bounded", counts_are_bounded},
	{"examples are run", examples_are_run},
	{"models are introduced", models_are_introduced},
};

int main(void)
{
	return UNIT_RUN("manifest", CASES);
}
