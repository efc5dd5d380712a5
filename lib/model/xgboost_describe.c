/* The few members of XGBoost's file that a manifest is made of. Numbers there are texts: "num_feature": "11". */
#include "model/xgboost.h"

#include "base/id.h"
#include "base/json.h"
#include "model/manifest.h"
#include "model/xgboost_impl.h"

#include <sodium.h>

struct described {
	struct json_value names; /* an array, or of another type: there are none */
	const struct xgboost_objective *objective;
	uint64_t inputs, classes;
};

static bool read_number(struct json_value object, struct str name, uint64_t max, uint64_t *out)
{
	struct json_value value;

	if (!json_member(object, name, &value) || value.type != JSON_STRING || value.text.n < 2)
		return false;
	return str_to_u64((struct str){value.text.p + 1, value.text.n - 2}, max, out);
}

static enum status read_file(struct str file, struct described *out, struct err *err)
{
	static const char none[] =
		"This is no model that XGBoost has saved as JSON, and there is no manifest beside it";
	struct json_value root, learner, param, objective, name;
	struct json_fault fault;

	if (!json_check(file, JSON_MAX_DEPTH, &root, &fault))
		return err_set(err, STATUS_INVALID, "%s: %s at character %zu.", none, fault.reason, fault.offset);
	if (!json_member(root, STR("learner"), &learner) || !json_member(learner, STR("learner_model_param"), &param) ||
	    !json_member(learner, STR("objective"), &objective) || !json_member(objective, STR("name"), &name) ||
	    name.type != JSON_STRING)
		return err_set(err, STATUS_INVALID, "%s: it has no learner with an objective.", none);
	struct str text = {name.text.p + 1, name.text.n - 2};
	out->objective = xgboost_objective_find(text);
	if (!out->objective)
		return err_set(err, STATUS_INVALID, "learner.objective.name: \"%.*s\" is not supported.",
			       (int)(text.n < 60 ? text.n : 60), text.p);
	if (!read_number(param, STR("num_feature"), MANIFEST_INPUTS_MAX, &out->inputs) || out->inputs == 0)
		return err_set(err, STATUS_INVALID,
			       "learner.learner_model_param.num_feature: should be a number from 1 to %d.",
			       MANIFEST_INPUTS_MAX);
	if (!read_number(param, STR("num_class"), MODEL_CLASSES_MAX, &out->classes))
		out->classes = 0;
	if (!json_member(learner, STR("feature_names"), &out->names))
		out->names = (struct json_value){.type = JSON_NULL};
	return STATUS_OK;
}

static void put_inputs(const struct described *d, struct buf *out)
{
	struct json_iter iter;
	struct json_value name;

	json_iter_init(&iter, d->names);
	buf_str(out, STR("\"inputs\":["));
	for (uint64_t i = 0; i < d->inputs; i++) {
		buf_str(out, i ? STR(",{\"name\":") : STR("{\"name\":"));
		if (json_next(&iter, NULL, &name) && name.type == JSON_STRING)
			buf_str(out, name.text);
		else
			buf_fmt(out, "\"f%llu\"", (unsigned long long)i);
		buf_str(out, STR(",\"type\":\"number\"}"));
	}
	buf_char(out, ']');
}

static void put_output(const struct described *d, struct buf *out)
{
	unsigned outputs = d->objective->outputs;
	struct str name = d->objective->name;
	uint64_t classes = 0;

	buf_str(out, STR(",\"output\":{\"type\":\""));
	if (outputs & 1u << MANIFEST_MULTICLASS) {
		buf_str(out, STR("multiclass"));
		classes = d->classes;
	} else if (str_starts(name, STR("binary:"))) {
		buf_str(out, STR("binary"));
		classes = 2;
	} else if (str_starts(name, STR("count:"))) {
		buf_str(out, STR("count"));
	} else if (str_starts(name, STR("rank:"))) {
		buf_str(out, STR("ranking"));
	} else {
		buf_str(out, STR("regression"));
	}
	buf_char(out, '"');
	if (classes > 0) {
		buf_str(out, STR(",\"classes\":["));
		for (uint64_t i = 0; i < classes; i++)
			buf_fmt(out, "%s\"%llu\"", i ? "," : "", (unsigned long long)i);
		buf_char(out, ']');
	}
	buf_char(out, '}');
}

enum status xgboost_describe(struct str file, struct str name, struct buf *out, struct err *err)
{
	struct described described = {0};
	char text[MODEL_HASH_BYTES];
	uint8_t hash[32];

	enum status status = read_file(file, &described, err);
	if (status != STATUS_OK)
		return status;
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)file.p, file.n, NULL, 0);
	hex_format(hash, sizeof(hash), text);
	buf_fmt(out, "{\"appcore\":%d,\"kind\":\"xgboost\",\"file\":", MANIFEST_FORMAT);
	json_put_string(out, name);
	buf_fmt(out, ",\"hash\":\"%s\",", text);
	put_inputs(&described, out);
	put_output(&described, out);
	buf_str(out, STR("}\n"));
	return out->failed ? err_set(err, STATUS_NO_MEMORY, "There is no memory for a manifest.") : STATUS_OK;
}
