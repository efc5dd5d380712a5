/* Where the bytes of uploads lie: DATA_DIR/uploads/<id>/, in ".part" while it grows, then under its own name. Who works
 * on one holds a lock on its folder, which ends with the process. What is written counts when the row says so
 * (store/uploads.h): whatever lies behind the stored offset is cut off by whoever goes on.
 *
 * Calls block on the disk: not for an event thread, but for upload_close. */
#ifndef APPCORE_TASK_UPLOAD_H
#define APPCORE_TASK_UPLOAD_H

#include "base/config.h"
#include "store/uploads.h"

enum { UPLOAD_PATH_BYTES = 4096, UPLOAD_SHA256_BYTES = 65 };

/* NULL, or why this can't be the name of an uploaded file: one sentence. */
const char *upload_check_name(struct str name);

struct upload_file {
	int dir, fd; /* -1: none */
	int64_t at;  /* where the next bytes go */
	int64_t unsynced;
	int fault; /* errno of what failed last */
};

/* Takes the upload's folder, made if it is not there: nobody else can until upload_close, which is to be called
 * whatever is returned. Read the row behind it. STATUS_BUSY: somebody else works on it. STATUS_NOT_FOUND: its bytes are
 * gone. STATUS_TOO_LARGE, STATUS_UNAVAILABLE. */
enum status upload_lock(struct upload_file *file, const struct config *config, const struct id *id, bool create,
			struct err *err) __attribute__((nonnull(1, 2, 3), warn_unused_result));
/* Its file, as the row knows it. Errors as upload_lock's. */
enum status upload_open(struct upload_file *file, const struct upload_row *row, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
void upload_close(struct upload_file *file) __attribute__((nonnull));
/* Removes one that is locked, and closes it. */
void upload_discard(struct upload_file *file, const struct config *config, const struct id *id)
	__attribute__((nonnull));

/* Appends; STATUS_TOO_LARGE when the disk is full (or a quota used up), STATUS_UNAVAILABLE. */
enum status upload_write(struct upload_file *file, struct str bytes, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* What was written is on the disk. */
enum status upload_sync(struct upload_file *file, struct err *err) __attribute__((nonnull(1), warn_unused_result));
/* The file's SHA-256 in hex. */
enum status upload_hash(struct upload_file *file, char out[static UPLOAD_SHA256_BYTES], struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
/* It is complete: gets its name, on the disk. */
enum status upload_name(struct upload_file *file, struct str name, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* "uploads/<id>/<name>", as runs have it; in DATA_DIR. */
struct str upload_path(const struct upload_row *row, char out[static UPLOAD_PATH_BYTES]) __attribute__((nonnull));

/* Removes the folder and what is in it, but not while somebody works on it (STATUS_BUSY). One that is not there is
 * good. */
enum status upload_remove(const struct config *config, const struct id *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Calls fn with the folders that were not changed since `before_us`, until it says false: they may be of no upload. */
typedef bool upload_folder_fn(void *arg, const struct id *id);
void upload_each_old(const struct config *config, int64_t before_us, upload_folder_fn *fn, void *arg)
	__attribute__((nonnull(1, 3)));

#endif
