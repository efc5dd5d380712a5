/* Whether what XGBoost's file says about itself and the manifest fit, and what sums begin with. */
#include "model/xgboost_impl.h"

#include <math.h>
#include <stdlib.h>

#include "model/scan.h"
#include "model/strict.h"

struct check {
	struct scan scan; /* for its sentences only */
	const struct xgboost_facts *facts;
	const struct manifest *manifest;
	int columns;
	struct xgboost_file *out;
};

/* That the file and the manifest speak of the same model. */
static bool check_learner(struct check *check)
{
	static const char *const outputs[] = {
		[MANIFEST_REGRESSION] = "regression", [MANIFEST_BINARY] = "binary",
		[MANIFEST_MULTICLASS] = "multiclass", [MANIFEST_COUNT] = "count",
		[MANIFEST_RANKING] = "ranking",
	};
	struct scan *scan = &check->scan;
	const struct manifest *manifest = check->manifest;
	int classes = manifest->output == MANIFEST_MULTICLASS ? manifest->classes_n : 0;

	check->out->objective = xgboost_objective_find(check->facts->objective);
	scan->member = STR("objective");
	if (!check->out->objective)
		return scan_fail(scan, STATUS_INVALID, "\"%.*s\" is not supported",
				 STR_ARG(strict_cut(check->facts->objective, 60)));
	if (!(check->out->objective->outputs & 1u << manifest->output))
		return scan_fail(scan, STATUS_INVALID, "\"%.*s\" does not fit the manifest's output.type \"%s\"",
				 STR_ARG(check->out->objective->name), outputs[manifest->output]);
	scan->member = STR("num_target");
	if (check->facts->num_target > 1)
		return scan_fail(scan, STATUS_INVALID,
				 "the model has %d targets, one is supported: train a model for each",
				 check->facts->num_target);
	scan->member = STR("num_class");
	if ((check->facts->num_class > 1 ? check->facts->num_class : 0) != classes)
		return scan_fail(scan, STATUS_INVALID, "the model has %d classes, the manifest's output.classes has %d",
				 check->facts->num_class, classes);
	scan->member = STR("num_feature");
	if (check->facts->num_feature != check->columns)
		return scan_fail(scan, STATUS_INVALID,
				 "the model has %d features, the manifest's inputs give %d columns",
				 check->facts->num_feature, check->columns);
	return true;
}

/* What sums begin with. XGBoost saves the base score as what the model says, not as a margin. */
static bool to_margin(struct check *check, float *score)
{
	struct scan *scan = &check->scan;

	switch (check->out->objective->link) {
	case XGBOOST_IDENTITY:
	case XGBOOST_HINGE:
	case XGBOOST_LOGIT_RAW:
	case XGBOOST_SOFTMAX:
		return true;
	case XGBOOST_LOGISTIC:
		if (*score <= 0.0f || *score >= 1.0f)
			return scan_fail(scan, STATUS_INVALID, "should be between 0 and 1, not %g", (double)*score);
		*score = -logf(1.0f / *score - 1.0f);
		return true;
	case XGBOOST_EXP:
		if (*score <= 0.0f)
			return scan_fail(scan, STATUS_INVALID, "should be more than 0, not %g", (double)*score);
		*score = logf(*score);
		return true;
	}
	return false;
}

/* "5E-1", or from 3.1 on "[5E-1]", one for all or one for each class. */
static bool take_base(struct check *check)
{
	struct scan inner, *scan = &check->scan;
	struct scan_floats scores = {0};
	float one = 0.0f;
	bool good;

	scan_init(&inner, check->facts->base_score, NULL);
	if (scan_peek(&inner) == '[') {
		good = scan_float_array(&inner, &scores) && scan_end(&inner) &&
		       (scores.n == 1 || scores.n == (size_t)check->out->margins_n);
		one = good ? scores.p[0] : 0.0f;
	} else {
		good = scan_float(&inner, &one) && scan_end(&inner);
	}
	scan->member = STR("base_score");
	if (!good)
		scan_fail(scan, STATUS_INVALID, "\"%.*s\" is no number, and no list of one or %d numbers",
			  STR_ARG(strict_cut(check->facts->base_score, 60)), check->out->margins_n);
	for (int i = 0; good && i < check->out->margins_n; i++) {
		check->out->base[i] = scores.n > 1 ? scores.p[i] : one;
		good = to_margin(check, &check->out->base[i]);
	}
	free(scores.p);
	return good;
}

enum status xgboost_check(struct xgboost_file *out, const struct xgboost_facts *facts, const struct manifest *manifest,
			  int columns, struct err *err)
{
	struct check check = {.facts = facts, .manifest = manifest, .columns = columns, .out = out};

	scan_init(&check.scan, (struct str){0}, err);
	if (check_learner(&check) && take_base(&check))
		return STATUS_OK;
	return check.scan.status;
}
