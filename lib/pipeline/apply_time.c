/* Times of cells. Formats are those of strptime, read here: the C library's knows the locale, the process's zone and
 * no fractions. */
#include "pipeline/apply_impl.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"

static const int64_t SECOND_US = 1000000;
static const int64_t MINUTE_US = INT64_C(60) * SECOND_US;
static const int64_t DAY_US = INT64_C(1440) * MINUTE_US;
/* The years 0001 to 9999. */
static const int64_t FIRST_US = -62135596800 * SECOND_US;
static const int64_t LAST_US = 253402300800 * SECOND_US - 1;

struct civil {
	int64_t year, month, day, hour, minute, second, us, zone, day_of_year;
	int half; /* 0: not said, 1: AM, 2: PM */
	bool has_zone;
};

static const char *const MONTHS[] = {"january", "february", "march",     "april",   "may",      "june",
				     "july",    "august",   "september", "october", "november", "december"};
static const char *const DAYS[] = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Days since 1970-01-01 (Howard Hinnant: "chrono-Compatible Low-Level Date Algorithms"). */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	year -= month <= 2;
	int64_t era = year / 400;
	int64_t of_era = year - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t days_in(int64_t year, int64_t month)
{
	static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && leap);
}

static bool civil_to_us(const struct civil *c, int64_t zone, int64_t *us)
{
	int64_t hour = c->hour, days;

	if (c->half && (hour < 1 || hour > 12))
		return false;
	if (c->half)
		hour = hour % 12 + (c->half == 2 ? 12 : 0);
	if (c->year < 1 || c->month < 1 || c->month > 12 || c->day < 1 || c->day > days_in(c->year, c->month) ||
	    hour > 23 || c->minute > 59 || c->second > 60)
		return false;
	days = days_of(c->year, c->month, c->day);
	if (c->day_of_year > 0) {
		days = days_of(c->year, 1, 1) + c->day_of_year - 1;
		if (days >= days_of(c->year + 1, 1, 1))
			return false;
	}
	*us = days * DAY_US + ((hour * 60 + c->minute) * 60 + c->second) * SECOND_US + c->us -
	      (c->has_zone ? c->zone : zone) * MINUTE_US;
	return *us >= FIRST_US && *us <= LAST_US;
}

/* From `least` to `most` digits. */
static bool take(struct str *s, size_t least, size_t most, int64_t *out)
{
	size_t n = 0;

	*out = 0;
	while (n < most && n < s->n && is_digit(s->p[n]))
		*out = *out * 10 + (s->p[n++] - '0');
	s->p += n;
	s->n -= n;
	return n >= least;
}

/* One of the names, whole or (`brief`) its first three letters. */
static bool take_name(struct str *s, const char *const *names, int n, int64_t *out)
{
	for (int whole = 1; whole >= 0; whole--)
		for (int i = 0; i < n; i++) {
			size_t length = whole ? strlen(names[i]) : 3;
			if (s->n < length || !str_eq_nocase((struct str){s->p, length}, (struct str){names[i], length}))
				continue;
			s->p += length;
			s->n -= length;
			*out = i;
			return true;
		}
	return false;
}

static bool take_half(struct str *s, int *out)
{
	if (s->n < 2 || (s->p[1] | 0x20) != 'm' || ((s->p[0] | 0x20) != 'a' && (s->p[0] | 0x20) != 'p'))
		return false;
	*out = (s->p[0] | 0x20) == 'a' ? 1 : 2;
	s->p += 2;
	s->n -= 2;
	return true;
}

/* Z, +02, +0200, +02:00. */
static bool take_zone(struct str *s, struct civil *c)
{
	int64_t hours, minutes = 0;

	if (s->n == 0)
		return false;
	char sign = *s->p++;
	s->n--;
	c->has_zone = true;
	if (sign == 'Z' || sign == 'z')
		return true;
	if ((sign != '+' && sign != '-') || !take(s, 2, 2, &hours) || hours > 23)
		return false;
	if (s->n > 0 && *s->p == ':') {
		s->p++;
		s->n--;
		if (!take(s, 2, 2, &minutes))
			return false;
	} else if (s->n > 0 && is_digit(*s->p) && !take(s, 2, 2, &minutes)) {
		return false;
	}
	c->zone = (hours * 60 + minutes) * (sign == '-' ? -1 : 1);
	return minutes <= 59;
}

static bool take_fraction(struct str *s, int64_t *us)
{
	size_t before = s->n;

	if (!take(s, 1, 6, us))
		return false;
	for (size_t n = before - s->n; n < 6; n++)
		*us *= 10;
	while (s->n > 0 && is_digit(*s->p)) { /* finer than a microsecond: cut */
		s->p++;
		s->n--;
	}
	return true;
}

static const char LETTERS[] = "YymdeHIMSfpbBhaAjz";

static bool take_directive(struct str *s, char letter, struct civil *c)
{
	int64_t value = 0;
	bool good;

	switch (letter) {
	case 'Y':
		return take(s, 4, 4, &c->year);
	case 'y':
		good = take(s, 2, 2, &c->year);
		c->year += c->year < 69 ? 2000 : 1900; /* as POSIX has it */
		return good;
	case 'm':
		return take(s, 1, 2, &c->month);
	case 'd':
	case 'e':
		return take(s, 1, 2, &c->day);
	case 'H':
	case 'I':
		return take(s, 1, 2, &c->hour);
	case 'M':
		return take(s, 1, 2, &c->minute);
	case 'S':
		return take(s, 1, 2, &c->second);
	case 'f':
		return take_fraction(s, &c->us);
	case 'p':
		return take_half(s, &c->half);
	case 'b':
	case 'B':
	case 'h':
		good = take_name(s, MONTHS, 12, &value);
		c->month = value + 1;
		return good;
	case 'a':
	case 'A':
		return take_name(s, DAYS, 7, &value);
	case 'j':
		return take(s, 1, 3, &c->day_of_year) && c->day_of_year > 0;
	case 'z':
		return take_zone(s, c);
	default:
		return false;
	}
}

static bool read_format(struct str s, struct str format, int64_t zone, int64_t *us)
{
	struct civil c = {.year = 1970, .month = 1, .day = 1};

	for (size_t i = 0; i < format.n; i++) {
		char f = format.p[i];
		if (is_blank(f)) {
			while (s.n > 0 && is_blank(*s.p)) {
				s.p++;
				s.n--;
			}
			continue;
		}
		if (f == '%' && i + 1 < format.n && format.p[i + 1] != '%') {
			if (!take_directive(&s, format.p[++i], &c))
				return false;
			continue;
		}
		i += f == '%';
		if (s.n == 0 || *s.p != f)
			return false;
		s.p++;
		s.n--;
	}
	return s.n == 0 && civil_to_us(&c, zone, us);
}

static bool read_epoch(struct str text, double scale, int64_t *us)
{
	struct pipeline_value value;

	if (!number_read(text, &value))
		return false;
	double micros = value.number * scale;
	if (!(micros >= (double)FIRST_US && micros <= (double)LAST_US))
		return false;
	*us = (int64_t)floor(value.number) * (int64_t)scale + llround((value.number - floor(value.number)) * scale);
	return *us >= FIRST_US && *us <= LAST_US;
}

/* "2026-11-21T10:00:00", with a blank for the T, with Z or nothing behind: most are of this form. */
static bool read_plain(struct str s, int64_t zone, int64_t *us)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	struct civil c = {0};
	int64_t *const parts[] = {&c.year, &c.month, &c.day, &c.hour, &c.minute, &c.second};
	size_t part = 0, n = sizeof(form) - 1;

	if (s.n < n || s.n > n + 1 || (s.n == n + 1 && s.p[n] != 'Z'))
		return false;
	for (size_t i = 0; i < n; i++) {
		char c_at = s.p[i];
		if (form[i] == 'd') {
			if (!is_digit(c_at))
				return false;
			*parts[part] = *parts[part] * 10 + (c_at - '0');
		} else {
			if (c_at != form[i] && !(form[i] == 'T' && c_at == ' '))
				return false;
			part++;
		}
	}
	c.has_zone = s.n > n;
	return civil_to_us(&c, zone, us);
}

bool time_read_iso(struct str text, int64_t zone, int64_t *us)
{
	bool has_zone = false;

	if (read_plain(text, zone, us))
		return true;
	text = str_trim(text);
	if (!clock_parse_iso(text, us))
		return false;
	for (size_t i = 11; i < text.n && !has_zone; i++)
		has_zone = text.p[i] == 'Z' || text.p[i] == 'z' || text.p[i] == '+' || text.p[i] == '-';
	if (!has_zone)
		*us -= zone * MINUTE_US;
	return *us >= FIRST_US && *us <= LAST_US;
}

bool time_read(struct str text, struct str format, int64_t zone, int64_t *us)
{
	if (str_eq(format, STR("iso")))
		return time_read_iso(text, zone, us);
	if (str_eq(format, STR("epoch")))
		return read_epoch(text, 1e6, us);
	if (str_eq(format, STR("epoch_ms")))
		return read_epoch(text, 1e3, us);
	if (str_eq(format, STR("epoch_us")))
		return read_epoch(text, 1, us);
	return read_format(str_trim(text), format, zone, us);
}

bool time_format_check(struct str format, char why[static 120])
{
	bool year = false, month = false, day = false, of_year = false;

	if (str_eq(format, STR("iso")) || str_eq(format, STR("epoch")) || str_eq(format, STR("epoch_ms")) ||
	    str_eq(format, STR("epoch_us")))
		return true;
	for (size_t i = 0; i < format.n; i++) {
		if (format.p[i] != '%')
			continue;
		char letter = ++i < format.n ? format.p[i] : '\0';
		if (letter == '\0' || (letter != '%' && !strchr(LETTERS, letter))) {
			snprintf(why, 120, "%%%c is no directive; there are %%%s",
				 letter >= ' ' && letter < 0x7f ? letter : '?',
				 "Y %y %m %d %e %H %I %M %S %f %p %b %B %a %A %j %z and %");
			return false;
		}
		year |= letter == 'Y' || letter == 'y';
		month |= letter == 'm' || letter == 'b' || letter == 'B' || letter == 'h';
		day |= letter == 'd' || letter == 'e';
		of_year |= letter == 'j';
	}
	if (year && (of_year || (month && day)))
		return true;
	snprintf(why, 120,
		 "should have a year, a month and a day (%%Y, %%m, %%d), or be iso, epoch, epoch_ms or epoch_us");
	return false;
}

struct str time_text(int64_t us, bool date, struct arena *arena)
{
	char *text = arena_alloc(arena, CLOCK_ISO_BYTES);

	if (!text)
		return (struct str){0};
	clock_format_iso(us, text);
	return (struct str){text, date ? 10 : CLOCK_ISO_BYTES - 1};
}
