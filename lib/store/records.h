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

/* What stands in a field. Booleans are the numbers 0 and 1. */
enum record_value_kind { RECORD_NOTHING, RECORD_NUMBER, RECORD_TEXT };
struct record_value {
	enum record_value_kind kind;
	double number;
	struct str text;
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

/* --- queries (records_query.c, records_index.c, records_aggregate.c) --- */

enum record_compare {
	RECORD_EQ,
	RECORD_NE,
	RECORD_LT,
	RECORD_LE,
	RECORD_GT,
	RECORD_GE,
	RECORD_CONTAINS, /* the value's text, as it is spelt */
	RECORD_ABSENT,   /* there is no such field, or it is null */
};

/* A condition on a field of `data` ("price"), or on "@received", "@processed" (microseconds), "@run" (its number),
 * "@status" (enum record_status), "@source", "@key". Numbers compare with numbers and text with text; what is of the
 * other kind, or not there, passes none but RECORD_ABSENT. EQ and NE with both a number and a text take either. */
struct record_filter {
	struct str field;
	enum record_compare compare;
	bool is_number, is_text; /* which of the two that follow are meant */
	double number;
	struct str text;
};

enum { RECORD_FILTERS_MAX = 12, RECORD_SEARCH_BYTES = 1000, RECORD_FIELD_BYTES = 255 };

struct record_query {
	int64_t pipeline_id; /* 0: of all; conditions and sorting by fields want one */
	struct record_filter filters[RECORD_FILTERS_MAX];
	int filters_n;
	struct str search; /* words that must all occur in what the index has; empty: none */
	struct str sort;   /* a field, or "@key"; empty: the order of storing. What lacks the field is less than all. */
	bool sort_is_number, descending;
	/* Behind this one: keyset. */
	bool has_after;
	int64_t after_seq;
	struct record_value after; /* of the sort's field */
	int limit;
	int within_ms; /* it is given up after so long; 0: never */
};

/* Whether a name can be asked for: 1 to RECORD_FIELD_BYTES bytes of UTF-8 without quotation marks, backslashes and
 * control characters. */
bool record_field_is_good(struct str field) __attribute__((warn_unused_result));

/* The records, in order; texts and `sort`, what stands in the field that they are sorted by, are borrowed for the call.
 * Errors: STATUS_INVALID (a field or a value that can't be asked for; or it took too long, the text says what would
 * help). Some rows may have been given by then. */
typedef bool record_row_fn(void *arg, const struct record_row *row, const struct record_value *sort);
enum status records_query(struct db *db, const struct record_query *query, record_row_fn *fn, void *arg,
			  struct err *err) __attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Makes sure that a pipeline's field has an index of its own, which both equality and order use: outside of a
 * transaction. STATUS_TOO_LARGE: it would take long, and nobody could store a record meanwhile; that is when there are
 * more than RECORD_INDEX_MAX records, and records_index_build does it. */
enum { RECORD_INDEX_MAX = 300000 };
enum status records_index_field(struct db *db, int64_t pipeline_id, struct str field, bool is_number, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* Whether a field has one that can be used. */
enum status records_index_find(struct db *db, int64_t pipeline_id, struct str field, bool is_number, bool *there,
			       struct err *err) __attribute__((nonnull(1, 5), warn_unused_result));

/* Reads what an index will be made of, piece by piece, beside all others: the part that keeps them from writing then
 * finds it in memory, and takes some four times as long as this did. On PostgreSQL there is nothing to
 * prepare. */
typedef void record_progress_fn(void *arg, int64_t done, int64_t all);
enum status records_index_prepare(struct db *db, int64_t pipeline_id, struct str field, record_progress_fn *fn,
				  void *arg, struct err *err) __attribute__((nonnull(1, 4), warn_unused_result));

/* Makes one of however many records, outside of a transaction, for a command: this connection sorts in up to 64 MiB,
 * and waits as long as it takes. On SQLite nobody writes meanwhile; on PostgreSQL everybody does, and what a maker that
 * was killed has left is thrown away first. One that is there already is no error. STATUS_CONFLICT, and
 * on PostgreSQL STATUS_BUSY: somebody else is at it; call again later. */
enum status records_index_build(struct db *db, int64_t pipeline_id, struct str field, bool is_number, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* How far an index of records is that somebody makes now; on another connection than the maker's. SQLite does not tell
 * (an empty phase). */
struct record_index_state {
	char phase[64];
	double share; /* of the phase, 0 to 1 */
};
enum status records_index_watch(struct db *db, struct record_index_state *out, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

enum {
	RECORD_QUANTILES_MAX = 16,
	RECORD_BUCKETS_MAX = 100,
	RECORD_GROUPS_MAX = 1000,
	RECORD_VALUES_MAX = 2000000 /* kept for quantiles; of more than these some are picked by chance */
};

struct record_wish {
	struct str field; /* empty: records are only counted */
	bool by_number;   /* `by` is one */
	struct str by;    /* a field, "@status", "@source", "@run"; empty: all are one group */
	double quantiles[RECORD_QUANTILES_MAX];
	int quantiles_n;
	int buckets; /* of the histogram; 0: none */
};

struct record_group {
	struct record_value value; /* of `by` */
	int64_t count, numbers;    /* records; those that have a number in the field */
	double sum, min, max;
	double quantiles[RECORD_QUANTILES_MAX];
	int64_t *buckets; /* wish->buckets of them, each of the width (summary.max - summary.min) / buckets */
};

struct record_summary {
	struct record_group *groups; /* the largest first */
	int n;
	double min, max; /* of all groups */
	bool sampled;    /* quantiles and histogram are estimates */
};

/* Numbers about the records that a query's conditions choose (its sort, position and limit don't count). The result is
 * in the arena. STATUS_INVALID as of records_query, or more than RECORD_GROUPS_MAX groups. */
enum status records_aggregate(struct db *db, const struct record_query *query, const struct record_wish *wish,
			      struct arena *arena, struct record_summary *out, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4, 5), warn_unused_result));

#endif
