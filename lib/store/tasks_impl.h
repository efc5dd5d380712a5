/* What the files of the table background_tasks share. Nobody else includes this. */
#ifndef APPCORE_STORE_TASKS_IMPL_H
#define APPCORE_STORE_TASKS_IMPL_H

#include "store/tasks.h"

/* In the order of tasks_read_row(); payload and result come last, for lists go without. */
#define TASKS_COLUMNS                                                                                                  \
	"task_id, user_id, task_type, status, error_message, created_at, updated_at, priority, run_us, lease_us,"      \
	" claim, attempts, worker, cancel, done, total, expires_us, change"
#define TASKS_ALL TASKS_COLUMNS ", payload, result"

/* Borrows its texts from the statement; of a whole one they are in the arena. */
void tasks_read_row(struct stmt *stmt, struct task_row *row) __attribute__((nonnull));
enum status tasks_read_whole_row(struct stmt *stmt, struct arena *arena, struct task_row *row, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

void tasks_bind_id(struct stmt *stmt, int i, const struct id *id) __attribute__((nonnull));
void tasks_bind_nullable(struct stmt *stmt, int i, struct str text) __attribute__((nonnull)); /* p NULL: NULL */
void tasks_bind_time(struct stmt *stmt, int i, int64_t wall_us) __attribute__((nonnull));

/* All parts of a task, by its id's text. */
enum status tasks_delete_parts_of(struct db *db, struct str task, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

#endif
