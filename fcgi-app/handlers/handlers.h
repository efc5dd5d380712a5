/* Every handler, by the file it lives in. A handler sets the response and ends in request_finish(), now or later. */
#ifndef APPCORE_HANDLERS_HANDLERS_H
#define APPCORE_HANDLERS_HANDLERS_H

#include "http/router.h"

/* health.c */
route_handler root_get, health_get, version_get, live_get, ready_get;

/* What /readyz says, for others that say it. */
bool health_is_ready(struct app *app) __attribute__((nonnull));

/* predict.c */
route_handler predict_post, predict_v1_post;

/* models.c */
route_handler models_get_list, models_get_one, models_get_version;

/* models_predict.c; the version may be named */
route_handler models_post_predict;

/* inference.c; the version may be named */
route_handler inference_get_server, inference_get_live, inference_get_ready, inference_get_model;
route_handler inference_get_model_ready;

/* repository.c */
route_handler repository_post_index, repository_post_load, repository_post_unload;

/* infer.c; the version may be named */
route_handler inference_post_infer;

/* tasks.c, tasks_create.c, tasks_list.c */
route_handler tasks_post, tasks_get_list, tasks_get_one, tasks_delete;

/* events.c */
route_handler events_get, events_get_task, events_get_run;

/* predictions.c */
route_handler predictions_get_list, predictions_get_one, predictions_v1_list, predictions_v1_one;

/* sentiment.c, sentiment_batch.c, sentiment_task.c, sentiment_history.c */
route_handler sentiment_post_analyze, sentiment_post_batch, sentiment_get_task, sentiment_get_history;

/* data_pipelines.c */
route_handler data_get_pipelines, data_get_pipeline;

/* data_runs.c, data_start.c */
route_handler data_get_runs, data_get_run, data_get_errors;
route_handler data_post_run, data_delete_run, data_post_pause, data_post_resume, data_post_retry, data_post_process;

/* data_records.c, data_aggregates.c, data_export.c; the second also answers /data/{record_id} */
route_handler data_get_records, data_get_record, data_get_aggregates, data_get_export;

/* data_legacy.c */
route_handler dataflow_get_list, dataflow_get_health, dataflow_get_health_system, dataflow_get_health_database;

/* exports.c */
route_handler exports_post, exports_get_one, exports_get_file;

/* files.c */
route_handler files_get_download;

/* uploads.c, uploads_receive.c */
route_handler uploads_post, uploads_receive_whole, uploads_get_one, uploads_patch_one, uploads_delete_one;

/* register.c, login.c, sessions.c */
route_handler auth_post_register, auth_post_login, auth_post_refresh, auth_post_logout;

/* users.c, users_change.c */
route_handler users_get_me, users_get_protected, users_patch_me;

/* user_keys.c */
route_handler user_keys_get, user_keys_post, user_keys_delete;

#endif
