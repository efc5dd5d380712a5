/* A growing run of bytes, in an arena or on the heap. A failed growth is remembered: append freely, ask once at the
 * end. */
#ifndef APPCORE_BASE_BUF_H
#define APPCORE_BASE_BUF_H

#include "base/arena.h"

struct buf {
	char *p;
	size_t n;            /* bytes used */
	size_t cap;          /* bytes there are */
	struct arena *arena; /* NULL: heap */
	bool failed;         /* something did not fit; contents are cut */
};

/* Empty buffer whose bytes live in `arena`. */
void buf_init(struct buf *buf, struct arena *arena) __attribute__((nonnull));

/* Empty buffer on the heap; caller frees with buf_release. */
void buf_init_heap(struct buf *buf) __attribute__((nonnull));

/* Frees a heap buffer; an arena's goes with the arena. */
void buf_release(struct buf *buf) __attribute__((nonnull));

/* Makes room for `more` further bytes. False (and failed) when there is none. */
bool buf_reserve(struct buf *buf, size_t more) __attribute__((nonnull));

void buf_put(struct buf *buf, const void *p, size_t n) __attribute__((nonnull(1)));
void buf_fmt(struct buf *buf, const char *format, ...) __attribute__((nonnull, format(printf, 2, 3)));
void buf_u64(struct buf *buf, uint64_t value) __attribute__((nonnull));

static inline void buf_str(struct buf *buf, struct str s)
{
	buf_put(buf, s.p, s.n);
}

static inline void buf_char(struct buf *buf, char c)
{
	if (buf->n < buf->cap || buf_reserve(buf, 1))
		buf->p[buf->n++] = c;
}

/* What is in it. Borrows: valid until the next append. */
static inline struct str buf_view(const struct buf *buf)
{
	return (struct str){buf->p, buf->n};
}

#endif
