/* Tables background_tasks and task_parts: what is over and old goes. */
#include "store/tasks_impl.h"

static const int64_t US_PER_DAY = INT64_C(86400000000);

/* At most EXPIRE_MAX at a time. */
enum { EXPIRE_MAX = 500, ORPHANS_MAX = 50 };

static enum status delete_tasks(struct db *db, int64_t now_us, int64_t limit, char (*ids)[ID_TEXT_BYTES], int64_t *n,
				struct err *err)
{
	static const char sql[] = "DELETE FROM background_tasks WHERE task_id IN (SELECT task_id FROM background_tasks"
				  " WHERE expires_us > 0 AND expires_us <= $1 ORDER BY expires_us LIMIT $2)"
				  " RETURNING task_id";
	struct stmt *stmt;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	db_bind_i64(stmt, 2, limit);
	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row && *n < limit)
		db_column_copy(stmt, 0, ids[(*n)++], ID_TEXT_BYTES);
	db_reset(stmt);
	return status;
}

/* Ids begin with their time, which is all that is read of a part: its data may be long. */
enum status tasks_expire_parts(struct db *db, int64_t now_us, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id IN (SELECT id FROM task_parts WHERE id < $1"
				  " AND NOT EXISTS (SELECT 1 FROM background_tasks"
				  " WHERE task_id = substr(task_parts.id, 1, 36)) LIMIT $2)";
	struct edge_identity edge = {.ms = (now_us - US_PER_DAY) / 1000};
	struct id id = id_of_edge(&edge);
	struct stmt *stmt;

	*deleted = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_bind_id(stmt, 1, &id);
	db_bind_i64(stmt, 2, ORPHANS_MAX);
	return db_run(stmt, deleted, err);
}

enum status tasks_expire(struct db *db, int64_t now_us, int64_t limit, int64_t *deleted, struct err *err)
{
	char ids[EXPIRE_MAX][ID_TEXT_BYTES];

	*deleted = 0;
	limit = limit < EXPIRE_MAX ? limit : EXPIRE_MAX;
	enum status status = delete_tasks(db, now_us, limit > 0 ? limit : 0, ids, deleted, err);
	for (int64_t i = 0; i < *deleted && status == STATUS_OK; i++)
		status = tasks_delete_parts_of(db, str_of(ids[i]), err);
	return status;
}
