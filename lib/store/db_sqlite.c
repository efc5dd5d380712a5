/* SQLite behind the seam: the engine and its statements.
 *
 * The database is in WAL mode with synchronous=FULL: a commit that returned is on the disk. Writers of all processes
 * take turns on a lock file before they ask SQLite (db_sqlite_turn.c), so SQLite's own busy handler, which sleeps and
 * is unfair, only ever meets other programs, and is kept short. Checkpoints happen in a turn, or beside writers while
 * a reader keeps the log from being begun anew (db_sqlite_aside.c), and nowhere else: not automatically, not when a
 * connection closes. That also closes the WAL-reset race of SQLite 3.7.0 to 3.51.2, which needs one connection's
 * checkpoint beside a write that begins the log anew (https://sqlite.org/wal.html).
 *
 * Connections are used by one thread at a time, hence NOMUTEX. Nothing here opens and closes the database's own files
 * beside SQLite: closing any descriptor of a file drops all POSIX locks this process has on it
 * (https://sqlite.org/howtocorrupt.html, section 2.2). */
#include "store/db_sqlite_impl.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

struct sqlite_stmt {
	struct stmt base;
	struct sqlite_db *db;
	sqlite3_stmt *handle;
	int bind_rc;     /* the first binding that failed; told by the next step */
	uint64_t end_ms; /* it may run no longer; 0: as long as it likes */
};

enum { STEPS_PER_LOOK = 2000 }; /* of SQLite's machine: some 50 us */

static struct sqlite_db *of_db(struct db *db)
{
	return (struct sqlite_db *)db;
}

static struct sqlite_stmt *of_stmt(struct stmt *stmt)
{
	return (struct sqlite_stmt *)stmt;
}

static enum status status_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return STATUS_OK;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL: /* the log's locks could not be had in many tries */
	case SQLITE_INTERRUPT:
		return STATUS_BUSY;
	case SQLITE_CONSTRAINT:
		return STATUS_CONFLICT;
	case SQLITE_FULL:
	case SQLITE_READONLY:
	case SQLITE_IOERR:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return STATUS_UNAVAILABLE;
	case SQLITE_NOMEM:
		return STATUS_NO_MEMORY;
	case SQLITE_TOOBIG:
		return STATUS_TOO_LARGE;
	default:
		return STATUS_INTERNAL;
	}
}

enum status sqlite_fail(sqlite3 *handle, int rc, const char *doing, struct err *err)
{
	const char *why = handle ? sqlite3_errmsg(handle) : sqlite3_errstr(rc);

	return err_set(err, status_of(rc), "the database could not %s: %s (%d)", doing, why, rc);
}

/* --- statements --- */

static enum status prepare(struct db *base, const char *sql, unsigned flags, struct stmt **out, struct err *err)
{
	struct sqlite_db *db = of_db(base);
	struct sqlite_stmt *stmt = calloc(1, sizeof(*stmt));

	if (!stmt)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a statement");
	int rc = sqlite3_prepare_v3(db->handle, sql, -1, flags, &stmt->handle, NULL);
	if (rc != SQLITE_OK) {
		free(stmt);
		return sqlite_fail(db->handle, rc, "prepare a statement", err);
	}
	stmt->db = db;
	*out = &stmt->base;
	return STATUS_OK;
}

static enum status stmt_new(struct db *base, const char *sql, struct stmt **out, struct err *err)
{
	return prepare(base, sql, SQLITE_PREPARE_PERSISTENT, out, err);
}

static int is_over(void *arg)
{
	return clock_mono_ms() >= ((const struct sqlite_stmt *)arg)->end_ms;
}

static enum status stmt_new_once(struct db *base, const char *sql, int within_ms, struct stmt **out, struct err *err)
{
	enum status status = prepare(base, sql, 0, out, err);

	if (status != STATUS_OK || within_ms <= 0)
		return status;
	struct sqlite_stmt *stmt = of_stmt(*out);
	stmt->end_ms = clock_mono_ms() + (uint64_t)within_ms;
	sqlite3_progress_handler(stmt->db->handle, STEPS_PER_LOOK, is_over, stmt);
	return STATUS_OK;
}

static void stmt_free(struct stmt *base)
{
	struct sqlite_stmt *stmt = of_stmt(base);

	if (stmt->end_ms > 0)
		sqlite3_progress_handler(stmt->db->handle, 0, NULL, NULL);
	sqlite3_finalize(stmt->handle);
	free(stmt);
}

static void stmt_clear(struct stmt *base)
{
	struct sqlite_stmt *stmt = of_stmt(base);

	sqlite3_reset(stmt->handle);
	sqlite3_clear_bindings(stmt->handle);
	stmt->bind_rc = SQLITE_OK;
}

static void note_bind(struct sqlite_stmt *stmt, int rc)
{
	if (stmt->bind_rc == SQLITE_OK)
		stmt->bind_rc = rc;
}

/* An empty view binds an empty text; SQLite takes a NULL pointer for NULL. */
static void bind_text(struct stmt *base, int i, struct str text)
{
	struct sqlite_stmt *stmt = of_stmt(base);

	note_bind(stmt,
		  sqlite3_bind_text64(stmt->handle, i, text.n ? text.p : "", text.n, SQLITE_TRANSIENT, SQLITE_UTF8));
}

static void bind_blob(struct stmt *base, int i, const void *p, size_t n)
{
	struct sqlite_stmt *stmt = of_stmt(base);

	note_bind(stmt, sqlite3_bind_blob64(stmt->handle, i, n ? p : "", n, SQLITE_TRANSIENT));
}

static void bind_i64(struct stmt *base, int i, int64_t value)
{
	note_bind(of_stmt(base), sqlite3_bind_int64(of_stmt(base)->handle, i, value));
}

static void bind_double(struct stmt *base, int i, double value)
{
	note_bind(of_stmt(base), sqlite3_bind_double(of_stmt(base)->handle, i, value));
}

static void bind_null(struct stmt *base, int i)
{
	note_bind(of_stmt(base), sqlite3_bind_null(of_stmt(base)->handle, i));
}

static enum status stmt_step(struct stmt *base, bool *row, struct err *err)
{
	struct sqlite_stmt *stmt = of_stmt(base);
	int rc = stmt->bind_rc;

	*row = false;
	if (rc != SQLITE_OK)
		return err_set(err, status_of(rc), "a value could not be bound: %s (%d)", sqlite3_errstr(rc), rc);
	rc = sqlite3_step(stmt->handle);
	*row = rc == SQLITE_ROW;
	if (rc == SQLITE_ROW || rc == SQLITE_DONE)
		return STATUS_OK;
	if ((rc & 0xff) == SQLITE_INTERRUPT && stmt->end_ms > 0)
		return err_set(err, STATUS_LIMITED, "the query took too long");
	return sqlite_fail(stmt->db->handle, rc, "run a statement", err);
}

static void stmt_reset(struct stmt *base)
{
	sqlite3_reset(of_stmt(base)->handle);
}

static int64_t stmt_changed(struct stmt *base)
{
	return sqlite3_changes64(of_stmt(base)->db->handle);
}

static struct str column_text(struct stmt *base, int c)
{
	sqlite3_stmt *handle = of_stmt(base)->handle;
	const char *p = (const char *)sqlite3_column_text(handle, c);

	return (struct str){p, p ? (size_t)sqlite3_column_bytes(handle, c) : 0};
}

static struct str column_blob(struct stmt *base, int c)
{
	sqlite3_stmt *handle = of_stmt(base)->handle;
	const char *p = sqlite3_column_blob(handle, c);

	return (struct str){p, p ? (size_t)sqlite3_column_bytes(handle, c) : 0};
}

static int64_t column_i64(struct stmt *base, int c)
{
	return sqlite3_column_int64(of_stmt(base)->handle, c);
}

static double column_double(struct stmt *base, int c)
{
	return sqlite3_column_double(of_stmt(base)->handle, c);
}

static bool column_is_null(struct stmt *base, int c)
{
	return sqlite3_column_type(of_stmt(base)->handle, c) == SQLITE_NULL;
}

enum status sqlite_script(struct db *base, const char *sql, struct err *err)
{
	sqlite3 *handle = of_db(base)->handle;
	int rc = sqlite3_exec(handle, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? STATUS_OK : sqlite_fail(handle, rc, "run a script", err);
}

static enum status has_table(struct db *base, const char *name, bool *has, struct err *err)
{
	struct stmt *stmt;

	*has = false;
	enum status status = db_prepare(base, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1", &stmt,
					err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(name));
	status = db_step(stmt, has, err);
	db_reset(stmt);
	return status;
}

static void info(struct db *base, struct db_info *out)
{
	struct sqlite_db *db = of_db(base);
	struct stat file, log;

	sqlite_path_stat(db->path, "", &file);
	sqlite_path_stat(db->path, "-wal", &log);
	out->database_bytes = file.st_size;
	out->log_bytes = log.st_size;
	snprintf(out->engine, sizeof(out->engine), "SQLite %s", sqlite3_libversion());
	snprintf(out->location, sizeof(out->location), "%.*s", (int)sizeof(out->location) - 1, db->path);
}

static enum status ping(struct db *base, struct err *err)
{
	struct stmt *stmt;

	enum status status = db_prepare(base, "SELECT count(*) FROM sqlite_schema", &stmt, err);
	if (status == STATUS_OK)
		status = db_run(stmt, NULL, err);
	return status == STATUS_OK ? sqlite_check_files(of_db(base), err) : status;
}

/* A write transaction is the only one there is. */
static enum status lock(struct db *base, int64_t key, struct err *err)
{
	(void)base;
	(void)key;
	(void)err;
	return STATUS_OK;
}

const struct db_engine DB_SQLITE = {
	.scheme = "sqlite:",
	.dialect = DB_DIALECT_SQLITE,
	.check_url = sqlite_check_url,
	.lock = lock,
	.open = sqlite_open,
	.close = sqlite_close,
	.restore = sqlite_restore,
	.stmt_new = stmt_new,
	.stmt_free = stmt_free,
	.stmt_new_once = stmt_new_once,
	.clear = stmt_clear,
	.bind_text = bind_text,
	.bind_blob = bind_blob,
	.bind_i64 = bind_i64,
	.bind_double = bind_double,
	.bind_null = bind_null,
	.step = stmt_step,
	.reset = stmt_reset,
	.changed = stmt_changed,
	.column_text = column_text,
	.column_blob = column_blob,
	.column_i64 = column_i64,
	.column_double = column_double,
	.column_is_null = column_is_null,
	.script = sqlite_script,
	.copy_begin = sqlite_copy_begin,
	.copy_row = sqlite_copy_row,
	.copy_end = sqlite_copy_end,
	.copy_cancel = sqlite_copy_cancel,
	.run_given = sqlite_run_given,
	.turn_is_wanted = sqlite_turn_is_wanted,
	.turn_let_others = sqlite_turn_let_others,
	.turn_take = sqlite_turn_take,
	.turn_give = sqlite_turn_give,
	.turn_holder = sqlite_turn_holder,
	.begin = sqlite_begin,
	.begin_unsynced = sqlite_begin_unsynced,
	.settle = sqlite_settle,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.in_transaction = sqlite_in_transaction,
	.part_begin = sqlite_part_begin,
	.part_keep = sqlite_part_keep,
	.part_undo = sqlite_part_undo,
	.changes = sqlite_changes,
	.begin_read = sqlite_begin_read,
	.end_read = sqlite_rollback,
	.has_table = has_table,
	.checkpoint = sqlite_checkpoint,
	.checkpoint_aside = sqlite_checkpoint_aside,
	.info = info,
	.ping = ping,
	.backup = sqlite_backup,
	.integrity = sqlite_integrity,
};
