/* Rows of JSON, one behind the other in blocks of the arena, so that a row costs no allocation of its own. When a row
 * does not fit into what is left of a block, what is there of it moves to the next one. */
#include "pipeline/apply_impl.h"

enum {
	BLOCK_BYTES = 64 * 1024,
	PIECE_BYTES = 4096, /* of a string that is written at once: escaped it may be six times as long */
	ESCAPED_MAX = 6,
};

void sink_init(struct sink *sink, struct arena *arena)
{
	*sink = (struct sink){.arena = arena};
}

void sink_begin(struct sink *sink)
{
	sink->row = sink->at;
}

struct str sink_row(const struct sink *sink)
{
	return (struct str){sink->row, (size_t)(sink->at - sink->row)};
}

bool sink_grow(struct sink *sink, size_t more)
{
	size_t there = sink->row ? (size_t)(sink->at - sink->row) : 0;
	size_t size = BLOCK_BYTES;

	if (more < SIZE_MAX / 4 && there < SIZE_MAX / 4 && size < 2 * (there + more))
		size = 2 * (there + more);
	char *block = size < more ? NULL : arena_alloc(sink->arena, size);
	if (!block) {
		sink->failed = true;
		return false;
	}
	if (there > 0)
		memcpy(block, sink->row, there);
	sink->row = block;
	sink->at = block + there;
	sink->end = block + size;
	return true;
}

/* How many of the eight bytes at `p` stand for themselves: printable ASCII but for quote and backslash ("Bit Twiddling
 * Hacks", Sean Eron Anderson: haszero, hasless). */
static size_t plain_of_8(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t w;

	memcpy(&w, p, sizeof(w));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w = __builtin_bswap64(w);
#endif
	uint64_t quote = w ^ (ones * '"');
	uint64_t slash = w ^ (ones * '\\');
	uint64_t hits = w | ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ones * 0x20) & ~w);
	hits &= ones * 0x80;
	return hits ? (size_t)__builtin_ctzll(hits) / 8 : 8;
}

static bool is_plain(char c)
{
	return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* A piece of a string, without quotes. What is not plain is base/json.h's. */
static void put_piece(struct sink *sink, struct str s)
{
	const char *p = s.p, *end = p + s.n;

	if (!sink_need(sink, s.n * ESCAPED_MAX + 8 + 2))
		return;
	char *at = sink->at;
	while (end - p >= 8) {
		size_t n = plain_of_8(p);
		memcpy(at, p, 8);
		p += n;
		at += n;
		if (n < 8)
			break;
	}
	while (p < end && is_plain(*p))
		*at++ = *p++;
	sink->at = at;
	if (p == end)
		return;
	/* With its quotes, which are then taken off. */
	struct buf rest = {.p = at, .cap = (size_t)(sink->end - at)};
	json_put_string(&rest, (struct str){p, (size_t)(end - p)});
	memmove(at, at + 1, rest.n - 2);
	sink->at = at + rest.n - 2;
}

void sink_string(struct sink *sink, struct str s)
{
	sink_char(sink, '"');
	while (s.n > PIECE_BYTES) {
		struct str piece = text_cut(s, PIECE_BYTES);
		put_piece(sink, piece);
		s.p += piece.n;
		s.n -= piece.n;
	}
	if (s.n > 0)
		put_piece(sink, s);
	sink_char(sink, '"');
}

static void put_json(struct sink *sink, struct str text)
{
	struct buf out;

	buf_init(&out, sink->arena);
	json_put_value(&out, (struct json_value){JSON_ARRAY, text});
	sink->failed |= out.failed;
	sink_put(sink, buf_view(&out));
}

static void put_number(struct sink *sink, const struct pipeline_value *value, bool real)
{
	if (value->form == VALUE_COMPUTED) {
		if (sink_need(sink, VALUE_NUMBER_BYTES))
			sink->at += number_put(sink->at, value->number);
		return;
	}
	sink_put(sink, value->text);
	if (value->form == VALUE_WHOLE && real)
		sink_put(sink, STR(".0"));
}

void sink_value(struct sink *sink, const struct pipeline_value *value, bool real)
{
	switch (value->kind) {
	case VALUE_MISSING:
	case VALUE_NULL:
		sink_put(sink, STR("null"));
		return;
	case VALUE_TEXT:
	case VALUE_TIME:
	case VALUE_DATE:
		sink_string(sink, value->text);
		return;
	case VALUE_NUMBER:
		put_number(sink, value, real);
		return;
	case VALUE_BOOL:
		sink_put(sink, value->number != 0 ? STR("true") : STR("false"));
		return;
	case VALUE_JSON:
		put_json(sink, value->text);
		return;
	}
}
