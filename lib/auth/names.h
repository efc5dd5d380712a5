/* What people are called: user names (RFC 8265, profile UsernameCasePreserved) and e-mail addresses. */
#ifndef APPCORE_AUTH_NAMES_H
#define APPCORE_AUTH_NAMES_H

#include "base/arena.h"
#include "base/str.h"

enum { USERNAME_MAX = 100, EMAIL_MAX = 254 }; /* characters */

/* The name as it is stored and shown (width-mapped, NFC), and the key that must be unique (case-mapped, and with
 * look-alikes of Latin letters folded). Both in the arena. NULL when it is good, else a sentence why not; "" too is a
 * reason. */
const char *username_normalise(struct str raw, struct arena *arena, struct str *name, struct str *key)
	__attribute__((nonnull, warn_unused_result));

/* The address as it is stored (domain in lower case), and its key (all in lower case). NULL when it is good, else the
 * reason in the words of Python's email-validator 2.1.0 ("The email address is not valid. It must have exactly one
 * @-sign."). Nothing is looked up. */
const char *email_normalise(struct str raw, struct arena *arena, struct str *email, struct str *key)
	__attribute__((nonnull, warn_unused_result));

#endif
