/* The evaluator: rows to keys, blocks of trees walked side by side, leaves summed in order. trees_impl.h has the layout
 * and why it is so. */
#include "model/trees_impl.h"

#include <stdlib.h>

#ifdef __has_feature
#define SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
#ifdef __x86_64__
#define CARRY !SANITIZED
#else
#define CARRY 0
#endif

enum {
	TILE_ROWS = 64,        /* rows that go through a block before the next block's nodes push it out of the cache */
	TILE_BYTES = 24 * 1024 /* of their keys, which stay in the first cache */
};

/* Walks n rows through a block. words gets TREES_LANES leaves' words for each; or, where there is one sum of floats,
 * they are added to sums. */
typedef void walk(const struct trees *trees, const struct trees_block *block, const uint32_t *keys, size_t n,
		  uint32_t *words, float *sums);

static size_t slots_of(const struct trees *trees)
{
	return TREES_SLOTS_FIRST + 2 * (size_t)trees->used_n;
}

static size_t tile_rows(const struct trees *trees, size_t n)
{
	size_t rows = TILE_BYTES / (slots_of(trees) * sizeof(uint32_t));

	rows = rows < 1 ? 1 : rows > TILE_ROWS ? TILE_ROWS : rows;
	return n < rows ? n : rows;
}

size_t trees_scratch_bytes(const struct trees *trees, size_t n)
{
	return tile_rows(trees, n) * (slots_of(trees) + TREES_LANES) * sizeof(uint32_t);
}

/* One row's keys; returns where the next row's begin. */
static uint32_t *put_keys(const struct trees *trees, const double *row, uint32_t *keys)
{
	keys[TREES_SLOT_LEFT] = 0;
	keys[TREES_SLOT_RIGHT] = UINT32_MAX;
	keys += TREES_SLOTS_FIRST;
	for (int i = 0; i < trees->used_n; i++) {
		float value = (float)row[trees->features[i]];
		uint32_t key = trees_key(value);
		bool missing = value != value;
		*keys++ = missing ? 0 : key;
		*keys++ = missing ? UINT32_MAX : key;
	}
	return keys;
}

static float float_of(uint32_t word)
{
	float value;

	memcpy(&value, &word, sizeof(value));
	return value;
}

/* 2 * i + (key < the node's). Compilers make it seven instructions; with the carry of the comparison it is four, and
 * their number is what a walk is bound by. Sanitizers see through C only. */
static inline size_t step_complete(const uint32_t *nodes, const uint16_t *ways, const uint32_t *keys, size_t i)
{
#if CARRY
	__asm__("cmpl %[node], %[key]\n\tadcq %[i], %[i]"
		: [i] "+r"(i)
		: [key] "r"(keys[ways[i]]), [node] "m"(nodes[i])
		: "cc");
	return i;
#else
	return 2 * i + (keys[ways[i]] < nodes[i]);
#endif
}

/* Eight variables instead of an array: they live in registers. */
static inline __attribute__((always_inline)) void walk_complete(const struct trees *trees,
								const struct trees_block *block, unsigned depth,
								const uint32_t *keys, size_t n, uint32_t *words,
								float *sums, bool floats)
{
	const size_t width = (size_t)1 << depth, stride = slots_of(trees);
	const uint32_t *nodes = (const uint32_t *)(trees->nodes + block->at);
	const uint32_t *leaves = nodes + TREES_LANES * width - width; /* walks end at width and above */
	const uint16_t *ways = (const uint16_t *)(nodes + (size_t)2 * TREES_LANES * width);

	for (size_t row = 0; row < n; row++, keys += stride, words += TREES_LANES) {
		size_t a = 1, b = 1, c = 1, d = 1, e = 1, f = 1, g = 1, h = 1;
		for (unsigned level = 0; level < depth; level++) {
			a = step_complete(nodes, ways, keys, a);
			b = step_complete(nodes + width, ways + width, keys, b);
			c = step_complete(nodes + 2 * width, ways + 2 * width, keys, c);
			d = step_complete(nodes + 3 * width, ways + 3 * width, keys, d);
			e = step_complete(nodes + 4 * width, ways + 4 * width, keys, e);
			f = step_complete(nodes + 5 * width, ways + 5 * width, keys, f);
			g = step_complete(nodes + 6 * width, ways + 6 * width, keys, g);
			h = step_complete(nodes + 7 * width, ways + 7 * width, keys, h);
		}
		const uint32_t found[TREES_LANES] = {
			leaves[a],
			leaves[width + b],
			leaves[2 * width + c],
			leaves[3 * width + d],
			leaves[4 * width + e],
			leaves[5 * width + f],
			leaves[6 * width + g],
			leaves[7 * width + h],
		};
		if (floats)
			sums[row] = sums[row] + float_of(found[0]) + float_of(found[1]) + float_of(found[2]) +
				    float_of(found[3]) + float_of(found[4]) + float_of(found[5]) + float_of(found[6]) +
				    float_of(found[7]);
		else
			memcpy(words, found, sizeof(found));
	}
}

/* With the depth known to the compiler, places in the block are constants of the instructions. */
#define WALKS_OF_DEPTH(known)                                                                                          \
	static void words_##known(const struct trees *trees, const struct trees_block *block, const uint32_t *keys,    \
				  size_t n, uint32_t *words, float *sums)                                              \
	{                                                                                                              \
		walk_complete(trees, block, known, keys, n, words, sums, false);                                       \
	}                                                                                                              \
	static void floats_##known(const struct trees *trees, const struct trees_block *block, const uint32_t *keys,   \
				   size_t n, uint32_t *words, float *sums)                                             \
	{                                                                                                              \
		walk_complete(trees, block, known, keys, n, words, sums, true);                                        \
	}
WALKS_OF_DEPTH(0)
WALKS_OF_DEPTH(1)
WALKS_OF_DEPTH(2)
WALKS_OF_DEPTH(3)
WALKS_OF_DEPTH(4)
WALKS_OF_DEPTH(5)
WALKS_OF_DEPTH(6)
WALKS_OF_DEPTH(7)
WALKS_OF_DEPTH(8)
WALKS_OF_DEPTH(9)
WALKS_OF_DEPTH(10)

static walk *const WORDS[] = {words_0, words_1, words_2, words_3, words_4, words_5,
			      words_6, words_7, words_8, words_9, words_10};
static walk *const FLOATS[] = {floats_0, floats_1, floats_2, floats_3, floats_4, floats_5,
			       floats_6, floats_7, floats_8, floats_9, floats_10};
_Static_assert(sizeof(WORDS) / sizeof(WORDS[0]) == TREES_COMPLETE_DEPTH_MAX + 1, "a walk for every depth");
_Static_assert(sizeof(FLOATS) / sizeof(FLOATS[0]) == TREES_COMPLETE_DEPTH_MAX + 1, "a walk for every depth");

static inline size_t step_linked(const struct trees_node *nodes, const uint32_t *keys, unsigned bits, size_t i)
{
	uint32_t way = nodes[i].way, mask = (1u << bits) - 1;

	return 2 * (size_t)(way >> bits) + (keys[way & mask] >= nodes[i].key);
}

/* Deep trees are seldom as deep as their deepest leaf: after some levels it pays to ask whether all have arrived. */
enum { LINKED_LEVELS = 4 };

static void walk_linked(const struct trees *trees, const struct trees_block *block, const uint32_t *keys, size_t n,
			uint32_t *words)
{
	const struct trees_node *nodes = trees->nodes + block->at;
	const unsigned bits = trees->slot_bits;
	const size_t stride = slots_of(trees);

	for (; n > 0; n--, keys += stride, words += TREES_LANES) {
		size_t at[TREES_LANES] = {0, 1, 2, 3, 4, 5, 6, 7};
		for (unsigned level = 0; level < block->depth; level += LINKED_LEVELS) {
			size_t moved = 0;
			for (int k = 0; k < TREES_LANES; k++) {
				size_t i = at[k];
				i = step_linked(nodes, keys, bits, i);
				i = step_linked(nodes, keys, bits, i);
				i = step_linked(nodes, keys, bits, i);
				at[k] = step_linked(nodes, keys, bits, i);
				moved |= at[k] ^ i;
			}
			if (!moved)
				break;
		}
		for (int k = 0; k < TREES_LANES; k++)
			words[k] = nodes[at[k]].key - 1;
	}
}

static void add_floats(const struct trees *trees, const struct trees_block *block, const uint32_t *words, size_t n,
		       float *sums)
{
	const size_t outputs = (size_t)trees->shape.outputs_n;

	for (; n > 0; n--, words += TREES_LANES, sums += outputs) {
		if (outputs > 1) {
			for (int k = 0; k < block->trees_n; k++)
				sums[block->outputs[k]] += float_of(words[k]);
		} else {
			float sum = *sums;
			for (int k = 0; k < block->trees_n; k++)
				sum += float_of(words[k]);
			*sums = sum;
		}
	}
}

static void add_doubles(const struct trees *trees, const struct trees_block *block, const uint32_t *words, size_t n,
			double *sums)
{
	const size_t outputs = (size_t)trees->shape.outputs_n;

	for (; n > 0; n--, words += TREES_LANES, sums += outputs)
		for (int k = 0; k < block->trees_n; k++) {
			if (!trees->shape.vectors) {
				sums[block->outputs[k]] += trees->values[words[k]];
				continue;
			}
			const double *values = trees->values + words[k] * outputs;
			for (size_t i = 0; i < outputs; i++)
				sums[i] += values[i];
		}
}

/* The keys of `n` rows through one block. */
static void sum_block(const struct trees *trees, const struct trees_block *block, const uint32_t *keys, size_t n,
		      uint32_t *words, float *floats, double *doubles)
{
	if (block->complete && floats && trees->shape.outputs_n == 1) {
		FLOATS[block->depth](trees, block, keys, n, words, floats);
		return;
	}
	if (block->complete)
		WORDS[block->depth](trees, block, keys, n, words, floats);
	else
		walk_linked(trees, block, keys, n, words);
	if (floats)
		add_floats(trees, block, words, n, floats);
	else if (doubles)
		add_doubles(trees, block, words, n, doubles);
}

static void sum(const struct trees *trees, const double *rows, size_t n, float *floats, double *doubles, void *scratch)
{
	const size_t tile = tile_rows(trees, n), outputs = (size_t)trees->shape.outputs_n;
	uint32_t *words = scratch, *keys = words + tile * TREES_LANES;

	for (size_t done = 0; done < n; done += tile) {
		size_t now = n - done < tile ? n - done : tile;
		uint32_t *next = keys;
		for (size_t i = 0; i < now; i++)
			next = put_keys(trees, rows + (done + i) * (size_t)trees->shape.features_n, next);
		for (int i = 0; i < trees->blocks_n; i++)
			sum_block(trees, &trees->blocks[i], keys, now, words, floats ? floats + done * outputs : NULL,
				  doubles ? doubles + done * outputs : NULL);
	}
}

void trees_sum_floats(const struct trees *trees, const double *rows, size_t n, float *sums, void *scratch)
{
	sum(trees, rows, n, sums, NULL, scratch);
}

void trees_sum_doubles(const struct trees *trees, const double *rows, size_t n, double *sums, void *scratch)
{
	sum(trees, rows, n, NULL, sums, scratch);
}

int trees_count(const struct trees *trees)
{
	return trees->trees_n;
}

size_t trees_bytes(const struct trees *trees)
{
	return trees->bytes;
}

void trees_free(struct trees *trees)
{
	if (!trees)
		return;
	free(trees->blocks);
	free(trees->nodes);
	free(trees->values);
	free(trees->features);
	free(trees);
}
