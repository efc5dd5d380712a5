/* appcore check: what an operator wants to know before and after a deployment. */
#include "command.h"
#include "model/model.h"
#include "store/migrate.h"
#include "store/predictions.h"

#include <json-c/json.h>
#include <stdio.h>

struct findings {
	int migration, newest;
	int64_t predictions;
	struct db_info info;
	bool integrity; /* was asked for, and is good */
};

static enum status look(struct db *db, bool integrity, struct findings *findings, struct err *err)
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
		status = predictions_count(db, &findings->predictions, err);
	if (status == STATUS_OK && integrity)
		status = db_integrity(db, err);
	findings->integrity = status == STATUS_OK && integrity;
	return status;
}

static void tell(const struct findings *findings, bool json)
{
	if (!json) {
		printf("settings     ok\n"
		       "database     ok: %s at %s, %lld bytes, log %lld bytes\n"
		       "schema       ok: migration %d of %d\n"
		       "predictions  %lld stored\n"
		       "model        ok: %s %s\n",
		       findings->info.engine, findings->info.location, (long long)findings->info.database_bytes,
		       (long long)findings->info.log_bytes, findings->migration, findings->newest,
		       (long long)findings->predictions, model_mean()->name, model_mean()->version);
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
	json_object_object_add(object, "model_version", json_object_new_string(model_mean()->version));
	json_object_object_add(object, "integrity_checked", json_object_new_boolean(findings->integrity));
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

int check_main(int argc, char **argv)
{
	bool integrity = false, json = false, done;
	const struct option_spec specs[] = {{"--integrity", NULL, &integrity}, {"--json", NULL, &json}};
	struct findings findings = {0};
	struct config config;
	struct db *db;
	struct err err;
	int code;

	if (!command_options(command_find("check"), &argc, argv, specs, 2, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc != 1)
		return command_fail(EXIT_USAGE, "there are no arguments; see --help.");
	if (!command_open_db(&config, &db, DB_READ, &code))
		return code;
	enum status status = look(db, integrity, &findings, &err);
	if (status == STATUS_OK)
		tell(&findings, json);
	else
		code = command_fail(command_exit_code(status), "%s", err.text);
	db_close(db);
	config_release(&config);
	return status == STATUS_OK ? EXIT_OK : code;
}
