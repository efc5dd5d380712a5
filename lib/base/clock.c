/* Clocks, and dates as text. The calendar arithmetic is Howard Hinnant's "chrono-compatible low-level date algorithms"
 * (days_from_civil and back): no locale, no time zone files, no locks of the C library. */
#include "base/clock.h"

#include <time.h>

static const int64_t US_PER_SECOND = 1000000;
static const int64_t SECONDS_PER_DAY = 86400;

/* What four digits of a year can tell: 0000-01-01 to the end of 9999. */
static const int64_t FIRST_US = INT64_C(-62167219200000000);
static const int64_t LAST_US = INT64_C(253402300799999999);

uint64_t clock_mono_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t clock_wall_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * US_PER_SECOND + t.tv_nsec / 1000;
}

struct date {
	int64_t year;
	unsigned month, day;
};

static int64_t days_from_civil(struct date d)
{
	int64_t y = d.year - (d.month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * (int64_t)(d.month + (d.month > 2 ? -3u : 9u)) + 2) / 5 + (int64_t)d.day - 1;
	int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + doe - 719468;
}

static struct date civil_from_days(int64_t days)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	unsigned day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
	unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
	return (struct date){yoe + era * 400 + (month <= 2), month, day};
}

static char *put_digits(char *at, int64_t value, int width)
{
	for (int i = width - 1; i >= 0; i--) {
		at[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return at + width;
}

/* "YYYY-MM-DD?HH:MM:SS" with `sep` between; returns the end and the microseconds left over. */
static char *put_seconds(char *at, int64_t wall_us, char sep, int64_t *us)
{
	if (wall_us < FIRST_US)
		wall_us = FIRST_US;
	if (wall_us > LAST_US)
		wall_us = LAST_US;
	int64_t seconds = wall_us / US_PER_SECOND;
	*us = wall_us % US_PER_SECOND;
	if (*us < 0) {
		*us += US_PER_SECOND;
		seconds--;
	}
	int64_t days = seconds / SECONDS_PER_DAY;
	int64_t rest = seconds % SECONDS_PER_DAY;
	if (rest < 0) {
		rest += SECONDS_PER_DAY;
		days--;
	}
	struct date d = civil_from_days(days);
	at = put_digits(at, d.year, 4);
	*at++ = '-';
	at = put_digits(at, d.month, 2);
	*at++ = '-';
	at = put_digits(at, d.day, 2);
	*at++ = sep;
	at = put_digits(at, rest / 3600, 2);
	*at++ = ':';
	at = put_digits(at, rest / 60 % 60, 2);
	*at++ = ':';
	return put_digits(at, rest % 60, 2);
}

void clock_format_iso(int64_t wall_us, char out[static CLOCK_ISO_BYTES])
{
	int64_t us;
	char *at = put_seconds(out, wall_us, 'T', &us);

	*at++ = '.';
	at = put_digits(at, us, 6);
	memcpy(at, "+00:00", 7);
}

void clock_format_log(int64_t wall_us, char out[static CLOCK_LOG_BYTES])
{
	int64_t us;
	char *at = put_seconds(out, wall_us, ' ', &us);

	*at++ = ',';
	at = put_digits(at, us / 1000, 3);
	*at = '\0';
}

/* Takes `width` digits off the front of *s. */
static bool take_digits(struct str *s, size_t width, int64_t *out)
{
	uint64_t value;

	if (s->n < width || !str_to_u64((struct str){s->p, width}, UINT64_MAX, &value))
		return false;
	s->p += width;
	s->n -= width;
	*out = (int64_t)value;
	return true;
}

static bool take_char(struct str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	s->p++;
	s->n--;
	return true;
}

static bool parse_date(struct str *s, int64_t *days)
{
	static const unsigned char LENGTH[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t y, m, d;

	if (!take_digits(s, 4, &y) || !take_char(s, '-') || !take_digits(s, 2, &m) || !take_char(s, '-') ||
	    !take_digits(s, 2, &d) || m < 1 || m > 12 || d < 1)
		return false;
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	if (d > LENGTH[m - 1] + (m == 2 && leap))
		return false;
	*days = days_from_civil((struct date){y, (unsigned)m, (unsigned)d});
	return true;
}

/* A fraction of a second after '.', in microseconds; digits past the sixth are dropped. */
static bool parse_fraction(struct str *s, int64_t *us)
{
	size_t digits = 0;

	*us = 0;
	for (; s->n > 0 && s->p[0] >= '0' && s->p[0] <= '9'; s->p++, s->n--, digits++)
		if (digits < 6)
			*us = *us * 10 + (s->p[0] - '0');
	for (size_t i = digits; i < 6; i++)
		*us *= 10;
	return digits >= 1 && digits <= 9;
}

/* "Z", "+hh:mm", "-hh:mm" or nothing, as seconds east of UTC. */
static bool parse_offset(struct str *s, int64_t *offset)
{
	int64_t h, m;

	*offset = 0;
	if (s->n == 0 || take_char(s, 'Z') || take_char(s, 'z'))
		return true;
	int sign = s->p[0] == '-' ? -1 : 1;
	if (!take_char(s, '+') && !take_char(s, '-'))
		return false;
	if (!take_digits(s, 2, &h) || !take_char(s, ':') || !take_digits(s, 2, &m) || h > 23 || m > 59)
		return false;
	*offset = sign * (h * 3600 + m * 60);
	return true;
}

bool clock_parse_iso(struct str text, int64_t *wall_us)
{
	struct str s = text;
	int64_t days, h = 0, m = 0, sec = 0, us = 0, offset = 0;

	if (!parse_date(&s, &days))
		return false;
	if (s.n > 0) {
		if (!take_char(&s, 'T') && !take_char(&s, 't') && !take_char(&s, ' '))
			return false;
		if (!take_digits(&s, 2, &h) || !take_char(&s, ':') || !take_digits(&s, 2, &m))
			return false;
		if (take_char(&s, ':')) {
			if (!take_digits(&s, 2, &sec))
				return false;
			if (take_char(&s, '.') && !parse_fraction(&s, &us))
				return false;
		}
		if (!parse_offset(&s, &offset))
			return false;
	}
	if (s.n > 0 || h > 23 || m > 59 || sec > 60)
		return false;
	int64_t at = (days * SECONDS_PER_DAY + h * 3600 + m * 60 + sec - offset) * US_PER_SECOND + us;
	if (at < FIRST_US || at > LAST_US)
		return false; /* the offset leads out of the years that can be written */
	*wall_us = at;
	return true;
}

bool clock_parse_duration(struct str text, int64_t *seconds)
{
	static const struct {
		char unit;
		int64_t seconds;
	} UNITS[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	uint64_t count;

	if (text.n < 2 || !str_to_u64((struct str){text.p, text.n - 1}, 1000000000u, &count))
		return false;
	for (size_t i = 0; i < sizeof(UNITS) / sizeof(UNITS[0]); i++) {
		if (text.p[text.n - 1] == UNITS[i].unit) {
			*seconds = (int64_t)count * UNITS[i].seconds;
			return true;
		}
	}
	return false;
}
