/* Sums, a sketch of the differences and one of their magnitudes, a square of label counts, and a sorted list of the
 * rows that differ most. */
#include "model/compare.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct compare *compare_new(int top, double tolerance)
{
	struct compare *compare = calloc(1, sizeof(*compare));

	if (!compare)
		return NULL;
	compare->tolerance = tolerance;
	compare->top_max = top < 0 ? 0 : top > COMPARE_TOP_MAX ? COMPARE_TOP_MAX : top;
	compare->top = calloc((size_t)compare->top_max + 1, sizeof(*compare->top));
	compare->matrix = calloc((size_t)COMPARE_LABELS_MAX * COMPARE_LABELS_MAX, sizeof(*compare->matrix));
	compare->differences = quantiles_new();
	compare->magnitudes = quantiles_new();
	if (compare->top && compare->matrix && compare->differences && compare->magnitudes)
		return compare;
	compare_free(compare);
	return NULL;
}

void compare_free(struct compare *compare)
{
	if (!compare)
		return;
	quantiles_free(compare->differences);
	quantiles_free(compare->magnitudes);
	free(compare->matrix);
	free(compare->top);
	free(compare);
}

/* As much as there is room for, whole characters, with "…" when it was more. */
static void keep_text(struct str text, char *out, size_t size)
{
	static const char cut[] = "…";
	size_t n = text.n;

	if (n >= size) {
		n = size - sizeof(cut);
		while (n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
			n--;
	}
	if (n > 0)
		memcpy(out, text.p, n);
	snprintf(out + n, size - n, "%s", n < text.n ? cut : "");
}

/* --- labels --- */

static int place_of(struct compare *compare, struct str label)
{
	char text[sizeof(compare->labels[0])];

	keep_text(label, text, sizeof(text));
	for (int i = 0; i < compare->labels_n; i++)
		if (strcmp(compare->labels[i], text) == 0)
			return i;
	if (compare->labels_n == COMPARE_LABELS_MAX)
		return COMPARE_LABELS_MAX - 1;
	bool last = compare->labels_n == COMPARE_LABELS_MAX - 1;
	snprintf(compare->labels[compare->labels_n], sizeof(text), "%s", last ? "(others)" : text);
	return compare->labels_n++;
}

static bool add_labels(struct compare *compare, const struct compare_row *row)
{
	if (row->label_before.n == 0 && row->label_after.n == 0)
		return false;
	bool changed = !str_eq(row->label_before, row->label_after);
	int before = place_of(compare, row->label_before), after = place_of(compare, row->label_after);

	compare->labelled++;
	compare->labels_changed += changed;
	compare->matrix[before * COMPARE_LABELS_MAX + after]++;
	return changed;
}

/* --- the rows that differ most --- */

static void keep_row(struct compare *compare, const struct compare_row *row, double difference)
{
	int at = compare->top_n;

	while (at > 0 && fabs(compare->top[at - 1].difference) < fabs(difference))
		at--;
	if (at == compare->top_max)
		return;
	int behind = (compare->top_n < compare->top_max ? compare->top_n : compare->top_max - 1) - at;
	memmove(&compare->top[at + 1], &compare->top[at], (size_t)behind * sizeof(*compare->top));
	struct compare_kept *kept = &compare->top[at];
	*kept = (struct compare_kept){.before = row->before, .after = row->after, .difference = difference};
	keep_text(row->id, kept->id, sizeof(kept->id));
	keep_text(row->created_at, kept->created_at, sizeof(kept->created_at));
	keep_text(row->features, kept->features, sizeof(kept->features));
	keep_text(row->label_before, kept->label_before, sizeof(kept->label_before));
	keep_text(row->label_after, kept->label_after, sizeof(kept->label_after));
	compare->top_n += compare->top_n < compare->top_max;
}

void compare_add(struct compare *compare, const struct compare_row *row)
{
	double difference = row->after - row->before;
	bool relabelled = add_labels(compare, row), moved = false;

	compare->rows++;
	if (isfinite(difference)) {
		moved = fabs(difference) > compare->tolerance;
		if (!moved)
			difference = 0.0;
		compare->values++;
		compare->sum += difference;
		compare->sum_abs += fabs(difference);
		compare->sum_squares += difference * difference;
		quantiles_add(compare->differences, difference);
		quantiles_add(compare->magnitudes, fabs(difference));
	} else {
		difference = relabelled ? 1.0 : 0.0; /* for the order alone */
	}
	compare->changed += moved || relabelled;
	if (moved || relabelled)
		keep_row(compare, row, difference);
}

void compare_refuse(struct compare *compare, struct str id, struct str reason)
{
	char text[COMPARE_TEXT_BYTES];
	int i = 0;

	compare->refused++;
	keep_text(reason, text, sizeof(text));
	while (i < compare->reasons_n && strcmp(compare->reasons[i].text, text) != 0)
		i++;
	if (i == COMPARE_REASONS_MAX)
		return;
	struct compare_reason *kept = &compare->reasons[i];
	if (i == compare->reasons_n) {
		compare->reasons_n++;
		memcpy(kept->text, text, sizeof(text));
		keep_text(id, kept->id, sizeof(kept->id));
	}
	kept->n++;
}

/* --- what is compared --- */

int compare_read_probabilities(struct str text, double *out, int max)
{
	struct json_value root, item;
	struct json_fault fault;
	struct json_iter iter;
	int n = 0;

	if (text.n == 0 || !json_check(text, 2, &root, &fault) || root.type != JSON_ARRAY)
		return 0;
	json_iter_init(&iter, root);
	for (; json_next(&iter, NULL, &item); n++)
		if (n == max || item.type != JSON_NUMBER || !json_number(item, &out[n]))
			return 0;
	return n;
}

static double value_of_class(const struct manifest *manifest, const struct compare_answer *answer, struct str name)
{
	int place = 0;

	while (place < manifest->classes_n && !str_eq(manifest->classes[place], name))
		place++;
	if (place == manifest->classes_n)
		return (double)NAN;
	if (place < answer->probabilities_n)
		return answer->probabilities[place];
	if (manifest->classes_n == 2)
		return place == 1 ? answer->result : 1 - answer->result;
	return (double)NAN;
}

void compare_values(struct compare_row *row, const struct manifest *from, const struct compare_answer *before,
		    const struct manifest *to, const struct compare_answer *after)
{
	int classes = from ? from->classes_n : before->probabilities_n;
	int answered = before->result >= 0 && before->result < classes ? (int)before->result : -1;
	struct str wanted = before->label;

	row->label_before = before->label;
	row->label_after = after->label;
	row->before = before->result;
	if (classes > 2)
		row->before = answered >= 0 && answered < before->probabilities_n ? before->probabilities[answered]
										  : (double)NAN;
	row->after = after->result;
	if (!to || to->classes_n == 0)
		return;
	if (classes <= 2) /* of a version that is not there any more the order of the classes is not known */
		wanted = from && from->classes_n == 2 ? from->classes[1] : to->classes[1];
	row->after = value_of_class(to, after, wanted);
}

/* --- the histogram --- */

/* The next of 1, 2, 5, 10, 20, … times a power of ten. */
static double next_step(double step)
{
	double power = pow(10.0, floor(log10(step) + 1e-9));
	double digit = step / power;

	return digit < 1.5 ? 2 * power : digit < 3.5 ? 5 * power : 10 * power;
}

int compare_histogram(struct compare *compare, int max, double *low, double *step)
{
	double from = quantiles_at(compare->differences, 0.01), until = quantiles_at(compare->differences, 0.99);
	double reach = fmax(fabs(from), fabs(until));

	if (quantiles_zeros(compare->differences) == compare->values)
		return 0;
	if (reach < 1e-12) { /* nearly all are the same: show what differs */
		from = quantiles_at(compare->differences, 0.0);
		until = quantiles_at(compare->differences, 1.0);
		reach = fmax(fabs(from), fabs(until));
	}
	*step = pow(10.0, floor(log10(reach)) - 2);
	while (floor(until / *step) - floor(from / *step) + 1 > max)
		*step = next_step(*step);
	*low = floor(from / *step) * *step;
	return (int)(floor(until / *step) - floor(from / *step)) + 1;
}

int64_t compare_bin(const struct compare *compare, int bins, int i, double low, double step)
{
	double from = low + i * step, until = low + (i + 1) * step;

	if (fabs(from) < step / 2)
		from = 0.0;
	if (fabs(until) < step / 2)
		until = 0.0;
	return quantiles_between(compare->differences, i == 0 ? -INFINITY : from, i == bins - 1 ? INFINITY : until);
}
