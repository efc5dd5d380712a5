/* What the files of the loader share. Every fault is collected, so that whoever writes a pipeline sees all of them at
 * once; reading goes on with what is good. */
#ifndef APPCORE_PIPELINE_DEFINITION_IMPL_H
#define APPCORE_PIPELINE_DEFINITION_IMPL_H

#include "model/strict.h"
#include "pipeline/apply_impl.h"

struct loader {
	struct arena *arena;
	struct buf *problems;
	int problems_n;
	bool no_memory;
};

/* "fields[2].type: …". */
void loader_problem(struct loader *l, const struct place *at, const char *format, ...)
	__attribute__((nonnull(1, 3), format(printf, 3, 4)));

/* The name that is likest to `word`, or NULL when none is alike. */
const char *loader_nearest(struct str word, const char *const *names, int n);

/* A member that an object may have. */
struct loader_member {
	const char *name;
	unsigned kinds;     /* STRICT_… */
	const char *wanted; /* "a string" */
};

/* values[i] is members[i]'s; text.p is NULL where it is left out or not good. False when `value` is no object. */
bool loader_members(struct loader *l, const struct place *at, struct json_value value,
		    const struct loader_member *members, int n, struct json_value *values)
	__attribute__((nonnull(1, 4, 6)));

/* Text of 1 to `max` bytes without control characters. False when it is none. */
bool loader_text(struct loader *l, const struct place *at, struct json_value value, size_t max, struct str *out)
	__attribute__((nonnull(1, 5)));
bool loader_number(struct loader *l, const struct place *at, struct json_value value, double *out)
	__attribute__((nonnull(1, 4)));
bool loader_integer(struct loader *l, const struct place *at, struct json_value value, int64_t least, int64_t most,
		    int64_t *out) __attribute__((nonnull(1, 6)));
/* Which of the names it is. */
bool loader_choice(struct loader *l, const struct place *at, struct json_value value, const char *const *names, int n,
		   int *out) __attribute__((nonnull(1, 4, 6)));
void *loader_alloc(struct loader *l, size_t n, size_t size) __attribute__((nonnull)); /* cleared; NULL: noted */
/* An index of names, each there once. False when memory is short; *twice is the second place of a name, or -1. */
bool loader_index(struct loader *l, struct names *index, const struct str *names, int n, int *twice)
	__attribute__((nonnull));

/* The transformations of a field whose type is read (definition_steps.c); also its default. */
void loader_steps(struct loader *l, const struct place *at, struct json_value transform, struct json_value fallback,
		  struct pipeline_field *field) __attribute__((nonnull(1, 2, 5)));

/* "http" of a source (http_source.c); NULL without memory. */
const struct http_source *loader_http(struct loader *l, const struct place *at, struct json_value value)
	__attribute__((nonnull(1, 2)));

#endif
