/* Cron expressions as sets of bits. */
#include "base/cron.h"

enum { MINUTES_PER_DAY = 24 * 60, DAYS_AHEAD = 8 * 366 };

static const int64_t US_PER_MINUTE = 60 * INT64_C(1000000);

static const char *const MONTHS[] = {"jan", "feb", "mar", "apr", "may", "jun",
				     "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const WEEKDAYS[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct {
	const char *name;
	const char *fields;
} NICKNAMES[] = {
	{"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},
};

/* One of the five: its numbers, and names for them from the lowest on. */
struct field {
	unsigned low, high;
	const char *const *names;
	unsigned names_n;
	const char *wrong;
};

static const struct field FIELDS[] = {
	{0, 59, NULL, 0, "has a minute that is none"},
	{0, 23, NULL, 0, "has an hour that is none"},
	{1, 31, NULL, 0, "has a day of the month that is none"},
	{1, 12, MONTHS, 12, "has a month that is none"},
	{0, 7, WEEKDAYS, 7, "has a day of the week that is none"}, /* 7 is Sunday, too */
};

static bool read_value(const struct field *field, struct str text, unsigned *out)
{
	uint64_t number;

	for (unsigned i = 0; i < field->names_n; i++) {
		if (!str_eq_nocase(text, str_of(field->names[i])))
			continue;
		*out = field->low + i;
		return true;
	}
	if (!str_to_u64(text, field->high, &number) || number < field->low)
		return false;
	*out = (unsigned)number;
	return true;
}

/* "*", "5", "1-5", and any of them with "/2" behind it; "5/2" begins with 5. */
static bool read_item(const struct field *field, struct str text, uint64_t *bits)
{
	bool stepped = text.n > 0 && memchr(text.p, '/', text.n);
	struct str step_text = text;
	struct str range = str_cut(&step_text, '/');
	struct str end = range;
	struct str begin = str_cut(&end, '-');
	unsigned from = field->low, to = field->high;
	uint64_t step = 1;

	if (stepped && (!str_to_u64(step_text, field->high, &step) || step == 0))
		return false;
	if (!str_eq(range, STR("*"))) {
		if (!read_value(field, begin, &from))
			return false;
		if (!end.p && !stepped)
			to = from;
		if (end.p && !read_value(field, end, &to))
			return false;
	}
	if (from > to)
		return false;
	for (uint64_t i = from; i <= to; i += step)
		*bits |= UINT64_C(1) << i;
	return true;
}

static bool read_field(const struct field *field, struct str text, uint64_t *bits)
{
	*bits = 0;
	if (text.n == 0)
		return false;
	while (text.p)
		if (!read_item(field, str_cut(&text, ','), bits))
			return false;
	return true;
}

static struct str next_word(struct str *rest)
{
	*rest = str_trim(*rest);
	size_t n = 0;

	while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
		n++;
	struct str word = {rest->p, n};
	rest->p += n;
	rest->n -= n;
	return word;
}

const char *cron_parse(struct str text, struct cron *out)
{
	uint64_t bits[5];
	struct str words[5];

	text = str_trim(text);
	for (size_t i = 0; i < sizeof(NICKNAMES) / sizeof(NICKNAMES[0]); i++)
		if (str_eq_nocase(text, str_of(NICKNAMES[i].name)))
			text = str_of(NICKNAMES[i].fields);
	if (text.n > 0 && text.p[0] == '@')
		return "begins with @ and is none of @hourly, @daily, @weekly, @monthly, @yearly";
	for (int i = 0; i < 5; i++) {
		words[i] = next_word(&text);
		if (words[i].n == 0)
			return "has less than five fields (minute, hour, day, month, day of the week)";
	}
	if (str_trim(text).n > 0)
		return "has more than five fields (minute, hour, day, month, day of the week)";
	for (int i = 0; i < 5; i++)
		if (!read_field(&FIELDS[i], words[i], &bits[i]))
			return FIELDS[i].wrong;
	*out = (struct cron){
		.minutes = bits[0],
		.hours = (uint32_t)bits[1],
		.days = (uint32_t)bits[2],
		.months = (uint16_t)bits[3],
		.weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 0x7f),
		.any_day = words[2].p[0] == '*',
		.any_weekday = words[4].p[0] == '*',
	};
	return cron_next(out, 0) == 0 ? "names a day that never comes" : NULL;
}

/* The date of a day since 1970, from Howard Hinnant's "chrono-compatible low-level date algorithms". */
static void civil(int64_t days, unsigned *month, unsigned *day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned of_era = (unsigned)(z - era * 146097);
	unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
	unsigned shifted = (5 * of_year + 2) / 153;

	*day = of_year - (153 * shifted + 2) / 5 + 1;
	*month = shifted < 10 ? shifted + 3 : shifted - 9;
}

static bool is_day(const struct cron *cron, int64_t days)
{
	unsigned month, day;
	unsigned weekday = (unsigned)((days % 7 + 11) % 7); /* 1970-01-01 was a Thursday */

	civil(days, &month, &day);
	if (!(cron->months >> month & 1))
		return false;
	bool by_day = cron->days >> day & 1, by_weekday = cron->weekdays >> weekday & 1;
	return cron->any_day || cron->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

int64_t cron_next(const struct cron *cron, int64_t after_us)
{
	int64_t minute = after_us / US_PER_MINUTE + 1;
	int64_t day = minute / MINUTES_PER_DAY;
	int64_t of_day = minute % MINUTES_PER_DAY;

	for (int i = 0; i <= DAYS_AHEAD; i++, day++, of_day = 0) {
		if (!is_day(cron, day))
			continue;
		for (; of_day < MINUTES_PER_DAY; of_day++)
			if (cron->hours >> (of_day / 60) & 1 && cron->minutes >> (of_day % 60) & 1)
				return (day * MINUTES_PER_DAY + of_day) * US_PER_MINUTE;
	}
	return 0;
}
