/* A redis-server of the test's own, on a unix socket in the test's directory. It dies with the test. */
#ifndef APPCORE_TESTS_REDIS_SERVER_H
#define APPCORE_TESTS_REDIS_SERVER_H

#include "unit.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct redis_server {
	pid_t pid;
	char dir[200], socket[256], url[300];
	const char *password; /* to ask for; NULL: none */
};

static inline bool redis_server_is_installed(void)
{
	static const char *const paths[] = {"/usr/bin/redis-server", "/usr/local/bin/redis-server",
					    "/bin/redis-server"};

	for (size_t i = 0; i < 3; i++)
		if (access(paths[i], X_OK) == 0)
			return true;
	printf("\n  skipped: redis-server is not installed (make deps)\n");
	return false;
}

static inline int redis_server_connect(const struct redis_server *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval timeout = {.tv_sec = 10};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%.107s", server->socket);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline void redis_server_nap(int ms)
{
	struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&nap, NULL);
}

/* Sends one command as a line and returns the answer as it came, up to 16 KiB; valid until the next call. */
static inline const char *redis_server_say(const struct redis_server *server, const char *line)
{
	static char answer[16384];
	int fd = redis_server_connect(server);
	size_t n = 0;

	answer[0] = '\0';
	if (fd < 0)
		return answer;
	if (server->password)
		dprintf(fd, "AUTH %s\r\n", server->password);
	dprintf(fd, "%s\r\nQUIT\r\n", line);
	ssize_t got;
	while (n < sizeof(answer) - 1 && (got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0)) > 0)
		n += (size_t)got;
	answer[n] = '\0';
	close(fd);
	return answer;
}

static inline void redis_server_run(struct redis_server *server)
{
	pid_t test = getpid();
	uint64_t end = clock_mono_ms() + 10000;

	fflush(NULL);
	server->pid = fork();
	if (server->pid == 0) {
		char path[300];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != test)
			_exit(1);
		snprintf(path, sizeof(path), "%s/log", server->dir);
		execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server->socket, "--save", "",
		       "--appendonly", "no", "--dir", server->dir, "--logfile", path, "--requirepass",
		       server->password ? server->password : "", (char *)NULL);
		_exit(127);
	}
	int fd;
	while ((fd = redis_server_connect(server)) < 0) {
		if (clock_mono_ms() > end) {
			fprintf(stderr, "redis-server does not start\n");
			abort();
		}
		redis_server_nap(5);
	}
	close(fd);
}

static inline void redis_server_start(struct redis_server *server, const char *password)
{
	static int serial;

	*server = (struct redis_server){.password = password};
	snprintf(server->dir, sizeof(server->dir), "%.100s/redis-%d", unit_temp_dir(), serial++);
	snprintf(server->socket, sizeof(server->socket), "%s/s", server->dir);
	if (password)
		snprintf(server->url, sizeof(server->url), "unix://:%s@%s", password, server->socket);
	else
		snprintf(server->url, sizeof(server->url), "unix://%s", server->socket);
	mkdir(server->dir, 0700);
	redis_server_run(server);
}

static inline void redis_server_kill(struct redis_server *server)
{
	int status;

	kill(server->pid, SIGKILL);
	waitpid(server->pid, &status, 0);
	unlink(server->socket);
}

#endif
