/* The evaluator: rows to keys, blocks of trees walked side by side, leaves summed in order. trees_impl.h has the layout
 * and why it is so. */
#include "model/trees_impl.h"

#include <stdlib.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

enum {
	TILE_ROWS = 64,        /* rows that go through a block before the next block's nodes push it out of the cache */
	TILE_BYTES = 24 * 1024 /* of their keys, which stay in the first cache */
};

/* Walks n rows through a block; words gets TREES_LANES leaves' words for each. */
typedef void walk(const struct trees *trees, const struct trees_node *nodes, unsigned depth, const uint32_t *keys,
		  size_t n, uint32_t *words);

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

/* 2 * i + (key < the node's). The compiler makes it seven instructions; with the carry of a subtraction it is five, which
 * is what a walk is bound by. */
static inline size_t step_complete(const struct trees_node *nodes, const uint32_t *keys, size_t i)
{
#ifdef __x86_64__
	unsigned difference;
	unsigned long long next;
	unsigned char less = _subborrow_u32(0, keys[nodes[i].way], nodes[i].key, &difference);
	_addcarry_u64(less, i, i, &next);
	return next;
#else
	return 2 * i + (keys[nodes[i].way] < nodes[i].key);
#endif
}

/* Eight variables instead of an array: they live in registers. */
static inline __attribute__((always_inline)) void walk_complete(const struct trees *trees,
								const struct trees_node *nodes, unsigned depth,
								const uint32_t *keys, size_t n, uint32_t *words)
{
	const size_t width = (size_t)1 << depth, stride = slots_of(trees);
	const uint32_t *leaves = (const uint32_t *)(nodes + TREES_LANES * width) - width;

	for (; n > 0; n--, keys += stride, words += TREES_LANES) {
		size_t a = 1, b = 1, c = 1, d = 1, e = 1, f = 1, g = 1, h = 1;
		for (unsigned level = 0; level < depth; level++) {
			a = step_complete(nodes, keys, a);
			b = step_complete(nodes + width, keys, b);
			c = step_complete(nodes + 2 * width, keys, c);
			d = step_complete(nodes + 3 * width, keys, d);
			e = step_complete(nodes + 4 * width, keys, e);
			f = step_complete(nodes + 5 * width, keys, f);
			g = step_complete(nodes + 6 * width, keys, g);
			h = step_complete(nodes + 7 * width, keys, h);
		}
		words[0] = leaves[a];
		words[1] = leaves[width + b];
		words[2] = leaves[2 * width + c];
		words[3] = leaves[3 * width + d];
		words[4] = leaves[4 * width + e];
		words[5] = leaves[5 * width + f];
		words[6] = leaves[6 * width + g];
		words[7] = leaves[7 * width + h];
	}
}

/* With the depth known to the compiler, places in the block are constants of the instructions. */
#define WALK_OF_DEPTH(known)                                                                                           \
	static void walk_##known(const struct trees *trees, const struct trees_node *nodes, unsigned depth,            \
				 const uint32_t *keys, size_t n, uint32_t *words)                                      \
	{                                                                                                              \
		(void)depth;                                                                                           \
		walk_complete(trees, nodes, known, keys, n, words);                                                    \
	}
WALK_OF_DEPTH(0)
WALK_OF_DEPTH(1)
WALK_OF_DEPTH(2)
WALK_OF_DEPTH(3)
WALK_OF_DEPTH(4)
WALK_OF_DEPTH(5)
WALK_OF_DEPTH(6)
WALK_OF_DEPTH(7)
WALK_OF_DEPTH(8)
WALK_OF_DEPTH(9)
WALK_OF_DEPTH(10)

static walk *const WALKS[] = {walk_0, walk_1, walk_2, walk_3, walk_4, walk_5, walk_6, walk_7, walk_8, walk_9, walk_10};
_Static_assert(sizeof(WALKS) / sizeof(WALKS[0]) == TREES_COMPLETE_DEPTH_MAX + 1, "a walk for every depth");

static inline size_t step_linked(const struct trees_node *nodes, const uint32_t *keys, unsigned bits, size_t i)
{
	uint32_t way = nodes[i].way, mask = (1u << bits) - 1;

	return 2 * (size_t)(way >> bits) + (keys[way & mask] >= nodes[i].key);
}

/* Deep trees are seldom as deep as their deepest leaf: after some levels it pays to ask whether all have arrived. */
enum { LINKED_LEVELS = 4 };

static void walk_linked(const struct trees *trees, const struct trees_node *nodes, unsigned depth, const uint32_t *keys,
			size_t n, uint32_t *words)
{
	const unsigned bits = trees->slot_bits;
	const size_t stride = slots_of(trees);

	for (; n > 0; n--, keys += stride, words += TREES_LANES) {
		size_t at[TREES_LANES] = {0, 1, 2, 3, 4, 5, 6, 7};
		for (unsigned level = 0; level < depth; level += LINKED_LEVELS) {
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

static float float_of(uint32_t word)
{
	float value;

	memcpy(&value, &word, sizeof(value));
	return value;
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

static void sum(const struct trees *trees, const double *rows, size_t n, float *floats, double *doubles, void *scratch)
{
	const size_t tile = tile_rows(trees, n), outputs = (size_t)trees->shape.outputs_n;
	uint32_t *words = scratch, *keys = words + tile * TREES_LANES;

	for (size_t done = 0; done < n; done += tile) {
		size_t now = n - done < tile ? n - done : tile;
		uint32_t *next = keys;
		for (size_t i = 0; i < now; i++)
			next = put_keys(trees, rows + (done + i) * (size_t)trees->shape.features_n, next);
		for (int i = 0; i < trees->blocks_n; i++) {
			const struct trees_block *block = &trees->blocks[i];
			walk *run = block->complete ? WALKS[block->depth] : walk_linked;
			run(trees, trees->nodes + block->at, block->depth, keys, now, words);
			if (floats)
				add_floats(trees, block, words, now, floats + done * outputs);
			else
				add_doubles(trees, block, words, now, doubles + done * outputs);
		}
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
