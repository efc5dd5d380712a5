/* Definitions: what is read of a good one, and the sentence for each thing that can be wrong with one. */
#include "unit.h"

#include "pipeline/definition.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct arena arena;

static enum status parse(struct str text, const char *name, struct pipeline **out, struct buf *problems)
{
	struct err err = {0};

	buf_init_heap(problems);
	enum status status = pipeline_parse(text, str_of(name), &arena, out, problems, &err);
	CU_ASSERT_TRUE((status == STATUS_OK) == (*out != NULL));
	CU_ASSERT_TRUE((status == STATUS_OK) == (problems->n == 0) && err.status == status);
	return status;
}

static const char WHOLE[] =
	"{\"name\": \"all\", \"description\": \"Every member\", \"source\": {\"format\": \"csv\", \"match\": \"*.csv\","
	"  \"delimiter\": \"tab\", \"encoding\": \"cp1252\", \"header\": [\"a\", \"b\"], \"kind\": \"shop\"},"
	"\"fields\": [{\"name\": \"x\", \"from\": \"a\", \"type\": \"number\", \"required\": true, \"index\": true,"
	"   \"transform\": [{\"trim\": true}, {\"range\": [0, null]}]},"
	"  {\"name\": \"y\", \"from\": \"a\", \"type\": \"text\", \"search\": true, \"default\": \"d\"},"
	"  {\"name\": \"z\"}],"
	"\"others\": \"drop\", \"key\": [\"y\", \"x\"], \"duplicates\": \"replace\","
	"\"model\": {\"name\": \"mean\", \"version\": \"v1.0\", \"inputs\": [\"x\", \"z\"], \"into\": \"score\"},"
	"\"messages\": {\"missing\": \"Data validation failed\"}, \"to\": [\"records\", \"jsonl\"], \"keep_failed\": "
	"true,"
	"\"batch_size\": 500}";

static void reads_everything(void)
{
	struct pipeline *p;
	struct buf problems;

	enum status status = parse(str_of(WHOLE), "all", &p, &problems);
	if (status != STATUS_OK)
		printf("\n%.*s\n", (int)problems.n, problems.p);
	CU_ASSERT_EQUAL_FATAL(status, STATUS_OK);
	CU_ASSERT_STRING_EQUAL(p->name, "all");
	CU_ASSERT_EQUAL(strlen(p->hash), 64);
	CU_ASSERT_TRUE(str_eq(p->text, str_of(WHOLE)) && str_eq(p->description, STR("Every member")));
	CU_ASSERT_TRUE(p->source.format == PIPELINE_CSV && p->source.delimiter == '\t' && !p->source.has_header);
	CU_ASSERT_TRUE(p->source.header_n == 2 && str_eq(p->source.header[1], STR("b")));
	CU_ASSERT_TRUE(str_eq(p->source.encoding, STR("cp1252")) && str_eq(p->source.kind, STR("shop")));
	CU_ASSERT_TRUE(str_eq(p->source.match, STR("*.csv")) && p->source.http.p == NULL);
	CU_ASSERT_EQUAL_FATAL(p->fields_n, 3);
	const struct pipeline_field *x = &p->fields[0], *y = &p->fields[1], *z = &p->fields[2];
	CU_ASSERT_TRUE(str_eq(x->name, STR("x")) && str_eq(x->from, STR("a")) && x->type == PIPELINE_NUMBER);
	CU_ASSERT_TRUE(x->required && x->index && !x->search && !x->fallback);
	CU_ASSERT_TRUE(y->search && y->fallback && y->source == x->source && !y->required);
	CU_ASSERT_TRUE(z->type == PIPELINE_ANY && str_eq(z->from, STR("z")) && z->source == 1);
	CU_ASSERT_TRUE(p->others == PIPELINE_DROP && p->duplicates == PIPELINE_REPLACE && p->keep_failed);
	CU_ASSERT_TRUE(p->key_n == 2 && p->key[0] == 1 && p->key[1] == 0);
	CU_ASSERT_TRUE(str_eq(p->model, STR("mean")) && str_eq(p->model_version, STR("v1.0")));
	CU_ASSERT_TRUE(p->inputs_n == 2 && p->inputs[1] == 2 && str_eq(p->into, STR("score")));
	CU_ASSERT_EQUAL(p->to, PIPELINE_TO_RECORDS | PIPELINE_TO_JSON_LINES);
	CU_ASSERT_EQUAL(p->batch_size, 500);
	CU_ASSERT_TRUE(str_eq(p->messages[REFUSAL_MISSING], STR("Data validation failed")));
	CU_ASSERT_PTR_NULL(p->messages[REFUSAL_TYPE].p);
}

static void defaults(void)
{
	struct pipeline *p;
	struct buf problems;

	CU_ASSERT_EQUAL_FATAL(parse(STR("{}"), "d", &p, &problems), STATUS_OK);
	CU_ASSERT_TRUE(p->source.format == PIPELINE_CSV && p->source.delimiter == 0 && p->source.has_header);
	CU_ASSERT_TRUE(str_eq(p->source.encoding, STR("auto")) && str_eq(p->source.kind, STR("csv")));
	CU_ASSERT_TRUE(p->others == PIPELINE_KEEP && p->duplicates == PIPELINE_SKIP && p->key_n == 0);
	CU_ASSERT_TRUE(p->to == PIPELINE_TO_RECORDS && p->batch_size == 0 && p->model.n == 0);
	CU_ASSERT_STRING_EQUAL(p->name, "d");
	/* (D-015) */
	CU_ASSERT_EQUAL_FATAL(
		parse(STR("{\"source\":{\"http\":{\"url\":\"https://x.example/\"}}}"), "d", &p, &problems), STATUS_OK);
	CU_ASSERT_TRUE(p->source.format == PIPELINE_JSON && str_eq(p->source.kind, STR("api")));
	CU_ASSERT_TRUE(str_eq(p->source.http, STR("{\"url\":\"https://x.example/\"}")));
}

#define FIELD(members)   "{\"fields\":[{\"name\":\"x\"," members "}]}"
#define STEP(type, step) FIELD("\"type\":\"" type "\",\"transform\":[" step "]")
#define TWO              "\"fields\":[{\"name\":\"value\"},{\"name\":\"b\"}]"

static void refused(void)
{
	static const struct {
		const char *text, *problems;
	} cases[] = {
		{"", "The file is no JSON: Expecting value at character 0"},
		{"[]", "The file should be a JSON object"},
		{"{\"name\":\"n\",\"name\":\"n\"}", NULL},
		{"{\"name\":\"other\"}", "name: should be \"n\" as the file is called"},
		{"{\"feilds\":[]}", "pipeline: has no member \"feilds\"; did you mean \"fields\"?"},
		{"{\"fields\":{}}", "fields: should be an array of fields"},
		{"{\"fields\":[1]}", "fields[0]: should be an object"},
		{"{\"fields\":[{}]}", "fields[0].name: is missing"},
		{"{\"fields\":[{\"name\":\"\"}]}", "fields[0].name: should not be empty"},
		{"{\"fields\":[{\"name\":\"a\"},{\"name\":\"a\"}]}",
		 "fields[1].name: is the name of another field, too"},
		{FIELD("\"tpye\":\"text\""), "fields[0]: has no member \"tpye\"; did you mean \"type\"?"},
		{FIELD("\"type\":\"numbr\""), "fields[0].type: should be any, text, number, integer, bool, datetime or "
					      "date; did you mean \"number\"?"},
		{FIELD("\"required\":1"), "fields[0].required: should be true or false"},
		{FIELD("\"type\":\"number\",\"default\":\"a\""),
		 "fields[0].default: should be a number as the field is number"},
		{FIELD("\"type\":\"date\",\"default\":\"soon\""),
		 "fields[0].default: should be a time as ISO 8601 has it as the field is date"},
		{FIELD("\"default\":null"), "fields[0].default: should be a value; leave it out where there is none"},
		{STEP("text", "1"),
		 "fields[0].transform[0]: should be an object with one member, like {\"trim\": true}"},
		{STEP("text", "{\"trim\":true,\"lower\":true}"),
		 "fields[0].transform[0]: should be an object with one member, like {\"trim\": true}"},
		{STEP("text", "{\"trimm\":true}"),
		 "fields[0].transform[0]: there is no transformation \"trimm\"; did you mean \"trim\"?"},
		{STEP("text", "{\"trim\":false}"),
		 "fields[0].transform[0].trim: should be true; leave it out where it is not wanted"},
		{STEP("number", "{\"trim\":true},{\"range\":[2,1]}"),
		 "fields[0].transform[1].range: should have the lower bound first"},
		{STEP("number", "{\"trim\":true},{\"range\":[\"a\",1]}"),
		 "fields[0].transform[1].range[0]: should be a number"},
		{STEP("number", "{\"range\":[1]}"),
		 "fields[0].transform[0].range: should be [least, most]; null for none"},
		{STEP("number", "{\"range\":[1,2]},{\"trim\":true}"),
		 "fields[0].transform[1].trim: is of text, but here the value is a number already: put it before"},
		{STEP("text", "{\"range\":[1,2]}"),
		 "fields[0].transform[0].range: is of numbers and times, and the field is "
		 "text: give it another type, or put {\"number\": true} before"},
		{STEP("text", "{\"number\":true}"),
		 "fields[0].transform[0].number: makes a number, but the field is text"},
		{STEP("number", "{\"number\":{\"decimal\":\".\",\"thousands\":\".\"}}"),
		 "fields[0].transform[0].number: should have different signs for decimals and thousands"},
		{STEP("number", "{\"number\":{\"decimal\":\"5\"}}"),
		 "fields[0].transform[0].number.decimal: should be one character that no number begins with"},
		{STEP("number", "{\"round\":16}"),
		 "fields[0].transform[0].round: should be a whole number from 0 to 15"},
		{STEP("number", "{\"one_of\":[1,\"a\"]}"),
		 "fields[0].transform[0].one_of[1]: should be a number as the field is"},
		{STEP("text", "{\"one_of\":[]}"),
		 "fields[0].transform[0].one_of: should be an array of 1 to 1000 values"},
		{STEP("text", "{\"one_of\":[\"a\",\"a\"]}"), "fields[0].transform[0].one_of[1]: is there twice"},
		{STEP("text", "{\"map\":{}}"), "fields[0].transform[0].map: should have 1 to 1000 members"},
		{STEP("text", "{\"map\":{\"a\":[]}}"),
		 "fields[0].transform[0].map: should be a string, a number, true, false or null"},
		{STEP("text", "{\"map\":{\"a\":1}}"),
		 "fields[0].transform[0].map: should make strings or null, as the field is text"},
		{STEP("number", "{\"range\":[0,1]},{\"map\":{\"1\":\"x\"}}"),
		 "fields[0].transform[1].map: should make numbers or null, as the field is number"},
		{STEP("text", "{\"replace\":{\"\":\"a\"}}"),
		 "fields[0].transform[0].replace: should look for texts of 1 to 256 bytes"},
		{STEP("text", "{\"replace\":{\"a\":1}}"),
		 "fields[0].transform[0].replace: should put texts of at most 256 bytes in their place"},
		{STEP("text", "{\"split\":{\"take\":1}}"),
		 "fields[0].transform[0].split.by: is missing: what stands between the parts"},
		{STEP("datetime", "{\"datetime\":\"%Q\"}"),
		 "fields[0].transform[0].datetime: %Q is no directive; there are "
		 "%Y %y %m %d %e %H %I %M %S %f %p %b %B %a %A %j %z and %"},
		{STEP("datetime", "{\"datetime\":[\"iso\",\"%H:%M\"]}"),
		 "fields[0].transform[0].datetime[1]: should have a year, a month and a day (%Y, %m, %d), or be iso, "
		 "epoch, "
		 "epoch_ms or epoch_us"},
		{STEP("datetime", "{\"datetime\":{\"zone\":\"Berlin\"}}"),
		 "fields[0].transform[0].datetime.zone: should be UTC or an offset like +02:00"},
		{STEP("text", "{\"date\":true}"), "fields[0].transform[0].date: makes a time, but the field is text"},
		{"{\"source\":{\"delimiter\":\"ab\"}}",
		 "source.delimiter: should be auto, tab, or one ASCII character that is no quote"},
		{"{\"source\":{\"encoding\":\"klingon\"}}",
		 "source.encoding: is no encoding that is known here: try auto, "
		 "utf-8, utf-16, latin-1 or windows-1252"},
		{"{\"source\":{\"encoding\":\"../x\"}}",
		 "source.encoding: is no encoding that is known here: try auto, "
		 "utf-8, utf-16, latin-1 or windows-1252"},
		{"{\"source\":{\"match\":\"../*\"}}", "source.match: should be a pattern of file names, without /"},
		{"{\"source\":{\"format\":\"xml\"}}", "source.format: should be csv, jsonl or json"},
		{"{\"source\":{\"header\":[\"a\",\"a\"]}}", "source.header[1]: is there twice"},
		{"{\"source\":{\"http\":1}}", "source.http: should be an object"},
		{"{\"key\":[\"vallue\"]," TWO "}", "key[0]: is no field; did you mean \"value\"?"},
		{"{\"key\":[\"value\",\"value\"]," TWO "}", "key[1]: is there twice"},
		{"{\"key\":[]," TWO "}", "key: should have 1 to 8 names of fields"},
		{"{\"duplicates\":\"skip\"," TWO "}",
		 "duplicates: needs a \"key\": without one no record is a duplicate"},
		{"{\"others\":\"keeep\"}", "others: should be keep, drop or refuse; did you mean \"keep\"?"},
		{"{\"model\":{}," TWO "}",
		 "model.name: is missing\nmodel.inputs: is missing: the fields that the model is given, in its order"},
		{"{\"model\":{\"name\":\"../m\",\"inputs\":[\"b\"]}," TWO "}",
		 "model.name: should be of letters, digits, dots, dashes and underscores"},
		{"{\"model\":{\"name\":\"m\",\"inputs\":[\"b\"],\"into\":\"value\"}," TWO "}",
		 "model.into: is a field already: \"value\""},
		{"{\"messages\":{\"missin\":\"a\"}}", "messages: has no member \"missin\"; did you mean \"missing\"?"},
		{"{\"to\":[\"xlsx\"]}", "to[0]: should be records, csv or jsonl"},
		{"{\"to\":[]}", "to: should have 1 to 3 of records, csv and jsonl"},
		{"{\"batch_size\":0}", "batch_size: should be a whole number from 1 to 1000000"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pipeline *p;
		struct buf problems;
		CU_ASSERT_EQUAL(parse(str_of(cases[i].text), "n", &p, &problems), STATUS_INVALID);
		bool same = !cases[i].problems || str_eq(buf_view(&problems), str_of(cases[i].problems));
		if (!same)
			printf("\n%s\n     %.*s\nnot: %s\n", cases[i].text, (int)problems.n, problems.p,
			       cases[i].problems);
		CU_ASSERT_TRUE(same);
		buf_release(&problems);
	}
}

static size_t lines(const struct buf *text)
{
	size_t n = text->n > 0;

	for (size_t i = 0; i < text->n; i++)
		n += text->p[i] == '\n';
	return n;
}

/* Everything that is wrong is told at once, and not without end. */
static void hostile(void)
{
	struct pipeline *p;
	struct buf problems, text;

	CU_ASSERT_EQUAL(parse(STR("{\"name\":\"a b\",\"x\":1,\"fields\":[{\"name\":1},{\"name\":\"b\",\"type\":2}]}"),
			      "", &p, &problems),
			STATUS_INVALID);
	CU_ASSERT_EQUAL(lines(&problems), 5);
	buf_release(&problems);

	buf_init_heap(&text);
	for (int i = 0; i < 100000; i++)
		buf_char(&text, '[');
	CU_ASSERT_EQUAL(parse(buf_view(&text), "", &p, &problems), STATUS_INVALID);
	CU_ASSERT_EQUAL(lines(&problems), 1);
	buf_release(&problems);
	while (text.n <= PIPELINE_FILE_MAX)
		buf_char(&text, ' ');
	CU_ASSERT_EQUAL(parse(buf_view(&text), "", &p, &problems), STATUS_INVALID);
	CU_ASSERT_TRUE(problems.n < 80);
	buf_release(&problems);

	text.n = 0;
	buf_str(&text, STR("{\"fields\":["));
	for (int i = 0; i < 200; i++)
		buf_fmt(&text, "%s{\"name\":\"f%d\",\"typ\":1,\"transform\":[{},{},{}]}", i ? "," : "", i);
	buf_str(&text, STR("]}"));
	CU_ASSERT_EQUAL(parse(buf_view(&text), "n", &p, &problems), STATUS_INVALID);
	CU_ASSERT_EQUAL(lines(&problems), 100);
	buf_release(&problems);

	text.n = 0;
	buf_str(&text, STR("{\"fields\":["));
	for (int i = 0; i <= PIPELINE_FIELDS_MAX; i++)
		buf_fmt(&text, "%s{\"name\":\"f%d\"}", i ? "," : "", i);
	buf_str(&text, STR("]}"));
	CU_ASSERT_EQUAL(parse(buf_view(&text), "n", &p, &problems), STATUS_INVALID);
	CU_ASSERT_TRUE(str_eq(buf_view(&problems), STR("fields: should be at most 256")));
	buf_release(&problems);
	buf_release(&text);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *file = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fputs(text, file);
	fclose(file);
}

static bool collect(void *arg, struct str name)
{
	struct buf *out = arg;

	buf_str(out, name);
	buf_char(out, ' ');
	return true;
}

static void files(void)
{
	const char *dir = unit_temp_dir();
	struct pipeline *p;
	struct buf problems, names;
	struct err err = {0};
	char path[512];

	buf_init_heap(&problems);
	buf_init_heap(&names);
	put_file(dir, "b.json", "{\"name\":\"b\"}");
	put_file(dir, "a.json", "{\"name\":\"b\"}");
	put_file(dir, ".hidden.json", "{}");
	put_file(dir, "note.txt", "{}");
	snprintf(path, sizeof(path), "%s/fifo.json", dir);
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	CU_ASSERT_EQUAL(pipeline_load(dir, STR("b"), &arena, &p, &problems, &err), STATUS_OK);
	CU_ASSERT_EQUAL(pipeline_load(dir, STR("a"), &arena, &p, &problems, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "Pipeline a: name: should be \"a\" as the file is called");
	CU_ASSERT_EQUAL(pipeline_load(dir, STR("c"), &arena, &p, &problems, &err), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(pipeline_load(dir, STR("../b"), &arena, &p, &problems, &err), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(pipeline_load(dir, STR(""), &arena, &p, &problems, &err), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL(pipeline_load(dir, STR("fifo"), &arena, &p, &problems, &err), STATUS_INVALID);
	CU_ASSERT_EQUAL(pipeline_each(dir, collect, &names, &err), STATUS_OK);
	CU_ASSERT_TRUE(str_eq(buf_view(&names), STR("a b fifo ")));
	CU_ASSERT_EQUAL(pipeline_each("/nonexistent", collect, &names, &err), STATUS_NOT_FOUND);
	buf_release(&problems);
	buf_release(&names);
}

/* What ships is good. */
static bool load_shipped(void *arg, struct str name)
{
	struct pipeline *p;
	struct buf problems;
	struct err err = {0};
	int *n = arg;

	buf_init_heap(&problems);
	CU_ASSERT_EQUAL(pipeline_load("pipelines", name, &arena, &p, &problems, &err), STATUS_OK);
	buf_release(&problems);
	++*n;
	return true;
}

static void shipped(void)
{
	struct err err = {0};
	int n = 0;

	CU_ASSERT_EQUAL(pipeline_each("pipelines", load_shipped, &n, &err), STATUS_OK);
	CU_ASSERT_TRUE(n >= 3);
}

/* The example of the documentation is one that works. */
static void documented(void)
{
	static char text[64 * 1024];
	struct pipeline *p;
	struct buf problems;
	FILE *file = fopen("docs/pipelines.md", "r");

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	size_t n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	char *begin = strstr(text, "```json\n"), *end = begin ? strstr(begin + 8, "```") : NULL;
	CU_ASSERT_PTR_NOT_NULL_FATAL(end);
	CU_ASSERT_EQUAL_FATAL(parse((struct str){begin + 8, (size_t)(end - begin - 8)}, "orders", &p, &problems),
			      STATUS_OK);
	CU_ASSERT_EQUAL(p->fields_n, 3);
}

static const struct unit_case CASES[] = {
	{"documented", documented}, {"everything", reads_everything},
	{"defaults", defaults},     {"refused", refused},
	{"hostile", hostile},       {"files", files},
	{"shipped", shipped},
};

int main(void)
{
	arena_init(&arena, (size_t)256 << 20);
	int code = UNIT_RUN("definition", CASES);
	arena_release(&arena);
	return code;
}
