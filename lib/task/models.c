/* Watching and loading. The thread reads the database and the folder of models with a connection of its own, and writes
 * the set; it ends when task_models_close asks. */
#include "task/models.h"

#include "base/clock.h"
#include "base/log.h"
#include "model/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { LOOK_MS = 1000, RETRY_LOOKS = 5 /* between tries to load what could not be */ };

struct task_models {
	const struct config *config;
	struct shm *shm;
	struct db *db; /* NULL: there was none to be had yet */
	struct registry_rows rows;
	int64_t generation; /* of the set; -1: none was read */
	int looks;          /* until what failed is tried again; 0: nothing has */
	bool failing;       /* and that was logged */
	atomic_bool stop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct model_set *set; /* guarded by lock */
};

struct model_set *task_models_hold(void *arg)
{
	struct task_models *models = arg;

	pthread_mutex_lock(&models->lock);
	struct model_set *set = model_set_hold(models->set);
	pthread_mutex_unlock(&models->lock);
	return set;
}

static void take(struct task_models *models, struct model_set *set)
{
	model_set_count_in(set, models->shm);
	pthread_mutex_lock(&models->lock);
	struct model_set *former = models->set;
	models->set = set;
	pthread_mutex_unlock(&models->lock);
	model_set_drop(former);
}

static void load(struct task_models *models)
{
	struct registry_result *result = calloc(1, sizeof(*result));
	struct model_set *former = task_models_hold(models);
	const struct registry_options options = {
		.dir = models->config->models_dir,
		.fallback = models->config->model_default,
		.former = former,
		.stop = &models->stop,
	};

	if (result)
		registry_build(result, &models->rows, &options);
	if (result && result->set) {
		models->generation = models->rows.generation;
		models->looks = result->failures_n > 0 ? RETRY_LOOKS : 0;
		for (int i = 0; i < result->failures_n && !models->failing; i++)
			log_event(LOG_LEVEL_ERROR, "model %s %s can't be loaded: %s", result->failures[i].name,
				  result->failures[i].version, result->failures[i].err.text);
		models->failing = result->failures_n > 0;
		take(models, result->set);
	}
	model_set_drop(former);
	free(result);
}

static void look(struct task_models *models)
{
	bool again = models->looks > 0 && --models->looks == 0;
	bool changed = false;
	struct err err;

	enum status status = STATUS_OK;
	if (!models->db)
		status = db_open(&models->db, str_of(models->config->database_url), DB_READ, &err);
	if (status != STATUS_OK)
		models->db = NULL;
	else
		status = registry_read(&models->rows, models->db, again ? -1 : models->generation, &changed, &err);
	if (status == STATUS_OK && changed)
		load(models);
}

static bool pause_unless_stopping(struct task_models *models)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LOOK_MS / 1000;
	pthread_mutex_lock(&models->lock);
	if (!atomic_load(&models->stop))
		(void)pthread_cond_timedwait(&models->wake, &models->lock, &until);
	pthread_mutex_unlock(&models->lock);
	return !atomic_load(&models->stop);
}

static void *models_main(void *arg)
{
	struct task_models *models = arg;

	while (pause_unless_stopping(models))
		look(models);
	return NULL;
}

enum status task_models_open(struct task_models **out, const struct config *config, struct shm *shm, struct err *err)
{
	struct task_models *models = calloc(1, sizeof(*models));
	pthread_condattr_t attr;

	*out = NULL;
	if (!models || !(models->set = model_set_new())) {
		free(models);
		return err_set(err, STATUS_NO_MEMORY, "There is no memory for the models.");
	}
	models->config = config;
	models->shm = shm;
	models->generation = -1;
	model_set_count_in(models->set, shm);
	pthread_mutex_init(&models->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&models->wake, &attr);
	pthread_condattr_destroy(&attr);
	look(models);
	if (pthread_create(&models->thread, NULL, models_main, models) != 0) {
		model_set_drop(models->set);
		db_close(models->db);
		registry_rows_release(&models->rows);
		free(models);
		return err_set(err, STATUS_UNAVAILABLE, "The thread for the models can't be started.");
	}
	pthread_setname_np(models->thread, "models");
	*out = models;
	return STATUS_OK;
}

void task_models_close(struct task_models *models)
{
	if (!models)
		return;
	pthread_mutex_lock(&models->lock);
	atomic_store(&models->stop, true);
	pthread_cond_signal(&models->wake);
	pthread_mutex_unlock(&models->lock);
	pthread_join(models->thread, NULL);
	model_set_drop(models->set);
	db_close(models->db);
	registry_rows_release(&models->rows);
	pthread_cond_destroy(&models->wake);
	pthread_mutex_destroy(&models->lock);
	free(models);
}
