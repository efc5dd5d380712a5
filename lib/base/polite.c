#include "base/polite.h"

#include "base/clock.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { NICE = 19, BURST_NS = 200 * 1000, PAUSE_NS = 20 * 1000, SLACK_NS = 1000 };

void polite_become(void)
{
	const struct sched_param none = {0};

	if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	(void)prctl(PR_SET_TIMERSLACK, (unsigned long)SLACK_NS, 0, 0, 0); /* a pause is not to last longer */
}

void polite_point(struct polite *polite)
{
	static const struct timespec pause = {.tv_nsec = PAUSE_NS};
	uint64_t now_ns = clock_mono_ns();

	if (polite->since_ns != 0 && now_ns - polite->since_ns < BURST_NS)
		return;
	if (polite->since_ns != 0) {
		nanosleep(&pause, NULL);
		now_ns = clock_mono_ns();
	}
	polite->since_ns = now_ns;
}
