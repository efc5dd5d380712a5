/* appcore: one binary, a table of subcommands. */
#include "base/version.h"
#include "command.h"
#include "shared/wake.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);

const struct command COMMANDS[] = {
	{"serve", serve_main, "answer requests over FastCGI (started by spawn-fcgi)",
	 "usage: spawn-fcgi -n -s SOCKET -- appcore serve\n"
	 "\n"
	 "Answers FastCGI requests on the listening socket on descriptor 0 until SIGTERM, which lets it finish what "
	 "it\n"
	 "has begun; a second SIGTERM ends it at once. Logs JSON lines to standard output, or to LOG_FILE.\n"
	 "\n"
	 "Exit codes: 0 after SIGTERM, 100 settings are wrong, 111 the system refuses something.\n"},
	{"migrate", migrate_main, "bring the database's schema up or down",
	 "usage: appcore migrate up [--to NUMBER] [--dry-run] [--wait]\n"
	 "       appcore migrate down --to NUMBER [--dry-run]\n"
	 "       appcore migrate current [--json]\n"
	 "       appcore migrate history [--json]\n"
	 "       appcore migrate new NAME\n"
	 "\n"
	 "up applies what is pending, down takes back what is above NUMBER (0: everything, with all data), current "
	 "tells\n"
	 "the newest applied number, history lists all migrations, new writes two empty files into\n"
	 "lib/store/migrations for a developer to fill. --dry-run prints the SQL and changes nothing.\n"
	 "--wait waits for a server that can't be reached yet.\n"},
	{"key", key_main, "create, list, revoke and rotate API keys",
	 "usage: appcore key create --name NAME [--rate N] [--expires WHEN] [--scope SCOPES] [--json]\n"
	 "       appcore key list [--json]\n"
	 "       appcore key revoke ID-OR-NAME\n"
	 "       appcore key rotate ID-OR-NAME [--overlap DURATION] [--json]\n"
	 "\n"
	 "create prints a new key once; only its hash is kept. --rate is its requests per minute (0: no limit; "
	 "default:\n"
	 "KEY_RATE_LIMIT_PER_MINUTE). --expires takes a date (2027-01-31, 2027-01-31T12:00:00Z) or a duration from "
	 "now\n"
	 "(90d, 24h). --scope is what the key may beyond predicting: models (load and unload versions through the "
	 "API).\n"
	 "rotate makes a new key with the same name, rate, expiry and scopes; the old one works on for DURATION\n"
	 "(default 24h). Running workers know a change within a second.\n"},
	{"user", user_main, "create, list, disable and promote users, reset their passwords",
	 "usage: appcore user create --username NAME --email ADDRESS [--superuser] [--password-file FILE] [--json]\n"
	 "       appcore user list [--json]\n"
	 "       appcore user show NAME [--json]\n"
	 "       appcore user disable NAME [--revoke-keys] [--json]\n"
	 "       appcore user enable NAME [--json]\n"
	 "       appcore user promote NAME [--json]\n"
	 "       appcore user demote NAME [--json]\n"
	 "       appcore user reset NAME [--password-file FILE] [--revoke-keys] [--json]\n"
	 "\n"
	 "create makes a user, reset gives one a new password. A password is read from the terminal without echo, "
	 "from\n"
	 "standard input, or from FILE (-: standard input): one line of at least 8 bytes. disable keeps a user out: "
	 "their\n"
	 "sessions end, their tokens and API keys are refused, and their tasks cancelled; enable lets them in again, "
	 "and lifts a lock. reset "
	 "ends\n"
	 "their sessions, too; --revoke-keys ends their API keys for good. promote makes a superuser, demote takes "
	 "that\n"
	 "away. All of it works at once.\n"},
	{"model", model_main, "add, list, activate, route, compare and remove models",
	 "usage: appcore model add DIR-OR-FILE --name NAME --version VERSION [--manifest FILE] [--activate] "
	 "[--if-absent] [--json]\n"
	 "       appcore model list [--json]\n"
	 "       appcore model show NAME [VERSION] [--json]\n"
	 "       appcore model check DIR-OR-FILE [--manifest FILE] [--json]\n"
	 "       appcore model check NAME VERSION [--json]\n"
	 "       appcore model activate NAME VERSION [--json]\n"
	 "       appcore model rollback NAME [--json]\n"
	 "       appcore model route NAME [VERSION=SHARE ...] [--sticky key|header:NAME|none] [--json]\n"
	 "       appcore model shadow NAME VERSION|none [--json]\n"
	 "       appcore model replay NAME --to VERSION [--from VERSION] [--since WHEN] [--limit N] [--top N] "
	 "[--tolerance X] [--json | --csv]\n"
	 "       appcore model compare NAME [VERSION] [--since WHEN] [--top N] [--tolerance X] [--json | --csv]\n"
	 "       appcore model drift NAME [VERSION] [--since WHEN] [--json]\n"
	 "       appcore model load NAME [VERSION]\n"
	 "       appcore model unload NAME [VERSION]\n"
	 "       appcore model remove NAME VERSION\n"
	 "\n"
	 "add checks a model file and its manifest, runs the manifest's examples, and puts both into MODELS_DIR; "
	 "versions\n"
	 "don't change. activate gives all requests of NAME to a version, route shares them out (1=90 2=10), rollback\n"
	 "goes back to the shares before, shadow has a version score what the others answer. check loads a model and "
	 "runs\n"
	 "its examples. --if-absent: a version that is there with the same content is no mistake, and --activate then\n"
	 "leaves what is active. Running workers know a change within a second.\n"
	 "\n"
	 "replay asks a version what was asked of another (default: the active one), and tells how the answers "
	 "differ;\n"
	 "compare tells it of a shadow. drift tells how what is asked differs from the training data. WHEN is a "
	 "duration\n"
	 "(default 7d; of drift MODEL_DRIFT_WINDOW) or a time.\n"},
	{"backup", backup_main, "copy the database while it serves",
	 "usage: appcore backup FILE\n"
	 "\n"
	 "Writes a consistent copy of the whole database to the new file FILE (mode 0600), while the service runs.\n"},
	{"restore", restore_main, "put a backup in the database's place",
	 "usage: appcore restore FILE\n"
	 "\n"
	 "Checks the backup FILE and puts it in the place of the database. Refuses while the service runs.\n"},
	{"move", move_main, "carry everything to another database while it serves",
	 "usage: appcore move --to URL [--full] [--json]\n"
	 "\n"
	 "Carries all data from DATABASE_URL to URL (from SQLite to PostgreSQL or back), compares both by count and "
	 "hash,\n"
	 "and says what to do next. The service runs on meanwhile: each further run carries only what came since, and "
	 "the\n"
	 "last one, with the service stopped, takes seconds. A run that was interrupted goes on where it was. The "
	 "target is\n"
	 "an empty database, or one that only moves from the same source have filled.\n"
	 "\n"
	 "--full compares all rows again instead of those that may have changed. --json prints progress and result as\n"
	 "JSON, one object a line. Keep a password out of the list of processes: libpq reads it from ~/.pgpass or\n"
	 "PGPASSWORD when URL has none.\n"},
	{"work", work_main, "work on background tasks",
	 "usage: appcore work\n"
	 "\n"
	 "Works on the tasks of the queue with TASK_THREADS threads until SIGTERM: what runs then ends at its next\n"
	 "checkpoint and goes back to the queue, within a few seconds. As many workers as are wanted may run, on any\n"
	 "machine that reaches the database. Logs JSON lines to standard output, or to LOG_FILE.\n"
	 "\n"
	 "Exit codes: 0 after SIGTERM, 100 settings are wrong, 111 the system refuses something.\n"},
	{"task", task_main, "list, show, add, retry and cancel background tasks",
	 "usage: appcore task list [--status STATUS] [--kind KIND] [--limit N] [--json]\n"
	 "       appcore task show ID [--json]\n"
	 "       appcore task add KIND [--payload JSON] [--priority N] [--delay DURATION] [--json]\n"
	 "       appcore task retry ID|--dead [--kind KIND]\n"
	 "       appcore task cancel ID\n"
	 "       appcore task drain [--timeout DURATION]\n"
	 "       appcore task kinds\n"
	 "\n"
	 "list tells the newest first (default 50). STATUS is pending, processing, completed, failed, cancelled or "
	 "dead.\n"
	 "add puts a task of the service's own into the queue. retry gives a task that failed, was cancelled or is "
	 "dead\n"
	 "another try; --dead all that are dead. cancel ends one that waits at once, one that runs at its next\n"
	 "checkpoint. drain waits until nothing is due and nothing runs (default 60s; exit code 111 when it does "
	 "not\n"
	 "come to that). kinds lists the kinds there are.\n"},
	{"ingest", ingest_main, "have a pipeline read a file or an API",
	 "usage: appcore ingest [FILE] --pipeline NAME [--follow] [--json]\n"
	 "\n"
	 "Has the service's workers read FILE, or without one the API of the pipeline, by the pipeline NAME of\n"
	 "PIPELINES_DIR, and prints the run's id. A file that\n"
	 "does not lie in DATA_DIR/raw is copied first, and stays. --follow shows how far the run is and waits for "
	 "its\n"
	 "end; interrupting that does not interrupt the run.\n"
	 "\n"
	 "Exit codes with --follow: 0 it is completed (also with rows that were refused), 100 it failed, 111 it was\n"
	 "cancelled or paused.\n"},
	{"pipeline", pipeline_main, "check, list, show, try and index data pipelines",
	 "usage: appcore pipeline check [NAME-OR-FILE ...] [--json]\n"
	 "       appcore pipeline list [--json]\n"
	 "       appcore pipeline show NAME-OR-FILE [--json]\n"
	 "       appcore pipeline try NAME-OR-FILE RECORDS [--limit N] [--json]\n"
	 "       appcore pipeline index NAME-OR-FILE [--dry-run] [--json]\n"
	 "\n"
	 "A pipeline is a file NAME.json in PIPELINES_DIR. check tells everything that is wrong with it, show what is "
	 "in\n"
	 "it. try puts the records of a file through it and stores nothing: what became of them goes to standard "
	 "output,\n"
	 "a JSON object a line, and what was refused, with line and reason, to standard error. --limit stops after N\n"
	 "records.\n"
	 "\n"
	 "index makes the indexes that its fields ask for and that no run has made, since there are many records. On\n"
	 "SQLite nobody can write while one is made; --dry-run says which are missing and how long that would be.\n"},
	{"train", train_main, "train a text classifier from labelled texts",
	 "usage: appcore train sentiment [--data FILE...] [--text COLUMN] [--label COLUMN] [--ngram 1,2]\n"
	 "           [--max-features 5000] [--split 0.2] [--seed 42] [--model nb|logistic] [--refit]\n"
	 "           [--output DIR] [--name NAME] [--version VERSION]\n"
	 "           [--description TEXT] [--source TEXT] [--licence TEXT]\n"
	 "\n"
	 "Trains on the samples of FILE (CSV, or lines of text, tab, label), or on 30 that are built in; holds a share "
	 "of\n"
	 "them back (--split) to test with, prints how well it does on these, and saves the model as DIR/NAME/VERSION\n"
	 "(default: MODELS_DIR, sentiment, the next whole number).\n"
	 "\n"
	 "--text and --label name the columns, or count them from 1 in a file without names. --ngram is the least and "
	 "the\n"
	 "most words of an n-gram, --max-features how many of the most frequent are kept (0: all). --model is naive "
	 "Bayes\n"
	 "or logistic regression. --refit trains once more on all samples, after the test, and saves that.\n"},
	{"check", check_main, "check settings, database and model",
	 "usage: appcore check [--integrity] [--json]\n"
	 "       appcore check --live\n"
	 "\n"
	 "Checks the settings, opens the database, tells its schema's number and how many predictions it holds, and\n"
	 "loads the active version of MODEL_DEFAULT.\n"
	 "--integrity reads the whole database for damage. Exit code 0 when all is well.\n"
	 "--live asks the running instance or worker that INSTANCE_ID names (API-1, WORKER-1) whether it is ready, on "
	 "the\n"
	 "same machine and as the same user, and looks at nothing else: for a container's health check.\n"},
	{"config", config_main, "print the settings in force",
	 "usage: appcore config [--shell | --json]\n"
	 "\n"
	 "Prints every setting as it is after environment, .env and defaults, without secrets.\n"},
	{"version", version_main, "print the version",
	 "usage: appcore version\n"
	 "\n"
	 "Prints the version and what it was built from.\n"},
	{"help", help_main, "this list, or help for one subcommand", "usage: appcore help [COMMAND]\n"},
};
const int COMMANDS_N = sizeof(COMMANDS) / sizeof(COMMANDS[0]);

static const char *running = "";

const struct command *command_find(const char *name)
{
	for (int i = 0; i < COMMANDS_N; i++)
		if (strcmp(COMMANDS[i].name, name) == 0)
			return &COMMANDS[i];
	return NULL;
}

int command_print(struct str text)
{
	if (fwrite(text.p, 1, text.n, stdout) != text.n || fflush(stdout) != 0)
		return command_fail(EXIT_SYSTEM, "standard output can't be written: %s.", strerror(errno));
	return EXIT_OK;
}

int command_fail(int code, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "appcore%s%s: ", *running ? " " : "", running);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

/* Those of this machine at once; those that are not reached look by themselves within a second. */
void command_wake_tasks(const struct config *config)
{
	struct shm *shm;

	if (shm_open_dir(&shm, config->run_dir, NULL) != STATUS_OK)
		return;
	wake_all(shm, WAKE_TASKS);
	wake_all(shm, WAKE_EVENTS);
	shm_close(shm);
}

int command_exit_code(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return EXIT_OK;
	case STATUS_INVALID:
	case STATUS_NOT_FOUND:
	case STATUS_CONFLICT:
	case STATUS_TOO_LARGE:
		return EXIT_USAGE;
	case STATUS_UNAUTHENTICATED:
	case STATUS_FORBIDDEN:
	case STATUS_LIMITED:
	case STATUS_BUSY:
	case STATUS_UNAVAILABLE:
	case STATUS_UNKNOWN_OUTCOME:
	case STATUS_NO_MEMORY:
	case STATUS_CANCELLED:
	case STATUS_INTERNAL:
	case STATUS__MAX:
		break;
	}
	return EXIT_SYSTEM;
}

bool command_load_config(struct config *config)
{
	struct config_problems problems;
	bool good = config_load(config, ".env", &problems);
	struct str text = buf_view(&problems.text);

	while (text.n > 0) {
		struct str line = str_cut(&text, '\n');
		command_fail(EXIT_USAGE, "%.*s", STR_ARG(line));
	}
	config_problems_release(&problems);
	if (!good)
		config_release(config);
	return good;
}

bool command_open_db(struct config *config, struct db **db, enum db_mode mode, int *exit_code)
{
	struct err err;

	if (!command_load_config(config)) {
		*exit_code = EXIT_USAGE;
		return false;
	}
	enum status status = db_open(db, str_of(config->database_url), mode, &err);
	if (status == STATUS_OK)
		return true;
	*exit_code = command_fail(command_exit_code(status), "%s", err.text);
	config_release(config);
	return false;
}

/* One word that begins with a dash. Returns how many words it took; 0: wrong. */
static int take_option(char **argv, int left, const struct option_spec *specs, int specs_n)
{
	for (int k = 0; k < specs_n; k++) {
		size_t n = strlen(specs[k].name);
		bool joined = strncmp(argv[0], specs[k].name, n) == 0 && argv[0][n] == '=';
		if (!joined && strcmp(argv[0], specs[k].name) != 0)
			continue;
		if (specs[k].set)
			*specs[k].set = true;
		if (!specs[k].value)
			return joined ? 0 : 1;
		if (!joined && left < 2)
			return 0;
		*specs[k].value = joined ? argv[0] + n + 1 : argv[1];
		return joined ? 1 : 2;
	}
	return 0;
}

bool command_options(const struct command *command, int *argc, char **argv, const struct option_spec *specs,
		     int specs_n, bool *done)
{
	int kept = 1;

	*done = false;
	for (int i = 1; i < *argc;) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			*done = true;
			return command_print(str_of(command->help)) == EXIT_OK;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			argv[kept++] = argv[i++];
			continue;
		}
		int taken = take_option(argv + i, *argc - i, specs, specs_n);
		if (taken == 0) {
			command_fail(EXIT_USAGE,
				     "option %s is unknown, or its value is missing or too many; see --help.", argv[i]);
			return false;
		}
		i += taken;
	}
	*argc = kept;
	return true;
}

static int version_main(int argc, char **argv)
{
	const struct command *self = command_find("version");
	bool done;

	if (!self || !command_options(self, &argc, argv, NULL, 0, &done))
		return EXIT_USAGE;
	if (!done)
		printf("appcore %s (%s)\n", APPCORE_VERSION, APPCORE_COMMIT);
	return EXIT_OK;
}

static int help_main(int argc, char **argv)
{
	if (argc > 1) {
		const struct command *command = command_find(argv[1]);
		if (!command)
			return command_fail(EXIT_USAGE, "there is no subcommand %s; see appcore help.", argv[1]);
		return command_print(str_of(command->help));
	}
	printf("usage: appcore COMMAND [ARGUMENTS]\n\n");
	for (int i = 0; i < COMMANDS_N; i++)
		printf("  %-8s  %s\n", COMMANDS[i].name, COMMANDS[i].summary);
	printf("\nappcore COMMAND --help tells more. Settings come from the environment, then from .env.\n");
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	if (sodium_init() < 0)
		return command_fail(EXIT_SYSTEM, "libsodium can't be initialised.");
	if (argc < 2) {
		help_main(1, argv);
		return EXIT_USAGE;
	}
	const char *name = argv[1];
	if (strcmp(name, "--version") == 0)
		name = "version";
	else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	const struct command *command = command_find(name);
	if (!command)
		return command_fail(EXIT_USAGE, "there is no subcommand %s; see appcore help.", name);
	running = command->name;
	return command->run(argc - 1, argv + 1);
}
