/* Table api_keys: what is kept of an API key is its public id and a hash; the key itself is shown once and never
 * stored. Every change of an operator's key also bumps the generation that workers watch (generations.h). */
#ifndef APPCORE_STORE_KEYS_H
#define APPCORE_STORE_KEYS_H

#include "store/db.h"

/* The topic in table generations that every change of a key bumps. */
#define KEYS_TOPIC STR("api_keys")

enum { KEY_ID_BYTES = 17, KEY_HASH_BYTES = 32, KEY_NAME_BYTES = 101, KEY_SCOPES_BYTES = 101 };

struct key_row {
	char id[KEY_ID_BYTES];     /* public: 16 lower-case hex digits */
	char name[KEY_NAME_BYTES]; /* 1 to 100 bytes of UTF-8; unique among its owner's keys that are not revoked */
	uint8_t hash[KEY_HASH_BYTES];
	int64_t rate_per_minute;                    /* -1: the setting's default; 0: no limit */
	int64_t created_us, expires_us, revoked_us; /* wall time; 0: never */
	char scopes[KEY_SCOPES_BYTES];              /* what it may beyond predicting, comma separated: "models" */
	int64_t user_id;                            /* whose it is; 0: the operator's own */
	bool suspended;                             /* read only: its user is not active, or not there */
};

typedef bool key_row_fn(void *arg, const struct key_row *row);

/* Want a write transaction. STATUS_INVALID: the name is empty, too long or not UTF-8. STATUS_CONFLICT: the name is
 * taken; the same key again is none. STATUS_NOT_FOUND: no key with that id, nor (looked at second, among the operator's
 * own) that name, that is not revoked. A key that has expired keeps its name until it is revoked. */
enum status keys_insert(struct db *db, const struct key_row *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status keys_revoke(struct db *db, struct str id_or_name, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* The same for a key of this user only, by its id; and for all that they have. */
enum status keys_revoke_of(struct db *db, int64_t user_id, struct str id, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
enum status keys_revoke_all(struct db *db, int64_t user_id, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* Replaces a key: `fresh` (its id, hash, created_us set) takes over name, rate, expiry, scopes and user of the key
 * `id_or_name`, which stays valid until `overlap_until_us` (or its own expiry, if that is sooner) and is called
 * "<name> (until rotation, <id>)" from now on. STATUS_NOT_FOUND also when the key has expired at fresh->created_us. */
enum status keys_rotate(struct db *db, struct str id_or_name, struct key_row *fresh, int64_t overlap_until_us,
			struct err *err) __attribute__((nonnull(1, 3), warn_unused_result));

/* All rows, oldest first. */
enum status keys_each(struct db *db, key_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
/* Those of one user (0: the operator's own) that are not revoked: by an index, however many others there are. */
enum status keys_each_valid(struct db *db, int64_t user_id, key_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* The key with this id that is not revoked. STATUS_NOT_FOUND. */
enum status keys_find(struct db *db, struct str id, struct key_row *row, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

#endif
