/* What the files that ask for records share: SQL that is put together for one query. What a client says is bound; names
 * of fields, which indexes on expressions want in the text, are checked and quoted. Nobody else includes this. */
#ifndef APPCORE_STORE_RECORDS_IMPL_H
#define APPCORE_STORE_RECORDS_IMPL_H

#include "base/buf.h"
#include "store/records.h"

enum { RECORDS_VALUES = 16, RECORDS_INDEX_BYTES = 64 };

struct records_sql {
	enum db_dialect dialect;
	struct buf text;  /* heap */
	struct buf words; /* what is searched for, as the engine reads it; heap */
	struct record_value values[RECORDS_VALUES];
	int n;
};

void records_sql_init(struct records_sql *sql, const struct db *db) __attribute__((nonnull));
void records_sql_release(struct records_sql *sql) __attribute__((nonnull));

/* "$3" for a value that is bound later. */
void records_put_value(struct records_sql *sql, struct record_value value) __attribute__((nonnull));

/* What stands in a field, as an expression; on PostgreSQL, whose types are strict, as a number or as a text. */
void records_put_field(struct records_sql *sql, struct str field, bool is_number) __attribute__((nonnull));

/* " WHERE …" with everything that chooses records, and no order. */
void records_put_where(struct records_sql *sql, const struct record_query *query) __attribute__((nonnull));
/* Appends the condition, " AND …". */
void records_put_filter(struct records_sql *sql, const struct record_filter *filter) __attribute__((nonnull));

/* "data_records", or with what is searched for; `index` (may be empty) is the one to use. */
void records_put_from(struct records_sql *sql, const struct record_query *query, const char *index)
	__attribute__((nonnull));

/* Checks names and values. */
enum status records_check_query(const struct record_query *query, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* The statement with its values bound; caller ends with db_finish. */
enum status records_prepare(struct db *db, struct records_sql *sql, int within_ms, struct stmt **out, struct err *err)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));

/* Says what would have helped a query that took too long; other errors stay as they are. */
enum status records_explain(const struct record_query *query, enum status status, struct err *err)
	__attribute__((nonnull(1)));

/* The value that the statement has in column c, with typeof() behind it on SQLite. */
struct record_value records_read_value(struct stmt *stmt, enum db_dialect dialect, int c, bool is_number)
	__attribute__((nonnull));

/* Of a field; column of a table or not. */
bool records_is_column(struct str field);

/* --- records_index.c --- */

/* The index that a query should use on SQLite, which keeps no statistics; empty: none, or PostgreSQL, which knows
 * better. */
enum status records_choose_index(struct db *db, const struct record_query *query, char index[RECORDS_INDEX_BYTES],
				 struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

#endif
