/* The log: the form of its lines, batches, rotation, and readers that are slow or gone. */
#include "unit.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CONTENT = 8 << 20, PATIENCE_MS = 30 * 1000 };

static char content[CONTENT];

static const char *path_of(const char *name)
{
	static char paths[4][512];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", unit_temp_dir(), name);
	return path;
}

static const char *read_all(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t n = file ? fread(content, 1, CONTENT - 1, file) : 0;

	if (file)
		fclose(file);
	content[n] = '\0';
	return content;
}

/* Reads the file until `text` is in it, for PATIENCE_MS at the most. */
static bool appears(const char *path, const char *text)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;

	while (!strstr(read_all(path), text)) {
		if (clock_mono_ms() > end)
			return false;
		usleep(2000);
	}
	return true;
}

/* How many lines; each must be JSON. */
static int lines_of(const char *text)
{
	struct str rest = str_of(text);
	int n = 0;

	while (rest.n > 0) {
		struct str line = str_cut(&rest, '\n');
		struct json_value root;
		struct json_fault fault;
		if (!json_check(line, JSON_MAX_DEPTH, &root, &fault) || root.type != JSON_OBJECT) {
			printf("\nno JSON (%s at %zu): %.*s\n", fault.reason, fault.offset, STR_ARG(line));
			CU_ASSERT_TRUE(false);
		}
		n++;
	}
	return n;
}

static void start(enum log_level level, const char *file, const char *instance)
{
	CU_ASSERT_TRUE_FATAL(log_start(level, file, instance));
}

static void lines_have_their_form(void)
{
	const char *path = path_of("form");
	int64_t before = clock_wall_us();

	start(LOG_LEVEL_INFO, path, "api-1");
	struct buf *line = log_begin(LOG_LEVEL_WARNING, STR("GET /x → 200 (0.001s)"));
	log_str(line, "path", STR("/a\"b\\c\n\x01\xff/ä"));
	log_i64(line, "status_code", -7);
	log_fixed2(line, "a", 0.0);
	log_fixed2(line, "b", 1.234);
	log_fixed2(line, "c", 1.235001);
	log_fixed2(line, "d", 12345.999);
	log_fixed2(line, "e", -1.0);
	log_end(line);
	log_stop();
	const char *text = read_all(path);
	static const char rest[] =
		",\"level\":\"WARNING\",\"logger\":\"appcore\",\"message\":\"GET /x → 200 (0.001s)\","
		"\"path\":\"/a\\\"b\\\\c\\n\\u0001\xef\xbf\xbd/ä\",\"status_code\":-7,\"a\":0.00,"
		"\"b\":1.23,\"c\":1.24,\"d\":12346.00,\"e\":0.00,\"instance\":\"api-1\"}\n";
	CU_ASSERT_EQUAL(lines_of(text), 1);
	/* {"timestamp":"2026-11-20 23:07:47,552" */
	CU_ASSERT_EQUAL(strncmp(text, "{\"timestamp\":\"20", 16), 0);
	CU_ASSERT_EQUAL(text[14 + 10], ' ');
	CU_ASSERT_EQUAL(text[14 + 19], ',');
	CU_ASSERT_EQUAL(text[14 + 23], '"');
	CU_ASSERT_STRING_EQUAL(text + 14 + 24, rest);
	char stamp[40];
	int64_t at;
	snprintf(stamp, sizeof(stamp), "%.23s", text + 14);
	stamp[19] = '.';
	CU_ASSERT_TRUE(clock_parse_iso(str_of(stamp), &at));
	CU_ASSERT_TRUE(at >= before - 1000 && at <= clock_wall_us());
}

static void without_an_instance(void)
{
	const char *path = path_of("plain");

	start(LOG_LEVEL_INFO, path, "");
	log_event(LOG_LEVEL_INFO, "%d of %s", 7, "nine");
	log_stop();
	CU_ASSERT_PTR_NOT_NULL(strstr(read_all(path), "\"logger\":\"appcore\",\"message\":\"7 of nine\"}\n"));
}

static void levels(void)
{
	static const char *const names[] = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"};
	char text[40];

	for (int level = 0; level < 5; level++) {
		CU_ASSERT_EQUAL((int)log_level_of(names[level]), level);
		const char *path = path_of(names[level]);
		start((enum log_level)level, path, "");
		for (int i = 0; i < 5; i++)
			log_event((enum log_level)i, "event %s", names[i]);
		log_end(log_begin(LOG_LEVEL_INFO, STR("the request"))); /* whatever the level */
		log_stop();
		CU_ASSERT_EQUAL(lines_of(read_all(path)), 5 - level + 1);
		for (int i = 0; i < 5; i++) {
			snprintf(text, sizeof(text), "\"message\":\"event %s\"", names[i]);
			CU_ASSERT_EQUAL(strstr(content, text) != NULL, i >= level);
		}
		CU_ASSERT_PTR_NOT_NULL(strstr(content, "the request"));
	}
	CU_ASSERT_EQUAL(log_level_of("info"), LOG_LEVEL_INFO);
	CU_ASSERT_EQUAL(log_level_of(""), LOG_LEVEL_INFO);
	CU_ASSERT_EQUAL(log_level_of("LOUD"), LOG_LEVEL_INFO);
}

/* Errors are written at once; other lines wait for their batch, a tenth of a second. Twenty errors one after the other
 * would take two seconds if each waited for a batch; a busy machine may take so long now and then, but not each time.
 */
static void errors_are_written_at_once(void)
{
	const char *path = path_of("errors");
	char text[64];

	uint64_t took = UINT64_MAX;

	start(LOG_LEVEL_INFO, path, "");
	for (int tries = 0; tries < 20 && took >= 1200; tries++) {
		uint64_t begin = clock_mono_ms();
		for (int i = 0; i < 20; i++) {
			snprintf(text, sizeof(text), "error number %d of %d\"", i, tries);
			log_event(LOG_LEVEL_ERROR, "error number %d of %d", i, tries);
			CU_ASSERT_TRUE(appears(path, text));
		}
		took = clock_mono_ms() - begin;
	}
	CU_ASSERT_TRUE(took < 1200);
	log_event(LOG_LEVEL_INFO, "by itself");
	CU_ASSERT_TRUE(appears(path, "by itself"));
	for (int i = 0; i < PATIENCE_MS && log_waiting() > 0; i++) /* that is noted when it has been written */
		usleep(1000);
	CU_ASSERT_EQUAL(log_waiting(), 0);
	log_stop();
}

static void lines_stay_in_order(void)
{
	enum { LINES = 5000 };
	const char *path = path_of("order");
	uint64_t dropped = log_dropped();
	char text[40];

	start(LOG_LEVEL_INFO, path, "");
	for (int i = 0; i < LINES; i++)
		log_event(LOG_LEVEL_INFO, "line <%d>", i);
	log_stop();
	const char *at = read_all(path);
	CU_ASSERT_EQUAL(lines_of(at), LINES);
	for (int i = 0; i < LINES && at; i++) {
		snprintf(text, sizeof(text), "line <%d>", i);
		at = strstr(at, text);
	}
	CU_ASSERT_PTR_NOT_NULL(at);
	CU_ASSERT_EQUAL(log_dropped(), dropped);
}

enum { THREADS = 4, EACH = 1000 };

static void *write_lines(void *arg)
{
	for (int i = 0; i < EACH; i++)
		log_event(i % 100 ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "thread %d line %d", *(int *)arg, i);
	return NULL;
}

static void threads_do_not_mix_their_lines(void)
{
	const char *path = path_of("threads");
	uint64_t dropped = log_dropped();
	pthread_t threads[THREADS];
	int numbers[THREADS];

	start(LOG_LEVEL_INFO, path, "");
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_stop();
	CU_ASSERT_EQUAL(lines_of(read_all(path)) + (int)(log_dropped() - dropped), THREADS * EACH);
	CU_ASSERT_EQUAL(log_dropped(), dropped);
}

static void huge_lines_are_dropped(void)
{
	enum { HUGE_LINE = 17 * 1024 };
	static char huge[HUGE_LINE];
	const char *path = path_of("huge");
	uint64_t dropped = log_dropped();

	memset(huge, 'x', sizeof(huge));
	start(LOG_LEVEL_INFO, path, "");
	log_end(log_begin(LOG_LEVEL_INFO, (struct str){huge, sizeof(huge)}));
	log_end(log_begin(LOG_LEVEL_INFO, (struct str){huge, 15 * 1024}));
	log_event(LOG_LEVEL_INFO, "the next one");
	log_stop();
	CU_ASSERT_EQUAL(log_dropped() - dropped, 1);
	CU_ASSERT_EQUAL(lines_of(read_all(path)), 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "the next one"));
}

static void rotation_moves_the_file(void)
{
	char moved[520], path[512];

	snprintf(path, sizeof(path), "%s", path_of("rotate"));
	snprintf(moved, sizeof(moved), "%s.1", path);
	start(LOG_LEVEL_INFO, path, "");
	log_event(LOG_LEVEL_ERROR, "before");
	CU_ASSERT_TRUE(appears(path, "before"));
	CU_ASSERT_EQUAL_FATAL(rename(path, moved), 0);
	/* After a second the new file is there. */
	for (int i = 0; i < PATIENCE_MS / 10 && access(path, F_OK) != 0; i++) {
		log_event(LOG_LEVEL_INFO, "meanwhile %d", i);
		usleep(10 * 1000);
	}
	log_event(LOG_LEVEL_ERROR, "after");
	CU_ASSERT_TRUE(appears(path, "after"));
	log_stop();
	CU_ASSERT_PTR_NULL(strstr(read_all(path), "before"));
	CU_ASSERT_PTR_NULL(strstr(read_all(moved), "after"));
	/* Started again: appended to. */
	start(LOG_LEVEL_INFO, path, "");
	log_event(LOG_LEVEL_INFO, "again");
	log_stop();
	CU_ASSERT_PTR_NOT_NULL(strstr(read_all(path), "after"));
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "again"));
}

/* --- standard output is a pipe --- */

static int pipe_ends[2], kept_stdout;

static void stdout_to_pipe(void)
{
	fflush(stdout);
	CU_ASSERT_EQUAL_FATAL(pipe2(pipe_ends, O_CLOEXEC), 0);
	CU_ASSERT_TRUE(fcntl(pipe_ends[1], F_SETPIPE_SZ, 4096) >= 4096);
	kept_stdout = dup(STDOUT_FILENO);
	CU_ASSERT_EQUAL_FATAL(dup2(pipe_ends[1], STDOUT_FILENO), STDOUT_FILENO);
	close(pipe_ends[1]);
}

static void stdout_back(void)
{
	dup2(kept_stdout, STDOUT_FILENO);
	close(kept_stdout);
	close(pipe_ends[0]);
}

static atomic_size_t has_read;

static void *read_pipe(void *arg)
{
	size_t n = 0;
	ssize_t got;

	(void)arg;
	while (n < CONTENT - 1 && (got = read(pipe_ends[0], content + n, CONTENT - 1 - n)) > 0) {
		n += (size_t)got;
		atomic_store(&has_read, n);
	}
	content[n] = '\0';
	return NULL;
}

/* A reader that does not read costs lines, never time: what waits is bounded, and what was dropped is counted. */
static void a_stuck_reader_costs_lines(void)
{
	enum { LINES = 20000, DIGITS = 200 };
	static const char empty[] =
		"{\"timestamp\":\"2026-11-20 23:07:47,552\",\"level\":\"INFO\",\"logger\":\"appcore\","
		"\"message\":\"\"}\n";
	uint64_t dropped = log_dropped();
	pthread_t reader;

	atomic_store(&has_read, 0);

	stdout_to_pipe();
	start(LOG_LEVEL_INFO, "", "");
	uint64_t begin = clock_mono_ms();
	for (int i = 0; i < LINES; i++)
		log_event(LOG_LEVEL_INFO, "%0*d", DIGITS, i);
	uint64_t took = clock_mono_ms() - begin;
	dropped = log_dropped() - dropped;
	size_t waiting = log_waiting();
	CU_ASSERT_EQUAL_FATAL(pthread_create(&reader, NULL, read_pipe, NULL), 0);
	/* At the end a reader that does not read for a second costs lines, too. */
	size_t whole = (LINES - dropped) * (sizeof(empty) - 1 + DIGITS);
	for (int i = 0; i < PATIENCE_MS && atomic_load(&has_read) < whole; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(atomic_load(&has_read), whole);
	log_stop();
	dup2(kept_stdout, STDOUT_FILENO); /* the last writer's end: the reader sees the end */
	pthread_join(reader, NULL);
	stdout_back();
	CU_ASSERT_TRUE(took < PATIENCE_MS);
	CU_ASSERT_TRUE(dropped > 0 && dropped < LINES);
	CU_ASSERT_TRUE(waiting > 0 && waiting <= 1 << 20);
	CU_ASSERT_EQUAL(lines_of(content), LINES - (int)dropped);
}

static void a_reader_that_is_gone_costs_lines(void)
{
	uint64_t dropped = log_dropped();

	signal(SIGPIPE, SIG_IGN);
	stdout_to_pipe();
	close(pipe_ends[0]);
	pipe_ends[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	start(LOG_LEVEL_INFO, "", "");
	log_event(LOG_LEVEL_ERROR, "to nobody");
	log_stop();
	stdout_back();
	CU_ASSERT_TRUE(log_dropped() > dropped);
}

static void a_full_disk_costs_lines(void)
{
	uint64_t dropped = log_dropped();

	if (access("/dev/full", W_OK) != 0)
		return;
	start(LOG_LEVEL_INFO, "/dev/full", "");
	log_event(LOG_LEVEL_ERROR, "nowhere");
	log_stop();
	CU_ASSERT_TRUE(log_dropped() > dropped);
}

static void a_file_that_can_not_be_opened(void)
{
	errno = 0;
	CU_ASSERT_FALSE(log_start(LOG_LEVEL_INFO, "/nonexistent/dir/log", ""));
	CU_ASSERT_EQUAL(errno, ENOENT);
	/* It can be started all the same afterwards. */
	const char *path = path_of("later");
	start(LOG_LEVEL_INFO, path, "");
	log_event(LOG_LEVEL_INFO, "here");
	log_stop();
	CU_ASSERT_PTR_NOT_NULL(strstr(read_all(path), "here"));
}

/* Before the start and after the end lines go to standard error, and none is lost. */
static void without_a_log(void)
{
	char path[512];
	int kept = dup(STDERR_FILENO);

	snprintf(path, sizeof(path), "%s", path_of("stderr"));
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_TRUE_FATAL(kept >= 0 && fd >= 0);
	dup2(fd, STDERR_FILENO);
	log_event(LOG_LEVEL_WARNING, "early or late");
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(fd);
	CU_ASSERT_EQUAL(lines_of(read_all(path)), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(content, "early or late"));
	log_stop(); /* a second time does nothing */
}

static const struct unit_case CASES[] = {
	{"lines have their form", lines_have_their_form},
	{"without an instance", without_an_instance},
	{"levels", levels},
	{"errors are written at once", errors_are_written_at_once},
	{"lines stay in order", lines_stay_in_order},
	{"threads do not mix their lines", threads_do_not_mix_their_lines},
	{"huge lines are dropped", huge_lines_are_dropped},
	{"rotation moves the file", rotation_moves_the_file},
	{"a stuck reader costs lines", a_stuck_reader_costs_lines},
	{"a reader that is gone costs lines", a_reader_that_is_gone_costs_lines},
	{"a full disk costs lines", a_full_disk_costs_lines},
	{"a file that can't be opened", a_file_that_can_not_be_opened},
	{"without a log", without_a_log},
};

int main(void)
{
	return UNIT_RUN("log", CASES);
}
