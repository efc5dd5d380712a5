/* What this process uses. */
#ifndef APPCORE_SELF_H
#define APPCORE_SELF_H

/* 0 when it can't be read. */
double self_resident_bytes(void);
double self_open_fds(void);
double self_cpu_seconds(void);

#endif
