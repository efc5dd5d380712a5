/* What nginx answers by itself (413, 429, 502, …) reaches no worker. nginx keeps a log of just these answers, a line
 * "time status" for each, and the workers count it: whichever of them gets the lock reads what is new.
 *
 * The counts, and how far the log has been read, are one record in the run directory, replaced as a whole: a reader
 * that is killed leaves both as they were or as they will be, and no line counts twice. The record is a file of its own
 * and not a part of the segment (shm.h), which belongs to one layout: two versions that run side by side share it.
 *
 * The log may be rotated, by renaming and by truncating. A record that is made beside a log that is there already
 * begins at its end. */
#ifndef APPCORE_SHARED_EDGE_H
#define APPCORE_SHARED_EDGE_H

#include "base/err.h"

#include <stdint.h>

enum { EDGE_STATUSES = 32 };

/* Answers with one status. */
struct edge_count {
	uint64_t status; /* 0: any that nginx is not known to make */
	uint64_t n;
};

struct edge; /* a follower of the log; one thread */

/* Both paths are copied; nothing is opened yet. NULL when memory is short. Caller frees with edge_free. */
struct edge *edge_new(const char *run_dir, const char *log_path) __attribute__((nonnull, warn_unused_result));
void edge_free(struct edge *edge);

/* Counts the complete lines that are new, 1 MiB of them at the most. *lines is how many, whatever is returned. Errors:
 * STATUS_BUSY (another worker is reading), STATUS_NOT_FOUND (there is no log), STATUS_UNAVAILABLE (the log can't be
 * read, or the record not written) with a sentence. */
enum status edge_follow(struct edge *edge, uint64_t *lines, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The counts so far, in the order in which the statuses first came. Returns how many. Waits for nobody. */
int edge_counts(const char *run_dir, struct edge_count out[static EDGE_STATUSES]) __attribute__((nonnull));

#endif
