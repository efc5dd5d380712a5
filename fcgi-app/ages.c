/* All three are read from files anew each time, not told by whoever writes them: so they are right after a reboot, for
 * a certificate that somebody else renews, and when a backup disappears. */
#include "ages.h"

#include "base/certificate.h"
#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

/* appcore-YYYYMMDDTHHMMSSZ…: the time at which the copy was begun (scripts/backup.sh, lib/task/upkeep.c). */
static bool time_of_backup(const char *name, int64_t *seconds)
{
	static const char PREFIX[] = "appcore-";
	char iso[32];
	int64_t us;

	if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0)
		return false;
	const char *t = name + sizeof(PREFIX) - 1;
	if (strlen(t) < 16 || t[8] != 'T' || t[15] != 'Z')
		return false;
	snprintf(iso, sizeof(iso), "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", t, t + 4, t + 6, t + 9, t + 11, t + 13);
	if (!clock_parse_iso(str_of(iso), &us))
		return false;
	*seconds = us / 1000000;
	return true;
}

static void look_for_backups(const char *folder, int64_t *newest)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int64_t seconds;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (time_of_backup(entry->d_name, &seconds) && seconds > *newest)
			*newest = seconds;
	closedir(dir);
}

static void set(struct app *app, metrics_series series, bool known, int64_t seconds)
{
	if (known)
		metrics_set(app->shm, series, (double)seconds);
	else
		metrics_unset(app->shm, series);
}

void ages_init(struct ages *ages, struct app *app)
{
	ages->backup = metrics_find(app->shm, METRICS_BACKUP, NULL, 0);
	ages->certificate = metrics_find(app->shm, METRICS_CERTIFICATE, NULL, 0);
	ages->health = metrics_find(app->shm, METRICS_HEALTH_CHECK, NULL, 0);
}

void ages_measure(const struct ages *ages, struct app *app)
{
	const struct config *config = app->config;
	char path[4096];
	struct stat checked;
	int64_t seconds = 0, newest = 0;

	if (*config->backup_dir)
		look_for_backups(config->backup_dir, &newest);
	snprintf(path, sizeof(path), "%s/backups", config->data_dir); /* those of the task "backup" */
	look_for_backups(path, &newest);
	set(app, ages->backup, newest > 0, newest);

	snprintf(path, sizeof(path), "%s/tls/cert.pem", config->run_dir);
	bool known = certificate_file_end(*config->tls_certificate ? config->tls_certificate : path, &seconds);
	set(app, ages->certificate, known, seconds);

	snprintf(path, sizeof(path), "%s/healthy", config->run_dir);
	known = stat(path, &checked) == 0;
	set(app, ages->health, known, known ? checked.st_mtime : 0);
}
