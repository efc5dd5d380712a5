/* Ensembles of decision trees: one evaluator for gradient boosting and forests, XGBoost's and scikit-learn's.
 *
 * A row of doubles becomes float32 once. At an inner node it goes left when its feature is less than the threshold, and
 * the node's own way when the feature is missing (NaN). The leaves' values are summed tree by tree in the order in
 * which the trees were added, in float32 or double, so that the sums equal those of the library the model is from to
 * the last bit. A threshold that is compared with "at most" is turned into the least float32 above it, which decides
 * the same.
 *
 * A builder takes trees from strangers and checks them; what it has built is not changed any more and serves any number
 * of threads. */
#ifndef APPCORE_MODEL_TREES_H
#define APPCORE_MODEL_TREES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TREES_DEPTH_MAX = 1000,     /* inner nodes on the way to a leaf */
	TREES_COUNT_MAX = 1000000,  /* trees */
	TREES_FEATURES_MAX = 65535, /* numbers in a row */
	TREES_OUTPUTS_MAX = 1000,   /* sums of a row */
};

/* What all trees of an ensemble have in common. */
struct trees_shape {
	int features_n; /* numbers in a row */
	int outputs_n;  /* sums of a row */
	bool doubles;   /* values and sums are doubles; else float32 */
	bool vectors;   /* each leaf has a value for every output (doubles only); else one, for its tree's output */
};

/* A tree as loaders have it: node 0 is the root, arrays have an entry for every node. Borrowed for the call. */
struct trees_tree {
	uint32_t nodes_n;
	const int32_t *left, *right; /* places of the children; a leaf has -1 as both */
	const int32_t *feature;      /* of inner nodes */
	const float *less_than;      /* of inner nodes: left when feature < this; or NULL, and */
	const double *at_most;       /* left when (float)feature <= this */
	const uint8_t *missing_left; /* of inner nodes: 1: missing goes left, 0: right; NULL: right everywhere */
	const float *floats;         /* of leaves, without shape.doubles */
	const double *doubles;       /* of leaves: one a node, or outputs_n of them with shape.vectors */
	int output;                  /* whose sum it adds to; 0 with shape.vectors */
};

struct trees_builder;
struct trees;

/* STATUS_INVALID when the shape is out of bounds, STATUS_NO_MEMORY. Caller frees with trees_builder_free. */
enum status trees_builder_new(struct trees_builder **out, const struct trees_shape *shape, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Adds one tree. STATUS_INVALID when it is none ("Tree 7, node 3: a child is reached twice"): children out of
 * range, a node reached twice (cycles), one child alone, too deep, a feature out of range, a threshold or value that is
 * not finite. Nodes that the root does not reach are left out, as XGBoost leaves pruned ones behind. The builder can
 * only be freed after an error. */
enum status trees_add(struct trees_builder *builder, const struct trees_tree *tree, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* What was built; at least one tree was added. Caller frees with trees_free. The builder is still to be freed. */
enum status trees_finish(struct trees_builder *builder, struct trees **out, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
void trees_builder_free(struct trees_builder *builder); /* NULL is allowed */

void trees_free(struct trees *trees); /* NULL is allowed */

int trees_count(const struct trees *trees) __attribute__((nonnull));

/* Bytes of memory that it takes. */
size_t trees_bytes(const struct trees *trees) __attribute__((nonnull));

/* Bytes that trees_sum_* need meanwhile for calls of n rows; aligned as arena_alloc does. Some 32 KB at the most for
 * models of fewer than a thousand features, whatever n is. */
size_t trees_scratch_bytes(const struct trees *trees, size_t n) __attribute__((nonnull));

/* Adds to sums (n × outputs_n, row after row, which the caller sets to what the sums begin with) the values of n rows
 * of features_n doubles. Any thread. The one of the two that the shape says. */
void trees_sum_floats(const struct trees *trees, const double *rows, size_t n, float *sums, void *scratch)
	__attribute__((nonnull));
void trees_sum_doubles(const struct trees *trees, const double *rows, size_t n, double *sums, void *scratch)
	__attribute__((nonnull));

#endif
