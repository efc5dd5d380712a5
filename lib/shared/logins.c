/* A debt for each name and address (the generic cell rate algorithm, ITU-T I.371): a failure adds LOGINS_SPACING_MS to
 * it, time pays it back, and one more is admitted while it fits under LOGINS_AT_ONCE times that. The limiter's sliding
 * windows (limit.c) can't say this: what was used at once comes back at once there. */
#include "shared/logins.h"

#include "shared/shm_impl.h"

#include <sodium.h>

enum { WAIT_US = 2000, UNDER_WAY_MS = 60 * 1000, DEBT_MAX_MS = LOGINS_AT_ONCE * LOGINS_SPACING_MS };

_Static_assert((SHM_LOGIN_SETS & (SHM_LOGIN_SETS - 1)) == 0, "a set is chosen by a mask");

struct limit_id logins_id(struct str address, struct str name)
{
	struct limit_id client = limit_id_of_address(address), id;
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, sizeof(id.b));
	crypto_generichash_update(&state, client.b, sizeof(client.b));
	crypto_generichash_update(&state, (const uint8_t *)(name.p ? name.p : ""), name.n);
	crypto_generichash_final(&state, id.b, sizeof(id.b));
	return id;
}

/* The id is a hash: only who knows the segment's secret can aim at one set. */
static struct shm_login_set *lock_set(struct shm *shm, const struct limit_id *id)
{
	uint8_t bytes[crypto_shorthash_BYTES];
	uint64_t hash;

	crypto_shorthash(bytes, id->b, sizeof(id->b), shm->seg->secret);
	memcpy(&hash, bytes, sizeof(hash));
	struct shm_login_set *set = &shm->seg->logins[hash & (SHM_LOGIN_SETS - 1)];
	/* An entry is right whatever a holder that died inside had written of it: the worst is a failure forgotten. */
	return shm_lock_take(shm, &set->lock, WAIT_US) == SHM_LOCK_TIMEOUT ? NULL : set;
}

static uint64_t debt_ms(const struct shm_login_entry *e, uint64_t now_ms)
{
	uint64_t debt = e->paid_ms > now_ms ? e->paid_ms - now_ms : 0;

	return debt > DEBT_MAX_MS + UNDER_WAY_MS ? 0 : debt; /* that is no time of this clock */
}

static uint32_t under_way(const struct shm_login_entry *e, uint64_t now_ms)
{
	return e->until_ms > now_ms && e->until_ms - now_ms <= UNDER_WAY_MS ? e->under_way : 0;
}

static struct shm_login_entry *find(struct shm_login_set *set, const struct limit_id *id)
{
	for (int i = 0; i < SHM_LOGIN_WAYS; i++)
		if (memcmp(&set->entries[i].id, id, sizeof(*id)) == 0)
			return &set->entries[i];
	return NULL;
}

static uint64_t owed_ms(const struct shm_login_entry *e, uint64_t now_ms)
{
	return debt_ms(e, now_ms) + under_way(e, now_ms) * (uint64_t)LOGINS_SPACING_MS;
}

/* A new one takes the place of the one that owes least. */
static struct shm_login_entry *find_or_make(struct shm_login_set *set, const struct limit_id *id, uint64_t now_ms)
{
	struct shm_login_entry *e = find(set, id);

	if (e)
		return e;
	e = &set->entries[0];
	for (int i = 1; i < SHM_LOGIN_WAYS; i++)
		if (owed_ms(&set->entries[i], now_ms) < owed_ms(e, now_ms))
			e = &set->entries[i];
	*e = (struct shm_login_entry){.id = *id};
	return e;
}

static enum logins_answer admit(struct shm_login_entry *e, uint64_t now_ms, uint64_t *retry_ms)
{
	uint64_t debt = debt_ms(e, now_ms);
	uint32_t others = under_way(e, now_ms);

	if (debt + LOGINS_SPACING_MS > DEBT_MAX_MS) {
		*retry_ms = debt + LOGINS_SPACING_MS - DEBT_MAX_MS;
		return LOGINS_REFUSED;
	}
	if (debt + (others + 1) * (uint64_t)LOGINS_SPACING_MS > DEBT_MAX_MS)
		return LOGINS_WAIT;
	e->under_way = others + 1;
	e->until_ms = now_ms + UNDER_WAY_MS;
	return LOGINS_ADMITTED;
}

enum logins_answer logins_admit(struct shm *shm, struct limit_id id, uint64_t now_ms, uint64_t *retry_ms)
{
	struct shm_login_set *set = lock_set(shm, &id);

	*retry_ms = 0;
	if (!set) {
		atomic_fetch_add_explicit(&shm->seg->totals.limit_skipped, 1, memory_order_relaxed);
		return LOGINS_ADMITTED;
	}
	struct shm_login_entry *e = find_or_make(set, &id, now_ms);
	enum logins_answer answer = admit(e, now_ms, retry_ms);
	shm_lock_give(&set->lock);
	return answer;
}

void logins_settle(struct shm *shm, struct limit_id id, bool failed, uint64_t now_ms)
{
	struct shm_login_set *set = lock_set(shm, &id);

	if (!set)
		return;
	struct shm_login_entry *e = failed ? find_or_make(set, &id, now_ms) : find(set, &id);
	if (e && e->under_way > 0)
		e->under_way--;
	if (e && failed)
		e->paid_ms = now_ms + debt_ms(e, now_ms) + LOGINS_SPACING_MS;
	shm_lock_give(&set->lock);
}
