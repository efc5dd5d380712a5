/* The connection to PostgreSQL: where it goes, what is asked of the server, what its errors mean, and how long anybody
 * waits for it.
 *
 * libpq reads the URL itself (several hosts, target_session_attrs, sslmode, password files …). Ours are the time
 * limits: a host has two seconds to take a connection, TCP gives up after five without an acknowledgement, and a server
 * that is silent in the middle of a statement is left. The server, too, is told to let go: it looks after five seconds
 * of silence whether our machine is still there, and a transaction that is idle for ten seconds ends, so that what a
 * cut-off worker had begun does not hold its rows for hours. (One that is stopped is not always idle: db_pg_stalled.c.)
 *
 * A pooler that does not know the start-up parameter "options" (PgBouncer), or drops it, is recognised by that; in
 * transaction mode it gives every transaction another server, so statements are not prepared by name there. Where
 * options do pass, but names do not survive, the first statement that misses its name tells. */
#include "store/db_pg_impl.h"

#include "base/clock.h"

#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RETRY_FIRST_MS = 100, RETRY_LAST_MS = 800, CANCEL_S = 1, ANSWER_MS = 2000 /* of a new connection */ };

static const char OPTIONS[] = "-c idle_in_transaction_session_timeout=" PG_IDLE_TIMEOUT
			      " -c lock_timeout=" PG_LOCK_TIMEOUT
			      " -c statement_timeout=0 -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2"
			      " -c tcp_keepalives_count=3";

/* --- errors --- */

/* The first line of libpq's text, without its "ERROR:" and its prefix; whatever it says, never a password: those that
 * could quote a malformed URL are not printed (pg_check_url). */
static void first_line(const char *text, char *out, size_t size)
{
	static const char *const prefixes[] = {"ERROR:  ", "FATAL:  ", "PANIC:  "};
	const char *start = text ? text : "";

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		const char *found = strstr(start, prefixes[i]);
		if (found)
			start = found + strlen(prefixes[i]);
	}
	size_t n = strcspn(start, "\n");
	snprintf(out, size, "%.*s", (int)(n < 200 ? n : 200), start);
}

struct sqlstate {
	const char *prefix; /* of the SQLSTATE: a class or a whole code; the first that fits counts */
	enum status status;
	bool leave; /* another connection may do better */
};

/* https://www.postgresql.org/docs/current/errcodes-appendix.html */
static const struct sqlstate SQLSTATES[] = {
	{"08", STATUS_UNAVAILABLE, true},     /* connection exceptions */
	{"57P", STATUS_UNAVAILABLE, true},    /* shutting down, not yet accepting */
	{"25006", STATUS_UNAVAILABLE, true},  /* read-only: this is a standby now */
	{"25P03", STATUS_UNAVAILABLE, true},  /* idle in a transaction for too long */
	{"26000", STATUS_BUSY, false},        /* a prepared statement that is not there (a pooler) */
	{"42P05", STATUS_BUSY, false},        /* one that is there already */
	{"40", STATUS_BUSY, false},           /* serialisation, deadlock */
	{"55P03", STATUS_BUSY, false},        /* a lock did not come in time */
	{"57014", STATUS_BUSY, false},        /* cancelled */
	{"53", STATUS_UNAVAILABLE, false},    /* disk full, out of memory, too many connections */
	{"54", STATUS_TOO_LARGE, false},      /* a limit of the server's */
	{"58", STATUS_UNAVAILABLE, false},    /* its I/O */
	{"XX", STATUS_UNAVAILABLE, false},    /* damaged */
	{"23", STATUS_CONFLICT, false},       /* constraints */
	{"22", STATUS_INVALID, false},        /* data that it can't take */
	{"42501", STATUS_UNAVAILABLE, false}, /* no right */
	{"42P01", STATUS_UNAVAILABLE, false}, /* no such table */
};

enum status pg_fail(struct pg_db *db, const PGresult *result, struct err *err)
{
	const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *message = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	char text[201];

	if (!message)
		message = db->conn ? PQerrorMessage(db->conn) : "not connected";
	first_line(message, text, sizeof(text));
	if (state && (strcmp(state, "26000") == 0 || strcmp(state, "42P05") == 0))
		db->anonymous = true;
	for (size_t i = 0; state && i < sizeof(SQLSTATES) / sizeof(SQLSTATES[0]); i++) {
		if (strncmp(state, SQLSTATES[i].prefix, strlen(SQLSTATES[i].prefix)) != 0)
			continue;
		if (SQLSTATES[i].leave)
			db->lost = true;
		return err_set(err, SQLSTATES[i].status, "PostgreSQL: %s (%s)", text, state);
	}
	if (!state) {
		db->lost = true;
		return err_set(err, STATUS_UNAVAILABLE, "PostgreSQL: %s", text[0] ? text : "the connection was lost");
	}
	return err_set(err, STATUS_INTERNAL, "PostgreSQL: %s (%s)", text, state);
}

/* --- the URL --- */

/* What is not a number in the place of a port, or an "@" outside of its place, is most likely a piece of a password
 * that should have been written with %40 and the like: libpq's errors would print it. */
static bool looks_whole(const char *url)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);
	bool good = options != NULL;

	for (const PQconninfoOption *o = options; o && o->keyword; o++) {
		if (!o->val)
			continue;
		if (strcmp(o->keyword, "port") == 0)
			good = good && strspn(o->val, "0123456789,") == strlen(o->val);
		else if (strcmp(o->keyword, "dbname") == 0 || strcmp(o->keyword, "host") == 0)
			good = good && !strchr(o->val, '@');
	}
	PQconninfoFree(options);
	return good;
}

enum status pg_check_url(struct str url, struct err *err)
{
	char *copy = strndup(url.p, url.n);
	bool good = copy && strlen(copy) == url.n && looks_whole(copy);
	int ats = 0;

	for (size_t i = 0; i < url.n && url.p[i] != '?'; i++)
		ats += url.p[i] == '@';
	free(copy);
	return good && ats <= 1
		       ? STATUS_OK
		       : err_set(err, STATUS_INVALID,
				 "the database URL is no PostgreSQL URL: use "
				 "postgresql://user:password@host:5432/database, with %%40 for an @ in the password");
}

/* The options of the URL, or NULL; caller frees with free. */
static char *option_of(const char *url, const char *keyword)
{
	PQconninfoOption *options = PQconninfoParse(url, NULL);
	char *value = NULL;

	for (PQconninfoOption *o = options; o && o->keyword; o++)
		if (!value && strcmp(o->keyword, keyword) == 0 && o->val && o->val[0])
			value = strdup(o->val);
	PQconninfoFree(options);
	return value;
}

/* --- connecting --- */

/* Of several hosts the primary, for reads too: they must see what was written. */
static bool wants_primary(const struct pg_db *db)
{
	char *hosts = option_of(db->url, "host");
	char *attrs = option_of(db->url, "target_session_attrs");
	bool several = hosts && strchr(hosts, ',');
	/* libpq does not take a session that was asked to be read-only for one that is read-write. */
	bool reads_there = attrs && strcmp(attrs, "read-write") == 0 && db->mode == DB_READ;
	bool wants = attrs ? reads_there : several;

	free(hosts);
	free(attrs);
	return wants;
}

static PGconn *start(const struct pg_db *db, bool with_options, bool primary)
{
	char *own = option_of(db->url, "options");
	char *timeout = option_of(db->url, "connect_timeout");
	char all[1024];

	snprintf(all, sizeof(all), "%s%s %s", with_options ? OPTIONS : "",
		 with_options && db->mode == DB_READ ? " -c default_transaction_read_only=on" : "", own ? own : "");
	const char *const keywords[] = {
		"dbname",
		"application_name", /* a restore asks by it who is there */
		"client_encoding",
		"connect_timeout",
		"tcp_user_timeout",
		"keepalives_idle",
		"keepalives_interval",
		"keepalives_count",
		"options",
		primary ? "target_session_attrs" : NULL,
		NULL,
	};
	const char *const values[] = {
		db->url,
		PG_APPLICATION,
		"UTF8",
		timeout ? timeout : "2",
		"5000",
		"5",
		"2",
		"3",
		with_options || own ? all : NULL,
		primary ? "primary" : NULL,
		NULL,
	};
	PGconn *conn = PQconnectdbParams(keywords, values, 1);
	free(own);
	free(timeout);
	return conn;
}

static void ignore_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

enum status pg_simple(struct pg_db *db, const char *sql, int timeout_ms, struct err *err)
{
	enum status status = STATUS_OK;
	PGresult *result;

	if (!PQsendQuery(db->conn, sql))
		return pg_fail(db, NULL, err);
	for (;;) {
		if (!pg_wait(db, timeout_ms, err))
			return STATUS_UNAVAILABLE;
		result = PQgetResult(db->conn);
		if (!result)
			return status;
		ExecStatusType type = PQresultStatus(result);
		if (type != PGRES_COMMAND_OK && type != PGRES_TUPLES_OK && type != PGRES_EMPTY_QUERY &&
		    status == STATUS_OK)
			status = pg_fail(db, result, err);
		PQclear(result);
	}
}

/* Can we live with this server? `asked`: OPTIONS were passed on, and nothing of the URL's came after them. */
static enum status check_server(struct pg_db *db, bool asked, struct err *err)
{
	static const char sql[] = "SELECT current_setting('server_version_num'), current_setting('synchronous_commit'),"
				  " pg_is_in_recovery(), current_setting('server_encoding'),"
				  " current_setting('lock_timeout')";

	if (PQserverVersion(db->conn) < PG_VERSION_MIN)
		return err_set(err, STATUS_INVALID, "PostgreSQL %d is too old: %d or newer is needed",
			       PQserverVersion(db->conn) / 10000, PG_VERSION_MIN / 10000);
	if (!PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 0) || !pg_wait(db, ANSWER_MS, err))
		return STATUS_UNAVAILABLE;
	PGresult *result = PQgetResult(db->conn);
	enum status status = STATUS_OK;
	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		status = pg_fail(db, result, err);
	} else {
		const char *sync = PQgetvalue(result, 0, 1), *encoding = PQgetvalue(result, 0, 3);
		db->make_durable = strcmp(sync, "off") == 0;
		if (asked && strcmp(PQgetvalue(result, 0, 4), PG_LOCK_TIMEOUT) != 0)
			db->anonymous = true;
		if (strcmp(encoding, "UTF8") != 0)
			status = err_set(err, STATUS_INVALID, "the database's encoding is %.40s: it must be UTF8",
					 encoding);
		else if (db->mode == DB_WRITE && PQgetvalue(result, 0, 2)[0] == 't')
			status = err_set(err, STATUS_UNAVAILABLE,
					 "PostgreSQL: this server is a standby and takes no writes");
	}
	PQclear(result);
	while (pg_wait(db, ANSWER_MS, NULL) && (result = PQgetResult(db->conn)))
		PQclear(result);
	return status;
}

static void note_place(struct pg_db *db)
{
	snprintf(db->place, sizeof(db->place), "%s:%s/%s", PQhost(db->conn) ? PQhost(db->conn) : "",
		 PQport(db->conn) ? PQport(db->conn) : "", PQdb(db->conn) ? PQdb(db->conn) : "");
}

static enum status try_connect(struct pg_db *db, struct err *err)
{
	bool primary = wants_primary(db);
	char text[201];

	db->conn = start(db, true, primary);
	if (db->conn && PQstatus(db->conn) != CONNECTION_OK &&
	    strstr(PQerrorMessage(db->conn), "unsupported startup parameter")) {
		PQfinish(db->conn);
		db->conn = start(db, false, primary);
		db->anonymous = true;
	}
	/* To read, any is better than none. */
	if (db->conn && PQstatus(db->conn) != CONNECTION_OK && db->mode == DB_READ && primary) {
		PQfinish(db->conn);
		db->conn = start(db, !db->anonymous, false);
	}
	if (!db->conn)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a connection to PostgreSQL");
	if (PQstatus(db->conn) != CONNECTION_OK) {
		first_line(PQerrorMessage(db->conn), text, sizeof(text));
		return err_set(err, STATUS_UNAVAILABLE, "PostgreSQL can't be reached: %s", text);
	}
	PQsetNoticeReceiver(db->conn, ignore_notice, NULL);
	PQsetnonblocking(db->conn, 1);
	note_place(db);
	db->number++;
	db->plans_ms = clock_mono_ms() + PG_PLANS_MS;
	char *own = option_of(db->url, "options");
	bool asked = !own && !db->anonymous;
	free(own);
	return check_server(db, asked, err);
}

void pg_disconnect(struct pg_db *db)
{
	if (db->conn)
		PQfinish(db->conn);
	db->conn = NULL;
	db->pipelined = db->unflushed = false;
	db->unnamed = NULL;
	db->reading = NULL;
	db->sent_n = 0;
}

enum status pg_connect(struct pg_db *db, struct err *err)
{
	if (db->conn && PQstatus(db->conn) == CONNECTION_OK && !db->lost)
		return STATUS_OK;
	pg_disconnect(db);
	if (db->retry_ms > clock_mono_ms())
		return err_set(err, STATUS_UNAVAILABLE, "PostgreSQL can't be reached; the next try comes soon");
	db->lost = db->silent = false;
	enum status status = try_connect(db, err);
	if (status == STATUS_OK) {
		db->failures = 0;
		db->retry_ms = 0;
		return STATUS_OK;
	}
	pg_disconnect(db);
	uint32_t wait_ms = (uint32_t)RETRY_FIRST_MS << (db->failures < 5 ? db->failures : 5);
	if (wait_ms > RETRY_LAST_MS)
		wait_ms = RETRY_LAST_MS;
	db->failures++;
	/* Between half of it and all of it, so that many workers don't come at once. */
	db->retry_ms = clock_mono_ms() + wait_ms / 2 + randombytes_uniform(wait_ms / 2 + 1);
	return status;
}

bool pg_plans_are_old(struct pg_db *db)
{
	uint64_t now_ms = clock_mono_ms();

	if (db->anonymous || now_ms < db->plans_ms)
		return false;
	db->plans_ms = now_ms + PG_PLANS_MS;
	return true;
}

/* --- waiting --- */

static atomic_flag is_cancelling = ATOMIC_FLAG_INIT;

static void *send_cancel(void *arg)
{
	char ignored[256];

	PQcancel(arg, ignored, sizeof(ignored));
	PQfreeCancel(arg);
	atomic_flag_clear(&is_cancelling);
	return NULL;
}

/* The end of a connection does not end what the server computes for it. A server that is frozen answers this as little
 * as anything else, so a thread asks; one at a time. PgBouncer passes it on only while the client is there. Never in a
 * write transaction: a COMMIT that waits for a replica would be over, its rows be seen by the next try and be
 * acknowledged, and the replica not have them. */
static void cancel(struct pg_db *db)
{
	struct timespec end;
	pthread_t thread;

	if (db->pipelined || db->in_transaction || atomic_flag_test_and_set(&is_cancelling))
		return;
	PGcancel *handle = PQgetCancel(db->conn);
	if (!handle || pthread_create(&thread, NULL, send_cancel, handle) != 0) {
		PQfreeCancel(handle);
		atomic_flag_clear(&is_cancelling);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += CANCEL_S;
	if (pthread_timedjoin_np(thread, NULL, &end) != 0)
		pthread_detach(thread);
}

bool pg_wait(struct pg_db *db, int timeout_ms, struct err *err)
{
	uint64_t end = clock_mono_ms() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms);

	for (;;) {
		int unsent = PQflush(db->conn);
		if (unsent < 0)
			break;
		if (unsent == 0 && !PQisBusy(db->conn))
			return true;
		uint64_t now = clock_mono_ms();
		struct pollfd p = {.fd = PQsocket(db->conn), .events = (short)(POLLIN | (unsent ? POLLOUT : 0))};
		if (timeout_ms >= 0 && now >= end) {
			err_set(err, STATUS_UNAVAILABLE, "PostgreSQL did not answer in time");
			cancel(db);
			db->lost = db->silent = true;
			pg_disconnect(db);
			return false;
		}
		if (poll(&p, 1, timeout_ms < 0 ? -1 : (int)(end - now)) > 0 && (p.revents & ~POLLOUT) &&
		    !PQconsumeInput(db->conn))
			break;
	}
	pg_fail(db, NULL, err);
	db->lost = true;
	pg_disconnect(db);
	return false;
}
