/* appcore model add, remove. A version is added to this machine's folder first and to the database last: what a worker
 * hears of is there. On every further machine the same add brings the files, and finds the database's row. */
#include "model_impl.h"

#include "base/clock.h"
#include "model/folder.h"
#include "model/manifest.h"

#include <json-c/json.h>
#include <stdio.h>

struct adding {
	struct model_command *c;
	struct folder_candidate candidate;
	struct models_version row;
	bool in_folder, in_database; /* it is there */
	bool new_here, new_there;    /* it was not in this folder, in the database */
	bool wrote;                  /* into the folder */
};

static enum status put_row(struct db *db, void *arg, struct err *err)
{
	struct adding *a = arg;

	return models_add(db, &a->row, &a->in_database, err);
}

/* What is there of this version already; another one of the same name and number is refused. */
static enum status look(struct adding *a, struct err *err)
{
	struct str name = str_of(a->row.name), version = str_of(a->row.version);
	struct models_version row;
	struct manifest *there;

	enum status status = models_find(a->c->db, name, version, &row, err);
	a->in_database = status == STATUS_OK;
	if (a->in_database && strcmp(row.hash, a->row.hash) != 0)
		return err_set(err, STATUS_CONFLICT,
			       "%s %s is there already, with another content: versions don't change.", a->row.name,
			       a->row.version);
	if (!a->in_database && status != STATUS_NOT_FOUND)
		return status;
	status = folder_read_manifest(&there, a->c->config.models_dir, name, version, err);
	a->in_folder = status == STATUS_OK;
	bool same = a->in_folder && strcmp(there->hash, a->row.hash) == 0;
	manifest_free(there);
	if (a->in_folder && !same)
		return err_set(err, STATUS_CONFLICT, "%s has another %s %s: remove it first.", a->c->config.models_dir,
			       a->row.name, a->row.version);
	return a->in_folder || status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status put(struct adding *a, struct err *err)
{
	struct str name = str_of(a->row.name), version = str_of(a->row.version);
	struct model *model = NULL;
	enum status status = STATUS_OK;

	if (!a->in_folder) {
		status = folder_add(&model, a->c->config.models_dir, name, version, &a->candidate, err);
		a->wrote = a->wrote || status == STATUS_OK;
	}
	model_drop(model);
	if (status == STATUS_OK && !a->in_database)
		status = db_transact(a->c->db, MODEL_TURN_WAIT_MS, put_row, a, err);
	return status;
}

/* After a failure: the files that were written go when no row names them. While nobody knows how the commit ended they
 * stay, for a row without files is worse than files without a row, which the same add completes. */
static enum status undo(const struct adding *a, enum status status)
{
	struct str name = str_of(a->row.name), version = str_of(a->row.version);
	struct models_version row;

	if (!a->wrote)
		return status;
	enum status found = models_find(a->c->db, name, version, &row, NULL);
	if (status == STATUS_UNKNOWN_OUTCOME)
		return found == STATUS_OK && strcmp(row.hash, a->row.hash) == 0 ? STATUS_OK : status;
	if (found == STATUS_NOT_FOUND)
		(void)!folder_remove(a->c->config.models_dir, name, version, NULL);
	return status;
}

/* Somebody else may add the same version at this moment, here or on another machine: then it is looked at once more. */
static enum status look_and_put(struct adding *a, struct err *err)
{
	enum status status = STATUS_CONFLICT;

	for (int tries = 0; tries < 2 && status == STATUS_CONFLICT; tries++) {
		status = look(a, err);
		if (status != STATUS_OK)
			break;
		if (a->in_database && a->in_folder && !a->wrote && !a->c->if_absent)
			return err_set(err, STATUS_CONFLICT, "%s %s is there already.", a->row.name, a->row.version);
		a->new_here = a->new_here || !a->in_folder;
		a->new_there = a->new_there || !a->in_database;
		status = put(a, err);
	}
	return status == STATUS_OK ? status : undo(a, status);
}

/* With --if-absent it is for the first start of a service: what an operator has chosen meanwhile stays. */
static enum status activate(struct adding *a, struct err *err)
{
	struct models_route route;

	if (a->c->if_absent) {
		enum status status = models_find_route(a->c->db, str_of(a->row.name), &route, err);
		if (status != STATUS_NOT_FOUND)
			return status;
	}
	return model_activate(a->c, a->row.name, a->row.version, err);
}

static void tell(const struct adding *a, const struct model *model)
{
	if (a->c->json) {
		struct json_object *object = json_object_new_object();
		json_object_object_add(object, "name", json_object_new_string(a->row.name));
		json_object_object_add(object, "version", json_object_new_string(a->row.version));
		json_object_object_add(object, "kind", json_object_new_string(model_kind_of(model)));
		json_object_object_add(object, "hash", json_object_new_string(a->row.hash));
		json_object_object_add(object, "added", json_object_new_boolean(a->new_here || a->new_there));
		model_print_json(object);
		return;
	}
	if (!a->new_here && !a->new_there)
		printf("%s %s is there already.\n", a->row.name, a->row.version);
	else
		printf("%s %s added: %s, %d inputs, %d examples passed.\n", a->row.name, a->row.version,
		       model_kind_of(model), model->manifest->inputs_n, model->manifest->examples_n);
}

static enum status add(struct adding *a, struct err *err)
{
	struct model *model = NULL;

	enum status status = model_read_candidate(a->c, &a->candidate, err);
	if (status == STATUS_OK)
		status = folder_candidate_load(&model, &a->candidate, str_of(a->row.name), str_of(a->row.version), err);
	if (status == STATUS_OK) {
		memcpy(a->row.hash, model->hash, sizeof(a->row.hash));
		status = look_and_put(a, err);
	}
	if (status == STATUS_OK && a->c->activate)
		status = activate(a, err);
	if (status == STATUS_OK)
		tell(a, model);
	model_drop(model);
	return status;
}

int model_run_add(struct model_command *c)
{
	struct adding a = {.c = c, .row = {.loaded = true, .added_us = clock_wall_us()}};
	struct err err = {0};

	if (!c->name || !c->version)
		return command_fail(EXIT_USAGE, "add wants --name and --version.");
	if (!model_name_is_valid(str_of(c->name)) || !model_name_is_valid(str_of(c->version)))
		return command_fail(EXIT_USAGE,
				    "--name and --version want 1 to %d letters, digits, '.', '_' and '-', the first no "
				    "'.' nor '-'.",
				    MODEL_NAME_BYTES - 1);
	if (str_eq(model_builtin(c->name), str_of(c->version)))
		return command_fail(EXIT_USAGE, "%s %s is built in.", c->name, c->version);
	snprintf(a.row.name, sizeof(a.row.name), "%s", c->name);
	snprintf(a.row.version, sizeof(a.row.version), "%s", c->version);
	enum status status = add(&a, &err);
	folder_candidate_release(&a.candidate);
	return model_finish(status, &err);
}

static enum status remove_row(struct db *db, void *arg, struct err *err)
{
	const struct model_command *c = arg;

	return models_remove(db, str_of(c->words[0]), str_of(c->words[1]), err);
}

/* From the database first: workers that hear of it don't look for the files. What is in no table is removed from the
 * folder alone (what another machine has removed). */
int model_run_remove(struct model_command *c)
{
	struct str name = str_of(c->words[0]), version = str_of(c->words[1]);
	struct err err = {0}, folder = {0};

	if (str_eq(model_builtin(c->words[0]), version))
		return command_fail(EXIT_USAGE, "%s %s is built in.", c->words[0], c->words[1]);
	enum status status = db_transact(c->db, MODEL_TURN_WAIT_MS, remove_row, c, &err);
	if (status != STATUS_OK && status != STATUS_NOT_FOUND)
		return model_finish(status, &err);
	enum status removed = folder_remove(c->config.models_dir, name, version, &folder);
	if (removed == STATUS_NOT_FOUND && status == STATUS_NOT_FOUND)
		return model_finish(status, &err);
	if (removed != STATUS_OK && removed != STATUS_NOT_FOUND)
		return model_finish(removed, &folder);
	printf("removed\n");
	return EXIT_OK;
}
