/* Migrations. */
#include "store_helpers.h"

#include <sodium.h>

struct notes {
	int n;
	char text[256]; /* "+1 +2 …" */
};

static void note(void *arg, const struct migration *migration, bool up, const char *sql)
{
	struct notes *notes = arg;
	size_t used = strlen(notes->text);

	CU_ASSERT_PTR_EQUAL(sql, up ? migration->up : migration->down);
	notes->n++;
	snprintf(notes->text + used, sizeof(notes->text) - used, "%c%d ", up ? '+' : '-', migration->number);
}

/* Those of all migrations, of which some make several, and the list of migrations. */
enum { ALL_TABLES = 1 + 21 };

static int64_t tables(struct db *db)
{
	static const char sqlite[] =
		"SELECT count(*) FROM sqlite_schema WHERE type = 'table'"
		" AND name NOT LIKE 'data\\_search\\_%' ESCAPE '\\'", /* the full-text index's own */
		postgres[] = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
			     " AND relkind IN ('r', 'p') AND NOT relispartition";

	return test_number(db, database_is_postgres() ? postgres : sqlite);
}

static const char ALTER[] = "UPDATE schema_migrations SET checksum = 'x' WHERE number = 2";
static const char NEWER[] =
	"INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (99, 'later', 'x', 'y')";

static enum db_dialect dialect(void)
{
	return database_is_postgres() ? DB_DIALECT_POSTGRESQL : DB_DIALECT_SQLITE;
}

static int known(void)
{
	int n;

	migrate_all(dialect(), &n);
	return n;
}

static void embedded_table_is_whole(void)
{
	int n;
	const struct migration *all = migrate_all(dialect(), &n);

	CU_ASSERT_TRUE(n >= 4);
	for (int i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(all[i].number, i + 1);
		CU_ASSERT_TRUE(all[i].name[0] && all[i].up[0] && all[i].down[0]);
	}
	CU_ASSERT_STRING_EQUAL(all[0].name, "predictions");
	CU_ASSERT_PTR_NOT_NULL(strstr(all[0].up, "CREATE TABLE predictions"));
}

static void up_down_up(void)
{
	struct db *db = test_open("updown.db", DB_WRITE);
	struct notes notes = {0};
	int ran = -1, number = -1;

	OK(migrate_current(db, &number, NULL));
	CU_ASSERT_EQUAL(number, 0);
	OK(migrate_up(db, 2, false, note, &notes, &ran, NULL));
	CU_ASSERT_EQUAL(ran, 2);
	CU_ASSERT_STRING_EQUAL(notes.text, "+1 +2 ");
	OK(migrate_current(db, &number, NULL));
	CU_ASSERT_EQUAL(number, 2);
	OK(migrate_up(db, 0, false, NULL, NULL, &ran, NULL));
	CU_ASSERT_EQUAL(ran, known() - 2);
	OK(migrate_up(db, 0, false, NULL, NULL, &ran, NULL));
	CU_ASSERT_EQUAL(ran, 0);
	notes = (struct notes){0};
	OK(migrate_down(db, known() - 1, false, note, &notes, &ran, NULL));
	CU_ASSERT_EQUAL(ran, 1);
	OK(migrate_down(db, 0, false, note, &notes, &ran, NULL));
	CU_ASSERT_EQUAL(ran, known() - 1);
	CU_ASSERT_EQUAL(notes.n, known());
	CU_ASSERT_EQUAL(tables(db), 1);
	OK(migrate_down(db, 0, false, note, &notes, &ran, NULL));
	CU_ASSERT_EQUAL(ran, 0);
	OK(migrate_up(db, 0, false, NULL, NULL, &ran, NULL));
	CU_ASSERT_EQUAL(ran, known());
	CU_ASSERT_EQUAL(tables(db), ALL_TABLES);
	db_close(db);
}

static void dry_runs_change_nothing(void)
{
	struct db *db = test_open("dry.db", DB_WRITE);
	struct notes up = {0}, down = {0};
	int ran;

	OK(migrate_up(db, 0, true, note, &up, &ran, NULL));
	CU_ASSERT_EQUAL(ran, known());
	CU_ASSERT_EQUAL(up.n, known());
	CU_ASSERT_EQUAL(tables(db), 0);
	OK(migrate_up(db, 3, false, NULL, NULL, NULL, NULL));
	struct db *reader = test_open("dry.db", DB_READ);
	OK(migrate_down(reader, 1, true, note, &down, &ran, NULL));
	CU_ASSERT_EQUAL(ran, 2);
	CU_ASSERT_STRING_EQUAL(down.text, "-3 -2 ");
	CU_ASSERT_EQUAL(tables(db), 4);
	db_close(reader);
	db_close(db);
}

/* BLAKE2b-256 over both texts, each with its NUL. */
static void checksums_cover_up_and_down(void)
{
	struct db *db = test_open("sums.db", DB_WRITE);
	struct migrate_record records[16];
	int n;
	const struct migration *all = migrate_all(dialect(), &n);

	OK(migrate_history(db, records, 16, &n, NULL));
	for (int i = 0; i < n; i++) {
		size_t up = strlen(all[i].up) + 1, down = strlen(all[i].down) + 1;
		uint8_t *both = malloc(up + down), hash[32];
		char hex[65];
		CU_ASSERT_PTR_NOT_NULL_FATAL(both);
		memcpy(both, all[i].up, up);
		memcpy(both + up, all[i].down, down);
		crypto_generichash(hash, sizeof(hash), both, up + down, NULL, 0);
		hex_format(hash, sizeof(hash), hex);
		CU_ASSERT_STRING_EQUAL(records[i].checksum, hex);
		free(both);
	}
	db_close(db);
}

static void history_tells(void)
{
	struct db *db = test_open("history.db", DB_WRITE);
	struct migrate_record records[16];
	int n;

	OK(migrate_history(db, records, 16, &n, NULL));
	CU_ASSERT_EQUAL(n, known());
	CU_ASSERT_STRING_EQUAL(records[0].applied_at, "");
	OK(migrate_up(db, 2, false, NULL, NULL, NULL, NULL));
	test_begin(db);
	OK(db_script(db, ALTER, NULL));
	OK(db_script(db, NEWER, NULL));
	test_commit(db);
	OK(migrate_history(db, records, 16, &n, NULL));
	CU_ASSERT_EQUAL_FATAL(n, known() + 1);
	CU_ASSERT_TRUE(records[0].known && !records[0].altered && strlen(records[0].applied_at) == 32);
	CU_ASSERT_EQUAL(strlen(records[0].checksum), 64);
	CU_ASSERT_TRUE(records[1].known && records[1].altered);
	CU_ASSERT_TRUE(records[2].known && records[2].applied_at[0] == '\0');
	CU_ASSERT_TRUE(!records[n - 1].known && records[n - 1].number == 99);
	CU_ASSERT_STRING_EQUAL(records[n - 1].name, "later");
	OK(migrate_history(db, records, 1, &n, NULL));
	CU_ASSERT_EQUAL(n, 1);
	db_close(db);
}

static void refuses_altered_and_newer(void)
{
	static const struct {
		const char *sql, *says;
	} cases[] = {{ALTER, "migration 2 (generations) was altered"}, {NEWER, "newer than this program"}};

	for (int i = 0; i < 2; i++) {
		char name[32];
		struct err err = {0};
		int ran = -1;
		snprintf(name, sizeof(name), "refuse%d.db", i);
		struct db *db = test_open(name, DB_WRITE);
		OK(migrate_up(db, 3, false, NULL, NULL, NULL, NULL));
		test_begin(db);
		OK(db_script(db, cases[i].sql, NULL));
		test_commit(db);
		for (int dry = 0; dry < 2; dry++) {
			IS(migrate_up(db, 0, dry, NULL, NULL, &ran, &err), STATUS_CONFLICT);
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
			IS(migrate_down(db, 0, dry, NULL, NULL, &ran, &err), STATUS_CONFLICT);
			CU_ASSERT_EQUAL(ran, 0);
		}
		CU_ASSERT_EQUAL(tables(db), 4);
		db_close(db);
	}
}

static void some_have_no_way_back(void)
{
	struct migration migration = {.number = 1, .name = "x", .up = "", .down = "DROP TABLE x;"};
	struct migrate_record records[16];
	struct db *db = test_open("back.db", DB_WRITE);
	size_t length;
	int n;

	CU_ASSERT_PTR_NULL(migrate_irreversible(&migration, &length));
	migration.down = "-- irreversible: names are gone\nSELECT 1;\n";
	const char *why = migrate_irreversible(&migration, &length);
	CU_ASSERT_PTR_NOT_NULL_FATAL(why);
	CU_ASSERT_EQUAL(length, strlen("names are gone"));
	CU_ASSERT_EQUAL(strncmp(why, "names are gone", length), 0);
	OK(migrate_history(db, records, 16, &n, NULL));
	CU_ASSERT_TRUE(n > 1 && records[1].reversible);
	db_close(db);
}

/* The database has a table of that name from elsewhere: nothing of the step stays. */
static void a_failing_step_leaves_nothing(void)
{
	struct db *db = test_open("fail.db", DB_WRITE);
	struct err err = {0};
	int number, ran;

	test_begin(db);
	OK(db_script(db, "CREATE TABLE x (a TEXT); CREATE INDEX idx_predictions_created_at ON x (a)", NULL));
	test_commit(db);
	CU_ASSERT_NOT_EQUAL(migrate_up(db, 0, false, NULL, NULL, &ran, &err), STATUS_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "migration 1 (predictions): "));
	CU_ASSERT_EQUAL(ran, 0);
	OK(migrate_current(db, &number, NULL));
	CU_ASSERT_EQUAL(number, 0);
	CU_ASSERT_EQUAL(tables(db), 1);
	OK(db_turn_take(db, 0, NULL)); /* the turn was given back */
	db_turn_give(db);
	db_close(db);
}

/* Leaves with the number of steps it ran. */
static int migrate_in_child(void *arg)
{
	int ran = 0, *start = arg;
	char go;

	if (read(start[0], &go, 1) != 1)
		return 100;
	struct db *db = test_open("race.db", DB_WRITE);
	if (migrate_up(db, 0, false, NULL, NULL, &ran, NULL) != STATUS_OK)
		return 101;
	db_close(db);
	return ran;
}

static void processes_that_start_at_once_migrate_once(void)
{
	enum { CHILDREN = 4 };
	pid_t children[CHILDREN];
	int start[2], sum = 0;

	database_url("race.db"); /* before there are children */
	CU_ASSERT_EQUAL_FATAL(pipe(start), 0);
	for (int i = 0; i < CHILDREN; i++)
		children[i] = test_fork(migrate_in_child, start);
	CU_ASSERT_EQUAL(write(start[1], "gogo", CHILDREN), CHILDREN);
	for (int i = 0; i < CHILDREN; i++)
		sum += test_wait(children[i]);
	CU_ASSERT_EQUAL(sum, known());
	close(start[0]);
	close(start[1]);
	struct db *db = test_open("race.db", DB_READ);
	CU_ASSERT_EQUAL(tables(db), ALL_TABLES);
	db_close(db);
}

/* What migrations to come may do to a table with rows, on both engines: a rename is no drop and add (B-062, B-063). */
static void columns_are_renamed_and_added_with_their_rows(void)
{
	static const char rows[] =
		"INSERT INTO users (id, email, username, hashed_password, email_key, username_key) VALUES"
		" (1, 'a@x.org', 'a', 'h', 'a@x.org', 'a'), (2, 'b@x.org', 'b', 'h', 'b@x.org', 'b')";
	struct db *db = test_open("columns.db", DB_WRITE);

	OK(migrate_up(db, 0, false, NULL, NULL, NULL, NULL));
	test_begin(db);
	OK(db_script(db, rows, NULL));
	OK(db_script(db, "ALTER TABLE users RENAME COLUMN username TO user_name", NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM users WHERE user_name IN ('a', 'b')"), 2);
	OK(db_script(db, "ALTER TABLE users ADD COLUMN phone_number VARCHAR(20)", NULL));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM users WHERE phone_number IS NULL"), 2);
	test_commit(db);
	test_begin(db);
	OK(db_script(db, "ALTER TABLE users DROP COLUMN phone_number", NULL));
	OK(db_script(db, "ALTER TABLE users RENAME COLUMN user_name TO username", NULL));
	test_commit(db);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM users WHERE username IN ('a', 'b') AND is_active = 1"),
			2);
	/* What the table fills in by itself (B-046). */
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM users WHERE is_superuser = 0 AND created_at LIKE '20%T%'"
					" AND created_at = updated_at"),
			2);
	test_begin(db);
	IS(db_script(db,
		     "INSERT INTO users (id, email, username, hashed_password, email_key, username_key) VALUES"
		     " (3, 'c@x.org', 'c', 'h', 'a@x.org', 'c')",
		     NULL),
	   STATUS_CONFLICT);
	db_rollback(db);
	db_turn_give(db);
	db_close(db);
}

static const struct unit_case CASES[] = {
	{"the embedded table is whole", embedded_table_is_whole},
	{"up, down, up", up_down_up},
	{"dry runs change nothing", dry_runs_change_nothing},
	{"checksums cover up and down", checksums_cover_up_and_down},
	{"history tells applied, pending, altered, unknown", history_tells},
	{"refuses altered and newer", refuses_altered_and_newer},
	{"some have no way back", some_have_no_way_back},
	{"a failing step leaves nothing", a_failing_step_leaves_nothing},
	{"processes that start at once migrate once", processes_that_start_at_once_migrate_once},
	{"columns are renamed and added with their rows", columns_are_renamed_and_added_with_their_rows},
};

int main(void)
{
	return UNIT_RUN("migrate", CASES);
}
