/* Who makes a request to a route for people (ROUTE_USER): the user whose token it carries, or whose key. */
#ifndef APPCORE_PERSON_H
#define APPCORE_PERSON_H

#include "middleware.h"

/* Fills req->caller, or refuses: 401 (nobody, or nobody that is known), 400 (the account is switched off), 403 (an
 * operator's key; a route for superusers). Waits for the store where it does not answer at once. */
enum middleware_result person_check(struct request *req) __attribute__((nonnull, warn_unused_result));

#endif
