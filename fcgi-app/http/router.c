/* A walk over the table: there are few rows, and comparing a length rules most of them out. */
#include "http/router.h"

static const char *const METHODS[HTTP_METHOD__MAX] = {
	[HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
	[HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS", [HTTP_OTHER] = "OTHER",
};

const char *http_method_name(enum http_method method)
{
	return METHODS[method];
}

enum http_method http_method_of(struct str text)
{
	for (int i = 0; i < HTTP_OTHER; i++)
		if (str_eq(text, str_of(METHODS[i])))
			return (enum http_method)i;
	return HTTP_OTHER;
}

/* The pattern's variable stands for one non-empty segment. */
static bool matches(const char *pattern, struct str path, struct str *param)
{
	const char *brace = strchr(pattern, '{');

	*param = (struct str){0};
	if (!brace)
		return str_eq(str_of(pattern), path);
	struct str before = {pattern, (size_t)(brace - pattern)};
	struct str after = str_of(strchr(brace, '}') + 1);
	if (path.n <= before.n + after.n || !str_starts(path, before))
		return false;
	struct str middle = {path.p + before.n, path.n - before.n - after.n};
	if (!str_eq((struct str){middle.p + middle.n, after.n}, after) || memchr(middle.p, '/', middle.n))
		return false;
	*param = middle;
	return true;
}

static const struct route *find_path(enum http_method wanted, struct str path, struct str *param,
				     const struct route **any)
{
	*any = NULL;
	for (int i = 0; i < ROUTES_N; i++) {
		struct str found;
		if (!matches(ROUTES[i].pattern, path, &found))
			continue;
		if (!*any)
			*any = &ROUTES[i];
		if (ROUTES[i].method == wanted) {
			*param = found;
			return &ROUTES[i];
		}
	}
	return NULL;
}

enum router_result router_find(enum http_method method, struct str path, const struct route **route, struct str *param)
{
	enum http_method wanted = method == HTTP_HEAD ? HTTP_GET : method;
	const struct route *any;

	*route = find_path(wanted, path, param, &any);
	if (*route)
		return ROUTER_FOUND;
	if (any) {
		*route = any;
		return ROUTER_NO_METHOD;
	}
	if (path.n > 1 && path.p[path.n - 1] == '/') {
		find_path(wanted, (struct str){path.p, path.n - 1}, param, &any);
		*route = any;
	}
	return *route ? ROUTER_SLASH : ROUTER_NO_PATH;
}

void router_allow(const struct route *route, struct buf *out)
{
	bool first = true;

	for (int i = 0; i < ROUTES_N; i++) {
		if (strcmp(ROUTES[i].pattern, route->pattern) != 0)
			continue;
		if (!first)
			buf_str(out, STR(", "));
		first = false;
		buf_str(out, str_of(http_method_name(ROUTES[i].method)));
		if (ROUTES[i].method == HTTP_GET)
			buf_str(out, STR(", HEAD"));
	}
}
