/* Stored inputs, asked of another version: what replaying and the shadow have in common.
 *
 * An input is stored as JSON (instance_put). Where both versions have a manifest with names, values go by these: an
 * input that the candidate does not have is left out, one that only the candidate has is missing. Else they go by their
 * place, and so they do when no name of the one is a name of the other and both have as many (a file of XGBoost's
 * without names has f0, f1, …). All that the candidate's manifest says of its inputs holds. */
#ifndef APPCORE_MODEL_RESCORE_H
#define APPCORE_MODEL_RESCORE_H

#include "model/model.h"

enum { RESCORE_ROWS_MAX = 256 };

struct rescore_row {
	struct str features; /* as it is stored */

	/* Set by rescore_run. */
	enum status status;          /* STATUS_OK, or STATUS_INVALID: refused, for the reason `why` */
	struct str why;              /* "alcohol: Input should be less than or equal to 15"; in the arena */
	double result;               /* of model.h */
	int label;                   /* of classifiers */
	const double *probabilities; /* classes_n, in the arena; NULL: no classifier */
};

struct rescore;

/* `from` is the version that was asked before; NULL: it is not there any more, so that values go by their place. Both
 * are borrowed for as long as the result lives. Caller frees with rescore_free. NULL: no memory. */
struct rescore *rescore_new(const struct model *from, const struct model *to)
	__attribute__((nonnull(2), warn_unused_result));
void rescore_free(struct rescore *rescore);

/* Asks the candidate for n rows (at most RESCORE_ROWS_MAX) in as few calls as it takes. STATUS_NO_MEMORY when the arena
 * is full; what a row lacks is in the row. Any thread, with an arena of its own. */
enum status rescore_run(const struct rescore *rescore, struct rescore_row *rows, size_t n, struct arena *arena,
			struct err *err) __attribute__((nonnull(1, 2, 4), warn_unused_result));

#endif
