/* What the builder of ensembles and their evaluator share: the layout in memory.
 *
 * Features are compared as integers: a float32's bits, turned so that they sort as unsigned numbers do ("key"). A row
 * becomes an array of keys; each feature that some node asks for has two places ("slots") there, which differ when it
 * is missing: 0, which is less than every threshold's key, and UINT32_MAX, which is not. So a node says with its slot
 * where a missing value goes, and a step is a load, a compare and an add without a branch.
 *
 * Trees stand in blocks of eight that are walked side by side, because each walk alone only waits for memory. In a
 * "complete" block all eight have the block's depth (leaves that are higher up are repeated below), children are found
 * by arithmetic and values stand apart: node i of tree t is nodes[(t << depth) + i], its children are 2i + 1 (left) and
 * 2i, the root is 1. What is deep and sparse is "linked": children stand in pairs, the left one first, and `way` has
 * the number of the pair above the slot. A leaf asks for a slot that leads to itself, so that a walk that has arrived
 * may go on. */
#ifndef APPCORE_MODEL_TREES_IMPL_H
#define APPCORE_MODEL_TREES_IMPL_H

#include "model/trees.h"

#include <string.h>

enum {
	TREES_LANES = 8,
	TREES_COMPLETE_DEPTH_MAX = 10,
	TREES_COMPLETE_SLOTS_MAX = UINT16_MAX,
	TREES_SLOT_LEFT = 0,  /* its key is 0 */
	TREES_SLOT_RIGHT = 1, /* its key is UINT32_MAX */
	TREES_SLOTS_FIRST = 2 /* of the features: two each */
};

/* Of a linked block; a complete one stands in the same array. */
struct trees_node {
	uint32_t key; /* left when the slot's key is less. Of a leaf: its word + 1 */
	uint32_t way; /* pair of children << slot_bits | slot */
};

struct trees_block {
	size_t at; /* of its nodes; 64 bytes aligned */
	uint16_t depth;
	uint8_t trees_n; /* 1 to TREES_LANES */
	bool complete;
	uint16_t outputs[TREES_LANES];
};

/* A leaf's "word" is the bits of its float, or its place in values. */
struct trees {
	struct trees_shape shape;
	int trees_n;
	int blocks_n;
	int used_n;         /* features that are asked for */
	unsigned slot_bits; /* low bits of a linked node's way */
	struct trees_block *blocks;
	struct trees_node *nodes;
	double *values;     /* of leaves, with shape.doubles */
	uint32_t *features; /* used_n: place in a row; feature i has the slots 2 + 2i (missing: left) and 3 + 2i (right)
			     */
	size_t bytes;
};

/* Nodes' worth of memory of a complete block. */
static inline size_t trees_complete_size(unsigned depth)
{
	return ((size_t)TREES_LANES << depth) * (2 * sizeof(uint32_t) + sizeof(uint16_t)) / sizeof(struct trees_node);
}

/* Sorts as the float does, -0 and 0 the same. Not for NaN. */
static inline uint32_t trees_key(float value)
{
	uint32_t bits;

	value += 0.0f; /* -0 becomes 0 */
	memcpy(&bits, &value, sizeof(bits));
	return bits ^ ((0u - (bits >> 31)) | 0x80000000u);
}

#endif
