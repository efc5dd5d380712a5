/* E-mail addresses, by the rules and in the words of Python's email-validator 2.1.0 as Pydantic calls it (nothing is
 * looked up; quoted local parts and bracketed addresses are refused). Clients know these sentences. One thing is less:
 * a domain name in other letters than ASCII must come in its xn-- form, and that form is not decoded. */
#include "auth/names.h"

#include "auth/names_impl.h"
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unictype.h>
#include <uniname.h>
#include <unistr.h>

enum { RAW_MAX = 2048, LOCAL_MAX = 64, LABEL_MAX = 63, DOMAIN_MAX = 255 };

static const char NO_MEMORY[] = "There is no memory to check the email address.";

/* RFC 6761 and its like, as the library lists them. The names of "example" are meant to be usable. */
static const struct str RESERVED[] = {STR_INIT("arpa"),      STR_INIT("invalid"), STR_INIT("local"),
				      STR_INIT("localhost"), STR_INIT("onion"),   STR_INIT("test")};

/* RFC 2142: these mailboxes are the same in any case. */
static const struct str MAILBOXES[] = {
	STR_INIT("info"),       STR_INIT("marketing"),  STR_INIT("sales"),  STR_INIT("support"), STR_INIT("abuse"),
	STR_INIT("noc"),        STR_INIT("security"),   STR_INIT("ftp"),    STR_INIT("news"),    STR_INIT("uucp"),
	STR_INIT("postmaster"), STR_INIT("hostmaster"), STR_INIT("usenet"), STR_INIT("www"),     STR_INIT("webmaster"),
};

static bool is_letter(ucs4_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(ucs4_t c)
{
	return is_letter(c) || (c >= '0' && c <= '9');
}

/* RFC 5322's atext and the dots between atoms; RFC 6531's beyond ASCII. */
static bool is_atext(ucs4_t c)
{
	return c >= 0x80 || is_alnum(c) || (c != 0 && strchr("_!#$%&'*+-/=?^`{|}~.", (int)c));
}

static bool is_hostname_character(ucs4_t c)
{
	return c >= 0x80 || is_alnum(c) || c == '-' || c == '.';
}

/* --- telling --- */

static const char *say(struct buf *out)
{
	buf_char(out, '\0');
	return out->failed ? NO_MEMORY : out->p;
}

/* "<what> (2 characters too many)." */
static const char *say_length(struct arena *arena, const char *what, const char *at_least, size_t diff)
{
	struct buf out;

	buf_init(&out, arena);
	buf_fmt(&out, "%s (%s%zu character%s too many).", what, at_least, diff, diff > 1 ? "s" : "");
	return say(&out);
}

enum { SHOWN_BYTES = UNINAME_MAX + 1, SHOWN_MAX = 16 };

static bool is_visible(ucs4_t c)
{
	return uc_is_general_category_withtable(c, UC_CATEGORY_MASK_L | UC_CATEGORY_MASK_N | UC_CATEGORY_MASK_P |
							   UC_CATEGORY_MASK_S);
}

/* As Python's repr() where it can be seen, else by its name or number. */
static void show(ucs4_t c, char out[static SHOWN_BYTES])
{
	uint8_t text[8] = {0};

	if (c == '\\')
		snprintf(out, SHOWN_BYTES, "\"\\\"");
	else if (is_visible(c) && u8_uctomb(text, c, sizeof(text) - 1) > 0)
		snprintf(out, SHOWN_BYTES, c == '\'' ? "\"%s\"" : "'%s'", (char *)text);
	else if (!unicode_character_name(c, out))
		snprintf(out, SHOWN_BYTES, c < 0xffff ? "U+%04X" : "U+%08X", (unsigned)c);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* "<what>: '(', SPACE." with each once, sorted as they are shown. */
static const char *say_characters(struct arena *arena, const char *what, const ucs4_t *bad, size_t n)
{
	char(*shown)[SHOWN_BYTES] = arena_alloc(arena, (n + 1) * sizeof(*shown));
	struct buf out;

	if (!shown)
		return NO_MEMORY;
	for (size_t i = 0; i < n; i++)
		show(bad[i], shown[i]);
	qsort(shown, n, sizeof(*shown), compare_texts);
	buf_init(&out, arena);
	buf_fmt(&out, "%s", what);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(shown[i], shown[i - 1]) != 0)
			buf_fmt(&out, "%s%s", i == 0 ? ": " : ", ", shown[i]);
	buf_char(&out, '.');
	return say(&out);
}

/* NULL: every character passes. No more than SHOWN_MAX different ones are told. */
static const char *check_characters(struct chars s, bool (*fits)(ucs4_t c), const char *what, struct arena *arena)
{
	ucs4_t bad[SHOWN_MAX];
	size_t n = 0;

	for (size_t i = 0; i < s.n && n < SHOWN_MAX; i++) {
		size_t k = 0;
		if (fits(s.p[i]))
			continue;
		while (k < n && bad[k] != s.p[i])
			k++;
		if (k == n)
			bad[n++] = s.p[i];
	}
	return n ? say_characters(arena, what, bad, n) : NULL;
}

static bool is_safe(ucs4_t c)
{
	return is_visible(c) || uc_is_general_category_withtable(c, UC_CATEGORY_MASK_M);
}

/* Blanks, what can't be seen, what turns text around, what Unicode does not know, and a mark with nothing before it. */
static const char *check_unsafe(struct chars s, struct arena *arena)
{
	static const char what[] = "The email address contains unsafe characters";

	if (s.n > 0 && uc_is_general_category_withtable(s.p[0], UC_CATEGORY_MASK_M))
		return say_characters(arena, what, s.p, 1);
	return check_characters(s, is_safe, what, arena);
}

/* --- the parts --- */

static bool has_pair(struct chars s, ucs4_t a, ucs4_t b)
{
	for (size_t i = 1; i < s.n; i++)
		if (s.p[i - 1] == a && s.p[i] == b)
			return true;
	return false;
}

static const char *check_local_dots(struct chars s)
{
	if (s.p[s.n - 1] == '.')
		return "An email address cannot have a period immediately before the @-sign.";
	if (s.p[0] == '.')
		return "An email address cannot start with a period.";
	return has_pair(s, '.', '.') ? "An email address cannot have two periods in a row." : NULL;
}

static const char *check_local(struct chars *local, struct arena *arena)
{
	static const char invalid[] = "The email address contains invalid characters before the @-sign";
	bool ascii = true;

	if (local->n == 0)
		return "There must be something before the @-sign.";
	if (local->n > LOCAL_MAX)
		return say_length(arena, "The email address is too long before the @-sign", "", local->n - LOCAL_MAX);
	const char *reason = check_characters(*local, is_atext, invalid, arena);
	if (!reason)
		reason = check_local_dots(*local);
	for (size_t i = 0; i < local->n; i++)
		ascii &= local->p[i] < 0x80;
	if (reason || ascii)
		return reason;
	if (!chars_compose(*local, arena, local))
		return NO_MEMORY;
	return check_unsafe(*local, arena);
}

static const char *check_domain_dots(struct chars s)
{
	if (s.p[s.n - 1] == '.')
		return "An email address cannot end with a period.";
	if (s.p[0] == '.')
		return "An email address cannot have a period immediately after the @-sign.";
	if (has_pair(s, '.', '.'))
		return "An email address cannot have two periods in a row.";
	if (s.p[s.n - 1] == '-')
		return "An email address cannot end with a hyphen.";
	if (s.p[0] == '-')
		return "An email address cannot have a hyphen immediately after the @-sign.";
	if (has_pair(s, '.', '-') || has_pair(s, '-', '.'))
		return "An email address cannot have a period and a hyphen next to each other.";
	return NULL;
}

/* "ab--c", but not "xn--c" (RFC 5890, section 2.3.1). */
static bool is_reserved_label(struct str label)
{
	return label.n >= 4 && label.p[2] == '-' && label.p[3] == '-' && !str_starts(label, STR("xn"));
}

static const char *check_labels(struct str domain, struct arena *arena)
{
	for (struct str rest = domain; rest.n > 0;)
		if (is_reserved_label(str_cut(&rest, '.')))
			return "An email address cannot have two letters followed by two dashes immediately after the "
			       "@-sign or after a period, except Punycode.";
	if (domain.n > DOMAIN_MAX)
		return say_length(arena, "The email address is too long after the @-sign", "", domain.n - DOMAIN_MAX);
	for (struct str rest = domain; rest.n > 0;) {
		struct str label = str_cut(&rest, '.');
		if (label.n > LABEL_MAX)
			return say_length(arena, "After the @-sign, periods cannot be separated by so many characters",
					  "", label.n - LABEL_MAX);
	}
	return NULL;
}

/* The name itself, or below it. */
static bool is_within(struct str domain, struct str zone)
{
	return str_eq(domain, zone) || (domain.n > zone.n && domain.p[domain.n - zone.n - 1] == '.' &&
					str_eq((struct str){domain.p + domain.n - zone.n, zone.n}, zone));
}

static const char *check_name(struct str domain)
{
	if (!memchr(domain.p, '.', domain.n))
		return "The part after the @-sign is not valid. It should have a period.";
	if (!is_letter((unsigned char)domain.p[domain.n - 1]))
		return "The part after the @-sign is not valid. It is not within a valid top-level domain.";
	for (size_t i = 0; i < sizeof(RESERVED) / sizeof(RESERVED[0]); i++)
		if (is_within(domain, RESERVED[i]))
			return "The part after the @-sign is a special-use or reserved name that cannot be used with "
			       "email.";
	return NULL;
}

static bool is_ascii(ucs4_t c)
{
	return c < 0x80;
}

static void lower(struct chars s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= 'A' && s.p[i] <= 'Z')
			s.p[i] += 'a' - 'A';
}

static const char *check_domain(struct chars domain, struct arena *arena)
{
	static const char invalid[] = "The part after the @-sign contains invalid characters";

	if (domain.n == 0)
		return "There must be something after the @-sign.";
	if (domain.p[0] == '[' && domain.p[domain.n - 1] == ']')
		return "A bracketed IP address after the @-sign is not allowed here.";
	const char *reason = check_characters(domain, is_hostname_character, invalid, arena);
	if (!reason)
		reason = check_unsafe(domain, arena);
	if (!reason)
		reason = check_characters(domain, is_ascii,
					  "The part after the @-sign must be in its ASCII form (xn--...) here. It "
					  "contains",
					  arena);
	if (reason)
		return reason;
	lower(domain);
	reason = check_domain_dots(domain);
	if (reason)
		return reason;
	struct str text = chars_write(domain, arena);
	if (!text.p)
		return NO_MEMORY;
	reason = check_labels(text, arena);
	return reason ? reason : check_name(text);
}

/* --- the whole --- */

/* Where the local part in quotes ends (RFC 5321, section 4.1.2), one past the closing quote before an @. 0: it is none.
 */
static size_t quoted_end(struct chars s)
{
	size_t i = 1;

	if (s.n == 0 || s.p[0] != '"')
		return 0;
	for (; i < s.n && s.p[i] >= 0x20 && s.p[i] <= 0x7e && s.p[i] != '"'; i++)
		if (s.p[i] == '\\' && (++i == s.n || s.p[i] < 0x20 || s.p[i] > 0x7e))
			return 0;
	return i + 1 < s.n && s.p[i] == '"' && s.p[i + 1] == '@' ? i + 1 : 0;
}

static const char *check_length(struct chars local, struct chars domain, struct str email, struct arena *arena)
{
	static const char what[] = "The email address is too long";
	size_t n = local.n + 1 + domain.n;

	if (n > EMAIL_MAX)
		return say_length(arena, what, email.n > n ? "at least " : "", n - EMAIL_MAX);
	return email.n > EMAIL_MAX ? "The email address is too long (when encoded in bytes)." : NULL;
}

static bool is_common_mailbox(struct str local)
{
	for (size_t i = 0; i < sizeof(MAILBOXES) / sizeof(MAILBOXES[0]); i++)
		if (str_eq_nocase(local, MAILBOXES[i]))
			return true;
	return false;
}

static const char *join(struct chars local, struct chars domain, struct arena *arena, struct str *email,
			struct str *key)
{
	struct chars whole = {arena_alloc(arena, (local.n + 1 + domain.n) * sizeof(ucs4_t)), local.n + 1 + domain.n},
		     folded;
	struct str name = chars_write(local, arena);

	if (!whole.p || !name.p)
		return NO_MEMORY;
	if (is_common_mailbox(name))
		lower(local);
	memcpy(whole.p, local.p, local.n * sizeof(ucs4_t));
	whole.p[local.n] = '@';
	memcpy(whole.p + local.n + 1, domain.p, domain.n * sizeof(ucs4_t));
	if (!chars_fold(whole, arena, &folded))
		return NO_MEMORY;
	*email = chars_write(whole, arena);
	*key = chars_write(folded, arena);
	return email->p && key->p ? check_length(local, domain, *email, arena) : NO_MEMORY;
}

static const char *check_parts(struct chars local, struct chars domain, struct arena *arena, struct str *email,
			       struct str *key)
{
	const char *reason = check_local(&local, arena);

	if (!reason)
		reason = check_domain(domain, arena);
	return reason ? reason : join(local, domain, arena, email, key);
}

const char *email_normalise(struct str raw, struct arena *arena, struct str *email, struct str *key)
{
	struct chars s;
	size_t at = 0, signs = 0;

	*email = *key = (struct str){0};
	if (raw.n > (size_t)4 * RAW_MAX)
		return "Length must not exceed 2048 characters";
	if (!str_is_utf8(raw))
		return "The email address contains an invalid character.";
	if (!chars_read(str_trim(raw), arena, &s))
		return NO_MEMORY;
	if (s.n > RAW_MAX)
		return "Length must not exceed 2048 characters";
	if (quoted_end(s) == 2)
		return "There must be something before the @-sign.";
	if (quoted_end(s) > 0)
		return "Quoting the part before the @-sign is not allowed here.";
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '@') {
			at = i;
			signs++;
		}
	if (signs != 1)
		return "The email address is not valid. It must have exactly one @-sign.";
	return check_parts(chars_part(s, 0, at), chars_part(s, at + 1, s.n), arena, email, key);
}
