/* The table of families, finding series, and adding to them.
 *
 * A series is published once, under a lock, by raising the number of series after everything about it is written: so
 * readers need no lock, and a worker killed half-way leaves nothing (its cells go to the next series). Adding is one
 * atomic addition to the slot's own row, without contention between workers, and one that says something has changed.
 */
#include "shared/shm_impl.h"
#include "base/clock.h"

#include <math.h>
#include <stdio.h>

enum { LABEL_VALUE_BYTES = 64, SERIES_WAIT_US = 100 * 1000 };

/* Durations of a commit and of waiting for one's turn: from a cached page to a disk in trouble. */
/* clang-format off */
#define DISK_BOUNDS {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0}
/* clang-format on */

/* NOLINTBEGIN(bugprone-macro-parentheses): initialisers, not expressions */
#define COUNTER(text, more)        .type = METRICS_COUNTER, .help = text, .flags = (more)
#define GAUGE(text, more)          .type = METRICS_GAUGE, .help = text, .flags = (more)
#define HISTOGRAM(text, more, ...) .type = METRICS_HISTOGRAM, .help = text, .flags = (more), .bounds = __VA_ARGS__
/* NOLINTEND(bugprone-macro-parentheses) */

/* LABELLED: no sample before its first use. SHARED: one value for the service, the last written wins; other gauges are
 * a slot's. COMPUTED: written by metrics_render. SECONDS: histogram of durations. The first six are a contract. */
const struct shm_family metrics_families[METRICS__MAX] = {
	[METRICS_HTTP_REQUESTS] = {.name = "http_requests_total", COUNTER("Total HTTP requests", METRICS_LABELLED)},
	[METRICS_HTTP_DURATION] = {.name = "http_request_duration_seconds",
				   HISTOGRAM("HTTP request duration in seconds", METRICS_LABELLED | METRICS_SECONDS,
					     {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0})},
	[METRICS_PREDICTIONS] = {.name = "predictions_total", COUNTER("Total predictions made", METRICS_LABELLED)},
	[METRICS_PREDICTION_DURATION] = {.name = "prediction_duration_seconds",
					 HISTOGRAM("Prediction inference duration", METRICS_LABELLED | METRICS_SECONDS,
						   {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0})},
	[METRICS_MODEL_PREDICTIONS] = {.name = "appcore_model_predictions_total",
				       COUNTER("Predictions made, by model and version", METRICS_LABELLED)},
	[METRICS_MODEL_DURATION] = {.name = "appcore_model_duration_seconds",
				    HISTOGRAM("Time that a model took for a request's inputs",
					      METRICS_LABELLED | METRICS_SECONDS,
					      {0.000001, 0.000002, 0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0005,
					       0.001, 0.005, 0.01, 0.05, 0.1, 1.0})},
	[METRICS_MODEL_LOAD_FAILING] = {.name = "appcore_model_load_failing",
					GAUGE("Whether a version of the model can't be loaded by the worker",
					      METRICS_LABELLED)},
	[METRICS_SHADOW] = {.name = "appcore_shadow_total",
			    COUNTER("Answers that a shadow was to score", METRICS_LABELLED)},
	[METRICS_DRIFT_PSI] = {.name = "appcore_model_drift_psi",
			       GAUGE("Population stability index of an input against training", METRICS_LABELLED)},
	[METRICS_DRIFT_ROWS] = {.name = "appcore_model_drift_rows",
				GAUGE("Predictions that the newest drift was computed from", METRICS_LABELLED)},
	[METRICS_HEALTH] = {.name = "app_health_status",
			    GAUGE("Application health (1=healthy, 0=unhealthy)", METRICS_SHARED)},
	[METRICS_APP_INFO] = {.name = "app_info", GAUGE("Application metadata", METRICS_COMPUTED)},
	[METRICS_BUILD_INFO] = {.name = "appcore_build_info",
				GAUGE("What this was built from and runs with", METRICS_LABELLED)},
	[METRICS_RENDERED] = {.name = "appcore_metrics_rendered_timestamp_seconds",
			      GAUGE("When this text was written, as Unix time", METRICS_COMPUTED)},
	[METRICS_SERIES_DROPPED] = {.name = "appcore_metrics_series_dropped_total",
				    COUNTER("Series asked for that did not fit", METRICS_COMPUTED)},
	[METRICS_SERVICE_START] = {.name = "appcore_service_start_time_seconds",
				   GAUGE("When the first of the workers started, as Unix time", METRICS_COMPUTED)},
	[METRICS_WORKERS] = {.name = "appcore_workers",
			     GAUGE("Live worker processes that answer requests", METRICS_COMPUTED)},
	[METRICS_WORKER_START] = {.name = "appcore_worker_start_time_seconds",
				  GAUGE("When the worker started, as Unix time", METRICS_COMPUTED)},
	[METRICS_WORKER_RESIDENT] = {.name = "appcore_worker_resident_bytes",
				     GAUGE("Resident memory of the worker", METRICS_LABELLED)},
	[METRICS_WORKER_CONNECTIONS] = {.name = "appcore_worker_connections",
					GAUGE("Open connections from nginx to the worker", METRICS_LABELLED)},
	[METRICS_WORKER_OPEN_FDS] = {.name = "appcore_worker_open_fds",
				     GAUGE("Open file descriptors of the worker", METRICS_LABELLED)},
	[METRICS_WORKER_CPU] = {.name = "appcore_worker_cpu_seconds",
				GAUGE("Processor time used by the worker since it started", METRICS_LABELLED)},
	[METRICS_QUEUE_LENGTH] = {.name = "appcore_queue_length",
				  GAUGE("Entries waiting in a queue of the worker", METRICS_LABELLED)},
	[METRICS_REJECTED] = {.name = "appcore_requests_rejected_total",
			      COUNTER("Requests refused before they were handled", METRICS_LABELLED)},
	[METRICS_COMMIT_DURATION] = {.name = "appcore_commit_duration_seconds",
				     HISTOGRAM("Duration of a commit to the store", METRICS_SECONDS, DISK_BOUNDS)},
	[METRICS_COMMIT_BATCH] = {.name = "appcore_commit_batch_size",
				  HISTOGRAM("Operations in one commit", 0, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512})},
	[METRICS_COMMIT_FAILURES] = {.name = "appcore_commit_failures_total",
				     COUNTER("Commits that failed", METRICS_LABELLED)},
	[METRICS_TURN_WAIT] = {.name = "appcore_write_turn_wait_seconds",
			       HISTOGRAM("Wait of a writer for its turn among the workers", METRICS_SECONDS,
					 DISK_BOUNDS)},
	[METRICS_REPEATED_WRITES] = {.name = "appcore_repeated_writes_total",
				     COUNTER("Writes that were stored already, caught by their key", 0)},
	[METRICS_IDEMPOTENCY] = {.name = "appcore_idempotency_total",
				 COUNTER("Requests with an Idempotency-Key", METRICS_LABELLED)},
	[METRICS_WAL_BYTES] = {.name = "appcore_sqlite_wal_bytes", GAUGE("Size of the write-ahead log", 0)},
	[METRICS_DATABASE_BYTES] = {.name = "appcore_sqlite_database_bytes", GAUGE("Size of the database file", 0)},
	[METRICS_DATA_FREE] = {.name = "appcore_data_free_bytes",
			       GAUGE("Free bytes of the file system with the data", 0)},
	[METRICS_DATA_SIZE] = {.name = "appcore_data_size_bytes", GAUGE("Size of the file system with the data", 0)},
	[METRICS_BACKUP] = {.name = "appcore_backup_timestamp_seconds",
			    GAUGE("When the newest backup was begun, as Unix time", 0)},
	[METRICS_CERTIFICATE] = {.name = "appcore_certificate_expiry_timestamp_seconds",
				 GAUGE("When nginx's certificate ends, as Unix time", 0)},
	[METRICS_HEALTH_CHECK] = {.name = "appcore_health_check_timestamp_seconds",
				  GAUGE("When the health check last found the service well, as Unix time", 0)},
	[METRICS_CHECKPOINTS] = {.name = "appcore_sqlite_checkpoints_total",
				 COUNTER("Checkpoints of the write-ahead log", METRICS_LABELLED)},
	[METRICS_RETENTION_DELETED] = {.name = "appcore_retention_deleted_total",
				       COUNTER("Rows deleted because of their age", METRICS_LABELLED)},
	[METRICS_LOG_DROPPED] = {.name = "appcore_log_lines_dropped_total",
				 COUNTER("Log lines dropped because standard output was too slow", 0)},
	[METRICS_WORKERS_KILLED] = {.name = "appcore_workers_killed_total",
				    COUNTER("Silent workers ended by a peer", 0)},
	[METRICS_CRASHES] = {.name = "appcore_worker_crashes_total",
			     COUNTER("Requests refused because they had crashed a worker", 0)},
	[METRICS_LIMIT_SKIPPED] = {.name = "appcore_limit_skipped_total",
				   COUNTER("Requests let through without being counted by the limiter",
					   METRICS_COMPUTED)},
	[METRICS_EDGE_RESPONSES] = {.name = "appcore_edge_responses_total",
				    COUNTER("Requests that nginx answered by itself", METRICS_COMPUTED)},
	[METRICS_EDGE_READABLE] = {.name = "appcore_edge_log_readable",
				   GAUGE("Whether the log of what nginx answers by itself can be read",
					 METRICS_SHARED)},
	[METRICS_CACHE] = {.name = "appcore_cache_reads_total",
			   COUNTER("Predictions looked for in the cache", METRICS_LABELLED)},
	[METRICS_REDIS_OPERATIONS] = {.name = "appcore_redis_operations_total",
				      COUNTER("Commands for Redis", METRICS_LABELLED)},
	[METRICS_REDIS_ROUND_TRIP] = {.name = "appcore_redis_round_trip_seconds",
				      HISTOGRAM("Time from sending a command to its reply",
						METRICS_LABELLED | METRICS_SECONDS, DISK_BOUNDS)},
	[METRICS_REDIS_BREAKER] = {.name = "appcore_redis_breaker_state",
				   GAUGE("Circuit breaker before Redis (0=closed, 1=half open, 2=open)",
					 METRICS_LABELLED)},
	[METRICS_REDIS_OPENED] = {.name = "appcore_redis_breaker_opened_total",
				  COUNTER("How often the circuit breaker before Redis opened", METRICS_LABELLED)},
	[METRICS_TASKS_CREATED] = {.name = "tasks_created_total",
				   COUNTER("Background tasks created", METRICS_LABELLED)},
	[METRICS_TASKS_COMPLETED] = {.name = "tasks_completed_total",
				     COUNTER("Background tasks that ended, by how they did", METRICS_LABELLED)},
	[METRICS_TASK_DURATION] = {.name = "task_processing_duration_seconds",
				   HISTOGRAM("Time that an attempt at a background task took",
					     METRICS_LABELLED | METRICS_SECONDS,
					     {0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0,
					      300.0, 1800.0})},
	[METRICS_QUEUE_DEPTH] = {.name = "queue_depth", GAUGE("Background tasks that wait", METRICS_SHARED)},
	[METRICS_TASKS_OLDEST] = {.name = "appcore_tasks_oldest_timestamp_seconds",
				  GAUGE("When the first background task that waits could have been begun, as Unix time",
					METRICS_SHARED)},
	[METRICS_TASK_WAIT] = {.name = "appcore_task_wait_seconds",
			       HISTOGRAM("Time from when a background task was due until it was begun",
					 METRICS_LABELLED | METRICS_SECONDS,
					 {0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0,
					  1800.0})},
	[METRICS_TASK_ATTEMPTS] = {.name = "appcore_task_attempts_total",
				   COUNTER("Attempts at background tasks", METRICS_LABELLED)},
	[METRICS_TASKS_NOW] = {.name = "appcore_tasks",
			       GAUGE("Background tasks that wait, run, or are dead", METRICS_LABELLED)},
	[METRICS_TASK_THREADS] = {.name = "appcore_task_threads",
				  GAUGE("Threads for background tasks, busy and idle", METRICS_LABELLED)},
	[METRICS_LOGINS] = {.name = "appcore_logins_total", COUNTER("Attempts to log in", METRICS_LABELLED)},
	[METRICS_EVENT_STREAMS] = {.name = "appcore_event_streams",
				   GAUGE("Listeners to events that the worker has", METRICS_LABELLED)},
	[METRICS_EVENTS_SENT] = {.name = "appcore_events_sent_total", COUNTER("Events sent to listeners", 0)},
	[METRICS_STREAMS_ENDED] = {.name = "appcore_event_streams_ended_total",
				   COUNTER("Listeners that are gone, by why", METRICS_LABELLED)},
	[METRICS_RECORDS_INGESTED] = {.name = "dataflow_records_ingested_total",
				      COUNTER("Records that pipelines read, by the kind of their source",
					      METRICS_LABELLED)},
	[METRICS_RECORDS_PROCESSED] = {.name = "dataflow_records_processed_total",
				       COUNTER("Records that pipelines processed, by what became of them",
					       METRICS_LABELLED)},
	[METRICS_RECORD_DURATION] = {.name = "dataflow_processing_seconds",
				     HISTOGRAM("Time that processing a record took", METRICS_SECONDS,
					       {0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001,
						0.001, 0.01, 0.1, 1.0})},
	[METRICS_PIPELINE_ROWS] = {.name = "appcore_pipeline_rows_total",
				   COUNTER("Records that a pipeline read, by what became of them", METRICS_LABELLED)},
	[METRICS_PIPELINE_REFUSED] = {.name = "appcore_pipeline_refused_total",
				      COUNTER("Records that a pipeline refused, by why", METRICS_LABELLED)},
	[METRICS_PIPELINE_RUNS] = {.name = "appcore_pipeline_runs_total",
				   COUNTER("Runs of a pipeline that ended, by how they did", METRICS_LABELLED)},
	[METRICS_PIPELINE_RATE] = {.name = "appcore_pipeline_rows_per_second",
				   GAUGE("Records that a run of the pipeline reads in a second now", METRICS_LABELLED)},
	[METRICS_PIPELINE_NEWEST] = {.name = "appcore_pipeline_newest_record_timestamp_seconds",
				     GAUGE("When a pipeline last stored a record, as Unix time",
					   METRICS_LABELLED | METRICS_SHARED)},
};

_Static_assert(METRICS__MAX == 71, "a new family needs its row above");

uint32_t metrics_bounds(const struct shm_family *family)
{
	uint32_t n = 0;

	while (n < METRICS_MAX_BUCKETS && family->bounds[n] > 0)
		n++;
	return n;
}

uint32_t metrics_cells(const struct shm_family *family)
{
	switch ((enum shm_family_type)family->type) {
	case METRICS_COUNTER:
		return 1;
	case METRICS_GAUGE:
		return METRICS_GAUGE_CELLS;
	case METRICS_HISTOGRAM:
		return metrics_bounds(family) + 2;
	case METRICS_TYPE__MAX:
		break;
	}
	return 0;
}

static bool put(char *out, size_t size, size_t *n, const char *text, size_t length)
{
	if (length > size - *n)
		return false;
	memcpy(out + *n, text, length);
	*n += length;
	return true;
}

/* The first 64 bytes, without half a character at the end. */
static struct str cut_value(struct str value)
{
	if (value.n > LABEL_VALUE_BYTES) {
		value.n = LABEL_VALUE_BYTES;
		while (value.n > 0 && ((uint8_t)value.p[value.n] & 0xc0) == 0x80)
			value.n--;
	}
	return value;
}

bool metrics_put_label(char *out, size_t size, size_t *n, const char *name, struct str value)
{
	value = cut_value(value);
	bool utf8 = str_is_utf8(value);

	if (!put(out, size, n, name, strlen(name)) || !put(out, size, n, "=\"", 2))
		return false;
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];
		bool ok;
		if (c == '\n')
			ok = put(out, size, n, "\\n", 2);
		else if (c == '"' || c == '\\')
			ok = put(out, size, n, (char[]){'\\', c}, 2);
		else if ((uint8_t)c < 0x20 || (!utf8 && (uint8_t)c >= 0x80))
			ok = put(out, size, n, "?", 1);
		else
			ok = put(out, size, n, &c, 1);
		if (!ok)
			return false;
	}
	return put(out, size, n, "\"", 1);
}

/* Looks among the published series from *from on; leaves in *from how many there were. */
static metrics_series look_up(struct shm_segment *seg, uint32_t *from, uint64_t hash, uint32_t family, struct str text)
{
	uint32_t n = atomic_load_explicit(&seg->totals.series, memory_order_acquire);
	uint32_t i = *from;

	*from = n;
	for (; i < n && i < METRICS_SERIES; i++) {
		const struct shm_series *s = &seg->series[i];
		if (s->hash == hash && s->family == family && str_eq((struct str){seg->texts[i], s->text}, text))
			return (metrics_series)i;
	}
	return METRICS_NONE;
}

/* Under the lock: makes the n-th series. */
static metrics_series publish(struct shm_segment *seg, uint32_t n, uint64_t hash, uint32_t family, struct str text)
{
	uint32_t cell = n > 0 ? seg->series[n - 1].cell + seg->series[n - 1].cells : 0;
	uint32_t cells = metrics_cells(&metrics_families[family]);

	if (n >= METRICS_SERIES || cells > METRICS_CELLS - cell)
		return METRICS_NONE;
	seg->series[n] = (struct shm_series){
		.hash = hash,
		.family = family,
		.cell = cell,
		.cells = cells,
		.text = (uint32_t)text.n,
	};
	if (text.n > 0)
		memcpy(seg->texts[n], text.p, text.n);
	atomic_store_explicit(&seg->totals.series, n + 1, memory_order_release);
	return (metrics_series)n;
}

static metrics_series find_or_make(struct shm *shm, uint32_t family, struct str text)
{
	struct shm_segment *seg = shm->seg;
	uint64_t hash = shm_fnv(shm_fnv(SHM_FNV_START, &family, sizeof(family)), text.p, text.n);
	uint32_t seen = 0;

	metrics_series series = look_up(seg, &seen, hash, family, text);
	if (series != METRICS_NONE || seen >= METRICS_SERIES)
		return series;
	if (shm_lock_take(shm, &seg->series_lock, SERIES_WAIT_US) == SHM_LOCK_TIMEOUT)
		return METRICS_NONE;
	series = look_up(seg, &seen, hash, family, text);
	if (series == METRICS_NONE)
		series = publish(seg, seen, hash, family, text);
	shm_lock_give(&seg->series_lock);
	return series;
}

metrics_series metrics_find(struct shm *shm, enum metrics_family family, const struct metrics_label *labels, int n)
{
	char text[METRICS_TEXT_BYTES];
	size_t used = 0;
	bool fits = n <= METRICS_MAX_LABELS && !(metrics_families[family].flags & METRICS_COMPUTED);

	if (!shm->row)
		return METRICS_NONE;
	for (int i = 0; fits && i < n; i++)
		fits = (i == 0 || put(text, sizeof(text), &used, ",", 1)) &&
		       metrics_put_label(text, sizeof(text), &used, labels[i].name, labels[i].value);
	metrics_series series = fits ? find_or_make(shm, family, (struct str){text, used}) : METRICS_NONE;
	if (series == METRICS_NONE)
		atomic_fetch_add_explicit(&shm->seg->totals.dropped, 1, memory_order_relaxed);
	return series;
}

static void add(_Atomic uint64_t *cell, uint64_t by)
{
	atomic_fetch_add_explicit(cell, by, memory_order_relaxed);
}

void metrics_add(struct shm *shm, metrics_series series, uint64_t by)
{
	if (series < 0 || !shm->row)
		return;
	add(&shm->row[shm->seg->series[series].cell], by);
	add(&shm->seg->slots[shm->slot].changes, 1);
}

void metrics_set(struct shm *shm, metrics_series series, double value)
{
	uint64_t bits;

	if (series < 0 || !shm->row)
		return;
	const struct shm_series *s = &shm->seg->series[series];
	bool shared = metrics_families[s->family].flags & METRICS_SHARED;
	_Atomic uint64_t *cell = (shared ? shm->seg->cells[METRICS_SHARED_ROW] : shm->row) + s->cell;
	/* In the shared row any generation but 0 says that it has been set. */
	uint64_t mine = shared ? 1 : shm->generation;
	memcpy(&bits, &value, sizeof(bits));
	uint64_t generation = atomic_load_explicit(&cell[METRICS_GAUGE_GENERATION], memory_order_relaxed);
	uint64_t old = atomic_exchange_explicit(&cell[METRICS_GAUGE_VALUE], bits, memory_order_relaxed);
	atomic_store_explicit(&cell[METRICS_GAUGE_WHEN], (uint64_t)clock_wall_us(), memory_order_relaxed);
	/* Last, and only then valid: what a former generation left is never shown as this one's. */
	atomic_store_explicit(&cell[METRICS_GAUGE_GENERATION], mine, memory_order_release);
	if (old != bits || generation != mine)
		add(&shm->seg->slots[shm->slot].changes, 1);
}

void metrics_unset(struct shm *shm, metrics_series series)
{
	if (series < 0 || !shm->row)
		return;
	_Atomic uint64_t *cell = shm->row + shm->seg->series[series].cell;
	if (atomic_exchange_explicit(&cell[METRICS_GAUGE_GENERATION], 0, memory_order_release) != 0)
		add(&shm->seg->slots[shm->slot].changes, 1);
}

/* What is added to a histogram's sum: nanoseconds or whole units. Bounded, so that one odd value can't spoil it. */
static uint64_t sum_of(const struct shm_family *family, double value)
{
	static const double MOST = 1e9;

	if (!(value > 0))
		return 0;
	value = value < MOST ? value : MOST;
	return (uint64_t)(family->flags & METRICS_SECONDS ? value * 1e9 + 0.5 : value + 0.5);
}

void metrics_observe(struct shm *shm, metrics_series series, double value)
{
	if (series < 0 || !shm->row || isnan(value))
		return;
	const struct shm_series *s = &shm->seg->series[series];
	const struct shm_family *family = &metrics_families[s->family];
	_Atomic uint64_t *cell = shm->row + s->cell;
	uint32_t i = 0;

	while (i < METRICS_MAX_BUCKETS && family->bounds[i] > 0 && value > family->bounds[i])
		i++;
	add(&cell[i], 1);
	add(&cell[s->cells - 1], sum_of(family, value));
	add(&shm->seg->slots[shm->slot].changes, 1);
}

void metrics_touch(struct shm *shm)
{
	if (shm->row)
		add(&shm->seg->slots[shm->slot].changes, 1);
}

uint64_t metrics_count(const struct shm *shm, metrics_series series, double *sum)
{
	uint64_t events = 0, total = 0;

	*sum = 0;
	if (series < 0)
		return 0;
	const struct shm_series *s = &shm->seg->series[series];
	const struct shm_family *family = &metrics_families[s->family];
	uint32_t buckets = family->type == METRICS_HISTOGRAM ? s->cells - 1 : 1;
	for (int slot = 0; slot < SHM_SLOTS; slot++) {
		const _Atomic uint64_t *cell = shm->seg->cells[slot] + s->cell;
		for (uint32_t i = 0; i < buckets; i++)
			events += atomic_load_explicit(&cell[i], memory_order_relaxed);
		if (family->type == METRICS_HISTOGRAM)
			total += atomic_load_explicit(&cell[buckets], memory_order_relaxed);
	}
	*sum = family->flags & METRICS_SECONDS ? (double)total / 1e9 : (double)total;
	return events;
}

uint64_t metrics_changes(const struct shm *shm)
{
	uint64_t sum = 0;

	for (int i = 0; i < SHM_SLOTS; i++)
		sum += atomic_load_explicit(&shm->seg->slots[i].changes, memory_order_relaxed);
	return sum;
}
