/* appcore work: one worker for background tasks.
 *
 * Threads: this one (signals, signs of life, the metrics file, silent peers); those that work on tasks, those that
 * compute for them, and their clock (lib/task/worker.c, beside.c); one that moves SQLite's log (db_sqlite_aside.c); one
 * that loads models; one that counts tasks; on PostgreSQL one that hears of other machines' tasks; the log's writer.
 * After SIGTERM what runs ends with its next checkpoint and goes back to the queue, as does what was claimed and not
 * begun; a second SIGTERM ends the process at once, as kill -9 would: leases end by themselves. A task that does not
 * end when its time is over ends the process, too, for a thread can't be ended: the supervisor starts the next one. */
#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "command.h"
#include "notify.h"
#include "self.h"
#include "shared/metrics.h"
#include "task/listen.h"
#include "task/measure.h"
#include "task/models.h"
#include "task/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
	TICK_MS = 400,
	MEASURE_MS = 2000,
	NOTIFY_MS = 1000,
	SILENT_MS = 2000,
	STOP_MAX_MS = 8000, /* for threads that come to no checkpoint */
};

struct gauges {
	metrics_series resident, fds, cpu, busy, idle, killed, log_dropped;
};

struct work {
	struct config config;
	struct shm *shm;
	struct task_models *models;
	struct task_measure *measure;
	struct task_listen *listen;
	struct task_pool *pool;
	struct gauges gauges;
	char name[64];
	char metrics_path[4096];
	uint64_t log_dropped, changes;
	uint64_t measured_ms, notified_ms, stopping_ms; /* 0: never */
	bool metrics_failing;
};

static metrics_series of_instance(struct work *work, enum metrics_family family, const char *state)
{
	struct metrics_label labels[] = {{"instance", str_of(work->config.instance_id)}, {"state", str_of(state)}};

	return metrics_find(work->shm, family, labels, state ? 2 : 1);
}

static void find_gauges(struct work *work)
{
	work->gauges = (struct gauges){
		.resident = of_instance(work, METRICS_WORKER_RESIDENT, NULL),
		.fds = of_instance(work, METRICS_WORKER_OPEN_FDS, NULL),
		.cpu = of_instance(work, METRICS_WORKER_CPU, NULL),
		.busy = of_instance(work, METRICS_TASK_THREADS, "busy"),
		.idle = of_instance(work, METRICS_TASK_THREADS, "idle"),
		.killed = metrics_find(work->shm, METRICS_WORKERS_KILLED, NULL, 0),
		.log_dropped = metrics_find(work->shm, METRICS_LOG_DROPPED, NULL, 0),
	};
}

/* --- starting --- */

static void block_signals(sigset_t *terminating)
{
	sigset_t pipe;

	sigemptyset(terminating);
	sigaddset(terminating, SIGTERM);
	sigaddset(terminating, SIGINT);
	pthread_sigmask(SIG_BLOCK, terminating, NULL);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
}

static enum status open_all(struct work *work, struct err *err)
{
	const struct config *config = &work->config;

	enum status status = shm_open_dir(&work->shm, config->run_dir, err);
	if (status == STATUS_OK)
		status = shm_claim_slot_as(work->shm, config->instance_id, SHM_WORKS, err);
	if (status == STATUS_OK)
		status = task_models_open(&work->models, config, work->shm, err);
	if (status == STATUS_OK && !task_listen_start(&work->listen, config, work->shm))
		status = err_set(err, STATUS_UNAVAILABLE, "no thread for hearing of other machines' tasks");
	if (status == STATUS_OK && !task_measure_start(&work->measure, config, work->shm))
		status = err_set(err, STATUS_UNAVAILABLE, "no thread for counting tasks");
	if (status != STATUS_OK)
		return status;
	find_gauges(work);
	snprintf(work->metrics_path, sizeof(work->metrics_path), "%s/metrics.prom", config->run_dir);
	snprintf(work->name, sizeof(work->name), "%.32s/%d", config->instance_id, (int)getpid());
	const struct task_pool_options options = {
		.config = config,
		.shm = work->shm,
		.name = work->name,
		.kinds = TASK_KINDS,
		.kinds_n = TASK_KINDS_N,
		.hold_models = task_models_hold,
		.arg = work->models,
		.schedules = true,
	};
	return task_pool_open(&work->pool, &options, err);
}

/* The threads start with the signals blocked. */
static int start(struct work *work)
{
	const struct config *config = &work->config;
	struct err err;

	if (!log_start(log_level_of(config->log_level), config->log_file, config->instance_id))
		return command_fail(EXIT_SYSTEM, "the log %s can't be written: %s.", config->log_file, strerror(errno));
	int code = command_check_schema(config);
	if (code != EXIT_OK)
		return code;
	enum status status = open_all(work, &err);
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err.text);
}

/* --- running --- */

static void measure(struct work *work)
{
	const struct gauges *gauges = &work->gauges;
	int busy = task_pool_busy(work->pool);
	uint64_t dropped = log_dropped();

	metrics_set(work->shm, gauges->resident, self_resident_bytes());
	metrics_set(work->shm, gauges->fds, self_open_fds());
	metrics_set(work->shm, gauges->cpu, self_cpu_seconds());
	metrics_set(work->shm, gauges->busy, busy);
	metrics_set(work->shm, gauges->idle, (double)work->config.task_threads - busy);
	metrics_add(work->shm, gauges->log_dropped, dropped - work->log_dropped);
	work->log_dropped = dropped;
}

static void write_metrics(struct work *work)
{
	struct err err;

	if (!work->shm)
		return;
	uint64_t changes = metrics_changes(work->shm);
	if (changes == work->changes)
		return;
	enum status status = metrics_write_file(work->shm, work->metrics_path, &err);
	if (status == STATUS_BUSY)
		return;
	work->changes = changes;
	if (status != STATUS_OK && !work->metrics_failing)
		log_event(LOG_LEVEL_ERROR, "the metrics file can't be written: %s", err.text);
	work->metrics_failing = status != STATUS_OK;
}

static void reap(struct work *work, uint64_t now_ms)
{
	int killed = shm_reap_silent(work->shm, now_ms, SILENT_MS);

	if (killed == 0)
		return;
	metrics_add(work->shm, work->gauges.killed, (uint64_t)killed);
	log_event(LOG_LEVEL_ERROR, "%d worker(s) gave no sign of life for %d ms and were ended", killed, SILENT_MS);
}

static void tick(struct work *work, uint64_t now_ms)
{
	shm_beat(work->shm, now_ms);
	reap(work, now_ms);
	if (now_ms - work->notified_ms >= NOTIFY_MS) {
		work->notified_ms = now_ms;
		notify_send("WATCHDOG=1");
	}
	if (now_ms - work->measured_ms >= MEASURE_MS) {
		work->measured_ms = now_ms;
		measure(work);
	}
	write_metrics(work);
}

static void stop_pool(struct work *work, uint64_t now_ms)
{
	if (work->stopping_ms == 0)
		work->stopping_ms = now_ms;
	notify_send("STOPPING=1");
	task_pool_stop(work->pool);
}

/* Returns when all threads have ended, or it is time to go all the same. False: a thread is left. */
static bool run(struct work *work, const sigset_t *terminating)
{
	const struct timespec wait = {.tv_nsec = TICK_MS * 1000000L}, soon = {.tv_nsec = 20 * 1000000L};
	int terms = 0;

	for (;;) {
		int got = sigtimedwait(terminating, NULL, work->stopping_ms ? &soon : &wait);
		uint64_t now_ms = clock_mono_ms();
		const char *trouble = task_pool_trouble(work->pool);
		tick(work, now_ms);
		if (got > 0 && ++terms > 1)
			return task_pool_has_ended(work->pool);
		if (got > 0)
			log_event(LOG_LEVEL_INFO, "SIGTERM: ending what runs at its next checkpoint");
		if (trouble && work->stopping_ms == 0)
			log_event(LOG_LEVEL_CRITICAL, "%s: this worker ends and starts anew", trouble);
		if ((got > 0 || trouble) && work->stopping_ms == 0)
			stop_pool(work, now_ms);
		if (work->stopping_ms == 0)
			continue;
		if (task_pool_has_ended(work->pool))
			return true;
		if (now_ms - work->stopping_ms > STOP_MAX_MS)
			return false;
	}
}

static void stop(struct work *work)
{
	if (work->shm)
		shm_beat(work->shm, 0);
	task_pool_close(work->pool);
	task_measure_stop(work->measure);
	task_listen_stop(work->listen);
	task_models_close(work->models);
	if (work->metrics_path[0])
		write_metrics(work);
	shm_close(work->shm);
	log_event(LOG_LEVEL_INFO, "ended");
	log_stop();
	config_release(&work->config);
}

int work_main(int argc, char **argv)
{
	static struct work work;
	sigset_t terminating;
	bool done;

	if (!command_options(command_find("work"), &argc, argv, NULL, 0, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc > 1)
		return command_fail(EXIT_USAGE, "there are no arguments; see --help.");
	if (!command_load_config(&work.config))
		return EXIT_USAGE;
	block_signals(&terminating);
	int code = start(&work);
	if (code == EXIT_OK) {
		log_event(LOG_LEVEL_INFO, "appcore %s (%s) works on tasks, %d threads, pid %d", APPCORE_VERSION,
			  APPCORE_COMMIT, (int)work.config.task_threads, (int)getpid());
		notify_send("READY=1");
		bool ended = run(&work, &terminating);
		code = task_pool_trouble(work.pool) ? EXIT_SYSTEM : EXIT_OK;
		if (!ended) {
			log_event(LOG_LEVEL_WARNING, "ended while a task runs: it is begun again when its lease ends");
			log_stop();
			_exit(code);
		}
	}
	stop(&work);
	return code;
}
