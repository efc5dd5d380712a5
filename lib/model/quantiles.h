/* Quantiles of any number of values in bounded memory (a few hundred kilobytes): exact for the first QUANTILES_EXACT
 * values, then to QUANTILES_ERROR of the value itself, whatever the values are and in whatever order they come.
 *
 * The sketch is DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
 * Guarantees", PVLDB 12(12), 2019): value x is counted in bucket ceil(log_g |x|) of its sign, g = (1 + e) / (1 - e),
 * and a bucket stands for 2 g^i / (g + 1). Counts are exact; nothing is drawn by lot, so that the same values give the
 * same answers. Magnitudes below 1e-12 count as zero and those above 1e12 as that, once the values are many. */
#ifndef APPCORE_MODEL_QUANTILES_H
#define APPCORE_MODEL_QUANTILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUANTILES_EXACT = 8192 };
#define QUANTILES_ERROR 0.005

struct quantiles;

/* NULL: no memory. Caller frees with quantiles_free. */
struct quantiles *quantiles_new(void) __attribute__((warn_unused_result));
void quantiles_free(struct quantiles *quantiles);

/* Adds a finite value. */
void quantiles_add(struct quantiles *quantiles, double value) __attribute__((nonnull));

int64_t quantiles_count(const struct quantiles *quantiles) __attribute__((nonnull));

/* The value at rank ceil(q × count), 0 <= q <= 1 (0: the smallest); NaN when there are none. The smallest and the
 * largest are exact. */
double quantiles_at(struct quantiles *quantiles, double q) __attribute__((nonnull));

/* How many values v have low <= v < high; when they are many, those of a bucket that an edge cuts are taken as spread
 * evenly, and counts of neighbouring ranges add up. Zeros are not among them. */
int64_t quantiles_between(const struct quantiles *quantiles, double low, double high) __attribute__((nonnull));
int64_t quantiles_zeros(const struct quantiles *quantiles) __attribute__((nonnull));

#endif
