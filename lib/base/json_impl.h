/* What JSON's own files share; everybody else includes base/json.h. */
#ifndef APPCORE_BASE_JSON_IMPL_H
#define APPCORE_BASE_JSON_IMPL_H

#include "base/json.h"

#include <endian.h>

static inline bool json_is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool json_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool json_has_escape(struct str s)
{
	return s.n > 0 && memchr(s.p, '\\', s.n) != NULL;
}

/* Bytes of a string that stand for themselves and end nothing: printable ASCII and DEL but for quote and backslash. */
static inline bool json_is_plain(char c)
{
	unsigned char u = (unsigned char)c;
	return u >= 0x20 && u < 0x80 && u != '"' && u != '\\';
}

/* How many of the eight bytes at `p` are plain before the first that is not. A top bit set by one of the subtractions
 * marks it ("Bit Twiddling Hacks", Sean Eron Anderson: haszero, hasless); a borrow can only start at a marked byte, so
 * what it marks falsely lies behind. */
static inline size_t json_plain_of_8(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	w = le64toh(w);
	uint64_t quote = w ^ (ones * '"');
	uint64_t slash = w ^ (ones * '\\');
	uint64_t hits = w | ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ones * 0x20) & ~w);
	hits &= ones * 0x80;
	return hits ? (size_t)__builtin_ctzll(hits) / 8 : 8;
}

/* The first byte from `p` that is not plain, or `end`. */
static inline const char *json_skip_plain(const char *p, const char *end)
{
	while (end - p >= 8) {
		size_t n = json_plain_of_8(p);
		p += n;
		if (n < 8)
			return p;
	}
	while (p < end && json_is_plain(*p))
		p++;
	return p;
}

/* What kind of value starts at `at` in a checked text. */
enum json_kind json_type_at(const char *at) __attribute__((nonnull));

/* Behind the checked string that starts at `p` (a quote); the text can be read up to `end`. */
const char *json_skip_string(const char *p, const char *end) __attribute__((nonnull));

/* Decodes the checked escape at `at` (a backslash) to UTF-8; two escapes that form a surrogate pair are taken together.
 * Returns the place behind it. The text must reach to its closing quote. */
const char *json_unescape_one(const char *at, char out[static 4], size_t *n) __attribute__((nonnull));

/* Decodes a checked string without its quotes to `out`, which holds at least raw.n bytes: no escape is shorter than
 * what it stands for. Returns the bytes written. */
size_t json_unescape(struct str raw, char *out) __attribute__((nonnull));

/* The unescaped bytes of a checked string one by one, without memory. */
struct json_reader {
	const char *at; /* behind the opening quote; stops at the closing one */
	size_t i, n;    /* bytes of pending[] taken and there */
	char pending[4];
};

/* The next byte as 0 to 255, or -1 at the closing quote. */
int json_reader_next(struct json_reader *reader) __attribute__((nonnull));

/* The keys of one object while it is checked. Few short keys are compared directly and cost no memory of the heap; more
 * of them, long ones and those with escapes go to a hash table. */
enum { JSON_KEYS_DIRECT = 32, JSON_KEYS_DIRECT_BYTES = 255 };

struct json_key_slot {
	uint64_t hash;
	const char *key; /* behind the opening quote; NULL: free */
};

struct json_keys {
	size_t n;
	size_t mask;                     /* slots - 1 */
	struct json_key_slot *slots;     /* NULL while the keys are compared directly */
	uint32_t tags[JSON_KEYS_DIRECT]; /* length and three bytes of the key: most keys differ in it */
	const char *keys[JSON_KEYS_DIRECT];
};

enum json_keys_added { JSON_KEYS_NEW, JSON_KEYS_TWICE, JSON_KEYS_NO_MEMORY };

static inline void json_keys_init(struct json_keys *keys)
{
	keys->n = 0;
	keys->slots = NULL;
}

/* Adds the key `raw` (without quotes, checked, borrowed until the release). Constant time for a key of given length,
 * whatever the other keys are. */
enum json_keys_added json_keys_add(struct json_keys *keys, struct str raw, bool escaped)
	__attribute__((nonnull, warn_unused_result));

void json_keys_release(struct json_keys *keys) __attribute__((nonnull));

#endif
