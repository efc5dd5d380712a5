/* Turns comparisons of doubles into comparisons of small whole numbers, which a float32 holds exactly: the rank of a
 * value is how many of its feature's thresholds are less than it, and value <= k-th threshold exactly when its rank
 * <= k. For models whose splits were found in doubles (scikit-learn's histogram gradient boosting). */
#ifndef APPCORE_MODEL_FOREST_RANKS_H
#define APPCORE_MODEL_FOREST_RANKS_H

#include "base/err.h"

#include <stddef.h>

struct ranks;

/* For rows of features_n > 0 numbers. NULL: no memory. Caller frees with ranks_free. */
struct ranks *ranks_new(int features_n) __attribute__((warn_unused_result));
void ranks_free(struct ranks *ranks); /* NULL is allowed */

/* One threshold more, any number of times; then ranks_finish, then the rest. */
enum status ranks_add(struct ranks *ranks, int feature, double threshold, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
void ranks_finish(struct ranks *ranks) __attribute__((nonnull));

/* The rank of a value; the k of a threshold is its own. NaN stays NaN. */
double ranks_of(const struct ranks *ranks, int feature, double value) __attribute__((nonnull));

size_t ranks_bytes(const struct ranks *ranks) __attribute__((nonnull));

#endif
