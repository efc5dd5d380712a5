/* Lines are formatted in the thread that logs (a buffer of its own) and appended to one pending buffer under a lock;
 * the writer thread swaps the pending buffer for an empty one and writes it with one call, ten times a second. */
#include "base/log.h"

#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	PENDING_MAX = 1 << 20,
	LINE_MAX_BYTES = 16 * 1024,
	FLUSH_MS = 100,
	FLUSH_BYTES = 64 * 1024,
	REOPEN_MS = 1000,
	LAST_MS = 1000
};

static const char *const LEVELS[] = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	struct buf pending; /* guarded by lock */
	bool urgent;        /* guarded by lock */
	bool stopping;      /* guarded by lock */
	bool asleep;        /* guarded by lock */
	atomic_bool running;
	atomic_size_t waiting;
	atomic_uint_fast64_t dropped;
	enum log_level level;
	int fd;
	char file[4096];
	char instance[64];
} the_log = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_LEVEL_INFO, .fd = STDOUT_FILENO};

static _Thread_local struct buf thread_line;
static _Thread_local enum log_level thread_level;
static pthread_key_t line_key; /* frees a thread's line when the thread ends */
static bool has_line_key;

enum log_level log_level_of(const char *name)
{
	for (size_t i = 0; i < sizeof(LEVELS) / sizeof(LEVELS[0]); i++)
		if (strcmp(LEVELS[i], name) == 0)
			return (enum log_level)i;
	return LOG_LEVEL_INFO;
}

/* When the process ends, a reader that has stopped reading gets a last second. A pipe that polls writable takes
 * PIPE_BUF bytes without blocking. */
static bool may_write(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, LAST_MS) == 1;
}

static void write_all(int fd, const char *p, size_t n, bool last)
{
	while (n > 0) {
		if (last && !may_write(fd)) {
			atomic_fetch_add(&the_log.dropped, 1);
			return;
		}
		ssize_t wrote = write(fd, p, last && n > PIPE_BUF ? PIPE_BUF : n);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0) {
			atomic_fetch_add(&the_log.dropped, 1); /* disk full, pipe gone: nowhere to say it but here */
			return;
		}
		p += wrote;
		n -= (size_t)wrote;
	}
}

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

/* Rotation moves the file away; the name then leads elsewhere or nowhere. */
static void reopen_if_moved(void)
{
	struct stat by_name, by_fd;

	if (!the_log.file[0] || (stat(the_log.file, &by_name) == 0 && fstat(the_log.fd, &by_fd) == 0 &&
				 by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev))
		return;
	int fd = open_file(the_log.file);
	if (fd >= 0) {
		close(the_log.fd);
		the_log.fd = fd;
	}
}

static struct timespec in_ms(long ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ms * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000L;
	t.tv_nsec %= 1000000000L;
	return t;
}

/* Reads the pending buffer, writes the file or standard output; ends when log_stop asks and nothing is left. */
static void *writer_main(void *arg)
{
	struct buf out;
	uint64_t looked_ms = clock_mono_ms();

	(void)arg;
	buf_init_heap(&out);
	pthread_mutex_lock(&the_log.lock);
	for (;;) {
		struct timespec until = in_ms(FLUSH_MS);
		the_log.asleep = true;
		while (!the_log.urgent && !the_log.stopping &&
		       pthread_cond_timedwait(&the_log.wake, &the_log.lock, &until) == 0)
			;
		the_log.asleep = false;
		the_log.urgent = false;
		bool last = the_log.stopping;
		struct buf full = the_log.pending;
		out.n = 0;
		the_log.pending = out;
		out = full;
		pthread_mutex_unlock(&the_log.lock);

		if (clock_mono_ms() - looked_ms >= REOPEN_MS) {
			looked_ms = clock_mono_ms();
			reopen_if_moved();
		}
		write_all(the_log.fd, out.p, out.n, last);
		atomic_store_explicit(&the_log.waiting, 0, memory_order_relaxed);
		pthread_mutex_lock(&the_log.lock);
		if (last && the_log.pending.n == 0)
			break;
	}
	pthread_mutex_unlock(&the_log.lock);
	buf_release(&out);
	return NULL;
}

bool log_start(enum log_level level, const char *file, const char *instance)
{
	pthread_condattr_t attr;

	the_log.level = level;
	the_log.stopping = the_log.urgent = false;
	snprintf(the_log.file, sizeof(the_log.file), "%s", file);
	snprintf(the_log.instance, sizeof(the_log.instance), "%s", instance);
	the_log.fd = *file ? open_file(file) : STDOUT_FILENO;
	if (the_log.fd < 0)
		return false;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&the_log.wake, &attr);
	pthread_condattr_destroy(&attr);
	buf_init_heap(&the_log.pending);
	int failed = pthread_create(&the_log.thread, NULL, writer_main, NULL);
	if (failed) {
		errno = failed;
		return false;
	}
	pthread_setname_np(the_log.thread, "log");
	atomic_store(&the_log.running, true);
	return true;
}

void log_stop(void)
{
	if (!atomic_exchange(&the_log.running, false))
		return;
	pthread_mutex_lock(&the_log.lock);
	the_log.stopping = true;
	pthread_cond_signal(&the_log.wake);
	pthread_mutex_unlock(&the_log.lock);
	pthread_join(the_log.thread, NULL);
	buf_release(&the_log.pending);
	buf_release(&thread_line);
	pthread_cond_destroy(&the_log.wake);
	if (the_log.file[0])
		close(the_log.fd);
	the_log.fd = STDOUT_FILENO;
	the_log.file[0] = '\0';
}

static void append(struct str line, bool urgent)
{
	if (!atomic_load_explicit(&the_log.running, memory_order_acquire)) {
		write_all(STDERR_FILENO, line.p, line.n, false);
		return;
	}
	pthread_mutex_lock(&the_log.lock);
	if (the_log.pending.n + line.n > PENDING_MAX) {
		atomic_fetch_add_explicit(&the_log.dropped, 1, memory_order_relaxed);
	} else {
		buf_str(&the_log.pending, line);
		if (the_log.pending.failed) {
			the_log.pending.failed = false;
			atomic_fetch_add_explicit(&the_log.dropped, 1, memory_order_relaxed);
		}
		atomic_store_explicit(&the_log.waiting, the_log.pending.n, memory_order_relaxed);
	}
	if ((urgent || the_log.pending.n > FLUSH_BYTES) && !the_log.urgent) {
		the_log.urgent = true;
		if (the_log.asleep)
			pthread_cond_signal(&the_log.wake);
	}
	pthread_mutex_unlock(&the_log.lock);
}

static void free_line(void *line)
{
	buf_release(line);
}

static void make_line_key(void)
{
	has_line_key = pthread_key_create(&line_key, free_line) == 0;
}

bool log_shows(enum log_level level)
{
	return level >= the_log.level;
}

struct buf *log_begin(enum log_level level, struct str message)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct buf *line = &thread_line;
	char time_text[CLOCK_LOG_BYTES];

	if (line->cap == 0) {
		pthread_once(&once, make_line_key);
		if (has_line_key)
			pthread_setspecific(line_key, line);
	}
	line->n = 0;
	line->failed = false;
	thread_level = level;
	clock_format_log(clock_wall_us(), time_text);
	buf_str(line, STR("{\"timestamp\":\""));
	buf_put(line, time_text, CLOCK_LOG_BYTES - 1);
	buf_str(line, STR("\",\"level\":\""));
	buf_str(line, str_of(LEVELS[level]));
	buf_str(line, STR("\",\"logger\":\"appcore\",\"message\":"));
	json_put_string(line, message);
	return line;
}

static void put_name(struct buf *line, const char *name)
{
	buf_str(line, STR(",\""));
	buf_str(line, str_of(name));
	buf_str(line, STR("\":"));
}

void log_str(struct buf *line, const char *name, struct str value)
{
	put_name(line, name);
	json_put_string(line, value);
}

void log_i64(struct buf *line, const char *name, int64_t value)
{
	put_name(line, name);
	json_put_i64(line, value);
}

void log_fixed2(struct buf *line, const char *name, double value)
{
	double scaled = value * 100.0 + 0.5;
	uint64_t hundredths = scaled > 0 ? (uint64_t)scaled : 0;

	put_name(line, name);
	buf_u64(line, hundredths / 100);
	buf_char(line, '.');
	buf_char(line, (char)('0' + hundredths / 10 % 10));
	buf_char(line, (char)('0' + hundredths % 10));
}

void log_end(struct buf *line)
{
	if (the_log.instance[0])
		log_str(line, "instance", str_of(the_log.instance));
	buf_str(line, STR("}\n"));
	if (line->failed || line->n > LINE_MAX_BYTES)
		atomic_fetch_add_explicit(&the_log.dropped, 1, memory_order_relaxed);
	else
		append(buf_view(line), thread_level >= LOG_LEVEL_ERROR);
}

void log_event(enum log_level level, const char *format, ...)
{
	va_list args;
	char message[1024];

	if (!log_shows(level))
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	log_end(log_begin(level, str_of(message)));
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&the_log.dropped, memory_order_relaxed);
}

size_t log_waiting(void)
{
	return atomic_load_explicit(&the_log.waiting, memory_order_relaxed);
}
