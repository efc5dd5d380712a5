/* Opening a SQLite database: the settings of every connection, whose database it is, and a new one made ours. */
#include "store/db_sqlite_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { OLDEST_SQLITE = 3037000 };

/* Settings of a connection. query_only is added for DB_READ. */
static const char SETTINGS[] = "PRAGMA synchronous=FULL;"
			       "PRAGMA wal_autocheckpoint=0;"
			       "PRAGMA mmap_size=0;"
			       "PRAGMA temp_store=MEMORY;"
			       "PRAGMA cache_size=-2048;" /* KiB */
			       "PRAGMA cell_size_check=ON;";

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
		sqlite3_busy_timeout(*out, SQLITE_BUSY_MS);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		/* Before the schema is read, which may use them. */
		rc = sqlite_add_functions(*out);
		if (rc == SQLITE_OK)
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
		status = sqlite_script(&db->base, mark, err);
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

void sqlite_close(struct db *base)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	sqlite3_close(db->handle);
	sqlite_turn_give(base);
	sqlite_aside_close(db->aside);
	if (db->turn_fd >= 0)
		close(db->turn_fd);
	if (db->log_fd >= 0)
		close(db->log_fd);
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

enum status sqlite_open(struct db **out, struct str url, enum db_mode mode, struct err *err)
{
	struct sqlite_db *db = calloc(1, sizeof(*db));

	if (!db)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a connection");
	db->base.engine = &DB_SQLITE;
	db->mode = mode;
	db->open_fd = db->turn_fd = db->gate_fd = db->log_fd = db->log_pages = -1;
	enum status status = sqlite_path_of_url(url, mode == DB_WRITE, db->path, err);
	if (status == STATUS_OK)
		status = sign(db, err);
	if (status == STATUS_OK && mode == DB_WRITE)
		status = sqlite_path_make_file(db->path, err);
	if (status == STATUS_OK)
		status = sqlite_open_file(&db->handle, db->path, mode, err);
	if (status == STATUS_OK)
		status = check_opened(db, err);
	if (status == STATUS_OK)
		status = sqlite_add_given(db, err);
	if (status != STATUS_OK) {
		sqlite_close(&db->base);
		return status;
	}
	sqlite3_wal_hook(db->handle, sqlite_note_log, db);
	sqlite_path_stat(db->path, "", &db->file);
	sqlite_path_stat(db->path, "-wal", &db->log);
	*out = &db->base;
	return STATUS_OK;
}
