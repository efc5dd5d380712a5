/* Writing: a kept connection carries one request at a time, and its peer has read the whole answer before it sends the
 * next request, so the socket's buffer is empty when an answer starts, and one of up to RESPONSE_INLINE bytes never
 * blocks. Larger ones are written by a slow thread, piece by piece, each when the socket can take it. */
#include "http/fcgi_impl.h"

#include "app.h"

#include <poll.h>

enum { RESPONSE_INLINE = 32 * 1024, PIECE = 32 * 1024 };

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

static void respond(struct request *req)
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

static void open_skipped(struct mail *mail)
{
	respond((struct request *)(void *)((char *)mail - offsetof(struct request, mail)));
}

static void skip_rest(struct pool_job *job, void *thread_state)
{
	struct request *req = (struct request *)(void *)((char *)job - offsetof(struct request, job));

	(void)thread_state;
	fcgi_conn_skip_body(fcgi_conn_of(req));
	req->mail = (struct mail){.open = open_skipped};
	mailbox_send(req->app->mailbox, &req->mail);
}

/* What the handler has left of the body is read before it is answered: nginx would take a connection that is closed
 * in its face for a dead worker. */
void fcgi_answer_respond(struct request *req)
{
	struct conn *conn = fcgi_conn_of(req);

	req->job.run = skip_rest;
	if (conn->unread && !conn->whole && pool_submit(req->app->uploads, &req->job))
		return;
	if (conn->unread && conn->whole)
		fcgi_conn_skip_body(conn);
	respond(req);
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
