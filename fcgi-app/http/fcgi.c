/* FastCGI over libfcgi, without a thread per connection: the listening socket and the connections that it gave. */
#include "http/fcgi_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PARTIAL_MS = 10 * 1000, SWEEP_MS = 1000 };

static const struct transport TRANSPORT = {
	.checked = fcgi_conn_checked,
	.reserve = fcgi_answer_reserve,
	.respond = fcgi_answer_respond,
	.stream = fcgi_answer_stream,
	.read = fcgi_conn_read_piece,
	.park = fcgi_parked_begin,
	.push = fcgi_parked_push,
	.end = fcgi_parked_end,
};

static void add_conn(struct fcgi_server *server, int fd)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	const struct timeval timeout = {.tv_sec = FCGI_IO_TIMEOUT_S};

	if (!conn) {
		close(fd);
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	conn->server = server;
	conn->watch = (struct loop_watch){.ready = fcgi_conn_ready, .fd = fd};
	conn->req.app = server->app;
	conn->req.transport = &TRANSPORT;
	if (FCGX_InitRequest(&conn->fcgx, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0 ||
	    !loop_add(server->loop, &conn->watch, true)) {
		close(fd);
		free(conn);
		return;
	}
	conn->fcgx.ipcFd = fd;
	conn->fcgx.keepConnection = 1;
	conn->link = &server->open;
	conn->next = server->open;
	if (conn->next)
		conn->next->link = &conn->next;
	server->open = conn;
	server->connections++;
}

void fcgi_resume_accepting(struct fcgi_server *server)
{
	if (!server->accepting && !server->draining && server->connections < FCGI_CONNECTIONS)
		server->accepting = loop_add(server->loop, &server->watch, false);
}

static void accept_ready(struct loop_watch *watch)
{
	struct fcgi_server *server = (struct fcgi_server *)(void *)watch;

	while (server->connections < FCGI_CONNECTIONS) {
		int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno != EMFILE && errno != ENFILE)
			return;
		if (fd < 0)
			break; /* until a connection closes, or the next sweep */
		add_conn(server, fd);
	}
	loop_remove(server->loop, watch);
	server->accepting = false;
}

bool fcgi_open(struct fcgi_server **out, struct loop *loop, int listen_fd, struct app *app)
{
	struct fcgi_server *server = calloc(1, sizeof(*server));
	int nonblocking = 1;

	if (!server)
		return false;
	if (FCGX_Init() != 0 || ioctl(listen_fd, FIONBIO, &nonblocking) != 0) {
		free(server);
		return false;
	}
	server->loop = loop;
	server->app = app;
	server->watch = (struct loop_watch){.ready = accept_ready, .fd = listen_fd};
	server->accepting = loop_add(loop, &server->watch, false);
	if (!server->accepting) {
		free(server);
		return false;
	}
	*out = server;
	return true;
}

void fcgi_drain(struct fcgi_server *server)
{
	if (server->draining)
		return;
	accept_ready(&server->watch);
	server->draining = true;
	if (server->accepting)
		loop_remove(server->loop, &server->watch);
	server->accepting = false;
	close(server->watch.fd);
	struct conn *next;
	for (struct conn *conn = server->open; conn; conn = next) {
		next = conn->next;
		if (conn->parked) {
			fcgi_parked_tell_gone(conn, PARKED_DRAINED);
			fcgi_parked_end_stream(conn);
		}
		if (conn->busy)
			continue;
		/* What has arrived is served; a connection without anything is closed. */
		fcgi_conn_read(conn);
	}
	for (struct conn *conn = server->open; conn; conn = next) {
		next = conn->next;
		if (!conn->busy)
			fcgi_conn_drop(conn);
	}
}

int fcgi_connections(const struct fcgi_server *server)
{
	return server->connections;
}

int fcgi_busy(const struct fcgi_server *server)
{
	return server->busy;
}

void fcgi_sweep(struct fcgi_server *server, uint64_t now_ms)
{
	fcgi_parked_send(server);
	while (server->closed) {
		struct conn *conn = server->closed;
		server->closed = conn->next;
		free(conn);
	}
	if (now_ms - server->swept_ms < SWEEP_MS)
		return;
	server->swept_ms = now_ms;
	fcgi_resume_accepting(server);
	struct conn *next;
	for (struct conn *conn = server->open; conn; conn = next) {
		next = conn->next;
		if (conn->streaming)
			fcgi_parked_look_at_progress(conn, now_ms);
		else if (!conn->busy && conn->partial_ms != 0 && now_ms - conn->partial_ms > PARTIAL_MS)
			fcgi_conn_drop(conn);
	}
}

void fcgi_close(struct fcgi_server *server)
{
	if (!server)
		return;
	while (server->open) {
		fcgi_parked_tell_gone(server->open, PARKED_DRAINED);
		fcgi_stream_release(&server->open->stream);
		server->open->streaming = false;
		fcgi_conn_drop(server->open);
	}
	fcgi_sweep(server, 0);
	free(server);
}
