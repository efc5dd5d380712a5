/* Responses: the tables of statuses, and how the head is written. */
#include "http/response.h"

static const struct {
	int status;
	const char *reason;
} REASONS[] = {
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{409, "Conflict"},
	{413, "Content Too Large"},
	{415, "Unsupported Media Type"},
	{422, "Unprocessable Content"},
	{423, "Locked"},
	{429, "Too Many Requests"},
	{500, "Internal Server Error"},
	{503, "Service Unavailable"},
	{507, "Insufficient Storage"},
};

/* What a failed call means to a client. */
static const int HTTP_STATUS[STATUS__MAX] = {
	[STATUS_OK] = 200,        [STATUS_INVALID] = 422,     [STATUS_UNAUTHENTICATED] = 401, [STATUS_FORBIDDEN] = 403,
	[STATUS_NOT_FOUND] = 404, [STATUS_CONFLICT] = 409,    [STATUS_TOO_LARGE] = 413,       [STATUS_LIMITED] = 429,
	[STATUS_BUSY] = 503,      [STATUS_UNAVAILABLE] = 503, [STATUS_UNKNOWN_OUTCOME] = 503, [STATUS_NO_MEMORY] = 503,
	[STATUS_CANCELLED] = 503, [STATUS_INTERNAL] = 500,
};

const char *response_reason(int http_status)
{
	for (size_t i = 0; i < sizeof(REASONS) / sizeof(REASONS[0]); i++)
		if (REASONS[i].status == http_status)
			return REASONS[i].reason;
	return "Unknown";
}

int response_http_status(enum status status)
{
	return HTTP_STATUS[status];
}

void response_init(struct response *response, struct arena *arena)
{
	response->status = 0;
	response->content_type = NULL;
	response->headers_n = 0;
	buf_init(&response->body, arena);
}

static bool is_clean(struct str value)
{
	for (size_t i = 0; i < value.n; i++)
		if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
			return false;
	return true;
}

void response_header(struct response *response, const char *name, struct str value)
{
	if (response->headers_n == RESPONSE_HEADERS || !is_clean(value))
		return;
	response->headers[response->headers_n].name = name;
	response->headers[response->headers_n].value = value;
	response->headers_n++;
}

void response_header_u64(struct response *response, const char *name, uint64_t value)
{
	struct buf text;

	buf_init(&text, response->body.arena);
	buf_u64(&text, value);
	if (!text.failed)
		response_header(response, name, buf_view(&text));
}

void response_head(const struct response *response, bool known_length, struct buf *out)
{
	buf_str(out, STR("Status: "));
	buf_u64(out, (uint64_t)response->status);
	buf_char(out, ' ');
	buf_str(out, str_of(response_reason(response->status)));
	buf_str(out, STR("\r\n"));
	if (response->content_type) {
		buf_str(out, STR("Content-Type: "));
		buf_str(out, str_of(response->content_type));
		buf_str(out, STR("\r\n"));
	}
	if (known_length && response->status != 204 && response->status != 304) {
		buf_str(out, STR("Content-Length: "));
		buf_u64(out, response->body.n);
		buf_str(out, STR("\r\n"));
	}
	for (int i = 0; i < response->headers_n; i++) {
		buf_str(out, str_of(response->headers[i].name));
		buf_str(out, STR(": "));
		buf_str(out, response->headers[i].value);
		buf_str(out, STR("\r\n"));
	}
	buf_str(out, STR("\r\n"));
}
