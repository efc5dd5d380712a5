/* Reading a checked text: what json_check() has seen is not asked again, so these walk without looking back and rely on
 * closing quotes and brackets being there. */
#include "base/json_impl.h"

#include <json-c/json.h>
#include <limits.h>

enum json_kind json_type_at(const char *at)
{
	switch (*at) {
	case 'n':
		return JSON_NULL;
	case 'f':
		return JSON_FALSE;
	case 't':
		return JSON_TRUE;
	case '"':
		return JSON_STRING;
	case '[':
		return JSON_ARRAY;
	case '{':
		return JSON_OBJECT;
	default:
		return JSON_NUMBER;
	}
}

static unsigned hex4(const char *p)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++) {
		unsigned c = (unsigned char)p[i];
		value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

static size_t put_utf8(unsigned cp, char out[static 4])
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

/* \uXXXX at `at`; a high surrogate takes the low one behind it along, any other surrogate stands for nothing. */
static const char *unescape_unicode(const char *at, char out[static 4], size_t *n)
{
	unsigned cp = hex4(at + 2);

	at += 6;
	if (cp >= 0xd800 && cp < 0xdc00 && at[0] == '\\' && at[1] == 'u') {
		unsigned low = hex4(at + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			*n = put_utf8(0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00), out);
			return at + 6;
		}
	}
	if (cp >= 0xd800 && cp < 0xe000)
		cp = 0xfffd;
	*n = put_utf8(cp, out);
	return at;
}

const char *json_unescape_one(const char *at, char out[static 4], size_t *n)
{
	*n = 1;
	switch (at[1]) {
	case 'u':
		return unescape_unicode(at, out, n);
	case 'b':
		out[0] = '\b';
		break;
	case 'f':
		out[0] = '\f';
		break;
	case 'n':
		out[0] = '\n';
		break;
	case 'r':
		out[0] = '\r';
		break;
	case 't':
		out[0] = '\t';
		break;
	default: /* quote, slash and backslash stand for themselves */
		out[0] = at[1];
	}
	return at + 2;
}

size_t json_unescape(struct str raw, char *out)
{
	const char *p = raw.p, *end = raw.p + raw.n;
	char *to = out;

	while (p < end) {
		const char *escape = memchr(p, '\\', (size_t)(end - p));
		size_t plain = (size_t)((escape ? escape : end) - p);
		memcpy(to, p, plain);
		to += plain;
		p += plain;
		if (escape) {
			char c[4];
			size_t n;
			p = json_unescape_one(escape, c, &n);
			memcpy(to, c, n);
			to += n;
		}
	}
	return (size_t)(to - out);
}

int json_reader_next(struct json_reader *reader)
{
	if (reader->i < reader->n)
		return (unsigned char)reader->pending[reader->i++];
	if (*reader->at == '"')
		return -1;
	if (*reader->at != '\\')
		return (unsigned char)*reader->at++;
	reader->at = json_unescape_one(reader->at, reader->pending, &reader->n);
	reader->i = 1;
	return (unsigned char)reader->pending[0];
}

const char *json_skip_string(const char *p, const char *end)
{
	for (p = json_skip_plain(p + 1, end); *p != '"'; p = json_skip_plain(p, end))
		p += *p == '\\' ? 2 : 1;
	return p + 1;
}

static const char *skip_container(const char *p, const char *end)
{
	size_t depth = 0;

	do {
		if (*p == '"') {
			p = json_skip_string(p, end);
			continue;
		}
		if (*p == '[' || *p == '{')
			depth++;
		else if (*p == ']' || *p == '}')
			depth--;
		p++;
	} while (depth > 0);
	return p;
}

static const char *skip_value(const char *p, const char *end)
{
	switch (*p) {
	case '"':
		return json_skip_string(p, end);
	case '[':
	case '{':
		return skip_container(p, end);
	default:
		while (p < end && *p != ',' && !json_is_blank(*p))
			p++;
		return p;
	}
}

void json_iter_init(struct json_iter *iter, struct json_value container)
{
	*iter = (struct json_iter){.object = container.type == JSON_OBJECT};
	if (container.type == JSON_OBJECT || container.type == JSON_ARRAY) {
		iter->at = container.text.p + 1;
		iter->end = container.text.p + container.text.n - 1;
	}
}

bool json_next(struct json_iter *iter, struct json_value *key, struct json_value *value)
{
	const char *p = iter->at, *end = iter->end;

	while (p < end && (json_is_blank(*p) || *p == ','))
		p++;
	if (p == end) {
		iter->at = end;
		return false;
	}
	if (iter->object) {
		const char *name = p;
		p = json_skip_string(p, end);
		if (key)
			*key = (struct json_value){JSON_STRING, {name, (size_t)(p - name)}};
		while (json_is_blank(*p) || *p == ':')
			p++;
	}
	iter->at = skip_value(p, end);
	*value = (struct json_value){json_type_at(p), {p, (size_t)(iter->at - p)}};
	return true;
}

static bool key_is(struct json_value key, struct str name)
{
	struct str raw = {key.text.p + 1, key.text.n - 2};

	if (!json_has_escape(raw))
		return str_eq(raw, name);
	struct json_reader reader = {.at = raw.p};
	for (size_t i = 0; i < name.n; i++)
		if (json_reader_next(&reader) != (unsigned char)name.p[i])
			return false;
	return json_reader_next(&reader) < 0;
}

bool json_member(struct json_value object, struct str name, struct json_value *out)
{
	struct json_iter iter;
	struct json_value key, value;

	if (object.type != JSON_OBJECT)
		return false;
	json_iter_init(&iter, object);
	while (json_next(&iter, &key, &value)) {
		if (key_is(key, name)) {
			*out = value;
			return true;
		}
	}
	return false;
}

struct str json_string(struct json_value string, struct arena *arena)
{
	struct str raw = {string.text.p + 1, string.text.n - 2};

	if (!json_has_escape(raw))
		return raw;
	char *text = arena_alloc(arena, raw.n);
	if (!text)
		return (struct str){0};
	return (struct str){text, json_unescape(raw, text)};
}

struct json_object *json_tree(struct json_value value)
{
	struct json_tokener *tokener;
	struct json_object *tree = NULL;

	if (value.text.n > INT_MAX)
		return NULL;
	/* json-c counts the innermost value as a level of its own. */
	tokener = json_tokener_new_ex(JSON_MAX_DEPTH + 1);
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	tree = json_tokener_parse_ex(tokener, value.text.p, (int)value.text.n);
	/* A number could go on for all it knows: a NUL tells it the end. */
	if (json_tokener_get_error(tokener) == json_tokener_continue)
		tree = json_tokener_parse_ex(tokener, "", 1);
	json_tokener_free(tokener);
	return tree;
}
