/* Segments of any version, for reading, by what they say of themselves.
 *
 * Nothing in such a file is believed before it is checked: every part must lie inside the file and be aligned. The
 * records in the parts are checked by who reads them (metrics_text.c). The mapping can't fault as long as the file
 * keeps its size, and no version ever shortens one. */
#include "shared/shm_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VIEW_RECORDS_MAX = 1 << 16, VIEW_FILE_MAX = 1 << 30 };

/* What a record must hold at least, by the description's version 1. */
enum { VIEW_SLOT_BYTES = offsetof(struct shm_slot, beat_ms) };

static bool part_fits(const struct shm_part *part, uint64_t total, size_t least)
{
	if (part->n == 0 || part->n > VIEW_RECORDS_MAX || part->size < least || part->size % 8 != 0)
		return false;
	if (part->offset % 8 != 0 || part->offset > total)
		return false;
	return (uint64_t)part->n * part->size <= total - part->offset;
}

static bool describe_fits(const struct shm_describe *d, const struct shm_describe *ours, uint64_t size)
{
	return memcmp(d->magic, ours->magic, sizeof(d->magic)) == 0 && d->version == SHM_DESCRIBE_VERSION &&
	       d->bytes >= sizeof(*d) && d->total == size && d->scratch <= d->total &&
	       part_fits(&d->totals, size, sizeof(struct shm_totals)) &&
	       part_fits(&d->families, size, sizeof(struct shm_family)) &&
	       part_fits(&d->series, size, sizeof(struct shm_series)) && part_fits(&d->texts, size, 8) &&
	       part_fits(&d->slots, size, VIEW_SLOT_BYTES) && part_fits(&d->rows, size, 8) &&
	       d->texts.n == d->series.n && d->slots.n <= SHM_VIEW_SLOTS && d->families.n <= SHM_VIEW_FAMILIES &&
	       d->rows.n == d->slots.n + 1;
}

/* Checks what view->base points to, and looks which workers are alive. */
static bool view_read(const struct shm *shm, struct shm_view *view, uint64_t size)
{
	const struct shm_describe *ours = &shm->seg->describe;

	memcpy(&view->d, view->base, sizeof(view->d));
	if (!describe_fits(&view->d, ours, size))
		return false;
	const struct shm_totals *totals = shm_view_at(view, view->d.totals, 0);
	view->series = atomic_load_explicit(&totals->series, memory_order_acquire);
	if (view->series > view->d.series.n)
		return false;
	view->live_n = view->serving_n = 0;
	for (uint32_t i = 0; i < view->d.slots.n; i++) {
		const struct shm_slot *slot = shm_view_at(view, view->d.slots, i);
		uint64_t owner = atomic_load_explicit(&slot->owner, memory_order_acquire);
		view->live[i] = owner != 0 && shm_owner_alive(shm, owner);
		view->live_n += view->live[i];
		view->serving_n += view->live[i] && atomic_load(&slot->role) == SHM_SERVES;
	}
	return true;
}

static bool view_open(const struct shm *shm, struct shm_view *view, int dir, const char *name)
{
	struct stat st;
	/* NOLINTNEXTLINE(clang-analyzer-unix.StdCLibraryFunctions): a bad folder is an error like any other */
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return false;
	void *p = MAP_FAILED;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)sizeof(struct shm_describe) &&
	    st.st_size <= VIEW_FILE_MAX)
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return false;
	view->base = p;
	view->mapped = (size_t)st.st_size;
	memcpy(view->name, name, SHM_NAME_BYTES);
	if (view_read(shm, view, view->mapped))
		return true;
	munmap(p, view->mapped);
	return false;
}

/* appcore-<16 hex digits>.shm */
static bool is_segment_name(const char *name, uint64_t *layout)
{
	static const char PREFIX[] = "appcore-";
	const char *digits = name + sizeof(PREFIX) - 1;

	if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0 || strspn(digits, "0123456789abcdef") != 16 ||
	    strcmp(digits + 16, ".shm") != 0)
		return false;
	*layout = strtoull(digits, NULL, 16);
	return true;
}

int shm_views_open(const struct shm *shm, struct shm_view views[static SHM_VIEWS])
{
	int n = 0;

	views[n].base = (const uint8_t *)shm->seg;
	views[n].mapped = 0;
	views[n].name[0] = '\0';
	n += view_read(shm, &views[n], sizeof(*shm->seg));
	DIR *dir = opendir(shm->dir);
	if (!dir)
		return n;
	for (struct dirent *entry; n < SHM_VIEWS && (entry = readdir(dir)) != NULL;) {
		uint64_t layout;
		if (is_segment_name(entry->d_name, &layout) && layout != shm->layout)
			n += view_open(shm, &views[n], dirfd(dir), entry->d_name);
	}
	closedir(dir);
	return n;
}

void shm_views_close(struct shm_view views[static SHM_VIEWS], int n)
{
	for (int i = 0; i < n; i++)
		if (views[i].mapped) /* NOLINTNEXTLINE(performance-no-int-to-ptr): const away */
			munmap((void *)(uintptr_t)views[i].base, views[i].mapped);
}

static void punch(int fd, uint64_t from, uint64_t to)
{
	from = (from + SHM_PAGE - 1) / SHM_PAGE * SHM_PAGE;
	to = to / SHM_PAGE * SHM_PAGE;
	/* A file system that can't is one that keeps the memory. */
	if (from < to &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)) != 0)
		return;
}

static void retire(const struct shm_view *view, int dir)
{
	int fd = openat(dir, view->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	punch(fd, view->d.scratch, view->d.total);
	for (uint32_t i = 0; i < view->d.slots.n; i++) {
		const struct shm_slot *slot = shm_view_at(view, view->d.slots, i);
		uint64_t row = view->d.rows.offset + (uint64_t)i * view->d.rows.size;
		if (atomic_load(&slot->generation) == 0)
			punch(fd, row, row + view->d.rows.size);
	}
	close(fd);
}

void shm_views_retire(const struct shm *shm)
{
	struct shm_view *views = calloc(SHM_VIEWS, sizeof(*views));
	int dir = open(shm->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (views && dir >= 0) {
		int n = shm_views_open(shm, views);
		for (int i = 0; i < n; i++)
			if (views[i].mapped && views[i].live_n == 0)
				retire(&views[i], dir);
		shm_views_close(views, n);
	}
	if (dir >= 0)
		close(dir);
	free(views);
}
