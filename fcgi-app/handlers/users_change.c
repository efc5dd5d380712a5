/* PATCH /api/v1/users/me: {"email":…, "username":…, "password":…, "current_password":…}, each may be left out.
 *
 * Any change wants the present password, which is checked as a login's is, failures counted with those of logins: who
 * found a token for half an hour must not lock its owner out with another name. A new password ends all sessions of the
 * user but the one it was changed with. */
#include "app.h"
#include "auth/names.h"
#include "auth/password.h"
#include "base/clock.h"
#include "handlers/accounts.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"
#include "handlers/users.h"
#include "shared/logins.h"

struct change {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	bool has_username, has_email, has_password;
	bool has_any;           /* of them */
	struct user_row wanted; /* of these */
	struct str password, current;
	struct limit_id id;
	char hash[PASSWORD_HASH_BYTES]; /* that `current` was compared with */
	bool right, hashed;
	bool repeated; /* the request was carried out before */
	struct err err;
	struct user_row row; /* as it is stored then */
};

static void settle(struct change *change, bool failed)
{
	logins_settle(change->req->app->shm, change->id, failed, clock_mono_ms());
}

/* --- writing --- */

static void apply(const struct change *change, struct user_row *row)
{
	const struct user_row *wanted = &change->wanted;

	if (change->has_username) {
		memcpy(row->username, wanted->username, sizeof(row->username));
		memcpy(row->username_key, wanted->username_key, sizeof(row->username_key));
	}
	if (change->has_email) {
		memcpy(row->email, wanted->email, sizeof(row->email));
		memcpy(row->email_key, wanted->email_key, sizeof(row->email_key));
	}
	if (change->has_password)
		memcpy(row->hash, wanted->hash, sizeof(row->hash));
}

static void put_answer(struct change *change)
{
	struct request *req = change->req;

	req->response.status = 200;
	buf_init(&req->response.body, &req->arena); /* this may be the second run */
	users_put(&req->response.body, &change->row);
}

static enum status end_others(const struct change *change, struct db *db, struct err *err)
{
	const struct caller *caller = &change->req->caller;

	return sessions_end_all(db, caller->user_id, str_of(caller->session), clock_wall_us(), err);
}

static enum status store(struct db *db, struct store_op *op, struct err *err)
{
	struct change *change = (struct change *)(void *)op;
	struct user_row *row = &change->row;
	enum status status = STATUS_OK;

	if (change->has_any)
		status = accounts_recall(change->req, db, &change->repeated, err);
	if (status != STATUS_OK || change->repeated)
		return status;
	/* All of the row is written: what an operator does to it meanwhile must not be undone. */
	status = users_hold(db, change->req->caller.user_id, err);
	if (status == STATUS_OK)
		status = users_find(db, change->req->caller.user_id, row, err);
	if (status == STATUS_OK && change->has_any && strcmp(row->hash, change->hash) != 0)
		return err_set(err, STATUS_FORBIDDEN, "The password was changed meanwhile.");
	apply(change, row);
	if (status == STATUS_OK)
		status = users_update(db, row, err);
	if (status != STATUS_OK)
		return status;
	put_answer(change);
	if (change->has_password)
		status = end_others(change, db, err);
	return status == STATUS_OK && change->has_any ? accounts_remember(change->req, db, err) : status;
}

static void stored(struct store_op *op)
{
	struct change *change = (struct change *)(void *)op;
	struct request *req = change->req;

	if (op->status == STATUS_CONFLICT) {
		request_answer_detail(req, 400, STR("Username or email already registered"));
	} else if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
	} else {
		req->response.content_type = "application/json";
		if (change->has_password && !change->repeated)
			accounts_audit(req, "password_changed", "a user changed the password", req->caller.user_id);
		if ((change->has_username || change->has_email) && !change->repeated)
			accounts_audit(req, "account_changed", "a user changed name or address", req->caller.user_id);
	}
	request_finish(req);
}

static void go_store(struct change *change)
{
	change->op = (struct store_op){.run = store, .done = stored, .alone = true};
	if (!accounts_write(change->req, &change->op))
		return; /* it was answered */
}

/* --- the present password --- */

static void judge(struct request *req)
{
	struct change *change = req->state;

	settle(change, !change->right);
	if (!change->right) {
		accounts_audit(req, "change_failed", "a change of the account was refused: wrong password",
			       req->caller.user_id);
		request_answer_detail(req, 400, STR("Incorrect current password"));
		request_finish(req);
	} else if (change->has_password && !change->hashed) {
		request_answer_error(req, change->err.status, &change->err);
		request_finish(req);
	} else {
		go_store(change);
	}
}

/* A thread that hashes. */
static void check_password(struct request *req, struct db *db)
{
	struct change *change = req->state;
	bool outdated;

	(void)db;
	change->right = password_check(change->hash, change->current, &outdated);
	change->hashed = change->right && change->has_password &&
			 password_hash(change->password, change->wanted.hash, &change->err) == STATUS_OK;
	accounts_wipe(change->current);
	accounts_wipe(change->password);
	accounts_wipe(req->body);
	request_go_back(req, judge);
}

static enum status find(struct db *db, struct store_op *op, struct err *err)
{
	struct change *change = (struct change *)(void *)op;

	enum status status = accounts_recall(change->req, db, &change->repeated, err);
	if (status == STATUS_OK && !change->repeated)
		status = users_find(db, change->req->caller.user_id, &change->row, err);
	memcpy(change->hash, change->row.hash, sizeof(change->hash));
	return status;
}

static void found(struct store_op *op)
{
	struct change *change = (struct change *)(void *)op;
	struct request *req = change->req;

	if (op->status != STATUS_OK || change->repeated) {
		settle(change, false);
		stored(op);
		return;
	}
	if (request_try_slow(req, req->app->passwords, check_password))
		return;
	settle(change, false);
	request_refuse_full(req, STR("Too many passwords are being checked. Try again later."));
	request_finish(req);
}

static void limit(struct request *req, uint64_t retry_ms)
{
	uint64_t seconds = (retry_ms + 999) / 1000;

	app_count_rejected(req->app, APP_REJECTED_LOGIN_RATE_LIMIT);
	response_header_u64(&req->response, "Retry-After", seconds > 0 ? seconds : 1);
	request_answer_detail(req, 429, STR("Rate limit exceeded. Try again later."));
	request_finish(req);
}

static void start(struct request *req)
{
	struct change *change = req->state;
	uint64_t retry_ms;

	if (!change->has_any) {
		go_store(change);
		return;
	}
	if (logins_admit(req->app->shm, change->id, clock_mono_ms(), &retry_ms) != LOGINS_ADMITTED) {
		limit(req, retry_ms);
		return;
	}
	change->op = (struct store_op){
		.run = find, .done = found, .identity = req->edge.random, .small = true, .fresh = true};
	store_read(req->app->store, &change->op);
}

/* --- the body --- */

static void read_password(struct change *change, struct json_value root, struct invalid *invalid)
{
	struct request *req = change->req;
	struct str name, key = {0};

	change->has_password = accounts_read_text(req, root, invalid, "password", false, &change->password);
	if (change->has_password)
		accounts_check_password(invalid, change->password);
	change->has_any = change->has_username || change->has_email || change->has_password;
	if (!change->has_any)
		return;
	if (!accounts_read_text(req, root, invalid, "current_password", true, &change->current))
		return;
	if (username_normalise(str_of(req->caller.username), &req->arena, &name, &key))
		key = str_of(req->caller.username);
	change->id = logins_id(req->remote_addr, key);
}

void users_patch_me(struct request *req)
{
	struct change *change;
	struct invalid invalid;
	struct json_value root;
	struct str text;

	if (!accounts_need_login(req))
		return;
	if (!instances_read_root(req, &root)) {
		request_finish(req);
		return;
	}
	change = arena_zalloc(&req->arena, sizeof(*change));
	if (!change) {
		accounts_answer_no_memory(req);
		return;
	}
	change->req = req;
	invalid_init(&invalid, req);
	change->has_username = accounts_read_text(req, root, &invalid, "username", false, &text);
	if (change->has_username)
		accounts_take_username(req, &invalid, text, &change->wanted);
	change->has_email = accounts_read_text(req, root, &invalid, "email", false, &text);
	if (change->has_email)
		accounts_take_email(req, &invalid, text, &change->wanted);
	read_password(change, root, &invalid);
	if (invalid.n > 0) {
		invalid_answer(&invalid, req);
		request_finish(req);
		return;
	}
	req->state = change;
	request_go_back(req, start);
}
