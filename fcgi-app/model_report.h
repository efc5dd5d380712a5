/* How a comparison of two versions is printed: for people, and as JSON. */
#ifndef APPCORE_MODEL_REPORT_H
#define APPCORE_MODEL_REPORT_H

#include "base/buf.h"
#include "model/compare.h"

struct report {
	const char *name, *from, *to; /* versions */
	const char *since;            /* ISO */
	const char *what;             /* "replayed", "scored by the shadow" */
	bool stopped;                 /* by --limit, before all rows were read */
};

void report_put_text(const struct report *report, struct compare *compare, struct buf *out) __attribute__((nonnull));
void report_put_json(const struct report *report, struct compare *compare, struct buf *out) __attribute__((nonnull));

/* One line of CSV for each row, after a line of names. */
void report_put_csv_head(struct buf *out) __attribute__((nonnull));
void report_put_csv_row(const struct compare_row *row, struct buf *out) __attribute__((nonnull));

#endif
