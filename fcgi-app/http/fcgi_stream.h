/* An answer that goes on for as long as its listener stays, written in FastCGI's records (1.0, section 3.3) on a
 * non-blocking socket, without libfcgi, whose buffers are 17 kB a request. What the socket doesn't take waits here, up
 * to a bound. One thread. */
#ifndef APPCORE_HTTP_FCGI_STREAM_H
#define APPCORE_HTTP_FCGI_STREAM_H

#include "base/buf.h"

/* Bytes that may wait for a listener, and so many that nothing more should be put to them. */
enum { FCGI_STREAM_WAITING = 256 * 1024, FCGI_STREAM_FULL = 64 * 1024 };

struct fcgi_stream {
	int fd; /* borrowed */
	unsigned id;
	struct buf out; /* records that the socket has not taken yet; heap, gone while there are none */
	size_t sent;    /* of `out` */
	bool lost;      /* too much waits, or the peer is gone, or memory is short: close the connection */
	bool slow;      /* the first of these */
	bool moved;     /* the socket has taken something since this was last looked at */
};

void fcgi_stream_init(struct fcgi_stream *stream, int fd, unsigned id) __attribute__((nonnull));
void fcgi_stream_release(struct fcgi_stream *stream) __attribute__((nonnull));

/* Queues bytes of the answer. */
void fcgi_stream_put(struct fcgi_stream *stream, struct str bytes) __attribute__((nonnull));

/* So much waits that nothing more should be put to it. */
bool fcgi_stream_is_full(const struct fcgi_stream *stream) __attribute__((nonnull));

/* Queues the end of the answer and of the request. */
void fcgi_stream_end(struct fcgi_stream *stream) __attribute__((nonnull));

/* Writes what the socket takes. False: something is left. */
bool fcgi_stream_flush(struct fcgi_stream *stream) __attribute__((nonnull));

enum fcgi_stream_peer {
	FCGI_STREAM_QUIET,   /* nothing has come */
	FCGI_STREAM_ABORTS,  /* it wants no more (FCGI_ABORT_REQUEST): end the request */
	FCGI_STREAM_IS_GONE, /* it has closed, or sent what nobody sends to an answer on its way: close */
};
/* Reads what the peer has sent. */
enum fcgi_stream_peer fcgi_stream_read(struct fcgi_stream *stream) __attribute__((nonnull, warn_unused_result));

#endif
