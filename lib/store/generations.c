/* Table generations. */
#include "store/generations.h"

enum status generations_bump(struct db *db, struct str topic, struct err *err)
{
	static const char sql[] = "INSERT INTO generations (topic, value) VALUES ($1, 1)"
				  " ON CONFLICT (topic) DO UPDATE SET value = generations.value + 1";

	return db_run_once(db, sql, DB_VALUES(db_text(topic)), NULL, err);
}

enum status generations_take(struct db *db, struct str topic, int64_t n, int64_t *first, struct err *err)
{
	static const char sql[] = "INSERT INTO generations (topic, value) VALUES ($1, $2)"
				  " ON CONFLICT (topic) DO UPDATE SET value = generations.value + $2 RETURNING value";
	struct stmt *stmt;
	bool row;

	*first = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, topic);
	db_bind_i64(stmt, 2, n);
	status = db_step(stmt, &row, err);
	while (status == STATUS_OK && row) {
		*first = db_column_i64(stmt, 0) - n + 1;
		status = db_step(stmt, &row, err);
	}
	db_reset(stmt);
	return status;
}

enum status generations_next(struct db *db, struct str topic, int64_t *value, struct err *err)
{
	return generations_take(db, topic, 1, value, err);
}

enum status generations_read(struct db *db, struct str topic, int64_t *value, struct err *err)
{
	static const char sql[] = "SELECT value FROM generations WHERE topic = $1";
	struct stmt *stmt;
	bool row;

	*value = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, topic);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*value = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}
