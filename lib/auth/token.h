/* Access tokens: JWT (RFC 7519) signed with HMAC-SHA-256, checked as RFC 8725 says: the one algorithm, the one issuer
 * and audience, a life of their own; nothing of the header is believed. Two keys can be good at once, so that keys are
 * rotated without logging anybody out; "kid" tells which, and is only a hint. Pure computation, any thread. */
#ifndef APPCORE_AUTH_TOKEN_H
#define APPCORE_AUTH_TOKEN_H

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"
#include "base/str.h"

enum { TOKEN_KEYS = 2, TOKEN_KEY_MIN = 32, TOKEN_NAME_BYTES = 401, TOKEN_MAX = 4096 };

struct token_keys {
	struct str keys[TOKEN_KEYS]; /* the first signs; an empty one is none. Borrowed */
};

/* What a token says. */
struct token {
	char username[TOKEN_NAME_BYTES]; /* "sub" */
	int64_t user_id;                 /* "uid" */
	char session[ID_TEXT_BYTES];     /* "sid" */
	char jti[ID_TEXT_BYTES];
	int64_t issued_s, expires_s; /* Unix time: "iat", "exp" */
};

/* The token's text, in the arena; p is NULL without memory. "sub" and "exp" come first in the payload. */
struct str token_sign(const struct token_keys *keys, const struct token *token, struct arena *arena)
	__attribute__((nonnull, warn_unused_result));

/* Reads and checks a token at `now_s`. False: it is none of ours, or expired, and *out says nothing. */
bool token_check(const struct token_keys *keys, struct str text, int64_t now_s, struct token *out)
	__attribute__((nonnull, warn_unused_result));

#endif
