/* Tables background_tasks and task_parts: what is over and old goes. */
#include "store/tasks_impl.h"

static const int64_t US_PER_DAY = INT64_C(86400000000);

enum { PARTS_MAX = 16, ORPHANS_MAX = 50 };

/* Those that come first. */
#define EXPIRED                                                                                                        \
	"SELECT task_id FROM background_tasks WHERE expires_us > 0 AND expires_us <= $1"                               \
	" ORDER BY expires_us, task_id LIMIT $2"

/* '0' is the character behind '/'. */
static enum status delete_parts(struct db *db, int64_t now_us, int64_t limit, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id IN (SELECT p.id FROM (" EXPIRED ") t"
				  " CROSS JOIN task_parts p WHERE p.id > t.task_id || '/' AND p.id < t.task_id || '0'"
				  " LIMIT $3)";

	return db_run_once(db, sql, DB_VALUES(db_i64(now_us), db_i64(limit), db_i64(PARTS_MAX)), deleted, err);
}

static enum status delete_tasks(struct db *db, int64_t now_us, int64_t limit, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM background_tasks WHERE task_id IN (" EXPIRED ")";

	return db_run_once(db, sql, DB_VALUES(db_i64(now_us), db_i64(limit)), deleted, err);
}

/* --- what was cancelled --- */

#define HELD                                                                                                           \
	"SELECT task_id FROM background_tasks WHERE status = 'cancelled' AND bytes > 0"                                \
	" ORDER BY user_id, bytes DESC LIMIT $1"

static enum status delete_held_parts(struct db *db, int64_t limit, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id IN (SELECT p.id FROM (" HELD ") t"
				  " CROSS JOIN task_parts p WHERE p.id > t.task_id || '/' AND p.id < t.task_id || '0'"
				  " LIMIT $2)";

	return db_run_once(db, sql, DB_VALUES(db_i64(limit), db_i64(PARTS_MAX)), deleted, err);
}

/* It has no parts any more, and takes no room. */
static enum status let_go(struct db *db, int64_t limit, int64_t *changed, struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET bytes = 0 WHERE task_id IN (" HELD ")";

	return db_run_once(db, sql, DB_VALUES(db_i64(limit)), changed, err);
}

/* A part may have a quarter of a megabyte, and a task hundreds of them: tasks go when their parts have. */
enum status tasks_expire(struct db *db, int64_t now_us, int64_t limit, int64_t *deleted, bool *more, struct err *err)
{
	int64_t held = 0, emptied = 0, parts = 0;

	*deleted = 0;
	*more = false;
	limit = limit > 0 ? limit : 0;
	enum status status = delete_held_parts(db, limit, &held, err);
	if (status == STATUS_OK && held < PARTS_MAX)
		status = let_go(db, limit, &emptied, err);
	if (status == STATUS_OK && held == 0)
		status = delete_parts(db, now_us, limit, &parts, err);
	if (status == STATUS_OK && held == 0 && parts < PARTS_MAX)
		status = delete_tasks(db, now_us, limit, deleted, err);
	*more = held > 0 || emptied > 0 || parts > 0 || *deleted > 0;
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
