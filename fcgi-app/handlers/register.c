/* POST /api/v1/auth/register: {"username":…,"email":…,"password":…} makes an account.
 *
 * Of two that want the same name or address at once the insertion itself refuses one. A request that nginx sends to a
 * second worker, because the first could not answer, finds its own outcome and not itself in its way. */
#include "app.h"
#include "auth/password.h"
#include "handlers/accounts.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"
#include "handlers/users.h"

struct registration {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	struct str password;
	struct user_row row;
	bool hashed;
	struct err err; /* why it is not */
	bool repeated;
};

static enum status insert(struct db *db, struct store_op *op, struct err *err)
{
	struct registration *registration = (struct registration *)(void *)op;
	struct request *req = registration->req;
	struct user_row *row = &registration->row;

	enum status status = accounts_recall(req, db, &registration->repeated, err);
	if (status != STATUS_OK || registration->repeated)
		return status;
	row->id = 0;
	status = users_insert(db, row, err);
	if (status != STATUS_OK)
		return status;
	req->response.status = 201;
	buf_init(&req->response.body, &req->arena); /* this may be the second run */
	users_put(&req->response.body, row);
	return accounts_remember(req, db, err);
}

static void inserted(struct store_op *op)
{
	struct registration *registration = (struct registration *)(void *)op;
	struct request *req = registration->req;

	if (op->status == STATUS_CONFLICT) {
		request_answer_detail(req, 400, STR("Username or email already registered"));
	} else if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
	} else {
		if (registration->repeated)
			metrics_add(req->app->shm, req->app->series.repeated_writes, 1);
		else
			accounts_audit(req, "register", "a user registered", registration->row.id);
		req->response.content_type = "application/json";
	}
	request_finish(req);
}

static void go_on(struct request *req)
{
	struct registration *registration = req->state;

	if (!registration->hashed) {
		request_answer_error(req, registration->err.status, &registration->err);
		request_finish(req);
		return;
	}
	registration->op = (struct store_op){.run = insert, .done = inserted};
	if (!accounts_write(req, &registration->op))
		return; /* it was answered */
}

/* A thread that hashes. */
static void hash(struct request *req, struct db *db)
{
	struct registration *registration = req->state;

	(void)db;
	registration->hashed = password_hash(registration->password, registration->row.hash, &registration->err) ==
			       STATUS_OK;
	accounts_wipe(registration->password);
	accounts_wipe(req->body);
	request_go_back(req, go_on);
}

static void start(struct request *req)
{
	if (request_try_slow(req, req->app->passwords, hash))
		return;
	request_refuse_full(req, STR("Too many passwords are being hashed. Try again later."));
	request_finish(req);
}

void auth_post_register(struct request *req)
{
	struct registration *registration;
	struct invalid invalid;
	struct json_value root;
	struct str text;

	if (!instances_read_root(req, &root)) {
		request_finish(req);
		return;
	}
	registration = arena_zalloc(&req->arena, sizeof(*registration));
	if (!registration) {
		accounts_answer_no_memory(req);
		return;
	}
	registration->req = req;
	registration->row.active = true;
	invalid_init(&invalid, req);
	if (accounts_read_text(req, root, &invalid, "username", true, &text))
		accounts_take_username(req, &invalid, text, &registration->row);
	if (accounts_read_text(req, root, &invalid, "email", true, &text))
		accounts_take_email(req, &invalid, text, &registration->row);
	if (accounts_read_text(req, root, &invalid, "password", true, &registration->password))
		accounts_check_password(&invalid, registration->password);
	if (invalid.n > 0) {
		invalid_answer(&invalid, req);
		request_finish(req);
		return;
	}
	req->state = registration;
	request_go_back(req, start);
}
