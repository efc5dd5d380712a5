/* The seam to the database. What stands here is all that the files above it (one per table, the writer, migrations)
 * know of an engine: SQLite (db_sqlite*.c) and PostgreSQL (db_pg*.c) are behind it. Calls block; who calls them, and on
 * which thread, is the business of store.h.
 *
 * SQL uses placeholders $1, $2, … in order of first use, which both engines read. A connection belongs to one thread at
 * a time. Statements are prepared once per connection and kept (by the address of their text: use static const text),
 * so one text is read by one loop at a time.
 */
#ifndef APPCORE_STORE_DB_H
#define APPCORE_STORE_DB_H

#include "base/err.h"
#include "base/str.h"

struct db;   /* a connection */
struct stmt; /* a prepared statement of a connection; borrowed from it */

enum db_mode {
	DB_READ,  /* reads only, even by mistake */
	DB_WRITE, /* reads and writes */
};

/* The SQL that differs: column types, what only one engine has. */
enum db_dialect { DB_DIALECT_SQLITE, DB_DIALECT_POSTGRESQL, DB_DIALECT__MAX };

/* Is the URL of a form that db_open takes? No word of it is in the error: it may hold a password. */
enum status db_check_url(struct str url, struct err *err) __attribute__((warn_unused_result));

/* Opens `url` (sqlite:///relative.db, sqlite:////absolute.db, postgresql://user:password@host:port/database and all
 * that libpq reads in such a URL). On SQLite DB_WRITE makes the file and its directory when missing; DB_READ does not.
 * A connection to PostgreSQL that breaks later is made anew by whatever call comes next, with growing pauses.
 * Errors: STATUS_INVALID (a URL of no known form, another program's database, a server that is too old), STATUS_BUSY (a
 * restore is under way), STATUS_UNAVAILABLE. Caller closes with db_close. */
enum status db_open(struct db **out, struct str url, enum db_mode mode, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
void db_close(struct db *db);

enum db_dialect db_dialect(const struct db *db) __attribute__((nonnull));

/* Every call may take a network's round trip: not for an event thread. */
bool db_is_remote(const struct db *db) __attribute__((nonnull));

/* The prepared statement of `sql`, reset and without bindings. STATUS_INTERNAL when the SQL is wrong. */
enum status db_prepare(struct db *db, const char *sql, struct stmt **out, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* A statement for SQL that is put together for one use; `sql` is borrowed until db_finish, which ends it. Whatever a
 * stranger says goes into its parameters, never into its text. It may take `within_ms` in all (0: as long as any):
 * after that a step says STATUS_LIMITED. One with a time limit runs on a connection at a time. */
enum status db_prepare_once(struct db *db, const char *sql, int within_ms, struct stmt **out, struct err *err)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));
void db_finish(struct stmt *stmt); /* NULL is allowed */

/* Binds parameter i (from 1). Text is copied. They can't fail but for memory, which the next step reports. */
void db_bind_text(struct stmt *stmt, int i, struct str text) __attribute__((nonnull));
void db_bind_blob(struct stmt *stmt, int i, const void *p, size_t n) __attribute__((nonnull(1)));
void db_bind_i64(struct stmt *stmt, int i, int64_t value) __attribute__((nonnull));
void db_bind_double(struct stmt *stmt, int i, double value) __attribute__((nonnull));
void db_bind_null(struct stmt *stmt, int i) __attribute__((nonnull));

/* One step. *row says whether there is a row to read. Errors: STATUS_BUSY (locked by another program),
 * STATUS_UNAVAILABLE (full, read-only, I/O, corrupt), STATUS_CONFLICT (a constraint), STATUS_INTERNAL. */
enum status db_step(struct stmt *stmt, bool *row, struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

/* Ends the statement's reading, so that it holds no lock and no snapshot. Always call it after the last step. */
void db_reset(struct stmt *stmt) __attribute__((nonnull));

/* Column c (from 0) of the current row; text and blob are borrowed until the next step or reset. NULL reads as 0, 0.0
 * and an empty view with p == NULL. */
struct str db_column_text(struct stmt *stmt, int c) __attribute__((nonnull));
struct str db_column_blob(struct stmt *stmt, int c) __attribute__((nonnull));
int64_t db_column_i64(struct stmt *stmt, int c) __attribute__((nonnull));
double db_column_double(struct stmt *stmt, int c) __attribute__((nonnull));
bool db_column_is_null(struct stmt *stmt, int c) __attribute__((nonnull));

/* The text of column c, cut to `size` bytes with its NUL. */
void db_column_copy(struct stmt *stmt, int c, char *out, size_t size) __attribute__((nonnull));

/* Runs one statement to its end and drops its rows. *changed (may be NULL): rows inserted, updated or deleted. */
enum status db_run(struct stmt *stmt, int64_t *changed, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* --- values --- */

enum db_type { DB_TEXT, DB_BLOB, DB_I64, DB_DOUBLE };

struct db_value {
	enum db_type type;
	bool null;
	struct str bytes; /* text and blob; borrowed by whoever has it */
	int64_t i64;
	double real;
};

static inline struct db_value db_text(struct str text)
{
	return (struct db_value){.type = DB_TEXT, .bytes = text};
}

static inline struct db_value db_blob(const void *p, size_t n)
{
	return (struct db_value){.type = DB_BLOB, .bytes = {p, n}};
}

static inline struct db_value db_i64(int64_t value)
{
	return (struct db_value){.type = DB_I64, .i64 = value};
}

static inline struct db_value db_double(double value)
{
	return (struct db_value){.type = DB_DOUBLE, .real = value};
}

/* "values, n" of db_run_once: DB_VALUES(db_text(name), db_i64(7)). */
#define DB_VALUES(...)                                                                                                 \
	(const struct db_value[]){__VA_ARGS__}, sizeof((const struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)

/* db_prepare, the values bound in their order from $1 on, db_run. */
enum status db_run_once(struct db *db, const char *sql, const struct db_value *values, size_t n, int64_t *changed,
			struct err *err) __attribute__((nonnull(1, 2), warn_unused_result));

/* Runs a script of several statements without parameters (migrations). */
enum status db_script(struct db *db, const char *sql, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* --- transactions for writing --- */

/* Takes this machine's turn to write: waits on a lock that all processes of one database share (flock on the file
 * "<database>-turn"), at most `wait_ms` (negative: as long as it takes). STATUS_BUSY when it did not come. An engine
 * without such a need returns at once. Nests not. Until it is given back, Ctrl-Z does not stop the calling thread (a
 * stopped command would keep the turn); give it back in the same thread. */
enum status db_turn_take(struct db *db, int wait_ms, struct err *err) __attribute__((nonnull(1), warn_unused_result));
void db_turn_give(struct db *db) __attribute__((nonnull));

/* The process that keeps others from the turn now; 0: none, or none that can be named. Any thread. */
int db_turn_holder(struct db *db) __attribute__((nonnull));

/* BEGIN IMMEDIATE, COMMIT, ROLLBACK. Begin wants the turn held. A failed commit is rolled back: STATUS_BUSY and
 * STATUS_UNAVAILABLE mean surely not stored, STATUS_UNKNOWN_OUTCOME that nobody can say. */
enum status db_begin(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));
enum status db_commit(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));
void db_rollback(struct db *db) __attribute__((nonnull));

/* Runs one change in a transaction of its own, in this machine's turn (as db_turn_take waits for it). An error of the
 * change takes it back. The log is moved into the database when it has grown long. */
typedef enum status db_change(struct db *db, void *arg, struct err *err);
enum status db_transact(struct db *db, int wait_ms, db_change *change, void *arg, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* The same, but nobody else waits for the disk: the turn is given back once the change is in the log, and the log is
 * synced after that. Others see the change a moment before it is sure to outlive a power cut, and a commit of theirs
 * that returns in between makes it so, too. And everybody else goes first: before it lines up it waits for 10 ms at the
 * most for a moment when nobody wants the turn. For what goes on from wherever it is found: the steps of a long task.
 * STATUS_UNKNOWN_OUTCOME also when that sync failed. */
enum status db_transact_aside(struct db *db, int wait_ms, db_change *change, void *arg, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* Whether a transaction is open: some errors (a full disk, no memory) end it by themselves. */
bool db_in_transaction(struct db *db) __attribute__((nonnull));

/* A part of a write transaction that can be taken back alone. Nests not. Undo fails when the engine has rolled back the
 * whole transaction already (a full disk): then db_rollback is all that is left. */
enum status db_part_begin(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));
enum status db_part_keep(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));
enum status db_part_undo(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* Runs task(arg, 0) to task(arg, n - 1), in the write transaction if one is open: on SQLite one after the other; on
 * PostgreSQL side by side in this thread, so that their statements share round trips: while one waits for an answer the
 * others go on. A task must be right whatever the others do between its statements. When a statement of one fails, the
 * transaction is over for all of them, and outside of a write
 * transaction the others of the group may get its error: reads are then worth another try one by one. */
void db_together(struct db *db, size_t n, void (*task)(void *arg, size_t i), void *arg) __attribute__((nonnull(1, 3)));

/* In a write transaction: waits until nobody else, on any machine, is in a transaction that took the same lock. */
enum status db_lock(struct db *db, int64_t key, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* A number that grows with every row that this connection inserts, updates or deletes; in a task of db_together, with
 * the task's. */
int64_t db_changes(struct db *db) __attribute__((nonnull));

/* A read transaction (one snapshot for several statements). */
enum status db_begin_read(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));
void db_end_read(struct db *db) __attribute__((nonnull));

/* --- being told --- */

/* Waits until a transaction anywhere has told of a change of tasks (tasks_begin_change), or `stop_fd` is readable.
 * *told says which; it is also set by the first call on a connection, new ones included: what was told before is told
 * to nobody. For a thread and a connection of its own. STATUS_NOT_FOUND: on this engine, or through
 * a pooler, nobody tells. */
enum status db_listen(struct db *db, int stop_fd, bool *told, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* --- many rows at once --- */

struct db_copy; /* rows on their way into one table */

/* Begins to put rows into `table`, in the write transaction that is open; until the end no other statement runs on this
 * connection. PostgreSQL's COPY, SQLite's one INSERT for all: neither forgives a key that is there already
 * (STATUS_CONFLICT, at the latest at the end). Caller ends with db_copy_end or db_copy_cancel, which free it. */
enum status db_copy_begin(struct db *db, const char *table, const char *const columns[], int n, struct db_copy **out,
			  struct err *err) __attribute__((nonnull(1, 2, 3, 5), warn_unused_result));
/* `values`: as many as there are columns, BIGINT or INTEGER for DB_I64. After an error only db_copy_cancel is left. */
enum status db_copy_row(struct db_copy *copy, const struct db_value *values, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status db_copy_end(struct db_copy *copy, struct err *err) __attribute__((nonnull(1), warn_unused_result));
/* The transaction must be rolled back after it. */
void db_copy_cancel(struct db_copy *copy);

/* Runs a statement that reads `rows` rows of `columns` values (at most 16) as the table given_rows, whose columns are
 * c0, c1, …: INSERT … SELECT c0, c1 FROM given_rows takes many rows at once and forgives what it says it forgives.
 * SQLite's only (STATUS_INTERNAL): PostgreSQL has arrays and unnest() for it. *changed: rows inserted. */
enum status db_run_given(struct db *db, const char *sql, const struct db_value *values, size_t rows, int columns,
			 int64_t *changed, struct err *err) __attribute__((nonnull(1, 2, 3, 6), warn_unused_result));

/* In a turn: whether somebody else waits for it. A bulk writer that asks often may hold it for long when nobody does.
 */
bool db_turn_is_wanted(struct db *db) __attribute__((nonnull));

/* --- housekeeping --- */

/* Sessions of ours, of any process and machine, whose client has said nothing for `after_ms` in the midst of a write
 * transaction, and so keeps others from what it has locked, are ended: what they had begun is undone, and a client that
 * was merely stopped finds its connection lost. An engine without such sessions finds none. */
struct db_stalled {
	int64_t ended;
	int64_t pid; /* of the first one: the server's process, and its client's address */
	char client[64];
};
enum status db_end_stalled(struct db *db, int after_ms, struct db_stalled *out, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));

/* From here on a statement of this connection may take as long as it needs (to count a large table): for commands,
 * where nobody but the caller waits. */
void db_be_patient(struct db *db) __attribute__((nonnull));

/* The opposite: one that is not answered for so long fails (STATUS_UNAVAILABLE). For a server that can be done without.
 */
void db_be_quick(struct db *db, int ms) __attribute__((nonnull));

/* Whether there is a table of that name (a database that was never migrated has none). */
enum status db_has_table(struct db *db, const char *name, bool *has, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* Moves the log into the database when it has grown past `pages` (0: in any case); wants the turn held and no
 * transaction open. *checkpointed (may be NULL) says whether anything was done. On an engine without a log it does
 * nothing. */
enum status db_checkpoint(struct db *db, int pages, bool *checkpointed, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* From here on checkpoints that db_transact, or db_checkpoint with a number of pages, find due are made by a thread,
 * one for the process, beside those who write; in a turn only its beginning and its end remain. `polite` (of the first
 * such connection): the thread computes only when nobody else wants to. On an engine without a log it does nothing. */
enum status db_checkpoint_aside(struct db *db, bool polite, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

struct db_info {
	int64_t database_bytes;
	int64_t log_bytes;  /* write-ahead log */
	char engine[64];    /* "SQLite 3.40.1", "PostgreSQL 15.18" */
	char location[256]; /* file, or host and database; never a password */
};
void db_info(struct db *db, struct db_info *out) __attribute__((nonnull));

/* A trivial query, and that the files are still those that were opened. */
enum status db_ping(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* A consistent copy of the whole database into the new file `path` (mode 0600, synced, renamed into place at the end).
 * Errors: STATUS_CONFLICT when the file is there already; STATUS_UNAVAILABLE. */
enum status db_backup(struct db *db, const char *path, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Checks the file `path` (integrity, that it is a database of ours) and puts it in the place of the database of `url`.
 * STATUS_CONFLICT while any process of ours has that database open, STATUS_INVALID when the copy is damaged. */
enum status db_restore(struct str url, const char *path, struct err *err)
	__attribute__((nonnull(2), warn_unused_result));

/* Reads the whole database for damage. */
enum status db_integrity(struct db *db, struct err *err) __attribute__((nonnull(1), warn_unused_result));

#endif
