/* A request's way through the application, and what is counted and logged about it. */
#include "app.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "events.h"
#include "middleware.h"
#include "store/idempotency.h"
#include "store/predictions.h"
#include "store/retention.h"
#include "store/sentiments.h"
#include "store/shadows.h"
#include "swap.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const REJECTED[APP_REJECTED__MAX] = {
	[APP_REJECTED_RATE_LIMIT] = "rate_limit",
	[APP_REJECTED_KEY_RATE_LIMIT] = "key_rate_limit",
	[APP_REJECTED_USER_RATE_LIMIT] = "user_rate_limit",
	[APP_REJECTED_LOGIN_RATE_LIMIT] = "login_rate_limit",
	[APP_REJECTED_USER_TASKS] = "user_tasks",
	[APP_REJECTED_UNAUTHENTICATED] = "unauthenticated",
	[APP_REJECTED_FORBIDDEN] = "forbidden",
	[APP_REJECTED_TOO_LARGE] = "too_large",
	[APP_REJECTED_MEDIA_TYPE] = "media_type",
	[APP_REJECTED_QUEUE_FULL] = "queue_full",
	[APP_REJECTED_STORE] = "store",
	[APP_REJECTED_CRASHED_WORKER] = "crashed_worker",
	[APP_REJECTED_NO_IDENTITY] = "no_identity",
};

static const char *const IDEMPOTENCY[APP_IDEM__MAX] = {
	[APP_IDEM_STORED] = "stored",
	[APP_IDEM_REPLAYED] = "replayed",
	[APP_IDEM_MISMATCH] = "mismatch",
	[APP_IDEM_RUNNING] = "running",
};

static const char *const LOGINS[APP_LOGIN__MAX] = {
	[APP_LOGIN_OK] = "ok",         [APP_LOGIN_WRONG] = "wrong",       [APP_LOGIN_LIMITED] = "limited",
	[APP_LOGIN_LOCKED] = "locked", [APP_LOGIN_INACTIVE] = "inactive",
};

/* The statuses that get a series of their own; another one shares the last cell. */
static const int STATUSES[APP_STATUSES] = {200, 201, 202, 204, 206, 301, 304, 307, 400, 401, 403, 404,
					   405, 406, 408, 409, 410, 412, 413, 415, 422, 429, 500, 503};

enum { PATH_SHOWN = 1024, METHOD_SHOWN = 32 };
enum { RETENTION_PIECE = 200, RETENTION_EVERY_MS = 10 * 60 * 1000, KEYS_EVERY_MS = 500 };
enum { HELD_MS = 24 * 60 * 60 * 1000 };

struct keys_op {
	struct store_op op; /* first: the store hands it back */
	struct app *app;
	struct keyring_rows rows;
	bool failing, busy;
};

struct retention_op {
	struct store_op op; /* first: the store hands it back */
	struct app *app;
	struct retention_time time; /* of this round */
	uint64_t held_ms;           /* since when nothing is deleted because all is old; 0: it is not so */
	int64_t predictions, shadows, sentiments, keys; /* rows the last piece deleted */
	int64_t weeks;                                  /* tables it dropped */
	bool first;                                     /* piece of this round */
	bool held;                                      /* this round deletes nothing */
	bool busy;
};

struct app_chores {
	struct keys_op keys;
	struct retention_op retention;
	struct swap *swap;
	struct app_waiting *waiting;
	uint64_t keys_ms, retention_ms; /* when last done; 0: never */
};

static int status_index(int status)
{
	for (int i = 0; i < APP_STATUSES; i++)
		if (STATUSES[i] == status)
			return i;
	return APP_STATUSES - 1;
}

static metrics_series one_label(struct app *app, enum metrics_family family, const char *name, const char *value)
{
	struct metrics_label label = {name, str_of(value)};

	return metrics_find(app->shm, family, &label, 1);
}

void app_take_models(struct app *app, struct model_set *set)
{
	model_set_count_in(set, app->shm);
	model_set_drop(app->models);
	app->models = set;
	if (app->drift)
		drift_watch_take(app->drift, set);
}

enum status app_begin_models(struct app *app, struct err *err)
{
	struct model_set *set = model_set_new();

	if (!set)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory for the models.");
	enum status status = model_set_await_default(set, str_of(app->config->model_default), err);
	if (status == STATUS_OK)
		app_take_models(app, set);
	else
		model_set_drop(set);
	return status;
}

bool app_init(struct app *app)
{
	struct app_series *series = &app->series;

	app->chores = calloc(1, sizeof(struct app_chores));
	if (!app->chores || !swap_open(&app->chores->swap, app) || !events_open(&app->events, app))
		return false;

	memset(series, 0, sizeof(*series));
	for (size_t i = 0; i < sizeof(series->requests) / sizeof(metrics_series); i++)
		(&series->requests[0][0][0])[i] = METRICS_NONE - 1;
	for (size_t i = 0; i < sizeof(series->durations) / sizeof(metrics_series); i++)
		(&series->durations[0][0])[i] = METRICS_NONE - 1;
	for (int i = 0; i < APP_REJECTED__MAX; i++)
		series->rejected[i] = one_label(app, METRICS_REJECTED, "reason", REJECTED[i]);
	for (int i = 0; i < APP_IDEM__MAX; i++)
		series->idempotency[i] = one_label(app, METRICS_IDEMPOTENCY, "outcome", IDEMPOTENCY[i]);
	for (int i = 0; i < APP_LOGIN__MAX; i++)
		series->logins[i] = one_label(app, METRICS_LOGINS, "outcome", LOGINS[i]);
	if (app->redis) {
		series->cache_hit = one_label(app, METRICS_CACHE, "outcome", "hit");
		series->cache_miss = one_label(app, METRICS_CACHE, "outcome", "miss");
	}
	series->repeated_writes = metrics_find(app->shm, METRICS_REPEATED_WRITES, NULL, 0);
	series->crashes = metrics_find(app->shm, METRICS_CRASHES, NULL, 0);
	series->health = metrics_find(app->shm, METRICS_HEALTH, NULL, 0);
	series->retention = one_label(app, METRICS_RETENTION_DELETED, "table", "predictions");
	series->retention_shadows = one_label(app, METRICS_RETENTION_DELETED, "table", "shadow_predictions");
	series->retention_sentiments = one_label(app, METRICS_RETENTION_DELETED, "table", "sentiment_requests");

	keyring_init(&app->keyring, str_of(app->config->api_key));
	keyring_add_previous(&app->keyring, str_of(app->config->api_key_previous));
	app->token_keys = (struct token_keys){
		.keys = {str_of(app->config->secret_key), str_of(app->config->secret_key_previous)}};
	app->read_needs_key = strcmp(app->config->predictions_read, "key") == 0;
	/* A body of small numbers becomes up to eight times its size as doubles, and its text is built by doubling. */
	size_t body = app->config->max_body_bytes > 0 ? (size_t)app->config->max_body_bytes : (size_t)APP_BODY_MAX;
	app->arena_limit = 32 * body + (4u << 20);
	return true;
}

void app_release(struct app *app)
{
	swap_close(app->chores->swap);
	events_close(app->events);
	keyring_release(&app->keyring);
	model_set_drop(app->models);
	free(app->chores);
}

void app_begin(struct request *req)
{
	req->start_ns = clock_mono_ns();
	req->models = model_set_hold(req->app->models);
	app_go_on(req);
}

void app_go_on(struct request *req)
{
	enum middleware_result result = middleware_run(req);

	if (result != MIDDLEWARE_WAITS)
		req->transport->checked(req, result == MIDDLEWARE_PASSED);
}

void app_run(struct request *req)
{
	req->route->handler(req);
}

void app_count_rejected(struct app *app, enum app_rejected reason)
{
	metrics_add(app->shm, app->series.rejected[reason], 1);
}

void app_count_idempotency(struct app *app, enum app_idempotency outcome)
{
	metrics_add(app->shm, app->series.idempotency[outcome], 1);
}

void app_count_login(struct app *app, enum app_login outcome)
{
	metrics_add(app->shm, app->series.logins[outcome], 1);
}

/* --- counting and logging --- */

static void count(struct request *req, double seconds)
{
	struct app_series *series = &req->app->series;
	int route = req->route ? (int)(req->route - ROUTES) : ROUTES_N;
	int status = status_index(req->response.status);
	metrics_series *requests = &series->requests[route][req->method][status];
	metrics_series *durations = &series->durations[route][req->method];

	if (*requests == METRICS_NONE - 1 || *durations == METRICS_NONE - 1) {
		char code[8];
		snprintf(code, sizeof(code), "%d", STATUSES[status]);
		struct metrics_label labels[] = {
			{"method", str_of(http_method_name(req->method))},
			{"endpoint", req->route ? str_of(req->route->pattern) : STR("unmatched")},
			{"status_code", str_of(code)},
		};
		*requests = metrics_find(req->app->shm, METRICS_HTTP_REQUESTS, labels, 3);
		*durations = metrics_find(req->app->shm, METRICS_HTTP_DURATION, labels, 2);
	}
	metrics_add(req->app->shm, *requests, 1);
	metrics_observe(req->app->shm, *durations, seconds);
}

/* A method is a word; one that is not is cut. */
static struct str shown_method(const struct request *req)
{
	return (struct str){req->method_text.p, req->method_text.n < METHOD_SHOWN ? req->method_text.n : METHOD_SHOWN};
}

/* "POST /predict → 201 (0.003s)" */
static void put_message(const struct request *req, struct str path, double seconds, struct buf *out)
{
	uint64_t ms = (uint64_t)(seconds * 1000.0 + 0.5);

	buf_str(out, shown_method(req));
	buf_char(out, ' ');
	buf_str(out, path);
	buf_str(out, STR(" \u2192 "));
	buf_u64(out, (uint64_t)req->response.status);
	buf_str(out, STR(" ("));
	buf_u64(out, ms / 1000);
	buf_char(out, '.');
	for (uint64_t unit = 100; unit > 0; unit /= 10)
		buf_char(out, (char)('0' + ms / unit % 10));
	buf_str(out, STR("s)"));
}

/* The id of the prediction, task or run that the request creates: its traces elsewhere are found by it. */
static void put_identity(struct buf *line, const struct request *req)
{
	char text[ID_TEXT_BYTES];

	if (req->method == HTTP_GET || req->method == HTTP_HEAD || req->edge.ms <= 0 || req->response.status >= 300)
		return;
	struct id id = id_of_edge(&req->edge);
	id_format(&id, text);
	log_str(line, "identity", str_of(text));
}

static void write_log_line(struct request *req, double seconds)
{
	struct str path = {req->path.p, req->path.n < PATH_SHOWN ? req->path.n : PATH_SHOWN};
	struct buf message;

	buf_init(&message, &req->arena);
	put_message(req, path, seconds, &message);
	struct buf *line = log_begin(req->response.status >= 500 ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
				     buf_view(&message));

	log_str(line, "request_id", req->request_id);
	log_str(line, "method", shown_method(req));
	log_str(line, "path", path);
	log_i64(line, "status_code", req->response.status);
	log_fixed2(line, "duration_ms", seconds * 1000.0);
	log_str(line, "client", req->remote_addr);
	if (req->caller.key_id[0])
		log_str(line, "key_id", str_of(req->caller.key_id));
	if (req->caller.user_id != 0)
		log_i64(line, "user_id", req->caller.user_id);
	if (req->trace_id[0])
		log_str(line, "trace_id", str_of(req->trace_id));
	put_identity(line, req);
	if (req->error.n > 0)
		log_str(line, "exception", req->error);
	log_end(line);
}

void app_complete(struct request *req)
{
	double seconds = (double)(clock_mono_ns() - req->start_ns) / 1e9;

	if (req->response.body.failed && !req->streamed) {
		struct err err;
		response_init(&req->response, &req->arena);
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	}
	if (req->transport->reserve && !req->transport->reserve(req)) {
		app_count_rejected(req->app, APP_REJECTED_QUEUE_FULL);
		response_init(&req->response, &req->arena);
		request_refuse(req, STR("Too many large answers at once. Try again later."));
	}
	if (req->request_id.n > 0)
		response_header(&req->response, "X-Request-ID", req->request_id);
	count(req, seconds);
	write_log_line(req, seconds);
	req->transport->respond(req);
}

/* The time is that until the head: how long somebody listens is no latency. */
void app_park(struct request *req, struct parked *parked)
{
	double seconds = (double)(clock_mono_ns() - req->start_ns) / 1e9;

	if (req->request_id.n > 0)
		response_header(&req->response, "X-Request-ID", req->request_id);
	count(req, seconds);
	write_log_line(req, seconds);
	req->transport->park(req, parked);
}

/* --- ticking --- */

static enum status read_keys(struct db *db, struct store_op *op, struct err *err)
{
	struct keys_op *keys = (struct keys_op *)(void *)op;

	return keyring_read(&keys->rows, db, err);
}

static void keys_done(struct store_op *op)
{
	struct keys_op *keys = (struct keys_op *)(void *)op;

	keys->busy = false;
	if (op->status == STATUS_OK)
		keyring_take(&keys->app->keyring, &keys->rows);
	if (op->status != STATUS_OK && !keys->failing)
		log_event(LOG_LEVEL_ERROR, "API keys can't be read, the last known ones stay in force: %s",
			  op->err.text);
	keys->failing = op->status != STATUS_OK;
}

/* All that is stored is old: a clock that was wrong is mended within a day, and somebody reads the log. */
static bool is_held(struct retention_op *retention)
{
	uint64_t now_ms = clock_mono_ms();

	if (!retention->time.all_old)
		retention->held_ms = 0;
	else if (retention->held_ms == 0)
		retention->held_ms = now_ms;
	return retention->time.all_old && now_ms - retention->held_ms < HELD_MS;
}

static enum status delete_piece(struct db *db, struct store_op *op, struct err *err)
{
	struct retention_op *retention = (struct retention_op *)(void *)op;
	const struct retention_time *time = &retention->time;
	int64_t days = retention->app->config->retention_days;
	char before[CLOCK_ISO_BYTES];
	enum status status = STATUS_OK;

	retention->predictions = retention->shadows = retention->sentiments = retention->keys = retention->weeks = 0;
	if (retention->first) {
		status = retention_ask(db, clock_wall_us(), days, &retention->time, err);
		retention->held = status == STATUS_OK && (time->apart || is_held(retention));
	}
	int64_t before_us = time->now_us - days * INT64_C(86400000000);
	bool deletes = days > 0 && !retention->held;
	if (status == STATUS_OK && retention->first)
		status = predictions_keep_weeks(db, time->server_us / 1000, deletes ? before_us / 1000 : 0,
						&retention->weeks, err);
	clock_format_iso(before_us, before);
	if (status == STATUS_OK && deletes)
		status = predictions_delete_before(db, str_of(before), RETENTION_PIECE, &retention->predictions, err);
	if (status == STATUS_OK && deletes)
		status = shadows_delete_before(db, before_us / 1000, RETENTION_PIECE, &retention->shadows, err);
	if (status == STATUS_OK && deletes)
		status = sentiments_expire(db, before_us / 1000, RETENTION_PIECE, &retention->sentiments, err);
	if (status == STATUS_OK && !retention->held)
		status = idempotency_delete_expired(db, time->now_us, RETENTION_PIECE, &retention->keys, err);
	return status;
}

static void tell_held(const struct retention_op *retention)
{
	const struct retention_time *time = &retention->time;
	char server[CLOCK_ISO_BYTES];

	clock_format_iso(time->server_us, server);
	if (time->apart)
		log_event(LOG_LEVEL_ERROR,
			  "retention: nothing is deleted, for the clocks of this machine and of the database's server "
			  "(%s) are more than an hour apart: one of them is wrong",
			  server);
	else
		log_event(LOG_LEVEL_WARNING,
			  "retention: even the newest row is older than RETENTION_DAYS. If the clock (%s) is "
			  "right they are deleted a day after this worker's first look",
			  server);
}

static void piece_done(struct store_op *op)
{
	struct retention_op *retention = (struct retention_op *)(void *)op;
	bool more = retention->predictions > 0 || retention->shadows == RETENTION_PIECE || retention->sentiments > 0 ||
		    retention->keys == RETENTION_PIECE;

	retention->busy = false;
	if (op->status != STATUS_OK) {
		log_event(LOG_LEVEL_WARNING, "old rows could not be deleted now: %s", op->err.text);
		return;
	}
	metrics_add(retention->app->shm, retention->app->series.retention, (uint64_t)retention->predictions);
	metrics_add(retention->app->shm, retention->app->series.retention_shadows, (uint64_t)retention->shadows);
	metrics_add(retention->app->shm, retention->app->series.retention_sentiments, (uint64_t)retention->sentiments);
	if (retention->weeks > 0)
		log_event(LOG_LEVEL_INFO, "retention: %lld weeks of predictions were dropped",
			  (long long)retention->weeks);
	if (retention->held && retention->first)
		tell_held(retention);
	retention->first = false;
	if (more && !retention->app->draining)
		retention->busy = store_write(retention->app->store, op) == STATUS_OK;
}

static void start_retention(struct app *app, struct retention_op *retention)
{
	*retention = (struct retention_op){.op = {.run = delete_piece, .done = piece_done, .alone = true},
					   .app = app,
					   .held_ms = retention->held_ms,
					   .first = true};
	retention->busy = store_write(app->store, &retention->op) == STATUS_OK;
}

void app_end_round(struct app *app, uint64_t now_ms)
{
	if (!app->redis)
		return;
	limit_redis_flush(app->limits);
	redis_run(app->redis, now_ms);
	limit_redis_expire(app->limits, clock_mono_ms());
}

int app_sleep_ms(const struct app *app, uint64_t now_ms, int most_ms)
{
	if (!app->redis)
		return most_ms;
	/* What came late went on with requests, which may have asked for more. */
	return limit_redis_wait_ms(app->limits, now_ms, redis_wait_ms(app->redis, now_ms, most_ms));
}

void app_wait(struct app *app, struct app_waiting *waiting)
{
	waiting->next = app->chores->waiting;
	app->chores->waiting = waiting;
}

/* One that is finished is gone with its request, and its connection may have brought the next one already. */
static void look_at_waiting(struct app_chores *chores, uint64_t now_ms)
{
	struct app_waiting **link = &chores->waiting;

	while (*link) {
		struct app_waiting *waiting = *link;
		*link = waiting->next;
		if (waiting->look(waiting, now_ms))
			continue;
		*link = waiting;
		link = &waiting->next;
	}
}

void app_keys_changed(struct app *app)
{
	app->chores->keys_ms = 0;
}

void app_tick(struct app *app, uint64_t now_ms)
{
	struct app_chores *chores = app->chores;

	if (!chores->keys.busy && (chores->keys_ms == 0 || now_ms - chores->keys_ms >= KEYS_EVERY_MS)) {
		chores->keys_ms = now_ms;
		chores->keys.op = (struct store_op){.run = read_keys, .done = keys_done, .fresh = true};
		chores->keys.app = app;
		chores->keys.rows.generation = app->keyring.generation;
		chores->keys.busy = true;
		store_read(app->store, &chores->keys.op);
	}
	swap_tick(chores->swap, now_ms);
	look_at_waiting(chores, now_ms);
	events_tick(app->events, now_ms);
	if (!chores->retention.busy && !app->draining &&
	    (chores->retention_ms == 0 || now_ms - chores->retention_ms >= RETENTION_EVERY_MS)) {
		chores->retention_ms = now_ms;
		start_retention(app, &chores->retention);
	}
}

bool app_reads_keys(const struct app *app)
{
	return app->chores->keys.busy;
}

bool app_loads_models(const struct app *app)
{
	return swap_is_busy(app->chores->swap);
}
