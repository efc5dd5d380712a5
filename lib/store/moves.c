/* Table moves. */
#include "store/moves.h"

#include <stdio.h>
#include <stdlib.h>

static void copy_text(struct str text, char *out, size_t size)
{
	snprintf(out, size, "%.*s", STR_ARG(text));
}

enum status moves_get(struct db *db, const char *part, char id[static MOVES_ID_BYTES], struct err *err)
{
	static const char sql[] = "SELECT hash FROM moves WHERE part = $1";
	struct stmt *stmt;
	bool row;

	id[0] = '\0';
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(part));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		copy_text(db_column_text(stmt, 0), id, MOVES_ID_BYTES);
	db_reset(stmt);
	return status;
}

enum status moves_set(struct db *db, const char *part, const char *id, struct err *err)
{
	static const char sql[] = "INSERT INTO moves (part, last_key, hash) VALUES ($1, '', $2)"
				  " ON CONFLICT (part, last_key) DO UPDATE SET hash = excluded.hash";

	return db_run_once(db, sql, DB_VALUES(db_text(str_of(part)), db_text(str_of(id))), NULL, err);
}

enum status moves_guard(struct db *db, const char *id, struct err *err)
{
	static const char sql[] = "UPDATE moves SET verified = 1 WHERE part = 'run' AND hash = $1";
	int64_t changed;

	enum status status = db_run_once(db, sql, DB_VALUES(db_text(str_of(id))), &changed, err);
	if (status == STATUS_OK && changed != 1)
		status = err_set(err, STATUS_CONFLICT, "another move to the same database was started after this one");
	return status;
}

enum status moves_put(struct db *db, const char *part, const struct moves_range *range, struct err *err)
{
	static const char sql[] =
		"INSERT INTO moves (part, last_key, first_key, row_count, hash, checked_us, verified)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (part, last_key) DO UPDATE SET"
		" first_key = excluded.first_key, row_count = excluded.row_count, hash = excluded.hash,"
		" checked_us = excluded.checked_us, verified = excluded.verified";
	char hash[TABLE_HASH_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tables_format_hash(&range->sum, hash);
	db_bind_text(stmt, 1, str_of(part));
	db_bind_text(stmt, 2, str_of(range->last));
	db_bind_text(stmt, 3, str_of(range->first));
	db_bind_i64(stmt, 4, range->sum.rows);
	db_bind_text(stmt, 5, str_of(hash));
	db_bind_i64(stmt, 6, range->checked_us);
	db_bind_i64(stmt, 7, range->verified);
	return db_run(stmt, NULL, err);
}

enum status moves_remove(struct db *db, const char *part, const char *last, struct err *err)
{
	static const char sql[] = "DELETE FROM moves WHERE part = $1 AND last_key = $2";

	return db_run_once(db, sql, DB_VALUES(db_text(str_of(part)), db_text(str_of(last))), NULL, err);
}

static bool read_row(struct stmt *stmt, struct moves_range *range)
{
	copy_text(db_column_text(stmt, 0), range->last, sizeof(range->last));
	copy_text(db_column_text(stmt, 1), range->first, sizeof(range->first));
	range->sum.rows = db_column_i64(stmt, 2);
	range->checked_us = db_column_i64(stmt, 4);
	range->verified = db_column_i64(stmt, 5) != 0;
	return tables_parse_hash(db_column_text(stmt, 3), &range->sum);
}

static enum status read_rows(struct stmt *stmt, struct moves_range **out, size_t *n, struct err *err)
{
	enum status status;
	size_t cap = 0;
	bool row;

	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row) {
		if (*n == cap) {
			cap = cap ? 2 * cap : 256;
			struct moves_range *more = realloc(*out, cap * sizeof(*more));
			if (!more)
				return err_set(err, STATUS_NO_MEMORY, "no memory for the list of ranges");
			*out = more;
		}
		if (!read_row(stmt, &(*out)[*n]))
			return err_set(err, STATUS_INTERNAL, "table moves holds what no move has written");
		++*n;
	}
	return status;
}

enum status moves_list(struct db *db, const char *part, struct moves_range **out, size_t *n, struct err *err)
{
	static const char sql[] = "SELECT last_key, first_key, row_count, hash, checked_us, verified FROM moves"
				  " WHERE part = $1 ORDER BY last_key";
	struct stmt *stmt;

	*out = NULL;
	*n = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(part));
	status = read_rows(stmt, out, n, err);
	db_reset(stmt);
	if (status != STATUS_OK) {
		free(*out);
		*out = NULL;
		*n = 0;
	}
	return status;
}
