/* Text of cells as Python's str has it: white space, case, repr. */
#include "pipeline/apply_impl.h"

#include <stdlib.h>
#include <unicase.h>
#include <unictype.h>
#include <unistr.h>

/* The code point at `p`; *n is its bytes, 1 where it is no UTF-8. */
static ucs4_t decode(const char *p, size_t left, size_t *n)
{
	ucs4_t code = 0;

	*n = str_utf8_sequence(p, left);
	if (*n == 0) {
		*n = 1;
		return 0xfffd;
	}
	u8_mbtouc_unsafe(&code, (const uint8_t *)p, *n);
	return code;
}

/* str.isspace(). */
static bool is_space(ucs4_t c)
{
	if (c < 0x80)
		return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
	return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
	       c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Where the character that ends at `end` begins. */
static const char *back(const char *start, const char *end)
{
	const char *p = end - 1;

	while (p > start && end - p < 4 && ((unsigned char)*p & 0xc0) == 0x80)
		p--;
	return p;
}

struct str text_trim(struct str text)
{
	const char *p = text.p, *end = p + text.n;
	size_t n;

	while (p < end && is_space(decode(p, (size_t)(end - p), &n)))
		p += n;
	while (p < end) {
		const char *last = back(p, end);
		if (!is_space(decode(last, (size_t)(end - last), &n)) || last + n != end)
			break;
		end = last;
	}
	return (struct str){p, (size_t)(end - p)};
}

struct str text_collapse(struct str text, struct arena *arena)
{
	const char *p = text.p, *end = p + text.n;
	bool was_space = false, changed = false;
	char *out = NULL;
	size_t n, at = 0;

	while (p < end) { /* first without memory: most texts have nothing to collapse */
		bool space = is_space(decode(p, (size_t)(end - p), &n));
		if (space && (was_space || *p != ' ')) {
			changed = true;
			break;
		}
		was_space = space;
		p += n;
	}
	if (!changed)
		return text;
	out = arena_alloc(arena, text.n + 1);
	if (!out)
		return (struct str){0};
	was_space = false;
	for (p = text.p; p < end; p += n) {
		bool space = is_space(decode(p, (size_t)(end - p), &n));
		if (space && !was_space) {
			out[at++] = ' ';
		} else if (!space) {
			memcpy(out + at, p, n);
			at += n;
		}
		was_space = space;
	}
	return (struct str){out, at};
}

typedef uint8_t *case_fn(const uint8_t *s, size_t n, const char *language, uninorm_t form, uint8_t *out, size_t *out_n);

static struct str other_case(struct str text, struct arena *arena, char from, case_fn *whole)
{
	const char to = (char)(from ^ 0x20);
	bool changes = false;
	size_t i = 0;

	for (; i < text.n && (unsigned char)text.p[i] < 0x80; i++)
		changes |= text.p[i] >= from && text.p[i] < from + 26;
	if (i < text.n) {
		size_t n = 0;
		uint8_t *made = whole((const uint8_t *)text.p, text.n, NULL, NULL, NULL, &n);
		struct str kept = made ? arena_dup(arena, (struct str){(const char *)made, n}) : (struct str){0};
		free(made);
		return kept;
	}
	if (!changes)
		return text;
	char *out = arena_alloc(arena, text.n);
	if (!out)
		return (struct str){0};
	for (i = 0; i < text.n; i++) {
		char c = text.p[i];
		out[i] = c >= from && c < from + 26 ? (char)(c - from + to) : c;
	}
	return (struct str){out, text.n};
}

struct str text_lower(struct str text, struct arena *arena)
{
	return other_case(text, arena, 'A', u8_tolower);
}

struct str text_upper(struct str text, struct arena *arena)
{
	return other_case(text, arena, 'a', u8_toupper);
}

size_t text_characters(struct str text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

struct str text_cut(struct str text, size_t max)
{
	if (text.n <= max)
		return text;
	size_t n = max;
	while (n > 0 && max - n < 4 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
		n--;
	return (struct str){text.p, n > 0 ? n : max};
}

/* str.isprintable() of one character. */
static bool is_printable(ucs4_t c)
{
	if (c < 0x7f)
		return c >= 0x20;
	return !uc_is_general_category_withtable(
		c, UC_CATEGORY_MASK_Cc | UC_CATEGORY_MASK_Cf | UC_CATEGORY_MASK_Cs | UC_CATEGORY_MASK_Co |
			   UC_CATEGORY_MASK_Cn | UC_CATEGORY_MASK_Zl | UC_CATEGORY_MASK_Zp | UC_CATEGORY_MASK_Zs);
}

static void put_code(struct buf *out, ucs4_t c)
{
	if (c == '\n' || c == '\r' || c == '\t')
		buf_fmt(out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
	else if (c < 0x100)
		buf_fmt(out, "\\x%02x", (unsigned)c);
	else if (c < 0x10000)
		buf_fmt(out, "\\u%04x", (unsigned)c);
	else
		buf_fmt(out, "\\U%08x", (unsigned)c);
}

void text_put_repr(struct buf *out, struct str text)
{
	struct str shown = text_cut(text, VALUE_SHOWN_BYTES);
	bool doubled = shown.n > 0 && memchr(shown.p, '\'', shown.n) && !memchr(shown.p, '"', shown.n);
	char quote = doubled ? '"' : '\'';
	size_t n;

	buf_char(out, quote);
	for (size_t i = 0; i < shown.n; i += n) {
		ucs4_t c = decode(shown.p + i, shown.n - i, &n);
		if (c == (ucs4_t)quote || c == '\\') {
			buf_char(out, '\\');
			buf_char(out, (char)c);
		} else if (is_printable(c)) {
			buf_put(out, shown.p + i, n);
		} else {
			put_code(out, c);
		}
	}
	if (shown.n < text.n)
		buf_str(out, STR("…"));
	buf_char(out, quote);
}

/* One member of a set: [a-z], [!…]; *p stands behind the bracket. Returns where the set ends, NULL when it does not:
 * the bracket then stands for itself. */
static const char *match_set(const char *p, const char *end, ucs4_t c, bool *hit)
{
	bool not = p < end && *p == '!', found = false, first = true;
	size_t n;

	p += not ;
	for (; p < end && (first || *p != ']'); first = false) {
		ucs4_t low = decode(p, (size_t)(end - p), &n), high = low;
		p += n;
		if (end - p >= 2 && p[0] == '-' && p[1] != ']') {
			high = decode(p + 1, (size_t)(end - p) - 1, &n);
			p += 1 + n;
		}
		found |= c >= low && c <= high;
	}
	if (p == end)
		return NULL;
	*hit = found != not ;
	return p + 1;
}

/* Whether the pattern's element at *p takes the character; *p moves behind it. */
static bool match_one(const char **p, const char *end, ucs4_t c)
{
	const char *at = *p, *behind;
	bool hit = false;
	size_t n;

	if (*at == '[' && (behind = match_set(at + 1, end, c, &hit)) != NULL) {
		*p = behind;
		return hit;
	}
	if (*at == '?') {
		*p = at + 1;
		return true;
	}
	if (*at == '\\' && end - at > 1)
		at++;
	ucs4_t wanted = decode(at, (size_t)(end - at), &n);
	*p = at + n;
	return wanted == c;
}

/* Only the last star can give more characters away: what stood before it matched as early as it can. */
bool text_matches(struct str text, struct str pattern)
{
	const char *s = text.p, *s_end = s + text.n, *p = pattern.p, *end = p + pattern.n;
	const char *star = NULL, *again = NULL;
	size_t n;

	while (s < s_end) {
		const char *next = p;
		ucs4_t c = decode(s, (size_t)(s_end - s), &n);
		if (p < end && *p == '*') {
			star = ++p;
			again = s;
		} else if (p < end && match_one(&next, end, c)) {
			p = next;
			s += n;
		} else if (star) {
			p = star;
			decode(again, (size_t)(s_end - again), &n);
			s = again += n;
		} else {
			return false;
		}
	}
	while (p < end && *p == '*')
		p++;
	return p == end;
}
