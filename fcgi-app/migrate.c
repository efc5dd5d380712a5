/* appcore migrate: the schema, up and down. */
#include "store/migrate.h"

#include "base/buf.h"
#include "command.h"
#include "store/predictions.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RECORDS_MAX = 512 };

struct asked {
	bool dry_run, json, wait;
	const char *to;
};

static void note(void *arg, const struct migration *migration, bool up, const char *sql)
{
	const struct asked *asked = arg;

	printf("%s%s %04d %s\n", asked->dry_run ? "would run " : "", up ? "up" : "down", migration->number,
	       migration->name);
	if (asked->dry_run)
		printf("%s\n", sql);
}

static enum status run_up(struct db *db, struct asked *asked, int target, struct err *err)
{
	int ran = 0;
	int64_t count = 0;
	bool about;
	enum status status = migrate_up(db, target, asked->dry_run, note, asked, &ran, err);

	if (status != STATUS_OK || asked->dry_run)
		return status;
	if (ran == 0)
		printf("nothing to do\n");
	if (predictions_count(db, &count, &about, NULL) == STATUS_OK)
		printf("predictions stored: %s%lld\n", about ? "about " : "", (long long)count);
	return STATUS_OK;
}

static int run_down(struct db *db, struct asked *asked, int target)
{
	struct err err;
	int ran = 0;

	if (!asked->to)
		return command_fail(EXIT_USAGE, "down wants --to NUMBER (0: take everything back, with all data).");
	enum status status = migrate_down(db, target, asked->dry_run, note, asked, &ran, &err);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", err.text);
	if (ran == 0)
		printf("nothing to do\n");
	return EXIT_OK;
}

static int print_json(struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object,
							  JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	printf("%s\n", text ? text : "null");
	json_object_put(object);
	return EXIT_OK;
}

static int run_current(struct db *db, const struct asked *asked)
{
	struct err err;
	int number, newest;

	migrate_all(DB_DIALECT_SQLITE, &newest);
	enum status status = migrate_current(db, &number, &err);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", err.text);
	if (!asked->json) {
		printf("%d of %d\n", number, newest);
		return EXIT_OK;
	}
	struct json_object *object = json_object_new_object();
	json_object_object_add(object, "current", json_object_new_int(number));
	json_object_object_add(object, "newest", json_object_new_int(newest));
	return print_json(object);
}

static const char *state_of(const struct migrate_record *record)
{
	if (!record->known)
		return "unknown";
	if (record->altered)
		return "altered";
	return record->applied_at[0] ? "applied" : "pending";
}

static int run_history(struct db *db, const struct asked *asked)
{
	static struct migrate_record records[RECORDS_MAX];
	struct json_object *list = json_object_new_array();
	struct err err;
	int n;
	enum status status = migrate_history(db, records, RECORDS_MAX, &n, &err);

	if (status != STATUS_OK) {
		json_object_put(list);
		return command_fail(command_exit_code(status), "%s", err.text);
	}
	for (int i = 0; i < n && i < RECORDS_MAX; i++) {
		const struct migrate_record *r = &records[i];
		if (!asked->json) {
			printf("%04d  %-8s  %-32s  %s\n", r->number, state_of(r),
			       r->applied_at[0] ? r->applied_at : "-", r->name);
			continue;
		}
		struct json_object *row = json_object_new_object();
		json_object_object_add(row, "number", json_object_new_int(r->number));
		json_object_object_add(row, "name", json_object_new_string(r->name));
		json_object_object_add(row, "state", json_object_new_string(state_of(r)));
		json_object_object_add(row, "applied_at",
				       r->applied_at[0] ? json_object_new_string(r->applied_at) : NULL);
		json_object_object_add(row, "reversible", json_object_new_boolean(r->reversible));
		json_object_object_add(row, "checksum", json_object_new_string(r->checksum));
		json_object_array_add(list, row);
	}
	if (asked->json)
		return print_json(list);
	json_object_put(list);
	return EXIT_OK;
}

static int write_new_file(const char *name, int number, const char *direction)
{
	char path[256];

	snprintf(path, sizeof(path), "lib/store/migrations/%04d_%s.%s.sql", number, name, direction);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return command_fail(EXIT_SYSTEM, "%s can't be made: %s. Run it in the source's folder.", path,
				    strerror(errno));
	dprintf(fd, "-- %s, %s: what and why.\n", name, direction);
	close(fd);
	printf("%s\n", path);
	return EXIT_OK;
}

static int run_new(const char *name)
{
	int newest;

	migrate_all(DB_DIALECT_SQLITE, &newest);
	for (const char *p = name; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '_') || p - name > 50)
			return command_fail(EXIT_USAGE, "a migration's name is up to 50 of a-z, 0-9 and _.");
	int code = write_new_file(name, newest + 1, "up");
	return code != EXIT_OK ? code : write_new_file(name, newest + 1, "down");
}

/* For a start on a disk that is full or read-only: true when the schema is as it should be. */
static bool is_up(const struct config *config, int target)
{
	struct db *db;
	int missing = 1;

	if (db_open(&db, str_of(config->database_url), DB_READ, NULL) != STATUS_OK)
		return false;
	enum status status = migrate_up(db, target, true, NULL, NULL, &missing, NULL);
	db_close(db);
	return status == STATUS_OK && missing == 0;
}

/* A newer program has been here and was taken back, which left the schema. */
static bool is_accepted(struct db *db, const struct config *config)
{
	int number, newest;

	migrate_all(DB_DIALECT_SQLITE, &newest);
	return migrate_current(db, &number, NULL) == STATUS_OK && number > newest && number <= config->schema_accept;
}

static enum status open_and_run_up(const struct config *config, struct asked *asked, int target, struct err *err)
{
	struct db *db;
	enum status status = db_open(&db, str_of(config->database_url), DB_WRITE, err);

	if (status == STATUS_UNAVAILABLE && is_up(config, target)) {
		printf("nothing to do\n");
		return STATUS_OK;
	}
	if (status != STATUS_OK)
		return status;
	if (is_accepted(db, config))
		printf("nothing to do: the schema is newer than this program, and SCHEMA_ACCEPT says that it may be\n");
	else
		status = run_up(db, asked, target, err);
	db_close(db);
	return status;
}

/* With --wait, a server that is not there yet is waited for: after a reboot it, or the network, may come later. */
static int up(const struct config *config, struct asked *asked, int target)
{
	struct timespec nap = {.tv_sec = 1};
	struct err err, told = {0};
	bool waits = asked->wait && !str_starts(str_of(config->database_url), STR("sqlite:"));
	enum status status;

	while ((status = open_and_run_up(config, asked, target, &err)) == STATUS_UNAVAILABLE && waits) {
		if (strcmp(err.text, told.text) != 0)
			fprintf(stderr, "appcore migrate: waiting: %s\n", err.text);
		told = err;
		nanosleep(&nap, NULL);
	}
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err.text);
}

static int run_verb(const char *verb, struct asked *asked, int target)
{
	struct config config;
	struct db *db;
	struct err err;
	int code;
	bool is_down = strcmp(verb, "down") == 0;

	if (!command_load_config(&config))
		return EXIT_USAGE;
	if (strcmp(verb, "up") == 0) {
		code = up(&config, asked, target);
		config_release(&config);
		return code;
	}
	enum status status = db_open(&db, str_of(config.database_url), is_down ? DB_WRITE : DB_READ, &err);
	if (status != STATUS_OK) {
		config_release(&config);
		return command_fail(command_exit_code(status), "%s", err.text);
	}
	if (is_down)
		code = run_down(db, asked, target);
	else if (strcmp(verb, "current") == 0)
		code = run_current(db, asked);
	else if (strcmp(verb, "history") == 0)
		code = run_history(db, asked);
	else
		code = command_fail(EXIT_USAGE, "there is no migrate %s; see --help.", verb);
	db_close(db);
	config_release(&config);
	return code;
}

int migrate_main(int argc, char **argv)
{
	struct asked asked = {0};
	const struct option_spec specs[] = {
		{"--to", &asked.to, NULL},
		{"--dry-run", NULL, &asked.dry_run},
		{"--json", NULL, &asked.json},
		{"--wait", NULL, &asked.wait},
	};
	uint64_t target = 0;
	bool done;

	if (!command_options(command_find("migrate"), &argc, argv, specs, 4, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (asked.to && !str_to_u64(str_of(asked.to), 9999, &target))
		return command_fail(EXIT_USAGE, "--to wants a migration's number.");
	if (argc == 3 && strcmp(argv[1], "new") == 0)
		return run_new(argv[2]);
	if (argc != 2)
		return command_fail(EXIT_USAGE, "say up, down, current, history or new; see --help.");
	return run_verb(argv[1], &asked, (int)target);
}
