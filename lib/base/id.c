/* UUIDv7 from the identity at the edge. */
#include "base/id.h"

#include "base/clock.h"

#include <sodium.h>

static const char HEX[] = "0123456789abcdef";

void hex_format(const uint8_t *bytes, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = HEX[bytes[i] >> 4];
		out[2 * i + 1] = HEX[bytes[i] & 15];
	}
	out[2 * n] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_parse(struct str text, uint8_t *bytes, size_t n)
{
	if (text.n != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int high = hex_digit(text.p[2 * i]);
		int low = hex_digit(text.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool edge_parse(struct str msec, struct str request_id, struct edge_identity *out)
{
	struct str rest = msec;
	struct str seconds = str_cut(&rest, '.');
	uint64_t s, ms;
	struct edge_identity edge;

	/* 2^48 ms is what a UUIDv7 holds: the year 10889. */
	if (!str_to_u64(seconds, (UINT64_C(1) << 48) / 1000 - 1, &s) || rest.n != 3 || !str_to_u64(rest, 999, &ms))
		return false;
	edge.ms = (int64_t)(s * 1000 + ms);
	for (size_t i = 0; i < request_id.n; i++)
		if (request_id.p[i] >= 'A' && request_id.p[i] <= 'F')
			return false; /* nginx writes lower case: this came from somewhere else */
	if (!hex_parse(request_id, edge.random, sizeof(edge.random)))
		return false;
	*out = edge;
	return true;
}

void edge_generate(struct edge_identity *out)
{
	out->ms = clock_wall_us() / 1000;
	randombytes_buf(out->random, sizeof(out->random));
}

static struct id make_v7(int64_t ms, const uint8_t random[static 16])
{
	struct id id;

	for (int i = 0; i < 6; i++)
		id.b[i] = (uint8_t)((uint64_t)ms >> (40 - 8 * i));
	memcpy(id.b + 6, random, 10);
	id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x70);
	id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
	return id;
}

struct id id_of_edge(const struct edge_identity *edge)
{
	return make_v7(edge->ms, edge->random);
}

struct id id_of_edge_row(const struct edge_identity *edge, uint64_t i)
{
	uint8_t input[8], hash[16];

	for (int k = 0; k < 8; k++)
		input[k] = (uint8_t)(i >> (8 * k));
	crypto_generichash(hash, sizeof(hash), input, sizeof(input), edge->random, sizeof(edge->random));
	return make_v7(edge->ms, hash);
}

void id_format(const struct id *id, char out[static ID_TEXT_BYTES])
{
	size_t at = 0;

	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = HEX[id->b[i] >> 4];
		out[at++] = HEX[id->b[i] & 15];
	}
	out[at] = '\0';
}

bool id_parse(struct str text, struct id *out)
{
	char digits[33];
	size_t n = 0;

	if (text.n != ID_TEXT_BYTES - 1)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash != (text.p[i] == '-'))
			return false;
		if (!dash)
			digits[n++] = text.p[i];
	}
	return hex_parse((struct str){digits, n}, out->b, sizeof(out->b));
}

int64_t id_time_ms(const struct id *id)
{
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->b[i];
	return ms;
}
