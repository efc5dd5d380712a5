/* Sessions whose client has gone silent in a transaction: a process that is stopped, a machine that vanished.
 *
 * The server's own limit (idle_in_transaction_session_timeout) does not count between statements that were sent without
 * a sync behind them, as write transactions send theirs (db_pg_pipeline.c): to the server such a session is active, and
 * it keeps its locks for as long as the other end exists. Through a pooler there is no such limit at all. So whoever
 * lives looks for them.
 *
 * Only what is ours is ended: of this role, in this database, by its name. A transaction that has written nothing keeps
 * nobody waiting (it may send a long list to a slow reader); COPY is fed at its client's pace. */
#include "store/db_pg_impl.h"

#include <stdio.h>

enum status pg_end_stalled(struct db *base, int after_ms, struct db_stalled *out, struct err *err)
{
	static const char sql[] =
		"SELECT pg_terminate_backend(a.pid), a.pid,"
		" coalesce(host(a.client_addr) || ':' || a.client_port, 'a local socket')"
		" FROM pg_stat_activity a WHERE a.application_name = '" PG_APPLICATION "'"
		" AND a.usename = current_user AND a.datname = current_database() AND a.pid <> pg_backend_pid()"
		" AND a.backend_type = 'client backend' AND a.xact_start IS NOT NULL AND a.wait_event_type = 'Client'"
		" AND a.state_change < clock_timestamp() - $1 * interval '1 millisecond' AND a.query !~* '^\\s*copy\\M'"
		" AND (a.backend_xid IS NOT NULL OR EXISTS (SELECT 1 FROM pg_locks l"
		" WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted))";
	struct stmt *stmt;
	bool row = true;

	enum status status = db_prepare(base, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, after_ms);
	while ((status = db_step(stmt, &row, err)) == STATUS_OK && row) {
		if (out->ended++ > 0)
			continue;
		out->pid = db_column_i64(stmt, 1);
		db_column_copy(stmt, 2, out->client, sizeof(out->client));
	}
	db_reset(stmt);
	return status;
}
