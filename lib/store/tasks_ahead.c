/* Table background_tasks, after the clock was set back: what stands in it for a time that was now before and has yet to
 * come again. Such a row was last changed in the future. Of those that wait, whoever put a task off, or gave a time, is
 * to get that time; one that was due when it was made, or is tried again, is due now. */
#include "store/tasks.h"

static bool is_meant(const struct task_row *row)
{
	return row->attempts == 0 && row->run_us != id_time_ms(&row->id) * 1000;
}

static bool read_ahead(struct stmt *stmt, struct task_row *row)
{
	*row = (struct task_row){.run_us = db_column_i64(stmt, 1)};
	row->lease_us = db_column_i64(stmt, 2);
	row->claim = db_column_i64(stmt, 3);
	row->attempts = db_column_i64(stmt, 4);
	return id_parse(db_column_text(stmt, 0), &row->id);
}

static enum status collect(struct db *db, const char *sql, int64_t after_us, int64_t now_us, struct task_row *rows,
			   int n, int *found, struct err *err)
{
	char now[TASK_TIME_BYTES];
	struct stmt *stmt;
	bool row = true;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_format_time(now_us, now);
	db_bind_i64(stmt, 1, after_us);
	db_bind_text(stmt, 2, str_of(now));
	while (*found < n && (status = db_step(stmt, &row, err)) == STATUS_OK && row)
		*found += read_ahead(stmt, &rows[*found]) && (rows[*found].lease_us > 0 || !is_meant(&rows[*found]));
	db_reset(stmt);
	return status;
}

enum status tasks_find_ahead(struct db *db, int64_t now_us, int64_t lease_us, struct task_row *rows, int n, int *found,
			     struct err *err)
{
	static const char leased[] = "SELECT task_id, run_us, lease_us, claim, attempts FROM background_tasks"
				     " WHERE status = 'processing' AND lease_us > $1 AND updated_at > $2";
	static const char waiting[] = "SELECT task_id, run_us, 0, claim, attempts FROM background_tasks"
				      " WHERE status = 'pending' AND turn = 0 AND run_us > $1 AND updated_at > $2"
				      " ORDER BY run_us, task_id";

	*found = 0;
	enum status status = collect(db, leased, now_us + lease_us, now_us, rows, n, found, err);
	return status == STATUS_OK ? collect(db, waiting, now_us, now_us, rows, n, found, err) : status;
}

static enum status move(struct db *db, const struct task_row *row, int64_t run_us, int64_t now_us, int64_t change,
			struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET run_us = $1, change = $2, updated_at = $3"
				  " WHERE task_id = $4 AND status = 'pending' AND turn = 0 AND run_us = $5";
	char now[TASK_TIME_BYTES], id[ID_TEXT_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_format_time(now_us, now);
	id_format(&row->id, id);
	db_bind_i64(stmt, 1, run_us);
	db_bind_i64(stmt, 2, change);
	db_bind_text(stmt, 3, str_of(now));
	db_bind_text(stmt, 4, str_of(id));
	db_bind_i64(stmt, 5, row->run_us);
	return db_run(stmt, NULL, err);
}

/* The rows that wait keep their order. */
enum status tasks_bring_back(struct db *db, const struct task_row *rows, int n, int64_t now_us, int64_t lease_us,
			     int64_t change, struct err *err)
{
	enum status status = STATUS_OK;
	int64_t by_us = n > 0 ? rows[n - 1].run_us - now_us : 0;
	bool cancel;

	for (int i = 0; i < n && status == STATUS_OK; i++) {
		if (rows[i].lease_us > 0)
			status = tasks_renew(db, &rows[i].id, rows[i].claim, now_us + lease_us, &cancel, err);
		else
			status = move(db, &rows[i], rows[i].run_us - by_us, now_us, change, err);
		if (status == STATUS_CONFLICT) /* it is somebody else's by now */
			status = STATUS_OK;
	}
	return status;
}
