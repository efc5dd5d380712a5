/* The set of models that the database's rows and the folder make. */
#include "model/registry.h"

#include "model/folder.h"
#include "store/generations.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert((int)MODELS_NAME_BYTES == (int)MODEL_NAME_BYTES && (int)MODELS_HASH_BYTES == (int)MODEL_HASH_BYTES &&
		       (int)MODELS_SHARES_MAX == (int)MODEL_SHARES_MAX,
	       "the tables' texts fit the set's");

/* --- reading --- */

/* Room for one more of `size` bytes each in a heap array. */
static bool grow(void **array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return true;
	size_t more = *cap ? 2 * *cap : 16;
	void *p = realloc(*array, more * size);
	if (!p)
		return false;
	*array = p;
	*cap = more;
	return true;
}

static bool keep_version(void *arg, const struct models_version *version)
{
	struct registry_rows *rows = arg;
	void *versions = rows->versions;
	bool room = grow(&versions, rows->versions_n, &rows->versions_cap, sizeof(*version));

	rows->versions = versions;
	if (room)
		rows->versions[rows->versions_n++] = *version;
	return room;
}

static bool keep_route(void *arg, const struct models_route *route)
{
	struct registry_rows *rows = arg;
	void *routes = rows->routes;
	bool room = grow(&routes, rows->routes_n, &rows->routes_cap, sizeof(*route));

	rows->routes = routes;
	if (room)
		rows->routes[rows->routes_n++] = *route;
	return room;
}

static enum status read_all(struct registry_rows *rows, struct db *db, struct err *err)
{
	enum status status = generations_read(db, MODELS_TOPIC, &rows->generation, err);

	rows->versions_n = rows->routes_n = 0;
	if (status == STATUS_OK)
		status = models_each(db, keep_version, rows, err);
	if (status == STATUS_OK)
		status = models_each_route(db, keep_route, rows, err);
	return status;
}

enum status registry_read(struct registry_rows *rows, struct db *db, int64_t known, bool *changed, struct err *err)
{
	int64_t generation;

	*changed = false;
	enum status status = generations_read(db, MODELS_TOPIC, &generation, err);
	if (status != STATUS_OK || generation == known)
		return status;
	status = db_begin_read(db, err);
	if (status != STATUS_OK)
		return status;
	status = read_all(rows, db, err);
	db_end_read(db);
	*changed = status == STATUS_OK;
	return status;
}

void registry_rows_release(struct registry_rows *rows)
{
	free(rows->versions);
	free(rows->routes);
	*rows = (struct registry_rows){0};
}

/* --- building --- */

struct building {
	struct registry_result *out;
	const struct registry_rows *rows;
	const struct registry_options *options;
	struct model_set *set;
};

static const struct models_route *find_route(const struct registry_rows *rows, const char *name)
{
	for (size_t i = 0; i < rows->routes_n; i++)
		if (strcmp(rows->routes[i].name, name) == 0)
			return &rows->routes[i];
	return NULL;
}

static bool is_needed(const struct registry_rows *rows, const struct models_version *version)
{
	const struct models_route *route = find_route(rows, version->name);

	if (!route)
		return false;
	for (int i = 0; i < route->shares.n; i++)
		if (strcmp(route->shares.of[i].version, version->version) == 0)
			return true;
	return strcmp(route->shadow, version->version) == 0;
}

static void note_failure(struct building *b, const char *name, const char *version, const struct err *err)
{
	struct registry_result *out = b->out;

	if (out->failures_n == REGISTRY_FAILURES_MAX)
		return;
	struct registry_failure *failure = &out->failures[out->failures_n++];
	snprintf(failure->name, sizeof(failure->name), "%s", name);
	snprintf(failure->version, sizeof(failure->version), "%s", version);
	failure->err = *err;
}

/* The version as it is served already, with a hold on it; NULL: it is not. */
static struct model *find_held(const struct building *b, const struct models_version *row)
{
	if (!b->options->former)
		return NULL;
	const struct model_version *held = model_set_find(b->options->former, str_of(row->name), str_of(row->version));
	return held && strcmp(held->model->hash, row->hash) == 0 ? model_hold(held->model) : NULL;
}

static void take_version(struct building *b, const struct models_version *row)
{
	struct model *model = find_held(b, row);
	enum status status = STATUS_OK;
	struct err err = {0};

	if (!model) {
		status = folder_load(&model, b->options->dir, str_of(row->name), str_of(row->version),
				     str_of(row->hash), &err);
		b->out->loaded += status == STATUS_OK;
	}
	if (status == STATUS_OK)
		status = model_set_add(b->set, model, &err);
	model_drop(model);
	if (status != STATUS_OK)
		note_failure(b, row->name, row->version, &err);
}

static bool is_stopped(const struct building *b)
{
	return b->options->stop && atomic_load_explicit(b->options->stop, memory_order_relaxed);
}

/* Those that a route needs first, so that it is others that do not fit where there are too many. */
static void take_versions(struct building *b)
{
	for (int needed = 1; needed >= 0; needed--)
		for (size_t i = 0; i < b->rows->versions_n && !is_stopped(b); i++) {
			const struct models_version *row = &b->rows->versions[i];
			if (row->loaded && is_needed(b->rows, row) == (needed == 1))
				take_version(b, row);
		}
}

/* "header:X-User-Id" as CGI has the header: "HTTP_X_USER_ID". */
static enum model_sticky read_sticky(const char *text, char header[static MODEL_STICKY_BYTES])
{
	struct str rest = str_of(text);
	struct str word = str_cut(&rest, ':');
	size_t n = 0;

	header[0] = '\0';
	if (str_eq(word, STR("key")))
		return MODEL_STICKY_KEY;
	if (!str_eq(word, STR("header")) || rest.n == 0)
		return MODEL_STICKY_NONE;
	n = (size_t)snprintf(header, MODEL_STICKY_BYTES, "HTTP_%.*s", STR_ARG(rest));
	for (size_t i = 0; i < n && header[i]; i++)
		header[i] = (char)(header[i] == '-'                       ? '_'
				   : header[i] >= 'a' && header[i] <= 'z' ? header[i] - 'a' + 'A'
									  : header[i]);
	return MODEL_STICKY_HEADER;
}

/* The row of a version; NULL: there is none. */
static const struct models_version *find_row(const struct registry_rows *rows, const char *name, const char *version)
{
	for (size_t i = 0; i < rows->versions_n; i++)
		if (strcmp(rows->versions[i].name, name) == 0 && strcmp(rows->versions[i].version, version) == 0)
			return &rows->versions[i];
	return NULL;
}

/* The shares whose versions are there. False when one is missing that should be. */
static bool find_shares(struct building *b, const struct models_route *route, struct model_share *shares, int *n)
{
	bool whole = true;

	*n = 0;
	for (int i = 0; i < route->shares.n; i++) {
		const char *version = route->shares.of[i].version;
		const struct models_version *row = find_row(b->rows, route->name, version);
		struct err err;
		if (model_set_find(b->set, str_of(route->name), str_of(version))) {
			shares[(*n)++] = (struct model_share){str_of(version), route->shares.of[i].share};
		} else if (!row || row->loaded) {
			whole = false;
			if (!row) { /* one that has failed to load has been noted */
				(void)!err_set(&err, STATUS_NOT_FOUND,
					       "It has a share of the requests but was never added.");
				note_failure(b, route->name, version, &err);
			}
		}
	}
	return whole;
}

/* The versions of the former route that are not there yet; false: this name has had none. */
static bool keep_former_versions(struct building *b, const struct model_route *former)
{
	for (int i = 0; i < former->n; i++) {
		struct model *model = former->shares[i].version->model;
		if (!model_set_find(b->set, str_of(model->name), str_of(model->version)) &&
		    model_set_add(b->set, model, NULL) != STATUS_OK)
			return false;
	}
	return former->n > 0;
}

static bool keep_former_route(struct building *b, const struct models_route *route)
{
	const struct model_set *set = b->options->former;
	const struct model_route *former = set ? model_set_find_route(set, str_of(route->name)) : NULL;
	struct model_share shares[MODEL_SHARES_MAX];

	if (!former || !keep_former_versions(b, former))
		return false;
	for (int i = 0; i < former->n; i++)
		shares[i] = (struct model_share){str_of(former->shares[i].version->model->version),
						 former->shares[i].share};
	return model_set_route(b->set, str_of(route->name), shares, former->n, (struct str){0}, former->sticky,
			       str_of(former->sticky_header), NULL) == STATUS_OK;
}

/* Where the route before was is in no set: this process has just begun, and serves what the others go on with. */
static bool find_rollback(const struct building *b, const struct models_route *route, struct models_shares *former,
			  struct model_share *shares, int *n)
{
	if (models_parse_shares(str_of(route->rollback_to), former, NULL) != STATUS_OK)
		return false;
	for (int i = 0; i < former->n; i++)
		if (!model_set_find(b->set, str_of(route->name), str_of(former->of[i].version)))
			return false;
	*n = former->n;
	for (int i = 0; i < former->n; i++)
		shares[i] = (struct model_share){str_of(former->of[i].version), former->of[i].share};
	return true;
}

static void take_route(struct building *b, const struct models_route *route)
{
	struct str name = str_of(route->name), shadow = str_of(route->shadow);
	struct model_share shares[MODEL_SHARES_MAX];
	char header[MODEL_STICKY_BYTES];
	struct models_shares former;
	struct err err;
	int n;

	bool whole = find_shares(b, route, shares, &n);
	if (!whole && keep_former_route(b, route))
		return;
	bool back = !whole && find_rollback(b, route, &former, shares, &n);
	enum model_sticky sticky = read_sticky(route->sticky, header);
	if (back || !model_set_find(b->set, name, shadow))
		shadow = (struct str){0};
	if (model_set_route(b->set, name, shares, n, shadow, sticky, str_of(header), &err) != STATUS_OK)
		note_failure(b, route->name, "", &err);
}

void registry_build(struct registry_result *out, const struct registry_rows *rows,
		    const struct registry_options *options)
{
	struct building b = {.out = out, .rows = rows, .options = options};
	struct err err = {0};

	*out = (struct registry_result){.set = model_set_new()};
	b.set = out->set;
	if (!b.set)
		return;
	take_versions(&b);
	for (size_t i = 0; i < rows->routes_n; i++)
		take_route(&b, &rows->routes[i]);
	if (model_set_await_default(b.set, str_of(options->fallback), &err) != STATUS_OK)
		note_failure(&b, options->fallback, "", &err);
}
