/* User names and e-mail addresses. */
#include "unit.h"

#include "auth/names.h"

#include <stdio.h>

static struct arena arena;

/* --- addresses --- */

#define INVALID_BEFORE "The email address contains invalid characters before the @-sign: "
#define INVALID_AFTER  "The part after the @-sign contains invalid characters: "
#define UNSAFE         "The email address contains unsafe characters: "
#define ONE_SIGN       "The email address is not valid. It must have exactly one @-sign."
#define NO_PERIOD      "The part after the @-sign is not valid. It should have a period."
#define NO_TLD         "The part after the @-sign is not valid. It is not within a valid top-level domain."
#define RESERVED       "The part after the @-sign is a special-use or reserved name that cannot be used with email."
#define TWO_PERIODS    "An email address cannot have two periods in a row."
#define NEXT           "An email address cannot have a period and a hyphen next to each other."
#define DASHES                                                                                                         \
	"An email address cannot have two letters followed by two dashes immediately after the @-sign or after a "     \
	"period, "                                                                                                     \
	"except Punycode."
#define X10 "1234567890"
#define X50 X10 X10 X10 X10 X10
#define X60 X50 X10

static void good_addresses(void)
{
	static const struct {
		const char *raw, *email, *key;
	} cases[] = {
		{"test@example.com", "test@example.com", "test@example.com"},
		{"A@EXAMPLE.COM", "A@example.com", "a@example.com"},
		{"ratelimit@test.com", "ratelimit@test.com", "ratelimit@test.com"},
		{"  a@b.org\n", "a@b.org", "a@b.org"},
		{"Abc.123+x_y@sub-domain.Example.co.uk", "Abc.123+x_y@sub-domain.example.co.uk",
		 "abc.123+x_y@sub-domain.example.co.uk"},
		{"!#$%&'*+-/=.?^_`{|}~@x.org", "!#$%&'*+-/=.?^_`{|}~@x.org", "!#$%&'*+-/=.?^_`{|}~@x.org"},
		{"o'brien@x.ie", "o'brien@x.ie", "o'brien@x.ie"},
		{"-@x.org", "-@x.org", "-@x.org"},
		{"PostMaster@X.org", "postmaster@x.org", "postmaster@x.org"},
		{"J\xc3\x96rg@x.org", "J\xc3\x96rg@x.org", "j\xc3\xb6rg@x.org"},
		{"Jo\xcc\x88rg@x.org", "J\xc3\xb6rg@x.org", "j\xc3\xb6rg@x.org"},
		{"a@xn--bcher-kva.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"},
		{"a@mail.test.com", "a@mail.test.com", "a@mail.test.com"},
		{"a@mytest.example", "a@mytest.example", "a@mytest.example"},
		{X60 "1234@x.org", X60 "1234@x.org", X60 "1234@x.org"},
		{"a@" X60 "123.org", "a@" X60 "123.org", "a@" X60 "123.org"},
	};
	struct str email, key;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *reason = email_normalise(str_of(cases[i].raw), &arena, &email, &key);
		if (reason)
			printf("\n%s: %s\n", cases[i].raw, reason);
		CU_ASSERT_PTR_NULL_FATAL(reason);
		CU_ASSERT_TRUE(str_eq(email, str_of(cases[i].email)));
		CU_ASSERT_TRUE(str_eq(key, str_of(cases[i].key)));
	}
}

static void bad_addresses(void)
{
	static const struct {
		const char *raw, *reason;
	} cases[] = {
		{"", ONE_SIGN},
		{"bad", ONE_SIGN},
		{"a@b@c.org", ONE_SIGN},
		{"@", "There must be something before the @-sign."},
		{"@x.com", "There must be something before the @-sign."},
		{"a@", "There must be something after the @-sign."},
		{"a@b", NO_PERIOD},
		{"a@localhost", NO_PERIOD},
		{"me@bad-tld-1", NO_PERIOD},
		{"me@bad.tld-2", NO_TLD},
		{"a@127.0.0.1", NO_TLD},
		{"a@x.c1", NO_TLD},
		{"a@example.test", RESERVED},
		{"a@EXAMPLE.TEST", RESERVED},
		{"a@x.local", RESERVED},
		{"a@x.localhost", RESERVED},
		{"a@x.invalid", RESERVED},
		{"a@x.onion", RESERVED},
		{"a@1.0.0.127.in-addr.arpa", RESERVED},
		{"a..b@x.com", TWO_PERIODS},
		{"a@x..com", TWO_PERIODS},
		{".a@x.com", "An email address cannot start with a period."},
		{"a.@x.com", "An email address cannot have a period immediately before the @-sign."},
		{"a@.x.com", "An email address cannot have a period immediately after the @-sign."},
		{"a@x.com.", "An email address cannot end with a period."},
		{"a@x.com-", "An email address cannot end with a hyphen."},
		{"a@-x.com", "An email address cannot have a hyphen immediately after the @-sign."},
		{"a@x-.com", NEXT},
		{"a@x.-com", NEXT},
		{"me@yy--0.tld", DASHES},
		{"a b@x.com", INVALID_BEFORE "SPACE."},
		{"a\tb@x.com", INVALID_BEFORE "U+0009."},
		{"a\x7f@x.com", INVALID_BEFORE "U+007F."},
		{"a(b)<c>,;:\\[d]@x.com", INVALID_BEFORE "\"\\\", '(', ')', ',', ':', ';', '<', '>', '[', ']'."},
		{"a b(c(@x.com", INVALID_BEFORE "'(', SPACE."},
		{"Name <a@x.com>", INVALID_BEFORE "'<', SPACE."},
		{"a@x_y.com", INVALID_AFTER "'_'."},
		{"a@x y.com", INVALID_AFTER "SPACE."},
		{"a@x.com>", INVALID_AFTER "'>'."},
		{"a@x.com\ny", INVALID_AFTER "U+000A."},
		{"a@x'--.com", INVALID_AFTER "\"'\"."},
		{"a@[127.0.0.1]", "A bracketed IP address after the @-sign is not allowed here."},
		{"a@[IPv6:::1]", "A bracketed IP address after the @-sign is not allowed here."},
		{"\"a b\"@x.com", "Quoting the part before the @-sign is not allowed here."},
		{"\"a@b\"@x.com", "Quoting the part before the @-sign is not allowed here."},
		{"\"\"@x.com", "There must be something before the @-sign."},
		{"\"a\"b\"@x.com", INVALID_BEFORE "'\"'."},
		{"\xe2\x80\xae"
		 "a@x.com",
		 UNSAFE "RIGHT-TO-LEFT OVERRIDE."},
		{"a\xe2\x80\x8b"
		 "b@x.com",
		 UNSAFE "ZERO WIDTH SPACE."},
		{"a\xc2\xa0"
		 "b@x.com",
		 UNSAFE "NO-BREAK SPACE."},
		{"\xcc\x88"
		 "a@x.com",
		 UNSAFE "COMBINING DIAERESIS."},
		{"a\xee\x80\x80@x.com", UNSAFE "U+E000."},
		{"a@b\xc3\xbc"
		 "cher.example",
		 "The part after the @-sign must be in its ASCII form (xn--...) here. It contains: '\xc3\xbc'."},
		{"a@x\xe2\x80\x8b.com", UNSAFE "ZERO WIDTH SPACE."},
		{"a\xff@x.com", "The email address contains an invalid character."},
		{X60 "12345@x.org", "The email address is too long before the @-sign (1 character too many)."},
		{X60 "123456@x.org", "The email address is too long before the @-sign (2 characters too many)."},
		{"a@" X60 "1234.org",
		 "After the @-sign, periods cannot be separated by so many characters (1 character too many)."},
		{"a@" X60 "." X60 "." X60 "." X60 "." X10 ".org",
		 "The email address is too long after the @-sign (3 characters too many)."},
		{X60 "@" X60 "." X60 "." X60 "." X10 ".org", "The email address is too long (4 characters too many)."},
	};
	struct str email, key;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *reason = email_normalise(str_of(cases[i].raw), &arena, &email, &key);
		CU_ASSERT_PTR_NOT_NULL_FATAL(reason);
		if (strcmp(reason, cases[i].reason) != 0)
			printf("\n%s:\n  %s\n  %s\n", cases[i].raw, reason, cases[i].reason);
		CU_ASSERT_STRING_EQUAL(reason, cases[i].reason);
	}
}

static void long_addresses(void)
{
	static char text[20000];
	struct str email, key;

	memset(text, 'a', sizeof(text));
	CU_ASSERT_STRING_EQUAL(email_normalise((struct str){text, sizeof(text)}, &arena, &email, &key),
			       "Length must not exceed 2048 characters");
	CU_ASSERT_STRING_EQUAL(email_normalise((struct str){text, 2049}, &arena, &email, &key),
			       "Length must not exceed 2048 characters");
	CU_ASSERT_STRING_EQUAL(email_normalise((struct str){text, 2048}, &arena, &email, &key), ONE_SIGN);
	/* 60 characters of three bytes and 63 of ASCII: 243 bytes and more */
	for (size_t i = 0; i < 180; i += 3)
		memcpy(text + i, "\xe2\x82\xac", 3);
	memcpy(text + 180, "@" X50 "." X10 X10 ".org", 77);
	CU_ASSERT_STRING_EQUAL(email_normalise(str_of(text), &arena, &email, &key),
			       "The email address is too long (when encoded in bytes).");
	/* As many different characters as there can be: no sentence without end. */
	size_t n = 0;
	for (int c = 1; c < 60; c++)
		text[n++] = (char)c;
	memcpy(text + n, "@x.org", 7);
	const char *reason = email_normalise(str_of(text + 0), &arena, &email, &key);
	CU_ASSERT_TRUE(reason && strlen(reason) < 400);
	/* Without memory there is a reason, too. */
	struct arena none;
	arena_init(&none, 10);
	CU_ASSERT_PTR_NOT_NULL(email_normalise(STR("a@x.org"), &none, &email, &key));
	CU_ASSERT_PTR_NOT_NULL(username_normalise(STR("a"), &none, &email, &key));
	arena_release(&none);
}

/* --- user names --- */

static void good_names(void)
{
	static const struct {
		const char *raw, *name, *key;
	} cases[] = {
		{"testuser", "testuser", "testuser"},
		{"TestUser", "TestUser", "testuser"},
		{"x", "x", "x"},
		{"fake.user+1@home-2_3", "fake.user+1@home-2_3", "fake.user+1@home-2_3"},
		{"Ada Lovelace", "Ada Lovelace", "ada lovelace"},
		{"J\xc3\x96RG", "J\xc3\x96RG", "j\xc3\xb6rg"},
		{"Jo\xcc\x88rg", "J\xc3\xb6rg", "j\xc3\xb6rg"},
		{"stra\xc3\x9f"
		 "e",
		 "stra\xc3\x9f"
		 "e",
		 "strasse"},
		/* fullwidth "Admin" */
		{"\xef\xbc\xa1\xef\xbd\x84\xef\xbd\x8d\xef\xbd\x89\xef\xbd\x8e", "Admin", "admin"},
		/* Cyrillic that looks like "cap", and "Вор" that looks like "Bop" */
		{"\xd1\x81\xd0\xb0\xd1\x80", "\xd1\x81\xd0\xb0\xd1\x80", "cap"},
		{"\xd0\x92\xd0\xbe\xd1\x80", "\xd0\x92\xd0\xbe\xd1\x80", "bop"},
		{"\xd0\xb2\xd0\xbe\xd1\x80", "\xd0\xb2\xd0\xbe\xd1\x80", "bop"},
		/* Greek "ΑΝΝΑ" */
		{"\xce\x91\xce\x9d\xce\x9d\xce\x91", "\xce\x91\xce\x9d\xce\x9d\xce\x91", "avva"},
		/* final and other sigma are one letter */
		{"\xce\xbf\xcf\x82", "\xce\xbf\xcf\x82", "o\xcf\x83"},
		/* Arabic-Indic digits are their value; what reads from the right */
		{"\xd8\xb9\xd9\x84\xd9\x8a\xd9\xa1", "\xd8\xb9\xd9\x84\xd9\x8a\xd9\xa1",
		 "\xd8\xb9\xd9\x84\xd9\x8a"
		 "1"},
		{"\xd7\x93\xd7\x95\xd7\x93", "\xd7\x93\xd7\x95\xd7\x93", "\xd7\x93\xd7\x95\xd7\x93"},
		{"\xe5\xa4\xaa\xe9\x83\x8e\x31", "\xe5\xa4\xaa\xe9\x83\x8e\x31", "\xe5\xa4\xaa\xe9\x83\x8e\x31"},
		/* the wide blank is one */
		{"a\xe3\x80\x80z", "a z", "a z"},
		/* dotless i */
		{"adm\xc4\xb1n", "adm\xc4\xb1n", "admin"},
		/* a dot above what has one, as the capital I with a dot folds to it */
		{"admi\xcc\x87n", "admi\xcc\x87n", "admin"},
		{"adm\xc4\xb0n", "adm\xc4\xb0n", "admin"},
		/* Cyrillic "а" with an accent, and "ё", whose letter looks like "e"; Greek omicron with tonos */
		{"\xd0\xb0\xcc\x81", "\xd0\xb0\xcc\x81", "\xc3\xa1"},
		{"\xd1\x91", "\xd1\x91", "\xc3\xab"},
		{"\xcf\x8c", "\xcf\x8c", "\xc3\xb3"},
		{"\xea\xb0\x80", "\xea\xb0\x80", "\xea\xb0\x80"},
		{X50 X50, X50 X50, X50 X50},
	};
	struct str name, key;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *reason = username_normalise(str_of(cases[i].raw), &arena, &name, &key);
		if (reason)
			printf("\n%s: %s\n", cases[i].raw, reason);
		CU_ASSERT_PTR_NULL_FATAL(reason);
		if (!str_eq(key, str_of(cases[i].key)))
			printf("\n%s: key %.*s\n", cases[i].raw, STR_ARG(key));
		CU_ASSERT_TRUE(str_eq(name, str_of(cases[i].name)));
		CU_ASSERT_TRUE(str_eq(key, str_of(cases[i].key)));
		/* What is stored is its own normal form. */
		struct str again, same_key;
		CU_ASSERT_PTR_NULL(username_normalise(name, &arena, &again, &same_key));
		CU_ASSERT_TRUE(str_eq(again, name) && str_eq(key, same_key));
	}
}

static void bad_names(void)
{
	static const struct {
		const char *raw, *reason;
	} cases[] = {
		{"", "must not be empty"},
		{" ", "must not begin or end with a blank"},
		{" a", "must not begin or end with a blank"},
		{"a ", "must not begin or end with a blank"},
		{"a  b", "must not have two blanks in a row"},
		{"a\tb", "may have"},
		{"a\nb", "may have"},
		{"a\x01", "may have"},
		{"a\x7f", "may have"},
		{"a\xc2\x85", "may have"}, /* next line */
		{"a\xc2\xa0"
		 "b",
		 "may have"}, /* no-break space */
		{"a\xe2\x80\x83"
		 "b",
		 "may have"},                  /* em space */
		{"a\xe2\x80\x8b", "may have"}, /* zero width space */
		{"a\xe2\x80\x8d", "may have"}, /* zero width joiner */
		{"a\xc2\xad", "may have"},     /* soft hyphen */
		{"\xe2\x80\xae"
		 "nimda",
		 "may have"}, /* right-to-left override */
		{"\xef\xbb\xbf"
		 "a",
		 "may have"},                     /* byte order mark */
		{"a\xef\xbf\xbd", "may have"},    /* replacement character */
		{"\xf0\x9f\x98\x80", "may have"}, /* a face */
		{"\xe2\x85\xa3", "may have"},     /* Roman numeral four: "IV" in disguise */
		{"\xf0\x9d\x90\x9a", "may have"}, /* mathematical bold a */
		{"\xef\xac\x81", "may have"},     /* fi ligature */
		{"\xc2\xb2", "may have"},         /* superscript two */
		{"\xee\x80\x80", "may have"},     /* private use */
		{"\xcd\xb8", "may have"},         /* not assigned */
		{"\xe1\x84\x80", "may have"},     /* old Hangul */
		{"\xcc\x88"
		 "a",
		 "must not begin with a combining mark"},
		{"a \xcc\x88", "must not begin with a combining mark"},
		{"\xd0\xb0"
		 "dmin",
		 "must not mix"},                 /* Cyrillic a */
		{"admi\xce\xbd", "must not mix"}, /* Greek nu */
		{"\xd0\xb0\xce\xbf", "must not mix"},
		{"a\xd7\x93", "must read in one direction"},
		{"\xd7\x93"
		 "a",
		 "must read in one direction"},
		{"1\xd7\x93", "must read in one direction"},
		{"\xd8\xb9"
		 "1\xd9\xa1",
		 "must read in one direction"},
		{"\xff", "must be UTF-8"},
		{"\xed\xa0\x80", "must be UTF-8"},
		{X50 X50 "1", "must have at most 100 characters"},
	};
	static char large[100000];
	struct str name, key;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *reason = username_normalise(str_of(cases[i].raw), &arena, &name, &key);
		if (!reason || strncmp(reason, cases[i].reason, strlen(cases[i].reason)) != 0)
			printf("\n%s: %s\n", cases[i].raw, reason ? reason : "accepted");
		CU_ASSERT_TRUE(reason && strncmp(reason, cases[i].reason, strlen(cases[i].reason)) == 0);
	}
	memset(large, 'a', sizeof(large));
	CU_ASSERT_PTR_NOT_NULL(username_normalise((struct str){large, sizeof(large)}, &arena, &name, &key));
	CU_ASSERT_PTR_NOT_NULL(username_normalise(STR("a\0b"), &arena, &name, &key));
	/* 100 characters of four bytes fit; 101 marks on one letter do not. */
	for (int i = 0; i < 100; i++)
		memcpy(large + 4 * i, "\xf0\xa0\x80\x80", 4);
	CU_ASSERT_PTR_NULL(username_normalise((struct str){large, 400}, &arena, &name, &key));
	CU_ASSERT_EQUAL(key.n, 400);
	for (int i = 0; i < 200; i++)
		memcpy(large + 1 + 2 * i, "\xcc\x81", 2);
	large[0] = 'a';
	CU_ASSERT_PTR_NOT_NULL(username_normalise((struct str){large, 401}, &arena, &name, &key));
}

/* Whatever bytes come: an answer, and what is good fits its column. */
static void any_bytes(void)
{
	unsigned seed = 1;
	char text[64];

	for (int i = 0; i < 20000; i++) {
		struct str a, b;
		size_t n = (size_t)(seed >> 8) % sizeof(text);
		for (size_t k = 0; k < n; k++) {
			seed = seed * 1103515245 + 12345;
			text[k] = (char)((seed >> 16) % 3 ? "a@.-x\xc3\xa4\xd0\xb0 "[(seed >> 20) % 11]
							  : (int)(seed >> 16));
		}
		seed = seed * 1103515245 + 12345;
		if (!username_normalise((struct str){text, n}, &arena, &a, &b))
			CU_ASSERT_TRUE(a.n > 0 && a.n <= 400 && b.n > 0 && b.n <= 400);
		if (!email_normalise((struct str){text, n}, &arena, &a, &b))
			CU_ASSERT_TRUE(a.n > 0 && a.n <= EMAIL_MAX && b.n > 0);
		arena_reset(&arena);
	}
}

static const struct unit_case CASES[] = {
	{"good addresses", good_addresses}, {"bad addresses", bad_addresses}, {"long addresses", long_addresses},
	{"good names", good_names},         {"bad names", bad_names},         {"any bytes", any_bytes},
};

int main(void)
{
	arena_init(&arena, 4u << 20);
	int code = UNIT_RUN("names", CASES);
	arena_release(&arena);
	return code;
}
