/* Copies of a SQLite database: backup while others write, restore, and looking for damage.
 *
 * A backup is VACUUM INTO: one read transaction, so other processes go on writing and the copy is one moment of the
 * database, in one file without a log. While it reads, checkpoints can't begin the log anew, which therefore grows; the
 * first checkpoint after it cuts it.
 *
 * A restore puts another file under the database's name. SQLite knows a log by the database's name alone and would play
 * the old log into the new file, so the old log is emptied first, in a way that leaves the old database whole should
 * the machine stop half-way. */
#include "store/db_sqlite_impl.h"

#include "store/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* --- integrity --- */

enum status sqlite_check_integrity(sqlite3 *handle, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	enum status status = STATUS_OK;

	int rc = sqlite3_prepare_v2(handle, "PRAGMA integrity_check(1)", -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW) {
		status = sqlite_fail(handle, rc, "be checked", err);
	} else {
		const char *finding = (const char *)sqlite3_column_text(stmt, 0);
		if (!finding || strcmp(finding, "ok") != 0)
			status = err_set(err, STATUS_UNAVAILABLE, "the database is damaged: %.180s",
					 finding ? finding : "no answer");
	}
	sqlite3_finalize(stmt);
	return status;
}

enum status sqlite_integrity(struct db *base, struct err *err)
{
	return sqlite_check_integrity(((struct sqlite_db *)base)->handle, err);
}

/* --- backup --- */

/* VACUUM INTO writes another file, which query_only forbids as well. It runs the schema's own expressions (indexes on
 * fields of records) with json_extract, which is ours and not trusted by SQLite in there, although it says that it is
 * harmless. */
static enum status vacuum_into(struct sqlite_db *db, const char *path, struct err *err)
{
	sqlite3_stmt *stmt = NULL;

	if (db->mode == DB_READ)
		sqlite3_exec(db->handle, "PRAGMA query_only=OFF", NULL, NULL, NULL);
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1, NULL);
	int rc = sqlite3_prepare_v2(db->handle, "VACUUM INTO $1", -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(stmt, 1, path, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	enum status status = rc == SQLITE_DONE ? STATUS_OK : sqlite_fail(db->handle, rc, "be copied", err);
	sqlite3_finalize(stmt);
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (db->mode == DB_READ)
		sqlite3_exec(db->handle, "PRAGMA query_only=ON", NULL, NULL, NULL);
	return status;
}

enum status sqlite_backup(struct db *base, const char *path, struct err *err)
{
	char temp[PATH_MAX];

	enum status status = new_file_make(path, temp, err);
	if (status != STATUS_OK)
		return status;
	status = vacuum_into((struct sqlite_db *)base, temp, err);
	if (status == STATUS_OK)
		return new_file_keep(temp, path, err);
	unlink(temp);
	return status;
}

/* --- restore --- */

static bool copy_bytes(int in, int out)
{
	static const size_t PIECE = 1 << 16;
	char *piece = malloc(PIECE);
	ssize_t n = -1;

	while (piece && (n = read(in, piece, PIECE)) > 0) {
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(out, piece + done, (size_t)(n - done));
			if (w < 0) {
				free(piece);
				return false;
			}
			done += w;
		}
	}
	free(piece);
	return n == 0;
}

static enum status copy_file(const char *from, const char *to, struct err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s can't be read: %s", from, strerror(errno));
	unlink(to); /* of a restore that was stopped */
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	bool ok = out >= 0 && fchmod(out, 0640) == 0 && copy_bytes(in, out) && fsync(out) == 0;
	int error = errno;
	close(in);
	if (out >= 0)
		close(out);
	if (!ok)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s can't be written: %s", to, strerror(error));
	return STATUS_OK;
}

static void unlink_beside(const char *path, const char *suffix)
{
	char name[PATH_MAX + 8];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	unlink(name);
}

/* Ours and undamaged? Looked at on the copy, so that what was given stays untouched. */
static enum status check_copy(const char *path, struct err *err)
{
	int64_t application = 0, tables = 0;
	sqlite3 *handle;

	enum status status = sqlite_open_file(&handle, path, DB_WRITE, err);
	if (status == STATUS_OK)
		status = sqlite_number(handle, "PRAGMA application_id", &application, err);
	if (status == STATUS_OK)
		status = sqlite_number(
			handle,
			"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'",
			&tables, err);
	if (status == STATUS_OK && (application != SQLITE_APPLICATION_ID || tables != 1))
		status = err_set(err, STATUS_INVALID, "the copy is not a database of this program");
	if (status == STATUS_OK)
		status = sqlite_check_integrity(handle, err);
	if (handle)
		sqlite3_close(handle);
	unlink_beside(path, "-wal"); /* of a copy that was in WAL mode; it was never written to */
	unlink_beside(path, "-shm");
	if (status == STATUS_UNAVAILABLE && err) { /* the copy's fault, not the store's */
		const struct err why = *err;
		err_set(err, STATUS_INVALID, "the copy is damaged, take another one; the database is as it was: %.300s",
			why.text);
	}
	return status == STATUS_UNAVAILABLE ? STATUS_INVALID : status;
}

/* Brings the old log into the old database, so that the file is whole without it. When that fails the old database is
 * damaged anyway, and its log goes. */
static void empty_old_log(const char *path)
{
	sqlite3 *handle = NULL;
	struct stat log;

	sqlite_path_stat(path, "-wal", &log);
	if (log.st_size > 0 && sqlite_open_file(&handle, path, DB_WRITE, NULL) == STATUS_OK) {
		sqlite3_wal_checkpoint_v2(handle, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
		sqlite3_close(handle);
	}
	unlink_beside(path, "-wal");
	unlink_beside(path, "-shm");
}

static enum status put_in_place(const char *temp, const char *path, struct err *err)
{
	struct stat log;

	empty_old_log(path);
	sqlite_path_stat(path, "-wal", &log);
	if (log.st_ino != 0 || !new_file_sync_dir(path))
		return err_set(err, STATUS_UNAVAILABLE, "%.150s-wal can't be removed", path);
	if (rename(temp, path) != 0 || !new_file_sync_dir(path))
		return err_set(err, STATUS_UNAVAILABLE, "%.150s can't be replaced: %s", path, strerror(errno));
	return STATUS_OK;
}

/* The copy must be one file that is not the database itself. */
static enum status check_given(const char *path, const char *database, struct err *err)
{
	struct stat copy, old, log;

	if (stat(path, &copy) != 0)
		return err_set(err, STATUS_INVALID, "the copy %.150s can't be read: %s", path, strerror(errno));
	sqlite_path_stat(database, "", &old);
	sqlite_path_stat(path, "-wal", &log);
	if (!S_ISREG(copy.st_mode) || (copy.st_ino == old.st_ino && copy.st_dev == old.st_dev))
		return err_set(err, STATUS_INVALID, "%.150s is the database itself or no file", path);
	if (log.st_size > 0)
		return err_set(err, STATUS_INVALID, "%.150s has a log beside it: it is a live database, not a backup",
			       path);
	return STATUS_OK;
}

enum status sqlite_restore(struct str url, const char *path, struct err *err)
{
	char database[SQLITE_PATH_BYTES], temp[PATH_MAX];

	enum status status = sqlite_path_of_url(url, true, database, err);
	if (status == STATUS_OK)
		status = check_given(path, database, err);
	if (status != STATUS_OK)
		return status;
	int fd = sqlite_path_open_lock(database, "-open");
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s-open can't be made: %s", database, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		return err_set(err, STATUS_CONFLICT, "%.150s is open: stop what uses it first", database);
	}
	snprintf(temp, sizeof(temp), "%s-restore", database);
	status = copy_file(path, temp, err);
	if (status == STATUS_OK)
		status = check_copy(temp, err);
	if (status == STATUS_OK)
		status = put_in_place(temp, database, err);
	if (status != STATUS_OK)
		unlink(temp);
	close(fd);
	return status;
}
