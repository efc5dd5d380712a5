/* The file of a text classifier, format "appcore text 1": an object of which every member is wanted and no other is
 * known. Everything is checked here; whoever gets a spec can rely on it.
 *
 *   "classifier"     "naive_bayes" or "logistic_regression"
 *   "ngram_range"    [least, most] words of an n-gram
 *   "sublinear_tf"   true: a count n weighs 1 + ln n
 *   "norm"           "l2", or null
 *   "vocabulary"     n-grams in lower case, words joined with one blank, in the order of their numbers
 *   "idf"            a number for each n-gram
 *   "feature_log_prob", "class_log_prior"   naive Bayes: a row for each class of a number for each n-gram; a number for
 *                                           each class
 *   "coefficients", "intercepts"            logistic regression: the same; of two classes one row, the second's */
#include "model/text.h"

#include "base/json.h"
#include "model/text_tokens.h"

#include <math.h>
#include <stdio.h>

static const char FORMAT[] = "appcore text 1";

enum member { FORMAT_M, CLASSIFIER, NGRAM_RANGE, SUBLINEAR, NORM, VOCABULARY, IDF, WEIGHTS, INTERCEPTS, MEMBER__MAX };

/* Their names, with naive Bayes and with logistic regression: scikit-learn's, without the underscore. */
static const char *const NAMES[][MEMBER__MAX] = {
	[TEXT_NAIVE_BAYES] = {"format", "classifier", "ngram_range", "sublinear_tf", "norm", "vocabulary", "idf",
			      "feature_log_prob", "class_log_prior"},
	[TEXT_LOGISTIC] = {"format", "classifier", "ngram_range", "sublinear_tf", "norm", "vocabulary", "idf",
			   "coefficients", "intercepts"},
};
static const char *const METHODS[] = {[TEXT_NAIVE_BAYES] = "naive_bayes", [TEXT_LOGISTIC] = "logistic_regression"};
enum { METHODS_N = sizeof(METHODS) / sizeof(METHODS[0]) };

struct reader {
	struct text_spec *spec;
	struct json_value members[MEMBER__MAX];
	const char *const *names;
	struct arena *arena;
	struct err *err;
};

static enum status no_memory(struct reader *r)
{
	return err_set(r->err, STATUS_NO_MEMORY, "There is not enough memory for the model.");
}

static bool is_text(struct json_value value, const char *text, struct arena *arena)
{
	return value.type == JSON_STRING && str_eq(json_string(value, arena), str_of(text));
}

static size_t count(struct json_value array)
{
	struct json_iter iter;
	struct json_value value;
	size_t n = 0;

	json_iter_init(&iter, array);
	while (json_next(&iter, NULL, &value))
		n++;
	return n;
}

static enum status read_method(struct reader *r, struct json_value root)
{
	struct json_value value;

	if (root.type != JSON_OBJECT || !json_member(root, STR("format"), &value) || !is_text(value, FORMAT, r->arena))
		return err_set(r->err, STATUS_INVALID, "The file is no object with \"format\": \"%s\".", FORMAT);
	if (json_member(root, STR("classifier"), &value))
		for (int i = 0; i < METHODS_N; i++)
			if (is_text(value, METHODS[i], r->arena)) {
				r->spec->method = (enum text_method)i;
				r->names = NAMES[i];
				return STATUS_OK;
			}
	return err_set(r->err, STATUS_INVALID, "\"classifier\" is neither \"%s\" nor \"%s\".", METHODS[0], METHODS[1]);
}

static enum status take_members(struct reader *r, struct json_value root)
{
	struct json_iter iter;
	struct json_value key, value;
	unsigned there = 0;

	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value)) {
		struct str name = json_string(key, r->arena);
		int m = 0;
		while (m < MEMBER__MAX && !str_eq(name, str_of(r->names[m])))
			m++;
		if (m == MEMBER__MAX)
			return err_set(r->err, STATUS_INVALID, "\"%.*s\" is no member of a %s model.",
				       (int)(name.n < 60 ? name.n : 60), name.p ? name.p : "",
				       METHODS[r->spec->method]);
		r->members[m] = value;
		there |= 1u << m;
	}
	for (int m = 0; m < MEMBER__MAX; m++)
		if (!(there & 1u << m))
			return err_set(r->err, STATUS_INVALID, "\"%s\" is missing.", r->names[m]);
	return STATUS_OK;
}

static enum status read_options(struct reader *r)
{
	struct text_spec *spec = r->spec;
	struct json_value range = r->members[NGRAM_RANGE], value, norm = r->members[NORM];
	struct json_iter iter;
	double bounds[2] = {0, 0};
	int n = 0;

	json_iter_init(&iter, range);
	while (range.type == JSON_ARRAY && json_next(&iter, NULL, &value))
		if (n++ >= 2 || value.type != JSON_NUMBER || !json_number(value, &bounds[n - 1]) ||
		    bounds[n - 1] != floor(bounds[n - 1]))
			n = 3;
	if (n != 2 || bounds[0] < 1 || bounds[0] > bounds[1] || bounds[1] > TEXT_NGRAM_MAX)
		return err_set(r->err, STATUS_INVALID,
			       "\"ngram_range\" is not two whole numbers, the first at least 1 and at most the second, "
			       "the second at most %d.",
			       TEXT_NGRAM_MAX);
	spec->ngram_min = (int)bounds[0];
	spec->ngram_max = (int)bounds[1];
	value = r->members[SUBLINEAR];
	if (value.type != JSON_TRUE && value.type != JSON_FALSE)
		return err_set(r->err, STATUS_INVALID, "\"sublinear_tf\" is neither true nor false.");
	spec->sublinear = value.type == JSON_TRUE;
	spec->l2 = norm.type != JSON_NULL;
	if (spec->l2 && !is_text(norm, "l2", r->arena))
		return err_set(r->err, STATUS_INVALID, "\"norm\" is neither \"l2\" nor null.");
	return STATUS_OK;
}

static enum status read_vocabulary(struct reader *r)
{
	struct json_value list = r->members[VOCABULARY], value;
	struct json_iter iter;
	size_t i = 0;

	if (list.type != JSON_ARRAY)
		return err_set(r->err, STATUS_INVALID, "\"vocabulary\" is no array.");
	size_t n = count(list);
	if (n == 0 || n > TEXT_TERMS_MAX)
		return err_set(r->err, STATUS_INVALID, "\"vocabulary\" has %zu terms, not 1 to %d.", n, TEXT_TERMS_MAX);
	struct str *terms = arena_alloc(r->arena, n * sizeof(*terms));
	if (!terms)
		return no_memory(r);
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &value)) {
		if (value.type != JSON_STRING)
			return err_set(r->err, STATUS_INVALID, "\"vocabulary\" at %zu is no string.", i);
		terms[i] = json_string(value, r->arena);
		if (!terms[i].p)
			return no_memory(r);
		if (terms[i].n == 0 || terms[i].n > TEXT_TERM_BYTES_MAX)
			return err_set(r->err, STATUS_INVALID, "\"vocabulary\" at %zu is not 1 to %d bytes long.", i,
				       TEXT_TERM_BYTES_MAX);
		i++;
	}
	r->spec->terms = terms;
	r->spec->terms_n = n;
	return STATUS_OK;
}

/* Reads an array of n numbers into out. `of`: what there have to be as many as. */
static enum status read_numbers(struct reader *r, struct json_value list, const char *where, size_t n, const char *of,
				double *out)
{
	struct json_iter iter;
	struct json_value value;
	size_t i = 0;

	if (list.type != JSON_ARRAY)
		return err_set(r->err, STATUS_INVALID, "%s is no array.", where);
	json_iter_init(&iter, list);
	for (; json_next(&iter, NULL, &value); i++)
		if (i < n && (value.type != JSON_NUMBER || !json_number(value, &out[i])))
			return err_set(r->err, STATUS_INVALID, "%s at %zu is no finite number.", where, i);
	if (i != n)
		return err_set(r->err, STATUS_INVALID, "%s has %zu numbers for %zu %s.", where, i, n, of);
	return STATUS_OK;
}

static enum status read_weights(struct reader *r)
{
	struct text_spec *spec = r->spec;
	struct json_value list = r->members[WEIGHTS], row;
	struct json_iter iter;
	char where[64];
	size_t rows = (size_t)spec->rows_n, i = 0, there = list.type == JSON_ARRAY ? count(list) : 0;

	if (there != rows)
		return err_set(r->err, STATUS_INVALID, "\"%s\" is not an array of %zu rows, which %d classes need.",
			       r->names[WEIGHTS], rows, spec->classes_n);
	double *idf = arena_alloc(r->arena, spec->terms_n * sizeof(double));
	double *weights = spec->terms_n > SIZE_MAX / 16 / MODEL_CLASSES_MAX
				  ? NULL
				  : arena_alloc(r->arena, rows * spec->terms_n * sizeof(double));
	double *intercepts = arena_alloc(r->arena, rows * sizeof(double));
	if (!idf || !weights || !intercepts)
		return no_memory(r);
	spec->idf = idf;
	spec->weights = weights;
	spec->intercepts = intercepts;
	enum status status = read_numbers(r, r->members[IDF], "\"idf\"", spec->terms_n, "terms", idf);
	json_iter_init(&iter, list);
	for (; status == STATUS_OK && json_next(&iter, NULL, &row); i++) {
		snprintf(where, sizeof(where), "\"%s\" row %zu", r->names[WEIGHTS], i);
		status = read_numbers(r, row, where, spec->terms_n, "terms", weights + i * spec->terms_n);
	}
	snprintf(where, sizeof(where), "\"%s\"", r->names[INTERCEPTS]);
	if (status == STATUS_OK)
		status = read_numbers(r, r->members[INTERCEPTS], where, rows, "classes", intercepts);
	return status;
}

enum status text_read(struct text_spec *spec, struct str file, int classes_n, struct arena *arena, struct err *err)
{
	struct reader r = {.spec = spec, .names = NAMES[0], .arena = arena, .err = err};
	struct json_value root;
	struct json_fault fault;

	*spec = (struct text_spec){.classes_n = classes_n};
	if (classes_n < 2 || classes_n > MODEL_CLASSES_MAX)
		return err_set(err, STATUS_INVALID, "A model of kind text has 2 to %d classes, not %d.",
			       MODEL_CLASSES_MAX, classes_n);
	if (!json_check(file, JSON_MAX_DEPTH, &root, &fault))
		return err_set(err, STATUS_INVALID, "The file is no JSON: %s at character %zu.", fault.reason,
			       fault.offset);
	enum status status = read_method(&r, root);
	if (status == STATUS_OK)
		status = take_members(&r, root);
	spec->rows_n = spec->method == TEXT_LOGISTIC && classes_n == 2 ? 1 : classes_n;
	if (status == STATUS_OK)
		status = read_options(&r);
	if (status == STATUS_OK)
		status = read_vocabulary(&r);
	if (status == STATUS_OK)
		status = read_weights(&r);
	return status;
}

/* --- writing --- */

static void put_name(const char *name, struct buf *out)
{
	buf_fmt(out, ",\n\"%s\": ", name);
}

static void put_numbers(const double *values, size_t n, struct buf *out)
{
	buf_char(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_char(out, ',');
		json_put_double(out, values[i]);
	}
	buf_char(out, ']');
}

void text_write(const struct text_spec *spec, struct buf *out)
{
	const char *const *names = NAMES[spec->method];

	buf_fmt(out, "{\"%s\": \"%s\"", names[FORMAT_M], FORMAT);
	buf_fmt(out, ",\n\"%s\": \"%s\"", names[CLASSIFIER], METHODS[spec->method]);
	buf_fmt(out, ",\n\"%s\": [%d, %d]", names[NGRAM_RANGE], spec->ngram_min, spec->ngram_max);
	buf_fmt(out, ",\n\"%s\": %s", names[SUBLINEAR], spec->sublinear ? "true" : "false");
	buf_fmt(out, ",\n\"%s\": %s", names[NORM], spec->l2 ? "\"l2\"" : "null");
	put_name(names[VOCABULARY], out);
	for (size_t i = 0; i < spec->terms_n; i++) {
		buf_char(out, i ? ',' : '[');
		json_put_string(out, spec->terms[i]);
	}
	buf_char(out, ']');
	put_name(names[IDF], out);
	put_numbers(spec->idf, spec->terms_n, out);
	put_name(names[WEIGHTS], out);
	for (int row = 0; row < spec->rows_n; row++) {
		buf_str(out, row ? STR(",\n") : STR("["));
		put_numbers(spec->weights + (size_t)row * spec->terms_n, spec->terms_n, out);
	}
	buf_char(out, ']');
	put_name(names[INTERCEPTS], out);
	put_numbers(spec->intercepts, (size_t)spec->rows_n, out);
	buf_str(out, STR("}\n"));
}
