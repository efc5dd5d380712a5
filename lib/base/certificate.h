/* When a certificate ends: the one thing that has to be known of a file that nginx reads. */
#ifndef APPCORE_BASE_CERTIFICATE_H
#define APPCORE_BASE_CERTIFICATE_H

#include "base/str.h"

/* *seconds, as Unix time, at which the first certificate in `pem` (RFC 7468) is no longer valid: notAfter, RFC 5280,
 * 4.1.2.5. False when there is none that can be read; nothing else about it is checked. */
bool certificate_end(struct str pem, int64_t *seconds) __attribute__((nonnull, warn_unused_result));

/* The same of a file of at most 256 KiB. */
bool certificate_file_end(const char *path, int64_t *seconds) __attribute__((nonnull, warn_unused_result));

#endif
