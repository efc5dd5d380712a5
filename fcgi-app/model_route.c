/* appcore model activate, rollback, route, shadow, load, unload: who answers for a name. Whatever is to answer is
 * loaded here first and runs its examples, so that a broken version is refused before any worker hears of it. */
#include "model_impl.h"

#include "base/clock.h"

#include <stdio.h>

struct change {
	struct models_change route;
	struct str name, version;
	bool loaded;
};

static enum status set_route(struct db *db, void *arg, struct err *err)
{
	return models_set_route(db, &((struct change *)arg)->route, err);
}

static enum status roll_back(struct db *db, void *arg, struct err *err)
{
	const struct models_change *route = &((struct change *)arg)->route;

	return models_rollback(db, route->name, route->builtin, route->now_us, err);
}

static enum status set_loaded(struct db *db, void *arg, struct err *err)
{
	const struct change *change = arg;

	return models_set_loaded(db, change->name, change->version, change->loaded, err);
}

static struct change change_of(const char *name)
{
	struct models_change route = {.name = str_of(name), .builtin = model_builtin(name), .now_us = clock_wall_us()};

	return (struct change){.route = route, .name = str_of(name)};
}

/* Loads and lets go: a version that can't be loaded here must not answer. */
static enum status try_version(struct model_command *c, const char *name, const char *version, struct err *err)
{
	struct model *model;
	struct err why = {0};

	enum status status = model_load_known(c, name, version, &model, &why);
	model_drop(model);
	if (status == STATUS_OK)
		return status;
	return status == STATUS_NOT_FOUND ? err_set(err, status, "%s", why.text)
					  : err_set(err, status, "Nothing was changed, %s %s can't be loaded: %s", name,
						    version, why.text);
}

static enum status try_shares(struct model_command *c, const char *name, const struct models_shares *shares,
			      struct err *err)
{
	enum status status = STATUS_OK;

	for (int i = 0; i < shares->n && status == STATUS_OK; i++)
		status = try_version(c, name, shares->of[i].version, err);
	return status;
}

static int tell_route(struct model_command *c, const char *name)
{
	char shares[MODELS_SHARES_BYTES];
	struct models_route route;
	struct err err;

	enum status status = models_find_route(c->db, str_of(name), &route, &err);
	if (status == STATUS_NOT_FOUND && c->json)
		return EXIT_OK;
	if (status != STATUS_OK)
		return model_finish(status, &err);
	models_format_shares(&route.shares, shares);
	if (c->json)
		printf("{\"name\":\"%s\",\"route\":\"%s\",\"sticky\":\"%s\",\"shadow\":\"%s\"}\n", name, shares,
		       route.sticky, route.shadow);
	else
		printf("%s: %s%s%s%s%s\n", name, shares, *route.sticky ? ", sticky by " : "", route.sticky,
		       *route.shadow ? ", shadow " : "", route.shadow);
	return EXIT_OK;
}

static int apply(struct model_command *c, const char *name, struct change *change, db_change *run)
{
	struct err err = {0};
	enum status status = db_transact(c->db, MODEL_TURN_WAIT_MS, run, change, &err);

	return status == STATUS_OK ? tell_route(c, name) : model_finish(status, &err);
}

enum status model_activate(struct model_command *c, const char *name, const char *version, struct err *err)
{
	struct change change = change_of(name);
	struct models_shares shares;

	enum status status = try_version(c, name, version, err);
	if (status == STATUS_OK)
		status = models_parse_shares(str_of(version), &shares, err);
	if (status != STATUS_OK)
		return status;
	change.route.shares = &shares;
	return db_transact(c->db, MODEL_TURN_WAIT_MS, set_route, &change, err);
}

int model_run_activate(struct model_command *c)
{
	struct err err = {0};
	enum status status = model_activate(c, c->words[0], c->words[1], &err);

	return status == STATUS_OK ? tell_route(c, c->words[0]) : model_finish(status, &err);
}

int model_run_rollback(struct model_command *c)
{
	struct change change = change_of(c->words[0]);
	struct models_shares shares;
	struct models_route route;
	struct err err = {0};

	enum status status = models_find_route(c->db, str_of(c->words[0]), &route, &err);
	if (status == STATUS_OK && route.former > 0) {
		status = models_parse_shares(str_of(route.rollback_to), &shares, &err);
		if (status == STATUS_OK)
			status = try_shares(c, c->words[0], &shares, &err);
	}
	return status == STATUS_OK ? apply(c, c->words[0], &change, roll_back) : model_finish(status, &err);
}

int model_run_route(struct model_command *c)
{
	struct change change = change_of(c->words[0]);
	char text[MODELS_SHARES_BYTES] = "";
	struct models_shares shares;
	struct err err = {0};
	enum status status = STATUS_OK;
	size_t n = 0;

	if (c->n == 1 && !c->sticky)
		return tell_route(c, c->words[0]);
	for (int i = 1; i < c->n && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 1 ? " " : "", c->words[i]);
	if (n >= sizeof(text))
		return command_fail(EXIT_USAGE, "these shares are too long.");
	if (c->n > 1) {
		status = models_parse_shares(str_of(text), &shares, &err);
		if (status == STATUS_OK)
			status = try_shares(c, c->words[0], &shares, &err);
		change.route.shares = &shares;
	}
	if (status != STATUS_OK)
		return model_finish(status, &err);
	if (c->sticky)
		change.route.sticky = strcmp(c->sticky, "none") == 0 ? "" : c->sticky;
	return apply(c, c->words[0], &change, set_route);
}

int model_run_shadow(struct model_command *c)
{
	struct change change = change_of(c->words[0]);
	bool none = strcmp(c->words[1], "none") == 0;
	struct err err = {0};

	enum status status = none ? STATUS_OK : try_version(c, c->words[0], c->words[1], &err);
	if (status != STATUS_OK)
		return model_finish(status, &err);
	change.route.shadow = none ? "" : c->words[1];
	return apply(c, c->words[0], &change, set_route);
}

static int run_loaded(struct model_command *c, bool loaded)
{
	struct change change = {.name = str_of(c->words[0]), .loaded = loaded};
	struct err err = {0};
	enum status status = STATUS_OK;

	if (c->n > 1)
		change.version = str_of(c->words[1]);
	if (model_builtin(c->words[0]).n > 0 && (c->n < 2 || str_eq(model_builtin(c->words[0]), change.version)))
		return command_fail(EXIT_USAGE, "the built-in %s is always loaded.", c->words[0]);
	if (loaded && c->n > 1)
		status = try_version(c, c->words[0], c->words[1], &err);
	if (status == STATUS_OK)
		status = db_transact(c->db, MODEL_TURN_WAIT_MS, set_loaded, &change, &err);
	if (status == STATUS_OK)
		printf("%s\n", loaded ? "loaded" : "unloaded");
	return model_finish(status, &err);
}

int model_run_load(struct model_command *c)
{
	return run_loaded(c, true);
}

int model_run_unload(struct model_command *c)
{
	return run_loaded(c, false);
}
