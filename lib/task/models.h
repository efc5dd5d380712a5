/* The models of a worker: a thread watches what the database says is there, once a second, and loads what is new; tasks
 * hold the set that is there when they begin. */
#ifndef APPCORE_TASK_MODELS_H
#define APPCORE_TASK_MODELS_H

#include "base/config.h"
#include "model/set.h"

struct task_models;

/* Begins with the set as it is now: returns when it is loaded, or the database can't be read (then later). Errors:
 * STATUS_NO_MEMORY, STATUS_UNAVAILABLE (no thread). Caller ends with task_models_close. */
enum status task_models_open(struct task_models **out, const struct config *config, struct shm *shm, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));
void task_models_close(struct task_models *models); /* NULL is allowed */

/* The set of now, held for the caller. Any thread. */
struct model_set *task_models_hold(void *models) __attribute__((nonnull, returns_nonnull));

#endif
