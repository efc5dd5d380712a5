/* Transactions of the SQLite engine, and the write-ahead log that they fill. */
#include "store/db_sqlite_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
	SETTLE_MS = 20,              /* between two syncs of a log that grows by steps */
	TRUNCATE_BUSY_MS = 10,       /* for readers, when the log is to be cut */
	TRUNCATE_PAGES = 16 * 1024,  /* a log of 64 MiB */
	ASIDE_PAGES = TRUNCATE_PAGES /* a longer one is not left to those who do it beside others */
};

static struct sqlite_db *of_db(struct db *db)
{
	return (struct sqlite_db *)db;
}

/* --- transactions --- */

static enum status run(struct db *base, const char *sql, struct err *err)
{
	struct stmt *stmt;
	enum status status = db_prepare(base, sql, &stmt, err);

	return status == STATUS_OK ? db_run(stmt, NULL, err) : status;
}

bool sqlite_in_transaction(struct db *base)
{
	return !sqlite3_get_autocommit(of_db(base)->handle);
}

void sqlite_rollback(struct db *base)
{
	if (sqlite_in_transaction(base)) {
		enum status ignored = run(base, "ROLLBACK", NULL);
		(void)ignored; /* what can't be rolled back is when the connection closes */
	}
}

/* What is written to a file that has lost its name is lost with the process: no commit may promise it. */
enum status sqlite_check_files(struct sqlite_db *db, struct err *err)
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

/* Between transactions only. */
static enum status set_unsynced(struct db *base, bool unsynced, struct err *err)
{
	struct sqlite_db *db = of_db(base);
	enum status status = STATUS_OK;

	if (db->unsynced != unsynced)
		status = run(base, unsynced ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL", err);
	if (status == STATUS_OK)
		db->unsynced = unsynced;
	return status;
}

static enum status begin(struct db *base, bool unsynced, struct err *err)
{
	enum status status = set_unsynced(base, unsynced, err);

	if (status == STATUS_OK)
		status = run(base, "BEGIN IMMEDIATE", err);

	/* Inside the transaction, when the log is surely open. */
	if (status == STATUS_OK && (status = sqlite_check_files(of_db(base), err)) != STATUS_OK)
		sqlite_rollback(base);
	return status;
}

enum status sqlite_begin(struct db *base, struct err *err)
{
	return begin(base, false, err);
}

/* With synchronous=NORMAL the log is synced before it is moved into the database and when it begins anew, so the
 * database is as sound; and a commit of anybody that is synced takes with it what stands before it in the log
 * (https://sqlite.org/pragma.html#pragma_synchronous). */
enum status sqlite_begin_unsynced(struct db *base, struct err *err)
{
	return begin(base, true, err);
}

/* The disk is told to begin at once, so that whoever syncs next finds little left to wait for; now and then it is
 * waited for here. */
enum status sqlite_settle(struct db *base, struct err *err)
{
	struct sqlite_db *db = of_db(base);
	uint64_t now_ms = clock_mono_ms();

	if (db->log_fd < 0)
		db->log_fd = sqlite_path_open_log(db->path);
	bool settled = db->log_fd >= 0 && sync_file_range(db->log_fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0;
	if (settled && now_ms - db->settled_ms < SETTLE_MS)
		return STATUS_OK;
	db->settled_ms = now_ms;
	return db->log_fd >= 0 && fdatasync(db->log_fd) == 0 ? STATUS_OK
							     : err_set(err, STATUS_UNKNOWN_OUTCOME,
								       "the database's log could not be synced: what "
								       "was just stored may or may not outlive a "
								       "power cut: %s",
								       strerror(errno));
}

/* A failed sync leaves it open whether the frames with the commit mark are on the disk: recovery after a crash may find
 * them. The mark is in the last frame that is written, so when a write failed (a full or read-only disk), surely
 * nothing was stored. */
enum status sqlite_commit(struct db *base, struct err *err)
{
	sqlite3 *handle = of_db(base)->handle;
	struct stmt *stmt;

	if (!sqlite_in_transaction(base))
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
		sqlite_rollback(base);
	}
	return status;
}

enum status sqlite_part_begin(struct db *base, struct err *err)
{
	return run(base, "SAVEPOINT part", err);
}

enum status sqlite_part_keep(struct db *base, struct err *err)
{
	return run(base, "RELEASE part", err);
}

enum status sqlite_part_undo(struct db *base, struct err *err)
{
	if (!sqlite_in_transaction(base))
		return err_set(err, STATUS_UNAVAILABLE, "the transaction was rolled back by the database");
	enum status status = run(base, "ROLLBACK TO part", err);
	return status == STATUS_OK ? run(base, "RELEASE part", err) : status;
}

int64_t sqlite_changes(struct db *base)
{
	return sqlite3_total_changes64(of_db(base)->handle);
}

enum status sqlite_begin_read(struct db *base, struct err *err)
{
	return run(base, "BEGIN", err);
}

/* --- the log --- */

/* Called by SQLite after each commit. A log that became shorter began anew. */
int sqlite_note_log(void *arg, sqlite3 *handle, const char *name, int pages)
{
	struct sqlite_db *db = arg;

	(void)handle;
	(void)name;
	if (pages < db->log_pages)
		db->checkpoint_at = 0;
	db->log_pages = pages;
	db->wrote = true;
	return SQLITE_OK;
}

/* A passive checkpoint copies what readers allow, and the next write begins the log anew when none of them is in it.
 * Where one is, another try waits until the log has grown as much again: a backup that reads for minutes must not cost
 * every commit a checkpoint. A log that grew long in that time is cut when the readers are gone. */
enum status sqlite_checkpoint(struct db *base, int pages, bool *checkpointed, struct err *err)
{
	struct sqlite_db *db = of_db(base);
	int frames = 0, copied = 0;

	if (checkpointed)
		*checkpointed = false;
	if (pages > 0 && db->log_pages >= 0 && (db->log_pages < pages || db->log_pages < db->checkpoint_at))
		return STATUS_OK;
	if (pages > 0 && db->aside && db->log_pages < ASIDE_PAGES &&
	    sqlite_aside_takes(db->aside, db->log_pages, db->wrote))
		return STATUS_OK;
	if (db->aside && db->log_pages >= ASIDE_PAGES)
		sqlite_aside_hurry(db->aside);
	int rc = sqlite3_wal_checkpoint_v2(db->handle, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
	if (rc == SQLITE_OK && frames == copied && frames >= TRUNCATE_PAGES) {
		sqlite3_busy_timeout(db->handle, TRUNCATE_BUSY_MS);
		rc = sqlite3_wal_checkpoint_v2(db->handle, "main", SQLITE_CHECKPOINT_TRUNCATE, &frames, &copied);
		sqlite3_busy_timeout(db->handle, SQLITE_BUSY_MS);
	}
	db->log_pages = frames > 0 ? frames : 0;
	db->checkpoint_at = db->log_pages + pages;
	if (rc != SQLITE_OK && rc != SQLITE_BUSY)
		return sqlite_fail(db->handle, rc, "checkpoint", err);
	if (checkpointed)
		*checkpointed = rc == SQLITE_OK;
	return STATUS_OK;
}
