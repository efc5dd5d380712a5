/* The server is asked over a connection of this file's own, not through the seam that is under test. A database costs
 * about 50 ms, so it is made only when it is asked for. */
#include "database.h"

#include "unit.h"

#include "store/generations.h"
#include "store/store.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { DATABASES = 256 };

static struct {
	char names[DATABASES][128]; /* empty: dropped */
	int n;
	PGconn *connection;
	pid_t owner; /* who asked first; children make and drop nothing */
} server;

static void fail(const char *what, const char *why)
{
	fflush(stdout); /* what CUnit has said so far */
	fprintf(stderr, "database: %s: %s\n", what, why);
	abort();
}

static const char *server_url(void)
{
	const char *url = getenv("TEST_DATABASE_SERVER");

	return url && url[0] ? url : NULL;
}

bool database_is_postgres(void)
{
	return server_url() != NULL;
}

/* "t<pid>_<i>" */
static void name_of(int i, char out[static 32])
{
	snprintf(out, 32, "t%d_%d", (int)server.owner, i);
}

/* Runs a statement about database i: its name stands between the two parts. */
static void run(const char *before, int i, const char *after)
{
	char name[32], sql[256], url[512];

	if (!server.connection) {
		snprintf(url, sizeof(url), "%s/postgres", server_url());
		server.connection = PQconnectdb(url);
		if (PQstatus(server.connection) != CONNECTION_OK)
			fail("TEST_DATABASE_SERVER", PQerrorMessage(server.connection));
	}
	name_of(i, name);
	snprintf(sql, sizeof(sql), "%s%s%s", before, name, after);
	PGresult *result = PQexec(server.connection, sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(sql, PQresultErrorMessage(result));
	PQclear(result);
}

/* Autovacuum is the superuser's: while it looks at the database, nobody else may end it. It looks briefly. */
static void drop(int i)
{
	enum { TRIES = 200, PAUSE_US = 100 * 1000 };
	char name[32], sql[256];

	name_of(i, name);
	snprintf(sql, sizeof(sql), "DROP DATABASE %s WITH (FORCE)", name);
	for (int tries = 1;; tries++) {
		PGresult *result = PQexec(server.connection, sql);
		bool dropped = PQresultStatus(result) == PGRES_COMMAND_OK;
		if (!dropped && tries == TRIES)
			fail(sql, PQresultErrorMessage(result));
		PQclear(result);
		if (dropped)
			return;
		usleep(PAUSE_US);
	}
}

static int find(const char *name)
{
	for (int i = 0; i < server.n; i++)
		if (strcmp(server.names[i], name) == 0)
			return i;
	return -1;
}

void database_drop(const char *name)
{
	int i = database_is_postgres() ? find(name) : -1;

	if (i < 0 || getpid() != server.owner)
		return;
	server.names[i][0] = '\0';
	drop(i);
}

static void drop_all(void)
{
	if (getpid() != server.owner)
		return;
	for (int i = 0; i < server.n; i++)
		if (server.names[i][0])
			drop(i);
	PQfinish(server.connection);
}

static int make(const char *name)
{
	int i = server.n;

	if (server.owner == 0) {
		server.owner = getpid();
		atexit(drop_all);
	}
	if (getpid() != server.owner)
		fail(name, "a child asks for a database that its parent has not asked for");
	if (i == DATABASES || strlen(name) >= sizeof(server.names[0]))
		fail(name, "too many databases, or too long a name");
	snprintf(server.names[i], sizeof(server.names[i]), "%s", name);
	server.n++;
	run("CREATE DATABASE ", i, "");
	return i;
}

struct str database_url(const char *name)
{
	static char url[1024];
	char database[32];

	if (!database_is_postgres()) {
		snprintf(url, sizeof(url), "sqlite:///%s/%s", unit_temp_dir(), name);
		return str_of(url);
	}
	int i = find(name);
	if (i < 0)
		i = make(name);
	name_of(i, database);
	snprintf(url, sizeof(url), "%s/%s", server_url(), database);
	return str_of(url);
}

void database_lose(const char *name, bool lost)
{
	char path[1024], aside[1040];

	if (database_is_postgres()) {
		run("ALTER DATABASE ", find(name), lost ? " ALLOW_CONNECTIONS false" : " ALLOW_CONNECTIONS true");
		if (lost)
			run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
			    " WHERE backend_type = 'client backend' AND datname = '",
			    find(name), "'");
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", unit_temp_dir(), name);
	snprintf(aside, sizeof(aside), "%s.lost", path);
	if (rename(lost ? path : aside, lost ? aside : path) != 0)
		fail(path, "cannot be renamed");
}

void database_hold(struct db *db, bool hold)
{
	static const char lock[] = "LOCK TABLE predictions, generations, api_keys, idempotency_keys IN EXCLUSIVE MODE";
	struct err err = {0};

	if (!hold) {
		if (database_is_postgres())
			db_rollback(db);
		db_turn_give(db);
		return;
	}
	if (db_turn_take(db, 10000, &err) != STATUS_OK)
		fail("turn", err.text);
	if (database_is_postgres() && (db_begin(db, &err) != STATUS_OK || db_script(db, lock, &err) != STATUS_OK))
		fail("locks", err.text);
}

static enum status run_plug(struct db *db, struct store_op *op, struct err *err)
{
	(void)op;
	return generations_bump(db, STR("plug"), err);
}

static void forget(struct store_op *op)
{
	(void)op;
}

/* Whether a statement waits for a lock that database_hold() has. */
static bool somebody_waits(void)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
		 "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
		 " WHERE NOT granted AND datname LIKE 't%d\\_%%'",
		 (int)server.owner);
	PGresult *result = PQexec(server.connection, sql);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(sql, PQresultErrorMessage(result));
	bool waits = strtol(PQgetvalue(result, 0, 0), NULL, 10) > 0;
	PQclear(result);
	return waits;
}

void database_plug(struct store *store)
{
	enum { WAIT_MS = 30 * 1000 };
	static struct store_op plug;

	if (!database_is_postgres())
		return;
	plug = (struct store_op){.run = run_plug, .done = forget};
	if (store_write(store, &plug) != STATUS_OK)
		fail("plug", "the store takes no write");
	while (store_queue_length(store) > 0)
		usleep(1000);
	for (int tries = 0; !somebody_waits(); tries++) {
		if (tries == WAIT_MS)
			fail("plug", "it does not wait");
		usleep(1000);
	}
}

bool database_skips(const char *why)
{
	if (!database_is_postgres())
		return false;
	printf("\nskip %s: %s: %s\n", CU_get_current_suite()->pName, CU_get_current_test()->pName, why);
	return true;
}
