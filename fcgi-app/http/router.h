/* From method and path to a row of the table of routes (routes.c). A row states everything that must hold before its
 * handler runs; middleware.c enforces it. */
#ifndef APPCORE_HTTP_ROUTER_H
#define APPCORE_HTTP_ROUTER_H

#include "http/request.h"

enum route_auth {
	ROUTE_OPEN,  /* anybody */
	ROUTE_KEY,   /* X-API-Key */
	ROUTE_READ,  /* as PREDICTIONS_READ says: open, or a key */
	ROUTE_USER,  /* a person: Authorization: Bearer with a token (401 otherwise), or X-API-Key with a key of theirs
		      */
	ROUTE_TOKEN, /* a person's token, in DataFlow's words: 403 without, 401 with one that is no good */
	ROUTE_DATA,  /* as DATA_ACCESS says: open, or ROUTE_TOKEN */
};

enum route_rate {
	ROUTE_UNLIMITED, /* probes */
	ROUTE_LIMITED,   /* RATE_LIMIT_PER_MINUTE per client address, and the key's own rate */
	ROUTE_PER_USER,  /* USER_RATE_LIMIT_PER_MINUTE per user and route, and the key's own rate; on an open route per
			    address and route */
};

enum route_cors {
	ROUTE_ANY_ORIGIN,     /* the contract's paths */
	ROUTE_LISTED_ORIGINS, /* CORS_ORIGINS */
};

enum route_body {
	ROUTE_NO_BODY,   /* what comes is not read */
	ROUTE_ANY_BODY,  /* the handler judges the media type */
	ROUTE_JSON_BODY, /* anything else is 415 */
	ROUTE_FORM_BODY, /* the handler reads a form, and answers 422 to anything else */
	ROUTE_LARGE,     /* JSON of up to BATCH_BODY_BYTES, which nginx must let pass, too */
	ROUTE_TENSORS,   /* JSON, or JSON with binary tensors behind it; anything else is 415 */
	ROUTE_STREAMED,  /* up to UPLOAD_BYTES, which nginx must let pass, too: the handler runs before the body is
			    there, and reads it in pieces (request_read) on a thread of app->uploads */
};

/* Where the handler's work runs. Bodies that are not there yet, and answers that are large, are carried by the slow
 * threads whatever the lane. */
enum route_lane {
	ROUTE_LANE_READ,  /* event thread, answers at once */
	ROUTE_LANE_WRITE, /* computes on the event thread, stores in the commit thread */
};

typedef void route_handler(struct request *req);

struct route {
	enum http_method method;
	const char *pattern; /* up to REQUEST_PARAMS segments may be a {variable} */
	route_handler *handler;
	enum route_auth auth;
	const char *scope; /* that the key must have; NULL: none */
	bool superuser;    /* ROUTE_USER: only superusers */
	enum route_rate rate;
	enum route_cors cors;
	enum route_body body;
	enum route_lane lane;
};

/* The table and its length; rows of one pattern stand together. */
extern const struct route ROUTES[];
extern const int ROUTES_N;
enum { ROUTES_MAX = 128 }; /* asserted in routes.c */

enum router_result {
	ROUTER_FOUND,
	ROUTER_NO_PATH,
	ROUTER_NO_METHOD, /* the path is known, the method is not: *route is a row of the path */
	ROUTER_SLASH,     /* the path without its last slash is known */
};

/* Finds the row for method and path (HEAD finds GET's). Where patterns overlap, the path belongs to the one that has a
 * literal where the others have a variable, whatever its methods. `params` gets what the variables stand for, each one
 * non-empty segment. */
enum router_result router_find(enum http_method method, struct str path, const struct route **route,
			       struct str params[static REQUEST_PARAMS]) __attribute__((nonnull, warn_unused_result));

/* The first row, of `n` in the table, of the pattern that the path belongs to, whatever its method. NULL: none. */
const struct route *router_find_path(const struct route *table, int n, struct str path,
				     struct str params[static REQUEST_PARAMS]) __attribute__((nonnull));

/* Appends the methods of the path that `route` belongs to, as Allow has them: "GET, HEAD". OPTIONS is
 * answered everywhere and not listed. */
void router_allow(const struct route *route, struct buf *out) __attribute__((nonnull));

/* "GET"; "OTHER" for what is none of ours. */
const char *http_method_name(enum http_method method) __attribute__((returns_nonnull));
enum http_method http_method_of(struct str text);

#endif
