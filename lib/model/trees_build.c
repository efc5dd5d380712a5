/* Builds ensembles: trees are checked and gathered level by level in a plain form; when all are there, it is known
 * which features they ask for, and blocks are laid out as trees_impl.h has it.
 *
 * What a block takes is bounded by what its trees have: it is complete only where that takes no more than four times
 * the memory of linked nodes (32 bytes a node that the file has some 90 bytes for). */
#include "model/trees_impl.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

enum { ALIGNMENT = 64, ALIGNED_NODES = ALIGNMENT / sizeof(struct trees_node), COMPLETE_COST_MAX = 4 };

/* Node r's children are r->left and r->left + 1. */
struct plain_node {
	uint32_t key; /* a leaf's: its word */
	uint32_t ask; /* 2 * feature + 1 where missing goes right, or LEAF */
	uint32_t left;
};

#define LEAF UINT32_MAX

struct plain_tree {
	size_t first; /* of its nodes; the root */
	uint32_t nodes_n;
	uint16_t depth;
	uint16_t output;
};

struct trees_builder {
	struct trees_shape shape;
	struct plain_node *nodes;
	size_t nodes_n, nodes_cap;
	struct plain_tree *trees;
	size_t trees_n, trees_cap;
	double *values; /* shape.doubles: as many for each leaf as the shape says */
	size_t values_n, values_cap;
	uint32_t *queue; /* places in the caller's tree, in the order of nodes */
	size_t queue_cap;
	uint8_t *reached; /* in the caller's tree */
	size_t reached_cap;
};

/* Makes room for `more` further elements, doubling. */
static bool reserve(void *array, size_t size, size_t used, size_t *cap, size_t more)
{
	void *old, *grown;

	if (more <= *cap - used)
		return true;
	if (more > SIZE_MAX / size / 4 - used)
		return false;
	size_t wanted = used + more > *cap * 2 ? used + more : *cap * 2;
	memcpy(&old, array, sizeof(old));
	grown = realloc(old, wanted * size);
	if (!grown)
		return false;
	memcpy(array, &grown, sizeof(grown));
	*cap = wanted;
	/* cppcheck-suppress memleak; *array has it */
	return true;
}

enum status trees_builder_new(struct trees_builder **out, const struct trees_shape *shape, struct err *err)
{
	if (shape->features_n < 1 || shape->features_n > TREES_FEATURES_MAX)
		return err_set(err, STATUS_INVALID, "Trees take 1 to %d features, not %d", TREES_FEATURES_MAX,
			       shape->features_n);
	if (shape->outputs_n < 1 || shape->outputs_n > TREES_OUTPUTS_MAX || (shape->vectors && !shape->doubles))
		return err_set(err, STATUS_INVALID, "Trees have 1 to %d outputs, not %d", TREES_OUTPUTS_MAX,
			       shape->outputs_n);
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return err_set(err, STATUS_NO_MEMORY, "no memory for trees");
	(*out)->shape = *shape;
	return STATUS_OK;
}

void trees_builder_free(struct trees_builder *builder)
{
	if (!builder)
		return;
	free(builder->nodes);
	free(builder->trees);
	free(builder->values);
	free(builder->queue);
	free(builder->reached);
	free(builder);
}

/* The least float above `at_most`: a float is less than it when it is at most at_most. */
static float least_above(double at_most)
{
	float value = (float)at_most;

	if ((double)value > at_most)
		value = nextafterf(value, -HUGE_VALF);
	return nextafterf(value, HUGE_VALF);
}

static enum status refuse(const struct trees_builder *builder, uint32_t node, struct err *err, const char *why)
{
	return err_set(err, STATUS_INVALID, "Tree %zu, node %u: %s", builder->trees_n, (unsigned)node, why);
}

static enum status take_leaf(struct trees_builder *builder, const struct trees_tree *tree, uint32_t node,
			     struct plain_node *out, struct err *err)
{
	const size_t n = builder->shape.vectors ? (size_t)builder->shape.outputs_n : 1;

	out->ask = LEAF;
	if (!builder->shape.doubles) {
		if (!isfinite(tree->floats[node]))
			return refuse(builder, node, err, "its value is not finite");
		memcpy(&out->key, &tree->floats[node], sizeof(out->key));
		return STATUS_OK;
	}
	if (!reserve(&builder->values, sizeof(double), builder->values_n, &builder->values_cap, n) ||
	    builder->values_n / n >= UINT32_MAX - 1)
		return err_set(err, STATUS_NO_MEMORY, "no memory for the leaves of tree %zu", builder->trees_n);
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(tree->doubles[node * n + i]))
			return refuse(builder, node, err, "its value is not finite");
		builder->values[builder->values_n + i] = tree->doubles[node * n + i];
	}
	out->key = (uint32_t)(builder->values_n / n);
	builder->values_n += n;
	return STATUS_OK;
}

/* An inner node's test; its children go to the queue. */
static enum status take_inner(struct trees_builder *builder, const struct trees_tree *tree, uint32_t node,
			      struct plain_node *out, uint32_t *queued, struct err *err)
{
	const int32_t children[] = {tree->left[node], tree->right[node]};
	const int32_t feature = tree->feature[node];

	if (feature < 0 || feature >= builder->shape.features_n)
		return refuse(builder, node, err, "its feature is not there");
	if (!isfinite(tree->less_than ? tree->less_than[node] : tree->at_most[node]))
		return refuse(builder, node, err, "its threshold is not a finite number");
	out->key = trees_key(tree->less_than ? tree->less_than[node] : least_above(tree->at_most[node]));
	out->ask = 2 * (uint32_t)feature + (tree->missing_left ? !tree->missing_left[node] : 1);
	out->left = *queued;
	for (int i = 0; i < 2; i++) {
		if (children[i] < 0 || (uint32_t)children[i] >= tree->nodes_n)
			return refuse(builder, node, err, "a child is not there");
		if (builder->reached[children[i]])
			return refuse(builder, node, err, "a child is reached twice");
		builder->reached[children[i]] = 1;
		builder->queue[(*queued)++] = (uint32_t)children[i];
	}
	return STATUS_OK;
}

static enum status check_tree(const struct trees_builder *builder, const struct trees_tree *tree, struct err *err)
{
	if (tree->nodes_n < 1 || tree->nodes_n > INT32_MAX)
		return err_set(err, STATUS_INVALID, "Tree %zu has no nodes, or too many", builder->trees_n);
	if (builder->trees_n >= TREES_COUNT_MAX)
		return err_set(err, STATUS_INVALID, "There are more than %d trees", TREES_COUNT_MAX);
	if (tree->output < 0 || tree->output >= builder->shape.outputs_n)
		return err_set(err, STATUS_INVALID, "Tree %zu: there is no output %d", builder->trees_n, tree->output);
	return STATUS_OK;
}

enum status trees_add(struct trees_builder *builder, const struct trees_tree *tree, struct err *err)
{
	enum status status = check_tree(builder, tree, err);
	size_t n = tree->nodes_n;

	if (status != STATUS_OK)
		return status;
	if (!reserve(&builder->queue, sizeof(uint32_t), 0, &builder->queue_cap, n) ||
	    !reserve(&builder->reached, 1, 0, &builder->reached_cap, n) ||
	    !reserve(&builder->nodes, sizeof(struct plain_node), builder->nodes_n, &builder->nodes_cap, n) ||
	    !reserve(&builder->trees, sizeof(struct plain_tree), builder->trees_n, &builder->trees_cap, 1))
		return err_set(err, STATUS_NO_MEMORY, "no memory for tree %zu", builder->trees_n);
	memset(builder->reached, 0, n);

	struct plain_node *nodes = builder->nodes + builder->nodes_n;
	uint32_t queued = 1, level_end = 1, depth = 0;
	builder->queue[0] = 0;
	builder->reached[0] = 1;
	for (uint32_t i = 0; status == STATUS_OK && i < queued; i++) {
		uint32_t node = builder->queue[i];
		if (i == level_end) {
			level_end = queued;
			if (++depth > TREES_DEPTH_MAX)
				return refuse(builder, node, err, "it is too deep");
		}
		if (tree->left[node] == -1 && tree->right[node] == -1)
			status = take_leaf(builder, tree, node, &nodes[i], err);
		else
			status = take_inner(builder, tree, node, &nodes[i], &queued, err);
	}
	if (status != STATUS_OK)
		return status;
	builder->trees[builder->trees_n++] = (struct plain_tree){builder->nodes_n, queued, (uint16_t)depth,
								 (uint16_t)tree->output};
	builder->nodes_n += queued;
	return STATUS_OK;
}

/* The block that begins with tree `first`, and the nodes that it takes. */
static enum status plan_block(const struct trees_builder *builder, size_t first, unsigned slot_bits,
			      struct trees_block *block, size_t *nodes_n, struct err *err)
{
	const uint64_t places = UINT64_C(2) << (32 - slot_bits);
	size_t linked = TREES_LANES;

	block->trees_n = 0;
	block->depth = 0;
	while (block->trees_n < TREES_LANES && first + block->trees_n < builder->trees_n) {
		const struct plain_tree *tree = &builder->trees[first + block->trees_n];
		if (linked + tree->nodes_n > places)
			break;
		linked += tree->nodes_n - 1;
		if (tree->depth > block->depth)
			block->depth = tree->depth;
		block->outputs[block->trees_n++] = tree->output;
	}
	if (block->trees_n == 0)
		return err_set(err, STATUS_INVALID, "Tree %zu has too many nodes for so many features", first);
	*nodes_n = linked;
	block->complete = false;
	if (block->depth <= TREES_COMPLETE_DEPTH_MAX && UINT64_C(1) << slot_bits <= TREES_COMPLETE_SLOTS_MAX) {
		size_t complete = trees_complete_size(block->depth);
		block->complete = complete <= COMPLETE_COST_MAX * linked;
		if (block->complete)
			*nodes_n = complete;
	}
	*nodes_n = (*nodes_n + ALIGNED_NODES - 1) / ALIGNED_NODES * ALIGNED_NODES;
	return STATUS_OK;
}

static void fill_complete(const struct plain_node *plain, const uint32_t *slots, unsigned depth, uint32_t *keys,
			  uint32_t *leaves, uint16_t *ways)
{
	uint32_t from[2 << TREES_COMPLETE_DEPTH_MAX]; /* the plain node that stands at a place */
	const size_t width = (size_t)1 << depth;

	from[1] = 0;
	for (size_t i = 1; i < width; i++) {
		const struct plain_node *node = &plain[from[i]];
		bool leaf = node->ask == LEAF;
		from[2 * i + 1] = leaf ? from[i] : node->left;
		from[2 * i] = leaf ? from[i] : node->left + 1;
		keys[i] = leaf ? 0 : node->key;
		ways[i] = leaf ? TREES_SLOT_LEFT : (uint16_t)slots[node->ask];
	}
	for (size_t i = 0; i < width; i++)
		leaves[i] = plain[from[width + i]].key;
}

/* Node 0 goes to nodes[lane], the others from nodes[next] on. Next is even, so are the places of left children. */
static void fill_linked(const struct plain_tree *tree, const struct plain_node *plain, const uint32_t *slots,
			unsigned slot_bits, struct trees_node *nodes, size_t lane, size_t next)
{
	for (uint32_t i = 0; i < tree->nodes_n; i++) {
		size_t at = i == 0 ? lane : next + i - 1;
		if (plain[i].ask == LEAF) {
			nodes[at].key = plain[i].key + 1;
			nodes[at].way = (uint32_t)(at / 2) << slot_bits | (at % 2 ? TREES_SLOT_RIGHT : TREES_SLOT_LEFT);
		} else {
			nodes[at].key = plain[i].key;
			nodes[at].way = (uint32_t)((next + plain[i].left - 1) / 2) << slot_bits | slots[plain[i].ask];
		}
	}
}

/* Places without a tree, in the last block, have a leaf: -0, which changes no sum. */
static void fill_block(const struct trees_builder *builder, const uint32_t *slots, size_t first, struct trees *trees,
		       const struct trees_block *block)
{
	static const struct plain_node none = {.ask = LEAF, .key = 0x80000000u};
	static const struct plain_tree one = {.nodes_n = 1};
	struct trees_node *nodes = trees->nodes + block->at;
	const size_t width = (size_t)1 << (block->complete ? block->depth : 0);
	uint32_t *keys = (uint32_t *)nodes, *leaves = keys + TREES_LANES * width;
	uint16_t *ways = (uint16_t *)(leaves + TREES_LANES * width);
	size_t next = TREES_LANES;

	for (size_t k = 0; k < TREES_LANES; k++) {
		bool there = k < block->trees_n;
		const struct plain_tree *tree = there ? &builder->trees[first + k] : &one;
		const struct plain_node *plain = there ? builder->nodes + tree->first : &none;
		if (block->complete) {
			fill_complete(plain, slots, block->depth, keys + k * width, leaves + k * width,
				      ways + k * width);
		} else {
			fill_linked(tree, plain, slots, trees->slot_bits, nodes, k, next);
			next += tree->nodes_n - 1;
		}
	}
}

/* Numbers the features that are asked for; slots has the slot of each ask. */
static enum status find_features(const struct trees_builder *builder, struct trees *trees, uint32_t *slots)
{
	const size_t n = (size_t)builder->shape.features_n;

	for (size_t i = 0; i < builder->nodes_n; i++)
		if (builder->nodes[i].ask != LEAF)
			slots[builder->nodes[i].ask | 1] = 1;
	for (size_t i = 0; i < n; i++)
		trees->used_n += slots[2 * i + 1] != 0;
	trees->features = calloc((size_t)trees->used_n + 1, sizeof(*trees->features));
	if (!trees->features)
		return STATUS_NO_MEMORY;
	uint32_t used = 0;
	for (size_t i = 0; i < n; i++) {
		if (!slots[2 * i + 1])
			continue;
		trees->features[used] = (uint32_t)i;
		slots[2 * i] = TREES_SLOTS_FIRST + 2 * used;
		slots[2 * i + 1] = slots[2 * i] + 1;
		used++;
	}
	while ((UINT64_C(1) << trees->slot_bits) < TREES_SLOTS_FIRST + 2 * (uint64_t)used)
		trees->slot_bits++;
	return STATUS_OK;
}

static enum status plan(const struct trees_builder *builder, struct trees *trees, size_t *nodes_n, struct err *err)
{
	struct trees_block block;
	size_t size = 0;

	for (size_t first = 0; first < builder->trees_n; first += block.trees_n) {
		enum status status = plan_block(builder, first, trees->slot_bits, &block, &size, err);
		if (status != STATUS_OK)
			return status;
		trees->blocks_n++;
		*nodes_n += size;
	}
	trees->blocks = calloc((size_t)trees->blocks_n, sizeof(*trees->blocks));
	trees->nodes = aligned_alloc(ALIGNMENT, *nodes_n * sizeof(*trees->nodes));
	trees->values = malloc(builder->values_n * sizeof(double) + 1);
	if (!trees->blocks || !trees->nodes || !trees->values)
		return err_set(err, STATUS_NO_MEMORY, "no memory for the trees' nodes");
	memset(trees->nodes, 0, *nodes_n * sizeof(*trees->nodes));
	if (builder->values_n > 0)
		memcpy(trees->values, builder->values, builder->values_n * sizeof(double));
	return STATUS_OK;
}

static enum status lay_out(const struct trees_builder *builder, struct trees *trees, const uint32_t *slots,
			   struct err *err)
{
	size_t nodes_n = 0, at = 0, first = 0, size = 0;
	enum status status = plan(builder, trees, &nodes_n, err);

	for (int i = 0; status == STATUS_OK && trees->blocks && i < trees->blocks_n; i++) {
		struct trees_block *block = &trees->blocks[i];
		status = plan_block(builder, first, trees->slot_bits, block, &size, err);
		if (status != STATUS_OK)
			break;
		block->at = at;
		fill_block(builder, slots, first, trees, block);
		at += size;
		first += block->trees_n;
	}
	trees->bytes = sizeof(*trees) + (size_t)trees->blocks_n * sizeof(*trees->blocks) +
		       nodes_n * sizeof(*trees->nodes) + builder->values_n * sizeof(double) +
		       (size_t)trees->used_n * sizeof(*trees->features);
	return status;
}

enum status trees_finish(struct trees_builder *builder, struct trees **out, struct err *err)
{
	struct trees *trees = calloc(1, sizeof(*trees));
	uint32_t *slots = calloc(2 * (size_t)builder->shape.features_n, sizeof(*slots));
	enum status status;

	*out = NULL;
	if (!trees || !slots || builder->trees_n == 0) {
		status = builder->trees_n == 0 ? err_set(err, STATUS_INVALID, "There are no trees")
					       : err_set(err, STATUS_NO_MEMORY, "no memory for trees");
		goto out;
	}
	trees->shape = builder->shape;
	trees->trees_n = (int)builder->trees_n;
	status = find_features(builder, trees, slots);
	if (status != STATUS_OK)
		err_set(err, status, "no memory for the trees' features");
	else
		status = lay_out(builder, trees, slots, err);
out:
	free(slots);
	if (status != STATUS_OK)
		trees_free(trees);
	else
		*out = trees;
	return status;
}
