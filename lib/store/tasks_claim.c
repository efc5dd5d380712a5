/* Table background_tasks: who works on what.
 *
 * Claiming is one UPDATE of what an index says is first, so nobody is ever given a task twice; what a worker may still
 * write of its task hangs on the number of its claim. Priorities are few and are gone through one by one: within one,
 * what is due comes first in the index, so that no number of tasks for later is ever looked at. */
#include "store/tasks_impl.h"

#include <stdlib.h>

/* What is first in line. */
struct head {
	bool lost, due; /* its lease has ended; it is pending and due */
	int64_t priority, next_us;
	char kind[TASK_KIND_BYTES];
};

static enum status first_lease(struct db *db, int64_t *lease_us, struct err *err)
{
	static const char sql[] =
		"SELECT lease_us FROM background_tasks WHERE status = 'processing' ORDER BY lease_us LIMIT 1";
	struct stmt *stmt;
	bool row;

	*lease_us = INT64_MAX;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*lease_us = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

/* The greatest priority at or below *priority that something pending has; INT64_MIN: none. */
static enum status next_priority(struct db *db, int64_t *priority, struct err *err)
{
	static const char sql[] = "SELECT priority FROM background_tasks WHERE status = 'pending' AND priority <= $1"
				  " ORDER BY priority DESC LIMIT 1";
	struct stmt *stmt;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, *priority);
	status = db_step(stmt, &row, err);
	*priority = status == STATUS_OK && row ? db_column_i64(stmt, 0) : INT64_MIN;
	db_reset(stmt);
	return status;
}

/* The first in line of one priority, due or not. */
static enum status first_of(struct db *db, int64_t priority, struct head *head, int64_t *run_us, struct err *err)
{
	static const char sql[] = "SELECT task_type, run_us FROM background_tasks"
				  " WHERE status = 'pending' AND priority = $1 ORDER BY run_us, task_id LIMIT 1";
	struct stmt *stmt;
	bool row;

	*run_us = INT64_MAX;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, priority);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row) {
		db_column_copy(stmt, 0, head->kind, sizeof(head->kind));
		*run_us = db_column_i64(stmt, 1);
	}
	db_reset(stmt);
	return status;
}

static enum status find_head(struct db *db, int64_t now_us, struct head *head, struct err *err)
{
	int64_t next_us, run_us;

	*head = (struct head){.priority = INT64_MAX};
	enum status status = first_lease(db, &next_us, err);
	head->lost = status == STATUS_OK && next_us <= now_us;
	while (status == STATUS_OK && !head->lost && !head->due) {
		status = next_priority(db, &head->priority, err);
		if (status != STATUS_OK || head->priority == INT64_MIN)
			break;
		status = first_of(db, head->priority, head, &run_us, err);
		head->due = status == STATUS_OK && run_us <= now_us;
		next_us = run_us < next_us ? run_us : next_us;
		head->priority -= !head->due;
	}
	head->next_us = next_us == INT64_MAX ? 0 : next_us;
	return status;
}

enum status tasks_peek(struct db *db, int64_t now_us, bool *due, int64_t *next_us, struct err *err)
{
	struct head head;
	enum status status = find_head(db, now_us, &head, err);

	*due = status == STATUS_OK && (head.lost || head.due);
	*next_us = head.next_us;
	return status;
}

/* RETURNING keeps no order. */
static int by_turn(const void *a, const void *b)
{
	const struct task_row *x = a, *y = b;

	if (x->run_us != y->run_us)
		return x->run_us < y->run_us ? -1 : 1;
	return memcmp(&x->id, &y->id, sizeof(x->id));
}

static enum status read_claimed(struct stmt *stmt, struct task_row *rows, int n, struct arena *arena, int *found,
				struct err *err)
{
	enum status status;
	bool row;

	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row && *found < n) {
		status = tasks_read_whole_row(stmt, arena, &rows[*found], err);
		if (status != STATUS_OK)
			break;
		++*found;
	}
	db_reset(stmt);
	if (*found > 1)
		qsort(rows, (size_t)*found, sizeof(*rows), by_turn);
	return status;
}

/* PostgreSQL: the list is made once, before the update. As a part of the update's own join it could be made again for
 * each row, and then hold others, for this very update has changed the first. */
#define CLAIM(attempt, from, these, to)                                                                                \
	"UPDATE background_tasks SET status = 'processing', lease_us = $1, claim = claim + 1,"                         \
	" attempts = attempts + " attempt ", worker = $2, updated_at = $3, change = $4 WHERE task_id " from            \
	"SELECT task_id FROM background_tasks WHERE " these to " RETURNING " TASKS_ALL
#define CLAIM_HERE(attempt, these)   CLAIM(attempt, "IN (", these, ")")
#define CLAIM_SHARED(attempt, these) CLAIM(attempt, "= ANY (ARRAY(", these, " FOR UPDATE SKIP LOCKED))")

#define LOST    "status = 'processing' AND lease_us <= $5 ORDER BY lease_us LIMIT 1"
#define DUE     "status = 'pending' AND priority = $5 AND run_us <= $6"
#define LIST    "(',' || $7 || ',')"
#define ITEM    "(',' || task_type || ',')"
#define IN_TURN " ORDER BY run_us, task_id LIMIT $8"

/* By engine. $7 empty: any kind. */
static const char CLAIM_LOST[DB_DIALECT__MAX][sizeof(CLAIM_SHARED("0", LOST))] = {
	[DB_DIALECT_SQLITE] = CLAIM_HERE("0", LOST),
	[DB_DIALECT_POSTGRESQL] = CLAIM_SHARED("0", LOST),
};
static const char CLAIM_DUE[DB_DIALECT__MAX][sizeof(
	CLAIM_SHARED("1", DUE " AND ($7 = '' OR strpos(" LIST ", " ITEM ") > 0)" IN_TURN))] = {
	[DB_DIALECT_SQLITE] = CLAIM_HERE("1", DUE " AND ($7 = '' OR instr(" LIST ", " ITEM ") > 0)" IN_TURN),
	[DB_DIALECT_POSTGRESQL] = CLAIM_SHARED("1", DUE " AND ($7 = '' OR strpos(" LIST ", " ITEM ") > 0)" IN_TURN),
};

static enum status prepare_claim(struct db *db, const char *sql, const struct tasks_claim *claim, struct stmt **stmt,
				 struct err *err)
{
	enum status status = db_prepare(db, sql, stmt, err);

	if (status != STATUS_OK)
		return status;
	db_bind_i64(*stmt, 1, claim->lease_until_us);
	db_bind_text(*stmt, 2, str_of(claim->worker));
	tasks_bind_time(*stmt, 3, claim->now_us);
	db_bind_i64(*stmt, 4, claim->change);
	return STATUS_OK;
}

static bool is_listed(struct str list, struct str name)
{
	while (list.n > 0)
		if (str_eq(str_cut(&list, ','), name))
			return true;
	return false;
}

enum status tasks_claim(struct db *db, const struct tasks_claim *claim, struct task_row *rows, int n,
			struct arena *arena, int *found, struct err *err)
{
	enum db_dialect dialect = db_dialect(db);
	struct stmt *stmt;
	struct head head;

	*found = 0;
	enum status status = find_head(db, claim->now_us, &head, err);
	if (status != STATUS_OK || n < 1 || (!head.lost && !head.due))
		return status;
	status = prepare_claim(db, head.lost ? CLAIM_LOST[dialect] : CLAIM_DUE[dialect], claim, &stmt, err);
	if (status != STATUS_OK)
		return status;
	if (head.lost) {
		db_bind_i64(stmt, 5, claim->now_us);
	} else {
		bool many = is_listed(claim->together, str_of(head.kind));
		db_bind_i64(stmt, 5, head.priority);
		db_bind_i64(stmt, 6, claim->now_us);
		db_bind_text(stmt, 7, many ? claim->together : STR(""));
		db_bind_i64(stmt, 8, many ? n : 1);
	}
	status = read_claimed(stmt, rows, n, arena, found, err);
	for (int i = 0; i < *found; i++)
		rows[i].lost = head.lost;
	return status;
}

enum status tasks_begin_again(struct db *db, const struct task_row *row, struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET attempts = attempts + 1"
				  " WHERE task_id = $1 AND claim = $2 AND status = 'processing'";
	struct stmt *stmt;
	int64_t changed;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	tasks_bind_id(stmt, 1, &row->id);
	db_bind_i64(stmt, 2, row->claim);
	status = db_run(stmt, &changed, err);
	if (status == STATUS_OK && changed == 0)
		status = err_set(err, STATUS_CONFLICT, "the task is not this worker's any more");
	return status;
}
