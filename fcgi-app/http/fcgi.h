/* The FastCGI server side: connections that nginx keeps, multiplexed by the event loop, one request at a time on each.
 * The only file that knows libfcgi is fcgi.c. */
#ifndef APPCORE_HTTP_FCGI_H
#define APPCORE_HTTP_FCGI_H

#include "http/loop.h"
#include "http/request.h"

struct fcgi_server;

/* Those that are parked leave the others their room. */
enum { FCGI_CONNECTIONS = 2048 + PARKED_MAX };

/* Starts serving on `listen_fd` (a listening unix socket, as spawn-fcgi gives it on descriptor 0). Initialises libfcgi,
 * which installs signal handlers of its own: set yours afterwards. False when memory is short or the loop takes no
 * more. */
bool fcgi_open(struct fcgi_server **out, struct loop *loop, int listen_fd, struct app *app)
	__attribute__((nonnull, warn_unused_result));

/* Drains: takes in what is already waiting to be accepted, then no more; closes idle connections; each busy one is
 * closed after its response; parked ones end theirs. */
void fcgi_drain(struct fcgi_server *server) __attribute__((nonnull));

/* Connections that are open, and those with a request on the way. */
int fcgi_connections(const struct fcgi_server *server) __attribute__((nonnull));
int fcgi_busy(const struct fcgi_server *server) __attribute__((nonnull));

/* After every round of the loop: sends what was pushed to parked requests; frees closed connections; `now_ms` ends
 * those that have sent half a request for too long. */
void fcgi_sweep(struct fcgi_server *server, uint64_t now_ms) __attribute__((nonnull));

/* Closes everything. */
void fcgi_close(struct fcgi_server *server);

#endif
