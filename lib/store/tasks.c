/* Table background_tasks: rows, adding and finding one. */
#include "store/tasks_impl.h"

#include "base/clock.h"
#include "store/generations.h"

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

/* On PostgreSQL it also tells other machines: delivered with the commit, and not at all without it. */
enum status tasks_begin_change(struct db *db, int64_t *change, struct err *err)
{
	static const char bump[] = "INSERT INTO generations (topic, value) VALUES ($1, 1)"
				   " ON CONFLICT (topic) DO UPDATE SET value = generations.value + 1 RETURNING value";
	static const char tell[] = "INSERT INTO generations (topic, value) VALUES ($1, 1)"
				   " ON CONFLICT (topic) DO UPDATE SET value = generations.value + 1"
				   " RETURNING value, pg_notify('appcore_tasks', '')";
	struct stmt *stmt;
	bool row = false;

	*change = 0;
	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_POSTGRESQL ? tell : bump, &stmt, err);
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

/* One that may run at once is due from when it was made: so it stands in line with those that are tried again. */
enum status tasks_insert(struct db *db, const struct task_row *row, bool *stored, struct err *err)
{
	static const char sql[] = "INSERT INTO background_tasks (task_id, user_id, task_type, payload, created_at,"
				  " updated_at, priority, run_us, total, change)"
				  " VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9) ON CONFLICT (task_id) DO NOTHING";
	int64_t made_us = id_time_ms(&row->id) * 1000;
	struct stmt *stmt;
	int64_t inserted;

	*stored = false;
	enum status status = db_prepare(db, sql, &stmt, err);
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
	db_bind_i64(stmt, 7, row->run_us > 0 ? row->run_us : made_us);
	db_bind_i64(stmt, 8, row->total);
	db_bind_i64(stmt, 9, row->change);
	status = db_run(stmt, &inserted, err);
	*stored = status == STATUS_OK && inserted > 0;
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
