/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) for handlers that store something: the answer is stored
 * with its effect, in one transaction, and told again to the same key and body for 24 hours. A handler reads the key,
 * claims it before it submits its write, looks and saves within it, and settles when it is done. */
#ifndef APPCORE_HANDLERS_IDEMPOTENT_H
#define APPCORE_HANDLERS_IDEMPOTENT_H

#include "http/request.h"
#include "store/db.h"

enum idempotent_outcome { IDEMPOTENT_STORED, IDEMPOTENT_REPLAYED, IDEMPOTENT_MISMATCH };

struct idempotent {
	struct request *req;
	bool keyed;              /* the request carries a key; without one all of this does nothing */
	uint8_t key_hash[32];    /* of caller, path and key */
	uint8_t fingerprint[32]; /* of the body */
	enum idempotent_outcome outcome;
};

/* Reads the header: a bare token or a quoted string (RFC 8941) of printable ASCII. False: answered. */
bool idempotent_read(struct idempotent *idem, struct request *req) __attribute__((nonnull, warn_unused_result));

/* At most one request with a key runs at a time, over all workers. False: answered (409, or 503 when too many run). */
bool idempotent_claim(struct idempotent *idem) __attribute__((nonnull, warn_unused_result));
void idempotent_release(struct idempotent *idem) __attribute__((nonnull));

/* In the write: looks for a stored answer. *found: it is the response now (of this body), or the outcome says that the
 * key was used with another one; nothing is to be written. */
enum status idempotent_find(struct idempotent *idem, struct db *db, bool *found, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* In the write, last: stores the response as it is (status and body). When somebody was first since it was looked for:
 * STATUS_CONFLICT, and the write is taken back and runs again; unless it has written nothing itself (`wrote`), then
 * theirs is the response. */
enum status idempotent_save(struct idempotent *idem, struct db *db, bool wrote, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* After a write that succeeded: counts, and says in the response what became of the key. */
void idempotent_settle(struct idempotent *idem) __attribute__((nonnull));

#endif
