/* What the tests of lib/store share: databases (database.h), rows, forked processes. */
#ifndef APPCORE_TESTS_STORE_HELPERS_H
#define APPCORE_TESTS_STORE_HELPERS_H

#include "database.h"
#include "unit.h"

#include "base/clock.h"
#include "base/id.h"
#include "store/migrate.h"
#include "store/predictions.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OK(call)         CU_ASSERT_EQUAL((call), STATUS_OK)
#define IS(call, status) CU_ASSERT_EQUAL((call), (status))

/* The path of a file in the test's directory; valid for four calls. */
static inline const char *test_path(const char *name)
{
	static char paths[4][512];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", unit_temp_dir(), name);
	return path;
}

/* For how long something is waited for that is sure to happen, however busy the machine is. */
enum { TEST_PATIENCE_MS = 30 * 1000 };

/* For what the case cannot go on without. */
static inline void test_give_up(const char *what, const struct err *err)
{
	fflush(stdout); /* what CUnit has said so far */
	fprintf(stderr, "%s: %s\n", what, err->text);
	abort();
}

static inline void test_sleep_ms(int ms)
{
	struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&nap, NULL);
}

static inline struct db *test_open(const char *name, enum db_mode mode)
{
	uint64_t end_ms = clock_mono_ms() + TEST_PATIENCE_MS; /* a server on a busy machine may take longer than 2 s */
	enum status status;
	struct db *db;
	struct err err = {0};

	while ((status = db_open(&db, database_url(name), mode, &err)) == STATUS_UNAVAILABLE &&
	       database_is_postgres() && clock_mono_ms() < end_ms)
		test_sleep_ms(100);
	if (status != STATUS_OK)
		test_give_up(name, &err);
	return db;
}

/* A new database with all tables. */
static inline struct db *test_database(const char *name)
{
	struct db *db = test_open(name, DB_WRITE);
	struct err err = {0};

	if (migrate_up(db, 0, false, NULL, NULL, NULL, &err) != STATUS_OK)
		test_give_up(name, &err);
	return db;
}

static inline void test_begin(struct db *db)
{
	struct err err = {0};

	if (db_turn_take(db, TEST_PATIENCE_MS, &err) != STATUS_OK || db_begin(db, &err) != STATUS_OK)
		test_give_up("begin", &err);
}

static inline void test_commit(struct db *db)
{
	struct err err = {0};

	if (db_commit(db, &err) != STATUS_OK)
		test_give_up("commit", &err);
	db_turn_give(db);
}

/* The number that a query without parameters gives; -1 when it fails. The text must be static. */
static inline int64_t test_number(struct db *db, const char *sql)
{
	struct stmt *stmt;
	bool row;

	if (db_prepare(db, sql, &stmt, NULL) != STATUS_OK)
		return -1;
	int64_t n = db_step(stmt, &row, NULL) == STATUS_OK && row ? db_column_i64(stmt, 0) : -1;
	db_reset(stmt);
	return n;
}

/* Runs fn in a child, which leaves with its result. */
static inline pid_t test_fork(int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(arg));
	return pid;
}

/* The exit code of a child; 1000 + signal when it was killed. */
static inline int test_wait(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Saves a row that is told by its id alone. */
static inline enum status test_save(struct db *db, const char *id, bool *repeated, struct err *err)
{
	struct prediction row = {.id = str_of(id),
				 .features = STR("[1.0]"),
				 .result = 1,
				 .model_version = STR("v1.0"),
				 .created_at = STR("2026-01-01T00:00:00.000000+00:00")};

	return predictions_save(db, &row, repeated, NULL, NULL, err);
}

#endif
