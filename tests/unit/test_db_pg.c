/* What is PostgreSQL's alone: tasks side by side in one transaction, connections that are lost in it, URLs. With SQLite
 * only the URLs are looked at. */
#include "base/clock.h"
#include "store/db_pg_impl.h"
#include "store/generations.h"
#include "store/predictions.h"
#include "store/store.h"
#include "store/tasks.h"
#include "store_helpers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <pthread.h>

enum { TASKS = 100, STEPS = 3, OPS = 40 };

/* --- URLs --- */

/* The order of the options is libpq's. */
static bool same_words(const char *text, const char *words)
{
	bool same = strlen(text) == strlen(words);

	for (const char *p = words; *p; p += strcspn(p, " "), p += *p == ' ') {
		char word[64];
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(p, " "), p);
		same = same && strstr(text, word);
	}
	return same;
}

/* What everybody may see, and what goes other ways. */
static void secrets_are_cut_out(void)
{
	static const struct {
		const char *url, *conninfo, *password, *service;
	} cases[] = {
		{"postgresql://host/db", "dbname='db' host='host'", "", ""},
		{"postgresql://user@host/db", "user='user' dbname='db' host='host'", "", ""},
		{"postgresql://user:s%40cret@host:5432/db", "user='user' dbname='db' host='host' port='5432'", "s@cret",
		 ""},
		{"postgresql://user:s?cret@host/db", "user='user' dbname='db' host='host'", "s?cret", ""},
		{"postgresql://h1:1,h2:2/db", "dbname='db' host='h1,h2' port='1,2'", "", ""},
		{"postgresql://host/db?application_name=a@b", "dbname='db' host='host' application_name='a@b'", "", ""},
		{"postgresql://host/db?password=one", "dbname='db' host='host'", "one", ""},
		{"postgresql://host/db?%70assword=one&sslmode=prefer", "dbname='db' host='host' sslmode='prefer'",
		 "one", ""},
		{"postgresql://host/db?sslpassword=x&password=two", "dbname='db' host='host'", "two",
		 "[appcore]\nsslpassword=x\n"},
		{"postgres://user:p@/it's%5C?host=/run/x", "user='user' dbname='it\\'s\\\\' host='/run/x'", "p", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pg_place place;
		CU_ASSERT_TRUE_FATAL(pg_place_init(&place, cases[i].url));
		if (!same_words(place.conninfo.p, cases[i].conninfo))
			fprintf(stderr, "%s: %s\n", cases[i].url, place.conninfo.p);
		CU_ASSERT_TRUE(same_words(place.conninfo.p, cases[i].conninfo));
		CU_ASSERT_STRING_EQUAL(place.password.n > 0 ? place.password.p + strlen("PGPASSWORD=") : "",
				       cases[i].password);
		CU_ASSERT_TRUE(str_eq(buf_view(&place.service), str_of(cases[i].service)));
		pg_place_release(&place);
	}
}

/* --- tasks --- */

struct tasks {
	struct db *db;
	int64_t changes[TASKS];
	int done;
};

static void save_three(void *arg, size_t i)
{
	struct tasks *tasks = arg;
	int64_t before = db_changes(tasks->db);
	char id[40];
	bool repeated;

	for (int step = 0; step < STEPS; step++) {
		snprintf(id, sizeof(id), "t%03zu-%d", i, step);
		OK(test_save(tasks->db, id, &repeated, NULL));
		CU_ASSERT_FALSE(repeated);
	}
	tasks->changes[i] = db_changes(tasks->db) - before;
	tasks->done++;
}

static void tasks_share_a_transaction(void)
{
	struct db *db = test_database("tasks.db");
	struct tasks tasks = {.db = db};

	for (int round = 0; round < 2; round++) {
		memset(&tasks, 0, sizeof(tasks));
		tasks.db = db;
		test_begin(db);
		db_together(db, TASKS, save_three, &tasks);
		CU_ASSERT_EQUAL(tasks.done, TASKS);
		for (int i = 0; i < TASKS; i++)
			CU_ASSERT_EQUAL(tasks.changes[i], STEPS);
		if (round == 0) {
			db_rollback(db);
			db_turn_give(db);
			CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 0);
		}
	}
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), TASKS * STEPS);
	db_close(db);
}

/* --- ops in trouble --- */

static struct mailbox box;
static int dones;

struct trouble {
	struct store_op op;
	char id[40];
	const char *script; /* run before anything else, the first time or always */
	bool always;
	int runs;
};

static enum status run(struct db *db, struct store_op *op, struct err *err)
{
	struct trouble *trouble = (struct trouble *)op;
	bool repeated;

	if (trouble->script && (trouble->runs++ == 0 || trouble->always)) {
		enum status status = db_script(db, trouble->script, err);
		if (status != STATUS_OK)
			return status;
	}
	return test_save(db, trouble->id, &repeated, err);
}

static void done(struct store_op *op)
{
	(void)op;
	dones++;
}

/* OPS ops at once, one of them with this script. All but that one must be stored, and so must it when `recovers`. */
static void one_in_trouble(const char *name, const char *script, bool always, bool recovers)
{
	struct store_options options = {.mailbox = &box, .deadline_ms = 60000};
	struct trouble ops[OPS] = {0};
	struct store *store;
	uint64_t end = clock_mono_ms() + 20000;

	db_close(test_database(name));
	options.url = database_url(name);
	dones = 0;
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	CU_ASSERT_EQUAL_FATAL(store_open(&store, &options, NULL), STATUS_OK);
	for (int i = 0; i < OPS; i++) {
		snprintf(ops[i].id, sizeof(ops[i].id), "op%03d", i);
		ops[i].op.run = run;
		ops[i].op.done = done;
		if (i == OPS / 2) {
			ops[i].script = script;
			ops[i].always = always;
		}
		OK(store_write(store, &ops[i].op));
	}
	while (dones < OPS && clock_mono_ms() < end) {
		struct pollfd ready = {.fd = box.fd, .events = POLLIN};
		poll(&ready, 1, 100);
		mailbox_drain(&box);
	}
	CU_ASSERT_EQUAL(dones, OPS);
	for (int i = 0; i < OPS; i++) {
		bool stored = i != OPS / 2 || recovers;
		CU_ASSERT_EQUAL(ops[i].op.status == STATUS_OK, stored);
	}
	store_close(store);
	mailbox_drain(&box);
	mailbox_release(&box);
	struct db *db = test_open(name, DB_READ);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), recovers ? OPS : OPS - 1);
	db_close(db);
}

static void a_failing_script_harms_nobody(void)
{
	if (!database_is_postgres())
		return;
	one_in_trouble("script.db", "SELECT 1/0", true, false);
	one_in_trouble("right.db", "SET ROLE nobody_of_that_name", true, false);
}

static void a_lost_connection_is_tried_again(void)
{
	if (!database_is_postgres())
		return;
	one_in_trouble("lost.db", "SELECT pg_terminate_backend(pg_backend_pid())", false, true);
}

/* --- statements that take long --- */

static void *wait_patiently(void *arg)
{
	static const char sql[] = "SELECT 5 FROM pg_sleep(11)";
	struct db *db = test_open("slow.db", DB_READ);

	db_be_patient(db);
	*(int64_t *)arg = test_number(db, sql);
	db_close(db);
	return NULL;
}

/* What a write transaction waits for may be a COMMIT: nobody interrupts that. */
static void *give_up_a_write(void *arg)
{
	static const char slow[] = "SELECT 9 FROM pg_sleep(600)";
	struct db *db = test_open("slow.db", DB_WRITE);
	struct stmt *stmt;
	bool row;

	test_begin(db);
	*(enum status *)arg = db_prepare(db, slow, &stmt, NULL);
	if (*(enum status *)arg == STATUS_OK)
		*(enum status *)arg = db_step(stmt, &row, NULL);
	db_reset(stmt);
	db_rollback(db);
	db_turn_give(db);
	db_close(db);
	return NULL;
}

/* One that takes too long is asked once, and the server is told to leave it; who is patient gets the answer. */
static void slow_statements_end(void)
{
	static const char slow[] = "SELECT 7 FROM pg_sleep(60)",
			  running[] = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'"
				      " AND state = 'active' AND pid <> pg_backend_pid()",
			  writing[] = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%'"
				      " AND state = 'active' AND pid <> pg_backend_pid()";
	enum status write_status = STATUS_OK;
	struct err err = {0};
	struct stmt *stmt;
	pthread_t thread, writer;
	int64_t answer = 0;
	bool row;

	if (!database_is_postgres())
		return;
	struct db *db = test_database("slow.db"), *other = test_open("slow.db", DB_READ);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, wait_patiently, &answer), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, give_up_a_write, &write_status), 0);
	uint64_t start_ms = clock_mono_ms();
	OK(db_prepare(db, slow, &stmt, NULL));
	IS(db_step(stmt, &row, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_TRUE(clock_mono_ms() - start_ms < 40000);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "did not answer in time"));
	db_reset(stmt);
	for (int i = 0; i < 200 && test_number(other, running) > 0; i++)
		usleep(100 * 1000);
	CU_ASSERT_EQUAL(test_number(other, running), 0);
	CU_ASSERT_EQUAL(test_number(db, "SELECT 3"), 3); /* on a new connection */
	pthread_join(thread, NULL);
	pthread_join(writer, NULL);
	CU_ASSERT_EQUAL(answer, 5);
	CU_ASSERT_NOT_EQUAL(write_status, STATUS_OK);
	CU_ASSERT_EQUAL(test_number(other, writing), 1);
	db_close(other);
	db_close(db);
}

/* What others wrote before its week was there moves into the week. */
static void weeks_take_what_was_there(void)
{
	int64_t now_ms = clock_wall_us() / 1000, dropped;
	char id[40];
	bool repeated;

	if (!database_is_postgres())
		return;
	struct db *db = test_database("weeks.db");
	test_begin(db);
	snprintf(id, sizeof(id), "%08x-%04x-7000-8000-000000000001", (unsigned)(now_ms >> 16),
		 (unsigned)(now_ms & 0xffff));
	OK(test_save(db, id, &repeated, NULL));
	OK(test_save(db, "00000000-0001-7000-8000-000000000001", &repeated, NULL)); /* of 1970 */
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions_rest"), 2);
	for (int round = 0; round < 2; round++) {
		test_begin(db);
		OK(predictions_keep_weeks(db, now_ms, 0, &dropped, NULL));
		test_commit(db);
		CU_ASSERT_EQUAL(dropped, 0);
		CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions_rest"), 1);
		CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 2);
	}
	/* Long after: its week, and no other that is still to come. */
	test_begin(db);
	OK(predictions_keep_weeks(db, now_ms, now_ms + INT64_C(8) * 24 * 60 * 60 * 1000, &dropped, NULL));
	test_commit(db);
	CU_ASSERT_TRUE(dropped >= 1 && dropped <= 2);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM predictions"), 1);
	db_close(db);
}

/* --- a server that falls silent --- */

/* Between the store and the server: a thread that passes bytes on, or keeps them to itself. */
struct between {
	pthread_t thread;
	int listener, port, server_port;
	struct {
		int client, server; /* 0: none */
	} pairs[32];
	_Atomic bool deaf; /* nothing is passed on, nor connected */
	_Atomic bool closing;
	_Atomic size_t passed; /* bytes to the server */
};

static int loopback_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static bool pass_on(struct between *between, int from, int to, bool count)
{
	char bytes[16384];
	ssize_t n = recv(from, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN;
	if (count)
		atomic_fetch_add(&between->passed, (size_t)n);
	return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

/* Reads its sockets and `deaf`; ends with `closing`. */
static void *stand_between(void *arg)
{
	enum { PAIRS = sizeof(((struct between *)0)->pairs) / sizeof(((struct between *)0)->pairs[0]) };
	struct between *between = arg;
	const struct timespec nap = {.tv_nsec = 500000};

	while (!atomic_load(&between->closing)) {
		nanosleep(&nap, NULL);
		if (atomic_load(&between->deaf))
			continue;
		struct sockaddr_in address = loopback(between->server_port);
		int fd = accept4(between->listener, NULL, NULL, SOCK_CLOEXEC);
		for (int i = 0; i < PAIRS; i++) {
			if (!between->pairs[i].client && fd >= 0) {
				between->pairs[i].client = fd;
				between->pairs[i].server = loopback_socket();
				fd = connect(between->pairs[i].server, (struct sockaddr *)&address, sizeof(address));
				fd = -1;
			}
			if (between->pairs[i].client &&
			    (!pass_on(between, between->pairs[i].client, between->pairs[i].server, true) ||
			     !pass_on(between, between->pairs[i].server, between->pairs[i].client, false))) {
				close(between->pairs[i].client);
				close(between->pairs[i].server);
				between->pairs[i].client = 0;
			}
		}
	}
	for (int i = 0; i < PAIRS; i++) {
		if (!between->pairs[i].client)
			continue;
		close(between->pairs[i].client);
		close(between->pairs[i].server);
	}
	return NULL;
}

/* The database's URL with its own port in the place of the server's. */
static void open_between(struct between *between, const char *name, char *url, size_t size)
{
	struct sockaddr_in address = loopback(0);
	socklen_t n = sizeof(address);
	struct str real = database_url(name);
	const char *colon = strrchr(real.p, ':'), *slash = strrchr(real.p, '/');

	memset(between, 0, sizeof(*between));
	between->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CU_ASSERT_FATAL(bind(between->listener, (struct sockaddr *)&address, n) == 0);
	CU_ASSERT_FATAL(listen(between->listener, 64) == 0);
	CU_ASSERT_FATAL(getsockname(between->listener, (struct sockaddr *)&address, &n) == 0);
	between->port = ntohs(address.sin_port);
	between->server_port = atoi(colon + 1);
	snprintf(url, size, "%.*s:%d%s", (int)(colon - real.p), real.p, between->port, slash);
	CU_ASSERT_FATAL(pthread_create(&between->thread, NULL, stand_between, between) == 0);
}

static void close_between(struct between *between)
{
	atomic_store(&between->closing, true);
	pthread_join(between->thread, NULL);
	close(between->listener);
}

static enum status read_something(struct db *db, struct store_op *op, struct err *err)
{
	static const char sql[] = "SELECT 1";
	struct stmt *stmt;
	bool row;

	(void)op;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	db_reset(stmt);
	return status;
}

static void open_reading(struct store **store, struct store_options *options)
{
	options->mailbox = &box;
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	CU_ASSERT_EQUAL_FATAL(store_open(store, options, NULL), STATUS_OK);
}

static void close_reading(struct store *store)
{
	store_close(store);
	mailbox_drain(&box);
	mailbox_release(&box);
}

enum { SLOW_MS = 1000 /* whoever waits for a server that is silent waits for two seconds */ };

/* One after the other, each awaited: how many of them were slow. A busy machine makes one or the other slow, too. */
static int slow_of(struct store *store, int n, bool small, enum status wanted)
{
	int slow = 0;

	for (int i = 0; i < n; i++) {
		struct store_op op = {.run = read_something, .done = done, .small = small};
		uint64_t start = clock_mono_ms(), took;
		dones = 0;
		store_read(store, &op);
		while (dones == 0) {
			struct pollfd ready = {.fd = box.fd, .events = POLLIN};
			poll(&ready, 1, 50);
			mailbox_drain(&box);
			store_expire(store, clock_mono_ms());
		}
		/* Nobody took it in time: that it was known is not said, only that it did not wait. */
		CU_ASSERT(op.status == wanted || (wanted == STATUS_UNAVAILABLE && op.status == STATUS_BUSY));
		took = clock_mono_ms() - start;
		slow += took > SLOW_MS;
	}
	return slow;
}

/* The primary is well: what becomes of the replica costs reads a second or two once, not each of them. */
static void a_silent_replica_delays_nobody(void)
{
	enum { FEW = 20 /* of 80 and more */ };
	static struct between between;
	char url[600];
	struct store *store;
	int slow = 0;

	if (!database_is_postgres())
		return;
	db_close(test_database("replica.db"));
	open_between(&between, "replica.db", url, sizeof(url));
	struct store_options options = {
		.url = database_url("replica.db"), .read_url = str_of(url), .deadline_ms = 60000};
	/* Silent from the first. */
	atomic_store(&between.deaf, true);
	open_reading(&store, &options);
	for (int i = 0; i < 40; i++)
		slow += slow_of(store, 2, i % 2, STATUS_OK);
	CU_ASSERT(slow <= FEW);
	CU_ASSERT_EQUAL(atomic_load(&between.passed), 0);
	/* It speaks: it is read after a while, though nobody waits for that either. */
	atomic_store(&between.deaf, false);
	uint64_t end = clock_mono_ms() + 60000;
	while (atomic_load(&between.passed) < 20000 && clock_mono_ms() < end)
		slow += slow_of(store, 2, true, STATUS_OK);
	CU_ASSERT(slow <= 2 * FEW);
	CU_ASSERT(atomic_load(&between.passed) >= 20000);
	/* Silent in the middle. */
	atomic_store(&between.deaf, true);
	slow = 0;
	for (int i = 0; i < 100; i++)
		slow += slow_of(store, 2, i % 2, STATUS_OK);
	CU_ASSERT(slow <= FEW); /* of which one found out */
	close_reading(store);
	close_between(&between);
}

/* Without an answer of the only server reads fail soon, and what still waits is told so in time. */
static void a_silent_server_is_told_of_in_time(void)
{
	enum { READS = 60, DEADLINE_MS = 500, TAKEN = 20 /* by the reading threads, on a busy machine */ };
	static struct store_op ops[READS];
	static struct between between;
	char url[600];
	struct store *store;
	int busy = 0;

	if (!database_is_postgres())
		return;
	db_close(test_database("silent.db"));
	open_between(&between, "silent.db", url, sizeof(url));
	struct store_options options = {.url = str_of(url), .deadline_ms = DEADLINE_MS};
	open_reading(&store, &options);
	atomic_store(&between.deaf, true); /* before the reading threads are connected */
	dones = 0;
	for (int i = 0; i < READS; i++) {
		ops[i] = (struct store_op){.run = read_something, .done = done};
		store_read(store, &ops[i]);
	}
	uint64_t start = clock_mono_ms(), last = start, gap = 0, now;
	while (dones < READS - 4 && last - start < TEST_PATIENCE_MS) {
		struct pollfd ready = {.fd = box.fd, .events = POLLIN};
		poll(&ready, 1, 20);
		mailbox_drain(&box);
		now = clock_mono_ms();
		gap = now - last > gap ? now - last : gap;
		last = now;
		store_expire(store, now);
	}
	CU_ASSERT(dones >= READS - 4);
	while (dones < READS) {
		struct pollfd ready = {.fd = box.fd, .events = POLLIN};
		poll(&ready, 1, 20);
		mailbox_drain(&box);
	}
	for (int i = 0; i < READS; i++)
		busy += ops[i].status == STATUS_BUSY;
	CU_ASSERT(busy >= READS - TAKEN ||
		  gap >= 2 * DEADLINE_MS); /* nobody looked in between: the threads told them */
	/* Somebody tries every half second, for two; nobody waits behind. */
	int slow = 0;
	for (int i = 0; i < 30; i++)
		slow += slow_of(store, 1, i % 2, STATUS_UNAVAILABLE);
	CU_ASSERT(slow <= 15); /* half of them */
	atomic_store(&between.deaf, false);
	close_reading(store);
	close_between(&between);
}

/* --- a client that goes silent in a transaction --- */

static void begin_a_copy(struct db *db, struct db_copy **copy)
{
	static const char *const names[] = {"topic", "value"};
	const struct db_value row[] = {{.type = DB_TEXT, .bytes = STR("copied")}, {.type = DB_I64, .i64 = 1}};

	test_begin(db);
	OK(generations_bump(db, STR("written"), NULL));
	CU_ASSERT_EQUAL_FATAL(db_copy_begin(db, "generations", names, 2, copy, NULL), STATUS_OK);
	OK(db_copy_row(*copy, row, NULL));
}

/* What it holds is everybody's: to the server, in the midst of a pipeline, it is as active as one that computes. */
static void a_silent_writer_is_ended(void)
{
	struct db *silent = test_database("stalled.db"), *copying = test_open("stalled.db", DB_WRITE);
	struct db *reading = test_open("stalled.db", DB_READ), *looking = test_open("stalled.db", DB_READ);
	uint64_t until_ms = clock_mono_ms() + 20000;
	struct db_stalled stalled = {0};
	struct db_copy *copy;
	int64_t change = 0;

	test_begin(silent);
	OK(tasks_begin_change(silent, &change, NULL));
	CU_ASSERT_EQUAL(change, 1);
	if (database_is_postgres()) {
		begin_a_copy(copying, &copy);
		OK(db_begin_read(reading, NULL));
		CU_ASSERT_EQUAL(test_number(reading, "SELECT count(*) FROM predictions"), 0);
		OK(db_end_stalled(looking, 600 * 1000, &stalled, NULL));
		CU_ASSERT_EQUAL(stalled.ended, 0); /* not yet */
		while (stalled.ended == 0 && clock_mono_ms() < until_ms)
			OK(db_end_stalled(looking, 0, &stalled, NULL));
		CU_ASSERT_EQUAL(stalled.ended, 1);
		CU_ASSERT(stalled.pid > 0 && stalled.client[0]);
		int64_t ended = stalled.pid;
		do { /* it was only told to end: on a busy machine it is seen for a while */
			OK(db_end_stalled(looking, 0, &stalled, NULL));
			CU_ASSERT(stalled.ended == 0 || (stalled.ended == 1 && stalled.pid == ended));
		} while (stalled.ended > 0 && clock_mono_ms() < until_ms);
		CU_ASSERT_EQUAL(stalled.ended, 0);
		OK(db_copy_end(copy, NULL)); /* those that are fed, and those that only read, are left alone */
		test_commit(copying);
		db_end_read(reading);
		CU_ASSERT_NOT_EQUAL(db_commit(silent, NULL), STATUS_OK);
		db_turn_give(silent);
		CU_ASSERT_EQUAL(test_number(looking, "SELECT count(*) FROM generations WHERE topic = 'task_changes'"),
				0);
		test_begin(silent); /* it goes on with a new connection */
		OK(tasks_begin_change(silent, &change, NULL));
		CU_ASSERT_EQUAL(change, 1);
	} else {
		OK(db_end_stalled(looking, 0, &stalled, NULL));
		CU_ASSERT_EQUAL(stalled.ended, 0);
	}
	test_commit(silent);
	db_close(silent);
	db_close(copying);
	db_close(reading);
	db_close(looking);
}

static void settings_are(struct db *db, const char *lock, const char *idle)
{
	static const char sql[] =
		"SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')";
	struct stmt *stmt;
	bool row = false;

	OK(db_prepare(db, sql, &stmt, NULL));
	OK(db_step(stmt, &row, NULL));
	CU_ASSERT_TRUE_FATAL(row);
	CU_ASSERT_TRUE(str_eq(db_column_text(stmt, 0), str_of(lock)));
	CU_ASSERT_TRUE(str_eq(db_column_text(stmt, 1), str_of(idle)));
	db_reset(stmt);
}

/* The connection's own limits are lost behind a pooler, and what is not a transaction's would be the next client's. */
static void limits_go_through_a_pooler(void)
{
	struct db *db;
	char url[600];

	if (!database_is_postgres())
		return;
	db_close(test_database("limits.db"));
	struct str real = database_url("limits.db");
	snprintf(url, sizeof(url),
		 "%.*s?options=-c%%20lock_timeout%%3D0%%20-c%%20idle_in_transaction_session_timeout%%3D0",
		 STR_ARG(real));
	CU_ASSERT_EQUAL_FATAL(db_open(&db, str_of(url), DB_WRITE, NULL), STATUS_OK);
	((struct pg_db *)db)->anonymous = true;
	test_begin(db);
	settings_are(db, PG_LOCK_TIMEOUT, PG_IDLE_TIMEOUT);
	test_commit(db);
	settings_are(db, "0", "0");
	db_close(db);
}

/* Whether the statement's present plan reads the whole table. */
static bool reads_all(struct db *db, const char *sql)
{
	struct pg_db *pg = (struct pg_db *)db;
	static char explain[2][100];
	static int turn;
	char *text = explain[turn++ % 2];
	struct stmt *stmt;
	bool all = false, row = true;

	for (int i = 0; i < pg->n_texts; i++)
		if (pg->texts[i].sql == sql)
			snprintf(text, sizeof(explain[0]), "EXPLAIN EXECUTE %s ('x')", pg->texts[i].name);
	OK(db_prepare(db, text, &stmt, NULL));
	while (row && db_step(stmt, &row, NULL) == STATUS_OK)
		all |= row && strstr(db_column_text(stmt, 0).p, "Seq Scan");
	db_reset(stmt);
	return all;
}

static void look_for_a_task(struct db *db, const char *sql)
{
	struct stmt *stmt;

	OK(db_prepare(db, sql, &stmt, NULL));
	db_bind_text(stmt, 1, STR("x"));
	OK(db_run(stmt, NULL, NULL));
}

/* A queue was empty when its statements were prepared, and is long now. */
static void plans_follow_their_tables(void)
{
	static const char sql[] = "SELECT status FROM background_tasks WHERE task_id = $1";
	static const char fill[] = "INSERT INTO background_tasks (task_id, task_type, status, created_at, updated_at)"
				   " SELECT i::text, 'echo', 'completed', '', '' FROM generate_series(1, 5000) i";

	if (!database_is_postgres())
		return;
	for (int writing = 0; writing < 2; writing++) {
		struct db *db = test_database(writing ? "plans.db" : "plans_read.db");
		((struct pg_db *)db)->plans_ms = UINT64_MAX; /* not yet */
		OK(db_script(db, "VACUUM ANALYZE background_tasks", NULL));
		for (int i = 0; i < 8; i++)
			look_for_a_task(db, sql);
		OK(db_script(db, fill, NULL));
		look_for_a_task(db, sql);
		CU_ASSERT_TRUE(reads_all(db, sql));
		((struct pg_db *)db)->plans_ms = 0;
		if (writing)
			test_begin(db);
		look_for_a_task(db, sql);
		if (writing)
			test_commit(db);
		CU_ASSERT_FALSE(reads_all(db, sql));
		CU_ASSERT(((struct pg_db *)db)->plans_ms > 0);
		db_close(db);
	}
}

static const struct unit_case CASES[] = {
	{"plans follow their tables", plans_follow_their_tables},
	{"limits go through a pooler", limits_go_through_a_pooler},
	{"a silent writer is ended", a_silent_writer_is_ended},
	{"secrets are cut out", secrets_are_cut_out},
	{"a silent replica delays nobody", a_silent_replica_delays_nobody},
	{"a silent server is told of in time", a_silent_server_is_told_of_in_time},
	{"tasks share a transaction", tasks_share_a_transaction},
	{"a failing script harms nobody", a_failing_script_harms_nobody},
	{"a lost connection is tried again", a_lost_connection_is_tried_again},
	{"slow statements end", slow_statements_end},
	{"weeks take what was there", weeks_take_what_was_there},
};

int main(void)
{
	return UNIT_RUN("db_pg", CASES);
}
