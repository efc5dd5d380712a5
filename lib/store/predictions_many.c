/* The rows of one request. On SQLite a statement is a function call, and one for each row costs nothing beside the
 * indexes; on PostgreSQL they travel as one text of JSON. */
#include "store/predictions.h"

#include "base/json.h"

#include <math.h>

static void put_member(struct buf *out, struct str before, struct str text)
{
	buf_str(out, before);
	json_put_string(out, text);
}

static void put_row(struct buf *out, const struct prediction *row)
{
	put_member(out, STR("{\"id\":"), row->id);
	put_member(out, STR(",\"features\":"), row->features);
	buf_str(out, STR(",\"result\":"));
	json_put_double(out, row->result);
	put_member(out, STR(",\"label\":"), row->label);
	put_member(out, STR(",\"probabilities\":"), row->probabilities);
	put_member(out, STR(",\"flags\":"), row->flags);
	buf_char(out, '}');
}

static enum status run_insert(struct db *db, const struct prediction *first, struct str rows, int64_t *inserted,
			      struct err *err)
{
	static const char sql[] =
		"INSERT INTO predictions (id, features, result, model_version, created_at, model_name, model_hash,"
		" key_id, request_id, trace_id, duration_us, label, probabilities, flags)"
		" SELECT r.id, r.features, r.result, $1, $2, $3, $4, $5, $6, $7, CAST($8 AS BIGINT), r.label,"
		" r.probabilities, r.flags FROM json_to_recordset(CAST($9 AS JSON))"
		" AS r (id TEXT, features TEXT, result DOUBLE PRECISION, label TEXT, probabilities TEXT, flags TEXT)"
		" ON CONFLICT (id) DO NOTHING";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, first->model_version);
	db_bind_text(stmt, 2, first->created_at);
	db_bind_text(stmt, 3, first->model_name);
	db_bind_text(stmt, 4, first->model_hash);
	db_bind_text(stmt, 5, first->key_id);
	db_bind_text(stmt, 6, first->request_id);
	db_bind_text(stmt, 7, first->trace_id);
	db_bind_i64(stmt, 8, first->duration_us);
	db_bind_text(stmt, 9, rows);
	return db_run(stmt, inserted, err);
}

static enum status save_together(struct db *db, const struct prediction *rows, size_t n, bool *repeated,
				 struct err *err)
{
	struct buf text;
	int64_t inserted = 0;
	enum status status;

	buf_init_heap(&text);
	for (size_t i = 0; i < n; i++) {
		buf_char(&text, i == 0 ? '[' : ',');
		put_row(&text, &rows[i]);
	}
	buf_char(&text, ']');
	if (text.failed)
		status = err_set(err, STATUS_NO_MEMORY, "no memory for the rows of a request");
	else
		status = run_insert(db, rows, buf_view(&text), &inserted, err);
	buf_release(&text);
	*repeated = inserted != (int64_t)n;
	return status;
}

enum status predictions_save_all(struct db *db, const struct prediction *rows, size_t n, bool *repeated,
				 struct err *err)
{
	enum status status = STATUS_OK;

	*repeated = false;
	for (size_t i = 0; i < n; i++)
		if (!isfinite(rows[i].result))
			return err_set(err, STATUS_CONFLICT, "the result of a prediction is no number");
	if (n > 1 && db_dialect(db) == DB_DIALECT_POSTGRESQL)
		return save_together(db, rows, n, repeated, err);
	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		bool there;
		status = predictions_save(db, &rows[i], &there, NULL, NULL, err);
		*repeated |= there;
	}
	return status;
}
