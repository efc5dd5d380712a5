/* Writing CSV as RFC 4180 has it, for spreadsheets and people. A spreadsheet takes a text that begins with = + - @ for
 * a formula: such a text gets an apostrophe before it, which spreadsheets don't show (OWASP, "CSV Injection"). Numbers
 * stay numbers. */
#ifndef APPCORE_PIPELINE_CSV_WRITE_H
#define APPCORE_PIPELINE_CSV_WRITE_H

#include "base/json.h"

/* Appends one cell, without the comma before it. `is_text`: it may be anything and is defused; else it is a number that
 * was written by us, and stays as it is. An empty text is "" so that it is told from a missing value, which is nothing
 * at all. */
void csv_put_cell(struct buf *out, struct str cell, bool is_text) __attribute__((nonnull));

/* Appends a checked JSON value as a cell: null is nothing, texts are defused, arrays and objects are their JSON. */
void csv_put_json(struct buf *out, struct json_value value, struct arena *arena) __attribute__((nonnull));

/* Appends the members of a checked JSON object as the cells of a row, in the order of the n columns, with CR LF behind
 * it; what the object lacks is nothing, and what no column is called is left out. `cells` has room for n values;
 * `scratch` is reset. Out of memory: out->failed. */
void csv_put_members(struct buf *out, struct str object, const struct str *columns, size_t n, struct json_value *cells,
		     struct arena *scratch) __attribute__((nonnull(1, 6)));

#endif
