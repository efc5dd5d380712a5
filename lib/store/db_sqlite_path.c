/* The names beside a SQLite database and the lock files among them.
 *
 * "<database>-turn" is locked (flock, exclusive) by whoever writes or checkpoints. The kernel hands it on when its
 * owner dies, so kill -9 leaves nothing behind. "<database>-open" is locked (shared) by every connection of ours, so
 * that a restore knows that it is alone. Both are never removed: a lock on a file that has another's name excludes
 * nobody. */
#include "store/db_sqlite_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { MODE_FILE = 0640, MODE_DIR = 0750, TURN_POLL_MS = 5 };

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

enum status sqlite_path_of_url(struct str url, bool make, char out[static SQLITE_PATH_BYTES], struct err *err)
{
	struct str prefix = STR("sqlite:///");
	char given[SQLITE_PATH_BYTES];

	struct str path = {url.p + prefix.n, url.n - prefix.n};
	if (!str_starts(url, prefix) || path.n == 0 || path.p[path.n - 1] == '/' || path.p[0] == ':' ||
	    memchr(path.p, '?', path.n) || memchr(path.p, '#', path.n) || memchr(path.p, '\0', path.n))
		return err_set(err, STATUS_INVALID,
			       "the database URL names no file: use sqlite:///relative.db or sqlite:////absolute.db");
	if (path.n >= sizeof(given))
		return err_set(err, STATUS_INVALID, "the path of the database is too long");
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
	if (!ok || !sqlite_path_sync_dir(path))
		return err_set(err, STATUS_UNAVAILABLE, "the database %.150s can't be made: %s", path,
			       strerror(ok ? errno : error));
	return STATUS_OK;
}

int sqlite_path_open_lock(const char *path, const char *suffix)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	int fd = open(name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE_FILE);
	if (fd >= 0) {
		if (fchmod(fd, MODE_FILE) == 0)
			return fd;
		close(fd);
		return -1;
	}
	return errno == EEXIST ? open(name, O_RDONLY | O_CLOEXEC) : -1;
}

void sqlite_path_stat(const char *path, const char *suffix, struct stat *out)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	if (stat(name, out) != 0)
		memset(out, 0, sizeof(*out));
}

bool sqlite_path_sync_dir(const char *path)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s", path);
	int fd = open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool ok = fsync(fd) == 0;
	int error = errno;
	close(fd);
	errno = error;
	return ok;
}

/* --- the turn --- */

static bool lock_within(int fd, int wait_ms)
{
	uint64_t end = clock_mono_ms() + (uint64_t)(wait_ms > 0 ? wait_ms : 0);
	struct timespec nap = {.tv_nsec = TURN_POLL_MS * 1000000L};

	while (flock(fd, wait_ms < 0 ? LOCK_EX : LOCK_EX | LOCK_NB) != 0) {
		if (errno != EINTR && errno != EWOULDBLOCK)
			return false;
		if (wait_ms >= 0 && clock_mono_ms() >= end) {
			errno = EWOULDBLOCK;
			return false;
		}
		if (wait_ms >= 0)
			nanosleep(&nap, NULL);
	}
	return true;
}

/* An operator may have removed the lock file (or the directory may be a new one): whoever locks the old file and
 * whoever locks the new one would both believe to be alone. */
static bool is_current(const struct sqlite_db *db)
{
	struct stat ours, current;

	sqlite_path_stat(db->path, "-turn", &current);
	return fstat(db->turn_fd, &ours) == 0 && ours.st_ino == current.st_ino && ours.st_dev == current.st_dev;
}

/* The kernel gives a flock to whoever asks first after it was freed, which is as a rule the process that has just freed
 * it: another may wait for many turns. So who waits for the turn holds the gate meanwhile, and who wants a second turn
 * in a row must pass the gate first. Only fairness hangs on it: without the gate's file the turn is taken all the same.
 */
static bool lock_in_line(struct sqlite_db *db, int wait_ms)
{
	if (db->gate_fd < 0)
		db->gate_fd = sqlite_path_open_lock(db->path, "-gate");
	bool gated = db->gate_fd >= 0 && lock_within(db->gate_fd, wait_ms);
	bool locked = lock_within(db->turn_fd, wait_ms);
	int why = errno;
	if (gated)
		flock(db->gate_fd, LOCK_UN);
	errno = why;
	return locked;
}

enum status sqlite_turn_take(struct db *base, int wait_ms, struct err *err)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	for (int tries = 0; tries < 8; tries++) {
		if (db->turn_fd < 0)
			db->turn_fd = sqlite_path_open_lock(db->path, "-turn");
		if (db->turn_fd < 0)
			return err_set(err, STATUS_UNAVAILABLE, "%.150s-turn can't be opened: %s", db->path,
				       strerror(errno));
		if (!lock_in_line(db, wait_ms))
			return errno == EWOULDBLOCK
				       ? err_set(err, STATUS_BUSY, "other writers kept the turn to write")
				       : err_set(err, STATUS_UNAVAILABLE, "%.150s-turn can't be locked: %s", db->path,
						 strerror(errno));
		if (is_current(db))
			return STATUS_OK;
		close(db->turn_fd);
		db->turn_fd = -1;
	}
	return err_set(err, STATUS_UNAVAILABLE, "%.150s-turn is replaced again and again", db->path);
}

void sqlite_turn_give(struct db *base)
{
	struct sqlite_db *db = (struct sqlite_db *)base;

	if (db->turn_fd >= 0)
		flock(db->turn_fd, LOCK_UN);
}
