/* Following the log: which file to read, from where, and when to go on to the next.
 *
 * The record names the file by its inode and by the bytes before the place reached. A log that was renamed is read to
 * its end under its new name (beside the old one, the name begins alike) or through the descriptor that is still open;
 * a truncated one has other bytes at that place and is read from its beginning. nginx's processes open a new log one
 * after the other, so the old one counts as ended only when the new one has lines and the old one has been quiet for
 * QUIET_S.
 *
 * The file is never cut by us: a line written between reading and cutting would be lost. What has been counted is given
 * back to the disk as a hole instead, where this user may write to the file (in development; on a VM logrotate does
 * the work). */
#include "shared/edge_impl.h"
#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, PIECES = 16, QUIET_S = 3, HOLE = 1 << 20 };

struct edge {
	char *run_dir;
	char *dir, *name; /* of the log */
	int fd;           /* the file that the record names, when this worker was the last to read; -1: none */
	char buffer[EDGE_TAIL + PIECE];
};

struct edge *edge_new(const char *run_dir, const char *log_path)
{
	struct edge *edge = calloc(1, sizeof(*edge));
	const char *slash = strrchr(log_path, '/');

	if (!edge)
		return NULL;
	edge->fd = -1;
	edge->run_dir = strdup(run_dir);
	edge->dir = slash ? strndup(log_path, (size_t)(slash - log_path) + 1) : strdup(".");
	edge->name = strdup(slash ? slash + 1 : log_path);
	if (edge->run_dir && edge->dir && edge->name)
		return edge;
	edge_free(edge);
	return NULL;
}

static void forget_file(struct edge *edge)
{
	if (edge->fd >= 0)
		close(edge->fd);
	edge->fd = -1;
}

void edge_free(struct edge *edge)
{
	if (!edge)
		return;
	forget_file(edge);
	free(edge->run_dir);
	free(edge->dir);
	free(edge->name);
	free(edge);
}

/* -1 with errno. */
static int open_log(int dir, const char *name)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	errno = EINVAL;
	return -1;
}

static bool has_inode(int fd, uint64_t inode)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == inode;
}

/* What another look may find otherwise. What is refused for good is as good as gone: the log as it is named now, which
 * is another file, goes on. */
static bool may_pass(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR || error == EIO;
}

/* Opens a file of that inode whose name begins like the log's. -1 with errno: ENOENT when there is none for us. */
static int find_renamed(const char *folder, const char *name, uint64_t inode)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	struct stat st;
	int fd = -1;

	if (!dir) {
		errno = may_pass(errno) ? errno : ENOENT;
		return -1;
	}
	while ((errno = 0, entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, name, strlen(name)) == 0 &&
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == inode)
			break;
	int error = errno;
	if (entry && (fd = open_log(dirfd(dir), entry->d_name)) < 0)
		error = errno;
	closedir(dir);
	errno = may_pass(error) ? error : ENOENT;
	return fd;
}

/* Makes edge->fd the file that the record names; that may be *current, which is taken then. False with errno: ENOENT
 * when it is gone, or there never was one. */
static bool open_known(struct edge *edge, const struct edge_record *record, int *current)
{
	errno = ENOENT;
	if (record->inode == 0)
		return false;
	if (has_inode(edge->fd, record->inode))
		return true;
	forget_file(edge);
	if (has_inode(*current, record->inode)) {
		edge->fd = *current;
		*current = -1;
		return true;
	}
	edge->fd = find_renamed(edge->dir, edge->name, record->inode);
	return edge->fd >= 0;
}

/* What was counted up to `offset` and stands in front of it stays in mind. */
static void advance(struct edge_record *record, const char *end, size_t before, uint64_t offset)
{
	record->tail_n = before < EDGE_TAIL ? before : EDGE_TAIL;
	if (record->tail_n > 0)
		memcpy(record->tail, end - record->tail_n, record->tail_n);
	record->offset = offset;
}

/* The log as it is named now takes the place of the file read so far: from its beginning, or from its end. */
static bool begin(struct edge *edge, int record_fd, struct edge_record *record, int *current, bool at_end)
{
	struct stat st;

	if (fstat(*current, &st) != 0)
		return false;
	record->inode = st.st_ino;
	advance(record, NULL, 0, 0);
	if (at_end && st.st_size > 0) {
		off_t from = st.st_size > EDGE_TAIL ? st.st_size - EDGE_TAIL : 0;
		ssize_t n = pread(*current, edge->buffer, EDGE_TAIL, from);
		if (n > 0)
			advance(record, edge->buffer + n, (size_t)n, (uint64_t)from + (uint64_t)n);
	}
	forget_file(edge);
	edge->fd = *current;
	*current = -1;
	return edge_record_store(record_fd, record);
}

/* Counts one piece of edge->fd. 1: something was, 0: there is nothing new, -1: errno. */
static int read_piece(struct edge *edge, struct edge_record *record, uint64_t *lines)
{
	char *text = edge->buffer;
	ssize_t n = pread(edge->fd, text, record->tail_n + PIECE, (off_t)(record->offset - record->tail_n));
	bool truncated = n >= 0 && ((size_t)n < record->tail_n || memcmp(text, record->tail, record->tail_n) != 0);

	if (truncated) {
		advance(record, NULL, 0, 0);
		n = pread(edge->fd, text, PIECE, 0);
	}
	if (n < 0)
		return -1;
	struct str fresh = {text + record->tail_n, (size_t)n - record->tail_n};
	size_t used = edge_record_count(record, fresh, lines);
	if (used == 0 && fresh.n == PIECE)
		used = fresh.n; /* no line is as long as that */
	if (used > 0)
		advance(record, fresh.p + used, record->tail_n + used, record->offset + used);
	return used > 0 || truncated;
}

/* Makes a hole of what was counted before `offset`, as whole MiB. Not permitted, or not known here: the file stays. */
static void give_back(int fd, uint64_t offset)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int writable = open(path, O_WRONLY | O_CLOEXEC);
	if (writable < 0)
		return;
	if (fallocate(writable, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)(offset / HOLE * HOLE)) != 0)
		errno = 0;
	close(writable);
}

/* Counts what is new in edge->fd, as long as *pieces last. False: errno. */
static bool drain(struct edge *edge, int record_fd, struct edge_record *record, int *pieces, uint64_t *lines)
{
	uint64_t from = record->offset;
	int got = 1;

	while (got > 0 && *pieces > 0) {
		struct edge_record next = *record;
		uint64_t counted = 0;
		got = read_piece(edge, &next, &counted);
		if (got > 0 && !edge_record_store(record_fd, &next))
			return false;
		if (got > 0) {
			*record = next;
			*lines += counted;
			(*pieces)--;
		}
	}
	/* The bytes that the record remembers must stay. */
	uint64_t spare = record->offset - record->tail_n;
	if (spare / HOLE > from / HOLE)
		give_back(edge->fd, spare);
	return got >= 0;
}

/* All processes of nginx write to `current` by now. */
static bool has_ended(int fd, int current)
{
	struct stat old, new;

	if (current < 0 || fstat(fd, &old) != 0 || fstat(current, &new) != 0 || new.st_ino == old.st_ino ||
	    new.st_size == 0)
		return false;
	int64_t quiet_s = clock_wall_us() / 1000000 - old.st_mtime;
	return quiet_s >= QUIET_S || quiet_s < 0; /* the clock was set back */
}

static enum status fault(struct err *err, const struct edge *edge, int error)
{
	enum status status = error == ENOENT ? STATUS_NOT_FOUND : STATUS_UNAVAILABLE;

	return err_set(err, status, "What nginx answers by itself is not counted: %s in %s can't be read: %s.",
		       edge->name, edge->dir, error == EINVAL ? "it is no file" : strerror(error));
}

static enum status follow(struct edge *edge, int record_fd, int *current, int error, uint64_t *lines, struct err *err)
{
	struct edge_record record;
	int pieces = PIECES;
	bool good = true;

	edge_record_load(record_fd, &record);
	if (!open_known(edge, &record, current)) {
		/* A record, so that the first lines of a log that is to come will count. */
		if (errno != ENOENT)
			good = false;
		else if (*current < 0)
			good = record.sequence > 0 || edge_record_store(record_fd, &record);
		else
			good = begin(edge, record_fd, &record, current, record.sequence == 0);
	}
	if (good && edge->fd >= 0)
		good = drain(edge, record_fd, &record, &pieces, lines);
	if (good && edge->fd >= 0 && pieces > 0 && has_ended(edge->fd, *current))
		good = begin(edge, record_fd, &record, current, false) &&
		       drain(edge, record_fd, &record, &pieces, lines);
	if (!good)
		return err_set(err, STATUS_UNAVAILABLE, "What nginx answers by itself can't be counted: %s.",
			       strerror(errno));
	return error != 0 ? fault(err, edge, error) : STATUS_OK;
}

enum status edge_follow(struct edge *edge, uint64_t *lines, struct err *err)
{
	enum status status;
	int record_fd = edge_record_lock(edge->run_dir, &status, err);

	*lines = 0;
	if (record_fd < 0)
		return status;
	int dir = open(edge->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int current = dir < 0 ? -1 : open_log(dir, edge->name);
	int error = current < 0 ? errno : 0;
	status = follow(edge, record_fd, &current, error, lines, err);
	if (current >= 0)
		close(current);
	if (dir >= 0)
		close(dir);
	close(record_fd);
	return status;
}
