/* Quantiles, comparisons of two versions' answers, and stored inputs asked of another version. */
#include "model_helpers.h"
#include "unit.h"

#include "model/compare.h"
#include "model/rescore.h"

#include <stdlib.h>

/* --- quantiles --- */

static void few_values_are_exact(void)
{
	static const double values[] = {5, -1, 0, 3, 1, -2, 4, 2, -3, 1e-300};
	struct quantiles *q = quantiles_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(q);
	CU_ASSERT(isnan(quantiles_at(q, 0.5)));
	for (size_t i = 0; i < 10; i++)
		quantiles_add(q, values[i]);
	/* -3 -2 -1 0 1e-300 1 2 3 4 5: rank ceil(10 q) */
	CU_ASSERT_EQUAL(quantiles_at(q, 0.0), -3);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.1), -3);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.11), -2);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.4), 0);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.5), 1e-300);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.51), 1);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.9), 4);
	CU_ASSERT_EQUAL(quantiles_at(q, 1.0), 5);
	CU_ASSERT_EQUAL(quantiles_zeros(q), 2);
	CU_ASSERT_EQUAL(quantiles_between(q, -2, 2), 3); /* -2 -1 1, not the zeros, not 2 */
	CU_ASSERT_EQUAL(quantiles_between(q, -INFINITY, INFINITY), 8);
	quantiles_add(q, 10); /* after it was sorted */
	CU_ASSERT_EQUAL(quantiles_at(q, 1.0), 10);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.95), 10);
	CU_ASSERT_EQUAL(quantiles_count(q), 11);
	quantiles_free(q);
}

/* -50,000 to 49,999 in an order that is none: the value of rank r is r - 50,001. */
static void many_values_are_near(void)
{
	static const double ranks[] = {0.001, 0.01, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 0.99, 0.999};
	struct quantiles *q = quantiles_new();
	double worst = 0.0;
	enum { N = 100000 };

	CU_ASSERT_PTR_NOT_NULL_FATAL(q);
	for (int i = 0; i < N; i++)
		quantiles_add(q, (double)((int64_t)i * 61 % N) - N / 2);
	for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
		double exact = ceil(ranks[i] * N) - 1 - (double)N / 2;
		worst = fmax(worst, fabs(quantiles_at(q, ranks[i]) - exact) / fabs(exact));
	}
	CU_ASSERT(worst <= QUANTILES_ERROR * 1.000001);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.0), -N / 2);
	CU_ASSERT_EQUAL(quantiles_at(q, 1.0), N / 2 - 1);
	CU_ASSERT_EQUAL(quantiles_zeros(q), 1);
	CU_ASSERT_EQUAL(quantiles_between(q, -INFINITY, INFINITY), N - 1);
	CU_ASSERT_DOUBLE_EQUAL((double)quantiles_between(q, 10000, 20000), 10000, 10);
	CU_ASSERT_DOUBLE_EQUAL((double)quantiles_between(q, -20000, -10000), 10000, 10);
	CU_ASSERT_EQUAL(quantiles_between(q, -INFINITY, 123) + quantiles_between(q, 123, 456) +
				quantiles_between(q, 456, INFINITY),
			N - 1);
	quantiles_free(q);
}

static void extremes_do_no_harm(void)
{
	static const double values[] = {1e308, -1e308, 5e-324, -5e-324, 1e12, -1e12, 1e-12, -0.0};
	struct quantiles *q = quantiles_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(q);
	for (int i = 0; i < 20000; i++)
		quantiles_add(q, values[i % 8]);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.0), -1e308);
	CU_ASSERT_EQUAL(quantiles_at(q, 1.0), 1e308);
	CU_ASSERT_EQUAL(quantiles_at(q, 0.4), 0);
	CU_ASSERT_DOUBLE_EQUAL(quantiles_at(q, 0.9), 1e12, 1e10); /* as large as magnitudes are told */
	quantiles_free(q);
}

/* --- comparing --- */

static void add(struct compare *compare, const char *id, double before, double after, const char *label_before,
		const char *label_after)
{
	compare_add(compare, &(struct compare_row){.id = str_of(id),
						   .created_at = STR("2026-01-01"),
						   .features = STR("[1.0]"),
						   .before = before,
						   .after = after,
						   .label_before = str_of(label_before),
						   .label_after = str_of(label_after)});
}

static void regressions(void)
{
	struct compare *c = compare_new(3, 0.0);
	double low, step;

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(compare_histogram(c, 10, &low, &step), 0);
	add(c, "a", 1, 1, "", "");
	add(c, "b", 2, 2.5, "", "");
	add(c, "c", 3, 2, "", "");
	add(c, "d", 4, 4.25, "", "");
	add(c, "e", 5, 8, "", "");
	add(c, "f", 6, 6, "", "");
	CU_ASSERT_EQUAL(c->rows, 6);
	CU_ASSERT_EQUAL(c->changed, 4);
	CU_ASSERT_EQUAL(c->labelled, 0);
	CU_ASSERT_EQUAL(c->sum, 2.75);
	CU_ASSERT_EQUAL(c->sum_abs, 4.75);
	CU_ASSERT_EQUAL(c->sum_squares, 0.25 + 1 + 0.0625 + 9);
	/* -1 0 0 0.25 0.5 3 */
	CU_ASSERT_EQUAL(quantiles_at(c->differences, 0.5), 0);
	CU_ASSERT_EQUAL(quantiles_at(c->differences, 0.75), 0.5);
	CU_ASSERT_EQUAL(quantiles_at(c->magnitudes, 0.5), 0.25);
	CU_ASSERT_EQUAL_FATAL(c->top_n, 3);
	CU_ASSERT_STRING_EQUAL(c->top[0].id, "e");
	CU_ASSERT_STRING_EQUAL(c->top[1].id, "c");
	CU_ASSERT_STRING_EQUAL(c->top[2].id, "b");
	CU_ASSERT_EQUAL(c->top[0].difference, 3);
	CU_ASSERT_EQUAL(c->top[1].before, 3);

	int bins = compare_histogram(c, 10, &low, &step);
	CU_ASSERT_EQUAL(step, 0.5);
	CU_ASSERT_EQUAL(low, -1.0);
	CU_ASSERT_EQUAL(bins, 9); /* -1 -0.5 0 0.5 1 1.5 2 2.5 3 */
	static const int64_t counts[] = {1, 0, 1, 1, 0, 0, 0, 0, 1};
	for (int i = 0; i < bins && i < 9; i++)
		CU_ASSERT_EQUAL(compare_bin(c, bins, i, low, step), counts[i]);
	compare_free(c);
}

static void tolerances(void)
{
	struct compare *c = compare_new(0, 0.25);

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	add(c, "a", 1, 1.25, "", "");
	add(c, "b", 1, 1.5, "", "");
	CU_ASSERT_EQUAL(c->changed, 1);
	CU_ASSERT_EQUAL(c->sum, 0.5);
	CU_ASSERT_EQUAL(c->top_n, 0);
	compare_free(c);
}

static void labels(void)
{
	struct compare *c = compare_new(10, 0.0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	add(c, "a", 0.9, 0.8, "yes", "yes");
	add(c, "b", 0.6, 0.4, "yes", "no");
	add(c, "c", 0.4, 0.4, "no", "no");
	add(c, "d", NAN, NAN, "no", "maybe");
	add(c, "e", 0.3, 0.3, "no", "yes");
	CU_ASSERT_EQUAL(c->rows, 5);
	CU_ASSERT_EQUAL(c->values, 4);
	CU_ASSERT_EQUAL(c->changed, 4);
	CU_ASSERT_EQUAL(c->labelled, 5);
	CU_ASSERT_EQUAL(c->labels_changed, 3);
	CU_ASSERT_EQUAL_FATAL(c->labels_n, 3);
	CU_ASSERT_STRING_EQUAL(c->labels[0], "yes");
	CU_ASSERT_STRING_EQUAL(c->labels[1], "no");
	CU_ASSERT_STRING_EQUAL(c->labels[2], "maybe");
	static const int64_t counts[3][3] = {{1, 1, 0}, {1, 1, 1}, {0, 0, 0}};
	for (int i = 0; i < 9; i++)
		CU_ASSERT_EQUAL(c->matrix[i / 3 * COMPARE_LABELS_MAX + i % 3], counts[i / 3][i % 3]);
	CU_ASSERT_STRING_EQUAL(c->top[0].id, "d"); /* nothing but labels to go by */
	compare_free(c);
}

static void bounds(void)
{
	struct compare *c = compare_new(5000, 0.0);
	char text[700];

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 3000; i++) {
		char label[100];
		snprintf(label, sizeof(label), "label %d", i % 200);
		compare_add(c, &(struct compare_row){.id = {text, sizeof(text)},
						     .created_at = {text, sizeof(text)},
						     .features = {text, sizeof(text)},
						     .before = 0,
						     .after = i,
						     .label_before = str_of(label),
						     .label_after = {text, sizeof(text)}});
		snprintf(text, sizeof(text), "reason %03d", i);
		compare_refuse(c, STR("id"), str_of(text));
		memset(text, 'x', sizeof(text));
	}
	CU_ASSERT_EQUAL(c->top_n, COMPARE_TOP_MAX);
	CU_ASSERT_EQUAL(c->top[0].difference, 2999);
	CU_ASSERT_EQUAL(c->top[COMPARE_TOP_MAX - 1].difference, 2000);
	CU_ASSERT_EQUAL(strlen(c->top[0].features), COMPARE_TEXT_BYTES - 1);
	CU_ASSERT_STRING_EQUAL(c->top[0].features + COMPARE_TEXT_BYTES - 5, "x…");
	CU_ASSERT_EQUAL(c->labels_n, COMPARE_LABELS_MAX);
	CU_ASSERT_STRING_EQUAL(c->labels[COMPARE_LABELS_MAX - 1], "(others)");
	CU_ASSERT_EQUAL(c->refused, 3000);
	CU_ASSERT_EQUAL(c->reasons_n, COMPARE_REASONS_MAX);
	CU_ASSERT_STRING_EQUAL(c->reasons[0].text, "reason 000");
	CU_ASSERT_EQUAL(c->reasons[0].n, 1);
	compare_refuse(c, STR("id"), STR("reason 000"));
	CU_ASSERT_EQUAL(c->reasons[0].n, 2);
	int64_t sum = 0;
	for (int i = 0; i < COMPARE_LABELS_MAX * COMPARE_LABELS_MAX; i++)
		sum += c->matrix[i];
	CU_ASSERT_EQUAL(sum, 3000);
	compare_free(c);
}

static void what_is_compared(void)
{
	static const struct str no_yes[] = {STR_INIT("no"), STR_INIT("yes")},
				yes_no[] = {STR_INIT("yes"), STR_INIT("no")};
	static const struct str three[] = {STR_INIT("a"), STR_INIT("b"), STR_INIT("c")};
	static const struct str turned[] = {STR_INIT("c"), STR_INIT("a"), STR_INIT("d")};
	const struct manifest plain = {0}, binary = {.classes = no_yes, .classes_n = 2},
			      reversed = {.classes = yes_no, .classes_n = 2}, many = {.classes = three, .classes_n = 3},
			      others = {.classes = turned, .classes_n = 3};
	static const double half[] = {0.75, 0.25}, thirds[] = {0.5, 0.25, 0.25}, after[] = {0.125, 0.625, 0.25};
	static const struct compare_answer five = {.result = 5}, six = {.result = 6},
					   yes = {0.25, STR_INIT("no"), half, 2}, a = {0, STR_INIT("a"), thirds, 3},
					   a_too = {1, STR_INIT("a"), after, 3};
	const struct {
		const struct manifest *from, *to;
		const struct compare_answer *before, *after;
		double values[2];
	} cases[] = {
		{NULL, NULL, &five, &six, {5, 6}},
		{&plain, &plain, &five, &six, {5, 6}},
		{&binary, &binary, &yes, &yes, {0.25, 0.25}},
		{&binary, &reversed, &yes, &yes, {0.25, 0.75}}, /* the same class, by its name */
		{NULL, &reversed, &yes, &yes, {0.25, 0.25}},
		{&many, &others, &a, &a_too, {0.5, 0.625}},
		{NULL, &others, &a, &a_too, {0.5, 0.625}},
		{&many, &binary, &a, &yes, {0.5, NAN}}, /* it has no such class */
		{&many, &many, &five, &a, {NAN, NAN}},
		{&binary, &binary, &five, &six, {5, 6}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct compare_row row = {0};
		compare_values(&row, cases[i].from, cases[i].before, cases[i].to, cases[i].after);
		CU_ASSERT(row.before == cases[i].values[0] || (isnan(row.before) && isnan(cases[i].values[0])));
		CU_ASSERT(row.after == cases[i].values[1] || (isnan(row.after) && isnan(cases[i].values[1])));
		CU_ASSERT(str_eq(row.label_after, cases[i].after->label));
	}

	static const struct {
		const char *text;
		int n;
	} lists[] = {{"[0.125, 0.5]", 2}, {"[]", 0},        {"", 0},  {"[1,2,3,4]", 0},
		     {"[[1]]", 0},        {"{\"a\":1}", 0}, {"[1", 0}};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		double out[3];
		CU_ASSERT_EQUAL(compare_read_probabilities(str_of(lists[i].text), out, 3), lists[i].n);
		CU_ASSERT(lists[i].n < 2 || out[1] == 0.5);
	}
}

/* --- asking again --- */

#define LINEAR(coefficients)                                                                                           \
	"{\"format\":\"appcore linear 1\",\"coefficients\":[[" coefficients "]],\"intercepts\":[0]}"
#define REGRESSION "{\"type\":\"regression\"}"

static struct rescore_row rescored(const struct model *from, const struct model *to, const char *features,
				   char why[256])
{
	struct rescore *rescore = rescore_new(from, to);
	struct rescore_row row = {.features = str_of(features)};
	struct arena arena;
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(rescore);
	arena_init(&arena, 1 << 20);
	CU_ASSERT_EQUAL(rescore_run(rescore, &row, 1, &arena, &err), STATUS_OK);
	snprintf(why, 256, "%.*s", STR_ARG(row.why));
	arena_release(&arena);
	rescore_free(rescore);
	return row;
}

static void by_names(void)
{
	struct model *from = helper_model("linear",
					  "[{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"b\",\"type\":\"number\"},"
					  "{\"name\":\"c\",\"type\":\"number\"}]",
					  "", REGRESSION, "", LINEAR("1,1,1"));
	/* Knows c and a in another order, lacks b, and has a new input that may be missing. */
	struct model *to = helper_model("linear",
					"[{\"name\":\"c\",\"type\":\"number\"},{\"name\":\"new\",\"type\":\"number\"},"
					"{\"name\":\"a\",\"type\":\"number\",\"maximum\":9,\"outside\":\"refuse\"}]",
					"[{\"step\":\"impute\",\"inputs\":[\"new\"],\"values\":[0.5]}]", REGRESSION, "",
					LINEAR("100,10,1"));
	char why[256];

	CU_ASSERT_EQUAL(rescored(from, to, "[1.0, 2.0, 3.0]", why).result, 306);
	CU_ASSERT_EQUAL(rescored(NULL, to, "[1.0, 2.0, 3.0]", why).result, 123); /* by place */
	CU_ASSERT_EQUAL(rescored(from, to, "[10.0, 2.0, 3.0]", why).status, STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(why, "a: Input should be less than or equal to 9");
	CU_ASSERT_EQUAL(rescored(from, to, "[null, 2.0, 3.0]", why).status, STATUS_INVALID);
	CU_ASSERT_EQUAL(rescored(from, to, "[1.0", why).status, STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(why, "What is stored is not JSON");
	CU_ASSERT_EQUAL(rescored(from, to, "[1.0]", why).status, STATUS_INVALID);
	CU_ASSERT_EQUAL(rescored(from, to, "\"text\"", why).status, STATUS_INVALID);
	model_drop(to);
	/* Not one name in common: nothing would be left but missing values. */
	to = helper_model("linear",
			  "[{\"name\":\"f0\",\"type\":\"number\"},{\"name\":\"f1\",\"type\":\"number\"},"
			  "{\"name\":\"f2\",\"type\":\"number\"}]",
			  "", REGRESSION, "", LINEAR("100,10,1"));
	CU_ASSERT_EQUAL(rescored(from, to, "[1.0, 2.0, 3.0]", why).result, 123);
	model_drop(from);
	model_drop(to);
}

/* Ten times a value below 5; what is not is refused, with its place. */
static enum status below_5(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	(void)model;
	for (size_t i = 0; i < batch->n; i++) {
		if (batch->values[i] >= 5) {
			*bad = i;
			return err_set(err, STATUS_INVALID, "%g is too much", batch->values[i]);
		}
		batch->results[i] = 10 * batch->values[i];
	}
	return STATUS_OK;
}

static void refused_ones_are_taken_out(void)
{
	static const struct model_ops ops = {.predict = below_5};
	struct model model = {.name = "m", .version = "1", .accepts = MODEL_VECTOR, .inputs_n = 0, .ops = &ops};
	static const double values[] = {1, 7, 2, 8, 9, 3, 4, 5};
	char features[8][16];

	for (int fixed = 0; fixed < 2; fixed++) {
		struct model *narrow = helper_model("linear", "[{\"name\":\"a\",\"type\":\"number\"}]", "", REGRESSION,
						    "", LINEAR("1"));
		struct rescore_row rows[8] = {0};
		struct arena arena;
		struct err err = {0};
		const struct model_ops *former = narrow->ops;
		const struct model_ops deciding = {.predict = below_5, .release = former->release};
		narrow->ops = &deciding;
		arena_init(&arena, 1 << 20);
		struct rescore *rescore = rescore_new(NULL, fixed ? narrow : &model);
		for (int i = 0; i < 8; i++) {
			snprintf(features[i], sizeof(features[i]), "[%g]", values[i]);
			rows[i].features = str_of(features[i]);
		}
		CU_ASSERT_EQUAL(rescore_run(rescore, rows, 8, &arena, &err), STATUS_OK);
		for (int i = 0; i < 8; i++) {
			CU_ASSERT_EQUAL(rows[i].status, values[i] < 5 ? STATUS_OK : STATUS_INVALID);
			if (values[i] < 5)
				CU_ASSERT_EQUAL(rows[i].result, 10 * values[i]);
		}
		CU_ASSERT(str_eq(rows[1].why, STR("7 is too much")));
		/* A full arena is no row's fault. */
		arena_reset(&arena);
		arena.limit = 100;
		CU_ASSERT_EQUAL(rescore_run(rescore, rows, 8, &arena, &err), STATUS_NO_MEMORY);
		rescore_free(rescore);
		arena_release(&arena);
		model_drop(narrow);
	}
}

static void of_the_mean(void)
{
	char why[256];

	CU_ASSERT_EQUAL(rescored(model_mean(), model_mean(), "[1.0, 2.0, 6.0]", why).result, 3);
	CU_ASSERT_EQUAL(rescored(model_mean(), model_mean(), "[5]", why).result, 5);
	CU_ASSERT_EQUAL(rescored(model_mean(), model_mean(), "[]", why).status, STATUS_INVALID);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"few values are exact", few_values_are_exact},
		{"many values are near", many_values_are_near},
		{"extremes do no harm", extremes_do_no_harm},
		{"regressions", regressions},
		{"tolerances", tolerances},
		{"labels", labels},
		{"bounds", bounds},
		{"what is compared", what_is_compared},
		{"by names", by_names},
		{"refused ones are taken out", refused_ones_are_taken_out},
		{"of the mean", of_the_mean},
	};

	return UNIT_RUN("compare", cases);
}
