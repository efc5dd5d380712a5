/* The thread ("redis"): makes the connection for commands when the event thread wants one, and proves it; keeps a
 * second one that listens for messages. */
#include "shared/redis_impl.h"

#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sodium.h>
#include <unistd.h>

enum { BACKOFF_MAX_MS = 2000, PING_MS = 1000, SILENT_MS = 2500 };

/* The delay doubles; the jitter keeps workers that lost Redis together from coming back together. */
static uint64_t back_off(int *backoff_ms, uint64_t now_ms)
{
	uint64_t delay = (uint64_t)*backoff_ms / 2 + randombytes_uniform((uint32_t)*backoff_ms);

	*backoff_ms = 2 * *backoff_ms < BACKOFF_MAX_MS ? 2 * *backoff_ms : BACKOFF_MAX_MS;
	return now_ms + delay;
}

/* A server may answer all that reads and refuse what writes: out of memory, a replica by now, a full disk. */
static bool prove_writes(struct redis *redis, redisContext *conn)
{
	enum { PROBE_ARGS = 8 };
	const struct redis_options *options = &redis->options;
	const char *argv[4 + PROBE_ARGS] = {"EVALSHA", redis->hash, "1"};
	size_t lengths[4 + PROBE_ARGS];
	char key[48];
	int n = 0;

	if (options->probe_n == 0)
		return true;
	snprintf(key, sizeof(key), "limit:%s:probe", options->installation);
	argv[3] = key;
	for (; n < 4; n++)
		lengths[n] = strlen(argv[n]);
	for (int i = 0; i < options->probe_n && i < PROBE_ARGS; i++, n++) {
		argv[n] = options->probe[i].p;
		lengths[n] = options->probe[i].n;
	}
	return redis_ask_sized(conn, redis->reason, "the script", n, argv, lengths);
}

/* The probe: everything a request would want of it, within a request's deadline. */
static bool prove(struct redis *redis, redisContext *conn)
{
	const char *load[] = {"SCRIPT", "LOAD", redis->options.script}, *ping[] = {"PING"};
	int flags = fcntl(conn->fd, F_GETFL);
	char hash[sizeof(redis->hash)] = "";

	if (redis->options.script && !redis_ask(conn, redis->reason, "the script", 3, load, hash, sizeof(hash) - 1))
		return false;
	if (!redis_ask(conn, redis->reason, "PING", 1, ping, NULL, 0))
		return false;
	if (!redis->hash[0])
		memcpy(redis->hash, hash, sizeof(hash));
	if (!prove_writes(redis, conn))
		return false;
	conn->flags &= ~REDIS_BLOCK;
	return flags >= 0 && fcntl(conn->fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* Under lock, and not while it is closing: what the mailbox, the metrics and the log belong to is gone then. */
static void send_mail(struct redis *redis, struct mail *mail, void (*open)(struct mail *mail))
{
	*mail = (struct mail){.open = open};
	mailbox_send(redis->options.mailbox, mail);
}

static void tell_half_open(struct redis *redis)
{
	pthread_mutex_lock(&redis->lock);
	atomic_store(&redis->half_open, true);
	if (!atomic_load(&redis->closing))
		redis_show_state(redis, REDIS_HALF_OPEN);
	pthread_mutex_unlock(&redis->lock);
}

static void tell_failure(struct redis *redis)
{
	pthread_mutex_lock(&redis->lock);
	atomic_store(&redis->half_open, false);
	if (!atomic_load(&redis->closing)) {
		redis_show_state(redis, REDIS_OPEN);
		redis_tell_down(redis, redis->reason);
	}
	pthread_mutex_unlock(&redis->lock);
}

/* Half open until the event thread has it. */
static void hand_over(struct redis *redis, redisContext *conn)
{
	atomic_store(&redis->wanted, false);
	pthread_mutex_lock(&redis->lock);
	redis->fresh = conn;
	if (!atomic_load(&redis->closing))
		send_mail(redis, &redis->fresh_mail, redis_adopt);
	pthread_mutex_unlock(&redis->lock);
}

static void try_to_connect(struct redis *redis)
{
	if (atomic_exchange(&redis->steady, false))
		redis->backoff_ms = REDIS_BACKOFF_MIN_MS;
	tell_half_open(redis);
	redisContext *conn = redis_connect_to(&redis->options.url, redis->options.deadline_ms, redis->reason);
	bool good = conn && prove(redis, conn);
	/* The next connection, should this one break soon, has to wait for its turn as well. */
	redis->try_ms = back_off(&redis->backoff_ms, clock_mono_ms());
	if (good) {
		hand_over(redis, conn);
		return;
	}
	if (conn)
		redisFree(conn);
	tell_failure(redis);
}

/* Something changed, or may have while nobody listened. */
static void tell_change(struct redis *redis)
{
	pthread_mutex_lock(&redis->lock);
	if (!redis->message_sent && !atomic_load(&redis->closing)) {
		redis->message_sent = true;
		send_mail(redis, &redis->message_mail, redis_open_message);
	}
	pthread_mutex_unlock(&redis->lock);
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
	char reason[REDIS_REASON_BYTES];
	const char *subscribe[] = {"SUBSCRIBE", redis->channel};

	redis->listener = redis_connect_to(&redis->options.url, REDIS_CONNECT_MS, reason);
	if (!redis->listener || !redis_ask(redis->listener, reason, "SUBSCRIBE", 2, subscribe, NULL, 0)) {
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
	redis->listen_backoff_ms = REDIS_BACKOFF_MIN_MS;
	while (redisGetReplyFromReader(redis->listener, &reply) == REDIS_OK && reply) {
		message |= is_message(reply);
		freeReplyObject(reply);
		reply = NULL;
	}
	if (message)
		tell_change(redis);
	if (redis->listener->err || redis->listener->reader->len > REDIS_REPLY_MAX)
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

/* Reads the address it was given and what Redis sends to listeners; writes `fresh` and mail; ends with `closing`, and
 * releases everything when nobody waited for that. */
void *redis_thread(void *arg)
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
	pthread_mutex_lock(&redis->lock);
	atomic_store(&redis->ended, true);
	bool abandoned = redis->abandoned;
	pthread_mutex_unlock(&redis->lock);
	if (abandoned)
		redis_release(redis);
	return NULL;
}
