/* The move of the tables that grow: ranges are carried, read again in the source, and read back from the target. Why
 * this way stands at the head of move.c. */
#include "store/move_impl.h"

#include "base/clock.h"
#include "base/id.h"
#include "store/predictions.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	RANGE_ROWS = 100 * 1000,
	TURN_MS = 5,
	LAG_MS = 2 * 60 * 1000,
	PASSES = 8,        /* over what came meanwhile, */
	PASS_ROWS = 20000, /* as long as it is more than that */
	ROUNDS = 4,        /* of passes and reading back, until both sides are equal */
};

static const char LAST_KEY[] = "\xf4\x8f\xbf\xbf"; /* after all text: U+10FFFF */

/* --- carrying a range --- */

struct carrying {
	struct mover *m;
	const struct table *table;
	const struct move_texts *texts;
	struct db_copy *copy;
	char until[40]; /* rows from here on belong into another table */
	struct moves_range range;
};

static enum status carry_row(void *arg, const struct db_value *values, bool *go_on, struct err *err)
{
	struct carrying *c = arg;
	struct str id = values[0].bytes;
	enum status status = STATUS_OK;
	char into[40];

	if (!c->copy) {
		snprintf(into, sizeof(into), "%s", c->table->name);
		if (c->table->in_weeks)
			status = predictions_load_begin(c->m->target, id, into, c->until, err);
		if (status == STATUS_OK)
			status = db_copy_begin(c->m->target, into, c->texts->columns, c->table->n, &c->copy, err);
	} else if (c->until[0] && strncmp(id.p, c->until, strlen(c->until)) >= 0) {
		*go_on = false;
	}
	if (status != STATUS_OK || !*go_on)
		return status;
	status = tables_add(&c->range.sum, c->table, values, err);
	if (status == STATUS_OK)
		status = db_copy_row(c->copy, values, err);
	return status == STATUS_OK ? move_note_row(c->m, err) : status;
}

/* Reads and writes page after page, until the gap ends (*ended), the range is large enough, or somebody wants the turn.
 */
static enum status carry_pages(struct carrying *c, const char *last, bool *ended, struct err *err)
{
	struct move_page page = {0};
	uint64_t start_ms = clock_mono_ms();
	enum status status;

	*ended = false;
	snprintf(page.last, sizeof(page.last), "%s", c->range.first);
	do {
		char after[MOVES_KEY_BYTES];
		memcpy(after, page.last, sizeof(after));
		status = move_read_rows(c->m->source, c->table, c->texts->page, after, last, carry_row, c, &page, err);
		if (status != STATUS_OK)
			break;
		*ended = page.go_on && page.rows < c->m->page_rows;
	} while (!*ended && page.go_on && c->range.sum.rows < RANGE_ROWS &&
		 (clock_mono_ms() - start_ms < TURN_MS || !db_turn_is_wanted(c->m->target)));
	memcpy(c->range.last, page.last, sizeof(page.last));
	return status;
}

/* Carries one range from the gap's beginning; a gap that ended is closed up to its end unless that is open. */
static enum status carry_range(struct mover *m, const char *first, const char *last,
			       char reached[static MOVES_KEY_BYTES], bool *ended, struct err *err)
{
	struct carrying c = {.m = m};

	c.table = move_growing(m, &c.texts);
	c.range.checked_us = clock_wall_us();
	snprintf(c.range.first, sizeof(c.range.first), "%s", first);
	enum status status = move_begin(m, err);
	if (status != STATUS_OK)
		return status;
	status = carry_pages(&c, last, ended, err);
	if (c.copy) {
		if (status == STATUS_OK)
			status = db_copy_end(c.copy, err);
		else
			db_copy_cancel(c.copy);
	}
	if (status == STATUS_OK && *ended && strcmp(last, LAST_KEY) != 0)
		snprintf(c.range.last, sizeof(c.range.last), "%s", last);
	if (status == STATUS_OK && c.range.sum.rows > 0)
		status = moves_put(m->target, c.table->name, &c.range, err);
	status = move_end(m, status, err);
	if (status == STATUS_OK) {
		m->result->copied += c.range.sum.rows;
		m->steps += c.range.sum.rows > 0;
		memcpy(reached, c.range.last, MOVES_KEY_BYTES);
	}
	return status;
}

static enum status fill_gap(struct mover *m, const char *first, const char *last, struct err *err)
{
	char at[MOVES_KEY_BYTES];
	enum status status = STATUS_OK;
	bool ended = false;

	snprintf(at, sizeof(at), "%s", first);
	while (status == STATUS_OK && !ended) {
		char from[MOVES_KEY_BYTES];
		memcpy(from, at, sizeof(from));
		status = carry_range(m, from, last, at, &ended, err);
		if (status == STATUS_OK)
			status = move_check_stop(m, err);
	}
	return status;
}

/* --- passes --- */

static bool is_settled(const struct moves_range *range)
{
	struct str key = str_of(range->last);
	struct id id;

	return id_parse(str_cut(&key, '/'), &id) && (id_time_ms(&id) + LAG_MS) * 1000 <= range->checked_us;
}

static enum status delete_range(struct db *db, const struct move_texts *texts, const struct moves_range *range,
				struct err *err)
{
	struct stmt *stmt;

	enum status status = db_prepare(db, texts->delete_range, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(range->first));
	db_bind_text(stmt, 2, str_of(range->last));
	return db_run(stmt, NULL, err);
}

/* The range's rows and its line go: it is a gap. */
static enum status take_out(struct mover *m, const struct moves_range *range, struct err *err)
{
	const struct move_texts *texts;
	const struct table *table = move_growing(m, &texts);

	enum status status = move_begin(m, err);
	if (status != STATUS_OK)
		return status;
	status = delete_range(m->target, texts, range, err);
	if (status == STATUS_OK)
		status = moves_remove(m->target, table->name, range->last, err);
	status = move_end(m, status, err);
	if (status == STATUS_OK) {
		m->result->replaced += range->sum.rows;
		m->steps++;
	}
	return status;
}

static enum status put_range(struct mover *m, const struct moves_range *range, struct err *err)
{
	const struct move_texts *texts;
	const struct table *table = move_growing(m, &texts);

	enum status status = move_begin(m, err);
	if (status != STATUS_OK)
		return status;
	status = move_end(m, moves_put(m->target, table->name, range, err), err);
	m->steps += status == STATUS_OK;
	return status;
}

static enum status recheck_range(struct mover *m, struct moves_range *range, struct err *err)
{
	int64_t now_us = clock_wall_us();
	struct table_sum sum;

	enum status status = move_sum_range(m, m->source, range->first, range->last, &sum, err);
	if (status != STATUS_OK)
		return status;
	if (!tables_equal(&sum, &range->sum))
		return take_out(m, range, err);
	bool was_settled = is_settled(range);
	range->checked_us = now_us;
	return was_settled || !is_settled(range) ? STATUS_OK : put_range(m, range, err);
}

static bool wants_recheck(const struct mover *m, const struct moves_range *ranges, size_t i)
{
	return m->deep || i == 0 || !is_settled(&ranges[i]);
}

static enum status recheck(struct mover *m, const char *table, struct err *err)
{
	struct moves_range *ranges;
	int64_t total = 0;
	size_t n;

	enum status status = moves_list(m->target, table, &ranges, &n, err);
	for (size_t i = 0; i < n; i++)
		total += wants_recheck(m, ranges, i) ? ranges[i].sum.rows : 0;
	if (total > 0)
		move_note_phase(m, MOVE_RECHECKING, table, total);
	for (size_t i = 0; i < n && status == STATUS_OK; i++)
		if (wants_recheck(m, ranges, i))
			status = recheck_range(m, &ranges[i], err);
	free(ranges);
	return status;
}

static enum status fill_gaps(struct mover *m, const char *table, struct err *err)
{
	const char *reached = "";
	struct moves_range *ranges;
	size_t n;

	enum status status = moves_list(m->target, table, &ranges, &n, err);
	for (size_t i = 0; i < n && status == STATUS_OK; i++) {
		if (strcmp(reached, ranges[i].first) < 0)
			status = fill_gap(m, reached, ranges[i].first, err);
		reached = ranges[i].last;
	}
	if (status == STATUS_OK)
		status = fill_gap(m, reached, LAST_KEY, err);
	free(ranges);
	return status;
}

static enum status end_loading(struct mover *m, const char *table, struct err *err)
{
	enum status status = move_build_indexes(m, table, err);
	bool more = false;

	if (status != STATUS_OK)
		return status;
	do {
		status = move_begin(m, err);
		if (status == STATUS_OK)
			status = move_end(m, predictions_load_end(m->target, &more, err), err);
		m->steps += status == STATUS_OK && more;
		if (status == STATUS_OK)
			status = move_check_stop(m, err);
	} while (status == STATUS_OK && more);
	return status;
}

/* How many rows a pass has to carry, for people. */
static enum status estimate(struct mover *m, const struct table *table, const struct move_texts *texts, int64_t *rows,
			    struct err *err)
{
	struct moves_range *ranges;
	size_t n;

	enum status status = moves_list(m->target, table->name, &ranges, &n, err);
	if (status == STATUS_OK)
		status = n == 0 ? move_count(m->source, texts->count, NULL, rows, err)
				: move_count(m->source, texts->count_after, ranges[n - 1].last, rows, err);
	free(ranges);
	return status;
}

static enum status pass(struct mover *m, const struct table *table, const struct move_texts *texts, int64_t *copied,
			struct err *err)
{
	int64_t before = m->result->copied, expected = 0;

	/* What a run that was killed has left unattached: the ranges in it could not be taken out. */
	enum status status = table->in_weeks ? end_loading(m, table->name, err) : STATUS_OK;
	if (status == STATUS_OK)
		status = recheck(m, table->name, err);
	if (status == STATUS_OK)
		status = estimate(m, table, texts, &expected, err);
	if (status == STATUS_OK) {
		move_note_phase(m, MOVE_COPYING, table->name, expected);
		status = fill_gaps(m, table->name, err);
	}
	if (status == STATUS_OK && table->in_weeks)
		status = end_loading(m, table->name, err);
	*copied = m->result->copied - before;
	return status;
}

/* --- reading back --- */

static enum status verify_range(struct mover *m, struct moves_range *range, bool *same, struct err *err)
{
	const struct move_texts *texts;
	struct table_sum sum;

	enum status status = move_sum_range(m, m->target, range->first, range->last, &sum, err);
	if (status != STATUS_OK)
		return status;
	*same = tables_equal(&sum, &range->sum);
	if (sum.rows > range->sum.rows)
		return err_set(err, STATUS_CONFLICT,
			       "the target has more %s than were carried: it is in service already, and a move would "
			       "undo that",
			       move_growing(m, &texts)->name);
	if (!*same)
		return take_out(m, range, err);
	if (range->verified)
		return STATUS_OK;
	range->verified = true;
	return put_range(m, range, err);
}

/* *same: nothing had to be taken out. */
static enum status verify(struct mover *m, const char *table, bool *same, struct err *err)
{
	struct moves_range *ranges;
	int64_t total = 0;
	size_t n;

	*same = true;
	enum status status = moves_list(m->target, table, &ranges, &n, err);
	for (size_t i = 0; i < n; i++)
		total += m->deep || !ranges[i].verified ? ranges[i].sum.rows : 0;
	move_note_phase(m, MOVE_VERIFYING, table, total);
	for (size_t i = 0; i < n && status == STATUS_OK; i++) {
		bool good = true;
		if (m->deep || !ranges[i].verified)
			status = verify_range(m, &ranges[i], &good, err);
		*same = *same && good;
	}
	free(ranges);
	return status;
}

/* The sum of all lines, and both sides counted. */
static enum status compare(struct mover *m, const struct table *table, const struct move_texts *texts,
			   struct move_table *out, struct err *err)
{
	struct table_sum sum = {0};
	struct moves_range *ranges;
	int64_t all = 0, target = 0;
	size_t n;

	enum status status = moves_list(m->target, table->name, &ranges, &n, err);
	for (size_t i = 0; i < n; i++)
		tables_add_sum(&sum, &ranges[i].sum);
	if (status == STATUS_OK)
		status = db_begin_read(m->source, err);
	if (status == STATUS_OK) {
		status = move_count(m->source, texts->count, NULL, &all, err);
		if (status == STATUS_OK)
			status = move_count(m->source, texts->count_after, n > 0 ? ranges[n - 1].last : "", &out->since,
					    err);
		db_end_read(m->source);
	}
	if (status == STATUS_OK)
		status = move_count(m->target, texts->count, NULL, &target, err);
	free(ranges);
	out->name = table->name;
	out->source = out->target = sum;
	out->source.rows = all - out->since;
	out->target.rows = target;
	out->equal = out->source.rows == sum.rows && target == sum.rows;
	return status;
}

enum status move_growing_table(struct mover *m, int i, struct move_table *out, struct err *err)
{
	const struct move_texts *texts;

	m->growing = i;
	const struct table *table = move_growing(m, &texts);
	enum status status = STATUS_OK;
	bool same = false;

	m->deep = m->options->full;
	for (int round = 0; round < ROUNDS && status == STATUS_OK; round++) {
		int64_t copied = PASS_ROWS + 1;
		for (int n = 0; n < PASSES && copied > PASS_ROWS && status == STATUS_OK; n++)
			status = pass(m, table, texts, &copied, err);
		if (status == STATUS_OK)
			status = verify(m, table->name, &same, err);
		if (status == STATUS_OK)
			status = compare(m, table, texts, out, err);
		if (status != STATUS_OK || (same && out->equal))
			return status;
		/* Late rows and retention are a matter of another round; what is left then was done by hand. */
		m->deep = m->deep || round > 0;
	}
	if (status == STATUS_OK && !same)
		status = err_set(err, STATUS_INTERNAL, "the target does not give back what was written to table %s",
				 table->name);
	return status;
}
