/* SQLite behind the seam: connections, statements, transactions, the log.
 *
 * The database is in WAL mode with synchronous=FULL: a commit that returned is on the disk. Writers of all processes
 * take turns on a lock file before they ask SQLite (db_sqlite_path.c), so SQLite's own busy handler, which sleeps and
 * is unfair, only ever meets other programs, and is kept short. Checkpoints happen in a turn and nowhere else: not
 * automatically, not when a connection closes. That also closes the WAL-reset race of SQLite 3.7.0 to 3.51.2, which
 * needs one connection's checkpoint beside another's write (https://sqlite.org/wal.html).
 *
 * Connections are used by one thread at a time, hence NOMUTEX. Nothing here opens and closes the database's own files
 * beside SQLite: closing any descriptor of a file drops all POSIX locks this process has on it
 * (https://sqlite.org/howtocorrupt.html, section 2.2). */
#include "store/db_sqlite_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

struct sqlite_stmt {
	struct stmt base;
	struct sqlite_db *db;
	sqlite3_stmt *handle;
	int bind_rc; /* the first binding that failed; told by the next step */
};

enum {
	OLDEST_SQLITE = 3037000,
	BUSY_MS = 50,              /* for another program's lock */
	TRUNCATE_BUSY_MS = 10,     /* for readers, when the log is to be cut */
	TRUNCATE_PAGES = 16 * 1024 /* a log of 64 MiB */
};

/* Settings of a connection. query_only is added for DB_READ. */
static const char SETTINGS[] = "PRAGMA synchronous=FULL;"
			       "PRAGMA wal_autocheckpoint=0;"
			       "PRAGMA mmap_size=0;"
			       "PRAGMA temp_store=MEMORY;"
			       "PRAGMA cache_size=-2048;" /* KiB */
			       "PRAGMA cell_size_check=ON;";

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

static enum status stmt_new(struct db *base, const char *sql, struct stmt **out, struct err *err)
{
	struct sqlite_db *db = of_db(base);
	struct sqlite_stmt *stmt = calloc(1, sizeof(*stmt));

	if (!stmt)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a statement");
	int rc = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt->handle, NULL);
	if (rc != SQLITE_OK) {
		free(stmt);
		return sqlite_fail(db->handle, rc, "prepare a statement", err);
	}
	stmt->db = db;
	*out = &stmt->base;
	return STATUS_OK;
}

static void stmt_free(struct stmt *base)
{
	sqlite3_finalize(of_stmt(base)->handle);
	free(of_stmt(base));
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

static enum status script(struct db *base, const char *sql, struct err *err)
{
	sqlite3 *handle = of_db(base)->handle;
	int rc = sqlite3_exec(handle, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? STATUS_OK : sqlite_fail(handle, rc, "run a script", err);
}

/* --- transactions --- */

static enum status run(struct db *base, const char *sql, struct err *err)
{
	struct stmt *stmt;
	enum status status = db_prepare(base, sql, &stmt, err);

	return status == STATUS_OK ? db_run(stmt, NULL, err) : status;
}

static bool in_transaction(struct db *base)
{
	return !sqlite3_get_autocommit(of_db(base)->handle);
}

static void rollback(struct db *base)
{
	if (in_transaction(base)) {
		enum status ignored = run(base, "ROLLBACK", NULL);
		(void)ignored; /* what can't be rolled back is when the connection closes */
	}
}

/* What is written to a file that has lost its name is lost with the process: no commit may promise it. */
static enum status check_files(struct sqlite_db *db, struct err *err)
{
	struct stat file, log;

	sqlite_path_stat(db->path, "", &file);
	sqlite_path_stat(db->path, "-wal", &log);
	if (db->log.st_ino == 0)
		db->log = log;
	if (file.st_ino != db->file.st_ino || file.st_dev != db->file.st_dev || log.st_ino != db->log.st_ino)
		return err_set(err, STATUS_UNAVAILABLE,
			       "the database's files were removed or replaced while they are open");
	return STATUS_OK;
}

static enum status begin(struct db *base, struct err *err)
{
	enum status status = run(base, "BEGIN IMMEDIATE", err);

	/* Inside the transaction, when the log is surely open. */
	if (status == STATUS_OK && (status = check_files(of_db(base), err)) != STATUS_OK)
		rollback(base);
	return status;
}

/* A failed sync leaves it open whether the frames with the commit mark are on the disk: recovery after a crash may find
 * them. The mark is in the last frame that is written, so when a write failed (a full or read-only disk), surely
 * nothing was stored. */
static enum status commit(struct db *base, struct err *err)
{
	sqlite3 *handle = of_db(base)->handle;
	struct stmt *stmt;

	if (!in_transaction(base))
		return err_set(err, STATUS_UNAVAILABLE, "the transaction was rolled back by the database");
	enum status status = db_prepare(base, "COMMIT", &stmt, err);
	if (status == STATUS_OK)
		status = db_run(stmt, NULL, err);
	if (status != STATUS_OK) {
		int rc = sqlite3_extended_errcode(handle);
		if ((rc & 0xff) == SQLITE_IOERR && rc != SQLITE_IOERR_WRITE)
			status = err_set(err, STATUS_UNKNOWN_OUTCOME,
					 "the database could not commit, and may or may not have stored it: %s (%d)",
					 sqlite3_errmsg(handle), sqlite3_extended_errcode(handle));
		rollback(base);
	}
	return status;
}

static enum status part_begin(struct db *base, struct err *err)
{
	return run(base, "SAVEPOINT part", err);
}

static enum status part_keep(struct db *base, struct err *err)
{
	return run(base, "RELEASE part", err);
}

static enum status part_undo(struct db *base, struct err *err)
{
	if (!in_transaction(base))
		return err_set(err, STATUS_UNAVAILABLE, "the transaction was rolled back by the database");
	enum status status = run(base, "ROLLBACK TO part", err);
	return status == STATUS_OK ? run(base, "RELEASE part", err) : status;
}

static int64_t changes(struct db *base)
{
	return sqlite3_total_changes64(of_db(base)->handle);
}

static enum status begin_read(struct db *base, struct err *err)
{
	return run(base, "BEGIN", err);
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

/* --- the log --- */

/* Called by SQLite after each commit. A log that became shorter began anew. */
static int note_log(void *arg, sqlite3 *handle, const char *name, int pages)
{
	struct sqlite_db *db = arg;

	(void)handle;
	(void)name;
	if (pages < db->log_pages)
		db->checkpoint_at = 0;
	db->log_pages = pages;
	return SQLITE_OK;
}

/* A passive checkpoint copies what readers allow, and the next write begins the log anew when none of them is in it.
 * Where one is, another try waits until the log has grown as much again: a backup that reads for minutes must not cost
 * every commit a checkpoint. A log that grew long in that time is cut when the readers are gone. */
static enum status checkpoint(struct db *base, int pages, bool *checkpointed, struct err *err)
{
	struct sqlite_db *db = of_db(base);
	int frames = 0, copied = 0;

	if (checkpointed)
		*checkpointed = false;
	if (pages > 0 && db->log_pages >= 0 && (db->log_pages < pages || db->log_pages < db->checkpoint_at))
		return STATUS_OK;
	int rc = sqlite3_wal_checkpoint_v2(db->handle, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
	if (rc == SQLITE_OK && frames == copied && frames >= TRUNCATE_PAGES) {
		sqlite3_busy_timeout(db->handle, TRUNCATE_BUSY_MS);
		rc = sqlite3_wal_checkpoint_v2(db->handle, "main", SQLITE_CHECKPOINT_TRUNCATE, &frames, &copied);
		sqlite3_busy_timeout(db->handle, BUSY_MS);
	}
	db->log_pages = frames > 0 ? frames : 0;
	db->checkpoint_at = db->log_pages + pages;
	if (rc != SQLITE_OK && rc != SQLITE_BUSY)
		return sqlite_fail(db->handle, rc, "checkpoint", err);
	if (checkpointed)
		*checkpointed = rc == SQLITE_OK;
	return STATUS_OK;
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
	return status == STATUS_OK ? check_files(of_db(base), err) : status;
}

/* --- opening --- */

enum status sqlite_number(sqlite3 *handle, const char *sql, int64_t *out, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(handle, sql, -1, &stmt, NULL);

	*out = 0;
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(stmt, 0);
	enum status status = rc == SQLITE_ROW || rc == SQLITE_DONE ? STATUS_OK
								   : sqlite_fail(handle, rc, "be read", err);
	sqlite3_finalize(stmt);
	return status;
}

/* True when the database's header says WAL. */
static enum status is_wal(sqlite3 *handle, bool *wal, struct err *err)
{
	int64_t n;
	enum status status = sqlite_number(handle, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &n, err);

	*wal = n == 1;
	return status;
}

enum status sqlite_open_file(sqlite3 **out, const char *path, enum db_mode mode, struct err *err)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
		    (mode == DB_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);

	if (sqlite3_libversion_number() < OLDEST_SQLITE || !sqlite3_threadsafe())
		return err_set(err, STATUS_UNAVAILABLE, "SQLite %s is too old or not thread-safe: 3.37 is needed",
			       sqlite3_libversion());
	int rc = sqlite3_open_v2(path, out, flags, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_busy_timeout(*out, BUSY_MS);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		rc = sqlite3_exec(*out, SETTINGS, NULL, NULL, NULL);
	}
	if (rc == SQLITE_OK && mode == DB_READ)
		rc = sqlite3_exec(*out, "PRAGMA query_only=ON", NULL, NULL, NULL);
	if (rc != SQLITE_OK) {
		enum status status = sqlite_fail(*out, rc, "be opened", err);
		sqlite3_close(*out);
		*out = NULL;
		return status;
	}
	return STATUS_OK;
}

/* A new database becomes ours: WAL mode and our mark in its header. In a turn, so that processes that start at once do
 * not meet; tried again while another program reads, since changing the mode wants the file alone. */
static enum status found(struct sqlite_db *db, struct err *err)
{
	char mark[64];
	bool wal = false;

	enum status status = sqlite_turn_take(&db->base, 5000, err);
	if (status != STATUS_OK)
		return status;
	for (int tries = 0; tries < 20; tries++) {
		int rc = sqlite3_exec(db->handle, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
		status = rc == SQLITE_OK ? is_wal(db->handle, &wal, err)
					 : sqlite_fail(db->handle, rc, "change to WAL mode", err);
		if (status != STATUS_BUSY)
			break;
	}
	if (status == STATUS_OK && !wal)
		status = err_set(err, STATUS_UNAVAILABLE, "the database's file system does not allow WAL mode");
	snprintf(mark, sizeof(mark), "PRAGMA application_id=%d", SQLITE_APPLICATION_ID);
	if (status == STATUS_OK)
		status = script(&db->base, mark, err);
	sqlite_turn_give(&db->base);
	return status;
}

/* Whose database it is, and that it is in the state in which we use it. */
static enum status check_opened(struct sqlite_db *db, struct err *err)
{
	int64_t application = 0;
	bool wal = false;

	enum status status = sqlite_number(db->handle, "PRAGMA application_id", &application, err);
	if (status == STATUS_OK)
		status = is_wal(db->handle, &wal, err);
	if (status != STATUS_OK)
		return status;
	if (application != 0 && application != SQLITE_APPLICATION_ID)
		return err_set(err, STATUS_INVALID, "%.150s is the database of another program", db->path);
	if (db->mode == DB_READ)
		return STATUS_OK;
	if (sqlite3_db_readonly(db->handle, "main") == 1)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s may not be written", db->path);
	return wal && application == SQLITE_APPLICATION_ID ? STATUS_OK : found(db, err);
}

static void close_db(struct db *base)
{
	struct sqlite_db *db = of_db(base);

	sqlite3_close(db->handle);
	if (db->turn_fd >= 0)
		close(db->turn_fd);
	if (db->gate_fd >= 0)
		close(db->gate_fd);
	if (db->open_fd >= 0)
		close(db->open_fd);
	free(db);
}

/* The sign that this process has the database open, which a restore looks for. A reader without the right to make the
 * lock file goes without. */
static enum status sign(struct sqlite_db *db, struct err *err)
{
	db->open_fd = sqlite_path_open_lock(db->path, "-open");
	if (db->open_fd < 0)
		return db->mode == DB_READ ? STATUS_OK
					   : err_set(err, STATUS_UNAVAILABLE, "%.150s-open can't be made: %s", db->path,
						     strerror(errno));
	if (flock(db->open_fd, LOCK_SH | LOCK_NB) != 0)
		return err_set(err, STATUS_BUSY, "%.150s is being restored", db->path);
	return STATUS_OK;
}

static enum status open_db(struct db **out, struct str url, enum db_mode mode, struct err *err)
{
	struct sqlite_db *db = calloc(1, sizeof(*db));

	if (!db)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a connection");
	db->base.engine = &DB_SQLITE;
	db->mode = mode;
	db->open_fd = db->turn_fd = db->gate_fd = db->log_pages = -1;
	enum status status = sqlite_path_of_url(url, mode == DB_WRITE, db->path, err);
	if (status == STATUS_OK)
		status = sign(db, err);
	if (status == STATUS_OK && mode == DB_WRITE)
		status = sqlite_path_make_file(db->path, err);
	if (status == STATUS_OK)
		status = sqlite_open_file(&db->handle, db->path, mode, err);
	if (status == STATUS_OK)
		status = check_opened(db, err);
	if (status != STATUS_OK) {
		close_db(&db->base);
		return status;
	}
	sqlite3_wal_hook(db->handle, note_log, db);
	sqlite_path_stat(db->path, "", &db->file);
	sqlite_path_stat(db->path, "-wal", &db->log);
	*out = &db->base;
	return STATUS_OK;
}

const struct db_engine DB_SQLITE = {
	.scheme = "sqlite:",
	.open = open_db,
	.close = close_db,
	.restore = sqlite_restore,
	.stmt_new = stmt_new,
	.stmt_free = stmt_free,
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
	.script = script,
	.turn_take = sqlite_turn_take,
	.turn_give = sqlite_turn_give,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.in_transaction = in_transaction,
	.part_begin = part_begin,
	.part_keep = part_keep,
	.part_undo = part_undo,
	.changes = changes,
	.begin_read = begin_read,
	.end_read = rollback,
	.has_table = has_table,
	.checkpoint = checkpoint,
	.info = info,
	.ping = ping,
	.backup = sqlite_backup,
	.integrity = sqlite_integrity,
};
