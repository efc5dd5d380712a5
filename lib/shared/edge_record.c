/* The record, and how a line is counted in it.
 *
 * The file has room for two records. A new one is written to the place of the older, with a checksum: whatever happens
 * half-way, the other is whole. That takes one write and no order between writes, so it also holds for whoever reads
 * without the lock. */
#include "shared/edge_impl.h"
#include "shared/shm_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { RECORD_ROOM = 1024, RECORD_VERSION = 1 };
_Static_assert(sizeof(struct edge_record) <= RECORD_ROOM, "two records lie side by side");

/* Those that nginx 1.22 to 1.29 makes with our configuration, and neighbours. Not 444 and 499: nobody gets an answer.
 */
static const uint16_t STATUSES[] = {200, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 408, 411,
				    412, 413, 414, 415, 416, 421, 429, 431, 500, 501, 502, 503, 504, 505};
enum { STATUSES_N = sizeof(STATUSES) / sizeof(STATUSES[0]) };
_Static_assert((int)STATUSES_N < (int)EDGE_STATUSES, "a count for each, and one for the others");

static char *record_path(const char *run_dir)
{
	char *path;

	return asprintf(&path, "%s/edge-%d.counts", run_dir, RECORD_VERSION) < 0 ? NULL : path;
}

int edge_record_lock(const char *run_dir, enum status *status, struct err *err)
{
	char *path = record_path(run_dir);
	int fd = -1;

	if (!path) {
		*status = err_set(err, STATUS_UNAVAILABLE, "There is no memory to count what nginx answers.");
		return -1;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		*status = err_set(err, STATUS_UNAVAILABLE, "%s can't be opened: %s.", path, strerror(errno));
	} else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		*status = err_set(err, STATUS_BUSY, "Another worker counts what nginx answers.");
		close(fd);
		fd = -1;
	}
	free(path);
	return fd;
}

static uint64_t check_of(const struct edge_record *record)
{
	static const size_t FROM = offsetof(struct edge_record, sequence);

	return shm_fnv(SHM_FNV_START, (const char *)record + FROM, sizeof(*record) - FROM);
}

void edge_record_load(int fd, struct edge_record *record)
{
	struct edge_record found;

	*record = (struct edge_record){0};
	for (int i = 0; i < 2; i++) {
		ssize_t n = pread(fd, &found, sizeof(found), (off_t)i * RECORD_ROOM);
		if (n == (ssize_t)sizeof(found) && found.check == check_of(&found) && found.tail_n <= EDGE_TAIL &&
		    found.tail_n <= found.offset && found.sequence > record->sequence)
			*record = found;
	}
}

bool edge_record_store(int fd, struct edge_record *record)
{
	record->sequence++;
	record->check = check_of(record);
	ssize_t n = pwrite(fd, record, sizeof(*record), (off_t)(record->sequence % 2) * RECORD_ROOM);
	if (n >= 0 && n < (ssize_t)sizeof(*record))
		errno = ENOSPC;
	return n == (ssize_t)sizeof(*record);
}

int edge_counts(const char *run_dir, struct edge_count out[static EDGE_STATUSES])
{
	struct edge_record record = {0};
	char *path = record_path(run_dir);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	int n = 0;

	free(path);
	if (fd < 0)
		return 0;
	/* Two records written while this one reads would both be seen half: then once more. */
	for (int i = 0; i < 4 && record.sequence == 0; i++)
		edge_record_load(fd, &record);
	close(fd);
	for (int i = 0; i < EDGE_STATUSES; i++)
		if (record.counts[i].n > 0)
			out[n++] = record.counts[i];
	return n;
}

/* The number behind the last blank when nginx makes such answers, else 0. */
static unsigned status_of(struct str line)
{
	unsigned status = 0;

	if (line.n < 4 || line.p[line.n - 4] != ' ')
		return 0;
	for (size_t i = line.n - 3; i < line.n; i++) {
		if (line.p[i] < '0' || line.p[i] > '9')
			return 0;
		status = status * 10 + (unsigned)(line.p[i] - '0');
	}
	for (size_t i = 0; i < STATUSES_N; i++)
		if (STATUSES[i] == status)
			return status;
	return 0;
}

static void count(struct edge_record *record, unsigned status)
{
	/* A table filled by other versions may have no room. */
	for (int i = 1; status != 0 && i < EDGE_STATUSES; i++) {
		struct edge_count *c = &record->counts[i];
		if (c->n == 0)
			c->status = status;
		if (c->status == status) {
			c->n++;
			return;
		}
	}
	record->counts[0].n++;
}

size_t edge_record_count(struct edge_record *record, struct str text, uint64_t *lines)
{
	size_t used = 0;

	for (const char *end; (end = memchr(text.p + used, '\n', text.n - used)) != NULL;) {
		struct str line = {text.p + used, (size_t)(end - text.p) - used};
		used += line.n + 1;
		count(record, status_of(line));
		(*lines)++;
	}
	return used;
}
