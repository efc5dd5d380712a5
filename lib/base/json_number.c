/* Numbers between decimal text and doubles, correctly rounded both ways and without the locale.
 *
 * Reading: up to 19 digits are gathered in an integer. Where that and the power of ten are doubles, one multiplication
 * or division rounds once (Clinger, "How to Read Floating Point Numbers Accurately", 1990). Where the power of five
 * fits 64 bits, the quotient or product is exact in 128 bits and rounded by hand. The rest is strtod's.
 *
 * Writing: the shortest decimal between the two neighbours' midpoints, closest to the value, as Ryu finds it (Adams,
 * "Ryu: Fast Float-to-String Conversion", 2018); for values of ordinary size the three bounds are exact in 128 bits, so
 * no table of approximated powers is needed. The rest tries 15, 16 and 17 digits. */
#include "base/json_impl.h"

#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

__extension__ typedef unsigned __int128 u128;

enum {
	MANTISSA_DIGITS = 19,   /* always fit 64 bits */
	DECIDING_DIGITS = 780,  /* more never decide a rounding but by being there: 767 do for doubles */
	EXP10_CLAMP = 100000,   /* far past what a double holds, also with DECIDING_DIGITS before it */
	EXP10_CEILING = 1 << 30 /* of an exponent as written: what is past it is out of reach of any text's digits */
};

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
			      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
enum { TENS__MAX = sizeof(TENS) / sizeof(TENS[0]) };

/* clang-format off */
static const uint64_t FIVES[] = {
	1u, 5u, 25u, 125u, 625u, 3125u, 15625u, 78125u, 390625u, 1953125u, 9765625u, 48828125u, 244140625u,
	1220703125u, 6103515625u, 30517578125u, 152587890625u, 762939453125u, 3814697265625u, 19073486328125u,
	95367431640625u, 476837158203125u, 2384185791015625u, 11920928955078125u, 59604644775390625u,
	298023223876953125u, 1490116119384765625u, 7450580596923828125u
};
/* clang-format on */
enum { FIVES__MAX = sizeof(FIVES) / sizeof(FIVES[0]) };

/* A decimal number as written: mantissa * 10^exp10, and digits that were cut off from the mantissa. */
struct decimal {
	bool negative;
	bool cut; /* a digit other than 0 was cut off */
	unsigned digits;
	uint64_t mantissa;
	int64_t exp10;
	struct str written; /* the digits with their point, without sign and exponent */
	int64_t exponent;   /* behind the e */
};

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static double text_to_double(const char *text)
{
	pthread_once(&c_locale_once, make_c_locale);
	return c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
}

/* digits * 10^exp10 by way of strtod; digits[n] must have room for the exponent. */
static double digits_to_double(char *digits, size_t n, int64_t exp10)
{
	int e = exp10 > EXP10_CLAMP ? EXP10_CLAMP : exp10 < -EXP10_CLAMP ? -EXP10_CLAMP : (int)exp10;

	snprintf(digits + n, 16, "e%d", e);
	return text_to_double(digits);
}

/* Rounds q (with `sticky`: and something less than one) times 2^exp2 to the nearest double, ties to even. The result
 * must be a normal number and q must have at least 54 bits, or be exact. */
static double round_bits(u128 q, bool sticky, int exp2)
{
	uint64_t high = (uint64_t)(q >> 64);
	int bits = high ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)q);
	int shift = bits - 53;

	if (shift <= 0)
		return ldexp((double)(uint64_t)q, exp2);
	uint64_t mantissa = (uint64_t)(q >> shift);
	u128 rest = q & (((u128)1 << shift) - 1);
	u128 half = (u128)1 << (shift - 1);
	if (rest > half || (rest == half && (sticky || (mantissa & 1))))
		mantissa++;
	return ldexp((double)mantissa, exp2 + shift);
}

/* The nearest double of mantissa * 10^exp10. */
static double scale(uint64_t mantissa, int64_t exp10)
{
	char text[20 + 16];

	if (mantissa == 0)
		return 0;
	if (mantissa <= UINT64_C(1) << 53 && exp10 > -TENS__MAX && exp10 < TENS__MAX)
		return exp10 < 0 ? (double)mantissa / TENS[-exp10] : (double)mantissa * TENS[exp10];
	if (exp10 >= 0 && exp10 < FIVES__MAX)
		return round_bits((u128)mantissa * FIVES[exp10], false, (int)exp10);
	if (exp10 < 0 && exp10 > -FIVES__MAX) {
		/* With the top bit at 127 and a divisor below 2^63 the quotient has more than 64 bits. */
		uint64_t five = FIVES[-exp10];
		int up = __builtin_clzll(mantissa);
		u128 dividend = (u128)(mantissa << up) << 64;
		u128 quotient = dividend / five;
		return round_bits(quotient, quotient * five != dividend, (int)exp10 - 64 - up);
	}
	int n = snprintf(text, sizeof(text), "%" PRIu64, mantissa);
	return digits_to_double(text, (size_t)n, exp10);
}

/* More digits than an integer takes: all that can decide go to strtod, and a 1 for those behind them. */
static double scale_written(const struct decimal *d)
{
	char digits[DECIDING_DIGITS + 1 + 16];
	size_t n = 0;
	bool point = false, more = false;
	int64_t exp10 = d->exponent;

	for (size_t i = 0; i < d->written.n; i++) {
		char c = d->written.p[i];
		if (c == '.') {
			point = true;
		} else if (n < DECIDING_DIGITS) {
			if (n > 0 || c != '0')
				digits[n++] = c;
			exp10 -= point;
		} else {
			more |= c != '0';
			exp10 += !point;
		}
	}
	if (more) {
		digits[n++] = '1';
		exp10--;
	}
	return digits_to_double(digits, n, exp10);
}

static bool decimal_to_double(const struct decimal *d, double *out)
{
	double value = d->cut ? scale_written(d) : scale(d->mantissa, d->exp10);

	*out = d->negative ? -value : value;
	return isfinite(value);
}

/* Takes digits from `p` into the mantissa, behind the point when `fraction`. Returns where they end. */
static const char *take_digits(struct decimal *d, const char *p, const char *end, bool fraction)
{
	for (; p < end && json_is_digit(*p); p++) {
		unsigned digit = (unsigned)(*p - '0');
		if (d->digits < MANTISSA_DIGITS) {
			d->mantissa = d->mantissa * 10 + digit;
			d->digits += d->mantissa != 0;
			d->exp10 -= fraction;
		} else {
			d->cut |= digit != 0;
			d->exp10 += !fraction;
		}
	}
	return p;
}

/* An exponent from `p` (an e). Returns where it ends, `p` when there is none. */
static const char *take_exponent(struct decimal *d, const char *p, const char *end)
{
	const char *digits = p + 1;
	int64_t value = 0;
	bool negative = digits < end && *digits == '-';

	if (digits < end && (*digits == '-' || *digits == '+'))
		digits++;
	if (digits == end || !json_is_digit(*digits))
		return p;
	for (; digits < end && json_is_digit(*digits); digits++)
		if (value < EXP10_CEILING)
			value = value * 10 + (*digits - '0');
	d->exponent = negative ? -value : value;
	d->exp10 += d->exponent;
	return digits;
}

/* Digits with or without a point and an exponent. Returns where they end, NULL when there is no digit. */
static const char *take_decimal(struct decimal *d, const char *p, const char *end)
{
	const char *start = p, *stop = take_digits(d, p, end, false);
	size_t digits = (size_t)(stop - start);

	if (stop < end && *stop == '.') {
		const char *point = stop++;
		stop = take_digits(d, stop, end, true);
		digits += (size_t)(stop - point) - 1;
	}
	if (digits == 0)
		return NULL;
	d->written = (struct str){start, (size_t)(stop - start)};
	if (stop < end && (*stop == 'e' || *stop == 'E'))
		stop = take_exponent(d, stop, end);
	return stop;
}

bool json_number(struct json_value number, double *out)
{
	struct decimal d = {.negative = number.text.p[0] == '-'};
	const char *p = number.text.p + d.negative, *end = number.text.p + number.text.n;

	return take_decimal(&d, p, end) != NULL && decimal_to_double(&d, out);
}

bool json_number_of_text(struct str text, double *out)
{
	static const char BLANKS[] = " \t\n\v\f\r";
	struct decimal d = {0};
	const char *p = text.p ? text.p : "", *end = p + text.n;

	while (p < end && *p && strchr(BLANKS, *p))
		p++;
	while (p < end && end[-1] && strchr(BLANKS, end[-1]))
		end--;
	if (p < end && (*p == '-' || *p == '+'))
		d.negative = *p++ == '-';
	struct str word = {p, (size_t)(end - p)};
	if (str_eq_nocase(word, STR("inf")) || str_eq_nocase(word, STR("infinity"))) {
		*out = d.negative ? -HUGE_VAL : HUGE_VAL;
		return true;
	}
	if (str_eq_nocase(word, STR("nan"))) {
		*out = (double)NAN;
		return true;
	}
	if (take_decimal(&d, p, end) != end)
		return false;
	decimal_to_double(&d, out); /* too large is infinity, as in Python */
	return true;
}

/* Room for 17 digits, the zeros that repr puts around them, sign, point and exponent. */
enum { REPR_BYTES = 32 };

/* Digits and the place of the point as Python's repr lays them out. */
static void put_repr(struct buf *out, bool negative, uint64_t mantissa, int exp10)
{
	char digits[20], text[REPR_BYTES];
	int n = 0, at = 0, first = (int)sizeof(digits);

	for (; mantissa; mantissa /= 10)
		digits[--first] = (char)('0' + mantissa % 10);
	const char *d = digits + first;
	n = (int)sizeof(digits) - first;
	int point = n + exp10; /* digits before the point */
	if (negative)
		text[at++] = '-';
	bool plain = point > -4 && point <= 16;
	int whole = plain ? point : 1;
	if (whole <= 0)
		text[at++] = '0';
	for (int i = 0; i < whole; i++)
		text[at++] = i < n ? d[i] : '0';
	if (plain || n > 1)
		text[at++] = '.';
	if (plain && whole >= n)
		text[at++] = '0';
	for (int i = whole; i < n; i++)
		text[at++] = i < 0 ? '0' : d[i];
	buf_put(out, text, (size_t)at);
	if (!plain)
		buf_fmt(out, "e%c%02d", point > 0 ? '+' : '-', abs(point - 1));
}

/* Tries 15, 16 and 17 digits, which is enough for any double; fewer where it has fewer bits than usual. Slower than
 * below. */
static uint64_t shortest_by_trying(double value, int *exp10)
{
	uint64_t mantissa = 0;

	for (int precision = value < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
		char text[40];
		mantissa = 0;
		snprintf(text, sizeof(text), "%.*e", precision - 1, value);
		const char *p = text;
		for (; *p != 'e'; p++) /* the locale's point, whatever it is, is no digit */
			if (json_is_digit(*p))
				mantissa = mantissa * 10 + (unsigned)(*p - '0');
		*exp10 = (int)strtol(p + 1, NULL, 10) - (precision - 1);
		if (scale(mantissa, *exp10) == value)
			break;
		/* Above a power of two the doubles lie wider than below: the next decimal up can be near enough where
		 * the nearest one, below, is not. */
		if (scale(mantissa + 1, *exp10) == value) {
			mantissa++;
			break;
		}
	}
	for (; mantissa % 10 == 0; ++*exp10)
		mantissa /= 10;
	return mantissa;
}

/* The bounds between which all decimals read as the same double, and the double, all times 10^s and cut to integers. */
struct bounds {
	uint64_t low, value, high;
	bool low_exact, value_exact, high_exact; /* nothing was cut, digits removed since then included */
};

/* Takes off the last digit of all three and returns that of the value. */
static unsigned remove_digit(struct bounds *b, unsigned last)
{
	b->low_exact &= b->low % 10 == 0;
	b->value_exact &= last == 0;
	last = (unsigned)(b->value % 10);
	b->low /= 10;
	b->value /= 10;
	b->high /= 10;
	return last;
}

/* Ryu's search: `even` bounds read as the double themselves. */
static uint64_t shortest_between(struct bounds *b, bool even, int *exp10)
{
	unsigned last = 0;

	b->high -= !even && b->high_exact;
	for (; b->high / 10 > b->low / 10; ++*exp10)
		last = remove_digit(b, last);
	if (b->low_exact && even)
		for (; b->low % 10 == 0; ++*exp10)
			last = remove_digit(b, last);
	if (b->value_exact && last == 5 && b->value % 2 == 0)
		last = 4; /* half-way: to the even digit */
	bool below = b->value == b->low && !(even && b->low_exact);
	return b->value + (below || last >= 5);
}

/* five * c / 2^shift cut to an integer, which must fit; shift is 0 to 127. The product has up to 192 bits. */
static uint64_t multiply_shift(u128 five, uint64_t c, int shift, bool *exact)
{
	u128 product = (u128)(uint64_t)five * c;
	uint64_t low = (uint64_t)product;
	u128 high = (five >> 64) * c + (product >> 64);

	if (shift >= 64) {
		*exact = low == 0 && (high & (((u128)1 << (shift - 64)) - 1)) == 0;
		return (uint64_t)(high >> (shift - 64));
	}
	*exact = (low & ((UINT64_C(1) << shift) - 1)) == 0;
	return (uint64_t)(high << (64 - shift)) | low >> shift;
}

/* c * 2^exp2 * 5^s cut to an integer. */
static uint64_t bound(uint64_t c, int exp2, int s, bool *exact)
{
	if (s < 0) {
		u128 dividend = (u128)c << exp2;
		u128 quotient = dividend / FIVES[-s];
		*exact = quotient * FIVES[-s] == dividend;
		return (uint64_t)quotient;
	}
	if (exp2 > 0) {
		*exact = true;
		return c * FIVES[s] << exp2;
	}
	const int most = FIVES__MAX - 1;
	u128 five = s <= most ? FIVES[s] : (u128)FIVES[most] * FIVES[s - most];
	return multiply_shift(five, c, -exp2, exact);
}

/* The shortest digits of a finite value > 0; the value they stand for is the result * 10^*exp10. */
static uint64_t shortest(double value, int *exp10)
{
	struct bounds b;
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	int e = (int)(bits >> 52) - 1023; /* 2^e <= value < 2^(e+1) */
	if (e < -122 || e > 127)
		return shortest_by_trying(value, exp10);
	uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
	uint64_t c = 4 * (fraction | UINT64_C(1) << 52); /* value = c * 2^(e-54), the neighbours are 4 away */

	/* s brings the value to 18 or 19 digits: room between the bounds for ten and more integers, so that at least
	 * one digit is removed, and all within 64 bits. It is 17 - floor(e * log10(2)), from -21 to 54; 10^s = 2^s *
	 * 5^s. */
	const int bias = 1024; /* keeps what is shifted positive */
	int s = 17 - (((e * 78913 + (bias << 18)) >> 18) - bias);
	int exp2 = e - 54 + s;
	b.low = bound(c - (fraction ? 2 : 1), exp2, s, &b.low_exact);
	b.value = bound(c, exp2, s, &b.value_exact);
	b.high = bound(c + 2, exp2, s, &b.high_exact);
	*exp10 = -s;
	return shortest_between(&b, fraction % 2 == 0, exp10);
}

void json_put_double(struct buf *out, double value)
{
	bool negative = signbit(value);
	double magnitude = fabs(value);
	int exp10;

	if (!isfinite(value)) {
		buf_str(out, STR("null"));
		return;
	}
	if (magnitude < 1e15 && magnitude == (double)(int64_t)magnitude) {
		if (negative)
			buf_char(out, '-');
		buf_u64(out, (uint64_t)magnitude);
		buf_str(out, STR(".0"));
		return;
	}
	uint64_t mantissa = shortest(magnitude, &exp10);
	put_repr(out, negative, mantissa, exp10);
}
