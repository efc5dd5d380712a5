/* Working on tasks: lib/task/worker.c, run.c, clock.c, schedule.c. Kinds of the tests' own. */
#include "store_helpers.h"

#include "shared/wake.h"
#include "store/schedules.h"
#include "task/listen.h"
#include "task/schedule.h"
#include "task/worker.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { SOON_MS = 30 * 1000 /* for what is to happen; a busy machine takes its time */ };

static const int64_t SECOND = 1000000;

static struct arena arena;
static struct shm *shm;
static atomic_int runs, ended;
static atomic_bool hold; /* kinds that wait for it */

/* --- kinds --- */

static enum status run_twice(struct task_run *run, struct err *err)
{
	atomic_fetch_add(&runs, 1);
	(void)err;
	struct buf out;
	buf_init(&out, run->arena);
	buf_str(&out, run->task->payload);
	buf_str(&out, run->task->payload);
	run->result = buf_view(&out);
	return STATUS_OK;
}

static enum status run_fail_once(struct task_run *run, struct err *err)
{
	run->result = STR("\"at last\"");
	return run->task->attempts == 1 ? err_set(err, STATUS_UNAVAILABLE, "not yet") : STATUS_OK;
}

static enum status run_fail(struct task_run *run, struct err *err)
{
	(void)run;
	atomic_fetch_add(&runs, 1);
	return err_set(err, STATUS_INTERNAL, "never");
}

static enum status run_refuse(struct task_run *run, struct err *err)
{
	(void)run;
	atomic_fetch_add(&runs, 1);
	return err_set(err, STATUS_INVALID, "the payload is no good");
}

/* What no database takes as text. */
static enum status run_garbage(struct task_run *run, struct err *err)
{
	(void)err;
	run->result = STR("\xff\0\xfe");
	return STATUS_OK;
}

/* Counts to its total, with an effect at each step, while it is held at its last one. */
static enum status add_part(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	return tasks_insert_part(db, &run->task->id, *(int64_t *)arg, STR("x"), 1, err);
}

static enum status run_count(struct task_run *run, struct err *err)
{
	enum status status = STATUS_OK;

	atomic_fetch_add(&runs, 1);
	for (int64_t i = run->task->done; i < 5 && status == STATUS_OK; i++)
		status = task_checkpoint(run, i + 1, 10, add_part, &i, err);
	while (status == STATUS_OK && atomic_load(&hold)) {
		test_sleep_ms(5);
		status = task_checkpoint(run, 5, 10, NULL, NULL, err);
	}
	int64_t last = 5;
	if (status == STATUS_OK)
		status = task_checkpoint(run, 10, 10, add_part, &last, err);
	atomic_fetch_add(&ended, 1);
	return status;
}

/* The same without a checkpoint while it is held. */
static enum status run_deaf(struct task_run *run, struct err *err)
{
	int64_t part = 0;

	atomic_fetch_add(&runs, 1);
	while (atomic_load(&hold))
		test_sleep_ms(5);
	enum status status = task_checkpoint(run, 1, 1, add_part, &part, err);
	atomic_fetch_add(&ended, 1);
	return status;
}

/* Comes one step further with each attempt. */
static enum status run_step(struct task_run *run, struct err *err)
{
	int64_t done = run->task->done;

	enum status status = task_checkpoint(run, done + 1, 4, NULL, NULL, err);
	while (status == STATUS_OK && run->task->done == done) /* not each checkpoint is stored */
		status = task_checkpoint(run, done + 1, 4, NULL, NULL, err);
	return status != STATUS_OK || done == 3 ? status : err_set(err, STATUS_UNAVAILABLE, "one step");
}

/* Computes: its effects are stored by another thread, one while it makes the next. */
struct computed {
	int64_t part;
	bool stored, idle; /* idle: stored at the lowest priority */
};

static atomic_int idle_functions, normal_reads;

static bool is_idle(void)
{
	return sched_getscheduler(0) == SCHED_IDLE || getpriority(PRIO_PROCESS, (id_t)gettid()) == 19;
}

static enum status store_computed(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct computed *computed = arg;

	computed->stored = true;
	computed->idle = is_idle();
	if (computed->part == 6)
		return err_set(err, STATUS_INVALID, "the sixth is no good");
	return tasks_insert_part(db, &run->task->id, computed->part, STR("x"), 1, err);
}

static enum status read_parts(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct str part;

	atomic_fetch_add(&normal_reads, !is_idle());
	return tasks_read_part(db, &run->task->id, *(int64_t *)arg, run->arena, &part, err);
}

static enum status run_compute(struct task_run *run, struct err *err)
{
	struct computed steps[2] = {{0}};
	enum status status = STATUS_OK;
	int64_t last = run->task->payload.n == 1 ? run->task->payload.p[0] - '0' : 0;

	atomic_fetch_add(&runs, 1);
	atomic_fetch_add(&idle_functions, is_idle());
	for (int64_t i = run->task->done; i < last && status == STATUS_OK; i++) {
		struct computed *step = &steps[i % 2];
		if (i >= 2 && (!step->stored || step->idle))
			return err_set(err, STATUS_INTERNAL, "the one before the last is not stored as it should be");
		*step = (struct computed){.part = i};
		status = task_checkpoint_begin(run, i + 1, last, store_computed, step, err);
	}
	if (status == STATUS_OK)
		status = task_checkpoint_end(run, err);
	int64_t before = last - 1;
	if (status == STATUS_OK)
		status = task_read(run, read_parts, &before, err);
	while (status == STATUS_OK && atomic_load(&hold)) {
		test_sleep_ms(5);
		status = task_checkpoint(run, last, last, NULL, NULL, err);
	}
	run->result = STR("\"computed\"");
	atomic_fetch_add(&ended, 1);
	return status;
}

/* Ends with a checkpoint under way. */
static enum status run_hasty(struct task_run *run, struct err *err)
{
	struct computed *step = arena_zalloc(run->arena, sizeof(*step));

	step->part = run->task->payload.p[0] - '0';
	return task_checkpoint_begin(run, 1, 1, store_computed, step, err);
}

static enum status run_poison(struct task_run *run, struct err *err)
{
	(void)run;
	(void)err;
	raise(SIGKILL);
	return STATUS_OK;
}

static const struct task_kind KINDS[] = {
	{.name = "twice", .run = run_twice, .small = true, .attempts = 3, .backoff_s = 1, .result_lifetime_s = 60},
	{.name = "once", .run = run_fail_once, .small = true, .attempts = 3, .backoff_s = 1},
	{.name = "fail", .run = run_fail, .small = true, .attempts = 2, .backoff_s = 1, .result_lifetime_s = 60},
	{.name = "refuse", .run = run_refuse, .small = true, .attempts = 3, .backoff_s = 1},
	{.name = "garbage", .run = run_garbage, .small = true, .attempts = 3, .backoff_s = 1},
	{.name = "count", .run = run_count, .attempts = 3, .backoff_s = 1},
	{.name = "short", .run = run_count, .attempts = 1, .time_limit_s = 1},
	{.name = "deaf", .run = run_deaf, .attempts = 3, .backoff_s = 1},
	{.name = "step", .run = run_step, .attempts = 2, .backoff_s = 1},
	{.name = "compute", .run = run_compute, .computes = true, .attempts = 2, .backoff_s = 1},
	{.name = "hasty", .run = run_hasty, .computes = true, .attempts = 2, .backoff_s = 1},
	{.name = "poison", .run = run_poison, .small = true, .attempts = 2, .backoff_s = 1},
};

/* --- helpers --- */

struct place {
	struct config config;
	struct db *db;
	struct task_pool *pool;
};

static struct config config_of(const char *name, int threads, int lease_s)
{
	static char urls[32][512];
	static int next;
	struct str url = database_url(name);
	char *copy = urls[next++ % 32];

	snprintf(copy, sizeof(urls[0]), "%.*s", STR_ARG(url));
	return (struct config){.database_url = copy,
			       .task_threads = threads,
			       .task_lease_seconds = lease_s,
			       .schedule_backup = "",
			       .schedule_retention = "",
			       .schedule_expiry = "",
			       .schedule_checkpoint = ""};
}

static void open_pool(struct place *place, const char *worker)
{
	const struct task_pool_options options = {.config = &place->config,
						  .shm = shm,
						  .name = worker,
						  .kinds = KINDS,
						  .kinds_n = sizeof(KINDS) / sizeof(KINDS[0])};
	struct err err = {0};

	if (task_pool_open(&place->pool, &options, &err) != STATUS_OK)
		test_give_up("a pool", &err);
}

/* A database without anybody who works on it. */
static struct place new_place(const char *name, int threads, int lease_s)
{
	struct place place = {.db = test_database(name)};

	place.config = config_of(name, threads, lease_s);
	atomic_store(&runs, 0);
	atomic_store(&ended, 0);
	atomic_store(&hold, false);
	return place;
}

static void close_place(struct place *place)
{
	task_pool_close(place->pool);
	db_close(place->db);
}

static bool is_small(const char *kind)
{
	for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
		if (strcmp(KINDS[i].name, kind) == 0)
			return KINDS[i].small;
	return true;
}

static struct id add_at(struct place *place, const char *kind, const char *payload, int64_t run_us)
{
	struct task_row row = {.payload = str_of(payload), .run_us = run_us};
	struct edge_identity edge;
	bool stored;

	edge_generate(&edge);
	row.id = id_of_edge(&edge);
	snprintf(row.kind, sizeof(row.kind), "%s", kind);
	row.small = is_small(kind);
	test_begin(place->db);
	OK(tasks_begin_change(place->db, &row.change, NULL));
	OK(tasks_insert(place->db, &row, &stored, NULL));
	test_commit(place->db);
	wake_all(shm, WAKE_TASKS);
	return row.id;
}

static struct id add(struct place *place, const char *kind, const char *payload)
{
	return add_at(place, kind, payload, 0);
}

static struct task_row find(struct place *place, const struct id *id)
{
	struct task_row row = {0};

	OK(tasks_find(place->db, id, -1, &arena, &row, NULL));
	return row;
}

/* Waits until the task is so. */
static struct task_row await(struct place *place, const struct id *id, enum task_status status)
{
	uint64_t end = clock_mono_ms() + SOON_MS;
	struct task_row row;

	do {
		row = find(place, id);
		if (row.status == status)
			return row;
		test_sleep_ms(5);
	} while (clock_mono_ms() < end);
	printf("\n%s is %s, %.*s", row.kind, task_status_name(row.status), STR_ARG(row.error));
	CU_FAIL("the task did not come to that");
	return row;
}

static void await_count(struct place *place, const char *sql, int64_t wanted)
{
	uint64_t end = clock_mono_ms() + SOON_MS;

	while (test_number(place->db, sql) != wanted && clock_mono_ms() < end)
		test_sleep_ms(5);
	CU_ASSERT_EQUAL(test_number(place->db, sql), wanted);
}

static void await_int(atomic_int *value, int wanted)
{
	uint64_t end = clock_mono_ms() + SOON_MS;

	while (atomic_load(value) < wanted && clock_mono_ms() < end)
		test_sleep_ms(2);
	CU_ASSERT_TRUE(atomic_load(value) >= wanted);
}

#define PARTS "SELECT count(*) FROM task_parts"
#define DONE  "SELECT count(*) FROM background_tasks WHERE status = 'completed'"

/* --- cases --- */

static void does_what_waits_and_what_comes(void)
{
	struct place place = new_place("does.db", 3, 30);
	struct id ids[300];

	for (int i = 0; i < 200; i++)
		ids[i] = add(&place, "twice", "1");
	open_pool(&place, "w");
	for (int i = 200; i < 300; i++)
		ids[i] = add(&place, "twice", "23");
	await_count(&place, DONE, 300);
	CU_ASSERT_EQUAL(atomic_load(&runs), 300);
	struct task_row row = find(&place, &ids[250]);
	CU_ASSERT_TRUE(str_eq(row.result, STR("2323")));
	CU_ASSERT_EQUAL(row.attempts, 1);
	CU_ASSERT_STRING_EQUAL(row.worker, "w");
	CU_ASSERT_TRUE(row.expires_us > 0 && row.lease_us == 0);
	CU_ASSERT_TRUE(strcmp(row.updated_at, row.created_at) > 0);
	close_place(&place);
}

static void what_fails_is_tried_again_and_then_dead(void)
{
	struct place place = new_place("fails.db", 2, 30);
	int64_t start_us = clock_wall_us();
	struct id once = add(&place, "once", "{}"), fail = add(&place, "fail", "{}");
	struct id refuse = add(&place, "refuse", "{}"), garbage = add(&place, "garbage", "{}");
	struct id unknown = add(&place, "nothing", "{}"), good = add(&place, "twice", "7");

	open_pool(&place, "w");
	struct task_row row = await(&place, &refuse, TASK_FAILED);
	CU_ASSERT_TRUE(str_eq(row.error, STR("the payload is no good")));
	CU_ASSERT_EQUAL(row.attempts, 1);
	row = await(&place, &garbage, TASK_FAILED);
	CU_ASSERT_PTR_NULL(row.result.p);
	row = await(&place, &good, TASK_COMPLETED); /* of the same transaction */
	CU_ASSERT_TRUE(str_eq(row.result, STR("77")));
	row = await(&place, &once, TASK_COMPLETED);
	CU_ASSERT_EQUAL(row.attempts, 2);
	CU_ASSERT_PTR_NULL(row.error.p);
	row = await(&place, &fail, TASK_DEAD);
	CU_ASSERT_EQUAL(row.attempts, 2);
	CU_ASSERT_TRUE(str_eq(row.error, STR("never")));
	CU_ASSERT_TRUE(row.expires_us > clock_wall_us() + 29 * 24 * 3600 * SECOND);
	row = await(&place, &unknown, TASK_PENDING); /* perhaps a newer program has it */
	CU_ASSERT_TRUE(row.run_us > start_us - SECOND);
	close_place(&place);
}

/* One result that the database refuses; and once it was, two transactions of others that end in a deadlock, say. */
static const char REFUSALS[] =
	"CREATE SEQUENCE refused; CREATE SEQUENCE lost;"
	"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
	" IF NEW.result = '99' THEN PERFORM nextval('refused'); RAISE 'no' USING ERRCODE = '22023'; END IF;"
	" IF NEW.status = 'completed' AND (SELECT is_called FROM refused) AND nextval('lost') <= 2 THEN"
	"  RAISE 'once more' USING ERRCODE = '40P01'; END IF;"
	" RETURN NEW; END $$;"
	"CREATE TRIGGER refuse BEFORE UPDATE ON background_tasks FOR EACH ROW EXECUTE FUNCTION refuse()";

static void what_is_stored_apart_is_tried_again(void)
{
	struct place place;
	struct id good[4];

	if (!database_is_postgres())
		return;
	place = new_place("apart.db", 1, 600);
	OK(db_script(place.db, REFUSALS, NULL));
	for (int i = 0; i < 2; i++)
		good[i] = add(&place, "twice", "1");
	struct id bad = add(&place, "twice", "9");
	for (int i = 2; i < 4; i++)
		good[i] = add(&place, "twice", "1");
	open_pool(&place, "w");
	struct task_row row = await(&place, &bad, TASK_FAILED);
	CU_ASSERT_TRUE(str_eq(row.error, STR("What came of it can't be stored.")));
	for (int i = 0; i < 4; i++) {
		row = await(&place, &good[i], TASK_COMPLETED);
		CU_ASSERT_EQUAL(row.claim, 1);
	}
	CU_ASSERT_EQUAL(atomic_load(&runs), 5);
	CU_ASSERT_TRUE(test_number(place.db, "SELECT last_value FROM lost") > 2);
	close_place(&place);
}

static void a_task_for_later_waits(void)
{
	struct place place = new_place("later.db", 2, 30);
	int64_t due = clock_wall_us() + 700 * 1000;

	open_pool(&place, "w");
	struct id id = add_at(&place, "twice", "1", due);
	await(&place, &id, TASK_COMPLETED);
	CU_ASSERT_TRUE(clock_wall_us() >= due);
	close_place(&place);
}

static void progress_and_effects_are_stored_together(void)
{
	struct place place = new_place("progress.db", 1, 30);
	struct task_row row;

	atomic_store(&hold, true);
	open_pool(&place, "w");
	struct id id = add(&place, "count", "{}");
	await_count(&place, PARTS, 5);
	row = find(&place, &id);
	CU_ASSERT_EQUAL(row.status, TASK_PROCESSING);
	CU_ASSERT_TRUE(row.done == 5 && row.total == 10);
	CU_ASSERT_TRUE(row.lease_us > clock_wall_us());
	atomic_store(&hold, false);
	row = await(&place, &id, TASK_COMPLETED);
	CU_ASSERT_TRUE(row.done == 10 && row.total == 10);
	CU_ASSERT_EQUAL(test_number(place.db, PARTS), 0); /* a task's parts go when it is completed */
	close_place(&place);
}

static enum status ask_to_cancel(struct db *db, void *arg, struct err *err)
{
	struct task_row row;
	int64_t change;

	enum status status = tasks_begin_change(db, &change, err);
	return status == STATUS_OK ? tasks_cancel(db, arg, -1, change, clock_wall_us(), &arena, &row, err) : status;
}

static void a_running_task_is_cancelled_at_its_next_checkpoint(void)
{
	struct place place = new_place("cancel.db", 2, 30);

	atomic_store(&hold, true);
	open_pool(&place, "w");
	struct id id = add(&place, "count", "{}");
	await_count(&place, PARTS, 5);
	OK(db_transact(place.db, -1, ask_to_cancel, &id, NULL));
	struct task_row row = await(&place, &id, TASK_CANCELLED);
	CU_ASSERT_EQUAL(row.done, 5);
	CU_ASSERT_EQUAL(atomic_load(&ended), 1);
	close_place(&place);
}

static void a_worker_that_stops_gives_back_what_it_has(void)
{
	struct place place = new_place("stops.db", 1, 30);

	atomic_store(&hold, true);
	open_pool(&place, "w");
	struct id id = add(&place, "count", "{}");
	await_count(&place, PARTS, 5);
	struct id other = add(&place, "twice", "1");
	task_pool_close(place.pool);
	struct task_row row = find(&place, &id);
	CU_ASSERT_EQUAL(row.status, TASK_PENDING);
	CU_ASSERT_EQUAL(row.attempts, 0); /* it is not its fault */
	CU_ASSERT_EQUAL(row.done, 5);
	CU_ASSERT_EQUAL(find(&place, &other).status, TASK_PENDING);
	atomic_store(&hold, false);
	open_pool(&place, "v");
	row = await(&place, &id, TASK_COMPLETED); /* it goes on where it was: the same parts would be there already */
	CU_ASSERT_EQUAL(row.attempts, 1);
	CU_ASSERT_STRING_EQUAL(row.worker, "v");
	await(&place, &other, TASK_COMPLETED);
	close_place(&place);
}

/* Another worker claims it as if its lease had ended. */
static enum status steal(struct db *db, void *arg, struct err *err)
{
	const struct tasks_claim how = {.worker = "thief",
					.wish = {.now_us = clock_wall_us() + 3600 * SECOND},
					.lease_until_us = clock_wall_us() + 7200 * SECOND,
					.change = 1};
	int found;

	return tasks_claim(db, &how, arg, 1, &arena, &found, err);
}

static void who_computes_stores_at_everybodys_priority(void)
{
	struct place place = new_place("computes.db", 1, 30);

	atomic_store(&idle_functions, 0);
	atomic_store(&normal_reads, 0);
	atomic_store(&hold, true);
	open_pool(&place, "w");
	struct id held = add(&place, "compute", "5");
	await_count(&place, PARTS, 5);
	await_int(&normal_reads, 1);
	struct task_row row = find(&place, &held);
	CU_ASSERT_TRUE(row.status == TASK_PROCESSING && row.done == 5 && row.total == 5);
	test_begin(place.db);
	OK(ask_to_cancel(place.db, &held, NULL));
	test_commit(place.db);
	await(&place, &held, TASK_CANCELLED);
	atomic_store(&hold, false);
	struct id good = add(&place, "compute", "4");
	row = await(&place, &good, TASK_COMPLETED);
	CU_ASSERT_TRUE(str_eq(row.result, STR("\"computed\"")));
	CU_ASSERT_TRUE(row.done == 4 && row.total == 4);
	/* What can't be stored is told by the next call, or by the end. */
	struct id bad = add(&place, "compute", "9"), late = add(&place, "hasty", "6"),
		  hasty = add(&place, "hasty", "3");
	row = await(&place, &bad, TASK_FAILED);
	CU_ASSERT_TRUE(str_eq(row.error, STR("the sixth is no good")));
	CU_ASSERT_EQUAL(row.done, 6);
	row = await(&place, &late, TASK_FAILED);
	CU_ASSERT_TRUE(str_eq(row.error, STR("the sixth is no good")));
	await(&place, &hasty, TASK_COMPLETED);
	CU_ASSERT_EQUAL(atomic_load(&idle_functions), atomic_load(&runs));
	CU_ASSERT_EQUAL(atomic_load(&normal_reads), 2);
	close_place(&place);
}

static void what_was_lost_stores_nothing(void)
{
	struct place place = new_place("lost.db", 1, 30);
	struct task_row stolen = {0};

	atomic_store(&hold, true);
	open_pool(&place, "w");
	struct id id = add(&place, "deaf", "{}");
	await_int(&runs, 1);
	OK(db_transact(place.db, -1, steal, &stolen, NULL));
	CU_ASSERT_EQUAL(memcmp(&stolen.id, &id, sizeof(id)), 0);
	atomic_store(&hold, false);
	await_int(&ended, 1);
	struct id next = add(&place, "twice", "1");
	await(&place, &next, TASK_COMPLETED); /* what ran before it has been stored, or not, by then */
	struct task_row row = find(&place, &id);
	CU_ASSERT_EQUAL(row.status, TASK_PROCESSING);
	CU_ASSERT_STRING_EQUAL(row.worker, "thief");
	CU_ASSERT_EQUAL(row.done, 0);
	CU_ASSERT_EQUAL(test_number(place.db, PARTS), 0);
	close_place(&place);
}

/* Longer than its lease without a checkpoint. */
static void a_lease_is_renewed(void)
{
	struct place place = new_place("renew.db", 1, 1); /* nobody is there to take it on a machine that stalls */

	atomic_store(&hold, true);
	open_pool(&place, "w");
	struct id id = add(&place, "deaf", "{}");
	await_int(&runs, 1);
	int64_t first = find(&place, &id).lease_us;
	uint64_t end = clock_mono_ms() + SOON_MS;
	while (find(&place, &id).lease_us < first + 3 * SECOND && clock_mono_ms() < end)
		test_sleep_ms(20);
	CU_ASSERT_TRUE(find(&place, &id).lease_us >= first + 3 * SECOND);
	atomic_store(&hold, false);
	struct task_row row = await(&place, &id, TASK_COMPLETED);
	CU_ASSERT_EQUAL(row.attempts, 1);
	CU_ASSERT_EQUAL(atomic_load(&runs), 1);
	close_place(&place);
}

static void time_is_limited(void)
{
	struct place place = new_place("limit.db", 1, 30);

	atomic_store(&hold, true);
	open_pool(&place, "w");
	struct id id = add(&place, "short", "{}");
	struct task_row row = await(&place, &id, TASK_DEAD);
	CU_ASSERT_TRUE(str_eq(row.error, STR("It took longer than 1 s.")));
	close_place(&place);
}

/* --- a task that ends its process --- */

static int work_until_killed(void *arg)
{
	struct place place = {.config = config_of(arg, 2, 600)}; /* no machine stalls for so long */
	struct rlimit none = {0};
	struct err err;

	setrlimit(RLIMIT_CORE, &none);
	if (shm_open_dir(&shm, unit_temp_dir(), &err) != STATUS_OK || shm_claim_slot(shm, "child", &err) != STATUS_OK)
		return 1;
	open_pool(&place, "child");
	test_sleep_ms(SOON_MS);
	return 2;
}

/* The time of what a worker had that was killed is over: when what it had sent last is done, too. */
static void end_leases(struct place *place)
{
	if (database_is_postgres())
		await_count(place,
			    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
			    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
			    0);
	test_begin(place->db);
	OK(db_script(place->db, "UPDATE background_tasks SET lease_us = 1 WHERE status = 'processing'", NULL));
	test_commit(place->db);
}

static void poison_does_not_spread(void)
{
	struct place place = new_place("poison.db", 2, 600);
	struct id poison = add(&place, "poison", "{}"), good[40];
	char name[] = "poison.db";

	for (int i = 0; i < 40; i++)
		good[i] = add(&place, "twice", "1");
	CU_ASSERT_EQUAL(test_wait(test_fork(work_until_killed, name)), 1000 + SIGKILL);
	CU_ASSERT_EQUAL(find(&place, &poison).attempts, 1);
	/* Once more, when its lease has ended: it comes alone, or with what is new. */
	end_leases(&place);
	CU_ASSERT_EQUAL(test_wait(test_fork(work_until_killed, name)), 1000 + SIGKILL);
	CU_ASSERT_EQUAL(find(&place, &poison).attempts, 2);
	end_leases(&place);
	open_pool(&place, "w");
	struct task_row row = await(&place, &poison, TASK_DEAD);
	CU_ASSERT_TRUE(str_eq(row.error, STR("Its worker ended while it ran, 2 times.")));
	for (int i = 0; i < 40; i++)
		await(&place, &good[i], TASK_COMPLETED);
	close_place(&place);
}

static void progress_is_worth_more_attempts(void)
{
	struct place place = new_place("progress.db", 1, 30);
	struct id id = add(&place, "step", "{}");

	open_pool(&place, "w");
	struct task_row row = await(&place, &id, TASK_COMPLETED);
	CU_ASSERT_EQUAL(row.claim, 4);
	CU_ASSERT_EQUAL(row.attempts, 1);
	close_place(&place);
}

/* --- schedules --- */

#define ADDED "SELECT count(*) FROM background_tasks"

static int64_t at(const char *iso)
{
	int64_t us = 0;

	CU_ASSERT_TRUE(clock_parse_iso(str_of(iso), &us));
	return us;
}

static void what_is_due_is_added_once(void)
{
	struct place place = new_place("schedules.db", 1, 30);
	struct schedules a, b;
	struct db *other = test_open("schedules.db", DB_WRITE);

	place.config.schedule_retention = "0 0 * * *";
	place.config.schedule_backup = "off";
	schedules_init(&a, &place.config);
	schedules_init(&b, &place.config);
	CU_ASSERT_EQUAL(schedules_run_at(&a, place.db, shm, at("2026-11-21T23:00:00Z")), 3600 * 1000);
	CU_ASSERT_EQUAL(schedules_run_at(&b, other, shm, at("2026-11-21T23:30:00Z")), 1800 * 1000);
	CU_ASSERT_EQUAL(test_number(place.db, ADDED), 0);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(schedules_run_at(&a, place.db, shm, at("2026-11-22T00:00:00Z")) > 0);
		CU_ASSERT_TRUE(schedules_run_at(&b, other, shm, at("2026-11-22T00:00:01Z")) > 0);
		CU_ASSERT_EQUAL(test_number(place.db, ADDED), 1);
	}
	CU_ASSERT_EQUAL(test_number(place.db, ADDED " WHERE task_type = 'retention' AND status = 'pending'"), 1);
	/* A clock that is set back: what was done that night is not done again. */
	CU_ASSERT_TRUE(schedules_run_at(&a, place.db, shm, at("2026-11-21T23:50:00Z")) > 0);
	CU_ASSERT_TRUE(schedules_run_at(&b, other, shm, at("2026-11-22T00:00:00Z")) > 0);
	schedules_init(&a, &place.config); /* nor by a worker that starts then */
	CU_ASSERT_TRUE(schedules_run_at(&a, place.db, shm, at("2026-11-21T23:55:00Z")) > 0);
	CU_ASSERT_TRUE(schedules_run_at(&a, place.db, shm, at("2026-11-22T00:00:00Z")) > 0);
	CU_ASSERT_EQUAL(test_number(place.db, ADDED), 1);
	/* After a month without a worker: once. */
	CU_ASSERT_TRUE(schedules_run_at(&a, place.db, shm, at("2026-12-22T12:00:00Z")) > 0);
	CU_ASSERT_TRUE(schedules_run_at(&b, other, shm, at("2026-12-22T12:00:00Z")) > 0);
	CU_ASSERT_EQUAL(test_number(place.db, ADDED), 2);
	CU_ASSERT_EQUAL(schedules_run_at(&b, other, shm, at("2026-12-22T23:00:00Z")), 3600 * 1000);
	db_close(other);
	close_place(&place);
}

enum { NIGHTS = 40 };

static pthread_barrier_t night;

struct scheduler {
	const struct config *config;
	struct db *db;
	pthread_t thread;
};

static void *schedule_nights(void *arg)
{
	const struct scheduler *scheduler = arg;
	struct schedules schedules;

	schedules_init(&schedules, scheduler->config);
	for (int i = 0; i < NIGHTS; i++) {
		int64_t now_us = at("2026-11-22T00:00:00Z") + i * 86400 * SECOND;
		pthread_barrier_wait(&night);
		CU_ASSERT_TRUE(schedules_run_at(&schedules, scheduler->db, shm, now_us) >= 0);
	}
	return NULL;
}

/* Both see that it is due before either has moved it on, where the database lets them. */
static void two_schedulers_at_once_add_it_once(void)
{
	struct place place = new_place("nights.db", 1, 30);
	struct scheduler schedulers[2];
	struct schedules schedules;

	place.config.schedule_retention = "@daily";
	schedules_init(&schedules, &place.config);
	CU_ASSERT_TRUE(schedules_run_at(&schedules, place.db, shm, at("2026-11-21T23:00:00Z")) > 0);
	CU_ASSERT_EQUAL_FATAL(pthread_barrier_init(&night, NULL, 2), 0);
	for (int i = 0; i < 2; i++)
		schedulers[i] = (struct scheduler){.config = &place.config, .db = test_open("nights.db", DB_WRITE)};
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&schedulers[i].thread, NULL, schedule_nights, &schedulers[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(schedulers[i].thread, NULL);
		db_close(schedulers[i].db);
	}
	pthread_barrier_destroy(&night);
	CU_ASSERT_EQUAL(test_number(place.db, ADDED), NIGHTS);
	close_place(&place);
}

static void a_schedule_follows_its_setting(void)
{
	struct place place = new_place("setting.db", 1, 30);
	struct schedules schedules;

	place.config.schedule_expiry = "*/5 * * * *";
	schedules_init(&schedules, &place.config);
	CU_ASSERT_EQUAL(schedules_run_at(&schedules, place.db, shm, at("2036-11-21T10:01:00Z")), 4 * 60 * 1000);
	/* That clock was wrong by years. */
	schedules_init(&schedules, &place.config);
	CU_ASSERT_EQUAL(schedules_run_at(&schedules, place.db, shm, at("2026-11-21T10:01:00Z")), 4 * 60 * 1000);
	place.config.schedule_expiry = "30 * * * *";
	schedules_init(&schedules, &place.config);
	CU_ASSERT_EQUAL(schedules_run_at(&schedules, place.db, shm, at("2026-11-21T10:01:00Z")), 29 * 60 * 1000);
	place.config.schedule_expiry = "off";
	schedules_init(&schedules, &place.config);
	CU_ASSERT_TRUE(schedules_run_at(&schedules, place.db, shm, at("2026-11-21T11:00:00Z")) > 0);
	CU_ASSERT_EQUAL(test_number(place.db, "SELECT count(*) FROM task_schedules"), 0);
	CU_ASSERT_EQUAL(test_number(place.db, ADDED), 0);
	close_place(&place);
}

/* --- waking --- */

static void *wake_later(void *arg)
{
	test_sleep_ms(50);
	wake_all(arg, WAKE_EVENTS);
	return NULL;
}

static void a_sleeper_is_woken(void)
{
	uint32_t seen = wake_seen(shm, WAKE_EVENTS);
	pthread_t thread;

	CU_ASSERT_FALSE(wake_wait(shm, WAKE_EVENTS, seen, 20));
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, wake_later, shm), 0);
	CU_ASSERT_TRUE(wake_wait(shm, WAKE_EVENTS, seen, SOON_MS));
	pthread_join(thread, NULL);
	wake_all(shm, WAKE_TASKS); /* another topic */
	CU_ASSERT_FALSE(wake_wait(shm, WAKE_EVENTS, wake_seen(shm, WAKE_EVENTS), 1));
	CU_ASSERT_TRUE(wake_wait(shm, WAKE_EVENTS, seen, SOON_MS)); /* it had been woken before it slept */
}

/* Another machine is one with another run directory: what it adds is told by the database alone. */
static void other_machines_are_told(void)
{
	struct task_listen *listen;
	struct place place;

	if (!database_is_postgres())
		return;
	place = new_place("told.db", 1, 30);
	uint32_t seen = wake_seen(shm, WAKE_TASKS);
	CU_ASSERT_TRUE_FATAL(task_listen_start(&listen, &place.config, shm));
	CU_ASSERT_TRUE(wake_wait(shm, WAKE_TASKS, seen, SOON_MS)); /* it listens */
	for (int i = 0; i < 3; i++) {
		struct task_row row = {.kind = "twice", .small = true, .payload = STR("1")};
		struct edge_identity edge;
		bool stored;
		edge_generate(&edge);
		row.id = id_of_edge(&edge);
		seen = wake_seen(shm, WAKE_TASKS);
		uint32_t events = wake_seen(shm, WAKE_EVENTS);
		test_begin(place.db);
		OK(tasks_begin_change(place.db, &row.change, NULL));
		OK(tasks_insert(place.db, &row, &stored, NULL));
		test_commit(place.db);
		CU_ASSERT_TRUE(wake_wait(shm, WAKE_TASKS, seen, SOON_MS));
		CU_ASSERT_TRUE(wake_wait(shm, WAKE_EVENTS, events, SOON_MS));
	}
	/* A connection that is lost is made anew, and what was missed is looked for. */
	seen = wake_seen(shm, WAKE_TASKS);
	database_lose("told.db", true);
	database_lose("told.db", false);
	CU_ASSERT_TRUE(wake_wait(shm, WAKE_TASKS, seen, SOON_MS));
	task_listen_stop(listen);
	close_place(&place);
}

/* Of two threads one is left to small ones, whatever is large and waits. */
static void large_ones_leave_a_thread(void)
{
	struct place place = new_place("thread.db", 2, 30);
	struct id ids[3];

	atomic_store(&hold, true);
	open_pool(&place, "w");
	for (int i = 0; i < 3; i++)
		ids[i] = add(&place, "deaf", "{}");
	await_int(&runs, 1);
	struct id small = add(&place, "twice", "1");
	await(&place, &small, TASK_COMPLETED);
	CU_ASSERT_EQUAL(atomic_load(&runs), 2);
	for (int i = 0; i < SOON_MS && task_pool_busy(place.pool) > 1; i++)
		test_sleep_ms(1); /* what is stored may not be noted yet */
	CU_ASSERT_EQUAL(task_pool_busy(place.pool), 1);
	atomic_store(&hold, false);
	for (int i = 0; i < 3; i++)
		await(&place, &ids[i], TASK_COMPLETED);
	close_place(&place);
}

static const struct unit_case CASES[] = {
	{"other machines are told", other_machines_are_told},
	{"a sleeper is woken", a_sleeper_is_woken},
	{"does what waits and what comes", does_what_waits_and_what_comes},
	{"what fails is tried again, and then dead", what_fails_is_tried_again_and_then_dead},
	{"what is stored apart is tried again", what_is_stored_apart_is_tried_again},
	{"a task for later waits", a_task_for_later_waits},
	{"progress and effects are stored together", progress_and_effects_are_stored_together},
	{"a running task is cancelled at its next checkpoint", a_running_task_is_cancelled_at_its_next_checkpoint},
	{"a worker that stops gives back what it has (E-005)", a_worker_that_stops_gives_back_what_it_has},
	{"large ones leave a thread to small ones", large_ones_leave_a_thread},
	{"who computes stores at everybody's priority", who_computes_stores_at_everybodys_priority},
	{"what was lost to another stores nothing", what_was_lost_stores_nothing},
	{"a lease is renewed", a_lease_is_renewed},
	{"time is limited", time_is_limited},
	{"poison does not spread (B-129)", poison_does_not_spread},
	{"progress is worth more attempts", progress_is_worth_more_attempts},
	{"what is due is added once (C-090)", what_is_due_is_added_once},
	{"two schedulers at once add it once (C-090)", two_schedulers_at_once_add_it_once},
	{"a schedule follows its setting", a_schedule_follows_its_setting},
};

int main(void)
{
	struct err err;

	arena_init(&arena, 256 << 20);
	if (shm_open_dir(&shm, unit_temp_dir(), &err) != STATUS_OK || shm_claim_slot(shm, "test", &err) != STATUS_OK)
		test_give_up("shared memory", &err);
	int code = UNIT_RUN("worker", CASES);
	arena_release(&arena);
	shm_close(shm);
	return code;
}
