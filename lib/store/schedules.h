/* Table task_schedules: when a scheduled kind is due next. All that writes wants a write transaction. */
#ifndef APPCORE_STORE_SCHEDULES_H
#define APPCORE_STORE_SCHEDULES_H

#include "store/db.h"

enum { SCHEDULE_TEXT_BYTES = 256 };

struct schedule_row {
	char expression[SCHEDULE_TEXT_BYTES];
	int64_t next_us;
};

/* *found false: there is none of this name. */
enum status schedules_find(struct db *db, struct str name, bool *found, struct schedule_row *row, struct err *err)
	__attribute__((nonnull(1, 3, 4), warn_unused_result));

/* Makes it, or gives it another expression. */
enum status schedules_set(struct db *db, struct str name, struct str expression, int64_t next_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

enum status schedules_remove(struct db *db, struct str name, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* Moves it on from `from_us` to `to_us`. *moved false: somebody else did, who is the one to add the task. */
enum status schedules_move(struct db *db, struct str name, int64_t from_us, int64_t to_us, bool *moved, struct err *err)
	__attribute__((nonnull(1, 5), warn_unused_result));

#endif
