/* The end of uploads that nobody finished, or that have been there for long, and of what dead workers left. */
#ifndef APPCORE_TASK_UPLOAD_EXPIRY_H
#define APPCORE_TASK_UPLOAD_EXPIRY_H

#include "task/kinds.h"

/* Deletes rows that expired before now_us, each with its files, and folders that no row knows. */
enum status upload_expire(struct task_run *run, int64_t now_us, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

#endif
