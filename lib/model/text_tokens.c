/* Tokens. One pass over the bytes: ASCII through a table of 128, the rest through that of text_unicode.c. A token is
 * written as it comes and taken back when it ends with less than two characters.
 *
 * The lower case comes first and the search for words second, as in scikit-learn: U+0130 becomes an i and a combining
 * dot, which is no word character and so ends the token. */
#include "model/text_tokens.h"

#include "model/text_unicode.h"

static const uint32_t CAPITAL_I_DOT = 0x130, COMBINING_DOT = 0x307;
static const uint32_t CAPITAL_SIGMA = 0x3A3, SMALL_SIGMA = 0x3C3, FINAL_SIGMA = 0x3C2;
static const uint32_t REPLACEMENT = 0xFFFD;

/* Reads the character at p, of which n > 0 bytes are there; *bytes gets its length. */
static uint32_t decode(const char *p, size_t n, size_t *bytes)
{
	const unsigned char *u = (const unsigned char *)p;

	*bytes = str_utf8_sequence(p, n);
	switch (*bytes) {
	case 1:
		return u[0];
	case 2:
		return (u[0] & 0x1Fu) << 6 | (u[1] & 0x3Fu);
	case 3:
		return (u[0] & 0x0Fu) << 12 | (u[1] & 0x3Fu) << 6 | (u[2] & 0x3Fu);
	case 4:
		return (u[0] & 0x07u) << 18 | (u[1] & 0x3Fu) << 12 | (u[2] & 0x3Fu) << 6 | (u[3] & 0x3Fu);
	default:
		*bytes = 1;
		return REPLACEMENT;
	}
}

static char *encode(char *out, uint32_t code)
{
	if (code < 0x80) {
		*out++ = (char)code;
	} else if (code < 0x800) {
		*out++ = (char)(0xC0 | code >> 6);
		*out++ = (char)(0x80 | (code & 0x3F));
	} else if (code < 0x10000) {
		*out++ = (char)(0xE0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3F));
		*out++ = (char)(0x80 | (code & 0x3F));
	} else {
		*out++ = (char)(0xF0 | code >> 18);
		*out++ = (char)(0x80 | (code >> 12 & 0x3F));
		*out++ = (char)(0x80 | (code >> 6 & 0x3F));
		*out++ = (char)(0x80 | (code & 0x3F));
	}
	return out;
}

/* The first character before p that case does not ignore is a cased one. */
static bool cased_before(const char *start, const char *p)
{
	while (p > start) {
		const char *at = p - 1;
		size_t bytes;
		while (at > start && p - at < 4 && ((unsigned char)*at & 0xC0) == 0x80)
			at--;
		uint32_t code = decode(at, (size_t)(p - at), &bytes);
		if (bytes != (size_t)(p - at)) { /* not UTF-8: byte by byte */
			at = p - 1;
			code = REPLACEMENT;
		}
		uint32_t flags = text_unicode_find(code)->flags;
		if (!(flags & TEXT_UNICODE_IGNORABLE))
			return flags & TEXT_UNICODE_CASED;
		p = at;
	}
	return false;
}

static bool cased_after(const char *p, const char *end)
{
	while (p < end) {
		size_t bytes;
		uint32_t flags = text_unicode_find(decode(p, (size_t)(end - p), &bytes))->flags;
		if (!(flags & TEXT_UNICODE_IGNORABLE))
			return flags & TEXT_UNICODE_CASED;
		p += bytes;
	}
	return false;
}

/* A token under way: it begins at start, out is where its next byte goes. */
struct token {
	char *start, *out;
	size_t characters;
};

static inline void end_token(struct token *token)
{
	if (token->characters >= 2)
		*token->out++ = ' ';
	else
		token->out = token->start;
	token->start = token->out;
	token->characters = 0;
}

/* A character that is not ASCII, at p; returns its bytes. Runs of characters that case ignores are looked through once
 * from each sigma beside them, so that the whole stays linear. */
static size_t take_wide(struct token *token, struct str text, const char *p)
{
	const char *end = text.p + text.n;
	size_t bytes;
	uint32_t code = decode(p, (size_t)(end - p), &bytes);
	const struct text_unicode_record *record = text_unicode_find(code);

	if (!(record->flags & TEXT_UNICODE_WORD)) {
		end_token(token);
		return bytes;
	}
	uint32_t lower = (uint32_t)((int32_t)code + record->lower);
	if (code == CAPITAL_SIGMA)
		lower = cased_before(text.p, p) && !cased_after(p + bytes, end) ? FINAL_SIGMA : SMALL_SIGMA;
	else if (code == CAPITAL_I_DOT)
		lower = 'i';
	token->out = encode(token->out, lower);
	token->characters++;
	if (code == CAPITAL_I_DOT && !(text_unicode_find(COMBINING_DOT)->flags & TEXT_UNICODE_WORD))
		end_token(token);
	return bytes;
}

size_t text_tokens_write(struct str text, char *out)
{
	struct token token = {.start = out, .out = out};
	const char *p = text.p, *end = text.n ? text.p + text.n : text.p;

	while (p < end) {
		unsigned char c = (unsigned char)*p;
		if (c >= 0x80) {
			p += take_wide(&token, text, p);
			continue;
		}
		unsigned char lower = TEXT_UNICODE_ASCII[c];
		if (lower) {
			*token.out++ = (char)lower;
			token.characters++;
		} else if (token.out != token.start) {
			end_token(&token);
		}
		p++;
	}
	end_token(&token);
	if (token.out > out)
		token.out--; /* the last blank */
	return (size_t)(token.out - out);
}
