/* POST /api/v1/auth/login: a form with name and password in, an access token out.
 *
 * The order says what an attempt can cost: first whether this address may try at all, and this name
 * (lib/shared/logins.h), then the user's row, then the password on one of the few threads that hash, then a session in
 * one small write. An unknown name costs what a wrong password costs and is told the same; so is an account that is
 * locked. Only who knows the password hears that the account is switched off. */
#include "app.h"
#include "auth/names.h"
#include "auth/password.h"
#include "base/clock.h"
#include "handlers/accounts.h"
#include "handlers/handlers.h"
#include "http/form.h"
#include "shared/logins.h"
#include "store/generations.h"

enum { WAIT_MAX_MS = 10 * 1000, SESSIONS_MAX = 1000 /* of one user */ };

struct login {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	struct str name_key; /* p is NULL: such a name nobody has */
	struct str password;
	bool wants_refresh; /* in the body */
	struct limit_id id;
	struct app_waiting waiting;
	uint64_t since_ms; /* waits for others of this name; 0: it does not */

	struct user_row row;
	bool known, right, outdated;
	bool counts;                          /* a failure, for the user */
	char fresh_hash[PASSWORD_HASH_BYTES]; /* when it is outdated */
	struct session_row session;
	char refresh[ACCOUNTS_REFRESH_BYTES];
};

/* --- what an address may, whatever the names: RATE_LIMIT_PER_MINUTE failures --- */

/* Of an IPv6 address the network counts, of which one client has 2^64 to try names from; nginx counts each alone. */
static struct limit_id address_id(const struct login *login)
{
	static const char purpose[] = "failed logins";
	const struct limit_id address = limit_id_of_address(login->req->remote_addr);
	char text[sizeof(purpose) + sizeof(address.b)];

	memcpy(text, purpose, sizeof(purpose));
	memcpy(text + sizeof(purpose), address.b, sizeof(address.b));
	return limit_id_of_user(0, (struct str){text, sizeof(text)});
}

static struct limit_result take_of_address(const struct login *login)
{
	return limit_take(login->req->app->shm, address_id(login),
			  (uint32_t)login->req->app->config->rate_limit_per_minute, CONFIG_SECONDS_PER_WINDOW * 1000,
			  clock_mono_ms());
}

static void give_back_to_address(const struct login *login)
{
	if (login->req->app->config->rate_limit_per_minute > 0)
		limit_give_back(login->req->app->shm, address_id(login));
}

static void settle(struct login *login, bool failed)
{
	logins_settle(login->req->app->shm, login->id, failed, clock_mono_ms());
	if (!failed)
		give_back_to_address(login);
}

static void answer_wrong(struct request *req)
{
	request_answer_detail(req, 401, STR("Incorrect username or password"));
	request_finish(req);
}

/* --- right: a session --- */

/* The password may have been changed since it was looked at, or may be changed now: the row is held, or on PostgreSQL a
 * session could be opened with the old one behind the back of what ends all of them. A hash that a first run of this
 * has renewed is right. */
static enum status open_session(struct db *db, struct store_op *op, struct err *err)
{
	struct login *login = (struct login *)(void *)op;
	struct user_row row;

	enum status status = users_hold(db, login->row.id, err);
	if (status == STATUS_OK)
		status = users_find(db, login->row.id, &row, err);
	if (status == STATUS_NOT_FOUND)
		return err_set(err, STATUS_UNAUTHENTICATED, "the user is gone");
	if (status != STATUS_OK)
		return status;
	if (!row.active || (strcmp(row.hash, login->row.hash) != 0 && strcmp(row.hash, login->fresh_hash) != 0))
		return err_set(err, STATUS_UNAUTHENTICATED, "the user has changed");
	if (login->fresh_hash[0] || row.failed_logins != 0 || row.locked_until_us != 0)
		status = users_login_succeeded(db, row.id, str_of(login->row.hash), str_of(login->fresh_hash), err);
	if (status == STATUS_OK)
		status = sessions_insert(db, &login->session, err);
	return status == STATUS_OK ? sessions_trim(db, row.id, SESSIONS_MAX, err) : status;
}

_Static_assert((int)USER_HASH_BYTES == (int)PASSWORD_HASH_BYTES, "a row holds a hash");

static void session_opened(struct store_op *op)
{
	struct login *login = (struct login *)(void *)op;
	struct request *req = login->req;

	settle(login, op->status == STATUS_UNAUTHENTICATED);
	if (op->status == STATUS_UNAUTHENTICATED) {
		app_count_login(req->app, APP_LOGIN_WRONG);
		answer_wrong(req);
		return;
	}
	if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
		request_finish(req);
		return;
	}
	app_count_login(req->app, APP_LOGIN_OK);
	accounts_audit(req, "login", "a user logged in", login->row.id);
	req->caller.user_id = login->row.id; /* for the request's own line */
	accounts_answer_tokens(req, login->row.id, login->row.username, login->session.id, login->refresh,
			       login->wants_refresh);
}

static void begin_session(struct login *login)
{
	accounts_new_session(login->req, login->row.id, &login->session, login->refresh);
	login->op = (struct store_op){.run = open_session, .done = session_opened, .alone = true};
	if (!accounts_write(login->req, &login->op))
		settle(login, false);
}

/* --- wrong --- */

/* Counted only where LOGIN_LOCKOUT_FAILURES says so. Where there is nobody to count it for, something else is written:
 * the time that a commit takes must not tell who is there. */
static enum status count_failure(struct db *db, struct store_op *op, struct err *err)
{
	struct login *login = (struct login *)(void *)op;
	const struct config *config = login->req->app->config;

	if (!login->counts)
		return generations_bump(db, STR("failed_logins"), err);
	enum status status = users_login_failed(db, login->row.id, config->login_lockout_failures,
						clock_wall_us() + config->login_lockout_seconds * 1000000, err);
	return status == STATUS_OK ? users_find(db, login->row.id, &login->row, err) : status;
}

static void failure_counted(struct store_op *op)
{
	struct login *login = (struct login *)(void *)op;

	if (op->status == STATUS_OK && login->counts && login->row.locked_until_us > clock_wall_us())
		accounts_audit(login->req, "account_locked", "an account is locked after failed logins", login->row.id);
	answer_wrong(login->req);
}

static void refuse(struct login *login, bool locked)
{
	struct request *req = login->req;

	settle(login, true);
	app_count_login(req->app, locked ? APP_LOGIN_LOCKED : APP_LOGIN_WRONG);
	accounts_audit(req, locked ? "login_locked" : "login_failed",
		       locked ? "a login was refused: the account is locked" : "a login failed",
		       login->known ? login->row.id : 0);
	if (req->app->config->login_lockout_failures == 0) {
		answer_wrong(req);
		return;
	}
	login->counts = login->known && !locked;
	login->op = (struct store_op){.run = count_failure, .done = failure_counted};
	if (!accounts_write(req, &login->op))
		return; /* it was answered */
}

/* --- the password --- */

static void judge(struct request *req)
{
	struct login *login = req->state;
	bool locked = login->known && login->row.locked_until_us > clock_wall_us();

	if (!login->right || locked) {
		refuse(login, locked);
		return;
	}
	if (!login->row.active) {
		settle(login, false);
		app_count_login(req->app, APP_LOGIN_INACTIVE);
		accounts_audit(req, "login_inactive", "a login was refused: the account is switched off",
			       login->row.id);
		request_answer_detail(req, 400, STR("Inactive user"));
		request_finish(req);
		return;
	}
	begin_session(login);
}

/* A thread that hashes. */
static void check_password(struct request *req, struct db *db)
{
	struct login *login = req->state;

	(void)db;
	login->right = password_check(login->known ? login->row.hash : NULL, login->password, &login->outdated);
	if (login->right && login->outdated && password_hash(login->password, login->fresh_hash, NULL) != STATUS_OK)
		login->fresh_hash[0] = '\0'; /* another time */
	accounts_wipe(login->password);
	accounts_wipe(req->body);
	request_go_back(req, judge);
}

static void go_check_password(struct login *login)
{
	struct request *req = login->req;

	if (request_try_slow(req, req->app->passwords, check_password))
		return;
	settle(login, false);
	request_refuse_full(req, STR("Too many passwords are being checked. Try again later."));
	request_finish(req);
}

/* --- the user --- */

static enum status find_user(struct db *db, struct store_op *op, struct err *err)
{
	struct login *login = (struct login *)(void *)op;

	enum status status = users_find_name(db, login->name_key, &login->row, err);
	login->known = status == STATUS_OK;
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static void user_found(struct store_op *op)
{
	struct login *login = (struct login *)(void *)op;

	if (op->status == STATUS_OK) {
		go_check_password(login);
		return;
	}
	settle(login, false);
	request_answer_error(login->req, op->status, &op->err);
	request_finish(login->req);
}

static void ask_user(struct login *login)
{
	if (!login->name_key.p) {
		go_check_password(login);
		return;
	}
	login->op = (struct store_op){.run = find_user,
				      .done = user_found,
				      .identity = login->req->edge.random,
				      .small = true,
				      .fresh = true};
	store_read(login->req->app->store, &login->op);
}

/* --- whether it may be tried --- */

static void limit(struct login *login, uint64_t retry_ms)
{
	struct request *req = login->req;
	uint64_t seconds = (retry_ms + 999) / 1000;

	app_count_rejected(req->app, APP_REJECTED_LOGIN_RATE_LIMIT);
	app_count_login(req->app, APP_LOGIN_LIMITED);
	accounts_audit(req, "login_limited", "a login was refused: too many have failed", 0);
	response_header_u64(&req->response, "Retry-After", seconds > 0 ? seconds : 1);
	request_answer_detail(req, 429, STR("Rate limit exceeded. Try again later."));
	request_finish(req);
}

/* False: others of this name are under way, and it has to be asked again. */
static bool try_now(struct login *login, uint64_t now_ms)
{
	struct request *req = login->req;
	uint64_t retry_ms;

	switch (logins_admit(req->app->shm, login->id, now_ms, &retry_ms)) {
	case LOGINS_ADMITTED:
		ask_user(login);
		return true;
	case LOGINS_REFUSED:
		give_back_to_address(login);
		limit(login, retry_ms);
		return true;
	case LOGINS_WAIT:
		break;
	}
	if (login->since_ms == 0)
		login->since_ms = now_ms;
	if (now_ms - login->since_ms < WAIT_MAX_MS)
		return false;
	give_back_to_address(login);
	request_refuse_full(req, STR("Too many logins of this name at once. Try again later."));
	request_finish(req);
	return true;
}

static bool look(struct app_waiting *waiting, uint64_t now_ms)
{
	struct login *login = (struct login *)(void *)((char *)waiting - offsetof(struct login, waiting));

	(void)now_ms; /* the tests' differs */
	return try_now(login, clock_mono_ms());
}

static void start(struct request *req)
{
	struct login *login = req->state;
	const struct limit_result address = take_of_address(login);

	if (!address.allowed) {
		limit(login, address.retry_ms);
		return;
	}
	if (try_now(login, clock_mono_ms()))
		return;
	login->waiting.look = look;
	app_wait(req->app, &login->waiting);
}

/* --- the form --- */

/* As OAuth2PasswordRequestForm: absent or empty is missing. */
static bool read_field(struct request *req, struct invalid *invalid, const char *name, struct str *value)
{
	if (form_field(req, str_of(name), value) && value->n > 0)
		return true;
	invalid_add(invalid, &(struct violation){.type = "missing",
						 .msg = "Field required",
						 .where = "body",
						 .field = name,
						 .index = -1,
						 .input = STR("null")});
	return false;
}

static void check_grant(struct request *req, struct invalid *invalid)
{
	struct str grant;

	if (!form_field(req, STR("grant_type"), &grant) || grant.n == 0 || str_eq(grant, STR("password")))
		return;
	invalid_add(invalid, &(struct violation){.type = "string_pattern_mismatch",
						 .msg = "String should match pattern 'password'",
						 .where = "body",
						 .field = "grant_type",
						 .index = -1,
						 .input = invalid_input_text(req, grant),
						 .ctx = STR("{\"pattern\":\"password\"}")});
}

/* scope=offline_access (OpenID Connect Core, section 11): the refresh token in the body, for what is no browser. */
static bool wants_refresh(struct request *req)
{
	struct str scopes;

	if (!form_field(req, STR("scope"), &scopes))
		return false;
	while (scopes.n > 0)
		if (str_eq(str_cut(&scopes, ' '), STR("offline_access")))
			return true;
	return false;
}

/* A form on another site would give its visitor somebody else's cookie, and what they do then would be done in that
 * account. Browsers say where a request comes from; nothing else does, and is let in. */
static bool is_from_another_site(const struct request *req)
{
	return str_eq_nocase(req->fetch_site, STR("cross-site")) && !req->origin_allowed;
}

void auth_post_login(struct request *req)
{
	struct login *login = arena_zalloc(&req->arena, sizeof(*login));
	struct str raw, name;
	struct invalid invalid;

	if (!login) {
		accounts_answer_no_memory(req);
		return;
	}
	if (is_from_another_site(req)) {
		app_count_rejected(req->app, APP_REJECTED_FORBIDDEN);
		request_answer_detail(req, 403, STR("This origin is not in CORS_ORIGINS."));
		request_finish(req);
		return;
	}
	invalid_init(&invalid, req);
	check_grant(req, &invalid);
	bool named = read_field(req, &invalid, "username", &raw);
	if (!read_field(req, &invalid, "password", &login->password) || !named || invalid.n > 0) {
		invalid_answer(&invalid, req);
		request_finish(req);
		return;
	}
	login->req = req;
	login->wants_refresh = wants_refresh(req);
	bool possible = !username_normalise(raw, &req->arena, &name, &login->name_key);
	if (!possible)
		login->name_key = (struct str){0};
	login->id = logins_id(req->remote_addr, possible ? login->name_key : raw);
	req->state = login;
	request_go_back(req, start);
}
