/* The application: what a request meets between the transport and its handler, and the process's parts that handlers
 * use. One per process; all but the members said otherwise belong to the event thread. */
#ifndef APPCORE_APP_H
#define APPCORE_APP_H

#include "auth/keyring.h"
#include "auth/token.h"
#include "base/config.h"
#include "base/mailbox.h"
#include "base/pool.h"
#include "http/router.h"
#include "model/drift_watch.h"
#include "model/set.h"
#include "model/shadow.h"
#include "shared/limit_redis.h"
#include "shared/metrics.h"
#include "shared/redis.h"
#include "shared/shm.h"
#include "store/store.h"

#include <stdatomic.h>

enum app_rejected {
	APP_REJECTED_RATE_LIMIT,
	APP_REJECTED_KEY_RATE_LIMIT,
	APP_REJECTED_USER_RATE_LIMIT,
	APP_REJECTED_LOGIN_RATE_LIMIT,
	APP_REJECTED_USER_TASKS,
	APP_REJECTED_UNAUTHENTICATED,
	APP_REJECTED_FORBIDDEN,
	APP_REJECTED_TOO_LARGE,
	APP_REJECTED_MEDIA_TYPE,
	APP_REJECTED_QUEUE_FULL,
	APP_REJECTED_STORE,
	APP_REJECTED_CRASHED_WORKER,
	APP_REJECTED_NO_IDENTITY,
	APP_REJECTED__MAX
};

enum app_idempotency { APP_IDEM_STORED, APP_IDEM_REPLAYED, APP_IDEM_MISMATCH, APP_IDEM_RUNNING, APP_IDEM__MAX };

enum app_login {
	APP_LOGIN_OK,
	APP_LOGIN_WRONG,
	APP_LOGIN_LIMITED,
	APP_LOGIN_LOCKED,
	APP_LOGIN_INACTIVE,
	APP_LOGIN__MAX
};

struct app_chores;
struct events;

enum { APP_SLOW_QUEUE = 64, APP_LARGE_ANSWERS = 32, APP_LARGE_BODIES = 4 };
enum { APP_STATUSES = 24, APP_BODY_MAX = 256 << 20 };

/* Series found once and kept, so that counting a request is a few additions. */
struct app_series {
	metrics_series requests[ROUTES_MAX + 1][HTTP_METHOD__MAX][APP_STATUSES]; /* 0: not looked up yet */
	metrics_series durations[ROUTES_MAX + 1][HTTP_METHOD__MAX];
	metrics_series rejected[APP_REJECTED__MAX];
	metrics_series idempotency[APP_IDEM__MAX];
	metrics_series logins[APP_LOGIN__MAX];
	metrics_series cache_hit, cache_miss;
	metrics_series repeated_writes, health, crashes, retention, retention_shadows, retention_sentiments;
};

struct app {
	const struct config *config;
	struct shm *shm;            /* any thread */
	struct store *store;        /* store_write: any thread */
	struct mailbox *mailbox;    /* mailbox_send: any thread */
	struct redis *redis;        /* NULL: limits, keys and reads are this machine's and the store's alone */
	struct limit_redis *limits; /* with redis */
	struct pool *slow;          /* large bodies and answers; any thread */
	struct pool *lists;         /* large lists, streamed; any thread */
	struct pool *uploads;       /* bodies that are streamed to files, with read-only connections; any thread */
	struct pool *passwords;     /* hashing: few at once, for each takes 19 MiB; any thread */
	struct model_set *models;   /* held; replaced as a whole by app_take_models */
	struct shadow *shadow;      /* NULL: none, in some tests */
	struct drift_watch *drift;  /* likewise */
	struct events *events;      /* listeners to tasks */
	struct keyring keyring;
	struct token_keys token_keys; /* any thread */
	struct app_series series;
	bool read_needs_key;
	size_t arena_limit;        /* bytes a request may use */
	int large_bodies;          /* of routes that take large ones, on their way */
	bool draining;             /* said SIGTERM: not ready */
	bool store_was_unhealthy;  /* and that was logged */
	struct app_chores *chores; /* what app_tick does from time to time */
};

/* Takes over a set of models (the caller's hold on it, too): requests that begin from now on see it. Event thread,
 * after shm is set. */
void app_take_models(struct app *app, struct model_set *set) __attribute__((nonnull));

/* Takes the set that a worker begins with: the built-in mean. A default model that is another one answers with nothing,
 * and the worker is not ready, until it is loaded. After config and shm are set. */
enum status app_begin_models(struct app *app, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* Looks up the series that are always needed; call once shm, models and config are set. False: no memory. */
bool app_init(struct app *app) __attribute__((nonnull, warn_unused_result));
void app_release(struct app *app) __attribute__((nonnull));

/* Before the body is there: finds the route, sets CORS and limit headers, checks everything the row demands, and then
 * calls the transport's `checked`: before it returns, or later, when a check had to ask Redis. Event thread. */
void app_begin(struct request *req) __attribute__((nonnull));

/* The answer that a check waited for is there: goes on with the checks. Event thread. */
void app_go_on(struct request *req) __attribute__((nonnull));

/* Runs the handler, which ends in request_finish(). Event thread, or a slow thread with req->slow set. */
void app_run(struct request *req) __attribute__((nonnull));

/* Logs and counts the finished request and hands it to the transport. Event thread; through request_finish(). */
void app_complete(struct request *req) __attribute__((nonnull));

/* Logs and counts a request whose answer begins now and goes on without a thread (struct transport), instead of
 * app_complete. `parked` is its owner's, and with `gone` set. Event thread. */
void app_park(struct request *req, struct parked *parked) __attribute__((nonnull));

void app_count_rejected(struct app *app, enum app_rejected reason) __attribute__((nonnull));
void app_count_idempotency(struct app *app, enum app_idempotency outcome) __attribute__((nonnull));
void app_count_login(struct app *app, enum app_login outcome) __attribute__((nonnull));

/* After each round of the event loop: sends Redis what the round has gathered. And for how long the next may sleep. */
void app_end_round(struct app *app, uint64_t now_ms) __attribute__((nonnull));
int app_sleep_ms(const struct app *app, uint64_t now_ms, int most_ms) __attribute__((nonnull));

/* A request that waits for something that nobody tells it of. `look` is called about ten times a second; it returns
 * true when it has finished the request. Lives in the request's arena. */
struct app_waiting {
	struct app_waiting *next;
	bool (*look)(struct app_waiting *waiting, uint64_t now_ms);
};
void app_wait(struct app *app, struct app_waiting *waiting) __attribute__((nonnull));

/* The API keys have changed, or may have: they are read with the next tick. */
void app_keys_changed(struct app *app) __attribute__((nonnull));

/* Every half second: reads the API keys when they changed, and loads models when these did. Every ten minutes: deletes
 * what retention says, in small pieces through the commit thread. */
void app_tick(struct app *app, uint64_t now_ms) __attribute__((nonnull));

/* The API keys are being read: what was read comes through the mailbox. */
bool app_reads_keys(const struct app *app) __attribute__((nonnull));
/* So are the models, or they are being loaded. */
bool app_loads_models(const struct app *app) __attribute__((nonnull));

#endif
