/* User names: RFC 8265, profile UsernameCasePreserved, over RFC 8264's IdentifierClass. That is: letters, digits and
 * marks of any script, the visible characters of ASCII, single blanks between them (section 3.5's "userparts"); no
 * other spaces, symbols, control or invisible characters, and nothing that is another character in disguise but for
 * width, which is mapped.
 *
 * Two names are the same when their keys are: folded, and with look-alikes of Latin letters replaced. Names that mix
 * Latin with Cyrillic, Greek and the like are refused (Unicode TR39, section 5.2): no honest name needs that, and a
 * table of look-alikes need then not be complete. */
#include "auth/names.h"

#include "auth/names_impl.h"

#include <uniname.h>
#include <uninorm.h>
#include <unictype.h>

enum { RAW_MAX = 4 * USERNAME_MAX * 4, NAME_BYTES = 4 * USERNAME_MAX, DOT_ABOVE = 0x0307 };

static const char NO_MEMORY[] = "there is no memory to check the name";

/* --- RFC 8264: which characters --- */

/* Section 9.6, old Hangul Jamo. */
static bool is_old_jamo(ucs4_t c)
{
	return (c >= 0x1100 && c <= 0x11ff) || (c >= 0xa960 && c <= 0xa97c) || (c >= 0xd7b0 && c <= 0xd7fb);
}

/* Sections 8 and 9. What is good in some contexts only (joiners, middle dots; CONTEXTJ, CONTEXTO) is not good here. */
static bool is_identifier(ucs4_t c)
{
	static const ucs4_t good[] = {0x00df, 0x03c2, 0x06fd, 0x06fe, 0x0f0b, 0x3007}, /* RFC 5892, section 2.6 */
		bad[] = {0x0640, 0x07fa, 0x302e, 0x302f, 0x3031, 0x3032, 0x3033, 0x3034, 0x3035, 0x303b};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (c == good[i])
			return true;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (c == bad[i])
			return false;
	if (c < 0x80)
		return c > ' ' && c < 0x7f;
	if (is_old_jamo(c) || uc_is_property_default_ignorable_code_point(c) || char_is_compatible(c))
		return false;
	return uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Ll | UC_CATEGORY_MASK_Lu | UC_CATEGORY_MASK_Lo |
							   UC_CATEGORY_MASK_Lm | UC_CATEGORY_MASK_Mn |
							   UC_CATEGORY_MASK_Mc | UC_CATEGORY_MASK_Nd);
}

static bool is_mark(ucs4_t c)
{
	return uc_is_general_category_withtable(c, UC_CATEGORY_MASK_M);
}

static const char *check_characters(struct chars s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == ' ') {
			if (i == 0 || i + 1 == s.n)
				return "must not begin or end with a blank";
			if (s.p[i - 1] == ' ')
				return "must not have two blanks in a row";
		} else if (!is_identifier(s.p[i]))
			return "may have letters, digits, the signs of ASCII and single blanks between them";
		else if (is_mark(s.p[i]) && (i == 0 || s.p[i - 1] == ' '))
			return "must not begin with a combining mark";
	}
	return NULL;
}

/* --- RFC 5893: which directions --- */

static bool is_one_of(int class, const int *classes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (class == classes[i])
			return true;
	return false;
}
#define IS(class, ...) is_one_of(class, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static int class_of(ucs4_t c)
{
	/* The rule is for one label; a blank within parts does not turn anything. */
	return c == ' ' ? UC_BIDI_ON : uc_bidi_class(c);
}

/* The last that is no mark decides how a text ends. */
static int class_at_end(struct chars s)
{
	while (s.n > 1 && class_of(s.p[s.n - 1]) == UC_BIDI_NSM)
		s.n--;
	return class_of(s.p[s.n - 1]);
}

static bool is_right_to_left(struct chars s)
{
	for (size_t i = 0; i < s.n; i++)
		if (IS(class_of(s.p[i]), UC_BIDI_R, UC_BIDI_AL, UC_BIDI_AN))
			return true;
	return false;
}

/* Section 2, for a text that reads from the right; others have nothing to fulfil, as they hold none of it. */
static bool follows_bidi_rule(struct chars s)
{
	bool european = false, arabic = false;

	if (!is_right_to_left(s))
		return true;
	if (!IS(class_of(s.p[0]), UC_BIDI_R, UC_BIDI_AL))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int class = class_of(s.p[i]);
		european |= class == UC_BIDI_EN;
		arabic |= class == UC_BIDI_AN;
		if (!IS(class, UC_BIDI_R, UC_BIDI_AL, UC_BIDI_AN, UC_BIDI_EN, UC_BIDI_ES, UC_BIDI_CS, UC_BIDI_ET,
			UC_BIDI_ON, UC_BIDI_BN, UC_BIDI_NSM))
			return false;
	}
	return !(european && arabic) && IS(class_at_end(s), UC_BIDI_R, UC_BIDI_AL, UC_BIDI_EN, UC_BIDI_AN);
}

/* --- TR39: which scripts together --- */

/* Those whose letters pass for each other's. */
static int family_of(ucs4_t c)
{
	static const char *const names[] = {"Latin",    "Cyrillic", "Greek", "Armenian",
					    "Cherokee", "Coptic",   "Lisu",  "Deseret"};
	const uc_script_t *script = uc_script(c);

	for (int i = 0; script && i < (int)(sizeof(names) / sizeof(names[0])); i++)
		if (strcmp(script->name, names[i]) == 0)
			return i + 1;
	return 0;
}

static bool mixes_scripts(struct chars s)
{
	int seen = 0;

	for (size_t i = 0; i < s.n; i++) {
		int family = family_of(s.p[i]);
		if (family != 0 && seen != 0 && family != seen)
			return true;
		seen = family ? family : seen;
	}
	return false;
}

/* --- the whole --- */

/* Full and half width forms are the characters that they stand for (RFC 8265, section 3.4.1). */
static void map_width(struct chars s)
{
	for (size_t i = 0; i < s.n; i++) {
		ucs4_t to[UC_DECOMPOSITION_MAX_LENGTH];
		int tag, n = uc_decomposition(s.p[i], &tag, to);
		if (n == 1 && (tag == UC_DECOMP_WIDE || tag == UC_DECOMP_NARROW))
			s.p[i] = to[0];
	}
}

static const char *check_name(struct chars s)
{
	if (s.n == 0)
		return "must not be empty";
	if (s.n > USERNAME_MAX)
		return "must have at most 100 characters";
	const char *reason = check_characters(s);
	if (reason)
		return reason;
	if (!follows_bidi_rule(s))
		return "must read in one direction";
	return mixes_scripts(s) ? "must not mix letters of scripts that look alike" : NULL;
}

static const char *make_key(struct chars name, struct arena *arena, struct str *key)
{
	struct chars folded;
	size_t n = 0;

	/* Letters apart from their marks: an accent makes a look-alike no other letter. */
	if (!chars_fold_apart(name, arena, &folded))
		return NO_MEMORY;
	for (size_t i = 0; i < folded.n; i++) {
		if (folded.p[i] == DOT_ABOVE && n > 0 && (folded.p[n - 1] == 'i' || folded.p[n - 1] == 'j'))
			continue; /* these have it already */
		folded.p[n++] = char_lookalike(folded.p[i]);
	}
	folded.n = n;
	if (!chars_compose(folded, arena, &folded))
		return NO_MEMORY;
	*key = chars_write(folded, arena);
	if (!key->p)
		return NO_MEMORY;
	return key->n > NAME_BYTES ? "must have at most 100 characters" : NULL;
}

const char *username_normalise(struct str raw, struct arena *arena, struct str *name, struct str *key)
{
	struct chars s;

	*name = *key = (struct str){0};
	if (raw.n > RAW_MAX)
		return "must have at most 100 characters";
	if (!str_is_utf8(raw))
		return "must be UTF-8";
	if (!chars_read(raw, arena, &s))
		return NO_MEMORY;
	map_width(s);
	if (!chars_compose(s, arena, &s))
		return NO_MEMORY;
	const char *reason = check_name(s);
	if (!reason)
		reason = make_key(s, arena, key);
	if (reason)
		return reason;
	*name = chars_write(s, arena);
	return name->p ? NULL : NO_MEMORY;
}
