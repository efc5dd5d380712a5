/* The installation's number: a row of table generations that nobody bumps. 31 bits, so that it is an integer in every
 * engine. */
#include "store/installation.h"

#include "store/generations.h"

#include <sodium.h>
#include <stdio.h>

enum { TURN_WAIT_MS = 10 * 1000 };

#define TOPIC STR("installation")

enum status installation_find(struct db *db, char out[static INSTALLATION_BYTES], struct err *err)
{
	int64_t number;
	enum status status = generations_read(db, TOPIC, &number, err);

	out[0] = '\0';
	if (status == STATUS_OK && number != 0)
		snprintf(out, INSTALLATION_BYTES, "%08x", (unsigned)number);
	return status;
}

/* With a new number as $1 and the topic as $2. */
static enum status write_number(struct db *db, void *sql, struct err *err)
{
	struct stmt *stmt;
	enum status status = db_prepare(db, sql, &stmt, err);

	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, 1 + (int64_t)randombytes_uniform(INT32_MAX));
	db_bind_text(stmt, 2, TOPIC);
	return db_run(stmt, NULL, err);
}

enum status installation_make(struct db *db, char out[static INSTALLATION_BYTES], struct err *err)
{
	static char sql[] = "INSERT INTO generations (value, topic) VALUES ($1, $2)"
			    " ON CONFLICT (topic) DO NOTHING";
	enum status status = installation_find(db, out, err);

	if (status != STATUS_OK || out[0])
		return status;
	status = db_transact(db, TURN_WAIT_MS, write_number, sql, err);
	return status == STATUS_OK ? installation_find(db, out, err) : status;
}

enum status installation_renew(struct db *db, struct err *err)
{
	static char sql[] = "UPDATE generations SET value = $1 WHERE topic = $2";

	return db_transact(db, TURN_WAIT_MS, write_number, sql, err);
}
