/* appcore backup, appcore restore. */
#include "command.h"

#include <stdio.h>

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
	config_release(&config);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", err.text);
	printf("restored\n");
	return EXIT_OK;
}
