/* Metrics of all workers, in shared memory, rendered as Prometheus text.
 *
 * A series (family, label set) gets a run of 64-bit cells in every slot at its first use; a worker adds only to its own
 * slot's cells, and the text holds their sums, so counters survive their workers. Segments describe their series by
 * name: whoever renders sums all segments in the run directory, also those of other versions. The number of series is
 * bounded (METRICS_SERIES); what does not fit is counted in appcore_metrics_series_dropped_total.
 *
 * Families are a table in metrics.c: name, type, help, buckets. HELP and TYPE lines are there from the start; so are
 * counters and histograms without labels, as zeros; series with labels appear when they are first added to or set.
 * metrics_render itself computes app_info, the time of rendering, the service's start, the workers and their starts,
 * series dropped, requests the limiter skipped, and what nginx answered by itself. */
#ifndef APPCORE_SHARED_METRICS_H
#define APPCORE_SHARED_METRICS_H

#include "base/buf.h"
#include "shared/shm.h"

enum { METRICS_SERIES = 2048, METRICS_CELLS = 16384 };

enum metrics_family {
	METRICS_HTTP_REQUESTS,       /* http_requests_total{method,endpoint,status_code} */
	METRICS_HTTP_DURATION,       /* http_request_duration_seconds{method,endpoint} */
	METRICS_PREDICTIONS,         /* predictions_total{model_version,status} */
	METRICS_PREDICTION_DURATION, /* prediction_duration_seconds{model_version} */
	METRICS_MODEL_PREDICTIONS,   /* appcore_model_predictions_total{model,version,status} */
	METRICS_MODEL_DURATION,      /* appcore_model_duration_seconds{model,version} */
	METRICS_SHADOW,              /* appcore_shadow_total{model,version,outcome}: scored, dropped, failed */
	METRICS_DRIFT_PSI,           /* appcore_model_drift_psi{model,version,input} */
	METRICS_DRIFT_ROWS,          /* appcore_model_drift_rows{model,version} */
	METRICS_MODEL_LOAD_FAILING,  /* appcore_model_load_failing{instance,model} */
	METRICS_HEALTH,              /* app_health_status, one for the service: the last written wins */
	METRICS_APP_INFO,            /* app_info{version} */
	METRICS_BUILD_INFO,          /* appcore_build_info{version,commit,compiler,sqlite,fcgi,json_c,sodium} */
	METRICS_RENDERED,            /* appcore_metrics_rendered_timestamp_seconds */
	METRICS_SERIES_DROPPED,      /* appcore_metrics_series_dropped_total */
	METRICS_SERVICE_START,       /* appcore_service_start_time_seconds */
	METRICS_WORKERS,             /* appcore_workers: live workers that serve */
	METRICS_WORKER_START,        /* appcore_worker_start_time_seconds{instance} */
	METRICS_WORKER_RESIDENT,     /* appcore_worker_resident_bytes{instance} */
	METRICS_WORKER_CONNECTIONS,  /* appcore_worker_connections{instance} */
	METRICS_WORKER_OPEN_FDS,     /* appcore_worker_open_fds{instance} */
	METRICS_WORKER_CPU,          /* appcore_worker_cpu_seconds{instance} */
	METRICS_QUEUE_LENGTH,        /* appcore_queue_length{instance,queue}: write, slow, passwords, log */
	METRICS_REJECTED,            /* appcore_requests_rejected_total{reason} */
	METRICS_COMMIT_DURATION,     /* appcore_commit_duration_seconds */
	METRICS_COMMIT_BATCH,        /* appcore_commit_batch_size (histogram of operations) */
	METRICS_COMMIT_FAILURES,     /* appcore_commit_failures_total{reason} */
	METRICS_TURN_WAIT,           /* appcore_write_turn_wait_seconds (histogram) */
	METRICS_REPEATED_WRITES,     /* appcore_repeated_writes_total: caught by their key */
	METRICS_IDEMPOTENCY,         /* appcore_idempotency_total{outcome}: stored, replayed, mismatch, running */
	METRICS_WAL_BYTES,           /* appcore_sqlite_wal_bytes */
	METRICS_DATABASE_BYTES,      /* appcore_sqlite_database_bytes */
	METRICS_DATA_FREE,           /* appcore_data_free_bytes: of the file system that DATA_DIR is on */
	METRICS_DATA_SIZE,           /* appcore_data_size_bytes */
	METRICS_BACKUP,              /* appcore_backup_timestamp_seconds */
	METRICS_CERTIFICATE,         /* appcore_certificate_expiry_timestamp_seconds */
	METRICS_HEALTH_CHECK,        /* appcore_health_check_timestamp_seconds */
	METRICS_CHECKPOINTS,         /* appcore_sqlite_checkpoints_total{outcome} */
	METRICS_RETENTION_DELETED,   /* appcore_retention_deleted_total{table} */
	METRICS_LOG_DROPPED,         /* appcore_log_lines_dropped_total */
	METRICS_WORKERS_KILLED,      /* appcore_workers_killed_total: silent workers ended by a peer */
	METRICS_CRASHES,             /* appcore_worker_crashes_total: crash marks seen */
	METRICS_LIMIT_SKIPPED,       /* appcore_limit_skipped_total */
	METRICS_EDGE_RESPONSES,      /* appcore_edge_responses_total{status}: nginx's own answers (edge.h) */
	METRICS_EDGE_READABLE,       /* appcore_edge_log_readable: 0 when they can't be counted */
	METRICS_CACHE,               /* appcore_cache_reads_total{outcome}: hit, miss */
	METRICS_REDIS_OPERATIONS, /* appcore_redis_operations_total{operation,outcome}: ok, error, timeout, skipped */
	METRICS_REDIS_ROUND_TRIP, /* appcore_redis_round_trip_seconds{operation} (histogram) */
	METRICS_REDIS_BREAKER,    /* appcore_redis_breaker_state{instance}: 0 closed, 1 half open, 2 open */
	METRICS_REDIS_OPENED,     /* appcore_redis_breaker_opened_total{instance} */
	METRICS_TASKS_CREATED,    /* tasks_created_total{kind} */
	METRICS_TASKS_COMPLETED,  /* tasks_completed_total{kind,status}: completed, failed, cancelled, dead */
	METRICS_TASK_DURATION,    /* task_processing_duration_seconds{kind}, of each attempt (histogram) */
	METRICS_QUEUE_DEPTH,      /* queue_depth: tasks that wait, one for the service */
	METRICS_TASKS_OLDEST,  /* appcore_tasks_oldest_timestamp_seconds: when the first that waits was due; 0: none */
	METRICS_TASK_WAIT,     /* appcore_task_wait_seconds{kind}, from being due to being begun (histogram) */
	METRICS_TASK_ATTEMPTS, /* appcore_task_attempts_total{kind} */
	METRICS_TASKS_NOW,     /* appcore_tasks{kind,status}: pending, processing, dead, as last counted */
	METRICS_TASK_THREADS,  /* appcore_task_threads{instance,state}: busy, idle */
	METRICS_LOGINS,        /* appcore_logins_total{outcome}: ok, wrong, limited, locked, inactive */
	METRICS_EVENT_STREAMS, /* appcore_event_streams{instance} */
	METRICS_EVENTS_SENT,   /* appcore_events_sent_total */
	METRICS_STREAMS_ENDED, /* appcore_event_streams_ended_total{reason} */
	METRICS_RECORDS_INGESTED,  /* dataflow_records_ingested_total{source}: csv, api, … as pipelines name it */
	METRICS_RECORDS_PROCESSED, /* dataflow_records_processed_total{status}: processed, failed */
	METRICS_RECORD_DURATION,   /* dataflow_processing_seconds, of a record (histogram) */
	METRICS_PIPELINE_ROWS, /* appcore_pipeline_rows_total{pipeline,outcome}: stored, replaced, skipped, refused */
	METRICS_PIPELINE_REFUSED, /* appcore_pipeline_refused_total{pipeline,reason} */
	METRICS_PIPELINE_RUNS,    /* appcore_pipeline_runs_total{pipeline,state}: completed, failed */
	METRICS_PIPELINE_RATE,    /* appcore_pipeline_rows_per_second{pipeline}, while it runs */
	METRICS_PIPELINE_NEWEST,  /* appcore_pipeline_newest_record_timestamp_seconds{pipeline} */
	METRICS__MAX
};

/* A series of this process's slot: an index to keep, or METRICS_NONE when it did not fit (adding to it does nothing).
 */
typedef int metrics_series;
enum { METRICS_NONE = -1, METRICS_MAX_LABELS = 8 };

struct metrics_label {
	const char *name;
	struct str value;
};

/* Finds or makes the series with these labels, in the order given (always the same order for a family). Needs a claimed
 * slot. Values are escaped as the text format wants; one longer than 64 bytes is cut. Takes a lock for a new series,
 * and searches: keep the result. METRICS_NONE also when the lock does not come in 100 ms, and for a computed family. */
metrics_series metrics_find(struct shm *shm, enum metrics_family family, const struct metrics_label *labels, int n)
	__attribute__((nonnull(1), warn_unused_result));

/* Counter: adds. */
void metrics_add(struct shm *shm, metrics_series series, uint64_t by) __attribute__((nonnull));

/* Gauge of this slot: sets. Gone with the slot's owner, but for METRICS_HEALTH, which stays. Where several workers set
 * the same series (sizes of the database), the text has the one set last. */
void metrics_set(struct shm *shm, metrics_series series, double value) __attribute__((nonnull));

/* Gauge of this slot: gone until it is set again. */
void metrics_unset(struct shm *shm, metrics_series series) __attribute__((nonnull));

/* Histogram: counts one observation (seconds, or a size). */
void metrics_observe(struct shm *shm, metrics_series series, double value) __attribute__((nonnull));

/* Something that is computed has changed: a new text would differ. */
void metrics_touch(struct shm *shm) __attribute__((nonnull));

/* What all workers of this version have counted in a series: the events of a counter or histogram, and of a histogram
 * *sum of what was observed (seconds, or units); 0 for a counter. */
uint64_t metrics_count(const struct shm *shm, metrics_series series, double *sum) __attribute__((nonnull));

/* A number that grows with anything added or observed by any worker: whether a new text would differ. */
uint64_t metrics_changes(const struct shm *shm) __attribute__((nonnull));

/* Appends the whole exposition (text format 0.0.4), summed over all segments in the run directory. Sample values are
 * written as floats ("101.0"). `out` has failed when memory is short. */
void metrics_render(struct shm *shm, struct buf *out) __attribute__((nonnull));

/* Renders to `path` by writing beside it and renaming, when this process wins the turn to do so (a lock file in the run
 * directory, without waiting). Errors: STATUS_UNAVAILABLE; STATUS_BUSY when another worker has the turn. */
enum status metrics_write_file(struct shm *shm, const char *path, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

#endif
