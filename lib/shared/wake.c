/* Futexes (futex(2)) in the shared segment. The order of both sides is what makes it right: a sleeper says that it
 * sleeps and then compares the counter (the kernel does), a waker moves the counter and then looks for sleepers. A
 * sleeper that was killed is counted for ever, which costs wakers a system call and nothing else. */
#include "shared/wake.h"

#include "base/clock.h"
#include "shared/shm_impl.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert((int)WAKE__MAX == (int)SHM_WAKES, "a counter in the segment for each topic");

uint32_t wake_seen(const struct shm *shm, enum wake_topic topic)
{
	return atomic_load(&shm->seg->wakes[topic].counter);
}

void wake_all(struct shm *shm, enum wake_topic topic)
{
	struct shm_wake *wake = &shm->seg->wakes[topic];

	atomic_fetch_add(&wake->counter, 1);
	if (atomic_load(&wake->sleepers) > 0)
		syscall(SYS_futex, &wake->counter, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool wake_wait(struct shm *shm, enum wake_topic topic, uint32_t seen, int timeout_ms)
{
	struct shm_wake *wake = &shm->seg->wakes[topic];
	uint64_t now_ms = clock_mono_ms(), end_ms = now_ms + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);

	atomic_fetch_add(&wake->sleepers, 1);
	while (atomic_load(&wake->counter) == seen && now_ms < end_ms) {
		struct timespec left = {.tv_sec = (time_t)((end_ms - now_ms) / 1000),
					.tv_nsec = (long)((end_ms - now_ms) % 1000) * 1000000L};
		if (syscall(SYS_futex, &wake->counter, FUTEX_WAIT, seen, &left, NULL, 0) != 0 && errno != EINTR &&
		    errno != EAGAIN && errno != ETIMEDOUT)
			break;
		now_ms = clock_mono_ms();
	}
	atomic_fetch_sub(&wake->sleepers, 1);
	return atomic_load(&wake->counter) != seen;
}
