/* What stands between a request and its handler: one array, in order. */
#ifndef APPCORE_MIDDLEWARE_H
#define APPCORE_MIDDLEWARE_H

#include "http/request.h"

/* Runs the array. False: one of them has set the response. */
bool middleware_run(struct request *req) __attribute__((nonnull, warn_unused_result));

#endif
