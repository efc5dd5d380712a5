/* PostgreSQL behind db.h: opening, transactions, and the table of functions. */
#include "store/db_pg_impl.h"

#include <stdio.h>
#include <stdlib.h>

static struct pg_db *db_of(struct db *base)
{
	return (struct pg_db *)base;
}

/* --- opening --- */

static enum status open_db(struct db **out, struct str url, enum db_mode mode, struct err *err)
{
	*out = NULL;
	enum status status = pg_check_url(url, err);
	if (status != STATUS_OK)
		return status;
	struct pg_db *db = calloc(1, sizeof(*db));
	char *copy = strndup(url.p, url.n);
	if (!db || !copy) {
		free(db);
		free(copy);
		return err_set(err, STATUS_NO_MEMORY, "no memory for a connection to PostgreSQL");
	}
	db->base.engine = &DB_PG;
	db->url = copy;
	db->mode = mode;
	db->statement_ms = PG_STATEMENT_MS;
	status = pg_connect(db, err);
	if (status != STATUS_OK) {
		free(copy);
		free(db);
		return status;
	}
	*out = &db->base;
	return STATUS_OK;
}

static void close_db(struct db *base)
{
	struct pg_db *db = db_of(base);

	pg_disconnect(db);
	pg_pipeline_free(db);
	free(db->url);
	free(db);
}

/* --- transactions --- */

/* Scripts have several statements, which pipeline mode does not take; the transaction stays open meanwhile. */
static enum status script(struct db *base, const char *sql, struct err *err)
{
	struct pg_db *db = db_of(base);
	struct err ignored;

	if (!db->pipelined && !db->in_transaction) {
		enum status status = pg_connect(db, err);
		return status == STATUS_OK ? pg_simple(db, sql, -1, err) : status;
	}
	return pg_pipeline_script(db, sql, err ? err : &ignored);
}

static enum status turn_take(struct db *base, int wait_ms, struct err *err)
{
	(void)base;
	(void)wait_ms;
	(void)err;
	return STATUS_OK;
}

static void turn_give(struct db *base)
{
	(void)base;
}

static bool turn_is_wanted(struct db *base)
{
	(void)base;
	return false;
}

static int turn_holder(struct db *base)
{
	(void)base;
	return 0;
}

static enum status begin(struct db *base, struct err *err)
{
	return pg_pipeline_begin(db_of(base), err);
}

static enum status commit(struct db *base, struct err *err)
{
	return pg_pipeline_commit(db_of(base), err);
}

static void rollback(struct db *base)
{
	pg_pipeline_rollback(db_of(base));
}

static bool in_transaction(struct db *base)
{
	return db_of(base)->in_transaction && !db_of(base)->lost;
}

static enum status part_begin(struct db *base, struct err *err)
{
	return pg_pipeline_simple(db_of(base), "SAVEPOINT part", err);
}

static enum status part_keep(struct db *base, struct err *err)
{
	return pg_pipeline_simple(db_of(base), "RELEASE SAVEPOINT part", err);
}

static enum status part_undo(struct db *base, struct err *err)
{
	return pg_pipeline_undo(db_of(base), "ROLLBACK TO SAVEPOINT part", err);
}

static int64_t changes(struct db *base)
{
	struct pg_db *db = db_of(base);

	return db->current ? db->current->changes : db->changes;
}

static enum status begin_read(struct db *base, struct err *err)
{
	enum status status = pg_connect(db_of(base), err);

	return status == STATUS_OK
		       ? pg_simple(db_of(base), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", PG_STATEMENT_MS, err)
		       : status;
}

static void end_read(struct db *base)
{
	struct pg_db *db = db_of(base);

	if (db->conn && PQtransactionStatus(db->conn) != PQTRANS_IDLE)
		(void)!pg_simple(db, "ROLLBACK", PG_STATEMENT_MS, NULL);
}

static enum status lock(struct db *base, int64_t key, struct err *err)
{
	static const char sql[] = "SELECT 1 FROM pg_advisory_xact_lock($1)";
	struct stmt *stmt;

	enum status status = db_prepare(base, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, key);
	return db_run(stmt, NULL, err);
}

/* --- housekeeping --- */

static void wait_at_most(struct db *base, int ms)
{
	db_of(base)->statement_ms = ms;
}

static enum status has_table(struct db *base, const char *name, bool *has, struct err *err)
{
	static const char sql[] = "SELECT to_regclass($1) IS NOT NULL";
	struct stmt *stmt;
	bool row;

	*has = false;
	enum status status = db_prepare(base, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(name));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*has = db_column_i64(stmt, 0) != 0;
	db_reset(stmt);
	return status;
}

static enum status checkpoint(struct db *base, int pages, bool *checkpointed, struct err *err)
{
	(void)base;
	(void)pages;
	(void)err;
	if (checkpointed)
		*checkpointed = false;
	return STATUS_OK;
}

static void info(struct db *base, struct db_info *out)
{
	static const char sql[] = "SELECT pg_database_size(current_database()), current_setting('server_version')";
	struct pg_db *db = db_of(base);
	struct stmt *stmt;
	bool row;

	*out = (struct db_info){0};
	snprintf(out->engine, sizeof(out->engine), "PostgreSQL");
	if (!db->pipelined && db_prepare(base, sql, &stmt, NULL) == STATUS_OK) {
		if (db_step(stmt, &row, NULL) == STATUS_OK && row) {
			out->database_bytes = db_column_i64(stmt, 0);
			struct str version = db_column_text(stmt, 1);
			snprintf(out->engine, sizeof(out->engine), "PostgreSQL %.*s", STR_ARG(version));
			char *more = strstr(out->engine, " ("); /* "15.18 (Debian …)" */
			if (more)
				*more = '\0';
		}
		db_reset(stmt);
	}
	snprintf(out->location, sizeof(out->location), "%s", db->place);
}

static enum status ping(struct db *base, struct err *err)
{
	static const char sql[] = "SELECT 1";
	struct stmt *stmt;

	enum status status = db_prepare(base, sql, &stmt, err);
	return status == STATUS_OK ? db_run(stmt, NULL, err) : status;
}

/* Reads every row of every table of ours: what can't be read, or not be decompressed, is an error of the server's. */
static enum status integrity(struct db *base, struct err *err)
{
	static const char sql[] = "SELECT query_to_xml(format('SELECT sum(hashtext(t::text)::bigint) FROM %I.%I t', "
				  "schemaname, tablename),"
				  " true, true, '') IS NOT NULL FROM pg_tables WHERE schemaname = current_schema()";
	struct pg_db *db = db_of(base);
	enum status status = pg_connect(db, err);

	return status == STATUS_OK ? pg_simple(db, sql, -1, err) : status;
}

const struct db_engine DB_PG = {
	.scheme = "postgres",
	.dialect = DB_DIALECT_POSTGRESQL,
	.is_remote = true,
	.check_url = pg_check_url,
	.open = open_db,
	.close = close_db,
	.restore = pg_restore,
	.stmt_new = pg_stmt_new,
	.stmt_free = pg_stmt_free,
	.stmt_new_once = pg_stmt_new_once,
	.usable = pg_stmt_usable,
	.clear = pg_stmt_clear,
	.bind_text = pg_bind_text,
	.bind_blob = pg_bind_blob,
	.bind_i64 = pg_bind_i64,
	.bind_double = pg_bind_double,
	.bind_null = pg_bind_null,
	.step = pg_stmt_step,
	.reset = pg_stmt_reset,
	.changed = pg_stmt_changed,
	.column_text = pg_column_text,
	.column_blob = pg_column_blob,
	.column_i64 = pg_column_i64,
	.column_double = pg_column_double,
	.column_is_null = pg_column_is_null,
	.script = script,
	.lock = lock,
	.together = pg_together,
	.listen = pg_listen,
	.copy_begin = pg_copy_begin,
	.copy_row = pg_copy_row,
	.copy_end = pg_copy_end,
	.copy_cancel = pg_copy_cancel,
	.turn_is_wanted = turn_is_wanted,
	.turn_take = turn_take,
	.turn_give = turn_give,
	.turn_holder = turn_holder,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.in_transaction = in_transaction,
	.part_begin = part_begin,
	.part_keep = part_keep,
	.part_undo = part_undo,
	.changes = changes,
	.begin_read = begin_read,
	.end_read = end_read,
	.end_stalled = pg_end_stalled,
	.wait_at_most = wait_at_most,
	.has_table = has_table,
	.checkpoint = checkpoint,
	.info = info,
	.ping = ping,
	.backup = pg_backup,
	.integrity = integrity,
};
