/* Table sessions: logins, and their refresh tokens as hashes. All that writes wants a write transaction. */
#ifndef APPCORE_STORE_SESSIONS_H
#define APPCORE_STORE_SESSIONS_H

#include "base/id.h"
#include "store/db.h"

enum { SESSION_HASH_BYTES = 32, SESSION_CLIENT_BYTES = 65 };

struct session_row {
	char id[ID_TEXT_BYTES];
	int64_t user_id;
	uint8_t refresh_hash[SESSION_HASH_BYTES];
	int64_t created_us, renewed_us, expires_us, ended_us;
	char client[SESSION_CLIENT_BYTES]; /* the address that logged in */
};

/* STATUS_CONFLICT never: the same id again (a request that nginx tried twice) replaces the hash of its first try. */
enum status sessions_insert(struct db *db, const struct session_row *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Deletes all sessions of the user but the newest `keep`: who may log in as often as they like must not fill the table.
 */
enum status sessions_trim(struct db *db, int64_t user_id, int64_t keep, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* A refresh token is used: puts `fresh_hash` in the place of `hash`. *row is the session then. STATUS_UNAUTHENTICATED:
 * no session has it (*row is the one of this id, or has none), or it is over. STATUS_FORBIDDEN: it was used before; the
 * session has been ended (commit that). */
enum status sessions_renew(struct db *db, struct str id, const uint8_t hash[SESSION_HASH_BYTES],
			   const uint8_t fresh_hash[SESSION_HASH_BYTES], int64_t now_us, int64_t expires_us,
			   struct session_row *row, struct err *err)
	__attribute__((nonnull(1, 3, 4, 7), warn_unused_result));

/* Ends one session of the user, or all but `except` (empty: all). Ending what is over is no error. */
enum status sessions_end(struct db *db, int64_t user_id, struct str id, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
enum status sessions_end_all(struct db *db, int64_t user_id, struct str except, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* Ends all sessions of everybody: after a restore, which brings back those that had ended since. */
enum status sessions_end_everybody(struct db *db, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* Deletes at most `limit` sessions that ended or expired before `before_us`; *deleted says how many. */
enum status sessions_expire(struct db *db, int64_t before_us, int64_t limit, int64_t *deleted, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

#endif
