/* The weeks that table predictions is cut into on PostgreSQL: by time, which the key begins with. */
#ifndef APPCORE_STORE_PREDICTIONS_WEEKS_H
#define APPCORE_STORE_PREDICTIONS_WEEKS_H

#include <stdint.h>
#include <stdio.h>

enum { PREDICTIONS_WEEKS_AHEAD = 4, PREDICTIONS_LOCK_KEY = 0x61707032 /* of who makes weeks */ };
static const int64_t PREDICTIONS_WEEK_MS = INT64_C(7) * 24 * 60 * 60 * 1000;

/* Whoever waits for this lock holds everybody else up, so it does not wait for long: there are weeks to try again in.
 * It comes before the first look at the rows, or those that others store meanwhile would be missed. */
#define PREDICTIONS_LOCK_ALL "SET LOCAL lock_timeout = '200ms'; LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE; "

/* The smallest identifier of that time: 48 bits of milliseconds come first in a UUIDv7 (RFC 9562). */
static inline void predictions_format_bound(int64_t ms, char out[static 16])
{
	snprintf(out, 16, "%08x-%04x", (unsigned)((uint64_t)ms >> 16 & 0xffffffff), (unsigned)((uint64_t)ms & 0xffff));
}

static inline void predictions_format_week(int64_t week, char out[static 40])
{
	snprintf(out, 40, "predictions_w%lld", (long long)week);
}

#endif
