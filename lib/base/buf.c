/* Growing bytes: doubling, in an arena (the old block is left to the arena) or on the heap. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_FIRST_BYTES = 256 };

void buf_init(struct buf *buf, struct arena *arena)
{
	*buf = (struct buf){.arena = arena};
}

void buf_init_heap(struct buf *buf)
{
	*buf = (struct buf){0};
}

void buf_release(struct buf *buf)
{
	if (!buf->arena)
		free(buf->p);
	*buf = (struct buf){.arena = buf->arena};
}

bool buf_reserve(struct buf *buf, size_t more)
{
	if (more <= buf->cap - buf->n)
		return true;
	if (more > SIZE_MAX / 4 || buf->n > SIZE_MAX / 4) {
		buf->failed = true;
		return false;
	}
	size_t cap = buf->cap ? buf->cap : BUF_FIRST_BYTES;
	while (cap < buf->n + more)
		cap *= 2;
	char *p;
	if (buf->arena) {
		p = arena_alloc(buf->arena, cap);
		if (p && buf->n)
			memcpy(p, buf->p, buf->n);
	} else {
		p = realloc(buf->p, cap);
	}
	if (!p) {
		buf->failed = true;
		return false;
	}
	buf->p = p;
	buf->cap = cap;
	return true;
}

void buf_put(struct buf *buf, const void *p, size_t n)
{
	if (n == 0 || !buf_reserve(buf, n))
		return;
	memcpy(buf->p + buf->n, p, n);
	buf->n += n;
}

void buf_fmt(struct buf *buf, const char *format, ...)
{
	va_list args;
	char small[256];

	va_start(args, format);
	int n = vsnprintf(small, sizeof(small), format, args);
	va_end(args);
	if (n < 0) {
		buf->failed = true;
		return;
	}
	if ((size_t)n < sizeof(small)) {
		buf_put(buf, small, (size_t)n);
		return;
	}
	if (!buf_reserve(buf, (size_t)n + 1))
		return;
	va_start(args, format);
	vsnprintf(buf->p + buf->n, (size_t)n + 1, format, args);
	va_end(args);
	buf->n += (size_t)n;
}

void buf_u64(struct buf *buf, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	buf_put(buf, digits + at, sizeof(digits) - at);
}
