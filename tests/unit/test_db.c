/* The seam to the database, with SQLite behind it. */
#include "store_helpers.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const char COUNT[] = "SELECT count(*) FROM predictions";

static void write_file(const char *path, const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0)
		abort();
}

static int mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (int)(st.st_mode & 07777) : -1;
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : -1;
}

/* Saves the rows prefix-0 … prefix-(n-1), `batch` a transaction. */
static bool save_rows(struct db *db, const char *prefix, int n, int batch)
{
	for (int i = 0; i < n;) {
		if (db_turn_take(db, TEST_PATIENCE_MS, NULL) != STATUS_OK || db_begin(db, NULL) != STATUS_OK)
			return false;
		for (int k = 0; k < batch && i < n; k++, i++) {
			char id[64];
			bool repeated;
			snprintf(id, sizeof(id), "%s-%06d", prefix, i);
			if (test_save(db, id, &repeated, NULL) != STATUS_OK || repeated)
				return false;
		}
		if (db_commit(db, NULL) != STATUS_OK || db_checkpoint(db, 100, NULL, NULL) != STATUS_OK)
			return false;
		db_turn_give(db);
	}
	return true;
}

/* --- opening --- */

static void urls(void)
{
	static const struct {
		const char *url;
		enum status status;
	} cases[] = {
		{"", STATUS_INVALID},
		{"sqlite", STATUS_INVALID},
		{"sqlite:", STATUS_INVALID},
		{"sqlite://", STATUS_INVALID},
		{"sqlite:///", STATUS_INVALID},
		{"sqlite:////", STATUS_INVALID},
		{"sqlite:///data/", STATUS_INVALID},
		{"sqlite://host/x.db", STATUS_INVALID},
		{"sqlite:///:memory:", STATUS_INVALID},
		{"sqlite:///x.db?mode=ro", STATUS_INVALID},
		{"sqlite:///x.db#a", STATUS_INVALID},
		{"postgresql://user:secret@localhost:port/db", STATUS_INVALID},
		{"postgresql://user:sec@ret@localhost/secret", STATUS_INVALID}, /* wants %40 */
		{"postgresql://user:secret@127.0.0.1:1/db", STATUS_UNAVAILABLE},
		{"postgresql://user:secret@nowhere.invalid/db", STATUS_UNAVAILABLE},
		{"postgresql://user:secret@127.0.0.1/db?no_such_option=1", STATUS_INVALID},
		{"redis://", STATUS_INVALID},
		{"sqlite:////nowhere/at/all/x.db", STATUS_UNAVAILABLE},
		{"sqlite:////proc/x/x.db", STATUS_UNAVAILABLE},
	};
	struct db *db = NULL;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {0};
		IS(db_open(&db, str_of(cases[i].url), DB_READ, &err), cases[i].status);
		CU_ASSERT_PTR_NULL(db);
		CU_ASSERT_TRUE(err.text[0] != '\0' && !strstr(err.text, "secret"));
	}
	char *longer = calloc(1, 8000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(longer);
	memset(longer, 'x', 7999);
	memcpy(longer, "sqlite:///", 10);
	IS(db_open(&db, str_of(longer), DB_WRITE, NULL), STATUS_INVALID);
	free(longer);
	IS(db_open(&db, STR("sqlite:///a\0b"), DB_WRITE, NULL), STATUS_INVALID);
	db_close(NULL);
}

static void relative_to_the_working_directory(void)
{
	if (database_skips("paths of files"))
		return;
	char old[1024];
	struct db *db;
	struct db_info info;

	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(old, sizeof(old)));
	CU_ASSERT_EQUAL_FATAL(chdir(unit_temp_dir()), 0);
	OK(db_open(&db, STR("sqlite:///rel/data.db"), DB_WRITE, NULL));
	CU_ASSERT_EQUAL_FATAL(chdir(old), 0);
	db_info(db, &info);
	CU_ASSERT_STRING_EQUAL(info.location, test_path("rel/data.db"));
	OK(db_ping(db, NULL));
	db_close(db);
}

static void modes_whatever_the_umask(void)
{
	if (database_skips("modes of files"))
		return;
	static const mode_t masks[] = {0, 022, 077, 0777};

	for (size_t i = 0; i < 4; i++) {
		char name[64];
		struct db *db;
		mode_t old = umask(masks[i]);
		snprintf(name, sizeof(name), "modes%zu/deep/x.db", i);
		enum status status = db_open(&db, database_url(name), DB_WRITE, NULL);
		if (status == STATUS_OK)
			status = db_turn_take(db, 0, NULL);
		umask(old);
		IS(status, STATUS_OK);
		db_close(db);
		CU_ASSERT_EQUAL(mode_of(test_path(name)), 0640);
		snprintf(name, sizeof(name), "modes%zu/deep/x.db-turn", i);
		CU_ASSERT_EQUAL(mode_of(test_path(name)), 0640);
		snprintf(name, sizeof(name), "modes%zu/deep/x.db-wal", i);
		CU_ASSERT_TRUE(mode_of(test_path(name)) == 0640 || mode_of(test_path(name)) == -1);
		snprintf(name, sizeof(name), "modes%zu/deep", i);
		CU_ASSERT_EQUAL(mode_of(test_path(name)), 0750);
		snprintf(name, sizeof(name), "modes%zu", i);
		CU_ASSERT_EQUAL(mode_of(test_path(name)), 0750);
	}
}

static void what_is_no_database_of_ours(void)
{
	if (database_skips("files that are no database"))
		return;
	struct db *db;
	sqlite3 *other;
	char garbage[5000];

	IS(db_open(&db, database_url("none.db"), DB_READ, NULL), STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(mode_of(test_path("none.db")), -1);
	write_file(test_path("file"), "x", 1);
	IS(db_open(&db, database_url("file/x.db"), DB_WRITE, NULL), STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(mkdir(test_path("dir.db"), 0755), 0);
	IS(db_open(&db, database_url("dir.db"), DB_WRITE, NULL), STATUS_UNAVAILABLE);
	memset(garbage, 'g', sizeof(garbage));
	write_file(test_path("garbage.db"), garbage, sizeof(garbage));
	IS(db_open(&db, database_url("garbage.db"), DB_WRITE, NULL), STATUS_UNAVAILABLE);
	IS(db_open(&db, database_url("garbage.db"), DB_READ, NULL), STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL_FATAL(sqlite3_open(test_path("other.db"), &other), SQLITE_OK);
	sqlite3_exec(other, "PRAGMA application_id=77; CREATE TABLE t (a)", NULL, NULL, NULL);
	sqlite3_close(other);
	IS(db_open(&db, database_url("other.db"), DB_WRITE, NULL), STATUS_INVALID);
	IS(db_open(&db, database_url("other.db"), DB_READ, NULL), STATUS_INVALID);
}

static void settings_of_every_connection(void)
{
	if (database_skips("PRAGMA settings"))
		return;
	static const struct {
		const char *sql;
		int64_t read, write;
	} cases[] = {
		{"PRAGMA synchronous", 2, 2},
		{"PRAGMA wal_autocheckpoint", 0, 0},
		{"PRAGMA mmap_size", 0, 0},
		{"PRAGMA temp_store", 2, 2},
		{"PRAGMA foreign_keys", 1, 1},
		{"PRAGMA trusted_schema", 0, 0},
		{"PRAGMA cell_size_check", 1, 1},
		{"PRAGMA query_only", 1, 0},
		{"PRAGMA cache_size", -2048, -2048},
		{"SELECT journal_mode = 'wal' FROM pragma_journal_mode", 1, 1},
		{"PRAGMA application_id", 0x61706372, 0x61706372},
	};
	struct db *writer = test_open("settings.db", DB_WRITE), *reader = test_open("settings.db", DB_READ);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_EQUAL(test_number(writer, cases[i].sql), cases[i].write);
		CU_ASSERT_EQUAL(test_number(reader, cases[i].sql), cases[i].read);
	}
	/* Reads only, even by mistake and even when told otherwise. */
	struct stmt *stmt;
	OK(db_script(reader, "PRAGMA query_only=OFF", NULL));
	OK(db_prepare(reader, "CREATE TABLE t (a)", &stmt, NULL));
	IS(db_run(stmt, NULL, NULL), STATUS_UNAVAILABLE);
	db_close(reader);
	db_close(writer);
}

/* --- statements --- */

static void values_come_back(void)
{
	static const char sqlite[] = "SELECT $1, $2, $3, $4, $5, $6, $7",
			  postgres[] =
				  "SELECT $1::text, $2::text, $3::text, $4::bytea, $5::bigint, $6::float8, $7::text";
	const char *sql = database_is_postgres() ? postgres : sqlite;
	struct str text = database_is_postgres() ? STR("a\xc3\xa4'\\") : STR("a\0b"); /* no NUL in PostgreSQL's */
	struct db *db = test_open("values.db", DB_WRITE);
	struct stmt *stmt, *same;
	bool row;

	OK(db_prepare(db, sql, &stmt, NULL));
	db_bind_text(stmt, 1, text);
	db_bind_text(stmt, 2, (struct str){0});
	db_bind_null(stmt, 3);
	db_bind_blob(stmt, 4, "\0\xff", 2);
	db_bind_i64(stmt, 5, INT64_MIN);
	db_bind_double(stmt, 6, 0.1);
	OK(db_step(stmt, &row, NULL));
	CU_ASSERT_TRUE(row);
	CU_ASSERT_TRUE(str_eq(db_column_text(stmt, 0), text));
	CU_ASSERT_TRUE(db_column_text(stmt, 1).n == 0 && db_column_text(stmt, 1).p && !db_column_is_null(stmt, 1));
	CU_ASSERT_TRUE(db_column_is_null(stmt, 2) && !db_column_text(stmt, 2).p && db_column_i64(stmt, 2) == 0);
	CU_ASSERT_TRUE(str_eq(db_column_blob(stmt, 3), STR("\0\xff")));
	CU_ASSERT_EQUAL(db_column_i64(stmt, 4), INT64_MIN);
	CU_ASSERT_EQUAL(db_column_double(stmt, 5), 0.1);
	CU_ASSERT_TRUE(db_column_is_null(stmt, 6));
	OK(db_step(stmt, &row, NULL));
	CU_ASSERT_FALSE(row);
	db_reset(stmt);
	/* Kept by the address of its text, and without the old bindings. */
	OK(db_prepare(db, sql, &same, NULL));
	CU_ASSERT_PTR_EQUAL(same, stmt);
	OK(db_step(same, &row, NULL));
	CU_ASSERT_TRUE(db_column_is_null(same, 0));
	db_reset(same);
	/* Wrong SQL is told at once, or by the first step. */
	enum status status = db_prepare(db, "SELEKT", &stmt, NULL);
	IS(status == STATUS_OK ? db_step(stmt, &row, NULL) : status, STATUS_INTERNAL);
	OK(db_prepare(db, "SELECT $1", &stmt, NULL));
	db_bind_i64(stmt, 2, 1); /* there is no such parameter: told by the step */
	CU_ASSERT_NOT_EQUAL(db_step(stmt, &row, NULL), STATUS_OK);
	db_close(db);
}

static void a_statement_in_one_call(void)
{
	static const char insert[] = "INSERT INTO plain (i, t, b, d, n) VALUES ($1, $2, $3, $4, $5)",
			  move[] = "UPDATE plain SET i = i + $1", wrong[] = "UPDATE plain SET j = 1",
			  read[] = "SELECT i, t, b, d, n FROM plain";
	struct db *db = test_open("once.db", DB_WRITE);
	struct stmt *stmt;
	int64_t changed = 7;
	bool row;

	test_begin(db);
	OK(db_script(db,
		     database_is_postgres()
			     ? "CREATE TABLE plain (i BIGINT, t TEXT, b BYTEA, d DOUBLE PRECISION, n TEXT)"
			     : "CREATE TABLE plain (i INTEGER, t TEXT, b BLOB, d REAL, n TEXT)",
		     NULL));
	for (int64_t i = 0; i < 2; i++)
		OK(db_run_once(db, insert,
			       DB_VALUES(db_i64(i), db_text(STR("a\xc3\xa4")), db_blob("\0\xff", 2), db_double(0.1),
					 (struct db_value){.type = DB_TEXT, .null = true}),
			       NULL, NULL));
	OK(db_run_once(db, move, DB_VALUES(db_i64(40)), &changed, NULL));
	CU_ASSERT_EQUAL(changed, 2);
	OK(db_prepare(db, read, &stmt, NULL));
	OK(db_step(stmt, &row, NULL));
	CU_ASSERT_TRUE(row);
	CU_ASSERT_EQUAL(db_column_i64(stmt, 0), 40);
	CU_ASSERT_TRUE(str_eq(db_column_text(stmt, 1), STR("a\xc3\xa4")));
	CU_ASSERT_TRUE(str_eq(db_column_blob(stmt, 2), STR("\0\xff")));
	CU_ASSERT_EQUAL(db_column_double(stmt, 3), 0.1);
	CU_ASSERT_TRUE(db_column_is_null(stmt, 4));
	db_reset(stmt);
	IS(db_run_once(db, wrong, NULL, 0, &changed, NULL), STATUS_INTERNAL);
	CU_ASSERT_EQUAL(changed, 0);
	db_rollback(db);
	db_turn_give(db);
	db_close(db);
}

static void failing_second_statement_rolls_back(void)
{
	static const char insert[] = "INSERT INTO generations (topic, value) VALUES ($1, 1)";
	struct db *db = test_database("rollback.db");
	struct stmt *stmt;
	int64_t changed;

	test_begin(db);
	OK(db_prepare(db, insert, &stmt, NULL));
	db_bind_text(stmt, 1, STR("a"));
	OK(db_run(stmt, &changed, NULL));
	CU_ASSERT_EQUAL(changed, 1);
	OK(db_prepare(db, insert, &stmt, NULL));
	db_bind_text(stmt, 1, STR("a"));
	IS(db_run(stmt, &changed, NULL), STATUS_CONFLICT);
	CU_ASSERT_EQUAL(changed, 0);
	CU_ASSERT_TRUE(db_in_transaction(db));
	db_rollback(db);
	CU_ASSERT_FALSE(db_in_transaction(db));
	db_rollback(db); /* harmless */
	IS(db_commit(db, NULL), STATUS_UNAVAILABLE);
	db_turn_give(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM generations"), 0);
	db_close(db);
}

static void parts_are_taken_back_alone(void)
{
	struct db *db = test_database("parts.db");
	bool repeated, has;

	test_begin(db);
	for (int i = 0; i < 6; i++) {
		char id[20];
		int64_t before = db_changes(db);
		snprintf(id, sizeof(id), "id-%d", i);
		OK(db_part_begin(db, NULL));
		OK(test_save(db, id, &repeated, NULL));
		CU_ASSERT_EQUAL(db_changes(db), before + 1);
		OK(i % 2 ? db_part_keep(db, NULL) : db_part_undo(db, NULL));
	}
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, COUNT), 3);
	OK(db_has_table(db, "predictions", &has, NULL));
	CU_ASSERT_TRUE(has);
	OK(db_has_table(db, "prediction", &has, NULL));
	CU_ASSERT_FALSE(has);
	IS(db_part_undo(db, NULL), STATUS_UNAVAILABLE);
	db_close(db);
}

static void a_read_transaction_is_one_moment(void)
{
	struct db *writer = test_database("moment.db"), *reader = test_open("moment.db", DB_READ);

	OK(db_begin_read(reader, NULL));
	CU_ASSERT_EQUAL(test_number(reader, COUNT), 0);
	CU_ASSERT_TRUE(save_rows(writer, "x", 5, 5));
	CU_ASSERT_EQUAL(test_number(reader, COUNT), 0);
	db_end_read(reader);
	CU_ASSERT_EQUAL(test_number(reader, COUNT), 5);
	db_close(reader);
	db_close(writer);
}

/* --- turns and other processes --- */

struct child {
	const char *name, *prefix;
	int ready[2];
};

static int write_rows_in_child(void *arg)
{
	const struct child *child = arg;
	struct db *db = test_open(child->name, DB_WRITE);
	bool ok = save_rows(db, child->prefix, 2000, 7);

	db_close(db);
	return ok ? 0 : 1;
}

static void two_processes_take_turns(void)
{
	struct child a = {.name = "turns.db", .prefix = "a"}, b = {.name = "turns.db", .prefix = "b"};

	db_close(test_database("turns.db"));
	pid_t first = test_fork(write_rows_in_child, &a), second = test_fork(write_rows_in_child, &b);
	CU_ASSERT_EQUAL(test_wait(first), 0);
	CU_ASSERT_EQUAL(test_wait(second), 0);
	struct db *db = test_open("turns.db", DB_READ);
	CU_ASSERT_EQUAL(test_number(db, COUNT), 4000);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(DISTINCT id) FROM predictions WHERE id LIKE 'a-%'"), 2000);
	OK(db_integrity(db, NULL));
	db_close(db);
}

static void another_programs_lock_is_busy(void)
{
	if (database_skips("BEGIN EXCLUSIVE of a file"))
		return;
	struct db *db = test_database("busy.db");
	sqlite3 *other;

	CU_ASSERT_EQUAL_FATAL(sqlite3_open(test_path("busy.db"), &other), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	OK(db_turn_take(db, 0, NULL));
	/* At once; a busy machine may take its time now and then, but not each time. */
	uint64_t took = UINT64_MAX;
	for (int tries = 0; tries < 20 && took >= 1000; tries++) {
		uint64_t start = clock_mono_ms();
		IS(db_begin(db, NULL), STATUS_BUSY);
		took = clock_mono_ms() - start;
	}
	CU_ASSERT_TRUE(took < 1000);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	OK(db_begin(db, NULL));
	test_commit(db);
	db_close(db);
}

/* --- the disk --- */

static void a_full_database_is_unavailable(void)
{
	if (database_skips("PRAGMA max_page_count"))
		return;
	struct db *db = test_database("pages.db");
	enum status status = STATUS_OK;
	bool repeated;

	CU_ASSERT_TRUE(save_rows(db, "before", 10, 10));
	int64_t pages = test_number(db, "PRAGMA page_count");
	char limit[64];
	snprintf(limit, sizeof(limit), "PRAGMA max_page_count=%d", (int)pages + 2);
	OK(db_script(db, limit, NULL));
	test_begin(db);
	for (int i = 0; i < 1000 && status == STATUS_OK; i++) {
		char id[32];
		snprintf(id, sizeof(id), "full-%d", i);
		status = test_save(db, id, &repeated, NULL);
	}
	IS(status, STATUS_UNAVAILABLE);
	db_rollback(db);
	db_turn_give(db);
	CU_ASSERT_EQUAL(test_number(db, COUNT), 10);
	OK(db_script(db, "PRAGMA max_page_count=1000000", NULL));
	CU_ASSERT_TRUE(save_rows(db, "after", 1000, 1000));
	CU_ASSERT_EQUAL(test_number(db, COUNT), 1010);
	db_close(db);
}

/* Rows that no file of that size holds, whose names fit into a pipe. */
enum { GROW_MOST = 20000 };

/* Files may not grow past 200 kB more than the log of a new database has. Leaves with 0 when writing failed as it
 * should. */
static int outgrow_in_child(void *arg)
{
	const struct child *child = arg;
	rlim_t most = (rlim_t)size_of(test_path("grow.db-wal")) + 200000;
	struct rlimit limit = {most, most};
	struct db *db = test_open(child->name, DB_WRITE);
	enum status status = STATUS_OK;

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	for (int i = 0; i < GROW_MOST; i++) {
		char id[40] = "";
		bool repeated;
		snprintf(id, sizeof(id), "grow-%06d", i);
		if (db_turn_take(db, TEST_PATIENCE_MS, NULL) != STATUS_OK || db_begin(db, NULL) != STATUS_OK)
			return 1;
		status = test_save(db, id, &repeated, NULL);
		if (status == STATUS_OK)
			status = db_commit(db, NULL);
		if (status != STATUS_OK)
			break;
		db_turn_give(db);
		if (write(child->ready[1], id, sizeof(id)) != sizeof(id))
			return 2;
	}
	return status == STATUS_UNAVAILABLE || status == STATUS_UNKNOWN_OUTCOME ? 0 : 3;
}

static void a_file_that_may_not_grow(void)
{
	if (database_skips("the size of files is the server's"))
		return;
	struct child child = {.name = "grow.db"};
	int acknowledged = 0, missing = 0;
	char id[40];
	bool repeated;

	db_close(test_database("grow.db"));
	CU_ASSERT_EQUAL_FATAL(pipe(child.ready), 0);
	fcntl(child.ready[0], F_SETPIPE_SZ, 1 << 20);
	pid_t pid = test_fork(outgrow_in_child, &child);
	close(child.ready[1]);
	CU_ASSERT_EQUAL(test_wait(pid), 0);
	struct db *db = test_open("grow.db", DB_WRITE);
	OK(db_integrity(db, NULL));
	test_begin(db);
	while (read(child.ready[0], id, sizeof(id)) == sizeof(id)) {
		acknowledged++;
		OK(test_save(db, id, &repeated, NULL));
		missing += !repeated;
	}
	db_rollback(db);
	db_turn_give(db);
	CU_ASSERT_TRUE(acknowledged > 0 && acknowledged < GROW_MOST);
	CU_ASSERT_EQUAL(missing, 0);
	db_close(db);
	close(child.ready[0]);
}

static enum status save_one(struct db *db, void *arg, struct err *err)
{
	struct prediction row = {.id = str_of(arg), .features = STR("[1]")};
	bool repeated;

	return predictions_save(db, &row, &repeated, NULL, NULL, err);
}

static enum status save_and_fail(struct db *db, void *arg, struct err *err)
{
	enum status status = save_one(db, arg, err);

	return status == STATUS_OK ? err_set(err, STATUS_INVALID, "no") : status;
}

/* Steps are seen at once, one that fails leaves nothing, and who comes after them has its commits synced as ever. */
static void steps_need_no_turn_for_the_disk(void)
{
	struct db *db = test_database("steps.db"), *other = test_open("steps.db", DB_WRITE);
	char first[] = "first", second[] = "second", third[] = "third";

	OK(db_transact_aside(db, -1, save_one, first, NULL));
	CU_ASSERT_EQUAL(test_number(other, COUNT), 1);
	IS(db_transact_aside(db, -1, save_and_fail, second, NULL), STATUS_INVALID);
	CU_ASSERT_EQUAL(test_number(other, COUNT), 1);
	if (!database_is_postgres()) {
		CU_ASSERT_EQUAL(test_number(db, "PRAGMA synchronous"), 1);
		CU_ASSERT_FALSE(db_turn_holder(other) > 0);
	}
	OK(db_transact(db, -1, save_one, third, NULL));
	if (!database_is_postgres())
		CU_ASSERT_EQUAL(test_number(db, "PRAGMA synchronous"), 2);
	CU_ASSERT_EQUAL(test_number(other, COUNT), 2);
	db_close(other);
	db_close(db);
}

static void the_log_moves_when_told(void)
{
	if (database_skips("the log is the server's"))
		return;
	struct db *db = test_database("log.db");
	bool done = true;
	struct db_info before, after;

	CU_ASSERT_TRUE(save_rows(db, "x", 50, 50));
	OK(db_turn_take(db, 0, NULL));
	OK(db_checkpoint(db, 1000000, &done, NULL));
	CU_ASSERT_FALSE(done);
	db_info(db, &before);
	OK(db_checkpoint(db, 0, &done, NULL));
	CU_ASSERT_TRUE(done);
	db_info(db, &after);
	CU_ASSERT_TRUE(after.database_bytes >= before.database_bytes && after.log_bytes > 0);
	db_turn_give(db);
	db_close(db);
	CU_ASSERT_TRUE(size_of(test_path("log.db-wal")) > 0); /* closing does not checkpoint */
}

/* A log that outgrew its bound while a reader was in it is cut once the reader is gone. */
static void a_long_log_is_cut(void)
{
	if (database_skips("the log is the server's"))
		return;
	struct db *db = test_database("long.db"), *reader = test_open("long.db", DB_READ);
	static char text[100000];
	bool done;

	memset(text, 'x', sizeof(text));
	OK(db_begin_read(reader, NULL));
	CU_ASSERT_EQUAL(test_number(reader, COUNT), 0);
	for (int i = 0; i < 10; i++) {
		test_begin(db);
		for (int k = 0; k < 70; k++) {
			char id[32];
			bool repeated;
			snprintf(id, sizeof(id), "%d-%d", i, k);
			struct prediction row = {.id = str_of(id), .features = {text, sizeof(text)}};
			OK(predictions_save(db, &row, &repeated, NULL, NULL, NULL));
		}
		OK(db_commit(db, NULL));
		OK(db_checkpoint(db, 1000, &done, NULL));
		db_turn_give(db);
	}
	CU_ASSERT_TRUE(size_of(test_path("long.db-wal")) > 64 << 20);
	db_end_read(reader);
	test_begin(db);
	OK(db_commit(db, NULL));
	OK(db_checkpoint(db, 0, &done, NULL));
	db_turn_give(db);
	CU_ASSERT_EQUAL(size_of(test_path("long.db-wal")), 0);
	OK(db_ping(reader, NULL));
	CU_ASSERT_EQUAL(test_number(reader, COUNT), 700);
	db_close(reader);
	db_close(db);
}

/* Writes on until a checkpoint that is made beside writers has been finished, but not so much that it is made in a turn
 * for the log's length. */
static bool finish_aside(struct db *db)
{
	uint64_t end = clock_mono_ms() + 60 * 1000;
	bool done = false;

	for (int i = 0; !done && i < 1000 && clock_mono_ms() < end; i++) {
		char id[64];
		bool repeated;
		snprintf(id, sizeof(id), "more-%06d", i);
		test_begin(db);
		if (test_save(db, id, &repeated, NULL) != STATUS_OK || db_commit(db, NULL) != STATUS_OK ||
		    db_checkpoint(db, 100, &done, NULL) != STATUS_OK)
			return false;
		db_turn_give(db);
		test_sleep_ms(1 + i / 10);
	}
	return done;
}

static void copy_file(const char *from, const char *to)
{
	static char bytes[1 << 16];
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	size_t n;

	if (!in || !out)
		abort();
	while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
		if (fwrite(bytes, 1, n, out) != n)
			abort();
	fclose(in);
	fclose(out);
}

/* Two processes write and move the log at once, a reader looks on; at the end the file alone has it all. */
static void a_log_is_moved_beside_writers(void)
{
	if (database_skips("the log is the server's"))
		return;
	int status;

	db_close(test_database("aside.db"));
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		struct db *own = test_open("aside.db", DB_WRITE);
		bool good = db_checkpoint_aside(own, true, NULL) == STATUS_OK && save_rows(own, "child", 2000, 10);
		db_close(own);
		_exit(good ? 0 : 1);
	}
	struct db *db = test_open("aside.db", DB_WRITE), *second = test_open("aside.db", DB_WRITE);
	struct db *reader = test_open("aside.db", DB_READ);
	OK(db_checkpoint_aside(db, false, NULL));
	OK(db_checkpoint_aside(second, true, NULL)); /* the same thread */
	for (int i = 0; i < 20; i++) {
		char prefix[16];
		snprintf(prefix, sizeof(prefix), "p%d", i);
		CU_ASSERT_TRUE(save_rows(i % 2 ? db : second, prefix, 100, 10));
		CU_ASSERT_TRUE(test_number(reader, COUNT) >= 100 * (i + 1));
	}
	CU_ASSERT_TRUE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CU_ASSERT_TRUE(finish_aside(db));
	int64_t rows = test_number(reader, COUNT);
	CU_ASSERT_TRUE(rows > 4000);
	OK(db_integrity(db, NULL));
	db_close(reader);
	db_close(second);
	db_close(db);
	copy_file(test_path("aside.db"), test_path("aside-alone.db"));
	db = test_open("aside-alone.db", DB_WRITE);
	CU_ASSERT_EQUAL(test_number(db, COUNT), rows);
	OK(db_integrity(db, NULL));
	db_close(db);
}

/* Whether a process has a lock on the file: of POSIX on the byte, or (byte < 0) one of flock(2) or of an open file,
 * which proc_locks(5) gives no owner. */
static bool has_lock(pid_t pid, const char *path, int byte)
{
	FILE *file = fopen("/proc/locks", "r");
	char line[160], kind[16];
	struct stat st;
	bool found = false;

	if (!file || stat(path, &st) != 0)
		abort();
	while (!found && fgets(line, sizeof(line), file)) {
		unsigned long inode, first;
		int owner;
		if (strstr(line, "->") ||
		    sscanf(line, "%*d: %15s %*s %*s %d %*x:%*x:%lu %lu", kind, &owner, &inode, &first) != 4)
			continue;
		found = inode == st.st_ino &&
			(byte < 0 ? strcmp(kind, "OFDLCK") == 0 || (owner == pid && strcmp(kind, "FLOCK") == 0)
				  : owner == pid && strcmp(kind, "POSIX") == 0 && first == (unsigned long)byte);
	}
	fclose(file);
	return found;
}

/* Stops a process in the midst of moving the log, when it has no turn, waits for none, and keeps nobody from one. */
static bool stop_copier(pid_t pid)
{
	enum { CHECKPOINT_LOCK = 121 }; /* https://sqlite.org/walformat.html#wal_locks */
	uint64_t end = clock_mono_ms() + 60 * 1000;

	while (clock_mono_ms() < end) {
		int status;
		test_sleep_ms(1);
		if (!has_lock(pid, test_path("stop.db-shm"), CHECKPOINT_LOCK))
			continue;
		if (kill(pid, SIGSTOP) != 0 || waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
			return false;
		if (has_lock(pid, test_path("stop.db-shm"), CHECKPOINT_LOCK) &&
		    !has_lock(pid, test_path("stop.db-turn"), -1) && !has_lock(pid, test_path("stop.db-gate"), -1))
			return true;
		kill(pid, SIGCONT);
	}
	return false;
}

/* Who is stopped or dies while it moves the log keeps nobody from writing, and the log is short again when it is gone.
 */
static void who_moves_the_log_may_be_stopped(void)
{
	if (database_skips("the log is the server's"))
		return;
	enum { LONG = 65 << 20 };
	static char text[100000];
	int status;

	db_close(test_database("stop.db"));
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		struct db *own = test_open("stop.db", DB_WRITE);
		if (db_checkpoint_aside(own, true, NULL) != STATUS_OK)
			_exit(1);
		for (int i = 0;; i++) {
			char prefix[32];
			snprintf(prefix, sizeof(prefix), "child%d", i);
			if (!save_rows(own, prefix, 100, 25))
				_exit(1);
		}
	}
	struct db *db = test_open("stop.db", DB_WRITE), *reader = test_open("stop.db", DB_READ);
	OK(db_checkpoint_aside(db, false, NULL));
	CU_ASSERT_TRUE_FATAL(stop_copier(child));
	memset(text, 'x', sizeof(text));
	for (int i = 0; size_of(test_path("stop.db-wal")) < LONG && i < 100; i++) {
		bool done;
		test_begin(db);
		for (int k = 0; k < 20; k++) {
			char id[32];
			bool repeated;
			snprintf(id, sizeof(id), "long-%d-%d", i, k);
			struct prediction row = {.id = str_of(id), .features = {text, sizeof(text)}};
			OK(predictions_save(db, &row, &repeated, NULL, NULL, NULL));
		}
		OK(db_commit(db, NULL));
		OK(db_checkpoint(db, 100, &done, NULL));
		db_turn_give(db);
	}
	CU_ASSERT_TRUE(size_of(test_path("stop.db-wal")) >= LONG); /* nobody else can move it */
	int64_t rows = test_number(reader, COUNT);
	kill(child, SIGKILL);
	CU_ASSERT_TRUE(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	int after = 0;
	for (uint64_t end = clock_mono_ms() + 60 * 1000; after == 0 || size_of(test_path("stop.db-wal")) > 0; after++) {
		char prefix[32];
		snprintf(prefix, sizeof(prefix), "after%d", after);
		if (!save_rows(db, prefix, 1, 1) || clock_mono_ms() > end)
			break;
	}
	CU_ASSERT_EQUAL(size_of(test_path("stop.db-wal")), 0);
	CU_ASSERT_EQUAL(test_number(reader, COUNT), rows + after);
	OK(db_integrity(db, NULL));
	db_close(reader);
	db_close(db);
}

static void ping_notices_a_replaced_file(void)
{
	if (database_skips("files that are moved away"))
		return;
	struct db *db = test_database("ping.db");

	OK(db_ping(db, NULL));
	CU_ASSERT_EQUAL(rename(test_path("ping.db"), test_path("ping.old")), 0);
	IS(db_ping(db, NULL), STATUS_UNAVAILABLE);
	write_file(test_path("ping.db"), "", 0);
	IS(db_ping(db, NULL), STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(rename(test_path("ping.old"), test_path("ping.db")), 0);
	OK(db_ping(db, NULL));
	CU_ASSERT_EQUAL(unlink(test_path("ping.db-wal")), 0);
	IS(db_ping(db, NULL), STATUS_UNAVAILABLE);
	db_close(db);
}

/* --- copies --- */

static void backup_while_writing_then_restore(void)
{
	if (database_skips("copies are made with PostgreSQL's own tools"))
		return;
	struct child child = {.name = "live.db", .prefix = "w"};
	struct stat st;

	db_close(test_database("live.db"));
	pid_t pid = test_fork(write_rows_in_child, &child);
	struct db *db = test_open("live.db", DB_READ);
	while (test_number(db, COUNT) < 200)
		test_sleep_ms(1);
	OK(db_backup(db, test_path("copy.db"), NULL));
	IS(db_backup(db, test_path("copy.db"), NULL), STATUS_CONFLICT);
	IS(db_backup(db, "/nowhere/at/all.db", NULL), STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(test_wait(pid), 0);
	CU_ASSERT_EQUAL(test_number(db, COUNT), 2000);
	CU_ASSERT_TRUE(stat(test_path("copy.db"), &st) == 0 && (st.st_mode & 07777) == 0600);
	IS(db_restore(database_url("live.db"), test_path("copy.db"), NULL), STATUS_CONFLICT);
	db_close(db);
	/* The log of the old database is not empty and must not be played into the new one. */
	CU_ASSERT_TRUE(size_of(test_path("live.db-wal")) > 0);
	OK(db_restore(database_url("live.db"), test_path("copy.db"), NULL));
	CU_ASSERT_EQUAL(mode_of(test_path("live.db")), 0640);
	db = test_open("live.db", DB_WRITE);
	int64_t n = test_number(db, COUNT);
	CU_ASSERT_TRUE(n >= 200 && n <= 2000);
	CU_ASSERT_EQUAL(n % 7, n == 2000 ? 2000 % 7 : 0); /* whole transactions, a moment: the first n */
	CU_ASSERT_EQUAL(test_number(db, "SELECT max(id) = printf('w-%06d', count(*) - 1) FROM predictions"), 1);
	OK(db_integrity(db, NULL));
	CU_ASSERT_TRUE(save_rows(db, "later", 100, 10));
	db_close(db);
}

static int open_in_child(void *arg)
{
	const struct child *child = arg;
	struct db *db = test_open(child->name, DB_READ);

	if (write(child->ready[1], "x", 1) != 1)
		return 1;
	for (;;)
		pause();
	db_close(db);
}

static void restore_is_refused_while_open_elsewhere(void)
{
	if (database_skips("copies are made with PostgreSQL's own tools"))
		return;
	struct child child = {.name = "opened.db"};
	char x;
	struct db *db = test_database("opened.db");

	OK(db_backup(db, test_path("opened.copy"), NULL));
	db_close(db);
	CU_ASSERT_EQUAL_FATAL(pipe(child.ready), 0);
	pid_t pid = test_fork(open_in_child, &child);
	CU_ASSERT_EQUAL(read(child.ready[0], &x, 1), 1);
	IS(db_restore(database_url("opened.db"), test_path("opened.copy"), NULL), STATUS_CONFLICT);
	kill(pid, SIGKILL);
	test_wait(pid);
	OK(db_restore(database_url("opened.db"), test_path("opened.copy"), NULL));
	OK(db_restore(database_url("fresh/place.db"), test_path("opened.copy"), NULL));
	db = test_open("fresh/place.db", DB_WRITE);
	CU_ASSERT_EQUAL(test_number(db, COUNT), 0);
	db_close(db);
	close(child.ready[0]);
	close(child.ready[1]);
}

/* Turns over the middle of the file. */
static void damage(const char *path)
{
	int fd = open(path, O_RDWR);
	char junk[6000];
	off_t half = size_of(path) / 2;

	memset(junk, 0xa5, sizeof(junk));
	CU_ASSERT_EQUAL(pwrite(fd, junk, sizeof(junk), half), (ssize_t)sizeof(junk));
	close(fd);
}

static void damaged_and_foreign_copies_are_refused(void)
{
	if (database_skips("copies are made with PostgreSQL's own tools"))
		return;
	static const char *const names[] = {"bad.damaged", "bad.cut",  "bad.text",  "bad.foreign",
					    "bad.empty",   "bad.live", "bad.there", "bad.db"};
	struct db *db = test_database("bad.db");
	sqlite3 *other;
	struct stat st;

	CU_ASSERT_TRUE(save_rows(db, "x", 500, 500));
	OK(db_backup(db, test_path("bad.damaged"), NULL));
	OK(db_backup(db, test_path("bad.cut"), NULL));
	OK(db_backup(db, test_path("bad.live"), NULL));
	db_close(db);
	damage(test_path("bad.damaged"));
	CU_ASSERT_EQUAL(truncate(test_path("bad.cut"), size_of(test_path("bad.cut")) / 2), 0);
	write_file(test_path("bad.text"), "hello, I am no database at all", 30);
	write_file(test_path("bad.empty"), "", 0);
	write_file(test_path("bad.live-wal"), "x", 1);
	CU_ASSERT_EQUAL_FATAL(sqlite3_open(test_path("bad.foreign"), &other), SQLITE_OK);
	sqlite3_exec(other, "CREATE TABLE predictions (a)", NULL, NULL, NULL);
	sqlite3_close(other);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct err err = {0};
		IS(db_restore(database_url("bad.db"), test_path(names[i]), &err), STATUS_INVALID);
		IS(err.status, STATUS_INVALID);
	}
	CU_ASSERT_NOT_EQUAL(stat(test_path("bad.db-restore"), &st), 0);
	db = test_open("bad.db", DB_READ);
	CU_ASSERT_EQUAL(test_number(db, COUNT), 500);
	OK(db_integrity(db, NULL));
	db_close(db);
}

static void damage_is_found(void)
{
	if (database_skips("the files are the server's"))
		return;
	struct db *db = test_database("damage.db");

	/* Enough that the middle of the file is theirs, not the schema's. */
	CU_ASSERT_TRUE(save_rows(db, "x", 5000, 500));
	OK(db_integrity(db, NULL));
	OK(db_turn_take(db, 0, NULL));
	OK(db_checkpoint(db, 0, NULL, NULL));
	db_close(db);
	CU_ASSERT_EQUAL(unlink(test_path("damage.db-wal")), 0); /* which has a whole copy of each page */
	CU_ASSERT_TRUE(size_of(test_path("damage.db")) > 500000);
	damage(test_path("damage.db"));
	db = test_open("damage.db", DB_READ);
	IS(db_integrity(db, NULL), STATUS_UNAVAILABLE);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"urls", urls},
	{"relative to the working directory", relative_to_the_working_directory},
	{"modes whatever the umask", modes_whatever_the_umask},
	{"what is no database of ours", what_is_no_database_of_ours},
	{"settings of every connection", settings_of_every_connection},
	{"values come back", values_come_back},
	{"a statement in one call", a_statement_in_one_call},
	{"a failing second statement rolls back", failing_second_statement_rolls_back},
	{"parts are taken back alone", parts_are_taken_back_alone},
	{"a read transaction is one moment", a_read_transaction_is_one_moment},
	{"two processes take turns", two_processes_take_turns},
	{"another program's lock is busy", another_programs_lock_is_busy},
	{"a full database is unavailable", a_full_database_is_unavailable},
	{"a file that may not grow", a_file_that_may_not_grow},
	{"steps need no turn for the disk", steps_need_no_turn_for_the_disk},
	{"the log moves when told", the_log_moves_when_told},
	{"a long log is cut", a_long_log_is_cut},
	{"a log is moved beside writers", a_log_is_moved_beside_writers},
	{"who moves the log may be stopped", who_moves_the_log_may_be_stopped},
	{"ping notices a replaced file", ping_notices_a_replaced_file},
	{"backup while writing, then restore", backup_while_writing_then_restore},
	{"restore is refused while open elsewhere", restore_is_refused_while_open_elsewhere},
	{"damaged and foreign copies are refused", damaged_and_foreign_copies_are_refused},
	{"damage is found", damage_is_found},
};

int main(void)
{
	return UNIT_RUN("db", CASES);
}
