/* Write transactions, in libpq's pipeline mode: statements are sent without waiting for the answers to those before.
 *
 * The tasks of pg_together() are fibers. Each runs until its first statement is sent, then the next task runs; when all
 * wait, the server is asked to answer, and every answer lets its task go on. So the ops of a batch take as many round
 * trips as the longest of them has statements, however many ops there are. BEGIN travels with the first statements,
 * COMMIT and its answer are one more round trip.
 *
 * An error ends the whole transaction (PostgreSQL's rule), and libpq skips what was sent behind it until a sync. Every
 * task that had a statement under way is told, and the caller runs the batch again with savepoints.
 *
 * Protocol: https://www.postgresql.org/docs/15/libpq-pipeline-mode.html */
#include "store/db_pg_impl.h"

#include "base/fiber.h"

#include <poll.h>
#include <stdlib.h>

enum { UNSENT_MAX = 1 << 20 };

static const struct err LOST = {STATUS_UNAVAILABLE, "PostgreSQL: the connection was lost"};

/* --- what was sent --- */

static bool push(struct pg_db *db, struct pg_sent sent)
{
	if (db->sent_n == db->sent_cap) {
		size_t cap = db->sent_cap ? 2 * db->sent_cap : 256;
		struct pg_sent *ring = calloc(cap, sizeof(*ring));
		if (!ring)
			return false;
		for (size_t i = 0; i < db->sent_n; i++)
			ring[i] = db->sent[(db->sent_first + i) % db->sent_cap];
		free(db->sent);
		db->sent = ring;
		db->sent_cap = cap;
		db->sent_first = 0;
	}
	db->sent[(db->sent_first + db->sent_n++) % db->sent_cap] = sent;
	db->unflushed = true;
	return true;
}

static struct pg_sent pop(struct pg_db *db)
{
	struct pg_sent sent = db->sent[db->sent_first];

	db->sent_first = (db->sent_first + 1) % db->sent_cap;
	db->sent_n--;
	return sent;
}

static void count_change(struct pg_db *db, struct pg_fiber *fiber, int64_t n)
{
	db->changes += n;
	if (fiber)
		fiber->changes += n;
}

static void end_with(struct pg_stmt *stmt, const struct err *err)
{
	stmt->ended = true;
	stmt->running = false;
	stmt->status = err->status;
	stmt->err = *err;
	/* What it did before is undone with the transaction: the caller must run it again. */
	count_change(stmt->db, stmt->owner, 1);
}

/* Everybody who waits for an answer gets the error instead. */
static void lose(struct pg_db *db, const struct err *err)
{
	if (db->why.status == STATUS_OK)
		db->why = err->status != STATUS_OK ? *err : LOST;
	db->lost = true;
	while (db->sent_n > 0) {
		struct pg_sent sent = pop(db);
		if (sent.text)
			sent.text->prepared_in = 0;
		if (sent.stmt)
			end_with(sent.stmt, &db->why);
		if (sent.into)
			*sent.into = db->why;
		if (sent.done)
			*sent.done = true;
	}
}

static void take_error(struct pg_db *db, const PGresult *result, struct err *err)
{
	if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED)
		*err = db->why;
	else
		err->status = pg_fail(db, result, err);
	if (!db->aborted)
		db->why = *err;
	db->aborted = true;
}

/* One answer, for what was sent first. False: the connection is gone, and everybody was told. */
static bool receive(struct pg_db *db, struct pg_sent *sent)
{
	PGresult *result = NULL;
	struct err err = {0};

	if (db->unflushed && !PQsendFlushRequest(db->conn)) {
		pg_fail(db, NULL, &err);
		lose(db, &err);
		return false;
	}
	db->unflushed = false;
	/* Between two statements libpq answers NULL. */
	for (int i = 0; i < 4 && !result; i++) {
		size_t n = db->sent_n;
		if (!pg_wait(db, db->statement_ms, &err)) {
			db->sent_n = n; /* closing the connection forgets them, they must be told */
			lose(db, &err);
			return false;
		}
		result = PQgetResult(db->conn);
	}
	if (!result) {
		lose(db, &LOST);
		return false;
	}
	*sent = pop(db);
	switch (PQresultStatus(result)) {
	case PGRES_PIPELINE_SYNC:
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_EMPTY_QUERY:
		break;
	default:
		take_error(db, result, &err);
		if (sent->text)
			sent->text->prepared_in = 0;
	}
	if (sent->stmt && err.status != STATUS_OK) {
		end_with(sent->stmt, &err);
	} else if (sent->stmt) {
		pg_take_result(sent->stmt, result);
		result = NULL;
		count_change(db, sent->stmt->owner, sent->stmt->changed);
	}
	if (sent->into)
		*sent->into = err;
	if (sent->done)
		*sent->done = true;
	PQclear(result);
	return true;
}

/* --- sending --- */

/* It takes the place of the unnamed statement. */
static bool send_control(struct pg_db *db, const char *sql, struct err *into, bool *done)
{
	db->unnamed = NULL;
	return PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 0) &&
	       push(db, (struct pg_sent){.into = into, .done = done});
}

static bool send_prepare(struct pg_db *db, struct pg_text *text)
{
	if (db->anonymous) {
		if (db->unnamed == text->sql)
			return true;
		db->unnamed = text->sql;
		return PQsendPrepare(db->conn, "", text->sql, 0, NULL) && push(db, (struct pg_sent){0});
	}
	if (text->prepared_in == db->number)
		return true;
	text->prepared_in = db->number;
	return PQsendPrepare(db->conn, text->name, text->sql, 0, NULL) && push(db, (struct pg_sent){.text = text});
}

/* libpq keeps what the socket does not take, in a buffer that never shrinks: large values wait until it is empty. */
static bool make_room(struct pg_stmt *stmt)
{
	struct pg_db *db = stmt->db;
	size_t n = 0;

	for (int i = 0; i < stmt->n_params; i++)
		n += (size_t)stmt->params[i].n;
	db->unsent += n;
	if (db->unsent < UNSENT_MAX)
		return true;
	db->unsent = n;
	for (int rounds = 0; rounds < PG_STATEMENT_MS / 10; rounds++) {
		struct pollfd p = {.fd = PQsocket(db->conn), .events = POLLIN | POLLOUT};
		int left = PQflush(db->conn);
		if (left <= 0)
			return left == 0;
		if (poll(&p, 1, 10) > 0 && (p.revents & POLLIN) && !PQconsumeInput(db->conn))
			return false;
	}
	return false;
}

static bool send_stmt(struct pg_stmt *stmt)
{
	struct pg_db *db = stmt->db;
	struct pg_values v;

	pg_values(stmt, &v);
	if (stmt->once) {
		db->unnamed = NULL;
		return make_room(stmt) &&
		       PQsendQueryParams(db->conn, stmt->text->sql, stmt->n_params, NULL, v.values, v.lengths,
					 v.formats, 0) &&
		       push(db, (struct pg_sent){.stmt = stmt});
	}
	return make_room(stmt) && send_prepare(db, stmt->text) &&
	       PQsendQueryPrepared(db->conn, db->anonymous ? "" : stmt->text->name, stmt->n_params, v.values, v.lengths,
				   v.formats, 0) &&
	       push(db, (struct pg_sent){.stmt = stmt});
}

void pg_pipeline_run(struct pg_stmt *stmt)
{
	struct pg_db *db = stmt->db;
	struct pg_sent sent;
	struct err err = {0};

	stmt->ended = false;
	if (!db->lost && !send_stmt(stmt)) {
		pg_fail(db, NULL, &err);
		lose(db, &err);
	}
	if (db->lost) {
		if (!stmt->ended)
			end_with(stmt, db->why.status == STATUS_OK ? &LOST : &db->why);
		return;
	}
	while (!stmt->ended) {
		if (fiber_current())
			fiber_wait();
		else if (!receive(db, &sent))
			return;
	}
}

/* Ends the pipeline, so that after an error statements are run again. */
static bool synchronise(struct pg_db *db)
{
	struct pg_sent sent = {0};

	if (db->lost || !PQpipelineSync(db->conn) || !push(db, (struct pg_sent){.sync = true})) {
		lose(db, &LOST);
		return false;
	}
	db->unflushed = false; /* a sync is a request to answer */
	while (!sent.sync)
		if (!receive(db, &sent))
			return false;
	return true;
}

enum status pg_pipeline_simple(struct pg_db *db, const char *sql, struct err *err)
{
	struct pg_sent sent;
	struct err into = {0};
	bool done = false;

	if (!db->lost && !send_control(db, sql, &into, &done))
		lose(db, &LOST);
	while (!db->lost && !done)
		if (!receive(db, &sent))
			break;
	if (db->lost && into.status == STATUS_OK)
		into = db->why;
	return into.status == STATUS_OK ? STATUS_OK : err_set(err, into.status, "%s", into.text);
}

enum status pg_pipeline_undo(struct pg_db *db, const char *sql, struct err *err)
{
	if (!synchronise(db))
		return err_set(err, STATUS_UNAVAILABLE, "%s", db->why.text);
	db->aborted = false;
	enum status status = pg_pipeline_simple(db, sql, err);
	if (status == STATUS_OK)
		db->why = (struct err){0};
	return status;
}

/* A failure leaves the transaction spoilt, whatever the caller has written: that counts as a change. */
enum status pg_pipeline_pause(struct pg_db *db, struct err *err)
{
	if (!synchronise(db) || db->aborted || !PQexitPipelineMode(db->conn)) {
		count_change(db, db->current, 1);
		return err_set(err, db->why.status != STATUS_OK ? db->why.status : STATUS_UNAVAILABLE, "%s",
			       db->why.text);
	}
	db->unnamed = NULL; /* a simple query does away with it */
	return STATUS_OK;
}

enum status pg_pipeline_resume(struct pg_db *db, enum status status, struct err *err)
{
	if (status != STATUS_OK) {
		db->aborted = true;
		db->why = *err;
		db->why.status = status;
		count_change(db, db->current, 1);
	}
	if (!db->conn || db->lost || !PQenterPipelineMode(db->conn)) {
		lose(db, status != STATUS_OK ? err : &LOST);
		return status != STATUS_OK ? status : err_set(err, STATUS_UNAVAILABLE, "%s", LOST.text);
	}
	return status;
}

enum status pg_pipeline_script(struct pg_db *db, const char *sql, struct err *err)
{
	enum status status = pg_pipeline_pause(db, err);

	return status == STATUS_OK ? pg_pipeline_resume(db, pg_simple(db, sql, -1, err), err) : status;
}

/* --- transactions --- */

enum status pg_pipeline_begin(struct pg_db *db, struct err *err)
{
	enum status status = pg_connect(db, err);

	if (status != STATUS_OK)
		return status;
	db->why = (struct err){0};
	db->aborted = false;
	db->unnamed = NULL;
	db->sent_n = 0;
	if (!PQenterPipelineMode(db->conn) || !send_control(db, "BEGIN", NULL, NULL) ||
	    (pg_plans_are_old(db) && !send_control(db, PG_FORGET, NULL, NULL)) ||
	    (db->anonymous && !send_control(db, PG_LIMITS, NULL, NULL)) ||
	    (db->make_durable && !send_control(db, "SET LOCAL synchronous_commit = on", NULL, NULL))) {
		status = pg_fail(db, NULL, err);
		db->lost = true;
		pg_disconnect(db);
		return status;
	}
	db->pipelined = db->in_transaction = true;
	return STATUS_OK;
}

static void leave(struct pg_db *db)
{
	db->in_transaction = false;
	if (db->lost || (db->conn && !PQexitPipelineMode(db->conn)))
		pg_disconnect(db);
	db->pipelined = false;
}

void pg_pipeline_rollback(struct pg_db *db)
{
	struct err err;

	if (!db->in_transaction)
		return;
	if (!db->lost && synchronise(db)) {
		db->aborted = false;
		if (pg_pipeline_simple(db, "ROLLBACK", &err) == STATUS_OK)
			(void)synchronise(db);
	}
	leave(db);
}

/* COMMIT of a transaction that had failed is answered with "ROLLBACK", so whatever failed is looked at first. */
enum status pg_pipeline_commit(struct pg_db *db, struct err *err)
{
	struct pg_sent sent;

	if (!db->in_transaction)
		return err_set(err, STATUS_UNAVAILABLE, "there is no transaction to commit");
	while (db->sent_n > 0 && receive(db, &sent))
		;
	if (db->lost || db->aborted) {
		struct err why = db->why;
		pg_pipeline_rollback(db);
		return err_set(err, why.status != STATUS_OK ? why.status : STATUS_UNAVAILABLE, "%s", why.text);
	}
	struct err into = {0};
	bool done = false;
	if (!send_control(db, "COMMIT", &into, &done)) {
		lose(db, &LOST); /* it is not on its way yet */
		leave(db);
		return err_set(err, STATUS_UNAVAILABLE, "%s", LOST.text);
	}
	if (synchronise(db) && into.status == STATUS_OK) {
		leave(db);
		return STATUS_OK;
	}
	/* The server said no: surely not stored. Nobody said anything, or it was just shutting down: unknown. */
	bool unknown = db->lost;
	db->aborted = false;
	if (!db->lost)
		(void)synchronise(db);
	leave(db);
	if (unknown)
		return err_set(err, STATUS_UNKNOWN_OUTCOME, "the commit was not answered: %.200s", into.text);
	return err_set(err, into.status, "%s", into.text);
}

/* --- tasks side by side --- */

static void run_task(void *arg)
{
	struct pg_fiber *fiber = arg;

	fiber->db->task(fiber->db->task_arg, fiber->i);
	fiber->active = false;
}

static void resume(struct pg_db *db, struct pg_fiber *fiber)
{
	db->current = fiber;
	(void)fiber_resume(fiber->fiber);
	db->current = NULL;
}

static bool start_task(struct pg_db *db, struct pg_fiber *fiber, size_t i)
{
	if (!fiber->fiber)
		fiber->fiber = fiber_new();
	if (!fiber->fiber)
		return false;
	*fiber = (struct pg_fiber){.fiber = fiber->fiber, .db = db, .i = i, .active = true};
	fiber_start(fiber->fiber, run_task, fiber);
	resume(db, fiber);
	return true;
}

/* A task whose statement ended, also by a lost connection, goes on. */
static void resume_ready(struct pg_db *db)
{
	for (int i = 0; i < PG_WIDTH; i++)
		if (db->fibers[i].active)
			resume(db, &db->fibers[i]);
}

static void run_group(struct pg_db *db, size_t first, size_t n)
{
	struct pg_sent sent;

	for (size_t i = 0; i < n; i++)
		if (!start_task(db, &db->fibers[i], first + i))
			db->task(db->task_arg, first + i); /* no memory for a stack: by itself */
	do {
		while (db->sent_n > 0 && receive(db, &sent))
			if (sent.stmt && sent.stmt->owner && sent.stmt->owner->active)
				resume(db, sent.stmt->owner);
		/* Those who were told of a lost connection, or whose answer somebody else has read. */
		resume_ready(db);
	} while (db->sent_n > 0);
}

/* Reading outside of a transaction: the group is one implicit transaction up to the sync, so one error is everybody's.
 * That is for the caller to notice. */
static bool open_pipeline(struct pg_db *db)
{
	if (pg_connect(db, NULL) != STATUS_OK || db->reading || !PQenterPipelineMode(db->conn))
		return false;
	db->why = (struct err){0};
	db->aborted = false;
	db->unnamed = NULL;
	db->sent_n = 0;
	db->pipelined = true;
	/* libpq (15) still has single-row mode on for the first statement of a pipeline: let it be an empty one. */
	if (db->row_by_row && !send_control(db, "", NULL, NULL))
		lose(db, &LOST);
	db->row_by_row = false;
	if (!db->lost && pg_plans_are_old(db) && !send_control(db, PG_FORGET, NULL, NULL))
		lose(db, &LOST);
	return true;
}

static void close_pipeline(struct pg_db *db)
{
	if (!db->lost)
		(void)synchronise(db);
	leave(db);
}

void pg_together(struct db *base, size_t n, void (*task)(void *arg, size_t i), void *arg)
{
	struct pg_db *db = (struct pg_db *)base;
	bool reading = !db->pipelined && open_pipeline(db);

	if (!db->pipelined || (n == 1 && !reading)) {
		for (size_t i = 0; i < n; i++)
			task(arg, i);
		return;
	}
	db->task = task;
	db->task_arg = arg;
	for (size_t first = 0; first < n; first += PG_WIDTH)
		run_group(db, first, n - first < PG_WIDTH ? n - first : PG_WIDTH);
	if (reading)
		close_pipeline(db);
}

void pg_pipeline_free(struct pg_db *db)
{
	for (int i = 0; i < PG_WIDTH; i++)
		fiber_free(db->fibers[i].fiber);
	free(db->sent);
}
