/* Sources and readers: what CSV and JSON become, whatever the blocks and wherever reading goes on. */
#include "pipeline/reader_impl.h"
#include "pipeline/reader_scan.h"

#include "reader_dump.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
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

static const struct unit_case CASES[] = {
	{"plain", plain},
	{"quotes", quotes},
	{"ragged", ragged},
	{"JSON lines", lines_of_json},
	{"a JSON array", array_of_json},
};

int main(void)
{
	return UNIT_RUN("reader", CASES);
}
