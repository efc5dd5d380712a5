/* What all parts of the move do: tell how far it is, write in a turn, read rows by pages, sum them up. */
#include "store/move_impl.h"

#include <stdio.h>

enum { NOTE_ROWS = 1024, CHECKPOINT_PAGES = 4000 };

bool move_is_stopped(const struct mover *m)
{
	return m->options->stop && *m->options->stop;
}

enum status move_check_stop(const struct mover *m, struct err *err)
{
	return move_is_stopped(m) ? err_set(err, STATUS_BUSY, "stopped: run it again, and it goes on from here")
				  : STATUS_OK;
}

void move_show(struct mover *m)
{
	if (m->options->note)
		m->options->note(m->options->arg, &m->progress);
}

void move_note_phase(struct mover *m, enum move_phase phase, const char *table, int64_t total)
{
	m->progress = (struct move_progress){.phase = phase, .table = table, .total = total};
	move_show(m);
}

enum status move_note_row(struct mover *m, struct err *err)
{
	if (++m->progress.rows % NOTE_ROWS != 0)
		return STATUS_OK;
	move_show(m);
	return move_check_stop(m, err);
}

const struct table *move_growing(const struct mover *m, const struct move_texts **texts)
{
	*texts = &m->texts[m->growing];
	return &TABLES[m->growing];
}

void move_write_texts(struct move_texts *texts, const struct table *table, int page_rows)
{
	const char *key = table->columns[0].name;
	char columns[512];

	tables_list_columns(table, columns, sizeof(columns));
	snprintf(texts->page, sizeof(texts->page), "SELECT %s FROM %s WHERE %s > $1 AND %s <= $2 ORDER BY %s LIMIT %d",
		 columns, table->name, key, key, key, page_rows);
	snprintf(texts->all, sizeof(texts->all), "SELECT %s FROM %s", columns, table->name);
	snprintf(texts->clear, sizeof(texts->clear), "DELETE FROM %s", table->name);
	snprintf(texts->count, sizeof(texts->count), "SELECT count(*) FROM %s", table->name);
	snprintf(texts->count_after, sizeof(texts->count_after), "SELECT count(*) FROM %s WHERE %s > $1", table->name,
		 key);
	snprintf(texts->delete_range, sizeof(texts->delete_range), "DELETE FROM %s WHERE %s > $1 AND %s <= $2",
		 table->name, key, key);
	snprintf(texts->last_key, sizeof(texts->last_key), "SELECT %s FROM %s ORDER BY %s DESC LIMIT 1", key,
		 table->name, key);
	for (int c = 0; c < table->n; c++)
		texts->columns[c] = table->columns[c].name;
}

enum status move_count(struct db *db, const char *sql, const char *after, int64_t *n, struct err *err)
{
	struct stmt *stmt;
	bool row;

	*n = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	if (after)
		db_bind_text(stmt, 1, str_of(after));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*n = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

enum status move_last_key(struct mover *m, struct db *db, int i, char key[static MOVES_KEY_BYTES], struct err *err)
{
	struct stmt *stmt;
	bool row;

	key[0] = '\0';
	enum status status = db_prepare(db, m->texts[i].last_key, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		snprintf(key, MOVES_KEY_BYTES, "%.*s", STR_ARG(db_column_text(stmt, 0)));
	db_reset(stmt);
	return status;
}

/* A write transaction in the target, in a turn, while this is the newest run. */
enum status move_begin(struct mover *m, struct err *err)
{
	enum status status = db_turn_take(m->target, MOVE_TURN_WAIT_MS, err);

	if (status != STATUS_OK)
		return status;
	status = db_begin(m->target, err);
	if (status == STATUS_OK) {
		status = moves_guard(m->target, m->run, err);
		if (status != STATUS_OK)
			db_rollback(m->target);
	}
	if (status != STATUS_OK)
		db_turn_give(m->target);
	return status;
}

enum status move_end(struct mover *m, enum status status, struct err *err)
{
	if (status == STATUS_OK)
		status = db_commit(m->target, err);
	else
		db_rollback(m->target);
	if (status == STATUS_OK)
		(void)!db_checkpoint(m->target, CHECKPOINT_PAGES, NULL, NULL);
	db_turn_give(m->target);
	return status;
}

/* --- reading --- */

static enum status take_row(const struct table *table, struct stmt *stmt, move_row *fn, void *arg,
			    struct move_page *page, struct err *err)
{
	struct db_value values[TABLES_COLUMNS_MAX];
	char key[MOVES_KEY_BYTES];

	tables_read(table, stmt, values);
	if (table->grows) {
		if (values[0].bytes.n >= sizeof(key))
			return err_set(err, STATUS_INVALID, "table %s holds a key of more than %d bytes: \"%.40s…\"",
				       table->name, MOVES_KEY_BYTES - 1, values[0].bytes.p);
		snprintf(key, sizeof(key), "%.*s", STR_ARG(values[0].bytes));
	}
	enum status status = fn(arg, values, &page->go_on, err);
	if (status == STATUS_OK && page->go_on) {
		page->rows++;
		if (table->grows)
			memcpy(page->last, key, sizeof(key));
	}
	return status;
}

/* The rows that a statement gives; first and last bind it to a page. */
enum status move_read_rows(struct db *db, const struct table *table, const char *sql, const char *first,
			   const char *last, move_row *fn, void *arg, struct move_page *page, struct err *err)
{
	struct stmt *stmt;
	bool row;

	page->rows = 0;
	page->go_on = true;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	if (first) {
		db_bind_text(stmt, 1, str_of(first));
		db_bind_text(stmt, 2, str_of(last));
	}
	while (page->go_on && (status = db_step(stmt, &row, err)) == STATUS_OK && row)
		if ((status = take_row(table, stmt, fn, arg, page, err)) != STATUS_OK)
			break;
	db_reset(stmt);
	return status;
}

struct summing {
	struct mover *m;
	const struct table *table;
	struct table_sum sum;
};

static enum status sum_row(void *arg, const struct db_value *values, bool *go_on, struct err *err)
{
	struct summing *summing = arg;

	(void)go_on;
	enum status status = tables_add(&summing->sum, summing->table, values, err);
	return status == STATUS_OK ? move_note_row(summing->m, err) : status;
}

enum status move_sum_range(struct mover *m, struct db *db, const char *first, const char *last, struct table_sum *out,
			   struct err *err)
{
	const struct move_texts *texts;
	const struct table *table = move_growing(m, &texts);
	struct summing summing = {.m = m, .table = table};
	struct move_page page = {0};
	enum status status;

	snprintf(page.last, sizeof(page.last), "%s", first);
	do {
		char after[MOVES_KEY_BYTES];
		memcpy(after, page.last, sizeof(after));
		status = move_read_rows(db, table, texts->page, after, last, sum_row, &summing, &page, err);
	} while (status == STATUS_OK && page.rows == m->page_rows);
	*out = summing.sum;
	return status;
}

enum status move_sum_table(struct mover *m, struct db *db, int i, struct table_sum *out, struct err *err)
{
	struct summing summing = {.m = m, .table = &TABLES[i]};
	struct move_page page = {0};

	enum status status = move_read_rows(db, &TABLES[i], m->texts[i].all, NULL, NULL, sum_row, &summing, &page, err);
	*out = summing.sum;
	return status;
}
