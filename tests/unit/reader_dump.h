/* What a source holds, as text: a record a line, so that two ways of reading can be compared. */
#ifndef APPCORE_TESTS_READER_DUMP_H
#define APPCORE_TESTS_READER_DUMP_H

#include "pipeline/reader.h"

/* `3 [a][b]` is a record that begins in line 3; a missing cell is [-], one that is not text has its kind before it;
 * `3 ragged [a]` is none, with what it has. */
static inline void dump_record(const struct raw_record *record, bool json, struct buf *out)
{
	static const char *const kinds[] = {"-", "null:", "", "number:", "bool:", "json:"};

	buf_fmt(out, "%lld ", (long long)record->line);
	if (record->fault)
		buf_fmt(out, "%s ", record->fault);
	for (size_t i = 0; i < record->n; i++) {
		buf_char(out, '[');
		if (json) {
			buf_str(out, record->names[i]);
			buf_char(out, '=');
		}
		buf_fmt(out, "%s", kinds[record->cells[i].kind]);
		buf_str(out, record->cells[i].text);
		buf_char(out, ']');
	}
	buf_char(out, '\n');
}

/* Reads on to the end from where the source is. `positions`, if given, gets where each block began and how long `out`
 * was then. What ends the reading is the last line. */
struct dump_position {
	struct source_position at;
	size_t n;
};

static inline int64_t dump_rest(struct source *source, struct buf *out, struct buf *positions)
{
	const struct source_shape *shape = source_shape(source);
	struct source_block block = {0};
	struct raw_record record;
	struct reader reader;
	struct arena arena;
	struct err err = {0};
	enum status status;
	int64_t records = 0;
	bool failed = false;

	arena_init(&arena, (size_t)1 << 28);
	while ((status = source_next(source, &block, &err)) == STATUS_OK && block.n > 0) {
		struct dump_position here = {block.from, out->n};
		int64_t of_block = 0;
		if (positions)
			buf_put(positions, &here, sizeof(here));
		reader_init(&reader, shape, &block, &arena);
		while (reader_next(&reader, &record, &failed)) {
			dump_record(&record, shape->format != PIPELINE_CSV, out);
			of_block++;
		}
		if (failed)
			buf_fmt(out, "no memory\n");
		if (block.to.records - block.from.records != of_block)
			buf_fmt(out, "%lld records were cut, %lld read\n",
				(long long)(block.to.records - block.from.records), (long long)of_block);
		if (!block.fault && block.to.line != reader.line && shape->format != PIPELINE_JSON_LINES)
			buf_fmt(out, "cut until line %lld, read until %lld\n", (long long)block.to.line,
				(long long)reader.line);
		records += of_block;
		arena_reset(&arena);
	}
	if (status != STATUS_OK)
		buf_fmt(out, "! %s\n", err.text);
	arena_release(&arena);
	source_block_release(&block);
	return records;
}

#endif
