/* The segment, slots, crash marks, running keys and locks: with other processes that are killed, stopped and racing. */
#include "unit.h"

#include "base/clock.h"
#include "shared/shm_impl.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { PATIENCE_MS = 30 * 1000 };

/* A fresh run directory for each case; valid until the next call. */
static const char *fresh_dir(void)
{
	static char dir[256];

	snprintf(dir, sizeof(dir), "%s/run-XXXXXX", unit_temp_dir());
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	return dir;
}

static struct shm *open_salted(const char *dir, uint64_t salt)
{
	struct shm *shm;
	struct err err = {0};

	if (shm_open_salted(&shm, dir, salt, &err) != STATUS_OK) {
		fprintf(stderr, "%s\n", err.text);
		CU_FAIL_FATAL("shm_open");
	}
	return shm;
}

static struct shm *open_claimed(const char *dir, const char *instance)
{
	struct shm *shm = open_salted(dir, 0);

	CU_ASSERT_FATAL(shm_claim_slot(shm, instance, NULL) == STATUS_OK);
	return shm;
}

/* Another worker: claims, runs `work` (NULL: nothing), says "ready" and waits to be killed. */
struct peer {
	pid_t pid;
	int slot;
};

static struct peer start_peer(const char *dir, const char *instance, void (*work)(struct shm *shm))
{
	struct peer peer;
	int ready[2];

	CU_ASSERT_FATAL(pipe(ready) == 0);
	peer.pid = fork();
	CU_ASSERT_FATAL(peer.pid >= 0);
	if (peer.pid == 0) {
		struct shm *shm;
		if (shm_open_dir(&shm, dir, NULL) != STATUS_OK || shm_claim_slot(shm, instance, NULL) != STATUS_OK)
			_exit(1);
		if (work)
			work(shm);
		int slot = shm_slot(shm);
		if (write(ready[1], &slot, sizeof(slot)) != sizeof(slot))
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	CU_ASSERT_FATAL(read(ready[0], &peer.slot, sizeof(peer.slot)) == sizeof(peer.slot));
	close(ready[0]);
	return peer;
}

/* Killed, and still there as a zombie. */
static void kill_peer(struct peer peer)
{
	siginfo_t info;

	kill(peer.pid, SIGKILL);
	waitid(P_PID, (id_t)peer.pid, &info, WEXITED | WNOWAIT);
}

static int reap(pid_t pid)
{
	int status = 0;

	CU_ASSERT(waitpid(pid, &status, 0) == pid);
	return status;
}

static void segment_path(const struct shm *shm, char *out, size_t size)
{
	snprintf(out, size, "%s/appcore-%016llx.shm", shm->dir, (unsigned long long)shm->layout);
}

/* --- the file --- */

static void test_file(void)
{
	const char *dir = fresh_dir();
	struct shm *a = open_salted(dir, 0), *b = open_salted(dir, 0);
	char path[512];
	struct stat st;

	segment_path(a, path, sizeof(path));
	CU_ASSERT_FATAL(stat(path, &st) == 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	CU_ASSERT_EQUAL(st.st_size, sizeof(struct shm_segment));
	CU_ASSERT(st.st_blocks * 512 >= st.st_size);
	CU_ASSERT(shm_slot(a) == -1 && shm_service_start_us(a) == 0);
	shm_beat(a, 1);
	atomic_store(&a->seg->totals.dropped, 7);
	CU_ASSERT_EQUAL(atomic_load(&b->seg->totals.dropped), 7);
	shm_close(a);
	shm_close(b);
	shm_close(NULL);
	a = open_salted(dir, 0);
	CU_ASSERT_EQUAL(atomic_load(&a->seg->totals.dropped), 7);
	shm_close(a);
}

static void test_no_directory(void)
{
	struct shm *shm = (struct shm *)&shm;
	struct err err = {0};

	CU_ASSERT_EQUAL(shm_open_dir(&shm, "/nonexistent/run", &err), STATUS_UNAVAILABLE);
	CU_ASSERT_PTR_NULL(shm);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/run"));
}

/* A file under the right name that is not what it should be is replaced. */
static void test_bad_files(void)
{
	static const struct {
		off_t truncate_to; /* -1: not */
		off_t at;          /* byte to change; -1: none */
		bool symlink;
	} CASES[] = {
		{.truncate_to = 0, .at = -1},
		{.truncate_to = 100, .at = -1},
		{.truncate_to = sizeof(struct shm_segment) - 1, .at = -1},
		{.truncate_to = sizeof(struct shm_segment) + 1, .at = -1},
		{.truncate_to = -1, .at = 0},
		{.truncate_to = -1, .at = offsetof(struct shm_describe, version)},
		{.truncate_to = -1, .at = offsetof(struct shm_describe, layout)},
		{.truncate_to = -1, .at = offsetof(struct shm_describe, rows)},
		{.truncate_to = -1, .at = -1, .symlink = true},
	};

	for (size_t i = 0; i < COUNT(CASES); i++) {
		const char *dir = fresh_dir();
		struct shm *shm = open_salted(dir, 0);
		char path[512];
		segment_path(shm, path, sizeof(path));
		shm_close(shm);
		int fd = open(path, O_RDWR);
		struct stat before, after;
		CU_ASSERT(fstat(fd, &before) == 0);
		if (CASES[i].truncate_to >= 0)
			CU_ASSERT(ftruncate(fd, CASES[i].truncate_to) == 0);
		if (CASES[i].at >= 0)
			CU_ASSERT(pwrite(fd, "\xee", 1, CASES[i].at) == 1);
		if (CASES[i].symlink)
			CU_ASSERT(unlink(path) == 0 && symlink("/etc/passwd", path) == 0);
		shm = open_salted(dir, 0);
		CU_ASSERT(lstat(path, &after) == 0 && S_ISREG(after.st_mode) && after.st_ino != before.st_ino);
		CU_ASSERT(shm_claim_slot(shm, "a", NULL) == STATUS_OK);
		shm_close(shm);
		close(fd);
	}
}

/* Many workers start at once in an empty directory: one segment, a slot for each, one start of the service. */
static void test_race_of_creators(void)
{
	enum { N = 8 };
	const char *dir = fresh_dir();
	struct result {
		ino_t inode;
		int slot;
		int64_t start;
	} results[N] = {0};
	int go[2], back[2];
	char path[512];
	struct stat st;
	char byte;

	CU_ASSERT_FATAL(pipe(go) == 0 && pipe(back) == 0);
	for (int i = 0; i < N; i++) {
		if (fork() != 0)
			continue;
		struct shm *shm;
		close(go[1]);
		ssize_t n = read(go[0], &byte, 1); /* end of file is the start */
		(void)n;
		if (shm_open_dir(&shm, dir, NULL) != STATUS_OK || shm_claim_slot(shm, "w", NULL) != STATUS_OK)
			_exit(1);
		struct result r = {.slot = shm_slot(shm), .start = shm_service_start_us(shm)};
		if (fstat(shm->fd, &st) == 0)
			r.inode = st.st_ino;
		n = write(back[1], &r, sizeof(r));
		pause();
		_exit(0);
	}
	close(go[0]);
	close(go[1]);
	uint64_t seen = 0;
	for (int i = 0; i < N; i++) {
		CU_ASSERT_FATAL(read(back[0], &results[i], sizeof(results[i])) == sizeof(results[i]));
		seen |= UINT64_C(1) << results[i].slot;
		CU_ASSERT_EQUAL(results[i].inode, results[0].inode);
		CU_ASSERT_EQUAL(results[i].start, results[0].start);
	}
	CU_ASSERT_EQUAL(__builtin_popcountll(seen), N);
	struct shm *shm = open_salted(dir, 0);
	struct shm_worker workers[SHM_SLOTS];
	int n = shm_workers(shm, 0, workers);
	CU_ASSERT_EQUAL(n, N);
	for (int i = 0; i < n; i++)
		kill(workers[i].pid, SIGKILL);
	for (int i = 0; i < n; i++)
		reap(workers[i].pid);
	segment_path(shm, path, sizeof(path));
	CU_ASSERT(stat(path, &st) == 0 && st.st_ino == results[0].inode);
	shm_close(shm);
	close(back[0]);
	close(back[1]);
}

/* --- slots --- */

static void test_claim_order(void)
{
	const char *dir = fresh_dir();
	struct shm *a = open_claimed(dir, "a"), *b = open_claimed(dir, "b");
	struct err err;

	CU_ASSERT(shm_slot(a) == 0 && shm_slot(b) == 1);
	CU_ASSERT_EQUAL(shm_claim_slot(a, "a", &err), STATUS_INTERNAL);
	shm_close(a);
	struct shm *c = open_claimed(dir, "c");
	CU_ASSERT_EQUAL(shm_slot(c), 2); /* never used before one that had been a's */
	a = open_claimed(dir, "a");
	CU_ASSERT_EQUAL(shm_slot(a), 0);
	CU_ASSERT_EQUAL(a->generation, 2);
	struct shm *again = open_claimed(dir, "a"); /* a is alive */
	CU_ASSERT_EQUAL(shm_slot(again), 3);
	shm_close(a);
	shm_close(b);
	shm_close(c);
	shm_close(again);
}

static void test_all_slots(void)
{
	const char *dir = fresh_dir();
	struct shm *all[SHM_SLOTS], *more = open_salted(dir, 0);
	struct err err = {0};
	const char *name = "a name that is longer than there is room";

	for (int i = 0; i < SHM_SLOTS; i++)
		all[i] = open_claimed(dir, name);
	CU_ASSERT_EQUAL(shm_claim_slot(more, "x", &err), STATUS_BUSY);
	CU_ASSERT_STRING_EQUAL(err.text, "All 64 worker slots are taken.");
	struct shm_worker workers[SHM_SLOTS];
	CU_ASSERT_EQUAL(shm_workers(more, 0, workers), SHM_SLOTS);
	CU_ASSERT_STRING_EQUAL(workers[63].instance, "a name that is longer than ther");
	shm_close(all[17]);
	CU_ASSERT_EQUAL(shm_claim_slot(more, "x", &err), STATUS_OK); /* any dead one */
	CU_ASSERT_EQUAL(shm_slot(more), 17);
	shm_close(more);
	for (int i = 0; i < SHM_SLOTS; i++)
		if (i != 17)
			shm_close(all[i]);
}

static void test_killed_worker(void)
{
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, "me");
	struct peer peer = start_peer(dir, "peer", NULL);
	struct shm_worker workers[SHM_SLOTS];

	CU_ASSERT_EQUAL(shm_workers(me, 0, workers), 2);
	CU_ASSERT(workers[1].pid == peer.pid && workers[1].slot == peer.slot && workers[1].start_us > 0);
	CU_ASSERT_STRING_EQUAL(workers[1].instance, "peer");
	kill_peer(peer);
	CU_ASSERT_EQUAL(shm_workers(me, 0, workers), 1); /* a zombie is dead */
	reap(peer.pid);
	CU_ASSERT_EQUAL(shm_workers(me, 0, workers), 1);
	struct peer next = start_peer(dir, "peer", NULL);
	CU_ASSERT_EQUAL(next.slot, peer.slot);
	CU_ASSERT_EQUAL(atomic_load(&me->seg->slots[peer.slot].generation), 2);
	kill_peer(next);
	reap(next.pid);
	shm_close(me);
}

/* The same process id with another start time, or from before a reboot, is another process. */
static void test_owner(void)
{
	struct shm *me = open_salted(fresh_dir(), 0);
	uint64_t self = shm_owner_self();

	CU_ASSERT(self != 0 && shm_owner_pid(self) == getpid());
	CU_ASSERT(shm_owner_alive(me, self));
	CU_ASSERT_FALSE(shm_owner_alive(me, self ^ 1));
	CU_ASSERT_FALSE(shm_owner_alive(me, 0));
	CU_ASSERT_FALSE(shm_owner_alive(me, UINT64_MAX));
	CU_ASSERT_FALSE(shm_owner_kill(self));
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	uint64_t child = (uint64_t)pid << 42 | 12345; /* right process id, wrong birth */
	CU_ASSERT_FALSE(shm_owner_alive(me, child));
	CU_ASSERT_FALSE(shm_owner_kill(child));
	kill(pid, SIGTERM);
	CU_ASSERT_EQUAL(WTERMSIG(reap(pid)), SIGTERM);
	shm_close(me);
}

/* Two containers with one run directory: the peer has a PID namespace of its own, and is its first process. */
static void test_owner_elsewhere(void)
{
	const char *dir = fresh_dir();
	struct shm_worker workers[SHM_SLOTS];
	int ready[2];
	pid_t pid;

	CU_ASSERT_FATAL(pipe(ready) == 0);
	pid_t outer = fork();
	if (outer == 0) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0)
			_exit(77);
		pid = fork();
		if (pid == 0) {
			struct shm *shm;
			/* Its own /proc, as a container has it. */
			if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
			    mount("proc", "/proc", "proc", 0, NULL) != 0)
				_exit(77);
			if (getpid() != 1 || shm_open_dir(&shm, dir, NULL) != STATUS_OK ||
			    shm_claim_slot(shm, "elsewhere", NULL) != STATUS_OK)
				_exit(1);
			shm_beat(shm, 1);
			if (write(ready[1], &shm->self, sizeof(shm->self)) != sizeof(shm->self))
				_exit(1);
			for (;;)
				pause();
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int status = 0;
		(void)waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 0);
	}
	close(ready[1]);
	uint64_t owner = 0;
	bool is_up = read(ready[0], &owner, sizeof(owner)) == sizeof(owner);
	close(ready[0]);
	if (!is_up) {
		int status = reap(outer);
		CU_ASSERT_EQUAL(WEXITSTATUS(status), 77);
		printf("skipped: PID namespaces can't be made here ... ");
		return;
	}
	struct shm *me = open_claimed(dir, "here");
	CU_ASSERT_EQUAL(shm_owner_pid(owner), 1);
	CU_ASSERT(shm_owner_alive(me, owner));
	CU_ASSERT(shm_slot(me) != 0);
	CU_ASSERT_EQUAL(shm_workers(me, 2, workers), 2);
	CU_ASSERT_STRING_EQUAL(workers[0].instance, "elsewhere");
	/* It is long silent, and not this namespace's to end. */
	CU_ASSERT_FALSE(shm_owner_kill(owner));
	shm_beat(me, 100000);
	CU_ASSERT_EQUAL(shm_reap_silent(me, 100000, 1000), 0);
	shm_beat(me, 100200);
	CU_ASSERT_EQUAL(shm_reap_silent(me, 100200, 1000), 0);
	CU_ASSERT(shm_owner_alive(me, owner));
	/* The first process of a namespace takes all others with it. */
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", outer, outer);
	FILE *children = fopen(path, "re");
	CU_ASSERT_FATAL(children != NULL && fscanf(children, "%d", &pid) == 1);
	fclose(children);
	kill(pid, SIGKILL);
	reap(outer);
	CU_ASSERT_FALSE(shm_owner_alive(me, owner));
	CU_ASSERT_EQUAL(shm_workers(me, 2, workers), 1);
	shm_close(me);
}

/* Without descriptors /proc can't be read: a live owner must still count as alive. */
static void test_owner_without_descriptors(void)
{
	const char *dir = fresh_dir();
	pid_t pid = fork();

	if (pid == 0) {
		struct shm *me;
		if (shm_open_dir(&me, dir, NULL) != STATUS_OK)
			_exit(2);
		uint64_t self = me->self;
		struct rlimit none = {0, 0};
		me->self = 0; /* or it would not look */
		_exit(setrlimit(RLIMIT_NOFILE, &none) == 0 && shm_owner_alive(me, self) ? 0 : 1);
	}
	CU_ASSERT_EQUAL(reap(pid), 0);
}

static void test_service_start(void)
{
	const char *dir = fresh_dir();
	struct shm *a = open_claimed(dir, "a");
	int64_t first = shm_service_start_us(a);

	CU_ASSERT(first > 0 && first <= clock_wall_us());
	usleep(1000);
	struct shm *b = open_claimed(dir, "b");
	CU_ASSERT_EQUAL(shm_service_start_us(b), first);
	shm_close(a);
	a = open_claimed(dir, "a");
	CU_ASSERT_EQUAL(shm_service_start_us(a), first); /* b is alive */
	struct shm *other = open_salted(dir, 1);
	CU_ASSERT(shm_claim_slot(other, "a", NULL) == STATUS_OK);
	CU_ASSERT_EQUAL(shm_service_start_us(other), first); /* the other version goes on */
	shm_close(a);
	shm_close(b);
	shm_close(other);
	a = open_claimed(dir, "a");
	CU_ASSERT(shm_service_start_us(a) > first);
	shm_close(a);
}

/* Times of another boot are forgotten by the first worker of this one. */
static void test_reboot(void)
{
	const char *dir = fresh_dir();
	struct shm *a = open_claimed(dir, "a");
	struct limit_id id = limit_id_of_address(STR("10.0.0.1"));
	uint8_t identity[16] = {1};

	limit_take(a, id, 10, 60000, 5000);
	atomic_store(&a->seg->marks.last_ms, clock_mono_ms());
	atomic_store(&a->seg->marks.marks[0].at_ms, clock_mono_ms());
	memcpy(&a->seg->marks.marks[0].identity, identity, 16);
	CU_ASSERT(shm_is_crash_marked(a, identity));
	CU_ASSERT_EQUAL(limit_take(a, id, 10, 60000, 5000).remaining, 8);
	atomic_fetch_add(&a->seg->boot, 1);
	shm_close(a);
	a = open_claimed(dir, "a");
	CU_ASSERT_FALSE(shm_is_crash_marked(a, identity));
	CU_ASSERT_EQUAL(limit_take(a, id, 10, 60000, 5000).remaining, 9);
	shm_close(a);
}

/* An old version's segment gives its memory back, and is whole again when it is used again. */
static void test_retired_version(void)
{
	const char *dir = fresh_dir();
	struct shm *old = open_salted(dir, 1);
	struct stat st;
	char path[512];

	segment_path(old, path, sizeof(path));
	CU_ASSERT(shm_claim_slot(old, "old", NULL) == STATUS_OK);
	struct shm *a = open_claimed(dir, "a");
	CU_ASSERT(stat(path, &st) == 0 && st.st_blocks * 512 >= st.st_size); /* alive: left alone */
	struct shm *mapped = open_salted(dir, 1);
	shm_close(old);
	shm_close(a);
	a = open_claimed(dir, "a");
	CU_ASSERT(stat(path, &st) == 0 && st.st_blocks * 512 < 3 << 20);
	CU_ASSERT(shm_claim_slot(mapped, "old", NULL) == STATUS_OK);
	CU_ASSERT(stat(path, &st) == 0 && st.st_blocks * 512 >= st.st_size);
	CU_ASSERT(mapped->seg->secret[0] | mapped->seg->secret[1] | mapped->seg->secret[2] | mapped->seg->secret[3]);
	shm_close(mapped);
	shm_close(a);
}

/* --- silence --- */

static void beat_at_1000(struct shm *shm)
{
	shm_beat(shm, 1000);
}

static void test_silent_worker(void)
{
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, "me"), *second = open_claimed(dir, "second");
	struct peer silent = start_peer(dir, "silent", beat_at_1000);
	struct peer starting = start_peer(dir, "starting", NULL);
	struct shm_worker workers[SHM_SLOTS];
	int ended = 0;

	CU_ASSERT_EQUAL(shm_workers(me, 1700, workers), 4);
	CU_ASSERT_EQUAL(workers[2].silent_ms, 700);
	CU_ASSERT_EQUAL(workers[3].silent_ms, 0);
	uint64_t now = 1000;
	CU_ASSERT_EQUAL(shm_reap_silent(me, 50000, 2000), 0); /* the first call only looks */
	me->reap_called_ms = 0;
	for (; now <= 3000; now += 250)
		CU_ASSERT_EQUAL(shm_reap_silent(me, now, 2000), 0);
	CU_ASSERT_EQUAL(shm_reap_silent(me, 3001 + 10000, 2000), 0); /* held up: all may have slept */
	CU_ASSERT_EQUAL(kill(silent.pid, 0), 0);
	for (now = 13001 + 250; now <= 13001 + 2000; now += 250)
		CU_ASSERT_EQUAL(shm_reap_silent(me, now, 2000), 0);
	for (uint64_t t = 13001; t <= 13001 + 2250; t += 250)
		ended += shm_reap_silent(second, t, 2000);
	ended += shm_reap_silent(me, now, 2000);
	CU_ASSERT_EQUAL(ended, 1); /* two peers saw it, one counts */
	CU_ASSERT_EQUAL(WTERMSIG(reap(silent.pid)), SIGKILL);
	CU_ASSERT_EQUAL(shm_reap_silent(me, now + 1, 2000), 0);
	CU_ASSERT_EQUAL(kill(starting.pid, 0), 0); /* has not begun to beat */

	CU_ASSERT(shm_is_well(me, 50000, 2000)); /* nor has this one */
	beat_at_1000(me);
	CU_ASSERT(shm_is_well(me, 3000, 2000));
	CU_ASSERT(!shm_is_well(me, 3001, 2000));
	shm_beat(me, 3001);
	CU_ASSERT(shm_is_well(me, 3001, 2000));
	kill_peer(starting);
	reap(starting.pid);
	shm_close(me);
	shm_close(second);
}

/* --- crash marks --- */

static volatile int zero;

static void crash_segv(void)
{
	volatile int *nothing = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*nothing = zero;
}

static void crash_abort(void)
{
	abort();
}

static void crash_kill(void)
{
	raise(SIGFPE);
}

static int deep(int n)
{
	volatile char frame[4096];

	frame[0] = (char)n;
	return n < 0 ? 0 : deep(n + 1) + frame[0];
}

static void crash_stack(void)
{
	deep(zero);
}

static void test_crash_marks(void)
{
	static const struct {
		void (*crash)(void);
		int signal_number;
		bool working;
	} CASES[] = {
		{crash_segv, SIGSEGV, true},  {crash_abort, SIGABRT, true}, {crash_kill, SIGFPE, true},
		{crash_segv, SIGSEGV, false}, {crash_stack, SIGSEGV, true},
	};
	struct shm *me = open_claimed(fresh_dir(), "me");

	for (size_t i = 0; i < COUNT(CASES); i++) {
		uint8_t identity[16] = {(uint8_t)i, 1, 2, 3}, other[16] = {(uint8_t)i, 1, 2, 4};
		CU_ASSERT_FALSE(shm_is_crash_marked(me, identity));
		pid_t pid = fork();
		if (pid == 0) {
			struct rlimit none = {0, 0};
			setrlimit(RLIMIT_CORE, &none);
			shm_mark_crashes(me);
			shm_working_on(other);
			shm_working_on(CASES[i].working ? identity : NULL);
			CASES[i].crash();
			_exit(0);
		}
		int status = reap(pid);
		CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == CASES[i].signal_number);
		CU_ASSERT_EQUAL(shm_is_crash_marked(me, identity), CASES[i].working);
		CU_ASSERT_FALSE(shm_is_crash_marked(me, other));
	}
	uint8_t first[16] = {0, 1, 2, 3};
	uint64_t at = atomic_load(&me->seg->marks.marks[0].at_ms);
	CU_ASSERT(shm_is_crash_marked(me, first));
	atomic_store(&me->seg->marks.marks[0].at_ms, at > 120000 ? at - 120000 : 1);
	if (at > 120000)
		CU_ASSERT_FALSE(shm_is_crash_marked(me, first)); /* older than a minute */
	shm_close(me);
}

/* --- running keys --- */

static const uint8_t KEY[16] = {42}, ALICE[16] = {1}, BOB[16] = {2};

static void claim_for_alice(struct shm *shm)
{
	if (shm_running_claim(shm, KEY, ALICE) != SHM_RUNNING_CLAIMED)
		_exit(1);
}

static void test_running(void)
{
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, "me"), *other = open_claimed(dir, "other"), *none = open_salted(dir, 0);

	CU_ASSERT_EQUAL(shm_running_claim(none, KEY, ALICE), SHM_RUNNING_FULL); /* no slot */
	CU_ASSERT_EQUAL(shm_running_claim(me, KEY, ALICE), SHM_RUNNING_CLAIMED);
	CU_ASSERT_EQUAL(shm_running_claim(me, KEY, BOB), SHM_RUNNING_ELSEWHERE);
	CU_ASSERT_EQUAL(shm_running_claim(other, KEY, BOB), SHM_RUNNING_ELSEWHERE);
	shm_running_release(other, KEY, ALICE); /* not the holder */
	shm_running_release(me, KEY, BOB);      /* not the identity */
	CU_ASSERT_EQUAL(shm_running_claim(other, KEY, BOB), SHM_RUNNING_ELSEWHERE);
	CU_ASSERT_EQUAL(shm_running_claim(other, KEY, ALICE), SHM_RUNNING_CLAIMED); /* a retry takes over */
	shm_running_release(me, KEY, ALICE);                                        /* the former holder comes late */
	CU_ASSERT_EQUAL(shm_running_claim(me, KEY, BOB), SHM_RUNNING_ELSEWHERE);
	shm_running_release(other, KEY, ALICE);
	CU_ASSERT_EQUAL(shm_running_claim(me, KEY, BOB), SHM_RUNNING_CLAIMED);
	shm_close(me);
	CU_ASSERT_EQUAL(shm_running_claim(other, KEY, ALICE), SHM_RUNNING_CLAIMED); /* gave its slot back */
	shm_close(other);
	me = open_claimed(dir, "other"); /* the same slot and process, another generation */
	CU_ASSERT_EQUAL(shm_running_claim(me, KEY, BOB), SHM_RUNNING_CLAIMED);
	shm_close(me);
	shm_close(none);
}

static void test_running_dead_holder(void)
{
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, "me");
	struct peer peer = start_peer(dir, "peer", claim_for_alice);

	CU_ASSERT_EQUAL(shm_running_claim(me, KEY, BOB), SHM_RUNNING_ELSEWHERE);
	kill_peer(peer);
	struct peer next = start_peer(dir, "peer", NULL); /* has the dead one's slot */
	CU_ASSERT_EQUAL(next.slot, peer.slot);
	CU_ASSERT_EQUAL(shm_running_claim(me, KEY, BOB), SHM_RUNNING_CLAIMED);
	reap(peer.pid);
	kill_peer(next);
	reap(next.pid);
	shm_close(me);
}

static void claim_nth(struct shm *shm, int n, enum shm_running *result)
{
	uint8_t key[16] = {0};

	memcpy(key, &n, sizeof(n));
	*result = shm_running_claim(shm, key, ALICE);
}

static void test_running_room(void)
{
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, "me"), *dying = open_claimed(dir, "dying");
	enum shm_running result = SHM_RUNNING_CLAIMED;
	int n = 0;

	for (; n < 10000 && result == SHM_RUNNING_CLAIMED; n++)
		claim_nth(dying, n, &result);
	CU_ASSERT_EQUAL(result, SHM_RUNNING_FULL);
	CU_ASSERT(n > 1024);
	claim_nth(me, n - 1, &result);
	CU_ASSERT_EQUAL(result, SHM_RUNNING_FULL);
	shm_close(dying);
	claim_nth(me, n - 1, &result); /* what a dead worker held is room */
	CU_ASSERT_EQUAL(result, SHM_RUNNING_CLAIMED);
	shm_close(me);
}

/* Four workers race for the same keys, again and again: each key is held by one at a time. One is killed after the
 * other, at any instant; afterwards nothing is held for ever. */
struct arena_of_keys {
	_Atomic uint64_t holder[8];
	_Atomic uint64_t rounds;
	_Atomic uint64_t clashes;
};

static void race_for_keys(struct shm *shm, struct arena_of_keys *shared)
{
	uint64_t self = shm_owner_self();

	for (uint32_t round = 0;; round++) {
		uint8_t key[16] = {(uint8_t)(round % 8), 7}, identity[16] = {0};
		memcpy(identity, &round, sizeof(round));
		memcpy(identity + 4, &self, sizeof(self));
		if (shm_running_claim(shm, key, identity) != SHM_RUNNING_CLAIMED)
			continue;
		uint64_t was = atomic_exchange(&shared->holder[round % 8], self);
		if (was != 0 && was != self && shm_owner_alive(shm, was))
			atomic_fetch_add(&shared->clashes, 1);
		atomic_compare_exchange_strong(&shared->holder[round % 8], &(uint64_t){self}, 0);
		atomic_fetch_add(&shared->rounds, 1);
		shm_running_release(shm, key, identity);
	}
}

static pid_t start_racer(const char *dir, struct arena_of_keys *shared, int i)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct shm *shm;
		char name[16];
		snprintf(name, sizeof(name), "racer %d", i);
		if (shm_open_dir(&shm, dir, NULL) != STATUS_OK || shm_claim_slot(shm, name, NULL) != STATUS_OK)
			_exit(1);
		race_for_keys(shm, shared);
	}
	return pid;
}

static void test_running_race(void)
{
	enum { RACERS = 4, KILLS = 40 };
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, "me");
	struct arena_of_keys *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
					    -1, 0);
	pid_t racers[RACERS];

	for (int i = 0; i < RACERS; i++)
		racers[i] = start_racer(dir, shared, i);
	for (int i = 0; i < KILLS; i++) {
		usleep(5000 + (useconds_t)(i * 977 % 4000));
		kill(racers[i % RACERS], SIGKILL);
		CU_ASSERT_EQUAL(WTERMSIG(reap(racers[i % RACERS])), SIGKILL);
		racers[i % RACERS] = start_racer(dir, shared, i % RACERS);
	}
	for (int i = 0; i < PATIENCE_MS && atomic_load(&shared->rounds) <= KILLS; i++)
		usleep(1000); /* none of them may have run yet */
	for (int i = 0; i < RACERS; i++) {
		kill(racers[i], SIGKILL);
		reap(racers[i]);
	}
	CU_ASSERT_EQUAL(atomic_load(&shared->clashes), 0);
	CU_ASSERT(atomic_load(&shared->rounds) > KILLS);
	for (uint8_t i = 0; i < 8; i++) {
		uint8_t key[16] = {i, 7};
		CU_ASSERT_EQUAL(shm_running_claim(me, key, BOB), SHM_RUNNING_CLAIMED);
	}
	munmap(shared, sizeof(*shared));
	shm_close(me);
}

/* --- locks --- */

static void hold_lock(struct shm *shm)
{
	if (shm_lock_take(shm, &shm->seg->series_lock, 1000) != SHM_LOCK_TAKEN)
		_exit(1);
}

static void test_lock(void)
{
	const char *dir = fresh_dir();
	struct shm *me = open_claimed(dir, "me");
	shm_lock *lock = &me->seg->series_lock;
	struct peer peer = start_peer(dir, "peer", hold_lock);

	uint64_t start = clock_mono_ms();
	CU_ASSERT_EQUAL(shm_lock_take(me, lock, 20000), SHM_LOCK_TIMEOUT);
	CU_ASSERT(clock_mono_ms() - start >= 20);
	kill_peer(peer);
	CU_ASSERT_EQUAL(shm_lock_take(me, lock, 1000000), SHM_LOCK_INHERITED);
	shm_lock_give(lock);
	CU_ASSERT_EQUAL(shm_lock_take(me, lock, 0), SHM_LOCK_TAKEN);
	shm_lock_give(lock);
	atomic_store(lock, me->self ^ 1); /* this process id, before a reboot */
	CU_ASSERT_EQUAL(shm_lock_take(me, lock, 1000000), SHM_LOCK_INHERITED);
	reap(peer.pid);
	shm_close(me);
}

int main(void)
{
	static const struct unit_case CASES[] = {
		{"the segment's file", test_file},
		{"no directory", test_no_directory},
		{"bad files are replaced", test_bad_files},
		{"race of creators", test_race_of_creators},
		{"which slot is claimed", test_claim_order},
		{"all slots are taken", test_all_slots},
		{"a killed worker's slot", test_killed_worker},
		{"owners", test_owner},
		{"owners in another PID namespace", test_owner_elsewhere},
		{"owners without descriptors", test_owner_without_descriptors},
		{"the service's start", test_service_start},
		{"a reboot", test_reboot},
		{"a retired version", test_retired_version},
		{"a silent worker", test_silent_worker},
		{"crash marks", test_crash_marks},
		{"running keys", test_running},
		{"a running key of a dead worker", test_running_dead_holder},
		{"room for running keys", test_running_room},
		{"race for running keys", test_running_race},
		{"locks", test_lock},
	};

	return UNIT_RUN("shm", CASES);
}
