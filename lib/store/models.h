/* Tables models and model_routes: which versions of models there are, and who answers for a name. It is what all
 * machines agree on; the files lie in each machine's MODELS_DIR. Every change also bumps the generation that workers
 * watch (generations.h). */
#ifndef APPCORE_STORE_MODELS_H
#define APPCORE_STORE_MODELS_H

#include "store/db.h"

/* The topic in table generations that every change of a version or a route bumps. */
#define MODELS_TOPIC STR("models")

enum {
	MODELS_NAME_BYTES = 65,   /* of a name, of a version */
	MODELS_HASH_BYTES = 65,   /* 64 hex digits */
	MODELS_SHARES_MAX = 8,    /* versions that share a name's requests */
	MODELS_SHARE_MAX = 10000, /* of one version */
	MODELS_STICKY_BYTES = 64, /* of a header's name */
	MODELS_FORMER_MAX = 10,   /* routes that are kept for a rollback */
	MODELS_SHARES_BYTES = MODELS_SHARES_MAX * (MODELS_NAME_BYTES + 6) + 1,
};

/* A version that was added. */
struct models_version {
	char name[MODELS_NAME_BYTES], version[MODELS_NAME_BYTES];
	char hash[MODELS_HASH_BYTES]; /* of the manifest */
	bool loaded;                  /* else kept, but not served */
	int64_t added_us;
};

/* Which versions answer for a name where none is named: "1=90 2=10". */
struct models_shares {
	struct {
		char version[MODELS_NAME_BYTES];
		unsigned share; /* 1 to MODELS_SHARE_MAX */
	} of[MODELS_SHARES_MAX];
	int n;
};

struct models_route {
	char name[MODELS_NAME_BYTES];
	struct models_shares shares;           /* the first of the largest is the active version */
	char sticky[8 + MODELS_STICKY_BYTES];  /* "", "key" or "header:X-User-Id" */
	char shadow[MODELS_NAME_BYTES];        /* a version that scores what the others answer; empty: none */
	int former;                            /* routes that a rollback could go back to */
	char rollback_to[MODELS_SHARES_BYTES]; /* the newest of them; empty: none */
	int64_t changed_us;
};

/* Reads "1=90 2=10"; a version without share ("2") has all of it (100). STATUS_INVALID with one sentence: no version,
 * too many, twice the same, a share that is none, what is no version's name. */
enum status models_parse_shares(struct str text, struct models_shares *out, struct err *err)
	__attribute__((nonnull(2), warn_unused_result));
/* "1=90 2=10" */
void models_format_shares(const struct models_shares *shares, char out[static MODELS_SHARES_BYTES])
	__attribute__((nonnull));

/* The version with the largest share, the first of several; "" when there is none. Borrows. */
const char *models_active(const struct models_shares *shares) __attribute__((nonnull, returns_nonnull));

/* Is it "", "key", or "header:" and a header's name (letters, digits and '-')? */
bool models_sticky_is_valid(struct str sticky);

/* All that follow but models_each, models_each_route and models_find want a write transaction.
 *
 * STATUS_CONFLICT: the version is there with another hash. One that is there with the same hash is left as it is: then
 * *there is true. */
enum status models_add(struct db *db, const struct models_version *version, bool *there, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* STATUS_NOT_FOUND; STATUS_CONFLICT while a route or a shadow needs it. Former routes that had it are forgotten. The
 * last version of a name that was unloaded may go whoever needs it: it takes the name's route with it. */
enum status models_remove(struct db *db, struct str name, struct str version, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* Whether workers serve the version. Version empty: all versions of the name, whose route stays and answers again when
 * they are loaded. STATUS_NOT_FOUND; STATUS_CONFLICT when a single one is to go that a route or a shadow needs. */
enum status models_set_loaded(struct db *db, struct str name, struct str version, bool loaded, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* The route of a name: its versions must be there and are loaded by it. A NULL `shares`, `sticky` or `shadow` stays as
 * it is. Where the shares change, those before are kept for a rollback; a shadow that gets a share is none any more.
 * STATUS_NOT_FOUND: no such version, or no route that a change without shares could be made of; STATUS_INVALID.
 * `builtin` is a version of this name that no table has (empty: none). */
struct models_change {
	struct str name;
	const struct models_shares *shares;
	const char *sticky, *shadow;
	struct str builtin;
	int64_t now_us;
};
enum status models_set_route(struct db *db, const struct models_change *change, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Back to the shares before; those that are in force are forgotten. STATUS_NOT_FOUND: there is nothing to go back to.
 */
enum status models_rollback(struct db *db, struct str name, struct str builtin, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* --- reading --- */

/* STATUS_NOT_FOUND. */
enum status models_find(struct db *db, struct str name, struct str version, struct models_version *out, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));
enum status models_find_route(struct db *db, struct str name, struct models_route *out, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* All rows by name (versions: and version); false ends it. */
typedef bool models_version_fn(void *arg, const struct models_version *version);
typedef bool models_route_fn(void *arg, const struct models_route *route);
enum status models_each(struct db *db, models_version_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status models_each_route(struct db *db, models_route_fn *fn, void *arg, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

#endif
