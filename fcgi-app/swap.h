/* The models of a running worker: what the database says is watched twice a second, new versions are loaded by a thread
 * of their own, and the set that they make is taken in between two requests. All functions belong to the event thread.
 */
#ifndef APPCORE_SWAP_H
#define APPCORE_SWAP_H

#include "app.h"

struct swap;

/* False: no memory or thread. Caller ends with swap_close, which waits for the version that is being loaded. */
bool swap_open(struct swap **out, struct app *app) __attribute__((nonnull, warn_unused_result));
void swap_close(struct swap *swap); /* NULL is allowed */

void swap_tick(struct swap *swap, uint64_t now_ms) __attribute__((nonnull));

/* The database has not been read yet, or models are being loaded: what was made comes through the mailbox. */
bool swap_is_busy(const struct swap *swap) __attribute__((nonnull));

#endif
