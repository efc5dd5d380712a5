/* Reads what XGBoost's save_model writes as JSON: doc/model.schema of its repository describes it. Each object has a
 * table of the members that matter here; the others are skipped. Trees go to the builder one by one as they come by. */
#include "model/xgboost_impl.h"

#include <limits.h>
#include <stdlib.h>

#include "model/scan.h"
#include "model/strict.h"

enum { VERSION_MIN = 1, VERSION_MAX = 3, NAME_BYTES_MAX = 64 << 10 };

#define SAVE_ADVICE "save the model with booster.save_model(\"model.json\")"

struct reader {
	struct scan scan;
	const struct manifest *manifest;
	int columns;
	bool names;
	struct trees_builder *builder;
	int margins_n; /* that the manifest lets expect */

	/* Of the tree that is read; the memory is used again for the next one. */
	struct scan_ints left, right, feature, split_type;
	struct scan_floats conditions;
	struct scan_flags missing_left;
	int nodes_n, leaf_size;

	struct scan_ints tree_info, version;
	const char *trees_later; /* where the trees are, when they came before tree_info */
	size_t trees_n;
	int num_trees; /* -1: not said */
	struct xgboost_facts facts;
	struct str booster;
};

/* A member that matters: `read` puts it at `offset` in the reader. */
struct member {
	struct str name;
	bool (*read)(struct reader *reader, void *target);
	size_t offset;
	bool required;
};

#define FIELD(field) offsetof(struct reader, field)

static bool read_object(struct reader *reader, const struct member *members, size_t n)
{
	struct scan *scan = &reader->scan;
	struct str outer = scan->member, name;
	unsigned seen = 0;
	bool first = true;

	if (!scan_open(scan, '{'))
		return false;
	while (scan_member(scan, &first, &name)) {
		size_t i = 0;
		while (i < n && !str_eq(name, members[i].name))
			i++;
		if (i == n) {
			if (!scan_skip(scan))
				return false;
			continue;
		}
		scan->member = members[i].name;
		if (seen & 1u << i)
			return scan_fail(scan, STATUS_INVALID, "is there twice");
		seen |= 1u << i;
		if (!members[i].read(reader, (char *)reader + members[i].offset))
			return false;
		scan->member = outer;
	}
	for (size_t i = 0; scan->status == STATUS_OK && i < n; i++)
		if (members[i].required && !(seen & 1u << i)) {
			scan->member = members[i].name;
			return scan_fail(scan, STATUS_INVALID, "is missing");
		}
	return scan->status == STATUS_OK;
}

#define READ_OBJECT(reader, members) read_object(reader, members, sizeof(members) / sizeof((members)[0]))

static bool read_text(struct reader *reader, void *target)
{
	return scan_string(&reader->scan, target);
}

/* XGBoost writes its parameters' numbers as strings. */
static bool read_count(struct reader *reader, void *target)
{
	struct str text;
	uint64_t value;

	if (!scan_string(&reader->scan, &text))
		return false;
	if (!str_to_u64(text, INT_MAX, &value))
		return scan_fail(&reader->scan, STATUS_INVALID, "should be a whole number, not \"%.*s\"",
				 STR_ARG(strict_cut(text, 30)));
	*(int *)target = (int)value;
	return true;
}

static bool read_ints(struct reader *reader, void *target)
{
	return scan_int_array(&reader->scan, target);
}

static bool read_floats(struct reader *reader, void *target)
{
	return scan_float_array(&reader->scan, target);
}

static bool read_flags(struct reader *reader, void *target)
{
	return scan_flag_array(&reader->scan, target);
}

static bool read_tree_param(struct reader *reader, void *target)
{
	static const struct member members[] = {
		{STR_INIT("num_nodes"), read_count, FIELD(nodes_n), true},
		{STR_INIT("size_leaf_vector"), read_count, FIELD(leaf_size), false},
	};

	(void)target;
	return READ_OBJECT(reader, members);
}

static bool check_tree(struct reader *reader)
{
	const struct {
		const char *name;
		size_t n;
	} arrays[] = {
		{"left_children", reader->left.n},        {"right_children", reader->right.n},
		{"split_indices", reader->feature.n},     {"split_conditions", reader->conditions.n},
		{"default_left", reader->missing_left.n},
	};
	struct scan *scan = &reader->scan;

	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
		if (arrays[i].n != (size_t)reader->nodes_n)
			return scan_fail(scan, STATUS_INVALID, "%s has %zu entries, num_nodes says %d", arrays[i].name,
					 arrays[i].n, reader->nodes_n);
	if (reader->leaf_size > 1)
		return scan_fail(scan, STATUS_INVALID,
				 "its leaves have several values (multi-target), which is not supported: train with "
				 "multi_strategy=\"one_output_per_tree\", a model for each target");
	for (size_t i = 0; i < reader->split_type.n; i++)
		if (reader->split_type.p[i] != 0)
			return scan_fail(scan, STATUS_INVALID,
					 "node %zu splits by categories, which is not supported: train with one-hot "
					 "encoded categories and without enable_categorical",
					 i);
	return true;
}

/* The place in scan->number is the tree's. */
static bool read_tree(struct reader *reader)
{
	static const struct member members[] = {
		{STR_INIT("default_left"), read_flags, FIELD(missing_left), true},
		{STR_INIT("left_children"), read_ints, FIELD(left), true},
		{STR_INIT("right_children"), read_ints, FIELD(right), true},
		{STR_INIT("split_conditions"), read_floats, FIELD(conditions), true},
		{STR_INIT("split_indices"), read_ints, FIELD(feature), true},
		{STR_INIT("split_type"), read_ints, FIELD(split_type), false},
		{STR_INIT("tree_param"), read_tree_param, 0, true},
	};
	struct scan *scan = &reader->scan;

	reader->leaf_size = 0;
	reader->split_type.n = 0;
	if (!READ_OBJECT(reader, members) || !check_tree(reader))
		return false;
	if (reader->trees_n >= reader->tree_info.n)
		return scan_fail(scan, STATUS_INVALID, "tree_info has only %zu entries", reader->tree_info.n);
	const struct trees_tree tree = {
		.nodes_n = (uint32_t)reader->nodes_n,
		.left = reader->left.p,
		.right = reader->right.p,
		.feature = reader->feature.p,
		.less_than = reader->conditions.p,
		.missing_left = reader->missing_left.p,
		.floats = reader->conditions.p,
		.output = reader->tree_info.p[reader->trees_n],
	};
	scan->status = trees_add(reader->builder, &tree, scan->err);
	return scan->status == STATUS_OK;
}

static bool read_trees(struct reader *reader, void *target)
{
	struct scan *scan = &reader->scan;
	bool first = true;

	(void)target;
	if (!reader->tree_info.p) {
		reader->trees_later = scan->at;
		return scan_skip(scan);
	}
	if (!scan_open(scan, '['))
		return false;
	scan->part = "Tree";
	scan->member = (struct str){0};
	while (scan_element(scan, &first)) {
		scan->number = reader->trees_n;
		if (!read_tree(reader))
			return false;
		reader->trees_n++;
	}
	scan->part = NULL;
	return scan->status == STATUS_OK;
}

static bool read_tree_info(struct reader *reader, void *target)
{
	struct scan *scan = &reader->scan;
	int most = 0;

	if (!scan_int_array(scan, target))
		return false;
	for (size_t i = 0; i < reader->tree_info.n; i++)
		most = reader->tree_info.p[i] > most ? reader->tree_info.p[i] : most;
	if (most >= reader->margins_n)
		return scan_fail(scan, STATUS_INVALID,
				 "the model has trees for %d classes or targets, the manifest's output is of %d",
				 most < INT_MAX ? most + 1 : most, reader->margins_n);
	return true;
}

static bool read_gbtree_param(struct reader *reader, void *target)
{
	static const struct member members[] = {{STR_INIT("num_trees"), read_count, FIELD(num_trees), true}};

	(void)target;
	return READ_OBJECT(reader, members);
}

/* What is required is asked for when the booster's name is known: others have other members. */
static bool read_model(struct reader *reader, void *target)
{
	static const struct member members[] = {
		{STR_INIT("gbtree_model_param"), read_gbtree_param, 0, false},
		{STR_INIT("tree_info"), read_tree_info, FIELD(tree_info), false},
		{STR_INIT("trees"), read_trees, 0, false},
	};

	(void)target;
	return READ_OBJECT(reader, members);
}

static bool read_booster(struct reader *reader, void *target)
{
	static const struct member members[] = {
		{STR_INIT("model"), read_model, 0, false},
		{STR_INIT("name"), read_text, FIELD(booster), true},
	};
	struct scan *scan = &reader->scan;

	(void)target;
	if (!READ_OBJECT(reader, members))
		return false;
	if (!str_eq(reader->booster, STR("gbtree")))
		return scan_fail(scan, STATUS_INVALID,
				 "the booster is \"%.*s\", which is not supported: train with booster=\"gbtree\"",
				 STR_ARG(strict_cut(reader->booster, 30)));
	if (!reader->tree_info.p || (!reader->trees_later && reader->trees_n == 0) || reader->num_trees < 0)
		return scan_fail(scan, STATUS_INVALID,
				 "model has no trees, or gbtree_model_param or tree_info is missing");
	return true;
}

static bool read_learner_param(struct reader *reader, void *target)
{
	static const struct member members[] = {
		{STR_INIT("base_score"), read_text, FIELD(facts.base_score), true},
		{STR_INIT("num_class"), read_count, FIELD(facts.num_class), false},
		{STR_INIT("num_feature"), read_count, FIELD(facts.num_feature), true},
		{STR_INIT("num_target"), read_count, FIELD(facts.num_target), false},
	};

	(void)target;
	return READ_OBJECT(reader, members);
}

static bool read_objective(struct reader *reader, void *target)
{
	static const struct member members[] = {{STR_INIT("name"), read_text, FIELD(facts.objective), true}};

	(void)target;
	return READ_OBJECT(reader, members);
}

static bool check_name(struct reader *reader, struct str written, int i, struct arena *arena)
{
	const struct json_value value = {JSON_STRING, {written.p - 1, written.n + 2}};
	struct str name = json_string(value, arena);

	if (i >= reader->manifest->inputs_n || str_eq(name, reader->manifest->inputs[i].name))
		return true;
	return scan_fail(&reader->scan, STATUS_INVALID,
			 "number %d is \"%.*s\" in the model and \"%.*s\" in the manifest", i,
			 STR_ARG(strict_cut(name, 50)), STR_ARG(strict_cut(reader->manifest->inputs[i].name, 50)));
}

/* None when the model was trained on plain matrices. */
static bool read_feature_names(struct reader *reader, void *target)
{
	struct scan *scan = &reader->scan;
	struct arena arena;
	struct str name;
	bool first = true, good = true;
	int n = 0;

	(void)target;
	if (!scan_open(scan, '['))
		return false;
	arena_init(&arena, NAME_BYTES_MAX);
	while (good && scan_element(scan, &first)) {
		good = scan_string(scan, &name) && (!reader->names || check_name(reader, name, n, &arena));
		arena_reset(&arena);
		n += n < INT_MAX;
	}
	arena_release(&arena);
	if (good && scan->status == STATUS_OK && n > 0 && n != reader->columns)
		return scan_fail(scan, STATUS_INVALID, "the model has %d, the manifest's inputs give %d columns", n,
				 reader->columns);
	return good && scan->status == STATUS_OK;
}

static bool read_learner(struct reader *reader, void *target)
{
	static const struct member members[] = {
		{STR_INIT("feature_names"), read_feature_names, 0, false},
		{STR_INIT("gradient_booster"), read_booster, 0, true},
		{STR_INIT("learner_model_param"), read_learner_param, 0, true},
		{STR_INIT("objective"), read_objective, 0, true},
	};

	(void)target;
	return READ_OBJECT(reader, members);
}

static bool read_version(struct reader *reader, void *target)
{
	struct scan *scan = &reader->scan;

	if (!scan_int_array(scan, target))
		return false;
	if (reader->version.n < 1 || reader->version.p[0] < VERSION_MIN || reader->version.p[0] > VERSION_MAX)
		return scan_fail(scan, STATUS_INVALID, "XGBoost's versions %d to %d are supported, not %d", VERSION_MIN,
				 VERSION_MAX, reader->version.n > 0 ? (int)reader->version.p[0] : 0);
	return true;
}

static bool check_format(struct reader *reader)
{
	struct scan *scan = &reader->scan;
	char first = scan_peek(scan);

	if (first == '{' && scan->end - scan->at > 1 && strchr("iIlLuUmM$#", scan->at[1]) && scan->at[1])
		return scan_fail(scan, STATUS_INVALID, "The file is UBJSON, which is not supported: " SAVE_ADVICE);
	if (first != '{')
		return scan_fail(scan, STATUS_INVALID,
				 "The file is no JSON object (XGBoost's old binary format or a "
				 "pickle?), which is not supported: " SAVE_ADVICE);
	return true;
}

static bool read_file(struct reader *reader)
{
	static const struct member members[] = {
		{STR_INIT("learner"), read_learner, 0, true},
		{STR_INIT("version"), read_version, FIELD(version), true},
	};
	struct scan *scan = &reader->scan;

	if (!check_format(reader) || !READ_OBJECT(reader, members) || !scan_end(scan))
		return false;
	if (reader->trees_later) {
		scan->at = reader->trees_later;
		if (!read_trees(reader, NULL))
			return false;
	}
	scan->member = STR("num_trees");
	if ((size_t)reader->num_trees != reader->trees_n || reader->tree_info.n != reader->trees_n)
		return scan_fail(scan, STATUS_INVALID, "says %d, there are %zu trees and %zu entries in tree_info",
				 reader->num_trees, reader->trees_n, reader->tree_info.n);
	return true;
}

static void release(struct reader *reader)
{
	trees_builder_free(reader->builder);
	free(reader->left.p);
	free(reader->right.p);
	free(reader->feature.p);
	free(reader->split_type.p);
	free(reader->conditions.p);
	free(reader->missing_left.p);
	free(reader->tree_info.p);
	free(reader->version.p);
}

enum status xgboost_read(struct xgboost_file *out, struct str file, const struct manifest *manifest, int columns,
			 bool names, struct err *err)
{
	const int margins_n = manifest->output == MANIFEST_MULTICLASS ? manifest->classes_n : 1;
	const struct trees_shape shape = {.features_n = columns, .outputs_n = margins_n};
	struct reader reader = {
		.manifest = manifest,
		.columns = columns,
		.names = names,
		.margins_n = margins_n,
		.num_trees = -1,
	};
	struct xgboost_file read = {.margins_n = margins_n};
	enum status status;

	scan_init(&reader.scan, file, err);
	status = trees_builder_new(&reader.builder, &shape, err);
	if (status == STATUS_OK && !read_file(&reader))
		status = reader.scan.status;
	if (status == STATUS_OK) {
		read.base = calloc((size_t)margins_n, sizeof(*read.base));
		if (!read.base)
			status = err_set(err, STATUS_NO_MEMORY, "Out of memory for this model");
	}
	if (status == STATUS_OK)
		status = xgboost_check(&read, &reader.facts, manifest, columns, err);
	if (status == STATUS_OK)
		status = trees_finish(reader.builder, &read.trees, err);
	release(&reader);
	if (status != STATUS_OK)
		free(read.base);
	else
		*out = read;
	return status;
}
