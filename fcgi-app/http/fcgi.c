/* FastCGI over libfcgi, without a thread per connection.
 *
 * libfcgi's calls block. So a connection is handed to it only when what it will read is already in the socket: the
 * waiting bytes are looked at first (MSG_PEEK, fcgi_scan). A request whose body is still on its way, which nginx sends
 * in one go but a large one takes several rounds, is read by a slow thread under the socket's receive timeout.
 *
 * Writing: a kept connection carries one request at a time, and its peer has read the whole answer before it sends the
 * next request, so the socket's buffer is empty when an answer starts, and one of up to RESPONSE_INLINE bytes never
 * blocks. Larger ones are written by a slow thread, piece by piece, each when the socket can take it.
 *
 * A parked request (server-sent events) gives libfcgi's buffers back once its head is out: its pieces are written as
 * records by fcgi_stream.c, when the socket takes them. Meanwhile its peer sends nothing; that it closes is its end.
 *
 * libfcgi never accepts here (listening socket -1). FCGX_Accept_r begins with a finish, which closes the connection
 * unless keepConnection is set, so a fresh request gets ipcFd and keepConnection by hand first; afterwards ipcFd < 0
 * says that the connection is closed. */
#include "http/fcgi_impl.h"

#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/fcgi_scan.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
	RESPONSE_INLINE = 32 * 1024,
	PIECE = 32 * 1024,
	STREAM_PIECE = 32 * 1024,
	STREAM_SOCKET = 32 * 1024,
	STALLED_MS = 30 * 1000,
	DRAIN_STREAM_MS = 1000, /* nobody waits for one who doesn't read */
	PARTIAL_MS = 10 * 1000,
	SWEEP_MS = 1000,
};

struct conn *fcgi_conn_of(struct request *req)
{
	return (struct conn *)(void *)((char *)req - offsetof(struct conn, req));
}

/* --- closing and recycling --- */

void fcgi_resume_accepting(struct fcgi_server *server)
{
	if (!server->accepting && !server->draining && server->connections < FCGI_CONNECTIONS)
		server->accepting = loop_add(server->loop, &server->watch, false);
}

/* libfcgi would linger for up to two seconds in select() to close, so descriptors are closed here. */
void fcgi_conn_close(struct conn *conn)
{
	if (conn->fcgx.ipcFd >= 0)
		close(conn->fcgx.ipcFd);
	conn->fcgx.ipcFd = -1;
	FCGX_Free(&conn->fcgx, 0);
}

void fcgi_conn_drop(struct conn *conn)
{
	struct fcgi_server *server = conn->server;

	fcgi_conn_close(conn);
	request_release(&conn->req);
	conn->watch.dead = true;
	*conn->link = conn->next;
	if (conn->next)
		conn->next->link = conn->link;
	conn->next = server->closed;
	server->closed = conn;
	server->connections--;
	fcgi_resume_accepting(server);
}

void fcgi_conn_recycle(struct conn *conn)
{
	bool again = conn->again;

	conn->busy = conn->again = false;
	conn->server->busy--;
	if (conn->fcgx.ipcFd < 0) {
		fcgi_conn_drop(conn);
		return;
	}
	request_reset(&conn->req);
	request_release(&conn->req); /* idle connections hold no memory but their own */
	if (again)
		fcgi_conn_read(conn);
}

/* --- writing --- */

static bool wait_writable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, FCGI_IO_TIMEOUT_S * 1000) == 1 && !(p.revents & (POLLERR | POLLHUP));
}

/* Event thread when it fits the socket's empty buffer; else a slow thread, with a wait before each piece. */
static bool put(struct conn *conn, struct str bytes, bool may_block)
{
	while (bytes.n > 0) {
		size_t n = bytes.n < PIECE ? bytes.n : PIECE;
		if (may_block && !wait_writable(conn->fcgx.ipcFd))
			return false;
		if (FCGX_PutStr(bytes.p, (int)n, conn->fcgx.out) != (int)n)
			return false;
		if (may_block && FCGX_FFlush(conn->fcgx.out) != 0)
			return false;
		bytes.p += n;
		bytes.n -= n;
	}
	return true;
}

static bool put_head(struct conn *conn, bool known_length, bool may_block)
{
	struct buf head;

	buf_init(&head, &conn->req.arena);
	response_head(&conn->req.response, known_length, &head);
	return !head.failed && put(conn, buf_view(&head), may_block);
}

static bool put_response(struct conn *conn, bool may_block)
{
	struct request *req = &conn->req;

	if (req->streamed)
		return !req->broken;
	return put_head(conn, true, may_block) &&
	       (req->method == HTTP_HEAD || put(conn, buf_view(&req->response.body), may_block));
}

/* Sends the end of the request. When something failed, the connection is closed without it, so that nginx does not take
 * half an answer for a whole one. */
static void finish(struct conn *conn, bool good)
{
	if (good)
		FCGX_Finish_r(&conn->fcgx);
	if (!good || conn->last)
		fcgi_conn_close(conn);
}

static void open_written(struct mail *mail)
{
	struct request *req = (struct request *)(void *)((char *)mail - offsetof(struct request, mail));
	struct conn *conn = fcgi_conn_of(req);

	conn->server->large--;
	fcgi_conn_recycle(conn);
}

static void write_slowly(struct pool_job *job, void *thread_state)
{
	struct request *req = (struct request *)(void *)((char *)job - offsetof(struct request, job));
	struct conn *conn = fcgi_conn_of(req);

	(void)thread_state;
	finish(conn, put_response(conn, true));
	req->mail = (struct mail){.open = open_written};
	mailbox_send(req->app->mailbox, &req->mail);
}

/* Large answers wait for slow threads in a number that the pool's queue has room for. What was written is never refused
 * afterwards: the queue has a place for each connection besides. */
bool fcgi_answer_reserve(struct request *req)
{
	struct conn *conn = fcgi_conn_of(req);
	bool written = req->route && req->route->lane == ROUTE_LANE_WRITE && req->response.status < 300;

	if (req->streamed || req->response.body.n <= RESPONSE_INLINE)
		return true;
	if (conn->server->large >= APP_LARGE_ANSWERS && !written)
		return false;
	conn->server->large++;
	conn->large = true;
	return true;
}

void fcgi_answer_respond(struct request *req)
{
	struct conn *conn = fcgi_conn_of(req);

	conn->last |= conn->server->draining;
	if (conn->large) {
		req->job.run = write_slowly;
		if (pool_submit(req->app->slow, &req->job))
			return;
		conn->server->large--; /* the pool is closing */
		req->broken = true;
	}
	finish(conn, !req->broken && put_response(conn, false));
	fcgi_conn_recycle(conn);
}

bool fcgi_answer_stream(struct request *req, struct str piece)
{
	struct conn *conn = fcgi_conn_of(req);

	if (!req->streamed) {
		req->streamed = true;
		if (req->request_id.n > 0)
			response_header(&req->response, "X-Request-ID", req->request_id);
		if (!put_head(conn, false, true))
			return false;
	}
	return req->method == HTTP_HEAD || put(conn, piece, true);
}

/* --- parked requests --- */

static void mark_dirty(struct conn *conn)
{
	if (conn->dirty)
		return;
	conn->dirty = true;
	conn->next_dirty = conn->server->dirty;
	conn->server->dirty = conn;
}

void fcgi_parked_begin(struct request *req, struct parked *parked)
{
	struct conn *conn = fcgi_conn_of(req);
	struct buf head;

	fcgi_stream_init(&conn->stream, conn->fcgx.ipcFd, (unsigned)conn->fcgx.requestId);
	/* What waits should wait where it is counted. The connection is of no use for answers then. */
	setsockopt(conn->fcgx.ipcFd, SOL_SOCKET, SO_SNDBUF, &(int){STREAM_SOCKET}, sizeof(int));
	conn->last = true;
	conn->streaming = true;
	conn->full = false;
	conn->parked = parked;
	parked->req = req;
	buf_init(&head, &req->arena);
	response_head(&req->response, false, &head);
	conn->moved_ms = clock_mono_ms();
	fcgi_stream_put(&conn->stream, buf_view(&head));
	conn->stream.lost |= head.failed;
	FCGX_Free(&conn->fcgx, 0);
	request_reset(req);
	request_release(req);
	mark_dirty(conn);
}

bool fcgi_parked_push(struct parked *parked, struct str piece)
{
	struct conn *conn = fcgi_conn_of(parked->req);

	fcgi_stream_put(&conn->stream, piece);
	if (conn->stream.out.n > STREAM_PIECE && !conn->wants_output)
		fcgi_stream_flush(&conn->stream);
	mark_dirty(conn);
	conn->full |= fcgi_stream_is_full(&conn->stream);
	return !conn->full;
}

void fcgi_parked_end_stream(struct conn *conn)
{
	conn->parked = NULL;
	conn->ended_ms = clock_mono_ms();
	fcgi_stream_end(&conn->stream);
	mark_dirty(conn);
}

void fcgi_parked_end(struct parked *parked)
{
	fcgi_parked_end_stream(fcgi_conn_of(parked->req));
}

void fcgi_parked_tell_gone(struct conn *conn, enum parked_end why)
{
	struct parked *parked = conn->parked;

	conn->parked = NULL;
	if (parked)
		parked->gone(parked, why);
}

static void leave_stream(struct conn *conn)
{
	fcgi_stream_release(&conn->stream);
	conn->streaming = false;
	fcgi_conn_close(conn);
	fcgi_conn_recycle(conn);
}

static void want_output(struct conn *conn, bool wanted)
{
	if (conn->wants_output == wanted)
		return;
	conn->wants_output = wanted;
	loop_want_output(conn->server->loop, &conn->watch, wanted);
}

static void flush_stream(struct conn *conn)
{
	bool done = fcgi_stream_flush(&conn->stream);

	if (conn->stream.lost) {
		fcgi_parked_tell_gone(conn, conn->stream.slow ? PARKED_TOO_SLOW : PARKED_PEER_GONE);
		leave_stream(conn);
		return;
	}
	want_output(conn, !done);
	if (conn->parked && conn->server->draining) { /* it was parked since */
		fcgi_parked_tell_gone(conn, PARKED_DRAINED);
		fcgi_parked_end_stream(conn);
	} else if (done && !conn->parked) {
		leave_stream(conn);
	} else if (done && conn->full) {
		conn->full = false;
		conn->parked->drained(conn->parked);
	}
}

void fcgi_parked_look(struct conn *conn)
{
	conn->again = false;
	switch (fcgi_stream_read(&conn->stream)) {
	case FCGI_STREAM_QUIET:
		break;
	case FCGI_STREAM_ABORTS:
		conn->again = true;
		if (!conn->parked)
			break;
		fcgi_parked_tell_gone(conn, PARKED_PEER_GONE);
		fcgi_parked_end_stream(conn);
		break;
	case FCGI_STREAM_IS_GONE:
		fcgi_parked_tell_gone(conn, PARKED_PEER_GONE);
		leave_stream(conn);
		return;
	}
	flush_stream(conn);
}

void fcgi_parked_look_at_progress(struct conn *conn, uint64_t now_ms)
{
	if (conn->stream.moved || conn->stream.out.n == 0)
		conn->moved_ms = now_ms;
	conn->stream.moved = false;
	uint64_t patience_ms = conn->server->draining ? DRAIN_STREAM_MS : FCGI_IO_TIMEOUT_S * UINT64_C(1000);
	bool ends_slowly = !conn->parked && now_ms > conn->ended_ms + patience_ms;
	if (!ends_slowly && now_ms - conn->moved_ms < STALLED_MS)
		return;
	fcgi_parked_tell_gone(conn, PARKED_TOO_SLOW);
	leave_stream(conn);
}

void fcgi_parked_send(struct fcgi_server *server)
{
	while (server->dirty) {
		struct conn *conn = server->dirty;
		server->dirty = conn->next_dirty;
		conn->dirty = false;
		if (conn->streaming && conn->again)
			fcgi_parked_look(conn);
		else if (conn->streaming)
			flush_stream(conn);
	}
}

/* --- reading --- */

static void take_params(struct conn *conn)
{
	for (char **p = conn->fcgx.envp; p && *p; p++) {
		struct str value = str_of(*p);
		struct str name = str_cut(&value, '=');
		request_set_param(&conn->req, name, value);
	}
}

/* The announced body, and the empty record that ends it. False when the peer sends another length or stops. */
static bool read_body(struct conn *conn)
{
	struct request *req = &conn->req;
	size_t n = (size_t)req->content_length;
	char more;

	if (n > 0) {
		char *body = arena_alloc(&req->arena, n + 1);
		if (!body || FCGX_GetStr(body, (int)n, conn->fcgx.in) != (int)n)
			return false;
		body[n] = '\0';
		req->body = (struct str){body, n};
	}
	return FCGX_GetStr(&more, 1, conn->fcgx.in) == 0 && FCGX_GetError(conn->fcgx.in) == 0;
}

/* Reads away what nobody wants, so that the next request is found behind it. Only when it is all there. */
static void skip_body(struct conn *conn)
{
	char waste[4096];

	while (FCGX_GetStr(waste, sizeof(waste), conn->fcgx.in) > 0)
		;
}

static void answer_unreadable(struct conn *conn)
{
	request_answer_detail(&conn->req, 400, STR("The request body could not be read."));
	request_finish(&conn->req);
}

/* Until its body is read to the end, a connection can't carry another request: what is left of it would be taken for
 * one. */
static void run(struct conn *conn)
{
	conn->last = true;
	if (!read_body(conn)) {
		answer_unreadable(conn);
		return;
	}
	conn->last = false;
	app_run(&conn->req);
}

static void end_skipping(struct mail *mail)
{
	struct request *req = (struct request *)(void *)((char *)mail - offsetof(struct request, mail));
	struct conn *conn = fcgi_conn_of(req);

	req->slow = false;
	if (!conn->passed) {
		app_complete(req);
		return;
	}
	shm_working_on(req->edge.random);
	app_run(req);
	shm_working_on(NULL);
}

/* Slow thread: nobody wants this body, but nginx would take a connection that is closed in its face for a dead worker,
 * and try the next. */
static void skip_slowly(struct pool_job *job, void *thread_state)
{
	struct request *req = (struct request *)(void *)((char *)job - offsetof(struct request, job));
	struct conn *conn = fcgi_conn_of(req);

	(void)thread_state;
	skip_body(conn);
	conn->last = FCGX_GetError(conn->fcgx.in) != 0;
	req->mail = (struct mail){.open = end_skipping};
	mailbox_send(req->app->mailbox, &req->mail);
}

/* Slow thread: the body is still coming. */
static void read_slowly(struct request *req, struct db *db)
{
	(void)db;
	run(fcgi_conn_of(req));
}

static bool wants_body(const struct request *req)
{
	return req->route && req->route->body != ROUTE_NO_BODY;
}

/* The checks are over: now the body is wanted, or not. */
void fcgi_conn_checked(struct request *req, bool passed)
{
	struct conn *conn = fcgi_conn_of(req);

	conn->passed = passed;
	conn->last = !conn->whole;
	if (!conn->passed || !wants_body(req)) {
		if (conn->whole) {
			skip_body(conn);
		} else {
			req->slow = true;
			req->job.run = skip_slowly;
			if (pool_submit(req->app->slow, &req->job))
				return;
			req->slow = false;
		}
	}
	if (!conn->passed) {
		app_complete(req);
		return;
	}
	shm_working_on(req->edge.random);
	if (!wants_body(req)) {
		app_run(req);
	} else if (conn->whole) {
		run(conn);
	} else {
		request_go_slow(req, req->app->slow, read_slowly);
	}
	shm_working_on(NULL);
}

/* A whole request is in the socket, or (`whole` is false) its parameters are. */
static void start_request(struct conn *conn, bool whole)
{
	conn->busy = true;
	conn->whole = whole;
	conn->server->busy++;
	conn->partial_ms = 0;
	conn->last = conn->large = false;
	arena_init(&conn->req.arena, conn->server->app->arena_limit);
	request_reset(&conn->req);
	conn->fcgx.keepConnection = 1;
	conn->fcgx.detached = 1; /* no lingering in its close() either */
	if (FCGX_Accept_r(&conn->fcgx) != 0 || conn->fcgx.ipcFd < 0) {
		conn->busy = false;
		conn->server->busy--;
		fcgi_conn_drop(conn);
		return;
	}
	take_params(conn);
	app_begin(&conn->req);
}

void fcgi_conn_read(struct conn *conn)
{
	struct fcgi_server *server = conn->server;
	ssize_t n = recv(conn->watch.fd, server->peek, sizeof(server->peek), MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		fcgi_conn_drop(conn);
		return;
	}
	switch (fcgi_scan(server->peek, (size_t)n)) {
	case FCGI_SCAN_WHOLE:
		start_request(conn, true);
		return;
	case FCGI_SCAN_HEAD:
		start_request(conn, false);
		return;
	case FCGI_SCAN_PARTIAL:
		if (n < (ssize_t)sizeof(server->peek)) {
			if (conn->partial_ms == 0)
				conn->partial_ms = clock_mono_ms();
			return;
		}
		break;
	case FCGI_SCAN_BAD:
		break;
	}
	log_event(LOG_LEVEL_WARNING, "a peer on the socket sent what is no FastCGI request; its connection is closed");
	fcgi_conn_drop(conn);
}

void fcgi_conn_ready(struct loop_watch *watch)
{
	struct conn *conn = (struct conn *)(void *)watch;

	if (conn->streaming)
		fcgi_parked_look(conn);
	else if (conn->busy)
		conn->again = true;
	else
		fcgi_conn_read(conn);
}

/* --- accepting --- */

static const struct transport TRANSPORT = {
	.checked = fcgi_conn_checked,
	.reserve = fcgi_answer_reserve,
	.respond = fcgi_answer_respond,
	.stream = fcgi_answer_stream,
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
