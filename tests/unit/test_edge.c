/* Counting what nginx answers by itself: lines, rotation, several readers, readers that are killed. */
#include "unit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "shared/edge_impl.h"
#include "shared/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char dir[256], path[300];
static struct edge *edge;

/* A folder of its own for each test. */
static void fresh(void)
{
	snprintf(dir, sizeof(dir), "%s/run-XXXXXX", unit_temp_dir());
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/edge.log", dir);
	edge_free(edge);
	edge = edge_new(dir, path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(edge);
}

/* Another worker: nothing is kept in memory. */
static void anew(void)
{
	edge_free(edge);
	edge = edge_new(dir, path);
}

static void add_to(const char *file, const char *text, size_t n)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_FATAL(write(fd, text, n) == (ssize_t)n);
	close(fd);
}

static void say(const char *text)
{
	add_to(path, text, strlen(text));
}

/* Lines as nginx writes them; no two are the same. */
static void answers(const char *file, const char *status, int n)
{
	static unsigned number;
	struct buf text;

	buf_init_heap(&text);
	for (int i = 0; i < n; i++)
		buf_fmt(&text, "17957%05u.%03u %s\n", number / 1000, number % 1000, status), number++;
	add_to(file, text.p, text.n);
	buf_release(&text);
}

static enum status follow(void)
{
	uint64_t lines;

	return edge_follow(edge, &lines, NULL);
}

/* Until nothing is new. */
static void follow_all(void)
{
	uint64_t lines = 1;

	while (lines > 0)
		CU_ASSERT(edge_follow(edge, &lines, NULL) == STATUS_OK);
}

static uint64_t counted(unsigned status)
{
	struct edge_count counts[EDGE_STATUSES];
	int n = edge_counts(dir, counts);

	for (int i = 0; i < n; i++)
		if (counts[i].status == status)
			return counts[i].n;
	return 0;
}

static uint64_t counted_all(void)
{
	struct edge_count counts[EDGE_STATUSES];
	uint64_t sum = 0;
	int n = edge_counts(dir, counts);

	for (int i = 0; i < n; i++)
		sum += counts[i].n;
	return sum;
}

static void rename_log(const char *to)
{
	char name[320];

	snprintf(name, sizeof(name), "%s%s", path, to);
	CU_ASSERT_EQUAL(rename(path, name), 0);
}

/* As if it had last been written to so long ago. */
static void make_older(const char *suffix, int seconds)
{
	char name[320];
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = clock_wall_us() / 1000000 - seconds}};

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	CU_ASSERT_EQUAL(utimensat(AT_FDCWD, name, times, 0), 0);
}

/* --- lines --- */

static void test_lines(void)
{
	static const struct {
		const char *line;
		unsigned status;
	} CASES[] = {
		{"1795752127.123 429", 429},
		{"1795752127.123 502", 502},
		{"1795752127.123 301", 301},
		{"x 413", 413},
		{" 400", 400},
		{"1795752127.1795752127.200 503", 503},
		{"1795752127.123 999", 0},
		{"1795752127.123 000", 0},
		{"1795752127.123 499", 0},
		{"1795752127.123 42", 0},
		{"1795752127.123 4290", 0},
		{"1795752127.123 4x9", 0},
		{"1795752127.123 -29", 0},
		{"429", 0},
		{"", 0},
		{" ", 0},
		{"1795752127.123 429 ", 0},
		{"1795752127.123 429\r", 0},
		{"\x01\xff 4\xb2"
		 "9",
		 0},
	};

	for (size_t i = 0; i < COUNT(CASES); i++) {
		fresh();
		CU_ASSERT(follow() == STATUS_NOT_FOUND);
		say(CASES[i].line);
		CU_ASSERT(follow() == STATUS_OK);
		CU_ASSERT_EQUAL(counted_all(), 0); /* not before its end */
		say("\n");
		CU_ASSERT(follow() == STATUS_OK);
		CU_ASSERT_EQUAL(counted_all(), 1);
		CU_ASSERT_EQUAL(counted(CASES[i].status), 1);
	}
}

static void test_nul_bytes(void)
{
	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	add_to(path, "a\0b 429\n\0\0\0\n", 12);
	CU_ASSERT(follow() == STATUS_OK);
	CU_ASSERT_EQUAL(counted(429), 1);
	CU_ASSERT_EQUAL(counted(0), 1);
}

/* However many different statuses there are, the number of series is bounded. */
static void test_bounded(void)
{
	char line[40];

	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	for (int i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "1.0 %03d\n", i);
		say(line);
	}
	follow_all();
	struct edge_count counts[EDGE_STATUSES];
	int n = edge_counts(dir, counts);
	CU_ASSERT(n > 20 && n <= EDGE_STATUSES);
	CU_ASSERT_EQUAL(counted_all(), 1000);
	CU_ASSERT_EQUAL(counted(429), 1);
	CU_ASSERT_EQUAL(counted(0), 1001u - (unsigned)n);
}

static void test_endless_line(void)
{
	static char xs[300 * 1024];

	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	memset(xs, 'x', sizeof(xs));
	add_to(path, xs, sizeof(xs));
	CU_ASSERT(follow() == STATUS_OK);
	say("\n");
	answers(path, "429", 3);
	follow_all();
	CU_ASSERT_EQUAL(counted(0), 1);
	CU_ASSERT_EQUAL(counted(429), 3);
}

/* A flood is read in bounded steps, and whole. */
static void test_flood(void)
{
	struct stat st;
	uint64_t lines, steps = 0;

	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	for (int i = 0; i < 200; i++)
		answers(path, "429", 1000);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	do {
		uint64_t before = counted_all();
		CU_ASSERT(edge_follow(edge, &lines, NULL) == STATUS_OK);
		CU_ASSERT_EQUAL(counted_all(), before + lines);
		CU_ASSERT(lines <= (1u << 20) / 19);
		steps += lines > 0;
	} while (lines > 0);
	CU_ASSERT_EQUAL(counted(429), 200000);
	CU_ASSERT_EQUAL(steps, (uint64_t)(st.st_size >> 20) + 1);
	/* What was counted takes no room (where the file system can do that), and what follows counts as ever. */
	off_t blocks = st.st_blocks;
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT(st.st_blocks == blocks || st.st_blocks * 512 <= (2 << 20));
	answers(path, "502", 7);
	anew();
	follow_all();
	CU_ASSERT_EQUAL(counted(429), 200000);
	CU_ASSERT_EQUAL(counted(502), 7);
	CU_ASSERT_EQUAL(counted_all(), 200007);
}

/* --- where it begins --- */

static void test_begins(void)
{
	fresh();
	answers(path, "429", 5);
	CU_ASSERT(follow() == STATUS_OK);
	CU_ASSERT_EQUAL(counted_all(), 0); /* of an earlier life, whose record is gone */
	answers(path, "429", 2);
	CU_ASSERT(follow() == STATUS_OK);
	CU_ASSERT_EQUAL(counted(429), 2);
	anew();
	answers(path, "429", 3);
	CU_ASSERT(follow() == STATUS_OK);
	CU_ASSERT_EQUAL(counted(429), 5);

	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	anew();
	answers(path, "429", 5); /* a log that came after the record counts from its first line */
	CU_ASSERT(follow() == STATUS_OK);
	CU_ASSERT_EQUAL(counted(429), 5);
}

static void test_damaged_record(void)
{
	char name[320];

	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	answers(path, "429", 5);
	CU_ASSERT(follow() == STATUS_OK);
	answers(path, "429", 3);
	CU_ASSERT(follow() == STATUS_OK);
	snprintf(name, sizeof(name), "%s/edge-1.counts", dir);
	/* Half-written, as a kill leaves it: the record before, and its place, are whole. */
	for (int which = 0; which < 2; which++) {
		uint64_t before = counted_all();
		int fd = open(name, O_RDWR);
		struct edge_record newest;
		edge_record_load(fd, &newest);
		CU_ASSERT(pwrite(fd, "torn", 4, (off_t)(newest.sequence % 2) * 1024 + 100) == 4);
		close(fd);
		CU_ASSERT(counted_all() < before);
		anew();
		follow_all();
		CU_ASSERT_EQUAL(counted_all(), before);
		answers(path, "429", 3);
		follow_all();
	}
	CU_ASSERT_EQUAL(counted(429), 14);
	CU_ASSERT_EQUAL(truncate(name, 0), 0);
	answers(path, "429", 3);
	CU_ASSERT(follow() == STATUS_OK);
	answers(path, "429", 1);
	CU_ASSERT(follow() == STATUS_OK);
	CU_ASSERT_EQUAL(counted(429), 1);
}

/* --- rotation --- */

static void test_renamed(void)
{
	char old[320];

	for (int restarts = 0; restarts < 2; restarts++) {
		fresh();
		snprintf(old, sizeof(old), "%s.1", path);
		CU_ASSERT(follow() == STATUS_NOT_FOUND);
		answers(path, "429", 5);
		follow_all();
		answers(path, "429", 3);
		rename_log(".1");
		if (restarts)
			anew();
		CU_ASSERT(follow() == STATUS_NOT_FOUND); /* told, and read all the same */
		CU_ASSERT_EQUAL(counted(429), 8);
		answers(path, "502", 4);
		answers(old, "429", 2); /* by a process that has not opened the new one yet */
		if (restarts)
			anew();
		follow_all();
		CU_ASSERT_EQUAL(counted(429), 10);
		CU_ASSERT_EQUAL(counted(502), 0); /* not yet: the old one has just been written to */
		make_older(".1", 5);
		follow_all();
		CU_ASSERT_EQUAL(counted(429), 10);
		CU_ASSERT_EQUAL(counted(502), 4);
		answers(path, "502", 1);
		follow_all();
		CU_ASSERT_EQUAL(counted_all(), 15);
	}
}

/* An empty one that was made beside the old one (logrotate's "create") is not followed before nginx writes to it. */
static void test_created(void)
{
	char old[320];

	fresh();
	snprintf(old, sizeof(old), "%s.1", path);
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	answers(path, "429", 5);
	follow_all();
	rename_log(".1");
	make_older(".1", 60);
	say("");
	follow_all();
	answers(old, "429", 3);
	anew();
	follow_all();
	CU_ASSERT_EQUAL(counted(429), 8);
	answers(path, "429", 1);
	make_older(".1", 60);
	follow_all();
	CU_ASSERT_EQUAL(counted(429), 9);
}

static void test_removed(void)
{
	for (int restarts = 0; restarts < 2; restarts++) {
		fresh();
		CU_ASSERT(follow() == STATUS_NOT_FOUND);
		answers(path, "429", 5);
		follow_all();
		answers(path, "429", 3);
		CU_ASSERT_EQUAL(unlink(path), 0);
		if (restarts)
			anew();
		CU_ASSERT(follow() == STATUS_NOT_FOUND);
		/* Whoever has it open reads it to its end. */
		CU_ASSERT_EQUAL(counted(429), restarts ? 5 : 8);
		anew();
		answers(path, "429", 10);
		follow_all();
		CU_ASSERT_EQUAL(counted(429), restarts ? 15 : 18);
	}
}

static void test_truncated(void)
{
	/* Less, as much, and more than before: the size alone does not tell. */
	static const int AFTER[] = {0, 1, 5, 9};

	for (size_t i = 0; i < COUNT(AFTER); i++) {
		fresh();
		CU_ASSERT(follow() == STATUS_NOT_FOUND);
		answers(path, "429", 5);
		follow_all();
		CU_ASSERT_EQUAL(truncate(path, 0), 0);
		if (AFTER[i] > 0)
			answers(path, "502", AFTER[i]);
		anew();
		follow_all();
		CU_ASSERT_EQUAL(counted(502), (uint64_t)AFTER[i]);
		answers(path, "502", 1);
		follow_all();
		CU_ASSERT_EQUAL(counted(429), 5);
		CU_ASSERT_EQUAL(counted(502), (uint64_t)AFTER[i] + 1);
	}
}

/* --- files that can't be read, paths --- */

static void test_unreadable(void)
{
	struct err err;
	uint64_t lines = 9;

	fresh();
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	CU_ASSERT_EQUAL(edge_follow(edge, &lines, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "edge.log"));
	CU_ASSERT_EQUAL(lines, 0);
	CU_ASSERT_EQUAL(rmdir(path), 0);
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0); /* does not wait for a writer */
	CU_ASSERT_EQUAL(edge_follow(edge, &lines, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(edge_follow(edge, &lines, &err), STATUS_NOT_FOUND);
	answers(path, "429", 1);
	CU_ASSERT_EQUAL(edge_follow(edge, &lines, &err), STATUS_OK);
	CU_ASSERT_EQUAL(lines, 1);

	struct edge *nowhere = edge_new("/nonexistent", path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(nowhere);
	CU_ASSERT_EQUAL(edge_follow(nowhere, &lines, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent"));
	edge_free(nowhere);
	nowhere = edge_new(dir, "/nonexistent/edge.log");
	CU_ASSERT_PTR_NOT_NULL_FATAL(nowhere);
	CU_ASSERT_EQUAL(edge_follow(nowhere, &lines, &err), STATUS_NOT_FOUND);
	edge_free(nowhere);
	struct edge_count counts[EDGE_STATUSES];
	CU_ASSERT_EQUAL(edge_counts("/nonexistent", counts), 0);
}

/* By another worker, whose folder does not show the file under a name that begins like the log's. */
static void test_not_found_by_name(void)
{
	char other[300];

	/* A link to a file elsewhere. */
	fresh();
	snprintf(other, sizeof(other), "%s/elsewhere", dir);
	answers(other, "429", 5);
	CU_ASSERT_EQUAL(symlink("elsewhere", path), 0);
	follow_all(); /* from its end */
	answers(other, "429", 5);
	follow_all();
	for (int i = 0; i < 3; i++) {
		anew();
		follow_all();
		CU_ASSERT_EQUAL(counted(429), 5);
	}
}

/* Inodes are given again: one that is no file now is not the log that was read. */
static void test_inode_of_a_fifo(void)
{
	struct edge_record record;
	enum status status;
	struct stat st;
	struct err err;
	uint64_t lines;

	fresh();
	answers(path, "429", 5);
	follow_all();
	CU_ASSERT_EQUAL(unlink(path), 0);
	anew();
	CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
	CU_ASSERT_EQUAL_FATAL(stat(path, &st), 0);
	int fd = edge_record_lock(dir, &status, &err);
	CU_ASSERT_FATAL(fd >= 0);
	edge_record_load(fd, &record);
	record.inode = st.st_ino;
	CU_ASSERT_TRUE(edge_record_store(fd, &record));
	close(fd);
	CU_ASSERT_EQUAL(edge_follow(edge, &lines, &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "it is no file"));
}

/* No descriptor is left, but for those that are named here. */
static void test_no_descriptors(void)
{
	char old[320];
	struct rlimit before, few;
	struct err err;
	uint64_t lines;

	fresh();
	snprintf(old, sizeof(old), "%s.1", path);
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	answers(path, "429", 5);
	follow_all();
	answers(path, "429", 3);
	rename_log(".1");
	answers(path, "502", 4);
	make_older(".1", 5);
	anew();
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(next);
	few = (struct rlimit){(rlim_t)next + 3, before.rlim_max}; /* the record, the folder, the log */
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
	enum status status = edge_follow(edge, &lines, &err);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
	CU_ASSERT_EQUAL(status, STATUS_UNAVAILABLE);
	CU_ASSERT_EQUAL(lines, 0);
	follow_all();
	CU_ASSERT_EQUAL(counted(429), 8);
	CU_ASSERT_EQUAL(counted(502), 4);
}

/* --- several readers --- */

static void test_one_reader(void)
{
	uint64_t lines;
	char name[320];

	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	answers(path, "429", 5);
	snprintf(name, sizeof(name), "%s/edge-1.counts", dir);
	int fd = open(name, O_RDWR | O_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(flock(fd, LOCK_EX), 0);
	CU_ASSERT_EQUAL(edge_follow(edge, &lines, NULL), STATUS_BUSY);
	CU_ASSERT_EQUAL(lines, 0);
	CU_ASSERT_EQUAL(counted_all(), 0); /* does not wait */
	close(fd);
	CU_ASSERT_EQUAL(edge_follow(edge, &lines, NULL), STATUS_OK);
	CU_ASSERT_EQUAL(lines, 5);
}

static pid_t start_reader(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct edge *mine = edge_new(dir, path);
		uint64_t lines;
		while (mine)
			if (edge_follow(mine, &lines, NULL) == STATUS_UNAVAILABLE)
				_exit(1);
		_exit(1);
	}
	return pid;
}

/* Three readers that are killed again and again while lines come, the log rotates, and somebody looks: every line
 * counts once, and nobody ever sees fewer than before. */
static void test_killed_readers(void)
{
	enum { READERS = 3, ROUNDS = 150, LINES = 40 };
	pid_t pids[READERS];
	uint64_t last = 0, written = 0;
	char name[20];

	fresh();
	CU_ASSERT(follow() == STATUS_NOT_FOUND);
	for (int i = 0; i < READERS; i++)
		pids[i] = start_reader();
	for (int round = 0; round < ROUNDS; round++) {
		int i = round % READERS;
		answers(path, round % 2 ? "429" : "502", LINES);
		written += LINES;
		usleep((useconds_t)(round * 37 % 1500));
		kill(pids[i], SIGKILL);
		CU_ASSERT_EQUAL(waitpid(pids[i], NULL, 0), pids[i]);
		pids[i] = start_reader();
		uint64_t now = counted_all();
		CU_ASSERT(now >= last && now <= written);
		last = now;
		if (round % 50 == 25) {
			snprintf(name, sizeof(name), ".%d", round);
			rename_log(name);
			make_older(name, 60);
		}
	}
	for (int i = 0; i < READERS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	follow_all();
	CU_ASSERT_EQUAL(counted_all(), written);
	CU_ASSERT_EQUAL(counted(429), written / 2);
}

/* --- in the text --- */

static void test_text(void)
{
	struct shm *shm;
	struct buf text;

	fresh();
	CU_ASSERT_FATAL(shm_open_dir(&shm, dir, NULL) == STATUS_OK);
	CU_ASSERT_FATAL(shm_claim_slot(shm, "a", NULL) == STATUS_OK);
	uint64_t changes = metrics_changes(shm);
	metrics_touch(shm);
	CU_ASSERT(metrics_changes(shm) > changes);
	for (int i = 0; i < 2; i++) {
		buf_init_heap(&text);
		metrics_render(shm, &text);
		buf_char(&text, '\0');
		const char *at = strstr(text.p, "# TYPE appcore_edge_responses_total counter\n");
		CU_ASSERT_PTR_NOT_NULL_FATAL(at);
		at = strchr(at, '\n') + 1;
		const char *lines = i == 0 ? "# HELP"
					   : "appcore_edge_responses_total{status=\"other\"} 1.0\n"
					     "appcore_edge_responses_total{status=\"429\"} 3.0\n"
					     "appcore_edge_responses_total{status=\"502\"} 1.0\n# HELP";
		CU_ASSERT(strncmp(at, lines, strlen(lines)) == 0);
		buf_release(&text);
		CU_ASSERT(follow() == (i == 0 ? STATUS_NOT_FOUND : STATUS_OK));
		answers(path, "429", 3);
		answers(path, "502", 1);
		answers(path, "600", 1);
		follow_all();
	}
	shm_close(shm);
}

int main(void)
{
	static const struct unit_case CASES[] = {
		{"lines", test_lines},
		{"NUL bytes", test_nul_bytes},
		{"the number of series", test_bounded},
		{"a line without an end", test_endless_line},
		{"a flood", test_flood},
		{"where it begins", test_begins},
		{"a damaged record", test_damaged_record},
		{"a log that is renamed", test_renamed},
		{"an empty one in its place", test_created},
		{"a log that is removed", test_removed},
		{"a log that is truncated", test_truncated},
		{"a log that can't be read", test_unreadable},
		{"a log that is not found by its name", test_not_found_by_name},
		{"an inode that is given again", test_inode_of_a_fifo},
		{"no descriptors", test_no_descriptors},
		{"one reader at a time", test_one_reader},
		{"readers that are killed", test_killed_readers},
		{"the text", test_text},
	};

	int code = UNIT_RUN("edge", CASES);
	edge_free(edge);
	return code;
}
