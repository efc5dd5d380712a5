/* SQLite's json_extract(data, '$."name"') of our own: what stands in a member of an object.
 *
 * The built-in one may not stand in an index while the schema is not trusted (in SQLite 3.40 it is not marked as
 * harmless), and it reads the whole document for each member. This one gives the same values under the same name, so
 * that an index on it is one that other programs can use. It trusts no text: a database may come from anywhere. */
#include "store/db_sqlite_impl.h"

#include "base/json.h"

enum { NUMBER_BYTES = 400, INTEGER_DIGITS = 18 };

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	return p;
}

/* Behind the closing quotation mark; NULL: there is none. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : NULL;
}

static const char *skip_container(const char *p, const char *end)
{
	size_t depth = 0;

	while (p && p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
			continue;
		}
		depth += *p == '[' || *p == '{';
		depth -= *p == ']' || *p == '}';
		p++;
		if (depth == 0)
			return p;
	}
	return NULL;
}

static const char *skip_value(const char *p, const char *end)
{
	if (p == end)
		return NULL;
	if (*p == '"')
		return skip_string(p, end);
	if (*p == '[' || *p == '{')
		return skip_container(p, end);
	while (p < end && *p != ',' && *p != '}' && !is_blank(*p))
		p++;
	return p;
}

/* The member's value as written; p is NULL: there is none. */
static struct str find_member(struct str object, struct str name)
{
	const char *end = object.p + object.n, *p = skip_blanks(object.p, end);

	if (p == end || *p++ != '{')
		return (struct str){0};
	for (;;) {
		const char *key = p = skip_blanks(p, end);
		if (p == end || *p != '"' || !(p = skip_string(p, end)))
			return (struct str){0};
		bool same = str_eq((struct str){key + 1, (size_t)(p - key) - 2}, name);
		p = skip_blanks(p, end);
		if (p == end || *p++ != ':')
			return (struct str){0};
		const char *value = skip_blanks(p, end);
		p = skip_value(value, end);
		if (!p || same)
			return p ? (struct str){value, (size_t)(p - value)} : (struct str){0};
		p = skip_blanks(p, end);
		if (p == end || *p++ != ',')
			return (struct str){0};
	}
}

/* Whole numbers that fit are integers. */
static bool read_integer(struct str text, int64_t *out)
{
	size_t i = text.n > 0 && text.p[0] == '-';

	if (text.n == i || text.n - i > INTEGER_DIGITS)
		return false;
	for (*out = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		*out = 10 * *out + (text.p[i] - '0');
	}
	*out = text.p[0] == '-' ? -*out : *out;
	return true;
}

static void give_number(sqlite3_context *context, struct str text)
{
	struct json_value value;
	struct json_fault fault;
	int64_t integer;
	double number;

	if (read_integer(text, &integer))
		sqlite3_result_int64(context, integer);
	else if (text.n < NUMBER_BYTES && json_check(text, 1, &value, &fault) && value.type == JSON_NUMBER &&
		 json_number(value, &number))
		sqlite3_result_double(context, number);
}

static void give_string(sqlite3_context *context, struct str text)
{
	struct json_value value;
	struct json_fault fault;
	struct arena arena;

	if (!memchr(text.p, '\\', text.n)) {
		sqlite3_result_text64(context, text.p + 1, text.n - 2, SQLITE_TRANSIENT, SQLITE_UTF8);
		return;
	}
	if (!json_check(text, 1, &value, &fault))
		return;
	arena_init(&arena, text.n + ARENA_CHUNK_BYTES);
	struct str plain = json_string(value, &arena);
	if (plain.p)
		sqlite3_result_text64(context, plain.p, plain.n, SQLITE_TRANSIENT, SQLITE_UTF8);
	else
		sqlite3_result_error_nomem(context);
	arena_release(&arena);
}

static struct str text_of(sqlite3_value *value)
{
	const char *p = (const char *)sqlite3_value_text(value);

	return (struct str){p, p ? (size_t)sqlite3_value_bytes(value) : 0};
}

static void extract(sqlite3_context *context, int n, sqlite3_value **args)
{
	struct str path = text_of(args[1]);

	(void)n;
	if (path.n < 5 || memcmp(path.p, "$.\"", 3) != 0 || path.p[path.n - 1] != '"') {
		sqlite3_result_error(context, "json_extract() is given $.\"name\" here", -1);
		return;
	}
	const struct str data = text_of(args[0]);
	if (data.n == 0)
		return;
	const struct str text = find_member(data, (struct str){path.p + 3, path.n - 4});
	if (text.n == 0)
		return;
	if (text.p[0] == '"')
		give_string(context, text);
	else if (text.p[0] == '[' || text.p[0] == '{')
		sqlite3_result_text64(context, text.p, text.n, SQLITE_TRANSIENT, SQLITE_UTF8);
	else if (str_eq(text, STR("true")) || str_eq(text, STR("false")))
		sqlite3_result_int(context, text.p[0] == 't');
	else
		give_number(context, text);
}

int sqlite_add_functions(sqlite3 *handle)
{
	return sqlite3_create_function_v2(handle, "json_extract", 2,
					  SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL, extract, NULL,
					  NULL, NULL);
}
