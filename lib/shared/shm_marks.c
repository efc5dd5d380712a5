/* Crash marks: which request was at work when a worker died of it.
 *
 * The handler runs in a broken process: it only reads this thread's variables and the clock, writes atomics in the
 * mapped segment, and lets the process die of the same signal, so that the exit status tells the truth. A stack that
 * has overflowed can't run a handler, therefore every thread that works on requests gets a small second one. */
#include "shared/shm_impl.h"
#include "base/clock.h"

#include <signal.h>

enum { SIGNAL_STACK_BYTES = 16 * 1024 };

static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

static struct shm_marks *_Atomic marks_of_process;

static _Thread_local uint64_t working[2];
static _Thread_local volatile sig_atomic_t working_set;
static _Thread_local bool stack_set;
static _Thread_local _Alignas(16) uint8_t signal_stack[SIGNAL_STACK_BYTES];

/* Leaves one that is there already (a sanitizer's) alone. */
static void give_stack(void)
{
	stack_t had, ours = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};

	if (stack_set)
		return;
	stack_set = true;
	if (sigaltstack(NULL, &had) == 0 && (had.ss_flags & SS_DISABLE))
		sigaltstack(&ours, NULL);
}

void shm_working_on(const uint8_t identity[16])
{
	working_set = 0;
	atomic_signal_fence(memory_order_seq_cst);
	if (!identity)
		return;
	give_stack();
	memcpy(working, identity, sizeof(working));
	atomic_signal_fence(memory_order_seq_cst);
	working_set = 1;
}

static void mark(struct shm_marks *marks)
{
	uint32_t i = atomic_fetch_add_explicit(&marks->next, 1, memory_order_relaxed) % SHM_CRASH_MARKS;
	struct shm_mark *to = &marks->marks[i];
	uint64_t now = clock_mono_ms();

	atomic_store(&to->at_ms, 0);
	atomic_store(&to->identity[0], working[0]);
	atomic_store(&to->identity[1], working[1]);
	atomic_store(&to->at_ms, now);
	atomic_store(&marks->last_ms, now);
}

static void on_crash(int signal_number)
{
	struct shm_marks *marks = atomic_load(&marks_of_process);

	if (marks && working_set) {
		working_set = 0;
		mark(marks);
	}
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

void shm_mark_crashes(struct shm *shm)
{
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_NODEFER};

	atomic_store(&marks_of_process, &shm->seg->marks);
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(SIGNALS[0]); i++)
		sigaction(SIGNALS[i], &action, NULL);
}

void shm_marks_forget(const struct shm *shm)
{
	struct shm_marks *marks = shm->seg ? &shm->seg->marks : NULL;

	if (marks)
		atomic_compare_exchange_strong(&marks_of_process, &marks, NULL);
}

bool shm_is_crash_marked(struct shm *shm, const uint8_t identity[16])
{
	struct shm_marks *marks = &shm->seg->marks;
	uint64_t last = atomic_load_explicit(&marks->last_ms, memory_order_relaxed);
	uint64_t id[2];

	if (last == 0)
		return false;
	uint64_t now = clock_mono_ms();
	if (now > last + SHM_CRASH_MARK_MS)
		return false;
	memcpy(id, identity, sizeof(id));
	for (size_t i = 0; i < SHM_CRASH_MARKS; i++) {
		const struct shm_mark *m = &marks->marks[i];
		uint64_t at = atomic_load(&m->at_ms);
		if (at != 0 && now <= at + SHM_CRASH_MARK_MS && atomic_load(&m->identity[0]) == id[0] &&
		    atomic_load(&m->identity[1]) == id[1])
			return true;
	}
	return false;
}
