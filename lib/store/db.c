/* The seam: finds the engine by the URL's scheme, keeps prepared statements by the address of their text, and passes
 * every other call on. A second engine is one more row in ENGINES. */
#include "store/db_impl.h"

enum { CHECKPOINT_PAGES = 1000 }; /* of 4 KiB */

static const struct db_engine *const ENGINES[] = {&DB_SQLITE, &DB_PG};

static const struct db_engine *engine_of(struct str url, struct err *err)
{
	for (size_t i = 0; i < sizeof(ENGINES) / sizeof(ENGINES[0]); i++)
		if (str_starts(url, str_of(ENGINES[i]->scheme)))
			return ENGINES[i];
	/* The URL is not repeated here: that of another engine may hold a password. */
	err_set(err, STATUS_INVALID,
		"the database URL is of no known form: use sqlite:///relative.db, sqlite:////absolute.db or "
		"postgresql://user@host/database");
	return NULL;
}

enum status db_check_url(struct str url, struct err *err)
{
	const struct db_engine *engine = engine_of(url, err);

	return engine ? engine->check_url(url, err) : STATUS_INVALID;
}

enum db_dialect db_dialect(const struct db *db)
{
	return db->engine->dialect;
}

bool db_is_remote(const struct db *db)
{
	return db->engine->is_remote;
}

void db_together(struct db *db, size_t n, void (*task)(void *arg, size_t i), void *arg)
{
	if (db->engine->together) {
		db->engine->together(db, n, task, arg);
		return;
	}
	for (size_t i = 0; i < n; i++)
		task(arg, i);
}

enum status db_lock(struct db *db, int64_t key, struct err *err)
{
	return db->engine->lock(db, key, err);
}

enum status db_open(struct db **out, struct str url, enum db_mode mode, struct err *err)
{
	const struct db_engine *engine = engine_of(url, err);

	*out = NULL;
	return engine ? engine->open(out, url, mode, err) : STATUS_INVALID;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	for (int i = 0; i < DB_STATEMENTS; i++) {
		while (db->statements[i]) {
			struct stmt *stmt = db->statements[i];
			db->statements[i] = stmt->next;
			stmt->engine->stmt_free(stmt);
		}
	}
	db->engine->close(db);
}

enum status db_restore(struct str url, const char *path, struct err *err)
{
	const struct db_engine *engine = engine_of(url, err);

	return engine ? engine->restore(url, path, err) : STATUS_INVALID;
}

static void put_last(struct db *db, unsigned bucket, struct stmt *stmt)
{
	stmt->next = NULL;
	if (db->statements[bucket])
		db->last[bucket]->next = stmt;
	else
		db->statements[bucket] = stmt;
	db->last[bucket] = stmt;
}

enum status db_prepare(struct db *db, const char *sql, struct stmt **out, struct err *err)
{
	unsigned bucket = (unsigned)((uintptr_t)sql >> 3) % DB_STATEMENTS;
	struct stmt *stmt;

	for (struct stmt **at = &db->statements[bucket]; (stmt = *at); at = &stmt->next) {
		if (stmt->sql == sql && (!db->engine->usable || db->engine->usable(stmt))) {
			if (stmt->next) {
				*at = stmt->next;
				put_last(db, bucket, stmt);
			}
			db->engine->clear(stmt);
			*out = stmt;
			return STATUS_OK;
		}
	}
	*out = NULL;
	enum status status = db->engine->stmt_new(db, sql, out, err);
	if (status != STATUS_OK)
		return status;
	(*out)->engine = db->engine;
	(*out)->sql = sql;
	put_last(db, bucket, *out);
	return STATUS_OK;
}

enum status db_prepare_once(struct db *db, const char *sql, int within_ms, struct stmt **out, struct err *err)
{
	*out = NULL;
	enum status status = db->engine->stmt_new_once(db, sql, within_ms, out, err);
	if (status != STATUS_OK)
		return status;
	(*out)->engine = db->engine;
	(*out)->sql = sql;
	return STATUS_OK;
}

void db_finish(struct stmt *stmt)
{
	if (!stmt)
		return;
	stmt->engine->reset(stmt);
	stmt->engine->stmt_free(stmt);
}

void db_bind_text(struct stmt *stmt, int i, struct str text)
{
	stmt->engine->bind_text(stmt, i, text);
}

void db_bind_blob(struct stmt *stmt, int i, const void *p, size_t n)
{
	stmt->engine->bind_blob(stmt, i, p, n);
}

void db_bind_i64(struct stmt *stmt, int i, int64_t value)
{
	stmt->engine->bind_i64(stmt, i, value);
}

void db_bind_double(struct stmt *stmt, int i, double value)
{
	stmt->engine->bind_double(stmt, i, value);
}

void db_bind_null(struct stmt *stmt, int i)
{
	stmt->engine->bind_null(stmt, i);
}

enum status db_step(struct stmt *stmt, bool *row, struct err *err)
{
	return stmt->engine->step(stmt, row, err);
}

void db_reset(struct stmt *stmt)
{
	stmt->engine->reset(stmt);
}

struct str db_column_text(struct stmt *stmt, int c)
{
	return stmt->engine->column_text(stmt, c);
}

void db_column_copy(struct stmt *stmt, int c, char *out, size_t size)
{
	struct str text = db_column_text(stmt, c);
	size_t n = text.n < size ? text.n : size - 1;

	if (n > 0)
		memcpy(out, text.p, n);
	out[n] = '\0';
}

struct str db_column_blob(struct stmt *stmt, int c)
{
	return stmt->engine->column_blob(stmt, c);
}

int64_t db_column_i64(struct stmt *stmt, int c)
{
	return stmt->engine->column_i64(stmt, c);
}

double db_column_double(struct stmt *stmt, int c)
{
	return stmt->engine->column_double(stmt, c);
}

bool db_column_is_null(struct stmt *stmt, int c)
{
	return stmt->engine->column_is_null(stmt, c);
}

enum status db_run(struct stmt *stmt, int64_t *changed, struct err *err)
{
	enum status status;
	bool row;

	do
		status = stmt->engine->step(stmt, &row, err);
	while (status == STATUS_OK && row);
	if (changed)
		*changed = status == STATUS_OK ? stmt->engine->changed(stmt) : 0;
	stmt->engine->reset(stmt);
	return status;
}

static void bind(struct stmt *stmt, int i, const struct db_value *value)
{
	if (value->null) {
		db_bind_null(stmt, i);
		return;
	}
	switch (value->type) {
	case DB_TEXT:
		db_bind_text(stmt, i, value->bytes);
		return;
	case DB_BLOB:
		db_bind_blob(stmt, i, value->bytes.p, value->bytes.n);
		return;
	case DB_I64:
		db_bind_i64(stmt, i, value->i64);
		return;
	case DB_DOUBLE:
		db_bind_double(stmt, i, value->real);
		return;
	}
}

enum status db_run_once(struct db *db, const char *sql, const struct db_value *values, size_t n, int64_t *changed,
			struct err *err)
{
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK) {
		if (changed)
			*changed = 0;
		return status;
	}
	for (size_t i = 0; i < n; i++)
		bind(stmt, (int)i + 1, &values[i]);
	return db_run(stmt, changed, err);
}

enum status db_script(struct db *db, const char *sql, struct err *err)
{
	return db->engine->script(db, sql, err);
}

enum status db_turn_take(struct db *db, int wait_ms, struct err *err)
{
	return db->engine->turn_take(db, wait_ms, err);
}

void db_turn_give(struct db *db)
{
	db->engine->turn_give(db);
}

int db_turn_holder(struct db *db)
{
	return db->engine->turn_holder(db);
}

enum status db_begin(struct db *db, struct err *err)
{
	return db->engine->begin(db, err);
}

enum status db_commit(struct db *db, struct err *err)
{
	return db->engine->commit(db, err);
}

void db_rollback(struct db *db)
{
	db->engine->rollback(db);
}

static enum status transact(struct db *db, int wait_ms, enum status (*begin)(struct db *db, struct err *err),
			    db_change *change, void *arg, struct err *err)
{
	enum status status = db_turn_take(db, wait_ms, err);

	if (status != STATUS_OK)
		return status;
	status = begin(db, err);
	if (status == STATUS_OK) {
		status = change(db, arg, err);
		if (status == STATUS_OK)
			status = db_commit(db, err);
		else
			db_rollback(db);
	}
	/* Who writes much keeps the log short: the next one should not have to. */
	if (status == STATUS_OK)
		(void)!db_checkpoint(db, CHECKPOINT_PAGES, NULL, NULL);
	db_turn_give(db);
	return status;
}

enum status db_transact(struct db *db, int wait_ms, db_change *change, void *arg, struct err *err)
{
	return transact(db, wait_ms, db->engine->begin, change, arg, err);
}

enum status db_transact_aside(struct db *db, int wait_ms, db_change *change, void *arg, struct err *err)
{
	if (!db->engine->begin_unsynced)
		return db_transact(db, wait_ms, change, arg, err);
	db->engine->turn_let_others(db);
	enum status status = transact(db, wait_ms, db->engine->begin_unsynced, change, arg, err);
	return status == STATUS_OK ? db->engine->settle(db, err) : status;
}

bool db_in_transaction(struct db *db)
{
	return db->engine->in_transaction(db);
}

enum status db_part_begin(struct db *db, struct err *err)
{
	return db->engine->part_begin(db, err);
}

enum status db_part_keep(struct db *db, struct err *err)
{
	return db->engine->part_keep(db, err);
}

enum status db_part_undo(struct db *db, struct err *err)
{
	return db->engine->part_undo(db, err);
}

int64_t db_changes(struct db *db)
{
	return db->engine->changes(db);
}

enum status db_begin_read(struct db *db, struct err *err)
{
	return db->engine->begin_read(db, err);
}

void db_end_read(struct db *db)
{
	db->engine->end_read(db);
}

enum status db_run_given(struct db *db, const char *sql, const struct db_value *values, size_t rows, int columns,
			 int64_t *changed, struct err *err)
{
	*changed = 0;
	if (!db->engine->run_given)
		return err_set(err, STATUS_INTERNAL, "this engine has no table of given rows");
	return db->engine->run_given(db, sql, values, rows, columns, changed, err);
}

bool db_turn_is_wanted(struct db *db)
{
	return db->engine->turn_is_wanted(db);
}

enum status db_copy_begin(struct db *db, const char *table, const char *const columns[], int n, struct db_copy **out,
			  struct err *err)
{
	*out = NULL;
	enum status status = db->engine->copy_begin(db, table, columns, n, out, err);
	if (status == STATUS_OK)
		(*out)->engine = db->engine;
	return status;
}

enum status db_copy_row(struct db_copy *copy, const struct db_value *values, struct err *err)
{
	return copy->engine->copy_row(copy, values, err);
}

enum status db_copy_end(struct db_copy *copy, struct err *err)
{
	return copy->engine->copy_end(copy, err);
}

void db_copy_cancel(struct db_copy *copy)
{
	if (copy)
		copy->engine->copy_cancel(copy);
}

void db_be_patient(struct db *db)
{
	if (db->engine->wait_at_most)
		db->engine->wait_at_most(db, -1);
}

void db_be_quick(struct db *db, int ms)
{
	if (db->engine->wait_at_most)
		db->engine->wait_at_most(db, ms);
}

enum status db_end_stalled(struct db *db, int after_ms, struct db_stalled *out, struct err *err)
{
	*out = (struct db_stalled){0};
	return db->engine->end_stalled ? db->engine->end_stalled(db, after_ms, out, err) : STATUS_OK;
}

enum status db_has_table(struct db *db, const char *name, bool *has, struct err *err)
{
	return db->engine->has_table(db, name, has, err);
}

enum status db_checkpoint(struct db *db, int pages, bool *checkpointed, struct err *err)
{
	return db->engine->checkpoint(db, pages, checkpointed, err);
}

enum status db_checkpoint_aside(struct db *db, bool polite, struct err *err)
{
	return db->engine->checkpoint_aside ? db->engine->checkpoint_aside(db, polite, err) : STATUS_OK;
}

void db_info(struct db *db, struct db_info *out)
{
	db->engine->info(db, out);
}

enum status db_ping(struct db *db, struct err *err)
{
	return db->engine->ping(db, err);
}

enum status db_backup(struct db *db, const char *path, struct err *err)
{
	return db->engine->backup(db, path, err);
}

enum status db_integrity(struct db *db, struct err *err)
{
	return db->engine->integrity(db, err);
}

enum status db_listen(struct db *db, int stop_fd, bool *told, struct err *err)
{
	static const char sql[] = "LISTEN appcore_tasks";

	*told = false;
	if (!db->engine->listen)
		return err_set(err, STATUS_NOT_FOUND, "this database tells nobody of its changes");
	return db->engine->listen(db, sql, stop_fd, told, err);
}
