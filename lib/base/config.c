/* The table of settings, and how they are found and checked.
 *
 * A name is looked for in the environment first, then in the .env file, then its default is taken. A secret has a
 * second form, NAME_FILE, which names a file that holds it; the two forms are alternatives within one source. A third
 * one is a credential of systemd's, the file `name` in $CREDENTIALS_DIRECTORY, an alternative to both forms in the
 * environment. All problems are collected, so that an operator mends them in one go. */
#include "base/config.h"

#include "base/clock.h"
#include "base/cron.h"
#include "base/json.h"
#include "base/redis_url.h"
#include "base/spelling.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind {
	KIND_TEXT,
	KIND_NUMBER,
	KIND_CHOICE,
	KIND_SECRET,
	KIND_URL,
	KIND_NETWORKS,
	KIND_ORIGINS,
	KIND_NAME,
	KIND_DURATION,
	KIND_SCHEDULE
};

/* name: as in the environment. fallback: NULL when the default depends on others (see derive()). at: where in struct
 * config. low..high: for numbers, and durations in seconds. choices: blank separated. */
struct setting {
	const char *name;
	enum kind kind;
	const char *fallback;
	size_t at;
	int64_t low, high;
	const char *choices;
};

#define AT(member) offsetof(struct config, member)
enum { PORT_MAX = 65535, RATE_MAX = 100000000, YEARS_100 = 36500 };

/* clang-format off */
/* NOLINTBEGIN(bugprone-macro-parentheses): initialisers, not expressions */
#define TEXT(n, member, def) {.name = n, .kind = KIND_TEXT, .fallback = def, .at = AT(member)}
#define LIST(n, k, member, def) {.name = n, .kind = k, .fallback = def, .at = AT(member)}
#define SECRET(n, member) {.name = n, .kind = KIND_SECRET, .at = AT(member)}
#define URL(n, member, def) {.name = n, .kind = KIND_URL, .fallback = def, .at = AT(member)}
#define NUMBER(n, member, def, from, to) {.name = n, .kind = KIND_NUMBER, .fallback = def, .at = AT(member), .low = from, .high = to}
#define DURATION(n, member, def, from, to) {.name = n, .kind = KIND_DURATION, .fallback = def, .at = AT(member), .low = from, .high = to}
#define SCHEDULE(n, member, def) {.name = n, .kind = KIND_SCHEDULE, .fallback = def, .at = AT(member)}
#define CHOICE(n, member, def, list) {.name = n, .kind = KIND_CHOICE, .fallback = def, .at = AT(member), .choices = list}

/* NOLINTEND(bugprone-macro-parentheses) */
static const struct setting SETTINGS[] = {
	CHOICE("ENVIRONMENT",               environment, "development", "development test staging production"),
	TEXT(  "APP_NAME",                  app_name, "practical-production-service"),
	NUMBER("HTTPS_PORT",                https_port, "8443", 1, PORT_MAX),
	NUMBER("HTTP_PORT",                 http_port, "8080", 1, PORT_MAX),
	NUMBER("DIRECT_PORT",               direct_port, "8000", 1, PORT_MAX),
	NUMBER("INSTANCES",                 instances, "2", 1, 32),
	TEXT(  "INSTANCE_ID",               instance_id, "1"),
	TEXT(  "DATA_DIR",                  data_dir, "data"),
	TEXT(  "RUN_DIR",                   run_dir, "run"),
	TEXT(  "MODELS_DIR",                models_dir, NULL),
	LIST(  "MODEL_DEFAULT",             KIND_NAME, model_default, "mean"),
	DURATION("MODEL_DRIFT_WINDOW",      model_drift_window, "1h", 10, 31622400),
	URL(   "DATABASE_URL",              database_url, NULL),
	URL(   "DATABASE_READ_URL",         database_read_url, ""),
	TEXT(  "POSTGRES_HOST",             postgres_host, ""),
	NUMBER("POSTGRES_PORT",             postgres_port, "5432", 1, PORT_MAX),
	TEXT(  "POSTGRES_USER",             postgres_user, "appcore"),
	SECRET("POSTGRES_PASSWORD",         postgres_password),
	TEXT(  "POSTGRES_DB",               postgres_db, "appcore"),
	SECRET("REDIS_URL",                 redis_url),
	SECRET("API_KEY",                   api_key),
	SECRET("API_KEY_PREVIOUS",          api_key_previous),
	CHOICE("LOG_LEVEL",                 log_level, "INFO", "DEBUG INFO WARNING ERROR CRITICAL"),
	TEXT(  "LOG_FILE",                  log_file, ""),
	TEXT(  "EDGE_LOG",                  edge_log, NULL),
	NUMBER("MAX_BODY_BYTES",            max_body_bytes, "1048576", 0, 256 << 20),
	NUMBER("MODEL_BATCH_MAX",           model_batch_max, "1000", 1, 100000),
	NUMBER("RATE_LIMIT_PER_MINUTE",     rate_limit_per_minute, "100", 0, RATE_MAX),
	NUMBER("KEY_RATE_LIMIT_PER_MINUTE", key_rate_limit_per_minute, "0", 0, RATE_MAX),
	CHOICE("RATE_LIMIT_HEADERS",        rate_limit_headers, "legacy", "legacy ietf both"),
	LIST(  "TRUSTED_PROXIES",           KIND_NETWORKS, trusted_proxies, ""),
	CHOICE("HTTP_CONTRACT",             http_contract, "local", "off local on"),
	CHOICE("PREDICTIONS_READ",          predictions_read, NULL, "open key"),
	NUMBER("RETENTION_DAYS",            retention_days, "90", 0, YEARS_100),
	SECRET("SECRET_KEY",                secret_key),
	SECRET("SECRET_KEY_PREVIOUS",       secret_key_previous),
	CHOICE("ALGORITHM",                 algorithm, "HS256", "HS256"),
	NUMBER("ACCESS_TOKEN_EXPIRE_MINUTES", access_token_expire_minutes, "30", 1, 43200),
	NUMBER("REFRESH_TOKEN_EXPIRE_DAYS", refresh_token_expire_days, "30", 1, 3650),
	NUMBER("USER_RATE_LIMIT_PER_MINUTE", user_rate_limit_per_minute, "60", 0, RATE_MAX),
	NUMBER("PASSWORD_THREADS",          password_threads, "2", 1, 64),
	NUMBER("LOGIN_LOCKOUT_FAILURES",    login_lockout_failures, "0", 0, 1000),
	NUMBER("LOGIN_LOCKOUT_SECONDS",     login_lockout_seconds, "900", 1, 86400),
	LIST(  "SENTIMENT_MODEL",           KIND_NAME, sentiment_model, "sentiment"),
	NUMBER("BATCH_BODY_BYTES",          batch_body_bytes, "67108864", 1024, 1 << 30),
	NUMBER("BATCH_MAX",                 batch_max, "100000", 1, 10000000),
	NUMBER("WORKERS",                   workers, "1", 0, 32),
	NUMBER("TASK_THREADS",              task_threads, "2", 1, 64),
	NUMBER("TASK_LEASE_SECONDS",        task_lease_seconds, "30", 1, 3600),
	NUMBER("USER_TASKS_PENDING",        user_tasks_pending, "100", 0, 1000000),
	NUMBER("USER_TASKS_BYTES",          user_tasks_bytes, "268435456", 0, INT64_C(1) << 40),
	NUMBER("USER_TASKS_RUNNING",        user_tasks_running, "2", 0, 1000),
	TEXT(  "BACKUP_DIR",                backup_dir, ""),
	NUMBER("BACKUP_HOURLY",             backup_hourly, "24", 1, 1000),
	NUMBER("BACKUP_DAILY",              backup_daily, "7", 0, 1000),
	SCHEDULE("SCHEDULE_BACKUP",         schedule_backup, ""),
	SCHEDULE("SCHEDULE_RETENTION",      schedule_retention, "0 0 * * *"),
	SCHEDULE("SCHEDULE_EXPIRY",         schedule_expiry, "*/5 * * * *"),
	SCHEDULE("SCHEDULE_CHECKPOINT",     schedule_checkpoint, ""),
	TEXT(  "MAIL_COMMAND",              mail_command, ""),
	TEXT(  "PIPELINES_DIR",             pipelines_dir, "pipelines"),
	NUMBER("BATCH_SIZE",                batch_size, "1000", 1, 1000000),
	NUMBER("MAX_WORKERS",               max_workers, "4", 1, 64),
	SCHEDULE("SCHEDULE_INGEST",         schedule_ingest, "* * * * *"),
	NUMBER("UPLOAD_BYTES",              upload_bytes, "10737418240", 1, 1LL << 50),
	NUMBER("UPLOAD_DAYS",               upload_days, "7", 1, 3650),
	CHOICE("DATA_ACCESS",               data_access, NULL, "open token"),
	LIST(  "SOURCE_NETWORKS",           KIND_NETWORKS, source_networks, ""),
	LIST(  "METRICS_ALLOW",             KIND_NETWORKS, metrics_allow,
	       "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"),
	LIST(  "CORS_ORIGINS",              KIND_ORIGINS, cors_origins,
	       "http://localhost:3000,http://localhost:8000,https://localhost:8000"),
	TEXT(  "TLS_CERTIFICATE",           tls_certificate, ""),
	TEXT(  "TLS_KEY",                   tls_key, ""),
	NUMBER("SCHEMA_ACCEPT",             schema_accept, "0", 0, 9999),
};
/* clang-format on */

enum { SETTINGS_N = sizeof(SETTINGS) / sizeof(SETTINGS[0]), ENV_FILE_MAX = 256 * 1024, SECRET_MAX = 64 * 1024 };

static const char DEVELOPMENT_KEY[] = "dev-key-change-in-production";
/* What examples have in its place: everybody knows it. */
static const char EXAMPLE_SECRET[] = "your-super-secret-key-change-in-production";
enum { PRODUCTION_KEY_MIN = 16, SECRET_KEY_MIN = 32, SECRET_CHARACTERS_MIN = 8 };

__attribute__((format(printf, 2, 3))) static void problem(struct config_problems *problems, const char *format, ...)
{
	va_list args;
	char line[512];

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	buf_fmt(&problems->text, "%s\n", line);
	problems->n++;
}

/* --- .env --- */

struct pair {
	struct str name, value;
	struct pair *next;
};

/* Whole file into the arena, at most `max` bytes. NULL text with errno set when it can't be read. */
static struct str read_file(struct arena *arena, const char *path, size_t max)
{
	struct str none = {0};
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return none;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < 0 || (size_t)st.st_size > max) {
		close(fd);
		errno = EFBIG;
		return none;
	}
	char *text = arena_alloc(arena, (size_t)st.st_size + 1);
	size_t n = 0;
	while (text && n < (size_t)st.st_size) {
		ssize_t got = read(fd, text + n, (size_t)st.st_size - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(fd);
	if (!text) {
		errno = ENOMEM;
		return none;
	}
	text[n] = '\0';
	return (struct str){text, n};
}

/* The value of one line: bare up to " #", or in quotes ('…' as it is; "…" with \n, \t, \", \\). */
static bool unquote(struct arena *arena, struct str raw, struct str *out)
{
	struct str s = str_trim(raw);

	if (s.n == 0 || (s.p[0] != '"' && s.p[0] != '\'')) {
		for (size_t i = s.p == raw.p; i < s.n; i++) /* the byte before the first is a blank that was trimmed */
			if (s.p[i] == '#' && (i == 0 || s.p[i - 1] == ' ' || s.p[i - 1] == '\t'))
				s.n = i;
		*out = arena_dup(arena, str_trim(s));
		return out->p != NULL;
	}
	char quote = s.p[0];
	char *text = arena_alloc(arena, s.n);
	size_t n = 0, i = 1;
	if (!text)
		return false;
	for (; i < s.n && s.p[i] != quote; i++) {
		char c = s.p[i];
		if (c == '\\' && quote == '"' && i + 1 < s.n) {
			c = s.p[++i];
			c = (char)(c == 'n' ? '\n' : c == 't' ? '\t' : c);
		}
		text[n++] = c;
	}
	if (i >= s.n)
		return false;
	struct str rest = str_trim((struct str){s.p + i + 1, s.n - i - 1});
	if (rest.n > 0 && rest.p[0] != '#')
		return false;
	text[n] = '\0';
	*out = (struct str){text, n};
	return true;
}

static struct pair *parse_env_file(struct arena *arena, const char *path, struct config_problems *problems)
{
	struct pair *pairs = NULL;
	struct str text = read_file(arena, path, ENV_FILE_MAX);

	if (!text.p && errno != ENOENT)
		problem(problems, "%s can't be read: %s.", path, strerror(errno));
	for (int line_number = 1; text.n > 0; line_number++) {
		struct str line = str_trim(str_cut(&text, '\n'));
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (str_starts(line, STR("export ")))
			line = str_trim((struct str){line.p + 7, line.n - 7});
		struct str value = line;
		struct str name = str_trim(str_cut(&value, '='));
		struct pair *pair = arena_alloc(arena, sizeof(*pair));
		if (!value.p || name.n == 0 || !pair || !unquote(arena, value, &pair->value)) {
			problem(problems, "%s line %d is not NAME=VALUE.", path, line_number);
			continue;
		}
		pair->name = name;
		pair->next = pairs; /* newest first: the last line of a name wins */
		pairs = pair;
	}
	return pairs;
}

/* --- finding --- */

/* The value of `name` in one source: the environment (pairs == NULL) or the file. NULL when it is not set there. */
static const char *find_in(const struct pair *pairs, bool environment, const char *name)
{
	if (environment)
		return getenv(name);
	for (; pairs; pairs = pairs->next)
		if (str_eq(pairs->name, str_of(name)))
			return pairs->value.p;
	return NULL;
}

static struct str trim_end(struct str text)
{
	while (text.n > 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
		text.n--;
	return text;
}

static const char *read_secret(struct arena *arena, const char *name, const char *path,
			       struct config_problems *problems)
{
	struct str text = read_file(arena, path, SECRET_MAX);

	if (!text.p) {
		problem(problems, "%s_FILE names %s, which can't be read: %s.", name, path, strerror(errno));
		return "";
	}
	text = arena_dup(arena, trim_end(text));
	return text.p ? text.p : "";
}

/* The credential of a setting that systemd hands over (systemd.exec(5), LoadCredential=). NULL: none, or an empty one,
 * which is how a unit says that it is optional. */
static const char *read_credential(struct arena *arena, const char *name, struct config_problems *problems)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	char path[4096], lower[64];
	size_t n = 0;

	if (!folder || !*folder)
		return NULL;
	for (; n < sizeof(lower) - 1 && name[n]; n++)
		lower[n] = (char)tolower((unsigned char)name[n]);
	lower[n] = '\0';
	snprintf(path, sizeof(path), "%s/%s", folder, lower);
	struct str text = read_file(arena, path, SECRET_MAX);
	if (!text.p && errno != ENOENT)
		problem(problems, "%s: the credential %s can't be read: %s.", name, path, strerror(errno));
	if (!text.p)
		return NULL;
	text = arena_dup(arena, trim_end(text));
	return text.p && text.n > 0 ? text.p : NULL;
}

/* A URL may hold a password. */
static bool takes_file(const struct setting *setting)
{
	return setting->kind == KIND_SECRET || setting->kind == KIND_URL;
}

static const char *find(struct arena *arena, const struct setting *setting, const struct pair *pairs,
			struct config_problems *problems)
{
	char file_name[64];

	const char *credential = takes_file(setting) ? read_credential(arena, setting->name, problems) : NULL;
	snprintf(file_name, sizeof(file_name), "%s_FILE", setting->name);
	for (int environment = 1; environment >= 0; environment--) {
		const char *value = find_in(pairs, environment, setting->name);
		const char *path = takes_file(setting) ? find_in(pairs, environment, file_name) : NULL;
		if (path && !*path)
			path = NULL;
		if (value && *value && path) {
			problem(problems, "%s and %s are both set: keep one.", setting->name, file_name);
			return value;
		}
		if (environment && credential && (path || (value && *value))) {
			problem(problems, "%s is set, and there is a credential for it, too: keep one.",
				path ? file_name : setting->name);
			return credential;
		}
		if (environment && credential)
			return credential;
		if (path)
			return read_secret(arena, setting->name, path, problems);
		/* An empty one is as good as none, but for a list, which may be emptied. */
		if (value && (*value || setting->kind == KIND_NETWORKS || setting->kind == KIND_ORIGINS))
			return value;
	}
	return setting->fallback;
}

/* --- misspelt names --- */

static bool is_setting(struct str name)
{
	static const struct str FILE_FORM = STR_INIT("_FILE");

	for (size_t i = 0; i < SETTINGS_N; i++) {
		struct str known = str_of(SETTINGS[i].name);
		if (str_eq(name, known))
			return true;
		if (takes_file(&SETTINGS[i]) && str_starts(name, known) && name.n == known.n + FILE_FORM.n &&
		    str_eq((struct str){name.p + known.n, FILE_FORM.n}, FILE_FORM))
			return true;
	}
	return false;
}

/* The setting that this is most likely meant to be; NULL: none, for others are told things in the environment, too. */
static const char *meant(struct str name)
{
	const char *nearest = NULL;
	int least = name.n < 8 ? 2 : 3;

	for (size_t i = 0; i < SETTINGS_N; i++) {
		int distance = spelling_distance(name, str_of(SETTINGS[i].name));
		if (distance < least) {
			least = distance;
			nearest = SETTINGS[i].name;
		}
	}
	return nearest;
}

/* The file that systemd has read the environment from (EnvironmentFile=), which it tells in APPCORE_ENV_FILE: what is
 * misspelt there would otherwise go unnoticed, for nobody looks for it. Values may be secrets: they are not repeated.
 */
static void check_names(struct arena *arena, struct config_problems *problems)
{
	const char *path = getenv("APPCORE_ENV_FILE");
	struct str text = {0};

	if (path && *path)
		text = read_file(arena, path, ENV_FILE_MAX);
	for (int line_number = 1; text.n > 0; line_number++) {
		struct str value = str_trim(str_cut(&text, '\n'));
		if (value.n == 0 || value.p[0] == '#' || value.p[0] == ';')
			continue;
		struct str name = str_trim(str_cut(&value, '='));
		if (!value.p) {
			problem(problems, "%s line %d is not NAME=VALUE.", path, line_number);
			continue;
		}
		const char *other = is_setting(name) ? NULL : meant(name);
		if (other)
			problem(problems, "%s line %d: there is no setting %.*s; is %s meant?", path, line_number,
				STR_ARG(name), other);
	}
}

/* --- checking --- */

static bool is_choice(const char *choices, const char *value)
{
	struct str rest = str_of(choices);

	while (rest.p)
		if (str_eq(str_cut(&rest, ' '), str_of(value)))
			return true;
	return false;
}

static bool is_network(struct str text)
{
	bool dotted = false, colons = false;

	if (str_eq(text, STR("all")))
		return true;
	struct str rest = text;
	struct str address = str_cut(&rest, '/');
	uint64_t bits;
	for (size_t i = 0; i < address.n; i++) {
		char c = address.p[i];
		dotted |= c == '.';
		colons |= c == ':';
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == '.' ||
		      c == ':'))
			return false;
	}
	if (rest.p && !str_to_u64(rest, colons ? 128 : 32, &bits))
		return false;
	return dotted || colons;
}

static bool is_origin(struct str text)
{
	return str_eq(text, STR("*")) || ((str_starts(text, STR("http://")) || str_starts(text, STR("https://"))) &&
					  str_is_token(text) && text.p[text.n - 1] != '/');
}

static void check_list(const struct setting *setting, const char *value, bool (*fits)(struct str), const char *what,
		       struct config_problems *problems)
{
	struct str rest = str_of(value);

	while (rest.n > 0) {
		struct str item = str_trim(str_cut(&rest, ','));
		if (item.n > 0 && !fits(item))
			problem(problems, "%s holds \"%.*s\", which is no %s.", setting->name, STR_ARG(item), what);
	}
}

/* Empty, as the default may be, and "off": never. */
static void check_schedule(const struct setting *setting, const char *value, struct config_problems *problems)
{
	struct cron cron;

	if (!*value || strcmp(value, "off") == 0)
		return;
	const char *wrong = cron_parse(str_of(value), &cron);
	if (wrong)
		problem(problems, "%s is \"%s\", which %s: it wants a cron expression like \"0 3 * * *\", or off.",
			setting->name, value, wrong);
}

static void store(struct config *config, const struct setting *setting, const char *value,
		  struct config_problems *problems)
{
	char *at = (char *)config + setting->at;
	uint64_t number = 0;
	int64_t seconds;

	switch (setting->kind) {
	case KIND_NUMBER:
		if (!str_to_u64(str_trim(str_of(value)), (uint64_t)setting->high, &number) ||
		    (int64_t)number < setting->low)
			problem(problems, "%s is \"%s\": it wants a whole number from %lld to %lld.", setting->name,
				value, (long long)setting->low, (long long)setting->high);
		*(int64_t *)(void *)at = (int64_t)number;
		return;
	case KIND_CHOICE:
		if (!is_choice(setting->choices, value))
			problem(problems, "%s is \"%s\": it wants one of: %s.", setting->name, value, setting->choices);
		break;
	case KIND_NETWORKS:
		check_list(setting, value, is_network, "address or network (CIDR)", problems);
		break;
	case KIND_ORIGINS:
		check_list(setting, value, is_origin, "origin (http://host:port)", problems);
		break;
	case KIND_NAME:
		if (!str_is_name(str_of(value)))
			problem(problems,
				"%s is \"%s\": it wants 1 to 64 letters, digits, '.', '_' and '-', the first no '.' "
				"nor '-'.",
				setting->name, value);
		break;
	case KIND_DURATION:
		if (!clock_parse_duration(str_of(value), &seconds) || seconds < setting->low || seconds > setting->high)
			problem(problems,
				"%s is \"%s\": it wants a duration like 90s, 30m, 1h or 7d, of %lld to %lld s.",
				setting->name, value, (long long)setting->low, (long long)setting->high);
		break;
	case KIND_SCHEDULE:
		check_schedule(setting, value, problems);
		break;
	case KIND_TEXT:
	case KIND_SECRET:
	case KIND_URL:
		break;
	}
	*(const char **)(void *)at = value;
}

/* RFC 3986: what is not unreserved is written as %XX. */
static void put_encoded(struct buf *out, const char *text)
{
	for (const char *p = text; *p; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
			     strchr("-._~", *p);
		if (plain)
			buf_char(out, *p);
		else
			buf_fmt(out, "%%%02X", (unsigned)(unsigned char)*p);
	}
}

/* POSTGRES_* switch PostgreSQL on where DATABASE_URL says nothing. A host may be a socket's directory. */
static void put_postgres_url(const struct config *config, struct buf *out)
{
	buf_str(out, STR("postgresql://"));
	put_encoded(out, config->postgres_user);
	if (*config->postgres_password) {
		buf_char(out, ':');
		put_encoded(out, config->postgres_password);
	}
	buf_char(out, '@');
	put_encoded(out, config->postgres_host);
	buf_fmt(out, ":%lld/", (long long)config->postgres_port);
	put_encoded(out, config->postgres_db);
}

/* Defaults that depend on other settings. */
static void derive(struct config *config)
{
	struct buf url, log, models;

	if (!config->postgres_password)
		config->postgres_password = "";
	if (!config->database_url) {
		buf_init(&url, &config->arena);
		if (*config->postgres_host)
			put_postgres_url(config, &url);
		else
			buf_fmt(&url, "sqlite:///%s/predictions.db", config->data_dir);
		buf_char(&url, '\0');
		config->database_url = url.failed ? "" : url.p;
	}
	if (!config->models_dir) {
		buf_init(&models, &config->arena);
		buf_fmt(&models, "%s/models", config->data_dir);
		buf_char(&models, '\0');
		config->models_dir = models.failed ? "" : models.p;
	}
	if (!config->edge_log) {
		buf_init(&log, &config->arena);
		buf_fmt(&log, "%s/nginx/edge.log", config->run_dir);
		buf_char(&log, '\0');
		config->edge_log = log.failed ? "" : log.p;
	}
	if (!config->predictions_read)
		config->predictions_read = config_is_production(config) ? "key" : "open";
	if (!config->data_access)
		config->data_access = config_is_production(config) ? "token" : "open";
	if (!config->api_key)
		config->api_key = config_is_production(config) ? "" : DEVELOPMENT_KEY;
	if (!config->api_key_previous)
		config->api_key_previous = "";
	if (!config->redis_url)
		config->redis_url = "";
	if (!config->secret_key)
		config->secret_key = "";
	if (!config->secret_key_previous)
		config->secret_key_previous = "";
}

static bool is_network_url(const char *url)
{
	return strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0;
}

static bool is_database_url(const char *url)
{
	return strncmp(url, "sqlite:///", 10) == 0 || is_network_url(url);
}

static int count_characters(const char *text)
{
	bool seen[256] = {false};
	int n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		n += !seen[*p];
		seen[*p] = true;
	}
	return n;
}

/* A secret that is none is worse than its absence: whoever guesses it is everybody. */
static void check_secret(const struct config *config, const char *name, const char *value,
			 struct config_problems *problems)
{
	if (!*value)
		return;
	if (strlen(value) < SECRET_KEY_MIN)
		problem(problems, "%s is shorter than %d bytes: make a longer one (openssl rand -base64 48).", name,
			SECRET_KEY_MIN);
	else if (count_characters(value) < SECRET_CHARACTERS_MIN)
		problem(problems,
			"%s has fewer than %d different characters: make a random one (openssl rand -base64 48).", name,
			SECRET_CHARACTERS_MIN);
	else if (config_is_production(config) && strcmp(value, EXAMPLE_SECRET) == 0)
		problem(problems, "%s is that of the examples: production wants one of your own.", name);
}

static void check_together(const struct config *config, struct config_problems *problems)
{
	size_t key_n = strlen(config->api_key);

	if (config_is_production(config) && strcmp(config->api_key, DEVELOPMENT_KEY) == 0)
		problem(problems, "API_KEY is the development default: production wants one of your own.");
	else if (config_is_production(config) && key_n > 0 && key_n < PRODUCTION_KEY_MIN)
		problem(problems, "API_KEY is shorter than %d characters: make a longer one.", PRODUCTION_KEY_MIN);
	if (key_n > 0 && !str_is_token(str_of(config->api_key)))
		problem(problems, "API_KEY holds blanks or control characters, which a header can't carry.");
	if (*config->api_key_previous && !str_is_token(str_of(config->api_key_previous)))
		problem(problems, "API_KEY_PREVIOUS holds blanks or control characters, which a header can't carry.");
	check_secret(config, "SECRET_KEY", config->secret_key, problems);
	check_secret(config, "SECRET_KEY_PREVIOUS", config->secret_key_previous, problems);
	if (!*config->instance_id || strlen(config->instance_id) > 31 || !str_is_token(str_of(config->instance_id)))
		problem(problems, "INSTANCE_ID wants 1 to 31 printable characters without blanks.");
	if (!*config->data_dir || !*config->run_dir)
		problem(problems, "DATA_DIR and RUN_DIR must not be empty.");
	if (config->direct_port + config->instances > PORT_MAX)
		problem(problems, "DIRECT_PORT + INSTANCES is above %d.", PORT_MAX);
	int64_t last = config->direct_port + config->instances;
	if (config->http_port == config->https_port ||
	    (config->http_port >= config->direct_port && config->http_port <= last) ||
	    (config->https_port >= config->direct_port && config->https_port <= last))
		problem(problems,
			"HTTP_PORT %lld, HTTPS_PORT %lld and DIRECT_PORT %lld to %lld overlap: give each its own.",
			(long long)config->http_port, (long long)config->https_port, (long long)config->direct_port,
			(long long)last);
	if (!is_database_url(config->database_url))
		problem(problems, "DATABASE_URL wants the form sqlite:///relative.db, sqlite:////absolute.db or "
				  "postgresql://user:password@host/database.");
	if (*config->database_read_url &&
	    (!is_network_url(config->database_url) || !is_network_url(config->database_read_url)))
		problem(problems, "DATABASE_READ_URL is for a replica of PostgreSQL: it and DATABASE_URL want the form "
				  "postgresql://user:password@host/database.");
	struct redis_url redis;
	struct err err;
	if (*config->redis_url && redis_url_parse(str_of(config->redis_url), &redis, &err) != STATUS_OK)
		problem(problems, "%s", err.text);
	if (!*config->tls_certificate != !*config->tls_key)
		problem(problems, "TLS_CERTIFICATE and TLS_KEY go together: set both or none.");
}

bool config_load(struct config *config, const char *env_file, struct config_problems *problems)
{
	*config = (struct config){0};
	*problems = (struct config_problems){0};
	arena_init(&config->arena, 4u << 20);
	buf_init_heap(&problems->text);

	const struct pair *pairs = parse_env_file(&config->arena, env_file, problems);
	for (size_t i = 0; i < SETTINGS_N; i++) {
		const char *value = find(&config->arena, &SETTINGS[i], pairs, problems);
		if (value) {
			struct str copy = arena_dup(&config->arena, str_of(value));
			store(config, &SETTINGS[i], copy.p ? copy.p : "", problems);
		}
	}
	check_names(&config->arena, problems);
	derive(config);
	check_together(config, problems);
	return problems->n == 0;
}

const char *config_lacks_key(const struct config *config)
{
	if (!config_is_production(config) || *config->api_key)
		return NULL;
	return "API_KEY is not set: production wants one (API_KEY, API_KEY_FILE or the unit's credential api_key, "
	       "/etc/appcore/credentials/api_key).";
}

void config_release(struct config *config)
{
	arena_release(&config->arena);
}

void config_problems_release(struct config_problems *problems)
{
	buf_release(&problems->text);
}

/* --- printing --- */

static struct str value_text(const struct config *config, const struct setting *setting, char digits[static 24])
{
	const char *at = (const char *)config + setting->at;

	if (setting->kind == KIND_NUMBER) {
		snprintf(digits, 24, "%lld", (long long)*(const int64_t *)(const void *)at);
		return str_of(digits);
	}
	struct str text = str_of(*(const char *const *)(const void *)at);
	/* A URL's password is a secret; nobody starts anything with what is printed here. */
	if (setting->kind == KIND_URL && is_network_url(text.p))
		return STR("postgresql://...");
	return text;
}

void config_print_shell(const struct config *config, struct buf *out)
{
	char digits[24];

	for (size_t i = 0; i < SETTINGS_N; i++) {
		struct str value = value_text(config, &SETTINGS[i], digits);
		if (SETTINGS[i].kind == KIND_SECRET || (SETTINGS[i].kind == KIND_URL && is_network_url(value.p)))
			continue;
		buf_fmt(out, "%s='", SETTINGS[i].name);
		for (size_t k = 0; k < value.n; k++) {
			if (value.p[k] == '\'')
				buf_str(out, STR("'\\''"));
			else
				buf_char(out, value.p[k]);
		}
		buf_str(out, STR("'\n"));
	}
}

void config_print_json(const struct config *config, struct buf *out)
{
	char digits[24];

	buf_char(out, '{');
	for (size_t i = 0; i < SETTINGS_N; i++) {
		struct str value = value_text(config, &SETTINGS[i], digits);
		if (i > 0)
			buf_char(out, ',');
		json_put_string(out, str_of(SETTINGS[i].name));
		buf_char(out, ':');
		if (SETTINGS[i].kind == KIND_SECRET)
			json_put_string(out, value.n ? STR("set") : STR(""));
		else if (SETTINGS[i].kind == KIND_NUMBER)
			buf_str(out, value);
		else
			json_put_string(out, value);
	}
	buf_str(out, STR("}\n"));
}
