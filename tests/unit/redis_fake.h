/* What a Redis could do that a real one seldom does: answer late, never, wrong, without end. A thread on a unix socket
 * that knows the commands a worker sends, and behaves as its atomics say, from the next command on. */
#ifndef APPCORE_TESTS_REDIS_FAKE_H
#define APPCORE_TESTS_REDIS_FAKE_H

#include "unit.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { REDIS_FAKE_CONNS = 16, REDIS_FAKE_REPLIES = 8192, REDIS_FAKE_BYTES = 1 << 20 };

struct redis_fake_reply {
	uint64_t due_ms;
	const char *text;
	size_t n;
};

struct redis_fake_conn {
	int fd; /* 0: none */
	bool floods;
	char *in;
	size_t in_n;
	struct redis_fake_reply *replies;
	size_t first, last, sent; /* modulo REDIS_FAKE_REPLIES; bytes of the first */
};

struct redis_fake {
	pthread_t thread;
	int listener;
	char socket[256], url[300];
	struct redis_fake_conn conns[REDIS_FAKE_CONNS];
	_Atomic bool closing;

	/* The test's. */
	_Atomic int delay_ms;     /* until a command is answered */
	_Atomic bool holds;       /* answers nothing for now */
	_Atomic int answers;      /* that were sent */
	_Atomic bool no_script;   /* scripts are never known */
	_Atomic bool deaf;        /* reads nothing */
	_Atomic bool trickles;    /* sends a byte every 10 ms of an answer to SCRIPT that has no end */
	_Atomic bool floods;      /* the answer to GET has no end */
	_Atomic uint32_t passed;  /* in the answer to the script, for one client */
	_Atomic int scripts_sent; /* calls of the script */
	_Atomic int sets;         /* SETs that came */
};

static inline void redis_fake_answer(struct redis_fake *fake, struct redis_fake_conn *conn, const char *text, size_t n)
{
	conn->replies[conn->last++ % REDIS_FAKE_REPLIES] = (struct redis_fake_reply){
		clock_mono_ms() + (uint64_t)atomic_load(&fake->delay_ms), text, n};
}

static inline void redis_fake_run(struct redis_fake *fake, struct redis_fake_conn *conn, const char *name, size_t n)
{
	static const char hash[] = "$40\r\n0123456789012345678901234567890123456789\r\n";
	static const char heard[] = "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n";
	static const char honest[] = "$12\r\n\1\0\0\0\4\0\0\0\x60\xea\0\0\r\n"; /* 1 passed, 4 remain, 60 s */
	static const char lies[] = "$12\r\n\x40\x42\x0f\0\4\0\0\0\x60\xea\0\0\r\n";
#define REDIS_FAKE_SAYS(text) redis_fake_answer(fake, conn, (text), sizeof(text) - 1)

	if (n >= 4 && memcmp(name, "EVAL", 4) == 0) {
		atomic_fetch_add(&fake->scripts_sent, 1);
		if (atomic_load(&fake->no_script))
			REDIS_FAKE_SAYS("-NOSCRIPT No matching script.\r\n");
		else if (atomic_load(&fake->passed) > 1)
			REDIS_FAKE_SAYS(lies);
		else
			REDIS_FAKE_SAYS(honest);
	} else if (n == 6 && memcmp(name, "SCRIPT", 6) == 0) {
		REDIS_FAKE_SAYS(hash);
	} else if (n == 9 && memcmp(name, "SUBSCRIBE", 9) == 0) {
		REDIS_FAKE_SAYS(heard);
	} else if (n == 4 && memcmp(name, "PING", 4) == 0) {
		REDIS_FAKE_SAYS("+PONG\r\n");
	} else if (n == 3 && memcmp(name, "GET", 3) == 0) {
		conn->floods = atomic_load(&fake->floods);
		if (!conn->floods)
			REDIS_FAKE_SAYS("$-1\r\n");
	} else {
		atomic_fetch_add(&fake->sets, n == 3 && memcmp(name, "SET", 3) == 0);
		REDIS_FAKE_SAYS("+OK\r\n");
	}
#undef REDIS_FAKE_SAYS
}

/* The number behind a "*" or "$" at `at`, and where its line ends; 0 while the line is not whole. */
static inline size_t redis_fake_number(const struct redis_fake_conn *conn, size_t at, size_t *end)
{
	const char *line = conn->in + at, *lf = at < conn->in_n ? memchr(line, '\n', conn->in_n - at) : NULL;

	*end = lf ? (size_t)(lf - conn->in) + 1 : 0;
	return lf ? (size_t)strtoul(line + 1, NULL, 10) : 0;
}

/* Runs the whole commands that have come. */
static inline void redis_fake_take(struct redis_fake *fake, struct redis_fake_conn *conn)
{
	for (;;) {
		size_t end, args = redis_fake_number(conn, 0, &end), at = end, name = 0, name_n = 0;
		for (size_t i = 0; end > 0 && i < args; i++) {
			size_t n = redis_fake_number(conn, at, &end);
			if (end == 0 || end + n + 2 > conn->in_n) {
				end = 0;
				break;
			}
			if (i == 0) {
				name = end;
				name_n = n;
			}
			at = end + n + 2;
		}
		if (end == 0)
			return;
		redis_fake_run(fake, conn, conn->in + name, name_n);
		memmove(conn->in, conn->in + at, conn->in_n - at);
		conn->in_n -= at;
	}
}

static inline void redis_fake_drop(struct redis_fake_conn *conn)
{
	close(conn->fd);
	free(conn->in);
	free(conn->replies);
	*conn = (struct redis_fake_conn){0};
}

static inline bool redis_fake_write(struct redis_fake *fake, struct redis_fake_conn *conn)
{
	static const char endless[65536] = "$1000000000\r\n";

	if (conn->floods)
		return send(conn->fd, endless, sizeof(endless), MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
	if (atomic_load(&fake->trickles) && conn->first != conn->last)
		return send(conn->fd, conn->replies[0].text, 1, MSG_NOSIGNAL) == 1;
	while (conn->first != conn->last) {
		const struct redis_fake_reply *reply = &conn->replies[conn->first % REDIS_FAKE_REPLIES];
		if (clock_mono_ms() < reply->due_ms || atomic_load(&fake->holds))
			break;
		ssize_t n = send(conn->fd, reply->text + conn->sent, reply->n - conn->sent, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN;
		conn->sent += (size_t)n;
		if (conn->sent < reply->n)
			break;
		conn->sent = 0;
		conn->first++;
		atomic_fetch_add(&fake->answers, 1);
	}
	return true;
}

static inline void redis_fake_serve(struct redis_fake *fake, struct redis_fake_conn *conn)
{
	bool good = true;

	if (!atomic_load(&fake->deaf)) {
		ssize_t n = recv(conn->fd, conn->in + conn->in_n, REDIS_FAKE_BYTES - conn->in_n, 0);
		good = n > 0 || (n < 0 && errno == EAGAIN);
		if (n > 0)
			conn->in_n += (size_t)n;
		redis_fake_take(fake, conn);
	}
	if (!good || !redis_fake_write(fake, conn))
		redis_fake_drop(conn);
}

/* Reads commands and the atomics, writes answers and counts; ends with `closing`. */
static inline void *redis_fake_thread(void *arg)
{
	struct redis_fake *fake = arg;

	while (!atomic_load(&fake->closing)) {
		struct timespec nap = {.tv_nsec = atomic_load(&fake->trickles) ? 10000000L : 500000L};
		nanosleep(&nap, NULL);
		int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		for (int i = 0; i < REDIS_FAKE_CONNS; i++) {
			struct redis_fake_conn *conn = &fake->conns[i];
			if (fd >= 0 && !conn->fd) {
				conn->fd = fd;
				conn->in = malloc(REDIS_FAKE_BYTES);
				conn->replies = calloc(REDIS_FAKE_REPLIES, sizeof(*conn->replies));
				fd = -1;
			}
			if (conn->fd)
				redis_fake_serve(fake, conn);
		}
	}
	for (int i = 0; i < REDIS_FAKE_CONNS; i++)
		if (fake->conns[i].fd)
			redis_fake_drop(&fake->conns[i]);
	return NULL;
}

static inline void redis_fake_start(struct redis_fake *fake)
{
	static int serial;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memset(fake, 0, sizeof(*fake));
	snprintf(fake->socket, sizeof(fake->socket), "%.100s/fake-%d", unit_temp_dir(), serial++);
	snprintf(fake->url, sizeof(fake->url), "unix://%s", fake->socket);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.107s", fake->socket);
	fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CU_ASSERT_FATAL(bind(fake->listener, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0);
	CU_ASSERT_FATAL(listen(fake->listener, 64) == 0);
	CU_ASSERT_FATAL(pthread_create(&fake->thread, NULL, redis_fake_thread, fake) == 0);
}

static inline void redis_fake_stop(struct redis_fake *fake)
{
	atomic_store(&fake->closing, true);
	pthread_join(fake->thread, NULL);
	close(fake->listener);
	unlink(fake->socket);
}

#endif
