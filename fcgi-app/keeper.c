/* The keeper reads shared memory, /proc/self, the store's file sizes, ages of files (ages.h) and nginx's log of its own
 * answers; it writes gauges, the counts of that log, the metrics file, signs of life to systemd, and, to workers silent
 * for SILENT_MS, SIGKILL. It ends when keeper_stop asks.
 *
 * The keeper, not the event thread, answers for this worker to systemd, by the rule that it holds its peers to: an
 * event thread that waits for its disk sends nothing, and is not to be killed for it. A stopped process stops both. */
#include "keeper.h"

#include "ages.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "notify.h"
#include "self.h"
#include "shared/edge.h"

#include <errno.h>
#include <json-c/json_c_version.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { TICK_MS = 250, MEASURE_MS = 1000, NOTIFY_MS = 1000, RENDER_MS = 2000, SILENT_MS = 2000, AGES_MS = 15 * 1000 };
/* Looks in a row that find the event thread silent. */
enum { LOST_LOOKS = 10 * 1000 / TICK_MS };
enum { STUCK_MS = 3000, STUCK_AGAIN_MS = 30 * 1000 };

struct gauges {
	metrics_series resident, connections, fds, cpu;
	metrics_series queue_write, queue_slow, queue_passwords, queue_log;
	metrics_series wal, database, data_free, data_size, killed, log_dropped, edge_readable;
};

struct keeper {
	struct app *app;
	const atomic_int *connections;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping; /* guarded by lock */
	struct gauges gauges;
	struct ages ages;
	uint64_t log_dropped; /* already counted */
	struct edge *edge;
	bool edge_failing;
	char path[4096];
	bool failing;
	int lost_looks;
	uint64_t stuck_ms; /* when it was last told that nobody gets the turn to write; 0: somebody does */
};

static metrics_series of_instance(struct app *app, enum metrics_family family, const char *queue)
{
	struct metrics_label labels[] = {{"instance", str_of(app->config->instance_id)}, {"queue", str_of(queue)}};

	return metrics_find(app->shm, family, labels, queue ? 2 : 1);
}

static void find_gauges(struct app *app, struct gauges *gauges)
{
	gauges->resident = of_instance(app, METRICS_WORKER_RESIDENT, NULL);
	gauges->connections = of_instance(app, METRICS_WORKER_CONNECTIONS, NULL);
	gauges->fds = of_instance(app, METRICS_WORKER_OPEN_FDS, NULL);
	gauges->cpu = of_instance(app, METRICS_WORKER_CPU, NULL);
	gauges->queue_write = of_instance(app, METRICS_QUEUE_LENGTH, "write");
	gauges->queue_slow = of_instance(app, METRICS_QUEUE_LENGTH, "slow");
	gauges->queue_passwords = of_instance(app, METRICS_QUEUE_LENGTH, "passwords");
	gauges->queue_log = of_instance(app, METRICS_QUEUE_LENGTH, "log");
	gauges->wal = metrics_find(app->shm, METRICS_WAL_BYTES, NULL, 0);
	gauges->database = metrics_find(app->shm, METRICS_DATABASE_BYTES, NULL, 0);
	gauges->data_free = metrics_find(app->shm, METRICS_DATA_FREE, NULL, 0);
	gauges->data_size = metrics_find(app->shm, METRICS_DATA_SIZE, NULL, 0);
	gauges->killed = metrics_find(app->shm, METRICS_WORKERS_KILLED, NULL, 0);
	gauges->log_dropped = metrics_find(app->shm, METRICS_LOG_DROPPED, NULL, 0);
	gauges->edge_readable = metrics_find(app->shm, METRICS_EDGE_READABLE, NULL, 0);
}

/* What is kept for root is not free. */
static void measure_disk(struct app *app, const struct gauges *gauges)
{
	struct statvfs disk;

	if (statvfs(app->config->data_dir, &disk) != 0)
		return;
	metrics_set(app->shm, gauges->data_free, (double)disk.f_bavail * (double)disk.f_frsize);
	metrics_set(app->shm, gauges->data_size, (double)disk.f_blocks * (double)disk.f_frsize);
}

static void measure(struct keeper *keeper)
{
	struct app *app = keeper->app;
	const struct gauges *gauges = &keeper->gauges;
	struct db_info info;

	store_info(app->store, &info);
	metrics_set(app->shm, gauges->resident, self_resident_bytes());
	metrics_set(app->shm, gauges->connections, atomic_load_explicit(keeper->connections, memory_order_relaxed));
	metrics_set(app->shm, gauges->fds, self_open_fds());
	metrics_set(app->shm, gauges->cpu, self_cpu_seconds());
	metrics_set(app->shm, gauges->queue_write, (double)store_queue_length(app->store));
	metrics_set(app->shm, gauges->queue_slow,
		    (double)(pool_queue_length(app->slow) + pool_queue_length(app->lists)));
	metrics_set(app->shm, gauges->queue_passwords, (double)pool_queue_length(app->passwords));
	metrics_set(app->shm, gauges->queue_log, (double)log_waiting());
	metrics_set(app->shm, gauges->wal, (double)info.log_bytes);
	metrics_set(app->shm, gauges->database, (double)info.database_bytes);
	measure_disk(app, gauges);
	uint64_t dropped = log_dropped();
	metrics_add(app->shm, gauges->log_dropped, dropped - keeper->log_dropped);
	keeper->log_dropped = dropped;
}

static void reap(struct keeper *keeper, uint64_t now_ms)
{
	int killed = shm_reap_silent(keeper->app->shm, now_ms, SILENT_MS);

	if (killed == 0)
		return;
	metrics_add(keeper->app->shm, keeper->gauges.killed, (uint64_t)killed);
	log_event(LOG_LEVEL_ERROR,
		  "%d worker(s) gave no sign of life for %d ms and were ended; the supervisor starts them anew", killed,
		  SILENT_MS);
}

/* No log at all is what a worker without nginx has, and one that starts before nginx: the gauge says so. */
static void count_edge(struct keeper *keeper)
{
	uint64_t lines;
	struct err err;
	enum status status = edge_follow(keeper->edge, &lines, &err);

	if (lines > 0)
		metrics_touch(keeper->app->shm);
	if (status == STATUS_BUSY)
		return;
	metrics_set(keeper->app->shm, keeper->gauges.edge_readable, status == STATUS_OK ? 1.0 : 0.0);
	if (status == STATUS_UNAVAILABLE && !keeper->edge_failing)
		log_event(LOG_LEVEL_WARNING, "%s", err.text);
	keeper->edge_failing = status == STATUS_UNAVAILABLE;
}

/* Silent workers are ended; a command that is stopped is not ours to end, but it can be named. */
static void tell_stuck(struct keeper *keeper, uint64_t now_ms)
{
	uint64_t waited_ms = store_turn_wait_ms(keeper->app->store, now_ms);
	char who[64] = "another process";

	if (waited_ms < STUCK_MS) {
		keeper->stuck_ms = 0;
		return;
	}
	if (keeper->stuck_ms != 0 && now_ms - keeper->stuck_ms < STUCK_AGAIN_MS)
		return;
	keeper->stuck_ms = now_ms;
	int pid = store_turn_holder(keeper->app->store);
	if (pid > 0)
		snprintf(who, sizeof(who), "process %d", pid);
	log_event(LOG_LEVEL_ERROR,
		  "nothing has been written for %d s because %s keeps the turn to write: if it is stopped, continue it "
		  "(kill -CONT) or end it",
		  (int)(waited_ms / 1000), who);
}

/* Peers end a worker that is silent for 2 s, systemd one after 5. A container has neither: its worker ends by itself.
 */
static void end_when_lost(struct keeper *keeper, bool well)
{
	keeper->lost_looks = well ? 0 : keeper->lost_looks + 1;
	if (keeper->lost_looks < LOST_LOOKS)
		return;
	log_event(LOG_LEVEL_CRITICAL, "the event thread gives no sign of life: this worker ends and starts anew");
	log_stop();
	_exit(111);
}

static void write_metrics(struct keeper *keeper)
{
	struct err err;
	enum status status = metrics_write_file(keeper->app->shm, keeper->path, &err);

	if (status == STATUS_BUSY)
		return;
	if (status != STATUS_OK && !keeper->failing)
		log_event(LOG_LEVEL_ERROR, "the metrics file can't be written: %s", err.text);
	keeper->failing = status != STATUS_OK;
}

static bool pause_unless_stopping(struct keeper *keeper)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += TICK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&keeper->lock);
	while (!keeper->stopping && pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until) != ETIMEDOUT)
		;
	bool stopping = keeper->stopping;
	pthread_mutex_unlock(&keeper->lock);
	return !stopping;
}

static void *keeper_main(void *arg)
{
	struct keeper *keeper = arg;
	uint64_t measured_ms = 0, aged_ms = 0, notified_ms = 0, rendered_ms = 0, changes = 0;

	do {
		uint64_t now_ms = clock_mono_ms();
		reap(keeper, now_ms);
		bool well = shm_is_well(keeper->app->shm, now_ms, SILENT_MS);
		end_when_lost(keeper, well);
		if (now_ms - notified_ms >= NOTIFY_MS && well) {
			notified_ms = now_ms;
			notify_send("WATCHDOG=1");
		}
		if (measured_ms == 0 || now_ms - measured_ms >= MEASURE_MS) {
			measured_ms = now_ms;
			measure(keeper);
			tell_stuck(keeper, now_ms);
		}
		if (aged_ms == 0 || now_ms - aged_ms >= AGES_MS) {
			aged_ms = now_ms;
			ages_measure(&keeper->ages, keeper->app);
		}
		count_edge(keeper);
		uint64_t seen = metrics_changes(keeper->app->shm);
		if (seen != changes || now_ms - rendered_ms >= RENDER_MS) {
			changes = seen;
			rendered_ms = now_ms;
			write_metrics(keeper);
		}
	} while (pause_unless_stopping(keeper));
	count_edge(keeper);
	write_metrics(keeper);
	return NULL;
}

static void tell_build(struct app *app)
{
	char sqlite[64], compiler[32];
	struct db_info info;

	store_info(app->store, &info);
	snprintf(sqlite, sizeof(sqlite), "%s", info.engine);
	snprintf(compiler, sizeof(compiler), "%.31s", __VERSION__);
	struct metrics_label labels[] = {
		{"version", STR(APPCORE_VERSION)},    {"commit", STR(APPCORE_COMMIT)},
		{"compiler", str_of(compiler)},       {"engine", str_of(sqlite)},
		{"json_c", str_of(json_c_version())}, {"sodium", str_of(sodium_version_string())},
	};
	metrics_series series = metrics_find(app->shm, METRICS_BUILD_INFO, labels, 6);
	metrics_set(app->shm, series, 1.0);
}

bool keeper_start(struct keeper **out, struct app *app, const atomic_int *connections)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	pthread_condattr_t attr;

	if (!keeper)
		return false;
	keeper->edge = edge_new(app->config->run_dir, app->config->edge_log);
	if (!keeper->edge) {
		free(keeper);
		return false;
	}
	keeper->app = app;
	keeper->connections = connections;
	snprintf(keeper->path, sizeof(keeper->path), "%s/metrics.prom", app->config->run_dir);
	find_gauges(app, &keeper->gauges);
	ages_init(&keeper->ages, app);
	tell_build(app);
	pthread_mutex_init(&keeper->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&keeper->thread, NULL, keeper_main, keeper) != 0) {
		edge_free(keeper->edge);
		free(keeper);
		return false;
	}
	pthread_setname_np(keeper->thread, "keeper");
	*out = keeper;
	return true;
}

void keeper_stop(struct keeper *keeper)
{
	if (!keeper)
		return;
	pthread_mutex_lock(&keeper->lock);
	keeper->stopping = true;
	pthread_cond_signal(&keeper->wake);
	pthread_mutex_unlock(&keeper->lock);
	pthread_join(keeper->thread, NULL);
	pthread_mutex_destroy(&keeper->lock);
	pthread_cond_destroy(&keeper->wake);
	edge_free(keeper->edge);
	free(keeper);
}
