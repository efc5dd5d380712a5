/* The thread reads samples of the predictions (a connection of its own, open only while it works) and writes gauges of
 * this worker's slot. It ends when drift_watch_stop asks, between two versions.
 *
 * The number of series is bounded: of each version the inputs that have drifted most, and no more than SERIES_MAX in
 * the life of the process; a gauge that is not among them any more is taken out of the text. A round looks at no more
 * than VERSIONS versions, the next one goes on where it ended. */
#include "model/drift_watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "model/drift.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { INPUTS = 20, SERIES_MAX = 400, VERSIONS = 16, NICE = 10, LOOK_MS = 1000, EVERY_MAX_MS = 60 * 1000 };

/* A gauge that is or was shown. */
struct shown {
	metrics_series series;
	char version[2 * MODEL_NAME_BYTES]; /* "wine/2" */
	uint64_t round;                     /* in which it was set; 0: it is not shown */
};

struct drift_watch {
	struct store *store;
	struct shm *shm;
	int64_t window_us;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct model_set *set; /* held; guarded by lock */
	bool fresh;            /* the set is new; guarded by lock */
	bool stopping;         /* guarded by lock */

	/* The thread's own. */
	struct shown shown[SERIES_MAX];
	int shown_n;
	uint64_t round;
	int next; /* route to begin with */
	bool failing;
};

/* --- gauges --- */

static void show(struct drift_watch *watch, const char *version, metrics_series series, double value)
{
	int i = 0;

	while (i < watch->shown_n && watch->shown[i].series != series)
		i++;
	if (series < 0 || i == SERIES_MAX)
		return;
	struct shown *shown = &watch->shown[i];
	if (i == watch->shown_n) {
		watch->shown_n++;
		shown->series = series;
		snprintf(shown->version, sizeof(shown->version), "%s", version);
	}
	shown->round = watch->round;
	metrics_set(watch->shm, series, value);
}

/* Takes out what was not set in this round: of one version, or (NULL) of all. */
static void hide_old(struct drift_watch *watch, const char *version)
{
	for (int i = 0; i < watch->shown_n; i++) {
		struct shown *shown = &watch->shown[i];
		if (shown->round == 0 || shown->round == watch->round ||
		    (version && strcmp(version, shown->version) != 0))
			continue;
		shown->round = 0;
		metrics_unset(watch->shm, shown->series);
	}
}

static void publish(struct drift_watch *watch, const struct drift *drift)
{
	const struct model *model = drift->model;
	char version[2 * MODEL_NAME_BYTES];
	struct metrics_label labels[] = {
		{"model", str_of(model->name)}, {"version", str_of(model->version)}, {"input", {0}}};

	snprintf(version, sizeof(version), "%s/%s", model->name, model->version);
	show(watch, version, metrics_find(watch->shm, METRICS_DRIFT_ROWS, labels, 2), (double)drift->rows);
	for (int i = 0; drift->rows > 0 && i < drift->inputs_n && i < INPUTS && watch->shown_n < SERIES_MAX; i++) {
		labels[2].value = drift->inputs[i].input->name;
		show(watch, version, metrics_find(watch->shm, METRICS_DRIFT_PSI, labels, 3), drift->inputs[i].psi);
	}
	hide_old(watch, version);
}

/* --- a round --- */

static void look_at(struct drift_watch *watch, struct db *db, const struct model *model)
{
	struct drift *drift = drift_new(model);
	struct err err = {0};

	if (!drift || drift->inputs_n == 0) {
		drift_free(drift);
		return;
	}
	enum status status = drift_sample(drift, db, clock_wall_us(), watch->window_us, DRIFT_ROWS, &err);
	if (status == STATUS_OK) {
		drift_finish(drift);
		publish(watch, drift);
	} else if (!watch->failing) {
		log_event(LOG_LEVEL_WARNING, "the drift of model %s can't be computed now: %s", model->name, err.text);
	}
	watch->failing = status != STATUS_OK;
	drift_free(drift);
}

static bool is_stopping(struct drift_watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	bool stopping = watch->stopping;
	pthread_mutex_unlock(&watch->lock);
	return stopping;
}

/* Whether a version answers for its name; else its gauges are of the past. */
static bool answers(const struct model_set *set, const char *shown)
{
	struct str version = str_of(shown), name = str_cut(&version, '/');
	const struct model_route *route = model_set_find_route(set, name);

	for (int i = 0; route && i < route->n; i++)
		if (str_eq(version, str_of(route->shares[i].version->model->version)))
			return true;
	return false;
}

static void look_at_all(struct drift_watch *watch, const struct model_set *set, struct db *db)
{
	const struct model_route *route;
	int routes = 0, looked = 0;

	while (model_set_route_at(set, routes))
		routes++;
	for (int i = 0; i < routes && looked < VERSIONS; i++) {
		watch->next = (watch->next + 1) % routes;
		route = model_set_route_at(set, watch->next);
		for (int k = 0; k < route->n && !is_stopping(watch); k++, looked++)
			look_at(watch, db, route->shares[k].version->model);
	}
	for (int i = 0; i < watch->shown_n; i++)
		if (watch->shown[i].round > 0 && !answers(set, watch->shown[i].version)) {
			watch->shown[i].round = 0;
			metrics_unset(watch->shm, watch->shown[i].series);
		}
}

static bool is_elected(struct drift_watch *watch)
{
	struct shm_worker workers[SHM_SLOTS];
	int n = shm_workers(watch->shm, clock_mono_ms(), workers);

	for (int i = 0; i < n; i++)
		if (workers[i].role == SHM_SERVES && workers[i].slot < shm_slot(watch->shm))
			return false;
	return true;
}

static bool has_distributions(const struct model_set *set)
{
	const struct model_version *version;

	for (int i = 0; (version = model_set_version_at(set, i)); i++) {
		const struct manifest *manifest = version->model->manifest;
		for (int k = 0; manifest && k < manifest->inputs_n; k++)
			if (manifest->inputs[k].bins > 0)
				return true;
	}
	return false;
}

static void run_round(struct drift_watch *watch)
{
	struct db *db = NULL;
	struct err err = {0};

	pthread_mutex_lock(&watch->lock);
	struct model_set *set = watch->set ? model_set_hold(watch->set) : NULL;
	watch->fresh = false;
	pthread_mutex_unlock(&watch->lock);
	watch->round++;
	if (set && has_distributions(set) && is_elected(watch)) {
		enum status status = store_connect(watch->store, &db, &err);
		if (status == STATUS_OK)
			look_at_all(watch, set, db);
		else if (!watch->failing)
			log_event(LOG_LEVEL_WARNING, "drift can't be computed now: %s", err.text);
		watch->failing |= status != STATUS_OK;
		db_close(db);
	} else {
		hide_old(watch, NULL);
	}
	model_set_drop(set);
}

/* False: to stop. *fresh: there is another set. */
static bool pause_unless_stopping(struct drift_watch *watch, bool *fresh)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LOOK_MS / 1000;
	pthread_mutex_lock(&watch->lock);
	while (!watch->stopping && pthread_cond_timedwait(&watch->wake, &watch->lock, &until) != ETIMEDOUT)
		;
	bool stopping = watch->stopping;
	*fresh = watch->fresh;
	pthread_mutex_unlock(&watch->lock);
	return !stopping;
}

static void *watch_main(void *arg)
{
	struct drift_watch *watch = arg;
	uint64_t every_ms = (uint64_t)watch->window_us / 1000 / 60, done_ms = 0;
	bool fresh;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	every_ms = every_ms > EVERY_MAX_MS ? EVERY_MAX_MS : every_ms;
	while (pause_unless_stopping(watch, &fresh)) {
		uint64_t now_ms = clock_mono_ms();
		if (fresh || now_ms - done_ms >= every_ms) {
			done_ms = now_ms;
			run_round(watch);
		}
	}
	return NULL;
}

/* --- its life --- */

bool drift_watch_start(struct drift_watch **out, const struct drift_watch_options *options)
{
	struct drift_watch *watch = calloc(1, sizeof(*watch));
	pthread_condattr_t attr;

	if (!watch)
		return false;
	watch->store = options->store;
	watch->shm = options->shm;
	watch->window_us = options->window_s * 1000000;
	pthread_mutex_init(&watch->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watch->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&watch->thread, NULL, watch_main, watch) != 0) {
		free(watch);
		return false;
	}
	pthread_setname_np(watch->thread, "drift");
	*out = watch;
	return true;
}

void drift_watch_stop(struct drift_watch *watch)
{
	if (!watch)
		return;
	pthread_mutex_lock(&watch->lock);
	watch->stopping = true;
	pthread_cond_signal(&watch->wake);
	pthread_mutex_unlock(&watch->lock);
	pthread_join(watch->thread, NULL);
	pthread_mutex_destroy(&watch->lock);
	pthread_cond_destroy(&watch->wake);
	model_set_drop(watch->set);
	free(watch);
}

void drift_watch_take(struct drift_watch *watch, struct model_set *set)
{
	struct model_set *former;

	model_set_hold(set);
	pthread_mutex_lock(&watch->lock);
	former = watch->set;
	watch->set = set;
	watch->fresh = true;
	pthread_mutex_unlock(&watch->lock);
	model_set_drop(former);
}
