/* A prediction, or many, on their way from inputs to stored rows and an answer: what all handlers that ask a model
 * share. A handler makes a batch, fills its inputs, and lets it go: the model is asked (on a slow thread when there are
 * many), the rows are stored in one transaction, with their Idempotency-Key if there is one, and the answer goes out
 * when they are on disk. All of it lives in the request's arena. */
#ifndef APPCORE_HANDLERS_BATCH_H
#define APPCORE_HANDLERS_BATCH_H

#include "base/clock.h"
#include "handlers/idempotent.h"
#include "model/instance.h"
#include "model/set.h"
#include "store/predictions.h"
#include "store/store.h"

enum {
	BATCH_INLINE = 16,              /* rows; with more, the model is asked on a slow thread */
	BATCH_INLINE_BYTES = 16 * 1024, /* of a body that is read on the event thread */
	BATCH_INLINE_VALUES = 4096,     /* that the rows have in all, missing ones counted */
};

struct batch {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	const struct model_version *version;
	const struct model *model;

	/* Inputs, as struct model_batch has them, and what was noticed about them. */
	size_t n, width;
	double *values;               /* NULL: texts */
	struct str *texts;            /* NULL: values */
	struct instance_flags *flags; /* n */

	/* Outputs. After the store they are what is stored, which a former try may have put there. */
	double *results;
	double *probabilities;   /* n × classes_n; NULL: no classifier */
	struct prediction *rows; /* n: with id, label, probabilities and flags as texts */

	/* The answer: set by the handler before batch_go. `put` writes the body, from the rows; it may be called twice.
	 * `settled` (may be NULL) adds headers to an answer that is final, which may be one that is told again.
	 * `refused` (may be NULL) answers for an input that the model does not take: row `bad` of them. */
	int http_status;
	void (*put)(struct batch *batch, struct buf *out);
	void (*settled)(struct batch *batch);
	void (*refused)(struct batch *batch, size_t bad, const struct err *err);
	void *state;

	struct idempotent idem;
	struct buf ready; /* the body for new rows */
	bool repeated;    /* the rows were there already */
	int *labels;
	char created_at[CLOCK_ISO_BYTES];
};

/* The version that answers: of the name's route, or the one named (`version` not empty). NULL: answered, with 404 for
 * what is not served, 503 when nothing of the name is active. Borrows from the request's set. */
const struct model_version *batch_version(struct request *req, struct str name, struct str version)
	__attribute__((nonnull, warn_unused_result));

/* The version that a route picks for this request (canary.h). NULL: answered, 503. */
const struct model_version *batch_pick(struct request *req, const struct model_route *route)
	__attribute__((nonnull(1), warn_unused_result));

/* The rows are too many, or too wide, to be read on the event thread, however short the body is. */
bool batch_is_large(const struct request *req, size_t n, size_t width) __attribute__((nonnull, warn_unused_result));

/* A batch of n rows of `width` numbers, or of n texts for a model of texts. NULL: answered. */
struct batch *batch_new(struct request *req, const struct model_version *version, size_t n, size_t width)
	__attribute__((nonnull, warn_unused_result));

/* Takes it from here; the request is answered when it is done. */
void batch_go(struct batch *batch) __attribute__((nonnull));

/* Appends ",label,probabilities,flags", as far as the row has them. */
void batch_put_classes(struct buf *out, const struct prediction *row) __attribute__((nonnull));

/* Answers for memory that ran out, and finishes. */
void batch_no_memory(struct request *req) __attribute__((nonnull));

#endif
