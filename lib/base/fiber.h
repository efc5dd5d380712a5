/* Functions that stop in the middle and go on later, in one thread: the store runs many small pieces of work side by
 * side over one connection without splitting each of them where it waits.
 *
 * ucontext(3) with a guard page below each stack. A fiber is resumed by the thread that made it, and by no other fiber:
 * they don't nest. */
#ifndef APPCORE_BASE_FIBER_H
#define APPCORE_BASE_FIBER_H

#include <stdbool.h>
#include <stddef.h>

struct fiber;

enum { FIBER_STACK_BYTES = 128 * 1024 };

/* A fiber at rest; NULL when there is no memory. Caller frees it with fiber_free, not while it is under way. */
struct fiber *fiber_new(void);
void fiber_free(struct fiber *fiber);

/* Gives the fiber at rest `run(arg)` to do, which begins with the next fiber_resume. */
void fiber_start(struct fiber *fiber, void (*run)(void *arg), void *arg) __attribute__((nonnull(1, 2)));

/* Runs it until it waits (fiber_wait) or ends. True: it waits and wants another resume. */
bool fiber_resume(struct fiber *fiber) __attribute__((nonnull));

/* In a fiber: back to whoever resumed it. */
void fiber_wait(void);

/* The fiber that runs in this thread, NULL outside of any. */
struct fiber *fiber_current(void);

#endif
