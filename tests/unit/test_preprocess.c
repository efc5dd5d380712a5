/* Steps of preprocessing: columns of rows. */
#include "model_helpers.h"
#include "unit.h"

#include "model/preprocess.h"

static const char INPUTS[] = "[{\"name\":\"a\",\"type\":\"number\"},"
			     "{\"name\":\"c\",\"type\":\"category\",\"categories\":[\"x\",\"y\",\"z\"]},"
			     "{\"name\":\"b\",\"type\":\"number\",\"missing\":\"flag\"},"
			     "{\"name\":\"d\",\"type\":\"category\",\"categories\":[\"p\"],\"missing\":\"allow\"}]";

static struct manifest *parse(const char *steps)
{
	struct buf text = helper_manifest("linear", INPUTS, steps, "{\"type\":\"regression\"}", "", "");
	struct manifest *manifest = NULL;
	struct err err = {0};

	if (manifest_parse(&manifest, buf_view(&text), &err) != STATUS_OK)
		printf("\n%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(manifest);
	buf_release(&text);
	return manifest;
}

enum { COLUMNS_MAX = 8 };

static void gives(const char *steps, const double row[4], int n, const double columns[COLUMNS_MAX])
{
	struct manifest *manifest = parse(steps);
	struct preprocess *preprocess;
	double got[COLUMNS_MAX];

	CU_ASSERT_EQUAL_FATAL(preprocess_new(&preprocess, manifest, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(preprocess_columns(preprocess), n);
	CU_ASSERT_EQUAL(manifest_columns(manifest), n);
	CU_ASSERT_EQUAL(preprocess_is_none(preprocess), *steps == 0);
	CU_ASSERT_TRUE(preprocess_bytes(preprocess) > 0);
	preprocess_row(preprocess, row, got);
	for (int i = 0; i < n; i++)
		CU_ASSERT_TRUE(got[i] == columns[i] || (isnan(got[i]) && isnan(columns[i])));
	preprocess_free(preprocess);
	manifest_free(manifest);
}

static void steps_make_columns(void)
{
	const double nan_ = (double)NAN;

#define IMPUTE   "{\"step\":\"impute\",\"inputs\":[\"b\",\"d\"],\"values\":[7,\"p\"]}"
#define STANDARD "{\"step\":\"standardise\",\"inputs\":[\"b\",\"a\"],\"means\":[1,10],\"scales\":[2,0.1]}"
#define HOT      "{\"step\":\"one_hot\",\"input\":\"c\"}"
	gives("", (double[]){1, 2, nan_, -1}, 4, (double[COLUMNS_MAX]){1, 2, nan_, -1});
	gives("[" IMPUTE "]", (double[]){1, 2, nan_, nan_}, 4, (double[COLUMNS_MAX]){1, 2, 7, 0});
	gives("[" IMPUTE "]", (double[]){nan_, nan_, 3, -1}, 4, (double[COLUMNS_MAX]){nan_, nan_, 3, -1});
	gives("[" STANDARD "]", (double[]){1, 2, nan_, 0}, 4, (double[COLUMNS_MAX]){-9 / 0.1, 2, nan_, 0});
	gives("[" IMPUTE "," STANDARD "]", (double[]){10, 2, nan_, 0}, 4, (double[COLUMNS_MAX]){0, 2, 3, 0});
	gives("[" STANDARD "," IMPUTE "]", (double[]){10, 2, nan_, 0}, 4, (double[COLUMNS_MAX]){0, 2, 7, 0});
	gives("[" HOT "]", (double[]){5, 1, 6, 0}, 6, (double[COLUMNS_MAX]){5, 0, 1, 0, 6, 0});
	gives("[" HOT "]", (double[]){5, nan_, 6, 0}, 6, (double[COLUMNS_MAX]){5, 0, 0, 0, 6, 0});
	gives("[" HOT "]", (double[]){5, -1, 6, 0}, 6, (double[COLUMNS_MAX]){5, 0, 0, 0, 6, 0});
	gives("[" HOT "," STANDARD ",{\"step\":\"one_hot\",\"input\":\"d\"}]", (double[]){10, 2, 1, -1}, 6,
	      (double[COLUMNS_MAX]){0, 0, 0, 1, 0, 0});
	gives("[{\"step\":\"impute\",\"inputs\":[],\"values\":[]}]", (double[]){1, 2, 3, 0}, 4,
	      (double[COLUMNS_MAX]){1, 2, 3, 0});
}

static void may_miss(const char *steps, bool a, bool b, bool d)
{
	struct manifest *manifest = parse(steps);
	struct preprocess *preprocess;

	CU_ASSERT_EQUAL_FATAL(preprocess_new(&preprocess, manifest, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(preprocess_may_miss(preprocess, 0), a);
	CU_ASSERT_EQUAL(preprocess_may_miss(preprocess, 2), b);
	CU_ASSERT_EQUAL(preprocess_may_miss(preprocess, 3), d);
	preprocess_free(preprocess);
	manifest_free(manifest);
}

static void knows_what_may_be_missing(void)
{
	may_miss("", false, true, true);
	may_miss("[" STANDARD "," IMPUTE "]", false, false, false);
	may_miss("[" STANDARD ",{\"step\":\"one_hot\",\"input\":\"d\"}]", false, true, false);
}

static const struct unit_case CASES[] = {
	{"steps make columns", steps_make_columns},
	{"knows what may be missing", knows_what_may_be_missing},
};

int main(void)
{
	return UNIT_RUN("preprocess", CASES);
}
