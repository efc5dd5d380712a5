/* Kinds that compute: their functions run in a thread of the lowest priority, one for each of the worker's, which goes
 * on when nobody else wants a processor. What they store and read is done meanwhile by the worker's own thread, at the
 * priority of everybody: whoever is kept from going on while it has the turn to write would keep everybody. So a task
 * that computes costs others little, and what it has computed is stored while it computes on.
 *
 * The two hand each other jobs, one at a time: `lock` guards the state, and a job is the worker's while it is asked
 * for. */
#include "task/worker_impl.h"

#include "base/polite.h"

#include <stdlib.h>

enum job_state { JOB_NONE, JOB_ASKED, JOB_DONE };

struct task_beside {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t to_worker, to_function;
	struct task_run *run; /* NULL: nothing to do */
	task_function *fn;
	bool ended, closing;
	enum status status; /* that it ended with */
	struct err err;
	enum job_state state;
	struct beside_job job;
};

/* --- the function's side --- */

void beside_begin(struct task_beside *beside, const struct beside_job *job)
{
	pthread_mutex_lock(&beside->lock);
	beside->job = *job;
	beside->state = JOB_ASKED;
	pthread_cond_signal(&beside->to_worker);
	pthread_mutex_unlock(&beside->lock);
}

enum status beside_settle(struct task_beside *beside, struct err *err)
{
	enum status status = STATUS_OK;

	pthread_mutex_lock(&beside->lock);
	while (beside->state == JOB_ASKED)
		pthread_cond_wait(&beside->to_function, &beside->lock);
	if (beside->state == JOB_DONE)
		status = beside->job.status;
	if (status != STATUS_OK && err)
		*err = beside->job.err;
	beside->state = JOB_NONE;
	pthread_mutex_unlock(&beside->lock);
	return status;
}

/* Runs functions one after the other; reads and writes nothing but through jobs. Ends when the pool closes. */
static void *beside_main(void *arg)
{
	struct task_beside *beside = arg;

	polite_become();
	pthread_mutex_lock(&beside->lock);
	while (!beside->closing) {
		if (!beside->run || beside->ended) {
			pthread_cond_wait(&beside->to_function, &beside->lock);
			continue;
		}
		pthread_mutex_unlock(&beside->lock);
		struct err err = {0}, late = {0};
		enum status status = beside->fn(beside->run, &err);
		enum status stored = beside_settle(beside, &late);
		pthread_mutex_lock(&beside->lock);
		beside->status = status == STATUS_OK ? stored : status;
		beside->err = status == STATUS_OK ? late : err;
		beside->ended = true;
		pthread_cond_signal(&beside->to_worker);
	}
	pthread_mutex_unlock(&beside->lock);
	return NULL;
}

/* --- the worker's side --- */

static struct task_beside *beside_new(void)
{
	struct task_beside *beside = calloc(1, sizeof(*beside));

	if (!beside)
		return NULL;
	pthread_mutex_init(&beside->lock, NULL);
	pthread_cond_init(&beside->to_worker, NULL);
	pthread_cond_init(&beside->to_function, NULL);
	if (pthread_create(&beside->thread, NULL, beside_main, beside) == 0) {
		pthread_setname_np(beside->thread, "tasks-compute");
		return beside;
	}
	pthread_mutex_destroy(&beside->lock);
	pthread_cond_destroy(&beside->to_worker);
	pthread_cond_destroy(&beside->to_function);
	free(beside);
	return NULL;
}

enum status beside_run(struct task_worker *worker, task_function *fn, struct task_run *run, struct err *err)
{
	if (!worker->beside && !(worker->beside = beside_new()))
		return fn(run, err); /* no thread: then as all others */
	struct task_beside *beside = worker->beside;

	run->beside = beside;
	pthread_mutex_lock(&beside->lock);
	beside->fn = fn;
	beside->run = run;
	beside->ended = false;
	pthread_cond_signal(&beside->to_function);
	while (!beside->ended) {
		if (beside->state != JOB_ASKED) {
			pthread_cond_wait(&beside->to_worker, &beside->lock);
			continue;
		}
		pthread_mutex_unlock(&beside->lock);
		beside->job.status = run_job(run, &beside->job, &beside->job.err);
		pthread_mutex_lock(&beside->lock);
		beside->state = JOB_DONE;
		pthread_cond_signal(&beside->to_function);
	}
	beside->run = NULL;
	enum status status = beside->status;
	*err = beside->err;
	pthread_mutex_unlock(&beside->lock);
	run->beside = NULL;
	return status;
}

void beside_close(struct task_beside *beside)
{
	if (!beside)
		return;
	pthread_mutex_lock(&beside->lock);
	beside->closing = true;
	pthread_cond_signal(&beside->to_function);
	pthread_mutex_unlock(&beside->lock);
	pthread_join(beside->thread, NULL);
	pthread_mutex_destroy(&beside->lock);
	pthread_cond_destroy(&beside->to_worker);
	pthread_cond_destroy(&beside->to_function);
	free(beside);
}
