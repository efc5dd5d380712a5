/* appcore model list, show, check: what there is. */
#include "model_impl.h"

#include "base/clock.h"
#include "base/json.h"
#include "model/folder.h"
#include "model/registry.h"

#include <json-c/json.h>
#include <stdio.h>

/* --- a version in words --- */

static const char *const OUTPUTS[] = {
	[MANIFEST_REGRESSION] = "regression", [MANIFEST_BINARY] = "binary",   [MANIFEST_MULTICLASS] = "multiclass",
	[MANIFEST_COUNT] = "count",           [MANIFEST_RANKING] = "ranking",
};

static const char *const TYPES[] = {
	[MANIFEST_NUMBER] = "number",
	[MANIFEST_INTEGER] = "integer",
	[MANIFEST_CATEGORY] = "category",
	[MANIFEST_TEXT] = "text",
};

/* The share of a version in its route, 0 when it has none. */
static unsigned share_of(const struct models_route *route, const char *version, unsigned *sum)
{
	unsigned share = 0;

	*sum = 0;
	for (int i = 0; route && i < route->shares.n; i++) {
		*sum += route->shares.of[i].share;
		if (strcmp(route->shares.of[i].version, version) == 0)
			share = route->shares.of[i].share;
	}
	return share;
}

static void describe_state(const struct models_version *row, const struct models_route *route, char *out, size_t size)
{
	unsigned sum, share = share_of(route, row->version, &sum);

	if (!row->loaded)
		snprintf(out, size, "not loaded");
	else if (share > 0 && share == sum)
		snprintf(out, size, "active");
	else if (share > 0)
		snprintf(out, size, "active %.4g %%", 100.0 * share / sum);
	else if (route && strcmp(route->shadow, row->version) == 0)
		snprintf(out, size, "shadow");
	else
		snprintf(out, size, "loaded");
}

static const struct models_route *route_of(const struct registry_rows *rows, const char *name)
{
	for (size_t i = 0; i < rows->routes_n; i++)
		if (strcmp(rows->routes[i].name, name) == 0)
			return &rows->routes[i];
	return NULL;
}

/* What is known of the mean when no row says anything. */
static const struct models_route *mean_route(const struct registry_rows *rows, struct models_route *whole)
{
	const struct models_route *route = route_of(rows, model_mean()->name);

	if (route)
		return route;
	*whole = (struct models_route){.shares.n = 1};
	whole->shares.of[0].share = 100;
	snprintf(whole->shares.of[0].version, MODELS_NAME_BYTES, "%s", model_mean()->version);
	return whole;
}

/* --- list --- */

static struct json_object *json_of(const struct models_version *row, const struct models_route *route,
				   const struct manifest *manifest)
{
	struct json_object *object = json_object_new_object();
	unsigned sum, share = share_of(route, row->version, &sum);
	char iso[CLOCK_ISO_BYTES];

	clock_format_iso(row->added_us, iso);
	json_object_object_add(object, "name", json_object_new_string(row->name));
	json_object_object_add(object, "version", json_object_new_string(row->version));
	json_object_object_add(object, "hash", json_object_new_string(row->hash));
	json_object_object_add(object, "loaded", json_object_new_boolean(row->loaded));
	json_object_object_add(object, "share", json_object_new_double(sum ? (double)share / sum : 0));
	json_object_object_add(object, "shadow",
			       json_object_new_boolean(route && strcmp(route->shadow, row->version) == 0));
	json_object_object_add(object, "added_at", row->added_us ? json_object_new_string(iso) : NULL);
	json_object_object_add(object, "kind",
			       manifest ? json_object_new_string_len(manifest->kind.p, (int)manifest->kind.n) : NULL);
	return object;
}

struct listing {
	struct model_command *c;
	const struct registry_rows *rows;
	struct json_object *json; /* NULL: lines */
};

static void list_one(struct listing *l, const struct models_version *row, const struct models_route *route,
		     bool builtin)
{
	struct manifest *manifest = NULL;
	char state[40], kind[MODEL_NAME_BYTES] = "built in", added[CLOCK_ISO_BYTES] = "";
	struct err err = {0};

	if (!builtin) {
		enum status status = folder_read_manifest(&manifest, l->c->config.models_dir, str_of(row->name),
							  str_of(row->version), &err);
		snprintf(kind, sizeof(kind), "%.*s",
			 status == STATUS_OK ? (int)manifest->kind.n : (int)strlen("not here"),
			 status == STATUS_OK ? manifest->kind.p : "not here");
		clock_format_iso(row->added_us, added);
	}
	if (l->json) {
		json_object_array_add(l->json, json_of(row, route, manifest));
	} else {
		describe_state(row, route, state, sizeof(state));
		printf("%-20s  %-10s  %-12s  %-10s  %.12s  %.19s\n", row->name, row->version, state, kind, row->hash,
		       added);
	}
	manifest_free(manifest);
}

static bool list_unknown(void *arg, struct str name, struct str version)
{
	struct listing *l = arg;

	for (size_t i = 0; i < l->rows->versions_n; i++)
		if (str_eq(name, str_of(l->rows->versions[i].name)) &&
		    str_eq(version, str_of(l->rows->versions[i].version)))
			return true;
	printf("%-20.*s  %-10.*s  not added\n", STR_ARG(name), STR_ARG(version));
	return true;
}

int model_run_list(struct model_command *c)
{
	struct registry_rows rows = {0};
	struct listing l = {.c = c, .rows = &rows};
	struct models_version mean = {.loaded = true};
	struct models_route whole;
	struct err err = {0};
	bool changed;

	enum status status = registry_read(&rows, c->db, -1, &changed, &err);
	if (status != STATUS_OK) {
		registry_rows_release(&rows);
		return model_finish(status, &err);
	}
	if (c->json)
		l.json = json_object_new_array();
	snprintf(mean.name, sizeof(mean.name), "%s", model_mean()->name);
	snprintf(mean.version, sizeof(mean.version), "%s", model_mean()->version);
	snprintf(mean.hash, sizeof(mean.hash), "%s", model_mean()->hash);
	list_one(&l, &mean, mean_route(&rows, &whole), true);
	for (size_t i = 0; i < rows.versions_n; i++)
		list_one(&l, &rows.versions[i], route_of(&rows, rows.versions[i].name), false);
	if (c->json)
		model_print_json(l.json);
	else
		status = folder_list(c->config.models_dir, list_unknown, &l, &err);
	registry_rows_release(&rows);
	return model_finish(status, &err);
}

/* --- show --- */

static void print_text(const char *label, struct str text)
{
	if (text.n > 0)
		printf("%-13s %.*s\n", label, STR_ARG(text));
}

static void print_input(const struct manifest_input *input)
{
	printf("  %-24.*s %-8s", STR_ARG(input->name), TYPES[input->type]);
	if (input->minimum > -1e308 || input->maximum < 1e308)
		printf("  %g to %g", input->minimum, input->maximum);
	for (int i = 0; i < input->categories_n && i < 8; i++)
		printf("%s%.*s", i ? ", " : "  ", STR_ARG(input->categories[i]));
	printf("%s%s\n", input->categories_n > 8 ? ", …" : "",
	       input->missing == MANIFEST_REFUSE ? "" : "  may be missing");
}

static void print_model(const struct model *model)
{
	const struct manifest *m = model->manifest;

	printf("%-13s %s %s\n", "model", model->name, model->version);
	printf("%-13s %s\n", "kind", model_kind_of(model));
	printf("%-13s %s\n", "hash", model->hash);
	if (!m)
		return;
	print_text("description", m->description);
	print_text("made", m->created_at);
	print_text("source", m->source);
	print_text("licence", m->licence);
	printf("%-13s %s", "output", OUTPUTS[m->output]);
	if (m->output_name.n > 0)
		printf(" %.*s", STR_ARG(m->output_name));
	for (int i = 0; i < m->classes_n && i < 16; i++)
		printf("%s%.*s", i ? ", " : ": ", STR_ARG(m->classes[i]));
	printf("%s\n", m->classes_n > 16 ? ", …" : "");
	if (m->quality.type == JSON_OBJECT)
		print_text("quality", m->quality.text);
	printf("%-13s %zu bytes in memory, %d examples\n", "size", model->bytes, m->examples_n);
	printf("%-13s %d\n", "inputs", m->inputs_n);
	for (int i = 0; i < m->inputs_n && i < 50; i++)
		print_input(&m->inputs[i]);
	if (m->inputs_n > 50)
		printf("  … and %d more\n", m->inputs_n - 50);
}

static void show_json(const struct model *model, const struct models_route *route)
{
	struct json_object *object = json_object_new_object();
	char shares[MODELS_SHARES_BYTES] = "";

	if (route)
		models_format_shares(&route->shares, shares);
	json_object_object_add(object, "name", json_object_new_string(model->name));
	json_object_object_add(object, "version", json_object_new_string(model->version));
	json_object_object_add(object, "hash", json_object_new_string(model->hash));
	json_object_object_add(object, "bytes", json_object_new_int64((int64_t)model->bytes));
	json_object_object_add(object, "route", json_object_new_string(shares));
	json_object_object_add(object, "sticky", json_object_new_string(route ? route->sticky : ""));
	json_object_object_add(object, "shadow", json_object_new_string(route ? route->shadow : ""));
	json_object_object_add(object, "rollback_to", json_object_new_string(route ? route->rollback_to : ""));
	json_object_object_add(object, "manifest", model->manifest ? json_tree(model->manifest->root) : NULL);
	model_print_json(object);
}

/* NAME: its active version and its route. NAME VERSION: that one. */
int model_run_show(struct model_command *c)
{
	struct models_route route = {0};
	char shares[MODELS_SHARES_BYTES];
	struct model *model = NULL;
	struct err err = {0};

	enum status status = models_find_route(c->db, str_of(c->words[0]), &route, &err);
	bool routed = status == STATUS_OK;
	if (status == STATUS_NOT_FOUND && (c->n > 1 || model_builtin(c->words[0]).n > 0))
		status = STATUS_OK;
	const char *active = routed ? models_active(&route.shares) : model_builtin(c->words[0]).p;
	if (status == STATUS_OK)
		status = model_load_known(c, c->words[0], c->n > 1 ? c->words[1] : active, &model, &err);
	if (status != STATUS_OK)
		return model_finish(status, &err);
	if (c->json) {
		show_json(model, routed ? &route : NULL);
	} else {
		print_model(model);
		models_format_shares(&route.shares, shares);
		print_text("route", str_of(shares));
		print_text("sticky by", str_of(route.sticky));
		print_text("shadow", str_of(route.shadow));
		print_text("rollback to", str_of(route.rollback_to));
	}
	model_drop(model);
	return EXIT_OK;
}

/* --- check --- */

int model_run_check(struct model_command *c)
{
	struct folder_candidate candidate = {0};
	struct model *model = NULL;
	struct err err = {0};
	enum status status;

	if (c->n > 1) {
		status = model_load_known(c, c->words[0], c->words[1], &model, &err);
	} else {
		status = model_read_candidate(c, &candidate, &err);
		if (status == STATUS_OK)
			status = folder_candidate_load(&model, &candidate, STR("candidate"), STR("1"), &err);
		folder_candidate_release(&candidate);
	}
	if (status == STATUS_OK && c->json)
		show_json(model, NULL);
	else if (status == STATUS_OK)
		printf("ok: %s, %d inputs, %d examples passed, %zu bytes in memory\n", model_kind_of(model),
		       model->manifest ? model->manifest->inputs_n : 0,
		       model->manifest ? model->manifest->examples_n : 0, model->bytes);
	model_drop(model);
	return model_finish(status, &err);
}
