/* The hash of n-grams: fast on a few bytes, and keyed, so that nobody can choose what collides. */
#ifndef APPCORE_MODEL_TEXT_HASH_H
#define APPCORE_MODEL_TEXT_HASH_H

#include "base/str.h"

static inline uint64_t text_load64(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static inline uint64_t text_load32(const char *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/* Both halves of the product: "wyhash" (Wang Yi) is built of this step. */
static inline uint64_t text_fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* key[1] is odd. */
static inline uint64_t text_hash(const uint64_t key[2], struct str s)
{
	uint64_t h = key[0] ^ s.n, last;
	const char *p = s.p;
	size_t n = s.n;

	for (; n > 8; p += 8, n -= 8)
		h = text_fold(h ^ text_load64(p), key[1]);
	if (s.n >= 8)
		last = text_load64(s.p + s.n - 8);
	else if (n >= 4)
		last = text_load32(p) << 32 | text_load32(p + n - 4);
	else
		last = n ? (uint64_t)(unsigned char)p[0] << 16 | (uint64_t)(unsigned char)p[n / 2] << 8 |
				       (unsigned char)p[n - 1]
			 : 0;
	return text_fold(h ^ last, key[1] ^ UINT64_C(0x9E3779B97F4A7C15));
}

#endif
