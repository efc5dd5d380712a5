/* Links. */
#include "model/output.h"

#include <math.h>

double output_logistic(double x)
{
	if (x >= 0)
		return 1 / (1 + exp(-x));
	double e = exp(x);
	return e / (1 + e);
}

void output_softmax(double *sums, int n)
{
	double most = sums[0], total = 0;

	for (int i = 1; i < n; i++)
		most = sums[i] > most ? sums[i] : most;
	for (int i = 0; i < n; i++) {
		sums[i] = exp(sums[i] - most);
		total += sums[i];
	}
	for (int i = 0; i < n; i++)
		sums[i] /= total;
}

static void scale_logistics(double *sums, int n)
{
	double total = 0;

	for (int i = 0; i < n; i++) {
		sums[i] = output_logistic(sums[i]);
		total += sums[i];
	}
	for (int i = 0; i < n; i++)
		sums[i] = total > 0 ? sums[i] / total : 1.0 / n;
}

static void put_classes(const double *shares, int label, const struct manifest *manifest,
			const struct model_batch *batch, size_t i)
{
	size_t n = (size_t)manifest->classes_n;

	batch->results[i] = manifest->output == MANIFEST_BINARY ? shares[1] : label;
	if (batch->labels)
		batch->labels[i] = label;
	if (batch->probabilities)
		memcpy(batch->probabilities + i * n, shares, n * sizeof(*shares));
}

static int likeliest(const double *values, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (values[i] > values[best])
			best = i;
	return best;
}

void output_put(enum output_link link, double *sums, const struct manifest *manifest, const struct model_batch *batch,
		size_t i)
{
	int n = manifest->classes_n, label = 0;
	double two[2];

	switch (link) {
	case OUTPUT_IDENTITY:
		batch->results[i] = sums[0];
		return;
	case OUTPUT_EXP:
		batch->results[i] = exp(sums[0]);
		return;
	case OUTPUT_LOGISTIC:
		label = sums[0] > 0;
		two[1] = output_logistic(sums[0]);
		two[0] = 1 - two[1];
		if (n == 0)
			batch->results[i] = two[1];
		else
			put_classes(two, label, manifest, batch, i);
		return;
	case OUTPUT_SOFTMAX:
		label = likeliest(sums, n); /* before rounding makes two of them equal */
		output_softmax(sums, n);
		break;
	case OUTPUT_OVR:
		label = likeliest(sums, n);
		scale_logistics(sums, n);
		break;
	case OUTPUT_SHARES:
		label = likeliest(sums, n);
		break;
	}
	put_classes(sums, label, manifest, batch, i);
}
