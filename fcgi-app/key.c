/* appcore key: API keys. A key's text is printed once, here, and kept nowhere. */
#include "auth/keyring.h"

#include "base/clock.h"
#include "command.h"
#include "shared/redis.h"
#include "store/installation.h"

#include <json-c/json.h>
#include <sodium.h>
#include <stdio.h>

static const int64_t US = 1000000;
enum { TURN_WAIT_MS = 10 * 1000, RATE_MAX = 100000000 };

struct asked {
	const char *name, *rate, *expires, *overlap, *scopes;
	bool json;
};

/* A date, or a duration from now. */
static bool read_when(const char *text, int64_t now_us, int64_t *out)
{
	int64_t seconds;

	if (clock_parse_duration(str_of(text), &seconds)) {
		*out = now_us + seconds * US;
		return true;
	}
	return clock_parse_iso(str_of(text), out);
}

static void add_time(struct json_object *object, const char *name, int64_t us)
{
	char iso[CLOCK_ISO_BYTES];

	clock_format_iso(us, iso);
	json_object_object_add(object, name, us ? json_object_new_string(iso) : NULL);
}

static struct json_object *scopes_of(const struct key_row *row)
{
	struct json_object *list = json_object_new_array();
	struct str rest = str_of(row->scopes);

	while (rest.n > 0) {
		struct str scope = str_cut(&rest, ',');
		json_object_array_add(list, json_object_new_string_len(scope.p, (int)scope.n));
	}
	return list;
}

static struct json_object *json_of(const struct key_row *row)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "id", json_object_new_string(row->id));
	json_object_object_add(object, "name", json_object_new_string(row->name));
	json_object_object_add(object, "rate_per_minute",
			       row->rate_per_minute < 0 ? NULL : json_object_new_int64(row->rate_per_minute));
	json_object_object_add(object, "scopes", scopes_of(row));
	json_object_object_add(object, "user_id", row->user_id ? json_object_new_int64(row->user_id) : NULL);
	add_time(object, "created_at", row->created_us);
	add_time(object, "expires_at", row->expires_us);
	add_time(object, "revoked_at", row->revoked_us);
	return object;
}

static void print_json(struct json_object *object)
{
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

static void print_new_key(const char *text, const struct key_row *row, bool json)
{
	if (json) {
		struct json_object *object = json_of(row);
		json_object_object_add(object, "key", json_object_new_string(text));
		print_json(object);
		return;
	}
	printf("%s\n", text);
	fprintf(stderr, "Key %s for \"%s\". It is shown this once: keep it safe.\n", row->id, row->name);
}

struct change {
	struct key_row row;
	struct str id_or_name;
	int64_t now_us, until_us;
};

static enum status insert(struct db *db, void *arg, struct err *err)
{
	return keys_insert(db, &((struct change *)arg)->row, err);
}

static enum status revoke(struct db *db, void *arg, struct err *err)
{
	struct change *change = arg;

	return keys_revoke(db, change->id_or_name, change->now_us, err);
}

static enum status rotate(struct db *db, void *arg, struct err *err)
{
	struct change *change = arg;

	return keys_rotate(db, change->id_or_name, &change->row, change->until_us, err);
}

static int finish(enum status status, const struct err *err)
{
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err->text);
}

static int run_create(struct db *db, const struct asked *asked)
{
	char text[KEY_TEXT_BYTES];
	struct change change = {.now_us = clock_wall_us()};
	uint64_t rate = 0;
	struct err err;

	if (!asked->name || !*asked->name || strlen(asked->name) >= KEY_NAME_BYTES || !str_is_utf8(str_of(asked->name)))
		return command_fail(EXIT_USAGE, "create wants --name with 1 to 100 bytes of UTF-8.");
	if (asked->rate && !str_to_u64(str_of(asked->rate), RATE_MAX, &rate))
		return command_fail(EXIT_USAGE, "--rate wants a whole number up to %d.", RATE_MAX);
	if (asked->expires && (!read_when(asked->expires, change.now_us, &change.row.expires_us) ||
			       change.row.expires_us <= change.now_us))
		return command_fail(EXIT_USAGE,
				    "--expires wants a date to come (2027-01-31) or a duration (90d, 24h).");
	if (asked->scopes && !scopes_are_valid(str_of(asked->scopes)))
		return command_fail(EXIT_USAGE, "--scope wants scopes with commas between them; there is one: models.");
	keyring_generate(text, &change.row);
	snprintf(change.row.name, sizeof(change.row.name), "%s", asked->name);
	snprintf(change.row.scopes, sizeof(change.row.scopes), "%s", asked->scopes ? asked->scopes : "");
	change.row.rate_per_minute = asked->rate ? (int64_t)rate : -1;
	change.row.created_us = change.now_us;
	enum status status = db_transact(db, TURN_WAIT_MS, insert, &change, &err);
	if (status == STATUS_OK)
		print_new_key(text, &change.row, asked->json);
	sodium_memzero(text, sizeof(text));
	return finish(status, &err);
}

static int run_revoke(struct db *db, const char *id_or_name)
{
	struct change change = {.now_us = clock_wall_us(), .id_or_name = str_of(id_or_name)};
	struct err err;
	enum status status = db_transact(db, TURN_WAIT_MS, revoke, &change, &err);

	if (status == STATUS_OK)
		printf("revoked\n");
	return finish(status, &err);
}

static int run_rotate(struct db *db, const struct asked *asked, const char *id_or_name)
{
	char text[KEY_TEXT_BYTES];
	struct change change = {.now_us = clock_wall_us(), .id_or_name = str_of(id_or_name)};
	int64_t overlap;
	struct err err;

	if (!clock_parse_duration(str_of(asked->overlap ? asked->overlap : "24h"), &overlap))
		return command_fail(EXIT_USAGE, "--overlap wants a duration: 30m, 24h, 7d.");
	keyring_generate(text, &change.row);
	change.row.created_us = change.now_us;
	change.until_us = change.now_us + overlap * US;
	enum status status = db_transact(db, TURN_WAIT_MS, rotate, &change, &err);
	if (status == STATUS_OK)
		print_new_key(text, &change.row, asked->json);
	sodium_memzero(text, sizeof(text));
	return finish(status, &err);
}

/* Tells the workers of all machines. They would see it in the database, too, half a second later. */
static void publish(const struct config *config, struct db *db)
{
	char installation[INSTALLATION_BYTES];
	struct redis_url url;
	struct err err;

	if (!*config->redis_url)
		return;
	enum status status = installation_find(db, installation, &err);
	if (status == STATUS_OK && !installation[0])
		return; /* no worker has ever used Redis here */
	if (status == STATUS_OK)
		status = redis_url_parse(str_of(config->redis_url), &url, &err);
	if (status == STATUS_OK)
		status = redis_publish(&url, installation, &err);
	if (status != STATUS_OK)
		fprintf(stderr, "%s Workers learn of the change from the database.\n", err.text);
}

static bool list_json(void *arg, const struct key_row *row)
{
	json_object_array_add(arg, json_of(row));
	return true;
}

static bool list_line(void *arg, const struct key_row *row)
{
	char created[CLOCK_ISO_BYTES], expires[CLOCK_ISO_BYTES];
	int64_t now_us = *(int64_t *)arg;
	const char *state = row->revoked_us                                ? "revoked"
			    : row->expires_us && row->expires_us <= now_us ? "expired"
			    : row->suspended                               ? "disabled"
									   : "valid";
	char rate[24] = "default", user[32] = "";

	clock_format_iso(row->created_us, created);
	clock_format_iso(row->expires_us, expires);
	if (row->rate_per_minute >= 0)
		snprintf(rate, sizeof(rate), "%lld/min", (long long)row->rate_per_minute);
	if (row->user_id)
		snprintf(user, sizeof(user), "  user %lld", (long long)row->user_id);
	printf("%s  %-8s  %-12s  created %.19s  expires %-19.19s  %s%s%s%s\n", row->id, state, rate, created,
	       row->expires_us ? expires : "never", row->name, row->scopes[0] ? "  scope " : "", row->scopes, user);
	return true;
}

static int run_list(struct db *db, bool json)
{
	struct err err;
	int64_t now_us = clock_wall_us();

	if (!json)
		return finish(keys_each(db, list_line, &now_us, &err), &err);
	struct json_object *list = json_object_new_array();
	enum status status = keys_each(db, list_json, list, &err);
	if (status == STATUS_OK)
		print_json(list);
	else
		json_object_put(list);
	return finish(status, &err);
}

static int run_verb(int argc, char **argv, const struct asked *asked)
{
	struct config config;
	struct db *db;
	int code;
	const char *verb = argc > 1 ? argv[1] : "";
	bool lists = strcmp(verb, "list") == 0 && argc == 2;
	bool creates = strcmp(verb, "create") == 0 && argc == 2;
	bool revokes = strcmp(verb, "revoke") == 0 && argc == 3;
	bool rotates = strcmp(verb, "rotate") == 0 && argc == 3;

	if (!lists && !creates && !revokes && !rotates)
		return command_fail(EXIT_USAGE, "say create, list, revoke ID or rotate ID; see --help.");
	if (!command_open_db(&config, &db, lists ? DB_READ : DB_WRITE, &code))
		return code;
	if (lists)
		code = run_list(db, asked->json);
	else if (creates)
		code = run_create(db, asked);
	else if (revokes)
		code = run_revoke(db, argv[2]);
	else
		code = run_rotate(db, asked, argv[2]);
	if (code == EXIT_OK && !lists)
		publish(&config, db);
	db_close(db);
	config_release(&config);
	return code;
}

int key_main(int argc, char **argv)
{
	struct asked asked = {0};
	const struct option_spec specs[] = {
		{"--name", &asked.name, NULL},       {"--rate", &asked.rate, NULL}, {"--expires", &asked.expires, NULL},
		{"--overlap", &asked.overlap, NULL}, {"--json", NULL, &asked.json}, {"--scope", &asked.scopes, NULL},
	};
	bool done;

	if (!command_options(command_find("key"), &argc, argv, specs, 6, &done))
		return EXIT_USAGE;
	return done ? EXIT_OK : run_verb(argc, argv, &asked);
}
