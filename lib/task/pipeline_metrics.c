/* What is measured of a pipeline's runs: counted once a batch is committed. */
#include "task/pipeline_metrics.h"

#include "base/clock.h"

enum { RATE_MS = 1000 };

static metrics_series find(struct pipeline_metrics *metrics, enum metrics_family family, const char *label,
			   const char *value)
{
	const struct metrics_label labels[] = {{"pipeline", metrics->pipeline}, {label, str_of(value)}};

	return metrics_find(metrics->shm, family, labels, label ? 2 : 1);
}

static metrics_series find_one(struct pipeline_metrics *metrics, enum metrics_family family, const char *label,
			       struct str value)
{
	const struct metrics_label labels[] = {{label, value}};

	return metrics_find(metrics->shm, family, labels, 1);
}

void pipeline_metrics_init(struct pipeline_metrics *metrics, struct shm *shm, const struct pipeline *pipeline)
{
	*metrics = (struct pipeline_metrics){.shm = shm, .pipeline = str_of(pipeline->name)};
	if (!shm)
		return;
	metrics->ingested = find_one(metrics, METRICS_RECORDS_INGESTED, "source", pipeline->source.kind);
	metrics->processed = find_one(metrics, METRICS_RECORDS_PROCESSED, "status", STR("processed"));
	metrics->failed = find_one(metrics, METRICS_RECORDS_PROCESSED, "status", STR("failed"));
	metrics->seconds = metrics_find(shm, METRICS_RECORD_DURATION, NULL, 0);
	metrics->stored = find(metrics, METRICS_PIPELINE_ROWS, "outcome", "stored");
	metrics->replaced = find(metrics, METRICS_PIPELINE_ROWS, "outcome", "replaced");
	metrics->skipped = find(metrics, METRICS_PIPELINE_ROWS, "outcome", "skipped");
	metrics->refused = find(metrics, METRICS_PIPELINE_ROWS, "outcome", "refused");
	metrics->rate = find(metrics, METRICS_PIPELINE_RATE, NULL, NULL);
	metrics->newest = find(metrics, METRICS_PIPELINE_NEWEST, NULL, NULL);
	metrics->since_ms = clock_mono_ms();
}

static void count_refused(struct pipeline_metrics *metrics, const struct pipeline_counted *counted)
{
	for (int i = 0; i < REFUSAL__MAX; i++) {
		if (counted->refused[i] == 0)
			continue;
		if (!metrics->known[i]) {
			metrics->reasons[i] = find(metrics, METRICS_PIPELINE_REFUSED, "reason",
						   refusal_name((enum refusal)i));
			metrics->known[i] = true;
		}
		metrics_add(metrics->shm, metrics->reasons[i], (uint64_t)counted->refused[i]);
	}
}

static void set_rate(struct pipeline_metrics *metrics, int64_t rows)
{
	uint64_t now_ms = clock_mono_ms(), ms = now_ms - metrics->since_ms;

	metrics->rows += rows;
	if (ms < RATE_MS)
		return;
	metrics_set(metrics->shm, metrics->rate, (double)metrics->rows * 1000 / (double)ms);
	metrics->rows = 0;
	metrics->since_ms = now_ms;
}

void pipeline_metrics_count(struct pipeline_metrics *metrics, const struct run_counts *before,
			    const struct run_counts *after, const struct pipeline_counted *counted,
			    const struct pipeline_row *rows, size_t n)
{
	struct shm *shm = metrics->shm;
	int64_t read = after->rows_read - before->rows_read, refused = after->refused - before->refused;
	int64_t kept = after->stored - before->stored + after->replaced - before->replaced;

	if (!shm)
		return;
	metrics_add(shm, metrics->ingested, (uint64_t)read);
	metrics_add(shm, metrics->processed, (uint64_t)(read - refused));
	metrics_add(shm, metrics->failed, (uint64_t)refused);
	metrics_add(shm, metrics->stored, (uint64_t)(after->stored - before->stored));
	metrics_add(shm, metrics->replaced, (uint64_t)(after->replaced - before->replaced));
	metrics_add(shm, metrics->skipped, (uint64_t)(after->skipped - before->skipped));
	metrics_add(shm, metrics->refused, (uint64_t)refused);
	count_refused(metrics, counted);
	for (size_t i = 0; i < n; i++)
		metrics_observe(shm, metrics->seconds, rows[i].seconds);
	if (kept > 0)
		metrics_set(shm, metrics->newest, (double)clock_wall_us() / 1e6);
	set_rate(metrics, read);
}

void pipeline_metrics_end(struct pipeline_metrics *metrics, enum run_state state)
{
	if (metrics->shm)
		metrics_add(metrics->shm, find(metrics, METRICS_PIPELINE_RUNS, "state", run_state_name(state)), 1);
}

void pipeline_metrics_stop(struct pipeline_metrics *metrics)
{
	if (metrics->shm)
		metrics_unset(metrics->shm, metrics->rate);
}
