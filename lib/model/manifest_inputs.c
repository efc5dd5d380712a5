/* The inputs of a manifest. */
#include "model/manifest_impl.h"

#include <math.h>

enum { NAME_BYTES_MAX = 256 };
static const double SHARES_TOLERANCE = 1e-6; /* how far the sum of shares may be from 1 */

static const char *const TYPES[] = {
	[MANIFEST_NUMBER] = "number",
	[MANIFEST_INTEGER] = "integer",
	[MANIFEST_CATEGORY] = "category",
	[MANIFEST_TEXT] = "text",
};
static const char *const RULES[] = {[MANIFEST_REFUSE] = "refuse", [MANIFEST_FLAG] = "flag", [MANIFEST_ALLOW] = "allow"};

enum { NAME, TYPE, MINIMUM, MAXIMUM, OUTSIDE, MISSING, CATEGORIES, DISTRIBUTION, MEMBERS__MAX };
static const struct strict_member MEMBERS[] = {
	[NAME] = {"name", STRICT_STRING, true},
	[TYPE] = {"type", STRICT_STRING, true},
	[MINIMUM] = {"minimum", STRICT_NUMBER, false},
	[MAXIMUM] = {"maximum", STRICT_NUMBER, false},
	[OUTSIDE] = {"outside", STRICT_STRING, false},
	[MISSING] = {"missing", STRICT_STRING, false},
	[CATEGORIES] = {"categories", STRICT_ARRAY, false},
	[DISTRIBUTION] = {"distribution", STRICT_OBJECT, false},
};
_Static_assert(sizeof(MEMBERS) / sizeof(MEMBERS[0]) == MEMBERS__MAX, "a row for each member");

static enum status read_rule(struct manifest_reader *r, const struct place *at, struct json_value value,
			     enum manifest_rule *rule)
{
	int choice;

	if (!value.text.p)
		return STATUS_OK;
	enum status status = strict_choice(&r->strict, at, value, RULES, 3, &choice);
	if (status == STATUS_OK)
		*rule = (enum manifest_rule)choice;
	return status;
}

static enum status read_range(struct manifest_reader *r, const struct place *at, const struct json_value *values,
			      struct manifest_input *input)
{
	const struct strict *s = &r->strict;
	enum status status = STATUS_OK;

	input->minimum = -HUGE_VAL;
	input->maximum = HUGE_VAL;
	if (values[MINIMUM].text.p)
		status = strict_number(s, PLACE_MEMBER(at, "minimum"), values[MINIMUM], &input->minimum);
	if (status == STATUS_OK && values[MAXIMUM].text.p)
		status = strict_number(s, PLACE_MEMBER(at, "maximum"), values[MAXIMUM], &input->maximum);
	if (status != STATUS_OK)
		return status;
	if (input->type == MANIFEST_CATEGORY && (values[MINIMUM].text.p || values[MAXIMUM].text.p))
		return strict_fault(s, at, "is a category and has no minimum nor maximum");
	if (input->minimum > input->maximum)
		return strict_fault(s, PLACE_MEMBER(at, "minimum"), "is larger than the maximum");
	return STATUS_OK;
}

static enum status read_categories(struct manifest_reader *r, const struct place *at, struct json_value value,
				   struct manifest_input *input)
{
	const struct strict *s = &r->strict;
	const struct place *here = PLACE_MEMBER(at, "categories");
	struct str *names;

	if (input->type != MANIFEST_CATEGORY)
		return value.text.p ? strict_fault(s, here, "are for inputs of type \"category\"") : STATUS_OK;
	if (!value.text.p)
		return strict_fault(s, here, "is missing");
	enum status status = strict_strings(s, here, value, MANIFEST_CATEGORIES_MAX, &names, &input->categories_n);
	if (status != STATUS_OK)
		return status;
	if (input->categories_n == 0)
		return strict_fault(s, here, "is empty");
	input->categories = names;
	return manifest_index_names(r, &input->category_places, names, input->categories_n, here);
}

static enum status check_shares(const struct strict *s, const struct place *at, const struct manifest_input *input)
{
	double sum = 0;

	for (int i = 0; i < input->bins; i++) {
		if (input->shares[i] < 0 || input->shares[i] > 1)
			return strict_fault(s, PLACE_INDEX(PLACE_MEMBER(at, "shares"), i), "is not from 0 to 1");
		sum += input->shares[i];
	}
	if (fabs(sum - 1) > SHARES_TOLERANCE)
		return strict_fault(s, PLACE_MEMBER(at, "shares"), "sum to %.7g, not to 1", sum);
	if (input->missing_share < 0 || input->missing_share > 1)
		return strict_fault(s, PLACE_MEMBER(at, "missing"), "is not from 0 to 1");
	return STATUS_OK;
}

static enum status read_edges(struct manifest_reader *r, const struct place *at, struct json_value value,
			      struct manifest_input *input)
{
	const struct strict *s = &r->strict;
	double *edges;

	if (input->type == MANIFEST_CATEGORY) {
		if (value.text.p)
			return strict_fault(s, at, "is not for categories");
		input->bins = input->categories_n;
		return STATUS_OK;
	}
	if (!value.text.p)
		return strict_fault(s, at, "is missing");
	enum status status = strict_any_numbers(s, at, value, MANIFEST_BINS_MAX - 1, &edges, &input->bins);
	if (status != STATUS_OK)
		return status;
	for (int i = 1; i < input->bins; i++)
		if (edges[i] <= edges[i - 1])
			return strict_fault(s, PLACE_INDEX(at, i), "is not larger than the edge before it");
	input->edges = edges;
	input->bins++;
	return STATUS_OK;
}

static enum status read_distribution(struct manifest_reader *r, const struct place *at, struct json_value value,
				     struct manifest_input *input)
{
	enum { EDGES, SHARES, ABSENT, N };
	static const struct strict_member members[] = {
		[EDGES] = {"edges", STRICT_ARRAY, false},
		[SHARES] = {"shares", STRICT_ARRAY, true},
		[ABSENT] = {"missing", STRICT_NUMBER, false},
	};
	const struct strict *s = &r->strict;
	const struct place *here = PLACE_MEMBER(at, "distribution");
	struct json_value values[N];
	double *shares;
	enum status status;

	if (!value.text.p)
		return STATUS_OK;
	status = strict_members(s, here, value, members, N, values);
	if (status == STATUS_OK)
		status = read_edges(r, PLACE_MEMBER(here, "edges"), values[EDGES], input);
	if (status != STATUS_OK)
		return status;
	if (input->bins > MANIFEST_BINS_MAX)
		return strict_fault(s, here, "has %d bins, %d are allowed", input->bins, MANIFEST_BINS_MAX);
	shares = arena_alloc(s->arena, (size_t)input->bins * sizeof(*shares));
	if (!shares)
		return strict_no_memory(s);
	input->shares = shares;
	status = strict_numbers(s, PLACE_MEMBER(here, "shares"), values[SHARES], input->bins, shares);
	if (status == STATUS_OK && values[ABSENT].text.p)
		status = strict_number(s, PLACE_MEMBER(here, "missing"), values[ABSENT], &input->missing_share);
	return status == STATUS_OK ? check_shares(s, here, input) : status;
}

static enum status read_name(struct manifest_reader *r, const struct place *at, struct json_value value,
			     struct str *name)
{
	enum status status = strict_string(&r->strict, PLACE_MEMBER(at, "name"), value, name);

	if (status == STATUS_OK && (name->n == 0 || name->n > NAME_BYTES_MAX))
		return strict_fault(&r->strict, PLACE_MEMBER(at, "name"), "should have 1 to %d bytes", NAME_BYTES_MAX);
	return status;
}

static enum status read_input(struct manifest_reader *r, const struct place *at, struct json_value value,
			      struct manifest_input *input)
{
	struct json_value values[MEMBERS__MAX];
	int type = 0;
	enum status status = strict_members(&r->strict, at, value, MEMBERS, MEMBERS__MAX, values);

	if (status == STATUS_OK)
		status = read_name(r, at, values[NAME], &input->name);
	if (status == STATUS_OK)
		status = strict_choice(&r->strict, PLACE_MEMBER(at, "type"), values[TYPE], TYPES, 4, &type);
	if (status != STATUS_OK)
		return status;
	input->type = (enum manifest_type)type;
	input->outside = MANIFEST_ALLOW;
	input->missing_stated = values[MISSING].text.p != NULL;
	status = read_rule(r, PLACE_MEMBER(at, "outside"), values[OUTSIDE], &input->outside);
	if (status == STATUS_OK)
		status = read_rule(r, PLACE_MEMBER(at, "missing"), values[MISSING], &input->missing);
	if (status == STATUS_OK)
		status = read_range(r, at, values, input);
	if (status == STATUS_OK)
		status = read_categories(r, at, values[CATEGORIES], input);
	if (status == STATUS_OK)
		status = read_distribution(r, at, values[DISTRIBUTION], input);
	return status;
}

static enum status index_inputs(struct manifest_reader *r, const struct place *at)
{
	struct manifest *manifest = r->manifest;
	struct str *names = arena_alloc(r->strict.arena, (size_t)manifest->inputs_n * sizeof(*names));

	if (!names)
		return strict_no_memory(&r->strict);
	for (int i = 0; i < manifest->inputs_n; i++) {
		names[i] = manifest->inputs[i].name;
		if (manifest->inputs[i].type == MANIFEST_TEXT && manifest->inputs_n > 1)
			return strict_fault(&r->strict, PLACE_INDEX(at, i),
					    "is a text, which has to be the only input");
	}
	return manifest_index_names(r, &manifest->input_places, names, manifest->inputs_n, at);
}

enum status manifest_read_inputs(struct manifest_reader *r, struct json_value array, bool lenient)
{
	const struct place *at = PLACE_MEMBER(NULL, "inputs");
	struct json_iter iter;
	struct json_value value;
	int n = strict_count(array);

	if (n == 0)
		return strict_fault(&r->strict, at, "is empty");
	if (n > MANIFEST_INPUTS_MAX)
		return strict_fault(&r->strict, at, "has %d elements, %d are allowed", n, MANIFEST_INPUTS_MAX);
	struct manifest_input *inputs = arena_zalloc(r->strict.arena, (size_t)n * sizeof(*inputs));
	if (!inputs)
		return strict_no_memory(&r->strict);
	r->manifest->inputs = r->inputs = inputs;
	r->manifest->inputs_n = n;
	json_iter_init(&iter, array);
	for (int i = 0; json_next(&iter, NULL, &value); i++) {
		inputs[i].missing = lenient ? MANIFEST_ALLOW : MANIFEST_REFUSE;
		enum status status = read_input(r, PLACE_INDEX(at, i), value, &inputs[i]);
		if (status != STATUS_OK)
			return status;
	}
	return index_inputs(r, at);
}
