/* What redis.c (the event thread's half) and redis_thread.c (the other) share, and how both connect (redis_connect.c).
 */
#ifndef APPCORE_SHARED_REDIS_IMPL_H
#define APPCORE_SHARED_REDIS_IMPL_H

#include "shared/metrics.h"
#include "shared/redis.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
	REDIS_CONNECT_MS = 1000,
	REDIS_BACKOFF_MIN_MS = 100,
	REDIS_REASON_BYTES = 160,
	REDIS_HASH_BYTES = 41,
	REDIS_REPLY_MAX = 1 << 20, /* what has been read and is no whole reply yet: ours have some 20 KiB */
};

enum redis_outcome {
	REDIS_OUTCOME_OK,
	REDIS_OUTCOME_ERROR,
	REDIS_OUTCOME_TIMEOUT,
	REDIS_OUTCOME_SKIPPED,
	REDIS_OUTCOME__MAX
};

/* A command under way. */
struct place {
	struct redis_op *op; /* NULL: nobody waits (any more) */
	enum redis_use use;
	bool late;        /* it was completed, and counted, when its time was over */
	bool whole;       /* the script was sent with it */
	uint64_t sent_ns; /* for the first time; 0: it was not yet */
	uint64_t due_ns;  /* when its time is over */
};

struct redis {
	struct redis_options options;
	char channel[48];
	char hash[REDIS_HASH_BYTES]; /* of the script; the thread's until the first connection is handed over, constant
					then */

	/* The event thread's. */
	redisContext *conn;           /* NULL: the breaker is open */
	struct place *ring;           /* REDIS_QUEUE of them */
	uint32_t head, tail, unsent;  /* head: the oldest; all grow for ever, modulo REDIS_QUEUE */
	bool unwritten;               /* the socket has not taken all: it is watched for room */
	int failures[REDIS_USE__MAX]; /* in a row, of commands that somebody waited for */
	uint64_t adopted_ms;
	int epoll; /* watches the socket of the day: the loop sees one descriptor for life */
	metrics_series counts[REDIS_USE__MAX][REDIS_OUTCOME__MAX], round_trips[REDIS_USE__MAX];
	metrics_series gauge, opened;

	/* Between both. */
	pthread_mutex_t lock;
	redisContext *fresh; /* under lock: to be adopted */
	bool message_sent;   /* under lock: the mail is on its way */
	struct mail fresh_mail, message_mail;
	_Atomic bool wanted;  /* a connection for commands */
	_Atomic bool steady;  /* the last one held */
	_Atomic bool closing; /* set under lock: from then on no mail, no metric, no log line of the thread's */
	_Atomic bool ended;   /* the thread is through */
	bool abandoned;       /* under lock: the thread releases it all when it is through */
	_Atomic bool half_open;
	_Atomic bool down_told; /* the log knows that it is down */
	int wake;               /* eventfd: wanted or closing changed */

	/* The thread's. */
	pthread_t thread;
	redisContext *listener;
	uint64_t try_ms, listen_ms; /* when to try again */
	int backoff_ms, listen_backoff_ms;
	uint64_t heard_ms, pinged_ms;
	char reason[REDIS_REASON_BYTES];
};

/* redis.c: what the thread calls, and sends as mail to the event thread. */
void redis_tell_down(struct redis *redis, const char *reason) __attribute__((nonnull));
/* What the breaker's gauge shows; the thread's while it has been asked for a connection. */
void redis_show_state(struct redis *redis, enum redis_state state) __attribute__((nonnull));
void redis_release(struct redis *redis) __attribute__((nonnull));
void redis_adopt(struct mail *mail) __attribute__((nonnull));
void redis_open_message(struct mail *mail) __attribute__((nonnull));

/* redis_thread.c: what the thread runs. */
void *redis_thread(void *arg);

/* redis_connect.c: a connection that is logged in, blocking, with that time limit on every answer; caller frees with
 * redisFree. NULL: *reason says why. */
redisContext *redis_connect_to(const struct redis_url *url, uint64_t answer_ms, char reason[static REDIS_REASON_BYTES])
	__attribute__((nonnull, warn_unused_result));

/* Sends one command and waits; a text for an answer goes to `out` (may be NULL), if it has its length. False: *reason
 * says why, with no more than the first word of an error: some repeat what was sent. */
bool redis_ask(redisContext *conn, char reason[static REDIS_REASON_BYTES], const char *what, int n, const char **argv,
	       char *out, size_t length) __attribute__((nonnull(1, 2, 3, 5), warn_unused_result));

/* The same for arguments that are not texts; what it answers does not matter unless it is an error. */
bool redis_ask_sized(redisContext *conn, char reason[static REDIS_REASON_BYTES], const char *what, int n,
		     const char **argv, const size_t *lengths) __attribute__((nonnull, warn_unused_result));

#endif
