/* What the handlers of /api/v1/data and /data share: which pipeline and which records a query means, and how records
 * and runs are told. */
#ifndef APPCORE_HANDLERS_DATA_H
#define APPCORE_HANDLERS_DATA_H

#include "http/request.h"
#include "pipeline/definition.h"
#include "store/records.h"
#include "store/runs.h"

enum {
	DATA_PAGE_MS = 3000,      /* for a page of records */
	DATA_AGGREGATE_MS = 8000, /* for numbers about all of them */
	DATA_CURSOR_BYTES = 1024,
};

/* Which records a request asks for. Lives in the request's arena. */
struct data_wish {
	struct str name;                   /* of the pipeline */
	const struct pipeline *definition; /* as it is now; NULL: there is no file any more, or it is damaged */
	bool unknown;                      /* nothing was ever stored for it */
	struct record_query query;         /* with the place behind which it begins */
	uint32_t shape;                    /* a hash of pipeline and order: cursors are for those that they came of */
};

/* Reads ?pipeline=, conditions, q, sort, cursor and limit (1 to `most`, else `fallback`; most 0: there is none). Reads
 * files and the database: on a slow thread. False: answered. */
bool data_read_wish(struct request *req, struct db *db, int fallback, int most, struct data_wish *wish)
	__attribute__((nonnull(1, 2, 5), warn_unused_result));

/* One parameter's value as a text of 1 to 200 bytes of UTF-8; p is NULL: it is not there. False: answered. */
bool data_read_text(struct request *req, const char *name, struct str *out)
	__attribute__((nonnull, warn_unused_result));

/* Loads PIPELINES_DIR/NAME.json; *problems (may be NULL) tells what is wrong with it. */
enum status data_load_pipeline(struct request *req, struct str name, struct pipeline **out, struct buf *problems,
			       struct err *err) __attribute__((nonnull(1, 3), warn_unused_result));

/* Whether a field of the definition is kept as a number, for who compares and sorts by it. */
bool data_is_number(const struct pipeline *definition, struct str field) __attribute__((warn_unused_result));

/* Where the next page begins, as text. False: the value that it is sorted by is too long for a place. */
bool data_put_cursor(struct buf *out, const struct data_wish *wish, int64_t seq, const struct record_value *sort)
	__attribute__((nonnull, warn_unused_result));

/* {"id":…,"timestamp":…,"source":…,"data":{…},"processed_at":…,"status":…}, and for /api/v1 with "run", "error" and
 * "processing_time" in seconds. */
void data_put_record(struct buf *out, const struct record_row *row, bool v1) __attribute__((nonnull));

/* {"run_id":…,"pipeline":…,"state":…, …} */
void data_put_run(struct buf *out, const struct run_row *row) __attribute__((nonnull));

/* A time in quotes, or null. */
void data_put_time(struct buf *out, int64_t wall_us) __attribute__((nonnull));

/* 404 for what is no pipeline, telling its name. */
void data_answer_no_pipeline(struct request *req, struct str name) __attribute__((nonnull));

/* The thread's connection, or one of its own that is closed with the request's arena. NULL: answered, not finished. */
struct db *data_connect(struct request *req, struct db *db) __attribute__((nonnull(1), warn_unused_result));

#endif
