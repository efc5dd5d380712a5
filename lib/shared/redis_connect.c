/* Making a connection, and asking on it one command at a time: for the thread, and for commands that publish. */
#include "shared/redis_impl.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

static struct timeval timeval_of(uint64_t ms)
{
	return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

static bool ask(redisContext *conn, char reason[static REDIS_REASON_BYTES], const char *what, int n, const char **argv,
		const size_t *lengths, char *out, size_t length)
{
	redisReply *reply = redisCommandArgv(conn, n, argv, lengths);

	if (!reply) {
		snprintf(reason, REDIS_REASON_BYTES, "no answer to %s", what);
		return false;
	}
	bool good = reply->type != REDIS_REPLY_ERROR;
	if (!good)
		snprintf(reason, REDIS_REASON_BYTES, "it answers %.*s to %s", (int)strcspn(reply->str, " "), reply->str,
			 what);
	if (good && out && (reply->type != REDIS_REPLY_STRING || reply->len != length))
		good = false;
	else if (good && out)
		memcpy(out, reply->str, length);
	freeReplyObject(reply);
	return good;
}

bool redis_ask(redisContext *conn, char reason[static REDIS_REASON_BYTES], const char *what, int n, const char **argv,
	       char *out, size_t length)
{
	return ask(conn, reason, what, n, argv, NULL, out, length);
}

bool redis_ask_sized(redisContext *conn, char reason[static REDIS_REASON_BYTES], const char *what, int n,
		     const char **argv, const size_t *lengths)
{
	return ask(conn, reason, what, n, argv, lengths, NULL, 0);
}

static bool log_in(redisContext *conn, const struct redis_url *url, char reason[static REDIS_REASON_BYTES])
{
	const char *both[] = {"AUTH", url->user, url->password}, *one[] = {"AUTH", url->password};
	char digits[16];
	const char *select[] = {"SELECT", digits};

	snprintf(digits, sizeof(digits), "%d", url->db);
	if (url->user[0] && !redis_ask(conn, reason, "the login", 3, both, NULL, 0))
		return false;
	if (!url->user[0] && url->password[0] && !redis_ask(conn, reason, "the password", 2, one, NULL, 0))
		return false;
	return url->db == 0 || redis_ask(conn, reason, "the choice of a database", 2, select, NULL, 0);
}

redisContext *redis_connect_to(const struct redis_url *url, uint64_t answer_ms, char reason[static REDIS_REASON_BYTES])
{
	redisContext *conn;

	if (url->path[0])
		conn = redisConnectUnixWithTimeout(url->path, timeval_of(REDIS_CONNECT_MS));
	else
		conn = redisConnectWithTimeout(url->host, url->port, timeval_of(REDIS_CONNECT_MS));
	if (!conn || conn->err) {
		snprintf(reason, REDIS_REASON_BYTES, "no connection: %.100s", conn ? conn->errstr : "out of memory");
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
	char reason[REDIS_REASON_BYTES] = "", channel[48];
	const char *publish[] = {"PUBLISH", channel, "keys"};
	void (*old)(int) = signal(SIGPIPE, SIG_IGN); /* a connection that ends is no reason to end */
	redisContext *conn = redis_connect_to(url, REDIS_CONNECT_MS, reason);

	snprintf(channel, sizeof(channel), "appcore:%s", installation);
	bool good = conn && redis_ask(conn, reason, "a message", 3, publish, NULL, 0);
	if (conn)
		redisFree(conn);
	signal(SIGPIPE, old);
	return good ? STATUS_OK : err_set(err, STATUS_UNAVAILABLE, "Redis can't be used now (%s).", reason);
}
