/* Tells systemd how the service is (sd_notify(3)): one datagram to $NOTIFY_SOCKET. Without that variable it does
 * nothing. */
#ifndef APPCORE_NOTIFY_H
#define APPCORE_NOTIFY_H

/* `state`: "READY=1", "STOPPING=1", "WATCHDOG=1". */
void notify_send(const char *state);

#endif
