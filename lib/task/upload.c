/* The files of uploads. A name is checked before it is used, and all goes through the folder's descriptor, so that
 * nothing lies anywhere else. */
#include "task/upload.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SYNC_BYTES = 32 << 20, PIECE_BYTES = 64 * 1024 };

static const char PART[] = ".part", FOLDER[] = "uploads";

const char *upload_check_name(struct str name)
{
	if (name.n == 0 || name.n > UPLOAD_NAME_BYTES)
		return "A name has 1 to 200 bytes";
	if (name.p[0] == '.')
		return "A name must not begin with a dot";
	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
			return "A name must not hold control characters";
		else if (name.p[i] == '/' || name.p[i] == '\\')
			return "A name is without folders: no slash and no backslash";
	return str_is_utf8(name) ? NULL : "A name must be UTF-8";
}

static bool terminate(struct str name, char out[static UPLOAD_NAME_BYTES + 1])
{
	if (upload_check_name(name))
		return false;
	memcpy(out, name.p, name.n);
	out[name.n] = '\0';
	return true;
}

static enum status fault(struct upload_file *file, const char *what, struct err *err)
{
	file->fault = errno;
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		return err_set(err, STATUS_TOO_LARGE, "There is no room left on the disk for the upload.");
	return err_set(err, STATUS_UNAVAILABLE, "An upload's file can't be %s: %s.", what, strerror(errno));
}

/* --- the folder --- */

static bool path_of(const struct config *config, const struct id *id, char out[static UPLOAD_PATH_BYTES])
{
	char text[ID_TEXT_BYTES];

	id_format(id, text);
	int n = snprintf(out, UPLOAD_PATH_BYTES, "%s/%s/%s", config->data_dir, FOLDER, text);
	return n > 0 && n < UPLOAD_PATH_BYTES;
}

/* It is a name on the disk, too, before anything in it is said to be. */
static bool make_folder(const struct config *config, const char *path)
{
	char above[UPLOAD_PATH_BYTES];

	snprintf(above, sizeof(above), "%s/%s", config->data_dir, FOLDER);
	if (mkdir(above, 0770) != 0 && errno != EEXIST)
		return false;
	if (mkdir(path, 0770) != 0)
		return errno == EEXIST;
	int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return good;
}

enum status upload_lock(struct upload_file *file, const struct config *config, const struct id *id, bool create,
			struct err *err)
{
	char path[UPLOAD_PATH_BYTES];

	*file = (struct upload_file){.dir = -1, .fd = -1};
	if (!path_of(config, id, path))
		return err_set(err, STATUS_UNAVAILABLE, "DATA_DIR is too long for uploads.");
	if (create && !make_folder(config, path))
		return fault(file, "made", err);
	file->dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (file->dir < 0 && errno == ENOENT)
		return err_set(err, STATUS_NOT_FOUND, "The upload's bytes are gone.");
	if (file->dir < 0)
		return fault(file, "opened", err);
	if (flock(file->dir, LOCK_EX | LOCK_NB) == 0)
		return STATUS_OK;
	if (errno == EWOULDBLOCK)
		return err_set(err, STATUS_BUSY, "Another request works on this upload.");
	return fault(file, "locked", err);
}

/* --- the file --- */

/* A worker may have died between giving the file its name and saying so. */
static bool take_name_back(struct upload_file *file, const struct upload_row *row)
{
	char name[UPLOAD_NAME_BYTES + 1];

	return row->received < row->bytes && terminate(row->name, name) &&
	       faccessat(file->dir, PART, F_OK, AT_SYMLINK_NOFOLLOW) != 0 &&
	       renameat(file->dir, name, file->dir, PART) == 0;
}

enum status upload_open(struct upload_file *file, const struct upload_row *row, struct err *err)
{
	struct stat st;

	file->at = row->received;
	if (take_name_back(file, row))
		log_event(LOG_LEVEL_INFO, "an upload goes on that a worker left when it was nearly complete");
	file->fd = openat(file->dir, PART, O_RDWR | O_NOFOLLOW | O_CLOEXEC | (row->received == 0 ? O_CREAT : 0), 0660);
	if (file->fd < 0 && errno == ENOENT)
		return err_set(err, STATUS_NOT_FOUND, "The upload's bytes are gone.");
	if (file->fd < 0 || fstat(file->fd, &st) != 0)
		return fault(file, "opened", err);
	if (st.st_size < row->received)
		return err_set(err, STATUS_NOT_FOUND, "Some of the upload's bytes are gone.");
	if (st.st_size > row->received && ftruncate(file->fd, row->received) != 0)
		return fault(file, "cut", err);
	if (row->received == 0 && fsync(file->dir) != 0)
		return fault(file, "made", err);
	return STATUS_OK;
}

void upload_close(struct upload_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->dir >= 0)
		close(file->dir);
	file->fd = file->dir = -1;
}

enum status upload_write(struct upload_file *file, struct str bytes, struct err *err)
{
	while (bytes.n > 0) {
		ssize_t n = pwrite(file->fd, bytes.p, bytes.n, file->at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault(file, "written", err);
		file->at += n;
		file->unsynced += n;
		bytes.p += n;
		bytes.n -= (size_t)n;
	}
	return file->unsynced < SYNC_BYTES ? STATUS_OK : upload_sync(file, err);
}

enum status upload_sync(struct upload_file *file, struct err *err)
{
	file->unsynced = 0;
	return fdatasync(file->fd) == 0 ? STATUS_OK : fault(file, "written", err);
}

enum status upload_hash(struct upload_file *file, char out[static UPLOAD_SHA256_BYTES], struct err *err)
{
	uint8_t piece[PIECE_BYTES], hash[crypto_hash_sha256_BYTES];
	crypto_hash_sha256_state state;
	int64_t at = 0;
	ssize_t n;

	crypto_hash_sha256_init(&state);
	while ((n = pread(file->fd, piece, sizeof(piece), at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault(file, "read", err);
		crypto_hash_sha256_update(&state, piece, (unsigned long long)n);
		at += n;
	}
	crypto_hash_sha256_final(&state, hash);
	hex_format(hash, sizeof(hash), out);
	return STATUS_OK;
}

enum status upload_name(struct upload_file *file, struct str name, struct err *err)
{
	char text[UPLOAD_NAME_BYTES + 1];

	if (!terminate(name, text))
		return err_set(err, STATUS_INVALID, "The upload's name is not good.");
	if (fsync(file->fd) != 0 || renameat(file->dir, PART, file->dir, text) != 0 || fsync(file->dir) != 0)
		return fault(file, "named", err);
	return STATUS_OK;
}

struct str upload_path(const struct upload_row *row, char out[static UPLOAD_PATH_BYTES])
{
	char text[ID_TEXT_BYTES];

	id_format(&row->id, text);
	int n = snprintf(out, UPLOAD_PATH_BYTES, "%s/%s/%.*s", FOLDER, text, STR_ARG(row->name));
	return (struct str){out, (size_t)n};
}

/* --- removing --- */

static void remove_files(int dir)
{
	int copy = dup(dir);
	DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
	const struct dirent *entry;

	if (!list) {
		if (copy >= 0)
			close(copy);
		return;
	}
	rewinddir(list);
	while ((entry = readdir(list)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    unlinkat(dir, entry->d_name, 0) != 0)
			log_event(LOG_LEVEL_WARNING, "a file of an upload can't be removed: %s", strerror(errno));
	closedir(list);
}

void upload_discard(struct upload_file *file, const struct config *config, const struct id *id)
{
	char path[UPLOAD_PATH_BYTES];

	remove_files(file->dir);
	if (path_of(config, id, path) && rmdir(path) != 0 && errno != ENOENT)
		log_event(LOG_LEVEL_WARNING, "%.200s can't be removed: %s", path, strerror(errno));
	upload_close(file);
}

enum status upload_remove(const struct config *config, const struct id *id, struct err *err)
{
	struct upload_file file;

	enum status status = upload_lock(&file, config, id, false, err);
	if (status == STATUS_OK)
		upload_discard(&file, config, id);
	upload_close(&file);
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

void upload_each_old(const struct config *config, int64_t before_us, upload_folder_fn *fn, void *arg)
{
	char path[UPLOAD_PATH_BYTES];
	const struct dirent *entry;
	struct stat st;
	struct id id;

	int n = snprintf(path, sizeof(path), "%s/%s", config->data_dir, FOLDER);
	DIR *list = n > 0 && n < UPLOAD_PATH_BYTES ? opendir(path) : NULL;
	while (list && (entry = readdir(list)))
		if (id_parse(str_of(entry->d_name), &id) &&
		    fstatat(dirfd(list), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
		    st.st_mtim.tv_sec * INT64_C(1000000) < before_us && !fn(arg, &id))
			break;
	if (list)
		closedir(list);
}
