/* Opening and loading. A version's directory is opened name by name without following links, and its files beneath it,
 * so that whoever can write into the folder of one model can't make a worker read another file. Opened without waiting,
 * a fifo gives its descriptor at once and is then refused as what it is. */
#include "model/folder_impl.h"

#include "model/kinds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum status folder_fail(struct err *err, const char *doing, const char *what)
{
	if (errno == ENOENT || errno == ENOTDIR)
		return err_set(err, STATUS_NOT_FOUND, "%s is not there.", what);
	if (errno == ELOOP)
		return err_set(err, STATUS_INVALID, "%s is a symbolic link, which is not followed.", what);
	return err_set(err, errno == ENOMEM ? STATUS_NO_MEMORY : STATUS_UNAVAILABLE, "%s can't be %s: %s.", what, doing,
		       strerror(errno));
}

enum status folder_check_names(struct str name, struct str version, struct err *err)
{
	static const char rule[] = "1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-', the first no '.' nor '-'";

	if (!model_name_is_valid(name))
		return err_set(err, STATUS_INVALID, "\"%.*s\" is no name of a model: it wants %s.",
			       (int)(name.n < 64 ? name.n : 64), name.p ? name.p : "", rule);
	if (!model_name_is_valid(version))
		return err_set(err, STATUS_INVALID, "\"%.*s\" is no version of a model: it wants %s.",
			       (int)(version.n < 64 ? version.n : 64), version.p ? version.p : "", rule);
	return STATUS_OK;
}

enum status folder_open_version(int root, struct str name, struct str version, int *fd, struct err *err)
{
	char path[FOLDER_PATH_BYTES];
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

	*fd = -1;
	enum status status = folder_check_names(name, version, err);
	if (status != STATUS_OK)
		return status;
	snprintf(path, sizeof(path), "%.*s", STR_ARG(name));
	int parent = openat(root, path, flags);
	if (parent >= 0) {
		snprintf(path, sizeof(path), "%.*s", STR_ARG(version));
		*fd = openat(parent, path, flags);
		int saved = errno;
		close(parent);
		errno = saved;
	}
	if (*fd >= 0)
		return STATUS_OK;
	if (errno == ENOENT || errno == ENOTDIR)
		return err_set(err, STATUS_NOT_FOUND, "The folder of models has no %.*s %.*s.", STR_ARG(name),
			       STR_ARG(version));
	snprintf(path, sizeof(path), "%.*s/%.*s", STR_ARG(name), STR_ARG(version));
	return folder_fail(err, "opened", path);
}

/* --- files --- */

static enum status read_all(int fd, const char *path, size_t size, char **text, struct err *err)
{
	char *p = malloc(size + 1);
	size_t n = 0;

	if (!p)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory for the %zu bytes of %s.", size, path);
	while (n < size) {
		ssize_t got = read(fd, p + n, size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			free(p);
			return got < 0 ? folder_fail(err, "read", path)
				       : err_set(err, STATUS_INVALID, "%s was cut while it was read.", path);
		}
		n += (size_t)got;
	}
	p[n] = '\0';
	*text = p;
	return STATUS_OK;
}

enum status folder_read_file(int at, const char *path, int flags, size_t max, char **text, size_t *n, struct err *err)
{
	struct stat st;
	enum status status;
	int fd = openat(at, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | flags);

	*text = NULL;
	*n = 0;
	if (fd < 0)
		return folder_fail(err, "opened", path);
	if (fstat(fd, &st) != 0)
		status = folder_fail(err, "read", path);
	else if (!S_ISREG(st.st_mode))
		status = err_set(err, STATUS_INVALID, "%s is no plain file.", path);
	else if (st.st_size < 0 || (uint64_t)st.st_size > max)
		status = err_set(err, STATUS_TOO_LARGE, "%s has %lld bytes, at most %zu are read.", path,
				 (long long)st.st_size, max);
	else
		status = read_all(fd, path, (size_t)st.st_size, text, err);
	close(fd);
	if (status == STATUS_OK)
		*n = (size_t)st.st_size;
	return status;
}

/* --- loading --- */

/* The manifest's file name goes into a path: a plain name, and not the manifest itself. */
static enum status check_file_name(const struct manifest *manifest, struct err *err)
{
	if (model_name_is_valid(manifest->file) && !str_eq(manifest->file, STR(FOLDER_MANIFEST)))
		return STATUS_OK;
	return err_set(err, STATUS_INVALID, "%s: file: \"%.*s\" is no plain name of a file in the same folder.",
		       FOLDER_MANIFEST, (int)(manifest->file.n < 64 ? manifest->file.n : 64),
		       manifest->file.p ? manifest->file.p : "");
}

static enum status parse_manifest(struct manifest **out, struct str text, struct err *err)
{
	enum status status = manifest_parse(out, text, err);

	if (status == STATUS_OK && (status = check_file_name(*out, err)) != STATUS_OK) {
		manifest_free(*out);
		*out = NULL;
	}
	return status;
}

static enum status read_manifest_at(struct manifest **out, int at, struct err *err)
{
	char *text;
	size_t n;

	*out = NULL;
	enum status status = folder_read_file(at, FOLDER_MANIFEST, O_NOFOLLOW, MANIFEST_BYTES_MAX, &text, &n, err);
	if (status == STATUS_OK)
		status = parse_manifest(out, (struct str){text, n}, err);
	free(text);
	return status;
}

enum status folder_load_at(struct model **out, int at, struct str name, struct str version, struct str hash,
			   struct err *err)
{
	struct manifest *manifest;
	char path[MODEL_NAME_BYTES];
	char *text = NULL;
	size_t n;

	*out = NULL;
	enum status status = read_manifest_at(&manifest, at, err);
	if (status != STATUS_OK)
		return status;
	if (hash.n > 0 && !str_eq(hash, str_of(manifest->hash)))
		status = err_set(err, STATUS_CONFLICT,
				 "The folder has another %.*s %.*s than was added: its manifest has the hash %.16s…, "
				 "not %.16s….",
				 STR_ARG(name), STR_ARG(version), manifest->hash, hash.p);
	snprintf(path, sizeof(path), "%.*s", STR_ARG(manifest->file));
	if (status == STATUS_OK)
		status = folder_read_file(at, path, O_NOFOLLOW, MODEL_FILE_MAX, &text, &n, err);
	if (status == STATUS_OK)
		status = kind_load_model(out, name, version, manifest, (struct str){text, n}, err);
	else
		manifest_free(manifest);
	free(text);
	return status;
}

static enum status open_version_of(const char *dir, struct str name, struct str version, int *fd, struct err *err)
{
	int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*fd = -1;
	if (root < 0)
		return folder_fail(err, "opened", dir);
	enum status status = folder_open_version(root, name, version, fd, err);
	close(root);
	return status;
}

enum status folder_load(struct model **out, const char *dir, struct str name, struct str version, struct str hash,
			struct err *err)
{
	int fd;

	*out = NULL;
	enum status status = open_version_of(dir, name, version, &fd, err);
	if (status != STATUS_OK)
		return status;
	status = folder_load_at(out, fd, name, version, hash, err);
	close(fd);
	return status;
}

enum status folder_read_manifest(struct manifest **out, const char *dir, struct str name, struct str version,
				 struct err *err)
{
	int fd;

	*out = NULL;
	enum status status = open_version_of(dir, name, version, &fd, err);
	if (status != STATUS_OK)
		return status;
	status = read_manifest_at(out, fd, err);
	close(fd);
	return status;
}

/* --- candidates --- */

static enum status read_named_file(struct folder_candidate *candidate, const char *path, struct err *err)
{
	struct manifest *manifest;
	char name[MODEL_NAME_BYTES];
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return folder_fail(err, "opened", path);
	enum status status = folder_read_file(dir, FOLDER_MANIFEST, O_NOFOLLOW, MANIFEST_BYTES_MAX,
					      &candidate->manifest, &candidate->manifest_n, err);
	if (status == STATUS_OK)
		status = parse_manifest(&manifest, (struct str){candidate->manifest, candidate->manifest_n}, err);
	if (status == STATUS_OK) {
		snprintf(name, sizeof(name), "%.*s", STR_ARG(manifest->file));
		manifest_free(manifest);
		status = folder_read_file(dir, name, O_NOFOLLOW, MODEL_FILE_MAX, &candidate->file, &candidate->file_n,
					  err);
	}
	close(dir);
	return status;
}

enum status folder_candidate_read(struct folder_candidate *candidate, const char *path, const char *manifest,
				  struct err *err)
{
	char beside[4096];
	struct stat st;
	const char *slash = strrchr(path, '/');

	*candidate = (struct folder_candidate){0};
	if (stat(path, &st) != 0)
		return folder_fail(err, "read", path);
	if (S_ISDIR(st.st_mode))
		return read_named_file(candidate, path, err);
	if (snprintf(beside, sizeof(beside), "%.*s" FOLDER_MANIFEST, slash ? (int)(slash - path) + 1 : 0, path) >=
	    (int)sizeof(beside))
		return err_set(err, STATUS_INVALID, "The path is too long.");
	enum status status = folder_read_file(AT_FDCWD, manifest ? manifest : beside, 0, MANIFEST_BYTES_MAX,
					      &candidate->manifest, &candidate->manifest_n, err);
	if (status == STATUS_NOT_FOUND && !manifest)
		status = STATUS_OK;
	if (status == STATUS_OK)
		status = folder_read_file(AT_FDCWD, path, 0, MODEL_FILE_MAX, &candidate->file, &candidate->file_n, err);
	return status;
}

void folder_candidate_release(struct folder_candidate *candidate)
{
	free(candidate->manifest);
	free(candidate->file);
	*candidate = (struct folder_candidate){0};
}

enum status folder_candidate_load(struct model **out, const struct folder_candidate *candidate, struct str name,
				  struct str version, struct err *err)
{
	struct manifest *manifest;

	*out = NULL;
	enum status status = folder_check_names(name, version, err);
	if (status == STATUS_OK)
		status = parse_manifest(&manifest, (struct str){candidate->manifest, candidate->manifest_n}, err);
	if (status != STATUS_OK)
		return status;
	return kind_load_model(out, name, version, manifest, (struct str){candidate->file, candidate->file_n}, err);
}

/* --- listing --- */

static bool list_versions(int root, const char *name, folder_entry *fn, void *arg)
{
	const struct dirent *entry;
	bool go_on = true;
	int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return true;
	}
	while (go_on && (entry = readdir(dir)))
		if (model_name_is_valid(str_of(entry->d_name)))
			go_on = fn(arg, str_of(name), str_of(entry->d_name));
	closedir(dir);
	return go_on;
}

enum status folder_list(const char *dir, folder_entry *fn, void *arg, struct err *err)
{
	const struct dirent *entry;
	bool go_on = true;
	DIR *root = opendir(dir);

	if (!root)
		return errno == ENOENT ? STATUS_OK : folder_fail(err, "listed", dir);
	while (go_on && (entry = readdir(root)))
		if (model_name_is_valid(str_of(entry->d_name)))
			go_on = list_versions(dirfd(root), entry->d_name, fn, arg);
	closedir(root);
	return STATUS_OK;
}
