/* Statements of PostgreSQL. Text goes to the server as bytes with a length, numbers as text in their shortest form that
 * reads back, so that the server decides their width; answers come as text.
 *
 * Outside of a write transaction one statement at a time is read, row by row (libpq's single-row mode): a list of large
 * rows costs the memory of one. A connection that turns out to be dead before its first row is made anew and asked once
 * more, so a restarted server costs a reader nothing but time; one that was silent for too long is not. */
#include "store/db_pg_impl.h"

#include "base/clock.h"
#include "base/id.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DRAIN_BYTES = 256 * 1024, PARAM_KEEP_BYTES = 64 * 1024 };

static struct pg_stmt *stmt_of(struct stmt *base)
{
	return (struct pg_stmt *)base;
}

/* The name is made of the text, so that one name never means two texts, whoever shares the server's connection. */
static struct pg_text *find_text(struct pg_db *db, const char *sql)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

	for (int i = 0; i < db->n_texts; i++)
		if (db->texts[i].sql == sql)
			return &db->texts[i];
	if (db->n_texts == PG_TEXTS)
		return NULL;
	struct pg_text *text = &db->texts[db->n_texts++];
	text->n_params = 0;
	for (const char *p = sql; *p; p++) {
		hash = (hash ^ (unsigned char)*p) * UINT64_C(1099511628211);
		int i = *p == '$' ? (int)strtol(p + 1, NULL, 10) : 0;
		text->n_params = i > text->n_params && i <= PG_PARAMS ? i : text->n_params;
	}
	text->sql = sql;
	snprintf(text->name, sizeof(text->name), "ac_%016" PRIx64, hash);
	return text;
}

/* What is not bound is NULL. */
static void clear_params(struct pg_stmt *stmt)
{
	stmt->n_params = stmt->text->n_params;
	for (int i = 0; i < stmt->n_params; i++)
		stmt->params[i].null = true;
}

enum status pg_stmt_new(struct db *base, const char *sql, struct stmt **out, struct err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	struct pg_text *text = find_text(db, sql);

	*out = text ? calloc(1, sizeof(struct pg_stmt)) : NULL;
	if (!*out)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a statement");
	struct pg_stmt *stmt = stmt_of(*out);
	stmt->db = db;
	stmt->text = text;
	stmt->owner = db->current;
	clear_params(stmt);
	return STATUS_OK;
}

/* Its parameters are those that are bound: a text may hold a "$5" that is none. */
enum status pg_stmt_new_once(struct db *base, const char *sql, int within_ms, struct stmt **out, struct err *err)
{
	void *room = calloc(1, sizeof(struct pg_stmt));

	*out = room;
	if (!room)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a statement");
	struct pg_stmt *stmt = room;
	stmt->db = (struct pg_db *)base;
	stmt->own.sql = sql;
	stmt->text = &stmt->own;
	stmt->once = true;
	stmt->end_ms = within_ms > 0 ? clock_mono_ms() + (uint64_t)within_ms : 0;
	stmt->owner = stmt->db->current;
	return STATUS_OK;
}

static void clear_result(struct pg_stmt *stmt)
{
	PQclear(stmt->result);
	stmt->result = NULL;
	for (int i = 0; i < 4; i++) {
		free(stmt->blob[i]);
		stmt->blob[i] = NULL;
	}
}

void pg_stmt_free(struct stmt *base)
{
	struct pg_stmt *stmt = stmt_of(base);

	clear_result(stmt);
	for (int i = 0; i < PG_PARAMS; i++)
		free(stmt->params[i].p);
	free(stmt);
}

bool pg_stmt_usable(struct stmt *base)
{
	struct pg_stmt *stmt = stmt_of(base);

	return !stmt->owner || !stmt->owner->active || stmt->owner == stmt->db->current;
}

/* What the server still wants to say is read away, or the connection given up when it is much. */
static void stop_reading(struct pg_stmt *stmt)
{
	struct pg_db *db = stmt->db;
	PGresult *result;

	if (!stmt->running)
		return;
	stmt->running = false;
	db->reading = NULL;
	for (size_t bytes = 0; bytes < DRAIN_BYTES;) {
		if (!pg_wait(db, db->statement_ms, NULL))
			return;
		result = PQgetResult(db->conn);
		if (!result)
			return;
		bytes += PQresultMemorySize(result);
		PQclear(result);
	}
	pg_disconnect(db);
}

void pg_stmt_reset(struct stmt *base)
{
	struct pg_stmt *stmt = stmt_of(base);

	stop_reading(stmt);
	clear_result(stmt);
	stmt->ended = false;
}

void pg_stmt_clear(struct stmt *base)
{
	struct pg_stmt *stmt = stmt_of(base);

	pg_stmt_reset(base);
	stmt->owner = stmt->db->current;
	stmt->no_memory = false;
	clear_params(stmt);
	/* There may be as many of these as tasks side by side: none keeps the memory of a large value. */
	for (int i = 0; i < PG_PARAMS; i++) {
		if (stmt->params[i].cap <= PARAM_KEEP_BYTES)
			continue;
		free(stmt->params[i].p);
		stmt->params[i].p = NULL;
		stmt->params[i].cap = 0;
	}
}

/* --- parameters --- */

static struct pg_param *param(struct stmt *base, int i, size_t n, int format)
{
	struct pg_stmt *stmt = stmt_of(base);

	if (i < 1 || i > PG_PARAMS || n > INT32_MAX / 2) {
		stmt->no_memory = true;
		return NULL;
	}
	struct pg_param *param = &stmt->params[i - 1];
	if (stmt->n_params < i)
		stmt->n_params = i;
	if (param->cap < n + 1) {
		size_t cap = n + 1 < 64 ? 64 : n + 1;
		char *p = realloc(param->p, cap);
		if (!p) {
			stmt->no_memory = true;
			return NULL;
		}
		param->p = p;
		param->cap = cap;
	}
	param->n = (int)n;
	param->format = format;
	param->null = false;
	return param;
}

void pg_bind_blob(struct stmt *base, int i, const void *p, size_t n)
{
	struct pg_param *to = param(base, i, n, 1);

	if (!to)
		return;
	if (n > 0)
		memcpy(to->p, p, n);
	to->p[n] = '\0';
}

void pg_bind_text(struct stmt *base, int i, struct str text)
{
	pg_bind_blob(base, i, text.p, text.n);
}

void pg_bind_i64(struct stmt *base, int i, int64_t value)
{
	struct pg_param *to = param(base, i, 24, 0);

	if (to)
		to->n = snprintf(to->p, 24, "%" PRId64, value);
}

void pg_bind_double(struct stmt *base, int i, double value)
{
	struct pg_param *to = param(base, i, 40, 0);

	if (to)
		to->n = snprintf(to->p, 40, "%.17g", value);
}

void pg_bind_null(struct stmt *base, int i)
{
	struct pg_param *to = param(base, i, 0, 0);

	if (to)
		to->null = true;
}

void pg_values(const struct pg_stmt *stmt, struct pg_values *out)
{
	for (int i = 0; i < stmt->n_params; i++) {
		const struct pg_param *param = &stmt->params[i];
		out->values[i] = param->null ? NULL : param->p;
		out->lengths[i] = param->n;
		out->formats[i] = param->format;
	}
}

/* --- running --- */

void pg_take_result(struct pg_stmt *stmt, PGresult *result)
{
	clear_result(stmt);
	stmt->result = result;
	stmt->row = -1;
	stmt->ended = true;
	stmt->status = STATUS_OK;
	stmt->changed = PQcmdTuples(result)[0] && PQntuples(result) == 0 ? strtoll(PQcmdTuples(result), NULL, 10) : 0;
}

static enum status send_read(struct pg_stmt *stmt, struct err *err)
{
	struct pg_db *db = stmt->db;
	struct pg_text *text = stmt->text;
	struct pg_values v;
	bool sent;

	pg_values(stmt, &v);
	if (!stmt->once && !db->anonymous && text->prepared_in != db->number) {
		if (!PQsendPrepare(db->conn, text->name, text->sql, 0, NULL) || !pg_wait(db, db->statement_ms, err))
			return STATUS_UNAVAILABLE;
		enum status status = STATUS_OK;
		for (PGresult *result; pg_wait(db, db->statement_ms, err) && (result = PQgetResult(db->conn));
		     PQclear(result))
			if (PQresultStatus(result) != PGRES_COMMAND_OK)
				status = pg_fail(db, result, err);
		if (status != STATUS_OK || !db->conn)
			return status != STATUS_OK ? status : STATUS_UNAVAILABLE;
		text->prepared_in = db->number;
	}
	if (stmt->once || db->anonymous)
		sent = PQsendQueryParams(db->conn, text->sql, stmt->n_params, NULL, v.values, v.lengths, v.formats, 0);
	else
		sent = PQsendQueryPrepared(db->conn, text->name, stmt->n_params, v.values, v.lengths, v.formats, 0);
	if (!sent || !PQsetSingleRowMode(db->conn))
		return pg_fail(db, NULL, err);
	stmt->running = db->row_by_row = true;
	db->reading = stmt;
	return STATUS_OK;
}

/* For how long its next row may be waited for. *limited: by its own limit. */
static int patience(const struct pg_stmt *stmt, bool *limited)
{
	uint64_t now = clock_mono_ms();
	int most = stmt->db->statement_ms;
	int left = stmt->end_ms > now ? (int)(stmt->end_ms - now) : 0;

	*limited = stmt->end_ms > 0 && (most < 0 || left < most);
	return *limited ? left : most;
}

/* The next row, or the end. */
static enum status next_row(struct pg_stmt *stmt, bool *row, struct err *err)
{
	struct pg_db *db = stmt->db;

	*row = false;
	clear_result(stmt);
	bool limited;
	int ms = patience(stmt, &limited);
	if (!pg_wait(db, ms, err)) {
		stmt->running = false;
		db->reading = NULL;
		return limited && db->silent ? err_set(err, STATUS_LIMITED, "the query took too long")
					     : STATUS_UNAVAILABLE;
	}
	stmt->result = PQgetResult(db->conn);
	switch (stmt->result ? PQresultStatus(stmt->result) : PGRES_TUPLES_OK) {
	case PGRES_SINGLE_TUPLE:
		stmt->row = 0;
		*row = true;
		return STATUS_OK;
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
		stmt->changed = stmt->result && PQcmdTuples(stmt->result)[0] &&
						PQresultStatus(stmt->result) == PGRES_COMMAND_OK
					? strtoll(PQcmdTuples(stmt->result), NULL, 10)
					: 0;
		db->changes += stmt->changed;
		stop_reading(stmt);
		stmt->ended = true;
		return STATUS_OK;
	default:
		break;
	}
	enum status status = pg_fail(db, stmt->result, err);
	stop_reading(stmt);
	return status;
}

/* Starts a statement outside of a transaction and takes its first row. What only a new connection, or a statement
 * without a name, can mend is tried once more. */
static enum status start_read(struct pg_stmt *stmt, bool *row, struct err *err)
{
	enum status status = STATUS_OK;

	for (int tries = 0; tries < 2; tries++) {
		struct pg_db *db = stmt->db;
		bool anonymous = db->anonymous;
		if (db->reading && db->reading != stmt)
			return err_set(err, STATUS_INTERNAL, "two statements are read at once");
		status = pg_connect(db, err);
		if (status != STATUS_OK)
			return status;
		if (pg_plans_are_old(db))
			status = pg_simple(db, PG_FORGET, db->statement_ms, err);
		if (status == STATUS_OK)
			status = send_read(stmt, err);
		if (status == STATUS_OK)
			status = next_row(stmt, row, err);
		if (status == STATUS_OK)
			return status;
		if (db->silent || (!db->lost && db->conn && anonymous == db->anonymous))
			return status;
		stmt->running = false;
	}
	return status;
}

enum status pg_stmt_step(struct stmt *base, bool *row, struct err *err)
{
	struct pg_stmt *stmt = stmt_of(base);

	*row = false;
	if (stmt->no_memory)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a statement's parameters");
	/* A transaction whose connection is gone does not go on with another one. */
	if (!stmt->db->pipelined && !stmt->db->in_transaction) {
		if (stmt->running)
			return next_row(stmt, row, err);
		return stmt->ended ? STATUS_OK : start_read(stmt, row, err);
	}
	if (!stmt->result || !stmt->ended) {
		pg_pipeline_run(stmt);
		if (stmt->status != STATUS_OK) {
			stmt->ended = false;
			return err_set(err, stmt->status, "%s", stmt->err.text);
		}
	}
	stmt->row++;
	*row = stmt->row < PQntuples(stmt->result);
	return STATUS_OK;
}

int64_t pg_stmt_changed(struct stmt *base)
{
	return stmt_of(base)->changed;
}

/* --- columns --- */

bool pg_column_is_null(struct stmt *base, int c)
{
	return PQgetisnull(stmt_of(base)->result, stmt_of(base)->row, c) != 0;
}

struct str pg_column_text(struct stmt *base, int c)
{
	struct pg_stmt *stmt = stmt_of(base);

	if (pg_column_is_null(base, c))
		return (struct str){0};
	return (struct str){PQgetvalue(stmt->result, stmt->row, c), (size_t)PQgetlength(stmt->result, stmt->row, c)};
}

/* bytea comes as \x and hex digits; four decoded columns stay until the next step. */
struct str pg_column_blob(struct stmt *base, int c)
{
	struct pg_stmt *stmt = stmt_of(base);
	struct str text = pg_column_text(base, c);
	size_t n = text.n >= 2 ? (text.n - 2) / 2 : 0;

	if (!text.p)
		return text;
	char **blob = &stmt->blob[stmt->blob_turn++ % 4];
	free(*blob);
	*blob = malloc(n + 1);
	if (!*blob || !hex_parse((struct str){text.p + 2, 2 * n}, (uint8_t *)*blob, n))
		return (struct str){0};
	return (struct str){*blob, n};
}

/* Booleans read as 0 and 1. */
int64_t pg_column_i64(struct stmt *base, int c)
{
	struct str text = pg_column_text(base, c);

	if (text.n == 1 && text.p[0] == 't')
		return 1;
	return text.p ? strtoll(text.p, NULL, 10) : 0;
}

double pg_column_double(struct stmt *base, int c)
{
	struct str text = pg_column_text(base, c);

	return text.p ? strtod(text.p, NULL) : 0.0;
}
