/* Worker slots: claiming, signs of life, ending those that give none.
 *
 * Claims are rare and take turns on the run directory's lock, whatever the version, so that "no other worker is alive"
 * can be asked without a race. Everything in a slot is written before the owner word, which makes the claim. */
#include "shared/shm_impl.h"
#include "base/clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

union instance {
	char text[SHM_INSTANCE_BYTES];
	uint64_t words[SHM_INSTANCE_BYTES / 8];
};

enum { INSTANCE_WORDS = SHM_INSTANCE_BYTES / 8 };

static union instance instance_of(const char *text)
{
	union instance in = {{0}};
	size_t n = strlen(text);

	memcpy(in.text, text, n < sizeof(in.text) ? n : sizeof(in.text) - 1);
	return in;
}

static union instance slot_instance(const struct shm_slot *slot)
{
	union instance in;

	for (size_t i = 0; i < INSTANCE_WORDS; i++)
		in.words[i] = atomic_load_explicit(&slot->instance[i], memory_order_relaxed);
	in.text[sizeof(in.text) - 1] = '\0';
	return in;
}

static uint64_t slot_owner(const struct shm_slot *slot)
{
	return atomic_load_explicit(&slot->owner, memory_order_acquire);
}

/* The dead slot that suits best: had by this instance before, else never used, else any. -1: all are alive. *others is
 * whether any slot is alive. */
static int choose_slot(const struct shm *shm, const union instance *in, bool *others)
{
	int best = -1, best_rank = 0;

	*others = false;
	for (int i = 0; i < SHM_SLOTS; i++) {
		const struct shm_slot *slot = &shm->seg->slots[i];
		if (shm_owner_alive(shm, slot_owner(slot))) {
			*others = true;
			continue;
		}
		union instance had = slot_instance(slot);
		bool used = atomic_load(&slot->generation) != 0;
		int rank = !used ? 2 : memcmp(&had, in, sizeof(had)) == 0 ? 3 : 1;
		if (rank > best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	return best;
}

/* When the service started, going by the workers of other versions; 0 when none is alive. */
static int64_t start_of_others(const struct shm *shm)
{
	struct shm_view *views = calloc(SHM_VIEWS, sizeof(*views));
	int64_t start = 0;

	if (!views)
		return 0;
	int n = shm_views_open(shm, views);
	for (int i = 1; i < n; i++) {
		const struct shm_totals *totals = shm_view_at(&views[i], views[i].d.totals, 0);
		int64_t its = atomic_load(&totals->service_start_us);
		if (views[i].live_n > 0 && its > 0 && (start == 0 || its < start))
			start = its;
	}
	shm_views_close(views, n);
	free(views);
	return start;
}

/* Times of another boot mean nothing in this one, and a retired segment has lost its secret. Nobody else is alive. */
static bool begin_boot(struct shm_segment *seg)
{
	if (atomic_load(&seg->boot) == shm_owner_boot())
		return true;
	if (getrandom(seg->secret, sizeof(seg->secret), 0) != (ssize_t)sizeof(seg->secret))
		return false;
	memset(&seg->marks, 0, sizeof(seg->marks));
	for (size_t i = 0; i < SHM_LIMIT_SETS; i++)
		memset(seg->limit[i].tags, 0, sizeof(seg->limit[i].tags));
	memset(seg->logins, 0, sizeof(seg->logins));
	atomic_store(&seg->boot, shm_owner_boot());
	return true;
}

/* The service begins with this worker, unless another version of it is at work. */
static bool begin_service(struct shm *shm, int64_t now_us)
{
	int64_t start = start_of_others(shm);

	if (!begin_boot(shm->seg))
		return false;
	atomic_store(&shm->seg->totals.service_start_us, start ? start : now_us);
	return true;
}

static void take_slot(struct shm *shm, int chosen, const union instance *in, enum shm_role role, int64_t now_us)
{
	struct shm_slot *slot = &shm->seg->slots[chosen];
	uint32_t generation = atomic_load(&slot->generation) + 1;

	/* 0 says "never used"; after four billion claims it is skipped. */
	generation += generation == 0;
	atomic_store(&slot->owner, 0);
	atomic_store(&slot->generation, generation);
	atomic_store(&slot->start_us, now_us);
	atomic_store(&slot->beat_ms, 0);
	atomic_store(&slot->role, role);
	for (size_t i = 0; i < INSTANCE_WORDS; i++)
		atomic_store_explicit(&slot->instance[i], in->words[i], memory_order_relaxed);
	atomic_store_explicit(&slot->owner, shm->self, memory_order_release);
	atomic_fetch_add_explicit(&slot->changes, 1, memory_order_relaxed);
	shm->slot = chosen;
	shm->generation = generation;
	shm->row = shm->seg->cells[chosen];
}

enum status shm_claim_slot_as(struct shm *shm, const char *instance, enum shm_role role, struct err *err)
{
	union instance in = instance_of(instance);
	enum status status = STATUS_OK;
	bool others;

	if (shm->slot >= 0)
		return err_set(err, STATUS_INTERNAL, "This process has a worker slot already.");
	int lock = shm_dir_lock(shm->dir, err);
	if (lock < 0)
		return STATUS_UNAVAILABLE;
	int64_t now_us = clock_wall_us();
	int chosen = choose_slot(shm, &in, &others);
	/* Another version may have retired the segment since it was opened here: no holes under a live worker. */
	if (posix_fallocate(shm->fd, 0, (off_t)sizeof(struct shm_segment)) != 0)
		status = err_set(err, STATUS_UNAVAILABLE, "There is no room for the shared memory in %s.", shm->dir);
	else if (chosen < 0)
		status = err_set(err, STATUS_BUSY, "All %d worker slots are taken.", SHM_SLOTS);
	else if (!others && !begin_service(shm, now_us))
		status = err_set(err, STATUS_UNAVAILABLE, "The system gives no random bytes.");
	else
		take_slot(shm, chosen, &in, role, now_us);
	if (status == STATUS_OK)
		shm_views_retire(shm);
	close(lock);
	return status;
}

enum status shm_claim_slot(struct shm *shm, const char *instance, struct err *err)
{
	return shm_claim_slot_as(shm, instance, SHM_SERVES, err);
}

void shm_close(struct shm *shm)
{
	if (!shm)
		return;
	if (shm->slot >= 0) {
		uint64_t self = shm->self;
		atomic_compare_exchange_strong(&shm->seg->slots[shm->slot].owner, &self, 0);
	}
	shm_marks_forget(shm);
	if (shm->seg)
		munmap(shm->seg, sizeof(*shm->seg));
	if (shm->fd >= 0)
		close(shm->fd);
	if (shm->alive_fd >= 0)
		close(shm->alive_fd);
	free(shm->dir);
	free(shm);
}

int shm_slot(const struct shm *shm)
{
	return shm->slot;
}

int64_t shm_service_start_us(const struct shm *shm)
{
	return atomic_load_explicit(&shm->seg->totals.service_start_us, memory_order_relaxed);
}

void shm_beat(struct shm *shm, uint64_t now_ms)
{
	if (shm->slot >= 0)
		atomic_store_explicit(&shm->seg->slots[shm->slot].beat_ms, now_ms, memory_order_relaxed);
}

/* Since the last beat, or since `since` where that is later. A worker that has not begun to beat is not silent. */
static uint64_t silence(const struct shm_slot *slot, uint64_t since, uint64_t now_ms)
{
	uint64_t beat = atomic_load_explicit(&slot->beat_ms, memory_order_relaxed);

	if (beat == 0)
		return 0;
	if (beat < since)
		beat = since;
	return now_ms > beat ? now_ms - beat : 0;
}

int shm_workers(struct shm *shm, uint64_t now_ms, struct shm_worker out[static SHM_SLOTS])
{
	int n = 0;

	for (int i = 0; i < SHM_SLOTS; i++) {
		const struct shm_slot *slot = &shm->seg->slots[i];
		uint64_t owner = slot_owner(slot);
		if (owner == 0 || !shm_owner_alive(shm, owner))
			continue;
		union instance in = slot_instance(slot);
		out[n] = (struct shm_worker){
			.slot = i,
			.pid = shm_owner_pid(owner),
			.role = (enum shm_role)atomic_load(&slot->role),
			.start_us = atomic_load(&slot->start_us),
			.silent_ms = silence(slot, 0, now_ms),
		};
		memcpy(out[n].instance, in.text, sizeof(in.text));
		/* Another worker may have come in while this was read. */
		n += slot_owner(slot) == owner;
	}
	return n;
}

/* A worker that waits for its disk gets as many times the limit. */
enum { DISK_PATIENCE = 15 };

static bool is_lost(const struct shm_slot *slot, uint64_t owner, uint64_t since, uint64_t now_ms, uint64_t limit_ms)
{
	uint64_t silent_ms = silence(slot, since, now_ms);

	return silent_ms > limit_ms && (silent_ms > DISK_PATIENCE * limit_ms || !shm_owner_waits_for_disk(owner));
}

bool shm_is_well(struct shm *shm, uint64_t now_ms, uint64_t limit_ms)
{
	return shm->slot >= 0 && !is_lost(&shm->seg->slots[shm->slot], shm->self, 0, now_ms, limit_ms);
}

int shm_reap_silent(struct shm *shm, uint64_t now_ms, uint64_t limit_ms)
{
	bool held_up = shm->reap_called_ms == 0 || now_ms - shm->reap_called_ms > limit_ms / 2;
	/* What holds this worker's own event thread (a disk that stalls) may hold theirs: nobody may judge then. */
	if (shm->slot >= 0)
		held_up |= silence(&shm->seg->slots[shm->slot], shm->reap_since_ms, now_ms) > limit_ms / 2;
	int ended = 0;

	shm->reap_called_ms = now_ms;
	if (held_up) {
		shm->reap_since_ms = now_ms;
		return 0;
	}
	for (int i = 0; i < SHM_SLOTS; i++) {
		struct shm_slot *slot = &shm->seg->slots[i];
		uint64_t owner = slot_owner(slot);
		if (i == shm->slot || owner == 0 || !is_lost(slot, owner, shm->reap_since_ms, now_ms, limit_ms))
			continue;
		/* Several peers may see it, and it may take a while to die: all try, one counts. */
		if (shm_owner_kill(owner) && atomic_exchange(&slot->condemned, owner) != owner)
			ended++;
	}
	return ended;
}
