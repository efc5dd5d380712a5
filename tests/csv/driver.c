/* driver ENCODING FILE…: what the reader makes of each CSV, as a line of JSON: an array of its records, objects with
 * the names of the header; of a record that is none the code of its fault. With "-" before the encoding files have no
 * header, and records are arrays of all their cells (at most 64). Cells that are missing are "", as in files. */
#include "pipeline/reader.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

static void put_record(struct buf *out, const struct raw_record *record, bool names)
{
	if (record->fault && (names || strcmp(record->fault, "ragged") != 0)) {
		json_put_string(out, str_of(record->fault));
		return;
	}
	buf_char(out, names ? '{' : '[');
	for (size_t i = 0; i < record->n; i++) {
		if (i > 0)
			buf_char(out, ',');
		if (names) {
			json_put_string(out, record->names[i]);
			buf_char(out, ':');
		}
		json_put_string(out, record->cells[i].text);
	}
	buf_char(out, names ? '}' : ']');
}

static int put_file(const char *path, const struct pipeline_source *how, struct buf *out)
{
	struct source *source;
	struct source_block block = {0};
	struct raw_record record;
	struct reader reader;
	struct arena arena;
	struct err err = {0};
	bool failed = false, first = true;
	enum status status = source_open(&source, path, how, &err);

	arena_init(&arena, (size_t)1 << 28);
	buf_char(out, '[');
	while (status == STATUS_OK && (status = source_next(source, &block, &err)) == STATUS_OK && block.n > 0) {
		reader_init(&reader, source_shape(source), &block, &arena);
		while (reader_next(&reader, &record, &failed)) {
			if (!first)
				buf_char(out, ',');
			first = false;
			put_record(out, &record, how->has_header);
		}
		arena_reset(&arena);
	}
	buf_put(out, "]\n", 2);
	arena_release(&arena);
	source_block_release(&block);
	source_close(source);
	if (status != STATUS_OK || failed)
		fprintf(stderr, "%s: %s\n", path, err.text);
	return status != STATUS_OK || failed;
}

int main(int argc, char **argv)
{
	static struct str names[64];
	static char texts[64][16];
	const bool bare = argc > 1 && strcmp(argv[1], "-") == 0;
	struct pipeline_source how = {.format = PIPELINE_CSV, .has_header = !bare, .delimiter = bare ? ',' : '\0'};
	struct buf out;
	int bad = argc < 3 + bare;

	for (int i = 0; bare && i < 64; i++) {
		snprintf(texts[i], sizeof(texts[i]), "c%d", i);
		names[i] = str_of(texts[i]);
		how.header = names;
		how.header_n = 64;
	}
	buf_init_heap(&out);
	how.encoding = str_of(argc > 1 + bare ? argv[1 + bare] : "auto");
	for (int i = 2 + bare; i < argc; i++)
		bad |= put_file(argv[i], &how, &out);
	bad |= out.failed || fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0;
	buf_release(&out);
	return bad;
}
