/* Query parameters that are checked, and the 422 for those that are not good. */
#ifndef APPCORE_HTTP_QUERY_H
#define APPCORE_HTTP_QUERY_H

#include "http/invalid.h"

/* A whole number from `min` to `max`; `fallback` when it is not there. False: answered. */
bool query_read_int(struct request *req, const char *field, int64_t fallback, int64_t min, int64_t max, int64_t *out)
	__attribute__((nonnull, warn_unused_result));

/* Makes a violation of a query parameter (or of the member that it was made of) the response. `ctx`: JSON text of an
 * object, or empty. */
void query_answer(struct request *req, const char *type, const char *msg, const char *field, struct str input,
		  struct str ctx) __attribute__((nonnull));

#endif
