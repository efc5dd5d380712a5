/* Waking other processes of this machine: a counter per topic in shared memory that sleepers wait on (futex). Nobody
 * polls and nobody is woken for nothing; a sleeper that missed a wake-up finds the counter changed. Across machines
 * PostgreSQL's NOTIFY carries the same topics (store/db.h, db_notify), and a thread that listens wakes here. */
#ifndef APPCORE_SHARED_WAKE_H
#define APPCORE_SHARED_WAKE_H

#include "shared/shm.h"

enum wake_topic {
	WAKE_TASKS,  /* a task was added, or returned to the queue */
	WAKE_EVENTS, /* a task changed */
	WAKE__MAX
};

/* The counter now: read it, then look at the database, then wait for another value. */
uint32_t wake_seen(const struct shm *shm, enum wake_topic topic) __attribute__((nonnull));

/* After the commit. Costs an atomic addition, and a system call only when somebody sleeps. */
void wake_all(struct shm *shm, enum wake_topic topic) __attribute__((nonnull));

/* Sleeps until the counter is not `seen`, at most timeout_ms. False: it still is. */
bool wake_wait(struct shm *shm, enum wake_topic topic, uint32_t seen, int timeout_ms) __attribute__((nonnull));

#endif
