/* Failed logins: for each name and address LOGINS_AT_ONCE of them at once and one more each LOGINS_SPACING_MS, one
 * state for all workers, in shared memory. Only failures count: whoever knows the password logs in as often as they
 * like.
 *
 * An attempt is admitted before the password is looked at and settled afterwards. Attempts that are under way are taken
 * for failures meanwhile, so that many at once are no way around the limit; who finds room taken by them alone waits
 * for their outcome. Memory is bounded: under a flood of names those are forgotten first that have failed least. */
#ifndef APPCORE_SHARED_LOGINS_H
#define APPCORE_SHARED_LOGINS_H

#include "shared/limit.h"

enum { LOGINS_AT_ONCE = 4, LOGINS_SPACING_MS = 12000, LOGINS_NAMES = 16384 };

enum logins_answer {
	LOGINS_ADMITTED, /* logins_settle() must follow */
	LOGINS_WAIT,     /* others of this name are under way: ask again */
	LOGINS_REFUSED   /* *retry_ms says when the next would be admitted */
};

/* Who tries, and as whom. `name` is what must be unique of it, or any text. */
struct limit_id logins_id(struct str address, struct str name);

/* `now_ms` is clock_mono_ms(). An attempt that is never settled, because its worker died, is forgotten after a minute.
 * When the name's set can't be locked within 2 ms the attempt is admitted. */
enum logins_answer logins_admit(struct shm *shm, struct limit_id id, uint64_t now_ms, uint64_t *retry_ms)
	__attribute__((nonnull, warn_unused_result));
void logins_settle(struct shm *shm, struct limit_id id, bool failed, uint64_t now_ms) __attribute__((nonnull));

#endif
