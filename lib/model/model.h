/* What every model looks like to the service: named, versioned, identified by the hash of its content, and able to turn
 * an input into an output without side effects, from any thread. Kinds of models (the mean here; trees, linear models,
 * text classifiers) are implementations of struct model_ops. */
#ifndef APPCORE_MODEL_MODEL_H
#define APPCORE_MODEL_MODEL_H

#include "base/err.h"
#include "base/str.h"

enum model_input_kind {
	MODEL_VECTOR = 1 << 0, /* numbers in the model's own order */
	MODEL_NAMED = 1 << 1,  /* numbers by feature name */
	MODEL_TEXT = 1 << 2,   /* UTF-8 */
};

/* One input; borrows everything. `kind` says which members count. */
struct model_input {
	enum model_input_kind kind;
	const double *values;    /* MODEL_VECTOR, MODEL_NAMED: n finite numbers */
	const struct str *names; /* MODEL_NAMED: n feature names */
	size_t n;
	struct str text; /* MODEL_TEXT */
};

struct model_output {
	double result; /* finite */
};

struct model;

struct model_ops {
	/* STATUS_INVALID with the reason in *err when the input does not fit; the result is finite on STATUS_OK. */
	enum status (*predict)(const struct model *model, const struct model_input *input, struct model_output *output,
			       struct err *err);
	bool (*is_healthy)(const struct model *model);
	void (*release)(struct model *model); /* may be NULL */
};

struct model {
	const char *name;    /* "mean" */
	const char *version; /* "v1.0" */
	const char *hash;    /* hex of BLAKE2b-256 of what defines it: 64 digits */
	unsigned accepts;    /* enum model_input_kind, or-ed */
	const struct model_ops *ops;
	void *state;
};

enum { MODEL_REGISTRY_MAX = 32 };

/* The models of a process: several versions at once, one of them answers when the caller names none. */
struct model_registry {
	struct model *models[MODEL_REGISTRY_MAX]; /* borrowed */
	int n;
	int current; /* index of the one that answers by default */
};

/* Adds a model and makes it the current one. STATUS_CONFLICT: name and version are there already; STATUS_BUSY: full. */
enum status model_registry_add(struct model_registry *registry, struct model *model, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The model with this version, any name; an empty version means the current one. NULL when there is none. */
struct model *model_registry_find(const struct model_registry *registry, struct str version) __attribute__((nonnull));

enum status model_predict(const struct model *model, const struct model_input *input, struct model_output *output,
			  struct err *err) __attribute__((nonnull(1, 2, 3), warn_unused_result));

/* The mean of the features (sum from left to right, divided by the count), version v1.0. Static. */
struct model *model_mean(void) __attribute__((returns_nonnull));

#endif
