/* Moving the log beside writers when the disk is slow: who copies gives up, and all is done in a turn. A program of its
 * own, for the disk is made slow before the first database is opened. */
#include "store_helpers.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

enum { ROWS = 300, SLOW_MS = 100, AT_MOST = 100 /* writes of the copier: it has 2 s */ };

static const char COUNT[] = "SELECT count(*) FROM predictions";

/* --- a slow disk --- */

static sqlite3_vfs slow_vfs;
static const sqlite3_vfs *plain_vfs;
static sqlite3_io_methods slow_methods;
static const sqlite3_io_methods *plain_methods;
static pthread_t writer;
static atomic_bool is_slow;
static atomic_int of_copier, of_writer; /* pages that they have written into the database */

/* Nobody writes the database's own file but who moves the log. */
static int write_slowly(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
	if (pthread_equal(pthread_self(), writer)) {
		atomic_fetch_add(&of_writer, 1);
	} else {
		atomic_fetch_add(&of_copier, 1);
		if (atomic_load(&is_slow))
			test_sleep_ms(SLOW_MS);
	}
	return plain_methods->xWrite(file, p, n, at);
}

static int open_slowly(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	int rc = plain_vfs->xOpen(vfs, name, file, flags, out);

	if (rc != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB))
		return rc;
	if (!plain_methods) {
		plain_methods = file->pMethods;
		slow_methods = *plain_methods;
		slow_methods.xWrite = write_slowly;
	}
	file->pMethods = &slow_methods;
	return rc;
}

static void make_slow(void)
{
	plain_vfs = sqlite3_vfs_find(NULL);
	slow_vfs = *plain_vfs;
	slow_vfs.zName = "slow";
	slow_vfs.xOpen = open_slowly;
	writer = pthread_self();
	CU_ASSERT_EQUAL_FATAL(sqlite3_vfs_register(&slow_vfs, 1), SQLITE_OK);
}

/* --- */

static bool save(struct db *db, const char *prefix, int i, bool *moved)
{
	static char text[3000];
	char id[32];
	bool repeated;

	memset(text, 'x', sizeof(text));
	snprintf(id, sizeof(id), "%s-%06d", prefix, i);
	const struct prediction row = {.id = str_of(id), .features = {text, sizeof(text)}};
	test_begin(db);
	bool good = predictions_save(db, &row, &repeated, NULL, NULL, NULL) == STATUS_OK &&
		    db_commit(db, NULL) == STATUS_OK && db_checkpoint(db, 100, moved, NULL) == STATUS_OK;
	db_turn_give(db);
	return good;
}

/* Writes on, until the log was moved. */
static int write_until_moved(struct db *db, const char *prefix)
{
	uint64_t end = clock_mono_ms() + 120 * 1000;
	bool moved = false;
	int n = 0;

	while (!moved && clock_mono_ms() < end) {
		CU_ASSERT_TRUE_FATAL(save(db, prefix, n++, &moved));
		test_sleep_ms(20);
	}
	CU_ASSERT_TRUE(moved);
	return n;
}

static void a_copier_gives_up(void)
{
	if (database_skips("the log is the server's"))
		return;
	bool moved;

	make_slow();
	struct db *db = test_database("slow.db");
	OK(db_checkpoint_aside(db, false, NULL));
	atomic_store(&is_slow, true);
	atomic_store(&of_writer, 0);
	/* 300 pages at the least would take it half a minute. */
	for (int i = 0; i < ROWS; i++)
		CU_ASSERT_TRUE_FATAL(save(db, "first", i, &moved));
	int rows = ROWS + write_until_moved(db, "slow");
	CU_ASSERT_TRUE(atomic_load(&of_copier) > 0);
	CU_ASSERT_TRUE(atomic_load(&of_copier) < AT_MOST);
	CU_ASSERT_TRUE(atomic_load(&of_writer) >= ROWS - AT_MOST);
	/* Then it is tried beside writers again, and succeeds when the disk is well. */
	atomic_store(&is_slow, false);
	int before = atomic_load(&of_copier);
	for (int i = 0; i < ROWS; i++)
		CU_ASSERT_TRUE_FATAL(save(db, "later", i, &moved));
	rows += ROWS + write_until_moved(db, "well");
	CU_ASSERT_TRUE(atomic_load(&of_copier) > before);
	CU_ASSERT_EQUAL(test_number(db, COUNT), rows);
	OK(db_integrity(db, NULL));
	db_close(db);
	db = test_open("slow.db", DB_READ);
	CU_ASSERT_EQUAL(test_number(db, COUNT), rows);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"a copier gives up", a_copier_gives_up},
};

int main(void)
{
	return UNIT_RUN("db_aside", CASES);
}
