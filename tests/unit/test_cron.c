/* Cron expressions. */
#include "unit.h"

#include "base/clock.h"
#include "base/cron.h"

static int64_t at(const char *iso)
{
	int64_t us = -1;

	CU_ASSERT_TRUE(clock_parse_iso(str_of(iso), &us));
	return us;
}

static void names_the_next_minute(void)
{
	static const struct {
		const char *expression, *after, *next;
	} cases[] = {
		{"* * * * *", "2026-11-21T10:00:00Z", "2026-11-21T10:01:00Z"},
		{"* * * * *", "2026-11-21T10:00:59.999999Z", "2026-11-21T10:01:00Z"},
		{"*/5 * * * *", "2026-11-21T10:02:30Z", "2026-11-21T10:05:00Z"},
		{"*/7 * * * *", "2026-11-21T10:56:00Z", "2026-11-21T11:00:00Z"},
		{"0 0 * * *", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"@daily", "2026-11-21T23:59:59Z", "2026-11-22T00:00:00Z"},
		{"@Midnight", "2026-11-21T23:59:59Z", "2026-11-22T00:00:00Z"},
		{"@hourly", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"},
		{"@weekly", "2026-11-21T10:00:00Z", "2026-11-22T00:00:00Z"}, /* a Saturday */
		{"@monthly", "2026-11-21T10:00:00Z", "2026-12-01T00:00:00Z"},
		{"@yearly", "2026-11-21T10:00:00Z", "2027-01-01T00:00:00Z"},
		{"0,30 8-18/2 * * mon-fri", "2026-11-21T10:00:00Z", "2026-11-23T08:00:00Z"},
		{"0,30 8-18/2 * * mon-fri", "2026-11-23T08:30:00Z", "2026-11-23T10:00:00Z"},
		{"15 3 * JAN,jul Sun", "2026-11-21T10:00:00Z", "2027-01-03T03:15:00Z"},
		{"0 0 29 2 *", "2026-11-21T10:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 31 * *", "2026-11-21T10:00:00Z", "2026-12-31T00:00:00Z"},
		{"0 12 13 * 5", "2026-11-21T10:00:00Z", "2026-11-27T12:00:00Z"},  /* the 13th or a Friday */
		{"0 12 */2 * 5", "2026-11-21T13:00:00Z", "2026-11-27T12:00:00Z"}, /* an odd day and a Friday */
		{"0 0 * * 7", "2026-11-21T10:00:00Z", "2026-11-22T00:00:00Z"},
		{"0 0 * * 5-7", "2026-11-22T10:00:00Z", "2026-11-27T00:00:00Z"},
		{"50/5 * * * *", "2026-11-21T10:51:00Z", "2026-11-21T10:55:00Z"},
		{"  5   4\t* * *  ", "2026-11-21T10:51:00Z", "2026-11-22T04:05:00Z"},
		{"59 23 31 12 *", "1969-06-01T00:00:00Z", "1969-12-31T23:59:00Z"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cron cron;
		const char *wrong = cron_parse(str_of(cases[i].expression), &cron);
		CU_ASSERT_PTR_NULL(wrong);
		if (wrong)
			continue;
		int64_t next = cron_next(&cron, at(cases[i].after));
		if (next != at(cases[i].next))
			CU_FAIL(cases[i].expression);
	}
}

static void refuses_what_is_none(void)
{
	static const char *const wrong[] = {
		"",
		"*",
		"* * * *",
		"* * * * * *",
		"60 * * * *",
		"* 24 * * *",
		"* * 0 * *",
		"* * 32 * *",
		"* * * 13 *",
		"* * * 0 *",
		"* * * * 8",
		"a * * * *",
		"*/0 * * * *",
		"5-3 * * * *",
		", * * * *",
		"1, * * * *",
		"1,,2 * * * *",
		"- * * * *",
		"1- * * * *",
		"-5 * * * *",
		"@never",
		"@",
		"* * 30 2 *",
		"* * 31 feb,apr *",
		"1.5 * * * *",
		"*5 * * * *",
		"* * * janu *",
		"*/ * * * *",
		"1/2/3 * * * *",
	};
	struct cron cron;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (!cron_parse(str_of(wrong[i]), &cron))
			CU_FAIL(wrong[i]);
}

static const struct unit_case CASES[] = {
	{"names the next minute", names_the_next_minute},
	{"refuses what is no expression", refuses_what_is_none},
};

int main(void)
{
	return UNIT_RUN("cron", CASES);
}
