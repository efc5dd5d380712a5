/* numpy's argsort as it was before processors' wide sorts (numpy 1.24, quicksort.cpp): quicksort by the median of
 * three, insertion up to 16, heapsort when it goes too deep. Not stable, and that is the point: where several n-grams
 * are equally frequent at the limit of max_features, scikit-learn keeps those that this order has first. */
#include "model/text_train_impl.h"

enum { SMALL = 15, STACK = 128 };

/* Places left .. right, and how often it may still be parted before the heap takes over. */
struct run {
	uint32_t *left, *right;
	int depth;
};

static inline void swap(uint32_t *a, uint32_t *b)
{
	uint32_t kept = *a;
	*a = *b;
	*b = kept;
}

/* Lets `moved` sink from place i, counted from 1, of the heap a[0 .. n). */
static void sink(const double *v, uint32_t *a, size_t i, size_t n, uint32_t moved)
{
	for (size_t j = 2 * i; j <= n; j = 2 * i) {
		if (j < n && v[a[j - 1]] < v[a[j]])
			j++;
		if (!(v[moved] < v[a[j - 1]]))
			break;
		a[i - 1] = a[j - 1];
		i = j;
	}
	a[i - 1] = moved;
}

static void heapsort_run(const double *v, uint32_t *a, size_t n)
{
	for (size_t l = n / 2; l > 0; l--)
		sink(v, a, l, n, a[l - 1]);
	for (; n > 1; n--) {
		uint32_t moved = a[n - 1];
		a[n - 1] = a[0];
		sink(v, a, 1, n - 1, moved);
	}
}

static void insertion(const double *v, uint32_t *left, uint32_t *right)
{
	for (uint32_t *i = left + 1; i <= right; i++) {
		uint32_t moved = *i, *j = i;
		for (; j > left && v[moved] < v[j[-1]]; j--)
			*j = j[-1];
		*j = moved;
	}
}

/* Parts left .. right; what is before the place that is returned is not greater than what is behind it. */
static uint32_t *partition(const double *v, uint32_t *left, uint32_t *right)
{
	uint32_t *middle = left + ((right - left) >> 1), *i = left, *j = right - 1;

	if (v[*middle] < v[*left])
		swap(middle, left);
	if (v[*right] < v[*middle])
		swap(right, middle);
	if (v[*middle] < v[*left])
		swap(middle, left);
	double pivot = v[*middle];
	swap(middle, j);
	for (;;) {
		do
			i++;
		while (v[*i] < pivot);
		do
			j--;
		while (pivot < v[*j]);
		if (i >= j)
			break;
		swap(i, j);
	}
	swap(i, right - 1);
	return i;
}

/* Parts a run until it is small; the larger parts wait. */
static struct run part_all(const double *v, struct run run, struct run *stack, int *waiting)
{
	while (run.right - run.left > SMALL) {
		uint32_t *middle = partition(v, run.left, run.right);
		run.depth--;
		struct run larger = run;
		if (middle - run.left < run.right - middle) {
			larger.left = middle + 1;
			run.right = middle - 1;
		} else {
			larger.right = middle - 1;
			run.left = middle + 1;
		}
		stack[(*waiting)++] = larger;
	}
	return run;
}

void text_argsort(const double *keys, uint32_t *order, size_t n)
{
	struct run stack[STACK] = {{0}};
	int waiting = 0;

	if (n < 2)
		return;
	struct run run = {order, order + n - 1, 2 * (63 - __builtin_clzll(n))};
	for (;;) {
		if (run.depth < 0) {
			heapsort_run(keys, run.left, (size_t)(run.right - run.left) + 1);
		} else {
			run = part_all(keys, run, stack, &waiting);
			insertion(keys, run.left, run.right);
		}
		if (waiting == 0)
			return;
		run = stack[--waiting];
	}
}
