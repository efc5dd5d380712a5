/* Table predictions, filled with many old rows at once (move). On PostgreSQL a week that is not there yet is loaded as
 * a table of its own without indexes, gets them, and is attached: in all about two thirds of the work of rows that go
 * into indexes one by one. */
#include "store/predictions.h"

#include "base/clock.h"
#include "store/predictions_weeks.h"

#include <stdio.h>

/* Weeks outside of these are not worth a table each: identifiers that hold no time lie anywhere. */
static const int64_t WEEK_FIRST = 2609; /* January 2020 */

/* The time in a UUIDv7's lower-case text; false for what sorts otherwise. */
static bool parse_bound(struct str id, int64_t *ms)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t value = 0;

	if (id.n < 13 || id.p[8] != '-')
		return false;
	for (size_t i = 0; i < 13; i++) {
		const char *digit = i == 8 ? digits : memchr(digits, id.p[i], sizeof(digits) - 1);
		if (!digit)
			return false;
		if (i != 8)
			value = value << 4 | (uint64_t)(digit - digits);
	}
	*ms = (int64_t)value;
	return true;
}

static enum status has_week(struct db *db, const char *name, bool *has, struct err *err)
{
	static const char sql[] = "SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass($1)"
				  " AND inhparent = 'predictions'::regclass";
	struct stmt *stmt;

	*has = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(name));
	status = db_step(stmt, has, err);
	db_reset(stmt);
	return status;
}

enum status predictions_load_begin(struct db *db, struct str id, char table[static 40], char until[static 40],
				   struct err *err)
{
	char week_name[40], sql[256];
	int64_t ms, newest = clock_wall_us() / 1000 / PREDICTIONS_WEEK_MS + PREDICTIONS_WEEKS_AHEAD;
	bool has;

	snprintf(table, 40, "predictions");
	until[0] = '\0';
	if (db_dialect(db) != DB_DIALECT_POSTGRESQL || !parse_bound(id, &ms))
		return STATUS_OK;
	int64_t week = ms / PREDICTIONS_WEEK_MS;
	if (week > newest)
		return STATUS_OK;
	predictions_format_bound((week < WEEK_FIRST ? WEEK_FIRST : week + 1) * PREDICTIONS_WEEK_MS, until);
	if (week < WEEK_FIRST)
		return STATUS_OK;
	predictions_format_week(week, week_name);
	enum status status = has_week(db, week_name, &has, err);
	if (status != STATUS_OK || has) {
		snprintf(table, 40, "%s", week_name);
		return status;
	}
	snprintf(table, 40, "predictions_load_w%lld", (long long)week);
	status = db_has_table(db, table, &has, err);
	if (status != STATUS_OK || has)
		return status;
	snprintf(sql, sizeof(sql),
		 "CREATE TABLE %s (LIKE predictions INCLUDING DEFAULTS) WITH (autovacuum_enabled = off)", table);
	return db_script(db, sql, err);
}

enum status predictions_load_drop(struct db *db, struct err *err)
{
	static const char sql[] =
		"DO $$ DECLARE t text; BEGIN FOR t IN SELECT oid::regclass FROM pg_class WHERE relkind = 'r'"
		" AND relname ~ '^predictions_load_w[0-9]+$' AND pg_table_is_visible(oid)"
		" LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$";

	return db_dialect(db) == DB_DIALECT_POSTGRESQL ? db_script(db, sql, err) : STATUS_OK;
}

/* The week of a table that was loaded; 0: none. */
static enum status find_loaded(struct db *db, long long *week, struct err *err)
{
	static const char sql[] = "SELECT substr(relname, 19)::bigint AS week FROM pg_class WHERE relkind = 'r'"
				  " AND relname ~ '^predictions_load_w[0-9]+$' AND pg_table_is_visible(oid)"
				  " ORDER BY week LIMIT 1";
	struct stmt *stmt;
	bool row;

	*week = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*week = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

/* What predictions has and a loaded table has not. They are sorts, so each takes one processor. */
enum status predictions_load_indexes(struct db *db, char (*sql)[PREDICTIONS_INDEX_BYTES], int max, int *n,
				     struct err *err)
{
	static const char list[] =
		"WITH wanted AS (SELECT indisprimary, substring(pg_get_indexdef(indexrelid) FROM ' USING (.*)$') AS def"
		" FROM pg_index WHERE indrelid = 'predictions'::regclass)"
		" SELECT format('SET LOCAL maintenance_work_mem = ''256MB'';"
		" SET LOCAL max_parallel_maintenance_workers = 0;"
		" CREATE %s ON %s USING %s', CASE WHEN indisprimary THEN 'UNIQUE INDEX ' || relname || '_key'"
		" ELSE 'INDEX' END, relname, def) FROM wanted CROSS JOIN pg_class c"
		" WHERE relkind = 'r' AND relname ~ '^predictions_load_w[0-9]+$' AND pg_table_is_visible(c.oid)"
		" AND NOT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid"
		" AND substring(pg_get_indexdef(indexrelid) FROM ' USING (.*)$') = def)"
		" ORDER BY relname, length(def) DESC LIMIT $1";
	struct stmt *stmt;
	bool row;

	*n = 0;
	if (db_dialect(db) != DB_DIALECT_POSTGRESQL)
		return STATUS_OK;
	enum status status = db_prepare(db, list, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, max);
	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row && *n < max)
		snprintf(sql[(*n)++], PREDICTIONS_INDEX_BYTES, "%.*s", STR_ARG(db_column_text(stmt, 0)));
	db_reset(stmt);
	return status;
}

/* Attaching takes the indexes over, or makes those that are missing. A service that was started here meanwhile may have
 * made the week: then the rows go there. */
enum status predictions_load_end(struct db *db, bool *more, struct err *err)
{
	char name[40], from[16], until[16], sql[1024];
	long long week = 0;
	bool has;

	*more = false;
	if (db_dialect(db) != DB_DIALECT_POSTGRESQL)
		return STATUS_OK;
	enum status status = db_lock(db, PREDICTIONS_LOCK_KEY, err);
	if (status == STATUS_OK)
		status = find_loaded(db, &week, err);
	if (status != STATUS_OK || week == 0)
		return status;
	*more = true;
	predictions_format_week(week, name);
	predictions_format_bound(week * PREDICTIONS_WEEK_MS, from);
	predictions_format_bound((week + 1) * PREDICTIONS_WEEK_MS, until);
	status = has_week(db, name, &has, err);
	if (status != STATUS_OK)
		return status;
	if (has)
		snprintf(sql, sizeof(sql),
			 "INSERT INTO predictions SELECT * FROM predictions_load_w%lld ON CONFLICT (id) DO NOTHING;"
			 "DROP TABLE predictions_load_w%lld;",
			 week, week);
	else
		snprintf(sql, sizeof(sql),
			 PREDICTIONS_LOCK_ALL
			 "ALTER TABLE predictions_load_w%lld RENAME TO %s;"
			 "ALTER TABLE %s ADD CONSTRAINT %s_pkey PRIMARY KEY USING INDEX predictions_load_w%lld_key;"
			 "WITH moved AS (DELETE FROM predictions_rest WHERE id >= '%s' AND id < '%s' RETURNING *)"
			 " INSERT INTO %s SELECT * FROM moved;"
			 "ALTER TABLE %s RESET (autovacuum_enabled);"
			 "ALTER TABLE predictions ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s');"
			 "ANALYZE %s;",
			 week, name, name, name, week, from, until, name, name, name, from, until, name);
	return db_script(db, sql, err);
}
