/* Table data_uploads. */
#include "store/uploads.h"

#define COLUMNS "user_id, name, pipeline, bytes, received, sha256, run_id, created_us, expires_us"
/* Runs that are not over. */
#define UNDER_WAY "state IN ('pending', 'running', 'paused')"

enum status uploads_insert(struct db *db, const struct upload_row *row, bool *stored, struct err *err)
{
	static const char sql[] = "INSERT INTO data_uploads (id, " COLUMNS ")"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING";
	char id[ID_TEXT_BYTES];
	struct stmt *stmt;
	int64_t changed = 0;

	*stored = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	id_format(&row->id, id);
	db_bind_text(stmt, 1, str_of(id));
	db_bind_i64(stmt, 2, row->user_id);
	db_bind_text(stmt, 3, row->name);
	db_bind_text(stmt, 4, row->pipeline);
	db_bind_i64(stmt, 5, row->bytes);
	db_bind_i64(stmt, 6, row->received);
	db_bind_text(stmt, 7, row->sha256);
	db_bind_text(stmt, 8, row->run_id);
	db_bind_i64(stmt, 9, row->created_us);
	db_bind_i64(stmt, 10, row->expires_us);
	status = db_run(stmt, &changed, err);
	*stored = changed > 0;
	return status;
}

enum status uploads_count(struct db *db, int64_t user_id, int64_t *unfinished, int64_t *bytes, struct err *err)
{
	static const char sql[] = "SELECT count(CASE WHEN received < bytes THEN 1 END),"
				  " CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM data_uploads WHERE user_id = $1";
	struct stmt *stmt;
	bool row = false;

	*unfinished = *bytes = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, user_id);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row) {
		*unfinished = db_column_i64(stmt, 0);
		*bytes = db_column_i64(stmt, 1);
	}
	db_reset(stmt);
	return status;
}

static struct str copied(struct stmt *stmt, int c, struct arena *arena, bool *good)
{
	struct str copy = arena_dup(arena, db_column_text(stmt, c));

	*good &= copy.p != NULL;
	return copy;
}

static bool read_row(struct stmt *stmt, struct arena *arena, struct upload_row *out)
{
	bool good = true;

	out->user_id = db_column_i64(stmt, 0);
	out->name = copied(stmt, 1, arena, &good);
	out->pipeline = copied(stmt, 2, arena, &good);
	out->bytes = db_column_i64(stmt, 3);
	out->received = db_column_i64(stmt, 4);
	out->sha256 = copied(stmt, 5, arena, &good);
	out->run_id = copied(stmt, 6, arena, &good);
	out->created_us = db_column_i64(stmt, 7);
	out->expires_us = db_column_i64(stmt, 8);
	return good;
}

enum status uploads_find(struct db *db, const struct id *id, int64_t user_id, struct arena *arena,
			 struct upload_row *out, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM data_uploads WHERE id = $1";
	char text[ID_TEXT_BYTES];
	struct stmt *stmt;
	bool row = false;

	*out = (struct upload_row){.id = *id};
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	id_format(id, text);
	db_bind_text(stmt, 1, str_of(text));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row && !read_row(stmt, arena, out))
		status = err_set(err, STATUS_NO_MEMORY, "no memory for an upload");
	db_reset(stmt);
	if (status == STATUS_OK && (!row || (user_id >= 0 && out->user_id != user_id)))
		status = err_set(err, STATUS_NOT_FOUND, "Upload not found");
	return status;
}

static enum status find_received(struct db *db, struct str id, int64_t *received, struct err *err)
{
	static const char sql[] = "SELECT received FROM data_uploads WHERE id = $1";
	struct stmt *stmt;
	bool row = false;

	*received = -1;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, id);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*received = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

enum status uploads_advance(struct db *db, const struct upload_row *row, int64_t from, struct err *err)
{
	static const char sql[] = "UPDATE data_uploads SET received = $1, run_id = $2, expires_us = $3"
				  " WHERE id = $4 AND received = $5";
	int64_t changed = 0, received;
	char id[ID_TEXT_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	id_format(&row->id, id);
	db_bind_i64(stmt, 1, row->received);
	db_bind_text(stmt, 2, row->run_id);
	db_bind_i64(stmt, 3, row->expires_us);
	db_bind_text(stmt, 4, str_of(id));
	db_bind_i64(stmt, 5, from);
	status = db_run(stmt, &changed, err);
	if (status != STATUS_OK || changed > 0)
		return status;
	status = find_received(db, str_of(id), &received, err);
	if (status == STATUS_OK && received != row->received)
		status = err_set(err, STATUS_CONFLICT, "The upload was moved on, or deleted, by another request.");
	return status;
}

/* Whether a query of an identifier has a row. */
static enum status ask(struct db *db, const char *sql, const struct id *id, bool *is, struct err *err)
{
	char text[ID_TEXT_BYTES];
	struct stmt *stmt;

	*is = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	id_format(id, text);
	db_bind_text(stmt, 1, str_of(text));
	status = db_step(stmt, is, err);
	db_reset(stmt);
	return status;
}

enum status uploads_is_read(struct db *db, const struct id *id, bool *is, struct err *err)
{
	static const char sql[] = "SELECT 1 FROM data_uploads WHERE id = $1 AND run_id IN"
				  " (SELECT id FROM data_runs WHERE " UNDER_WAY ")";

	return ask(db, sql, id, is, err);
}

enum status uploads_has(struct db *db, const struct id *id, bool *has, struct err *err)
{
	static const char sql[] = "SELECT 1 FROM data_uploads WHERE id = $1";

	return ask(db, sql, id, has, err);
}

enum status uploads_delete(struct db *db, const struct id *id, struct err *err)
{
	static const char sql[] = "DELETE FROM data_uploads WHERE id = $1";
	char text[ID_TEXT_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	id_format(id, text);
	db_bind_text(stmt, 1, str_of(text));
	return db_run(stmt, NULL, err);
}

enum status uploads_find_expired(struct db *db, int64_t now_us, struct id *ids, int n, int *found, struct err *err)
{
	static const char sql[] = "SELECT id FROM data_uploads u WHERE expires_us < $1 AND NOT EXISTS"
				  " (SELECT 1 FROM data_runs r WHERE r.id = u.run_id AND r." UNDER_WAY ")"
				  " ORDER BY expires_us LIMIT $2";
	struct stmt *stmt;
	bool row;

	*found = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	db_bind_i64(stmt, 2, n);
	while (*found < n && (status = db_step(stmt, &row, err)) == STATUS_OK && row)
		*found += id_parse(db_column_text(stmt, 0), &ids[*found]);
	db_reset(stmt);
	return status;
}
