/* Which version of a model answers a request. */
#ifndef APPCORE_HANDLERS_CANARY_H
#define APPCORE_HANDLERS_CANARY_H

#include "http/request.h"
#include "model/set.h"

/* The version that the route's shares give this request: always the same one for an API key or a header's value where
 * the route is sticky, else (and where the request has none) drawn by the request's identity at the edge, so that nginx
 * trying it again changes nothing. Borrowed from the set; NULL: none is active. */
const struct model_version *canary_pick(const struct request *req, const struct model_route *route)
	__attribute__((nonnull));

#endif
