/* Password hashes: made with Argon2id (RFC 9106, OWASP's parameters), checked also when they are bcrypt's ($2b$, by
 * libxcrypt). A call takes tens of milliseconds and 19 MiB: never on an event thread, few at once. */
#ifndef APPCORE_AUTH_PASSWORD_H
#define APPCORE_AUTH_PASSWORD_H

#include "base/err.h"
#include "base/str.h"

enum { PASSWORD_HASH_BYTES = 256, PASSWORD_MAX = 1024 };

/* Hashes with a fresh salt; `out` is NUL-terminated text. STATUS_INVALID: longer than PASSWORD_MAX bytes, or with a
 * NUL. STATUS_UNAVAILABLE: no memory. */
enum status password_hash(struct str password, char out[static PASSWORD_HASH_BYTES], struct err *err)
	__attribute__((nonnull(2), warn_unused_result));

/* Whether `hash` is this password's, in time that does not tell. *outdated: right, but made with other parameters than
 * password_hash uses now: hash anew and store it. A NULL hash (an unknown user) costs the same and is never right. */
bool password_check(const char *hash, struct str password, bool *outdated)
	__attribute__((nonnull(3), warn_unused_result));

#endif
