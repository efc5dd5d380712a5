/* Reads large JSON files of numbers front to back in one go, without a tree and without a copy: the caller says what it
 * expects next, number arrays land in arrays, and what nobody asked for is skipped. The first error stays: everything
 * after it fails, too, so that callers may ask once at the end. */
#ifndef APPCORE_MODEL_SCAN_H
#define APPCORE_MODEL_SCAN_H

#include "base/err.h"
#include "base/str.h"

struct scan {
	const char *start, *at, *end;
	struct err *err;
	enum status status; /* of the first error */

	/* Where the caller is, for sentences: "Tree 7, split_conditions: …". */
	const char *part; /* NULL: nowhere in particular */
	size_t number;
	struct str member; /* empty: none */
};

/* What number arrays land in; zero-initialised, used again and again, freed by the caller. */
struct scan_ints {
	int32_t *p;
	size_t n, cap;
};
struct scan_floats {
	float *p;
	size_t n, cap;
};
struct scan_flags {
	uint8_t *p;
	size_t n, cap;
};

enum { SCAN_DEPTH_MAX = 32 }; /* of what is skipped */

void scan_init(struct scan *scan, struct str text, struct err *err) __attribute__((nonnull(1)));

/* Fails with one sentence, behind the place. Returns false. */
bool scan_fail(struct scan *scan, enum status status, const char *format, ...)
	__attribute__((nonnull, format(printf, 3, 4)));

/* The first character of the next value; 0 at the end of the text. */
char scan_peek(struct scan *scan) __attribute__((nonnull));

/* Passes `bracket` ('{' or '['), which must come next. */
bool scan_open(struct scan *scan, char bracket) __attribute__((nonnull, warn_unused_result));

/* Walks over an object or an array behind its bracket: true with the next member's name (as written, borrows) or before
 * the next element; false behind the end, or after an error. *first is true before the first one. */
bool scan_member(struct scan *scan, bool *first, struct str *name) __attribute__((nonnull, warn_unused_result));
bool scan_element(struct scan *scan, bool *first) __attribute__((nonnull, warn_unused_result));

/* A string as written between its quotes, checked (UTF-8, escapes). Borrows. */
bool scan_string(struct scan *scan, struct str *out) __attribute__((nonnull, warn_unused_result));

/* Any value. Numbers in arrays of nothing but numbers are not looked at closely. */
bool scan_skip(struct scan *scan) __attribute__((nonnull, warn_unused_result));

/* Nothing but blanks follows. */
bool scan_end(struct scan *scan) __attribute__((nonnull, warn_unused_result));

/* Arrays of whole 32-bit numbers, of float32 (the nearest one of the decimal number; finite), and of 0, 1, false, true.
 * Replaces what is in *out. */
bool scan_int_array(struct scan *scan, struct scan_ints *out) __attribute__((nonnull, warn_unused_result));
bool scan_float_array(struct scan *scan, struct scan_floats *out) __attribute__((nonnull, warn_unused_result));
bool scan_flag_array(struct scan *scan, struct scan_flags *out) __attribute__((nonnull, warn_unused_result));

/* One number. */
bool scan_float(struct scan *scan, float *out) __attribute__((nonnull, warn_unused_result));

#endif
