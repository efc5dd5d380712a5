/* A connection of libfcgi's, whose calls block. So it is handed to it only when what it will read is already in the
 * socket: the waiting bytes are looked at first (MSG_PEEK, fcgi_scan). A request whose body is still on its way, which
 * nginx sends in one go but a large one takes several rounds, is read by a slow thread under the socket's receive
 * timeout.
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
#include <sys/socket.h>
#include <unistd.h>

struct conn *fcgi_conn_of(struct request *req)
{
	return (struct conn *)(void *)((char *)req - offsetof(struct conn, req));
}

/* --- closing and recycling --- */

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

void fcgi_conn_skip_body(struct conn *conn)
{
	char waste[4096];

	while (FCGX_GetStr(waste, sizeof(waste), conn->fcgx.in) > 0)
		;
	conn->unread = false;
	conn->last = FCGX_GetError(conn->fcgx.in) != 0;
}

/* Behind the last byte the empty record is read, too: then the connection can carry another request. */
ptrdiff_t fcgi_conn_read_piece(struct request *req, void *into, size_t n)
{
	struct conn *conn = fcgi_conn_of(req);
	char more;
	int got = 0;

	if (!conn->unread)
		return 0;
	if (n > conn->left)
		n = (size_t)conn->left;
	if (n > 0 && (got = FCGX_GetStr(into, (int)n, conn->fcgx.in)) != (int)n)
		return -1;
	conn->left -= n;
	if (conn->left == 0) {
		if (FCGX_GetStr(&more, 1, conn->fcgx.in) != 0 || FCGX_GetError(conn->fcgx.in) != 0)
			return -1;
		conn->unread = conn->last = false;
	}
	return got;
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
	fcgi_conn_skip_body(conn);
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

static bool is_streamed(const struct request *req)
{
	return req->route && req->route->body == ROUTE_STREAMED;
}

/* The checks are over: now the body is wanted, or not. */
void fcgi_conn_checked(struct request *req, bool passed)
{
	struct conn *conn = fcgi_conn_of(req);

	conn->passed = passed;
	conn->last = !conn->whole;
	if (!conn->passed || !wants_body(req)) {
		if (conn->whole) {
			fcgi_conn_skip_body(conn);
		} else {
			req->slow = true;
			req->job.run = skip_slowly;
			if (pool_submit(is_streamed(req) ? req->app->uploads : req->app->slow, &req->job))
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
	} else if (is_streamed(req)) {
		conn->unread = conn->last = true;
		conn->left = req->content_length;
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
	conn->last = conn->large = conn->unread = false;
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
