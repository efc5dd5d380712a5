/* Training of text classifiers, with scikit-learn's formulas and rules: TfidfVectorizer (smoothed idf, norm l2), then
 * MultinomialNB (alpha 1) or LogisticRegression (L2, C = 1, solved to the bottom instead of nearly). */
#ifndef APPCORE_MODEL_TEXT_TRAIN_H
#define APPCORE_MODEL_TEXT_TRAIN_H

#include "model/text.h"
#include "model/text_corpus.h"

/* Told now and then what is done, and which share of it. */
typedef void text_progress_fn(void *arg, const char *doing, double share);

struct text_options {
	enum text_method method;
	int ngram_min, ngram_max;
	size_t max_features;        /* the n-grams that are most frequent in the corpus; 0: all */
	text_progress_fn *progress; /* may be NULL */
	void *progress_arg;
};

/* Trains on corpus->texts[rows[i]], i < rows_n. What the spec points to lives in the arena. STATUS_INVALID: a class has
 * no sample among them, or no text has a word. */
enum status text_train(struct text_spec *spec, const struct text_corpus *corpus, const size_t *rows, size_t rows_n,
		       const struct text_options *options, struct arena *arena, struct err *err)
	__attribute__((nonnull(1, 2, 3, 5, 6), warn_unused_result));

/* --- what a classifier is worth --- */

struct text_scores {
	double precision, recall, f1;
	size_t support;
};

struct text_report {
	size_t n, right;
	double accuracy;
	struct text_scores macro, weighted; /* means over the classes, plain and by support */
	struct text_scores *classes;        /* classes_n */
	int classes_n;
};

/* Compares what is (truth) with what was said (labels). Lives in the arena. */
enum status text_report_make(struct text_report *report, const int *truth, const int *labels, size_t n, int classes_n,
			     struct arena *arena, struct err *err) __attribute__((nonnull(1, 6), warn_unused_result));

/* Appends it in the form of scikit-learn's classification_report. */
void text_report_put(const struct text_report *report, const struct str *classes, struct buf *out)
	__attribute__((nonnull));

#endif
