/* Table idempotency_keys. */
#include "store/idempotency.h"

enum { HASH_BYTES = 32 };

enum status idempotency_find(struct db *db, const uint8_t key_hash[32], int64_t now_us, bool *found,
			     idempotency_found *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT fingerprint, expires_us, http_status, body FROM idempotency_keys"
				  " WHERE key_hash = $1 AND expires_us > $2";
	struct stmt *stmt;

	*found = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_blob(stmt, 1, key_hash, HASH_BYTES);
	db_bind_i64(stmt, 2, now_us);
	status = db_step(stmt, found, err);
	if (status == STATUS_OK && *found) {
		struct idempotency_record record = {0};
		struct str fingerprint = db_column_blob(stmt, 0);
		memcpy(record.key_hash, key_hash, HASH_BYTES);
		if (fingerprint.n == HASH_BYTES)
			memcpy(record.fingerprint, fingerprint.p, HASH_BYTES);
		record.expires_us = db_column_i64(stmt, 1);
		record.http_status = (int)db_column_i64(stmt, 2);
		record.body = db_column_blob(stmt, 3);
		fn(arg, &record);
	}
	db_reset(stmt);
	return status;
}

enum status idempotency_save(struct db *db, const struct idempotency_record *record, int64_t now_us, struct err *err)
{
	static const char sql[] =
		"INSERT INTO idempotency_keys (key_hash, fingerprint, expires_us, http_status, body)"
		" VALUES ($1, $2, $3, $4, $5)"
		" ON CONFLICT (key_hash) DO UPDATE SET fingerprint = excluded.fingerprint,"
		" expires_us = excluded.expires_us, http_status = excluded.http_status, body = excluded.body"
		" WHERE idempotency_keys.expires_us <= $6";
	struct stmt *stmt;
	int64_t changed;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_blob(stmt, 1, record->key_hash, HASH_BYTES);
	db_bind_blob(stmt, 2, record->fingerprint, HASH_BYTES);
	db_bind_i64(stmt, 3, record->expires_us);
	db_bind_i64(stmt, 4, record->http_status);
	db_bind_blob(stmt, 5, record->body.p, record->body.n);
	db_bind_i64(stmt, 6, now_us);
	status = db_run(stmt, &changed, err);
	if (status == STATUS_OK && changed == 0)
		status = err_set(err, STATUS_CONFLICT, "a request with this Idempotency-Key was stored just now");
	return status;
}

enum status idempotency_delete_expired(struct db *db, int64_t now_us, int max, int64_t *deleted, struct err *err)
{
	static const char here[] = "DELETE FROM idempotency_keys WHERE key_hash IN"
				   " (SELECT key_hash FROM idempotency_keys WHERE expires_us <= $1"
				   " ORDER BY expires_us LIMIT $2)";
	static const char shared[] = "DELETE FROM idempotency_keys WHERE key_hash = ANY (ARRAY"
				     " (SELECT key_hash FROM idempotency_keys WHERE expires_us <= $1"
				     " ORDER BY expires_us LIMIT $2 FOR UPDATE SKIP LOCKED))";
	struct stmt *stmt;

	*deleted = 0;
	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_POSTGRESQL ? shared : here, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	db_bind_i64(stmt, 2, max > 0 ? max : 0);
	return db_run(stmt, deleted, err);
}
