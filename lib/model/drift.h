/* Drift: how far what a version is asked now lies from what it was trained on, input by input, as the population
 * stability index: over the bins of the manifest, PSI = Σ (a - e) ln(a / e), a being a bin's share of what is asked now
 * and e its share in training (Siddiqi: "Credit Risk Scorecards", 2006, ch. 8; it is the sum of both Kullback-Leibler
 * divergences). Usual reading: below 0.1 stable, to 0.25 moving, above shifted. A share below DRIFT_FLOOR counts as
 * that, so that an empty bin weighs much and not infinitely: (0.1 - 0.0001) ln(0.1 / 0.0001) = 0.69 for a tenth that is
 * gone. By chance alone PSI is about (bins - 1) / rows.
 *
 * Missing values are a bin of their own, whose share in training is the manifest's (0 where it says none); so are
 * categories that its list does not have, of which training had none. Of texts, the number of characters counts. */
#ifndef APPCORE_MODEL_DRIFT_H
#define APPCORE_MODEL_DRIFT_H

#include "model/manifest.h"
#include "store/db.h"

#define DRIFT_FLOOR   1e-4
#define DRIFT_MOVING  0.1
#define DRIFT_SHIFTED 0.25

enum { DRIFT_ROWS = 5000, DRIFT_SLICES = 50 };

/* Σ (a - e) ln(a / e) over n bins; shares sum to 1. */
double drift_psi(const double *actual, const double *expected, int n) __attribute__((nonnull));

/* "stable", "moving", "shifted". */
const char *drift_reading(double psi) __attribute__((returns_nonnull));

/* An input that the manifest has a distribution of. */
struct drift_input {
	const struct manifest_input *input;
	int place;       /* in the manifest */
	int bins;        /* the manifest's, then missing values, then (of a category) those not listed */
	int64_t *counts; /* bins */
	double *actual, *expected;
	double psi;
};

struct drift {
	const struct model *model;
	int64_t rows;    /* that were counted */
	int64_t skipped; /* that the version itself can't read any more */
	bool sampled;    /* there were more rows than were read */
	struct drift_input *inputs;
	int inputs_n;    /* 0: the manifest has no distributions */
	int64_t *counts; /* of all bins of all inputs, and their shares */
	double *shares;
};

/* Caller frees with drift_free. NULL: no memory. The model is borrowed. */
struct drift *drift_new(const struct model *model) __attribute__((nonnull, warn_unused_result));
void drift_free(struct drift *drift);

/* Counts one stored input. STATUS_NO_MEMORY: the arena is full. */
enum status drift_add(struct drift *drift, struct str features, struct arena *arena)
	__attribute__((nonnull, warn_unused_result));

/* Counts what the version answered in the `window_us` before `now_us`: cut into DRIFT_SLICES equal times, of each the
 * newest rows, the same number where there are as many, at most `rows` of all slices together. Each read is short. */
enum status drift_sample(struct drift *drift, struct db *db, int64_t now_us, int64_t window_us, int rows,
			 struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

/* Computes shares and psi, and sorts the inputs: the largest psi first. Without rows every psi is 0. */
void drift_finish(struct drift *drift) __attribute__((nonnull));

/* Where bin i of an input begins and ends, or what it stands for: "8 to 9.5", "below 8", "red", "missing". */
void drift_bin_name(const struct drift_input *input, int i, char out[static 64]) __attribute__((nonnull));

#endif
