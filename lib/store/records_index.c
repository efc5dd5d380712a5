/* Indexes of single fields: partial ones, of one pipeline each, on what the field's expression gives.
 *
 * SQLite keeps no statistics here, and takes any index for as good as another. So what a condition would find by its
 * index is counted first, up to a bound: few are found by it and sorted; where it is many, the order's own index meets
 * enough of them soon. */
#include "store/records_impl.h"

#include <inttypes.h>
#include <stdio.h>

enum { FEW = 20000, TURN_WAIT_MS = 10 * 1000 };

static void write_name(int64_t pipeline_id, struct str field, const char *kind, char out[RECORDS_INDEX_BYTES])
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

	for (size_t i = 0; i < field.n; i++)
		hash = (hash ^ (unsigned char)field.p[i]) * UINT64_C(1099511628211);
	snprintf(out, RECORDS_INDEX_BYTES, "data_field_%" PRId64 "_%016" PRIx64 "%s", pipeline_id, hash, kind);
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

/* SQLite has but one writer, and making an index takes as long as it takes. */
static enum status is_small(struct db *db, struct err *err)
{
	static const char sql[] = "SELECT max(seq) FROM data_records";
	struct stmt *stmt;
	bool there;

	if (db_dialect(db) != DB_DIALECT_SQLITE)
		return STATUS_OK;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there && db_column_i64(stmt, 0) > RECORD_INDEX_MAX)
		status = err_set(err, STATUS_TOO_LARGE,
				 "with more than %d records an index would keep everybody from writing for seconds",
				 RECORD_INDEX_MAX);
	db_reset(stmt);
	return status;
}

static enum status make_index(struct db *db, void *arg, struct err *err)
{
	return db_script(db, arg, err);
}

enum status records_index_field(struct db *db, int64_t pipeline_id, struct str field, bool is_number, struct err *err)
{
	char name[RECORDS_INDEX_BYTES];
	struct records_sql sql;
	bool sqlite = db_dialect(db) == DB_DIALECT_SQLITE, there;

	if (!record_field_is_good(field) || field.p[0] == '@')
		return err_set(err, STATUS_INVALID, "a field of such a name can't have an index");
	write_name(pipeline_id, field, sqlite ? "" : is_number ? "_n" : "_t", name);
	enum status status = find_index(db, name, &there, err);
	if (status != STATUS_OK || there)
		return status;
	status = is_small(db, err);
	if (status != STATUS_OK)
		return status;
	records_sql_init(&sql, db);
	buf_fmt(&sql.text, "CREATE INDEX IF NOT EXISTS %s ON data_records (", name);
	records_put_field(&sql, field, is_number);
	buf_fmt(&sql.text, "%s) WHERE pipeline_id = %" PRId64, sqlite ? "" : " NULLS FIRST, seq", pipeline_id);
	buf_char(&sql.text, '\0');
	status = sql.text.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for an index")
				 : db_transact(db, TURN_WAIT_MS, make_index, sql.text.p, err);
	records_sql_release(&sql);
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
