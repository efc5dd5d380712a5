/* All tables that hold a service's data, and their columns: for what treats every table alike (move). A table or a
 * column that a migration adds belongs here too; the unit test compares with the schema. Rows are values in the order
 * of the columns; a table's sum tells whether two databases hold the same rows, whatever their order and engine. */
#ifndef APPCORE_STORE_TABLES_H
#define APPCORE_STORE_TABLES_H

#include "store/db.h"

enum { TABLES_COLUMNS_MAX = 24 };

struct table_column {
	const char *name;
	enum db_type type;
};

struct table {
	const char *name;
	bool grows;    /* rows come at the end of the key (a text), go at its beginning and don't change */
	bool in_weeks; /* on PostgreSQL it is cut into weeks: rows are put into those of predictions_load_begin */
	int n;
	struct table_column columns[TABLES_COLUMNS_MAX]; /* the key first */
};

extern const struct table TABLES[];
extern const int TABLES_N;

/* Rows, and the sum modulo 2^128 of their hashes: ranges and orders add up. */
struct table_sum {
	int64_t rows;
	uint64_t high, low;
};

enum { TABLE_HASH_BYTES = 33 };

/* Reads the current row of a statement that selects all columns. Text and blobs are borrowed until the next step. */
void tables_read(const struct table *table, struct stmt *stmt, struct db_value *values) __attribute__((nonnull));

/* Adds a row. The hash is SipHash of 128 bits over types, lengths and bytes: against accidents, not against forgery. */
enum status tables_add(struct table_sum *sum, const struct table *table, const struct db_value *values, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

void tables_add_sum(struct table_sum *sum, const struct table_sum *more) __attribute__((nonnull));
bool tables_equal(const struct table_sum *a, const struct table_sum *b) __attribute__((nonnull));

/* 32 hex digits, and back. */
void tables_format_hash(const struct table_sum *sum, char out[static TABLE_HASH_BYTES]) __attribute__((nonnull));
bool tables_parse_hash(struct str text, struct table_sum *sum) __attribute__((nonnull, warn_unused_result));

/* "id, features, …" */
void tables_list_columns(const struct table *table, char *out, size_t size) __attribute__((nonnull));

#endif
