/* Fibers. The sanitizers want to be told when the stack changes; elsewhere these calls are nothing. */
#include "base/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBERS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBERS_ASAN 1
#endif
#endif
#if defined(FIBERS_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif
/* ThreadSanitizer counts a function's entry and exit on the stack it was told of: those that change it are not counted.
 */
#define UNTRACED __attribute__((no_sanitize("thread"), noinline))

struct fiber {
	ucontext_t here, there; /* the fiber; whoever resumed it */
	void (*run)(void *arg);
	void *arg;
	char *map; /* guard page, then the stack */
	size_t map_bytes, stack_bytes;
	bool under_way;
	void *fake_stack, *resumer_fake_stack; /* of AddressSanitizer */
	const void *resumer_bottom;
	size_t resumer_bytes;
	void *thread_state, *resumer_state; /* of ThreadSanitizer */
};

static _Thread_local struct fiber *current;

static char *stack_of(const struct fiber *fiber)
{
	return fiber->map + (fiber->map_bytes - fiber->stack_bytes);
}

/* --- told to the sanitizers --- */

static UNTRACED void leaving_resumer(struct fiber *fiber)
{
#if defined(FIBERS_ASAN)
	__sanitizer_start_switch_fiber(&fiber->resumer_fake_stack, stack_of(fiber), fiber->stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
	fiber->resumer_state = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(fiber->thread_state, 0);
#endif
	(void)fiber;
}

static UNTRACED void back_in_resumer(struct fiber *fiber)
{
#if defined(FIBERS_ASAN)
	__sanitizer_finish_switch_fiber(fiber->resumer_fake_stack, NULL, NULL);
#endif
	(void)fiber;
}

static UNTRACED void leaving_fiber(struct fiber *fiber, bool for_good)
{
#if defined(FIBERS_ASAN)
	__sanitizer_start_switch_fiber(for_good ? NULL : &fiber->fake_stack, fiber->resumer_bottom,
				       fiber->resumer_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
	__tsan_switch_to_fiber(fiber->resumer_state, 0);
#endif
	(void)fiber;
	(void)for_good;
}

static UNTRACED void arrived_in_fiber(struct fiber *fiber)
{
#if defined(FIBERS_ASAN)
	__sanitizer_finish_switch_fiber(fiber->fake_stack, &fiber->resumer_bottom, &fiber->resumer_bytes);
#endif
	(void)fiber;
}

/* --- fibers --- */

struct fiber *fiber_new(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct fiber *fiber = calloc(1, sizeof(*fiber));

	if (!fiber)
		return NULL;
	fiber->stack_bytes = FIBER_STACK_BYTES;
	fiber->map_bytes = FIBER_STACK_BYTES + page;
	/* cppcheck-suppress invalidFunctionArg; no file belongs to it */
	fiber->map = mmap(NULL, fiber->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1,
			  0);
	if (fiber->map == MAP_FAILED || mprotect(fiber->map, page, PROT_NONE) != 0) {
		if (fiber->map != MAP_FAILED)
			munmap(fiber->map, fiber->map_bytes);
		free(fiber);
		return NULL;
	}
#if defined(__SANITIZE_THREAD__)
	fiber->thread_state = __tsan_create_fiber(0);
#endif
	return fiber;
}

void fiber_free(struct fiber *fiber)
{
	if (!fiber)
		return;
#if defined(__SANITIZE_THREAD__)
	__tsan_destroy_fiber(fiber->thread_state);
#endif
	munmap(fiber->map, fiber->map_bytes);
	free(fiber);
}

/* makecontext hands over integers only, so the fiber finds itself through `current`. */
static UNTRACED void begin(void)
{
	struct fiber *fiber = current;

	arrived_in_fiber(fiber);
	fiber->run(fiber->arg);
	fiber->under_way = false;
	leaving_fiber(fiber, true);
	setcontext(&fiber->there);
	abort(); /* it does not return */
}

UNTRACED void fiber_start(struct fiber *fiber, void (*run)(void *arg), void *arg)
{
	getcontext(&fiber->here);
	fiber->here.uc_stack.ss_sp = stack_of(fiber);
	fiber->here.uc_stack.ss_size = fiber->stack_bytes;
	fiber->here.uc_link = NULL;
	fiber->run = run;
	fiber->arg = arg;
	fiber->under_way = true;
	fiber->fake_stack = NULL;
	makecontext(&fiber->here, begin, 0);
}

UNTRACED bool fiber_resume(struct fiber *fiber)
{
	current = fiber;
	leaving_resumer(fiber);
	swapcontext(&fiber->there, &fiber->here);
	back_in_resumer(fiber);
	current = NULL;
	return fiber->under_way;
}

UNTRACED void fiber_wait(void)
{
	struct fiber *fiber = current;

	leaving_fiber(fiber, false);
	swapcontext(&fiber->here, &fiber->there);
	arrived_in_fiber(fiber);
}

struct fiber *fiber_current(void)
{
	return current;
}
