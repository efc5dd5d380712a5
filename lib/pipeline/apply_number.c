/* Numbers of cells. Most are short decimals: up to 15 digits are gathered in an integer, and one division by a power of
 * ten rounds once (Clinger 1990). Such a number is also what its double is written as if its last digit is no 0, as
 * decimals of 15 digits stay apart as doubles: then the text is kept. All others go to base/json.h. */
#include "pipeline/apply_impl.h"

#include <math.h>
#include <stdlib.h>

enum { EXACT_DIGITS = 15 };

static const double TENS[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
_Static_assert(sizeof(TENS) / sizeof(TENS[0]) == EXACT_DIGITS + 1, "a power for each number of digits");

/* repr has an exponent below this. */
#define LEAST_PLAIN 1e-4

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)? of at most 15 digits. False: it is another one, or none. */
static bool read_short(struct str text, struct pipeline_value *out)
{
	const char *p = text.p, *end = p + text.n;
	bool negative = text.n > 0 && *p == '-';
	int64_t mantissa = 0;
	size_t fraction = 0;

	p += negative;
	const char *start = p;
	while (p < end && is_digit(*p) && p - start <= EXACT_DIGITS)
		mantissa = mantissa * 10 + (*p++ - '0');
	size_t whole = (size_t)(p - start);
	if (whole == 0 || (whole > 1 && *start == '0'))
		return false;
	if (p < end && *p == '.') {
		const char *point = p++;
		while (p < end && is_digit(*p) && p - start <= EXACT_DIGITS + 1)
			mantissa = mantissa * 10 + (*p++ - '0');
		fraction = (size_t)(p - point) - 1;
		if (fraction == 0)
			return false;
	}
	if (p != end || whole + fraction > EXACT_DIGITS)
		return false;
	double magnitude = (double)mantissa / TENS[fraction];
	out->kind = VALUE_NUMBER;
	out->text = text;
	out->number = negative ? -magnitude : magnitude;
	if (fraction == 0)
		out->form = VALUE_WHOLE;
	else if ((end[-1] != '0' && magnitude >= LEAST_PLAIN) || fraction == 1)
		out->form = VALUE_SHORTEST;
	else
		out->form = VALUE_COMPUTED;
	return true;
}

static bool is_ascii(struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] >= 0x80)
			return false;
	return true;
}

bool number_read(struct str text, struct pipeline_value *out)
{
	double number;

	if (read_short(text, out))
		return true;
	if (!is_ascii(text))
		text = text_trim(text); /* of ASCII, json_number_of_text knows the blanks */
	if (text.n == 0 || !json_number_of_text(text, &number) || !isfinite(number))
		return false;
	*out = (struct pipeline_value){.kind = VALUE_NUMBER, .form = VALUE_COMPUTED, .text = text, .number = number};
	return true;
}

/* Letters of a number that read_short refused: an exponent, or many digits. */
static bool is_json_number(struct str s)
{
	struct json_value value;
	struct json_fault fault;

	return s.n > 0 && (is_digit(s.p[0]) || s.p[0] == '-') && json_check(s, 1, &value, &fault) &&
	       value.type == JSON_NUMBER && value.text.n == s.n;
}

bool number_read_strict(struct str text, struct pipeline_value *out)
{
	double number;

	if (text.n == 0 || !(is_digit(text.p[0]) || text.p[0] == '-'))
		return false;
	if (read_short(text, out))
		return true;
	if (text.n > VALUE_NUMBER_BYTES || !is_json_number(text) ||
	    !json_number((struct json_value){JSON_NUMBER, text}, &number))
		return false;
	bool fraction = memchr(text.p, '.', text.n) || memchr(text.p, 'e', text.n) || memchr(text.p, 'E', text.n);
	if (!fraction && fabs(number) > 9007199254740992.0)
		return false; /* an identifier: as a double it would be another one */
	*out = (struct pipeline_value){.kind = VALUE_NUMBER, .form = VALUE_COMPUTED, .text = text, .number = number};
	return true;
}

size_t number_put(char *out, double number)
{
	/* A buffer of the heap that never grows: no number is longer. */
	struct buf text = {.p = out, .cap = VALUE_NUMBER_BYTES};

	json_put_double(&text, number);
	return text.n;
}

size_t number_put_i64(char *out, int64_t number)
{
	struct buf text = {.p = out, .cap = VALUE_NUMBER_BYTES};

	json_put_i64(&text, number);
	return text.n;
}
