/* Access tokens from strangers: what is let in is what was signed, byte for byte. An input is a token's text as it is;
 * a change to a good one (all zeros are the token itself); and the claims of a token that is rightly signed, so that
 * what reads them is reached. */
#include "fuzz.h"

#include "auth/names.h"
#include "auth/token.h"

#include <sodium.h>
#include <string.h>

static const char KEY[] = "0123456789abcdef0123456789abcdef";
static const int64_t NOW_S = 1770000000;
static const struct token_keys KEYS = {.keys = {STR_INIT("0123456789abcdef0123456789abcdef")}};

static struct arena arena;
static char good[TOKEN_MAX];
static size_t good_n;

static void make_token(void)
{
	const struct token token = {.username = "testuser",
				    .user_id = 7,
				    .session = "019000ab-cdef-7123-8456-789abcdef012",
				    .jti = "019000ab-cdef-7123-8456-789abcdef013",
				    .issued_s = NOW_S,
				    .expires_s = NOW_S + 1800};

	arena_init(&arena, 1u << 20);
	struct str text = token_sign(&KEYS, &token, &arena);
	demand(text.n > 0, "a token is signed");
	memcpy(good, text.p, text.n);
	good_n = text.n;
}

static void try(struct str text)
{
	struct token token;
	bool in = token_check(&KEYS, text, NOW_S, &token);

	demand(in == str_eq(text, (struct str){good, good_n}), "what was signed is let in, and nothing else");
	demand(in || token.user_id == 0, "who is not let in is nobody");
}

/* The same header, these claims, our signature. */
static void try_claims(const uint8_t *claims, size_t n)
{
	char text[TOKEN_MAX + 200];
	uint8_t mac[crypto_auth_hmacsha256_BYTES];
	crypto_auth_hmacsha256_state state;
	struct token token;
	size_t at = (size_t)((const char *)memchr(good, '.', good_n) - good) + 1;

	if (sodium_base64_encoded_len(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING) > TOKEN_MAX - at - 100)
		return;
	memcpy(text, good, at);
	sodium_bin2base64(text + at, sizeof(text) - at, claims, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	at = strlen(text);
	crypto_auth_hmacsha256_init(&state, (const uint8_t *)KEY, sizeof(KEY) - 1);
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)text, at);
	crypto_auth_hmacsha256_final(&state, mac);
	text[at++] = '.';
	sodium_bin2base64(text + at, sizeof(text) - at, mac, sizeof(mac), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	if (!token_check(&KEYS, str_of(text), NOW_S, &token))
		return;
	demand(token.user_id > 0 && token.username[0], "a token is somebody's");
	demand(token.expires_s > NOW_S && token.expires_s > token.issued_s, "and is good now");
	/* What it says can be said again. */
	struct str again = token_sign(&KEYS, &token, &arena);
	struct token same;
	demand(again.p && token_check(&KEYS, again, NOW_S, &same), "what is read can be written");
	demand(strcmp(same.username, token.username) == 0 && same.user_id == token.user_id, "and is the same");
}

/* What people type for names, where memory is at stake. */
static void try_names(struct str text)
{
	struct str name, key, again, same;

	if (!username_normalise(text, &arena, &name, &key)) {
		demand(name.n <= 4 * USERNAME_MAX && key.n <= 4 * USERNAME_MAX, "a user name fits its column");
		demand(!username_normalise(name, &arena, &again, &same), "a stored name is a name");
		demand(str_eq(again, name) && str_eq(same, key), "and its own normal form");
	}
	if (!email_normalise(text, &arena, &name, &key)) {
		demand(name.n <= EMAIL_MAX && key.n < 1021, "an address fits its column");
		demand(!email_normalise(name, &arena, &again, &same) && str_eq(again, name),
		       "an address is its own form");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char changed[TOKEN_MAX];

	if (good_n == 0)
		make_token();
	arena_reset(&arena);
	try((struct str){(const char *)data, size});
	try_names((struct str){(const char *)data, size});
	try_claims(data, size);
	if (size <= good_n) {
		memcpy(changed, good, good_n);
		for (size_t i = 0; i < size; i++)
			changed[i] = (char)(changed[i] ^ data[i]);
		try((struct str){changed, good_n});
		try((struct str){changed, good_n - (size ? data[0] % 2 : 0)});
	}
	return 0;
}
