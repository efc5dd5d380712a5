/* The fields of a form in a request's body: application/x-www-form-urlencoded (WHATWG URL, section 5.1) or
 * multipart/form-data (RFC 7578). A body of another type is a form without fields. */
#ifndef APPCORE_HTTP_FORM_H
#define APPCORE_HTTP_FORM_H

#include "http/request.h"

/* The value of a field, decoded, in the arena or borrowed from the body; the last one of that name wins. False: there
 * is none. The bytes may be any. */
bool form_field(struct request *req, struct str name, struct str *value) __attribute__((nonnull, warn_unused_result));

#endif
