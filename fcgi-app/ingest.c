/* appcore ingest: a file, or without one the pipeline's API, becomes a run of a pipeline. The service's workers do the
 * work; this hands it over, and with
 * --follow watches until it has ended. A file that does not lie in DATA_DIR/raw is copied to DATA_DIR/incoming first: a
 * worker may not see other folders, and nobody changes the copy while it is read. */
#include "base/clock.h"
#include "base/json.h"
#include "command.h"
#include "pipeline/definition.h"
#include "shared/wake.h"
#include "store/new_file.h"
#include "task/ingest.h"
#include "task/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	TURN_WAIT_MS = 10 * 1000,
	LOOK_MS = 200,
	LINE_MS = 2000, /* between two lines where there is no terminal */
	WIDTH_MIN = 40,
	ARENA_MAX = 64 << 20,
	COPY_BYTES = 1 << 20,
};

struct errand {
	struct config config;
	struct db *db;
	struct arena arena;
	struct pipeline *pipeline;
	const char *file, *name;
	char path[PATH_MAX]; /* as the run has it */
	char copy[PATH_MAX]; /* what was made for it; empty: nothing */
	struct stat st;
	struct edge_identity edge;
	struct id id;
	bool started, follow, json;
};

/* --- the file --- */

/* Where the file lies in DATA_DIR/raw: "raw/…". False: elsewhere. */
static bool lies_in_raw(struct errand *errand)
{
	char raw[PATH_MAX], *dir, *file;
	bool inside = false;

	int n = snprintf(raw, sizeof(raw), "%s/raw", errand->config.data_dir);
	if (n < 0 || (size_t)n >= sizeof(raw))
		return false;
	dir = realpath(raw, NULL);
	file = realpath(errand->file, NULL);
	if (dir && file) {
		size_t length = strlen(dir);
		inside = strncmp(file, dir, length) == 0 && file[length] == '/';
		n = inside ? snprintf(errand->path, sizeof(errand->path), "raw%s", file + length) : 0;
		inside = inside && n > 0 && (size_t)n < sizeof(errand->path);
	}
	free(dir);
	free(file);
	return inside;
}

static bool copy_bytes(int from, int to)
{
	char *bytes = malloc(COPY_BYTES);
	ssize_t n = bytes ? 1 : -1;

	while (n > 0) {
		n = read(from, bytes, COPY_BYTES);
		for (ssize_t at = 0, wrote; n > 0 && at < n; at += wrote) {
			wrote = write(to, bytes + at, (size_t)(n - at));
			if (wrote < 0) {
				n = -1;
				break;
			}
		}
	}
	free(bytes);
	return n == 0 && fsync(to) == 0;
}

/* As root it belongs to whom DATA_DIR belongs to, or else the service could not read it. */
static void give_to_service(int fd, const struct errand *errand)
{
	struct stat dir;

	if (geteuid() == 0 && stat(errand->config.data_dir, &dir) == 0 && fchown(fd, dir.st_uid, dir.st_gid) != 0)
		fprintf(stderr, "appcore ingest: the copy stays root's: %s.\n", strerror(errno));
}

static int copy_file(struct errand *errand)
{
	char folder[PATH_MAX], id[ID_TEXT_BYTES];
	bool done = false;

	id_format(&errand->id, id);
	snprintf(errand->path, sizeof(errand->path), "incoming/%s", id);
	int n = snprintf(folder, sizeof(folder), "%s/incoming", errand->config.data_dir);
	if (n < 0 || (size_t)n >= sizeof(folder) - ID_TEXT_BYTES)
		return command_fail(EXIT_USAGE, "DATA_DIR is too long.");
	if (mkdir(folder, 0770) == 0) {
		int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir >= 0) {
			give_to_service(dir, errand);
			close(dir);
		}
	} else if (errno != EEXIST) {
		return command_fail(EXIT_SYSTEM, "%s can't be made: %s.", folder, strerror(errno));
	}
	snprintf(errand->copy, sizeof(errand->copy), "%.*s/%s", (int)sizeof(folder) - ID_TEXT_BYTES - 2, folder, id);
	int from = open(errand->file, O_RDONLY | O_CLOEXEC);
	int to = from >= 0 ? open(errand->copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660) : -1;
	if (to >= 0) {
		give_to_service(to, errand);
		done = copy_bytes(from, to) && new_file_sync_dir(errand->copy);
	}
	int why = errno;
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	if (done)
		return EXIT_OK;
	if (to >= 0)
		unlink(errand->copy);
	return command_fail(EXIT_SYSTEM, "%s can't be copied to %s: %s.", errand->file, folder, strerror(why));
}

static int take_file(struct errand *errand)
{
	const char *slash = strrchr(errand->file, '/');

	errand->name = slash ? slash + 1 : errand->file;
	if (stat(errand->file, &errand->st) != 0)
		return command_fail(EXIT_USAGE, "%s can't be read: %s.", errand->file, strerror(errno));
	if (!S_ISREG(errand->st.st_mode))
		return command_fail(EXIT_USAGE, "%s is not a file.", errand->file);
	if (!str_is_utf8(str_of(errand->name)))
		return command_fail(EXIT_USAGE, "the file's name is not UTF-8: rename it.");
	if (!lies_in_raw(errand))
		return copy_file(errand);
	/* A run that was taken must find its file after a power cut. */
	int fd = open(errand->file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return command_fail(EXIT_USAGE, "%s can't be read: %s.", errand->file, strerror(errno));
	bool synced = (fsync(fd) == 0 && new_file_sync_dir(errand->file)) || errno == EROFS;
	int why = errno;
	close(fd);
	return synced ? EXIT_OK
		      : command_fail(EXIT_SYSTEM, "%s can't be put on the disk: %s.", errand->file, strerror(why));
}

/* --- the run --- */

static int load(struct errand *errand, const char *name)
{
	struct buf problems;
	struct err err;

	buf_init(&problems, &errand->arena);
	enum status status = pipeline_load(errand->config.pipelines_dir, str_of(name), &errand->arena,
					   &errand->pipeline, &problems, &err);
	if (status == STATUS_NOT_FOUND)
		return command_fail(EXIT_USAGE, "there is no pipeline %s in %s.", name, errand->config.pipelines_dir);
	if (status == STATUS_INVALID && problems.n > 0)
		return command_fail(EXIT_USAGE, "the pipeline %s is wrong:\n%.*s", name, (int)problems.n, problems.p);
	return status == STATUS_OK ? EXIT_OK : command_fail(command_exit_code(status), "%s", err.text);
}

static enum status start(struct db *db, void *arg, struct err *err)
{
	struct errand *errand = arg;
	const struct ingest ingest = {
		.pipeline = str_of(errand->pipeline->name),
		.definition = errand->pipeline->text,
		.source = str_of(errand->name),
		.path = str_of(errand->path),
		.origin = STR("command"),
		.bytes = errand->st.st_size,
	};

	errand->id = id_of_edge(&errand->edge);
	if (!errand->file)
		return ingest_start_api(db, errand->pipeline, 0, NULL, &errand->id, &errand->started, err);
	return ingest_start(db, &ingest, &errand->id, &errand->started, err);
}

static void tell_workers(const struct errand *errand)
{
	struct shm *shm;

	if (shm_open_dir(&shm, errand->config.run_dir, NULL) != STATUS_OK)
		return;
	wake_all(shm, WAKE_TASKS);
	wake_all(shm, WAKE_EVENTS);
	shm_close(shm);
}

/* --- watching --- */

struct pace {
	uint64_t since_ms, line_ms;
	int64_t rows, bytes; /* when the watching began */
	bool terminal;
	int width;
};

/* "1234567" as "1,234,567". */
static const char *grouped(int64_t value, char out[static 32])
{
	char digits[24];
	size_t n = (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)value), at = 0;

	for (size_t i = 0; i < n && at < 30; i++) {
		if (i > 0 && (n - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}

/* "[#####.....]  45 %  450,000 rows  67 of 150 MB  210,000 rows/s  2 s left" */
static void draw(struct pace *pace, const struct run_row *run, uint64_t now_ms)
{
	const struct run_counts *counts = &run->counts;
	double seconds = (double)(now_ms - pace->since_ms) / 1000;
	double share = counts->bytes_total > 0 ? (double)counts->bytes_read / (double)counts->bytes_total : 0;
	double rate = seconds > 0.1 ? (double)(counts->rows_read - pace->rows) / seconds : 0;
	double speed = seconds > 0.1 ? (double)(counts->bytes_read - pace->bytes) / seconds : 0;
	double left = speed > 0 ? (double)(counts->bytes_total - counts->bytes_read) / speed : 0;
	char bar[41] = "", rows[32], per_second[32], text[256];
	int cells = pace->width > 110 ? 40 : pace->width > 90 ? 20 : 0;

	share = share > 1 ? 1 : share;
	for (int i = 0; i < cells; i++)
		bar[i] = (double)i < share * cells ? '#' : '.';
	bar[cells] = '\0';
	snprintf(text, sizeof(text), "%s%s%s%3.0f %%  %s rows, %lld refused  %.1f of %.1f MB  %s rows/s  %.0f s left",
		 pace->terminal && cells > 0 ? "[" : "", pace->terminal ? bar : "",
		 pace->terminal && cells > 0 ? "] " : "", share * 100, grouped(counts->rows_read, rows),
		 (long long)counts->refused, (double)counts->bytes_read / 1e6, (double)counts->bytes_total / 1e6,
		 grouped((int64_t)rate, per_second), left);
	if (pace->terminal)
		fprintf(stderr, "\r%.*s\033[K", pace->width - 1, text);
	else
		fprintf(stderr, "%s\n", text);
}

static void show(struct pace *pace, const struct run_row *run)
{
	uint64_t now_ms = clock_mono_ms();

	if (pace->since_ms == 0)
		*pace = (struct pace){.since_ms = now_ms,
				      .line_ms = now_ms,
				      .rows = run->counts.rows_read,
				      .bytes = run->counts.bytes_read,
				      .terminal = pace->terminal,
				      .width = pace->width};
	if (!pace->terminal && now_ms - pace->line_ms < LINE_MS)
		return;
	pace->line_ms = now_ms;
	if (run->state == RUN_RUNNING)
		draw(pace, run, now_ms);
	else if (pace->terminal)
		fprintf(stderr, "\rwaits for a worker\033[K");
	else
		fprintf(stderr, "waits for a worker\n");
}

static void pace_init(struct pace *pace)
{
	struct winsize size;

	*pace = (struct pace){.terminal = isatty(STDERR_FILENO) == 1, .width = 80};
	if (pace->terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= WIDTH_MIN)
		pace->width = size.ws_col;
}

static int print_end(struct errand *errand, const struct run_row *run)
{
	const struct run_counts *counts = &run->counts;
	char id[ID_TEXT_BYTES];
	struct buf out;

	id_format(&errand->id, id);
	buf_init(&out, &errand->arena);
	if (errand->json) {
		buf_fmt(&out, "{\"id\":\"%s\",\"state\":\"%s\",\"rows_read\":%lld,\"stored\":%lld,\"replaced\":%lld,",
			id, run_state_name(run->state), (long long)counts->rows_read, (long long)counts->stored,
			(long long)counts->replaced);
		buf_fmt(&out, "\"skipped\":%lld,\"refused\":%lld,\"error\":", (long long)counts->skipped,
			(long long)counts->refused);
		if (run->error.n > 0)
			json_put_string(&out, run->error);
		else
			buf_str(&out, STR("null"));
		buf_str(&out, STR("}\n"));
	} else {
		double seconds = (double)(run->ended_us - run->started_us) / 1e6;
		buf_fmt(&out, "%s %s: %lld rows in %.1f s: %lld stored, %lld replaced, %lld skipped, %lld refused\n",
			id, run_state_name(run->state), (long long)counts->rows_read, seconds > 0 ? seconds : 0.0,
			(long long)counts->stored, (long long)counts->replaced, (long long)counts->skipped,
			(long long)counts->refused);
	}
	int code = out.failed ? command_fail(EXIT_SYSTEM, "no memory.") : command_print(buf_view(&out));
	if (code != EXIT_OK || run->state == RUN_COMPLETED)
		return code;
	if (run->state == RUN_FAILED)
		return command_fail(EXIT_USAGE, "%.*s", STR_ARG(run->error));
	return command_fail(EXIT_SYSTEM, "the run is %s.", run_state_name(run->state));
}

static int follow(struct errand *errand)
{
	static const struct timespec nap = {.tv_nsec = LOOK_MS * 1000000L};
	struct run_row run;
	struct pace pace;
	struct err err;

	pace_init(&pace);
	for (;;) {
		arena_reset(&errand->arena);
		enum status status = runs_find(errand->db, &errand->id, &errand->arena, &run, &err);
		if (status == STATUS_OK && run.state >= RUN_PAUSED)
			break;
		if (status != STATUS_OK && status != STATUS_BUSY && status != STATUS_UNAVAILABLE)
			return command_fail(command_exit_code(status), "%s", err.text);
		if (status == STATUS_OK)
			show(&pace, &run);
		nanosleep(&nap, NULL);
	}
	if (pace.terminal)
		fprintf(stderr, "\r\033[K");
	return print_end(errand, &run);
}

/* --- */

static int print_id(const struct errand *errand)
{
	char id[ID_TEXT_BYTES], text[128];

	id_format(&errand->id, id);
	int n = snprintf(text, sizeof(text), errand->json ? "{\"id\":\"%s\"}\n" : "%s\n", id);
	return command_print((struct str){text, (size_t)n});
}

static int run(struct errand *errand, const char *pipeline)
{
	struct err err;
	int code = load(errand, pipeline);

	edge_generate(&errand->edge);
	errand->id = id_of_edge(&errand->edge);
	if (code == EXIT_OK && errand->file && errand->pipeline->source.api)
		return command_fail(EXIT_USAGE, "the pipeline %s reads an API: leave FILE out.", pipeline);
	if (code == EXIT_OK && !errand->file && !errand->pipeline->source.api)
		return command_fail(EXIT_USAGE, "FILE is wanted: the pipeline %s reads files.", pipeline);
	if (code == EXIT_OK && errand->file)
		code = take_file(errand);
	if (code != EXIT_OK)
		return code;
	enum status status = db_transact(errand->db, TURN_WAIT_MS, start, errand, &err);
	if (status != STATUS_OK) {
		if (errand->copy[0] && status != STATUS_UNKNOWN_OUTCOME)
			unlink(errand->copy);
		return command_fail(command_exit_code(status), "%s", err.text);
	}
	tell_workers(errand);
	if (!errand->started)
		fprintf(stderr, "appcore ingest: %s is being read by an earlier run.\n",
			errand->file ? "the file" : "the API");
	return errand->follow ? follow(errand) : print_id(errand);
}

int ingest_main(int argc, char **argv)
{
	static struct errand errand;
	const char *pipeline = NULL;
	const struct option_spec specs[] = {
		{"--pipeline", &pipeline, NULL}, {"--follow", NULL, &errand.follow}, {"--json", NULL, &errand.json}};
	bool done;
	int code;

	if (!command_options(command_find("ingest"), &argc, argv, specs, sizeof(specs) / sizeof(specs[0]), &done))
		return EXIT_USAGE;
	if (done)
		return EXIT_OK;
	if (argc > 2 || !pipeline)
		return command_fail(EXIT_USAGE, "FILE and --pipeline NAME are wanted; see --help.");
	errand.file = argc == 2 ? argv[1] : NULL;
	if (!command_open_db(&errand.config, &errand.db, DB_WRITE, &code))
		return code;
	arena_init(&errand.arena, ARENA_MAX);
	code = run(&errand, pipeline);
	arena_release(&errand.arena);
	db_close(errand.db);
	config_release(&errand.config);
	return code;
}
