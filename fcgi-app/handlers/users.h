/* A user as answers show one. */
#ifndef APPCORE_HANDLERS_USERS_H
#define APPCORE_HANDLERS_USERS_H

#include "base/buf.h"
#include "store/users.h"

/* {"id":…,"email":…,"username":…,"is_active":…,"is_superuser":…,"created_at":…,"updated_at":…}; never the password's
 * hash. */
void users_put(struct buf *out, const struct user_row *row) __attribute__((nonnull));

#endif
