/* Kinds that are added by the clock: which ones, and when (SCHEDULE_…). */
#ifndef APPCORE_TASK_SCHEDULE_H
#define APPCORE_TASK_SCHEDULE_H

#include "base/config.h"
#include "base/cron.h"
#include "shared/shm.h"
#include "store/db.h"

enum { SCHEDULES_MAX = 5 };

struct schedules {
	struct {
		const char *kind;
		const char *expression; /* empty: never */
		struct cron cron;
		int64_t next_us;
	} list[SCHEDULES_MAX];
	bool stored;  /* the database has them */
	bool failing; /* and that was logged */
};

void schedules_init(struct schedules *schedules, const struct config *config) __attribute__((nonnull));

/* Adds what is due by the wall clock, once among all workers, and wakes them. Returns for how many milliseconds nothing
 * will be due; negative: the database failed, which is logged once. */
int64_t schedules_run(struct schedules *schedules, struct db *db, struct shm *shm) __attribute__((nonnull));

/* The same for a given time; tests. */
int64_t schedules_run_at(struct schedules *schedules, struct db *db, struct shm *shm, int64_t now_us)
	__attribute__((nonnull));

#endif
