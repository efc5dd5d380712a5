/* appcore user: people. Who is switched off, or gets another password, is logged out everywhere by it: requests read
 * user, session and a user's key each time, so there is nothing to tell the workers. Tasks of who is switched off are
 * cancelled. */
#include "auth/names.h"
#include "auth/password.h"
#include "base/clock.h"
#include "base/json.h"
#include "command.h"
#include "passphrase.h"
#include "store/keys.h"
#include "store/sessions.h"
#include "store/tasks.h"
#include "store/users.h"

#include <sodium.h>
#include <stdio.h>

enum { TURN_WAIT_MS = 10 * 1000, PASSWORD_MIN = 8, NAME_ARENA = 256 * 1024, TASKS_AT_ONCE = 200 };

struct asked {
	const char *username, *email, *password_file;
	bool superuser, revoke_keys, json;
};

/* What a verb does to a row that was read. */
struct change {
	struct str key; /* of the name */
	struct user_row row;
	bool (*alter)(struct user_row *row); /* false: it is so already */
	bool ends_sessions, revokes_keys, cancels_tasks;
	int64_t cancelled; /* tasks, in the last piece */
	const char *hash;  /* a new password's; or NULL */
};

static enum status insert(struct db *db, void *arg, struct err *err)
{
	return users_insert(db, &((struct change *)arg)->row, err);
}

/* What waits does not begin, and what runs is asked to end. */
static enum status cancel_tasks(struct db *db, void *arg, struct err *err)
{
	struct change *change = arg;
	int64_t number;

	enum status status = tasks_begin_change(db, &number, err);
	if (status != STATUS_OK)
		return status;
	return tasks_cancel_of_user(db, change->row.id, number, clock_wall_us(), TASKS_AT_ONCE, &change->cancelled,
				    err);
}

/* As many as can be in the same transaction; the rest follows. */
static enum status alter(struct db *db, void *arg, struct err *err)
{
	struct change *change = arg;

	enum status status = users_find_name(db, change->key, &change->row, err);
	if (status == STATUS_OK && change->cancels_tasks)
		status = cancel_tasks(db, change, err);
	if (status == STATUS_OK)
		status = users_hold(db, change->row.id, err);
	/* All of the row is written: as it is now that nobody else changes it. */
	if (status == STATUS_OK)
		status = users_find(db, change->row.id, &change->row, err);
	if (status != STATUS_OK)
		return status;
	if (change->hash)
		snprintf(change->row.hash, sizeof(change->row.hash), "%s", change->hash);
	if (change->alter(&change->row))
		status = users_update(db, &change->row, err);
	if (status == STATUS_OK && change->ends_sessions)
		status = sessions_end_all(db, change->row.id, STR(""), clock_wall_us(), err);
	if (status == STATUS_OK && change->revokes_keys)
		status = keys_revoke_all(db, change->row.id, clock_wall_us(), err);
	return status;
}

static bool disable(struct user_row *row)
{
	bool was = row->active;

	row->active = false;
	return was;
}

static bool enable(struct user_row *row)
{
	bool locked = row->locked_until_us != 0 || row->failed_logins != 0, was = row->active;

	row->active = true;
	row->failed_logins = row->locked_until_us = 0;
	return !was || locked;
}

static bool promote(struct user_row *row)
{
	bool was = row->superuser;

	row->superuser = true;
	return !was;
}

static bool demote(struct user_row *row)
{
	bool was = row->superuser;

	row->superuser = false;
	return was;
}

/* The new hash is in the row already. */
static bool reset(struct user_row *row)
{
	row->failed_logins = row->locked_until_us = 0;
	return true;
}

/* --- telling --- */

static void put_text(struct buf *out, const char *name, const char *text)
{
	buf_fmt(out, ",\"%s\":", name);
	json_put_string(out, str_of(text));
}

static void put_row(struct buf *out, const struct user_row *row)
{
	char iso[CLOCK_ISO_BYTES];

	buf_fmt(out, "{\"id\":%lld", (long long)row->id);
	put_text(out, "email", row->email);
	put_text(out, "username", row->username);
	buf_fmt(out, ",\"is_active\":%s,\"is_superuser\":%s", row->active ? "true" : "false",
		row->superuser ? "true" : "false");
	put_text(out, "created_at", row->created_at);
	put_text(out, "updated_at", row->updated_at);
	buf_fmt(out, ",\"failed_logins\":%lld,\"locked_until\":", (long long)row->failed_logins);
	clock_format_iso(row->locked_until_us, iso);
	if (row->locked_until_us)
		json_put_string(out, str_of(iso));
	else
		buf_str(out, STR("null"));
	buf_char(out, '}');
}

static void put_line(struct buf *out, const struct user_row *row, int64_t now_us)
{
	const char *state = !row->active ? "disabled" : row->locked_until_us > now_us ? "locked" : "active";

	buf_fmt(out, "%6lld  %-8s  %-9s  created %.19s  %s  %s", (long long)row->id, state,
		row->superuser ? "superuser" : "", row->created_at, row->username, row->email);
}

static int print(struct buf *out)
{
	int code = out->failed ? command_fail(EXIT_SYSTEM, "there is no memory for the answer.")
			       : command_print(buf_view(out));

	buf_release(out);
	return code;
}

static int print_row(const struct user_row *row, bool json)
{
	struct buf out;

	buf_init_heap(&out);
	if (json)
		put_row(&out, row);
	else
		put_line(&out, row, clock_wall_us());
	buf_char(&out, '\n');
	return print(&out);
}

struct listing {
	struct buf out;
	bool json;
	int64_t now_us;
};

static bool list_row(void *arg, const struct user_row *row)
{
	struct listing *listing = arg;

	if (!listing->json) {
		put_line(&listing->out, row, listing->now_us);
		buf_char(&listing->out, '\n');
		return true;
	}
	if (listing->out.n > 1)
		buf_char(&listing->out, ',');
	put_row(&listing->out, row);
	return true;
}

static int fail(enum status status, const struct err *err)
{
	return command_fail(command_exit_code(status), "%s", err->text);
}

/* --- verbs --- */

static int run_list(struct db *db, bool json)
{
	struct listing listing = {.json = json, .now_us = clock_wall_us()};
	struct err err;

	buf_init_heap(&listing.out);
	if (json)
		buf_char(&listing.out, '[');
	enum status status = users_each(db, list_row, &listing, &err);
	if (json)
		buf_str(&listing.out, STR("]\n"));
	if (status == STATUS_OK)
		return print(&listing.out);
	buf_release(&listing.out);
	return fail(status, &err);
}

/* Reads a password and hashes it. False after saying why. */
static bool read_hash(const struct asked *asked, char hash[static PASSWORD_HASH_BYTES], int *code)
{
	char password[PASSWORD_MAX + 1];
	struct err err;

	bool good = passphrase_read(asked->password_file, password, code);
	if (good && strlen(password) < PASSWORD_MIN) {
		*code = command_fail(EXIT_USAGE, "a password wants at least %d bytes.", PASSWORD_MIN);
		good = false;
	}
	enum status status = good ? password_hash(str_of(password), hash, &err) : STATUS_OK;
	if (status != STATUS_OK) {
		*code = fail(status, &err);
		good = false;
	}
	sodium_memzero(password, sizeof(password));
	return good;
}

/* The names as they are stored. False after saying why. */
static bool read_names(const struct asked *asked, struct arena *arena, struct user_row *row, int *code)
{
	struct str name, name_key, email, email_key;

	const char *reason = username_normalise(str_of(asked->username), arena, &name, &name_key);
	if (reason)
		*code = command_fail(EXIT_USAGE, "the user name %s.", reason);
	const char *problem = email_normalise(str_of(asked->email), arena, &email, &email_key);
	if (problem)
		*code = command_fail(EXIT_USAGE, "--email is not a valid email address: %s", problem);
	if (reason || problem)
		return false;
	snprintf(row->username, sizeof(row->username), "%.*s", STR_ARG(name));
	snprintf(row->username_key, sizeof(row->username_key), "%.*s", STR_ARG(name_key));
	snprintf(row->email, sizeof(row->email), "%.*s", STR_ARG(email));
	snprintf(row->email_key, sizeof(row->email_key), "%.*s", STR_ARG(email_key));
	return true;
}

static int run_create(struct db *db, const struct asked *asked, struct arena *arena)
{
	struct change change = {.row = {.active = true, .superuser = asked->superuser}};
	struct err err;
	int code;

	if (!asked->username || !asked->email)
		return command_fail(EXIT_USAGE, "create wants --username and --email.");
	if (!read_names(asked, arena, &change.row, &code) || !read_hash(asked, change.row.hash, &code))
		return code;
	enum status status = db_transact(db, TURN_WAIT_MS, insert, &change, &err);
	if (status == STATUS_CONFLICT)
		return command_fail(EXIT_USAGE, "the user name or the email address is taken.");
	return status == STATUS_OK ? print_row(&change.row, asked->json) : fail(status, &err);
}

static int run_show(struct db *db, struct str key, bool json)
{
	struct user_row row;
	struct err err;

	enum status status = users_find_name(db, key, &row, &err);
	return status == STATUS_OK ? print_row(&row, json) : fail(status, &err);
}

static const struct verb {
	const char *name;
	bool (*alter)(struct user_row *row);
	bool ends_sessions, wants_password, cancels_tasks;
} VERBS[] = {
	{"disable", disable, true, false, true},   {"enable", enable, false, false, false},
	{"promote", promote, false, false, false}, {"demote", demote, false, false, false},
	{"reset", reset, true, true, false},
};

static enum status change_user(struct db *db, const struct config *config, struct change *change, struct err *err)
{
	enum status status = db_transact(db, TURN_WAIT_MS, alter, change, err);
	int64_t first = change->cancelled;

	while (status == STATUS_OK && change->cancelled > 0)
		status = db_transact(db, TURN_WAIT_MS, cancel_tasks, change, err);
	if (first > 0)
		command_wake_tasks(config);
	return status;
}

static int run_change(struct db *db, const struct config *config, const struct verb *verb, struct str key,
		      const struct asked *asked)
{
	struct change change = {.key = key,
				.alter = verb->alter,
				.ends_sessions = verb->ends_sessions,
				.revokes_keys = asked->revoke_keys,
				.cancels_tasks = verb->cancels_tasks};
	char hash[PASSWORD_HASH_BYTES];
	struct err err;
	int code;

	/* Before anybody is asked for a password. */
	enum status status = users_find_name(db, key, &change.row, &err);
	if (status != STATUS_OK)
		return fail(status, &err);
	if (verb->wants_password) {
		if (!read_hash(asked, hash, &code))
			return code;
		change.hash = hash;
	}
	status = change_user(db, config, &change, &err);
	return status == STATUS_OK ? print_row(&change.row, asked->json) : fail(status, &err);
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++)
		if (strcmp(VERBS[i].name, name) == 0)
			return &VERBS[i];
	return NULL;
}

static int run_named(struct db *db, const struct config *config, const char *name, const struct verb *verb,
		     const char *username, const struct asked *asked, struct arena *arena)
{
	struct str shown, key;

	if (username_normalise(str_of(username), arena, &shown, &key))
		return command_fail(EXIT_USAGE, "there is no such user");
	return strcmp(name, "show") == 0 ? run_show(db, key, asked->json) : run_change(db, config, verb, key, asked);
}

static int run_verb(int argc, char **argv, const struct asked *asked)
{
	struct config config;
	struct arena arena;
	struct db *db;
	int code;
	const char *name = argc > 1 ? argv[1] : "";
	const struct verb *verb = find_verb(name);
	bool lists = strcmp(name, "list") == 0 && argc == 2, creates = strcmp(name, "create") == 0 && argc == 2;
	bool shows = strcmp(name, "show") == 0 && argc == 3;

	if (asked->revoke_keys && !(verb && verb->ends_sessions))
		return command_fail(EXIT_USAGE, "--revoke-keys goes with disable and reset.");
	if (!lists && !creates && !shows && !(verb && argc == 3))
		return command_fail(EXIT_USAGE, "say create, list, show NAME, disable NAME, enable NAME, promote NAME, "
						"demote NAME or reset NAME; see --help.");
	if (!command_open_db(&config, &db, lists || shows ? DB_READ : DB_WRITE, &code))
		return code;
	arena_init(&arena, NAME_ARENA);
	if (lists)
		code = run_list(db, asked->json);
	else if (creates)
		code = run_create(db, asked, &arena);
	else
		code = run_named(db, &config, name, verb, argv[2], asked, &arena);
	arena_release(&arena);
	db_close(db);
	config_release(&config);
	return code;
}

int user_main(int argc, char **argv)
{
	struct asked asked = {0};
	const struct option_spec specs[] = {
		{"--username", &asked.username, NULL},           {"--email", &asked.email, NULL},
		{"--password-file", &asked.password_file, NULL}, {"--superuser", NULL, &asked.superuser},
		{"--revoke-keys", NULL, &asked.revoke_keys},     {"--json", NULL, &asked.json},
	};
	bool done;

	if (!command_options(command_find("user"), &argc, argv, specs, sizeof(specs) / sizeof(specs[0]), &done))
		return EXIT_USAGE;
	return done ? EXIT_OK : run_verb(argc, argv, &asked);
}
