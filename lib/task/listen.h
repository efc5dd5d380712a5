/* Across machines: a thread that hears of other machines' changes of tasks (PostgreSQL's NOTIFY) and wakes this one's
 * sleepers (wake.h). */
#ifndef APPCORE_TASK_LISTEN_H
#define APPCORE_TASK_LISTEN_H

#include "base/config.h"
#include "shared/shm.h"

struct task_listen;

/* On SQLite, whose processes are all of one machine, *out is NULL. False: no memory, thread or descriptor. Caller ends
 * with task_listen_stop. */
bool task_listen_start(struct task_listen **out, const struct config *config, struct shm *shm)
	__attribute__((nonnull, warn_unused_result));
void task_listen_stop(struct task_listen *listen); /* NULL is allowed */

#endif
