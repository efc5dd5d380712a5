/* JSON as RFC 8259 has it, read strictly and written compactly.
 *
 * Reading has two steps. json_check() walks the whole text once and refuses what json-c lets pass (NaN, single quotes,
 * bad UTF-8, duplicate keys, endless nesting), saying where and why in the words of Python's json module, which clients
 * know. After that, values are views into the checked text and are read without a tree, so that an array of a million
 * numbers costs its numbers and nothing else. Trees, where a whole document is wanted, are json-c's (json_tree). */
#ifndef APPCORE_BASE_JSON_H
#define APPCORE_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"

struct json_object; /* json-c */

enum { JSON_MAX_DEPTH = 32 };

/* Not json_type: that is json-c's. */
enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* Why a text is not JSON. */
struct json_fault {
	size_t offset;   /* in characters (code points) as Python counts; of "Invalid UTF-8" in bytes */
	char reason[96]; /* Python's wording where Python has one */
};

/* A value inside a checked text; borrows the text. */
struct json_value {
	enum json_kind type;
	struct str text; /* as written: with quotes, brackets, escapes */
};

/* Walks over the members of an array or an object. */
struct json_iter {
	const char *at, *end;
	bool object;
};

/* The whole text is one JSON value, at most `max_depth` containers deep (JSON_MAX_DEPTH where that is less), valid
 * UTF-8, no object with the same key twice (compared after unescaping). Linear in time; takes heap memory only while an
 * object of many, long or escaped keys is open, in proportion to these ("Out of memory" when there is none). False with
 * *fault filled at the first fault in reading order; *root is set on success and borrows the text. */
bool json_check(struct str text, unsigned max_depth, struct json_value *root, struct json_fault *fault)
	__attribute__((nonnull, warn_unused_result));

/* The member `name` of a checked object. False when `object` is none or has no such member. */
bool json_member(struct json_value object, struct str name, struct json_value *out)
	__attribute__((nonnull, warn_unused_result));

/* Starts at the first element of an array or the first member of an object; of anything else there are none. */
void json_iter_init(struct json_iter *iter, struct json_value container) __attribute__((nonnull));

/* The next element. *key (may be NULL) gets the member's name as a string value. False at the end. */
bool json_next(struct json_iter *iter, struct json_value *key, struct json_value *value)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* The nearest double of a JSON number, independent of locale. False when it is not finite (1e400). */
bool json_number(struct json_value number, double *out) __attribute__((nonnull, warn_unused_result));

/* The unescaped text of a JSON string; lives in the arena, or borrows where nothing is escaped. p is NULL when there is
 * no room. A lone surrogate escape becomes U+FFFD. */
struct str json_string(struct json_value string, struct arena *arena) __attribute__((nonnull, warn_unused_result));

/* A number in text that is no JSON, as Python's float() reads it without underscores: blanks around it, a sign, digits
 * ("1.5", " 2", "+3", ".5", "1e3"), "inf", "nan" in any case. False when it is none. The result may be not finite. */
bool json_number_of_text(struct str text, double *out) __attribute__((nonnull, warn_unused_result));

/* A json-c tree of a checked value; caller frees with json_object_put. NULL when memory is short, or for JSON null.
 * What json-c can't hold it bends: integers past 64 bits end at the bound, -0 is 0, 1e400 is infinite, a key ends at
 * its first \u0000. */
struct json_object *json_tree(struct json_value value) __attribute__((warn_unused_result));

/* Appends a string with quotes; slashes, DEL and non-ASCII stay as they are. Every byte that is not UTF-8 becomes
 * U+FFFD. */
void json_put_string(struct buf *out, struct str s) __attribute__((nonnull));

/* Appends the shortest decimal that reads back as the same double, in the form of Python's repr: 2.0, 0.1, 1e+16,
 * 1e-05, -0.0. A value that is not finite becomes null. */
void json_put_double(struct buf *out, double value) __attribute__((nonnull));

void json_put_i64(struct buf *out, int64_t value) __attribute__((nonnull));

/* Appends a checked value compactly (no blanks outside strings), numbers as they were written. */
void json_put_value(struct buf *out, struct json_value value) __attribute__((nonnull));

#endif
