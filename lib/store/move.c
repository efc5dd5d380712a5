/* The move. The source is live: rows come, retention takes others away, keys change. So the move is made of runs, each
 * of which makes the target equal to what the source was when the run read it; the last one is made when nobody writes.
 *
 * Tables predictions and shadow_predictions grow at their ends and never change, so they are carried in ranges of their
 * keys (RANGE_ROWS). A range's
 * rows and its line in the target's table moves (first and last key, number of rows, sum of their hashes) are one
 * transaction: whatever kills a run, the lines tell the next one which ranges are missing, and no row comes twice. What
 * no line covers is a gap; a run fills the gaps, the last of which is everything after the newest line.
 *
 * Identifiers order by start, not by commit: a row may be committed after one that has a larger key. How much later is
 * bounded by the time that a request may take (seconds: nginx's two tries, the writer's deadline) and by the difference
 * of the edges' clocks. A range is therefore settled only when it was read at least LAG_MS after the time in its last
 * key. Each run reads those that are not settled in the source again; when the sum is another one, the range is taken
 * out of the target and becomes a gap. The first range is read again as well, since retention deletes there. That
 * covers what the service does by itself. Whatever else was done to the source (rows deleted or inserted by hand) shows
 * in the number of its rows, which every run compares: then all ranges are read again.
 *
 * The other tables are small and change in place: a table whose sum differs is replaced as a whole in one transaction.
 *
 * At the end each new range is read back from the target and compared with its line. Sums are computed from the values
 * as db.h delivers them, so both engines give the same.
 *
 * The target must be nobody else's: empty, or filled by an earlier run from the same source (each database has a random
 * identity), and not in service yet: rows after the newest line, or keys that no run has written, mean that it is, and
 * deleting them would be a loss. Two runs at once: each transaction makes sure that the newest run is its own.
 *
 * Reading is done in pages by key, each a short read transaction, so the source's log is not held up. Into SQLite it is
 * written in turns, long ones as long as nobody else waits for the turn. PostgreSQL's weeks are loaded as tables
 * without indexes where they are not there yet (predictions_load_begin). */
#include "store/move_impl.h"

#include "base/clock.h"
#include "base/id.h"
#include "store/predictions.h"

#include <sodium.h>
#include <stdlib.h>
#include <time.h>

enum { PATIENCE_MS = 60 * 1000 };

/* From here on this run is the one that writes to the target. */
static enum status take_over(struct mover *m, bool first, const char *id, struct err *err)
{
	uint8_t random[16];

	randombytes_buf(random, sizeof(random));
	hex_format(random, sizeof(random), m->run);
	enum status status = db_turn_take(m->target, MOVE_TURN_WAIT_MS, err);
	if (status != STATUS_OK)
		return status;
	status = db_begin(m->target, err);
	if (status == STATUS_OK) {
		status = moves_set(m->target, "run", m->run, err);
		if (status == STATUS_OK)
			status = moves_set(m->target, "source", id, err);
		if (status == STATUS_OK)
			status = moves_set(m->target, "complete", "", err);
		if (status == STATUS_OK && first)
			status = predictions_load_drop(m->target, err);
		status = move_end(m, status, err); /* gives the turn */
		return status;
	}
	db_turn_give(m->target);
	return status;
}

static enum status set_complete(struct mover *m, struct err *err)
{
	enum status status = move_begin(m, err);

	return status == STATUS_OK ? move_end(m, moves_set(m->target, "complete", m->run, err), err) : status;
}

static enum status move_all(struct mover *m, struct err *err)
{
	enum status status = STATUS_OK;

	m->result->n = 0;
	m->result->equal = true;
	/* The large ones first: the small ones are then as new as can be. */
	for (int grows = 1; grows >= 0; grows--) {
		for (int i = 0; i < TABLES_N && status == STATUS_OK; i++) {
			if (TABLES[i].grows != (grows == 1))
				continue;
			struct move_table *out = &m->result->tables[m->result->n++];
			*out = (struct move_table){0};
			status = TABLES[i].grows ? move_growing_table(m, i, out, err)
						 : move_small_table(m, i, out, err);
			m->result->equal = m->result->equal && out->equal;
		}
	}
	return status == STATUS_OK && m->result->equal ? set_complete(m, err) : status;
}

static bool may_pass(enum status status)
{
	return status == STATUS_BUSY || status == STATUS_UNAVAILABLE || status == STATUS_UNKNOWN_OUTCOME;
}

/* A database that is restarted, or busy, is waited for: what was carried is known by its lines. */
static enum status move_patiently(struct mover *m, struct err *err)
{
	struct timespec nap = {.tv_nsec = 500 * 1000000L};
	uint64_t since_ms = 0; /* it fails, and gets nothing done that lasts */
	struct err why = {0};

	for (;;) {
		int64_t steps = m->steps;
		enum status status = move_all(m, &why);
		if (status == STATUS_OK)
			return status;
		if (since_ms == 0 || m->steps != steps)
			since_ms = clock_mono_ms();
		if (move_is_stopped(m) || !may_pass(status) || clock_mono_ms() - since_ms > PATIENCE_MS)
			return err_set(err, status, "%s", why.text);
		move_note_phase(m, MOVE_WAITING, "", 0);
		m->progress.why = why.text;
		move_show(m);
		nanosleep(&nap, NULL);
	}
}

static enum status run(struct mover *m, struct err *err)
{
	char id[MOVES_ID_BYTES] = "";
	bool first = false;

	enum status status = move_open(m, &first, id, err);
	if (status == STATUS_OK)
		status = take_over(m, first, id, err);
	m->result->resumed = !first;
	return status == STATUS_OK ? move_patiently(m, err) : status;
}

enum status move_run(const struct move_options *options, struct move_result *result, struct err *err)
{
	struct mover m = {.options = options, .result = result};

	*result = (struct move_result){0};
	enum status status = run(&m, err);
	db_close(m.source);
	db_close(m.target);
	free(m.texts);
	return status;
}
