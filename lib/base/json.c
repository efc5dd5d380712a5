/* The check: one pass over the text by recursive descent, at most JSON_MAX_DEPTH deep. Where it stops and what it says
 * is what Python 3.11's json module does, compared case by case. Nothing is kept of what was read but the keys of the
 * objects that are open. */
#include "base/json_impl.h"

#include "base/polite.h"

#include <stdio.h>

enum { LONG_BYTES = 1 << 20 /* for a thread that nobody waits for */, PIECE_BYTES = 32 << 10 };

struct checker {
	const char *start, *at, *end;
	const char *pause; /* the next one, of a long text; NULL: none */
	struct polite polite;
	unsigned depth, max_depth; /* containers open, and at the most */
	struct json_fault *fault;
};

/* Says what is wrong at `at`; always false. A place that is no UTF-8 is called that, whatever was expected there:
 * Python does not get further than to decode it. */
static bool fail(struct checker *c, const char *at, const char *reason)
{
	size_t continuation = 0;

	c->fault->offset = (size_t)(at - c->start);
	if (at < c->end && str_utf8_sequence(at, (size_t)(c->end - at)) == 0) {
		reason = "Invalid UTF-8";
	} else {
		for (const char *p = c->start; p < at; p++)
			continuation += ((unsigned char)*p & 0xc0) == 0x80;
		c->fault->offset -= continuation;
	}
	snprintf(c->fault->reason, sizeof(c->fault->reason), "%s", reason);
	return false;
}

/* The key is shown as it was written, cut to fit at a whole character; controls past ASCII, which a terminal might
 * obey, become '?'. */
static bool fail_duplicate(struct checker *c, const char *quote, struct str key)
{
	char text[sizeof(c->fault->reason)] = "Duplicate key \"";
	const size_t most = sizeof(text) - sizeof("...\"");
	size_t n = strlen(text);

	for (size_t i = 0; i < key.n;) {
		size_t step = str_utf8_sequence(key.p + i, key.n - i);
		bool control = key.p[i] == 0x7f ||
			       (step == 2 && key.p[i] == '\xc2' && (unsigned char)key.p[i + 1] < 0xa0);
		if (n + step > most) {
			memcpy(text + n, "...", 3);
			n += 3;
			break;
		}
		memcpy(text + n, control ? "?" : key.p + i, control ? 1 : step);
		n += control ? 1 : step;
		i += step;
	}
	text[n] = '"';
	text[n + 1] = '\0';
	return fail(c, quote, text);
}

static void skip_blanks(struct checker *c)
{
	while (c->at < c->end && json_is_blank(*c->at))
		c->at++;
}

static bool is_next(const struct checker *c, char wanted)
{
	return c->at < c->end && *c->at == wanted;
}

static bool is_hex(char c)
{
	return json_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The escape at c->at (a backslash) inside the string that starts at `quote`. */
static bool check_escape(struct checker *c, const char *quote)
{
	const char *p = c->at + 1;

	if (p == c->end)
		return fail(c, quote, "Unterminated string starting at");
	if (*p != 'u') {
		if (*p == '\0' || !strchr("\"\\/bfnrt", *p))
			return fail(c, c->at, "Invalid \\escape");
		c->at = p + 1;
		return true;
	}
	/* Like Python, one more character than the digits must be there: the string can't end with the text. */
	if (c->end - p <= 5 || !is_hex(p[1]) || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]))
		return fail(c, p, "Invalid \\uXXXX escape");
	c->at = p + 5;
	return true;
}

/* The string at c->at (a quote). *escaped becomes true when there is an escape in it. */
static bool check_string(struct checker *c, bool *escaped)
{
	const char *quote = c->at++;

	for (;;) {
		c->at = json_skip_plain(c->at, c->end);
		if (c->at == c->end)
			return fail(c, quote, "Unterminated string starting at");
		if (*c->at == '"') {
			c->at++;
			return true;
		}
		if (*c->at == '\\') {
			*escaped = true;
			if (!check_escape(c, quote))
				return false;
		} else if ((unsigned char)*c->at < 0x20) {
			return fail(c, c->at, "Invalid control character at");
		} else {
			size_t step = str_utf8_sequence(c->at, (size_t)(c->end - c->at));
			if (step == 0)
				return fail(c, c->at, "Invalid UTF-8");
			c->at += step;
		}
	}
}

static void skip_digits(struct checker *c)
{
	while (c->at < c->end && json_is_digit(*c->at))
		c->at++;
}

/* Takes the longest number there is; what is left of "01" or "1." is then out of place, as in Python. */
static bool check_number(struct checker *c)
{
	const char *start = c->at;

	if (*c->at == '-')
		c->at++;
	if (c->at == c->end || !json_is_digit(*c->at))
		return fail(c, start, "Expecting value");
	if (*c->at == '0')
		c->at++;
	else
		skip_digits(c);
	if (c->end - c->at >= 2 && *c->at == '.' && json_is_digit(c->at[1])) {
		c->at++;
		skip_digits(c);
	}
	if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
		const char *digits = c->at + 1;
		if (digits < c->end && (*digits == '+' || *digits == '-'))
			digits++;
		if (digits < c->end && json_is_digit(*digits)) {
			c->at = digits;
			skip_digits(c);
		}
	}
	return true;
}

static bool check_literal(struct checker *c, struct str word)
{
	if (!str_starts((struct str){c->at, (size_t)(c->end - c->at)}, word))
		return fail(c, c->at, "Expecting value");
	c->at += word.n;
	return true;
}

static bool check_value(struct checker *c);

/* A text of 64 MiB takes tens of milliseconds. */
static void pause_in_long_text(struct checker *c)
{
	if (!c->pause || c->at < c->pause)
		return;
	polite_point(&c->polite);
	c->pause = (size_t)(c->end - c->at) > PIECE_BYTES ? c->at + PIECE_BYTES : NULL;
}

/* Counts a container that starts at c->at and steps into it. */
static bool enter(struct checker *c)
{
	if (c->depth == c->max_depth)
		return fail(c, c->at, "Nesting too deep");
	c->depth++;
	c->at++;
	skip_blanks(c);
	return true;
}

/* NOLINTBEGIN(misc-no-recursion): enter() bounds it */
static bool check_array(struct checker *c)
{
	if (!enter(c))
		return false;
	if (!is_next(c, ']')) {
		for (;;) {
			if (!check_value(c))
				return false;
			pause_in_long_text(c);
			skip_blanks(c);
			if (is_next(c, ']'))
				break;
			if (!is_next(c, ','))
				return fail(c, c->at, "Expecting ',' delimiter");
			c->at++;
			skip_blanks(c);
		}
	}
	c->at++;
	c->depth--;
	return true;
}

/* A key, its colon and the blanks behind. */
static bool check_key(struct checker *c, struct json_keys *keys)
{
	const char *quote = c->at;
	bool escaped = false;

	if (!is_next(c, '"'))
		return fail(c, quote, "Expecting property name enclosed in double quotes");
	if (!check_string(c, &escaped))
		return false;
	struct str key = {quote + 1, (size_t)(c->at - quote) - 2};
	switch (json_keys_add(keys, key, escaped)) {
	case JSON_KEYS_NEW:
		break;
	case JSON_KEYS_TWICE:
		return fail_duplicate(c, quote, key);
	case JSON_KEYS_NO_MEMORY:
		return fail(c, quote, "Out of memory");
	}
	skip_blanks(c);
	if (!is_next(c, ':'))
		return fail(c, c->at, "Expecting ':' delimiter");
	c->at++;
	skip_blanks(c);
	return true;
}

static bool check_members(struct checker *c, struct json_keys *keys)
{
	for (;;) {
		if (!check_key(c, keys) || !check_value(c))
			return false;
		skip_blanks(c);
		if (is_next(c, '}'))
			return true;
		if (!is_next(c, ','))
			return fail(c, c->at, "Expecting ',' delimiter");
		c->at++;
		skip_blanks(c);
	}
}

static bool check_object(struct checker *c)
{
	struct json_keys keys;
	bool ok = true;

	if (!enter(c))
		return false;
	if (!is_next(c, '}')) {
		json_keys_init(&keys);
		ok = check_members(c, &keys);
		json_keys_release(&keys);
	}
	c->at += ok;
	c->depth--;
	return ok;
}

static bool check_value(struct checker *c)
{
	bool escaped = false;

	if (c->at == c->end)
		return fail(c, c->at, "Expecting value");
	switch (*c->at) {
	case '"':
		return check_string(c, &escaped);
	case '{':
		return check_object(c);
	case '[':
		return check_array(c);
	case 'n':
		return check_literal(c, STR("null"));
	case 't':
		return check_literal(c, STR("true"));
	case 'f':
		return check_literal(c, STR("false"));
	default:
		return check_number(c);
	}
}
/* NOLINTEND(misc-no-recursion) */

bool json_check(struct str text, unsigned max_depth, struct json_value *root, struct json_fault *fault)
{
	const char *start = text.p ? text.p : "";
	struct checker c = {
		.start = start,
		.at = start,
		.end = start + text.n,
		.pause = text.n > LONG_BYTES ? start : NULL,
		.max_depth = max_depth < JSON_MAX_DEPTH ? max_depth : JSON_MAX_DEPTH,
		.fault = fault,
	};

	if (str_starts(text, STR("\xef\xbb\xbf")))
		return fail(&c, c.at, "Unexpected UTF-8 BOM (decode using utf-8-sig)");
	skip_blanks(&c);
	const char *value = c.at;
	if (!check_value(&c))
		return false;
	struct str found = {value, (size_t)(c.at - value)};
	skip_blanks(&c);
	if (c.at < c.end)
		return fail(&c, c.at, "Extra data");
	*root = (struct json_value){json_type_at(value), found};
	return true;
}
