/* All thresholds in one array, sorted by feature and value, each there once. */
#include "model/forest_ranks.h"

#include <math.h>
#include <stdlib.h>

static const size_t RANKS_MAX = (size_t)1 << 24; /* whole numbers that a float32 holds */

struct threshold {
	int feature;
	double value;
};

struct ranks {
	int features_n;
	size_t n, cap;
	struct threshold *all;
	size_t *from; /* features_n + 1: where each feature's begin in `all` */
};

struct ranks *ranks_new(int features_n)
{
	struct ranks *ranks = calloc(1, sizeof(*ranks));

	if (!ranks)
		return NULL;
	ranks->features_n = features_n;
	ranks->from = calloc((size_t)features_n + 1, sizeof(*ranks->from));
	if (!ranks->from) {
		free(ranks);
		return NULL;
	}
	return ranks;
}

void ranks_free(struct ranks *ranks)
{
	if (!ranks)
		return;
	free(ranks->all);
	free(ranks->from);
	free(ranks);
}

enum status ranks_add(struct ranks *ranks, int feature, double threshold, struct err *err)
{
	if (ranks->n == RANKS_MAX)
		return err_set(err, STATUS_INVALID, "trees: have more than %zu thresholds", RANKS_MAX);
	if (ranks->n == ranks->cap) {
		size_t cap = ranks->cap ? ranks->cap * 2 : 1024;
		struct threshold *all = reallocarray(ranks->all, cap, sizeof(*all));
		if (!all)
			return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
		ranks->all = all;
		ranks->cap = cap;
	}
	ranks->all[ranks->n++] = (struct threshold){feature, threshold};
	return STATUS_OK;
}

static int compare(const void *left, const void *right)
{
	const struct threshold *a = left, *b = right;

	if (a->feature != b->feature)
		return a->feature < b->feature ? -1 : 1;
	return (a->value > b->value) - (a->value < b->value);
}

void ranks_finish(struct ranks *ranks)
{
	size_t kept = 0;

	if (ranks->n > 0)
		qsort(ranks->all, ranks->n, sizeof(*ranks->all), compare);
	for (size_t i = 0; i < ranks->n; i++)
		if (i == 0 || compare(&ranks->all[i], &ranks->all[kept - 1]) != 0)
			ranks->all[kept++] = ranks->all[i];
	ranks->n = kept;
	for (size_t i = 0; i < kept; i++)
		ranks->from[ranks->all[i].feature + 1]++;
	for (int i = 0; i < ranks->features_n; i++)
		ranks->from[i + 1] += ranks->from[i];
}

double ranks_of(const struct ranks *ranks, int feature, double value)
{
	size_t low = ranks->from[feature], high = ranks->from[feature + 1], first = low;

	if (isnan(value))
		return value;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (ranks->all[middle].value < value)
			low = middle + 1;
		else
			high = middle;
	}
	return (double)(low - first);
}

size_t ranks_bytes(const struct ranks *ranks)
{
	return sizeof(*ranks) + ranks->cap * sizeof(*ranks->all) +
	       ((size_t)ranks->features_n + 1) * sizeof(*ranks->from);
}
