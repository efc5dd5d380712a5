/* The limiter: a set-associative table in shared memory, 1,024 sets of 8 clients, each set under its own lock.
 *
 * A client's window is a ring of cells {time, count}. With a limit of at most LIMIT_EXACT every millisecond with a
 * request has its own cell, so the ring holds the whole truth. Above, requests of the same window / LIMIT_EXACT share a
 * cell that carries the newest one's time: capacity comes back up to one cell's width late, never early, so in no
 * window more than the limit is let through. A request made at t has left the window at t + window.
 *
 * A lock is held for some 50 ns. A holder that was killed is inherited from, and the set put right; one that is stopped
 * costs each caller LIMIT_WAIT_US at the most, and then the request goes uncounted rather than refused. */
#include "shared/shm_impl.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sodium.h>

enum { LIMIT_WAIT_US = 2000 };
enum { KIND_IPV4 = 4, KIND_IPV6 = 6, KIND_KEY = 'k', KIND_USER = 'u', KIND_UNKNOWN = '?' };

_Static_assert((SHM_LIMIT_SETS & (SHM_LIMIT_SETS - 1)) == 0, "a set is chosen by a mask");

struct limit_id limit_id_of_address(struct str address)
{
	static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	struct limit_id id = {{KIND_UNKNOWN}};
	char text[INET6_ADDRSTRLEN];
	uint8_t raw[16];

	if (address.n == 0 || address.n >= sizeof(text))
		return id;
	memcpy(text, address.p, address.n);
	text[address.n] = '\0';
	if (inet_pton(AF_INET, text, raw) == 1) {
		id.b[0] = KIND_IPV4;
		memcpy(id.b + 1, raw, 4);
	} else if (inet_pton(AF_INET6, text, raw) == 1) {
		bool mapped = memcmp(raw, MAPPED, sizeof(MAPPED)) == 0;
		id.b[0] = mapped ? KIND_IPV4 : KIND_IPV6;
		memcpy(id.b + 1, mapped ? raw + 12 : raw, mapped ? 4 : 8);
	}
	return id;
}

struct limit_id limit_id_of_key(struct str key_id)
{
	struct limit_id id = {{KIND_KEY}};
	enum { ROOM = sizeof(id.b) - 2 };

	if (key_id.n <= ROOM) {
		id.b[1] = (uint8_t)key_id.n;
		if (key_id.n > 0)
			memcpy(id.b + 2, key_id.p, key_id.n);
	} else {
		id.b[1] = ROOM + 1;
		crypto_generichash(id.b + 2, ROOM, (const uint8_t *)key_id.p, key_id.n, NULL, 0);
	}
	return id;
}

struct limit_id limit_id_of_user(int64_t user_id, struct str route)
{
	struct limit_id id = {{KIND_USER}};
	enum { ROOM = sizeof(id.b) - 1 - sizeof(user_id) };

	_Static_assert((int)ROOM <= (int)crypto_generichash_BYTES_MIN, "a hash fills it");
	uint8_t hash[crypto_generichash_BYTES_MIN];
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)route.p, route.n, NULL, 0);
	memcpy(id.b + 1, &user_id, sizeof(user_id));
	memcpy(id.b + 1 + sizeof(user_id), hash, ROOM);
	return id;
}

static uint64_t hash_id(const struct shm *shm, const struct limit_id *id)
{
	uint8_t bytes[crypto_shorthash_BYTES];
	uint64_t hash;

	crypto_shorthash(bytes, id->b, sizeof(id->b), shm->seg->secret);
	memcpy(&hash, bytes, sizeof(hash));
	return hash;
}

static uint32_t tag_of(uint64_t hash)
{
	return (uint32_t)(hash >> 32) | 1;
}

static struct shm_limit_cell *cell_at(struct shm_limit_entry *e, uint32_t i)
{
	return &e->cells[(e->head + i) % SHM_LIMIT_CELLS];
}

static uint64_t cell_ms(struct shm_limit_entry *e, uint32_t i)
{
	return e->base_ms + cell_at(e, i)->offset_ms;
}

/* Drops what has left the window. */
static void expire(struct shm_limit_entry *e, uint32_t window_ms, uint64_t now_ms)
{
	/* Times ahead by more than a window are no time of this clock. */
	if (e->n > 0 && cell_ms(e, e->n - 1u) > now_ms + window_ms)
		e->n = 0;
	while (e->n > 0 && cell_ms(e, 0) + window_ms <= now_ms) {
		e->used -= cell_at(e, 0)->count;
		e->head = (uint16_t)((e->head + 1) % SHM_LIMIT_CELLS);
		e->n--;
	}
	if (e->n == 0)
		e->used = 0;
}

/* After expire(), so that the oldest cell is less than a window (32 bits of milliseconds) old. */
static void rebase(struct shm_limit_entry *e, uint64_t at_ms)
{
	if (e->n == 0) {
		e->base_ms = at_ms;
		e->head = 0;
	} else if (at_ms - e->base_ms > UINT32_MAX) {
		uint32_t shift = cell_at(e, 0)->offset_ms;
		for (uint32_t i = 0; i < e->n; i++)
			cell_at(e, i)->offset_ms -= shift;
		e->base_ms += shift;
	}
}

static void count(struct shm_limit_entry *e, uint32_t limit, uint32_t window_ms, uint64_t now_ms)
{
	uint64_t width = limit > LIMIT_EXACT ? ((uint64_t)window_ms + LIMIT_EXACT - 1) / LIMIT_EXACT : 1;
	/* Workers read the clock before they have the lock: a few milliseconds of disorder are normal. */
	uint64_t newest = e->n > 0 ? cell_ms(e, e->n - 1u) : 0;
	uint64_t at = newest > now_ms ? newest : now_ms;

	rebase(e, at);
	width += width == 0;
	/* The ring is full only after a change of limits; sharing errs on the side of the limit then, too. */
	bool shares = e->n > 0 && (newest / width == at / width || e->n == SHM_LIMIT_CELLS);
	if (!shares)
		*cell_at(e, e->n++) = (struct shm_limit_cell){0};
	struct shm_limit_cell *cell = cell_at(e, e->n - 1u);
	cell->offset_ms = (uint32_t)(at - e->base_ms);
	cell->count++;
	e->used++;
}

/* Until enough of the oldest have left for one more request. */
static uint64_t until_room(struct shm_limit_entry *e, uint32_t limit, uint32_t window_ms, uint64_t now_ms)
{
	uint64_t must_go = (uint64_t)e->used - limit + 1;

	for (uint32_t i = 0; i < e->n; i++) {
		uint32_t n = cell_at(e, i)->count;
		if (n >= must_go)
			return cell_ms(e, i) + window_ms - now_ms;
		must_go -= n;
	}
	return window_ms;
}

static struct limit_result take(struct shm_limit_entry *e, uint32_t limit, uint32_t window_ms, uint64_t now_ms)
{
	struct limit_result r = {.limit = limit, .retry_ms = window_ms};

	expire(e, window_ms, now_ms);
	e->window_ms = window_ms;
	r.allowed = e->used < limit;
	if (r.allowed) {
		count(e, limit, window_ms, now_ms);
		r.remaining = limit - e->used;
	} else {
		r.retry_ms = until_room(e, limit, window_ms, now_ms);
	}
	return r;
}

/* A free place, else the one that has used least of late (nothing, when its window has passed), of these the idlest. */
static int choose_way(struct shm_limit_set *set, uint64_t now_ms)
{
	uint64_t best_newest = UINT64_MAX;
	uint32_t least = UINT32_MAX;
	int best = 0;

	for (int i = 0; i < SHM_LIMIT_WAYS; i++) {
		struct shm_limit_entry *e = &set->entries[i];
		if (set->tags[i] == 0)
			return i;
		expire(e, e->window_ms, now_ms);
		uint64_t newest = e->n > 0 ? cell_ms(e, e->n - 1u) : 0;
		if (e->used < least || (e->used == least && newest < best_newest)) {
			least = e->used;
			best_newest = newest;
			best = i;
		}
	}
	return best;
}

static struct shm_limit_entry *find_or_make(struct shm_limit_set *set, uint32_t tag, const struct limit_id *id,
					    uint64_t now_ms)
{
	for (int i = 0; i < SHM_LIMIT_WAYS; i++)
		if (set->tags[i] == tag && memcmp(&set->entries[i].id, id, sizeof(*id)) == 0)
			return &set->entries[i];
	int way = choose_way(set, now_ms);
	struct shm_limit_entry *e = &set->entries[way];
	set->tags[way] = 0;
	e->id = *id;
	e->n = 0;
	e->head = 0;
	e->used = 0;
	set->tags[way] = tag;
	return e;
}

/* The last holder died inside: what it was writing may be of two minds. Keeps what makes sense. */
static void repair(const struct shm *shm, struct shm_limit_set *set)
{
	for (int i = 0; i < SHM_LIMIT_WAYS; i++) {
		struct shm_limit_entry *e = &set->entries[i];
		if (set->tags[i] == 0)
			continue;
		if (set->tags[i] != tag_of(hash_id(shm, &e->id)) || e->head >= SHM_LIMIT_CELLS ||
		    e->n > SHM_LIMIT_CELLS) {
			set->tags[i] = 0;
			continue;
		}
		e->used = 0;
		for (uint32_t c = 0; c < e->n; c++)
			e->used += cell_at(e, c)->count;
	}
}

struct limit_result limit_take(struct shm *shm, struct limit_id id, uint32_t limit, uint32_t window_ms, uint64_t now_ms)
{
	if (limit == 0)
		return (struct limit_result){.allowed = true};
	uint64_t hash = hash_id(shm, &id);
	struct shm_limit_set *set = &shm->seg->limit[hash & (SHM_LIMIT_SETS - 1)];
	enum shm_lock_state got = shm_lock_take(shm, &set->lock, LIMIT_WAIT_US);
	if (got == SHM_LOCK_TIMEOUT) {
		atomic_fetch_add_explicit(&shm->seg->totals.limit_skipped, 1, memory_order_relaxed);
		return (struct limit_result){true, limit, limit - 1, window_ms};
	}
	if (got == SHM_LOCK_INHERITED)
		repair(shm, set);
	struct limit_result r = take(find_or_make(set, tag_of(hash), &id, now_ms), limit, window_ms, now_ms);
	shm_lock_give(&set->lock);
	return r;
}

void limit_give_back(struct shm *shm, struct limit_id id)
{
	uint64_t hash = hash_id(shm, &id);
	struct shm_limit_set *set = &shm->seg->limit[hash & (SHM_LIMIT_SETS - 1)];
	enum shm_lock_state got = shm_lock_take(shm, &set->lock, LIMIT_WAIT_US);

	if (got == SHM_LOCK_TIMEOUT)
		return;
	if (got == SHM_LOCK_INHERITED)
		repair(shm, set);
	for (int i = 0; i < SHM_LIMIT_WAYS; i++) {
		struct shm_limit_entry *e = &set->entries[i];
		if (set->tags[i] != tag_of(hash) || memcmp(&e->id, &id, sizeof(id)) != 0 || e->n == 0)
			continue;
		/* The newest may be another's of the same moment by now: what counts is how many. */
		e->used--;
		if (--cell_at(e, e->n - 1u)->count == 0)
			e->n--;
	}
	shm_lock_give(&set->lock);
}

uint64_t limit_skipped(const struct shm *shm)
{
	return atomic_load_explicit(&shm->seg->totals.limit_skipped, memory_order_relaxed);
}
