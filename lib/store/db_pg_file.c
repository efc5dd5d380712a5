/* Copies of a PostgreSQL database, made and read by PostgreSQL's own programs pg_dump and pg_restore (Debian's
 * postgresql-client): a consistent snapshot while others write, in pg_dump's custom format.
 *
 * They change settings of their session, search_path above all. A pooler in transaction mode would hand that session to
 * the service next, which then finds none of its tables: so they go to the server itself, or not at all. */
#include "store/db_pg_impl.h"

#include "base/clock.h"
#include "store/new_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = PATH_MAX + 32, GONE_MS = 2000, LOOK_MS = 50 };

#define IS_OPEN "the database is open: stop what uses it first"

static enum status check_direct(const struct pg_db *db, struct err *err)
{
	return !db->anonymous ? STATUS_OK
			      : err_set(err, STATUS_INVALID,
					"a pooler (PgBouncer) stands before this server, and this command would "
					"leave its connections changed: set DATABASE_URL to the server's own address "
					"for it");
}

/* The argument that says where to connect; caller releases. */
static void put_dbname(struct buf *argument, const struct pg_place *place)
{
	buf_init_heap(argument);
	buf_fmt(argument, "--dbname=%s", place->conninfo.p);
	buf_char(argument, '\0');
}

static enum status dump(const char *url, const char *temp, struct err *err)
{
	char program[] = "pg_dump", format[] = "--format=custom", owner[] = "--no-owner", file[PATH_BYTES];
	struct pg_place place;
	struct buf dbname;
	enum status status;

	if (!pg_place_init(&place, url))
		return err_set(err, STATUS_NO_MEMORY, "no memory for a backup");
	put_dbname(&dbname, &place);
	snprintf(file, sizeof(file), "--file=%s", temp);
	char *const argv[] = {program, format, owner, file, dbname.p, NULL};
	status = dbname.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for a backup")
			       : pg_program_run(&place, argv, err);
	buf_release(&dbname);
	pg_place_release(&place);
	return status;
}

enum status pg_backup(struct db *base, const char *path, struct err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	char temp[PATH_MAX];

	enum status status = check_direct(db, err);
	if (status == STATUS_OK)
		status = new_file_make(path, temp, err);
	if (status != STATUS_OK)
		return status;
	status = dump(db->url, temp, err);
	if (status == STATUS_OK)
		return new_file_keep(temp, path, err);
	unlink(temp);
	return status;
}

/* --- restore --- */

/* Somebody else who is connected is a running service; all of ours say that they are (see start() in db_pg_conn.c). */
#define OTHERS                                                                                                         \
	"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"                                     \
	" AND application_name = '" PG_APPLICATION "' AND pid <> pg_backend_pid()"

static enum status count_others(struct db *db, int64_t *others, struct err *err)
{
	struct stmt *stmt;
	bool row;

	enum status status = db_prepare(db, OTHERS, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		*others = db_column_i64(stmt, 0);
	db_reset(stmt);
	return status;
}

/* The server's processes of a service that has just been stopped are there for a moment. */
static enum status check_alone(struct db *db, struct err *err)
{
	static const struct timespec nap = {.tv_nsec = LOOK_MS * 1000000L};
	uint64_t end_ms = clock_mono_ms() + GONE_MS;
	enum status status;
	int64_t others = 0;

	while ((status = count_others(db, &others, err)) == STATUS_OK && others > 0 && clock_mono_ms() < end_ms)
		(void)nanosleep(&nap, NULL);
	if (status == STATUS_OK && others > 0)
		return err_set(err, STATUS_CONFLICT, IS_OPEN ", and a pooler that keeps its connections");
	return status;
}

/* In the transaction that replaces: once all tables are locked, who is there is seen, and who comes waits. The
 * connection that looked before may still be ending. */
#define OUR_TABLES                                                                                                     \
	"FOR t IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"                                        \
	" WHERE schemaname = current_schema() AND tableowner = current_user LOOP EXECUTE "
static const char MAKE_ROOM[] = "--command=DO $$ DECLARE t text; BEGIN"
				" PERFORM set_config('lock_timeout', '10s', true); " OUR_TABLES
				"'LOCK TABLE ' || t || ' IN ACCESS EXCLUSIVE MODE'; END LOOP;"
				" FOR i IN 1..40 LOOP EXIT WHEN (" OTHERS ") = 0;"
				" PERFORM pg_sleep(0.05), pg_stat_clear_snapshot(); END LOOP;"
				" IF (" OTHERS ") > 0 THEN RAISE EXCEPTION '" IS_OPEN "'; END IF; " OUR_TABLES
				"'DROP TABLE IF EXISTS ' || t || ' CASCADE'; END LOOP; END $$";

static enum status apply(const struct pg_place *place, char *file, struct err *err)
{
	char psql[] = "psql", no_rc[] = "--no-psqlrc", quiet[] = "--quiet", once[] = "--single-transaction",
	     stop[] = "--set=ON_ERROR_STOP=1", silent[] = "--output=/dev/null", make_room[sizeof(MAKE_ROOM)];
	struct buf dbname;
	struct err why = {0};
	enum status status = STATUS_NO_MEMORY;

	memcpy(make_room, MAKE_ROOM, sizeof(MAKE_ROOM));
	put_dbname(&dbname, place);
	char *const argv[] = {psql, no_rc, quiet, silent, once, stop, make_room, file, dbname.p, NULL};
	if (!dbname.failed)
		status = pg_program_run(place, argv, &why);
	buf_release(&dbname);
	if (status == STATUS_NO_MEMORY)
		return err_set(err, status, "no memory for a restore");
	if (status != STATUS_OK && strstr(why.text, IS_OPEN))
		return err_set(err, STATUS_CONFLICT, IS_OPEN);
	return status == STATUS_OK ? status : err_set(err, status, "%s", why.text);
}

/* pg_restore's own --clean can't drop what belongs to a partitioned table. So the whole copy becomes SQL first, which a
 * damaged one does not; then the tables that are there go and those of the copy come, in one transaction. */
static enum status replace_all(const struct pg_place *place, const char *path, struct err *err)
{
	char temp[PATH_MAX], file[PATH_BYTES], from[PATH_MAX];
	char to_sql[] = "pg_restore", owner[] = "--no-owner";

	if (snprintf(temp, sizeof(temp), "%s.sql-XXXXXX", path) >= (int)sizeof(temp))
		return err_set(err, STATUS_INVALID, "the path of the copy is too long");
	int fd = mkstemp(temp); /* 0600 */
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s can't be made: %s", temp, strerror(errno));
	close(fd);
	snprintf(file, sizeof(file), "--file=%s", temp);
	snprintf(from, sizeof(from), "%s", path);
	char *const convert[] = {to_sql, owner, file, from, NULL};
	enum status status = pg_program_run(place, convert, err);
	if (status == STATUS_OK)
		status = apply(place, file, err);
	unlink(temp);
	return status;
}

static enum status check_copy(const char *path, struct err *err)
{
	char magic[5] = "";
	FILE *file = fopen(path, "rbe");

	if (!file)
		return err_set(err, STATUS_INVALID, "the copy %.150s can't be read: %s", path, strerror(errno));
	size_t n = fread(magic, 1, sizeof(magic), file);
	fclose(file);
	if (n != sizeof(magic) || memcmp(magic, "PGDMP", sizeof(magic)) != 0)
		return err_set(err, STATUS_INVALID,
			       "%.150s is no backup of a PostgreSQL database (pg_dump's custom format)", path);
	return STATUS_OK;
}

enum status pg_restore(struct str url, const char *path, struct err *err)
{
	struct pg_place place;
	struct db *db;

	enum status status = check_copy(path, err);
	if (status == STATUS_OK)
		status = db_open(&db, url, DB_WRITE, err);
	if (status != STATUS_OK)
		return status;
	status = check_direct((struct pg_db *)db, err);
	if (status == STATUS_OK)
		status = check_alone(db, err);
	bool has_place = status == STATUS_OK && pg_place_init(&place, ((struct pg_db *)db)->url);
	db_close(db);
	if (status != STATUS_OK)
		return status;
	if (!has_place)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a restore");
	status = replace_all(&place, path, err);
	pg_place_release(&place);
	return status;
}
