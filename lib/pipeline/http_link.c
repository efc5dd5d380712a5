/* The Link header of RFC 8288, section 3 and appendix B.2: "<URI-Reference>" and parameters, separated by commas. */
#include "pipeline/http_url.h"

struct scan {
	const char *at, *end;
};

static void skip_blanks(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\t'))
		s->at++;
}

static bool take(struct scan *s, char c)
{
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static struct str take_token(struct scan *s)
{
	static const char ends[] = {' ', '\t', ';', ',', '=', '"', '<', '>'};
	const char *from = s->at;

	while (s->at < s->end && !memchr(ends, *s->at, sizeof(ends)))
		s->at++;
	return (struct str){from, (size_t)(s->at - from)};
}

/* A value with quotes or without. Within quotes a backslash takes the next character as it is; values with one are none
 * that we look for, so they stay as written. False: the quote is not closed. */
static bool take_value(struct scan *s, struct str *out)
{
	if (!take(s, '"')) {
		*out = take_token(s);
		return true;
	}
	const char *from = s->at;
	while (s->at < s->end && *s->at != '"')
		s->at += *s->at == '\\' && s->at + 1 < s->end ? 2 : 1;
	*out = (struct str){from, (size_t)(s->at - from)};
	return take(s, '"');
}

static bool has_next(struct str rels)
{
	for (size_t i = 0; i < rels.n; i++)
		if (rels.p[i] == '\t')
			return false;
	while (rels.p)
		if (str_eq_nocase(str_cut(&rels, ' '), STR("next")))
			return true;
	return false;
}

/* The parameters of a link, up to the comma. *next: rel says so; the first rel counts, and a link with another context
 * (anchor) is not about this page. False: no Link header from here on. */
static bool take_params(struct scan *s, bool *next)
{
	bool rel_seen = false, other = false;

	*next = false;
	for (;;) {
		struct str value = {0};
		skip_blanks(s);
		if (!take(s, ';'))
			break;
		skip_blanks(s);
		struct str name = take_token(s);
		skip_blanks(s);
		if (take(s, '=')) {
			skip_blanks(s);
			if (!take_value(s, &value))
				return false;
		}
		if (str_eq_nocase(name, STR("rel")) && !rel_seen) {
			rel_seen = true;
			*next = has_next(value);
		}
		other |= str_eq_nocase(name, STR("anchor")) && value.n > 0;
	}
	*next = *next && !other;
	return s->at == s->end || *s->at == ',';
}

bool http_link_next(struct str header, struct str *out)
{
	struct scan s = {header.p, header.p + header.n};
	bool next;

	if (header.n == 0)
		return false;
	for (;;) {
		while (s.at < s.end && (*s.at == ',' || *s.at == ' ' || *s.at == '\t'))
			s.at++;
		if (!take(&s, '<'))
			return false;
		const char *close = memchr(s.at, '>', (size_t)(s.end - s.at));
		if (!close)
			return false;
		struct str target = {s.at, (size_t)(close - s.at)};
		s.at = close + 1;
		if (!take_params(&s, &next))
			return false;
		if (next) {
			*out = target;
			return true;
		}
	}
}
