/* What grows old outside of the workers: the newest backup, nginx's certificate, the last good health check. */
#ifndef APPCORE_AGES_H
#define APPCORE_AGES_H

#include "app.h"

struct ages {
	metrics_series backup, certificate, health;
};

/* Finds the gauges. */
void ages_init(struct ages *ages, struct app *app) __attribute__((nonnull));

/* Looks at the folders and files and sets the gauges; those of what is not there are gone. Reads a folder and a small
 * file: for every few seconds, not for every request. */
void ages_measure(const struct ages *ages, struct app *app) __attribute__((nonnull));

#endif
