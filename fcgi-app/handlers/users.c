/* The caller's own account: GET /api/v1/users/me. And GET /api/v1/protected, which shows what a token is good for. */
#include "handlers/users.h"

#include "app.h"
#include "base/json.h"
#include "handlers/handlers.h"

struct account {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	struct user_row row;
};

static void put_time(struct buf *out, const char *name, const char *time)
{
	buf_str(out, STR(",\""));
	buf_str(out, str_of(name));
	buf_str(out, STR("\":\""));
	buf_str(out, str_of(time));
	buf_char(out, '"');
}

static void put_bool(struct buf *out, const char *name, bool value)
{
	buf_str(out, STR(",\""));
	buf_str(out, str_of(name));
	buf_str(out, value ? STR("\":true") : STR("\":false"));
}

void users_put(struct buf *out, const struct user_row *row)
{
	buf_str(out, STR("{\"id\":"));
	json_put_i64(out, row->id);
	buf_str(out, STR(",\"email\":"));
	json_put_string(out, str_of(row->email));
	buf_str(out, STR(",\"username\":"));
	json_put_string(out, str_of(row->username));
	put_bool(out, "is_active", row->active);
	put_bool(out, "is_superuser", row->superuser);
	put_time(out, "created_at", row->created_at);
	put_time(out, "updated_at", row->updated_at);
	buf_char(out, '}');
}

static struct account *begin(struct request *req)
{
	struct account *account = arena_zalloc(&req->arena, sizeof(*account));
	struct err err;

	if (account) {
		account->req = req;
		return account;
	}
	request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	request_finish(req);
	return NULL;
}

static void answer_error(struct account *account)
{
	request_answer_error(account->req, account->op.status, &account->op.err);
	request_finish(account->req);
}

/* --- me --- */

static enum status find(struct db *db, struct store_op *op, struct err *err)
{
	struct account *account = (struct account *)(void *)op;

	return users_find(db, account->req->caller.user_id, &account->row, err);
}

static void answer_user(struct account *account)
{
	struct request *req = account->req;

	users_put(&req->response.body, &account->row);
	req->response.status = 200;
	req->response.content_type = "application/json";
	request_finish(req);
}

static void found(struct store_op *op)
{
	struct account *account = (struct account *)(void *)op;

	if (op->status == STATUS_OK)
		answer_user(account);
	else
		answer_error(account);
}

void users_get_me(struct request *req)
{
	struct account *account = begin(req);

	if (!account)
		return;
	account->op = (struct store_op){
		.run = find, .done = found, .identity = req->edge.random, .small = true, .fresh = true};
	store_read(req->app->store, &account->op);
}

/* --- protected --- */

void users_get_protected(struct request *req)
{
	struct buf *out = &req->response.body;

	buf_str(out, STR("{\"message\":\"This is a protected endpoint\",\"username\":"));
	json_put_string(out, str_of(req->caller.username));
	buf_char(out, '}');
	req->response.status = 200;
	req->response.content_type = "application/json";
	request_finish(req);
}
