/* Accounts: registering, logging in, what a token is good for and until when. */
#include "harness.h"

#include "auth/token.h"
#include "base/clock.h"
#include "person.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

static const char NOT_AUTHENTICATED[] = DETAIL("Not authenticated");
static const char NOT_VALID[] = DETAIL("Could not validate credentials");
static const char INCORRECT[] = DETAIL("Incorrect username or password");
static const char TAKEN[] = DETAIL("Username or email already registered");
static const char LIMITED[] = DETAIL("Rate limit exceeded. Try again later.");
static const char FORM[] = "application/x-www-form-urlencoded";
static const char ME[] = "/api/v1/users/me";

static struct exchange *login(struct harness *h, const char *form)
{
	return ASK(h, .path = "/api/v1/auth/login", .body = form, .type = FORM);
}

static struct exchange *enrol(struct harness *h, const char *json)
{
	return ASK(h, .path = "/api/v1/auth/register", .body = json);
}

static struct exchange *me(struct harness *h, const char *token)
{
	return ASK(h, .path = ME, .token = token);
}

/* The text between `before` and the next quote in the answer; valid for four calls. */
static const char *cut(const struct exchange *x, const char *before)
{
	static char texts[4][2048];
	static int next;
	char *text = texts[next++ % 4];
	const char *at = strstr(answer_body(x), before);

	at = at ? at + strlen(before) : "";
	snprintf(text, sizeof(texts[0]), "%.*s", (int)strcspn(at, "\""), at);
	return text;
}

static const char *token_of(const struct exchange *x)
{
	return cut(x, "\"access_token\":\"");
}

static const char *refresh_of(const struct exchange *x)
{
	return cut(x, "\"refresh_token\":\"");
}

/* --- who may call --- */

static void without_a_token(void)
{
	static const char *const headers[] = {
		"", "Basic dXNlcjpwYXNz", "token abc", "Bearer,abc", "Digest x", "bear er", "\t"};
	struct harness h;

	harness_open(&h);
	struct exchange *x = GET(&h, ME);
	ANSWERS(x, 401, NOT_AUTHENTICATED);
	HEADER_IS(x, "WWW-Authenticate", "Bearer");
	HEADER_IS(x, "Content-Type", "application/json");
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		x = ASK(&h, .path = ME, .params = {"HTTP_AUTHORIZATION", headers[i]});
		ANSWERS(x, 401, NOT_AUTHENTICATED);
		HEADER_IS(x, "WWW-Authenticate", "Bearer");
	}
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"unauthenticated\"}"), 8.0);
	harness_close(&h);
}

static void a_token_names_its_user(void)
{
	struct harness_user user, other;
	struct harness h;
	char wanted[512], header[1200];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	harness_add_user(&h, "other", &other);
	struct exchange *x = me(&h, user.token);
	ANSWERS(x, 200, NULL);
	snprintf(wanted, sizeof(wanted),
		 "{\"id\":%lld,\"email\":\"testuser@example.com\",\"username\":\"testuser\",\"is_active\":true,"
		 "\"is_superuser\":false,\"created_at\":\"",
		 (long long)user.id);
	CU_ASSERT_TRUE(strncmp(answer_body(x), wanted, strlen(wanted)) == 0);
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "$"));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "password"));
	SAME(cut(me(&h, other.token), "\"username\":\""), "other");
	ANSWERS(ASK(&h, .path = "/api/v1/protected", .token = user.token), 200,
		"{\"message\":\"This is a protected endpoint\",\"username\":\"testuser\"}");
	/* The scheme's case does not matter (RFC 9110). */
	snprintf(header, sizeof(header), "bEARER   %s ", user.token);
	ANSWERS(ASK(&h, .path = ME, .params = {"HTTP_AUTHORIZATION", header}), 200, NULL);
	ANSWERS(ASK(&h, .path = ME, .method = "HEAD", .token = user.token), 200, "");
	snprintf(wanted, sizeof(wanted), "\"user_id\":%lld", (long long)user.id);
	CU_ASSERT_TRUE(harness_logged(&h, wanted));
	harness_close(&h);
}

static void sign(struct harness *h, struct token *token, const char *key, char out[1024])
{
	const struct token_keys keys = {.keys = {str_of(key)}};
	struct arena arena;

	(void)h;
	arena_init(&arena, 1 << 20);
	struct str text = token_sign(&keys, token, &arena);
	CU_ASSERT_FATAL(text.n > 0 && text.n < 1024);
	memcpy(out, text.p, text.n);
	out[text.n] = '\0';
	arena_release(&arena);
}

static struct token good_token(const struct harness_user *user)
{
	int64_t now_s = clock_wall_us() / 1000000;
	struct token token = {.user_id = user->id, .issued_s = now_s, .expires_s = now_s + 60};

	snprintf(token.username, sizeof(token.username), "%s", user->name);
	memcpy(token.session, user->session, sizeof(token.session));
	memcpy(token.jti, user->session, sizeof(token.jti));
	return token;
}

static void is_refused(struct harness *h, const char *token)
{
	struct exchange *x = me(h, token);

	ANSWERS(x, 401, NOT_VALID);
	HEADER_IS(x, "WWW-Authenticate", "Bearer");
}

static void a_token_that_is_none_of_ours(void)
{
	struct harness_user user;
	struct token token;
	struct harness h;
	char text[1024];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	is_refused(&h, "");
	is_refused(&h, "invalid_token_here");
	is_refused(&h, "a.b.c");
	/* Each character counts. */
	for (size_t i = 0; i < strlen(user.token); i += 7) {
		snprintf(text, sizeof(text), "%s", user.token);
		text[i] = text[i] == 'A' ? 'B' : 'A';
		is_refused(&h, text);
	}
	/* {"alg":"none"} with the payload of a good one, and no signature. */
	const char *payload = strchr(user.token, '.') + 1;
	snprintf(text, sizeof(text), "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.%.*s.", (int)strcspn(payload, "."), payload);
	is_refused(&h, text);

	token = good_token(&user);
	sign(&h, &token, HARNESS_SECRET, text);
	ANSWERS(me(&h, text), 200, NULL); /* so that what follows can fail */
	sign(&h, &token, "another-secret-0123456789-0123456789", text);
	is_refused(&h, text);
	token.expires_s = token.issued_s - 1;
	sign(&h, &token, HARNESS_SECRET, text);
	is_refused(&h, text);
	token = good_token(&user);
	token.user_id = 4711;
	sign(&h, &token, HARNESS_SECRET, text);
	is_refused(&h, text);
	harness_close(&h);
}

static void the_previous_key_is_good(void)
{
	struct harness_user user;
	struct token token;
	struct harness h;
	char text[1024];

	harness_init(&h);
	h.config.secret_key_previous = "the-key-before-0123456789-0123456789";
	harness_start(&h);
	harness_add_user(&h, "testuser", &user);
	token = good_token(&user);
	sign(&h, &token, h.config.secret_key_previous, text);
	ANSWERS(me(&h, text), 200, NULL);
	harness_close(&h);
}

static void what_ends_a_token(void)
{
	struct harness_user user, gone, off;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "user", &user);
	harness_add_user(&h, "gone", &gone);
	harness_add_user(&h, "off", &off);
	harness_sql(&h, "DELETE FROM users WHERE username = 'gone'");
	is_refused(&h, gone.token);
	harness_sql(&h, "UPDATE users SET is_active = 0 WHERE username = 'off'");
	struct exchange *x = me(&h, off.token);
	ANSWERS(x, 400, DETAIL("Inactive user"));
	HEADER_IS(x, "WWW-Authenticate", "");
	harness_sql(&h, "UPDATE users SET is_active = 1 WHERE username = 'off'");
	ANSWERS(me(&h, off.token), 200, NULL);
	harness_sql(&h, "UPDATE sessions SET expires_us = 1");
	is_refused(&h, user.token);
	harness_close(&h);
}

/* Neither the body's form nor its size tells a stranger anything. */
static void authentication_comes_first(void)
{
	static const char *const bodies[] = {"{}", "{", "", "null", "{\"username\":1}"};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		ANSWERS(ASK(&h, .path = ME, .method = "PATCH", .body = bodies[i]), 401, NOT_AUTHENTICATED);
	ANSWERS(ASK(&h, .path = ME, .method = "PATCH", .body = "x", .type = "text/plain"), 401, NOT_AUTHENTICATED);
	ANSWERS(ASK(&h, .path = ME, .method = "PATCH", .body = "x", .params = {"CONTENT_LENGTH", "99999999"}), 401,
		NOT_AUTHENTICATED);
	harness_close(&h);
}

static void per_user_and_route(void)
{
	struct harness_user user, other;
	struct harness h;

	harness_init(&h);
	h.config.user_rate_limit_per_minute = 60;
	h.config.rate_limit_per_minute = 1; /* that of addresses has nothing to do with it */
	harness_start(&h);
	harness_add_user(&h, "user", &user);
	harness_add_user(&h, "other", &other);
	for (int i = 0; i < 60; i++)
		ANSWERS(me(&h, user.token), 200, NULL);
	struct exchange *x = me(&h, user.token);
	ANSWERS(x, 429, LIMITED);
	HEADER_IS(x, "X-RateLimit-Remaining", "0");
	long seconds = strtol(answer_header(x, "Retry-After"), NULL, 10);
	CU_ASSERT_TRUE(seconds >= 1 && seconds <= 60);
	ANSWERS(ASK(&h, .path = ME, .token = user.token, .client = "203.0.113.9"), 429, LIMITED);
	HEADER_IS(me(&h, other.token), "X-RateLimit-Remaining", "59");
	x = ASK(&h, .path = "/api/v1/protected", .token = user.token);
	ANSWERS(x, 200, NULL);
	HEADER_IS(x, "X-RateLimit-Remaining", "59");
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"user_rate_limit\"}"), 2.0);
	harness_close(&h);
}

static void superusers_only(void)
{
	static const struct route route = {.auth = ROUTE_USER, .superuser = true, .pattern = "/"};
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "user", &user);
	for (int super = 0; super < 2; super++) {
		struct exchange *x = me(&h, user.token);
		x->req.route = &route; /* as if it had been for this one */
		CU_ASSERT_EQUAL(person_check(&x->req), super ? MIDDLEWARE_PASSED : MIDDLEWARE_REFUSED);
		CU_ASSERT_EQUAL(x->req.response.status, super ? 200 : 403);
		CU_ASSERT_EQUAL(x->req.caller.superuser, super == 1);
		harness_sql(&h, "UPDATE users SET is_superuser = 1");
	}
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"superuser_refused\""));
	harness_close(&h);
}

/* --- registering --- */

static const char TEST_USER[] =
	"{\"username\":\"testuser\",\"email\":\"test@example.com\",\"password\":\"testpass123\"}";

static void registering(void)
{
	struct harness h;

	harness_open(&h);
	struct exchange *x = enrol(&h, TEST_USER);
	ANSWERS(x, 201, NULL);
	HEADER_IS(x, "Content-Type", "application/json");
	static const char start[] = "{\"id\":1,\"email\":\"test@example.com\",\"username\":\"testuser\","
				    "\"is_active\":true,\"is_superuser\":false,\"created_at\":\"20";
	CU_ASSERT_TRUE(strncmp(answer_body(x), start, sizeof(start) - 1) == 0);
	SAME(cut(x, "\"created_at\":\""), cut(x, "\"updated_at\":\""));
	CU_ASSERT_PTR_NULL(strchr(cut(x, "\"created_at\":\""), 'Z'));
	ANSWERS(enrol(&h, TEST_USER), 400, TAKEN);
	ANSWERS(enrol(&h, "{\"username\":\"other\",\"email\":\"test@EXAMPLE.com\",\"password\":\"testpass123\"}"), 400,
		TAKEN);
	ANSWERS(enrol(&h, "{\"username\":\"TestUser\",\"email\":\"o@example.com\",\"password\":\"testpass123\"}"), 400,
		TAKEN);
	ANSWERS(enrol(&h, "{\"username\":\"other\",\"email\":\"A@EXAMPLE.COM\",\"password\":\"testpass123\","
			  "\"is_superuser\":true,\"id\":99}"),
		201, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM users"), 2);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM users WHERE email = 'A@example.com' AND "
					   "is_superuser = 0 AND id < 99"),
			1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM users WHERE hashed_password LIKE '$argon2id$%'"), 2);
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"register\""));
	harness_close(&h);
}

static void what_is_no_registration(void)
{
#define BODY_OF(text) "{\"username\":\"u\",\"email\":\"" text "\",\"password\":\"testpass123\"}"
#define EMAIL_IS(text, reason)                                                                                         \
	{                                                                                                              \
		BODY_OF(text), "{\"detail\":[{\"type\":\"value_error\",\"loc\":[\"body\",\"email\"],\"msg\":\"value "  \
			       "is not a valid email "                                                                 \
			       "address: " reason "\",\"input\":\"" text "\",\"ctx\":{\"reason\":\"" reason "\"}}]}"   \
	}
	static const struct {
		const char *body, *answer;
	} CASES[] = {
		{"{\"username\":\"a\"}",
		 "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"email\"],\"msg\":\"Field required\","
		 "\"input\":{\"username\":\"a\"}},{\"type\":\"missing\",\"loc\":[\"body\",\"password\"],"
		 "\"msg\":\"Field required\",\"input\":{\"username\":\"a\"}}]}"},
		{"{\"username\":1,\"email\":2,\"password\":null}",
		 "{\"detail\":[{\"type\":\"string_type\",\"loc\":[\"body\",\"username\"],\"msg\":\"Input should be a "
		 "valid string\",\"input\":1},{\"type\":\"string_type\",\"loc\":[\"body\",\"email\"],\"msg\":\"Input "
		 "should be a valid string\",\"input\":2},{\"type\":\"string_type\",\"loc\":[\"body\",\"password\"],"
		 "\"msg\":\"Input should be a valid string\",\"input\":null}]}"},
		EMAIL_IS("bad", "The email address is not valid. It must have exactly one @-sign."),
		EMAIL_IS("a@b", "The part after the @-sign is not valid. It should have a period."),
		EMAIL_IS("a@localhost", "The part after the @-sign is not valid. It should have a period."),
		EMAIL_IS("@x.com", "There must be something before the @-sign."),
		EMAIL_IS("a..b@x.com", "An email address cannot have two periods in a row."),
		{"{\"username\":\"u\",\"email\":\"u@example.com\",\"password\":\"seven77\"}",
		 "{\"detail\":[{\"type\":\"string_too_short\",\"loc\":[\"body\",\"password\"],\"msg\":\"String should "
		 "have at least 8 characters\",\"input\":\"********\",\"ctx\":{\"min_length\":8}}]}"},
		{"{", "{\"detail\":[{\"type\":\"json_invalid\",\"loc\":[\"body\",1],\"msg\":\"JSON decode error\","
		      "\"input\":{},\"ctx\":{\"error\":\"Expecting property name enclosed in double quotes\"}}]}"},
	};
	struct harness h;

	harness_open(&h);
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
		ANSWERS(enrol(&h, CASES[i].body), 422, CASES[i].answer);
	ANSWERS(enrol(&h, BODY_OF("a@example.test")), 422, NULL);
	ANSWERS(enrol(&h, "{\"username\":\"\",\"email\":\"u@example.com\",\"password\":\"testpass123\"}"), 422, NULL);
	ANSWERS(enrol(&h, "{\"username\":\"u\",\"email\":\"u@example.com\",\"password\":\"test\\u0000pass\"}"), 422,
		NULL);
	char *body = calloc(1, 4096);
	CU_ASSERT_PTR_NOT_NULL_FATAL(body);
	snprintf(body, 4096, "{\"username\":\"u\",\"email\":\"u@example.com\",\"password\":\"%01025d\"}", 0);
	ANSWERS(enrol(&h, body), 422, NULL);
	snprintf(body, 4096, "{\"username\":\"u\",\"email\":\"u@example.com\",\"password\":\"%01024d\"}", 0);
	ANSWERS(enrol(&h, body), 201, NULL);
	free(body);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM users"), 1);
	harness_close(&h);
}

/* nginx sends what a worker could not answer to the next one. */
static void registering_twice_at_the_edge(void)
{
	static const char edge[] = "00112233445566778899aabbccddeeff";
	struct harness h;

	harness_open(&h);
	struct exchange *x = ASK(&h, .path = "/api/v1/auth/register", .body = TEST_USER, .edge_id = edge);
	ANSWERS(x, 201, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/register", .body = TEST_USER, .edge_id = edge), 201, answer_body(x));
	ANSWERS(enrol(&h, TEST_USER), 400, TAKEN);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM users"), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_repeated_writes_total"), 1.0);
	harness_close(&h);
}

static void registering_counts_addresses(void)
{
	static const char path[] = "/api/v1/auth/register";
	struct harness h;

	harness_init(&h);
	h.config.user_rate_limit_per_minute = 2;
	h.config.rate_limit_per_minute = 1;
	harness_start(&h);
	for (int i = 0; i < 3; i++) {
		ANSWERS(ASK(&h, .path = path, .body = "{}", .client = "203.0.113.1"), i < 2 ? 422 : 429, NULL);
		ANSWERS(ASK(&h, .path = path, .body = "{}", .client = "203.0.113.2"), i < 2 ? 422 : 429, NULL);
	}
	/* In a bucket of its own. */
	ANSWERS(ASK(&h, .path = "/api/v1/auth/refresh", .method = "POST"), 422, NULL);
	ANSWERS(login(&h, "username=a&password=b"), 401, INCORRECT);
	ANSWERS(GET(&h, "/version"), 200, NULL);
	harness_close(&h);
}

static void of_two_at_once_one_is_first(void)
{
	enum { N = 8 };
	struct exchange *x[N];
	struct harness h;
	int made = 0;

	harness_open(&h);
	for (int i = 0; i < N; i++)
		x[i] = harness_send(&h, &(struct ask){.path = "/api/v1/auth/register", .body = TEST_USER});
	for (int i = 0; i < N; i++) {
		harness_wait(x[i]);
		made += x[i]->status == 201;
		if (x[i]->status != 201)
			ANSWERS(x[i], 400, TAKEN);
	}
	CU_ASSERT_EQUAL(made, 1);
	harness_close(&h);
}

/* --- logging in --- */

static void logging_in(void)
{
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = login(&h, "username=testuser&password=testpass123");
	ANSWERS(x, 200, NULL);
	HEADER_IS(x, "Content-Type", "application/json");
	HEADER_IS(x, "Cache-Control", "no-store");
	CU_ASSERT_TRUE(strncmp(answer_body(x), "{\"access_token\":\"eyJ", 20) == 0);
	static const char end[] = "\",\"token_type\":\"bearer\"}";
	CU_ASSERT_TRUE(strcmp(answer_body(x) + strlen(answer_body(x)) - strlen(end), end) == 0);
	ANSWERS(me(&h, token_of(x)), 200, NULL);

	/* sub and exp, and half an hour */
	struct token token;
	int64_t now_s = clock_wall_us() / 1000000;
	CU_ASSERT_TRUE(token_check(&h.app.token_keys, str_of(token_of(x)), now_s, &token));
	SAME(token.username, "testuser");
	CU_ASSERT_TRUE(token.expires_s - token.issued_s == 1800 && token.issued_s <= now_s &&
		       token.issued_s > now_s - 60);

	/* People look into it with `base64 -d`, which wants whole groups of four. */
	const char *claims = strchr(token_of(x), '.') + 1;
	CU_ASSERT_EQUAL(strcspn(claims, ".") % 4, 0);

	CU_ASSERT_TRUE(strncmp(answer_header(x, "Set-Cookie"), "refresh_token=rt_", 17) == 0);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(answer_header(x, "Set-Cookie"),
		       "; Path=/api/v1/auth/refresh; Max-Age=2592000; HttpOnly; Secure; SameSite=Strict"));
	/* Names are the same in any case, and forms may be written in two ways. */
	ANSWERS(login(&h, "username=TESTUSER&password=testpass123&scope=&client_id=x&client_secret=y"), 200, NULL);
	ANSWERS(login(&h, "password=%74estpass123&username=other&username=testuser&grant_type=password"), 200, NULL);
	static const char multipart[] = "--XX\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\ntestuser\r\n"
					"--XX\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\ntestpass123"
					"\r\n--XX--\r\n";
	ANSWERS(ASK(&h, .path = "/api/v1/auth/login", .body = multipart, .type = "multipart/form-data; boundary=XX"),
		200, NULL);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_logins_total{outcome=\"ok\"}"), 4.0);
	harness_close(&h);
}

/* A page elsewhere must not put its own cookie into a visitor's browser. */
static void logging_in_from_another_site(void)
{
	static const struct {
		const char *site, *origin;
		int status;
	} cases[] = {{"cross-site", "https://evil.example", 403},
		     {"cross-site", "null", 403},
		     {"cross-site", "", 403},
		     {"cross-site", "http://localhost:3000", 200},
		     {"same-origin", "https://other.example", 200},
		     {"none", "", 200}};
	struct harness_user user;
	struct harness h;

	harness_init(&h);
	h.config.cors_origins = "http://localhost:3000";
	harness_start(&h);
	harness_add_user(&h, "testuser", &user);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ASK(
			&h, .path = "/api/v1/auth/login", .body = "username=testuser&password=testpass123",
			.type = FORM, .params = {"HTTP_SEC_FETCH_SITE", cases[i].site, "HTTP_ORIGIN", cases[i].origin});
		ANSWERS(x, cases[i].status, NULL);
		CU_ASSERT_EQUAL(answer_header(x, "Set-Cookie")[0] != '\0', cases[i].status == 200);
	}
	harness_close(&h);
}

/* Fields that nobody asks for cost no memory, however many there are. */
static void a_form_of_many_fields(void)
{
	static const char *const fields[] = {"&", "%61=&", "username=%61&"},
				 form[] = "username=testuser&password=testpass123";
	enum { N = 1000 * 1000 };
	struct harness_user user;
	struct harness h;
	char *body = malloc(N + sizeof(form));

	CU_ASSERT_PTR_NOT_NULL_FATAL(body);
	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		size_t n = 0, each = strlen(fields[i]);
		for (; n + each <= N; n += each)
			memcpy(body + n, fields[i], each);
		memcpy(body + n, form, sizeof(form));
		ANSWERS(login(&h, body), 200, NULL);
	}
	harness_close(&h);
	free(body);
}

static void wrong_and_unknown_are_told_the_same(void)
{
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	static const char *const forms[] = {"username=testuser&password=testpass124",
					    "username=nobody&password=testpass123", "username=%00&password=x",
					    "username=%ff&password=x", "username=testuser&password=testpass123%20"};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct exchange *x = login(&h, forms[i]);
		ANSWERS(x, 401, INCORRECT);
		HEADER_IS(x, "WWW-Authenticate", "");
		HEADER_IS(x, "Set-Cookie", "");
	}
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_logins_total{outcome=\"wrong\"}"), 5.0);
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"login_failed\""));
	harness_close(&h);
}

static void what_is_no_login(void)
{
#define MISSING(field)                                                                                                 \
	"{\"type\":\"missing\",\"loc\":[\"body\",\"" field "\"],\"msg\":\"Field required\",\"input\":null}"
	struct harness h;

	harness_open(&h);
	ANSWERS(login(&h, "username=a"), 422, "{\"detail\":[" MISSING("password") "]}");
	ANSWERS(login(&h, "password=a"), 422, "{\"detail\":[" MISSING("username") "]}");
	ANSWERS(login(&h, "username=&password="), 422,
		"{\"detail\":[" MISSING("username") "," MISSING("password") "]}");
	ANSWERS(ASK(&h, .path = "/api/v1/auth/login", .body = "{\"username\":\"a\",\"password\":\"b\"}"), 422,
		"{\"detail\":[" MISSING("username") "," MISSING("password") "]}");
	ANSWERS(login(&h, ""), 422, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/login", .method = "POST"), 422, NULL);
	ANSWERS(login(&h, "username=a&password=b&grant_type=x"), 422,
		"{\"detail\":[{\"type\":\"string_pattern_mismatch\",\"loc\":[\"body\",\"grant_type\"],\"msg\":\"String "
		"should match pattern 'password'\",\"input\":\"x\",\"ctx\":{\"pattern\":\"password\"}}]}");
	ANSWERS(GET(&h, "/api/v1/auth/login"), 405, NULL);
	harness_close(&h);
}

static void six_wrong_ones(void)
{
	struct harness_user user;
	struct harness h;
	int statuses[6];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 200, NULL);
	for (int i = 0; i < 6; i++)
		statuses[i] = login(&h, "username=fakeuser&password=fakepass")->status;
	static const int wanted[] = {401, 401, 401, 401, 429, 429};
	CU_ASSERT_TRUE(memcmp(statuses, wanted, sizeof(wanted)) == 0);
	struct exchange *x = login(&h, "username=FAKEuser&password=fakepass");
	ANSWERS(x, 429, LIMITED);
	long seconds = strtol(answer_header(x, "Retry-After"), NULL, 10);
	CU_ASSERT_TRUE(seconds >= 1 && seconds <= 12);
	/* Neither others of this address nor this name elsewhere. */
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 200, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/login", .body = "username=fakeuser&password=x", .type = FORM,
		    .client = "203.0.113.2"),
		401, INCORRECT);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"login_rate_limit\"}"), 3.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_logins_total{outcome=\"limited\"}"), 3.0);
	harness_close(&h);
}

/* Names cost nothing and passwords cost threads: many names are no way to keep these busy, nor the many addresses of
 * one network. */
static void many_names_of_one_network(void)
{
	enum { N = 8 };
	struct harness_user user;
	struct harness h;
	char form[64], client[32];

	harness_init(&h);
	h.config.rate_limit_per_minute = N;
	harness_start(&h);
	harness_add_user(&h, "testuser", &user);
	for (int i = 0; i < 2 * N; i++) {
		snprintf(form, sizeof(form), "username=nobody%d&password=x", i);
		snprintf(client, sizeof(client), "2001:db8::%x", i + 1);
		ANSWERS(ASK(&h, .path = "/api/v1/auth/login", .body = form, .type = FORM, .client = client),
			i < N ? 401 : 429, i < N ? INCORRECT : LIMITED);
	}
	/* Who knows the password is counted nowhere. */
	for (int i = 0; i < 2 * N; i++)
		ANSWERS(login(&h, "username=testuser&password=testpass123"), 200, NULL);
	/* What the name's limit refused costs the address nothing. */
	for (int i = 0; i < 2 * N; i++)
		ANSWERS(login(&h, "username=testuser&password=x"), i < 4 ? 401 : 429, NULL);
	ANSWERS(login(&h, "username=other&password=x"), 401, INCORRECT);
	harness_close(&h);
}

/* Many at once are no way around it, and good ones wait for their turn. */
static void many_at_once(void)
{
	enum { N = 12 };
	struct harness_user user;
	struct exchange *x[N];
	struct harness h;
	int wrong = 0, limited = 0;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	for (int i = 0; i < N; i++)
		x[i] = harness_send(&h, &(struct ask){.path = "/api/v1/auth/login",
						      .body = "username=testuser&password=testpass123",
						      .type = FORM});
	for (int i = 0; i < N; i++)
		while (!x[i]->done) {
			harness_pump(&h, 5);
			app_tick(&h.app, clock_mono_ms()); /* no faster than time: failures are paid back */
		}
	for (int i = 0; i < N; i++)
		ANSWERS(x[i], 200, NULL);
	for (int i = 0; i < N; i++)
		x[i] = harness_send(&h, &(struct ask){.path = "/api/v1/auth/login",
						      .body = "username=testuser&password=wrong",
						      .type = FORM});
	for (int i = 0; i < N; i++) {
		while (!x[i]->done) {
			harness_pump(&h, 5);
			app_tick(&h.app, clock_mono_ms()); /* no faster than time: failures are paid back */
		}
		wrong += x[i]->status == 401;
		limited += x[i]->status == 429;
	}
	CU_ASSERT_EQUAL(wrong, 4);
	CU_ASSERT_EQUAL(limited, N - 4);
	harness_close(&h);
}

static void locking_out(void)
{
	struct harness_user user;
	struct harness h;
	char client[32];

	harness_init(&h);
	h.config.login_lockout_failures = 5;
	harness_start(&h);
	harness_add_user(&h, "testuser", &user);
	for (int i = 0; i < 5; i++) {
		snprintf(client, sizeof(client), "203.0.113.%d", 10 + i);
		ANSWERS(ASK(&h, .path = "/api/v1/auth/login", .body = "username=testuser&password=wrong", .type = FORM,
			    .client = client),
			401, INCORRECT);
	}
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 401, INCORRECT);
	ANSWERS(login(&h, "username=nobody&password=testpass123"), 401, INCORRECT);
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"account_locked\""));
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"login_locked\""));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_logins_total{outcome=\"locked\"}"), 1.0);
	ANSWERS(me(&h, user.token), 200, NULL); /* who is in stays in */
	harness_sql(&h, "UPDATE users SET locked_until_us = 1");
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 200, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT failed_logins + locked_until_us FROM users"), 0);
	harness_close(&h);
}

static void nobody_is_locked_out_by_default(void)
{
	struct harness_user user;
	struct harness h;
	char client[32];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	for (int i = 0; i < 20; i++) {
		snprintf(client, sizeof(client), "203.0.113.%d", 10 + i);
		ASK(&h, .path = "/api/v1/auth/login", .body = "username=testuser&password=wrong", .type = FORM,
		    .client = client);
	}
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 200, NULL);
	harness_close(&h);
}

static void who_is_switched_off_hears_it_with_the_password_only(void)
{
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	harness_sql(&h, "UPDATE users SET is_active = 0");
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 400, DETAIL("Inactive user"));
	ANSWERS(login(&h, "username=testuser&password=wrong"), 401, INCORRECT);
	harness_close(&h);
}

/* A hash that another program made is replaced by one of ours when its password is known. */
static void old_hashes_are_renewed(void)
{
	static const char count[] = "SELECT count(*) FROM users WHERE hashed_password LIKE '$argon2id$%'";
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	harness_sql(&h, "UPDATE users SET hashed_password = "
			"'$2b$05$abcdefghijklmnopqrstuuFFP0VZg2z5IyfjKcDAt0Dd0lbOvQ.Hu'");
	ANSWERS(login(&h, "username=testuser&password=wrong"), 401, INCORRECT);
	CU_ASSERT_EQUAL(harness_number(&h, count), 0);
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 200, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, count), 1);
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 200, NULL);
	harness_close(&h);
}

static void a_password_that_changes_meanwhile(void)
{
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	/* The user was read; nothing goes on before the mail is opened. */
	struct exchange *x = harness_send(&h, &(struct ask){.path = "/api/v1/auth/login",
							    .body = "username=testuser&password=testpass123",
							    .type = FORM});
	harness_sql(&h, "UPDATE users SET hashed_password = 'another'");
	harness_wait(x);
	ANSWERS(x, 401, INCORRECT);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM sessions"), 1);
	harness_close(&h);
}

/* --- sessions --- */

static struct exchange *renew(struct harness *h, const char *refresh)
{
	char form[256];

	snprintf(form, sizeof(form), "grant_type=refresh_token&refresh_token=%s", refresh);
	return ASK(h, .path = "/api/v1/auth/refresh", .body = form, .type = FORM);
}

static void refreshing(void)
{
	struct harness_user user;
	struct harness h;
	char first[128], second[128], access[2048];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = login(&h, "username=testuser&password=testpass123&scope=offline_access");
	ANSWERS(x, 200, NULL);
	HEADER_IS(x, "Set-Cookie", "");
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"expires_in\":1800"));
	snprintf(first, sizeof(first), "%s", refresh_of(x));
	x = renew(&h, first);
	ANSWERS(x, 200, NULL);
	snprintf(second, sizeof(second), "%s", refresh_of(x));
	snprintf(access, sizeof(access), "%s", token_of(x));
	CU_ASSERT_TRUE(strcmp(first, second) != 0);
	ANSWERS(me(&h, access), 200, NULL);
	x = renew(&h, second);
	ANSWERS(x, 200, NULL);
	ANSWERS(me(&h, token_of(x)), 200, NULL);
	/* One that was replaced: somebody has stolen it, or what came of it. */
	x = renew(&h, second);
	ANSWERS(x, 401, NOT_VALID);
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"refresh_reused\""));
	is_refused(&h, access);
	ANSWERS(me(&h, user.token), 200, NULL); /* another session of theirs */
	harness_close(&h);
}

/* A thief is not safe by renewing twice before the owner comes. */
static void a_token_from_long_ago_ends_the_session(void)
{
	struct harness_user user;
	struct harness h;
	char stolen[128], access[2048];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = login(&h, "username=testuser&password=testpass123&scope=offline_access");
	snprintf(stolen, sizeof(stolen), "%s", refresh_of(x));
	x = renew(&h, stolen);
	for (int i = 0; i < 3; i++)
		x = renew(&h, refresh_of(x));
	ANSWERS(x, 200, NULL);
	snprintf(access, sizeof(access), "%s", token_of(x));
	ANSWERS(renew(&h, stolen), 401, NOT_VALID);
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"refresh_reused\""));
	is_refused(&h, access);
	ANSWERS(renew(&h, refresh_of(x)), 401, NOT_VALID);
	harness_close(&h);
}

static void refreshing_by_cookie(void)
{
	struct harness_user user;
	struct harness h;
	char cookie[256];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = login(&h, "username=testuser&password=testpass123");
	snprintf(cookie, sizeof(cookie), "a=b; %.*s; refresh_token2=x",
		 (int)strcspn(answer_header(x, "Set-Cookie"), ";"), answer_header(x, "Set-Cookie"));
	x = ASK(&h, .path = "/api/v1/auth/refresh", .method = "POST", .params = {"HTTP_COOKIE", cookie});
	ANSWERS(x, 200, NULL);
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "refresh"));
	CU_ASSERT_TRUE(strncmp(answer_header(x, "Set-Cookie"), "refresh_token=rt_", 17) == 0);
	ANSWERS(me(&h, token_of(x)), 200, NULL);
	x = ASK(&h, .path = "/api/v1/auth/refresh", .method = "POST", .params = {"HTTP_COOKIE", cookie});
	ANSWERS(x, 401, NOT_VALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_header(x, "Set-Cookie"), "refresh_token=; "));
	harness_close(&h);
}

/* nginx sends the same request to a second worker: both have to come to the same token. */
static void refreshing_twice_at_the_edge(void)
{
	static const char edge[] = "00112233445566778899aabbccddeeff";
	struct harness_user user;
	struct harness h;
	char form[256];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = login(&h, "username=testuser&password=testpass123&scope=a%20offline_access");
	snprintf(form, sizeof(form), "refresh_token=%s", refresh_of(x));
	x = ASK(&h, .path = "/api/v1/auth/refresh", .body = form, .type = FORM, .edge_id = edge);
	ANSWERS(x, 200, NULL);
	struct exchange *again = ASK(&h, .path = "/api/v1/auth/refresh", .body = form, .type = FORM, .edge_id = edge);
	ANSWERS(again, 200, NULL);
	SAME(refresh_of(again), refresh_of(x));
	ANSWERS(renew(&h, refresh_of(again)), 200, NULL);
	harness_close(&h);
}

static void what_is_no_refresh_token(void)
{
	struct harness_user user;
	struct harness h;
	char bad[128];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = login(&h, "username=testuser&password=testpass123&scope=offline_access");
	snprintf(bad, sizeof(bad), "%s", refresh_of(x));
	bad[40] = bad[40] == 'A' ? 'B' : 'A';
	ANSWERS(renew(&h, bad), 401, NOT_VALID);
	ANSWERS(renew(&h, "x"), 401, NOT_VALID);
	ANSWERS(renew(&h, token_of(x)), 401, NOT_VALID);
	ANSWERS(renew(&h, ""), 422, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/refresh", .method = "POST"), 422,
		"{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"refresh_token\"],\"msg\":\"Field required\","
		"\"input\":null}]}");
	ANSWERS(ASK(&h, .path = "/api/v1/auth/refresh", .body = "grant_type=password&refresh_token=x", .type = FORM),
		422, NULL);
	is_refused(&h, refresh_of(x)); /* is no access token */
	harness_sql(&h, "UPDATE users SET is_active = 0");
	ANSWERS(renew(&h, refresh_of(x)), 400, DETAIL("Inactive user"));
	harness_sql(&h, "UPDATE users SET is_active = 1");
	ANSWERS(renew(&h, refresh_of(x)), 200, NULL);
	harness_close(&h);
}

static void logging_out(void)
{
	struct harness_user user;
	struct harness h;
	char token[2048], refresh[128];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = login(&h, "username=testuser&password=testpass123&scope=offline_access");
	snprintf(token, sizeof(token), "%s", token_of(x));
	snprintf(refresh, sizeof(refresh), "%s", refresh_of(x));
	x = ASK(&h, .path = "/api/v1/auth/logout", .method = "POST", .token = token);
	ANSWERS(x, 204, "");
	is_refused(&h, token);
	ANSWERS(renew(&h, refresh), 401, NOT_VALID);
	ANSWERS(me(&h, user.token), 200, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/logout", .method = "POST", .token = token), 401, NOT_VALID);
	x = login(&h, "username=testuser&password=testpass123");
	snprintf(token, sizeof(token), "%s", token_of(x));
	ANSWERS(ASK(&h, .path = "/api/v1/auth/logout", .method = "POST", .query = "all=true", .token = token), 204, "");
	is_refused(&h, token);
	is_refused(&h, user.token);
	harness_close(&h);
}

/* --- changing --- */

static struct exchange *change(struct harness *h, const char *token, const char *json)
{
	return ASK(h, .path = ME, .method = "PATCH", .token = token, .body = json);
}

#define PRESENT "\"current_password\":\"testpass123\""

static void changing_name_and_address(void)
{
	struct harness_user user, other;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	harness_add_user(&h, "other", &other);
	struct exchange *x = change(&h, user.token, "{\"email\":\"New@EXAMPLE.org\"," PRESENT "}");
	ANSWERS(x, 200, NULL);
	SAME(cut(x, "\"email\":\""), "New@example.org");
	SAME(cut(x, "\"username\":\""), "testuser");
	SAME(cut(change(&h, user.token, "{\"username\":\"renamed\"," PRESENT "}"), "\"username\":\""), "renamed");
	SAME(cut(me(&h, user.token), "\"username\":\""), "renamed");
	ANSWERS(change(&h, user.token, "{\"username\":\"Other\"," PRESENT "}"), 400, TAKEN);
	ANSWERS(change(&h, user.token, "{\"email\":\"other@example.com\"," PRESENT "}"), 400, TAKEN);
	ANSWERS(change(&h, user.token, "{\"email\":\"bad\",\"username\":7}"), 422, NULL);
	ANSWERS(change(&h, user.token, "{}"), 200, NULL);
	ANSWERS(change(&h, user.token, "{\"is_superuser\":true,\"is_active\":false,\"id\":9}"), 200, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM users WHERE is_superuser <> 0 OR is_active = 0"), 0);
	ANSWERS(login(&h, "username=renamed&password=testpass123"), 200, NULL);
	harness_close(&h);
}

/* A token that was found somewhere must not lock its owner out with another name. */
static void changing_without_the_password(void)
{
	struct harness_user user;
	struct harness h;
	char body[128];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	for (int i = 0; i < 2; i++) {
		const char *member = i == 0 ? "\"username\":\"stolen\"" : "\"email\":\"thief@example.com\"";
		snprintf(body, sizeof(body), "{%s}", member);
		ANSWERS(change(&h, user.token, body), 422, NULL);
		snprintf(body, sizeof(body), "{%s,\"current_password\":\"wrong\"}", member);
		ANSWERS(change(&h, user.token, body), 400, DETAIL("Incorrect current password"));
	}
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"change_failed\""));
	struct exchange *x = me(&h, user.token);
	SAME(cut(x, "\"username\":\""), "testuser");
	SAME(cut(x, "\"email\":\""), "testuser@example.com");
	harness_close(&h);
}

static void changing_the_password(void)
{
	static const char good[] = "{\"password\":\"another pass\",\"current_password\":\"testpass123\"}";
	struct harness_user user;
	struct harness h;
	char token[2048];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	snprintf(token, sizeof(token), "%s", token_of(login(&h, "username=testuser&password=testpass123")));
	ANSWERS(change(&h, token, "{\"password\":\"another pass\"}"), 422,
		"{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"current_password\"],\"msg\":\"Field required\","
		"\"input\":{\"password\":\"another pass\"}}]}");
	ANSWERS(change(&h, token, "{\"password\":\"short\",\"current_password\":\"testpass123\"}"), 422, NULL);
	ANSWERS(change(&h, token, "{\"password\":\"another pass\",\"current_password\":\"wrong\"}"), 400,
		DETAIL("Incorrect current password"));
	struct exchange *x = ASK(&h, .path = ME, .method = "PATCH", .token = token, .body = good,
				 .edge_id = "00112233445566778899aabbccddeeff");
	ANSWERS(x, 200, NULL);
	/* The same at a second worker. */
	ANSWERS(ASK(&h, .path = ME, .method = "PATCH", .token = token, .body = good,
		    .edge_id = "00112233445566778899aabbccddeeff"),
		200, answer_body(x));
	ANSWERS(me(&h, token), 200, NULL);
	is_refused(&h, user.token); /* the others have ended */
	ANSWERS(login(&h, "username=testuser&password=testpass123"), 401, INCORRECT);
	ANSWERS(login(&h, "username=testuser&password=another+pass"), 200, NULL);
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"password_changed\""));
	/* Guessing the present one is no way around the limit of logins. */
	int last = 0;
	for (int i = 0; i < 5; i++)
		last = change(&h, token, "{\"password\":\"another pass\",\"current_password\":\"wrong\"}")->status;
	CU_ASSERT_EQUAL(last, 429);
	ANSWERS(login(&h, "username=testuser&password=x"), 429, LIMITED);
	harness_close(&h);
}

/* --- keys of one's own --- */

static const char KEYS[] = "/api/v1/users/me/keys";

static void keys_of_ones_own(void)
{
	struct harness_user user, other;
	struct harness h;
	char key[KEY_TEXT_BYTES], path[128];

	harness_open(&h);
	harness_add_user(&h, "user", &user);
	harness_add_user(&h, "other", &other);
	ANSWERS(ASK(&h, .path = KEYS, .token = user.token), 200, "{\"keys\":[]}");
	struct exchange *x = ASK(&h, .path = KEYS, .token = user.token,
				 .body = "{\"name\":\" laptop \",\"expires_in_days\":30}");
	ANSWERS(x, 201, NULL);
	HEADER_IS(x, "Cache-Control", "no-store");
	SAME(cut(x, "\"name\":\""), "laptop");
	SAME(cut(x, "\"expires_at\":\""), "2023-12-14T22:13:20.123000");
	snprintf(key, sizeof(key), "%s", cut(x, "\"key\":\""));
	snprintf(path, sizeof(path), "%s/%s", KEYS, cut(x, "\"id\":\""));
	harness_sql(&h, "UPDATE api_keys SET expires_us = 0");

	/* It opens what the token opens, from now on and without a tick. */
	SAME(cut(ASK(&h, .path = ME, .key = key), "\"username\":\""), "user");
	x = ASK(&h, .path = KEYS, .token = user.token);
	ANSWERS(x, 200, NULL);
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "ak_"));
	ANSWERS(ASK(&h, .path = KEYS, .token = other.token), 200, "{\"keys\":[]}");
	/* And nothing that wants the operator's. */
	harness_tick(&h);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{\"features\":[1]}", .key = key), 403, NULL);
	ANSWERS(ASK(&h, .path = ME, .key = HARNESS_KEY), 403, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/logout", .method = "POST", .key = key), 400, NULL);

	ANSWERS(ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"laptop\"}"), 409, NULL);
	ANSWERS(ASK(&h, .path = KEYS, .token = other.token, .body = "{\"name\":\"laptop\"}"), 201, NULL);
	ANSWERS(ASK(&h, .path = path, .method = "DELETE", .token = other.token), 404, DETAIL("API key not found"));
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"foreign_key\""));
	ANSWERS(ASK(&h, .path = ME, .key = key), 200, NULL);
	ANSWERS(ASK(&h, .path = path, .method = "DELETE", .token = user.token,
		    .edge_id = "00112233445566778899aabbccddeeff"),
		204, "");
	ANSWERS(ASK(&h, .path = path, .method = "DELETE", .token = user.token,
		    .edge_id = "00112233445566778899aabbccddeeff"),
		204, "");
	ANSWERS(ASK(&h, .path = path, .method = "DELETE", .token = user.token), 404, DETAIL("API key not found"));
	x = ASK(&h, .path = ME, .key = key);
	ANSWERS(x, 401, NOT_VALID);
	HEADER_IS(x, "WWW-Authenticate", "Bearer");
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"key_created\""));
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"key_revoked\""));
	harness_close(&h);
}

/* A key that is good for a day must not make itself one that is good for ever, nor take the account over. */
static void what_a_key_may_not_do(void)
{
	static const char login_needed[] = DETAIL("An API key may not do this. Log in and use a token.");
	struct harness_user user;
	struct harness h;
	char key[KEY_TEXT_BYTES], own[128], other[128];

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	struct exchange *x = ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"other\"}");
	snprintf(other, sizeof(other), "%s/%s", KEYS, cut(x, "\"id\":\""));
	x = ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"a\"}");
	snprintf(key, sizeof(key), "%s", cut(x, "\"key\":\""));
	snprintf(own, sizeof(own), "%s/%s", KEYS, cut(x, "\"id\":\""));
	ANSWERS(ASK(&h, .path = KEYS, .key = key, .body = "{\"name\":\"b\"}"), 403, login_needed);
	ANSWERS(ASK(&h, .path = ME, .method = "PATCH", .key = key, .body = "{\"username\":\"b\"," PRESENT "}"), 403,
		login_needed);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/logout", .method = "POST", .query = "all=true", .key = key), 403,
		login_needed);
	ANSWERS(ASK(&h, .path = other, .method = "DELETE", .key = key), 403, login_needed);
	ANSWERS(me(&h, user.token), 200, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM api_keys WHERE revoked_us = 0"), 2);
	ANSWERS(ASK(&h, .path = own, .method = "DELETE", .key = key), 204, "");
	ANSWERS(ASK(&h, .path = ME, .key = key), 401, NOT_VALID);
	harness_close(&h);
}

static void keys_that_open_nothing(void)
{
	struct harness_user user;
	struct harness h;
	char key[KEY_TEXT_BYTES], operators[KEY_TEXT_BYTES];

	harness_open(&h);
	harness_add_user(&h, "user", &user);
	harness_add_key(&h, "ours", -1, 0, operators);
	snprintf(key, sizeof(key), "%s",
		 cut(ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"a\"}"), "\"key\":\""));
	ANSWERS(ASK(&h, .path = ME, .key = key), 200, NULL);
	ANSWERS(ASK(&h, .path = ME, .key = "nope"), 401, NOT_VALID);
	ANSWERS(ASK(&h, .path = ME, .key = operators), 403, NULL);
	const char was = key[50];
	key[50] = was == 'A' ? 'B' : 'A';
	ANSWERS(ASK(&h, .path = ME, .key = key), 401, NOT_VALID);
	key[50] = was;
	/* A token that is there counts, and the key does not mend it. */
	ANSWERS(ASK(&h, .path = ME, .key = key, .token = "x"), 401, NOT_VALID);
	harness_sql(&h, "UPDATE users SET is_active = 0");
	ANSWERS(ASK(&h, .path = ME, .key = key), 400, DETAIL("Inactive user"));
	harness_sql(&h, "UPDATE users SET is_active = 1");
	harness_sql(&h, "UPDATE api_keys SET expires_us = 1");
	ANSWERS(ASK(&h, .path = ME, .key = key), 401, NOT_VALID);
	harness_sql(&h, "UPDATE api_keys SET expires_us = 0");
	harness_sql(&h, "DELETE FROM users");
	ANSWERS(ASK(&h, .path = ME, .key = key), 401, NOT_VALID);
	harness_close(&h);
}

/* With the log and the signing key alone nobody works a key out: it takes the database, too. */
static void a_key_is_made_of_the_row_too(void)
{
	static const char edge[] = "00112233445566778899aabbccddeeff";
	struct harness_user user;
	struct harness h;
	char keys[3][KEY_TEXT_BYTES];

	harness_open(&h);
	harness_add_user(&h, "user", &user);
	for (int i = 0; i < 3; i++) {
		struct exchange *x = ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"a\"}",
					 .edge_id = edge);
		ANSWERS(x, 201, NULL);
		snprintf(keys[i], sizeof(keys[i]), "%s", cut(x, "\"key\":\""));
		harness_sql(&h, "DELETE FROM api_keys");
		if (i == 1)
			harness_sql(&h, "UPDATE users SET hashed_password = 'another'");
	}
	SAME(keys[0], keys[1]);
	CU_ASSERT_STRING_NOT_EQUAL(keys[1], keys[2]);
	harness_close(&h);
}

static void what_makes_no_key(void)
{
	static const char *const bodies[] = {"{}",
					     "{\"name\":\"\"}",
					     "{\"name\":\"  \"}",
					     "{\"name\":1}",
					     "{\"name\":\"a\\u001b[2J\"}",
					     "{\"name\":\"a\\u009b\"}",
					     "{\"name\":\"a\",\"expires_in_days\":0}",
					     "{\"name\":\"a\",\"expires_in_days\":1.5}",
					     "{\"name\":\"a\",\"expires_in_days\":1e99}",
					     "{\"name\":\"a\",\"expires_in_days\":\"1\"}",
					     "{\"name\":\"a\",\"expires_in_days\":3651}"};
	struct harness_user user;
	struct harness h;
	char body[64];

	harness_open(&h);
	harness_add_user(&h, "user", &user);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		ANSWERS(ASK(&h, .path = KEYS, .token = user.token, .body = bodies[i]), 422, NULL);
	static const char edge[] = "00112233445566778899aabbccddeeff";
	struct exchange *x = ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"a\"}", .edge_id = edge);
	ANSWERS(x, 201, NULL);
	ANSWERS(ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"a\"}", .edge_id = edge), 201,
		answer_body(x));
	for (int i = 1; i < 20; i++) {
		snprintf(body, sizeof(body), "{\"name\":\"key %d\"}", i);
		ANSWERS(ASK(&h, .path = KEYS, .token = user.token, .body = body), 201, NULL);
	}
	ANSWERS(ASK(&h, .path = KEYS, .token = user.token, .body = "{\"name\":\"b\"}"), 409,
		DETAIL("You have too many API keys. Revoke one first."));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM api_keys"), 20);
	harness_close(&h);
}

static void passwords_are_not_logged(void)
{
	struct harness h;

	harness_open(&h);
	enrol(&h, "{\"username\":\"u\",\"email\":\"u@example.com\",\"password\":\"SECRET-one-1\"}");
	enrol(&h, "{\"username\":\"u\",\"email\":\"bad\",\"password\":\"SECRET-one-1\"}");
	struct exchange *x = login(&h, "username=u&password=SECRET-one-1&scope=offline_access");
	char token[2048];
	snprintf(token, sizeof(token), "%s", token_of(x));
	char refresh[128];
	snprintf(refresh, sizeof(refresh), "%s", refresh_of(x));
	renew(&h, refresh);
	login(&h, "username=SECRET-two-2&password=SECRET-three");
	change(&h, token, "{\"password\":\"SECRET-four\",\"current_password\":\"SECRET-one-1\"}");
	GET(&h, "/the-end");
	CU_ASSERT_TRUE(harness_logged(&h, "/the-end"));
	FILE *file = fopen(h.log, "re");
	static char text[1 << 16];
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	CU_ASSERT_PTR_NULL(strstr(text, "SECRET"));
	CU_ASSERT_PTR_NULL(strstr(text, token));
	CU_ASSERT_PTR_NULL(strstr(text, refresh));
	harness_close(&h);
}

static void too_many_passwords_at_once(void)
{
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	pool_stop(h.app.passwords);
	struct exchange *x = login(&h, "username=testuser&password=testpass123");
	ANSWERS(x, 503, NULL);
	HEADER_IS(x, "Retry-After", "1");
	ANSWERS(enrol(&h, TEST_USER), 503, NULL);
	harness_close(&h);
}

static void a_body_that_is_late(void)
{
	struct harness_user user;
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "testuser", &user);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/login", .body = "username=testuser&password=testpass123", .type = FORM,
		    .late_body = true),
		200, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/register", .body = TEST_USER, .late_body = true), 400, TAKEN);
	ANSWERS(ASK(&h, .path = ME, .method = "PATCH", .token = user.token, .body = "{\"username\":\"x\"," PRESENT "}",
		    .late_body = true),
		200, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/refresh", .body = "refresh_token=x", .type = FORM, .late_body = true),
		401, NOT_VALID);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"without a token", without_a_token},
	{"a token names its user", a_token_names_its_user},
	{"a token that is none of ours", a_token_that_is_none_of_ours},
	{"the previous key is good", the_previous_key_is_good},
	{"what ends a token", what_ends_a_token},
	{"authentication comes first", authentication_comes_first},
	{"per user and route", per_user_and_route},
	{"superusers only", superusers_only},
	{"registering", registering},
	{"what is no registration", what_is_no_registration},
	{"registering twice at the edge", registering_twice_at_the_edge},
	{"registering counts addresses", registering_counts_addresses},
	{"of two at once one is first", of_two_at_once_one_is_first},
	{"logging in", logging_in},
	{"logging in from another site", logging_in_from_another_site},
	{"a form of many fields", a_form_of_many_fields},
	{"wrong and unknown are told the same", wrong_and_unknown_are_told_the_same},
	{"what is no login", what_is_no_login},
	{"six wrong ones", six_wrong_ones},
	{"many names of one network", many_names_of_one_network},
	{"many at once", many_at_once},
	{"locking out", locking_out},
	{"nobody is locked out by default", nobody_is_locked_out_by_default},
	{"who is switched off hears it with the password only", who_is_switched_off_hears_it_with_the_password_only},
	{"old hashes are renewed", old_hashes_are_renewed},
	{"a password that changes meanwhile", a_password_that_changes_meanwhile},
	{"refreshing", refreshing},
	{"a token from long ago ends the session", a_token_from_long_ago_ends_the_session},
	{"refreshing by cookie", refreshing_by_cookie},
	{"refreshing twice at the edge", refreshing_twice_at_the_edge},
	{"what is no refresh token", what_is_no_refresh_token},
	{"logging out", logging_out},
	{"changing name and address", changing_name_and_address},
	{"changing without the password", changing_without_the_password},
	{"changing the password", changing_the_password},
	{"keys of one's own", keys_of_ones_own},
	{"what a key may not do", what_a_key_may_not_do},
	{"keys that open nothing", keys_that_open_nothing},
	{"a key is made of the row, too", a_key_is_made_of_the_row_too},
	{"what makes no key", what_makes_no_key},
	{"passwords are not logged", passwords_are_not_logged},
	{"too many passwords at once", too_many_passwords_at_once},
	{"a body that is late", a_body_that_is_late},
};

int main(void)
{
	return UNIT_RUN("accounts", CASES);
}
