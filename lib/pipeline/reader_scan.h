/* Sixty-four bytes at a time: which of them are looked for, as the bits of one word (bit 0 is the first byte). With
 * SSE2, which every x86-64 has, or eight bytes at a time with plain arithmetic. */
#ifndef APPCORE_PIPELINE_READER_SCAN_H
#define APPCORE_PIPELINE_READER_SCAN_H

#include <stdint.h>
#include <string.h>

enum { SCAN_BYTES = 64 };

/* What is looked for: a byte that is one of three. */
struct scan_three {
	char a, b, c;
};

/* The high bit of each byte of `word` that is zero, exactly (no carry runs from one byte into the next). */
static inline uint64_t scan_zero_bytes(uint64_t word)
{
	const uint64_t low = 0x7f7f7f7f7f7f7f7f;

	return ~(((word & low) + low) | word | low);
}

/* The eight high bits of the bytes of `word`, the first byte's as bit 0; all other bits are zero. */
static inline uint64_t scan_gather(uint64_t word)
{
	return ((word >> 7) * 0x0102040810204080) >> 56;
}

static inline uint64_t scan_word(const char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

static inline uint64_t scan_three_plain(const char *p, struct scan_three t)
{
	const uint64_t every = 0x0101010101010101;
	const uint64_t a = every * (unsigned char)t.a, b = every * (unsigned char)t.b, c = every * (unsigned char)t.c;
	uint64_t marks = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t word = scan_word(p + 8 * i);
		uint64_t hits = scan_zero_bytes(word ^ a) | scan_zero_bytes(word ^ b) | scan_zero_bytes(word ^ c);
		marks |= scan_gather(hits) << (8 * i);
	}
	return marks;
}

/* Bytes that are not plain ASCII: NUL, or with the high bit. */
static inline uint64_t scan_odd_plain(const char *p)
{
	uint64_t marks = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t word = scan_word(p + 8 * i);
		uint64_t hits = (scan_zero_bytes(word) | word) & 0x8080808080808080;
		marks |= scan_gather(hits) << (8 * i);
	}
	return marks;
}

#ifdef __SSE2__
#include <emmintrin.h>

static inline __m128i scan_load(const char *p, unsigned i)
{
	return _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
}

static inline uint64_t scan_mask(__m128i hits)
{
	return (uint64_t)(unsigned)_mm_movemask_epi8(hits);
}

static inline uint64_t scan_three(const char *p, struct scan_three t)
{
	const __m128i a = _mm_set1_epi8(t.a), b = _mm_set1_epi8(t.b), c = _mm_set1_epi8(t.c);
	uint64_t marks = 0;

	for (unsigned i = 0; i < 4; i++) {
		__m128i v = scan_load(p, i);
		__m128i hits = _mm_or_si128(_mm_cmpeq_epi8(v, a), _mm_cmpeq_epi8(v, b));
		marks |= scan_mask(_mm_or_si128(hits, _mm_cmpeq_epi8(v, c))) << (16 * i);
	}
	return marks;
}

static inline uint64_t scan_odd(const char *p)
{
	const __m128i zero = _mm_setzero_si128();
	uint64_t marks = 0;

	for (unsigned i = 0; i < 4; i++) {
		__m128i v = scan_load(p, i);
		marks |= scan_mask(_mm_or_si128(v, _mm_cmpeq_epi8(v, zero))) << (16 * i);
	}
	return marks;
}
#else
#define scan_three scan_three_plain
#define scan_odd   scan_odd_plain
#endif

/* The bits of the first `n` bytes. */
static inline uint64_t scan_first(size_t n)
{
	return n >= SCAN_BYTES ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

#endif
