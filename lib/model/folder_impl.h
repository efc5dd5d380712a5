/* What the folder's files share: folder.c (opening and loading), folder_add.c (what changes it). */
#ifndef APPCORE_MODEL_FOLDER_IMPL_H
#define APPCORE_MODEL_FOLDER_IMPL_H

#include "model/folder.h"

enum { FOLDER_PATH_BYTES = 2 * MODEL_NAME_BYTES + 8 };
#define FOLDER_MANIFEST "manifest.json"

/* STATUS_INVALID with a sentence unless both are names. */
enum status folder_check_names(struct str name, struct str version, struct err *err)
	__attribute__((warn_unused_result));

/* The directory of a version, below `root`; caller closes *fd. */
enum status folder_open_version(int root, struct str name, struct str version, int *fd, struct err *err)
	__attribute__((nonnull(4), warn_unused_result));

/* A whole plain file below `at`, at most `max` bytes, on the heap. `flags` O_NOFOLLOW or 0. STATUS_NOT_FOUND. */
enum status folder_read_file(int at, const char *path, int flags, size_t max, char **text, size_t *n, struct err *err)
	__attribute__((nonnull(2, 5, 6), warn_unused_result));

/* Loads what lies in the directory `at`. */
enum status folder_load_at(struct model **out, int at, struct str name, struct str version, struct str hash,
			   struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* The status of an errno and what it says. `what` is the path. */
enum status folder_fail(struct err *err, const char *doing, const char *what) __attribute__((nonnull(2, 3)));

#endif
