/* What the handlers of tasks and of their events share. */
#ifndef APPCORE_HANDLERS_TASKS_H
#define APPCORE_HANDLERS_TASKS_H

#include "http/request.h"
#include "store/tasks.h"

/* Whose tasks are meant: the caller's own, or what a superuser says with ?user_id= or ?all=true (-1). False: answered.
 */
bool tasks_read_whose(struct request *req, int64_t *user_id) __attribute__((nonnull, warn_unused_result));

/* The path's identifier. False: answered, for what is none has no task. */
bool tasks_read_id(struct request *req, struct id *out) __attribute__((nonnull, warn_unused_result));

/* Finds it when the caller may see it: their own, or a superuser anybody's. STATUS_NOT_FOUND: there is none, or
 * (*foreign) it is another user's. */
enum status tasks_find_visible(struct db *db, const struct request *req, const struct id *id, struct arena *arena,
			       struct task_row *row, bool *foreign, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4, 5, 6), warn_unused_result));

/* The line in the log of who asked for what is not theirs. */
void tasks_log_foreign(const struct request *req, const struct id *id) __attribute__((nonnull));

/* 404, and for another user's task a line in the log. */
void tasks_answer_missing(struct request *req, const struct id *id, bool foreign) __attribute__((nonnull));

/* What the caller may have waiting; NULL: they may have any number (superusers, the operator's keys). */
const struct tasks_bound *tasks_bound_of(const struct request *req, struct tasks_bound *bound)
	__attribute__((nonnull, warn_unused_result));

/* 429: they have it waiting already. */
void tasks_answer_no_room(struct request *req, enum tasks_room room) __attribute__((nonnull));

/* A write failed that was to add one; STATUS_LIMITED: there was no room. */
void tasks_answer_not_added(struct request *req, enum status status, const struct err *err) __attribute__((nonnull));

/* Answers, and finishes the request. */
void tasks_answer_no_memory(struct request *req) __attribute__((nonnull));

#endif
