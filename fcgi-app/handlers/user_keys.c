/* The caller's own API keys: GET and POST /api/v1/users/me/keys, DELETE /api/v1/users/me/keys/{key_id}.
 *
 * A key opens what its owner's token opens, and nothing else, but for what decides who gets in: it makes no keys, and
 * revokes none but itself. Its text is told once. It is derived from the request's identity at the edge with the
 * signing key and the owner's row, so that a request that nginx sends to a second worker makes no second key and is
 * told the same one. */
#include "app.h"
#include "base/clock.h"
#include "handlers/accounts.h"
#include "handlers/handlers.h"
#include "handlers/instances.h"

#include <sodium.h>

enum { KEYS_MAX = 20, DAYS_MAX = 3650 };

static const int64_t DAY_US = INT64_C(86400) * 1000000;

struct user_keys {
	struct store_op op; /* first: the store hands it back */
	struct request *req;
	struct key_row row; /* the new one */
	char text[KEY_TEXT_BYTES];
	struct key_row rows[KEYS_MAX]; /* those that there are */
	int n;                         /* of them; counts on behind the last */
	bool full, repeated;
	bool foreign; /* the key that is to be revoked is somebody else's */
};

static struct user_keys *begin(struct request *req)
{
	struct user_keys *keys = arena_zalloc(&req->arena, sizeof(*keys));

	if (!keys) {
		accounts_answer_no_memory(req);
		return NULL;
	}
	keys->req = req;
	req->state = keys;
	return keys;
}

static void answer_error(struct user_keys *keys)
{
	request_answer_error(keys->req, keys->op.status, &keys->op.err);
	request_finish(keys->req);
}

/* Without zone, as the times of users. */
static void put_time(struct buf *out, const char *name, int64_t us)
{
	char text[CLOCK_ISO_BYTES];

	buf_fmt(out, ",\"%s\":", name);
	if (us == 0) {
		buf_str(out, STR("null"));
		return;
	}
	clock_format_iso(us, text);
	buf_fmt(out, "\"%.*s\"", (int)strcspn(text, "+Z"), text);
}

static void put_key(struct buf *out, const struct key_row *row, const char *text)
{
	buf_fmt(out, "{\"id\":\"%s\",\"name\":", row->id);
	json_put_string(out, str_of(row->name));
	if (text)
		buf_fmt(out, ",\"key\":\"%s\"", text);
	put_time(out, "created_at", row->created_us);
	put_time(out, "expires_at", row->expires_us);
	buf_char(out, '}');
}

static bool take_row(void *arg, const struct key_row *row)
{
	struct user_keys *keys = arg;

	if (keys->n < KEYS_MAX)
		keys->rows[keys->n] = *row;
	keys->n++;
	return keys->n < KEYS_MAX;
}

static enum status read_rows(struct db *db, struct store_op *op, struct err *err)
{
	struct user_keys *keys = (struct user_keys *)(void *)op;

	keys->n = 0;
	return keys_each_valid(db, keys->req->caller.user_id, take_row, keys, err);
}

/* --- list --- */

static void listed(struct store_op *op)
{
	struct user_keys *keys = (struct user_keys *)(void *)op;
	struct request *req = keys->req;
	struct buf *out = &req->response.body;

	if (op->status != STATUS_OK) {
		answer_error(keys);
		return;
	}
	buf_str(out, STR("{\"keys\":["));
	for (int i = 0; i < keys->n; i++) {
		if (i > 0)
			buf_char(out, ',');
		put_key(out, &keys->rows[i], NULL);
	}
	buf_str(out, STR("]}"));
	req->response.status = 200;
	req->response.content_type = "application/json";
	request_finish(req);
}

void user_keys_get(struct request *req)
{
	struct user_keys *keys = begin(req);

	if (!keys)
		return;
	keys->op = (struct store_op){
		.run = read_rows, .done = listed, .identity = req->edge.random, .small = true, .fresh = true};
	store_read(req->app->store, &keys->op);
}

/* --- create --- */

static bool has_row(const struct user_keys *keys, const char *id)
{
	bool has = false;

	for (int i = 0; i < keys->n; i++)
		has = has || strcmp(keys->rows[i].id, id) == 0;
	return has;
}

/* Out of what the log tells, the signing key, and what the database alone knows: neither the key nor the database is
 * enough. */
static void derive(struct user_keys *keys, const struct user_row *owner)
{
	const struct request *req = keys->req;
	struct str key = req->app->token_keys.keys[0];
	crypto_auth_hmacsha256_state state;
	uint8_t seed[KEYRING_SEED_BYTES];

	_Static_assert((int)crypto_auth_hmacsha256_BYTES == (int)KEYRING_SEED_BYTES, "one is the other");
	crypto_auth_hmacsha256_init(&state, (const uint8_t *)key.p, key.n);
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)"api key", sizeof("api key"));
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)&req->caller.user_id, sizeof(req->caller.user_id));
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)&req->edge.ms, sizeof(req->edge.ms));
	crypto_auth_hmacsha256_update(&state, req->edge.random, sizeof(req->edge.random));
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)owner->hash, strlen(owner->hash));
	crypto_auth_hmacsha256_final(&state, seed);
	keyring_derive(seed, keys->text, &keys->row);
	sodium_memzero(&state, sizeof(state));
	sodium_memzero(seed, sizeof(seed));
}

static enum status insert(struct db *db, struct store_op *op, struct err *err)
{
	struct user_keys *keys = (struct user_keys *)(void *)op;
	struct user_row owner;

	/* Of many at once none must count before another has inserted. */
	enum status status = users_hold(db, keys->req->caller.user_id, err);
	if (status == STATUS_OK)
		status = users_find(db, keys->req->caller.user_id, &owner, err);
	if (status == STATUS_OK)
		status = read_rows(db, op, err);
	if (status != STATUS_OK)
		return status;
	derive(keys, &owner);
	keys->repeated = has_row(keys, keys->row.id);
	keys->full = keys->n >= KEYS_MAX && !keys->repeated;
	return keys->full ? STATUS_OK : keys_insert(db, &keys->row, err);
}

static void inserted(struct store_op *op)
{
	struct user_keys *keys = (struct user_keys *)(void *)op;
	struct request *req = keys->req;

	if (op->status == STATUS_CONFLICT) {
		request_answer_detail(req, 409, STR("You have an API key of this name already."));
	} else if (op->status != STATUS_OK) {
		request_answer_error(req, op->status, &op->err);
	} else if (keys->full) {
		request_answer_detail(req, 409, STR("You have too many API keys. Revoke one first."));
	} else {
		if (!keys->repeated)
			accounts_audit(req, "key_created", "a user made an API key", req->caller.user_id);
		put_key(&req->response.body, &keys->row, keys->text);
		req->response.status = 201;
		req->response.content_type = "application/json";
		response_header(&req->response, "Cache-Control", STR("no-store"));
	}
	sodium_memzero(keys->text, sizeof(keys->text));
	request_finish(req);
}

static void submit(struct request *req)
{
	struct user_keys *keys = req->state;

	keys->op = (struct store_op){.run = insert, .done = inserted, .alone = true};
	if (!accounts_write(req, &keys->op))
		return; /* it was answered */
}

/* Lists are shown on terminals. */
static bool has_control(struct str text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		unsigned char next = i + 1 < text.n ? (unsigned char)text.p[i + 1] : 0;
		if (c < 0x20 || c == 0x7f || (c == 0xc2 && next < 0xa0))
			return true;
	}
	return false;
}

static void take_name(struct user_keys *keys, struct str name, struct invalid *invalid)
{
	struct violation violation = {.where = "body", .field = "name", .index = -1};

	violation.input = invalid_input_text(keys->req, name);
	name = str_trim(name);
	if (name.n == 0) {
		violation.type = "string_too_short";
		violation.msg = "String should have at least 1 character";
		violation.ctx = STR("{\"min_length\":1}");
	} else if (name.n >= sizeof(keys->row.name)) {
		violation.type = "string_too_long";
		violation.msg = "String should have at most 100 characters";
		violation.ctx = STR("{\"max_length\":100}");
	} else if (has_control(name)) {
		violation.type = "value_error";
		violation.msg = "Value error, The name holds a control character.";
		violation.ctx = STR("{\"reason\":\"The name holds a control character.\"}");
	} else {
		memcpy(keys->row.name, name.p, name.n);
		keys->row.name[name.n] = '\0';
		return;
	}
	invalid_add(invalid, &violation);
}

/* How long it is good; absent or null: until it is revoked. */
static void take_expiry(struct user_keys *keys, struct json_value root, struct invalid *invalid)
{
	struct violation violation = {.where = "body", .field = "expires_in_days", .index = -1};
	struct json_value value;
	double days;

	if (!json_member(root, STR("expires_in_days"), &value) || value.type == JSON_NULL)
		return;
	violation.input = invalid_input_value(keys->req, value);
	if (value.type != JSON_NUMBER || !json_number(value, &days) || days < -1e6 || days > 1e6 ||
	    days != (double)(int64_t)days) {
		violation.type = "int_type";
		violation.msg = "Input should be a valid integer";
	} else if (days < 1) {
		violation.type = "greater_than_equal";
		violation.msg = "Input should be greater than or equal to 1";
		violation.ctx = STR("{\"ge\":1}");
	} else if (days > DAYS_MAX) {
		violation.type = "less_than_equal";
		violation.msg = "Input should be less than or equal to 3650";
		violation.ctx = STR("{\"le\":3650}");
	} else {
		keys->row.expires_us = keys->row.created_us + (int64_t)days * DAY_US;
		return;
	}
	invalid_add(invalid, &violation);
}

void user_keys_post(struct request *req)
{
	struct user_keys *keys;
	struct invalid invalid;
	struct json_value root;
	struct str name;

	if (!accounts_need_login(req))
		return;
	if (!instances_read_root(req, &root)) {
		request_finish(req);
		return;
	}
	keys = begin(req);
	if (!keys)
		return;
	keys->row.user_id = req->caller.user_id;
	keys->row.rate_per_minute = -1;
	keys->row.created_us = req->edge.ms * 1000;
	invalid_init(&invalid, req);
	if (accounts_read_text(req, root, &invalid, "name", true, &name))
		take_name(keys, name, &invalid);
	take_expiry(keys, root, &invalid);
	if (invalid.n > 0) {
		invalid_answer(&invalid, req);
		request_finish(req);
		return;
	}
	request_go_back(req, submit);
}

/* --- revoke --- */

static enum status revoke(struct db *db, struct store_op *op, struct err *err)
{
	struct user_keys *keys = (struct user_keys *)(void *)op;
	struct request *req = keys->req;

	keys->foreign = false;
	enum status status = accounts_recall(req, db, &keys->repeated, err);
	if (status == STATUS_OK && !keys->repeated)
		status = keys_find(db, req->params[0], &keys->row, err);
	if (status != STATUS_OK || keys->repeated)
		return status;
	keys->foreign = keys->row.user_id != req->caller.user_id;
	if (keys->foreign)
		return err_set(err, STATUS_NOT_FOUND, "it is another's");
	status = keys_revoke_of(db, req->caller.user_id, req->params[0], clock_wall_us(), err);
	req->response.status = 204;
	return status == STATUS_OK ? accounts_remember(req, db, err) : status;
}

static void revoked(struct store_op *op)
{
	struct user_keys *keys = (struct user_keys *)(void *)op;
	struct request *req = keys->req;

	if (keys->foreign)
		accounts_audit(req, "foreign_key", "a user tried to revoke an API key of somebody else",
			       req->caller.user_id);
	if (op->status == STATUS_NOT_FOUND) {
		request_answer_detail(req, 404, STR("API key not found"));
		request_finish(req);
		return;
	}
	if (op->status != STATUS_OK) {
		answer_error(keys);
		return;
	}
	if (!keys->repeated)
		accounts_audit(req, "key_revoked", "a user revoked an API key", req->caller.user_id);
	request_finish(req);
}

void user_keys_delete(struct request *req)
{
	struct user_keys *keys;

	if (!str_eq(req->params[0], str_of(req->caller.key_id)) && !accounts_need_login(req))
		return;
	keys = begin(req);
	if (!keys)
		return;
	keys->op = (struct store_op){.run = revoke, .done = revoked};
	if (!accounts_write(req, &keys->op))
		return; /* it was answered */
}
