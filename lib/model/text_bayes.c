/* Multinomial naive Bayes (Manning, Raghavan, Schütze, "Introduction to Information Retrieval", 2008, chapter 13), with
 * weights instead of counts, as scikit-learn's MultinomialNB: the share of a term in a class is (alpha + the sum of its
 * weights in the class's texts) / (the same, summed over all terms); the prior of a class is its share of the texts. */
#include "model/text_train_impl.h"

#include <math.h>

void text_fit_bayes(const struct text_matrix *matrix, double alpha, double *weights, double *intercepts)
{
	size_t terms_n = matrix->terms_n;

	for (size_t i = 0; i < (size_t)matrix->classes_n * terms_n; i++)
		weights[i] = alpha;
	for (int k = 0; k < matrix->classes_n; k++)
		intercepts[k] = 0.0;
	for (size_t i = 0; i < matrix->rows_n; i++) {
		double *row = weights + (size_t)matrix->labels[i] * terms_n;
		intercepts[matrix->labels[i]] += 1.0;
		for (size_t at = matrix->starts[i]; at < matrix->starts[i + 1]; at++)
			row[matrix->terms[at]] += matrix->values[at];
	}
	for (int k = 0; k < matrix->classes_n; k++) {
		double *row = weights + (size_t)k * terms_n, sum = 0.0;
		for (size_t t = 0; t < terms_n; t++)
			sum += row[t];
		for (size_t t = 0; t < terms_n; t++)
			row[t] = log(row[t]) - log(sum);
		intercepts[k] = log(intercepts[k]) - log((double)matrix->rows_n);
	}
}
