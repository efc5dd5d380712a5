/* Idempotency-Keys that are running: sets of 64 places, chosen by a keyed hash.
 *
 * A place is held by a slot and its generation; it is free when its holder is 0, and void when the holder's worker is
 * gone. Claiming takes the set's lock, because two workers must not put the same key into two places. The holder is
 * written last: a worker killed half-way leaves a free place or, taking one over, a void one. Freeing needs no lock,
 * since only the holder may do it, so an answer never waits for it. */
#include "shared/shm_impl.h"

#include <sodium.h>

enum { RUNNING_WAIT_US = 50 * 1000 };

/* Whether the slots' workers are alive, asked at most once in a claim. */
struct liveness {
	uint64_t known, alive; /* a bit per slot */
};

_Static_assert(SHM_SLOTS <= 64, "a bit per slot");

static uint64_t holder_of(int slot, uint32_t generation)
{
	return (uint64_t)((uint32_t)slot + 1) << 32 | generation;
}

static bool is_void(const struct shm *shm, uint64_t holder, struct liveness *live)
{
	uint64_t slot = (holder >> 32) - 1;

	if (slot >= SHM_SLOTS)
		return true;
	const struct shm_slot *s = &shm->seg->slots[slot];
	if (!(live->known >> slot & 1)) {
		uint64_t owner = atomic_load(&s->owner);
		live->known |= UINT64_C(1) << slot;
		if (owner != 0 && shm_owner_alive(shm, owner))
			live->alive |= UINT64_C(1) << slot;
	}
	return !(live->alive >> slot & 1) || atomic_load(&s->generation) != (uint32_t)holder;
}

static struct shm_running_set *set_of(struct shm *shm, const uint8_t key[16])
{
	uint8_t hash[crypto_shorthash_BYTES];

	crypto_shorthash(hash, key, 16, shm->seg->secret);
	return &shm->seg->running[hash[0] % SHM_RUNNING_SETS];
}

static bool pair_eq(const _Atomic uint64_t pair[2], const uint64_t with[2])
{
	return atomic_load_explicit(&pair[0], memory_order_relaxed) == with[0] &&
	       atomic_load_explicit(&pair[1], memory_order_relaxed) == with[1];
}

static void pair_set(_Atomic uint64_t pair[2], const uint64_t to[2])
{
	atomic_store_explicit(&pair[0], to[0], memory_order_relaxed);
	atomic_store_explicit(&pair[1], to[1], memory_order_relaxed);
}

static void fill(struct shm_running_set *set, int i, const uint64_t key[2], const uint64_t identity[2], uint64_t self)
{
	/* Free while its words change, unless it has this key already. */
	if (!pair_eq(set->keys[i], key)) {
		atomic_store(&set->holders[i], 0);
		pair_set(set->keys[i], key);
	}
	pair_set(set->identities[i], identity);
	atomic_store_explicit(&set->holders[i], self, memory_order_release);
}

/* Under the lock. */
static enum shm_running claim(struct shm *shm, struct shm_running_set *set, const uint64_t key[2],
			      const uint64_t identity[2])
{
	uint64_t self = holder_of(shm->slot, shm->generation);
	struct liveness live = {0};
	int room = -1;

	for (int i = 0; i < SHM_RUNNING_WAYS; i++) {
		uint64_t holder = atomic_load_explicit(&set->holders[i], memory_order_acquire);
		if (holder == 0) {
			room = room < 0 ? i : room;
			continue;
		}
		if (!pair_eq(set->keys[i], key))
			continue;
		if (!pair_eq(set->identities[i], identity) && !is_void(shm, holder, &live))
			return SHM_RUNNING_ELSEWHERE;
		fill(set, i, key, identity, self);
		return SHM_RUNNING_CLAIMED;
	}
	for (int i = 0; room < 0 && i < SHM_RUNNING_WAYS; i++)
		if (is_void(shm, atomic_load(&set->holders[i]), &live))
			room = i;
	if (room < 0)
		return SHM_RUNNING_FULL;
	fill(set, room, key, identity, self);
	return SHM_RUNNING_CLAIMED;
}

enum shm_running shm_running_claim(struct shm *shm, const uint8_t key[16], const uint8_t identity[16])
{
	struct shm_running_set *set = set_of(shm, key);
	uint64_t k[2], id[2];

	/* A lock that does not come in time is a stopped worker: refused, as when there is no room. */
	if (shm->slot < 0 || shm_lock_take(shm, &set->lock, RUNNING_WAIT_US) == SHM_LOCK_TIMEOUT)
		return SHM_RUNNING_FULL;
	memcpy(k, key, sizeof(k));
	memcpy(id, identity, sizeof(id));
	enum shm_running result = claim(shm, set, k, id);
	shm_lock_give(&set->lock);
	return result;
}

void shm_running_release(struct shm *shm, const uint8_t key[16], const uint8_t identity[16])
{
	struct shm_running_set *set = set_of(shm, key);
	uint64_t k[2], id[2];

	if (shm->slot < 0)
		return;
	memcpy(k, key, sizeof(k));
	memcpy(id, identity, sizeof(id));
	for (int i = 0; i < SHM_RUNNING_WAYS; i++) {
		uint64_t self = holder_of(shm->slot, shm->generation);
		if (atomic_load_explicit(&set->holders[i], memory_order_acquire) == self && pair_eq(set->keys[i], k) &&
		    pair_eq(set->identities[i], id)) {
			atomic_compare_exchange_strong(&set->holders[i], &self, 0);
			return;
		}
	}
}
