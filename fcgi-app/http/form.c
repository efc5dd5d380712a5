/* Both forms are read without a copy but for what has to be decoded. Of multipart bodies only what forms need is
 * understood: parts with a name, without nesting; a part with a filename is no field. */
#include "http/form.h"

#include "base/id.h"

/* What stands behind `name` in a header's parameters ("form-data; name=\"a\"; filename=\"b\""). */
static bool find_parameter(struct str rest, struct str name, struct str *value)
{
	(void)str_cut(&rest, ';');
	while (rest.n > 0) {
		struct str text = str_trim(str_cut(&rest, ';'));
		struct str its_name = str_trim(str_cut(&text, '='));
		if (!text.p || !str_eq_nocase(its_name, name))
			continue;
		text = str_trim(text);
		if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"')
			text = (struct str){text.p + 1, text.n - 2};
		*value = text;
		return true;
	}
	return false;
}

/* Cuts the text before `sep` off the front of *rest and drops the separator. False: it is not there. */
static bool cut_at(struct str *rest, struct str sep, struct str *before)
{
	const char *at = rest->n > 0 ? memmem(rest->p, rest->n, sep.p, sep.n) : NULL;

	if (!at)
		return false;
	*before = (struct str){rest->p, (size_t)(at - rest->p)};
	*rest = (struct str){at + sep.n, rest->n - before->n - sep.n};
	return true;
}

/* The part is of that field. */
static bool is_field(struct str head, struct str name)
{
	struct str value, file;

	while (head.n > 0) {
		struct str line = str_trim(str_cut(&head, '\n'));
		struct str header = str_trim(str_cut(&line, ':'));
		if (str_eq_nocase(header, STR("Content-Disposition")))
			return find_parameter(line, STR("name"), &value) && str_eq(value, name) &&
			       !find_parameter(line, STR("filename"), &file);
	}
	return false;
}

static bool multipart_field(struct request *req, struct str boundary, struct str name, struct str *value)
{
	struct str rest = req->body, part, head;
	bool found = false;
	struct buf sep;

	/* The first boundary has no line break before it, the last is followed by two dashes. */
	buf_init(&sep, &req->arena);
	buf_str(&sep, STR("\r\n--"));
	buf_str(&sep, boundary);
	if (sep.failed || boundary.n == 0 || boundary.n > 70 || !str_starts(rest, (struct str){sep.p + 2, sep.n - 2}))
		return false;
	rest = (struct str){rest.p + sep.n - 2, rest.n - (sep.n - 2)};
	while (cut_at(&rest, buf_view(&sep), &part)) {
		if (!cut_at(&part, STR("\r\n\r\n"), &head) || !is_field(head, name))
			continue;
		*value = part;
		found = true;
	}
	return found;
}

/* Whether `raw` decodes to the name, as request_url_decode has it; without memory, for a body may hold a million. */
static bool is_name(struct str raw, struct str name)
{
	size_t n = 0;

	for (size_t i = 0; i < raw.n; i++, n++) {
		char c = raw.p[i] == '+' ? ' ' : raw.p[i];
		uint8_t byte;
		if (c == '%' && i + 2 < raw.n && hex_parse((struct str){raw.p + i + 1, 2}, &byte, 1)) {
			c = (char)byte;
			i += 2;
		}
		if (n == name.n || name.p[n] != c)
			return false;
	}
	return n == name.n;
}

/* The last of that name counts. */
static bool urlencoded_field(struct request *req, struct str name, struct str *value)
{
	struct str rest = req->body, last = {0};
	bool found = false;

	while (rest.n > 0) {
		struct str raw = str_cut(&rest, '&');
		struct str key = str_cut(&raw, '=');
		if (!is_name(key, name))
			continue;
		last = raw;
		found = true;
	}
	if (found)
		*value = request_url_decode(req, last);
	return found && value->p != NULL;
}

bool form_field(struct request *req, struct str name, struct str *value)
{
	struct str parameters = req->content_type, boundary;
	struct str type = str_trim(str_cut(&parameters, ';'));

	if (str_eq_nocase(type, STR("application/x-www-form-urlencoded")))
		return urlencoded_field(req, name, value);
	return str_eq_nocase(type, STR("multipart/form-data")) &&
	       find_parameter(req->content_type, STR("boundary"), &boundary) &&
	       multipart_field(req, boundary, name, value);
}
