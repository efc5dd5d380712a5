/* What the handlers of uploads share. */
#ifndef APPCORE_HANDLERS_UPLOADS_H
#define APPCORE_HANDLERS_UPLOADS_H

#include "http/invalid.h"
#include "pipeline/definition.h"
#include "store/store.h"
#include "task/ingest.h"
#include "task/upload.h"

enum {
	UPLOADS_UNFINISHED_MAX = 16, /* of a user */
	UPLOADS_KEPT_FACTOR = 16,    /* times UPLOAD_BYTES are the bytes that a user's uploads may have in all */
};

/* A request that makes an upload or moves it on. In the request's arena. */
struct upload_work {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	struct upload_row row;
	struct upload_file file;
	int64_t from;               /* received before */
	struct pipeline *pipeline;  /* to be run; NULL: none */
	struct id run;              /* what to call it, and afterwards the run that is there */
	char run_id[ID_TEXT_BYTES]; /* of it, as the row has it */
	char path[UPLOAD_PATH_BYTES];
	bool starts;   /* the run is to start */
	bool started;  /* and did, now */
	bool too_many; /* of the user's are unfinished */
	bool too_much; /* their bytes */
	bool repeated; /* it was there already */
	char sha256[UPLOAD_SHA256_BYTES];
};

/* An upload_work, its caller's. NULL: answered and finished. */
struct upload_work *uploads_begin(struct request *req) __attribute__((nonnull, warn_unused_result));

/* Says in *invalid what is wrong with a name, a pipeline's, a SHA-256; `where` is "body" or "query". An empty one of
 * the last two was not given. The pipeline is loaded. */
void uploads_check(struct upload_work *work, struct invalid *invalid, const char *where) __attribute__((nonnull));

/* Loads the row's pipeline, if it has one. False: answered. */
bool uploads_load_pipeline(struct upload_work *work) __attribute__((nonnull, warn_unused_result));

/* In a write: whether the user has room for row.bytes more; sets too_many and too_much. */
enum status uploads_find_room(struct upload_work *work, struct db *db, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
/* 429 or 507: there is none. */
void uploads_answer_no_room(struct upload_work *work) __attribute__((nonnull));

/* In a write, when the file is complete: the run over it. */
enum status uploads_start_run(struct upload_work *work, struct db *db, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Submits a write from any thread; when that can't be it is answered and finished. */
void uploads_submit(struct upload_work *work, enum status (*run)(struct db *db, struct store_op *op, struct err *err),
		    void (*done)(struct store_op *op)) __attribute__((nonnull));

/* {"upload_id":…}, with Upload-Offset, Upload-Length and Tus-Resumable. */
/* Finds it for its owner. STATUS_NOT_FOUND: there is none, or it is another user's, which is a line in the log. */
enum status uploads_find_own(struct db *db, const struct request *req, const struct id *id, struct arena *arena,
			     struct upload_row *out, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4, 5), warn_unused_result));

void uploads_answer(struct request *req, int http_status, const struct upload_row *row) __attribute__((nonnull));
/* Upload-Offset and Tus-Resumable alone. */
void uploads_put_offset(struct request *req, int64_t offset) __attribute__((nonnull));
/* "Location: /api/v1/data/uploads/<id>" */
void uploads_put_location(struct request *req, const struct id *id) __attribute__((nonnull));

/* What a call of task/upload.h said: 423, 507, … */
void uploads_answer_fault(struct request *req, enum status status, const struct err *err) __attribute__((nonnull));

#endif
