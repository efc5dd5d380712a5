/* LISTEN: a connection that hears what transactions anywhere have said with NOTIFY when they were committed. */
#include "store/db_pg_impl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { PING_MS = 60 * 1000, ANSWER_MS = 5000 };

/* What was said before is heard by nobody: whoever begins to listen has to look for itself. */
static enum status begin(struct pg_db *db, const char *sql, bool *told, struct err *err)
{
	enum status status = pg_simple(db, sql, ANSWER_MS, err);

	if (status != STATUS_OK)
		return status;
	db->listens_in = db->number;
	*told = true;
	return STATUS_OK;
}

static enum status hear(struct pg_db *db, bool *told, struct err *err)
{
	PGnotify *said;

	if (!PQconsumeInput(db->conn)) {
		pg_disconnect(db);
		return err_set(err, STATUS_UNAVAILABLE, "PostgreSQL: the connection was lost");
	}
	while ((said = PQnotifies(db->conn))) {
		*told = true;
		PQfreemem(said);
	}
	return STATUS_OK;
}

enum status pg_listen(struct db *base, const char *sql, int stop_fd, bool *told, struct err *err)
{
	struct pg_db *db = (struct pg_db *)base;

	*told = false;
	enum status status = pg_connect(db, err);
	if (status != STATUS_OK)
		return status;
	/* A pooler's connection to the server is somebody else's with the next transaction. */
	if (db->anonymous)
		return err_set(err, STATUS_NOT_FOUND, "PostgreSQL: through a pooler nobody hears of changes");
	if (db->listens_in != db->number)
		return begin(db, sql, told, err);
	/* What came while something else was asked is there already. */
	status = hear(db, told, err);
	if (status != STATUS_OK || *told)
		return status;
	struct pollfd fds[] = {{.fd = PQsocket(db->conn), .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
	int ready = poll(fds, 2, PING_MS);
	if (ready < 0 && errno != EINTR)
		return err_set(err, STATUS_UNAVAILABLE, "poll: %s", strerror(errno));
	if (ready == 0) /* a server that is gone says nothing either */
		return pg_simple(db, "SELECT 1", ANSWER_MS, err);
	return ready > 0 && fds[0].revents ? hear(db, told, err) : STATUS_OK;
}
