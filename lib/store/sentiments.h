/* Table sentiment_requests: every text that was analysed for somebody. */
#ifndef APPCORE_STORE_SENTIMENTS_H
#define APPCORE_STORE_SENTIMENTS_H

#include "base/id.h"
#include "store/db.h"

enum { SENTIMENT_TIME_BYTES = 32, SENTIMENT_VERSION_BYTES = 128 };

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

/* At most `limit` rows of one user, newest first, those before the id `before` (NULL: from the newest). */
enum status sentiments_of_user(struct db *db, int64_t user_id, const struct id *before, int64_t limit,
			       sentiment_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 5), warn_unused_result));

/* At most `limit` rows of a task in their order, from position `from` on. */
enum status sentiments_of_task(struct db *db, struct str task_id, int64_t from, int64_t limit, sentiment_row_fn *fn,
			       void *arg, struct err *err) __attribute__((nonnull(1, 5), warn_unused_result));

/* Deletes at most `limit` rows whose id's time is before `before_ms`. */
enum status sentiments_expire(struct db *db, int64_t before_ms, int64_t limit, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

#endif
