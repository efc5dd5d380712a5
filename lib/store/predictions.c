/* Table predictions. Nothing here reads more rows than it answers with, but for the list with two filters, whose
 * looking around is bounded (PREDICTIONS_SCAN_MAX). */
#include "store/predictions.h"

#include "base/clock.h"
#include "store/predictions_weeks.h"

#include <math.h>
#include <stdio.h>

/* Rows may be megabytes long, and one that a filter refuses costs its whole length all the same. */
enum { LIST_NS = 20 * 1000 * 1000, LIST_REMOTE_NS = 500 * 1000 * 1000, DELETE_MS = 5, DELETE_IDS = 16 };

/* In the order of read_row(). */
#define COLUMNS                                                                                                        \
	"id, features, result, model_version, created_at,"                                                             \
	" model_name, model_hash, key_id, request_id, trace_id, duration_us, label, probabilities, flags"

static void read_row(struct stmt *stmt, struct prediction *row)
{
	row->id = db_column_text(stmt, 0);
	row->features = db_column_text(stmt, 1);
	row->result = db_column_double(stmt, 2);
	row->model_version = db_column_text(stmt, 3);
	row->created_at = db_column_text(stmt, 4);
	row->model_name = db_column_text(stmt, 5);
	row->model_hash = db_column_text(stmt, 6);
	row->key_id = db_column_text(stmt, 7);
	row->request_id = db_column_text(stmt, 8);
	row->trace_id = db_column_text(stmt, 9);
	row->duration_us = db_column_i64(stmt, 10);
	row->label = db_column_text(stmt, 11);
	row->probabilities = db_column_text(stmt, 12);
	row->flags = db_column_text(stmt, 13);
}

/* PostgreSQL has no text with a NUL, or that is not UTF-8: it is an error to ask it for one. */
static bool can_be_there(const struct db *db, struct str text)
{
	return text.n == 0 || db_dialect(db) != DB_DIALECT_POSTGRESQL ||
	       (!memchr(text.p, '\0', text.n) && str_is_utf8(text));
}

enum status predictions_save(struct db *db, const struct prediction *row, bool *repeated, prediction_row *stored,
			     void *arg, struct err *err)
{
	static const char sql[] = "INSERT INTO predictions (" COLUMNS ")"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
				  " ON CONFLICT (id) DO NOTHING";
	struct stmt *stmt;
	int64_t inserted;

	*repeated = false;
	/* To SQLite it is NULL and so refused, to PostgreSQL it is a number like others. */
	if (isnan(row->result))
		return err_set(err, STATUS_CONFLICT, "the result of a prediction is no number");
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, row->id);
	db_bind_text(stmt, 2, row->features);
	db_bind_double(stmt, 3, row->result);
	db_bind_text(stmt, 4, row->model_version);
	db_bind_text(stmt, 5, row->created_at);
	db_bind_text(stmt, 6, row->model_name);
	db_bind_text(stmt, 7, row->model_hash);
	db_bind_text(stmt, 8, row->key_id);
	db_bind_text(stmt, 9, row->request_id);
	db_bind_text(stmt, 10, row->trace_id);
	db_bind_i64(stmt, 11, row->duration_us);
	db_bind_text(stmt, 12, row->label);
	db_bind_text(stmt, 13, row->probabilities);
	db_bind_text(stmt, 14, row->flags);
	status = db_run(stmt, &inserted, err);
	if (status != STATUS_OK)
		return status;
	*repeated = inserted == 0;
	return *repeated && stored ? predictions_get(db, row->id, stored, arg, err) : STATUS_OK;
}

enum status predictions_get(struct db *db, struct str id, prediction_row *row, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM predictions WHERE id = $1";
	struct stmt *stmt;
	bool there;

	if (!can_be_there(db, id))
		return err_set(err, STATUS_NOT_FOUND, "Prediction not found");
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, id);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there) {
		struct prediction found;
		read_row(stmt, &found);
		row(arg, &found);
	} else if (status == STATUS_OK) {
		status = err_set(err, STATUS_NOT_FOUND, "Prediction not found");
	}
	db_reset(stmt);
	return status;
}

enum status predictions_recent(struct db *db, int limit, prediction_row *row, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM predictions ORDER BY created_at DESC, id DESC LIMIT $1";
	struct stmt *stmt;
	bool there = true;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, limit > 0 ? limit : 0);
	while (there && (status = db_step(stmt, &there, err)) == STATUS_OK && there) {
		struct prediction found;
		read_row(stmt, &found);
		there = row(arg, &found);
	}
	db_reset(stmt);
	return status;
}

/* --- the list --- */

/* The statement for a query: the index that fits the most selective filter. All take the position to start below as
 * $1, $2 and the oldest time as $3; the second and third an equal value as $4; the last is a number of rows. Other
 * filters are looked at row by row. created_at and id together name a position in each of these indexes, because the
 * key is the last column of every index of a table without rowid. */
#define LIST(where, limit)                                                                                             \
	"SELECT " COLUMNS " FROM predictions WHERE (created_at, id) < ($1, $2) AND created_at >= $3" where             \
	" ORDER BY created_at DESC, id DESC LIMIT " limit

static enum status prepare_list(struct db *db, const struct predictions_query *query, struct stmt **out,
				struct err *err)
{
	static const char by_time[] = LIST("", "$4");
	static const char by_key[] = LIST(" AND key_id = $4", "$5");
	static const char by_version[] = LIST(" AND model_version = $4", "$5");
	bool after = query->after_created_at.n > 0;
	struct str position = query->after_created_at, id = query->after_id;

	const char *sql = query->key_id.n > 0 ? by_key : query->model_version.n > 0 ? by_version : by_time;
	enum status status = db_prepare(db, sql, out, err);
	if (status != STATUS_OK)
		return status;
	/* The sooner end counts. Nothing is older than ("until", ""), so that row itself is out. */
	if (query->until.n > 0) {
		size_t n = query->until.n < position.n ? query->until.n : position.n;
		int order = after ? memcmp(query->until.p, position.p, n) : -1;
		if (order < 0 || (order == 0 && query->until.n <= position.n)) {
			position = query->until;
			id = (struct str){0};
		}
	} else if (!after) {
		position = STR("~"); /* after every digit */
	}
	db_bind_text(*out, 1, position);
	db_bind_text(*out, 2, id);
	db_bind_text(*out, 3, query->from);
	/* One more than is looked at tells whether there are more. */
	bool one_filter = query->model_name.n == 0 && (query->key_id.n == 0 || query->model_version.n == 0);
	if (sql != by_time)
		db_bind_text(*out, 4, sql == by_key ? query->key_id : query->model_version);
	db_bind_i64(*out, sql == by_time ? 4 : 5, one_filter ? (int64_t)query->limit + 1 : PREDICTIONS_SCAN_MAX + 1);
	return STATUS_OK;
}

static bool fits(struct str wanted, struct str value)
{
	return wanted.n == 0 || str_eq(wanted, value);
}

static void copy_position(struct str text, char out[static 40])
{
	size_t n = text.n < 40 ? text.n : 39;

	if (n > 0)
		memcpy(out, text.p, n);
	out[n] = '\0';
}

enum status predictions_list(struct db *db, const struct predictions_query *query, prediction_row *row, void *arg,
			     bool *more, char last_created_at[static 40], char last_id[static 40], struct err *err)
{
	struct stmt *stmt;
	struct prediction found;
	bool there = true;
	uint64_t refused_ns = 0; /* spent on rows that were looked at in vain */
	/* On SQLite this is the event thread; on PostgreSQL it waits for a server, and no client but its own waits. */
	uint64_t enough_ns = db_is_remote(db) ? LIST_REMOTE_NS : LIST_NS;

	*more = false;
	last_created_at[0] = last_id[0] = '\0';
	if (query->limit <= 0 || !can_be_there(db, query->key_id) || !can_be_there(db, query->model_version) ||
	    !can_be_there(db, query->model_name) || !can_be_there(db, query->after_id) ||
	    !can_be_there(db, query->after_created_at))
		return STATUS_OK;
	enum status status = prepare_list(db, query, &stmt, err);
	if (status != STATUS_OK)
		return status;
	for (int looked = 0, given = 0;; looked++) {
		uint64_t start_ns = clock_mono_ns();
		status = db_step(stmt, &there, err);
		if (status != STATUS_OK || !there)
			break;
		if (given == query->limit || looked == PREDICTIONS_SCAN_MAX || refused_ns > enough_ns) {
			*more = true;
			break;
		}
		read_row(stmt, &found);
		copy_position(found.created_at, last_created_at);
		copy_position(found.id, last_id);
		if (!fits(query->model_version, found.model_version) || !fits(query->model_name, found.model_name) ||
		    !fits(query->key_id, found.key_id)) {
			refused_ns += clock_mono_ns() - start_ns;
			continue;
		}
		given++;
		if (!row(arg, &found)) {
			*more = true;
			break;
		}
	}
	db_reset(stmt);
	if (!*more)
		last_created_at[0] = last_id[0] = '\0';
	return status;
}

/* Of one row. `bytes` may be NULL. */
static enum status read_size(struct db *db, const char *sql, int64_t *rows, int64_t *bytes, struct err *err)
{
	struct stmt *stmt;
	bool there;

	*rows = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there) {
		*rows = db_column_i64(stmt, 0);
		if (bytes)
			*bytes = db_column_i64(stmt, 1);
	}
	db_reset(stmt);
	return status;
}

/* Counting reads the whole table. PostgreSQL's own statistics are as old as its last ANALYZE: minutes, while rows come.
 */
enum status predictions_count(struct db *db, int64_t *count, bool *about, struct err *err)
{
	static const char exact[] = "SELECT count(*) FROM predictions";
	static const char estimate[] =
		"SELECT sum(greatest(reltuples, 0))::bigint, sum(pg_relation_size(oid))::bigint FROM pg_class"
		" WHERE oid IN (SELECT relid FROM pg_partition_tree('predictions') WHERE isleaf)";
	int64_t bytes = 0;

	*about = false;
	if (db_dialect(db) == DB_DIALECT_POSTGRESQL) {
		enum status status = read_size(db, estimate, count, &bytes, err);
		*about = bytes > PREDICTIONS_COUNT_BYTES;
		if (status != STATUS_OK || *about)
			return status;
	}
	return read_size(db, exact, count, NULL, err);
}

/* --- retention --- */

/* PostgreSQL: nobody waits for a turn meanwhile, and rows in weeks go with their week. */
static enum status delete_rest(struct db *db, struct str before, int max, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM predictions_rest WHERE id IN (SELECT id FROM predictions_rest"
				  " WHERE created_at < $1 ORDER BY created_at, id LIMIT $2)";

	return db_run_once(db, sql, DB_VALUES(db_text(before), db_i64(max > 0 ? max : 0)), deleted, err);
}

/* The oldest rows' ids, up to DELETE_IDS and `max`. */
static enum status find_oldest(struct db *db, struct str before, int max, char ids[static DELETE_IDS][40], int *n,
			       struct err *err)
{
	static const char sql[] = "SELECT id FROM predictions WHERE created_at < $1 ORDER BY created_at, id LIMIT $2";
	struct stmt *stmt;
	bool there;

	*n = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, before);
	db_bind_i64(stmt, 2, max < DELETE_IDS ? max : DELETE_IDS);
	while ((status = db_step(stmt, &there, err)) == STATUS_OK && there)
		copy_position(db_column_text(stmt, 0), ids[(*n)++]);
	db_reset(stmt);
	return status;
}

static enum status delete_one(struct db *db, struct str id, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM predictions WHERE id = $1";
	int64_t changed = 0;

	enum status status = db_run_once(db, sql, DB_VALUES(db_text(id)), &changed, err);
	*deleted += changed;
	return status;
}

enum status predictions_delete_before(struct db *db, struct str before, int max, int64_t *deleted, struct err *err)
{
	char ids[DELETE_IDS][40];
	uint64_t end_ms = clock_mono_ms() + DELETE_MS;
	int n = DELETE_IDS;
	enum status status = STATUS_OK;

	*deleted = 0;
	if (db_dialect(db) == DB_DIALECT_POSTGRESQL)
		return delete_rest(db, before, max, deleted, err);
	while (status == STATUS_OK && *deleted < max && n == DELETE_IDS &&
	       (*deleted == 0 || clock_mono_ms() <= end_ms)) {
		status = find_oldest(db, before, max - (int)*deleted, ids, &n, err);
		for (int i = 0; status == STATUS_OK && i < n && (i == 0 || clock_mono_ms() <= end_ms); i++)
			status = delete_one(db, str_of(ids[i]), deleted, err);
	}
	return status;
}

/* --- weeks (PostgreSQL) --- */

enum { WEEKS_MAX = 64 };

/* Rows of that time which came before the week was there lie in predictions_rest: they move into it. */
static enum status make_week(struct db *db, int64_t week, struct err *err)
{
	char name[40], from[16], until[16], sql[1024];
	bool has;

	predictions_format_week(week, name);
	enum status status = db_has_table(db, name, &has, err);
	if (status != STATUS_OK || has)
		return status;
	predictions_format_bound(week * PREDICTIONS_WEEK_MS, from);
	predictions_format_bound((week + 1) * PREDICTIONS_WEEK_MS, until);
	snprintf(sql, sizeof(sql),
		 PREDICTIONS_LOCK_ALL "CREATE TEMPORARY TABLE moved ON COMMIT DROP AS"
				      " SELECT * FROM predictions_rest WHERE id >= '%s' AND id < '%s';"
				      "DELETE FROM predictions_rest WHERE id >= '%s' AND id < '%s';"
				      "CREATE TABLE %s PARTITION OF predictions FOR VALUES FROM ('%s') TO ('%s');"
				      "INSERT INTO predictions SELECT * FROM moved;"
				      "DROP TABLE moved;",
		 from, until, from, until, name, from, until);
	return db_script(db, sql, err);
}

/* The weeks that there are, by number. */
static enum status list_weeks(struct db *db, int64_t weeks[static WEEKS_MAX], int *n, struct err *err)
{
	static const char sql[] =
		"SELECT substr(relname, 14)::bigint AS week FROM pg_inherits JOIN pg_class c ON c.oid = "
		"inhrelid WHERE inhparent = 'predictions'::regclass AND relname ~ "
		"'^predictions_w[0-9]+$' ORDER BY week LIMIT $1";
	struct stmt *stmt;
	bool there;

	*n = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, WEEKS_MAX);
	while ((status = db_step(stmt, &there, err)) == STATUS_OK && there)
		weeks[(*n)++] = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

static enum status drop_weeks(struct db *db, int64_t before_ms, int64_t *dropped, struct err *err)
{
	int64_t weeks[WEEKS_MAX];
	char name[40], sql[256];
	int n;

	enum status status = list_weeks(db, weeks, &n, err);
	for (int i = 0; status == STATUS_OK && i < n; i++) {
		if ((weeks[i] + 1) * PREDICTIONS_WEEK_MS > before_ms)
			continue;
		predictions_format_week(weeks[i], name);
		snprintf(sql, sizeof(sql), PREDICTIONS_LOCK_ALL "DROP TABLE %s", name);
		status = db_script(db, sql, err);
		*dropped += status == STATUS_OK;
	}
	return status;
}

enum status predictions_keep_weeks(struct db *db, int64_t now_ms, int64_t before_ms, int64_t *dropped, struct err *err)
{
	char name[40];
	bool has = true;
	enum status status = STATUS_OK;

	*dropped = 0;
	if (db_dialect(db) != DB_DIALECT_POSTGRESQL)
		return STATUS_OK;
	/* One look is all that is needed on most days, and takes no lock that others feel. */
	predictions_format_week(now_ms / PREDICTIONS_WEEK_MS + PREDICTIONS_WEEKS_AHEAD, name);
	if (before_ms == 0)
		status = db_has_table(db, name, &has, err);
	else
		has = false;
	if (status == STATUS_OK && !has)
		status = db_lock(db, PREDICTIONS_LOCK_KEY, err);
	for (int64_t week = now_ms / PREDICTIONS_WEEK_MS;
	     !has && status == STATUS_OK && week <= now_ms / PREDICTIONS_WEEK_MS + PREDICTIONS_WEEKS_AHEAD; week++)
		status = make_week(db, week, err);
	return status == STATUS_OK && before_ms > 0 ? drop_weeks(db, before_ms, dropped, err) : status;
}
