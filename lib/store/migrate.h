/* Schema migrations: numbered SQL files (lib/store/migrations/NNNN_name.up.sql, .down.sql; where SQL differs,
 * NNNN_name.postgresql.up.sql beside it) embedded in the binary, each recorded with its checksum in schema_migrations.
 * One runs in one transaction, in a turn, so that two processes that start at once migrate once. */
#ifndef APPCORE_STORE_MIGRATE_H
#define APPCORE_STORE_MIGRATE_H

#include "store/db.h"

struct migration {
	int number;
	const char *name;
	const char *up, *down; /* SQL */
};

/* All migrations known to this binary in order, as an engine wants them; *n is their number, the same for all. Static.
 */
const struct migration *migrate_all(enum db_dialect dialect, int *n) __attribute__((nonnull, returns_nonnull));

struct migrate_record {
	int number;
	char name[64];
	char checksum[65];   /* hex of BLAKE2b-256 over up and down */
	char applied_at[40]; /* ISO 8601; empty: not applied */
	bool known;          /* this binary has it */
	bool altered;        /* the recorded checksum is not this binary's */
	bool reversible;     /* there is a way back that loses nothing of what was there before */
};

/* A migration whose way back begins with "-- irreversible: WHY" has none; NULL, or WHY. Into the text of the migration.
 */
const char *migrate_irreversible(const struct migration *migration, size_t *n) __attribute__((nonnull));

/* The newest applied number, 0 on an empty database. */
enum status migrate_current(struct db *db, int *number, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Fills up to `max` records, applied and pending, by number. *n gets how many there are. */
enum status migrate_history(struct db *db, struct migrate_record *out, int max, int *n, struct err *err)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));

/* Called for each step before it runs; `sql` is what will run. */
typedef void migrate_note(void *arg, const struct migration *migration, bool up, const char *sql);

/* Applies what is pending up to number `target` (0: all), or with `dry_run` only notes it. STATUS_CONFLICT when an
 * applied migration was altered, or the database is newer than this binary. *ran (may be NULL): how many. */
enum status migrate_up(struct db *db, int target, bool dry_run, migrate_note *note, void *arg, int *ran,
		       struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* Takes back applied migrations down to number `target` (exclusive: target itself stays). STATUS_CONFLICT, and nothing
 * is taken back, when one of them has no way back. */
enum status migrate_down(struct db *db, int target, bool dry_run, migrate_note *note, void *arg, int *ran,
			 struct err *err) __attribute__((nonnull(1), warn_unused_result));

#endif
