/* The event loop: one thread in epoll, edge-triggered, that calls whoever watches a descriptor. */
#ifndef APPCORE_HTTP_LOOP_H
#define APPCORE_HTTP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* Embedded in what watches a descriptor; stays where it is while it is watched. */
struct loop_watch {
	/* The descriptor became readable (or hung up). */
	void (*ready)(struct loop_watch *watch);
	int fd;
	bool dead; /* set it instead of freeing: events of the same round may still name it */
};

/* False when the kernel gives none. */
bool loop_open(struct loop **out) __attribute__((nonnull, warn_unused_result));
void loop_close(struct loop *loop);

/* Starts watching (edge-triggered when `edge`). False when there is no room. */
bool loop_add(struct loop *loop, struct loop_watch *watch, bool edge) __attribute__((nonnull, warn_unused_result));

/* Whether `ready` is also to be called when the descriptor, which is watched by edge, can be written again. */
void loop_want_output(struct loop *loop, struct loop_watch *watch, bool wanted) __attribute__((nonnull));

/* Stops watching; needed only for a descriptor that stays open. */
void loop_remove(struct loop *loop, struct loop_watch *watch) __attribute__((nonnull));

/* Waits at most `timeout_ms` and calls the watchers that are ready and not dead. Returns how many descriptors were. */
int loop_run(struct loop *loop, int timeout_ms) __attribute__((nonnull));

#endif
