/* Table background_tasks: many at once, and how many. */
#include "store/tasks_impl.h"

static enum status each(struct stmt *stmt, task_row_fn *fn, void *arg, struct err *err)
{
	enum status status = STATUS_OK;
	bool more = true;

	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more) {
		struct task_row row;
		tasks_read_row(stmt, &row);
		more = fn(arg, &row);
	}
	db_reset(stmt);
	return status;
}

/* $1 is behind every id where there is no `before`. */
#define LISTED "task_id < $1 AND ($2 = '' OR status = $2) AND ($3 = '' OR task_type = $3)"

enum status tasks_list(struct db *db, const struct tasks_filter *filter, task_row_fn *fn, void *arg, struct err *err)
{
	static const char of_all[] = "SELECT " TASKS_COLUMNS " FROM background_tasks WHERE " LISTED
				     " ORDER BY task_id DESC LIMIT $4";
	static const char of_user[] = "SELECT " TASKS_COLUMNS " FROM background_tasks WHERE " LISTED
				      " AND user_id = $4 ORDER BY task_id DESC LIMIT $5";
	bool all = filter->user_id == -1;
	bool any = filter->status < 0 || filter->status >= TASK_STATUS__MAX;
	struct stmt *stmt;

	enum status status = db_prepare(db, all ? of_all : of_user, &stmt, err);
	if (status != STATUS_OK)
		return status;
	if (filter->before)
		tasks_bind_id(stmt, 1, filter->before);
	else
		db_bind_text(stmt, 1, STR("g"));
	db_bind_text(stmt, 2, any ? STR("") : str_of(task_status_name((enum task_status)filter->status)));
	db_bind_text(stmt, 3, filter->kind.n > 0 ? filter->kind : STR(""));
	if (!all)
		db_bind_i64(stmt, 4, filter->user_id);
	db_bind_i64(stmt, all ? 4 : 5, filter->limit > 0 ? filter->limit : 0);
	return each(stmt, fn, arg, err);
}

enum status tasks_changes(struct db *db, int64_t change, const struct id *id, int64_t user_id, int64_t limit,
			  task_row_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " TASKS_COLUMNS " FROM background_tasks WHERE (change, task_id) > ($1, $2)"
				  " AND (user_id = $3 OR $3 = -1) ORDER BY change, task_id LIMIT $4";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, change);
	tasks_bind_id(stmt, 2, id);
	db_bind_i64(stmt, 3, user_id);
	db_bind_i64(stmt, 4, limit > 0 ? limit : 0);
	return each(stmt, fn, arg, err);
}

enum status tasks_is_long_ago(struct db *db, int64_t change, int64_t most, bool *is, struct err *err)
{
	static const char sql[] =
		"SELECT change FROM background_tasks WHERE change > $1 ORDER BY change LIMIT 1 OFFSET $2";
	struct stmt *stmt;

	*is = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, change);
	db_bind_i64(stmt, 2, most);
	status = db_step(stmt, is, err);
	db_reset(stmt);
	return status;
}

static enum status count_one(struct db *db, const char *sql, enum task_status counted, task_count_fn *fn, void *arg,
			     struct err *err)
{
	struct stmt *stmt;
	bool more = true;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more)
		more = fn(arg, db_column_text(stmt, 0), counted, db_column_i64(stmt, 1), db_column_i64(stmt, 2));
	db_reset(stmt);
	return status;
}

enum status tasks_count(struct db *db, task_count_fn *fn, void *arg, struct err *err)
{
	static const char pending[] = "SELECT task_type, count(*), min(run_us) FROM background_tasks"
				      " WHERE status = 'pending' GROUP BY task_type";
	static const char processing[] = "SELECT task_type, count(*), 0 FROM background_tasks"
					 " WHERE status = 'processing' GROUP BY task_type";
	static const char dead[] = "SELECT task_type, count(*), 0 FROM background_tasks WHERE status = 'dead'"
				   " GROUP BY task_type";

	enum status status = count_one(db, pending, TASK_PENDING, fn, arg, err);
	if (status == STATUS_OK)
		status = count_one(db, processing, TASK_PROCESSING, fn, arg, err);
	return status == STATUS_OK ? count_one(db, dead, TASK_DEAD, fn, arg, err) : status;
}
