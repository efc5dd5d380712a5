/* Forms: the input's first line is a Content-Type, the rest a body. And there and back: what a form is made of is what
 * is read of it. */
#include "fuzz.h"

#include "http/form.h"

static const char *const NAMES[] = {"username", "password", "grant_type", "scope", "a", ""};

static void read_all(const struct request *req, struct str value)
{
	demand(value.n <= req->body.n, "a value is no longer than the body");
	demand(value.n == 0 || memchr(value.p, value.p[value.n - 1], value.n), "it can be read");
}

static void init(struct request *req, struct str type, struct str body)
{
	*req = (struct request){.content_type = type, .body = body};
	arena_init(&req->arena, 1 << 20);
}

static void read_fields(struct str type, struct str body)
{
	struct request req;
	struct str value;

	init(&req, type, body);
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		if (form_field(&req, str_of(NAMES[i]), &value))
			read_all(&req, value);
	arena_release(&req.arena);
}

static void read_back(struct str type, struct str body, struct str wanted)
{
	struct request req;
	struct str value;

	init(&req, type, body);
	demand(form_field(&req, STR("password"), &value) && str_eq(value, wanted), "the value comes back");
	demand(form_field(&req, STR("username"), &value) && str_eq(value, STR("u")), "so does its neighbour");
	demand(!form_field(&req, STR("other"), &value), "there is no other");
	arena_release(&req.arena);
}

static void urlencoded_and_back(struct str text)
{
	struct buf body;

	buf_init_heap(&body);
	buf_str(&body, STR("username=u&password="));
	for (size_t i = 0; i < text.n; i++)
		buf_fmt(&body, i % 2 ? "%%%02X" : "%%%02x", (unsigned)(unsigned char)text.p[i]);
	demand(!body.failed, "memory");
	read_back(STR("application/x-www-form-urlencoded; charset=utf-8"), buf_view(&body), text);
	buf_release(&body);
}

static void multipart_and_back(struct str text)
{
	static const char boundary[] = "--the-boundary";
	struct buf body;

	/* Whoever makes a form chooses a boundary that is not in it. */
	if (text.n > 0 && memmem(text.p, text.n, boundary, sizeof(boundary) - 1))
		return;
	buf_init_heap(&body);
	buf_str(&body, STR("--the-boundary\r\ncontent-disposition: form-data; name=\"username\"\r\n\r\nu"));
	buf_str(&body, STR("\r\n--the-boundary\r\nX: y\r\nContent-Disposition: form-data; name=password\r\n\r\n"));
	buf_str(&body, text);
	buf_str(&body, STR("\r\n--the-boundary--\r\n"));
	demand(!body.failed, "memory");
	read_back(STR("multipart/form-data; boundary=\"the-boundary\""), buf_view(&body), text);
	buf_release(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = {(const char *)data, size};

	if (size > 10000)
		return 0;
	urlencoded_and_back(rest);
	multipart_and_back(rest);
	struct str type = str_cut(&rest, '\n');
	read_fields(type, rest);
	return 0;
}
