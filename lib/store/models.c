/* Tables models and model_routes. What a change needs is read in its transaction, so that two machines that change the
 * same model one after the other see each other; a version's id is "name/version", neither of which has a slash. */
#include "store/models.h"

#include "store/generations.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSION_COLUMNS "id, hash, loaded, added_us"
#define ROUTE_COLUMNS   "name, shares, sticky, shadow, former, changed_us"

/* Changes of models wait for each other: what one has looked at (a version is there, no route needs it) is so until it
 * has ended. */
enum { MODELS_LOCK_KEY = 0x61707034 };
enum { ID_BYTES = 2 * MODELS_NAME_BYTES, FORMER_BYTES = MODELS_FORMER_MAX * (MODELS_SHARES_BYTES + 1) + 1 };

/* A route with all of its former ones: lines of shares, the newest first. */
struct whole_route {
	struct models_route route;
	char former[FORMER_BYTES];
	bool there;
};

static void copy_text(struct str text, char *out, size_t size)
{
	size_t n = text.n < size ? text.n : size - 1;

	if (n > 0)
		memcpy(out, text.p, n);
	out[n] = '\0';
}

static void make_id(struct str name, struct str version, char out[static ID_BYTES])
{
	snprintf(out, ID_BYTES, "%.*s/%.*s", (int)(name.n < MODELS_NAME_BYTES ? name.n : MODELS_NAME_BYTES - 1),
		 name.p ? name.p : "", (int)(version.n < MODELS_NAME_BYTES ? version.n : MODELS_NAME_BYTES - 1),
		 version.p ? version.p : "");
}

/* Prepares and binds `n` texts. */
static enum status prepare(struct db *db, const char *sql, struct stmt **stmt, const struct str *texts, int n,
			   struct err *err)
{
	enum status status = db_prepare(db, sql, stmt, err);

	for (int i = 0; i < n && status == STATUS_OK; i++)
		db_bind_text(*stmt, i + 1, texts[i]);
	return status;
}

/* --- versions --- */

static void read_version(struct stmt *stmt, struct models_version *out)
{
	struct str rest = db_column_text(stmt, 0);
	struct str name = str_cut(&rest, '/');

	copy_text(name, out->name, sizeof(out->name));
	copy_text(rest, out->version, sizeof(out->version));
	db_column_copy(stmt, 1, out->hash, sizeof(out->hash));
	out->loaded = db_column_i64(stmt, 2) != 0;
	out->added_us = db_column_i64(stmt, 3);
}

enum status models_find(struct db *db, struct str name, struct str version, struct models_version *out, struct err *err)
{
	static const char sql[] = "SELECT " VERSION_COLUMNS " FROM models WHERE id = $1";
	char id[ID_BYTES];
	struct stmt *stmt;
	bool row = false;

	make_id(name, version, id);
	enum status status = prepare(db, sql, &stmt, &(struct str){id, strlen(id)}, 1, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row)
		read_version(stmt, out);
	db_reset(stmt);
	if (status == STATUS_OK && !row)
		status = err_set(err, STATUS_NOT_FOUND, "There is no model %s.", id);
	return status;
}

enum status models_each(struct db *db, models_version_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " VERSION_COLUMNS " FROM models ORDER BY id";
	struct stmt *stmt;
	bool more = true;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more) {
		struct models_version version;
		read_version(stmt, &version);
		more = fn(arg, &version);
	}
	db_reset(stmt);
	return status;
}

/* --- routes --- */

/* The first line of *former. False: there is none. What can't be read is skipped. */
static bool next_former(struct str *former, struct str *line, struct models_shares *shares)
{
	while (former->n > 0) {
		*line = str_cut(former, '\n');
		if (models_parse_shares(*line, shares, NULL) == STATUS_OK)
			return true;
	}
	return false;
}

static void read_route(struct stmt *stmt, struct models_route *out, struct str former)
{
	struct models_shares shares;
	struct str line;

	*out = (struct models_route){0};
	db_column_copy(stmt, 0, out->name, sizeof(out->name));
	if (models_parse_shares(db_column_text(stmt, 1), &out->shares, NULL) != STATUS_OK)
		out->shares.n = 0;
	db_column_copy(stmt, 2, out->sticky, sizeof(out->sticky));
	db_column_copy(stmt, 3, out->shadow, sizeof(out->shadow));
	while (next_former(&former, &line, &shares))
		if (out->former++ == 0)
			models_format_shares(&shares, out->rollback_to);
	out->changed_us = db_column_i64(stmt, 5);
}

static enum status find_whole(struct db *db, struct str name, struct whole_route *out, struct err *err)
{
	static const char sql[] = "SELECT " ROUTE_COLUMNS " FROM model_routes WHERE name = $1";
	struct stmt *stmt;

	*out = (struct whole_route){0};
	copy_text(name, out->route.name, sizeof(out->route.name));
	enum status status = prepare(db, sql, &stmt, &name, 1, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &out->there, err);
	if (status == STATUS_OK && out->there) {
		db_column_copy(stmt, 4, out->former, sizeof(out->former));
		read_route(stmt, &out->route, db_column_text(stmt, 4));
	}
	db_reset(stmt);
	return status;
}

enum status models_find_route(struct db *db, struct str name, struct models_route *out, struct err *err)
{
	struct whole_route whole;
	enum status status = find_whole(db, name, &whole, err);

	*out = whole.route;
	if (status == STATUS_OK && !whole.there)
		status = err_set(err, STATUS_NOT_FOUND, "Nothing is active for model %s.", whole.route.name);
	return status;
}

enum status models_each_route(struct db *db, models_route_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " ROUTE_COLUMNS " FROM model_routes ORDER BY name";
	struct stmt *stmt;
	bool more = true;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more) {
		struct models_route route;
		read_route(stmt, &route, db_column_text(stmt, 4));
		more = fn(arg, &route);
	}
	db_reset(stmt);
	return status;
}

static bool shares_have(const struct models_shares *shares, struct str version)
{
	for (int i = 0; i < shares->n; i++)
		if (str_eq(version, str_of(shares->of[i].version)))
			return true;
	return false;
}

static bool route_needs(const struct models_route *route, struct str version)
{
	return shares_have(&route->shares, version) || str_eq(version, str_of(route->shadow));
}

static enum status put_whole(struct db *db, const struct whole_route *whole, struct err *err)
{
	static const char sql[] = "INSERT INTO model_routes (" ROUTE_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6)"
				  " ON CONFLICT (name) DO UPDATE SET shares = excluded.shares,"
				  " sticky = excluded.sticky, shadow = excluded.shadow, former = excluded.former,"
				  " changed_us = excluded.changed_us";
	char shares[MODELS_SHARES_BYTES];
	struct stmt *stmt;

	models_format_shares(&whole->route.shares, shares);
	const struct str texts[] = {str_of(whole->route.name), str_of(shares), str_of(whole->route.sticky),
				    str_of(whole->route.shadow), str_of(whole->former)};
	enum status status = prepare(db, sql, &stmt, texts, 5, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 6, whole->route.changed_us);
	status = db_run(stmt, NULL, err);
	return status == STATUS_OK ? generations_bump(db, MODELS_TOPIC, err) : status;
}

/* --- changing versions --- */

enum status models_add(struct db *db, const struct models_version *version, bool *there, struct err *err)
{
	static const char sql[] = "INSERT INTO models (" VERSION_COLUMNS ") VALUES ($1, $2, $3, $4)";
	struct str name = str_of(version->name), number = str_of(version->version);
	struct models_version found;
	char id[ID_BYTES];
	struct stmt *stmt;

	*there = false;
	enum status status = db_lock(db, MODELS_LOCK_KEY, err);
	if (status != STATUS_OK)
		return status;
	status = models_find(db, name, number, &found, err);
	*there = status == STATUS_OK;
	if (*there && strcmp(found.hash, version->hash) != 0)
		return err_set(err, STATUS_CONFLICT,
			       "Model %s %s is there already, with another content: versions don't change.",
			       version->name, version->version);
	if (status != STATUS_NOT_FOUND)
		return status;
	make_id(name, number, id);
	const struct str texts[] = {str_of(id), str_of(version->hash)};
	status = prepare(db, sql, &stmt, texts, 2, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 3, version->loaded);
	db_bind_i64(stmt, 4, version->added_us);
	status = db_run(stmt, NULL, err);
	return status == STATUS_OK ? generations_bump(db, MODELS_TOPIC, err) : status;
}

/* Former routes without those that have the version. */
static void forget_former(struct whole_route *whole, struct str version)
{
	struct str rest = str_of(whole->former), line;
	struct models_shares shares;
	char kept[FORMER_BYTES];
	size_t n = 0;

	kept[0] = '\0';
	while (next_former(&rest, &line, &shares))
		if (!shares_have(&shares, version))
			n += (size_t)snprintf(kept + n, sizeof(kept) - n, "%s%.*s", n ? "\n" : "", STR_ARG(line));
	memcpy(whole->former, kept, n + 1);
}

/* The route that a version of a name must not be needed by. */
static enum status check_unused(struct db *db, struct str name, struct str version, struct whole_route *whole,
				struct err *err)
{
	enum status status = find_whole(db, name, whole, err);

	if (status == STATUS_OK && route_needs(&whole->route, version))
		status = err_set(err, STATUS_CONFLICT,
				 "Version %.*s of model %s is %s: activate another one first, "
				 "or, when it is the last one, unload the model.",
				 STR_ARG(version), whole->route.name,
				 shares_have(&whole->route.shares, version) ? "active" : "the shadow");
	return status;
}

/* All ids of a name begin with "name/" and end before "name0", '0' being what follows '/'. */
static void make_bounds(struct str name, char from[static ID_BYTES], char until[static ID_BYTES])
{
	make_id(name, (struct str){0}, from);
	memcpy(until, from, ID_BYTES);
	until[strlen(until) - 1] = '/' + 1;
}

/* A name's only version answers for it, unloaded: then the name as a whole goes, and its route with it. */
static enum status is_name_going(struct db *db, const struct models_version *version, bool *going, struct err *err)
{
	static const char sql[] = "SELECT COUNT(*) FROM models WHERE id > $1 AND id < $2";
	char from[ID_BYTES], until[ID_BYTES];
	struct stmt *stmt;
	bool row = false;

	*going = false;
	if (version->loaded)
		return STATUS_OK;
	make_bounds(str_of(version->name), from, until);
	const struct str bounds[] = {str_of(from), str_of(until)};
	enum status status = prepare(db, sql, &stmt, bounds, 2, err);
	if (status != STATUS_OK)
		return status;
	status = db_step(stmt, &row, err);
	*going = status == STATUS_OK && row && db_column_i64(stmt, 0) == 1;
	db_reset(stmt);
	return status;
}

static enum status delete_route(struct db *db, struct str name, struct err *err)
{
	static const char sql[] = "DELETE FROM model_routes WHERE name = $1";
	struct stmt *stmt;

	enum status status = prepare(db, sql, &stmt, &name, 1, err);
	if (status == STATUS_OK)
		status = db_run(stmt, NULL, err);
	return status == STATUS_OK ? generations_bump(db, MODELS_TOPIC, err) : status;
}

enum status models_remove(struct db *db, struct str name, struct str version, struct err *err)
{
	static const char sql[] = "DELETE FROM models WHERE id = $1";
	struct models_version found = {0};
	struct whole_route whole = {0};
	char id[ID_BYTES];
	struct stmt *stmt;
	bool going = false;

	enum status status = db_lock(db, MODELS_LOCK_KEY, err);
	if (status == STATUS_OK)
		status = models_find(db, name, version, &found, err);
	if (status == STATUS_OK)
		status = is_name_going(db, &found, &going, err);
	if (status == STATUS_OK)
		status = going ? find_whole(db, name, &whole, err) : check_unused(db, name, version, &whole, err);
	make_id(name, version, id);
	if (status == STATUS_OK)
		status = prepare(db, sql, &stmt, &(struct str){id, strlen(id)}, 1, err);
	if (status == STATUS_OK)
		status = db_run(stmt, NULL, err);
	if (status == STATUS_OK && going && route_needs(&whole.route, version))
		return delete_route(db, name, err);
	if (status == STATUS_OK && whole.there) {
		forget_former(&whole, version);
		return put_whole(db, &whole, err);
	}
	return status == STATUS_OK ? generations_bump(db, MODELS_TOPIC, err) : status;
}

static enum status set_loaded(struct db *db, const char *id, bool loaded, struct err *err)
{
	static const char sql[] = "UPDATE models SET loaded = $1 WHERE id = $2";

	return db_run_once(db, sql, DB_VALUES(db_i64(loaded), db_text(str_of(id))), NULL, err);
}

static enum status set_all_loaded(struct db *db, struct str name, bool loaded, struct err *err)
{
	static const char sql[] = "UPDATE models SET loaded = $1 WHERE id > $2 AND id < $3";
	char from[ID_BYTES], until[ID_BYTES];
	int64_t changed;

	make_bounds(name, from, until);
	enum status status = db_run_once(
		db, sql, DB_VALUES(db_i64(loaded), db_text(str_of(from)), db_text(str_of(until))), &changed, err);
	if (status == STATUS_OK && changed == 0)
		status = err_set(err, STATUS_NOT_FOUND, "There is no model %.*s.", (int)strlen(from) - 1, from);
	return status;
}

enum status models_set_loaded(struct db *db, struct str name, struct str version, bool loaded, struct err *err)
{
	struct models_version found;
	struct whole_route whole;
	char id[ID_BYTES];
	enum status status = db_lock(db, MODELS_LOCK_KEY, err);

	make_id(name, version, id);
	if (status != STATUS_OK)
		return status;
	if (version.n == 0) {
		status = set_all_loaded(db, name, loaded, err);
	} else {
		status = models_find(db, name, version, &found, err);
		if (status == STATUS_OK && !loaded)
			status = check_unused(db, name, version, &whole, err);
		if (status == STATUS_OK)
			status = set_loaded(db, id, loaded, err);
	}
	return status == STATUS_OK ? generations_bump(db, MODELS_TOPIC, err) : status;
}

/* --- changing routes --- */

/* A version that a route is to have is there, and loaded from now on. */
static enum status want_version(struct db *db, struct str name, const char *version, struct str builtin,
				struct err *err)
{
	struct models_version found = {0};
	char id[ID_BYTES];

	if (builtin.n > 0 && str_eq(str_of(version), builtin))
		return STATUS_OK;
	enum status status = models_find(db, name, str_of(version), &found, err);
	make_id(name, str_of(version), id);
	return status == STATUS_OK && !found.loaded ? set_loaded(db, id, true, err) : status;
}

static enum status want_shares(struct db *db, struct str name, const struct models_shares *shares, struct str builtin,
			       struct err *err)
{
	enum status status = STATUS_OK;

	for (int i = 0; i < shares->n && status == STATUS_OK; i++)
		status = want_version(db, name, shares->of[i].version, builtin, err);
	return status;
}

/* Puts the shares in force before the former ones, of which the oldest may go. */
static void keep_former(struct whole_route *whole)
{
	char kept[FORMER_BYTES], shares[MODELS_SHARES_BYTES];
	struct str rest = str_of(whole->former), line;
	struct models_shares parsed;

	if (whole->route.shares.n == 0)
		return;
	models_format_shares(&whole->route.shares, shares);
	size_t n = (size_t)snprintf(kept, sizeof(kept), "%s", shares);
	for (int i = 1; i < MODELS_FORMER_MAX && next_former(&rest, &line, &parsed); i++)
		n += (size_t)snprintf(kept + n, sizeof(kept) - n, "\n%.*s", STR_ARG(line));
	memcpy(whole->former, kept, n + 1);
}

static bool shares_equal(const struct models_shares *a, const struct models_shares *b)
{
	char one[MODELS_SHARES_BYTES], other[MODELS_SHARES_BYTES];

	models_format_shares(a, one);
	models_format_shares(b, other);
	return strcmp(one, other) == 0;
}

enum status models_set_route(struct db *db, const struct models_change *change, struct err *err)
{
	struct whole_route whole = {0};

	if (change->sticky && !models_sticky_is_valid(str_of(change->sticky)))
		return err_set(err, STATUS_INVALID,
			       "\"%.80s\" is nothing to be sticky by: it wants key, none or header:NAME.",
			       change->sticky);
	enum status status = db_lock(db, MODELS_LOCK_KEY, err);
	if (status == STATUS_OK)
		status = find_whole(db, change->name, &whole, err);
	if (status == STATUS_OK && !whole.there && !change->shares && change->builtin.n == 0)
		status = err_set(err, STATUS_NOT_FOUND, "Nothing is active for model %.*s.", STR_ARG(change->name));
	/* The built-in version answers for its name as long as no row says otherwise: a first row begins with it. */
	if (status == STATUS_OK && !whole.there && change->builtin.n > 0) {
		copy_text(change->builtin, whole.route.shares.of[0].version, MODELS_NAME_BYTES);
		whole.route.shares.of[0].share = 100;
		whole.route.shares.n = 1;
	}
	if (status == STATUS_OK && change->shares)
		status = want_shares(db, change->name, change->shares, change->builtin, err);
	if (status == STATUS_OK && change->shadow && *change->shadow)
		status = want_version(db, change->name, change->shadow, change->builtin, err);
	const struct models_shares *shares = change->shares ? change->shares : &whole.route.shares;
	if (status == STATUS_OK && change->shadow && shares_have(shares, str_of(change->shadow)))
		status = err_set(err, STATUS_INVALID, "Version %s of model %s answers: it can't be its own shadow.",
				 change->shadow, whole.route.name);
	if (status != STATUS_OK)
		return status;
	if (change->shares && !shares_equal(change->shares, &whole.route.shares)) {
		keep_former(&whole);
		whole.route.shares = *change->shares;
	}
	if (shares_have(&whole.route.shares, str_of(whole.route.shadow)))
		whole.route.shadow[0] = '\0'; /* it answers by now */
	if (change->sticky)
		copy_text(str_of(change->sticky), whole.route.sticky, sizeof(whole.route.sticky));
	if (change->shadow)
		copy_text(str_of(change->shadow), whole.route.shadow, sizeof(whole.route.shadow));
	whole.route.changed_us = change->now_us;
	return put_whole(db, &whole, err);
}

enum status models_rollback(struct db *db, struct str name, struct str builtin, int64_t now_us, struct err *err)
{
	struct models_shares shares;
	struct whole_route whole = {0};
	struct str rest, line;

	enum status status = db_lock(db, MODELS_LOCK_KEY, err);
	if (status == STATUS_OK)
		status = find_whole(db, name, &whole, err);
	if (status != STATUS_OK)
		return status;
	rest = str_of(whole.former);
	if (!next_former(&rest, &line, &shares))
		return err_set(err, STATUS_NOT_FOUND, "Model %.*s has no route to go back to.",
			       (int)(name.n < MODELS_NAME_BYTES ? name.n : MODELS_NAME_BYTES), name.p ? name.p : "");
	status = want_shares(db, name, &shares, builtin, err);
	if (status != STATUS_OK)
		return status;
	whole.route.shares = shares;
	whole.route.changed_us = now_us;
	memmove(whole.former, rest.n > 0 ? rest.p : "", rest.n + 1);
	return put_whole(db, &whole, err);
}
