/* What is measured of tasks besides what workers count themselves: those that are created, and those that wait, run, or
 * are dead. */
#ifndef APPCORE_TASK_MEASURE_H
#define APPCORE_TASK_MEASURE_H

#include "base/config.h"
#include "shared/shm.h"

/* tasks_created_total{kind}: call after the commit. Any thread. */
void task_created_count(struct shm *shm, struct str kind, uint64_t n) __attribute__((nonnull));

/* A thread that counts the table's tasks for queue_depth and appcore_tasks when something has changed, once a second at
 * the most, with a connection of its own. On PostgreSQL it also ends sessions that are stalled (db_end_stalled). */
struct task_measure;

/* False: no memory or thread. Caller ends with task_measure_stop. */
bool task_measure_start(struct task_measure **out, const struct config *config, struct shm *shm)
	__attribute__((nonnull, warn_unused_result));
void task_measure_stop(struct task_measure *measure); /* NULL is allowed */

#endif
