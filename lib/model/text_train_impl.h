/* What the files of training share. */
#ifndef APPCORE_MODEL_TEXT_TRAIN_IMPL_H
#define APPCORE_MODEL_TEXT_TRAIN_IMPL_H

#include "model/text_train.h"

/* Texts as rows of the terms they have, in rising order of these: compressed sparse rows. */
struct text_matrix {
	size_t rows_n, terms_n;
	size_t *starts; /* rows_n + 1: row i is starts[i] .. starts[i + 1] */
	uint32_t *terms;
	double *values;
	const int *labels; /* rows_n */
	int classes_n;
};

/* Counts the n-grams of the rows, chooses the vocabulary (spec->terms, in order of their bytes, which is that of their
 * characters), and makes the matrix of weights with norm 1. Sets spec->terms_n, terms and idf. */
enum status text_vectorise(struct text_matrix *matrix, struct text_spec *spec, const struct text_corpus *corpus,
			   const size_t *rows, const struct text_options *options, struct arena *arena, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4, 5, 6), warn_unused_result));

/* The places of the n smallest first, ties as numpy's argsort leaves them. order holds 0 .. n - 1. */
void text_argsort(const double *keys, uint32_t *order, size_t n) __attribute__((nonnull));

/* Fill weights and intercepts (allocated, see struct text_spec). */
void text_fit_bayes(const struct text_matrix *matrix, double alpha, double *weights, double *intercepts)
	__attribute__((nonnull));
enum status text_fit_logistic(const struct text_matrix *matrix, double c, const struct text_options *options,
			      double *weights, double *intercepts, struct err *err)
	__attribute__((nonnull(1, 3, 4, 5), warn_unused_result));

static inline void text_tell(const struct text_options *options, const char *doing, size_t done, size_t all)
{
	if (options->progress)
		options->progress(options->progress_arg, doing, all ? (double)done / (double)all : 1.0);
}

#endif
