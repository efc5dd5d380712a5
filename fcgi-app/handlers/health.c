/* What the service says about itself: /, /health, /version, and the probes /livez and /readyz. */
#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "handlers/handlers.h"

#include <stdio.h>
#include <stdlib.h>

/* B's root answer keeps the seed's version until the product passes it. */
static const char ROOT[] = "{\"message\":\"Sentiment Analysis API\",\"version\":\"1.0.0\",\"docs\":\"/docs\"}";

static void answer_json(struct request *req, int status)
{
	req->response.status = status;
	req->response.content_type = "application/json";
}

/* The active version of the model that answers the contract's paths; NULL: there is none. */
static const struct model *default_model(const struct model_set *set)
{
	const struct model_route *route = model_set_default_route(set);

	return route && route->n > 0 ? route->shares[0].version->model : NULL;
}

void root_get(struct request *req)
{
	answer_json(req, 200);
	buf_str(&req->response.body, str_of(ROOT));
	request_finish(req);
}

void version_get(struct request *req)
{
	const struct model *model = default_model(req->models);
	struct buf *body = &req->response.body;

	answer_json(req, 200);
	buf_str(body, STR("{\"version\":\"" APPCORE_VERSION "\",\"api_version\":\"" APPCORE_API_VERSION
			  "\",\"model_version\":"));
	json_put_string(body, str_of(model ? model->version : ""));
	buf_char(body, '}');
	request_finish(req);
}

/* The process is there and its event thread runs: nothing else is asked. */
void live_get(struct request *req)
{
	answer_json(req, 200);
	buf_str(&req->response.body, STR("{\"status\":\"alive\"}"));
	request_finish(req);
}

struct condition {
	bool model, database;
};

static struct condition find_condition(struct app *app)
{
	struct condition condition = {0};
	const struct model *model = default_model(app->models);
	struct err err = {0};

	condition.model = model && model_is_healthy(model);
#ifdef APPCORE_FAULTS
	if (getenv("APPCORE_FAULT_UNHEALTHY"))
		condition.model = false;
#endif
	condition.database = store_health(app->store, &err) == STATUS_OK;
	if (!condition.database && !app->store_was_unhealthy)
		log_event(LOG_LEVEL_ERROR, "unhealthy: %s", err.text);
	app->store_was_unhealthy = !condition.database;
	return condition;
}

bool health_is_ready(struct app *app)
{
	struct condition condition = find_condition(app);

	return condition.model && condition.database && !app->draining;
}

void ready_get(struct request *req)
{
	bool ready = health_is_ready(req->app);

	answer_json(req, ready ? 200 : 503);
	buf_str(&req->response.body, ready ? STR("{\"status\":\"ready\"}") : STR("{\"status\":\"not ready\"}"));
	request_finish(req);
}

static void put_bool(struct buf *out, bool value)
{
	buf_str(out, value ? STR("true") : STR("false"));
}

/* Seconds since the service (not this worker) started, with two decimals at the most. */
static void put_uptime(struct buf *out, struct shm *shm)
{
	int64_t us = clock_wall_us() - shm_service_start_us(shm);
	int64_t hundredths = us > 0 ? us / 10000 : 0;

	json_put_double(out, (double)hundredths / 100.0);
}

/* One body on every listener: the union of what the clients of A and B read. Without REDIS_URL "redis" stands for what
 * takes its place, the shared memory of limits and counters, which a worker can't be without. With it, it says whether
 * Redis can be used; a service without its Redis is healthy all the same. */
void health_get(struct request *req)
{
	struct condition condition = find_condition(req->app);
	bool healthy = condition.model && condition.database;
	struct buf *body = &req->response.body;
	char now[CLOCK_ISO_BYTES];

	clock_format_iso(clock_wall_us(), now);
	answer_json(req, healthy ? 200 : 503);
	if (!healthy)
		buf_str(body, STR("{\"detail\":"));
	buf_str(body, healthy ? STR("{\"status\":\"healthy\"") : STR("{\"status\":\"unhealthy\""));
	buf_str(body, STR(",\"api\":\"ok\",\"database\":"));
	/* Anybody may ask: the reason, which may name paths, is in the log. */
	buf_str(body, condition.database ? STR("\"ok\"") : STR("\"error: the store can't be used now\""));
	buf_str(body, STR(",\"redis\":"));
	buf_str(body, req->app->redis && redis_state(req->app->redis) != REDIS_CLOSED
			      ? STR("\"error: Redis can't be used now\"")
			      : STR("\"ok\""));
	buf_str(body, STR(",\"timestamp\":"));
	json_put_string(body, str_of(now));
	buf_str(body, STR(",\"checks\":{\"model_loaded\":"));
	put_bool(body, condition.model);
	buf_str(body, STR(",\"uptime_seconds\":"));
	put_uptime(body, req->app->shm);
	buf_str(body, STR(",\"database\":"));
	put_bool(body, condition.database);
	buf_str(body, healthy ? STR("}}") : STR("}}}"));
	metrics_set(req->app->shm, req->app->series.health, healthy ? 1.0 : 0.0);
	request_finish(req);
}
