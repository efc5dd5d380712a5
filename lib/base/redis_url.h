/* Where Redis is: REDIS_URL in parts. The password stays in here and in the connection: no message of ours holds it. */
#ifndef APPCORE_BASE_REDIS_URL_H
#define APPCORE_BASE_REDIS_URL_H

#include "base/err.h"
#include "base/str.h"

struct redis_url {
	char path[108]; /* of a unix socket; empty: host and port */
	char host[256]; /* name or address, IPv6 without its brackets */
	int port;
	char user[128], password[512]; /* decoded; empty: none */
	int db;
};

/* Reads redis://[[user]:password@]host[:port][/db] or unix://[[user]:password@]/path[?db=n]; user and password may hold
 * %-escapes. STATUS_INVALID: *err says what is wrong, without what was given. */
enum status redis_url_parse(struct str text, struct redis_url *out, struct err *err)
	__attribute__((nonnull(2), warn_unused_result));

#endif
