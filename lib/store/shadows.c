/* Table shadow_predictions. There is no index but the key: an id begins with its time (UUIDv7), which is what reading
 * and retention go by. */
#include "store/shadows.h"

#include "base/id.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>

enum { PREDICTION_ID_BYTES = ID_TEXT_BYTES - 1 };

enum status shadows_save(struct db *db, const struct shadow_prediction *row, struct err *err)
{
	static const char sql[] = "INSERT INTO shadow_predictions (id, model_version, model_name, model_hash, result,"
				  " label, probabilities, active_version, active_result, active_label, created_at,"
				  " duration_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
				  " ON CONFLICT (id) DO NOTHING";
	char id[SHADOWS_POSITION_BYTES];
	struct stmt *stmt;

	if (isnan(row->result) || isnan(row->active_result))
		return err_set(err, STATUS_CONFLICT, "the result of a shadow prediction is no number");
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	snprintf(id, sizeof(id), "%.*s/%.*s", STR_ARG(row->prediction_id), STR_ARG(row->model_version));
	db_bind_text(stmt, 1, str_of(id));
	db_bind_text(stmt, 2, row->model_version);
	db_bind_text(stmt, 3, row->model_name);
	db_bind_text(stmt, 4, row->model_hash);
	db_bind_double(stmt, 5, row->result);
	db_bind_text(stmt, 6, row->label);
	db_bind_text(stmt, 7, row->probabilities);
	db_bind_text(stmt, 8, row->active_version);
	db_bind_double(stmt, 9, row->active_result);
	db_bind_text(stmt, 10, row->active_label);
	db_bind_text(stmt, 11, row->created_at);
	db_bind_i64(stmt, 12, row->duration_us);
	return db_run(stmt, NULL, err);
}

/* --- many rows --- */

static void put_member(struct buf *out, struct str before, struct str text)
{
	buf_str(out, before);
	json_put_string(out, text);
}

static void put_row(struct buf *out, const struct shadow_prediction *row)
{
	put_member(out, STR("{\"id\":"), row->prediction_id);
	buf_str(out, STR(",\"result\":"));
	json_put_double(out, row->result);
	put_member(out, STR(",\"label\":"), row->label);
	put_member(out, STR(",\"probabilities\":"), row->probabilities);
	put_member(out, STR(",\"active_version\":"), row->active_version);
	buf_str(out, STR(",\"active_result\":"));
	json_put_double(out, row->active_result);
	put_member(out, STR(",\"active_label\":"), row->active_label);
	put_member(out, STR(",\"created_at\":"), row->created_at);
	buf_str(out, STR(",\"duration_us\":"));
	buf_u64(out, row->duration_us > 0 ? (uint64_t)row->duration_us : 0);
	buf_char(out, '}');
}

static enum status run_insert(struct db *db, const struct shadow_prediction *first, struct str rows, struct err *err)
{
	static const char sql[] =
		"INSERT INTO shadow_predictions (id, model_version, model_name, model_hash, result, label,"
		" probabilities, active_version, active_result, active_label, created_at, duration_us)"
		" SELECT r.id || '/' || CAST($1 AS TEXT), $1, $2, $3, r.result, r.label, r.probabilities,"
		" r.active_version, r.active_result, r.active_label, r.created_at, r.duration_us"
		" FROM json_to_recordset(CAST($4 AS JSON)) AS r (id TEXT, result DOUBLE PRECISION, label TEXT,"
		" probabilities TEXT, active_version TEXT, active_result DOUBLE PRECISION, active_label TEXT,"
		" created_at TEXT, duration_us BIGINT)"
		" ON CONFLICT (id) DO NOTHING";

	return db_run_once(db, sql,
			   DB_VALUES(db_text(first->model_version), db_text(first->model_name),
				     db_text(first->model_hash), db_text(rows)),
			   NULL, err);
}

static enum status save_together(struct db *db, const struct shadow_prediction *rows, size_t n, struct err *err)
{
	struct buf text;
	enum status status;

	buf_init_heap(&text);
	for (size_t i = 0; i < n; i++) {
		buf_char(&text, i == 0 ? '[' : ',');
		put_row(&text, &rows[i]);
	}
	buf_char(&text, ']');
	if (text.failed)
		status = err_set(err, STATUS_NO_MEMORY, "no memory for shadow predictions");
	else
		status = run_insert(db, rows, buf_view(&text), err);
	buf_release(&text);
	return status;
}

/* On SQLite a statement is a function call; on PostgreSQL each is a round trip, which answers to others wait for. */
enum status shadows_save_all(struct db *db, const struct shadow_prediction *rows, size_t n, struct err *err)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < n; i++)
		if (!isfinite(rows[i].result) || !isfinite(rows[i].active_result))
			return err_set(err, STATUS_CONFLICT, "the result of a shadow prediction is no number");
	if (n > 1 && db_dialect(db) == DB_DIALECT_POSTGRESQL)
		return save_together(db, rows, n, err);
	for (size_t i = 0; status == STATUS_OK && i < n; i++)
		status = shadows_save(db, &rows[i], err);
	return status;
}

/* --- reading and retention --- */

/* The least id of a millisecond. */
static void least_id(int64_t ms, char out[static ID_TEXT_BYTES])
{
	const struct edge_identity edge = {.ms = ms > 0 ? ms : 0};
	struct id id = id_of_edge(&edge);

	id_format(&id, out);
}

void shadows_begin(int64_t since_ms, char position[static SHADOWS_POSITION_BYTES])
{
	least_id(since_ms, position);
}

static void read_row(struct stmt *stmt, struct shadow_prediction *row)
{
	struct str id = db_column_text(stmt, 0);

	*row = (struct shadow_prediction){
		.prediction_id = {id.p, id.n < PREDICTION_ID_BYTES ? id.n : PREDICTION_ID_BYTES},
		.model_version = db_column_text(stmt, 1),
		.model_name = db_column_text(stmt, 2),
		.model_hash = db_column_text(stmt, 3),
		.result = db_column_double(stmt, 4),
		.label = db_column_text(stmt, 5),
		.probabilities = db_column_text(stmt, 6),
		.active_version = db_column_text(stmt, 7),
		.active_result = db_column_double(stmt, 8),
		.active_label = db_column_text(stmt, 9),
		.created_at = db_column_text(stmt, 10),
		.duration_us = db_column_i64(stmt, 11),
		.features = db_column_text(stmt, 12),
		.active_probabilities = db_column_text(stmt, 13),
	};
}

enum status shadows_page(struct db *db, char position[static SHADOWS_POSITION_BYTES], int limit, shadows_row *row,
			 void *arg, int *read, struct err *err)
{
	static const char sql[] = "SELECT s.id, s.model_version, s.model_name, s.model_hash, s.result, s.label,"
				  " s.probabilities, s.active_version, s.active_result, s.active_label, s.created_at,"
				  " s.duration_us, p.features, p.probabilities"
				  " FROM shadow_predictions s LEFT JOIN predictions p ON p.id = substr(s.id, 1, 36)"
				  " WHERE s.id > $1 ORDER BY s.id LIMIT $2";
	struct stmt *stmt;
	bool more = true;

	*read = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(position));
	db_bind_i64(stmt, 2, limit);
	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more) {
		struct shadow_prediction found;
		struct str id = db_column_text(stmt, 0);
		read_row(stmt, &found);
		snprintf(position, SHADOWS_POSITION_BYTES, "%.*s", STR_ARG(id));
		++*read;
		more = row(arg, &found);
	}
	db_reset(stmt);
	return status;
}

enum status shadows_delete_before(struct db *db, int64_t before_ms, int max, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM shadow_predictions WHERE id IN"
				  " (SELECT id FROM shadow_predictions WHERE id < $1 ORDER BY id LIMIT $2)";
	char until[ID_TEXT_BYTES];

	*deleted = 0;
	least_id(before_ms, until);
	return db_run_once(db, sql, DB_VALUES(db_text(str_of(until)), db_i64(max)), deleted, err);
}
