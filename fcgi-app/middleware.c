/* The checks, in the order in which they stand in the array at the end. Each reads the route's row and the settings,
 * and either lets the request pass, or sets the response, or (the limits, with Redis) makes it wait and is called again
 * when the answer is there.
 *
 * Limits: what the address may is asked before anything is told, what the key may after the key is known to be good. A
 * refused request is counted nowhere by the limit that refused it, and a request that its key's limit refuses isn't
 * counted against its address either; one that is refused for other reasons (404, 401, 422) is. Redis is asked once,
 * for both: the key is looked at beforehand, without telling. What a user may on a route is asked when the user is
 * known, together with what a key of theirs may. */
#include "middleware.h"

#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "person.h"

#include <stdio.h>

typedef enum middleware_result middleware_fn(struct request *req);

enum { ROUTE_TEXT_BYTES = 128, LARGE_FACTOR = 4, LARGE_BYTES = 1 << 20 };

static enum middleware_result pass_if(bool good)
{
	return good ? MIDDLEWARE_PASSED : MIDDLEWARE_REFUSED;
}

static struct str printed(struct request *req, const struct buf *text)
{
	(void)req;
	return text->failed ? (struct str){0} : buf_view(text);
}

/* --- identity --- */

/* A well-formed traceparent (W3C Trace Context, level 1): version, 32 hex of trace id, 16 of parent id, flags. */
static void take_trace_id(struct request *req)
{
	struct str t = req->traceparent;
	uint8_t trace[16], parent[8];
	static const uint8_t zero[16];

	for (size_t i = 0; i < t.n && i < 55; i++)
		if (!strchr("0123456789abcdef-", t.p[i]) || t.p[i] == '\0')
			return;
	if (t.n < 55 || t.p[2] != '-' || t.p[35] != '-' || t.p[52] != '-' || (t.n > 55 && t.p[55] != '-') ||
	    str_eq((struct str){t.p, 2}, STR("ff")) || !hex_parse((struct str){t.p + 3, 32}, trace, 16) ||
	    !hex_parse((struct str){t.p + 36, 16}, parent, 8) || memcmp(trace, zero, 16) == 0 ||
	    memcmp(parent, zero, 8) == 0)
		return;
	hex_format(trace, sizeof(trace), req->trace_id);
}

/* nginx gives every request its identity (design: a write happens once). Without it the configuration is wrong. */
static enum middleware_result check_identity(struct request *req)
{
	take_trace_id(req);
	if (!edge_parse(req->edge_msec, req->edge_id, &req->edge)) {
		log_event(LOG_LEVEL_ERROR, "a request came without EDGE_MSEC and EDGE_ID: nginx must include "
					   "fastcgi_params.conf of appcore");
		app_count_rejected(req->app, APP_REJECTED_NO_IDENTITY);
		request_answer_detail(req, 500, STR("Internal Server Error"));
		return MIDDLEWARE_REFUSED;
	}
	return MIDDLEWARE_PASSED;
}

/* nginx tries a request again when its worker died. One that killed its worker must not kill the next. */
static enum middleware_result check_crash_mark(struct request *req)
{
	if (!shm_is_crash_marked(req->app->shm, req->edge.random))
		return MIDDLEWARE_PASSED;
	struct buf *line = log_begin(LOG_LEVEL_ERROR, STR("the request crashed a worker and is not tried again"));
	log_str(line, "request_id", req->request_id);
	log_str(line, "path", req->path);
	log_end(line);
	metrics_add(req->app->shm, req->app->series.crashes, 1);
	app_count_rejected(req->app, APP_REJECTED_CRASHED_WORKER);
	request_answer_detail(req, 500, STR("Internal Server Error"));
	return MIDDLEWARE_REFUSED;
}

/* --- CORS --- */

static bool origin_is_listed(const char *list, struct str origin)
{
	struct str rest = str_of(list);

	while (rest.n > 0) {
		struct str item = str_trim(str_cut(&rest, ','));
		if (str_eq(item, origin) || str_eq(item, STR("*")))
			return true;
	}
	return false;
}

static enum route_cors cors_of(const struct request *req)
{
	if (req->route)
		return req->route->cors;
	return str_starts(req->path, STR("/api/")) || request_is_inference(req) ? ROUTE_LISTED_ORIGINS
										: ROUTE_ANY_ORIGIN;
}

static void answer_preflight(struct request *req, bool allowed)
{
	struct response *response = &req->response;

	response_header(response, "Access-Control-Allow-Methods", STR("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"));
	response_header(response, "Access-Control-Max-Age", STR("600"));
	if (req->acr_headers.n > 0)
		response_header(response, "Access-Control-Allow-Headers", req->acr_headers);
	response->status = allowed ? 200 : 400;
	response->content_type = "text/plain; charset=utf-8";
	buf_str(&response->body, allowed ? STR("OK") : STR("Disallowed CORS origin"));
}

/* What a browser does not show to a script by itself, and a client may need. nginx.conf.in has those of nginx's own
 * answers. */
#define EXPOSED                                                                                                        \
	"X-Request-ID, Retry-After, X-RateLimit-Remaining, RateLimit, RateLimit-Policy, Location, Link, "              \
	"X-Next-Cursor, Idempotency-Replayed, Inference-Header-Content-Length, Upload-Offset, Upload-Length, "         \
	"Tus-Resumable, Content-Disposition"

static enum middleware_result check_cors(struct request *req)
{
	struct response *response = &req->response;
	bool any = cors_of(req) == ROUTE_ANY_ORIGIN;
	bool allowed = any || origin_is_listed(req->app->config->cors_origins, req->origin);

	if (!any)
		response_header(response, "Vary", STR("Origin"));
	if (req->origin.n == 0)
		return MIDDLEWARE_PASSED;
	req->origin_allowed = allowed;
	if (allowed) {
		response_header(response, "Access-Control-Allow-Origin", any ? STR("*") : req->origin);
		response_header(response, "Access-Control-Expose-Headers", STR(EXPOSED));
	}
	if (req->method == HTTP_OPTIONS && req->acr_method.n > 0) {
		answer_preflight(req, allowed);
		return MIDDLEWARE_REFUSED;
	}
	return MIDDLEWARE_PASSED;
}

/* --- limits --- */

/* One number where two limits apply: the smaller, which is the one that will bite. */
static void put_remaining(struct response *response, uint32_t remaining)
{
	static const char name[] = "X-RateLimit-Remaining";

	for (int i = 0; i < response->headers_n; i++) {
		uint64_t other;
		if (response->headers[i].name != name || !str_to_u64(response->headers[i].value, UINT32_MAX, &other))
			continue;
		if (remaining < other)
			response->headers[i] = response->headers[--response->headers_n];
		else
			return;
	}
	response_header_u64(response, name, remaining);
}

static void put_limit_headers(struct request *req, const char *policy, const struct limit_result *result)
{
	const char *form = req->app->config->rate_limit_headers;
	struct response *response = &req->response;

	if (strcmp(form, "ietf") != 0)
		put_remaining(response, result->remaining);
	if (strcmp(form, "legacy") == 0)
		return;
	/* draft-ietf-httpapi-ratelimit-headers: q quota, w window, r remaining, t seconds to the reset. */
	struct buf text;
	buf_init(&text, &req->arena);
	buf_fmt(&text, "\"%s\";q=%u;w=%d", policy, result->limit, CONFIG_SECONDS_PER_WINDOW);
	response_header(response, "RateLimit-Policy", printed(req, &text));
	buf_init(&text, &req->arena);
	buf_fmt(&text, "\"%s\";r=%u;t=%llu", policy, result->remaining,
		(unsigned long long)((result->retry_ms + 999) / 1000));
	response_header(response, "RateLimit", printed(req, &text));
}

/* What a request may, by its address and by its key, or by its user and their key, asked of Redis together. Lives in
 * the request's arena. */
enum limit_kind { LIMIT_ADDRESS, LIMIT_KEY, LIMIT_USER, LIMIT_KIND__MAX };

static const char *const LIMIT_POLICIES[LIMIT_KIND__MAX] = {
	[LIMIT_ADDRESS] = "address", [LIMIT_KEY] = "key", [LIMIT_USER] = "user"};
static const enum app_rejected LIMIT_REASONS[LIMIT_KIND__MAX] = {[LIMIT_ADDRESS] = APP_REJECTED_RATE_LIMIT,
								 [LIMIT_KEY] = APP_REJECTED_KEY_RATE_LIMIT,
								 [LIMIT_USER] = APP_REJECTED_USER_RATE_LIMIT};

struct request_limits {
	struct limit_redis_take take; /* first */
	struct request *req;
	int at[LIMIT_KIND__MAX]; /* where in `take`; -1: not asked */
	bool of_person;          /* the second time, when the user is known */
	bool looked;             /* at the key, with the result: */
	enum status key_status;
};

static uint32_t address_limit(const struct request *req)
{
	return req->route && req->route->rate != ROUTE_LIMITED ? 0 : (uint32_t)req->app->config->rate_limit_per_minute;
}

/* Of a request whose user is known. */
static uint32_t user_limit(const struct request *req)
{
	return req->route->rate == ROUTE_PER_USER ? (uint32_t)req->app->config->user_rate_limit_per_minute : 0;
}

/* Of a request whose caller is known. */
static uint32_t key_limit(const struct request *req)
{
	int64_t limit = req->caller.rate_per_minute;

	if (limit < 0)
		limit = req->app->config->key_rate_limit_per_minute;
	return req->caller.key_id[0] == '\0' || req->route->rate == ROUTE_UNLIMITED ? 0 : (uint32_t)limit;
}

/* Of who is nobody yet (to register, say), the address counts. */
static struct limit_id id_of_user(const struct request *req)
{
	const struct limit_id address = limit_id_of_address(req->remote_addr);
	char text[ROUTE_TEXT_BYTES + sizeof(address.b)];

	snprintf(text, ROUTE_TEXT_BYTES, "%s %s", http_method_name(req->route->method), req->route->pattern);
	size_t n = strlen(text);
	if (req->caller.user_id == 0) {
		memcpy(text + n, address.b, sizeof(address.b));
		n += sizeof(address.b);
	}
	return limit_id_of_user(req->caller.user_id, (struct str){text, n});
}

static struct limit_id id_of(const struct request *req, enum limit_kind kind)
{
	switch (kind) {
	case LIMIT_USER:
		return id_of_user(req);
	case LIMIT_KEY:
		return limit_id_of_key(str_of(req->caller.key_id));
	case LIMIT_ADDRESS:
	case LIMIT_KIND__MAX:
		break;
	}
	return limit_id_of_address(req->remote_addr);
}

static void limits_known(struct limit_redis_take *take)
{
	struct request_limits *limits = (struct request_limits *)(void *)take;

	limits->req->redis_ms = take->waited_ms;
	app_go_on(limits->req);
}

static bool wants_key(const struct request *req)
{
	enum route_auth auth = req->route->auth;

	return auth == ROUTE_KEY || (auth == ROUTE_READ && req->app->read_needs_key);
}

static void add_wanted(struct request_limits *limits, enum limit_kind kind, uint32_t limit)
{
	struct limit_redis_take *take = &limits->take;

	limits->at[kind] = limit > 0 ? take->n : -1;
	if (limit > 0)
		take->wanted[take->n++] = (struct limit_wanted){id_of(limits->req, kind), limit};
}

static struct request_limits *new_limits(struct request *req)
{
	struct app *app = req->app;

	if (!app->redis || redis_state(app->redis) != REDIS_CLOSED)
		return NULL;
	struct request_limits *limits = arena_zalloc(&req->arena, sizeof(*limits));
	if (!limits)
		return NULL;
	req->limits = limits;
	limits->req = req;
	limits->take.done = limits_known;
	for (int i = 0; i < LIMIT_KIND__MAX; i++)
		limits->at[i] = -1;
	return limits;
}

/* Asks Redis for all limits of the request that can be known by now. False: it need not or can't be asked. */
static bool ask_redis(struct request *req)
{
	struct app *app = req->app;
	struct request_limits *limits = new_limits(req);

	if (!limits)
		return false;
	add_wanted(limits, LIMIT_ADDRESS, address_limit(req));
	if (req->found == ROUTER_FOUND && wants_key(req)) {
		limits->looked = true;
		limits->key_status = keyring_check(&app->keyring, request_key(req), clock_wall_us(), &req->caller);
		if (limits->key_status == STATUS_OK)
			add_wanted(limits, LIMIT_KEY, key_limit(req));
	}
	return limits->take.n > 0 && limit_redis_ask(app->limits, &limits->take);
}

/* And when the user is known. */
static bool ask_redis_of_person(struct request *req)
{
	struct request_limits *limits = new_limits(req);

	if (!limits)
		return false;
	limits->of_person = true;
	add_wanted(limits, LIMIT_USER, user_limit(req));
	add_wanted(limits, LIMIT_KEY, key_limit(req));
	return limits->take.n > 0 && limit_redis_ask(req->app->limits, &limits->take);
}

/* Redis's answer, or this machine's own when there is none. */
static struct limit_result take_one(struct request *req, enum limit_kind kind, uint32_t limit)
{
	struct request_limits *limits = req->limits;

	if (limits && limits->take.known && limits->at[kind] >= 0)
		return limits->take.results[limits->at[kind]];
	return limit_take(req->app->shm, id_of(req, kind), limit, CONFIG_SECONDS_PER_WINDOW * 1000, clock_mono_ms());
}

static bool take(struct request *req, enum limit_kind kind, uint32_t limit)
{
	struct limit_result result = take_one(req, kind, limit);

	put_limit_headers(req, LIMIT_POLICIES[kind], &result);
	if (result.allowed)
		return true;
	uint64_t seconds = (result.retry_ms + 999) / 1000;
	response_header_u64(&req->response, "Retry-After", seconds > 0 ? seconds : 1);
	app_count_rejected(req->app, LIMIT_REASONS[kind]);
	request_answer_detail(req, 429, STR("Rate limit exceeded. Try again later."));
	return false;
}

static enum middleware_result check_address_rate(struct request *req)
{
	uint32_t limit = address_limit(req);

	if (!req->limits && ask_redis(req))
		return MIDDLEWARE_WAITS;
	return pass_if(limit == 0 || take(req, LIMIT_ADDRESS, limit));
}

static enum middleware_result check_key_rate(struct request *req)
{
	uint32_t limit = key_limit(req);

	if (limit == 0 || take(req, LIMIT_KEY, limit))
		return MIDDLEWARE_PASSED;
	/* Redis has counted it in neither. */
	if (req->limits && req->limits->take.known)
		return MIDDLEWARE_REFUSED;
	if (address_limit(req) > 0)
		limit_give_back(req->app->shm, id_of(req, LIMIT_ADDRESS));
	if (user_limit(req) > 0)
		limit_give_back(req->app->shm, id_of(req, LIMIT_USER));
	return MIDDLEWARE_REFUSED;
}

static enum middleware_result check_user_rate(struct request *req)
{
	if (req->route->auth != ROUTE_USER && req->route->rate != ROUTE_PER_USER)
		return MIDDLEWARE_PASSED;
	if (!(req->limits && req->limits->of_person) && ask_redis_of_person(req))
		return MIDDLEWARE_WAITS;
	uint32_t limit = user_limit(req);
	return pass_if(limit == 0 || take(req, LIMIT_USER, limit));
}

/* --- route and caller --- */

static enum middleware_result check_route(struct request *req)
{
	struct buf text;

	switch ((enum router_result)req->found) {
	case ROUTER_FOUND:
		return MIDDLEWARE_PASSED;
	case ROUTER_NO_PATH:
		request_answer_detail(req, 404, STR("Not Found"));
		return MIDDLEWARE_REFUSED;
	case ROUTER_NO_METHOD:
		buf_init(&text, &req->arena);
		router_allow(req->route, &text);
		response_header(&req->response, "Allow", printed(req, &text));
		if (req->method == HTTP_OPTIONS)
			req->response.status = 204;
		else
			request_answer_detail(req, 405, STR("Method Not Allowed"));
		return MIDDLEWARE_REFUSED;
	case ROUTER_SLASH:
		buf_init(&text, &req->arena);
		buf_put(&text, req->path.p, req->path.n - 1);
		if (req->query.n > 0) {
			buf_char(&text, '?');
			buf_str(&text, req->query);
		}
		response_header(&req->response, "Location", printed(req, &text));
		req->response.status = 307;
		return MIDDLEWARE_REFUSED;
	}
	return MIDDLEWARE_REFUSED;
}

static enum middleware_result check_scope(struct request *req)
{
	const char *scope = req->route->scope;
	struct buf text;

	if (!scope || caller_has_scope(&req->caller, scope))
		return MIDDLEWARE_PASSED;
	app_count_rejected(req->app, APP_REJECTED_FORBIDDEN);
	buf_init(&text, &req->arena);
	buf_fmt(&text, "This API key lacks the scope \"%s\".", scope);
	request_answer_detail(req, 403, printed(req, &text));
	return MIDDLEWARE_REFUSED;
}

/* Keys of users are none here, for they are not in the keyring: anybody may register and make keys, and what takes an
 * operator's key must not take these. */
static enum middleware_result check_key(struct request *req)
{
	struct err err;

	if (!wants_key(req))
		return MIDDLEWARE_PASSED;
	enum status status = req->limits && req->limits->looked ? req->limits->key_status
								: keyring_check(&req->app->keyring, request_key(req),
										clock_wall_us(), &req->caller);
	switch (status) {
	case STATUS_OK:
		return check_scope(req);
	case STATUS_UNAVAILABLE:
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, err_set(&err, STATUS_UNAVAILABLE, "the API keys could not be read yet"),
				     &err);
		return MIDDLEWARE_REFUSED;
	case STATUS_UNAUTHENTICATED:
		app_count_rejected(req->app, APP_REJECTED_UNAUTHENTICATED);
		request_answer_detail(req, 401, STR("Missing API key. Include X-API-Key header."));
		return MIDDLEWARE_REFUSED;
	default:
		app_count_rejected(req->app, APP_REJECTED_FORBIDDEN);
		request_answer_detail(req, 403, STR("Invalid API key."));
		return MIDDLEWARE_REFUSED;
	}
}

static enum middleware_result check_media_type(struct request *req)
{
	enum route_body body = req->route->body;
	bool tensors = body == ROUTE_TENSORS;
	struct str encoding = str_trim(req->content_encoding);

	if (!tensors && body != ROUTE_JSON_BODY && body != ROUTE_LARGE)
		return MIDDLEWARE_PASSED;
	if (encoding.n > 0 && !str_eq_nocase(encoding, STR("identity")))
		request_answer_detail(req, 415, STR("Bodies must be sent without Content-Encoding."));
	else if (!request_is_json(req) && !(tensors && request_is_binary(req)))
		request_answer_detail(req, 415,
				      tensors ? STR("Content-Type must be application/json or "
						    "application/octet-stream.")
					      : STR("Content-Type must be application/json."));
	else
		return MIDDLEWARE_PASSED;
	app_count_rejected(req->app, APP_REJECTED_MEDIA_TYPE);
	return MIDDLEWARE_REFUSED;
}

static void leave_large_place(void *arg)
{
	struct app *app = arg;

	app->large_bodies--;
}

/* A large body is kept while all of it is worked on, so there are few at a time. */
static enum middleware_result take_large_place(struct request *req)
{
	struct app *app = req->app;

	/* The text, and what is made of it. */
	req->arena.limit += LARGE_FACTOR * (size_t)req->content_length;
	if (req->content_length <= LARGE_BYTES)
		return MIDDLEWARE_PASSED;
	if (app->large_bodies < APP_LARGE_BODIES && arena_on_reset(&req->arena, leave_large_place, app)) {
		app->large_bodies++;
		return MIDDLEWARE_PASSED;
	}
	request_refuse_full(req, STR("Too many large requests at once. Try again later."));
	return MIDDLEWARE_REFUSED;
}

static enum middleware_result check_body(struct request *req)
{
	bool large = req->route->body == ROUTE_LARGE;
	const struct config *config = req->app->config;
	bool streamed = req->route->body == ROUTE_STREAMED;
	int64_t max = large ? config->batch_body_bytes : streamed ? config->upload_bytes : config->max_body_bytes;

	if (req->route->body == ROUTE_NO_BODY)
		return MIDDLEWARE_PASSED;
	if (req->content_length_text.n > 0 && !str_to_u64(req->content_length_text, UINT64_MAX, &req->content_length)) {
		request_answer_detail(req, 400, STR("Content-Length is not a number."));
		return MIDDLEWARE_REFUSED;
	}
	if (max == 0)
		max = APP_BODY_MAX; /* "no limit" still ends where a request's memory does */
	if (req->content_length > (uint64_t)max) {
		app_count_rejected(req->app, APP_REJECTED_TOO_LARGE);
		request_answer_detail(req, 413, STR("Request body is too large."));
		return MIDDLEWARE_REFUSED;
	}
	if (check_media_type(req) != MIDDLEWARE_PASSED)
		return MIDDLEWARE_REFUSED;
	return large ? take_large_place(req) : MIDDLEWARE_PASSED;
}

/* Finds the row without judging, for the checks that come before check_route and want to know it. */
static enum middleware_result find_route(struct request *req)
{
	req->method = http_method_of(req->method_text);
	req->found = (int)router_find(req->method, req->path, &req->route, req->params);
	return MIDDLEWARE_PASSED;
}

static middleware_fn *const MIDDLEWARE[] = {
	find_route,         /* which row, for what follows */
	check_identity,     /* nginx's identity, W3C trace id */
	check_crash_mark,   /* a request that killed a worker ends here */
	check_cors,         /* headers; a preflight ends here */
	check_address_rate, /* RATE_LIMIT_PER_MINUTE */
	check_route,        /* 404, 405, 307 */
	check_key,          /* 401, 403 */
	person_check,       /* 401, 400, 403 of routes for people */
	check_user_rate,    /* USER_RATE_LIMIT_PER_MINUTE */
	check_key_rate,     /* the key's own limit */
	check_body,         /* 413, 415 */
};

enum middleware_result middleware_run(struct request *req)
{
	enum { N = sizeof(MIDDLEWARE) / sizeof(MIDDLEWARE[0]) };
	enum middleware_result result = MIDDLEWARE_PASSED;

	while (req->checks_passed < N && (result = MIDDLEWARE[req->checks_passed](req)) == MIDDLEWARE_PASSED)
		req->checks_passed++;
	return result;
}
