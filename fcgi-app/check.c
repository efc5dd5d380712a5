/* appcore check: what an operator wants to know before and after a deployment. */
#include "command.h"
#include "model/folder.h"
#include "store/migrate.h"
#include "store/models.h"
#include "store/predictions.h"

#include <json-c/json.h>
#include <stdio.h>

struct findings {
	int migration, newest;
	int64_t predictions;
	bool about; /* that many */
	struct db_info info;
	bool secret;         /* there is one to sign tokens with */
	bool integrity;      /* was asked for, and is good */
	struct model *model; /* the active version of the default model, loaded */
};

/* Loads what answers where no model is named. */
static enum status load_model(struct db *db, const struct config *config, struct model **out, struct err *err)
{
	struct str name = str_of(config->model_default);
	struct models_version row;
	struct models_route route;

	enum status status = models_find_route(db, name, &route, err);
	const char *active = status == STATUS_OK ? models_active(&route.shares) : "";
	bool is_mean = str_eq(name, str_of(model_mean()->name));
	if (is_mean && (status == STATUS_NOT_FOUND || strcmp(active, model_mean()->version) == 0)) {
		*out = model_hold(model_mean());
		return STATUS_OK;
	}
	if (status == STATUS_OK)
		status = models_find(db, name, str_of(active), &row, err);
	if (status == STATUS_OK)
		status = folder_load(out, config->models_dir, name, str_of(active), str_of(row.hash), err);
	return status;
}

static enum status look(struct db *db, const struct config *config, bool integrity, struct findings *findings,
			struct err *err)
{
	migrate_all(DB_DIALECT_SQLITE, &findings->newest);
	db_info(db, &findings->info);
	enum status status = db_ping(db, err);
	if (status == STATUS_OK)
		status = migrate_current(db, &findings->migration, err);
	if (status == STATUS_OK && findings->migration < findings->newest)
		return err_set(err, STATUS_CONFLICT,
			       "The schema is at migration %d, this program wants %d. Run: appcore migrate up",
			       findings->migration, findings->newest);
	if (status == STATUS_OK)
		status = predictions_count(db, &findings->predictions, &findings->about, err);
	if (status == STATUS_OK)
		status = load_model(db, config, &findings->model, err);
	if (status == STATUS_OK && integrity)
		status = db_integrity(db, err);
	findings->integrity = status == STATUS_OK && integrity;
	return status;
}

static void tell(const struct findings *findings, bool json)
{
	if (!json) {
		printf("settings     ok%s\n"
		       "database     ok: %s at %s, %lld bytes, log %lld bytes\n"
		       "schema       ok: migration %d of %d\n"
		       "predictions  %s%lld stored\n"
		       "model        ok: %s %s\n",
		       findings->secret ? "" : ", but SECRET_KEY is not set: serve will not start",
		       findings->info.engine, findings->info.location, (long long)findings->info.database_bytes,
		       (long long)findings->info.log_bytes, findings->migration, findings->newest,
		       findings->about ? "about " : "", (long long)findings->predictions, findings->model->name,
		       findings->model->version);
		if (findings->integrity)
			printf("integrity    ok\n");
		return;
	}
	struct json_object *object = json_object_new_object();
	json_object_object_add(object, "engine", json_object_new_string(findings->info.engine));
	json_object_object_add(object, "location", json_object_new_string(findings->info.location));
	json_object_object_add(object, "database_bytes", json_object_new_int64(findings->info.database_bytes));
	json_object_object_add(object, "log_bytes", json_object_new_int64(findings->info.log_bytes));
	json_object_object_add(object, "migration", json_object_new_int(findings->migration));
	json_object_object_add(object, "newest_migration", json_object_new_int(findings->newest));
	json_object_object_add(object, "predictions", json_object_new_int64(findings->predictions));
	json_object_object_add(object, "predictions_estimated", json_object_new_boolean(findings->about));
	json_object_object_add(object, "model_version", json_object_new_string(findings->model->version));
	json_object_object_add(object, "secret_key_set", json_object_new_boolean(findings->secret));
	json_object_object_add(object, "integrity_checked", json_object_new_boolean(findings->integrity));
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

int check_main(int argc, char **argv)
{
	bool integrity = false, json = false, live = false, done;
	const struct option_spec specs[] = {
		{"--integrity", NULL, &integrity}, {"--json", NULL, &json}, {"--live", NULL, &live}};
	struct findings findings = {0};
	struct config config;
	struct db *db;
	struct err err;
	int code = EXIT_OK;

	if (!command_options(command_find("check"), &argc, argv, specs, 3, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc != 1)
		return command_fail(EXIT_USAGE, "there are no arguments; see --help.");
	if (live && (integrity || json))
		return command_fail(EXIT_USAGE, "--live stands alone; see --help.");
	if (live) {
		if (!command_load_config(&config))
			return EXIT_USAGE;
		code = command_check_live(&config);
		config_release(&config);
		return code;
	}
	if (!command_load_config(&config))
		return EXIT_USAGE;
	const char *lacks = config_lacks_key(&config);
	enum status status = STATUS_INVALID;
	if (lacks)
		err_set(&err, STATUS_INVALID, "%s", lacks);
	else
		status = db_open(&db, str_of(config.database_url), DB_READ, &err);
	if (status != STATUS_OK) {
		config_release(&config);
		return command_fail(command_exit_code(status), "%s", err.text);
	}
	findings.secret = *config.secret_key != '\0';
	status = look(db, &config, integrity, &findings, &err);
	if (status == STATUS_OK)
		tell(&findings, json);
	else
		code = command_fail(command_exit_code(status), "%s", err.text);
	model_drop(findings.model);
	db_close(db);
	config_release(&config);
	return status == STATUS_OK ? EXIT_OK : code;
}
