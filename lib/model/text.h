/* Text classifiers: TF-IDF over word n-grams, then multinomial naive Bayes or logistic regression, as scikit-learn's
 * TfidfVectorizer, MultinomialNB and LogisticRegression compute them. The model of kind "text".
 *
 * Of a text, term t (an n-gram of the vocabulary) that occurs n times weighs x[t] = n * idf[t], or (1 + ln n) * idf[t]
 * if sublinear; then all x are divided by the root of the sum of their squares (norm "l2"). The score of class c is
 * intercepts[c] + the sum of x[t] * weights[c][t]; in naive Bayes these are the logarithms of the class's prior and of
 * the term's share in the class. Probabilities are the softmax of the scores; a logistic regression of two classes has
 * one row only, that of the second class, and its probability is 1 / (1 + exp(-score)). A text without known terms gets
 * what the intercepts say. */
#ifndef APPCORE_MODEL_TEXT_H
#define APPCORE_MODEL_TEXT_H

#include "base/buf.h"
#include "model/model.h"

enum text_method { TEXT_NAIVE_BAYES, TEXT_LOGISTIC };

enum { TEXT_TERMS_MAX = 10000000, TEXT_TERM_BYTES_MAX = 65535 };

/* A classifier in plain arrays, as it is trained, read and written. */
struct text_spec {
	enum text_method method;
	int ngram_min, ngram_max; /* 1 <= min <= max <= TEXT_NGRAM_MAX */
	bool sublinear;
	bool l2;       /* else the x stay as they are */
	int classes_n; /* at least 2 */
	int rows_n;    /* of weights: 1 in a logistic regression of two classes, else classes_n */
	size_t terms_n;
	const struct str *terms;  /* terms_n, no two alike */
	const double *idf;        /* terms_n */
	const double *weights;    /* rows_n × terms_n, row after row */
	const double *intercepts; /* rows_n */
};

/* The same laid out for asking. */
struct text_classifier;

/* Builds it from a spec, of which nothing is kept. STATUS_INVALID: two terms are alike (the sentence says which), or
 * too much of something. Caller frees with text_free. */
enum status text_new(struct text_classifier **out, const struct text_spec *spec, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
void text_free(struct text_classifier *classifier);

/* Bytes of memory that it takes. */
size_t text_bytes(const struct text_classifier *classifier) __attribute__((nonnull));

/* model_ops.predict for batch->texts. `binary`: results are the second class's probabilities, else the numbers of the
 * likeliest classes. STATUS_INVALID: scores are not finite. */
enum status text_classify(const struct text_classifier *classifier, const struct model_batch *batch, bool binary,
			  size_t *bad, struct err *err) __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* Reads the format "appcore text 1" (docs/models.md). What the spec points to lives in the arena, or borrows `file`.
 * classes_n: how many the manifest has. */
enum status text_read(struct text_spec *spec, struct str file, int classes_n, struct arena *arena, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

/* Appends a spec in that format; numbers are the shortest that read back as the same. */
void text_write(const struct text_spec *spec, struct buf *out) __attribute__((nonnull));

#endif
