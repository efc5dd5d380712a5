/* APIs as sources of pipelines: what "http" of a definition's source says.
 *
 *   { "url": "https://api.example.com/data",
 *     "headers": {"Accept": "application/json", "X-API-Key": {"env": "EXAMPLE_KEY"}},
 *     "token": {"file": "/run/secrets/example"},            sent as "Authorization: Bearer …"
 *     "paging": {"by": "link"}                              RFC 8288, rel="next"
 *             | {"by": "cursor", "param": "after", "member": "meta.next"}
 *             | {"by": "page", "param": "page", "first": 1, "size_param": "per_page", "size": 100},
 *     "since": {"param": "updated_after", "member": "updated_at"},
 *     "every": "0 * * * *", "timeout_s": 30, "retries": 3, "page_bytes": 16777216, "pages_max": 10000 }
 *
 * Secrets are named, never written: a run keeps a copy of the definition. */
#ifndef APPCORE_PIPELINE_HTTP_SOURCE_H
#define APPCORE_PIPELINE_HTTP_SOURCE_H

#include "base/arena.h"
#include "base/err.h"

enum {
	HTTP_URL_BYTES = 4096,
	HTTP_HEADERS_MAX = 16,
	HTTP_SECRET_BYTES = 8192,
	HTTP_SINCE_BYTES = 512,
	HTTP_REDIRECTS_MAX = 5,
};

enum http_paging { HTTP_ONE_PAGE, HTTP_BY_LINK, HTTP_BY_CURSOR, HTTP_BY_PAGE };

struct http_header {
	struct str name;
	struct str prefix;           /* before the value: "Bearer " */
	struct str value, env, file; /* one of them */
};

struct http_source {
	struct str url;
	const struct http_header *headers;
	int headers_n;
	enum http_paging paging;
	struct str page_param, page_member, size_param;
	int64_t page_first, page_size;        /* size 0: not said */
	struct str since_param, since_member; /* empty: none */
	struct str every;                     /* cron.h; empty: only when somebody asks for it */
	int64_t timeout_s, retries, page_bytes, pages_max;
};

/* A header as it is sent, "Name: value", in the arena. STATUS_INVALID: what it is taken from is not there, or no value
 * for a header; the sentence has its name and never its value. */
enum status http_header_line(const struct http_header *header, struct arena *arena, const char **out, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));

#endif
