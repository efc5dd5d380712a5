/* The log: one JSON object per line, to standard output or a file, written in batches by a thread of its own so that a
 * slow disk or a full pipe never holds a request. A line of level ERROR or above wakes that thread at once. When the
 * reader is slower than the writers, lines are dropped and counted, never waited for.
 *
 * One log per process: its state is static, as is the standard output it writes to. */
#ifndef APPCORE_BASE_LOG_H
#define APPCORE_BASE_LOG_H

#include "base/buf.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR, LOG_LEVEL_CRITICAL };

/* Starts the log. `file` empty: standard output. A file is opened for appending and opened anew when it was moved away
 * (looked at once a second). `instance` goes into every line. False when the file can't be opened or the thread can't
 * be started (errno says why). Before log_start and after log_stop, lines go to standard error at once. */
bool log_start(enum log_level level, const char *file, const char *instance)
	__attribute__((nonnull, warn_unused_result));

/* Writes what is left and ends the thread. */
void log_stop(void);

/* The level of this name ("INFO"). Unknown names are LOG_LEVEL_INFO. */
enum log_level log_level_of(const char *name) __attribute__((nonnull));

/* A line with a message and nothing else, when `level` is at or above the log's level. */
void log_event(enum log_level level, const char *format, ...) __attribute__((nonnull(2), format(printf, 2, 3)));

/* Whether the log has lines of this level. */
bool log_shows(enum log_level level) __attribute__((warn_unused_result));

/* A line with fields: log_begin, any of log_str, log_i64, log_fixed2, then log_end. Between begin and end nothing else
 * may be logged in this thread. The request line is written whatever the level (it is the audit trail). */
struct buf *log_begin(enum log_level level, struct str message);
void log_str(struct buf *line, const char *name, struct str value) __attribute__((nonnull(1, 2)));
void log_i64(struct buf *line, const char *name, int64_t value) __attribute__((nonnull));
void log_fixed2(struct buf *line, const char *name, double value) __attribute__((nonnull));
void log_end(struct buf *line) __attribute__((nonnull));

/* Lines dropped since the start, and bytes waiting to be written. */
uint64_t log_dropped(void);
size_t log_waiting(void);

#endif
