/* Counting tasks. The thread reads the table; it writes gauges; it ends when task_measure_stop asks.
 *
 * In between it looks after those who keep everybody from the queue: whoever changes tasks holds one row until its
 * commit (tasks_begin_change), also when it is stopped, or its machine is gone. Each process that adds tasks or works
 * on them has this thread, so one that lives finds them. */
#include "task/measure.h"

#include "base/clock.h"
#include "base/log.h"
#include "shared/metrics.h"
#include "shared/wake.h"
#include "task/kinds.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { EVERY_MS = 1000, IDLE_MS = 10 * 1000, SHARE = 50 /* of the time is spent on counting: one part, at the most */ };
enum { LOOK_MS = 5000, STALLED_MS = 10 * 1000 };

struct task_measure {
	const struct config *config;
	struct shm *shm;
	struct db *db; /* NULL: there was none to be had yet */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;    /* guarded by lock */
	uint64_t look_ms; /* the next look for stalled sessions */
	int64_t waiting;
	int64_t oldest_us;                   /* since when the first of them could have been begun; 0: none waits */
	int64_t (*counts)[TASK_STATUS__MAX]; /* by kind, the last for kinds that are not in the table */
};

void task_created_count(struct shm *shm, struct str kind, uint64_t n)
{
	struct metrics_label label = {"kind", kind};

	metrics_add(shm, metrics_find(shm, METRICS_TASKS_CREATED, &label, 1), n);
}

static bool count_one(void *arg, struct str kind, enum task_status status, int64_t n, int64_t oldest_us)
{
	struct task_measure *measure = arg;
	const struct task_kind *found = task_kind_find(kind);

	measure->counts[found ? found - TASK_KINDS : TASK_KINDS_N][status] += n;
	if (status != TASK_PENDING)
		return true;
	measure->waiting += n;
	if (measure->oldest_us == 0 || oldest_us < measure->oldest_us)
		measure->oldest_us = oldest_us;
	return true;
}

/* A series appears when there is something to count in it, and stays. What waits for its time is not late. */
static void tell(struct task_measure *measure, int64_t (*before)[TASK_STATUS__MAX])
{
	for (int k = 0; k <= TASK_KINDS_N; k++) {
		for (int i = 0; i < TASK_STATUS__MAX; i++) {
			if (measure->counts[k][i] == 0 && before[k][i] == 0)
				continue;
			struct metrics_label labels[] = {
				{"kind", k < TASK_KINDS_N ? str_of(TASK_KINDS[k].name) : STR("unknown")},
				{"status", str_of(task_status_name((enum task_status)i))},
			};
			metrics_set(measure->shm, metrics_find(measure->shm, METRICS_TASKS_NOW, labels, 2),
				    (double)measure->counts[k][i]);
		}
	}
	metrics_set(measure->shm, metrics_find(measure->shm, METRICS_QUEUE_DEPTH, NULL, 0), (double)measure->waiting);
	bool is_due = measure->oldest_us <= clock_wall_us();
	metrics_set(measure->shm, metrics_find(measure->shm, METRICS_TASKS_OLDEST, NULL, 0),
		    is_due ? (double)measure->oldest_us / 1e6 : 0.0);
}

static void count(struct task_measure *measure)
{
	size_t size = (size_t)(TASK_KINDS_N + 1) * sizeof(*measure->counts);
	int64_t(*before)[TASK_STATUS__MAX] = malloc(size);

	if (!before)
		return;
	memcpy(before, measure->counts, size);
	memset(measure->counts, 0, size);
	measure->waiting = 0;
	measure->oldest_us = 0;
	if (tasks_count(measure->db, count_one, measure, NULL) == STATUS_OK)
		tell(measure, before);
	else
		memcpy(measure->counts, before, size);
	free(before);
}

/* --- who keeps others waiting --- */

static void look_for_stalled(struct task_measure *measure)
{
	uint64_t now_ms = clock_mono_ms();
	struct db_stalled stalled;

	if (!measure->db || !db_is_remote(measure->db) || now_ms < measure->look_ms)
		return;
	measure->look_ms = now_ms + LOOK_MS;
	if (db_end_stalled(measure->db, STALLED_MS, &stalled, NULL) != STATUS_OK || stalled.ended == 0)
		return;
	log_event(LOG_LEVEL_WARNING,
		  "%lld sessions of PostgreSQL were ended, their clients had been silent for %d s in a transaction; the"
		  " first is process %lld there, of %s",
		  (long long)stalled.ended, STALLED_MS / 1000, (long long)stalled.pid, stalled.client);
}

/* --- the thread --- */

static bool pause_unless_stopping(struct task_measure *measure, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	pthread_mutex_lock(&measure->lock);
	if (!measure->stopping)
		(void)pthread_cond_timedwait(&measure->wake, &measure->lock, &until);
	bool stopping = measure->stopping;
	pthread_mutex_unlock(&measure->lock);
	return !stopping;
}

/* Until something has changed, and at most IDLE_MS; False: it is time to end. */
static bool wait_for_change(struct task_measure *measure, uint32_t seen, uint64_t pause_ms)
{
	uint64_t idle_ms = clock_mono_ms() + (measure->db ? IDLE_MS : EVERY_MS);
	bool changed = false;

	for (uint64_t now_ms = clock_mono_ms(); !changed && now_ms < idle_ms; now_ms = clock_mono_ms()) {
		int ms = (int)(idle_ms - now_ms < LOOK_MS ? idle_ms - now_ms : LOOK_MS);
		look_for_stalled(measure);
		changed = wake_wait(measure->shm, WAKE_EVENTS, seen, ms);
	}
	for (; pause_ms > LOOK_MS; pause_ms -= LOOK_MS) {
		look_for_stalled(measure);
		if (!pause_unless_stopping(measure, LOOK_MS))
			return false;
	}
	look_for_stalled(measure);
	return pause_unless_stopping(measure, pause_ms);
}

static void *measure_main(void *arg)
{
	struct task_measure *measure = arg;
	uint64_t pause_ms;
	uint32_t seen;

	do {
		uint64_t start_ms = clock_mono_ms();
		seen = wake_seen(measure->shm, WAKE_EVENTS);
		if (!measure->db &&
		    db_open(&measure->db, str_of(measure->config->database_url), DB_READ, NULL) != STATUS_OK)
			measure->db = NULL;
		if (measure->db)
			count(measure);
		/* A long queue takes long to count. */
		pause_ms = SHARE * (clock_mono_ms() - start_ms);
		pause_ms = pause_ms > EVERY_MS ? pause_ms : EVERY_MS;
	} while (wait_for_change(measure, seen, pause_ms));
	db_close(measure->db);
	return NULL;
}

bool task_measure_start(struct task_measure **out, const struct config *config, struct shm *shm)
{
	struct task_measure *measure = calloc(1, sizeof(*measure));
	pthread_condattr_t attr;

	*out = NULL;
	if (!measure)
		return false;
	measure->counts = calloc((size_t)TASK_KINDS_N + 1, sizeof(*measure->counts));
	measure->config = config;
	measure->shm = shm;
	pthread_mutex_init(&measure->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&measure->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (!measure->counts || pthread_create(&measure->thread, NULL, measure_main, measure) != 0) {
		free(measure->counts);
		free(measure);
		return false;
	}
	pthread_setname_np(measure->thread, "tasks-count");
	*out = measure;
	return true;
}

void task_measure_stop(struct task_measure *measure)
{
	if (!measure)
		return;
	pthread_mutex_lock(&measure->lock);
	measure->stopping = true;
	pthread_cond_signal(&measure->wake);
	pthread_mutex_unlock(&measure->lock);
	wake_all(measure->shm, WAKE_EVENTS);
	pthread_join(measure->thread, NULL);
	pthread_mutex_destroy(&measure->lock);
	pthread_cond_destroy(&measure->wake);
	free(measure->counts);
	free(measure);
}
