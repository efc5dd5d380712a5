/* GET /api/v1/models, /{name} and /{name}/versions/{version}: the models that are served, who answers for a name, and
 * how each version has been doing: what all workers of this machine have counted since the service was started. */
#include "app.h"
#include "base/json.h"
#include "handlers/handlers.h"
#include "model/manifest.h"

#include <math.h>
#include <sodium.h>

static const size_t LARGE_MANIFEST = (size_t)64 << 10; /* bytes; larger ones are told by a slow thread */

/* --- members --- */

static void put_name(struct buf *out, const char *name)
{
	if (out->n > 0 && !strchr("{[", out->p[out->n - 1]))
		buf_char(out, ',');
	json_put_string(out, str_of(name));
	buf_char(out, ':');
}

static void put_text(struct buf *out, const char *name, struct str value)
{
	put_name(out, name);
	if (value.n > 0)
		json_put_string(out, value);
	else
		buf_str(out, STR("null"));
}

static void put_number(struct buf *out, const char *name, double value)
{
	put_name(out, name);
	json_put_double(out, value); /* null where it is infinite: no bound */
}

static void put_count(struct buf *out, const char *name, uint64_t value)
{
	put_name(out, name);
	buf_u64(out, value);
}

static void put_bool(struct buf *out, const char *name, bool value)
{
	put_name(out, name);
	buf_str(out, value ? STR("true") : STR("false"));
}

static void put_texts(struct buf *out, const char *name, const struct str *texts, int n)
{
	put_name(out, name);
	buf_char(out, '[');
	for (int i = 0; i < n; i++) {
		if (i > 0)
			buf_char(out, ',');
		json_put_string(out, texts[i]);
	}
	buf_char(out, ']');
}

/* --- a version --- */

static const char *const TYPES[] = {[MANIFEST_NUMBER] = "number",
				    [MANIFEST_INTEGER] = "integer",
				    [MANIFEST_CATEGORY] = "category",
				    [MANIFEST_TEXT] = "text"};
static const char *const RULES[] = {[MANIFEST_REFUSE] = "refuse", [MANIFEST_FLAG] = "flag", [MANIFEST_ALLOW] = "allow"};
static const char *const OUTPUTS[] = {[MANIFEST_REGRESSION] = "regression",
				      [MANIFEST_BINARY] = "binary",
				      [MANIFEST_MULTICLASS] = "multiclass",
				      [MANIFEST_COUNT] = "count",
				      [MANIFEST_RANKING] = "ranking"};

static void put_input(struct buf *out, const struct manifest_input *input)
{
	buf_char(out, '{');
	put_text(out, "name", input->name);
	put_text(out, "type", str_of(TYPES[input->type]));
	if (isfinite(input->minimum))
		put_number(out, "minimum", input->minimum);
	if (isfinite(input->maximum))
		put_number(out, "maximum", input->maximum);
	put_text(out, "outside", str_of(RULES[input->outside]));
	put_text(out, "missing", str_of(RULES[input->missing]));
	if (input->type == MANIFEST_CATEGORY)
		put_texts(out, "categories", input->categories, input->categories_n);
	buf_char(out, '}');
}

static void put_manifest(struct buf *out, const struct manifest *manifest)
{
	put_text(out, "kind", manifest->kind);
	put_text(out, "description", manifest->description);
	put_text(out, "created_at", manifest->created_at);
	put_text(out, "source", manifest->source);
	put_text(out, "licence", manifest->licence);
	put_text(out, "file_hash", str_of(manifest->file_hash));
	put_name(out, "inputs");
	buf_char(out, '[');
	for (int i = 0; i < manifest->inputs_n; i++) {
		if (i > 0)
			buf_char(out, ',');
		put_input(out, &manifest->inputs[i]);
	}
	buf_char(out, ']');
	put_name(out, "output");
	buf_char(out, '{');
	put_text(out, "type", str_of(OUTPUTS[manifest->output]));
	put_text(out, "name", manifest->output_name);
	put_text(out, "meaning", manifest->output_meaning);
	put_texts(out, "classes", manifest->classes, manifest->classes_n);
	buf_char(out, '}');
	put_name(out, "quality");
	if (manifest->quality.type == JSON_OBJECT)
		json_put_value(out, manifest->quality);
	else
		buf_str(out, STR("null"));
}

/* What is told of a model without a manifest. */
static void put_builtin(struct buf *out)
{
	put_text(out, "kind", STR("builtin"));
	put_text(out, "description", STR("The mean of any number of features."));
	put_name(out, "inputs");
	buf_str(out, STR("null"));
	put_name(out, "output");
	buf_str(out, STR("{\"type\":\"regression\",\"name\":\"mean\",\"meaning\":\"The mean of the "
			 "features.\",\"classes\":[]}"));
}

static void put_statistics(struct buf *out, const struct model_version *version, const struct shm *shm)
{
	double seconds, none;
	uint64_t good = metrics_count(shm, version->model_success, &none);
	uint64_t bad = metrics_count(shm, version->model_error, &none);

	metrics_count(shm, version->model_seconds, &seconds);
	put_name(out, "statistics");
	buf_char(out, '{');
	put_count(out, "predictions", good);
	put_count(out, "errors", bad);
	put_number(out, "mean_duration_us", good + bad > 0 ? seconds * 1e6 / (double)(good + bad) : (double)NAN);
	buf_char(out, '}');
}

static unsigned share_of(const struct model_route *route, const struct model_version *version)
{
	for (int i = 0; route && i < route->n; i++)
		if (route->shares[i].version == version)
			return route->shares[i].share;
	return 0;
}

static bool is_active(const struct model_route *route, const struct model_version *version)
{
	return route && route->n > 0 && route->shares[0].version == version;
}

static void put_version(struct buf *out, const struct model_route *route, const struct model_version *version,
			const struct shm *shm, bool whole)
{
	const struct model *model = version->model;

	put_text(out, "version", str_of(model->version));
	put_bool(out, "active", is_active(route, version));
	put_count(out, "share", share_of(route, version));
	put_bool(out, "shadow", route && route->shadow == version);
	put_text(out, "hash", str_of(model->hash));
	put_bool(out, "healthy", model_is_healthy(model));
	put_count(out, "bytes", model->bytes);
	if (!whole)
		put_text(out, "kind", model->manifest ? model->manifest->kind : STR("builtin"));
	else if (model->manifest)
		put_manifest(out, model->manifest);
	else
		put_builtin(out);
	put_statistics(out, version, shm);
}

/* --- a name --- */

static void put_sticky(struct buf *out, const struct model_route *route)
{
	if (route && route->sticky == MODEL_STICKY_HEADER)
		put_text(out, "sticky", str_of(route->sticky_header));
	else
		put_text(out, "sticky", route && route->sticky == MODEL_STICKY_KEY ? STR("key") : (struct str){0});
}

/* Who answers for the name. */
static void put_route(struct buf *out, struct str name, const struct model_route *route, bool by_default)
{
	bool active = route && route->n > 0;

	put_text(out, "name", name);
	put_bool(out, "default", by_default);
	put_text(out, "active", active ? str_of(route->shares[0].version->model->version) : (struct str){0});
	put_name(out, "shares");
	buf_char(out, '{');
	for (int i = 0; route && i < route->n; i++)
		put_count(out, route->shares[i].version->model->version, route->shares[i].share);
	buf_char(out, '}');
	put_sticky(out, route);
	put_text(out, "shadow", route && route->shadow ? str_of(route->shadow->model->version) : (struct str){0});
}

/* The versions of the name from place *i on, which is left behind them. */
static void put_model(struct buf *out, struct request *req, int *i)
{
	const struct model_set *set = req->models;
	const struct model_version *version = model_set_version_at(set, *i);
	struct str name = str_of(version->model->name);
	const struct model_route *route = model_set_find_route(set, name);

	buf_char(out, '{');
	put_route(out, name, route, route && route == model_set_default_route(set));
	put_name(out, "versions");
	buf_char(out, '[');
	for (int first = *i; version && str_eq(str_of(version->model->name), name);
	     version = model_set_version_at(set, ++*i)) {
		if (*i > first)
			buf_char(out, ',');
		buf_char(out, '{');
		put_version(out, route, version, req->app->shm, false);
		buf_char(out, '}');
	}
	buf_str(out, STR("]}"));
}

/* --- answering --- */

/* What is told hardly ever changes but for its statistics: a client that has it gets 304. */
static void answer(struct request *req)
{
	struct buf *body = &req->response.body;
	uint8_t hash[16];
	char etag[2 + 2 * sizeof(hash) + 1];

	req->response.status = 200;
	req->response.content_type = "application/json";
	if (!body->failed) {
		crypto_generichash(hash, sizeof(hash), (const uint8_t *)body->p, body->n, NULL, 0);
		hex_format(hash, sizeof(hash), etag + 1);
		etag[0] = etag[2 * sizeof(hash) + 1] = '"';
		struct str tag = arena_dup(&req->arena, (struct str){etag, 2 + 2 * sizeof(hash)});
		response_header(&req->response, "ETag", tag);
		struct str known = str_trim(req->if_none_match);
		if (str_starts(known, STR("W/"))) /* nginx weakens the tag of what it zips */
			known = (struct str){known.p + 2, known.n - 2};
		if (tag.n > 0 && str_eq(known, tag)) {
			req->response.status = 304;
			req->response.content_type = NULL;
			body->n = 0;
		}
	}
	request_finish(req);
}

static void answer_unknown(struct request *req)
{
	struct str name = req->params[0], version = req->params[1];
	struct err err;

	if (version.n > 0)
		err_set(&err, STATUS_NOT_FOUND, "Model %.*s has no version %.*s that is loaded.", STR_ARG(name),
			STR_ARG(version));
	else
		err_set(&err, STATUS_NOT_FOUND, "There is no model %.*s.", STR_ARG(name));
	request_answer_error(req, STATUS_NOT_FOUND, &err);
	request_finish(req);
}

void models_get_list(struct request *req)
{
	struct buf *body = &req->response.body;

	buf_str(body, STR("{\"models\":["));
	for (int i = 0; model_set_version_at(req->models, i);) {
		if (i > 0)
			buf_char(body, ',');
		put_model(body, req, &i);
	}
	buf_str(body, STR("]}"));
	answer(req);
}

void models_get_one(struct request *req)
{
	const struct model_version *version;
	int i = 0;

	while ((version = model_set_version_at(req->models, i)) &&
	       !str_eq(str_of(version->model->name), req->params[0]))
		i++;
	if (!version) {
		answer_unknown(req);
		return;
	}
	put_model(&req->response.body, req, &i);
	answer(req);
}

static void tell_version(struct request *req, struct db *db)
{
	const struct model_version *version = model_set_find(req->models, req->params[0], req->params[1]);
	struct buf *body = &req->response.body;

	(void)db;
	buf_char(body, '{');
	put_text(body, "name", str_of(version->model->name));
	put_version(body, model_set_find_route(req->models, req->params[0]), version, req->app->shm, true);
	buf_char(body, '}');
	answer(req);
}

void models_get_version(struct request *req)
{
	const struct model_version *version = model_set_find(req->models, req->params[0], req->params[1]);

	if (!version) {
		answer_unknown(req);
		return;
	}
	if (version->model->manifest && version->model->manifest->text.n > LARGE_MANIFEST)
		request_go_slow(req, req->app->slow, tell_version);
	else
		tell_version(req, NULL);
}
