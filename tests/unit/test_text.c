/* Text classifiers as files: what is computed, and what is refused. Formulas are checked by hand on two terms; against
 * scikit-learn in test_text_train.c and tests/parity/text_parity.py. */
#include "unit.h"

#include "model/kinds.h"
#include "model/text.h"
#include "model/text_tokens.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char BAYES[] =
	"{\"format\": \"appcore text 1\", \"classifier\": \"naive_bayes\", \"ngram_range\": [1, 2], \"sublinear_tf\": "
	"false,"
	" \"norm\": \"l2\", \"vocabulary\": [\"bad\", \"good\", \"not good\"], \"idf\": [1.5, 2.0, 4.0],"
	" \"feature_log_prob\": [[-0.5, -2.0, -1.0], [-3.0, -0.25, -4.0]], \"class_log_prior\": [-0.75, -0.5]}";
static const char LOGISTIC[] =
	"{\"format\": \"appcore text 1\", \"classifier\": \"logistic_regression\", \"ngram_range\": [1, 1],"
	" \"sublinear_tf\": true, \"norm\": null, \"vocabulary\": [\"bad\", \"good\"], \"idf\": [1.5, 2.0],"
	" \"coefficients\": [[-1.0, 0.5]], \"intercepts\": [0.25]}";

static enum status open_text(struct text_classifier **out, struct str file, int classes_n, struct err *err)
{
	struct text_spec spec;
	struct arena arena;

	arena_init(&arena, 1 << 24);
	enum status status = text_read(&spec, file, classes_n, &arena, err);
	if (status == STATUS_OK)
		status = text_new(out, &spec, err);
	arena_release(&arena);
	return status;
}

static double ask(const struct text_classifier *classifier, const char *text, int *label)
{
	struct str view = str_of(text);
	double result = -1.0;
	struct arena arena;
	struct err err;
	size_t bad;

	arena_init(&arena, 1 << 20);
	struct model_batch batch = {.n = 1, .texts = &view, .results = &result, .labels = label, .arena = &arena};
	CU_ASSERT_EQUAL(text_classify(classifier, &batch, true, &bad, &err), STATUS_OK);
	arena_release(&arena);
	return result;
}

static double logistic(double score)
{
	return 1.0 / (1.0 + exp(-score));
}

static void naive_bayes(void)
{
	struct text_classifier *c = NULL;
	struct err err = {0};
	int label;

	CU_ASSERT_EQUAL_FATAL(open_text(&c, STR(BAYES), 2, &err), STATUS_OK);
	/* One term weighs 1, however often it is there. The first class's score is -0.75 - 0.5. */
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "Bad!", &label), logistic((-0.5 - 3.0) - (-0.75 - 0.5)), 1e-15);
	CU_ASSERT_EQUAL(label, 0);
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "bad BAD bad unknown", NULL), logistic((-0.5 - 3.0) - (-0.75 - 0.5)), 1e-15);
	/* good: 2 × 2.0, "not good": 4.0. */
	double norm = sqrt(16.0 + 16.0), negative = -0.75 + 4.0 / norm * -2.0 + 4.0 / norm * -1.0,
	       positive = -0.5 + 4.0 / norm * -0.25 + 4.0 / norm * -4.0;
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "Good? Not good.", &label), logistic(positive - negative), 1e-15);
	CU_ASSERT_EQUAL(label, 0);
	double prior = exp(-0.5) / (exp(-0.5) + exp(-0.75));
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "", &label), prior, 1e-15);
	CU_ASSERT_EQUAL(label, 1);
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "whatever \xff", NULL), prior, 1e-15);
	CU_ASSERT(text_bytes(c) > 3 * 8 * 4 && text_bytes(c) < 2000);
	text_free(c);
	text_free(NULL);
}

static void logistic_regression(void)
{
	struct text_classifier *c = NULL;
	struct err err = {0};
	int label;

	CU_ASSERT_EQUAL_FATAL(open_text(&c, STR(LOGISTIC), 2, &err), STATUS_OK);
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "bad", &label), logistic(0.25 - 1.5), 1e-15);
	CU_ASSERT_EQUAL(label, 0);
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "good good bad good", &label), logistic(0.25 - 1.5 + (1 + log(3)) * 2.0 * 0.5),
			       1e-15);
	CU_ASSERT_EQUAL(label, 1);
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "", NULL), logistic(0.25), 1e-15);
	text_free(c);
	/* Three classes have three rows. */
	static const char three[] =
		"{\"format\": \"appcore text 1\", \"classifier\": \"logistic_regression\", \"ngram_range\": [1, 1],"
		" \"sublinear_tf\": true, \"norm\": null, \"vocabulary\": [\"bad\"], \"idf\": [2],"
		" \"coefficients\": [[-1000], [1], [1]], \"intercepts\": [0, 0, 0]}";
	struct str texts[] = {STR("bad"), STR("")};
	double results[2], probabilities[6];
	int labels[2];
	struct arena arena;
	size_t bad;
	CU_ASSERT_EQUAL_FATAL(open_text(&c, STR(three), 3, &err), STATUS_OK);
	arena_init(&arena, 1 << 20);
	struct model_batch batch = {.n = 2,
				    .texts = texts,
				    .results = results,
				    .labels = labels,
				    .probabilities = probabilities,
				    .arena = &arena};
	CU_ASSERT_EQUAL(text_classify(c, &batch, false, &bad, &err), STATUS_OK);
	CU_ASSERT(labels[0] == 1 && results[0] == 1.0); /* the first of equals */
	CU_ASSERT(labels[1] == 0 && results[1] == 0.0);
	CU_ASSERT_DOUBLE_EQUAL(probabilities[0], 0.0, 1e-15);
	CU_ASSERT_DOUBLE_EQUAL(probabilities[2], 0.5, 1e-15);
	CU_ASSERT_DOUBLE_EQUAL(probabilities[4], 1.0 / 3, 1e-15);
	arena_release(&arena);
	arena_init(&arena, 16);
	batch.arena = &arena;
	CU_ASSERT_EQUAL(text_classify(c, &batch, false, &bad, &err), STATUS_NO_MEMORY);
	arena_release(&arena);
	text_free(c);
}

static void extreme_scores(void)
{
	static const char file[] =
		"{\"format\": \"appcore text 1\", \"classifier\": \"logistic_regression\", \"ngram_range\": [1, 1],"
		" \"sublinear_tf\": false, \"norm\": null, \"vocabulary\": [\"up\", \"down\", \"over\"],"
		" \"idf\": [1, 1, 1e300], \"coefficients\": [[1e300, -1e300, 1e300]], \"intercepts\": [0]}";
	struct str text = STR("fine up over");
	struct text_classifier *c = NULL;
	struct arena arena;
	struct err err = {0};
	double result;
	size_t bad = 7;

	CU_ASSERT_EQUAL_FATAL(open_text(&c, STR(file), 2, &err), STATUS_OK);
	CU_ASSERT_EQUAL(ask(c, "up", NULL), 1.0);
	CU_ASSERT_EQUAL(ask(c, "down", NULL), 0.0);
	arena_init(&arena, 1 << 20);
	struct model_batch batch = {.n = 1, .texts = &text, .results = &result, .arena = &arena};
	CU_ASSERT_EQUAL(text_classify(c, &batch, true, &bad, &err), STATUS_INVALID);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_STRING_EQUAL(err.text, "The scores of the text are not finite");
	arena_release(&arena);
	text_free(c);
}

/* A long text with every term many times, and a vocabulary that fills more than one page. */
static void much_of_everything(void)
{
	enum { TERMS = 5000 };
	struct str terms[TERMS];
	double idf[TERMS], weights[2 * TERMS], intercepts[2] = {0.0, 0.0};
	char(*names)[16] = calloc(TERMS, sizeof(*names)), *text = malloc(TERMS * 2 * 16 + 1);
	struct text_spec spec = {.method = TEXT_NAIVE_BAYES,
				 .ngram_min = 1,
				 .ngram_max = TEXT_NGRAM_MAX,
				 .classes_n = 2,
				 .rows_n = 2,
				 .terms_n = TERMS,
				 .terms = terms,
				 .idf = idf,
				 .weights = weights,
				 .intercepts = intercepts};
	struct text_classifier *c = NULL;
	struct err err = {0};
	size_t n = 0;

	CU_ASSERT_FATAL(names && text);
	for (int i = 0; i < TERMS; i++) {
		snprintf(names[i], sizeof(names[i]), "w%d", i);
		terms[i] = str_of(names[i]);
		idf[i] = 1.0;
		weights[i] = 0.0;
		weights[TERMS + i] = i % 2 ? 0.001 : -0.001;
	}
	weights[TERMS + 77] += 0.5;
	for (int i = 0; i < 2 * TERMS; i++)
		n += (size_t)sprintf(text + n, "w%d ", i * 7 % TERMS);
	CU_ASSERT_EQUAL_FATAL(text_new(&c, &spec, &err), STATUS_OK);
	CU_ASSERT_DOUBLE_EQUAL(ask(c, text, NULL), logistic(2 * 0.5), 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(ask(c, "w77 w9999 w4998", NULL), logistic(0.501 - 0.001), 1e-12);
	text_free(c);
	terms[4999] = terms[10];
	CU_ASSERT_EQUAL(text_new(&c, &spec, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "\"vocabulary\" has \"w10\" twice (the second time at 4999).");
	free(names);
	free(text);
}

static void what_is_written_is_read(void)
{
	struct text_spec spec, again;
	struct arena arena;
	struct buf out;
	struct err err = {0};
	const char *const files[] = {BAYES, LOGISTIC};

	for (int i = 0; i < 2; i++) {
		arena_init(&arena, 1 << 20);
		buf_init(&out, &arena);
		CU_ASSERT_EQUAL_FATAL(text_read(&spec, str_of(files[i]), 2, &arena, &err), STATUS_OK);
		text_write(&spec, &out);
		CU_ASSERT_EQUAL_FATAL(text_read(&again, buf_view(&out), 2, &arena, &err), STATUS_OK);
		CU_ASSERT(again.method == spec.method && again.ngram_min == spec.ngram_min &&
			  again.ngram_max == spec.ngram_max && again.sublinear == spec.sublinear &&
			  again.l2 == spec.l2 && again.rows_n == spec.rows_n && again.terms_n == spec.terms_n);
		for (size_t t = 0; t < spec.terms_n; t++)
			CU_ASSERT(str_eq(spec.terms[t], again.terms[t]) && spec.idf[t] == again.idf[t]);
		size_t n = (size_t)spec.rows_n;
		CU_ASSERT_EQUAL(memcmp(spec.weights, again.weights, n * spec.terms_n * sizeof(double)), 0);
		CU_ASSERT_EQUAL(memcmp(spec.intercepts, again.intercepts, n * sizeof(double)), 0);
		arena_release(&arena);
	}
}

/* BAYES with one thing replaced. */
static void bad_files_name_the_place(void)
{
	static const struct {
		const char *from, *to, *says;
	} cases[] = {
		{"{\"format\"", "", "The file is no JSON: "},
		{"-0.5]}", "-0.5]", "The file is no JSON: "},
		{"-0.5]}", "NaN]}", "The file is no JSON: "},
		{"text 1", "text 2", "The file is no object with \"format\": \"appcore text 1\"."},
		{"naive_bayes", "bayes", "\"classifier\" is neither \"naive_bayes\" nor \"logistic_regression\"."},
		{"naive_bayes", "logistic_regression",
		 "\"feature_log_prob\" is no member of a logistic_regression model."},
		{"\"norm\": \"l2\"", "\"norms\": \"l2\"", "\"norms\" is no member of a naive_bayes model."},
		{"\"norm\": \"l2\",", "", "\"norm\" is missing."},
		{"\"l2\"", "\"l1\"", "\"norm\" is neither \"l2\" nor null."},
		{"\"sublinear_tf\": false", "\"sublinear_tf\": 0", "\"sublinear_tf\" is neither true nor false."},
		{"[1, 2]", "[1]", "\"ngram_range\" is not two whole numbers"},
		{"[1, 2]", "[2, 1]", "\"ngram_range\" is not two whole numbers"},
		{"[1, 2]", "[0, 1]", "\"ngram_range\" is not two whole numbers"},
		{"[1, 2]", "[1, 9]", "\"ngram_range\" is not two whole numbers"},
		{"[1, 2]", "[1, 1.5]", "\"ngram_range\" is not two whole numbers"},
		{"[1, 2]", "[1, 2, 2]", "\"ngram_range\" is not two whole numbers"},
		{"[1, 2]", "\"1\"", "\"ngram_range\" is not two whole numbers"},
		{"[\"bad\", \"good\", \"not good\"]", "[]", "\"vocabulary\" has 0 terms, not 1 to 10000000."},
		{"[\"bad\", \"good\", \"not good\"]", "{}", "\"vocabulary\" is no array."},
		{"\"not good\"", "7", "\"vocabulary\" at 2 is no string."},
		{"\"not good\"", "\"\"", "\"vocabulary\" at 2 is not 1 to 65535 bytes long."},
		{"\"not good\"", "\"b\\u0061d\"", "\"vocabulary\" has \"bad\" twice (the second time at 2)."},
		{", \"not good\"", "", "\"idf\" has 3 numbers for 2 terms."},
		{"[1.5, 2.0, 4.0]", "[1.5, 2.0]", "\"idf\" has 2 numbers for 3 terms."},
		{"[1.5, 2.0, 4.0]", "[1.5, 1e999, 4.0]", "\"idf\" at 1 is no finite number."},
		{"[1.5, 2.0, 4.0]", "[1.5, null, 4.0]", "\"idf\" at 1 is no finite number."},
		{"[1.5, 2.0, 4.0]", "1.5", "\"idf\" is no array."},
		{", [-3.0, -0.25, -4.0]", "", "\"feature_log_prob\" is not an array of 2 rows, which 2 classes need."},
		{"[-3.0, -0.25, -4.0]", "[-3.0, -0.25]", "\"feature_log_prob\" row 1 has 2 numbers for 3 terms."},
		{"[-3.0, -0.25, -4.0]", "[-3.0, -1e999, -4.0]", "\"feature_log_prob\" row 1 at 1 is no finite number."},
		{"[-3.0, -0.25, -4.0]", "-3.0", "\"feature_log_prob\" row 1 is no array."},
		{"[-0.75, -0.5]", "[-0.75]", "\"class_log_prior\" has 1 numbers for 2 classes."},
		{"[-0.75, -0.5]", "[-0.75, true]", "\"class_log_prior\" at 1 is no finite number."},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct text_classifier *c = NULL;
		struct err err = {0};
		char file[2000];
		const char *at = strstr(BAYES, cases[i].from);
		CU_ASSERT_PTR_NOT_NULL_FATAL(at);
		int n = snprintf(file, sizeof(file), "%.*s%s%s", (int)(at - BAYES), BAYES, cases[i].to,
				 at + strlen(cases[i].from));
		CU_ASSERT_EQUAL(open_text(&c, (struct str){file, (size_t)n}, 2, &err), STATUS_INVALID);
		CU_ASSERT_PTR_NULL(c);
		if (strncmp(err.text, cases[i].says, strlen(cases[i].says)) != 0)
			printf("\n%s\n  instead of %s\n", err.text, cases[i].says);
		CU_ASSERT_EQUAL(strncmp(err.text, cases[i].says, strlen(cases[i].says)), 0);
	}
}

static void every_cut_is_refused(void)
{
	struct text_classifier *c = NULL;
	struct err err;

	for (size_t n = 0; n + 1 < sizeof(BAYES) - 1; n++)
		CU_ASSERT_EQUAL(open_text(&c, (struct str){BAYES, n}, 2, &err), STATUS_INVALID);
	CU_ASSERT_EQUAL(open_text(&c, STR(BAYES), 3, &err), STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "\"feature_log_prob\" is not an array of 3 rows, which 3 classes need.");
	CU_ASSERT_EQUAL(open_text(&c, STR(BAYES), 1, &err), STATUS_INVALID);
	CU_ASSERT_EQUAL(open_text(&c, STR(BAYES), 0, &err), STATUS_INVALID);
}

static const struct unit_case CASES[] = {
	{"naive Bayes", naive_bayes},
	{"logistic regression", logistic_regression},
	{"extreme scores", extreme_scores},
	{"much of everything", much_of_everything},
	{"what is written is read", what_is_written_is_read},
	{"bad files name the place", bad_files_name_the_place},
	{"every cut is refused", every_cut_is_refused},
};

int main(void)
{
	return UNIT_RUN("text", CASES);
}
