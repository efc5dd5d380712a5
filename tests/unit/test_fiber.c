/* base/fiber: waiting and going on in the middle of a function, many at once, again and again. */
#include "base/fiber.h"
#include "unit.h"

#include <string.h>

enum { N = 64, STEPS = 5 };

struct work {
	struct fiber *fiber;
	int steps, id;
	char deep;
};

/* Needs stack, so that a stack that is not its own would be seen. */
static int burn(int depth, char fill)
{
	char block[512];

	memset(block, fill, sizeof(block));
	__asm__ volatile("" : : "r"(block) : "memory");
	return depth == 0 ? block[7] : burn(depth - 1, fill) + block[100] - fill;
}

static void step(void *arg)
{
	struct work *work = arg;

	for (work->steps = 0; work->steps < STEPS; work->steps++) {
		int mine = work->id * 1000 + work->steps;
		CU_ASSERT_PTR_EQUAL(fiber_current(), work->fiber);
		fiber_wait();
		CU_ASSERT_EQUAL(mine, work->id * 1000 + work->steps);
	}
	work->deep = (char)burn(64, (char)work->id);
}

static void many_at_once(void)
{
	struct work works[N] = {0};

	for (int i = 0; i < N; i++) {
		works[i].id = i;
		works[i].fiber = fiber_new();
		CU_ASSERT_PTR_NOT_NULL_FATAL(works[i].fiber);
	}
	for (int round = 0; round < 3; round++) {
		int waiting = N;
		for (int i = 0; i < N; i++) {
			fiber_start(works[i].fiber, step, &works[i]);
			CU_ASSERT_TRUE(fiber_resume(works[i].fiber));
		}
		while (waiting > 0) {
			waiting = 0;
			for (int i = N - 1; i >= 0; i--)
				if (works[i].steps < STEPS)
					waiting += fiber_resume(works[i].fiber);
		}
		for (int i = 0; i < N; i++) {
			CU_ASSERT_EQUAL(works[i].steps, STEPS);
			CU_ASSERT_EQUAL(works[i].deep, (char)i);
		}
		CU_ASSERT_PTR_NULL(fiber_current());
	}
	for (int i = 0; i < N; i++)
		fiber_free(works[i].fiber);
}

static void one_that_goes_on_alone(void)
{
	struct work work = {.fiber = fiber_new()};

	CU_ASSERT_PTR_NOT_NULL_FATAL(work.fiber);
	fiber_start(work.fiber, step, &work);
	while (fiber_resume(work.fiber))
		;
	CU_ASSERT_EQUAL(work.steps, STEPS);
	fiber_free(work.fiber);
	fiber_free(NULL);
}

static const struct unit_case CASES[] = {
	{"many fibers wait and go on", many_at_once},
	{"one goes on to its end", one_that_goes_on_alone},
};

int main(void)
{
	return UNIT_RUN("fiber", CASES);
}
