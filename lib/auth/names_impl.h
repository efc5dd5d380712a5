/* Between names*.c: text as characters (code points), in the arena. */
#ifndef APPCORE_AUTH_NAMES_IMPL_H
#define APPCORE_AUTH_NAMES_IMPL_H

#include "base/arena.h"

#include <unitypes.h>

struct chars {
	ucs4_t *p;
	size_t n;
};

static inline struct chars chars_part(struct chars s, size_t from, size_t to)
{
	return (struct chars){s.p + from, to - from};
}

/* False: `text` is not UTF-8, or there is no memory. */
bool chars_read(struct str text, struct arena *arena, struct chars *out) __attribute__((nonnull, warn_unused_result));

/* UTF-8 with a NUL behind it; p is NULL without memory. */
struct str chars_write(struct chars s, struct arena *arena) __attribute__((nonnull, warn_unused_result));

/* Unicode's normalisation form C, and its case folding (C + F) in that form. False: no memory. */
bool chars_compose(struct chars s, struct arena *arena, struct chars *out) __attribute__((nonnull, warn_unused_result));
bool chars_fold(struct chars s, struct arena *arena, struct chars *out) __attribute__((nonnull, warn_unused_result));
/* And the folding in form D: letters and their marks apart. */
bool chars_fold_apart(struct chars s, struct arena *arena, struct chars *out)
	__attribute__((nonnull, warn_unused_result));

/* A compatibility character: its form KC is another. */
bool char_is_compatible(ucs4_t c);

/* The Latin letter that a letter or digit of another script, folded, could be taken for; else itself. */
ucs4_t char_lookalike(ucs4_t c);

#endif
