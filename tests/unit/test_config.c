/* Settings: where they come from, what they may be, and how problems are told. */
#include "unit.h"

#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config config;
static struct config_problems problems;

static const char *path_of(const char *name)
{
	static char paths[4][512];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", unit_temp_dir(), name);
	return path;
}

static const char *write_file(const char *name, const char *text, size_t n)
{
	const char *path = path_of(name);
	FILE *file = fopen(path, "we");

	if (!file || fwrite(text, 1, n, file) != n || fclose(file) != 0)
		abort();
	return path;
}

/* Reads the settings from this environment ("NAME=VALUE", …, NULL) and this .env (NULL: none). */
static bool load(const char *const *environment, const char *env_file)
{
	char *copies[40] = {NULL}, **saved = environ;
	size_t n = 0;

	config_release(&config);
	config_problems_release(&problems);
	const char *path = env_file ? write_file(".env", env_file, strlen(env_file)) : path_of("none");
	for (; environment && environment[n]; n++)
		copies[n] = strdup(environment[n]);
	environ = copies;
	bool good = config_load(&config, path, &problems);
	environ = saved;
	while (n > 0)
		free(copies[--n]);
	buf_char(&problems.text, '\0');
	problems.text.n--;
	if (good != (problems.n == 0) || good != (problems.text.n == 0))
		abort();
	return good;
}

#define ENV(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool told(const char *text)
{
	bool found = strstr(problems.text.p, text) != NULL;

	if (!found)
		printf("\nnot told: %s\ntold: %s", text, problems.text.p);
	return found;
}

/* The value of a setting as it is printed for a shell; "(none)" when it is not. */
static const char *value(const char *name)
{
	static char out[1024];
	struct buf text;
	char start[80];

	buf_init_heap(&text);
	config_print_shell(&config, &text);
	buf_char(&text, '\0');
	snprintf(start, sizeof(start), "%s='", name);
	const char *at = strstr(text.p, start);
	while (at && at != text.p && at[-1] != '\n')
		at = strstr(at + 1, start);
	snprintf(out, sizeof(out), "%s", at ? at + strlen(start) : "(none)");
	char *end = strstr(out, "'\n");
	if (at && end)
		*end = '\0';
	buf_release(&text);
	return out;
}

static void is(const char *name, const char *wanted)
{
	if (strcmp(value(name), wanted) != 0)
		printf("\n%s is <%s> instead of <%s>\n%s", name, value(name), wanted, problems.text.p);
	CU_ASSERT_STRING_EQUAL(value(name), wanted);
}

/* name, default, a good value, values that are refused. */
static const struct {
	const char *name, *fallback, *good;
	const char *bad[6];
} SETTINGS[] = {
	{"ENVIRONMENT", "development", "staging", {"prod", "Development", "development test", " "}},
	{"APP_NAME", "practical-production-service", "a name", {0}},
	{"HTTPS_PORT", "8443", "443", {"0", "65536", "-1", "x", "8443x", "1e3"}},
	{"HTTP_PORT", "8080", "80", {"0", "65536"}},
	{"DIRECT_PORT", "8000", "9000", {"0", "65535", "65534"}},
	{"INSTANCES", "2", "32", {"0", "33", "2.5", "+2"}},
	{"INSTANCE_ID", "1", "api-1", {"a b", "a\tb", "12345678901234567890123456789012", "\xc3\xa4"}},
	{"DATA_DIR", "data", "/var/lib/appcore", {0}},
	{"RUN_DIR", "run", "/run/appcore", {0}},
	{"MODELS_DIR", "data/models", "/srv/models", {0}},
	{"MODEL_DEFAULT", "mean", "wine.2", {".", "../x", "a b", "a/b"}},
	{"MODEL_DRIFT_WINDOW", "1h", "30m", {"0s", "9s", "1", "h", "400d"}},
	{"DATABASE_URL", "sqlite:///data/predictions.db", "sqlite:////tmp/x.db", {"mysql://x", "sqlite://x", "x"}},
	{"LOG_LEVEL", "INFO", "DEBUG", {"info", "TRACE"}},
	{"LOG_FILE", "", "/var/log/x.log", {0}},
	{"EDGE_LOG", "run/nginx/edge.log", "/var/log/x.log", {0}},
	{"MAX_BODY_BYTES", "1048576", "0", {"-1", "1073741825", "1M"}},
	{"MODEL_BATCH_MAX", "1000", "1", {"0", "100001", "all"}},
	{"RATE_LIMIT_PER_MINUTE", "100", "0", {"-1", "100000001"}},
	{"KEY_RATE_LIMIT_PER_MINUTE", "0", "60", {"-1", "many"}},
	{"RATE_LIMIT_HEADERS", "legacy", "both", {"none"}},
	{"TRUSTED_PROXIES", "", "10.0.0.0/8,::1", {"proxy", "10.0.0.0/33", "::/129", "10.0.0.0/", "1.2.3.4;x"}},
	{"HTTP_CONTRACT", "local", "off", {"yes"}},
	{"PREDICTIONS_READ", "open", "key", {"closed"}},
	{"RETENTION_DAYS", "90", "0", {"-1", "36501"}},
	{"ALGORITHM", "HS256", "HS256", {"HS512", "none", "hs256"}},
	{"ACCESS_TOKEN_EXPIRE_MINUTES", "30", "1", {"0", "43201", "never"}},
	{"REFRESH_TOKEN_EXPIRE_DAYS", "30", "365", {"0", "3651"}},
	{"USER_RATE_LIMIT_PER_MINUTE", "60", "0", {"-1", "100000001"}},
	{"PASSWORD_THREADS", "2", "64", {"0", "65"}},
	{"LOGIN_LOCKOUT_FAILURES", "0", "5", {"-1", "1001"}},
	{"LOGIN_LOCKOUT_SECONDS", "900", "60", {"0", "86401"}},
	{"SENTIMENT_MODEL", "sentiment", "tone.2", {".", "../x", "a b"}},
	{"BATCH_BODY_BYTES", "67108864", "1024", {"1023", "1073741825", "64M"}},
	{"BATCH_MAX", "100000", "1", {"0", "10000001"}},
	{"WORKERS", "1", "0", {"-1", "33"}},
	{"TASK_THREADS", "2", "64", {"0", "65"}},
	{"TASK_LEASE_SECONDS", "30", "1", {"0", "3601"}},
	{"USER_TASKS_PENDING", "100", "0", {"-1", "1000001"}},
	{"USER_TASKS_BYTES", "268435456", "0", {"-1", "1099511627777"}},
	{"USER_TASKS_RUNNING", "2", "0", {"-1", "1001"}},
	{"BACKUP_DIR", "", "/var/backups/appcore", {0}},
	{"BACKUP_HOURLY", "24", "1", {"0", "1001"}},
	{"BACKUP_DAILY", "7", "0", {"-1", "1001"}},
	{"SCHEDULE_BACKUP", "", "0 3 * * *", {"0 3 * *", "daily", "60 * * * *", "0 0 30 2 *"}},
	{"SCHEDULE_RETENTION", "0 0 * * *", "@daily", {"@dayly", "0 0 * * 8"}},
	{"SCHEDULE_EXPIRY", "*/5 * * * *", "off", {"*/0 * * * *", "x"}},
	{"SCHEDULE_CHECKPOINT", "", "*/15 * * * *", {"* * * * * *"}},
	{"PIPELINES_DIR", "pipelines", "/etc/appcore/pipelines", {0}},
	{"BATCH_SIZE", "1000", "1", {"0", "1000001", "x"}},
	{"MAX_WORKERS", "4", "64", {"0", "65", "many"}},
	{"SCHEDULE_INGEST", "* * * * *", "off", {"* * *", "soon"}},
	{"UPLOAD_BYTES", "10737418240", "1", {"0", "10G"}},
	{"UPLOAD_DAYS", "7", "1", {"0", "3651"}},
	{"DATA_ACCESS", "open", "token", {"closed"}},
	{"SOURCE_NETWORKS", "", "10.0.0.0/8,::1", {"here", "10.0.0.0/33"}},
	{"MAIL_COMMAND", "", "/usr/sbin/sendmail -t", {0}},
	{"METRICS_ALLOW", "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7", "all", {"everyone"}},
	{"CORS_ORIGINS",
	 "http://localhost:3000,http://localhost:8000,https://localhost:8000",
	 "https://a.example,*",
	 {"a.example", "https://a.example/", "ftp://a", "http://a b"}},
	{"DATABASE_READ_URL", "", NULL, {"sqlite:///replica.db", "postgresql://host/only-with-postgresql"}},
	{"POSTGRES_HOST", "", "db", {0}},
	{"POSTGRES_PORT", "5432", "6432", {"0", "65536", "x"}},
	{"POSTGRES_USER", "appcore", "sentiment_user", {0}},
	{"POSTGRES_DB", "appcore", "sentiment_db", {0}},
	{"TLS_CERTIFICATE", "", NULL, {"/only/one"}},
	{"TLS_KEY", "", NULL, {"/only/one"}},
	{"SCHEMA_ACCEPT", "0", "12", {"-1", "10000", "x"}},
};
enum { SETTINGS_N = sizeof(SETTINGS) / sizeof(SETTINGS[0]) };

static void every_setting_has_its_default(void)
{
	CU_ASSERT_TRUE(load(NULL, NULL));
	for (size_t i = 0; i < SETTINGS_N; i++)
		is(SETTINGS[i].name, SETTINGS[i].fallback);
	CU_ASSERT_STRING_EQUAL(config.api_key, "dev-key-change-in-production");
	is("API_KEY", "(none)");
}

static void postgres_settings_make_a_url(void)
{
	CU_ASSERT_TRUE(load((const char *[]){"POSTGRES_HOST=db", "POSTGRES_USER=sentiment_user",
					     "POSTGRES_PASSWORD=p@ss:w/rd%", "POSTGRES_DB=sentiment_db", NULL},
			    NULL));
	CU_ASSERT_STRING_EQUAL(config.database_url,
			       "postgresql://sentiment_user:p%40ss%3Aw%2Frd%25@db:5432/sentiment_db");
	CU_ASSERT_TRUE(load((const char *[]){"POSTGRES_HOST=/run/postgresql", "POSTGRES_PORT=6432", NULL}, NULL));
	CU_ASSERT_STRING_EQUAL(config.database_url, "postgresql://appcore@%2Frun%2Fpostgresql:6432/appcore");
	CU_ASSERT_TRUE(load((const char *[]){"POSTGRES_HOST=db", "DATABASE_URL=sqlite:///x.db", NULL}, NULL));
	CU_ASSERT_STRING_EQUAL(config.database_url, "sqlite:///x.db");
}

/* No password is printed. */
static void urls_are_printed_without_passwords(void)
{
	struct buf text;

	CU_ASSERT_TRUE(load((const char *[]){"DATABASE_URL=postgresql://u:hidden@h/db",
					     "DATABASE_READ_URL=postgres://u:hidden@r/db", NULL},
			    NULL));
	buf_init_heap(&text);
	config_print_shell(&config, &text);
	config_print_json(&config, &text);
	buf_char(&text, '\0');
	CU_ASSERT_PTR_NULL(strstr(text.p, "hidden"));
	CU_ASSERT_PTR_NULL(strstr(text.p, "DATABASE_URL='"));
	buf_release(&text);
}

/* A new setting wants a row in the table above. */
static void the_table_is_complete(void)
{
	struct buf text;

	CU_ASSERT_TRUE(load(NULL, NULL));
	buf_init_heap(&text);
	config_print_shell(&config, &text);
	struct str rest = buf_view(&text);
	size_t lines = 0;
	while (rest.n > 0) {
		struct str line = str_cut(&rest, '\n'), name = str_cut(&line, '=');
		bool known = false;
		for (size_t i = 0; i < SETTINGS_N; i++)
			known |= str_eq(name, str_of(SETTINGS[i].name));
		if (!known)
			printf("\nno case for %.*s\n", STR_ARG(name));
		CU_ASSERT_TRUE(known);
		lines++;
	}
	CU_ASSERT_EQUAL(lines, SETTINGS_N);
	buf_release(&text);
}

static void every_setting_can_be_set(void)
{
	char line[200], in_file[200];

	for (size_t i = 0; i < SETTINGS_N; i++) {
		if (!SETTINGS[i].good)
			continue;
		snprintf(line, sizeof(line), "%s=%s", SETTINGS[i].name, SETTINGS[i].good);
		CU_ASSERT_TRUE(load(ENV(line), NULL));
		is(SETTINGS[i].name, SETTINGS[i].good);
		CU_ASSERT_TRUE(load(NULL, line));
		is(SETTINGS[i].name, SETTINGS[i].good);
		/* The environment comes first. */
		snprintf(in_file, sizeof(in_file), "%s=%s\n", SETTINGS[i].name, SETTINGS[i].fallback);
		CU_ASSERT_TRUE(load(ENV(line), in_file));
		is(SETTINGS[i].name, SETTINGS[i].good);
	}
}

static void every_setting_is_checked(void)
{
	char line[200];

	for (size_t i = 0; i < SETTINGS_N; i++) {
		for (size_t k = 0; k < 6 && SETTINGS[i].bad[k]; k++) {
			snprintf(line, sizeof(line), "%s=%s", SETTINGS[i].name, SETTINGS[i].bad[k]);
			bool good = load(ENV(line), NULL);
			if (good)
				printf("\naccepted: %s\n", line);
			CU_ASSERT_FALSE(good);
			CU_ASSERT_TRUE(told(SETTINGS[i].name));
			CU_ASSERT_EQUAL(problems.text.p[problems.text.n - 1], '\n');
		}
	}
}

/* An empty value in the environment is none: the file and the default count. A list may be emptied. */
static void empty_is_not_set(void)
{
	CU_ASSERT_TRUE(load(ENV("LOG_LEVEL=", "HTTPS_PORT="), "LOG_LEVEL=DEBUG\n"));
	is("LOG_LEVEL", "DEBUG");
	is("HTTPS_PORT", "8443");
	CU_ASSERT_TRUE(load(ENV("METRICS_ALLOW=", "CORS_ORIGINS="), "METRICS_ALLOW=all\n"));
	is("METRICS_ALLOW", "");
	is("CORS_ORIGINS", "");
	/* Least of all may an empty key in the environment hide the file's, and leave the public one in force. */
	CU_ASSERT_TRUE(load(ENV("API_KEY=", "DATABASE_URL="), "API_KEY=of-the-file\nDATABASE_URL=sqlite:///x.db\n"));
	CU_ASSERT_STRING_EQUAL(config.api_key, "of-the-file");
	is("DATABASE_URL", "sqlite:///x.db");
	CU_ASSERT_TRUE(load(ENV("PREDICTIONS_READ=", "DATABASE_URL="), NULL));
	is("PREDICTIONS_READ", "open");
	is("DATABASE_URL", "sqlite:///data/predictions.db");
}

static void defaults_follow_other_settings(void)
{
	CU_ASSERT_TRUE(load(ENV("DATA_DIR=/srv/d"), NULL));
	is("DATABASE_URL", "sqlite:////srv/d/predictions.db");
	CU_ASSERT_TRUE(load(ENV("ENVIRONMENT=production", "API_KEY=0123456789abcdef"), NULL));
	is("PREDICTIONS_READ", "key");
	CU_ASSERT_TRUE(config_is_production(&config));
	CU_ASSERT_TRUE(load(ENV("ENVIRONMENT=production", "API_KEY=0123456789abcdef", "PREDICTIONS_READ=open"), NULL));
	is("PREDICTIONS_READ", "open");
	CU_ASSERT_TRUE(load(ENV("ENVIRONMENT=staging"), NULL));
	is("PREDICTIONS_READ", "open");
}

/* --- .env --- */

static void lines_of_the_file(void)
{
	static const struct {
		const char *text, *name;
	} cases[] = {
		{"APP_NAME=plain", "plain"},
		{"APP_NAME=plain\n", "plain"},
		{"APP_NAME=plain\r\n", "plain"},
		{"  APP_NAME  =  plain  \n", "plain"},
		{"export APP_NAME=plain", "plain"},
		{"APP_NAME=two words", "two words"},
		{"APP_NAME=a=b", "a=b"},
		{"APP_NAME=a#b", "a#b"},
		{"APP_NAME=a # b", "a"},
		{"APP_NAME=a\t# b # c", "a"},
		{"APP_NAME=#a", "#a"},
		{"APP_NAME= # nothing", "practical-production-service"},
		{"APP_NAME=\"a # b\"", "a # b"},
		{"APP_NAME='a # b' # c", "a # b"},
		{"APP_NAME=\"a\\\"b\\\\c\\td\"", "a\"b\\c\td"},
		{"APP_NAME='a\\nb\\'", "a\\nb\\"},
		{"APP_NAME=''", "practical-production-service"},
		{"APP_NAME=a'b", "a'\\''b"}, /* as a shell reads it back */
		{"APP_NAME=first\nAPP_NAME=second\n", "second"},
		{"# APP_NAME=comment\n\n  \n#\nAPP_NAME=x", "x"},
		{"OTHER=1\nAPP_NAME=x\nAPP_NAME_2=y", "x"},
		{"APP_NAME=\xc3\xa4", "\xc3\xa4"},
		{"", "practical-production-service"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_TRUE(load(NULL, cases[i].text));
		is("APP_NAME", cases[i].name);
	}
	CU_ASSERT_TRUE(load(NULL, "APP_NAME=\"a\\nb\""));
	CU_ASSERT_STRING_EQUAL(config.app_name, "a\nb");
}

static void bad_lines_are_told_by_number(void)
{
	static const char *const bad[] = {
		"APP_NAME",         "=x",    "APP_NAME=\"open", "APP_NAME='open", "APP_NAME=\"a\"b", "APP_NAME='a' b",
		"APP_NAME=\"a\\\"", "export"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[100];
		snprintf(text, sizeof(text), "# one\n%s\nLOG_LEVEL=DEBUG\nx\n", bad[i]);
		CU_ASSERT_FALSE(load(NULL, text));
		CU_ASSERT_TRUE(told(".env line 2 is not NAME=VALUE."));
		CU_ASSERT_TRUE(told(".env line 4 is not NAME=VALUE."));
		CU_ASSERT_EQUAL(problems.n, 2);
		is("LOG_LEVEL", "DEBUG");
	}
	/* A line may hold a secret: it is not repeated. */
	CU_ASSERT_FALSE(load(NULL, "API_KEY \"hush-hush\"\n"));
	CU_ASSERT_PTR_NULL(strstr(problems.text.p, "hush"));
}

static void files_that_are_no_files(void)
{
	static char large[300 * 1024];

	config_release(&config);
	config_problems_release(&problems);
	CU_ASSERT_FALSE(config_load(&config, unit_temp_dir(), &problems)); /* a directory */
	memset(large, '#', sizeof(large));
	const char *path = write_file("large.env", large, sizeof(large));
	config_release(&config);
	config_problems_release(&problems);
	CU_ASSERT_FALSE(config_load(&config, path, &problems));
	/* Bytes after a NUL in a value are not seen by anybody; it does no harm. */
	path = write_file("nul.env", "APP_NAME=a\0b\nLOG_LEVEL=DEBUG\n", 29);
	config_release(&config);
	config_problems_release(&problems);
	CU_ASSERT_TRUE(config_load(&config, path, &problems));
	is("APP_NAME", "a");
	is("LOG_LEVEL", "DEBUG");
}

/* The file that systemd reads: nobody would ask for what is misspelt there. */
static void misspelt_names_are_told(void)
{
	static const struct {
		const char *line, *problem;
	} cases[] = {
		{"HTTPS_PROT=443", "line 2: there is no setting HTTPS_PROT; is HTTPS_PORT meant?"},
		{"LOG_LEVL=DEBUG", "line 2: there is no setting LOG_LEVL; is LOG_LEVEL meant?"},
		{"log_level=DEBUG", NULL}, /* far away: another program's */
		{"API_KEYS=hush-hush", "line 2: there is no setting API_KEYS; is API_KEY meant?"},
		{"LOG_LEVEL DEBUG", "line 2 is not NAME=VALUE."},
		{"LOG_LEVEL=DEBUG", NULL},
		{"DATABASE_URL_FILE=/x", NULL},
		{"; a comment of systemd's", NULL},
		{"TZ=UTC", NULL},
		{"NGINX_KEEPALIVE=1", NULL},
	};
	char text[200], setting[600];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "# one\n%s\n", cases[i].line);
		snprintf(setting, sizeof(setting), "APPCORE_ENV_FILE=%s",
			 write_file("appcore.env", text, strlen(text)));
		bool good = load(ENV(setting), NULL);
		if (good != (cases[i].problem == NULL))
			printf("\n%s: %s", cases[i].line, problems.text.p);
		CU_ASSERT_EQUAL(good, cases[i].problem == NULL);
		if (cases[i].problem)
			CU_ASSERT_TRUE(told(cases[i].problem));
		CU_ASSERT_PTR_NULL(strstr(problems.text.p, "hush"));
	}
	/* One that may not be read is the unit's matter. */
	CU_ASSERT_TRUE(load(ENV("APPCORE_ENV_FILE=/nowhere"), NULL));
}

/* --- secrets --- */

static void secrets_come_from_files_too(void)
{
	char line[600];

	const char *path = write_file("key", "secret-of-a-file\n", 17);
	snprintf(line, sizeof(line), "API_KEY_FILE=%s", path);
	CU_ASSERT_TRUE(load(ENV(line), NULL));
	CU_ASSERT_STRING_EQUAL(config.api_key, "secret-of-a-file");
	CU_ASSERT_TRUE(load(NULL, line));
	CU_ASSERT_STRING_EQUAL(config.api_key, "secret-of-a-file");
	CU_ASSERT_TRUE(load(ENV("API_KEY=from-the-environment"), line));
	CU_ASSERT_STRING_EQUAL(config.api_key, "from-the-environment");
	CU_ASSERT_TRUE(load(ENV(line), "API_KEY=from-the-file\n"));
	CU_ASSERT_STRING_EQUAL(config.api_key, "secret-of-a-file");
	write_file("key", "line\r\n\n", 7);
	CU_ASSERT_TRUE(load(ENV(line), NULL));
	CU_ASSERT_STRING_EQUAL(config.api_key, "line");
	CU_ASSERT_TRUE(load(ENV("API_KEY_FILE=", "API_KEY=x"), NULL));
	CU_ASSERT_STRING_EQUAL(config.api_key, "x");
	/* Only secrets have this form. */
	CU_ASSERT_TRUE(load(ENV("APP_NAME_FILE=/nowhere"), NULL));
	is("APP_NAME", "practical-production-service");
}

/* As systemd hands them over (LoadCredential=). */
static void secrets_come_from_credentials_too(void)
{
	static const char text[] = "secret-of-a-credential\n", url[] = "postgresql://u:hidden@h/db";
	char folder[600];

	const char *key = write_file("api_key", text, sizeof(text) - 1);
	snprintf(folder, sizeof(folder), "CREDENTIALS_DIRECTORY=%s", unit_temp_dir());
	CU_ASSERT_TRUE(load(ENV(folder), NULL));
	CU_ASSERT_STRING_EQUAL(config.api_key, "secret-of-a-credential");
	CU_ASSERT_TRUE(load(ENV(folder, "API_KEY=", "API_KEY_FILE="), "API_KEY=from-the-file\n"));
	CU_ASSERT_STRING_EQUAL(config.api_key, "secret-of-a-credential");
	CU_ASSERT_TRUE(load(ENV("CREDENTIALS_DIRECTORY="), "API_KEY=from-the-file\n"));
	CU_ASSERT_STRING_EQUAL(config.api_key, "from-the-file");
	CU_ASSERT_FALSE(load(ENV(folder, "API_KEY=from-the-environment"), NULL));
	CU_ASSERT_TRUE(told("API_KEY is set, and there is a credential for it, too: keep one."));
	CU_ASSERT_PTR_NULL(strstr(problems.text.p, "secret-of"));
	CU_ASSERT_FALSE(load(ENV(folder, "API_KEY_FILE=/nowhere"), NULL));
	CU_ASSERT_TRUE(told("API_KEY_FILE is set, and there is a credential for it, too: keep one."));
	/* What is no secret has no such form. */
	const char *name = write_file("app_name", text, sizeof(text) - 1);
	CU_ASSERT_TRUE(load(ENV(folder), NULL));
	is("APP_NAME", "practical-production-service");
	/* An empty one is none. */
	write_file("api_key", "\n", 1);
	CU_ASSERT_TRUE(load(ENV(folder, "API_KEY=from-the-environment"), NULL));
	CU_ASSERT_STRING_EQUAL(config.api_key, "from-the-environment");
	const char *database = write_file("database_url", url, sizeof(url) - 1);
	CU_ASSERT_TRUE(load(ENV(folder), NULL));
	CU_ASSERT_STRING_EQUAL(config.database_url, url);
	unlink(key);
	unlink(name);
	unlink(database);
	/* One that is no file is told. */
	snprintf(folder, sizeof(folder), "CREDENTIALS_DIRECTORY=%s", path_of("keyring"));
	CU_ASSERT_EQUAL(mkdir(path_of("keyring"), 0700), 0);
	CU_ASSERT_EQUAL(mkdir(path_of("keyring/api_key"), 0700), 0);
	CU_ASSERT_FALSE(load(ENV(folder), NULL));
	CU_ASSERT_TRUE(told("API_KEY: the credential"));
	rmdir(path_of("keyring/api_key"));
	rmdir(path_of("keyring"));
}

static void both_forms_are_refused(void)
{
	CU_ASSERT_FALSE(load(ENV("API_KEY=a-secret", "API_KEY_FILE=/nowhere"), NULL));
	CU_ASSERT_TRUE(told("API_KEY and API_KEY_FILE are both set: keep one."));
	CU_ASSERT_PTR_NULL(strstr(problems.text.p, "a-secret"));
	CU_ASSERT_FALSE(load(NULL, "API_KEY=a-secret\nAPI_KEY_FILE=/nowhere\n"));
	CU_ASSERT_TRUE(told("API_KEY and API_KEY_FILE are both set: keep one."));
	CU_ASSERT_FALSE(load(ENV("API_KEY_FILE=/nowhere/key"), NULL));
	CU_ASSERT_TRUE(told("API_KEY_FILE names /nowhere/key, which can't be read: No such file or directory."));
	CU_ASSERT_FALSE(load(ENV("API_KEY=two words"), NULL));
	CU_ASSERT_TRUE(told("API_KEY holds blanks"));
	CU_ASSERT_FALSE(load(ENV("API_KEY_PREVIOUS=two words"), NULL));
	CU_ASSERT_TRUE(told("API_KEY_PREVIOUS holds blanks"));
	CU_ASSERT_PTR_NULL(strstr(problems.text.p, "two words"));
}

static void secrets_are_not_printed(void)
{
	struct buf text;

	CU_ASSERT_TRUE(load(ENV("API_KEY=hush-hush", "REDIS_URL=redis://:hush@localhost/1", "APP_NAME=a\"'$x"), NULL));
	CU_ASSERT_STRING_EQUAL(config.redis_url, "redis://:hush@localhost/1");
	buf_init_heap(&text);
	config_print_shell(&config, &text);
	config_print_json(&config, &text);
	buf_char(&text, '\0');
	CU_ASSERT_PTR_NULL(strstr(text.p, "hush"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text.p, "\"API_KEY\":\"set\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text.p, "\"REDIS_URL\":\"set\""));
	CU_ASSERT_FALSE(load(ENV("REDIS_URL=redis://:hush@localhost:port"), NULL));
	CU_ASSERT_TRUE(told("REDIS_URL wants a port from 1 to 65535."));
	CU_ASSERT_PTR_NULL(strstr(problems.text.p, "hush"));
	CU_ASSERT_TRUE(load(NULL, NULL));
	CU_ASSERT_STRING_EQUAL(config.redis_url, "");
	CU_ASSERT_PTR_NOT_NULL(strstr(text.p, "\"HTTPS_PORT\":8443,"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text.p, "\"APP_NAME\":\"a\\\"'$x\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text.p, "APP_NAME='a\"'\\''$x'\n"));
	buf_release(&text);
}

/* --- rules over several settings --- */

static void production_wants_a_key_of_its_own(void)
{
	static const struct {
		const char *key, *problem;
	} cases[] = {
		{"API_KEY=dev-key-change-in-production", "API_KEY is the development default"},
		{"API_KEY=0123456789abcde", "API_KEY is shorter than 16 characters"},
		{"API_KEY=0123456789abcdef", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool good = load(ENV("ENVIRONMENT=production", cases[i].key), NULL);
		CU_ASSERT_EQUAL(good, cases[i].problem == NULL);
		if (cases[i].problem)
			CU_ASSERT_TRUE(told(cases[i].problem));
		CU_ASSERT_TRUE(load(ENV("ENVIRONMENT=staging", cases[i].key), NULL));
	}
	/* Those who answer nobody need none. */
	CU_ASSERT_TRUE(load(ENV("ENVIRONMENT=production"), NULL));
	CU_ASSERT_STRING_EQUAL(config.api_key, "");
	CU_ASSERT_PTR_NOT_NULL(config_lacks_key(&config));
	CU_ASSERT_TRUE(load(ENV("ENVIRONMENT=production", "API_KEY=0123456789abcdef"), NULL));
	CU_ASSERT_PTR_NULL(config_lacks_key(&config));
	CU_ASSERT_TRUE(load(ENV("API_KEY="), NULL));
	CU_ASSERT_PTR_NULL(config_lacks_key(&config));
}

static void secrets_that_sign_are_long(void)
{
#define LONG_ENOUGH "0123456789abcdef0123456789abcdef"
	static const struct {
		const char *value, *problem;
	} cases[] = {
		{"0123456789abcdef0123456789abcde", "is shorter than 32 bytes: make a longer one"},
		{"secret", "is shorter than 32 bytes"},
		{LONG_ENOUGH, NULL},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "has fewer than 8 different characters"},
		{"0101010101010101010101010101010123456", "has fewer than 8 different characters"},
		{"your-super-secret-key-change-in-production", "is that of the examples"},
	};
	static const char *const names[] = {"SECRET_KEY", "SECRET_KEY_PREVIOUS"};
	char line[100], says[100];

	CU_ASSERT_TRUE(load(NULL, NULL));
	CU_ASSERT_STRING_EQUAL(config.secret_key, "");
	CU_ASSERT_STRING_EQUAL(config.secret_key_previous, "");
	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			snprintf(line, sizeof(line), "%s=%s", names[k], cases[i].value);
			bool good = load(ENV(line, "ENVIRONMENT=production", "API_KEY=0123456789abcdef"), NULL);
			CU_ASSERT_EQUAL(good, cases[i].problem == NULL);
			if (!cases[i].problem)
				continue;
			snprintf(says, sizeof(says), "%s %s", names[k], cases[i].problem);
			CU_ASSERT_TRUE(told(says));
			CU_ASSERT_PTR_NULL(strstr(problems.text.p, cases[i].value));
		}
	CU_ASSERT_TRUE(load(ENV("SECRET_KEY=your-super-secret-key-change-in-production"), NULL));
	CU_ASSERT_TRUE(load(ENV("SECRET_KEY=" LONG_ENOUGH, "SECRET_KEY_PREVIOUS=x" LONG_ENOUGH), NULL));
	CU_ASSERT_STRING_EQUAL(config.secret_key, LONG_ENOUGH);
	CU_ASSERT_STRING_EQUAL(config.secret_key_previous, "x" LONG_ENOUGH);
	is("SECRET_KEY", "(none)");
	is("SECRET_KEY_PREVIOUS", "(none)");
}

static void settings_that_do_not_go_together(void)
{
	CU_ASSERT_FALSE(load(ENV("HTTP_PORT=8443"), NULL));
	CU_ASSERT_TRUE(told("overlap"));
	CU_ASSERT_FALSE(load(ENV("HTTP_PORT=8002"), NULL)); /* the second instance's own */
	CU_ASSERT_TRUE(told("overlap"));
	CU_ASSERT_TRUE(load(ENV("HTTP_PORT=8003"), NULL));
	CU_ASSERT_FALSE(load(ENV("HTTP_PORT=8003", "INSTANCES=3"), NULL));
	CU_ASSERT_FALSE(load(ENV("DIRECT_PORT=65510", "INSTANCES=32"), NULL));
	CU_ASSERT_TRUE(told("DIRECT_PORT + INSTANCES is above 65535."));
	CU_ASSERT_TRUE(load(ENV("TLS_CERTIFICATE=/c", "TLS_KEY=/k"), NULL));
	CU_ASSERT_FALSE(load(ENV("TLS_KEY=/k"), NULL));
	CU_ASSERT_TRUE(told("TLS_CERTIFICATE and TLS_KEY go together"));
}

static void all_problems_at_once(void)
{
	CU_ASSERT_FALSE(load(ENV("ENVIRONMENT=moon", "HTTPS_PORT=x", "LOG_LEVEL=loud", "TRUSTED_PROXIES=a,10.0.0.1,b",
				 "CORS_ORIGINS=nowhere", "DATABASE_URL=mysql://me:hush@host/x", "TLS_KEY=/k",
				 "API_KEY_FILE=/nowhere", "INSTANCE_ID=a b"),
			     "nonsense\nRETENTION_DAYS=forever\n"));
	static const char *const wanted[] = {
		".env line 1 is not NAME=VALUE.",
		"ENVIRONMENT is \"moon\": it wants one of: development test staging production.",
		"HTTPS_PORT is \"x\": it wants a whole number from 1 to 65535.",
		"LOG_LEVEL is \"loud\"",
		"TRUSTED_PROXIES holds \"a\", which is no address or network (CIDR).",
		"TRUSTED_PROXIES holds \"b\", which is no address or network (CIDR).",
		"CORS_ORIGINS holds \"nowhere\", which is no origin (http://host:port).",
		"DATABASE_URL wants the form",
		"TLS_CERTIFICATE and TLS_KEY go together",
		"API_KEY_FILE names /nowhere",
		"INSTANCE_ID wants",
		"RETENTION_DAYS is \"forever\"",
	};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		CU_ASSERT_TRUE(told(wanted[i]));
	CU_ASSERT_EQUAL(problems.n, (int)(sizeof(wanted) / sizeof(wanted[0])));
	CU_ASSERT_PTR_NULL(strstr(problems.text.p, "hush")); /* a URL may hold a password */
	int lines = 0;
	for (const char *p = problems.text.p; *p; p++)
		lines += *p == '\n';
	CU_ASSERT_EQUAL(lines, problems.n);
}

static const struct unit_case CASES[] = {
	{"every setting has its default", every_setting_has_its_default},
	{"the table is complete", the_table_is_complete},
	{"POSTGRES_* make a URL", postgres_settings_make_a_url},
	{"URLs are printed without passwords", urls_are_printed_without_passwords},
	{"every setting can be set", every_setting_can_be_set},
	{"every setting is checked", every_setting_is_checked},
	{"empty is not set", empty_is_not_set},
	{"defaults follow other settings", defaults_follow_other_settings},
	{"lines of the file", lines_of_the_file},
	{"bad lines are told by number", bad_lines_are_told_by_number},
	{"files that are no files", files_that_are_no_files},
	{"misspelt names are told", misspelt_names_are_told},
	{"secrets come from files, too", secrets_come_from_files_too},
	{"secrets come from credentials, too", secrets_come_from_credentials_too},
	{"both forms are refused", both_forms_are_refused},
	{"secrets are not printed", secrets_are_not_printed},
	{"production wants a key of its own", production_wants_a_key_of_its_own},
	{"secrets that sign are long", secrets_that_sign_are_long},
	{"settings that do not go together", settings_that_do_not_go_together},
	{"all problems at once", all_problems_at_once},
};

int main(void)
{
	int code = UNIT_RUN("config", CASES);

	config_release(&config);
	config_problems_release(&problems);
	return code;
}
