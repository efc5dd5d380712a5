/* What stands between a request and its handler: one array, in order. */
#ifndef APPCORE_MIDDLEWARE_H
#define APPCORE_MIDDLEWARE_H

#include "http/request.h"

enum middleware_result {
	MIDDLEWARE_PASSED,
	MIDDLEWARE_REFUSED, /* one of them has set the response */
	MIDDLEWARE_WAITS    /* one of them waits for an answer: app_go_on() will be called */
};

/* Runs the array from where the request is in it. */
enum middleware_result middleware_run(struct request *req) __attribute__((nonnull, warn_unused_result));

#endif
