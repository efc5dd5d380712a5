/* Tables background_tasks, task_parts, task_schedules. */
#include "store_helpers.h"

#include "store/schedules.h"
#include "store/tasks.h"

enum { ROWS = 300 };

static const int64_t NOW = INT64_C(1790000000000000), SECOND = 1000000;

static struct arena arena;
static struct task_row rows[ROWS];

static struct id id_at(int64_t us, int n)
{
	struct edge_identity edge = {.ms = us / 1000};

	edge.random[2] = (uint8_t)(n >> 8);
	edge.random[3] = (uint8_t)n;
	return id_of_edge(&edge);
}

static int64_t begin(struct db *db)
{
	int64_t change = -1;

	test_begin(db);
	OK(tasks_begin_change(db, &change, NULL));
	return change;
}

/* Adds a task of its own transaction. */
static struct id add(struct db *db, const char *kind, int n, int64_t priority, int64_t run_us)
{
	struct task_row row = {.id = id_at(NOW, n), .user_id = n % 2 + 1, .priority = priority, .run_us = run_us};
	bool stored = false;

	snprintf(row.kind, sizeof(row.kind), "%s", kind);
	row.small = strcmp(kind, "large") != 0;
	row.payload = STR("{}");
	row.change = begin(db);
	OK(tasks_insert(db, &row, &stored, NULL));
	CU_ASSERT_TRUE(stored);
	test_commit(db);
	return row.id;
}

static int claim_wish(struct db *db, const char *worker, const struct tasks_wish *wish, int n)
{
	struct tasks_claim how = {.worker = worker, .wish = *wish, .lease_until_us = wish->now_us + 30 * SECOND};
	int found = -1;

	how.change = begin(db);
	OK(tasks_claim(db, &how, rows, n, &arena, &found, NULL));
	test_commit(db);
	return found;
}

static int claim_as(struct db *db, const char *worker, int64_t now_us, int n)
{
	const struct tasks_wish wish = {.now_us = now_us};

	return claim_wish(db, worker, &wish, n);
}

static enum status peek(struct db *db, int64_t now_us, bool *due, int64_t *next_us)
{
	const struct tasks_wish wish = {.now_us = now_us};

	return tasks_peek(db, &wish, due, next_us, NULL);
}

static enum status update(struct db *db, struct task_row *row, enum task_status status, bool *cancel)
{
	row->status = status;
	row->change = begin(db);
	enum status result = tasks_update(db, row, NOW + SECOND, cancel, NULL);
	test_commit(db);
	return result;
}

static struct task_row find(struct db *db, const struct id *id)
{
	struct task_row row = {0};

	OK(tasks_find(db, id, -1, &arena, &row, NULL));
	return row;
}

static bool is(const struct id *a, const struct id *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* --- adding and claiming --- */

static void is_added_once(void)
{
	struct db *db = test_database("once.db");
	struct task_row row = {.id = id_at(NOW, 1), .user_id = 7, .kind = "small", .payload = STR("[1]"), .total = 5};
	bool stored;

	snprintf(row.created_at, sizeof(row.created_at), "2026-11-21T10:00:00.000001");
	row.change = begin(db);
	OK(tasks_insert(db, &row, &stored, NULL));
	CU_ASSERT_TRUE(stored);
	OK(tasks_insert(db, &row, &stored, NULL));
	CU_ASSERT_FALSE(stored);
	test_commit(db);
	struct task_row found = find(db, &row.id);
	CU_ASSERT_EQUAL(found.user_id, 7);
	CU_ASSERT_STRING_EQUAL(found.kind, "small");
	CU_ASSERT_EQUAL(found.status, TASK_PENDING);
	CU_ASSERT_TRUE(str_eq(found.payload, STR("[1]")));
	CU_ASSERT_PTR_NULL(found.result.p);
	CU_ASSERT_PTR_NULL(found.error.p);
	CU_ASSERT_STRING_EQUAL(found.created_at, "2026-11-21T10:00:00.000001");
	CU_ASSERT_STRING_EQUAL(found.updated_at, "2026-11-21T10:00:00.000001");
	CU_ASSERT_EQUAL(found.run_us, NOW); /* in line from when it was made */
	CU_ASSERT_EQUAL(found.total, 5);
	CU_ASSERT_EQUAL(found.change, row.change);
	IS(tasks_find(db, &row.id, 8, &arena, &found, NULL), STATUS_NOT_FOUND); /* another's */
	OK(tasks_find(db, &row.id, 7, &arena, &found, NULL));
	db_close(db);
}

static void the_most_urgent_comes_first(void)
{
	struct db *db = test_database("urgent.db");
	struct id low = add(db, "small", 1, -5, 0), later = add(db, "small", 2, 0, NOW + 10 * SECOND);
	struct id first = add(db, "small", 3, 0, 0), second = add(db, "tiny", 4, 0, 0);
	struct id high = add(db, "large", 5, 100, NOW);
	int64_t next;
	bool due;

	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, ROWS), 1); /* a large one alone */
	CU_ASSERT_TRUE(is(&rows[0].id, &high));
	CU_ASSERT_EQUAL(rows[0].status, TASK_PROCESSING);
	CU_ASSERT_EQUAL(rows[0].attempts, 1);
	CU_ASSERT_EQUAL(rows[0].claim, 1);
	CU_ASSERT_STRING_EQUAL(rows[0].worker, "a");
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, ROWS), 2); /* of one priority, in their order */
	CU_ASSERT_TRUE(is(&rows[0].id, &first));
	CU_ASSERT_TRUE(is(&rows[1].id, &second));
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, ROWS), 1);
	CU_ASSERT_TRUE(is(&rows[0].id, &low));
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW, ROWS), 0);
	OK(peek(db, NOW, &due, &next));
	CU_ASSERT_FALSE(due);
	CU_ASSERT_EQUAL(next, NOW + 10 * SECOND);
	OK(peek(db, NOW + 10 * SECOND, &due, &next));
	CU_ASSERT_TRUE(due);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW + 10 * SECOND, ROWS), 1);
	CU_ASSERT_TRUE(is(&rows[0].id, &later));
	db_close(db);
}

static void large_ones_are_passed_by_small_ones_only_in_a_claim(void)
{
	struct db *db = test_database("mixed.db");
	struct id a = add(db, "small", 1, 0, 0), large = add(db, "large", 2, 0, 0), b = add(db, "tiny", 3, 0, 0);

	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, ROWS), 1);
	CU_ASSERT_TRUE(is(&rows[0].id, &large));
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, ROWS), 2);
	CU_ASSERT_TRUE(is(&rows[0].id, &a) && is(&rows[1].id, &b));
	db_close(db);
}

static void no_more_are_claimed_than_asked_for(void)
{
	struct db *db = test_database("bound.db");

	for (int i = 0; i < 5; i++)
		add(db, "small", i, 0, 0);
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW, 3), 3);
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW, 3), 2);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM background_tasks WHERE status = 'processing'"), 5);
	db_close(db);
}

/* Two processes claim 400 tasks: each goes to one of them. The exit code is 0 when all that a child claimed was its own
 * to complete. */
static int claim_all(void *arg)
{
	struct db *db = test_open("race.db", DB_WRITE);
	bool cancel;
	int n;

	while ((n = claim_as(db, arg, NOW, 7)) > 0)
		for (int i = 0; i < n; i++)
			if (rows[i].attempts != 1 || strcmp(rows[i].worker, arg) != 0 ||
			    update(db, &rows[i], TASK_COMPLETED, &cancel) != STATUS_OK)
				return 1;
	db_close(db);
	return 0;
}

static void two_workers_never_get_the_same_task(void)
{
	struct db *db = test_database("race.db");
	char a[] = "a", b[] = "b";

	for (int i = 0; i < 400; i++)
		add(db, "small", i, 0, 0);
	db_close(db);
	pid_t first = test_fork(claim_all, a), second = test_fork(claim_all, b);
	CU_ASSERT_EQUAL(test_wait(first), 0);
	CU_ASSERT_EQUAL(test_wait(second), 0);
	db = test_open("race.db", DB_READ);
	CU_ASSERT_EQUAL(
		test_number(db, "SELECT count(*) FROM background_tasks WHERE status = 'completed' AND claim = 1"), 400);
	db_close(db);
}

/* --- turns --- */

static struct id add_of(struct db *db, int64_t user_id, const char *kind, int n, int64_t priority)
{
	struct task_row row = {.id = id_at(NOW, n), .user_id = user_id, .priority = priority, .payload = STR("{}")};
	bool stored = false;

	snprintf(row.kind, sizeof(row.kind), "%s", kind);
	row.small = strcmp(kind, "large") != 0;
	row.change = begin(db);
	OK(tasks_insert(db, &row, &stored, NULL));
	CU_ASSERT_TRUE(stored);
	test_commit(db);
	return row.id;
}

static void users_take_turns(void)
{
	struct db *db = test_database("turns.db");
	int n = 0;

	for (int i = 0; i < 50; i++)
		add_of(db, 1, "small", n++, 0);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 10), 10);
	for (int i = 0; i < 3; i++)
		add_of(db, 2, "small", n++, 0);
	struct id third = add_of(db, 3, "small", n++, 0), behind = add_of(db, 1, "small", n++, 0);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 3), 3); /* everybody's next one */
	CU_ASSERT_EQUAL(rows[0].user_id, 1);
	CU_ASSERT_EQUAL(rows[1].user_id, 2);
	CU_ASSERT_TRUE(is(&rows[2].id, &third));
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 4), 4);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(rows[i].user_id, 1 + i % 2);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, ROWS), 38);
	CU_ASSERT_TRUE(is(&rows[37].id, &behind));
	db_close(db);
}

/* What waits for a time gets in line when the time has come, behind its user's others; what is given back keeps its
 * place. */
static void who_comes_later_stands_behind(void)
{
	struct db *db = test_database("later.db");
	struct id late[2], now[2], other;
	bool asked;

	for (int i = 0; i < 2; i++) {
		late[i] = add(db, "small", 1 + 2 * i, 0, NOW + SECOND);
		now[i] = add(db, "small", 11 + 2 * i, 0, 0);
	}
	other = add(db, "small", 30, 0, NOW + SECOND); /* of another user */
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM background_tasks WHERE turn = 0"), 3);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW + SECOND, 1), 1);
	CU_ASSERT_TRUE(is(&rows[0].id, &now[0]));
	OK(update(db, &rows[0], TASK_PENDING, &asked)); /* given back */
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW + SECOND, ROWS), 5);
	CU_ASSERT_TRUE(is(&rows[0].id, &now[0]) && is(&rows[1].id, &other) && is(&rows[2].id, &now[1]));
	CU_ASSERT_TRUE(is(&rows[3].id, &late[0]) && is(&rows[4].id, &late[1]));
	rows[0].run_us = NOW + 9 * SECOND; /* to be tried again then */
	OK(update(db, &rows[0], TASK_PENDING, &asked));
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW + 8 * SECOND, ROWS), 0);
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW + 9 * SECOND, ROWS), 1);
	db_close(db);
}

static void large_ones_leave_room(void)
{
	struct db *db = test_database("room.db");
	struct tasks_wish wish = {.now_us = NOW, .large_of_user = 2};
	struct id last = {{0}}, service, other;
	bool due, asked;
	int64_t next;

	for (int i = 0; i < 20; i++) {
		struct id id = add_of(db, 1, "large", i, 5);
		last = i == 2 ? id : last;
	}
	CU_ASSERT_EQUAL(claim_wish(db, "a", &wish, ROWS), 1);
	CU_ASSERT_EQUAL(claim_wish(db, "a", &wish, ROWS), 1);
	struct task_row mine = rows[0];
	CU_ASSERT_EQUAL(claim_wish(db, "a", &wish, ROWS), 0); /* two of this user run */
	OK(tasks_peek(db, &wish, &due, &next, NULL));
	CU_ASSERT_FALSE(due);
	other = add_of(db, 2, "large", 30, 0); /* behind more than a few of the other's */
	service = add_of(db, 0, "large", 31, 0);
	OK(tasks_peek(db, &wish, &due, &next, NULL));
	CU_ASSERT_TRUE(due);
	wish.small_only = true;
	OK(tasks_peek(db, &wish, &due, &next, NULL));
	CU_ASSERT_FALSE(due);
	CU_ASSERT_EQUAL(claim_wish(db, "a", &wish, ROWS), 0);
	wish.small_only = false;
	CU_ASSERT_EQUAL_FATAL(claim_wish(db, "a", &wish, ROWS), 1);
	CU_ASSERT_TRUE(is(&rows[0].id, &other));
	CU_ASSERT_EQUAL_FATAL(claim_wish(db, "a", &wish, ROWS), 1);
	CU_ASSERT_TRUE(is(&rows[0].id, &service));
	CU_ASSERT_EQUAL(claim_wish(db, "a", &wish, ROWS), 0);
	OK(update(db, &mine, TASK_COMPLETED, &asked));
	CU_ASSERT_EQUAL_FATAL(claim_wish(db, "a", &wish, ROWS), 1);
	CU_ASSERT_TRUE(is(&rows[0].id, &last));
	db_close(db);
}

/* One thread takes what is large and what is small by turns; the greater priority goes first in any case. */
static void small_and_large_ones_take_turns(void)
{
	struct db *db = test_database("kinds.db");
	struct tasks_wish wish = {.now_us = NOW, .small_first = true};

	add_of(db, 1, "large", 1, 0);
	add_of(db, 1, "small", 2, 0);
	add_of(db, 1, "large", 3, 1);
	CU_ASSERT_EQUAL_FATAL(claim_wish(db, "a", &wish, ROWS), 1);
	CU_ASSERT_EQUAL(rows[0].priority, 1);
	CU_ASSERT_EQUAL_FATAL(claim_wish(db, "a", &wish, ROWS), 1);
	CU_ASSERT_TRUE(rows[0].small);
	CU_ASSERT_EQUAL_FATAL(claim_wish(db, "a", &wish, ROWS), 1);
	CU_ASSERT_FALSE(rows[0].small);
	/* What is lost is for who may take it. */
	wish = (struct tasks_wish){.now_us = NOW + 30 * SECOND, .small_only = true};
	CU_ASSERT_EQUAL_FATAL(claim_wish(db, "b", &wish, ROWS), 1);
	CU_ASSERT_TRUE(rows[0].lost && rows[0].small);
	CU_ASSERT_EQUAL(claim_wish(db, "b", &wish, ROWS), 0);
	wish.small_only = false;
	CU_ASSERT_EQUAL(claim_wish(db, "b", &wish, ROWS), 1);
	CU_ASSERT_EQUAL(claim_wish(db, "b", &wish, ROWS), 1);
	CU_ASSERT_EQUAL(claim_wish(db, "b", &wish, ROWS), 0);
	db_close(db);
}

/* --- bounds --- */

static enum tasks_room insert_within(struct db *db, int64_t user_id, int n, int64_t bytes,
				     const struct tasks_bound *bound, bool *stored)
{
	struct task_row row = {.id = id_at(NOW, n),
			       .user_id = user_id,
			       .kind = "small",
			       .small = n % 2 == 0,
			       .payload = STR("[1]"),
			       .bytes = bytes - 3};
	enum tasks_room room = TASKS_ROOM;

	row.change = begin(db);
	OK(tasks_insert_within(db, &row, bound, stored, &room, NULL));
	test_commit(db);
	return room;
}

static void what_waits_is_bounded(void)
{
	const struct tasks_bound few = {.tasks = 3}, small = {.tasks = 100, .bytes = 50};
	struct db *db = test_database("few.db");
	enum tasks_room room;
	bool stored;

	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(insert_within(db, 1, i, 20, &few, &stored), TASKS_ROOM);
		CU_ASSERT_TRUE(stored);
	}
	CU_ASSERT_EQUAL(insert_within(db, 1, 3, 20, &few, &stored), TASKS_TOO_MANY);
	CU_ASSERT_FALSE(stored);
	CU_ASSERT_EQUAL(insert_within(db, 1, 2, 20, &few, &stored), TASKS_ROOM); /* the same request again */
	CU_ASSERT_FALSE(stored);
	CU_ASSERT_EQUAL(insert_within(db, 2, 4, 20, &few, &stored), TASKS_ROOM); /* another's */
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW, 1), 1);                           /* runs, and waits no more */
	CU_ASSERT_EQUAL(insert_within(db, 1, 5, 20, &few, &stored), TASKS_ROOM);
	CU_ASSERT_TRUE(stored);
	CU_ASSERT_EQUAL(insert_within(db, 2, 6, 31, &small, &stored), TASKS_TOO_LARGE);
	OK(tasks_find_room(db, 2, 31, &small, &room, NULL));
	CU_ASSERT_EQUAL(room, TASKS_TOO_LARGE);
	CU_ASSERT_EQUAL(insert_within(db, 2, 7, 30, &small, &stored), TASKS_ROOM);
	CU_ASSERT_EQUAL(insert_within(db, 2, 8, 3, &small, &stored), TASKS_TOO_LARGE);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM background_tasks"), 6);
	db_close(db);
}

/* Sent, cancelled, and sent again. */
static void what_was_cancelled_takes_room(void)
{
	const struct tasks_bound small = {.tasks = 100, .bytes = 50};
	struct db *db = test_database("held.db");
	int64_t deleted, parts = 0;
	struct id id = id_at(NOW, 1);
	struct task_row task;
	bool stored, more = true;

	CU_ASSERT_EQUAL(insert_within(db, 1, 1, 40, &small, &stored), TASKS_ROOM);
	int64_t change = begin(db);
	for (int i = 0; i < 20; i++)
		OK(tasks_insert_part(db, &id, i, STR("[]"), NOW, NULL));
	OK(tasks_cancel(db, &id, -1, change, NOW, &arena, &task, NULL));
	test_commit(db);
	CU_ASSERT_EQUAL(insert_within(db, 1, 2, 11, &small, &stored), TASKS_TOO_LARGE);
	CU_ASSERT_EQUAL(insert_within(db, 2, 3, 11, &small, &stored), TASKS_ROOM);
	for (int i = 0; more && i < 9; i++) {
		(void)begin(db);
		OK(tasks_expire(db, NOW, 10, &deleted, &more, NULL));
		test_commit(db);
		parts = test_number(db, "SELECT count(*) FROM task_parts");
		CU_ASSERT_EQUAL(parts, i == 0 ? 4 : 0);
		CU_ASSERT_EQUAL(deleted, 0);
	}
	CU_ASSERT_FALSE(more);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM background_tasks"), 2); /* it can be looked at */
	CU_ASSERT_EQUAL(insert_within(db, 1, 4, 50, &small, &stored), TASKS_ROOM);
	db_close(db);
}

static const struct tasks_bound TEN = {.tasks = 10};

static void add_one_of_many(void *arg, size_t i)
{
	struct task_row row = {.id = id_at(NOW, (int)i), .user_id = 1, .kind = "small", .payload = STR("{}")};
	enum tasks_room room;
	bool stored;

	if (tasks_begin_change(arg, &row.change, NULL) != STATUS_OK ||
	    tasks_insert_within(arg, &row, &TEN, &stored, &room, NULL) != STATUS_OK)
		CU_ASSERT_TRUE(false);
}

static void nobody_gets_between(void)
{
	struct db *db = test_database("together.db");

	test_begin(db);
	db_together(db, 40, add_one_of_many, db);
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM background_tasks"), 10);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(DISTINCT turn) FROM background_tasks"), 10);
	db_close(db);
}

/* --- leases --- */

static void a_lost_task_is_claimed_anew_and_alone(void)
{
	struct db *db = test_database("lost.db");
	bool cancel, due;
	int64_t next;

	for (int i = 0; i < 3; i++)
		add(db, "small", i, 0, 0);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 2), 2);
	struct task_row mine = rows[0];
	add(db, "small", 10, 50, 0);
	CU_ASSERT_EQUAL(claim_as(db, "b", NOW + 29 * SECOND, ROWS), 1); /* the urgent one */
	CU_ASSERT_EQUAL(claim_as(db, "b", NOW + 29 * SECOND, ROWS), 1);
	OK(peek(db, NOW + 29 * SECOND, &due, &next));
	CU_ASSERT_FALSE(due);
	CU_ASSERT_EQUAL(next, NOW + 30 * SECOND);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "b", NOW + 30 * SECOND, ROWS), 1);
	CU_ASSERT_EQUAL(rows[0].attempts, 1); /* until it is begun */
	CU_ASSERT_EQUAL(rows[0].claim, 2);
	CU_ASSERT_STRING_EQUAL(rows[0].worker, "b");
	bool first = is(&rows[0].id, &mine.id);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "b", NOW + 30 * SECOND, ROWS), 1);
	CU_ASSERT_TRUE(first || is(&rows[0].id, &mine.id));
	/* The old owner has nothing to say any more. */
	mine.result = STR("\"old\"");
	IS(update(db, &mine, TASK_COMPLETED, &cancel), STATUS_CONFLICT);
	struct task_row now = find(db, &mine.id);
	CU_ASSERT_EQUAL(now.status, TASK_PROCESSING);
	CU_ASSERT_PTR_NULL(now.result.p);
	test_begin(db);
	IS(tasks_renew(db, &mine.id, mine.claim, NOW + 99 * SECOND, &cancel, NULL), STATUS_CONFLICT);
	OK(tasks_renew(db, &mine.id, now.claim, NOW + 99 * SECOND, &cancel, NULL));
	IS(tasks_begin_again(db, &mine, NULL), STATUS_CONFLICT);
	OK(tasks_begin_again(db, &now, NULL));
	test_commit(db);
	CU_ASSERT_EQUAL(find(db, &mine.id).lease_us, NOW + 99 * SECOND);
	CU_ASSERT_EQUAL(find(db, &mine.id).attempts, 2);
	db_close(db);
}

static void an_update_writes_what_it_says(void)
{
	struct db *db = test_database("update.db");
	struct id id = add(db, "small", 1, 0, 0);
	bool cancel;

	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 1), 1);
	struct task_row row = rows[0];
	row.done = 3;
	row.total = 9;
	row.lease_us = NOW + 60 * SECOND;
	OK(update(db, &row, TASK_PROCESSING, &cancel));
	CU_ASSERT_FALSE(cancel);
	row.result = STR("{\"a\":1}");
	row.error = STR("\xc3\xa4");
	row.expires_us = NOW + 5;
	row.lease_us = 0;
	OK(update(db, &row, TASK_COMPLETED, &cancel));
	struct task_row found = find(db, &id);
	CU_ASSERT_EQUAL(found.status, TASK_COMPLETED);
	CU_ASSERT_TRUE(str_eq(found.result, row.result) && str_eq(found.error, row.error));
	CU_ASSERT_EQUAL(found.done, 3);
	CU_ASSERT_EQUAL(found.total, 9);
	CU_ASSERT_EQUAL(found.expires_us, NOW + 5);
	CU_ASSERT_EQUAL(found.change, row.change);
	char time[TASK_TIME_BYTES];
	tasks_format_time(NOW + SECOND, time);
	CU_ASSERT_STRING_EQUAL(found.updated_at, time);
	IS(update(db, &row, TASK_COMPLETED, &cancel), STATUS_CONFLICT); /* it is over */
	db_close(db);
}

/* --- cancelling, trying again --- */

static enum status cancel(struct db *db, const struct id *id, int64_t user_id, struct task_row *row)
{
	int64_t change = begin(db);
	enum status status = tasks_cancel(db, id, user_id, change, NOW, &arena, row, NULL);

	test_commit(db);
	return status;
}

/* Made at NOW by the clock of then. */
static struct id add_timed(struct db *db, int n, int64_t run_us)
{
	struct task_row row = {.id = id_at(NOW, n),
			       .user_id = 1,
			       .kind = "small",
			       .small = true,
			       .payload = STR("{}"),
			       .run_us = run_us};
	bool stored = false;

	tasks_format_time(NOW, row.created_at);
	row.change = begin(db);
	OK(tasks_insert(db, &row, &stored, NULL));
	CU_ASSERT_TRUE(stored);
	test_commit(db);
	return row.id;
}

static int bring_back(struct db *db, int64_t now_us)
{
	int found = -1;

	OK(tasks_find_ahead(db, now_us, 30 * SECOND, rows, ROWS, &found, NULL));
	int64_t change = begin(db);
	OK(tasks_bring_back(db, rows, found, now_us, 30 * SECOND, change, NULL));
	test_commit(db);
	return found;
}

static void nothing_waits_for_a_time_to_come_again(void)
{
	struct db *db = test_database("back.db");
	int64_t back = NOW - 3600 * SECOND;
	bool cancel;

	struct id leased = add_timed(db, 1, 0), again = add_timed(db, 2, 0);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "A", NOW, 2), 2);
	rows[1].run_us = NOW + 5 * SECOND;
	OK(update(db, &rows[1], TASK_PENDING, &cancel));
	struct id first = add_timed(db, 3, 0), second = add_timed(db, 4, 0);
	struct id later = add_timed(db, 5, NOW + 600 * SECOND);

	CU_ASSERT_EQUAL(bring_back(db, NOW + 2 * SECOND), 0); /* the clock is right */
	CU_ASSERT_EQUAL(bring_back(db, back), 2);             /* who is in line has a turn, whatever the time */
	CU_ASSERT_EQUAL(bring_back(db, back), 0);
	CU_ASSERT_EQUAL(find(db, &later).run_us, NOW + 600 * SECOND); /* somebody wanted it then */
	CU_ASSERT_EQUAL(find(db, &leased).lease_us, back + 30 * SECOND);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "B", back, 9), 3);
	CU_ASSERT_TRUE(is(&rows[0].id, &first) && is(&rows[1].id, &second) && is(&rows[2].id, &again));
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "B", back + 31 * SECOND, 9), 1);
	CU_ASSERT_EQUAL(rows[0].attempts, 1);
	db_close(db);
}

static void cancels(void)
{
	struct db *db = test_database("cancel.db");
	struct id waiting = add(db, "small", 1, 0, 0), running = add(db, "small", 3, 10, 0), none = id_at(NOW, 9);
	struct task_row row;
	bool asked;

	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 1), 1);
	struct task_row mine = rows[0];
	IS(cancel(db, &waiting, 1, &row), STATUS_NOT_FOUND); /* another's */
	IS(cancel(db, &none, -1, &row), STATUS_NOT_FOUND);
	OK(cancel(db, &waiting, 2, &row));
	CU_ASSERT_EQUAL(row.status, TASK_CANCELLED);
	CU_ASSERT_TRUE(row.expires_us > NOW);
	IS(cancel(db, &waiting, 2, &row), STATUS_CONFLICT);
	CU_ASSERT_EQUAL(row.status, TASK_CANCELLED);
	OK(cancel(db, &running, -1, &row));
	CU_ASSERT_EQUAL(row.status, TASK_PROCESSING);
	CU_ASSERT_TRUE(row.cancel);
	OK(update(db, &mine, TASK_PROCESSING, &asked));
	CU_ASSERT_TRUE(asked);
	mine.run_us = NOW + 3600 * SECOND; /* it has failed meanwhile */
	OK(update(db, &mine, TASK_PENDING, &asked));
	CU_ASSERT_EQUAL(find(db, &running).status, TASK_CANCELLED);
	CU_ASSERT_TRUE(find(db, &running).expires_us > NOW);
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW, ROWS), 0);
	db_close(db);
}

static int64_t cancel_of(struct db *db, int64_t user_id, int64_t limit)
{
	int64_t change = begin(db), changed = -1;

	OK(tasks_cancel_of_user(db, user_id, change, NOW, limit, &changed, NULL));
	test_commit(db);
	return changed;
}

static void cancels_all_of_a_user(void)
{
	struct db *db = test_database("all.db");
	struct id running, later;
	bool asked;

	running = add_of(db, 1, "small", 0, 0);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 1), 1);
	struct task_row mine = rows[0];
	for (int i = 1; i < 6; i++)
		add_of(db, 1, i % 2 ? "small" : "large", i, i);
	later = add(db, "small", 10, 0, NOW + SECOND); /* of user 1 */
	add_of(db, 2, "small", 20, 0);
	CU_ASSERT_EQUAL(cancel_of(db, 1, 4), 5); /* with the one that runs */
	CU_ASSERT_EQUAL(cancel_of(db, 1, 4), 2);
	CU_ASSERT_EQUAL(cancel_of(db, 1, 4), 0);
	CU_ASSERT_EQUAL(find(db, &later).status, TASK_CANCELLED);
	CU_ASSERT_TRUE(find(db, &later).expires_us > NOW);
	CU_ASSERT_EQUAL(find(db, &running).status, TASK_PROCESSING);
	OK(update(db, &mine, TASK_PROCESSING, &asked));
	CU_ASSERT_TRUE(asked);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM background_tasks WHERE status = 'pending'"), 1);
	db_close(db);
}

static void tries_again(void)
{
	struct db *db = test_database("retry.db");
	struct id id = add(db, "small", 1, 0, 0), none = id_at(NOW, 9);
	bool asked;

	IS(tasks_retry(db, &id, 1, NOW, NULL), STATUS_CONFLICT);
	IS(tasks_retry(db, &none, 1, NOW, NULL), STATUS_NOT_FOUND);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 1), 1);
	rows[0].done = 4;
	rows[0].error = STR("no");
	rows[0].expires_us = NOW;
	OK(update(db, &rows[0], TASK_DEAD, &asked));
	int64_t change = begin(db);
	OK(tasks_retry(db, &id, change, NOW + SECOND, NULL));
	test_commit(db);
	struct task_row row = find(db, &id);
	CU_ASSERT_EQUAL(row.status, TASK_PENDING);
	CU_ASSERT_EQUAL(row.attempts, 0);
	CU_ASSERT_EQUAL(row.expires_us, 0);
	CU_ASSERT_EQUAL(row.done, 4); /* it goes on from there */
	CU_ASSERT_EQUAL(row.run_us, NOW + SECOND);
	CU_ASSERT(str_eq(row.error, STR("no"))); /* of its last try */
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW + SECOND, 1), 1);
	CU_ASSERT_EQUAL(rows[0].claim, 2);
	/* One that was cancelled, or paused, is so no more. */
	rows[0].error = STR("It was paused.");
	OK(update(db, &rows[0], TASK_CANCELLED, &asked));
	change = begin(db);
	OK(tasks_retry(db, &id, change, NOW + SECOND, NULL));
	test_commit(db);
	CU_ASSERT_EQUAL(find(db, &id).error.n, 0);
	db_close(db);
}

/* --- reading --- */

struct seen {
	int n;
	struct task_row at[20];
};

static bool see(void *arg, const struct task_row *row)
{
	struct seen *seen = arg;

	CU_ASSERT_PTR_NULL(row->payload.p);
	seen->at[seen->n++] = *row;
	return seen->n < 20;
}

static struct seen list(struct db *db, const struct tasks_filter *filter)
{
	struct seen seen = {0};

	OK(tasks_list(db, filter, see, &seen, NULL));
	return seen;
}

static void lists(void)
{
	struct db *db = test_database("list.db");
	struct id ids[6];
	bool asked;

	for (int i = 0; i < 6; i++)
		ids[i] = add(db, i < 3 ? "small" : "large", i, 0, 0);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 1), 1);
	OK(update(db, &rows[0], TASK_DEAD, &asked));
	struct tasks_filter filter = {.user_id = -1, .status = -1, .limit = 20};
	struct seen seen = list(db, &filter);
	CU_ASSERT_EQUAL_FATAL(seen.n, 6);
	CU_ASSERT_TRUE(is(&seen.at[0].id, &ids[5]) && is(&seen.at[5].id, &ids[0]));
	filter.before = &ids[4];
	filter.limit = 2;
	seen = list(db, &filter);
	CU_ASSERT_EQUAL_FATAL(seen.n, 2);
	CU_ASSERT_TRUE(is(&seen.at[0].id, &ids[3]) && is(&seen.at[1].id, &ids[2]));
	filter = (struct tasks_filter){.user_id = 2, .status = -1, .limit = 20};
	CU_ASSERT_EQUAL(list(db, &filter).n, 3);
	filter.kind = STR("large");
	CU_ASSERT_EQUAL(list(db, &filter).n, 2);
	filter = (struct tasks_filter){.user_id = -1, .status = TASK_DEAD, .limit = 20};
	seen = list(db, &filter);
	CU_ASSERT_EQUAL_FATAL(seen.n, 1);
	CU_ASSERT_TRUE(is(&seen.at[0].id, &ids[3]));
	db_close(db);
}

/* Requests share transactions, each in a part of its own when one had to be taken back. */
static void a_transaction_has_one_number(void)
{
	struct db *db = test_database("number.db");
	int64_t first, again, last;

	first = begin(db);
	OK(tasks_begin_change(db, &again, NULL));
	if (database_is_postgres())
		CU_ASSERT_EQUAL(again, first); /* SQLite counts on, which costs nothing there */
	test_commit(db);
	test_begin(db);
	OK(db_part_begin(db, NULL));
	OK(tasks_begin_change(db, &last, NULL));
	CU_ASSERT(last > again);
	OK(db_part_undo(db, NULL));
	OK(tasks_begin_change(db, &last, NULL));
	CU_ASSERT(last > again);
	test_commit(db);
	OK(tasks_last_change(db, &first, NULL));
	CU_ASSERT_EQUAL(first, last);
	db_close(db);
}

static void changes_come_in_their_order(void)
{
	struct db *db = test_database("changes.db");
	struct id first = add(db, "small", 5, 0, 0), second = add(db, "small", 2, 0, 0), zero = {{0}};
	struct seen seen = {0};
	int64_t last;

	OK(tasks_last_change(db, &last, NULL));
	OK(tasks_changes(db, 0, &zero, -1, 10, see, &seen, NULL));
	CU_ASSERT_EQUAL_FATAL(seen.n, 2);
	CU_ASSERT_TRUE(is(&seen.at[0].id, &first) && is(&seen.at[1].id, &second));
	CU_ASSERT_EQUAL(seen.at[1].change, last);
	CU_ASSERT_EQUAL(claim_as(db, "a", NOW, ROWS), 2); /* both in one change */
	int64_t before = last;
	OK(tasks_last_change(db, &last, NULL));
	CU_ASSERT_TRUE(last > before);
	seen.n = 0;
	OK(tasks_changes(db, before, &zero, -1, 10, see, &seen, NULL));
	CU_ASSERT_EQUAL_FATAL(seen.n, 2);
	CU_ASSERT_TRUE(is(&seen.at[0].id, &second)); /* by id within one */
	seen.n = 0;
	OK(tasks_changes(db, last, &second, -1, 10, see, &seen, NULL));
	CU_ASSERT_EQUAL_FATAL(seen.n, 1);
	CU_ASSERT_TRUE(is(&seen.at[0].id, &first));
	seen.n = 0;
	OK(tasks_changes(db, 0, &zero, 1, 10, see, &seen, NULL));
	CU_ASSERT_EQUAL(seen.n, 1);
	bool is_long = true;
	OK(tasks_is_long_ago(db, 0, 2, &is_long, NULL));
	CU_ASSERT_FALSE(is_long);
	OK(tasks_is_long_ago(db, 0, 1, &is_long, NULL));
	CU_ASSERT_TRUE(is_long);
	OK(tasks_is_long_ago(db, last, 0, &is_long, NULL));
	CU_ASSERT_FALSE(is_long);
	db_close(db);
}

static int64_t oldest_us; /* of what waits, or 0 */

static bool add_up(void *arg, struct str kind, enum task_status status, int64_t n, int64_t us)
{
	int64_t(*counts)[TASK_STATUS__MAX] = arg;

	CU_ASSERT_EQUAL(us != 0, status == TASK_PENDING);
	if (us != 0 && (oldest_us == 0 || us < oldest_us))
		oldest_us = us;
	counts[str_eq(kind, STR("large"))][status] += n;
	return true;
}

static void counts(void)
{
	struct db *db = test_database("count.db");
	int64_t n[2][TASK_STATUS__MAX] = {{0}};
	bool asked;

	for (int i = 0; i < 6; i++)
		add(db, i < 4 ? "small" : "large", i, i < 4, i == 4 ? NOW - 7 * SECOND : 0);
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 3), 3);
	OK(update(db, &rows[0], TASK_DEAD, &asked));
	OK(update(db, &rows[1], TASK_COMPLETED, &asked));
	OK(tasks_count(db, add_up, n, NULL));
	CU_ASSERT_EQUAL(n[0][TASK_PENDING], 1);
	CU_ASSERT_EQUAL(n[0][TASK_PROCESSING], 1);
	CU_ASSERT_EQUAL(n[0][TASK_DEAD], 1);
	CU_ASSERT_EQUAL(n[0][TASK_COMPLETED], 0);
	CU_ASSERT_EQUAL(n[1][TASK_PENDING], 2);
	CU_ASSERT_EQUAL(oldest_us, NOW - 7 * SECOND);
	db_close(db);
}

/* --- parts, deleting --- */

static void parts_go_with_their_task(void)
{
	struct db *db = test_database("parts.db");
	int64_t day = 24 * 3600 * SECOND, deleted;
	struct id id = add(db, "small", 1, 0, 0), kept = add(db, "small", 2, 0, 0), orphan = id_at(NOW, 3);
	struct id young = id_at(NOW + 2 * day, 4);
	struct str data;
	bool asked, more;

	test_begin(db);
	for (int i = 0; i < 22; i++)
		OK(tasks_insert_part(db, &id, i, STR("[\"\\u0000\"]"), NOW, NULL));
	OK(tasks_insert_part(db, &id, 0, STR("again"), NOW, NULL)); /* the same request again */
	OK(tasks_insert_part(db, &kept, 0, STR("b\0c"), NOW, NULL));
	OK(tasks_insert_part(db, &orphan, 0, STR("d"), NOW, NULL));
	OK(tasks_insert_part(db, &young, 0, STR("e"), NOW, NULL));
	test_commit(db);
	OK(tasks_read_part(db, &id, 10, &arena, &data, NULL));
	OK(tasks_read_part(db, &id, 0, &arena, &data, NULL));
	CU_ASSERT_TRUE(str_eq(data, STR("[\"\\u0000\"]")));
	IS(tasks_read_part(db, &id, 22, &arena, &data, NULL), STATUS_NOT_FOUND);
	OK(tasks_read_part(db, &kept, 0, &arena, &data, NULL));
	CU_ASSERT_TRUE(str_eq(data, STR("b\0c")));
	CU_ASSERT_EQUAL_FATAL(claim_as(db, "a", NOW, 2), 2);
	for (int i = 0; i < 2; i++) {
		rows[i].expires_us = is(&rows[i].id, &id) ? NOW + day : NOW + 9 * day;
		OK(update(db, &rows[i], TASK_COMPLETED, &asked));
	}
	test_begin(db);
	OK(tasks_expire(db, NOW + day - 1, 10, &deleted, &more, NULL));
	CU_ASSERT_TRUE(deleted == 0 && !more);
	OK(tasks_expire(db, NOW + 2 * day, 10, &deleted, &more, NULL)); /* some of its parts, and it stays */
	CU_ASSERT_TRUE(deleted == 0 && more);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM task_parts"), 22 - 16 + 3);
	OK(tasks_expire(db, NOW + 2 * day, 10, &deleted, &more, NULL));
	CU_ASSERT_TRUE(deleted == 1 && more);
	OK(tasks_expire(db, NOW + 2 * day, 10, &deleted, &more, NULL));
	CU_ASSERT_TRUE(deleted == 0 && !more);
	OK(tasks_expire_parts(db, NOW + 2 * day, &deleted, NULL));
	CU_ASSERT_EQUAL(deleted, 1);
	OK(tasks_expire_parts(db, NOW + 2 * day, &deleted, NULL));
	CU_ASSERT_EQUAL(deleted, 0);
	test_commit(db);
	struct task_row row;
	IS(tasks_find(db, &id, -1, &arena, &row, NULL), STATUS_NOT_FOUND);
	IS(tasks_read_part(db, &id, 10, &arena, &data, NULL), STATUS_NOT_FOUND);
	IS(tasks_read_part(db, &orphan, 0, &arena, &data, NULL), STATUS_NOT_FOUND);
	OK(tasks_read_part(db, &kept, 0, &arena, &data, NULL));
	OK(tasks_read_part(db, &young, 0, &arena, &data, NULL));
	test_begin(db);
	OK(tasks_delete_parts(db, &kept, NULL));
	test_commit(db);
	IS(tasks_read_part(db, &kept, 0, &arena, &data, NULL), STATUS_NOT_FOUND);
	db_close(db);
}

/* --- schedules --- */

static void schedules_move_once(void)
{
	struct db *db = test_database("schedule.db");
	struct schedule_row row;
	bool found, moved;

	test_begin(db);
	OK(schedules_find(db, STR("backup"), &found, &row, NULL));
	CU_ASSERT_FALSE(found);
	OK(schedules_set(db, STR("backup"), STR("@daily"), 100, NULL));
	OK(schedules_find(db, STR("backup"), &found, &row, NULL));
	CU_ASSERT_TRUE(found && row.next_us == 100);
	CU_ASSERT_STRING_EQUAL(row.expression, "@daily");
	OK(schedules_move(db, STR("backup"), 100, 200, &moved, NULL));
	CU_ASSERT_TRUE(moved);
	OK(schedules_move(db, STR("backup"), 100, 200, &moved, NULL));
	CU_ASSERT_FALSE(moved);
	OK(schedules_remove(db, STR("backup"), NULL));
	OK(schedules_find(db, STR("backup"), &found, &row, NULL));
	CU_ASSERT_FALSE(found);
	test_commit(db);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"is added once", is_added_once},
	{"the most urgent comes first", the_most_urgent_comes_first},
	{"small ones are claimed together, large ones alone", large_ones_are_passed_by_small_ones_only_in_a_claim},
	{"no more are claimed than asked for", no_more_are_claimed_than_asked_for},
	{"users take turns", users_take_turns},
	{"who comes later stands behind", who_comes_later_stands_behind},
	{"large ones leave room for others", large_ones_leave_room},
	{"small and large ones take turns", small_and_large_ones_take_turns},
	{"what waits is bounded", what_waits_is_bounded},
	{"what was cancelled takes room", what_was_cancelled_takes_room},
	{"nobody gets between looking and adding", nobody_gets_between},
	{"two workers never get the same task (B-128)", two_workers_never_get_the_same_task},
	{"a lost task is claimed anew and alone, its old owner is fenced off", a_lost_task_is_claimed_anew_and_alone},
	{"an update writes what it says", an_update_writes_what_it_says},
	{"cancels", cancels},
	{"cancels all of a user", cancels_all_of_a_user},
	{"tries again", tries_again},
	{"lists", lists},
	{"a transaction has one number", a_transaction_has_one_number},
	{"changes come in their order", changes_come_in_their_order},
	{"nothing waits for a time to come again", nothing_waits_for_a_time_to_come_again},
	{"counts", counts},
	{"parts go with their task, and without one", parts_go_with_their_task},
	{"a schedule moves once", schedules_move_once},
};

int main(void)
{
	arena_init(&arena, 64 << 20);
	int code = UNIT_RUN("tasks", CASES);
	arena_release(&arena);
	return code;
}
