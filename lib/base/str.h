/* Text is a view: pointer and length, not NUL-terminated, never owned. NUL-terminated strings appear only where a
 * library or the kernel wants them. */
#ifndef APPCORE_BASE_STR_H
#define APPCORE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *p; /* may be NULL when n is 0 */
	size_t n;      /* bytes */
};

/* A view of a string literal. */
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
/* The same in the initialiser of a static table. */
/* clang-format off */
#define STR_INIT(literal) {(literal), sizeof(literal) - 1}
/* clang-format on */
/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

/* A view of a NUL-terminated string; NULL gives an empty view. Borrows. */
static inline struct str str_of(const char *text)
{
	return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* Equal but for ASCII case. */
bool str_eq_nocase(struct str a, struct str b);

/* Without ASCII white space at both ends. */
struct str str_trim(struct str s);

/* Cuts the text before the first `sep` off the front of *rest and returns it; the separator is dropped. Without a
 * separator it returns all and leaves *rest empty with p == NULL. */
struct str str_cut(struct str *rest, char sep);

/* Whole decimal number without sign or blanks. False when it is none or exceeds `max`; *out is then untouched. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out) __attribute__((nonnull(3), warn_unused_result));

/* Every byte is printable ASCII (0x21 to 0x7e). */
bool str_is_token(struct str s);

/* 1 to 64 characters of a-z, A-Z, 0-9, '.', '_', '-', the first no '.' nor '-': safe in paths, URLs and labels. */
bool str_is_name(struct str s);

/* Bytes of the well-formed UTF-8 sequence at `p`, of which `n` > 0 bytes can be read; 0 when there is none. */
size_t str_utf8_sequence(const char *p, size_t n) __attribute__((nonnull));

/* Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool str_is_utf8(struct str s);

#endif
