/* The description of the API (docs/openapi.yaml, as the JSON that is served) against the table of routes, both ways:
 * every row is described with the parameters, the security and the refusals that it implies, and nothing is described
 * that is in neither the table nor nginx's configuration. What is described is held against the service by tests/docs/.
 */
#include "harness.h"

#include "base/json.h"
#include "base/version.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char DOCUMENT[] = "build/web/openapi.json";
static const char EDGE[] = "nginx/files.conf.in", EDGE_DOCS[] = "nginx/docs.conf.in";

enum { REFS_MAX = 256 };

/* One comparison: what was found to be wrong, as text. */
struct check {
	struct arena arena;
	struct json_value document;
	const struct route *routes;
	int n;
	struct buf faults; /* a line each */
	int faults_n;
	struct {
		struct str name;
		struct json_value value;
	} refs[REFS_MAX]; /* those that were looked up */
	int refs_n;
};

static char *read_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t n = 0, got;

	if (!file) {
		printf("%s is missing: the tests run in the source's folder, and `make all` makes the document\n",
		       path);
		return NULL;
	}
	do {
		char *more = realloc(text, n + 65537);
		if (!more)
			break;
		text = more;
		got = fread(text + n, 1, 65536, file);
		n += got;
		text[n] = '\0';
	} while (got > 0);
	fclose(file);
	return text;
}

static void __attribute__((format(printf, 2, 3))) fault(struct check *check, const char *format, ...)
{
	char line[400];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	buf_fmt(&check->faults, "%s\n", line);
	check->faults_n++;
}

/* --- reading the document --- */

static struct str text_of(struct check *check, struct json_value value)
{
	return value.type == JSON_STRING ? json_string(value, &check->arena) : (struct str){0};
}

static struct json_value member(struct json_value object, const char *name)
{
	struct json_value value;

	return json_member(object, str_of(name), &value) ? value : (struct json_value){0};
}

static bool has(struct json_value object, const char *name)
{
	struct json_value value;

	return json_member(object, str_of(name), &value);
}

static struct json_value look_up(struct check *check, struct str path)
{
	struct json_value value = check->document;

	while (path.n > 0) {
		struct str part = str_cut(&path, '/');
		if (!json_member(value, part, &value)) {
			fault(check, "a $ref names %.*s, which is nowhere", STR_ARG(part));
			return (struct json_value){0};
		}
	}
	return value;
}

/* What a {"$ref": "#/a/b"} stands for; anything else is itself. */
static struct json_value resolve(struct check *check, struct json_value value)
{
	struct str name = text_of(check, member(value, "$ref"));

	if (!str_starts(name, STR("#/")))
		return value;
	for (int i = 0; i < check->refs_n; i++)
		if (str_eq(check->refs[i].name, name))
			return check->refs[i].value;
	value = look_up(check, (struct str){name.p + 2, name.n - 2});
	if (check->refs_n < REFS_MAX) {
		check->refs[check->refs_n].name = name;
		check->refs[check->refs_n++].value = value;
	}
	return value;
}

static struct json_value at(struct check *check, struct json_value object, const char *name)
{
	return resolve(check, member(object, name));
}

/* --- from the table to the document --- */

static const char *lower(enum http_method method)
{
	static const char *const names[] = {[HTTP_GET] = "get",
					    [HTTP_POST] = "post",
					    [HTTP_PUT] = "put",
					    [HTTP_PATCH] = "patch",
					    [HTTP_DELETE] = "delete"};

	return (size_t)method < sizeof(names) / sizeof(names[0]) && names[method] ? names[method] : "?";
}

/* How often the name is among the path's parameters in this list; *n counts them all. */
static int count_parameters(struct check *check, struct json_value list, struct str name, int *n)
{
	struct json_iter iter;
	struct json_value item;
	int found = 0;

	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item)) {
		item = resolve(check, item);
		if (!str_eq(text_of(check, member(item, "in")), STR("path")))
			continue;
		(*n)++;
		if (member(item, "required").type != JSON_TRUE)
			fault(check, "a parameter of a path is not required");
		if (str_eq(text_of(check, member(item, "name")), name))
			found++;
	}
	return found;
}

static void check_parameters(struct check *check, const struct route *route, struct json_value item,
			     struct json_value operation)
{
	struct str rest = str_of(route->pattern);
	int described = 0, wanted = 0;

	count_parameters(check, member(item, "parameters"), (struct str){0}, &described);
	count_parameters(check, member(operation, "parameters"), (struct str){0}, &described);
	while (rest.n > 0) {
		struct str part = str_cut(&rest, '/');
		int ignored = 0;
		if (part.n < 3 || part.p[0] != '{')
			continue;
		struct str name = {part.p + 1, part.n - 2};
		wanted++;
		if (count_parameters(check, member(item, "parameters"), name, &ignored) +
			    count_parameters(check, member(operation, "parameters"), name, &ignored) !=
		    1)
			fault(check, "%s %s: the parameter %.*s is not described once", lower(route->method),
			      route->pattern, STR_ARG(name));
	}
	if (described != wanted)
		fault(check, "%s %s: %d parameters of the path are described, it has %d", lower(route->method),
		      route->pattern, described, wanted);
}

/* One of the operation's ways in is the scheme; NULL: nothing. */
static bool lets_in(struct json_value operation, const char *scheme)
{
	struct json_iter iter;
	struct json_value way, name;
	bool any = false;

	json_iter_init(&iter, member(operation, "security"));
	while (json_next(&iter, NULL, &way)) {
		struct json_iter schemes;
		any = true;
		json_iter_init(&schemes, way);
		if (scheme ? has(way, scheme) : !json_next(&schemes, NULL, &name))
			return true;
	}
	return !scheme && !any;
}

static void check_security(struct check *check, const struct route *route, struct json_value operation)
{
	const char *method = lower(route->method), *path = route->pattern;
	bool dataflow = route->auth == ROUTE_TOKEN || route->auth == ROUTE_DATA;
	bool open = route->auth == ROUTE_OPEN, reads = route->auth == ROUTE_READ || route->auth == ROUTE_DATA;
	bool person = route->auth == ROUTE_USER || dataflow, key = !open && !dataflow;

	if (!has(operation, "security"))
		fault(check, "%s %s: who may call it is not described", method, path);
	if (lets_in(operation, NULL) != (open || reads))
		fault(check, "%s %s: that it is%s open is not described", method, path, open || reads ? "" : " not");
	if (lets_in(operation, "apiKey") != key)
		fault(check, "%s %s: that a key is%s good is not described", method, path, key ? "" : " not");
	if (lets_in(operation, "login") != person)
		fault(check, "%s %s: that a login is%s good is not described", method, path, person ? "" : " not");
}

/* How many of the responses are successes; each has to be there and to have a description. */
static int count_successes(struct check *check, struct json_value responses)
{
	struct json_iter iter;
	struct json_value status, response;
	int n = 0;

	json_iter_init(&iter, responses);
	while (json_next(&iter, &status, &response)) {
		if (text_of(check, member(resolve(check, response), "description")).n == 0)
			fault(check, "a response without description: %.*s", STR_ARG(response.text));
		n += status.text.n > 1 && status.text.p[1] == '2';
	}
	return n;
}

/* What the row refuses, or does not. Routes that are open have refusals of their own. */
static void check_responses(struct check *check, const struct route *route, struct json_value operation)
{
	bool open = route->auth == ROUTE_OPEN, body = route->body != ROUTE_NO_BODY;
	const struct {
		const char *status;
		bool wanted, unwanted;
	} rules[] = {
		{"401", !open, false},
		{"403", !open, false},
		/* What has a body may have limits of its own: failed logins. */
		{"429", route->rate != ROUTE_UNLIMITED, route->rate == ROUTE_UNLIMITED && !body},
		{"413", body, !body},
		{"415", route->body == ROUTE_JSON_BODY || route->body == ROUTE_TENSORS || route->body == ROUTE_LARGE,
		 !body},
	};
	struct json_value responses = member(operation, "responses");

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		bool found = has(responses, rules[i].status);
		if (found ? rules[i].unwanted : rules[i].wanted)
			fault(check, "%s %s: %s is%s described", lower(route->method), route->pattern, rules[i].status,
			      found ? "" : " not");
	}
	if (count_successes(check, responses) == 0)
		fault(check, "%s %s: no success is described", lower(route->method), route->pattern);
	struct json_value limited = at(check, responses, "429");
	if (limited.type == JSON_OBJECT && !has(member(limited, "headers"), "Retry-After"))
		fault(check, "%s %s: 429 without Retry-After", lower(route->method), route->pattern);
	struct json_value busy = at(check, responses, "503");
	if (body && busy.type == JSON_OBJECT && !has(member(busy, "headers"), "Retry-After"))
		fault(check, "%s %s: 503 without Retry-After", lower(route->method), route->pattern);
}

static void check_row(struct check *check, const struct route *route)
{
	struct json_value item = at(check, member(check->document, "paths"), route->pattern);
	struct json_value operation = member(item, lower(route->method));

	if (operation.type != JSON_OBJECT) {
		fault(check, "%s %s is not described", lower(route->method), route->pattern);
		return;
	}
	if (has(operation, "x-served-by"))
		fault(check, "%s %s is a worker's", lower(route->method), route->pattern);
	check_parameters(check, route, item, operation);
	check_security(check, route, operation);
	check_responses(check, route, operation);
	if (has(operation, "requestBody") != (route->body != ROUTE_NO_BODY))
		fault(check, "%s %s: that it has%s body is not described", lower(route->method), route->pattern,
		      route->body != ROUTE_NO_BODY ? " a" : " no");
}

/* --- from the document to the table --- */

static bool is_method(struct str name)
{
	static const char *const methods[] = {"get", "put", "post", "delete", "options", "head", "patch", "trace"};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (str_eq(name, str_of(methods[i])))
			return true;
	return false;
}

static bool is_in_table(const struct check *check, struct str path, struct str method)
{
	for (int i = 0; i < check->n; i++)
		if (str_eq(str_of(check->routes[i].pattern), path) &&
		    str_eq(str_of(lower(check->routes[i].method)), method))
			return true;
	return false;
}

static bool is_in_file(const char *name, struct str path)
{
	char *text = read_file(name), line[300];

	snprintf(line, sizeof(line), "\nlocation = %.*s {", STR_ARG(path));
	bool found = text && strstr(text, line);
	free(text);
	return found;
}

/* What nginx answers by itself is described, too; a path with a slash at its end is another way to one without. */
static void check_file(struct check *check, const char *name)
{
	static const char start[] = "\nlocation = ";
	char *text = read_file(name), path[200];

	for (char *p = text ? strstr(text, start) : NULL; p; p = strstr(p, start)) {
		p += sizeof(start) - 1;
		size_t n = strcspn(p, " {\n");
		if (n == 0 || n >= sizeof(path) || p[n - 1] == '/')
			continue;
		memcpy(path, p, n);
		path[n] = '\0';
		struct json_value get = member(at(check, member(check->document, "paths"), path), "get");
		if (!str_eq(text_of(check, member(get, "x-served-by")), STR("nginx")))
			fault(check, "%s is answered by nginx, and not described so", path);
	}
	free(text);
}

static void check_operation(struct check *check, struct str path, struct str method, struct json_value operation,
			    struct buf *ids)
{
	struct str id = text_of(check, member(operation, "operationId"));
	bool edge = str_eq(text_of(check, member(operation, "x-served-by")), STR("nginx"));
	char quoted[200];

	if (edge ? !is_in_file(EDGE, path) && !is_in_file(EDGE_DOCS, path) : !is_in_table(check, path, method))
		fault(check, "%.*s %.*s is described, but nobody answers it", STR_ARG(method), STR_ARG(path));
	snprintf(quoted, sizeof(quoted), "|%.*s|", STR_ARG(id));
	if (id.n == 0 || (ids->p && strstr(ids->p, quoted)))
		fault(check, "%.*s %.*s has no operationId of its own", STR_ARG(method), STR_ARG(path));
	buf_fmt(ids, "%s", quoted);
	buf_char(ids, '\0');
	ids->n--;
	if (text_of(check, member(operation, "summary")).n == 0)
		fault(check, "%.*s %.*s has no summary", STR_ARG(method), STR_ARG(path));
	struct json_iter iter;
	struct json_value tag, known;
	int tags = 0;
	json_iter_init(&iter, member(operation, "tags"));
	while (json_next(&iter, NULL, &tag)) {
		struct json_iter all;
		bool found = false;
		tags++;
		json_iter_init(&all, member(check->document, "tags"));
		while (!found && json_next(&all, NULL, &known))
			found = str_eq(text_of(check, member(known, "name")), text_of(check, tag));
		if (!found)
			fault(check, "%.*s %.*s has a tag that is not described", STR_ARG(method), STR_ARG(path));
	}
	if (tags != 1)
		fault(check, "%.*s %.*s has %d tags", STR_ARG(method), STR_ARG(path), tags);
}

static void check_document(struct check *check)
{
	struct json_value info = member(check->document, "info"), key, item, name, operation;
	struct json_iter paths, operations;
	struct buf ids;

	buf_init(&ids, &check->arena);
	if (!str_starts(text_of(check, member(check->document, "openapi")), STR("3.1.")))
		fault(check, "it is not OpenAPI 3.1");
	if (!str_eq(text_of(check, member(info, "title")), STR(APPCORE_TITLE)))
		fault(check, "the title is not " APPCORE_TITLE);
	if (!str_eq(text_of(check, member(info, "version")), STR(APPCORE_VERSION)))
		fault(check, "the version is not " APPCORE_VERSION);
	check_file(check, EDGE);
	check_file(check, EDGE_DOCS);
	json_iter_init(&paths, member(check->document, "paths"));
	while (json_next(&paths, &key, &item)) {
		json_iter_init(&operations, item);
		while (json_next(&operations, &name, &operation)) {
			struct str method = text_of(check, name);
			if (is_method(method))
				check_operation(check, text_of(check, key), method, operation, &ids);
		}
	}
}

/* --- the comparison --- */

/* False: the text is not JSON, which is a fault. */
static bool open_check(struct check *check, const char *text, const struct route *routes, int n)
{
	struct json_fault json;

	*check = (struct check){.routes = routes, .n = n};
	arena_init(&check->arena, (size_t)64 << 20);
	buf_init(&check->faults, &check->arena);
	if (json_check(str_of(text), JSON_MAX_DEPTH, &check->document, &json))
		return true;
	fault(check, "it is not JSON: %s (at %zu)", json.reason, json.offset);
	return false;
}

/* How many faults were found. */
static int close_check(struct check *check, bool show)
{
	if (show && check->faults_n > 0)
		printf("%.*s", STR_ARG(buf_view(&check->faults)));
	arena_release(&check->arena);
	return check->faults_n;
}

/* How many there are between the text and the table. */
static int compare(const char *text, bool show)
{
	struct check check;

	if (open_check(&check, text, ROUTES, ROUTES_N)) {
		check_document(&check);
		for (int i = 0; i < ROUTES_N; i++)
			check_row(&check, &ROUTES[i]);
	}
	return close_check(&check, show);
}

/* How many there are between the text and one row, or (NULL) between it and a table of these rows. */
static int compare_part(const char *text, const struct route *row, const struct route *routes, int n)
{
	struct check check;

	if (open_check(&check, text, routes, n) && row)
		check_row(&check, row);
	else
		check_document(&check);
	return close_check(&check, false);
}

static void the_document_is_the_table(void)
{
	char *text = read_file(DOCUMENT);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL(compare(text, true), 0);
	free(text);
}

/* Without any one row the document has too much, with one more row too little. */
static void a_row_is_missed(void)
{
	static const struct route seeded[] = {{.method = HTTP_GET, .pattern = "/seeded"},
					      {.method = HTTP_PUT, .pattern = "/health"},
					      {.method = HTTP_GET, .pattern = "/metrics"}};
	static struct route rows[ROUTES_MAX];
	char *text = read_file(DOCUMENT);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	for (int i = 0; i < ROUTES_N; i++) {
		memcpy(rows, ROUTES, (size_t)i * sizeof(rows[0]));
		memcpy(rows + i, ROUTES + i + 1, (size_t)(ROUTES_N - i - 1) * sizeof(rows[0]));
		CU_ASSERT_EQUAL(compare_part(text, NULL, rows, ROUTES_N - 1), 1);
	}
	for (size_t i = 0; i < sizeof(seeded) / sizeof(seeded[0]); i++)
		CU_ASSERT_TRUE(compare_part(text, &seeded[i], ROUTES, ROUTES_N) > 0);
	free(text);
}

/* A row that asks for more, or less, than is described. */
static void a_changed_row_is_missed(void)
{
	char *text = read_file(DOCUMENT);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	for (int i = 0; i < ROUTES_N; i++) {
		struct route row = ROUTES[i];
		bool body = row.body != ROUTE_NO_BODY;
		row.auth = row.auth == ROUTE_OPEN ? ROUTE_KEY : ROUTE_OPEN;
		CU_ASSERT_TRUE(compare_part(text, &row, ROUTES, ROUTES_N) > 0);
		row = ROUTES[i];
		row.rate = row.rate == ROUTE_UNLIMITED ? ROUTE_LIMITED : ROUTE_UNLIMITED;
		CU_ASSERT_EQUAL(compare_part(text, &row, ROUTES, ROUTES_N) > 0, !body);
		row = ROUTES[i];
		row.body = body ? ROUTE_NO_BODY : ROUTE_JSON_BODY;
		CU_ASSERT_TRUE(compare_part(text, &row, ROUTES, ROUTES_N) > 0);
	}
	free(text);
}

/* The document with one word changed: the first place where it stands. */
static void a_changed_word_is_missed(void)
{
	static const char *const words[][2] = {
		{"\"/predict\"", "\"/predikt\""},
		{"\"/metrics\"", "\"/metriks\""},
		{"{prediction_id}", "{predictionnid}"},
		{"\"name\": \"prediction_id\"", "\"name\": \"prediktion_id\""},
		{"\"operationId\": \"getHealth\"", "\"operationId\": \"getRoot\""},
		{"\"version\": \"" APPCORE_VERSION "\"", "\"version\": \"9\""},
		{"\"openapi\": \"3.1", "\"openapi\": \"3.0"},
		{"\"Retry-After\"", "\"Retry-Later\""},
		{"components/responses/KeyMissing", "components/responses/KeyMizzing"},
		{"\"tags\": [\n", "\"tagz\": [\n"},
	};
	char *text = read_file(DOCUMENT);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char *changed = NULL, *found = strstr(text, words[i][0]);
		CU_ASSERT_PTR_NOT_NULL_FATAL(found);
		CU_ASSERT_FATAL(asprintf(&changed, "%.*s%s%s", (int)(found - text), text, words[i][1],
					 found + strlen(words[i][0])) > 0);
		CU_ASSERT_TRUE(compare(changed, false) > 0);
		free(changed);
	}
	free(text);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"the document is the table", the_document_is_the_table},
		{"a row is missed", a_row_is_missed},
		{"a changed row is missed", a_changed_row_is_missed},
		{"a changed word is missed", a_changed_word_is_missed},
	};

	return UNIT_RUN("openapi", cases);
}
