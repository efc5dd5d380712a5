/* appcore check --live: does the instance (or the worker for tasks) of these settings live? For a container's health
 * check, where nothing else could ask: there is no shell, and FastCGI is not HTTP.
 *
 * An instance is asked over its own socket for /readyz, as nginx would ask (FastCGI 1.0, sections 3 to 6). A worker for
 * tasks has no socket: its signs of life are in shared memory. */
#include "base/buf.h"
#include "base/clock.h"
#include "command.h"
#include "shared/shm.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LIVE_MS = 3000, SILENT_MS = 10000, ANSWER_MAX = 8192, HEADER_BYTES = 8 };
enum { FCGI_BEGIN = 1, FCGI_PARAMS = 4, FCGI_STDIN = 5, FCGI_STDOUT = 6, FCGI_RESPONDER = 1 };

/* --- the request --- */

struct request_bytes {
	uint8_t p[512];
	size_t n;
};

static void put(struct request_bytes *out, const void *p, size_t n)
{
	if (n > 0)
		memcpy(out->p + out->n, p, n);
	out->n += n;
}

static void put_record(struct request_bytes *out, uint8_t type, const void *content, uint8_t n)
{
	const uint8_t header[HEADER_BYTES] = {1, type, 0, 1, 0, n};

	put(out, header, sizeof(header));
	put(out, content, n);
}

/* Names and values are shorter than 128 bytes, all of them together than 256. */
static void put_pair(struct request_bytes *out, const char *name, const char *value)
{
	const uint8_t lengths[] = {(uint8_t)strlen(name), (uint8_t)strlen(value)};

	put(out, lengths, sizeof(lengths));
	put(out, name, lengths[0]);
	put(out, value, lengths[1]);
}

/* With an identity at the edge, as nginx gives one to each request. */
static void put_request(struct request_bytes *out)
{
	static const uint8_t BEGIN[8] = {0, FCGI_RESPONDER};
	struct request_bytes pairs = {.n = 0};
	int64_t now_ms = clock_wall_us() / 1000;
	char id[33], msec[32];
	uint8_t random[16];

	randombytes_buf(random, sizeof(random));
	sodium_bin2hex(id, sizeof(id), random, sizeof(random));
	snprintf(msec, sizeof(msec), "%lld.%03d", (long long)(now_ms / 1000), (int)(now_ms % 1000));
	put_pair(&pairs, "EDGE_MSEC", msec);
	put_pair(&pairs, "EDGE_ID", id);
	put_pair(&pairs, "REQUEST_ID", id);
	put_pair(&pairs, "REQUEST_METHOD", "GET");
	put_pair(&pairs, "DOCUMENT_URI", "/readyz");
	put_pair(&pairs, "QUERY_STRING", "");
	put_pair(&pairs, "REMOTE_ADDR", "127.0.0.1");
	put_pair(&pairs, "HTTP_HOST", "localhost");
	put_record(out, FCGI_BEGIN, BEGIN, sizeof(BEGIN));
	put_record(out, FCGI_PARAMS, pairs.p, (uint8_t)pairs.n);
	put_record(out, FCGI_PARAMS, NULL, 0);
	put_record(out, FCGI_STDIN, NULL, 0);
}

/* --- the answer --- */

/* Waits until the socket can be read or written. False: time is up. */
static bool wait_for(int fd, short events, uint64_t until_ms)
{
	for (;;) {
		uint64_t now_ms = clock_mono_ms();
		struct pollfd p = {.fd = fd, .events = events};
		int n = now_ms < until_ms ? poll(&p, 1, (int)(until_ms - now_ms)) : 0;
		if (n > 0)
			return true;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

static bool send_all(int fd, const struct request_bytes *request, uint64_t until_ms)
{
	for (size_t done = 0; done < request->n;) {
		if (!wait_for(fd, POLLOUT, until_ms))
			return false;
		ssize_t n = send(fd, request->p + done, request->n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* As much of the answer as comes until its end; bytes read. */
static size_t read_answer(int fd, uint8_t *p, size_t size, uint64_t until_ms)
{
	size_t n = 0;

	while (n < size && wait_for(fd, POLLIN, until_ms)) {
		ssize_t got = recv(fd, p + n, size - n, MSG_DONTWAIT);
		if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
			break;
		n += got > 0 ? (size_t)got : 0;
	}
	return n;
}

/* The status in the first record of standard output, which holds all headers of an answer this small: 200 where there
 * is none (RFC 3875, 6.3.3). 0: no answer. */
static int status_in(const uint8_t *p, size_t n)
{
	while (n >= HEADER_BYTES) {
		size_t length = (size_t)p[4] << 8 | p[5], whole = HEADER_BYTES + length + p[6];
		struct str head = {(const char *)p + HEADER_BYTES, length}, line;
		if (whole > n)
			return 0;
		if (p[1] == FCGI_STDOUT && length > 0) {
			while ((line = str_cut(&head, '\n')).n > 1)
				if (line.n >= 11 && strncmp(line.p, "Status: ", 8) == 0)
					return (line.p[8] - '0') * 100 + (line.p[9] - '0') * 10 + (line.p[10] - '0');
			return 200;
		}
		p += whole;
		n -= whole;
	}
	return 0;
}

/* --- who is asked --- */

static int ask(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct request_bytes request = {.n = 0};
	uint8_t answer[ANSWER_MAX];
	uint64_t until_ms = clock_mono_ms() + LIVE_MS;

	if (strlen(path) >= sizeof(address.sun_path))
		return command_fail(EXIT_USAGE, "RUN_DIR is too long for the name of a socket: %s.", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		int code = command_fail(EXIT_SYSTEM, "nobody answers at %s: %s.", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return code;
	}
	put_request(&request);
	size_t n = send_all(fd, &request, until_ms) ? read_answer(fd, answer, sizeof(answer), until_ms) : 0;
	close(fd);
	int status = status_in(answer, n);
	if (status == 0)
		return command_fail(EXIT_SYSTEM, "no answer came from %s within %d s.", path, LIVE_MS / 1000);
	if (status != 200)
		return command_fail(EXIT_SYSTEM, "%s is not ready: it answers %d.", path, status);
	return EXIT_OK;
}

static int look(const struct config *config)
{
	struct shm_worker workers[SHM_SLOTS];
	struct shm *shm;
	struct err err;

	if (shm_open_dir(&shm, config->run_dir, &err) != STATUS_OK)
		return command_fail(EXIT_SYSTEM, "%s", err.text);
	int n = shm_workers(shm, clock_mono_ms(), workers), code = EXIT_SYSTEM;
	for (int i = 0; i < n && code != EXIT_OK; i++)
		if (workers[i].role == SHM_WORKS && strcmp(workers[i].instance, config->instance_id) == 0 &&
		    workers[i].silent_ms < SILENT_MS)
			code = EXIT_OK;
	shm_close(shm);
	return code == EXIT_OK ? code : command_fail(code, "%s gives no sign of life.", config->instance_id);
}

int command_check_live(const struct config *config)
{
	static const char API[] = "API-", WORKER[] = "WORKER-";
	char *path = NULL;

	if (strncmp(config->instance_id, WORKER, sizeof(WORKER) - 1) == 0)
		return look(config);
	if (strncmp(config->instance_id, API, sizeof(API) - 1) != 0)
		return command_fail(EXIT_USAGE, "INSTANCE_ID says whom to ask: API-1 or WORKER-1, not \"%s\".",
				    config->instance_id);
	if (asprintf(&path, "%s/appcore-%s.sock", config->run_dir, config->instance_id + sizeof(API) - 1) < 0)
		return command_fail(EXIT_SYSTEM, "no memory.");
	int code = ask(path);
	free(path);
	return code;
}
