/* JSON: what is refused, where and in which words; reading without a tree; numbers both ways. */
#include "unit.h"

#include "base/json.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static struct arena arena;
static struct buf out;

static void start(void)
{
	arena_init(&arena, 16u << 20);
	buf_init_heap(&out);
}

static void finish(void)
{
	buf_release(&out);
	arena_release(&arena);
}

/* A checked value, from a copy on the heap that ends where the text ends: a sanitizer sees a read past it. */
static struct json_value parse(struct str text)
{
	struct json_value root = {.type = JSON_NULL, .text = STR("null")};
	struct json_fault fault = {0};
	char *p = malloc(text.n ? text.n : 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_FATAL(arena_on_reset(&arena, free, p));
	memcpy(p, text.p, text.n);
	struct str copy = {p, text.n};
	if (!json_check(copy, JSON_MAX_DEPTH, &root, &fault)) {
		printf("\n  %.*s: %s at %zu\n", STR_ARG(text), fault.reason, fault.offset);
		CU_FAIL("text refused");
	}
	return root;
}

/* Compares, and shows both sides when they differ. */
static void expect(struct str got, struct str wanted)
{
	bool same = str_eq(got, wanted);

	if (!same)
		printf("\n  got %.*s, wanted %.*s\n", STR_ARG(got), STR_ARG(wanted));
	CU_ASSERT(same);
}

static void expect_fault(struct str text, unsigned depth, size_t offset, const char *reason)
{
	struct json_value root;
	struct json_fault fault = {0};
	char *copy = malloc(text.n ? text.n : 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, text.p, text.n);
	bool ok = json_check((struct str){copy, text.n}, depth, &root, &fault);
	free(copy);
	bool same = !ok && fault.offset == offset && strcmp(fault.reason, reason) == 0;
	if (!same)
		printf("\n  %.*s: got %s at %zu, wanted %s at %zu\n", STR_ARG(text), ok ? "no fault" : fault.reason,
		       fault.offset, reason, offset);
	CU_ASSERT(same);
}

#define VALUE    "Expecting value"
#define NAME     "Expecting property name enclosed in double quotes"
#define COMMA    "Expecting ',' delimiter"
#define COLON    "Expecting ':' delimiter"
#define OPEN     "Unterminated string starting at"
#define CONTROL  "Invalid control character at"
#define ESCAPE   "Invalid \\escape"
#define UNICODE  "Invalid \\uXXXX escape"
#define EXTRA    "Extra data"
#define NOT_UTF8 "Invalid UTF-8"
#define TOO_DEEP "Nesting too deep"
#define BOM      "Unexpected UTF-8 BOM (decode using utf-8-sig)"

/* Every line up to the UTF-8 ones says what Python 3.11's json.loads says. */
static void test_faults(void)
{
	static const struct {
		struct str text;
		size_t offset;
		const char *reason;
	} CASES[] = {
		{STR_INIT(""), 0, VALUE},
		{STR_INIT(" \n\t\r"), 4, VALUE},
		{STR_INIT("\v1"), 0, VALUE},
		{STR_INIT("nul"), 0, VALUE},
		{STR_INIT("nulL"), 0, VALUE},
		{STR_INIT("True"), 0, VALUE},
		{STR_INIT("falsey"), 5, EXTRA},
		{STR_INIT("'a'"), 0, VALUE},
		{STR_INIT("/* */1"), 0, VALUE},
		{STR_INIT("NaN"), 0, VALUE},
		{STR_INIT("[Infinity]"), 1, VALUE},
		{STR_INIT("[1, -Infinity]"), 4, VALUE},
		{STR_INIT("-"), 0, VALUE},
		{STR_INIT("-a"), 0, VALUE},
		{STR_INIT("+1"), 0, VALUE},
		{STR_INIT(".5"), 0, VALUE},
		{STR_INIT("01"), 1, EXTRA},
		{STR_INIT("-01"), 2, EXTRA},
		{STR_INIT("1."), 1, EXTRA},
		{STR_INIT("1.e5"), 1, EXTRA},
		{STR_INIT("1e"), 1, EXTRA},
		{STR_INIT("1e+"), 1, EXTRA},
		{STR_INIT("0x10"), 1, EXTRA},
		{STR_INIT("1_000"), 1, EXTRA},
		{STR_INIT("1 2"), 2, EXTRA},
		{STR_INIT("{} {}"), 3, EXTRA},
		{STR_INIT("null\0"), 4, EXTRA},
		{STR_INIT("\0"), 0, VALUE},
		{STR_INIT("["), 1, VALUE},
		{STR_INIT("[1"), 2, COMMA},
		{STR_INIT("[1,"), 3, VALUE},
		{STR_INIT("[1,]"), 3, VALUE},
		{STR_INIT("[1 , ]"), 5, VALUE},
		{STR_INIT("[,1]"), 1, VALUE},
		{STR_INIT("[1 2]"), 3, COMMA},
		{STR_INIT("[1}"), 2, COMMA},
		{STR_INIT("]"), 0, VALUE},
		{STR_INIT("[[]"), 3, COMMA},
		{STR_INIT("[01]"), 2, COMMA},
		{STR_INIT("{"), 1, NAME},
		{STR_INIT("{]"), 1, NAME},
		{STR_INIT("{1:2}"), 1, NAME},
		{STR_INIT("{a:1}"), 1, NAME},
		{STR_INIT("{'a':1}"), 1, NAME},
		{STR_INIT("{,}"), 1, NAME},
		{STR_INIT("{\"a\":1,}"), 7, NAME},
		{STR_INIT("{\"a\":1, "), 8, NAME},
		{STR_INIT("{\"a\"}"), 4, COLON},
		{STR_INIT("{\"a\""), 4, COLON},
		{STR_INIT("{\"a\" 1}"), 5, COLON},
		{STR_INIT("{\"a\":}"), 5, VALUE},
		{STR_INIT("{\"a\":"), 5, VALUE},
		{STR_INIT("{\"a\":1 \"b\":2}"), 7, COMMA},
		{STR_INIT("{\"a\":1]"), 6, COMMA},
		{STR_INIT("{\"a\":1"), 6, COMMA},
		{STR_INIT("\""), 0, OPEN},
		{STR_INIT(" \"abc"), 1, OPEN},
		{STR_INIT("[\"abcdefghijklmnop"), 1, OPEN},
		{STR_INIT("\"a\\"), 0, OPEN},
		{STR_INIT("\"a\\\""), 0, OPEN},
		{STR_INIT("{\"a"), 1, OPEN},
		{STR_INIT("\"a\nb\""), 2, CONTROL},
		{STR_INIT("\"\t\""), 1, CONTROL},
		{STR_INIT("\"\0\""), 1, CONTROL},
		{STR_INIT("\"12345678\x1f\""), 9, CONTROL},
		{STR_INIT("\"1234567890123\x01zz\""), 14, CONTROL},
		{STR_INIT("\"\\x\""), 1, ESCAPE},
		{STR_INIT("\"ab\\'\""), 3, ESCAPE},
		{STR_INIT("\"\\\0\""), 1, ESCAPE},
		{STR_INIT("\"\\U0041\""), 1, ESCAPE},
		{STR_INIT("\"\\u\""), 2, UNICODE},
		{STR_INIT("\"\\u12\""), 2, UNICODE},
		{STR_INIT("\"\\u12g4\""), 2, UNICODE},
		{STR_INIT("\"\\u 123\""), 2, UNICODE},
		{STR_INIT("\"\\u+123\""), 2, UNICODE},
		{STR_INIT("\"\\u1234"), 2, UNICODE},
		{STR_INIT("\"\\ud83d\\u12\""), 8, UNICODE},
		/* characters, not bytes, count */
		{STR_INIT("[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\", x]"), 8, VALUE},
		{STR_INIT("\"\xc3\xa9\x01\""), 2, CONTROL},
		{STR_INIT("[\"\xc3\xa9\", \"abc"), 6, OPEN},
		{STR_INIT("\xc3\xa9"), 0, VALUE},
		{STR_INIT("1 \xe2\x82\xac"), 2, EXTRA},
		{STR_INIT("[1\xc2\xa0]"), 2, COMMA}, /* no-break space is no blank */
		{STR_INIT("\xef\xbb\xbf{}"), 0, BOM},
		{STR_INIT("\xef\xbb\xbf"), 0, BOM},
		{STR_INIT(" \xef\xbb\xbf{}"), 1, VALUE},
		/* not UTF-8: bytes count */
		{STR_INIT("\"\x80\""), 1, NOT_UTF8},
		{STR_INIT("\"\xc3\xa9\x80\""), 3, NOT_UTF8},
		{STR_INIT("\"\xc0\xaf\""), 1, NOT_UTF8},         /* overlong '/' */
		{STR_INIT("\"\xc1\xbf\""), 1, NOT_UTF8},         /* overlong DEL */
		{STR_INIT("\"\xe0\x9f\xbf\""), 1, NOT_UTF8},     /* overlong U+07FF */
		{STR_INIT("\"\xf0\x8f\xbf\xbf\""), 1, NOT_UTF8}, /* overlong U+FFFF */
		{STR_INIT("\"\xed\xa0\x80\""), 1, NOT_UTF8},     /* surrogate U+D800 */
		{STR_INIT("\"\xed\xbf\xbf\""), 1, NOT_UTF8},     /* surrogate U+DFFF */
		{STR_INIT("\"\xf4\x90\x80\x80\""), 1, NOT_UTF8}, /* U+110000 */
		{STR_INIT("\"\xf5\x80\x80\x80\""), 1, NOT_UTF8},
		{STR_INIT("\"\xff\""), 1, NOT_UTF8},
		{STR_INIT("\"\xe2\x82\""), 1, NOT_UTF8},
		{STR_INIT("\"\xe2\x82"), 1, NOT_UTF8}, /* cut by the end of the text */
		{STR_INIT("\"\xc3"), 1, NOT_UTF8},
		{STR_INIT("\"\xf0\x9f\x98"), 1, NOT_UTF8},
		{STR_INIT("[\xff]"), 1, NOT_UTF8},
		{STR_INIT("1\xff"), 1, NOT_UTF8},
		{STR_INIT("{\"a\":1\xfe}"), 6, NOT_UTF8},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++)
		expect_fault(CASES[i].text, JSON_MAX_DEPTH, CASES[i].offset, CASES[i].reason);
	struct json_value root;
	struct json_fault fault;
	CU_ASSERT_FALSE(json_check((struct str){0}, JSON_MAX_DEPTH, &root, &fault));
	CU_ASSERT_STRING_EQUAL(fault.reason, VALUE);
}

static void test_accepted(void)
{
	static const struct {
		struct str text;
		enum json_kind type;
		struct str value;
	} CASES[] = {
		{STR_INIT("null"), JSON_NULL, STR_INIT("null")},
		{STR_INIT(" true\n"), JSON_TRUE, STR_INIT("true")},
		{STR_INIT("\tfalse\r"), JSON_FALSE, STR_INIT("false")},
		{STR_INIT("0"), JSON_NUMBER, STR_INIT("0")},
		{STR_INIT("-0"), JSON_NUMBER, STR_INIT("-0")},
		{STR_INIT("10"), JSON_NUMBER, STR_INIT("10")},
		{STR_INIT("-0.0e-00"), JSON_NUMBER, STR_INIT("-0.0e-00")},
		{STR_INIT("1E+400"), JSON_NUMBER, STR_INIT("1E+400")},
		{STR_INIT("\"\""), JSON_STRING, STR_INIT("\"\"")},
		{STR_INIT("\"\x7f\""), JSON_STRING, STR_INIT("\"\x7f\"")},
		{STR_INIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD800\\udfff\""), JSON_STRING,
		 STR_INIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD800\\udfff\"")},
		{STR_INIT("\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\""), JSON_STRING,
		 STR_INIT("\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"")},
		{STR_INIT("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""), JSON_STRING,
		 STR_INIT("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"")},
		{STR_INIT("[ ]"), JSON_ARRAY, STR_INIT("[ ]")},
		{STR_INIT(" {\n} "), JSON_OBJECT, STR_INIT("{\n}")},
		{STR_INIT("[{\"a\":[]},{\"a\":{}}]"), JSON_ARRAY, STR_INIT("[{\"a\":[]},{\"a\":{}}]")},
		{STR_INIT("{\"\":1}"), JSON_OBJECT, STR_INIT("{\"\":1}")},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		struct json_value value = parse(CASES[i].text);
		CU_ASSERT_EQUAL(value.type, CASES[i].type);
		expect(value.text, CASES[i].value);
	}
	finish();
}

/* Every byte in a string, at every place in the eight that are looked at together. */
static void test_every_byte(void)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		for (size_t at = 0; at < 17; at++) {
			char text[] = "\"aaaaaaaaaaaaaaaaa\"";
			struct json_value root;
			struct json_fault fault;
			text[1 + at] = (char)byte;
			bool wanted = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
			CU_ASSERT_EQUAL(json_check(STR(text), 1, &root, &fault), wanted);
			if (!wanted && byte != '"' && !(byte == '\\' && at == 16)) /* there it hides the end */
				CU_ASSERT_EQUAL(fault.offset, 1 + at);
		}
	}
}

static struct str nested(char *text, unsigned depth, char open, char close)
{
	memset(text, open, depth);
	memset(text + depth, close, depth);
	return (struct str){text, 2 * (size_t)depth};
}

static void test_depth(void)
{
	static char text[400000];
	struct json_value root;
	struct json_fault fault;

	CU_ASSERT(json_check(STR("1"), 0, &root, &fault));
	expect_fault(STR("[]"), 0, 0, TOO_DEEP);
	expect_fault(STR("{}"), 0, 0, TOO_DEEP);
	expect_fault(STR("[1,{\"a\":[]}]"), 2, 8, TOO_DEEP);
	CU_ASSERT(json_check(STR("[[],[],{\"a\":[]}]"), 3, &root, &fault));
	for (unsigned depth = 1; depth <= JSON_MAX_DEPTH; depth++) {
		CU_ASSERT(json_check(nested(text, depth, '[', ']'), depth, &root, &fault));
		expect_fault(nested(text, depth, '[', ']'), depth - 1, depth - 1, TOO_DEEP);
	}
	expect_fault(nested(text, JSON_MAX_DEPTH + 1, '[', ']'), JSON_MAX_DEPTH, JSON_MAX_DEPTH, TOO_DEEP);
	/* A larger bound does not let the stack grow. */
	expect_fault(nested(text, 200000, '[', ']'), 1000000, JSON_MAX_DEPTH, TOO_DEEP);
}

static void test_duplicate_keys(void)
{
	static const struct {
		struct str text;
		size_t offset;
		const char *reason; /* NULL: there is no duplicate */
	} CASES[] = {
		{STR_INIT("{\"a\":1,\"a\":2}"), 7, "Duplicate key \"a\""},
		{STR_INIT("{\"\":1,\"\":2}"), 6, "Duplicate key \"\""},
		{STR_INIT("{\"\\u0061\":1,\"a\":2}"), 12, "Duplicate key \"a\""},
		{STR_INIT("{\"a\":1,\"\\u0061\":2}"), 7, "Duplicate key \"\\u0061\""},
		{STR_INIT("{\"\\u00E9\":1,\"\xc3\xa9\":2}"), 12, "Duplicate key \"\xc3\xa9\""},
		{STR_INIT("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}"), 18, "Duplicate key \"\xf0\x9f\x98\x80\""},
		{STR_INIT("{\"\\n\":1,\"\\u000a\":2}"), 8, "Duplicate key \"\\u000a\""},
		{STR_INIT("{\"\\/\":1,\"/\":2}"), 8, "Duplicate key \"/\""},
		{STR_INIT("{\"\\ud800\":1,\"\\udfff\":2}"), 12, "Duplicate key \"\\udfff\""}, /* both read as U+FFFD */
		{STR_INIT("{\"b\x7f\":1,\"b\x7f\":2}"), 8, "Duplicate key \"b?\""},
		{STR_INIT("{\"b\xc2\x9b\":1,\"b\xc2\x9b\":2}"), 8, "Duplicate key \"b?\""},
		{STR_INIT("{\"b\xc2\xa0\":1,\"b\xc2\xa0\":2}"), 8, "Duplicate key \"b\xc2\xa0\""},
		{STR_INIT("[{\"a\":1},{\"b\":{\"c\":1,\"c\":1}}]"), 21, "Duplicate key \"c\""},
		{STR_INIT("{\"a\":{\"a\":1},\"b\":[{\"a\":1}]}"), 0, NULL},
		{STR_INIT("{\"a\":1,\"A\":2,\"aa\":3,\"a \":4,\"\":5}"), 0, NULL},
		{STR_INIT("{\"a\\u0000b\":1,\"a\":2,\"a\\u0000c\":3}"), 0, NULL},
		{STR_INIT("{\"\\\\u0061\":1,\"a\":2}"), 0, NULL},
		{STR_INIT("{\"abcd\":1,\"abxd\":2,\"acbd\":3}"), 0, NULL},
		{STR_INIT("{\"abcde\":1,\"axcde\":2}"), 0, NULL}, /* alike in length, first, middle and last */
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		if (CASES[i].reason)
			expect_fault(CASES[i].text, JSON_MAX_DEPTH, CASES[i].offset, CASES[i].reason);
		else
			parse(CASES[i].text);
	}
	finish();
}

/* Long names are cut at a whole character and the reason stays a string of its size. */
static void test_duplicate_names_cut(void)
{
	char text[1024];
	struct json_value root;
	struct json_fault fault;

	for (int n = 60; n < 300; n++) {
		char name[700];
		for (int i = 0; i < n; i++)
			memcpy(name + 2 * i, "\xc3\xa9", 2);
		int size = snprintf(text, sizeof(text), "{\"%.*s\":1,\"%.*s\":2}", n, name, n, name);
		if (n % 2) /* half a character: not UTF-8 at all */
			continue;
		CU_ASSERT_FALSE(json_check((struct str){text, (size_t)size}, 1, &root, &fault));
		CU_ASSERT(str_is_utf8(str_of(fault.reason)));
		CU_ASSERT(strlen(fault.reason) < sizeof(fault.reason));
		CU_ASSERT(strstr(fault.reason, n > 76 ? "...\"" : "\xa9\"") != NULL);
	}
}

/* An object of the keys prefix0, prefix1, ... and then `last`. */
static struct str many_keys(int count, const char *prefix, const char *last)
{
	out.n = 0;
	buf_char(&out, '{');
	for (int i = 0; i < count; i++)
		buf_fmt(&out, "\"%s%d\":1,", prefix, i);
	buf_fmt(&out, "\"%s\":2}", last);
	CU_ASSERT_FALSE(out.failed);
	return buf_view(&out);
}

/* Around the number of keys where the table takes over, and around where it grows. */
static void test_many_keys(void)
{
	static const int COUNTS[] = {1, 2, 30, 31, 32, 33, 34, 64, 95, 96, 97, 191, 192, 193, 1000};
	char prefix[301], last[400];
	struct json_value root, value;
	struct json_fault fault;

	start();
	memset(prefix, 'x', sizeof(prefix) - 1);
	prefix[sizeof(prefix) - 1] = '\0';
	for (size_t i = 0; i < LENGTH(COUNTS); i++) {
		int count = COUNTS[i];
		CU_ASSERT(json_check(many_keys(count, "key", "key"), 1, &root, &fault));
		CU_ASSERT(json_member(root, STR("key0"), &value));
		for (int k = 0; k < count; k += count / 7 + 1) {
			snprintf(last, sizeof(last), "key%d", k);
			CU_ASSERT_FALSE(json_check(many_keys(count, "key", last), 1, &root, &fault));
			CU_ASSERT_EQUAL(fault.offset, out.n - strlen(last) - 5);
			snprintf(last, sizeof(last), "\\u006bey%d", k);
			CU_ASSERT_FALSE(json_check(many_keys(count, "key", last), 1, &root, &fault));
			snprintf(last, sizeof(last), "key%d", k);
			CU_ASSERT_FALSE(json_check(many_keys(count, "k\\u0065y", last), 1, &root, &fault));
			snprintf(last, sizeof(last), "%s%d", prefix, k);
			CU_ASSERT_FALSE(json_check(many_keys(count, prefix, last), 1, &root, &fault));
		}
		CU_ASSERT(json_check(many_keys(count, prefix, prefix), 1, &root, &fault));
	}
	finish();
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 100,000 keys compared pairwise would take minutes. The bounds are wide: sanitizers and busy machines are slow. */
static void test_hostile_keys(void)
{
	struct json_value root;
	struct json_fault fault;

	start();
	double begin = seconds();
	CU_ASSERT(json_check(many_keys(100000, "k", "k"), 1, &root, &fault));
	CU_ASSERT_FALSE(json_check(many_keys(100000, "\\u006b", "k99999"), 1, &root, &fault));
	CU_ASSERT_STRING_EQUAL(fault.reason, "Duplicate key \"k99999\"");
	CU_ASSERT(seconds() - begin < 3);
	/* Few enough to be compared directly, alike in all that is looked at first: many such objects. */
	out.n = 0;
	buf_char(&out, '[');
	for (int i = 0; i < 3000; i++) {
		buf_str(&out, i ? STR(",{\"") : STR("{\""));
		for (char c = 'a'; c <= 'z'; c++)
			buf_fmt(&out, "x%c00000x%s", c, c < 'z' ? "\":1,\"" : "\":1}");
	}
	buf_char(&out, ']');
	begin = seconds();
	CU_ASSERT(json_check(buf_view(&out), 2, &root, &fault));
	CU_ASSERT(seconds() - begin < 3);
	finish();
}

static void test_iteration(void)
{
	static const struct {
		struct str text;
		const char *walk; /* key=value; of all elements */
	} CASES[] = {
		{STR_INIT("[]"), ""},
		{STR_INIT("[ \n ]"), ""},
		{STR_INIT("{}"), ""},
		{STR_INIT("1"), ""},
		{STR_INIT("\"[1,2]\""), ""},
		{STR_INIT("null"), ""},
		{STR_INIT("[1]"), "1;"},
		{STR_INIT("[1,2 , 3\n]"), "1;2;3;"},
		{STR_INIT("[-1.5e3,true,false,null,\"x\"]"), "-1.5e3;true;false;null;\"x\";"},
		{STR_INIT("[[],[[]],{},[{\"a\":[1,\"]\"]}]]"), "[];[[]];{};[{\"a\":[1,\"]\"]}];"},
		{STR_INIT("[\",]\\\"\",\"\\\\\",\"[{\"]"), "\",]\\\"\";\"\\\\\";\"[{\";"},
		{STR_INIT("{\"a\":1}"), "\"a\"=1;"},
		{STR_INIT("{ \"a\" : 1 , \"b\\\"\" :[ 2 ], \"\" : {\"c\":\"}\"} }"),
		 "\"a\"=1;\"b\\\"\"=[ 2 ];\"\"={\"c\":\"}\"};"},
		{STR_INIT("{\"a:\":\":\",\",\":\",\"}"), "\"a:\"=\":\";\",\"=\",\";"},
		{STR_INIT("[\"\xc3\xa9\",{\"\xe2\x82\xac\":\"\xf0\x9f\x98\x80\"}]"),
		 "\"\xc3\xa9\";{\"\xe2\x82\xac\":\"\xf0\x9f\x98\x80\"};"},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		struct json_iter iter;
		struct json_value key, value;
		out.n = 0;
		json_iter_init(&iter, parse(CASES[i].text));
		while (json_next(&iter, &key, &value)) {
			if (iter.object) {
				CU_ASSERT_EQUAL(key.type, JSON_STRING);
				buf_str(&out, key.text);
				buf_char(&out, '=');
			}
			buf_str(&out, value.text);
			buf_char(&out, ';');
		}
		CU_ASSERT_FALSE(json_next(&iter, NULL, &value)); /* and stays at the end */
		expect(buf_view(&out), str_of(CASES[i].walk));
	}
	finish();
}

static void test_member(void)
{
	static const struct {
		struct str text, name;
		const char *value; /* NULL: not there */
	} CASES[] = {
		{STR_INIT("{\"a\":1,\"b\":[2]}"), STR_INIT("b"), "[2]"},
		{STR_INIT("{\"a\":{\"b\":1},\"b\":2}"), STR_INIT("b"), "2"},
		{STR_INIT("{\"ab\":1}"), STR_INIT("a"), NULL},
		{STR_INIT("{\"a\":1}"), STR_INIT("ab"), NULL},
		{STR_INIT("{\"a\":1}"), STR_INIT(""), NULL},
		{STR_INIT("{\"\":1}"), STR_INIT(""), "1"},
		{STR_INIT("{\"\\u0061\":1}"), STR_INIT("a"), "1"},
		{STR_INIT("{\"\\u0061b\":1}"), STR_INIT("a"), NULL},
		{STR_INIT("{\"\\u0061\":1}"), STR_INIT("ab"), NULL},
		{STR_INIT("{\"x\\u20ac\":1}"), STR_INIT("x\xe2\x82\xac"), "1"},
		{STR_INIT("{\"\\ud83d\\ude00\":1}"), STR_INIT("\xf0\x9f\x98\x80"), "1"},
		{STR_INIT("{\"\\\\u0061\":1}"), STR_INIT("a"), NULL},
		{STR_INIT("{\"\\u0000\":1}"), STR_INIT("\0"), "1"},
		{STR_INIT("{\"\\u0000\":1}"), STR_INIT(""), NULL},
		{STR_INIT("[\"a\",1]"), STR_INIT("a"), NULL},
		{STR_INIT("\"a\""), STR_INIT("a"), NULL},
		{STR_INIT("null"), STR_INIT("null"), NULL},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		struct json_value value;
		bool found = json_member(parse(CASES[i].text), CASES[i].name, &value);
		CU_ASSERT_EQUAL(found, CASES[i].value != NULL);
		if (found && CASES[i].value)
			expect(value.text, str_of(CASES[i].value));
	}
	finish();
}

static void test_string(void)
{
	static const struct {
		struct str text, wanted;
	} CASES[] = {
		{STR_INIT("\"\""), STR_INIT("")},
		{STR_INIT("\"plain\""), STR_INIT("plain")},
		{STR_INIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), STR_INIT("\"\\/\b\f\n\r\t")},
		{STR_INIT("\"a\\u0041b\\u00e9c\\u20ACd\""), STR_INIT("aAb\xc3\xa9"
								     "c\xe2\x82\xac"
								     "d")},
		{STR_INIT("\"\\u0000\\u007f\\u0080\\u07ff\\u0800\\uffff\""),
		 STR_INIT("\0\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf")},
		{STR_INIT("\"\\ud800\\udc00\\uDBFF\\uDFFF\""), STR_INIT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
		{STR_INIT("\"\\ud83d\""), STR_INIT("\xef\xbf\xbd")},
		{STR_INIT("\"\\ude00\""), STR_INIT("\xef\xbf\xbd")},
		{STR_INIT("\"\\ude00\\ud83d\""), STR_INIT("\xef\xbf\xbd\xef\xbf\xbd")},
		{STR_INIT("\"\\ud83dx\\ude00\""), STR_INIT("\xef\xbf\xbdx\xef\xbf\xbd")},
		{STR_INIT("\"\\ud83d\\n\""), STR_INIT("\xef\xbf\xbd\n")},
		{STR_INIT("\"\\ud83d\\ud83d\\ude00\""), STR_INIT("\xef\xbf\xbd\xf0\x9f\x98\x80")},
		{STR_INIT("\"\\ud83d\\ue000\""), STR_INIT("\xef\xbf\xbd\xee\x80\x80")},
		{STR_INIT("\"\\ud83d\\u0041\""), STR_INIT("\xef\xbf\xbd"
							  "A")},
		{STR_INIT("\"\\\\u0041\""), STR_INIT("\\u0041")},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++)
		expect(json_string(parse(CASES[i].text), &arena), CASES[i].wanted);
	struct json_value plain = parse(STR("\"plain\""));
	CU_ASSERT_PTR_EQUAL(json_string(plain, &arena).p, plain.text.p + 1); /* borrowed */
	struct json_value escaped = parse(STR("\"a\\n\""));
	struct arena none;
	arena_init(&none, 0);
	CU_ASSERT_PTR_NULL(json_string(escaped, &none).p);
	arena_release(&none);
	finish();
}

static void test_tree(void)
{
	static const struct {
		struct str text;
		const char *wanted; /* NULL: no tree */
	} CASES[] = {
		{STR_INIT("null"), NULL},
		{STR_INIT("true"), "true"},
		{STR_INIT("12"), "12"},
		{STR_INIT("-0"), "0"},
		{STR_INIT("1.5"), "1.5"},
		{STR_INIT("1e2"), "1e2"},
		{STR_INIT("\"a\\u00e9\\/\""), "\"a\xc3\xa9/\""},
		{STR_INIT("[]"), "[]"},
		{STR_INIT("{\"a\":[1,2.50,{\"b\":null}],\"c\":\"\"}"), "{\"a\":[1,2.50,{\"b\":null}],\"c\":\"\"}"},
		{STR_INIT("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
		 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		struct json_object *tree = json_tree(parse(CASES[i].text));
		CU_ASSERT_EQUAL(tree != NULL, CASES[i].wanted != NULL);
		if (tree && CASES[i].wanted)
			expect(str_of(json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PLAIN |
										   JSON_C_TO_STRING_NOSLASHESCAPE)),
			       str_of(CASES[i].wanted));
		json_object_put(tree);
	}
	/* A view into the middle of a text: what follows is not read. */
	struct json_value value;
	CU_ASSERT(json_member(parse(STR("{\"a\":12,\"b\":3}")), STR("a"), &value));
	struct json_object *number = json_tree(value);
	CU_ASSERT_EQUAL(json_object_get_int64(number), 12);
	json_object_put(number);
	finish();
}

static const char *const NUMBERS[] = {
	"0",
	"-0",
	"-0.0",
	"0.0e5",
	"1",
	"-1",
	"2.5",
	"0.1",
	"123456789012345678",
	"9007199254740991",
	"9007199254740992",
	"9007199254740993",
	"9007199254740994",
	"9007199254740995",
	"-9007199254740993",
	"9007199254740993.0000000000000000000000000000000001",
	"9007199254740992.9999999999999999999999999999",
	"18014398509481985",
	"18446744073709551615",
	"18446744073709551616",
	"9999999999999999999",
	"1e22",
	"1e23",
	"1e-22",
	"1e-23",
	"1e27",
	"1e28",
	"1e-27",
	"1e-28",
	"8.5e22",
	"9e22",
	"123e20",
	"1E+2",
	"1e-2",
	"9223372036854775807e27",
	"9223372036854775807e-27",
	"9223372036854775807e28",
	"0.1e-6",
	"5e-324",
	"4.9e-324",
	"2.4703282292062327e-324",
	"2.4703282292062328e-324",
	"2.2250738585072014e-308",
	"2.2250738585072011e-308",
	"2.2250738585072012e-308",
	"1.7976931348623157e308",
	"1.7976931348623158e308",
	"1e-400",
	"-1e-400",
	"1e308",
	"7.2057594037927933e16",
	"0.5000000000000000166533453693773481063544750213623046875",
	"0.500000000000000055511151231257827021181583404541015625",
	"0.5000000000000000555111512312578270211815834045410156250000000000000000000000000000000000000000000001",
	"1090544144181609348835077142190",
	"2.3456789012345678e-30",
	"3.518437208883201171875e13",
	"6929495644600919.5",
	"3.5844466002796428e298",
	"1.448997445238699",
	"10000000000000000000000000000000000e-34",
	"0.000000000000000000000000000000000000000000001e45",
	"89255e-22",
	"104110013277974872254e-225",
};

/* strtod of the C library is correctly rounded; the tests run without setlocale. */
static void test_number(void)
{
	double got, read;

	start();
	for (size_t i = 0; i < LENGTH(NUMBERS); i++) {
		double wanted = strtod(NUMBERS[i], NULL);
		CU_ASSERT(json_number(parse(str_of(NUMBERS[i])), &got));
		bool same = memcmp(&got, &wanted, sizeof(got)) == 0;
		if (!same)
			printf("\n  %s: %.17g, not %.17g\n", NUMBERS[i], got, wanted);
		CU_ASSERT(same);
		CU_ASSERT(json_number_of_text(str_of(NUMBERS[i]), &read));
		CU_ASSERT(memcmp(&read, &wanted, sizeof(got)) == 0);
	}
	static const char *const INFINITE[] = {"1e400",
					       "-1e400",
					       "1.7976931348623159e308",
					       "1e309",
					       "1e999999999999999999999",
					       "123456789012345678901234567890e300"};
	for (size_t i = 0; i < LENGTH(INFINITE); i++)
		CU_ASSERT_FALSE(json_number(parse(str_of(INFINITE[i])), &got));
	CU_ASSERT(json_number(parse(STR("1e-999999999999999999999")), &got) && got == 0);
	CU_ASSERT(json_number(parse(STR("0e999999999999999999999")), &got) && got == 0);
	finish();
}

/* Digits by the million: read in linear time, with the last of them deciding. */
/* A text that is read with pauses. */
static void test_long_text(void)
{
	size_t n = 3 << 20;
	char *text = malloc(n);
	struct json_value root;
	struct json_fault fault;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	for (size_t i = 0; i < n; i++)
		text[i] = i % 2 ? '1' : ',';
	text[0] = '[';
	text[n - 1] = ']';
	CU_ASSERT_FALSE(json_check((struct str){text, n}, 2, &root, &fault));
	CU_ASSERT_EQUAL(fault.offset, n - 1);
	text[n - 2] = ' ';
	text[n - 3] = '1';
	CU_ASSERT_FALSE(json_check((struct str){text, n}, 0, &root, &fault));
	text[n - 4] = ' ';
	text[n - 3] = ' ';
	text[n - 5] = '1';
	CU_ASSERT_TRUE(json_check((struct str){text, n}, 2, &root, &fault));
	CU_ASSERT_TRUE(root.type == JSON_ARRAY && root.text.n == n);
	free(text);
}

static void test_long_numbers(void)
{
	enum { MANY = 1000000 };
	double got;

	start();
	double begin = seconds();
	out.n = 0;
	buf_str(&out, STR("9007199254740993."));
	for (int i = 0; i < MANY; i++)
		buf_char(&out, '0');
	CU_ASSERT(json_number_of_text(buf_view(&out), &got) && got == 9007199254740992.0);
	buf_char(&out, '1');
	CU_ASSERT(json_number_of_text(buf_view(&out), &got) && got == 9007199254740994.0);
	out.n = 0;
	buf_char(&out, '1');
	for (int i = 0; i < MANY; i++)
		buf_char(&out, '0');
	CU_ASSERT_FALSE(json_number(parse(buf_view(&out)), &got));
	buf_str(&out, STR("e-1000000"));
	CU_ASSERT(json_number(parse(buf_view(&out)), &got) && got == 1);
	out.n = 0;
	buf_str(&out, STR("0."));
	for (int i = 0; i < MANY; i++)
		buf_char(&out, '0');
	buf_str(&out, STR("25e1000001"));
	CU_ASSERT(json_number(parse(buf_view(&out)), &got) && got == 2.5);
	out.n = 0;
	for (int i = 0; i < MANY; i++)
		buf_char(&out, '7');
	buf_str(&out, STR("e-1000000"));
	CU_ASSERT(json_number(parse(buf_view(&out)), &got) && got == 0.7777777777777778);
	CU_ASSERT(seconds() - begin < 3);
	finish();
}

static void test_number_of_text(void)
{
	static const struct {
		struct str text;
		double wanted;
	} CASES[] = {
		{STR_INIT("1.5"), 1.5},
		{STR_INIT(" 2"), 2},
		{STR_INIT("+3"), 3},
		{STR_INIT(".5"), 0.5},
		{STR_INIT("1e3"), 1000},
		{STR_INIT("5."), 5},
		{STR_INIT("5.e1"), 50},
		{STR_INIT("-.5E-1\n"), -0.05},
		{STR_INIT("\t\v\f\r\n 7 \n"), 7},
		{STR_INIT("007"), 7},
		{STR_INIT("inf"), HUGE_VAL},
		{STR_INIT("-INF"), -HUGE_VAL},
		{STR_INIT("+Infinity"), HUGE_VAL},
		{STR_INIT(" infinity "), HUGE_VAL},
		{STR_INIT("1e400"), HUGE_VAL},
		{STR_INIT("-1e400"), -HUGE_VAL},
	};
	static const struct str NONE[] = {
		STR_INIT(""),
		STR_INIT(" "),
		STR_INIT("."),
		STR_INIT("e5"),
		STR_INIT(".e5"),
		STR_INIT("1e"),
		STR_INIT("1e+"),
		STR_INIT("--1"),
		STR_INIT("+-1"),
		STR_INIT("- 1"),
		STR_INIT("1 2"),
		STR_INIT("1,5"),
		STR_INIT("0x10"),
		STR_INIT("1_000"),
		STR_INIT("one"),
		STR_INIT("infin"),
		STR_INIT("nanx"),
		STR_INIT("nan(1)"),
		STR_INIT("1\0"),
		STR_INIT("\0"),
		STR_INIT("1d"),
		STR_INIT("1f"),
		STR_INIT("++1"),
		STR_INIT("1.2.3"),
		STR_INIT("1e5.0"),
		STR_INIT("\xc2\xa0"
			 "1"),
		STR_INIT("-"),
		STR_INIT("true"),
	};
	double got;

	for (size_t i = 0; i < LENGTH(CASES); i++)
		CU_ASSERT(json_number_of_text(CASES[i].text, &got) && got == CASES[i].wanted);
	for (size_t i = 0; i < LENGTH(NONE); i++)
		CU_ASSERT_FALSE(json_number_of_text(NONE[i], &got));
	CU_ASSERT_FALSE(json_number_of_text((struct str){0}, &got));
	CU_ASSERT(json_number_of_text(STR("NaN"), &got) && isnan(got));
	CU_ASSERT(json_number_of_text(STR("-nan"), &got) && isnan(got));
	CU_ASSERT(json_number_of_text(STR("-0"), &got) && got == 0 && signbit(got));
}

/* What Python's repr says. */
static const struct {
	double value;
	const char *text;
} REPRS[] = {
	{0.0, "0.0"},
	{-0.0, "-0.0"},
	{1.0, "1.0"},
	{-2.0, "-2.0"},
	{0.1, "0.1"},
	{-0.1, "-0.1"},
	{0.5, "0.5"},
	{0.1 + 0.2, "0.30000000000000004"},
	{1.0 / 3, "0.3333333333333333"},
	{2.0 / 3, "0.6666666666666666"},
	{100.0, "100.0"},
	{123456.789, "123456.789"},
	{0.001, "0.001"},
	{0.0001, "0.0001"},
	{0.00012345, "0.00012345"},
	{0.00001, "1e-05"},
	{1.5e-5, "1.5e-05"},
	{1e-7, "1e-07"},
	{999999999999999.0, "999999999999999.0"},
	{1e15, "1000000000000000.0"},
	{-1e15, "-1000000000000000.0"},
	{1234567890123456.0, "1234567890123456.0"},
	{9007199254740991.0, "9007199254740991.0"},
	{9007199254740993.0, "9007199254740992.0"},
	{9999999999999998.0, "9999999999999998.0"},
	{1e16, "1e+16"},
	{-1e16, "-1e+16"},
	{1.2e16, "1.2e+16"},
	{12345678901234568.0, "1.2345678901234568e+16"},
	{123456789012345680.0, "1.2345678901234568e+17"},
	{18446744073709551616.0, "1.8446744073709552e+19"},
	{1e21, "1e+21"},
	{1e22, "1e+22"},
	{1e23, "1e+23"},
	{1e100, "1e+100"},
	{1.7976931348623157e308, "1.7976931348623157e+308"},
	{2.2250738585072014e-308, "2.2250738585072014e-308"},
	{2.225073858507201e-308, "2.225073858507201e-308"},
	{5e-324, "5e-324"},
	{1e-323, "1e-323"},
	{1.235e-321, "1.235e-321"},
	{1e-100, "1e-100"},
	{1e-37, "1e-37"},
	{3.4028234663852886e38, "3.4028234663852886e+38"},
	{1.1754943508222875e-38, "1.1754943508222875e-38"},
	{5.684341886080802e-14, "5.684341886080802e-14"},   /* 2^-44: the nearest of 16 digits lies below */
	{7.120236347223045e-307, "7.120236347223045e-307"}, /* 2^-1017: the same, by trying */
	{9.5367431640625e-07, "9.5367431640625e-07"},       /* 2^-20, exact */
	{0.8273645182736451, "0.8273645182736451"},
	{5.551115123125783e-17, "5.551115123125783e-17"}, /* 2^-54 */
	{4503599627370495.5, "4503599627370495.5"},
	{2251799813685248.5, "2251799813685248.5"},
	{1125899906842624.2, "1125899906842624.2"},
	{1.0000000000000002, "1.0000000000000002"},
	{0.9999999999999999, "0.9999999999999999"},
	{31622776601683.793, "31622776601683.793"},
};

static void test_put_double(void)
{
	start();
	for (size_t i = 0; i < LENGTH(REPRS); i++) {
		out.n = 0;
		json_put_double(&out, REPRS[i].value);
		expect(buf_view(&out), str_of(REPRS[i].text));
	}
	static const double NOT_FINITE[] = {HUGE_VAL, -HUGE_VAL, (double)NAN};
	for (size_t i = 0; i < LENGTH(NOT_FINITE); i++) {
		out.n = 0;
		json_put_double(&out, NOT_FINITE[i]);
		expect(buf_view(&out), STR("null"));
	}
	finish();
}

/* Digits without sign, point, zeros at both ends and exponent. */
static size_t count_digits(struct str text)
{
	size_t n = 0, zeros = 0;

	for (size_t i = 0; i < text.n && text.p[i] != 'e'; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			continue;
		zeros = text.p[i] == '0' ? zeros + 1 : 0;
		if (n > 0 || text.p[i] != '0')
			n++;
	}
	return n > zeros ? n - zeros : 0;
}

static void check_round_trip(double value, bool shortest)
{
	double read = 0;

	out.n = 0;
	json_put_double(&out, value);
	struct json_value number = {JSON_NUMBER, buf_view(&out)};
	bool same = json_number(number, &read) && memcmp(&read, &value, sizeof(value)) == 0;
	if (same && shortest) {
		char fewer[40];
		int digits = (int)count_digits(number.text);
		if (digits > 1) {
			snprintf(fewer, sizeof(fewer), "%.*e", digits - 2, value);
			same = strtod(fewer, NULL) != value;
		}
		same = same && strtod(strndupa(out.p, out.n), NULL) == value;
	}
	if (!same)
		printf("\n  %.17g became %.*s\n", value, STR_ARG(number.text));
	CU_ASSERT(same);
}

/* A million bit patterns: some with any exponent, most with those that models answer. xorshift64, so that a failure
 * comes back. Every hundredth is compared with strtod and with one digit less. */
static void test_round_trip(void)
{
	enum { PATTERNS = 1000000 };
	uint64_t state = 88172645463325252u;

	start();
	for (int i = 0; i < PATTERNS; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		uint64_t bits = state;
		if (i % 32) {
			uint64_t exponent = 1023 - 60 + (state >> 52) % 112;
			bits = (state & ~(UINT64_C(0x7ff) << 52)) | exponent << 52;
		}
		double value;
		memcpy(&value, &bits, sizeof(value));
		if (isfinite(value))
			check_round_trip(value, i % 100 == 0);
	}
	for (int e = -1074; e < 1024; e++) { /* where the doubles' distance changes */
		check_round_trip(ldexp(1, e), true);
		check_round_trip(nextafter(ldexp(1, e), 0), false);
		check_round_trip(nextafter(ldexp(1, e), HUGE_VAL), false);
	}
	finish();
}

static void test_put_string(void)
{
	static const struct {
		struct str text, wanted;
	} CASES[] = {
		{STR_INIT(""), STR_INIT("\"\"")},
		{STR_INIT("plain text / with slash"), STR_INIT("\"plain text / with slash\"")},
		{STR_INIT("\"\\"), STR_INIT("\"\\\"\\\\\"")},
		{STR_INIT("\b\f\n\r\t"), STR_INIT("\"\\b\\f\\n\\r\\t\"")},
		{STR_INIT("\0\x01\x0b\x1f\x7f"), STR_INIT("\"\\u0000\\u0001\\u000b\\u001f\x7f\"")},
		{STR_INIT("12345678\"12345678\n"), STR_INIT("\"12345678\\\"12345678\\n\"")},
		{STR_INIT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
		 STR_INIT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"")},
		{STR_INIT("a\xff"
			  "b"),
		 STR_INIT("\"a\xef\xbf\xbd"
			  "b\"")},
		{STR_INIT("\xc3"), STR_INIT("\"\xef\xbf\xbd\"")},
		{STR_INIT("\xed\xa0\x80"), STR_INIT("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"")},
		{STR_INIT("\xe2\x82\""), STR_INIT("\"\xef\xbf\xbd\xef\xbf\xbd\\\"\"")},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		out.n = 0;
		json_put_string(&out, CASES[i].text);
		expect(buf_view(&out), CASES[i].wanted);
		if (str_is_utf8(CASES[i].text))
			expect(json_string(parse(buf_view(&out)), &arena), CASES[i].text);
	}
	out.n = 0;
	json_put_string(&out, (struct str){0});
	expect(buf_view(&out), STR("\"\""));
	finish();
}

static void test_put_i64(void)
{
	static const struct {
		int64_t value;
		const char *text;
	} CASES[] = {
		{0, "0"}, {7, "7"}, {-1, "-1"}, {INT64_MAX, "9223372036854775807"}, {INT64_MIN, "-9223372036854775808"},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		out.n = 0;
		json_put_i64(&out, CASES[i].value);
		expect(buf_view(&out), str_of(CASES[i].text));
	}
	finish();
}

static void test_put_value(void)
{
	static const struct {
		struct str text, wanted;
	} CASES[] = {
		{STR_INIT(" null "), STR_INIT("null")},
		{STR_INIT("1.50E+3"), STR_INIT("1.50E+3")},
		{STR_INIT("\" a \\u0041 \\\" b \""), STR_INIT("\" a \\u0041 \\\" b \"")},
		{STR_INIT("[ 1 ,\n\t2\r, [ ] , { } ]"), STR_INIT("[1,2,[],{}]")},
		{STR_INIT("{ \"a b\" : \" : , \" , \"c\\\\\" : [ true , null ] }"),
		 STR_INIT("{\"a b\":\" : , \",\"c\\\\\":[true,null]}")},
		{STR_INIT("{\"a\":[1,2]}"), STR_INIT("{\"a\":[1,2]}")},
	};

	start();
	for (size_t i = 0; i < LENGTH(CASES); i++) {
		out.n = 0;
		json_put_value(&out, parse(CASES[i].text));
		expect(buf_view(&out), CASES[i].wanted);
	}
	finish();
}

/* Nothing is written past an arena that is full, and the buffer says so. */
static void test_no_room(void)
{
	struct arena small;
	struct buf full;

	start();
	struct json_value value = parse(STR("[1,2,3]"));
	arena_init(&small, 16);
	for (int i = 0; i < 4; i++) {
		buf_init(&full, &small);
		if (i == 0)
			json_put_string(&full, STR("text"));
		else if (i == 1)
			json_put_double(&full, 0.1);
		else if (i == 2)
			json_put_i64(&full, -1);
		else
			json_put_value(&full, value);
		CU_ASSERT(full.failed);
		CU_ASSERT_EQUAL(full.n, 0);
	}
	arena_release(&small);
	finish();
}

/* A body of a megabyte, most of it numbers: checked, read and written again. */
static void test_large_array(void)
{
	enum { COUNT = 150000 };
	struct json_iter iter;
	struct json_value value;
	double number, sum = 0;
	size_t n = 0;

	start();
	buf_str(&out, STR("[ "));
	for (int i = 0; i < COUNT; i++)
		buf_fmt(&out, "%s%d.25", i ? ", " : "", i);
	buf_str(&out, STR(" ]"));
	CU_ASSERT(out.n > 1000000);
	struct json_value array = parse(buf_view(&out));
	json_iter_init(&iter, array);
	while (json_next(&iter, NULL, &value)) {
		CU_ASSERT_FATAL(json_number(value, &number));
		sum += number;
		n++;
	}
	CU_ASSERT_EQUAL(n, COUNT);
	CU_ASSERT(sum == 0.25 * COUNT + 0.5 * COUNT * (COUNT - 1));
	size_t before = out.n;
	out.n = 0;
	json_put_value(&out, array);
	CU_ASSERT_EQUAL(out.n, before - COUNT - 1);
	CU_ASSERT_EQUAL(parse(buf_view(&out)).text.n, out.n);
	finish();
}

int main(void)
{
	static const struct unit_case CASES[] = {
		{"faults, places and words", test_faults},
		{"accepted texts", test_accepted},
		{"every byte in a string", test_every_byte},
		{"depth", test_depth},
		{"duplicate keys", test_duplicate_keys},
		{"names of duplicates are cut", test_duplicate_names_cut},
		{"many keys", test_many_keys},
		{"hostile keys", test_hostile_keys},
		{"iteration", test_iteration},
		{"member", test_member},
		{"string", test_string},
		{"tree", test_tree},
		{"number", test_number},
		{"long numbers", test_long_numbers},
		{"a long text", test_long_text},
		{"number of text", test_number_of_text},
		{"put double", test_put_double},
		{"round trip", test_round_trip},
		{"put string", test_put_string},
		{"put integer", test_put_i64},
		{"put value", test_put_value},
		{"no room", test_no_room},
		{"large array", test_large_array},
	};

	return UNIT_RUN("json", CASES);
}
