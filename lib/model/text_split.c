/* numpy's RandomState(seed).permutation(n), which scikit-learn's ShuffleSplit takes: the Mersenne Twister MT19937 (M.
 * Matsumoto, T. Nishimura, "Mersenne Twister", ACM TOMACS 8, 1998) behind a shuffle from the last place to the second
 * (Durstenfeld), each place drawn under a mask until it fits. */
#include "model/text_corpus.h"

#include <math.h>

enum { STATE = 624, SHIFT = 397 };

struct twister {
	uint32_t state[STATE];
	int at;
};

static void seed_twister(struct twister *twister, uint32_t seed)
{
	for (uint32_t i = 0; i < STATE; i++) {
		twister->state[i] = seed;
		seed = UINT32_C(1812433253) * (seed ^ seed >> 30) + i + 1;
	}
	twister->at = STATE;
}

static void renew(struct twister *twister)
{
	uint32_t *s = twister->state;

	for (int i = 0; i < STATE; i++) {
		uint32_t y = (s[i] & UINT32_C(0x80000000)) | (s[(i + 1) % STATE] & UINT32_C(0x7FFFFFFF));
		s[i] = s[(i + SHIFT) % STATE] ^ y >> 1 ^ (y & 1 ? UINT32_C(0x9908B0DF) : 0);
	}
	twister->at = 0;
}

static uint32_t draw(struct twister *twister)
{
	if (twister->at == STATE)
		renew(twister);
	uint32_t y = twister->state[twister->at++];
	y ^= y >> 11;
	y ^= y << 7 & UINT32_C(0x9D2C5680);
	y ^= y << 15 & UINT32_C(0xEFC60000);
	return y ^ y >> 18;
}

/* 0 to max, which is at most 2^32 - 1. */
static size_t draw_to(struct twister *twister, size_t max)
{
	uint32_t mask = UINT32_MAX >> __builtin_clz((unsigned)max | 1), value;

	do
		value = draw(twister) & mask;
	while (value > max);
	return value;
}

void text_split(size_t n, double share, uint32_t seed, size_t *order, size_t *test_n)
{
	struct twister twister;

	for (size_t i = 0; i < n; i++)
		order[i] = i;
	*test_n = (size_t)ceil(share * (double)n);
	if (*test_n == 0)
		return;
	seed_twister(&twister, seed);
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = draw_to(&twister, i), kept = order[i];
		order[i] = order[j];
		order[j] = kept;
	}
}
