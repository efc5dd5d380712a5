/* Tasks as clients see them. */
#ifndef APPCORE_HANDLERS_TASK_JSON_H
#define APPCORE_HANDLERS_TASK_JSON_H

#include "base/buf.h"
#include "store/tasks.h"

/* {"task_id":…,"kind":…,"status":…, …}: what lists and events tell, without payload and result. */
void task_json_put(struct buf *out, const struct task_row *row) __attribute__((nonnull));

/* The same with payload and result. */
void task_json_put_whole(struct buf *out, const struct task_row *row) __attribute__((nonnull));

#endif
