/* XGBoost's models: what reading the file gives, and what predicting needs. */
#ifndef APPCORE_MODEL_XGBOOST_IMPL_H
#define APPCORE_MODEL_XGBOOST_IMPL_H

#include "model/manifest.h"
#include "model/trees.h"

/* Between a margin (the sum of a row) and what the model says. */
enum xgboost_link {
	XGBOOST_IDENTITY,
	XGBOOST_LOGISTIC,  /* base score p has the margin -log(1/p - 1); a margin x says 1/(1 + exp(-x)) */
	XGBOOST_LOGIT_RAW, /* base score as it is; a margin is what it says, but for a manifest that wants probabilities
			    */
	XGBOOST_HINGE,     /* 1 when the margin is more than 0, else 0; base score as it is */
	XGBOOST_EXP,       /* log, exp */
	XGBOOST_SOFTMAX,   /* of a margin for each class; base score as it is */
};

struct xgboost_objective {
	struct str name;
	enum xgboost_link link;
	unsigned outputs; /* 1 << enum manifest_output, or-ed: what a manifest may call it */
};

/* The objective of this name, or NULL. */
const struct xgboost_objective *xgboost_objective_find(struct str name);

struct xgboost_file {
	struct trees *trees; /* the caller's to free */
	const struct xgboost_objective *objective;
	float *base; /* margins_n margins that sums begin with; the caller's to free */
	int margins_n;
};

/* What the file says about its learner; texts borrow the file. */
struct xgboost_facts {
	int num_class, num_feature, num_target; /* 0: not said */
	struct str objective, base_score;       /* as written */
};

/* Checks them against the manifest, sets out->objective and fills out->base, which has room for out->margins_n. */
enum status xgboost_check(struct xgboost_file *out, const struct xgboost_facts *facts, const struct manifest *manifest,
			  int columns, struct err *err) __attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Reads the file. `columns` is how many numbers a row has; `names` says that these are the manifest's inputs, so that
 * feature names can be compared. On failure nothing is left to free. */
enum status xgboost_read(struct xgboost_file *out, struct str file, const struct manifest *manifest, int columns,
			 bool names, struct err *err) __attribute__((nonnull(1, 3), warn_unused_result));

/* The margins of n rows of inputs, as many for each as the model has; what predicting begins with, for tests.
 * STATUS_NO_MEMORY: the arena is full. */
enum status xgboost_margins(const struct model *model, const double *rows, size_t n, float *margins,
			    struct arena *arena) __attribute__((nonnull, warn_unused_result));

#endif
