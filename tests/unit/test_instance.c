/* Instances: rows from JSON and back, rules for what is missing or outside, and the words for what is wrong. */
#include "model_helpers.h"
#include "unit.h"

static const char INPUTS[] =
	"[{\"name\":\"a\",\"type\":\"number\",\"minimum\":8,\"maximum\":15.5,\"outside\":\"refuse\"},"
	"{\"name\":\"n\",\"type\":\"integer\",\"minimum\":0,\"outside\":\"flag\",\"missing\":\"flag\"},"
	"{\"name\":\"c\",\"type\":\"category\",\"categories\":[\"red\",\"white\",\"é\"],\"outside\":\"refuse\","
	"\"missing\":\"allow\"},"
	"{\"name\":\"d\",\"type\":\"category\",\"categories\":[\"x\",\"?\"],\"outside\":\"flag\",\"missing\":\"allow\"}"
	"]";
enum { N = 4 };

/* The model is only asked for its manifest here. */
static struct model *reader_of(const char *inputs)
{
	struct buf text = helper_manifest("linear", inputs, "", "{\"type\":\"regression\"}", "", "{}");
	struct manifest *manifest = NULL;
	struct model *model = model_new();
	struct err err = {0};

	if (manifest_parse(&manifest, buf_view(&text), &err) != STATUS_OK)
		printf("\n%s\n", err.text);
	CU_ASSERT_TRUE_FATAL(manifest != NULL && model != NULL);
	buf_release(&text);
	model->manifest = manifest;
	model->inputs_n = manifest->inputs_n;
	model->accepts = manifest->inputs[0].type == MANIFEST_TEXT ? MODEL_TEXT : MODEL_VECTOR;
	return model;
}

static struct arena arena;
static struct instance_flags flags;
static struct instance_fault fault;
static struct str text;
static double row[16];
static size_t width;

static enum status read_it(const struct model *model, const char *instance)
{
	struct json_value value;
	struct json_fault json;

	memset(&fault, 0, sizeof(fault));
	width = 16;
	CU_ASSERT_TRUE_FATAL(json_check(str_of(instance), JSON_MAX_DEPTH, &value, &json));
	return instance_read(model, value, row, &width, &text, &flags, &arena, &fault);
}

static void reads(void)
{
	struct model *model = reader_of(INPUTS);

	CU_ASSERT_EQUAL(read_it(model, "[8, 3, \"white\", \"x\"]"), STATUS_OK);
	CU_ASSERT_TRUE(width == N && row[0] == 8 && row[1] == 3 && row[2] == 1 && row[3] == 0 && flags.n == 0);
	CU_ASSERT_EQUAL(read_it(model, "{\"d\":\"\\u003f\",\"n\":4.0,\"\\u0061\":15.5,\"c\":\"\\u00e9\"}"), STATUS_OK);
	CU_ASSERT_TRUE(width == N && row[0] == 15.5 && row[1] == 4 && row[2] == 2 && row[3] == 1 && flags.n == 0);
	/* What is missing: null, or left out. */
	CU_ASSERT_EQUAL(read_it(model, "[9, null, null, \"x\"]"), STATUS_OK);
	CU_ASSERT_TRUE(isnan(row[1]) && isnan(row[2]) && flags.n == 1 && flags.inputs[0] == 1);
	CU_ASSERT_EQUAL(read_it(model, "{\"a\": 9}"), STATUS_OK);
	CU_ASSERT_TRUE(row[0] == 9 && isnan(row[1]) && isnan(row[2]) && isnan(row[3]));
	CU_ASSERT_TRUE(flags.n == 1 && flags.inputs[0] == 1);
	/* What is outside and flagged. */
	CU_ASSERT_EQUAL(read_it(model, "[9, -1, \"red\", \"new\"]"), STATUS_OK);
	CU_ASSERT_TRUE(row[1] == -1 && row[3] == -1 && flags.n == 2 && flags.inputs[0] == 1 && flags.inputs[1] == 3);
	model_drop(model);
}

static void refuses(void)
{
	struct model *model = reader_of(INPUTS);
	static const struct {
		const char *instance, *type, *msg, *field;
		int64_t index;
		const char *input;
	} cases[] = {
		{"3", "list_type", "Input should be a valid list", "", -1, "3"},
		{"null", "list_type", "Input should be a valid list", "", -1, "null"},
		{"[8, 1, \"red\"]", "too_short", "List should have at least 4 items after validation, not 3", "", -1,
		 "[8, 1, \"red\"]"},
		{"[]", "too_short", "List should have at least 4 items after validation, not 0", "", -1, "[]"},
		{"[8, 1, \"red\", \"x\", 5]", "too_long", "List should have at most 4 items after validation, not 5",
		 "", -1, "[8, 1, \"red\", \"x\", 5]"},
		{"[\"8\", 1, \"red\", \"x\"]", "float_type", "Input should be a valid number", "a", 0, "\"8\""},
		{"[true, 1, \"red\", \"x\"]", "float_type", "Input should be a valid number", "a", 0, "true"},
		{"[null, 1, \"red\", \"x\"]", "float_type", "Input should be a valid number", "a", 0, "null"},
		{"[1e999, 1, \"red\", \"x\"]", "finite_number", "Input should be a finite number", "a", 0, "1e999"},
		{"[7.5, 1, \"red\", \"x\"]", "greater_than_equal", "Input should be greater than or equal to 8", "a", 0,
		 "7.5"},
		{"[15.6, 1, \"red\", \"x\"]", "less_than_equal", "Input should be less than or equal to 15.5", "a", 0,
		 "15.6"},
		{"[8, \"1\", \"red\", \"x\"]", "int_type", "Input should be a valid integer", "n", 1, "\"1\""},
		{"[8, 1.5, \"red\", \"x\"]", "int_from_float",
		 "Input should be a valid integer, got a number with a fractional part", "n", 1, "1.5"},
		{"[8, 1, 0, \"x\"]", "string_type", "Input should be a valid string", "c", 2, "0"},
		{"[8, 1, \"Red\", \"x\"]", "enum", "Input should be 'red', 'white' or 'é'", "c", 2, "\"Red\""},
		{"{\"c\": \"Red\"}", "enum", "Input should be 'red', 'white' or 'é'", "c", -1, "\"Red\""},
		{"{\"n\": 1}", "missing", "Field required", "a", -1, "{\"n\": 1}"},
		{"{}", "missing", "Field required", "a", -1, "{}"},
		{"{\"a\": 9, \"z\": 1}", "extra_forbidden", "Extra inputs are not permitted", "z", -1, "1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_EQUAL(read_it(model, cases[i].instance), STATUS_INVALID);
		CU_ASSERT_STRING_EQUAL_FATAL(fault.type, cases[i].type);
		CU_ASSERT_STRING_EQUAL(fault.msg, cases[i].msg);
		CU_ASSERT_TRUE(str_eq(fault.field, str_of(cases[i].field)));
		CU_ASSERT_EQUAL(fault.index, cases[i].index);
		CU_ASSERT_TRUE(str_eq(fault.input.text, str_of(cases[i].input)));
	}
	model_drop(model);
}

static void long_lists_of_categories_are_counted(void)
{
	struct buf inputs;

	buf_init_heap(&inputs);
	buf_str(&inputs,
		STR("[{\"name\":\"c\",\"type\":\"category\",\"outside\":\"refuse\",\"categories\":[\"first\""));
	for (int i = 0; i < 500; i++)
		buf_fmt(&inputs, ",\"category %d\"", i);
	buf_fmt(&inputs, "]}]%c", 0);
	struct model *model = reader_of(inputs.p);
	CU_ASSERT_EQUAL(read_it(model, "[\"category 499\"]"), STATUS_OK);
	CU_ASSERT_EQUAL(row[0], 500);
	CU_ASSERT_EQUAL(read_it(model, "[\"second\"]"), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(fault.msg, "Input should be one of the 501 categories of this input");
	model_drop(model);
	buf_release(&inputs);
}

static void texts(void)
{
	struct model *model = reader_of("[{\"name\":\"review\",\"type\":\"text\",\"minimum\":1,\"maximum\":3,"
					"\"outside\":\"refuse\"}]");
	static const struct {
		const char *instance, *text; /* NULL: refused, */
		const char *type, *msg;
	} cases[] = {
		{"\"abc\"", "abc", NULL, NULL},
		{"\"\\u00e9\xc3\xa9\xf0\x9f\x98\x80\"", "éé😀", NULL, NULL},
		{"{\"text\":\"a\"}", "a", NULL, NULL},
		{"{\"review\":\"a\"}", "a", NULL, NULL},
		{"[\"a\"]", "a", NULL, NULL},
		{"\"abcd\"", NULL, "string_too_long", "String should have at most 3 characters"},
		{"\"\"", NULL, "string_too_short", "String should have at least 1 character"},
		{"5", NULL, "string_type", "Input should be a valid string"},
		{"null", NULL, "string_type", "Input should be a valid string"},
		{"[]", NULL, "too_short", "List should have at least 1 item after validation, not 0"},
		{"[\"a\",\"b\"]", NULL, "too_long", "List should have at most 1 item after validation, not 2"},
		{"{}", NULL, "missing", "Field required"},
		{"{\"title\":\"a\"}", NULL, "extra_forbidden", "Extra inputs are not permitted"},
		{"{\"text\":\"a\",\"title\":\"b\"}", NULL, "extra_forbidden", "Extra inputs are not permitted"},
		{"{\"text\":null}", NULL, "string_type", "Input should be a valid string"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum status status = read_it(model, cases[i].instance);
		CU_ASSERT_EQUAL(status, cases[i].text ? STATUS_OK : STATUS_INVALID);
		if (status == STATUS_OK) {
			CU_ASSERT_TRUE(str_eq(text, str_of(cases[i].text)));
			continue;
		}
		CU_ASSERT_STRING_EQUAL_FATAL(fault.type, cases[i].type);
		CU_ASSERT_STRING_EQUAL(fault.msg, cases[i].msg);
	}
	model_drop(model);
	model = reader_of(
		"[{\"name\":\"review\",\"type\":\"text\",\"missing\":\"flag\",\"maximum\":2,\"outside\":\"flag\"}]");
	CU_ASSERT_EQUAL(read_it(model, "null"), STATUS_OK);
	CU_ASSERT_TRUE(text.n == 0 && text.p != NULL && flags.n == 1);
	CU_ASSERT_EQUAL(read_it(model, "\"abc\""), STATUS_OK);
	CU_ASSERT_TRUE(text.n == 3 && flags.n == 1 && flags.inputs[0] == 0);
	model_drop(model);
}

static void built_in_models_take_any_width(void)
{
	CU_ASSERT_EQUAL(read_it(model_mean(), "[1, 2.5]"), STATUS_OK);
	CU_ASSERT_TRUE(width == 2 && row[1] == 2.5);
	CU_ASSERT_EQUAL(read_it(model_mean(), "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(fault.type, "too_long");
	CU_ASSERT_EQUAL(read_it(model_mean(), "[]"), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(fault.msg, "List should have at least 1 item after validation, not 0");
	CU_ASSERT_EQUAL(read_it(model_mean(), "[1, null]"), STATUS_INVALID);
	CU_ASSERT_TRUE(fault.index == 1 && fault.field.n == 0);
	CU_ASSERT_EQUAL(read_it(model_mean(), "{\"a\": 1}"), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(fault.type, "list_type");
}

static void comes_back(const struct model *model, const char *instance, const char *stored)
{
	struct buf out, again;

	CU_ASSERT_EQUAL(read_it(model, instance), STATUS_OK);
	buf_init_heap(&out);
	buf_init_heap(&again);
	instance_put(model, row, width, text, &out);
	buf_char(&out, 0);
	if (strcmp(out.p, stored) != 0)
		printf("\n%s\ninstead of\n%s\n", out.p, stored);
	CU_ASSERT_STRING_EQUAL(out.p, stored);
	CU_ASSERT_EQUAL(read_it(model, out.p), STATUS_OK);
	instance_put(model, row, width, text, &again);
	buf_char(&again, 0);
	CU_ASSERT_STRING_EQUAL(again.p, out.p);
	buf_release(&out);
	buf_release(&again);
}

static void is_stored_and_read_again(void)
{
	struct model *model = reader_of(INPUTS);

	comes_back(model, "{\"c\":\"\\u00e9\",\"a\":9}", "[9.0, null, \"é\", null]");
	comes_back(model, "[8.1, 12345678, \"red\", \"?\"]", "[8.1, 12345678.0, \"red\", \"?\"]");
	/* A category that is not known stays one. */
	comes_back(model, "[8, 1, null, \"new\"]", "[8.0, 1.0, null, \"??\"]");
	CU_ASSERT_EQUAL(row[3], -1);
	model_drop(model);
	model = reader_of("[{\"name\":\"t\",\"type\":\"text\"}]");
	comes_back(model, "\"a \\\"b\\\" \\u00e9\\n\"", "\"a \\\"b\\\" é\\n\"");
	model_drop(model);
	comes_back(model_mean(), "[1, 2]", "[1.0, 2.0]");
}

static void flags_are_counted(void)
{
	struct buf inputs, instance;
	enum { MANY = 16 };

	buf_init_heap(&inputs);
	buf_init_heap(&instance);
	for (int i = 0; i < MANY; i++) {
		buf_fmt(&inputs, "%c{\"name\":\"f%d\",\"type\":\"number\",\"missing\":\"flag\"}", i ? ',' : '[', i);
		buf_fmt(&instance, "%cnull", i ? ',' : '[');
	}
	buf_fmt(&inputs, "]%c", 0);
	buf_fmt(&instance, "]%c", 0);
	struct model *model = reader_of(inputs.p);
	CU_ASSERT_EQUAL(read_it(model, instance.p), STATUS_OK);
	CU_ASSERT_EQUAL(flags.n, MANY);
	CU_ASSERT_EQUAL(flags.inputs[INSTANCE_FLAGS_MAX - 1], INSTANCE_FLAGS_MAX - 1);
	model_drop(model);
	buf_release(&inputs);
	buf_release(&instance);
}

static const struct unit_case CASES[] = {
	{"reads", reads},
	{"refuses", refuses},
	{"long lists of categories are counted", long_lists_of_categories_are_counted},
	{"texts", texts},
	{"built-in models take any width", built_in_models_take_any_width},
	{"is stored and read again", is_stored_and_read_again},
	{"flags are counted", flags_are_counted},
};

int main(void)
{
	arena_init(&arena, HELPER_ARENA);
	int code = UNIT_RUN("instance", CASES);
	arena_release(&arena);
	return code;
}
