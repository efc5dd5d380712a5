/* A parked request (server-sent events) gives libfcgi's buffers back once its head is out: its pieces are written as
 * records by fcgi_stream.c, when the socket takes them. Meanwhile its peer sends nothing; that it closes is its end. */
#include "http/fcgi_impl.h"

#include "base/clock.h"

#include <sys/socket.h>

enum {
	STREAM_PIECE = 32 * 1024,
	STREAM_SOCKET = 32 * 1024,
	STALLED_MS = 30 * 1000,
	DRAIN_STREAM_MS = 1000, /* nobody waits for one who doesn't read */
};

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
