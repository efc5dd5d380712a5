/* POST /api/v1/auth/refresh: a new access token, and a new refresh token for the one that was sent (RFC 6749, section
 * 6), from the form's field refresh_token or from the cookie. POST /api/v1/auth/logout: the session of the token that
 * was used ends, with ?all=true all that the user has.
 *
 * A refresh token is good once. When one comes a second time, it or its successor was stolen: the session ends for
 * both (RFC 9700, section 4.14.2). */
#include "app.h"
#include "base/clock.h"
#include "handlers/accounts.h"
#include "handlers/handlers.h"
#include "http/form.h"

enum outcome { RENEWED, UNKNOWN, REUSED, INACTIVE };

struct refresh {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	bool from_form;
	bool ours; /* the token was made here */
	char id[ID_TEXT_BYTES];
	uint8_t hash[SESSION_HASH_BYTES], next_hash[SESSION_HASH_BYTES];
	char next[ACCOUNTS_REFRESH_BYTES];
	enum outcome outcome;
	struct session_row session;
	struct user_row user;
};

struct logout {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	bool all;
};

/* --- refresh --- */

/* One of ours that is not in force: it was replaced, be it many renewals ago. A thief who renews at once and again must
 * not be safe from the owner, who comes with what they had. */
static enum status end_reused(struct refresh *refresh, struct db *db, int64_t now_us, struct err *err)
{
	const struct session_row *row = &refresh->session;

	if (!refresh->ours || !row->id[0] || row->ended_us != 0 || row->expires_us <= now_us)
		return STATUS_OK;
	refresh->outcome = REUSED;
	return sessions_end(db, row->user_id, str_of(row->id), now_us, err);
}

static enum status renew(struct db *db, struct store_op *op, struct err *err)
{
	struct refresh *refresh = (struct refresh *)(void *)op;
	int64_t now_us = clock_wall_us();
	int64_t expires_us = now_us + refresh->req->app->config->refresh_token_expire_days * INT64_C(86400000000);

	refresh->outcome = UNKNOWN;
	enum status status = sessions_renew(db, str_of(refresh->id), refresh->hash, refresh->next_hash, now_us,
					    expires_us, &refresh->session, err);
	if (status == STATUS_FORBIDDEN)
		refresh->outcome = REUSED; /* no error: that the session ended must be committed */
	if (status == STATUS_FORBIDDEN)
		return STATUS_OK;
	if (status == STATUS_UNAUTHENTICATED)
		return end_reused(refresh, db, now_us, err);
	if (status == STATUS_OK)
		status = users_find(db, refresh->session.user_id, &refresh->user, err);
	if (status == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (status != STATUS_OK)
		return status;
	refresh->outcome = refresh->user.active ? RENEWED : INACTIVE;
	/* What has been written is taken back: the token is good again when the user is. */
	return refresh->user.active ? STATUS_OK : err_set(err, STATUS_UNAUTHENTICATED, "the user is switched off");
}

static void refuse(struct request *req, int http_status, struct str detail)
{
	app_count_rejected(req->app, http_status == 401 ? APP_REJECTED_UNAUTHENTICATED : APP_REJECTED_FORBIDDEN);
	if (http_status == 401)
		response_header(&req->response, "WWW-Authenticate", STR("Bearer"));
	accounts_forget_cookie(req);
	request_answer_detail(req, http_status, detail);
	request_finish(req);
}

static void refuse_unknown(struct request *req)
{
	refuse(req, 401, STR("Could not validate credentials"));
}

static void renewed(struct store_op *op)
{
	struct refresh *refresh = (struct refresh *)(void *)op;
	struct request *req = refresh->req;

	if (op->status != STATUS_OK && op->status != STATUS_UNAUTHENTICATED) {
		request_answer_error(req, op->status, &op->err);
		request_finish(req);
		return;
	}
	switch (refresh->outcome) {
	case RENEWED:
		req->caller.user_id = refresh->user.id;
		accounts_answer_tokens(req, refresh->user.id, refresh->user.username, refresh->session.id,
				       refresh->next, refresh->from_form);
		return;
	case REUSED:
		accounts_audit(req, "refresh_reused", "a refresh token was used twice: its session was ended",
			       refresh->session.user_id);
		break;
	case INACTIVE:
		request_answer_detail(req, 400, STR("Inactive user"));
		request_finish(req);
		return;
	case UNKNOWN:
		break;
	}
	refuse_unknown(req);
}

/* False: answered. */
static bool read_refresh(struct request *req, struct refresh *refresh, struct str *text)
{
	struct invalid invalid;
	struct str grant;

	invalid_init(&invalid, req);
	if (form_field(req, STR("grant_type"), &grant) && grant.n > 0 && !str_eq(grant, STR("refresh_token")))
		invalid_add(&invalid, &(struct violation){.type = "string_pattern_mismatch",
							  .msg = "String should match pattern 'refresh_token'",
							  .where = "body",
							  .field = "grant_type",
							  .index = -1,
							  .input = invalid_input_text(req, grant),
							  .ctx = STR("{\"pattern\":\"refresh_token\"}")});
	refresh->from_form = form_field(req, STR("refresh_token"), text) && text->n > 0;
	if (!refresh->from_form)
		*text = request_cookie(req, accounts_cookie_name);
	if (text->n == 0)
		invalid_add(&invalid, &(struct violation){.type = "missing",
							  .msg = "Field required",
							  .where = "body",
							  .field = "refresh_token",
							  .index = -1,
							  .input = STR("null")});
	if (invalid.n > 0) {
		invalid_answer(&invalid, req);
		request_finish(req);
	}
	return invalid.n == 0;
}

static void submit(struct request *req)
{
	struct refresh *refresh = req->state;

	refresh->op = (struct store_op){.run = renew, .done = renewed};
	if (!accounts_write(req, &refresh->op))
		return; /* it was answered */
}

void auth_post_refresh(struct request *req)
{
	struct refresh *refresh = arena_zalloc(&req->arena, sizeof(*refresh));
	char id[ID_TEXT_BYTES];
	struct str text;

	if (!refresh) {
		accounts_answer_no_memory(req);
		return;
	}
	refresh->req = req;
	if (!read_refresh(req, refresh, &text))
		return;
	if (!accounts_read_refresh(text, refresh->id, refresh->hash)) {
		refuse_unknown(req);
		return;
	}
	refresh->ours = accounts_made_refresh(req, text);
	accounts_next_refresh(req, text, refresh->next);
	if (!accounts_read_refresh(str_of(refresh->next), id, refresh->next_hash)) {
		refuse_unknown(req);
		return;
	}
	req->state = refresh;
	request_go_back(req, submit);
}

/* --- logout --- */

static enum status end_sessions(struct db *db, struct store_op *op, struct err *err)
{
	const struct logout *logout = (const struct logout *)(const void *)op;
	const struct caller *caller = &logout->req->caller;
	int64_t now_us = clock_wall_us();

	return logout->all ? sessions_end_all(db, caller->user_id, (struct str){0}, now_us, err)
			   : sessions_end(db, caller->user_id, str_of(caller->session), now_us, err);
}

static void sessions_ended(struct store_op *op)
{
	struct logout *logout = (struct logout *)(void *)op;
	struct request *req = logout->req;

	if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
		request_finish(req);
		return;
	}
	accounts_audit(req, logout->all ? "logout_all" : "logout",
		       logout->all ? "a user ended all sessions" : "a user logged out", req->caller.user_id);
	accounts_forget_cookie(req);
	req->response.status = 204;
	request_finish(req);
}

void auth_post_logout(struct request *req)
{
	struct logout *logout = arena_zalloc(&req->arena, sizeof(*logout));
	struct str all;

	if (!logout) {
		accounts_answer_no_memory(req);
		return;
	}
	logout->req = req;
	logout->all = request_query(req, STR("all"), &all) && str_eq(all, STR("true"));
	if (logout->all && !accounts_need_login(req))
		return;
	if (!req->caller.session[0]) {
		request_answer_detail(req, 400, STR("An API key has no session to end. Revoke the key instead."));
		request_finish(req);
		return;
	}
	logout->op = (struct store_op){.run = end_sessions, .done = sessions_ended};
	if (!accounts_write(req, &logout->op))
		return; /* it was answered */
}
