/* Looking at a connection's bytes before libfcgi reads them. */
#include "../unit/unit.h"

#include "http/fcgi_scan.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BEGIN = 1, ABORT = 2, PARAMS = 4, STDIN = 5, DATA = 8, GET_VALUES = 9 };

static struct {
	uint8_t p[512 * 1024];
	size_t n;
} bytes;

static void put(const void *p, size_t n)
{
	if (n > sizeof(bytes.p) - bytes.n)
		abort();
	if (n > 0)
		memcpy(bytes.p + bytes.n, p, n);
	bytes.n += n;
}

static void put_record(int version, int type, int id, const void *content, size_t n, size_t padding)
{
	static const uint8_t zeros[256];
	const uint8_t header[8] = {(uint8_t)version,  (uint8_t)type, (uint8_t)(id >> 8), (uint8_t)id,
				   (uint8_t)(n >> 8), (uint8_t)n,    (uint8_t)padding,   0};

	put(header, sizeof(header));
	put(content, n);
	put(zeros, padding);
}

static void record(int type, const void *content, size_t n)
{
	put_record(1, type, 1, content, n, 0);
}

static void begin(int role)
{
	const uint8_t body[8] = {(uint8_t)(role >> 8), (uint8_t)role, 1};

	record(BEGIN, body, sizeof(body));
}

/* One name-value pair with lengths in the short form. */
static const char PAIRS[] = "\x0e\x03REQUEST_METHODGET\x0b\x00QUERY_STRING";
enum { PAIRS_N = sizeof(PAIRS) - 2 };

static enum fcgi_scan scan(void)
{
	/* A copy of just this size, so that a sanitizer sees a byte too far. */
	uint8_t *copy = malloc(bytes.n + (bytes.n == 0));
	if (!copy)
		abort();
	if (bytes.n > 0)
		memcpy(copy, bytes.p, bytes.n);
	enum fcgi_scan result = fcgi_scan(copy, bytes.n);
	free(copy);
	return result;
}

static void start(void)
{
	bytes.n = 0;
	begin(1);
}

static void a_get(void)
{
	start();
	record(PARAMS, "\x0e\x03REQUEST_METHODGET", 19);
	record(PARAMS, NULL, 0);
	record(STDIN, NULL, 0);
}

static void whole_requests(void)
{
	a_get();
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_WHOLE);
	put("next", 4); /* what follows is another matter */
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_WHOLE);
	start();
	record(PARAMS, NULL, 0);
	record(STDIN, "body", 4);
	record(STDIN, "more", 4);
	record(STDIN, NULL, 0);
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_WHOLE);
	/* Padding, and any id but 0. */
	bytes.n = 0;
	put_record(1, BEGIN, 65535, "\x00\x01\x00\x00\x00\x00\x00\x00", 8, 255);
	put_record(1, PARAMS, 65535,
		   "\x01\x01"
		   "ab",
		   4, 4);
	put_record(1, PARAMS, 65535, NULL, 0, 8);
	put_record(1, STDIN, 65535, "x", 1, 7);
	put_record(1, STDIN, 65535, NULL, 0, 1);
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_WHOLE);
	bytes.n--;
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_HEAD);
}

/* Every prefix is a request on its way, and the head is complete at one point and from there on. */
static void every_prefix(void)
{
	start();
	size_t head = 0;
	record(PARAMS, PAIRS, 10); /* split inside a name */
	put_record(1, PARAMS, 1, PAIRS + 10, PAIRS_N - 10, 3);
	record(PARAMS, NULL, 0);
	head = bytes.n;
	put_record(1, STDIN, 1, "0123456789", 10, 6);
	record(STDIN, NULL, 0);
	size_t whole = bytes.n;
	for (size_t n = 0; n <= whole; n++) {
		bytes.n = n;
		enum fcgi_scan wanted = n < head ? FCGI_SCAN_PARTIAL : n < whole ? FCGI_SCAN_HEAD : FCGI_SCAN_WHOLE;
		enum fcgi_scan got = scan();
		if (got != wanted)
			printf("\nprefix of %zu: %d instead of %d\n", n, (int)got, (int)wanted);
		CU_ASSERT_EQUAL(got, wanted);
	}
}

/* The parameters may be cut into records anywhere, also one byte each. */
static void parameters_cut_anywhere(void)
{
	static const char long_form[] = "\x80\x00\x00\x04\x80\x00\x00\x02nameok\x03\x80\x00\x00\x01"
					"abcd";
	static const struct {
		const char *p;
		size_t n;
	} streams[] = {{PAIRS, PAIRS_N}, {long_form, sizeof(long_form) - 1}, {"\0\0", 2}, {"", 0}};

	for (size_t s = 0; s < sizeof(streams) / sizeof(streams[0]); s++) {
		for (size_t step = 1; step <= streams[s].n; step++) {
			start();
			for (size_t at = 0; at < streams[s].n; at += step)
				record(PARAMS, streams[s].p + at, at + step < streams[s].n ? step : streams[s].n - at);
			record(PARAMS, NULL, 0);
			CU_ASSERT_EQUAL(scan(), FCGI_SCAN_HEAD);
		}
		/* Ended too early: names and values that never come. */
		for (size_t n = 1; n < streams[s].n; n++) {
			start();
			record(PARAMS, streams[s].p, n);
			record(PARAMS, NULL, 0);
			enum fcgi_scan got = scan();
			bool at_an_end = s == 0 && n == 19;
			CU_ASSERT_EQUAL(got, at_an_end || (s == 1 && n == 14) ? FCGI_SCAN_HEAD : FCGI_SCAN_BAD);
		}
	}
}

static void bad_begins(void)
{
	static const uint8_t body[8] = {0, 1};
	static const struct {
		int version, type, id;
		size_t n;
	} cases[] = {
		{0, BEGIN, 1, 8}, {2, BEGIN, 1, 8},  {255, BEGIN, 1, 8}, {1, 0, 1, 8},     {1, ABORT, 1, 8},
		{1, 3, 1, 8},     {1, PARAMS, 1, 8}, {1, STDIN, 1, 8},   {1, DATA, 1, 8},  {1, GET_VALUES, 0, 8},
		{1, 11, 0, 8},    {1, 255, 1, 8},    {1, BEGIN, 0, 8},   {1, BEGIN, 1, 0}, {1, BEGIN, 1, 7},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bytes.n = 0;
		put_record(cases[i].version, cases[i].type, cases[i].id, body, cases[i].n, 0);
		CU_ASSERT_EQUAL(scan(), FCGI_SCAN_BAD);
	}
	for (int role = 0; role < 400; role++) {
		bytes.n = 0;
		begin(role);
		CU_ASSERT_EQUAL(scan(), role == 1 ? FCGI_SCAN_PARTIAL : FCGI_SCAN_BAD);
	}
	/* What is no FastCGI at all is known by its first bytes. */
	static const char *const strangers[] = {"GET / HTTP/1.1\r\n", "\x16\x03\x01", "{\"a\"", "PRI * HTTP/2.0",
						"\0\0"};
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		bytes.n = 0;
		put(strangers[i], 2);
		CU_ASSERT_EQUAL(scan(), FCGI_SCAN_BAD);
	}
}

static void bad_continuations(void)
{
	static const struct {
		int version, type, id;
		bool after_head;
	} cases[] = {
		{2, PARAMS, 1, false}, {1, PARAMS, 2, false}, {1, PARAMS, 0, false}, {1, STDIN, 1, false},
		{1, BEGIN, 1, false},  {1, ABORT, 1, false},  {1, 0, 1, false},      {1, PARAMS, 257, false},
		{2, STDIN, 1, true},   {1, STDIN, 2, true},   {1, STDIN, 0, true},   {1, PARAMS, 1, true},
		{1, BEGIN, 1, true},   {1, ABORT, 1, true},   {1, DATA, 1, true},    {0, STDIN, 1, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start();
		record(PARAMS,
		       "\x01\x00"
		       "a",
		       3);
		if (cases[i].after_head) {
			record(PARAMS, NULL, 0);
			record(STDIN, "x", 1);
		}
		put_record(cases[i].version, cases[i].type, cases[i].id,
			   "\x01\x00"
			   "b",
			   3, 0);
		CU_ASSERT_EQUAL(scan(), FCGI_SCAN_BAD);
	}
}

/* libfcgi allocates what a length says: none beyond 256 KiB is let through, in whatever form. */
static void hostile_lengths(void)
{
	static const struct {
		const char *p;
		size_t n;
		enum fcgi_scan result;
	} cases[] = {
		{"\xff\xff\xff\xff", 4, FCGI_SCAN_BAD},     /* a name of 2 GiB */
		{"\x80\x04\x00\x01", 4, FCGI_SCAN_BAD},     /* 256 KiB and 1 */
		{"\x80\x04\x00\x00", 4, FCGI_SCAN_PARTIAL}, /* 256 KiB */
		{"\x01\xff\xff\xff\xff", 5, FCGI_SCAN_BAD}, /* a value of 2 GiB */
		{"\x01\x80\x04\x00\x01", 5, FCGI_SCAN_BAD},
		{"\x80\x00\x00\x01\x80\x00\x00\x01"
		 "ab",
		 10, FCGI_SCAN_PARTIAL},
		{"\x80\x00\x00\x00\x80\x00\x00\x00", 8, FCGI_SCAN_PARTIAL}, /* empty in the long form */
		{"\x80", 1, FCGI_SCAN_PARTIAL},
		{"\xff\xff", 2, FCGI_SCAN_PARTIAL}, /* judged when it is complete */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start();
		record(PARAMS, cases[i].p, cases[i].n);
		CU_ASSERT_EQUAL(scan(), cases[i].result);
	}
}

/* All parameters together are bounded, too. */
static void endless_parameters(void)
{
	static uint8_t pair[65535];
	size_t sent = 0;

	memcpy(pair, "\x80\x00\xff\xf7\x80\x00\x00\x00", 8); /* 65527 bytes of name */
	start();
	while (sent + sizeof(pair) <= 256 * 1024) {
		record(PARAMS, pair, sizeof(pair));
		sent += sizeof(pair);
		CU_ASSERT_EQUAL(scan(), FCGI_SCAN_PARTIAL);
	}
	record(PARAMS, pair, sizeof(pair));
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_BAD);
}

static void many_empty_pairs(void)
{
	static const uint8_t zeros[60000];

	start();
	record(PARAMS, zeros, sizeof(zeros));
	record(PARAMS, NULL, 0);
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_HEAD);
	start();
	record(PARAMS, zeros, 59999); /* a name's length without a value's */
	record(PARAMS, NULL, 0);
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_BAD);
}

/* One wrong byte anywhere: no crash, and never a longer reading than there are bytes. */
static void every_wrong_byte(void)
{
	a_get();
	for (size_t at = 0; at < bytes.n; at++) {
		for (int value = 0; value < 256; value++) {
			uint8_t kept = bytes.p[at];
			bytes.p[at] = (uint8_t)value;
			enum fcgi_scan result = scan();
			CU_ASSERT_TRUE(result <= FCGI_SCAN_WHOLE);
			bytes.p[at] = kept;
		}
	}
	CU_ASSERT_EQUAL(scan(), FCGI_SCAN_WHOLE);
}

static const struct unit_case CASES[] = {
	{"whole requests", whole_requests},
	{"every prefix", every_prefix},
	{"parameters cut anywhere", parameters_cut_anywhere},
	{"bad begins", bad_begins},
	{"bad continuations", bad_continuations},
	{"hostile lengths", hostile_lengths},
	{"endless parameters", endless_parameters},
	{"many empty pairs", many_empty_pairs},
	{"every wrong byte", every_wrong_byte},
};

int main(void)
{
	return UNIT_RUN("fcgi_scan", CASES);
}
