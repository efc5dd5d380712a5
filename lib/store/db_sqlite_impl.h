/* What the parts of the SQLite engine share: db_sqlite.c (statements), db_sqlite_open.c (connections),
 * db_sqlite_transaction.c (transactions, the log), db_sqlite_aside.c (the log, beside writers), db_sqlite_turn.c (whose
 * turn it is to write), db_sqlite_copy.c (many rows at once), db_sqlite_given.c (many rows in one statement),
 * db_sqlite_path.c (names), db_sqlite_file.c (backup,
 * restore, integrity). */
#ifndef APPCORE_STORE_DB_SQLITE_IMPL_H
#define APPCORE_STORE_DB_SQLITE_IMPL_H

#include "store/db_impl.h"

#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { SQLITE_PATH_BYTES = PATH_MAX - 32 /* room for "-turn", "-restore-wal" */ };
enum { SQLITE_BUSY_MS = 50 /* for another program's lock */ };
enum { SQLITE_APPLICATION_ID = 0x61706372 /* "apcr", in the file's header */ };

/* What given_rows holds now (db_sqlite_given.c). */
struct sqlite_given {
	const struct db_value *values; /* row by row */
	size_t rows;
	int columns;
};

struct sqlite_db {
	struct db base;
	sqlite3 *handle;
	enum db_mode mode;
	int open_fd;         /* shared lock on "<database>-open" while this connection lives; -1: none */
	int turn_fd;         /* "<database>-turn", opened at the first turn; -1 before */
	int gate_fd;         /* who waits for the turn */
	bool stops_held;     /* the thread that has the turn can't be stopped from its terminal */
	sigset_t signals;    /* its mask before */
	int log_pages;       /* frames in the write-ahead log after this connection's last commit; -1: not known */
	int checkpoint_at;   /* frames at which the next checkpoint is worth a try */
	bool wrote;          /* this turn's commit has added to the log */
	bool unsynced;       /* commits don't wait for the disk: synchronous=NORMAL */
	int log_fd;          /* the log, for syncs outside of the turn; -1 before the first */
	uint64_t settled_ms; /* when that was */
	struct sqlite_aside *aside; /* NULL: checkpoints are made in the turn */
	struct stat file, log;      /* as they were opened; log.st_ino is 0 before there is one */
	struct sqlite_given given;
	char path[SQLITE_PATH_BYTES];
};

/* --- db_sqlite.c --- */

/* Says in *err what SQLite said, and which status it means. `doing` completes "could not …". */
enum status sqlite_fail(sqlite3 *handle, int rc, const char *doing, struct err *err);

/* As in db_impl.h. */
enum status sqlite_script(struct db *base, const char *sql, struct err *err);

/* --- db_sqlite_open.c --- */

/* As in db_impl.h. */
enum status sqlite_open(struct db **out, struct str url, enum db_mode mode, struct err *err);
void sqlite_close(struct db *base);

/* Opens the file as it is, with the settings that every connection of ours has. Caller closes with sqlite3_close. */
enum status sqlite_open_file(sqlite3 **out, const char *path, enum db_mode mode, struct err *err);

/* The number a one-value query or pragma gives. */
enum status sqlite_number(sqlite3 *handle, const char *sql, int64_t *out, struct err *err);

/* --- db_sqlite_transaction.c: as in db_impl.h --- */

bool sqlite_in_transaction(struct db *base);
void sqlite_rollback(struct db *base);
enum status sqlite_begin(struct db *base, struct err *err);
enum status sqlite_begin_unsynced(struct db *base, struct err *err);
enum status sqlite_settle(struct db *base, struct err *err);
enum status sqlite_commit(struct db *base, struct err *err);
enum status sqlite_part_begin(struct db *base, struct err *err);
enum status sqlite_part_keep(struct db *base, struct err *err);
enum status sqlite_part_undo(struct db *base, struct err *err);
int64_t sqlite_changes(struct db *base);
enum status sqlite_begin_read(struct db *base, struct err *err);
enum status sqlite_checkpoint(struct db *base, int pages, bool *checkpointed, struct err *err);

/* That the files still bear the names under which they were opened. */
enum status sqlite_check_files(struct sqlite_db *db, struct err *err);

/* SQLite's hook after each commit; `arg` is the struct sqlite_db. */
int sqlite_note_log(void *arg, sqlite3 *handle, const char *name, int pages);

/* --- db_sqlite_aside.c --- */

/* What moves the log of `path` for this process. Caller releases with sqlite_aside_close (NULL is allowed), which ends
 * a copy that is under way. */
enum status sqlite_aside_open(struct sqlite_aside **out, const char *path, bool polite, struct err *err);
void sqlite_aside_close(struct sqlite_aside *aside);

/* In a turn, outside of a transaction: a checkpoint is due. True: nothing is to be done here now. False: the caller
 * makes one, which as a rule has little left to do. `pages`: in the log. `wrote`: this turn has added to it. */
bool sqlite_aside_takes(struct sqlite_aside *aside, int pages, bool wrote);
/* Whoever copies gives up soon, so that it can be done in a turn. */
void sqlite_aside_hurry(struct sqlite_aside *aside);

/* As in db_impl.h. */
enum status sqlite_checkpoint_aside(struct db *base, bool polite, struct err *err);

/* --- db_sqlite_turn.c: as in db_impl.h --- */

enum status sqlite_turn_take(struct db *base, int wait_ms, struct err *err);
void sqlite_turn_give(struct db *base);
int sqlite_turn_holder(struct db *base);

bool sqlite_turn_is_wanted(struct db *base);
void sqlite_turn_let_others(struct db *base);

/* --- db_sqlite_copy.c: as in db_impl.h --- */

enum status sqlite_copy_begin(struct db *base, const char *table, const char *const columns[], int n,
			      struct db_copy **out, struct err *err);
enum status sqlite_copy_row(struct db_copy *base, const struct db_value *values, struct err *err);
enum status sqlite_copy_end(struct db_copy *base, struct err *err);
void sqlite_copy_cancel(struct db_copy *base);

/* --- db_sqlite_json.c --- */

/* A connection's own functions. SQLite's result code. */
int sqlite_add_functions(sqlite3 *handle);

/* --- db_sqlite_given.c --- */

enum status sqlite_add_given(struct sqlite_db *db, struct err *err);
/* As in db_impl.h. */
enum status sqlite_run_given(struct db *base, const char *sql, const struct db_value *values, size_t rows, int columns,
			     int64_t *changed, struct err *err);

/* --- db_sqlite_path.c --- */

/* The file of a URL, absolute and without symbolic links, so that all processes name the same lock files. With `make`
 * its directory is made when missing. */
enum status sqlite_check_url(struct str url, struct err *err);
enum status sqlite_path_of_url(struct str url, bool make, char out[static SQLITE_PATH_BYTES], struct err *err);

/* Makes an empty file with mode 0640 when there is none. */
enum status sqlite_path_make_file(const char *path, struct err *err);

/* Opens the lock file "<path><suffix>", making it with mode 0640. -1 with errno. */
int sqlite_path_open_lock(const char *path, const char *suffix);

/* Opens the log as it is. -1 with errno. */
int sqlite_path_open_log(const char *path);

/* stat() of "<path><suffix>"; zeros when there is none. */
void sqlite_path_stat(const char *path, const char *suffix, struct stat *out);

/* --- db_sqlite_file.c --- */

enum status sqlite_backup(struct db *base, const char *path, struct err *err);
enum status sqlite_restore(struct str url, const char *path, struct err *err);
enum status sqlite_integrity(struct db *base, struct err *err);
enum status sqlite_check_integrity(sqlite3 *handle, struct err *err);

#endif
