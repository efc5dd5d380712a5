/* Redis over hiredis: two halves with one hand-over; this is the event thread's.
 *
 * The event thread has the connection for commands while the breaker is closed (`conn` is set). Commands under way are
 * a ring in the order in which they were sent, which is the order of the replies. One that is late is completed, and
 * leaves its place empty for the reply that may still come.
 *
 * The thread ("redis", redis_thread.c) has everything else. It makes a connection when the event thread wants one,
 * proves it (login, database, script, PING, each within the deadline) and leaves it in `fresh`; and it keeps a second
 * connection that listens for messages. That one is asked for a sign of life every second: a cut line must not look
 * like silence. */
#include "shared/redis_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
	STEADY_MS = 10 * 1000, /* a connection that held so long was a good one: back-off starts anew */
	CLOSE_MS = 2000,       /* for the thread to end */
	SEND_MAX = 256         /* under way, for a command that nobody waits for to be added: it may be long */
};

static const char *const OUTCOMES[] = {
	[REDIS_OUTCOME_OK] = "ok",
	[REDIS_OUTCOME_ERROR] = "error",
	[REDIS_OUTCOME_TIMEOUT] = "timeout",
	[REDIS_OUTCOME_SKIPPED] = "skipped",
};
_Static_assert(sizeof(OUTCOMES) / sizeof(OUTCOMES[0]) == REDIS_OUTCOME__MAX, "a name per outcome");

static const char *const USES[] = {
	[REDIS_LIMIT] = "limit",
	[REDIS_CACHE_GET] = "cache_get",
	[REDIS_CACHE_SET] = "cache_set",
};
_Static_assert(sizeof(USES) / sizeof(USES[0]) == REDIS_USE__MAX, "a name per use");

static void count(struct redis *redis, enum redis_use use, enum redis_outcome outcome)
{
	if (redis->options.shm)
		metrics_add(redis->options.shm, redis->counts[use][outcome], 1);
}

void redis_show_state(struct redis *redis, enum redis_state state)
{
	if (redis->options.shm)
		metrics_set(redis->options.shm, redis->gauge, state);
}

/* Once per outage, from whichever half sees it first. */
void redis_tell_down(struct redis *redis, const char *reason)
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

static void complete(struct redis *redis, struct place *place, enum status status, enum redis_outcome outcome,
		     struct str reply)
{
	struct redis_op *op = place->op;

	place->op = NULL;
	if (!place->late)
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
	redis->unwritten = false;
	redis_tell_down(redis, reason);
	redisFree(conn);
	if (redis->options.shm)
		metrics_add(redis->options.shm, redis->opened, 1);
	atomic_store(&redis->steady, clock_mono_ms() - redis->adopted_ms >= STEADY_MS);
	redis_show_state(redis, REDIS_OPEN);
	atomic_store(&redis->wanted, true);
	wake_thread(redis);
	while (redis->head != redis->tail)
		complete(redis, place_at(redis, redis->head++), STATUS_UNAVAILABLE, REDIS_OUTCOME_ERROR,
			 (struct str){0});
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
	*place_at(redis, redis->tail++) = (struct place){.op = op, .use = use, .whole = call == CALL_WHOLE};
	return true;
}

bool redis_submit(struct redis *redis, struct redis_op *op)
{
	if (enqueue(redis, op, op->use, op->script ? CALL_BY_HASH : CALL_PLAIN, op->args, op->args_n))
		return true;
	count(redis, op->use, REDIS_OUTCOME_SKIPPED);
	return false;
}

bool redis_send(struct redis *redis, enum redis_use use, const struct str *args, int n)
{
	if (under_way(redis) < SEND_MAX && enqueue(redis, NULL, use, CALL_PLAIN, args, n))
		return true;
	count(redis, use, REDIS_OUTCOME_SKIPPED);
	return false;
}

/* --- event thread: sending and receiving --- */

static uint64_t deadline_ns(const struct redis *redis, const struct redis_op *op)
{
	return (op && op->within_ms > 0 ? op->within_ms : redis->options.deadline_ms) * 1000000u;
}

/* Has the loop wake also when the socket has room again, for as long as something waits for it. */
static void watch(struct redis *redis, bool unwritten)
{
	struct epoll_event event = {.events = unwritten ? EPOLLIN | EPOLLOUT : EPOLLIN};

	if (unwritten != redis->unwritten)
		(void)epoll_ctl(redis->epoll, EPOLL_CTL_MOD, redis->conn->fd, &event);
	redis->unwritten = unwritten;
}

static void flush(struct redis *redis)
{
	int done = 0;
	uint64_t now_ns = clock_mono_ns();

	if (redisBufferWrite(redis->conn, &done) != REDIS_OK) {
		break_off(redis, "the connection broke");
		return;
	}
	watch(redis, !done);
	/* The deadline of a command begins here, also when the socket did not take all of it. */
	for (; redis->unsent != redis->tail; redis->unsent++) {
		struct place *place = place_at(redis, redis->unsent);
		if (place->sent_ns > 0)
			continue; /* a script sent once more: its time goes on */
		place->sent_ns = now_ns;
		place->due_ns = now_ns + deadline_ns(redis, place->op);
	}
}

static int weight_of(const struct redis_op *op)
{
	return op->requests > 1 ? op->requests : 1;
}

static void fail(struct redis *redis, enum redis_use use, int weight, const char *reason)
{
	redis->failures[use] += weight;
	if (redis->failures[use] >= REDIS_FAILURES && redis->conn)
		break_off(redis, reason);
}

/* An error of Redis. Only its first word is told: some texts repeat what was sent. */
static void take_error(struct redis *redis, struct place place, const redisReply *reply)
{
	struct redis_op *op = place.op;
	char reason[64];

	if (op && op->script && !place.whole && strncmp(reply->str, "NOSCRIPT", 8) == 0 &&
	    enqueue(redis, op, op->use, CALL_WHOLE, op->args, op->args_n)) {
		struct place *again = place_at(redis, redis->tail - 1);
		again->sent_ns = place.sent_ns;
		again->due_ns = place.due_ns;
		return;
	}
	snprintf(reason, sizeof(reason), "it answers %.*s", (int)strcspn(reply->str, " "), reply->str);
	int weight = op ? weight_of(op) : 0;
	complete(redis, &place, STATUS_UNAVAILABLE, REDIS_OUTCOME_ERROR, (struct str){0});
	fail(redis, place.use, weight, reason);
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
	if (place.op)
		redis->failures[place.use] = 0;
	bool nil = reply->type == REDIS_REPLY_NIL;
	struct str text = {reply->str, reply->str ? reply->len : 0};
	complete(redis, &place, nil ? STATUS_NOT_FOUND : STATUS_OK, REDIS_OUTCOME_OK, text);
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
	if (redis->conn && redis->conn->reader->len > REDIS_REPLY_MAX)
		break_off(redis, "it sent a reply without end");
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

/* When the next that was sent and still has somebody waiting is late; UINT64_MAX when there is none. */
static uint64_t next_due_ns(const struct redis *redis)
{
	uint64_t next_ns = UINT64_MAX;

	for (uint32_t i = redis->head; i != redis->unsent; i++) {
		const struct place *place = &redis->ring[i % REDIS_QUEUE];
		if (place->op && place->due_ns < next_ns)
			next_ns = place->due_ns;
	}
	return next_ns;
}

static void expire(struct redis *redis, uint64_t now_ns)
{
	uint32_t end = redis->unsent;

	for (uint32_t i = redis->head; redis->conn && i != end; i++) {
		struct place *place = place_at(redis, i);
		if (!place->op || now_ns < place->due_ns)
			continue;
		/* Who had less time than others says nothing about Redis. */
		int weight = place->op->within_ms > 0 ? 0 : weight_of(place->op);
		enum redis_use use = place->use;
		complete(redis, place, STATUS_UNAVAILABLE, REDIS_OUTCOME_TIMEOUT, (struct str){0});
		place->late = true;
		fail(redis, use, weight, "it does not answer in time");
	}
}

void redis_run(struct redis *redis, uint64_t now_ms)
{
	if (!redis->conn)
		return;
	if (redis->unsent != redis->tail || redis->unwritten)
		flush(redis);
	if (!redis->conn || under_way(redis) == 0)
		return;
	/* Before anything is called late: the event thread itself may have been. */
	if (now_ms * 1000000u < next_due_ns(redis))
		return;
	redis_read(redis);
	if (redis->conn)
		expire(redis, clock_mono_ns());
}

int redis_wait_ms(const struct redis *redis, uint64_t now_ms, int most_ms)
{
	uint64_t due_ns = redis->conn ? next_due_ns(redis) : UINT64_MAX;

	if (redis->conn && redis->unsent != redis->tail)
		return 0;
	if (due_ns == UINT64_MAX)
		return most_ms;
	uint64_t end_ms = due_ns / 1000000u + 1;
	if (end_ms <= now_ms)
		return 0;
	return end_ms - now_ms < (uint64_t)most_ms ? (int)(end_ms - now_ms) : most_ms;
}

uint64_t redis_deadline_ms(const struct redis *redis)
{
	return redis->options.deadline_ms;
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

void redis_adopt(struct mail *mail)
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
		redis_show_state(redis, REDIS_OPEN);
		atomic_store(&redis->wanted, true);
		wake_thread(redis);
		return;
	}
	redis->conn = fresh;
	redis->adopted_ms = clock_mono_ms();
	memset(redis->failures, 0, sizeof(redis->failures));
	redis_show_state(redis, REDIS_CLOSED);
	if (atomic_exchange(&redis->down_told, false))
		log_event(LOG_LEVEL_INFO, "Redis can be used again");
}

void redis_open_message(struct mail *mail)
{
	struct redis *redis = redis_of(mail, offsetof(struct redis, message_mail));

	pthread_mutex_lock(&redis->lock);
	redis->message_sent = false;
	pthread_mutex_unlock(&redis->lock);
	if (redis->options.on_change)
		redis->options.on_change(redis->options.arg);
}

/* --- life --- */

static void find_series(struct redis *redis)
{
	struct shm *shm = redis->options.shm;

	for (int use = 0; use < REDIS_USE__MAX; use++) {
		struct metrics_label labels[] = {{"operation", str_of(USES[use])}, {"outcome", {0}}};
		redis->round_trips[use] = metrics_find(shm, METRICS_REDIS_ROUND_TRIP, labels, 1);
		for (int outcome = 0; outcome < REDIS_OUTCOME__MAX; outcome++) {
			labels[1].value = str_of(OUTCOMES[outcome]);
			redis->counts[use][outcome] = metrics_find(shm, METRICS_REDIS_OPERATIONS, labels, 2);
		}
	}
	struct metrics_label instance = {"instance", str_of(redis->options.instance)};
	redis->gauge = metrics_find(shm, METRICS_REDIS_BREAKER, &instance, 1);
	redis->opened = metrics_find(shm, METRICS_REDIS_OPENED, &instance, 1);
}

void redis_release(struct redis *redis)
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
	redis->backoff_ms = redis->listen_backoff_ms = REDIS_BACKOFF_MIN_MS;
	pthread_mutex_init(&redis->lock, NULL);
	redis->ring = calloc(REDIS_QUEUE, sizeof(*redis->ring));
	redis->epoll = epoll_create1(EPOLL_CLOEXEC);
	redis->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (options->shm)
		find_series(redis);
	redis_show_state(redis, REDIS_OPEN);
	atomic_store(&redis->wanted, true);
	if (!redis->ring || redis->epoll < 0 || redis->wake < 0 ||
	    pthread_create(&redis->thread, NULL, redis_thread, redis) != 0) {
		redis_release(redis);
		return err_set(err, STATUS_UNAVAILABLE, "the thread for Redis can't be started");
	}
	pthread_setname_np(redis->thread, "redis");
	*out = redis;
	return STATUS_OK;
}

/* Waits for the thread, and leaves it behind when it waits for something else (a resolver takes as long as it likes).
 * False: it is left behind, and releases everything when it is through. */
static bool end_thread(struct redis *redis)
{
	struct timespec nap = {.tv_nsec = 1000000L};
	uint64_t give_up = clock_mono_ms() + CLOSE_MS;

	while (!atomic_load(&redis->ended) && clock_mono_ms() < give_up)
		nanosleep(&nap, NULL);
	pthread_mutex_lock(&redis->lock);
	bool ended = atomic_load(&redis->ended);
	redis->abandoned = !ended;
	if (!ended)
		pthread_detach(redis->thread);
	pthread_mutex_unlock(&redis->lock);
	if (ended)
		pthread_join(redis->thread, NULL);
	return ended;
}

void redis_close(struct redis *redis)
{
	if (!redis)
		return;
	struct mailbox *mailbox = redis->options.mailbox;
	pthread_mutex_lock(&redis->lock);
	atomic_store(&redis->closing, true);
	pthread_mutex_unlock(&redis->lock);
	wake_thread(redis);
	mailbox_drain(mailbox); /* the thread sends no more */
	if (end_thread(redis))
		redis_release(redis);
}
