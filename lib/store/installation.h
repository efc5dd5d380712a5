/* Whose data this is: a random number that a database gets once, kept in table generations. What machines share outside
 * of the database (Redis) carries it, so that installations with databases of their own can share one Redis without
 * ever getting each other's. A restored backup becomes another installation: what was cached is not its. */
#ifndef APPCORE_STORE_INSTALLATION_H
#define APPCORE_STORE_INSTALLATION_H

#include "store/db.h"

enum { INSTALLATION_BYTES = 9 };

/* Hex digits; empty when the database has not got its number yet. */
enum status installation_find(struct db *db, char out[static INSTALLATION_BYTES], struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Gives it one unless it has one. Takes a turn and a transaction of its own. */
enum status installation_make(struct db *db, char out[static INSTALLATION_BYTES], struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Gives it another one if it has one. Takes a turn and a transaction of its own. */
enum status installation_renew(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));

#endif
