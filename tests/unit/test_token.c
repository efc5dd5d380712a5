/* Access tokens: what is signed is read back, and nothing else is. */
#include "unit.h"

#include "auth/token.h"
#include "base/buf.h"

#include <sodium.h>
#include <stdio.h>

#define KEY   "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210fedc"

static const struct token_keys KEYS = {.keys = {STR_INIT(KEY)}};
static const int64_t NOW_S = 1770000000;
static struct arena arena;

static struct token sample(void)
{
	return (struct token){.username = "testuser",
			      .user_id = 7,
			      .session = "019000ab-cdef-7123-8456-789abcdef012",
			      .jti = "019000ab-cdef-7123-8456-789abcdef013",
			      .issued_s = NOW_S,
			      .expires_s = NOW_S + 1800};
}

static bool good(struct str text)
{
	struct token token;

	return token_check(&KEYS, text, NOW_S, &token);
}

/* The text of part i (0, 1, 2), decoded. */
static struct str part_of(struct str text, int i)
{
	static uint8_t bytes[TOKEN_MAX];
	size_t n = 0;
	struct str part = str_cut(&text, '.');

	while (i-- > 0)
		part = str_cut(&text, '.');
	CU_ASSERT_EQUAL_FATAL(sodium_base642bin(bytes, sizeof(bytes), part.p, part.n, NULL, &n, NULL,
						sodium_base64_VARIANT_URLSAFE_NO_PADDING),
			      0);
	return (struct str){(char *)bytes, n};
}

/* A token of any header and claims, rightly signed with `key`. */
static struct str forge(const char *header, const char *claims, const char *key, size_t key_n)
{
	static char out[3][8192];
	static int next;
	char *text = out[next++ % 3];
	crypto_auth_hmacsha256_state state;
	uint8_t mac[crypto_auth_hmacsha256_BYTES];

	sodium_bin2base64(text, 8192, (const uint8_t *)header, strlen(header),
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	size_t n = strlen(text);
	text[n++] = '.';
	sodium_bin2base64(text + n, 8192 - n, (const uint8_t *)claims, strlen(claims),
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	n = strlen(text);
	crypto_auth_hmacsha256_init(&state, (const uint8_t *)key, key_n);
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)text, n);
	crypto_auth_hmacsha256_final(&state, mac);
	text[n++] = '.';
	sodium_bin2base64(text + n, 8192 - n, mac, sizeof(mac), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	return str_of(text);
}

#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define REST                                                                                                           \
	"\"iss\":\"appcore\",\"aud\":\"appcore-api\",\"jti\":\"019000ab-cdef-7123-8456-789abcdef013\",\"uid\":7,"      \
	"\"sid\":\"019000ab-cdef-7123-8456-789abcdef012\"}"
#define CLAIMS "{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000," REST

static struct str forged(const char *header, const char *claims)
{
	return forge(header, claims, KEY, sizeof(KEY) - 1);
}

static void signs_and_reads_back(void)
{
	static const char *const names[] = {"testuser", "a\"b\\c", "\xd0\xb4\xd0\xb8\xd0\xbc\xd0\xb0", "x>y?z~",
					    "</script>"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct token token = sample(), read;
		snprintf(token.username, sizeof(token.username), "%s", names[i]);
		struct str text = token_sign(&KEYS, &token, &arena);
		CU_ASSERT_PTR_NOT_NULL_FATAL(text.p);
		CU_ASSERT_TRUE(token_check(&KEYS, text, NOW_S, &read));
		CU_ASSERT_STRING_EQUAL(read.username, names[i]);
		CU_ASSERT_STRING_EQUAL(read.session, token.session);
		CU_ASSERT_STRING_EQUAL(read.jti, token.jti);
		CU_ASSERT_TRUE(read.user_id == 7 && read.issued_s == NOW_S && read.expires_s == NOW_S + 1800);
	}
}

/* What others read of it: `cut -d. -f2 | base64 -d`. */
static void looks_as_agreed(void)
{
	struct token token = sample();
	struct str text = token_sign(&KEYS, &token, &arena);

	CU_ASSERT_TRUE(str_starts(text, STR("eyJ")));
	CU_ASSERT_TRUE(str_starts(part_of(text, 0), STR("{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"")));
	CU_ASSERT_TRUE(
		str_starts(part_of(text, 1), STR("{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,")));
	CU_ASSERT_EQUAL(part_of(text, 2).n, 32);
	/* A payload of ASCII has no letter that plain base64 has not. */
	CU_ASSERT_PTR_NULL(memchr(text.p, '_', text.n - 44));
	CU_ASSERT_PTR_NULL(memchr(text.p, '-', text.n - 44));
	/* The maker of the cases below makes good ones. */
	CU_ASSERT_TRUE(good(forged(HEADER, CLAIMS)));
}

static void every_changed_byte_is_seen(void)
{
	struct token token = sample();
	struct str text = token_sign(&KEYS, &token, &arena);
	char copy[TOKEN_MAX];

	CU_ASSERT_TRUE_FATAL(good(text));
	for (size_t i = 0; i < text.n; i++)
		for (int bit = 0; bit < 8; bit++) {
			memcpy(copy, text.p, text.n);
			copy[i] = (char)(copy[i] ^ (1 << bit));
			CU_ASSERT_FALSE(good((struct str){copy, text.n}));
		}
	for (size_t n = 0; n < text.n; n++)
		CU_ASSERT_FALSE(good((struct str){text.p, n}));
	memcpy(copy, text.p, text.n);
	for (int c = 0; c < 256; c++) {
		copy[text.n] = (char)c;
		CU_ASSERT_FALSE(good((struct str){copy, text.n + 1}));
	}
}

static void headers_that_are_refused(void)
{
	static const char *const bad[] = {
		"",
		"{}",
		"null",
		"[\"HS256\",\"JWT\"]",
		"{\"alg\":\"none\",\"typ\":\"JWT\"}",
		"{\"alg\":\"None\",\"typ\":\"JWT\"}",
		"{\"alg\":\"HS384\",\"typ\":\"JWT\"}",
		"{\"alg\":\"HS512\",\"typ\":\"JWT\"}",
		"{\"alg\":\"RS256\",\"typ\":\"JWT\"}",
		"{\"alg\":\"hs256\",\"typ\":\"JWT\"}",
		"{\"alg\":\"HS256 \",\"typ\":\"JWT\"}",
		"{\"alg\":\"\\u0048S256\",\"typ\":\"JWT\"}",
		"{\"alg\":[\"HS256\"],\"typ\":\"JWT\"}",
		"{\"alg\":null,\"typ\":\"JWT\"}",
		"{\"Alg\":\"HS256\",\"typ\":\"JWT\"}",
		"{\"typ\":\"JWT\"}",
		"{\"alg\":\"HS256\"}",
		"{\"alg\":\"HS256\",\"typ\":\"JWE\"}",
		"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}",
		"{\"alg\":\"none\",\"alg\":\"HS256\",\"typ\":\"JWT\"}",
		"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"crit\":[\"b64\"]}",
		"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"jku\":\"https://evil.example/keys\"}",
		"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"}}",
		"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":7}",
		"{\"alg\":\"HS256\",\"typ\":\"JWT\"}x",
		"{\"alg\":\"HS256\",\"typ\":\"JWT\"",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (good(forged(bad[i], CLAIMS)))
			printf("\naccepted: %s\n", bad[i]);
		CU_ASSERT_FALSE(good(forged(bad[i], CLAIMS)));
	}
	CU_ASSERT_TRUE(good(forged("{\"typ\":\"JWT\",\"kid\":\"../../etc/passwd\",\"alg\":\"HS256\"}", CLAIMS)));
}

static void claims_that_are_refused(void)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"\"testuser\"",
		"{\"sub\":\"testuser\",\"exp\":1770001800}",
		"{\"exp\":1770001800,\"iat\":1770000000," REST, /* no sub */
		"{\"sub\":\"\",\"exp\":1770001800,\"iat\":1770000000," REST,
		"{\"sub\":7,\"exp\":1770001800,\"iat\":1770000000," REST,
		"{\"sub\":\"a\\u0000b\",\"exp\":1770001800,\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"iat\":1770000000," REST, /* no exp */
		"{\"sub\":\"testuser\",\"exp\":null,\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"exp\":\"1770001800\",\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"exp\":1770001800.5,\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"exp\":1.77e9,\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"exp\":-1,\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"exp\":99999999999999999999,\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"exp\":9223372036854775807,\"iat\":1770000000," REST, /* for ever */
		"{\"sub\":\"testuser\",\"exp\":1770000000,\"iat\":1769998200," REST,          /* just over */
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000061," REST,          /* of the future */
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770001800," REST,
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":0," REST, /* fifty years long */
		"{\"sub\":\"testuser\",\"exp\":1770001800," REST,           /* no iat */
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"nbf\":1770000001," REST,
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"nbf\":1," REST,
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"admin\":true," REST,
		"{\"sub\":\"admin\",\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000," REST,
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"x\":{\"y\":1}," REST,
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"iss\":\"else\",\"aud\":\"appcore-api\","
		"\"jti\":\"019000ab-cdef-7123-8456-789abcdef013\",\"uid\":7,\"sid\":\"019000ab-cdef-7123-8456-"
		"789abcdef012\"}",
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"iss\":\"appcore\",\"aud\":\"else\","
		"\"jti\":\"019000ab-cdef-7123-8456-789abcdef013\",\"uid\":7,\"sid\":\"019000ab-cdef-7123-8456-"
		"789abcdef012\"}",
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"iss\":\"appcore\","
		"\"aud\":[\"appcore-api\"],\"jti\":\"019000ab-cdef-7123-8456-789abcdef013\",\"uid\":7,"
		"\"sid\":\"019000ab-cdef-7123-8456-789abcdef012\"}",
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"iss\":\"appcore\",\"aud\":\"appcore-"
		"api\","
		"\"jti\":\"019000ab-cdef-7123-8456-789abcdef013\",\"uid\":0,\"sid\":\"019000ab-cdef-7123-8456-"
		"789abcdef012\"}",
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"iss\":\"appcore\",\"aud\":\"appcore-"
		"api\","
		"\"jti\":\"019000ab-cdef-7123-8456-789abcdef013\",\"uid\":7,\"sid\":\"x' OR 1=1 --\"}",
		"{\"sub\":\"testuser\",\"exp\":1770001800,\"iat\":1770000000,\"iss\":\"appcore\",\"aud\":\"appcore-"
		"api\","
		"\"jti\":\"1\",\"uid\":7,\"sid\":\"019000ab-cdef-7123-8456-789abcdef012\"}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (good(forged(HEADER, bad[i])))
			printf("\naccepted: %s\n", bad[i]);
		CU_ASSERT_FALSE(good(forged(HEADER, bad[i])));
	}
}

static void lives_as_long_as_it_says(void)
{
	struct token token = sample(), read;
	struct str text = token_sign(&KEYS, &token, &arena);

	CU_ASSERT_TRUE(token_check(&KEYS, text, NOW_S + 1799, &read));
	CU_ASSERT_FALSE(token_check(&KEYS, text, NOW_S + 1800, &read));
	CU_ASSERT_EQUAL(read.user_id, 0); /* *out says nothing */
	CU_ASSERT_STRING_EQUAL(read.username, "");
	/* Another machine's clock may be a minute ahead. */
	CU_ASSERT_TRUE(token_check(&KEYS, text, NOW_S - 60, &read));
	CU_ASSERT_FALSE(token_check(&KEYS, text, NOW_S - 61, &read));
	/* The longest that the settings allow. */
	token.expires_s = NOW_S + 43200 * 60;
	CU_ASSERT_TRUE(token_check(&KEYS, token_sign(&KEYS, &token, &arena), NOW_S, &read));
}

static void keys_are_rotated(void)
{
	const struct token_keys other = {.keys = {STR(OTHER)}}, both = {.keys = {STR(OTHER), STR(KEY)}},
				swapped = {.keys = {STR(KEY), STR(OTHER)}}, none = {0},
				weak = {.keys = {STR("0123456789abcdef0123456789abcde")}};
	struct token token = sample(), read;
	struct str old = token_sign(&KEYS, &token, &arena), new = token_sign(&both, &token, &arena);

	CU_ASSERT_TRUE(token_check(&both, old, NOW_S, &read));
	CU_ASSERT_TRUE(token_check(&both, new, NOW_S, &read));
	CU_ASSERT_TRUE(token_check(&swapped, new, NOW_S, &read));
	CU_ASSERT_TRUE(token_check(&other, new, NOW_S, &read));
	CU_ASSERT_FALSE(token_check(&other, old, NOW_S, &read));
	CU_ASSERT_FALSE(token_check(&KEYS, new, NOW_S, &read));
	/* An empty key is none, and so is a short one. */
	CU_ASSERT_FALSE(token_check(&none, forge(HEADER, CLAIMS, "", 0), NOW_S, &read));
	CU_ASSERT_FALSE(good(forge(HEADER, CLAIMS, "", 0)));
	CU_ASSERT_PTR_NULL(token_sign(&none, &token, &arena).p);
	CU_ASSERT_PTR_NULL(token_sign(&weak, &token, &arena).p);
	CU_ASSERT_FALSE(token_check(&weak, forge(HEADER, CLAIMS, weak.keys[0].p, weak.keys[0].n), NOW_S, &read));
}

static void texts_that_are_no_tokens(void)
{
	static char large[TOKEN_MAX + 100];
	static const char *const bad[] = {"",
					  ".",
					  "..",
					  "...",
					  "a.b.c",
					  "invalid_token_here",
					  "eyJhbGciOiJub25lIn0.e30.",
					  "Bearer x",
					  "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..",
					  "\xff.\xff.\xff",
					  " . . "};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_FALSE(good(str_of(bad[i])));
	CU_ASSERT_FALSE(good((struct str){0}));
	memset(large, 'A', sizeof(large));
	large[10] = large[4000] = '.';
	CU_ASSERT_FALSE(good((struct str){large, sizeof(large)}));
	/* Rightly signed, all that it should hold, and larger than any of ours. */
	char claims[5000];
	snprintf(claims, sizeof(claims), "%*s" CLAIMS, 1000, "");
	CU_ASSERT_TRUE(good(forged(HEADER, claims)));
	snprintf(claims, sizeof(claims), "%*s" CLAIMS, 2900, "");
	CU_ASSERT_FALSE(good(forged(HEADER, claims)));
	/* With padding, blanks, or another alphabet. */
	struct str text = forged(HEADER, CLAIMS);
	char copy[TOKEN_MAX];
	snprintf(copy, sizeof(copy), "%.*s=", STR_ARG(text));
	CU_ASSERT_FALSE(good(str_of(copy)));
	snprintf(copy, sizeof(copy), " %.*s", STR_ARG(text));
	CU_ASSERT_FALSE(good(str_of(copy)));
	snprintf(copy, sizeof(copy), "%.*s.", STR_ARG(text));
	CU_ASSERT_FALSE(good(str_of(copy)));
}

static const struct unit_case CASES[] = {
	{"signs and reads back", signs_and_reads_back},
	{"looks as agreed", looks_as_agreed},
	{"every changed byte is seen", every_changed_byte_is_seen},
	{"headers that are refused", headers_that_are_refused},
	{"claims that are refused", claims_that_are_refused},
	{"lives as long as it says", lives_as_long_as_it_says},
	{"keys are rotated", keys_are_rotated},
	{"texts that are no tokens", texts_that_are_no_tokens},
};

int main(void)
{
	if (sodium_init() < 0)
		return 1;
	arena_init(&arena, 1u << 20);
	int code = UNIT_RUN("token", CASES);
	arena_release(&arena);
	return code;
}
