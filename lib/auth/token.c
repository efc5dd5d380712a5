/* Access tokens. The signature is checked before a byte of what it covers is read, and by HMAC-SHA-256 whatever the
 * header says; after that everything must be just as token_sign writes it, so there is little that a forger who found a
 * key's holder careless could vary. */
#include "auth/token.h"

#include "base/buf.h"
#include "base/json.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

static const struct str ISSUER = STR_INIT("appcore"), AUDIENCE = STR_INIT("appcore-api");

enum {
	MAC_BYTES = crypto_auth_hmacsha256_BYTES,
	KID_BYTES = 9,
	MAC_TEXT_BYTES = 44,              /* base64 of 32 bytes without padding, and NUL */
	SKEW_S = 60,                      /* that another machine's clock may be ahead */
	LIFE_MAX_S = 43200 * 60 + SKEW_S, /* the longest that the settings allow */
	BASE64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING,
};

static void sign(struct str key, struct str text, uint8_t out[static MAC_BYTES])
{
	crypto_auth_hmacsha256_state state;

	crypto_auth_hmacsha256_init(&state, (const uint8_t *)key.p, key.n);
	crypto_auth_hmacsha256_update(&state, (const uint8_t *)text.p, text.n);
	crypto_auth_hmacsha256_final(&state, out);
	sodium_memzero(&state, sizeof(state));
}

/* Tells keys apart and nothing about them. */
static void name_key(struct str key, char out[static KID_BYTES])
{
	static const char purpose[] = "appcore token key";
	uint8_t hash[crypto_generichash_BYTES_MIN];

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)key.p, key.n, (const uint8_t *)purpose,
			   sizeof(purpose) - 1);
	hex_format(hash, (KID_BYTES - 1) / 2, out);
}

static void put_base64(struct buf *out, const void *p, size_t n)
{
	size_t size = sodium_base64_encoded_len(n, BASE64);

	if (!buf_reserve(out, size))
		return;
	sodium_bin2base64(out->p + out->n, size, p, n, BASE64);
	out->n += size - 1;
}

static void put_claims(struct buf *out, const struct token *token)
{
	buf_str(out, STR("{\"sub\":"));
	json_put_string(out, str_of(token->username));
	buf_fmt(out, ",\"exp\":%" PRId64 ",\"iat\":%" PRId64 ",\"iss\":\"%s\",\"aud\":\"%s\"", token->expires_s,
		token->issued_s, ISSUER.p, AUDIENCE.p);
	buf_fmt(out, ",\"jti\":\"%s\",\"uid\":%" PRId64 ",\"sid\":\"%s\"", token->jti, token->user_id, token->session);
	/* A length that base64 needs no padding for: `cut -d. -f2 | base64 -d` then shows the claims whole. */
	while (!out->failed && (out->n + 1) % 3 != 0)
		buf_char(out, ' ');
	buf_char(out, '}');
}

struct str token_sign(const struct token_keys *keys, const struct token *token, struct arena *arena)
{
	struct str key = keys->keys[0];
	struct buf claims, text;
	uint8_t mac[MAC_BYTES];
	char kid[KID_BYTES], header[64];

	if (key.n < TOKEN_KEY_MIN)
		return (struct str){0};
	name_key(key, kid);
	int n = snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", kid);
	buf_init(&claims, arena);
	put_claims(&claims, token);
	buf_init(&text, arena);
	put_base64(&text, header, (size_t)n);
	buf_char(&text, '.');
	put_base64(&text, claims.p, claims.n);
	if (claims.failed || text.failed)
		return (struct str){0};
	sign(key, buf_view(&text), mac);
	buf_char(&text, '.');
	put_base64(&text, mac, sizeof(mac));
	return text.failed || text.n > TOKEN_MAX ? (struct str){0} : buf_view(&text);
}

/* --- checking --- */

/* Strict base64url (RFC 4648, section 5; RFC 7515, section 2): no padding, no blanks, unused bits are 0. libsodium's
 * reader takes some bytes above 0x7f for '-' and '_'. */
static bool decode(struct str text, void *out, size_t size, size_t *n)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		      c == '_'))
			return false;
	}
	return sodium_base642bin(out, size, text.p, text.n, NULL, n, NULL, BASE64) == 0;
}

static bool is_signed(const struct token_keys *keys, struct str signed_text, struct str mac_text)
{
	uint8_t given[MAC_BYTES], made[MAC_BYTES];
	size_t n;
	bool good = false;

	if (mac_text.n != MAC_TEXT_BYTES - 1 || !decode(mac_text, given, sizeof(given), &n) || n != sizeof(given))
		return false;
	for (int i = 0; i < TOKEN_KEYS && !good; i++) {
		if (keys->keys[i].n < TOKEN_KEY_MIN)
			continue;
		sign(keys->keys[i], signed_text, made);
		good = sodium_memcmp(given, made, sizeof(made)) == 0;
	}
	return good;
}

/* A part's JSON object. `bytes` is where it lives. */
static bool read_part(struct str part, char *bytes, size_t size, struct json_value *object)
{
	struct json_fault fault;
	size_t n;

	return decode(part, bytes, size, &n) && json_check((struct str){bytes, n}, 1, object, &fault) &&
	       object->type == JSON_OBJECT;
}

static bool take_text(struct json_value value, struct arena *arena, char *out, size_t size)
{
	if (value.type != JSON_STRING)
		return false;
	struct str text = json_string(value, arena);
	if (text.n == 0 || text.n >= size || memchr(text.p, '\0', text.n))
		return false;
	memcpy(out, text.p, text.n);
	out[text.n] = '\0';
	return true;
}

static bool take_number(struct json_value value, int64_t *out)
{
	uint64_t n;

	if (value.type != JSON_NUMBER || !str_to_u64(value.text, INT64_MAX, &n))
		return false;
	*out = (int64_t)n;
	return true;
}

/* A text as our writer writes it, without escapes. */
static bool is_text(struct json_value value, struct str wanted)
{
	return value.type == JSON_STRING && str_eq((struct str){value.text.p + 1, value.text.n - 2}, wanted);
}

/* Nothing is in the header but what token_sign puts there: no "crit", no key, no address of one. */
static bool check_header(struct json_value header)
{
	struct json_iter iter;
	struct json_value name, value;
	bool alg = false, typ = false;

	json_iter_init(&iter, header);
	while (json_next(&iter, &name, &value)) {
		if (is_text(name, STR("alg")) && is_text(value, STR("HS256")))
			alg = true;
		else if (is_text(name, STR("typ")) && is_text(value, STR("JWT")))
			typ = true;
		else if (!is_text(name, STR("kid")) || value.type != JSON_STRING)
			return false;
	}
	return alg && typ;
}

static bool is_id(const char *text)
{
	struct id id;

	return id_parse(str_of(text), &id);
}

enum claim { CLAIM_ISS, CLAIM_AUD, CLAIM_SUB, CLAIM_JTI, CLAIM_SID, CLAIM_UID, CLAIM_IAT, CLAIM_EXP, CLAIM__MAX };

static const struct str CLAIMS[CLAIM__MAX] = {
	[CLAIM_ISS] = STR_INIT("iss"), [CLAIM_AUD] = STR_INIT("aud"), [CLAIM_SUB] = STR_INIT("sub"),
	[CLAIM_JTI] = STR_INIT("jti"), [CLAIM_SID] = STR_INIT("sid"), [CLAIM_UID] = STR_INIT("uid"),
	[CLAIM_IAT] = STR_INIT("iat"), [CLAIM_EXP] = STR_INIT("exp"),
};

static bool take_claim(enum claim claim, struct json_value value, struct arena *arena, struct token *out)
{
	switch (claim) {
	case CLAIM_ISS:
		return is_text(value, ISSUER);
	case CLAIM_AUD:
		return is_text(value, AUDIENCE);
	case CLAIM_SUB:
		return take_text(value, arena, out->username, sizeof(out->username));
	case CLAIM_JTI:
		return take_text(value, arena, out->jti, sizeof(out->jti)) && is_id(out->jti);
	case CLAIM_SID:
		return take_text(value, arena, out->session, sizeof(out->session)) && is_id(out->session);
	case CLAIM_UID:
		return take_number(value, &out->user_id) && out->user_id > 0;
	case CLAIM_IAT:
		return take_number(value, &out->issued_s);
	case CLAIM_EXP:
		return take_number(value, &out->expires_s);
	case CLAIM__MAX:
		break;
	}
	return false;
}

static enum claim find_claim(struct json_value name)
{
	enum claim claim = 0;

	while (claim < CLAIM__MAX && !is_text(name, CLAIMS[claim]))
		claim++;
	return claim;
}

/* All of the claims that we write, each once (json_check has seen to that), and no other: not even one that would be
 * harmless, such as "nbf" of the past. */
static bool read_claims(struct json_value claims, int64_t now_s, struct arena *arena, struct token *out)
{
	struct json_iter iter;
	struct json_value name, value;
	int n = 0;

	json_iter_init(&iter, claims);
	while (json_next(&iter, &name, &value)) {
		if (!take_claim(find_claim(name), value, arena, out))
			return false;
		n++;
	}
	return n == CLAIM__MAX && now_s < out->expires_s && out->issued_s < out->expires_s &&
	       out->issued_s <= now_s + SKEW_S && out->expires_s - out->issued_s <= LIFE_MAX_S;
}

bool token_check(const struct token_keys *keys, struct str text, int64_t now_s, struct token *out)
{
	char header_bytes[256], claims_bytes[TOKEN_MAX];
	struct json_value header, claims;
	struct arena arena;
	struct str rest = text;

	memset(out, 0, sizeof(*out));
	if (text.n > TOKEN_MAX)
		return false;
	struct str header_part = str_cut(&rest, '.'), claims_part = str_cut(&rest, '.');
	if (!rest.p || header_part.n == 0 || claims_part.n == 0)
		return false;
	struct str signed_text = {text.p, header_part.n + 1 + claims_part.n};
	if (!is_signed(keys, signed_text, rest) ||
	    !read_part(header_part, header_bytes, sizeof(header_bytes), &header) || !check_header(header) ||
	    !read_part(claims_part, claims_bytes, sizeof(claims_bytes), &claims))
		return false;
	arena_init(&arena, (size_t)64 * 1024);
	bool good = read_claims(claims, now_s, &arena, out);
	arena_release(&arena);
	if (!good)
		memset(out, 0, sizeof(*out));
	return good;
}
