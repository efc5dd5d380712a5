/* One arena per request: everything a request needs lives in it and goes with it at once. Bounded: an allocation
 * past the limit fails instead of growing. Not for sharing between threads at the same time. */
#ifndef APPCORE_BASE_ARENA_H
#define APPCORE_BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;
struct arena_cleanup;

struct arena {
	struct arena_chunk *first;   /* kept over resets */
	struct arena_chunk *current; /* newest chunk */
	struct arena_chunk *spare;   /* kept over resets, too: arena_keep */
	struct arena_cleanup *cleanups;
	size_t used;  /* bytes handed out and reserved since the reset */
	size_t limit; /* bytes at the most */
	size_t keep;  /* bytes of spare chunks at the most */
	size_t kept;  /* bytes of them */
};

enum { ARENA_CHUNK_BYTES = 8 * 1024 };

/* An empty arena that may grow to `limit` bytes. Allocates nothing yet. */
void arena_init(struct arena *arena, size_t limit) __attribute__((nonnull));

/* From now on resets keep chunks of up to `bytes` in all, for one who fills it with as much again and again: memory
 * that goes back and forth between the process and the system costs more than what is done with it. */
void arena_keep(struct arena *arena, size_t bytes) __attribute__((nonnull));

/* `size` bytes, aligned for any type, not cleared. NULL when the limit or the machine's memory is reached. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((nonnull, malloc, warn_unused_result));

/* The same, cleared. */
void *arena_zalloc(struct arena *arena, size_t size) __attribute__((nonnull, malloc, warn_unused_result));

/* A copy of `s` with a NUL behind it (not counted in n). p is NULL when there is no room. Lives in the arena. */
struct str arena_dup(struct arena *arena, struct str s) __attribute__((nonnull, warn_unused_result));

/* Calls fn(arg) at the next reset or release, last registered first. False when there is no room (fn is not called). */
bool arena_on_reset(struct arena *arena, void (*fn)(void *arg), void *arg)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Runs the cleanups and forgets all allocations; keeps one chunk for the next request, and what arena_keep says. */
void arena_reset(struct arena *arena) __attribute__((nonnull));

/* Runs the cleanups and gives all memory back. The arena can be used again as after arena_init. */
void arena_release(struct arena *arena) __attribute__((nonnull));

#endif
