/* Subcommands of the one binary, and what they share. */
#ifndef APPCORE_COMMAND_H
#define APPCORE_COMMAND_H

#include "base/config.h"
#include "base/err.h"
#include "store/db.h"

/* 100: the caller's mistake. 111: the system's. */
enum { EXIT_OK = 0, EXIT_USAGE = 100, EXIT_SYSTEM = 111 };

struct command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name */
	const char *summary;               /* for `appcore help` */
	const char *help;                  /* for --help, whole */
};

extern const struct command COMMANDS[];
extern const int COMMANDS_N;

/* Prints the text to standard output; returns EXIT_OK, or EXIT_SYSTEM when it can't be written. */
int command_print(struct str text);

/* One sentence on standard error, "appcore NAME: …", returns `code`. */
int command_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The exit code that fits a status. */
int command_exit_code(enum status status);

/* Reads the settings; when there are problems, prints them all and returns false. */
bool command_load_config(struct config *config) __attribute__((nonnull, warn_unused_result));

/* Reads the settings and opens their database. Prints why not. Release both. */
bool command_open_db(struct config *config, struct db **db, enum db_mode mode, int *exit_code)
	__attribute__((nonnull, warn_unused_result));

/* Tells the running workers that tasks have changed. */
void command_wake_tasks(const struct config *config) __attribute__((nonnull));

/* The schema must be the one this binary was written for, and the data whole: EXIT_OK, or prints why not. */
int command_check_schema(const struct config *config) __attribute__((nonnull));

/* `appcore check --live`: EXIT_OK when the instance or worker that INSTANCE_ID names lives, or prints why not (live.c).
 */
int command_check_live(const struct config *config) __attribute__((nonnull));

/* Options of the form --name or --name VALUE (or --name=VALUE), in any order with the other words. */
struct option_spec {
	const char *name;   /* with its dashes */
	const char **value; /* NULL: a switch */
	bool *set;          /* may be NULL */
};

/* Takes the options out of argv; what is left is counted in *argc. --help prints the command's help: then *done is
 * true. An unknown option, or one without its value: prints it, false. */
bool command_options(const struct command *command, int *argc, char **argv, const struct option_spec *specs,
		     int specs_n, bool *done) __attribute__((nonnull(1, 2, 3, 6), warn_unused_result));

/* The entry of the running subcommand in COMMANDS. */
const struct command *command_find(const char *name);

/* One per file. */
int serve_main(int argc, char **argv);
int migrate_main(int argc, char **argv);
int key_main(int argc, char **argv);
int user_main(int argc, char **argv);
int work_main(int argc, char **argv);
int task_main(int argc, char **argv);
int pipeline_main(int argc, char **argv);
int model_main(int argc, char **argv);
int backup_main(int argc, char **argv);
int restore_main(int argc, char **argv);
int move_main(int argc, char **argv);
int ingest_main(int argc, char **argv);
int train_main(int argc, char **argv);
int check_main(int argc, char **argv);
int config_main(int argc, char **argv);

#endif
