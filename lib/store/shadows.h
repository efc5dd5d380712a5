/* Table shadow_predictions: what a candidate would have answered, beside what was answered. Its key is the prediction's
 * id and the candidate's version, so that rows lie in the order of time. */
#ifndef APPCORE_STORE_SHADOWS_H
#define APPCORE_STORE_SHADOWS_H

#include "store/db.h"

/* A row. Views borrow: from the caller when saving; from the statement, until the callback returns, when reading. */
struct shadow_prediction {
	struct str prediction_id; /* of the row in predictions */
	struct str model_version; /* the candidate's */
	struct str model_name, model_hash;
	double result;
	struct str label, probabilities; /* as in struct prediction */
	struct str active_version;       /* the version that answered, and what */
	double active_result;
	struct str active_label;
	struct str created_at; /* of the prediction */
	int64_t duration_us;   /* of the candidate's call, by row */

	/* From predictions, when reading; empty where the row is gone. */
	struct str features, active_probabilities;
};

/* Inserts the row; one that is there already stays as it is. Wants a write transaction. */
enum status shadows_save(struct db *db, const struct shadow_prediction *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The same for the rows of one candidate: model_version, model_name and model_hash are the first one's. One statement
 * on PostgreSQL. A result that is not finite is STATUS_CONFLICT, and nothing is saved then. */
enum status shadows_save_all(struct db *db, const struct shadow_prediction *rows, size_t n, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

typedef bool shadows_row(void *arg, const struct shadow_prediction *row);

/* Up to `limit` rows of all models after the position, by time; *read of them. `position` begins as
 * shadows_begin sets it and moves on. A callback that returns false ends it. */
enum { SHADOWS_POSITION_BYTES = 128 };
void shadows_begin(int64_t since_ms, char position[static SHADOWS_POSITION_BYTES]) __attribute__((nonnull));
enum status shadows_page(struct db *db, char position[static SHADOWS_POSITION_BYTES], int limit, shadows_row *row,
			 void *arg, int *read, struct err *err)
	__attribute__((nonnull(1, 2, 4, 6), warn_unused_result));

/* Deletes rows whose prediction was asked for before `before_ms` (wall time), oldest first: up to `max`. Wants a write
 * transaction. */
enum status shadows_delete_before(struct db *db, int64_t before_ms, int max, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

#endif
