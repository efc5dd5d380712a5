/* Writing JSON: strings and already checked values. Numbers are in json_number.c. */
#include "base/json_impl.h"

static const char HEX[] = "0123456789abcdef";

/* The letter behind the backslash; 'u' for controls without a letter of their own. */
static char escape_of(char c)
{
	switch (c) {
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return (unsigned char)c < 0x20 ? 'u' : c;
	}
}

static void put_escape(struct buf *out, char c)
{
	char text[6] = {'\\', escape_of(c), '0', '0', HEX[(unsigned char)c >> 4], HEX[c & 15]};

	buf_put(out, text, text[1] == 'u' ? 6 : 2);
}

/* First byte from `p` that can't be copied as it is. */
static const char *skip_copied(const char *p, const char *end)
{
	for (;;) {
		p = json_skip_plain(p, end);
		size_t step = p < end && (unsigned char)*p >= 0x80 ? str_utf8_sequence(p, (size_t)(end - p)) : 0;
		if (step == 0)
			return p;
		p += step;
	}
}

void json_put_string(struct buf *out, struct str s)
{
	const char *p = s.p ? s.p : "", *end = p + s.n;

	if (!buf_reserve(out, s.n + 2))
		return;
	buf_char(out, '"');
	for (;;) {
		const char *stop = skip_copied(p, end);
		buf_put(out, p, (size_t)(stop - p));
		if (stop == end)
			break;
		if ((unsigned char)*stop >= 0x80)
			buf_str(out, STR("\xef\xbf\xbd"));
		else
			put_escape(out, *stop);
		p = stop + 1;
	}
	buf_char(out, '"');
}

void json_put_i64(struct buf *out, int64_t value)
{
	uint64_t magnitude = (uint64_t)value;

	if (value < 0) {
		buf_char(out, '-');
		magnitude = 0 - magnitude;
	}
	buf_u64(out, magnitude);
}

void json_put_value(struct buf *out, struct json_value value)
{
	const char *p = value.text.p, *end = p + value.text.n;
	const char *run = p; /* what is copied when a blank comes */

	if (!buf_reserve(out, value.text.n))
		return;
	while (p < end) {
		if (*p == '"') {
			p = json_skip_string(p, end);
			continue;
		}
		if (json_is_blank(*p)) {
			buf_put(out, run, (size_t)(p - run));
			run = p + 1;
		}
		p++;
	}
	buf_put(out, run, (size_t)(end - run));
}
