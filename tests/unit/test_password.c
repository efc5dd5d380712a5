/* Password hashes. */
#include "unit.h"

#include "auth/password.h"

#include <sodium.h>

#define OK(call) CU_ASSERT_EQUAL(call, STATUS_OK)

/* Of crypt_blowfish's own tests. */
static const char U_U[] = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

static bool checks(const char *hash, const char *password)
{
	bool outdated;

	return password_check(hash, str_of(password), &outdated);
}

static void hashes_and_checks(void)
{
	static const char *const passwords[] = {"testpass123", "", " ", "p\xc3\xa4ss", "\x7f"};
	char one[PASSWORD_HASH_BYTES], two[PASSWORD_HASH_BYTES];
	bool outdated = true;

	for (size_t i = 0; i < sizeof(passwords) / sizeof(passwords[0]); i++) {
		struct str password = str_of(passwords[i]);
		OK(password_hash(password, one, NULL));
		OK(password_hash(password, two, NULL));
		CU_ASSERT_STRING_NOT_EQUAL(one, two);
		CU_ASSERT_TRUE(str_starts(str_of(one), STR("$argon2id$v=19$m=19456,t=2,p=1$")));
		CU_ASSERT_TRUE(password_check(one, password, &outdated));
		CU_ASSERT_FALSE(outdated);
		CU_ASSERT_TRUE(checks(two, passwords[i]));
		CU_ASSERT_FALSE(checks(one, "testpass124"));
		CU_ASSERT_FALSE(checks(one, "testpass12"));
		CU_ASSERT_FALSE(checks(one, "Testpass123"));
	}
	CU_ASSERT_TRUE(password_check(one, STR("\x7f"), &outdated));
	CU_ASSERT_PTR_NULL(strstr(one, "testpass"));
}

static void refuses_passwords(void)
{
	static char longest[PASSWORD_MAX + 2];
	char hash[PASSWORD_HASH_BYTES];
	bool outdated;

	memset(longest, 'x', sizeof(longest) - 1);
	struct str fits = {longest, PASSWORD_MAX}, too_long = {longest, PASSWORD_MAX + 1};
	OK(password_hash(fits, hash, NULL));
	CU_ASSERT_TRUE(password_check(hash, fits, &outdated));
	CU_ASSERT_FALSE(password_check(hash, too_long, &outdated));
	CU_ASSERT_EQUAL(password_hash(too_long, hash, NULL), STATUS_INVALID);
	CU_ASSERT_EQUAL(password_hash(STR("a\0b"), hash, NULL), STATUS_INVALID);
	OK(password_hash(STR("a"), hash, NULL));
	CU_ASSERT_FALSE(password_check(hash, STR("a\0b"), &outdated));
	OK(password_hash((struct str){0}, hash, NULL));
	CU_ASSERT_TRUE(password_check(hash, (struct str){0}, &outdated));
}

static void checks_bcrypt(void)
{
	char other[sizeof(U_U)];
	bool outdated = false;

	CU_ASSERT_TRUE(password_check(U_U, STR("U*U"), &outdated));
	CU_ASSERT_TRUE(outdated);
	CU_ASSERT_FALSE(password_check(U_U, STR("U*V"), &outdated));
	CU_ASSERT_FALSE(outdated);
	CU_ASSERT_FALSE(checks(U_U, ""));
	/* Whatever letter of the hash is another, it is another hash. */
	for (size_t i = 29; i < sizeof(U_U) - 1; i++) {
		memcpy(other, U_U, sizeof(other));
		other[i] = other[i] == 'a' ? 'c' : 'a';
		CU_ASSERT_FALSE(checks(other, "U*U"));
	}
	/* 72 bytes are all that bcrypt reads. */
	static const char of_72_x[] = "$2b$04$......................SZFhVdUK5wGKY4lx/QrgUMHG0XsWjbi";
	char text[PASSWORD_MAX + 1] = {0};
	memset(text, 'x', 71);
	CU_ASSERT_FALSE(checks(of_72_x, text));
	text[71] = 'x';
	CU_ASSERT_TRUE(checks(of_72_x, text));
	memset(text, 'x', PASSWORD_MAX);
	CU_ASSERT_TRUE(checks(of_72_x, text));
}

static void other_parameters_are_outdated(void)
{
	char hash[crypto_pwhash_STRBYTES];
	bool outdated = false;

	CU_ASSERT_EQUAL_FATAL(crypto_pwhash_str_alg(hash, "secret", 6, 1, 8 << 20, crypto_pwhash_ALG_ARGON2ID13), 0);
	CU_ASSERT_TRUE(password_check(hash, STR("secret"), &outdated));
	CU_ASSERT_TRUE(outdated);
	CU_ASSERT_FALSE(password_check(hash, STR("Secret"), &outdated));
	CU_ASSERT_FALSE(outdated);
}

static void refuses_hashes(void)
{
	static const char *const bad[] = {
		"",
		"x",
		"U*U",
		"$",
		"$2b$",
		"$2b$05$",
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.",
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe",
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWW",
		"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe*",
		"$2b$5$CCCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2b$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2b$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
		"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1",
		"$argon2id$v=19$m=4194304,t=2,p=1$58k6JKg3r0B9+MFduC8k+w$jWdXp8Zo6ZWEqEh8PSahES6Fe9AUt5qUZ1mbi1zbChk",
		"$argon2id$v=19$m=19456,t=4000000000,p=1$58k6JKg3r0B9+MFduC8k+w$jWdXp8Zo6ZWEqEh8PSahES6Fe9AUt5qUZ1mbi1",
		"$argon2id$v=19$m=19456,t=2,p=100$58k6JKg3r0B9+MFduC8k+w$jWdXp8Zo6ZWEqEh8PSahES6Fe9AUt5qUZ1mbi1zbChk",
		"$argon2id$v=19$m=19456,t=2,p=1$",
		"$argon2id$v=19$m=,t=,p=$",
		"$argon2id$v=19$",
		"$argon2i$v=19$m=19456,t=2,p=1$58k6JKg3r0B9+MFduC8k+w$jWdXp8Zo6ZWEqEh8PSahES6Fe9AUt5qUZ1mbi1zbChk",
	};
	bool outdated = true;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_FALSE(checks(bad[i], "U*U"));
		CU_ASSERT_FALSE(checks(bad[i], ""));
	}
	/* Right, and dearer than we let a row be. */
	char dear[crypto_pwhash_STRBYTES];
	CU_ASSERT_EQUAL(crypto_pwhash_str_alg(dear, "U*U", 3, 10, 8 << 20, crypto_pwhash_ALG_ARGON2ID13), 0);
	CU_ASSERT_TRUE(checks(dear, "U*U"));
	CU_ASSERT_EQUAL(crypto_pwhash_str_alg(dear, "U*U", 3, 11, 8 << 20, crypto_pwhash_ALG_ARGON2ID13), 0);
	CU_ASSERT_FALSE(checks(dear, "U*U"));
	CU_ASSERT_FALSE(password_check(NULL, STR("U*U"), &outdated));
	CU_ASSERT_FALSE(outdated);
}

static const struct unit_case CASES[] = {
	{"hashes and checks", hashes_and_checks},
	{"refuses passwords that are none", refuses_passwords},
	{"checks bcrypt's", checks_bcrypt},
	{"other parameters are outdated", other_parameters_are_outdated},
	{"refuses hashes that are none, or too dear", refuses_hashes},
};

int main(void)
{
	return sodium_init() < 0 ? 1 : UNIT_RUN("password", CASES);
}
