/* appcore move: to another database and back. What is done stands in lib/store/move.c; here is what one sees of it: a
 * line that changes on a terminal, a line every few seconds elsewhere, objects for a machine. */
#include "store/move.h"

#include "base/clock.h"
#include "command.h"

#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

enum { TERMINAL_MS = 200, JSON_MS = 1000, LINES_MS = 5000 };

struct display {
	bool json, terminal;
	bool open; /* the cursor stands behind a line of progress */
	enum move_phase phase;
	const char *table;
	uint64_t phase_ms, shown_ms;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

/* The first asks, the second ends it at once. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static void print_json(struct json_object *object)
{
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(object);
}

static void add_text(struct json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *name, int64_t number)
{
	json_object_object_add(object, name, json_object_new_int64(number));
}

/* --- progress --- */

static const char *const PHASES[] = {
	[MOVE_RECHECKING] = "rechecking", [MOVE_COPYING] = "copying", [MOVE_INDEXING] = "indexing",
	[MOVE_VERIFYING] = "verifying",   [MOVE_WAITING] = "waiting",
};

static void show_json(const struct move_progress *progress, int64_t rate, int64_t left)
{
	struct json_object *object = json_object_new_object();

	add_text(object, "event", "progress");
	add_text(object, "phase", PHASES[progress->phase]);
	add_text(object, "table", progress->table);
	add_number(object, "rows", progress->rows);
	json_object_object_add(object, "total", progress->total ? json_object_new_int64(progress->total) : NULL);
	add_number(object, "rows_per_second", rate);
	json_object_object_add(object, "seconds_left", left >= 0 ? json_object_new_int64(left) : NULL);
	if (progress->why)
		add_text(object, "why", progress->why);
	print_json(object);
}

static void show_text(struct display *display, const struct move_progress *progress, int64_t rate, int64_t left)
{
	fprintf(stderr, "%s%s %s", display->terminal ? "\r\033[K" : "", PHASES[progress->phase], progress->table);
	if (progress->why)
		fprintf(stderr, "(%s)", progress->why);
	if (progress->rows > 0 || progress->total > 0)
		fprintf(stderr, "  %lld", (long long)progress->rows);
	if (progress->total > 0)
		fprintf(stderr, " of %lld %s  %lld %%", (long long)progress->total,
			progress->phase == MOVE_INDEXING ? "indexes" : "rows",
			(long long)(progress->rows >= progress->total ? 100 : 100 * progress->rows / progress->total));
	if (rate > 0 && progress->phase != MOVE_INDEXING)
		fprintf(stderr, "  %lld/s", (long long)rate);
	if (left >= 0)
		fprintf(stderr, "  %lld:%02lld left", (long long)left / 60, (long long)left % 60);
	if (!display->terminal)
		fputc('\n', stderr);
	display->open = display->terminal;
}

static void show(void *arg, const struct move_progress *progress)
{
	struct display *display = arg;
	uint64_t now_ms = clock_mono_ms();
	bool fresh = progress->phase != display->phase || progress->table != display->table || progress->rows == 0;
	uint64_t pause_ms = display->json ? JSON_MS : display->terminal ? TERMINAL_MS : LINES_MS;

	if (fresh) {
		display->phase = progress->phase;
		display->table = progress->table;
		display->phase_ms = now_ms;
	}
	/* What ends before one could read it is not shown where lines stay. */
	bool slow = display->terminal || progress->phase == MOVE_WAITING || progress->total >= 100000;
	if (fresh ? !slow : now_ms - display->shown_ms < pause_ms)
		return;
	display->shown_ms = now_ms;
	int64_t ms = (int64_t)(now_ms - display->phase_ms);
	int64_t rate = ms > 0 ? progress->rows * 1000 / ms : 0;
	int64_t left = rate > 0 && progress->total > progress->rows ? (progress->total - progress->rows) / rate : -1;
	if (display->json)
		show_json(progress, rate, left);
	else
		show_text(display, progress, rate, left);
}

static void close_line(struct display *display)
{
	if (display->open)
		fputs("\r\033[K", stderr);
	display->open = false;
}

/* --- the end --- */

static const char NEXT_STOP[] = "stop the service, so that nobody writes any more";
static const char NEXT_AGAIN[] = "run this command again: it carries what came since, in seconds";
static const char NEXT_SET[] = "set DATABASE_URL to the URL that you gave with --to, and start the service";

static void tell_json(const struct move_result *result, int64_t ms)
{
	struct json_object *next = json_object_new_array();
	char hash[TABLE_HASH_BYTES];

	for (int i = 0; i < result->n; i++) {
		const struct move_table *table = &result->tables[i];
		struct json_object *object = json_object_new_object();
		add_text(object, "event", "table");
		add_text(object, "table", table->name);
		add_number(object, "source_rows", table->source.rows);
		add_number(object, "target_rows", table->target.rows);
		tables_format_hash(&table->source, hash);
		add_text(object, "source_hash", hash);
		tables_format_hash(&table->target, hash);
		add_text(object, "target_hash", hash);
		json_object_object_add(object, "equal", json_object_new_boolean(table->equal));
		add_number(object, "rows_since", table->since);
		print_json(object);
	}
	struct json_object *object = json_object_new_object();
	add_text(object, "event", "done");
	json_object_object_add(object, "equal", json_object_new_boolean(result->equal));
	add_number(object, "rows_copied", result->copied);
	add_number(object, "rows_replaced", result->replaced);
	json_object_object_add(object, "seconds", json_object_new_double((double)ms / 1000.0));
	json_object_array_add(next, json_object_new_string(NEXT_STOP));
	json_object_array_add(next, json_object_new_string(NEXT_AGAIN));
	json_object_array_add(next, json_object_new_string(NEXT_SET));
	json_object_object_add(object, "next", next);
	print_json(object);
}

static void tell_text(const struct move_result *result, int64_t ms)
{
	char hash[TABLE_HASH_BYTES];
	int64_t since = 0;

	for (int i = 0; i < result->n; i++) {
		const struct move_table *table = &result->tables[i];
		tables_format_hash(&table->target, hash);
		printf("%-18s %12lld rows  %s  %s\n", table->name, (long long)table->target.rows, hash,
		       table->equal ? "equal" : "DIFFERENT");
		if (!table->equal)
			printf("%-18s %12lld rows in the source\n", "", (long long)table->source.rows);
		since += table->since;
	}
	printf("%lld rows carried in %.1f s (%lld a second, checks included)", (long long)result->copied,
	       (double)ms / 1000.0, (long long)(ms > 0 ? result->copied * 1000 / ms : 0));
	if (since > 0)
		printf("; %lld have come since", (long long)since);
	printf(".\n");
	if (!result->equal)
		return;
	printf("\nNext:\n  1. %s\n  2. %s\n  3. %s\n", NEXT_STOP, NEXT_AGAIN, NEXT_SET);
	printf("Steps 1 and 2 are behind you when the service was stopped before this run.\n");
}

static int run(const struct config *config, const char *to, bool full, bool json)
{
	struct display display = {.json = json, .terminal = !json && isatty(STDERR_FILENO)};
	struct move_options options = {
		.from = str_of(config->database_url),
		.to = str_of(to),
		.full = full,
		.note = show,
		.arg = &display,
		.stop = &stop,
	};
	struct move_result result;
	struct err err;
	uint64_t start_ms = clock_mono_ms();

	catch_signals();
	enum status status = move_run(&options, &result, &err);
	int64_t ms = (int64_t)(clock_mono_ms() - start_ms);
	close_line(&display);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%s", err.text);
	if (json)
		tell_json(&result, ms);
	else
		tell_text(&result, ms);
	return result.equal ? EXIT_OK
			    : command_fail(EXIT_SYSTEM, "source and target differ: the source has changed meanwhile; "
							"run it again.");
}

int move_main(int argc, char **argv)
{
	const char *to = NULL;
	bool full = false, json = false, done;
	const struct option_spec specs[] = {{"--to", &to, NULL}, {"--full", NULL, &full}, {"--json", NULL, &json}};
	struct config config;

	if (!command_options(command_find("move"), &argc, argv, specs, 3, &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (!to || !*to || argc != 1)
		return command_fail(EXIT_USAGE, "say where with --to URL; see --help.");
	if (!command_load_config(&config))
		return EXIT_USAGE;
	int code = run(&config, to, full, json);
	config_release(&config);
	return code;
}
