/* appcore backup, appcore restore. */
#include "base/clock.h"
#include "command.h"
#include "store/installation.h"
#include "store/sessions.h"

#include <stdio.h>

enum { TURN_WAIT_MS = 10 * 1000 };

int backup_main(int argc, char **argv)
{
	struct config config;
	struct db *db;
	struct err err;
	bool done;
	int code;

	if (!command_options(command_find("backup"), &argc, argv, NULL, 0, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc != 2)
		return command_fail(EXIT_USAGE, "say which file to write; see --help.");
	if (!command_open_db(&config, &db, DB_READ, &code))
		return code;
	enum status status = db_backup(db, argv[1], &err);
	if (status == STATUS_OK)
		printf("%s\n", argv[1]);
	else
		code = command_fail(command_exit_code(status), "%s", err.text);
	db_close(db);
	config_release(&config);
	return status == STATUS_OK ? EXIT_OK : code;
}

static enum status end_sessions(struct db *db, void *arg, struct err *err)
{
	(void)arg;
	return sessions_end_everybody(db, clock_wall_us(), err);
}

/* Who logged out since the backup was made must not be in again, nor who has a refresh token that was replaced since.
 */
static enum status log_out_everybody(struct db *db, struct err *err)
{
	bool has = false;
	enum status status = db_has_table(db, "sessions", &has, err);

	return status == STATUS_OK && has ? db_transact(db, TURN_WAIT_MS, end_sessions, NULL, err) : status;
}

/* What is in a cache was read from the data before. A backup that is too old to have a number is left alone. */
static enum status renew(const struct config *config, struct err *err)
{
	struct db *db;
	char old[INSTALLATION_BYTES];
	enum status status = db_open(&db, str_of(config->database_url), DB_WRITE, err);

	if (status != STATUS_OK)
		return status;
	if (installation_find(db, old, NULL) == STATUS_OK && old[0])
		status = installation_renew(db, err);
	if (status == STATUS_OK)
		status = log_out_everybody(db, err);
	db_close(db);
	return status;
}

int restore_main(int argc, char **argv)
{
	struct config config;
	struct err err;
	bool done;

	if (!command_options(command_find("restore"), &argc, argv, NULL, 0, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc != 2)
		return command_fail(EXIT_USAGE, "say which backup to restore; see --help.");
	if (!command_load_config(&config))
		return EXIT_USAGE;
	enum status status = db_restore(str_of(config.database_url), argv[1], &err);
	if (status == STATUS_OK)
		status = renew(&config, &err);
	config_release(&config);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", err.text);
	printf("restored %s\n", argv[1]);
	return EXIT_OK;
}
