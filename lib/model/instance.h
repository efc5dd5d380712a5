/* An instance: one input of a model as JSON has it. An array of values in the manifest's order, an object of values by
 * name, or a string for a model of text ({"text": "…"}, with the input's name, too). null is a missing value. */
#ifndef APPCORE_MODEL_INSTANCE_H
#define APPCORE_MODEL_INSTANCE_H

#include "model/manifest.h"

/* What is wrong with an instance, for an answer that names the field. */
struct instance_fault {
	const char *type; /* "float_type", "missing", "too_short", "greater_than_equal", …: static, pydantic's words */
	char msg[160];    /* "Input should be a valid number" */
	struct str field;        /* the input's name; empty: the instance as a whole */
	int64_t index;           /* place in an array; -1: none */
	struct json_value input; /* what was there */
};

enum { INSTANCE_FLAGS_MAX = 16 };

/* Names of inputs that were outside of what the manifest allows and are to be flagged, or missing. */
struct instance_flags {
	int n; /* more than INSTANCE_FLAGS_MAX: only so many are listed */
	int inputs[INSTANCE_FLAGS_MAX];
};

/* Reads one instance into row (inputs_n numbers; of a built-in model, as many as `*width` has room for, which is then
 * set) or *text. STATUS_INVALID: *fault says why. STATUS_NO_MEMORY: the arena is full. The text lives in the arena or
 * borrows the value's. */
enum status instance_read(const struct model *model, struct json_value value, double *row, size_t *width,
			  struct str *text, struct instance_flags *flags, struct arena *arena,
			  struct instance_fault *fault) __attribute__((nonnull(1, 4, 5, 6, 7, 8), warn_unused_result));

/* Appends an instance as it is stored: "[1.0, null, \"red\"]" in the manifest's order, or "\"a text\"". Reading it
 * again gives the same instance. */
void instance_put(const struct model *model, const double *row, size_t width, struct str text, struct buf *out)
	__attribute__((nonnull(1, 5)));

#endif
