/* Table predictions: one row per answered prediction, with its provenance. */
#ifndef APPCORE_STORE_PREDICTIONS_H
#define APPCORE_STORE_PREDICTIONS_H

#include "base/id.h"
#include "store/db.h"

enum { PREDICTIONS_PAGE_MAX = 1000 };

/* A row. Views borrow: from the caller when saving; from the statement, until the callback returns, when reading. */
struct prediction {
	struct str id;       /* canonical UUID */
	struct str features; /* "[1.0, null, \"red\"]", or a text: "\"I love it\"" */
	double result;
	struct str model_version; /* "v1.0" */
	struct str created_at;    /* ISO 8601, microseconds, +00:00 */
	struct str model_name;    /* "mean" */
	struct str model_hash;    /* hex of the model's content hash */
	struct str key_id;        /* public id of the API key; "env" for the one from the environment */
	struct str request_id;
	struct str trace_id;      /* 32 hex digits or empty */
	int64_t duration_us;      /* of the model call */
	struct str label;         /* a classifier's answer; empty: it is none */
	struct str probabilities; /* "[0.1, 0.9]" in the order of its classes, or empty */
	struct str flags;         /* "[\"alcohol\"]": inputs outside of the allowed range, or empty */
};

/* Called for each row; false stops the reading. */
typedef bool prediction_row(void *arg, const struct prediction *row);

/* Inserts the row. *repeated tells that the id was there already: nothing is changed then, and `stored` (may be NULL)
 * is called with the row that is there. Wants a write transaction. */
enum status predictions_save(struct db *db, const struct prediction *row, bool *repeated, prediction_row *stored,
			     void *arg, struct err *err) __attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Inserts the rows of one request: all but id, features, result, label, probabilities and flags are the first one's.
 * One statement on PostgreSQL, where each would be a round trip. *repeated tells that one or more were there already,
 * and were left as they are. Wants a write transaction. */
enum status predictions_save_all(struct db *db, const struct prediction *rows, size_t n, bool *repeated,
				 struct err *err) __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* The row with this id. STATUS_NOT_FOUND when there is none (any text is allowed as id). */
enum status predictions_get(struct db *db, struct str id, prediction_row *row, void *arg, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* The newest `limit` rows by created_at, newest first. */
enum status predictions_recent(struct db *db, int limit, prediction_row *row, void *arg, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* What the list of /api/v1/predictions asks for. Empty views: no such filter. */
struct predictions_query {
	struct str after_created_at, after_id; /* keyset position: rows older than this one; both or none */
	struct str from, until;                /* created_at >= from, < until (ISO as stored) */
	struct str model_version;
	struct str model_name;
	struct str key_id;
	int limit;
};

/* Rows by created_at, then id, newest first: up to `limit` of them. Every combination of filters walks an index, and
 * rows that the index found but another filter refuses are bounded too: after PREDICTIONS_SCAN_MAX rows, or 20 ms, it
 * stops, with fewer rows than `limit` or none. *more says that there are further rows, or may be after such a stop;
 * then *last_created_at and *last_id (buffers of 40 bytes) are the position for the next page to go on from (otherwise
 * empty). */
enum { PREDICTIONS_SCAN_MAX = 2000 };
enum status predictions_list(struct db *db, const struct predictions_query *query, prediction_row *row, void *arg,
			     bool *more, char last_created_at[static 40], char last_id[static 40], struct err *err)
	__attribute__((nonnull(1, 2, 3, 5, 6, 7), warn_unused_result));

/* How many rows there are (not for request paths). SQLite counts them in its smallest index. PostgreSQL does where they
 * have no more than PREDICTIONS_COUNT_BYTES, or its statistics answer: *about. */
enum { PREDICTIONS_COUNT_BYTES = 64 << 20 };
enum status predictions_count(struct db *db, int64_t *count, bool *about, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Deletes rows older than `before` (ISO as stored), oldest first: up to `max`, fewer (on PostgreSQL only rows that lie
 * in no week: see predictions_keep_weeks) when they are so large that it
 * takes longer than a turn should (5 ms), at least one if there is any. Wants a write transaction. */
enum status predictions_delete_before(struct db *db, struct str before, int max, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

/* On PostgreSQL the table is cut into weeks: makes those of now and the next four, and drops those that are wholly
 * before `before_ms` (0: none); *dropped counts them. Rows that lie in no week are for predictions_delete_before. On
 * SQLite it does nothing. Wants a write transaction of its own. */
enum status predictions_keep_weeks(struct db *db, int64_t now_ms, int64_t before_ms, int64_t *dropped, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

/* --- loading many old rows (move) --- */

/* The table that rows of the week of `id` are best put into with db_copy_begin, and the id from which on it is another
 * one (empty: none). On PostgreSQL that is the week's own table; a week that is not there yet gets a table without
 * indexes, which belongs to predictions only after predictions_load_end. Wants a write transaction. */
enum status predictions_load_begin(struct db *db, struct str id, char table[static 40], char until[static 40],
				   struct err *err) __attribute__((nonnull(1, 3, 4), warn_unused_result));

/* Drops what was loaded and never ended, of a move into what this database was before. Wants a write transaction. */
enum status predictions_load_drop(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* The statements that make the indexes which weeks that were loaded still lack, the longest first; each runs by itself,
 * with db_script, also side by side on several connections. Up to `max`; *n of them. */
enum { PREDICTIONS_INDEX_BYTES = 320 };
enum status predictions_load_indexes(struct db *db, char (*sql)[PREDICTIONS_INDEX_BYTES], int max, int *n,
				     struct err *err) __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* Makes one week that was loaded a part of predictions, with its indexes; *more: there was one. Wants a write
 * transaction of its own. */
enum status predictions_load_end(struct db *db, bool *more, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

#endif
