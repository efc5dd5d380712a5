/* Table task_parts: payloads too large for a row. */
#include "store/tasks_impl.h"

#include <stdio.h>

/* "<task_id>/<number of 8 digits>" */
enum { PART_ID_BYTES = ID_TEXT_BYTES + 1 + 20 };

static struct str part_id(const struct id *task, int64_t number, char out[static PART_ID_BYTES])
{
	char id[ID_TEXT_BYTES];

	id_format(task, id);
	int n = snprintf(out, PART_ID_BYTES, "%s/%08lld", id, (long long)number);
	return (struct str){out, (size_t)n};
}

enum status tasks_insert_part(struct db *db, const struct id *task, int64_t number, struct str data, int64_t now_us,
			      struct err *err)
{
	static const char sql[] = "INSERT INTO task_parts (id, data, created_us) VALUES ($1, $2, $3)"
				  " ON CONFLICT (id) DO NOTHING";
	char id[PART_ID_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, part_id(task, number, id));
	db_bind_blob(stmt, 2, data.p, data.n);
	db_bind_i64(stmt, 3, now_us);
	return db_run(stmt, NULL, err);
}

enum status tasks_read_part(struct db *db, const struct id *task, int64_t number, struct arena *arena, struct str *data,
			    struct err *err)
{
	static const char sql[] = "SELECT data FROM task_parts WHERE id = $1";
	char id[PART_ID_BYTES];
	struct stmt *stmt;
	bool row;

	*data = (struct str){0};
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, part_id(task, number, id));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && !row)
		status = err_set(err, STATUS_NOT_FOUND, "the task has no such part");
	if (status == STATUS_OK) {
		*data = arena_dup(arena, db_column_blob(stmt, 0));
		if (!data->p)
			status = err_set(err, STATUS_NO_MEMORY, "no memory for a part of a task");
	}
	db_reset(stmt);
	return status;
}

enum status tasks_delete_part(struct db *db, const struct id *task, int64_t number, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id = $1";
	char id[PART_ID_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, part_id(task, number, id));
	return db_run(stmt, NULL, err);
}

/* '0' is the character behind '/'. */
enum status tasks_delete_parts_of(struct db *db, struct str task, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id > $1 AND id < $2";
	char from[ID_TEXT_BYTES + 1], to[ID_TEXT_BYTES + 1];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	snprintf(from, sizeof(from), "%.*s/", STR_ARG(task));
	snprintf(to, sizeof(to), "%.*s0", STR_ARG(task));
	db_bind_text(stmt, 1, str_of(from));
	db_bind_text(stmt, 2, str_of(to));
	return db_run(stmt, NULL, err);
}

enum status tasks_delete_parts(struct db *db, const struct id *task, struct err *err)
{
	char text[ID_TEXT_BYTES];

	id_format(task, text);
	return tasks_delete_parts_of(db, str_of(text), err);
}
