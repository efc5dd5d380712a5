/* Running PostgreSQL's own programs. Everybody on the machine can list their arguments, so what is secret goes other
 * ways: the password in the environment, other secrets (that of a client key) in a service file that has no name. */
#include "store/db_pg_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SERVICE_FD = 3 };

/* --- what they connect with --- */

/* https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE */
static void put_option(struct buf *to, const PQconninfoOption *option)
{
	buf_fmt(to, "%s%s='", to->n > 0 ? " " : "", option->keyword);
	for (const char *p = option->val; *p; p++) {
		if (*p == '\'' || *p == '\\')
			buf_char(to, '\\');
		buf_char(to, *p);
	}
	buf_char(to, '\'');
}

bool pg_place_init(struct pg_place *place, const char *url)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);

	buf_init_heap(&place->conninfo);
	buf_init_heap(&place->password);
	buf_init_heap(&place->service);
	for (const PQconninfoOption *o = options; o && o->keyword; o++) {
		if (!o->val)
			continue;
		if (strcmp(o->keyword, "password") == 0)
			buf_fmt(&place->password, "PGPASSWORD=%s", o->val);
		else if (strchr(o->dispchar, '*')) /* not to be shown */
			buf_fmt(&place->service, "%s%s=%s\n", place->service.n > 0 ? "" : "[appcore]\n", o->keyword,
				o->val);
		else
			put_option(&place->conninfo, o);
	}
	buf_char(&place->conninfo, '\0');
	if (place->password.n > 0)
		buf_char(&place->password, '\0');
	PQconninfoFree(options);
	if (options && !place->conninfo.failed && !place->password.failed && !place->service.failed)
		return true;
	pg_place_release(place);
	return false;
}

void pg_place_release(struct pg_place *place)
{
	buf_release(&place->conninfo);
	buf_release(&place->password);
	buf_release(&place->service);
}

/* --- running --- */

/* Our environment, with these for libpq; caller frees the array. */
static char **environment_with(char *const more[], size_t more_n)
{
	size_t n = 0, to = 0;

	while (environ[n])
		n++;
	char **env = calloc(n + more_n + 1, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bool ours = false;
		for (size_t k = 0; k < more_n; k++)
			ours = ours || strncmp(environ[i], more[k], strcspn(more[k], "=") + 1) == 0;
		if (!ours)
			env[to++] = environ[i];
	}
	for (size_t k = 0; k < more_n; k++)
		env[to++] = more[k];
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

/* A file of that text without a name. -1 with errno. */
static int open_service(struct str text)
{
	int fd = memfd_create("service", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, text.p, text.n) != (ssize_t)text.n) {
		close(fd);
		errno = ENOSPC;
		return -1;
	}
	return fd;
}

/* Starts it with no input and its complaints in the pipe. An errno. */
static int start_program(const struct pg_place *place, char *const argv[], int complaints, pid_t *pid)
{
	static char file[] = "PGSERVICEFILE=/proc/self/fd/3", name[] = "PGSERVICE=appcore";
	posix_spawn_file_actions_t actions;
	char *more[3];
	size_t n = 0;
	int service = -1;

	_Static_assert(SERVICE_FD == 3, "stands in the text");
	if (place->password.n > 0)
		more[n++] = place->password.p;
	if (place->service.n > 0) {
		more[n++] = file;
		more[n++] = name;
		if ((service = open_service(buf_view(&place->service))) < 0)
			return errno;
	}
	char **env = environment_with(more, n);
	int failed = ENOMEM;
	if (env && (failed = posix_spawn_file_actions_init(&actions)) == 0) {
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
		posix_spawn_file_actions_adddup2(&actions, complaints, 2);
		if (service >= 0)
			posix_spawn_file_actions_adddup2(&actions, service, SERVICE_FD);
		failed = posix_spawnp(pid, argv[0], &actions, NULL, argv, env);
		posix_spawn_file_actions_destroy(&actions);
	}
	if (service >= 0)
		close(service);
	free(env);
	return failed;
}

enum status pg_program_run(const struct pg_place *place, char *const argv[], struct err *err)
{
	char text[512] = "";
	int ends[2], code = -1;
	pid_t pid = -1;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return err_set(err, STATUS_UNAVAILABLE, "%s can't be started: %s", argv[0], strerror(errno));
	int failed = start_program(place, argv, ends[1], &pid);
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
