/* Finds the place of a name in a list, in constant time for lists of any length. */
#ifndef APPCORE_MODEL_NAMES_H
#define APPCORE_MODEL_NAMES_H

#include "base/arena.h"

enum { NAMES_KEY_BYTES = 16, NAMES_DIRECT_MAX = 8 };

struct names {
	const struct str *names; /* borrowed */
	int n;
	const int *slots; /* place + 1, 0: free; NULL: the list is short and looked through */
	uint32_t mask;
	uint8_t key[NAMES_KEY_BYTES];
};

/* Makes the index; what it takes lives in the arena. `key` makes the hash, so that names can't be chosen to collide.
 * False when memory is short (*twice is -1) or a name is there twice (*twice is its second place). */
bool names_init(struct names *index, const struct str *names, int n, const uint8_t key[static NAMES_KEY_BYTES],
		struct arena *arena, int *twice) __attribute__((nonnull(1, 4, 5, 6), warn_unused_result));

/* The place of `name`, or -1. */
int names_find(const struct names *index, struct str name) __attribute__((nonnull));

#endif
