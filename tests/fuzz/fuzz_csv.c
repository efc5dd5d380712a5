/* Files from strangers, CSV and JSON, packed and recoded: every record is one that can be stored or says why it is
 * none; and whatever the size of the blocks, and wherever reading goes on, the records are the same.
 *
 * The first two bytes say how the rest is read: format, header, delimiter and encoding; size of the blocks, and of the
 * longest record. */
#include "pipeline/reader.h"

#include "../unit/reader_dump.h"
#include "fuzz.h"

enum { POSITIONS_MAX = 12 }; /* that are tried */

static struct str names[] = {STR_INIT("a"), STR_INIT("b")};

static void check_record(const struct raw_record *record, const struct source_shape *shape)
{
	demand(record->text.p && str_is_utf8(record->text), "what a refusal shows is text");
	demand(!record->fault || (record->detail.n > 0 && str_is_utf8(record->detail)), "a fault has its reason");
	demand(shape->format != PIPELINE_CSV || record->n <= shape->names_n, "no more cells than columns");
	demand(record->fault || shape->format != PIPELINE_CSV || record->n == shape->names_n, "a cell for each column");
	for (size_t i = 0; i < record->n; i++) {
		struct str text = record->cells[i].text;
		demand(text.p && str_is_utf8(text), "a cell is text");
		demand(text.n == 0 || !memchr(text.p, '\0', text.n), "without NUL");
		demand(record->names[i].p && str_is_utf8(record->names[i]), "and so is its name");
	}
}

static void check_records(struct source *source)
{
	struct source_block block = {0};
	struct raw_record record;
	struct reader reader;
	struct arena arena;
	bool failed = false;

	arena_init(&arena, (size_t)1 << 28);
	while (source_next(source, &block, NULL) == STATUS_OK && block.n > 0) {
		demand(block.to.offset > block.from.offset, "a block goes on");
		reader_init(&reader, source_shape(source), &block, &arena);
		while (reader_next(&reader, &record, &failed))
			check_record(&record, source_shape(source));
		demand(!failed, "there is memory");
		arena_reset(&arena);
	}
	arena_release(&arena);
	source_block_release(&block);
}

static struct source *open_as(struct str text, unsigned char how, unsigned char bounds, size_t block)
{
	static const char delimiters[] = {0, ',', ';', '\t'};
	static const char *const encodings[] = {"auto", "latin-1", "utf-16", "gb18030"};
	static const enum pipeline_format formats[] = {PIPELINE_CSV, PIPELINE_CSV, PIPELINE_JSON_LINES, PIPELINE_JSON};
	const size_t record_max[] = {0, 16, 40, 100};
	struct source *source = NULL;
	struct pipeline_source as = {.format = formats[how & 3],
				     .has_header = how & 4,
				     .delimiter = delimiters[how >> 3 & 3],
				     .encoding = str_of(encodings[how >> 5 & 3]),
				     .items = how & 128 ? STR("a.b") : STR("")};
	struct err err = {0};

	if ((how & 3) == 0 && !as.has_header) {
		as.header = names;
		as.header_n = 2;
	}
	if (source_open_bytes(&source, text, &as, &err) != STATUS_OK) {
		demand(!source && err.status != STATUS_OK && err.text[0] && str_is_utf8(str_of(err.text)),
		       "it says why");
		return NULL;
	}
	source_set_bounds(source, block, record_max[bounds & 3]);
	return source;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf all, other, positions;

	if (size < 2 || size > 1u << 16)
		return 0;
	struct str text = {(const char *)data + 2, size - 2};
	struct source *source = open_as(text, data[0], data[1], READER_BLOCK_BYTES);
	if (!source)
		return 0;
	buf_init_heap(&all);
	buf_init_heap(&other);
	buf_init_heap(&positions);
	dump_rest(source, &all, NULL);
	demand(!all.failed && source_seek(source, (struct source_position){0}, NULL) == STATUS_OK, "it begins again");
	check_records(source);
	source_close(source);

	source = open_as(text, data[0], data[1], 1 + (data[1] >> 2));
	demand(source != NULL, "it opens again");
	dump_rest(source, &other, &positions);
	demand(str_eq(buf_view(&all), buf_view(&other)), "records do not depend on the blocks");
	const struct dump_position *at = (const struct dump_position *)(const void *)positions.p;
	size_t n = positions.n / sizeof(*at);
	for (size_t i = 0; i < n; i += 1 + n / POSITIONS_MAX) {
		other.n = 0;
		demand(source_seek(source, at[i].at, NULL) == STATUS_OK, "a position is found again");
		dump_rest(source, &other, NULL);
		demand(other.n == all.n - at[i].n && (other.n == 0 || memcmp(other.p, all.p + at[i].n, other.n) == 0),
		       "and goes on there");
	}
	source_close(source);
	buf_release(&all);
	buf_release(&other);
	buf_release(&positions);
	return 0;
}
