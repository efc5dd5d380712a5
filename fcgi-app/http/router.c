/* A walk over the table: there are few rows, and most are ruled out by the first letter that differs. */
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

/* Both are walked once, so that most rows are ruled out by their first letters. */
static bool matches(const char *pattern, struct str path, struct str params[static REQUEST_PARAMS])
{
	const char *at = path.p, *end = path.p + path.n;
	int n = 0;

	while (*pattern) {
		if (*pattern != '{') {
			if (at == end || *at++ != *pattern++)
				return false;
			continue;
		}
		const char *start = at;
		while (at < end && *at != '/')
			at++;
		if (at == start || n == REQUEST_PARAMS)
			return false;
		params[n++] = (struct str){start, (size_t)(at - start)};
		pattern = strchr(pattern, '}') + 1;
	}
	return at == end;
}

/* Of two different patterns that fit one path: whether `a` has a letter where `b` begins a variable. */
static bool is_more_literal(const char *a, const char *b)
{
	while (*a == *b && *a) {
		a++;
		b++;
	}
	return *b == '{';
}

const struct route *router_find_path(const struct route *table, int n, struct str path,
				     struct str params[static REQUEST_PARAMS])
{
	const struct route *best = NULL;

	for (int i = 0; i < n; i++) {
		struct str found[REQUEST_PARAMS] = {0};
		if (!matches(table[i].pattern, path, found) ||
		    (best && !is_more_literal(table[i].pattern, best->pattern)))
			continue;
		best = &table[i];
		memcpy(params, found, sizeof(found));
		if (!strchr(best->pattern, '{'))
			break;
	}
	return best;
}

static const struct route *find_method(const struct route *first, enum http_method method)
{
	const struct route *end = ROUTES + ROUTES_N;

	for (const struct route *row = first; row < end && strcmp(row->pattern, first->pattern) == 0; row++)
		if (row->method == method)
			return row;
	return NULL;
}

enum router_result router_find(enum http_method method, struct str path, const struct route **route,
			       struct str params[static REQUEST_PARAMS])
{
	const struct route *first = router_find_path(ROUTES, ROUTES_N, path, params);

	if (first) {
		*route = find_method(first, method == HTTP_HEAD ? HTTP_GET : method);
		if (*route)
			return ROUTER_FOUND;
		*route = first;
		return ROUTER_NO_METHOD;
	}
	*route = NULL;
	if (path.n > 1 && path.p[path.n - 1] == '/')
		*route = router_find_path(ROUTES, ROUTES_N, (struct str){path.p, path.n - 1}, params);
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
