/* The names beside a SQLite database and the lock files among them.
 *
 * "<database>-turn" and "<database>-gate" order the writers (db_sqlite_turn.c). "<database>-open" is locked (shared) by
 * every connection of ours, so that a restore knows that it is alone. None is ever removed: a lock on a file that has
 * another's name excludes nobody. */
#include "store/db_sqlite_impl.h"

#include "store/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MODE_FILE = 0640, MODE_DIR = 0750 };

/* mkdir -p, whatever the umask. */
static bool make_dirs(char *path)
{
	for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		bool made = mkdir(path, MODE_DIR) == 0;
		bool ok = made ? chmod(path, MODE_DIR) == 0 : errno == EEXIST;
		if (slash)
			*slash = '/';
		if (!ok || !slash)
			return ok;
	}
}

/* The directory by its real name, then the file; the file too by its real name when it is there. */
static enum status resolve(const char *given, bool make, char out[static SQLITE_PATH_BYTES], struct err *err)
{
	char dir[SQLITE_PATH_BYTES], name[SQLITE_PATH_BYTES], real[PATH_MAX];

	if (realpath(given, real)) {
		if (snprintf(out, SQLITE_PATH_BYTES, "%s", real) >= SQLITE_PATH_BYTES)
			return err_set(err, STATUS_INVALID, "the path of the database is too long");
		return STATUS_OK;
	}
	snprintf(dir, sizeof(dir), "%s", given);
	snprintf(name, sizeof(name), "%s", given);
	char *parent = dirname(dir);
	if (make && !make_dirs(parent))
		return err_set(err, STATUS_UNAVAILABLE, "the directory %.150s can't be made: %s", parent,
			       strerror(errno));
	if (!realpath(parent, real))
		return err_set(err, STATUS_UNAVAILABLE, "the database %.150s can't be opened: %s", given,
			       strerror(errno));
	if (snprintf(out, SQLITE_PATH_BYTES, "%s/%s", strcmp(real, "/") == 0 ? "" : real, basename(name)) >=
	    SQLITE_PATH_BYTES)
		return err_set(err, STATUS_INVALID, "the path of the database is too long");
	return STATUS_OK;
}

enum status sqlite_check_url(struct str url, struct err *err)
{
	struct str prefix = STR("sqlite:///");

	struct str path = {url.p + prefix.n, url.n - prefix.n};
	if (!str_starts(url, prefix) || path.n == 0 || path.p[path.n - 1] == '/' || path.p[0] == ':' ||
	    memchr(path.p, '?', path.n) || memchr(path.p, '#', path.n) || memchr(path.p, '\0', path.n))
		return err_set(err, STATUS_INVALID,
			       "the database URL names no file: use sqlite:///relative.db or sqlite:////absolute.db");
	if (path.n >= SQLITE_PATH_BYTES)
		return err_set(err, STATUS_INVALID, "the path of the database is too long");
	return STATUS_OK;
}

enum status sqlite_path_of_url(struct str url, bool make, char out[static SQLITE_PATH_BYTES], struct err *err)
{
	struct str prefix = STR("sqlite:///");
	char given[SQLITE_PATH_BYTES];

	enum status status = sqlite_check_url(url, err);
	if (status != STATUS_OK)
		return status;
	struct str path = {url.p + prefix.n, url.n - prefix.n};
	memcpy(given, path.p, path.n);
	given[path.n] = '\0';
	return resolve(given, make, out, err);
}

/* Made under another name and linked: a descriptor of the database itself must never be closed here, since that would
 * drop the locks of a connection that this process may have by then. */
enum status sqlite_path_make_file(const char *path, struct err *err)
{
	char temp[PATH_MAX];
	struct stat st;

	if (stat(path, &st) == 0)
		return STATUS_OK;
	snprintf(temp, sizeof(temp), "%s-XXXXXX", path);
	int fd = mkstemp(temp);
	if (fd < 0)
		return err_set(err, STATUS_UNAVAILABLE, "the database %.150s can't be made: %s", path, strerror(errno));
	bool ok = fchmod(fd, MODE_FILE) == 0;
	close(fd);
	ok = ok && (link(temp, path) == 0 || errno == EEXIST);
	int error = errno;
	unlink(temp);
	if (!ok || !new_file_sync_dir(path))
		return err_set(err, STATUS_UNAVAILABLE, "the database %.150s can't be made: %s", path,
			       strerror(ok ? errno : error));
	return STATUS_OK;
}

int sqlite_path_open_log(const char *path)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s-wal", path);
	return open(name, O_RDONLY | O_CLOEXEC);
}

int sqlite_path_open_lock(const char *path, const char *suffix)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE_FILE);
	if (fd >= 0) {
		if (fchmod(fd, MODE_FILE) == 0)
			return fd;
		close(fd);
		return -1;
	}
	fd = errno == EEXIST ? open(name, O_RDWR | O_CLOEXEC) : -1;
	/* To lock a byte a file must be open for writing, to lock the file it need not. */
	return fd < 0 && (errno == EROFS || errno == EACCES) ? open(name, O_RDONLY | O_CLOEXEC) : fd;
}

void sqlite_path_stat(const char *path, const char *suffix, struct stat *out)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	if (stat(name, out) != 0)
		memset(out, 0, sizeof(*out));
}
