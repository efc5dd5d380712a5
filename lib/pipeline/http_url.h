/* URLs of APIs, where they may lead, and the header that has the next one. */
#ifndef APPCORE_PIPELINE_HTTP_URL_H
#define APPCORE_PIPELINE_HTTP_URL_H

#include "base/buf.h"

#include <sys/socket.h>

/* NULL when it is one that can be fetched: http or https, a host, no user, at most HTTP_URL_BYTES. Otherwise what is
 * wrong with it, as the end of a sentence. */
const char *http_url_check(struct str url) __attribute__((warn_unused_result));

/* `out` (heap or arena; emptied before) becomes what `reference` (RFC 3986) means on the page `base`. False when that
 * is no URL that can be fetched, or there is no memory. */
bool http_url_join(struct str base, struct str reference, struct buf *out) __attribute__((nonnull, warn_unused_result));

/* url = url with the parameter set in its query, in place of one of that name. False: too long, or no memory. */
bool http_url_set(struct buf *url, struct str param, struct str value) __attribute__((nonnull, warn_unused_result));

/* The same scheme, host and port: what credentials are for. */
bool http_url_is_same_origin(struct str a, struct str b) __attribute__((warn_unused_result));

/* Appends it as it may be shown and logged: without query and fragment, which may hold secrets. */
void http_url_put_shown(struct buf *out, struct str url) __attribute__((nonnull));

/* http_address.c: whether an address may be connected to: it is a public one, or in `networks` (SOURCE_NETWORKS). IPv4
 * within IPv6 (mapped, NAT64) counts as what it leads to. */
bool http_address_is_allowed(const struct sockaddr *address, socklen_t n, const char *networks)
	__attribute__((nonnull, warn_unused_result));

/* http_link.c: the target of the first link with rel=next in Link headers (RFC 8288; several headers are joined with
 * commas). Borrows. False: there is none. A header that is none has the links before its fault. */
bool http_link_next(struct str header, struct str *out) __attribute__((nonnull, warn_unused_result));

#endif
