/* Precision, recall and F1 of each class, and their means. What has nothing to be divided by is 0. */
#include "model/text_train.h"

#include <stdio.h>

static double ratio(double part, double whole)
{
	return whole > 0.0 ? part / whole : 0.0;
}

static void add(struct text_scores *mean, const struct text_scores *scores, double share)
{
	mean->precision += share * scores->precision;
	mean->recall += share * scores->recall;
	mean->f1 += share * scores->f1;
}

enum status text_report_make(struct text_report *report, const int *truth, const int *labels, size_t n, int classes_n,
			     struct arena *arena, struct err *err)
{
	size_t classes = (size_t)classes_n;
	struct text_scores *scores = arena_zalloc(arena, classes * sizeof(*scores));
	size_t *said = arena_zalloc(arena, classes * sizeof(*said)),
	       *right = arena_zalloc(arena, classes * sizeof(*right));

	*report = (struct text_report){.n = n, .classes = scores, .classes_n = classes_n};
	if (!scores || !said || !right)
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory for the report.");
	for (size_t i = 0; i < n; i++) {
		scores[truth[i]].support++;
		said[labels[i]]++;
		right[truth[i]] += truth[i] == labels[i];
	}
	for (size_t k = 0; k < classes; k++) {
		struct text_scores *s = &scores[k];
		s->precision = ratio((double)right[k], (double)said[k]);
		s->recall = ratio((double)right[k], (double)s->support);
		s->f1 = ratio(2.0 * s->precision * s->recall, s->precision + s->recall);
		add(&report->macro, s, 1.0 / (double)classes);
		add(&report->weighted, s, ratio((double)s->support, (double)n));
		report->right += right[k];
	}
	report->macro.support = report->weighted.support = n;
	report->accuracy = ratio((double)report->right, (double)n);
	return STATUS_OK;
}

static size_t characters(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
	return n;
}

/* A name at the right end of `width` characters. */
static void put_name(struct str name, size_t width, struct buf *out)
{
	for (size_t n = characters(name); n < width; n++)
		buf_char(out, ' ');
	buf_str(out, name);
}

static void put_row(struct str name, size_t width, const struct text_scores *scores, struct buf *out)
{
	put_name(name, width, out);
	buf_fmt(out, "  %9.2f %9.2f %9.2f %9zu\n", scores->precision, scores->recall, scores->f1, scores->support);
}

void text_report_put(const struct text_report *report, const struct str *classes, struct buf *out)
{
	size_t width = sizeof("weighted avg") - 1;

	for (int k = 0; k < report->classes_n; k++)
		if (characters(classes[k]) > width)
			width = characters(classes[k]);
	put_name(STR(""), width, out);
	buf_fmt(out, "  %9s %9s %9s %9s\n\n", "precision", "recall", "f1-score", "support");
	for (int k = 0; k < report->classes_n; k++)
		put_row(classes[k], width, &report->classes[k], out);
	buf_char(out, '\n');
	put_name(STR("accuracy"), width, out);
	buf_fmt(out, "  %9s %9s %9.2f %9zu\n", "", "", report->accuracy, report->n);
	put_row(STR("macro avg"), width, &report->macro, out);
	put_row(STR("weighted avg"), width, &report->weighted, out);
}
