/* The store: queue, commit thread, completions, failures. Faults of the disk come from a VFS (sqlite.org/vfs.html) that
 * stands before the real one and fails the log's writes or syncs on demand. */
#include "store_helpers.h"

#include "base/mailbox.h"
#include "shared/metrics.h"
#include "store/store.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* --- faults --- */

static _Atomic int fail_write, fail_sync; /* result codes; 0: works */
static sqlite3_vfs *real_vfs;
static sqlite3_io_methods log_methods;
static const sqlite3_io_methods *real_methods;

static int log_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
	int rc = atomic_load(&fail_write);

	return rc ? rc : real_methods->xWrite(file, p, n, at);
}

static int log_sync(sqlite3_file *file, int flags)
{
	int rc = atomic_load(&fail_sync);

	return rc ? rc : real_methods->xSync(file, flags);
}

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
	(void)vfs;
	int rc = real_vfs->xOpen(real_vfs, name, file, flags, out_flags);
	if (rc == SQLITE_OK && (flags & SQLITE_OPEN_WAL)) {
		if (!real_methods) {
			real_methods = file->pMethods;
			log_methods = *real_methods;
			log_methods.xWrite = log_write;
			log_methods.xSync = log_sync;
		}
		file->pMethods = &log_methods;
	}
	return rc;
}

static void install_faults(void)
{
	static sqlite3_vfs vfs;

	real_vfs = sqlite3_vfs_find(NULL);
	vfs = *real_vfs;
	vfs.zName = "faults";
	vfs.xOpen = open_file;
	sqlite3_vfs_register(&vfs, 1);
}

/* --- ops --- */

struct test_op {
	struct store_op op;
	char id[40];
	enum status answer; /* of run */
	bool write_first;
	bool repeated;
	int runs, dones, order;
};

static struct mailbox box;
static int dones;

static enum status run_save(struct db *db, struct store_op *op, struct err *err)
{
	struct test_op *test = (struct test_op *)op;

	test->runs++;
	if (test->answer == STATUS_OK || test->write_first) {
		enum status status = test_save(db, test->id, &test->repeated, err);
		if (status != STATUS_OK)
			return status;
	}
	return test->answer == STATUS_OK ? STATUS_OK : err_set(err, test->answer, "as told");
}

static enum status run_nothing(struct db *db, struct store_op *op, struct err *err)
{
	(void)op;
	return db_ping(db, err);
}

static void done(struct store_op *op)
{
	struct test_op *test = (struct test_op *)op;

	test->dones++;
	test->order = dones++;
}

static void init_op(struct test_op *test, const char *prefix, int i)
{
	memset(test, 0, sizeof(*test));
	snprintf(test->id, sizeof(test->id), "%s-%06d", prefix, i);
	test->op.run = run_save;
	test->op.done = done;
}

static struct test_op *new_ops(const char *prefix, int n)
{
	struct test_op *ops = calloc((size_t)n, sizeof(*ops));

	for (int i = 0; ops && i < n; i++)
		init_op(&ops[i], prefix, i);
	if (!ops)
		abort();
	return ops;
}

static void wait_dones(int n)
{
	uint64_t end = clock_mono_ms() + 2 * TEST_PATIENCE_MS;

	while (dones < n && clock_mono_ms() < end) {
		struct pollfd ready = {.fd = box.fd, .events = POLLIN};
		poll(&ready, 1, 100);
		mailbox_drain(&box);
	}
	CU_ASSERT_EQUAL(dones, n);
}

static struct store *open_store(const char *name, uint64_t deadline_ms)
{
	struct store *store;
	struct store_options options = {.mailbox = &box, .deadline_ms = deadline_ms};
	struct err err = {0};

	db_close(test_database(name));
	options.url = database_url(name);
	dones = 0;
	if (!mailbox_init(&box) || store_open(&store, &options, &err) != STATUS_OK) {
		fprintf(stderr, "store: %s\n", err.text);
		abort();
	}
	return store;
}

static void close_store(struct store *store)
{
	store_close(store);
	mailbox_drain(&box);
	mailbox_release(&box);
}

static int64_t rows_in(const char *name)
{
	struct db *db = test_open(name, DB_READ);
	int64_t n = test_number(db, "SELECT count(*) FROM predictions");

	db_close(db);
	return n;
}

/* Another connection keeps the turn, so that ops gather in the queue. */
static struct db *keep_turn(const char *name, struct store *store)
{
	struct db *db = test_open(name, DB_WRITE);

	database_hold(db, true);
	database_plug(store);
	return db;
}

static void give_turn(struct db *db)
{
	database_hold(db, false);
	db_close(db);
}

/* --- cases --- */

static void writes_and_reads(void)
{
	struct store *store = open_store("simple.db", 0);
	struct test_op write, read;
	struct db_info info;
	struct db *db;

	init_op(&write, "a", 1);
	OK(store_write(store, &write.op));
	wait_dones(1);
	OK(write.op.status);
	CU_ASSERT_EQUAL(write.runs, 1);
	OK(store_write(store, &write.op));
	wait_dones(2);
	CU_ASSERT_TRUE(write.repeated);
	/* A reader can't write. SQLite's answers at once; PostgreSQL's later, and its trouble is over with the next
	 * read. */
	init_op(&read, "b", 1);
	store_read(store, &read.op);
	if (database_is_postgres())
		wait_dones(3);
	CU_ASSERT_EQUAL(read.dones, 1);
	IS(read.op.status, STATUS_UNAVAILABLE);
	init_op(&read, "c", 1);
	read.op.run = run_nothing;
	store_read(store, &read.op);
	if (database_is_postgres())
		wait_dones(4);
	OK(read.op.status);
	OK(store_connect(store, &db, NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 1);
	db_close(db);
	OK(store_health(store, NULL));
	CU_ASSERT_FALSE(store_is_broken(store));
	for (int i = 0; i < TEST_PATIENCE_MS && store_turn_holder(store) != 0; i++)
		test_sleep_ms(1); /* it is given after the answer */
	CU_ASSERT_EQUAL(store_turn_holder(store), 0);
	store_info(store, &info);
	if (database_is_postgres())
		CU_ASSERT_TRUE(strncmp(info.engine, "PostgreSQL ", 11) == 0)
	else
		CU_ASSERT_TRUE(info.database_bytes > 0 && info.log_bytes > 0 &&
			       strncmp(info.engine, "SQLite 3.", 9) == 0)
	close_store(store);
}

struct submitter {
	struct store *store;
	struct test_op *ops;
	int n;
};

static void *submit_all(void *arg)
{
	struct submitter *s = arg;

	for (int i = 0; i < s->n; i++)
		while (store_write(s->store, &s->ops[i].op) == STATUS_BUSY)
			test_sleep_ms(1);
	return NULL;
}

static void many_threads_submit(void)
{
	enum { THREADS = 3, EACH = 3000 };
	struct store *store = open_store("threads.db", 60000);
	struct submitter submitters[THREADS];
	pthread_t threads[THREADS];

	for (int t = 0; t < THREADS; t++) {
		char prefix[16];
		snprintf(prefix, sizeof(prefix), "t%d", t);
		submitters[t] = (struct submitter){store, new_ops(prefix, EACH), EACH};
		CU_ASSERT_EQUAL(pthread_create(&threads[t], NULL, submit_all, &submitters[t]), 0);
	}
	wait_dones(THREADS * EACH);
	for (int t = 0; t < THREADS; t++) {
		int wrong = 0;
		pthread_join(threads[t], NULL);
		for (int i = 0; i < EACH; i++) {
			const struct test_op *op = &submitters[t].ops[i];
			wrong += op->op.status != STATUS_OK || op->dones != 1 || op->runs != 1;
			wrong += i > 0 && op->order < submitters[t].ops[i - 1].order;
		}
		CU_ASSERT_EQUAL(wrong, 0);
	}
	close_store(store);
	CU_ASSERT_EQUAL(rows_in("threads.db"), THREADS * EACH);
	for (int t = 0; t < THREADS; t++)
		free(submitters[t].ops);
}

/* Ten ops of which some fail, before they write or after. How often the first one ran. */
static int runs_of_first(const char *name, bool write_first)
{
	struct store *store = open_store(name, 0);
	struct test_op *ops = new_ops("x", 10);
	struct db *other = keep_turn(name, store);

	for (int i = 0; i < 10; i++) {
		ops[i].answer = i % 3 == 1 ? STATUS_CONFLICT : STATUS_OK;
		ops[i].write_first = write_first;
		OK(store_write(store, &ops[i].op));
	}
	give_turn(other);
	wait_dones(10);
	for (int i = 0; i < 10; i++) {
		IS(ops[i].op.status, ops[i].answer);
		IS(ops[i].op.err.status, ops[i].answer);
		CU_ASSERT_EQUAL(ops[i].dones, 1);
		CU_ASSERT_FALSE(ops[i].repeated);
	}
	int runs = ops[0].runs;
	CU_ASSERT_STRING_EQUAL(ops[1].op.err.text, "as told");
	OK(store_health(store, NULL));
	close_store(store);
	CU_ASSERT_EQUAL(rows_in(name), 7);
	free(ops);
	return runs;
}

/* All are in one batch, unless the machine is so busy that the batch's time is over after the first. */
static void a_failing_op_harms_nobody(void)
{
	static const struct {
		const char *name;
		bool write_first;
		int runs;
	} cases[] = {{"clean", false, 1}, {"mess", true, 2}};

	for (int c = 0; c < 2; c++) {
		int runs = 0;
		for (int tries = 0; tries < 10 && runs != cases[c].runs; tries++) {
			char name[32];
			snprintf(name, sizeof(name), "%s%d.db", cases[c].name, tries);
			runs = runs_of_first(name, cases[c].write_first);
		}
		CU_ASSERT_EQUAL(runs, cases[c].runs);
	}
}

static void a_full_queue_says_busy(void)
{
	struct store *store = open_store("full.db", 60000);
	struct test_op *ops = new_ops("x", STORE_QUEUE + 1);
	struct db *other = keep_turn("full.db", store);

	for (int i = 0; i < STORE_QUEUE; i++)
		OK(store_write(store, &ops[i].op));
	IS(store_write(store, &ops[STORE_QUEUE].op), STATUS_BUSY);
	CU_ASSERT_EQUAL(store_queue_length(store), STORE_QUEUE);
	give_turn(other);
	wait_dones(STORE_QUEUE);
	CU_ASSERT_EQUAL(ops[STORE_QUEUE].dones, 0);
	CU_ASSERT_EQUAL(store_queue_length(store), 0);
	close_store(store);
	CU_ASSERT_EQUAL(rows_in("full.db"), STORE_QUEUE);
	free(ops);
}

/* Takes the turn of the database named by arg and keeps it until it is killed. */
static int keep_turn_in_child(void *arg)
{
	const int *ready = arg;
	struct db *db = test_open("expire.db", DB_WRITE);

	database_hold(db, true);
	if (write(ready[1], "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void what_waits_too_long_is_taken_out(void)
{
	struct test_op *ops = new_ops("x", 3);
	int ready[2];
	char x;

	db_close(test_database("expire.db"));
	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	pid_t child = test_fork(keep_turn_in_child, ready); /* before there are threads */
	CU_ASSERT_EQUAL(read(ready[0], &x, 1), 1);
	struct store *store = NULL;
	struct store_options options = {.url = database_url("expire.db"), .mailbox = &box, .deadline_ms = 100};
	dones = 0;
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	OK(store_open(&store, &options, NULL));
	database_plug(store);
	uint64_t before_ms = clock_mono_ms();
	OK(store_write(store, &ops[0].op));
	OK(store_write(store, &ops[1].op));
	uint64_t after_ms = clock_mono_ms();
	store_expire(store, before_ms + 99);
	CU_ASSERT_EQUAL(dones, 0);
	while (clock_mono_ms() < after_ms + 50)
		test_sleep_ms(1);
	OK(store_write(store, &ops[2].op));
	store_expire(store, after_ms + 100);
	CU_ASSERT_EQUAL(dones, 2);
	IS(ops[0].op.status, STATUS_BUSY);
	IS(ops[1].op.err.status, STATUS_BUSY);
	kill(child, SIGKILL);
	CU_ASSERT_EQUAL(test_wait(child), 1000 + SIGKILL);
	wait_dones(3);
	OK(ops[2].op.status);
	CU_ASSERT_EQUAL(ops[0].runs + ops[1].runs, 0);
	close_store(store);
	CU_ASSERT_EQUAL(rows_in("expire.db"), 1);
	close(ready[0]);
	close(ready[1]);
	free(ops);
}

static void another_programs_lock_is_waited_for(void)
{
	if (database_skips("BEGIN EXCLUSIVE of a file"))
		return;
	struct store *store = open_store("locked.db", 0);
	struct test_op op;
	sqlite3 *other;

	CU_ASSERT_EQUAL_FATAL(sqlite3_open(test_path("locked.db"), &other), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	init_op(&op, "x", 1);
	OK(store_write(store, &op.op));
	test_sleep_ms(200);
	CU_ASSERT_EQUAL(mailbox_drain(&box), 0);
	CU_ASSERT_EQUAL(store_queue_length(store), 1);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	wait_dones(1);
	OK(op.op.status);
	CU_ASSERT_EQUAL(op.runs, 1);
	OK(store_health(store, NULL));
	close_store(store);
}

static void wait_healthy(struct store *store)
{
	uint64_t end = clock_mono_ms() + TEST_PATIENCE_MS;

	while (store_health(store, NULL) != STATUS_OK && clock_mono_ms() < end)
		test_sleep_ms(20);
	OK(store_health(store, NULL));
}

/* One op says that the store can't be used: none of its batch is stored, and health recovers without traffic. */
static void an_unavailable_store_recovers(void)
{
	if (database_skips("what is unavailable to one op concerns no other there"))
		return;
	int refused = 0;

	/* Those before it are in its batch, unless the machine is so busy that a batch's time is over before. */
	for (int tries = 0; tries < 10 && refused != 4; tries++) {
		char name[32];
		snprintf(name, sizeof(name), "unavailable%d.db", tries);
		struct store *store = open_store(name, 0);
		struct test_op *ops = new_ops("x", 5);
		struct db *other = keep_turn(name, store);
		for (int i = 0; i < 5; i++) {
			ops[i].answer = i == 3 ? STATUS_UNAVAILABLE : STATUS_OK;
			OK(store_write(store, &ops[i].op));
		}
		give_turn(other);
		wait_dones(5);
		refused = 0;
		for (int i = 0; i < 4; i++)
			refused += ops[i].op.status == STATUS_UNAVAILABLE;
		IS(ops[3].op.status, STATUS_UNAVAILABLE);
		IS(ops[4].op.status, STATUS_OK); /* what comes after it: in a batch of its own */
		wait_healthy(store);
		CU_ASSERT_FALSE(store_is_broken(store));
		close_store(store);
		CU_ASSERT_EQUAL(rows_in(name), 5 - refused);
		free(ops);
	}
	CU_ASSERT_EQUAL(refused, 4);
}

/* A lock file that can't be made stands for a disk that can't be written to: that stops root, too. */
static void a_database_that_is_read_only_is_read(void)
{
	struct test_op write, read;
	struct store *store = NULL;
	char lock[PATH_MAX];
	struct err err;

	if (database_skips("a lock file that can't be made"))
		return;
	struct store_options options = {.url = database_url("readonly.db"), .mailbox = &box};
	db_close(test_database("readonly.db"));
	snprintf(lock, sizeof(lock), "%s-open", test_path("readonly.db"));
	CU_ASSERT_EQUAL_FATAL(unlink(lock) | symlink("none/at/all", lock), 0);
	dones = 0;
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	OK(store_open(&store, &options, &err));
	IS(store_health(store, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "readonly.db-open"));
	init_op(&write, "x", 1);
	OK(store_write(store, &write.op));
	wait_dones(1);
	IS(write.op.status, STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(write.runs, 0);
	init_op(&read, "x", 2);
	read.op.run = run_nothing;
	store_read(store, &read.op);
	OK(read.op.status);
	test_sleep_ms(1100);
	CU_ASSERT_FALSE(store_wants_restart(store));
	CU_ASSERT_EQUAL(unlink(lock), 0);
	for (int i = 0; i < TEST_PATIENCE_MS && !store_wants_restart(store); i++)
		test_sleep_ms(1);
	CU_ASSERT_TRUE(store_wants_restart(store));
	init_op(&write, "x", 3);
	OK(store_write(store, &write.op));
	wait_dones(3);
	IS(write.op.status, STATUS_UNAVAILABLE); /* the next process may */
	close_store(store);
	CU_ASSERT_EQUAL(rows_in("readonly.db"), 0);
}

static void a_full_disk_is_unavailable_until_there_is_room(void)
{
	if (database_skips("faults of SQLite's files"))
		return;
	static const int codes[] = {SQLITE_FULL, SQLITE_FULL};
	struct store *store = open_store("disk.db", 0);
	struct test_op *ops = new_ops("x", 3);

	for (int i = 0; i < 2; i++) {
		atomic_store(&fail_write, codes[i]);
		OK(store_write(store, &ops[i].op));
		wait_dones(i + 1);
		IS(ops[i].op.status, STATUS_UNAVAILABLE);
		IS(store_health(store, NULL), STATUS_UNAVAILABLE);
		CU_ASSERT_FALSE(store_is_broken(store));
	}
	test_sleep_ms(1200); /* a probe fails as well */
	IS(store_health(store, NULL), STATUS_UNAVAILABLE);
	atomic_store(&fail_write, 0);
	wait_healthy(store);
	OK(store_write(store, &ops[2].op));
	wait_dones(3);
	OK(ops[2].op.status);
	close_store(store);
	CU_ASSERT_EQUAL(rows_in("disk.db"), 1);
	free(ops);
}

static void an_unknown_outcome_stops_the_store(void)
{
	if (database_skips("faults of SQLite's files"))
		return;
	struct store *store = open_store("unknown.db", 0);
	struct test_op *ops = new_ops("x", 3);
	struct err err;

	OK(store_write(store, &ops[0].op));
	wait_dones(1);
	atomic_store(&fail_sync, SQLITE_IOERR_FSYNC);
	OK(store_write(store, &ops[1].op));
	wait_dones(2);
	IS(ops[1].op.status, STATUS_UNKNOWN_OUTCOME);
	CU_ASSERT_TRUE(store_is_broken(store));
	atomic_store(&fail_sync, 0);
	OK(store_write(store, &ops[2].op));
	wait_dones(3);
	IS(ops[2].op.status, STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(ops[2].runs, 0);
	test_sleep_ms(1200);
	IS(store_health(store, &err), STATUS_UNAVAILABLE);
	OK(ops[0].op.status);
	close_store(store);
	CU_ASSERT_TRUE(rows_in("unknown.db") >= 1);
	free(ops);
}

static void closing_finishes_what_waits(void)
{
	struct store *store = open_store("close.db", 0);
	struct test_op *ops = new_ops("x", 2000);

	for (int i = 0; i < 2000; i++)
		OK(store_write(store, &ops[i].op));
	store_close(store);
	mailbox_drain(&box);
	mailbox_release(&box);
	CU_ASSERT_EQUAL(dones, 2000);
	CU_ASSERT_EQUAL(rows_in("close.db"), 2000);
	free(ops);
}

static enum status read_nothing(struct db *db, struct store_op *op, struct err *err)
{
	(void)db;
	(void)op;
	(void)err;
	return STATUS_OK;
}

/* Completions that are opened after the stop may ask anew: they are answered, or refused at once. */
static void a_stopped_store_refuses(void)
{
	struct store *store = open_store("stop.db", 0);
	struct test_op *ops = new_ops("x", 2);
	struct test_op reading;

	OK(store_write(store, &ops[0].op));
	store_stop(store);
	IS(store_write(store, &ops[1].op), STATUS_UNAVAILABLE);
	init_op(&reading, "r", 1);
	reading.op.run = read_nothing;
	store_read(store, &reading.op);
	mailbox_drain(&box);
	CU_ASSERT_EQUAL(reading.dones, 1);
	IS(reading.op.status, database_is_postgres() ? STATUS_BUSY : STATUS_OK);
	CU_ASSERT_EQUAL(ops[0].dones, 1);
	store_stop(store);
	store_expire(store, clock_mono_ms());
	close_store(store);
	CU_ASSERT_EQUAL(ops[1].dones, 0);
	CU_ASSERT_EQUAL(rows_in("stop.db"), 1);
	free(ops);
}

/* Somebody keeps the turn: what waits expires and is answered, and closing comes to an end. */
static void closing_does_not_wait_for_ever(void)
{
	struct store *store = open_store("stuck.db", 100);
	struct test_op op;
	struct db *other = keep_turn("stuck.db", store);

	init_op(&op, "x", 1);
	OK(store_write(store, &op.op));
	uint64_t start = clock_mono_ms();
	store_close(store);
	/* What PostgreSQL is at work on is waited for, and it waits for a lock no longer than 4 s. */
	CU_ASSERT_TRUE(clock_mono_ms() - start < TEST_PATIENCE_MS);
	mailbox_drain(&box);
	CU_ASSERT_EQUAL(op.dones, 1);
	IS(op.op.status, STATUS_BUSY);
	give_turn(other); /* the thread that was left behind ends; its connections stay open with the process */
	test_sleep_ms(50);
	mailbox_release(&box);
	CU_ASSERT_EQUAL(rows_in("stuck.db"), 0);
}

/* How many of the lines are there after two writes at once, one that says that the store can't be used, and another. */
static int lines_counted(const char *const *lines, int n, int tries, bool tell)
{
	struct store_options options = {.mailbox = &box};
	struct test_op *ops = new_ops("x", 4);
	static const uint8_t identity[16] = {1};
	struct store *store;
	struct buf text;
	char name[32];
	int there = 0;

	snprintf(name, sizeof(name), "metrics%d", tries);
	CU_ASSERT_EQUAL(mkdir(test_path(name), 0700), 0);
	OK(shm_open_dir(&options.shm, test_path(name), NULL));
	OK(shm_claim_slot(options.shm, "test", NULL));
	snprintf(name, sizeof(name), "metrics%d.db", tries);
	db_close(test_database(name));
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	options.url = database_url(name);
	OK(store_open(&store, &options, NULL));
	dones = 0;
	struct db *other = keep_turn(name, store);
	for (int i = 0; i < 2; i++) {
		ops[i].op.identity = identity;
		OK(store_write(store, &ops[i].op));
	}
	give_turn(other);
	wait_dones(2);
	ops[2].answer = STATUS_UNAVAILABLE;
	OK(store_write(store, &ops[2].op));
	wait_dones(3);
	OK(store_write(store, &ops[3].op));
	wait_dones(4);
	close_store(store);
	buf_init_heap(&text);
	metrics_render(options.shm, &text);
	buf_char(&text, '\0');
	for (int i = 0; i < n; i++) {
		there += strstr(text.p, lines[i]) != NULL;
		if (tell && !strstr(text.p, lines[i]))
			fprintf(stderr, "missing: %s", lines[i]);
	}
	buf_release(&text);
	shm_close(options.shm);
	free(ops);
	return there;
}

static void metrics_are_counted(void)
{
	enum { LINES = 5, TRIES = 10 };
	static const char *const sqlite[LINES] = {
		"appcore_commit_batch_size_count 2.0\n", "appcore_commit_batch_size_sum 3.0\n",
		"appcore_commit_duration_seconds_count 2.0\n", "appcore_write_turn_wait_seconds_count 3.0\n",
		"appcore_commit_failures_total{reason=\"unavailable\"} 1.0\n"};
	/* One more is what the commit thread waits with, and the first two join it. There are no turns, and what is
	 * unavailable to one op is not to the others. */
	static const char *const postgres[LINES] = {"appcore_commit_batch_size_count 3.0\n",
						    "appcore_commit_batch_size_sum 5.0\n",
						    "appcore_commit_duration_seconds_count 3.0\n", "", ""};
	const char *const *expected = database_is_postgres() ? postgres : sqlite;
	int there = 0;

	/* Two are one batch, and no probe comes between, unless the machine is very busy. */
	for (int tries = 0; tries < TRIES && there != LINES; tries++)
		there = lines_counted(expected, LINES, tries, tries == TRIES - 1);
	CU_ASSERT_EQUAL(there, LINES);
}

/* --- processes --- */

struct writer {
	const char *prefix;
	int n, acks; /* acks: a pipe that gets the number of each op that was acknowledged; -1: none */
};

static int acks_fd;

static void done_and_tell(struct store_op *op)
{
	struct test_op *test = (struct test_op *)op;

	done(op);
	if (op->status == STATUS_OK && acks_fd >= 0 && write(acks_fd, test->id, sizeof(test->id)) < 0)
		_exit(3);
}

/* Submits n ops with up to 64 under way, as 64 clients would. */
static int write_in_child(void *arg)
{
	const struct writer *writer = arg;
	struct store *store;
	struct store_options options = {.url = database_url("processes.db"), .mailbox = &box, .deadline_ms = 60000};
	struct test_op *ops = new_ops(writer->prefix, writer->n);

	acks_fd = writer->acks;
	dones = 0;
	if (!mailbox_init(&box) || store_open(&store, &options, NULL) != STATUS_OK)
		return 1;
	for (int i = 0; i < writer->n; i++) {
		ops[i].op.done = done_and_tell;
		while (i - dones >= 64) {
			struct pollfd ready = {.fd = box.fd, .events = POLLIN};
			poll(&ready, 1, 100);
			mailbox_drain(&box);
		}
		if (store_write(store, &ops[i].op) != STATUS_OK)
			return 2;
	}
	close_store(store);
	for (int i = 0; i < writer->n; i++)
		if (ops[i].op.status != STATUS_OK || ops[i].repeated)
			return 4;
	return 0;
}

static void two_processes_lose_nothing(void)
{
	static struct writer one = {"one", 2000, -1}, two = {"two", 2000, -1};

	db_close(test_database("processes.db"));
	pid_t a = test_fork(write_in_child, &one), b = test_fork(write_in_child, &two);
	CU_ASSERT_EQUAL(test_wait(a), 0);
	CU_ASSERT_EQUAL(test_wait(b), 0);
	CU_ASSERT_EQUAL(rows_in("processes.db"), 4000);
}

/* Counts the acknowledged ids that come through the pipe, at most n, and those that are not there. */
static int check_acks(struct db *db, int fd, int n, int *missing)
{
	char id[40];
	bool repeated;
	int count = 0;

	while (count < n && read(fd, id, sizeof(id)) == (ssize_t)sizeof(id)) {
		count++;
		OK(test_save(db, id, &repeated, NULL));
		*missing += !repeated;
	}
	return count;
}

/* A writer is killed with -9 at several moments: what it acknowledged is there, and the database is whole. */
static void a_killed_writer_loses_nothing_acknowledged(void)
{
	enum { WRITTEN = 200000 };
	static const int moments_ms[] = {0, 3, 20, 70};

	for (size_t k = 0; k < 4; k++) {
		char prefix[16];
		struct pollfd acks = {.events = POLLIN};
		int fds[2], missing = 0;
		snprintf(prefix, sizeof(prefix), "kill%zu", k);
		db_close(test_database("processes.db"));
		CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
		fcntl(fds[0], F_SETPIPE_SZ, 1 << 20);
		struct writer writer = {prefix, WRITTEN, fds[1]};
		pid_t child = test_fork(write_in_child, &writer);
		close(fds[1]);
		acks.fd = fds[0];
		CU_ASSERT_EQUAL(poll(&acks, 1, TEST_PATIENCE_MS), 1); /* the first one is stored */
		test_sleep_ms(moments_ms[k]);
		kill(child, SIGKILL);
		CU_ASSERT_EQUAL(test_wait(child), 1000 + SIGKILL);
		struct db *db = test_open("processes.db", DB_WRITE);
		OK(db_integrity(db, NULL));
		test_begin(db);
		int acknowledged = check_acks(db, fds[0], WRITTEN, &missing);
		db_rollback(db);
		db_turn_give(db);
		db_close(db);
		close(fds[0]);
		CU_ASSERT_EQUAL(missing, 0);
		CU_ASSERT_TRUE(acknowledged >= 1 && acknowledged < WRITTEN);
	}
}

static const struct unit_case CASES[] = {
	/* Those that fork come first: a child of a process with threads may do little. */
	{"two processes lose nothing", two_processes_lose_nothing},
	{"a killed writer loses nothing acknowledged", a_killed_writer_loses_nothing_acknowledged},
	{"what waits too long is taken out", what_waits_too_long_is_taken_out},
	{"writes and reads", writes_and_reads},
	{"many threads submit", many_threads_submit},
	{"a failing op harms nobody", a_failing_op_harms_nobody},
	{"a full queue says busy", a_full_queue_says_busy},
	{"another program's lock is waited for", another_programs_lock_is_waited_for},
	{"an unavailable store recovers", an_unavailable_store_recovers},
	{"a database that is read-only is read", a_database_that_is_read_only_is_read},
	{"a full disk is unavailable until there is room", a_full_disk_is_unavailable_until_there_is_room},
	{"an unknown outcome stops the store", an_unknown_outcome_stops_the_store},
	{"metrics are counted", metrics_are_counted},
	{"closing finishes what waits", closing_finishes_what_waits},
	{"a stopped store refuses", a_stopped_store_refuses},
	{"closing does not wait for ever", closing_does_not_wait_for_ever},
};

int main(void)
{
	install_faults();
	return UNIT_RUN("store", CASES);
}
