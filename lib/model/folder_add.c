/* What changes the folder. One change at a time holds a lock on the file .lock in it, so that a directory .new-… or
 * .old-… that a change finds is what one that died has left. */
#include "base/clock.h"
#include "model/folder_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_WAIT_MS = 10 * 1000 };

static const char LOCK[] = ".lock", NEW[] = ".new", OLD[] = ".old";

/* What is made here can be read by the service whatever the umask, and belongs to whom the directory `parent` belongs
 * to also when root made it. Where the system refuses that, the service says what it can't read. */
static void give(int fd, int parent, mode_t mode)
{
	struct stat st, own;

	if (fstat(fd, &own) != 0 || fstat(parent, &st) != 0 || (S_ISREG(own.st_mode) && own.st_nlink != 1))
		return;
	if ((own.st_mode & 07777) != mode)
		(void)!fchmod(fd, mode);
	if (geteuid() == 0 && (own.st_uid != st.st_uid || own.st_gid != st.st_gid))
		(void)!fchown(fd, st.st_uid, st.st_gid);
}

static bool make_directory(const char *path)
{
	if (mkdir(path, 0755) != 0)
		return errno == EEXIST;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return true; /* who opens it next says why it can't be */
	int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent >= 0) {
		give(fd, parent, 0755);
		close(parent);
	}
	close(fd);
	return true;
}

/* The directory, with those above it that are missing. */
static bool make_directories(const char *dir)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	for (char *p = path + 1; *path && *p; p++)
		if (*p == '/') {
			*p = '\0';
			if (!make_directory(path))
				return false;
			*p = '/';
		}
	return make_directory(path);
}

static enum status take_lock(int lock, const char *dir, struct err *err)
{
	static const struct timespec STEP = {.tv_nsec = 5000 * 1000L};
	uint64_t start_ms = clock_mono_ms();

	while (flock(lock, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return folder_fail(err, "locked", dir);
		if (clock_mono_ms() - start_ms > LOCK_WAIT_MS)
			return err_set(err, STATUS_UNAVAILABLE,
				       "Another program has been changing %s for %d seconds: try again later.", dir,
				       LOCK_WAIT_MS / 1000);
		nanosleep(&STEP, NULL);
	}
	return STATUS_OK;
}

/* Opens the folder, made when it is missing, and takes the lock, which goes with *lock. */
static enum status open_folder(const char *dir, int *root, int *lock, struct err *err)
{
	*lock = -1;
	if (!make_directories(dir)) {
		*root = -1;
		return folder_fail(err, "made", dir);
	}
	*root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*root < 0)
		return folder_fail(err, "opened", dir);
	*lock = openat(*root, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
	if (*lock < 0)
		return folder_fail(err, "written", dir);
	give(*lock, *root, 0644);
	return take_lock(*lock, dir, err);
}

static void close_folder(int root, int lock)
{
	if (lock >= 0)
		close(lock);
	if (root >= 0)
		close(root);
}

static void remove_entries(int at, const char *name, void (*remove_entry)(int at, const char *name))
{
	const struct dirent *entry;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_entry(dirfd(dir), entry->d_name);
	closedir(dir);
}

static void remove_file(int at, const char *name)
{
	if (unlinkat(at, name, 0) != 0)
		(void)!unlinkat(at, name, AT_REMOVEDIR);
}

static void remove_file_or_directory(int at, const char *name)
{
	if (unlinkat(at, name, 0) == 0)
		return;
	remove_entries(at, name, remove_file);
	(void)!unlinkat(at, name, AT_REMOVEDIR);
}

/* A version's directory with its files, and with directories of files that somebody has put there; links are removed,
 * not followed. */
static void remove_version(int at, const char *name)
{
	if (unlinkat(at, name, 0) == 0)
		return;
	remove_entries(at, name, remove_file_or_directory);
	(void)!unlinkat(at, name, AT_REMOVEDIR);
}

static enum status write_file(int at, const char *name, const char *text, size_t n, struct err *err)
{
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	enum status status = STATUS_OK;

	if (fd < 0)
		return folder_fail(err, "written", name);
	give(fd, at, 0644);
	for (size_t done = 0; done < n && status == STATUS_OK;) {
		ssize_t put = write(fd, text + done, n - done);
		if (put > 0)
			done += (size_t)put;
		else if (put == 0 || errno != EINTR)
			status = folder_fail(err, "written", name);
	}
	if (status == STATUS_OK && fsync(fd) != 0)
		status = folder_fail(err, "written", name);
	if (close(fd) != 0 && status == STATUS_OK)
		status = folder_fail(err, "written", name);
	return status;
}

/* Both files in `at`, on the disk when it returns. */
static enum status write_candidate(int at, const struct folder_candidate *candidate, struct err *err)
{
	struct manifest *manifest;
	char name[MODEL_NAME_BYTES];

	enum status status = manifest_parse(&manifest, (struct str){candidate->manifest, candidate->manifest_n}, err);
	if (status != STATUS_OK)
		return status;
	snprintf(name, sizeof(name), "%.*s", STR_ARG(manifest->file));
	manifest_free(manifest);
	status = write_file(at, name, candidate->file, candidate->file_n, err);
	if (status == STATUS_OK)
		status = write_file(at, FOLDER_MANIFEST, candidate->manifest, candidate->manifest_n, err);
	if (status == STATUS_OK && fsync(at) != 0)
		status = folder_fail(err, "written", NEW);
	return status;
}

/* Renames root/.new to root/NAME/VERSION. */
static enum status put_in_place(int root, struct str name, struct str version, struct err *err)
{
	char parent[MODEL_NAME_BYTES], path[FOLDER_PATH_BYTES];

	snprintf(parent, sizeof(parent), "%.*s", STR_ARG(name));
	snprintf(path, sizeof(path), "%.*s/%.*s", STR_ARG(name), STR_ARG(version));
	bool made = mkdirat(root, parent, 0755) == 0;
	if (!made && errno != EEXIST)
		return folder_fail(err, "made", parent);
	int fd = openat(root, parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return folder_fail(err, "opened", parent);
	if (made)
		give(fd, root, 0755);
	enum status status = STATUS_OK;
	snprintf(path, sizeof(path), "%.*s", STR_ARG(version));
	if (renameat(root, NEW, fd, path) != 0)
		status = errno == ENOTEMPTY || errno == EEXIST
				 ? err_set(err, STATUS_CONFLICT, "Model %.*s %.*s is there already.", STR_ARG(name),
					   STR_ARG(version))
				 : folder_fail(err, "written", path);
	else if (fsync(fd) != 0 || fsync(root) != 0)
		status = folder_fail(err, "written", path);
	close(fd);
	if (status != STATUS_OK)
		(void)!unlinkat(root, parent, AT_REMOVEDIR);
	return status;
}

static enum status check_absent(int root, struct str name, struct str version, struct err *err)
{
	int fd;
	enum status status = folder_open_version(root, name, version, &fd, err);

	if (status == STATUS_NOT_FOUND)
		return STATUS_OK;
	if (status != STATUS_OK)
		return status;
	close(fd);
	return err_set(err, STATUS_CONFLICT, "Model %.*s %.*s is there already.", STR_ARG(name), STR_ARG(version));
}

static enum status add(struct model **out, int root, struct str name, struct str version,
		       const struct folder_candidate *candidate, struct err *err)
{
	remove_version(root, NEW);
	remove_version(root, OLD);
	enum status status = check_absent(root, name, version, err);
	if (status != STATUS_OK)
		return status;
	if (mkdirat(root, NEW, 0755) != 0)
		return folder_fail(err, "made", NEW);
	int at = openat(root, NEW, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0)
		return folder_fail(err, "opened", NEW);
	give(at, root, 0755);
	status = write_candidate(at, candidate, err);
	if (status == STATUS_OK)
		status = folder_load_at(out, at, name, version, (struct str){0}, err);
	close(at);
	if (status == STATUS_OK)
		status = put_in_place(root, name, version, err);
	return status;
}

enum status folder_add(struct model **out, const char *dir, struct str name, struct str version,
		       const struct folder_candidate *candidate, struct err *err)
{
	int root, lock;

	*out = NULL;
	/* Before anything is written: most candidates that are refused are refused for what they are. */
	enum status status = folder_candidate_load(out, candidate, name, version, err);
	if (status != STATUS_OK)
		return status;
	model_drop(*out);
	*out = NULL;
	status = open_folder(dir, &root, &lock, err);
	if (status == STATUS_OK) {
		status = add(out, root, name, version, candidate, err);
		if (status != STATUS_OK)
			remove_version(root, NEW);
	}
	if (status != STATUS_OK) {
		model_drop(*out);
		*out = NULL;
	}
	close_folder(root, lock);
	return status;
}

/* Under its own name it is there whole or gone. */
static enum status take_out(int root, struct str name, struct str version, struct err *err)
{
	char parent[MODEL_NAME_BYTES], path[FOLDER_PATH_BYTES];
	int fd;

	enum status status = folder_open_version(root, name, version, &fd, err);
	if (status != STATUS_OK)
		return status;
	close(fd);
	snprintf(parent, sizeof(parent), "%.*s", STR_ARG(name));
	snprintf(path, sizeof(path), "%.*s/%.*s", STR_ARG(name), STR_ARG(version));
	remove_version(root, OLD);
	if (renameat(root, path, root, OLD) != 0)
		return folder_fail(err, "removed", path);
	remove_version(root, OLD);
	(void)!unlinkat(root, parent, AT_REMOVEDIR); /* when it was the last version */
	(void)!fsync(root);
	return STATUS_OK;
}

enum status folder_remove(const char *dir, struct str name, struct str version, struct err *err)
{
	int root, lock;
	enum status status = open_folder(dir, &root, &lock, err);

	if (status == STATUS_OK)
		status = take_out(root, name, version, err);
	close_folder(root, lock);
	return status;
}
