/* Table background_tasks: what becomes of one, written by its worker or by whoever cancels it or wants it again. */
#include "store/tasks_impl.h"

static const int64_t CANCELLED_US = 7 * INT64_C(86400000000); /* for which one that never ran is kept */

static enum status set_cancelled(struct db *db, const struct id *id, int64_t change, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET cancel = 1,"
				  " expires_us = CASE WHEN status = 'pending' THEN $1 ELSE expires_us END,"
				  " status = CASE WHEN status = 'pending' THEN 'cancelled' ELSE status END,"
				  " change = $2, updated_at = $3"
				  " WHERE task_id = $4 AND status IN ('pending', 'processing')";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us + CANCELLED_US);
	db_bind_i64(stmt, 2, change);
	tasks_bind_time(stmt, 3, now_us);
	tasks_bind_id(stmt, 4, id);
	return db_run(stmt, NULL, err);
}

/* One that is to be cancelled does not go back to the queue: it might wait there for an hour. */
enum status tasks_update(struct db *db, const struct task_row *row, int64_t now_us, bool *cancel, struct err *err)
{
	static const char sql[] =
		"UPDATE background_tasks SET status = $1, result = $2, error_message = $3, done = $4, total = $5,"
		" run_us = $6, turn = turn * $7, lease_us = $8, attempts = $9, expires_us = $10, change = $11,"
		" updated_at = $12 WHERE task_id = $13 AND claim = $14 AND status = 'processing' RETURNING cancel";
	struct stmt *stmt;
	bool there;

	*cancel = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(task_status_name(row->status)));
	tasks_bind_nullable(stmt, 2, row->result);
	tasks_bind_nullable(stmt, 3, row->error);
	db_bind_i64(stmt, 4, row->done);
	db_bind_i64(stmt, 5, row->total);
	db_bind_i64(stmt, 6, row->run_us);
	db_bind_i64(stmt, 7, row->run_us <= now_us); /* its place in line is kept, unless it is for later */
	db_bind_i64(stmt, 8, row->lease_us);
	db_bind_i64(stmt, 9, row->attempts);
	db_bind_i64(stmt, 10, row->expires_us);
	db_bind_i64(stmt, 11, row->change);
	tasks_bind_time(stmt, 12, now_us);
	tasks_bind_id(stmt, 13, &row->id);
	db_bind_i64(stmt, 14, row->claim);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there)
		*cancel = db_column_i64(stmt, 0) != 0;
	db_reset(stmt);
	if (status == STATUS_OK && !there)
		status = err_set(err, STATUS_CONFLICT, "the task has been given to another worker, or was ended");
	if (*cancel && row->status == TASK_PENDING)
		status = set_cancelled(db, &row->id, row->change, now_us, err);
	return status;
}

enum status tasks_renew(struct db *db, const struct id *id, int64_t claim, int64_t lease_us, bool *cancel,
			struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET lease_us = $1 WHERE task_id = $2 AND claim = $3"
				  " AND status = 'processing' RETURNING cancel";
	struct stmt *stmt;
	bool there;

	*cancel = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, lease_us);
	tasks_bind_id(stmt, 2, id);
	db_bind_i64(stmt, 3, claim);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there)
		*cancel = db_column_i64(stmt, 0) != 0;
	db_reset(stmt);
	if (status == STATUS_OK && !there)
		status = err_set(err, STATUS_CONFLICT, "the task is not this worker's any more");
	return status;
}

enum status tasks_cancel(struct db *db, const struct id *id, int64_t user_id, int64_t change, int64_t now_us,
			 struct arena *arena, struct task_row *row, struct err *err)
{
	enum status status = tasks_find(db, id, user_id, arena, row, err);

	if (status != STATUS_OK)
		return status;
	if (task_is_over(row->status))
		return err_set(err, STATUS_CONFLICT, "the task is over already: %s", task_status_name(row->status));
	status = set_cancelled(db, id, change, now_us, err);
	return status == STATUS_OK ? tasks_find(db, id, user_id, arena, row, err) : status;
}

enum status tasks_cancel_of_user(struct db *db, int64_t user_id, int64_t change, int64_t now_us, int64_t limit,
				 int64_t *changed, struct err *err)
{
	static const char waiting[] =
		"UPDATE background_tasks SET status = 'cancelled', cancel = 1, change = $1, updated_at = $2,"
		" expires_us = $3 WHERE task_id IN (SELECT task_id FROM background_tasks WHERE status = 'pending'"
		" AND small IN (0, 1) AND user_id <> 0 AND user_id = $4 LIMIT $5)";
	static const char running[] =
		"UPDATE background_tasks SET cancel = 1, change = $1, updated_at = $2 WHERE task_id IN ("
		"SELECT task_id FROM background_tasks WHERE status = 'processing' AND cancel = 0 AND user_id = $3"
		" LIMIT $4)";
	int64_t more = 0;
	struct stmt *stmt;

	*changed = 0;
	enum status status = db_prepare(db, waiting, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, change);
	tasks_bind_time(stmt, 2, now_us);
	db_bind_i64(stmt, 3, now_us + CANCELLED_US);
	db_bind_i64(stmt, 4, user_id);
	db_bind_i64(stmt, 5, limit);
	status = db_run(stmt, changed, err);
	if (status == STATUS_OK)
		status = db_prepare(db, running, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, change);
	tasks_bind_time(stmt, 2, now_us);
	db_bind_i64(stmt, 3, user_id);
	db_bind_i64(stmt, 4, limit);
	status = db_run(stmt, &more, err);
	*changed += status == STATUS_OK ? more : 0;
	return status;
}

/* What it had done stays: the kind goes on from there. */
enum status tasks_retry(struct db *db, const struct id *id, int64_t change, int64_t now_us, struct err *err)
{
	static const char sql[] =
		"UPDATE background_tasks SET status = 'pending', attempts = 0, cancel = 0,"
		" result = NULL, run_us = $1, turn = 0, lease_us = 0, expires_us = 0, change = $2,"
		" updated_at = $3, error_message = CASE status WHEN 'cancelled' THEN NULL"
		" ELSE error_message END WHERE task_id = $4 AND status IN ('failed', 'cancelled', 'dead')";
	static const char there[] = "SELECT status FROM background_tasks WHERE task_id = $1";
	struct stmt *stmt;
	int64_t changed;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	db_bind_i64(stmt, 2, change);
	tasks_bind_time(stmt, 3, now_us);
	tasks_bind_id(stmt, 4, id);
	status = db_run(stmt, &changed, err);
	if (status != STATUS_OK || changed > 0)
		return status;
	status = db_prepare(db, there, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_bind_id(stmt, 1, id);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK)
		status = row ? err_set(err, STATUS_CONFLICT, "the task is not failed, cancelled or dead: it is %.*s",
				       STR_ARG(db_column_text(stmt, 0)))
			     : err_set(err, STATUS_NOT_FOUND, "there is no such task");
	db_reset(stmt);
	return status;
}
