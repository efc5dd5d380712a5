/* Table api_keys. Ids are looked at before names, so that a key named like another's id can't stand in for it. */
#include "store/keys.h"

#include "store/generations.h"

#include <stdio.h>

#define COLUMNS "id, name, hash, rate_per_minute, created_us, expires_us, revoked_us, scopes, user_id"
/* Keys are worth as much as their user: whoever is switched off can't go on with them. */
#define SUSPENDED                                                                                                      \
	"CASE WHEN user_id = 0 OR EXISTS (SELECT 1 FROM users u WHERE u.id = user_id AND u.is_active = 1)"             \
	" THEN 0 ELSE 1 END"
#define READ COLUMNS ", " SUSPENDED

static void read_row(struct stmt *stmt, struct key_row *row)
{
	struct str hash = db_column_blob(stmt, 2);

	memset(row, 0, sizeof(*row));
	db_column_copy(stmt, 0, row->id, sizeof(row->id));
	db_column_copy(stmt, 1, row->name, sizeof(row->name));
	if (hash.n == KEY_HASH_BYTES)
		memcpy(row->hash, hash.p, KEY_HASH_BYTES);
	row->rate_per_minute = db_column_i64(stmt, 3);
	row->created_us = db_column_i64(stmt, 4);
	row->expires_us = db_column_i64(stmt, 5);
	row->revoked_us = db_column_i64(stmt, 6);
	db_column_copy(stmt, 7, row->scopes, sizeof(row->scopes));
	row->user_id = db_column_i64(stmt, 8);
	row->suspended = db_column_i64(stmt, 9) != 0;
}

static enum status find_by(struct db *db, const char *sql, struct str value, bool *found, struct key_row *row,
			   struct err *err)
{
	struct stmt *stmt;

	*found = false;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, value);
	status = db_step(stmt, found, err);
	if (status == STATUS_OK && *found)
		read_row(stmt, row);
	db_reset(stmt);
	return status;
}

static const char by_id[] = "SELECT " READ " FROM api_keys WHERE id = $1 AND revoked_us = 0";

enum status keys_find(struct db *db, struct str id, struct key_row *row, struct err *err)
{
	bool found;

	enum status status = find_by(db, by_id, id, &found, row, err);
	if (status == STATUS_OK && !found)
		status = err_set(err, STATUS_NOT_FOUND, "there is no valid API key with this id");
	return status;
}

/* The key that is not revoked. */
static enum status find(struct db *db, struct str id_or_name, struct key_row *row, struct err *err)
{
	static const char by_name[] = "SELECT " READ
				      " FROM api_keys WHERE name = $1 AND revoked_us = 0 AND user_id = 0";
	bool found;

	enum status status = find_by(db, by_id, id_or_name, &found, row, err);
	if (status == STATUS_OK && !found)
		status = find_by(db, by_name, id_or_name, &found, row, err);
	if (status == STATUS_OK && !found)
		status = err_set(err, STATUS_NOT_FOUND, "there is no valid API key with this id or name");
	return status;
}

/* *there: this very key has been inserted before. */
static enum status check_insert(struct db *db, const struct key_row *row, bool *there, struct err *err)
{
	static const char sql[] = "SELECT " READ " FROM api_keys WHERE id = $1"
				  " OR (name = $2 AND user_id = $3 AND revoked_us = 0) ORDER BY id LIMIT 1";
	struct str name = {row->name, strnlen(row->name, sizeof(row->name))};
	struct key_row taken;
	struct stmt *stmt;
	bool found;

	*there = false;
	if (name.n == 0 || name.n == sizeof(row->name) || !str_is_utf8(name))
		return err_set(err, STATUS_INVALID, "name: must be 1 to %d bytes of UTF-8", KEY_NAME_BYTES - 1);
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(row->id));
	db_bind_text(stmt, 2, name);
	db_bind_i64(stmt, 3, row->user_id);
	status = db_step(stmt, &found, err);
	if (status == STATUS_OK && found)
		read_row(stmt, &taken);
	db_reset(stmt);
	if (status != STATUS_OK || !found)
		return status;
	*there = strcmp(taken.id, row->id) == 0 && memcmp(taken.hash, row->hash, KEY_HASH_BYTES) == 0 &&
		 strcmp(taken.name, row->name) == 0 && taken.user_id == row->user_id;
	return *there ? STATUS_OK : err_set(err, STATUS_CONFLICT, "there is a valid API key of this name already");
}

/* Workers hold the operator's keys in memory and look the others up. */
static enum status tell(struct db *db, int64_t user_id, struct err *err)
{
	return user_id == 0 ? generations_bump(db, KEYS_TOPIC, err) : STATUS_OK;
}

enum status keys_insert(struct db *db, const struct key_row *row, struct err *err)
{
	static const char sql[] = "INSERT INTO api_keys (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
	struct stmt *stmt;
	bool there;

	enum status status = check_insert(db, row, &there, err);
	if (status == STATUS_OK && there)
		return STATUS_OK;
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(row->id));
	db_bind_text(stmt, 2, str_of(row->name));
	db_bind_blob(stmt, 3, row->hash, KEY_HASH_BYTES);
	db_bind_i64(stmt, 4, row->rate_per_minute);
	db_bind_i64(stmt, 5, row->created_us);
	db_bind_i64(stmt, 6, row->expires_us);
	db_bind_i64(stmt, 7, row->revoked_us);
	db_bind_text(stmt, 8, str_of(row->scopes));
	db_bind_i64(stmt, 9, row->user_id);
	status = db_run(stmt, NULL, err);
	return status == STATUS_OK ? tell(db, row->user_id, err) : status;
}

enum status keys_revoke(struct db *db, struct str id_or_name, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE api_keys SET revoked_us = $1 WHERE id = $2";
	struct key_row row;
	struct stmt *stmt;

	enum status status = find(db, id_or_name, &row, err);
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us > 0 ? now_us : 1);
	db_bind_text(stmt, 2, str_of(row.id));
	status = db_run(stmt, NULL, err);
	return status == STATUS_OK ? tell(db, row.user_id, err) : status;
}

enum status keys_revoke_of(struct db *db, int64_t user_id, struct str id, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE api_keys SET revoked_us = $1 WHERE id = $2 AND user_id = $3"
				  " AND revoked_us = 0";
	int64_t revoked;

	enum status status = db_run_once(
		db, sql, DB_VALUES(db_i64(now_us > 0 ? now_us : 1), db_text(id), db_i64(user_id)), &revoked, err);
	if (status == STATUS_OK && revoked == 0)
		return err_set(err, STATUS_NOT_FOUND, "there is no valid API key with this id");
	return status;
}

enum status keys_revoke_all(struct db *db, int64_t user_id, int64_t now_us, struct err *err)
{
	static const char sql[] = "UPDATE api_keys SET revoked_us = $1 WHERE user_id = $2 AND revoked_us = 0";

	return db_run_once(db, sql, DB_VALUES(db_i64(now_us > 0 ? now_us : 1), db_i64(user_id)), NULL, err);
}

/* "<name> (until rotation, <id>)", the name cut between characters where both do not fit. */
static void rotated_name(const struct key_row *row, char out[static KEY_NAME_BYTES])
{
	char tail[KEY_NAME_BYTES];
	int n = snprintf(tail, sizeof(tail), " (until rotation, %s)", row->id);
	size_t keep = strlen(row->name);

	if (keep > (size_t)(KEY_NAME_BYTES - 1 - n))
		keep = (size_t)(KEY_NAME_BYTES - 1 - n);
	while (keep > 0 && ((unsigned char)row->name[keep] & 0xc0) == 0x80)
		keep--;
	memcpy(out, row->name, keep);
	memcpy(out + keep, tail, (size_t)n + 1);
}

enum status keys_rotate(struct db *db, struct str id_or_name, struct key_row *fresh, int64_t overlap_until_us,
			struct err *err)
{
	static const char sql[] = "UPDATE api_keys SET name = $1, expires_us = $2 WHERE id = $3";
	char name[KEY_NAME_BYTES];
	struct key_row old = {0};
	struct stmt *stmt;

	enum status status = find(db, id_or_name, &old, err);
	if (status == STATUS_OK && old.expires_us != 0 && old.expires_us <= fresh->created_us)
		status = err_set(err, STATUS_NOT_FOUND, "the API key has expired");
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	int64_t until = overlap_until_us > 0 ? overlap_until_us : 1; /* 0 would be never */
	if (old.expires_us != 0 && old.expires_us < until)
		until = old.expires_us;
	rotated_name(&old, name);
	db_bind_text(stmt, 1, str_of(name));
	db_bind_i64(stmt, 2, until);
	db_bind_text(stmt, 3, str_of(old.id));
	status = db_run(stmt, NULL, err);
	if (status != STATUS_OK)
		return status;
	memcpy(fresh->name, old.name, sizeof(fresh->name));
	memcpy(fresh->scopes, old.scopes, sizeof(fresh->scopes));
	fresh->rate_per_minute = old.rate_per_minute;
	fresh->expires_us = old.expires_us;
	fresh->user_id = old.user_id;
	fresh->revoked_us = 0;
	return keys_insert(db, fresh, err);
}

static enum status each(struct stmt *stmt, key_row_fn *fn, void *arg, struct err *err)
{
	enum status status = STATUS_OK;
	bool more = true;

	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more) {
		struct key_row row;
		read_row(stmt, &row);
		more = fn(arg, &row);
	}
	db_reset(stmt);
	return status;
}

enum status keys_each(struct db *db, key_row_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " READ " FROM api_keys ORDER BY created_us, id";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	return status == STATUS_OK ? each(stmt, fn, arg, err) : status;
}

enum status keys_each_valid(struct db *db, int64_t user_id, key_row_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " READ " FROM api_keys WHERE user_id = $1 AND revoked_us = 0"
				  " ORDER BY created_us, id";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, user_id);
	return each(stmt, fn, arg, err);
}
