/* Table moves: what a database knows of being moved. A row each for its own identity (part "database"), the identity of
 * the one that it is filled from ("source") and the run that is filling it ("run"); and by table the ranges of keys
 * that have been carried. */
#ifndef APPCORE_STORE_MOVES_H
#define APPCORE_STORE_MOVES_H

#include "store/tables.h"

enum { MOVES_KEY_BYTES = 128, MOVES_ID_BYTES = 33 };

/* A range of the rows of a table as they were read in the source. */
struct moves_range {
	char first[MOVES_KEY_BYTES]; /* exclusive */
	char last[MOVES_KEY_BYTES];
	struct table_sum sum;
	int64_t checked_us; /* when the source was read */
	bool verified;      /* the target was read back and is the same */
};

/* The identity in row `part`; empty when there is none. */
enum status moves_get(struct db *db, const char *part, char id[static MOVES_ID_BYTES], struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Writes it. Wants a write transaction, as all that follow. */
enum status moves_set(struct db *db, const char *part, const char *id, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* STATUS_CONFLICT when row "run" does not say `id` any more. Whoever changes it later waits until this transaction has
 * ended. */
enum status moves_guard(struct db *db, const char *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Writes the range, in the place of one that ends at the same key. */
enum status moves_put(struct db *db, const char *part, const struct moves_range *range, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));
enum status moves_remove(struct db *db, const char *part, const char *last, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* The ranges of a table in the order of their keys; caller frees with free. */
enum status moves_list(struct db *db, const char *part, struct moves_range **out, size_t *n, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4), warn_unused_result));

#endif
