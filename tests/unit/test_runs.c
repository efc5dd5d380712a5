/* Tables pipelines, data_runs, data_refusals, data_records; and what is wanted of runs (task/ingest.h). */
#include "store_helpers.h"

#include "store/records.h"
#include "store/tasks.h"
#include "store/users.h"
#include "task/ingest.h"

static struct id new_id(void)
{
	struct edge_identity edge;

	edge_generate(&edge);
	return id_of_edge(&edge);
}

static void begin(struct db *db)
{
	OK(db_turn_take(db, -1, NULL));
	OK(db_begin(db, NULL));
}

static void commit(struct db *db)
{
	OK(db_commit(db, NULL));
	db_turn_give(db);
}

static struct record_row record(const char *key, const char *data, enum record_status status)
{
	return (struct record_row){.pipeline_id = 1,
				   .run = 1,
				   .key = str_of(key),
				   .source = STR("csv"),
				   .data = str_of(data),
				   .status = status,
				   .received_us = 1,
				   .processed_us = 2,
				   .seconds = 0.5};
}

/* Stores them in a transaction; what became of each as a text. */
static const char *store(struct db *db, const struct record_row *rows, size_t n, enum record_duplicates duplicates)
{
	static char outcome[17];
	struct err err = {0};

	memset(outcome, 0, sizeof(outcome));
	begin(db);
	if (records_insert(db, rows, n, duplicates, outcome, &err) != STATUS_OK)
		test_give_up("records_insert", &err);
	commit(db);
	return outcome;
}

static struct record_row find(struct db *db, const char *key, struct arena *arena)
{
	struct record_row row = {0};

	OK(records_find(db, 0, str_of(key), arena, &row, NULL));
	return row;
}

static bool holds(struct db *db, const char *key, const char *data)
{
	struct arena arena;

	arena_init(&arena, 1 << 20);
	bool is = str_eq(find(db, key, &arena).data, str_of(data));
	arena_release(&arena);
	return is;
}

static void add_pipeline(struct db *db)
{
	int64_t id = 0;

	begin(db);
	OK(runs_pipeline_id(db, STR("p"), 1, &id, NULL));
	CU_ASSERT_EQUAL(id, 1);
	OK(runs_pipeline_id(db, STR("p"), 1, &id, NULL));
	CU_ASSERT_EQUAL(id, 1);
	commit(db);
	OK(runs_find_pipeline(db, STR("p"), &id, NULL));
	IS(runs_find_pipeline(db, STR("q"), &id, NULL), STATUS_NOT_FOUND);
}

/* A key that is there, also one of the same batch. */
static void a_key_is_stored_once(void)
{
	struct db *db = test_database("once.db");
	struct record_row rows[] = {record("a", "{\"v\":1}", RECORD_PROCESSED),
				    record("b", "{\"v\":2}", RECORD_PROCESSED),
				    record("a", "{\"v\":\"\\\"3\\\\\"}", RECORD_PROCESSED)};
	struct arena arena;

	add_pipeline(db);
	CU_ASSERT_STRING_EQUAL(store(db, rows, 3, RECORDS_SKIP), "nns");
	CU_ASSERT(holds(db, "a", "{\"v\":1}"));
	CU_ASSERT_STRING_EQUAL(store(db, rows, 3, RECORDS_TELL), "sss");
	CU_ASSERT_STRING_EQUAL(store(db, rows, 3, RECORDS_REPLACE), "rrr");
	CU_ASSERT(holds(db, "a", "{\"v\":\"\\\"3\\\\\"}"));
	rows[0].key = rows[2].key = STR("c");
	CU_ASSERT_STRING_EQUAL(store(db, rows, 3, RECORDS_REPLACE), "nrr");
	CU_ASSERT(holds(db, "c", "{\"v\":\"\\\"3\\\\\"}"));
	arena_init(&arena, 1 << 20);
	struct record_row a = find(db, "a", &arena), c = find(db, "c", &arena);
	CU_ASSERT(a.seq < c.seq);
	CU_ASSERT_EQUAL(a.status, RECORD_PROCESSED);
	CU_ASSERT_EQUAL(a.received_us, 1);
	CU_ASSERT_EQUAL(a.processed_us, 2);
	CU_ASSERT_EQUAL(a.seconds, 0.5);
	CU_ASSERT(str_eq(a.source, STR("csv")));
	IS(records_find(db, 1, STR("none"), &arena, &a, NULL), STATUS_NOT_FOUND);
	IS(records_find(db, 2, STR("a"), &arena, &a, NULL), STATUS_NOT_FOUND);
	arena_release(&arena);
	db_close(db);
}

static void one_that_failed_gives_way(void)
{
	struct db *db = test_database("failed.db");
	struct record_row rows[] = {record("a", "{\"v\":1}", RECORD_FAILED), record("a", "{\"v\":2}", RECORD_PROCESSED),
				    record("a", "{\"v\":3}", RECORD_FAILED)};
	struct arena arena;

	add_pipeline(db);
	rows[0].error = STR("no number");
	CU_ASSERT_STRING_EQUAL(store(db, rows, 3, RECORDS_SKIP), "nrs");
	CU_ASSERT(holds(db, "a", "{\"v\":2}"));
	CU_ASSERT_STRING_EQUAL(store(db, rows + 2, 1, RECORDS_REPLACE), "s");
	arena_init(&arena, 1 << 20);
	struct record_row a = find(db, "a", &arena);
	CU_ASSERT_EQUAL(a.status, RECORD_PROCESSED);
	CU_ASSERT_EQUAL(a.error.n, 0);
	CU_ASSERT(str_eq(a.data, STR("{\"v\":2}")));
	arena_release(&arena);
	db_close(db);
}

/* --- runs --- */

static struct ingest wanted(const char *path)
{
	return (struct ingest){.pipeline = STR("p"),
			       .definition = STR("{}"),
			       .user_id = 7,
			       .source = STR("a.csv"),
			       .path = str_of(path),
			       .origin = STR("raw"),
			       .bytes = 100};
}

static struct run_row run_of(struct db *db, const struct id *id, struct arena *arena)
{
	struct run_row row = {0};

	OK(runs_find(db, id, arena, &row, NULL));
	return row;
}

static enum run_state state_of(struct db *db, const struct id *id)
{
	struct arena arena;

	arena_init(&arena, 1 << 20);
	enum run_state state = run_of(db, id, &arena).state;
	arena_release(&arena);
	return state;
}

static bool start(struct db *db, const char *path, struct id *id)
{
	struct ingest ingest = wanted(path);
	struct err err = {0};
	bool started = false;

	begin(db);
	if (ingest_start(db, &ingest, id, &started, &err) != STATUS_OK)
		test_give_up("ingest_start", &err);
	commit(db);
	return started;
}

static void a_source_is_read_by_one_run(void)
{
	struct db *db = test_database("busy.db");
	struct id first = new_id(), again = first, second = new_id(), third = new_id();
	struct arena arena;

	CU_ASSERT(start(db, "/raw/a.csv", &first));
	CU_ASSERT(start(db, "/raw/a.csv", &again)); /* the same transaction, tried once more */
	CU_ASSERT_FALSE(start(db, "/raw/a.csv", &second));
	CU_ASSERT(memcmp(&second, &first, sizeof(first)) == 0);
	CU_ASSERT(start(db, "/raw/b.csv", &third));
	arena_init(&arena, 1 << 20);
	struct run_row row = run_of(db, &first, &arena);
	CU_ASSERT_EQUAL(row.state, RUN_PENDING);
	CU_ASSERT_EQUAL(row.user_id, 7);
	CU_ASSERT_EQUAL(row.counts.bytes_total, 100);
	CU_ASSERT(str_eq(row.busy_key, STR("/raw/a.csv")));
	struct task_row task;
	OK(tasks_find(db, &first, 7, &arena, &task, NULL));
	CU_ASSERT_STRING_EQUAL(task.kind, INGEST_KIND_RUN);
	row.state = RUN_COMPLETED;
	row.busy_key = (struct str){0};
	row.position = STR("{\"offset\":5}");
	row.counts.stored = 5;
	begin(db);
	OK(runs_update(db, &row, NULL));
	commit(db);
	row = run_of(db, &first, &arena);
	CU_ASSERT_EQUAL(row.counts.stored, 5);
	CU_ASSERT(str_eq(row.position, STR("{\"offset\":5}")));
	arena_release(&arena);
	second = new_id();
	CU_ASSERT(start(db, "/raw/a.csv", &second));
	db_close(db);
}

static bool count(void *arg, const struct run_row *row)
{
	(void)row;
	++*(int *)arg;
	return true;
}

static int listed(struct db *db, int64_t pipeline, int64_t user, int state)
{
	int n = 0;

	OK(runs_list(db, pipeline, user, state, 0, 10, count, &n, NULL));
	return n;
}

static void runs_stop_and_go_on(void)
{
	struct db *db = test_database("stop.db");
	struct id id = new_id();
	struct arena arena;

	CU_ASSERT(start(db, "/raw/a.csv", &id));
	begin(db);
	OK(ingest_pause(db, &id, NULL));
	OK(ingest_pause(db, &id, NULL));
	commit(db);
	CU_ASSERT_EQUAL(state_of(db, &id), RUN_PAUSED);
	/* A worker that has not seen it does not undo it. */
	arena_init(&arena, 1 << 20);
	struct run_row row = run_of(db, &id, &arena);
	row.state = RUN_RUNNING;
	begin(db);
	OK(runs_update(db, &row, NULL));
	commit(db);
	CU_ASSERT_EQUAL(state_of(db, &id), RUN_PAUSED);
	arena_release(&arena);
	begin(db);
	OK(ingest_resume(db, &id, NULL));
	OK(ingest_resume(db, &id, NULL));
	commit(db);
	CU_ASSERT_EQUAL(state_of(db, &id), RUN_PENDING);
	begin(db);
	OK(ingest_cancel(db, &id, NULL));
	IS(ingest_pause(db, &id, NULL), STATUS_CONFLICT);
	commit(db);
	CU_ASSERT_EQUAL(state_of(db, &id), RUN_CANCELLED);
	CU_ASSERT_EQUAL(listed(db, 0, -1, -1), 1);
	CU_ASSERT_EQUAL(listed(db, 1, 7, RUN_CANCELLED), 1);
	CU_ASSERT_EQUAL(listed(db, 1, -1, RUN_PAUSED), 0);
	CU_ASSERT_EQUAL(listed(db, 0, 8, -1), 0);
	CU_ASSERT_EQUAL(listed(db, 2, -1, -1), 0);
	db_close(db);
}

/* Its task was cancelled by somebody who knows nothing of runs. */
static void strays_are_ended(void)
{
	struct db *db = test_database("strays.db");
	struct id id = new_id(), other = new_id();
	struct task_row task;
	struct arena arena;
	int64_t change, changed;

	CU_ASSERT(start(db, "/raw/a.csv", &id));
	CU_ASSERT(start(db, "/raw/b.csv", &other));
	arena_init(&arena, 1 << 20);
	begin(db);
	OK(tasks_begin_change(db, &change, NULL));
	OK(tasks_cancel(db, &id, -1, change, clock_wall_us(), &arena, &task, NULL));
	OK(runs_end_strays(db, clock_wall_us(), &changed, NULL));
	CU_ASSERT_EQUAL(changed, 1);
	commit(db);
	CU_ASSERT_EQUAL(state_of(db, &id), RUN_CANCELLED);
	CU_ASSERT_EQUAL(state_of(db, &other), RUN_PENDING);
	arena_reset(&arena);
	CU_ASSERT(str_eq(run_of(db, &id, &arena).busy_key, STR("parked:/raw/a.csv")));
	CU_ASSERT(str_eq(run_of(db, &other, &arena).busy_key, STR("/raw/b.csv")));
	/* The file was changed: another run, and it strays, too. */
	struct id second = new_id();
	CU_ASSERT(start(db, "/raw/a.csv", &second));
	begin(db);
	OK(tasks_begin_change(db, &change, NULL));
	OK(tasks_cancel(db, &second, -1, change, clock_wall_us(), &arena, &task, NULL));
	OK(runs_end_strays(db, clock_wall_us(), &changed, NULL));
	CU_ASSERT_EQUAL(changed, 1);
	commit(db);
	arena_reset(&arena);
	CU_ASSERT(run_of(db, &id, &arena).busy_key.n == 0);
	CU_ASSERT(str_eq(run_of(db, &second, &arena).busy_key, STR("parked:/raw/a.csv")));
	arena_release(&arena);
	db_close(db);
}

/* Cancelled while its worker is at it, which stores one more batch before it hears of it. */
static void one_that_is_cancelled_stays_so(void)
{
	struct db *db = test_database("cancelled.db");
	struct tasks_claim claim = {.worker = "w", .wish = {.now_us = clock_wall_us() + 1000000}};
	struct id id = new_id();
	struct task_row task;
	struct arena arena;
	int found;

	claim.lease_until_us = claim.wish.now_us + 60000000;
	CU_ASSERT(start(db, "/raw/a.csv", &id));
	arena_init(&arena, 1 << 20);
	begin(db);
	OK(tasks_begin_change(db, &claim.change, NULL));
	OK(tasks_claim(db, &claim, &task, 1, &arena, &found, NULL));
	CU_ASSERT_EQUAL(found, 1);
	commit(db);
	struct run_row row = run_of(db, &id, &arena);
	row.state = RUN_RUNNING;
	begin(db);
	OK(ingest_cancel(db, &id, NULL));
	OK(runs_update(db, &row, NULL));
	commit(db);
	row = run_of(db, &id, &arena);
	CU_ASSERT_EQUAL(row.state, RUN_CANCELLED);
	CU_ASSERT(row.ended_us > 0);
	CU_ASSERT(str_eq(row.busy_key, STR("parked:/raw/a.csv")));
	/* Nor does it take its file, to go on, before the worker has ended. */
	begin(db);
	IS(ingest_resume(db, &id, NULL), STATUS_CONFLICT);
	commit(db);
	CU_ASSERT(str_eq(run_of(db, &id, &arena).busy_key, STR("parked:/raw/a.csv")));
	arena_release(&arena);
	db_close(db);
}

/* Switched off since they asked. */
static void who_is_switched_off_starts_nothing(void)
{
	struct db *db = test_database("inactive.db");
	struct user_row user = {.email = "a@b.c",
				.email_key = "a@b.c",
				.username = "ada",
				.username_key = "ada",
				.hash = "x",
				.active = true};
	struct ingest ingest = wanted("/raw/a.csv");
	struct task_row task = {.kind = "echo", .id = new_id()};
	struct id id = new_id(), other = new_id();
	struct tasks_bound bound = {.tasks = 5};
	enum tasks_room room;
	bool started;

	begin(db);
	OK(users_insert(db, &user, NULL));
	commit(db);
	ingest.user_id = task.user_id = user.id;
	begin(db);
	OK(ingest_start(db, &ingest, &id, &started, NULL));
	CU_ASSERT(started);
	OK(ingest_pause(db, &id, NULL));
	user.active = false;
	OK(users_update(db, &user, NULL));
	commit(db);
	ingest.path = STR("/raw/b.csv");
	begin(db);
	IS(ingest_resume(db, &id, NULL), STATUS_FORBIDDEN);
	IS(ingest_start(db, &ingest, &other, &started, NULL), STATUS_FORBIDDEN);
	OK(tasks_begin_change(db, &task.change, NULL));
	IS(tasks_insert(db, &task, &started, NULL), STATUS_FORBIDDEN);
	IS(tasks_insert_within(db, &task, &bound, &started, &room, NULL), STATUS_FORBIDDEN);
	db_rollback(db);
	CU_ASSERT_EQUAL(state_of(db, &id), RUN_PAUSED);
	db_close(db);
}

static bool see(void *arg, const struct refusal_row *row)
{
	char *seen = arg;
	size_t used = strlen(seen);

	snprintf(seen + used, 256 - used, "%lld:%lld:%.*s:%.*s:%.*s ", (long long)row->n, (long long)row->line,
		 STR_ARG(row->field), STR_ARG(row->value), STR_ARG(row->reason));
	return true;
}

static void what_is_refused_is_told(void)
{
	struct db *db = test_database("refusals.db");
	struct refusal_row rows[] = {
		{.run = 1,
		 .n = 1,
		 .line = 5,
		 .field = STR("v"),
		 .value = STR("\"x\\\""),
		 .reason = STR("type"),
		 .message = STR("m")},
		{.run = 1,
		 .n = 2,
		 .line = 9,
		 .field = STR("w"),
		 .value = STR("\xc3\xa9"),
		 .reason = STR("range"),
		 .message = STR("m")},
		{.run = 2, .n = 1, .line = 2, .reason = STR("ragged"), .message = STR("m")},
	};
	char seen[256] = "";

	begin(db);
	OK(runs_insert_refusals(db, rows, 3, NULL));
	commit(db);
	OK(runs_list_refusals(db, 1, 0, 10, see, seen, NULL));
	CU_ASSERT_STRING_EQUAL(seen, "1:5:v:\"x\\\":type 2:9:w:\xc3\xa9:range ");
	seen[0] = '\0';
	OK(runs_list_refusals(db, 1, 1, 10, see, seen, NULL));
	CU_ASSERT_STRING_EQUAL(seen, "2:9:w:\xc3\xa9:range ");
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"a key is stored once", a_key_is_stored_once},
	{"one that failed gives way", one_that_failed_gives_way},
	{"a source is read by one run", a_source_is_read_by_one_run},
	{"runs stop and go on", runs_stop_and_go_on},
	{"strays are ended", strays_are_ended},
	{"one that is cancelled stays so", one_that_is_cancelled_stays_so},
	{"who is switched off starts nothing", who_is_switched_off_starts_nothing},
	{"what is refused is told", what_is_refused_is_told},
};

int main(void)
{
	return UNIT_RUN("runs", CASES);
}
