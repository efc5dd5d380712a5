/* Sets are small (a few hundred versions) and change rarely: sorted arrays, looked through by halves. */
#include "model/set.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

struct model_set {
	atomic_int users;
	struct model_version *versions[MODEL_SET_VERSIONS_MAX]; /* by name, then as added */
	int versions_n;
	struct model_route *routes[MODEL_SET_NAMES_MAX]; /* by name */
	int routes_n;
	int headers_n;                      /* routes that are sticky by a header */
	const struct model_route *fallback; /* where no model is named */
};

static const struct model_share WHOLE_MEAN = {.version = STR_INIT("v1.0"), .share = 1};

struct model_set *model_set_new(void)
{
	struct model_set *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	atomic_init(&set->users, 1);
	if (model_set_add(set, model_mean(), NULL) != STATUS_OK ||
	    model_set_route(set, STR("mean"), &WHOLE_MEAN, 1, (struct str){0}, MODEL_STICKY_NONE, (struct str){0},
			    NULL) != STATUS_OK ||
	    model_set_default(set, STR("mean"), NULL) != STATUS_OK) {
		model_set_drop(set);
		return NULL;
	}
	return set;
}

struct model_set *model_set_hold(struct model_set *set)
{
	atomic_fetch_add_explicit(&set->users, 1, memory_order_relaxed);
	return set;
}

void model_set_drop(struct model_set *set)
{
	if (!set || atomic_fetch_sub_explicit(&set->users, 1, memory_order_acq_rel) != 1)
		return;
	for (int i = 0; i < set->routes_n; i++)
		free(set->routes[i]);
	for (int i = 0; i < set->versions_n; i++) {
		model_drop(set->versions[i]->model);
		free(set->versions[i]);
	}
	free(set);
}

/* memcmp's order, then the shorter first. */
static int compare(struct str a, const char *b)
{
	size_t n = strlen(b);
	int order = memcmp(a.p ? a.p : "", b, a.n < n ? a.n : n);

	return order ? order : (a.n > n) - (a.n < n);
}

/* The first place whose name is not less than (`after`: is greater than) `name`. */
static int versions_bound(const struct model_set *set, struct str name, bool after)
{
	int low = 0, high = set->versions_n;

	while (low < high) {
		int middle = low + (high - low) / 2;
		int order = compare(name, set->versions[middle]->model->name);
		if (order > 0 || (after && order == 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int routes_bound(const struct model_set *set, struct str name)
{
	int low = 0, high = set->routes_n;

	while (low < high) {
		int middle = low + (high - low) / 2;
		if (compare(name, set->routes[middle]->name) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

enum status model_set_add(struct model_set *set, struct model *model, struct err *err)
{
	struct str name = str_of(model->name);

	if (model_set_find(set, name, str_of(model->version)))
		return err_set(err, STATUS_CONFLICT, "Model %s %s is there already.", model->name, model->version);
	if (set->versions_n == MODEL_SET_VERSIONS_MAX)
		return err_set(err, STATUS_BUSY, "There are %d versions of models already.", MODEL_SET_VERSIONS_MAX);
	struct model_version *version = calloc(1, sizeof(*version));
	if (!version)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a model");
	*version = (struct model_version){
		.model = model_hold(model),
		.error = METRICS_NONE,
		.success = METRICS_NONE,
		.seconds = METRICS_NONE,
		.model_error = METRICS_NONE,
		.model_success = METRICS_NONE,
		.shadow_scored = METRICS_NONE,
		.shadow_dropped = METRICS_NONE,
		.shadow_failed = METRICS_NONE,
		.model_seconds = METRICS_NONE,
	};
	int at = versions_bound(set, name, true);
	memmove(&set->versions[at + 1], &set->versions[at], (size_t)(set->versions_n - at) * sizeof(void *));
	set->versions[at] = version;
	set->versions_n++;
	return STATUS_OK;
}

static void make_draw_key(struct model_route *route)
{
	_Static_assert(sizeof(route->draw_key) == crypto_shorthash_KEYBYTES, "SipHash's key");
	crypto_generichash(route->draw_key, sizeof(route->draw_key), (const uint8_t *)route->name, strlen(route->name),
			   NULL, 0);
}

static enum status fill_route(const struct model_set *set, struct model_route *route, const struct model_share *shares,
			      int n, struct str shadow, struct err *err)
{
	struct str name = str_of(route->name);

	for (int i = 0; i < n; i++) {
		const struct model_version *version = model_set_find(set, name, shares[i].version);
		if (!version)
			return err_set(err, STATUS_NOT_FOUND, "Model %s has no version %.*s.", route->name,
				       STR_ARG(shares[i].version));
		int at = route->n;
		for (; at > 0 && route->shares[at - 1].share < shares[i].share; at--)
			route->shares[at] = route->shares[at - 1];
		route->shares[at].version = version;
		route->shares[at].share = shares[i].share;
		route->n++;
		route->sum += shares[i].share;
	}
	if (shadow.n > 0 && !(route->shadow = model_set_find(set, name, shadow)))
		return err_set(err, STATUS_NOT_FOUND, "Model %s has no version %.*s.", route->name, STR_ARG(shadow));
	return STATUS_OK;
}

enum status model_set_route(struct model_set *set, struct str name, const struct model_share *shares, int n,
			    struct str shadow, enum model_sticky sticky, struct str header, struct err *err)
{
	int at = routes_bound(set, name);
	bool there = at < set->routes_n && compare(name, set->routes[at]->name) == 0;

	if (!model_name_is_valid(name) || n < 0 || n > MODEL_SHARES_MAX || header.n >= MODEL_STICKY_BYTES)
		return err_set(err, STATUS_INVALID, "A route wants a name and at most %d versions.", MODEL_SHARES_MAX);
	if (!there && set->routes_n == MODEL_SET_NAMES_MAX)
		return err_set(err, STATUS_BUSY, "There are %d models already.", MODEL_SET_NAMES_MAX);
	struct model_route *route = calloc(1, sizeof(*route));
	if (!route)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a route");
	snprintf(route->name, sizeof(route->name), "%.*s", STR_ARG(name));
	snprintf(route->sticky_header, sizeof(route->sticky_header), "%.*s", STR_ARG(header));
	route->sticky = sticky;
	make_draw_key(route);
	enum status status = fill_route(set, route, shares, n, shadow, err);
	if (status != STATUS_OK) {
		free(route);
		return status;
	}
	if (there) {
		if (set->fallback == set->routes[at])
			set->fallback = route;
		set->headers_n -= set->routes[at]->sticky == MODEL_STICKY_HEADER;
		free(set->routes[at]);
	} else {
		memmove(&set->routes[at + 1], &set->routes[at], (size_t)(set->routes_n - at) * sizeof(void *));
		set->routes_n++;
	}
	set->routes[at] = route;
	set->headers_n += sticky == MODEL_STICKY_HEADER;
	return STATUS_OK;
}

enum status model_set_default(struct model_set *set, struct str name, struct err *err)
{
	const struct model_route *route = model_set_find_route(set, name);

	if (!route)
		return err_set(err, STATUS_NOT_FOUND, "There is no model %.*s.", STR_ARG(name));
	set->fallback = route;
	return STATUS_OK;
}

static bool is_shadow(const struct model_set *set, const struct model_version *version)
{
	for (int i = 0; i < set->routes_n; i++)
		if (set->routes[i]->shadow == version)
			return true;
	return false;
}

static void count_shadow_in(struct model_version *version, struct shm *shm)
{
	struct metrics_label labels[] = {{"model", str_of(version->model->name)},
					 {"version", str_of(version->model->version)},
					 {"outcome", STR("scored")}};

	version->shadow_scored = metrics_find(shm, METRICS_SHADOW, labels, 3);
	labels[2].value = STR("dropped");
	version->shadow_dropped = metrics_find(shm, METRICS_SHADOW, labels, 3);
	labels[2].value = STR("failed");
	version->shadow_failed = metrics_find(shm, METRICS_SHADOW, labels, 3);
}

enum status model_set_await_default(struct model_set *set, struct str name, struct err *err)
{
	const struct model_share none = {0};
	enum status status = STATUS_OK;

	if (!model_set_find_route(set, name))
		status = model_set_route(set, name, &none, 0, (struct str){0}, MODEL_STICKY_NONE, (struct str){0}, err);
	return status == STATUS_OK ? model_set_default(set, name, err) : status;
}

void model_set_count_in(struct model_set *set, struct shm *shm)
{
	for (int i = 0; i < set->versions_n; i++) {
		struct model_version *version = set->versions[i];
		struct metrics_label labels[] = {{"model_version", str_of(version->model->version)},
						 {"status", STR("error")}};
		version->seconds = metrics_find(shm, METRICS_PREDICTION_DURATION, labels, 1);
		version->error = metrics_find(shm, METRICS_PREDICTIONS, labels, 2);
		labels[1].value = STR("success");
		version->success = metrics_find(shm, METRICS_PREDICTIONS, labels, 2);
		struct metrics_label named[] = {{"model", str_of(version->model->name)},
						{"version", str_of(version->model->version)},
						{"status", STR("error")}};
		version->model_seconds = metrics_find(shm, METRICS_MODEL_DURATION, named, 2);
		version->model_error = metrics_find(shm, METRICS_MODEL_PREDICTIONS, named, 3);
		named[2].value = STR("success");
		version->model_success = metrics_find(shm, METRICS_MODEL_PREDICTIONS, named, 3);
		if (is_shadow(set, version))
			count_shadow_in(version, shm);
	}
}

const struct model_route *model_set_find_route(const struct model_set *set, struct str name)
{
	int at = routes_bound(set, name);

	return at < set->routes_n && compare(name, set->routes[at]->name) == 0 ? set->routes[at] : NULL;
}

const struct model_route *model_set_default_route(const struct model_set *set)
{
	return set->fallback;
}

const struct model_version *model_set_find(const struct model_set *set, struct str name, struct str version)
{
	for (int i = versions_bound(set, name, false); i < set->versions_n; i++) {
		const struct model *model = set->versions[i]->model;
		if (compare(name, model->name) != 0)
			break;
		if (str_eq(version, str_of(model->version)))
			return set->versions[i];
	}
	return NULL;
}

const struct model_version *model_route_pick(const struct model_route *route, uint64_t draw)
{
	if (route->n <= 1)
		return route->n ? route->shares[0].version : NULL;
	/* The draw as a upper half as a fraction of 2^32, times the sum: no division. */
	uint64_t left = (draw >> 32) * route->sum >> 32;
	int i = 0;
	while (i < route->n - 1 && left >= route->shares[i].share)
		left -= route->shares[i++].share;
	return route->shares[i].version;
}

uint64_t model_route_draw(const struct model_route *route, struct str subject)
{
	uint64_t draw;

	_Static_assert(sizeof(draw) == crypto_shorthash_BYTES, "SipHash's output");
	crypto_shorthash((uint8_t *)&draw, (const uint8_t *)(subject.p ? subject.p : ""), subject.n, route->draw_key);
	return draw;
}

bool model_set_wants_header(const struct model_set *set, struct str name)
{
	if (set->headers_n == 0)
		return false;
	for (int i = 0; i < set->routes_n; i++)
		if (set->routes[i]->sticky == MODEL_STICKY_HEADER &&
		    str_eq(name, str_of(set->routes[i]->sticky_header)))
			return true;
	return false;
}

const struct model_version *model_set_version_at(const struct model_set *set, int i)
{
	return i >= 0 && i < set->versions_n ? set->versions[i] : NULL;
}

const struct model_route *model_set_route_at(const struct model_set *set, int i)
{
	return i >= 0 && i < set->routes_n ? set->routes[i] : NULL;
}
