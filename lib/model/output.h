/* From the sums that a model computes to what it answers: links as in generalised linear models. */
#ifndef APPCORE_MODEL_OUTPUT_H
#define APPCORE_MODEL_OUTPUT_H

#include "model/manifest.h"

enum output_link {
	OUTPUT_IDENTITY,
	OUTPUT_EXP,
	OUTPUT_LOGISTIC, /* one sum: 1 / (1 + e^-x) */
	OUTPUT_SOFTMAX,  /* a sum for each class */
	OUTPUT_OVR,      /* a sum for each class: the logistic function of each, scaled to a sum of 1 */
	OUTPUT_SHARES,   /* a sum for each class: probabilities already */
};

/* 1 / (1 + e^-x) without overflow. */
double output_logistic(double x);

/* In place; n > 0. Finite for all finite sums. */
void output_softmax(double *sums, int n) __attribute__((nonnull));

/* Puts the answer of input `i` into the batch as the manifest's output type wants it; `sums` is worked on in place. A
 * sum of exactly 0 with OUTPUT_LOGISTIC is the first class, and of equal classes the first is the likeliest, as in
 * scikit-learn. */
void output_put(enum output_link link, double *sums, const struct manifest *manifest, const struct model_batch *batch,
		size_t i) __attribute__((nonnull));

#endif
