/* What every model looks like to the service: named, versioned, identified by a hash of its content, and able to turn
 * inputs into outputs without side effects, from any thread. Kinds of models (the mean, linear models, trees, text
 * classifiers) are implementations of struct model_ops; which there are is a table in kinds.c. */
#ifndef APPCORE_MODEL_MODEL_H
#define APPCORE_MODEL_MODEL_H

#include "base/arena.h"
#include "base/err.h"

#include <stdatomic.h>

struct manifest;

enum model_input_kind {
	MODEL_VECTOR = 1 << 0, /* numbers in the manifest's order */
	MODEL_TEXT = 1 << 1,   /* UTF-8 */
};

enum { MODEL_CLASSES_MAX = 1000, MODEL_NAME_BYTES = 65, MODEL_HASH_BYTES = 65 };

/* Inputs of one call and where the outputs go; the caller owns all of it. */
struct model_batch {
	size_t n; /* inputs; at least 1 */

	/* MODEL_VECTOR: n rows of `width` numbers, row after row. NaN is a missing value; infinities do not occur. The
	 * number of a category is its place in the manifest's list; -1 is one that the list has not. */
	const double *values;
	size_t width;
	const struct str *texts; /* MODEL_TEXT: n texts */

	/* Outputs. `result` is the value of a regression, the probability of the second of two classes, and the number
	 * of the likeliest of several. */
	double *results;       /* n */
	int *labels;           /* n: the number of the likeliest class; classifiers only; may be NULL */
	double *probabilities; /* n × classes_n, row after row; classifiers only; may be NULL */

	struct arena *arena; /* for what the call needs meanwhile; the caller resets it */
};

struct model;

struct model_ops {
	/* Fills the outputs. STATUS_INVALID with the reason in *err when an input does not fit the model: *bad is its
	 * place in the batch then. STATUS_NO_MEMORY: the arena is full. */
	enum status (*predict)(const struct model *model, const struct model_batch *batch, size_t *bad,
			       struct err *err);
	bool (*is_healthy)(const struct model *model); /* NULL: it is as long as it is there */
	void (*release)(struct model *model);          /* frees state; may be NULL */
};

struct model {
	char name[MODEL_NAME_BYTES];    /* "mean" */
	char version[MODEL_NAME_BYTES]; /* "v1.0" */
	char hash[MODEL_HASH_BYTES];    /* hex of BLAKE2b-256 of what defines it: its manifest, which has the file's */
	struct manifest *manifest;      /* owned; NULL: built in */
	unsigned accepts;               /* enum model_input_kind, or-ed */
	int inputs_n;                   /* numbers in a row of a MODEL_VECTOR; 0: any number but none */
	int classes_n;                  /* 0: no classifier */
	const struct model_ops *ops;
	void *state;
	size_t bytes; /* of memory that the state takes, about */
	atomic_int users;
};

/* A model of the heap with one user, without ops yet. NULL: no memory. */
struct model *model_new(void) __attribute__((warn_unused_result));

/* One user more, one less; the last one's going frees it. Any thread. Models that are static are never freed. NULL is
 * allowed. */
struct model *model_hold(struct model *model);
void model_drop(struct model *model);

/* Asks the model. STATUS_INVALID when it does not take this kind or width of input, or a result or probability is not
 * finite; *bad is the place of the input in the batch that the error is about. Any thread. */
enum status model_predict(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

bool model_is_healthy(const struct model *model) __attribute__((nonnull));

/* The name of class `label`. Borrows from the model. */
struct str model_class(const struct model *model, int label) __attribute__((nonnull));

/* What names and versions are made of: str_is_name. */
bool model_name_is_valid(struct str name);

/* The mean of the features (sum from left to right, divided by the count), version v1.0. Static. */
struct model *model_mean(void) __attribute__((returns_nonnull));

#endif
