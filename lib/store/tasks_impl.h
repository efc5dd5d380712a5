/* What the files of the table background_tasks share. Nobody else includes this. */
#ifndef APPCORE_STORE_TASKS_IMPL_H
#define APPCORE_STORE_TASKS_IMPL_H

#include "store/tasks.h"

/* In the order of tasks_read_row(); payload and result come last, for lists go without. */
#define TASKS_COLUMNS                                                                                                  \
	"task_id, user_id, task_type, status, error_message, created_at, updated_at, priority, run_us, lease_us,"      \
	" claim, attempts, worker, cancel, done, total, expires_us, change"
#define TASKS_ALL TASKS_COLUMNS ", payload, result"

/* The turn of a task that gets in line now: behind all of its user's there, and not before what is first there; of
 * large ones, whose first may be of a user who has enough running, not before what runs; at the end, when it is the
 * service's own. Wants the changes' row
 * (tasks_begin_change) where there is more than one writer; arguments are SQL. */
#define TASKS_GREATEST_SQLITE     "max"
#define TASKS_GREATEST_POSTGRESQL "greatest"
#define TASKS_TURN(greatest, small_, user_, priority_)                                                                 \
	"CASE WHEN " user_ " > 0 THEN " greatest                                                                       \
	"(coalesce((SELECT max(w.turn) + 1 FROM background_tasks w WHERE w.status = 'pending'"                         \
	" AND w.small = " small_ " AND w.user_id = " user_ " AND w.user_id <> 0 AND w.priority = " priority_ "), 1),"  \
	" coalesce((SELECT max(r.turn) FROM background_tasks r WHERE r.status = 'processing'"                          \
	" AND r.small = 0 AND " small_ " = 0 AND r.priority = " priority_ "),"                                         \
	" (SELECT f.turn FROM background_tasks f WHERE f.status = 'pending' AND f.turn > 0"                            \
	" AND f.small = " small_ " AND f.priority = " priority_ " ORDER BY f.turn LIMIT 1), 1))"                       \
	" ELSE coalesce((SELECT max(l.turn) + 1 FROM background_tasks l WHERE l.status = 'pending' AND l.turn > 0"     \
	" AND l.small = " small_ " AND l.priority = " priority_ "), 1) END"

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
