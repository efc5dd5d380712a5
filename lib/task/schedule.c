/* The schedules. */
#include "task/schedule.h"

#include "base/clock.h"
#include "base/log.h"
#include "shared/wake.h"
#include "store/schedules.h"
#include "store/tasks.h"
#include "task/ingest.h"
#include "task/kinds.h"
#include "task/measure.h"

#include <stdio.h>

static const int64_t US_PER_DAY = INT64_C(86400000000);

void schedules_init(struct schedules *schedules, const struct config *config)
{
	*schedules = (struct schedules){
		.list = {{.kind = "backup", .expression = config->schedule_backup},
			 {.kind = "retention", .expression = config->schedule_retention},
			 {.kind = "expiry", .expression = config->schedule_expiry},
			 {.kind = "checkpoint", .expression = config->schedule_checkpoint},
			 {.kind = INGEST_KIND_LOOK, .expression = config->schedule_ingest}},
	};
	for (int i = 0; i < SCHEDULES_MAX; i++) {
		const char *wrong = cron_parse(str_of(schedules->list[i].expression), &schedules->list[i].cron);
		if (wrong) /* the settings were checked: it is empty */
			schedules->list[i].expression = "";
	}
}

struct step {
	struct schedules *schedules;
	int64_t now_us, change;
	bool added[SCHEDULES_MAX];
};

/* Far in the future: not the next time, nor the one after it, by more than a day. */
static bool is_odd(const struct cron *cron, int64_t next_us, int64_t now_us)
{
	int64_t second_us = cron_next(cron, cron_next(cron, now_us));

	return next_us > second_us + US_PER_DAY;
}

/* What the database has; a new one, or one with another expression, begins now. */
static enum status take_up(struct db *db, struct step *step, int i, struct err *err)
{
	struct schedules *schedules = step->schedules;
	struct str kind = str_of(schedules->list[i].kind), expression = str_of(schedules->list[i].expression);
	int64_t *next_us = &schedules->list[i].next_us;
	struct schedule_row row;
	bool found;

	enum status status = schedules_find(db, kind, &found, &row, err);
	if (status != STATUS_OK)
		return status;
	*next_us = row.next_us;
	if (found && expression.n == 0)
		return schedules_remove(db, kind, err);
	if (expression.n == 0 || (found && str_eq(str_of(row.expression), expression) &&
				  !is_odd(&schedules->list[i].cron, row.next_us, step->now_us)))
		return STATUS_OK;
	*next_us = cron_next(&schedules->list[i].cron, step->now_us);
	return schedules_set(db, kind, expression, *next_us, err);
}

static enum status add(struct db *db, struct step *step, int i, struct err *err)
{
	struct schedules *schedules = step->schedules;
	struct task_row row = {.payload = STR("{}"), .priority = TASK_PRIORITY_SERVICE};
	struct edge_identity edge;
	int64_t from_us = schedules->list[i].next_us;
	int64_t to_us = cron_next(&schedules->list[i].cron, step->now_us);
	bool moved = false, stored = false;

	enum status status = schedules_move(db, str_of(schedules->list[i].kind), from_us, to_us, &moved, err);
	if (status != STATUS_OK || !moved)
		return status;
	edge_generate(&edge);
	row.id = id_of_edge(&edge);
	snprintf(row.kind, sizeof(row.kind), "%s", schedules->list[i].kind);
	row.change = step->change;
	status = tasks_insert(db, &row, &stored, err);
	step->added[i] = status == STATUS_OK && stored;
	schedules->list[i].next_us = to_us;
	return status;
}

static enum status run_step(struct db *db, void *arg, struct err *err)
{
	struct step *step = arg;

	/* First of all: schedulers take turns (the order of locks in store/tasks.h). */
	enum status status = tasks_begin_change(db, &step->change, err);
	for (int i = 0; i < SCHEDULES_MAX && status == STATUS_OK; i++) {
		step->added[i] = false;
		status = take_up(db, step, i, err);
		if (status == STATUS_OK && step->schedules->list[i].expression[0] &&
		    step->schedules->list[i].next_us <= step->now_us)
			status = add(db, step, i, err);
	}
	return status;
}

static int64_t next_of(const struct schedules *schedules)
{
	int64_t next_us = INT64_MAX;

	for (int i = 0; i < SCHEDULES_MAX; i++)
		if (schedules->list[i].expression[0] && schedules->list[i].next_us < next_us)
			next_us = schedules->list[i].next_us;
	return next_us;
}

int64_t schedules_run_at(struct schedules *schedules, struct db *db, struct shm *shm, int64_t now_us)
{
	struct step step = {.schedules = schedules, .now_us = now_us};
	struct err err;
	bool woken = false;

	int64_t next_us = next_of(schedules);
	if (!schedules->stored || next_us <= now_us) {
		enum status status = db_transact(db, -1, run_step, &step, &err);
		schedules->stored = status == STATUS_OK;
		if (status != STATUS_OK && !schedules->failing)
			log_event(LOG_LEVEL_ERROR, "schedules wait for the database: %s", err.text);
		schedules->failing = status != STATUS_OK;
		if (status != STATUS_OK)
			return -1;
		next_us = next_of(schedules);
	}
	for (int i = 0; i < SCHEDULES_MAX; i++) {
		if (!step.added[i])
			continue;
		task_created_count(shm, str_of(schedules->list[i].kind), 1);
		woken = true;
	}
	if (woken) {
		wake_all(shm, WAKE_TASKS);
		wake_all(shm, WAKE_EVENTS);
	}
	if (next_us == INT64_MAX)
		return US_PER_DAY / 1000;
	return next_us > now_us ? (next_us - now_us + 999) / 1000 : 0;
}

int64_t schedules_run(struct schedules *schedules, struct db *db, struct shm *shm)
{
	return schedules_run_at(schedules, db, shm, clock_wall_us());
}
