/* A source read and applied by several threads: each in its turn cuts a block off the source and then reads and applies
 * it beside the others, and the caller takes the chunks in the order of the source. Bounded: at most a few blocks are
 * under way, whatever the source's size. */
#ifndef APPCORE_PIPELINE_FEED_H
#define APPCORE_PIPELINE_FEED_H

#include "pipeline/apply.h"
#include "pipeline/reader.h"

struct feed;

struct feed_chunk {
	struct source_position from, to;
	struct pipeline_row *rows;
	size_t n;
	struct arena arena; /* holds the rows */
	struct source_block block;
	int64_t bytes_done, bytes_total; /* of the source as stored, when the chunk had been cut */
};

/* `source` is the feed's until feed_close. Threads compute at low priority (they give way to requests). */
enum status feed_open(struct feed **out, struct source *source, const struct pipeline *pipeline,
		      struct model_set *models, int threads, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));
/* The next chunk, borrowed until the next call; NULL at the end. Errors as source_next's and pipeline_apply's, after
 * all chunks that came before. */
enum status feed_next(struct feed *feed, const struct feed_chunk **chunk, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
void feed_close(struct feed *feed); /* NULL is allowed */

#endif
