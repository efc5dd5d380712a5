/* Table generations: a counter per topic, bumped in the transaction that changes something other processes hold in
 * memory (API keys). Workers read it twice a second, which also sees changes by a command that was started with
 * another run directory, and after a restore: a revocation must not depend on an operator's environment. */
#ifndef APPCORE_STORE_GENERATIONS_H
#define APPCORE_STORE_GENERATIONS_H

#include "store/db.h"

/* Wants a write transaction. */
enum status generations_bump(struct db *db, struct str topic, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* The same, and *value is the new one: nobody else ever gets it. */
enum status generations_next(struct db *db, struct str topic, int64_t *value, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* n of them at once: *first to *first + n - 1. */
enum status generations_take(struct db *db, struct str topic, int64_t n, int64_t *first, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

/* 0 when the topic was never bumped. */
enum status generations_read(struct db *db, struct str topic, int64_t *value, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

#endif
