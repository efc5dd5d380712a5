/* A refresh token is the id of its session, 128 random bits, and a code over both that only who has the signing key can
 * make: so one of ours that was replaced long ago is told from one that somebody made up. The table has the hash of the
 * one in force. What replaces one is computed from it and from the request's identity at the edge with the signing key,
 * so that a request that nginx sends to a second worker gets the token that the first one stored. */
#include "handlers/accounts.h"

#include "app.h"
#include "auth/names.h"
#include "auth/password.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/idempotency.h"

#include <sodium.h>

enum { SECRET_BYTES = 32, SECRET_TEXT = 43, RANDOM_BYTES = 16, CODE_BYTES = SECRET_BYTES - RANDOM_BYTES, ID_HEX = 32 };

static const int64_t RECALL_US = INT64_C(10) * 60 * 1000000, DAY_US = INT64_C(86400) * 1000000;

const struct str accounts_cookie_name = STR_INIT("refresh_token");

/* --- ways to end --- */

void accounts_answer_no_memory(struct request *req)
{
	struct err err;

	request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
	request_finish(req);
}

bool accounts_write(struct request *req, struct store_op *op)
{
	if (request_write(req, op))
		return true;
	request_finish(req);
	return false;
}

void accounts_audit(const struct request *req, const char *event, const char *message, int64_t user_id)
{
	struct buf *line = log_begin(LOG_LEVEL_INFO, str_of(message));

	log_str(line, "event", str_of(event));
	log_str(line, "request_id", req->request_id);
	log_str(line, "client", req->remote_addr);
	if (user_id != 0)
		log_i64(line, "user_id", user_id);
	log_end(line);
}

bool accounts_need_login(struct request *req)
{
	if (req->caller.session[0])
		return true;
	app_count_rejected(req->app, APP_REJECTED_FORBIDDEN);
	request_answer_detail(req, 403, STR("An API key may not do this. Log in and use a token."));
	request_finish(req);
	return false;
}

void accounts_wipe(struct str secret)
{
	union { /* request's memory, which views show as constant */
		const char *view;
		char *bytes;
	} at = {.view = secret.p};

	if (secret.n > 0)
		sodium_memzero(at.bytes, secret.n);
}

/* --- reading a body --- */

bool accounts_read_text(struct request *req, struct json_value root, struct invalid *invalid, const char *name,
			bool required, struct str *value)
{
	struct violation violation = {.where = "body", .field = name, .index = -1};
	struct json_value member;

	if (!json_member(root, str_of(name), &member)) {
		violation.type = "missing";
		violation.msg = "Field required";
		violation.input = invalid_input_value(req, root);
		if (required)
			invalid_add(invalid, &violation);
		return false;
	}
	if (member.type != JSON_STRING) {
		violation.type = "string_type";
		violation.msg = "Input should be a valid string";
		violation.input = invalid_input_value(req, member);
		invalid_add(invalid, &violation);
		return false;
	}
	*value = json_string(member, &req->arena);
	return value->p != NULL;
}

/* `head` and a reason, for people; the reason alone in ctx. */
static void violate(struct request *req, struct invalid *invalid, const char *field, const char *head,
		    const char *reason, struct str input)
{
	struct buf msg, ctx;

	buf_init(&msg, &req->arena);
	buf_init(&ctx, &req->arena);
	buf_str(&msg, str_of(head));
	buf_str(&msg, str_of(reason));
	buf_char(&msg, '\0');
	buf_str(&ctx, STR("{\"reason\":"));
	json_put_string(&ctx, str_of(reason));
	buf_char(&ctx, '}');
	invalid_add(invalid, &(struct violation){.type = "value_error",
						 .msg = msg.failed ? head : msg.p,
						 .where = "body",
						 .field = field,
						 .index = -1,
						 .input = invalid_input_text(req, input),
						 .ctx = buf_view(&ctx)});
}

static bool copy_text(char *out, size_t size, struct str text)
{
	if (text.n >= size || memchr(text.p, '\0', text.n))
		return false;
	memcpy(out, text.p, text.n);
	out[text.n] = '\0';
	return true;
}

void accounts_take_username(struct request *req, struct invalid *invalid, struct str raw, struct user_row *row)
{
	struct str name = {0}, key = {0};
	const char *reason = username_normalise(raw, &req->arena, &name, &key);

	if (!reason && (!name.p || !key.p || !copy_text(row->username, sizeof(row->username), name) ||
			!copy_text(row->username_key, sizeof(row->username_key), key)))
		reason = "The name is too long.";
	if (reason)
		violate(req, invalid, "username", "Value error, ", reason, raw);
}

void accounts_take_email(struct request *req, struct invalid *invalid, struct str raw, struct user_row *row)
{
	struct str email = {0}, key = {0};
	const char *reason = email_normalise(raw, &req->arena, &email, &key);

	if (!reason && (!email.p || !key.p || !copy_text(row->email, sizeof(row->email), email) ||
			!copy_text(row->email_key, sizeof(row->email_key), key)))
		reason = "The email address is too long.";
	if (reason)
		violate(req, invalid, "email", "value is not a valid email address: ", reason, raw);
}

static size_t count_characters(struct str text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

void accounts_check_password(struct invalid *invalid, struct str password)
{
	/* The input is not told back: answers are kept in places where a body is not. */
	struct violation violation = {.where = "body", .field = "password", .index = -1, .input = STR("\"********\"")};

	_Static_assert((int)PASSWORD_MAX == (int)ACCOUNTS_PASSWORD_SHOWN_MAX, "the sentence says 1024");
	_Static_assert(ACCOUNTS_PASSWORD_MIN == 8, "the sentence says 8");
	if (count_characters(password) < ACCOUNTS_PASSWORD_MIN) {
		violation.type = "string_too_short";
		violation.msg = "String should have at least 8 characters";
		violation.ctx = STR("{\"min_length\":8}");
	} else if (password.n > PASSWORD_MAX) {
		violation.type = "string_too_long";
		violation.msg = "String should have at most 1024 characters";
		violation.ctx = STR("{\"max_length\":1024}");
	} else if (memchr(password.p, '\0', password.n)) {
		violation.type = "value_error";
		violation.msg = "Value error, The password holds a NUL.";
		violation.ctx = STR("{\"reason\":\"The password holds a NUL.\"}");
	} else {
		return;
	}
	invalid_add(invalid, &violation);
}

/* --- writes that nginx may send twice --- */

static void outcome_key(const struct request *req, uint8_t out[static 32])
{
	static const char purpose[] = "outcome of a request";
	crypto_generichash_state state;

	crypto_generichash_init(&state, (const uint8_t *)purpose, sizeof(purpose) - 1, 32);
	crypto_generichash_update(&state, (const uint8_t *)&req->edge.ms, sizeof(req->edge.ms));
	crypto_generichash_update(&state, req->edge.random, sizeof(req->edge.random));
	crypto_generichash_final(&state, out, 32);
}

static void take_stored(void *arg, const struct idempotency_record *record)
{
	struct request *req = arg;

	req->response.status = record->http_status;
	buf_init(&req->response.body, &req->arena);
	buf_str(&req->response.body, record->body);
}

enum status accounts_recall(struct request *req, struct db *db, bool *found, struct err *err)
{
	uint8_t key[32];

	outcome_key(req, key);
	return idempotency_find(db, key, clock_wall_us(), found, take_stored, req, err);
}

enum status accounts_remember(struct request *req, struct db *db, struct err *err)
{
	int64_t now_us = clock_wall_us();
	struct idempotency_record record = {.http_status = req->response.status,
					    .expires_us = now_us + RECALL_US,
					    .body = buf_view(&req->response.body)};

	outcome_key(req, record.key_hash);
	return idempotency_save(db, &record, now_us, err);
}

/* --- tokens --- */

static void hash_refresh(struct str text, uint8_t out[static SESSION_HASH_BYTES])
{
	static const char purpose[] = "appcore refresh token";

	crypto_generichash(out, SESSION_HASH_BYTES, (const uint8_t *)text.p, text.n, (const uint8_t *)purpose,
			   sizeof(purpose) - 1);
}

static void put_refresh(const struct id *id, const uint8_t secret[static SECRET_BYTES],
			char out[static ACCOUNTS_REFRESH_BYTES])
{
	memcpy(out, "rt_", 3); /* NOLINT(bugprone-not-null-terminated-result): more follows */
	hex_format(id->b, sizeof(id->b), out + 3);
	out[3 + ID_HEX] = '_';
	sodium_bin2base64(out + 4 + ID_HEX, SECRET_TEXT + 1, secret, SECRET_BYTES,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* The code over what stands before it. */
static void make_code(struct str key, const struct id *id, const uint8_t *random, uint8_t out[static CODE_BYTES])
{
	crypto_auth_hmacsha256_state state;
	uint8_t mac[crypto_auth_hmacsha256_BYTES];

	crypto_auth_hmacsha256_init(&state, (const uint8_t *)key.p, key.n);
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)"refresh code", sizeof("refresh code"));
	crypto_auth_hmacsha256_update(&state, id->b, sizeof(id->b));
	crypto_auth_hmacsha256_update(&state, random, RANDOM_BYTES);
	crypto_auth_hmacsha256_final(&state, mac);
	memcpy(out, mac, CODE_BYTES);
	sodium_memzero(&state, sizeof(state));
}

void accounts_new_session(const struct request *req, int64_t user_id, struct session_row *row,
			  char refresh[static ACCOUNTS_REFRESH_BYTES])
{
	struct id id = id_of_edge(&req->edge);
	uint8_t secret[SECRET_BYTES];
	size_t n = req->remote_addr.n < sizeof(row->client) ? req->remote_addr.n : sizeof(row->client) - 1;

	randombytes_buf(secret, RANDOM_BYTES);
	make_code(req->app->token_keys.keys[0], &id, secret, secret + RANDOM_BYTES);
	put_refresh(&id, secret, refresh);
	sodium_memzero(secret, sizeof(secret));
	*row = (struct session_row){.user_id = user_id, .created_us = clock_wall_us()};
	id_format(&id, row->id);
	hash_refresh(str_of(refresh), row->refresh_hash);
	row->renewed_us = row->created_us;
	row->expires_us = row->created_us + req->app->config->refresh_token_expire_days * DAY_US;
	if (n > 0)
		memcpy(row->client, req->remote_addr.p, n);
}

bool accounts_read_refresh(struct str text, char id[static ID_TEXT_BYTES], uint8_t hash[static SESSION_HASH_BYTES])
{
	struct id session;

	if (text.n != ACCOUNTS_REFRESH_BYTES - 1 || !str_starts(text, STR("rt_")) || text.p[3 + ID_HEX] != '_' ||
	    !hex_parse((struct str){text.p + 3, ID_HEX}, session.b, sizeof(session.b)))
		return false;
	id_format(&session, id);
	hash_refresh(text, hash);
	return true;
}

bool accounts_made_refresh(const struct request *req, struct str text)
{
	const struct token_keys *keys = &req->app->token_keys;
	uint8_t secret[SECRET_BYTES], code[CODE_BYTES];
	struct id id;
	size_t n;
	bool made = false;

	if (text.n != ACCOUNTS_REFRESH_BYTES - 1 || !hex_parse((struct str){text.p + 3, ID_HEX}, id.b, sizeof(id.b)) ||
	    sodium_base642bin(secret, sizeof(secret), text.p + 4 + ID_HEX, SECRET_TEXT, NULL, &n, NULL,
			      sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
	    n != sizeof(secret))
		return false;
	for (int i = 0; i < TOKEN_KEYS; i++) {
		if (keys->keys[i].n < TOKEN_KEY_MIN)
			continue;
		make_code(keys->keys[i], &id, secret, code);
		made |= sodium_memcmp(code, secret + RANDOM_BYTES, sizeof(code)) == 0;
	}
	sodium_memzero(secret, sizeof(secret));
	return made;
}

void accounts_next_refresh(const struct request *req, struct str text, char next[static ACCOUNTS_REFRESH_BYTES])
{
	struct str key = req->app->token_keys.keys[0];
	crypto_auth_hmacsha256_state state;
	uint8_t secret[SECRET_BYTES];
	struct id id = {0};

	_Static_assert((int)crypto_auth_hmacsha256_BYTES == (int)SECRET_BYTES, "one is the other");
	crypto_auth_hmacsha256_init(&state, (const uint8_t *)key.p, key.n);
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)"refresh", sizeof("refresh"));
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)&req->edge.ms, sizeof(req->edge.ms));
	crypto_auth_hmacsha256_update(&state, req->edge.random, sizeof(req->edge.random));
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)text.p, text.n);
	crypto_auth_hmacsha256_final(&state, secret);
	if (!hex_parse((struct str){text.p + 3, ID_HEX}, id.b, sizeof(id.b)))
		id = (struct id){0}; /* accounts_read_refresh has read it */
	make_code(key, &id, secret, secret + RANDOM_BYTES);
	put_refresh(&id, secret, next);
	sodium_memzero(&state, sizeof(state));
	sodium_memzero(secret, sizeof(secret));
}

static void put_cookie(struct request *req, struct str value, int64_t seconds)
{
	struct buf text;

	buf_init(&text, &req->arena);
	buf_fmt(&text, "%.*s=%.*s; Path=/api/v1/auth/refresh; Max-Age=%lld; HttpOnly; Secure; SameSite=Strict",
		STR_ARG(accounts_cookie_name), STR_ARG(value), (long long)seconds);
	if (!text.failed)
		response_header(&req->response, "Set-Cookie", buf_view(&text));
}

void accounts_forget_cookie(struct request *req)
{
	put_cookie(req, STR(""), 0);
}

void accounts_answer_tokens(struct request *req, int64_t user_id, const char *username, const char *session,
			    const char *refresh, bool in_body)
{
	const struct config *config = req->app->config;
	struct token token = {.user_id = user_id, .issued_s = clock_wall_us() / 1000000};
	const struct id jti = id_of_edge_row(&req->edge, 1);
	struct buf *out = &req->response.body;

	token.expires_s = token.issued_s + config->access_token_expire_minutes * 60;
	if (!copy_text(token.username, sizeof(token.username), str_of(username)) ||
	    !copy_text(token.session, sizeof(token.session), str_of(session)))
		out->failed = true;
	id_format(&jti, token.jti);
	struct str text = token_sign(&req->app->token_keys, &token, &req->arena);
	if (!text.p)
		out->failed = true;
	buf_str(out, STR("{\"access_token\":\""));
	buf_str(out, text);
	buf_str(out, STR("\",\"token_type\":\"bearer\""));
	if (in_body)
		buf_fmt(out, ",\"expires_in\":%lld,\"refresh_token\":\"%s\"",
			(long long)config->access_token_expire_minutes * 60, refresh);
	else
		put_cookie(req, str_of(refresh), config->refresh_token_expire_days * (DAY_US / 1000000));
	buf_char(out, '}');
	req->response.status = 200;
	req->response.content_type = "application/json";
	response_header(&req->response, "Cache-Control", STR("no-store"));
	request_finish(req);
}
