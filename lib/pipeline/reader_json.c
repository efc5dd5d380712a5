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

static bool has_nul(struct str text)
{
	return text.n > 0 && memchr(text.p, '\0', text.n) != NULL;
}

/* Names of a record with `n` members. Those of the record before, when they are the same, so that whoever looks names
 * up does it once. */
static bool read_names(struct reader *reader, struct json_value object, struct raw_record *record, size_t n)
{
	struct json_iter iter;
	struct json_value key, value;
	size_t i = 0;

	json_iter_init(&iter, object);
	for (; n == reader->names_n && i < n && json_next(&iter, &key, &value); i++)
		if (!str_eq(reader->written[i], key.text))
			break;
	if (n == reader->names_n && i == n) {
		record->names = reader->names;
		return true;
	}
	struct str *written = arena_alloc(reader->arena, 2 * (n + 1) * sizeof(*written));
	if (!written)
		return false;
	struct str *names = written + n + 1;
	json_iter_init(&iter, object);
	for (i = 0; i < n && json_next(&iter, &key, &value); i++) {
		written[i] = key.text;
		names[i] = json_string(key, reader->arena);
		if (!names[i].p)
			return false;
	}
	reader->written = written;
	record->names = reader->names = names;
	reader->names_n = n;
	return true;
}

static bool read_object(struct reader *reader, struct json_value object, struct raw_record *record)
{
	struct json_iter iter;
	struct json_value key, value;
	size_t n = 0;

	json_iter_init(&iter, object);
	while (json_next(&iter, &key, &value))
		n++;
	if (n > READER_COLUMNS_MAX)
		return reader_refuse(reader, record, "syntax", "The object has %zu members; at most %d are read.", n,
				     READER_COLUMNS_MAX);
	if (!read_names(reader, object, record, n))
		return false;
	record->cells = reader_room(reader, n + 1);
	if (!record->cells)
		return false;
	json_iter_init(&iter, object);
	for (size_t i = 0; i < n && json_next(&iter, &key, &value); i++) {
		if (!read_cell(reader, value, &record->cells[i]))
			return false;
		record->n = i + 1;
		if (has_nul(record->cells[i].text) || has_nul(record->names[i])) {
			record->n = 0;
			return reader_refuse(reader, record, "encoding", "Member %zu has a NUL character.", i + 1);
		}
	}
	reader_take_cells(reader, n);
	return true;
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
