/* The scanner. A float32 is the one nearest to the decimal number, not to the double nearest to that: where the double
 * lies in the middle of two floats, the C library decides from the text. */
#include "model/scan.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUMBER_BYTES_MAX = 100, EXPONENT_MAX = 9999, MANTISSA_DIGITS = 18 };

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void scan_init(struct scan *scan, struct str text, struct err *err)
{
	const char *start = text.p ? text.p : "";

	*scan = (struct scan){.start = start, .at = start, .end = start + text.n, .err = err};
}

bool scan_fail(struct scan *scan, enum status status, const char *format, ...)
{
	char why[160], place[64] = "";
	va_list arguments;

	if (scan->status != STATUS_OK)
		return false;
	scan->status = status;
	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	if (scan->part)
		snprintf(place, sizeof(place), "%s %zu%s%.*s: ", scan->part, scan->number, scan->member.n ? ", " : "",
			 scan->member.n < 32 ? (int)scan->member.n : 32, scan->member.n ? scan->member.p : "");
	else if (scan->member.n)
		snprintf(place, sizeof(place), "%.*s: ", scan->member.n < 48 ? (int)scan->member.n : 48,
			 scan->member.p);
	err_set(scan->err, status, "%s%s", place, why);
	return false;
}

static bool unexpected(struct scan *scan, const char *wanted)
{
	if (scan->at >= scan->end)
		return scan_fail(scan, STATUS_INVALID, "the file ends at byte %zu, where %s should be",
				 (size_t)(scan->end - scan->start), wanted);
	return scan_fail(scan, STATUS_INVALID, "there should be %s at byte %zu", wanted,
			 (size_t)(scan->at - scan->start));
}

static inline bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool is_digit(char c)
{
	return (unsigned char)(c - '0') < 10;
}

char scan_peek(struct scan *scan)
{
	while (scan->at < scan->end && is_blank(*scan->at))
		scan->at++;
	return scan->at < scan->end ? *scan->at : '\0';
}

/* Passes `c` when it comes next. */
static inline bool pass(struct scan *scan, char c)
{
	if (scan_peek(scan) != c || scan->at >= scan->end)
		return false;
	scan->at++;
	return true;
}

bool scan_open(struct scan *scan, char bracket)
{
	if (scan->status != STATUS_OK)
		return false;
	return pass(scan, bracket) || unexpected(scan, bracket == '{' ? "an object" : "an array");
}

static bool escape(struct scan *scan)
{
	const char *p = scan->at + 1;

	if (p < scan->end && *p && strchr("\"\\/bfnrt", *p)) {
		scan->at += 2;
		return true;
	}
	if (scan->end - p < 5 || *p != 'u')
		return unexpected(scan, "an escape");
	for (int i = 1; i <= 4; i++)
		if (!p[i] || !strchr("0123456789abcdefABCDEF", p[i]))
			return unexpected(scan, "an escape");
	scan->at += 6;
	return true;
}

bool scan_string(struct scan *scan, struct str *out)
{
	if (scan->status != STATUS_OK)
		return false;
	if (!pass(scan, '"'))
		return unexpected(scan, "a string");
	out->p = scan->at;
	while (scan->at < scan->end && *scan->at != '"') {
		unsigned char c = (unsigned char)*scan->at;
		if (c == '\\') {
			if (!escape(scan))
				return false;
		} else if (c < 0x20) {
			return unexpected(scan, "no control character");
		} else if (c < 0x80) {
			scan->at++;
		} else {
			size_t n = str_utf8_sequence(scan->at, (size_t)(scan->end - scan->at));
			if (n == 0)
				return scan_fail(scan, STATUS_INVALID, "byte %zu is not UTF-8",
						 (size_t)(scan->at - scan->start));
			scan->at += n;
		}
	}
	if (scan->at >= scan->end)
		return unexpected(scan, "a quote");
	out->n = (size_t)(scan->at - out->p);
	scan->at++;
	return true;
}

bool scan_element(struct scan *scan, bool *first)
{
	if (scan->status != STATUS_OK || pass(scan, ']'))
		return false;
	if (!*first && !pass(scan, ','))
		return unexpected(scan, "a comma or a bracket");
	*first = false;
	return true;
}

bool scan_member(struct scan *scan, bool *first, struct str *name)
{
	if (scan->status != STATUS_OK || pass(scan, '}'))
		return false;
	if (!*first && !pass(scan, ','))
		return unexpected(scan, "a comma or a brace");
	*first = false;
	return scan_string(scan, name) && (pass(scan, ':') || unexpected(scan, "a colon"));
}

bool scan_end(struct scan *scan)
{
	if (scan->status != STATUS_OK)
		return false;
	return (scan_peek(scan) == '\0' && scan->at == scan->end) || unexpected(scan, "the end");
}

/* A decimal number as written: mantissa * 10^exponent when `exact`. */
struct decimal {
	const char *start, *stop;
	uint64_t mantissa;
	int exponent;
	bool negative, exact;
};

static const char *take_digits(struct decimal *d, const char *p, const char *end, int *digits)
{
	for (; p < end && is_digit(*p); p++) {
		d->mantissa = d->mantissa * 10 + (unsigned)(*p - '0');
		++*digits;
	}
	return p;
}

static inline bool take_decimal(struct scan *scan, struct decimal *d)
{
	const char *p = scan->at, *end = scan->end;
	int digits = 0, exponent = 0;

	*d = (struct decimal){.start = p};
	/* Numbers longer than this could make counts overflow; nobody writes them. */
	if (end - p > NUMBER_BYTES_MAX)
		end = p + NUMBER_BYTES_MAX;
	if (p < end && *p == '-') {
		d->negative = true;
		p++;
	}
	p = take_digits(d, p, end, &digits);
	if (digits == 0)
		return unexpected(scan, "a number");
	if (p < end && *p == '.') {
		int before = digits;
		p = take_digits(d, p + 1, end, &digits);
		if (digits == before)
			return unexpected(scan, "a number");
		d->exponent = before - digits;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		bool minus = ++p < end && *p == '-';
		p += p < end && (*p == '-' || *p == '+');
		const char *from = p;
		for (; p < end && is_digit(*p); p++)
			exponent = exponent > EXPONENT_MAX ? exponent : exponent * 10 + (*p - '0');
		if (p == from)
			return unexpected(scan, "a number");
		d->exponent += minus ? -exponent : exponent;
	}
	if (p - scan->at >= NUMBER_BYTES_MAX)
		return unexpected(scan, "a shorter number");
	d->exact = digits <= MANTISSA_DIGITS;
	d->stop = scan->at = p;
	return true;
}

static float float_of_text(const struct decimal *d)
{
	char text[NUMBER_BYTES_MAX + 1];
	size_t n = (size_t)(d->stop - d->start);

	pthread_once(&c_locale_once, make_c_locale);
	memcpy(text, d->start, n);
	text[n] = '\0';
	return c_locale ? strtof_l(text, NULL, c_locale) : strtof(text, NULL);
}

static inline float float_of(const struct decimal *d)
{
	static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
				      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	enum { TENS__MAX = sizeof(TENS) / sizeof(TENS[0]) };
	const uint64_t low_bits = (UINT64_C(1) << 29) - 1, middle = UINT64_C(1) << 28;
	uint64_t bits;
	double value;

	if (!d->exact || d->mantissa > UINT64_C(1) << 53 || d->exponent <= -TENS__MAX || d->exponent >= TENS__MAX)
		return float_of_text(d);
	value = (double)d->mantissa;
	value = d->exponent < 0 ? value / TENS[-d->exponent] : value * TENS[d->exponent];
	memcpy(&bits, &value, sizeof(bits));
	if ((bits & low_bits) == middle || (value < (double)FLT_MIN && d->mantissa != 0))
		return float_of_text(d);
	return d->negative ? -(float)value : (float)value;
}

static inline bool take_float(struct scan *scan, float *out)
{
	struct decimal d;

	if (!take_decimal(scan, &d))
		return false;
	*out = float_of(&d);
	if (!isfinite(*out)) {
		scan->at = d.start;
		return unexpected(scan, "a number that a float32 can hold");
	}
	return true;
}

static inline bool take_int(struct scan *scan, int32_t *out)
{
	const char *p = scan->at, *end = scan->end;
	bool negative = p < end && *p == '-';
	int64_t value = 0;

	p += negative;
	const char *digits = p;
	for (; p < end && is_digit(*p) && value <= INT32_MAX; p++)
		value = value * 10 + (*p - '0');
	if (p == digits || value > INT32_MAX || (p < end && (is_digit(*p) || *p == '.' || *p == 'e' || *p == 'E')))
		return unexpected(scan, "a whole number of 32 bits");
	scan->at = p;
	*out = (int32_t)(negative ? -value : value);
	return true;
}

static bool take_word(struct scan *scan, struct str word)
{
	if ((size_t)(scan->end - scan->at) < word.n || memcmp(scan->at, word.p, word.n) != 0)
		return false;
	scan->at += word.n;
	return true;
}

static inline bool take_flag(struct scan *scan, uint8_t *out)
{
	char c = scan->at < scan->end ? *scan->at : '\0';

	*out = c == '1' || c == 't';
	if (c == '0' || c == '1') {
		scan->at++;
		return true;
	}
	return take_word(scan, STR("true")) || take_word(scan, STR("false")) || unexpected(scan, "0 or 1");
}

static bool grow(struct scan *scan, void **array, size_t *cap, size_t size)
{
	/* An element takes two bytes of the text: this cannot overflow. */
	size_t wanted = *cap ? *cap * 2 : 256;
	void *grown = realloc(*array, wanted * size);

	if (!grown)
		return scan_fail(scan, STATUS_NO_MEMORY, "no memory for its numbers");
	*array = grown;
	*cap = wanted;
	return true;
}

/* Behind an element of an array: passes the comma before the next one; false at the bracket, or when neither is there.
 */
static inline bool pass_comma(struct scan *scan)
{
	const char *p = scan->at;

	/* As programs write it, without blanks. */
	if (scan->end - p > 1 && p[0] == ',' && p[1] > ' ') {
		scan->at = p + 1;
		return true;
	}
	if (pass(scan, ']'))
		return false;
	if (!pass(scan, ','))
		return unexpected(scan, "a comma or a bracket");
	scan_peek(scan);
	return true;
}

#define ARRAY_OF(type, name, take)                                                                                     \
	bool name(struct scan *scan, struct type *out)                                                                 \
	{                                                                                                              \
		out->n = 0;                                                                                            \
		if (!scan_open(scan, '['))                                                                             \
			return false;                                                                                  \
		if (scan_peek(scan) == ']') {                                                                          \
			scan->at++;                                                                                    \
			return true;                                                                                   \
		}                                                                                                      \
		do {                                                                                                   \
			if (out->n == out->cap) {                                                                      \
				void *p = out->p;                                                                      \
				if (!grow(scan, &p, &out->cap, sizeof(*out->p)))                                       \
					return false;                                                                  \
				out->p = p;                                                                            \
			}                                                                                              \
			if (!take(scan, &out->p[out->n]))                                                              \
				return false;                                                                          \
			out->n++;                                                                                      \
		} while (pass_comma(scan));                                                                            \
		return scan->status == STATUS_OK;                                                                      \
	}
ARRAY_OF(scan_ints, scan_int_array, take_int)
ARRAY_OF(scan_floats, scan_float_array, take_float)
ARRAY_OF(scan_flags, scan_flag_array, take_flag)

bool scan_float(struct scan *scan, float *out)
{
	if (scan->status != STATUS_OK)
		return false;
	scan_peek(scan);
	return take_float(scan, out);
}

/* What arrays of numbers are made of. */
static const bool NUMERIC[256] = {
	['0'] = true, ['1'] = true, ['2'] = true, ['3'] = true,  ['4'] = true,  ['5'] = true,  ['6'] = true,
	['7'] = true, ['8'] = true, ['9'] = true, ['+'] = true,  ['-'] = true,  ['.'] = true,  ['e'] = true,
	['E'] = true, [','] = true, [' '] = true, ['\n'] = true, ['\r'] = true, ['\t'] = true,
};

/* Passes a value, or the bracket that opens one that has others in it: *opened is the bracket then, else 0. */
static bool skip_one(struct scan *scan, char *opened)
{
	struct str text;
	struct decimal d;
	char c = scan_peek(scan);

	*opened = 0;
	if (c == '"')
		return scan_string(scan, &text);
	if (c == '-' || is_digit(c))
		return take_decimal(scan, &d);
	if (take_word(scan, STR("true")) || take_word(scan, STR("false")) || take_word(scan, STR("null")))
		return true;
	if (c != '{' && c != '[')
		return unexpected(scan, "a value");
	scan->at++;
	if (c == '[') {
		while (scan->at < scan->end && NUMERIC[(unsigned char)*scan->at])
			scan->at++;
		if (scan->at < scan->end && *scan->at == ']') {
			scan->at++;
			return true;
		}
	}
	*opened = c;
	return true;
}

bool scan_skip(struct scan *scan)
{
	uint64_t objects = 0; /* a bit for each bracket that is open: 1 is a brace */
	int depth = 0;
	bool first = true;
	struct str name;
	char opened;

	if (scan->status != STATUS_OK)
		return false;
	do {
		if (!skip_one(scan, &opened))
			return false;
		if (opened && ++depth > SCAN_DEPTH_MAX)
			return scan_fail(scan, STATUS_INVALID, "it is nested too deeply at byte %zu",
					 (size_t)(scan->at - scan->start));
		if (opened) {
			objects = objects << 1 | (opened == '{');
			first = true;
		}
		while (depth > 0 && !(objects & 1 ? scan_member(scan, &first, &name) : scan_element(scan, &first))) {
			if (scan->status != STATUS_OK)
				return false;
			objects >>= 1;
			depth--;
			first = false;
		}
	} while (depth > 0);
	return true;
}
