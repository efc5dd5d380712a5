/* Sources and readers: what CSV and JSON become, whatever the blocks and wherever reading goes on. */
#include "pipeline/reader_impl.h"
#include "pipeline/reader_scan.h"

#include "reader_dump.h"
#include "unit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct pipeline_source CSV = {.format = PIPELINE_CSV, .has_header = true};
static const struct pipeline_source LINES = {.format = PIPELINE_JSON_LINES};
static const struct pipeline_source ARRAY = {.format = PIPELINE_JSON};

/* Opens, or leaves why not in `out`. */
static struct source *open_text(struct str text, const struct pipeline_source *how, struct buf *out)
{
	struct source *source = NULL;
	struct err err = {0};

	buf_init_heap(out);
	if (source_open_bytes(&source, text, how, &err) != STATUS_OK)
		buf_fmt(out, "! %s\n", err.text);
	return source;
}

/* The same with any block size, and from any position. `record_max` 0: the usual one. */
static void any_way(struct str text, const struct pipeline_source *how, size_t record_max, const char *expected)
{
	static const size_t sizes[] = {1, 2, 3, 5, 7, 16, 33, 63, 64, 65, 127, 1000, 100000};
	struct buf all, again, positions;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct source *source = open_text(text, how, &all);
		buf_init_heap(&positions);
		if (source) {
			source_set_bounds(source, sizes[i], record_max);
			dump_rest(source, &all, &positions);
		}
		CU_ASSERT_TRUE(str_eq(buf_view(&all), str_of(expected)));
		if (!str_eq(buf_view(&all), str_of(expected)))
			printf("\nblocks of %zu:\n%.*sexpected:\n%s", sizes[i], STR_ARG(buf_view(&all)), expected);
		const struct dump_position *at = (const struct dump_position *)(const void *)positions.p;
		for (size_t k = 0; k < positions.n / sizeof(*at) && source; k += 1 + k / 20) {
			buf_init_heap(&again);
			CU_ASSERT_EQUAL(source_seek(source, at[k].at, NULL), STATUS_OK);
			dump_rest(source, &again, NULL);
			CU_ASSERT_TRUE(str_eq(buf_view(&again), (struct str){all.p + at[k].n, all.n - at[k].n}));
			buf_release(&again);
		}
		source_close(source);
		buf_release(&all);
		buf_release(&positions);
	}
}

#define READS(text, how, expected) any_way(STR(text), &(how), 0, expected)

static void plain(void)
{
	READS("a,b\n1,2\n3,4\n", CSV, "2 [1][2]\n3 [3][4]\n");
	READS("a,b\r\n1,2\r\n3,4", CSV, "2 [1][2]\n3 [3][4]\n");
	READS("a,b\r1,2\r3,4\r", CSV, "2 [1][2]\n3 [3][4]\n");
	READS("\xef\xbb\xbf"
	      "a,b\n1,\n,4\n",
	      CSV, "2 [1][-]\n3 [-][4]\n");
	READS("a\n\n1\n\r\n\n2\n\n", CSV, "3 [1]\n6 [2]\n");
	READS("a,b\n", CSV, "");
	READS("a,b", CSV, "");
	READS("a,b\n1,2\n3,4\r", CSV, "2 [1][2]\n3 [3][4]\n");
	READS("a,b\nx\ry,2\n", CSV, "2 [x\ry][2]\n");
}

static void quotes(void)
{
	READS("a,b\n\"1\",\"2,3\"\n\"x\ny\",\"\"\"q\"\"\"\n5,6\n", CSV, "2 [1][2,3]\n3 [x\ny][\"q\"]\n5 [5][6]\n");
	READS("a,b\r\n\"x\r\n\",\"\"\r\n", CSV, "2 [x\r\n][-]\n");
	READS("a,b\nx\"y\"z,\"p\"q\n \"1\",\"2\" \n", CSV, "2 [x\"y\"z][pq]\n3 [ \"1\"][2 ]\n");
	READS("a\n\"\"\"\"\n\"\"\n\"\"x\"\"\n", CSV, "2 [\"]\n3 [-]\n4 [x\"\"]\n");
	READS("a\r\"x\ry\nw\"\r\"z\"", CSV, "2 [x\ry\nw]\n4 [z]\n");
}

static void ragged(void)
{
	READS("a,b\n1\n1,2,3\n4,5\n,,\n", CSV, "2 ragged [1]\n3 ragged [1][2]\n4 [4][5]\n5 ragged [-][-]\n");
}

static void lines_of_json(void)
{
	READS("{\"a\":1,\"b\":\"x\\ny\"}\n\n {\"a\":null,\"b\":true} \r\n[1]\nx\n{\"a\":[1,{}],\"c\":-2.5e0}", LINES,
	      "1 [a=number:1][b=x\ny]\n3 [a=null:null][b=bool:true]\n4 syntax \n5 syntax \n"
	      "6 [a=json:[1,{}]][c=number:-2.5e0]\n");
	READS("", LINES, "");
	READS(" \n\t\n", LINES, "");
}

/* What can't be stored is found within arrays and objects, too. */
static void escapes_of_json(void)
{
	READS("{\"a\":[\"\\u0000\"]}\n{\"a\":[\"\\\\u0000\"]}\n{\"a\":{\"\\ud83d\":1}}\n{\"a\":[\"\\ud83d\\uDE00\"]}\n"
	      "{\"a\":[\"\\ude00\"]}\n{\"a\":[\"\\ud83d\\ud83d\"]}\n{\"a\":\"\\ud83d\"}\n{\"\\u0000\":1}\n{\"a\":["
	      "\"\\ud83dx\\n\"]}\n",
	      LINES,
	      "1 encoding \n2 [a=json:[\"\\\\u0000\"]]\n3 encoding \n4 [a=json:[\"\\ud83d\\uDE00\"]]\n5 encoding \n6 "
	      "encoding \n"
	      "7 [a=\xef\xbf\xbd]\n8 encoding \n9 encoding \n");
}

static void array_of_json(void)
{
	READS("[]", ARRAY, "");
	READS(" [ ] \n", ARRAY, "");
	READS("[{\"a\":1},\n {\"a\":\"]}\\\"\"} , 5,{\"a\":1]\n]\n", ARRAY,
	      "1 [a=number:1]\n2 [a=]}\"]\n3 syntax \n4 syntax \n");
	READS("{\"n\":{\"x\":[1]},\"items\":[{\"a\":1}],\"next\":null}", ARRAY, "1 [a=number:1]\n");
	READS("[{\"a\":1},{\"a\":2},{\"a\":", ARRAY,
	      "1 [a=number:1]\n2 [a=number:2]\n! The JSON ends in the middle, after 2 items.\n");
	READS("[{\"a\":1} {\"a\":2}]", ARRAY, "! Item 1 is none, or is not followed by a comma.\n");
	READS("[{\"a\":1}] x", ARRAY, "1 [a=number:1]\n! Something follows the end of the JSON array.\n");
	READS("{\"a\":1}", ARRAY, "! The JSON is no array, nor an object with one.\n");
}

/* --- what is no record --- */

static void longer_than_allowed(void)
{
	/* A record and its line break have at most 20 bytes here. */
	any_way(STR("a,b\n1,2\n01234567890123456789,2\n3,4\n0123456789,01234567\n5,012345678901234567890123456789"),
		&CSV, 20, "2 [1][2]\n3 syntax \n4 [3][4]\n5 [0123456789][01234567]\n6 syntax \n");
	/* What is within quotes is skipped up to the end of the line that the bound is in. */
	any_way(STR("a,b\n\"x\n\",0123456789012345678901234567\n3,4\n"), &CSV, 20, "2 syntax \n4 [3][4]\n");
	any_way(STR("{\"a\":1}\n{\"a\":\"012345678901234567890\"}\n{\"a\":2}\n"), &LINES, 20,
		"1 [a=number:1]\n2 syntax \n3 [a=number:2]\n");
	any_way(STR("[{\"a\":1} ,    {\"a\":[\"0123],{456789\"]}      ,\n     {\"a\":2}  , "
		    "{\"a\":\"01234567890123456789\"}]"),
		&ARRAY, 20, "1 [a=number:1]\n2 syntax \n3 [a=number:2]\n4 syntax \n");
	any_way(STR("[{\"a\":\"012345678901234567890123456789\"} x"), &ARRAY, 20,
		"! Item 1 is not followed by a comma.\n");
	any_way(STR("[{\"a\":\"0123456789012345678901234567"), &ARRAY, 20,
		"! The JSON ends in the middle, after 0 items.\n");
}

static void quote_that_never_closes(void)
{
	any_way(STR("a,b\n1,\"2\n3,4\n5,6\n7,8\n9,10\n11,12\n"), &CSV, 20,
		"2 syntax \n3 [3][4]\n4 [5][6]\n5 [7][8]\n6 [9][10]\n7 [11][12]\n");
	READS("a,b\n1,2\n3,\"4\n5,6\n", CSV, "2 [1][2]\n3 syntax \n4 [5][6]\n");
	READS("a,b\n\"1\n\",\"2", CSV, "2 syntax \n");
	READS("a,b\r\"1\r2,3\r", CSV, "2 syntax \n3 [2][3]\n");
	/* The quote opens in the record's second line. */
	READS("a,b\n\"1\n\",\"2\n3,4\n", CSV, "2 syntax \n4 [3][4]\n");
}

/* Lines that each close a quote and open the next one are one record without an end, refused up to the line of its last
 * quote: nothing behind that opens one again, so that no byte is looked at more than twice. */
static void quotes_without_end(void)
{
	struct buf text;
	struct source *source;
	struct source_block block = {0};
	int faults = 0;

	READS("a,b\nx\",\"\nx\nx\",\"\n3,4\n5,6\n", CSV, "2 syntax \n5 [3][4]\n6 [5][6]\n");
	READS("a,b\nx\",\"\nx\nx\",\"", CSV, "2 syntax \n");
	READS("a,b\nx\",\"\n3,4", CSV, "2 syntax \n3 [3][4]\n");
	/* What follows the last end of a line within the bound is looked at when its turn comes. */
	any_way(STR("a,b\nx\",\"\n1,2\nx\",\"\n3,4,\"\"\n5,6\n"), &CSV, 20, "2 syntax \n5 ragged [3][4]\n6 [5][6]\n");
	buf_init_heap(&text);
	buf_str(&text, STR("a,b\n"));
	for (int i = 0; i < 500000; i++)
		buf_str(&text, STR("x\",\"\n1,2\n"));
	CU_ASSERT_EQUAL_FATAL(source_open_bytes(&source, buf_view(&text), &CSV, NULL), STATUS_OK);
	while (source_next(source, &block, NULL) == STATUS_OK && block.n > 0)
		faults += block.fault != NULL;
	CU_ASSERT_EQUAL(source->at.offset, (int64_t)text.n);
	CU_ASSERT_EQUAL(source->at.line, 1000002);
	CU_ASSERT_TRUE(faults > 0 && faults < 10);
	source_close(source);
	source_block_release(&block);
	buf_release(&text);
}

/* Of the first record that is none in `text`. */
static void refused_as(struct str text, const struct pipeline_source *how, size_t record_max, const char *fault,
		       const char *detail, const char *shown)
{
	struct source *source;
	struct source_block block = {0};
	struct raw_record record = {0};
	struct reader reader;
	struct arena arena;
	bool failed;

	arena_init(&arena, 1u << 24);
	CU_ASSERT_EQUAL_FATAL(source_open_bytes(&source, text, how, NULL), STATUS_OK);
	source_set_bounds(source, 0, record_max);
	while (!record.fault && source_next(source, &block, NULL) == STATUS_OK && block.n > 0) {
		reader_init(&reader, source_shape(source), &block, &arena);
		while (!record.fault && reader_next(&reader, &record, &failed))
			;
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(record.fault);
	CU_ASSERT_STRING_EQUAL(record.fault, fault);
	CU_ASSERT_TRUE(str_eq(record.detail, str_of(detail)));
	CU_ASSERT_TRUE(str_eq(record.text, str_of(shown)));
	if (!str_eq(record.detail, str_of(detail)) || !str_eq(record.text, str_of(shown)))
		printf("\n%.*s\n%.*s\n", STR_ARG(record.detail), STR_ARG(record.text));
	source_close(source);
	source_block_release(&block);
	arena_release(&arena);
}

static void refusals_say_why(void)
{
	refused_as(STR("a,b\n1,2,3\r\n"), &CSV, 0, "ragged", "The row has 3 cells, and there are 2 columns.", "1,2,3");
	refused_as(STR("a,b\n1\n"), &CSV, 0, "ragged", "The row has 1 cell, and there are 2 columns.", "1");
	refused_as(STR("a,b\nx\xff,2\n"), &CSV, 0, "encoding",
		   "Byte 2 of the record is not UTF-8: say what the file's encoding is.", "x\xef\xbf\xbd,2");
	refused_as(STR("a,b\n\0,2\n"), &CSV, 0, "encoding", "Byte 1 of the record is NUL.", "\xef\xbf\xbd,2");
	refused_as(STR("a,b\n1,2\n3,\"4\n"), &CSV, 0, "syntax", "The quote that opens in line 3 is never closed.",
		   "3,\"4");
	refused_as(STR("a,b\n1,2\n3,\"4\n56789012345678901234567890\n"), &CSV, 20, "syntax",
		   "The quote that opens in line 3 is not closed within 20 bytes.", "3,\"4");
	refused_as(STR("a,b\n01234567890123456789,\n"), &CSV, 20, "syntax", "The record is longer than 20 bytes.",
		   "01234567890123456789");
	refused_as(STR("{\"a\":1,\"a\":2}"), &LINES, 0, "syntax",
		   "It is not JSON: Duplicate key \"a\", at character 8.", "{\"a\":1,\"a\":2}");
	refused_as(STR("[1]"), &LINES, 0, "syntax", "It is JSON, but not an object.", "[1]");
	refused_as(STR("{\"a\":\"x\\u0000\"}"), &LINES, 0, "encoding", "Member 1 has a NUL character, or half of one.",
		   "{\"a\":\"x\\u0000\"}");
	refused_as(STR("{\"a\":1,\"x\\u0000\":2}"), &LINES, 0, "encoding",
		   "Member 2 has a NUL character, or half of one.", "{\"a\":1,\"x\\u0000\":2}");
	refused_as(STR("{\"a\":\"\xc3\"}"), &LINES, 0, "encoding",
		   "Byte 7 of the record is not UTF-8: say what the file's encoding is.", "{\"a\":\"\xef\xbf\xbd\"}");
}

static void bad_bytes(void)
{
	/* A record of its own each, in any place of the 64 bytes that are looked at together. */
	char text[400];

	for (int i = 0; i < 130; i++) {
		int n = snprintf(text, sizeof(text), "a\n%*s\nx\xfe\n\xc3\xa4\n%*sy\nz\n", i + 1, "w", i, "");
		struct buf out;
		char expected[400];
		snprintf(expected, sizeof(expected), "2 [%*s]\n3 encoding \n4 [\xc3\xa4]\n5 [%*sy]\n6 [z]\n", i + 1,
			 "w", i, "");
		struct source *source = open_text((struct str){text, (size_t)n}, &CSV, &out);
		CU_ASSERT_PTR_NOT_NULL_FATAL(source);
		dump_rest(source, &out, NULL);
		CU_ASSERT_TRUE(str_eq(buf_view(&out), str_of(expected)));
		source_close(source);
		buf_release(&out);
	}
	READS("a,b\n1,2\n\xff,4\n5,6\n7,\xe2\x82\n8,\xe2\x82\xac\n", CSV,
	      "2 [1][2]\n3 encoding \n4 [5][6]\n5 encoding \n6 [8][\xe2\x82\xac]\n");
}

/* Far into a long record, and in one that is shown in part. */
static void long_and_odd(void)
{
	char text[3000], expected[2200];
	size_t n = 2;

	memcpy(text, "a\n", 2);
	for (int i = 0; i < 200; i++)
		text[n++] = 'x';
	memcpy(text + n, "\xc3\xa4\n", 3);
	n += 3;
	for (int i = 0; i < 200; i++)
		text[n++] = 'y';
	memcpy(text + n, "\xc3", 1);
	n++;
	snprintf(expected, sizeof(expected), "2 [%.202s]\n3 encoding \n", text + 2);
	any_way((struct str){text, n}, &CSV, 0, expected);
	snprintf(expected, sizeof(expected), "%.200s\xef\xbf\xbd", text + 205);
	refused_as((struct str){text, n}, &CSV, 0, "encoding",
		   "Byte 201 of the record is not UTF-8: say what the file's encoding is.", expected);
	/* 1,023 bytes, and a character that is not in it whole. */
	n = 2;
	for (int i = 0; i < 1023; i++)
		text[n++] = 'z';
	memcpy(text + n, "\xc3\xa4\xff\n", 4);
	snprintf(expected, sizeof(expected), "%.1023s\xef\xbf\xbd", text + 2);
	refused_as((struct str){text, n + 4}, &CSV, 0, "encoding",
		   "Byte 1026 of the record is not UTF-8: say what the file's encoding is.", expected);
}

static void large_objects(void)
{
	struct buf text;

	buf_init_heap(&text);
	for (int i = 0; i <= READER_COLUMNS_MAX; i++)
		buf_fmt(&text, "%c\"m%d\":%d", i ? ',' : '{', i, i);
	buf_str(&text, STR("}\n{\"a\":1e400,\"b\":-1e400}"));
	any_way(buf_view(&text), &LINES, 0, "1 syntax \n2 [a=number:1e400][b=number:-1e400]\n");
	buf_release(&text);
}

/* --- headers --- */

/* 59 bytes: a character of three does not fit into the 60 that are shown. */
#define TEN_BYTES "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
#define LONG_NAME                                                                                                      \
	TEN_BYTES TEN_BYTES TEN_BYTES TEN_BYTES TEN_BYTES "12345"                                                      \
							  "6789"

static void headers(void)
{
	static struct str names[] = {STR_INIT("p"), STR_INIT("q")};
	const struct pipeline_source none = {.format = PIPELINE_CSV},
				     given = {.format = PIPELINE_CSV, .header = names, .header_n = 2},
				     other = {.format = PIPELINE_CSV,
					      .has_header = true,
					      .header = names,
					      .header_n = 2};
	struct source *source;
	struct buf out;

	READS("", CSV, "! The file is empty: it has no header.\n");
	READS("\n\r\n", CSV, "! The file is empty: it has no header.\n");
	READS("a,b,a\n", CSV, "! Columns 1 and 3 are both called \"a\": rename one, or give names in \"header\".\n");
	READS("a,b, a \n", CSV, "! Columns 1 and 3 are both called \"a\": rename one, or give names in \"header\".\n");
	READS(LONG_NAME "\xe2\x82\xac," LONG_NAME "\xe2\x82\xac\n", CSV,
	      "! Columns 1 and 2 are both called \"" LONG_NAME "\": rename one, or give names in \"header\".\n");
	READS("a,\"b\n1,2\n", CSV, "! The quote that opens in the first record, in line 1, is never closed.\n");
	READS("a,\xff\n1,2\n", CSV, "! The name of column 2 is not UTF-8: say what the file's encoding is.\n");
	READS("id,val\0ue,category\nn3,1,a\n", CSV, "! The name of column 2 holds a NUL.\n");
	READS("\n1,2\n3\n", none, "2 [1][2]\n3 ragged [3]\n");
	READS("", none, "");
	READS("\n\n", none, "");
	READS("1,\"2\n3,4\n", none, "! The quote that opens in the first record, in line 1, is never closed.\n");
	READS("1,2\n3,4", given, "1 [1][2]\n2 [3][4]\n");
	READS("", given, "");
	READS("a,a\n3,4", other, "2 [3][4]\n");

	source = open_text(STR("1;2\n3;4\n"), &none, &out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	CU_ASSERT_EQUAL_FATAL(source_shape(source)->names_n, 2);
	CU_ASSERT_TRUE(str_eq(source_shape(source)->names[1], STR("column_2")));
	source_close(source);
	buf_release(&out);

	source = open_text(STR("\n , x y,\"z\n\",\n1,2,3,4\n"), &CSV, &out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	const struct source_shape *shape = source_shape(source);
	CU_ASSERT_EQUAL_FATAL(shape->names_n, 4);
	CU_ASSERT_TRUE(str_eq(shape->names[0], STR("column_1")));
	CU_ASSERT_TRUE(str_eq(shape->names[1], STR("x y")));
	CU_ASSERT_TRUE(str_eq(shape->names[2], STR("z")));
	CU_ASSERT_TRUE(str_eq(shape->names[3], STR("column_4")));
	dump_rest(source, &out, NULL);
	CU_ASSERT_TRUE(str_eq(buf_view(&out), STR("4 [1][2][3][4]\n")));
	source_close(source);
	buf_release(&out);
}

static void large_headers(void)
{
	struct buf text, out;
	struct source *source;

	buf_init_heap(&text);
	for (int i = 0; i < READER_COLUMNS_MAX; i++)
		buf_fmt(&text, "%s\"a long name %d\"", i ? "," : "", i);
	buf_fmt(&text, "\n%*s\n", READER_COLUMNS_MAX - 1, "");
	for (char *p = text.p + text.n - READER_COLUMNS_MAX; p < text.p + text.n - 1; p++)
		*p = ',';
	source = open_text(buf_view(&text), &CSV, &out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	CU_ASSERT_EQUAL(source_shape(source)->names_n, READER_COLUMNS_MAX);
	dump_rest(source, &out, NULL);
	CU_ASSERT_EQUAL(out.n, 3 + 3 * READER_COLUMNS_MAX);
	source_close(source);
	buf_release(&out);

	text.n = 0;
	for (int i = 0; i < 100000; i++)
		buf_fmt(&text, "%sc%d", i ? "," : "", i);
	CU_ASSERT_PTR_NULL(open_text(buf_view(&text), &CSV, &out));
	CU_ASSERT_TRUE(str_eq(buf_view(&out), STR("! The file has 100000 columns; 4096 is the most.\n")));
	buf_release(&out);

	while (text.n < 2 * READER_RECORD_MAX)
		buf_str(&text, STR("0123456789"));
	CU_ASSERT_PTR_NULL(open_text(buf_view(&text), &CSV, &out));
	CU_ASSERT_TRUE(str_eq(buf_view(&out), STR("! The header is longer than 1048576 bytes.\n")));
	buf_release(&out);
	buf_release(&text);
}

static char delimiter_of(const char *text)
{
	struct buf out;
	struct source *source = open_text(str_of(text), &CSV, &out);
	char delimiter = source ? source_shape(source)->delimiter : '\0';

	source_close(source);
	buf_release(&out);
	return delimiter;
}

static void delimiters(void)
{
	const struct pipeline_source hash = {.format = PIPELINE_CSV, .has_header = true, .delimiter = '#'},
				     quote = {.format = PIPELINE_CSV, .has_header = true, .delimiter = '"'};

	CU_ASSERT_EQUAL(delimiter_of("a,b\n1,2\n"), ',');
	CU_ASSERT_EQUAL(delimiter_of("a;b\n1,5;2,5\n"), ';');
	CU_ASSERT_EQUAL(delimiter_of("a\tb\n1,5\t2\n"), '\t');
	CU_ASSERT_EQUAL(delimiter_of("a|b|c\n1,5|2|x;y\n"), '|');
	CU_ASSERT_EQUAL(delimiter_of("\"a;b\",\"c;d\"\n1;,2;\n"), ',');
	CU_ASSERT_EQUAL(delimiter_of("a,x;b,y\n1;2\n3;4\n"), ';'); /* the one by which rows are alike */
	CU_ASSERT_EQUAL(delimiter_of("a\n1\n"), ',');
	CU_ASSERT_EQUAL(delimiter_of("a;b"), ';');
	READS("a#b\n1,0#2\n", hash, "2 [1,0][2]\n");
	READS("a;b\r\n1,0;\"2;\"\r\n", CSV, "2 [1,0][2;]\n");
	READS("a\n", quote, "! delimiter: it can't be a quote, the end of a line or not ASCII.\n");
}

static void no_text(void)
{
	READS("PK\x03\x04whatever", CSV,
	      "! The file is no text: it is an Excel workbook or a ZIP archive; save the sheet as CSV.\n");
	READS("a,b\n\0\0\0\x01\x02\x03", CSV,
	      "! The file is no text: 6 of its first 10 bytes are control characters, NUL among them.\n");
	READS("a\0,\0b\0\n\0", CSV,
	      "! The file looks like UTF-16 without a byte order mark: set \"encoding\" to \"utf-16le\".\n");
	READS("\0a\0,\0b\0\n", CSV,
	      "! The file looks like UTF-16 without a byte order mark: set \"encoding\" to \"utf-16be\".\n");
}

/* --- encodings --- */

static void encodings(void)
{
	struct pipeline_source how = CSV;

	READS("\xff\xfe"
	      "a\0\n\0\xac\x20\n\0\x3d\xd8\x00\xde\n\0",
	      CSV, "2 [\xe2\x82\xac]\n3 [\xf0\x9f\x98\x80]\n");
	READS("\xfe\xff\0a\0\n\x20\xac\0\n", CSV, "2 [\xe2\x82\xac]\n");
	/* A half of a pair, and half a unit at the end. */
	READS("\xff\xfe"
	      "a\0\n\0\x3d\xd8x\0\n\0y\0\n\0z",
	      CSV, "2 encoding \n3 [y]\n4 encoding \n");
	how.encoding = STR("latin-1");
	READS("a\n\xe4\x80\n", how, "2 [\xc3\xa4\xc2\x80]\n");
	how.encoding = STR("windows-1252");
	READS("a\n\xe4\x80\n\x81\n", how, "2 [\xc3\xa4\xe2\x82\xac]\n3 encoding \n");
	READS("\xef\xbb\xbf"
	      "a\n\xc3\xa4\n",
	      how, "2 [\xc3\xa4]\n"); /* the mark knows better */
	how.encoding = STR("UTF-16");
	READS("a\0\n\0b\0", how, "2 [b]\n");
	how.encoding = STR("utf-8");
	READS("a\n\xc3\xa4\n", how, "2 [\xc3\xa4]\n");
	how.encoding = STR("ebcdic");
	READS("a\n", how, "! encoding: \"ebcdic\" is not known; utf-8, utf-16, latin-1 and windows-1252 are.\n");
	CU_ASSERT_TRUE(source_knows_encoding(STR("auto")));
	CU_ASSERT_TRUE(source_knows_encoding(STR("Windows-1252")));
	CU_ASSERT_FALSE(source_knows_encoding(STR("../../x")));
}

/* Every encoding of the table is one that this machine's iconv reads. */
static void encodings_are_there(void)
{
	static const char *const names[] = {"utf-32be", "iso-8859-15", "windows-1250", "windows-1251", "cp437",
					    "cp850",    "macintosh",   "koi8-r",       "shift_jis",    "gb18030",
					    "big5",     "euc-jp",      "euc-kr"};
	struct pipeline_source how = CSV;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct buf out;
		how.encoding = str_of(names[i]);
		struct source *source = open_text(STR("a\0\0\n"), &how, &out);
		buf_char(&out, '\0');
		CU_ASSERT_PTR_NULL(strstr(out.p, "can't read"));
		source_close(source);
		buf_release(&out);
	}
}

/* --- gzip --- */

/* Appends a member; caller releases. */
static void pack(struct buf *out, struct str text)
{
	z_stream z = {0};
	size_t bound = compressBound((uLong)text.n) + 64;

	CU_ASSERT_EQUAL_FATAL(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	CU_ASSERT_TRUE_FATAL(buf_reserve(out, bound));
	unsigned char *copy = malloc(text.n);
	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, text.p, text.n);
	z.next_in = copy;
	z.avail_in = (uInt)text.n;
	z.next_out = (unsigned char *)out->p + out->n;
	z.avail_out = (uInt)bound;
	CU_ASSERT_EQUAL(deflate(&z, Z_FINISH), Z_STREAM_END);
	out->n += z.total_out;
	deflateEnd(&z);
	free(copy);
}

static void packed(void)
{
	struct buf file, out;
	struct source *source;

	buf_init_heap(&file);
	pack(&file, STR("a,b\n1,\"2\n"));
	size_t first = file.n;
	pack(&file, STR("\"\n3,4\n"));
	any_way(buf_view(&file), &CSV, 0, "2 [1][2\n]\n4 [3][4]\n");
	size_t whole = file.n;
	buf_put(&file, "\0\0\0\0", 4); /* of a tape */
	any_way(buf_view(&file), &CSV, 0, "2 [1][2\n]\n4 [3][4]\n");
	file.n = whole - 1;
	any_way(buf_view(&file), &CSV, 0,
		"2 [1][2\n]\n4 [3][4]\n! The gzip file ends in the middle; what it had was read.\n");
	file.n = first + 12;
	any_way(buf_view(&file), &CSV, 0, "! The gzip file ends in the middle; what it had was read.\n");
	file.n = whole;
	file.p[first + 11] ^= 0x55;
	source = open_text(buf_view(&file), &CSV, &out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(source);
	dump_rest(source, &out, NULL);
	CU_ASSERT_TRUE(str_starts(buf_view(&out), STR("! The gzip file is damaged (")));
	source_close(source);
	buf_release(&out);

	file.n = 0;
	pack(&file, STR("\xff\xfe"
			"a\0\n\0b\0\n\0"));
	any_way(buf_view(&file), &CSV, 0, "2 [b]\n");
	file.n = 0;
	pack(&file, STR("x"));
	struct buf twice;
	buf_init_heap(&twice);
	pack(&twice, buf_view(&file));
	any_way(buf_view(&twice), &CSV, 0, "! The file is no text: it is packed twice; unpack it once.\n");
	buf_release(&twice);
	buf_release(&file);
}

/* 100 MB of the same row, and of nothing but a quote's inside. */
static void bombs(void)
{
	static const char *const contents[] = {"1\n", "0"};

	for (size_t i = 0; i < 2; i++) {
		struct buf file, out;
		z_stream z = {0};
		unsigned char packed_bytes[16 * 1024];
		char piece[64 * 1024];

		buf_init_heap(&file);
		CU_ASSERT_EQUAL_FATAL(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
		for (size_t k = 0; k < sizeof(piece); k++)
			piece[k] = contents[i][k % strlen(contents[i])];
		for (int k = 0; k < 100 * 16; k++) {
			z.next_in = (unsigned char *)piece;
			z.avail_in = sizeof(piece);
			do {
				z.next_out = packed_bytes;
				z.avail_out = sizeof(packed_bytes);
				CU_ASSERT_TRUE_FATAL(deflate(&z, k == 100 * 16 - 1 ? Z_FINISH : Z_NO_FLUSH) !=
						     Z_STREAM_ERROR);
				buf_put(&file, packed_bytes, sizeof(packed_bytes) - z.avail_out);
			} while (z.avail_out == 0);
		}
		deflateEnd(&z);
		CU_ASSERT_TRUE(file.n < 150000);
		struct source *source;
		struct source_block block = {0};
		struct err err = {0};
		const struct pipeline_source how = {
			.format = PIPELINE_CSV, .header = &(struct str){"a", 1}, .header_n = 1};
		CU_ASSERT_EQUAL_FATAL(source_open_bytes(&source, buf_view(&file), &how, &err), STATUS_OK);
		enum status status;
		size_t most = 0;
		while ((status = source_next(source, &block, &err)) == STATUS_OK && block.n > 0)
			most = block.cap > most ? block.cap : most;
		CU_ASSERT_EQUAL(status, STATUS_INVALID);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "more than 250 times its size"));
		CU_ASSERT_TRUE(most <= READER_RECORD_MAX + READER_BLOCK_BYTES);
		source_close(source);
		source_block_release(&block);
		buf_init_heap(&out);
		buf_release(&out);
		buf_release(&file);
	}
}

/* --- any bytes --- */

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Text of few characters, so that quotes, delimiters and ends of lines meet in every way. */
static void same_whatever_the_blocks(void)
{
	static const char alphabet[] = "\"\"\",,\n\n\r\nab\xc3\xa4";
	static const char json[] = "{}[]\"\":,,\n \\1a";
	uint32_t state = 1;

	for (int round = 0; round < 1500; round++) {
		static struct str name = STR_INIT("a");
		const struct pipeline_source *how[] = {
			&(struct pipeline_source){.format = PIPELINE_CSV, .header = &name, .header_n = 1},
			&(struct pipeline_source){.format = PIPELINE_CSV, .has_header = true}, &LINES, &ARRAY};
		char text[200];
		size_t n = next_random(&state) % sizeof(text), kind = (size_t)round % 4;
		const char *letters = kind < 2 ? alphabet : json;
		for (size_t i = 0; i < n; i++)
			text[i] = letters[next_random(&state) % strlen(letters)];
		if (kind == 3 && n > 0)
			text[0] = '[';
		size_t record_max = round % 3 == 0 ? 8 + next_random(&state) % 40 : 0;
		struct buf all;
		struct source *source = open_text((struct str){text, n}, how[kind], &all);
		if (source) {
			source_set_bounds(source, 1000, record_max);
			dump_rest(source, &all, NULL);
		}
		buf_char(&all, '\0');
		any_way((struct str){text, n}, how[kind], record_max, all.p);
		source_close(source);
		buf_release(&all);
	}
}

static void scan_finds_the_same(void)
{
	uint32_t state = 7;
	char bytes[SCAN_BYTES];

	for (int round = 0; round < 20000; round++) {
		uint64_t three = 0, odd = 0;
		for (size_t i = 0; i < SCAN_BYTES; i++) {
			static const char near[] = {0, 1, 127, -128, -1, ',', '"', '\n', '-', '!', '#', 'a'};
			uint32_t r = next_random(&state);
			bytes[i] = round % 2 ? (char)(unsigned char)r : near[r % sizeof(near)];
			bool hit = bytes[i] == ',' || bytes[i] == '"' || bytes[i] == '\n';
			three |= (uint64_t)hit << i;
			odd |= (uint64_t)(bytes[i] == 0 || (unsigned char)bytes[i] >= 0x80) << i;
		}
		const struct scan_three look = {',', '"', '\n'};
		CU_ASSERT_EQUAL(scan_three(bytes, look), three);
		CU_ASSERT_EQUAL(scan_three_plain(bytes, look), three);
		CU_ASSERT_EQUAL(scan_odd(bytes), odd);
		CU_ASSERT_EQUAL(scan_odd_plain(bytes), odd);
	}
}

/* --- files --- */

static const char *write_file(const char *name, struct str text, const char *mode)
{
	static char path[512];
	snprintf(path, sizeof(path), "%s/%s", unit_temp_dir(), name);
	FILE *file = fopen(path, mode);
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_EQUAL(fwrite(text.p, 1, text.n, file), text.n);
	CU_ASSERT_EQUAL(fclose(file), 0);
	return path;
}

static void files(void)
{
	struct source *source;
	struct err err = {0};
	struct buf out;
	char path[600];
	int64_t done, total;

	CU_ASSERT_EQUAL(source_open(&source, "/no/such/file", &CSV, &err), STATUS_NOT_FOUND);
	CU_ASSERT_PTR_NULL(source);
	CU_ASSERT_EQUAL(source_open(&source, unit_temp_dir(), &CSV, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(err.text, "It is not a regular file.");
	CU_ASSERT_EQUAL(source_open(&source, "/dev/zero", &CSV, &err), STATUS_UNAVAILABLE);
	const char *file = write_file("plain.csv", STR("a,b\n1,2\n3,4\n"), "w");
	snprintf(path, sizeof(path), "%s/link.csv", unit_temp_dir());
	CU_ASSERT_EQUAL_FATAL(symlink(file, path), 0);
	CU_ASSERT_EQUAL(source_open(&source, path, &CSV, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(err.text, "The file can't be opened: it is a link.");

	CU_ASSERT_EQUAL_FATAL(source_open(&source, file, &CSV, &err), STATUS_OK);
	source_progress(source, &done, &total);
	CU_ASSERT_EQUAL(done, 4);
	CU_ASSERT_EQUAL(total, 12);
	buf_init_heap(&out);
	CU_ASSERT_EQUAL(dump_rest(source, &out, NULL), 2);
	CU_ASSERT_TRUE(str_eq(buf_view(&out), STR("2 [1][2]\n3 [3][4]\n")));
	source_progress(source, &done, &total);
	CU_ASSERT_EQUAL(done, 12);
	source_close(source);
	buf_release(&out);
}

static bool is_same(const char *path, const char *was)
{
	struct source *source;
	struct err err = {0};

	CU_ASSERT_EQUAL_FATAL(source_open(&source, path, &CSV, &err), STATUS_OK);
	bool same = source_is_same(source, was);
	source_close(source);
	return same;
}

static void set_time(const char *path, int seconds)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000 + seconds}};

	CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void identity(void)
{
	struct source *source;
	char was[200], other[600];
	const char *path = write_file("known.csv", STR("a,b\n1,2\n"), "w");

	set_time(path, 0);
	CU_ASSERT_EQUAL_FATAL(source_open(&source, path, &CSV, NULL), STATUS_OK);
	source_identify(source, was);
	CU_ASSERT_TRUE(source_is_same(source, was));
	source_close(source);
	CU_ASSERT_TRUE(is_same(path, was));
	snprintf(other, sizeof(other), "4711%s", strchr(was, ':'));
	CU_ASSERT_TRUE(is_same(path, other)); /* its disk has another number since the machine was started anew */
	CU_ASSERT_FALSE(is_same(path, ""));
	CU_ASSERT_FALSE(is_same(path, "1:2:3"));
	write_file("known.csv", STR("3,4\n"), "a"); /* grown */
	set_time(path, 1);
	CU_ASSERT_TRUE(is_same(path, was));
	CU_ASSERT_EQUAL(truncate(path, 8), 0); /* as it was, but somebody wrote to it */
	set_time(path, 2);
	CU_ASSERT_FALSE(is_same(path, was));
	set_time(path, 0);
	CU_ASSERT_TRUE(is_same(path, was));
	CU_ASSERT_EQUAL(truncate(path, 7), 0); /* shorter */
	CU_ASSERT_FALSE(is_same(path, was));
	write_file("known.csv", STR("a,b\n1,3\n5,6\n"), "w"); /* longer, but not the same */
	CU_ASSERT_FALSE(is_same(path, was));
	write_file("known.csv", STR("a,b\n1,2\n"), "w");
	set_time(path, 0);
	CU_ASSERT_TRUE(is_same(path, was));
	snprintf(other, sizeof(other), "%s/other.csv", unit_temp_dir());
	CU_ASSERT_EQUAL(rename(path, other), 0); /* another file with the same name and bytes */
	write_file("known.csv", STR("a,b\n1,2\n"), "w");
	set_time(path, 0);
	CU_ASSERT_FALSE(is_same(path, was));
	CU_ASSERT_TRUE(is_same(other, was)); /* another name */
}

/* Rows of 10 bytes, "0000000,x\n", more than a block of them. */
static const char *write_rows(const char *name, int from, int n, const char *mode)
{
	struct buf text;

	buf_init_heap(&text);
	if (from == 0)
		buf_str(&text, STR("a,b\n"));
	for (int i = from; i < from + n; i++)
		buf_fmt(&text, "%07d,x\n", i);
	const char *path = write_file(name, buf_view(&text), mode);
	buf_release(&text);
	return path;
}

/* Power is not cut here: that it is asked for, and that its failure is told. */
static void put_on_the_disk(void)
{
	struct source *source;
	struct err err = {0};

	CU_ASSERT_EQUAL_FATAL(source_open(&source, write_file("synced.csv", STR("a\n1\n"), "w"), &CSV, NULL),
			      STATUS_OK);
	CU_ASSERT_EQUAL(source_sync(source, &err), STATUS_OK);
	int fd = source->stream.fd;
	source->stream.fd = INT_MAX; /* no file */
	CU_ASSERT_EQUAL(source_sync(source, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "could not be put on the disk"));
	source->stream.fd = fd;
	source_close(source);
	CU_ASSERT_EQUAL_FATAL(source_open_bytes(&source, STR("a\n1\n"), &CSV, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(source_sync(source, &err), STATUS_OK);
	source_close(source);
}

static void growing_and_shrinking(void)
{
	struct source *source;
	struct source_block block = {0};
	struct err err = {0};
	const char *path = write_rows("grows.csv", 0, 100000, "w");

	CU_ASSERT_EQUAL_FATAL(source_open(&source, path, &CSV, &err), STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(source_next(source, &block, &err), STATUS_OK);
	struct source_position first = block.to;
	write_rows("grows.csv", 100000, 100, "a");
	while (source_next(source, &block, &err) == STATUS_OK && block.n > 0)
		;
	CU_ASSERT_EQUAL(source->at.records, 100100);
	CU_ASSERT_EQUAL(source->at.line, 100102);
	CU_ASSERT_EQUAL(source->at.offset, 4 + 100100 * 10);

	CU_ASSERT_EQUAL(source_seek(source, first, &err), STATUS_OK);
	CU_ASSERT_EQUAL(source_next(source, &block, &err), STATUS_OK);
	CU_ASSERT_EQUAL(truncate(path, 300000), 0);
	enum status status;
	while ((status = source_next(source, &block, &err)) == STATUS_OK && block.n > 0)
		;
	CU_ASSERT_EQUAL(status, STATUS_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(err.text, "The file became shorter while it was read.");
	CU_ASSERT_EQUAL(source_seek(source, (struct source_position){300001, 30000, 30000}, &err), STATUS_INVALID);
	CU_ASSERT_EQUAL(source_seek(source, (struct source_position){0}, &err), STATUS_OK);
	CU_ASSERT_EQUAL(source_next(source, &block, &err), STATUS_OK);
	CU_ASSERT_EQUAL(block.from.offset, 4);
	CU_ASSERT_EQUAL(block.from.line, 2);
	source_close(source);
	source_block_release(&block);
}

/* Whatever a file holds, no more of it is in memory than a few blocks; a field of 100 MB is one refusal. */
static void a_large_field(void)
{
	struct source *source;
	struct source_block block = {0};
	struct err err = {0};
	const char *path = write_file("large.csv", STR("a,b\n1,2\n"), "w");
	size_t most = 0;

	CU_ASSERT_EQUAL(truncate(path, 100 << 20), 0); /* a hole: NULs */
	write_file("large.csv", STR("\n3,4\n"), "a");
	CU_ASSERT_EQUAL_FATAL(
		source_open(&source, path, &(struct pipeline_source){.format = PIPELINE_JSON_LINES}, &err),
		STATUS_INVALID); /* no text at its beginning */
	path = write_rows("large.csv", 0, 10000, "w");
	CU_ASSERT_EQUAL(truncate(path, 100 << 20), 0);
	write_file("large.csv", STR("\n3,4\n"), "a");
	CU_ASSERT_EQUAL_FATAL(source_open(&source, path, &CSV, &err), STATUS_OK);
	int faults = 0;
	while (source_next(source, &block, &err) == STATUS_OK && block.n > 0) {
		most = block.cap > most ? block.cap : most;
		faults += block.fault != NULL;
	}
	CU_ASSERT_EQUAL(faults, 1);
	CU_ASSERT_EQUAL(source->at.records, 10002);
	CU_ASSERT_EQUAL(source->at.line, 10004);
	CU_ASSERT_EQUAL(source->at.offset, (100 << 20) + 5);
	CU_ASSERT_TRUE(most <= READER_RECORD_MAX + READER_BLOCK_BYTES);
	CU_ASSERT_TRUE(source->carry_cap <= READER_RECORD_MAX + READER_BLOCK_BYTES);
	source_close(source);
	source_block_release(&block);
}

static void items_of_json(void)
{
	struct pipeline_source how = ARRAY;

	how.items = STR("data.rows");
	READS("{\"x\":[1],\"data\":{\"y\":{\"rows\":[2]},\"rows\":[{\"a\":1}]}}", how, "1 [a=number:1]\n");
	READS("{\"x\":[1],\"rows\":[1]}", how, "! The JSON has no array \"data.rows\".\n");
	READS("{\"data\":[1]}", how, "! The JSON has no array \"data.rows\".\n");
	READS("[]", how, "! The JSON is an array; \"items\" names a member of an object.\n");
	READS("", how, "! The JSON has no array \"data.rows\".\n");
	READS("{\"data\":{\"rows\":[", how, "! The JSON ends in the middle, after 0 items.\n");
}

/* Names are looked up once for as long as they stay. */
static void names_are_shared(void)
{
	struct source *source;
	struct source_block block = {0};
	struct raw_record record;
	struct reader reader;
	struct arena arena;
	bool failed;
	const struct str *names[4] = {0};

	arena_init(&arena, 1u << 20);
	CU_ASSERT_EQUAL_FATAL(
		source_open_bytes(
			&source,
			STR("{\"a\":1,\"b\":2}\n{\"a\":3,\"b\":4}\n{\"b\":5,\"a\":6}\n{\"b\":7,\"\\u0061\":6}"), &LINES,
			NULL),
		STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(source_next(source, &block, NULL), STATUS_OK);
	reader_init(&reader, source_shape(source), &block, &arena);
	for (int i = 0; i < 4 && reader_next(&reader, &record, &failed); i++)
		names[i] = record.names;
	CU_ASSERT_PTR_NOT_NULL_FATAL(names[3]);
	CU_ASSERT_PTR_EQUAL(names[0], names[1]);
	CU_ASSERT_PTR_NOT_EQUAL(names[1], names[2]);
	CU_ASSERT_TRUE(str_eq(names[3][1], STR("a")));
	CU_ASSERT_FALSE(reader_next(&reader, &record, &failed));
	CU_ASSERT_FALSE(failed);
	arena_release(&arena);
	arena_init(&arena, 100);
	reader_init(&reader, source_shape(source), &block, &arena);
	CU_ASSERT_FALSE(reader_next(&reader, &record, &failed));
	CU_ASSERT_TRUE(failed);
	arena_release(&arena);
	source_close(source);
	source_block_release(&block);
}

static const struct unit_case CASES[] = {
	{"plain", plain},
	{"quotes", quotes},
	{"ragged", ragged},
	{"JSON lines", lines_of_json},
	{"escapes of JSON", escapes_of_json},
	{"a JSON array", array_of_json},
	{"the array within a JSON object", items_of_json},
	{"names of JSON are shared", names_are_shared},
	{"longer than allowed", longer_than_allowed},
	{"a quote that never closes", quote_that_never_closes},
	{"quotes without end", quotes_without_end},
	{"refusals say why", refusals_say_why},
	{"bytes that are no UTF-8", bad_bytes},
	{"long and odd", long_and_odd},
	{"large objects", large_objects},
	{"headers", headers},
	{"large headers", large_headers},
	{"delimiters", delimiters},
	{"no text", no_text},
	{"encodings", encodings},
	{"encodings are there", encodings_are_there},
	{"gzip", packed},
	{"gzip bombs", bombs},
	{"the same whatever the blocks", same_whatever_the_blocks},
	{"64 bytes at a time", scan_finds_the_same},
	{"files", files},
	{"which file it is", identity},
	{"a file that grows or shrinks", growing_and_shrinking},
	{"a source is put on the disk", put_on_the_disk},
	{"a field of 100 MB", a_large_field},
};

int main(void)
{
	return UNIT_RUN("reader", CASES);
}
