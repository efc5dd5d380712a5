/* Rows of JSON on their way to a client. While they are few they are collected by the thread that reads them, which may
 * be the event thread; what turns out to be large is read again by a slow thread, which streams it piece by piece, so
 * that memory stays bounded by a row. */
#ifndef APPCORE_HANDLERS_ROWS_H
#define APPCORE_HANDLERS_ROWS_H

#include "http/request.h"

enum { ROWS_INLINE_BYTES = 128 * 1024, ROWS_PIECE_BYTES = 32 * 1024 };

struct rows {
	struct request *req;
	int64_t n;       /* rows so far */
	bool streams;    /* else they are collected */
	bool too_large;  /* to be collected: give the request to a slow thread */
	bool gone;       /* the peer is, or its time is over, or memory is short */
	uint64_t end_ms; /* when streaming must be over */
};

/* Before the first row: the body is empty, the status 200. */
void rows_collect(struct rows *rows, struct request *req) __attribute__((nonnull));
void rows_stream(struct rows *rows, struct request *req) __attribute__((nonnull));

/* Before a row of about so many bytes: where to append it, after a comma was put if it is not the first. NULL: no more
 * rows. */
struct buf *rows_next(struct rows *rows, size_t bytes) __attribute__((nonnull, warn_unused_result));

/* After a row. False: no more rows. */
bool rows_sent(struct rows *rows) __attribute__((nonnull, warn_unused_result));

/* Slow thread: runs read(arg, db, err), which streams, with a connection of its own if the thread has none, and ends
 * the request. */
void rows_finish(struct rows *rows, struct db *db, enum status (*read)(struct db *db, void *arg, struct err *err),
		 void *arg) __attribute__((nonnull(1, 3)));

#endif
