/* A request and its response, whatever brought it here: FastCGI (fcgi.c) or a test. All text in it lives in its arena
 * or is borrowed from the transport until the response is out. One thread works on a request at a time. */
#ifndef APPCORE_HTTP_REQUEST_H
#define APPCORE_HTTP_REQUEST_H

#include "auth/keyring.h"
#include "base/id.h"
#include "base/mailbox.h"
#include "base/pool.h"
#include "http/response.h"

struct app;
struct route;
struct request;
struct request_limits;
struct person;
struct model_set;
struct store_op;

/* A header that a model's route is sticky by. */
struct request_sticky {
	struct request_sticky *next;
	struct str name, value; /* "HTTP_X_USER_ID" */
};

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_OTHER,
	HTTP_METHOD__MAX
};

enum { PARKED_MAX = 4096 }; /* requests that a worker may have parked at once */

/* Why a parked request ended without its owner's doing. */
enum parked_end {
	PARKED_PEER_GONE,
	PARKED_TOO_SLOW, /* it took nothing for too long */
	PARKED_DRAINED,  /* the worker is to end: the answer was ended properly */
};

/* A request whose answer goes on without a thread (server-sent events). Embedded in what its owner keeps of it. */
struct parked {
	struct request *req; /* the transport's: all that it held is gone */
	/* The transport has forgotten it. Called between other work, never from push or end. Event thread. */
	void (*gone)(struct parked *parked, enum parked_end why);
	/* After a push that was too much for now: there is room again. Called as `gone` is. */
	void (*drained)(struct parked *parked);
};

/* What the layer that carries requests does with a finished or streaming response. */
struct transport {
	/* The checks are over. Passed: the handler may run (app_run) as soon as req->body is set. Else the response is
	 * set: call app_complete. Event thread. */
	void (*checked)(struct request *req, bool passed);
	/* Whether an answer of this size can be sent now; it is kept a place then. False: a small one must take its
	 * place. Event thread. */
	bool (*reserve)(struct request *req);
	/* The response is final (or the last piece was streamed): send it and recycle the request. Event thread. */
	void (*respond)(struct request *req);
	/* Reads the next bytes of a body that is streamed (ROUTE_STREAMED), at most n; blocks, within a timeout. 0: it
	 * is over; negative: the peer is gone. What the handler leaves is read away. Threads of app->uploads only. */
	ptrdiff_t (*read)(struct request *req, void *into, size_t n);
	/* Sends a piece of the body now, the head first; blocks, within a timeout. False when the peer is gone: stop.
	 * Slow threads only. */
	bool (*stream)(struct request *req, struct str piece);
	/* Sends the head and keeps the request open; what it held (arena, texts) is given back. The three are for the
	 * event thread; through app_park(). */
	void (*park)(struct request *req, struct parked *parked);
	/* A piece of the answer; it goes out at the end of this round. False: it is taken, but enough waits now; push
	 * no more until `drained` is called. Who takes nothing for half a minute is dropped. */
	bool (*push)(struct parked *parked, struct str piece);
	/* Ends the answer properly, after what was pushed; forgets `parked`. */
	void (*end)(struct parked *parked);
};

enum { REQUEST_PARAMS = 2 };

struct request {
	struct arena arena;
	struct app *app;
	const struct transport *transport;

	/* As received. */
	enum http_method method;
	struct str method_text;
	struct str path;  /* decoded and normalised by nginx */
	struct str query; /* as sent; or made by a handler of members of its body */
	bool query_is_of_body;
	struct str content_type;
	struct str content_length_text;
	struct str remote_addr; /* of the real client, as nginx says */
	struct str request_id;  /* for correlation: the client's own when valid, else nginx's */
	struct str edge_msec, edge_id;
	struct str api_key, authorization, cookie, idempotency_key, origin, traceparent;
	struct str content_encoding, tensors_offset_text; /* of the inference protocol: where binary tensors begin */
	struct str if_none_match, last_event_id, accept;
	struct str upload_offset;           /* of tus: where the piece begins */
	struct str acr_method, acr_headers; /* Access-Control-Request-* */
	struct str fetch_site;              /* Sec-Fetch-Site: what a browser says of the page that asks */
	struct request_sticky *sticky;      /* in the arena; the newest first */
	struct str body;
	uint64_t content_length;

	/* Found on the way. */
	const struct route *route;         /* NULL: none matches */
	int found;                         /* enum router_result: how well it matches */
	struct model_set *models;          /* held: those of the time the request began */
	struct str params[REQUEST_PARAMS]; /* what the pattern's variables stand for, in their order */
	struct edge_identity edge;
	struct caller caller;
	bool origin_allowed;           /* `origin` is there, and may call this */
	int checks_passed;             /* how far in the array of checks */
	struct request_limits *limits; /* asked of Redis; NULL: not asked */
	struct person *person;         /* asked of the store; NULL: not asked */
	uint64_t redis_ms;             /* waited for Redis so far */
	char trace_id[33];             /* W3C trace id, or empty */
	uint64_t start_ns;             /* monotonic */
	bool slow;                     /* runs on a slow thread now */
	bool streamed;                 /* the head is out */
	bool broken;                   /* the stream could not be completed: close instead of ending it */

	struct str error; /* why it failed, for the log alone */
	struct response response;
	struct mail mail;                                     /* brings the request back to the event thread */
	struct pool_job job;                                  /* takes it to a slow thread */
	void (*slow_run)(struct request *req, struct db *db); /* request_go_slow's */
	void (*back_run)(struct request *req);                /* request_go_back's */
	void *state;                                          /* the handler's own, in the arena */
};

/* An empty request for the next use; keeps arena and app. */
void request_reset(struct request *req) __attribute__((nonnull));

/* Gives everything back that a request holds, its arena's memory, too. Any number of times. */
void request_release(struct request *req) __attribute__((nonnull));

/* Takes over one CGI variable ("REQUEST_METHOD", "HTTP_X_API_KEY", …); unknown names are ignored. Borrows the value. */
void request_set_param(struct request *req, struct str name, struct str value) __attribute__((nonnull));

/* The value of a query parameter, decoded, into the arena. False when it is not there. A bad escape stays as it is, and
 * the bytes may be any: check what must be UTF-8. The last one wins. */
bool request_query(struct request *req, struct str name, struct str *value)
	__attribute__((nonnull, warn_unused_result));

/* A form's text (application/x-www-form-urlencoded) decoded, into the arena; p is NULL without memory. A bad escape
 * stays as it is, and the bytes may be any. */
struct str request_url_decode(struct request *req, struct str text) __attribute__((nonnull, warn_unused_result));

/* A cookie's value as it was sent; the first one wins. Empty: none. Borrows. */
struct str request_cookie(const struct request *req, struct str name) __attribute__((nonnull));

/* The media type is JSON (application/json, application/…+json), or there is none. */
bool request_is_json(const struct request *req) __attribute__((nonnull));

/* The media type is application/octet-stream. */
bool request_is_binary(const struct request *req) __attribute__((nonnull));

/* The response is complete; from any thread, once, last thing: the request may be gone afterwards. */
void request_finish(struct request *req) __attribute__((nonnull));

/* Takes the request to a thread of `pool` (app->slow, or app->lists whose threads have a read-only connection), where
 * run(req, db) is called; db is NULL when there is none to be had. Answers 503 itself when the queue is full. */
void request_go_slow(struct request *req, struct pool *pool, void (*run)(struct request *req, struct db *db))
	__attribute__((nonnull));

/* The same, but false when the queue is full, and nothing was answered. */
bool request_try_slow(struct request *req, struct pool *pool, void (*run)(struct request *req, struct db *db))
	__attribute__((nonnull, warn_unused_result));

/* Calls run(req) on the event thread: now when this is it, else through the mailbox, and this thread is done with the
 * request. */
void request_go_back(struct request *req, void (*run)(struct request *req)) __attribute__((nonnull));

/* The path is the Open Inference Protocol's: /v2 and below. Its errors have a form of their own. */
bool request_is_inference(const struct request *req) __attribute__((nonnull));

/* The caller's key: X-API-Key, or below /v2 also what stands behind "Authorization: Bearer". Empty: none. */
struct str request_key(const struct request *req) __attribute__((nonnull));

/* Replaces the response: {"detail":"…"}, and below /v2 {"error":"…"}. */
void request_answer_detail(struct request *req, int http_status, struct str detail) __attribute__((nonnull));

/* 503 with Retry-After: what is needed can't be had now. */
void request_refuse(struct request *req, struct str detail) __attribute__((nonnull));

/* The same, and counted: a queue of ours is full. */
void request_refuse_full(struct request *req, struct str detail) __attribute__((nonnull));

/* Submits a change with the request's identity (`run` and `done` are set). True: the request is the commit thread's
 * now, and `done` ends it. False: too many are waiting, which is answered; the caller ends the request. */
bool request_write(struct request *req, struct store_op *op) __attribute__((nonnull, warn_unused_result));

/* Replaces the response with what a failed call says. What is for operators is kept for the log line and not told. */
void request_answer_error(struct request *req, enum status status, const struct err *err) __attribute__((nonnull));

#endif
