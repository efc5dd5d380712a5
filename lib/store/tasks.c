/* Table background_tasks.
 *
 * Claiming is one UPDATE of what an index says is first, so nobody is ever given a task twice; what a worker may still
 * write of its task hangs on the number of its claim. Priorities are few and are gone through one by one: within one,
 * what is due comes first in the index, so that no number of tasks for later is ever looked at. */
#include "store/tasks.h"

#include "base/clock.h"
#include "store/generations.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const STATUSES[TASK_STATUS__MAX] = {
	[TASK_PENDING] = "pending", [TASK_PROCESSING] = "processing", [TASK_COMPLETED] = "completed",
	[TASK_FAILED] = "failed",   [TASK_CANCELLED] = "cancelled",   [TASK_DEAD] = "dead",
};

#define CHANGES_TOPIC STR("task_changes")

static const int64_t US_PER_DAY = INT64_C(86400000000);
static const int64_t CANCELLED_US = 7 * INT64_C(86400000000); /* for which one that never ran is kept */

/* In the order of read_row(); payload and result come last, for lists go without. */
#define COLUMNS                                                                                                        \
	"task_id, user_id, task_type, status, error_message, created_at, updated_at, priority, run_us, lease_us,"      \
	" claim, attempts, worker, cancel, done, total, expires_us, change"
#define ALL COLUMNS ", payload, result"

enum { COLUMN_PAYLOAD = 18, COLUMN_RESULT };

const char *task_status_name(enum task_status status)
{
	return status < TASK_STATUS__MAX ? STATUSES[status] : "";
}

bool task_status_parse(struct str name, enum task_status *out)
{
	for (int i = 0; i < TASK_STATUS__MAX; i++) {
		if (!str_eq(name, str_of(STATUSES[i])))
			continue;
		*out = (enum task_status)i;
		return true;
	}
	return false;
}

void tasks_format_time(int64_t wall_us, char out[static TASK_TIME_BYTES])
{
	char iso[CLOCK_ISO_BYTES];

	clock_format_iso(wall_us, iso);
	memcpy(out, iso, 26); /* without the zone */
	out[26] = '\0';
}

/* --- rows --- */

/* Borrows its texts from the statement. */
static void read_row(struct stmt *stmt, struct task_row *row)
{
	*row = (struct task_row){0};
	if (!id_parse(db_column_text(stmt, 0), &row->id))
		row->id = (struct id){{0}};
	row->user_id = db_column_i64(stmt, 1);
	db_column_copy(stmt, 2, row->kind, sizeof(row->kind));
	if (!task_status_parse(db_column_text(stmt, 3), &row->status))
		row->status = TASK_FAILED;
	row->error = db_column_text(stmt, 4);
	db_column_copy(stmt, 5, row->created_at, sizeof(row->created_at));
	db_column_copy(stmt, 6, row->updated_at, sizeof(row->updated_at));
	row->priority = db_column_i64(stmt, 7);
	row->run_us = db_column_i64(stmt, 8);
	row->lease_us = db_column_i64(stmt, 9);
	row->claim = db_column_i64(stmt, 10);
	row->attempts = db_column_i64(stmt, 11);
	db_column_copy(stmt, 12, row->worker, sizeof(row->worker));
	row->cancel = db_column_i64(stmt, 13) != 0;
	row->done = db_column_i64(stmt, 14);
	row->total = db_column_i64(stmt, 15);
	row->expires_us = db_column_i64(stmt, 16);
	row->change = db_column_i64(stmt, 17);
}

/* NULL stays NULL. False: no room. */
static bool keep(struct arena *arena, struct str *text)
{
	if (!text->p)
		return true;
	*text = arena_dup(arena, *text);
	return text->p != NULL;
}

static enum status read_whole_row(struct stmt *stmt, struct arena *arena, struct task_row *row, struct err *err)
{
	read_row(stmt, row);
	row->payload = db_column_text(stmt, COLUMN_PAYLOAD);
	row->result = db_column_text(stmt, COLUMN_RESULT);
	if (!keep(arena, &row->error) || !keep(arena, &row->payload) || !keep(arena, &row->result))
		return err_set(err, STATUS_NO_MEMORY, "no memory for a task");
	return STATUS_OK;
}

static void bind_id(struct stmt *stmt, int i, const struct id *id)
{
	char text[ID_TEXT_BYTES];

	id_format(id, text);
	db_bind_text(stmt, i, str_of(text));
}

static void bind_nullable(struct stmt *stmt, int i, struct str text)
{
	if (text.p)
		db_bind_text(stmt, i, text);
	else
		db_bind_null(stmt, i);
}

static void bind_time(struct stmt *stmt, int i, int64_t wall_us)
{
	char text[TASK_TIME_BYTES];

	tasks_format_time(wall_us, text);
	db_bind_text(stmt, i, str_of(text));
}

/* --- adding --- */

/* On PostgreSQL it also tells other machines: delivered with the commit, and not at all without it. */
enum status tasks_begin_change(struct db *db, int64_t *change, struct err *err)
{
	static const char bump[] = "INSERT INTO generations (topic, value) VALUES ($1, 1)"
				   " ON CONFLICT (topic) DO UPDATE SET value = generations.value + 1 RETURNING value";
	static const char tell[] = "INSERT INTO generations (topic, value) VALUES ($1, 1)"
				   " ON CONFLICT (topic) DO UPDATE SET value = generations.value + 1"
				   " RETURNING value, pg_notify('appcore_tasks', '')";
	struct stmt *stmt;
	bool row = false;

	*change = 0;
	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_POSTGRESQL ? tell : bump, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, CHANGES_TOPIC);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*change = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

enum status tasks_last_change(struct db *db, int64_t *change, struct err *err)
{
	return generations_read(db, CHANGES_TOPIC, change, err);
}

/* One that may run at once is due from when it was made: so it stands in line with those that are tried again. */
enum status tasks_insert(struct db *db, const struct task_row *row, bool *stored, struct err *err)
{
	static const char sql[] = "INSERT INTO background_tasks (task_id, user_id, task_type, payload, created_at,"
				  " updated_at, priority, run_us, total, change)"
				  " VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9) ON CONFLICT (task_id) DO NOTHING";
	int64_t made_us = id_time_ms(&row->id) * 1000;
	struct stmt *stmt;
	int64_t inserted;

	*stored = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_id(stmt, 1, &row->id);
	db_bind_i64(stmt, 2, row->user_id);
	db_bind_text(stmt, 3, str_of(row->kind));
	db_bind_text(stmt, 4, row->payload.p ? row->payload : STR(""));
	if (row->created_at[0])
		db_bind_text(stmt, 5, str_of(row->created_at));
	else
		bind_time(stmt, 5, clock_wall_us());
	db_bind_i64(stmt, 6, row->priority);
	db_bind_i64(stmt, 7, row->run_us > 0 ? row->run_us : made_us);
	db_bind_i64(stmt, 8, row->total);
	db_bind_i64(stmt, 9, row->change);
	status = db_run(stmt, &inserted, err);
	*stored = status == STATUS_OK && inserted > 0;
	return status;
}

/* "<task_id>/<number of 8 digits>" */
enum { PART_ID_BYTES = ID_TEXT_BYTES + 1 + 20 };

static struct str part_id(const struct id *task, int64_t number, char out[static PART_ID_BYTES])
{
	char id[ID_TEXT_BYTES];

	id_format(task, id);
	int n = snprintf(out, PART_ID_BYTES, "%s/%08lld", id, (long long)number);
	return (struct str){out, (size_t)n};
}

enum status tasks_insert_part(struct db *db, const struct id *task, int64_t number, struct str data, int64_t now_us,
			      struct err *err)
{
	static const char sql[] = "INSERT INTO task_parts (id, data, created_us) VALUES ($1, $2, $3)"
				  " ON CONFLICT (id) DO NOTHING";
	char id[PART_ID_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, part_id(task, number, id));
	db_bind_blob(stmt, 2, data.p, data.n);
	db_bind_i64(stmt, 3, now_us);
	return db_run(stmt, NULL, err);
}

enum status tasks_read_part(struct db *db, const struct id *task, int64_t number, struct arena *arena, struct str *data,
			    struct err *err)
{
	static const char sql[] = "SELECT data FROM task_parts WHERE id = $1";
	char id[PART_ID_BYTES];
	struct stmt *stmt;
	bool row;

	*data = (struct str){0};
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, part_id(task, number, id));
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && !row)
		status = err_set(err, STATUS_NOT_FOUND, "the task has no such part");
	if (status == STATUS_OK) {
		*data = arena_dup(arena, db_column_blob(stmt, 0));
		if (!data->p)
			status = err_set(err, STATUS_NO_MEMORY, "no memory for a part of a task");
	}
	db_reset(stmt);
	return status;
}

enum status tasks_delete_part(struct db *db, const struct id *task, int64_t number, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id = $1";
	char id[PART_ID_BYTES];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, part_id(task, number, id));
	return db_run(stmt, NULL, err);
}

/* '0' is the character behind '/'. */
static enum status delete_parts(struct db *db, struct str task, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id > $1 AND id < $2";
	char from[ID_TEXT_BYTES + 1], to[ID_TEXT_BYTES + 1];
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	snprintf(from, sizeof(from), "%.*s/", STR_ARG(task));
	snprintf(to, sizeof(to), "%.*s0", STR_ARG(task));
	db_bind_text(stmt, 1, str_of(from));
	db_bind_text(stmt, 2, str_of(to));
	return db_run(stmt, NULL, err);
}

enum status tasks_delete_parts(struct db *db, const struct id *task, struct err *err)
{
	char text[ID_TEXT_BYTES];

	id_format(task, text);
	return delete_parts(db, str_of(text), err);
}

/* --- claiming --- */

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
		status = read_whole_row(stmt, arena, &rows[*found], err);
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
	"SELECT task_id FROM background_tasks WHERE " these to " RETURNING " ALL
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
	bind_time(*stmt, 3, claim->now_us);
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
	bind_id(stmt, 1, &row->id);
	db_bind_i64(stmt, 2, row->claim);
	status = db_run(stmt, &changed, err);
	if (status == STATUS_OK && changed == 0)
		status = err_set(err, STATUS_CONFLICT, "the task is not this worker's any more");
	return status;
}

/* --- changing --- */

static enum status set_cancelled(struct db *db, const struct id *id, int64_t change, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET cancel = 1,"
				  " expires_us = CASE WHEN status = 'pending' THEN $1 ELSE expires_us END,"
				  " status = CASE WHEN status = 'pending' THEN 'cancelled' ELSE status END,"
				  " change = $2, updated_at = $3"
				  " WHERE task_id = $4 AND status IN ('pending', 'processing')";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us + CANCELLED_US);
	db_bind_i64(stmt, 2, change);
	bind_time(stmt, 3, now_us);
	bind_id(stmt, 4, id);
	return db_run(stmt, NULL, err);
}

/* One that is to be cancelled does not go back to the queue: it might wait there for an hour. */
enum status tasks_update(struct db *db, const struct task_row *row, int64_t now_us, bool *cancel, struct err *err)
{
	static const char sql[] =
		"UPDATE background_tasks SET status = $1, result = $2, error_message = $3, done = $4, total = $5,"
		" run_us = $6, lease_us = $7, attempts = $8, expires_us = $9, change = $10, updated_at = $11"
		" WHERE task_id = $12 AND claim = $13 AND status = 'processing' RETURNING cancel";
	struct stmt *stmt;
	bool there;

	*cancel = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(task_status_name(row->status)));
	bind_nullable(stmt, 2, row->result);
	bind_nullable(stmt, 3, row->error);
	db_bind_i64(stmt, 4, row->done);
	db_bind_i64(stmt, 5, row->total);
	db_bind_i64(stmt, 6, row->run_us);
	db_bind_i64(stmt, 7, row->lease_us);
	db_bind_i64(stmt, 8, row->attempts);
	db_bind_i64(stmt, 9, row->expires_us);
	db_bind_i64(stmt, 10, row->change);
	bind_time(stmt, 11, now_us);
	bind_id(stmt, 12, &row->id);
	db_bind_i64(stmt, 13, row->claim);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there)
		*cancel = db_column_i64(stmt, 0) != 0;
	db_reset(stmt);
	if (status == STATUS_OK && !there)
		status = err_set(err, STATUS_CONFLICT, "the task has been given to another worker, or was ended");
	if (*cancel && row->status == TASK_PENDING)
		status = set_cancelled(db, &row->id, row->change, now_us, err);
	return status;
}

enum status tasks_renew(struct db *db, const struct id *id, int64_t claim, int64_t lease_us, bool *cancel,
			struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET lease_us = $1 WHERE task_id = $2 AND claim = $3"
				  " AND status = 'processing' RETURNING cancel";
	struct stmt *stmt;
	bool there;

	*cancel = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, lease_us);
	bind_id(stmt, 2, id);
	db_bind_i64(stmt, 3, claim);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there)
		*cancel = db_column_i64(stmt, 0) != 0;
	db_reset(stmt);
	if (status == STATUS_OK && !there)
		status = err_set(err, STATUS_CONFLICT, "the task is not this worker's any more");
	return status;
}

enum status tasks_cancel(struct db *db, const struct id *id, int64_t user_id, int64_t change, int64_t now_us,
			 struct arena *arena, struct task_row *row, struct err *err)
{
	enum status status = tasks_find(db, id, user_id, arena, row, err);

	if (status != STATUS_OK)
		return status;
	if (task_is_over(row->status))
		return err_set(err, STATUS_CONFLICT, "the task is over already: %s", task_status_name(row->status));
	status = set_cancelled(db, id, change, now_us, err);
	return status == STATUS_OK ? tasks_find(db, id, user_id, arena, row, err) : status;
}

/* What it had done stays: the kind goes on from there. */
enum status tasks_retry(struct db *db, const struct id *id, int64_t change, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE background_tasks SET status = 'pending', attempts = 0, cancel = 0,"
				  " result = NULL, run_us = $1, lease_us = 0, expires_us = 0, change = $2,"
				  " updated_at = $3 WHERE task_id = $4 AND status IN ('failed', 'cancelled', 'dead')";
	static const char there[] = "SELECT status FROM background_tasks WHERE task_id = $1";
	struct stmt *stmt;
	int64_t changed;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	db_bind_i64(stmt, 2, change);
	bind_time(stmt, 3, now_us);
	bind_id(stmt, 4, id);
	status = db_run(stmt, &changed, err);
	if (status != STATUS_OK || changed > 0)
		return status;
	status = db_prepare(db, there, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_id(stmt, 1, id);
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK)
		status = row ? err_set(err, STATUS_CONFLICT, "the task is not failed, cancelled or dead: it is %.*s",
				       STR_ARG(db_column_text(stmt, 0)))
			     : err_set(err, STATUS_NOT_FOUND, "there is no such task");
	db_reset(stmt);
	return status;
}

/* --- reading --- */

enum status tasks_find(struct db *db, const struct id *id, int64_t user_id, struct arena *arena, struct task_row *row,
		       struct err *err)
{
	static const char sql[] = "SELECT " ALL " FROM background_tasks WHERE task_id = $1";
	struct stmt *stmt;
	bool there;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_id(stmt, 1, id);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && there && (user_id == -1 || db_column_i64(stmt, 1) == user_id))
		status = read_whole_row(stmt, arena, row, err);
	else if (status == STATUS_OK)
		status = err_set(err, STATUS_NOT_FOUND, "Task not found");
	db_reset(stmt);
	return status;
}

static enum status each(struct stmt *stmt, task_row_fn *fn, void *arg, struct err *err)
{
	enum status status = STATUS_OK;
	bool more = true;

	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more) {
		struct task_row row;
		read_row(stmt, &row);
		more = fn(arg, &row);
	}
	db_reset(stmt);
	return status;
}

/* $1 is behind every id where there is no `before`. */
#define LISTED "task_id < $1 AND ($2 = '' OR status = $2) AND ($3 = '' OR task_type = $3)"

enum status tasks_list(struct db *db, const struct tasks_filter *filter, task_row_fn *fn, void *arg, struct err *err)
{
	static const char of_all[] = "SELECT " COLUMNS " FROM background_tasks WHERE " LISTED
				     " ORDER BY task_id DESC LIMIT $4";
	static const char of_user[] = "SELECT " COLUMNS " FROM background_tasks WHERE " LISTED
				      " AND user_id = $4 ORDER BY task_id DESC LIMIT $5";
	bool all = filter->user_id == -1;
	bool any = filter->status < 0 || filter->status >= TASK_STATUS__MAX;
	struct stmt *stmt;

	enum status status = db_prepare(db, all ? of_all : of_user, &stmt, err);
	if (status != STATUS_OK)
		return status;
	if (filter->before)
		bind_id(stmt, 1, filter->before);
	else
		db_bind_text(stmt, 1, STR("g"));
	db_bind_text(stmt, 2, any ? STR("") : str_of(task_status_name((enum task_status)filter->status)));
	db_bind_text(stmt, 3, filter->kind.n > 0 ? filter->kind : STR(""));
	if (!all)
		db_bind_i64(stmt, 4, filter->user_id);
	db_bind_i64(stmt, all ? 4 : 5, filter->limit > 0 ? filter->limit : 0);
	return each(stmt, fn, arg, err);
}

enum status tasks_changes(struct db *db, int64_t change, const struct id *id, int64_t user_id, int64_t limit,
			  task_row_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM background_tasks WHERE (change, task_id) > ($1, $2)"
				  " AND (user_id = $3 OR $3 = -1) ORDER BY change, task_id LIMIT $4";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, change);
	bind_id(stmt, 2, id);
	db_bind_i64(stmt, 3, user_id);
	db_bind_i64(stmt, 4, limit > 0 ? limit : 0);
	return each(stmt, fn, arg, err);
}

static enum status count_one(struct db *db, const char *sql, enum task_status counted, task_count_fn *fn, void *arg,
			     struct err *err)
{
	struct stmt *stmt;
	bool more = true;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more)
		more = fn(arg, db_column_text(stmt, 0), counted, db_column_i64(stmt, 1));
	db_reset(stmt);
	return status;
}

enum status tasks_count(struct db *db, task_count_fn *fn, void *arg, struct err *err)
{
	static const char pending[] = "SELECT task_type, count(*) FROM background_tasks WHERE status = 'pending'"
				      " GROUP BY task_type";
	static const char processing[] = "SELECT task_type, count(*) FROM background_tasks WHERE status = 'processing'"
					 " GROUP BY task_type";
	static const char dead[] = "SELECT task_type, count(*) FROM background_tasks WHERE status = 'dead'"
				   " GROUP BY task_type";

	enum status status = count_one(db, pending, TASK_PENDING, fn, arg, err);
	if (status == STATUS_OK)
		status = count_one(db, processing, TASK_PROCESSING, fn, arg, err);
	return status == STATUS_OK ? count_one(db, dead, TASK_DEAD, fn, arg, err) : status;
}

/* --- deleting --- */

/* At most EXPIRE_MAX at a time. */
enum { EXPIRE_MAX = 500, ORPHANS_MAX = 50 };

static enum status delete_tasks(struct db *db, int64_t now_us, int64_t limit, char (*ids)[ID_TEXT_BYTES], int64_t *n,
				struct err *err)
{
	static const char sql[] = "DELETE FROM background_tasks WHERE task_id IN (SELECT task_id FROM background_tasks"
				  " WHERE expires_us > 0 AND expires_us <= $1 ORDER BY expires_us LIMIT $2)"
				  " RETURNING task_id";
	struct stmt *stmt;
	bool row;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	db_bind_i64(stmt, 2, limit);
	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row && *n < limit)
		db_column_copy(stmt, 0, ids[(*n)++], ID_TEXT_BYTES);
	db_reset(stmt);
	return status;
}

/* Ids begin with their time, which is all that is read of a part: its data may be long. */
enum status tasks_expire_parts(struct db *db, int64_t now_us, int64_t *deleted, struct err *err)
{
	static const char sql[] = "DELETE FROM task_parts WHERE id IN (SELECT id FROM task_parts WHERE id < $1"
				  " AND NOT EXISTS (SELECT 1 FROM background_tasks"
				  " WHERE task_id = substr(task_parts.id, 1, 36)) LIMIT $2)";
	struct edge_identity edge = {.ms = (now_us - US_PER_DAY) / 1000};
	struct id id = id_of_edge(&edge);
	struct stmt *stmt;

	*deleted = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_id(stmt, 1, &id);
	db_bind_i64(stmt, 2, ORPHANS_MAX);
	return db_run(stmt, deleted, err);
}

enum status tasks_expire(struct db *db, int64_t now_us, int64_t limit, int64_t *deleted, struct err *err)
{
	char ids[EXPIRE_MAX][ID_TEXT_BYTES];

	*deleted = 0;
	limit = limit < EXPIRE_MAX ? limit : EXPIRE_MAX;
	enum status status = delete_tasks(db, now_us, limit > 0 ? limit : 0, ids, deleted, err);
	for (int64_t i = 0; i < *deleted && status == STATUS_OK; i++)
		status = delete_parts(db, str_of(ids[i]), err);
	return status;
}
