/* Fetches one page of an API into memory: bounded in time, bytes, redirects, and in where it may lead. */
#ifndef APPCORE_PIPELINE_HTTP_FETCH_H
#define APPCORE_PIPELINE_HTTP_FETCH_H

#include "base/buf.h"
#include "base/err.h"
#include "pipeline/http_source.h"

enum { HTTP_VALIDATOR_BYTES = 512, HTTP_LINK_BYTES = 16384 };

struct http_client; /* a connection or two, kept between pages; one thread's at a time */

/* `networks`: SOURCE_NETWORKS. go_on(arg) is asked about twice a second while something is fetched; false: it ends with
 * STATUS_CANCELLED. All are borrowed until http_client_close. Reads the secrets. */
enum status http_client_open(struct http_client **out, const struct http_source *source, const char *networks,
			     bool (*go_on)(void *arg), void *arg, struct err *err)
	__attribute__((nonnull(1, 2, 3, 4), warn_unused_result));
void http_client_close(struct http_client *client); /* NULL is allowed */

/* What came back. All zero before its first use; http_answer_release. */
struct http_answer {
	long status;     /* 200 or 304 */
	struct buf body; /* heap; unpacked */
	struct buf url;  /* heap: where it came from after redirects */
	struct buf link; /* heap: Link headers */
	char etag[HTTP_VALIDATOR_BYTES], last_modified[HTTP_VALIDATOR_BYTES]; /* empty: none, or too long */
	int64_t retry_after_s;                                                /* -1: not said */
	bool reached; /* STATUS_INVALID: somebody answered; false: it was not even tried */
};
void http_answer_init(struct http_answer *answer) __attribute__((nonnull));
void http_answer_release(struct http_answer *answer) __attribute__((nonnull));

/* GET. Conditional when etag or last_modified is not empty. Headers and the token go to the origin of the source's URL
 * only. STATUS_OK: 200 or 304. STATUS_UNAVAILABLE: it may work in a moment (no connection, timed out, cut off, 408,
 * 429, 5xx), perhaps in retry_after_s. STATUS_INVALID: it will not (other answers, too large, a forbidden address, too
 * many redirects). STATUS_CANCELLED, STATUS_NO_MEMORY. */
enum status http_fetch(struct http_client *client, struct str url, struct str etag, struct str last_modified,
		       struct http_answer *answer, struct err *err) __attribute__((nonnull(1, 5), warn_unused_result));

#endif
