/* Reading "http" of a definition, and what it names. */
#include "pipeline/http_source.h"

#include "base/cron.h"
#include "pipeline/definition_impl.h"
#include "pipeline/http_url.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	NAME_BYTES = 128,
	VALUE_BYTES = 2048,
	PATH_BYTES = 1024,
	TIMEOUT_S = 30,
	TIMEOUT_S_MAX = 3600,
	RETRIES = 3,
	RETRIES_MAX = 20,
	PAGE_BYTES = 16 << 20,
	PAGE_BYTES_MAX = 256 << 20,
	PAGES = 10000,
	PAGES_MOST = 1000000,
	SIZE_MAX_OF_PAGE = 100000,
};

/* Other people's servers are not asked each minute unless somebody says so. */
#define EVERY "0 * * * *"

enum { H_URL, H_HEADERS, H_TOKEN, H_PAGING, H_SINCE, H_EVERY, H_TIMEOUT, H_RETRIES, H_PAGE_BYTES, H_PAGES_MAX, H__MAX };

static const struct loader_member MEMBERS[H__MAX] = {
	[H_URL] = {"url", STRICT_STRING, "a string"},
	[H_HEADERS] = {"headers", STRICT_OBJECT, "an object"},
	[H_TOKEN] = {"token", STRICT_OBJECT, "{\"env\": \"NAME\"} or {\"file\": \"/path\"}"},
	[H_PAGING] = {"paging", STRICT_OBJECT, "an object like {\"by\": \"link\"}"},
	[H_SINCE] = {"since", STRICT_OBJECT, "an object"},
	[H_EVERY] = {"every", STRICT_STRING, "a string"},
	[H_TIMEOUT] = {"timeout_s", STRICT_NUMBER, "a number"},
	[H_RETRIES] = {"retries", STRICT_NUMBER, "a number"},
	[H_PAGE_BYTES] = {"page_bytes", STRICT_NUMBER, "a number"},
	[H_PAGES_MAX] = {"pages_max", STRICT_NUMBER, "a number"},
};

/* --- the definition --- */

static bool is_header_name(struct str name)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	if (!name.p)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      memchr(others, c, sizeof(others) - 1)))
			return false;
	}
	return name.n > 0 && name.n <= NAME_BYTES;
}

static bool is_one_of(struct str name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq_nocase(name, str_of(names[i])))
			return true;
	return false;
}

static bool is_environment_name(struct str name)
{
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (i > 0 && c >= '0' && c <= '9')))
			return false;
	}
	return name.n > 0;
}

/* {"env": "NAME"} or {"file": "/path"}. */
static void read_secret(struct loader *l, const struct place *at, struct json_value value, struct http_header *out)
{
	static const struct loader_member members[] = {{"env", STRICT_STRING, "a string"},
						       {"file", STRICT_STRING, "a string"}};
	struct json_value got[2];

	if (!loader_members(l, at, value, members, 2, got))
		return;
	if (!got[0].text.p == !got[1].text.p) {
		loader_problem(l, at, "should be {\"env\": \"NAME\"} or {\"file\": \"/path\"}");
		return;
	}
	if (got[0].text.p && loader_text(l, PLACE_MEMBER(at, "env"), got[0], NAME_BYTES, &out->env) &&
	    !is_environment_name(out->env))
		loader_problem(l, PLACE_MEMBER(at, "env"), "should be the name of an environment variable");
	if (got[1].text.p && loader_text(l, PLACE_MEMBER(at, "file"), got[1], PATH_BYTES, &out->file) &&
	    out->file.p[0] != '/')
		loader_problem(l, PLACE_MEMBER(at, "file"), "should be an absolute path");
}

static void read_header(struct loader *l, const struct place *at, struct json_value value, struct http_header *out)
{
	static const char *const ours[] = {"Host",
					   "Connection",
					   "Content-Length",
					   "Transfer-Encoding",
					   "Accept-Encoding",
					   "If-None-Match",
					   "If-Modified-Since",
					   "Range",
					   "TE",
					   "Upgrade",
					   "Expect",
					   "Trailer"};
	static const char *const secret[] = {"Authorization", "Proxy-Authorization", "Cookie", "X-API-Key"};

	if (!is_header_name(out->name))
		loader_problem(l, at, "is no name of a header");
	else if (is_one_of(out->name, ours, sizeof(ours) / sizeof(ours[0])))
		loader_problem(l, at, "is set by the service itself: leave it out");
	else if (value.type == JSON_STRING && is_one_of(out->name, secret, sizeof(secret) / sizeof(secret[0])))
		loader_problem(l, at,
			       "is a secret, and runs keep a copy of this: say {\"env\": \"NAME\"} or "
			       "{\"file\": \"/path\"}");
	else if (value.type == JSON_STRING)
		loader_text(l, at, value, VALUE_BYTES, &out->value);
	else if (value.type == JSON_OBJECT)
		read_secret(l, at, value, out);
	else
		loader_problem(l, at, "should be a string, {\"env\": \"NAME\"} or {\"file\": \"/path\"}");
}

static void read_headers(struct loader *l, const struct place *at, struct json_value headers, struct json_value token,
			 struct http_source *out)
{
	struct http_header *list = loader_alloc(l, HTTP_HEADERS_MAX + 1, sizeof(*list));
	struct json_value key, value;
	struct json_iter iter;

	out->headers = list;
	if (!list)
		return;
	if (headers.text.p) {
		const struct place *there = PLACE_MEMBER(at, "headers");
		json_iter_init(&iter, headers);
		while (json_next(&iter, &key, &value)) {
			if (out->headers_n == HTTP_HEADERS_MAX) {
				loader_problem(l, there, "should have at most %d members", HTTP_HEADERS_MAX);
				return;
			}
			struct http_header *header = &list[out->headers_n++];
			header->name = json_string(key, l->arena);
			struct str shown = arena_dup(l->arena, strict_cut(header->name, NAME_BYTES));
			l->no_memory |= !header->name.p || !shown.p;
			if (shown.p)
				read_header(l, PLACE_MEMBER(there, shown.p), value, header);
			if (token.text.p && str_eq_nocase(header->name, STR("Authorization")))
				loader_problem(l, there,
					       "has Authorization, and there is a token: one of them will do");
		}
	}
	if (token.text.p) {
		struct http_header *header = &list[out->headers_n++];
		*header = (struct http_header){.name = STR("Authorization"), .prefix = STR("Bearer ")};
		read_secret(l, PLACE_MEMBER(at, "token"), token, header);
	}
}

static bool wanted(struct loader *l, const struct place *at, const char *name, struct json_value value, struct str *out)
{
	if (value.text.p)
		return loader_text(l, PLACE_MEMBER(at, name), value, NAME_BYTES, out);
	loader_problem(l, PLACE_MEMBER(at, name), "is missing");
	return false;
}

static void read_paging(struct loader *l, const struct place *at, struct json_value value, struct http_source *out)
{
	enum { BY, PARAM, MEMBER, FIRST, SIZE_PARAM, SIZE, N };
	static const char *const ways[] = {"link", "cursor", "page"};
	static const struct loader_member members[N] = {
		[BY] = {"by", STRICT_STRING, "link, cursor or page"},
		[PARAM] = {"param", STRICT_STRING, "a string"},
		[MEMBER] = {"member", STRICT_STRING, "a string"},
		[FIRST] = {"first", STRICT_NUMBER, "a number"},
		[SIZE_PARAM] = {"size_param", STRICT_STRING, "a string"},
		[SIZE] = {"size", STRICT_NUMBER, "a number"},
	};
	static const unsigned char may[] = {1 << BY, 1 << BY | 1 << PARAM | 1 << MEMBER,
					    1 << BY | 1 << PARAM | 1 << FIRST | 1 << SIZE_PARAM | 1 << SIZE};
	struct json_value got[N];
	int way;

	if (!loader_members(l, at, value, members, N, got))
		return;
	if (!got[BY].text.p) {
		loader_problem(l, PLACE_MEMBER(at, "by"), "is missing: link, cursor or page");
		return;
	}
	if (!loader_choice(l, PLACE_MEMBER(at, "by"), got[BY], ways, 3, &way))
		return;
	out->paging = (enum http_paging)(HTTP_BY_LINK + way);
	for (int i = 0; i < N; i++)
		if (got[i].text.p && !(may[way] & 1 << i))
			loader_problem(l, PLACE_MEMBER(at, members[i].name), "means nothing where paging is by %s",
				       ways[way]);
	if (out->paging != HTTP_BY_LINK)
		wanted(l, at, "param", got[PARAM], &out->page_param);
	if (out->paging == HTTP_BY_CURSOR)
		wanted(l, at, "member", got[MEMBER], &out->page_member);
	if (got[FIRST].text.p)
		loader_integer(l, PLACE_MEMBER(at, "first"), got[FIRST], 0, PAGES_MOST, &out->page_first);
	if (got[SIZE].text.p)
		loader_integer(l, PLACE_MEMBER(at, "size"), got[SIZE], 1, SIZE_MAX_OF_PAGE, &out->page_size);
	if (got[SIZE_PARAM].text.p &&
	    loader_text(l, PLACE_MEMBER(at, "size_param"), got[SIZE_PARAM], NAME_BYTES, &out->size_param) &&
	    !got[SIZE].text.p)
		loader_problem(l, PLACE_MEMBER(at, "size"), "is missing: how many items a page has");
}

static void read_since(struct loader *l, const struct place *at, struct json_value value, struct http_source *out)
{
	static const struct loader_member members[] = {{"param", STRICT_STRING, "a string"},
						       {"member", STRICT_STRING, "a string"}};
	struct json_value got[2];

	if (!loader_members(l, at, value, members, 2, got))
		return;
	wanted(l, at, "param", got[0], &out->since_param);
	wanted(l, at, "member", got[1], &out->since_member);
}

static void read_url(struct loader *l, const struct place *at, struct json_value value, struct http_source *out)
{
	if (!value.text.p) {
		loader_problem(l, at, "is missing");
		return;
	}
	if (!loader_text(l, at, value, HTTP_URL_BYTES / 2, &out->url))
		return;
	const char *why = http_url_check(out->url);
	if (why)
		loader_problem(l, at, "%s", why);
}

static void read_every(struct loader *l, const struct place *at, struct json_value value, struct http_source *out)
{
	struct cron cron;
	const char *why;

	if (!loader_text(l, at, value, NAME_BYTES, &out->every))
		return;
	if (str_eq(out->every, STR("off")))
		out->every = STR("");
	else if ((why = cron_parse(out->every, &cron)))
		loader_problem(l, at, "is neither \"off\" nor a time as crontab has it: it %s", why);
}

const struct http_source *loader_http(struct loader *l, const struct place *at, struct json_value value)
{
	struct http_source *out = loader_alloc(l, 1, sizeof(*out));
	struct json_value got[H__MAX];
	static const struct {
		int member;
		int64_t least, most, fallback;
		size_t at;
	} numbers[] = {
		{H_TIMEOUT, 1, TIMEOUT_S_MAX, TIMEOUT_S, offsetof(struct http_source, timeout_s)},
		{H_RETRIES, 0, RETRIES_MAX, RETRIES, offsetof(struct http_source, retries)},
		{H_PAGE_BYTES, 1024, PAGE_BYTES_MAX, PAGE_BYTES, offsetof(struct http_source, page_bytes)},
		{H_PAGES_MAX, 1, PAGES_MOST, PAGES, offsetof(struct http_source, pages_max)},
	};

	if (!out || !loader_members(l, at, value, MEMBERS, H__MAX, got))
		return out;
	out->page_first = 1;
	read_url(l, PLACE_MEMBER(at, "url"), got[H_URL], out);
	read_headers(l, at, got[H_HEADERS], got[H_TOKEN], out);
	if (got[H_PAGING].text.p)
		read_paging(l, PLACE_MEMBER(at, "paging"), got[H_PAGING], out);
	if (got[H_SINCE].text.p)
		read_since(l, PLACE_MEMBER(at, "since"), got[H_SINCE], out);
	out->every = STR(EVERY);
	if (got[H_EVERY].text.p)
		read_every(l, PLACE_MEMBER(at, "every"), got[H_EVERY], out);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		int64_t *number = (int64_t *)(void *)((char *)out + numbers[i].at);
		const char *name = MEMBERS[numbers[i].member].name;
		*number = numbers[i].fallback;
		if (got[numbers[i].member].text.p)
			loader_integer(l, PLACE_MEMBER(at, name), got[numbers[i].member], numbers[i].least,
				       numbers[i].most, number);
	}
	return out;
}

/* --- what it names --- */

static enum status read_secret_file(const struct http_header *header, struct arena *arena, struct str *out,
				    struct err *err)
{
	char path[PATH_BYTES + 1];
	struct stat st;
	size_t n = 0;

	snprintf(path, sizeof(path), "%.*s", STR_ARG(header->file));
	char *text = arena_alloc(arena, HTTP_SECRET_BYTES + 1);
	if (!text)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a header");
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, STATUS_INVALID, "The file %.100s with the header %.60s can't be read: %s.", path,
			       header->name.p, strerror(errno));
	bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	for (ssize_t got = 1; good && got > 0 && n <= HTTP_SECRET_BYTES; n += got > 0 ? (size_t)got : 0) {
		got = read(fd, text + n, HTTP_SECRET_BYTES + 1 - n);
		good = got >= 0;
	}
	close(fd);
	*out = str_trim((struct str){text, n});
	if (!good || n > HTTP_SECRET_BYTES)
		return err_set(err, STATUS_INVALID,
			       "The file %.100s with a header should be a regular file of at most %d bytes.", path,
			       HTTP_SECRET_BYTES);
	return STATUS_OK;
}

static enum status find_value(const struct http_header *header, struct arena *arena, struct str *out, struct err *err)
{
	char name[NAME_BYTES + 1];

	*out = header->value;
	if (header->file.n > 0)
		return read_secret_file(header, arena, out, err);
	if (header->env.n == 0)
		return STATUS_OK;
	snprintf(name, sizeof(name), "%.*s", STR_ARG(header->env));
	*out = str_trim(str_of(getenv(name)));
	if (out->n == 0)
		return err_set(err, STATUS_INVALID,
			       "The environment variable %s, which a header is taken from, is not set for the workers.",
			       name);
	return STATUS_OK;
}

enum status http_header_line(const struct http_header *header, struct arena *arena, const char **out, struct err *err)
{
	struct str value;
	struct buf line;

	enum status status = find_value(header, arena, &value, err);
	if (status != STATUS_OK)
		return status;
	bool good = value.n > 0 && value.n <= HTTP_SECRET_BYTES;
	for (size_t i = 0; i < value.n; i++)
		good = good && ((unsigned char)value.p[i] >= 0x20 || value.p[i] == '\t') && value.p[i] != 0x7f;
	if (!good)
		return err_set(err, STATUS_INVALID,
			       "What the header %.*s is taken from is empty or has control characters.",
			       STR_ARG(strict_cut(header->name, 60)));
	buf_init(&line, arena);
	buf_str(&line, header->name);
	buf_str(&line, STR(": "));
	buf_str(&line, header->prefix);
	buf_str(&line, value);
	buf_char(&line, '\0');
	*out = line.p;
	return line.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for a header") : STATUS_OK;
}
