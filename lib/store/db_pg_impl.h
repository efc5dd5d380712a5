/* What the files of the PostgreSQL engine share: db_pg.c (the vtable, transactions), db_pg_stmt.c (statements),
 * db_pg_conn.c (the connection: settings, errors, time limits), db_pg_pipeline.c (many statements under way at once),
 * db_pg_stalled.c (sessions whose client is silent), db_pg_copy.c (many rows at once), db_pg_file.c (copies),
 * db_pg_program.c (PostgreSQL's own programs). */
#ifndef APPCORE_STORE_DB_PG_IMPL_H
#define APPCORE_STORE_DB_PG_IMPL_H

#include "store/db_impl.h"

#include "base/buf.h"

#include <libpq-fe.h>

struct fiber;

enum {
	PG_PARAMS = 16,
	PG_TEXTS = 128, /* different statements of one connection */
	PG_WIDTH = 64,  /* fibers */
	PG_VERSION_MIN = 130000,
	PG_PLANS_MS = 1000,
	PG_STATEMENT_MS = 10000, /* no answer to a statement for that long: the connection is given up */
};

#define PG_APPLICATION "appcore" /* how our sessions call themselves */

/* For how long a write transaction waits for a lock, and for its client. A pooler does not pass on what is asked of the
 * server when a connection begins: there each transaction asks. */
#define PG_LOCK_TIMEOUT "4s"
#define PG_IDLE_TIMEOUT "10s"
#define PG_LIMITS                                                                                                      \
	"SELECT set_config('lock_timeout', '" PG_LOCK_TIMEOUT "', true),"                                              \
	" set_config('idle_in_transaction_session_timeout', '" PG_IDLE_TIMEOUT "', true)"

/* The plan of a prepared statement is made for the size that its tables have then, and kept until somebody analyses
 * them: of an empty queue every row is read, also when there are a hundred thousand a moment later. This makes the
 * server plan anew. */
#define PG_FORGET "DISCARD PLANS"

/* A statement's text, and whether the server knows it by name. */
struct pg_text {
	const char *sql;
	char name[24];
	int n_params;         /* its highest placeholder */
	uint64_t prepared_in; /* the connection's number */
};

struct pg_param {
	char *p; /* bytes, with a NUL behind */
	size_t cap;
	int n, format; /* 0 text, 1 binary */
	bool null;
};

struct pg_stmt {
	struct stmt base; /* first: the seam hands it back */
	struct pg_db *db;
	struct pg_text *text;
	struct pg_text own; /* of one that is used once: it has no name */
	bool once;
	uint64_t end_ms;        /* it may run no longer; 0: as long as any */
	struct pg_fiber *owner; /* the fiber that uses it */
	struct pg_param params[PG_PARAMS];
	int n_params;
	bool no_memory;

	PGresult *result; /* the rows in hand */
	int row;          /* the current one; -1 before the first */
	bool running;     /* more is to come from the server */
	bool ended;       /* the result has come whole, or an error */
	enum status status;
	struct err err;
	int64_t changed;
	char *blob[4]; /* decoded columns, until the next step */
	size_t blob_turn;
};

/* A task under way, and what it has changed. */
struct pg_fiber {
	struct fiber *fiber;
	struct pg_db *db;
	int64_t changes;
	size_t i; /* which task */
	bool active;
};

/* Something that the server will answer: a statement; the preparation of a text; or SAVEPOINT, COMMIT and the like. */
struct pg_sent {
	struct pg_stmt *stmt;
	struct pg_text *text;
	struct err *into; /* status and text of a control statement; may be NULL */
	bool *done;
	bool sync; /* the end of a pipeline */
};

struct pg_db {
	struct db base; /* first */
	PGconn *conn;
	char *url;
	char place[200]; /* host and database, for people */
	enum db_mode mode;
	int statement_ms;        /* to wait for its answer: PG_STATEMENT_MS, or what the seam was told; -1: for ever */
	uint64_t listens_in;     /* the connection that listens; 0: none does */
	uint64_t number;         /* of the connection, from 1: what was prepared on an earlier one is gone */
	uint64_t retry_ms;       /* no new connection before; 0: any time */
	uint64_t plans_ms;       /* until then the server may keep its plans */
	int failures;            /* to connect, in a row */
	bool anonymous;          /* names of statements don't survive here (a pooler in transaction mode) */
	bool make_durable;       /* the server's default for synchronous_commit is off */
	bool in_transaction;     /* ours, as far as anybody above knows */
	bool pipelined;          /* libpq is in pipeline mode */
	bool aborted;            /* a statement of the transaction failed: all that is left is to roll back */
	bool lost;               /* the connection went during the transaction */
	bool silent;             /* it was given up because no answer came in time */
	bool row_by_row;         /* the last statement outside of a pipeline was read so */
	size_t unsent;           /* bytes of parameters since libpq's buffer was empty, at the most */
	bool unflushed;          /* statements that the server was not yet asked to answer */
	const char *unnamed;     /* the text that the unnamed statement stands for, in this transaction */
	struct err why;          /* of `lost` and `aborted` */
	struct pg_stmt *reading; /* outside of a transaction one statement at a time has the connection */

	struct pg_text texts[PG_TEXTS];
	int n_texts;

	struct pg_sent *sent; /* ring, in the order of the answers */
	size_t sent_first, sent_n, sent_cap;
	int64_t changes;
	struct pg_fiber fibers[PG_WIDTH];
	int n_fibers;
	struct pg_fiber *current;
	void (*task)(void *arg, size_t i);
	void *task_arg;
};

/* --- db_pg_conn.c --- */

/* Checks the URL's form without a word of it in the error. */
enum status pg_check_url(struct str url, struct err *err);

/* A connection that works, the present one if it does. After failures it waits longer and longer between tries, with
 * jitter; meanwhile STATUS_UNAVAILABLE at once. */
enum status pg_connect(struct pg_db *db, struct err *err);

/* Says once a second that it is time for PG_FORGET. */
bool pg_plans_are_old(struct pg_db *db);

/* Closes it; the next pg_connect makes a new one. */
void pg_disconnect(struct pg_db *db);

/* What an error of the server means. */
enum status pg_fail(struct pg_db *db, const PGresult *result, struct err *err);

/* Waits until PQgetResult won't block. False: the connection is gone or silent, and has been closed. */
bool pg_wait(struct pg_db *db, int timeout_ms, struct err *err);

/* One statement or script without parameters, outside of pipeline mode, to its end. timeout_ms -1: as long as it
 * takes. */
enum status pg_simple(struct pg_db *db, const char *sql, int timeout_ms, struct err *err);

/* --- db_pg_pipeline.c --- */

enum status pg_pipeline_begin(struct pg_db *db, struct err *err);
enum status pg_pipeline_commit(struct pg_db *db, struct err *err);
void pg_pipeline_rollback(struct pg_db *db);
/* Control statements (SAVEPOINT …) of the transaction. */
enum status pg_pipeline_simple(struct pg_db *db, const char *sql, struct err *err);
/* The same after an error, which it takes back. */
enum status pg_pipeline_undo(struct pg_db *db, const char *sql, struct err *err);
/* Several statements without parameters, however long they take. */
enum status pg_pipeline_script(struct pg_db *db, const char *sql, struct err *err);
/* Sends the statement and waits for its result; a fiber lets the others go on meanwhile. */
void pg_pipeline_run(struct pg_stmt *stmt);
void pg_together(struct db *base, size_t n, void (*task)(void *arg, size_t i), void *arg);
void pg_pipeline_free(struct pg_db *db);

/* Between the two the transaction stays open, and the connection takes what pipeline mode does not. `status` is what
 * became of that: after an error the transaction is over. */
enum status pg_pipeline_pause(struct pg_db *db, struct err *err);
enum status pg_pipeline_resume(struct pg_db *db, enum status status, struct err *err);

/* --- db_pg_listen.c: as in db_impl.h --- */

enum status pg_listen(struct db *base, const char *sql, int stop_fd, bool *told, struct err *err);

/* --- db_pg_stalled.c: as in db_impl.h --- */

enum status pg_end_stalled(struct db *base, int after_ms, struct db_stalled *out, struct err *err);

/* --- db_pg_copy.c: as in db_impl.h --- */

enum status pg_copy_begin(struct db *base, const char *table, const char *const columns[], int n, struct db_copy **out,
			  struct err *err);
enum status pg_copy_row(struct db_copy *base, const struct db_value *values, struct err *err);
enum status pg_copy_end(struct db_copy *base, struct err *err);
void pg_copy_cancel(struct db_copy *base);

/* --- db_pg_file.c --- */

enum status pg_backup(struct db *db, const char *path, struct err *err);
enum status pg_restore(struct str url, const char *path, struct err *err);

/* --- db_pg_program.c --- */

/* What a program of PostgreSQL's connects with. */
struct pg_place {
	struct buf conninfo; /* "host='…' user='…'", for an argument: without what is secret; ends with a NUL */
	struct buf password; /* "PGPASSWORD=…" with a NUL, for its environment; empty: none */
	struct buf service;  /* other secrets, as a service file; empty: none */
};

/* Of a URL that pg_check_url has passed. False: no memory. Caller ends with pg_place_release. */
bool pg_place_init(struct pg_place *place, const char *url);
void pg_place_release(struct pg_place *place);

/* Runs it to its end; the first line of what it complained of becomes the reason (STATUS_UNAVAILABLE). */
enum status pg_program_run(const struct pg_place *place, char *const argv[], struct err *err);

/* --- db_pg_stmt.c --- */

/* The functions of struct db_engine (db_impl.h) of these names. */
enum status pg_stmt_new(struct db *base, const char *sql, struct stmt **out, struct err *err);
void pg_stmt_free(struct stmt *base);
enum status pg_stmt_new_once(struct db *base, const char *sql, int within_ms, struct stmt **out, struct err *err);
bool pg_stmt_usable(struct stmt *base);
void pg_stmt_reset(struct stmt *base);
void pg_stmt_clear(struct stmt *base);
void pg_bind_blob(struct stmt *base, int i, const void *p, size_t n);
void pg_bind_text(struct stmt *base, int i, struct str text);
void pg_bind_i64(struct stmt *base, int i, int64_t value);
void pg_bind_double(struct stmt *base, int i, double value);
void pg_bind_null(struct stmt *base, int i);
enum status pg_stmt_step(struct stmt *base, bool *row, struct err *err);
int64_t pg_stmt_changed(struct stmt *base);
bool pg_column_is_null(struct stmt *base, int c);
struct str pg_column_text(struct stmt *base, int c);
struct str pg_column_blob(struct stmt *base, int c);
int64_t pg_column_i64(struct stmt *base, int c);
double pg_column_double(struct stmt *base, int c);

/* The statement's parameters as libpq wants them. */
struct pg_values {
	const char *values[PG_PARAMS];
	int lengths[PG_PARAMS], formats[PG_PARAMS];
};
void pg_values(const struct pg_stmt *stmt, struct pg_values *out);

/* Takes the result of a whole statement; owns it. */
void pg_take_result(struct pg_stmt *stmt, PGresult *result);

#endif
