/* Table shadow_predictions: what a candidate would have answered, beside what was answered. */
#ifndef APPCORE_STORE_SHADOWS_H
#define APPCORE_STORE_SHADOWS_H

#include "store/db.h"

/* Deletes rows whose prediction was asked for before `before_ms` (wall time), oldest first: up to `max`. Wants a write
 * transaction. */
enum status shadows_delete_before(struct db *db, int64_t before_ms, int max, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

#endif
