/* Where the databases of the tests are: files of SQLite in the test's directory, or, with
 * TEST_DATABASE_SERVER=postgresql://user:password@host:port, databases on that server, one per name, made when they are
 * first asked for and dropped when the test ends. `make test-postgres` sets it. */
#ifndef APPCORE_TESTS_DATABASE_H
#define APPCORE_TESTS_DATABASE_H

#include "store/db.h"

/* The URL of the database `name` (a file's name); valid until the next call. A child after fork() gets the URL of a
 * name that its parent has asked for before. */
struct str database_url(const char *name) __attribute__((nonnull));

/* Drops it at once; its file stays with the test's directory. */
void database_drop(const char *name) __attribute__((nonnull));

/* Takes it from under those that have it open, or gives it back: the file is moved away; connections are ended and new
 * ones refused. */
void database_lose(const char *name, bool lost) __attribute__((nonnull));

/* Has all other writers of a database wait, or lets them go on: by the turn, and where turns do not exist by locks that
 * let others read. */
void database_hold(struct db *db, bool hold) __attribute__((nonnull));

/* On PostgreSQL, while others are held: gives the commit thread something to wait for, so that what comes later stays
 * in the queue, as on SQLite. It needs the mailbox to be drained later. */
struct store;
void database_plug(struct store *store) __attribute__((nonnull));

bool database_is_postgres(void);

/* True on PostgreSQL, where the case is to return at once: says that it is skipped and why. */
bool database_skips(const char *why) __attribute__((nonnull, warn_unused_result));

#endif
