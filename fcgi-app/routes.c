/* THE table of routes: what appcore answers, and what must hold before a handler runs.
 *
 * method, pattern, handler | who may call | counted against limits | CORS | body | lane (router.h explains each).
 * The contract's paths stand at the root; the same stand under /api/v1/, where newer forms live. */
#include "handlers/handlers.h"
#include "http/router.h"

/* clang-format off */
/* NOLINTBEGIN(bugprone-macro-parentheses): initialisers, not expressions */
#define ROUTE(m, p, h, a, r, c, b, l) \
	{.method = HTTP_##m, .pattern = p, .handler = h, .auth = ROUTE_##a, .rate = ROUTE_##r, .cors = ROUTE_##c, \
	 .body = ROUTE_##b, .lane = ROUTE_LANE_##l}
/* For keys with a scope. */
#define SCOPED(m, p, h, s) \
	{.method = HTTP_##m, .pattern = p, .handler = h, .auth = ROUTE_KEY, .scope = s, .rate = ROUTE_LIMITED, \
	 .cors = ROUTE_LISTED_ORIGINS, .body = ROUTE_TENSORS, .lane = ROUTE_LANE_WRITE}
/* NOLINTEND(bugprone-macro-parentheses) */

const struct route ROUTES[] = {
	/* service */
	ROUTE(GET,  "/",                                   root_get,              OPEN, LIMITED,   ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(GET,  "/health",                             health_get,            OPEN, LIMITED,   ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(GET,  "/version",                            version_get,           OPEN, LIMITED,   ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(GET,  "/livez",                              live_get,              OPEN, UNLIMITED, ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(GET,  "/readyz",                             ready_get,             OPEN, UNLIMITED, ANY_ORIGIN,     NO_BODY,   READ),

	/* predictions: the contract */
	ROUTE(POST, "/predict",                            predict_post,          KEY,  LIMITED,   ANY_ORIGIN,     ANY_BODY,  WRITE),
	ROUTE(GET,  "/predictions",                        predictions_get_list,  READ, LIMITED,   ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(GET,  "/predictions/{prediction_id}",        predictions_get_one,   READ, LIMITED,   ANY_ORIGIN,     NO_BODY,   READ),

	/* predictions: /api/v1 */
	ROUTE(POST, "/api/v1/predict",                     predict_v1_post,       KEY,  LIMITED,   LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(GET,  "/api/v1/predictions",                 predictions_v1_list,   READ, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/predictions/{prediction_id}", predictions_v1_one,    READ, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),

	/* models */
	ROUTE(GET,  "/api/v1/models",                      models_get_list,       READ, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/models/{name}",               models_get_one,        READ, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/models/{name}/versions/{version}", models_get_version, READ, LIMITED, LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(POST, "/api/v1/models/{name}/predict",       models_post_predict,   KEY,  LIMITED,   LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(POST, "/api/v1/models/{name}/versions/{version}/predict", models_post_predict, KEY, LIMITED, LISTED_ORIGINS, JSON_BODY, WRITE),

	/* Open Inference Protocol V2 */
	ROUTE(GET,  "/v2",                                 inference_get_server,  OPEN, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/v2/health/live",                     inference_get_live,    OPEN, UNLIMITED, LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/v2/health/ready",                    inference_get_ready,   OPEN, UNLIMITED, LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/v2/models/{name}",                   inference_get_model,   READ, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/v2/models/{name}/versions/{version}", inference_get_model,  READ, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/v2/models/{name}/ready",             inference_get_model_ready, READ, LIMITED, LISTED_ORIGINS, NO_BODY, READ),
	ROUTE(GET,  "/v2/models/{name}/versions/{version}/ready", inference_get_model_ready, READ, LIMITED, LISTED_ORIGINS, NO_BODY, READ),
	ROUTE(POST, "/v2/repository/index",                repository_post_index, READ, LIMITED,   LISTED_ORIGINS, TENSORS,   READ),
	SCOPED(POST, "/v2/repository/models/{name}/load",  repository_post_load,   "models"),
	SCOPED(POST, "/v2/repository/models/{name}/unload", repository_post_unload, "models"),
	ROUTE(POST, "/v2/models/{name}/infer",             inference_post_infer,  KEY,  LIMITED,   LISTED_ORIGINS, TENSORS,   WRITE),
	ROUTE(POST, "/v2/models/{name}/versions/{version}/infer", inference_post_infer, KEY, LIMITED, LISTED_ORIGINS, TENSORS, WRITE),

	/* accounts */
	ROUTE(POST, "/api/v1/auth/register",               auth_post_register,    OPEN, PER_USER,  LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(POST, "/api/v1/auth/login",                  auth_post_login,       OPEN, UNLIMITED, LISTED_ORIGINS, FORM_BODY, WRITE),
	ROUTE(POST, "/api/v1/auth/refresh",                auth_post_refresh,     OPEN, PER_USER,  LISTED_ORIGINS, FORM_BODY, WRITE),
	ROUTE(POST, "/api/v1/auth/logout",                 auth_post_logout,      USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(GET,  "/api/v1/users/me",                    users_get_me,          USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(PATCH, "/api/v1/users/me",                   users_patch_me,        USER, PER_USER,  LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(GET,  "/api/v1/users/me/keys",               user_keys_get,         USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(POST, "/api/v1/users/me/keys",               user_keys_post,        USER, PER_USER,  LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(DELETE, "/api/v1/users/me/keys/{key_id}",    user_keys_delete,      USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(GET,  "/api/v1/protected",                   users_get_protected,   USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),

	/* tasks for the background, and who listens to them */
	ROUTE(GET,  "/api/v1/tasks",                       tasks_get_list,        USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(POST, "/api/v1/tasks",                       tasks_post,            USER, PER_USER,  LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(GET,  "/api/v1/tasks/{task_id}",             tasks_get_one,         USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(DELETE, "/api/v1/tasks/{task_id}",           tasks_delete,          USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(GET,  "/api/v1/tasks/{task_id}/events",      events_get_task,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/events",                      events_get,            USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),

	/* sentiment analysis */
	ROUTE(POST, "/api/v1/sentiment/analyze",           sentiment_post_analyze, USER, PER_USER, LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(POST, "/api/v1/sentiment/analyze/batch",     sentiment_post_batch,  USER, PER_USER,  LISTED_ORIGINS, LARGE,     WRITE),
	ROUTE(GET,  "/api/v1/sentiment/task/{task_id}",    sentiment_get_task,    USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/sentiment/history",           sentiment_get_history, USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),

	/* data: pipelines, their runs, what they have stored */
	ROUTE(GET,  "/api/v1/data/pipelines",              data_get_pipelines,    USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/pipelines/{name}",       data_get_pipeline,     USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/runs",                   data_get_runs,         USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(POST, "/api/v1/data/runs",                   data_post_run,         USER, PER_USER,  LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(GET,  "/api/v1/data/runs/{run_id}",          data_get_run,          USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(DELETE, "/api/v1/data/runs/{run_id}",        data_delete_run,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(POST, "/api/v1/data/runs/{run_id}/pause",    data_post_pause,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(POST, "/api/v1/data/runs/{run_id}/resume",   data_post_resume,      USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(POST, "/api/v1/data/runs/{run_id}/retry",    data_post_retry,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(GET,  "/api/v1/data/runs/{run_id}/errors",   data_get_errors,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/runs/{run_id}/events",   events_get_run,        USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/records",                data_get_records,      USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/records/{key}",          data_get_record,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/aggregates",             data_get_aggregates,   USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/export",                 data_get_export,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),

	/* data: DataFlow's own paths */
	ROUTE(GET,  "/data",                               dataflow_get_list,     DATA, LIMITED,   ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(GET,  "/data/{record_id}",                   data_get_record,       DATA, LIMITED,   ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(POST, "/data/process",                       data_post_process,     DATA, LIMITED,   ANY_ORIGIN,     NO_BODY,   WRITE),
	ROUTE(GET,  "/api/dataflow/data",                  dataflow_get_list,     TOKEN, LIMITED,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/dataflow/data/{record_id}",      data_get_record,       TOKEN, LIMITED,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(POST, "/api/dataflow/data/process",          data_post_process,     TOKEN, LIMITED,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(GET,  "/api/dataflow/health",                dataflow_get_health,   OPEN, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/dataflow/health/system",         dataflow_get_health_system, OPEN, LIMITED, LISTED_ORIGINS, NO_BODY, READ),
	ROUTE(GET,  "/api/dataflow/health/database",       dataflow_get_health_database, OPEN, LIMITED, LISTED_ORIGINS, NO_BODY, READ),

	/* files on their way out and in */
	ROUTE(POST, "/api/v1/data/exports",                exports_post,          USER, PER_USER,  LISTED_ORIGINS, JSON_BODY, WRITE),
	ROUTE(GET,  "/api/v1/data/exports/{export_id}",    exports_get_one,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/data/exports/{export_id}/file", exports_get_file,    USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(POST, "/api/v1/data/uploads",                uploads_post,          USER, PER_USER,  LISTED_ORIGINS, STREAMED,  WRITE),
	ROUTE(PUT,  "/api/v1/data/uploads",                uploads_receive_whole, USER, PER_USER,  LISTED_ORIGINS, STREAMED,  WRITE),
	ROUTE(GET,  "/api/v1/data/uploads/{upload_id}",    uploads_get_one,       USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(PATCH, "/api/v1/data/uploads/{upload_id}",   uploads_patch_one,     USER, PER_USER,  LISTED_ORIGINS, STREAMED,  WRITE),
	ROUTE(DELETE, "/api/v1/data/uploads/{upload_id}",  uploads_delete_one,    USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   WRITE),
	ROUTE(GET,  "/files/{file_id}/download",           files_get_download,    USER, PER_USER,  ANY_ORIGIN,     NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/files/{file_id}/download",    files_get_download,    USER, PER_USER,  LISTED_ORIGINS, NO_BODY,   READ),

	/* service: /api/v1 */
	ROUTE(GET,  "/api/v1/health",                      health_get,            OPEN, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/version",                     version_get,           OPEN, LIMITED,   LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/livez",                       live_get,              OPEN, UNLIMITED, LISTED_ORIGINS, NO_BODY,   READ),
	ROUTE(GET,  "/api/v1/readyz",                      ready_get,             OPEN, UNLIMITED, LISTED_ORIGINS, NO_BODY,   READ),
};
/* clang-format on */

const int ROUTES_N = sizeof(ROUTES) / sizeof(ROUTES[0]);

_Static_assert(sizeof(ROUTES) / sizeof(ROUTES[0]) <= ROUTES_MAX, "the metrics keep a place for each route");
