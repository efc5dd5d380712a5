/* Tables data_records and data_search: storing, and finding one.
 *
 * The common case is that a key is new: all rows of a batch are inserted in one statement but those whose key is there
 * (SQLite reads them as a table, to PostgreSQL they travel as arrays), and only these are looked at again, one by one.
 */
#include "store/records.h"

#include "base/json.h"
#include "base/polite.h"
#include "store/generations.h"

#include <math.h>
#include <stdlib.h>

static const char *const NAMES[] = {[RECORD_RAW] = "raw", [RECORD_PROCESSED] = "processed", [RECORD_FAILED] = "failed"};
_Static_assert(sizeof(NAMES) / sizeof(NAMES[0]) == RECORD_STATUS__MAX, "a name for each status");

const char *record_status_name(enum record_status status)
{
	return status >= 0 && status < RECORD_STATUS__MAX ? NAMES[status] : "unknown";
}

bool record_status_parse(struct str name, enum record_status *out)
{
	for (int i = 0; i < RECORD_STATUS__MAX; i++) {
		if (!str_eq(name, str_of(NAMES[i])))
			continue;
		*out = (enum record_status)i;
		return true;
	}
	return false;
}

/* --- the index of words: both engines row by row; few pipelines have one --- */

static enum status search_insert(struct db *db, int64_t seq, struct str text, struct err *err)
{
	static const char sql[] = "INSERT INTO data_search (rowid, text) VALUES ($1, $2)";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, seq);
	db_bind_text(stmt, 2, text);
	return db_run(stmt, NULL, err);
}

static enum status search_replace(struct db *db, int64_t seq, struct str text, struct err *err)
{
	static const char sql[] = "DELETE FROM data_search WHERE rowid = $1";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, seq);
	status = db_run(stmt, NULL, err);
	return status == STATUS_OK && text.n > 0 ? search_insert(db, seq, text, err) : status;
}

/* Whether what is there gives way. */
static bool replaces(const struct record_row *row, enum record_duplicates duplicates)
{
	return row->status != RECORD_FAILED && duplicates == RECORDS_REPLACE;
}

/* --- SQLite --- */

enum { GIVEN_COLUMNS = 11, SLICE = 64 /* rows in a statement: few enough for the stack */ };

static void give_row(struct db_value values[static GIVEN_COLUMNS], const struct record_row *row, int64_t seq)
{
	values[0] = (struct db_value){.type = DB_I64, .i64 = seq};
	values[1] = (struct db_value){.type = DB_I64, .i64 = row->pipeline_id};
	values[2] = (struct db_value){.type = DB_TEXT, .bytes = row->key};
	values[3] = (struct db_value){.type = DB_I64, .i64 = row->run};
	values[4] = (struct db_value){.type = DB_TEXT, .bytes = row->source};
	values[5] = (struct db_value){.type = DB_I64, .i64 = (int64_t)row->status};
	values[6] = (struct db_value){.type = DB_I64, .i64 = row->received_us};
	values[7] = (struct db_value){.type = DB_I64, .i64 = row->processed_us};
	values[8] = (struct db_value){.type = DB_DOUBLE, .real = row->seconds};
	values[9] = (struct db_value){.type = DB_TEXT, .bytes = row->error};
	values[10] = (struct db_value){.type = DB_TEXT, .bytes = row->data};
}

/* Of numbers that were this batch's alone: those that are there are its new rows. */
static enum status find_new(struct db *db, int64_t first, size_t n, char *outcome, struct err *err)
{
	static const char sql[] = "SELECT seq FROM data_records WHERE seq >= $1 AND seq < $2";
	struct stmt *stmt;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, first);
	db_bind_i64(stmt, 2, first + (int64_t)n);
	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row)
		outcome[db_column_i64(stmt, 0) - first] = 'n';
	db_reset(stmt);
	return status;
}

static enum status insert_given(struct db *db, const struct record_row *rows, size_t n, int64_t first, char *outcome,
				struct err *err)
{
	static const char sql[] =
		"INSERT INTO data_records (seq, pipeline_id, record_key, run, source, status, received_us,"
		" processed_us, seconds, error, data) SELECT c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10 FROM "
		"given_rows"
		" WHERE true ON CONFLICT (pipeline_id, record_key) DO NOTHING";
	struct db_value values[SLICE * GIVEN_COLUMNS];
	int64_t changed;

	for (size_t i = 0; i < n; i++)
		give_row(values + i * GIVEN_COLUMNS, &rows[i], first + (int64_t)i);
	enum status status = db_run_given(db, sql, values, n, GIVEN_COLUMNS, &changed, err);
	if (status != STATUS_OK || changed == 0)
		return status;
	if (changed < (int64_t)n)
		return find_new(db, first, n, outcome, err);
	memset(outcome, 'n', n);
	return STATUS_OK;
}

static enum status insert_slices(struct db *db, const struct record_row *rows, size_t n, int64_t first, char *outcome,
				 struct err *err)
{
	struct polite polite = {0};
	enum status status = STATUS_OK;

	for (size_t i = 0; status == STATUS_OK && i < n; i += SLICE) {
		polite_point(&polite);
		status = insert_given(db, rows + i, n - i < SLICE ? n - i : SLICE, first + (int64_t)i, outcome + i,
				      err);
	}
	return status;
}

/* --- PostgreSQL --- */

/* Columns of a batch as arrays' texts. */
struct arrays {
	struct buf seq, key, run, source, status, received, processed, seconds, error, data;
};

enum { ARRAYS = sizeof(struct arrays) / sizeof(struct buf) };

static void put_quoted(struct buf *out, struct str text)
{
	const char *at = text.p, *end = at ? at + text.n : at, *from = at;

	buf_char(out, '"');
	for (; at < end; at++) {
		if (*at != '"' && *at != '\\')
			continue;
		buf_put(out, from, (size_t)(at - from));
		buf_char(out, '\\');
		from = at;
	}
	buf_put(out, from, (size_t)(end - from));
	buf_char(out, '"');
}

static void put_row(struct arrays *a, const struct record_row *row, int64_t seq)
{
	json_put_i64(&a->seq, seq);
	put_quoted(&a->key, row->key);
	json_put_i64(&a->run, row->run);
	put_quoted(&a->source, row->source);
	json_put_i64(&a->status, (int64_t)row->status);
	json_put_i64(&a->received, row->received_us);
	json_put_i64(&a->processed, row->processed_us);
	json_put_double(&a->seconds, row->seconds);
	put_quoted(&a->error, row->error);
	put_quoted(&a->data, row->data);
}

/* The rows whose outcome is `which`. */
static enum status put_rows(struct arrays *a, const struct record_row *rows, size_t n, int64_t first,
			    const char *outcome, char which, struct err *err)
{
	struct buf *list = (struct buf *)a;
	bool any = false, failed = false;

	for (int c = 0; c < ARRAYS; c++) {
		buf_init_heap(&list[c]);
		buf_char(&list[c], '{');
	}
	for (size_t i = 0; i < n; i++) {
		if (outcome[i] != which)
			continue;
		for (int c = 0; any && c < ARRAYS; c++)
			buf_char(&list[c], ',');
		put_row(a, &rows[i], first + (int64_t)i);
		any = true;
	}
	for (int c = 0; c < ARRAYS; c++) {
		buf_char(&list[c], '}');
		failed |= list[c].failed;
	}
	return failed ? err_set(err, STATUS_NO_MEMORY, "no memory for a batch of records") : STATUS_OK;
}

static void release_arrays(struct arrays *a)
{
	struct buf *list = (struct buf *)a;

	for (int c = 0; c < ARRAYS; c++)
		buf_release(&list[c]);
}

static void bind_arrays(struct stmt *stmt, const struct arrays *a, int64_t pipeline_id)
{
	const struct buf *list = (const struct buf *)a;

	db_bind_i64(stmt, 1, pipeline_id);
	for (int c = 0; c < ARRAYS; c++)
		db_bind_text(stmt, 2 + c, buf_view(&list[c]));
}

/* Those whose key is new get the outcome 'n'; all of them had '?'. (What is cast to an array at once would have to come
 * in the form that arrays have between programs.) Of two with one key the first is stored: the order
 * of the arrays is that of the rows. */
static enum status insert_arrays(struct db *db, const struct record_row *rows, size_t n, int64_t first, char *outcome,
				 struct err *err)
{
	static const char sql[] =
		"INSERT INTO data_records (pipeline_id, seq, record_key, run, source, status, received_us,"
		" processed_us, seconds, error, data)"
		" SELECT CAST($1 AS BIGINT), r.seq, r.record_key, r.run, r.source, r.status, r.received_us,"
		" r.processed_us, r.seconds, r.error, CAST(r.data AS JSON)"
		" FROM unnest(CAST(CAST($2 AS TEXT) AS BIGINT[]), CAST(CAST($3 AS TEXT) AS TEXT[]),"
		" CAST(CAST($4 AS TEXT) AS BIGINT[]), CAST(CAST($5 AS TEXT) AS TEXT[]),"
		" CAST(CAST($6 AS TEXT) AS BIGINT[]), CAST(CAST($7 AS TEXT) AS BIGINT[]),"
		" CAST(CAST($8 AS TEXT) AS BIGINT[]), CAST(CAST($9 AS TEXT) AS DOUBLE PRECISION[]),"
		" CAST(CAST($10 AS TEXT) AS TEXT[]), CAST(CAST($11 AS TEXT) AS TEXT[]))"
		" AS r (seq, record_key, run, source, status, received_us, processed_us, seconds, error, data)"
		" ON CONFLICT (pipeline_id, record_key) DO NOTHING RETURNING seq";
	struct arrays arrays;
	struct stmt *stmt;
	bool row = false;

	enum status status = put_rows(&arrays, rows, n, first, outcome, '?', err);
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status == STATUS_OK) {
		bind_arrays(stmt, &arrays, rows[0].pipeline_id);
		while ((status = db_step(stmt, &row, err)) == STATUS_OK && row) {
			int64_t i = db_column_i64(stmt, 0) - first;
			if (i >= 0 && i < (int64_t)n)
				outcome[i] = 'n';
		}
		db_reset(stmt);
	}
	release_arrays(&arrays);
	return status;
}

/* --- both --- */

/* Replaces what has the row's key; with `only_failed` only a record that failed. *seq: its number; 0: it stays. */
static enum status replace_one(struct db *db, const struct record_row *row, bool only_failed, int64_t *seq,
			       struct err *err)
{
	static const char sql[] = "UPDATE data_records SET run = $1, source = $2, status = $3, received_us = $4,"
				  " processed_us = $5, seconds = $6, error = $7, data = $8"
				  " WHERE pipeline_id = $9 AND record_key = $10 AND ($11 = 0 OR status = 2)"
				  " RETURNING seq";
	struct stmt *stmt;
	bool there;

	*seq = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, row->run);
	db_bind_text(stmt, 2, row->source);
	db_bind_i64(stmt, 3, (int64_t)row->status);
	db_bind_i64(stmt, 4, row->received_us);
	db_bind_i64(stmt, 5, row->processed_us);
	db_bind_double(stmt, 6, row->seconds);
	db_bind_text(stmt, 7, row->error);
	db_bind_text(stmt, 8, row->data);
	db_bind_i64(stmt, 9, row->pipeline_id);
	db_bind_text(stmt, 10, row->key);
	db_bind_i64(stmt, 11, only_failed);
	status = db_step(stmt, &there, err);
	while (status == STATUS_OK && there) {
		*seq = db_column_i64(stmt, 0);
		status = db_step(stmt, &there, err);
	}
	db_reset(stmt);
	return status;
}

/* One after the other: what is there already is rare, or of two with one key in a batch the order counts. */
static enum status store_rest(struct db *db, const struct record_row *rows, size_t n, enum record_duplicates duplicates,
			      char *outcome, struct err *err)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		int64_t seq = 0;
		if (outcome[i] != '?')
			continue;
		status = replace_one(db, &rows[i], !replaces(&rows[i], duplicates), &seq, err);
		outcome[i] = seq > 0 && rows[i].status != RECORD_FAILED ? 'r' : 's';
		if (status == STATUS_OK && seq > 0)
			status = search_replace(db, seq, rows[i].search, err);
	}
	return status;
}

static enum status store_together(struct db *db, const struct record_row *rows, size_t n,
				  enum record_duplicates duplicates, int64_t first, char *outcome, struct err *err)
{
	memset(outcome, '?', n);
	enum status status = db_dialect(db) == DB_DIALECT_POSTGRESQL ? insert_arrays(db, rows, n, first, outcome, err)
								     : insert_slices(db, rows, n, first, outcome, err);
	for (size_t i = 0; status == STATUS_OK && i < n; i++)
		if (outcome[i] == 'n' && rows[i].search.n > 0)
			status = search_insert(db, first + (int64_t)i, rows[i].search, err);
	return status == STATUS_OK ? store_rest(db, rows, n, duplicates, outcome, err) : status;
}

enum status records_insert(struct db *db, const struct record_row *rows, size_t n, enum record_duplicates duplicates,
			   char *outcome, struct err *err)
{
	int64_t first;

	if (n == 0)
		return STATUS_OK;
	for (size_t i = 0; i < n; i++)
		if (!isfinite(rows[i].seconds))
			return err_set(err, STATUS_INTERNAL, "the time that a record took is no number");
	enum status status = generations_take(db, STR("data_records"), (int64_t)n, &first, err);
	if (status != STATUS_OK)
		return status;
	return store_together(db, rows, n, duplicates, first, outcome, err);
}

/* --- finding --- */

static bool keep(struct arena *arena, struct str *text)
{
	*text = arena_dup(arena, *text);
	return text->p != NULL;
}

enum status records_find(struct db *db, int64_t pipeline_id, struct str key, struct arena *arena,
			 struct record_row *out, struct err *err)
{
	static const char in_one[] = "SELECT seq, pipeline_id, record_key, run, source, status, received_us,"
				     " processed_us, seconds, error, data FROM data_records"
				     " WHERE pipeline_id = $1 AND record_key = $2";
	/* One step into the index for each pipeline, of which there are few. */
	static const char in_any[] = "SELECT r.seq, r.pipeline_id, r.record_key, r.run, r.source, r.status,"
				     " r.received_us, r.processed_us, r.seconds, r.error, r.data"
				     " FROM pipelines p JOIN data_records r ON r.pipeline_id = p.id"
				     " AND r.record_key = $1 ORDER BY p.id LIMIT 1";
	struct stmt *stmt;
	bool there;

	enum status status = db_prepare(db, pipeline_id > 0 ? in_one : in_any, &stmt, err);
	if (status != STATUS_OK)
		return status;
	if (pipeline_id > 0)
		db_bind_i64(stmt, 1, pipeline_id);
	db_bind_text(stmt, pipeline_id > 0 ? 2 : 1, key);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && !there)
		status = err_set(err, STATUS_NOT_FOUND, "There is no such record.");
	if (status == STATUS_OK) {
		*out = (struct record_row){
			.seq = db_column_i64(stmt, 0),
			.pipeline_id = db_column_i64(stmt, 1),
			.key = db_column_text(stmt, 2),
			.run = db_column_i64(stmt, 3),
			.source = db_column_text(stmt, 4),
			.status = (enum record_status)db_column_i64(stmt, 5),
			.received_us = db_column_i64(stmt, 6),
			.processed_us = db_column_i64(stmt, 7),
			.seconds = db_column_double(stmt, 8),
			.error = db_column_text(stmt, 9),
			.data = db_column_text(stmt, 10),
		};
		if (!keep(arena, &out->key) || !keep(arena, &out->source) || !keep(arena, &out->error) ||
		    !keep(arena, &out->data))
			status = err_set(err, STATUS_NO_MEMORY, "no memory for a record");
	}
	db_reset(stmt);
	return status;
}
