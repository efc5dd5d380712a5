/* The memory that all worker processes of one machine share: a file in the run directory, mapped by each.
 *
 * Its name carries a hash of its layout, so that two versions run side by side in a rolling upgrade. It is filled at
 * its full size when it is made (no SIGBUS on a full disk). It holds the worker slots, the marks of requests that
 * crashed a worker, the Idempotency-Keys that are running, the limiter (limit.h) and the metrics (metrics.h).
 *
 * kill -9 at any instant leaves nothing half-claimed for ever: whoever holds something is named by slot and generation,
 * and a claim whose slot has another generation, or a dead owner, is void.
 *
 * Workers of one run directory are of one user. Those of one PID namespace end each other when they are silent;
 * containers have one each, and only see who lives there. A handle belongs to the process that opened it: a child after
 * fork() opens its own. */
#ifndef APPCORE_SHARED_SHM_H
#define APPCORE_SHARED_SHM_H

#include "base/err.h"
#include "base/str.h"

enum { SHM_SLOTS = 64, SHM_INSTANCE_BYTES = 32 };

struct shm; /* this process's handle: mapping, own slot */

/* Maps the segment of this layout in `run_dir`, making it when it is not there. Errors: STATUS_UNAVAILABLE (directory
 * missing, no right, no room) with a sentence. Caller ends with shm_close. */
enum status shm_open_dir(struct shm **out, const char *run_dir, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Gives the slot back (when one was claimed) and unmaps. Other threads must have stopped using the handle. NULL is
 * allowed. */
void shm_close(struct shm *shm);

/* Claims a slot for this process: one whose owner is gone, preferring one that `instance` (cut to 31 bytes) had before.
 * Slots keep their counters for ever and their gauges until they are released. When no other worker of any version is
 * alive, the service's start time begins anew. Errors: STATUS_BUSY (all slots are alive), STATUS_UNAVAILABLE (the run
 * directory's lock does not come, no room), STATUS_INTERNAL (there is a slot already). */
enum status shm_claim_slot(struct shm *shm, const char *instance, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* What a worker does. The claim above is SHM_SERVES. */
enum shm_role { SHM_SERVES, SHM_WORKS /* on tasks */ };
enum status shm_claim_slot_as(struct shm *shm, const char *instance, enum shm_role role, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* This process's slot, or -1. */
int shm_slot(const struct shm *shm) __attribute__((nonnull));

/* Wall time in microseconds at which the service (not this worker) started; 0 before any worker did. */
int64_t shm_service_start_us(const struct shm *shm) __attribute__((nonnull));

/* The event thread's sign of life: call at least four times a second. `now_ms` is clock_mono_ms(). A worker is watched
 * from its first beat on, so that a long start-up is not taken for silence. */
void shm_beat(struct shm *shm, uint64_t now_ms) __attribute__((nonnull));

/* What others see of a live worker. */
struct shm_worker {
	int slot;
	int pid;
	enum shm_role role;
	char instance[SHM_INSTANCE_BYTES];
	int64_t start_us;   /* wall time */
	uint64_t silent_ms; /* since the last beat; 0 before the first */
};

/* Fills `out` with the live workers (process exists with the start time it claimed with). Returns their number. */
int shm_workers(struct shm *shm, uint64_t now_ms, struct shm_worker out[static SHM_SLOTS]) __attribute__((nonnull));

/* Ends (SIGKILL) every other worker of this PID namespace that has been silent for more than `limit_ms`. Call at least
 * four times in that time: when this process was itself held up since its last call (by more than half of it; a machine
 * that slept wakes all at once), or its own beat is late, silence is counted anew from now. One that waits for its disk
 * gets 15 times the limit. Returns how many it ended first, and logs nothing. One thread. */
int shm_reap_silent(struct shm *shm, uint64_t now_ms, uint64_t limit_ms) __attribute__((nonnull));

/* Whether this process's own event thread is not silent by that measure. Any thread; false without a slot. */
bool shm_is_well(struct shm *shm, uint64_t now_ms, uint64_t limit_ms) __attribute__((nonnull));

/* --- crash marks: a request that crashed its worker is not tried on the next --- */

/* The request this thread works on from now on (NULL: none). Stored per thread; async-signal-safe to read. The first
 * call gives the thread a signal stack, so that an overflow of its own can be marked too. */
void shm_working_on(const uint8_t identity[16]);

/* Installs handlers for SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL that mark this thread's request in the segment and
 * then let the process die of the signal. One segment per process: the last call counts. */
void shm_mark_crashes(struct shm *shm) __attribute__((nonnull));

/* The request crashed a worker within the last minute. One relaxed load while there are no marks. */
bool shm_is_crash_marked(struct shm *shm, const uint8_t identity[16]) __attribute__((nonnull));

/* --- Idempotency-Keys that are running --- */

enum shm_running { SHM_RUNNING_CLAIMED, SHM_RUNNING_ELSEWHERE, SHM_RUNNING_FULL };

/* Claims `key` (a hash of caller, route and key) for the request with this edge identity. CLAIMED also when the same
 * identity holds it already (a retry takes over) or the holder's worker is dead. FULL: more run at once than there is
 * room for (1,024 at the least), or the table can't be locked in 50 ms (its holder is stopped). Needs a claimed slot.
 */
enum shm_running shm_running_claim(struct shm *shm, const uint8_t key[16], const uint8_t identity[16])
	__attribute__((nonnull, warn_unused_result));

/* Gives the key back, if this worker holds it for this identity. Never waits. */
void shm_running_release(struct shm *shm, const uint8_t key[16], const uint8_t identity[16]) __attribute__((nonnull));

#endif
