/* Many rows into a table of a SQLite database: one INSERT, prepared once, its values bound where they lie. The page
 * cache of the connection is widened, since every index of a table has its own place that grows. */
#include "store/db_sqlite_impl.h"

#include "base/buf.h"

#include <stdlib.h>

struct sqlite_copy {
	struct db_copy base;
	struct sqlite_db *db;
	sqlite3_stmt *stmt;
	int n;
};

static void write_insert(struct buf *sql, const char *table, const char *const columns[], int n)
{
	buf_fmt(sql, "INSERT INTO %s (", table);
	for (int i = 0; i < n; i++)
		buf_fmt(sql, i ? ", %s" : "%s", columns[i]);
	buf_fmt(sql, ") VALUES (");
	for (int i = 0; i < n; i++)
		buf_fmt(sql, i ? ", ?%d" : "?%d", i + 1);
	buf_fmt(sql, ")");
	buf_char(sql, '\0');
}

enum status sqlite_copy_begin(struct db *base, const char *table, const char *const columns[], int n,
			      struct db_copy **out, struct err *err)
{
	struct sqlite_copy *copy = calloc(1, sizeof(*copy));
	struct sqlite_db *db = (struct sqlite_db *)base;
	struct buf sql;
	int rc = SQLITE_NOMEM;

	buf_init_heap(&sql);
	write_insert(&sql, table, columns, n);
	if (copy && !sql.failed)
		rc = sqlite3_prepare_v2(db->handle, sql.p, -1, &copy->stmt, NULL);
	buf_release(&sql);
	if (rc != SQLITE_OK) {
		free(copy);
		return sqlite_fail(db->handle, rc, "prepare a statement", err);
	}
	sqlite3_exec(db->handle, "PRAGMA cache_size=-65536", NULL, NULL, NULL);
	copy->db = db;
	copy->n = n;
	*out = &copy->base;
	return STATUS_OK;
}

static int bind(sqlite3_stmt *stmt, int i, const struct db_value *value)
{
	const char *p = value->bytes.n ? value->bytes.p : "";

	if (value->null)
		return sqlite3_bind_null(stmt, i);
	switch (value->type) {
	case DB_TEXT:
		return sqlite3_bind_text64(stmt, i, p, value->bytes.n, SQLITE_STATIC, SQLITE_UTF8);
	case DB_BLOB:
		return sqlite3_bind_blob64(stmt, i, p, value->bytes.n, SQLITE_STATIC);
	case DB_I64:
		return sqlite3_bind_int64(stmt, i, value->i64);
	case DB_DOUBLE:
		return sqlite3_bind_double(stmt, i, value->real);
	}
	return SQLITE_MISUSE;
}

enum status sqlite_copy_row(struct db_copy *base, const struct db_value *values, struct err *err)
{
	struct sqlite_copy *copy = (struct sqlite_copy *)base;
	int rc = SQLITE_OK;

	for (int i = 0; i < copy->n && rc == SQLITE_OK; i++)
		rc = bind(copy->stmt, i + 1, &values[i]);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(copy->stmt);
	enum status status = rc == SQLITE_DONE ? STATUS_OK : sqlite_fail(copy->db->handle, rc, "take a row", err);
	sqlite3_reset(copy->stmt);
	return status;
}

enum status sqlite_copy_end(struct db_copy *base, struct err *err)
{
	(void)err;
	sqlite_copy_cancel(base);
	return STATUS_OK;
}

void sqlite_copy_cancel(struct db_copy *base)
{
	struct sqlite_copy *copy = (struct sqlite_copy *)base;

	sqlite3_finalize(copy->stmt);
	free(copy);
}
