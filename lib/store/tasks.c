/* Table background_tasks: rows, adding and finding one. */
#include "store/tasks_impl.h"

#include "base/clock.h"
#include "store/generations.h"
#include "store/users.h"

static const char *const STATUSES[TASK_STATUS__MAX] = {
	[TASK_PENDING] = "pending", [TASK_PROCESSING] = "processing", [TASK_COMPLETED] = "completed",
	[TASK_FAILED] = "failed",   [TASK_CANCELLED] = "cancelled",   [TASK_DEAD] = "dead",
};

#define CHANGES_TOPIC STR("task_changes")

enum { COLUMN_PAYLOAD = 18, COLUMN_RESULT };

const char *task_status_name(enum task_status status)
{
	return status < TASK_STATUS__MAX ? STATUSES[status] : "";
}

bool task_status_parse(struct str name, enum task_status *out)
{
	for (int i = 0; i < TASK_STATUS__MAX; i++) {
		if (!str_eq(name, str_of(STATUSES[i])))
			continue;
		*out = (enum task_status)i;
		return true;
	}
	return false;
}

void tasks_format_time(int64_t wall_us, char out[static TASK_TIME_BYTES])
{
	char iso[CLOCK_ISO_BYTES];

	clock_format_iso(wall_us, iso);
	memcpy(out, iso, 26); /* without the zone */
	out[26] = '\0';
}

/* --- rows --- */

void tasks_read_row(struct stmt *stmt, struct task_row *row)
{
	*row = (struct task_row){0};
	if (!id_parse(db_column_text(stmt, 0), &row->id))
		row->id = (struct id){{0}};
	row->user_id = db_column_i64(stmt, 1);
	db_column_copy(stmt, 2, row->kind, sizeof(row->kind));
	if (!task_status_parse(db_column_text(stmt, 3), &row->status))
		row->status = TASK_FAILED;
	row->error = db_column_text(stmt, 4);
	db_column_copy(stmt, 5, row->created_at, sizeof(row->created_at));
	db_column_copy(stmt, 6, row->updated_at, sizeof(row->updated_at));
	row->priority = db_column_i64(stmt, 7);
	row->run_us = db_column_i64(stmt, 8);
	row->lease_us = db_column_i64(stmt, 9);
	row->claim = db_column_i64(stmt, 10);
	row->attempts = db_column_i64(stmt, 11);
	db_column_copy(stmt, 12, row->worker, sizeof(row->worker));
	row->cancel = db_column_i64(stmt, 13) != 0;
	row->done = db_column_i64(stmt, 14);
	row->total = db_column_i64(stmt, 15);
	row->expires_us = db_column_i64(stmt, 16);
	row->change = db_column_i64(stmt, 17);
}

/* NULL stays NULL. False: no room. */
static bool keep(struct arena *arena, struct str *text)
{
	if (!text->p)
		return true;
	*text = arena_dup(arena, *text);
	return text->p != NULL;
}

enum status tasks_read_whole_row(struct stmt *stmt, struct arena *arena, struct task_row *row, struct err *err)
{
	tasks_read_row(stmt, row);
	row->payload = db_column_text(stmt, COLUMN_PAYLOAD);
	row->result = db_column_text(stmt, COLUMN_RESULT);
	if (!keep(arena, &row->error) || !keep(arena, &row->payload) || !keep(arena, &row->result))
		return err_set(err, STATUS_NO_MEMORY, "no memory for a task");
	return STATUS_OK;
}

void tasks_bind_id(struct stmt *stmt, int i, const struct id *id)
{
	char text[ID_TEXT_BYTES];

	id_format(id, text);
	db_bind_text(stmt, i, str_of(text));
}

void tasks_bind_nullable(struct stmt *stmt, int i, struct str text)
{
	if (text.p)
		db_bind_text(stmt, i, text);
	else
		db_bind_null(stmt, i);
}

void tasks_bind_time(struct stmt *stmt, int i, int64_t wall_us)
{
	char text[TASK_TIME_BYTES];

	tasks_format_time(wall_us, text);
	db_bind_text(stmt, i, str_of(text));
}

/* --- adding --- */

/* On PostgreSQL it also tells other machines: delivered with the commit, and not at all without it. There many ops
 * share a transaction, and each row that is written once more is a version more to go through: the number is kept in a
 * setting of the transaction, which a savepoint takes back as it does the row. */
enum status tasks_begin_change(struct db *db, int64_t *change, struct err *err)
{
	static const char bump[] = "INSERT INTO generations (topic, value) VALUES ($1, 1)"
				   " ON CONFLICT (topic) DO UPDATE SET value = generations.value + 1 RETURNING value";
	static const char once[] =
		"WITH mine AS MATERIALIZED"
		" (SELECT nullif(current_setting('appcore.change', true), '')::bigint AS value),"
		" new AS (INSERT INTO generations (topic, value) SELECT $1, 1 FROM mine WHERE value IS NULL"
		" ON CONFLICT (topic) DO UPDATE SET value = generations.value + 1"
		" RETURNING set_config('appcore.change', value::text, true)::bigint AS value,"
		" pg_notify('appcore_tasks', ''))"
		" SELECT value FROM new UNION ALL SELECT value FROM mine WHERE value IS NOT NULL";
	struct stmt *stmt;
	bool row = false;

	*change = 0;
	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_POSTGRESQL ? once : bump, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, CHANGES_TOPIC);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*change = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

enum status tasks_last_change(struct db *db, int64_t *change, struct err *err)
{
	return generations_read(db, CHANGES_TOPIC, change, err);
}

/* One that may run at once is due from when it was made, and in line; one for later gets in line when it is due. */
#define INTO                                                                                                           \
	"INSERT INTO background_tasks (task_id, user_id, task_type, payload, created_at, updated_at, priority, "       \
	"run_us,"                                                                                                      \
	" total, change, small, bytes, turn)"
#define VALUES(greatest)                                                                                               \
	"$1, CAST($2 AS BIGINT), $3, $4, $5, $5, CAST($6 AS BIGINT), CAST($7 AS BIGINT),"                              \
	" CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), CAST($11 AS BIGINT),"                           \
	" CASE WHEN CAST($12 AS BIGINT) = 0 THEN 0 ELSE " TASKS_TURN(greatest, "$10", "$2", "$6") " END"
#define UNLESS_THERE " ON CONFLICT (task_id) DO NOTHING"

/* SQLite would copy what a SELECT gives first, which takes as long as all the rest. */
static const char INSERT[DB_DIALECT__MAX][sizeof(INTO " VALUES (" VALUES(TASKS_GREATEST_POSTGRESQL) ")" UNLESS_THERE)] =
	{
		[DB_DIALECT_SQLITE] = INTO " VALUES (" VALUES(TASKS_GREATEST_SQLITE) ")" UNLESS_THERE,
		[DB_DIALECT_POSTGRESQL] = INTO " VALUES (" VALUES(TASKS_GREATEST_POSTGRESQL) ")" UNLESS_THERE,
};

/* Of no more than one needs to see to know that there is no room. The parts of what was cancelled take room until they
 * are gone (tasks_expire): who cancels what they have sent and sends more is bounded, too. */
#define WAITING(user, most)                                                                                            \
	"(SELECT count(*) AS tasks, CAST(coalesce(sum(bytes), 0) + (SELECT coalesce(sum(bytes), 0) FROM (SELECT bytes" \
	" FROM background_tasks WHERE status = 'cancelled' AND bytes > 0 AND user_id = " user                          \
	" ORDER BY bytes DESC LIMIT 1000) held) AS BIGINT) AS bytes FROM (SELECT bytes"                                \
	" FROM background_tasks WHERE status = 'pending' AND small IN (0, 1) AND user_id <> 0 AND user_id = " user     \
	" LIMIT " most ") one) waiting"

/* Looking and adding in one statement, for PostgreSQL, where the writes of a transaction run side by side. */
static const char INSERT_WITHIN[] = INTO " SELECT " VALUES(TASKS_GREATEST_POSTGRESQL) " FROM " WAITING(
	"$2", "$13") " WHERE waiting.tasks < $13 AND waiting.bytes + $11 <= $14" UNLESS_THERE;

static int64_t or_any(int64_t most)
{
	return most > 0 ? most : INT64_MAX;
}

static enum status insert(struct db *db, const char *sql, const struct task_row *row, const struct tasks_bound *bound,
			  bool *stored, struct err *err)
{
	int64_t made_us = id_time_ms(&row->id) * 1000;
	int64_t run_us = row->run_us > 0 ? row->run_us : made_us;
	struct stmt *stmt;
	int64_t inserted;

	*stored = false;
	/* Who was switched off since the request began: what they had waiting is cancelled by then. */
	enum status status = row->user_id > 0 ? users_check_active(db, row->user_id, err) : STATUS_OK;
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_bind_id(stmt, 1, &row->id);
	db_bind_i64(stmt, 2, row->user_id);
	db_bind_text(stmt, 3, str_of(row->kind));
	db_bind_text(stmt, 4, row->payload.p ? row->payload : STR(""));
	if (row->created_at[0])
		db_bind_text(stmt, 5, str_of(row->created_at));
	else
		tasks_bind_time(stmt, 5, clock_wall_us());
	db_bind_i64(stmt, 6, row->priority);
	db_bind_i64(stmt, 7, run_us);
	db_bind_i64(stmt, 8, row->total);
	db_bind_i64(stmt, 9, row->change);
	db_bind_i64(stmt, 10, row->small);
	db_bind_i64(stmt, 11, row->bytes + (int64_t)row->payload.n);
	db_bind_i64(stmt, 12, run_us <= made_us);
	if (bound) {
		db_bind_i64(stmt, 13, or_any(bound->tasks));
		db_bind_i64(stmt, 14, or_any(bound->bytes));
	}
	status = db_run(stmt, &inserted, err);
	*stored = status == STATUS_OK && inserted > 0;
	return status;
}

enum status tasks_insert(struct db *db, const struct task_row *row, bool *stored, struct err *err)
{
	return insert(db, INSERT[db_dialect(db)], row, NULL, stored, err);
}

enum status tasks_find_room(struct db *db, int64_t user_id, int64_t bytes, const struct tasks_bound *bound,
			    enum tasks_room *room, struct err *err)
{
	static const char sql[] = "SELECT waiting.tasks, waiting.bytes FROM " WAITING("$1", "$2");
	struct stmt *stmt;
	bool row;

	*room = TASKS_ROOM;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, user_id);
	db_bind_i64(stmt, 2, or_any(bound->tasks));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row && db_column_i64(stmt, 0) >= or_any(bound->tasks))
		*room = TASKS_TOO_MANY;
	else if (status == STATUS_OK && row && bytes > or_any(bound->bytes) - db_column_i64(stmt, 1))
		*room = TASKS_TOO_LARGE;
	db_reset(stmt);
	return status;
}

static enum status is_there(struct db *db, const struct id *id, bool *there, struct err *err)
{
	static const char sql[] = "SELECT 1 FROM background_tasks WHERE task_id = $1";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_bind_id(stmt, 1, id);
	status = db_step(stmt, there, err);
	db_reset(stmt);
	return status;
}

enum status tasks_insert_within(struct db *db, const struct task_row *row, const struct tasks_bound *bound,
				bool *stored, enum tasks_room *room, struct err *err)
{
	int64_t bytes = row->bytes + (int64_t)row->payload.n;
	bool remote = db_dialect(db) == DB_DIALECT_POSTGRESQL, there = false;
	enum status status = STATUS_OK;

	*room = TASKS_ROOM;
	*stored = false;
	if (remote)
		status = insert(db, INSERT_WITHIN, row, bound, stored, err);
	else
		status = tasks_find_room(db, row->user_id, bytes, bound, room, err);
	if (status == STATUS_OK && !remote && *room == TASKS_ROOM)
		return tasks_insert(db, row, stored, err);
	if (status != STATUS_OK || *stored)
		return status;
	status = is_there(db, &row->id, &there, err);
	if (status == STATUS_OK && !there && remote)
		status = tasks_find_room(db, row->user_id, bytes, bound, room, err);
	if (there)
		*room = TASKS_ROOM;
	else if (status == STATUS_OK && *room == TASKS_ROOM) /* there was none just now */
		*room = TASKS_TOO_MANY;
	return status;
}

/* --- reading --- */

enum status tasks_find(struct db *db, const struct id *id, int64_t user_id, struct arena *arena, struct task_row *row,
		       struct err *err)
{
	static const char sql[] = "SELECT " TASKS_ALL " FROM background_tasks WHERE task_id = $1";
	struct stmt *stmt;
	bool there;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_bind_id(stmt, 1, id);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there && (user_id == -1 || db_column_i64(stmt, 1) == user_id))
		status = tasks_read_whole_row(stmt, arena, row, err);
	else if (status == STATUS_OK)
		status = err_set(err, STATUS_NOT_FOUND, "Task not found");
	db_reset(stmt);
	return status;
}
