/* Quotes only where there have to be some. */
#include "pipeline/csv_write.h"

/* Also behind blanks, which spreadsheets skip, and in the wide forms of East Asian keyboards. */
static bool looks_like_formula(struct str s)
{
	static const char *const wide[] = {"\uff1d", "\uff0b", "\uff0d", "\uff20"};

	if (s.n > 0 && (s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n'))
		return true;
	while (s.n > 0 && s.p[0] == ' ') {
		s.p++;
		s.n--;
	}
	if (s.n > 0 && s.p[0] != '\0' && strchr("=+-@", s.p[0]))
		return true;
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
		if (str_starts(s, str_of(wide[i])))
			return true;
	return false;
}

static bool wants_quotes(struct str s)
{
	if (s.n == 0 || s.p[0] == ' ' || s.p[s.n - 1] == ' ')
		return true;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '"' || s.p[i] == ',' || s.p[i] == ';' || s.p[i] == '\t' || s.p[i] == '\n' ||
		    s.p[i] == '\r')
			return true;
	return false;
}

void csv_put_cell(struct buf *out, struct str cell, bool is_text)
{
	bool defused = is_text && looks_like_formula(cell);

	if (!is_text || !wants_quotes(cell)) {
		if (defused)
			buf_char(out, '\'');
		buf_str(out, cell);
		return;
	}
	buf_char(out, '"');
	if (defused)
		buf_char(out, '\'');
	while (cell.n > 0) {
		const char *quote = memchr(cell.p, '"', cell.n);
		size_t n = quote ? (size_t)(quote - cell.p) + 1 : cell.n;
		buf_put(out, cell.p, n);
		if (quote)
			buf_char(out, '"');
		cell.p += n;
		cell.n -= n;
	}
	buf_char(out, '"');
}

void csv_put_json(struct buf *out, struct json_value value, struct arena *arena)
{
	struct str text;

	switch (value.type) {
	case JSON_NULL:
		return;
	case JSON_FALSE:
	case JSON_TRUE:
	case JSON_NUMBER:
		csv_put_cell(out, value.text, false);
		return;
	case JSON_STRING:
		text = json_string(value, arena);
		out->failed |= !text.p;
		if (text.p)
			csv_put_cell(out, text, true);
		return;
	case JSON_ARRAY:
	case JSON_OBJECT:
		csv_put_cell(out, value.text, true);
		return;
	}
}

/* Members mostly come in the order of the columns. */
void csv_put_members(struct buf *out, struct str object, const struct str *columns, size_t n, struct json_value *cells,
		     struct arena *scratch)
{
	struct json_value root = {.type = JSON_OBJECT, .text = object}, key, value;
	struct json_iter iter;
	size_t guess = 0;

	arena_reset(scratch);
	for (size_t i = 0; i < n; i++)
		cells[i] = (struct json_value){.type = JSON_NULL};
	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value)) {
		struct str name = json_string(key, scratch);
		if (!name.p) {
			out->failed = true;
			return;
		}
		for (size_t k = 0; k < n; k++) {
			size_t i = (guess + k) % n;
			if (!str_eq(columns[i], name))
				continue;
			cells[i] = value;
			guess = i + 1;
			break;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_char(out, ',');
		csv_put_json(out, cells[i], scratch);
	}
	buf_str(out, STR("\r\n"));
}
