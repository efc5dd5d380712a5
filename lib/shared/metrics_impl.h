/* The sums of all segments, between adding them up (metrics_merge.c) and printing them (metrics_text.c). */
#ifndef APPCORE_SHARED_METRICS_IMPL_H
#define APPCORE_SHARED_METRICS_IMPL_H

#include "shared/shm_impl.h"

enum { METRICS_NO_SAMPLE = -1 };

struct metrics_sample {
	int32_t next; /* of the same family; METRICS_NO_SAMPLE: the last */
	uint32_t family;
	uint64_t hash;
	struct str text;  /* labels without braces; borrows the view's mapping */
	uint64_t *values; /* as many as metrics_cells of the family */
	int64_t when;     /* gauge: when its value was set; -1: no live worker has one */
};

struct metrics_sums {
	struct shm_view *views; /* SHM_VIEWS of them */
	int views_n;
	struct shm_family *families; /* this version's, then those that only others know */
	int32_t *first, *last;       /* samples of a family */
	uint32_t families_n;
	struct metrics_sample *samples;
	uint32_t samples_n;
	uint64_t *values;
	size_t values_n;
	int32_t *table; /* samples by hash; a power of two of places */
	uint32_t table_mask;
};

/* Adds up all segments in the run directory. False when memory is short. End with metrics_sums_release either way. */
bool metrics_sums_init(struct metrics_sums *sums, const struct shm *shm) __attribute__((nonnull, warn_unused_result));
void metrics_sums_release(struct metrics_sums *sums) __attribute__((nonnull));

#endif
