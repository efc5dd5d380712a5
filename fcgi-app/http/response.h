/* A response under construction. */
#ifndef APPCORE_HTTP_RESPONSE_H
#define APPCORE_HTTP_RESPONSE_H

#include "base/buf.h"
#include "base/err.h"

enum { RESPONSE_HEADERS = 16 };

struct response {
	int status;               /* HTTP status; 0: not set yet */
	const char *content_type; /* static; NULL: no body */
	struct buf body;
	struct {
		const char *name; /* static */
		struct str value; /* in the arena, or static */
	} headers[RESPONSE_HEADERS];
	int headers_n;
};

/* An empty response whose body lives in `arena`. */
void response_init(struct response *response, struct arena *arena) __attribute__((nonnull));

/* Adds a header; one that holds a line break or another control character is left out. */
void response_header(struct response *response, const char *name, struct str value) __attribute__((nonnull));

/* The same with a number. */
void response_header_u64(struct response *response, const char *name, uint64_t value) __attribute__((nonnull));

/* Appends status line ("Status: …", as CGI has it) and headers up to the empty line. Content-Length is the body's
 * length when `known_length`. */
void response_head(const struct response *response, bool known_length, struct buf *out) __attribute__((nonnull));

/* "Not Found" for 404. "Unknown" for what the table lacks. */
const char *response_reason(int http_status) __attribute__((returns_nonnull));

/* The one table from our statuses to HTTP's. */
int response_http_status(enum status status);

#endif
