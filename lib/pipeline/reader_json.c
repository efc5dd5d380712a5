/* Records of JSON lines and of a JSON array. Each is checked as a whole (base/json.h), then its members become cells:
 * texts unescaped, numbers with their value, arrays and objects as they were written. */
#include "pipeline/reader_impl.h"

#include "base/json.h"

#include <math.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

size_t json_extent_scan(struct json_extent *extent, const char *p, size_t at, size_t n, bool *done)
{
	*done = false;
	for (; at < n; at++) {
		char c = p[at];
		if (extent->string) {
			if (extent->escaped)
				extent->escaped = false;
			else if (c == '\\')
				extent->escaped = true;
			else if (c == '"')
				extent->string = false;
			if (!extent->string && extent->depth == 0) {
				*done = true;
				return at + 1;
			}
		} else if (c == '"') {
			if (extent->begun && extent->depth == 0)
				break; /* of a number or a word: it ended */
			extent->string = true;
		} else if (c == '{' || c == '[') {
			if (extent->begun && extent->depth == 0)
				break;
			extent->depth++;
		} else if (c == '}' || c == ']') {
			if (extent->depth == 0)
				break;
			if (--extent->depth == 0) {
				*done = true;
				return at + 1;
			}
		} else if (extent->depth == 0 && (c == ',' || is_blank(c))) {
			break;
		}
		extent->begun = true;
	}
	*done = at < n;
	return at;
}

/* The text of the next record: a line, or an element. Empty at the block's end. */
static struct str next_text(struct reader *reader)
{
	const char *p = reader->block->bytes;
	const size_t n = reader->block->n;
	const bool lines = reader->shape->format == PIPELINE_JSON_LINES;
	struct json_extent extent = {0};
	size_t at = reader->at, end;
	bool done;

	while (at < n && (is_blank(p[at]) || (!lines && p[at] == ','))) {
		reader->line += lines && p[at] == '\n';
		at++;
	}
	if (lines) {
		const char *eol = at < n ? memchr(p + at, '\n', n - at) : NULL;
		end = eol ? (size_t)(eol - p) : n;
		reader->at = end;
	} else {
		end = json_extent_scan(&extent, p, at, n, &done);
		reader->at = end;
	}
	while (end > at && is_blank(p[end - 1]))
		end--;
	return (struct str){p + at, end - at};
}

static bool read_cell(struct reader *reader, struct json_value value, struct cell *cell)
{
	cell->text = value.text;
	cell->number = 0;
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
			cell->number = value.text.p[0] == '-' ? -INFINITY : INFINITY;
		break;
	case JSON_STRING:
		cell->kind = CELL_TEXT;
		cell->text = json_string(value, reader->arena);
		return cell->text.p != NULL;
	case JSON_ARRAY:
	case JSON_OBJECT:
		cell->kind = CELL_JSON;
		break;
	}
	return true;
}

/* Unescaped, a text may have what its JSON can't: \u0000. */
static bool has_nul(struct str text, struct json_value from)
{
	return text.p != from.text.p + 1 && text.n > 0 && memchr(text.p, '\0', text.n) != NULL;
}

/* The value of an escape "\uXXXX" at p, or -1. */
static int escape_at(const char *p, const char *end)
{
	int value = 0;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int digit = p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10;
		value = value << 4 | digit;
	}
	return value;
}

/* Escapes that are JSON and can't be stored: NUL, and half of a pair. What is handed on as it was written may have
 * them, and one such record would make questions to all fail in PostgreSQL. */
static bool has_bad_escape(struct str json)
{
	const char *end = json.p + json.n, *at = json.p;

	while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
		int unit = escape_at(at, end);
		if (unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff))
			return true;
		at += unit < 0 ? 2 : 6;
		if (unit < 0xd800 || unit > 0xdbff)
			continue;
		unit = escape_at(at, end);
		if (unit < 0xdc00 || unit > 0xdfff)
			return true;
		at += 6;
	}
	return false;
}

enum walk { WALK_ENDS, WALK_OTHER_NAMES, WALK_BAD_TEXT, WALK_NO_MEMORY };

/* Cells of a record whose members are called as those of the record before, as far as they are: record->n. */
static enum walk read_cells(struct reader *reader, struct json_value object, struct raw_record *record)
{
	struct json_iter iter;
	struct json_value key, value;
	size_t i = 0;

	json_iter_init(&iter, object);
	for (; json_next(&iter, &key, &value); i++) {
		struct cell *cell = &record->cells[i];
		if (i == reader->names_n || !str_eq(reader->written[i], key.text))
			return WALK_OTHER_NAMES;
		if (!read_cell(reader, value, cell))
			return WALK_NO_MEMORY;
		record->n = i + 1;
		if ((cell->kind == CELL_TEXT && has_nul(cell->text, value)) ||
		    (cell->kind == CELL_JSON && has_bad_escape(cell->text)))
			return WALK_BAD_TEXT;
	}
	return i == reader->names_n ? WALK_ENDS : WALK_OTHER_NAMES;
}

/* Names that are none of the record before. *nul is the number of one with a NUL, from 1, or 0. */
static bool read_names(struct reader *reader, struct json_value object, size_t n, size_t *nul)
{
	struct json_iter iter;
	struct json_value key, value;
	struct str *written = arena_alloc(reader->arena, 2 * (n + 1) * sizeof(*written));

	if (!written)
		return false;
	struct str *names = written + n + 1;
	*nul = 0;
	json_iter_init(&iter, object);
	for (size_t i = 0; i < n && json_next(&iter, &key, &value); i++) {
		written[i] = key.text;
		names[i] = json_string(key, reader->arena);
		if (!names[i].p)
			return false;
		if (has_nul(names[i], key))
			*nul = i + 1;
	}
	reader->written = written;
	reader->names = names;
	reader->names_n = *nul > 0 ? 0 : n;
	return true;
}

static size_t count_members(struct json_value object)
{
	struct json_iter iter;
	struct json_value key, value;
	size_t n = 0;

	json_iter_init(&iter, object);
	while (json_next(&iter, &key, &value))
		n++;
	return n;
}

/* Most records have the members of the one before, so this is tried first. */
static bool read_object(struct reader *reader, struct json_value object, struct raw_record *record)
{
	size_t nul = 0;

	for (int tries = 0; tries < 2; tries++) {
		record->cells = reader_room(reader, reader->names_n + 1);
		if (!record->cells)
			return false;
		record->n = 0;
		enum walk walk = read_cells(reader, object, record);
		if (walk == WALK_NO_MEMORY)
			return false;
		if (walk == WALK_BAD_TEXT) {
			nul = record->n;
			break;
		}
		if (walk == WALK_ENDS) {
			record->names = reader->names;
			reader_take_cells(reader, record->n);
			return true;
		}
		size_t n = count_members(object);
		if (n > READER_COLUMNS_MAX) {
			record->n = 0;
			return reader_refuse(reader, record, "syntax",
					     "The object has %zu members; at most %d are read.", n, READER_COLUMNS_MAX);
		}
		if (!read_names(reader, object, n, &nul))
			return false;
		if (nul > 0)
			break;
	}
	record->n = 0;
	return reader_refuse(reader, record, "encoding", "Member %zu has a NUL character, or half of one.", nul);
}

bool reader_next_json(struct reader *reader, struct raw_record *record)
{
	struct str text = next_text(reader);
	struct json_value root;
	struct json_fault fault = {0};

	if (text.n == 0) {
		reader->at = reader->block->n;
		return true;
	}
	record->line = reader->line;
	record->text = text;
	reader->line += reader->shape->format == PIPELINE_JSON;
	if (!reader_check_text(reader, record))
		return false;
	if (record->fault)
		return true;
	if (!json_check(text, JSON_MAX_DEPTH, &root, &fault))
		return reader_refuse(reader, record, "syntax", "It is not JSON: %s, at character %zu.", fault.reason,
				     fault.offset + 1);
	if (root.type != JSON_OBJECT)
		return reader_refuse(reader, record, "syntax", "It is JSON, but not an object.");
	return read_object(reader, root, record);
}
