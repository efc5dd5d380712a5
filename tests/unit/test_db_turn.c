/* The turn to write, and the line of those who wait for it. */
#include "store_helpers.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>

static int hold_turn_in_child(void *arg)
{
	int *ready = arg;
	struct db *db = test_open("hold.db", DB_WRITE);

	if (db_turn_take(db, -1, NULL) != STATUS_OK || write(ready[1], "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void a_turn_is_waited_for_and_survives_its_holder(void)
{
	if (database_skips("PostgreSQL has no turns"))
		return;
	struct err err = {0};
	int ready[2];
	char x;

	db_close(test_open("hold.db", DB_WRITE)); /* in this process's folder */
	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	pid_t pid = test_fork(hold_turn_in_child, ready);
	CU_ASSERT_EQUAL(read(ready[0], &x, 1), 1);
	struct db *db = test_open("hold.db", DB_WRITE);
	uint64_t start = clock_mono_ms();
	CU_ASSERT_EQUAL(db_turn_holder(db), pid);
	IS(db_turn_take(db, 0, &err), STATUS_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "process "));
	IS(db_turn_take(db, 60, &err), STATUS_BUSY);
	CU_ASSERT_TRUE(clock_mono_ms() - start >= 60 && clock_mono_ms() - start < TEST_PATIENCE_MS);
	kill(pid, SIGKILL);
	OK(db_turn_take(db, -1, &err));
	CU_ASSERT_EQUAL(test_wait(pid), 1000 + SIGKILL);
	db_turn_give(db);
	db_close(db);
	close(ready[0]);
	close(ready[1]);
}

static bool terminal_may_stop(void)
{
	sigset_t mask;

	CU_ASSERT_EQUAL(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
	CU_ASSERT_EQUAL(sigismember(&mask, SIGTSTP), sigismember(&mask, SIGTTIN));
	CU_ASSERT_EQUAL(sigismember(&mask, SIGTSTP), sigismember(&mask, SIGTTOU));
	return !sigismember(&mask, SIGTSTP);
}

static void a_terminal_does_not_stop_who_has_the_turn(void)
{
	if (database_skips("PostgreSQL has no turns"))
		return;
	struct db *a = test_open("stops.db", DB_WRITE), *b = test_open("stops.db", DB_WRITE);

	CU_ASSERT_EQUAL(db_turn_holder(a), 0);
	OK(db_turn_take(a, 0, NULL));
	CU_ASSERT_FALSE(terminal_may_stop());
	CU_ASSERT_EQUAL(db_turn_holder(b), getpid());
	db_turn_give(a);
	CU_ASSERT_TRUE(terminal_may_stop());
	CU_ASSERT_EQUAL(db_turn_holder(b), 0);
	OK(db_turn_take(b, 0, NULL));
	db_close(b);
	CU_ASSERT_TRUE(terminal_may_stop());
	int gate = open(test_path("stops.db-gate"), O_RDONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL(flock(gate, LOCK_EX), 0);
	CU_ASSERT_EQUAL(db_turn_holder(a), getpid()); /* who is first in line keeps the others from it, too */
	close(gate);
	b = test_open("stops.db", DB_WRITE);
	CU_ASSERT_EQUAL(unlink(test_path("stops.db-turn")) | symlink("none/at/all", test_path("stops.db-turn")), 0);
	IS(db_turn_take(b, 0, NULL), STATUS_UNAVAILABLE);
	CU_ASSERT_TRUE(terminal_may_stop());
	db_close(b);
	db_close(a);
}

/* Somebody cleans up lock files: both sides must find the new one. */
static void a_removed_lock_file_is_noticed(void)
{
	if (database_skips("PostgreSQL has no turns"))
		return;
	struct db *a = test_open("removed.db", DB_WRITE), *b = test_open("removed.db", DB_WRITE);

	OK(db_turn_take(a, 0, NULL));
	db_turn_give(a);
	CU_ASSERT_EQUAL(unlink(test_path("removed.db-turn")), 0);
	OK(db_turn_take(b, 0, NULL));
	IS(db_turn_take(a, 0, NULL), STATUS_BUSY);
	db_turn_give(b);
	OK(db_turn_take(a, 0, NULL));
	IS(db_turn_take(b, 0, NULL), STATUS_BUSY);
	db_close(a); /* gives it as well */
	OK(db_turn_take(b, 0, NULL));
	db_close(b);
}

/* --- the line --- */

static atomic_int order; /* of those who got the turn */

struct waiter {
	struct db *db;
	pthread_t thread;
	int nth; /* when the turn was its own */
};

static void *wait_for_turn(void *arg)
{
	struct waiter *waiter = arg;

	if (db_turn_take(waiter->db, -1, NULL) == STATUS_OK) {
		waiter->nth = atomic_fetch_add(&order, 1);
		db_turn_give(waiter->db);
	}
	return NULL;
}

/* Whether somebody has the gate (0) or a place before it. */
static bool is_taken(int gate, int place)
{
	struct flock byte = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};

	if (place > 0)
		return fcntl(gate, F_OFD_GETLK, &byte) == 0 && byte.l_type != F_UNLCK;
	if (flock(gate, LOCK_EX | LOCK_NB) != 0)
		return true;
	flock(gate, LOCK_UN);
	return false;
}

static void start_waiter(struct waiter *waiter, int gate, int place)
{
	waiter->nth = -1;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&waiter->thread, NULL, wait_for_turn, waiter), 0);
	for (int i = 0; i < TEST_PATIENCE_MS && !is_taken(gate, place); i++)
		test_sleep_ms(1);
	CU_ASSERT_TRUE_FATAL(is_taken(gate, place));
}

/* Who has just had the turn asks first, as a rule: it runs, and the others have to be woken. */
static void nobody_gets_in_before_those_who_wait(void)
{
	if (database_skips("PostgreSQL has no turns"))
		return;
	enum { WAITERS = 4, ROUNDS = 20 };
	struct waiter waiters[WAITERS];
	struct db *db = test_open("line.db", DB_WRITE);

	for (int i = 0; i < WAITERS; i++)
		waiters[i].db = test_open("line.db", DB_WRITE);
	bool late = false; /* so much that the line was passed */
	OK(db_turn_take(db, -1, NULL));
	int gate = open(test_path("line.db-gate"), O_RDWR | O_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(gate >= 0);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start = clock_mono_ms();
		atomic_store(&order, 0);
		for (int i = 0; i < WAITERS; i++)
			start_waiter(&waiters[i], gate, i);
		db_turn_give(db);
		OK(db_turn_take(db, -1, NULL));
		late = late || clock_mono_ms() - start > 2500;
		CU_ASSERT_TRUE(atomic_load(&order) == WAITERS || late);
		for (int i = 0; i < WAITERS; i++) {
			pthread_join(waiters[i].thread, NULL);
			CU_ASSERT_TRUE(waiters[i].nth == i || late || clock_mono_ms() - start > 2500);
		}
	}
	/* Who gives up waiting keeps nobody else from it. */
	IS(db_turn_take(waiters[0].db, 20, NULL), STATUS_BUSY);
	db_turn_give(db);
	for (int place = 0; place < WAITERS; place++)
		CU_ASSERT_TRUE(late || !is_taken(gate, place));
	OK(db_turn_take(waiters[1].db, 0, NULL));
	db_turn_give(waiters[1].db);
	close(gate);
	for (int i = 0; i < WAITERS; i++)
		db_close(waiters[i].db);
	db_close(db);
}

/* Somebody who was stopped in line keeps the others for a while, and not for ever. */
static void a_place_that_is_never_given_back_is_passed(void)
{
	if (database_skips("PostgreSQL has no turns"))
		return;
	struct db *db = test_database("stopped.db");

	OK(db_turn_take(db, -1, NULL));
	db_turn_give(db);
	int gate = open(test_path("stopped.db-gate"), O_RDWR | O_CLOEXEC);
	struct flock places = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 1};
	CU_ASSERT_EQUAL_FATAL(fcntl(gate, F_OFD_SETLK, &places), 0);
	OK(db_turn_take(db, 0, NULL));
	db_turn_give(db);
	uint64_t start = clock_mono_ms();
	OK(db_turn_take(db, -1, NULL));
	CU_ASSERT_TRUE(clock_mono_ms() - start >= 1000); /* it waits before it passes */
	db_turn_give(db);
	CU_ASSERT_FALSE(is_taken(gate, 4)); /* and leaves nothing behind */
	close(gate);
	db_close(db);
}

/* A step lets others go first, but not for ever: here somebody has the turn or waits for it all the time. */
static atomic_bool over;

static void *take_turns(void *arg)
{
	while (!atomic_load(&over)) {
		if (db_turn_take(arg, -1, NULL) != STATUS_OK)
			return NULL;
		test_sleep_ms(1);
		db_turn_give(arg);
	}
	return NULL;
}

static enum status change_nothing(struct db *db, void *arg, struct err *err)
{
	(void)db;
	(void)err;
	++*(int *)arg;
	return STATUS_OK;
}

static void a_step_gets_its_turn_among_others(void)
{
	if (database_skips("PostgreSQL has no turns"))
		return;
	struct db *db = test_database("step.db"), *others[3];
	pthread_t threads[3];
	int steps = 0;

	atomic_store(&over, false);
	for (int i = 0; i < 3; i++) {
		others[i] = test_open("step.db", DB_WRITE);
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, take_turns, others[i]), 0);
	}
	for (int i = 0; i < 10; i++)
		OK(db_transact_aside(db, -1, change_nothing, &steps, NULL));
	CU_ASSERT_EQUAL(steps, 10);
	atomic_store(&over, true);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		db_close(others[i]);
	}
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"a turn is waited for and survives its holder", a_turn_is_waited_for_and_survives_its_holder},
	{"a terminal does not stop who has the turn", a_terminal_does_not_stop_who_has_the_turn},
	{"a removed lock file is noticed", a_removed_lock_file_is_noticed},
	{"nobody gets in before those who wait", nobody_gets_in_before_those_who_wait},
	{"a place that is never given back is passed", a_place_that_is_never_given_back_is_passed},
	{"a step gets its turn among others", a_step_gets_its_turn_among_others},
};

int main(void)
{
	return UNIT_RUN("db turn", CASES);
}
