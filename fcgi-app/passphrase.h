/* Passwords for subcommands: from a terminal without echo, a file, or standard input. Never from the command line,
 * which everybody on the machine can read. */
#ifndef APPCORE_PASSPHRASE_H
#define APPCORE_PASSPHRASE_H

#include "auth/password.h"

/* One line into `out` (NUL-terminated, without its end of line; wipe it): of the file `path` ("-": standard input), or,
 * when that is NULL, of the terminal, asked for twice, or of standard input where that is none. False after saying why;
 * *code is the exit code then. */
bool passphrase_read(const char *path, char out[static PASSWORD_MAX + 1], int *code)
	__attribute__((nonnull(2, 3), warn_unused_result));

#endif
