/* Records of a block. The loop over cells meets each delimiter, quote and end of line once, as a bit of the 64 bytes it
 * stands in (reader_scan.h); cells are views into the block. Only a cell with doubled quotes, or with text behind its
 * closing quote, is copied.
 *
 * Whether a record is UTF-8 is asked only where one of its bytes is not plain ASCII. */
#include "pipeline/reader_impl.h"

#include "pipeline/reader_scan.h"

#include <stdarg.h>
#include <stdio.h>

enum {
	SPARE_CELLS = 2048, /* taken from the arena at a time */
	SHOWN_BYTES = 1024, /* of what is no text */
};

void reader_init(struct reader *reader, const struct source_shape *shape, const struct source_block *block,
		 struct arena *arena)
{
	*reader = (struct reader){.shape = shape, .block = block, .arena = arena, .line = block->from.line};
	reader->base = (size_t)0 - SCAN_BYTES; /* the next 64 are the first */
}

/* Where the next mark is; the block's end behind the last. */
static inline size_t next_mark(struct reader *reader)
{
	const struct source_block *block = reader->block;

	while (reader->marks == 0) {
		size_t base = reader->base + SCAN_BYTES;
		if (base >= block->n)
			return block->n;
		struct scan_three look = {reader->shape->delimiter, reader->shape->eol, '"'};
		uint64_t valid = scan_first(block->n - base);
		reader->base = base;
		reader->marks = scan_three(block->bytes + base, look) & valid;
		reader->odd = scan_odd(block->bytes + base) & valid;
		reader->seen_odd |= reader->odd != 0;
	}
	size_t at = reader->base + (size_t)__builtin_ctzll(reader->marks);
	reader->marks &= reader->marks - 1;
	return at;
}

/* A cell with doubled quotes, or with text behind its closing quote. */
static struct str undo_quotes(struct str raw, struct arena *arena)
{
	char *to = arena_alloc(arena, raw.n);
	size_t n = 0;
	bool quoted = true;

	if (!to)
		return (struct str){0};
	for (size_t i = 1; i < raw.n; i++) {
		if (raw.p[i] != '"' || !quoted) {
			to[n++] = raw.p[i];
		} else if (i + 1 < raw.n && raw.p[i + 1] == '"') {
			to[n++] = '"';
			i++;
		} else {
			quoted = false;
		}
	}
	return (struct str){to, n};
}

/* Passes a cell that begins with a quote; the mark behind it is returned. *closed is behind the quote that closed it,
 * or 0 where that is not all there was to it (a doubled quote, text behind it). */
static size_t pass_quoted(struct reader *reader, const char *p, size_t n, size_t *closed)
{
	size_t at, last = 0;
	bool quoted = true, plain = true;

	(void)next_mark(reader); /* the quote itself */
	while ((at = next_mark(reader)) < n) {
		if (p[at] != '"') {
			if (!quoted)
				break;
			reader->line += p[at] == reader->shape->eol;
		} else if (quoted) {
			quoted = false;
			last = at + 1;
		} else {
			plain = false;
			quoted = at == last;
		}
	}
	*closed = plain ? last : 0;
	return at;
}

/* One record into at most `room` cells; *found is how many it has, *end where it ends without its line break. False
 * without memory. */
bool csv_cells(struct reader *reader, struct cell *cells, size_t room, size_t *found, size_t *end)
{
	const char *p = reader->block->bytes, eol = reader->shape->eol;
	const size_t n = reader->block->n;
	size_t begin = reader->at, count = 0, at;

	reader->seen_odd = begin - reader->base < SCAN_BYTES && reader->odd >> (begin - reader->base) != 0;
	for (;; begin = at + 1) {
		size_t closed = 0, stop;
		bool quoted = begin < n && p[begin] == '"';
		if (quoted) {
			at = pass_quoted(reader, p, n, &closed);
		} else {
			do
				at = next_mark(reader);
			while (at < n && p[at] == '"');
		}
		bool last = at == n || p[at] == eol;
		stop = at;
		if (last && eol == '\n' && stop > begin && p[stop - 1] == '\r')
			stop--;
		if (count < room) {
			struct str text = {p + begin, stop - begin};
			if (quoted && closed == stop)
				text = (struct str){p + begin + 1, stop - begin - 2};
			else if (quoted)
				text = undo_quotes(text, reader->arena);
			if (!text.p)
				return false;
			cells[count].kind = text.n ? CELL_TEXT : CELL_MISSING;
			cells[count].text = text;
		}
		count++;
		if (last) {
			*found = count;
			*end = stop;
			reader->at = at < n ? at + 1 : n;
			reader->line += at < n;
			return true;
		}
	}
}

struct cell *reader_room(struct reader *reader, size_t n)
{
	if (reader->spare_n < n) {
		size_t more = 4 * n > SPARE_CELLS ? 4 * n : SPARE_CELLS;
		reader->spare = arena_alloc(reader->arena, more * sizeof(struct cell));
		reader->spare_n = reader->spare ? more : 0;
	}
	return reader->spare;
}

void reader_take_cells(struct reader *reader, size_t n)
{
	reader->spare += n;
	reader->spare_n -= n;
}

/* Text that can be shown, of bytes that are none: at most SHOWN_BYTES of them. */
static struct str shown(struct reader *reader, struct str bytes)
{
	struct buf out;

	buf_init(&out, reader->arena);
	bytes.n = bytes.n < SHOWN_BYTES ? bytes.n : SHOWN_BYTES;
	for (size_t i = 0; i < bytes.n;) {
		size_t step = str_utf8_sequence(bytes.p + i, bytes.n - i);
		if (step == 0 || bytes.p[i] == '\0') {
			buf_put(&out, "\xef\xbf\xbd", 3);
			i++;
		} else {
			buf_put(&out, bytes.p + i, step);
			i += step;
		}
	}
	return out.failed ? (struct str){0} : buf_view(&out);
}

bool reader_refuse(struct reader *reader, struct raw_record *record, const char *fault, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	record->fault = fault;
	record->detail = arena_dup(reader->arena, (struct str){text, n < 0 ? 0 : strnlen(text, sizeof(text))});
	return record->detail.p != NULL;
}

/* Where the first byte is that is no text; n: nowhere. */
static size_t text_end(const char *p, size_t n)
{
	size_t at = 0;

	while (at < n) {
		if (n - at >= SCAN_BYTES) {
			uint64_t odd = scan_odd(p + at);
			if (odd == 0) {
				at += SCAN_BYTES;
				continue;
			}
			at += (size_t)__builtin_ctzll(odd);
		}
		size_t step = p[at] ? str_utf8_sequence(p + at, n - at) : 0;
		if (step == 0)
			return at;
		at += step;
	}
	return n;
}

bool reader_check_text(struct reader *reader, struct raw_record *record)
{
	size_t at = text_end(record->text.p, record->text.n);
	bool nul = at < record->text.n && record->text.p[at] == '\0';

	if (at == record->text.n)
		return true;
	record->n = 0;
	struct str text = shown(reader, record->text);
	record->text = text;
	if (!text.p)
		return false;
	if (nul)
		return reader_refuse(reader, record, "encoding", "Byte %zu of the record is NUL.", at + 1);
	return reader_refuse(reader, record, "encoding",
			     "Byte %zu of the record is not UTF-8: say what the file's encoding is.", at + 1);
}

/* A block that is one record which is none. */
static bool next_fault(struct reader *reader, struct raw_record *record)
{
	const struct source_block *block = reader->block;

	record->line = reader->line;
	record->text = shown(reader, (struct str){block->bytes, block->n});
	reader->at = block->n;
	while (record->text.n > 0 &&
	       (record->text.p[record->text.n - 1] == '\n' || record->text.p[record->text.n - 1] == '\r'))
		record->text.n--;
	return record->text.p && reader_refuse(reader, record, block->fault, "%s", block->detail);
}

static bool next_row(struct reader *reader, struct raw_record *record)
{
	const size_t names_n = reader->shape->names_n;
	size_t begin, end, found;

	do {
		begin = reader->at;
		if (begin == reader->block->n)
			return true;
		record->line = reader->line;
		record->cells = reader_room(reader, names_n + 1);
		if (!record->cells || !csv_cells(reader, record->cells, names_n, &found, &end))
			return false;
	} while (begin == end);
	record->n = found < names_n ? found : names_n;
	record->names = reader->shape->names;
	record->text = (struct str){reader->block->bytes + begin, end - begin};
	reader_take_cells(reader, record->n);
	if (reader->seen_odd && !reader_check_text(reader, record))
		return false;
	if (found == names_n || record->fault)
		return true;
	return reader_refuse(reader, record, "ragged", "The row has %zu cell%s, and there are %zu columns.", found,
			     found == 1 ? "" : "s", names_n);
}

bool reader_next(struct reader *reader, struct raw_record *record, bool *failed)
{
	bool read;

	*failed = false;
	*record = (struct raw_record){.is_json = reader->shape->format != PIPELINE_CSV};
	if (reader->at >= reader->block->n)
		return false;
	if (reader->block->fault)
		read = next_fault(reader, record);
	else if (reader->shape->format == PIPELINE_CSV)
		read = next_row(reader, record);
	else
		read = reader_next_json(reader, record);
	*failed = !read;
	return read && record->text.p;
}
