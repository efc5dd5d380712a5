/* Table data_uploads: files on their way in, piece by piece, and those that are there. Where their bytes lie is
 * task/upload.h's business; a row never says that more has been received than is on the disk. All that writes wants a
 * write transaction. */
#ifndef APPCORE_STORE_UPLOADS_H
#define APPCORE_STORE_UPLOADS_H

#include "base/arena.h"
#include "base/id.h"
#include "store/db.h"

enum { UPLOAD_NAME_BYTES = 200 };

struct upload_row {
	struct id id;
	int64_t user_id;
	struct str name, pipeline; /* pipeline empty: none is to run */
	struct str sha256;         /* hex of what it must be; empty: not said */
	struct str run_id;         /* of the run that reads it; empty: none */
	int64_t bytes, received;   /* complete when they are the same */
	int64_t created_us, expires_us;
};

static inline bool upload_is_complete(const struct upload_row *row)
{
	return row->received == row->bytes;
}

/* Adds one. One that is there already stays (*stored false): the same request again. */
enum status uploads_insert(struct db *db, const struct upload_row *row, bool *stored, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

/* A user's unfinished ones, and the bytes of all of theirs. */
enum status uploads_count(struct db *db, int64_t user_id, int64_t *unfinished, int64_t *bytes, struct err *err)
	__attribute__((nonnull(1, 3, 4), warn_unused_result));

/* Texts in the arena. STATUS_NOT_FOUND, also for one of another user (`user_id` -1: anybody's). */
enum status uploads_find(struct db *db, const struct id *id, int64_t user_id, struct arena *arena,
			 struct upload_row *out, struct err *err)
	__attribute__((nonnull(1, 2, 4, 5), warn_unused_result));

/* Moves it on from `from` received bytes to row->received, with run_id and expires_us of the row. STATUS_CONFLICT:
 * somebody else has moved it; run again after it was committed it is STATUS_OK. */
enum status uploads_advance(struct db *db, const struct upload_row *row, int64_t from, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Whether the run that reads it is not over. */
enum status uploads_is_read(struct db *db, const struct id *id, bool *is, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

enum status uploads_delete(struct db *db, const struct id *id, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* A read: at most `n` that expired before now_us and are not being read by a run. */
enum status uploads_find_expired(struct db *db, int64_t now_us, struct id *ids, int n, int *found, struct err *err)
	__attribute__((nonnull(1, 3, 5), warn_unused_result));

/* A read: whether there is one. */
enum status uploads_has(struct db *db, const struct id *id, bool *has, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

#endif
