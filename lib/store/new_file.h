/* A file that appears under its name whole and synced, or not at all: backups. */
#ifndef APPCORE_STORE_NEW_FILE_H
#define APPCORE_STORE_NEW_FILE_H

#include "base/err.h"

#include <limits.h>
#include <stdbool.h>

/* Makes an empty file beside `path` (mode 0600), to be filled by whoever can; `temp` is its name. Errors:
 * STATUS_CONFLICT (something is there under `path`), STATUS_INVALID (too long a path), STATUS_UNAVAILABLE. */
enum status new_file_make(const char *path, char temp[static PATH_MAX], struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Syncs `temp`, gives it the name `path` and syncs the folder. Nothing is ever replaced: STATUS_CONFLICT. Otherwise
 * STATUS_UNAVAILABLE. After an error `temp` is gone. */
enum status new_file_keep(const char *temp, const char *path, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Syncs the folder of `path`. False with errno. */
bool new_file_sync_dir(const char *path) __attribute__((nonnull, warn_unused_result));

#endif
