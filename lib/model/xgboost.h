/* A manifest for a model file of XGBoost's that has none: what the file itself says. */
#ifndef APPCORE_MODEL_XGBOOST_H
#define APPCORE_MODEL_XGBOOST_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the manifest of `file`, what XGBoost's save_model writes as JSON. Inputs are numbers with the file's feature
 * names, else f0, f1, …; the output follows the objective, classes are called "0", "1", …. `name` is what the file is
 * to be called beside it. The same file gives the same manifest. STATUS_INVALID: it is no such file. */
enum status xgboost_describe(struct str file, struct str name, struct buf *out, struct err *err)
	__attribute__((nonnull(3), warn_unused_result));

#endif
