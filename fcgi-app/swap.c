/* Hot swap. The event thread reads the generation of the models' tables, and when it has moved, or a version could not
 * be loaded a while ago, gives the rows to the loading thread. That one builds a set of its own from the rows, the
 * folder and the set that is served; it reads nothing that changes meanwhile. The set comes back by mail and is taken
 * as a whole. Loading reads and runs files of megabytes: it has a thread to itself, so that no request waits behind it.
 */
#include "swap.h"

#include "base/clock.h"
#include "base/log.h"
#include "model/registry.h"

#include <stdio.h>
#include <stdlib.h>

enum { READ_EVERY_MS = 500, RETRY_MS = 3000, RETRY_TIMES = 20 };

struct read_op {
	struct store_op op; /* first: the store hands it back */
	struct swap *swap;
	int64_t known;
	bool changed, busy, failing;
};

/* Belongs to the loading thread from its submission until its mail is opened. */
struct loading {
	struct pool_job job;
	struct mail mail;
	struct swap *swap;
	struct model_set *former; /* held */
	struct registry_result result;
	uint64_t ms; /* that it took */
	bool busy;
};

struct swap {
	struct app *app;
	struct pool *pool;
	struct read_op read;
	struct loading loading;
	struct registry_rows rows; /* of read or of loading, whichever is busy */
	atomic_bool stop;
	int64_t generation;                                      /* of what is served; -1: nothing was read yet */
	uint64_t read_ms;                                        /* 0: never */
	uint64_t retry_ms;                                       /* when what failed is tried again; 0: nothing has */
	struct registry_failure failures[REGISTRY_FAILURES_MAX]; /* of the last loading */
	int failures_n;
};

/* --- telling --- */

static const struct registry_failure *find_failure(const struct registry_failure *list, int n,
						   const struct registry_failure *wanted)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i].name, wanted->name) == 0 && strcmp(list[i].version, wanted->version) == 0)
			return &list[i];
	return NULL;
}

static void set_failing(struct swap *swap, const char *model, bool failing)
{
	struct metrics_label labels[] = {{"instance", str_of(swap->app->config->instance_id)},
					 {"model", str_of(model)}};

	metrics_set(swap->app->shm, metrics_find(swap->app->shm, METRICS_MODEL_LOAD_FAILING, labels, 2),
		    failing ? 1.0 : 0.0);
}

/* What failed anew, or in another way, is logged; so is what does not fail any more. */
static void note_failures(struct swap *swap, const struct registry_result *result)
{
	for (int i = 0; i < swap->failures_n; i++) {
		const struct registry_failure *old = &swap->failures[i];
		if (find_failure(result->failures, result->failures_n, old))
			continue;
		set_failing(swap, old->name, false);
		log_event(LOG_LEVEL_INFO, "model %s %s does not fail any more", old->name, old->version);
	}
	for (int i = 0; i < result->failures_n; i++) {
		const struct registry_failure *new = &result->failures[i];
		const struct registry_failure *old = find_failure(swap->failures, swap->failures_n, new);
		set_failing(swap, new->name, true);
		if (!old || strcmp(old->err.text, new->err.text) != 0)
			log_event(LOG_LEVEL_ERROR,
				  "model %s %s can't be loaded, what was served before stays in service: %s", new->name,
				  new->version, new->err.text);
	}
	memcpy(swap->failures, result->failures, sizeof(swap->failures));
	swap->failures_n = result->failures_n;
}

static void note_routes(const struct swap *swap, const struct loading *loading)
{
	const struct model_route *route;
	char text[512];

	log_event(LOG_LEVEL_INFO, "models: %d loaded in %llu ms", loading->result.loaded,
		  (unsigned long long)loading->ms);
	for (int i = 0; (route = model_set_route_at(swap->app->models, i)); i++) {
		int n = 0;
		text[0] = '\0';
		for (int s = 0; s < route->n && n < (int)sizeof(text); s++)
			n += snprintf(text + n, sizeof(text) - (size_t)n, " %s=%u",
				      route->shares[s].version->model->version, route->shares[s].share);
		log_event(LOG_LEVEL_INFO, "model %s:%s%s%s", route->name, route->n ? text : " nothing is active",
			  route->shadow ? ", shadow " : "", route->shadow ? route->shadow->model->version : "");
	}
}

/* --- loading --- */

/* Reads the rows, the folder and the former set; writes the result, which the mail hands over. */
static void load(struct pool_job *job, void *thread_state)
{
	struct loading *loading = (struct loading *)(void *)((char *)job - offsetof(struct loading, job));
	struct swap *swap = loading->swap;
	const struct registry_options options = {
		.dir = swap->app->config->models_dir,
		.fallback = swap->app->config->model_default,
		.former = loading->former,
		.stop = &swap->stop,
	};

	(void)thread_state;
	uint64_t start_ms = clock_mono_ms();
	registry_build(&loading->result, &swap->rows, &options);
	loading->ms = clock_mono_ms() - start_ms;
	mailbox_send(swap->app->mailbox, &loading->mail);
}

static void take(struct mail *mail)
{
	struct loading *loading = (struct loading *)(void *)((char *)mail - offsetof(struct loading, mail));
	struct registry_result *result = &loading->result;
	struct swap *swap = loading->swap;
	bool changed = swap->generation != swap->rows.generation;
	uint64_t pause_ms = loading->ms * RETRY_TIMES > RETRY_MS ? loading->ms * RETRY_TIMES : RETRY_MS;

	loading->busy = false;
	model_set_drop(loading->former);
	loading->former = NULL;
	swap->retry_ms = result->set && result->failures_n == 0 ? 0 : clock_mono_ms() + pause_ms;
	if (!result->set) {
		log_event(LOG_LEVEL_ERROR, "models can't be changed: no memory");
		return;
	}
	swap->generation = swap->rows.generation;
	note_failures(swap, result);
	if (changed || result->loaded > 0) {
		app_take_models(swap->app, result->set);
		note_routes(swap, loading);
	} else {
		model_set_drop(result->set);
	}
	result->set = NULL;
}

static void start_loading(struct swap *swap)
{
	struct loading *loading = &swap->loading;

	loading->mail = (struct mail){.open = take};
	loading->job = (struct pool_job){.run = load};
	loading->former = model_set_hold(swap->app->models);
	loading->busy = pool_submit(swap->pool, &loading->job);
	if (loading->busy)
		return;
	model_set_drop(loading->former);
	loading->former = NULL;
}

/* --- watching --- */

static enum status read_rows(struct db *db, struct store_op *op, struct err *err)
{
	struct read_op *read = (struct read_op *)(void *)op;

	return registry_read(&read->swap->rows, db, read->known, &read->changed, err);
}

/* Nothing was ever added, and the set that the worker began with is all there is. */
static bool is_nothing(const struct swap *swap)
{
	return swap->generation < 0 && swap->rows.generation == 0 &&
	       strcmp(swap->app->config->model_default, model_mean()->name) == 0;
}

static void rows_read(struct store_op *op)
{
	struct read_op *read = (struct read_op *)(void *)op;
	struct swap *swap = read->swap;

	read->busy = false;
	if (op->status != STATUS_OK) {
		if (!read->failing)
			log_event(LOG_LEVEL_ERROR, "the list of models can't be read, they stay as they are: %s",
				  op->err.text);
	} else if (read->changed && is_nothing(swap)) {
		swap->generation = 0;
	} else if (read->changed && !swap->app->draining) {
		start_loading(swap);
	}
	read->failing = op->status != STATUS_OK;
}

void swap_tick(struct swap *swap, uint64_t now_ms)
{
	struct read_op *read = &swap->read;

	if (read->busy || swap->loading.busy || swap->app->draining ||
	    (swap->read_ms != 0 && now_ms - swap->read_ms < READ_EVERY_MS))
		return;
	bool again = swap->retry_ms != 0 && now_ms >= swap->retry_ms;
	swap->read_ms = now_ms;
	read->op = (struct store_op){.run = read_rows, .done = rows_read, .fresh = true};
	read->swap = swap;
	read->known = again ? -1 : swap->generation;
	read->busy = true;
	store_read(swap->app->store, &read->op);
}

bool swap_is_busy(const struct swap *swap)
{
	return swap->read.busy || swap->loading.busy;
}

bool swap_open(struct swap **out, struct app *app)
{
	const struct pool_options options = {.name = "models", .threads = 1, .queue = 1};
	struct swap *swap = calloc(1, sizeof(*swap));

	*out = NULL;
	if (!swap)
		return false;
	swap->app = app;
	swap->loading.swap = swap;
	swap->generation = -1;
	if (!pool_open(&swap->pool, &options)) {
		free(swap);
		return false;
	}
	*out = swap;
	return true;
}

void swap_close(struct swap *swap)
{
	if (!swap)
		return;
	atomic_store_explicit(&swap->stop, true, memory_order_relaxed);
	pool_close(swap->pool);
	model_set_drop(swap->loading.former);
	model_set_drop(swap->loading.result.set);
	registry_rows_release(&swap->rows);
	free(swap);
}
