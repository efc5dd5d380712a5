/* The kinds of tasks that every installation has: lib/task/plain.c, mail.c, upkeep.c. */
#include "store_helpers.h"

#include "shared/wake.h"
#include "store/idempotency.h"
#include "store/sentiments.h"
#include "store/users.h"
#include "task/kinds.h"
#include "task/worker.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

enum { SOON_MS = 20 * 1000 };

static const int64_t DAY = INT64_C(86400000000);

static struct arena arena;
static struct shm *shm;
static struct config config;
static struct db *db;
static struct task_pool *pool;

/* The settings stay as they are while the pool runs. */
static void begin_with(const char *name, const char *mail_command, int64_t retention_days)
{
	static char url[512], data[512];
	struct err err = {0};

	db = test_database(name);
	struct str text = database_url(name);
	snprintf(url, sizeof(url), "%.*s", STR_ARG(text));
	snprintf(data, sizeof(data), "%s/%s-data", unit_temp_dir(), name);
	mkdir(data, 0700);
	config = (struct config){.database_url = url,
				 .data_dir = data,
				 .app_name = "a\nservice",
				 .task_threads = 1,
				 .task_lease_seconds = 30,
				 .retention_days = retention_days,
				 .mail_command = mail_command,
				 .schedule_backup = "",
				 .schedule_retention = "",
				 .schedule_expiry = "",
				 .schedule_checkpoint = ""};
	const struct task_pool_options options = {
		.config = &config, .shm = shm, .name = "w", .kinds = TASK_KINDS, .kinds_n = TASK_KINDS_N};
	if (task_pool_open(&pool, &options, &err) != STATUS_OK)
		test_give_up("a pool", &err);
}

static void begin(const char *name)
{
	begin_with(name, "", 90);
}

static void end(void)
{
	task_pool_close(pool);
	db_close(db);
}

/* Adds a task made `ago_ms` ago, and waits until it is over, or waits for another try. */
static struct task_row run(const char *kind, const char *payload, int64_t ago_ms)
{
	struct task_row row = {.payload = str_of(payload)};
	uint64_t until = clock_mono_ms() + SOON_MS;
	struct edge_identity edge;
	bool stored;

	edge_generate(&edge);
	edge.ms -= ago_ms;
	row.id = id_of_edge(&edge);
	struct id id = row.id;
	snprintf(row.kind, sizeof(row.kind), "%s", kind);
	test_begin(db);
	OK(tasks_begin_change(db, &row.change, NULL));
	OK(tasks_insert(db, &row, &stored, NULL));
	test_commit(db);
	wake_all(shm, WAKE_TASKS);
	do {
		test_sleep_ms(5);
		OK(tasks_find(db, &id, -1, &arena, &row, NULL));
	} while (!task_is_over(row.status) && (row.status != TASK_PENDING || row.attempts == 0) &&
		 clock_mono_ms() < until);
	return row;
}

static bool has(struct str text, const char *wanted)
{
	return text.p && strstr(text.p, wanted);
}

/* The text of a file; empty when there is none. */
static const char *content(const char *path)
{
	static char text[4096];
	FILE *file = fopen(path, "re");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file)
		fclose(file);
	text[n] = '\0';
	return text;
}

static void add_user(void)
{
	struct user_row user = {.active = true, .created_at = "2026-11-21T10:00:00.000000"};

	snprintf(user.email, sizeof(user.email), "ann@example.com");
	snprintf(user.email_key, sizeof(user.email_key), "ann@example.com");
	snprintf(user.username, sizeof(user.username), "ann\nBcc: x");
	snprintf(user.username_key, sizeof(user.username_key), "ann");
	snprintf(user.hash, sizeof(user.hash), "x");
	snprintf(user.updated_at, sizeof(user.updated_at), "%s", user.created_at);
	test_begin(db);
	OK(users_insert(db, &user, NULL));
	test_commit(db);
}

static const char *mail_path(const struct id *id)
{
	static char path[1024];
	char text[ID_TEXT_BYTES];

	id_format(id, text);
	snprintf(path, sizeof(path), "%s/outbox/%s.eml", config.data_dir, text);
	return path;
}

static void mail_goes_into_the_outbox(void)
{
	begin("outbox.db");
	add_user();
	struct task_row row = run("send_email", "{\"user_id\":1,\"template\":\"welcome\"}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	const char *text = content(mail_path(&row.id));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "To: <ann@example.com>\nSubject: Welcome to a service\nDate: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n\nHello ann Bcc: x,\n")); /* no header of the user's own */
	row = run("send_email", "{\"user_id\":2,\"template\":\"welcome\"}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_FAILED);
	row = run("send_email", "{\"user_id\":1,\"template\":\"spam\"}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_FAILED);
	CU_ASSERT_TRUE(has(row.error, "template: "));
	end();
}

static void write_script(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_TRUE(fputs(text, file) >= 0);
	fclose(file);
}

static void mail_goes_to_the_command(void)
{
	char command[1100], script[512], path[512];

	snprintf(script, sizeof(script), "%s/script", unit_temp_dir());
	snprintf(path, sizeof(path), "%s/sent", unit_temp_dir());
	snprintf(command, sizeof(command), "sh '%s' '%s'", script, path);
	write_script(script, "cat > \"$1\"");
	begin_with("command.db", command, 90);
	add_user();
	struct task_row row = run("send_email", "{\"user_id\":1,\"template\":\"password_changed\"}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_PTR_NOT_NULL(strstr(content(path), "Subject: Your password at a service was changed\n"));
	CU_ASSERT_STRING_EQUAL(content(mail_path(&row.id)), "");
	write_script(script, "exit 75");
	row = run("send_email", "{\"user_id\":1,\"template\":\"welcome\"}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_PENDING); /* tried again later */
	CU_ASSERT_TRUE(row.run_us > clock_wall_us());
	CU_ASSERT_TRUE(has(row.error, "MAIL_COMMAND ended with code 75."));
	write_script(script, "true"); /* reads nothing */
	row = run("send_email", "{\"user_id\":1,\"template\":\"welcome\"}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	/* Where nobody can know how it ended it has not been sent: children that are forgotten at once. */
	sighandler_t before = signal(SIGCHLD, SIG_IGN);
	row = run("send_email", "{\"user_id\":1,\"template\":\"welcome\"}", 0);
	signal(SIGCHLD, before);
	CU_ASSERT_EQUAL(row.status, TASK_PENDING);
	CU_ASSERT_TRUE(has(row.error, "how MAIL_COMMAND ended can't be known"));
	end();
}

static int count_files(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n - 2;
}

static void the_newest_backups_are_kept(void)
{
	char folder[600], path[1200] = "";

	begin("backup.db");
	snprintf(folder, sizeof(folder), "%s/backups", config.data_dir);
	for (int i = 0; i < 9; i++) {
		struct task_row row = run("backup", "{}", (10 - i) * 2000);
		CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
		if (row.status != TASK_COMPLETED)
			printf("\n%.*s", STR_ARG(row.error));
		snprintf(path, sizeof(path), "%.*s", STR_ARG(row.result));
	}
	CU_ASSERT_EQUAL(count_files(folder), 7);
	char *file = strchr(path, '/');
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	file[strcspn(file, "\"")] = '\0';
	CU_ASSERT_EQUAL(access(file, R_OK), 0); /* the last one */
	struct stat st;
	CU_ASSERT_EQUAL(stat(file, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	end();
}

static void add_text(int64_t age_us, int n)
{
	struct edge_identity edge = {.ms = (clock_wall_us() - age_us) / 1000};
	struct sentiment_row row = {.user_id = 1, .text = STR("t"), .sentiment = STR("positive"), .confidence = 1};
	bool stored;

	edge.random[5] = (uint8_t)n;
	row.id = id_of_edge(&edge);
	tasks_format_time(clock_wall_us() - age_us, row.created_at);
	OK(sentiments_insert(db, &row, &stored, NULL));
}

static void retention_deletes_what_is_old(void)
{
	begin_with("retention.db", "", 0);
	test_begin(db);
	for (int i = 0; i < 210; i++)
		add_text(91 * DAY, i);
	add_text(89 * DAY, 1);
	test_commit(db);
	struct task_row row = run("retention", "{}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests"), 211);
	task_pool_close(pool);
	db_close(db);
	begin("retention.db");
	row = run("retention", "{}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_TRUE(str_eq(row.result, STR("{\"sentiment_requests\":210}")));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM sentiment_requests"), 1);
	end();
}

static void expiry_deletes_what_has_expired(void)
{
	struct idempotency_record record = {.http_status = 200, .body = STR("{}")};

	begin("expiry.db");
	record.expires_us = clock_wall_us() + DAY;
	test_begin(db);
	OK(idempotency_save(db, &record, clock_wall_us(), NULL));
	record.key_hash[0] = 1;
	record.expires_us = clock_wall_us() - DAY;
	OK(idempotency_save(db, &record, clock_wall_us() - 2 * DAY, NULL));
	/* More than one piece of an upload that ended half-way. */
	struct id id = id_of_edge(&(struct edge_identity){.ms = (clock_wall_us() - 2 * DAY) / 1000});
	for (int i = 0; i < 120; i++)
		OK(tasks_insert_part(db, &id, i, STR("[]"), 0, NULL));
	test_commit(db);
	struct task_row row = run("expiry", "{}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_TRUE(str_eq(row.result, STR("{\"idempotency_keys\":1,\"sessions\":0,\"background_tasks\":0,"
					      "\"task_parts\":120}")));
	CU_ASSERT_EQUAL(test_number(db, "SELECT count(*) FROM idempotency_keys"), 1);
	end();
}

static void plain_kinds(void)
{
	begin("plain.db");
	struct task_row row = run("echo", "{\"a\":[1]}", 0);
	CU_ASSERT_TRUE(row.status == TASK_COMPLETED && str_eq(row.result, STR("{\"a\":[1]}")));
	row = run("sleep", "{\"seconds\":0.3}", 0);
	CU_ASSERT_TRUE(row.status == TASK_COMPLETED && row.done == 3 && row.total == 3);
	row = run("sleep", "{\"seconds\":-1}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_FAILED);
	row = run("checkpoint", "{}", 0);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	end();
}

static void payloads_are_checked(void)
{
	static const struct {
		const char *kind, *payload, *field; /* NULL: it is good */
	} cases[] = {
		{"sleep", "{\"seconds\":1}", NULL},
		{"sleep", "{\"seconds\":3601}", "seconds"},
		{"sleep", "{\"seconds\":\"1\"}", "seconds"},
		{"sleep", "[]", "seconds"},
		{"sleep", "{", "seconds"},
		{"send_email", "{\"user_id\":1,\"template\":\"account_disabled\"}", NULL},
		{"send_email", "{\"user_id\":0,\"template\":\"welcome\"}", "user_id"},
		{"send_email", "{\"user_id\":1.5,\"template\":\"welcome\"}", "user_id"},
		{"send_email", "{\"user_id\":\"1\",\"template\":\"welcome\"}", "user_id"},
		{"send_email", "{\"user_id\":1,\"template\":1}", "template"},
		{"send_email", "{\"user_id\":1}", "template"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct task_kind *kind = task_kind_find(str_of(cases[i].kind));
		const char *field = "";
		CU_ASSERT_PTR_NOT_NULL_FATAL(kind);
		const char *wrong = kind->check(str_of(cases[i].payload), &field);
		CU_ASSERT_EQUAL(!wrong, !cases[i].field);
		if (wrong && cases[i].field)
			CU_ASSERT_STRING_EQUAL(field, cases[i].field);
	}
	CU_ASSERT_PTR_NULL(task_kind_find(STR("nothing")));
}

static const struct unit_case CASES[] = {
	{"echo, sleep, checkpoint", plain_kinds},
	{"payloads are checked", payloads_are_checked},
	{"mail goes into the outbox (C-086)", mail_goes_into_the_outbox},
	{"mail goes to the command", mail_goes_to_the_command},
	{"the newest backups are kept", the_newest_backups_are_kept},
	{"retention deletes what is old (C-089)", retention_deletes_what_is_old},
	{"expiry deletes what has expired (E-003)", expiry_deletes_what_has_expired},
};

int main(void)
{
	struct err err;

	arena_init(&arena, 64 << 20);
	if (shm_open_dir(&shm, unit_temp_dir(), &err) != STATUS_OK || shm_claim_slot(shm, "test", &err) != STATUS_OK)
		test_give_up("shared memory", &err);
	int code = UNIT_RUN("task_kinds", CASES);
	arena_release(&arena);
	shm_close(shm);
	return code;
}
