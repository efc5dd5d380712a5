/* The steps of preprocessing in a manifest. */
#include "model/manifest_impl.h"

enum { STEP, INPUT, INPUTS, VALUES, MEANS, SCALES, MEMBERS__MAX };
static const struct strict_member MEMBERS[] = {
	[STEP] = {"step", STRICT_STRING, true},     [INPUT] = {"input", STRICT_STRING, false},
	[INPUTS] = {"inputs", STRICT_ARRAY, false}, [VALUES] = {"values", STRICT_ARRAY, false},
	[MEANS] = {"means", STRICT_ARRAY, false},   [SCALES] = {"scales", STRICT_ARRAY, false},
};
_Static_assert(sizeof(MEMBERS) / sizeof(MEMBERS[0]) == MEMBERS__MAX, "a row for each member");

static const struct {
	const char *name;
	unsigned members; /* beside "step"; all of them have to be there */
} STEPS[] = {
	[MANIFEST_IMPUTE] = {"impute", 1u << INPUTS | 1u << VALUES},
	[MANIFEST_STANDARDISE] = {"standardise", 1u << INPUTS | 1u << MEANS | 1u << SCALES},
	[MANIFEST_ONE_HOT] = {"one_hot", 1u << INPUT},
};

/* What has been done to an input so far. */
struct progress {
	struct manifest_reader *r;
	bool *encoded;   /* inputs_n: one_hot was there */
	int64_t columns; /* after the steps so far */
};

static enum status read_kind(const struct strict *s, const struct place *at, const struct json_value *values,
			     enum manifest_step_kind *kind)
{
	static const char *const names[] = {"impute", "standardise", "one_hot"};
	int choice = 0;
	enum status status = strict_choice(s, PLACE_MEMBER(at, "step"), values[STEP], names, 3, &choice);

	if (status != STATUS_OK)
		return status;
	*kind = (enum manifest_step_kind)choice;
	for (unsigned i = INPUT; i < MEMBERS__MAX; i++) {
		bool wanted = STEPS[choice].members >> i & 1, there = values[i].text.p != NULL;
		if (wanted != there)
			return strict_fault(s, PLACE_MEMBER(at, MEMBERS[i].name),
					    there ? "is not for this step" : "is missing");
	}
	return STATUS_OK;
}

/* The place of the input that is named. */
static enum status find_input(struct progress *p, const struct place *at, struct str name, int *place)
{
	const struct strict *s = &p->r->strict;

	*place = manifest_input_index(p->r->manifest, name);
	if (*place < 0) {
		struct str shown = strict_cut(name, 60);
		return strict_fault(s, at, "there is no input \"%.*s\"", STR_ARG(shown));
	}
	if (p->encoded[*place])
		return strict_fault(s, at, "is one-hot encoded by an earlier step");
	if (p->r->manifest->inputs[*place].type == MANIFEST_TEXT)
		return strict_fault(s, at, "is a text, which has no steps");
	return STATUS_OK;
}

static enum status read_places(struct progress *p, const struct place *at, struct json_value array,
			       struct manifest_step *step)
{
	const struct strict *s = &p->r->strict;
	const struct manifest_input *inputs = p->r->manifest->inputs;
	struct str *names;
	enum status status = strict_strings(s, at, array, p->r->manifest->inputs_n, &names, &step->n);

	if (status != STATUS_OK)
		return status;
	int *places = arena_alloc(s->arena, (size_t)step->n * sizeof(int) + 1);
	if (!places)
		return strict_no_memory(s);
	step->inputs = places;
	for (int i = 0; i < step->n; i++) {
		status = find_input(p, PLACE_INDEX(at, i), names[i], &places[i]);
		if (status != STATUS_OK)
			return status;
		if (step->kind == MANIFEST_STANDARDISE && inputs[places[i]].type == MANIFEST_CATEGORY)
			return strict_fault(s, PLACE_INDEX(at, i), "is a category, a number is wanted");
	}
	return STATUS_OK;
}

/* One value of an impute step: a number, or the name of a category. */
static enum status read_value(const struct strict *s, const struct place *at, struct json_value value,
			      const struct manifest_input *input, double *out)
{
	struct str name;

	if (input->type != MANIFEST_CATEGORY)
		return strict_number(s, at, value, out);
	enum status status = strict_string(s, at, value, &name);
	if (status != STATUS_OK)
		return status;
	int place = names_find(&input->category_places, name);
	if (place < 0)
		return strict_fault(s, at, "is no category of this input");
	*out = place;
	return STATUS_OK;
}

static enum status read_impute(struct progress *p, const struct place *at, struct json_value array,
			       struct manifest_step *step)
{
	const struct strict *s = &p->r->strict;
	struct json_iter iter;
	struct json_value value;
	int n = strict_count(array);
	double *values = arena_alloc(s->arena, (size_t)step->n * sizeof(double) + 1);

	if (!values)
		return strict_no_memory(s);
	if (n != step->n)
		return strict_fault(s, at, "has %d values for %d inputs", n, step->n);
	json_iter_init(&iter, array);
	for (int i = 0; json_next(&iter, NULL, &value); i++) {
		struct manifest_input *input = &p->r->inputs[step->inputs[i]];
		enum status status = read_value(s, PLACE_INDEX(at, i), value, input, &values[i]);
		if (status != STATUS_OK)
			return status;
		if (!input->missing_stated)
			input->missing = MANIFEST_ALLOW;
	}
	step->values = values;
	return STATUS_OK;
}

static enum status read_standardise(struct progress *p, const struct place *at, const struct json_value *members,
				    struct manifest_step *step)
{
	const struct strict *s = &p->r->strict;
	double *means = arena_alloc(s->arena, (size_t)step->n * sizeof(double) + 1);
	double *scales = arena_alloc(s->arena, (size_t)step->n * sizeof(double) + 1);

	if (!means || !scales)
		return strict_no_memory(s);
	enum status status = strict_numbers(s, PLACE_MEMBER(at, "means"), members[MEANS], step->n, means);
	if (status == STATUS_OK)
		status = strict_numbers(s, PLACE_MEMBER(at, "scales"), members[SCALES], step->n, scales);
	for (int i = 0; status == STATUS_OK && i < step->n; i++)
		if (scales[i] == 0)
			status = strict_fault(s, PLACE_INDEX(PLACE_MEMBER(at, "scales"), i), "is 0");
	step->values = means;
	step->scales = scales;
	return status;
}

static enum status read_one_hot(struct progress *p, const struct place *at, struct json_value value,
				struct manifest_step *step)
{
	const struct strict *s = &p->r->strict;
	int *place = arena_alloc(s->arena, sizeof(int));
	struct str name;
	enum status status = strict_string(s, at, value, &name);

	if (!place)
		return strict_no_memory(s);
	if (status == STATUS_OK)
		status = find_input(p, at, name, place);
	if (status != STATUS_OK)
		return status;
	const struct manifest_input *input = &p->r->manifest->inputs[*place];
	if (input->type != MANIFEST_CATEGORY)
		return strict_fault(s, at, "is a number, a category is wanted");
	step->inputs = place;
	step->n = 1;
	p->encoded[*place] = true;
	p->columns += input->categories_n - 1;
	return STATUS_OK;
}

static enum status read_step(struct progress *p, const struct place *at, struct json_value value,
			     struct manifest_step *step)
{
	struct json_value values[MEMBERS__MAX];
	enum status status = strict_members(&p->r->strict, at, value, MEMBERS, MEMBERS__MAX, values);

	if (status == STATUS_OK)
		status = read_kind(&p->r->strict, at, values, &step->kind);
	if (status != STATUS_OK)
		return status;
	if (step->kind == MANIFEST_ONE_HOT)
		return read_one_hot(p, PLACE_MEMBER(at, "input"), values[INPUT], step);
	status = read_places(p, PLACE_MEMBER(at, "inputs"), values[INPUTS], step);
	if (status != STATUS_OK)
		return status;
	if (step->kind == MANIFEST_IMPUTE)
		return read_impute(p, PLACE_MEMBER(at, "values"), values[VALUES], step);
	return read_standardise(p, at, values, step);
}

enum status manifest_read_steps(struct manifest_reader *r, struct json_value array)
{
	const struct place *at = PLACE_MEMBER(NULL, "preprocessing");
	struct arena *arena = r->strict.arena;
	struct manifest *manifest = r->manifest;
	struct json_iter iter;
	struct json_value value;
	int n = strict_count(array);

	if (n > MANIFEST_STEPS_MAX)
		return strict_fault(&r->strict, at, "has %d elements, %d are allowed", n, MANIFEST_STEPS_MAX);
	struct progress progress = {.r = r, .columns = manifest->inputs_n};
	progress.encoded = arena_zalloc(arena, (size_t)manifest->inputs_n * sizeof(bool));
	struct manifest_step *steps = arena_zalloc(arena, (size_t)n * sizeof(*steps) + 1);
	if (!progress.encoded || !steps)
		return strict_no_memory(&r->strict);
	json_iter_init(&iter, array);
	for (int i = 0; json_next(&iter, NULL, &value); i++) {
		enum status status = read_step(&progress, PLACE_INDEX(at, i), value, &steps[i]);
		if (status != STATUS_OK)
			return status;
	}
	manifest->steps = steps;
	manifest->steps_n = n;
	manifest->columns = (int)progress.columns; /* as many as the text has inputs and categories at the most */
	return STATUS_OK;
}
