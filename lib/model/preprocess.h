/* Preprocessing: the steps of a manifest, applied to a row of inputs as instance.h reads it, give the columns that a
 * model was trained on. What the steps are is what scikit-learn's SimpleImputer, StandardScaler and OneHotEncoder do.
 */
#ifndef APPCORE_MODEL_PREPROCESS_H
#define APPCORE_MODEL_PREPROCESS_H

#include "model/manifest.h"

struct preprocess;

/* Made from a manifest's steps, which it does not keep. STATUS_NO_MEMORY. Caller frees with preprocess_free. */
enum status preprocess_new(struct preprocess **out, const struct manifest *manifest, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
void preprocess_free(struct preprocess *preprocess);

/* The number of columns, and the bytes that it takes. */
int preprocess_columns(const struct preprocess *preprocess) __attribute__((nonnull));
size_t preprocess_bytes(const struct preprocess *preprocess) __attribute__((nonnull));

/* Whether every row's columns are its inputs as they are. */
bool preprocess_is_none(const struct preprocess *preprocess) __attribute__((nonnull));

/* The columns of one row. A missing value that no step imputes stays NaN; a category that is one-hot encoded gives 1 in
 * its own column and 0 in the others, in all of them when it is missing or not in the list. */
void preprocess_row(const struct preprocess *preprocess, const double *row, double *columns) __attribute__((nonnull));

/* Whether an input reaches the model as NaN: it may be missing and is neither imputed nor one-hot encoded. */
bool preprocess_may_miss(const struct preprocess *preprocess, int input) __attribute__((nonnull));

#endif
