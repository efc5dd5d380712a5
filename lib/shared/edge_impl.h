/* The record of what was counted and how far the log was read, between keeping it (edge_record.c) and reading the log
 * (edge.c). */
#ifndef APPCORE_SHARED_EDGE_IMPL_H
#define APPCORE_SHARED_EDGE_IMPL_H

#include "base/str.h"
#include "shared/edge.h"

enum { EDGE_TAIL = 32 };

/* Every version reads it: may grow at its end only, or gets another file name. */
struct edge_record {
	uint64_t check;    /* of all that follows */
	uint64_t sequence; /* 0: there is no record yet */
	uint64_t inode;    /* of the file that is read; 0: there was none yet */
	uint64_t offset;   /* bytes of it that are counted */
	uint64_t tail_n;
	char tail[EDGE_TAIL]; /* the last of these bytes: another file, or a truncated one, has others there */
	struct edge_count counts[EDGE_STATUSES]; /* [0]: status 0; no status twice; n is 0: free */
};

/* Opens the record's file, making it when it is not there, and locks it without waiting. The descriptor, whose closing
 * gives the lock back, or -1 with *status and *err set: STATUS_BUSY, STATUS_UNAVAILABLE. */
int edge_record_lock(const char *run_dir, enum status *status, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The newest whole record; zeros when there is none. */
void edge_record_load(int fd, struct edge_record *record) __attribute__((nonnull));

/* Puts it in the place of the one loaded, or of the one stored last. False (errno) when it can't be written: then the
 * former one is still there. */
bool edge_record_store(int fd, struct edge_record *record) __attribute__((nonnull, warn_unused_result));

/* Counts all complete lines of `text` and returns the bytes that they take; *lines grows by their number. */
size_t edge_record_count(struct edge_record *record, struct str text, uint64_t *lines) __attribute__((nonnull));

#endif
