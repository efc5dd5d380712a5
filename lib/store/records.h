/* Tables data_records and data_search: what pipelines have stored. */
#ifndef APPCORE_STORE_RECORDS_H
#define APPCORE_STORE_RECORDS_H

#include "base/arena.h"
#include "store/db.h"

enum record_status { RECORD_RAW, RECORD_PROCESSED, RECORD_FAILED, RECORD_STATUS__MAX };
const char *record_status_name(enum record_status status) __attribute__((returns_nonnull)); /* "raw" */
bool record_status_parse(struct str name, enum record_status *out) __attribute__((nonnull, warn_unused_result));

struct record_row {
	int64_t seq, pipeline_id, run;
	struct str key, source, data, error, search;
	enum record_status status;
	int64_t received_us, processed_us;
	double seconds;
};

/* What becomes of a record whose key is there already. */
enum record_duplicates { RECORDS_SKIP, RECORDS_REPLACE, RECORDS_TELL };

/* Stores n records of one pipeline in the write transaction that is open, in their order, also when two of them have
 * the same key. outcome[i]: 'n' new, 'r' replaced, 's' skipped or (RECORDS_TELL) not stored. Whatever becomes of
 * duplicates, one that failed gives way to one that did not, and never the other way round. Numbers them by the order
 * of commits (a record that is replaced keeps its number). */
enum status records_insert(struct db *db, const struct record_row *rows, size_t n, enum record_duplicates duplicates,
			   char *outcome, struct err *err) __attribute__((nonnull(1, 5), warn_unused_result));

/* One record by key (pipeline_id 0: the first pipeline that has it). Texts in the arena. STATUS_NOT_FOUND. */
enum status records_find(struct db *db, int64_t pipeline_id, struct str key, struct arena *arena,
			 struct record_row *out, struct err *err) __attribute__((nonnull(1, 4, 5), warn_unused_result));

/* --- queries (records_query.c) --- */

enum record_compare {
	RECORD_EQ,
	RECORD_NE,
	RECORD_LT,
	RECORD_LE,
	RECORD_GT,
	RECORD_GE,
	RECORD_CONTAINS,
	RECORD_ABSENT
};

/* A condition on a field of `data` ("price"), or on "@received", "@processed" (microseconds), "@status", "@source",
 * "@run", "@key". Numbers compare as numbers. */
struct record_filter {
	struct str field;
	enum record_compare compare;
	bool is_number;
	double number;
	struct str text;
};

enum { RECORD_FILTERS_MAX = 16 };

struct record_query {
	int64_t pipeline_id;
	struct record_filter filters[RECORD_FILTERS_MAX];
	int filters_n;
	struct str search; /* words that must all occur; empty: none */
	struct str sort;   /* a field, or empty: the order of storing */
	bool sort_is_number, descending;
	/* Behind this one: keyset. */
	bool has_after;
	int64_t after_seq;
	struct record_filter after; /* of the sort's field; compare is ignored */
	int limit;
};

typedef bool record_row_fn(void *arg, const struct record_row *row);
enum status records_query(struct db *db, const struct record_query *query, record_row_fn *fn, void *arg,
			  struct err *err) __attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Makes sure that a pipeline's field has an index of its own, or has none: CREATE INDEX on the expression; outside of a
 * transaction's turn it may take long on a large table. */
enum status records_index_field(struct db *db, int64_t pipeline_id, struct str field, bool is_number, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

#endif
