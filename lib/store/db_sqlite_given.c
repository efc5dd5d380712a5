/* Rows that a statement reads like a table: INSERT … SELECT c0, c1 FROM given_rows. One statement takes a whole batch,
 * so that what each statement costs (cursors, its place in the table and in each index) is paid once. */
#include "store/db_sqlite_impl.h"

#include <stdlib.h>

enum { COLUMNS = 16 };

struct given_table {
	sqlite3_vtab base;
	struct sqlite_given *given;
};

struct given_cursor {
	sqlite3_vtab_cursor base;
	const struct sqlite_given *given;
	size_t at;
};

static int given_connect(sqlite3 *handle, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **why)
{
	struct given_table *table = sqlite3_malloc(sizeof(*table));

	(void)argc;
	(void)argv;
	(void)why;
	if (!table)
		return SQLITE_NOMEM;
	*table = (struct given_table){.given = aux};
	*out = &table->base;
	return sqlite3_declare_vtab(handle, "CREATE TABLE given_rows (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11,"
					    " c12, c13, c14, c15)");
}

static int given_disconnect(sqlite3_vtab *table)
{
	sqlite3_free(table);
	return SQLITE_OK;
}

static int given_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
	(void)table;
	info->estimatedCost = 1000;
	info->estimatedRows = 1000;
	return SQLITE_OK;
}

static int given_open(sqlite3_vtab *table, sqlite3_vtab_cursor **out)
{
	struct given_cursor *cursor = sqlite3_malloc(sizeof(*cursor));

	if (!cursor)
		return SQLITE_NOMEM;
	*cursor = (struct given_cursor){.given = ((struct given_table *)table)->given};
	*out = &cursor->base;
	return SQLITE_OK;
}

static int given_close(sqlite3_vtab_cursor *cursor)
{
	sqlite3_free(cursor);
	return SQLITE_OK;
}

static int given_filter(sqlite3_vtab_cursor *base, int number, const char *name, int argc, sqlite3_value **argv)
{
	(void)number;
	(void)name;
	(void)argc;
	(void)argv;
	((struct given_cursor *)base)->at = 0;
	return SQLITE_OK;
}

static int given_next(sqlite3_vtab_cursor *base)
{
	((struct given_cursor *)base)->at++;
	return SQLITE_OK;
}

static int given_eof(sqlite3_vtab_cursor *base)
{
	const struct given_cursor *cursor = (const struct given_cursor *)base;

	return cursor->at >= cursor->given->rows;
}

static int given_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int c)
{
	const struct given_cursor *cursor = (const struct given_cursor *)base;
	const struct sqlite_given *given = cursor->given;

	if (c >= given->columns)
		return SQLITE_OK; /* NULL */
	const struct db_value *value = &given->values[cursor->at * (size_t)given->columns + (size_t)c];
	const char *p = value->bytes.n ? value->bytes.p : "";
	if (value->null)
		return SQLITE_OK;
	switch (value->type) {
	case DB_TEXT:
		sqlite3_result_text64(context, p, value->bytes.n, SQLITE_STATIC, SQLITE_UTF8);
		break;
	case DB_BLOB:
		sqlite3_result_blob64(context, p, value->bytes.n, SQLITE_STATIC);
		break;
	case DB_I64:
		sqlite3_result_int64(context, value->i64);
		break;
	case DB_DOUBLE:
		sqlite3_result_double(context, value->real);
		break;
	}
	return SQLITE_OK;
}

static int given_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid)
{
	*rowid = (sqlite3_int64)((struct given_cursor *)base)->at;
	return SQLITE_OK;
}

/* Without xCreate it is there by its name, and nobody can make another one. */
static const sqlite3_module MODULE = {
	.xConnect = given_connect,
	.xBestIndex = given_best_index,
	.xDisconnect = given_disconnect,
	.xOpen = given_open,
	.xClose = given_close,
	.xFilter = given_filter,
	.xNext = given_next,
	.xEof = given_eof,
	.xColumn = given_column,
	.xRowid = given_rowid,
};

enum status sqlite_add_given(struct sqlite_db *db, struct err *err)
{
	int rc = sqlite3_create_module(db->handle, "given_rows", &MODULE, &db->given);

	return rc == SQLITE_OK ? STATUS_OK : sqlite_fail(db->handle, rc, "be opened", err);
}

enum status sqlite_run_given(struct db *base, const char *sql, const struct db_value *values, size_t rows, int columns,
			     int64_t *changed, struct err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;
	struct stmt *stmt;

	*changed = 0;
	if (columns > COLUMNS)
		return err_set(err, STATUS_INTERNAL, "a statement is given %d columns", columns);
	enum status status = db_prepare(base, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db->given = (struct sqlite_given){.values = values, .rows = rows, .columns = columns};
	status = db_run(stmt, changed, err);
	db->given = (struct sqlite_given){0};
	return status;
}
