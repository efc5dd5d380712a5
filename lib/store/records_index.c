/* Indexes of single fields: partial ones, of one pipeline each, on what the field's expression gives.
 *
 * SQLite keeps no statistics here, and takes any index for as good as another. So what a condition would find by its
 * index is counted first, up to a bound: few are found by it and sorted; where it is many, the order's own index meets
 * enough of them soon. */
#include "store/records_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	FEW = 20000,
	TURN_WAIT_MS = 10 * 1000,
	PIECE = 20000 /* records that are read at a time: no snapshot is held for longer */
};

static void write_name(int64_t pipeline_id, struct str field, const char *kind, char out[RECORDS_INDEX_BYTES])
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

	for (size_t i = 0; i < field.n; i++)
		hash = (hash ^ (unsigned char)field.p[i]) * UINT64_C(1099511628211);
	snprintf(out, RECORDS_INDEX_BYTES, "data_field_%" PRId64 "_%016" PRIx64 "%s", pipeline_id, hash, kind);
}

static void write_field_name(const struct db *db, int64_t pipeline_id, struct str field, bool is_number,
			     char out[RECORDS_INDEX_BYTES])
{
	bool sqlite = db_dialect(db) == DB_DIALECT_SQLITE;

	write_name(pipeline_id, field, sqlite ? "" : is_number ? "_n" : "_t", out);
}

static enum status find_index(struct db *db, const char *name, bool *there, struct err *err)
{
	static const char sqlite[] = "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = $1";
	static const char postgresql[] = "SELECT 1 FROM pg_indexes WHERE tablename = 'data_records' AND indexname = $1";
	struct stmt *stmt;

	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_SQLITE ? sqlite : postgresql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(name));
	status = db_step(stmt, there, err);
	db_reset(stmt);
	return status;
}

static enum status find_last(struct db *db, int64_t *seq, struct err *err)
{
	static const char sql[] = "SELECT coalesce(max(seq), 0) FROM data_records";
	struct stmt *stmt;
	bool there;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &there, err);
	*seq = status == STATUS_OK && there ? db_column_i64(stmt, 0) : 0;
	db_reset(stmt);
	return status;
}

/* Making one takes as long as it takes, and nobody can store a record meanwhile: SQLite has but one writer, and
 * PostgreSQL, where it is done in a transaction, locks the table. */
static enum status is_small(struct db *db, struct err *err)
{
	int64_t last;

	enum status status = find_last(db, &last, err);
	if (status == STATUS_OK && last > RECORD_INDEX_MAX)
		status = err_set(err, STATUS_TOO_LARGE,
				 "with more than %d records an index would keep everybody from writing for seconds",
				 RECORD_INDEX_MAX);
	return status;
}

static enum status make_index(struct db *db, void *arg, struct err *err)
{
	return db_script(db, arg, err);
}

static enum status check_field(struct str field, struct err *err)
{
	if (!record_field_is_good(field) || field.p[0] == '@')
		return err_set(err, STATUS_INVALID, "a field of such a name can't have an index");
	return STATUS_OK;
}

static void put_index(struct records_sql *sql, const char *how, const char *name, int64_t pipeline_id, struct str field,
		      bool is_number)
{
	buf_fmt(&sql->text, "CREATE INDEX%s IF NOT EXISTS %s ON data_records (", how, name);
	records_put_field(sql, field, is_number);
	buf_fmt(&sql->text, "%s) WHERE pipeline_id = %" PRId64,
		sql->dialect == DB_DIALECT_SQLITE ? "" : " NULLS FIRST, seq", pipeline_id);
	buf_char(&sql->text, '\0');
}

enum status records_index_field(struct db *db, int64_t pipeline_id, struct str field, bool is_number, struct err *err)
{
	char name[RECORDS_INDEX_BYTES];
	struct records_sql sql;
	bool there = false;

	enum status status = check_field(field, err);
	if (status != STATUS_OK)
		return status;
	write_field_name(db, pipeline_id, field, is_number, name);
	status = find_index(db, name, &there, err);
	if (status != STATUS_OK || there)
		return status;
	status = is_small(db, err);
	if (status != STATUS_OK)
		return status;
	records_sql_init(&sql, db);
	put_index(&sql, "", name, pipeline_id, field, is_number);
	status = sql.text.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for an index")
				 : db_transact(db, TURN_WAIT_MS, make_index, sql.text.p, err);
	records_sql_release(&sql);
	return status;
}

/* --- making one of many records, beside those who write --- */

/* *good: it can be used. One that is not is being made now, or whoever made it was killed. */
static enum status look_at_index(struct db *db, const char *name, bool *there, bool *good, struct err *err)
{
	static const char sql[] = "SELECT CASE WHEN indisvalid THEN 1 ELSE 0 END FROM pg_index"
				  " WHERE indexrelid = to_regclass(CAST($1 AS text))";
	struct stmt *stmt;

	*good = false;
	if (db_dialect(db) == DB_DIALECT_SQLITE) {
		enum status status = find_index(db, name, there, err);
		*good = status == STATUS_OK && *there;
		return status;
	}
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(name));
	status = db_step(stmt, there, err);
	*good = status == STATUS_OK && *there && db_column_i64(stmt, 0) == 1;
	db_reset(stmt);
	return status;
}

enum status records_index_find(struct db *db, int64_t pipeline_id, struct str field, bool is_number, bool *there,
			       struct err *err)
{
	char name[RECORDS_INDEX_BYTES];
	bool found = false;

	*there = false;
	enum status status = check_field(field, err);
	if (status != STATUS_OK)
		return status;
	write_field_name(db, pipeline_id, field, is_number, name);
	return look_at_index(db, name, &found, there, err);
}

/* Records behind `at`, as the index's making will see them. The rows of all pipelines are read, as it does. */
static enum status read_piece(struct db *db, const char *sql, int64_t at, struct err *err)
{
	struct stmt *stmt;

	enum status status = db_prepare_once(db, sql, 0, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, at);
	db_bind_i64(stmt, 2, at + PIECE);
	status = db_run(stmt, NULL, err);
	db_finish(stmt);
	return status;
}

enum status records_index_prepare(struct db *db, int64_t pipeline_id, struct str field, record_progress_fn *fn,
				  void *arg, struct err *err)
{
	struct records_sql sql;
	int64_t last = 0;

	enum status status = check_field(field, err);
	if (status != STATUS_OK || db_dialect(db) != DB_DIALECT_SQLITE)
		return status;
	status = find_last(db, &last, err);
	records_sql_init(&sql, db);
	buf_str(&sql.text, STR("SELECT count("));
	records_put_field(&sql, field, false);
	buf_fmt(&sql.text, ") FROM data_records NOT INDEXED WHERE seq > $1 AND seq <= $2 AND pipeline_id = %" PRId64,
		pipeline_id);
	buf_char(&sql.text, '\0');
	if (status == STATUS_OK && sql.text.failed)
		status = err_set(err, STATUS_NO_MEMORY, "no memory for an index");
	for (int64_t at = 0; status == STATUS_OK && at < last; at += PIECE) {
		status = read_piece(db, sql.text.p, at, err);
		if (status == STATUS_OK)
			fn(arg, at + PIECE < last ? at + PIECE : last, last);
	}
	records_sql_release(&sql);
	return status;
}

/* In one transaction, since SQLite knows no other way: sorted in up to 64 MiB of memory and then in files, by two
 * threads. */
static enum status build_sqlite(struct db *db, char *sql, struct err *err)
{
	static const char settings[] = "PRAGMA temp_store=FILE; PRAGMA cache_size=-65536; PRAGMA threads=2;";

	enum status status = db_script(db, settings, err);
	return status == STATUS_OK ? db_transact(db, TURN_WAIT_MS, make_index, sql, err) : status;
}

/* CONCURRENTLY, which no transaction may surround; it waits for every transaction that is older than it, however long
 * that takes. */
static enum status build_postgresql(struct db *db, const char *sql, struct err *err)
{
	struct err ignored;

	db_be_patient(db);
	enum status status = db_script(db, "SET lock_timeout = 0", err);
	if (status == STATUS_OK)
		status = db_script(db, sql, err);
	/* Two met in the server's catalogue; it tells so as an error of its own (XX000), always in these words. */
	if (status == STATUS_UNAVAILABLE && err && strstr(err->text, "tuple concurrently"))
		status = err->status = STATUS_BUSY;
	if (db_script(db, "RESET lock_timeout", &ignored) != STATUS_OK)
		return status; /* the connection is gone, and the setting with it */
	return status;
}

static enum status drop_remains(struct db *db, const char *name, struct err *err)
{
	char sql[RECORDS_INDEX_BYTES + 64];

	snprintf(sql, sizeof(sql), "DROP INDEX CONCURRENTLY IF EXISTS %s", name);
	return build_postgresql(db, sql, err);
}

/* Two who do it on one table wait for each other, until PostgreSQL fails one of them (STATUS_BUSY). */
static enum status is_free(struct db *db, struct err *err)
{
	struct record_index_state state;

	enum status status = records_index_watch(db, &state, err);
	if (status == STATUS_OK && state.phase[0])
		status = err_set(err, STATUS_CONFLICT, "an index of records is being made by somebody else now");
	return status;
}

/* A name that is there may be that of an index whose maker has failed meanwhile. */
static enum status check_built(struct db *db, const char *name, struct err *err)
{
	bool there = false, good = false;

	enum status status = look_at_index(db, name, &there, &good, err);
	if (status == STATUS_OK && !good)
		status = err_set(err, STATUS_CONFLICT, "somebody else has begun to make the index, and not ended");
	return status;
}

enum status records_index_build(struct db *db, int64_t pipeline_id, struct str field, bool is_number, struct err *err)
{
	char name[RECORDS_INDEX_BYTES];
	struct records_sql sql;
	bool sqlite = db_dialect(db) == DB_DIALECT_SQLITE, there = false, good = false;

	enum status status = check_field(field, err);
	if (status != STATUS_OK)
		return status;
	write_field_name(db, pipeline_id, field, is_number, name);
	status = look_at_index(db, name, &there, &good, err);
	if (status != STATUS_OK || good)
		return status;
	status = is_free(db, err);
	if (status == STATUS_OK && there)
		status = drop_remains(db, name, err);
	if (status != STATUS_OK)
		return status;
	records_sql_init(&sql, db);
	put_index(&sql, sqlite ? "" : " CONCURRENTLY", name, pipeline_id, field, is_number);
	if (sql.text.failed)
		status = err_set(err, STATUS_NO_MEMORY, "no memory for an index");
	else
		status = sqlite ? build_sqlite(db, sql.text.p, err) : build_postgresql(db, sql.text.p, err);
	records_sql_release(&sql);
	return status == STATUS_OK ? check_built(db, name, err) : status;
}

enum status records_index_watch(struct db *db, struct record_index_state *out, struct err *err)
{
	static const char sql[] =
		"SELECT phase, CAST(CASE WHEN blocks_total > 0 THEN blocks_done * 1.0 / blocks_total WHEN"
		" tuples_total > 0 THEN tuples_done * 1.0 / tuples_total ELSE 0 END AS double precision)"
		" FROM pg_stat_progress_create_index WHERE relid = to_regclass('data_records') ORDER BY pid LIMIT 1";
	struct stmt *stmt;
	bool there;

	*out = (struct record_index_state){0};
	if (db_dialect(db) == DB_DIALECT_SQLITE)
		return STATUS_OK;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there) {
		db_column_copy(stmt, 0, out->phase, sizeof(out->phase));
		out->share = db_column_double(stmt, 1);
	}
	db_reset(stmt);
	return status;
}

/* --- choosing one (SQLite) --- */

static bool uses_index(const struct record_filter *filter)
{
	return !records_is_column(filter->field) && filter->compare != RECORD_NE && filter->compare != RECORD_CONTAINS;
}

/* How many records meet the conditions on the field of condition i, up to FEW and one. */
static enum status count_found(struct db *db, const struct record_query *query, int i, const char *index, int64_t *n,
			       struct err *err)
{
	struct records_sql sql;
	struct stmt *stmt;
	bool there;

	records_sql_init(&sql, db);
	buf_fmt(&sql.text,
		"SELECT count(*) FROM (SELECT 1 FROM data_records INDEXED BY %s WHERE pipeline_id = %" PRId64, index,
		query->pipeline_id);
	for (int k = i; k < query->filters_n; k++)
		if (str_eq(query->filters[k].field, query->filters[i].field) && uses_index(&query->filters[k]))
			records_put_filter(&sql, &query->filters[k]);
	buf_fmt(&sql.text, " LIMIT %d)", FEW + 1);
	enum status status = records_prepare(db, &sql, query->within_ms, &stmt, err);
	if (status == STATUS_OK)
		status = db_step(stmt, &there, err);
	if (status == STATUS_OK)
		*n = db_column_i64(stmt, 0);
	db_finish(stmt);
	records_sql_release(&sql);
	return status;
}

static enum status choose_by_filters(struct db *db, const struct record_query *query, char index[RECORDS_INDEX_BYTES],
				     struct err *err)
{
	enum status status = STATUS_OK;
	int64_t least = FEW + 1, n = 0;
	char name[RECORDS_INDEX_BYTES];

	for (int i = 0; status == STATUS_OK && i < query->filters_n; i++) {
		bool there = false;
		if (!uses_index(&query->filters[i]))
			continue;
		write_name(query->pipeline_id, query->filters[i].field, "", name);
		status = find_index(db, name, &there, err);
		if (status == STATUS_OK && there)
			status = count_found(db, query, i, name, &n, err);
		if (status == STATUS_OK && there && n < least) {
			least = n;
			snprintf(index, RECORDS_INDEX_BYTES, "%s", name);
		}
	}
	return status;
}

enum status records_choose_index(struct db *db, const struct record_query *query, char index[RECORDS_INDEX_BYTES],
				 struct err *err)
{
	char name[RECORDS_INDEX_BYTES];
	bool there = false;

	index[0] = '\0';
	if (db_dialect(db) != DB_DIALECT_SQLITE || query->pipeline_id == 0 || query->search.n > 0)
		return STATUS_OK;
	enum status status = choose_by_filters(db, query, index, err);
	if (status != STATUS_OK || index[0])
		return status;
	if (query->sort.n == 0) {
		snprintf(index, RECORDS_INDEX_BYTES, "idx_data_records_pipeline");
	} else if (str_eq(query->sort, STR("@key"))) {
		snprintf(index, RECORDS_INDEX_BYTES, "idx_data_records_key");
	} else if (!records_is_column(query->sort)) {
		write_name(query->pipeline_id, query->sort, "", name);
		status = find_index(db, name, &there, err);
		if (there)
			snprintf(index, RECORDS_INDEX_BYTES, "%s", name);
	}
	return status;
}
