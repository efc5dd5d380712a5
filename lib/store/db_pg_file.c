/* Copies of a PostgreSQL database, made and read by PostgreSQL's own programs pg_dump and pg_restore (Debian's
 * postgresql-client): a consistent snapshot while others write, in pg_dump's custom format. The password goes to them
 * in the environment, never in an argument that others could list. */
#include "store/db_pg_impl.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The URL as it is with "user:password@" cut to "user@", and the password as libpq reads it. */
bool pg_split_password(const char *url, char **plain, char **password)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);
	const char *start = strstr(url, "://");

	*plain = strdup(url);
	*password = NULL;
	for (PQconninfoOption *o = options; o && o->keyword; o++)
		if (!*password && strcmp(o->keyword, "password") == 0)
			*password = strdup(o->val ? o->val : "");
	PQconninfoFree(options);
	if (!*plain || !*password || !start) {
		free(*plain);
		free(*password);
		*plain = *password = NULL;
		return false;
	}
	char *user = *plain + (start + 3 - url);
	char *end = user + strcspn(user, "/?");
	char *at = memchr(user, '@', (size_t)(end - user));
	char *colon = at ? memchr(user, ':', (size_t)(at - user)) : NULL;
	if (colon)
		memmove(colon, at, strlen(at) + 1);
	/* Options: "?password=x", "&password=x". */
	for (char *option = strchr(user, '?'); option;) {
		char *name = option + 1;
		size_t n = strcspn(name, "&");
		if (strncmp(name, "password=", 9) == 0)
			memmove(name, name + n + (name[n] == '&'), strlen(name + n + (name[n] == '&')) + 1);
		else
			option = name[n] ? name + n : NULL;
	}
	return true;
}

/* Our environment with this password for libpq; caller frees the array. `secret` must stay. */
static char **environment_with(char *secret)
{
	size_t n = 0, to = 0;

	while (environ[n])
		n++;
	char **env = calloc(n + 2, sizeof(*env));
	for (size_t i = 0; env && i < n; i++)
		if (strncmp(environ[i], "PGPASSWORD=", 11) != 0)
			env[to++] = environ[i];
	if (env && secret[strlen("PGPASSWORD=")])
		env[to] = secret;
	return env;
}

/* All that comes, of which the first `size` - 1 bytes are kept. */
static void read_text(int fd, char *text, size_t size)
{
	char piece[256];
	size_t n = 0;
	ssize_t got;

	while ((got = read(fd, piece, sizeof(piece))) > 0) {
		size_t room = size - 1 - n;
		size_t take = (size_t)got < room ? (size_t)got : room;
		memcpy(text + n, piece, take);
		n += take;
	}
	text[n] = '\0';
}

/* Starts it with no input and its complaints in the pipe. An errno. */
static int start_program(char *const argv[], char *secret, int complaints, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	char **env = environment_with(secret);

	if (!env)
		return ENOMEM;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, complaints, 2);
	int failed = posix_spawnp(pid, argv[0], &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	return failed;
}

/* Runs a program of PostgreSQL's to its end; the first line of what it complained of becomes the reason. */
static enum status run_program(const char *password, char *const argv[], struct err *err)
{
	struct buf secret;
	char text[512] = "";
	int ends[2], code = -1;
	pid_t pid = -1;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return err_set(err, STATUS_UNAVAILABLE, "%s can't be started: %s", argv[0], strerror(errno));
	buf_init_heap(&secret);
	buf_fmt(&secret, "PGPASSWORD=%s", password);
	buf_char(&secret, '\0');
	int failed = secret.failed ? ENOMEM : start_program(argv, secret.p, ends[1], &pid);
	buf_release(&secret);
	close(ends[1]);
	if (failed == 0) {
		read_text(ends[0], text, sizeof(text));
		while (waitpid(pid, &code, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	if (failed != 0)
		return err_set(err, STATUS_UNAVAILABLE,
			       "%s can't be started (%s): is Debian's postgresql-client there?", argv[0],
			       strerror(failed));
	if (WIFEXITED(code) && WEXITSTATUS(code) == 0)
		return STATUS_OK;
	text[strcspn(text, "\n")] = '\0';
	return err_set(err, STATUS_UNAVAILABLE, "%.180s", text[0] ? text : "the program failed");
}

enum status pg_backup(struct db *base, const char *path, struct err *err)
{
	struct pg_db *db = (struct pg_db *)base;
	char temp[4096], dbname[2048], *plain, *password;
	struct stat st;

	if (lstat(path, &st) == 0)
		return err_set(err, STATUS_CONFLICT, "%.200s is there already", path);
	if (snprintf(temp, sizeof(temp), "%s.part-XXXXXX", path) >= (int)sizeof(temp))
		return err_set(err, STATUS_INVALID, "the path of the copy is too long");
	int fd = mkstemp(temp); /* 0600 */
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s can't be made: %s", path, strerror(errno));
	if (!pg_split_password(db->url, &plain, &password)) {
		close(fd);
		unlink(temp);
		return err_set(err, STATUS_NO_MEMORY, "no memory for a backup");
	}
	snprintf(dbname, sizeof(dbname), "--dbname=%s", plain);
	free(plain);
	char program[] = "pg_dump", format[] = "--format=custom", owner[] = "--no-owner", file[4200];
	snprintf(file, sizeof(file), "--file=%s", temp);
	char *const argv[] = {program, format, owner, file, dbname, NULL};
	enum status status = run_program(password, argv, err);
	free(password);
	if (status == STATUS_OK && (fsync(fd) != 0 || link(temp, path) != 0))
		status = errno == EEXIST
				 ? err_set(err, STATUS_CONFLICT, "%.200s is there already", path)
				 : err_set(err, STATUS_UNAVAILABLE, "%.150s can't be made: %s", path, strerror(errno));
	close(fd);
	unlink(temp);
	return status;
}

/* Somebody else who is connected is a running service. */
static enum status check_alone(struct db *db, struct err *err)
{
	static const char sql[] = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
				  " AND application_name = 'appcore' AND pid <> pg_backend_pid()";
	struct stmt *stmt;
	bool row;
	int64_t others = 0;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		others = db_column_i64(stmt, 0);
	db_reset(stmt);
	if (status == STATUS_OK && others > 0)
		return err_set(err, STATUS_CONFLICT, "the database is open: stop what uses it first");
	return status;
}

/* pg_restore's own --clean can't drop what belongs to a partitioned table. So the whole copy becomes SQL first, which a
 * damaged one does not; then the tables that are there go and those of the copy come, in one transaction. */
static enum status replace_all(const char *password, char *dbname, const char *path, struct err *err)
{
	char temp[4200], file[4300], from[4200];
	char to_sql[] = "pg_restore", owner[] = "--no-owner";
	char psql[] = "psql", no_rc[] = "--no-psqlrc", quiet[] = "--quiet", once[] = "--single-transaction",
	     stop[] = "--set=ON_ERROR_STOP=1", silent[] = "--output=/dev/null";
	char drop[] = "--command=DO $$ DECLARE t text; BEGIN FOR t IN SELECT format('%I.%I', schemaname, tablename)"
		      " FROM pg_tables WHERE schemaname = current_schema()"
		      " AND tableowner = current_user"
		      " LOOP EXECUTE 'DROP TABLE IF EXISTS ' || t || ' CASCADE'; END LOOP; END $$";

	if (snprintf(temp, sizeof(temp), "%s.sql-XXXXXX", path) >= (int)sizeof(temp))
		return err_set(err, STATUS_INVALID, "the path of the copy is too long");
	int fd = mkstemp(temp); /* 0600 */
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s can't be made: %s", temp, strerror(errno));
	close(fd);
	snprintf(file, sizeof(file), "--file=%s", temp);
	snprintf(from, sizeof(from), "%s", path);
	char *const convert[] = {to_sql, owner, file, from, NULL};
	char *const apply[] = {psql, no_rc, quiet, silent, once, stop, drop, file, dbname, NULL};
	enum status status = run_program(password, convert, err);
	if (status == STATUS_OK)
		status = run_program(password, apply, err);
	unlink(temp);
	return status;
}

enum status pg_restore(struct str url, const char *path, struct err *err)
{
	char magic[5] = "", dbname[2048], *copy, *plain = NULL, *password = NULL;
	struct db *db;

	FILE *file = fopen(path, "rbe");
	if (!file)
		return err_set(err, STATUS_INVALID, "the copy %.150s can't be read: %s", path, strerror(errno));
	size_t n = fread(magic, 1, sizeof(magic), file);
	fclose(file);
	if (n != sizeof(magic) || memcmp(magic, "PGDMP", sizeof(magic)) != 0)
		return err_set(err, STATUS_INVALID,
			       "%.150s is no backup of a PostgreSQL database (pg_dump's custom format)", path);
	enum status status = db_open(&db, url, DB_WRITE, err);
	if (status != STATUS_OK)
		return status;
	status = check_alone(db, err);
	db_close(db);
	if (status != STATUS_OK)
		return status;
	copy = strndup(url.p, url.n);
	if (!copy || !pg_split_password(copy, &plain, &password)) {
		free(copy);
		return err_set(err, STATUS_NO_MEMORY, "no memory for a restore");
	}
	snprintf(dbname, sizeof(dbname), "--dbname=%s", plain);
	status = replace_all(password, dbname, path, err);
	free(copy);
	free(plain);
	free(password);
	return status;
}
