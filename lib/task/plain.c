/* Kinds that do nothing but prove that tasks are done: `echo` hands its payload back, `sleep` takes its time, with a
 * checkpoint ten times a second; `crash`, in builds for the fault tests, takes its process with it. */
#include "task/functions.h"

#include "base/json.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { SLEEP_STEP_MS = 100, SLEEP_MAX_S = 3600 };

enum status task_echo(struct task_run *run, struct err *err)
{
	(void)err;
	run->result = run->task->payload.n > 0 ? run->task->payload : STR("null");
	return STATUS_OK;
}

/* {"seconds": number} */
static bool read_seconds(struct str payload, double *out)
{
	struct json_value root, seconds;
	struct json_fault fault;

	return json_check(payload, JSON_MAX_DEPTH, &root, &fault) && json_member(root, STR("seconds"), &seconds) &&
	       seconds.type == JSON_NUMBER && json_number(seconds, out) && *out >= 0 && *out <= SLEEP_MAX_S;
}

const char *task_sleep_check(struct str payload, const char **field)
{
	double seconds;

	*field = "seconds";
	return read_seconds(payload, &seconds) ? NULL : "Input should be a number from 0 to 3600";
}

enum status task_sleep(struct task_run *run, struct err *err)
{
	static const struct timespec step = {.tv_nsec = SLEEP_STEP_MS * 1000000L};
	enum status status = STATUS_OK;
	double seconds = 0;

	if (!read_seconds(run->task->payload, &seconds))
		return err_set(err, STATUS_INVALID, "seconds: must be a number from 0 to %d.", SLEEP_MAX_S);
	int64_t total = (int64_t)(seconds * 1000 / SLEEP_STEP_MS);
	for (int64_t done = run->task->done; done < total && status == STATUS_OK; done++) {
		nanosleep(&step, NULL);
		status = task_checkpoint(run, done + 1, total, NULL, NULL, err);
	}
	run->result = STR("{\"slept\":true}");
	return status;
}

#ifdef APPCORE_FAULTS
enum status task_crash(struct task_run *run, struct err *err)
{
	(void)run;
	(void)err;
	raise(SIGSEGV);
	return STATUS_INTERNAL;
}
#endif
