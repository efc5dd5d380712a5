/* Table users. Texts are as names.h normalises them. All that writes wants a write transaction. */
#ifndef APPCORE_STORE_USERS_H
#define APPCORE_STORE_USERS_H

#include "store/db.h"

enum { USER_NAME_BYTES = 401, USER_EMAIL_BYTES = 1021, USER_HASH_BYTES = 256, USER_TIME_BYTES = 32 };

struct user_row {
	int64_t id; /* users_insert fills it */
	char email[USER_EMAIL_BYTES], email_key[USER_EMAIL_BYTES];
	char username[USER_NAME_BYTES], username_key[USER_NAME_BYTES];
	char hash[USER_HASH_BYTES]; /* of the password */
	bool active, superuser;
	char created_at[USER_TIME_BYTES], updated_at[USER_TIME_BYTES]; /* "2026-02-07T10:40:00.123456", UTC */
	int64_t failed_logins, locked_until_us;
};

typedef bool user_row_fn(void *arg, const struct user_row *row);

/* Fills id, created_at (when it is empty) and updated_at. STATUS_CONFLICT: the name or the address is taken. The same
 * row again, with the same hash, is no conflict: *row is what was stored then. */
enum status users_insert(struct db *db, struct user_row *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Holds the user's row until the transaction ends, so that what is counted of theirs stays true; on SQLite every write
 * does. Wants an op that is alone: ops of one transaction do not keep each other out. STATUS_NOT_FOUND: nobody. */
enum status users_hold(struct db *db, int64_t id, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* STATUS_FORBIDDEN: they are switched off. */
enum status users_check_active(struct db *db, int64_t id, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* STATUS_NOT_FOUND: nobody. */
enum status users_find(struct db *db, int64_t id, struct user_row *row, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));
enum status users_find_name(struct db *db, struct str username_key, struct user_row *row, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* Writes email, username, their keys, hash, active, superuser, failed_logins, locked_until_us; renews updated_at (also
 * in *row) when something but the last two changed. STATUS_CONFLICT, STATUS_NOT_FOUND. Does not end sessions
 * (sessions.h): who switches a user off or changes a password does. */
enum status users_update(struct db *db, struct user_row *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* A login has failed: one more is counted. At `limit` of them in a row (0: never) the user is locked until then, and
 * counting starts again. Safe when many of one user run at once. */
enum status users_login_failed(struct db *db, int64_t id, int64_t limit, int64_t locked_until_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* One has succeeded: the count and the lock are gone. `fresh_hash` (empty: none) takes the place of `hash` if that is
 * still the user's: the password was not changed meanwhile. updated_at stays. */
enum status users_login_succeeded(struct db *db, int64_t id, struct str hash, struct str fresh_hash, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* All of them, oldest first. */
enum status users_each(struct db *db, user_row_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Who a token is from, in one small read: is the session there and not ended at `now_us`, and what of its user. */
struct user_session {
	/* User and session are there, and the session goes on, or it ended because the user is not active any more:
	 * that is to be told first. */
	bool known;
	bool active, superuser;
	char username[USER_NAME_BYTES];
};
enum status users_find_session(struct db *db, int64_t user_id, struct str session, int64_t now_us,
			       struct user_session *out, struct err *err)
	__attribute__((nonnull(1, 5), warn_unused_result));

#endif
