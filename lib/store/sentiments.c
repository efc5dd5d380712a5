/* Table sentiment_requests. The key begins with its time (UUIDv7), which is what history and retention go by; rows of a
 * batch are neighbours in the key and in the index, so that a thousand of them touch a few pages. */
#include "store/sentiments.h"

#include "base/clock.h"
#include "base/json.h"

#include <math.h>
#include <sodium.h>

enum { EXPIRE_MS = 5, EXPIRE_IDS = 64, POSITION_MAX = 0xffffff };

/* In the order of read_row(). */
#define COLUMNS                                                                                                        \
	"id, user_id, text, sentiment, confidence, processing_time, created_at, model_version, task_id, position"

static void copy_text(struct str text, char *out, size_t size)
{
	size_t n = text.n < size ? text.n : size - 1;

	if (n > 0)
		memcpy(out, text.p, n);
	out[n] = '\0';
}

static bool read_row(struct stmt *stmt, struct sentiment_row *row)
{
	row->user_id = db_column_i64(stmt, 1);
	row->text = db_column_text(stmt, 2);
	row->sentiment = db_column_text(stmt, 3);
	row->confidence = db_column_double(stmt, 4);
	row->processing_s = db_column_double(stmt, 5);
	copy_text(db_column_text(stmt, 6), row->created_at, sizeof(row->created_at));
	copy_text(db_column_text(stmt, 7), row->model_version, sizeof(row->model_version));
	row->task_id = db_column_text(stmt, 8);
	row->position = db_column_i64(stmt, 9);
	return id_parse(db_column_text(stmt, 0), &row->id);
}

/* Steps a statement that selects COLUMNS to its end, or until nobody wants more. */
static enum status read_rows(struct stmt *stmt, sentiment_row_fn *fn, void *arg, int *n, struct err *err)
{
	struct sentiment_row row;
	enum status status;
	bool there;

	*n = 0;
	while ((status = db_step(stmt, &there, err)) == STATUS_OK && there) {
		if (!read_row(stmt, &row)) {
			status = err_set(err, STATUS_INTERNAL, "a row of sentiment_requests has no good id");
			break;
		}
		++*n;
		if (!fn(arg, &row))
			break;
	}
	db_reset(stmt);
	return status;
}

/* --- writing --- */

/* To SQLite it is NULL, to PostgreSQL a number like others. */
static enum status check(const struct sentiment_row *row, struct err *err)
{
	if (isfinite(row->confidence) && isfinite(row->processing_s))
		return STATUS_OK;
	return err_set(err, STATUS_CONFLICT, "the confidence of a sentiment is no number");
}

static const char INSERT[] = "INSERT INTO sentiment_requests (" COLUMNS ")"
			     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";

/* What the rows of a batch have in common. */
static void bind_common(struct stmt *stmt, const struct sentiment_row *row)
{
	db_bind_i64(stmt, 2, row->user_id);
	db_bind_text(stmt, 7, str_of(row->created_at));
	db_bind_text(stmt, 8, str_of(row->model_version));
	db_bind_text(stmt, 9, row->task_id);
}

static enum status insert_row(struct stmt *stmt, const struct sentiment_row *row, int64_t *inserted, struct err *err)
{
	char id[ID_TEXT_BYTES];

	id_format(&row->id, id);
	db_bind_text(stmt, 1, (struct str){id, ID_TEXT_BYTES - 1});
	db_bind_text(stmt, 3, row->text);
	db_bind_text(stmt, 4, row->sentiment);
	db_bind_double(stmt, 5, row->confidence);
	db_bind_double(stmt, 6, row->processing_s);
	db_bind_i64(stmt, 10, row->position);
	return db_run(stmt, inserted, err);
}

enum status sentiments_insert(struct db *db, const struct sentiment_row *row, bool *stored, struct err *err)
{
	struct stmt *stmt;
	int64_t inserted;

	*stored = false;
	enum status status = check(row, err);
	if (status == STATUS_OK)
		status = db_prepare(db, INSERT, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_common(stmt, row);
	status = insert_row(stmt, row, &inserted, err);
	*stored = status == STATUS_OK && inserted > 0;
	return status;
}

/* A statement keeps what is bound to it: the rest is bound once. */
static enum status insert_each(struct db *db, const struct sentiment_row *rows, size_t n, struct err *err)
{
	struct stmt *stmt;
	enum status status = n > 0 ? db_prepare(db, INSERT, &stmt, err) : STATUS_OK;

	if (n > 0 && status == STATUS_OK)
		bind_common(stmt, rows);
	for (size_t i = 0; status == STATUS_OK && i < n; i++)
		status = insert_row(stmt, &rows[i], NULL, err);
	return status;
}

static void put_row(struct buf *out, const struct sentiment_row *row)
{
	char id[ID_TEXT_BYTES];

	id_format(&row->id, id);
	buf_str(out, STR("{\"id\":\""));
	buf_str(out, str_of(id));
	buf_str(out, STR("\",\"text\":"));
	json_put_string(out, row->text);
	buf_str(out, STR(",\"sentiment\":"));
	json_put_string(out, row->sentiment);
	buf_str(out, STR(",\"confidence\":"));
	json_put_double(out, row->confidence);
	buf_str(out, STR(",\"processing_time\":"));
	json_put_double(out, row->processing_s);
	buf_str(out, STR(",\"position\":"));
	json_put_i64(out, row->position);
	buf_char(out, '}');
}

static enum status run_insert(struct db *db, const struct sentiment_row *first, struct str rows, struct err *err)
{
	static const char sql[] =
		"INSERT INTO sentiment_requests (" COLUMNS ")"
		" SELECT r.id, CAST($1 AS BIGINT), r.text, r.sentiment, r.confidence, r.processing_time, $2, $3, $4,"
		" r.position FROM json_to_recordset(CAST($5 AS JSON)) AS r (id TEXT, text TEXT, sentiment TEXT,"
		" confidence DOUBLE PRECISION, processing_time DOUBLE PRECISION, position BIGINT)"
		" ON CONFLICT DO NOTHING";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, first->user_id);
	db_bind_text(stmt, 2, str_of(first->created_at));
	db_bind_text(stmt, 3, str_of(first->model_version));
	db_bind_text(stmt, 4, first->task_id);
	db_bind_text(stmt, 5, rows);
	return db_run(stmt, NULL, err);
}

static enum status insert_together(struct db *db, const struct sentiment_row *rows, size_t n, struct err *err)
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
		status = err_set(err, STATUS_NO_MEMORY, "no memory for the rows of a batch");
	else
		status = run_insert(db, rows, buf_view(&text), err);
	buf_release(&text);
	return status;
}

enum status sentiments_insert_all(struct db *db, const struct sentiment_row *rows, size_t n, struct err *err)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; status == STATUS_OK && i < n; i++)
		status = check(&rows[i], err);
	if (status != STATUS_OK)
		return status;
	if (n > 1 && db_dialect(db) == DB_DIALECT_POSTGRESQL)
		return insert_together(db, rows, n, err);
	return insert_each(db, rows, n, err);
}

/* 48 bits of the task's time, 24 of the position and 50 of a hash of the task's id, so that two batches of the same
 * millisecond do not meet (RFC 9562, section 6.2: a counter in the bits that follow the time). */
struct id sentiments_id_in_task(const struct id *task, int64_t position)
{
	uint64_t at = (uint64_t)position & POSITION_MAX;
	uint8_t hash[16];
	struct id id = *task;

	crypto_generichash(hash, sizeof(hash), task->b, sizeof(task->b), NULL, 0);
	memcpy(id.b + 6, hash, 10);
	id.b[6] = (uint8_t)(0x70 | (at >> 20 & 0x0f));
	id.b[7] = (uint8_t)(at >> 12);
	id.b[8] = (uint8_t)(0x80 | (at >> 6 & 0x3f));
	id.b[9] = (uint8_t)((at & 0x3f) << 2 | (id.b[9] & 3));
	return id;
}

/* --- reading --- */

enum status sentiments_find(struct db *db, const struct id *id, sentiment_row_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM sentiment_requests WHERE id = $1";
	char text[ID_TEXT_BYTES];
	struct stmt *stmt;
	int n;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	id_format(id, text);
	db_bind_text(stmt, 1, str_of(text));
	status = read_rows(stmt, fn, arg, &n, err);
	return status == STATUS_OK && n == 0 ? err_set(err, STATUS_NOT_FOUND, "there is no such analysis") : status;
}

enum status sentiments_of_user(struct db *db, int64_t user_id, const struct id *before, int64_t offset, int64_t limit,
			       sentiment_row_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM sentiment_requests WHERE user_id = $1 AND id < $2"
				  " ORDER BY id DESC LIMIT $3 OFFSET $4";
	char text[ID_TEXT_BYTES];
	struct stmt *stmt;
	int n;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	if (before)
		id_format(before, text);
	db_bind_i64(stmt, 1, user_id);
	db_bind_text(stmt, 2, before ? str_of(text) : STR("~")); /* after every digit */
	db_bind_i64(stmt, 3, limit > 0 ? limit : 0);
	db_bind_i64(stmt, 4, offset > 0 ? offset : 0);
	return read_rows(stmt, fn, arg, &n, err);
}

/* The ids of a task's rows lie in order between the first and the last that there can be; what else lies there is of
 * the same millisecond. */
enum status sentiments_of_task(struct db *db, const struct id *task, int64_t from, int64_t limit, sentiment_row_fn *fn,
			       void *arg, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM sentiment_requests WHERE id >= $1 AND id <= $2"
				  " AND task_id = $3 ORDER BY id LIMIT $4";
	const struct id first = sentiments_id_in_task(task, from), last = sentiments_id_in_task(task, POSITION_MAX);
	char first_text[ID_TEXT_BYTES], last_text[ID_TEXT_BYTES], task_text[ID_TEXT_BYTES];
	struct stmt *stmt;
	int n;

	if (from > POSITION_MAX)
		return STATUS_OK;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	id_format(&first, first_text);
	id_format(&last, last_text);
	id_format(task, task_text);
	db_bind_text(stmt, 1, str_of(first_text));
	db_bind_text(stmt, 2, str_of(last_text));
	db_bind_text(stmt, 3, str_of(task_text));
	db_bind_i64(stmt, 4, limit > 0 ? limit : 0);
	return read_rows(stmt, fn, arg, &n, err);
}

/* --- retention --- */

/* The least id of a time. */
static void least_id(int64_t ms, char out[static ID_TEXT_BYTES])
{
	const struct edge_identity edge = {.ms = ms > 0 ? ms : 0};
	struct id id = id_of_edge(&edge);

	id_format(&id, out);
}

/* PostgreSQL: nobody waits for a turn meanwhile. */
static enum status delete_together(struct db *db, const char *before, int64_t limit, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM sentiment_requests WHERE id = ANY (ARRAY (SELECT id"
				  " FROM sentiment_requests WHERE id < $1 ORDER BY id LIMIT $2"
				  " FOR UPDATE SKIP LOCKED))";

	return db_run_once(db, sql, DB_VALUES(db_text(str_of(before)), db_i64(limit)), deleted, err);
}

static enum status find_oldest(struct db *db, const char *before, int64_t limit,
			       char ids[static EXPIRE_IDS][ID_TEXT_BYTES], int *n, struct err *err)
{
	static const char sql[] = "SELECT id FROM sentiment_requests WHERE id < $1 ORDER BY id LIMIT $2";
	struct stmt *stmt;
	bool there;

	*n = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(before));
	db_bind_i64(stmt, 2, limit < EXPIRE_IDS ? limit : EXPIRE_IDS);
	while ((status = db_step(stmt, &there, err)) == STATUS_OK && there)
		copy_text(db_column_text(stmt, 0), ids[(*n)++], ID_TEXT_BYTES);
	db_reset(stmt);
	return status;
}

static enum status delete_one(struct db *db, const char *id, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM sentiment_requests WHERE id = $1";
	int64_t changed = 0;

	enum status status = db_run_once(db, sql, DB_VALUES(db_text(str_of(id))), &changed, err);
	*deleted += changed;
	return status;
}

enum status sentiments_expire(struct db *db, int64_t before_ms, int64_t limit, int64_t *deleted, struct err *err)
{
	char before[ID_TEXT_BYTES], ids[EXPIRE_IDS][ID_TEXT_BYTES];
	uint64_t end_ms = clock_mono_ms() + EXPIRE_MS;
	enum status status = STATUS_OK;
	int n = EXPIRE_IDS;

	*deleted = 0;
	least_id(before_ms, before);
	if (limit <= 0)
		return STATUS_OK;
	if (db_dialect(db) == DB_DIALECT_POSTGRESQL)
		return delete_together(db, before, limit, deleted, err);
	while (status == STATUS_OK && *deleted < limit && n == EXPIRE_IDS &&
	       (*deleted == 0 || clock_mono_ms() <= end_ms)) {
		status = find_oldest(db, before, limit - *deleted, ids, &n, err);
		for (int i = 0; status == STATUS_OK && i < n && (i == 0 || clock_mono_ms() <= end_ms); i++)
			status = delete_one(db, ids[i], deleted, err);
	}
	return status;
}
