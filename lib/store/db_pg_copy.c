/* Many rows into a table of a PostgreSQL database: COPY in its binary form, which neither side has to read as text
 * (https://www.postgresql.org/docs/15/sql-copy.html, "Binary Format"). Rows are gathered in large blocks; while the
 * server takes one the caller fills the next, so both have a processor to themselves. */
#include "store/db_pg_impl.h"

#include "base/buf.h"

#include <endian.h>
#include <poll.h>
#include <stdlib.h>

enum { BLOCK_BYTES = 512 * 1024, SILENCE_MS = 60 * 1000 };

struct pg_copy {
	struct db_copy base;
	struct pg_db *db;
	struct buf block;
	int n;
};

static void put_i16(struct buf *buf, int16_t value)
{
	uint16_t wire = htobe16((uint16_t)value);

	buf_put(buf, &wire, sizeof(wire));
}

static void put_i32(struct buf *buf, int32_t value)
{
	uint32_t wire = htobe32((uint32_t)value);

	buf_put(buf, &wire, sizeof(wire));
}

static void put_word(struct buf *buf, uint64_t value)
{
	uint64_t wire = htobe64(value);

	put_i32(buf, (int32_t)sizeof(wire));
	buf_put(buf, &wire, sizeof(wire));
}

static void put_value(struct buf *buf, const struct db_value *value)
{
	uint64_t bits;

	if (value->null) {
		put_i32(buf, -1);
		return;
	}
	switch (value->type) {
	case DB_TEXT:
	case DB_BLOB:
		if (value->bytes.n > INT32_MAX / 2) {
			buf->failed = true;
			return;
		}
		put_i32(buf, (int32_t)value->bytes.n);
		buf_str(buf, value->bytes);
		return;
	case DB_I64:
		put_word(buf, (uint64_t)value->i64);
		return;
	case DB_DOUBLE:
		memcpy(&bits, &value->real, sizeof(bits));
		put_word(buf, bits);
		return;
	}
}

static enum status lost(struct pg_db *db, const char *why, struct err *err)
{
	db->lost = true;
	return why ? err_set(err, STATUS_UNAVAILABLE, "PostgreSQL: %s", why) : pg_fail(db, NULL, err);
}

/* Waits until everything that was handed to libpq is on its way. */
static enum status flush(struct pg_db *db, struct err *err)
{
	for (;;) {
		int unsent = PQflush(db->conn);
		if (unsent == 0)
			return STATUS_OK;
		if (unsent < 0)
			return lost(db, NULL, err);
		struct pollfd p = {.fd = PQsocket(db->conn), .events = POLLIN | POLLOUT};
		int ready = poll(&p, 1, SILENCE_MS);
		if (ready == 0)
			return lost(db, "the server takes no more rows", err);
		if (ready > 0 && (p.revents & ~POLLOUT) && !PQconsumeInput(db->conn))
			return lost(db, NULL, err);
	}
}

/* The block before this one is on its way by now, or is waited for: libpq never holds more than two. */
static enum status send_block(struct pg_copy *copy, struct err *err)
{
	struct pg_db *db = copy->db;

	if (copy->block.failed)
		return err_set(err, STATUS_NO_MEMORY, "no memory for rows, or a value is too large");
	enum status status = flush(db, err);
	if (status != STATUS_OK)
		return status;
	if (PQputCopyData(db->conn, copy->block.p, (int)copy->block.n) != 1 || PQflush(db->conn) < 0)
		return lost(db, NULL, err);
	copy->block.n = 0;
	return STATUS_OK;
}

static enum status ask(struct pg_db *db, const char *sql, struct err *err)
{
	if (!PQsendQuery(db->conn, sql))
		return lost(db, NULL, err);
	if (!pg_wait(db, db->statement_ms, err))
		return STATUS_UNAVAILABLE;
	PGresult *result = PQgetResult(db->conn);
	enum status status = PQresultStatus(result) == PGRES_COPY_IN ? STATUS_OK : pg_fail(db, result, err);
	PQclear(result);
	while (status != STATUS_OK && pg_wait(db, db->statement_ms, NULL) && (result = PQgetResult(db->conn)))
		PQclear(result);
	return status;
}

enum status pg_copy_begin(struct db *base, const char *table, const char *const columns[], int n, struct db_copy **out,
			  struct err *err)
{
	static const char header[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0"; /* its own NUL is the last byte */
	struct pg_db *db = (struct pg_db *)base;
	struct pg_copy *copy = calloc(1, sizeof(*copy));
	struct err ignored = {0};

	err = err ? err : &ignored;
	if (!copy || !db->pipelined) {
		free(copy);
		return err_set(err, copy ? STATUS_INTERNAL : STATUS_NO_MEMORY, "no transaction or memory for a copy");
	}
	copy->db = db;
	copy->n = n;
	buf_init_heap(&copy->block);
	buf_fmt(&copy->block, "COPY %s (", table);
	for (int i = 0; i < n; i++)
		buf_fmt(&copy->block, i ? ", %s" : "%s", columns[i]);
	buf_fmt(&copy->block, ") FROM STDIN (FORMAT binary)");
	buf_char(&copy->block, '\0');
	enum status status = copy->block.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for a copy")
						: pg_pipeline_pause(db, err);
	if (status == STATUS_OK) {
		status = ask(db, copy->block.p, err);
		if (status != STATUS_OK)
			status = pg_pipeline_resume(db, status, err);
	}
	if (status != STATUS_OK) {
		buf_release(&copy->block);
		free(copy);
		return status;
	}
	copy->block.n = 0;
	buf_put(&copy->block, header, sizeof(header));
	*out = &copy->base;
	return STATUS_OK;
}

enum status pg_copy_row(struct db_copy *base, const struct db_value *values, struct err *err)
{
	struct pg_copy *copy = (struct pg_copy *)base;

	put_i16(&copy->block, (int16_t)copy->n);
	for (int i = 0; i < copy->n; i++)
		put_value(&copy->block, &values[i]);
	return copy->block.n < BLOCK_BYTES && !copy->block.failed ? STATUS_OK : send_block(copy, err);
}

/* The server's last word, however long its triggers and indexes take. */
static enum status finish(struct pg_db *db, const char *cancel, struct err *err)
{
	enum status status = STATUS_OK;

	if (PQputCopyEnd(db->conn, cancel) != 1)
		return lost(db, NULL, err);
	for (PGresult *result;;) {
		if (!pg_wait(db, -1, err))
			return STATUS_UNAVAILABLE;
		result = PQgetResult(db->conn);
		if (!result)
			return status;
		if (PQresultStatus(result) != PGRES_COMMAND_OK && status == STATUS_OK)
			status = pg_fail(db, result, err);
		db->changes += strtoll(PQcmdTuples(result), NULL, 10);
		PQclear(result);
	}
}

static void free_copy(struct pg_copy *copy)
{
	buf_release(&copy->block);
	free(copy);
}

enum status pg_copy_end(struct db_copy *base, struct err *err)
{
	struct pg_copy *copy = (struct pg_copy *)base;
	struct pg_db *db = copy->db;
	struct err ignored = {0};

	err = err ? err : &ignored;
	put_i16(&copy->block, -1);
	enum status status = send_block(copy, err);
	if (status == STATUS_OK)
		status = finish(db, NULL, err);
	free_copy(copy);
	return pg_pipeline_resume(db, status, err);
}

void pg_copy_cancel(struct db_copy *base)
{
	struct pg_copy *copy = (struct pg_copy *)base;
	struct pg_db *db = copy->db;
	struct err err = {STATUS_BUSY, "the copy was given up"};

	if (!db->lost && db->conn)
		(void)!finish(db, "given up", NULL);
	free_copy(copy);
	(void)!pg_pipeline_resume(db, STATUS_BUSY, &err);
}
