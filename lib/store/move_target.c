/* Whether the two databases are a source and its target: of two engines, with this program's schema, the target empty
 * or filled by earlier runs from this source and not in service yet. */
#include "store/move_impl.h"

#include "store/migrate.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE_ROWS = 10 * 1000, PAGE_ROWS_IN_TURN = 2000 /* a page is the shortest turn */ };

/* Tables of another program's, where ours are not. */
static enum status check_foreign(struct db *db, struct err *err)
{
	static const char sqlite[] = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'";
	static const char postgresql[] = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
	int64_t tables = 0;
	bool ours;

	enum status status = db_has_table(db, "schema_migrations", &ours, err);
	if (status != STATUS_OK || ours)
		return status;
	status = move_count(db, db_dialect(db) == DB_DIALECT_SQLITE ? sqlite : postgresql, NULL, &tables, err);
	if (status == STATUS_OK && tables > 0)
		status = err_set(err, STATUS_CONFLICT, "the target holds tables of another program");
	return status;
}

static enum status check_schema(struct db *db, const char *which, struct err *err)
{
	int number, newest;

	migrate_all(db_dialect(db), &newest);
	enum status status = migrate_current(db, &number, err);
	if (status == STATUS_OK && number != newest)
		status = err_set(err, STATUS_INVALID, "the schema of the %s is at %d, this program's is %d: %s", which,
				 number, newest,
				 number < newest ? "run appcore migrate up on it first" : "use a newer appcore");
	return status;
}

/* The target is looked at before it is opened for writing, which would make a file ours. */
static enum status open_target(struct mover *m, struct err *err)
{
	struct db *db;
	int number = 0;

	enum status status = db_open(&db, m->options->to, DB_READ, err);
	if (status == STATUS_OK) {
		status = check_foreign(db, err);
		db_close(db);
	} else if (status == STATUS_UNAVAILABLE) {
		status = STATUS_OK; /* there is no such file yet; or opening it for writing fails as well */
	}
	if (status == STATUS_OK)
		status = db_open(&m->target, m->options->to, DB_WRITE, err);
	if (status == STATUS_OK)
		status = migrate_current(m->target, &number, err);
	if (status == STATUS_OK && number == 0)
		status = migrate_up(m->target, 0, false, NULL, NULL, NULL, err);
	return status == STATUS_OK ? check_schema(m->target, "target", err) : status;
}

static bool same_engine(const struct move_options *options)
{
	struct str sqlite = STR("sqlite:");

	return str_starts(options->from, sqlite) == str_starts(options->to, sqlite);
}

static enum status open_both(struct mover *m, struct err *err)
{
	enum status status = db_check_url(m->options->from, err);

	if (status == STATUS_OK)
		status = db_check_url(m->options->to, err);
	if (status != STATUS_OK)
		return status;
	if (str_eq(m->options->from, m->options->to))
		return err_set(err, STATUS_INVALID, "the target is the source itself");
	if (same_engine(m->options))
		return err_set(err, STATUS_INVALID,
			       "source and target are of the same engine: appcore backup and restore carry that");
	status = db_open(&m->source, m->options->from, DB_READ, err);
	if (status == STATUS_OK)
		status = check_schema(m->source, "source", err);
	return status == STATUS_OK ? open_target(m, err) : status;
}

/* Whether the target's table is as the last run left it: empty before the first. */
static enum status check_untouched(struct mover *m, int i, bool first, struct err *err)
{
	struct moves_range *ranges = NULL;
	struct table_sum sum, left = {0};
	size_t n = 0;

	enum status status = move_sum_table(m, m->target, i, &sum, err);
	if (status == STATUS_OK && !first)
		status = moves_list(m->target, TABLES[i].name, &ranges, &n, err);
	if (n > 0)
		left = ranges[0].sum;
	free(ranges);
	/* Expired answers are deleted by whoever has the target open. */
	if (status == STATUS_OK && !tables_equal(&sum, &left) &&
	    (first || strcmp(TABLES[i].name, "idempotency_keys") != 0))
		status = err_set(err, STATUS_CONFLICT,
				 first ? "the target holds %s of its own: a move goes into an empty database"
				       : "the target has changed %s since the last run: it is in service already, and "
					 "a move would undo that",
				 TABLES[i].name);
	return status;
}

/* A row with a key below the last line's would not show at the end: a client's clock may have been ahead. */
static enum status check_no_more(struct mover *m, int i, bool first, struct err *err)
{
	const struct table *table = &TABLES[i];
	char largest[MOVES_KEY_BYTES];
	struct moves_range *ranges;
	int64_t rows = 0, carried = 0;
	size_t n;

	enum status status = move_last_key(m, m->target, i, largest, err);
	if (status == STATUS_OK)
		status = move_count(m->target, m->texts[i].count, NULL, &rows, err);
	if (status == STATUS_OK)
		status = moves_list(m->target, table->name, &ranges, &n, err);
	if (status != STATUS_OK)
		return status;
	for (size_t k = 0; k < n; k++)
		carried += ranges[k].sum.rows;
	if (rows > carried || strcmp(largest, n > 0 ? ranges[n - 1].last : "") > 0)
		status = err_set(err, STATUS_CONFLICT,
				 first ? "the target holds %s of its own: a move goes into an empty database"
				       : "the target has taken %s since the last run: it is in service already, and a "
					 "move would undo that",
				 table->name);
	free(ranges);
	return status;
}

static enum status check_all_untouched(struct mover *m, bool first, struct err *err)
{
	enum status status = STATUS_OK;

	for (int grows = 1; grows >= 0; grows--)
		for (int i = 0; i < TABLES_N && status == STATUS_OK; i++)
			if (TABLES[i].grows == (grows == 1))
				status = TABLES[i].grows ? check_no_more(m, i, first, err)
							 : check_untouched(m, i, first, err);
	return status;
}

static enum status check_pair(struct mover *m, bool *first, char id[static MOVES_ID_BYTES], struct err *err)
{
	char target[MOVES_ID_BYTES], filled_from[MOVES_ID_BYTES], fills[MOVES_ID_BYTES], complete[MOVES_ID_BYTES];

	enum status status = moves_get(m->source, "database", id, err);
	if (status == STATUS_OK)
		status = moves_get(m->target, "database", target, err);
	if (status == STATUS_OK)
		status = moves_get(m->target, "source", filled_from, err);
	if (status == STATUS_OK)
		status = moves_get(m->source, "source", fills, err);
	if (status == STATUS_OK)
		status = moves_get(m->source, "complete", complete, err);
	if (status != STATUS_OK)
		return status;
	*first = filled_from[0] == '\0';
	if (strcmp(id, target) == 0)
		return err_set(err, STATUS_CONFLICT, "the target is the source itself, or a copy of it");
	if (fills[0] && !complete[0])
		return err_set(err, STATUS_CONFLICT,
			       "the source is itself the target of a move that has not ended: is the direction wrong?");
	if (*first && strcmp(fills, target) == 0)
		return err_set(err, STATUS_CONFLICT,
			       "the target is where the source was moved from: the way back wants an empty database");
	if (!*first && strcmp(filled_from, id) != 0)
		return err_set(err, STATUS_CONFLICT, "the target was filled from another database");
	return STATUS_OK;
}

/* The tables' texts need to know the target's engine. */
static enum status make_texts(struct mover *m, struct err *err)
{
	m->page_rows = db_dialect(m->target) == DB_DIALECT_SQLITE ? PAGE_ROWS_IN_TURN : PAGE_ROWS;
	m->texts = calloc((size_t)TABLES_N, sizeof(*m->texts));
	if (!m->texts)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a move");
	for (int i = 0; i < TABLES_N; i++)
		move_write_texts(&m->texts[i], &TABLES[i], m->page_rows);
	return STATUS_OK;
}

enum status move_open(struct mover *m, bool *first, char id[static MOVES_ID_BYTES], struct err *err)
{
	enum status status = open_both(m, err);

	if (!m->source || !m->target || status != STATUS_OK)
		return status;
	db_be_patient(m->source);
	db_be_patient(m->target);
	status = make_texts(m, err);
	if (status == STATUS_OK)
		status = check_pair(m, first, id, err);
	return status == STATUS_OK ? check_all_untouched(m, *first, err) : status;
}
