/* What the handlers of accounts share. */
#ifndef APPCORE_HANDLERS_ACCOUNTS_H
#define APPCORE_HANDLERS_ACCOUNTS_H

#include "http/invalid.h"
#include "store/sessions.h"
#include "store/store.h"
#include "store/users.h"

enum { ACCOUNTS_PASSWORD_MIN = 8, ACCOUNTS_PASSWORD_SHOWN_MAX = 1024 };
/* "rt_<32 hex digits of the session's id>_<43 characters>" and NUL */
enum { ACCOUNTS_REFRESH_BYTES = 3 + 32 + 1 + 43 + 1 };

/* --- ways to end --- */

void accounts_answer_no_memory(struct request *req) __attribute__((nonnull));

/* Submits a write. False: it was answered that too many wait. Event thread. */
bool accounts_write(struct request *req, struct store_op *op) __attribute__((nonnull, warn_unused_result));

/* A line in the log about who did what to an account: `event` is a word for machines. user_id 0: nobody known. */
void accounts_audit(const struct request *req, const char *event, const char *message, int64_t user_id)
	__attribute__((nonnull));

/* What decides who gets in wants a login, and not a key: one that was let out for some days must not make itself one
 * that lasts. False: it was answered. */
bool accounts_need_login(struct request *req) __attribute__((nonnull, warn_unused_result));

/* Overwrites a secret that is not needed any more, in the request's memory. */
void accounts_wipe(struct str secret);

/* --- reading a body --- */

/* A member that is text. False: it is not there, or (then *invalid says so) required, or no text. */
bool accounts_read_text(struct request *req, struct json_value root, struct invalid *invalid, const char *name,
			bool required, struct str *value) __attribute__((nonnull, warn_unused_result));

/* Take over name and address as names.h normalises them, or say in *invalid why not. */
void accounts_take_username(struct request *req, struct invalid *invalid, struct str raw, struct user_row *row)
	__attribute__((nonnull));
void accounts_take_email(struct request *req, struct invalid *invalid, struct str raw, struct user_row *row)
	__attribute__((nonnull));

/* Says in *invalid why this is no password. */
void accounts_check_password(struct invalid *invalid, struct str password) __attribute__((nonnull));

/* --- writes that nginx may send twice --- */

/* In the write (or a read): this very request was carried out by a worker that died, or could not answer; *found: its
 * answer is the response now. */
enum status accounts_recall(struct request *req, struct db *db, bool *found, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));
/* In the write, last: keeps the response (status and body) for that. */
enum status accounts_remember(struct request *req, struct db *db, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* --- tokens --- */

/* A session of this request, as a row, and its refresh token. */
void accounts_new_session(const struct request *req, int64_t user_id, struct session_row *row,
			  char refresh[static ACCOUNTS_REFRESH_BYTES]) __attribute__((nonnull));

/* Reads a refresh token: the session's id and the token's hash. False: it is none. */
bool accounts_read_refresh(struct str text, char id[static ID_TEXT_BYTES], uint8_t hash[static SESSION_HASH_BYTES])
	__attribute__((nonnull, warn_unused_result));

/* It was made here, with one of the keys that are good now: who brings it has had it from us, in force or not. */
bool accounts_made_refresh(const struct request *req, struct str text) __attribute__((nonnull, warn_unused_result));

/* The token that takes the place of `text` when this request uses it: the same one when the request is tried again. */
void accounts_next_refresh(const struct request *req, struct str text, char next[static ACCOUNTS_REFRESH_BYTES])
	__attribute__((nonnull));

/* 200 with an access token. The refresh token is a cookie that scripts can't read, and stands in the body when the
 * client asked for that. */
void accounts_answer_tokens(struct request *req, int64_t user_id, const char *username, const char *session,
			    const char *refresh, bool in_body) __attribute__((nonnull));

/* Takes the cookie back. */
void accounts_forget_cookie(struct request *req) __attribute__((nonnull));

extern const struct str accounts_cookie_name;

#endif
