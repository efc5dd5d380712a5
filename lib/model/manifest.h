/* The manifest of a model: manifest.json beside its file, which says what goes in, what comes out and where the model
 * is from. docs/models.md has the format with all members; a member that is not known is refused, so that a misspelt
 * one does no harm. A manifest is not changed after it was read, and lives as long as its model. */
#ifndef APPCORE_MODEL_MANIFEST_H
#define APPCORE_MODEL_MANIFEST_H

#include "base/json.h"
#include "model/model.h"
#include "model/names.h"

enum {
	MANIFEST_FORMAT = 1,
	MANIFEST_BYTES_MAX = 8 << 20,
	MANIFEST_INPUTS_MAX = 10000,
	MANIFEST_CATEGORIES_MAX = 10000,
	MANIFEST_BINS_MAX = 64,
	MANIFEST_EXAMPLES_MAX = 100,
	MANIFEST_STEPS_MAX = 1000,
};

enum manifest_type { MANIFEST_NUMBER, MANIFEST_INTEGER, MANIFEST_CATEGORY, MANIFEST_TEXT };
enum manifest_rule { MANIFEST_REFUSE, MANIFEST_FLAG, MANIFEST_ALLOW };
enum manifest_output { MANIFEST_REGRESSION, MANIFEST_BINARY, MANIFEST_MULTICLASS, MANIFEST_COUNT, MANIFEST_RANKING };

/* One input, in the model's order. */
struct manifest_input {
	struct str name; /* unique */
	enum manifest_type type;
	double minimum, maximum; /* allowed range, both included; -INFINITY, INFINITY: none. Of text: characters */
	enum manifest_rule
		outside; /* a value outside, a category not listed: REFUSE, FLAG (predict and say so), ALLOW */
	enum manifest_rule missing;   /* null, or a name that is left out: REFUSE, FLAG, ALLOW */
	bool missing_stated;          /* by the file; else it follows from the kind and the steps */
	const struct str *categories; /* MANIFEST_CATEGORY */
	int categories_n;
	struct names category_places; /* finds them */

	/* What it looked like in training, for drift: shares[i] of the values are in bin i. Of numbers, bin i is
	 * edges[i-1] <= value < edges[i], the first and last without end, bins - 1 edges that rise; of texts, the value
	 * is the number of characters; of categories, the bins are the categories. missing_share of all values were
	 * missing; shares sum to 1 without these. */
	const double *edges, *shares;
	int bins; /* 0: not known */
	double missing_share;
};

enum manifest_step_kind { MANIFEST_IMPUTE, MANIFEST_STANDARDISE, MANIFEST_ONE_HOT };

/* A step of preprocessing. IMPUTE and STANDARDISE work on inputs[i], i < n; ONE_HOT replaces the one input by as many
 * columns as it has categories. Columns keep the order of the inputs whatever the order of the steps. */
struct manifest_step {
	enum manifest_step_kind kind;
	const int *inputs; /* places in the manifest's inputs */
	int n;
	const double *values; /* IMPUTE: n, what a missing value becomes (of a category its place, in the file its
			       * name); STANDARDISE: n means */
	const double *scales; /* STANDARDISE: n, not 0: (x - mean) / scale */
};

struct manifest_example {
	struct json_value input; /* as instance.h reads it */
	double result;
	struct str label;            /* empty: not said */
	const double *probabilities; /* classes_n; NULL: not said */
	double tolerance;            /* of results and probabilities: times the larger of 1 and the value expected */
};

struct manifest {
	struct arena arena; /* all of it lives here */
	struct str text;    /* the file as it was read */
	struct json_value root;
	char hash[MODEL_HASH_BYTES]; /* hex of BLAKE2b-256 of the text: identifies the version */

	struct str kind;                                     /* "linear", "logistic", "xgboost", "forest", "text" */
	struct str file;                                     /* name of the model file in the same folder */
	char file_hash[MODEL_HASH_BYTES];                    /* hex of BLAKE2b-256 of its bytes */
	struct str description, created_at, source, licence; /* empty: not said */

	const struct manifest_input *inputs;
	int inputs_n;
	struct names input_places; /* finds them */
	int columns;               /* after the steps */
	const struct manifest_step *steps;
	int steps_n;

	enum manifest_output output;
	struct str output_name, output_meaning;
	const struct str *classes; /* BINARY: 2; MULTICLASS: classes_n of them; else none */
	int classes_n;

	struct json_value quality; /* an object of figures, for people; JSON_NULL: none */
	const struct manifest_example *examples;
	int examples_n;
};

/* Reads a manifest; the text is copied. STATUS_INVALID with one sentence that names the member and its place. Caller
 * frees with manifest_free (model_drop does it for a model's own). */
enum status manifest_parse(struct manifest **out, struct str text, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
void manifest_free(struct manifest *manifest);

/* The place of the input with this name, or -1. Constant time for any number of inputs on average. */
int manifest_input_index(const struct manifest *manifest, struct str name) __attribute__((nonnull));

/* The number of columns after the steps of preprocessing. */
int manifest_columns(const struct manifest *manifest) __attribute__((nonnull));

#endif
