/* How the answers of two versions to the same inputs differ: counts, quantiles, labels against labels, and the rows
 * that differ most. Memory is bounded whatever the number of rows.
 *
 * What is compared is the result of a regression, a count or a ranking, the probability of the second of two classes,
 * and of several classes the probability of the one that was answered before. The difference is after minus before. */
#ifndef APPCORE_MODEL_COMPARE_H
#define APPCORE_MODEL_COMPARE_H

#include "model/manifest.h"
#include "model/quantiles.h"

enum {
	COMPARE_TOP_MAX = 1000,
	COMPARE_LABELS_MAX = 64, /* what is beyond shares the last one's place */
	COMPARE_REASONS_MAX = 8,
	COMPARE_TEXT_BYTES = 200, /* of an input or a reason that is kept */
};

/* One input and both answers; borrowed for the call. */
struct compare_row {
	struct str id, created_at, features;
	double before, after;                 /* NaN: there is nothing to compare but labels */
	struct str label_before, label_after; /* empty: no classifier */
};

/* A row that differs much. */
struct compare_kept {
	char id[48], created_at[40];
	char features[COMPARE_TEXT_BYTES]; /* cut, with "…" */
	char label_before[72], label_after[72];
	double before, after, difference;
};

struct compare_reason {
	char text[COMPARE_TEXT_BYTES];
	char id[48]; /* of the first row that it was said of */
	int64_t n;
};

struct compare {
	double tolerance;

	int64_t rows;           /* that both have answered */
	int64_t changed;        /* differ by more than the tolerance, or in their label */
	int64_t values;         /* with a difference in numbers */
	int64_t labelled;       /* with labels */
	int64_t labels_changed; /* of these */
	int64_t refused;        /* by the candidate */
	double sum, sum_abs, sum_squares;
	struct quantiles *differences, *magnitudes;

	char labels[COMPARE_LABELS_MAX][72]; /* in the order in which they were seen; the last may be "(others)" */
	int labels_n;
	int64_t *matrix; /* COMPARE_LABELS_MAX × COMPARE_LABELS_MAX: before, after */

	struct compare_kept *top; /* the largest first */
	int top_n, top_max;

	struct compare_reason reasons[COMPARE_REASONS_MAX]; /* the first ones */
	int reasons_n;
};

/* Differences up to `tolerance` count as none. NULL: no memory. Caller frees with compare_free. */
struct compare *compare_new(int top, double tolerance) __attribute__((warn_unused_result));
void compare_free(struct compare *compare);

void compare_add(struct compare *compare, const struct compare_row *row) __attribute__((nonnull));

/* An input that the candidate refuses. */
void compare_refuse(struct compare *compare, struct str id, struct str reason) __attribute__((nonnull));

/* An answer, as it is stored or as a model gave it. */
struct compare_answer {
	double result;
	struct str label;
	const double *probabilities;
	int probabilities_n; /* 0: there are none */
};

/* Sets the two numbers of a row to what is compared of both answers. Classes are matched by their names. A manifest may
 * be NULL: the version is built in, or not there any more. */
void compare_values(struct compare_row *row, const struct manifest *from, const struct compare_answer *before,
		    const struct manifest *to, const struct compare_answer *after) __attribute__((nonnull(1, 3, 5)));

/* Reads "[0.1, 0.9]"; returns how many there are, 0 when they are no such list or more than `max`. */
int compare_read_probabilities(struct str text, double *out, int max) __attribute__((nonnull));

/* Edges of a histogram of the differences that are not 0: at most `max` bins of one width, a 1, 2 or 5 of some power of
 * ten, edges being multiples of it, that hold all but the outermost hundredth on each side, which the first and last
 * bin take in. Bin i is from *low + i × *step on. Returns how many; 0: nothing differs. */
int compare_histogram(struct compare *compare, int max, double *low, double *step) __attribute__((nonnull));
int64_t compare_bin(const struct compare *compare, int bins, int i, double low, double step) __attribute__((nonnull));

#endif
