/* Password hashes. New ones are Argon2id with the parameters that OWASP's Password Storage Cheat Sheet names for it
 * (19 MiB, two passes, one lane); bcrypt's are checked so that accounts can be taken over from elsewhere. A stored hash
 * says what checking it costs: one that asks for more than the bounds below is treated as damaged, or whoever can write
 * a row could stop the service with it. */
#include "auth/password.h"

#include <crypt.h>
#include <sodium.h>
#include <stdlib.h>

_Static_assert(PASSWORD_HASH_BYTES >= crypto_pwhash_STRBYTES, "libsodium's text fits");

enum {
	PASSES = 2,
	PASSES_MAX = 10,
	MEMORY = 19 * 1024 * 1024,
	MEMORY_MAX = 256 * 1024 * 1024,
	BCRYPT_BYTES = 60,
	BCRYPT_COST_MIN = 4,
	BCRYPT_COST_MAX = 14, /* about a second */
	BCRYPT_PASSWORD_MAX = 72,
};

enum scheme { SCHEME_NONE, SCHEME_ARGON2ID, SCHEME_BCRYPT };

static bool is_password(struct str password)
{
	return password.n <= PASSWORD_MAX && (password.n == 0 || !memchr(password.p, '\0', password.n));
}

enum status password_hash(struct str password, char out[static PASSWORD_HASH_BYTES], struct err *err)
{
	if (!is_password(password))
		return err_set(err, STATUS_INVALID, "password: must have at most %d bytes and no NUL", PASSWORD_MAX);
	memset(out, 0, PASSWORD_HASH_BYTES);
	if (crypto_pwhash_str_alg(out, password.n ? password.p : "", password.n, PASSES, MEMORY,
				  crypto_pwhash_ALG_ARGON2ID13) != 0)
		return err_set(err, STATUS_UNAVAILABLE, "there is no memory to hash a password");
	return STATUS_OK;
}

/* The number behind `name` in "m=19456,t=2,p=1$", cut off the front with what ends it. 0 when it is not there. */
static uint64_t cut_number(struct str *rest, struct str name, char end)
{
	uint64_t n;

	if (!str_starts(*rest, name))
		return 0;
	*rest = (struct str){rest->p + name.n, rest->n - name.n};
	struct str digits = str_cut(rest, end);
	return rest->p && str_to_u64(digits, UINT32_MAX, &n) ? n : 0;
}

/* "$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>", in bounds. What follows is libsodium's to judge. */
static bool is_argon2id(struct str hash)
{
	static const struct str start = STR_INIT("$argon2id$v=19$");

	if (!str_starts(hash, start))
		return false;
	struct str rest = {hash.p + start.n, hash.n - start.n};
	uint64_t kibibytes = cut_number(&rest, STR("m="), ',');
	uint64_t passes = cut_number(&rest, STR("t="), ',');
	uint64_t lanes = cut_number(&rest, STR("p="), '$');
	return kibibytes > 0 && kibibytes <= MEMORY_MAX / 1024 && passes > 0 && passes <= PASSES_MAX && lanes == 1;
}

/* "$2b$12$" and 53 characters of bcrypt's alphabet. */
static bool is_bcrypt(struct str hash)
{
	static const char alphabet[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	uint64_t cost;

	if (hash.n != BCRYPT_BYTES || !str_starts(hash, STR("$2b$")) || hash.p[6] != '$' ||
	    !str_to_u64((struct str){hash.p + 4, 2}, BCRYPT_COST_MAX, &cost) || cost < BCRYPT_COST_MIN)
		return false;
	return strspn(hash.p + 7, alphabet) == BCRYPT_BYTES - 7;
}

static enum scheme scheme_of(struct str hash)
{
	if (hash.n < crypto_pwhash_STRBYTES && is_argon2id(hash))
		return SCHEME_ARGON2ID;
	return is_bcrypt(hash) ? SCHEME_BCRYPT : SCHEME_NONE;
}

/* bcrypt reads 72 bytes of a password and no more, here as everywhere. The password's whole length counts again once
 * it has been hashed anew. */
static bool check_bcrypt(const char *hash, struct str password)
{
	char phrase[BCRYPT_PASSWORD_MAX + 1] = {0};
	void *data = NULL;
	int size = 0;

	if (password.n > 0)
		memcpy(phrase, password.p, password.n < BCRYPT_PASSWORD_MAX ? password.n : BCRYPT_PASSWORD_MAX);
	const char *made = crypt_ra(phrase, hash, &data, &size);
	bool right = made && strlen(made) == BCRYPT_BYTES && sodium_memcmp(made, hash, BCRYPT_BYTES) == 0;
	if (data)
		sodium_memzero(data, (size_t)size);
	free(data);
	sodium_memzero(phrase, sizeof(phrase));
	return right;
}

static bool check_argon2id(struct str hash, struct str password, bool *outdated)
{
	char text[crypto_pwhash_STRBYTES] = {0};

	memcpy(text, hash.p, hash.n);
	bool right = crypto_pwhash_str_verify(text, password.n ? password.p : "", password.n) == 0;
	*outdated = right && crypto_pwhash_str_needs_rehash(text, PASSES, MEMORY) != 0;
	return right;
}

/* What checking costs when there is nothing to check. Its password was thrown away. */
static void check_nothing(struct str password)
{
	static const char nobody[crypto_pwhash_STRBYTES] =
		"$argon2id$v=19$m=19456,t=2,p=1$58k6JKg3r0B9+MFduC8k+w$jWdXp8Zo6ZWEqEh8PSahES6Fe9AUt5qUZ1mbi1zbChk";

	(void)!crypto_pwhash_str_verify(nobody, password.n ? password.p : "", password.n);
}

bool password_check(const char *hash, struct str password, bool *outdated)
{
	bool right = false;

	*outdated = false;
	if (!is_password(password))
		return false;
	switch (scheme_of(str_of(hash))) {
	case SCHEME_ARGON2ID:
		right = check_argon2id(str_of(hash), password, outdated);
		break;
	case SCHEME_BCRYPT:
		right = check_bcrypt(hash, password);
		*outdated = right;
		break;
	case SCHEME_NONE:
		check_nothing(password);
		break;
	}
	return right;
}
