/* The operator's API keys that are valid now, in this worker's memory, as hashes. Belongs to one thread. Those of
 * users, of whom there may be many, are not held here: keyring_read_key says how one is looked up.
 *
 * A key reads "ak_<16 hex digits of its public id>_<43 characters>": the id finds the row without telling anything
 * about the secret, and the secret's hash is compared in constant time. The key from the environment may be any text.
 * Keys carry 256 bits from the system's random source, so a fast hash (BLAKE2b) is enough: there is nothing to guess.
 */
#ifndef APPCORE_AUTH_KEYRING_H
#define APPCORE_AUTH_KEYRING_H

#include "base/id.h"
#include "store/keys.h"

enum { KEY_TEXT_BYTES = 3 + 16 + 1 + 43 + 1, CALLER_NAME_BYTES = 401 };

/* Who makes a request. */
struct caller {
	char key_id[KEY_ID_BYTES];     /* "env" for the key from the environment; empty: nobody */
	char name[KEY_NAME_BYTES];     /* "default-user" for the key from the environment */
	int64_t rate_per_minute;       /* -1: the setting's default; 0: no limit */
	char scopes[KEY_SCOPES_BYTES]; /* comma separated; empty for the key from the environment */
	/* A person, by a token or by a key of theirs (ROUTE_USER); else 0 and empty. */
	int64_t user_id;
	char username[CALLER_NAME_BYTES];
	char session[ID_TEXT_BYTES]; /* the token's; empty with a key */
	bool superuser;
	int64_t until_us; /* when the token ends; 0: no token */
};

/* What a scope allows is said where it is asked for (routes.c). */
bool caller_has_scope(const struct caller *caller, const char *scope) __attribute__((nonnull));

/* Every item of a comma separated list is a scope that there is, none is there twice, and all fits a key's row. An
 * empty list is good. */
bool scopes_are_valid(struct str scopes);

struct keyring {
	uint8_t env_hash[KEY_HASH_BYTES], previous_hash[KEY_HASH_BYTES];
	bool has_env, has_previous;
	struct key_row *rows; /* sorted by id */
	size_t n, cap;
	int64_t generation; /* of the table when it was read; -1: never */
};

/* An empty keyring that knows the key from the environment (empty: none). */
void keyring_init(struct keyring *ring, struct str env_key) __attribute__((nonnull));
/* The one that it was before is as good, so that callers can change to the new one in their own time. */
void keyring_add_previous(struct keyring *ring, struct str env_key) __attribute__((nonnull));
void keyring_release(struct keyring *ring) __attribute__((nonnull));

/* The table's rows as some thread has read them. */
struct keyring_rows {
	struct key_row *rows;
	size_t n, cap;
	int64_t generation; /* before: the one that is known (-1: none); after: the table's */
	bool changed;       /* there is something to take */
};

/* Reads the table when its generation is not the one that is known. Any thread. */
enum status keyring_read(struct keyring_rows *rows, struct db *db, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The keyring's thread: takes over what was read; it belongs to the keyring then. */
void keyring_take(struct keyring *ring, struct keyring_rows *rows) __attribute__((nonnull));

/* Both: keeps what it has when reading fails. */
enum status keyring_refresh(struct keyring *ring, struct db *db, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Who presents this key at `now_us`. STATUS_UNAUTHENTICATED: no key; STATUS_FORBIDDEN: unknown, revoked, expired, or a
 * user's; STATUS_UNAVAILABLE: it is not the environment's, and the table could not be read yet. */
enum status keyring_check(const struct keyring *ring, struct str key, int64_t now_us, struct caller *out)
	__attribute__((nonnull, warn_unused_result));

/* The id of the row that a key names, and the hash that the row must have (compare in constant time). False: it has not
 * the form of the keys that we make. */
bool keyring_read_key(struct str key, char id[static KEY_ID_BYTES], uint8_t hash[static KEY_HASH_BYTES])
	__attribute__((warn_unused_result));

/* Makes the key that belongs to a secret seed: always the same one. As keyring_generate. */
enum { KEYRING_SEED_BYTES = 32 };
void keyring_derive(const uint8_t seed[static KEYRING_SEED_BYTES], char text[static KEY_TEXT_BYTES],
		    struct key_row *row) __attribute__((nonnull));

/* Makes a new key: its text (shown once, then forgotten; wipe it) and id and hash in *row. */
void keyring_generate(char text[static KEY_TEXT_BYTES], struct key_row *row) __attribute__((nonnull));

#endif
