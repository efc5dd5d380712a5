/* Pipelines at work: the rules of `dataflow`, every transformation, keys, refusals, the model step. */
#include "unit.h"

#include "model/set.h"
#include "model_helpers.h"
#include "pipeline/apply.h"
#include "pipeline/csv_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena arena;

static struct pipeline *load(const char *text)
{
	struct pipeline *p = NULL;
	struct buf problems;
	struct err err = {0};

	buf_init_heap(&problems);
	enum status status = pipeline_parse(str_of(text), (struct str){0}, &arena, &p, &problems, &err);
	if (status != STATUS_OK)
		printf("\n%.*s\n", (int)problems.n, problems.p ? problems.p : err.text);
	CU_ASSERT_EQUAL_FATAL(status, STATUS_OK);
	buf_release(&problems);
	return p;
}

static struct pipeline *load_dataflow(void)
{
	struct pipeline *p = NULL;
	struct buf problems;
	struct err err = {0};

	buf_init_heap(&problems);
	enum status status = pipeline_load("pipelines", STR("dataflow"), &arena, &p, &problems, &err);
	CU_ASSERT_EQUAL_FATAL(status, STATUS_OK);
	buf_release(&problems);
	return p;
}

/* A record of JSON: a flat object. */
static struct raw_record record_of_json(const char *json)
{
	struct str *names = arena_alloc(&arena, 64 * sizeof(*names));
	struct cell *cells = arena_zalloc(&arena, 64 * sizeof(*cells));
	struct raw_record record = {.line = 7, .is_json = true, .names = names, .cells = cells, .text = str_of(json)};
	struct json_value root, key, value;
	struct json_fault fault;
	struct json_iter iter;

	CU_ASSERT_TRUE_FATAL(json_check(str_of(json), 8, &root, &fault));
	json_iter_init(&iter, root);
	while (record.n < 64 && json_next(&iter, &key, &value)) {
		struct cell *cell = &cells[record.n];
		names[record.n++] = json_string(key, &arena);
		cell->text = value.text;
		switch (value.type) {
		case JSON_NULL:
			cell->kind = CELL_NULL;
			break;
		case JSON_FALSE:
		case JSON_TRUE:
			cell->kind = CELL_BOOL;
			cell->number = value.type == JSON_TRUE;
			break;
		case JSON_NUMBER:
			cell->kind = CELL_NUMBER;
			if (!json_number(value, &cell->number))
				cell->number = INFINITY; /* as the reader has it */
			break;
		case JSON_STRING:
			cell->kind = CELL_TEXT;
			cell->text = json_string(value, &arena);
			break;
		case JSON_ARRAY:
		case JSON_OBJECT:
			cell->kind = CELL_JSON;
			break;
		}
	}
	return record;
}

static struct pipeline_row apply(const struct pipeline *p, const struct raw_record *record)
{
	struct pipeline_applier *applier = pipeline_applier_new(p, NULL);
	struct pipeline_row row = {0};
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(applier);
	CU_ASSERT_EQUAL_FATAL(pipeline_apply(applier, record, 1, &arena, &row, &err), STATUS_OK);
	pipeline_applier_free(applier);
	return row;
}

static bool is(struct str got, const char *wanted)
{
	if (str_eq(got, str_of(wanted)))
		return true;
	printf("\n     %.*s\nnot: %s\n", STR_ARG(got), wanted);
	return false;
}

static void becomes(const struct pipeline *p, const char *json, const char *wanted)
{
	struct raw_record record = record_of_json(json);
	struct pipeline_row row = apply(p, &record);

	if (row.refusal != REFUSAL_NONE)
		printf("\n%s: %.*s\n", refusal_name(row.refusal), STR_ARG(row.message));
	CU_ASSERT_EQUAL(row.refusal, REFUSAL_NONE);
	CU_ASSERT_TRUE(is(row.data, wanted));
	CU_ASSERT_EQUAL(row.line, 7);
	CU_ASSERT_TRUE(row.seconds >= 0 && row.seconds < 60);
}

static void refuses(const struct pipeline *p, const char *json, enum refusal refusal, const char *field,
		    const char *message)
{
	struct raw_record record = record_of_json(json);
	struct pipeline_row row = apply(p, &record);

	if (row.refusal != refusal)
		printf("\n%s is %s\n", json, refusal_name(row.refusal));
	CU_ASSERT_EQUAL(row.refusal, refusal);
	CU_ASSERT_TRUE(is(row.field, field));
	CU_ASSERT_TRUE(is(row.message, message));
	CU_ASSERT_TRUE(row.data.n > 1 && row.data.p[0] == '{');
}

/* --- dataflow --- */

static void dataflow_takes(void)
{
	const struct pipeline *p = load_dataflow();

	/* (D-024), (D-025), (D-031) */
	becomes(p, "{\"id\":\"123\",\"value\":100,\"category\":\"A\"}",
		"{\"id\":\"123\",\"value\":100.0,\"category\":\"a\"}");
	becomes(p, "{\"id\":\"1\",\"value\":100,\"category\":\" A \",\"more\":[1, {\"x\": null}],\"n\":1.50}",
		"{\"id\":\"1\",\"value\":100.0,\"category\":\"a\",\"more\":[1,{\"x\":null}],\"n\":1.50}");
	/* (D-026) */
	becomes(p, "{\"id\":1,\"value\":\" 12.5 \",\"category\":\"\"}", "{\"id\":1,\"value\":12.5,\"category\":\"\"}");
	becomes(p, "{\"id\":1,\"value\":true,\"category\":\"b\"}", "{\"id\":1,\"value\":1.0,\"category\":\"b\"}");
	becomes(p, "{\"id\":1,\"value\":\"+.5e1\",\"category\":\"\\u00a0\\u00c4 \\u2003\"}",
		"{\"id\":1,\"value\":5.0,\"category\":\"\xc3\xa4\"}");
	/* presence only, null counts as present (D-024) */
	becomes(p, "{\"id\":null,\"value\":1e2,\"category\":\"b\"}",
		"{\"id\":null,\"value\":100.0,\"category\":\"b\"}");
}

static void dataflow_refuses(void)
{
	const struct pipeline *p = load_dataflow();

	/* (D-027) */
	refuses(p, "{\"id\":\"1\",\"value\":100}", REFUSAL_MISSING, "category", "Data validation failed");
	refuses(p, "{\"value\":100,\"category\":\"a\"}", REFUSAL_MISSING, "id", "Data validation failed");
	refuses(p, "{\"id\":\"1\",\"value\":\"abc\"}", REFUSAL_MISSING, "category", "Data validation failed");
	/* (D-028) */
	refuses(p, "{\"id\":\"1\",\"value\":\"abc\",\"category\":\"a\"}", REFUSAL_TYPE, "value",
		"could not convert string to float: 'abc'");
	refuses(p, "{\"id\":\"1\",\"value\":\"it's \\n\\\\ \\u0001\",\"category\":\"a\"}", REFUSAL_TYPE, "value",
		"could not convert string to float: \"it's \\n\\\\ \\x01\"");
	refuses(p, "{\"id\":\"1\",\"value\":\"\",\"category\":\"a\"}", REFUSAL_TYPE, "value",
		"could not convert string to float: ''");
	/* (D-026) */
	refuses(p, "{\"id\":\"1\",\"value\":\"1_000\",\"category\":\"a\"}", REFUSAL_TYPE, "value",
		"could not convert string to float: '1_000'");
	refuses(p, "{\"id\":\"1\",\"value\":\"nan\",\"category\":\"a\"}", REFUSAL_TYPE, "value",
		"could not convert string to float: 'nan'");
	/* (D-029) */
	refuses(p, "{\"id\":\"1\",\"value\":1,\"category\":5}", REFUSAL_TYPE, "category",
		"category: should be text, not 5");
	refuses(p, "{\"id\":\"1\",\"value\":1,\"category\":null}", REFUSAL_TYPE, "category",
		"category: should be text, not null");
	refuses(p, "{\"id\":\"1\",\"value\":null,\"category\":\"a\"}", REFUSAL_TYPE, "value",
		"value: should be a number, not null");
	refuses(p, "{\"id\":\"1\",\"value\":[1],\"category\":\"a\"}", REFUSAL_TYPE, "value",
		"value: should be a number, not an array");
}

/* One bad record never stops the others (D-030); of a CSV, numbers are numbers and empty cells are missing (D-020). */
static void csv_records(void)
{
	static const struct str names[] = {STR_INIT("id"), STR_INIT("value"), STR_INIT("category"), STR_INIT("zip"),
					   STR_INIT("n"),  STR_INIT("empty"), STR_INIT("note"),     STR_INIT("big")};
	static const char *const texts[4][8] = {
		{"1", "5", "A", "01234", "-2.5", "", "say \"hi\"\t\xc3\xa9\\", "12345678901234567890"},
		{"2", "x", "B", "1", "", "", "", ""},
		{"3", "", "C", "", "", "", "", ""},
		{"4", "1e3", " D", "+1", "1e3", "", "nan", "0.1"},
	};
	struct pipeline_applier *applier = pipeline_applier_new(load_dataflow(), NULL);
	struct raw_record records[5] = {{0}};
	struct cell cells[4][8] = {{{0}}};
	struct pipeline_row rows[5];
	struct err err = {0};

	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 8; k++)
			cells[i][k] = (struct cell){texts[i][k][0] ? CELL_TEXT : CELL_MISSING, str_of(texts[i][k]), 0};
		records[i] = (struct raw_record){.line = i + 2, .n = 8, .names = names, .cells = cells[i]};
	}
	records[4] = (struct raw_record){
		.line = 6, .fault = "ragged", .detail = STR("2 cells, not 8"), .text = STR("1,2")};
	CU_ASSERT_PTR_NOT_NULL_FATAL(applier);
	CU_ASSERT_EQUAL_FATAL(pipeline_apply(applier, records, 5, &arena, rows, &err), STATUS_OK);
	CU_ASSERT_TRUE(is(rows[0].data,
			  "{\"id\":1,\"value\":5.0,\"category\":\"a\",\"zip\":\"01234\",\"n\":-2.5,"
			  "\"note\":\"say \\\"hi\\\"\\t\xc3\xa9\\\\\",\"big\":\"12345678901234567890\"}"));
	CU_ASSERT_TRUE(is(rows[0].key, "1"));
	CU_ASSERT_EQUAL(rows[1].refusal, REFUSAL_TYPE);
	CU_ASSERT_TRUE(is(rows[1].data, "{\"id\":2,\"value\":\"x\",\"category\":\"B\",\"zip\":1}"));
	CU_ASSERT_TRUE(is(rows[1].value, "x") && is(rows[1].field, "value"));
	CU_ASSERT_EQUAL(rows[2].refusal, REFUSAL_MISSING);
	CU_ASSERT_TRUE(is(rows[1].key, "2") && is(rows[2].key, "3")); /* they are kept, as failed */
	CU_ASSERT_TRUE(is(rows[3].data, "{\"id\":4,\"value\":1000.0,\"category\":\"d\",\"zip\":\"+1\",\"n\":1000.0,"
					"\"note\":\"nan\",\"big\":0.1}"));
	CU_ASSERT_EQUAL(rows[4].refusal, REFUSAL_RAGGED);
	CU_ASSERT_TRUE(is(rows[4].message, "2 cells, not 8") && is(rows[4].value, "1,2"));
	CU_ASSERT_TRUE(is(rows[4].data, "{\"text\":\"1,2\"}"));
	pipeline_applier_free(applier);
}

/* --- transformations --- */

/* A pipeline of one field x. */
static const struct pipeline *one_field(const char *members)
{
	char text[2000];

	snprintf(text, sizeof(text), "{\"name\":\"t\",\"fields\":[{\"name\":\"x\",%s}]}", members);
	return load(text);
}

#define TEXT(steps)   "\"type\":\"text\",\"transform\":[" steps "]"
#define NUMBER(steps) "\"type\":\"number\",\"transform\":[" steps "]"

static void transforms(void)
{
	static const struct {
		const char *field, *in, *out; /* JSON of x; out NULL: left out; beginning with !: refused */
	} cases[] = {
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%Y-%j\"}]", "\"2026-032\"",
		 "\"2026-02-01T00:00:00.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%Y-%j\"}]", "\"2026-366\"",
		 "!x: should be a time as %Y-%j, not '2026-366'"},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%a %e %B %Y %H:%M:%S.%f %z\"}]",
		 "\"Fri 6 march 2026 23:59:60.1234567 -0130\"", "\"2026-03-07T01:30:00.123456+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%d%%%m%%%y\"}]", "\"1%2%69\"",
		 "\"1969-02-01T00:00:00.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%Y%m%dT%H%M%S%z\"}]", "\"20260102T030405Z\"",
		 "\"2026-01-02T03:04:05.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%Y%m%dT%H%M%S%z\"}]", "\"20260102T030405+2\"",
		 "!x: should be a time as %Y%m%dT%H%M%S%z, not '20260102T030405+2'"},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%I%p %d.%m.%Y\"}]", "\"12pm 1.1.2026\"",
		 "\"2026-01-01T12:00:00.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%I%p %d.%m.%Y\"}]", "\"13pm 1.1.2026\"",
		 "!x: should be a time as %I%p %d.%m.%Y, not '13pm 1.1.2026'"},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%d.%m.%Y\"}]", "\"29.2.2028\"",
		 "\"2028-02-29T00:00:00.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"%d.%m.%Y\"}]", "\"29.2.2026 \"",
		 "!x: should be a time as %d.%m.%Y, not '29.2.2026 '"},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"epoch_us\"}]", "-1",
		 "\"1969-12-31T23:59:59.999999+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"epoch\"}]", "1e18",
		 "!x: should be a time as epoch, not 1e18"},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":{\"zone\":\"+01:00\"}}]", "\"2026-01-01T00:30\"",
		 "\"2025-12-31T23:30:00.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":{\"zone\":\"+01:00\"}}]",
		 "\"2026-01-01T00:30:00.5Z\"", "\"2026-01-01T00:30:00.500000+00:00\""},
		{"\"type\":\"date\"", "\"2026-01-01T23:30:00-02:00\"", "\"2026-01-02\""},
		{"\"type\":\"datetime\",\"transform\":[{\"range\":[null,\"2026-01-01\"]}]", "\"2026-01-01T23:59:59Z\"",
		 "\"2026-01-01T23:59:59.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"range\":[null,\"2026-01-01\"]}]", "\"2026-01-02T00:00:00Z\"",
		 "!x: should be on 2026-01-01 or earlier, not '2026-01-02T00:00:00.000000+00:00'"},
		{"\"type\":\"datetime\",\"required\":true", "null",
		 "!x: should be a time like 2026-11-21T10:00:00Z, not null"},
		{"\"type\":\"datetime\"", "true", "!x: should be a time like 2026-11-21T10:00:00Z, not true"},
		{"\"type\":\"bool\",\"transform\":[{\"map\":{\"5\":true,\"true\":false}}]", "5", "true"},
		{"\"type\":\"bool\",\"transform\":[{\"map\":{\"5\":true,\"true\":false}}]", "true", "false"},
		{"\"type\":\"bool\",\"required\":true", "null", "!x: should be true or false, not null"},
		{"\"transform\":[{\"one_of\":[\"a\",1,true]}]", "1.0", "1.0"},
		{"\"transform\":[{\"one_of\":[\"a\",1,true]}]", "{\"b\":1}",
		 "!x: should be one of 'a', 1, true, not an object"},
		{"\"type\":\"integer\"", "9007199254740994", "!x: should be a whole number, not 9007199254740994"},
		{NUMBER(""), "1e999", "!x: should be a smaller number, not 1e999"},
		{NUMBER("{\"round\":0}"), "0.5", "0.0"},
		{TEXT("{\"pattern\":\"\\\\[?\"}"), "\"[\xc3\xa4\"", "\"[\xc3\xa4\""},
		{TEXT("{\"pattern\":\"[!a-c]*\"}"), "\"b\"", "!x: should be like [!a-c]*, not 'b'"},
		{TEXT("{\"pattern\":\"*a*a*a*a*a*a*a*a*b\"}"),
		 "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
		 "!x: should be like *a*a*a*a*a*a*a*a*b, not "
		 "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"},
		{TEXT("{\"trim\":true}"), "\" a b\\t\"", "\"a b\""},
		{TEXT("{\"upper\":true}"), "\"a\u00dfz\"", "\"ASSZ\""},
		{TEXT("{\"lower\":true}"), "\"\u039f\u03a3 X\"", "\"\xce\xbf\xcf\x82 x\""},
		{TEXT("{\"collapse\":true}"), "\" a \\n\\t b  c\"", "\" a b c\""},
		{TEXT("{\"replace\":{\"\u20ac\":\"\",\"aa\":\"b\"}}"), "\"\u20aca\u20aca\u20acaa\"", "\"bb\""},
		{TEXT("{\"map\":{\"n/a\":null,\"x\":\"y\"}}"), "\"x\"", "\"y\""},
		{TEXT("{\"map\":{\"n/a\":null,\"x\":\"y\"}}"), "\"n/a\"", NULL},
		{"\"required\":true," TEXT("{\"trim\":true},{\"default\":\"d\"}"), "null", "\"d\""},
		{NUMBER("{\"map\":{\"n/a\":0,\"\":null}},{\"range\":[0,9]}"), "\"n/a\"", "0.0"},
		{TEXT("{\"map\":{\"n/a\":null}},{\"default\":\"d\"}"), "\"n/a\"", "\"d\""},
		{TEXT("{\"split\":{\"by\":\", \",\"take\":1}}"), "\"a, b, c\"", "\"b\""},
		{TEXT("{\"split\":{\"by\":\", \",\"take\":-1}}"), "\"a, b, c\"", "\"c\""},
		{TEXT("{\"split\":{\"by\":\",\"}}"), "\"\"", "\"\""},
		{TEXT("{\"split\":{\"by\":\",\",\"take\":3}}"), "\"a,b,c\"", NULL},
		{TEXT("{\"split\":{\"by\":\",\",\"take\":-4}}"), "\"a,b,c\"", NULL},
		{TEXT("{\"min_length\":2}"), "\"\u00e4\"", "!x: should be at least 2 characters long, not '\u00e4'"},
		{TEXT("{\"max_length\":2}"), "\"abc\"", "!x: should be at most 2 characters long, not 'abc'"},
		{TEXT("{\"pattern\":\"[A-Z]*-[0-9]?\"}"), "\"Ab-1-23\"", "\"Ab-1-23\""},
		{TEXT("{\"pattern\":\"[A-Z]*-[0-9]\"}"), "\"Ab-23\"", "!x: should be like [A-Z]*-[0-9], not 'Ab-23'"},
		{TEXT("{\"one_of\":[\"a\",\"b\"]}"), "\"b\"", "\"b\""},
		{TEXT("{\"one_of\":[\"a\",\"b\"]}"), "\"c\"", "!x: should be one of 'a', 'b', not 'c'"},
		{TEXT("{\"lower\":true}"), "5", "!x: should be text, not 5"},
		{NUMBER("{\"range\":[0,10]}"), "\"10\"", "10.0"},
		{NUMBER("{\"range\":[0,10]}"), "\"10.5\"", "!x: should be at most 10, not 10.5"},
		{NUMBER("{\"range\":[0.5,null]}"), "-1", "!x: should be at least 0.5, not -1"},
		{NUMBER("{\"range\":[0,10]}"), "null", "null"},
		{NUMBER("{\"one_of\":[1,2]}"), "\"2.0\"", "2.0"},
		{NUMBER("{\"one_of\":[1,2]}"), "3", "!x: should be one of 1, 2, not 3"},
		{NUMBER("{\"round\":1}"), "2.25", "2.2"},
		{NUMBER("{\"number\":{\"decimal\":\",\",\"thousands\":\".\"}}"), "\" 1.234.567,50 \"", "1234567.5"},
		{NUMBER("{\"number\":{\"decimal\":\",\",\"thousands\":\".\"}}"), "\"1.5\"",
		 "!could not convert string to float: '1.5'"},
		{NUMBER("{\"number\":{\"decimal\":\",\",\"thousands\":\".\"}}"), "7", "7.0"},
		{NUMBER("{\"number\":{\"thousands\":\"\u202f\"}},{\"range\":[0,null]}"), "\"1\u202f000.25\"",
		 "1000.25"},
		{NUMBER("{\"replace\":{\"$\":\"\"}},{\"trim\":true},{\"range\":[0,9]}"), "\"$ 5\"", "5.0"},
		{NUMBER(""), "\"0.1\"", "0.1"},
		{NUMBER(""), "\"12.50\"", "12.5"},
		{NUMBER(""), "\"-0\"", "-0.0"},
		{NUMBER(""), "\"007\"", "7.0"},
		{NUMBER(""), "\"0.00001\"", "1e-05"},
		{NUMBER(""), "\"123456789012345678\"", "1.2345678901234568e+17"},
		{NUMBER(""), "\"1e400\"", "!could not convert string to float: '1e400'"},
		{"\"type\":\"integer\"", "\" 12 \"", "12"},
		{"\"type\":\"integer\"", "12.0", "12"},
		{"\"type\":\"integer\"", "\"12.5\"", "!x: should be a whole number, not '12.5'"},
		{"\"type\":\"integer\"", "\"1e3\"", "1000"},
		{"\"type\":\"integer\",\"transform\":[{\"number\":{\"thousands\":\",\"}}]", "\"1,000\"", "1000"},
		{"\"type\":\"integer\",\"transform\":[{\"number\":true},{\"range\":[1,2]}]", "\"1.5\"",
		 "!x: should be a whole number, not 1.5"},
		{"\"type\":\"bool\"", "\" Yes\"", "true"},
		{"\"type\":\"bool\"", "0", "false"},
		{"\"type\":\"bool\"", "\"2\"", "!x: should be true or false, not '2'"},
		{"\"type\":\"any\"", "\"2\"", "\"2\""},
		{"\"type\":\"datetime\"", "\"2026-11-21T10:00:00+02:00\"", "\"2026-11-21T08:00:00.000000+00:00\""},
		{"\"type\":\"datetime\"", "\"2026-11-21 10:00:00\"", "\"2026-11-21T10:00:00.000000+00:00\""},
		{"\"type\":\"datetime\"", "\"yesterday\"",
		 "!x: should be a time like 2026-11-21T10:00:00Z, not 'yesterday'"},
		{"\"type\":\"datetime\"", "\"2026-02-29T10:00:00\"",
		 "!x: should be a time like 2026-11-21T10:00:00Z, not '2026-02-29T10:00:00'"},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":[\"%d.%m.%Y %H:%M\",\"epoch\"]}]",
		 "\"1.2.2026  3:04\"", "\"2026-02-01T03:04:00.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":[\"%d.%m.%Y %H:%M\",\"epoch\"]}]", "1.5",
		 "\"1970-01-01T00:00:01.500000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":{\"formats\":\"%b %d, %y %I:%M "
		 "%p\",\"zone\":\"-05:30\"}}]",
		 "\"Mar 3, 26 12:15 am\"", "\"2026-03-03T05:45:00.000000+00:00\""},
		{"\"type\":\"datetime\",\"transform\":[{\"datetime\":\"epoch_ms\"},{\"range\":[\"2020-01-01\",null]}]",
		 "1000", "!x: should be on 2020-01-01 or later, not '1970-01-01T00:00:01.000000+00:00'"},
		{"\"type\":\"date\"", "\"2026-11-21\"", "\"2026-11-21\""},
		{"\"type\":\"date\",\"transform\":[{\"date\":\"%m/%d/"
		 "%Y\"},{\"range\":[\"2026-01-01\",\"2026-12-31\"]}]",
		 "\"12/31/2026\"", "\"2026-12-31\""},
		{"\"type\":\"number\",\"required\":true,\"default\":3", "null", "3.0"},
		{"\"type\":\"datetime\",\"default\":\"2026-01-01\"", "null", "\"2026-01-01T00:00:00.000000+00:00\""},
		{"\"type\":\"text\",\"required\":true,\"transform\":[{\"map\":{\"\":null}}]", "\"\"", "!x: is missing"},
	};
	char json[400], wanted[400];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct pipeline *p = one_field(cases[i].field);
		snprintf(json, sizeof(json), "{\"x\":%s}", cases[i].in);
		struct raw_record record = record_of_json(json);
		struct pipeline_row row = apply(p, &record);
		if (cases[i].out && cases[i].out[0] == '!') {
			CU_ASSERT_NOT_EQUAL(row.refusal, REFUSAL_NONE);
			CU_ASSERT_TRUE(is(row.message, cases[i].out + 1));
			continue;
		}
		CU_ASSERT_TRUE(row.refusal == REFUSAL_NONE || is(row.message, ""));
		snprintf(wanted, sizeof(wanted), cases[i].out ? "{\"x\":%s}" : "{}", cases[i].out);
		CU_ASSERT_TRUE(is(row.data, wanted));
	}
}

/* --- keys, others, search --- */

static void keys(void)
{
	static const struct {
		const char *json, *key;
	} cases[] = {
		{"{\"a\":\"x\",\"b\":2}", "x|2"},
		{"{\"a\":\"x|y\\\\\",\"b\":2.50}", "x\\|y\\\\|2.5"},
		{"{\"a\":\"x\"}", "x|"},
		{"{\"b\":1e3}", "|1000"},
		{"{\"a\":null}", ""},
		{"{}", ""},
	};
	const struct pipeline *p = load(
		"{\"name\":\"k\",\"fields\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"key\":[\"a\",\"b\"]}");
	struct buf text;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct raw_record record = record_of_json(cases[i].json);
		struct pipeline_row row = apply(p, &record);
		CU_ASSERT_EQUAL(row.refusal, REFUSAL_NONE);
		CU_ASSERT_TRUE(is(row.key, cases[i].key));
	}
	buf_init_heap(&text);
	buf_str(&text, STR("{\"a\":\""));
	for (int i = 0; i < PIPELINE_KEY_BYTES; i++)
		buf_char(&text, '|');
	buf_fmt(&text, "\"}%c", 0);
	refuses(p, text.p, REFUSAL_RANGE, "a", "The key is longer than 511 bytes");
	buf_release(&text);
}

/* Those that are kept by their key, where it can be read. */
static void keys_of_refused_records(void)
{
	static const struct {
		const char *json, *key;
	} cases[] = {
		{"{\"id\":\" X1 \",\"v\":\"abc\"}", "x1"},
		{"{\"id\":\"x2\"}", "x2"},
		{"{\"v\":1}", ""},
		{"{\"id\":[],\"v\":\"abc\"}", ""},
	};
	static const char *const kept[] = {"false", "true"};

	for (int keeps = 0; keeps < 2; keeps++) {
		char text[400];
		snprintf(text, sizeof(text),
			 "{\"name\":\"k\",\"fields\":[{\"name\":\"v\",\"type\":\"number\",\"required\":true},"
			 "{\"name\":\"id\",\"type\":\"text\",\"required\":true,\"transform\":[{\"trim\":true},{"
			 "\"lower\":true}]}],"
			 "\"key\":[\"id\"],\"keep_failed\":%s}",
			 kept[keeps]);
		const struct pipeline *p = load(text);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct raw_record record = record_of_json(cases[i].json);
			struct pipeline_row row = apply(p, &record);
			CU_ASSERT_NOT_EQUAL(row.refusal, REFUSAL_NONE);
			CU_ASSERT_TRUE(is(row.key, keeps ? cases[i].key : ""));
		}
	}
}

static void others(void)
{
	static const char fields[] =
		"\"fields\":[{\"name\":\"x\",\"from\":\"y\",\"search\":true},{\"name\":\"z\",\"search\":true}]";
	static const char record[] = "{\"a\":1,\"y\":\"t\",\"x\":3,\"z\":4,\"b\":null}";
	char text[300];

	snprintf(text, sizeof(text), "{\"name\":\"o\",%s}", fields);
	/* What is called as a field is, and is not that field, does not come in. */
	becomes(load(text), record, "{\"x\":\"t\",\"z\":4,\"a\":1,\"b\":null}");
	struct raw_record raw = record_of_json(record);
	struct pipeline_row row = apply(load(text), &raw);
	CU_ASSERT_TRUE(is(row.search, "t 4"));
	snprintf(text, sizeof(text), "{\"name\":\"o\",\"others\":\"drop\",%s}", fields);
	becomes(load(text), record, "{\"x\":\"t\",\"z\":4}");
	snprintf(text, sizeof(text), "{\"name\":\"o\",\"others\":\"refuse\",%s}", fields);
	refuses(load(text), record, REFUSAL_OTHER, "a", "a: the pipeline has no such field");
}

/* Long texts, more than fits a block, and names that differ from record to record. */
static void many_records(void)
{
	enum { N = 300 };
	const struct pipeline *p = load("{\"name\":\"m\",\"fields\":[{\"name\":\"x\"}]}");
	static struct raw_record records[N];
	static struct pipeline_row rows[N];
	static char texts[N][1200];
	struct pipeline_applier *applier = pipeline_applier_new(p, NULL);
	struct err err = {0};

	for (int i = 0; i < N; i++) {
		const int width = 1 + i * 3;
		int n = i % 2 ? snprintf(texts[i], sizeof(texts[i]), "{\"x\":\"%0*d\",\"y%d\":1}", width, i, i)
			      : snprintf(texts[i], sizeof(texts[i]), "{\"y%d\":1,\"x\":\"%0*d\"}", i, width, i);
		CU_ASSERT_TRUE(n > 0 && (size_t)n < sizeof(texts[i]));
		records[i] = record_of_json(texts[i]);
	}
	for (int turn = 0; turn < 2; turn++) {
		CU_ASSERT_EQUAL_FATAL(pipeline_apply(applier, records, N, &arena, rows, &err), STATUS_OK);
		for (int i = 0; i < N; i++) {
			char wanted[1200];
			snprintf(wanted, sizeof(wanted), "{\"x\":\"%0*d\",\"y%d\":1}", 1 + i * 3, i, i);
			CU_ASSERT_TRUE(is(rows[i].data, wanted));
		}
	}
	pipeline_applier_free(applier);

	static char big[200000];
	memset(big, 'a', sizeof(big) - 1);
	memcpy(big, "{\"x\":\"", 6);
	for (size_t i = 1000; i + 2 < sizeof(big) - 10; i += 500)
		memcpy(big + i, "\\\"", 2);
	memcpy(big + sizeof(big) - 3, "\"}", 3);
	becomes(p, big, big);

	/* Too little memory is told, and breaks nothing. */
	struct arena small;
	struct raw_record record = record_of_json(big);
	arena_init(&small, 100000);
	applier = pipeline_applier_new(p, NULL);
	CU_ASSERT_EQUAL(pipeline_apply(applier, &record, 1, &small, rows, &err), STATUS_NO_MEMORY);
	pipeline_applier_free(applier);
	arena_release(&small);
}

/* --- the model --- */

static struct model_set *set_of(struct model *model)
{
	const struct model_share share = {.version = STR_INIT("1"), .share = 1};
	struct model_set *set = model_set_new();
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	CU_ASSERT_EQUAL(model_set_add(set, model, &err), STATUS_OK);
	CU_ASSERT_EQUAL(
		model_set_route(set, STR("test"), &share, 1, (struct str){0}, MODEL_STICKY_NONE, (struct str){0}, &err),
		STATUS_OK);
	model_drop(model);
	return set;
}

static void score_all(const struct pipeline *p, struct model_set *set, const char *const *jsons,
		      struct pipeline_row *rows, size_t n)
{
	struct raw_record *records = arena_alloc(&arena, n * sizeof(*records));
	struct pipeline_applier *applier = pipeline_applier_new(p, set);
	struct err err = {0};

	for (size_t i = 0; i < n; i++)
		records[i] = record_of_json(jsons[i]);
	CU_ASSERT_EQUAL_FATAL(pipeline_apply(applier, records, n, &arena, rows, &err), STATUS_OK);
	pipeline_applier_free(applier);
}

static void scores_numbers(void)
{
	static const char *const jsons[] = {
		"{\"a\":1,\"b\":2,\"c\":\"w\"}",
		"{\"a\":3,\"c\":\"r\"}",
		"{\"b\":2,\"c\":\"r\"}",
		"{\"a\":1,\"b\":2,\"c\":\"q\"}",
		"{\"a\":11,\"b\":2,\"c\":\"r\"}",
		"{\"a\":1,\"b\":\"x\",\"c\":\"r\"}",
		"{\"a\":2,\"b\":0.5,\"c\":\"r\",\"more\":true}",
	};
	static const char *const wanted[] = {
		"{\"a\":1,\"b\":2,\"c\":\"w\",\"score\":1121.0}",
		"{\"a\":3,\"c\":\"r\",\"score\":283.0}",
		"!a: model test 1 needs a value",
		"!c: model test 1 does not know this category",
		"!a: model test 1 takes values from 0 to 10",
		"!b: model test 1 takes a number",
		"{\"a\":2,\"b\":0.5,\"c\":\"r\",\"more\":true,\"score\":207.0}",
	};
	struct model *model = helper_model(
		"linear",
		"[{\"name\":\"a\",\"type\":\"number\",\"minimum\":0,\"maximum\":10,\"outside\":\"refuse\"},"
		"{\"name\":\"b\",\"type\":\"number\"},"
		"{\"name\":\"c\",\"type\":\"category\",\"categories\":[\"r\",\"w\"],\"outside\":\"refuse\"}]",
		"[{\"step\":\"impute\",\"inputs\":[\"b\"],\"values\":[8]},{\"step\":\"one_hot\",\"input\":\"c\"}]",
		"{\"type\":\"regression\"}", "",
		"{\"format\":\"appcore linear 1\",\"coefficients\":[[1,10,100,1000]],\"intercepts\":[100]}");
	struct model_set *set = set_of(model);
	struct pipeline_row rows[7];

	score_all(load("{\"name\":\"s\",\"fields\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"c\"}],"
		       "\"model\":{\"name\":\"test\",\"inputs\":[\"a\",\"b\",\"c\"],\"into\":\"score\"}}"),
		  set, jsons, rows, 7);
	for (size_t i = 0; i < 7; i++) {
		bool refused = wanted[i][0] == '!';
		CU_ASSERT_EQUAL(rows[i].refusal, refused ? REFUSAL_MODEL : REFUSAL_NONE);
		CU_ASSERT_TRUE(refused ? is(rows[i].message, wanted[i] + 1) : is(rows[i].data, wanted[i]));
		CU_ASSERT_TRUE(rows[i].data.n > 2 && rows[i].data.p[rows[i].data.n - 1] == '}');
	}
	model_set_drop(set);
}

/* More records than are asked for at once, some of which the model refuses only when it is asked. */
static void scores_many(void)
{
	enum { N = 700 };
	static const char *jsons[N];
	static struct pipeline_row rows[N];
	static char texts[N][80];
	const struct pipeline *p = load("{\"name\":\"s\",\"fields\":[{\"name\":\"a\"},{\"name\":\"b\"}],"
					"\"model\":{\"name\":\"test\",\"inputs\":[\"a\",\"b\"],\"into\":\"y\"}}");
	struct model_set *set = set_of(
		helper_model("linear", "[{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"b\",\"type\":\"number\"}]",
			     "", "{\"type\":\"regression\"}", "",
			     "{\"format\":\"appcore linear 1\",\"coefficients\":[[1e200,1]],\"intercepts\":[0]}"));

	for (int i = 0; i < N; i++) {
		snprintf(texts[i], sizeof(texts[i]), "{\"a\":%s,\"b\":%d}", i % 100 == 50 ? "1e200" : "0", i);
		jsons[i] = texts[i];
	}
	score_all(p, set, jsons, rows, N);
	for (int i = 0; i < N; i++) {
		char wanted[100];
		if (i % 100 == 50) {
			CU_ASSERT_EQUAL(rows[i].refusal, REFUSAL_MODEL);
			CU_ASSERT_TRUE(is(rows[i].message, "The result is not a finite number"));
			continue;
		}
		snprintf(wanted, sizeof(wanted), "{\"a\":0,\"b\":%d,\"y\":%d.0}", i, i);
		CU_ASSERT_TRUE(is(rows[i].data, wanted));
	}
	model_set_drop(set);
}

static void scores_classes(void)
{
	static const char *const jsons[] = {"{\"a\":0}", "{\"a\":-800}"};
	const struct pipeline *p = load(
		"{\"name\":\"s\",\"fields\":[{\"name\":\"a\"}],"
		"\"model\":{\"name\":\"test\",\"version\":\"1\",\"inputs\":[\"a\"],\"into\":\"y\"}}");
	struct model_set *set = set_of(
		helper_model("logistic", "[{\"name\":\"a\",\"type\":\"number\"}]", "",
			     "{\"type\":\"binary\",\"classes\":[\"no\",\"\\\"yes\\\"\"]}", "",
			     "{\"format\":\"appcore linear 1\",\"coefficients\":[[1]],\"intercepts\":[1]}"));
	struct pipeline_row rows[2];

	score_all(p, set, jsons, rows, 2);
	CU_ASSERT_TRUE(is(rows[0].data, "{\"a\":0,\"y\":\"\\\"yes\\\"\",\"y_probability\":0.7310585786300049}"));
	CU_ASSERT_TRUE(is(rows[1].data, "{\"a\":-800,\"y\":\"no\",\"y_probability\":1.0}"));
	model_set_drop(set);
}

static struct str read_whole(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = arena_alloc(&arena, 4 << 20);

	CU_ASSERT_TRUE_FATAL(file && text);
	size_t n = fread(text, 1, 4 << 20, file);
	fclose(file);
	return (struct str){text, n};
}

/* The model that ships, with two examples of its manifest. */
static void scores_texts(void)
{
	static const char *const jsons[] = {"{\"t\":\"O my gosh the best phone I have ever had.\"}", "{\"t\":\"\"}",
					    "{\"t\":5}", "{\"t\":null}", "{}"};
	static const char *const wanted[] = {
		"{\"t\":\"O my gosh the best phone I have ever "
		"had.\",\"y\":\"positive\",\"y_probability\":0.716009489471",
		"{\"t\":\"\",\"y\":\"negative\",\"y_probability\":0.5}",
		"!t: model test 1 takes a text",
		"!t: model test 1 needs a text",
		"!t: model test 1 needs a text",
	};
	struct manifest *manifest = NULL;
	struct model *model = NULL;
	struct pipeline_row rows[5];
	struct err err = {0};

	CU_ASSERT_EQUAL_FATAL(manifest_parse(&manifest, read_whole("models/sentiment/1/manifest.json"), &err),
			      STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(kind_load_model(&model, STR("test"), STR("1"), manifest,
					      read_whole("models/sentiment/1/model.json"), &err),
			      STATUS_OK);
	struct model_set *set = set_of(model);
	score_all(load("{\"name\":\"s\",\"fields\":[{\"name\":\"t\"}],\"model\":{\"name\":\"test\",\"inputs\":[\"t\"],"
		       "\"into\":\"y\"}}"),
		  set, jsons, rows, 5);
	for (size_t i = 0; i < 5; i++) {
		bool refused = wanted[i][0] == '!';
		CU_ASSERT_EQUAL(rows[i].refusal, refused ? REFUSAL_MODEL : REFUSAL_NONE);
		CU_ASSERT_TRUE(refused ? is(rows[i].message, wanted[i] + 1)
				       : str_starts(rows[i].data, str_of(wanted[i])));
	}
	model_set_drop(set);
}

static void lacks_model(void)
{
	static const struct {
		const char *model;
		enum status status;
		const char *text;
	} cases[] = {
		{"{\"name\":\"none\",\"inputs\":[\"a\"]}", STATUS_UNAVAILABLE, "Model none is not loaded"},
		{"{\"name\":\"test\",\"version\":\"2\",\"inputs\":[\"a\"]}", STATUS_UNAVAILABLE,
		 "Model test 2 is not loaded"},
		{"{\"name\":\"test\",\"inputs\":[\"a\",\"b\"]}", STATUS_INVALID,
		 "model.inputs: model test 1 takes 1 inputs, the pipeline gives it 2"},
	};
	struct model_set *set = set_of(
		helper_model("linear", "[{\"name\":\"a\",\"type\":\"number\"}]", "", "{\"type\":\"regression\"}", "",
			     "{\"format\":\"appcore linear 1\",\"coefficients\":[[1]],\"intercepts\":[1]}"));
	struct raw_record record = record_of_json("{\"a\":1}");
	struct pipeline_row row;
	char text[300];

	for (size_t i = 0; i < 4; i++) {
		const size_t k = i % 3;
		struct err err = {0};
		snprintf(text, sizeof(text),
			 "{\"name\":\"s\",\"fields\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"model\":%s}",
			 cases[k].model);
		struct pipeline_applier *applier = pipeline_applier_new(load(text), i < 3 ? set : NULL);
		CU_ASSERT_EQUAL(pipeline_apply(applier, &record, 1, &arena, &row, &err), cases[k].status);
		CU_ASSERT_STRING_EQUAL(err.text, cases[k].text);
		pipeline_applier_free(applier);
	}
	model_set_drop(set);
}

/* --- cells that are written --- */

static void csv_cells(void)
{
	static const struct {
		const char *json, *cell;
	} cases[] = {
		{"null", ""},
		{"\"\"", "\"\""},
		{"\"a\"", "a"},
		{"\"a,b\"", "\"a,b\""},
		{"\"a\\\"b\"", "\"a\"\"b\""},
		{"\"a\\nb\"", "\"a\nb\""},
		{"\" a\"", "\" a\""},
		{"-1.5", "-1.5"},
		{"true", "true"},
		{"\"-1.5\"", "'-1.5"},
		{"\"=1+1\"", "'=1+1"},
		{"\"+1\"", "'+1"},
		{"\"@SUM(A1,B1)\"", "\"'@SUM(A1,B1)\""},
		{"\"\\t=1\"", "\"'\t=1\""},
		{"\"\\r=1\"", "\"'\r=1\""},
		{"\"  =1\"", "\"'  =1\""},
		{"\"\uff1d1\"", "'\xef\xbc\x9d"
				"1"},
		{"[1, \"x\"]", "\"[1, \"\"x\"\"]\""},
	};
	struct json_value value;
	struct json_fault fault;
	struct buf out;

	buf_init_heap(&out);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		out.n = 0;
		CU_ASSERT_TRUE_FATAL(json_check(str_of(cases[i].json), 8, &value, &fault));
		csv_put_json(&out, value, &arena);
		CU_ASSERT_TRUE(is(buf_view(&out), cases[i].cell));
	}
	buf_release(&out);
}

static void rows_of_a_csv(void)
{
	static const struct {
		const char *json, *row;
	} cases[] = {
		{"{\"a\":1,\"b\":\"x\",\"c\":null}", "1,x,\r\n"},
		{"{\"c\":3,\"a\":1,\"b\":2}", "1,2,3\r\n"}, /* in another order */
		{"{\"b\":2,\"d\":4}", ",2,\r\n"},           /* less, and more */
		{"{\"\\u0061\":\"=1\"}", "'=1,,\r\n"},
		{"{}", ",,\r\n"},
	};
	const struct str columns[] = {STR("a"), STR("b"), STR("c")};
	struct json_value cells[3];
	struct arena scratch, none;
	struct buf out;

	arena_init(&scratch, 4096);
	buf_init_heap(&out);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		out.n = 0;
		csv_put_members(&out, str_of(cases[i].json), columns, 3, cells, &scratch);
		CU_ASSERT_FALSE(out.failed);
		CU_ASSERT_TRUE(is(buf_view(&out), cases[i].row));
	}
	arena_init(&none, 0);
	csv_put_members(&out, str_of(cases[3].json), columns, 3, cells, &none);
	CU_ASSERT_TRUE(out.failed);
	arena_release(&none);
	arena_release(&scratch);
	buf_release(&out);
}

static const struct unit_case CASES[] = {
	{"keys", keys},
	{"keys of refused records", keys_of_refused_records},
	{"others", others},
	{"many records", many_records},
	{"numbers are scored", scores_numbers},
	{"many are scored", scores_many},
	{"classes", scores_classes},
	{"texts are scored", scores_texts},
	{"without the model", lacks_model},
	{"cells of a CSV that is written", csv_cells},
	{"rows of a CSV that is written", rows_of_a_csv},
	{"transformations", transforms},
	{"dataflow takes", dataflow_takes},
	{"dataflow refuses", dataflow_refuses},
	{"records of a CSV", csv_records},
};

int main(void)
{
	arena_init(&arena, (size_t)256 << 20);
	int code = UNIT_RUN("apply", CASES);
	arena_release(&arena);
	return code;
}
