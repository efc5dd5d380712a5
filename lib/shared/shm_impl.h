/* The shared segment's layout, and what the modules of lib/shared share among themselves. Nobody else includes this.
 *
 * A segment starts with a description of its metrics (struct shm_describe): where families, series, slots and cells are
 * and how large. Another version reads a segment by that alone (shm_view.c), so the description and the fields marked
 * "described" may only grow at their ends, or SHM_DESCRIBE_VERSION goes up. Everything else may change freely: the
 * layout hash in the file's name follows from sizes, offsets and the table of families. What a hash of sizes can't see
 * (a field with a new meaning) needs a new SHM_LAYOUT_VERSION. */
#ifndef APPCORE_SHARED_SHM_IMPL_H
#define APPCORE_SHARED_SHM_IMPL_H

#include "shared/limit.h"
#include "shared/logins.h"
#include "shared/metrics.h"
#include "shared/shm.h"

#include <stdatomic.h>

_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2, "atomics between processes must not lock");

enum {
	SHM_LAYOUT_VERSION = 1,
	SHM_DESCRIBE_VERSION = 1,
	SHM_LINE = 64, /* bytes of a cache line */
	SHM_NAME_BYTES = sizeof("appcore-0123456789abcdef.shm"),
	SHM_PAGE = 4096, /* rows of cells start on a page, so that a slot that is never used costs none */
	SHM_CRASH_MARKS = 64,
	SHM_CRASH_MARK_MS = 60 * 1000,
	/* Twice the promised 1,024, so that sets (chosen by a hash) do not overflow before that many run. */
	SHM_RUNNING_SETS = 32,
	SHM_RUNNING_WAYS = 64,
	SHM_WAKES = 2, /* WAKE__MAX */
	SHM_LIMIT_WAYS = 8,
	SHM_LIMIT_SETS = LIMIT_CLIENTS / SHM_LIMIT_WAYS,
	SHM_LOGIN_WAYS = 8,
	SHM_LOGIN_SETS = LOGINS_NAMES / SHM_LOGIN_WAYS,
	SHM_LIMIT_CELLS = LIMIT_EXACT + 1, /* a window of 100 cell widths touches 101 cells */
	METRICS_TEXT_BYTES = 512,          /* of a series: its labels as they are printed, without braces */
	METRICS_MAX_BUCKETS = 16,
	METRICS_SHARED_ROW = SHM_SLOTS, /* the row behind the slots' rows: gauges of the whole service */
	METRICS_ROWS = SHM_SLOTS + 1,
};

/* --- described: read by other versions --- */

/* n records of `size` bytes, from byte `offset` of the file. */
struct shm_part {
	uint64_t offset;
	uint32_t n;
	uint32_t size;
};

struct shm_describe {
	char magic[8];
	uint32_t version; /* SHM_DESCRIBE_VERSION */
	uint32_t bytes;   /* of this struct */
	uint64_t layout;  /* the hash in the file's name */
	uint64_t total;   /* bytes of the file */
	uint64_t scratch; /* from here on there is nothing that outlives the workers: limits, marks, keys */
	struct shm_part totals, families, series, texts, slots;
	struct shm_part rows; /* one of 64-bit cells for each slot, and the shared one */
};

/* Numbers of the whole segment. */
struct shm_totals {
	_Atomic uint32_t series; /* published so far */
	uint32_t reserved;
	_Atomic uint64_t dropped;         /* series that did not fit */
	_Atomic uint64_t limit_skipped;   /* requests let through without being counted */
	_Atomic int64_t service_start_us; /* wall time */
};

enum shm_family_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_TYPE__MAX };
enum {
	METRICS_LABELLED = 1, /* no sample before its first use */
	METRICS_SHARED = 2,   /* gauge of the service: one value, in the shared row */
	METRICS_COMPUTED = 4, /* written while rendering; has no series */
	METRICS_SECONDS = 8,  /* histogram whose sum is kept in nanoseconds */
};

struct shm_family {
	char name[64];
	char help[128];
	uint32_t type;
	uint32_t flags;
	double bounds[METRICS_MAX_BUCKETS]; /* ascending, above 0; the first 0 ends them */
};

/* Cells of a series: counter {count}; gauge {bits of the double, generation of the slot, wall time in microseconds};
 * histogram {count per bucket, count above them all, sum}. */
enum { METRICS_GAUGE_VALUE, METRICS_GAUGE_GENERATION, METRICS_GAUGE_WHEN, METRICS_GAUGE_CELLS };

struct shm_series {
	uint64_t hash; /* of family and text */
	uint32_t family;
	uint32_t cell;  /* the first, in every row */
	uint32_t cells; /* their number */
	uint32_t text;  /* bytes of text */
};

/* A worker's place. Two cache lines: who it is (rarely written), and what it writes all the time. */
struct shm_slot {
	_Alignas(SHM_LINE) _Atomic uint64_t owner;         /* shm_owner_self() of the worker; 0: given back */
	_Atomic uint32_t generation;                       /* 0: never used */
	_Atomic uint32_t role;                             /* enum shm_role */
	_Atomic int64_t start_us;                          /* wall time */
	_Atomic uint64_t instance[SHM_INSTANCE_BYTES / 8]; /* text with NULs behind it */
	_Alignas(SHM_LINE) _Atomic uint64_t beat_ms;       /* 0: has not beaten yet. Not described from here on. */
	_Atomic uint64_t changes;                          /* metrics_changes() */
	_Atomic uint64_t condemned;                        /* the owner that was last ended for its silence */
};

/* --- not described --- */

/* A lock that any process can inherit from a dead one: holds shm_owner_self() of its holder, 0 when free. */
typedef _Atomic uint64_t shm_lock;

struct shm_mark {
	_Atomic uint64_t at_ms; /* 0: being written */
	_Atomic uint64_t identity[2];
};

struct shm_marks {
	_Alignas(SHM_LINE) _Atomic uint64_t last_ms; /* 0: none ever */
	_Atomic uint32_t next;
	struct shm_mark marks[SHM_CRASH_MARKS];
};

/* holders[i] is slot + 1 and generation in 32 bits each; 0: free. Claimed under the lock, freed without it. */
struct shm_running_set {
	_Alignas(SHM_LINE) shm_lock lock;
	_Alignas(SHM_LINE) _Atomic uint64_t holders[SHM_RUNNING_WAYS];
	_Atomic uint64_t keys[SHM_RUNNING_WAYS][2];
	_Atomic uint64_t identities[SHM_RUNNING_WAYS][2];
};

/* A topic that is slept on (wake.h). */
struct shm_wake {
	_Alignas(SHM_LINE) _Atomic uint32_t counter;
	_Atomic uint32_t sleepers;
};

/* Requests of a client at (about) one time. */
struct shm_limit_cell {
	uint32_t offset_ms; /* since the entry's base, of the newest request in it */
	uint32_t count;
};

struct shm_limit_entry {
	_Alignas(SHM_LINE) struct limit_id id;
	uint64_t base_ms;
	uint32_t used; /* sum of the cells' counts */
	uint32_t window_ms;
	uint16_t head; /* oldest cell */
	uint16_t n;    /* cells in use, a ring from head */
	struct shm_limit_cell cells[SHM_LIMIT_CELLS];
};

struct shm_limit_set {
	_Alignas(SHM_LINE) shm_lock lock;
	uint32_t tags[SHM_LIMIT_WAYS]; /* of the entry's id; 0: empty */
	struct shm_limit_entry entries[SHM_LIMIT_WAYS];
};

/* Failed logins of one name from one address (logins.c). */
struct shm_login_entry {
	struct limit_id id;
	uint64_t paid_ms;  /* until when its failures are paid back */
	uint64_t until_ms; /* and until when those under way count */
	uint32_t under_way, reserved;
};

struct shm_login_set {
	_Alignas(SHM_LINE) shm_lock lock;
	struct shm_login_entry entries[SHM_LOGIN_WAYS];
};

struct shm_segment {
	struct shm_describe describe;
	_Alignas(SHM_LINE) struct shm_totals totals;
	_Alignas(SHM_LINE) struct shm_family families[METRICS__MAX];
	struct shm_series series[METRICS_SERIES];
	char texts[METRICS_SERIES][METRICS_TEXT_BYTES];
	struct shm_slot slots[SHM_SLOTS];
	_Alignas(SHM_PAGE) _Atomic uint64_t cells[METRICS_ROWS][METRICS_CELLS];
	/* scratch: */
	_Alignas(SHM_PAGE) shm_lock series_lock;
	_Atomic uint64_t boot; /* hash of the boot that the times below belong to */
	uint8_t secret[16];    /* crypto_shorthash's key */
	struct shm_wake wakes[SHM_WAKES];
	struct shm_marks marks;
	struct shm_running_set running[SHM_RUNNING_SETS];
	struct shm_limit_set limit[SHM_LIMIT_SETS];
	struct shm_login_set logins[SHM_LOGIN_SETS];
};

_Static_assert(sizeof(((struct shm_segment *)0)->limit) <= 8u << 20, "the limiter stays under 8 MiB");
_Static_assert(sizeof(((struct shm_segment *)0)->logins) <= 1u << 20, "failed logins stay under 1 MiB");
_Static_assert(sizeof(struct shm_slot) == 2 * SHM_LINE, "a slot is two cache lines");
_Static_assert(METRICS_CELLS * sizeof(uint64_t) % SHM_PAGE == 0, "rows are whole pages");

struct shm {
	struct shm_segment *seg;
	char *dir;
	int fd;
	int alive_fd; /* appcore.alive, with this process's lock (shm_owner.c) */
	uint64_t layout;
	uint64_t self; /* shm_owner_self() */
	int slot;      /* -1: none */
	uint32_t generation;
	_Atomic uint64_t *row;   /* cells of the slot; NULL without one */
	uint64_t reap_called_ms; /* 0: never */
	uint64_t reap_since_ms;  /* silence is counted from here on */
};

/* --- shm.c --- */

/* shm_open_dir for a layout whose hash is mixed with `salt`: how tests get a second version. */
enum status shm_open_salted(struct shm **out, const char *run_dir, uint64_t salt, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Waits a bounded time for the run directory's lock (flock), which guards making segments and claiming slots. The
 * descriptor to close, or -1. */
int shm_dir_lock(const char *dir, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* --- shm_owner.c: processes by name, and locks that survive them --- */

/* Process id and a hash of boot and start time in one word, so that neither a reused id nor a reboot deceives. 0 when
 * /proc can't be read. */
uint64_t shm_owner_self(void);
uint64_t shm_owner_boot(void);
int shm_owner_pid(uint64_t owner);

/* Says on `fd` (appcore.alive) that `owner` lives, until the descriptor and its copies are closed. */
bool shm_owner_announce(int fd, uint64_t owner) __attribute__((warn_unused_result));

/* The process is there and runs (a zombie does not), also one of another PID namespace. Reads /proc: some 10
 * microseconds. */
bool shm_owner_alive(const struct shm *shm, uint64_t owner) __attribute__((nonnull));

/* Sends SIGKILL to exactly that process, if it is of this user and of this PID namespace. */
bool shm_owner_kill(uint64_t owner);

/* The owner's main thread is in an uninterruptible wait, as a rule for a disk. */
bool shm_owner_waits_for_disk(uint64_t owner);

enum shm_lock_state {
	SHM_LOCK_TIMEOUT,
	SHM_LOCK_TAKEN,
	SHM_LOCK_INHERITED /* taken from a holder that died inside: what it guards may be half-written */
};

/* Never for system calls inside: holders are expected to be gone within a microsecond. */
enum shm_lock_state shm_lock_take(const struct shm *shm, shm_lock *lock, uint32_t max_us)
	__attribute__((nonnull, warn_unused_result));
void shm_lock_give(shm_lock *lock) __attribute__((nonnull));

/* --- shm_marks.c --- */

/* The segment goes: a crash from now on marks nothing. */
void shm_marks_forget(const struct shm *shm) __attribute__((nonnull));

/* --- shm_view.c: any version's segment --- */

enum { SHM_VIEWS = 64, SHM_VIEW_SLOTS = 256, SHM_VIEW_FAMILIES = 256 };

/* A checked segment, mapped for reading; all parts lie inside the file. */
struct shm_view {
	const uint8_t *base;
	size_t mapped;             /* bytes to unmap; 0: borrowed from the handle */
	char name[SHM_NAME_BYTES]; /* of the file */
	struct shm_describe d;
	uint32_t series; /* published when it was opened */
	bool live[SHM_VIEW_SLOTS];
	int live_n;
	int serving_n; /* of them those that answer requests */
};

/* Views of all segments in the run directory, the handle's own first. Files that do not hold what they should are left
 * out. Returns how many; end with shm_views_close. */
int shm_views_open(const struct shm *shm, struct shm_view views[static SHM_VIEWS])
	__attribute__((nonnull, warn_unused_result));
void shm_views_close(struct shm_view views[static SHM_VIEWS], int n) __attribute__((nonnull));

/* Gives back the scratch memory of segments without a live worker: old versions keep their counters, little else. Under
 * the directory's lock. */
void shm_views_retire(const struct shm *shm) __attribute__((nonnull));

static inline const void *shm_view_at(const struct shm_view *view, struct shm_part part, uint32_t i)
{
	return view->base + part.offset + (uint64_t)i * part.size;
}

/* --- metrics.c --- */

extern const struct shm_family metrics_families[METRICS__MAX];

/* Bounds there are, without the one for +Inf. */
uint32_t metrics_bounds(const struct shm_family *family) __attribute__((nonnull));
/* Cells that a series takes. */
uint32_t metrics_cells(const struct shm_family *family) __attribute__((nonnull));

/* Appends name="value", escaped; values longer than 64 bytes are cut. False when `n` bytes of `out` do not suffice. */
bool metrics_put_label(char *out, size_t size, size_t *n, const char *name, struct str value) __attribute__((nonnull));

/* --- FNV-1a, for hashes that nobody attacks --- */

#define SHM_FNV_START 0xcbf29ce484222325u

static inline uint64_t shm_fnv(uint64_t hash, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * 0x100000001b3u;
	return hash;
}

#endif
