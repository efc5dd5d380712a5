/* What an engine behind db.h provides. db.c picks one by the URL's scheme, keeps the prepared statements and passes
 * everything else on, so the contracts are those of db.h. */
#ifndef APPCORE_STORE_DB_IMPL_H
#define APPCORE_STORE_DB_IMPL_H

#include "store/db.h"

enum { DB_STATEMENTS = 64 /* buckets */ };

struct db_engine {
	const char *scheme; /* "sqlite:" */
	enum db_dialect dialect;
	bool is_remote;
	enum status (*open)(struct db **out, struct str url, enum db_mode mode, struct err *err);
	void (*close)(struct db *db); /* after its statements were freed */
	enum status (*restore)(struct str url, const char *path, struct err *err);

	enum status (*stmt_new)(struct db *db, const char *sql, struct stmt **out, struct err *err);
	void (*stmt_free)(struct stmt *stmt);
	enum status (*stmt_new_once)(struct db *db, const char *sql, int within_ms, struct stmt **out, struct err *err);
	bool (*usable)(struct stmt *stmt); /* not in another task's hands; NULL: tasks don't run side by side */
	void (*clear)(struct stmt *stmt);  /* reset, and without bindings */
	void (*bind_text)(struct stmt *stmt, int i, struct str text);
	void (*bind_blob)(struct stmt *stmt, int i, const void *p, size_t n);
	void (*bind_i64)(struct stmt *stmt, int i, int64_t value);
	void (*bind_double)(struct stmt *stmt, int i, double value);
	void (*bind_null)(struct stmt *stmt, int i);
	enum status (*step)(struct stmt *stmt, bool *row, struct err *err);
	void (*reset)(struct stmt *stmt);
	int64_t (*changed)(struct stmt *stmt); /* by the statement that just ran to its end */
	struct str (*column_text)(struct stmt *stmt, int c);
	struct str (*column_blob)(struct stmt *stmt, int c);
	int64_t (*column_i64)(struct stmt *stmt, int c);
	double (*column_double)(struct stmt *stmt, int c);
	bool (*column_is_null)(struct stmt *stmt, int c);
	enum status (*script)(struct db *db, const char *sql, struct err *err);

	enum status (*check_url)(struct str url, struct err *err);
	enum status (*lock)(struct db *db, int64_t key, struct err *err);
	void (*together)(struct db *db, size_t n, void (*task)(void *arg, size_t i), void *arg); /* NULL: in turn */
	enum status (*turn_take)(struct db *db, int wait_ms, struct err *err);
	void (*turn_give)(struct db *db);
	int (*turn_holder)(struct db *db);
	enum status (*begin)(struct db *db, struct err *err);
	/* A transaction whose commit leaves the sync to `settle`, which is called outside of the turn. NULL: nobody
	 * waits for another's. */
	enum status (*begin_unsynced)(struct db *db, struct err *err);
	enum status (*settle)(struct db *db, struct err *err);
	enum status (*commit)(struct db *db, struct err *err);
	void (*rollback)(struct db *db);
	bool (*in_transaction)(struct db *db);
	enum status (*part_begin)(struct db *db, struct err *err);
	enum status (*part_keep)(struct db *db, struct err *err);
	enum status (*part_undo)(struct db *db, struct err *err);
	int64_t (*changes)(struct db *db);
	enum status (*begin_read)(struct db *db, struct err *err);
	void (*end_read)(struct db *db);

	enum status (*listen)(struct db *db, const char *sql, int stop_fd, bool *told,
			      struct err *err); /* NULL: nobody says anything */

	bool (*turn_is_wanted)(struct db *db);
	void (*turn_let_others)(struct db *db); /* with begin_unsynced */
	enum status (*copy_begin)(struct db *db, const char *table, const char *const columns[], int n,
				  struct db_copy **out, struct err *err);
	enum status (*copy_row)(struct db_copy *copy, const struct db_value *values, struct err *err);
	enum status (*copy_end)(struct db_copy *copy, struct err *err);
	void (*copy_cancel)(struct db_copy *copy);

	enum status (*run_given)(struct db *db, const char *sql, const struct db_value *values, size_t rows,
				 int columns, int64_t *changed, struct err *err); /* NULL: there is no such table */

	enum status (*end_stalled)(struct db *db, int after_ms, struct db_stalled *out,
				   struct err *err); /* NULL: there are no sessions */
	void (*wait_at_most)(struct db *db, int ms); /* negative: for ever; NULL: it always does */
	enum status (*has_table)(struct db *db, const char *name, bool *has, struct err *err);
	enum status (*checkpoint)(struct db *db, int pages, bool *checkpointed, struct err *err);
	enum status (*checkpoint_aside)(struct db *db, bool polite, struct err *err); /* NULL: there is no log */
	void (*info)(struct db *db, struct db_info *out);
	enum status (*ping)(struct db *db, struct err *err);
	enum status (*backup)(struct db *db, const char *path, struct err *err);
	enum status (*integrity)(struct db *db, struct err *err);
};

/* Each stands first in the engine's own struct. */
struct db {
	const struct db_engine *engine;
	/* The one that was taken longest ago comes first: the others may be in other tasks' hands. */
	struct stmt *statements[DB_STATEMENTS], *last[DB_STATEMENTS];
};

struct stmt {
	const struct db_engine *engine;
	const char *sql;
	struct stmt *next; /* in its bucket */
};

struct db_copy {
	const struct db_engine *engine;
};

extern const struct db_engine DB_SQLITE, DB_PG;

#endif
