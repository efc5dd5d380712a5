/* Table task_schedules. */
#include "store/schedules.h"

enum status schedules_find(struct db *db, struct str name, bool *found, struct schedule_row *row, struct err *err)
{
	static const char sql[] = "SELECT expression, next_us FROM task_schedules WHERE name = $1";
	struct stmt *stmt;

	*found = false;
	*row = (struct schedule_row){0};
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, name);
	status = db_step(stmt, found, err);
	if (status == STATUS_OK && *found) {
		struct str text = db_column_text(stmt, 0);
		size_t n = text.n < sizeof(row->expression) ? text.n : sizeof(row->expression) - 1;
		if (n > 0)
			memcpy(row->expression, text.p, n);
		row->next_us = db_column_i64(stmt, 1);
	}
	db_reset(stmt);
	return status;
}

enum status schedules_set(struct db *db, struct str name, struct str expression, int64_t next_us, struct err *err)
{
	static const char sql[] = "INSERT INTO task_schedules (name, expression, next_us) VALUES ($1, $2, $3)"
				  " ON CONFLICT (name) DO UPDATE SET expression = excluded.expression,"
				  " next_us = excluded.next_us";

	return db_run_once(db, sql, DB_VALUES(db_text(name), db_text(expression), db_i64(next_us)), NULL, err);
}

enum status schedules_remove(struct db *db, struct str name, struct err *err)
{
	static const char sql[] = "DELETE FROM task_schedules WHERE name = $1";

	return db_run_once(db, sql, DB_VALUES(db_text(name)), NULL, err);
}

enum status schedules_move(struct db *db, struct str name, int64_t from_us, int64_t to_us, bool *moved, struct err *err)
{
	static const char sql[] = "UPDATE task_schedules SET next_us = $1 WHERE name = $2 AND next_us = $3";
	int64_t changed = 0;

	*moved = false;
	enum status status = db_run_once(db, sql, DB_VALUES(db_i64(to_us), db_text(name), db_i64(from_us)), &changed,
					 err);
	*moved = status == STATUS_OK && changed > 0;
	return status;
}
