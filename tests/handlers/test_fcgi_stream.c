/* Answers that go on: records, what waits, and what the peer may send. */
#include "../unit/unit.h"

#include "http/fcgi_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ID = 259 };

static int ours, peers;
static struct fcgi_stream stream;
static uint8_t got[2 * 1024 * 1024];

static void begin(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	ours = pair[0];
	peers = pair[1];
	fcgi_stream_init(&stream, ours, ID);
}

static void finish(void)
{
	fcgi_stream_release(&stream);
	close(ours);
	if (peers >= 0)
		close(peers);
}

static size_t take(void)
{
	size_t n = 0;
	ssize_t step;

	while ((step = recv(peers, got + n, sizeof(got) - n, MSG_DONTWAIT)) > 0)
		n += (size_t)step;
	return n;
}

static void pieces_are_records(void)
{
	begin();
	fcgi_stream_put(&stream, STR("abc"));
	fcgi_stream_put(&stream, (struct str){0});
	fcgi_stream_end(&stream);
	CU_ASSERT_EQUAL(take(), 0);
	CU_ASSERT_TRUE(fcgi_stream_flush(&stream));
	static const uint8_t wanted[] = {1, 6, 1, 3, 0, 3, 0, 0, 'a', 'b', 'c', /* */
					 1, 6, 1, 3, 0, 0, 0, 0,                /* */
					 1, 3, 1, 3, 0, 8, 0, 0, 0,   0,   0,   0, 0, 0, 0, 0};
	CU_ASSERT_EQUAL(take(), sizeof(wanted));
	CU_ASSERT_EQUAL(memcmp(got, wanted, sizeof(wanted)), 0);
	CU_ASSERT_PTR_NULL(stream.out.p); /* nothing waits: no memory */
	finish();
}

/* The content of the records, put together; false when they are none. */
static bool join(size_t n, char *out, size_t *out_n)
{
	*out_n = 0;
	for (size_t at = 0; at < n;) {
		size_t content = (size_t)got[at + 4] << 8 | got[at + 5];
		if (n - at < 8 + content || got[at] != 1 || got[at + 1] != 6)
			return false;
		memcpy(out + *out_n, got + at + 8, content);
		*out_n += content;
		at += 8 + content;
	}
	return true;
}

static void a_large_piece_is_cut(void)
{
	enum { N = 200 * 1000 };
	static char text[N], joined[N + 8];
	size_t n = 0, step, joined_n;

	begin();
	for (size_t i = 0; i < N; i++)
		text[i] = (char)(i * 7 % 251);
	fcgi_stream_put(&stream, (struct str){text, N});
	while (!fcgi_stream_flush(&stream)) {
		while ((step = (size_t)recv(peers, got + n, 4096, MSG_DONTWAIT)) != (size_t)-1)
			n += step;
	}
	while ((step = (size_t)recv(peers, got + n, 4096, MSG_DONTWAIT)) != (size_t)-1)
		n += step;
	CU_ASSERT_TRUE(join(n, joined, &joined_n));
	CU_ASSERT_EQUAL(joined_n, N);
	CU_ASSERT_EQUAL(memcmp(joined, text, N), 0);
	finish();
}

static void one_who_does_not_read_is_lost(void)
{
	static char text[8 * 1024];
	int pieces = 0;

	begin();
	while (!stream.lost && pieces < 1000) {
		fcgi_stream_put(&stream, (struct str){text, sizeof(text)});
		fcgi_stream_flush(&stream);
		CU_ASSERT_FATAL(stream.out.cap <= 2 * FCGI_STREAM_WAITING);
		pieces++;
	}
	CU_ASSERT_TRUE(stream.lost);
	CU_ASSERT_TRUE(stream.slow);
	CU_ASSERT_TRUE(pieces > FCGI_STREAM_WAITING / (int)sizeof(text));
	finish();
}

static void one_who_has_closed_is_lost(void)
{
	begin();
	close(peers);
	peers = -1;
	fcgi_stream_put(&stream, STR("abc"));
	CU_ASSERT_TRUE(fcgi_stream_flush(&stream));
	CU_ASSERT_TRUE(stream.lost);
	CU_ASSERT_FALSE(stream.slow);
	CU_ASSERT_EQUAL(fcgi_stream_read(&stream), FCGI_STREAM_IS_GONE);
	finish();
}

static void what_the_peer_sends(void)
{
	static const struct {
		uint8_t bytes[10];
		size_t n;
		enum fcgi_stream_peer says;
	} cases[] = {
		{{0}, 0, FCGI_STREAM_QUIET},
		{{1, 2, 1, 3, 0, 0, 0, 0}, 8, FCGI_STREAM_ABORTS},
		{{1, 2, 1, 4, 0, 0, 0, 0}, 8, FCGI_STREAM_IS_GONE}, /* another request's */
		{{1, 2, 1, 3, 0, 1, 0, 0, 7}, 9, FCGI_STREAM_IS_GONE},
		{{1, 2, 1, 3, 0, 0, 1, 0, 7}, 9, FCGI_STREAM_IS_GONE},
		{{1, 1, 1, 3, 0, 8, 0, 0}, 8, FCGI_STREAM_IS_GONE},
		{{2, 2, 1, 3, 0, 0, 0, 0}, 8, FCGI_STREAM_IS_GONE},
		{{1, 2, 1}, 3, FCGI_STREAM_IS_GONE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		if (cases[i].n > 0)
			CU_ASSERT_EQUAL(send(peers, cases[i].bytes, cases[i].n, 0), (ssize_t)cases[i].n);
		CU_ASSERT_EQUAL(fcgi_stream_read(&stream), cases[i].says);
		finish();
	}
}

static const struct unit_case CASES[] = {
	{"pieces are records", pieces_are_records},
	{"a large piece is cut", a_large_piece_is_cut},
	{"one who doesn't read is lost", one_who_does_not_read_is_lost},
	{"one who has closed is lost", one_who_has_closed_is_lost},
	{"what the peer sends", what_the_peer_sends},
};

int main(void)
{
	return UNIT_RUN("fcgi_stream", CASES);
}
