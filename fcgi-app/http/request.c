/* Requests: from CGI variables to fields, query parameters, and the ways an answer is given. */
#include "http/request.h"

#include "app.h"
#include "base/json.h"
#include "http/router.h"
#include "store/store.h"

/* CGI variables that anything here looks at. EDGE_* are nginx's own: a client's header would arrive as HTTP_EDGE_*. */
static const struct {
	struct str name;
	size_t at;
} PARAMS[] = {
	{STR_INIT("REQUEST_METHOD"), offsetof(struct request, method_text)},
	{STR_INIT("DOCUMENT_URI"), offsetof(struct request, path)},
	{STR_INIT("QUERY_STRING"), offsetof(struct request, query)},
	{STR_INIT("CONTENT_TYPE"), offsetof(struct request, content_type)},
	{STR_INIT("CONTENT_LENGTH"), offsetof(struct request, content_length_text)},
	{STR_INIT("REMOTE_ADDR"), offsetof(struct request, remote_addr)},
	{STR_INIT("REQUEST_ID"), offsetof(struct request, request_id)},
	{STR_INIT("EDGE_MSEC"), offsetof(struct request, edge_msec)},
	{STR_INIT("EDGE_ID"), offsetof(struct request, edge_id)},
	{STR_INIT("HTTP_X_API_KEY"), offsetof(struct request, api_key)},
	{STR_INIT("HTTP_IDEMPOTENCY_KEY"), offsetof(struct request, idempotency_key)},
	{STR_INIT("HTTP_AUTHORIZATION"), offsetof(struct request, authorization)},
	{STR_INIT("HTTP_COOKIE"), offsetof(struct request, cookie)},
	{STR_INIT("HTTP_CONTENT_ENCODING"), offsetof(struct request, content_encoding)},
	{STR_INIT("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"), offsetof(struct request, tensors_offset_text)},
	{STR_INIT("HTTP_IF_NONE_MATCH"), offsetof(struct request, if_none_match)},
	{STR_INIT("HTTP_LAST_EVENT_ID"), offsetof(struct request, last_event_id)},
	{STR_INIT("HTTP_ACCEPT"), offsetof(struct request, accept)},
	{STR_INIT("HTTP_UPLOAD_OFFSET"), offsetof(struct request, upload_offset)},
	{STR_INIT("HTTP_ORIGIN"), offsetof(struct request, origin)},
	{STR_INIT("HTTP_SEC_FETCH_SITE"), offsetof(struct request, fetch_site)},
	{STR_INIT("HTTP_TRACEPARENT"), offsetof(struct request, traceparent)},
	{STR_INIT("HTTP_ACCESS_CONTROL_REQUEST_METHOD"), offsetof(struct request, acr_method)},
	{STR_INIT("HTTP_ACCESS_CONTROL_REQUEST_HEADERS"), offsetof(struct request, acr_headers)},
};

void request_reset(struct request *req)
{
	struct arena arena;
	struct app *app = req->app;
	const struct transport *transport = req->transport;

	model_set_drop(req->models);
	arena_reset(&req->arena);
	arena = req->arena;
	memset(req, 0, sizeof(*req));
	req->arena = arena;
	req->app = app;
	req->transport = transport;
	if (app)
		req->arena.limit = app->arena_limit; /* a large body may have had more */
	response_init(&req->response, &req->arena);
}

void request_release(struct request *req)
{
	model_set_drop(req->models);
	req->models = NULL;
	arena_release(&req->arena);
}

/* Whoever needs the value looks for it by the name that its set of models has: it may be a newer one by then. */
static void keep_sticky(struct request *req, struct str name, struct str value)
{
	struct request_sticky *sticky = arena_alloc(&req->arena, sizeof(*sticky));

	if (!sticky)
		return;
	*sticky = (struct request_sticky){.next = req->sticky, .name = name, .value = value};
	req->sticky = sticky;
}

/* A request brings two dozen names, most of which nobody reads: the length tells nearly all of them apart. */
void request_set_param(struct request *req, struct str name, struct str value)
{
	static const uint64_t lengths = 1u << 7 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14 | 1u << 16 |
					1u << 18 | 1u << 19 | 1u << 20 | 1u << 21 | UINT64_C(1) << 34 |
					UINT64_C(1) << 35 | UINT64_C(1) << 36;

	if (req->app && req->app->models && model_set_wants_header(req->app->models, name))
		keep_sticky(req, name, value);
	if (name.n >= 64 || !(lengths >> name.n & 1))
		return;
	for (size_t i = 0; i < sizeof(PARAMS) / sizeof(PARAMS[0]); i++) {
		if (str_eq(PARAMS[i].name, name)) {
			*(struct str *)(void *)((char *)req + PARAMS[i].at) = value;
			return;
		}
	}
}

/* application/x-www-form-urlencoded: '+' is a blank, %XX a byte. */
static struct str url_decode(struct arena *arena, struct str s)
{
	char *out = arena_alloc(arena, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; out && i < s.n; i++) {
		uint8_t byte;
		if (s.p[i] == '%' && i + 2 < s.n && hex_parse((struct str){s.p + i + 1, 2}, &byte, 1)) {
			out[n++] = (char)byte;
			i += 2;
		} else {
			out[n++] = s.p[i] == '+' ? ' ' : s.p[i];
		}
	}
	return (struct str){out, out ? n : 0};
}

struct str request_url_decode(struct request *req, struct str text)
{
	return url_decode(&req->arena, text);
}

struct str request_cookie(const struct request *req, struct str name)
{
	struct str rest = req->cookie;

	while (rest.n > 0) {
		struct str value = str_trim(str_cut(&rest, ';'));
		struct str its_name = str_cut(&value, '=');
		if (str_eq(its_name, name))
			return value;
	}
	return (struct str){0};
}

bool request_query(struct request *req, struct str name, struct str *value)
{
	struct str rest = req->query;
	bool found = false;

	while (rest.n > 0) {
		struct str raw = str_cut(&rest, '&');
		struct str key = str_cut(&raw, '=');
		if (str_eq(url_decode(&req->arena, key), name)) {
			*value = url_decode(&req->arena, raw);
			found = true;
		}
	}
	return found;
}

bool request_is_json(const struct request *req)
{
	struct str rest = req->content_type;
	struct str type = str_trim(str_cut(&rest, ';'));

	if (type.n == 0 || str_eq_nocase(type, STR("application/json")))
		return true;
	return type.n > 17 && str_eq_nocase((struct str){type.p, 12}, STR("application/")) &&
	       str_eq_nocase((struct str){type.p + type.n - 5, 5}, STR("+json"));
}

bool request_is_binary(const struct request *req)
{
	struct str rest = req->content_type;

	return str_eq_nocase(str_trim(str_cut(&rest, ';')), STR("application/octet-stream"));
}

static void open_finished(struct mail *mail)
{
	struct request *req = (struct request *)(void *)((char *)mail - offsetof(struct request, mail));

	req->slow = false;
	app_complete(req);
}

void request_finish(struct request *req)
{
	if (!req->slow) {
		app_complete(req);
		return;
	}
	req->mail = (struct mail){.open = open_finished};
	mailbox_send(req->app->mailbox, &req->mail);
}

static void run_slow(struct pool_job *job, void *thread_state)
{
	struct request *req = (struct request *)(void *)((char *)job - offsetof(struct request, job));

	shm_working_on(req->edge.random);
	req->slow_run(req, thread_state);
	shm_working_on(NULL);
}

bool request_try_slow(struct request *req, struct pool *pool, void (*run)(struct request *req, struct db *db))
{
	req->slow_run = run;
	req->slow = true;
	req->job.run = run_slow;
	if (pool_queue_length(pool) < APP_SLOW_QUEUE && pool_submit(pool, &req->job))
		return true;
	req->slow = false;
	return false;
}

static void open_back(struct mail *mail)
{
	struct request *req = (struct request *)(void *)((char *)mail - offsetof(struct request, mail));

	req->slow = false;
	shm_working_on(req->edge.random);
	req->back_run(req);
	shm_working_on(NULL);
}

void request_go_back(struct request *req, void (*run)(struct request *req))
{
	if (!req->slow) {
		run(req);
		return;
	}
	req->back_run = run;
	req->mail = (struct mail){.open = open_back};
	mailbox_send(req->app->mailbox, &req->mail);
}

void request_go_slow(struct request *req, struct pool *pool, void (*run)(struct request *req, struct db *db))
{
	if (request_try_slow(req, pool, run))
		return;
	request_refuse_full(req, STR("Too many large requests at once. Try again later."));
	request_finish(req);
}

bool request_is_inference(const struct request *req)
{
	return str_eq(req->path, STR("/v2")) || str_starts(req->path, STR("/v2/"));
}

struct str request_key(const struct request *req)
{
	struct str rest = str_trim(req->authorization);

	if (req->api_key.n > 0 || !request_is_inference(req))
		return req->api_key;
	struct str scheme = str_cut(&rest, ' ');
	return str_eq_nocase(scheme, STR("Bearer")) ? str_trim(rest) : (struct str){0};
}

void request_answer_detail(struct request *req, int http_status, struct str detail)
{
	struct response *response = &req->response;

	response->status = http_status;
	response->content_type = "application/json";
	response->body.n = 0;
	response->body.failed = false;
	buf_str(&response->body, request_is_inference(req) ? STR("{\"error\":") : STR("{\"detail\":"));
	json_put_string(&response->body, detail);
	buf_char(&response->body, '}');
}

/* What a client is told when the text of the error is for the operator. NULL: the text is for both. */
static const char *told(enum status status)
{
	switch (status) {
	case STATUS_CANCELLED:
	case STATUS_INTERNAL:
		return "Internal Server Error";
	case STATUS_UNAVAILABLE:
		return "The store can't be used now and nothing was changed. Try again later.";
	case STATUS_BUSY:
		return "The service is too busy now and nothing was changed. Try again later.";
	case STATUS_CONFLICT:
		return "This is in conflict with what is stored.";
	case STATUS_TOO_LARGE:
		return "This is too large to be stored.";
	case STATUS_NO_MEMORY:
		return "This needs more memory than one request may use.";
	case STATUS_UNKNOWN_OUTCOME:
		return "It is not known whether this was stored. Try again with the same Idempotency-Key.";
	default:
		return NULL;
	}
}

void request_answer_error(struct request *req, enum status status, const struct err *err)
{
	int http_status = response_http_status(status);
	const char *text = told(status);

	if (http_status == 422 && request_is_inference(req))
		http_status = 400; /* as the protocol has it */
	if (text)
		req->error = arena_dup(&req->arena, str_of(err->text));
	if (http_status == 503)
		response_header(&req->response, "Retry-After", STR("1"));
	request_answer_detail(req, http_status, str_of(text ? text : err->text));
}

void request_refuse(struct request *req, struct str detail)
{
	response_header(&req->response, "Retry-After", STR("1"));
	request_answer_detail(req, 503, detail);
}

void request_refuse_full(struct request *req, struct str detail)
{
	app_count_rejected(req->app, APP_REJECTED_QUEUE_FULL);
	request_refuse(req, detail);
}

bool request_write(struct request *req, struct store_op *op)
{
	op->identity = req->edge.random;
	if (store_write(req->app->store, op) == STATUS_OK)
		return true;
	request_refuse_full(req, STR("Too many writes are waiting. Try again later."));
	return false;
}
