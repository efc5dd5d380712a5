/* Training: vectorise, fit. */
#include "model/text_train_impl.h"

#include "model/text_tokens.h"

static const double ALPHA = 1.0, C = 1.0; /* scikit-learn's defaults */

/* The labels of the rows; each class has to have one at least. */
static enum status take_labels(struct text_matrix *matrix, const struct text_corpus *corpus, const size_t *rows,
			       struct arena *arena, struct err *err)
{
	int *labels = arena_alloc(arena, matrix->rows_n * sizeof(*labels));
	bool *met = arena_zalloc(arena, (size_t)corpus->classes_n * sizeof(*met));

	if (!labels || !met)
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory for the labels.");
	for (size_t i = 0; i < matrix->rows_n; i++) {
		labels[i] = corpus->labels[rows[i]];
		met[labels[i]] = true;
	}
	for (int k = 0; k < corpus->classes_n; k++)
		if (!met[k])
			return err_set(err, STATUS_INVALID,
				       "None of the %zu samples to train with has the label \"%.*s\".", matrix->rows_n,
				       STR_ARG(corpus->classes[k]));
	matrix->labels = labels;
	matrix->classes_n = corpus->classes_n;
	return STATUS_OK;
}

enum status text_train(struct text_spec *spec, const struct text_corpus *corpus, const size_t *rows, size_t rows_n,
		       const struct text_options *options, struct arena *arena, struct err *err)
{
	struct text_matrix matrix = {.rows_n = rows_n};

	if (corpus->classes_n < 2)
		return err_set(err, STATUS_INVALID, "There are samples of %d classes; at least 2 are wanted.",
			       corpus->classes_n);
	*spec = (struct text_spec){.method = options->method,
				   .ngram_min = options->ngram_min,
				   .ngram_max = options->ngram_max,
				   .l2 = true,
				   .classes_n = corpus->classes_n};
	spec->rows_n = spec->method == TEXT_LOGISTIC && spec->classes_n == 2 ? 1 : spec->classes_n;
	enum status status = take_labels(&matrix, corpus, rows, arena, err);
	if (status == STATUS_OK)
		status = text_vectorise(&matrix, spec, corpus, rows, options, arena, err);
	if (status != STATUS_OK)
		return status;
	double *weights = arena_alloc(arena, (size_t)spec->rows_n * spec->terms_n * sizeof(double));
	double *intercepts = arena_alloc(arena, (size_t)spec->rows_n * sizeof(double));
	if (!weights || !intercepts)
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory for %zu terms of %d classes.",
			       spec->terms_n, spec->classes_n);
	spec->weights = weights;
	spec->intercepts = intercepts;
	text_tell(options, "fitting", 0, 1);
	if (spec->method == TEXT_LOGISTIC)
		return text_fit_logistic(&matrix, C, options, weights, intercepts, err);
	text_fit_bayes(&matrix, ALPHA, weights, intercepts);
	return STATUS_OK;
}
