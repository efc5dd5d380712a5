/* Table data_cursors. One run at a time reads a pipeline's API, so whoever has read a row may write it. */
#include "store/cursors.h"

static bool copy(struct arena *arena, struct str text, struct str *out)
{
	*out = arena_dup(arena, text);
	return out->p != NULL;
}

enum status cursors_find(struct db *db, int64_t pipeline_id, struct arena *arena, struct cursor_row *out,
			 struct err *err)
{
	static const char sql[] = "SELECT source, request, etag, last_modified, since, failures, open_until_us"
				  " FROM data_cursors WHERE pipeline_id = $1";
	struct stmt *stmt;
	bool found;

	*out = (struct cursor_row){.pipeline_id = pipeline_id};
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, pipeline_id);
	status = db_step(stmt, &found, err);
	if (status == STATUS_OK && found) {
		struct str *texts[] = {&out->source, &out->request, &out->etag, &out->last_modified, &out->since};
		for (int i = 0; i < 5 && status == STATUS_OK; i++)
			if (!copy(arena, db_column_text(stmt, i), texts[i]))
				status = err_set(err, STATUS_NO_MEMORY, "no memory for a cursor");
		out->failures = db_column_i64(stmt, 5);
		out->open_until_us = db_column_i64(stmt, 6);
	}
	db_reset(stmt);
	return status;
}

enum status cursors_save(struct db *db, const struct cursor_row *row, int64_t now_us, struct err *err)
{
	static const char sql[] =
		"INSERT INTO data_cursors (pipeline_id, source, request, etag, last_modified, since, failures,"
		" open_until_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
		" ON CONFLICT (pipeline_id) DO UPDATE SET source = excluded.source, request = excluded.request,"
		" etag = excluded.etag, last_modified = excluded.last_modified, since = excluded.since,"
		" failures = excluded.failures, open_until_us = excluded.open_until_us,"
		" updated_us = excluded.updated_us";

	return db_run_once(db, sql,
			   DB_VALUES(db_i64(row->pipeline_id), db_text(row->source), db_text(row->request),
				     db_text(row->etag), db_text(row->last_modified), db_text(row->since),
				     db_i64(row->failures), db_i64(row->open_until_us), db_i64(now_us)),
			   NULL, err);
}

enum cursor_circuit cursors_circuit(const struct cursor_row *row, int64_t now_us)
{
	if (row->failures < CURSORS_FAILURES)
		return CURSOR_CLOSED;
	/* A clock that was set back does not keep it open for longer than that. */
	bool open = now_us < row->open_until_us && row->open_until_us - now_us <= CURSORS_OPEN_US;
	return open ? CURSOR_OPEN : CURSOR_HALF_OPEN;
}

void cursors_note_failure(struct cursor_row *row, int64_t now_us)
{
	row->failures++;
	if (row->failures >= CURSORS_FAILURES)
		row->open_until_us = now_us + CURSORS_OPEN_US;
}

void cursors_note_success(struct cursor_row *row)
{
	row->failures = 0;
	row->open_until_us = 0;
}
