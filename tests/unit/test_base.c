/* The base types: views, arena, buffer, clock, identifiers, mailbox, errors. */
#include "unit.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/id.h"
#include "base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Compares, and shows both sides when they differ. */
static void expect(struct str got, struct str wanted)
{
	bool same = str_eq(got, wanted);

	if (!same)
		printf("\n  got %.*s, wanted %.*s\n", STR_ARG(got), STR_ARG(wanted));
	CU_ASSERT(same);
}

static void test_str_compare(void)
{
	static const struct {
		struct str a, b;
		bool equal, equal_nocase, starts; /* starts: a begins with b */
	} CASES[] = {
		{STR_INIT(""), STR_INIT(""), true, true, true},
		{{NULL, 0}, STR_INIT(""), true, true, true},
		{STR_INIT("a"), {NULL, 0}, false, false, true},
		{STR_INIT("a"), STR_INIT("a"), true, true, true},
		{STR_INIT("a"), STR_INIT("A"), false, true, false},
		{STR_INIT("ab"), STR_INIT("a"), false, false, true},
		{STR_INIT("a"), STR_INIT("ab"), false, false, false},
		{STR_INIT("a\0b"), STR_INIT("a\0c"), false, false, false},
		{STR_INIT("Content-Type"), STR_INIT("content-type"), false, true, false},
		{STR_INIT("@[`{"), STR_INIT("`{@["), false, false, false}, /* next to the letters, 32 apart */
		{STR_INIT("\xc3\x89"), STR_INIT("\xc3\xa9"), false, false, false},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		CU_ASSERT_EQUAL(str_eq(CASES[i].a, CASES[i].b), CASES[i].equal);
		CU_ASSERT_EQUAL(str_eq(CASES[i].b, CASES[i].a), CASES[i].equal);
		CU_ASSERT_EQUAL(str_eq_nocase(CASES[i].a, CASES[i].b), CASES[i].equal_nocase);
		CU_ASSERT_EQUAL(str_starts(CASES[i].a, CASES[i].b), CASES[i].starts);
	}
	CU_ASSERT_EQUAL(str_of(NULL).n, 0);
	expect(str_of("abc"), STR("abc"));
}

static void test_str_trim(void)
{
	static const struct {
		struct str text, wanted;
	} CASES[] = {
		{{NULL, 0}, STR_INIT("")},
		{STR_INIT(""), STR_INIT("")},
		{STR_INIT(" \t\r\n"), STR_INIT("")},
		{STR_INIT("a"), STR_INIT("a")},
		{STR_INIT(" a "), STR_INIT("a")},
		{STR_INIT("\ta b\n"), STR_INIT("a b")},
		{STR_INIT("a\n "), STR_INIT("a")},
		{STR_INIT(" \0 "), STR_INIT("\0")},
		{STR_INIT("\va\f"), STR_INIT("\va\f")},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++)
		expect(str_trim(CASES[i].text), CASES[i].wanted);
}

static void test_str_cut(void)
{
	static const struct {
		struct str text, piece, rest;
		bool more; /* there was a separator */
	} CASES[] = {
		{STR_INIT("a,b"), STR_INIT("a"), STR_INIT("b"), true},
		{STR_INIT("a,b,c"), STR_INIT("a"), STR_INIT("b,c"), true},
		{STR_INIT(",b"), STR_INIT(""), STR_INIT("b"), true},
		{STR_INIT("a,"), STR_INIT("a"), STR_INIT(""), true},
		{STR_INIT("a"), STR_INIT("a"), STR_INIT(""), false},
		{STR_INIT(""), STR_INIT(""), STR_INIT(""), false},
		{{NULL, 0}, STR_INIT(""), STR_INIT(""), false},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		struct str rest = CASES[i].text;
		expect(str_cut(&rest, ','), CASES[i].piece);
		expect(rest, CASES[i].rest);
		CU_ASSERT_EQUAL(rest.p != NULL, CASES[i].more);
	}
}

static void test_str_to_u64(void)
{
	static const struct {
		struct str text;
		uint64_t max;
		bool ok;
		uint64_t value;
	} CASES[] = {
		{STR_INIT("0"), UINT64_MAX, true, 0},
		{STR_INIT("007"), UINT64_MAX, true, 7},
		{STR_INIT("18446744073709551615"), UINT64_MAX, true, UINT64_MAX},
		{STR_INIT("18446744073709551616"), UINT64_MAX, false, 0},
		{STR_INIT("18446744073709551620"), UINT64_MAX, false, 0},
		{STR_INIT("99999999999999999999"), UINT64_MAX, false, 0},
		{STR_INIT("184467440737095516150"), UINT64_MAX, false, 0},
		{STR_INIT("000000000000000000000000000005"), UINT64_MAX, true, 5},
		{STR_INIT("100"), 100, true, 100},
		{STR_INIT("101"), 100, false, 0},
		{STR_INIT("0"), 0, true, 0},
		{STR_INIT(""), 9, false, 0},
		{{NULL, 0}, 9, false, 0},
		{STR_INIT("-1"), 9, false, 0},
		{STR_INIT("+1"), 9, false, 0},
		{STR_INIT(" 1"), 9, false, 0},
		{STR_INIT("1 "), 9, false, 0},
		{STR_INIT("1.0"), 9, false, 0},
		{STR_INIT("1\0"), 9, false, 0},
		{STR_INIT("0x1"), 9, false, 0},
		{STR_INIT("/"), 9, false, 0},
		{STR_INIT(":"), 99, false, 0},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		uint64_t value = 4711;
		CU_ASSERT_EQUAL(str_to_u64(CASES[i].text, CASES[i].max, &value), CASES[i].ok);
		CU_ASSERT_EQUAL(value, CASES[i].ok ? CASES[i].value : 4711);
	}
}

static void test_str_is_token(void)
{
	for (int c = -128; c < 128; c++) {
		char byte = (char)c;
		CU_ASSERT_EQUAL(str_is_token((struct str){&byte, 1}), c >= 0x21 && c <= 0x7e);
	}
	CU_ASSERT(str_is_token(STR("")));
	CU_ASSERT(str_is_token(STR("a-b_C~!")));
	CU_ASSERT_FALSE(str_is_token(STR("a b")));
}

/* Every code point and its encoding, and every pair of bytes. */
static void test_utf8_all(void)
{
	char text[4];

	for (uint32_t cp = 0; cp <= 0x110000; cp++) {
		size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
		static const unsigned char LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};
		for (size_t i = 0; i < n; i++)
			text[i] = (char)(0x80 | (cp >> 6 * (n - 1 - i) & 0x3f));
		text[0] = (char)(n == 1 ? cp : LEAD[n] | cp >> 6 * (n - 1));
		bool wanted = cp < 0x110000 && (cp < 0xd800 || cp > 0xdfff);
		if (str_is_utf8((struct str){text, n}) != wanted || str_utf8_sequence(text, n) != (wanted ? n : 0))
			CU_FAIL("code point");
		if (n > 1 && str_is_utf8((struct str){text, n - 1}))
			CU_FAIL("cut sequence");
	}
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			text[0] = (char)a;
			text[1] = (char)b;
			bool wanted = (a < 0x80 && b < 0x80) || (a >= 0xc2 && a <= 0xdf && b >= 0x80 && b <= 0xbf);
			if (str_is_utf8((struct str){text, 2}) != wanted)
				CU_FAIL("pair of bytes");
		}
	}
}

static void test_utf8_cases(void)
{
	static const struct {
		struct str text;
		bool ok;
	} CASES[] = {
		{{NULL, 0}, true},
		{STR_INIT(""), true},
		{STR_INIT("\0"), true},
		{STR_INIT("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"), true},
		{STR_INIT("\xe0\x9f\xbf"), false},
		{STR_INIT("\xf0\x8f\xbf\xbf"), false},
		{STR_INIT("\xe0\xa0"), false},
		{STR_INIT("\xe0\xa0x"), false},
		{STR_INIT("\xf0\x90\x80x"), false},
		{STR_INIT("\xf0\x90\x80\x80\x80"), false},
		{STR_INIT("abc\xff"), false},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++)
		CU_ASSERT_EQUAL(str_is_utf8(CASES[i].text), CASES[i].ok);
}

static void test_arena_alloc(void)
{
	static const size_t SIZES[] = {0, 1, 15, 16, 17, 100, 4000, 8192, 8193, 100000};
	struct arena arena;

	arena_init(&arena, 1u << 20);
	for (int round = 0; round < 3; round++) {
		unsigned char *blocks[LENGTH(SIZES)];
		for (size_t i = 0; i < LENGTH(SIZES); i++) {
			blocks[i] = arena_alloc(&arena, SIZES[i]);
			CU_ASSERT_PTR_NOT_NULL_FATAL(blocks[i]);
			CU_ASSERT_EQUAL((uintptr_t)blocks[i] % _Alignof(max_align_t), 0);
			memset(blocks[i], (int)i + 1, SIZES[i]);
		}
		for (size_t i = 0; i < LENGTH(SIZES); i++)
			for (size_t k = 0; k < SIZES[i]; k++)
				CU_ASSERT_FATAL(blocks[i][k] == i + 1);
		unsigned char *clear = arena_zalloc(&arena, 64);
		CU_ASSERT_PTR_NOT_NULL_FATAL(clear);
		for (size_t k = 0; k < 64; k++)
			CU_ASSERT_EQUAL(clear[k], 0);
		arena_reset(&arena);
		CU_ASSERT_EQUAL(arena.used, 0);
	}
	arena_release(&arena);
	CU_ASSERT_PTR_NULL(arena.first);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, 10)); /* as after init */
	arena_release(&arena);
}

static void test_arena_reset_keeps_a_chunk(void)
{
	struct arena arena;

	arena_init(&arena, 1u << 20);
	void *first = arena_alloc(&arena, 100);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, 100000));
	arena_reset(&arena);
	CU_ASSERT_PTR_EQUAL(arena_alloc(&arena, 100), first); /* no malloc for the next request */
	arena_release(&arena);
	/* A large first chunk is not kept. */
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, 100000));
	arena_reset(&arena);
	CU_ASSERT_PTR_NULL(arena.first);
	arena_release(&arena);
}

static void test_arena_keeps_what_is_asked(void)
{
	struct arena arena;

	arena_init(&arena, 1u << 20);
	arena_keep(&arena, 150000);
	void *large = arena_alloc(&arena, 100000);
	void *small = arena_alloc(&arena, 60000); /* does not fit beside it */
	CU_ASSERT_PTR_NOT_NULL_FATAL(small);
	arena_reset(&arena);
	CU_ASSERT_EQUAL(arena.kept, 60000);
	CU_ASSERT_PTR_EQUAL(arena_alloc(&arena, 50000), small);
	CU_ASSERT_EQUAL(arena.kept, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(large = arena_alloc(&arena, 70000));
	arena_reset(&arena);
	CU_ASSERT_EQUAL(arena.kept, 130000);
	CU_ASSERT_PTR_EQUAL(arena_alloc(&arena, 65000), large); /* the first one that is large enough */
	arena_release(&arena);
	CU_ASSERT_PTR_NULL(arena.spare);
	CU_ASSERT_EQUAL(arena.kept, 0);
}

static void test_arena_limit(void)
{
	struct arena arena;

	arena_init(&arena, 1000);
	CU_ASSERT_PTR_NULL(arena_alloc(&arena, 1001));
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, 992));
	CU_ASSERT_PTR_NULL(arena_alloc(&arena, 9));
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, 8));
	CU_ASSERT_PTR_NULL(arena_alloc(&arena, 1));
	CU_ASSERT_PTR_NULL(arena_dup(&arena, STR("x")).p);
	CU_ASSERT_FALSE(arena_on_reset(&arena, free, NULL));
	arena_reset(&arena);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, 1000));
	arena_release(&arena);
	/* Sizes that run over when they are rounded up. The compiler may not see them: it would warn. */
	static const size_t HUGE_SIZES[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16, SIZE_MAX / 2 + 1};
	arena_init(&arena, SIZE_MAX);
	for (size_t i = 0; i < LENGTH(HUGE_SIZES); i++) {
		volatile size_t size = HUGE_SIZES[i];
		CU_ASSERT_PTR_NULL(arena_alloc(&arena, size));
	}
	arena_release(&arena);
}

static void test_arena_dup(void)
{
	struct arena arena;

	arena_init(&arena, 1000);
	struct str copy = arena_dup(&arena, STR("a\0b"));
	expect(copy, STR("a\0b"));
	CU_ASSERT_EQUAL(copy.p[3], '\0');
	struct str empty = arena_dup(&arena, (struct str){0});
	CU_ASSERT_PTR_NOT_NULL_FATAL(empty.p);
	CU_ASSERT_EQUAL(empty.n, 0);
	CU_ASSERT_EQUAL(empty.p[0], '\0');
	arena_release(&arena);
}

static struct buf order;

static void note(void *arg)
{
	buf_char(&order, *(const char *)arg);
}

static void test_arena_cleanups(void)
{
	static char letters[] = "abc";
	struct arena arena;

	buf_init_heap(&order);
	arena_init(&arena, 1000);
	for (int i = 0; i < 3; i++)
		CU_ASSERT(arena_on_reset(&arena, note, &letters[i]));
	arena_reset(&arena);
	expect(buf_view(&order), STR("cba"));
	arena_reset(&arena); /* once only */
	expect(buf_view(&order), STR("cba"));
	CU_ASSERT(arena_on_reset(&arena, note, &letters[1]));
	arena_release(&arena);
	expect(buf_view(&order), STR("cbab"));
	buf_release(&order);
}

static void test_buf(struct arena *arena)
{
	struct buf buf;
	char wide[400];

	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	if (arena)
		buf_init(&buf, arena);
	else
		buf_init_heap(&buf);
	expect(buf_view(&buf), STR(""));
	buf_put(&buf, NULL, 0);
	buf_str(&buf, STR("ab"));
	buf_char(&buf, 'c');
	buf_fmt(&buf, "%d-%s", 7, "x");
	buf_u64(&buf, 0);
	buf_u64(&buf, UINT64_MAX);
	expect(buf_view(&buf), STR("abc7-x018446744073709551615"));
	buf.n = 0;
	for (int n = 250; n < 262; n++) /* around what is formatted in place */
		buf_fmt(&buf, "%.*s", n, wide);
	CU_ASSERT_EQUAL(buf.n, 12 * 250 + 66);
	for (size_t i = 0; i < buf.n; i++)
		CU_ASSERT_FATAL(buf.p[i] == 'w');
	buf.n = 0;
	for (int i = 0; i < 5000; i++)
		buf_char(&buf, (char)i);
	for (int i = 0; i < 5000; i++)
		CU_ASSERT_FATAL(buf.p[i] == (char)i);
	CU_ASSERT_FALSE(buf.failed);
	buf_release(&buf);
	CU_ASSERT_EQUAL(buf.n, 0);
}

static void test_buf_both(void)
{
	struct arena arena;

	test_buf(NULL);
	arena_init(&arena, 1u << 20);
	test_buf(&arena);
	arena_release(&arena);
}

static void test_buf_failure(void)
{
	struct arena arena;
	struct buf buf;
	char block[300] = {0};

	arena_init(&arena, 600);
	buf_init(&buf, &arena);
	buf_put(&buf, block, 200);
	CU_ASSERT_FALSE(buf.failed);
	buf_put(&buf, block, 200); /* 256 are taken, 512 more don't fit */
	CU_ASSERT(buf.failed);
	CU_ASSERT_EQUAL(buf.n, 200);
	buf_fmt(&buf, "%*d", 300, 1);
	CU_ASSERT_EQUAL(buf.n, 200);
	arena_release(&arena);
	buf_init_heap(&buf);
	CU_ASSERT_FALSE(buf_reserve(&buf, SIZE_MAX / 2));
	CU_ASSERT_FALSE(buf_reserve(&buf, SIZE_MAX));
	CU_ASSERT(buf.failed);
	buf_release(&buf);
	CU_ASSERT_FALSE(buf.failed);
}

static void test_clock_now(void)
{
	uint64_t mono = clock_mono_ns();
	int64_t before = time(NULL), wall = clock_wall_us(), after = time(NULL);

	CU_ASSERT(clock_mono_ns() >= mono);
	CU_ASSERT(clock_mono_ms() >= mono / 1000000);
	CU_ASSERT(wall / 1000000 >= before - 1 && wall / 1000000 <= after + 1);
}

/* Times that were computed with Python's datetime. */
static const struct {
	int64_t us;
	const char *iso, *log;
} TIMES[] = {
	{0, "1970-01-01T00:00:00.000000+00:00", "1970-01-01 00:00:00,000"},
	{-1, "1969-12-31T23:59:59.999999+00:00", "1969-12-31 23:59:59,999"},
	{-1000000, "1969-12-31T23:59:59.000000+00:00", "1969-12-31 23:59:59,000"},
	{1, "1970-01-01T00:00:00.000001+00:00", "1970-01-01 00:00:00,000"},
	{1700000000123456, "2023-11-14T22:13:20.123456+00:00", "2023-11-14 22:13:20,123"},
	{951782400000000, "2000-02-29T00:00:00.000000+00:00", "2000-02-29 00:00:00,000"},
	{951868799999999, "2000-02-29T23:59:59.999999+00:00", "2000-02-29 23:59:59,999"},
	{1709251199000000, "2024-02-29T23:59:59.000000+00:00", "2024-02-29 23:59:59,000"},
	{4107542400000000, "2100-03-01T00:00:00.000000+00:00", "2100-03-01 00:00:00,000"},
	{4107542399999999, "2100-02-28T23:59:59.999999+00:00", "2100-02-28 23:59:59,999"},
	{-2203891200000001, "1900-02-28T23:59:59.999999+00:00", "1900-02-28 23:59:59,999"},
	{-2203891200000000, "1900-03-01T00:00:00.000000+00:00", "1900-03-01 00:00:00,000"},
	{-62135596800000000, "0001-01-01T00:00:00.000000+00:00", "0001-01-01 00:00:00,000"},
	{-62167219200000000, "0000-01-01T00:00:00.000000+00:00", "0000-01-01 00:00:00,000"},
	{253402300799999999, "9999-12-31T23:59:59.999999+00:00", "9999-12-31 23:59:59,999"},
};

static void test_clock_format(void)
{
	char iso[CLOCK_ISO_BYTES], log[CLOCK_LOG_BYTES];
	int64_t us;

	for (size_t i = 0; i < LENGTH(TIMES); i++) {
		clock_format_iso(TIMES[i].us, iso);
		clock_format_log(TIMES[i].us, log);
		CU_ASSERT_STRING_EQUAL(iso, TIMES[i].iso);
		CU_ASSERT_STRING_EQUAL(log, TIMES[i].log);
		CU_ASSERT(clock_parse_iso(str_of(TIMES[i].iso), &us) && us == TIMES[i].us);
	}
	/* What four digits of a year can't tell is told as the nearest end. */
	clock_format_iso(INT64_C(253402300800000000), iso);
	CU_ASSERT_STRING_EQUAL(iso, "9999-12-31T23:59:59.999999+00:00");
	clock_format_iso(INT64_MAX, iso);
	CU_ASSERT_STRING_EQUAL(iso, "9999-12-31T23:59:59.999999+00:00");
	clock_format_iso(INT64_MIN, iso);
	CU_ASSERT_STRING_EQUAL(iso, "0000-01-01T00:00:00.000000+00:00");
}

/* Every day of the years 1 to 9999 against the day before: no calendar of the C library's needed. */
static void test_clock_all_days(void)
{
	static const int LENGTHS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t wanted = -719528, us;
	char text[40], iso[CLOCK_ISO_BYTES];

	for (int year = 0; year <= 9999; year++) {
		bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
		for (int month = 1; month <= 12; month++) {
			int days = LENGTHS[month - 1] + (month == 2 && leap);
			snprintf(text, sizeof(text), "%04d-%02d-%02d", year, month, days);
			bool ok = clock_parse_iso(str_of(text), &us) &&
				  us == (wanted + days - 1) * INT64_C(86400000000);
			clock_format_iso(us, iso);
			ok = ok && memcmp(iso, text, 10) == 0;
			snprintf(text, sizeof(text), "%04d-%02d-%02d", year, month, days + 1);
			CU_ASSERT_FATAL(ok && !clock_parse_iso(str_of(text), &us));
			wanted += days;
		}
	}
}

static void test_clock_parse(void)
{
	static const struct {
		struct str text;
		int64_t us;
	} CASES[] = {
		{STR_INIT("1970-01-01"), 0},
		{STR_INIT("1970-01-01T00:00"), 0},
		{STR_INIT("1970-01-01T00:00Z"), 0},
		{STR_INIT("1970-01-01 00:00:01"), 1000000},
		{STR_INIT("1970-01-01t00:00:01z"), 1000000},
		{STR_INIT("1970-01-01T00:00:00.5"), 500000},
		{STR_INIT("1970-01-01T00:00:00.000001Z"), 1},
		{STR_INIT("1970-01-01T00:00:00.0000019Z"), 1},
		{STR_INIT("1970-01-01T00:00:00.999999999Z"), 999999},
		{STR_INIT("1970-01-01T01:00:00+01:00"), 0},
		{STR_INIT("1969-12-31T12:30:00-11:30"), 0},
		{STR_INIT("1970-01-01T00:00:00-00:00"), 0},
		{STR_INIT("1970-01-01T00:00-00:01"), 60000000},
		{STR_INIT("1970-01-01T23:59:00+23:59"), 0},
		{STR_INIT("2016-12-31T23:59:60Z"), 1483228800000000}, /* a leap second is the next second */
		{STR_INIT("0000-01-01T23:59:00+23:59"), -62167219200000000},
	};
	static const struct str NONE[] = {
		STR_INIT(""),
		STR_INIT("1970"),
		STR_INIT("1970-01"),
		STR_INIT("1970-1-1"),
		STR_INIT("19700101"),
		STR_INIT("1970-00-01"),
		STR_INIT("1970-13-01"),
		STR_INIT("1970-01-00"),
		STR_INIT("1970-01-32"),
		STR_INIT("1970-04-31"),
		STR_INIT("1970-02-29"),
		STR_INIT("1900-02-29"),
		STR_INIT("2100-02-29"),
		STR_INIT("2024-02-30"),
		STR_INIT("-970-01-01"),
		STR_INIT("+1970-01-01"),
		STR_INIT("11970-01-01"),
		STR_INIT(" 1970-01-01"),
		STR_INIT("1970-01-01 "),
		STR_INIT("1970-01-01Z"),
		STR_INIT("1970-01-01T"),
		STR_INIT("1970-01-01T00"),
		STR_INIT("1970-01-01T00Z"),
		STR_INIT("1970-01-01T0:00:00"),
		STR_INIT("1970-01-01T24:00:00"),
		STR_INIT("1970-01-01T00:60:00"),
		STR_INIT("1970-01-01T00:00:61"),
		STR_INIT("1970-01-01T00:00:"),
		STR_INIT("1970-01-01T00:00:0"),
		STR_INIT("1970-01-01T00:00:00."),
		STR_INIT("1970-01-01T00:00:00.Z"),
		STR_INIT("1970-01-01T00:00:00.1234567890"),
		STR_INIT("1970-01-01T00:00:00,5"),
		STR_INIT("1970-01-01T00:00.5"), /* no fractions of a minute */
		STR_INIT("1970-01-01T00:00:00ZZ"),
		STR_INIT("1970-01-01T00:00:00Z+00:00"),
		STR_INIT("1970-01-01T00:00:00 Z"),
		STR_INIT("1970-01-01T00:00:00+0100"),
		STR_INIT("1970-01-01T00:00:00+01"),
		STR_INIT("1970-01-01T00:00:00+24:00"),
		STR_INIT("1970-01-01T00:00:00+01:60"),
		STR_INIT("1970-01-01T00:00:00+"),
		STR_INIT("1970-01-01T00:00:00+-1:00"),
		STR_INIT("1970-01-01X00:00:00"),
		STR_INIT("1970-01-01T00:00:00\0"),
		STR_INIT("1970\0-01-01"),
		STR_INIT("0000-01-01T00:00:00+00:01"), /* the year before 0 */
		STR_INIT("9999-12-31T23:59:60Z"),
		STR_INIT("9999-12-31T23:59:59-00:01"),
	};

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		int64_t us = 1;
		bool ok = clock_parse_iso(CASES[i].text, &us) && us == CASES[i].us;
		if (!ok)
			printf("\n  %.*s\n", STR_ARG(CASES[i].text));
		CU_ASSERT(ok);
	}
	for (size_t i = 0; i < LENGTH(NONE); i++) {
		int64_t us = 4711;
		bool ok = !clock_parse_iso(NONE[i], &us) && us == 4711;
		if (!ok)
			printf("\n  %.*s\n", STR_ARG(NONE[i]));
		CU_ASSERT(ok);
	}
}

static void test_clock_duration(void)
{
	static const struct {
		struct str text;
		bool ok;
		int64_t seconds;
	} CASES[] = {
		{STR_INIT("90s"), true, 90},
		{STR_INIT("0s"), true, 0},
		{STR_INIT("15m"), true, 900},
		{STR_INIT("24h"), true, 86400},
		{STR_INIT("30d"), true, 2592000},
		{STR_INIT("007d"), true, 604800},
		{STR_INIT("1000000000d"), true, 86400000000000},
		{STR_INIT("1000000001s"), false, 0},
		{STR_INIT("99999999999999999999s"), false, 0},
		{STR_INIT(""), false, 0},
		{STR_INIT("s"), false, 0},
		{STR_INIT("90"), false, 0},
		{STR_INIT("90S"), false, 0},
		{STR_INIT("90 s"), false, 0},
		{STR_INIT(" 90s"), false, 0},
		{STR_INIT("-90s"), false, 0},
		{STR_INIT("1.5h"), false, 0},
		{STR_INIT("1h30m"), false, 0},
		{STR_INIT("1w"), false, 0},
		{STR_INIT("1\0"), false, 0},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		int64_t seconds = 4711;
		CU_ASSERT_EQUAL(clock_parse_duration(CASES[i].text, &seconds), CASES[i].ok);
		CU_ASSERT_EQUAL(seconds, CASES[i].ok ? CASES[i].seconds : 4711);
	}
}

static void test_edge_parse(void)
{
	static const struct str GOOD = STR_INIT("0123456789abcdef0123456789abcdef");
	static const struct {
		struct str msec, request_id;
		bool ok;
		int64_t ms;
	} CASES[] = {
		{STR_INIT("1700000000.123"), STR_INIT("0123456789abcdef0123456789abcdef"), true, 1700000000123},
		{STR_INIT("0.000"), STR_INIT("00000000000000000000000000000000"), true, 0},
		{STR_INIT("281474976709.999"), STR_INIT("ffffffffffffffffffffffffffffffff"), true, 281474976709999},
		{STR_INIT("281474976710.000"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000."), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000.12"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000.1234"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000,123"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000.-12"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000.1.3"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("-1.000"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT(".123"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT(" 1.123"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("99999999999999999999999.123"), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT(""), STR_INIT("0123456789abcdef0123456789abcdef"), false, 0},
		{STR_INIT("1700000000.123"), STR_INIT(""), false, 0},
		{STR_INIT("1700000000.123"), STR_INIT("0123456789abcdef0123456789abcde"), false, 0},
		{STR_INIT("1700000000.123"), STR_INIT("0123456789abcdef0123456789abcdef0"), false, 0},
		{STR_INIT("1700000000.123"), STR_INIT("0123456789abcdef0123456789abcdeg"), false, 0},
		{STR_INIT("1700000000.123"), STR_INIT("0123456789ABCDEF0123456789abcdef"), false, 0},
		{STR_INIT("1700000000.123"), STR_INIT("0123456789abcdef0123456789abcde\0"), false, 0},
		{STR_INIT("1700000000.123"), STR_INIT("01234567-89ab-cdef-0123-456789ab"), false, 0},
	};

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		struct edge_identity edge = {.ms = 4711};
		CU_ASSERT_EQUAL(edge_parse(CASES[i].msec, CASES[i].request_id, &edge), CASES[i].ok);
		CU_ASSERT_EQUAL(edge.ms, CASES[i].ok ? CASES[i].ms : 4711);
		if (CASES[i].ok) {
			char hex[33];
			hex_format(edge.random, 16, hex);
			expect(str_of(hex), CASES[i].request_id);
		}
	}
	struct edge_identity edge;
	CU_ASSERT_FALSE(edge_parse((struct str){0}, GOOD, &edge));
	CU_ASSERT_FALSE(edge_parse(STR("1.000"), (struct str){0}, &edge));
}

static struct edge_identity some_edge(int64_t ms, uint8_t fill)
{
	struct edge_identity edge = {.ms = ms};

	memset(edge.random, fill, sizeof(edge.random));
	return edge;
}

static void test_id_layout(void)
{
	static const struct {
		int64_t ms;
		uint8_t fill;
		const char *text;
	} CASES[] = {
		{0, 0x00, "00000000-0000-7000-8000-000000000000"},
		{0, 0xff, "00000000-0000-7fff-bfff-ffffffffffff"},
		{0x017f22e279b0, 0xa5, "017f22e2-79b0-75a5-a5a5-a5a5a5a5a5a5"}, /* the time of RFC 9562, A.6 */
		{(INT64_C(1) << 48) - 1, 0x5a, "ffffffff-ffff-7a5a-9a5a-5a5a5a5a5a5a"},
	};
	char text[ID_TEXT_BYTES];

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		struct edge_identity edge = some_edge(CASES[i].ms, CASES[i].fill);
		struct id id = id_of_edge(&edge);
		id_format(&id, text);
		CU_ASSERT_STRING_EQUAL(text, CASES[i].text);
		CU_ASSERT_EQUAL(id_time_ms(&id), CASES[i].ms);
	}
	/* Later is greater, as text and as bytes. */
	struct edge_identity early = some_edge(1700000000123, 0xff), late = some_edge(1700000000124, 0);
	struct id a = id_of_edge(&early), b = id_of_edge(&late);
	CU_ASSERT(memcmp(&a, &b, sizeof(a)) < 0);
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct id));
}

static void test_id_rows(void)
{
	enum { ROWS = 20000 };
	struct edge_identity edge = some_edge(1700000000123, 1), other = some_edge(1700000000123, 2);
	struct id *ids = malloc(2 * ROWS * sizeof(*ids));
	char text[ID_TEXT_BYTES];

	CU_ASSERT_PTR_NOT_NULL_FATAL(ids);
	for (uint64_t i = 0; i < ROWS; i++) {
		ids[2 * i] = id_of_edge_row(&edge, i);
		ids[2 * i + 1] = id_of_edge_row(&other, i);
		struct id again = id_of_edge_row(&edge, i);
		CU_ASSERT(memcmp(&again, &ids[2 * i], sizeof(again)) == 0); /* a retry writes the same key */
		CU_ASSERT_EQUAL(id_time_ms(&again), edge.ms);
		CU_ASSERT_EQUAL(again.b[6] >> 4, 7);
		CU_ASSERT_EQUAL(again.b[8] >> 6, 2);
	}
	qsort(ids, 2 * ROWS, sizeof(*ids), compare_ids);
	for (size_t i = 1; i < 2 * ROWS; i++)
		CU_ASSERT(memcmp(&ids[i - 1], &ids[i], sizeof(*ids)) != 0);
	free(ids);
	/* Fixed for ever: another version of the program must make the same ids. BLAKE2b-128, key and i as bytes. */
	struct id id = id_of_edge_row(&edge, UINT64_C(0x0102030405060708));
	id_format(&id, text);
	CU_ASSERT_STRING_EQUAL(text, "018bcfe5-687b-7a0d-8f1a-cf0e08b38f41");
}

static void test_edge_generate(void)
{
	struct edge_identity a, b;
	int64_t before = clock_wall_us() / 1000;

	edge_generate(&a);
	edge_generate(&b);
	CU_ASSERT(a.ms >= before && a.ms <= clock_wall_us() / 1000);
	CU_ASSERT(memcmp(a.random, b.random, sizeof(a.random)) != 0);
}

static void test_id_parse(void)
{
	static const struct {
		struct str text;
		bool ok;
	} CASES[] = {
		{STR_INIT("017f22e2-79b0-75a5-a5a5-a5a5a5a5a5a5"), true},
		{STR_INIT("017F22E2-79B0-75A5-A5A5-A5A5A5A5A5A5"), true},
		{STR_INIT("00000000-0000-0000-0000-000000000000"), true},
		{STR_INIT("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), true}, /* version 1 */
		{STR_INIT(""), false},
		{STR_INIT("017f22e279b075a5a5a5a5a5a5a5a5a5"), false},
		{STR_INIT("017f22e2-79b0-75a5-a5a5-a5a5a5a5a5a"), false},
		{STR_INIT("017f22e2-79b0-75a5-a5a5-a5a5a5a5a5a55"), false},
		{STR_INIT("017f22e279b0-75a5-a5a5--a5a5a5a5a5a5"), false},
		{STR_INIT("017f22e2-79b0-75a5-a5a5-a5a5a5a5a5-5"), false},
		{STR_INIT("017f22e2 79b0 75a5 a5a5 a5a5a5a5a5a5"), false},
		{STR_INIT("{17f22e2-79b0-75a5-a5a5-a5a5a5a5a5a}"), false},
		{STR_INIT("017f22e2-79b0-75a5-a5a5-a5a5a5a5a5ag"), false},
		{STR_INIT("017f22e2-79b0-75a5-a5a5-a5a5a5a5a5a\0"), false},
		{STR_INIT("-17f22e2-79b0-75a5-a5a5-a5a5a5a5a5a5"), false},
	};
	char text[ID_TEXT_BYTES];
	struct id id;

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		CU_ASSERT_EQUAL(id_parse(CASES[i].text, &id), CASES[i].ok);
		if (!CASES[i].ok)
			continue;
		id_format(&id, text);
		CU_ASSERT(str_eq_nocase(str_of(text), CASES[i].text));
	}
	CU_ASSERT_FALSE(id_parse((struct str){0}, &id));
}

static void test_hex(void)
{
	static const struct {
		struct str text;
		size_t n;
		bool ok;
	} CASES[] = {
		{STR_INIT(""), 0, true},    {STR_INIT("00ff7f80"), 4, true}, {STR_INIT("DEADbeef"), 4, true},
		{STR_INIT("0"), 1, false},  {STR_INIT("000"), 1, false},     {STR_INIT("0g"), 1, false},
		{STR_INIT("g0"), 1, false}, {STR_INIT(" 0"), 1, false},      {STR_INIT("0x"), 1, false},
		{STR_INIT("/0"), 1, false}, {STR_INIT(":0"), 1, false},      {STR_INIT("@0"), 1, false},
		{STR_INIT("G0"), 1, false}, {STR_INIT("`0"), 1, false},      {STR_INIT("\xff\x30"), 1, false},
	};
	uint8_t bytes[4];
	char text[9];

	for (size_t i = 0; i < LENGTH(CASES); i++) {
		CU_ASSERT_EQUAL(hex_parse(CASES[i].text, bytes, CASES[i].n), CASES[i].ok);
		if (CASES[i].ok) {
			hex_format(bytes, CASES[i].n, text);
			CU_ASSERT(str_eq_nocase(str_of(text), CASES[i].text));
		}
	}
}

enum { SENDERS = 4, LETTERS = 5000 };

struct letter {
	struct mail mail; /* first: the mail is the letter */
	int sender, number;
};

struct sender {
	pthread_t thread;
	struct mailbox *box;
	struct letter *letters;
	int id;
};

static int next_number[SENDERS];
static int out_of_order;

static void open_letter(struct mail *mail)
{
	struct letter *letter = (struct letter *)mail;

	if (letter->number != next_number[letter->sender])
		out_of_order++;
	next_number[letter->sender] = letter->number + 1;
	memset(letter, 0xdd, sizeof(*letter)); /* the opened letter is ours: nobody may look at it again */
}

/* Reads its own letters, writes the mailbox, ends when all are sent; in chains of one to seven. */
static void *send_letters(void *arg)
{
	struct sender *sender = arg;

	for (int i = 0; i < LETTERS;) {
		int chain = 1 + i % 7;
		if (chain > LETTERS - i)
			chain = LETTERS - i;
		for (int k = 0; k < chain; k++) {
			struct mail *next = k + 1 < chain ? &sender->letters[i + k + 1].mail : NULL;
			sender->letters[i + k] = (struct letter){{next, open_letter}, sender->id, i + k};
		}
		mailbox_send(sender->box, &sender->letters[i].mail);
		i += chain;
	}
	return NULL;
}

static bool is_readable(const struct mailbox *box, int wait_ms)
{
	struct pollfd fd = {.fd = box->fd, .events = POLLIN};
	return poll(&fd, 1, wait_ms) == 1;
}

static void test_mailbox_threads(void)
{
	struct mailbox box;
	struct sender senders[SENDERS];
	int opened = 0;

	CU_ASSERT_FATAL(mailbox_init(&box));
	memset(next_number, 0, sizeof(next_number));
	out_of_order = 0;
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){.box = &box, .letters = calloc(LETTERS, sizeof(struct letter)), .id = i};
		CU_ASSERT_PTR_NOT_NULL_FATAL(senders[i].letters);
		CU_ASSERT_FATAL(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]) == 0);
	}
	/* A wake-up that got lost would let this wait for ever: ten seconds are enough to call it lost. */
	while (opened < SENDERS * LETTERS && is_readable(&box, 10000))
		opened += mailbox_drain(&box);
	CU_ASSERT_EQUAL(opened, SENDERS * LETTERS);
	CU_ASSERT_EQUAL(out_of_order, 0);
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		free(senders[i].letters);
	}
	mailbox_release(&box);
}

static struct mailbox *own_box;
static struct letter answer;

static void open_and_answer(struct mail *mail)
{
	(void)mail;
	answer = (struct letter){{NULL, open_letter}, 0, 0};
	mailbox_send(own_box, &answer.mail);
}

static void test_mailbox_alone(void)
{
	struct mailbox box;
	struct letter letters[3];

	CU_ASSERT_FATAL(mailbox_init(&box));
	CU_ASSERT_EQUAL(mailbox_drain(&box), 0); /* does not wait */
	CU_ASSERT_FALSE(is_readable(&box, 0));
	memset(next_number, 0, sizeof(next_number));
	out_of_order = 0;
	for (int i = 0; i < 3; i++) {
		letters[i] = (struct letter){{NULL, open_letter}, 0, i};
		mailbox_send(&box, &letters[i].mail);
		CU_ASSERT(is_readable(&box, 0));
	}
	CU_ASSERT_EQUAL(mailbox_drain(&box), 3);
	CU_ASSERT_EQUAL(next_number[0], 3);
	CU_ASSERT_EQUAL(out_of_order, 0);
	CU_ASSERT_FALSE(is_readable(&box, 0));
	/* Mail that is sent while mail is opened comes with the next wake-up. */
	own_box = &box;
	next_number[0] = 0;
	letters[0] = (struct letter){{NULL, open_and_answer}, 0, 0};
	mailbox_send(&box, &letters[0].mail);
	CU_ASSERT_EQUAL(mailbox_drain(&box), 1);
	CU_ASSERT(is_readable(&box, 0));
	CU_ASSERT_EQUAL(mailbox_drain(&box), 1);
	CU_ASSERT_EQUAL(next_number[0], 1);
	mailbox_release(&box);
}

static void test_err(void)
{
	struct err err = {0};
	char wide[500];

	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	CU_ASSERT_EQUAL(err_set(&err, STATUS_INVALID, "field %s is %d", "age", -1), STATUS_INVALID);
	CU_ASSERT_EQUAL(err.status, STATUS_INVALID);
	CU_ASSERT_STRING_EQUAL(err.text, "field age is -1");
	CU_ASSERT_EQUAL(err_set(NULL, STATUS_BUSY, "nobody %s", "listens"), STATUS_BUSY);
	CU_ASSERT_EQUAL(err_set(&err, STATUS_INTERNAL, "%s", wide), STATUS_INTERNAL);
	CU_ASSERT_EQUAL(strlen(err.text), sizeof(err.text) - 1);
	CU_ASSERT_EQUAL(err_set(&err, STATUS_OK, "%s", ""), STATUS_OK);
	CU_ASSERT_STRING_EQUAL(err.text, "");
}

int main(void)
{
	static const struct unit_case CASES[] = {
		{"str: comparing", test_str_compare},
		{"str: trim", test_str_trim},
		{"str: cut", test_str_cut},
		{"str: whole numbers", test_str_to_u64},
		{"str: token", test_str_is_token},
		{"str: UTF-8, every code point", test_utf8_all},
		{"str: UTF-8, cases", test_utf8_cases},
		{"arena: alloc", test_arena_alloc},
		{"arena: reset keeps a chunk", test_arena_reset_keeps_a_chunk},
		{"arena: keeps what is asked", test_arena_keeps_what_is_asked},
		{"arena: limit", test_arena_limit},
		{"arena: dup", test_arena_dup},
		{"arena: cleanups", test_arena_cleanups},
		{"buf: heap and arena", test_buf_both},
		{"buf: failure", test_buf_failure},
		{"clock: now", test_clock_now},
		{"clock: format", test_clock_format},
		{"clock: every day", test_clock_all_days},
		{"clock: parse", test_clock_parse},
		{"clock: duration", test_clock_duration},
		{"id: edge parse", test_edge_parse},
		{"id: layout", test_id_layout},
		{"id: rows", test_id_rows},
		{"id: generate", test_edge_generate},
		{"id: parse", test_id_parse},
		{"id: hex", test_hex},
		{"mailbox: threads", test_mailbox_threads},
		{"mailbox: alone", test_mailbox_alone},
		{"err: set", test_err},
	};

	return UNIT_RUN("base", CASES);
}
