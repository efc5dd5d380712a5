/* What time it is for deleting. A clock that is wrong by months must not cost a table, and on PostgreSQL the table
 * belongs to other machines as well. */
#ifndef APPCORE_STORE_RETENTION_H
#define APPCORE_STORE_RETENTION_H

#include "store/db.h"

struct retention_time {
	int64_t server_us; /* the database server's; on SQLite this machine's */
	int64_t now_us;    /* the earlier of both: what is old by it is old */
	bool apart;        /* they differ by more than an hour: nobody knows what is old */
	bool all_old;      /* there are predictions or analysed texts, and even the newest is past `days`: either nobody
			    * has asked for a long time, or the clock is wrong */
};

/* Asks for it. `wall_us` is this machine's time; `days` 0: all_old is not looked for. */
enum status retention_ask(struct db *db, int64_t wall_us, int64_t days, struct retention_time *out, struct err *err)
	__attribute__((nonnull(1, 4), warn_unused_result));

#endif
