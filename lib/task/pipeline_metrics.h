/* What is measured of a pipeline's runs. Labels are bounded: pipelines are files of the operator's. */
#ifndef APPCORE_TASK_PIPELINE_METRICS_H
#define APPCORE_TASK_PIPELINE_METRICS_H

#include "pipeline/apply.h"
#include "shared/metrics.h"
#include "store/runs.h"

struct pipeline_metrics {
	struct shm *shm; /* NULL: nothing is counted */
	struct str pipeline;
	metrics_series ingested, processed, failed, seconds, stored, replaced, skipped, refused, rate, newest;
	metrics_series reasons[REFUSAL__MAX]; /* found when they are first needed */
	bool known[REFUSAL__MAX];
	uint64_t since_ms; /* of the rate */
	int64_t rows;      /* since then */
};

/* Of a batch. */
struct pipeline_counted {
	int64_t refused[REFUSAL__MAX];
};

/* `shm` may be NULL; the pipeline is borrowed. */
void pipeline_metrics_init(struct pipeline_metrics *metrics, struct shm *shm, const struct pipeline *pipeline)
	__attribute__((nonnull(1, 3)));
/* A batch is committed: counts before and after it, and its rows. */
void pipeline_metrics_count(struct pipeline_metrics *metrics, const struct run_counts *before,
			    const struct run_counts *after, const struct pipeline_counted *counted,
			    const struct pipeline_row *rows, size_t n) __attribute__((nonnull(1, 2, 3, 4)));
/* The run ended so. */
void pipeline_metrics_end(struct pipeline_metrics *metrics, enum run_state state) __attribute__((nonnull));
/* It does not go on here. */
void pipeline_metrics_stop(struct pipeline_metrics *metrics) __attribute__((nonnull));

#endif
