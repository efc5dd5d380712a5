/* The move of the tables that change in place: one whose sum differs is replaced as a whole in one transaction. */
#include "store/move_impl.h"

#include "base/clock.h"

enum { TRIES = 4 /* while the source goes on changing */ };

struct replacing {
	struct mover *m;
	const struct table *table;
	struct db_copy *copy;
	struct table_sum sum;
};

static enum status replace_row(void *arg, const struct db_value *values, bool *go_on, struct err *err)
{
	struct replacing *r = arg;

	(void)go_on;
	enum status status = tables_add(&r->sum, r->table, values, err);
	if (status == STATUS_OK)
		status = db_copy_row(r->copy, values, err);
	return status == STATUS_OK ? move_note_row(r->m, err) : status;
}

static enum status replace_rows(struct replacing *r, const struct move_texts *texts, struct err *err)
{
	struct move_page page = {0};
	struct stmt *clear;

	enum status status = db_prepare(r->m->target, texts->clear, &clear, err);
	if (status == STATUS_OK)
		status = db_run(clear, NULL, err);
	if (status == STATUS_OK)
		status = db_copy_begin(r->m->target, r->table->name, texts->columns, r->table->n, &r->copy, err);
	if (status != STATUS_OK)
		return status;
	status = move_read_rows(r->m->source, r->table, texts->all, NULL, NULL, replace_row, r, &page, err);
	if (status == STATUS_OK)
		return db_copy_end(r->copy, err);
	db_copy_cancel(r->copy);
	return status;
}

/* The whole table anew, and its sum in table moves. */
static enum status replace_table(struct mover *m, int i, struct err *err)
{
	struct replacing r = {.m = m, .table = &TABLES[i]};
	struct moves_range range = {.checked_us = clock_wall_us()};

	move_note_phase(m, MOVE_COPYING, r.table->name, 0);
	enum status status = move_begin(m, err);
	if (status != STATUS_OK)
		return status;
	status = replace_rows(&r, &m->texts[i], err);
	range.sum = r.sum;
	if (status == STATUS_OK)
		status = moves_put(m->target, r.table->name, &range, err);
	status = move_end(m, status, err);
	if (status == STATUS_OK)
		m->result->copied += r.sum.rows;
	return status;
}

enum status move_small_table(struct mover *m, int i, struct move_table *out, struct err *err)
{
	enum status status = STATUS_OK;

	out->name = TABLES[i].name;
	for (int tries = 0; tries < TRIES; tries++) {
		move_note_phase(m, MOVE_VERIFYING, out->name, 0);
		status = move_sum_table(m, m->source, i, &out->source, err);
		if (status == STATUS_OK)
			status = move_sum_table(m, m->target, i, &out->target, err);
		if (status != STATUS_OK)
			return status;
		out->equal = tables_equal(&out->source, &out->target);
		if (out->equal || tries == TRIES - 1)
			break;
		status = replace_table(m, i, err);
		if (status != STATUS_OK)
			return status;
	}
	return status;
}
