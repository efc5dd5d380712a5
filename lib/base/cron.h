/* When something is due again: crontab's five fields (minute, hour, day of the month, month, day of the week) with
 * lists, ranges, steps and names ("0,30 8-18/2 * * mon-fri"), or one of @hourly, @daily, @midnight, @weekly, @monthly,
 * @yearly, @annually. In UTC. As in crontab(5), when both days are restricted either will do. */
#ifndef APPCORE_BASE_CRON_H
#define APPCORE_BASE_CRON_H

#include "base/str.h"

struct cron {
	uint64_t minutes;          /* bits 0 to 59 */
	uint32_t hours;            /* bits 0 to 23 */
	uint32_t days;             /* bits 1 to 31 */
	uint16_t months;           /* bits 1 to 12 */
	uint8_t weekdays;          /* bits 0 to 6, from Sunday */
	bool any_day, any_weekday; /* the field begins with '*' */
};

/* NULL, or what is wrong with `text`, as the end of a sentence: "has no such month". */
const char *cron_parse(struct str text, struct cron *out) __attribute__((nonnull, warn_unused_result));

/* The first minute after `after_us` (microseconds since 1970 UTC) that the expression names; 0: there is none in the
 * next eight years (30 February). */
int64_t cron_next(const struct cron *cron, int64_t after_us) __attribute__((nonnull));

#endif
