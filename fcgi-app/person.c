/* A token's signature says who it was made for, and the store whether that still holds: each request reads session and
 * user, so that logging out, a new password, or switching an account off is in force everywhere at once. So it is with
 * a key, which is read together with its owner.
 *
 * The texts are the contract's, which are those of FastAPI's OAuth2PasswordBearer and of the handlers it is used with.
 */
#include "person.h"

#include "app.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/users.h"

#include <sodium.h>

struct person {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	int64_t user_id;
	struct str session; /* empty: a key */
	char session_text[ID_TEXT_BYTES];
	int64_t until_us; /* when the token ends */
	char key_id[KEY_ID_BYTES];
	uint8_t key_hash[KEY_HASH_BYTES];
	struct key_row key; /* as it is stored */
	struct user_session found;
	bool known; /* the store has answered */
	bool waits; /* and the request waits for that */
};

static enum middleware_result refuse(struct request *req, int http_status, struct str detail)
{
	if (http_status == 401)
		response_header(&req->response, "WWW-Authenticate", STR("Bearer"));
	app_count_rejected(req->app, http_status == 401 ? APP_REJECTED_UNAUTHENTICATED : APP_REJECTED_FORBIDDEN);
	request_answer_detail(req, http_status, detail);
	return MIDDLEWARE_REFUSED;
}

/* DataFlow's own words. */
static bool is_dataflow(const struct request *req)
{
	return req->route->auth == ROUTE_TOKEN || req->route->auth == ROUTE_DATA;
}

static enum middleware_result refuse_unknown(struct request *req)
{
	if (is_dataflow(req))
		return refuse(req, 401, STR("Invalid token"));
	return refuse(req, 401, STR("Could not validate credentials"));
}

static enum middleware_result refuse_operator(struct request *req)
{
	return refuse(req, 403, STR("This API key belongs to no user. Use a token, or an API key of your own."));
}

/* --- asking the store --- */

static bool is_good(const struct person *person)
{
	const struct key_row *key = &person->key;

	return sodium_memcmp(key->hash, person->key_hash, KEY_HASH_BYTES) == 0 &&
	       (key->expires_us == 0 || key->expires_us > clock_wall_us());
}

static enum status find_owner(struct db *db, struct person *person, struct err *err)
{
	struct user_row row;

	person->user_id = 0;
	enum status status = keys_find(db, str_of(person->key_id), &person->key, err);
	if (status == STATUS_NOT_FOUND || (status == STATUS_OK && !is_good(person)))
		return STATUS_OK;
	person->found.known = status == STATUS_OK;
	person->user_id = person->key.user_id;
	if (status != STATUS_OK || person->user_id == 0)
		return status; /* the operator's own */
	status = users_find(db, person->user_id, &row, err);
	person->found.known = status == STATUS_OK;
	if (status != STATUS_OK)
		return status == STATUS_NOT_FOUND ? STATUS_OK : status;
	person->found.active = row.active;
	person->found.superuser = row.superuser;
	memcpy(person->found.username, row.username, sizeof(row.username));
	return STATUS_OK;
}

static enum status find(struct db *db, struct store_op *op, struct err *err)
{
	struct person *person = (struct person *)(void *)op;

	person->found = (struct user_session){0};
	if (person->session.n == 0)
		return find_owner(db, person, err);
	return users_find_session(db, person->user_id, person->session, clock_wall_us(), &person->found, err);
}

static void found(struct store_op *op)
{
	struct person *person = (struct person *)(void *)op;

	person->known = true;
	if (person->waits)
		app_go_on(person->req);
}

static enum middleware_result judge(struct request *req)
{
	const struct person *person = req->person;
	const struct user_session *user = &person->found;
	struct caller *caller = &req->caller;

	if (person->op.status != STATUS_OK) {
		app_count_rejected(req->app, APP_REJECTED_STORE);
		request_answer_error(req, person->op.status, &person->op.err);
		return MIDDLEWARE_REFUSED;
	}
	if (!user->known)
		return refuse_unknown(req);
	if (person->user_id == 0)
		return refuse_operator(req);
	caller->user_id = person->user_id;
	caller->superuser = user->superuser;
	memcpy(caller->username, user->username, sizeof(user->username));
	memcpy(caller->session, person->session_text, sizeof(caller->session));
	caller->until_us = person->until_us;
	if (person->session.n == 0) {
		memcpy(caller->key_id, person->key.id, sizeof(caller->key_id));
		memcpy(caller->name, person->key.name, sizeof(caller->name));
		caller->rate_per_minute = person->key.rate_per_minute;
	}
	if (!user->active && is_dataflow(req))
		return refuse_unknown(req);
	if (!user->active)
		return refuse(req, 400, STR("Inactive user"));
	if (req->route->superuser && !user->superuser) {
		struct buf *line = log_begin(LOG_LEVEL_WARNING, STR("a superuser's route was refused to a user"));
		log_str(line, "event", STR("superuser_refused"));
		log_str(line, "request_id", req->request_id);
		log_i64(line, "user_id", person->user_id);
		log_end(line);
		return refuse(req, 403, STR("Only superusers may do this."));
	}
	return MIDDLEWARE_PASSED;
}

_Static_assert(sizeof(((struct caller *)0)->username) == sizeof(((struct user_session *)0)->username), "one name");
_Static_assert(sizeof(((struct caller *)0)->username) == sizeof(((struct user_row *)0)->username), "one name");

static struct person *new_person(struct request *req)
{
	struct person *person = arena_zalloc(&req->arena, sizeof(*person));
	struct err err;

	if (!person)
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	return person;
}

static enum middleware_result ask(struct request *req, struct person *person)
{
	person->op = (struct store_op){
		.run = find, .done = found, .identity = req->edge.random, .small = true, .fresh = true};
	person->req = req;
	req->person = person;
	req->caller = (struct caller){.rate_per_minute = -1};
	store_read(req->app->store, &person->op);
	if (person->known)
		return judge(req);
	person->waits = true;
	return MIDDLEWARE_WAITS;
}

/* --- what the request carries --- */

static enum middleware_result check_token(struct request *req, struct str text)
{
	struct person *person;
	struct token token;

	if (!token_check(&req->app->token_keys, text, clock_wall_us() / 1000000, &token))
		return refuse_unknown(req);
	person = new_person(req);
	if (!person)
		return MIDDLEWARE_REFUSED;
	person->user_id = token.user_id;
	person->until_us = token.expires_s * 1000000;
	memcpy(person->session_text, token.session, sizeof(person->session_text));
	person->session = str_of(person->session_text);
	return ask(req, person);
}

static enum middleware_result check_key(struct request *req)
{
	struct caller nobody;
	struct person *person = new_person(req);

	if (!person)
		return MIDDLEWARE_REFUSED;
	if (keyring_read_key(req->api_key, person->key_id, person->key_hash))
		return ask(req, person);
	return keyring_check(&req->app->keyring, req->api_key, clock_wall_us(), &nobody) == STATUS_OK
		       ? refuse_operator(req)
		       : refuse_unknown(req);
}

/* As FastAPI's HTTPBearer of that time: 403 to who shows no token. */
static enum middleware_result check_dataflow(struct request *req)
{
	struct str rest = str_trim(req->authorization);

	if (rest.n == 0)
		return refuse(req, 403, STR("Not authenticated"));
	if (!str_eq_nocase(str_cut(&rest, ' '), STR("Bearer")))
		return refuse(req, 403, STR("Invalid authentication credentials"));
	rest = str_trim(rest);
	return rest.n > 0 ? check_token(req, rest) : refuse(req, 403, STR("Not authenticated"));
}

enum middleware_result person_check(struct request *req)
{
	struct str rest = str_trim(req->authorization);

	bool open = req->route->auth == ROUTE_DATA && strcmp(req->app->config->data_access, "open") == 0;

	if (open || (req->route->auth != ROUTE_USER && !is_dataflow(req)))
		return MIDDLEWARE_PASSED;
	if (req->person)
		return judge(req);
	if (is_dataflow(req))
		return check_dataflow(req);
	if (str_eq_nocase(str_cut(&rest, ' '), STR("Bearer")))
		return check_token(req, str_trim(rest));
	if (req->api_key.n > 0)
		return check_key(req);
	return refuse(req, 401, STR("Not authenticated"));
}
