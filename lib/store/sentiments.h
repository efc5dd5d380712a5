/* Table sentiment_requests: every text that was analysed for somebody. */
#ifndef APPCORE_STORE_SENTIMENTS_H
#define APPCORE_STORE_SENTIMENTS_H

#include "base/id.h"
#include "store/db.h"

enum { SENTIMENT_TIME_BYTES = 32, SENTIMENT_VERSION_BYTES = 132 };

struct sentiment_row {
	struct id id;
	int64_t user_id;
	struct str text;      /* borrowed; from the reading functions until the next row */
	struct str sentiment; /* the class's name */
	double confidence;    /* of that class */
	double processing_s;
	char created_at[SENTIMENT_TIME_BYTES]; /* "2026-02-07T10:40:00.123456", UTC */
	char model_version[SENTIMENT_VERSION_BYTES];
	struct str task_id; /* empty: a single one */
	int64_t position;   /* in the task's batch, from 0 */
};

typedef bool sentiment_row_fn(void *arg, const struct sentiment_row *row);

/* Wants a write transaction. A row that is there already stays as it is (*stored false): the same request, or the same
 * part of a task, again. */
enum status sentiments_insert(struct db *db, const struct sentiment_row *row, bool *stored, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* The same for n rows of one user, one task (or none), one time and one version, which are the first one's: one
 * statement on PostgreSQL, where each would be a round trip. */
enum status sentiments_insert_all(struct db *db, const struct sentiment_row *rows, size_t n, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The id of the row at `position` (below 2^24) of a task's batch: the same one whoever asks, in the order of positions,
 * and at the task's time. */
struct id sentiments_id_in_task(const struct id *task, int64_t position) __attribute__((nonnull));

/* The row with this id. STATUS_NOT_FOUND. */
enum status sentiments_find(struct db *db, const struct id *id, sentiment_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* At most `limit` rows of one user, newest first, those before the id `before` (NULL: from the newest), without the
 * first `offset` of them, which are read all the same. `fn` returns false to stop. */
enum status sentiments_of_user(struct db *db, int64_t user_id, const struct id *before, int64_t offset, int64_t limit,
			       sentiment_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 6), warn_unused_result));

/* At most `limit` rows of a task in their order, from position `from` on: those with ids of sentiments_id_in_task. */
enum status sentiments_of_task(struct db *db, const struct id *task, int64_t from, int64_t limit, sentiment_row_fn *fn,
			       void *arg, struct err *err) __attribute__((nonnull(1, 2, 5), warn_unused_result));

/* Deletes rows whose id's time is before `before_ms`, oldest first: at most `limit`, fewer when they are so large that
 * it takes longer than a turn should (5 ms), at least one if there is any. Wants a write transaction. */
enum status sentiments_expire(struct db *db, int64_t before_ms, int64_t limit, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

#endif
