/* Counting is what the version itself reads of its stored inputs (instance_read), so that a row means here what it
 * meant when it was answered. */
#include "model/drift.h"

#include "base/clock.h"
#include "model/instance.h"
#include "store/predictions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BYTES = 64 << 20, PASSES = 8, READS = 10 };

double drift_psi(const double *actual, const double *expected, int n)
{
	double psi = 0.0;

	for (int i = 0; i < n; i++) {
		double a = fmax(actual[i], DRIFT_FLOOR), e = fmax(expected[i], DRIFT_FLOOR);
		psi += (a - e) * log(a / e);
	}
	return psi;
}

const char *drift_reading(double psi)
{
	return psi < DRIFT_MOVING ? "stable" : psi <= DRIFT_SHIFTED ? "moving" : "shifted";
}

/* --- making --- */

static int bins_of(const struct manifest_input *input)
{
	return input->bins + 1 + (input->type == MANIFEST_CATEGORY);
}

static void fill_inputs(struct drift *drift, const struct manifest *manifest)
{
	int64_t *counts = drift->counts;
	double *shares = drift->shares;

	for (int i = 0; i < manifest->inputs_n; i++) {
		const struct manifest_input *input = &manifest->inputs[i];
		if (input->bins == 0)
			continue;
		int bins = bins_of(input);
		struct drift_input *out = &drift->inputs[drift->inputs_n++];
		*out = (struct drift_input){.input = input,
					    .place = i,
					    .bins = bins,
					    .counts = counts,
					    .actual = shares,
					    .expected = shares + bins};
		for (int k = 0; k < input->bins; k++)
			out->expected[k] = input->shares[k] * (1 - input->missing_share);
		out->expected[input->bins] = input->missing_share;
		counts += bins;
		shares += (ptrdiff_t)2 * bins;
	}
}

struct drift *drift_new(const struct model *model)
{
	struct drift *drift = calloc(1, sizeof(*drift));
	const struct manifest *manifest = model->manifest;
	size_t bins = 0;

	if (!drift)
		return NULL;
	drift->model = model;
	if (!manifest)
		return drift;
	for (int i = 0; i < manifest->inputs_n; i++)
		bins += (size_t)bins_of(&manifest->inputs[i]);
	drift->inputs = calloc((size_t)manifest->inputs_n + 1, sizeof(*drift->inputs));
	drift->counts = calloc(bins + 1, sizeof(*drift->counts));
	drift->shares = calloc(2 * bins + 1, sizeof(*drift->shares));
	if (!drift->inputs || !drift->counts || !drift->shares) {
		drift_free(drift);
		return NULL;
	}
	fill_inputs(drift, manifest);
	return drift;
}

void drift_free(struct drift *drift)
{
	if (!drift)
		return;
	free(drift->inputs);
	free(drift->counts);
	free(drift->shares);
	free(drift);
}

/* --- counting --- */

static int bin_of(const struct drift_input *drift, double value)
{
	const struct manifest_input *input = drift->input;
	int low = 0, high = input->bins - 1;

	if (isnan(value))
		return input->bins;
	if (input->type == MANIFEST_CATEGORY)
		return value >= 0 && value < input->bins ? (int)value : input->bins + 1;
	while (low < high) { /* the number of edges that are at most the value */
		int middle = low + (high - low) / 2;
		if (value >= input->edges[middle])
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static double characters(struct str text)
{
	double n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

enum status drift_add(struct drift *drift, struct str features, struct arena *arena)
{
	const struct model *model = drift->model;
	size_t width = model->manifest ? (size_t)model->manifest->inputs_n : 0;
	double *row = arena_alloc(arena, (width + 1) * sizeof(double));
	struct instance_fault fault;
	struct instance_flags flags;
	struct json_fault json_fault;
	struct json_value root;
	struct str text = {0};

	if (!row)
		return STATUS_NO_MEMORY;
	enum status status = STATUS_INVALID;
	if (model->manifest && json_check(features, JSON_MAX_DEPTH, &root, &json_fault))
		status = instance_read(model, root, row, &width, &text, &flags, arena, &fault);
	if (status == STATUS_INVALID) {
		drift->skipped++;
		return STATUS_OK;
	}
	if (status != STATUS_OK)
		return status;
	if (model->accepts & MODEL_TEXT)
		row[0] = characters(text);
	for (int i = 0; i < drift->inputs_n; i++)
		drift->inputs[i].counts[bin_of(&drift->inputs[i], row[drift->inputs[i].place])]++;
	drift->rows++;
	return STATUS_OK;
}

/* A part of the window, and how far it has been read. */
struct slice {
	char from[CLOCK_ISO_BYTES], until[CLOCK_ISO_BYTES];
	char after_created_at[40], after_id[40];
	bool more;
};

struct sample {
	struct drift *drift;
	struct arena arena;
	struct slice slices[DRIFT_SLICES];
	int left;
	enum status status;
};

static bool take_row(void *arg, const struct prediction *row)
{
	struct sample *sample = arg;

	if (!str_eq(row->model_name, str_of(sample->drift->model->name)))
		return true;
	sample->left--;
	sample->status = drift_add(sample->drift, row->features, &sample->arena);
	arena_reset(&sample->arena);
	return sample->status == STATUS_OK;
}

/* It asks for the version, which has an index, and leaves out other models' rows itself: with two filters the store
 * reads far beyond the limit, and on PostgreSQL what is asked for and not taken costs the connection. */
static enum status read_page(struct sample *sample, struct db *db, struct slice *slice, int limit, struct err *err)
{
	const struct model *model = sample->drift->model;
	struct slice at = *slice;
	const struct predictions_query query = {
		.after_created_at = str_of(at.after_created_at),
		.after_id = str_of(at.after_id),
		.from = str_of(at.from),
		.until = str_of(at.until),
		.model_version = str_of(model->version),
		.limit = limit,
	};

	enum status status = predictions_list(db, &query, take_row, sample, &slice->more, slice->after_created_at,
					      slice->after_id, err);
	if (status == STATUS_OK)
		status = sample->status;
	if (status == STATUS_NO_MEMORY)
		err_set(err, status, "no memory for an input");
	return status;
}

/* Up to `limit` rows of the model, in a bounded number of reads when others' lie between them. */
static enum status read_slice(struct sample *sample, struct db *db, struct slice *slice, int limit, struct err *err)
{
	enum status status = STATUS_OK;

	limit = limit < 1 ? 1 : limit < PREDICTIONS_PAGE_MAX ? limit : PREDICTIONS_PAGE_MAX;
	int enough = sample->left - limit;
	for (int reads = 0; status == STATUS_OK && slice->more && sample->left > enough && reads < READS; reads++)
		status = read_page(sample, db, slice, sample->left - enough, err);
	return status;
}

static int count_unfinished(const struct sample *sample)
{
	int n = 0;

	for (int i = 0; i < DRIFT_SLICES; i++)
		n += sample->slices[i].more;
	return n;
}

/* Each slice gets the same number of rows; what some leave over goes to the others in the next pass. */
static enum status read_slices(struct sample *sample, struct db *db, struct err *err)
{
	enum status status = STATUS_OK;
	int open;

	for (int pass = 0; pass < PASSES && (open = count_unfinished(sample)) > 0 && sample->left > 0; pass++) {
		int limit = sample->left / open;
		for (int i = 0; status == STATUS_OK && i < DRIFT_SLICES && sample->left > 0; i++)
			if (sample->slices[i].more)
				status = read_slice(sample, db, &sample->slices[i], limit, err);
		if (status != STATUS_OK)
			return status;
	}
	sample->drift->sampled = count_unfinished(sample) > 0;
	return STATUS_OK;
}

enum status drift_sample(struct drift *drift, struct db *db, int64_t now_us, int64_t window_us, int rows,
			 struct err *err)
{
	struct sample *sample = calloc(1, sizeof(*sample));

	if (!sample)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a sample");
	sample->drift = drift;
	sample->left = rows;
	arena_init(&sample->arena, ARENA_BYTES);
	for (int i = 0; i < DRIFT_SLICES; i++) {
		struct slice *slice = &sample->slices[i];
		clock_format_iso(now_us - window_us / DRIFT_SLICES * i, slice->until);
		clock_format_iso(now_us - (i == DRIFT_SLICES - 1 ? window_us : window_us / DRIFT_SLICES * (i + 1)),
				 slice->from);
		slice->more = true;
	}
	enum status status = read_slices(sample, db, err);
	arena_release(&sample->arena);
	free(sample);
	return status;
}

/* --- what comes of it --- */

static int by_psi(const void *a, const void *b)
{
	const struct drift_input *x = a, *y = b;

	if (x->psi != y->psi)
		return x->psi < y->psi ? 1 : -1;
	return (x->place > y->place) - (x->place < y->place);
}

void drift_finish(struct drift *drift)
{
	for (int i = 0; i < drift->inputs_n; i++) {
		struct drift_input *input = &drift->inputs[i];
		for (int k = 0; drift->rows > 0 && k < input->bins; k++)
			input->actual[k] = (double)input->counts[k] / (double)drift->rows;
		input->psi = drift->rows > 0 ? drift_psi(input->actual, input->expected, input->bins) : 0.0;
	}
	if (drift->inputs_n > 1)
		qsort(drift->inputs, (size_t)drift->inputs_n, sizeof(*drift->inputs), by_psi);
}

void drift_bin_name(const struct drift_input *drift, int i, char out[static 64])
{
	const struct manifest_input *input = drift->input;

	if (i == input->bins)
		snprintf(out, 64, "missing");
	else if (i > input->bins)
		snprintf(out, 64, "not listed");
	else if (input->type == MANIFEST_CATEGORY)
		snprintf(out, 64, "%.*s", (int)(input->categories[i].n < 60 ? input->categories[i].n : 60),
			 input->categories[i].p);
	else if (input->bins == 1)
		snprintf(out, 64, "any");
	else if (i == 0)
		snprintf(out, 64, "below %g", input->edges[0]);
	else if (i == input->bins - 1)
		snprintf(out, 64, "%g and more", input->edges[i - 1]);
	else
		snprintf(out, 64, "%g to %g", input->edges[i - 1], input->edges[i]);
}
