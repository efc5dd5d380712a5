/* Looks at bytes that wait in a connection's socket, before libfcgi reads them: has a whole request arrived, and is it
 * one that we take? libfcgi reads with blocking calls; it is given a connection only when they can't block. */
#ifndef APPCORE_HTTP_FCGI_SCAN_H
#define APPCORE_HTTP_FCGI_SCAN_H

#include <stddef.h>
#include <stdint.h>

enum fcgi_scan {
	FCGI_SCAN_BAD,     /* no request of a web server: close */
	FCGI_SCAN_PARTIAL, /* more must come before the parameters are complete */
	FCGI_SCAN_HEAD,    /* the parameters are complete, the body is not */
	FCGI_SCAN_WHOLE,   /* parameters and body are complete */
};

/* The first request in `p` (FastCGI 1.0, sections 3.3 to 6.2: BEGIN_REQUEST for a responder, PARAMS, STDIN, all of one
 * request id). */
enum fcgi_scan fcgi_scan(const uint8_t *p, size_t n) __attribute__((nonnull));

#endif
