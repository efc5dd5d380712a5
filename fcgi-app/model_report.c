/* A comparison as text, JSON and CSV. */
#include "model_report.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>

enum { BINS = 16, BAR = 40, MATRIX_MAX = 12 };

static const double RANKS[] = {0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0};
static const char *const RANK_NAMES[] = {"min", "1 %", "5 %", "25 %", "50 %", "75 %", "95 %", "99 %", "max"};
static const char *const RANK_KEYS[] = {"min", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "max"};
enum { RANKS_N = sizeof(RANKS) / sizeof(RANKS[0]) };

/* --- for people --- */

static double percent(int64_t part, int64_t whole)
{
	return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

static void put_quantiles(struct compare *compare, struct buf *out)
{
	double n = (double)compare->values;

	buf_fmt(out, "\ndifference (after - before): mean %.6g, mean of magnitudes %.6g, root of mean square %.6g\n\n",
		compare->sum / n, compare->sum_abs / n, sqrt(compare->sum_squares / n));
	buf_fmt(out, "%18s", "");
	for (int i = 0; i < RANKS_N; i++)
		buf_fmt(out, " %10s", RANK_NAMES[i]);
	buf_fmt(out, "\n%-18s", "difference");
	for (int i = 0; i < RANKS_N; i++)
		buf_fmt(out, " %10.4g", quantiles_at(compare->differences, RANKS[i]));
	buf_fmt(out, "\n%-18s", "its magnitude");
	for (int i = 0; i < RANKS_N; i++)
		buf_fmt(out, " %10.4g", quantiles_at(compare->magnitudes, RANKS[i]));
	buf_char(out, '\n');
}

static void put_histogram(struct compare *compare, struct buf *out)
{
	double low, step;
	int bins = compare_histogram(compare, BINS, &low, &step);
	int64_t most = 0;

	if (bins == 0)
		return;
	for (int i = 0; i < bins; i++) {
		int64_t n = compare_bin(compare, bins, i, low, step);
		most = n > most ? n : most;
	}
	buf_fmt(out, "\nhistogram of the differences that are not 0 (the first and last line hold what is beyond)\n");
	for (int i = 0; i < bins; i++) {
		int64_t n = compare_bin(compare, bins, i, low, step);
		double from = low + i * step;
		buf_fmt(out, "%12.4g  ", fabs(from) < step / 2 ? 0.0 : from);
		for (int64_t k = 0; most > 0 && k < (n * BAR + most - 1) / most; k++)
			buf_str(out, STR("█"));
		buf_fmt(out, "%s%" PRId64 "\n", n > 0 ? " " : "", n);
	}
}

static void put_matrix(const struct compare *compare, struct buf *out)
{
	int shown = compare->labels_n < MATRIX_MAX ? compare->labels_n : MATRIX_MAX;

	buf_fmt(out, "\nlabels: %" PRId64 " of %" PRId64 " changed (%.4g %%)\n", compare->labels_changed,
		compare->labelled, percent(compare->labels_changed, compare->labelled));
	buf_fmt(out, "%-20s", "before \\ after");
	for (int k = 0; k < shown; k++)
		buf_fmt(out, " %12.12s", compare->labels[k]);
	buf_char(out, '\n');
	for (int i = 0; i < shown; i++) {
		buf_fmt(out, "%-20.20s", compare->labels[i]);
		for (int k = 0; k < shown; k++)
			buf_fmt(out, " %12" PRId64, compare->matrix[i * COMPARE_LABELS_MAX + k]);
		buf_char(out, '\n');
	}
	if (shown < compare->labels_n)
		buf_fmt(out, "(%d further labels: see --json)\n", compare->labels_n - shown);
}

static void put_top(const struct compare *compare, struct buf *out)
{
	if (compare->top_n == 0)
		return;
	buf_fmt(out, "\nrows that change most\n%-36s  %12s  %12s  %12s", "prediction", "before", "after", "difference");
	buf_fmt(out, "%s  input\n", compare->labelled ? "  labels" : "");
	for (int i = 0; i < compare->top_n; i++) {
		const struct compare_kept *row = &compare->top[i];
		buf_fmt(out, "%-36s  ", row->id);
		if (isfinite(row->before) && isfinite(row->after))
			buf_fmt(out, "%12.6g  %12.6g  %+12.6g", row->before, row->after, row->difference);
		else
			buf_fmt(out, "%12s  %12s  %12s", "", "", "");
		if (compare->labelled)
			buf_fmt(out, "  %s > %s", row->label_before, row->label_after);
		buf_fmt(out, "%s%s\n", *row->features ? "  " : "", row->features);
	}
}

static void put_refused(const struct compare *compare, struct buf *out)
{
	if (compare->refused == 0)
		return;
	buf_fmt(out, "\n%" PRId64 " inputs are refused by the candidate (%.4g %%)\n", compare->refused,
		percent(compare->refused, compare->refused + compare->rows));
	for (int i = 0; i < compare->reasons_n; i++)
		buf_fmt(out, "%8" PRId64 "  %s (first %s)\n", compare->reasons[i].n, compare->reasons[i].text,
			compare->reasons[i].id);
}

void report_put_text(const struct report *report, struct compare *compare, struct buf *out)
{
	buf_fmt(out, "%s: %s -> %s, %" PRId64 " predictions since %.19sZ %s%s\n", report->name, report->from,
		report->to, compare->rows + compare->refused, report->since, report->what,
		report->stopped ? " (the newest; there are more)" : "");
	buf_fmt(out, "%" PRId64 " of %" PRId64 " answers change (%.4g %%)\n", compare->changed, compare->rows,
		percent(compare->changed, compare->rows));
	if (compare->values > 0) {
		put_quantiles(compare, out);
		put_histogram(compare, out);
	}
	if (compare->labelled > 0)
		put_matrix(compare, out);
	put_top(compare, out);
	put_refused(compare, out);
}

/* --- JSON --- */

static void put_member(struct buf *out, const char *name)
{
	buf_char(out, ',');
	json_put_string(out, str_of(name));
	buf_char(out, ':');
}

static void put_count(struct buf *out, const char *name, int64_t n)
{
	put_member(out, name);
	json_put_i64(out, n);
}

static void put_number(struct buf *out, const char *name, double value)
{
	put_member(out, name);
	json_put_double(out, value);
}

static void put_string(struct buf *out, const char *name, const char *text)
{
	put_member(out, name);
	json_put_string(out, str_of(text));
}

static void put_json_ranks(struct buf *out, const char *name, struct quantiles *quantiles)
{
	put_member(out, name);
	for (int i = 0; i < RANKS_N; i++) {
		buf_fmt(out, "%c\"%s\":", i == 0 ? '{' : ',', RANK_KEYS[i]);
		json_put_double(out, quantiles_at(quantiles, RANKS[i]));
	}
	buf_char(out, '}');
}

static void put_json_difference(struct compare *compare, struct buf *out)
{
	double n = (double)compare->values, low, step;

	if (compare->values == 0)
		return;
	put_number(out, "mean_difference", compare->sum / n);
	put_number(out, "mean_absolute_difference", compare->sum_abs / n);
	put_number(out, "root_mean_square_difference", sqrt(compare->sum_squares / n));
	put_json_ranks(out, "difference", compare->differences);
	put_json_ranks(out, "absolute_difference", compare->magnitudes);
	put_member(out, "histogram");
	buf_char(out, '[');
	int bins = compare_histogram(compare, BINS, &low, &step);
	for (int i = 0; i < bins; i++) {
		buf_str(out, i == 0 ? STR("{\"from\":") : STR(",{\"from\":"));
		json_put_double(out, fabs(low + i * step) < step / 2 ? 0.0 : low + i * step);
		put_count(out, "rows", compare_bin(compare, bins, i, low, step));
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

static void put_json_matrix(const struct compare *compare, struct buf *out)
{
	if (compare->labelled == 0)
		return;
	put_count(out, "labels_changed", compare->labels_changed);
	put_member(out, "labels");
	buf_char(out, '[');
	for (int i = 0; i < compare->labels_n; i++) {
		if (i > 0)
			buf_char(out, ',');
		json_put_string(out, str_of(compare->labels[i]));
	}
	buf_str(out, STR("],\"matrix\":["));
	for (int i = 0; i < compare->labels_n; i++) {
		buf_str(out, i > 0 ? STR(",[") : STR("["));
		for (int k = 0; k < compare->labels_n; k++) {
			if (k > 0)
				buf_char(out, ',');
			json_put_i64(out, compare->matrix[i * COMPARE_LABELS_MAX + k]);
		}
		buf_char(out, ']');
	}
	buf_char(out, ']');
}

static void put_json_top(const struct compare *compare, struct buf *out)
{
	put_member(out, "top");
	buf_char(out, '[');
	for (int i = 0; i < compare->top_n; i++) {
		const struct compare_kept *row = &compare->top[i];
		buf_str(out, i > 0 ? STR(",{\"prediction_id\":") : STR("{\"prediction_id\":"));
		json_put_string(out, str_of(row->id));
		put_string(out, "created_at", row->created_at);
		put_number(out, "before", row->before);
		put_number(out, "after", row->after);
		if (compare->labelled) {
			put_string(out, "label_before", row->label_before);
			put_string(out, "label_after", row->label_after);
		}
		put_string(out, "input", row->features);
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

static void put_json_reasons(const struct compare *compare, struct buf *out)
{
	put_count(out, "refused", compare->refused);
	put_member(out, "reasons");
	buf_char(out, '[');
	for (int i = 0; i < compare->reasons_n; i++) {
		buf_str(out, i > 0 ? STR(",{\"reason\":") : STR("{\"reason\":"));
		json_put_string(out, str_of(compare->reasons[i].text));
		put_count(out, "rows", compare->reasons[i].n);
		put_string(out, "first", compare->reasons[i].id);
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

void report_put_json(const struct report *report, struct compare *compare, struct buf *out)
{
	buf_str(out, STR("{\"model\":"));
	json_put_string(out, str_of(report->name));
	put_string(out, "from", report->from);
	put_string(out, "to", report->to);
	put_string(out, "since", report->since);
	put_member(out, "limited");
	buf_str(out, report->stopped ? STR("true") : STR("false"));
	put_count(out, "rows", compare->rows);
	put_count(out, "changed", compare->changed);
	put_json_difference(compare, out);
	put_json_matrix(compare, out);
	put_json_top(compare, out);
	put_json_reasons(compare, out);
	buf_str(out, STR("}\n"));
}

/* --- CSV (RFC 4180) --- */

static void put_field(struct buf *out, struct str text)
{
	buf_char(out, '"');
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"')
			buf_char(out, '"');
		buf_char(out, text.p[i]);
	}
	buf_char(out, '"');
}

static void put_cell(struct buf *out, double value)
{
	buf_char(out, ',');
	if (isfinite(value))
		json_put_double(out, value);
}

void report_put_csv_head(struct buf *out)
{
	buf_str(out, STR("prediction_id,created_at,before,after,difference,label_before,label_after,input\r\n"));
}

void report_put_csv_row(const struct compare_row *row, struct buf *out)
{
	buf_str(out, row->id);
	buf_char(out, ',');
	buf_str(out, row->created_at);
	put_cell(out, row->before);
	put_cell(out, row->after);
	put_cell(out, row->after - row->before);
	buf_char(out, ',');
	if (row->label_before.n > 0)
		put_field(out, row->label_before);
	buf_char(out, ',');
	if (row->label_after.n > 0)
		put_field(out, row->label_after);
	buf_char(out, ',');
	put_field(out, row->features);
	buf_str(out, STR("\r\n"));
}
