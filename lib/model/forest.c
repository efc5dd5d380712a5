/* Forests and boosted trees as scripts/export_sklearn.py writes them, over the columns after preprocessing:
 *
 *   {"format": "appcore forest 1", "link": "logistic", "start": [0.5], "divisor": 1, "compare": "float32",
 *    "vectors": false, "trees": [{"output": 0, "features": [2, -1, -1], "left": [1], "right": [2], "at_most": [0.5],
 *    "missing_left": [1], "leaves": [-0.1, 0.2]}, …]}
 *
 * The sums begin with "start", one of a regression and of two classes with the link "logistic", else one a class; each
 * tree adds its leaf's value to its output, or with "vectors" a value to every one; then they are divided by "divisor"
 * and go through the link (output.h). "features" has an entry for each node, -1 for a leaf; "left", "right", "at_most"
 * and "missing_left" one for each inner node, "leaves" one (with "vectors" one for each output) for each leaf, all in
 * the order of the nodes. Left goes what is at most the threshold, compared as float32 with a double as scikit-learn's
 * trees do, or both as doubles ("float64") as its histogram gradient boosting does. */
#include "model/kinds.h"

#include <math.h>
#include <stdlib.h>

#include "model/forest_ranks.h"
#include "model/output.h"
#include "model/preprocess.h"
#include "model/strict.h"
#include "model/trees.h"

enum { CHUNK_ROWS = 256 }; /* rows that are worked on at a time */
static const size_t ARENA_BYTES_MAX = (size_t)1 << 31;

enum { FORMAT, LINK, START, DIVISOR, COMPARE, VECTORS, TREES, MEMBERS__MAX };
static const struct strict_member MEMBERS[] = {
	[FORMAT] = {"format", STRICT_STRING, true},    [LINK] = {"link", STRICT_STRING, true},
	[START] = {"start", STRICT_ARRAY, true},       [DIVISOR] = {"divisor", STRICT_NUMBER, false},
	[COMPARE] = {"compare", STRICT_STRING, false}, [VECTORS] = {"vectors", STRICT_BOOL, false},
	[TREES] = {"trees", STRICT_ARRAY, true},
};
_Static_assert(sizeof(MEMBERS) / sizeof(MEMBERS[0]) == MEMBERS__MAX, "a row for each member");

enum { OUTPUT, FEATURES, LEFT, RIGHT, AT_MOST, MISSING_LEFT, LEAVES, TREE_MEMBERS__MAX };
static const struct strict_member TREE_MEMBERS[] = {
	[OUTPUT] = {"output", STRICT_NUMBER, false}, [FEATURES] = {"features", STRICT_ARRAY, true},
	[LEFT] = {"left", STRICT_ARRAY, true},       [RIGHT] = {"right", STRICT_ARRAY, true},
	[AT_MOST] = {"at_most", STRICT_ARRAY, true}, [MISSING_LEFT] = {"missing_left", STRICT_ARRAY, false},
	[LEAVES] = {"leaves", STRICT_ARRAY, true},
};
_Static_assert(sizeof(TREE_MEMBERS) / sizeof(TREE_MEMBERS[0]) == TREE_MEMBERS__MAX, "a row for each member");

static const char *const LINKS[] = {
	[OUTPUT_IDENTITY] = "identity", [OUTPUT_EXP] = "exp", [OUTPUT_LOGISTIC] = "logistic",
	[OUTPUT_SOFTMAX] = "softmax",   [OUTPUT_OVR] = "ovr", [OUTPUT_SHARES] = "shares",
};
enum { LINKS__MAX = sizeof(LINKS) / sizeof(LINKS[0]) };

struct forest {
	struct preprocess *preprocess;
	struct ranks *ranks; /* NULL: float32 */
	struct trees *trees;
	int columns, outputs;
	enum output_link link;
	double divisor;
	double *start; /* outputs */
};

/* --- predicting --- */

/* The rows as the trees want them: the batch's own where nothing is done to them. */
static const double *prepare(const struct forest *forest, const double *rows, size_t width, size_t n, double *room)
{
	if (!room)
		return rows;
	for (size_t i = 0; i < n; i++) {
		double *columns = room + i * (size_t)forest->columns;
		preprocess_row(forest->preprocess, rows + i * width, columns);
		for (int k = 0; forest->ranks && k < forest->columns; k++)
			columns[k] = ranks_of(forest->ranks, k, columns[k]);
	}
	return room;
}

static enum status forest_predict(const struct model *model, const struct model_batch *batch, size_t *bad,
				  struct err *err)
{
	const struct forest *forest = model->state;
	size_t most = batch->n < CHUNK_ROWS ? batch->n : CHUNK_ROWS, outputs = (size_t)forest->outputs;
	bool as_they_are = preprocess_is_none(forest->preprocess) && !forest->ranks;
	double *sums = arena_alloc(batch->arena, most * outputs * sizeof(double)), *room = NULL;
	void *scratch = arena_alloc(batch->arena, trees_scratch_bytes(forest->trees, most));

	(void)bad;
	if (!as_they_are)
		room = arena_alloc(batch->arena, most * (size_t)forest->columns * sizeof(double));
	if (!sums || !scratch || (!as_they_are && !room))
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this prediction");
	for (size_t first = 0; first < batch->n; first += most) {
		size_t n = batch->n - first < most ? batch->n - first : most;
		for (size_t i = 0; i < n; i++)
			memcpy(sums + i * outputs, forest->start, outputs * sizeof(double));
		const double *rows = prepare(forest, batch->values + first * batch->width, batch->width, n, room);
		trees_sum_doubles(forest->trees, rows, n, sums, scratch);
		for (size_t i = 0; i < n * outputs; i++)
			sums[i] /= forest->divisor;
		for (size_t i = 0; i < n; i++)
			output_put(forest->link, sums + i * outputs, model->manifest, batch, first + i);
	}
	return STATUS_OK;
}

static void forest_release(struct model *model)
{
	struct forest *forest = model->state;

	preprocess_free(forest->preprocess);
	ranks_free(forest->ranks);
	trees_free(forest->trees);
	free(forest->start);
	free(forest);
}

static const struct model_ops FOREST_OPS = {.predict = forest_predict, .release = forest_release};

/* --- loading --- */

struct loader {
	struct strict strict;
	const struct manifest *manifest;
	struct forest *forest;
	struct trees_builder *builder;
	bool vectors;
	size_t width;           /* values of a leaf */
	bool must_tell_missing; /* an input can be missing: every tree has to say where it goes */
};

/* One tree of the file, its arrays spread to an entry for every node. */
struct spread {
	int nodes_n, inner_n, leaves_n;
	int32_t *feature, *left, *right;
	double *at_most, *leaves;
	uint8_t *missing_left; /* NULL: not said */
	int output;
};

/* Elements of an array of numbers; of another one, too many or too few, which is found out when it is read. */
static int count_numbers(struct str array)
{
	int n = 0;
	bool empty = true;

	for (size_t i = 1; i + 1 < array.n; i++) {
		n += array.p[i] == ',';
		empty &= array.p[i] <= ' ';
	}
	return empty ? 0 : n + 1;
}

static enum status read_features(struct loader *l, const struct place *at, struct json_value array, struct spread *tree)
{
	const struct strict *s = &l->strict;
	const struct place *here = PLACE_MEMBER(at, "features");

	tree->nodes_n = count_numbers(array.text);
	if (tree->nodes_n == 0)
		return strict_fault(s, here, "is empty");
	tree->feature = arena_alloc(s->arena, (size_t)tree->nodes_n * sizeof(int32_t));
	if (!tree->feature)
		return strict_no_memory(s);
	enum status status = strict_integers(s, here, array, tree->nodes_n, -1, l->forest->columns - 1, tree->feature);
	for (int i = 0; status == STATUS_OK && i < tree->nodes_n; i++)
		tree->inner_n += tree->feature[i] >= 0;
	tree->leaves_n = tree->nodes_n - tree->inner_n;
	if (status == STATUS_OK && tree->leaves_n != tree->inner_n + 1)
		return strict_fault(s, here,
				    "has %d inner nodes and %d leaves, a tree has one leaf more than inner nodes",
				    tree->inner_n, tree->leaves_n);
	return status;
}

/* Room for the other arrays; the file has as many values as it says it has leaves. */
static enum status make_room(struct loader *l, const struct place *at, struct json_value leaves, struct spread *tree)
{
	const struct strict *s = &l->strict;
	size_t n = (size_t)tree->nodes_n, values = (size_t)tree->leaves_n * l->width;

	if (values > leaves.text.n || values > INT32_MAX)
		return strict_fault(s, PLACE_MEMBER(at, "leaves"), "should have %zu elements", values);
	tree->left = arena_alloc(s->arena, n * sizeof(int32_t));
	tree->right = arena_alloc(s->arena, n * sizeof(int32_t));
	tree->at_most = arena_alloc(s->arena, n * sizeof(double));
	tree->missing_left = arena_alloc(s->arena, n);
	tree->leaves = arena_alloc(s->arena, n * l->width * sizeof(double));
	return tree->left && tree->right && tree->at_most && tree->missing_left && tree->leaves ? STATUS_OK
												: strict_no_memory(s);
}

/* The arrays hold the inner nodes' or leaves' entries side by side: to their nodes' places, the last first. */
static void spread_out(struct spread *tree, size_t width)
{
	int inner = tree->inner_n, leaf = tree->leaves_n;

	for (int i = tree->nodes_n - 1; i >= 0; i--) {
		double *values = tree->leaves + (size_t)i * width;
		if (tree->feature[i] >= 0) {
			inner--;
			tree->left[i] = tree->left[inner];
			tree->right[i] = tree->right[inner];
			tree->at_most[i] = tree->at_most[inner];
			if (tree->missing_left)
				tree->missing_left[i] = tree->missing_left[inner];
			memset(values, 0, width * sizeof(*values));
		} else {
			leaf--;
			tree->left[i] = tree->right[i] = -1;
			tree->at_most[i] = 0;
			if (tree->missing_left)
				tree->missing_left[i] = 0;
			memmove(values, tree->leaves + (size_t)leaf * width, width * sizeof(*values));
		}
	}
}

static enum status read_missing_left(struct loader *l, const struct place *at, struct json_value array,
				     struct spread *tree)
{
	const struct strict *s = &l->strict;
	struct json_iter iter;
	struct json_value item;
	int64_t left = 0;
	int i = 0;

	if (!array.text.p) {
		tree->missing_left = NULL;
		return l->must_tell_missing && tree->inner_n > 0
			       ? strict_fault(s, at, "is missing, but the manifest says that inputs may be missing")
			       : STATUS_OK;
	}
	json_iter_init(&iter, array);
	for (; i < tree->inner_n && json_next(&iter, NULL, &item); i++) {
		enum status status = strict_integer(s, PLACE_INDEX(at, i), item, 0, 1, &left);
		if (status != STATUS_OK)
			return status;
		tree->missing_left[i] = (uint8_t)left;
	}
	if (i < tree->inner_n || json_next(&iter, NULL, &item))
		return strict_fault(s, at, "should have %d elements", tree->inner_n);
	return STATUS_OK;
}

static enum status read_tree(struct loader *l, const struct place *at, struct json_value value, struct spread *tree)
{
	const struct strict *s = &l->strict;
	struct json_value values[TREE_MEMBERS__MAX];
	int64_t output = 0;
	enum status status = strict_members(s, at, value, TREE_MEMBERS, TREE_MEMBERS__MAX, values);

	*tree = (struct spread){0};
	if (status == STATUS_OK && values[OUTPUT].text.p)
		status = strict_integer(s, PLACE_MEMBER(at, "output"), values[OUTPUT], 0,
					l->vectors ? 0 : l->forest->outputs - 1, &output);
	tree->output = (int)output;
	if (status == STATUS_OK)
		status = read_features(l, at, values[FEATURES], tree);
	if (status == STATUS_OK)
		status = make_room(l, at, values[LEAVES], tree);
	if (status == STATUS_OK)
		status = strict_integers(s, PLACE_MEMBER(at, "left"), values[LEFT], tree->inner_n, 0, tree->nodes_n - 1,
					 tree->left);
	if (status == STATUS_OK)
		status = strict_integers(s, PLACE_MEMBER(at, "right"), values[RIGHT], tree->inner_n, 0,
					 tree->nodes_n - 1, tree->right);
	if (status == STATUS_OK)
		status = strict_numbers(s, PLACE_MEMBER(at, "at_most"), values[AT_MOST], tree->inner_n, tree->at_most);
	if (status == STATUS_OK)
		status = read_missing_left(l, PLACE_MEMBER(at, "missing_left"), values[MISSING_LEFT], tree);
	if (status == STATUS_OK)
		status = strict_numbers(s, PLACE_MEMBER(at, "leaves"), values[LEAVES], tree->leaves_n * (int)l->width,
					tree->leaves);
	if (status == STATUS_OK)
		spread_out(tree, l->width);
	return status;
}

static enum status collect_thresholds(struct loader *l, const struct spread *tree)
{
	enum status status = STATUS_OK;

	for (int i = 0; status == STATUS_OK && i < tree->nodes_n; i++)
		if (tree->feature[i] >= 0)
			status = ranks_add(l->forest->ranks, tree->feature[i], tree->at_most[i], l->strict.err);
	return status;
}

static enum status add_tree(struct loader *l, struct spread *tree)
{
	for (int i = 0; l->forest->ranks && i < tree->nodes_n; i++)
		if (tree->feature[i] >= 0)
			tree->at_most[i] = ranks_of(l->forest->ranks, tree->feature[i], tree->at_most[i]);
	return trees_add(l->builder,
			 &(struct trees_tree){
				 .nodes_n = (uint32_t)tree->nodes_n,
				 .left = tree->left,
				 .right = tree->right,
				 .feature = tree->feature,
				 .at_most = tree->at_most,
				 .missing_left = tree->missing_left,
				 .doubles = tree->leaves,
				 .output = tree->output,
			 },
			 l->strict.err);
}

/* All trees one after the other; each one's memory goes with it. */
static enum status each_tree(struct loader *l, struct json_value array, bool collect)
{
	const struct place *at = PLACE_MEMBER(NULL, "trees");
	struct strict outer = l->strict;
	struct arena arena;
	struct json_iter iter;
	struct json_value value;
	struct spread tree;
	enum status status = STATUS_OK;

	arena_init(&arena, ARENA_BYTES_MAX);
	l->strict.arena = &arena;
	json_iter_init(&iter, array);
	for (int i = 0; status == STATUS_OK && json_next(&iter, NULL, &value); i++) {
		status = read_tree(l, PLACE_INDEX(at, i), value, &tree);
		if (status == STATUS_OK)
			status = collect ? collect_thresholds(l, &tree) : add_tree(l, &tree);
		arena_reset(&arena);
	}
	arena_release(&arena);
	l->strict = outer;
	return status;
}

static enum status read_trees(struct loader *l, struct json_value array, bool as_doubles)
{
	struct forest *forest = l->forest;
	struct err *err = l->strict.err;
	struct json_iter iter;
	struct json_value first;
	enum status status = STATUS_OK;

	json_iter_init(&iter, array);
	if (!json_next(&iter, NULL, &first))
		return strict_fault(&l->strict, PLACE_MEMBER(NULL, "trees"), "is empty");
	if (as_doubles) {
		forest->ranks = ranks_new(forest->columns);
		if (!forest->ranks)
			return strict_no_memory(&l->strict);
		status = each_tree(l, array, true);
		ranks_finish(forest->ranks);
	}
	if (status == STATUS_OK)
		status = trees_builder_new(&l->builder,
					   &(struct trees_shape){.features_n = forest->columns,
								 .outputs_n = forest->outputs,
								 .doubles = true,
								 .vectors = l->vectors},
					   err);
	if (status == STATUS_OK)
		status = each_tree(l, array, false);
	return status == STATUS_OK ? trees_finish(l->builder, &forest->trees, err) : status;
}

/* Which links an output can have, and how many sums that needs. */
static enum status read_link(struct loader *l, struct json_value value)
{
	static const unsigned allowed[] = {
		[MANIFEST_REGRESSION] = 1u << OUTPUT_IDENTITY | 1u << OUTPUT_EXP | 1u << OUTPUT_LOGISTIC,
		[MANIFEST_COUNT] = 1u << OUTPUT_IDENTITY | 1u << OUTPUT_EXP,
		[MANIFEST_RANKING] = 1u << OUTPUT_IDENTITY,
		[MANIFEST_BINARY] = 1u << OUTPUT_LOGISTIC | 1u << OUTPUT_SHARES,
		[MANIFEST_MULTICLASS] = 1u << OUTPUT_SOFTMAX | 1u << OUTPUT_OVR | 1u << OUTPUT_SHARES,
	};
	int link = 0;
	enum status status = strict_choice(&l->strict, PLACE_MEMBER(NULL, "link"), value, LINKS, LINKS__MAX, &link);

	if (status != STATUS_OK)
		return status;
	if (!(allowed[l->manifest->output] >> link & 1))
		return strict_fault(&l->strict, PLACE_MEMBER(NULL, "link"), "\"%s\" is not for this type of output",
				    LINKS[link]);
	l->forest->link = (enum output_link)link;
	l->forest->outputs = link <= OUTPUT_LOGISTIC ? 1 : l->manifest->classes_n;
	return STATUS_OK;
}

static enum status read_sums(struct loader *l, const struct json_value *values)
{
	const struct strict *s = &l->strict;
	struct forest *forest = l->forest;
	enum status status;

	forest->start = calloc((size_t)forest->outputs, sizeof(double));
	forest->divisor = 1;
	if (!forest->start)
		return strict_no_memory(s);
	status = strict_numbers(s, PLACE_MEMBER(NULL, "start"), values[START], forest->outputs, forest->start);
	if (status == STATUS_OK && values[DIVISOR].text.p)
		status = strict_number(s, PLACE_MEMBER(NULL, "divisor"), values[DIVISOR], &forest->divisor);
	if (status == STATUS_OK && forest->divisor == 0)
		return strict_fault(s, PLACE_MEMBER(NULL, "divisor"), "is 0");
	return status;
}

static enum status read_file(struct loader *l, struct str file)
{
	static const char *const formats[] = {"appcore forest 1"}, *const compares[] = {"float32", "float64"};
	const struct strict *s = &l->strict;
	struct json_value root, values[MEMBERS__MAX];
	int choice = 0;
	enum status status = strict_check(s, file, "The model file", &root);

	if (status == STATUS_OK)
		status = strict_members(s, NULL, root, MEMBERS, MEMBERS__MAX, values);
	if (status == STATUS_OK)
		status = strict_choice(s, PLACE_MEMBER(NULL, "format"), values[FORMAT], formats, 1, &choice);
	if (status == STATUS_OK)
		status = read_link(l, values[LINK]);
	if (status == STATUS_OK)
		status = read_sums(l, values);
	if (status == STATUS_OK && values[COMPARE].text.p)
		status = strict_choice(s, PLACE_MEMBER(NULL, "compare"), values[COMPARE], compares, 2, &choice);
	if (status != STATUS_OK)
		return status;
	l->vectors = values[VECTORS].type == JSON_TRUE;
	l->width = l->vectors ? (size_t)l->forest->outputs : 1;
	return read_trees(l, values[TREES], choice == 1);
}

static bool can_miss(const struct preprocess *preprocess, int inputs_n)
{
	for (int i = 0; i < inputs_n; i++)
		if (preprocess_may_miss(preprocess, i))
			return true;
	return false;
}

enum status forest_load(struct model *model, struct str file, struct err *err)
{
	struct forest *forest = calloc(1, sizeof(*forest));
	struct arena arena;
	enum status status;

	if (!forest)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	model->state = forest;
	arena_init(&arena, ARENA_BYTES_MAX);
	struct loader loader = {.strict = {&arena, err}, .manifest = model->manifest, .forest = forest};
	status = preprocess_new(&forest->preprocess, model->manifest, err);
	if (status == STATUS_OK) {
		loader.must_tell_missing = can_miss(forest->preprocess, model->manifest->inputs_n);
		forest->columns = preprocess_columns(forest->preprocess);
		status = read_file(&loader, file);
	}
	trees_builder_free(loader.builder);
	arena_release(&arena);
	if (status != STATUS_OK) {
		forest_release(model);
		model->state = NULL;
		return status;
	}
	model->ops = &FOREST_OPS;
	model->bytes = sizeof(*forest) + preprocess_bytes(forest->preprocess) + trees_bytes(forest->trees) +
		       (forest->ranks ? ranks_bytes(forest->ranks) : 0);
	return STATUS_OK;
}
