/* The name is given with renameat2(RENAME_NOREPLACE): a file system may have no links (vfat, some network ones). */
#include "store/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum status new_file_make(const char *path, char temp[static PATH_MAX], struct err *err)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return err_set(err, STATUS_CONFLICT, "%.200s is there already", path);
	if (snprintf(temp, PATH_MAX, "%s.part-XXXXXX", path) >= PATH_MAX)
		return err_set(err, STATUS_INVALID, "the path of the copy is too long");
	int fd = mkstemp(temp); /* 0600 */
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "%.150s can't be made: %s", path, strerror(errno));
	close(fd);
	return STATUS_OK;
}

static bool sync_opened(const char *path, int flags)
{
	int fd = open(path, flags | O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	bool ok = fsync(fd) == 0;
	int error = errno;
	close(fd);
	errno = error;
	return ok;
}

bool new_file_sync_dir(const char *path)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s", path);
	return sync_opened(dirname(name), O_DIRECTORY);
}

/* Gives `temp` the name `path` unless something has it. */
static bool name_new(const char *temp, const char *path)
{
	if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return true;
	if (errno != EINVAL && errno != ENOSYS)
		return false;
	/* A file system without that flag: a link never replaces either. */
	return link(temp, path) == 0 && unlink(temp) == 0;
}

enum status new_file_keep(const char *temp, const char *path, struct err *err)
{
	enum status status = STATUS_OK;

	if (!sync_opened(temp, 0))
		status = err_set(err, STATUS_UNAVAILABLE, "%.150s can't be synced: %s", path, strerror(errno));
	else if (!name_new(temp, path))
		status = errno == EEXIST
				 ? err_set(err, STATUS_CONFLICT, "%.200s is there already", path)
				 : err_set(err, STATUS_UNAVAILABLE, "%.150s can't be made: %s", path, strerror(errno));
	if (status != STATUS_OK) {
		unlink(temp);
		return status;
	}
	if (!new_file_sync_dir(path))
		return err_set(err, STATUS_UNAVAILABLE, "the directory of %.150s can't be synced: %s", path,
			       strerror(errno));
	return STATUS_OK;
}
