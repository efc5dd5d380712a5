/* Table idempotency_keys: the answer to a request that carried an Idempotency-Key, stored in the transaction of its
 * effect (draft-ietf-httpapi-idempotency-key-header). A key is one caller's on one route. */
#ifndef APPCORE_STORE_IDEMPOTENCY_H
#define APPCORE_STORE_IDEMPOTENCY_H

#include "store/db.h"

struct idempotency_record {
	uint8_t key_hash[32];    /* BLAKE2b over caller, route and key */
	uint8_t fingerprint[32]; /* BLAKE2b over the request's body */
	int64_t expires_us;      /* wall time */
	int http_status;
	struct str body;
};

/* Called with the stored answer; views are borrowed for the call. */
typedef void idempotency_found(void *arg, const struct idempotency_record *record);

/* Looks a key up. *found says whether it is there and not expired at `now_us`; then `fn` has been called. */
enum status idempotency_find(struct db *db, const uint8_t key_hash[32], int64_t now_us, bool *found,
			     idempotency_found *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2, 4, 5), warn_unused_result));

/* Stores, over one of the same key that has expired at `now_us`. STATUS_CONFLICT when there is a living one: another
 * machine's transaction was first, and what this one wrote beside must be taken back. Wants a write transaction. */
enum status idempotency_save(struct db *db, const struct idempotency_record *record, int64_t now_us, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Deletes up to `max` expired records. Wants a write transaction. */
enum status idempotency_delete_expired(struct db *db, int64_t now_us, int max, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

#endif
