/* Time: monotonic for measuring, wall time as microseconds since 1970 UTC for telling. */
#ifndef APPCORE_BASE_CLOCK_H
#define APPCORE_BASE_CLOCK_H

#include "base/str.h"

enum { CLOCK_ISO_BYTES = 33 }; /* "2026-11-20T23:07:30.046031+00:00" and NUL */
enum { CLOCK_LOG_BYTES = 24 }; /* "2026-11-20 23:07:47,552" and NUL */

uint64_t clock_mono_ns(void);

static inline uint64_t clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000u;
}

/* Microseconds since 1970-01-01 UTC. */
int64_t clock_wall_us(void);

/* ISO 8601 in UTC with microseconds and "+00:00": always 32 characters, so text order is time order. Times outside the
 * years 0000 to 9999 are told as the nearest end. */
void clock_format_iso(int64_t wall_us, char out[static CLOCK_ISO_BYTES]) __attribute__((nonnull));

/* "YYYY-MM-DD HH:MM:SS,mmm" in UTC, the form of Python's logging. */
void clock_format_log(int64_t wall_us, char out[static CLOCK_LOG_BYTES]) __attribute__((nonnull));

/* Reads RFC 3339 (also with a blank for the T, with "Z", an offset, or none, which means UTC; a date alone is its
 * midnight; seconds may be left out; up to 9 digits of a fraction, cut to microseconds; second 60 is the next minute's
 * 0). False when `text` is none, or lies outside the years 0000 to 9999 in UTC; *wall_us is then untouched. */
bool clock_parse_iso(struct str text, int64_t *wall_us) __attribute__((nonnull, warn_unused_result));

/* Reads a duration: digits and one of s, m, h, d ("90s", "24h", "30d"). Seconds. False when `text` is none. */
bool clock_parse_duration(struct str text, int64_t *seconds) __attribute__((nonnull, warn_unused_result));

#endif
