/* The worker's link to Redis, for what machines share: limits, revocations, cached rows. Nothing waits for it.
 *
 * Commands belong to the event thread, as the connection they go over does: redis_submit() puts a command into the
 * connection's buffer, redis_run() sends what one round of the event loop has gathered in one write, redis_read() hands
 * out the replies. So commands of concurrent requests are pipelined without a lock or another thread's time. What may
 * block (names, connecting, logging in, back-off, the subscription) is a thread of its own, which hands a connection
 * that has proved itself to the event thread through the mailbox.
 *
 * A circuit breaker keeps a Redis that is slow, broken or gone off the request's path: a command that is not answered
 * within the deadline completes as unavailable; requests of one use that failed so REDIS_FAILURES times in a row, or
 * the connection's end, open the breaker. An answer that comes too late is no sign of health, nor is one for another
 * use: a Redis may read and refuse to write. While it is open redis_submit() refuses at once. The thread tries with
 * back-off and jitter (half open: requests are still kept away); a Redis that answers a probe, which writes, within the
 * deadline closes it.
 *
 * The only file that knows hiredis is redis.c. */
#ifndef APPCORE_SHARED_REDIS_H
#define APPCORE_SHARED_REDIS_H

#include "base/err.h"
#include "base/mailbox.h"
#include "base/redis_url.h"
#include "base/str.h"

struct redis;
struct shm;

enum { REDIS_ARGS = 128, REDIS_QUEUE = 4096, REDIS_DEADLINE_MS = 50, REDIS_FAILURES = 5 };

/* What a command is for: a label of the metrics. */
enum redis_use { REDIS_LIMIT, REDIS_CACHE_GET, REDIS_CACHE_SET, REDIS_USE__MAX };

enum redis_state { REDIS_CLOSED, REDIS_HALF_OPEN, REDIS_OPEN };

/* A command under way. Stays where it is, as its arguments do, until `done`. */
struct redis_op {
	/* Set by the caller. */
	bool script; /* the link's script: args start with the number of keys; else args[0] is the command */
	enum redis_use use;
	const struct str *args; /* up to REDIS_ARGS */
	int args_n;
	int requests;       /* that wait for it: so many failures when it fails; 0: one */
	uint64_t within_ms; /* how long to wait for the answer: less than the link's deadline; 0: just that */
	void (*done)(struct redis_op *op); /* event thread */

	/* Set when done. STATUS_OK; STATUS_NOT_FOUND: the reply is nil; STATUS_UNAVAILABLE: none came in time, or an
	 * error. */
	enum status status;
	struct str reply; /* text; until `done` returns */
};

struct redis_options {
	struct redis_url url;
	char installation[17];        /* whose database this is (store/installation.h): keys and channel carry it */
	struct mailbox *mailbox;      /* the event thread's */
	struct shm *shm;              /* metrics; may be NULL */
	const char *instance;         /* label of the breaker's gauge */
	void (*on_change)(void *arg); /* a message came, or may have been missed; event thread */
	void *arg;
	const char *script; /* called by its hash, sent whole when the server does not know it (any more) */
	/* What follows the key in the probe's call of the script, which has to write: the key is the probe's own,
	 * "limit:<installation>:probe". */
	const struct str *probe;
	int probe_n;
	uint64_t deadline_ms; /* 0: REDIS_DEADLINE_MS */
};

/* Starts the thread, which connects at once. That Redis is not there is no error. The process has to ignore SIGPIPE. */
enum status redis_open(struct redis **out, const struct redis_options *options, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Ends the thread and the connections; takes two seconds at the most. Commands under way are forgotten: their `done` is
 * not called. Opens the mail that is there: some of it may be ours. Event thread. */
void redis_close(struct redis *redis);

/* --- the event thread --- */

/* Submits a command. False: not now (breaker open, too many under way): take the fallback; `done` is not called. */
bool redis_submit(struct redis *redis, struct redis_op *op) __attribute__((nonnull, warn_unused_result));

/* Sends a command nobody waits for. False when it can't be sent now. */
bool redis_send(struct redis *redis, enum redis_use use, const struct str *args, int n) __attribute__((nonnull));

/* For how long a command waits for its answer. */
uint64_t redis_deadline_ms(const struct redis *redis) __attribute__((nonnull));

/* A descriptor that is readable when redis_read should be called; the same for life. */
int redis_fd(const struct redis *redis) __attribute__((nonnull));
void redis_read(struct redis *redis) __attribute__((nonnull));

/* After each round of the loop: sends what was submitted, completes what is late. */
void redis_run(struct redis *redis, uint64_t now_ms) __attribute__((nonnull));

/* For how long the loop may sleep, at most `most_ms`, without missing a deadline. */
int redis_wait_ms(const struct redis *redis, uint64_t now_ms, int most_ms) __attribute__((nonnull));

/* Whether requests can use it now. */
enum redis_state redis_state(const struct redis *redis) __attribute__((nonnull));

/* Hex digits that say whose database this is. Borrowed. */
struct str redis_installation(const struct redis *redis) __attribute__((nonnull));

/* --- without a worker --- */

/* Tells all workers of an installation that what they hold in memory has changed. Blocks for a second at the most. */
enum status redis_publish(const struct redis_url *url, const char *installation, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

#endif
