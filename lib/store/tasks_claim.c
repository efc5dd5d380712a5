/* Table background_tasks: who works on what.
 *
 * Claiming is one UPDATE of what an index says is first, so nobody is ever given a task twice; what a worker may still
 * write of its task hangs on the number of its claim. What may run stands in line, in the order of priorities and turns
 * (TASKS_TURN); what waits for a time stands apart and gets in line when the time has come. Small kinds and large ones
 * have lines of their own. Nothing that is not claimed is looked at, but for large ones of users who have enough of
 * them running: of these a few, then one of each user. */
#include "store/tasks_impl.h"

#include <stdlib.h>

/* Given turns in one claim. */
enum { LINE_UP_MAX = 128 };

/* What is first, by the index of `small`: the lease that ends first, the priority of who is first in line. */
struct head {
	int64_t lease_us[2], priority[2];
	bool waits[2];    /* somebody is in line */
	int64_t later_us; /* when the first that waits for a time is due */
};

/* What to claim. */
struct pick {
	enum { PICK_NOTHING, PICK_LOST, PICK_SMALL, PICK_LARGE } what;
	int64_t small;          /* of what was lost: 1 or 0 */
	int64_t priority;       /* of small ones */
	char id[ID_TEXT_BYTES]; /* of the large one */
};

static enum status find_head(struct db *db, struct head *head, struct err *err)
{
#define FIRST_LEASE(small)                                                                                             \
	"(SELECT lease_us FROM background_tasks WHERE status = 'processing' AND small = " small                        \
	" ORDER BY lease_us LIMIT 1)"
#define FIRST_PRIORITY(small)                                                                                          \
	"(SELECT priority FROM background_tasks WHERE status = 'pending' AND turn > 0 AND small = " small              \
	" ORDER BY priority DESC LIMIT 1)"
	static const char sql[] = "SELECT " FIRST_LEASE("0") ", " FIRST_LEASE("1") ", " FIRST_PRIORITY(
		"0") ", " FIRST_PRIORITY("1") ","
					      " (SELECT run_us FROM background_tasks WHERE status = 'pending' AND turn "
					      "= 0 ORDER BY run_us LIMIT 1)";
	struct stmt *stmt;
	bool row;

	*head = (struct head){.lease_us = {INT64_MAX, INT64_MAX}, .later_us = INT64_MAX};
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	for (int small = 0; status == STATUS_OK && row && small < 2; small++) {
		if (!db_column_is_null(stmt, small))
			head->lease_us[small] = db_column_i64(stmt, small);
		head->waits[small] = !db_column_is_null(stmt, 2 + small);
		head->priority[small] = db_column_i64(stmt, 2 + small);
	}
	if (status == STATUS_OK && row && !db_column_is_null(stmt, 4))
		head->later_us = db_column_i64(stmt, 4);
	db_reset(stmt);
	return status;
}

/* --- large ones --- */

/* Whether the user of row t has fewer large ones running than $1. */
#define HAS_ROOM(t)                                                                                                    \
	"(SELECT count(*) FROM background_tasks r WHERE r.status = 'processing' AND r.small = 0"                       \
	" AND r.user_id = " t ".user_id AND r.user_id > 0) < $1"

/* Of the first few, which is nearly always enough. */
static const char LARGE_NEAR[] =
	"SELECT task_id, priority FROM (SELECT task_id, user_id, priority, turn FROM background_tasks"
	" WHERE status = 'pending' AND turn > 0 AND small = 0 ORDER BY priority DESC, turn, task_id LIMIT 8) t"
	" WHERE " HAS_ROOM("t") " ORDER BY priority DESC, turn, task_id LIMIT 1";

/* Of the first ones of all users, each step of the recursion being one look into the index, and of the service. */
static const char LARGE_FAR[] =
	"WITH RECURSIVE owners (user_id) AS ("
	"SELECT (SELECT user_id FROM background_tasks WHERE status = 'pending' AND small = 0 AND user_id <> 0"
	" ORDER BY user_id LIMIT 1)"
	" UNION ALL SELECT (SELECT b.user_id FROM background_tasks b WHERE b.status = 'pending' AND b.small = 0"
	" AND b.user_id <> 0 AND b.user_id > o.user_id ORDER BY b.user_id LIMIT 1) FROM owners o WHERE o.user_id > 0),"
	" heads (task_id) AS (SELECT (SELECT h.task_id FROM background_tasks h WHERE h.status = 'pending' AND h.small "
	"= 0"
	" AND h.user_id <> 0 AND h.user_id = o.user_id AND h.turn > 0 ORDER BY h.priority DESC, h.turn LIMIT 1)"
	" FROM owners o WHERE o.user_id > 0 AND " HAS_ROOM(
		"o") " UNION ALL SELECT (SELECT s.task_id FROM background_tasks s WHERE s.status = 'pending' AND "
		     "s.small = 0"
		     " AND s.turn > 0 AND s.user_id = 0 ORDER BY s.priority DESC, s.turn, s.task_id LIMIT 1))"
		     " SELECT t.task_id, t.priority FROM heads JOIN background_tasks t ON t.task_id = heads.task_id"
		     " ORDER BY t.priority DESC, t.turn, t.task_id LIMIT 1";

static enum status find_large(struct db *db, const char *sql, int64_t most, struct pick *pick, struct err *err)
{
	struct stmt *stmt;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, most > 0 ? most : INT64_MAX);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row) {
		pick->what = PICK_LARGE;
		db_column_copy(stmt, 0, pick->id, sizeof(pick->id));
		pick->priority = db_column_i64(stmt, 1);
	}
	db_reset(stmt);
	return status;
}

/* --- what is first --- */

/* One that was lost comes first, for it has waited longest; then the greater priority. */
static enum status choose(struct db *db, const struct tasks_wish *wish, const struct head *head, struct pick *pick,
			  struct err *err)
{
	enum status status = STATUS_OK;

	*pick = (struct pick){.what = PICK_NOTHING};
	for (int small = 1; small >= (wish->small_only ? 1 : 0); small--)
		if (head->lease_us[small] <= wish->now_us)
			*pick = (struct pick){.what = PICK_LOST, .small = small};
	if (pick->what == PICK_LOST)
		return STATUS_OK;
	if (head->waits[0] && !wish->small_only) {
		status = find_large(db, LARGE_NEAR, wish->large_of_user, pick, err);
		if (status == STATUS_OK && pick->what == PICK_NOTHING)
			status = find_large(db, LARGE_FAR, wish->large_of_user, pick, err);
	}
	if (head->waits[1] && (pick->what == PICK_NOTHING || head->priority[1] > pick->priority ||
			       (head->priority[1] == pick->priority && wish->small_first)))
		*pick = (struct pick){.what = PICK_SMALL, .priority = head->priority[1]};
	return status;
}

enum status tasks_peek(struct db *db, const struct tasks_wish *wish, bool *due, int64_t *next_us, struct err *err)
{
	struct pick pick = {.what = PICK_NOTHING};
	struct head head;
	enum status status = find_head(db, &head, err);

	if (status == STATUS_OK && head.later_us > wish->now_us)
		status = choose(db, wish, &head, &pick, err);
	*due = status == STATUS_OK && (pick.what != PICK_NOTHING || head.later_us <= wish->now_us);
	*next_us = head.later_us;
	for (int small = wish->small_only ? 1 : 0; small < 2; small++)
		*next_us = head.lease_us[small] < *next_us ? head.lease_us[small] : *next_us;
	*next_us = *next_us == INT64_MAX ? 0 : *next_us;
	return status;
}

/* --- getting in line --- */

static enum status line_up(struct db *db, const char *id, struct err *err)
{
#define LINE_UP(greatest)                                                                                              \
	"UPDATE background_tasks SET turn = " TASKS_TURN(                                                              \
		greatest, "background_tasks.small", "background_tasks.user_id",                                        \
		"background_tasks.priority") " WHERE task_id = $1 AND status = 'pending' AND turn = 0"
	static const char here[] = LINE_UP(TASKS_GREATEST_SQLITE), shared[] = LINE_UP(TASKS_GREATEST_POSTGRESQL);
	struct stmt *stmt;

	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_POSTGRESQL ? shared : here, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(id));
	return db_run(stmt, NULL, err);
}

/* Some of those whose time has come, one after the other: each one's turn is behind the one's before it. */
static enum status line_up_due(struct db *db, int64_t now_us, struct err *err)
{
	static const char sql[] = "SELECT task_id FROM background_tasks WHERE status = 'pending' AND turn = 0"
				  " AND run_us <= $1 ORDER BY run_us, task_id LIMIT $2";
	char ids[LINE_UP_MAX][ID_TEXT_BYTES];
	struct stmt *stmt;
	bool row;
	int n = 0;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	db_bind_i64(stmt, 2, LINE_UP_MAX);
	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row && n < LINE_UP_MAX)
		db_column_copy(stmt, 0, ids[n++], ID_TEXT_BYTES);
	db_reset(stmt);
	for (int i = 0; status == STATUS_OK && i < n; i++)
		status = line_up(db, ids[i], err);
	return status;
}

/* --- claiming --- */

/* PostgreSQL: the list is made once, before the update. As a part of the update's own join it could be made again for
 * each row, and then hold others, for this very update has changed the first. */
#define CLAIM(attempt, from, these, to)                                                                                \
	"UPDATE background_tasks SET status = 'processing', lease_us = $1, claim = claim + 1,"                         \
	" attempts = attempts + " attempt ", worker = $2, updated_at = $3, change = $4 WHERE task_id " from            \
	"SELECT task_id FROM background_tasks WHERE " these to " RETURNING " TASKS_ALL ", turn, small"
#define CLAIM_HERE(attempt, these)   CLAIM(attempt, "IN (", these, ")")
#define CLAIM_SHARED(attempt, these) CLAIM(attempt, "= ANY (ARRAY(", these, " FOR UPDATE SKIP LOCKED))")

enum { COLUMN_TURN = 20, COLUMN_SMALL };

#define LOST  "status = 'processing' AND small = $5 AND lease_us <= $6 ORDER BY lease_us LIMIT 1"
#define SMALL "status = 'pending' AND turn > 0 AND small = 1 AND priority = $5 ORDER BY turn, task_id LIMIT $6"
#define LARGE "task_id = $5 AND status = 'pending'"

/* By engine. */
static const char CLAIM_LOST[DB_DIALECT__MAX][sizeof(CLAIM_SHARED("0", LOST))] = {
	[DB_DIALECT_SQLITE] = CLAIM_HERE("0", LOST),
	[DB_DIALECT_POSTGRESQL] = CLAIM_SHARED("0", LOST),
};
static const char CLAIM_SMALL[DB_DIALECT__MAX][sizeof(CLAIM_SHARED("1", SMALL))] = {
	[DB_DIALECT_SQLITE] = CLAIM_HERE("1", SMALL),
	[DB_DIALECT_POSTGRESQL] = CLAIM_SHARED("1", SMALL),
};
static const char CLAIM_LARGE[DB_DIALECT__MAX][sizeof(CLAIM_SHARED("1", LARGE))] = {
	[DB_DIALECT_SQLITE] = CLAIM_HERE("1", LARGE),
	[DB_DIALECT_POSTGRESQL] = CLAIM_SHARED("1", LARGE),
};

/* RETURNING keeps no order. */
static int by_turn(const void *a, const void *b)
{
	const struct task_row *x = a, *y = b;

	if (x->turn != y->turn)
		return x->turn < y->turn ? -1 : 1;
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
		rows[*found].turn = db_column_i64(stmt, COLUMN_TURN);
		rows[*found].small = db_column_i64(stmt, COLUMN_SMALL) != 0;
		++*found;
	}
	db_reset(stmt);
	if (*found > 1)
		qsort(rows, (size_t)*found, sizeof(*rows), by_turn);
	return status;
}

static enum status prepare_claim(struct db *db, const struct pick *pick, const struct tasks_claim *claim, int n,
				 struct stmt **stmt, struct err *err)
{
	enum db_dialect dialect = db_dialect(db);
	const char *sql = pick->what == PICK_LOST    ? CLAIM_LOST[dialect]
			  : pick->what == PICK_SMALL ? CLAIM_SMALL[dialect]
						     : CLAIM_LARGE[dialect];
	enum status status = db_prepare(db, sql, stmt, err);

	if (status != STATUS_OK)
		return status;
	db_bind_i64(*stmt, 1, claim->lease_until_us);
	db_bind_text(*stmt, 2, str_of(claim->worker));
	tasks_bind_time(*stmt, 3, claim->wish.now_us);
	db_bind_i64(*stmt, 4, claim->change);
	if (pick->what == PICK_LARGE) {
		db_bind_text(*stmt, 5, str_of(pick->id));
	} else {
		db_bind_i64(*stmt, 5, pick->what == PICK_LOST ? pick->small : pick->priority);
		db_bind_i64(*stmt, 6, pick->what == PICK_LOST ? claim->wish.now_us : n);
	}
	return STATUS_OK;
}

enum status tasks_claim(struct db *db, const struct tasks_claim *claim, struct task_row *rows, int n,
			struct arena *arena, int *found, struct err *err)
{
	struct pick pick = {.what = PICK_NOTHING};
	struct stmt *stmt;
	struct head head;

	*found = 0;
	enum status status = find_head(db, &head, err);
	if (status == STATUS_OK && head.later_us <= claim->wish.now_us) {
		status = line_up_due(db, claim->wish.now_us, err);
		if (status == STATUS_OK)
			status = find_head(db, &head, err);
	}
	if (status == STATUS_OK)
		status = choose(db, &claim->wish, &head, &pick, err);
	if (status != STATUS_OK || n < 1 || pick.what == PICK_NOTHING)
		return status;
	status = prepare_claim(db, &pick, claim, n, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = read_claimed(stmt, rows, n, arena, found, err);
	for (int i = 0; i < *found; i++)
		rows[i].lost = pick.what == PICK_LOST;
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
