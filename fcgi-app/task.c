/* appcore task: the queue, for operators. */
#include "base/clock.h"
#include "base/json.h"
#include "command.h"
#include "task/kinds.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TURN_WAIT_MS = 10 * 1000, LIST_DEFAULT = 50, LIST_MAX = 100000, DRAIN_LOOK_MS = 100 };
enum { RETRY_MAX = 1000, ARENA_MAX = 256 << 20 };

static const int64_t US = 1000000;

struct asked {
	const char *status, *kind, *limit, *payload, *priority, *delay, *timeout;
	bool json, dead;
};

/* What a verb works with. */
struct desk {
	const struct config *config;
	const struct asked *asked;
	struct db *db;
	struct arena arena;
	struct id id;
	struct task_row row;
	int64_t changed;
};

static int finish(enum status status, const struct err *err)
{
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err->text);
}

/* --- printing --- */

static void put_text(struct buf *out, const char *name, struct str value)
{
	buf_fmt(out, ",\"%s\":", name);
	if (value.p)
		json_put_string(out, value);
	else
		buf_str(out, STR("null"));
}

/* JSON as it is, when it is some. */
static void put_json(struct buf *out, const char *name, struct str value)
{
	struct json_value root;
	struct json_fault fault;

	if (value.p && json_check(value, JSON_MAX_DEPTH, &root, &fault)) {
		buf_fmt(out, ",\"%s\":", name);
		json_put_value(out, root);
	} else {
		put_text(out, name, value);
	}
}

static void put_row(struct buf *out, const struct task_row *row, bool whole)
{
	char id[ID_TEXT_BYTES];

	id_format(&row->id, id);
	buf_fmt(out, "{\"task_id\":\"%s\"", id);
	put_text(out, "kind", str_of(row->kind));
	put_text(out, "status", str_of(task_status_name(row->status)));
	buf_fmt(out, ",\"user_id\":%lld,\"priority\":%lld,\"attempts\":%lld,\"done\":%lld,\"total\":%lld",
		(long long)row->user_id, (long long)row->priority, (long long)row->attempts, (long long)row->done,
		(long long)row->total);
	put_text(out, "worker", str_of(row->worker));
	put_text(out, "created_at", str_of(row->created_at));
	put_text(out, "updated_at", str_of(row->updated_at));
	put_text(out, "error", row->error);
	if (whole) {
		put_json(out, "payload", row->payload);
		put_json(out, "result", row->result);
	}
	buf_char(out, '}');
}

static int print_row(struct desk *desk, const struct task_row *row)
{
	struct buf out;

	buf_init(&out, &desk->arena);
	put_row(&out, row, true);
	buf_char(&out, '\n');
	return out.failed ? command_fail(EXIT_SYSTEM, "no memory.") : command_print(buf_view(&out));
}

static bool list_json(void *arg, const struct task_row *row)
{
	struct buf *out = arg;

	buf_str(out, out->n > 1 ? STR(",") : STR(""));
	put_row(out, row, false);
	return true;
}

static bool list_line(void *arg, const struct task_row *row)
{
	struct buf *out = arg;
	char id[ID_TEXT_BYTES];

	id_format(&row->id, id);
	buf_fmt(out, "%s  %-10s  %-16s  %.19s  %lld  %lld/%lld%s%.*s\n", id, task_status_name(row->status), row->kind,
		row->updated_at, (long long)row->attempts, (long long)row->done, (long long)row->total,
		row->error.n ? "  " : "", (int)(row->error.n < 120 ? row->error.n : 120),
		row->error.p ? row->error.p : "");
	return true;
}

/* --- verbs --- */

static int run_list(struct desk *desk)
{
	const struct asked *asked = desk->asked;
	struct tasks_filter filter = {.user_id = -1, .status = -1, .limit = LIST_DEFAULT};
	enum task_status wanted;
	uint64_t limit;
	struct buf out;
	struct err err;

	if (asked->status && !task_status_parse(str_of(asked->status), &wanted))
		return command_fail(EXIT_USAGE,
				    "--status wants pending, processing, completed, failed, cancelled or dead.");
	if (asked->limit && !str_to_u64(str_of(asked->limit), LIST_MAX, &limit))
		return command_fail(EXIT_USAGE, "--limit wants a whole number up to %d.", LIST_MAX);
	if (asked->status)
		filter.status = (int)wanted;
	if (asked->limit)
		filter.limit = (int64_t)limit;
	filter.kind = str_of(asked->kind);
	buf_init(&out, &desk->arena);
	if (asked->json)
		buf_char(&out, '[');
	enum status status = tasks_list(desk->db, &filter, asked->json ? list_json : list_line, &out, &err);
	if (status != STATUS_OK)
		return finish(status, &err);
	if (asked->json)
		buf_str(&out, STR("]\n"));
	return out.failed ? command_fail(EXIT_SYSTEM, "no memory.") : command_print(buf_view(&out));
}

static int run_show(struct desk *desk)
{
	struct err err;
	enum status status = tasks_find(desk->db, &desk->id, -1, &desk->arena, &desk->row, &err);

	return status == STATUS_OK ? print_row(desk, &desk->row) : finish(status, &err);
}

static enum status add(struct db *db, void *arg, struct err *err)
{
	struct desk *desk = arg;
	bool stored;

	enum status status = tasks_begin_change(db, &desk->row.change, err);
	return status == STATUS_OK ? tasks_insert(db, &desk->row, &stored, err) : status;
}

static int check_payload(const struct task_kind *kind, struct str payload)
{
	struct json_value root;
	struct json_fault fault;
	const char *field = "payload";

	if (!json_check(payload, JSON_MAX_DEPTH, &root, &fault))
		return command_fail(EXIT_USAGE, "--payload wants JSON: %s (byte %zu).", fault.reason, fault.offset);
	const char *wrong = kind->check ? kind->check(payload, &field) : NULL;
	return wrong ? command_fail(EXIT_USAGE, "%s: %s.", field, wrong) : EXIT_OK;
}

static bool read_priority(const char *text, int64_t *out)
{
	bool negative = *text == '-';
	uint64_t number;

	if (!str_to_u64(str_of(text + negative), TASK_PRIORITY_MAX, &number))
		return false;
	*out = negative ? -(int64_t)number : (int64_t)number;
	return true;
}

static int run_add(struct desk *desk, const char *name)
{
	const struct asked *asked = desk->asked;
	const struct task_kind *kind = task_kind_find(str_of(name));
	struct edge_identity edge;
	int64_t delay_s = 0;
	char id[ID_TEXT_BYTES];
	struct err err;

	if (!kind)
		return command_fail(EXIT_USAGE, "there is no kind %s; see appcore task kinds.", name);
	desk->row.payload = str_of(asked->payload ? asked->payload : "{}");
	int code = check_payload(kind, desk->row.payload);
	if (code != EXIT_OK)
		return code;
	if (asked->priority && !read_priority(asked->priority, &desk->row.priority))
		return command_fail(EXIT_USAGE, "--priority wants a whole number from -%d to %d.", TASK_PRIORITY_MAX,
				    TASK_PRIORITY_MAX);
	if (asked->delay && !clock_parse_duration(str_of(asked->delay), &delay_s))
		return command_fail(EXIT_USAGE, "--delay wants a duration: 30s, 10m, 24h.");
	edge_generate(&edge);
	desk->row.id = id_of_edge(&edge);
	desk->row.run_us = delay_s > 0 ? clock_wall_us() + delay_s * US : 0;
	snprintf(desk->row.kind, sizeof(desk->row.kind), "%s", kind->name);
	desk->row.small = kind->small;
	enum status status = db_transact(desk->db, TURN_WAIT_MS, add, desk, &err);
	if (status != STATUS_OK)
		return finish(status, &err);
	command_wake_tasks(desk->config);
	id_format(&desk->row.id, id);
	if (asked->json)
		printf("{\"task_id\":\"%s\",\"status\":\"pending\"}\n", id);
	else
		printf("%s\n", id);
	return EXIT_OK;
}

static enum status cancel(struct db *db, void *arg, struct err *err)
{
	struct desk *desk = arg;
	int64_t change;

	enum status status = tasks_begin_change(db, &change, err);
	return status == STATUS_OK
		       ? tasks_cancel(db, &desk->id, -1, change, clock_wall_us(), &desk->arena, &desk->row, err)
		       : status;
}

static int run_cancel(struct desk *desk)
{
	struct err err;
	enum status status = db_transact(desk->db, TURN_WAIT_MS, cancel, desk, &err);

	if (status != STATUS_OK)
		return finish(status, &err);
	command_wake_tasks(desk->config);
	printf("%s\n", desk->row.status == TASK_CANCELLED ? "cancelled" : "asked to end");
	return EXIT_OK;
}

static enum status retry(struct db *db, void *arg, struct err *err)
{
	struct desk *desk = arg;
	int64_t change;

	enum status status = tasks_begin_change(db, &change, err);
	return status == STATUS_OK ? tasks_retry(db, &desk->id, change, clock_wall_us(), err) : status;
}

struct found {
	struct id ids[RETRY_MAX];
	int n;
};

static bool note_id(void *arg, const struct task_row *row)
{
	struct found *found = arg;

	found->ids[found->n++] = row->id;
	return found->n < RETRY_MAX;
}

static enum status retry_found(struct db *db, void *arg, struct err *err)
{
	struct desk *desk = arg;
	const struct tasks_filter filter = {
		.user_id = -1, .status = TASK_DEAD, .kind = str_of(desk->asked->kind), .limit = RETRY_MAX};
	struct found found = {.n = 0};
	int64_t change;

	desk->changed = 0;
	enum status status = tasks_begin_change(db, &change, err);
	if (status == STATUS_OK)
		status = tasks_list(db, &filter, note_id, &found, err);
	for (int i = 0; i < found.n && status == STATUS_OK; i++, desk->changed++)
		status = tasks_retry(db, &found.ids[i], change, clock_wall_us(), err);
	return status;
}

static int run_retry(struct desk *desk)
{
	enum status status;
	int64_t total = 0;
	struct err err;

	if (!desk->asked->dead) {
		status = db_transact(desk->db, TURN_WAIT_MS, retry, desk, &err);
		total = 1;
	} else {
		do {
			status = db_transact(desk->db, TURN_WAIT_MS, retry_found, desk, &err);
			total += status == STATUS_OK ? desk->changed : 0;
		} while (status == STATUS_OK && desk->changed == RETRY_MAX);
	}
	if (status != STATUS_OK)
		return finish(status, &err);
	command_wake_tasks(desk->config);
	printf("%lld will be tried again\n", (long long)total);
	return EXIT_OK;
}

static bool count_running(void *arg, struct str kind, enum task_status status, int64_t n, int64_t oldest_us)
{
	(void)kind;
	(void)oldest_us;
	*(int64_t *)arg += status == TASK_PROCESSING ? n : 0;
	return true;
}

static int run_drain(struct desk *desk)
{
	static const struct timespec nap = {.tv_nsec = DRAIN_LOOK_MS * 1000000L};
	int64_t timeout_s = 60, running, next_us;
	struct err err;
	bool due;

	if (desk->asked->timeout && !clock_parse_duration(str_of(desk->asked->timeout), &timeout_s))
		return command_fail(EXIT_USAGE, "--timeout wants a duration: 30s, 10m.");
	uint64_t end_ms = clock_mono_ms() + (uint64_t)timeout_s * 1000;
	for (;;) {
		const struct tasks_wish wish = {.now_us = clock_wall_us()};
		running = 0;
		enum status status = tasks_peek(desk->db, &wish, &due, &next_us, &err);
		if (status == STATUS_OK)
			status = tasks_count(desk->db, count_running, &running, &err);
		if (status != STATUS_OK)
			return finish(status, &err);
		if (!due && running == 0)
			return EXIT_OK;
		if (clock_mono_ms() >= end_ms)
			return command_fail(EXIT_SYSTEM, "tasks are still waiting or running (%lld run).",
					    (long long)running);
		nanosleep(&nap, NULL);
	}
}

static int list_kinds(void)
{
	for (int i = 0; i < TASK_KINDS_N; i++)
		printf("%s\n", TASK_KINDS[i].name);
	return EXIT_OK;
}

/* What a verb wants behind it: nothing, an id, a kind. */
enum wants { WANTS_NOTHING, WANTS_ID, WANTS_KIND };

static int run_verb(int argc, char **argv, const struct asked *asked)
{
	static const struct {
		const char *name;
		enum wants wants;
		enum db_mode mode;
	} verbs[] = {
		{"list", WANTS_NOTHING, DB_READ}, {"drain", WANTS_NOTHING, DB_READ}, {"show", WANTS_ID, DB_READ},
		{"add", WANTS_KIND, DB_WRITE},    {"cancel", WANTS_ID, DB_WRITE},    {"retry", WANTS_ID, DB_WRITE},
	};
	const char *verb = argc > 1 ? argv[1] : "", *word = argc > 2 ? argv[2] : "";
	struct config config;
	struct desk desk = {.config = &config, .asked = asked};
	size_t i = 0, n = sizeof(verbs) / sizeof(verbs[0]);
	int code;

	if (strcmp(verb, "kinds") == 0 && argc == 2)
		return list_kinds();
	while (i < n && strcmp(verb, verbs[i].name) != 0)
		i++;
	enum wants wants = i < n && strcmp(verb, "retry") == 0 && asked->dead ? WANTS_NOTHING
			   : i < n                                            ? verbs[i].wants
									      : WANTS_NOTHING;
	if (i == n || argc != (wants == WANTS_NOTHING ? 2 : 3))
		return command_fail(EXIT_USAGE, "say list, show ID, add KIND, retry ID, cancel ID, drain or kinds; see "
						"--help.");
	if (wants == WANTS_ID && !id_parse(str_of(word), &desk.id))
		return command_fail(EXIT_USAGE, "%s is no task's id.", word);
	if (!command_open_db(&config, &desk.db, verbs[i].mode, &code))
		return code;
	arena_init(&desk.arena, ARENA_MAX);
	if (strcmp(verb, "list") == 0)
		code = run_list(&desk);
	else if (strcmp(verb, "show") == 0)
		code = run_show(&desk);
	else if (strcmp(verb, "add") == 0)
		code = run_add(&desk, word);
	else if (strcmp(verb, "cancel") == 0)
		code = run_cancel(&desk);
	else if (strcmp(verb, "retry") == 0)
		code = run_retry(&desk);
	else
		code = run_drain(&desk);
	arena_release(&desk.arena);
	db_close(desk.db);
	config_release(&config);
	return code;
}

int task_main(int argc, char **argv)
{
	struct asked asked = {0};
	const struct option_spec specs[] = {
		{"--status", &asked.status, NULL},     {"--kind", &asked.kind, NULL},
		{"--limit", &asked.limit, NULL},       {"--payload", &asked.payload, NULL},
		{"--priority", &asked.priority, NULL}, {"--delay", &asked.delay, NULL},
		{"--timeout", &asked.timeout, NULL},   {"--json", NULL, &asked.json},
		{"--dead", NULL, &asked.dead},
	};
	bool done;

	if (!command_options(command_find("task"), &argc, argv, specs, sizeof(specs) / sizeof(specs[0]), &done))
		return EXIT_USAGE;
	return done ? EXIT_OK : run_verb(argc, argv, &asked);
}
