/* The memory that all worker processes of one machine share: a file in the run directory, mapped by each.
 *
 * Its name carries a hash of its layout, so that two versions run side by side in a rolling upgrade. It is filled at
 * its full size when it is made (no SIGBUS on a full disk). It holds the worker slots, the marks of requests that
 * crashed a worker, the Idempotency-Keys that are running, the limiter (limit.h) and the metrics (metrics.h).
 *
 * kill -9 at any instant leaves nothing half-claimed for ever: whoever holds something is named by slot and generation,
 * and a claim whose slot has another generation, or a dead owner, is void. */
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

/* Gives the slot back (when one was claimed) and unmaps. NULL is allowed. */
void shm_close(struct shm *shm);

/* Claims a slot for this process: one whose owner is gone, preferring one that `instance` had before. Slots keep their
 * counters for ever and their gauges until they are released. Errors: STATUS_BUSY (all slots are alive). When no other
 * slot is alive, the service's start time begins anew. */
enum status shm_claim_slot(struct shm *shm, const char *instance, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* This process's slot, or -1. */
int shm_slot(const struct shm *shm) __attribute__((nonnull));

/* Wall time in microseconds at which the service (not this worker) started; 0 before any worker did. */
int64_t shm_service_start_us(const struct shm *shm) __attribute__((nonnull));

/* The event thread's sign of life: call at least four times a second. `now_ms` is clock_mono_ms(). */
void shm_beat(struct shm *shm, uint64_t now_ms) __attribute__((nonnull));

/* What others see of a live worker. */
struct shm_worker {
	int slot;
	int pid;
	char instance[SHM_INSTANCE_BYTES];
	int64_t start_us;   /* wall time */
	uint64_t silent_ms; /* since the last beat */
};

/* Fills `out` with the live workers (process exists with the start time it claimed with). Returns their number. */
int shm_workers(struct shm *shm, uint64_t now_ms, struct shm_worker out[static SHM_SLOTS]) __attribute__((nonnull));

/* Ends (SIGKILL) every other worker that has been silent for more than `limit_ms`. Does nothing when this process
 * itself was held up since its last call (a machine that slept wakes all at once). Returns how many, and logs nothing.
 */
int shm_reap_silent(struct shm *shm, uint64_t now_ms, uint64_t limit_ms) __attribute__((nonnull));

/* --- crash marks: a request that crashed its worker is not tried on the next --- */

/* The request this thread works on from now on (NULL: none). Stored per thread; async-signal-safe to read. */
void shm_working_on(const uint8_t identity[16]);

/* Installs handlers for SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL that mark this thread's request in the segment and
 * then let the process die of the signal. */
void shm_mark_crashes(struct shm *shm) __attribute__((nonnull));

/* The request crashed a worker within the last minute. One relaxed load while there are no marks. */
bool shm_is_crash_marked(struct shm *shm, const uint8_t identity[16]) __attribute__((nonnull));

/* --- Idempotency-Keys that are running --- */

enum shm_running { SHM_RUNNING_CLAIMED, SHM_RUNNING_ELSEWHERE, SHM_RUNNING_FULL };

/* Claims `key` (a hash of caller, route and key) for the request with this edge identity. CLAIMED also when the same
 * identity holds it already (a retry takes over) or the holder's worker is dead. FULL: more run at once than there is
 * room for (1,024). */
enum shm_running shm_running_claim(struct shm *shm, const uint8_t key[16], const uint8_t identity[16])
	__attribute__((nonnull, warn_unused_result));
void shm_running_release(struct shm *shm, const uint8_t key[16], const uint8_t identity[16]) __attribute__((nonnull));

#endif
