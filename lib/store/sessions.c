/* Table sessions. A session that ends takes its end as its expiry, so that one index finds all that may be deleted. */
#include "store/sessions.h"

#include <sodium.h>

#define COLUMNS "id, user_id, refresh_hash, created_us, renewed_us, expires_us, ended_us, client"

enum status sessions_insert(struct db *db, const struct session_row *row, struct err *err)
{
	static const char sql[] = "INSERT INTO sessions (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
				  " ON CONFLICT (id) DO UPDATE SET refresh_hash = excluded.refresh_hash";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(row->id));
	db_bind_i64(stmt, 2, row->user_id);
	db_bind_blob(stmt, 3, row->refresh_hash, SESSION_HASH_BYTES);
	db_bind_i64(stmt, 4, row->created_us);
	db_bind_i64(stmt, 5, row->renewed_us);
	db_bind_i64(stmt, 6, row->expires_us);
	db_bind_i64(stmt, 7, row->ended_us);
	db_bind_text(stmt, 8, str_of(row->client));
	return db_run(stmt, NULL, err);
}

/* The session and the hash before its last renewal (zeros: none). */
static enum status find(struct db *db, struct str id, bool *found, struct session_row *row,
			uint8_t former[static SESSION_HASH_BYTES], struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS ", former_hash FROM sessions WHERE id = $1";
	struct stmt *stmt;

	memset(row, 0, sizeof(*row));
	memset(former, 0, SESSION_HASH_BYTES);
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, id);
	status = db_step(stmt, found, err);
	if (status == STATUS_OK && *found) {
		struct str hash = db_column_blob(stmt, 2);
		db_column_copy(stmt, 0, row->id, sizeof(row->id));
		row->user_id = db_column_i64(stmt, 1);
		if (hash.n == SESSION_HASH_BYTES)
			memcpy(row->refresh_hash, hash.p, SESSION_HASH_BYTES);
		row->created_us = db_column_i64(stmt, 3);
		row->renewed_us = db_column_i64(stmt, 4);
		row->expires_us = db_column_i64(stmt, 5);
		row->ended_us = db_column_i64(stmt, 6);
		db_column_copy(stmt, 7, row->client, sizeof(row->client));
		hash = db_column_blob(stmt, 8);
		if (hash.n == SESSION_HASH_BYTES)
			memcpy(former, hash.p, SESSION_HASH_BYTES);
	}
	db_reset(stmt);
	return status;
}

/* Only while `hash` is the one in force: of two that use it at once, one finds it replaced. */
static enum status replace(struct db *db, struct str id, const uint8_t *hash, const uint8_t *fresh_hash, int64_t now_us,
			   int64_t expires_us, int64_t *replaced, struct err *err)
{
	static const char sql[] = "UPDATE sessions SET refresh_hash = $1, former_hash = $2, renewed_us = $3,"
				  " expires_us = $4 WHERE id = $5 AND refresh_hash = $2 AND ended_us = 0"
				  " AND expires_us > $3";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_blob(stmt, 1, fresh_hash, SESSION_HASH_BYTES);
	db_bind_blob(stmt, 2, hash, SESSION_HASH_BYTES);
	db_bind_i64(stmt, 3, now_us);
	db_bind_i64(stmt, 4, expires_us);
	db_bind_text(stmt, 5, id);
	return db_run(stmt, replaced, err);
}

enum status sessions_renew(struct db *db, struct str id, const uint8_t hash[SESSION_HASH_BYTES],
			   const uint8_t fresh_hash[SESSION_HASH_BYTES], int64_t now_us, int64_t expires_us,
			   struct session_row *row, struct err *err)
{
	uint8_t former[SESSION_HASH_BYTES];
	int64_t replaced;
	bool found = false;

	enum status status = replace(db, id, hash, fresh_hash, now_us, expires_us, &replaced, err);
	if (status == STATUS_OK)
		status = find(db, id, &found, row, former, err);
	if (status != STATUS_OK || (found && replaced > 0))
		return status;
	bool over = !found || row->ended_us != 0 || row->expires_us <= now_us;
	bool was_former = sodium_memcmp(former, hash, SESSION_HASH_BYTES) == 0 && row->renewed_us > row->created_us;
	if (over || !was_former)
		return err_set(err, STATUS_UNAUTHENTICATED, "the refresh token is unknown, or its session is over");
	if (sodium_memcmp(row->refresh_hash, fresh_hash, SESSION_HASH_BYTES) == 0)
		return STATUS_OK; /* this very renewal, run again */
	status = sessions_end(db, row->user_id, id, now_us, err);
	return status == STATUS_OK ? err_set(err, STATUS_FORBIDDEN, "the refresh token was used before") : status;
}

enum status sessions_end(struct db *db, int64_t user_id, struct str id, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE sessions SET ended_us = $1,"
				  " expires_us = CASE WHEN expires_us > $1 THEN $1 ELSE expires_us END"
				  " WHERE id = $2 AND user_id = $3 AND ended_us = 0";

	return db_run_once(db, sql, DB_VALUES(db_i64(now_us > 0 ? now_us : 1), db_text(id), db_i64(user_id)), NULL,
			   err);
}

enum status sessions_end_all(struct db *db, int64_t user_id, struct str except, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE sessions SET ended_us = $1,"
				  " expires_us = CASE WHEN expires_us > $1 THEN $1 ELSE expires_us END"
				  " WHERE user_id = $2 AND id <> $3 AND ended_us = 0";

	return db_run_once(
		db, sql,
		DB_VALUES(db_i64(now_us > 0 ? now_us : 1), db_i64(user_id), db_text(except.p ? except : STR(""))), NULL,
		err);
}

enum status sessions_end_everybody(struct db *db, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE sessions SET ended_us = $1,"
				  " expires_us = CASE WHEN expires_us > $1 THEN $1 ELSE expires_us END"
				  " WHERE ended_us = 0";

	return db_run_once(db, sql, DB_VALUES(db_i64(now_us > 0 ? now_us : 1)), NULL, err);
}

enum status sessions_trim(struct db *db, int64_t user_id, int64_t keep, struct err *err)
{
	/* Ids begin with the time. */
	static const char sql[] = "DELETE FROM sessions WHERE user_id = $1 AND id <="
				  " (SELECT id FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";

	return db_run_once(db, sql, DB_VALUES(db_i64(user_id), db_i64(keep)), NULL, err);
}

enum status sessions_expire(struct db *db, int64_t before_us, int64_t limit, int64_t *deleted, struct err *err)
{
	static const char here[] = "DELETE FROM sessions WHERE id IN"
				   " (SELECT id FROM sessions WHERE expires_us < $1 ORDER BY expires_us LIMIT $2)";
	static const char shared[] = "DELETE FROM sessions WHERE id = ANY (ARRAY"
				     " (SELECT id FROM sessions WHERE expires_us < $1 ORDER BY expires_us LIMIT $2"
				     " FOR UPDATE SKIP LOCKED))";
	struct stmt *stmt;

	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_POSTGRESQL ? shared : here, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, before_us);
	db_bind_i64(stmt, 2, limit);
	return db_run(stmt, deleted, err);
}
