/* Every value goes into the buckets from the start; the first ones are kept beside them. */
#include "model/quantiles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double LEAST = 1e-12, MOST = 1e12;

/* log_g of LEAST is -2763.1, of MOST 2763.1, with g = 1.005 / 0.995. */
enum { LOWEST = -2764, HIGHEST = 2764, BUCKETS = HIGHEST - LOWEST + 1 };

struct quantiles {
	int64_t n, zeros;
	double least, most;
	int64_t negative[BUCKETS], positive[BUCKETS];
	double exact[QUANTILES_EXACT];
	bool sorted;
};

struct quantiles *quantiles_new(void)
{
	return calloc(1, sizeof(struct quantiles));
}

void quantiles_free(struct quantiles *quantiles)
{
	free(quantiles);
}

static double log_growth(void)
{
	return log((1 + QUANTILES_ERROR) / (1 - QUANTILES_ERROR));
}

static int bucket_of(double magnitude)
{
	int i = (int)ceil(log(fmin(magnitude, MOST)) / log_growth());

	return (i < LOWEST ? LOWEST : i > HIGHEST ? HIGHEST : i) - LOWEST;
}

static double value_of(int bucket)
{
	double growth = (1 + QUANTILES_ERROR) / (1 - QUANTILES_ERROR);

	return 2 * exp((bucket + LOWEST) * log_growth()) / (growth + 1);
}

void quantiles_add(struct quantiles *quantiles, double value)
{
	double magnitude = fabs(value);

	if (quantiles->n == 0)
		quantiles->least = quantiles->most = value;
	quantiles->least = fmin(quantiles->least, value);
	quantiles->most = fmax(quantiles->most, value);
	if (quantiles->n < QUANTILES_EXACT) {
		quantiles->exact[quantiles->n] = value;
		quantiles->sorted = false;
	}
	quantiles->n++;
	if (magnitude < LEAST)
		quantiles->zeros++;
	else if (value < 0)
		quantiles->negative[bucket_of(magnitude)]++;
	else
		quantiles->positive[bucket_of(magnitude)]++;
}

int64_t quantiles_count(const struct quantiles *quantiles)
{
	return quantiles->n;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* From the most negative to the largest. */
static double sketched(const struct quantiles *quantiles, int64_t rank)
{
	for (int i = BUCKETS - 1; i >= 0; i--)
		if ((rank -= quantiles->negative[i]) <= 0)
			return -value_of(i);
	if ((rank -= quantiles->zeros) <= 0)
		return 0.0;
	for (int i = 0; i < BUCKETS; i++)
		if ((rank -= quantiles->positive[i]) <= 0)
			return value_of(i);
	return quantiles->most;
}

double quantiles_at(struct quantiles *quantiles, double q)
{
	int64_t rank = (int64_t)ceil(q * (double)quantiles->n);

	if (quantiles->n == 0)
		return (double)NAN;
	if (rank <= 1)
		return quantiles->least;
	if (rank >= quantiles->n)
		return quantiles->most;
	if (quantiles->n > QUANTILES_EXACT)
		return fmin(fmax(sketched(quantiles, rank), quantiles->least), quantiles->most);
	if (!quantiles->sorted)
		qsort(quantiles->exact, (size_t)quantiles->n, sizeof(double), compare);
	quantiles->sorted = true;
	return quantiles->exact[rank - 1];
}

/* What lies below x of a bucket from `low` to `high`, as if its values were spread evenly. */
static double part_below(int64_t n, double low, double high, double x)
{
	return (double)n * fmin(fmax((x - low) / (high - low), 0.0), 1.0);
}

/* How many values but zeros are less than x. */
static int64_t below(const struct quantiles *quantiles, double x)
{
	double sum = 0.0, growth = exp(log_growth());
	int64_t n = 0;

	if (quantiles->n <= QUANTILES_EXACT) {
		for (int64_t i = 0; i < quantiles->n; i++)
			n += fabs(quantiles->exact[i]) >= LEAST && quantiles->exact[i] < x;
		return n;
	}
	if (isinf(x))
		return x > 0 ? quantiles->n - quantiles->zeros : 0;
	for (int i = 0; i < BUCKETS; i++) {
		if (quantiles->negative[i] == 0 && quantiles->positive[i] == 0)
			continue;
		double high = exp((i + LOWEST) * log_growth()), low = high / growth;
		sum += part_below(quantiles->negative[i], -high, -low, x) +
		       part_below(quantiles->positive[i], low, high, x);
	}
	return llround(sum);
}

int64_t quantiles_between(const struct quantiles *quantiles, double low, double high)
{
	return below(quantiles, high) - below(quantiles, low);
}

int64_t quantiles_zeros(const struct quantiles *quantiles)
{
	return quantiles->zeros;
}
