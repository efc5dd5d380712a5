/* Reads JSON that has to be exactly as its format says (manifests, model files): every member is known and of its type,
 * and what is wrong is one sentence that begins with the place: "inputs[3].minimum: should be a number". */
#ifndef APPCORE_MODEL_STRICT_H
#define APPCORE_MODEL_STRICT_H

#include "base/err.h"
#include "base/json.h"

/* Where a value stands: a chain that ends at the whole text, and is spelt out only when something is wrong. */
struct place {
	const struct place *in; /* NULL: the text itself */
	const char *member;     /* NULL: none */
	int64_t index;          /* -1: none */
};

#define PLACE_MEMBER(parent, name) (&(const struct place){.in = (parent), .member = (name), .index = -1})
#define PLACE_INDEX(parent, i)     (&(const struct place){.in = (parent), .index = (i)})

/* Appends it: "inputs[3].minimum". */
void place_put(struct buf *out, const struct place *at) __attribute__((nonnull(1)));

struct strict {
	struct arena *arena; /* what is read lives here, or borrows the text */
	struct err *err;     /* may be NULL */
};

enum {
	STRICT_STRING = 1 << JSON_STRING,
	STRICT_NUMBER = 1 << JSON_NUMBER,
	STRICT_ARRAY = 1 << JSON_ARRAY,
	STRICT_OBJECT = 1 << JSON_OBJECT,
	STRICT_BOOL = 1 << JSON_TRUE | 1 << JSON_FALSE,
	STRICT_ANY = STRICT_STRING | STRICT_NUMBER | STRICT_ARRAY | STRICT_OBJECT | STRICT_BOOL | 1 << JSON_NULL,
};

struct strict_member {
	const char *name;
	unsigned kinds; /* STRICT_… */
	bool required;
};

/* Sets "place: …", or the sentence alone for the text as a whole, and returns STATUS_INVALID. */
enum status strict_fault(const struct strict *s, const struct place *at, const char *format, ...)
	__attribute__((nonnull(1, 3), format(printf, 3, 4)));
enum status strict_no_memory(const struct strict *s) __attribute__((nonnull));

/* A text to its one value; `what` it is ("The manifest"). STATUS_INVALID when it is no JSON. */
enum status strict_check(const struct strict *s, struct str text, const char *what, struct json_value *root)
	__attribute__((nonnull, warn_unused_result));

/* The members of an object: values[i] is members[i]'s, or has text.p == NULL where it is left out. STATUS_INVALID when
 * `value` is no object, a member is unknown or of another type, or a required one is missing. */
enum status strict_members(const struct strict *s, const struct place *at, struct json_value value,
			   const struct strict_member *members, int n, struct json_value *values)
	__attribute__((nonnull(1, 4, 6), warn_unused_result));

/* A finite number; a whole one from minimum to maximum. */
enum status strict_number(const struct strict *s, const struct place *at, struct json_value value, double *out)
	__attribute__((nonnull(1, 4), warn_unused_result));
enum status strict_integer(const struct strict *s, const struct place *at, struct json_value value, int64_t minimum,
			   int64_t maximum, int64_t *out) __attribute__((nonnull(1, 6), warn_unused_result));

/* A string without control characters. */
enum status strict_string(const struct strict *s, const struct place *at, struct json_value value, struct str *out)
	__attribute__((nonnull(1, 4), warn_unused_result));

/* Exactly `n` finite numbers. The second takes as many as there are, at most `max`. */
enum status strict_numbers(const struct strict *s, const struct place *at, struct json_value value, int n, double *out)
	__attribute__((nonnull(1), warn_unused_result));
enum status strict_any_numbers(const struct strict *s, const struct place *at, struct json_value value, int max,
			       double **out, int *n) __attribute__((nonnull(1, 5, 6), warn_unused_result));

/* Whole numbers from minimum to maximum, exactly `n`. */
enum status strict_integers(const struct strict *s, const struct place *at, struct json_value value, int n,
			    int32_t minimum, int32_t maximum, int32_t *out)
	__attribute__((nonnull(1), warn_unused_result));

/* Strings, at most `max`, without control characters. */
enum status strict_strings(const struct strict *s, const struct place *at, struct json_value value, int max,
			   struct str **out, int *n) __attribute__((nonnull(1, 5, 6), warn_unused_result));

/* Which of the names the string is. */
enum status strict_choice(const struct strict *s, const struct place *at, struct json_value value,
			  const char *const *names, int n, int *out)
	__attribute__((nonnull(1, 4, 6), warn_unused_result));

/* Elements of an array that was checked; 0 of anything else. */
int strict_count(struct json_value array);

/* At most `max` bytes of `s`, cut between characters: for a sentence. */
struct str strict_cut(struct str s, size_t max);

#endif
