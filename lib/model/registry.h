/* From what the database says is there (store/models.h) and the folder of models to the set that a process serves. Only
 * what is new is loaded: versions that the set before has are held on to, whatever has become of their files. */
#ifndef APPCORE_MODEL_REGISTRY_H
#define APPCORE_MODEL_REGISTRY_H

#include "model/set.h"
#include "store/models.h"

#include <stdatomic.h>

/* Tables models and model_routes as they were read together. Zero-initialise before the first use. */
struct registry_rows {
	struct models_version *versions; /* heap */
	size_t versions_n, versions_cap;
	struct models_route *routes; /* heap */
	size_t routes_n, routes_cap;
	int64_t generation;
};

/* Reads both tables unless their generation is `known` (negative: in any case); *changed says whether it did. Caller
 * frees with registry_rows_release. */
enum status registry_read(struct registry_rows *rows, struct db *db, int64_t known, bool *changed, struct err *err)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));
void registry_rows_release(struct registry_rows *rows) __attribute__((nonnull));

/* A version that can't be loaded here, and why. */
struct registry_failure {
	char name[MODEL_NAME_BYTES], version[MODEL_NAME_BYTES];
	struct err err;
};

enum { REGISTRY_FAILURES_MAX = 32 };

struct registry_result {
	struct model_set *set; /* one user; NULL: no memory */
	int loaded;            /* versions that were read from the folder */
	int failures_n;        /* at most REGISTRY_FAILURES_MAX are listed; failures[i].err says why */
	struct registry_failure failures[REGISTRY_FAILURES_MAX];
};

struct registry_options {
	const char *dir;                /* MODELS_DIR */
	const char *fallback;           /* the model that answers where none is named */
	const struct model_set *former; /* what is served now; may be NULL */
	const atomic_bool *stop;        /* loads nothing more once it is true; may be NULL */
};

/* Builds the set. A name of which a version can't be loaded that its route needs keeps the route it has in the former
 * set, with those versions; where there is none, the one that a rollback would go back to, if all of that could be
 * loaded; else it answers with what could be, or with nothing. Other names are not affected. Takes as long as loading
 * takes: not for an event thread. */
void registry_build(struct registry_result *out, const struct registry_rows *rows,
		    const struct registry_options *options) __attribute__((nonnull));

#endif
