/* Private to what speaks FastCGI: a connection, and the server that has them.
 *
 * fcgi.c accepts, drains and closes; fcgi_conn.c reads requests from a connection until it is dropped; fcgi_answer.c
 * writes answers; fcgi_parked.c is for answers that go on. */
#ifndef APPCORE_HTTP_FCGI_IMPL_H
#define APPCORE_HTTP_FCGI_IMPL_H

#include "http/fcgi.h"

#include "http/fcgi_stream.h"
#include "http/loop.h"
#include "http/request.h"

#include <fcgiapp.h>

enum { FCGI_PEEK_BYTES = 64 * 1024, FCGI_IO_TIMEOUT_S = 10 };

struct conn {
	struct loop_watch watch; /* first: the loop hands it back */
	struct fcgi_server *server;
	FCGX_Request fcgx;
	struct request req;
	bool busy;                 /* a request is on the way: the bytes that come meanwhile wait */
	bool again;                /* something came while it was busy */
	bool last;                 /* close after this response */
	bool whole;                /* the request's body had come with it */
	bool unread;               /* the handler is to read it in pieces, and some is left */
	uint64_t left;             /* bytes of it */
	bool passed;               /* the request may be answered by its handler */
	bool large;                /* its answer has a place among the large ones */
	bool streaming;            /* its answer is fcgi_stream's */
	bool wants_output;         /* the loop is to tell when the socket takes more */
	bool full;                 /* its owner waits to hear that there is room */
	bool dirty;                /* in the list of those that have something to send */
	struct parked *parked;     /* who pushes the pieces; NULL: nobody any more */
	struct fcgi_stream stream; /* while streaming */
	uint64_t ended_ms;         /* since when its end waits to be sent */
	uint64_t moved_ms;         /* when the socket last took something, or nothing waited */
	uint64_t partial_ms;       /* since when half a request waits; 0: none */
	struct conn *next_dirty;
	struct conn *next, **link; /* list of open connections, or of closed ones */
};

struct fcgi_server {
	struct loop_watch watch; /* first: of the listening socket */
	struct loop *loop;
	struct app *app;
	struct conn *open, *closed, *dirty;
	int connections, busy;
	int large; /* answers that wait for a slow thread, or are with one */
	bool accepting, draining;
	uint64_t swept_ms;
	uint8_t peek[FCGI_PEEK_BYTES];
};

/* --- fcgi.c --- */

void fcgi_resume_accepting(struct fcgi_server *server) __attribute__((nonnull));

/* --- fcgi_conn.c --- */

struct conn *fcgi_conn_of(struct request *req) __attribute__((nonnull));
/* Closes the descriptor and gives libfcgi's buffers back; the connection stays. */
void fcgi_conn_close(struct conn *conn) __attribute__((nonnull));
/* Ends a connection. Its memory goes at the end of the round. */
void fcgi_conn_drop(struct conn *conn) __attribute__((nonnull));
/* After the response: the connection waits for its next request, or is closed. */
void fcgi_conn_recycle(struct conn *conn) __attribute__((nonnull));
/* Looks at what has arrived and starts the request, if it is one. */
void fcgi_conn_read(struct conn *conn) __attribute__((nonnull));
void fcgi_conn_ready(struct loop_watch *watch) __attribute__((nonnull));
/* Reads away what is left of a body, and the end of the request; may block when it is not all there. */
void fcgi_conn_skip_body(struct conn *conn) __attribute__((nonnull));
/* Of the transport. */
void fcgi_conn_checked(struct request *req, bool passed) __attribute__((nonnull));
ptrdiff_t fcgi_conn_read_piece(struct request *req, void *into, size_t n) __attribute__((nonnull));

/* --- fcgi_answer.c, of the transport --- */

bool fcgi_answer_reserve(struct request *req) __attribute__((nonnull));
void fcgi_answer_respond(struct request *req) __attribute__((nonnull));
bool fcgi_answer_stream(struct request *req, struct str piece) __attribute__((nonnull));

/* --- fcgi_parked.c --- */

/* Of the transport. */
void fcgi_parked_begin(struct request *req, struct parked *parked) __attribute__((nonnull));
bool fcgi_parked_push(struct parked *parked, struct str piece) __attribute__((nonnull));
void fcgi_parked_end(struct parked *parked) __attribute__((nonnull));

/* Tells the owner, if there still is one, who has no more to do with it. */
void fcgi_parked_tell_gone(struct conn *conn, enum parked_end why) __attribute__((nonnull));
/* The end is sent behind what waits. Its owner is told, or has said so. */
void fcgi_parked_end_stream(struct conn *conn) __attribute__((nonnull));
/* What came while it was not looked at yet, or has come now. */
void fcgi_parked_look(struct conn *conn) __attribute__((nonnull));
/* Ends one whose peer takes nothing for too long. */
void fcgi_parked_look_at_progress(struct conn *conn, uint64_t now_ms) __attribute__((nonnull));
/* Sends what was pushed since. */
void fcgi_parked_send(struct fcgi_server *server) __attribute__((nonnull));

#endif
