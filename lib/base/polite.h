/* Threads that compute much, beside others that somebody waits for. */
#ifndef APPCORE_BASE_POLITE_H
#define APPCORE_BASE_POLITE_H

#include <stdint.h>

/* From here on the calling thread computes when nobody else wants to (SCHED_IDLE; where that is forbidden, nice 19),
 * and there is no way back. It may be kept from going on at any point for as long as both processors are busy: so it
 * must never hold what others wait for (the turn to write, above all). */
void polite_become(void);

/* How long it has computed without a pause. Zeroed: not at all. */
struct polite {
	uint64_t since_ns;
};

/* To be called between pieces of work of 0.1 ms or so. Pauses for a moment when it has computed for a while: kernels
 * compare threads only within a session or a control group, and between these a low priority says nothing; a thread of
 * SCHED_BATCH waits for the next tick (4 ms) when whoever has its processor goes on and on. */
void polite_point(struct polite *polite) __attribute__((nonnull));

#endif
