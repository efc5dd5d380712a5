/* The evaluator of ensembles against one that walks node by node as XGBoost's and scikit-learn's documentation say. */
#include "unit.h"

#include "model/trees.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES_MAX = 1 << 15, OUTPUTS_MAX = 5 };

/* A tree with room; node 0 is the root, the others are in any order. */
struct grown {
	struct trees_tree tree;
	int32_t left[NODES_MAX], right[NODES_MAX], feature[NODES_MAX];
	float less_than[NODES_MAX], floats[NODES_MAX];
	double at_most[NODES_MAX], *doubles;
	uint8_t missing_left[NODES_MAX];
};

static uint64_t state = 1;

static uint32_t draw(uint32_t n)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((state >> 33) % n);
}

static double draw_number(void)
{
	return ((double)draw(2001) - 1000) / 64;
}

/* Splits leaves at random until there are `inner` inner nodes; `chain` makes every other split deepen the last leaf. */
static struct grown *grow(const struct trees_shape *shape, int inner, int depth_max, bool chain, bool at_most)
{
	struct grown *g = calloc(1, sizeof(*g));
	uint16_t *depth = calloc(NODES_MAX, sizeof(*depth));
	const int values = shape->vectors ? shape->outputs_n : 1;
	int n = 1;

	g->left[0] = g->right[0] = -1;
	for (int tries = 0; inner > 0 && tries < 20 * NODES_MAX; tries++) {
		int at = chain && draw(2) ? n - 1 : (int)draw((uint32_t)n);
		if (g->left[at] >= 0 || depth[at] >= depth_max)
			continue;
		bool swapped = draw(2);
		g->left[at] = n + swapped;
		g->right[at] = n + !swapped;
		g->feature[at] = (int32_t)draw((uint32_t)shape->features_n);
		g->missing_left[at] = (uint8_t)draw(2);
		g->at_most[at] = draw_number() + (draw(2) ? 1e-12 : 0);
		g->less_than[at] = (float)draw_number();
		for (int i = 0; i < 2; i++, n++) {
			g->left[n] = g->right[n] = -1;
			depth[n] = (uint16_t)(depth[at] + 1);
		}
		inner--;
	}
	g->doubles = calloc((size_t)n * (size_t)values, sizeof(double));
	for (int i = 0; i < n; i++)
		g->floats[i] = (float)(draw_number() / 3);
	for (int i = 0; i < n * values; i++)
		g->doubles[i] = draw_number() / 3;
	free(depth);
	g->tree = (struct trees_tree){.nodes_n = (uint32_t)n,
				      .left = g->left,
				      .right = g->right,
				      .feature = g->feature,
				      .less_than = at_most ? NULL : g->less_than,
				      .at_most = at_most ? g->at_most : NULL,
				      .missing_left = g->missing_left,
				      .floats = g->floats,
				      .doubles = g->doubles,
				      .output = shape->vectors ? 0 : (int)draw((uint32_t)shape->outputs_n)};
	return g;
}

static void free_grown(struct grown *g)
{
	free(g->doubles);
	free(g);
}

static int leaf_of(const struct grown *g, const double *row)
{
	int i = 0;

	while (g->left[i] >= 0) {
		float x = (float)row[g->feature[i]];
		bool left = g->tree.at_most ? (double)x <= g->at_most[i] : x < g->less_than[i];
		if (isnan(x))
			left = g->missing_left[i];
		i = left ? g->left[i] : g->right[i];
	}
	return i;
}

static struct trees *build(const struct trees_shape *shape, struct grown *const *grown, int n)
{
	struct trees_builder *builder;
	struct trees *trees;
	struct err err = {0};

	CU_ASSERT_EQUAL_FATAL(trees_builder_new(&builder, shape, &err), STATUS_OK);
	for (int i = 0; i < n; i++)
		CU_ASSERT_EQUAL_FATAL(trees_add(builder, &grown[i]->tree, &err), STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(trees_finish(builder, &trees, &err), STATUS_OK);
	trees_builder_free(builder);
	CU_ASSERT_EQUAL(trees_count(trees), n);
	return trees;
}

/* Sums of all rows both ways, to the last bit. */
static void compare(const struct trees_shape *shape, struct grown *const *grown, int n, size_t rows_n)
{
	const size_t width = (size_t)shape->features_n, outputs = (size_t)shape->outputs_n;
	double *rows = calloc(rows_n * width, sizeof(double));
	double *doubles = calloc(rows_n * outputs, sizeof(double));
	float *floats = calloc(rows_n * outputs, sizeof(float));
	struct trees *trees = build(shape, grown, n);
	void *scratch = malloc(trees_scratch_bytes(trees, rows_n));
	size_t wrong = 0;

	for (size_t i = 0; i < rows_n * width; i++)
		rows[i] = draw(8) == 0 ? (double)NAN : draw(50) == 0 ? (draw(2) ? 1e300 : -1e300) : draw_number();
	for (size_t i = 0; i < rows_n * outputs; i++)
		floats[i] = (float)(doubles[i] = 0.5);
	if (shape->doubles)
		trees_sum_doubles(trees, rows, rows_n, doubles, scratch);
	else
		trees_sum_floats(trees, rows, rows_n, floats, scratch);
	for (size_t r = 0; r < rows_n; r++) {
		float float_sums[OUTPUTS_MAX] = {0.5F, 0.5F, 0.5F, 0.5F, 0.5F};
		double sums[OUTPUTS_MAX] = {0.5, 0.5, 0.5, 0.5, 0.5};
		for (int t = 0; t < n; t++) {
			size_t leaf = (size_t)leaf_of(grown[t], rows + r * width);
			float_sums[grown[t]->tree.output] += grown[t]->floats[leaf];
			for (size_t k = 0; shape->vectors && k < outputs; k++)
				sums[k] += grown[t]->doubles[leaf * outputs + k];
			if (shape->doubles && !shape->vectors)
				sums[grown[t]->tree.output] += grown[t]->doubles[leaf];
		}
		for (size_t k = 0; k < outputs; k++)
			wrong += shape->doubles ? sums[k] != doubles[r * outputs + k]
						: float_sums[k] != floats[r * outputs + k];
	}
	CU_ASSERT_EQUAL(wrong, 0);
	free(scratch);
	trees_free(trees);
	free(rows);
	free(doubles);
	free(floats);
}

static void compare_random(const struct trees_shape *shape, int trees, int inner, int depth, bool chain, size_t rows)
{
	struct grown *grown[40] = {0};

	for (int i = 0; i < trees; i++)
		grown[i] = grow(shape, (int)draw((uint32_t)inner + 1), depth, chain, shape->doubles);
	compare(shape, grown, trees, rows);
	for (int i = 0; i < trees; i++)
		free_grown(grown[i]);
}

static void sums_are_those_of_a_plain_walk(void)
{
	static const struct trees_shape shapes[] = {
		{.features_n = 1, .outputs_n = 1},
		{.features_n = 11, .outputs_n = 1},
		{.features_n = 11, .outputs_n = 3},
		{.features_n = 7, .outputs_n = 1, .doubles = true},
		{.features_n = 7, .outputs_n = 4, .doubles = true},
		{.features_n = 5, .outputs_n = 5, .doubles = true, .vectors = true},
		{.features_n = 2500, .outputs_n = 1},
	};

	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		for (int depth = 0; depth <= 12; depth++)
			compare_random(&shapes[s], 1 + (int)draw(20), 1 << depth, depth, false, 1 + draw(150));
		compare_random(&shapes[s], 9, 400, TREES_DEPTH_MAX, true, 100);
		compare_random(&shapes[s], 40, 0, 0, false, 65);
	}
}

/* A node in an array may be left behind, as XGBoost leaves pruned ones; 1,000 levels are the bound. */
static void shapes_at_the_edge(void)
{
	const struct trees_shape shape = {.features_n = 3, .outputs_n = 1};
	struct grown *g = grow(&shape, 5, 10, false, false);
	struct trees_builder *builder;
	struct err err = {0};

	g->tree.nodes_n += 3; /* zeros: "children" 0, reached by nobody */
	compare(&shape, &g, 1, 50);
	for (int i = 0; i < TREES_DEPTH_MAX; i++) {
		g->left[i] = i + 1;
		g->right[i] = TREES_DEPTH_MAX + 1 + i;
		g->left[g->right[i]] = g->right[g->right[i]] = -1;
		g->feature[i] = i % 3;
		g->less_than[i] = (float)(1000 - i) / 100.0F;
	}
	g->left[TREES_DEPTH_MAX] = g->right[TREES_DEPTH_MAX] = -1;
	g->tree.nodes_n = 2 * TREES_DEPTH_MAX + 1;
	compare(&shape, &g, 1, 50);
	int last = TREES_DEPTH_MAX;
	g->left[last] = (int32_t)g->tree.nodes_n;
	g->right[last] = (int32_t)g->tree.nodes_n + 1;
	for (int i = 0; i < 2; i++, g->tree.nodes_n++)
		g->left[g->tree.nodes_n] = g->right[g->tree.nodes_n] = -1;
	CU_ASSERT_EQUAL_FATAL(trees_builder_new(&builder, &shape, &err), STATUS_OK);
	CU_ASSERT_EQUAL(trees_add(builder, &g->tree, &err), STATUS_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "it is too deep"));
	trees_builder_free(builder);
	free_grown(g);
}

/* So many features that a block has no room for eight large trees, and none for one that is larger still. */
static void many_features_and_nodes(void)
{
	const struct trees_shape shape = {.features_n = TREES_FEATURES_MAX, .outputs_n = 1};
	struct grown *grown[6];
	struct trees_builder *builder;
	struct trees *trees;
	struct err err = {0};

	for (int i = 0; i < 6; i++) {
		grown[i] = grow(&shape, NODES_MAX / 2 - 1, 100, false, false);
		for (int k = 0; k < NODES_MAX; k++)
			grown[i]->feature[k] = (i * NODES_MAX + k) % TREES_FEATURES_MAX;
	}
	compare(&shape, grown, 6, 3);

	int n = 140001; /* a chain of nodes would be too deep: levels of a heap */
	int32_t *left = calloc((size_t)n, sizeof(*left)), *right = calloc((size_t)n, sizeof(*right));
	int32_t *feature = calloc((size_t)n, sizeof(*feature));
	float *numbers = calloc((size_t)n, sizeof(*numbers));
	for (int i = 0; i < n; i++) {
		left[i] = 2 * i + 2 < n ? 2 * i + 1 : -1;
		right[i] = 2 * i + 2 < n ? 2 * i + 2 : -1;
		feature[i] = i % TREES_FEATURES_MAX;
	}
	struct trees_tree tree = {.nodes_n = (uint32_t)n,
				  .left = left,
				  .right = right,
				  .feature = feature,
				  .less_than = numbers,
				  .floats = numbers};
	CU_ASSERT_EQUAL_FATAL(trees_builder_new(&builder, &shape, &err), STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(trees_add(builder, &tree, &err), STATUS_OK);
	CU_ASSERT_EQUAL(trees_finish(builder, &trees, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "Tree 0 has too many nodes for so many features");
	CU_ASSERT_PTR_NULL(trees);
	trees_builder_free(builder);
	free(left);
	free(right);
	free(feature);
	free(numbers);
	for (int i = 0; i < 6; i++)
		free_grown(grown[i]);
}

/* x <= threshold in doubles is the same question as x < its float, for the floats around it. */
static void thresholds_that_are_doubles(void)
{
	static const double thresholds[] = {0.0,  -0.0,  0.1,     0.5,      1.0,    -0.1,    16777217.0, 1e-46, -1e-46,
					    1e39, -1e39, DBL_MAX, -DBL_MAX, 3.5e38, FLT_MAX, -FLT_MAX,   1e-40, 5e-324};
	const struct trees_shape shape = {.features_n = 1, .outputs_n = 1, .doubles = true};

	for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++) {
		const int32_t left[] = {1, -1, -1}, right[] = {2, -1, -1}, feature[] = {0, 0, 0};
		const double at_most[] = {thresholds[i], 0, 0}, values[] = {0, 1, 2};
		const struct trees_tree tree = {.nodes_n = 3,
						.left = left,
						.right = right,
						.feature = feature,
						.at_most = at_most,
						.doubles = values};
		struct grown g = {.tree = tree};
		struct trees *trees = build(&shape, &(struct grown *){&g}, 1);
		void *scratch = malloc(trees_scratch_bytes(trees, 1));
		float near = (float)thresholds[i];
		const float xs[] = {nextafterf(near, -INFINITY),
				    near,
				    nextafterf(near, INFINITY),
				    0.0F,
				    -0.0F,
				    -INFINITY,
				    INFINITY};
		for (size_t k = 0; k < sizeof(xs) / sizeof(xs[0]); k++) {
			double x = (double)xs[k], sum = 0;
			trees_sum_doubles(trees, &x, 1, &sum, scratch);
			CU_ASSERT_EQUAL(sum, x <= thresholds[i] ? 1 : 2);
		}
		double missing = (double)NAN, sum = 0;
		trees_sum_doubles(trees, &missing, 1, &sum, scratch);
		CU_ASSERT_EQUAL(sum, 2); /* right, where nothing is said */
		free(scratch);
		trees_free(trees);
	}
}

/* Neither zero is less than the other. */
static void zeros(void)
{
	static const float zero[] = {0.0F, -0.0F};
	const struct trees_shape shape = {.features_n = 1, .outputs_n = 1};

	for (int i = 0; i < 4; i++) {
		const int32_t left[] = {1, -1, -1}, right[] = {2, -1, -1}, feature[] = {0, 0, 0};
		const float less_than[] = {zero[i % 2], 1, 2};
		struct grown g = {.tree = {.nodes_n = 3,
					   .left = left,
					   .right = right,
					   .feature = feature,
					   .less_than = less_than,
					   .floats = less_than}};
		struct trees *trees = build(&shape, &(struct grown *){&g}, 1);
		void *scratch = malloc(trees_scratch_bytes(trees, 1));
		double x = (double)zero[i / 2];
		float sum = 0;
		trees_sum_floats(trees, &x, 1, &sum, scratch);
		CU_ASSERT_EQUAL(sum, 2);
		free(scratch);
		trees_free(trees);
	}
}

static void refuses(void)
{
	static const struct {
		int32_t left[5], right[5], feature[5];
		float less_than[5];
		int output;
		uint32_t nodes_n;
		const char *why;
	} cases[] = {
		{{1, -1, -1}, {2, -1, -1}, {0}, {0}, 0, 0, "Tree 0 has no nodes, or too many"},
		{{1, -1, -1}, {2, -1, -1}, {0}, {0}, 0, 2, "Tree 0, node 0: a child is not there"},
		{{1, -1, -1}, {-1, -1, -1}, {0}, {0}, 0, 3, "Tree 0, node 0: a child is not there"},
		{{-2, -1, -1}, {-2, -1, -1}, {0}, {0}, 0, 3, "Tree 0, node 0: a child is not there"},
		{{INT32_MAX, -1, -1}, {2, -1, -1}, {0}, {0}, 0, 3, "Tree 0, node 0: a child is not there"},
		{{1, -1, -1}, {1, -1, -1}, {0}, {0}, 0, 3, "Tree 0, node 0: a child is reached twice"},
		{{0, -1, -1}, {1, -1, -1}, {0}, {0}, 0, 3, "Tree 0, node 0: a child is reached twice"},
		{{1, 3, -1, -1, -1}, {2, 0, -1, -1, -1}, {0}, {0}, 0, 5, "Tree 0, node 1: a child is reached twice"},
		{{1, 3, 3, -1, -1}, {2, 4, 4, -1, -1}, {0}, {0}, 0, 5, "Tree 0, node 2: a child is reached twice"},
		{{1, -1, -1}, {2, -1, -1}, {2}, {0}, 0, 3, "Tree 0, node 0: its feature is not there"},
		{{1, -1, -1}, {2, -1, -1}, {-1}, {0}, 0, 3, "Tree 0, node 0: its feature is not there"},
		{{1, -1, -1}, {2, -1, -1}, {0}, {NAN}, 0, 3, "Tree 0, node 0: its threshold is not a finite number"},
		{{1, -1, -1},
		 {2, -1, -1},
		 {0},
		 {-INFINITY},
		 0,
		 3,
		 "Tree 0, node 0: its threshold is not a finite number"},
		{{1, -1, -1}, {2, -1, -1}, {0}, {0, 0, NAN}, 0, 3, "Tree 0, node 2: its value is not finite"},
		{{1, -1, -1}, {2, -1, -1}, {0}, {0}, 1, 3, "Tree 0: there is no output 1"},
		{{1, -1, -1}, {2, -1, -1}, {0}, {0}, -1, 3, "Tree 0: there is no output -1"},
	};
	const struct trees_shape shape = {.features_n = 2, .outputs_n = 1};
	static const struct trees_shape bad[] = {
		{.features_n = 0, .outputs_n = 1},
		{.features_n = TREES_FEATURES_MAX + 1, .outputs_n = 1},
		{.features_n = 1, .outputs_n = 0},
		{.features_n = 1, .outputs_n = TREES_OUTPUTS_MAX + 1},
		{.features_n = 1, .outputs_n = 2, .vectors = true},
	};
	struct trees_builder *builder;
	struct trees *trees;
	struct err err = {0};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct trees_tree tree = {.nodes_n = cases[i].nodes_n,
						.left = cases[i].left,
						.right = cases[i].right,
						.feature = cases[i].feature,
						.less_than = cases[i].less_than,
						.floats = cases[i].less_than,
						.output = cases[i].output};
		CU_ASSERT_EQUAL_FATAL(trees_builder_new(&builder, &shape, &err), STATUS_OK);
		CU_ASSERT_EQUAL(trees_add(builder, &tree, &err), STATUS_INVALID);
		CU_ASSERT_STRING_EQUAL(err.text, cases[i].why);
		trees_builder_free(builder);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(trees_builder_new(&builder, &bad[i], &err), STATUS_INVALID);
	CU_ASSERT_EQUAL_FATAL(trees_builder_new(&builder, &shape, &err), STATUS_OK);
	CU_ASSERT_EQUAL(trees_finish(builder, &trees, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "There are no trees");
	trees_builder_free(builder);
	trees_builder_free(NULL);
	trees_free(NULL);
}

static const struct unit_case CASES[] = {
	{"sums are those of a plain walk", sums_are_those_of_a_plain_walk},
	{"shapes at the edge", shapes_at_the_edge},
	{"many features and nodes", many_features_and_nodes},
	{"thresholds that are doubles", thresholds_that_are_doubles},
	{"zeros", zeros},
	{"refuses", refuses},
};

int main(void)
{
	return UNIT_RUN("trees", CASES);
}
