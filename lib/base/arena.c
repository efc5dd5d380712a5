/* Chunked bump allocator. The first chunk is kept over resets, so a request of ordinary size costs no malloc; what
 * does not fit gets a chunk of its own size and is freed at the reset, so a large request leaves nothing behind. */
#include "base/arena.h"

#include <stdlib.h>

struct arena_chunk {
	struct arena_chunk *older;
	size_t used; /* bytes of data[] */
	size_t size;
	_Alignas(max_align_t) unsigned char data[];
};

struct arena_cleanup {
	struct arena_cleanup *older;
	void (*fn)(void *arg);
	void *arg;
};

enum { SPARE_TRIES = 4 }; /* chunks that are looked at for one that is large enough */

static struct arena_chunk *take_spare(struct arena *arena, size_t room)
{
	struct arena_chunk **at = &arena->spare;

	for (int i = 0; *at && i < SPARE_TRIES; i++, at = &(*at)->older) {
		struct arena_chunk *chunk = *at;
		if (chunk->size < room)
			continue;
		*at = chunk->older;
		arena->kept -= chunk->size;
		return chunk;
	}
	return NULL;
}

static void drop_chunk(struct arena *arena, struct arena_chunk *chunk)
{
	if (chunk->size > arena->keep || arena->kept > arena->keep - chunk->size) {
		free(chunk);
		return;
	}
	chunk->older = arena->spare;
	arena->spare = chunk;
	arena->kept += chunk->size;
}

static struct arena_chunk *add_chunk(struct arena *arena, size_t size)
{
	size_t room = size > ARENA_CHUNK_BYTES ? size : ARENA_CHUNK_BYTES;
	struct arena_chunk *chunk = take_spare(arena, room);

	if (!chunk) {
		chunk = malloc(sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->size = room;
	}
	chunk->used = 0;
	chunk->older = arena->current;
	arena->current = chunk;
	if (!arena->first)
		arena->first = chunk;
	return chunk;
}

void arena_init(struct arena *arena, size_t limit)
{
	*arena = (struct arena){.limit = limit};
}

void arena_keep(struct arena *arena, size_t bytes)
{
	arena->keep = bytes;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	const size_t align = _Alignof(max_align_t);

	if (size > PTRDIFF_MAX / 2 || size > arena->limit || arena->used > arena->limit - size)
		return NULL; /* also where rounding up would run over */
	size_t rounded = (size + align - 1) & ~(align - 1);
	struct arena_chunk *chunk = arena->current;
	if (!chunk || chunk->size - chunk->used < rounded)
		chunk = add_chunk(arena, rounded);
	if (!chunk)
		return NULL;
	void *p = chunk->data + chunk->used;
	chunk->used += rounded;
	arena->used += rounded;
	return p;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
	void *p = arena_alloc(arena, size);
	return p ? memset(p, 0, size) : NULL;
}

struct str arena_dup(struct arena *arena, struct str s)
{
	char *copy = arena_alloc(arena, s.n + 1);

	if (!copy)
		return (struct str){0};
	if (s.n)
		memcpy(copy, s.p, s.n);
	copy[s.n] = '\0';
	return (struct str){copy, s.n};
}

bool arena_on_reset(struct arena *arena, void (*fn)(void *arg), void *arg)
{
	struct arena_cleanup *cleanup = arena_alloc(arena, sizeof(*cleanup));

	if (!cleanup)
		return false;
	*cleanup = (struct arena_cleanup){.older = arena->cleanups, .fn = fn, .arg = arg};
	arena->cleanups = cleanup;
	return true;
}

static void run_cleanups(struct arena *arena)
{
	while (arena->cleanups) {
		struct arena_cleanup *cleanup = arena->cleanups;
		arena->cleanups = cleanup->older;
		cleanup->fn(cleanup->arg);
	}
}

void arena_reset(struct arena *arena)
{
	run_cleanups(arena);
	while (arena->current != arena->first) {
		struct arena_chunk *chunk = arena->current;
		arena->current = chunk->older;
		drop_chunk(arena, chunk);
	}
	if (arena->first && arena->first->size > ARENA_CHUNK_BYTES) {
		drop_chunk(arena, arena->first);
		arena->first = arena->current = NULL;
	}
	if (arena->first)
		arena->first->used = 0;
	arena->used = 0;
}

void arena_release(struct arena *arena)
{
	arena->keep = 0;
	arena_reset(arena);
	free(arena->first);
	arena->first = arena->current = NULL;
	while (arena->spare) {
		struct arena_chunk *chunk = arena->spare;
		arena->spare = chunk->older;
		free(chunk);
	}
	arena->kept = 0;
}
