/* The models that a process serves at a time: a set that is built, then never changed, and replaced as a whole. Each
 * request holds the set it began with, so that no request sees half of a change; the last one's going frees a set, and
 * with it the models that no other set has. */
#ifndef APPCORE_MODEL_SET_H
#define APPCORE_MODEL_SET_H

#include "model/model.h"
#include "shared/metrics.h"

enum { MODEL_SET_VERSIONS_MAX = 256, MODEL_SET_NAMES_MAX = 128, MODEL_SHARES_MAX = 8, MODEL_STICKY_BYTES = 64 };

/* A version in a set, with the series it is counted in (of this process; set by model_set_count_in). */
struct model_version {
	struct model *model;
	metrics_series error, success;             /* predictions_total{model_version,status} */
	metrics_series seconds;                    /* prediction_duration_seconds{model_version} */
	metrics_series model_error, model_success; /* appcore_model_predictions_total{model,version,status} */
	metrics_series model_seconds;              /* appcore_model_duration_seconds{model,version} */
	/* appcore_shadow_total{model,version,outcome}; of versions that are some route's shadow. */
	metrics_series shadow_scored, shadow_dropped, shadow_failed;
};

enum model_sticky {
	MODEL_STICKY_NONE,   /* each request is drawn by itself */
	MODEL_STICKY_KEY,    /* all requests of an API key get the same version */
	MODEL_STICKY_HEADER, /* all requests with the same value of a header */
};

/* Which versions of a name answer a request that names no version. */
struct model_route {
	char name[MODEL_NAME_BYTES];
	struct {
		const struct model_version *version;
		unsigned share;     /* of the sum of all shares */
	} shares[MODEL_SHARES_MAX]; /* the largest first: the active version */
	int n;                      /* 0: nothing of this name is active */
	unsigned sum;
	const struct model_version *shadow; /* scores what the others answer; NULL: none */
	enum model_sticky sticky;
	char sticky_header[MODEL_STICKY_BYTES]; /* as CGI has it: "HTTP_X_USER_ID" */
	uint8_t draw_key[16];                   /* of model_route_draw */
};

struct model_set;

/* A set with one user that has the built-in mean (route and version), and nothing else. NULL: no memory. */
struct model_set *model_set_new(void) __attribute__((warn_unused_result));
struct model_set *model_set_hold(struct model_set *set) __attribute__((nonnull));
void model_set_drop(struct model_set *set); /* NULL is allowed */

/* Building; before the set is shown to others. Add holds the model. STATUS_CONFLICT: name and version are there
 * already; STATUS_BUSY: full. A route names versions that were added; STATUS_NOT_FOUND otherwise. A second route for a
 * name replaces the first. */
enum status model_set_add(struct model_set *set, struct model *model, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
struct model_share {
	struct str version;
	unsigned share; /* 1 to 10,000 */
};
enum status model_set_route(struct model_set *set, struct str name, const struct model_share *shares, int n,
			    struct str shadow, enum model_sticky sticky, struct str header, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* Which name answers where the caller names no model. STATUS_NOT_FOUND: it has no route. */
enum status model_set_default(struct model_set *set, struct str name, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* The same, also for a name that has no route yet: it gets one that answers with nothing until it is replaced. */
enum status model_set_await_default(struct model_set *set, struct str name, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* Finds the series of all versions. Needs a claimed slot. */
void model_set_count_in(struct model_set *set, struct shm *shm) __attribute__((nonnull));

/* Reading; any thread. All results borrow from the set. NULL: there is none. */
const struct model_route *model_set_find_route(const struct model_set *set, struct str name) __attribute__((nonnull));
const struct model_route *model_set_default_route(const struct model_set *set) __attribute__((nonnull));
const struct model_version *model_set_find(const struct model_set *set, struct str name, struct str version)
	__attribute__((nonnull));
/* The version that a draw falls to: each share gets its part of all values of `draw`. NULL: none is active. */
const struct model_version *model_route_pick(const struct model_route *route, uint64_t draw) __attribute__((nonnull));
/* The draw for a subject (an API key's id, a header's value): always the same one for a subject and a model's name, on
 * every machine. SipHash-2-4 (Aumasson and Bernstein, 2012) with a key made of the name, so that whoever gets the
 * candidate of one model does not get that of all. */
uint64_t model_route_draw(const struct model_route *route, struct str subject) __attribute__((nonnull));
/* Whether a route is sticky by this header, named as CGI has it. */
bool model_set_wants_header(const struct model_set *set, struct str name) __attribute__((nonnull));
/* The i-th version, by name, then in the order of adding; the i-th route, by name. NULL past the last. */
const struct model_version *model_set_version_at(const struct model_set *set, int i) __attribute__((nonnull));
const struct model_route *model_set_route_at(const struct model_set *set, int i) __attribute__((nonnull));

#endif
