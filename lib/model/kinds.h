/* The kinds of models that are files: how each is loaded. */
#ifndef APPCORE_MODEL_KINDS_H
#define APPCORE_MODEL_KINDS_H

#include "model/manifest.h"

/* A loader gets the manifest (checked by itself) and the file's bytes, whose hash fits; both may be hostile all the
 * same. It fills ops, state and bytes of `model`, whose other members are set; nothing may keep pointing into `file`.
 * What is wrong is one sentence that names the place, STATUS_INVALID; nothing is left behind then. */
typedef enum status kind_load(struct model *model, struct str file, struct err *err);

struct kind {
	const char *name;
	kind_load *load;
	unsigned accepts; /* enum model_input_kind */
};

extern const struct kind KINDS[];
extern const int KINDS_N;

const struct kind *kind_find(struct str name);

/* linear.c: {"format": "appcore linear 1", "coefficients": [[…], …], "intercepts": […]}: one row for a regression and
 * for two classes, else a row for each class; over the columns after preprocessing. */
kind_load linear_load, logistic_load;
/* xgboost.c: what XGBoost's save_model writes as JSON (1.7 to 3.x), gbtree. */
kind_load xgboost_load;
/* forest.c: {"format": "appcore forest 1", …}, written by scripts/export_sklearn.py. */
kind_load forest_load;
/* text.c: {"format": "appcore text 1", …}: TF-IDF with naive Bayes or logistic regression. */
kind_load text_load;

/* Loads a version from its manifest and its file's bytes, and runs the manifest's examples. The manifest is the model's
 * from now on, also on failure. *out has one user. */
enum status kind_load_model(struct model **out, struct str name, struct str version, struct manifest *manifest,
			    struct str file, struct err *err) __attribute__((nonnull(1, 4), warn_unused_result));

#endif
