/* Redis over hiredis: two halves with one hand-over.
 *
 * The event thread has the connection for commands while the breaker is closed (`conn` is set). Commands under way are
 * a ring in the order in which they were sent, which is the order of the replies. One that is late is completed, and
 * leaves its place empty for the reply that may still come.
 *
 * The thread ("redis") has everything else. It makes a connection when the event thread wants one, proves it (login,
 * database, script, PING, each within the deadline) and leaves it in `fresh`; and it keeps a second connection that
 * listens for messages. That one is asked for a sign of life every second: a cut line must not look like silence. */
#include "shared/redis.h"

#include "base/clock.h"
#include "base/log.h"
#include "shared/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

enum {
	CONNECT_MS = 1000,
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 2000,
	STEADY_MS = 10 * 1000, /* a connection that held so long was a good one: back-off starts anew */
	PING_MS = 1000,
	SILENT_MS = 2500,
	SEND_MAX = 256, /* under way, for a command that nobody waits for to be added: it may be long */
	REASON_BYTES = 160
};

enum outcome { OUTCOME_OK, OUTCOME_ERROR, OUTCOME_TIMEOUT, OUTCOME_SKIPPED, OUTCOME__MAX };

static const char *const OUTCOMES[] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_ERROR] = "error",
	[OUTCOME_TIMEOUT] = "timeout",
	[OUTCOME_SKIPPED] = "skipped",
};
_Static_assert(sizeof(OUTCOMES) / sizeof(OUTCOMES[0]) == OUTCOME__MAX, "a name per outcome");

static const char *const USES[] = {
	[REDIS_LIMIT] = "limit",
	[REDIS_CACHE_GET] = "cache_get",
	[REDIS_CACHE_SET] = "cache_set",
};
_Static_assert(sizeof(USES) / sizeof(USES[0]) == REDIS_USE__MAX, "a name per use");

/* A command under way. */
struct place {
	struct redis_op *op; /* NULL: nobody waits (any more) */
	enum redis_use use;
	uint64_t sent_ns; /* 0: still in the buffer */
};

struct redis {
	struct redis_options options;
	char channel[48];
	char hash[41]; /* of the script; the thread's until the first connection is handed over, constant then */

	/* The event thread's. */
	redisContext *conn;          /* NULL: the breaker is open */
	struct place *ring;          /* REDIS_QUEUE of them */
	uint32_t head, tail, unsent; /* head: the oldest; all grow for ever, modulo REDIS_QUEUE */
	int failures;                /* in a row */
	uint64_t adopted_ms;
	int epoll; /* watches the socket of the day: the loop sees one descriptor for life */
	metrics_series counts[REDIS_USE__MAX][OUTCOME__MAX], round_trips[REDIS_USE__MAX];
	metrics_series gauge, opened;

	/* Between both. */
	pthread_mutex_t lock;
	redisContext *fresh; /* under lock: to be adopted */
	bool message_sent;   /* under lock: the mail is on its way */
	struct mail fresh_mail, message_mail;
	_Atomic bool wanted; /* a connection for commands */
	_Atomic bool steady; /* the last one held */
	_Atomic bool closing;
	_Atomic bool half_open;
	_Atomic bool down_told; /* the log knows that it is down */
	int wake;               /* eventfd: wanted or closing changed */

	/* The thread's. */
	pthread_t thread;
	redisContext *listener;
	uint64_t try_ms, listen_ms; /* when to try again */
	int backoff_ms, listen_backoff_ms;
	uint64_t heard_ms, pinged_ms;
	char reason[REASON_BYTES];
};

static void count(struct redis *redis, enum redis_use use, enum outcome outcome)
{
	if (redis->options.shm)
		metrics_add(redis->options.shm, redis->counts[use][outcome], 1);
}

static void tell_state(struct redis *redis)
{
	if (redis->options.shm)
		metrics_set(redis->options.shm, redis->gauge, redis_state(redis));
}

/* Once per outage, from whichever half sees it first. */
static void tell_down(struct redis *redis, const char *reason)
{
	if (!atomic_exchange(&redis->down_told, true))
		log_event(LOG_LEVEL_WARNING,
			  "Redis can't be used now (%s): limits are this machine's own and reads go to the store",
			  reason);
}

/* --- event thread: the ring --- */

static uint32_t under_way(const struct redis *redis)
{
	return redis->tail - redis->head;
}

static struct place *place_at(struct redis *redis, uint32_t i)
{
	return &redis->ring[i % REDIS_QUEUE];
}

static void complete(struct redis *redis, struct place *place, enum status status, enum outcome outcome,
		     struct str reply)
{
	struct redis_op *op = place->op;

	place->op = NULL;
	count(redis, place->use, outcome);
	if (!op)
		return;
	op->status = status;
	op->reply = reply;
	op->done(op);
}

static void wake_thread(struct redis *redis)
{
	uint64_t one = 1;
	ssize_t n = write(redis->wake, &one, sizeof(one));

	(void)n; /* fails only when the counter is full: then it wakes anyway */
}

/* Opens the breaker. Who waits gets the fallback. */
static void break_off(struct redis *redis, const char *reason)
{
	redisContext *conn = redis->conn;

	redis->conn = NULL;
	tell_down(redis, reason);
	redisFree(conn);
	if (redis->options.shm)
		metrics_add(redis->options.shm, redis->opened, 1);
	atomic_store(&redis->steady, clock_mono_ms() - redis->adopted_ms >= STEADY_MS);
	atomic_store(&redis->wanted, true);
	tell_state(redis);
	wake_thread(redis);
	while (redis->head != redis->tail)
		complete(redis, place_at(redis, redis->head++), STATUS_UNAVAILABLE, OUTCOME_ERROR, (struct str){0});
	redis->unsent = redis->tail;
}

enum call { CALL_PLAIN, CALL_BY_HASH, CALL_WHOLE };

static bool append(struct redis *redis, enum call call, const struct str *args, int n)
{
	const char *argv[REDIS_ARGS + 2];
	size_t lengths[REDIS_ARGS + 2];
	int at = 0;

	if (call != CALL_PLAIN) {
		argv[at] = call == CALL_WHOLE ? "EVAL" : "EVALSHA";
		lengths[at] = strlen(argv[at]);
		argv[++at] = call == CALL_WHOLE ? redis->options.script : redis->hash;
		lengths[at] = strlen(argv[at]);
		at++;
	}
	for (int i = 0; i < n; i++) {
		argv[at] = args[i].n > 0 ? args[i].p : "";
		lengths[at++] = args[i].n;
	}
	return redisAppendCommandArgv(redis->conn, at, argv, lengths) == REDIS_OK;
}

static bool enqueue(struct redis *redis, struct redis_op *op, enum redis_use use, enum call call,
		    const struct str *args, int n)
{
	if (!redis->conn || under_way(redis) == REDIS_QUEUE || !append(redis, call, args, n))
		return false;
	*place_at(redis, redis->tail++) = (struct place){.op = op, .use = use};
	return true;
}

bool redis_submit(struct redis *redis, struct redis_op *op)
{
	if (enqueue(redis, op, op->use, op->script ? CALL_BY_HASH : CALL_PLAIN, op->args, op->args_n))
		return true;
	count(redis, op->use, OUTCOME_SKIPPED);
	return false;
}

bool redis_send(struct redis *redis, enum redis_use use, const struct str *args, int n)
{
	if (under_way(redis) < SEND_MAX && enqueue(redis, NULL, use, CALL_PLAIN, args, n))
		return true;
	count(redis, use, OUTCOME_SKIPPED);
	return false;
}

/* --- event thread: sending and receiving --- */

static void flush(struct redis *redis)
{
	int done = 0;
	uint64_t now_ns = clock_mono_ns();

	if (redisBufferWrite(redis->conn, &done) != REDIS_OK) {
		break_off(redis, "the connection broke");
		return;
	}
	/* The deadline of a command begins here, also when the socket did not take all of it. */
	while (redis->unsent != redis->tail)
		place_at(redis, redis->unsent++)->sent_ns = now_ns;
}

static int weight_of(const struct redis_op *op)
{
	return op && op->requests > 1 ? op->requests : 1;
}

static void fail(struct redis *redis, int weight, const char *reason)
{
	redis->failures += weight;
	if (redis->failures >= REDIS_FAILURES && redis->conn)
		break_off(redis, reason);
}

/* An error of Redis. Only its first word is told: some texts repeat what was sent. */
static void take_error(struct redis *redis, struct place place, const redisReply *reply)
{
	struct redis_op *op = place.op;
	char reason[64];

	if (op && op->script && strncmp(reply->str, "NOSCRIPT", 8) == 0 &&
	    enqueue(redis, op, op->use, CALL_WHOLE, op->args, op->args_n))
		return;
	snprintf(reason, sizeof(reason), "it answers %.*s", (int)strcspn(reply->str, " "), reply->str);
	int weight = weight_of(op);
	complete(redis, &place, STATUS_UNAVAILABLE, OUTCOME_ERROR, (struct str){0});
	fail(redis, weight, reason);
}

static void take_reply(struct redis *redis, const redisReply *reply, uint64_t now_ns)
{
	struct place place = *place_at(redis, redis->head++);

	if (redis->options.shm)
		metrics_observe(redis->options.shm, redis->round_trips[place.use],
				(double)(now_ns - place.sent_ns) / 1e9);
	if (reply->type == REDIS_REPLY_ERROR) {
		take_error(redis, place, reply);
		return;
	}
	redis->failures = 0;
	bool nil = reply->type == REDIS_REPLY_NIL;
	struct str text = {reply->str, reply->str ? reply->len : 0};
	complete(redis, &place, nil ? STATUS_NOT_FOUND : STATUS_OK, OUTCOME_OK, text);
}

/* Hands out what has been read. Anything that is no answer to a command ends the connection. */
static void take_replies(struct redis *redis)
{
	uint64_t now_ns = clock_mono_ns();
	void *reply = NULL;

	while (redis->conn && redisGetReplyFromReader(redis->conn, &reply) == REDIS_OK && reply) {
		if (redis->head == redis->unsent) {
			freeReplyObject(reply);
			break_off(redis, "it sent what nobody asked for");
			return;
		}
		take_reply(redis, reply, now_ns);
		freeReplyObject(reply);
		reply = NULL;
	}
	if (redis->conn && redis->conn->err)
		break_off(redis, "it sent what is no reply");
}

void redis_read(struct redis *redis)
{
	enum { ROUNDS = 64 }; /* of 16 KiB: the loop has other work, and comes again */

	for (int i = 0; redis->conn && i < ROUNDS; i++) {
		struct pollfd p = {.fd = redis->conn->fd, .events = POLLIN};
		if (i > 0 && poll(&p, 1, 0) != 1)
			break;
		if (redisBufferRead(redis->conn) != REDIS_OK) {
			break_off(redis, "the connection ended");
			return;
		}
		take_replies(redis);
	}
}

static uint64_t deadline_ns(const struct redis *redis)
{
	return redis->options.deadline_ms * 1000000u;
}

/* The oldest that was sent and still has somebody waiting; UINT64_MAX when there is none. */
static uint64_t oldest_sent_ns(const struct redis *redis)
{
	for (uint32_t i = redis->head; i != redis->unsent; i++)
		if (redis->ring[i % REDIS_QUEUE].op)
			return redis->ring[i % REDIS_QUEUE].sent_ns;
	return UINT64_MAX;
}

static void expire(struct redis *redis, uint64_t now_ns)
{
	uint32_t end = redis->unsent;

	for (uint32_t i = redis->head; redis->conn && i != end; i++) {
		struct place *place = place_at(redis, i);
		if (now_ns - place->sent_ns < deadline_ns(redis))
			return;
		if (!place->op)
			continue;
		int weight = weight_of(place->op);
		complete(redis, place, STATUS_UNAVAILABLE, OUTCOME_TIMEOUT, (struct str){0});
		fail(redis, weight, "it does not answer in time");
	}
}

void redis_run(struct redis *redis, uint64_t now_ms)
{
	if (!redis->conn)
		return;
	if (redis->unsent != redis->tail || (redis->conn->obuf && redis->conn->obuf[0]))
		flush(redis);
	if (!redis->conn || under_way(redis) == 0)
		return;
	/* Before anything is called late: the event thread itself may have been. */
	uint64_t oldest = oldest_sent_ns(redis);
	if (oldest == UINT64_MAX || now_ms * 1000000u < oldest + deadline_ns(redis))
		return;
	redis_read(redis);
	if (redis->conn)
		expire(redis, clock_mono_ns());
}

int redis_wait_ms(const struct redis *redis, uint64_t now_ms, int most_ms)
{
	uint64_t oldest = redis->conn ? oldest_sent_ns(redis) : UINT64_MAX;

	if (redis->conn && redis->unsent != redis->tail)
		return 0;
	if (oldest == UINT64_MAX)
		return most_ms;
	uint64_t end_ms = (oldest + deadline_ns(redis)) / 1000000u + 1;
	if (end_ms <= now_ms)
		return 0;
	return end_ms - now_ms < (uint64_t)most_ms ? (int)(end_ms - now_ms) : most_ms;
}

int redis_fd(const struct redis *redis)
{
	return redis->epoll;
}

enum redis_state redis_state(const struct redis *redis)
{
	if (redis->conn)
		return REDIS_CLOSED;
	return atomic_load(&redis->half_open) ? REDIS_HALF_OPEN : REDIS_OPEN;
}

struct str redis_installation(const struct redis *redis)
{
	return str_of(redis->options.installation);
}

/* --- event thread: mail from the other half --- */

static struct redis *redis_of(struct mail *mail, size_t at)
{
	return (struct redis *)(void *)((char *)mail - at);
}

static void adopt(struct mail *mail)
{
	struct redis *redis = redis_of(mail, offsetof(struct redis, fresh_mail));
	struct epoll_event event = {.events = EPOLLIN};

	pthread_mutex_lock(&redis->lock);
	redisContext *fresh = redis->fresh;
	redis->fresh = NULL;
	pthread_mutex_unlock(&redis->lock);
	if (!fresh)
		return;
	atomic_store(&redis->half_open, false);
	if (epoll_ctl(redis->epoll, EPOLL_CTL_ADD, fresh->fd, &event) != 0) {
		redisFree(fresh);
		atomic_store(&redis->wanted, true);
		wake_thread(redis);
		return;
	}
	redis->conn = fresh;
	redis->adopted_ms = clock_mono_ms();
	redis->failures = 0;
	tell_state(redis);
	if (atomic_exchange(&redis->down_told, false))
		log_event(LOG_LEVEL_INFO, "Redis can be used again");
}

static void open_message(struct mail *mail)
{
	struct redis *redis = redis_of(mail, offsetof(struct redis, message_mail));

	pthread_mutex_lock(&redis->lock);
	redis->message_sent = false;
	pthread_mutex_unlock(&redis->lock);
	if (redis->options.on_change)
		redis->options.on_change(redis->options.arg);
}

/* --- connecting (the thread, and redis_publish) --- */

static struct timeval timeval_of(uint64_t ms)
{
	return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

/* Sends one command and waits; a text for an answer goes to `out` (may be NULL), if it has its length. False: *reason
 * says why, with no more than the first word of an error: some repeat what was sent. */
static bool ask_for(redisContext *conn, char reason[static REASON_BYTES], const char *what, int n, const char **argv,
		    char *out, size_t length)
{
	redisReply *reply = redisCommandArgv(conn, n, argv, NULL);

	if (!reply) {
		snprintf(reason, REASON_BYTES, "no answer to %s", what);
		return false;
	}
	bool good = reply->type != REDIS_REPLY_ERROR;
	if (!good)
		snprintf(reason, REASON_BYTES, "it answers %.*s to %s", (int)strcspn(reply->str, " "), reply->str,
			 what);
	if (good && out && (reply->type != REDIS_REPLY_STRING || reply->len != length))
		good = false;
	else if (good && out)
		memcpy(out, reply->str, length);
	freeReplyObject(reply);
	return good;
}

static bool ask(redisContext *conn, char reason[static REASON_BYTES], const char *what, int n, const char **argv)
{
	return ask_for(conn, reason, what, n, argv, NULL, 0);
}

static bool log_in(redisContext *conn, const struct redis_url *url, char reason[static REASON_BYTES])
{
	const char *both[] = {"AUTH", url->user, url->password}, *one[] = {"AUTH", url->password};
	char digits[16];
	const char *select[] = {"SELECT", digits};

	snprintf(digits, sizeof(digits), "%d", url->db);
	if (url->user[0] && !ask(conn, reason, "the login", 3, both))
		return false;
	if (!url->user[0] && url->password[0] && !ask(conn, reason, "the password", 2, one))
		return false;
	return url->db == 0 || ask(conn, reason, "the choice of a database", 2, select);
}

/* A connection that is logged in, blocking, with that time limit on every answer. NULL: *reason says why. */
static redisContext *connect_to(const struct redis_url *url, uint64_t answer_ms, char reason[static REASON_BYTES])
{
	redisContext *conn;

	if (url->path[0])
		conn = redisConnectUnixWithTimeout(url->path, timeval_of(CONNECT_MS));
	else
		conn = redisConnectWithTimeout(url->host, url->port, timeval_of(CONNECT_MS));
	if (!conn || conn->err) {
		snprintf(reason, REASON_BYTES, "no connection: %.100s", conn ? conn->errstr : "out of memory");
		if (conn)
			redisFree(conn);
		return NULL;
	}
	fcntl(conn->fd, F_SETFD, FD_CLOEXEC);
	if (!url->path[0])
		redisEnableKeepAlive(conn);
	if (redisSetTimeout(conn, timeval_of(answer_ms)) == REDIS_OK && log_in(conn, url, reason))
		return conn;
	redisFree(conn);
	return NULL;
}

enum status redis_publish(const struct redis_url *url, const char *installation, struct err *err)
{
	char reason[REASON_BYTES] = "", channel[48];
	const char *publish[] = {"PUBLISH", channel, "keys"};
	void (*old)(int) = signal(SIGPIPE, SIG_IGN); /* a connection that ends is no reason to end */
	redisContext *conn = connect_to(url, CONNECT_MS, reason);

	snprintf(channel, sizeof(channel), "appcore:%s", installation);
	bool good = conn && ask(conn, reason, "a message", 3, publish);
	if (conn)
		redisFree(conn);
	signal(SIGPIPE, old);
	return good ? STATUS_OK : err_set(err, STATUS_UNAVAILABLE, "Redis can't be used now (%s).", reason);
}

/* --- the thread --- */

/* The delay doubles; the jitter keeps workers that lost Redis together from coming back together. */
static uint64_t back_off(int *backoff_ms, uint64_t now_ms)
{
	uint64_t delay = (uint64_t)*backoff_ms / 2 + randombytes_uniform((uint32_t)*backoff_ms);

	*backoff_ms = 2 * *backoff_ms < BACKOFF_MAX_MS ? 2 * *backoff_ms : BACKOFF_MAX_MS;
	return now_ms + delay;
}

/* The probe: everything a request would want of it, within a request's deadline. */
static bool prove(struct redis *redis, redisContext *conn)
{
	const char *load[] = {"SCRIPT", "LOAD", redis->options.script}, *ping[] = {"PING"};
	int flags = fcntl(conn->fd, F_GETFL);
	char hash[sizeof(redis->hash)] = "";

	if (redis->options.script && !ask_for(conn, redis->reason, "the script", 3, load, hash, sizeof(hash) - 1))
		return false;
	if (!ask(conn, redis->reason, "PING", 1, ping))
		return false;
	if (!redis->hash[0])
		memcpy(redis->hash, hash, sizeof(hash));
	conn->flags &= ~REDIS_BLOCK;
	return flags >= 0 && fcntl(conn->fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static void send_mail(struct redis *redis, struct mail *mail, void (*open)(struct mail *mail))
{
	*mail = (struct mail){.open = open};
	mailbox_send(redis->options.mailbox, mail);
}

static void try_to_connect(struct redis *redis)
{
	if (atomic_exchange(&redis->steady, false))
		redis->backoff_ms = BACKOFF_MIN_MS;
	atomic_store(&redis->half_open, true);
	redisContext *conn = connect_to(&redis->options.url, redis->options.deadline_ms, redis->reason);
	if (!conn || !prove(redis, conn)) {
		if (conn)
			redisFree(conn);
		atomic_store(&redis->half_open, false);
		tell_down(redis, redis->reason);
		redis->try_ms = back_off(&redis->backoff_ms, clock_mono_ms());
		return;
	}
	/* The next connection, should this one break soon, has to wait for its turn as well. */
	redis->try_ms = back_off(&redis->backoff_ms, clock_mono_ms());
	atomic_store(&redis->wanted, false);
	pthread_mutex_lock(&redis->lock);
	redis->fresh = conn;
	pthread_mutex_unlock(&redis->lock);
	send_mail(redis, &redis->fresh_mail, adopt);
}

/* Something changed, or may have while nobody listened. */
static void tell_change(struct redis *redis)
{
	pthread_mutex_lock(&redis->lock);
	bool send = !redis->message_sent;
	redis->message_sent = true;
	pthread_mutex_unlock(&redis->lock);
	if (send)
		send_mail(redis, &redis->message_mail, open_message);
}

static void stop_listening(struct redis *redis)
{
	if (redis->listener)
		redisFree(redis->listener);
	redis->listener = NULL;
	redis->listen_ms = back_off(&redis->listen_backoff_ms, clock_mono_ms());
}

static void try_to_listen(struct redis *redis)
{
	char reason[REASON_BYTES];
	const char *subscribe[] = {"SUBSCRIBE", redis->channel};

	redis->listener = connect_to(&redis->options.url, CONNECT_MS, reason);
	if (!redis->listener || !ask(redis->listener, reason, "SUBSCRIBE", 2, subscribe)) {
		stop_listening(redis);
		return;
	}
	redis->heard_ms = redis->pinged_ms = clock_mono_ms();
	tell_change(redis);
}

static bool is_message(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
	       reply->element[0]->type == REDIS_REPLY_STRING && strcmp(reply->element[0]->str, "message") == 0;
}

static void hear(struct redis *redis)
{
	void *reply = NULL;
	bool message = false;

	if (redisBufferRead(redis->listener) != REDIS_OK) {
		stop_listening(redis);
		return;
	}
	redis->heard_ms = clock_mono_ms();
	redis->listen_backoff_ms = BACKOFF_MIN_MS;
	while (redisGetReplyFromReader(redis->listener, &reply) == REDIS_OK && reply) {
		message |= is_message(reply);
		freeReplyObject(reply);
		reply = NULL;
	}
	if (message)
		tell_change(redis);
	if (redis->listener->err)
		stop_listening(redis);
}

static void keep_listening(struct redis *redis, uint64_t now_ms)
{
	int done = 0;

	if (now_ms - redis->heard_ms > SILENT_MS) {
		stop_listening(redis);
		return;
	}
	if (now_ms - redis->pinged_ms < PING_MS)
		return;
	redis->pinged_ms = now_ms;
	if (redisAppendCommand(redis->listener, "PING") != REDIS_OK ||
	    redisBufferWrite(redis->listener, &done) != REDIS_OK)
		stop_listening(redis);
}

static void wait_for_news(struct redis *redis)
{
	struct pollfd fds[2] = {{.fd = redis->wake, .events = POLLIN},
				{.fd = redis->listener ? redis->listener->fd : -1, .events = POLLIN}};
	uint64_t now_ms = clock_mono_ms(), next_ms = now_ms + PING_MS, n;

	if (!redis->listener && redis->listen_ms < next_ms)
		next_ms = redis->listen_ms;
	if (atomic_load(&redis->wanted) && redis->try_ms < next_ms)
		next_ms = redis->try_ms;
	poll(fds, 2, next_ms > now_ms ? (int)(next_ms - now_ms) : 0);
	if (fds[0].revents && read(redis->wake, &n, sizeof(n)) < 0)
		return;
	if (fds[1].revents)
		hear(redis);
}

/* Reads the address it was given and what Redis sends to listeners; writes `fresh` and mail; ends with `closing`. */
static void *redis_thread(void *arg)
{
	struct redis *redis = arg;

	while (!atomic_load(&redis->closing)) {
		uint64_t now_ms = clock_mono_ms();
		if (atomic_load(&redis->wanted) && now_ms >= redis->try_ms)
			try_to_connect(redis);
		else if (!redis->listener && now_ms >= redis->listen_ms)
			try_to_listen(redis);
		else
			wait_for_news(redis);
		if (redis->listener)
			keep_listening(redis, clock_mono_ms());
	}
	return NULL;
}

/* --- life --- */

static void find_series(struct redis *redis)
{
	struct shm *shm = redis->options.shm;

	for (int use = 0; use < REDIS_USE__MAX; use++) {
		struct metrics_label labels[] = {{"operation", str_of(USES[use])}, {"outcome", {0}}};
		redis->round_trips[use] = metrics_find(shm, METRICS_REDIS_ROUND_TRIP, labels, 1);
		for (int outcome = 0; outcome < OUTCOME__MAX; outcome++) {
			labels[1].value = str_of(OUTCOMES[outcome]);
			redis->counts[use][outcome] = metrics_find(shm, METRICS_REDIS_OPERATIONS, labels, 2);
		}
	}
	struct metrics_label instance = {"instance", str_of(redis->options.instance)};
	redis->gauge = metrics_find(shm, METRICS_REDIS_BREAKER, &instance, 1);
	redis->opened = metrics_find(shm, METRICS_REDIS_OPENED, &instance, 1);
}

static void release(struct redis *redis)
{
	if (redis->conn)
		redisFree(redis->conn);
	if (redis->fresh)
		redisFree(redis->fresh);
	if (redis->listener)
		redisFree(redis->listener);
	if (redis->epoll >= 0)
		close(redis->epoll);
	if (redis->wake >= 0)
		close(redis->wake);
	pthread_mutex_destroy(&redis->lock);
	sodium_memzero(&redis->options, sizeof(redis->options));
	free(redis->ring);
	free(redis);
}

enum status redis_open(struct redis **out, const struct redis_options *options, struct err *err)
{
	struct redis *redis = calloc(1, sizeof(*redis));

	*out = NULL;
	if (!redis)
		return err_set(err, STATUS_NO_MEMORY, "no memory for Redis");
	redis->options = *options;
	if (redis->options.deadline_ms == 0)
		redis->options.deadline_ms = REDIS_DEADLINE_MS;
	snprintf(redis->channel, sizeof(redis->channel), "appcore:%s", options->installation);
	redis->backoff_ms = redis->listen_backoff_ms = BACKOFF_MIN_MS;
	pthread_mutex_init(&redis->lock, NULL);
	redis->ring = calloc(REDIS_QUEUE, sizeof(*redis->ring));
	redis->epoll = epoll_create1(EPOLL_CLOEXEC);
	redis->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (options->shm)
		find_series(redis);
	atomic_store(&redis->wanted, true);
	tell_state(redis);
	if (!redis->ring || redis->epoll < 0 || redis->wake < 0 ||
	    pthread_create(&redis->thread, NULL, redis_thread, redis) != 0) {
		release(redis);
		return err_set(err, STATUS_UNAVAILABLE, "the thread for Redis can't be started");
	}
	pthread_setname_np(redis->thread, "redis");
	*out = redis;
	return STATUS_OK;
}

void redis_close(struct redis *redis)
{
	if (!redis)
		return;
	atomic_store(&redis->closing, true);
	wake_thread(redis);
	pthread_join(redis->thread, NULL);
	mailbox_drain(redis->options.mailbox);
	release(redis);
}
