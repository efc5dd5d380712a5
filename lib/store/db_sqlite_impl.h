/* What the parts of the SQLite engine share: db_sqlite.c (connection, statements, transactions), db_sqlite_path.c
 * (names and lock files), db_sqlite_file.c (backup, restore, integrity). */
#ifndef APPCORE_STORE_DB_SQLITE_IMPL_H
#define APPCORE_STORE_DB_SQLITE_IMPL_H

#include "store/db_impl.h"

#include <limits.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { SQLITE_PATH_BYTES = PATH_MAX - 32 /* room for "-turn", "-restore-wal" */ };
enum { SQLITE_APPLICATION_ID = 0x61706372 /* "apcr", in the file's header */ };

struct sqlite_db {
	struct db base;
	sqlite3 *handle;
	enum db_mode mode;
	int open_fd;           /* shared lock on "<database>-open" while this connection lives; -1: none */
	int turn_fd;           /* "<database>-turn", opened at the first turn; -1 before */
	int gate_fd;           /* who waits for the turn */
	int log_pages;         /* frames in the write-ahead log after this connection's last commit; -1: not known */
	int checkpoint_at;     /* frames at which the next checkpoint is worth a try */
	struct stat file, log; /* as they were opened; log.st_ino is 0 before there is one */
	char path[SQLITE_PATH_BYTES];
};

/* --- db_sqlite.c --- */

/* Says in *err what SQLite said, and which status it means. `doing` completes "could not …". */
enum status sqlite_fail(sqlite3 *handle, int rc, const char *doing, struct err *err);

/* Opens the file as it is, with the settings that every connection of ours has. Caller closes with sqlite3_close. */
enum status sqlite_open_file(sqlite3 **out, const char *path, enum db_mode mode, struct err *err);

/* The number a one-value query or pragma gives. */
enum status sqlite_number(sqlite3 *handle, const char *sql, int64_t *out, struct err *err);

/* --- db_sqlite_path.c --- */

/* The file of a URL, absolute and without symbolic links, so that all processes name the same lock files. With `make`
 * its directory is made when missing. */
enum status sqlite_path_of_url(struct str url, bool make, char out[static SQLITE_PATH_BYTES], struct err *err);

/* Makes an empty file with mode 0640 when there is none. */
enum status sqlite_path_make_file(const char *path, struct err *err);

/* Opens the lock file "<path><suffix>", making it with mode 0640. -1 with errno. */
int sqlite_path_open_lock(const char *path, const char *suffix);

/* stat() of "<path><suffix>"; zeros when there is none. */
void sqlite_path_stat(const char *path, const char *suffix, struct stat *out);

/* Syncs the directory that holds `path`. False with errno. */
bool sqlite_path_sync_dir(const char *path);

enum status sqlite_turn_take(struct db *base, int wait_ms, struct err *err);
void sqlite_turn_give(struct db *base);

/* --- db_sqlite_file.c --- */

enum status sqlite_backup(struct db *base, const char *path, struct err *err);
enum status sqlite_restore(struct str url, const char *path, struct err *err);
enum status sqlite_integrity(struct db *base, struct err *err);
enum status sqlite_check_integrity(sqlite3 *handle, struct err *err);

#endif
