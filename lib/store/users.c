/* Table users. Whether a name or an address is taken is asked before anything is written, so that a refusal costs
 * nothing; the unique indexes decide when two ask at once. */
#include "store/users.h"

#include "base/clock.h"
#include "store/generations.h"

#define COLUMNS                                                                                                        \
	"id, email, username, hashed_password, is_active, is_superuser, created_at, updated_at, email_key,"            \
	" username_key, failed_logins, locked_until_us"

static void read_row(struct stmt *stmt, struct user_row *row)
{
	memset(row, 0, sizeof(*row));
	row->id = db_column_i64(stmt, 0);
	db_column_copy(stmt, 1, row->email, sizeof(row->email));
	db_column_copy(stmt, 2, row->username, sizeof(row->username));
	db_column_copy(stmt, 3, row->hash, sizeof(row->hash));
	row->active = db_column_i64(stmt, 4) != 0;
	row->superuser = db_column_i64(stmt, 5) != 0;
	db_column_copy(stmt, 6, row->created_at, sizeof(row->created_at));
	db_column_copy(stmt, 7, row->updated_at, sizeof(row->updated_at));
	db_column_copy(stmt, 8, row->email_key, sizeof(row->email_key));
	db_column_copy(stmt, 9, row->username_key, sizeof(row->username_key));
	row->failed_logins = db_column_i64(stmt, 10);
	row->locked_until_us = db_column_i64(stmt, 11);
}

static enum status step_one(struct stmt *stmt, struct user_row *row, struct err *err)
{
	bool found;
	enum status status = db_step(stmt, &found, err);

	if (status == STATUS_OK && found)
		read_row(stmt, row);
	else if (status == STATUS_OK)
		status = err_set(err, STATUS_NOT_FOUND, "there is no such user");
	db_reset(stmt);
	return status;
}

enum status users_find(struct db *db, int64_t id, struct user_row *row, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM users WHERE id = $1";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, id);
	return step_one(stmt, row, err);
}

enum status users_hold(struct db *db, int64_t id, struct err *err)
{
	static const char plain[] = "SELECT id FROM users WHERE id = $1",
			  locking[] = "SELECT id FROM users WHERE id = $1 FOR UPDATE";
	struct stmt *stmt;
	bool found;

	enum status status = db_prepare(db, db_dialect(db) == DB_DIALECT_POSTGRESQL ? locking : plain, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, id);
	status = db_step(stmt, &found, err);
	if (status == STATUS_OK && !found)
		status = err_set(err, STATUS_NOT_FOUND, "there is no such user");
	db_reset(stmt);
	return status;
}

enum status users_check_active(struct db *db, int64_t id, struct err *err)
{
	static const char sql[] = "SELECT is_active FROM users WHERE id = $1";
	struct stmt *stmt;
	bool found;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, id);
	status = db_step(stmt, &found, err);
	if (status == STATUS_OK && found && db_column_i64(stmt, 0) == 0)
		status = err_set(err, STATUS_FORBIDDEN, "Inactive user");
	db_reset(stmt);
	return status;
}

enum status users_find_name(struct db *db, struct str username_key, struct user_row *row, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM users WHERE username_key = $1";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, username_key);
	return step_one(stmt, row, err);
}

/* The first who has the name or the address and is not `but`. */
static enum status find_taken(struct db *db, const struct user_row *row, int64_t but, struct user_row *taken,
			      struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS
				  " FROM users WHERE (username_key = $1 OR email_key = $2) AND id <> $3 ORDER BY id"
				  " LIMIT 1";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(row->username_key));
	db_bind_text(stmt, 2, str_of(row->email_key));
	db_bind_i64(stmt, 3, but);
	return step_one(stmt, taken, err);
}

static enum status refuse_taken(struct err *err)
{
	return err_set(err, STATUS_CONFLICT, "Username or email already registered");
}

static void stamp(char out[static USER_TIME_BYTES])
{
	char iso[CLOCK_ISO_BYTES];

	clock_format_iso(clock_wall_us(), iso);
	memcpy(out, iso, 26); /* without the zone */
	out[26] = '\0';
}

static enum status insert(struct db *db, const struct user_row *row, struct err *err)
{
	static const char sql[] = "INSERT INTO users (" COLUMNS
				  ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
				  " ON CONFLICT DO NOTHING";
	struct stmt *stmt;
	int64_t inserted;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, row->id);
	db_bind_text(stmt, 2, str_of(row->email));
	db_bind_text(stmt, 3, str_of(row->username));
	db_bind_text(stmt, 4, str_of(row->hash));
	db_bind_i64(stmt, 5, row->active);
	db_bind_i64(stmt, 6, row->superuser);
	db_bind_text(stmt, 7, str_of(row->created_at));
	db_bind_text(stmt, 8, str_of(row->updated_at));
	db_bind_text(stmt, 9, str_of(row->email_key));
	db_bind_text(stmt, 10, str_of(row->username_key));
	db_bind_i64(stmt, 11, row->failed_logins);
	db_bind_i64(stmt, 12, row->locked_until_us);
	status = db_run(stmt, &inserted, err);
	return status == STATUS_OK && inserted == 0 ? refuse_taken(err) : status;
}

enum status users_insert(struct db *db, struct user_row *row, struct err *err)
{
	struct user_row taken;

	enum status status = find_taken(db, row, 0, &taken, err);
	if (status == STATUS_OK) {
		/* A hash has a salt of its own: the same one is the same registration, run again. */
		if (strcmp(taken.hash, row->hash) != 0 || strcmp(taken.username, row->username) != 0 ||
		    strcmp(taken.email, row->email) != 0)
			return refuse_taken(err);
		*row = taken;
		return STATUS_OK;
	}
	if (status != STATUS_NOT_FOUND)
		return status;
	status = generations_next(db, STR("users"), &row->id, err);
	if (status != STATUS_OK)
		return status;
	if (!row->created_at[0])
		stamp(row->created_at);
	memcpy(row->updated_at, row->created_at, sizeof(row->updated_at));
	return insert(db, row, err);
}

static enum status update(struct db *db, const struct user_row *row, struct err *err)
{
	static const char sql[] = "UPDATE users SET email = $1, username = $2, hashed_password = $3, is_active = $4,"
				  " is_superuser = $5, updated_at = $6, email_key = $7, username_key = $8,"
				  " failed_logins = $9, locked_until_us = $10 WHERE id = $11";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(row->email));
	db_bind_text(stmt, 2, str_of(row->username));
	db_bind_text(stmt, 3, str_of(row->hash));
	db_bind_i64(stmt, 4, row->active);
	db_bind_i64(stmt, 5, row->superuser);
	db_bind_text(stmt, 6, str_of(row->updated_at));
	db_bind_text(stmt, 7, str_of(row->email_key));
	db_bind_text(stmt, 8, str_of(row->username_key));
	db_bind_i64(stmt, 9, row->failed_logins);
	db_bind_i64(stmt, 10, row->locked_until_us);
	db_bind_i64(stmt, 11, row->id);
	return db_run(stmt, NULL, err);
}

enum status users_update(struct db *db, struct user_row *row, struct err *err)
{
	struct user_row old = {0}, taken;

	enum status status = users_find(db, row->id, &old, err);
	if (status != STATUS_OK)
		return status;
	status = find_taken(db, row, row->id, &taken, err);
	if (status != STATUS_NOT_FOUND)
		return status == STATUS_OK ? refuse_taken(err) : status;
	bool changed = strcmp(old.email, row->email) != 0 || strcmp(old.username, row->username) != 0 ||
		       strcmp(old.hash, row->hash) != 0 || old.active != row->active || old.superuser != row->superuser;
	memcpy(row->updated_at, old.updated_at, sizeof(row->updated_at));
	if (changed)
		stamp(row->updated_at);
	return update(db, row, err);
}

enum status users_login_failed(struct db *db, int64_t id, int64_t limit, int64_t locked_until_us, struct err *err)
{
	static const char sql[] =
		"UPDATE users SET"
		" locked_until_us = CASE WHEN $1 > 0 AND failed_logins + 1 >= $1 THEN $2 ELSE locked_until_us END,"
		" failed_logins = CASE WHEN $1 > 0 AND failed_logins + 1 >= $1 THEN 0 ELSE failed_logins + 1 END"
		" WHERE id = $3";

	return db_run_once(db, sql, DB_VALUES(db_i64(limit), db_i64(locked_until_us), db_i64(id)), NULL, err);
}

enum status users_login_succeeded(struct db *db, int64_t id, struct str hash, struct str fresh_hash, struct err *err)
{
	static const char sql[] = "UPDATE users SET failed_logins = 0, locked_until_us = 0,"
				  " hashed_password = CASE WHEN hashed_password = $1 THEN $2 ELSE hashed_password END"
				  " WHERE id = $3";

	return db_run_once(db, sql, DB_VALUES(db_text(hash), db_text(fresh_hash.n > 0 ? fresh_hash : hash), db_i64(id)),
			   NULL, err);
}

enum status users_each(struct db *db, user_row_fn *fn, void *arg, struct err *err)
{
	static const char sql[] = "SELECT " COLUMNS " FROM users ORDER BY id";
	struct stmt *stmt;
	bool more = true;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	while (more && (status = db_step(stmt, &more, err)) == STATUS_OK && more) {
		struct user_row row;
		read_row(stmt, &row);
		more = fn(arg, &row);
	}
	db_reset(stmt);
	return status;
}

enum status users_find_session(struct db *db, int64_t user_id, struct str session, int64_t now_us,
			       struct user_session *out, struct err *err)
{
	static const char sql[] = "SELECT u.is_active, u.is_superuser, u.username, s.ended_us, s.expires_us"
				  " FROM sessions s JOIN users u ON u.id = s.user_id"
				  " WHERE s.id = $1 AND s.user_id = $2";
	struct stmt *stmt;
	bool found;

	memset(out, 0, sizeof(*out));
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, session);
	db_bind_i64(stmt, 2, user_id);
	status = db_step(stmt, &found, err);
	if (status == STATUS_OK && found) {
		out->active = db_column_i64(stmt, 0) != 0;
		out->superuser = db_column_i64(stmt, 1) != 0;
		db_column_copy(stmt, 2, out->username, sizeof(out->username));
		bool goes_on = db_column_i64(stmt, 3) == 0 && db_column_i64(stmt, 4) > now_us;
		out->known = goes_on || !out->active;
	}
	db_reset(stmt);
	return status;
}
