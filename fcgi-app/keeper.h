/* The keeper: a thread that writes the metrics file, measures this worker, and ends workers that have fallen silent. */
#ifndef APPCORE_KEEPER_H
#define APPCORE_KEEPER_H

#include "app.h"

#include <stdatomic.h>

struct keeper;

/* `connections` is read from the keeper's thread: the event thread stores the number of open connections there. Does
 * not start without memory or a thread: false. */
bool keeper_start(struct keeper **out, struct app *app, const atomic_int *connections)
	__attribute__((nonnull, warn_unused_result));

/* Writes the metrics a last time and ends the thread. NULL is allowed. */
void keeper_stop(struct keeper *keeper);

#endif
