/* The segment as a file: finding it, making it, mapping it.
 *
 * A segment is made under another name, at its full size, and linked to its own name only when it is whole; makers take
 * turns on the run directory's lock, so a half-made one is never seen and one left behind by a killed maker is replaced
 * by the next. A file under the right name that does not hold what it should is unlinked and made anew: whoever still
 * has the old one mapped goes on with it alone. */
#include "shared/shm_impl.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char MAGIC[8] = {'a', 'p', 'p', 'c', 's', 'h', 'm', '\n'};

/* clang-format off */
#define PART(member, count) \
	{offsetof(struct shm_segment, member), (count), (uint32_t)(sizeof(((struct shm_segment *)0)->member) / (count))}
/* clang-format on */

/* `layout` is filled in by who knows it. */
static const struct shm_describe DESCRIBE = {
	.version = SHM_DESCRIBE_VERSION,
	.bytes = sizeof(struct shm_describe),
	.total = sizeof(struct shm_segment),
	.scratch = offsetof(struct shm_segment, series_lock),
	.totals = PART(totals, 1),
	.families = PART(families, METRICS__MAX),
	.series = PART(series, METRICS_SERIES),
	.texts = PART(texts, METRICS_SERIES),
	.slots = PART(slots, SHM_SLOTS),
	.rows = PART(cells, METRICS_ROWS),
};

/* Sizes and offsets of everything in the segment, and the families by name, type and buckets. */
static struct shm_describe describe(uint64_t salt)
{
	const uint64_t sizes[] = {
		SHM_LAYOUT_VERSION,
		salt,
		offsetof(struct shm_segment, marks),
		offsetof(struct shm_segment, running),
		offsetof(struct shm_segment, limit),
		offsetof(struct shm_segment, logins),
		sizeof(struct shm_login_entry),
		sizeof(struct shm_running_set),
		sizeof(struct shm_limit_entry),
		sizeof(struct shm_limit_set),
		offsetof(struct shm_limit_entry, cells),
		offsetof(struct shm_slot, beat_ms),
	};
	struct shm_describe d = DESCRIBE;

	memcpy(d.magic, MAGIC, sizeof(MAGIC));
	d.layout = shm_fnv(SHM_FNV_START, &d, sizeof(d));
	d.layout = shm_fnv(d.layout, sizes, sizeof(sizes));
	d.layout = shm_fnv(d.layout, metrics_families, sizeof(metrics_families));
	return d;
}

/* A new file belongs to the directory's owner also when root was first to need it. */
static void give_to_owner(const char *dir, int fd)
{
	struct stat st;

	if (geteuid() == 0 && stat(dir, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) != 0)
		return; /* the service will say that it can't open the file */
}

int shm_dir_lock(const char *dir, struct err *err)
{
	static const uint64_t WAIT_MS = 5000;
	static const struct timespec STEP = {.tv_nsec = 2000 * 1000L};
	char *path = NULL;
	int fd = -1;

	if (asprintf(&path, "%s/appcore.lock", dir) < 0) {
		err_set(err, STATUS_NO_MEMORY, "There is no memory for the name of the lock in the run directory.");
		return -1;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		err_set(err, STATUS_UNAVAILABLE, "The lock %s can't be opened: %s.", path, strerror(errno));
		goto out;
	}
	give_to_owner(dir, fd);
	uint64_t start = clock_mono_ms();
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || clock_mono_ms() - start > WAIT_MS) {
			err_set(err, STATUS_UNAVAILABLE, "The lock %s can't be had: %s.", path, strerror(errno));
			close(fd);
			fd = -1;
			goto out;
		}
		nanosleep(&STEP, NULL);
	}
out:
	free(path);
	return fd;
}

/* A sentence that names the file, with errno's reason. */
static enum status fault(struct err *err, const char *what, const char *path)
{
	return err_set(err, STATUS_UNAVAILABLE, "The shared memory %s can't be %s: %s.", path, what, strerror(errno));
}

/* The file under the segment's name when it can be trusted. STATUS_NOT_FOUND: there is none, or no good one. */
static enum status open_existing(const char *path, const struct shm_describe *d, int *fd, struct err *err)
{
	struct shm_describe found;
	struct stat st;
	int error;

	*fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd < 0)
		return errno == ENOENT || errno == ELOOP ? STATUS_NOT_FOUND : fault(err, "opened", path);
	if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->total ||
	    pread(*fd, &found, sizeof(found), 0) != (ssize_t)sizeof(found) || memcmp(&found, d, sizeof(found)) != 0) {
		close(*fd);
		*fd = -1;
		return STATUS_NOT_FOUND;
	}
	/* A retired segment has holes; fill them before anything is written there. */
	if ((error = posix_fallocate(*fd, 0, (off_t)d->total)) != 0) {
		errno = error;
		fault(err, "filled", path);
		close(*fd);
		*fd = -1;
		return STATUS_UNAVAILABLE;
	}
	return STATUS_OK;
}

/* What is not zero in a new segment. */
static bool write_start(int fd, const struct shm_describe *d)
{
	uint8_t secret[sizeof(((struct shm_segment *)0)->secret)];
	uint64_t boot = shm_owner_boot();

	return getrandom(secret, sizeof(secret), 0) == (ssize_t)sizeof(secret) &&
	       pwrite(fd, secret, sizeof(secret), offsetof(struct shm_segment, secret)) == (ssize_t)sizeof(secret) &&
	       pwrite(fd, &boot, sizeof(boot), offsetof(struct shm_segment, boot)) == (ssize_t)sizeof(boot) &&
	       pwrite(fd, metrics_families, sizeof(metrics_families), (off_t)d->families.offset) ==
		       (ssize_t)sizeof(metrics_families) &&
	       pwrite(fd, d, sizeof(*d), 0) == (ssize_t)sizeof(*d);
}

/* Makes the segment under `temp` and links it to `path`. Under the directory's lock. */
static enum status create(const char *dir, const char *path, const struct shm_describe *d, int *fd, struct err *err)
{
	enum status status = STATUS_OK;
	char *temp = NULL;
	int error;

	if (asprintf(&temp, "%s/.appcore-%016llx.new", dir, (unsigned long long)d->layout) < 0)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory for the name of the shared memory.");
	unlink(temp);
	*fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0) {
		status = fault(err, "made", temp);
		goto out;
	}
	give_to_owner(dir, *fd);
	if ((error = posix_fallocate(*fd, 0, (off_t)d->total)) != 0) {
		errno = error;
		status = fault(err, "filled to its size", temp);
	} else if (!write_start(*fd, d)) {
		status = fault(err, "written", temp);
	} else if (link(temp, path) != 0) {
		status = fault(err, "named", path);
	}
	unlink(temp);
out:
	free(temp);
	return status;
}

static enum status open_or_create(const char *dir, const char *path, const struct shm_describe *d, int *fd,
				  struct err *err)
{
	enum status status = open_existing(path, d, fd, err);

	if (status != STATUS_NOT_FOUND)
		return status;
	int lock = shm_dir_lock(dir, err);
	if (lock < 0)
		return STATUS_UNAVAILABLE;
	/* Another worker may have made it while this one waited. */
	status = open_existing(path, d, fd, err);
	if (status == STATUS_NOT_FOUND) {
		if (unlink(path) != 0 && errno != ENOENT)
			status = fault(err, "replaced", path);
		else
			status = create(dir, path, d, fd, err);
	}
	close(lock);
	return status;
}

/* Other PID namespaces know by it that this process lives. */
static enum status announce(struct shm *shm, struct err *err)
{
	enum status status = STATUS_OK;
	char *path = NULL;

	if (asprintf(&path, "%s/appcore.alive", shm->dir) < 0)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory to open the shared memory.");
	shm->alive_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (shm->alive_fd < 0)
		status = fault(err, "opened", path);
	else if (!shm_owner_announce(shm->alive_fd, shm->self))
		status = fault(err, "locked", path);
	else
		give_to_owner(shm->dir, shm->alive_fd);
	free(path);
	return status;
}

enum status shm_open_salted(struct shm **out, const char *run_dir, uint64_t salt, struct err *err)
{
	struct shm_describe d = describe(salt);
	struct shm *shm = calloc(1, sizeof(*shm));
	enum status status;
	char *path = NULL;

	*out = NULL;
	if (!shm || !(shm->dir = strdup(run_dir)) ||
	    asprintf(&path, "%s/appcore-%016llx.shm", run_dir, (unsigned long long)d.layout) < 0) {
		path = NULL;
		status = err_set(err, STATUS_NO_MEMORY, "There is no memory to open the shared memory.");
		goto out;
	}
	shm->fd = shm->alive_fd = shm->slot = -1;
	shm->layout = d.layout;
	shm->self = shm_owner_self();
	if (shm->self == 0) {
		status = err_set(err, STATUS_UNAVAILABLE, "/proc/self/stat can't be read; is /proc mounted?");
		goto out;
	}
	status = announce(shm, err);
	if (status == STATUS_OK)
		status = open_or_create(run_dir, path, &d, &shm->fd, err);
	if (status != STATUS_OK)
		goto out;
	void *p = mmap(NULL, sizeof(struct shm_segment), PROT_READ | PROT_WRITE, MAP_SHARED, shm->fd, 0);
	if (p == MAP_FAILED) {
		status = fault(err, "mapped", path);
		goto out;
	}
	shm->seg = p;
	*out = shm;
	shm = NULL;
out:
	free(path);
	shm_close(shm);
	return status;
}

enum status shm_open_dir(struct shm **out, const char *run_dir, struct err *err)
{
	return shm_open_salted(out, run_dir, 0, err);
}
