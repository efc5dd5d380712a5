/* appcore pipeline index: the indexes that a pipeline's fields ask for, where a run makes none because there are many
 * records already.
 *
 * On PostgreSQL everybody goes on writing. SQLite makes an index in one transaction, and has one writer: so what can be
 * done before is done before, the command says for how long writing will stand still, and between two fields everybody
 * has a turn. Killed at any point it leaves nothing that the next one would have to know of. */
#include "pipeline_impl.h"

#include "base/clock.h"
#include "store/records.h"
#include "store/runs.h"

#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
	LOOK_MS = 200,  /* between two states on a terminal */
	LINE_MS = 2000, /* and where there is none */
	BUSY_TRIES = 10,
};

static const double BUILDING = 4; /* times as long as reading; see records.h */

struct errand {
	struct pipeline_command *c;
	struct db *db;
	int64_t pipeline_id;
	struct str field;
	bool is_number, terminal, drawn;
	uint64_t told_ms;
};

/* --- what is seen meanwhile --- */

static bool is_time(struct errand *errand)
{
	uint64_t now_ms = clock_mono_ms(), pause_ms = errand->terminal ? LOOK_MS : LINE_MS;

	if (now_ms - errand->told_ms < pause_ms)
		return false;
	errand->told_ms = now_ms;
	return true;
}

static void draw(struct errand *errand, const char *doing, double share, double seconds)
{
	char percent[16] = "";

	if (share > 0)
		snprintf(percent, sizeof(percent), " %.0f %%", (share < 1 ? share : 1) * 100);
	fprintf(stderr, "%s%.*s: %s%s, %.0f s%s", errand->terminal ? "\r" : "", STR_ARG(errand->field), doing, percent,
		seconds, errand->terminal ? "\033[K" : "\n");
	errand->drawn = errand->terminal;
}

static void wipe(struct errand *errand)
{
	if (errand->drawn)
		fprintf(stderr, "\r\033[K");
	errand->drawn = false;
}

struct reading {
	struct errand *errand;
	uint64_t since_ms;
};

static void show_reading(void *arg, int64_t done, int64_t all)
{
	const struct reading *reading = arg;

	if (is_time(reading->errand))
		draw(reading->errand, "reading", (double)done / (double)all,
		     (double)(clock_mono_ms() - reading->since_ms) / 1000);
}

/* Shows how the making goes, until it is over. The thread that makes it waits for the database all the while. */
struct watch {
	struct errand *errand;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool over;
};

static void show_making(struct watch *watch, struct db *db, uint64_t since_ms)
{
	struct record_index_state state = {0};
	struct err err;

	if (db && records_index_watch(db, &state, &err) != STATUS_OK)
		state = (struct record_index_state){0};
	draw(watch->errand, state.phase[0] ? state.phase : "making the index", state.share,
	     (double)(clock_mono_ms() - since_ms) / 1000);
}

static void *watch_main(void *arg)
{
	struct watch *watch = arg;
	uint64_t since_ms = clock_mono_ms();
	struct db *db = NULL;
	struct timespec until;
	struct err err;

	if (db_open(&db, str_of(watch->errand->c->config.database_url), DB_READ, &err) != STATUS_OK)
		db = NULL; /* then without phases */
	pthread_mutex_lock(&watch->lock);
	while (!watch->over) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_MS * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&watch->wake, &watch->lock, &until);
		if (!watch->over && is_time(watch->errand))
			show_making(watch, db, since_ms);
	}
	pthread_mutex_unlock(&watch->lock);
	db_close(db);
	return NULL;
}

static void watch_init(struct watch *watch, struct errand *errand)
{
	pthread_condattr_t attr;

	*watch = (struct watch){.errand = errand};
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watch->wake, &attr);
	pthread_mutex_init(&watch->lock, NULL);
	pthread_condattr_destroy(&attr);
}

/* Signals are the other thread's: one that holds the turn to write does not let a terminal stop it. */
static bool watch_start(struct watch *watch, pthread_t *thread)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	bool started = pthread_create(thread, NULL, watch_main, watch) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return started;
}

/* Of two who make the same one waits for the other, and goes on if that is killed. */
static enum status build_or_wait(struct errand *errand, struct err *err)
{
	static const struct timespec nap = {.tv_nsec = LOOK_MS * 1000000L};
	int tries = db_dialect(errand->db) == DB_DIALECT_POSTGRESQL ? BUSY_TRIES : 1;

	for (;;) {
		enum status status = records_index_build(errand->db, errand->pipeline_id, errand->field,
							 errand->is_number, err);
		if (status != STATUS_CONFLICT && (status != STATUS_BUSY || --tries == 0))
			return status;
		nanosleep(&nap, NULL);
	}
}

static enum status build(struct errand *errand, struct err *err)
{
	struct watch watch;
	pthread_t thread;

	watch_init(&watch, errand);
	bool watched = watch_start(&watch, &thread);
	enum status status = build_or_wait(errand, err);
	if (watched) {
		pthread_mutex_lock(&watch.lock);
		watch.over = true;
		pthread_cond_signal(&watch.wake);
		pthread_mutex_unlock(&watch.lock);
		pthread_join(thread, NULL);
	}
	pthread_mutex_destroy(&watch.lock);
	pthread_cond_destroy(&watch.wake);
	wipe(errand);
	return status;
}

/* --- a field --- */

static int tell(const struct errand *errand, const char *state, double seconds, const char *text)
{
	struct json_object *object;

	if (!errand->c->json) {
		printf("%.*s: %s\n", STR_ARG(errand->field), text);
	} else {
		object = json_object_new_object();
		json_object_object_add(object, "field",
				       json_object_new_string_len(errand->field.p, (int)errand->field.n));
		json_object_object_add(object, "index", json_object_new_string(state));
		json_object_object_add(object, "seconds", json_object_new_double(seconds));
		printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
		json_object_put(object);
	}
	return fflush(stdout) == 0 ? EXIT_OK : command_fail(EXIT_SYSTEM, "standard output can't be written.");
}

static enum status make(struct errand *errand, int *code, struct err *err)
{
	bool sqlite = db_dialect(errand->db) == DB_DIALECT_SQLITE;
	struct reading reading = {errand, clock_mono_ms()};
	char text[160];

	errand->told_ms = reading.since_ms;
	enum status status = records_index_prepare(errand->db, errand->pipeline_id, errand->field, show_reading,
						   &reading, err);
	wipe(errand);
	if (status != STATUS_OK)
		return status;
	double still = sqlite ? BUILDING * (double)(clock_mono_ms() - reading.since_ms) / 1000 : 0;
	if (errand->c->dry_run) {
		snprintf(text, sizeof(text), "would be made");
		if (sqlite)
			snprintf(text, sizeof(text), "would be made; nobody could write for about %.1f s", still);
		*code = tell(errand, "missing", still, text);
		return STATUS_OK;
	}
	if (sqlite)
		fprintf(stderr, "%.*s: nobody can write for about %.1f s\n", STR_ARG(errand->field), still);
	uint64_t since_ms = clock_mono_ms();
	status = build(errand, err);
	if (status != STATUS_OK)
		return status;
	double seconds = (double)(clock_mono_ms() - since_ms) / 1000;
	snprintf(text, sizeof(text), "made in %.1f s", seconds);
	*code = tell(errand, "made", seconds, text);
	return STATUS_OK;
}

static int index_field(struct errand *errand, const struct pipeline_field *field)
{
	bool there = false;
	int code = EXIT_OK;
	struct err err;

	errand->field = field->name;
	errand->is_number = pipeline_type_is_number(field->type);
	enum status status = records_index_find(errand->db, errand->pipeline_id, errand->field, errand->is_number,
						&there, &err);
	if (status == STATUS_OK && there)
		return tell(errand, "there", 0, "has its index");
	if (status == STATUS_OK)
		status = make(errand, &code, &err);
	if (status != STATUS_OK)
		return command_fail(command_exit_code(status), "%.*s: %s.", STR_ARG(errand->field), err.text);
	return code;
}

static int index_fields(struct errand *errand, const struct pipeline *p)
{
	int code = EXIT_OK, n = 0;
	struct err err;

	enum status status = runs_find_pipeline(errand->db, str_of(p->name), &errand->pipeline_id, &err);
	if (status == STATUS_NOT_FOUND)
		return command_fail(EXIT_USAGE, "no run of %s has been started yet: the first one makes its indexes.",
				    p->name);
	if (status != STATUS_OK)
		return pipeline_command_finish(status, &err);
	for (int i = 0; code == EXIT_OK && i < p->fields_n; i++) {
		if (!p->fields[i].index)
			continue;
		code = index_field(errand, &p->fields[i]);
		n++;
	}
	if (n == 0)
		return command_fail(EXIT_USAGE, "no field of %s says \"index\": true.", p->name);
	return code;
}

int pipeline_command_index(struct pipeline_command *c)
{
	struct errand errand = {.c = c, .terminal = isatty(STDERR_FILENO) == 1};
	struct pipeline *p = NULL;
	struct err err = {0};

	enum status status = pipeline_command_load(c, c->words[0], &p, &err);
	if (status == STATUS_INVALID) {
		pipeline_command_tell(c, c->words[0], &err);
		return EXIT_USAGE;
	}
	if (status == STATUS_OK && !(p->to & PIPELINE_TO_RECORDS))
		return command_fail(EXIT_USAGE, "%s stores no records.", p->name);
	if (status == STATUS_OK)
		status = db_open(&errand.db, str_of(c->config.database_url), DB_WRITE, &err);
	if (status != STATUS_OK)
		return pipeline_command_finish(status, &err);
	int code = index_fields(&errand, p);
	db_close(errand.db);
	return code;
}
